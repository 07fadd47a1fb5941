"""Bars from trades: aligned, exact, together, flat where nothing was traded."""

from __future__ import annotations

import lzma
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.recorded import BTC, ETH, SYMBOLS, events, instruments
from tradefan.core.bars import FLAT_MAX, Bars, Closing, fold, new_bars
from tradefan.messages.market import Bar, BookDelta, Trade
from tradefan.units import HOUR, MINUTE, MS, SECOND, InstrumentId

T0 = 1_800_000_000 * SECOND
"""A whole hour."""
GRACE = 2 * SECOND
LOT = 0.001


def made(*timeframes: str) -> Bars:
    return new_bars(BTC, timeframes, LOT, GRACE)


def bar(timeframe: str, at_s: int, size_s: int, prices: str, lots: int, trades: int) -> Bar:
    open_, high, low, close = (float(price) for price in prices.split())
    start = T0 + at_s * SECOND
    return Bar(
        BTC, timeframe, start, start + size_s * SECOND, open_, high, low, close, lots / 1000, lots, trades
    )


def feed(bars: Bars, *trades: tuple[float, float]) -> list[Closing]:
    """Trade 0.1 at (seconds, price); return what closed."""
    closed: list[Closing] = []
    for seconds, price in trades:
        closed.extend(bars.trade(price, 0.1, T0 + round(seconds * SECOND)))
    return closed


def test_bar_when_a_later_trade_comes_then_closes_with_all_that_it_had() -> None:
    """Open, high, low, close by arrival; volume in lots; the end of the interval is the next one's."""
    bars = made("5s")
    closed = feed(bars, (4.9, 50), (5.0, 10), (6, 13), (7, 9), (9.999, 11), (10.0, 99))
    assert closed == [Closing((bar("5s", 5, 5, "10 13 9 11", 400, 4),), exact=True)]


def test_bar_when_begun_inside_it_then_never_leaves() -> None:
    """Trades before the first one that we saw are missing: it is partial, for every timeframe."""
    bars = made("5s", "1m")
    closed = feed(bars, (58, 1), (61, 2), (66, 3), (121, 4))
    assert [one.timeframe for closing in closed for one in closing.bars].count("1m") == 1
    assert closed[0] == Closing((bar("5s", 60, 5, "2 2 2 2", 100, 1),), exact=True)


def test_bars_when_they_close_together_then_one_closing_finest_first() -> None:
    """A 5 s handler sees the minute that closes with it, and none that has not closed."""
    bars = made("1m", "1s", "30s")
    feed(bars, (0.5, 1), (60.2, 5), (60.9, 7), (100, 6))
    closed = feed(bars, (120, 8))
    last = closed[-1]
    assert [one.timeframe for one in last.bars] == ["1s", "30s", "1m"]
    assert last.bars[2] == bar("1m", 60, 60, "5 7 5 6", 300, 3)
    assert last.bars[1] == bar("30s", 90, 30, "6 6 6 6", 100, 1)
    assert [len(closing.bars) for closing in closed[:-1]] == [1] * 19


def test_bar_when_nothing_was_traded_then_flat_at_the_last_close() -> None:
    """Indicators on 5 s bars must not skip time; the bar says that it is empty."""
    bars = made("5s")
    closed = feed(bars, (0, 7), (6, 8), (21, 9))
    assert [closing.bars[0] for closing in closed] == [
        bar("5s", 5, 5, "8 8 8 8", 100, 1),
        bar("5s", 10, 5, "8 8 8 8", 0, 0),
        bar("5s", 15, 5, "8 8 8 8", 0, 0),
    ]


def test_coarse_bar_when_it_begins_quietly_then_opens_with_its_first_trade() -> None:
    """Like the venue's klines: a flat part has no say in open, high and low."""
    bars = made("5s", "15s")
    closed = feed(bars, (0, 100), (16, 50), (28, 60), (31, 1))
    coarse = [one for closing in closed for one in closing.bars if one.timeframe == "15s"]
    assert coarse == [bar("15s", 15, 15, "50 60 50 60", 200, 2)]


def test_advance_when_the_grace_is_over_then_closes_without_a_trade() -> None:
    """Two seconds behind the end by venue time, not a nanosecond before."""
    bars = made("5s")
    feed(bars, (0, 7), (6, 8))
    end = T0 + 10 * SECOND
    assert list(bars.advance(end + GRACE - 1)) == []
    assert list(bars.advance(end + GRACE)) == [Closing((bar("5s", 5, 5, "8 8 8 8", 100, 1),), exact=True)]
    assert list(bars.advance(end + GRACE)) == []


