"""The journal behind the OMS: group commit, folds, a disk that fails and comes back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.unit.stores.made import Died, Disk, fill_record, transfers
from tradefan.errors import Defect, Outage
from tradefan.messages.base import Message
from tradefan.messages.control import (
    Append,
    AskHistory,
    ChainBroken,
    Durable,
    Fold,
    History,
    JournalFailed,
    JournalWorks,
    KillByte,
    KillByteSet,
    Rows,
    Snap,
)
from tradefan.messages.records import Bust, OwnerState
from tradefan.messages.wire import Close, Overflow
from tradefan.sim.disk import SimDisk
from tradefan.stores.journal import JournalFile, Recovered
from tradefan.stores.journal_link import JournalLink, JournalMachine
from tradefan.stores.journal_work import CHECK_PAUSE_NS
from tradefan.stores.mark import marks
from tradefan.units import MS, SECOND, OwnerId

M = TypeVar("M", bound=Message)


def append(first: int, count: int = 1) -> Append:
    return Append(first, 1, transfers(count, first))


class Heard:
    """What a link delivered, and on which thread."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.threads: set[int] = set()
        self._more = asyncio.Event()

    def deliver(self, message: Message) -> None:
        self.messages.append(message)
        self.threads.add(threading.get_ident())
        self._more.set()

    async def until(self, *last: Message) -> list[Message]:
        """Wait for a message and return what came so far."""
        return await self.until_any(lambda message: message in last)

    async def find(self, kind: type[M], count: int = 1) -> list[M]:
        """Wait until so many of a kind came and return those."""

        def found() -> list[M]:
            return [message for message in self.messages if isinstance(message, kind)]

        await self.until_any(lambda _: len(found()) >= count)
        return found()

    async def until_any(self, wanted: Callable[[Message], bool]) -> list[Message]:
        """Wait for a message of a kind and return what came so far."""
        async with asyncio.timeout(5):
            while not any(wanted(message) for message in self.messages):
                self._more.clear()
                await self._more.wait()
        return self.messages


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "journal.db")


