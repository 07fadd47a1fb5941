"""What is to rest and cannot be placed for a moment is placed a little later."""

from __future__ import annotations

from decimal import Decimal

import pytest
from msgspec.structs import replace

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import BTC, CLI, CONFIG, GATEWAY, TREND
from tests.unit.actors.test_oms_algorithms import parent_of, scheduled
from tradefan.actors.oms_tca_view import Look, costs_now
from tradefan.messages.gateway import CancelOrder, CreateOrder
from tradefan.messages.market import FeedQuality, Quality
from tradefan.messages.orders import OrderStatus, PauseOrder, Phase, ResumeOrder
from tradefan.units import MS, SECOND

D = Decimal
S = OrderStatus


@pytest.fixture
def bench() -> Bench:
    return Bench().ready()


def test_limit_when_its_venue_is_busy_then_it_is_placed_again_a_little_later(bench: Bench) -> None:
    """A rate limit passes by itself: it is no word about the order."""
    first = bench.limit(1, 99)
    bench.report(first, S.REJECTED, reason="RATE_LIMIT")
    assert bench.take(GATEWAY, CreateOrder) == []
    bench.advance(300 * MS)
    again = bench.one(GATEWAY, CreateOrder)
    assert (again.order_qty, again.limit_price) == (D(1), D(99))
    bench.report(again, S.NEW)
    bench.fill(again, 1)
    bench.report(again, S.FILLED, 1)
    assert parent_of(bench).status is S.FILLED
    bench.check()


def test_limit_when_its_venue_is_busy_to_its_end_then_it_ends(bench: Bench) -> None:
    """Its time is its owner's."""
    first = bench.limit(1, 99, settings={"duration": "2s"})
    bench.report(first, S.REJECTED, reason="RATE_LIMIT")
    for _ in range(4):
        bench.advance(SECOND, answering=True)
        for create in bench.take(GATEWAY, CreateOrder):
            bench.report(create, S.REJECTED, reason="RATE_LIMIT")
    assert (parent_of(bench).phase, parent_of(bench).reason) == (Phase.DONE, "end")


def test_limit_when_its_owner_is_out_of_orders_then_it_waits_for_the_next_second() -> None:
    """A resume that was answered as done does not end its order."""
    bench = Bench(config=replace(CONFIG, risk=replace(CONFIG.risk, orders_per_second=1))).ready()
    create = bench.resting(1, 99)
    name = create.parent_id
    bench.tell(PauseOrder(TREND, name))
    bench.report(bench.one(GATEWAY, CancelOrder), S.CANCELED)
    bench.advance(2 * SECOND)
    bench.market()
    bench.submit(1)
    bench.take(GATEWAY, CreateOrder)
    bench.tell(ResumeOrder(TREND, name))
    assert bench.trading.parents[name].phase is Phase.WORKING
    assert bench.take(GATEWAY, CreateOrder) == []
    bench.advance(1100 * MS)
    assert [one.parent_id for one in bench.take(GATEWAY, CreateOrder)] == [name]


# --- time that is lost --------------------------------------------------------------------------------------


def test_pause_when_a_fifth_of_the_time_is_lost_then_it_alarms_once_and_the_analysis_says_so(
    bench: Bench,
) -> None:
    """A feed that is away for 50 of 100 seconds: the clock runs."""
    scheduled(bench, chase={"max_steps": 0})
    bench.tell(FeedQuality(BTC, Quality.STALE, "silent", bench.now_ns, 1))
    for _ in range(19):
        bench.advance(SECOND, answering=True)
    assert "parent_missed" not in bench.alarms
    for _ in range(31):
        bench.advance(SECOND, answering=True)
    assert bench.alarms.count("parent_missed") == 1
    bench.market()
    name = parent_of(bench).order.parent_id
    update = costs_now(Look(bench.trading, bench.oms.state.live, bench.wiring), name, bench.now_ns)
    assert update is not None
    assert "missed:50s" in update.costs.flags
    bench.check()


def test_restart_when_the_daemon_was_away_then_the_analysis_says_how_long(bench: Bench) -> None:
    """Down time is lost time."""
    scheduled(bench, chase={"max_steps": 0})
    again = Bench(records=bench.records, now_ns=bench.now_ns + 40 * SECOND).ready()
    track = again.trading.tracks[parent_of(again).order.parent_id]
    assert 39 * SECOND <= track.missed_ns <= 41 * SECOND
    assert "parent_missed" in again.alarms


def test_pause_when_the_owner_has_asked_for_it_then_no_time_is_lost(bench: Bench) -> None:
    """Its clock stands."""
    scheduled(bench, chase={"max_steps": 0})
    bench.tell(PauseOrder(CLI, parent_of(bench).order.parent_id))
    assert parent_of(bench).reason == "user"
    bench.passed(60)
    bench.tell(ResumeOrder(CLI, parent_of(bench).order.parent_id))
    assert (parent_of(bench).phase, "parent_missed" in bench.alarms) == (Phase.WORKING, False)


def test_pause_when_money_is_missing_then_it_alarms(bench: Bench) -> None:
    """Somebody has to bring it."""
    create = scheduled(bench)
    bench.report(create, S.REJECTED, reason="FUNDS: Account has insufficient balance")
    assert (parent_of(bench).reason, bench.alarms) == ("funds", ["parent_paused"])