def test_advance_when_nothing_was_ever_traded_then_nothing() -> None:
    """There is no price to be flat at."""
    assert list(made("5s").advance(T0 + HOUR)) == []


def test_trade_when_its_bar_has_closed_then_late_and_only_counted() -> None:
    """A closed bar is final."""
    bars = made("5s")
    feed(bars, (0, 7), (6, 8))
    bars.advance(T0 + 12 * SECOND)
    assert feed(bars, (9.9, 1000)) == []
    assert feed(bars, (15, 9)) == [Closing((bar("5s", 10, 5, "8 8 8 8", 0, 0),), exact=True)]
    assert bars.late == 1


# --- holes and breaks -----------------------------------------------------------------------------------


def test_bar_when_trades_are_missing_in_it_then_inexact_and_without_trades_absent() -> None:
    """A figure over a hole is marked; a made-up one stays away, so that a series sees the hole."""
    bars = made("5s", "1m")
    feed(bars, (0, 1), (61, 7), (66, 8))
    bars.hole(T0 + 66 * SECOND, T0 + 83 * SECOND)
    closed = feed(bars, (83, 9), (86, 10), (121, 11))
    fine = [
        (closing.bars[0].open_ns - T0) // SECOND for closing in closed if closing.bars[0].timeframe == "5s"
    ]
    assert fine == [65, 80, 85, 90, 95, 100, 105, 110, 115]
    assert [closing.exact for closing in closed] == [False, False, *([True] * 6), False]
    assert closed[-1].bars[1] == bar("1m", 60, 60, "7 10 7 10", 400, 4)
    assert bars.inexact == 3


def test_hole_when_it_proves_none_then_bars_are_exact() -> None:
    """A disconnect after which the next id follows cost no trade."""
    bars = made("5s")
    feed(bars, (0, 1), (6, 2))
    bars.hole(T0 + 6 * SECOND)
    bars.hole_ends(0)
    assert [closing.exact for closing in feed(bars, (11, 3))] == [True]


def test_hole_when_two_touch_one_bar_then_both_count() -> None:
    """The second hole does not forgive the first."""
    bars = made("5s")
    feed(bars, (0, 1), (6, 2))
    bars.hole(T0 + 6 * SECOND, T0 + 7 * SECOND)
    feed(bars, (7, 2))
    bars.hole(T0 + 8 * SECOND, T0 + 12 * SECOND)
    assert [closing.exact for closing in feed(bars, (12, 3), (16, 4), (21, 5))] == [False, False, True]


def test_begin_anew_when_a_session_breaks_then_open_bars_are_discarded() -> None:
    """The next bar that leaves began after the break."""
    bars = made("5s")
    feed(bars, (0, 1), (6, 2))
    bars.begin_anew()
    assert bars.last_price is None
    closed = feed(bars, (7, 50), (11, 60), (16, 1))
    assert closed == [Closing((bar("5s", 10, 5, "60 60 60 60", 100, 1),), exact=True)]


def test_trade_when_the_silence_was_endless_then_begins_anew_instead_of_flooding() -> None:
    """One trade closes at most so many flat bars."""
    bars = made("1s")
    feed(bars, (0, 1), (1.5, 2))
    assert len(feed(bars, (1.5 + FLAT_MAX, 2))) == FLAT_MAX
    assert feed(bars, (10 + 3 * FLAT_MAX, 2)) == []
    assert bars.restarts == 1


def test_bars_when_timeframes_do_not_nest_then_each_is_right() -> None:
    """2 s and 3 s share a base of 1 s."""
    bars = made("3s", "2s")
    trades = [(0.5 + number, float(number)) for number in range(13)]
    closed = [one for closing in feed(bars, *trades) for one in closing.bars]
    assert [one for one in closed if one.timeframe == "2s"] == [
        bar("2s", at, 2, f"{at} {at + 1} {at} {at + 1}", 200, 2) for at in (2, 4, 6, 8, 10)
    ]
    assert [one for one in closed if one.timeframe == "3s"] == [
        bar("3s", at, 3, f"{at} {at + 2} {at} {at + 2}", 300, 3) for at in (3, 6, 9)
    ]


def test_bars_when_no_timeframe_is_wanted_then_only_the_last_price() -> None:
    """An instrument may be observed for its quotes alone."""
    bars = made()
    assert feed(bars, (0, 1), (3_600, 2), (86_400, 3)) == []
    assert bars.last_price == 3.0


