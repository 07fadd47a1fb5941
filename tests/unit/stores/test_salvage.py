"""`--accept-loss` overrides every refusal of damage, and what it gives up is said."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.stores.made import Died, fill_record, transfers
from tradefan.errors import Refused
from tradefan.messages.control import Append, Snap
from tradefan.messages.work import (
    ParentFailed,
)
from tradefan.sim.disk import SimDisk
from tradefan.stores.disk import open_flags
from tradefan.stores.journal import JournalFile
from tradefan.stores.salvage import EPOCHS_UNKNOWN
from tradefan.units import ParentId

PATH = "/j.db"
MARK = "/j.db.mark"
LONG = tuple(ParentFailed(number, ParentId("p1"), "text " * 700) for number in range(1, 4))

pytestmark = pytest.mark.failure("ST-06")


@pytest.fixture
def disk() -> Iterator[SimDisk]:
    disk = SimDisk(1)
    yield disk
    disk.close()


def written(disk: SimDisk, rows: int = 8, snapshot: int | None = None, epoch: int = 1) -> None:
    """Leave a journal behind at rest, a commit a row, the first three of a page each."""
    file = JournalFile(PATH, disk=disk)
    for lsn, record in enumerate((*LONG, *transfers(rows - 3, 4)), 1):
        snap = None if snapshot is None or lsn < rows else Snap(snapshot, b"state")
        file.write((Append(lsn, epoch, (record,)),), snap=snap)
    file.close()


def altered(disk: SimDisk, sql: str) -> None:
    db = disk.connect(PATH, open_flags(read_only=False))
    db.execute(sql)
    db.close()


def accepted(disk: SimDisk) -> tuple[int, str]:
    """Open with what can be believed and go on; return how much that is and what is said to be lost."""
    with pytest.raises(Refused, match="JOURNAL_DAMAGED"):
        JournalFile(PATH, disk=disk).recover()
    file = JournalFile(PATH, disk=disk, accept_loss=True)
    last, lost = file.last_lsn, file.lost()
    file.recover()
    file.append(last + 1, 2, (fill_record(1),))
    file.write((), snap=Snap(last + 1, b"state"))
    file.close()
    assert JournalFile(PATH, disk=disk).recover().last_lsn == last + 1
    return last, lost


def unread_leaf(disk: SimDisk) -> None:
    """Damage the first leaf of the tree (13) that holds a long row: it is none any more."""
    content = disk.peek(PATH)
    leaf = next(
        at for at in range(0, len(content), 4096) if content[at] == 13 and b"text" in content[at:][:4096]
    )
    disk.damage("flip", PATH, at=leaf, bit=3)


@pytest.mark.parametrize("name", [b"epoch", b"at_ns", b"payload"])
def test_accept_when_the_name_of_a_column_was_flipped_then_begins_anew(disk: SimDisk, name: bytes) -> None:
    """No row can be read by its names; all of them stay in the file that was set aside."""
    written(disk, snapshot=6)
    disk.damage("flip", PATH, at=disk.peek(PATH).index(name), bit=7)
    last, lost = accepted(disk)
    assert (last, lost.startswith("rows 1 to 8: SQLError: no such column")) == (0, True)
    assert disk.exists(f"{PATH}.damaged-1")


@pytest.mark.parametrize("name", [b"digest BLOB", b"state BLOB"])
def test_accept_when_the_name_of_a_column_beside_the_rows_was_flipped_then_keeps_every_row(
    disk: SimDisk, name: bytes
) -> None:
    """SQLite's own check of a table does not see it."""
    written(disk, snapshot=6)
    disk.damage("flip", PATH, at=disk.peek(PATH).index(name), bit=7)
    last, lost = accepted(disk)
    assert (last, "SQLError: no such column" in lost) == (8, True)


def test_accept_when_the_row_of_the_older_mark_is_gone_then_says_so(disk: SimDisk) -> None:
    """The snapshot behind it stands for it."""
    written(disk, snapshot=8)
    altered(disk, "DELETE FROM journal WHERE lsn = 7")
    assert accepted(disk) == (8, "the history that the mark file knows: row 7 is another one, or gone")


def grown(disk: SimDisk) -> tuple[bytes, int]:
    """Write 400 rows; return the file, and where the page lies from which the tree leads to its leaves."""
    file = JournalFile(PATH, disk=disk)
    file.append(1, 1, transfers(400))
    file.close()
    content = disk.peek(PATH)
    (root,) = (at for at in range(4096, len(content), 4096) if content[at] == 5)
    return content, root


def test_accept_when_the_tree_leads_past_the_last_row_then_keeps_every_row(disk: SimDisk) -> None:
    """All rows are in its leaves, and the last one is not found by its number: nor would be the next."""
    content, root = grown(disk)
    cells = int.from_bytes(content[root + 3 : root + 5], "big")
    last_cell = root + 12 + 2 * (cells - 1)
    key = root + int.from_bytes(content[last_cell : last_cell + 2], "big") + 4
    disk.damage("flip", PATH, at=key, bit=4)
    last, lost = accepted(disk)
    assert last == 400
    assert lost.startswith("rows behind lsn 400, if there were any: expected to find row 400 by its number")


def test_accept_when_no_row_can_be_written_behind_the_last_then_keeps_every_row(disk: SimDisk) -> None:
    """A list of free bytes in the root leads nowhere: SQLite sees it when the next leaf is due."""
    _, root = grown(disk)
    disk.damage("flip", PATH, at=root + 2, bit=5)
    file = JournalFile(PATH, disk=disk, accept_loss=True)
    assert (file.recover().records, file.append(401, 2, transfers(100, 401))) == (transfers(400), 500)
    assert file.losses()[0][1].startswith(
        "rows behind lsn 400, if there were any: no row can be written behind"
    )


