"""Table (i): schedules on klines, by the engine alone in the market of bars (`tradefan/sim/bar_engine.py`).

Through the whole order manager 800 windows of four orders would take about ten hours, so the engine runs in a
small host; tests/unit/sim/test_bar_desk.py holds both against each other, decision by decision.
"""

from __future__ import annotations

import csv
import lzma
import os
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from decimal import Decimal
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from benchmarks._paired import Paired, mean, paired, shown
from tradefan.core import schedule, track
from tradefan.core.curve import expected, levels_of, packaged
from tradefan.execution import Scheduled
from tradefan.executors.entry import Entry
from tradefan.messages.instrument import Instrument
from tradefan.messages.market import VolumeDays
from tradefan.messages.orders import ParentOrder
from tradefan.messages.plan import Clip
from tradefan.sim.bar_engine import BarEngine, Traded
from tradefan.sim.bar_market import RECORDED, BarMarket, MinuteBar
from tradefan.testing.build import make_instrument
from tradefan.units import (
    DAY,
    HOUR,
    MINUTE,
    MS,
    SECOND,
    AccountId,
    OwnerId,
    ParentId,
    Side,
    sign,
    use_decimal_context,
)

SYMBOLS = ("BTC/USDT", "ETH/USDT")
LENGTHS = (HOUR, 8 * HOUR)
FILE = "binance_spot_{}_1m_20250520_20250818.csv.xz"
HISTORY_DAYS = 21
"""A window's day has at least so many before it."""
SHARE = Decimal("0.02")
"""An order is so much of what is expected to trade, and so is pov's rate."""
ALGORITHMS: dict[str, tuple[str, dict[str, Any]]] = {
    "twap": ("twap", {}),
    "vwap static": ("vwap", {}),
    "vwap dynamic": ("vwap", {"mode": "dynamic"}),
    "pov": ("pov", {"rate": str(SHARE), "max_rate": str(2 * SHARE)}),
}
CLIP_LIFE = 5
"""Seconds: how far back the target of a volume-driven order reaches."""
BUCKET = 5 * MINUTE


class Window(Struct, frozen=True):
    """Where an order is worked."""

    symbol: str
    start_ns: int
    length_ns: int
    side: Side


class Outcome(Struct, frozen=True):
    """What one order did; bps are positive where it cost."""

    algo: str
    error_mean: float
    error_max: float
    allowed: float
    filled: float
    participation: float
    curve_error: float | None
    arrival_bps: float
    vwap_bps: float
    twap_bps: float
    naive_bps: float
    """Its whole cost less that of the naive order."""


# --- the market ----------------------------------------------------------------------------------------


class Klines(Struct):
    """Bars of an instrument, one a minute without a hole, and the volumes of its days."""

    instrument: Instrument
    bars: list[MinuteBar]
    days: VolumeDays


