"""The journal's file: order, chain, versions, and what a damaged or full disk does to it."""

from __future__ import annotations

from pathlib import Path

import apsw
import msgspec
import pytest

from tests.unit.stores.made import ACCOUNT, BTC, OWNER, Disk, cursor_record, fill_record, transfers
from tradefan.errors import Defect, Outage, Refused
from tradefan.messages.control import Append
from tradefan.messages.records import RECORD_VERSION, Waiting
from tradefan.stores.journal import JournalFile, Row, check_journal
from tradefan.stores.journal_layout import JOURNAL_VERSION


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "journal.db")


def test_fold_when_file_is_new_then_is_empty(path: str) -> None:
    """A new journal holds nothing and nothing is durable."""
    assert JournalFile(path).fold() == ((), 0)


def test_fold_when_opened_again_then_gives_what_was_appended(path: str) -> None:
    """Records come back whole and in order, with the last lsn, whatever groups they came in."""
    first, second = (fill_record(1), cursor_record(2)), transfers(3)
    file = JournalFile(path)
    assert [file.append(1, 1, first), file.append(3, 1, second)] == [2, 5]
    file.close()
    assert JournalFile(path).fold() == ((*first, *second), 5)


def test_rows_when_asked_behind_an_lsn_then_tell_lsn_and_epoch(path: str) -> None:
    """A projection reads on from where it was, and each row says which start wrote it."""
    file = JournalFile(path)
    file.append(1, 1, transfers(2))
    file.append(3, 2, transfers(1, 3))
    records = transfers(3)
    assert list(file.rows(after_lsn=1)) == [Row(2, 1, records[1]), Row(3, 2, records[2])]


def test_append_when_lsn_does_not_follow_then_is_a_defect_and_nothing_is_written(path: str) -> None:
    """A gap between decision and file is never papered over."""
    file = JournalFile(path)
    with pytest.raises(Defect, match="expected lsn 1, got 2"):
        file.append(2, 1, transfers(1))
    assert file.fold() == ((), 0)


def test_write_when_rows_are_there_already_then_writes_only_the_rest(path: str) -> None:
    """A group is tried again after a failure whose outcome nobody knew."""
    file = JournalFile(path)
    file.append(1, 1, transfers(2))
    assert file.write((Append(1, 1, transfers(2)), Append(3, 1, transfers(1, 3)))) == 3
    assert file.fold() == (transfers(3), 3)


def test_write_when_the_lsn_holds_another_record_then_is_a_defect(path: str) -> None:
    """Two truths under one number end the journal, not silently one of them."""
    file = JournalFile(path)
    file.append(1, 1, transfers(1))
    with pytest.raises(Defect, match="lsn 1 is taken by another record"):
        file.append(1, 1, transfers(1, 9))


@pytest.mark.failure("ST-07")
def test_write_when_another_process_wrote_the_next_row_then_that_is_said_and_no_damage(path: str) -> None:
    """Whoever reads it is to look for a second program, not to give rows up that are good."""
    ours, other = JournalFile(path), JournalFile(path)
    other.append(1, 1, transfers(1, 9))
    with pytest.raises(Refused, match=rf"JOURNAL_SHARED: journal {path}: another process wrote to it"):
        ours.append(1, 1, transfers(1))
    assert other.fold() == (transfers(1, 9), 1)


def test_write_when_group_is_large_then_stops_behind_the_append_that_fills_it(path: str) -> None:
    """A long backlog is written in several transactions; the answer says how far this one came."""
    appends = tuple(Append(lsn, 1, transfers(1, lsn)) for lsn in range(1, 5))
    file = JournalFile(path)
    size = len(msgspec.msgpack.encode(transfers(1)[0]))
    assert file.write(appends, bytes_max=size + 1) == 2
    assert file.write(appends, bytes_max=size + 1) == 4


def altered(path: str, sql: str) -> None:
    db = apsw.Connection(path)
    db.execute(sql)
    db.close()


