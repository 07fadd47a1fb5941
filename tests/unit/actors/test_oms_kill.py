"""Kill: close first, persist, acknowledge, cancel own orders until two empty looks; it survives a restart."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import (
    ACCOUNT,
    API,
    BTC,
    ETH,
    FACE,
    GATEWAY,
    JOURNAL,
    RIM,
    TRADER,
    TREND,
    foreign,
)
from tradefan.config.schema import AccountConfig
from tradefan.messages.account import AccountState
from tradefan.messages.control import (
    Append,
    CloseLatch,
    JournalFailed,
    KillAnswer,
    KillByte,
    KillSwitch,
    Started,
)
from tradefan.messages.gateway import CancelOrder, CreateOrder, Look
from tradefan.messages.orders import OrderStatus, ParentUpdate, Phase, Refusal, ResumeTrading
from tradefan.messages.records import Kill, NotSent, Record
from tradefan.runtime.mailbox import Limits, Mailbox
from tradefan.units import MS, SECOND, ClientOrderId, OwnerId, ParentId

D = Decimal
S = OrderStatus


@pytest.fixture
def bench() -> Bench:
    return Bench().ready()


def cancelled(bench: Bench) -> list[ClientOrderId]:
    """Return the orders whose cancels have left, and forget them."""
    return [one.client_order_id for one in bench.take(GATEWAY, CancelOrder)]


# --- close, persist, acknowledge --------------------------------------------------------------------


def test_kill_when_it_comes_then_the_latch_is_closed_before_anything_else(bench: Bench) -> None:
    """CloseLatch is the first effect of the turn, the byte the second, then cancels; KILL is appended."""
    bench.resting()
    bench.resting(6, 9, instrument=ETH)
    bench.sent.clear()
    bench.oms.handle(KillSwitch("all", "panic", "me", req=4), bench)
    effects = [type(msg) for ref, msg in bench.sent if ref in (RIM, JOURNAL, GATEWAY)]
    assert effects == [CloseLatch, KillByte, CancelOrder, CancelOrder, Append]
    assert bench.sent[0] == (RIM, CloseLatch("all", "panic"))
    assert bench.take(JOURNAL, KillByte)[0].value == 2
    append = bench.one(JOURNAL, Append)
    assert append.records[0] == Kill(bench.now_ns, "all", "panic", "me")
    assert bench.alarms == ["kill"]


def test_kill_when_the_byte_is_on_the_disk_then_it_is_acknowledged_although_the_journal_waits(
    bench: Bench,
) -> None:
    """Either proves that it lasts; the answer comes once."""
    bench.auto_durable = False
    bench.kill(req=4)
    assert bench.take(FACE, KillAnswer) == []
    assert bench.byte() == 2
    assert bench.one(FACE, KillAnswer) == KillAnswer(4, "all", closed=True, persisted=True)
    bench.durable()
    bench.advance(5 * SECOND)
    assert bench.take(FACE, KillAnswer) == []
    assert bench.take(JOURNAL, KillByte) == []


def test_kill_when_the_record_is_durable_then_it_is_acknowledged_although_the_byte_waits(
    bench: Bench,
) -> None:
    """The journal proves it as well."""
    bench.kill(req=4)
    assert bench.one(FACE, KillAnswer) == KillAnswer(4, "all", closed=True, persisted=True)


def test_kill_when_neither_lasts_in_time_then_it_is_acknowledged_unpersisted_and_tried_again(
    bench: Bench,
) -> None:
    """After 200 ms `persisted: false` and an alarm; the byte is tried again each second until it is there."""
    bench.auto_durable = False
    bench.kill(req=4)
    bench.take(JOURNAL, KillByte)
    bench.advance(200 * MS - 1)
    assert bench.take(FACE, KillAnswer) == []
    bench.advance(1)
    assert bench.one(FACE, KillAnswer) == KillAnswer(4, "all", closed=True, persisted=False)
    assert "kill_not_persisted" in bench.alarms
    assert bench.byte("EIO") == 2
    assert "kill_byte_failed" in bench.alarms
    for _ in range(3):
        bench.advance(SECOND)
        assert bench.byte("EIO") == 2
    bench.advance(SECOND)
    bench.byte()
    bench.advance(10 * SECOND)
    assert bench.take(JOURNAL, KillByte) == []
    assert bench.take(FACE, KillAnswer) == []


def test_kill_when_acknowledged_then_no_create_leaves(bench: Bench) -> None:
    """Creates that wait are dropped, parents end, and new wishes are refused by the latch."""
    bench.auto_durable = False
    bench.submit(1)
    bench.kill(req=4)
    bench.byte()
    assert bench.one(FACE, KillAnswer).persisted
    bench.durable()
    bench.advance(5 * SECOND)
    bench.submit(1)
    bench.submit(1, side="sell")
    assert bench.take(GATEWAY, CreateOrder) == []
    assert [one.reason for one in bench.made(NotSent)] == ["LOCAL_EXPIRED"]
    assert [one.code for one in bench.take(TRADER, Refusal)] == ["RISK_LATCHED"] * 2
    parent = bench.take(TRADER, ParentUpdate)[-1]
    assert (parent.phase, parent.status, parent.reason) == (Phase.DONE, S.CANCELED, "kill")
    assert bench.oms.view().mode.mode == "KILLED"
    bench.check()


def test_kill_when_nobody_waits_for_an_answer_then_none_is_sent(bench: Bench) -> None:
    """A signal has no request number; all else is the same."""
    bench.kill()
    bench.byte()
    bench.advance(SECOND)
    assert bench.take(FACE, KillAnswer) == []
    assert list(bench.trading.kills) == ["all"]


def test_kill_when_asked_again_then_each_asker_hears_and_a_wider_one_counts(bench: Bench) -> None:
    """Every request number is answered once; KILL is written again only where it says more."""
    bench.report(foreign(), S.NEW)
    bench.auto_durable = False
    bench.kill(req=4)
    bench.kill(req=5)
    assert bench.one(FACE, KillAnswer) == KillAnswer(4, "all", closed=True, persisted=False)
    bench.byte()
    assert bench.one(FACE, KillAnswer) == KillAnswer(5, "all", closed=True, persisted=True)
    assert len(bench.made(Kill)) == 1
    assert cancelled(bench) == []
    bench.kill(req=6, including_external=True)
    assert cancelled(bench) == ["web_123"]
    assert [one.including_external for one in bench.made(Kill)] == [False, True]
    bench.kill(req=7)
    assert len(bench.made(Kill)) == 2


def test_kill_when_two_of_a_scope_wait_then_neither_takes_flags_or_answer_of_the_other() -> None:
    """A signal behind a request, or two requests, before the turn of the order manager."""
    asked = KillSwitch("all", "panic", "me", including_external=True, req=4)
    again = KillSwitch("all", "me too", "you", req=5)
    mail = Mailbox(Limits(9, 9, 9, 9))
    for msg in (asked, again, KillSwitch("all", "SIGUSR2", "signal"), KillSwitch("all", "SIGUSR2", "signal")):
        mail.put(msg)
    assert list(mail.control.values()) == [asked, again, KillSwitch("all", "SIGUSR2", "signal")]


# --- a second scope -----------------------------------------------------------------------------------


def after_crash(durable: list[Record], byte: int) -> list[str]:
    """Return what a start finds killed by what was on the disk."""
    again = Bench(records=durable)
    again.fold({"killed": byte})
    return list(again.trading.kills)


def test_kill_when_another_scope_is_killed_then_the_byte_some_does_not_prove_the_second(
    bench: Bench,
) -> None:
    """SOME says only that the journal names scopes; where it may lack this one, all of it must be closed."""
    bench.kill(BTC)
    durable, byte = list(bench.records), bench.byte()
    bench.auto_durable = False
    bench.kill(ACCOUNT, req=9)
    assert bench.byte() == byte == 1
    assert bench.take(FACE, KillAnswer) == []
    bench.advance(200 * MS)
    assert bench.one(FACE, KillAnswer) == KillAnswer(9, ACCOUNT, closed=True, persisted=False)
    bench.kill(ACCOUNT, req=10)
    assert bench.byte() == 2
    assert bench.one(FACE, KillAnswer) == KillAnswer(10, ACCOUNT, closed=True, persisted=True)
    assert after_crash(durable, 2) == [BTC, "all"]


def test_kill_when_the_journal_fails_then_the_byte_closes_everything_at_once_for_a_second_scope(
    bench: Bench,
) -> None:
    """It lasts although the database fails; what the journal has in the end is not more than that."""
    bench.kill(BTC)
    bench.byte()
    durable = list(bench.records)
    bench.auto_durable = False
    bench.tell(JournalFailed("database or disk is full"))
    bench.kill(ACCOUNT, req=9)
    assert bench.byte() == 2
    assert bench.one(FACE, KillAnswer) == KillAnswer(9, ACCOUNT, closed=True, persisted=True)
    assert after_crash(durable, 2) == [BTC, "all"]
    bench.advance(2 * SECOND, answering=True)
    bench.advance(2 * SECOND, answering=True)
    bench.durable()
    assert bench.byte() == 1
    assert after_crash(bench.records, 1) == [BTC, ACCOUNT]
    assert list(bench.trading.kills) == [BTC, ACCOUNT]


def test_kill_when_a_resume_is_not_durable_then_its_scope_still_counts_for_what_the_byte_says(
    bench: Bench,
) -> None:
    """The journal of a crash may hold the kill that was resumed, and SOME would mean that one."""
    bench.kill(BTC)
    bench.byte()
    durable = list(bench.records)
    bench.auto_durable = False
    bench.tell(ResumeTrading(BTC, "seen", "me", OwnerId("cli"), 8))
    bench.kill(ACCOUNT, req=9)
    byte = bench.byte()
    assert bench.take(FACE, KillAnswer) == []
    assert (byte, after_crash(durable, byte)) == (1, [BTC])
    bench.durable()
    assert bench.one(FACE, KillAnswer) == KillAnswer(9, ACCOUNT, closed=True, persisted=True)


# --- before the fold --------------------------------------------------------------------------------


def test_kill_when_a_scope_is_killed_before_the_fold_then_the_byte_of_an_earlier_life_stays(
    bench: Bench,
) -> None:
    """Nobody knows yet what the journal explains: SOME would open what an unjournaled kill had closed."""
    bench.kill(BTC)
    again = Bench(records=bench.records)
    again.auto_durable = False
    again.tell(Started(0))
    again.kill(ACCOUNT, req=4)
    assert again.one(RIM, CloseLatch).scope == ACCOUNT
    again.advance(200 * MS)
    assert again.one(FACE, KillAnswer) == KillAnswer(4, ACCOUNT, closed=True, persisted=False)
    assert again.take(JOURNAL, KillByte) == []
    again.fold(rows={"killed": 2})
    assert list(again.trading.kills) == [BTC, "all", ACCOUNT]
    again.durable()
    again.check()


def test_kill_when_the_journal_is_still_read_then_latch_and_byte_do_not_wait(bench: Bench) -> None:
    """An OMS that folds can be killed: acknowledged by the byte; KILL, drops and cancels follow the fold."""
    create = bench.resting()
    again = Bench(records=bench.records)
    again.tell(Started(0))
    again.kill(req=4)
    assert again.one(RIM, CloseLatch).scope == "all"
    assert again.byte() == 2
    assert again.one(FACE, KillAnswer) == KillAnswer(4, "all", closed=True, persisted=True)
    assert again.made(Kill) == []
    again.fold(rows={"killed": 2})
    (kill,) = again.made(Kill)
    assert (kill.scope, kill.reason, kill.principal) == ("all", "test", "me")
    assert cancelled(again) == [create.client_order_id]
    assert again.take(FACE, KillAnswer) == []
    again.check()


def test_kill_when_the_fold_takes_long_and_no_byte_comes_then_it_is_answered_all_the_same(
    bench: Bench,
) -> None:
    """200 ms hold before the fold, too; the byte is tried again."""
    bench = Bench()
    bench.tell(Started(0))
    bench.kill(req=4)
    bench.take(JOURNAL, KillByte)
    bench.advance(200 * MS)
    assert bench.one(FACE, KillAnswer) == KillAnswer(4, "all", closed=True, persisted=False)
    assert len(bench.take(JOURNAL, KillByte)) == 1


# --- verified by looks ------------------------------------------------------------------------------


def verified(bench: Bench) -> bool:
    return "kill_verified" in bench.logs


def test_kill_when_orders_are_cancelled_then_two_empty_looks_end_it(bench: Bench) -> None:
    """Cancels are repeated until terminal; looks that still find something begin the count anew."""
    create = bench.resting()
    bench.kill()
    bench.byte()
    assert cancelled(bench) == [create.client_order_id]
    bench.advance(SECOND)
    assert set(cancelled(bench)) == {create.client_order_id}
    bench.look(create)
    bench.look(create)
    assert not verified(bench)
    bench.report(create, S.CANCELED)
    bench.look()
    assert not verified(bench)
    bench.look()
    assert verified(bench)
    assert bench.oms.state.live.killing == {}
    assert list(bench.trading.kills) == ["all"]
    bench.check()


@pytest.mark.failure("OR-15")
def test_kill_when_an_order_will_not_go_then_looks_become_rarer_until_it_does(bench: Bench) -> None:
    """One look each 10 s, as R3 asks; behind the first empty one the second comes after a second."""
    create = bench.resting()
    bench.kill()
    bench.byte()
    for seconds, most in ((10, 8), (60, 8), (60, 8)):
        began, until_ns = bench.oms.view().counters.looks, bench.now_ns + seconds * SECOND
        while bench.now_ns < until_ns:
            bench.look(create)
        assert bench.oms.view().counters.looks - began <= most
    bench.report(create, S.CANCELED)
    bench.look()
    empty_ns = bench.now_ns
    bench.look()
    assert (verified(bench), bench.now_ns - empty_ns) == (True, SECOND)


def test_kill_when_looks_fail_then_they_prove_nothing(bench: Bench) -> None:
    """Only complete looks count."""
    bench.kill()
    bench.byte()
    for _ in range(4):
        bench.look(complete=False)
    assert not verified(bench)
    bench.look()
    bench.look()
    assert verified(bench)


def test_kill_when_it_lasts_only_behind_its_empty_looks_then_it_is_verified_all_the_same(
    bench: Bench,
) -> None:
    """What comes last ends it: looks are not asked for any more, nobody else would."""
    bench.auto_durable = False
    bench.kill()
    bench.byte("EIO")
    bench.look()
    bench.look()
    assert not verified(bench)
    bench.durable()
    assert verified(bench)
    assert bench.oms.state.live.killing == {}


def test_kill_when_an_order_is_in_doubt_then_it_is_not_verified_before_evidence(bench: Bench) -> None:
    """Nobody knows whether it rests: it is cancelled by its id, and counts as left."""
    create = bench.doubtful(algo="limit", limit_price=D(99))
    bench.kill()
    bench.byte()
    assert cancelled(bench) == [create.client_order_id]
    bench.look()
    bench.look()
    assert not verified(bench)
    while bench.trading.orders[create.client_order_id].live:
        bench.look(missing=(create.client_order_id,))
    bench.look()
    bench.look()
    assert verified(bench)
    bench.check()


# --- scopes and flags -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "goes"),
    [
        ("all", "abc"),
        (ACCOUNT, "abc"),
        ("paper", "abc"),
        ("binance", "abc"),
        (BTC, "ab"),
        (ETH, "c"),
        (TREND, "ac"),
        (API, "b"),
        ("other", ""),
    ],
)
def test_kill_when_of_a_scope_then_only_that_scope_is_killed(bench: Bench, scope: str, goes: str) -> None:
    """Orders in scope are cancelled and new ones refused; all else goes on."""
    rests = {
        "a": bench.resting(),
        "b": bench.resting(owner=API),
        "c": bench.resting(6, 9, instrument=ETH),
    }
    bench.kill(scope)
    assert bench.one(RIM, CloseLatch).scope == scope
    assert bench.byte() == (2 if scope == "all" else 1)
    gone = cancelled(bench)
    assert [name for name, one in rests.items() if one.client_order_id in gone] == list(goes)
    bench.submit(1)
    bench.submit(1, owner=API)
    bench.submit(6, instrument=ETH)
    passed = [(one.owner, one.instrument) for one in bench.take(GATEWAY, CreateOrder)]
    wanted = {"a": (TREND, BTC), "b": (API, BTC), "c": (TREND, ETH)}
    assert passed == [place for name, place in wanted.items() if name not in goes]


@pytest.mark.failure("ST-08")
@pytest.mark.parametrize("protective", [True, False])
def test_kill_when_without_flags_then_protection_goes_too_and_what_is_naked_is_named(
    bench: Bench, *, protective: bool
) -> None:
    """The answer lists the positions that lose the order which protected them; foreign orders stay."""
    bench.bought(2)
    stop = bench.resting(2, 101, side="sell", protective=protective, reduce_only=True)
    bench.report(foreign(), S.NEW)
    bench.kill(req=4)
    assert cancelled(bench) == [stop.client_order_id]
    assert bench.one(FACE, KillAnswer).naked == (f"{TREND} {BTC} 2",)


def test_kill_when_protection_is_kept_then_reduce_only_orders_rest_on(bench: Bench) -> None:
    """`--keep-protection` leaves reduce-only orders resting at the venue, whoever's parent placed them."""
    bench.bought(4)
    stop = bench.resting(2, 101, side="sell", protective=True, reduce_only=True)
    taker = bench.resting(1, 102, side="sell", reduce_only=True)
    other = bench.resting(1, 98)
    bench.kill(req=4, keep_protection=True)
    assert cancelled(bench) == [other.client_order_id]
    assert bench.one(FACE, KillAnswer).naked == ()
    assert list(bench.trading.orders_live)[:2] == [stop.client_order_id, taker.client_order_id]
    bench.byte()
    bench.report(other, S.CANCELED)
    bench.look(stop, taker)
    bench.look(stop, taker)
    assert verified(bench)
    bench.fill(stop, 2)
    assert bench.trading.parents[ParentId(stop.parent_id)].status is S.FILLED
    bench.check()


