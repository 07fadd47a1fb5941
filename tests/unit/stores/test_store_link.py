"""The store behind the data writer: room, answers, a disk that fails, and catching up at the start."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.unit.stores.made import BTC, Disk, fill, fill_record, trade, transfers
from tradefan.errors import Defect, Outage
from tradefan.messages.base import Message
from tradefan.messages.control import StoreAck, StoreBatch, StoreFailed
from tradefan.messages.wire import Close, Credit
from tradefan.sim.disk import SimDisk
from tradefan.stores.disk import free_bytes
from tradefan.stores.following import Following, follow
from tradefan.stores.journal import JournalFile
from tradefan.stores.sqlite import StoreFile
from tradefan.stores.store_link import StoreLink, StoreMachine
from tradefan.units import MS, SECOND


class Heard:
    """What a link delivered."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._more = asyncio.Event()

    def deliver(self, message: Message) -> None:
        self.messages.append(message)
        self._more.set()

    async def until(self, kind: type[Message], count: int = 1) -> list[Message]:
        """Wait until so many of a kind came and return everything."""
        async with asyncio.timeout(5):
            while sum(isinstance(message, kind) for message in self.messages) < count:
                self._more.clear()
                await self._more.wait()
        return self.messages


@asynccontextmanager
async def running(link: StoreLink) -> Any:
    task = asyncio.ensure_future(link.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "store.db")


@pytest.fixture
def journal(tmp_path: Path) -> str:
    """A journal that holds one fill at lsn 1."""
    path = str(tmp_path / "journal.db")
    file = JournalFile(path)
    file.append(1, 1, (fill_record(1),))
    file.close()
    return path


async def test_link_when_started_then_announces_room_and_where_it_stands(path: str) -> None:
    """The data writer learns from the greeting that the link is up."""
    heard = Heard()
    async with running(StoreLink(path, heard.deliver, batches_max=3)):
        assert await heard.until(StoreAck) == [Credit("store", 3), StoreAck(0, 0, None, 0)]


async def test_link_when_batches_come_then_answers_each_and_room_grows(path: str) -> None:
    """Credit is cumulative: one more for every batch that left the queue."""
    heard = Heard()
    link = StoreLink(path, heard.deliver, batches_max=2)
    async with running(link):
        link.apply(StoreBatch(11, (trade(1),), None))
        link.apply(StoreBatch(12, (trade(2), fill(1, 5)), 5))
        messages = await heard.until(StoreAck, 3)
    assert messages[2:] == [
        Credit("store", 3),
        StoreAck(11, 1, None, 0),
        Credit("store", 4),
        StoreAck(12, 2, None, 5),
    ]
    assert StoreFile(path).trades(BTC) == (trade(1), trade(2))


async def test_link_when_started_then_catches_up_with_its_journal(path: str, journal: str) -> None:
    """What was decided but never reached the store is there before the first batch."""
    heard = Heard()
    async with running(StoreLink(path, heard.deliver, following=follow(journal))):
        assert (await heard.until(StoreAck))[-1] == StoreAck(0, 0, None, 1)
    assert [row.lsn for row in StoreFile(path).fills()] == [1]


async def test_link_when_the_journal_is_still_read_then_stands_back_until_that_is_done(
    path: str, journal: str
) -> None:
    """Two threads that fold at the same time each take twice as long: the order manager goes first."""
    heard, first = Heard(), threading.Event()
    async with running(StoreLink(path, heard.deliver, following=follow(journal), first=first)):
        await asyncio.sleep(0.1)
        assert heard.messages == []
        first.set()
        assert StoreAck(0, 0, None, 1) in await heard.until(StoreAck)


async def test_link_when_it_ends_before_the_journal_was_read_then_still_writes_what_waits(
    path: str, journal: str
) -> None:
    """A stop does not wait for a fold that never comes."""
    heard = Heard()
    link = StoreLink(path, heard.deliver, following=follow(journal), first=threading.Event())
    async with running(link):
        link.apply(StoreBatch(1, (trade(1),), None))
        await asyncio.sleep(0.05)
    assert StoreAck(1, 1, None, 1) in heard.messages


