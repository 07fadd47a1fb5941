"""What has fired goes to work: its plan is made then, of what there is to trade by then; it is not given up.

An order that has fired never ends because it cannot act for a moment: it is tried again each second, and
somebody is told.
"""

from __future__ import annotations

from decimal import Decimal
from itertools import islice, takewhile

from msgspec.structs import replace

from tradefan.actors.oms_executor import make_executor, plan_of, slices
from tradefan.actors.oms_gate import away, reference, risk_state
from tradefan.actors.oms_parents import NOTHING_LEFT, complete, say_not_done
from tradefan.actors.oms_room import flattens
from tradefan.actors.oms_state import Turn
from tradefan.actors.oms_tca_market import market_now
from tradefan.actors.oms_wakes import sooner
from tradefan.contracts import PlaceChild, RiskRefused
from tradefan.core.contingent import at_market
from tradefan.core.trading import ParentState
from tradefan.errors import Refused
from tradefan.messages.contingent import Amend
from tradefan.messages.instrument import Instrument
from tradefan.messages.orders import OrderStatus, Phase
from tradefan.messages.work import (
    Amended,
    PlanChange,
)
from tradefan.units import SECOND, ZERO, ClientOrderId, plain

AGAIN_NS = SECOND
LATE_NS = 2 * SECOND
"""Somebody is told of what is refused still, so long behind the firing."""
TRIES = 4
"""Children behind which an order that has fired is overdue."""
MADE_WAY = "made_way"
"""Why an order ends that reserved what a stop that has fired is to sell."""
TOO_MUCH = ("RISK_REDUCE_ONLY", "INSUFFICIENT_FUNDS", "RISK_MAX_ORDER_QTY", "RISK_MAX_NOTIONAL")
"""Refusals that a smaller child may pass."""


def begin(turn: Turn, parent: ParentState) -> bool:
    """Plan what has fired; False while it cannot be planned, or where it has ended."""
    if parent.plan is not None or not (parent.fired or parent.group is not None):
        _regrow(turn, parent)
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
        return not_planned(turn, parent, no)
    assert plan is not None
    turn.emit(PlanChange(turn.now, parent.order.parent_id, plan))
    turn.parents[parent.order.parent_id] = None
    return True