def test_bars_when_encoded_and_decoded_then_go_on_alike() -> None:
    """All that they know is state."""
    bars = made("1s", "1m")
    feed(bars, (0, 1), (61, 7), (66, 8))
    copy = msgspec.msgpack.decode(msgspec.msgpack.encode(bars), type=Bars)
    later = [(83.0, 9.0), (121.0, 4.0)]
    assert feed(copy, *later) == feed(bars, *later)
    assert copy == bars


def test_volume_when_floats_would_drift_then_lots_are_exact() -> None:
    """A sum of 1,000 tenths is not 100 in float; in lots it is."""
    bars = made("1m")
    closed = feed(bars, (0, 1), *[(60 + number * 0.05, 1.0) for number in range(1_000)], (121, 1))
    assert [(one.volume_lots, one.volume) for one in closed[0].bars] == [(100_000, 100.0)]


# --- against the venue ------------------------------------------------------------------------------------


def test_fold_when_fine_bars_are_whole_then_equals_bars_from_trades() -> None:
    """5 s bars of 1 s klines are those of the trades, and a part of one is none."""
    fine = [
        closing.bars[0]
        for closing in feed(made("1s"), *[(0.1 + number * 0.7, 100.0 + number % 7) for number in range(60)])
    ]
    coarse = [
        closing.bars[0]
        for closing in feed(made("5s"), *[(0.1 + number * 0.7, 100.0 + number % 7) for number in range(60)])
    ]
    folded = fold(fine, "5s")
    assert [msgspec.structs.replace(one, volume=0.0) for one in folded] == [
        msgspec.structs.replace(one, volume=0.0) for one in coarse
    ]
    assert len(folded) == 7


def recorded_bars(instrument: InstrumentId, *timeframes: str) -> list[Bar]:
    """Return the bars of the recording; changes of the book tell the time in between."""
    bars = new_bars(instrument, timeframes, float(instruments()[instrument].qty_lot), GRACE)
    closed: list[Closing] = []
    for event in events(instrument):
        if isinstance(event, Trade):
            closed.extend(bars.trade(event.price, event.qty, event.event_ns))
        elif isinstance(event, BookDelta):
            closed.extend(bars.advance(event.event_ns))
    assert bars.late == 0
    assert all(closing.exact for closing in closed)
    return [one for closing in closed for one in closing.bars]


@pytest.mark.slow
@pytest.mark.parametrize("instrument", [BTC, ETH])
def test_recorded_minutes_when_aggregated_then_equal_the_venues_klines(
    instrument: InstrumentId, reference_data: Path
) -> None:
    """Ten full minutes each: open, high, low, close and the volume in lots, exactly."""
    symbol = SYMBOLS[instrument].upper()
    path = reference_data / "klines" / f"binance_spot_{symbol}_1m_20240726_20240825.csv.xz"
    klines = {}
    with lzma.open(path, "rt") as lines:
        next(lines)
        for line in lines:
            open_ms, *values = line.split(",")
            klines[int(open_ms) * MS] = [float(value) for value in values]
    lot = float(instruments()[instrument].qty_lot)
    minutes = recorded_bars(instrument, "1m", "5s")
    minutes = [one for one in minutes if one.timeframe == "1m"]
    assert len(minutes) == 10
    for one in minutes:
        open_, high, low, close, volume = klines[one.open_ns]
        ours = (one.open, one.high, one.low, one.close, one.volume_lots, one.volume)
        assert ours == (open_, high, low, close, round(volume / lot), volume)


@pytest.mark.slow
def test_recorded_bars_when_listed_then_no_instant_is_missing() -> None:
    """5 s bars follow each other without a hole, and twelve of them make the minute."""
    listed = recorded_bars(BTC, "1m", "5s")
    fine = [one for one in listed if one.timeframe == "5s"]
    assert all(one.close_ns == later.open_ns for one, later in pairwise(fine))
    coarse = fold(fine, "1m")
    assert [one.volume_lots for one in coarse] == [one.volume_lots for one in listed if one.timeframe == "1m"]
    assert {one.close_ns - one.open_ns for one in coarse} == {MINUTE}


