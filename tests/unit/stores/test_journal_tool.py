"""What an operator sees of a journal: whole or damaged, at rest or beside a running daemon."""

from __future__ import annotations

import io
from decimal import Decimal
from pathlib import Path

import apsw
import msgspec
import pytest

from tests.unit.stores.made import ACCOUNT, fill_record, parent, transfers
from tests.unit.stores.test_projection import RECORDS, filled, intent
from tradefan.core.trading import Trading, apply
from tradefan.errors import Outage, Refused
from tradefan.messages.control import Snap
from tradefan.messages.records import (
    TRADING_VERSION,
    FillInferred,
    OwnerState,
    Parent,
)
from tradefan.messages.work import (
    ParentFailed,
)
from tradefan.stores.disk import REAL
from tradefan.stores.journal import JournalFile
from tradefan.stores.journal_tool import SnapshotSeen, export, iso, show, verify
from tradefan.stores.kill_byte import ALL, KillByteFile
from tradefan.units import SECOND, OwnerId, ParentId


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A journal at rest with a snapshot in the middle."""
    path, state = str(tmp_path / "journal.db"), Trading()
    file = JournalFile(path)
    file.append(1, 1, RECORDS)
    for record in RECORDS[:10]:
        apply(state, record)
    file.write((), snap=Snap(10, msgspec.msgpack.encode(state)))
    file.close()
    return path


def altered(path: str, *sql: str) -> None:
    db = apsw.Connection(path)
    for one in sql:
        db.execute(one)
    db.close()


# --- verify -------------------------------------------------------------------------------------


def test_verify_when_everything_is_whole_then_says_how_much_there_is(path: str) -> None:
    """The one record that changed nothing is a fill that came twice."""
    report = verify(path)
    assert (report.rows, report.last_lsn, report.version) == (17, 17, 3)
    assert report.chain.startswith("ok, ")
    assert (report.mark, report.kill, report.losses) == ("lsn 17", "open", ())
    assert (report.first_at, report.last_at) == (iso(1), iso(15))
    assert [(one.lsn, one.version, one.state) for one in report.snapshots] == [(10, TRADING_VERSION, "good")]
    assert (report.unapplied, report.code) == (1, 1)
    assert report.problems == ("1 records changed nothing when they were folded",)


def test_verify_when_beside_its_writer_then_sees_its_rows(tmp_path: Path) -> None:
    """Rows that are only in the WAL count, and nothing of the writer's is touched."""
    path = str(tmp_path / "journal.db")
    file = JournalFile(path)
    file.append(1, 1, transfers(1500))
    assert (verify(path).rows, verify(path).code) == (1500, 0)
    file.append(1501, 1, transfers(1, 1501))
    assert verify(path).mark == "lsn 1501"
    file.close()


def test_verify_when_killed_then_says_so(path: str) -> None:
    """The byte is read from the disk, whatever the records say."""
    KillByteFile(REAL, f"{path}.kill").put(ALL)
    assert verify(path).kill == "closed for all"


@pytest.mark.parametrize(
    ("sql", "rows", "problem"),
    [
        ("UPDATE journal SET at_ns = 7 WHERE lsn = 5", 4, "at lsn 5: expected chain"),
        ("DELETE FROM journal WHERE lsn = 17", 16, "its mark file names row 17, the last that"),
        ("DELETE FROM journal WHERE lsn > 0", 0, "its mark file names row 17, the last that"),
        ("UPDATE snapshots SET state = x'00'", 17, "snapshot 10: damaged, or of another history"),
        ("UPDATE journal SET payload = x'00' WHERE lsn = 5", 4, "at lsn 5: expected chain"),
        ("DROP TABLE subjects", 17, "no such table: subjects"),
        ("DROP TABLE losses", 0, "no such table: losses"),
    ],
)
def test_verify_when_damaged_then_describes_it(path: str, sql: str, rows: int, problem: str) -> None:
    """The code is 1 and a text says where and what; there is no traceback."""
    altered(path, "DELETE FROM journal WHERE lsn = 0", sql)
    report = verify(path)
    assert report.code == 1
    assert any(problem in text for text in report.problems), report.problems
    assert report.rows == rows


@pytest.mark.parametrize("sql", ["at_ns = 0", "type = CAST(x'e5' AS TEXT)"])
def test_verify_when_a_row_far_behind_the_first_is_damaged_then_those_before_it_count(
    tmp_path: Path, sql: str
) -> None:
    """They are good, and say when the journal began; the mark is compared with the last of them."""
    path = str(tmp_path / "journal.db")
    file = JournalFile(path)
    file.append(1, 1, transfers(264))
    file.close()
    altered(path, f"UPDATE journal SET {sql} WHERE lsn = 189")
    report = verify(path)
    assert (report.rows, report.first_at, report.last_at) == (188, iso(1), iso(188))
    assert "its mark file names row 264, the last that can be believed is 188" in report.problems


