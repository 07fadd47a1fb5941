"""Looks: when the venue is asked, and what it means that an order is missing."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import (
    ACCOUNT,
    BTC,
    CONFIG,
    ETH,
    GATEWAY,
    PAUSE,
    START,
    TRADER,
    TREND,
)
from tradefan.config.schema import AccountConfig
from tradefan.messages.account import AccountState
from tradefan.messages.control import (
    Ready,
)
from tradefan.messages.gateway import CancelOrder, CancelRejected, CreateOrder, Look, LookDone
from tradefan.messages.orders import (
    CancelParent,
    Doubt,
    OrderStatus,
    ParentUpdate,
    Phase,
    Refusal,
    ResolveOrder,
)
from tradefan.messages.records import (
    Cursor,
    Difference,
    InDoubt,
)
from tradefan.units import MINUTE, MS, SECOND, TradeId

D = Decimal
S = OrderStatus


@pytest.fixture
def bench() -> Bench:
    return Bench().ready()


@pytest.mark.failure("OR-19", "OR-29")
def test_connection_when_lost_then_waiting_creates_go_and_a_look_comes_first(bench: Bench) -> None:
    """OR-29: nothing that waits survives a disconnection; after a complete look new risk waits 30 s more."""
    bench.auto_durable = False
    bench.submit()
    bench.tell(AccountState(ACCOUNT, False, "closed"))
    bench.durable()
    assert bench.take(GATEWAY, CreateOrder) == []
    bench.submit()
    assert "not connected: closed" in bench.one(TRADER, Refusal).text
    bench.tell(AccountState(ACCOUNT, True, ""))
    look = bench.one(GATEWAY, Look)
    bench.submit()
    assert "reconciled" in bench.one(TRADER, Refusal).text
    bench.done(look)
    bench.submit()
    assert bench.one(TRADER, Refusal).code == "MODE_NO_NEW_RISK"
    bench.passed(30)
    bench.submit()
    assert len(bench.take(GATEWAY, CreateOrder)) == 1
    assert bench.take(TRADER, Ready) == []
    assert bench.moods(ACCOUNT, "link") == ["NO_NEW_RISK", "NORMAL"]
    bench.check()


@pytest.mark.failure("OR-28")
def test_look_when_time_passes_then_it_comes_every_ten_seconds(bench: Bench) -> None:
    """Open orders every 10 s; one look at a time; its cursors are journaled when it was complete."""
    bench.advance(10 * SECOND - 1)
    assert bench.take(GATEWAY, Look) == []
    bench.advance(1)
    look = bench.one(GATEWAY, Look)
    bench.advance(10 * SECOND)
    assert bench.take(GATEWAY, Look) == []
    cursors = ((BTC, TradeId("9")), (ETH, None))
    bench.done(look, complete=False, cursors=cursors)
    assert bench.made(Cursor) == []
    bench.advance(SECOND)
    bench.done(bench.one(GATEWAY, Look), cursors=cursors)
    assert [(one.instrument, one.trade_id) for one in bench.made(Cursor)] == [(BTC, "9")]
    bench.check()


def test_look_when_its_gateway_never_ends_it_then_another_is_asked_after_a_minute(bench: Bench) -> None:
    """A look that was lost holds up the next ones for 60 s at most."""
    bench.advance(10 * SECOND)
    first = bench.one(GATEWAY, Look)
    bench.advance(59 * SECOND)
    assert bench.take(GATEWAY, Look) == []
    bench.advance(2 * SECOND)
    assert bench.one(GATEWAY, Look).look_id > first.look_id


@pytest.mark.failure("OR-15")
@pytest.mark.parametrize("shut", ["RATE_LIMIT", "BAN"])
def test_look_when_the_venue_asks_for_silence_then_it_waits_until_then(bench: Bench, shut: str) -> None:
    """429 and 418 alike: nothing is asked before the instant that the venue named."""
    until_ns = bench.now_ns + 45 * SECOND
    bench.tell(AccountState(ACCOUNT, True, shut, shut_until_ns=until_ns, shut=shut))
    bench.advance(45 * SECOND - 1)
    assert bench.take(GATEWAY, Look) == []
    bench.advance(1)
    assert len(bench.take(GATEWAY, Look)) == 1


def test_look_when_of_an_earlier_life_then_its_end_means_nothing(bench: Bench) -> None:
    """Facts of a look that nobody waits for still merge; its end proves nothing."""
    create = bench.doubtful()
    bench.tell(LookDone(ACCOUNT, 999_999, bench.now_ns, True, (create.client_order_id,), ()))
    assert bench.oms.state.live.accounts[ACCOUNT].negatives == {}
    assert bench.trading.orders[create.client_order_id].in_doubt is Doubt.CREATE


@pytest.mark.failure("OR-28")
def test_order_when_missing_among_the_open_ones_then_it_is_asked_by_id(bench: Bench) -> None:
    """A report was lost: the order is not open any more, and asking by id finds its end."""
    create = bench.resting()
    bench.advance(10 * SECOND)
    bench.done(bench.one(GATEWAY, Look))
    bench.advance(SECOND)
    look = bench.one(GATEWAY, Look)
    assert look.orders == ((BTC, create.client_order_id),)
    bench.report(create, S.CANCELED, source="look")
    bench.done(look, missing=())
    assert bench.take(TRADER, ParentUpdate)[-1].phase is Phase.DONE
    bench.check()


def missing_for(bench: Bench, create: CreateOrder, ns: int) -> None:
    """Let time pass; every look that names the order misses it."""
    until_ns = bench.now_ns + ns
    while bench.now_ns < until_ns:
        bench.advance(PAUSE)
        for look in bench.take(GATEWAY, Look):
            names = [name for _, name in look.orders]
            bench.done(look, missing=tuple(names))


@pytest.mark.failure("ST-09")
def test_order_when_the_venue_forgot_it_then_its_instrument_is_held_for_a_human(bench: Bench) -> None:
    """Known before, not found now: that ends nothing, but DIFF and HOLD say that a human has to look."""
    create = bench.resting()
    missing_for(bench, create, 40 * SECOND)
    assert bench.trading.orders[create.client_order_id].status is S.NEW
    assert bench.alarms == ["order_missing"]
    (diff,) = bench.made(Difference)
    assert (diff.subject, diff.instrument, diff.apart) == (create.client_order_id, BTC, True)
    assert bench.moods(BTC, "hold") == ["CANCEL_ONLY"]
    again = Bench(records=bench.records).ready()
    again.submit()
    assert again.one(TRADER, Refusal).code == "MODE_CANCEL_ONLY"
    again.submit(10, instrument=ETH)
    assert len(again.take(GATEWAY, CreateOrder)) == 1
    bench.check()


@pytest.mark.failure("ST-14")
def test_order_when_missed_twice_at_once_then_nothing_is_concluded_before_five_seconds(bench: Bench) -> None:
    """ST-14: a DIFF needs two agreeing looks 5 s apart, and 5 s without news of the order."""
    create = bench.resting()
    first_ns = None
    while not bench.made(Difference):
        bench.advance(PAUSE)
        for look in bench.take(GATEWAY, Look):
            if look.orders and first_ns is None:
                first_ns = bench.now_ns
            bench.done(look)
        assert bench.now_ns < START + MINUTE
    assert first_ns is not None
    assert bench.now_ns - first_ns >= 5 * SECOND
    assert create.client_order_id in bench.trading.differences


@pytest.mark.failure("ST-09")
@pytest.mark.parametrize("journaled", [False, True])
def test_order_when_missing_and_then_ended_by_the_venue_then_its_instrument_goes_on(
    bench: Bench, journaled: bool
) -> None:
    """What has ended no look shows and no human can resolve: its hold would stay for ever.

    That goes also for a journal of before, which has no end of the difference.
    """
    create = bench.resting()
    missing_for(bench, create, 40 * SECOND)
    bench.report(create, S.CANCELED, source="look")
    assert bench.moods(BTC, "hold") == ["CANCEL_ONLY", "NORMAL"]
    bench.check()
    records = [one for one in bench.records if not (isinstance(one, Difference) and not one.apart)]
    again = Bench(records=records if journaled else bench.records).ready()
    assert (again.oms.view().holds, again.trading.differences) == ({}, {})
    again.check()


@pytest.mark.failure("ST-14")
def test_order_when_the_venue_shows_it_again_then_two_looks_let_its_instrument_go(bench: Bench) -> None:
    """HOLD for a difference is left by two agreeing looks, not by the first."""
    create = bench.resting()
    missing_for(bench, create, 40 * SECOND)
    bench.look(create)
    assert bench.moods(BTC, "hold") == ["CANCEL_ONLY"]
    bench.look(create)
    assert bench.moods(BTC, "hold") == ["CANCEL_ONLY", "NORMAL"]
    assert bench.trading.differences == {}
    bench.check()


def looks_in(bench: Bench, seconds: int, *shown: CreateOrder) -> int:
    """Let time pass; a look finds these orders open and misses what it names else. Return how many."""
    until_ns, count = bench.now_ns + seconds * SECOND, 0
    while bench.timers and bench.timers[0][0] <= until_ns:
        bench.advance(bench.timers[0][0] - bench.now_ns)
        for look in bench.take(GATEWAY, Look):
            count += 1
            bench.advance(20 * MS)
            for create in shown:
                bench.report(create, S.NEW, source="look")
            known = [create.client_order_id for create in shown]
            bench.done(look, missing=tuple(name for _, name in look.orders if name not in known))
        for cancel in bench.take(GATEWAY, CancelOrder):
            bench.tell(CancelRejected(ACCOUNT, cancel.client_order_id, "UNKNOWN_ORDER"))
    bench.now_ns = until_ns
    return count


@pytest.mark.failure("OR-15")
@pytest.mark.parametrize("cancelled", [False, True])
def test_question_when_it_waits_for_a_human_then_it_costs_a_look_each_ten_seconds(
    bench: Bench, cancelled: bool
) -> None:
    """R3: a missing order is asked ever less often, however long it is missing, cancelled or not."""
    create = bench.resting(2)
    if cancelled:
        bench.tell(CancelParent(TREND, create.parent_id))
    looks_in(bench, 60)
    assert bench.alarms == ["order_missing"]
    assert looks_in(bench, 60) <= 8
    assert looks_in(bench, 600) <= 62


@pytest.mark.failure("ST-09")
@pytest.mark.parametrize("visible_s", [1, 9, 10, 60])
def test_order_when_missing_while_its_cancel_is_repeated_then_it_is_held_all_the_same(visible_s: int) -> None:
    """Only a word of the venue begins the wait anew, not what we do: a rejected cancel each 10 s."""
    slow = AccountConfig(visible_bound=visible_s * SECOND)
    bench = Bench(config=msgspec.structs.replace(CONFIG, accounts={ACCOUNT: slow})).ready()
    create = bench.resting(2)
    bench.tell(CancelParent(TREND, create.parent_id))
    looks_in(bench, visible_s + 30)
    assert bench.alarms == ["order_missing"]
    assert bench.moods(BTC, "hold") == ["CANCEL_ONLY"]
    bench.check()


def test_order_when_the_venue_speaks_of_it_meanwhile_then_its_absence_counts_from_there(bench: Bench) -> None:
    """Missing, shown, missing again: the 5 s begin behind the last word."""
    create = bench.resting(2)
    while not bench.oms.state.live.accounts[ACCOUNT].absent:
        looks_in(bench, 1)
    bench.report(create, S.NEW)
    told_ns = bench.now_ns
    while not bench.made(Difference):
        looks_in(bench, 1)
    assert bench.now_ns >= told_ns + 5 * SECOND


def test_missing_order_when_it_has_ended_then_nothing_is_asked_any_more(bench: Bench) -> None:
    """A human has ended it: looks are as rare as in quiet times."""
    create = bench.resting(2)
    looks_in(bench, 60)
    bench.tell(ResolveOrder(create.client_order_id, "NOT_PLACED", "gone", "me"))
    looks_in(bench, 20)
    assert looks_in(bench, 60) <= 6
    live = bench.oms.state.live.accounts[ACCOUNT]
    assert (live.absent, live.present, live.asked) == ({}, {}, {})


@pytest.mark.failure("OR-01")
def test_create_when_nobody_ever_answers_then_a_look_doubts_it(bench: Bench) -> None:
    """An order without any word long after its deadline is in doubt, whoever lost it."""
    create = bench.limit()
    bench.advance(35 * SECOND, answering=True)
    assert [record.client_order_id for record in bench.made(InDoubt)] == [create.client_order_id]
    bench.check()


@pytest.mark.failure("OR-13")
def test_report_when_illegal_then_it_is_counted_and_the_order_is_asked(bench: Bench) -> None:
    """An illegal pair and an unmapped word change nothing and trigger a query by id."""
    create = bench.limit()
    bench.report(create, S.REJECTED)
    records = len(bench.records)
    bench.report(create, S.NEW)
    bench.report(create, S.UNKNOWN)
    assert (len(bench.records), bench.oms.view().counters.illegal) == (records, 2)
    bench.advance(SECOND)
    look = bench.one(GATEWAY, Look)
    assert look.orders == ((BTC, create.client_order_id),)
    bench.done(look, missing=())
    bench.advance(5 * SECOND)
    assert bench.take(GATEWAY, Look) == []


@pytest.mark.failure("OR-12")
def test_report_when_ahead_of_its_fills_then_a_look_brings_them(bench: Bench) -> None:
    """The venue's quantity is ahead: the trades are asked after a second, unless they came."""
    create = bench.limit()
    bench.report(create, S.PARTIALLY_FILLED, "0.4")
    bench.advance(SECOND)
    look = bench.one(GATEWAY, Look)
    bench.fill(create, "0.4", source="look")
    bench.done(look)
    bench.report(create, S.FILLED, 1)
    bench.fill(create, "0.6")
    bench.advance(5 * SECOND)
    assert bench.take(GATEWAY, Look) == []
    bench.check()
