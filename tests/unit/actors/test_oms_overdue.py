"""What is said of orders that have fired: nothing while they work, and always when they do not."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import BTC, FACE, GATEWAY, TREND
from tests.unit.actors.test_oms_group import LEGS, bracket, filled, later
from tests.unit.actors.test_oms_trigger import Prints, armed
from tradefan.core.trading import ParentState
from tradefan.messages.gateway import CancelOrder, CreateOrder
from tradefan.messages.instrument import InstrumentUpdate
from tradefan.messages.market import FeedQuality, Quality, Quote
from tradefan.messages.orders import AmendOrder, CancelAll, CancelParent, OrderStatus, Phase, Refusal
from tradefan.units import MS, SECOND

D = Decimal
S = OrderStatus
TWAP: dict[str, Any] = {
    "then": "twap",
    "duration": "100s",
    "interval": "5s",
    "tactic": "take",
    "size_jitter": 0,
    "time_jitter": 0,
    "participation_cap": 1,
}


@pytest.fixture
def bench() -> Bench:
    """A strategy that holds 10 BTC, in a market at 100."""
    bench = Bench().ready()
    bench.bought(10)
    return bench


def stopped(bench: Bench, algo: str = "stop", **settings: Any) -> ParentState:
    """Fire a stop at 95 in a market that is at 94 by now."""
    parent = armed(bench, algo, **settings)
    bench.quote(BTC, 94)
    Prints(bench)(94, 94)
    return parent


def lives(bench: Bench, seconds: float, *, fills: bool = True) -> None:
    """Let the venue take all that it is asked for, or nothing, in a market that is seen."""
    for _ in range(int(seconds * 4)):
        for create in bench.take(GATEWAY, CreateOrder):
            if fills:
                bench.fill(create, create.order_qty)
            bench.report(create, S.FILLED if fills else S.EXPIRED, create.order_qty if fills else 0)
        bench.advance(250 * MS)
        bench.quote(BTC, 94)


@pytest.mark.parametrize("settings", [TWAP, {"max_clip": 1}, {}])
def test_fired_when_it_works_then_nothing_is_said(bench: Bench, settings: dict[str, Any]) -> None:
    """Twenty clips of a schedule, ten parts of a market order, or one."""
    parent = stopped(bench, **settings)
    lives(bench, 101)
    assert (parent.cum_qty, parent.status, bench.alarms) == (D(10), S.FILLED, [])


def test_fired_when_its_venue_is_slow_then_nothing_is_said(bench: Bench) -> None:
    """Three seconds until the first word, and then half of it has traded."""
    stopped(bench)
    create = bench.one(GATEWAY, CreateOrder)
    bench.advance(3 * SECOND)
    bench.quote(BTC, 94)
    bench.fill(create, 5)
    bench.report(create, S.EXPIRED, 5)
    assert bench.alarms == []


def test_fired_when_a_schedule_ends_with_a_rest_then_that_is_said(bench: Bench) -> None:
    """Its last clips trade nothing any more: what it was to protect is not, and nobody waits for it."""
    parent = stopped(bench, **TWAP)
    lives(bench, 40)
    lives(bench, 80, fills=False)
    assert (parent.phase, parent.status) == (Phase.DONE, S.EXPIRED)
    assert bench.alarms == ["fired_not_done"]


def test_fired_when_it_ends_with_a_rest_in_the_book_then_that_is_said(bench: Bench) -> None:
    """All of what is left rests in that instant, and is cancelled by the end."""
    parent = stopped(bench, then="iceberg", display=10, variance=0, duration="10s", limit_price=D("94.5"))
    for _ in range(12):
        for create in bench.take(GATEWAY, CreateOrder):
            bench.report(create, S.NEW)
        bench.advance(SECOND)
        bench.quote(BTC, 94)
        for cancel in bench.take(GATEWAY, CancelOrder):
            bench.report(cancel, S.CANCELED)
    assert (parent.phase, parent.cum_qty) == (Phase.DONE, D(0))
    assert bench.alarms == ["fired_not_done"]


def test_fired_when_it_ends_while_its_feed_is_stale_then_that_is_said(bench: Bench) -> None:
    """Whatever ends it by itself, not its executor alone."""
    parent = stopped(bench, **{**TWAP, "duration": "10s"})
    bench.report(bench.one(GATEWAY, CreateOrder), S.EXPIRED)
    bench.tell(FeedQuality(BTC, Quality.STALE, "silent", bench.now_ns, 1))
    bench.advance(20 * SECOND)
    assert (parent.phase, parent.reason) == (Phase.DONE, "end")
    assert "fired_not_done" in bench.alarms


def test_fired_when_nothing_can_be_placed_behind_a_part_of_it_then_it_is_said(bench: Bench) -> None:
    """Half has traded; the book is beyond the collar from then on."""
    stopped(bench)
    create = bench.one(GATEWAY, CreateOrder)
    bench.fill(create, 5)
    bench.report(create, S.EXPIRED, 5)
    bench.now_ns += MS
    for _ in range(4):
        bench.tell(Quote(BTC, 92.0, 9, 100.0, 9, 1, bench.now_ns))
        bench.advance(SECOND)
    assert bench.alarms == ["fired_not_done"]


def test_fired_when_its_then_cannot_be_planned_any_more_then_it_goes_on_as_market(bench: Bench) -> None:
    """An iceberg that shows less than the new lot: not the end of a protection."""
    parent = stopped(bench, then="iceberg", display="0.3", limit_price=D("94.5"), variance=0)
    bench.advance(SECOND)
    bench.quote(BTC, 94)
    create = bench.one(GATEWAY, CreateOrder)
    bench.report(create, S.NEW)
    bench.tell(InstrumentUpdate(replace(bench.wiring.instruments[BTC], qty_lot=D("0.4"), version=2)))
    for cancel in bench.take(GATEWAY, CancelOrder):
        bench.report(cancel, S.CANCELED)
    bench.quote(BTC, 95)
    bench.advance(SECOND)
    assert (parent.phase, parent.order.settings["then"]) == (Phase.WORKING, "market")
    assert "fired_refused" in bench.alarms
    assert bench.take(GATEWAY, CreateOrder)[-1].time_in_force == "IOC"
    bench.check()


def test_fired_when_its_limit_is_amended_then_it_rests_there_at_once(bench: Bench) -> None:
    """The brake behind what the venue ends is none behind our own cancel, and nothing is overdue."""
    parent = stopped(bench, "stop_limit", limit_price=D("94.5"))
    bench.report(bench.one(GATEWAY, CreateOrder), S.NEW)
    for _ in range(5):
        bench.advance(SECOND)
        bench.quote(BTC, 94)
    bench.tell(AmendOrder(TREND, parent.order.parent_id, limit_price=D("94.2"), req=5))
    assert bench.take(FACE, Refusal) == []
    bench.report(bench.one(GATEWAY, CancelOrder), S.CANCELED)
    assert bench.one(GATEWAY, CreateOrder).limit_price == D("94.2")
    assert bench.alarms == []


@pytest.mark.parametrize("settings", [{}, {"max_clip": 9}])
def test_fired_when_dust_is_left_then_that_is_what_is_said(bench: Bench, settings: dict[str, Any]) -> None:
    """0.01 of 10 is no order for the venue: no alarm, but a word."""
    parent = stopped(bench, **settings)
    for _ in range(20):
        for create in bench.take(GATEWAY, CreateOrder):
            qty = min(create.order_qty, D("9.99") - parent.cum_qty)
            bench.fill(create, qty)
            bench.report(create, S.FILLED if qty == create.order_qty else S.EXPIRED, qty)
        bench.advance(SECOND)
        bench.quote(BTC, 94)
    assert (parent.cum_qty, parent.phase, bench.alarms) == (D("9.99"), Phase.DONE, [])
    assert "unprotected_dust" in bench.logs


def flattening(bench: Bench) -> ParentState:
    """Cancel all of a filled bracket that is sold then; return what sells it."""
    legs, entry = bracket(bench, settings={**LEGS, "on_cancel": "flatten"})
    filled(bench, entry, 10, 10)
    bench.report(bench.one(GATEWAY, CreateOrder), S.NEW)
    bench.tell(CancelAll(legs["entry"].order.owner, None))
    bench.report(bench.one(GATEWAY, CancelOrder), S.CANCELED)
    later(bench, SECOND)
    return next(reversed(bench.trading.parents.values()))


def test_flatten_when_all_is_cancelled_again_then_it_goes_on() -> None:
    """A strategy that says so each bar does not take back what its first word has begun."""
    bench = Bench().ready()
    parent = flattening(bench)
    bench.tell(CancelAll(parent.order.owner, None))
    assert parent.phase is Phase.WORKING
    filled(bench, bench.one(GATEWAY, CreateOrder), 10, 10)
    assert parent.status is S.FILLED
    bench.check()


def test_flatten_when_it_is_cancelled_by_its_id_then_somebody_hears_what_is_left() -> None:
    """That is a human's word; the position stays."""
    bench = Bench().ready()
    parent = flattening(bench)
    bench.tell(CancelParent(parent.order.owner, parent.order.parent_id))
    assert "not_flattened" in bench.alarms
    bench.check()
