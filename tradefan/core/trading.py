"""The durable trading state: `apply` folds records into it, and nothing else changes it.

`apply(state, record)` is pure and total: it never raises and reads no configuration and no
instrument table. What a record cannot change is counted in `unapplied`. Memory is bounded: what
ended leaves, newest `ENDED_MAX` kept, and keys live in windows.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeVar

from msgspec import Struct, field

from tradefan.core.exposure import NOTHING, Exposure, Weight, shift, weigh
from tradefan.core.ledger import Ledger, book_fill, book_opening, book_transfer
from tradefan.core.order import Event, Order, begin_doubt, happen, merge_fill, merge_report, new_order
from tradefan.messages.orders import TERMINAL, OrderStatus, ParentOrder, Phase
from tradefan.messages.records import (
    CancelIntent,
    CancelRefused,
    Cursor,
    Epoch,
    Equity,
    Fill,
    InDoubt,
    Intent,
    ModeChange,
    NotSent,
    Opening,
    Parent,
    ParentFailed,
    PhaseChange,
    Poison,
    Record,
    Report,
    Resolved,
    Sealed,
    Transfer,
)
from tradefan.units import (
    ZERO,
    AccountId,
    ClientOrderId,
    InstrumentId,
    OwnerId,
    ParentId,
    TradeId,
    sign,
)

ENDED_MAX = 1_000
"""Done parents, and ended orders, that stay in memory."""
FILL_KEYS_MAX = 10_000
"""Trade ids remembered per (account, instrument)."""
REFS_MAX = 10_000
"""Idempotency keys remembered per owner."""
CHILDREN_MAX = 20
"""Ended children that a parent names."""
POISON_MAX = 1_000
K = TypeVar("K")
V = TypeVar("V")


class ParentState(Struct):
    """A parent with its sums over all children, kept up to date with every change."""

    order: ParentOrder
    target_qty: Decimal | None
    epoch: int
    phase: Phase = Phase.VALIDATED
    status: OrderStatus = OrderStatus.NEW
    reason: str = ""
    cum_qty: Decimal = ZERO
    working_qty: Decimal = ZERO
    in_doubt_qty: Decimal = ZERO
    filled: Decimal = ZERO
    value: Decimal = ZERO
    live: dict[ClientOrderId, None] = field(default_factory=dict)
    ended: dict[ClientOrderId, None] = field(default_factory=dict)
    attempts: int = 0
    failures: int = 0
    last_end_ns: int | None = None
    updated_ns: int = 0

    @property
    def done_qty(self) -> Decimal:
        """What has traded or still may: never above the order's quantity (I-03)."""
        return self.cum_qty + self.working_qty + self.in_doubt_qty

    @property
    def open_qty(self) -> Decimal:
        """What may still be placed."""
        return max(self.order.order_qty - self.done_qty, ZERO)

    @property
    def shown_status(self) -> OrderStatus:
        """The FIX status as it follows from phase and quantities."""
        if self.phase is Phase.COMPLETING:
            # Its last status is known, but not yet true: the children still live.
            return OrderStatus.PENDING_CANCEL
        if self.phase is not Phase.DONE and self.cum_qty:
            return OrderStatus.PARTIALLY_FILLED
        return self.status

    @property
    def pending_signed(self) -> Decimal:
        """Signed quantity that it will still trade; one that stopped has its children only."""
        rest = self.working_qty + self.in_doubt_qty
        if self.phase is Phase.WORKING:
            rest += self.open_qty
        return sign(self.order.side) * rest