@pytest.mark.parametrize("end", [".mark", ".kill"])
def test_verify_when_a_file_beside_it_cannot_be_read_then_is_an_outage_that_names_it(
    path: str, end: str
) -> None:
    """As any other trouble with the disk."""
    Path(f"{path}{end}").unlink(missing_ok=True)
    Path(f"{path}{end}").mkdir()
    with pytest.raises(Outage, match=rf"journal.db\{end}: IsADirectoryError"):
        verify(path)


def test_verify_when_a_row_is_not_found_by_its_subject_then_says_which(tmp_path: Path) -> None:
    """Subjects are in their table for every thousand rows that are complete."""
    path = str(tmp_path / "journal.db")
    file = JournalFile(path)
    file.append(1, 1, [fill_record(number) for number in range(1, 1_003)])
    file.close()
    altered(path, "DELETE FROM subjects WHERE lsn = 6")
    report = verify(path)
    assert (report.rows, report.code) == (5, 1)
    assert "at lsn 6: expected to find it as fill paper:main binance:BTC/USDT 6" in report.problems[0]


def test_verify_when_the_mark_is_gone_or_broken_then_says_so(path: str) -> None:
    """Nobody can say then whether rows are missing."""
    mark = Path(f"{path}.mark")
    mark.write_bytes(b"x" * 80)
    assert "its mark file has no mark that is whole" in verify(path).problems
    mark.unlink()
    assert "its mark file is missing" in verify(path).problems


def test_verify_when_it_is_no_database_then_describes_that(tmp_path: Path) -> None:
    """A file of something else is a damaged journal, not a crash of the tool."""
    path = tmp_path / "journal.db"
    path.write_bytes(b"no database at all" * 500)
    report = verify(str(path))
    assert (report.rows, report.code) == (0, 1)
    assert "NotADBError" in report.chain


def test_verify_when_a_loss_was_accepted_then_lists_it(path: str) -> None:
    """What was accepted stays written down."""
    altered(path, "DELETE FROM journal WHERE lsn = 17")
    JournalFile(path, accept_loss=True).close()
    assert verify(path).losses == ("rows 17 to 17: they are not there",)


def test_verify_when_a_snapshot_is_of_another_program_then_that_is_no_damage(path: str) -> None:
    """Recovery passes it over and folds records instead."""
    altered(path, "UPDATE snapshots SET version = 9")
    (seen,) = verify(path).snapshots
    assert seen == SnapshotSeen(
        10, 9, seen.size, f"of another version, this program writes {TRADING_VERSION}"
    )
    assert not any("snapshot" in text for text in verify(path).problems)


