"""Parents and their executors: the next clip is asked for, checked outside the plug-in, and placed.

A plug-in that raises, or asks for what it may not, pauses its own parent and has its children
cancelled; the OMS lives on. An order of an earlier start gets no new child: what rested at the
venue goes on, and nothing is sent without a new decision.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from tradefan.actors.oms_executor import collar_bps, decided, text_of
from tradefan.actors.oms_gate import Wanted, admit, closed, collar_price, fee_rate, reference
from tradefan.actors.oms_over import shed
from tradefan.actors.oms_state import Turn
from tradefan.actors.oms_waiting import cancel_order, unsent
from tradefan.contracts import (
    CancelChild,
    EndParent,
    ExecutorCommand,
    MarketView,
    PlaceChild,
    ReplaceChild,
    RiskRefused,
    Wake,
)
from tradefan.core.ids import client_order_id
from tradefan.core.order import Order
from tradefan.core.trading import ParentState
from tradefan.errors import Defect
from tradefan.messages.control import Timer
from tradefan.messages.gateway import CreateOrder, ReplaceOrder
from tradefan.messages.instrument import Instrument
from tradefan.messages.orders import OrderStatus, ParentOrder, Phase
from tradefan.messages.records import Intent, ParentFailed, PhaseChange
from tradefan.units import MS, SECOND, ZERO, ClientOrderId, ParentId

CHILDREN_MAX = 10_000


# --- asking the executor ----------------------------------------------------------------------------


def advance(turn: Turn, name: ParentId, *, at_stop: bool = False) -> None:
    """Do what follows from a parent's state: end it, or ask its executor for the next step.

    Behind the beginning of a stop executors are not asked, but for the first child of its own sale.
    """
    parent = turn.trading.parents.get(name)
    if parent is None or parent.phase is Phase.DONE or _finished(turn, parent):
        return
    if parent.phase is Phase.WORKING and not closed(turn, at_stop=at_stop):
        _step(turn, parent)
    # Behind the executor, which may replace what is over by what is left.
    shed(turn, parent)
    _finished(turn, parent)


def _step(turn: Turn, parent: ParentState) -> None:
    """Do what an executor wants now."""
    if turn.instrument(parent.order.instrument) is None:
        # Its feed left the configuration between two starts, which nothing at the venue had hindered.
        complete(turn, parent, OrderStatus.EXPIRED, "restart")
        return
    for command in _ask(turn, parent):
        if parent.phase is Phase.WORKING:
            _PERFORM[type(command)](turn, parent, command)


def _ask(turn: Turn, parent: ParentState) -> tuple[ExecutorCommand, ...]:
    """Return what the executor wants, or nothing when it raised or answered nonsense."""
    try:
        return decided(turn, parent)
    except (Exception, SystemExit) as error:  # noqa: BLE001 the fence around plug-ins (ARCHITECTURE.md part 4)
        fail(turn, parent, error)
        return ()


def fail(turn: Turn, parent: ParentState, error: BaseException) -> None:
    """Pause a parent whose plug-in raised or broke its bounds; its children are cancelled."""
    text = text_of(error)
    turn.emit(ParentFailed(turn.now, parent.order.parent_id, text))
    turn.parents[parent.order.parent_id] = None
    turn.live.counters.failed_parents += 1
    turn.log("error", "parent_failed", parent_id=parent.order.parent_id, algo=parent.order.algo, error=text)
    cancel_children(turn, parent, "defect")


# --- ending a parent --------------------------------------------------------------------------------


def complete(turn: Turn, parent: ParentState, status: OrderStatus, reason: str) -> None:
    """Let a parent place nothing more: its children go to evidence, then it is DONE with `status`."""
    if parent.phase is Phase.DONE:
        return
    if parent.phase is not Phase.COMPLETING or parent.status is not status:
        turn.emit(PhaseChange(turn.now, parent.order.parent_id, Phase.COMPLETING, status, reason))
        turn.parents[parent.order.parent_id] = None
    cancel_children(turn, parent, reason)
    _finished(turn, parent)


def cancel_children(turn: Turn, parent: ParentState, reason: str) -> None:
    """Ask for the end of all live children."""
    for name in tuple(parent.live):
        cancel_order(turn, turn.trading.orders[name], reason)


def _finished(turn: Turn, parent: ParentState) -> bool:
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
    turn.live.wakes.pop(parent.order.parent_id, None)
    turn.ended[parent.order.parent_id] = None
    return True


# --- commands of an executor --------------------------------------------------------------------------


def _place(turn: Turn, parent: ParentState, command: PlaceChild) -> None:
    """Check a clip outside the plug-in; then it exists, is journaled, and waits for the disk."""
    instrument = turn.instrument(parent.order.instrument)
    assert instrument is not None
    if parent.epoch != turn.trading.epoch:
        _end_unless_sent(turn, parent, OrderStatus.EXPIRED, "restart")
        return
    broken = _broken_bounds(turn, parent, command, instrument, parent.open_qty)
    if broken is not None:
        fail(turn, parent, Defect(f"executor {parent.order.algo!r}: {broken}"))
        return
    if _below_minimum(instrument, parent.open_qty, command.limit_price):
        # While a child lives its end may bring more to place; else nothing that is left can be sent.
        if not parent.live:
            complete(turn, parent, OrderStatus.EXPIRED, "dust")
        return
    refused = admit(turn, wanted_of(parent.order, instrument, command))
    if refused is not None:
        ended = OrderStatus.EXPIRED if parent.attempts else OrderStatus.REJECTED
        turn.log("warning", "child_refused", parent_id=parent.order.parent_id, code=refused.code)
        _end_unless_sent(turn, parent, ended, refused.code)
        return
    create(turn, parent.order, instrument, command)


def _end_unless_sent(turn: Turn, parent: ParentState, status: OrderStatus, reason: str) -> None:
    """End a parent that may place nothing; what has left for the venue goes on, and its end asks again."""
    waiting = unsent(turn)
    if all(name in waiting for name in parent.live):
        complete(turn, parent, status, reason)


def wanted_of(order: ParentOrder, instrument: Instrument, command: PlaceChild) -> Wanted:
    """Return a clip as the gates read it."""
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
    )


def _broken_bounds(
    turn: Turn,
    parent: ParentState,
    command: PlaceChild,
    instrument: Instrument,
    budget: Decimal,
) -> str | None:
    """Return which bound a clip breaks: parent budget, lot, tick, limit, collar."""
    qty, price, order = command.order_qty, command.limit_price, parent.order
    if parent.attempts >= CHILDREN_MAX:
        return f"expected at most {CHILDREN_MAX} children, and it wants one more"
    if not ZERO < qty <= budget:
        return f"expected 0 < quantity <= {budget}, got {qty} (parent budget)"
    if qty % instrument.qty_lot:
        return f"expected whole lots of {instrument.qty_lot}, got {qty}"
    if price <= 0 or price % instrument.price_tick:
        return f"expected a positive multiple of the tick {instrument.price_tick}, got {price}"
    if _below_minimum(instrument, qty, price) and not _below_minimum(instrument, budget, price):
        return f"expected a clip that its venue takes, got {qty} at {price} (minimum)"
    if order.limit_price is not None:
        return _beyond(order, price, order.limit_price, "the parent's limit")
    market = reference(turn, instrument, crossing=True)
    if isinstance(market, RiskRefused):
        # Without a reference the gate refuses in its own words.
        return None
    return _beyond(
        order, price, collar_price(instrument, order.side, market, collar_bps(order)), "the collar"
    )


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


def _replace(turn: Turn, parent: ParentState, command: ReplaceChild) -> None:
    """Cancel a resting child and place another in one request that stops when the cancel fails (OR-23).

    The new quantity never exceeds what the old one has left, so that either counts for the parent.
    """
    old = turn.trading.orders.get(command.client_order_id)
    instrument = turn.instrument(parent.order.instrument)
    assert instrument is not None
    if old is None or old.client_order_id not in parent.live or not _replaceable(turn, old):
        return
    if parent.epoch != turn.trading.epoch:
        # What rests goes on (`_place`).
        return
    place = PlaceChild(command.order_qty, command.limit_price, "GTC", command.post_only)
    broken = _broken_bounds(turn, parent, place, instrument, old.leaves_qty)
    if broken is not None:
        fail(turn, parent, Defect(f"executor {parent.order.algo!r}: {broken}"))
        return
    # A late fill of an earlier child may have used up what this one rests for.
    beyond = place.order_qty > parent.order.order_qty - (parent.done_qty - old.leaves_qty)
    too_small = _below_minimum(instrument, place.order_qty, place.limit_price)
    if beyond or too_small or admit(turn, wanted_of(parent.order, instrument, place)) is not None:
        # What rests goes on: nothing is lost by not replacing it.
        return
    made = _intend(turn, parent.order, instrument, place, old.client_order_id)
    turn.guard(ReplaceOrder(made.account, made, old.client_order_id))
    turn.touch(old)
    turn.live.counters.replaces += 1


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
    not_after_ns = turn.now + turn.account_config(order.account).order_deadline
    market = reference(turn, instrument, crossing=False)
    assert isinstance(market, MarketView), "the gate has seen the reference in this very turn"
    asset, each = _reserve(turn, order, instrument, command)
    # A limit is bounded by the price band instead.
    bounded = order.limit_price is None
    collar = collar_price(instrument, order.side, market, collar_bps(order)) if bounded else None
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


def _cancel(turn: Turn, parent: ParentState, command: CancelChild) -> None:
    if command.client_order_id in parent.live:
        cancel_order(turn, turn.trading.orders[command.client_order_id], command.reason)


def _wake(turn: Turn, parent: ParentState, command: Wake) -> None:
    """Ask again at an instant, not before a millisecond has passed; the newest replaces the older."""
    name = parent.order.parent_id
    at_ns = max(command.at_ns, turn.now + MS)
    turn.live.wakes[name] = at_ns
    turn.ctx.after(at_ns - turn.now, Timer("wake", name, at_ns))


def _end(turn: Turn, parent: ParentState, command: EndParent) -> None:
    complete(turn, parent, command.status, command.reason)


_PERFORM: dict[type[Any], Callable[[Turn, ParentState, Any], None]] = {
    PlaceChild: _place,
    ReplaceChild: _replace,
    CancelChild: _cancel,
    Wake: _wake,
    EndParent: _end,
}


def on_wake(turn: Turn, timer: Timer) -> None:
    """Give a parent to its executor at the instant that it asked for."""
    name = ParentId(timer.subject)
    if turn.live.wakes.get(name) == timer.number:
        del turn.live.wakes[name]
        turn.woken[name] = None
