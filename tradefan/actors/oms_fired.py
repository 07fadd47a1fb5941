"""What has fired goes to work: its plan is made then, of what there is to trade by then; it is not given up.

An order that has fired never ends because it cannot act for a moment: it is tried again each second, and
somebody is told.
"""

from __future__ import annotations

from decimal import Decimal

from tradefan.actors.oms_executor import make_executor, plan_of
from tradefan.actors.oms_gate import away, risk_state
from tradefan.actors.oms_parents import complete
from tradefan.actors.oms_state import Turn
from tradefan.actors.oms_wakes import sooner
from tradefan.contracts import RiskRefused
from tradefan.core.trading import ParentState
from tradefan.errors import Refused
from tradefan.messages.contingent import Amend
from tradefan.messages.instrument import Instrument
from tradefan.messages.orders import OrderStatus
from tradefan.messages.work import (
    PlanChange,
)
from tradefan.units import SECOND, ZERO, ClientOrderId, plain

AGAIN_NS = SECOND
LATE_NS = 2 * SECOND
"""Somebody is told of what is refused still, so long behind the firing."""
TRIES = 4
"""Children behind which an order that has fired is overdue."""
NOTHING_LEFT = "nothing_to_reduce"
_TOO_MUCH = ("RISK_REDUCE_ONLY", "INSUFFICIENT_FUNDS")


def begin(turn: Turn, parent: ParentState) -> bool:
    """Plan what has fired; False while it cannot be planned, or where it has ended."""
    if parent.plan is not None or not (parent.fired or parent.group is not None):
        return True
    if away(turn, parent.order.account) is not None:
        _later(turn, parent, "NOT_READY")
        return False
    if not fit(turn, parent):
        return False
    try:
        if getattr(make_executor(parent.order), "plan", None) is None:
            return True
        plan = plan_of(turn, parent.order)
    except Refused as no:
        _not_planned(turn, parent, no)
        return False
    assert plan is not None
    turn.emit(PlanChange(turn.now, parent.order.parent_id, plan))
    turn.parents[parent.order.parent_id] = None
    return True


def _not_planned(turn: Turn, parent: ParentState, no: Refused) -> None:
    if no.code == "NO_REFERENCE":
        _later(turn, parent, no.code)
        return
    fields = {"parent_id": parent.order.parent_id, "code": no.code, "text": no.text}
    turn.log("critical" if parent.order.protective else "warning", "fired_refused", **fields)
    complete(turn, parent, OrderStatus.REJECTED, no.code)


def refused_child(turn: Turn, parent: ParentState, refused: RiskRefused) -> int | None:
    """Return when to try again what a gate has refused, of no more than there is; None where it has ended."""
    if refused.code in _TOO_MUCH and not fit(turn, parent):
        return None
    if parent.trigger is not None and turn.now - (parent.trigger.fired_ns or turn.now) >= LATE_NS:
        # Once is no news: its owner may just have used up the orders of this second.
        say_overdue(turn, parent, refused.code)
    return turn.now + AGAIN_NS


def _later(turn: Turn, parent: ParentState, why: str) -> None:
    if parent.fired:
        say_overdue(turn, parent, why)
    sooner(turn, parent.order.parent_id, turn.now + AGAIN_NS)


def say_overdue(turn: Turn, parent: ParentState, why: str) -> None:
    """Say once that what has fired is not done."""
    if parent.order.parent_id in turn.live.overdue:
        return
    turn.live.overdue[parent.order.parent_id] = None
    turn.log(
        "critical" if parent.order.protective else "warning",
        "fired_not_done",
        parent_id=parent.order.parent_id,
        owner=parent.order.owner,
        instrument=parent.order.instrument,
        open_qty=plain(parent.open_qty),
        reason=why,
    )


def came_to_nothing(turn: Turn, parent: ParentState) -> str | None:
    """Return what became of the newest child of a parent that is to rest, where nobody here has ended it."""
    newest = turn.trading.orders.get(next(reversed(parent.ended), ClientOrderId("")))
    if newest is None or newest.time_in_force != "GTC" or newest.cancel_ns is not None or newest.cum_qty:
        return None
    return newest.reason or newest.status


# --- no more than there is ------------------------------------------------------------------------------


def fit(turn: Turn, parent: ParentState) -> bool:
    """Lower a reduce-only order to what there is to reduce; False where that ends it.

    Somebody may have sold by hand what it was to sell, and a fee in the base asset lessens what was bought.
    """
    order, instrument = parent.order, turn.instrument(parent.order.instrument)
    if not order.reduce_only or instrument is None:
        return True
    most = instrument.floor_qty(room(turn, parent, instrument))
    left = order.order_qty - parent.cum_qty
    if left <= most:
        return True
    if parent.cum_qty + most > 0:
        turn.emit(Amend(turn.now, order.parent_id, parent.cum_qty + most, "reduce_only"))
        turn.parents[order.parent_id] = None
    if most <= 0:
        turn.log("warning", NOTHING_LEFT, parent_id=order.parent_id, owner=order.owner)
        complete(turn, parent, OrderStatus.EXPIRED, NOTHING_LEFT)
        return False
    return True


def room(turn: Turn, parent: ParentState, instrument: Instrument) -> Decimal:
    """Return how much a parent may still trade towards flat, with what it has working."""
    order, own = parent.order, parent.working_qty + parent.in_doubt_qty
    state = risk_state(turn, order.account, instrument, order.owner)
    held = state.owner
    if order.side == "buy":
        return max(-held.position - held.buy_qty + own, ZERO)
    most = held.position - held.sell_qty
    if instrument.kind == "spot":
        most = min(most, state.free_base)
    return max(most + own, ZERO)
