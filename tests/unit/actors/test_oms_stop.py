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
    BTC,
    CONFIG,
    GATEWAY,
    JOURNAL,
    RIM,
    START,
    TRADER,
    TREND,
    foreign,
)
from tradefan.config.schema import Config, StrategyConfig
from tradefan.core.ledger import position
from tradefan.core.trading_state import Trading
from tradefan.messages.control import (
    Durable,
    Snap,
    Started,
    Stop,
    StopBegun,
    Stopped,
)
from tradefan.messages.gateway import CancelOrder, CreateOrder, Look, LookDone
from tradefan.messages.market import FeedQuality, Quality
from tradefan.messages.orders import CancelAll, OrderStatus, OwnerTurn, Refusal
from tradefan.messages.records import CleanStop
from tradefan.units import MS, SECOND

D = Decimal
S = OrderStatus


@pytest.fixture
def bench() -> Bench:
    return Bench().ready()


def owned(policy: Any) -> Config:
    return msgspec.structs.replace(CONFIG, strategies={TREND: StrategyConfig(on_stop=policy)})


def empty_look(bench: Bench) -> None:
    """Let the next look find the venue as the books say."""
    bench.advance(SECOND // 2)
    bench.done(bench.take(GATEWAY, Look)[-1])


def test_stop_when_orders_rest_then_they_are_cancelled_verified_twice_and_flushed(bench: Bench) -> None:
    """No new orders; cancel; two empty looks; CLEAN_STOP and all else on the disk; then Stopped, once."""
    bench.resting()
    bench.tell(Stop(bench.now_ns + 10 * SECOND), Stop(bench.now_ns + 10 * SECOND))
    (cancel,) = bench.take(GATEWAY, CancelOrder)
    bench.submit()
    bench.tell(CancelAll(TREND))
    assert bench.one(TRADER, Refusal).text == "TradeFan is stopping"
    bench.report(cancel, S.CANCELED, order_qty=D(1))
    assert bench.take(RIM, Stopped) == []
    empty_look(bench)
    assert bench.take(RIM, Stopped) == []
    bench.auto_durable = False
    empty_look(bench)
    assert bench.records[-1] == CleanStop(bench.now_ns, 0)
    assert bench.take(RIM, Stopped) == []
    bench.durable()
    assert bench.one(RIM, Stopped) == Stopped("oms", (), False)
    assert bench.oms.view().state == "STOPPING"
    bench.advance(20 * SECOND)
    assert bench.take(RIM, Stopped) == []
    assert len(bench.made(CleanStop)) == 1
    bench.check()


@pytest.mark.parametrize("policy", ["leave", "flatten", "cancel"])
def test_stop_when_a_defect_ends_us_then_nothing_rests_and_the_start_counts(policy: Any) -> None:
    """Whatever `on_stop` says: cancel, place nothing, and do not call it a clean stop."""
    bench = Bench(config=owned(policy)).ready()
    bench.bought()
    create = bench.resting()
    bench.tell(Stop(bench.now_ns + 10 * SECOND, 70))
    (cancel,) = bench.take(GATEWAY, CancelOrder)
    assert (cancel.client_order_id, bench.take(GATEWAY, CreateOrder)) == (create.client_order_id, [])
    bench.report(cancel, S.CANCELED, order_qty=D(1))
    empty_look(bench)
    empty_look(bench)
    assert bench.one(RIM, Stopped) == Stopped("oms", (), False)
    assert (bench.made(CleanStop), len(bench.take(JOURNAL, Snap))) == ([], 1)
    bench.check()


def test_stop_when_it_comes_to_its_end_then_a_snapshot_is_left(bench: Bench) -> None:
    """A clean stop leaves a picture of everything, CLEAN_STOP included: the next start reads no tail."""
    bench.bought()
    bench.tell(Stop(bench.now_ns + SECOND))
    snap = bench.one(JOURNAL, Snap)
    assert snap.lsn == len(bench.records)
    assert msgspec.msgpack.decode(snap.state, type=Trading) == bench.trading
    assert bench.trading.stopped
    again = Bench(records=bench.records)
    again.fold(rows={"snapshot": snap.state, "snapshot_lsn": snap.lsn, "records": ()})
    assert again.trading.starts == [START]
    again.check()


def test_stop_when_others_end_before_us_then_nothing_is_admitted_from_its_beginning(bench: Bench) -> None:
    """Those who are asked first may take seconds: no wish, no waiting create, no next child in that time."""
    rests = bench.resting()
    bench.submit(2)
    taker = bench.one(GATEWAY, CreateOrder)
    bench.auto_durable = False
    bench.submit(3)
    bench.tell(StopBegun())
    bench.durable()
    bench.submit()
    assert bench.one(TRADER, Refusal).text == "TradeFan is stopping"
    assert bench.oms.view().state == "STOPPING"
    bench.fill(taker, 1)
    bench.report(taker, S.EXPIRED, 1)
    bench.advance(SECOND, answering=True)
    assert (bench.take(GATEWAY, CreateOrder), bench.take(GATEWAY, CancelOrder)) == ([], [])
    bench.tell(Stop(bench.now_ns + 5 * SECOND))
    assert [one.client_order_id for one in bench.take(GATEWAY, CancelOrder)] == [rests.client_order_id]
    bench.check()


def test_stop_when_it_begins_before_the_fold_then_nothing_is_admitted_behind_it() -> None:
    """An OMS that restarts in a stop is told again."""
    bench = Bench()
    bench.tell(Started(0), StopBegun())
    bench.ready()
    bench.submit()
    assert bench.one(TRADER, Refusal).text == "TradeFan is stopping"


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


def test_stop_when_the_journal_cannot_write_then_it_is_not_called_clean(bench: Bench) -> None:
    """A fill that was booked, told and never written goes with the process: somebody has to know."""
    create = bench.resting()
    bench.auto_durable = False
    bench.fill(create, 1)
    bench.report(create, S.FILLED, 1)
    bench.tell(Stop(bench.now_ns + SECOND))
    bench.advance(SECOND)
    assert bench.one(RIM, Stopped) == Stopped("oms", (), True)
    assert "records_unwritten" in bench.logs


def test_stop_when_a_fill_comes_in_the_last_moment_then_the_disk_is_not_called_failing(bench: Bench) -> None:
    """What was journaled just now is written behind our answer, which is careful all the same."""
    create = bench.resting()
    bench.tell(Stop(bench.now_ns + SECOND))
    bench.advance(SECOND - 150 * MS)
    bench.auto_durable = False
    bench.fill(create, 1)
    bench.report(create, S.FILLED, 1)
    bench.advance(150 * MS)
    assert bench.one(RIM, Stopped) == Stopped("oms", (), True)
    assert "records_unwritten" not in bench.logs


def test_stop_when_a_look_still_shows_the_order_then_the_count_begins_anew(bench: Bench) -> None:
    """Verified means two looks in a row with nothing unwanted."""
    create = bench.resting()
    bench.tell(Stop(bench.now_ns + 9 * SECOND))
    bench.advance(SECOND)
    bench.done(bench.take(GATEWAY, Look)[-1], missing=())
    assert bench.take(RIM, Stopped) == []
    bench.report(create, S.CANCELED)
    empty_look(bench)
    assert bench.take(RIM, Stopped) == []
    empty_look(bench)
    assert bench.one(RIM, Stopped).unverified is False


def test_stop_when_looks_end_that_were_not_asked_behind_its_cancels_then_they_prove_nothing(
    bench: Bench,
) -> None:
    """Neither the one that was under way nor answers to earlier ones: they show the time before."""
    create = bench.resting()
    bench.advance(11 * SECOND)
    (under_way,) = bench.take(GATEWAY, Look)
    bench.tell(Stop(bench.now_ns + 9 * SECOND))
    bench.report(create, S.CANCELED)
    for number in (1, 2):
        bench.tell(
            LookDone(ACCOUNT, under_way.look_id - number, bench.now_ns, complete=True, missing=(), cursors=())
        )
    bench.done(under_way)
    empty_look(bench)
    assert bench.take(RIM, Stopped) == []
    empty_look(bench)
    assert bench.one(RIM, Stopped).unverified is False


def test_stop_when_a_look_fails_then_it_proves_nothing(bench: Bench) -> None:
    """Only complete looks count; without two of them the deadline answers unverified."""
    create = bench.resting()
    bench.tell(Stop(bench.now_ns + 4 * SECOND))
    bench.report(create, S.CANCELED)
    empty_look(bench)
    for _ in range(20):
        bench.advance(SECOND // 4)
        for look in bench.take(GATEWAY, Look):
            bench.done(look, complete=False)
    assert bench.one(RIM, Stopped) == Stopped("oms", (), True)
    assert bench.made(CleanStop) == []


@pytest.mark.failure("ST-08")
def test_stop_when_the_policy_is_leave_then_orders_stay(bench: Bench) -> None:
    """`on_stop: leave` and protective orders rest on; others are cancelled."""
    bench = Bench(config=owned("leave")).ready()
    bench.limit()
    bench.limit(1, 98, owner=API, protective=True)
    other = bench.limit(owner=API)
    bench.tell(Stop(bench.now_ns + 5 * SECOND))
    assert [one.client_order_id for one in bench.take(GATEWAY, CancelOrder)] == [other.client_order_id]
    bench.report(other, S.CANCELED)
    empty_look(bench)
    empty_look(bench)
    assert bench.one(RIM, Stopped) == Stopped("oms", (), False)
    assert len(bench.trading.orders_live) == 2


def test_stop_when_its_owner_ends_first_then_protection_stays_all_the_same(bench: Bench) -> None:
    """A strategy ends before the order manager does, and what it cancels then is not what protects."""
    bench.bought(1)
    stop = bench.resting(1, 101, side="sell", reduce_only=True, protective=True)
    other = bench.resting(1, 98)
    bench.tell(StopBegun(), OwnerTurn(TREND, 1, None, (CancelAll(TREND),)), Stop(bench.now_ns + 5 * SECOND))
    assert [one.client_order_id for one in bench.take(GATEWAY, CancelOrder)] == [other.client_order_id]
    bench.report(other, S.CANCELED)
    assert list(bench.trading.orders_live) == [stop.client_order_id]
    bench.check()


@pytest.mark.failure("OR-30")
def test_stop_when_the_policy_is_flatten_then_the_position_is_sold_once() -> None:
    """`on_stop: flatten` cancels and takes the book's other side once, at the collar."""
    bench = Bench(config=owned("flatten")).ready()
    bench.bought(2)
    resting = bench.limit()
    bench.tell(Stop(bench.now_ns + 5 * SECOND), CancelAll(TREND))
    assert [one.client_order_id for one in bench.take(GATEWAY, CancelOrder)] == [resting.client_order_id]
    bench.report(resting, S.CANCELED)
    sale = bench.one(GATEWAY, CreateOrder)
    assert (sale.side, sale.order_qty, sale.time_in_force) == ("sell", D(2), "IOC")
    bench.fill(sale, 2)
    bench.report(sale, S.FILLED, 2)
    empty_look(bench)
    empty_look(bench)
    assert bench.one(RIM, Stopped) == Stopped("oms", (), False)
    bench.check()


def sold(bench: Bench, sale: CreateOrder, qty: Any) -> None:
    """Let an IOC trade this much and end."""
    if qty:
        bench.fill(sale, qty)
    bench.report(sale, S.FILLED if qty == sale.order_qty else S.EXPIRED, qty)


@pytest.mark.parametrize("kind", ["target", "take-profit", "protective", "taker"])
def test_stop_when_the_policy_is_flatten_and_something_works_then_it_is_sold_behind_the_cancels(
    kind: str,
) -> None:
    """Whatever of the owner rests or is on its way has to end first; what is left then is sold."""
    bench = Bench(config=owned("flatten")).ready()
    bench.bought(2)
    if kind == "target":
        bench.target(5, algo="limit", limit_price=D(99))
        works = bench.one(GATEWAY, CreateOrder)
    elif kind == "taker":
        bench.target(0)
        works = bench.one(GATEWAY, CreateOrder)
    else:
        protects = kind == "protective"
        works = bench.limit(2, 101, side="sell", reduce_only=protects, protective=protects)
    if kind != "taker":
        bench.report(works, S.NEW)
    bench.tell(StopBegun(), CancelAll(TREND), Stop(bench.now_ns + 5 * SECOND))
    cancelled = {one.client_order_id for one in bench.take(GATEWAY, CancelOrder)}
    assert (cancelled, bench.take(GATEWAY, CreateOrder)) == ({works.client_order_id}, [])
    bench.report(works, S.CANCELED)
    sale = bench.one(GATEWAY, CreateOrder)
    assert (sale.side, sale.order_qty, sale.time_in_force) == ("sell", D(2), "IOC")
    assert bench.take(RIM, Stopped) == []
    sold(bench, sale, 2)
    empty_look(bench)
    empty_look(bench)
    assert bench.one(RIM, Stopped) == Stopped("oms", (), False)
    assert position(bench.trading.ledger, ACCOUNT, TREND, BTC).qty == 0
    bench.check()


def test_stop_when_a_flatten_trades_in_part_then_the_rest_is_sold_after_a_while() -> None:
    """The market was thin: again at its pace, until nothing that the venue takes is left."""
    bench = Bench(config=owned("flatten")).ready()
    bench.bought(2)
    bench.tell(Stop(bench.now_ns + 5 * SECOND))
    sold(bench, bench.one(GATEWAY, CreateOrder), D("0.5"))
    assert bench.take(GATEWAY, CreateOrder) == []
    bench.advance(250 * MS)
    again = bench.one(GATEWAY, CreateOrder)
    assert again.order_qty == D("1.5")
    sold(bench, again, D("1.4995"))
    # The look that was asked behind the first sale says nothing of the second.
    empty_look(bench)
    empty_look(bench)
    assert bench.take(RIM, Stopped) == []
    empty_look(bench)
    assert bench.one(RIM, Stopped) == Stopped("oms", (), False)
    assert bench.take(GATEWAY, CreateOrder) == []
    bench.check()


@pytest.mark.parametrize("limit", [{"max_order_qty": D(2)}, {"max_order_notional": D(200)}])
def test_stop_when_a_position_is_larger_than_one_order_may_be_then_it_is_sold_in_parts(
    limit: dict[str, Decimal],
) -> None:
    """The limits of one order hold for a flatten, too."""
    risk = msgspec.structs.replace(CONFIG.risk, **limit)
    bench = Bench(config=owned("flatten")).ready()
    bench.bought(5)
    bench.config = msgspec.structs.replace(owned("flatten"), risk=risk)
    bench.tell(Stop(bench.now_ns + 5 * SECOND))
    parts = []
    while not bench.take(RIM, Stopped):
        for sale in bench.take(GATEWAY, CreateOrder):
            parts.append(sale.order_qty)
            sold(bench, sale, sale.order_qty)
        bench.advance(50 * MS, answering=True)
    assert parts == [D(2), D(2), D(1)]
    bench.check()


def test_stop_when_the_account_has_less_than_the_books_say_then_that_is_sold_and_the_rest_named() -> None:
    """Somebody else's order needs a part of it: what is free goes."""
    bench = Bench(config=owned("flatten")).ready()
    bench.bought(2)
    bench.report(foreign(D("1.5"), side="sell"), S.NEW)
    bench.tell(Stop(bench.now_ns + SECOND))
    sale = bench.one(GATEWAY, CreateOrder)
    assert sale.order_qty == D("0.5")
    sold(bench, sale, D("0.5"))
    bench.advance(SECOND, answering=True)
    assert bench.one(RIM, Stopped).positions == ((ACCOUNT, TREND, BTC, D("1.5")),)
    assert "position_kept" in bench.logs


def test_stop_when_what_is_held_is_below_the_minimum_at_the_collar_then_it_is_dust() -> None:
    """The order would be judged at its price, which is worse than the mid."""
    bench = Bench(config=owned("flatten")).ready()
    bench.bought(D("0.05"))
    bench.tell(Stop(bench.now_ns + SECOND))
    assert bench.one(RIM, Stopped) == Stopped("oms", (), False)


def test_stop_when_a_flatten_cannot_sell_then_its_position_is_named_and_protection_stays() -> None:
    """Without a trusted price nothing is sold, and what protects is not taken away; the deadline ends it."""
    bench = Bench(config=owned("flatten")).ready()
    bench.bought(2)
    stop = bench.resting(1, 101, side="sell", reduce_only=True, protective=True)
    bench.tell(FeedQuality(BTC, Quality.STALE, "", bench.now_ns, 1))
    bench.tell(Stop(bench.now_ns + 5 * SECOND))
    bench.advance(5 * SECOND, answering=True)
    (stopped,) = bench.take(RIM, Stopped)
    assert (stopped.left, stopped.positions) == ((), ((ACCOUNT, TREND, BTC, D(2)),))
    assert (bench.take(GATEWAY, CancelOrder), list(bench.trading.orders_live)) == (
        [],
        [stop.client_order_id],
    )
    assert bench.made(CleanStop) == []
    bench.check()


def test_stop_when_the_price_comes_back_then_the_flatten_sells_what_was_protected() -> None:
    """The feed is trusted again within the deadline: protection goes, then the position."""
    bench = Bench(config=owned("flatten")).ready()
    bench.bought(2)
    stop = bench.resting(2, 101, side="sell", reduce_only=True, protective=True)
    bench.tell(FeedQuality(BTC, Quality.STALE, "", bench.now_ns, 1))
    bench.tell(Stop(bench.now_ns + 5 * SECOND))
    bench.market()
    bench.advance(250 * MS)
    assert [one.client_order_id for one in bench.take(GATEWAY, CancelOrder)][:1] == [stop.client_order_id]
    bench.report(stop, S.CANCELED)
    sold(bench, bench.one(GATEWAY, CreateOrder), 2)
    empty_look(bench)
    empty_look(bench)
    assert bench.one(RIM, Stopped) == Stopped("oms", (), False)


def test_stop_when_killed_then_a_flatten_sells_nothing_and_names_the_position() -> None:
    """The kill is the stronger word."""
    bench = Bench(config=owned("flatten")).ready()
    bench.bought(2)
    bench.kill()
    bench.tell(Stop(bench.now_ns + 2 * SECOND))
    bench.advance(2 * SECOND, answering=True)
    assert bench.one(RIM, Stopped).positions == ((ACCOUNT, TREND, BTC, D(2)),)
    assert bench.take(GATEWAY, CreateOrder) == []


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
