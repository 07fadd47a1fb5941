"""Children: what an executor asks for is checked outside of it, reserved, journaled, and waits for the disk.

An order of an earlier start whose executor plans nothing gets no new child: what rested at the venue goes
on, and nothing is sent without a new decision.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from msgspec.structs import replace as copy

from tradefan.actors.oms_cross import crossed, wait_for_own
from tradefan.actors.oms_executor import collar_bps, deadline_ns, plan_of, setting, slices
from tradefan.actors.oms_fired import TOO_MUCH, refused_child, within_room
from tradefan.actors.oms_gate import Wanted, admit, collar_price, fee_rate, free_qty, mode_of, reference
from tradefan.actors.oms_parents import complete, fail
from tradefan.actors.oms_policy import pause
from tradefan.actors.oms_room import is_exit, no_room, say_dust, stays
from tradefan.actors.oms_state import Turn
from tradefan.actors.oms_waiting import cancel_order, unsent
from tradefan.contracts import (
    CancelChild,
    MarketView,
    PlaceChild,
    ReplaceChild,
    RiskRefused,
)
from tradefan.core.ids import client_order_id
from tradefan.core.order import Order
from tradefan.core.trading import ParentState
from tradefan.errors import Defect, Refused
from tradefan.messages.gateway import CreateOrder, ReplaceOrder
from tradefan.messages.instrument import Instrument
from tradefan.messages.orders import OrderStatus, ParentOrder
from tradefan.messages.records import Intent
from tradefan.messages.work import PlanChange
from tradefan.units import SECOND, ZERO, ClientOrderId

CHILDREN_MAX = 10_000
NO_FUNDS = "INSUFFICIENT_FUNDS"


def place(turn: Turn, parent: ParentState, command: PlaceChild) -> int | None:
    """Check a clip outside the plug-in; then it exists, is journaled, and waits for the disk.

    Where it may not exist yet, return when to try again.
    """
    instrument = turn.instrument(parent.order.instrument)
    assert instrument is not None
    if parent.plan is None and parent.epoch != turn.trading.epoch:
        # An executor that plans nothing has no policy for a restart: what rests goes on, nothing new is sent.
        _end_unless_sent(turn, parent, OrderStatus.EXPIRED, "restart")
        return None
    if _outgrown(parent, instrument, command):
        return _plan_larger(turn, parent)
    broken = _broken_bounds(turn, parent, command, instrument, parent.open_qty) or _too_visible(
        parent, command.order_qty
    )
    if broken is not None:
        fail(turn, parent, Defect(f"executor {parent.order.algo!r}: {broken}"))
        return None
    if no_room(turn, parent, command.order_qty):
        return None
    if _below_minimum(instrument, parent.open_qty, command.limit_price):
        # While a child lives its end may bring more to place; else nothing that is left can be sent.
        if not parent.live and (parent.fired or not is_exit(parent)):
            if is_exit(parent):
                say_dust(turn, parent.order.parent_id, instrument, parent.open_qty)
            complete(turn, parent, OrderStatus.EXPIRED, "dust")
        return None
    again_ns = wait_for_own(turn, parent, command.limit_price, rests=command.time_in_force == "GTC")
    if again_ns is not None:
        return again_ns
    refused = admit(turn, wanted_of(parent, instrument, command))
    if refused is not None and refused.code == NO_FUNDS:
        command = _affordable(turn, parent, instrument, command)
        refused = admit(turn, wanted_of(parent, instrument, command))
    if refused is not None and refused.code in TOO_MUCH and stays(turn, parent):
        command = within_room(turn, parent, instrument, command)
        refused = admit(turn, wanted_of(parent, instrument, command))
    if refused is not None:
        turn.log("warning", "child_refused", parent_id=parent.order.parent_id, code=refused.code)
        return _refused(turn, parent, refused, rests=command.time_in_force == "GTC")
    create(turn, parent.order, instrument, command)
    return None


def _outgrown(parent: ParentState, instrument: Instrument, command: PlaceChild) -> bool:
    """Say whether the market has fallen so far that the smallest clip is worth too little by now."""
    too_small = _below_minimum(instrument, command.order_qty, command.limit_price)
    enough = not _below_minimum(instrument, parent.open_qty, command.limit_price)
    return too_small and enough and parent.plan is not None and slices(parent.order)


def _plan_larger(turn: Turn, parent: ParentState) -> int | None:
    """Plan the rest anew, in larger clips; where that does not help, return when to try again."""
    old = parent.plan
    assert old is not None
    try:
        plan = plan_of(turn, parent.order, parent)
    except Refused:
        plan = None
    if plan is None or plan.min_clip <= old.min_clip:
        return turn.now + SECOND
    turn.emit(PlanChange(turn.now, parent.order.parent_id, plan))
    turn.parents[parent.order.parent_id] = None
    turn.log("info", "planned", parent_id=parent.order.parent_id, reason="min_notional")
    return None


def _affordable(turn: Turn, parent: ParentState, instrument: Instrument, command: PlaceChild) -> PlaceChild:
    """Return the part of a clip that can be paid for, where that is a clip that it places anyway."""
    if not slices(parent.order) or parent.plan is None:
        return command
    qty = instrument.floor_qty(free_qty(turn, parent.order, instrument, command.limit_price))
    least = max(parent.plan.min_clip, 1) * parent.plan.qty_lot
    return copy(command, order_qty=qty) if least <= qty < command.order_qty else command


def _refused(turn: Turn, parent: ParentState, refused: RiskRefused, *, rests: bool) -> int | None:
    """Let a sliced parent, or one that has fired, wait where a gate refuses a child; any other ends by it.

    What is to rest waits, too, where the refusal passes by itself: it is placed a little later.
    """
    if stays(turn, parent):
        return refused_child(turn, parent, refused)
    if slices(parent.order):
        if refused.code != NO_FUNDS:
            return turn.now + SECOND
        pause(turn, parent, "funds")
        return None
    if rests and parent.plan is not None and _passes(turn, parent, refused):
        return turn.now + SECOND
    ended = OrderStatus.EXPIRED if parent.attempts else OrderStatus.REJECTED
    _end_unless_sent(turn, parent, ended, refused.code)
    return None


def _passes(turn: Turn, parent: ParentState, refused: RiskRefused) -> bool:
    """Say whether a refusal passes with the order as it is: a rate, a mode, a venue that is away."""
    if refused.code in ("RISK_ORDER_RATE", "NOT_READY"):
        return True
    order = parent.order
    now = mode_of(turn, order.account, order.instrument, order.owner)
    return now.mode not in ("NORMAL", "KILLED") and refused.code == now.code


def _end_unless_sent(turn: Turn, parent: ParentState, status: OrderStatus, reason: str) -> None:
    """End a parent that may place nothing; what has left for the venue goes on, and its end asks again."""
    waiting = unsent(turn)
    if all(name in waiting for name in parent.live):
        complete(turn, parent, status, reason)


def wanted_of(parent: ParentState, instrument: Instrument, command: PlaceChild) -> Wanted:
    """Return a clip as the gates read it."""
    order = parent.order
    return Wanted(
        order.account,
        instrument,
        order.owner,
        order.side,
        command.order_qty,
        command.limit_price,
        "limit",
        order.reduce_only,
        takes=command.time_in_force != "GTC",
        fired=parent.fired,
    )


def _broken_bounds(
    turn: Turn,
    parent: ParentState,
    command: PlaceChild,
    instrument: Instrument,
    budget: Decimal,
) -> str | None:
    """Return which bound a clip breaks: parent budget, lot, tick, post-only, limit, collar."""
    qty, price, order = command.order_qty, command.limit_price, parent.order
    if parent.attempts >= CHILDREN_MAX:
        return f"expected at most {CHILDREN_MAX} children, and it wants one more"
    if not ZERO < qty <= budget:
        return f"expected 0 < quantity <= {budget}, got {qty} (parent budget)"
    if qty % instrument.qty_lot:
        return f"expected whole lots of {instrument.qty_lot}, got {qty}"
    if price <= 0 or price % instrument.price_tick:
        return f"expected a positive multiple of the tick {instrument.price_tick}, got {price}"
    if not command.post_only and setting(order, "post_only", default=False):
        return f"expected a post-only order, got {command.time_in_force}"
    if _below_minimum(instrument, qty, price) and not _below_minimum(instrument, budget, price):
        return f"expected a clip that its venue takes, got {qty} at {price} (minimum)"
    limit = _limit_of(parent)
    if limit is not None:
        beyond = _beyond(order, price, limit, "the parent's limit")
        if beyond is not None or command.bound == "limit":
            return beyond
    market = reference(turn, instrument, crossing=True)
    if isinstance(market, RiskRefused):
        # Without a reference the gate refuses in its own words.
        return None
    return _beyond(
        order,
        price,
        collar_price(instrument, order.side, market, collar_bps(order, wide=command.bound == "wide")),
        "the collar",
    )


def _too_visible(parent: ParentState, qty: Decimal) -> str | None:
    """Say whether an iceberg would show more than it may; what is in doubt may be shown."""
    if parent.plan is None or parent.plan.display is None:
        return None
    shown, most = parent.working_qty + parent.in_doubt_qty, parent.plan.display * parent.plan.qty_lot
    return f"expected at most {most} in the book, got {qty} beside {shown}" if shown + qty > most else None


def _limit_of(parent: ParentState) -> Decimal | None:
    """Return the worst price that a parent allows: its own, or what its plan has made of an offset."""
    plan = parent.plan
    if parent.order.limit_price is not None or plan is None or plan.limit is None:
        return parent.order.limit_price
    return plan.limit * plan.price_tick


def _below_minimum(instrument: Instrument, qty: Decimal, price: Decimal) -> bool:
    """Say whether a venue would reject a clip as too small."""
    return qty < instrument.min_qty or instrument.notional(qty, price) < instrument.min_notional


def _beyond(order: ParentOrder, price: Decimal, worst: Decimal, name: str) -> str | None:
    beyond = price > worst if order.side == "buy" else price < worst
    return f"{order.side} at {price} is beyond {name} {worst}" if beyond else None


def create(turn: Turn, order: ParentOrder, instrument: Instrument, command: PlaceChild) -> None:
    """Reserve, allocate the id, write the INTENT; the create leaves when that is durable."""
    turn.guard(_intend(turn, order, instrument, command, None))
    turn.live.counters.orders += 1


def replace(turn: Turn, parent: ParentState, command: ReplaceChild) -> int | None:
    """Cancel a resting child and place another in one request that stops when the cancel fails (OR-23).

    The new quantity never exceeds what the old one has left, so that either counts for the parent. Where
    that may not be now, return when to try again: what rests goes on, nothing is lost by it.
    """
    old = turn.trading.orders.get(command.client_order_id)
    instrument = turn.instrument(parent.order.instrument)
    assert instrument is not None
    if old is None or old.client_order_id not in parent.live or not _replaceable(turn, old):
        return None
    if parent.plan is None and parent.epoch != turn.trading.epoch:
        # What rests goes on (`place`).
        return None
    place = PlaceChild(command.order_qty, command.limit_price, "GTC", command.post_only, command.step)
    broken = _broken_bounds(turn, parent, place, instrument, old.leaves_qty)
    if broken is not None:
        fail(turn, parent, Defect(f"executor {parent.order.algo!r}: {broken}"))
        return None
    # A late fill of an earlier child may have used up what this one rests for.
    beyond = place.order_qty > parent.order.order_qty - (parent.done_qty - old.leaves_qty)
    too_small = _below_minimum(instrument, place.order_qty, place.limit_price)
    if beyond or too_small:
        return None
    meets = crossed(turn, parent.order, place.limit_price, rests=True)
    if meets or admit(turn, wanted_of(parent, instrument, place)):
        return turn.now + SECOND
    made = _intend(turn, parent.order, instrument, place, old.client_order_id)
    turn.guard(ReplaceOrder(made.account, made, old.client_order_id))
    turn.touch(old)
    turn.live.counters.replaces += 1
    return None


def _replaceable(turn: Turn, old: Order) -> bool:
    """Say whether a child rests untouched, and nothing is about to take its place (ONLY_NEW)."""
    successor = None if old.replaced_by is None else turn.trading.orders.get(old.replaced_by)
    free = old.in_doubt is None and old.cancel_ns is None and (successor is None or not successor.live)
    return free and old.status is OrderStatus.NEW and not old.cum_qty


def _intend(
    turn: Turn,
    order: ParentOrder,
    instrument: Instrument,
    command: PlaceChild,
    replaces: ClientOrderId | None,
) -> CreateOrder:
    trading = turn.trading
    sequence = trading.sequence + 1
    name = client_order_id(trading.instance, trading.epoch, sequence)
    not_after_ns = turn.now + deadline_ns(turn, order)
    market = reference(turn, instrument, crossing=False)
    assert isinstance(market, MarketView), "the gate has seen the reference in this very turn"
    asset, each = _reserve(turn, order, instrument, command)
    parent = trading.parents.get(order.parent_id)
    clip = None if parent is None else parent.clip
    # A limit is bounded by the price band instead.
    bounded = order.limit_price is None and not _at_offset(parent, command)
    bps = collar_bps(order, wide=command.bound == "wide")
    collar = collar_price(instrument, order.side, market, bps) if bounded else None
    applied = turn.emit(
        Intent(
            at_ns=turn.now,
            account=order.account,
            instrument=order.instrument,
            owner=order.owner,
            parent_id=order.parent_id,
            client_order_id=name,
            sequence=sequence,
            side=order.side,
            order_type="limit",
            time_in_force=command.time_in_force,
            post_only=command.post_only,
            order_qty=command.order_qty,
            limit_price=command.limit_price,
            reserve_px=max(command.limit_price, market.mid),
            config_id=turn.ctx.config_id,
            instrument_version=instrument.version,
            reference_px=market.mid,
            reference_age_ns=market.age_ns,
            not_after_ns=not_after_ns,
            reduce_only=order.reduce_only,
            reserve_asset=asset,
            reserve_per_unit=each,
            replaces=replaces,
            reference_quality=market.quality.value,
            collar_px=collar,
            clip=-1 if clip is None else clip.number,
            step=command.step,
        )
    )
    if not applied:
        # Nothing of it is reserved. A turn that raises has sent nothing, and a restart begins another epoch.
        raise Defect(f"expected {name} to be an id that no order has, and numbers that can be reserved")
    _note_rate(turn, order)
    turn.touch(trading.orders[name])
    turn.woken.pop(order.parent_id, None)
    return CreateOrder(
        account=order.account,
        instrument=order.instrument,
        owner=order.owner,
        parent_id=order.parent_id,
        client_order_id=name,
        side=order.side,
        order_type="limit",
        time_in_force=command.time_in_force,
        post_only=command.post_only,
        order_qty=command.order_qty,
        limit_price=command.limit_price,
        reduce_only=order.reduce_only,
        not_after_ns=not_after_ns,
    )


def _at_offset(parent: ParentState | None, command: PlaceChild) -> bool:
    """Say whether a child rests at a limit that was made of an offset."""
    plan = None if parent is None else parent.plan
    return plan is not None and plan.limit is not None and command.bound == "limit"


def _reserve(
    turn: Turn, order: ParentOrder, instrument: Instrument, command: PlaceChild
) -> tuple[Any, Decimal]:
    """Return the asset, and how much of it each unit of a clip can cost."""
    if instrument.kind == "spot" and order.side == "sell":
        return instrument.base, Decimal(1)
    return instrument.quote, command.limit_price * (1 + fee_rate(turn, order.account))


def _note_rate(turn: Turn, order: ParentOrder) -> None:
    recent = turn.live.recent
    recent[order.owner] = [*(at for at in recent.get(order.owner, ()) if at > turn.now - SECOND), turn.now]


def cancel(turn: Turn, parent: ParentState, command: CancelChild) -> None:
    """Cancel a live child to evidence."""
    if command.client_order_id in parent.live:
        cancel_order(turn, turn.trading.orders[command.client_order_id], command.reason)