@asynccontextmanager
async def running(link: JournalLink) -> Any:
    task = asyncio.ensure_future(link.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


# --- the link -----------------------------------------------------------------------------------


async def test_link_when_appends_come_then_answers_cumulative_durable_on_the_loop_thread(path: str) -> None:
    """Durable never goes back and never runs ahead; the driver is called on its own thread only."""
    heard = Heard()
    link = JournalLink(path, heard.deliver)
    async with running(link):
        for number in range(1, 51):
            link.apply(append(number))
        messages = await heard.until(Durable(50))
    lsns = [message.lsn for message in messages if isinstance(message, Durable)]
    assert (lsns == sorted(set(lsns)), lsns[-1], len(lsns) == len(messages)) == (True, 50, True)
    assert heard.threads == {threading.get_ident()}
    assert JournalFile(path).fold() == (transfers(50), 50)


async def test_link_when_a_group_is_written_then_the_next_collects(path: str) -> None:
    """No timer: what comes during a commit is one group, however much it is."""
    gate, entered = threading.Event(), threading.Event()

    class Slow(JournalFile):
        def write(self, appends: Any, bytes_max: int = 2**20, snap: Snap | None = None) -> int:
            entered.set()
            assert gate.wait(5)
            return super().write(appends, bytes_max, snap)

    heard = Heard()
    link = JournalLink(path, heard.deliver, open_file=Slow)
    async with running(link):
        link.apply(append(1))
        await asyncio.to_thread(entered.wait, 5)
        for number in range(2, 30):
            link.apply(append(number))
        gate.set()
        assert await heard.until(Durable(29)) == [Durable(1), Durable(29)]


async def test_link_when_asked_to_fold_then_gives_disk_and_what_waits_behind_it(path: str) -> None:
    """An OMS that dies behind a full disk folds what it had decided, not only what was written."""
    disk, heard = Disk(), Heard()
    link = JournalLink(path, heard.deliver, retry_ns=MS, open_file=partial(JournalFile, disk=disk))
    async with running(link):
        link.apply(append(1, 3))
        await heard.until(Durable(3))
        disk.full = True
        link.apply(append(4, 300))
        link.apply(append(304, 2))
        (failed,) = await heard.find(JournalFailed)
        link.apply(Fold(7))
        (rows,) = await heard.find(Rows)
        disk.full = False
        assert (await heard.until(Durable(305)))[-1] == Durable(305)
    assert "FullError" in failed.reason
    assert rows == Rows(7, transfers(305), 3, failing=failed.reason, epoch=1)
    assert JournalFile(path).fold() == (transfers(305), 305)


async def test_link_when_disk_stays_full_then_says_so_once_and_keeps_the_order(path: str) -> None:
    """The same reason is not repeated each second; nothing behind the failed group overtakes it."""
    disk, heard = Disk(), Heard()
    link = JournalLink(path, heard.deliver, retry_ns=MS, open_file=partial(JournalFile, disk=disk))
    async with running(link):
        link.apply(Fold(1))
        assert await heard.find(Rows) == [Rows(1, (), 0)]
        disk.full = True
        link.apply(append(1, 300))
        link.apply(append(301))
        await heard.find(JournalFailed)
        for gen in range(2, 12):
            link.apply(Fold(gen))
            rows = (await heard.find(Rows, gen))[-1]
            assert (rows.records, rows.durable) == (transfers(301), 0)
        disk.full = False
        await heard.until(Durable(301))
    kinds = [type(message).__name__ for message in heard.messages if not isinstance(message, Rows)]
    assert kinds == ["JournalFailed", "Durable"]


async def test_link_when_a_sync_fails_then_repairs_by_itself_and_goes_on() -> None:
    """After an error of the disk the same records are written a second later, on a file taken up anew."""
    disk, heard = SimDisk(1), Heard()
    link = JournalLink("/j.db", heard.deliver, retry_ns=MS, open_file=partial(JournalFile, disk=disk))
    async with running(link):
        link.apply(append(1, 3))
        await heard.until(Durable(3))
        disk.fail("EIO", "sync", path="-wal")
        link.apply(append(4))
        messages = await heard.until(Durable(4))
    assert [type(message) for message in messages] == [Durable, JournalFailed, Durable]
    disk.crash(power_loss=True)
    assert JournalFile("/j.db", disk=disk).fold() == (transfers(4), 4)
    disk.close()


async def test_link_when_killed_while_the_disk_is_full_then_the_byte_is_written_all_the_same() -> None:
    """Closing needs no database."""
    disk, heard = SimDisk(1), Heard()
    link = JournalLink("/j.db", heard.deliver, open_file=partial(JournalFile, disk=disk))
    async with running(link):
        link.apply(Fold(1))
        await heard.find(Rows)
        disk.fail("ENOSPC", "write", times=None)
        link.apply(append(1, 300))
        await heard.find(JournalFailed)
        link.apply(KillByte(2, 7))
        await heard.until(KillByteSet(7, 2))
    disk.crash(power_loss=True)
    disk.heal()
    machine = JournalMachine(JournalFile("/j.db", disk=disk))
    machine.apply(0, Fold(1))
    assert machine.take(0, 9) == [Rows(1, (), 0, killed=2)]
    disk.close()


async def test_link_when_sent_everything_that_a_journal_takes_then_answers_each(path: str) -> None:
    """Snapshots have no answer of their own: the next fold begins there."""
    heard, fill = Heard(), fill_record(1)
    subject = f"fill {fill.account} {fill.instrument} {fill.trade_id}"
    link = JournalLink(path, heard.deliver)
    async with running(link):
        link.apply(Append(1, 1, (fill,)))
        link.apply(Snap(1, b"state"))
        await heard.until(Durable(1))
        link.apply(append(2))
        link.apply(AskHistory(subject))
        link.apply(KillByte(1, 3))
        await heard.until(Durable(2))
        link.apply(Fold(4))
        (rows,) = await heard.find(Rows)
    assert await heard.find(History) == [History(subject, (fill,))]
    assert await heard.find(KillByteSet) == [KillByteSet(3, 1)]
    assert rows == Rows(4, transfers(1, 2), 2, snapshot=b"state", snapshot_lsn=1, killed=1, epoch=1)


async def test_link_when_old_rows_were_altered_then_says_so_in_the_background(path: str) -> None:
    """Nobody has to send anything for it."""
    file = JournalFile(path)
    file.append(1, 1, transfers(600))
    file.write((), snap=Snap(600, b"state"))
    file.base.db.execute("UPDATE journal SET at_ns = 5 WHERE lsn = 400")
    file.close()
    heard = Heard()
    link = JournalLink(path, heard.deliver)
    async with running(link):
        link.apply(Fold(1))
        (broken,) = await heard.find(ChainBroken)
    assert broken.lsn == 400
    assert [type(message) for message in heard.messages] == [Rows, ChainBroken]


@pytest.mark.slow
async def test_link_when_a_second_has_passed_then_the_mark_is_on_the_platter() -> None:
    """A power loss takes the marks of a second at most."""
    disk, heard = SimDisk(1), Heard()
    link = JournalLink("/j.db", heard.deliver, open_file=partial(JournalFile, disk=disk))
    async with running(link):
        link.apply(append(1))
        await heard.until(Durable(1))
        synced = asyncio.Event()
        loop = asyncio.get_running_loop()

        def see(operation: str, file: str) -> None:
            if (operation, file) == ("sync", "/j.db.mark"):
                loop.call_soon_threadsafe(synced.set)

        # The first commit of a life syncs the mark at once: it holds the epoch.
        disk.on_call = see
        link.apply(append(2))
        await heard.until(Durable(2))
        async with asyncio.timeout(5):
            await synced.wait()
    disk.crash(power_loss=True)
    assert max(mark.lsn for mark in marks(disk.peek("/j.db.mark")) if mark is not None) == 2
    disk.close()


class Full(JournalFile):
    """A file on a disk without room."""

    full = True

    def write(self, *given: Any, **options: Any) -> int:
        """Write when there is room."""
        if self.full:
            raise Outage("FullError: database or disk is full")
        return super().write(*given, **options)


async def test_link_when_backlog_is_exceeded_then_says_so_once_and_keeps_every_record(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded by the end of the process: a link that ended instead would lose them in silence."""
    heard = Heard()
    link = JournalLink(path, heard.deliver, backlog_max=10, retry_ns=MS, open_file=Full)
    async with running(link) as task:
        link.apply(append(1, 10))
        assert [one for one in heard.messages if isinstance(one, Overflow)] == []
        link.apply(append(11, 1))
        link.apply(append(12, 1))
        await heard.find(JournalFailed)
        assert await heard.find(Overflow) == [
            Overflow("journal", "more than 10 records wait for the disk"),
        ]
        assert (task.done(), link.backlog) == (False, 12)
        monkeypatch.setattr(Full, "full", False)
        await heard.until(Durable(12))
        assert link.backlog == 0


async def test_link_when_a_sync_hangs_then_the_backlog_is_bounded_all_the_same(path: str) -> None:
    """The thread cannot say anything: whoever sends is told by the link itself, in the same call."""
    heard, gate = Heard(), threading.Event()

    class Hung(JournalFile):
        def write(self, *given: Any, **options: Any) -> int:
            gate.wait(10)
            return super().write(*given, **options)

    link = JournalLink(path, heard.deliver, backlog_max=10, open_file=Hung)
    async with running(link):
        for number in range(1, 12):
            link.apply(append(number))
        assert heard.messages == [Overflow("journal", "more than 10 records wait for the disk")]
        gate.set()
        await heard.until(Durable(11))


async def test_link_when_states_are_large_then_their_bytes_count(path: str) -> None:
    """A strategy may journal a state of 1 MiB each turn: few records fill the memory too."""
    heard = Heard()
    link = JournalLink(path, heard.deliver, backlog_bytes_max=3_000_000, retry_ns=MS, open_file=Full)
    async with running(link):
        for number in range(1, 4):
            link.apply(Append(number, 1, (OwnerState(number, OwnerId("trend"), number, bytes(1 << 20)),)))
        assert await heard.find(Overflow) == [
            Overflow("journal", "records of more than 3000000 bytes wait for the disk")
        ]


async def test_link_when_file_cannot_be_opened_then_is_down_with_the_reason(tmp_path: Path) -> None:
    """A link that cannot open its file ends; it does not pretend to be a journal."""
    link = JournalLink(str(tmp_path / "no" / "journal.db"), Heard().deliver)
    async with running(link) as task:
        with pytest.raises(Outage, match="CantOpenError"):
            await task


async def test_link_when_lsn_does_not_follow_then_is_down(path: str) -> None:
    """A gap in the numbers is a defect of ours: no try would mend it."""
    link = JournalLink(path, Heard().deliver)
    async with running(link) as task:
        link.apply(append(5))
        with pytest.raises(Defect, match="expected lsn 1, got 5"):
            await task


async def test_link_when_stopped_then_writes_what_waits(path: str) -> None:
    """The journal is stopped last and leaves nothing behind that the disk would take."""
    link = JournalLink(path, Heard().deliver)
    async with running(link):
        link.apply(Fold(1))
        await asyncio.sleep(0)
        for number in range(1, 20):
            link.apply(append(number, 1))
    assert JournalFile(path).fold() == (transfers(19), 19)


async def test_link_when_given_something_else_then_is_a_defect(path: str) -> None:
    """Wiring that sends anything but Append and Fold here is wrong."""
    with pytest.raises(Defect, match="does not take Close"):
        JournalLink(path, Heard().deliver).apply(Close("x", 1))


# --- the machine --------------------------------------------------------------------------------


@pytest.fixture
def disk() -> Iterator[SimDisk]:
    disk = SimDisk(1)
    yield disk
    disk.close()


@pytest.fixture
def machine() -> Iterator[JournalMachine]:
    machine = JournalMachine(JournalFile(":memory:"), commit_ns=MS)
    yield machine
    machine.close()


def test_machine_when_backlog_is_exceeded_then_says_so_once_and_keeps_every_record(disk: SimDisk) -> None:
    """Virtual time has the same bound as the thread, so that the simulator can meet it."""
    machine = JournalMachine(JournalFile("/j.db", disk=disk), commit_ns=SECOND, backlog_max=10)
    machine.apply(0, append(1, 10))
    assert machine.take(MS, 9) == []
    machine.apply(MS, append(11))
    machine.apply(MS, append(12))
    assert machine.take(MS, 9) == [Overflow("journal", "more than 10 records wait for the disk")]
    assert machine.take(3 * SECOND, 9) == [Durable(10), Durable(12)]


def test_machine_when_commit_takes_time_then_one_group_is_written_while_the_next_collects(
    machine: JournalMachine,
) -> None:
    """Appends that come during a commit become durable together, one commit later."""
    machine.apply(0, append(1))
    machine.apply(MS // 2, append(2))
    machine.apply(MS // 2, append(3, 2))
    assert (machine.next_ns(), machine.take(MS - 1, 9)) == (MS, [])
    assert (machine.take(MS, 9), machine.next_ns()) == ([Durable(1)], 2 * MS)
    assert (machine.take(2 * MS, 9), machine.next_ns()) == ([Durable(4)], None)


def test_machine_when_taken_late_then_answers_as_if_taken_in_time(machine: JournalMachine) -> None:
    """How often a driver looks changes nothing: groups follow from the instants of the effects."""
    machine.apply(0, append(1))
    machine.apply(MS // 2, append(2))
    machine.apply(3 * MS, append(3))
    assert machine.take(9 * MS, 2) == [Durable(1), Durable(2)]
    assert machine.take(9 * MS, 2) == [Durable(3)]


def test_machine_when_commit_is_immediate_then_is_durable_at_the_same_instant() -> None:
    """Most tests do not want to wait for a disk."""
    machine = JournalMachine(JournalFile(":memory:"))
    machine.apply(5, append(1))
    assert (machine.next_ns(), machine.take(5, 9), machine.next_ns()) == (5, [Durable(1)], None)


def test_machine_when_folded_then_gives_disk_and_what_waits(machine: JournalMachine) -> None:
    """A fold during a commit sees the group that is not yet durable, and says so."""
    machine.apply(0, append(1))
    machine.take(MS, 9)
    machine.apply(MS, append(2))
    machine.apply(MS, Fold(3))
    assert machine.next_ns() == MS
    assert machine.take(MS, 9) == [Rows(3, transfers(2), 1, epoch=1)]


def test_machine_when_disk_fails_then_says_so_once_and_tries_each_second(disk: SimDisk) -> None:
    """Records wait in order; after the failure all of them go together."""
    machine = JournalMachine(JournalFile("/j.db", disk=disk), commit_ns=MS)
    disk.fail("ENOSPC", "write", times=None)
    machine.apply(0, append(1, 300))
    (failed,) = machine.take(MS, 9)
    assert isinstance(failed, JournalFailed)
    machine.apply(2 * MS, append(301))
    assert (machine.take(SECOND + MS, 9), machine.next_ns()) == ([], 2 * SECOND + MS)
    disk.heal()
    assert machine.take(2 * SECOND + MS, 9) == [Durable(301)]


def test_machine_when_the_disk_returns_and_nothing_waits_then_says_that_it_works(disk: SimDisk) -> None:
    """Nobody would learn it from a Durable."""
    machine = JournalMachine(JournalFile("/j.db", disk=disk), commit_ns=MS)
    machine.apply(0, append(1))
    assert machine.take(MS, 9) == [Durable(1)]
    disk.fail("EIO", "sync", path=".mark")
    machine.apply(MS, append(2))
    assert machine.take(2 * MS, 9) == [Durable(2)]
    (failed,) = machine.take(SECOND + 2 * MS, 9)
    assert isinstance(failed, JournalFailed)
    assert "/j.db.mark" in failed.reason
    assert machine.take(2 * SECOND + 2 * MS, 9) == [JournalWorks()]
    assert machine.next_ns() is None


def test_machine_when_the_disk_cannot_be_written_at_the_start_then_folds_and_says_so(disk: SimDisk) -> None:
    """A journal that can only be read is enough to cancel by, and is tried again each second."""
    file = JournalFile("/j.db", disk=disk)
    file.append(1, 1, transfers(3))
    disk.crash(power_loss=False)
    disk.fail("EIO", "sync", times=None)
    machine = JournalMachine(JournalFile("/j.db", disk=disk), commit_ns=MS)
    machine.apply(0, Fold(1))
    (rows,) = machine.take(0, 9)
    assert isinstance(rows, Rows)
    assert (rows.records, rows.durable) == (transfers(3), 0)
    assert rows.failing is not None
    assert "EIO" in rows.failing or "Input/output" in rows.failing
    disk.heal()
    assert machine.take(SECOND, 9) == [Durable(3)]


class Unreadable(JournalFile):
    """A file that cannot be read until it is taken up anew."""

    broken = True

    def recover(self) -> Recovered:
        if self.broken:
            raise Outage("journal /j.db: IOError: disk I/O error")
        return super().recover()

    def reopen(self) -> None:
        super().reopen()
        self.broken = False


def test_machine_when_readers_ask_again_and_again_then_the_repair_comes_when_it_was_due(
    disk: SimDisk,
) -> None:
    """An OMS that starts asks each time it is restarted; the next try stays a second behind the failure."""
    start = 1_000 * SECOND
    machine = JournalMachine(Unreadable("/j.db", disk=disk), commit_ns=MS)
    machine.apply(start, Fold(1))
    assert machine.take(start, 9) == [JournalFailed("journal /j.db: IOError: disk I/O error")]
    machine.apply(start + 500 * MS, Fold(2))
    machine.apply(start + 900 * MS, append(1))
    assert (machine.take(start + SECOND - 1, 9), machine.next_ns()) == ([], start + SECOND)
    rows = [Rows(gen, transfers(1), 1, epoch=1) for gen in (1, 2)]
    assert machine.take(start + SECOND, 9) == [Durable(1), *rows]


def test_machine_when_something_is_due_at_once_then_it_has_the_present_instant(disk: SimDisk) -> None:
    """A question that waited for the repair has no instant of its own; what follows counts from now."""
    file, start = Unreadable("/j.db", disk=disk), 1_000 * SECOND
    file.append(1, 1, transfers(600))
    file.write((), snap=Snap(600, b"state"))
    machine = JournalMachine(file, commit_ns=MS)
    machine.apply(start, Fold(1))
    assert [type(message) for message in machine.take(start, 9)] == [JournalFailed]
    works, rows = machine.take(start + SECOND, 9)
    assert (works, rows) == (JournalWorks(), Rows(1, (), 600, snapshot=b"state", snapshot_lsn=600, epoch=1))
    assert machine.next_ns() == start + SECOND + CHECK_PAUSE_NS


def test_machine_when_an_append_comes_again_then_it_is_one(machine: JournalMachine) -> None:
    """An OMS that began anew may send what waits already, or what is durable."""
    for _ in range(2):
        machine.apply(0, append(1, 2))
    machine.apply(0, Fold(1))
    assert machine.take(0, 9) == [Rows(1, transfers(2), 0)]
    assert (machine.take(2 * MS, 9), machine.next_ns()) == ([Durable(2)], None)
    machine.apply(2 * MS, append(1, 3))
    assert machine.take(3 * MS, 9) == [Durable(3)]
    assert machine.file.fold() == (transfers(3), 3)


def test_machine_when_the_disk_dies_in_a_call_then_that_is_not_held_up(disk: SimDisk) -> None:
    """The world crashes the process by an exception of its own inside a disk call."""

    def die(_operation: str, _path: str) -> None:
        raise Died

    machine = JournalMachine(JournalFile("/j.db", disk=disk), commit_ns=MS)
    machine.apply(0, append(1))
    disk.on_call = die
    with pytest.raises(Died):
        machine.take(MS, 9)


def test_machine_when_commits_are_drawn_then_each_group_takes_its_own_time() -> None:
    """A simulated disk is not equally slow all the time."""
    times = iter([3 * MS, MS])
    machine = JournalMachine(JournalFile(":memory:"), lambda: next(times))
    machine.apply(0, append(1))
    machine.apply(MS, append(2))
    assert (machine.next_ns(), machine.take(3 * MS, 9), machine.next_ns()) == (3 * MS, [Durable(1)], 4 * MS)


def test_machine_when_the_kill_byte_is_asked_for_then_does_not_wait_for_a_failing_disk(disk: SimDisk) -> None:
    """It takes the time of one commit, and its own failure is an answer."""
    machine = JournalMachine(JournalFile("/j.db", disk=disk), commit_ns=MS)
    disk.fail("EIO", "sync", times=None, path="-wal")
    machine.apply(0, append(1))
    machine.take(MS, 9)
    machine.apply(2 * MS, KillByte(1, 4))
    assert (machine.next_ns(), machine.take(3 * MS, 9)) == (3 * MS, [KillByteSet(4, 1)])
    disk.fail("EIO", "sync", path=".kill")
    machine.apply(4 * MS, KillByte(2, 5))
    (failed,) = machine.take(5 * MS, 9)
    assert isinstance(failed, KillByteSet)
    assert (failed.serial, "Input/output error" in (failed.error or "")) == (5, True)
    machine.apply(6 * MS, KillByte(2, 6))
    assert machine.take(7 * MS, 9) == [KillByteSet(6, 2)]


def test_machine_when_a_snapshot_is_sent_then_a_fold_begins_there(machine: JournalMachine) -> None:
    """The state stands for the records up to its lsn."""
    machine.apply(0, append(1, 5))
    machine.apply(0, Snap(5, b"state"))
    machine.take(2 * MS, 9)
    machine.apply(2 * MS, append(6))
    machine.take(3 * MS, 9)
    machine.apply(3 * MS, Fold(1))
    assert machine.take(3 * MS, 9) == [
        Rows(1, transfers(1, 6), 6, snapshot=b"state", snapshot_lsn=5, epoch=1)
    ]


def test_machine_when_asked_for_history_then_answers_from_disk_and_what_waits(
    machine: JournalMachine,
) -> None:
    """What has left memory is looked up before a late fill is applied."""
    fill = fill_record(1)
    subject = f"fill {fill.account} {fill.instrument} {fill.trade_id}"
    machine.apply(0, Append(1, 1, (fill, fill_record(2))))
    machine.take(MS, 9)
    bust = Bust(9, fill.account, fill.instrument, fill.trade_id, fill)
    machine.apply(MS, Append(3, 1, (bust,)))
    machine.apply(MS, AskHistory(subject, "the fact"))
    machine.apply(MS, AskHistory("order nobody"))
    assert machine.take(MS, 9) == [History(subject, (fill, bust), "the fact"), History("order nobody", ())]


def test_machine_when_old_rows_were_altered_then_says_so_once_in_the_background(disk: SimDisk) -> None:
    """The fold believes the snapshot; what lies before it is verified while nothing else is to do."""
    file = JournalFile("/j.db", disk=disk)
    file.append(1, 1, transfers(600))
    file.write((), snap=Snap(600, b"state"))
    file.base.db.execute("UPDATE journal SET at_ns = 5 WHERE lsn = 400")
    machine = JournalMachine(file)
    machine.apply(0, Fold(1))
    assert machine.take(0, 9) == [Rows(1, (), 600, snapshot=b"state", snapshot_lsn=600, epoch=1)]
    (broken,) = [message for at in range(1, 99) for message in machine.take(at * 10 * MS, 9)]
    assert isinstance(broken, ChainBroken)
    assert (broken.lsn, "lsn 400: expected chain" in broken.text) == (400, True)
    machine.apply(SECOND, Fold(2))
    assert [type(message) for message in machine.take(9 * SECOND, 9)] == [Rows]


def test_machine_when_given_something_else_then_is_a_defect(machine: JournalMachine) -> None:
    """Wiring that sends anything but Append and Fold here is wrong."""
    with pytest.raises(Defect, match="does not take Close"):
        machine.apply(0, Close("x", 1))
