"""What only a human may end: a doubt past its alarm, an order that is missing, a fact that is poison."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import ACCOUNT, BTC, CONFIG, ETH, FACE, GATEWAY, TRADER, TREND, USDT
from tradefan.config.schema import AccountConfig
from tradefan.messages.account import AccountState
from tradefan.messages.control import ActorState, Started
from tradefan.messages.gateway import CancelOrder, CreateOrder, Look
from tradefan.messages.orders import (
    Answer,
    CancelParent,
    Doubt,
    OrderStatus,
    ParentUpdate,
    Phase,
    Refusal,
    ResolveOrder,
    ResumeTrading,
)
from tradefan.messages.records import Difference, Fill, PoisonResolved, Resolved
from tradefan.units import SECOND, ParentId, TradeId

D = Decimal
S = OrderStatus


@pytest.fixture
def bench() -> Bench:
    return Bench().ready()


def resolve(bench: Bench, subject: str, verdict: Any, req: int | None = 3) -> None:
    bench.tell(ResolveOrder(subject, verdict, "asked the venue", "me", req=req))


def blind_looks(bench: Bench, seconds: int) -> None:
    """Let time pass with a market, and looks that find out nothing."""
    for _ in range(seconds):
        bench.advance(SECOND)
        bench.market()
        for look in bench.take(GATEWAY, Look):
            bench.done(look, complete=False)


def stuck(bench: Bench) -> CreateOrder:
    """Return an order whose doubt nobody could end before its alarm."""
    create = bench.doubtful(algo="limit", limit_price=D(99))
    blind_looks(bench, 61)
    assert "doubt_alarm" in bench.alarms
    return create


# --- the alarm --------------------------------------------------------------------------------------------


@pytest.mark.failure("OR-11")
@pytest.mark.parametrize(
    ("bounds", "alarm_s"),
    [({}, 60), ({"accept_bound": 30 * SECOND, "visible_bound": 10 * SECOND}, 73)],
    ids=["a minute", "R4 and 30 s"],
)
def test_doubt_when_it_lasts_then_alarm_and_hold_come_at_its_bound(
    bounds: dict[str, int], alarm_s: int
) -> None:
    """`doubt_alarm` = max(60 s, R4 earliest + 30 s): SEV1 and HOLD of the instrument, others go on."""
    slow = AccountConfig(**bounds)  # type: ignore[arg-type]
    bench = Bench(config=msgspec.structs.replace(CONFIG, accounts={ACCOUNT: slow})).ready()
    create = bench.doubtful(algo="limit", limit_price=D(99))
    blind_looks(bench, alarm_s - 6)
    assert bench.alarms == []
    blind_looks(bench, 7)
    assert bench.alarms == ["doubt_alarm"]
    assert bench.moods(BTC, "hold") == ["CANCEL_ONLY"]
    assert create.client_order_id in bench.oms.view().holds[BTC]
    bench.submit(1)
    assert bench.one(TRADER, Refusal).code == "MODE_CANCEL_ONLY"
    bench.submit(6, instrument=ETH)
    assert len(bench.take(GATEWAY, CreateOrder)) == 1
    bench.check()


def test_doubt_when_its_evidence_comes_after_the_alarm_then_the_hold_ends_at_once(bench: Bench) -> None:
    """What was in question is known: no human, no clear time."""
    create = stuck(bench)
    bench.report(create, S.NEW, source="look")
    assert bench.moods(BTC, "hold") == ["CANCEL_ONLY", "NORMAL"]
    assert bench.oms.view().holds == {}


def test_doubt_when_it_ended_and_another_began_then_the_alarm_counts_from_the_newer_one(bench: Bench) -> None:
    """The alarm of the first says nothing about the second."""
    create = bench.doubtful(algo="limit", limit_price=D(99))
    bench.report(create, S.NEW)
    blind_looks(bench, 30)
    bench.tell(CancelParent(TREND, create.parent_id))
    bench.doubt(create, Doubt.CANCEL)
    blind_looks(bench, 59)
    assert bench.alarms == []
    blind_looks(bench, 1)
    assert bench.alarms == ["doubt_alarm"]


@pytest.mark.parametrize("jump", [0, 30, -30, -3600])
@pytest.mark.parametrize("kind", [Doubt.CREATE, Doubt.CANCEL])
def test_doubt_when_older_than_a_restart_then_its_alarm_comes_again(
    bench: Bench, kind: Doubt, jump: int
) -> None:
    """The alarm of a doubt that was in the journal counts from the start, whatever the clock was then."""
    create = bench.resting() if kind is Doubt.CANCEL else bench.limit()
    if kind is Doubt.CANCEL:
        bench.tell(CancelParent(TREND, create.parent_id))
    bench.doubt(create, kind)
    again = Bench(records=bench.records, now_ns=bench.now_ns + jump * SECOND)
    again.fold()
    blind_looks(again, 59)
    assert again.alarms == []
    blind_looks(again, 2)
    assert again.alarms == ["doubt_alarm"]


@pytest.mark.failure("OR-11")
@pytest.mark.parametrize("restart", [0, 1])
def test_hold_when_older_than_a_restart_then_it_stays_until_its_doubt_ends(
    bench: Bench, restart: int
) -> None:
    """A start is no evidence: nothing new is risked in between, and the alarm comes again all the same."""
    create = bench.resting(1)
    bench.tell(CancelParent(TREND, create.parent_id))
    bench.doubt(create, Doubt.CANCEL)
    blind_looks(bench, 61)
    assert bench.moods(BTC, "hold") == ["CANCEL_ONLY"]
    again = Bench(records=bench.records, now_ns=bench.now_ns)
    again.fold(restart=restart)
    again.tell(AccountState(ACCOUNT, True, ""), ActorState("risk_desk", "READY"))
    again.market()
    again.look(create)
    again.submit(1)
    assert again.take(GATEWAY, CreateOrder) == []
    blind_looks(again, 61)
    assert "doubt_alarm" in again.alarms
    again.report(create, S.CANCELED)
    assert again.moods(BTC, "hold")[-1] == "NORMAL"
    again.check()


# --- orders -----------------------------------------------------------------------------------------------


def test_resolve_when_a_human_says_not_placed_then_it_never_was(bench: Bench) -> None:
    """RESOLVED with the human as evidence; reservation, doubt and hold go; the answer waits for the disk."""
    create = stuck(bench)
    bench.auto_durable = False
    resolve(bench, create.client_order_id, "NOT_PLACED")
    (record,) = bench.made(Resolved)
    assert (record.verdict, record.evidence) == ("NOT_PLACED", "human: asked the venue")
    assert bench.take(FACE, Answer) == []
    bench.durable()
    assert bench.one(FACE, Answer) == Answer(3, ())
    assert bench.trading.exposure.reserved[ACCOUNT][USDT] == D(0)
    assert bench.moods(BTC, "hold") == ["CANCEL_ONLY", "NORMAL"]
    assert bench.trading.parents[ParentId(create.parent_id)].phase is Phase.DONE
    bench.check()


def test_resolve_when_a_human_says_placed_then_it_works_on(bench: Bench) -> None:
    """His word is the venue's: acknowledged, no doubt, and asked by id at the next look."""
    create = stuck(bench)
    resolve(bench, create.client_order_id, "PLACED")
    order = bench.trading.orders[create.client_order_id]
    assert (order.status, order.in_doubt, order.acknowledged) == (S.NEW, None, True)
    assert bench.moods(BTC, "hold") == ["CANCEL_ONLY", "NORMAL"]
    bench.advance(11 * SECOND)
    assert (BTC, create.client_order_id) in bench.take(GATEWAY, Look)[-1].orders
    bench.fill(create, 1)
    assert bench.take(TRADER, ParentUpdate)[-1].status is S.FILLED
    bench.check()


