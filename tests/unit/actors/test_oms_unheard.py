"""A kill is kept by the kernel until its KILL is durable; where order managers die of it, all is killed."""

from __future__ import annotations

import pytest

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import BTC, GATEWAY, JOURNAL, RIM
from tradefan.actors.oms_kill import EVERYTHING, UNHEARD, last_resort
from tradefan.messages.control import (
    LAST_RESORT,
    CloseLatch,
    Heard,
    KillByte,
    KillByteSet,
    KillSwitch,
    OpenLatch,
    StopBegun,
)
from tradefan.messages.gateway import CancelOrder
from tradefan.messages.orders import ResumeTrading
from tradefan.messages.records import Kill

KILL = KillSwitch(BTC, "panic", "me", req=4)
HEARD = Heard("oms", KILL.key())


@pytest.fixture
def bench() -> Bench:
    return Bench().ready()


def test_kill_when_its_record_is_durable_then_it_is_called_heard(bench: Bench) -> None:
    """Before that a successor may find nothing of it: the byte names no scope."""
    bench.auto_durable = False
    bench.tell(KILL)
    bench.byte()
    assert bench.take(RIM, Heard) == []
    bench.durable()
    assert bench.take(RIM, Heard) == [HEARD]


def test_kill_when_it_was_killed_already_then_it_is_called_heard_at_once(bench: Bench) -> None:
    """Nothing new is journaled, so nothing is waited for."""
    bench.tell(KILL)
    bench.take(RIM, Heard)
    bench.tell(KILL)
    assert bench.take(RIM, Heard) == [HEARD]


def test_kill_when_it_waits_for_the_fold_then_it_is_heard_behind_it() -> None:
    """Where the fold fails, what waited for it fails with it."""
    bench = Bench()
    bench.tell(KILL)
    assert bench.take(RIM, Heard) == []
    bench.fold()
    assert bench.take(RIM, Heard) == [HEARD]


def test_last_resort_when_a_scope_was_killed_then_everything_is_closed_and_only_that() -> None:
    """Everything contains the scope, whose own latch nobody could open: no record names it."""
    shut = (JOURNAL, KillByte(EVERYTHING, UNHEARD))
    closed = (RIM, CloseLatch("all", "panic"))
    assert last_resort(JOURNAL, KILL) == (closed, (RIM, OpenLatch(BTC)), shut)
    assert last_resort(JOURNAL, KillSwitch("all", "panic", "me")) == (closed, shut)


@pytest.mark.parametrize("error", [None, "EIO"])
def test_kill_when_order_managers_died_of_it_then_everything_is_killed(
    bench: Bench, error: str | None
) -> None:
    """The kernel has the byte say so; whether it could be written or not, what rests is cancelled."""
    create = bench.resting()
    bench.tell(KillByteSet(UNHEARD, EVERYTHING, error))
    assert [one.client_order_id for one in bench.take(GATEWAY, CancelOrder)] == [create.client_order_id]
    assert [one.scope for one in bench.take(RIM, CloseLatch)] == ["all"]
    assert [(one.scope, one.principal) for one in bench.made(Kill)] == [("all", "kernel")]
    assert bench.take(RIM, Heard) == [Heard("oms", LAST_RESORT)]


def test_kill_when_order_managers_died_of_it_and_a_stop_has_begun_then_it_is_left_to_the_next_start(
    bench: Bench,
) -> None:
    """The stop cancels as well, and what killed those before must not cost it that; the byte stays."""
    bench.tell(KILL)
    bench.take(JOURNAL, KillByte)
    bench.tell(StopBegun(), KillByteSet(UNHEARD, EVERYTHING, None))
    assert [one.scope for one in bench.made(Kill)] == [BTC]
    bench.tell(ResumeTrading(BTC, "seen", "me"))
    assert [one.value for one in bench.take(JOURNAL, KillByte)] == [EVERYTHING]


def test_kill_when_a_stop_has_begun_and_no_byte_could_be_written_then_it_is_carried_out(bench: Bench) -> None:
    """Nothing else would tell the next start."""
    bench.tell(StopBegun(), KillByteSet(UNHEARD, EVERYTHING, "EIO"))
    assert [one.scope for one in bench.made(Kill)] == ["all"]