@pytest.mark.failure("ST-08")
def test_kill_when_external_orders_are_included_then_they_are_cancelled_too(bench: Bench) -> None:
    """`--including-external` is a human's word for what is not ours; without it nothing of it is touched."""
    stranger = foreign()
    bench.report(stranger, S.NEW)
    bench.kill("all", including_external=True)
    bench.byte()
    assert cancelled(bench) == [stranger.client_order_id]
    assert not verified(bench)
    bench.report(stranger, S.CANCELED)
    bench.look()
    bench.look()
    assert verified(bench)


def test_kill_when_a_foreign_order_shows_only_in_its_looks_then_it_is_cancelled_too(bench: Bench) -> None:
    """What came since the last look is known only by the kill's own; behind the end nothing is touched."""
    bench.kill(including_external=True)
    bench.byte()
    late = foreign(name="web_9")
    bench.look(late)
    assert cancelled(bench) == ["web_9"]
    bench.look(late)
    assert not verified(bench)
    bench.report(late, S.CANCELED)
    bench.look()
    bench.look()
    assert verified(bench)
    cancelled(bench)
    bench.look(foreign(name="web_10"))
    assert cancelled(bench) == []
    bench.check()


def test_kill_when_a_foreign_order_hides_from_looks_then_it_is_not_verified_before_it_must_show(
    bench: Bench,
) -> None:
    """An order from before the kill may hide for `visible_bound`: two empty looks are that far apart."""
    bench.kill(including_external=True)
    bench.byte()
    bench.look()
    first_ns = bench.now_ns
    bench.tell(AccountState(ACCOUNT, False, "lost"), AccountState(ACCOUNT, True, ""))
    bench.look()
    assert bench.now_ns - first_ns < visible(bench)
    assert not verified(bench)
    bench.look()
    assert (verified(bench), bench.now_ns - first_ns) == (True, visible(bench))