@pytest.mark.failure("ST-06")
@pytest.mark.parametrize(
    ("sql", "text"),
    [
        (
            "UPDATE journal SET payload = CAST(substr(payload, 2) AS BLOB) WHERE lsn = 3",
            "lsn 3: expected chain",
        ),
        ("UPDATE journal SET at_ns = 99 WHERE lsn = 2", "lsn 2: expected chain"),
        ("UPDATE journal SET epoch = 7 WHERE lsn = 4", "lsn 4: expected chain"),
        ("UPDATE journal SET type = 'Fill' WHERE lsn = 1", "lsn 1: expected chain"),
        ("UPDATE journal SET chain = zeroblob(32) WHERE lsn = 3", "lsn 3: expected chain"),
        ("UPDATE journal SET chain = zeroblob(32) WHERE lsn = 4", "lsn 4: expected chain .* mark file"),
        (
            "DELETE FROM journal WHERE lsn = 4",
            "expected rows up to lsn 4, which its mark file names, found 3",
        ),
        ("DELETE FROM journal WHERE lsn = 2", "lsn 2: expected lsn 2, found 3: rows are missing"),
        ("DELETE FROM journal WHERE lsn = 1", "lsn 1: expected lsn 1, found 2: rows are missing"),
    ],
)
def test_fold_when_a_row_was_altered_then_names_the_lsn_and_what_was_expected(
    path: str, sql: str, text: str
) -> None:
    """Whatever was changed in a row, the chain does not lead through it."""
    file = JournalFile(path)
    file.append(1, 1, transfers(4))
    file.close()
    altered(path, sql)
    with pytest.raises(Refused, match=f"JOURNAL_DAMAGED: .*{text}"):
        JournalFile(path).fold()


def test_fold_when_a_record_does_not_decode_then_names_it(path: str) -> None:
    """A row that is in the chain but is no record of ours is damage too."""
    file = JournalFile(path)
    file.append(1, 1, transfers(1))
    whole = file._decoder.decode
    file._decoder = type("Deaf", (), {"decode": lambda self, data: whole(data[:-1])})()
    with pytest.raises(Refused, match=f"lsn 1: expected a Transfer of version {RECORD_VERSION}"):
        file.fold()


def test_fold_when_tail_vanished_under_the_open_file_then_is_refused(path: str) -> None:
    """What was acknowledged in this run cannot be missing from the same file."""
    file = JournalFile(path)
    file.append(1, 1, transfers(3))
    altered(path, "DELETE FROM journal WHERE lsn = 3")
    with pytest.raises(Refused, match="lsn 3: expected rows up to lsn 3"):
        file.fold()


def test_fold_when_a_record_is_newer_than_we_then_is_refused(path: str) -> None:
    """An old program does not guess at records that a newer one wrote."""
    newer = JournalFile(path, version=2)
    newer.append(1, 1, transfers(1))
    newer.close()
    with pytest.raises(
        Refused, match=r"JOURNAL_NEWER: the Transfer at lsn 1 .* version 2, expected at most 1"
    ):
        JournalFile(path, version=1).fold()


def test_open_when_a_wish_that_waits_is_in_it_then_a_program_of_before_says_newer(path: str) -> None:
    """It knows no such record, and would take the row and all behind it for damage."""
    file = JournalFile(path)
    file.append(1, 1, (*transfers(1), Waiting(2, ACCOUNT, BTC, OWNER, None), *transfers(1, 3)))
    file.close()
    old = JournalFile(path, version=1)
    with pytest.raises(
        Refused,
        match=rf"JOURNAL_NEWER: the Transfer at lsn 1 .* version {RECORD_VERSION}, expected at most 1",
    ):
        old.recover()


def test_check_when_a_row_is_newer_than_we_then_is_refused_before_anything_runs(path: str) -> None:
    """Its recovery could only end, again and again; accepting a loss gives up none of it."""
    file = JournalFile(path, version=RECORD_VERSION + 1)
    file.append(1, 1, transfers(3))
    file.close()
    for accept_loss in (False, True):
        with pytest.raises(Refused, match="JOURNAL_NEWER: the Transfer at lsn 1"):
            check_journal(path, accept_loss=accept_loss)
    assert JournalFile(path, version=RECORD_VERSION + 1).fold() == (transfers(3), 3)


