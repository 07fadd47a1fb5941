"""A parent that becomes another order: journaled first, and never more of it alive than either allows."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import API, BTC, FACE, GATEWAY, STORE
from tests.unit.actors.test_oms_algorithms import alive, parent_of, scheduled
from tradefan.messages.gateway import CancelOrder, CreateOrder
from tradefan.messages.market import FeedQuality, Quality
from tradefan.messages.orders import (
    AmendOrder,
    Answer,
    CancelParent,
    OrderStatus,
    PauseOrder,
    Phase,
    Refusal,
    ResumeOrder,
)
from tradefan.messages.work import (
    AmendAsked,
    Amended,
)
from tradefan.units import SECOND, iso

D = Decimal
S = OrderStatus


@pytest.fixture
def bench() -> Bench:
    return Bench().ready()


def amend(bench: Bench, **changes: Any) -> None:
    bench.tell(AmendOrder(API, parent_of(bench).order.parent_id, **changes))


def test_amend_when_less_is_wanted_then_what_rests_ends_before_it_counts(bench: Bench) -> None:
    """AMEND, the cancel, the venue's word, and only then the other order; PENDING_REPLACE meanwhile."""
    create = scheduled(bench, chase={"max_steps": 0})
    bench.fill(create, "0.5")
    bench.report(create, S.PARTIALLY_FILLED, "0.5")
    amend(bench, order_qty=D(1), req=7)
    parent = parent_of(bench)
    assert bench.take(FACE, Answer) == [Answer(7, (parent.order.parent_id,))]
    assert (parent.shown_status, parent.order.order_qty) == (S.PENDING_REPLACE, D(10))
    assert bench.take(GATEWAY, CreateOrder) == []
    bench.report(bench.one(GATEWAY, CancelOrder), S.CANCELED, "0.5")
    (record,) = bench.made(Amended)
    assert (record.order.order_qty, record.plan.base, record.plan.taus[-1]) == (D(1), 500, 1_000)
    alive(bench, 30)
    done = parent_of(bench).cum_qty + sum(one.order_qty for one in bench.take(GATEWAY, CreateOrder)[-1:])
    assert done <= 1
    bench.check()


def test_amend_when_more_and_longer_is_wanted_then_the_rest_is_planned_to_the_new_end(bench: Bench) -> None:
    """Its settings say so too, for whoever plans it anew later."""
    scheduled(bench, chase={"max_steps": 0})
    end_ns = bench.now_ns + 200 * SECOND
    amend(bench, order_qty=D(20), end_ns=end_ns)
    bench.report(bench.one(GATEWAY, CancelOrder), S.CANCELED)
    (record,) = bench.made(Amended)
    assert (record.order.order_qty, record.plan.end_ns, record.plan.taus[-1]) == (D(20), end_ns, 20_000)
    assert "duration" not in record.order.settings
    assert "end_at" in record.order.settings
    bench.check()


def test_amend_when_a_limit_gets_tighter_then_nothing_rests_beyond_it(bench: Bench) -> None:
    """The child at the old price is cancelled to evidence; the next one has the new price."""
    bench.resting(2, 99)
    amend(bench, limit_price=D(98))
    assert bench.take(GATEWAY, CreateOrder) == []
    bench.report(bench.one(GATEWAY, CancelOrder), S.CANCELED)
    assert bench.one(GATEWAY, CreateOrder).limit_price == D(98)
    bench.check()


def test_amend_when_an_iceberg_shows_less_then_its_next_peak_does(bench: Bench) -> None:
    """`display` from the next refill on."""
    bench.submit(10, algo="iceberg", limit_price=D(99), settings={"display": 2, "variance": 0})
    bench.report(bench.one(GATEWAY, CreateOrder), S.NEW)
    amend(bench, display=D(1))
    bench.report(bench.one(GATEWAY, CancelOrder), S.CANCELED)
    bench.advance(2 * SECOND)
    assert bench.one(GATEWAY, CreateOrder).order_qty == D(1)
    bench.check()