def visible(bench: Bench) -> int:
    """Return after how long every look shows what happened."""
    return AccountConfig().visible_bound + SECOND


def test_kill_when_a_look_is_under_way_then_it_shows_the_time_before_and_does_not_count(
    bench: Bench,
) -> None:
    """What others placed between that look and the kill is in none of its answers."""
    bench.advance(10 * SECOND)
    look = bench.one(GATEWAY, Look)
    bench.kill()
    bench.byte()
    bench.done(look, missing=())
    bench.look()
    assert not verified(bench)
    bench.look()
    assert verified(bench)


def test_kill_when_only_own_orders_are_meant_then_foreign_ones_found_later_stay(bench: Bench) -> None:
    """Without the flag they are not counted and not touched."""
    bench.kill()
    bench.byte()
    bench.look(foreign())
    bench.look(foreign())
    assert verified(bench)
    assert cancelled(bench) == []


def test_kill_when_it_is_repeated_with_other_flags_then_each_counts_that_cancels_more(bench: Bench) -> None:
    """No later kill takes back what an earlier one forbade."""
    bench.kill(including_external=True, keep_protection=True)
    bench.kill()
    bench.kill(keep_protection=True)
    found = [(one.including_external, one.keep_protection) for one in bench.made(Kill)]
    assert found == [(True, True), (True, False)]


def test_kill_when_a_stronger_one_follows_then_the_weaker_ones_record_does_not_prove_it(bench: Bench) -> None:
    """A crash before the second record would come up with protection that was to go."""
    bench.kill(keep_protection=True, req=1)
    assert [(one.closed, one.persisted) for one in bench.take(FACE, KillAnswer)] == [(True, True)]
    bench.auto_durable = False
    bench.kill(req=2)
    assert bench.take(FACE, KillAnswer) == []
    bench.advance(SECOND)
    assert [(one.closed, one.persisted) for one in bench.take(FACE, KillAnswer)] == [(True, False)]