@pytest.mark.failure("OR-09")
def test_resolve_when_a_human_says_that_a_cancel_failed_then_its_doubt_ends_and_it_is_repeated(
    bench: Bench,
) -> None:
    """It rests, says the human: the wish to end it stays and is repeated; a later doubt is alarmed again."""
    create = bench.resting(2)
    bench.tell(CancelParent(TREND, create.parent_id))
    bench.doubt(create, Doubt.CANCEL)
    blind_looks(bench, 61)
    assert bench.alarms == ["doubt_alarm"]
    bench.take(GATEWAY, CancelOrder)
    resolve(bench, create.client_order_id, "PLACED")
    order = bench.trading.orders[create.client_order_id]
    assert bench.one(FACE, Answer) == Answer(3, ())
    assert (order.status, order.in_doubt, order.leaves_qty) == (S.NEW, None, D(2))
    assert bench.moods(BTC, "hold") == ["CANCEL_ONLY", "NORMAL"]
    blind_looks(bench, 10)
    assert [one.client_order_id for one in bench.take(GATEWAY, CancelOrder)] == [create.client_order_id]
    bench.doubt(create, Doubt.CANCEL)
    blind_looks(bench, 61)
    assert bench.alarms == ["doubt_alarm", "doubt_alarm"]
    bench.check()