def test_verify_when_the_folder_cannot_be_written_then_reads_all_the_same(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy on a disk that is mounted to be read: SQLite would make a WAL beside it first."""
    beside = sorted(Path(path).parent.iterdir())
    monkeypatch.setattr("os.access", lambda _path, _mode: False)
    assert (verify(path).rows, len(list(show(path)))) == (17, 17)
    assert sorted(Path(path).parent.iterdir()) == beside
    monkeypatch.undo()
    file = JournalFile(path)
    file.append(18, 1, transfers(1, 18))
    monkeypatch.setattr("os.access", lambda _path, _mode: False)
    assert verify(path).rows == 18
    file.close()


def test_verify_when_there_is_none_then_is_refused(tmp_path: Path) -> None:
    """To look makes no file."""
    with pytest.raises(Refused, match="NO_JOURNAL"):
        verify(str(tmp_path / "journal.db"))
    assert list(tmp_path.iterdir()) == []


# --- show and export ----------------------------------------------------------------------------


def test_show_when_asked_for_a_row_then_gives_names_and_plain_values(tmp_path: Path) -> None:
    """What JSON can carry, exact: Decimals as text, bytes in hex, time with all nanoseconds."""
    path = str(tmp_path / "journal.db")
    file = JournalFile(path)
    inferred = FillInferred(1_700_000_000 * SECOND + 5, filled(9, "c1", "t1", "buy", "0.10", "60000"))
    file.append(1, 3, (inferred, OwnerState(2, OwnerId("ema"), 4, b"\x01\xff"), Parent(3, parent(1).order)))
    file.close()
    first, second, third = show(path)
    assert {**first, "fields": None} == {
        "lsn": 1,
        "time": "2023-11-14T22:13:20.000000005Z",
        "epoch": 3,
        "type": "FillInferred",
        "fields": None,
    }
    assert (first["fields"]["fill"]["qty"], first["fields"]["fill"]["at_ns"]) == ("0.10", 9)
    assert second["fields"] == {"owner": "ema", "turn": 4, "state": "01ff"}
    assert (third["fields"]["order"]["settings"], third["fields"]["target_qty"]) == (
        {"post_only": True},
        None,
    )
    msgspec.json.encode([first, second, third])


@pytest.mark.parametrize(
    ("filters", "lsns"),
    [
        ({"since_lsn": 16}, [16, 17]),
        ({"until_lsn": 2}, [1, 2]),
        ({"since_lsn": 5, "until_lsn": 6}, [5, 6]),
        ({"since_lsn": 99}, []),
        ({"limit": 2}, [1, 2]),
        ({"limit": 0}, []),
        ({"kind": "PARENT_FAILED"}, [17]),
        ({"kind": "parent"}, [3, 10]),
        ({"order": "a"}, [4, 5, 6, 7, 8]),
        ({"order": "p1"}, [3, 4, 9]),
        ({"order": "b", "kind": "fill", "limit": 1, "since_lsn": 13}, [13]),
    ],
)
def test_show_when_filtered_then_gives_those_rows(
    path: str, filters: dict[str, int | str], lsns: list[int]
) -> None:
    """By number, type, order or parent; nested records are looked into."""
    assert [row["lsn"] for row in show(path, **filters)] == lsns  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("filters", "text"),
    [
        ({"since_lsn": 6, "until_lsn": 5}, r"BAD_RANGE: --until: expected 6 \(--since\) or more, got 5"),
        ({"kind": "INTNT"}, "UNKNOWN_TYPE: --type: expected a type of record, got 'INTNT'.*mean 'intent'"),
        ({"order": "nope"}, "UNKNOWN_ORDER: --order: .* of rows 0 to 17, got 'nope'"),
        ({"order": "a", "since_lsn": 9}, "UNKNOWN_ORDER: --order: .* of rows 9 to 17, got 'a'"),
    ],
)
def test_show_when_nothing_can_pass_then_refused_with_key_value_and_expectation(
    path: str, filters: dict[str, int | str], text: str
) -> None:
    """An empty list would say that nothing happened."""
    with pytest.raises(Refused, match=text):
        list(show(path, **filters))  # type: ignore[arg-type]


def test_show_when_an_order_has_no_row_of_the_type_then_that_is_an_empty_list(path: str) -> None:
    """The order is known: nothing of this kind happened to it."""
    assert list(show(path, order="p1", kind="Kill")) == []


def test_show_when_the_writer_works_meanwhile_then_neither_waits_for_the_other(tmp_path: Path) -> None:
    """A slow reader holds no lock: the writer appends, repairs and empties its WAL."""
    path = str(tmp_path / "journal.db")
    file = JournalFile(path)
    file.append(1, 1, transfers(2500))
    rows = show(path)
    seen = [next(rows)["lsn"] for _ in range(10)]
    file.append(2501, 1, transfers(5, 2501))
    file.base.suspect = True
    file.reopen()
    seen += [row["lsn"] for row in rows]
    assert seen == list(range(1, 2501))
    file.close()


def test_show_when_a_row_is_damaged_then_gives_those_before_and_names_it(path: str) -> None:
    """What can be believed is of use."""
    altered(path, "UPDATE journal SET at_ns = 7 WHERE lsn = 3")
    rows = show(path)
    seen = [next(rows)["lsn"], next(rows)["lsn"]]
    with pytest.raises(Refused, match=r"JOURNAL_DAMAGED: .* at lsn 3: expected chain"):
        next(rows)
    assert seen == [row["lsn"] for row in show(path, until_lsn=2)] == [1, 2]


def test_export_when_written_then_each_line_is_a_row(path: str) -> None:
    """What a spreadsheet or a script reads."""
    out = io.BytesIO()
    assert export(path, out) == len(RECORDS)
    lines = out.getvalue().splitlines()
    assert [msgspec.json.decode(line) for line in lines] == list(show(path))
    with pytest.raises(Refused, match="BAD_FORMAT: --format: expected jsonl, got 'csv'"):
        export(path, io.BytesIO(), "csv")


def test_show_when_an_order_replaces_another_then_is_found_by_both(tmp_path: Path) -> None:
    """The whole story of an order has its successor's INTENT in it."""
    path = str(tmp_path / "journal.db")
    file = JournalFile(path)
    successor = msgspec.structs.replace(intent(2, "new", "p1"), replaces="old", order_qty=Decimal(2))
    file.append(
        1, 1, (intent(1, "old", "p1"), successor, ParentFailed(3, ParentId("p2"), "x"), fill_record(4))
    )
    file.close()
    assert [row["lsn"] for row in show(path, order="old")] == [1, 2]
    assert [row["lsn"] for row in show(path, order="c1")] == [4]
    assert ACCOUNT in {row["fields"].get("account") for row in show(path)}
