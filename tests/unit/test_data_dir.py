"""The data directory: one daemon at a time, files that are never half, secrets for their owner only."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
from pathlib import Path

import msgspec
import pytest

from tradefan.config.schema import Config, JournalConfig
from tradefan.config.services import StoreConfig
from tradefan.data_dir import DaemonFile, DataDir, write_whole
from tradefan.errors import Outage, Refused
from tradefan.messages.records import CleanStop, Epoch
from tradefan.stores.journal import JournalFile
from tradefan.stores.kill_byte import KILL_END
from tradefan.stores.mark import MARK_END
from tradefan.stores.rebuild import REBUILT

RECORD = DaemonFile(7, "http://127.0.0.1:8000", 5, "testing", "1")


@pytest.fixture
def places(tmp_path: Path) -> DataDir:
    return DataDir(tmp_path / "data", tmp_path / "logs")


def test_places_when_nothing_is_said_then_lie_under_the_checkout(tmp_path: Path) -> None:
    """Data by environment, logs beside it; file names are the configuration's."""
    config = Config(environment="testing", journal=JournalConfig(path="j.db"), store=StoreConfig(path="s.db"))
    found = DataDir.of(config, tmp_path)
    assert (found.root, found.log) == (tmp_path / "data" / "testing", tmp_path / "logs" / "tradefan.log")
    assert (found.journal, found.store) == (found.root / "j.db", found.root / "s.db")


@pytest.mark.parametrize(("said", "root"), [("mine", "{base}/mine"), ("/some/where", "/some/where")])
def test_places_when_data_dir_is_said_then_logs_lie_in_it(tmp_path: Path, said: str, root: str) -> None:
    """Everything that such a run writes is in one place."""
    found = DataDir.of(Config(data_dir=said), tmp_path)
    assert found.root == Path(root.format(base=tmp_path))
    assert found.logs == found.root / "logs"


def test_take_when_another_holds_it_then_refused_by_pid_and_directory(places: DataDir) -> None:
    """Two daemons on one journal would give out the same order ids."""
    places.take()
    second = DataDir(places.root, places.logs)
    with pytest.raises(Refused, match=f"DATA_DIR_IN_USE: {places.root} is used by.* pid {os.getpid()}"):
        second.take()
    second.release()
    places.announce(RECORD)
    assert second.running() == RECORD
    places.release()
    second.take()
    second.release()


def test_holder_when_a_daemon_runs_then_its_pid_also_before_it_announces_itself(places: DataDir) -> None:
    """A kill finds its daemon by the lock; who only resets paper accounts is none and gets no signal."""
    other = DataDir(places.root, places.logs)
    assert other.holder() is None
    places.take()
    assert (other.holder(), other.running()) == (os.getpid(), None)
    places.release()
    assert other.holder() is None
    places.take("(paper reset)")
    assert other.holder() is None
    with pytest.raises(Refused, match=rf"pid {os.getpid()} \(paper reset\)"):
        other.take()
    places.release()


@pytest.mark.failure("ST-07")
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has names that nobody can remove")
@pytest.mark.parametrize("how", ["removed", "moved away", "another one in its place"])
def test_take_when_the_lock_file_is_gone_then_refused_all_the_same(places: DataDir, how: str) -> None:
    """Cleaning up beside a daemon must neither hide it from a kill nor let a second one in."""
    places.take()
    lock = places.root / "lock"
    lock.rename(places.root / "moved")
    if how == "removed":
        (places.root / "moved").unlink()
    if how == "another one in its place":
        lock.touch()
    second = DataDir(places.root, places.logs)
    assert second.holder() == os.getpid()
    for refused in (second.require_free, second.take):
        with pytest.raises(Refused, match=f"{places.root} is used by.* pid {os.getpid()};"):
            refused()
    places.announce(RECORD)
    assert second.running() == RECORD
    places.release()
    assert (second.holder(), second.running()) == (None, None)
    second.take()
    second.release()


