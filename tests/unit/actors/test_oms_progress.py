"""How far a parent has come, and how far it is from its schedule."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import BTC, GATEWAY
from tradefan.actors.oms_progress import Progress, progress_of
from tradefan.messages.gateway import CancelOrder, CreateOrder
from tradefan.messages.market import VolumeTick
from tradefan.messages.orders import CancelParent, OrderStatus
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
