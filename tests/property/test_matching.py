"""Whatever the market does and whatever we send: matching makes nothing up."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.conformance.venue.bench import BTC, T0, D, spot
from tradefan.core.matching import Execution, Matching
from tradefan.messages.market import BookDelta, BookSnapshot, SessionBreak, Trade
from tradefan.messages.orders import TimeInForce
from tradefan.units import Side
from tradefan.venues.paper_account import PaperAccount, VenueError, Wish
from tradefan.venues.paper_state import MemoryStore, PaperConfig

PRICES = st.integers(95, 105)
QTYS = st.integers(1, 20)
SIDES = st.sampled_from(["buy", "sell"])
LEVELS = st.lists(st.tuples(PRICES, st.integers(0, 20)), max_size=4)


class MatchingMachine(RuleBasedStateMachine):
    """Random markets and orders; `supply` is what a level may still give since its last update."""

    def __init__(self) -> None:
        super().__init__()
        self.book = Matching()
        self.ids = 0
        self.wanted: dict[int, tuple[Side, int | None, int]] = {}
        self.filled: dict[int, int] = {}
        self.supply: dict[tuple[Side, int], int] = {}
        self.updates = 0
        self.event_ns = 0

    @rule(bids=LEVELS, asks=LEVELS)
    def snapshot(self, bids: list[tuple[int, int]], asks: list[tuple[int, int]]) -> None:
        """Replace the book."""
        self.updates += 1
        self.supply = {("sell", price): qty for price, qty in bids if qty}
        self.supply |= {("buy", price): qty for price, qty in asks if qty}
        self.heard(self.book.snapshot(self.updates, bids, asks), from_book=True)

    @rule(bids=LEVELS, asks=LEVELS, lag=st.integers(0, 3))
    def delta(self, bids: list[tuple[int, int]], asks: list[tuple[int, int]], lag: int) -> None:
        """Change levels."""
        self.updates += 1
        self.event_ns += 2
        if self.book.has_book:
            self.supply |= {("sell", price): qty for price, qty in bids}
            self.supply |= {("buy", price): qty for price, qty in asks}
        executions = self.book.delta(self.updates, self.event_ns - lag, bids, asks)
        self.heard(executions, from_book=True)

    @rule(price=PRICES, qty=QTYS, side=SIDES, lag=st.integers(0, 3))
    def trade(self, price: int, qty: int, side: Side, lag: int) -> None:
        """Print: it fills no more than itself, and nobody whom it did not reach."""
        self.event_ns += 2
        executions = self.book.trade(price, qty, side, self.event_ns - lag)
        assert sum(item.qty for item in executions) <= qty
        for item in executions:
            own_side, _, _ = self.wanted[item.order_id]
            reached = item.price >= price if own_side == "buy" else item.price <= price
            assert reached, f"a print at {price} cannot fill {item}"
        self.heard(executions, from_book=False)

    @rule(
        side=SIDES,
        qty=QTYS,
        limit=st.none() | PRICES,
        tif=st.sampled_from(["GTC", "IOC", "FOK"]),
        post_only=st.booleans(),
    )
    def place(self, side: Side, qty: int, limit: int | None, tif: TimeInForce, post_only: bool) -> None:
        """Send an order."""
        self.ids += 1
        self.wanted[self.ids] = (side, limit, qty)
        placed = self.book.place(
            self.ids, side, qty, limit, tif, post_only=post_only and limit is not None and tif == "GTC"
        )
        done = sum(item.qty for item in placed.executions)
        assert done + placed.leaves == qty
        assert (placed.outcome == "FILLED") == (placed.leaves == 0)
        assert (self.ids in self.book.orders) == (placed.outcome == "RESTING")
        if tif == "FOK":
            assert done in (0, qty) or placed.outcome == "RESTING"
        if placed.outcome in ("CLOSED", "WOULD_MATCH"):
            assert not placed.executions
        self.heard(placed.executions, from_book=True)

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """Cancel a resting order."""
        if self.book.orders:
            order_id = data.draw(st.sampled_from(sorted(self.book.orders)))
            assert self.book.cancel(order_id) == self.wanted[order_id][2] - self.filled.get(order_id, 0)

    @rule()
    def drop(self) -> None:
        """End the session."""
        self.book.drop()
        self.supply = {}

    def heard(self, executions: tuple[Execution, ...], *, from_book: bool) -> None:
        """Count a fill: never worse than the limit, never more than wanted."""
        for item in executions:
            side, limit, qty = self.wanted[item.order_id]
            if limit is not None:
                assert item.price <= limit if side == "buy" else item.price >= limit
                assert item.price == limit or not item.maker
            assert item.qty > 0
            self.filled[item.order_id] = self.filled.get(item.order_id, 0) + item.qty
            assert self.filled[item.order_id] <= qty
        if from_book:
            self.drain(executions)

    def drain(self, executions: tuple[Execution, ...]) -> None:
        """A level gives what it showed, once: makers take from whichever level reached them."""
        for item in executions:
            side, _, _ = self.wanted[item.order_id]
            left = item.qty
            prices = sorted((price for own, price in self.supply if own == side), reverse=side == "sell")
            for price in prices:
                within = price <= item.price if side == "buy" else price >= item.price
                exact = item.maker or price == item.price
                if within and exact:
                    used = min(left, self.supply[side, price])
                    self.supply[side, price] -= used
                    left -= used
            assert left == 0, f"{item} was filled from nothing: {self.supply}"

    @invariant()
    def nothing_rests_without_reason(self) -> None:
        """What rests has something left and a queue that is not negative."""
        for order in self.book.orders.values():
            assert order.leaves == self.wanted[order.order_id][2] - self.filled.get(order.order_id, 0) > 0
            assert order.ahead >= 0


TestMatching = MatchingMachine.TestCase
TestMatching.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


class AccountMachine(RuleBasedStateMachine):
    """Random orders on a paper account; an independent ledger is kept from its trades alone."""

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryStore({"USDT": D(5000), "BTC": D(20)})
        self.ledger: dict[str, Decimal] = {"USDT": D(5000), "BTC": D(20)}
        self.account = self.open()
        self.at_ns = T0
        self.seen = 0
        self.names = 0

    def open(self) -> PaperAccount:
        instrument = spot("BTC/USDT", lot="1", tick="1")
        config = PaperConfig(maker_fee=D("-0.0001"), taker_fee=D("0.001"))
        return PaperAccount((instrument,), config, self.store)

    def observe(self, event: Any) -> None:
        self.account.observe(event, self.at_ns)
        self.account.commit(self.at_ns)

    @rule(bids=LEVELS, asks=LEVELS)
    def snapshot(self, bids: list[tuple[int, int]], asks: list[tuple[int, int]]) -> None:
        """Show a book."""
        self.at_ns += 1
        self.observe(BookSnapshot(BTC, self.at_ns, floats(bids), floats(asks), self.at_ns))

    @rule(bids=LEVELS, asks=LEVELS)
    def delta(self, bids: list[tuple[int, int]], asks: list[tuple[int, int]]) -> None:
        """Change it."""
        self.at_ns += 1
        levels = floats(bids), floats(asks)
        self.observe(BookDelta(BTC, self.at_ns, self.at_ns, *levels, self.at_ns, self.at_ns))

    @rule(price=PRICES, qty=QTYS, side=SIDES)
    def trade(self, price: int, qty: int, side: Side) -> None:
        """Print."""
        self.at_ns += 1
        self.observe(Trade(BTC, self.at_ns, float(price), float(qty), side, self.at_ns, self.at_ns))

    @rule(
        side=SIDES,
        qty=QTYS,
        price=PRICES,
        kind=st.sampled_from(["LIMIT", "LIMIT_MAKER", "MARKET"]),
        tif=st.sampled_from(["GTC", "IOC", "FOK"]),
    )
    def place(self, side: Side, qty: int, price: int, kind: Any, tif: Any) -> None:
        """Order; a refusal changes nothing."""
        self.names += 1
        wish = Wish(f"o{self.names}", side, kind, tif if kind == "LIMIT" else "GTC", D(price), D(qty))
        before = (dict(self.totals()), len(self.account.state.orders))
        try:
            self.account.place(BTC, wish, self.at_ns)
        except VenueError:
            assert (dict(self.totals()), len(self.account.state.orders)) == before
        self.account.commit(self.at_ns)

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """Cancel."""
        if self.account.state.orders:
            number = data.draw(st.sampled_from(sorted(self.account.state.orders)))
            self.account.cancel(self.account.state.orders[number], self.at_ns)
            self.account.commit(self.at_ns)

    @rule()
    def restart(self) -> None:
        """Come back from the store: balances and orders as they were."""
        before = self.account.state
        self.account = self.open()
        assert self.account.state == before

    @rule()
    def end_session(self) -> None:
        """Break the session."""
        self.observe(SessionBreak(BTC, 1, "seam", self.at_ns))

    def totals(self) -> dict[str, Decimal]:
        return {asset: item.free + item.locked for asset, item in self.account.state.balances.items()}

    @invariant()
    def balances_are_the_ledger(self) -> None:
        """Opening plus fills less fees is what the account holds, exactly; nothing is overdrawn."""
        for trade in self.store.trades[self.seen :]:
            direction = 1 if trade.side == "buy" else -1
            self.ledger["BTC"] += direction * trade.qty
            self.ledger["USDT"] -= direction * trade.qty * trade.price
            self.ledger[trade.fee_asset] -= trade.fee
        self.seen = len(self.store.trades)
        assert self.totals() == self.ledger
        for item in self.account.state.balances.values():
            assert item.free >= 0
            assert item.locked >= 0

    @invariant()
    def locked_is_what_rests(self) -> None:
        """Exactly what open orders could still need is held back."""
        locked = {"USDT": D(0), "BTC": D(0)}
        for order in self.account.state.orders.values():
            if order.side == "buy":
                locked["USDT"] += order.price * order.leaves_qty
            else:
                locked["BTC"] += order.leaves_qty
        assert {key: item.locked for key, item in self.account.state.balances.items()} == locked

    @invariant()
    def ids_rise(self) -> None:
        """Trade ids are consecutive for ever, over restarts too."""
        assert [trade.trade_id for trade in self.store.trades] == list(range(1, len(self.store.trades) + 1))


def floats(levels: list[tuple[int, int]]) -> tuple[tuple[float, float], ...]:
    return tuple((float(price), float(qty)) for price, qty in levels)


TestAccount = AccountMachine.TestCase
TestAccount.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
