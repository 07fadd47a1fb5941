"""Folding of records about child orders and their fills into `Trading`."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

from tradefan.core import apply_tca
from tradefan.core.exposure import NOTHING, Weight, shift, weigh
from tradefan.core.ledger import book_fill, unbook_fill
from tradefan.core.order import (
    Event,
    Move,
    Order,
    Revision,
    begin_doubt,
    counted,
    happen,
    judge,
    merge_fill,
    merge_report,
    new_external,
    new_order,
    revise,
    take_back,
)
from tradefan.core.trading_state import (
    CHILDREN_MAX,
    ENDED_MAX,
    FILL_KEYS_MAX,
    FILLS_MAX,
    NOT_NUMBERED,
    UNSEALED_MAX,
    ParentState,
    Trading,
    fill_key,
    knows_fill,
    remember,
    sound,
)
from tradefan.messages.orders import TERMINAL, Phase
from tradefan.messages.records import (
    Bust,
    CancelIntent,
    CancelRefused,
    Correct,
    ExternalOrder,
    Fill,
    FillInferred,
    FillReplaced,
    InDoubt,
    Intent,
    NotSent,
    Report,
    Resolved,
    Sealed,
)
from tradefan.units import ZERO, ClientOrderId, TradeId


def on_intent(state: Trading, record: Intent) -> bool:
    """Let an order exist, reserved and without any word; the one that it replaces waits for the outcome."""
    known = record.client_order_id in state.orders
    if known or not sound(record.order_qty, record.reserve_px, record.reserve_per_unit):
        return False
    order = new_order(record, state.epoch)
    state.sequence = max(state.sequence, record.sequence)
    parent = state.parents.get(order.parent_id)
    order.orphan = parent is None
    if parent is not None:
        parent.attempts += 1
    _enter(state, order, record.at_ns)
    if record.replaces is not None:
        _change(state, record.replaces, record.at_ns, lambda old: _replaced_by(old, record))
    return True


def _replaced_by(old: Order, record: Intent) -> bool:
    old.replaced_by = record.client_order_id
    return happen(old, Event.REPLACE, "", record.at_ns)


def on_external(state: Trading, record: ExternalOrder) -> bool:
    """Let an order that is not ours count; one that ended may come again under the same id."""
    known = state.orders.get(record.client_order_id)
    taken = known is not None and (known.live or not known.external)
    if taken or not sound(record.order_qty, record.cum_qty, record.reserve_px, record.reserve_per_unit):
        return False
    if known is not None:
        _leave_ended(state, record.client_order_id)
        shift(state.exposure, known, weigh(known), NOTHING)
    _enter(state, new_external(record, state.epoch), record.at_ns)
    return True


def _enter(state: Trading, order: Order, at_ns: int) -> None:
    state.orders[order.client_order_id] = order
    _settle(state, order, NOTHING, at_ns)


def on_report(state: Trading, record: Report) -> bool:
    """Merge the venue's word."""
    order = state.orders.get(record.client_order_id)
    qty = record.cum_qty if record.order_qty is None else record.order_qty
    if order is None or not sound(record.cum_qty, qty):
        return False
    if judge(order, record.status, record.cum_qty) is Move.ILLEGAL:
        return False
    before = weigh(order)
    lost = unseen_loss(state, order, record.cum_qty, record.event_ns)
    if lost is not None:
        revise(order, lost, record.at_ns)
    merge_report(order, record)
    apply_tca.on_ack(state, order.parent_id, record.ack_ns)
    _settle(state, order, before, record.at_ns)
    return True


def unseen_loss(state: Trading, order: Order, cum_qty: Decimal, event_ns: int) -> Revision | None:
    """Return the loss that a lower count tells of: a trade that the venue revised before anybody saw it.

    A revision names its trade alone, never the order: that is one of which the venue counts less behind it
    than it did before. Without one between the two counts a lower one is an older word that came late.
    """
    if counted(order, cum_qty, event_ns) >= order.venue_cum:
        return None
    place = (order.account, order.instrument)
    between = (
        one.event_ns
        for one in state.busts.values()
        if (one.account, one.instrument) == place and order.venue_cum_ns < one.event_ns <= event_ns
    )
    until_ns = max(between, default=None)
    return None if until_ns is None else Revision(until_ns, ZERO)


def on_in_doubt(state: Trading, record: InDoubt) -> bool:
    """Mark a request as without known outcome."""
    return _change(
        state,
        record.client_order_id,
        record.at_ns,
        lambda order: begin_doubt(order, record.doubt, record.reason, record.at_ns),
    )


def on_event(event: Event) -> Callable[[Trading, Any], bool]:
    """Return the handler of a record that is one event of the table."""

    def handle(state: Trading, record: NotSent | CancelIntent | CancelRefused) -> bool:
        return _change(
            state,
            record.client_order_id,
            record.at_ns,
            lambda order: happen(order, event, record.reason, record.at_ns),
        )

    return handle