class Trading(Struct):
    """Everything durable. `lsn` is the number of records folded.

    `parents_at` has the open parents by `place_key`: what a target meets is never searched for.
    """

    lsn: int = 0
    unapplied: int = 0
    epoch: int = 0
    epoch_ns: int = 0
    instance: str = ""
    sequence: int = 0
    parent_sequence: int = 0
    parents: dict[ParentId, ParentState] = field(default_factory=dict)
    parents_open: dict[ParentId, None] = field(default_factory=dict)
    parents_done: dict[ParentId, None] = field(default_factory=dict)
    parents_at: dict[str, dict[ParentId, None]] = field(default_factory=dict)
    orders: dict[ClientOrderId, Order] = field(default_factory=dict)
    orders_live: dict[ClientOrderId, None] = field(default_factory=dict)
    orders_ended: dict[ClientOrderId, None] = field(default_factory=dict)
    exposure: Exposure = field(default_factory=Exposure)
    ledger: Ledger = field(default_factory=Ledger)
    fill_keys: dict[AccountId, dict[InstrumentId, dict[TradeId, None]]] = field(default_factory=dict)
    refs: dict[OwnerId, dict[str, ParentId]] = field(default_factory=dict)
    cursors: dict[AccountId, dict[InstrumentId, TradeId | None]] = field(default_factory=dict)
    opened: dict[AccountId, int] = field(default_factory=dict)
    opening_cursors: dict[AccountId, dict[InstrumentId, TradeId | None]] = field(default_factory=dict)
    modes: dict[str, dict[str, ModeChange]] = field(default_factory=dict)
    poisons: dict[str, Poison] = field(default_factory=dict)
    equity: dict[AccountId, Equity] = field(default_factory=dict)
    fills: int = 0
    late_fills: int = 0


def apply(state: Trading, record: Record) -> None:
    """Fold one record into the state; count it where it cannot be applied."""
    state.lsn += 1
    handler = _APPLY.get(type(record))
    try:
        applied = handler is not None and handler(state, record)
    except ArithmeticError:
        # Numbers are checked before anything changes; this is the promise never to raise.
        applied = False
    if not applied:
        state.unapplied += 1


def knows_fill(state: Trading, account: AccountId, instrument: InstrumentId, trade_id: TradeId) -> bool:
    """Say whether a fill was booked already."""
    return trade_id in state.fill_keys.get(account, {}).get(instrument, {})


def in_opening(state: Trading, account: AccountId, instrument: InstrumentId, trade_id: TradeId) -> bool:
    """Say whether the balances that OPENING booked hold a fill already: it is not behind their cursor.

    Ids of digits rise; of others only the cursor itself is known to be inside.
    """
    cursor = state.opening_cursors.get(account, {}).get(instrument)
    if cursor is None or not (cursor.isdecimal() and trade_id.isdecimal()):
        return cursor == trade_id
    return int(trade_id) <= int(cursor)


def place_key(account: AccountId, instrument: InstrumentId, owner: OwnerId) -> str:
    """Name the place that a target is about."""
    return f"{account} {instrument} {owner}"


def _on_epoch(state: Trading, record: Epoch) -> bool:
    if record.epoch <= state.epoch:
        return False
    state.epoch, state.epoch_ns, state.instance = record.epoch, record.at_ns, record.instance
    state.sequence = state.parent_sequence = 0
    return True


# --- parents --------------------------------------------------------------------------------------


def _on_parent(state: Trading, record: Parent) -> bool:
    order = record.order
    if order.parent_id in state.parents or not _sound(order.order_qty):
        return False
    state.parent_sequence += 1
    state.parents[order.parent_id] = ParentState(
        order, record.target_qty, state.epoch, updated_ns=record.at_ns, phase=Phase.WORKING
    )
    state.parents_open[order.parent_id] = None
    place = place_key(order.account, order.instrument, order.owner)
    state.parents_at.setdefault(place, {})[order.parent_id] = None
    _remember(state.refs.setdefault(order.owner, {}), order.ref, order.parent_id, REFS_MAX)
    return True


def _on_phase(state: Trading, record: PhaseChange) -> bool:
    parent = state.parents.get(record.parent_id)
    if parent is None or (parent.phase is Phase.DONE and record.phase is not Phase.DONE):
        return False
    parent.phase, parent.status, parent.reason = record.phase, record.status, record.reason
    parent.updated_ns = record.at_ns
    if record.phase is Phase.DONE:
        state.parents_open.pop(record.parent_id, None)
        _leave_place(state, parent.order)
        state.parents_done[record.parent_id] = None
        _forget_parents(state)
    return True