@cache
def klines(folder: str, symbol: str) -> Klines:
    """Read the bars of a symbol."""
    lots = {"BTC/USDT": "0.00001", "ETH/USDT": "0.0001"}
    made = make_instrument(symbol)
    instrument = replace(made, qty_lot=Decimal(lots[symbol]), min_qty=Decimal(lots[symbol]))
    tick, lot = float(instrument.price_tick), float(instrument.qty_lot)
    with lzma.open(Path(folder) / FILE.format(symbol.replace("/", "")), "rt", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    bars = []
    for row in rows:
        opened, high, low, close = (round(float(cell) / tick) for cell in row[1:5])
        bars.append(MinuteBar(int(row[0]) * MS, opened, high, low, close, round(float(row[5]) / lot)))
    return Klines(instrument, bars, _days(instrument, bars))


def _days(instrument: Instrument, bars: Sequence[MinuteBar]) -> VolumeDays:
    days: dict[int, list[float]] = {}
    for bar in bars:
        parts = days.setdefault(bar.open_ns // DAY, [0.0] * (DAY // BUCKET))
        parts[bar.open_ns % DAY // BUCKET] += bar.lots * float(instrument.qty_lot)
    return VolumeDays(instrument.id, "klines", BUCKET, tuple((day, tuple(days[day])) for day in sorted(days)))


def windows(folder: str, count: int, seed: int, lengths: Sequence[int] = LENGTHS) -> list[Window]:
    """Draw windows without overlap, the same ones for the same seed."""
    drawn = []
    for symbol in SYMBOLS:
        bars = klines(folder, symbol).bars
        first = (bars[0].open_ns // DAY + HISTORY_DAYS) * DAY
        last = bars[-1].open_ns // DAY * DAY
        for length_ns in lengths:
            random = Random(f"{seed}/{symbol}/{length_ns}")
            starts = random.sample(range(first, last, length_ns), count)
            drawn += [Window(symbol, at, length_ns, random.choice(("buy", "sell"))) for at in sorted(starts)]
    return drawn


# --- one order ---------------------------------------------------------------------------------------------


class Watch:
    """Follows one order: what it decided, what it traded, how far it was from its plan."""

    def __init__(self, algo: str, window: Window, lots: int, mid: Decimal) -> None:
        self.algo = algo
        self.clips: list[Clip] = []
        self.value, self.lots, self.cum = 0, lots, 0
        self.mid = mid
        self.error = track.Error(lots, since_ns=window.start_ns)
        self._end_ns = window.start_ns + window.length_ns
        self._totals: deque[int] = deque([0], CLIP_LIFE + 1)

    def on_decision(self, now_ns: int, clip: Clip) -> None:
        """A schedule's targets are those of its decision."""
        self.clips.append(clip)
        if self.algo != "pov" and now_ns < self._end_ns:
            track.on_interval(self.error, now_ns, clip.before, clip.target)

    def on_fill(self, now_ns: int, traded: Traded) -> None:
        """Count a trade."""
        self.cum += traded.lots
        self.value += traded.lots * traded.price
        if now_ns <= self._end_ns:
            track.on_cum(self.error, now_ns, self.cum)

    def on_second(self, now_ns: int, others: int) -> None:
        """Volume moves the targets of an order that follows it."""
        if self.algo == "pov" and now_ns < self._end_ns:
            self._totals.append(others + self.cum)
            low, high = (
                schedule.by_rate(self.lots, SHARE, total) for total in (self._totals[0], self._totals[-1])
            )
            track.on_interval(self.error, now_ns, low, high)


def play(folder: str, window: Window, names: Sequence[str] = tuple(ALGORITHMS)) -> list[Outcome]:
    """Work one order of each algorithm in a window, all in the same market, which they do not move."""
    source = klines(folder, window.symbol)
    instrument, end_ns = source.instrument, window.start_ns + window.length_ns
    place = (window.start_ns - source.bars[0].open_ns) // MINUTE
    bars = source.bars[place : place + window.length_ns // MINUTE + 1]
    market = BarMarket(bars, RECORDED[window.symbol], window.start_ns // MINUTE)
    lots = _order_lots(source, window)
    one = market.step()
    assert one is not None
    mid = Decimal(one.bid + one.ask) * instrument.price_tick / 2
    base, touches, volumes, mids = market.lots, [_touch(window, market)], [0], [(one.bid + one.ask) / 2]
    value = market.value
    watches = [Watch(name, window, lots, mid) for name in names]
    engines = [
        BarEngine(_entry(source, window, lots, mid, watch.algo), market, watch.on_decision, watch.on_fill)
        for watch in watches
    ]
    now_ns = window.start_ns
    while any(engine.status is None for engine in engines):
        for engine in engines:
            engine.timers(now_ns + SECOND)
        if (one := market.step()) is None:
            break
        now_ns = one.at_ns
        if now_ns <= end_ns:
            touches.append(_touch(window, market))
            volumes.append(market.lots - base)
            mids.append((one.bid + one.ask) / 2)
        for engine, watch in zip(engines, watches, strict=True):
            engine.print(now_ns)
            watch.on_second(now_ns, market.lots - base)
    for engine, watch in zip(engines, watches, strict=True):
        assert engine.status is not None, f"expected an order that ends, {watch.algo} in {window}"
    vwap = (market.value - value) / (market.lots - base)
    slices = next(len(engine.plan.taus) for engine in engines if engine.plan.taus)
    naive = [touches[k * (len(touches) - 1) // slices] for k in range(slices)]
    return [
        _outcome(
            window, watch, engine, vwap, sum(mids) / len(mids), sum(naive) / slices, touches[-1], volumes
        )
        for watch, engine in zip(watches, engines, strict=True)
    ]


def _touch(window: Window, market: BarMarket) -> int:
    assert market.now is not None
    return market.now.ask if window.side == "buy" else market.now.bid


def _order_lots(source: Klines, window: Window) -> int:
    day = window.start_ns // DAY
    found = levels_of(source.days, BUCKET, day - 28, day, days_min=14, bucket_days_min=4)
    assert found is not None
    seen = expected(found, window.start_ns, window.start_ns + window.length_ns)
    assert seen is not None
    return int(Decimal(repr(sum(seen.volumes))) * SHARE // source.instrument.qty_lot)


def _entry(source: Klines, window: Window, lots: int, mid: Decimal, name: str) -> Entry:
    algo, settings = ALGORITHMS[name]
    order = ParentOrder(
        ParentId(f"{name}-{window.symbol}-{window.start_ns}"),
        AccountId("paper:main"),
        source.instrument.id,
        OwnerId("cli"),
        "r",
        window.side,
        lots * source.instrument.qty_lot,
        algo,
        {"duration": f"{window.length_ns // SECOND}s", **settings},
        None,
        "",
        "",
        False,
        "net",
        False,
        window.start_ns,
    )
    levels = packaged(source.instrument.base)
    return Entry(order, source.instrument, window.start_ns, mid, levels=levels, history=(source.days,))


def _outcome(
    window: Window,
    watch: Watch,
    engine: BarEngine,
    vwap: float,
    twap: float,
    naive: float,
    last: int,
    volumes: Sequence[int],
) -> Outcome:
    s, arrival = sign(window.side), float(watch.mid) * 100
    avg = watch.value / watch.cum if watch.cum else arrival
    # What is left is taken at the end, wherever the touch is then.
    whole = (watch.value + (watch.lots - watch.cum) * last) / watch.lots
    allowed = float(engine.recipe.settings.discretion) + engine.plan.min_clip / watch.lots
    track.on_cum(watch.error, window.start_ns + window.length_ns, watch.error.cum)
    error_mean = track.mean_error(watch.error)
    assert error_mean is not None, "expected a schedule that has begun"
    return Outcome(
        watch.algo,
        error_mean,
        watch.error.largest,
        allowed,
        watch.cum / watch.lots,
        watch.cum / (volumes[-1] + watch.cum),
        _curve_error(watch, engine, volumes),
        s * (avg - arrival) / arrival * 1e4,
        s * (avg - vwap) / vwap * 1e4,
        s * (avg - twap) / twap * 1e4,
        s * (whole - naive) / arrival * 1e4,
    )


def _curve_error(watch: Watch, engine: BarEngine, volumes: Sequence[int]) -> float | None:
    """Return max |F - share of the window's volume that had traded| at the ends of a plan's intervals.

    F is the plan's, without the jitter of its sizes; what follows live volume is held against its curve.
    """
    plan, settings = engine.plan, engine.recipe.settings
    n = len(plan.taus)
    if not n or not isinstance(settings, Scheduled):
        return None
    due = schedule.without_jitter(plan.taus, plan.base, settings.size_jitter, engine.name)
    ends = (volumes[(k + 1) * (len(volumes) - 1) // n] / volumes[-1] for k in range(n))
    return max(abs(lots / watch.lots - traded) for lots, traded in zip(due, ends, strict=True))


# --- all of them -----------------------------------------------------------------------------------------


class Line(Struct, frozen=True):
    """One line of the table."""

    symbol: str
    hours: int
    algo: str
    n: int
    within: float
    """Share of windows whose largest schedule error was allowed."""
    error_mean: float
    error_max: float
    filled: float
    participation: float
    curve_error: float | None
    arrival_bps: float
    vwap_bps: float
    twap_bps: float
    difference: Paired


def _played(task: tuple[str, Window]) -> tuple[Window, list[Outcome]]:
    use_decimal_context()
    return task[1], play(*task)


def table(folder: str, count: int, seed: int, jobs: int, lengths: Sequence[int] = LENGTHS) -> list[Line]:
    """Play so many windows of each symbol and length; return one line for each algorithm in them."""
    drawn = windows(folder, count, seed, lengths)
    found: dict[tuple[str, int, str], list[Outcome]] = {}
    with ProcessPoolExecutor(jobs) as pool:
        for window, outcomes in pool.map(_played, [(folder, window) for window in drawn]):
            for one in outcomes:
                found.setdefault((window.symbol, window.length_ns // HOUR, one.algo), []).append(one)
    return [_line(*key, outcomes) for key, outcomes in found.items()]


def _line(symbol: str, hours: int, algo: str, outcomes: list[Outcome]) -> Line:
    def of(name: str) -> float:
        value = mean([getattr(one, name) for one in outcomes])
        assert value is not None
        return value

    return Line(
        symbol,
        hours,
        algo,
        len(outcomes),
        sum(one.error_max <= one.allowed for one in outcomes) / len(outcomes),
        of("error_mean"),
        max(one.error_max for one in outcomes),
        of("filled"),
        of("participation"),
        mean([one.curve_error for one in outcomes]),
        of("arrival_bps"),
        of("vwap_bps"),
        of("twap_bps"),
        paired([one.naive_bps for one in outcomes]),
    )


HEAD = (
    "symbol    h  algorithm      n  within  err mean  err max  filled  particip  curve err"
    "  arrival  vs vwap  vs twap | to naive TWAP, bps: mean     sd   95 %"
)


def lines(found: Sequence[Line]) -> list[str]:
    """Return the table as text."""
    rows = [HEAD]
    for one in found:
        other = one.difference
        rows.append(
            f"{one.symbol:9} {one.hours}  {one.algo:12} {one.n:3}  {one.within:6.3f}  {one.error_mean:8.4f}"
            f"  {one.error_max:7.4f}  {one.filled:6.3f}  {one.participation:8.4f}"
            f"  {shown(one.curve_error, 4):>9}  {one.arrival_bps:7.2f}"
            f"  {one.vwap_bps:7.2f}  {one.twap_bps:7.2f}"
            f" | {other.mean:23.3f} {other.sd:6.2f}   [{other.low:.3f}, {other.high:.3f}] {other.word}"
        )
    return rows


def folder_of_klines() -> str | None:
    """Return where the klines are, None where nobody has said it."""
    value = os.environ.get("TRADEFAN_REFERENCE_DATA")
    return None if value is None else str(Path(value) / "klines")
