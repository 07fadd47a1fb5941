"""One account of the paper venue: filters, funds, fees and orders over the matching of each market.

It speaks Decimals and the venue's error codes, and knows neither JSON nor connections. Whatever
changes is collected until `commit`, which saves it in one transaction and only then hands out the
events: nothing can be told that a restart would not find.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from decimal import ROUND_DOWN, Decimal
from typing import Literal

from msgspec import Struct

from tradefan.core.matching import Execution, Levels, Matching, Placed
from tradefan.errors import Refused
from tradefan.messages.instrument import Instrument
from tradefan.messages.market import BookDelta, BookSnapshot, SessionBreak, Trade
from tradefan.messages.market import Levels as ObservedLevels
from tradefan.units import ZERO, InstrumentId, Side, to_lots, to_ticks
from tradefan.venues.paper_state import (
    OPEN,
    Changes,
    PaperBalance,
    PaperConfig,
    PaperOrder,
    PaperState,
    PaperStore,
    PaperTrade,
    WireTimeInForce,
    WireType,
)

FEE_STEP = Decimal("0.00000001")
"""Binance keeps 8 decimals of every asset."""

MarketEvent = Trade | BookDelta | BookSnapshot | SessionBreak


class VenueError(Exception):
    """The venue refuses a request in its own words; `data` says more where only a part was refused."""

    def __init__(self, code: int, text: str, status: int = 400, data: object = None) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text
        self.status = status
        self.data = data


class Wish(Struct, frozen=True):
    """An order as it was asked for, its numbers already read."""

    client_order_id: str
    side: Side
    type: WireType
    time_in_force: WireTimeInForce
    price: Decimal
    qty: Decimal


class Told(Struct, frozen=True):
    """One thing for the user stream: a report about `order` as it was then, or the balances."""

    what: Literal["NEW", "TRADE", "CANCELED", "EXPIRED", "BALANCES"]
    order: PaperOrder | None
    trade: PaperTrade | None
    balances: tuple[tuple[str, Decimal, Decimal], ...]
    at_ns: int


class Market(Struct):
    """One instrument with its matching; tick and lot as floats for what is observed."""

    instrument: Instrument
    matching: Matching
    tick: float
    lot: float

    def levels(self, observed: ObservedLevels) -> Levels:
        """Return observed levels in ticks and lots."""
        return [(to_ticks(price, self.tick), to_lots(qty, self.lot)) for price, qty in observed]


class PaperAccount:
    """The truth of one paper account."""

    def __init__(
        self,
        instruments: tuple[Instrument, ...],
        config: PaperConfig,
        store: PaperStore,
        books: Mapping[InstrumentId, Matching] | None = None,
    ) -> None:
        """Take up what the store holds; open orders stand at the end of their queues.

        `books` are those of a predecessor whose orders were forgotten.
        """
        self.config = config
        self.store = store
        self.state: PaperState = store.load()
        known = {} if books is None else books
        self.markets = {item.id: _market(item, known.get(item.id)) for item in instruments}
        self._changes = Changes()
        self._told: list[Told] = []
        for order in self.state.orders.values():
            self._restore(order)

    def know(self, instruments: tuple[Instrument, ...]) -> None:
        """Trade these, too, from now on."""
        for item in instruments:
            self.markets.setdefault(item.id, _market(item, None))

    def forget_orders(self) -> None:
        """Let nothing fill any more: the store refused, so a successor starts from what it holds."""
        for market in self.markets.values():
            market.matching.orders.clear()

    # --- the market ---------------------------------------------------------------------------------

    def observe(self, event: MarketEvent, now_ns: int) -> None:
        """Let the market move the book and fill what rests.

        Anything older than `history_age_ns` is history: the book follows it, nothing fills.
        """
        market = self.markets.get(event.instrument)
        if market is None:
            return
        matching = market.matching
        if isinstance(event, SessionBreak):
            matching.drop()
            return
        live = now_ns - event.recv_ns <= self.config.history_age_ns
        executions: tuple[Execution, ...]
        if isinstance(event, BookDelta):
            bids, asks = market.levels(event.bids), market.levels(event.asks)
            executions = matching.delta(event.last_id, event.event_ns, bids, asks, live=live)
        elif isinstance(event, Trade):
            price, qty = to_ticks(event.price, market.tick), to_lots(event.qty, market.lot)
            executions = matching.trade(price, qty, event.taker_side, event.event_ns, live=live)
        else:
            bids, asks = market.levels(event.bids), market.levels(event.asks)
            executions = matching.snapshot(event.last_id, bids, asks, live=live)
        for execution in executions:
            self._fill(market, self.state.orders[execution.order_id], execution, now_ns)

    # --- requests -----------------------------------------------------------------------------------

    def place(self, instrument: InstrumentId, wish: Wish, now_ns: int) -> tuple[PaperOrder, list[PaperTrade]]:
        """Take an order; a VenueError changed nothing."""
        market = self.markets[instrument]
        self.check_filters(instrument, wish)
        self._check_open(market, wish)
        self._check_funds(market, wish)
        order = self._new_order(instrument, wish, now_ns)
        placed = self._match(market, order)
        if placed.outcome == "WOULD_MATCH":
            raise VenueError(-2010, "Order would immediately match and take.")
        self.state.next_order_id += 1
        self.state.orders[order.order_id] = order
        self._tell("NEW", order, None, now_ns)
        trades = [self._fill(market, order, execution, now_ns) for execution in placed.executions]
        if placed.outcome == "EXPIRED":
            self._end(order, "EXPIRED", now_ns)
        elif placed.outcome == "RESTING":
            self._lock(market, order, order.leaves_qty)
        self._changes.orders[order.order_id] = order
        return order, trades

    def cancel(self, order: PaperOrder, now_ns: int) -> PaperOrder:
        """End an open order."""
        market = self.markets[order.instrument]
        market.matching.cancel(order.order_id)
        self._lock(market, order, -order.leaves_qty)
        self._end(order, "CANCELED", now_ns)
        return order

    def open_orders(self, instrument: InstrumentId | None) -> list[PaperOrder]:
        """Return open orders, oldest first."""
        return [o for o in self.state.orders.values() if instrument is None or o.instrument == instrument]

    def open_order(
        self, instrument: InstrumentId, client_order_id: str | None, order_id: int | None
    ) -> PaperOrder | None:
        """Find an open order by either id."""
        for order in self.state.orders.values():
            named = order.client_order_id == client_order_id or order.order_id == order_id
            if named and order.instrument == instrument:
                return order
        return None

    def find(
        self, instrument: InstrumentId, client_order_id: str | None, order_id: int | None
    ) -> PaperOrder | None:
        """Find any order there ever was; the newest, where a client id was used again."""
        order = self.open_order(instrument, client_order_id, order_id)
        if order is not None:
            return order
        if order_id is not None:
            return self.store.order_by_id(instrument, order_id)
        return self.store.order(instrument, client_order_id or "")

    def commit(self, now_ns: int) -> tuple[Told, ...]:
        """Save what changed, then return what the user stream has to say about it.

        Raises:
            Outage: nothing was saved; this object is ahead of its store and must be thrown away.
        """
        changes = self._changes
        if not (changes.orders or changes.balances):
            return ()
        self.store.save(changes, self.state.next_order_id, self.state.next_trade_id)
        if changes.balances:
            rows = tuple((asset, item.free, item.locked) for asset, item in changes.balances.items())
            self._told.append(Told("BALANCES", None, None, rows, now_ns))
        told, self._told, self._changes = tuple(self._told), [], Changes()
        return told

    # --- checks, in the venue's order -----------------------------------------------------------------

    def check_filters(self, instrument_id: InstrumentId, wish: Wish) -> None:
        """Refuse what breaks a filter; a replacement is looked at before its cancel is carried out."""
        instrument = self.markets[instrument_id].instrument
        if wish.type != "MARKET" and (wish.price <= 0 or wish.price % instrument.price_tick):
            raise VenueError(-1013, "Filter failure: PRICE_FILTER")
        in_range = instrument.min_qty <= wish.qty <= instrument.max_qty
        if not in_range or wish.qty % instrument.qty_lot:
            raise VenueError(-1013, "Filter failure: LOT_SIZE")
        if wish.type != "MARKET" and wish.price * wish.qty < instrument.min_notional:
            raise VenueError(-1013, "Filter failure: NOTIONAL")
        if len(self.open_orders(instrument.id)) >= self.config.orders_max:
            raise VenueError(-1013, "Filter failure: MAX_NUM_ORDERS")

    def _check_open(self, market: Market, wish: Wish) -> None:
        instrument = market.instrument
        if not market.matching.open or instrument.status != "TRADING":
            raise VenueError(-2010, "Market is closed.")
        if self.open_order(instrument.id, wish.client_order_id, None) is not None:
            raise VenueError(-2010, "Duplicate order sent.")
        if wish.type == "MARKET":
            # The last price stands for Binance's five minute average: the touch is close to both.
            touch = market.matching.preview(wish.side, 1, None)
            price = touch[0][0] * instrument.price_tick if touch else None
            if price is not None and price * wish.qty < instrument.min_notional:
                raise VenueError(-1013, "Filter failure: NOTIONAL")

    def _check_funds(self, market: Market, wish: Wish) -> None:
        instrument = market.instrument
        asset, needed = instrument.base, wish.qty
        if wish.side == "buy":
            asset, needed = instrument.quote, wish.price * wish.qty
            if wish.type == "MARKET":
                taken = market.matching.preview("buy", int(wish.qty / instrument.qty_lot), None)
                needed = sum((_notional(instrument, price, lots) for price, lots in taken), ZERO)
        held = self.state.balances.get(asset)
        if held is None or held.free < needed:
            raise VenueError(-2010, "Account has insufficient balance for requested action.")

    # --- changes --------------------------------------------------------------------------------------

    def _restore(self, order: PaperOrder) -> None:
        market = self.markets.get(order.instrument)
        if market is not None:
            price, leaves = _in_steps(market.instrument, order.price, order.leaves_qty)
            market.matching.restore(order.order_id, order.side, price, leaves)

    def _new_order(self, instrument: InstrumentId, wish: Wish, now_ns: int) -> PaperOrder:
        number = self.state.next_order_id
        return PaperOrder(
            order_id=number,
            client_order_id=wish.client_order_id or f"paper-{number}",
            instrument=instrument,
            side=wish.side,
            type=wish.type,
            time_in_force=wish.time_in_force,
            price=wish.price,
            qty=wish.qty,
            cum_qty=ZERO,
            cum_quote=ZERO,
            status="NEW",
            created_ns=now_ns,
            updated_ns=now_ns,
        )

    def _match(self, market: Market, order: PaperOrder) -> Placed:
        price, qty = _in_steps(market.instrument, order.price, order.qty)
        limit = None if order.type == "MARKET" else price
        post_only = order.type == "LIMIT_MAKER"
        return market.matching.place(
            order.order_id, order.side, qty, limit, order.time_in_force, post_only=post_only
        )

    def _fill(self, market: Market, order: PaperOrder, execution: Execution, now_ns: int) -> PaperTrade:
        """Book one execution: pay from what is locked if the order rested, receive less the fee."""
        instrument = market.instrument
        price, qty = execution.price * instrument.price_tick, execution.qty * instrument.qty_lot
        notional = _notional(instrument, execution.price, execution.qty)
        rate = self.config.maker_fee if execution.maker else self.config.taker_fee
        buys = order.side == "buy"
        pay, paid = (instrument.quote, notional) if buys else (instrument.base, qty)
        receive, received = (instrument.base, qty) if buys else (instrument.quote, notional)
        fee = (received * rate).quantize(FEE_STEP, ROUND_DOWN)
        if execution.maker:
            self._balance(pay).locked -= paid
        else:
            self._balance(pay).free -= paid
        self._balance(receive).free += received - fee
        trade = PaperTrade(
            trade_id=self.state.next_trade_id,
            order_id=order.order_id,
            instrument=order.instrument,
            side=order.side,
            price=price,
            qty=qty,
            fee=fee,
            fee_asset=receive,
            maker=execution.maker,
            at_ns=now_ns,
        )
        self.state.next_trade_id += 1
        self._changes.trades.append(trade)
        self._count(order, trade, notional)
        return trade

    def _count(self, order: PaperOrder, trade: PaperTrade, notional: Decimal) -> None:
        order.cum_qty += trade.qty
        order.cum_quote += notional
        order.updated_ns = trade.at_ns
        order.status = "PARTIALLY_FILLED" if order.leaves_qty else "FILLED"
        assert order.leaves_qty >= 0, f"order {order.order_id} is overfilled: {order}"
        self._changes.orders[order.order_id] = order
        if order.status == "FILLED":
            del self.state.orders[order.order_id]
        self._tell("TRADE", order, trade, trade.at_ns)

    def _lock(self, market: Market, order: PaperOrder, qty: Decimal) -> None:
        """Move funds of a resting quantity from free to locked; a negative quantity back."""
        instrument = market.instrument
        buys = order.side == "buy"
        balance = self._balance(instrument.quote if buys else instrument.base)
        held = order.price * qty if buys else qty
        balance.free -= held
        balance.locked += held

    def _end(self, order: PaperOrder, status: Literal["CANCELED", "EXPIRED"], now_ns: int) -> None:
        order.status, order.updated_ns = status, now_ns
        self._changes.orders[order.order_id] = order
        del self.state.orders[order.order_id]
        self._tell(status, order, None, now_ns)

    def _balance(self, asset: str) -> PaperBalance:
        balance = self.state.balances.setdefault(asset, PaperBalance())
        self._changes.balances[asset] = balance
        return balance

    def _tell(
        self,
        what: Literal["NEW", "TRADE", "CANCELED", "EXPIRED"],
        order: PaperOrder,
        trade: PaperTrade | None,
        at_ns: int,
    ) -> None:
        assert (what in ("NEW", "TRADE")) or order.status not in OPEN, f"{what} of a live {order}"
        self._told.append(Told(what, copy(order), trade, (), at_ns))


def _market(instrument: Instrument, book: Matching | None) -> Market:
    if instrument.kind != "spot":
        raise Refused("UNSUPPORTED_KIND", f"paper trades spot, and {instrument.id} is {instrument.kind}")
    matching = Matching() if book is None else book
    matching.open = False
    return Market(instrument, matching, float(instrument.price_tick), float(instrument.qty_lot))


def _in_steps(instrument: Instrument, price: Decimal, qty: Decimal) -> tuple[int, int]:
    return int(price / instrument.price_tick), int(qty / instrument.qty_lot)


def _notional(instrument: Instrument, ticks: int, lots: int) -> Decimal:
    return instrument.notional(lots * instrument.qty_lot, ticks * instrument.price_tick)
