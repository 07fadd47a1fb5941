"""What is killed stays killed over a restart, until a human resumes: record, byte, latch, answer."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import (
    ACCOUNT,
    BTC,
    DESK,
    ETH,
    FACE,
    GATEWAY,
    JOURNAL,
    RIM,
    TRADER,
)
from tradefan.messages.account import AccountState, SetMode
from tradefan.messages.control import (
    ActorState,
    CloseLatch,
    KillAnswer,
    KillByte,
    KillByteSet,
    OpenLatch,
    Started,
)
from tradefan.messages.gateway import CancelOrder, CreateOrder
from tradefan.messages.orders import Answer, OrderStatus, Refusal, ResumeTrading
from tradefan.messages.records import Kill, Resume
from tradefan.units import MS, SECOND, ClientOrderId

D = Decimal
S = OrderStatus


@pytest.fixture
def bench() -> Bench:
    return Bench().ready()


def cancelled(bench: Bench) -> list[ClientOrderId]:
    """Return the orders whose cancels have left, and forget them."""
    return [one.client_order_id for one in bench.take(GATEWAY, CancelOrder)]


# --- restart ----------------------------------------------------------------------------------------


def test_restart_when_the_journal_says_killed_then_the_latch_is_closed_and_the_byte_mended(
    bench: Bench,
) -> None:
    """Closed if byte or journal says so: by the record alone, flags and scope with it."""
    bench.kill(BTC, keep_protection=True)
    create = bench.resting(6, 9, instrument=ETH)
    again = Bench(records=bench.records)
    again.fold(rows={"killed": 0})
    assert again.one(RIM, CloseLatch).scope == BTC
    assert again.byte() == 1
    assert cancelled(again) == []
    again.tell(AccountState(ACCOUNT, True, ""), ActorState("risk_desk", "READY"))
    again.market()
    again.look(create)
    again.submit()
    assert again.one(TRADER, Refusal).code == "RISK_LATCHED"
    assert again.made(Kill) == bench.made(Kill)
    again.check()


@pytest.mark.parametrize(("byte", "killed"), [(2, []), (1, []), (2, [BTC])])
def test_restart_when_only_the_byte_says_killed_then_all_is_closed(
    bench: Bench, byte: int, killed: list[str]
) -> None:
    """The record was lost, or never written: whatever the byte says beyond the journal counts as `all`."""
    create = bench.resting()
    for scope in killed:
        bench.kill(scope)
    again = Bench(records=bench.records)
    again.fold(rows={"killed": byte})
    assert "all" in [one.scope for one in again.take(RIM, CloseLatch)]
    assert list(again.trading.kills) == [*killed, "all"]
    assert create.client_order_id in cancelled(again)
    again.check()


def test_restart_when_killed_then_cancels_go_on_to_two_empty_looks(bench: Bench) -> None:
    """What a killed daemon left behind is cancelled by its successor."""
    create = bench.resting()
    bench.kill()
    again = Bench(records=bench.records)
    again.fold(rows={"killed": 2})
    assert cancelled(again) == [create.client_order_id]
    again.tell(AccountState(ACCOUNT, True, ""))
    again.look(create)
    again.report(create, S.CANCELED)
    again.look()
    again.look()
    assert "kill_verified" in again.logs
    assert again.take(FACE, KillAnswer) == []


def test_start_when_the_byte_is_explained_then_only_what_the_journal_names_stays_shut(bench: Bench) -> None:
    """A start closes `all` where the byte is set, before it can read; the journal says which scope it was."""
    bench.kill(BTC)
    again = Bench(records=bench.records)
    again.fold(rows={"killed": 1})
    effects = [msg for ref, msg in again.sent if isinstance(msg, CloseLatch | OpenLatch)]
    assert effects == [CloseLatch(BTC, "test"), OpenLatch("all")]


def test_restart_when_of_the_oms_alone_then_it_opens_nothing_that_no_human_opened(bench: Bench) -> None:
    """No start has closed anything; somebody at the rim may have, and his kill still waits in the lane."""
    bench.kill(BTC)
    again = Bench(records=bench.records)
    again.fold(rows={"killed": 1}, restart=1)
    assert again.take(RIM, OpenLatch) == []


# --- resume ---------------------------------------------------------------------------------------------


def resume(bench: Bench, scope: str = "all", req: int | None = 9) -> None:
    bench.tell(ResumeTrading(scope, "looked at it", "me", req=req))


def test_resume_when_a_human_says_so_then_record_byte_latch_and_answer_follow_in_that_order(
    bench: Bench,
) -> None:
    """Nothing opens before RESUME is durable and the byte is cleared and synced."""
    bench.kill()
    bench.byte()
    bench.auto_durable = False
    resume(bench)
    assert bench.records[-1] == Resume(bench.now_ns, "all", "looked at it", "me")
    assert bench.take(JOURNAL, KillByte) == []
    bench.durable()
    assert bench.take(RIM, OpenLatch) == []
    assert bench.take(FACE, Answer) == []
    assert bench.byte() == 0
    assert bench.one(RIM, OpenLatch) == OpenLatch("all")
    assert bench.one(FACE, Answer) == Answer(9, ())
    assert bench.trading.kills == {}
    bench.submit()
    assert len(bench.take(GATEWAY, CreateOrder)) == 1
    bench.check()


def test_resume_when_the_byte_cannot_be_cleared_then_the_latch_stays_closed_and_it_is_tried_again(
    bench: Bench,
) -> None:
    """A latch that would close again at the next boot does not open now."""
    bench.kill()
    bench.byte()
    resume(bench)
    bench.byte("EIO")
    assert bench.take(RIM, OpenLatch) == []
    bench.advance(SECOND)
    assert bench.byte() == 0
    assert bench.one(RIM, OpenLatch) == OpenLatch("all")
    assert bench.one(FACE, Answer).req == 9


def test_resume_when_another_scope_is_killed_too_then_the_byte_goes_on_saying_so(bench: Bench) -> None:
    """Each scope is opened by itself; the byte says what is left."""
    bench.kill()
    bench.kill(BTC)
    bench.take(JOURNAL, KillByte)
    resume(bench)
    assert bench.byte() == 1
    assert bench.one(RIM, OpenLatch) == OpenLatch("all")
    bench.submit()
    assert bench.one(TRADER, Refusal).code == "RISK_LATCHED"
    bench.submit(6, instrument=ETH)
    assert len(bench.take(GATEWAY, CreateOrder)) == 1
    resume(bench, BTC)
    assert bench.byte() == 0
    assert bench.one(RIM, OpenLatch) == OpenLatch(BTC)


def test_resume_when_killed_again_on_the_way_then_the_latch_stays_closed(bench: Bench) -> None:
    """The kill is newer than the word that opens."""
    bench.kill()
    bench.byte()
    resume(bench)
    bench.kill()
    while bench.take(JOURNAL, KillByte):
        pass
    for serial in range(bench.ids + 1):
        bench.tell(KillByteSet(serial, 2))
    assert bench.take(RIM, OpenLatch) == []
    assert list(bench.trading.kills) == ["all"]
    bench.submit()
    assert bench.one(TRADER, Refusal).code == "RISK_LATCHED"


def test_resume_when_an_older_one_was_overtaken_by_a_kill_then_only_the_newer_one_opens(bench: Bench) -> None:
    """The byte that the older one waited for says "killed": it must not open behind the newer record."""
    bench.kill()
    bench.byte()
    resume(bench, req=8)
    bench.byte("EIO")
    bench.kill()
    bench.take(JOURNAL, KillByte)
    bench.advance(SECOND)
    tried_again = bench.take(JOURNAL, KillByte)
    assert [asked.value for asked in tried_again] in ([], [2])
    resume(bench, req=9)
    cleared = bench.one(JOURNAL, KillByte)
    for asked in tried_again:
        bench.tell(KillByteSet(asked.serial, asked.value))
    assert bench.take(RIM, OpenLatch) == []
    assert cleared.value == 0
    bench.tell(KillByteSet(cleared.serial, 0))
    assert bench.one(RIM, OpenLatch) == OpenLatch("all")
    assert 9 in [one.req for one in bench.take(FACE, Answer)]


def test_resume_when_the_kill_was_not_acknowledged_yet_then_its_asker_still_hears(bench: Bench) -> None:
    """Whoever killed is answered at the latest after 200 ms, whatever somebody else does meanwhile."""
    bench.auto_durable = False
    bench.kill(req=4)
    resume(bench)
    bench.advance(200 * MS)
    assert [one.req for one in bench.take(FACE, KillAnswer)] == [4]


def test_resume_when_the_process_dies_before_the_byte_is_cleared_then_it_comes_up_killed(
    bench: Bench,
) -> None:
    """RESUME is durable, the byte is not cleared: closed, because the byte says so."""
    bench.kill()
    bench.byte()
    resume(bench)
    again = Bench(records=bench.records)
    again.fold(rows={"killed": 2})
    assert list(again.trading.kills) == ["all"]
    assert again.one(RIM, CloseLatch).scope == "all"


def test_resume_when_the_oms_dies_on_the_way_then_its_successor_opens_the_latch(bench: Bench) -> None:
    """RESUME is durable, the byte is cleared: the latch object of the living process must not stay shut."""
    bench.kill()
    bench.byte()
    resume(bench)
    bench.take(JOURNAL, KillByte)
    again = Bench(records=bench.records)
    again.fold(rows={"killed": 0}, restart=1)
    while asked := again.take(JOURNAL, KillByte):
        again.tell(KillByteSet(asked[-1].serial, asked[-1].value))
    assert OpenLatch("all") in again.take(RIM, OpenLatch)
    again.check()


def test_resume_when_nothing_waits_for_a_human_then_it_is_refused(bench: Bench) -> None:
    """A scope that was not killed has nothing to open; a near name is proposed."""
    bench.kill(BTC)
    resume(bench, "binance:BTC/USD")
    refusal = bench.one(FACE, Refusal)
    assert (refusal.code, refusal.req) == ("NOTHING_TO_RESUME", 9)
    assert f"did you mean {BTC!r}" in refusal.text
    assert bench.made(Resume) == []
    early = Bench()
    early.tell(Started(0))
    resume(early)
    assert early.one(FACE, Refusal).code == "NOT_READY"


def test_resume_when_the_risk_desk_latched_a_loss_then_it_is_told_and_the_mode_goes(bench: Bench) -> None:
    """The desk measures the loss anew from here; its own modes that need no human stay."""
    bench.tell(
        SetMode(ACCOUNT, "drawdown", "REDUCE_ONLY", "RISK_DRAWDOWN", "fell"),
        SetMode(ACCOUNT, "exposure", "NO_NEW_RISK", "RISK_EXPOSURE", "too much"),
    )
    resume(bench, ACCOUNT)
    assert bench.take(DESK, SetMode) == [SetMode(ACCOUNT, "drawdown", "NORMAL", "", "")]
    assert list(bench.trading.modes[ACCOUNT]) == ["exposure"]
    assert bench.byte() == 0
    assert bench.one(FACE, Answer).req == 9
    bench.check()
