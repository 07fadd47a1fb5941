"""The journal behind the OMS: group commit, folds, a disk that fails and comes back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.unit.stores.made import Disk, transfers
from tradefan.errors import Defect, Outage
from tradefan.messages.base import Message
from tradefan.messages.control import Append, Durable, Fold, JournalFailed, Rows
from tradefan.messages.wire import Close
from tradefan.stores.journal import JournalFile
from tradefan.stores.journal_link import JournalLink, JournalMachine
from tradefan.units import MS, SECOND


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
        def write(self, appends: Any, bytes_max: int = 2**20) -> int:
            entered.set()
            assert gate.wait(5)
            return super().write(appends, bytes_max)

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
    link = JournalLink(path, heard.deliver, retry_ns=MS, open_file=partial(JournalFile, connect=disk.connect))
    async with running(link):
        link.apply(append(1, 3))
        await heard.until(Durable(3))
        disk.pages = 1
        disk.db.pragma("max_page_count", 1)  # type: ignore[union-attr]
        link.apply(append(4, 300))
        link.apply(append(304, 2))
        link.apply(Fold(7))
        messages = await heard.until(Rows(7, transfers(305), 3))
        failed = [message for message in messages if isinstance(message, JournalFailed)]
        assert all("FullError" in message.reason for message in failed)
        disk.make_room()
        assert (await heard.until(Durable(305)))[-1] == Durable(305)
    assert JournalFile(path).fold() == (transfers(305), 305)


async def test_link_when_disk_stays_full_then_says_so_once_and_keeps_the_order(path: str) -> None:
    """The same reason is not repeated each second; nothing behind the failed group overtakes it."""
    disk, heard = Disk(), Heard()
    disk.pages = 1
    link = JournalLink(path, heard.deliver, retry_ns=MS, open_file=partial(JournalFile, connect=disk.connect))
    disk.make_room()
    async with running(link):
        link.apply(Fold(1))
        await heard.until(Rows(1, (), 0))
        disk.pages = 2
        disk.db.pragma("max_page_count", 2)  # type: ignore[union-attr]
        link.apply(append(1, 300))
        link.apply(append(301))
        await heard.until_any(lambda message: isinstance(message, JournalFailed))
        for gen in range(2, 12):
            link.apply(Fold(gen))
            await heard.until(Rows(gen, transfers(301), 0))
        disk.make_room()
        await heard.until(Durable(301))
    kinds = [type(message).__name__ for message in heard.messages if not isinstance(message, Rows)]
    assert kinds == ["JournalFailed", "Durable"]


async def test_link_when_backlog_is_exceeded_then_fails(path: str) -> None:
    """Memory is bounded: the daemon ends rather than grow behind a disk that never returns."""
    link = JournalLink(path, Heard().deliver, backlog_max=10)
    async with running(link) as task:
        link.apply(append(1, 11))
        with pytest.raises(Outage, match="more than 10 records wait"):
            await task


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
def machine() -> Iterator[JournalMachine]:
    machine = JournalMachine(JournalFile(":memory:"), commit_ns=MS)
    yield machine
    machine.close()


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
    assert machine.take(MS, 9) == [Rows(3, transfers(2), 1)]


def test_machine_when_disk_fails_then_says_so_once_and_tries_each_second(path: str) -> None:
    """Records wait in order; after the failure the same group goes first."""
    disk = Disk()
    machine = JournalMachine(JournalFile(path, connect=disk.connect), commit_ns=MS)
    disk.fill_up()
    machine.apply(0, append(1, 300))
    (failed,) = machine.take(MS, 9)
    assert isinstance(failed, JournalFailed)
    machine.apply(2 * MS, append(301))
    assert (machine.take(SECOND + MS, 9), machine.next_ns()) == ([], 2 * SECOND + MS)
    disk.make_room()
    assert machine.take(2 * SECOND + MS, 9) == [Durable(300)]
    assert machine.take(2 * SECOND + 2 * MS, 9) == [Durable(301)]


def test_machine_when_given_something_else_then_is_a_defect(machine: JournalMachine) -> None:
    """Wiring that sends anything but Append and Fold here is wrong."""
    with pytest.raises(Defect, match="does not take Close"):
        machine.apply(0, Close("x", 1))
