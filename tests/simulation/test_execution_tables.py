"""`benchmarks/execution.py` and `benchmarks/parents.py` in a small form, and what they may say."""

from __future__ import annotations

import lzma
from pathlib import Path
from random import Random

import pytest

from benchmarks import _paired, _schedules, _tactics, parents
from tests.simulation.world import World, recordings
from tradefan.units import HOUR, MINUTE, MS, parse_iso, use_decimal_context

FIRST = parse_iso("2025-05-20T00:00:00Z")
DAYS = 23


def test_paired_when_the_interval_includes_zero_then_nothing_is_called_cheaper() -> None:
    """Mean and sd are those of the differences; whole groups are drawn where there are some."""
    found = _paired.paired([-1.0, 1.0] * 50)
    assert (found.n, found.mean, found.word) == (100, 0.0, "no difference shown")
    assert found.sd == pytest.approx(1.005, abs=1e-3)
    assert _paired.paired([-1.0, -2.0] * 50).word == "cheaper"
    assert _paired.paired([3.0, 2.0] * 50).word == "dearer"
    # Two windows that say the opposite: many orders in each do not make them more.
    apart = _paired.paired([-1.0] * 60 + [2.0] * 30, [1] * 60 + [2] * 30)
    assert (apart.low, apart.high, apart.groups, apart.word) == (-1.0, 2.0, 2, "too few to say")
    assert _paired.paired([-1.0] * 60 + [2.0] * 30).high < 2.0


def written(folder: Path, symbol: str, price: float) -> None:
    """Write minutes of a market that wanders, with a volume that has its hours."""
    random, rows = Random(symbol), ["open_time_ms,open,high,low,close,volume"]
    for i in range(DAYS * 24 * 60):
        close = round(price + random.uniform(-2, 2), 2)
        high, low = round(max(price, close) + 1, 2), round(min(price, close) - 1, 2)
        volume = 5 + (i // 60) % 24 + random.random()
        rows.append(f"{(FIRST + i * MINUTE) // MS},{price},{high},{low},{close},{volume:.3f}")
        price = close
    with lzma.open(folder / _schedules.FILE.format(symbol.replace("/", "")), "wt", preset=0) as file:
        file.write("\n".join(rows) + "\n")


@pytest.mark.slow
def test_schedules_when_a_few_windows_are_played_then_each_algorithm_has_its_line(tmp_path: Path) -> None:
    """Windows are drawn by the seed behind three weeks of history; schedules are kept, volume is followed."""
    use_decimal_context()
    for symbol, price in (("BTC/USDT", 60_000.0), ("ETH/USDT", 3_000.0)):
        written(tmp_path, symbol, price)
    drawn = _schedules.windows(str(tmp_path), 2, 1, (HOUR,))
    assert (
        drawn
        == _schedules.windows(str(tmp_path), 2, 1, (HOUR,))
        != _schedules.windows(str(tmp_path), 2, 2, (HOUR,))
    )
    assert all(one.start_ns >= FIRST + 21 * 24 * HOUR for one in drawn)
    found = _schedules.table(str(tmp_path), 2, 1, 1, (HOUR,))
    assert [(one.symbol, one.hours, one.algo) for one in found] == [
        (symbol, 1, algo) for symbol in ("BTC/USDT", "ETH/USDT") for algo in _schedules.ALGORITHMS
    ]
    for one in found:
        assert (one.n, one.difference.n) == (2, 2)
        assert one.participation == pytest.approx(0.02, abs=0.005)
        assert one.error_mean <= one.error_max
        if one.algo != "pov":
            assert (one.within, one.filled) == (1.0, 1.0)
            assert one.curve_error is not None
            assert one.curve_error < 0.1
    assert len(_schedules.lines(found)) == 9


@pytest.mark.slow
def test_tactics_when_a_few_windows_are_played_then_costs_are_paired() -> None:
    """Through the whole daemon, on recorded frames; the same orders in the same windows for each tactic."""
    use_decimal_context()
    drawn = _tactics.entries(0, 1, 1)
    assert drawn == _tactics.entries(0, 1, 1) != _tactics.entries(1, 1, 1)
    books = {symbol: _tactics.quotes(recordings()[symbol.replace("/", "")]) for symbol in _tactics.QTY}
    (passive, taken) = (_tactics.play(name, drawn, books) for name in ("passive_then_cross", "take"))
    for patient, taker in zip(passive, taken, strict=True):
        assert (patient.window, patient.naive, patient.once) == (taker.window, taker.naive, taker.once)
        assert (patient.filled, taker.filled, taker.maker) == (1.0, 1.0, 0.0)
        # Three slices at the touch, each by the latency later than those of the naive order.
        assert taker.pays == pytest.approx(taker.naive, abs=1.5)
        assert patient.fees == pytest.approx(10, abs=0.1)
        assert taker.fees == pytest.approx(10, abs=0.1)


def costed(window: int, capture: float | None, *markouts: float | None) -> _tactics.Cost:
    """Return what an order cost in a minute: 1 bps less than the naive one in an even minute, else more."""
    return _tactics.Cost(window, 2.0, 3.0 if window % 2 == 0 else 1.0, 3.0, 10.0, 1.0, 0.5, capture, markouts)


def test_line_when_both_symbols_share_a_minute_then_it_is_one_group() -> None:
    """One market moves both: ten minutes of two symbols are no twenty samples."""
    windows: dict[str, list[int]] = {symbol: [] for symbol in _tactics.QTY}
    for one in _tactics.entries(0, 1, 10):
        windows[one.symbol].append(one.window)
    assert windows["BTC/USDT"] == windows["ETH/USDT"] == list(range(10))
    assert len({_tactics._ref(one) for one in _tactics.entries(0, 1, 10)}) == 20
    apart = [costed(window, 0.5, 1.0, None, None, None) for window in range(10)]
    line = _tactics._line("both", "peg", apart + apart)
    assert (line.to_naive.n, line.to_naive.groups) == (20, 10)
    single = _tactics._line("BTC/USDT", "peg", apart)
    assert (line.to_naive.low, line.to_naive.high) == (single.to_naive.low, single.to_naive.high)


def test_line_when_a_figure_is_not_known_of_all_then_its_own_number_is_shown() -> None:
    """A markout whose horizon lies behind the recording is in no mean."""
    costs = [costed(0, None, 1.0, None, None, None), costed(1, 2.0, 3.0, 4.0, None, None)]
    line = _tactics._line("BTC/USDT", "peg", costs)
    assert (line.n, line.capture) == (2, _paired.Known(1, 2.0))
    assert line.markouts == (
        _paired.Known(2, 2.0),
        _paired.Known(1, 4.0),
        _paired.Known(0, None),
        _paired.Known(0, None),
    )
    (_, row) = _tactics.lines([line])
    assert row[50:102] == "   2.00/1       2.00/2    4.00/1       -/0       -/0"
    assert len(_tactics.HEAD.partition("|")[0]) == len(row.partition("|")[0])


@pytest.mark.slow
def test_parents_when_not_all_are_at_work_then_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was refused, has ended or waits costs nothing."""
    use_decimal_context()
    spent = parents.measured(2, 1, parents.INTERVAL_S)
    assert min(spent.frames, spent.steps) > 0
    submit = parents.submit

    def forgets(made: World, names: list[str], count: int) -> None:
        submit(made, names, count - 1)

    monkeypatch.setattr(parents, "submit", forgets)
    with pytest.raises(
        AssertionError, match=r"expected 2 parents at work, got \{<Phase.WORKING: 'WORKING'>: 1\}"
    ):
        parents.measured(2, 1, parents.INTERVAL_S)
