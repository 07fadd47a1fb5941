"""What has fired and is hindered: it stays at work, somebody is told, and it goes on when it can."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import BTC, GATEWAY
from tests.unit.actors.test_oms_trigger import Prints, armed, fired, parent_of, restarted
from tradefan.messages.gateway import CreateOrder, Look
from tradefan.messages.market import FeedQuality, Quality
from tradefan.messages.orders import OrderStatus, Phase
from tradefan.units import SECOND

D = Decimal
S = OrderStatus
RESTS: dict[str, tuple[str, dict[str, Any], float]] = {
    "stop_limit": ("stop_limit", {"limit_price": D("93.5")}, 94),
    "take_profit": ("take_profit", {"trigger_price": "105", "limit_price": D("104.5")}, 106),
    "trailing": ("trailing", {"callback_bps": "100", "limit_offset_bps": "50"}, 98.5),
}


@pytest.fixture
def bench() -> Bench:
    """A strategy that holds 10 BTC, in a market at 100."""
    bench = Bench().ready()
    bench.bought(10)
    return bench


def fire(bench: Bench, name: str = "stop_limit", **more: Any) -> None:
    """Arm what is to rest at a limit, and let it fire."""
    algo, settings, price = RESTS[name]
    armed(bench, algo, **settings, **more)
    bench.quote(BTC, price)
    Prints(bench)(price, price, price)
    assert len(fired(bench)) == 1


def seconds(bench: Bench, number: int, price: float = 94) -> None:
    """Let a market go on for so long."""
    for _ in range(number):
        bench.advance(SECOND, answering=True)
        bench.quote(BTC, price)


# --- at a limit -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RESTS)
@pytest.mark.parametrize(
    ("status", "reason"), [(S.REJECTED, "RATE_LIMIT: too many"), (S.EXPIRED, ""), (S.CANCELED, "")]
)
def test_fired_limit_when_its_venue_ends_it_then_it_is_placed_again(
    bench: Bench, name: str, status: OrderStatus, reason: str
) -> None:
    """A second later, at the same price, and somebody is told once."""
    fire(bench, name)
    first = bench.one(GATEWAY, CreateOrder)
    bench.report(first, status, reason=reason)
    assert bench.take(GATEWAY, CreateOrder) == []
    assert bench.logs.count("fired_not_done") == 1
    assert bench.levels["fired_not_done"] == ("critical" if parent_of(bench).order.protective else "warning")
    seconds(bench, 1, RESTS[name][2])
    again = bench.one(GATEWAY, CreateOrder)
    assert (again.order_qty, again.limit_price) == (first.order_qty, first.limit_price)
    bench.report(again, status, reason=reason)
    seconds(bench, 1, RESTS[name][2])
    assert len(bench.take(GATEWAY, CreateOrder)) == 1
    assert bench.logs.count("fired_not_done") == 1
    bench.check()


def test_fired_limit_when_the_feed_goes_before_it_is_written_then_it_is_placed_behind_that(
    bench: Bench,
) -> None:
    """Nothing has left: what was dropped is no end."""
    bench.auto_durable = False
    fire(bench)
    bench.tell(FeedQuality(BTC, Quality.STALE, "", bench.now_ns, 2))
    bench.durable()
    assert bench.take(GATEWAY, CreateOrder) == []
    seconds(bench, 2)
    assert bench.one(GATEWAY, CreateOrder).limit_price == D("93.5")


def test_fired_limit_when_killed_before_its_child_is_written_then_it_is_placed_once(bench: Bench) -> None:
    """The journal has TRIGGERED and INTENT, the venue nothing: exactly one `then` rests in the end."""
    bench.auto_durable = False
    fire(bench)
    again = restarted(list(bench.records), bench.now_ns + 5 * SECOND)
    again.quote(BTC, 94)
    created: list[CreateOrder] = []
    while not created:
        for look in again.take(GATEWAY, Look):
            again.done(look, {"USDT": 999_000, "BTC": 10})
        again.advance(SECOND)
        again.quote(BTC, 94)
        created = again.take(GATEWAY, CreateOrder)
    again.report(created[0], S.NEW)
    parent = parent_of(again)
    assert (parent.phase, parent.working_qty, parent.in_doubt_qty) == (Phase.WORKING, D(10), D(0))
    assert (len(created), again.alarms) == (1, ["fired_not_done"])


def test_fired_limit_when_its_time_is_over_then_it_ends(bench: Bench) -> None:
    """`duration` counts from the firing."""
    fire(bench, duration="60s")
    bench.report(bench.one(GATEWAY, CreateOrder), S.EXPIRED)
    seconds(bench, 2)
    bench.report(bench.one(GATEWAY, CreateOrder), S.NEW)
    seconds(bench, 60)
    assert parent_of(bench).phase is Phase.COMPLETING


def test_fired_limit_when_it_only_takes_then_it_is_tried_once(bench: Bench) -> None:
    """`time_in_force: IOC` is what its owner said."""
    fire(bench, time_in_force="IOC")
    bench.report(bench.one(GATEWAY, CreateOrder), S.EXPIRED)
    assert (parent_of(bench).phase, parent_of(bench).status) == (Phase.DONE, S.EXPIRED)