def _leave_place(state: Trading, order: ParentOrder) -> None:
    place = place_key(order.account, order.instrument, order.owner)
    here = state.parents_at.get(place, {})
    here.pop(order.parent_id, None)
    if not here:
        state.parents_at.pop(place, None)


def _on_parent_failed(state: Trading, record: ParentFailed) -> bool:
    parent = state.parents.get(record.parent_id)
    if parent is None or parent.phase is Phase.DONE:
        return False
    parent.failures += 1
    parent.phase, parent.reason, parent.updated_ns = Phase.PAUSED, "defect", record.at_ns
    return True


def _forget_parents(state: Trading) -> None:
    """Let the oldest done parents go; one with a live child (a late adoption) waits."""
    while len(state.parents_done) > ENDED_MAX:
        oldest = next(iter(state.parents_done))
        del state.parents_done[oldest]
        if state.parents[oldest].live:
            state.parents_done[oldest] = None
            return
        del state.parents[oldest]


# --- orders ---------------------------------------------------------------------------------------


def _on_intent(state: Trading, record: Intent) -> bool:
    known = record.client_order_id in state.orders
    if known or not _sound(record.order_qty, record.reserve_px, record.reserve_per_unit):
        return False
    order = new_order(record, state.epoch)
    state.sequence = max(state.sequence, record.sequence)
    state.orders[order.client_order_id] = order
    parent = state.parents.get(order.parent_id)
    order.orphan = parent is None
    if parent is not None:
        parent.attempts += 1
    _settle(state, order, NOTHING, record.at_ns)
    return True


def _on_report(state: Trading, record: Report) -> bool:
    order = state.orders.get(record.client_order_id)
    qty = record.cum_qty if record.order_qty is None else record.order_qty
    if order is None or not _sound(record.cum_qty, qty):
        return False
    before = weigh(order)
    if not merge_report(order, record):
        return False
    _settle(state, order, before, record.at_ns)
    return True


def _on_fill(state: Trading, record: Fill) -> bool:
    """Book a fill once, whatever the table says: it is the venue's money that moved."""
    known = knows_fill(state, record.account, record.instrument, record.trade_id)
    if known or record.qty <= 0 or not _sound(record.qty, record.price, record.fee):
        return False
    keys = state.fill_keys.setdefault(record.account, {}).setdefault(record.instrument, {})
    _remember(keys, record.trade_id, None, FILL_KEYS_MAX)
    state.fills += 1
    book_fill(state.ledger, record)
    order = None if record.client_order_id is None else state.orders.get(record.client_order_id)
    if order is None or (order.account, order.instrument) != (record.account, record.instrument):
        return True
    before = weigh(order)
    state.late_fills += order.status in TERMINAL and order.filled >= order.venue_cum
    merge_fill(order, record.qty, record.price, record.at_ns)
    parent = _parent_of(state, order)
    if parent is not None:
        parent.filled += record.qty
        parent.value += record.qty * record.price
    _settle(state, order, before, record.at_ns)
    return True


def _on_in_doubt(state: Trading, record: InDoubt) -> bool:
    return _change(
        state,
        record.client_order_id,
        record.at_ns,
        lambda order: begin_doubt(order, record.doubt, record.reason, record.at_ns),
    )


def _on_event(event: Event) -> Callable[[Trading, Any], bool]:
    """Return the handler of a record that is one event of the table."""

    def handle(state: Trading, record: NotSent | CancelIntent | CancelRefused) -> bool:
        return _change(
            state,
            record.client_order_id,
            record.at_ns,
            lambda order: happen(order, event, record.reason, record.at_ns),
        )

    return handle


def _on_resolved(state: Trading, record: Resolved) -> bool:
    event = Event.NOT_PLACED if record.verdict == "NOT_PLACED" else Event.ADOPTED
    reason = event.value if event is Event.NOT_PLACED else record.evidence
    return _change(
        state,
        record.client_order_id,
        record.at_ns,
        lambda order: happen(order, event, reason, record.at_ns),
    )


