"""The journal's commands: they show, verify and export, and change nothing."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from tests.unit.shell import Shell
from tradefan.messages.records import Epoch, Kill, Resume
from tradefan.stores.journal import JournalFile


@pytest.fixture
def journal(shell: Shell) -> Path:
    """A journal of three rows."""
    shell.data.root.mkdir(parents=True)
    records = (
        Epoch(1, 1, "abc", "cfg", "1"),
        Kill(2, "all", "a test", "cli alice"),
        Resume(3, "all", "well again", "cli alice"),
    )
    file = JournalFile(str(shell.data.journal))
    file.append(1, 1, records)
    file.close()
    return shell.data.journal


def test_journal_when_whole_then_verified_shown_and_exported(
    shell: Shell, journal: Path, tmp_path: Path
) -> None:
    """Each row on a line for people, or as an object for programs; nothing is written to it."""
    before = journal.read_bytes()
    done = shell.ours("journal", "verify")
    assert (done.code, done.err) == (0, "")
    assert "rows       3\n" in done.out
    assert json.loads(shell.ours("journal", "verify", "--json").out)["problems"] == []
    shown = shell.ours("journal", "show", "--since", "2")
    assert [line.split()[:4] for line in shown.out.splitlines()] == [
        ["2", "1970-01-01T00:00:00.000000002Z", "1", "Kill"],
        ["3", "1970-01-01T00:00:00.000000003Z", "1", "Resume"],
    ]
    assert shown.out.splitlines()[1].endswith("scope=all reason=well again principal=cli alice")
    (line,) = shell.ours("journal", "show", "--type", "KILL", "--json").out.splitlines()
    assert json.loads(line)["fields"]["reason"] == "a test"
    assert shell.ours("journal", "show", "--order", "nobody").code == 2
    out = tmp_path / "rows.jsonl"
    assert shell.ours("journal", "export", "-o", str(out)).out == f"wrote 3 rows to {out}\n"
    assert [json.loads(line)["lsn"] for line in out.read_text().splitlines()] == [1, 2, 3]
    assert shell.ours("journal", "export", "--format", "csv").code == 2
    assert journal.read_bytes() == before


def test_export_when_the_file_cannot_be_written_then_2_and_nothing_is_emptied(
    shell: Shell, journal: Path, tmp_path: Path
) -> None:
    """Not the journal either, which the export would empty; nor a file for a format that is none."""
    before, kept = journal.read_bytes(), tmp_path / "kept"
    kept.write_text("kept")
    link = tmp_path / "link"
    link.symlink_to(journal)
    paper = shell.data.paper
    paper.write_text("paper")
    names = ("/nonexistent/x", str(tmp_path), str(journal), f"{journal}.kill", str(link), str(paper))
    for out in (*names, str(shell.data.root / "instance")):
        done = shell.ours("journal", "export", "-o", out)
        assert (done.code, done.out) == (2, "")
        assert (
            "BAD_FILE: --out: expected a file that can be written and is not in the data directory,"
            f" got '{out}'" in done.err
        )
    assert (paper.read_text(), (shell.data.root / "instance").exists()) == ("paper", False)
    done = shell.ours("journal", "export", "--format", "csv", "-o", str(kept))
    assert (done.code, kept.read_text(), journal.read_bytes()) == (2, "kept", before)


def test_export_when_a_row_is_damaged_then_an_earlier_file_stays_and_the_rows_before_are_beside_it(
    shell: Shell, journal: Path, tmp_path: Path
) -> None:
    """Half a journal must not take the place of a whole one; what could be read is not lost either."""
    out = tmp_path / "rows.jsonl"
    assert shell.ours("journal", "export", "-o", str(out)).code == 0
    whole = out.read_text()
    db = sqlite3.connect(journal)
    with db:
        db.execute("UPDATE journal SET payload = zeroblob(9) WHERE lsn = 3")
    db.close()
    done = shell.ours("journal", "export", "-o", str(out))
    assert (done.code, done.out, out.read_text()) == (69, "", whole)
    assert "JOURNAL_DAMAGED" in done.err
    assert f"2 rows before it are written to {out}.tmp; {out} is as it was" in done.err
    assert len(Path(f"{out}.tmp").read_text().splitlines()) == 2


def test_export_when_the_file_is_a_device_then_it_is_written_and_not_replaced(
    shell: Shell, journal: Path
) -> None:
    """Whoever only counts rows writes them to /dev/null, which has to stay one."""
    assert journal.exists()
    done = shell.ours("journal", "export", "-o", "/dev/null")
    assert (done.code, done.out) == (0, "wrote 3 rows to /dev/null\n")
    assert Path("/dev/null").is_char_device()


def test_journal_when_a_row_was_altered_then_verify_is_1_and_names_it(shell: Shell, journal: Path) -> None:
    """A daemon would refuse to start on it, and says so by the same words."""
    db = sqlite3.connect(journal)
    with db:
        db.execute("UPDATE journal SET payload = zeroblob(9) WHERE lsn = 2")
    db.close()
    done = shell.ours("journal", "verify")
    assert (done.code, done.err) == (1, "")
    assert "lsn 2" in next(line for line in done.out.splitlines() if line.startswith("problems"))


def test_journal_when_there_is_none_then_69(shell: Shell) -> None:
    """Nothing was ever traded there; nothing is made either."""
    done = shell.ours("journal", "verify")
    assert done.code == 69
    assert "NO_JOURNAL" in done.err
    assert not shell.data.journal.exists()