@pytest.mark.failure("OR-11")
def test_resolve_when_the_human_was_wrong_then_the_venue_is_believed(bench: Bench) -> None:
    """R5 holds against a human's NOT_PLACED, too."""
    create = stuck(bench)
    resolve(bench, create.client_order_id, "NOT_PLACED")
    bench.report(create, S.NEW, source="look")
    assert [one.verdict for one in bench.made(Resolved)] == ["NOT_PLACED", "PLACED"]
    assert "order_adopted" in bench.alarms
    assert bench.trading.orders_live == {create.client_order_id: None}
    bench.check()


@pytest.mark.failure("ST-09")
def test_resolve_when_a_known_order_is_missing_then_a_human_may_end_it(bench: Bench) -> None:
    """The venue knew it and does not now: only a human says that it is gone; DIFF ends with it."""
    create = bench.resting()
    bench.fill(create, "0.3")
    for _ in range(40):
        bench.advance(SECOND)
        for look in bench.take(GATEWAY, Look):
            bench.done(look)
    assert create.client_order_id in bench.trading.differences
    resolve(bench, create.client_order_id, "NOT_PLACED")
    order = bench.trading.orders[create.client_order_id]
    assert (order.status, order.cum_qty, order.live) == (S.CANCELED, D("0.3"), False)
    assert bench.trading.differences == {}
    assert bench.moods(BTC, "hold") == ["CANCEL_ONLY", "NORMAL"]
    bench.check()


@pytest.mark.failure("OR-07")
@pytest.mark.parametrize("who", ["human", "venue"])
def test_ended_order_when_a_late_look_shows_it_open_then_it_is_adopted_and_cancelled(
    bench: Bench, who: str
) -> None:
    """R5 for what had ended: a human's NOT_PLACED or the venue's CANCELED was wrong; it is ours again."""
    create = bench.resting(2)
    if who == "human":
        blind_for(bench)
        resolve(bench, create.client_order_id, "NOT_PLACED")
    else:
        bench.report(create, S.CANCELED)
    order = bench.trading.orders[create.client_order_id]
    assert (order.status, bench.trading.exposure.reserved[ACCOUNT][USDT]) == (S.CANCELED, D(0))
    ended_ns = bench.now_ns
    while not bench.made(Resolved):
        bench.market()
        bench.look(create)
        assert bench.now_ns < ended_ns + 20 * SECOND
    assert bench.now_ns >= ended_ns + bench.config.accounts[ACCOUNT].visible_bound
    assert [one.verdict for one in bench.made(Resolved)] == ["PLACED"]
    assert bench.alarms[-1] == "order_adopted"
    assert (order.status, order.leaves_qty) == (S.PENDING_CANCEL, D(2))
    assert list(bench.trading.orders_live) == [create.client_order_id]
    assert bench.trading.exposure.reserved[ACCOUNT][USDT] > 198
    assert bench.one(GATEWAY, CancelOrder).client_order_id == create.client_order_id
    bench.report(create, S.CANCELED)
    assert (bench.trading.orders_live, bench.trading.exposure.reserved[ACCOUNT][USDT]) == ({}, D(0))
    bench.check()


def test_ended_order_when_an_early_or_incomplete_look_shows_it_open_then_nothing_is_concluded() -> None:
    """Until `visible_bound` has passed a look may be older than the end, and a report always may."""
    slow = AccountConfig(visible_bound=20 * SECOND)
    bench = Bench(config=msgspec.structs.replace(CONFIG, accounts={ACCOUNT: slow})).ready()
    create = bench.resting(2)
    bench.report(create, S.CANCELED)
    ended_ns, late = bench.now_ns, False
    while bench.now_ns < ended_ns + 60 * SECOND:
        bench.look(create, complete=not late)
        late = bench.now_ns >= ended_ns + 12 * SECOND
    bench.report(create, S.NEW)
    assert bench.made(Resolved) == []
    bench.look(create)
    assert [one.verdict for one in bench.made(Resolved)] == ["PLACED"]
    bench.check()