def test_amend_when_it_has_traded_too_much_meanwhile_then_it_stays_what_it_is(bench: Bench) -> None:
    """A fill on the way to the cancel: the other order would be less than what has traded."""
    create = scheduled(bench, chase={"max_steps": 0})
    amend(bench, order_qty=D(1))
    cancel = bench.one(GATEWAY, CancelOrder)
    bench.fill(create, "1.5")
    bench.report(cancel, S.CANCELED, "1.5")
    assert [record.order is None for record in bench.made(AmendAsked)] == [False, True]
    assert bench.made(Amended) == []
    assert parent_of(bench).order.order_qty == D(10)
    assert parent_of(bench).shown_status is S.PARTIALLY_FILLED
    bench.check()


@pytest.mark.failure("ST-01")
def test_amend_when_the_daemon_dies_in_the_middle_then_it_counts_behind_the_restart(bench: Bench) -> None:
    """What is asked for is in the journal; nothing is placed by the old order."""
    create = scheduled(bench, chase={"max_steps": 0})
    amend(bench, order_qty=D(4))
    again = Bench(records=bench.records, now_ns=bench.now_ns + SECOND).ready()
    assert again.made(Amended) == []
    again.report(create, S.CANCELED, source="look")
    again.advance(SECOND)
    (record,) = again.made(Amended)
    assert (record.order.order_qty, parent_of(again).phase) == (D(4), Phase.WORKING)
    again.check()


def test_amend_when_it_is_paused_then_it_stays_paused(bench: Bench) -> None:
    """Whoever has paused it lets it go on."""
    scheduled(bench)
    bench.tell(PauseOrder(API, parent_of(bench).order.parent_id))
    bench.report(bench.one(GATEWAY, CancelOrder), S.CANCELED)
    amend(bench, order_qty=D(4))
    parent = parent_of(bench)
    assert (parent.phase, parent.order.order_qty, bench.take(GATEWAY, CreateOrder)) == (
        Phase.PAUSED,
        D(4),
        [],
    )
    bench.check()


def test_amend_when_a_pause_has_moved_its_end_then_another_quantity_leaves_it_there(bench: Bench) -> None:
    """The end that was asked for is that of the beginning; 30 s of pause lie behind it."""
    bench.submit(10, algo="twap", settings={"end_at": iso(bench.now_ns + 100 * SECOND), "time_jitter": 0})
    bench.report(bench.one(GATEWAY, CreateOrder), S.NEW)
    name, end_ns = parent_of(bench).order.parent_id, parent_of(bench).plan.end_ns or 0  # type: ignore[union-attr]
    bench.tell(PauseOrder(API, name))
    bench.report(bench.one(GATEWAY, CancelOrder), S.CANCELED)
    bench.advance(30 * SECOND)
    bench.quote(BTC, 100)
    bench.tell(ResumeOrder(API, name))
    bench.report(bench.one(GATEWAY, CreateOrder), S.NEW)
    amend(bench, order_qty=D(12))
    bench.report(bench.one(GATEWAY, CancelOrder), S.CANCELED)
    assert bench.made(Amended)[-1].plan.end_ns == end_ns + 30 * SECOND
    bench.check()


def test_amend_when_nobody_sees_the_market_then_it_waits_for_that(bench: Bench) -> None:
    """A plan needs a price."""
    scheduled(bench, chase={"max_steps": 0})
    amend(bench, order_qty=D(4))
    bench.tell(FeedQuality(BTC, Quality.STALE, "silent", bench.now_ns, 1))
    bench.report(bench.one(GATEWAY, CancelOrder), S.CANCELED)
    assert bench.made(Amended) == []
    bench.quote(BTC, 100)
    assert len(bench.made(Amended)) == 1
    bench.check()