def test_accept_when_old_rows_and_the_mark_cannot_be_read_then_more_epochs_are_passed_over(
    disk: SimDisk,
) -> None:
    """The last row has the highest epoch."""
    written(disk, snapshot=8, epoch=5)
    unread_leaf(disk)
    disk.damage("remove", MARK)
    assert accepted(disk) == (8, "rows behind lsn 8, as many as there were: no mark says.")
    assert JournalFile(PATH, disk=disk).epoch == 5 + EPOCHS_UNKNOWN


def test_accept_when_the_row_of_the_newest_snapshot_cannot_be_copied_then_an_older_one_counts(
    disk: SimDisk,
) -> None:
    """A start needs the row that its snapshot stands for."""
    written(disk, rows=7, snapshot=4)
    file = JournalFile(PATH, disk=disk)
    file.write((), snap=Snap(6, b"state"))
    file.close()
    altered(disk, "UPDATE journal SET type = CAST(x'e5' AS TEXT) WHERE lsn = 6")
    altered(disk, "UPDATE journal SET at_ns = 0 WHERE lsn = 7")
    last, lost = accepted(disk)
    assert (last, lost.startswith("rows 6 to 7: expected chain ")) == (5, True)


def test_accept_when_it_was_killed_before_the_marks_then_all_that_is_lost_stays_known(disk: SimDisk) -> None:
    """What the new file lacks is said in the file itself: behind the last mark nothing else knows of it."""
    written(disk, snapshot=6)
    kept = disk.peek(MARK)
    file = JournalFile(PATH, disk=disk)
    file.append(9, 1, transfers(2, 9))
    file.close()
    unread_leaf(disk)
    altered(disk, "UPDATE journal SET at_ns = 0 WHERE lsn = 10")
    disk.damage("remove", MARK)
    disk.plain(MARK, kept)

    def die(operation: str, path: str) -> None:
        if operation == "write" and path == MARK:
            raise Died

    disk.on_call = die
    with pytest.raises(Died):
        JournalFile(PATH, disk=disk, accept_loss=True)
    disk.on_call = None
    disk.crash(power_loss=True)
    file = JournalFile(PATH, disk=disk)
    assert (file.last_lsn, file.begin()[0]) == (9, 6)
    assert file.lost().startswith(
        "rows 1 to 5 are only in the file that was set aside; rows behind lsn 9, if there were any: expected"
    )


@pytest.mark.parametrize(
    ("at", "bit", "lost"),
    [
        (18, 3, "if there were any: its first page says that it can only be read"),
        (60, 7, "if there were any: expected version 3 in its first page, found -2147483645"),
        (63, 1, "if there were any: expected version 3 in its first page, found 1"),
    ],
)
def test_accept_when_the_first_page_says_what_is_not_so_then_keeps_every_row(
    disk: SimDisk, at: int, bit: int, lost: str
) -> None:
    """That it can only be read, or that nothing is in it yet."""
    written(disk)
    disk.damage("flip", PATH, at=at, bit=bit)
    with pytest.raises(Refused, match="JOURNAL_DAMAGED"):
        JournalFile(PATH, disk=disk)
    file = JournalFile(PATH, disk=disk, accept_loss=True)
    assert file.recover().records == (*LONG, *transfers(5, 4))
    assert file.lost() == f"rows behind lsn 8, {lost}"


def test_accept_when_a_row_was_cut_off_inside_a_page_then_goes_on_before_it(tmp_path: Path) -> None:
    """SQLite calls that an error of the disk; on the real one it reads long values past its cache."""
    path = chained(tmp_path)
    with pytest.raises(Refused, match="JOURNAL_DAMAGED"):
        JournalFile(path)
    file = JournalFile(path, accept_loss=True)
    assert (file.recover().records, file.lost()) == (transfers(60), "rows 61 to 61: IOError: disk I/O error")
    file.close()


def test_open_when_a_file_was_cut_inside_a_page_then_is_damage_and_no_outage(tmp_path: Path) -> None:
    """The disk is fine: to wait for it would be of no use."""
    file = JournalFile(chained(tmp_path), read_only=True)
    with pytest.raises(Refused, match=r"JOURNAL_DAMAGED: .*IOError: disk I/O error"):
        file.recover()
    file.close()


def test_open_when_a_snapshot_was_cut_off_inside_a_page_then_the_rows_are_folded(tmp_path: Path) -> None:
    """It is passed over as one that was altered."""
    path = chained(tmp_path, snapshot=True)
    for accept_loss in (False, True):
        file = JournalFile(path, accept_loss=accept_loss)
        assert file.recover() == (transfers(60), 60, None, 0)
        file.close()


def chained(folder: Path, *, snapshot: bool = False) -> str:
    """Cut a real file inside its last page, which a long value of row 61, or of a snapshot, goes through."""
    path = str(folder / "j.db")
    file = JournalFile(path)
    file.append(1, 1, transfers(60))
    # Pages that are free again let the long value end in front of the last page.
    file.write((), snap=Snap(30, bytes(5_000)))
    file.base.db.execute("DELETE FROM snapshots")
    if snapshot:
        file.write((), snap=Snap(60, b"s" * 30_000))
    else:
        file.append(61, 1, (ParentFailed(61, ParentId("p1"), "t" * 30_000),))
    file.close()
    os.truncate(path, Path(path).stat().st_size - 4_000)
    return path