def on_resolved(state: Trading, record: Resolved) -> bool:
    """End a doubt by evidence."""
    event = Event.NOT_PLACED if record.verdict == "NOT_PLACED" else Event.ADOPTED
    reason = event.value if event is Event.NOT_PLACED else record.evidence
    return _change(
        state,
        record.client_order_id,
        record.at_ns,
        lambda order: happen(order, event, reason, record.at_ns),
    )


def on_sealed(state: Trading, record: Sealed) -> bool:
    """Seal an order of which nothing more is expected."""
    order = state.orders.get(record.client_order_id)
    if order is None or order.live:
        return False
    order.sealed = True
    return True


# --- fills ----------------------------------------------------------------------------------------


def on_fill(state: Trading, record: Fill) -> bool:
    """Book a fill once, whatever the table says: it is the venue's money that moved."""
    known = knows_fill(state, record.account, record.instrument, record.trade_id)
    if known or not _sound_fill(record):
        return False
    _note_key(state, record)
    remember(
        state.recent_fills, fill_key(record.account, record.instrument, record.trade_id), record, FILLS_MAX
    )
    state.fills += 1
    _book(state, record, late=True)
    order = _order_of(state, record)
    if order is not None:
        apply_tca.on_ack(state, order.parent_id, record.ack_ns)
    return True


def on_inferred(state: Trading, record: FillInferred) -> bool:
    """Book what the venue says has traded and no trade has told us; the real fills take its place."""
    fill = record.fill
    if fill.trade_id in state.inferred or not _sound_fill(fill):
        return False
    state.inferred[fill.trade_id] = fill
    _book(state, fill, late=False)
    return True


def on_replaced(state: Trading, record: FillReplaced) -> bool:
    """Take so much of an inferred fill back: the real one follows, or the venue counts it no more."""
    fill = state.inferred.get(record.trade_id)
    if fill is None or not ZERO < record.qty <= fill.qty:
        return False
    part = share_of(fill, record.qty)
    rest = fill.qty - record.qty
    if rest:
        state.inferred[record.trade_id] = msgspec.structs.replace(fill, qty=rest, fee=fill.fee - part.fee)
    else:
        del state.inferred[record.trade_id]
    _unbook(state, part, record.at_ns)
    return True


def on_bust(state: Trading, record: Bust) -> bool:
    """Take a trade back; one that was not seen yet waits for its fill, and nets to zero then."""
    key = fill_key(record.account, record.instrument, record.trade_id)
    if record.fill is None:
        state.busts[key] = record
        return True
    if not _sound_fill(record.fill):
        return False
    state.busts.pop(key, None)
    state.recent_fills.pop(key, None)
    _unbook(state, record.fill, record.at_ns)
    _revise(state, record.fill, record.fill.qty, record)
    return True


def on_correct(state: Trading, record: Correct) -> bool:
    """Book a trade anew as the venue says now."""
    key = fill_key(record.account, record.instrument, record.trade_id)
    if record.qty < 0 or not sound(record.qty, record.price):
        return False
    if record.fill is None:
        state.busts[key] = record
        return True
    if not _sound_fill(record.fill):
        return False
    state.busts.pop(key, None)
    _unbook(state, record.fill, record.at_ns)
    if record.qty:
        fill = corrected(record.fill, record)
        state.recent_fills[key] = fill
        _book(state, fill, late=False)
    else:
        state.recent_fills.pop(key, None)
    _revise(state, record.fill, record.fill.qty - record.qty, record)
    return True


def _sound_fill(fill: Fill) -> bool:
    return sound(fill.qty, fill.price, fill.fee) and fill.qty > 0


def share_of(fill: Fill, qty: Decimal) -> Fill:
    """Return a part of a fill, with its share of the fee."""
    return msgspec.structs.replace(
        fill, qty=qty, fee=fill.fee if qty == fill.qty else fill.fee * qty / fill.qty
    )


def corrected(fill: Fill, record: Correct) -> Fill:
    """Return a fill as it is after a correction; the fee stays what the venue said it was."""
    return msgspec.structs.replace(
        fill, qty=record.qty, price=record.price, at_ns=record.at_ns, revised_ns=record.event_ns
    )


def _book(state: Trading, record: Fill, *, late: bool) -> None:
    book_fill(state.ledger, record)
    order = _order_of(state, record)
    if order is None:
        return
    before = weigh(order)
    state.late_fills += late and order.status in TERMINAL and order.filled >= order.venue_cum
    merge_fill(order, record.qty, record.price, record.at_ns)
    parent = _parent_of(state, order)
    if parent is not None:
        apply_tca.on_fill(state, parent, record, back=False)
        parent.filled += record.qty
        parent.value += record.qty * record.price
        parent.base_fee += _base_fee(record)
    _settle(state, order, before, record.at_ns)