def _regrow(turn: Turn, parent: ParentState) -> None:
    """Plan anew what its group has made larger while nobody saw the market."""
    plan, clip = parent.plan, parent.clip
    if plan is None or not parent.fired or parent.group is None:
        return
    planned = None
    if plan.taus:
        planned = plan.taus[-1]
    elif clip is not None and clip.plan == parent.plans and not slices(parent.order):
        planned = clip.target
    if planned is None or planned >= int(parent.order.order_qty // plan.qty_lot):
        return
    try:
        made = plan_of(turn, parent.order, parent)
    except Refused as no:
        if no.code == "NO_REFERENCE":
            _later(turn, parent, no.code)
        return
    assert made is not None
    if made.taus and made.taus[-1] <= planned:
        return
    turn.emit(PlanChange(turn.now, parent.order.parent_id, made))
    turn.parents[parent.order.parent_id] = None


def not_planned(turn: Turn, parent: ParentState, no: Refused) -> bool:
    """Wait for a price; what cannot be worked as its `then` any more goes on as `market`. False: not now."""
    if no.code == "NO_REFERENCE":
        _later(turn, parent, no.code)
        return False
    fields = {"parent_id": parent.order.parent_id, "code": no.code, "text": no.text}
    turn.log("critical" if parent.order.protective else "warning", "fired_refused", **fields)
    plain_market = at_market(parent.order)
    try:
        plan = plan_of(turn, plain_market, parent) if parent.fired else None
    except Refused:
        plan = None
    if plan is None:
        complete(turn, parent, OrderStatus.REJECTED, no.code)
        return False
    turn.emit(Amended(turn.now, plain_market, plan, market_now(turn, parent.order.instrument)[0]))
    turn.parents[parent.order.parent_id] = None
    return True


def refused_child(turn: Turn, parent: ParentState, refused: RiskRefused) -> int | None:
    """Return when to try again what a gate has refused, of no more than there is; None where it has ended."""
    if refused.code in TOO_MUCH and not fit(turn, parent):
        return None
    if turn.now - _since_ns(turn, parent) >= LATE_NS:
        # Once is no news: its owner may just have used up the orders of this second.
        say_overdue(turn, parent, refused.code)
    return turn.now + AGAIN_NS


def _since_ns(turn: Turn, parent: ParentState) -> int:
    """Return since when a parent is to trade at once: it has fired, or flattens."""
    if parent.trigger is not None and parent.trigger.fired_ns is not None:
        return parent.trigger.fired_ns
    return parent.order.created_ns if flattens(turn, parent) else turn.now


def is_due(turn: Turn, parent: ParentState) -> bool:
    """Say whether a parent is to trade at once: it has fired, or flattens."""
    return parent.fired or flattens(turn, parent)


def overdue(turn: Turn, parent: ParentState) -> str | None:
    """Return why what is to trade at once has not by now: nothing of it is at work. A schedule has its time.

    Its newest tries have traded nothing, or none was made for a while, or what was to rest was ended.
    """
    if slices(parent.order):
        return None
    known = (turn.trading.orders.get(name) for name in reversed(parent.ended))
    fruitless = takewhile(lambda child: child is not None and not child.cum_qty, known)
    if sum(1 for _ in islice(fruitless, TRIES)) >= TRIES:
        return "tries"
    if turn.now - max(_since_ns(turn, parent), parent.last_end_ns or 0) >= LATE_NS:
        return "nothing_placed"
    return _came_to_nothing(turn, parent)


def _later(turn: Turn, parent: ParentState, why: str) -> None:
    if parent.fired:
        say_overdue(turn, parent, why)
    sooner(turn, parent.order.parent_id, turn.now + AGAIN_NS)


def say_overdue(turn: Turn, parent: ParentState, why: str) -> None:
    """Say once that what has fired is not done."""
    if parent.order.parent_id not in turn.live.overdue:
        turn.live.overdue[parent.order.parent_id] = None
        say_not_done(turn, parent, why)


def say_waiting(turn: Turn, parent: ParentState) -> None:
    """Say so when what has fired waits for long for the end of what it takes the place of."""
    if not parent.fired:
        return
    due_ns = _since_ns(turn, parent) + LATE_NS
    if turn.now >= due_ns:
        say_overdue(turn, parent, "other_leg")
    else:
        sooner(turn, parent.order.parent_id, due_ns)


def _came_to_nothing(turn: Turn, parent: ParentState) -> str | None:
    """Return what became of the newest child of a parent that is to rest, where nobody here has ended it."""
    newest = turn.trading.orders.get(next(reversed(parent.ended), ClientOrderId("")))
    if newest is None or newest.time_in_force != "GTC" or newest.cancel_ns is not None or newest.cum_qty:
        return None
    return newest.reason or newest.status


# --- no more than there is ------------------------------------------------------------------------------


def fit(turn: Turn, parent: ParentState) -> bool:
    """Lower a reduce-only order to what its owner holds; False where that is nothing, which ends it.

    Somebody may have sold by hand what it was to sell. What is held and only reserved by other own orders
    lowers nothing: it waits for that, and what protects has them make way.
    """
    order, instrument = parent.order, turn.instrument(parent.order.instrument)
    if not order.reduce_only or instrument is None:
        return True
    position = risk_state(turn, order.account, instrument, order.owner).owner.position
    most = instrument.floor_qty(max(position if order.side == "sell" else -position, ZERO))
    left = order.order_qty - parent.cum_qty
    if left > most and parent.cum_qty + most > 0:
        turn.emit(Amend(turn.now, order.parent_id, parent.cum_qty + most, "reduce_only"))
        turn.parents[order.parent_id] = None
        fields = {"parent_id": order.parent_id, "owner": order.owner, "wanted": plain(left)}
        turn.log("warning", "fired_lowered", **fields, held=plain(most))
    if left > most and most <= 0:
        turn.log("warning", NOTHING_LEFT, parent_id=order.parent_id, owner=order.owner)
        complete(turn, parent, OrderStatus.EXPIRED, NOTHING_LEFT)
        return False
    has = room(turn, parent, instrument) + parent.working_qty + parent.in_doubt_qty
    if parent.fired and order.protective and has < min(left, most):
        _make_way(turn, parent)
    return True


def _make_way(turn: Turn, parent: ParentState) -> None:
    """End what else its owner has in the book on that side: it reserves what is to be protected."""
    order = parent.order
    for other in turn.open_parents_at(order.account, order.instrument, order.owner):
        rival = other.order.side == order.side and not other.order.reduce_only and other is not parent
        if rival and other.working_qty and other.phase not in (Phase.COMPLETING, Phase.DONE):
            fields = {"parent_id": other.order.parent_id, "owner": order.owner, "protects": order.parent_id}
            turn.log("warning", "made_way", **fields, qty=plain(other.working_qty))
            complete(turn, other, OrderStatus.CANCELED, MADE_WAY)


def within_room(turn: Turn, parent: ParentState, instrument: Instrument, clip: PlaceChild) -> PlaceChild:
    """Return the part of a clip for which there is room now, where that is an order that a venue takes.

    Also no more than one order may be: limits may be tighter by now, and an entry larger, than at its entry.
    """
    market = reference(turn, instrument, crossing=False)
    if isinstance(market, RiskRefused):
        return clip
    limits = turn.config.risk.limits(instrument.id)
    most = min(limits.max_order_qty, limits.max_order_notional / max(clip.limit_price, market.mid))
    free = room(turn, parent, instrument) if parent.order.reduce_only else clip.order_qty
    qty = instrument.floor_qty(min(free, most, clip.order_qty))
    least = max(instrument.min_qty, instrument.qty_lot)
    fits = qty >= least and instrument.notional(qty, clip.limit_price) >= instrument.min_notional
    return replace(clip, order_qty=qty) if fits else clip


def room(turn: Turn, parent: ParentState, instrument: Instrument) -> Decimal:
    """Return how much more a parent may place towards flat beside all that works already."""
    order = parent.order
    state = risk_state(turn, order.account, instrument, order.owner)
    held = state.owner
    if order.side == "buy":
        return max(-held.position - held.buy_qty, ZERO)
    most = held.position - held.sell_qty
    if instrument.kind == "spot":
        most = min(most, state.free_base)
    return max(most, ZERO)