def test_fold_when_a_record_is_older_than_we_then_decodes(path: str) -> None:
    """A newer program knows every version ever written."""
    file = JournalFile(path, version=1)
    file.append(1, 1, transfers(1))
    file.close()
    assert JournalFile(path, version=2).fold() == (transfers(1), 1)


def test_open_when_the_file_is_newer_then_is_refused(path: str) -> None:
    """The layout of a newer file is not touched."""
    JournalFile(path).close()
    altered(path, f"PRAGMA user_version = {JOURNAL_VERSION + 1}")
    with pytest.raises(Refused, match="JOURNAL_NEWER: the file in"):
        JournalFile(path)


def test_open_when_the_file_is_no_database_then_is_refused(path: str) -> None:
    """Something else under our name is not overwritten."""
    Path(path).write_bytes(b"not a database, but long enough to look at" * 100)
    with pytest.raises(Refused, match=r"JOURNAL_DAMAGED: .*NotADBError"):
        JournalFile(path)
    assert Path(path).read_bytes().startswith(b"not a database")


def test_open_when_folder_is_missing_then_names_the_path(tmp_path: Path) -> None:
    """The text says which file could not be opened."""
    with pytest.raises(Outage, match=r"nowhere/journal\.db: CantOpenError"):
        JournalFile(str(tmp_path / "nowhere" / "journal.db"))


@pytest.mark.failure("ST-05")
def test_file_when_opened_then_has_the_settings_that_survive_power_loss(path: str) -> None:
    """WAL with synchronous=FULL (2): NORMAL would lose acknowledged rows."""
    db = JournalFile(path).base.db
    assert (db.pragma("journal_mode"), db.pragma("synchronous")) == ("wal", 2)


def test_read_only_when_another_writes_then_sees_its_rows_and_cannot_write(path: str) -> None:
    """The store reads the journal beside its writer and never changes it."""
    writer = JournalFile(path)
    reader = JournalFile(path, read_only=True)
    writer.append(1, 1, transfers(2))
    assert reader.fold() == (transfers(2), 2)
    with pytest.raises(Outage, match="ReadOnlyError"):
        reader.append(1, 1, transfers(1))


def test_read_only_when_the_writer_has_only_just_made_the_file_then_it_is_empty(path: str) -> None:
    """At the very first start the store may look between the file and its table."""
    Path(path).touch()
    assert JournalFile(path, read_only=True).fold() == ((), 0)


@pytest.mark.failure("ST-03")
def test_write_when_disk_is_full_then_keeps_what_was_durable_and_goes_on_after_reopen(path: str) -> None:
    """M8: a full disk loses nothing that was acknowledged, and nothing half-written stays."""
    disk = Disk()
    file = JournalFile(path, disk=disk)
    file.append(1, 1, transfers(5))
    disk.full = True
    many = transfers(500, 6)
    with pytest.raises(Outage, match="FullError"):
        file.append(6, 1, many)
    assert file.fold() == (transfers(5), 5)
    disk.full = False
    file.reopen()
    assert file.append(6, 1, many) == 505
    assert file.fold() == (transfers(505), 505)


def test_reopen_when_in_memory_then_keeps_the_rows() -> None:
    """A journal in memory has no file to take up again."""
    file = JournalFile(":memory:")
    file.append(1, 1, transfers(2))
    file.reopen()
    assert file.fold() == (transfers(2), 2)


def test_identity_when_first_row_is_there_then_tells_journals_apart(path: str, tmp_path: Path) -> None:
    """A store knows by it whether it is a projection of this journal."""
    one, other = JournalFile(path), JournalFile(str(tmp_path / "other.db"))
    assert one.first_chain() is None
    one.append(1, 1, transfers(2))
    other.append(1, 1, transfers(1, 7))
    first = one.first_chain()
    one.append(3, 1, transfers(1, 3))
    assert (one.first_chain() == first, other.first_chain() == first) == (True, False)
    assert one.last_lsn == 3
