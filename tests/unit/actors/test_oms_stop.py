"""The stop: orders by policy, verified by looks, flushed, or cut by its deadline."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import (
    ACCOUNT,
    API,
    CONFIG,
    GATEWAY,
    RIM,
    TRADER,
    TREND,
)
from tradefan.config.schema import Config, StrategyConfig
from tradefan.messages.control import (
    Durable,
    Started,
    Stop,
    Stopped,
)
from tradefan.messages.orders import (
    CancelAll,
    CancelOrder,
    CreateOrder,
    Look,
    OrderStatus,
    Refusal,
)
from tradefan.units import SECOND

D = Decimal
S = OrderStatus


@pytest.fixture
def bench() -> Bench:
    return Bench().ready()


def owned(policy: Any) -> Config:
    return msgspec.structs.replace(CONFIG, strategies={TREND: StrategyConfig(on_stop=policy)})


def test_stop_when_orders_rest_then_they_are_cancelled_verified_and_flushed(bench: Bench) -> None:
    """No new orders; cancel; a complete look; every record on the disk; then Stopped, once."""
    create = bench.limit()
    bench.report(create, S.NEW)
    bench.tell(Stop(bench.now_ns + 10 * SECOND), Stop(bench.now_ns + 10 * SECOND))
    assert len(bench.take(GATEWAY, CancelOrder)) == 1
    bench.submit()
    bench.tell(CancelAll(TREND))
    assert bench.one(TRADER, Refusal).text == "TradeFan is stopping"
    bench.report(create, S.CANCELED)
    assert bench.take(RIM, Stopped) == []
    bench.advance(SECOND // 2)
    bench.auto_durable = False
    bench.done(bench.take(GATEWAY, Look)[-1])
    bench.tell(Durable(len(bench.records)))
    assert bench.one(RIM, Stopped) == Stopped("oms", (), False)
    assert bench.oms.view().state == "STOPPING"
    bench.advance(20 * SECOND)
    assert bench.take(RIM, Stopped) == []
    bench.check()


def test_stop_when_nothing_is_open_then_it_is_answered_at_once(bench: Bench) -> None:
    """Nothing to cancel, nothing to verify."""
    bench.bought()
    bench.tell(Stop(bench.now_ns + SECOND))
    assert bench.one(RIM, Stopped) == Stopped("oms", (), False)


def test_stop_when_a_create_waits_then_it_never_leaves(bench: Bench) -> None:
    """The disk speaks first, then the answer; the create is NOT_SENT."""
    bench.auto_durable = False
    bench.submit()
    bench.tell(Stop(bench.now_ns + SECOND))
    assert bench.take(RIM, Stopped) == []
    bench.tell(Durable(len(bench.records)))
    assert bench.one(RIM, Stopped) == Stopped("oms", (), False)
    assert bench.take(GATEWAY, CreateOrder) == []


def test_stop_when_the_venue_is_silent_then_the_deadline_answers_with_what_is_left(bench: Bench) -> None:
    """Unverified, and the orders by id."""
    create = bench.limit()
    bench.report(create, S.NEW)
    bench.tell(Stop(bench.now_ns + 2 * SECOND))
    bench.advance(2 * SECOND - 1)
    assert bench.one(RIM, Stopped) == Stopped("oms", ((ACCOUNT, TREND, create.client_order_id),), True)
    assert len(bench.take(GATEWAY, CancelOrder)) >= 3


def test_stop_when_the_look_still_shows_the_order_then_it_looks_again(bench: Bench) -> None:
    """Verified means that nothing unwanted is left."""
    create = bench.limit()
    bench.report(create, S.NEW)
    bench.tell(Stop(bench.now_ns + 5 * SECOND))
    bench.advance(SECOND)
    bench.done(bench.take(GATEWAY, Look)[-1], missing=())
    assert bench.take(RIM, Stopped) == []
    bench.report(create, S.CANCELED)
    bench.advance(SECOND)
    bench.done(bench.take(GATEWAY, Look)[-1])
    assert bench.one(RIM, Stopped).unverified is False


def test_stop_when_the_policy_is_leave_then_orders_stay(bench: Bench) -> None:
    """`on_stop: leave` and protective orders rest on; others are cancelled."""
    bench = Bench(config=owned("leave")).ready()
    bench.limit()
    bench.limit(1, 98, owner=API, protective=True)
    other = bench.limit(owner=API)
    bench.tell(Stop(bench.now_ns + SECOND))
    assert [one.client_order_id for one in bench.take(GATEWAY, CancelOrder)] == [other.client_order_id]
    bench.report(other, S.CANCELED)
    bench.advance(SECOND // 2)
    bench.done(bench.take(GATEWAY, Look)[-1])
    assert bench.one(RIM, Stopped) == Stopped("oms", (), False)
    assert len(bench.trading.orders_live) == 2


def test_stop_when_the_policy_is_flatten_then_the_position_is_sold_once() -> None:
    """`on_stop: flatten` cancels and takes the book's other side once, at the collar."""
    bench = Bench(config=owned("flatten")).ready()
    bench.bought(2)
    resting = bench.limit()
    bench.tell(Stop(bench.now_ns + 5 * SECOND), CancelAll(TREND))
    assert [one.client_order_id for one in bench.take(GATEWAY, CancelOrder)] == [resting.client_order_id]
    sale = bench.one(GATEWAY, CreateOrder)
    assert (sale.side, sale.order_qty, sale.time_in_force) == ("sell", D(2), "IOC")
    bench.report(resting, S.CANCELED)
    bench.fill(sale, 2)
    bench.report(sale, S.FILLED, 2)
    bench.advance(SECOND // 2)
    bench.done(bench.take(GATEWAY, Look)[-1])
    assert bench.one(RIM, Stopped) == Stopped("oms", (), False)
    bench.check()


def test_stop_when_the_journal_is_still_read_then_it_begins_after_the_fold_or_is_cut(bench: Bench) -> None:
    """What is to be cancelled is known after the fold; without one the deadline says unverified."""
    create = bench.limit()
    bench.report(create, S.NEW)
    again = Bench(records=bench.records)
    again.tell(Started(0), Stop(again.now_ns + 2 * SECOND))
    again.fold()
    assert [one.client_order_id for one in again.take(GATEWAY, CancelOrder)] == [create.client_order_id]
    never = Bench()
    never.tell(Started(0), Stop(never.now_ns + 2 * SECOND))
    never.advance(2 * SECOND)
    assert never.one(RIM, Stopped) == Stopped("oms", (), True)
