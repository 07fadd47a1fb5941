"""Where a strategy's declarations arrive: its series, quotes, trades and schedules, in order.

What is declared is kept in order of declaration. A restore runs `setup` again, and each series and
indicator takes over what was saved in its place.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from tradefan.core.series import Series, SeriesState, take_over
from tradefan.errors import Defect, Refused
from tradefan.units import DAY, HOUR, MINUTE, SECOND, InstrumentId, parse_duration

KEEP_MAX = 10_000
_AT = re.compile(r"([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?")


class BarsNeed(Struct, frozen=True):
    """Closed bars that a strategy follows, and how many it needs before its first handler."""

    instrument: InstrumentId
    timeframe: str
    depth: int


class TimerNeed(Struct, frozen=True):
    """A schedule: due at `offset_ns` after midnight UTC and whole periods from there."""

    name: str
    period_ns: int
    offset_ns: int

    def next_ns(self, now_ns: int) -> int:
        """Return the first due instant after `now_ns`; days begin where the epoch did."""
        return now_ns - (now_ns - self.offset_ns) % self.period_ns + self.period_ns


class Declared(Struct, frozen=True):
    """What follows from `setup`: subscriptions and warm-up, for wiring and for `strategy show`.

    `instruments` are all that were named: the trader needs quotes and quality of each of them.
    `quotes` and `trades` are those that have a handler.
    """

    bars: tuple[BarsNeed, ...]
    quotes: tuple[InstrumentId, ...]
    trades: tuple[InstrumentId, ...]
    timers: tuple[TimerNeed, ...]
    instruments: tuple[InstrumentId, ...]


class Desk:
    """Takes the declarations of one strategy during `setup`."""

    def __init__(
        self,
        resolve: Callable[[str], InstrumentId],
        saved_series: list[SeriesState] | None = None,
        saved_indicators: list[Any] | None = None,
    ) -> None:
        """Begin a declaration; `resolve` turns a symbol into an instrument or refuses."""
        self._resolve = resolve
        self._saved_series = saved_series
        self._saved_indicators = saved_indicators
        self._open = True
        self._instruments: dict[InstrumentId, None] = {}
        self._quotes: dict[InstrumentId, None] = {}
        self._trades: dict[InstrumentId, None] = {}
        self._timers: dict[str, TimerNeed] = {}
        self.series: dict[tuple[str, str], Series] = {}

    def bars(self, timeframe: str, symbol: str, keep: int) -> Series:
        """Declare a series; the same one again is the same series, with the larger `keep`."""
        _require_aligned(timeframe)
        if not 0 <= keep <= KEEP_MAX:
            raise Refused(
                "BAD_STRATEGY", f"bars({timeframe!r}): expected 0 <= keep <= {KEEP_MAX}, got {keep}"
            )
        instrument = self._named("bars", symbol)
        series = self.series.get((instrument, timeframe))
        if series is None:
            series = Series(instrument, timeframe, self._next_state())
            self.series[instrument, timeframe] = series
        series.keep = max(series.keep, keep)
        return series

    def quotes(self, symbol: str) -> None:
        """Declare quotes for a handler."""
        self._quotes[self._named("quotes", symbol)] = None

    def trades(self, symbol: str) -> None:
        """Declare public trades for a handler."""
        self._trades[self._named("trades", symbol)] = None

    def every(self, period: str, at: str, name: str) -> None:
        """Declare a schedule."""
        self._require_open("every")
        period_ns = _require_aligned(period)
        found = _AT.fullmatch(at)
        if found is None:
            raise Refused("BAD_STRATEGY", f"every({period!r}): expected at=HH:MM or HH:MM:SS, got {at!r}")
        if not f"x{name}".isidentifier() or name in self._timers:
            raise Refused(
                "BAD_STRATEGY", f"every({period!r}): expected a new name for on_timer_<name>, got {name!r}"
            )
        hours, minutes, seconds = (int(part or 0) for part in found.groups())
        offset_ns = hours * HOUR + minutes * MINUTE + seconds * SECOND
        self._timers[name] = TimerNeed(name, period_ns, offset_ns % period_ns)

    def close(self) -> Declared:
        """End the declaration and hand back what was saved; nothing can be declared afterwards."""
        self._open = False
        for series in self.series.values():
            series.open_for_declaration = False
        self._restore_indicators()
        return Declared(
            tuple(BarsNeed(s.instrument, s.timeframe, s.depth) for s in self.series.values()),
            tuple(self._quotes),
            tuple(self._trades),
            tuple(self._timers.values()),
            tuple(self._instruments),
        )

    def states(self) -> tuple[list[SeriesState], list[Any]]:
        """Return series and indicators in order of declaration: the living objects, for State."""
        series = list(self.series.values())
        return [one.state for one in series], [indicator for one in series for indicator in one.indicators]

    def _named(self, what: str, symbol: str) -> InstrumentId:
        self._require_open(what)
        instrument = self._resolve(symbol)
        self._instruments[instrument] = None
        return instrument

    def _require_open(self, what: str) -> None:
        if not self._open:
            raise Defect(f"{what}() only declares: call it in setup()")

    def _next_state(self) -> SeriesState:
        saved, place = self._saved_series, len(self.series)
        if saved is None:
            return SeriesState()
        if place >= len(saved):
            raise Defect(f"setup() declares more series than the {len(saved)} that were saved")
        return saved[place]

    def _restore_indicators(self) -> None:
        """Let each declared indicator take over the one saved in its place."""
        saved, declared = self._saved_indicators, self.states()[1]
        if saved is None:
            return
        if len(saved) != len(declared):
            raise Defect(f"setup() declares {len(declared)} indicators, {len(saved)} were saved")
        for indicator, one in zip(declared, saved, strict=True):
            take_over(indicator, msgspec.convert(msgspec.to_builtins(one), type(indicator)))


def _require_aligned(period: str) -> int:
    """Return a period in ns; bars and schedules are UTC-aligned, so whole periods make a day."""
    ns = parse_duration(period)
    if DAY % ns and ns % DAY:
        raise Refused(
            "BAD_STRATEGY", f"expected a period that divides a day or is whole days, got {period!r}"
        )
    return ns
