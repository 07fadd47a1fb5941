"""Series and what a strategy keeps in them."""

from __future__ import annotations

import pytest

from tradefan.core.series import HOLE_MAX, Series, SeriesState, span_text
from tradefan.errors import Defect
from tradefan.strategy import Bar, Indicator
from tradefan.testing import make_bars
from tradefan.units import DAY, HOUR, MINUTE, SECOND, InstrumentId


def _series() -> Series:
    return Series(InstrumentId("binance:BTC/USDT"), "1m", SeriesState())


class Slow(Indicator):
    """Ready later than its warm-up says."""

    seen: int = 0

    def update(self, bar: Bar) -> None:
        self.seen += 1
        if self.seen == 3:
            self.value = bar.close


class Handle(Indicator):
    """Cannot be part of a state."""

    file: object = None

    def update(self, bar: Bar) -> None:
        self.value = bar.close


def test_depth_when_several_indicators_are_declared_then_the_deepest_or_kept_counts() -> None:
    """The warm-up is the largest of what is kept and what each indicator needs."""
    series = _series()
    assert (series.depth, series.ready) == (0, True)
    series.sma(4)
    series.atr(2)
    assert series.depth == 11
    series.keep = 20
    assert (series.depth, series.ready) == (20, False)


def test_forecast_when_an_indicator_is_late_then_it_is_named() -> None:
    """A series that is deep enough but not ready says who it waits for."""
    series = _series()
    series.add(Slow())
    said = []
    for bar in make_bars([1, 2, 3], timeframe="1m"):
        said.append((series.forecast(), series.ready))
        series.update(bar)
    assert said == [
        ("BTC/USDT 1m: 0 of 1 bars, about 60s", False),
        ("BTC/USDT 1m: 1 bars, Slow not ready", False),
        ("BTC/USDT 1m: 2 bars, Slow not ready", False),
    ]
    assert series.ready


def test_indicator_when_it_cannot_be_encoded_then_declaring_it_is_a_defect() -> None:
    """All that a strategy knows must survive as bytes, which is checked when it is declared."""
    with pytest.raises(Defect, match="Handle cannot be kept in state: "):
        _series().add(Handle(file=print))


def test_bars_when_old_repeated_or_missing_then_the_series_stays_in_order() -> None:
    """Old bars are not taken, a short hole is counted, a long one begins series and indicators anew."""
    series = _series()
    mean = series.sma(2)
    series.keep = 2
    bars = make_bars(range(1, 20), timeframe="1m")
    assert [series.update(bar) for bar in (bars[0], bars[1], bars[1], bars[0])] == [True, True, False, False]
    series.update(bars[2 + HOLE_MAX])
    assert (series.state.seen, series.state.holes, mean.value) == (3, HOLE_MAX, 3.5)
    series.update(bars[4 + 2 * HOLE_MAX])
    assert (series.state.seen, series.state.holes, series.state.begun_anew) == (1, 2 * HOLE_MAX + 1, 1)
    assert (series.state.kept, mean.ready) == ([bars[4 + 2 * HOLE_MAX]], False)
    series.update(bars[5 + 2 * HOLE_MAX])
    assert (mean.value, series.ready) == (9.5, True)


def test_span_when_printed_then_the_largest_unit_of_which_there_are_two_is_used() -> None:
    """Forecasts are read by people: 46 s, 4 min, 26 h, 3 days."""
    spans = (5 * SECOND, 90 * SECOND, 4 * MINUTE, 119 * MINUTE, 26 * HOUR, 3 * DAY)
    assert [span_text(span) for span in spans] == ["5s", "90s", "4m", "119m", "26h", "3d"]
