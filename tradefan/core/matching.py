"""Our orders against a live external book, in integer ticks and lots of one instrument.

The external book is what the venue shows of everybody else; our own resting orders stand beside it,
never in it, so two orders of one account cannot trade with each other. Rules, on the side of caution:

* Quantity that we take from a level is gone until the venue next updates that level.
* A resting order waits behind the quantity shown at its price when it arrived. Only prints (public
  trades) at its price, by an aggressor of the other side, eat that queue and then fill it. A level
  that shrinks by cancels does not advance us; the queue is only capped at what is shown.
* A print through its price, or the other side of the book reaching its price, fills it as maker.
* One print fills our orders by no more than its own quantity.

Trades and depth come by different roads: a depth update may already contain a print that arrives
later. Each queue therefore remembers the event time at which it was last read from the book, and a
print from before that does not count against it.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

from tradefan.messages.orders import TimeInForce
from tradefan.units import Side, opposite

Levels: TypeAlias = list[tuple[int, int]]
"""(ticks, lots) pairs; in an update zero lots remove the level."""

LEVELS_MAX = 20_000
"""Per side; beyond it the half that is farther from the touch is forgotten."""

Outcome = Literal["FILLED", "RESTING", "EXPIRED", "WOULD_MATCH", "CLOSED"]


class Execution(Struct, frozen=True, array_like=True):
    """A fill of one of our orders."""

    order_id: int
    price: int
    qty: int
    maker: bool


class Placed(Struct, frozen=True, array_like=True):
    """What became of an order on arrival; `leaves` rests when RESTING and is dropped otherwise."""

    outcome: Outcome
    executions: tuple[Execution, ...]
    leaves: int


class Resting(Struct):
    """One of our orders on the book; `ahead` lots of others are filled before it.

    `as_of_ns` is the venue's event time of the book from which `ahead` was last read.
    """

    order_id: int
    side: Side
    price: int
    leaves: int
    ahead: int
    as_of_ns: int


class Matching(Struct):
    """State of one instrument: the external book as it is left for us, and our resting orders.

    `open` says that fills may happen; a book without it is history or a session's first half.
    """

    has_book: bool = False
    open: bool = False
    last_id: int = 0
    event_ns: int = 0
    bids: dict[int, int] = {}
    asks: dict[int, int] = {}
    orders: dict[int, Resting] = {}

    # --- the market ---------------------------------------------------------------------------------

    def snapshot(
        self, last_id: int, bids: Levels, asks: Levels, *, live: bool = True
    ) -> tuple[Execution, ...]:
        """Replace the book; a queue whose place is unknown begins behind everything that is shown."""
        known = self.open and live
        self.has_book, self.open, self.last_id = True, known, last_id
        self.bids = {price: qty for price, qty in bids if qty > 0}
        self.asks = {price: qty for price, qty in asks if qty > 0}
        if not known:
            return self._opened() if live else ()
        self._cap(self.event_ns)
        return self._cross_all()

    def delta(
        self, last_id: int, event_ns: int, bids: Levels, asks: Levels, *, live: bool = True
    ) -> tuple[Execution, ...]:
        """Apply absolute quantities of changed levels; one that is not newer is ignored.

        Whoever sends deltas has checked their chain. Without `live` (history that is played at
        once) the book follows and nothing fills.
        """
        if not self.has_book or last_id <= self.last_id:
            return ()
        self.last_id, self.event_ns = last_id, max(self.event_ns, event_ns)
        _update(self.bids, bids, keep_high=True)
        _update(self.asks, asks, keep_high=False)
        if not (self.open and live):
            self.open = False
            return self._opened() if live else ()
        if not self.orders:
            return ()
        self._cap(event_ns)
        return self._cross("buy", [price for price, qty in asks if qty > 0]) + self._cross(
            "sell", [price for price, qty in bids if qty > 0]
        )

    def trade(
        self, price: int, qty: int, taker_side: Side, event_ns: int, *, live: bool = True
    ) -> tuple[Execution, ...]:
        """Let a public trade fill what it went through, then what waited at its price."""
        if not live:
            self.open = False
        if not self.open:
            return ()
        self.event_ns = max(self.event_ns, event_ns)
        executions: list[Execution] = []
        for order in self._through(price, event_ns):
            qty -= self._fill(order, qty, executions)
        if qty > 0:
            self._print_at(price, qty, opposite(taker_side), event_ns, executions)
        return tuple(executions)

    def drop(self) -> None:
        """Forget the book (session break); resting orders stay, nothing fills until the next one."""
        self.has_book = self.open = False
        self.last_id = self.event_ns = 0
        self.bids, self.asks = {}, {}

    # --- our orders -----------------------------------------------------------------------------------

    def preview(self, side: Side, qty: int, limit: int | None) -> Levels:
        """Return what an order would take now, best price first; the sum is at most `qty`."""
        book = self.asks if side == "buy" else self.bids
        taken: Levels = []
        for price in sorted(book, reverse=side == "sell"):
            if qty == 0 or not _within(side, price, limit):
                break
            lots = min(qty, book[price])
            if lots:
                taken.append((price, lots))
                qty -= lots
        return taken

    def place(
        self,
        order_id: int,
        side: Side,
        qty: int,
        limit: int | None,
        time_in_force: TimeInForce,
        *,
        post_only: bool = False,
    ) -> Placed:
        """Match an arriving order; without `limit` it is a market order and never rests.

        CLOSED and WOULD_MATCH mean that the order does not exist and nothing changed.
        """
        assert qty > 0, f"expected a positive quantity for order {order_id}, got {qty}"
        assert order_id not in self.orders, f"order {order_id} rests already"
        if not self.open:
            return Placed("CLOSED", (), qty)
        taken = self.preview(side, qty, limit)
        leaves = qty - sum(lots for _, lots in taken)
        if post_only and taken:
            return Placed("WOULD_MATCH", (), qty)
        if time_in_force == "FOK" and leaves:
            return Placed("EXPIRED", (), qty)
        executions = self._take(order_id, side, taken)
        if not leaves:
            return Placed("FILLED", executions, 0)
        if limit is None or time_in_force == "IOC":
            return Placed("EXPIRED", executions, leaves)
        self.orders[order_id] = Resting(order_id, side, limit, leaves, 0, 0)
        self._anchor(self.orders[order_id])
        return Placed("RESTING", executions, leaves)

    def restore(self, order_id: int, side: Side, price: int, leaves: int) -> None:
        """Put back an order that rested before a restart; its queue is read when the book opens."""
        assert not self.open, "orders are restored before the book opens"
        self.orders[order_id] = Resting(order_id, side, price, leaves, 0, 0)

    def cancel(self, order_id: int) -> int | None:
        """Remove a resting order; return what was left of it, None when it does not rest."""
        order = self.orders.pop(order_id, None)
        return order.leaves if order is not None else None

    # --- inside ---------------------------------------------------------------------------------------

    def _opened(self) -> tuple[Execution, ...]:
        """Begin to match: positions in queues are unknown, so everything shown stands before us."""
        self.open = True
        for order in self.orders.values():
            self._anchor(order)
        return self._cross_all()

    def _cross_all(self) -> tuple[Execution, ...]:
        return self._cross("buy", list(self.asks)) + self._cross("sell", list(self.bids))

    def _anchor(self, order: Resting) -> None:
        order.ahead = self._shown(order)
        order.as_of_ns = self.event_ns

    def _shown(self, order: Resting) -> int:
        return (self.bids if order.side == "buy" else self.asks).get(order.price, 0)

    def _cap(self, event_ns: int) -> None:
        for order in self.orders.values():
            shown = self._shown(order)
            if shown < order.ahead:
                order.ahead, order.as_of_ns = shown, event_ns

    def _cross(self, side: Side, prices: list[int]) -> tuple[Execution, ...]:
        """Fill our orders of `side` from the other side's levels that reach them, best first."""
        book = self.asks if side == "buy" else self.bids
        orders = self._by_priority(side)
        executions: list[Execution] = []
        for price in sorted(prices, reverse=side == "sell"):
            if not orders or not _within(side, price, orders[0].price):
                break
            for order in orders:
                if _within(side, price, order.price) and price in book:
                    book[price] -= self._fill(order, book[price], executions)
            orders = [order for order in orders if order.leaves]
        return tuple(executions)

    def _through(self, price: int, event_ns: int) -> list[Resting]:
        """Return our orders that a trade at `price` must have passed, best first."""
        beaten = [order for order in self._by_priority("buy") if order.price > price]
        beaten += [order for order in self._by_priority("sell") if order.price < price]
        return [order for order in beaten if event_ns > order.as_of_ns]

    def _print_at(self, price: int, qty: int, side: Side, event_ns: int, executions: list[Execution]) -> None:
        """Let a print eat the queue at its price: others ahead of us, our order, others, our next.

        `passed` counts what it ate of others, which moves every later order of ours forward too.
        """
        passed = 0
        waiting = [order for order in self.orders.values() if order.side == side and order.price == price]
        for order in sorted(waiting, key=lambda order: (order.ahead, order.order_id)):
            if event_ns <= order.as_of_ns:
                continue
            eaten = min(qty, max(0, order.ahead - passed))
            passed, qty = passed + eaten, qty - eaten
            order.ahead = max(0, order.ahead - passed)
            qty -= self._fill(order, qty, executions)

    def _take(self, order_id: int, side: Side, taken: Levels) -> tuple[Execution, ...]:
        book = self.asks if side == "buy" else self.bids
        for price, lots in taken:
            book[price] -= lots
        return tuple(Execution(order_id, price, lots, maker=False) for price, lots in taken)

    def _fill(self, order: Resting, qty: int, executions: list[Execution]) -> int:
        """Fill a resting order at its own price by at most `qty`; return how much."""
        lots = min(qty, order.leaves)
        if lots <= 0:
            return 0
        order.leaves -= lots
        executions.append(Execution(order.order_id, order.price, lots, maker=True))
        if not order.leaves:
            del self.orders[order.order_id]
        return lots

    def _by_priority(self, side: Side) -> list[Resting]:
        """Return our resting orders of a side by price, then by age (ids rise)."""
        direction = -1 if side == "buy" else 1
        mine = [order for order in self.orders.values() if order.side == side]
        return sorted(mine, key=lambda order: (direction * order.price, order.order_id))


def _within(side: Side, price: int, limit: int | None) -> bool:
    if limit is None:
        return True
    return price <= limit if side == "buy" else price >= limit


def _update(book: dict[int, int], levels: Levels, *, keep_high: bool) -> None:
    for price, qty in levels:
        if qty > 0:
            book[price] = qty
        else:
            book.pop(price, None)
    if len(book) > LEVELS_MAX:
        for price in sorted(book, reverse=keep_high)[LEVELS_MAX // 2 :]:
            del book[price]
