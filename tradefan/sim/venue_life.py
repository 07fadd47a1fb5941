"""What happens on an account by itself: others who trade on it, transfers, maintenance, broken links.

Each kind comes at its own random times until everything heals. What others do is theirs: their orders
have client ids that are not ours, and their trades are nobody's here. What is left out is not `real`:
it draws what it would do, and does nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from tradefan.messages.instrument import Instrument
from tradefan.sim.venue_records import SimOrder
from tradefan.units import DAY, HOUR, MINUTE, MS, SECOND, InstrumentId, Side, floor_step
from tradefan.venues.paper_account import VenueError, Wish
from tradefan.venues.paper_state import WireType

if TYPE_CHECKING:
    from tradefan.sim.venue import SimVenue

FOREIGN = "web_"
"""Client ids of others begin so."""
CENT = Decimal("0.0001")
OUTAGE_MAX_NS = MINUTE
LARGE_SHARE = 0.3
"""How many deposits and orders of others are so large that they move us over a limit."""
LARGE = 10


class Account:
    """The life of one account; `begin` is called once, at the first instant."""

    def __init__(self, venue: SimVenue) -> None:
        """Bind to the venue whose account it is."""
        self._venue = venue
        self._chances = venue.chances
        self._number = 0
        self._acts: dict[str, Callable[[int, bool], bool]] = {
            "maintenance_cancel": self._maintain,
            "foreign_order": self._order,
            "foreign_fill": self._fill,
            "transfer": self._transfer,
            "stream_silent": self._silence,
            "stream_drop": self._drop_stream,
            "connection_reset": self._reset,
            "connection_refused": self._refuse,
            "connection_slow": self._slow,
            "half_open": self._half_open,
        }

    def begin(self, at_ns: int) -> None:
        """Put there what was before us, and let everything take its course."""
        if self._chances.mode("opening"):
            self._open(at_ns)
        for kind in self._chances.every():
            self._schedule(kind, at_ns)

    def _schedule(self, kind: str, at_ns: int) -> None:
        wait_ns = self._chances.wait_ns(kind)
        if wait_ns is not None:
            self._venue.later(at_ns + wait_ns, lambda then_ns: self._happen(kind, then_ns))

    def _happen(self, kind: str, at_ns: int) -> None:
        if kind in self._chances.every():
            real = self._chances.lets(kind)
            if self._acts[kind](at_ns, real) and real:
                self._chances.note(kind, "")
        self._schedule(kind, at_ns)

    # --- what was before ----------------------------------------------------------------------------------

    def _open(self, at_ns: int) -> None:
        """Begin with old trades, holdings of odd size and resting orders, all of others."""
        rng, venue = self._chances.rng("opening"), self._venue
        for number, (instrument, walk) in enumerate(venue.market.walks.items()):
            lot, tick = walk.rules.qty_lot, walk.rules.price_tick
            for age in range(rng.randint(0, 3), 0, -1):
                side: Side = rng.choice(("buy", "sell"))
                price = walk.price(walk.last) + rng.randint(-99, 99) * tick
                wish = Wish(f"{FOREIGN}old{number}{age}", side, "LIMIT", "GTC", price, 10 * lot)
                venue.book.remember_old(instrument, wish, at_ns - 30 * DAY + (9 - age) * HOUR)
            if rng.random() < 0.5:
                venue.book.wallet.pay(walk.rules.base, _some(rng, walk.rules, walk.price(walk.last)))
            venue.book.settle(0)
            if rng.random() < 0.5:
                self._place(instrument, self._wish("opening", instrument, "LIMIT"), at_ns - DAY)
        venue.book.told.clear()
        self._chances.note("opening", "")

    # --- others -------------------------------------------------------------------------------------------

    def _order(self, at_ns: int, real: bool) -> bool:
        """Let somebody rest an order, and perhaps cancel it later."""
        rng = self._chances.rng("foreign_order")
        instrument, large = rng.choice(tuple(self._venue.market.walks)), rng.random() < LARGE_SHARE
        wish = self._wish("foreign_order", instrument, "LIMIT", large=large)
        order = self._place(instrument, wish, at_ns) if real else None
        if (order is not None or not real) and (large or rng.random() < 0.5):
            wait_ns = rng.randint(SECOND, MINUTE if large else 5 * MINUTE)
            if order is not None:
                self._venue.later(at_ns + wait_ns, partial(self._withdraw, order))
        return order is not None

    def _withdraw(self, order: SimOrder, at_ns: int) -> None:
        if order.ended_ns is None:
            self._venue.engine.end(order, at_ns)
            self._venue.tell(at_ns)

    def _fill(self, at_ns: int, real: bool) -> bool:
        """Let somebody trade at the touch."""
        rng = self._chances.rng("foreign_fill")
        instrument = rng.choice(tuple(self._venue.market.walks))
        wish = self._wish("foreign_fill", instrument, "MARKET")
        return real and self._place(instrument, wish, at_ns) is not None

    def _wish(self, kind: str, instrument: InstrumentId, type_: WireType, *, large: bool = False) -> Wish:
        """Draw an order of others; a large one is beyond many limits, and rests so that it does not stay."""
        rng, walk = self._chances.rng(kind), self._venue.market.walks[instrument]
        rules = walk.rules
        side: Side = rng.choice(("buy", "sell"))
        touch = walk.price(walk.touch(side))
        # What was there before us rests; later orders may also take.
        bps = rng.choice((10, 30, 100, 300) if kind == "opening" else (-2, 1, 3, 10, 100))
        away = touch * (max(bps, 30) if large else bps) / 10_000
        price = (touch - away if side == "buy" else touch + away) // rules.price_tick * rules.price_tick
        qty = _some(rng, rules, price) * (LARGE if large else 1)
        name = self._name(instrument)
        return Wish(name, side, type_, "GTC", price if type_ == "LIMIT" else Decimal(0), qty)

    def _place(self, instrument: InstrumentId, wish: Wish, at_ns: int) -> SimOrder | None:
        again = wish.client_order_id in self._names(instrument)
        try:
            order = self._venue.engine.place(instrument, wish, at_ns, ours=False)
        except VenueError:
            return None
        if again:
            self._chances.note("id_reuse", wish.client_order_id)
        self._venue.tell(at_ns)
        return order

    def _name(self, instrument: InstrumentId) -> str:
        """Return a new id, or one that no open order of the instrument has any more: it is free again."""
        self._number += 1
        if not self._chances.mode("id_reuse") or self._chances.rng("id_reuse/foreign").random() < 0.5:
            return f"{FOREIGN}{self._number}"
        names = self._names(instrument)
        return next((name for name in reversed(names) if not names[name]), f"{FOREIGN}{self._number}")

    def _names(self, instrument: InstrumentId) -> dict[str, bool]:
        """Return the ids of others' limit orders, each with whether one of its orders rests."""
        names: dict[str, bool] = {}
        for one in self._venue.book.orders.values():
            if one.instrument == instrument and not one.ours and one.type == "LIMIT":
                names[one.client_order_id] = names.get(one.client_order_id, False) or one.ended_ns is None
        return names

    def _transfer(self, at_ns: int, real: bool) -> bool:
        """Move something in or out; never more than is free."""
        rng, book = self._chances.rng("transfer"), self._venue.book
        if rng.random() < LARGE_SHARE:
            self._deposit(rng, at_ns, real)
            return True
        asset = rng.choice(tuple(book.balances))
        qty = floor_step(book.wallet.free(asset) * rng.randint(1, 50) / 1000, CENT)
        if qty <= 0:
            return False
        qty = qty if rng.random() < 0.5 else -qty
        return real and self._move(asset, qty, at_ns)

    def _deposit(self, rng: Random, at_ns: int, real: bool) -> None:
        """Move in what is beyond most limits of a position, and out again what of it is free by then."""
        walk = rng.choice(tuple(self._venue.market.walks.values()))
        asset, price = walk.rules.base, walk.price(walk.last)
        qty = floor_step(walk.rules.min_notional / price * rng.choice((120, 250, 600)), walk.rules.qty_lot)

        def out(then_ns: int) -> None:
            free = floor_step(min(qty, self._venue.book.wallet.free(asset)), CENT)
            if free > 0:
                self._move(asset, -free, then_ns)

        wait_ns = rng.randint(SECOND, MINUTE)
        if real:
            self._move(asset, qty, at_ns)
            self._venue.later(at_ns + wait_ns, out)

    def _move(self, asset: str, qty: Decimal, at_ns: int) -> bool:
        book = self._venue.book
        book.transfer(asset, qty, at_ns)
        self._venue.stream.transferred(asset, qty, at_ns, self._venue.links.listeners())
        self._venue.tell(at_ns)
        return True

    def _maintain(self, at_ns: int, real: bool) -> bool:
        """Cancel some of our orders."""
        rng, venue = self._chances.rng("maintenance_cancel/which"), self._venue
        orders = [order for order in venue.book.live.values() if order.ours]
        chosen = orders if rng.random() < 0.3 else orders[: rng.randint(1, 3)]
        for order in chosen if real else ():
            venue.engine.end(order, at_ns)
        venue.tell(at_ns)
        return bool(chosen)

    # --- stream and connections ---------------------------------------------------------------------------

    def _silence(self, at_ns: int, real: bool) -> bool:
        """Lose events for a while; it is a fault when the first is lost, so that a quiet minute is none."""
        length_ns = self._chances.rng("stream_silent/length").randint(SECOND, OUTAGE_MAX_NS)
        if real:
            self._venue.stream.silence(at_ns + length_ns)
        return False

    def _drop_stream(self, at_ns: int, real: bool) -> bool:
        return real and self._venue.links.end_streams(at_ns, self._venue.stream.ended(at_ns))

    def _reset(self, at_ns: int, real: bool) -> bool:
        return real and self._venue.links.break_all(at_ns, "connection reset")

    def _refuse(self, at_ns: int, real: bool) -> bool:
        """Break the connection and take none for a while."""
        length_ns = self._chances.rng("connection_refused/length").randint(SECOND, OUTAGE_MAX_NS)
        if real:
            self._venue.links.refused_ns = at_ns + length_ns
            self._venue.links.break_all(at_ns, "going away")
        return True

    def _slow(self, at_ns: int, real: bool) -> bool:
        """Let everything come late, in its order, by anything from a moment to longer than a time-out."""
        rng, links = self._chances.rng("connection_slow/how"), self._venue.links
        until_ns, slow_ns = at_ns + rng.randint(SECOND, OUTAGE_MAX_NS), rng.randint(MS, 8 * SECOND)
        if real:
            links.slow_until_ns, links.slow_ns = until_ns, slow_ns
        return bool(links.conns)

    def _half_open(self, at_ns: int, real: bool) -> bool:
        return real and self._venue.links.go_deaf()


def _some(rng: Random, rules: Instrument, price: Decimal) -> Decimal:
    """Draw what others trade: mostly a little above the least that may be ordered, now and then a lot."""
    least = max(rules.min_qty, rules.min_notional / price)
    return floor_step(least * rng.choice((2, 3, 5, 8, 12, 60)) * rng.randint(100, 130) / 100, rules.qty_lot)