@pytest.mark.failure("ST-07")
@pytest.mark.parametrize("how", ["gone", "hidden"])
def test_holder_when_no_lock_can_be_looked_at_then_the_live_daemon_that_announced_itself(
    places: DataDir, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """ "Cannot look" is not "nobody": a kill needs the pid; a number that is another's is none."""
    places.root.mkdir()
    places.announce(msgspec.structs.replace(RECORD, pid=os.getpid()))
    if how == "hidden":
        # A link stands for a file without the right to read: these tests may run as root.
        (places.root / "lock").symlink_to(places.root / "elsewhere")
    assert places.holder() is None
    monkeypatch.setattr("tradefan.data_dir.may_be_daemon", lambda _pid: True)
    assert places.holder() == os.getpid()
    assert places.running() is not None
    places.announce(msgspec.structs.replace(RECORD, pid=2**22 + 1))
    assert places.holder() is None
    (places.root / "lock").unlink(missing_ok=True)
    (places.root / "lock").touch()
    places.announce(msgspec.structs.replace(RECORD, pid=os.getpid()))
    assert (places.holder(), places.running()) == (None, None)


@pytest.mark.failure("ST-03")
def test_take_when_the_disk_is_full_then_the_directory_is_held_without_a_note(
    places: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What rests is to be cancelled, full disk or not; where it can be had the pid is told all the same."""
    places.root.mkdir()

    def no_room(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr("tradefan.links.lock.os.pwrite", no_room)
        places.take()
        second = DataDir(places.root, places.logs)
        if sys.platform == "linux":
            assert second.holder() == os.getpid()
        with pytest.raises(Refused, match="DATA_DIR_IN_USE"):
            second.take()
        places.release()
    assert second.holder() is None
    second.take()
    second.release()


def test_release_when_a_note_was_written_then_its_room_stays_for_the_next_start(places: DataDir) -> None:
    """A file that was cut to nothing needs a new block, which a full disk does not have."""
    lock = places.root / "lock"
    places.take("(paper reset)")
    written = lock.read_text()
    places.release()
    assert (lock.read_text().strip(), len(lock.read_text())) == ("", len(written))
    places.take()
    assert lock.read_text() == str(os.getpid()).ljust(len(written))
    assert DataDir(places.root, places.logs).holder() == os.getpid()
    places.release()


def test_write_when_the_disk_is_full_then_nothing_is_left_of_the_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old file stays as it is, and the half one takes no room."""
    path = tmp_path / "file"
    write_whole(path, "one")

    def no_room(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tradefan.data_dir.os.fsync", no_room)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, "two")
    assert (path.read_text(), [one.name for one in tmp_path.iterdir()]) == ("one", ["file"])


def test_take_when_the_lock_cannot_be_asked_for_then_the_error_names_its_file(
    places: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call on a descriptor knows no name of its own."""

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("tradefan.links.lock.fcntl.flock", no_locks)
    with pytest.raises(Outage, match=f"got No locks available for {places.root}/lock"):
        places.take()
    assert places.holder() is None


def test_take_when_a_client_looks_at_that_moment_then_waits_for_it(
    places: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`tradefan status` in a loop must not keep a daemon from starting."""
    places.take()
    places.release()
    probe = os.open(places.root / "lock", os.O_RDONLY)
    fcntl.flock(probe, fcntl.LOCK_SH)
    monkeypatch.setattr("tradefan.links.lock.time.sleep", lambda _: os.close(probe))
    places.take()
    places.release()


def test_take_when_a_killed_daemon_left_its_address_then_nobody_asks_there(places: DataDir) -> None:
    """Between start and listening there is no daemon to be found."""
    places.root.mkdir()
    places.announce(RECORD)
    assert places.running() is None
    places.take()
    assert DataDir(places.root, places.logs).running() is None
    places.release()


def test_release_when_not_taken_then_leaves_what_is_another_ones(places: DataDir) -> None:
    """A refused second daemon cleans up nothing."""
    places.take()
    places.announce(RECORD)
    DataDir(places.root, places.logs).release()
    assert places.running() == RECORD
    places.release()
    assert not places.daemon_file.exists()


def test_take_when_the_folder_cannot_be_made_then_outage_names_it(tmp_path: Path) -> None:
    """A file where the folder should be; the same as a folder without the right to write."""
    (tmp_path / "data").write_text("")
    with pytest.raises(Outage, match=f"writable data directory, got .* for .*{tmp_path}/data"):
        DataDir(tmp_path / "data", tmp_path / "logs").take()


def test_instance_when_drawn_then_kept_for_ever(places: DataDir) -> None:
    """Own orders are known by it after any number of starts."""
    places.root.mkdir()
    drawn = places.instance()
    assert len(drawn) == 3
    assert places.instance() == drawn
    assert [path.name for path in places.root.iterdir()] == ["instance"]


@pytest.mark.parametrize("text", ["", "ab", "a1c", "ABC", "abcd", "äbc"])
def test_instance_when_the_file_is_damaged_then_refused(places: DataDir, text: str) -> None:
    """Drawing a new one in silence would make our own orders a stranger's."""
    places.root.mkdir()
    (places.root / "instance").write_text(text)
    with pytest.raises(Refused, match=r"BAD_INSTANCE: .*/instance: expected 3 of a-z2-7"):
        places.instance()


def test_set_aside_when_a_journal_has_a_mark_and_a_kill_byte_then_only_the_mark_goes_with_it(
    places: DataDir,
) -> None:
    """A fresh journal under the old mark would count as damaged; and it does not resume what was killed."""
    places.root.mkdir()
    first = JournalFile(str(places.journal))
    first.append(1, 1, (CleanStop(1, 0),))
    first.close()
    mark, kill = (Path(f"{places.journal}{end}") for end in (MARK_END, KILL_END))
    kill.write_bytes(b"\xff")
    places.set_aside()
    assert (places.root / f"journal-1.db{MARK_END}").exists()
    assert (mark.exists(), kill.read_bytes()) == (False, b"\xff")
    again = JournalFile(str(places.journal))
    assert again.last_lsn == 0
    again.close()
    kept = JournalFile(str(places.root / "journal-1.db"), read_only=True)
    assert kept.last_lsn == 1
    kept.close()


@pytest.mark.parametrize("left", [MARK_END, REBUILT])
def test_set_aside_when_the_journal_is_gone_then_what_is_left_of_it_is_not_in_the_way(
    places: DataDir, left: str
) -> None:
    """Its mark would refuse the fresh one, and a rebuilt file would come back under other letters."""
    places.root.mkdir()
    first = JournalFile(str(places.journal))
    first.append(1, 1, (CleanStop(1, 0),))
    first.close()
    if left == REBUILT:
        places.journal.with_name(f"{places.journal.name}{MARK_END}").unlink()
        places.journal.rename(f"{places.journal}{REBUILT}")
    else:
        places.journal.unlink()
    places.set_aside()
    assert (places.root / f"journal-1.db{left}").exists()
    again = JournalFile(str(places.journal))
    assert again.last_lsn == 0
    again.close()


def test_token_when_made_then_only_its_owner_reads_it(places: DataDir) -> None:
    """256 bits, 0600, the same at each start; rights that were loosened are tightened again."""
    places.root.mkdir()
    token = places.load_token()
    assert len(token) >= 43
    assert stat.S_IMODE(places.token.stat().st_mode) == 0o600
    places.token.chmod(0o644)
    assert places.load_token() == token
    assert stat.S_IMODE(places.token.stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["", "\n", "short", "ä" * 40])
def test_token_when_the_file_holds_none_then_refused(places: DataDir, text: str) -> None:
    """An empty token would let everybody in."""
    places.root.mkdir()
    places.token.write_text(text)
    with pytest.raises(Refused, match=r"BAD_TOKEN: .*/token"):
        places.load_token()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x"}'])
def test_running_when_the_file_says_nothing_then_none(places: DataDir, text: str) -> None:
    """A client meets whatever lies there."""
    places.take()
    places.daemon_file.write_text(text)
    assert DataDir(places.root, places.logs).running() is None
    places.release()


def test_write_when_done_then_one_file_of_that_mode(tmp_path: Path) -> None:
    """The old text or the new one, never half of either, and nothing else is left."""
    path = tmp_path / "file"
    write_whole(path, "one", 0o600)
    write_whole(path, "two", 0o600)
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("two", 0o600)
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


@pytest.mark.failure("ST-10")
def test_instance_when_its_file_is_lost_then_the_letters_are_those_of_the_journal(places: DataDir) -> None:
    """Under new ones every earlier order of ours would be a stranger's; the file is written again."""
    places.root.mkdir()
    file = JournalFile(str(places.journal))
    assert places.restore_instance() is None
    file.append(1, 1, (Epoch(1, 1, "abc", "cfg", "1"), Epoch(2, 2, "xyz", "cfg", "1"), CleanStop(3, 0)))
    assert places.restore_instance() == "xyz"
    assert (places.root / "instance").read_text() == "xyz"
    assert (places.restore_instance(), places.instance()) == (None, "xyz")
    (places.root / "instance").unlink()
    assert places.instance() == "xyz"
    file.close()
