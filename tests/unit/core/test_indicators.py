"""Indicators: reference values that others computed, seeds, warm-up, and being a number."""

from __future__ import annotations

import csv
import gzip
import json
import math
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from tradefan.core.indicators import ATR, EMA, RSI, SMA
from tradefan.errors import Refused
from tradefan.strategy import Bar, Indicator
from tradefan.testing import make_bars

Rows = list[dict[str, str]]
DATA = Path(__file__).resolve().parents[2] / "data" / "ref-indicators"


def _talib_bars() -> list[dict[str, float]]:
    with (DATA / "talib_input_252bars.csv").open(encoding="utf-8") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def _lean(name: str) -> Rows:
    with gzip.open(DATA / "lean" / name, "rt", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _talib_rows() -> list[tuple[Indicator, int, int, int, float]]:
    """Return (indicator, bars before the first output, first bar of output, index, value) of each row."""
    rows: list[tuple[Indicator, int, int, int, float]] = []
    for line in (DATA / "talib_expected.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        made = _talib_indicator(row)
        if made is None or row["expectedRetCode"] != "TA_SUCCESS" or not row["expectedNbElement"]:
            continue
        # An "unstable period" only skips outputs; an SMA has none.
        lookback = made.n - 1 + (0 if isinstance(made, SMA) else row["unstablePeriod"])
        lookback += 1 if isinstance(made, RSI | ATR) else 0
        tail = "0" if isinstance(made, RSI) else ""
        index, value = row[f"oneOfTheExpectedOutRealIndex{tail}"], row[f"oneOfTheExpectedOutReal{tail}"]
        rows.append((made, lookback, row["expectedBegIdx"], index, value))
    return rows


def _talib_indicator(row: dict[str, Any]) -> SMA | EMA | RSI | ATR | None:
    period, variant = row.get("optInTimePeriod", 0), "METASTOCK" in row.get("compatibility", "")
    if period < 1:
        return None
    if row["file"] == "test_ma.c" and row["optInMAType_1"] == "TA_MAType_SMA":
        return SMA(period)
    if row["file"] == "test_ma.c" and row["optInMAType_1"] == "TA_MAType_EMA" and not variant:
        return EMA(period)
    if row["file"] == "test_rsi.c" and row["theFunction"] == "TA_RSI_TEST" and not variant:
        return RSI(period)
    return ATR(period) if row["file"] == "test_trange.c" and row["doAverage"] else None


def test_talib_tables_when_recomputed_then_every_row_agrees_in_its_printed_digits() -> None:
    """TA-Lib's own regression tables hold for SMA, EMA, RSI and ATR, whatever part of the input is used."""
    bars, off, kinds = _talib_bars(), [], set()
    for indicator, lookback, begin, index, value in _talib_rows():
        inputs: list[Any] = [bar["close"] for bar in bars]
        if isinstance(indicator, ATR):
            inputs = [(bar["high"], bar["low"], bar["close"]) for bar in bars]
        out = indicator.batch(inputs[begin - lookback :])
        # The tables truncate, so the last printed digit (at least the second) may be one too low.
        digits = max(2, len(str(value).partition(".")[2]))
        kinds.add(type(indicator).__name__)
        if not abs(out[lookback + index] - value) < 10**-digits:
            off.append((indicator, begin, index, value, out[lookback + index]))
    assert (off, kinds, len(_talib_rows())) == ([], {"SMA", "EMA", "RSI", "ATR"}, 56)


def _worst(
    indicator: Indicator, inputs: list[Any], rows: list[dict[str, str]], column: str, skip: int = 0
) -> float:
    """Return the largest difference to a column where it has a value."""
    out = indicator.batch(inputs)
    known = [
        (mine, row[column]) for mine, row in zip(out, rows, strict=True) if row[column] not in {"", "NaN"}
    ]
    return max(abs(mine - float(value)) for mine, value in known[skip:])


def test_lean_columns_when_recomputed_then_ours_agree() -> None:
    """Columns of third-party platforms agree from their first value, in the digits that they print."""
    monthly, daily, half_hourly = (
        _lean("spy_ema.csv.gz"),
        _lean("spy_with_indicators.txt.gz"),
        _lean("spy_with_rma.csv.gz"),
    )
    closes = [float(row["Close"]) for row in daily]
    assert _worst(EMA(14), [float(row["close"]) for row in monthly], monthly, "EMA14") < 1e-9
    assert _worst(SMA(14), closes, daily, "SMA14") < 0.01
    assert _worst(EMA(14), closes, daily, "EMA14") < 0.01
    assert _worst(RSI(14), closes, daily, "RSI 14 Wilder") < 1e-5
    # The columns SMA5 and SMA15 of this file carry each other's values; the first rows have older history.
    ticks = [float(row["close"]) for row in half_hourly]
    for length, column in ((5, "SMA15"), (10, "SMA10"), (15, "SMA5")):
        assert _worst(SMA(length), ticks, half_hourly, column, skip=14) < 1e-6


def test_atr_when_a_platform_seeds_otherwise_then_the_difference_is_gone_after_the_warm_up() -> None:
    """That platform's ATR begins with the first bar's range; after the warm-up ours is the same to 0.1 %."""
    rows = _lean("spy_atr_wilder.txt.gz")
    inputs = [(float(row["High"]), float(row["Low"]), float(row["Close"])) for row in rows]
    assert _worst(ATR(14), inputs, rows, "Average True Range 14", skip=ATR(14).warmup - 14) < 0.002
    assert _worst(ATR(14), inputs, rows, "Average True Range 14", skip=300) < 1e-5


def test_value_when_seeded_then_it_is_there_and_ready_waits_for_the_warm_up() -> None:
    """A value appears where TA-Lib has its first; before it is NaN; `ready` comes with `warmup` bars."""
    bars = make_bars([100 + math.sin(step) for step in range(60)])
    for indicator, first, warmup in ((SMA(5), 5, 5), (EMA(5), 5, 16), (RSI(5), 6, 29), (ATR(5), 6, 29)):
        values, readies = [], []
        for bar in bars:
            indicator.update(bar)
            values.append(not math.isnan(indicator.value))
            readies.append(indicator.ready)
        assert indicator.warmup == warmup
        assert values == [number + 1 >= first for number in range(60)]
        assert readies == [number + 1 >= warmup for number in range(60)]


def _other_decisions(depth: int) -> int:
    """Return in how many of 300 restarts with so much history a 12/26 cross decides differently."""
    random, price, closes, differ = Random(7), 100.0, [], 0
    for _ in range(3_000):
        price *= 1 + random.gauss(0, 0.001)
        closes.append(price)
    fast, slow = EMA(12).batch(closes), EMA(26).batch(closes)
    for _ in range(300):
        end = random.randrange(200, 3_000)
        mine = [EMA(n).batch(closes[end - depth : end])[-1] for n in (12, 26)]
        differ += int((mine[0] > mine[1]) != (fast[end - 1] > slow[end - 1]))
    return differ


def test_ema_when_history_begins_elsewhere_then_the_warm_up_makes_its_decisions_the_same() -> None:
    """With 3n+1 bars under 1 % of random restarts decide otherwise; with n bars more than 6 % do."""
    assert _other_decisions(26) > 20
    assert _other_decisions(EMA(26).warmup) < 3


def test_batch_when_compared_with_live_updates_then_both_are_the_same_numbers() -> None:
    """One code: an array of the past and live values agree bit for bit, and batch leaves self alone."""
    bars = make_bars([100 + 5 * math.sin(step / 3) for step in range(50)])
    for indicator in (SMA(4), EMA(4), RSI(4), ATR(4)):
        out = indicator.batch(bars)
        assert math.isnan(indicator.value)
        for bar, value in zip(bars, out, strict=True):
            indicator.update(bar)
            assert math.isnan(value) == math.isnan(indicator.value)
            assert indicator.value == value or math.isnan(value)


def test_state_when_encoded_in_the_middle_then_it_goes_on_as_if_nothing_had_been() -> None:
    """Indicators are Structs: bytes in between change no later value."""
    bars = make_bars([100 + 5 * math.sin(step / 3) for step in range(80)])
    for indicator in (SMA(4), EMA(4), RSI(4), ATR(4)):
        whole = indicator.batch(bars)[-1]
        for bar in bars[:37]:
            indicator.update(bar)
        twin = msgspec.msgpack.decode(msgspec.msgpack.encode(indicator), type=type(indicator))
        for bar in bars[37:]:
            twin.update(bar)
        assert twin.value == whole


def test_number_when_compared_and_computed_with_then_it_is_its_value() -> None:
    """`fast > slow`, `close / mean - 1`, formatting and truth work as with a float, NaN included."""
    ema, other = EMA(1), SMA(1)
    assert not ema > 1
    assert not ema < 1
    ema.push(4.0)
    other.push(2.0)
    compared = [ema > other, ema >= 4, ema < 5, ema <= other, ema == 4, ema != other]
    assert compared == [True, True, True, False, True, True]
    assert [ema + 1, 1 + ema, ema - other, 9 - ema, ema * 2, 2 * ema] == [5, 5, 2, 5, 8, 8]
    assert [ema / other, 2 / ema, -ema, abs(ema)] == [2, 0.5, -4, 4]
    assert (f"{ema:.2f}", float(ema), bool(ema), max(ema, other)) == ("4.00", 4.0, True, ema)
    with pytest.raises(TypeError, match="unhashable"):
        hash(ema)


def test_source_when_named_then_that_column_is_followed() -> None:
    """`of` picks another column of the bar."""
    (bar,) = make_bars([100.0])
    high = SMA(1, of="high")
    high.update(msgspec.structs.replace(bar, high=123.0))
    assert high.value == 123.0


@pytest.mark.parametrize("make", [SMA, EMA, RSI, ATR])
def test_length_when_below_one_then_it_is_refused_in_words(make: Any) -> None:
    """A length from a configuration is checked where it is used."""
    with pytest.raises(Refused, match=f"{make.__name__}: expected n >= 1, got 0"):
        make(0)


def test_rsi_when_nothing_moved_then_it_is_neutral() -> None:
    """A flat market is neither overbought nor oversold."""
    assert RSI(2).batch([5.0] * 4)[-1] == 50.0
    assert RSI(2).batch([1.0, 2.0, 3.0, 4.0])[-1] == 100.0
    assert RSI(2).batch([4.0, 3.0, 2.0, 1.0])[-1] == 0.0


class Midrange(Indicator):
    """One's own, as an author would write it."""

    scale: float = 1.0

    def update(self, bar: Bar) -> None:
        self.value = self.scale * (bar.high + bar.low) / 2


def test_own_indicator_when_written_as_a_struct_then_it_has_all_of_them() -> None:
    """A subclass needs `update` alone; it is ready with its first value and makes arrays of bars."""
    mine, bars = Midrange(scale=2.0), make_bars([10.0, 20.0])
    assert (mine.ready, mine.warmup) == (False, 1)
    assert list(mine.batch(bars)) == [20.0, 30.0]
    mine.update(bars[0])
    assert (mine.ready, mine > 19, mine.value) == (True, True, 20.0)
    with pytest.raises(NotImplementedError, match="Midrange takes bars"):
        mine.batch([1.0])
    with pytest.raises(NotImplementedError, match=r"Indicator\.update"):
        Indicator().update(bars[0])


def test_numpy_when_no_array_was_asked_for_then_it_is_not_imported() -> None:
    """The daemon stays small: trader, indicators and strategies do without NumPy."""
    code = "import sys, tradefan.actors.trader, tradefan.strategies; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
