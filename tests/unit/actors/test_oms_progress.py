"""How far a parent has come, and how far it is from its schedule."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import BTC, GATEWAY, TREND
from tradefan.actors.oms_progress import Progress, progress_of
from tradefan.actors.oms_tca_view import Look, costs_now
from tradefan.messages.gateway import CancelOrder, CreateOrder
from tradefan.messages.instrument import InstrumentUpdate
from tradefan.messages.market import FeedQuality, Quality, VolumeTick
from tradefan.messages.orders import CancelParent, OrderStatus, PauseOrder, ResumeOrder
from tradefan.messages.tca import Costs
from tradefan.units import MS, SECOND, OwnerId

D = Decimal
S = OrderStatus
PLAIN: dict[str, Any] = {"size_jitter": 0, "time_jitter": 0}


@pytest.fixture
def bench() -> Bench:
    return Bench().ready()


def progress(bench: Bench) -> Progress:
    """Return that of the newest parent."""
    parent = next(reversed(bench.trading.parents.values()))
    return progress_of(bench.oms.state, bench.wiring, parent, bench.now_ns)


def alive(bench: Bench, seconds: int) -> None:
    """Let time pass in a market that lives, where nothing more trades."""
    for _ in range(seconds):
        bench.advance(SECOND)
        bench.market()
        for cancel in bench.take(GATEWAY, CancelOrder):
            bench.report(cancel, S.CANCELED, bench.trading.orders[cancel.client_order_id].cum_qty)
        for create in bench.take(GATEWAY, CreateOrder):
            bench.report(create, S.NEW if create.time_in_force == "GTC" else S.EXPIRED)


def test_progress_when_scheduled_then_the_distance_to_the_targets_that_hold_now(bench: Bench) -> None:
    """EXECUTION.md part 4: plan 25 50 75 100, C = 22: inside in the first interval, -0.03 in the second."""
    bench.submit(10, algo="twap", settings={"duration": "100s", "slices": 4, **PLAIN})
    begun = bench.now_ns
    create = bench.one(GATEWAY, CreateOrder)
    bench.report(create, S.NEW)
    assert progress(bench) == Progress(begun, begun + 100 * SECOND, 0.0)
    bench.fill(create, "2.2")
    bench.report(create, S.PARTIALLY_FILLED, "2.2")
    assert progress(bench).schedule_error == 0.0
    alive(bench, 26)
    assert progress(bench).schedule_error == -0.03


def test_progress_when_it_has_not_begun_then_on_schedule(bench: Bench) -> None:
    """Nothing is due before the first decision."""
    start_ns = bench.now_ns + 60 * SECOND
    bench.submit(10, algo="twap", settings={"duration": "100s", "start_at": start_ns, **PLAIN})
    assert progress(bench) == Progress(start_ns, start_ns + 100 * SECOND, 0.0)


def test_progress_when_volume_decides_then_the_distance_to_its_share_of_a_clips_life(bench: Bench) -> None:
    """What traded within `clip_life` may still be at work; what traded before is due."""
    bench.submit(10, algo="pov", settings={"rate": "0.1", "clip_life": "5s"})
    bench.advance(SECOND)
    bench.tell(VolumeTick(BTC, 1, 20_000, 0.0, 100.0, bench.now_ns))
    alive(bench, 6)
    bench.tell(VolumeTick(BTC, 1, 30_000, 0.0, 100.0, bench.now_ns))
    bench.take(GATEWAY, CreateOrder)
    bench.advance(MS)
    # 10 % of 20,000 lots are due, 1,000 more may be at work: of 10,000 that is 0.2 behind.
    assert progress(bench).schedule_error == -0.2


@pytest.mark.parametrize("algo", ["market", "limit"])
def test_progress_when_nothing_is_scheduled_then_null(bench: Bench, algo: str) -> None:
    """Where F is 1 from the beginning there is nothing to be behind of."""
    bench.submit(1, algo=algo, limit_price=D(99) if algo == "limit" else None)
    assert progress(bench).schedule_error is None
    assert progress(bench).end_ns is None


def test_progress_when_it_has_ended_then_its_window_stays_and_the_rest_is_null(bench: Bench) -> None:
    """A cancelled order is not behind for ever."""
    wish = bench.submit(10, algo="twap", settings={"duration": "100s", "slices": 4, **PLAIN})
    begun, parent = bench.now_ns, next(iter(bench.trading.parents))
    bench.report(bench.one(GATEWAY, CreateOrder), S.NEW)
    alive(bench, 26)
    assert progress(bench).schedule_error == -0.25
    bench.tell(CancelParent(OwnerId(wish.owner), parent))
    for cancel in bench.take(GATEWAY, CancelOrder):
        bench.report(cancel, S.CANCELED)
    assert progress(bench) == Progress(begun, begun + 100 * SECOND, None)


def test_progress_when_the_feed_is_away_then_it_lags_as_its_analysis_says(bench: Bench) -> None:
    """No decision is taken, and time passes all the same: both say the interval of this instant."""
    bench.submit(10, algo="twap", settings={"duration": "100s", "slices": 10, **PLAIN})
    bench.report(bench.one(GATEWAY, CreateOrder), S.NEW)
    bench.tell(FeedQuality(BTC, Quality.STALE, "", bench.now_ns, 2))
    for _ in range(55):
        bench.advance(SECOND, answering=True)
    assert progress(bench).schedule_error == -0.5
    assert costs(bench).schedule_error_max == 0.5


def test_progress_when_volume_decides_and_its_owner_pauses_it_then_its_clock_stands(bench: Bench) -> None:
    """What trades in a pause was nobody's to take part in: neither figure counts it, nor does the alarm."""
    bench.submit(10, algo="pov", settings={"rate": "0.1", "min_rate": "0.1", "clip_life": "1s"})
    parent = next(iter(bench.trading.parents))
    bench.tell(PauseOrder(TREND, parent))
    traded(bench, 300, 1_000)
    assert progress(bench).schedule_error == 0.0
    bench.tell(ResumeOrder(TREND, parent))
    traded(bench, 2, 1_000)
    assert progress(bench).schedule_error == pytest.approx(-0.01)
    alive(bench, 1)
    assert 0.01 <= (costs(bench).schedule_error_max or 0) <= 0.02
    traded(bench, 3, 1_000)
    bench.tell(PauseOrder(TREND, parent))
    error = progress(bench).schedule_error
    traded(bench, 400, 1_000)
    assert progress(bench).schedule_error == error
    assert not [one for one in bench.logs if "below_min_rate" in one]


