"""The venue's matching: what becomes of an order, a cancel and a move of the market.

An order at or through the touch takes there; a resting one fills at its price when the market reaches
it. Knobs bend this inside what a venue may do: many small trades, fills in the moment of a cancel or
long after it, more than was asked for, trades taken back.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from tradefan.sim.market import SimMarket
from tradefan.sim.personality import Chances, Personality
from tradefan.sim.venue_book import THIRD, Book
from tradefan.sim.venue_hidden import Hidden
from tradefan.sim.venue_records import SimOrder, SimTrade
from tradefan.units import MINUTE, SECOND, ZERO, InstrumentId, floor_step, opposite, sign
from tradefan.venues.paper_account import VenueError, Wish

ORDERS_MAX = 200
"""Open orders of one instrument, as on Binance."""
CHUNKS_MAX = 6
THIN = 0.1
"""Of the orders that would reach an own one behind the touch, those that do."""
REVISED_NS = MINUTE
"""A trade is taken back or changed within this."""
REVISED_SOON_NS = SECOND
"""Of an order that has not traded whole: the rest rarely waits longer."""
REVISIONS_MAX = 5
"""So often it waits for the funds to take back."""
Later = Callable[[int, Callable[[int], None]], None]
"""(instant, what to do then with the instant): the venue's own agenda."""
Busted = Callable[[SimTrade, int], None]
"""Told of a trade that was taken back or changed."""


