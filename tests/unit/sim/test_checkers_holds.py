"""R4, ST-03: a doubt that lasts is alarmed and holds, a journal that does not write stops new orders."""

from __future__ import annotations

import pytest

from tests.unit.core.order_builders import ACCOUNT, CID, intent, report
from tests.unit.sim.checker_bench import BTC, T0, Bench, broken, epoch
from tradefan.actors.oms_state import OmsState
from tradefan.config.schema import AccountConfig, Config
from tradefan.messages.account import Mode
from tradefan.messages.orders import Doubt, OrderStatus
from tradefan.messages.records import InDoubt, ModeChange
from tradefan.sim.checkers.holds import JOURNAL_NS, DoubtHolds, JournalStops
from tradefan.sim.options import T0 as START
from tradefan.sim.world import World
from tradefan.stores.journal_work import JournalWork
from tradefan.units import HOUR, MINUTE, MS, SECOND

CONFIG = Config(accounts={ACCOUNT: AccountConfig(venue="paper")})
"""A 12 s and V 5 s, as the bench's venue declares: R4 and 30 s are less than a minute."""


def mode(scope: str, cause: str, value: Mode = "CANCEL_ONLY") -> ModeChange:
    return ModeChange(1, scope, cause, value, f"MODE_{value}", "x")


HOLD = mode(BTC, "hold")


def doubtful(doubted_ns: int = T0) -> Bench:
    """Return an order in doubt, a second behind the beginning of that."""
    bench = Bench(DoubtHolds(), config=CONFIG)
    assert bench.step(epoch(1), intent(), InDoubt(doubted_ns, ACCOUNT, CID, Doubt.CREATE, "x")) is None
    return bench


def alarm(bench: Bench, event: str = "doubt_alarm", name: str = CID) -> None:
    bench.log("critical", event, client_order_id=name)


def test_doubt_when_alarmed_and_held_at_its_bound_then_quiet() -> None:
    """R4: not before it, and not once its outcome is known."""
    bench = doubtful()
    assert bench.look(58 * SECOND) is None
    assert bench.checker.due_ns == T0 + MINUTE
    alarm(bench)
    assert bench.step(HOLD) is None
    assert bench.look(HOUR) is None
    other = doubtful()
    assert other.step(report(OrderStatus.NEW)) is None
    assert other.look(HOUR) is None


@pytest.mark.parametrize("what", ["nothing", "alarm", "hold", "looser", "another", "info"])
def test_doubt_when_alarm_or_hold_is_missing_then_broken_behind_the_first_instant(what: str) -> None:
    """R4: both, of this very order; a process that makes short steps may take all of an instant for it."""
    bench = doubtful()
    if what in ("alarm", "looser"):
        alarm(bench)
    if what == "another":
        alarm(bench, name="c2")
    if what == "info":
        bench.log("info", "doubt_alarm", client_order_id=CID)
    if what in ("hold", "another", "info"):
        bench.append(HOLD)
    if what == "looser":
        bench.append(mode(BTC, "hold", "NO_NEW_RISK"))
    assert bench.look(58 * SECOND) is None
    assert bench.look(90 * SECOND) is None
    found = {"nothing": "held by None", "alarm": "held by None", "looser": "held by NO_NEW_RISK"}
    expected = f"alarm and HOLD for {CID}, in doubt, by {T0 + MINUTE} ns"
    broken(bench.look(1), "R4", expected, found.get(what, "no alarm"))


def test_doubt_when_its_hold_ends_before_it_then_broken() -> None:
    """R4: until the outcome is known."""
    bench = doubtful()
    alarm(bench)
    assert bench.step(HOLD) is None
    assert bench.look(HOUR) is None
    assert bench.step(mode(BTC, "hold", "NORMAL")) is None
    broken(bench.look(), "R4", f"HOLD for {CID}", f"{BTC} held by None")


