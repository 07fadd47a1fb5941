"""The venue's matching: what becomes of an order, a cancel and a move of the market.

An order at or through the touch takes there; a resting one fills at its price when the market reaches
it. Knobs bend this inside what a venue may do: many small trades, fills in the moment of a cancel or
long after it, more than was asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from tradefan.messages.instrument import Instrument
from tradefan.sim.market import SimMarket
from tradefan.sim.personality import Chances, Personality
from tradefan.sim.venue_book import Book, SimOrder
from tradefan.units import InstrumentId
from tradefan.venues.paper_account import VenueError, Wish

ORDERS_MAX = 200
"""Open orders of one instrument, as on Binance."""
Later = Callable[[int, Callable[[int], None]], None]
"""(instant, what to do then with the instant): the venue's own agenda."""


class Engine:
    """Carries out what is asked on the book."""

    def __init__(
        self, book: Book, market: SimMarket, personality: Personality, chances: Chances, later: Later
    ) -> None:
        """Follow the market from now on."""
        self.book = book
        self.market = market
        self.personality = personality
        self.chances = chances
        self._later = later

    # --- requests ---------------------------------------------------------------------------------------

    def place(self, instrument: InstrumentId, wish: Wish, at_ns: int, *, ours: bool = True) -> SimOrder:
        """Take an order; a VenueError changed nothing."""
        self._check(instrument, wish)
        walk = self.market.walks[instrument]
        ticks = walk.prices.count(wish.price)
        if wish.type == "LIMIT_MAKER":
            self._check_post_only(wish, walk.reaches(wish.side, ticks))
        order = self.book.accept(instrument, wish, ticks, at_ns, ours=ours)
        if wish.type == "MARKET" or walk.reaches(wish.side, ticks):
            self._take(order, walk.price(walk.touch(wish.side)), at_ns)
        if order.ended_ns is None and wish.time_in_force != "GTC":
            self.book.end(order, "EXPIRED", "EXPIRED", at_ns)
        self.book.settle(at_ns)
        return order

    def cancel(self, order: SimOrder, at_ns: int) -> None:
        """End an open order."""
        self.book.end(order, "CANCELED", "CANCELED", at_ns)
        self.book.settle(at_ns)

    # --- the market -------------------------------------------------------------------------------------

    def moved(self, instrument: InstrumentId, at_ns: int) -> None:
        """Fill what the market has reached."""
        walk = self.market.walks[instrument]
        bid, ask = walk.bid, walk.ask
        reached = [
            order
            for order in self.book.live.values()
            if order.instrument == instrument
            and (order.ticks >= ask if order.side == "buy" else order.ticks <= bid)
        ]
        if not reached or walk.rules.status != "TRADING":
            return
        for order in reached:
            self.book.fill(order, order.leaves, order.price, at_ns, maker=True)
        self.book.settle(at_ns)

    def _take(self, order: SimOrder, price: Decimal, at_ns: int) -> None:
        self.book.fill(order, order.leaves, price, at_ns, maker=False)

    # --- checks, in the venue's order ---------------------------------------------------------------------

    def _check(self, instrument: InstrumentId, wish: Wish) -> None:
        rules = self.market.rules(instrument)
        _check_filters(rules, wish)
        if rules.status != "TRADING":
            raise VenueError(-2010, "Market is closed.")
        if self.book.open_order(instrument, wish.client_order_id, None) is not None:
            raise VenueError(-2010, "Duplicate order sent.")
        if sum(order.instrument == instrument for order in self.book.live.values()) >= ORDERS_MAX:
            raise VenueError(-1013, "Filter failure: MAX_NUM_ORDERS")
        price = self.market.touch(instrument, wish.side) if wish.type == "MARKET" else wish.price
        if price * wish.qty < rules.min_notional:
            raise VenueError(-1013, "Filter failure: NOTIONAL")
        needed = self.book.needed(instrument, wish.side, wish.qty, price)
        if self.book.free(self.book.pays(instrument, wish.side)) < needed:
            raise VenueError(-2010, "Account has insufficient balance for requested action.")

    def _check_post_only(self, wish: Wish, reaches: bool) -> None:
        if reaches:
            raise VenueError(-2010, "Order would immediately match and take.")


def _check_filters(rules: Instrument, wish: Wish) -> None:
    if wish.type != "MARKET" and (wish.price <= 0 or wish.price % rules.price_tick):
        raise VenueError(-1013, "Filter failure: PRICE_FILTER")
    if not rules.min_qty <= wish.qty <= rules.max_qty or wish.qty % rules.qty_lot:
        raise VenueError(-1013, "Filter failure: LOT_SIZE")