def _unbook(state: Trading, record: Fill, at_ns: int) -> None:
    unbook_fill(state.ledger, record)
    order = _order_of(state, record)
    if order is None:
        return
    before = weigh(order)
    take_back(order, record.qty, record.price, at_ns)
    parent = _parent_of(state, order)
    if parent is not None:
        apply_tca.on_fill(state, parent, record, back=True)
        parent.filled -= record.qty
        parent.value -= record.qty * record.price
        parent.base_fee -= _base_fee(record)
    _settle(state, order, before, at_ns)


def _base_fee(record: Fill) -> Decimal:
    return record.fee if record.fee_asset == record.base else ZERO


def _revise(state: Trading, fill: Fill, lowered: Decimal, record: Bust | Correct) -> None:
    """Lower what the venue counts of an order by what a trade has lost; a new price alone lowers nothing.

    A correction that changes nothing is of a trade that came as it is since: what that has lost nobody knows.
    """
    order = _order_of(state, fill)
    same = isinstance(record, Correct) and (record.qty, record.price) == (fill.qty, fill.price)
    if order is None or not (lowered or same):
        return
    before = weigh(order)
    # Records of before the venue's instant was kept have only ours. Venues' clocks tick in milliseconds:
    # where trade and revision fell into one, what was reported then is the trade.
    until_ns = max(record.event_ns or record.at_ns, fill.event_ns + 1)
    revise(order, Revision(until_ns, lowered), record.at_ns)
    _settle(state, order, before, record.at_ns)


def _order_of(state: Trading, record: Fill) -> Order | None:
    order = None if record.client_order_id is None else state.orders.get(record.client_order_id)
    if order is None or (order.account, order.instrument) != (record.account, record.instrument):
        return None
    return order


def _note_key(state: Trading, record: Fill) -> None:
    keys = state.fill_keys.setdefault(record.account, {}).setdefault(record.instrument, {})
    for gone in remember(keys, record.trade_id, None, FILL_KEYS_MAX):
        _raise_floor(state, record, gone)


def _raise_floor(state: Trading, record: Fill, gone: TradeId) -> None:
    floors = state.fill_floors.setdefault(record.account, {})
    known = floors.get(record.instrument, 0)
    numbered = gone.isdecimal() and known != NOT_NUMBERED
    floors[record.instrument] = max(known, int(gone)) if numbered else NOT_NUMBERED


# --- what follows -----------------------------------------------------------------------------------


def _change(
    state: Trading, client_order_id: ClientOrderId, at_ns: int, change: Callable[[Order], bool]
) -> bool:
    order = state.orders.get(client_order_id)
    if order is None:
        return False
    before = weigh(order)
    if not change(order):
        return False
    _settle(state, order, before, at_ns)
    return True


def _settle(state: Trading, order: Order, before: Weight, at_ns: int) -> None:
    """Carry what changed in an order to exposure, parent and the lists of live and ended orders."""
    after = weigh(order)
    shift(state.exposure, order, before, after)
    if after.cum > before.cum:
        order.filled_ns = at_ns
    parent = _parent_of(state, order)
    if parent is not None:
        parent.cum_qty += after.cum - before.cum
        parent.working_qty += after.working - before.working
        parent.in_doubt_qty += after.doubt - before.doubt
        parent.updated_ns = at_ns
        if after.cum != before.cum:
            apply_tca.on_cum(state, parent, at_ns)
    if after.live != before.live:
        _sort(state, order, parent, live=after.live)


def _parent_of(state: Trading, order: Order) -> ParentState | None:
    return None if order.orphan else state.parents.get(order.parent_id)


def _sort(state: Trading, order: Order, parent: ParentState | None, *, live: bool) -> None:
    name = order.client_order_id
    if live:
        state.orders_live[name] = None
        _leave_ended(state, name)
    else:
        state.orders_live.pop(name, None)
        ended = state.external_ended if order.external else state.orders_ended
        ended[name] = None
        _forget_orders(state, ended)
    if parent is None:
        return
    if live:
        parent.live[name] = None
        parent.ended.pop(name, None)
    else:
        parent.live.pop(name, None)
        remember(parent.ended, name, None, CHILDREN_MAX)
        parent.last_end_ns = order.ended_ns


def _leave_ended(state: Trading, name: ClientOrderId) -> None:
    state.orders_ended.pop(name, None)
    state.external_ended.pop(name, None)


def _forget_orders(state: Trading, ended: dict[ClientOrderId, None]) -> None:
    """Let the oldest ended orders go; one that counts until its fills are booked waits for them.

    So does one that is not sealed and whose parent is not done, up to `UNSEALED_MAX`: without the order its
    late fill would not reach the parent, which would order the same again.
    """
    while len(ended) > ENDED_MAX:
        oldest = next(iter(ended))
        del ended[oldest]
        order = state.orders[oldest]
        if weigh(order).unbooked or (len(ended) < UNSEALED_MAX and _is_awaited(state, order)):
            ended[oldest] = None
            return
        del state.orders[oldest]


def _is_awaited(state: Trading, order: Order) -> bool:
    """Say whether a late fill of an order is still to be credited to a parent that works."""
    parent = _parent_of(state, order)
    return not order.sealed and parent is not None and parent.phase is not Phase.DONE
