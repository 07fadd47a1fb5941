"""Bars of any size of one instrument from its trades.

Trades go into one base bar, as long as the greatest common divisor of all timeframes; a base bar that
closes is rolled into every timeframe, so a trade costs the same however many there are. All bars that
close at one instant leave together, finest first.

A bar closes with the first trade of a later one, or a grace after its end by venue time. A bar
without trades is flat at the last close with volume zero: an indicator on 5 s bars that skipped quiet
bars would measure something else than time. A timeframe takes open, high and low from base bars that
traded only, as the venue's klines do. Bars that began before the first trade are partial and never
leave. Where trades are missing, a bar with trades leaves marked as inexact and one without stays away:
a series may bridge a bar or two, and must see a longer hole.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from tradefan.messages.market import Bar
from tradefan.units import InstrumentId, exact, parse_duration, to_lots

FLAT_MAX = 600
"""Flat base bars in a row; a longer silence begins anew, so that one late trade cannot flood anybody."""
FOREVER = 1 << 62


class Closing(NamedTuple):
    """Bars of one instant, finest first; `exact` unless trades are missing in one of them."""

    bars: tuple[Bar, ...]
    exact: bool


class Growing(Struct):
    """The open bar of one timeframe; without trades its prices mean nothing."""

    timeframe: str
    size_ns: int
    open: float = 0.0
    high: float = 0.0
    low: float = 0.0
    close: float = 0.0
    lots: int = 0
    trades: int = 0
    exact: bool = True
    since_ns: int = 0
    """Bars that open before are partial: nobody followed them from their beginning."""


class Bars(Struct):
    """All open bars of one instrument; make it with `new_bars`."""

    instrument: InstrumentId
    lot: float
    grace_ns: int
    base_ns: int
    frames: list[Growing]
    base: Growing
    begun_ns: int | None = None
    open_ns: int = 0
    close_ns: int = 0
    hole_from_ns: int = 0
    hole_to_ns: int = 0
    late: int = 0
    inexact: int = 0
    restarts: int = 0

    def trade(self, price: float, qty: float, event_ns: int) -> Sequence[Closing]:
        """Count a trade and return what it closed; a trade of a closed bar closes nothing."""
        closed: Sequence[Closing] = ()
        if event_ns >= self.close_ns:
            closed = self._reach(event_ns)
        elif event_ns < self.open_ns:
            self._late(price, to_lots(qty, self.lot), event_ns)
            return ()
        base = self.base
        if base.trades:
            if price > base.high:
                base.high = price
            elif price < base.low:
                base.low = price
        else:
            base.open = base.high = base.low = price
        base.close = price
        base.lots += to_lots(qty, self.lot)
        base.trades += 1
        return closed

    def _late(self, price: float, lots: int, event_ns: int) -> None:
        """Count a trade of a closed bar; bars of longer timeframes that are still open take it."""
        self.late += 1
        for growing in self.frames:
            if event_ns < self.open_ns - self.open_ns % growing.size_ns:
                continue
            if not growing.trades:
                growing.open = growing.high = growing.low = growing.close = price
            growing.high = max(growing.high, price)
            growing.low = min(growing.low, price)
            growing.lots += lots
            growing.trades += 1

    def advance(self, venue_ns: int) -> Sequence[Closing]:
        """Close what ended more than the grace before this venue time."""
        until_ns = venue_ns - self.grace_ns
        if self.begun_ns is None or until_ns < self.close_ns:
            return ()
        return self._reach(until_ns)

    def begin_anew(self) -> None:
        """Discard open bars: what comes next does not connect to them."""
        self.begun_ns = None
        self.open_ns = self.close_ns = self.hole_from_ns = self.hole_to_ns = 0
        for growing in (self.base, *self.frames):
            _clear(growing)

    def hole(self, from_ns: int, to_ns: int = FOREVER) -> None:
        """Trades between these instants are missing; FOREVER until `hole_ends` says where it ends."""
        if self.hole_to_ns >= self.open_ns:
            from_ns = min(from_ns, self.hole_from_ns)
        self.hole_from_ns, self.hole_to_ns = from_ns, to_ns

    def hole_ends(self, at_ns: int) -> None:
        """Say where an open hole ended; at 0 it was none."""
        self.hole_to_ns = min(self.hole_to_ns, at_ns)

    def follow(self, timeframes: Sequence[str], traded_ns: int) -> None:
        """Make bars of these timeframes from now on; one that is new begins with its next whole bar.

        That opens behind the newest trade, of `traded_ns`. The open base bar becomes the first one of
        a finer base: it is rolled into the same bars as before.
        """
        sizes = sorted((parse_duration(name), name) for name in timeframes)
        if [name for _, name in sizes] == [growing.timeframe for growing in self.frames]:
            return
        known = {growing.timeframe: growing for growing in self.frames}
        if not known:
            # So far there were only trades, which connect to no bar.
            self.begin_anew()
        since_ns = max(traded_ns + 1, self.open_ns)
        self.frames = [known.get(name) or Growing(name, size, since_ns=since_ns) for size, name in sizes]
        base_ns = gcd(self.base_ns % FOREVER, *(size for size, _ in sizes)) or FOREVER
        self.base_ns = self.base.size_ns = base_ns
        if self.begun_ns is not None:
            self._refine(traded_ns)

    def _refine(self, traded_ns: int) -> None:
        """Let the open base bar be the fine one of the newest trade; a hole before it is not forgotten."""
        open_ns = max(self.open_ns, traded_ns - traded_ns % self.base_ns)
        if self.hole_from_ns < open_ns and self.hole_to_ns >= self.open_ns:
            for growing in self.frames:
                growing.exact = False
        self.open_ns, self.close_ns = open_ns, open_ns + self.base_ns

    @property
    def last_price(self) -> float | None:
        """The last trade's price in this session."""
        return self.base.close if self.begun_ns is not None else None

    def _reach(self, event_ns: int) -> Sequence[Closing]:
        """Close base bars until one contains this instant."""
        if self.begun_ns is None or event_ns - self.close_ns > FLAT_MAX * self.base_ns:
            if self.begun_ns is not None:
                self.restarts += 1
            self.begin_anew()
            self.begun_ns = event_ns
            self.open_ns = event_ns - event_ns % self.base_ns
            self.close_ns = self.open_ns + self.base_ns
            return ()
        closed = []
        while event_ns >= self.close_ns:
            closing = self._close()
            if closing.bars:
                closed.append(closing)
            self.open_ns = self.close_ns
            self.close_ns += self.base_ns
        return closed

    def _close(self) -> Closing:
        """Roll the base bar into every timeframe and take those that end with it."""
        base, close_ns, begun_ns = self.base, self.close_ns, self.begun_ns
        assert begun_ns is not None
        base.exact = self.hole_from_ns >= close_ns or self.hole_to_ns < self.open_ns
        bars: list[Bar] = []
        whole = True
        for growing in self.frames:
            _roll(base, growing)
            if close_ns % growing.size_ns == 0:
                open_ns = close_ns - growing.size_ns
                whole_bar = open_ns > begun_ns and open_ns >= growing.since_ns
                if whole_bar and (growing.trades or growing.exact):
                    bars.append(self._bar(growing, close_ns))
                    whole = whole and growing.exact
                _clear(growing)
        _clear(base)
        self.inexact += 0 if whole else 1
        return Closing(tuple(bars), whole)

    def _bar(self, growing: Growing, close_ns: int) -> Bar:
        flat = self.base.close
        traded = growing.trades > 0
        return Bar(
            instrument=self.instrument,
            timeframe=growing.timeframe,
            open_ns=close_ns - growing.size_ns,
            close_ns=close_ns,
            open=growing.open if traded else flat,
            high=growing.high if traded else flat,
            low=growing.low if traded else flat,
            close=growing.close if traded else flat,
            volume=float(growing.lots * exact(self.lot)),
            volume_lots=growing.lots,
            trades=growing.trades,
        )