@pytest.mark.parametrize("jump", [0, HOUR, -HOUR], ids=["none", "ahead", "behind"])
def test_doubt_when_a_start_comes_between_then_it_counts_from_there_and_the_alarm_comes_again(
    jump: int,
) -> None:
    """R4: in the new process's own time, which may have jumped."""
    bench = doubtful()
    alarm(bench)
    assert bench.step(HOLD) is None
    assert bench.crash(3) is None
    bench.seen.skew_ns = jump
    started_ns = bench.seen.now_ns
    assert bench.step(epoch(2, started_ns + jump)) is None
    assert bench.look(58 * SECOND) is None
    bench.append(HOLD)
    assert bench.look() is None
    broken(bench.look(), "R4", f"in doubt, by {started_ns + MINUTE} ns", "no alarm")


def test_doubt_when_nobody_runs_then_nobody_is_late() -> None:
    """R4: the next start counts anew."""
    bench = doubtful()
    bench.seen.oms.live.running = False
    assert bench.look(HOUR) is None
    assert bench.look() is None


JOURNAL = mode("all", "journal")


def failing() -> Bench:
    """Return a journal of which a call has just failed."""
    bench = Bench(JournalStops())
    assert bench.step(epoch(1)) is None
    bench.seen.oms.live.outbox.durable = 1
    bench.seen.disk_errors.append(bench.seen.now_ns)
    assert bench.look(0) is None
    return bench


def test_journal_when_it_fails_and_only_cancels_leave_in_time_then_quiet() -> None:
    """ST-03: and it may be well again any time later."""
    bench = failing()
    assert bench.look(JOURNAL_NS) is None
    bench.append(JOURNAL)
    bench.seen.oms.live.outbox.durable = 2
    assert bench.look(1) is None
    assert bench.step(mode("all", "journal", "NORMAL")) is None
    bench.seen.oms.live.outbox.durable = 3
    assert bench.look(HOUR) is None


@pytest.mark.parametrize("held", [None, mode("all", "journal", "NO_NEW_RISK"), mode("all", "link"), HOLD])
def test_journal_when_it_fails_and_nothing_stops_then_broken(held: ModeChange | None) -> None:
    """ST-03: CANCEL_ONLY of everything, for that reason."""
    bench = failing()
    due_ns = bench.seen.now_ns + JOURNAL_NS
    if held is not None:
        bench.append(held)
        bench.seen.oms.live.outbox.durable = 2
    assert bench.look(JOURNAL_NS - 1) is None
    assert bench.look(SECOND) is None
    broken(bench.look(1), "ST-03", f"CANCEL_ONLY by {due_ns} ns behind a failed call", "")


def test_journal_when_somebody_else_runs_by_then_he_has_asked_it_anew() -> None:
    """ST-03: a restart reads the journal, which says whether it can write."""
    bench = failing()
    durable = bench.seen.oms.live.outbox
    bench.seen.oms = OmsState()
    bench.seen.oms.live.running = True
    bench.seen.oms.live.outbox = durable
    assert bench.look(HOUR) is None
    assert bench.look() is None


def test_journal_when_the_disk_says_nothing_while_records_wait_then_broken() -> None:
    """ST-03: a second, and 100 ms, behind its last word."""
    bench = Bench(JournalStops())
    assert bench.step(epoch(1)) is None
    assert bench.step(intent()) is None
    bench.seen.oms.live.outbox.durable = 1
    assert bench.look() is None
    since_ns = bench.seen.now_ns
    assert bench.look(SECOND) is None
    assert bench.look(100 * MS) is None
    expected = f"CANCEL_ONLY by {since_ns + 1_100 * MS} ns behind a silent disk"
    broken(bench.look(1), "ST-03", expected, "no mode")


@pytest.mark.parametrize("says", [True, False])
def test_world_when_the_journal_keeps_its_failure_to_itself_then_broken(
    says: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ST-03: what failed is known from the disk, not from what the journal says."""

    def silent(work: JournalWork, reason: str, now_ns: int) -> None:
        work.failed = reason
        work._probe_ns = now_ns + SECOND

    if not says:
        monkeypatch.setattr(JournalWork, "_fail", silent)
    world = World(1, hours=0.07, kinds=(), checkers=(JournalStops(),))
    world.later(START + 40 * SECOND, lambda: world.rack.disk.fail("EIO", "sync", path="-wal"))
    violation = world.run().violation
    assert len(world.witness.disk_errors) == 1
    if says:
        assert violation is None
    else:
        assert violation is not None
        assert violation.invariant == "ST-03"
        assert "behind a failed call" in violation.expected