def _on_sealed(state: Trading, record: Sealed) -> bool:
    order = state.orders.get(record.client_order_id)
    if order is None or order.live:
        return False
    order.sealed = True
    return True


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
    parent = _parent_of(state, order)
    if parent is not None:
        parent.cum_qty += after.cum - before.cum
        parent.working_qty += after.working - before.working
        parent.in_doubt_qty += after.doubt - before.doubt
        parent.updated_ns = at_ns
    if after.live != before.live:
        _sort(state, order, parent, live=after.live)


def _parent_of(state: Trading, order: Order) -> ParentState | None:
    return None if order.orphan else state.parents.get(order.parent_id)


def _sort(state: Trading, order: Order, parent: ParentState | None, *, live: bool) -> None:
    name = order.client_order_id
    if live:
        state.orders_live[name] = None
        state.orders_ended.pop(name, None)
    else:
        state.orders_live.pop(name, None)
        _remember(state.orders_ended, name, None, ENDED_MAX, state.orders)
    if parent is None:
        return
    if live:
        parent.live[name] = None
        parent.ended.pop(name, None)
    else:
        parent.live.pop(name, None)
        _remember(parent.ended, name, None, CHILDREN_MAX)
        parent.last_end_ns = order.ended_ns


# --- books and modes --------------------------------------------------------------------------------


def _on_opening(state: Trading, record: Opening) -> bool:
    if not _sound(record.qty, record.price or ZERO):
        return False
    book_opening(state.ledger, record)
    state.opened.setdefault(record.account, record.at_ns)
    state.cursors.setdefault(record.account, {}).update(record.cursors)
    state.opening_cursors.setdefault(record.account, {}).update(record.cursors)
    return True


def _on_transfer(state: Trading, record: Transfer) -> bool:
    if not _sound(record.qty):
        return False
    book_transfer(state.ledger, record)
    return True


def _on_cursor(state: Trading, record: Cursor) -> bool:
    state.cursors.setdefault(record.account, {})[record.instrument] = record.trade_id
    return True


def _on_poison(state: Trading, record: Poison) -> bool:
    _remember(state.poisons, record.fact_key, record, POISON_MAX)
    return True


def _on_mode(state: Trading, record: ModeChange) -> bool:
    causes = state.modes.setdefault(record.scope, {})
    if record.mode == "NORMAL":
        causes.pop(record.cause, None)
    else:
        causes[record.cause] = record
    if not causes:
        del state.modes[record.scope]
    return True


def _on_equity(state: Trading, record: Equity) -> bool:
    state.equity[record.account] = record
    return True


# --- leaves ---------------------------------------------------------------------------------------


def _sound(*numbers: Decimal) -> bool:
    """Say whether numbers are finite and of a size that money and quantities have."""
    return all((number.is_finite() and -21 < number.adjusted() < 18) or not number for number in numbers)


def _remember(window: dict[K, V], key: K, value: V, most: int, also: dict[K, Order] | None = None) -> None:
    """Put a key at the end of a window; the oldest leave it, and `also`, beyond `most`."""
    window.pop(key, None)
    window[key] = value
    while len(window) > most:
        oldest = next(iter(window))
        del window[oldest]
        if also is not None:
            also.pop(oldest, None)


_APPLY: dict[type[Any], Callable[[Trading, Any], bool]] = {
    Epoch: _on_epoch,
    Parent: _on_parent,
    PhaseChange: _on_phase,
    ParentFailed: _on_parent_failed,
    Intent: _on_intent,
    NotSent: _on_event(Event.NOT_SENT),
    Report: _on_report,
    InDoubt: _on_in_doubt,
    Resolved: _on_resolved,
    CancelIntent: _on_event(Event.CANCEL),
    CancelRefused: _on_event(Event.CANCEL_REJECTED),
    Sealed: _on_sealed,
    Fill: _on_fill,
    Opening: _on_opening,
    Transfer: _on_transfer,
    Cursor: _on_cursor,
    Poison: _on_poison,
    ModeChange: _on_mode,
    Equity: _on_equity,
}