@pytest.mark.parametrize("keeps_end", [False, True])
def test_progress_when_its_clock_stands_then_nobody_knows_its_end(bench: Bench, *, keeps_end: bool) -> None:
    """It would be told one that has moved when it goes on; `--keep-end` leaves it."""
    bench.submit(10, algo="twap", settings={"duration": "100s", **PLAIN})
    begun, name = bench.now_ns, next(reversed(bench.trading.parents))
    bench.tell(PauseOrder(TREND, name, keep_end=keeps_end))
    alive(bench, 10)
    assert progress(bench).end_ns == (begun + 100 * SECOND if keeps_end else None)
    bench.tell(ResumeOrder(TREND, name))
    assert progress(bench).end_ns == begun + (100 if keeps_end else 110) * SECOND


@pytest.mark.parametrize("halt", ["run", "extend"])
def test_progress_when_a_halt_stops_its_clock_then_nobody_knows_its_end(bench: Bench, halt: str) -> None:
    """With `halt: run` its end stays where it is."""
    bench.submit(10, algo="twap", settings={"duration": "100s", "halt": halt, **PLAIN})
    begun = bench.now_ns
    bench.tell(InstrumentUpdate(replace(bench.wiring.instruments[BTC], status="HALT", version=2)))
    bench.advance(SECOND)
    assert next(reversed(bench.trading.parents.values())).reason == "halt"
    assert progress(bench).end_ns == (None if halt == "extend" else begun + 100 * SECOND)


def test_progress_when_a_pause_has_moved_its_end_then_its_start_stays(bench: Bench) -> None:
    """Another plan is for the rest; the order began when it began."""
    bench.submit(10, algo="twap", settings={"duration": "100s", "slices": 4, **PLAIN})
    begun, parent = bench.now_ns, next(iter(bench.trading.parents))
    bench.tell(PauseOrder(TREND, parent))
    alive(bench, 30)
    bench.tell(ResumeOrder(TREND, parent))
    found = progress(bench)
    assert (found.start_ns, found.end_ns) == (begun, begun + 130 * SECOND)


def traded(bench: Bench, seconds: int, lots: int) -> None:
    """Let so many lots trade in each second, of which we get nothing."""
    for _ in range(seconds):
        alive(bench, 1)
        seen = bench.oms.state.live.tapes[BTC]
        bench.tell(VolumeTick(BTC, 1, seen.lots + lots, 0.0, 100.0, bench.now_ns))


def costs(bench: Bench) -> Costs:
    """Return the analysis of the newest parent as it stands."""
    look = Look(bench.trading, bench.oms.state.live, bench.wiring)
    found = costs_now(look, next(reversed(bench.trading.parents)), bench.now_ns)
    assert found is not None
    return found.costs
