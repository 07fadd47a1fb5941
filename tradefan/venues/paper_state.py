"""What a paper account knows for ever, and the store that keeps it.

The machine keeps balances and open orders; whatever has ended lives in the store alone and is read
from there, so memory stays flat however long it runs.
"""

from __future__ import annotations

from copy import copy
from decimal import Decimal
from typing import Literal, Protocol

from msgspec import Struct

from tradefan.units import MS, SECOND, ZERO, InstrumentId, Side

WireType = Literal["LIMIT", "LIMIT_MAKER", "MARKET"]
WireTimeInForce = Literal["GTC", "IOC", "FOK"]
OPEN = ("NEW", "PARTIALLY_FILLED")
"""Statuses of an order that may still trade."""


class PaperConfig(Struct, frozen=True):
    """Rules of the paper venue.

    `latency_ns` is the way there and back: half passes before a request meets the book, half
    before the answer is heard. Fees are shares of the received amount, negative for a rebate.
    With `stream_first` the user stream overtakes the answer, as it may at a real venue.
    """

    maker_fee: Decimal = Decimal("0.001")
    taker_fee: Decimal = Decimal("0.001")
    latency_ns: int = 20 * MS
    orders_max: int = 200
    stream_first: bool = False
    history_age_ns: int = 5 * SECOND


class PaperBalance(Struct):
    """One asset: what may be spent, and what open orders hold."""

    free: Decimal = ZERO
    locked: Decimal = ZERO


class PaperOrder(Struct):
    """One order; `price` is zero for a market order, `status` a word of Binance."""

    order_id: int
    client_order_id: str
    instrument: InstrumentId
    side: Side
    type: WireType
    time_in_force: WireTimeInForce
    price: Decimal
    qty: Decimal
    cum_qty: Decimal
    cum_quote: Decimal
    status: str
    created_ns: int
    updated_ns: int

    @property
    def leaves_qty(self) -> Decimal:
        """What has not been filled."""
        return self.qty - self.cum_qty


class PaperTrade(Struct, frozen=True):
    """One fill; `fee` is negative for a rebate."""

    trade_id: int
    order_id: int
    instrument: InstrumentId
    side: Side
    price: Decimal
    qty: Decimal
    fee: Decimal
    fee_asset: str
    maker: bool
    at_ns: int


class PaperState(Struct):
    """An account as its machine holds it; ids rise for ever, also over resets."""

    epoch: int
    next_order_id: int
    next_trade_id: int
    balances: dict[str, PaperBalance]
    orders: dict[int, PaperOrder]
    """Open orders by id, oldest first."""


class PaperSaved(Struct):
    """An account to begin again from: what it holds, and what it may be asked of before that."""

    state: PaperState
    trades: list[PaperTrade]
    """The newest of each instrument."""
    orders: list[PaperOrder] = []
    """The newest, ended ones too: whoever starts asks for them, and goes on when each is known."""


class Changes(Struct):
    """What one request or one market event changed: saved as one transaction before it is told."""

    orders: dict[int, PaperOrder] = {}
    trades: list[PaperTrade] = []
    balances: dict[str, PaperBalance] = {}


class PaperStore(Protocol):
    """Keeps one account; every call is finished when it returns, and raises Outage when it cannot."""

    def load(self) -> PaperState:
        """Return what is kept, with open orders only."""
        ...

    def save(self, changes: Changes, next_order_id: int, next_trade_id: int) -> None:
        """Write all or nothing."""
        ...

    def order(self, instrument: InstrumentId, client_order_id: str) -> PaperOrder | None:
        """Return the newest order of this client id."""
        ...

    def order_by_id(self, instrument: InstrumentId, order_id: int) -> PaperOrder | None:
        """Return an order by the venue's id."""
        ...

    def orders_last(self, limit: int) -> tuple[PaperOrder, ...]:
        """Return the newest orders, ended ones too, oldest first."""
        ...

    def trades_after(self, instrument: InstrumentId, trade_id: int, limit: int) -> tuple[PaperTrade, ...]:
        """Return the oldest trades with a higher id, in order."""
        ...

    def trades_last(self, instrument: InstrumentId, limit: int) -> tuple[PaperTrade, ...]:
        """Return the newest trades, oldest first."""
        ...


class MemoryStore:
    """A store that forgets when the process ends: for tests and simulation."""

    def __init__(self, balances: dict[str, Decimal]) -> None:
        """Open an account that holds `balances`."""
        self.epoch = 1
        self.next_order_id = self.next_trade_id = 1
        self.balances = {asset: PaperBalance(free) for asset, free in balances.items()}
        self.orders: dict[int, PaperOrder] = {}
        self.trades: list[PaperTrade] = []

    @classmethod
    def of(cls, saved: PaperSaved) -> MemoryStore:
        """Return a store that goes on from what was saved."""
        state, store = saved.state, cls({})
        store.epoch, store.next_order_id, store.next_trade_id = (
            state.epoch,
            state.next_order_id,
            state.next_trade_id,
        )
        store.balances, store.trades = state.balances, list(saved.trades)
        known = {order.order_id: order for order in saved.orders} | state.orders
        store.orders = dict(sorted(known.items()))
        return store

    def load(self) -> PaperState:
        """Return copies, as a disk would."""
        balances = {asset: PaperBalance(item.free, item.locked) for asset, item in self.balances.items()}
        orders = {number: copy(order) for number, order in self.orders.items() if order.status in OPEN}
        return PaperState(self.epoch, self.next_order_id, self.next_trade_id, balances, orders)

    def save(self, changes: Changes, next_order_id: int, next_trade_id: int) -> None:
        """Keep copies."""
        self.next_order_id, self.next_trade_id = next_order_id, next_trade_id
        self.trades.extend(changes.trades)
        for number, order in changes.orders.items():
            self.orders[number] = copy(order)
        for asset, item in changes.balances.items():
            self.balances[asset] = PaperBalance(item.free, item.locked)

    def order(self, instrument: InstrumentId, client_order_id: str) -> PaperOrder | None:
        """Scan from the newest."""
        for order in reversed(self.orders.values()):
            if order.client_order_id == client_order_id and order.instrument == instrument:
                return order
        return None

    def order_by_id(self, instrument: InstrumentId, order_id: int) -> PaperOrder | None:
        """Look up."""
        order = self.orders.get(order_id)
        return order if order is not None and order.instrument == instrument else None

    def orders_last(self, limit: int) -> tuple[PaperOrder, ...]:
        """Look up."""
        return tuple(self.orders.values())[-limit:]

    def trades_after(self, instrument: InstrumentId, trade_id: int, limit: int) -> tuple[PaperTrade, ...]:
        """Scan."""
        found = [item for item in self.trades if item.instrument == instrument and item.trade_id > trade_id]
        return tuple(found[:limit])

    def trades_last(self, instrument: InstrumentId, limit: int) -> tuple[PaperTrade, ...]:
        """Scan."""
        found = [item for item in self.trades if item.instrument == instrument]
        return tuple(found[-limit:])
