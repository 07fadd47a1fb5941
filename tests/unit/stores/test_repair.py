"""After a failed sync: power loss at each disk call of the repair loses no acknowledged row.

A sync that fails calls its pages clean although the disk lacks them. Two shorter ways are shown to
fail: to open the file again and go on, and to bring the WAL into the file without writing it anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from tests.unit.stores.made import dies_at, transfers
from tradefan.errors import Outage, Refused
from tradefan.messages.control import Append
from tradefan.messages.records import Record
from tradefan.sim.disk import SimDisk
from tradefan.stores import salvage
from tradefan.stores.disk import RealDisk, open_flags
from tradefan.stores.journal import JournalFile
from tradefan.stores.journal_base import CHECKPOINT_FRAMES
from tradefan.stores.mark import SLOT_BYTES

pytestmark = pytest.mark.slow

PATH = "/j.db"
KNOWN = 40
"""Rows that were acknowledged before the sync fails."""

Repair = Callable[[SimDisk, JournalFile], int]
"""Repairs and returns the lsn that is acknowledged from then on."""


def failed_sync(disk: SimDisk, rows: int) -> JournalFile:
    """A journal whose last group, the first one in its WAL, could not be synced."""
    file = JournalFile(PATH, disk=disk)
    file.append(1, 1, transfers(KNOWN))
    file.close()
    file = JournalFile(PATH, disk=disk)
    disk.fail("EIO", "sync", path="-wal")
    with pytest.raises(Outage, match="sync failed with EIO"):
        file.append(KNOWN + 1, 1, transfers(rows, KNOWN + 1))
    return file


def ours(_disk: SimDisk, file: JournalFile) -> int:
    file.reopen()
    return file.last_lsn


def only_opened_again(disk: SimDisk, file: JournalFile) -> int:
    file.base.abandon()
    db = disk.connect(PATH, open_flags(read_only=False))
    return int(db.execute("SELECT max(lsn) FROM journal").get)


def brought_into_the_file(disk: SimDisk, file: JournalFile) -> int:
    file.base.abandon()
    db = disk.connect(PATH, open_flags(read_only=False))
    db.pragma("synchronous", "full")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    db.pragma("user_version", 2)
    return int(db.execute("SELECT max(lsn) FROM journal").get)


def outcome(repair: Repair, seed: int, rows: int, at: int) -> tuple[str, bool]:
    """Lose power at a call of the repair, or behind it; say what the next start finds, and if it was done."""
    disk = SimDisk(seed)
    file = failed_sync(disk, rows)
    acknowledged, finished = KNOWN, False
    with dies_at(disk, at):
        acknowledged = repair(disk, file)
        finished = True
    disk.crash(power_loss=True)
    try:
        found = JournalFile(PATH, disk=disk)
        records, last = found.fold()
    except Refused:
        return "refused", finished
    finally:
        disk.close()
    assert records == transfers(last)
    return "whole" if last >= acknowledged else "lost", finished


def outcomes(repair: Repair, rows: int, seeds: int) -> Counter[str]:
    found = Counter[str]()
    for seed in range(seeds):
        at, finished = 0, False
        while not finished:
            at += 1
            what, finished = outcome(repair, seed, rows, at)
            found[what] += 1
    return found


@pytest.mark.failure("ST-03", "ST-05")
@pytest.mark.parametrize("rows", [1, 30, 300])
def test_repair_when_power_is_lost_at_any_of_its_calls_then_every_acknowledged_row_is_there(
    rows: int,
) -> None:
    """Whatever the group touches: one page, or so many that the tree grows."""
    found = outcomes(ours, rows, seeds=8)
    assert found.keys() == {"whole"}
    assert found["whole"] > 100


@pytest.mark.failure("ST-05")
def test_repair_when_the_file_is_only_opened_again_then_acknowledged_rows_are_lost() -> None:
    """Rows are read back that no disk has: the proof that the simulated disk is the enemy meant here."""
    assert outcomes(only_opened_again, 1, seeds=20)["lost"] > 10


def test_repair_when_the_wal_is_not_written_anew_then_a_checkpoint_cut_short_ruins_the_file() -> None:
    """Pages come into the file of which the WAL on the platter knows nothing."""
    found = outcomes(brought_into_the_file, 300, seeds=8)
    assert found["refused"] > 10


@pytest.mark.failure("ST-05")
@pytest.mark.parametrize("rows", [1, 300])
def test_accept_when_behind_a_failed_sync_and_power_is_lost_at_any_call_then_keeps_what_was_acknowledged(
    rows: int,
) -> None:
    """What was never synced is brought to the platter before anything is read of it or put behind it."""
    found = Counter[int]()
    for seed in range(8):
        at, finished = 0, False
        while not finished:
            at += 1
            lsn, finished = accepted(seed, rows, at)
            found[lsn] += 1
    assert min(found) >= KNOWN


def accepted(seed: int, rows: int, at: int) -> tuple[int, bool]:
    """Lose power at a call of `--accept-loss`, here of the mark, and accept again; return the last lsn."""
    disk = SimDisk(seed)
    failed_sync(disk, rows).base.abandon()
    mark = disk.plain(f"{PATH}.mark")
    mark.write(0, bytes(3 * SLOT_BYTES))
    mark.sync()
    finished = False
    with dies_at(disk, at):
        salvage.accept_loss(disk, PATH, msgspec.msgpack.Decoder(Record).decode)
        finished = True
    disk.crash(power_loss=True)
    records, last = JournalFile(PATH, disk=disk, accept_loss=True).fold()
    assert records == transfers(last)
    disk.close()
    return last, finished


def test_repair_when_done_then_waiting_rows_follow_and_the_old_file_handles_are_not_used() -> None:
    """Rows that are found again are compared, not written twice; no old descriptor is synced again."""
    disk = SimDisk(3)
    file = failed_sync(disk, 3)
    old = file.base.db
    file.reopen()
    assert file.last_lsn == KNOWN + 3
    with pytest.raises(apsw.ConnectionClosedError):
        old.execute("SELECT 1")
    again = Append(KNOWN + 1, 1, transfers(5, KNOWN + 1))
    assert file.write((again,)) == KNOWN + 5
    disk.crash(power_loss=True)
    assert JournalFile(PATH, disk=disk).fold() == (transfers(KNOWN + 5), KNOWN + 5)
    disk.close()


def test_repair_when_the_sync_fails_again_then_is_not_believed() -> None:
    """Each try begins anew, whatever of it fails."""
    for after in range(8):
        disk = SimDisk(after)
        file = failed_sync(disk, 30)
        disk.fail("EIO", "sync", after=after)
        try:
            file.reopen()
        except Outage:
            assert file.base.suspect
            file.reopen()
        assert file.last_lsn in {KNOWN, KNOWN + 30}
        last = file.last_lsn
        disk.crash(power_loss=True)
        assert JournalFile(PATH, disk=disk).fold() == (transfers(last), last)
        disk.close()


def test_start_when_the_process_was_killed_behind_a_failed_sync_then_what_is_found_is_durable() -> None:
    """A new process cannot know of the failure: every start repairs."""
    for seed in range(30):
        disk = SimDisk(seed)
        failed_sync(disk, 300)
        disk.crash(power_loss=False)
        last = JournalFile(PATH, disk=disk).last_lsn
        assert last == KNOWN + 300
        disk.crash(power_loss=True)
        assert JournalFile(PATH, disk=disk).fold() == (transfers(last), last)
        disk.close()


def grown(disk: SimDisk) -> JournalFile:
    """A journal whose WAL is due to come into the file."""
    file = JournalFile(PATH, disk=disk)
    for lsn in range(1, CHECKPOINT_FRAMES + 1):
        file.append(lsn, 1, transfers(1, lsn))
    return file


def test_checkpoint_when_the_wal_has_grown_then_brings_it_into_the_file_and_the_wal_begins_anew() -> None:
    """Its size is bounded, and each commit is as short as before."""
    disk = SimDisk(1)
    file = grown(disk)
    size, wal = len(disk.peek(PATH)), len(disk.peek(f"{PATH}-wal"))
    file.base.checkpoint()
    assert len(disk.peek(PATH)) > size
    file.append(CHECKPOINT_FRAMES + 1, 1, transfers(1, CHECKPOINT_FRAMES + 1))
    assert len(disk.peek(f"{PATH}-wal")) == wal
    writes = disk.counters["write"]
    file.base.checkpoint()
    assert disk.counters["write"] == writes
    disk.close()


def test_checkpoint_when_fewer_pages_are_wished_then_it_comes_so_early() -> None:
    """The simulated world draws the number, so that failures of the disk meet checkpoints."""
    disk = SimDisk(1)
    file = JournalFile(PATH, disk=disk, checkpoint_frames=4)
    size = len(disk.peek(PATH))
    for lsn in range(1, 201):
        file.append(lsn, 1, transfers(1, lsn))
        file.base.checkpoint()
    assert len(disk.peek(PATH)) > size
    assert len(disk.peek(f"{PATH}-wal")) < 20 * 4096
    disk.close()


def test_checkpoint_when_the_disk_is_full_then_commits_go_on_in_the_wal() -> None:
    """What is durable in the WAL need not be in the file yet."""
    disk = SimDisk(1)
    file = grown(disk)
    disk.fail("ENOSPC", "write", times=None, path=".db")
    file.base.checkpoint()
    assert file.append(CHECKPOINT_FRAMES + 1, 1, transfers(1, CHECKPOINT_FRAMES + 1)) > CHECKPOINT_FRAMES
    disk.crash(power_loss=True)
    disk.heal()
    assert JournalFile(PATH, disk=disk).last_lsn == CHECKPOINT_FRAMES + 1
    disk.close()


def test_checkpoint_when_its_sync_fails_then_says_so_and_a_repair_loses_nothing() -> None:
    """SQLite alone would hide the error and sync the same descriptor again."""
    disk = SimDisk(1)
    file = grown(disk)
    disk.fail("EIO", "sync", path=".db")
    with pytest.raises(Outage, match="sync failed with EIO"):
        file.base.checkpoint()
    file.reopen()
    disk.crash(power_loss=True)
    assert JournalFile(PATH, disk=disk).fold() == (transfers(CHECKPOINT_FRAMES), CHECKPOINT_FRAMES)
    disk.close()


class NoIndex(RealDisk):
    """A disk so full that the shared index of a WAL cannot be made, until `room` is."""

    room = False

    def connect(self, path: str, flags: int) -> apsw.Connection:
        return Indexed(self, path, flags)


class Indexed(apsw.Connection):
    """Fails as SQLite does when its -shm file does not get its size."""

    def __init__(self, disk: NoIndex, path: str, flags: int) -> None:
        self._disk = disk
        self._alone = False
        super().__init__(path, flags)

    def pragma(self, name: str, *value: Any, schema: str | None = None) -> Any:
        if name == "locking_mode":
            self._alone = value == ("exclusive",)
        elif not self._alone and not self._disk.room:
            raise apsw.IOError("disk I/O error")
        return super().pragma(name, *value, schema=schema)


def test_start_when_the_disk_has_no_room_for_the_index_then_reads_and_writes_when_it_has(
    tmp_path: Path,
) -> None:
    """A daemon that comes up on a full disk can fold, cancel and obey a kill."""
    path, disk = str(tmp_path / "journal.db"), NoIndex()
    file = JournalFile(path)
    file.append(1, 1, transfers(5))
    file.close()
    file = JournalFile(path, disk=disk)
    assert file.fold() == (transfers(5), 5)
    assert "IOError: disk I/O error" in file.base.failing
    with pytest.raises(Outage, match="disk I/O error"):
        file.reopen()
    assert file.fold() == (transfers(5), 5)
    disk.room = True
    file.reopen()
    assert (file.base.failing, file.append(6, 1, transfers(1, 6))) == ("", 6)
    file.close()