def test_late_trade_when_a_longer_bar_is_open_then_that_bar_takes_it() -> None:
    """The closed 1 s bar stays as it was; the open 5 s bar counts the trade."""
    bars = new_bars(InstrumentId("binance:BTC/USDT"), ("1s", "5s"), 0.5, SECOND)
    start = 1_000 * 5 * SECOND
    for second in range(6):
        bars.trade(100.0, 0.5, start + second * SECOND + 1)
    bars.trade(120.0, 1.0, start + 4 * SECOND + 2)
    assert bars.late == 1
    for second in range(6, 8):
        bars.trade(100.0, 0.5, start + second * SECOND + 1)
    bars.trade(130.0, 1.0, start + 6 * SECOND + 2)
    closed = [
        bar
        for second in range(8, 11)
        for one in bars.trade(100.0, 0.5, start + second * SECOND + 1)
        for bar in one.bars
    ]
    (five,) = [bar for bar in closed if bar.timeframe == "5s"]
    assert (five.open_ns, five.high, five.volume_lots, five.trades) == (start + 5 * SECOND, 130.0, 7, 6)
    assert bars.late == 2


# --- timeframes that come and go --------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(0, 4_000), st.integers(1, 9)), min_size=1, max_size=80),
    st.lists(st.sampled_from(("5s", "7s", "30s", "1m", "90s", "2m")), min_size=1, max_size=3, unique=True),
    st.lists(st.sampled_from(("1s", "5s", "12s", "1m", "2m", "5m")), min_size=1, max_size=3, unique=True),
    st.integers(0, 80),
)
def test_follow_when_timeframes_change_then_each_bar_is_as_if_it_had_always_been_followed(
    steps: list[tuple[int, int]], before: list[str], after: list[str], place: int
) -> None:
    """What stays misses nothing; what is new begins with the first whole bar behind the change."""
    trades: list[tuple[float, float]] = []
    for tenths, price in steps:
        trades.append(((trades[-1][0] if trades else 0.0) + tenths / 100, float(price)))
    always, changed = made(*{*before, *after}), made(*before)
    wanted = [one for closing in feed(always, *trades) for one in closing.bars]
    got = [one for closing in feed(changed, *trades[:place]) for one in closing.bars]
    traded_ns = T0 + round(trades[place - 1][0] * SECOND) if 0 < place <= len(trades) else 0
    if place > len(trades):
        traded_ns = T0 + round(trades[-1][0] * SECOND)
    changed.follow(after, traded_ns)
    got += [one for closing in feed(changed, *trades[place:]) for one in closing.bars]
    for name in after:
        mine = [one for one in got if one.timeframe == name]
        theirs = [one for one in wanted if one.timeframe == name]
        assert mine == (theirs if name in before else [one for one in theirs if one.open_ns > traded_ns])


def test_follow_when_there_were_no_bars_then_begins_with_the_next_trade() -> None:
    """Only the last price was kept."""
    bars = made()
    feed(bars, (1, 10))
    bars.follow(("5s",), T0 + SECOND)
    closed = feed(bars, (3, 11), (6, 12), (11, 13))
    assert closed == [Closing((bar("5s", 5, 5, "12 12 12 12", 100, 1),), exact=True)]


def test_follow_when_nothing_changes_then_nothing_does() -> None:
    """An actor that is built anew of its state says the same again."""
    bars = made("5s", "1m")
    feed(bars, (1, 10), (7, 11))
    before = msgspec.msgpack.encode(bars)
    bars.follow(("1m", "5s"), T0 + 7 * SECOND)
    assert msgspec.msgpack.encode(bars) == before


def test_follow_when_a_fine_bar_comes_in_a_long_quiet_one_then_the_long_one_goes_on() -> None:
    """The fine base begins at the newest trade: what lies between is no silence without end."""
    bars = made("1h")
    feed(bars, (-10, 9), (60, 10), (1700, 12))
    bars.follow(("1s", "1h"), T0 + 1700 * SECOND)
    closed = [
        one for closing in feed(bars, (2290, 8), (2800, 8), (3300, 8), (3601, 11)) for one in closing.bars
    ]
    (hour,) = [one for one in closed if one.timeframe == "1h"]
    assert hour == bar("1h", 0, 3600, "10 12 8 8", 500, 5)
    assert closed[0].open_ns == T0 + 1701 * SECOND


def test_follow_when_trades_are_missing_in_the_open_bar_then_it_stays_inexact() -> None:
    """A hole before the newest trade is behind the fine base bar."""
    bars = made("1m")
    feed(bars, (-10, 9), (5, 10))
    bars.hole(T0 + 5 * SECOND, T0 + 20 * SECOND)
    feed(bars, (20, 12))
    bars.follow(("1s", "1m"), T0 + 20 * SECOND)
    closings = feed(bars, (61, 8))
    assert [closing.exact for closing in closings if closing.bars[-1].timeframe == "1m"] == [False]
