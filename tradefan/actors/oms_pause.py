"""A human, or an owner, pauses a parent and lets it go on."""

from __future__ import annotations

from msgspec.structs import replace

from tradefan.actors.oms_executor import plan_of
from tradefan.actors.oms_parents import cancel_children
from tradefan.actors.oms_policy import pause
from tradefan.actors.oms_state import Turn
from tradefan.actors.oms_submit import may_change, refuse
from tradefan.contracts import RiskRefused
from tradefan.core.trading import ParentState
from tradefan.errors import Refused
from tradefan.messages.orders import Answer, PauseOrder, Phase, ResumeOrder
from tradefan.messages.records import PhaseChange, PlanChange

USER = "user"
USER_KEEP = "user, its end stays"
"""Reasons of a pause that somebody asked for."""


def on_pause(turn: Turn, wish: PauseOrder) -> None:
    """Let a parent place nothing more until somebody resumes it."""
    parent = _parent(turn, wish)
    if parent is None:
        return
    if parent.phase not in (Phase.WORKING, Phase.PAUSED):
        no = f"{wish.parent_id} is {parent.phase}: only what works can be paused"
        refuse(turn, wish, RiskRefused("NOT_WORKING", no))
        return
    pause(turn, parent, USER_KEEP if wish.keep_end else USER)
    if not wish.keep_children:
        cancel_children(turn, parent, USER)
    _answer(turn, wish)


def on_resume_order(turn: Turn, wish: ResumeOrder) -> None:
    """Let a paused parent go on: a pause that was asked for has moved its end, so it plans anew."""
    parent = _parent(turn, wish)
    if parent is None:
        return
    if parent.phase is not Phase.PAUSED:
        refuse(turn, wish, RiskRefused("NOT_PAUSED", f"{wish.parent_id} is {parent.phase}, not PAUSED"))
        return
    try:
        plan = _moved(turn, parent)
    except Refused as no:
        refuse(turn, wish, RiskRefused(no.code, no.text, would_pass=no.would_pass))
        return
    turn.emit(PhaseChange(turn.now, wish.parent_id, Phase.WORKING, parent.status, ""))
    if plan is not None:
        turn.emit(plan)
    turn.parents[wish.parent_id] = None
    turn.woken[wish.parent_id] = None
    turn.log("info", "parent_resumed", parent_id=wish.parent_id, reason=wish.owner)
    _answer(turn, wish)


def _moved(turn: Turn, parent: ParentState) -> PlanChange | None:
    """Return the plan whose end is as far away as it was when the parent was paused."""
    plan = parent.plan
    if plan is None or plan.end_ns is None or parent.reason != USER:
        return None
    later = replace(plan, end_ns=plan.end_ns + turn.now - parent.paused_ns)
    anew = plan_of(turn, parent.order, parent, later)
    return None if anew is None else PlanChange(turn.now, parent.order.parent_id, anew)


def _parent(turn: Turn, wish: PauseOrder | ResumeOrder) -> ParentState | None:
    """Return the parent that a wish means, or refuse it."""
    parent = turn.trading.parents.get(wish.parent_id)
    if not turn.live.running:
        refuse(turn, wish, RiskRefused("NOT_READY", "the journal is being read"))
    elif parent is None or not may_change(wish.owner, parent.order.owner):
        refuse(turn, wish, RiskRefused("UNKNOWN_PARENT", f"{wish.owner} has no parent {wish.parent_id}"))
    else:
        return parent
    return None


def _answer(turn: Turn, wish: PauseOrder | ResumeOrder) -> None:
    if wish.req is not None:
        turn.guard(Answer(wish.req, (wish.parent_id,)))