def test_ended_order_when_the_look_that_lists_it_open_also_tells_its_end_then_it_has_ended(
    bench: Bench,
) -> None:
    """Asked by id its end is shown: that is the younger answer of the look."""
    create = bench.resting(2)
    bench.report(create, S.CANCELED)
    bench.advance(30 * SECOND)
    look = bench.take(GATEWAY, Look)[-1]
    bench.report(create, S.NEW, source="look")
    bench.report(create, S.CANCELED, source="look")
    bench.done(look)
    assert bench.made(Resolved) == []


def test_ended_order_when_of_an_earlier_life_then_the_bound_counts_from_this_start(bench: Bench) -> None:
    """The wall clock may have jumped since its end was noted."""
    create = bench.resting(2)
    bench.report(create, S.CANCELED)
    again = Bench(records=bench.records, now_ns=bench.now_ns + 60 * SECOND)
    again.fold()
    again.tell(AccountState(ACCOUNT, True, ""))
    again.look(create)
    assert again.made(Resolved) == []
    while not again.made(Resolved):
        again.look(create)
        assert again.now_ns < bench.now_ns + 80 * SECOND
    assert again.now_ns >= bench.now_ns + 60 * SECOND + again.config.accounts[ACCOUNT].visible_bound
    again.check()


def blind_for(bench: Bench) -> None:
    """Let looks miss every order until an instrument is held for one."""
    while not bench.made(Difference):
        bench.advance(SECOND)
        for look in bench.take(GATEWAY, Look):
            bench.done(look)


def test_resolve_when_nothing_is_in_question_then_it_is_refused(bench: Bench) -> None:
    """An order that works, one that ended, and one that nobody knows are none of his business."""
    works, ended = bench.resting(), bench.resting()
    bench.report(ended, S.CANCELED)
    for name in (works.client_order_id, ended.client_order_id, "x"):
        resolve(bench, name, "NOT_PLACED")
        refusal = bench.one(FACE, Refusal)
        assert (refusal.code, refusal.req) == ("NOT_IN_DOUBT", 3)
    early = Bench()
    early.tell(Started(0))
    resolve(early, "x", "PLACED")
    assert early.one(FACE, Refusal).code == "NOT_READY"


# --- poison -----------------------------------------------------------------------------------------------


def poisoned(bench: Bench) -> tuple[Bench, CreateOrder, str]:
    """Return an OMS whose predecessor was killed by a fill of 1."""
    create = bench.resting()
    key = f"fill {ACCOUNT} {BTC} 666"
    again = Bench(records=bench.records)
    again.fold(poison=key, poison_text="boom")
    again.tell(AccountState(ACCOUNT, True, ""), ActorState("risk_desk", "READY"))
    again.market()
    again.look(create)
    return again, create, key


@pytest.mark.failure("ST-12")
def test_poison_when_a_human_says_retry_then_the_fact_counts_when_it_comes_again(bench: Bench) -> None:
    """A look at once brings it, because no cursor has passed it; the instrument goes on."""
    again, create, key = poisoned(bench)
    again.fill(create, 1, "666")
    assert again.made(Fill) == []
    resolve(again, key, "RETRY")
    assert again.one(FACE, Answer).req == 3
    assert again.moods(BTC, "poison") == ["CANCEL_ONLY", "NORMAL"]
    again.advance(0)
    (look,) = again.take(GATEWAY, Look)
    assert look.cursors[0] == (BTC, TradeId("0"))
    again.fill(create, 1, "666", source="look")
    again.done(look)
    assert len(again.made(Fill)) == 1
    again.check()


@pytest.mark.failure("ST-12")
def test_poisoned_bust_when_a_human_says_retry_then_it_is_refused_and_stays(bench: Bench) -> None:
    """A bust is told once and asked for by nobody: taken out, it would be lost in silence."""
    create = bench.resting(2, 99)
    bench.fill(create, 2, "7")
    key = f"bust {ACCOUNT} {BTC} 7"
    again = Bench(records=bench.records, now_ns=bench.now_ns)
    again.fold(restart=1, poison=key, poison_text="boom")
    resolve(again, key, "RETRY")
    refusal = again.one(FACE, Refusal)
    assert (refusal.code, refusal.req) == ("NOT_TOLD_AGAIN", 3)
    assert "told once, and no look asks for it: expected DROP" in refusal.text
    assert key in again.trading.poisons
    resolve(again, key, "DROP")
    assert key not in again.trading.poisons


