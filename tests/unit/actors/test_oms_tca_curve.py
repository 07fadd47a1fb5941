"""How far the volume curve of a `vwap` was from the volume that came."""

from __future__ import annotations

import pytest

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import BTC, TREND
from tests.unit.actors.test_oms_tca import alive
from tradefan.actors.oms_tca_view import Look, costs_now
from tradefan.messages.market import VolumeTick
from tradefan.messages.orders import PauseOrder, ResumeOrder
from tradefan.messages.tca import Costs


@pytest.fixture
def bench() -> Bench:
    return Bench().ready()


def follow_a_curve(bench: Bench, until_s: int, jitter: str = "0") -> Costs:
    """Work 40 s in four even intervals, while 4,000 lots trade in the first 10 s and 1,000 in the rest."""
    settings = {"duration": "40s", "slices": 4, "size_jitter": jitter, "post_only": True, "at_end": "cancel"}
    bench.submit(10, algo="vwap", settings=settings)
    bench.tell(VolumeTick(BTC, 1, 0, 0.0, 100.0, bench.now_ns))
    for second in range(until_s):
        lots = 400 * second if second <= 10 else 4_000 + (1_000 if second > 35 else 0)
        bench.tell(VolumeTick(BTC, 1, lots, 0.0, 100.0, bench.now_ns))
        alive(bench, 1, 100)
    name = next(reversed(bench.trading.parents))
    found = costs_now(Look(bench.trading, bench.oms.state.live, bench.oms.wiring), name, bench.now_ns)
    assert found is not None
    return found.costs


def test_curve_when_the_volume_comes_sooner_then_its_error_is_the_largest_distance(bench: Bench) -> None:
    """By 10 s a quarter was expected and 4,000 of 5,000 came; 38 s are 0.95 of the plan."""
    assert follow_a_curve(bench, 38).curve_error == pytest.approx(4_000 / 5_000 - 0.25 / 0.95)


@pytest.mark.parametrize("jitter", ["0.2", "0.8"])
def test_curve_when_sizes_have_jitter_then_that_is_no_error_of_the_curve(bench: Bench, jitter: str) -> None:
    """The sizes of clips are hidden by it, what is expected of the market is not."""
    assert follow_a_curve(bench, 38, jitter).curve_error == pytest.approx(
        4_000 / 5_000 - 0.25 / 0.95, abs=1e-3
    )


def test_curve_when_it_is_not_over_then_both_are_shares_of_what_is_now(bench: Bench) -> None:
    """By 20 s all of what came had come by 10 s, half of the plan."""
    assert follow_a_curve(bench, 20).curve_error == pytest.approx(0.5)
    assert follow_a_curve(Bench().ready(), 5).curve_error is None


def test_curve_when_a_parent_is_planned_anew_then_it_counts_from_there(bench: Bench) -> None:
    """What came before the newest plan is no error of it."""
    follow_a_curve(bench, 12)
    name = next(reversed(bench.trading.parents))
    bench.tell(PauseOrder(TREND, name), ResumeOrder(TREND, name))
    bench.tell(VolumeTick(BTC, 1, 4_000, 0.0, 100.0, bench.now_ns))
    curve = bench.oms.state.live.tca.curves[name]
    assert (curve.plans, curve.base, curve.at_ends) == (bench.trading.parents[name].plans, 4_000, [])
