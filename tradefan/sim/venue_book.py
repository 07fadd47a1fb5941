"""The venue's own book of one account: orders, trades, balances and the log. It is the truth.

Everything that ever changed keeps its versions, so that a query can be answered as of a moment ago.
What may be done is decided elsewhere (`venue_engine`); here it is carried out, and the books balance:
a balance is what was there at the start, plus trades less fees, plus transfers, at every instant.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import ROUND_DOWN, Decimal
from typing import Literal, cast

from msgspec.structs import replace

from tradefan.messages.instrument import Instrument
from tradefan.sim.venue_records import SimOrder, SimTrade, What, picture_at
from tradefan.sim.venue_wallet import Wallet
from tradefan.sim.witness import VenueEvent
from tradefan.units import ZERO, InstrumentId, Side, sign
from tradefan.venues.paper_account import FEE_STEP, Told, Wish
from tradefan.venues.paper_state import (
    OPEN,
    PaperOrder,
    PaperTrade,
)

FeeMode = Literal["received", "quote", "third"]
THIRD = "BNB"


class Book:
    """One account; `horizon_ns` is how far back a query may look."""

    def __init__(
        self,
        instruments: tuple[Instrument, ...],
        balances: dict[str, Decimal],
        horizon_ns: int,
        *,
        fee_rate: Decimal,
        fees: FeeMode = "received",
        own_ids: bool = False,
    ) -> None:
        """Open the account; with `own_ids` each instrument counts its trades by itself."""
        self.orders: dict[int, SimOrder] = {}
        self.trades: list[SimTrade] = []
        self.wallet = Wallet(balances, horizon_ns)
        self.log: list[VenueEvent] = []
        self.live: dict[int, SimOrder] = {}
        self.told: list[Told] = []
        """What the private stream has to say and was not fetched yet."""
        self._recent: dict[int, SimOrder] = {}
        self._of_client: dict[tuple[InstrumentId, str], list[SimOrder]] = {}
        self._trades_of: dict[InstrumentId, list[SimTrade]] = {one.id: [] for one in instruments}
        self._instruments = {one.id: one for one in instruments}
        self._horizon_ns = horizon_ns
        self._fee_rate = fee_rate
        self._fees = fees
        self._own_ids = own_ids
        self._next_order = self._next_trade = 1

    # --- balances -------------------------------------------------------------------------------------

    @property
    def balances(self) -> dict[str, Decimal]:
        """What the account holds, free and locked together."""
        return self.wallet.balances

    def transfer(self, asset: str, qty: Decimal, at_ns: int) -> None:
        """Move something in, or out where it is negative."""
        self.wallet.pay(asset, qty)
        self._note(at_ns, "transfer", "", None, qty, asset)
        self.settle(at_ns)

    def settle(self, at_ns: int) -> None:
        """End one change of the book: balances are remembered, and told where they changed."""
        rows = self.wallet.settle(at_ns)
        if rows:
            self.told.append(Told("BALANCES", None, None, rows, at_ns))

    def _lock(self, order: SimOrder, qty: Decimal) -> None:
        """Bring what an order holds to what a quantity needs."""
        held = self.needed(order.instrument, order.side, qty, order.price)
        self.wallet.lock(self.pays(order.instrument, order.side), held - order.locked)
        order.locked = held

    def pays(self, instrument: InstrumentId, side: Side) -> str:
        """Return the asset that an order of a side spends."""
        rules = self._instruments[instrument]
        return rules.quote if side == "buy" else rules.base

    def needed(self, instrument: InstrumentId, side: Side, qty: Decimal, price: Decimal) -> Decimal:
        """Return how much of it."""
        return qty * price if side == "buy" else qty

    # --- orders ---------------------------------------------------------------------------------------

    def accept(self, instrument: InstrumentId, wish: Wish, ticks: int, at_ns: int, *, ours: bool) -> SimOrder:
        """Take an order into the book, with its whole quantity locked."""
        number = self.take_order_id()
        order = SimOrder(
            order_id=number,
            client_order_id=wish.client_order_id or f"sim-{number}",
            instrument=instrument,
            ours=ours,
            side=wish.side,
            price=wish.price,
            qty=wish.qty,
            cum_qty=ZERO,
            status="NEW",
            accepted_ns=at_ns,
            type=wish.type,
            time_in_force=wish.time_in_force,
            ticks=ticks,
        )
        self.orders[number] = self.live[number] = self._recent[number] = order
        self._of_client.setdefault((instrument, order.client_order_id), []).append(order)
        if wish.type != "MARKET":
            self._lock(order, order.qty)
        self._note(at_ns, "accepted", order.client_order_id, number, order.qty)
        self._tell("NEW", order, None, at_ns)
        return order

    def take_order_id(self) -> int:
        """Return the next order's number."""
        self._next_order += 1
        return self._next_order - 1

    def end(self, order: SimOrder, status: str, what: What, at_ns: int) -> None:
        """End an open order without a fill."""
        order.status, order.ended_ns = status, at_ns
        self.live.pop(order.order_id)
        self._lock(order, ZERO)
        kind: Literal["canceled", "expired"] = "canceled" if status == "CANCELED" else "expired"
        self._note(at_ns, kind, order.client_order_id, order.order_id, order.leaves, status)
        self._tell(what, order, None, at_ns)

    def open_order(
        self, instrument: InstrumentId, client_order_id: str | None, order_id: int | None
    ) -> SimOrder | None:
        """Find an open order by either id."""
        order = self.find(instrument, client_order_id, order_id)
        return order if order is not None and order.ended_ns is None else None

    def find(
        self, instrument: InstrumentId, client_order_id: str | None, order_id: int | None
    ) -> SimOrder | None:
        """Find any order there ever was; the newest, where a client id was used again."""
        return next(iter(self.named(instrument, client_order_id, order_id)), None)

    def named(
        self, instrument: InstrumentId, client_order_id: str | None, order_id: int | None
    ) -> list[SimOrder]:
        """Return all orders of an id, the newest first."""
        if order_id is not None:
            order = self.orders.get(order_id)
            return [order] if order is not None and order.instrument == instrument else []
        return self._of_client.get((instrument, client_order_id or ""), [])[::-1]

    def reject(self, instrument: InstrumentId, wish: Wish, at_ns: int) -> None:
        """Tell the private stream of an order that never was."""
        order = SimOrder(
            order_id=self.take_order_id(),
            client_order_id=wish.client_order_id,
            instrument=instrument,
            ours=True,
            side=wish.side,
            price=wish.price,
            qty=wish.qty,
            cum_qty=ZERO,
            status="REJECTED",
            accepted_ns=at_ns,
            type=wish.type,
        )
        self._tell("REJECTED", order, None, at_ns)

    def remember_old(self, instrument: InstrumentId, wish: Wish, at_ns: int) -> None:
        """Let a trade of others have been before the account's opening balances: only queries show it."""
        order = self.accept(instrument, wish, 0, at_ns, ours=False)
        self.live.pop(order.order_id)
        order.cum_qty, order.cum_quote = order.qty, order.qty * order.price
        order.status, order.ended_ns = "FILLED", at_ns
        self._lock(order, ZERO)
        asset = self._instruments[instrument].quote
        self._trade(order, order.qty, order.price, ZERO, asset, at_ns, maker=False, named=True)
        order.remember(at_ns)
        self.told.clear()
        self.log.pop()

    # --- trades ---------------------------------------------------------------------------------------

    def fill(
        self,
        order: SimOrder,
        qty: Decimal,
        price: Decimal,
        at_ns: int,
        *,
        maker: bool,
        named: bool = True,
    ) -> SimTrade:
        """Book one execution of an order, open or ended; beyond its quantity it is an overfill."""
        rules, notional = self._instruments[order.instrument], qty * price
        pays = self.pays(order.instrument, order.side)
        gets = rules.base if order.side == "buy" else rules.quote
        self.wallet.pay(pays, -notional if order.side == "buy" else -qty)
        self.wallet.pay(gets, qty if order.side == "buy" else notional)
        fee_asset, fee = self._fee(order, qty, notional, gets)
        self.wallet.pay(fee_asset, -fee)
        trade = self._trade(order, qty, price, fee, fee_asset, at_ns, maker=maker, named=named)
        self.trades.append(trade)
        self._count(order, qty, notional, at_ns)
        self._note(at_ns, "fill", order.client_order_id, order.order_id, qty, trade.trade_id)
        self._tell("TRADE", order, trade, at_ns)
        return trade

    def _fee(self, order: SimOrder, qty: Decimal, notional: Decimal, gets: str) -> tuple[str, Decimal]:
        """Return what is taken and of which asset; of what was received where the other is not there."""
        quote = self._instruments[order.instrument].quote
        if self._fees == "third" and THIRD not in (gets, self.pays(order.instrument, order.side)):
            fee = (notional * self._fee_rate / 100).quantize(FEE_STEP, ROUND_DOWN)
            if self.wallet.free(THIRD) >= fee:
                return THIRD, fee
        if self._fees == "quote":
            fee = (notional * self._fee_rate).quantize(FEE_STEP, ROUND_DOWN)
            if gets == quote or self.wallet.free(quote) >= fee:
                return quote, fee
        received = qty if order.side == "buy" else notional
        return gets, (received * self._fee_rate).quantize(FEE_STEP, ROUND_DOWN)

    def _count(self, order: SimOrder, qty: Decimal, notional: Decimal, at_ns: int) -> None:
        order.cum_qty += qty
        order.cum_quote += notional
        if order.cum_qty >= order.qty:
            order.status = "FILLED"
        elif order.ended_ns is None:
            order.status = "PARTIALLY_FILLED"
        if order.ended_ns is None:
            if order.type != "MARKET":
                self._lock(order, max(order.leaves, ZERO))
            if order.status == "FILLED":
                order.ended_ns = at_ns
                self.live.pop(order.order_id)

    def _trade(
        self,
        order: SimOrder,
        qty: Decimal,
        price: Decimal,
        fee: Decimal,
        fee_asset: str,
        at_ns: int,
        *,
        maker: bool,
        named: bool,
    ) -> SimTrade:
        known = self._trades_of[order.instrument]
        number, self._next_trade = self._next_trade, self._next_trade + 1
        if self._own_ids:
            number = known[-1].number + 1 if known else 1
        trade = SimTrade(
            trade_id=str(number) if named else "",
            order_id=order.order_id,
            client_order_id=order.client_order_id,
            instrument=order.instrument,
            ours=order.ours,
            side=order.side,
            qty=qty,
            price=price,
            fee=fee,
            fee_asset=fee_asset,
            at_ns=at_ns,
            overfill=order.cum_qty + qty > order.qty,
            number=number,
            maker=maker,
            named=named,
        )
        trade.remember(at_ns)
        known.append(trade)
        return trade

    def ids_alike(self, trade: SimTrade) -> bool:
        """Say whether a trade of another instrument has the same id."""
        others = (trades for one, trades in self._trades_of.items() if one != trade.instrument)
        return any(trades and trades[0].number <= trade.number <= trades[-1].number for trades in others)

    # --- revisions --------------------------------------------------------------------------------------

    def bust(self, trade: SimTrade, at_ns: int) -> bool:
        """Take a trade back, fee and all, where the account still has what it brought."""
        return self._revise(trade, ZERO, trade.price, -trade.fee, at_ns)

    def correct(self, trade: SimTrade, qty: Decimal, price: Decimal, at_ns: int) -> bool:
        """Change a trade; its fee stays."""
        return self._revise(trade, qty, price, ZERO, at_ns)

    def _revise(self, trade: SimTrade, qty: Decimal, price: Decimal, fee: Decimal, at_ns: int) -> bool:
        """Change a trade; what an open order has lost by it may trade again, and is locked again."""
        rules, order = self._instruments[trade.instrument], self.orders[trade.order_id]
        bought = sign(trade.side) * (qty - trade.qty)
        spent = sign(trade.side) * (qty * price - trade.qty * trade.price)
        moves: dict[str, Decimal] = {}
        for asset, change in ((rules.base, bought), (rules.quote, -spent), (trade.fee_asset, -fee)):
            moves[asset] = moves.get(asset, ZERO) + change
        held = ZERO
        if order.ended_ns is None:
            open_qty = order.leaves + trade.qty - qty
            held = self.needed(order.instrument, order.side, open_qty, order.price) - order.locked
        pays = self.pays(order.instrument, order.side)
        free = {asset: self.wallet.free(asset) + change for asset, change in moves.items()}
        free[pays] -= held
        if trade.busted or any(left < 0 for left in free.values()):
            return False
        for asset, change in moves.items():
            self.wallet.pay(asset, change)
        order.cum_qty += qty - trade.qty
        order.cum_quote += qty * price - trade.qty * trade.price
        if order.ended_ns is None:
            self._lock(order, order.leaves)
            order.status = "PARTIALLY_FILLED" if order.cum_qty else "NEW"
        order.remember(at_ns)
        what: Literal["bust", "correct"] = "correct" if qty else "bust"
        trade.busted = not qty
        if qty:
            trade.qty, trade.price = qty, price
        trade.remember(at_ns)
        self._note(at_ns, what, order.client_order_id, order.order_id, qty, trade.trade_id)
        return True

    # --- what was, a moment ago -------------------------------------------------------------------------

    def open_at(self, instrument: InstrumentId | None, at_ns: int) -> list[PaperOrder]:
        """Return the orders that were open at an instant, oldest first."""
        self._forget(at_ns)
        pictures = (
            picture_at(order.versions, at_ns)
            for order in self._recent.values()
            if instrument is None or order.instrument == instrument
        )
        return [picture for picture in pictures if picture is not None and picture.status in OPEN]

    def trades_at(
        self, instrument: InstrumentId, from_id: int | None, limit: int, at_ns: int
    ) -> list[tuple[SimTrade, PaperTrade]]:
        """Return trades as they stood at an instant: the first from a number on, or else the newest."""
        found = []
        for trade in self._backwards(instrument, from_id or 0):
            row = picture_at(trade.versions, at_ns)
            if row is not None:
                found.append((trade, row))
                if from_id is None and len(found) == limit:
                    break
        found.reverse()
        return found[:limit]

    def _backwards(self, instrument: InstrumentId, from_id: int) -> Iterator[SimTrade]:
        for trade in reversed(self._trades_of[instrument]):
            if trade.number < from_id:
                return
            yield trade

    def _forget(self, at_ns: int) -> None:
        gone = [
            number
            for number, order in self._recent.items()
            if order.ended_ns is not None and order.ended_ns < at_ns - self._horizon_ns
        ]
        for number in gone:
            del self._recent[number]

    # --- log and stream ---------------------------------------------------------------------------------

    def arrived(
        self, what: Literal["create", "cancel"], client_order_id: str, qty: Decimal, at_ns: int
    ) -> None:
        """Write down a request."""
        self._note(at_ns, what, client_order_id, None, qty)

    def rejected(self, client_order_id: str, text: str, at_ns: int) -> None:
        """Write down that an order was not taken."""
        self._note(at_ns, "rejected", client_order_id, None, ZERO, text)

    def _note(
        self,
        at_ns: int,
        what: str,
        client_order_id: str,
        order_id: int | None,
        qty: Decimal = ZERO,
        text: str = "",
    ) -> None:
        self.log.append(VenueEvent(at_ns, what, client_order_id, order_id, qty, text))  # type: ignore[arg-type]

    def _tell(self, what: What, order: SimOrder, trade: SimTrade | None, at_ns: int) -> None:
        picture = order.remember(at_ns)
        row = trade.versions[-1][1] if trade is not None else None
        if row is not None and trade is not None and not trade.named:
            row = replace(row, trade_id=-1)
        # The paper venue never prevents or rejects, so its type lacks these two words.
        self.told.append(Told(cast("Literal['NEW']", what), picture, row, (), at_ns))
