"""What is to rest and cannot be placed for a moment is placed a little later."""

from __future__ import annotations

from decimal import Decimal

import pytest
from msgspec.structs import replace

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import CONFIG, GATEWAY, TREND
from tests.unit.actors.test_oms_algorithms import parent_of
from tradefan.messages.gateway import CancelOrder, CreateOrder
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