@pytest.mark.parametrize(
    ("changes", "code", "passes"),
    [
        ({"order_qty": D("0.4")}, "BELOW_DONE", "order_qty 0.5"),
        ({"order_qty": D("4.0001")}, "OFF_GRID", "order_qty 4"),
        ({"limit_price": D("99.001")}, "OFF_GRID", "limit_price 99"),
        ({"order_qty": D(10)}, "NOTHING_TO_AMEND", None),
        ({"display": D(1)}, "BAD_SETTING", None),
        ({"end_ns": 1}, "BAD_WINDOW", "1970"),
        ({"order_qty": D(10**6)}, "RISK_", None),
    ],
)
def test_amend_when_it_cannot_be_then_the_refusal_says_what_would_pass(
    bench: Bench, changes: Any, code: str, passes: str | None
) -> None:
    """Nothing is journaled of it, and what rests goes on."""
    create = scheduled(bench)
    bench.fill(create, "0.5")
    bench.report(create, S.PARTIALLY_FILLED, "0.5")
    bench.take(STORE, Refusal)
    amend(bench, **changes)
    (refusal,) = bench.take(STORE, Refusal)
    assert refusal.code.startswith(code)
    assert passes is None or str(refusal.would_pass).startswith(passes)
    assert (bench.made(AmendAsked), bench.take(GATEWAY, CancelOrder)) == ([], [])


@pytest.mark.parametrize(
    ("changes", "code", "passes"),
    [
        ({"limit_price": D(150)}, "RISK_PRICE_BAND", "10"),
        ({"order_qty": D("0.501")}, "BELOW_MIN_QTY", "order_qty 0.5"),
    ],
)
def test_amend_when_it_would_end_the_order_then_it_is_refused(
    bench: Bench, changes: Any, code: str, passes: str
) -> None:
    """What an entry would refuse, or what is too little to be placed, ends nothing that works."""
    create = bench.resting(2, 99)
    bench.fill(create, "0.5")
    bench.report(create, S.PARTIALLY_FILLED, "0.5")
    bench.take(STORE, Refusal)
    amend(bench, **changes)
    (refusal,) = bench.take(STORE, Refusal)
    assert refusal.code == code
    assert str(refusal.would_pass).startswith(passes)
    assert (bench.made(AmendAsked), bench.take(GATEWAY, CancelOrder)) == ([], [])


def test_amend_when_more_is_to_be_reduced_than_is_left_then_it_is_refused(bench: Bench) -> None:
    """Of 10 another order has reserved 5."""
    bench.bought(10)
    bench.resting(5, 120, side="sell", reduce_only=True)
    bench.resting(5, 119, side="sell", reduce_only=True)
    amend(bench, order_qty=D(6))
    (refusal,) = bench.take(STORE, Refusal)[-1:]
    assert (refusal.code, refusal.would_pass) == ("RISK_REDUCE_ONLY", "order_qty 5")
    assert bench.made(AmendAsked) == []


def test_amend_when_a_leg_is_sized_by_its_group_then_it_is_refused(bench: Bench) -> None:
    """It would be reverted without a word."""
    bench.bought(10)
    legs = {"take_profit.limit_price": "105", "stop.trigger_price": "95"}
    bench.submit(10, algo="oco", side="sell", reduce_only=True, settings=legs)
    create = bench.take(GATEWAY, CreateOrder)[-1]
    bench.report(create, S.NEW)
    bench.tell(AmendOrder(API, create.parent_id, order_qty=D(20)))
    assert [one.code for one in bench.take(STORE, Refusal)][-1:] == ["NOT_AMENDABLE"]
    assert bench.made(AmendAsked) == []


def test_amend_when_its_slices_say_how_long_an_interval_is_then_an_end_behind_one_passes(
    bench: Bench,
) -> None:
    """A default interval of 30 s is not that of 60 slices in 60 s."""
    scheduled(bench, duration="60s", slices=60, chase={"max_steps": 0})
    amend(bench, end_ns=bench.now_ns + 10 * SECOND)
    assert [one.code for one in bench.take(STORE, Refusal)] == []
    assert len(bench.made(AmendAsked)) == 1


def test_amend_when_the_parent_is_ending_then_it_is_refused(bench: Bench) -> None:
    """Its children go to evidence already."""
    scheduled(bench)
    bench.tell(CancelParent(API, parent_of(bench).order.parent_id))
    amend(bench, order_qty=D(4))
    assert [one.code for one in bench.take(STORE, Refusal)] == ["NOT_WORKING"]
