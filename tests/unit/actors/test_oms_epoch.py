"""Ids are never made twice, not even behind a journal that has lost its end or was restored."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import ACCOUNT, BTC, ETH, GATEWAY, foreign
from tradefan.actors.oms_epoch import AHEAD_MAX
from tradefan.core.exposure import account_sides
from tradefan.core.ids import EPOCH_MAX, client_order_id
from tradefan.messages.account import AccountState
from tradefan.messages.control import ActorState
from tradefan.messages.gateway import CreateOrder
from tradefan.messages.orders import OrderStatus
from tradefan.messages.records import Epoch, NotSent
from tradefan.units import MINUTE, AccountId

D = Decimal
S = OrderStatus


@pytest.fixture
def bench() -> Bench:
    return Bench().ready()


def epochs(bench: Bench) -> list[tuple[int, int]]:
    return [(record.epoch, record.restart) for record in bench.made(Epoch)]


def restored(bench: Bench) -> Bench:
    """A start from a copy of the journal that was made before the last life began."""
    again = Bench(records=bench.records, now_ns=bench.now_ns + MINUTE)
    again.fold()
    again.tell(AccountState(ACCOUNT, True, ""), ActorState("risk_desk", "READY"))
    again.market()
    return again


@pytest.mark.failure("OR-04", "ST-04")
def test_look_when_it_shows_an_id_that_is_still_to_come_then_another_epoch_begins(bench: Bench) -> None:
    """The last life's order rests; no create of this one has its id, and each is reserved."""
    last = Bench(records=bench.records, now_ns=bench.now_ns).ready()
    resting = last.resting(3)
    again = restored(bench)
    for _ in range(4):
        again.look(resting)
    again.market()
    again.sent.clear()
    assert epochs(again) == [(1, 0), (2, 0), (3, 1)]
    assert sorted(again.alarms) == ["epoch_used_before", "orphan"]
    made = [again.limit(1, 9, instrument=ETH).client_order_id for _ in range(3)]
    assert made == [client_order_id("dev", 3, number) for number in (1, 2, 3)]
    assert account_sides(again.trading.exposure, ACCOUNT, ETH).buy_qty == D(3)
    assert account_sides(again.trading.exposure, ACCOUNT, BTC).buy_qty == D(3)
    again.check()


@pytest.mark.failure("OR-04")
def test_fill_when_its_order_is_still_to_come_then_another_epoch_begins_before_any_answer(
    bench: Bench,
) -> None:
    """The journal need not be asked: it cannot know what is not made yet. The next start is above it too."""
    bench.auto_history = False
    bench.fill(foreign(3, client_order_id("dev", 7, 9)), 3)
    assert epochs(bench) == [(1, 0), (8, 1)]
    assert bench.trading.starts == [bench.trading.starts[0]]
    again = Bench(records=bench.records, now_ns=bench.now_ns)
    again.fold()
    assert epochs(again)[-1] == (9, 0)


@pytest.mark.failure("OR-04")
def test_fill_when_the_account_is_not_opened_yet_then_its_id_counts_all_the_same() -> None:
    """A journal that begins anew meets the trades of the one before it."""
    bench = Bench()
    bench.fold()
    bench.tell(AccountState(ACCOUNT, True, ""))
    bench.fill(foreign(3, client_order_id("dev", 4, 2)), 3, source="look")
    assert epochs(bench) == [(1, 0), (5, 1)]


@pytest.mark.failure("OR-04")
def test_epoch_when_it_was_used_before_then_what_waits_never_leaves_and_epoch_is_durable_first(
    bench: Bench,
) -> None:
    """An id that waits for the disk may be one that the venue has."""
    bench.auto_durable = False
    waiting = bench.submit(1, instrument=ETH)
    bench.report(foreign(3, client_order_id("dev", 1, 2)), S.NEW)
    (taken_back,) = bench.made(NotSent)
    assert (taken_back.client_order_id, waiting.instrument) == (client_order_id("dev", 1, 1), ETH)
    bench.submit(1, instrument=ETH)
    assert bench.take(GATEWAY, CreateOrder) == []
    bench.durable()
    assert bench.one(GATEWAY, CreateOrder).client_order_id == client_order_id("dev", 2, 1)
    bench.check()


@pytest.mark.failure("OR-04")
@pytest.mark.parametrize(
    "name",
    [
        client_order_id("dev", 0, 5),
        client_order_id("dev", 1, 1),
        client_order_id("abc", 9, 9),
        client_order_id("dev", EPOCH_MAX - 1, 1),
    ],
)
def test_epoch_when_an_id_is_no_news_then_it_stays(bench: Bench, name: str) -> None:
    """Of an earlier life, our own of now, a stranger's; above the last epoch there is none."""
    bench.resting()
    bench.report(foreign(3, name), S.NEW)
    bench.report(foreign(3, name), S.CANCELED)
    assert epochs(bench) == [(1, 0)]


@pytest.mark.failure("OR-04")
@pytest.mark.parametrize("ahead", [AHEAD_MAX + 1, EPOCH_MAX - 3])
def test_epoch_when_an_id_is_forged_far_ahead_then_no_later_start_is_stopped(
    bench: Bench, ahead: int
) -> None:
    """Following it uses all epochs up; it is an orphan, told and held, and the next start begins as ever."""
    bench.report(foreign(3, client_order_id("dev", 1 + ahead, 1)), S.NEW)
    assert (epochs(bench), bench.alarms, list(bench.oms.state.live.holds)) == ([(1, 0)], ["orphan"], [BTC])
    assert epochs(restored(bench)) == [(1, 0), (2, 0)]
    bench.check()


@pytest.mark.failure("OR-04")
def test_epoch_when_another_account_shows_an_id_of_ours_then_another_begins() -> None:
    """Account `other` is heard of only when the first one trades already."""
    other = AccountId("paper:other")
    bench = Bench(
        accounts={ACCOUNT: (BTC, ETH), other: (BTC, ETH)},
        gateways={ACCOUNT: GATEWAY, other: GATEWAY + 100},
    ).ready()
    mine = bench.resting()
    for _ in range(2):
        bench.report(foreign(3, mine.client_order_id, account=other), S.NEW)
    assert epochs(bench) == [(1, 0), (2, 1)]


@pytest.mark.failure("OR-04", "ST-04")
def test_fold_when_the_mark_knows_a_higher_epoch_then_this_one_is_above_it(bench: Bench) -> None:
    """Behind an accepted loss the records do not say what was used."""
    again = Bench(records=bench.records)
    again.fold(rows={"lost": "rows 9 to 20: they are not there", "epoch": 6})
    assert epochs(again) == [(1, 0), (7, 0)]