@pytest.mark.failure("ST-12")
def test_poison_when_a_human_says_drop_then_the_fact_never_counts(bench: Bench) -> None:
    """Not now, and not after another restart."""
    again, create, key = poisoned(bench)
    resolve(again, key, "DROP")
    assert again.moods(BTC, "poison") == ["CANCEL_ONLY", "NORMAL"]
    third = Bench(records=again.records).ready()
    third.fill(create, 1, "666", source="look")
    assert third.made(Fill) == []
    assert third.oms.view().counters.skipped == 1
    assert third.made(PoisonResolved) == [PoisonResolved(again.now_ns, key, "DROP", "asked the venue", "me")]
    third.check()


@pytest.mark.failure("ST-12")
def test_poison_when_time_passes_then_only_a_human_ends_it(bench: Bench) -> None:
    """Neither looks nor RESUME let it go."""
    again, create, key = poisoned(bench)
    for _ in range(20):
        again.look(create)
    again.tell(ResumeTrading(BTC, "try", "me", req=9))
    assert again.one(FACE, Refusal).code == "NOTHING_TO_RESUME"
    assert again.moods(BTC, "poison") == ["CANCEL_ONLY"]
    resolve(again, key.replace("666", "667"), "DROP")
    refusal = again.one(FACE, Refusal)
    assert (refusal.code, key in refusal.text) == ("UNKNOWN_FACT", True)


def silenced(bench: Bench, create: CreateOrder, status: OrderStatus) -> Bench:
    """Return an OMS whose predecessor was killed by a report of this order, which a human has dropped."""
    key = f"report {ACCOUNT} {create.client_order_id} {status} 0"
    again = Bench(records=bench.records)
    again.fold(restart=1, poison=key, poison_text="boom")
    again.tell(AccountState(ACCOUNT, True, ""), ActorState("risk_desk", "READY"))
    again.market()
    again.report(create, status)
    assert again.trading.orders[create.client_order_id].live
    resolve(again, key, "DROP")
    assert again.moods(BTC, "poison") == ["CANCEL_ONLY", "NORMAL"]
    return again


@pytest.mark.failure("ST-12")
def test_poisoned_report_when_dropped_then_the_next_equal_one_ends_the_doubt(bench: Bench) -> None:
    """The venue says the same at each look as long as it is so: who is deaf to it doubts for ever."""
    create = bench.doubtful(algo="limit", limit_price=D(99))
    again = silenced(bench, create, S.NEW)
    again.look(create)
    order = again.trading.orders[create.client_order_id]
    assert (order.status, order.in_doubt) == (S.NEW, None)
    again.check()


@pytest.mark.failure("ST-12")
def test_poisoned_end_when_dropped_then_the_next_equal_one_ends_the_order(bench: Bench) -> None:
    """No other word would ever end it, and no human could: it is not in doubt."""
    create = bench.resting()
    again = silenced(bench, create, S.CANCELED)
    again.report(create, S.CANCELED, source="look")
    assert not again.trading.orders[create.client_order_id].live
    again.check()


@pytest.mark.failure("ST-12")
def test_poisoned_end_when_it_kills_again_then_a_human_ends_the_order(bench: Bench) -> None:
    """The word that would end it cannot be taken: a human's takes its place, and the poison can go."""
    create = bench.resting()
    key = f"report {ACCOUNT} {create.client_order_id} {S.CANCELED} 0"
    again = Bench(records=silenced(bench, create, S.CANCELED).records)
    again.fold(restart=1, poison=key, poison_text="boom")
    again.report(create, S.CANCELED, source="look")
    assert again.trading.orders[create.client_order_id].live
    resolve(again, create.client_order_id, "NOT_PLACED")
    resolve(again, key, "DROP")
    assert [answer.req for answer in again.take(FACE, Answer)] == [3, 3]
    assert again.trading.orders[create.client_order_id].status is S.CANCELED
    assert not again.trading.poisons
    again.check()
