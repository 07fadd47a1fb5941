"""How parents end, or are paused by a defect of their plug-in."""

from __future__ import annotations

from tradefan.actors.oms_executor import text_of
from tradefan.actors.oms_room import flattens, say_dust
from tradefan.actors.oms_state import Turn
from tradefan.actors.oms_tca import end
from tradefan.actors.oms_volume import leave
from tradefan.actors.oms_waiting import cancel_order
from tradefan.actors.oms_wakes import let_sleep
from tradefan.actors.oms_watch import unwatch
from tradefan.core.trading import ParentState
from tradefan.messages.contingent import Disarmed
from tradefan.messages.orders import OrderStatus, Phase
from tradefan.messages.records import (
    PhaseChange,
)
from tradefan.messages.work import (
    ParentFailed,
)
from tradefan.units import plain

FAILURES_MAX = 3
NOTHING_LEFT = "nothing_to_reduce"
"""Why a reduce-only order ends whose owner holds nothing any more."""


def fail(turn: Turn, parent: ParentState, error: BaseException) -> None:
    """Pause a parent whose plug-in raised or broke its bounds; its children are cancelled.

    One that does so again and again ends.
    """
    text = text_of(error)
    turn.emit(ParentFailed(turn.now, parent.order.parent_id, text))
    turn.parents[parent.order.parent_id] = None
    turn.live.counters.failed_parents += 1
    turn.log("error", "parent_failed", parent_id=parent.order.parent_id, algo=parent.order.algo, error=text)
    if parent.failures >= FAILURES_MAX:
        complete(turn, parent, OrderStatus.EXPIRED, "defect")
    else:
        cancel_children(turn, parent, "defect")


# --- ending a parent --------------------------------------------------------------------------------


def complete(turn: Turn, parent: ParentState, status: OrderStatus, reason: str) -> None:
    """Let a parent place nothing more: its children go to evidence, then it is DONE with `status`."""
    if parent.phase is Phase.DONE:
        return
    if parent.phase in (Phase.VALIDATED, Phase.ARMED):
        turn.emit(Disarmed(turn.now, parent.order.parent_id, status, reason))
        turn.parents[parent.order.parent_id] = None
        unwatch(turn, parent)
    elif parent.phase is not Phase.COMPLETING or parent.status is not status:
        if status is not OrderStatus.CANCELED:
            _say_unprotected(turn, parent, reason)
        turn.emit(PhaseChange(turn.now, parent.order.parent_id, Phase.COMPLETING, status, reason))
        turn.parents[parent.order.parent_id] = None
    cancel_children(turn, parent, reason)
    finished(turn, parent)


def _say_unprotected(turn: Turn, parent: ParentState, why: str) -> None:
    """Say that a protective order that has fired ends by itself, and protects what is left no more."""
    instrument, left = turn.instrument(parent.order.instrument), parent.order.order_qty - parent.cum_qty
    if not (parent.fired and parent.order.protective and left > 0) or why == NOTHING_LEFT:
        return
    if why == "dust" and instrument is not None:
        say_dust(turn, parent.order.parent_id, instrument, left)
    else:
        say_not_done(turn, parent, why)


def say_not_done(turn: Turn, parent: ParentState, why: str) -> None:
    """Say that what is to trade at once has not."""
    turn.log(
        "critical" if parent.order.protective or flattens(turn, parent) else "warning",
        "fired_not_done",
        parent_id=parent.order.parent_id,
        owner=parent.order.owner,
        instrument=parent.order.instrument,
        open_qty=plain(parent.order.order_qty - parent.cum_qty),
        reason=why,
    )


def cancel_children(turn: Turn, parent: ParentState, reason: str) -> None:
    """Ask for the end of all live children."""
    for name in tuple(parent.live):
        cancel_order(turn, turn.trading.orders[name], reason)


def finished(turn: Turn, parent: ParentState) -> bool:
    """End a parent that has nothing left to do; True when it is DONE."""
    if parent.phase is Phase.DONE:
        return True
    full = parent.cum_qty >= parent.order.order_qty
    if parent.live or not (full or parent.phase is Phase.COMPLETING):
        return False
    status = OrderStatus.FILLED if full else parent.status
    if status is OrderStatus.REJECTED and parent.cum_qty:
        # What traded in part was not rejected: its rest has expired.
        status = OrderStatus.EXPIRED
    reason = "" if full else parent.reason
    turn.emit(PhaseChange(turn.now, parent.order.parent_id, Phase.DONE, status, reason))
    turn.parents[parent.order.parent_id] = None
    end(turn, parent)
    let_sleep(turn, parent)
    turn.live.overdue.pop(parent.order.parent_id, None)
    leave(turn, parent)
    turn.ended[parent.order.parent_id] = None
    return True
