"""Parents and their executors: asked for the next step, which is performed as they decide it.

A plug-in that raises, or asks for what it may not, pauses its own parent and has its children
cancelled; the OMS lives on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tradefan.actors.oms_amend import tend_amend
from tradefan.actors.oms_children import cancel, place, replace
from tradefan.actors.oms_executor import decided, plan_of, volume_of
from tradefan.actors.oms_fired import (
    begin,
    is_due,
    not_planned,
    overdue,
    say_overdue,
    say_waiting,
)
from tradefan.actors.oms_gate import closed
from tradefan.actors.oms_group import tend, waits_for_others
from tradefan.actors.oms_over import shed
from tradefan.actors.oms_parents import complete, fail, finished
from tradefan.actors.oms_policy import pause, settle, stay_alive
from tradefan.actors.oms_state import Turn
from tradefan.actors.oms_tca import attend
from tradefan.actors.oms_volume import follow
from tradefan.actors.oms_waiting import ask_for
from tradefan.actors.oms_wakes import sooner, wake
from tradefan.actors.oms_watch import watch
from tradefan.contracts import (
    CancelChild,
    Decide,
    EndParent,
    ExecutorCommand,
    PauseParent,
    PlaceChild,
    QueryChild,
    ReplaceChild,
    Replan,
    Wake,
)
from tradefan.core.trading import ParentState
from tradefan.errors import Defect, Refused
from tradefan.messages.orders import OrderStatus, Phase
from tradefan.messages.plan import Clip
from tradefan.messages.work import (
    Decision,
    PlanChange,
)
from tradefan.units import SECOND, ParentId, steps_up

QUESTIONS_MAX = 6
"""In one turn a parent plans, decides and acts."""


# --- asking the executor ----------------------------------------------------------------------------


def advance(turn: Turn, name: ParentId, *, at_stop: bool = False) -> None:
    """Do what follows from a parent's state: end it, or ask its executor for the next step.

    Behind the beginning of a stop executors are not asked, but for the first child of its own sale.
    """
    parent = turn.trading.parents.get(name)
    if parent is not None and parent.group is not None:
        tend(turn, parent.group)
    if parent is None or parent.phase is Phase.DONE or finished(turn, parent):
        return
    follow(turn, parent)
    attend(turn, parent)
    if parent.plan is not None:
        stay_alive(turn)
    settle(turn, parent)
    if name in turn.ending:
        complete(turn, parent, OrderStatus.CANCELED, turn.ending.pop(name))
    if parent.amending is not None:
        tend_amend(turn, parent)
    if parent.phase is Phase.ARMED:
        watch(turn, parent)
    if parent.phase is Phase.WORKING and parent.amending is None and not closed(turn, at_stop=at_stop):
        if waits_for_others(turn, parent):
            say_waiting(turn, parent)
        elif begin(turn, parent):
            _step(turn, parent)
        _look_after(turn, parent)
    # Behind the executor, which may replace what is over by what is left.
    shed(turn, parent)
    finished(turn, parent)


def _look_after(turn: Turn, parent: ParentState) -> None:
    """Say so when what is to trade at once has not by its first tries or in time, or does not rest."""
    if not is_due(turn, parent) or parent.phase is not Phase.WORKING or parent.live:
        return
    why = overdue(turn, parent)
    if why is not None:
        say_overdue(turn, parent, why)


def _step(turn: Turn, parent: ParentState) -> None:
    """Do what an executor wants now."""
    if turn.instrument(parent.order.instrument) is None:
        # Its feed left the configuration between two starts, which nothing at the venue had hindered.
        complete(turn, parent, OrderStatus.EXPIRED, "restart")
        return
    for _ in range(QUESTIONS_MAX):
        plans, clips, again = parent.plans, parent.clips, None
        for command in _ask(turn, parent):
            if parent.phase is Phase.WORKING:
                later = _PERFORM[type(command)](turn, parent, command)
                again = later if again is None else min(again, later or again)
        if again is not None:
            # Behind all commands: a wake that comes with a refused child replaces any other.
            sooner(turn, parent.order.parent_id, again)
        if (parent.plans, parent.clips) == (plans, clips) or parent.phase is not Phase.WORKING:
            return
    fail(turn, parent, Defect(f"executor {parent.order.algo!r} decides {QUESTIONS_MAX} times and never acts"))


def _ask(turn: Turn, parent: ParentState) -> tuple[ExecutorCommand, ...]:
    """Return what the executor wants, or nothing when it raised or answered nonsense."""
    try:
        return decided(turn, parent)
    except (Exception, SystemExit) as error:  # noqa: BLE001 the fence around plug-ins (ARCHITECTURE.md part 4)
        fail(turn, parent, error)
        return ()


# --- commands of an executor --------------------------------------------------------------------------


def _decide(turn: Turn, parent: ParentState, command: Decide) -> None:
    """Journal a decision; its executor is asked again, and sees the clip that it has begun."""
    instrument = turn.instrument(parent.order.instrument)
    assert instrument is not None
    budget = int(parent.open_qty // instrument.qty_lot)
    if not 0 <= command.lots <= budget:
        text = f"executor {parent.order.algo!r}: expected a clip of 0 to {budget} lots, got {command.lots}"
        fail(turn, parent, Defect(text))
        return
    volume = volume_of(turn, parent)
    clip = Clip(
        parent.clips,
        parent.plans,
        command.k,
        command.target,
        command.due,
        command.lots,
        turn.now,
        command.deadline_ns,
        steps_up(parent.done_qty, instrument.qty_lot),
        parent.attempts,
        command.reason,
        command.before,
        command.share,
        command.factor,
        command.price,
        volume.total,
        volume.own,
        command.unseen,
    )
    turn.emit(Decision(turn.now, parent.order.parent_id, clip))
    turn.parents[parent.order.parent_id] = None


def _replan(turn: Turn, parent: ParentState, command: Replan) -> int | None:
    """Plan the rest anew; without a trusted price it waits, and what cannot be worked any more ends."""
    try:
        plan = plan_of(turn, parent.order, parent)
    except Refused as no:
        turn.log("warning", "not_planned", parent_id=parent.order.parent_id, code=no.code, text=no.text)
        if no.code == "NO_REFERENCE":
            return turn.now + SECOND
        if parent.fired:
            not_planned(turn, parent, no)
        else:
            complete(turn, parent, OrderStatus.EXPIRED, no.code)
        return None
    if plan is not None:
        turn.emit(PlanChange(turn.now, parent.order.parent_id, plan))
        turn.log("info", "planned", parent_id=parent.order.parent_id, reason=command.reason)
    return None


def _query(turn: Turn, parent: ParentState, command: QueryChild) -> None:
    if command.client_order_id in parent.live:
        ask_for(turn, turn.trading.orders[command.client_order_id], 0)


def _end(turn: Turn, parent: ParentState, command: EndParent) -> None:
    complete(turn, parent, command.status, command.reason)


_PERFORM: dict[type[Any], Callable[[Turn, ParentState, Any], int | None]] = {
    PlaceChild: place,
    ReplaceChild: replace,
    CancelChild: cancel,
    QueryChild: _query,
    Wake: wake,
    Decide: _decide,
    Replan: _replan,
    PauseParent: lambda turn, parent, command: pause(turn, parent, command.reason),
    EndParent: _end,
}
