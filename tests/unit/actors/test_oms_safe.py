"""SAFE: too many starts without an orderly stop, or an unwritable journal, let only cancels leave."""

from __future__ import annotations

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import ACCOUNT, GATEWAY, START, TRADER
from tradefan.messages.account import AccountState
from tradefan.messages.control import ActorState, Stop
from tradefan.messages.gateway import CreateOrder, Look
from tradefan.messages.orders import Refusal, ResumeTrading
from tradefan.messages.records import Record
from tradefan.units import MINUTE, SECOND


def starts(count: int, *, apart_ns: int = 10 * SECOND, clean: bool = False) -> Bench:
    """Start a process so many times, each ended by kill -9 or in order; return the last one."""
    records: list[Record] = []
    for number in range(count):
        bench = Bench(records=records, now_ns=START + number * apart_ns).ready()
        if clean and number < count - 1:
            bench.tell(Stop(bench.now_ns + SECOND))
        records = bench.records
    return bench


def test_starts_when_a_fourth_comes_within_ten_minutes_then_safe() -> None:
    """More than three starts that no orderly stop ended: CANCEL_ONLY for 10 min, with an alarm."""
    assert starts(3).trading.modes == {}
    bench = starts(4)
    assert bench.alarms == ["safe"]
    bench.submit()
    refusal = bench.one(TRADER, Refusal)
    assert (refusal.code, refusal.text.startswith("SAFE: 4 starts")) == ("MODE_CANCEL_ONLY", True)
    bench.advance(10 * MINUTE - 1, answering=True)
    assert bench.moods("all", "safe") == ["CANCEL_ONLY"]
    bench.advance(1, answering=True)
    assert bench.moods("all", "safe") == ["CANCEL_ONLY", "NORMAL"]
    bench.check()


def test_starts_when_each_was_stopped_in_order_or_long_ago_then_they_do_not_count() -> None:
    """CLEAN_STOP takes the next start out of the count; so does time; restarts of the OMS are none."""
    assert starts(6, clean=True).trading.modes == {}
    assert starts(6, apart_ns=4 * MINUTE).trading.modes == {}
    bench = starts(3)
    for number in range(1, 4):
        again = Bench(records=bench.records, now_ns=bench.now_ns)
        again.fold(restart=number)
        bench = again
    assert "all" not in bench.trading.modes or "safe" not in bench.trading.modes["all"]


def test_safe_when_a_human_resumes_then_it_ends() -> None:
    """SAFE is left by time or by a human."""
    bench = starts(4)
    bench.tell(ResumeTrading("all", "looked", "me", req=4))
    assert bench.moods("all", "safe") == ["CANCEL_ONLY", "NORMAL"]
    bench.submit()
    assert len(bench.take(GATEWAY, CreateOrder)) == 1
    bench.check()


def test_safe_when_the_oms_restarts_in_the_process_then_it_goes_on() -> None:
    """SAFE ends after 10 min or by a human, and by nothing else."""
    bench = starts(4)
    again = Bench(records=bench.records, now_ns=bench.now_ns + SECOND)
    again.fold(restart=1)
    again.tell(AccountState(ACCOUNT, True, ""), ActorState("risk_desk", "READY"))
    again.done(again.take(GATEWAY, Look)[-1])
    assert again.trading.modes["all"]["safe"].mode == "CANCEL_ONLY"


def test_start_when_the_journal_cannot_be_written_then_safe() -> None:
    """A readable but unwritable journal: the process starts SAFE, and stays so for 10 min or a human."""
    bench = Bench()
    bench.auto_durable = False
    bench.fold(rows={"failing": "read-only file system"})
    assert bench.trading.modes["all"]["safe"].mode == "CANCEL_ONLY"