async def test_link_when_the_journal_cannot_be_read_for_long_then_begins_all_the_same(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands back; it does not depend."""
    monkeypatch.setattr("tradefan.stores.store_link.STAND_BACK_S", 0.05)
    heard = Heard()
    async with running(StoreLink(path, heard.deliver, first=threading.Event())):
        await heard.until(StoreAck)


async def test_link_when_given_an_empty_batch_then_catches_up_again(path: str, journal: str) -> None:
    """A data writer that began anew may have lost rows that only the journal still has."""
    heard = Heard()
    link = StoreLink(path, heard.deliver, following=follow(journal))
    async with running(link):
        await heard.until(StoreAck)
        file = JournalFile(journal)
        file.append(2, 1, (fill_record(2),))
        link.apply(StoreBatch(7, (), None))
        assert (await heard.until(StoreAck, 2))[-1] == StoreAck(7, 0, None, 2)
        file.close()


async def test_link_when_its_journal_is_damaged_then_says_so_and_stores_all_the_same(
    path: str, tmp_path: Path
) -> None:
    """The store is no part of recovery: the market goes on being stored."""
    broken = tmp_path / "journal.db"
    broken.write_bytes(b"no journal at all" * 100)
    heard = Heard()
    link = StoreLink(path, heard.deliver, following=follow(str(broken)))
    async with running(link):
        link.apply(StoreBatch(1, (trade(1),), None))
        messages = await heard.until(StoreAck, 2)
    greeting = messages[1]
    assert isinstance(greeting, StoreAck)
    assert greeting.reason is not None
    assert "NotADBError" in greeting.reason
    assert messages[-1] == StoreAck(1, 1, None, 0)


async def test_link_when_disk_is_full_then_keeps_the_batch_and_its_order(path: str) -> None:
    """Nothing is dropped here: room simply does not grow until the disk takes the batch."""
    disk, heard = Disk(), Heard()
    link = StoreLink(path, heard.deliver, retry_ns=MS, open_file=partial(StoreFile, connect=disk.connect))
    rows = tuple(trade(number) for number in range(1, 3000))
    async with running(link):
        await heard.until(StoreAck)
        disk.full = True
        link.apply(StoreBatch(1, rows, None))
        link.apply(StoreBatch(2, (trade(9_000),), None))
        failed = (await heard.until(StoreFailed))[-1]
        assert isinstance(failed, StoreFailed)
        assert "FullError" in failed.reason
        disk.full = False
        messages = await heard.until(StoreAck, 3)
    assert [type(message) for message in messages[2:]] == [StoreFailed, Credit, StoreAck, Credit, StoreAck]
    assert len(StoreFile(path).trades(BTC, limit=5000)) == len(rows) + 1


async def test_link_when_the_disk_has_little_room_then_waits_says_so_once_and_returns_by_itself(
    path: str,
) -> None:
    """What is left is the journal's; the reason names what is there and what is expected."""
    heard, free = Heard(), [1000]

    def next_free(_path: str) -> int:
        free[0] -= 1
        return free[0]

    link = StoreLink(path, heard.deliver, retry_ns=MS, disk_free_min=1000, free=next_free)
    async with running(link):
        link.apply(StoreBatch(1, (trade(1),), None))
        assert await heard.until(StoreFailed) == [
            StoreFailed(f"{path}: expected 1000 bytes free on its disk, found 999")
        ]
        while free[0] > 990:
            await asyncio.sleep(0.001)
        free[0] = 2000
        messages = await heard.until(StoreAck, 2)
    kinds = [type(message) for message in messages]
    assert kinds == [StoreFailed, Credit, StoreAck, Credit, StoreAck]
    assert StoreFile(path).trades(BTC) == (trade(1),)


async def test_link_when_the_room_is_asked_of_the_real_disk_then_there_is_some(path: str) -> None:
    """The numbers are bytes: no disk of today has as many as asked for here."""
    heard = Heard()
    link = StoreLink(path, heard.deliver, disk_free_min=2**62)
    async with running(link):
        link.apply(StoreBatch(1, (trade(1),), None))
        failed = (await heard.until(StoreFailed))[-1]
    assert isinstance(failed, StoreFailed)
    assert failed.reason.startswith(f"{path}: expected {2**62} bytes free on its disk, found ")
    assert free_bytes(path) > 0


async def test_link_when_stopped_then_writes_what_waits(path: str) -> None:
    """A stop loses no batch that the disk would take."""
    link = StoreLink(path, Heard().deliver)
    async with running(link):
        await asyncio.sleep(0)
        for number in range(1, 20):
            link.apply(StoreBatch(number, (trade(number),), None))
    assert len(StoreFile(path).trades(BTC)) == 19


async def test_link_when_stopped_with_a_full_disk_then_ends(path: str) -> None:
    """A disk that takes nothing does not hold up the stop."""
    disk, heard = Disk(), Heard()
    link = StoreLink(path, heard.deliver, open_file=partial(StoreFile, connect=disk.connect))
    async with running(link) as task:
        await heard.until(StoreAck)
        disk.full = True
        link.apply(StoreBatch(1, tuple(trade(number) for number in range(1, 3000)), None))
        await heard.until(StoreFailed)
    assert task.cancelled()


async def test_link_when_file_cannot_be_opened_then_is_down_with_the_reason(tmp_path: Path) -> None:
    """A link that cannot open its file ends."""
    async with running(StoreLink(str(tmp_path / "no" / "store.db"), Heard().deliver)) as task:
        with pytest.raises(Outage, match="CantOpenError"):
            await task


def test_link_when_given_something_else_then_is_a_defect(path: str) -> None:
    """Wiring that sends anything but batches here is wrong."""
    with pytest.raises(Defect, match="does not take Close"):
        StoreLink(path, lambda message: None).apply(Close("x", 1))


# --- the machine --------------------------------------------------------------------------------


def test_machine_when_new_then_greets_at_once() -> None:
    """The first thing a driver takes is room and place."""
    machine = StoreMachine(StoreFile(":memory:"), batches_max=4)
    assert machine.next_ns() == 0
    assert machine.take(5, 9) == [Credit("store", 4), StoreAck(0, 0, None, 0)]
    assert machine.next_ns() is None


def test_machine_when_batches_queue_then_each_takes_its_time() -> None:
    """One behind the other, each answered when it is stored; a late look changes nothing."""
    machine = StoreMachine(StoreFile(":memory:"), batches_max=4, write_ns=MS)
    machine.take(0, 9)
    machine.apply(0, StoreBatch(1, (trade(1),), None))
    machine.apply(MS // 2, StoreBatch(2, (trade(2),), 6))
    assert (machine.next_ns(), machine.take(MS - 1, 9)) == (MS, [])
    assert machine.take(MS, 9) == [Credit("store", 5), StoreAck(1, 1, None, 0)]
    assert (machine.next_ns(), machine.take(9 * MS, 1)) == (2 * MS, [Credit("store", 6)])
    assert (machine.next_ns(), machine.take(9 * MS, 9)) == (0, [StoreAck(2, 1, None, 6)])
    assert machine.file.trades(BTC) == (trade(1), trade(2))
    machine.close()


def test_machine_when_the_disk_fails_or_has_no_room_then_tries_each_second(journal: str) -> None:
    """In virtual time as live: nothing is dropped, the order stays."""
    free = 5
    machine = StoreMachine(
        StoreFile(":memory:"), batches_max=4, disk_free_min=10, free=lambda _: free, following=follow(journal)
    )
    machine.apply(0, StoreBatch(1, (trade(1),), None))
    assert machine.take(0, 9) == [StoreFailed(":memory:: expected 10 bytes free on its disk, found 5")]
    assert (machine.next_ns(), machine.take(SECOND, 9)) == (SECOND, [])
    free = 10
    assert machine.take(2 * SECOND, 9) == [
        Credit("store", 4),
        StoreAck(0, 0, None, 1),
        Credit("store", 5),
        StoreAck(1, 1, None, 1),
    ]


def test_machine_when_given_the_journal_of_a_simulated_disk_then_follows_it() -> None:
    """The disk is one process's alone, so it is read by the writer's own file."""
    disk = SimDisk(1)
    file = JournalFile("/j.db", disk=disk)
    file.append(1, 1, (fill_record(1),))
    store = StoreFile("/s.db", connect=disk.connect)
    machine = StoreMachine(store, following=Following(lambda: contextlib.nullcontext(file)))
    assert machine.take(0, 9)[-1] == StoreAck(0, 0, None, 1)
    assert [row.lsn for row in store.fills()] == [1]
    disk.close()


def test_machine_when_it_could_not_catch_up_then_rows_do_not_move_its_place() -> None:
    """What is missing lies behind the place, or the next catch-up would begin beyond it."""
    file, broken = JournalFile(":memory:"), True
    file.append(1, 1, tuple(fill_record(number) for number in range(1, 2001)))

    def source() -> contextlib.AbstractContextManager[JournalFile]:
        if broken:
            raise Outage("IOError: disk I/O error")
        return contextlib.nullcontext(file)

    machine = StoreMachine(StoreFile(":memory:"), following=Following(source))
    assert machine.take(0, 9)[-1] == StoreAck(0, 0, "IOError: disk I/O error", 0)
    machine.apply(1, StoreBatch(7, (fill(9001, 5001),), 5001))
    assert machine.take(1, 9)[-1] == StoreAck(7, 1, None, 0)
    broken = False
    machine.apply(2, StoreBatch(8, (), None))
    assert machine.take(2, 9)[-1] == StoreAck(8, 0, None, 2000)
    assert len(machine.file.fills(limit=9000)) == 2001
    machine.apply(3, StoreBatch(9, (fill(9002, 5002),), 5002))
    assert machine.take(3, 9)[-1] == StoreAck(9, 1, None, 5002)


def test_machine_when_greeted_late_then_what_was_never_journaled_goes_all_the_same(journal: str) -> None:
    """The journal has moved on by then: where it ended before that counts."""
    store = StoreFile(":memory:")
    store.write(StoreBatch(1, (fill(7, 2), fill(8, 3)), 3))
    free = 0
    file = JournalFile(journal)
    machine = StoreMachine(store, following=follow(journal), disk_free_min=10, free=lambda _: free)
    machine.take(0, 9)
    file.append(2, 2, transfers(50, 2))
    file.close()
    free = 10
    assert machine.take(SECOND, 9)[-1] == StoreAck(0, 0, None, 51)
    assert [row.lsn for row in store.fills()] == [1]


def test_machine_when_a_second_link_begins_then_nothing_of_this_process_goes(journal: str) -> None:
    """What it was told may not be on the disk yet; only the first link of a process takes rows away."""
    store, following = StoreFile(":memory:"), follow(journal)
    machine = StoreMachine(store, following=following)
    machine.apply(0, StoreBatch(1, (fill(7, 2),), 2))
    machine.take(0, 9)
    again = StoreMachine(store, following=following)
    assert again.take(1, 9)[-1] == StoreAck(0, 0, None, 2)
    assert [row.lsn for row in store.fills()] == [1, 2]


def test_machine_when_a_start_never_came_to_the_store_then_what_was_never_journaled_goes(
    journal: str,
) -> None:
    """Its records took the numbers of those that a crash lost; the next start looks where they began."""
    store = StoreFile(":memory:")
    file = JournalFile(journal)
    first = StoreMachine(store, following=follow(journal))
    first.take(0, 9)
    file.append(2, 2, transfers(3, 2))
    first.apply(1, StoreBatch(1, (), None))
    first.take(1, 9)
    assert store.proven_lsn == 4
    first.apply(2, StoreBatch(2, (fill(7, 4), fill(8, 5), fill(9, 6)), 6))
    first.take(2, 9)
    # The row at lsn 5 got to the disk, the one at 6 did not.
    file.append(5, 2, transfers(1, 5))
    follow(journal)
    file.append(6, 3, transfers(9, 6))
    third = StoreMachine(store, following=follow(journal))
    assert third.take(3, 9)[-1] == StoreAck(0, 0, None, 14)
    assert [row.lsn for row in store.fills()] == [1, 4, 5]
    file.close()


def test_machine_when_its_own_start_is_not_proven_then_more_goes_and_comes_again(journal: str) -> None:
    """Which life the first record behind a start is of, only a look within it tells."""
    store = StoreFile(":memory:")
    first = StoreMachine(store, following=follow(journal))
    first.take(0, 9)
    first.apply(1, StoreBatch(1, (fill(2, 2), fill(3, 3)), 3))
    first.take(1, 9)
    file = JournalFile(journal)
    file.append(2, 2, (fill_record(2),))
    file.append(3, 3, transfers(9, 3))
    second = StoreMachine(store, following=follow(journal))
    assert second.take(2, 9)[-1] == StoreAck(0, 0, None, 11)
    assert [row.lsn for row in store.fills()] == [1, 2]
    file.close()


def test_machine_when_told_to_forget_then_goes_on_from_the_journal(journal: str) -> None:
    """The OMS began again inside the process: nothing that it told beyond the journal stays."""
    store = StoreFile(":memory:")
    machine = StoreMachine(store, following=follow(journal))
    machine.apply(0, StoreBatch(1, (fill(7, 2), fill(8, 3)), 3))
    machine.take(0, 9)
    file = JournalFile(journal)
    file.append(2, 2, transfers(5, 2))
    machine.apply(1, StoreBatch(2, (), None, 1))
    assert machine.take(1, 9)[-1] == StoreAck(2, 0, None, 6)
    assert ([row.lsn for row in store.fills()], store.proven_lsn) == ([1], 6)
    file.close()


def test_machine_when_told_of_records_that_no_disk_has_then_they_prove_nothing(journal: str) -> None:
    """The OMS began again at a tail that a loss of power took; other records have its numbers now."""
    store = StoreFile(":memory:")
    first = StoreMachine(store, following=follow(journal))
    first.apply(0, StoreBatch(1, (fill(7, 4),), 4))
    first.apply(0, StoreBatch(2, (), None, 5))
    first.take(0, 9)
    assert ([row.lsn for row in store.fills()], store.proven_lsn) == ([1, 4], 1)
    file = JournalFile(journal)
    file.append(2, 2, transfers(9, 2))
    second = StoreMachine(store, following=follow(journal))
    second.take(1, 9)
    assert [row.lsn for row in store.fills()] == [1]
    file.close()


def test_machine_when_given_something_else_then_is_a_defect() -> None:
    """Wiring that sends anything but batches here is wrong."""
    with pytest.raises(Defect, match="does not take Close"):
        StoreMachine(StoreFile(":memory:")).apply(0, Close("x", 1))
