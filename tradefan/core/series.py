"""A declared series of closed bars with the indicators on it, as one strategy sees it.

A series begins anew after a hole: what was computed across it would depend on bars that nobody saw.
Quiet bars are no hole, `core/bars` closes them flat. Up to `HOLE_MAX` missing bars change nothing: the
bar in which a feed began is partial and never leaves, so history may end that far from the live bars.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import msgspec
from msgspec import Struct

from tradefan.core.indicators import ATR, EMA, RSI, SMA, Source
from tradefan.errors import Defect
from tradefan.messages.market import Bar
from tradefan.strategy.indicator import Indicator
from tradefan.units import SECOND, InstrumentId, parse_duration

if TYPE_CHECKING:
    import numpy as np

    Floats = np.ndarray[tuple[int], np.dtype[np.float64]]
    Integers = np.ndarray[tuple[int], np.dtype[np.int64]]

HOLE_MAX = 2
I = TypeVar("I", bound=Indicator)  # noqa: E741 what goes in comes out


class SeriesState(Struct):
    """What a series remembers: bars `seen` since it began, the newest, and the kept ones."""

    seen: int = 0
    newest: Bar | None = None
    kept: list[Bar] = []
    holes: int = 0
    begun_anew: int = 0


@dataclass(frozen=True, slots=True)
class Columns:
    """Bars as NumPy columns, oldest first."""

    open_ns: Integers
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats


class Series:
    """Closed bars of one instrument and timeframe; made by `Strategy.bars` in `setup`."""

    def __init__(self, instrument: InstrumentId, timeframe: str, state: SeriesState) -> None:
        """Begin, or go on, with `state`; indicators are declared again in the same order."""
        self.instrument = instrument
        self.timeframe = timeframe
        self.span_ns = parse_duration(timeframe)
        self.keep = 0
        self.indicators: list[Indicator] = []
        self.state = state
        self._fresh: list[bytes] = []
        self.open_for_declaration = True

    # --- declared in setup ------------------------------------------------------------------------

    def sma(self, n: int, of: Source = "close") -> SMA:
        """Declare a simple moving average."""
        return self.add(SMA(n, of=of))

    def ema(self, n: int, of: Source = "close") -> EMA:
        """Declare an exponential moving average."""
        return self.add(EMA(n, of=of))

    def rsi(self, n: int, of: Source = "close") -> RSI:
        """Declare Wilder's relative strength index."""
        return self.add(RSI(n, of=of))

    def atr(self, n: int) -> ATR:
        """Declare Wilder's average true range."""
        return self.add(ATR(n))

    def add(self, indicator: I) -> I:
        """Declare an indicator of one's own; it is fed with each closed bar from now on."""
        if not self.open_for_declaration:
            raise Defect(f"{self.name}: indicators are declared in setup()")
        self._fresh.append(_encoded(indicator))
        self.indicators.append(indicator)
        return indicator

    # --- read in handlers -------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """`ETH/USDT 5s`."""
        return f"{self.instrument.partition(':')[2] or self.instrument} {self.timeframe}"

    @property
    def bar(self) -> Bar:
        """The newest closed bar."""
        if self.state.newest is None:
            raise Defect(f"{self.name}: no bar has closed yet")
        return self.state.newest

    def last(self, n: int) -> Columns:
        """Return the newest n kept bars as NumPy columns (fewer where fewer were seen)."""
        import numpy as np  # noqa: PLC0415 the daemon stays small unless an array is asked for

        if not 0 < n <= self.keep:
            raise Defect(f"{self.name}: {n} bars are not kept: declare bars({self.timeframe!r}, keep={n})")
        bars = self.state.kept[-n:]
        return Columns(
            np.array([bar.open_ns for bar in bars], dtype=np.int64),
            *(
                np.array([getattr(bar, name) for bar in bars], dtype=np.float64)
                for name in ("open", "high", "low", "close", "volume")
            ),
        )

    # --- fed by the trader --------------------------------------------------------------------------

    @property
    def depth(self) -> int:
        """Bars of history that must be seen before a handler may run."""
        return max([self.keep, *(indicator.warmup for indicator in self.indicators)])

    @property
    def ready(self) -> bool:
        """Whether the series is as deep as declared and every indicator has its value."""
        return self.state.seen >= self.depth and all(indicator.ready for indicator in self.indicators)

    def forecast(self) -> str:
        """Say how far the warm-up is and how long it will take."""
        seen, depth = self.state.seen, self.depth
        if seen >= depth:
            waits = [type(indicator).__name__ for indicator in self.indicators if not indicator.ready]
            return f"{self.name}: {seen} bars, {' '.join(waits)} not ready"
        return f"{self.name}: {seen} of {depth} bars, about {span_text((depth - seen) * self.span_ns)}"

    def update(self, bar: Bar) -> bool:
        """Take the next closed bar; False for one that is not newer than the newest."""
        state = self.state
        if state.newest is not None:
            if bar.open_ns < state.newest.close_ns:
                return False
            hole = (bar.open_ns - state.newest.close_ns) // self.span_ns
            state.holes += hole
            if hole > HOLE_MAX:
                self.begin_anew()
        state.seen += 1
        state.newest = bar
        if self.keep:
            state.kept.append(bar)
            if len(state.kept) > self.keep:
                del state.kept[0]
        for indicator in self.indicators:
            indicator.update(bar)
        return True

    def begin_anew(self) -> None:
        """Forget all bars: what comes next does not connect with them."""
        state = self.state
        state.begun_anew += 1
        state.seen, state.newest, state.kept = 0, None, []
        for indicator, fresh in zip(self.indicators, self._fresh, strict=True):
            take_over(indicator, msgspec.msgpack.decode(fresh, type=type(indicator)))


def take_over(mine: Struct, other: Struct) -> None:
    """Set all fields of a Struct to those of another one of the same class."""
    for name in mine.__struct_fields__:
        setattr(mine, name, getattr(other, name))


def _encoded(indicator: Indicator) -> bytes:
    """Return an indicator as bytes: the proof that it can be part of the trader's state."""
    try:
        blob = msgspec.msgpack.encode(indicator)
        msgspec.msgpack.decode(blob, type=type(indicator))
    except (TypeError, msgspec.MsgspecError) as error:
        raise Defect(f"{type(indicator).__name__} cannot be kept in state: {error}") from error
    return blob


def span_text(ns: int) -> str:
    """Return a duration in its largest unit of which there are at least two: `46s`, `4m`, `26h`."""
    seconds = ns // SECOND
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
