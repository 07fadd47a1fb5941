"""A human, or an owner, pauses a parent and lets it go on."""

from __future__ import annotations

from tradefan.actors.oms_executor import plan_of, recipe_of
from tradefan.actors.oms_parents import cancel_children
from tradefan.actors.oms_policy import ended_now, go_on, is_late, keep_time, moved, pause, stands
from tradefan.actors.oms_state import Turn
from tradefan.actors.oms_submit import may_change, refuse
from tradefan.actors.oms_watch import pause_trigger
from tradefan.contracts import RiskRefused
from tradefan.core.trading import ParentState
from tradefan.errors import Refused
from tradefan.messages.orders import AmendOrder, Answer, PauseOrder, Phase, ResumeOrder
from tradefan.messages.plan import Plan
from tradefan.messages.work import PlanChange

USER = "user"
USER_KEEP = "user, its end stays"
"""Reasons of a pause that somebody asked for."""


def on_pause(turn: Turn, wish: PauseOrder) -> None:
    """Let a parent place nothing more until somebody resumes it."""
    parent = meant(turn, wish)
    if parent is None:
        return
    if parent.phase is Phase.ARMED:
        _pause_trigger(turn, parent, wish, paused=True)
        return
    if parent.phase not in (Phase.WORKING, Phase.PAUSED):
        no = f"{wish.parent_id} is {parent.phase}: only what works can be paused"
        refuse(turn, wish, RiskRefused("NOT_WORKING", no))
        return
    try:
        plan = moved(turn, parent) if _runs_on(parent, wish) else None
    except Refused as no:
        refuse(turn, wish, RiskRefused(no.code, no.text, would_pass=no.would_pass))
        return
    if plan is not None:
        turn.emit(PlanChange(turn.now, wish.parent_id, plan))
    recipe = recipe_of(parent.order)
    if recipe is not None:
        keep_time(turn, parent, recipe)
    pause(turn, parent, USER_KEEP if wish.keep_end else USER)
    if not wish.keep_children:
        cancel_children(turn, parent, USER)
    answer(turn, wish)


def _pause_trigger(turn: Turn, parent: ParentState, wish: PauseOrder | ResumeOrder, *, paused: bool) -> None:
    """Let what waits for the market fire nothing until it is resumed; its expiry stays."""
    if parent.trigger is not None and parent.trigger.paused is not paused:
        pause_trigger(turn, parent, USER if paused else "", paused=paused)
        event = "trigger_paused" if paused else "trigger_resumed"
        level = "warning" if parent.order.protective else "info"
        turn.log(level, event, parent_id=wish.parent_id, owner=parent.order.owner, by=wish.owner)
    answer(turn, wish)


def _runs_on(parent: ParentState, wish: PauseOrder) -> bool:
    """Say whether a clock that stood runs from now on: what it stood for moves the end all the same."""
    return wish.keep_end and parent.phase is Phase.PAUSED and parent.reason == USER


def on_resume_order(turn: Turn, wish: ResumeOrder) -> None:
    """Let a paused parent go on; where that changes its time, or nothing of it is left, by another plan."""
    parent = meant(turn, wish)
    if parent is None:
        return
    if parent.phase is Phase.ARMED and parent.trigger is not None and parent.trigger.paused:
        _pause_trigger(turn, parent, wish, paused=False)
        return
    if parent.phase is not Phase.PAUSED:
        refuse(turn, wish, RiskRefused("NOT_PAUSED", f"{wish.parent_id} is {parent.phase}, not PAUSED"))
        return
    try:
        plan = _anew(turn, parent)
    except Refused as no:
        refuse(turn, wish, RiskRefused(no.code, no.text, would_pass=no.would_pass))
        return
    go_on(turn, parent, plan)
    turn.log("info", "parent_resumed", parent_id=wish.parent_id, reason=wish.owner)
    answer(turn, wish)


def _anew(turn: Turn, parent: ParentState) -> Plan | None:
    """Return the plan for the rest of a parent that goes on; None where it goes on by the one it has.

    A pause that was asked for has moved its end, unless that stays. Behind its end it has the time of its
    end policy. What is placed once goes on while it rests, else it is placed again.
    """
    plan, recipe = parent.plan, recipe_of(parent.order)
    if plan is None or recipe is None:
        return None
    if plan.end_ns is not None and (parent.reason == USER or stands(parent, recipe)):
        return moved(turn, parent)
    if is_late(turn, parent, recipe):
        return ended_now(turn, parent)
    children = (turn.trading.orders[name] for name in parent.live)
    again = parent.reason == USER
    if recipe.once:
        again = all(child.cancel_ns is not None for child in children)
    return plan_of(turn, parent.order, parent, plan) if again else None


def meant(turn: Turn, wish: PauseOrder | ResumeOrder | AmendOrder) -> ParentState | None:
    """Return the parent that a wish means, or refuse it."""
    parent = turn.trading.parents.get(wish.parent_id)
    if not turn.live.running:
        refuse(turn, wish, RiskRefused("NOT_READY", "the journal is being read"))
    elif parent is None or not may_change(wish.owner, parent.order.owner):
        refuse(turn, wish, RiskRefused("UNKNOWN_PARENT", f"{wish.owner} has no parent {wish.parent_id}"))
    else:
        return parent
    return None


def answer(turn: Turn, wish: PauseOrder | ResumeOrder | AmendOrder) -> None:
    """Say that a wish counts, once it is durable."""
    if wish.req is not None:
        turn.guard(Answer(wish.req, (wish.parent_id,)))