def new_bars(instrument: InstrumentId, timeframes: Sequence[str], lot: float, grace_ns: int) -> Bars:
    """Return empty bars of these timeframes (`1s 5s 1m 1h 1d`), in any order, none twice."""
    sizes = sorted((parse_duration(name), name) for name in timeframes)
    base_ns = gcd(*(size for size, _ in sizes)) or FOREVER
    frames = [Growing(name, size) for size, name in sizes]
    return Bars(instrument, lot, grace_ns, base_ns, frames, Growing("base", base_ns))


def fold(fine: Sequence[Bar], timeframe: str) -> tuple[Bar, ...]:
    """Return coarser bars of finer ones in order, whole bars only: 5 s from the venue's 1 s klines."""
    size_ns = parse_duration(timeframe)
    groups: dict[int, list[Bar]] = {}
    for bar in fine:
        groups.setdefault(bar.open_ns // size_ns * size_ns, []).append(bar)
    return tuple(
        _folded(group, timeframe, open_ns, size_ns)
        for open_ns, group in groups.items()
        if sum(bar.close_ns - bar.open_ns for bar in group) == size_ns
    )


def _folded(group: Sequence[Bar], timeframe: str, open_ns: int, size_ns: int) -> Bar:
    traded = [bar for bar in group if bar.trades] or [group[-1]]
    return Bar(
        instrument=group[0].instrument,
        timeframe=timeframe,
        open_ns=open_ns,
        close_ns=open_ns + size_ns,
        open=traded[0].open,
        high=max(bar.high for bar in traded),
        low=min(bar.low for bar in traded),
        close=traded[-1].close,
        volume=sum(bar.volume for bar in group),
        volume_lots=sum(bar.volume_lots for bar in group),
        trades=sum(bar.trades for bar in group),
    )


def _roll(base: Growing, growing: Growing) -> None:
    growing.exact = growing.exact and base.exact
    if not base.trades:
        return
    if growing.trades:
        growing.high = max(growing.high, base.high)
        growing.low = min(growing.low, base.low)
    else:
        growing.open, growing.high, growing.low = base.open, base.high, base.low
    growing.close = base.close
    growing.lots += base.lots
    growing.trades += base.trades


def _clear(growing: Growing) -> None:
    """Forget trades; the close stays, a flat bar needs it."""
    growing.lots = growing.trades = 0
    growing.exact = True


def corrected(bar: Bar, price: float, lots: int, lot: float) -> Bar:
    """Return a closed bar with one more trade in it; open and close stay what was seen."""
    total = bar.volume_lots + lots
    changed = replace(bar, volume=float(total * exact(lot)), volume_lots=total, trades=bar.trades + 1)
    if not bar.trades:
        return replace(changed, open=price, high=price, low=price, close=price)
    return replace(changed, high=max(bar.high, price), low=min(bar.low, price))