class Engine:
    """Carries out what is asked on the book."""

    def __init__(
        self,
        book: Book,
        market: SimMarket,
        personality: Personality,
        chances: Chances,
        later: Later,
        busted: Busted,
    ) -> None:
        """Follow the market from now on."""
        self.book = book
        self.market = market
        self.personality = personality
        self.chances = chances
        self._later = later
        self._busted = busted
        self.hidden = Hidden(chances)

    # --- requests ---------------------------------------------------------------------------------------

    def place(self, instrument: InstrumentId, wish: Wish, at_ns: int, *, ours: bool = True) -> SimOrder:
        """Take an order; a VenueError changed nothing."""
        self._check(instrument, wish)
        walk = self.market.walks[instrument]
        ticks = walk.prices.count(wish.price)
        if wish.type == "LIMIT_MAKER":
            self._check_post_only(instrument, wish, walk.reaches(wish.side, ticks), at_ns)
        crosses = self.chances.mode("stp") and self._crosses(instrument, wish, ticks)
        order = self.book.accept(instrument, wish, ticks, at_ns, ours=ours)
        if crosses:
            self.chances.note("stp", order.client_order_id)
            self.book.end(order, "EXPIRED_IN_MATCH", "TRADE_PREVENTION", at_ns)
        elif wish.type == "MARKET" or walk.reaches(wish.side, ticks):
            whole = wish.type == "MARKET" or wish.time_in_force == "FOK"
            self._fill(order, walk.price(walk.touch(wish.side)), at_ns, maker=False, whole=whole)
        if order.ended_ns is None and wish.time_in_force != "GTC":
            self.book.end(order, "EXPIRED", "EXPIRED", at_ns)
        self.book.settle(at_ns)
        return order

    def cancel(self, order: SimOrder, at_ns: int, only: str | None = None) -> None:
        """End an open order that somebody asked to end; `only` is the restriction of the cancel.

        Raises:
            VenueError: it filled in that moment, or is not what the cancel is restricted to.
        """
        if order.ours and self.chances.hit("cancel_race") and self._tradable(order):
            whole = self.chances.rng("cancel_race/whole").random() < 0.5
            qty = order.leaves if whole else self._part(order, order.leaves, "cancel_race/part")
            if self.chances.happens("cancel_race", order.client_order_id):
                self._trade(order, qty, order.price, at_ns, maker=True)
            if order.ended_ns is not None:
                self.book.settle(at_ns)
                raise VenueError(-2011, "Unknown order sent.")
        if only is not None and only != f"ONLY_{order.status}":
            self.book.settle(at_ns)
            raise VenueError(-2011, "Order was not canceled due to cancel restrictions.")
        self.end(order, at_ns)
        if order.ours and self.chances.hit("late_fill"):
            late_ns = self.personality.late_fill.draw(self.chances.rng("late_fill/when"))
            real = self.chances.lets("late_fill")
            self._later(at_ns + late_ns, lambda then_ns: self._fill_late(order, then_ns, real=real))

    def end(self, order: SimOrder, at_ns: int) -> None:
        """Cancel an open order."""
        self.book.end(order, "CANCELED", "CANCELED", at_ns)
        self.book.settle(at_ns)

    # --- the market -------------------------------------------------------------------------------------

    def moved(self, instrument: InstrumentId, at_ns: int) -> None:
        """Fill what the market has reached, or end all orders of what is not traded any more."""
        walk = self.market.walks[instrument]
        here = [order for order in self.book.live.values() if order.instrument == instrument]
        if walk.rules.status == "BREAK":
            for order in here:
                self.book.end(order, "EXPIRED", "EXPIRED", at_ns)
        elif walk.rules.status == "TRADING":
            for order in here:
                if walk.reaches(order.side, order.ticks):
                    self._fill(order, order.price, at_ns, maker=True)
        self.book.settle(at_ns)

    # --- fills ------------------------------------------------------------------------------------------

    def _fill(self, order: SimOrder, price: Decimal, at_ns: int, *, maker: bool, whole: bool = False) -> None:
        """Fill an order that the market reaches: at once, or in parts, of which the last may not come yet."""
        parts, waits = self._storm(order, whole=whole)
        for qty in parts:
            self._trade(order, qty, price, at_ns, maker=maker)
        if order.ended_ns is None and not waits:
            self._trade(order, order.leaves, price, at_ns, maker=maker)

    def _storm(self, order: SimOrder, *, whole: bool) -> tuple[list[Decimal], bool]:
        """Return the small trades that an order fills in, none without a storm, and if the rest waits."""
        left, parts, rng = order.leaves, list[Decimal](), self.chances.rng("partial_storm/parts")
        lot = self.market.rules(order.instrument).qty_lot
        if left <= lot or not self.chances.hit("partial_storm"):
            return [], False
        for _ in range(rng.randint(1, CHUNKS_MAX)):
            parts.append(self._part(order, left, "partial_storm/parts"))
            left -= parts[-1]
        waits = left > 0 and not whole and rng.random() >= 0.5
        return (parts, waits) if self.chances.happens("partial_storm", order.client_order_id) else ([], False)

    def _trade(self, order: SimOrder, qty: Decimal, price: Decimal, at_ns: int, *, maker: bool) -> None:
        """Book one trade of an order, and what goes wrong with it."""
        chances = self.chances
        if qty <= 0 or order.leaves <= 0:
            return
        nameless = order.ours and chances.hit("trade_id_missing")
        named = not (nameless and chances.lets("trade_id_missing"))
        trade = self.book.fill(order, qty, price, at_ns, maker=maker, named=named)
        if not order.ours:
            return
        self.hidden.happened(trade)
        self._note_modes(trade)
        if order.status == "FILLED" and chances.hit("overfill"):
            self._overfill(order, price, at_ns, maker=maker)
        for kind in ("bust", "correction"):
            if named and chances.hit(kind):
                within_ns = REVISED_SOON_NS if order.ended_ns is None else REVISED_NS
                wait_ns = chances.rng(f"{kind}/when").randint(0, within_ns)
                real = chances.lets(kind)
                self._later(at_ns + wait_ns, self._revision(kind, trade, REVISIONS_MAX, real=real))

    def _note_modes(self, trade: SimTrade) -> None:
        """Write down what is odd about a trade because the venue is so."""
        chances = self.chances
        if not trade.named:
            chances.note("trade_id_missing", trade.client_order_id)
        if chances.mode("fee_third_asset") and trade.fee_asset == THIRD:
            chances.note("fee_third_asset", trade.trade_id)
        elif chances.mode("fee_quote") and trade.side == "buy" and trade.fee_asset != THIRD:
            chances.note("fee_quote", trade.trade_id)
        if chances.mode("id_reuse") and self.book.ids_alike(trade):
            chances.note("id_reuse", trade.trade_id)

    def _overfill(self, order: SimOrder, price: Decimal, at_ns: int, *, maker: bool) -> None:
        """Fill more than was asked for, where the account can pay for it."""
        qty = self.chances.rng("overfill/qty").randint(1, 3) * self.market.rules(order.instrument).qty_lot
        needed = self.book.needed(order.instrument, order.side, qty, price)
        funds = self.book.wallet.free(self.book.pays(order.instrument, order.side))
        if funds >= needed and self.chances.happens("overfill", f"{order.client_order_id} {qty}"):
            self.book.fill(order, qty, price, at_ns, maker=maker)

    def _fill_late(self, order: SimOrder, at_ns: int, *, real: bool) -> None:
        """Fill an order that has ended, where the account can pay for it."""
        rng = self.chances.rng("late_fill/qty")
        qty = order.leaves if rng.random() < 0.5 else self._part(order, order.leaves, "late_fill/qty")
        needed = self.book.needed(order.instrument, order.side, qty, order.price)
        if real and qty > 0 and self.book.wallet.free(self.book.pays(order.instrument, order.side)) >= needed:
            self.book.fill(order, qty, order.price, at_ns, maker=True)
            self.book.settle(at_ns)
            self.chances.note("late_fill", f"{order.client_order_id} {qty}")

    def _part(self, order: SimOrder, left: Decimal, purpose: str) -> Decimal:
        """Draw a part of what is left, in whole lots; all of it where that is a lot or less."""
        lot = self.market.rules(order.instrument).qty_lot
        share = Decimal(self.chances.rng(purpose).randint(1, 50)) / 100
        return min(max(floor_step(left * share, lot), lot), left)

    # --- revisions --------------------------------------------------------------------------------------

    def _revision(self, kind: str, trade: SimTrade, tries: int, *, real: bool) -> Callable[[int], None]:
        """Return what takes a trade back or changes it, once the funds are there; its order may be open."""

        def revise(at_ns: int) -> None:
            qty, price = (trade.qty, trade.price) if kind == "bust" else self._corrected(trade)
            if not real:
                return
            if self.book.bust(trade, at_ns) if kind == "bust" else self._correct(trade, qty, price, at_ns):
                self.book.settle(at_ns)
                self.chances.note(kind, f"{trade.client_order_id} {trade.trade_id}")
                self._busted(trade, at_ns)
            elif tries > 0 and not trade.busted:
                self._later(at_ns + 10 * SECOND, self._revision(kind, trade, tries - 1, real=real))

        return revise

    def _corrected(self, trade: SimTrade) -> tuple[Decimal, Decimal]:
        """Draw another quantity, a lower one, or another price."""
        rng, rules = self.chances.rng("correction/how"), self.market.rules(trade.instrument)
        lots = int(trade.qty / rules.qty_lot)
        if lots > 1 and rng.random() < 0.5:
            return rng.randint(1, lots - 1) * rules.qty_lot, trade.price
        return trade.qty, trade.price + rng.choice((-2, -1, 1, 2)) * rules.price_tick

    def _correct(self, trade: SimTrade, qty: Decimal, price: Decimal, at_ns: int) -> bool:
        return price > 0 and self.book.correct(trade, qty, price, at_ns)

    # --- checks, in the venue's order ---------------------------------------------------------------------

    def check_filters(self, instrument: InstrumentId, wish: Wish) -> None:
        """Hold an order against the rules that hold now."""
        rules = self.market.rules(instrument)
        if wish.type != "MARKET" and (wish.price <= 0 or wish.price % rules.price_tick):
            raise VenueError(-1013, "Filter failure: PRICE_FILTER")
        if not rules.min_qty <= wish.qty <= rules.max_qty or wish.qty % rules.qty_lot:
            raise VenueError(-1013, "Filter failure: LOT_SIZE")
        price = self.market.touch(instrument, wish.side) if wish.type == "MARKET" else wish.price
        if price * wish.qty < rules.min_notional:
            raise VenueError(-1013, "Filter failure: NOTIONAL")

    def _check(self, instrument: InstrumentId, wish: Wish) -> None:
        rules = self.market.rules(instrument)
        self.check_filters(instrument, wish)
        if rules.status != "TRADING":
            raise VenueError(-2010, "Market is closed.")
        if self.book.open_order(instrument, wish.client_order_id, None) is not None:
            raise VenueError(-2010, "Duplicate order sent.")
        if sum(order.instrument == instrument for order in self.book.live.values()) >= ORDERS_MAX:
            raise VenueError(-1013, "Filter failure: MAX_NUM_ORDERS")
        price = self.market.touch(instrument, wish.side) if wish.type == "MARKET" else wish.price
        needed = self.book.needed(instrument, wish.side, wish.qty, price)
        if self.book.wallet.free(self.book.pays(instrument, wish.side)) < needed:
            raise VenueError(-2010, "Account has insufficient balance for requested action.")

    def _check_post_only(self, instrument: InstrumentId, wish: Wish, reaches: bool, at_ns: int) -> None:
        """Let nothing rest that would take; the last quote may be older than the book."""
        rejects = not reaches and self.chances.hit("post_only_reject")
        if rejects and self.chances.happens("post_only_reject", wish.client_order_id):
            self.book.reject(instrument, wish, at_ns)
            reaches = True
        if reaches:
            raise VenueError(-2010, "Order would immediately match and take.")

    def _crosses(self, instrument: InstrumentId, wish: Wish, ticks: int) -> bool:
        """Say whether an order would trade with a resting one of the same account.

        It does where that one is the best of its side; behind others' only when those are few.
        """
        walk = self.market.walks[instrument]
        best = walk.touch(wish.side)
        mine = [
            order.ticks
            for order in self.book.live.values()
            if order.instrument == instrument and order.side == opposite(wish.side)
        ]
        if not mine:
            return False
        nearest = min(mine) if wish.side == "buy" else max(mine)
        up = sign(wish.side)
        crosses = wish.type == "MARKET" or up * ticks >= up * nearest
        first = up * nearest <= up * best
        return crosses and (first or self.chances.rng("stp/thin").random() < THIN)

    def _tradable(self, order: SimOrder) -> bool:
        return order.leaves > ZERO and self.market.rules(order.instrument).status == "TRADING"
