"""Builders of instruments, bars and whole markets for tests of strategies."""

from __future__ import annotations

import math
from collections.abc import Iterable
from decimal import Decimal
from random import Random

from msgspec import Struct

from tradefan.core.desk import Declared
from tradefan.messages.instrument import Instrument
from tradefan.messages.market import Bar, Trade
from tradefan.units import DAY, SECOND, Asset, InstrumentId, parse_duration, parse_iso

VENUE = "binance"
START = "2024-01-01T00:00:00Z"


def make_instrument(symbol: str = "BTC/USDT", venue: str = VENUE) -> Instrument:
    """Return a spot instrument with a tick of 0.01 and a lot of 0.00001."""
    base, _, quote = symbol.partition("/")
    return Instrument(
        id=InstrumentId(f"{venue}:{symbol}"),
        venue=venue,
        symbol=symbol,
        kind="spot",
        base=Asset(base),
        quote=Asset(quote),
        settle=Asset(quote),
        price_tick=Decimal("0.01"),
        qty_lot=Decimal("0.00001"),
        min_qty=Decimal("0.00001"),
        max_qty=Decimal(9000),
        min_notional=Decimal(5),
    )


def make_bars(
    closes: Iterable[float],
    symbol: str = "BTC/USDT",
    timeframe: str = "5m",
    start: str | int = START,
    venue: str = VENUE,
) -> list[Bar]:
    """Return bars that follow one another, each opening at the close before it."""
    span_ns = parse_duration(timeframe)
    open_ns = parse_iso(start) if isinstance(start, str) else start
    bars: list[Bar] = []
    for close in map(float, closes):
        opened = bars[-1].close if bars else close
        bars.append(
            Bar(
                instrument=InstrumentId(f"{venue}:{symbol}"),
                timeframe=timeframe,
                open_ns=open_ns,
                close_ns=open_ns + span_ns,
                open=opened,
                high=max(opened, close),
                low=min(opened, close),
                close=close,
                volume=1.0,
                volume_lots=100_000,
                trades=10,
            )
        )
        open_ns += span_ns
    return bars


class Market(Struct, frozen=True):
    """Bars to warm with, and what follows them live."""

    history: list[Bar]
    bars: list[Bar]
    trades: list[Trade]


def make_market(declared: Declared, seed: int = 1, live: int = 200) -> Market:
    """Return a random market for what a strategy follows: full history, then `live` finest bars.

    All histories end at one instant at which every declared timeframe begins.
    """
    random = Random(seed)  # noqa: S311 a test's market, not a secret
    spans = [parse_duration(need.timeframe) for need in declared.bars]
    whole_ns = math.lcm(DAY, *spans)
    start_ns = parse_iso(START) // whole_ns * whole_ns
    market = Market([], [], [])
    for number, instrument in enumerate(declared.instruments):
        venue, _, symbol = instrument.partition(":")
        frames = {need.timeframe: need.depth for need in declared.bars if need.instrument == instrument}
        price = 100.0 * (number + 1)
        for frame, depth in frames.items():
            closes = _walk(random, price, depth)
            first_ns = start_ns - depth * parse_duration(frame)
            market.history.extend(make_bars(closes, symbol, frame, first_ns, venue))
        finest = min(frames, key=parse_duration, default="5s")
        bars = make_bars(_walk(random, price, live), symbol, finest, start_ns, venue)
        market.bars.extend(bars)
        if instrument in declared.trades:
            market.trades.extend(_trade(bar, place) for place, bar in enumerate(bars))
    market.history.sort(key=lambda bar: bar.close_ns)
    market.bars.sort(key=lambda bar: bar.close_ns)
    return market


def _walk(random: Random, price: float, steps: int) -> list[float]:
    """Return prices that drift in one direction for a while, so that trend followers act too."""
    closes = []
    for step in range(steps):
        drift = 0.002 * math.sin(step / 9)
        price = round(price * (1 + drift + random.gauss(0, 0.002)), 2)
        closes.append(price)
    return closes


def _trade(bar: Bar, number: int) -> Trade:
    at_ns = bar.close_ns - SECOND
    return Trade(bar.instrument, number, bar.close, 0.1, "buy", at_ns, at_ns)
