"""The simulated disk: what kill, power loss, a failing disk and damage leave behind."""

from __future__ import annotations

import errno
import gc
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import apsw
import pytest

from tradefan.errors import Defect
from tradefan.sim.disk import SimDisk
from tradefan.stores.disk import open_flags

READ_WRITE = open_flags(read_only=False)


class Died(BaseException):
    """The world ends the process."""


@pytest.fixture
def disk() -> Iterator[SimDisk]:
    disk = SimDisk(1)
    yield disk
    disk.close()


def database(disk: SimDisk, path: str = "/a.db") -> apsw.Connection:
    db = disk.connect(path, READ_WRITE)
    db.pragma("journal_mode", "wal")
    db.pragma("synchronous", "full")
    db.execute("CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY, text TEXT)")
    return db


def put(db: apsw.Connection, number: int, text: str = "x" * 300) -> None:
    db.execute("INSERT INTO t VALUES (?, ?)", (number, text))


def put_all(db: apsw.Connection, rows: Iterable[int]) -> None:
    for number in rows:
        put(db, number)


def numbers(db: apsw.Connection) -> list[int]:
    return [number for (number,) in db.execute("SELECT n FROM t ORDER BY n")]


# --- kill and power loss ------------------------------------------------------------------------


def test_kill_when_nothing_was_synced_then_keeps_all_that_was_written(disk: SimDisk) -> None:
    """The system has the pages: only the process is gone."""
    file = disk.plain("/mark", b"old!")
    file.write(1, b"EW")
    disk.crash(power_loss=False)
    assert disk.plain("/mark").read() == b"oEW!"


def test_power_loss_when_synced_then_keeps_it_whatever_the_seed() -> None:
    """A commit in WAL mode with synchronous=FULL is there after every power loss."""
    for seed in range(30):
        disk = SimDisk(seed)
        db = database(disk)
        for number in range(20):
            put(db, number)
        disk.crash(power_loss=True)
        assert numbers(database(disk)) == list(range(20))
        disk.close()


def test_power_loss_when_not_synced_then_keeps_loses_or_tears_it_by_the_seed() -> None:
    """Every outcome that a real disk has comes up, and nothing else."""
    seen = set()
    for seed in range(200):
        disk = SimDisk(seed)
        file = disk.plain("/f", b"o" * 10_000)
        file.write(0, b"n" * 10_000)
        disk.crash(power_loss=True)
        left = disk.plain("/f").read()
        assert len(left) == 10_000
        assert set(left) <= set(b"on")
        pages = [left[at : at + 4096] for at in (0, 4096, 8192)]
        seen |= {"torn" if len(set(page)) == 2 else chr(page[0]) for page in pages}
        seen.add("mixed" if len({page[0] for page in pages}) == 2 else "alike")
        disk.close()
    assert seen == {"n", "o", "torn", "mixed", "alike"}


def test_power_loss_when_the_file_grew_unsynced_then_its_size_is_the_old_or_the_new() -> None:
    """A size that was not synced is either one; where it is the new, lost pages read as zeros."""
    sizes = set()
    for seed in range(60):
        disk = SimDisk(seed)
        file = disk.plain("/f", b"o" * 100)
        file.write(100, b"n" * 5_000)
        disk.crash(power_loss=True)
        left = disk.plain("/f").read()
        assert left.startswith(b"o" * 100)
        assert set(left[100:]) <= set(b"n\0")
        sizes.add(len(left))
        disk.close()
    assert sizes == {100, 5_100}


def test_power_loss_when_nothing_was_ever_synced_then_the_name_itself_may_be_gone() -> None:
    """A new file is durable with its first sync, not before."""
    there = set()
    for seed in range(40):
        disk = SimDisk(seed)
        db = disk.connect("/a.db", READ_WRITE)
        db.pragma("synchronous", "off")
        db.execute("CREATE TABLE t (n)")
        disk.crash(power_loss=True)
        there.add(disk.exists("/a.db"))
        disk.close()
    assert there == {True, False}


@pytest.mark.parametrize("synced", [False, True])
def test_power_loss_when_a_file_was_deleted_then_comes_back_only_if_no_folder_was_synced(
    *, synced: bool
) -> None:
    """A new file's first sync brings the folder to the platter, as SQLite's Unix VFS does it."""
    back = set()
    for seed in range(40):
        disk = SimDisk(seed)
        disk.plain("/gone", b"x")
        disk.xDelete("/gone", False)
        if synced:
            disk.plain("/new", b"y")
        disk.crash(power_loss=True)
        back.add(disk.exists("/gone"))
        disk.close()
    assert back == ({False} if synced else {True, False})


def test_disk_when_the_seed_and_the_calls_are_the_same_then_so_is_what_is_left() -> None:
    """A failing seed can be run again."""

    def left(seed: int) -> dict[str, bytes]:
        disk = SimDisk(seed)
        db = database(disk)
        db.pragma("synchronous", "normal")
        for number in range(30):
            put(db, number)
        disk.crash(power_loss=True)
        found = {path: disk.peek(path) for path in disk.paths() if path.endswith("db")}
        found["rows"] = repr(numbers(database(disk))).encode()
        disk.close()
        return found

    assert left(7) == left(7)
    assert len({left(seed)["rows"] for seed in range(20)}) > 1


# --- a disk that fails --------------------------------------------------------------------------


def test_sync_when_it_fails_then_its_pages_count_as_clean(disk: SimDisk) -> None:
    """They are read as written, no later sync writes them, a power loss takes them."""
    file = disk.plain("/f", b"old")
    file.write(0, b"new")
    disk.fail("EIO", "sync")
    with pytest.raises(OSError, match=r"Input/output error") as caught:
        file.sync()
    assert caught.value.errno == errno.EIO
    file.sync()
    assert file.read() == b"new"
    disk.crash(power_loss=True)
    assert disk.plain("/f").read() == b"old"


def test_sync_when_it_fails_for_the_first_time_then_whoever_waits_for_it_is_told_once(disk: SimDisk) -> None:
    """The world lets the process die behind a failure, not behind its promise of one."""
    told: list[str] = []
    file = disk.plain("/f", b"old")
    disk.fail("EIO", "sync", after=1, times=2, then=lambda: told.append("struck"))
    file.sync()
    assert told == []
    for _ in range(2):
        with pytest.raises(OSError, match=r"Input/output error"):
            file.sync()
    assert told == ["struck"]


def test_sync_when_a_page_was_written_again_behind_a_failure_then_it_is_durable(disk: SimDisk) -> None:
    """Writing makes a page dirty again: that is how a repair works."""
    file = disk.plain("/f", b"old")
    file.write(0, b"new")
    disk.fail("EIO", "sync")
    with pytest.raises(OSError):
        file.sync()
    file.write(0, file.read())
    file.sync()
    disk.crash(power_loss=True)
    assert disk.plain("/f").read() == b"new"


def test_write_when_there_is_no_space_then_only_what_needs_more_of_it_fails(disk: SimDisk) -> None:
    """Mark and kill byte are overwritten in place also on a full disk."""
    file = disk.plain("/f", b"0123")
    disk.fail("ENOSPC", "write", times=None)
    file.write(0, b"new!")
    with pytest.raises(OSError) as caught:
        file.write(2, b"longer")
    assert (caught.value.errno, file.read()) == (errno.ENOSPC, b"new!")


@pytest.mark.parametrize(
    ("kind", "on", "error", "code"),
    [
        ("ENOSPC", "write", apsw.FullError, apsw.SQLITE_FULL),
        ("EIO", "write", apsw.IOError, apsw.SQLITE_IOERR_WRITE),
        ("EIO", "sync", apsw.IOError, apsw.SQLITE_IOERR_FSYNC),
        ("ENOSPC", "sync", apsw.IOError, apsw.SQLITE_IOERR_FSYNC),
    ],
)
def test_commit_when_the_disk_fails_then_raises_what_sqlite_says_of_it(
    disk: SimDisk, kind: str, on: str, error: type[apsw.Error], code: int
) -> None:
    """SQLite sees the codes that it sees from a real disk."""
    db = database(disk)
    put(db, 1)
    disk.fail(kind, on)  # type: ignore[arg-type]
    with pytest.raises(error) as caught:
        put(db, 2)
    assert caught.value.extendedresult == code  # type: ignore[attr-defined]
    assert numbers(db) == [1]
    put(db, 3)
    assert disk.counters[f"{on} {kind}"] == 1


def test_fault_when_counted_then_lets_good_calls_pass_and_ends_by_itself_or_by_heal(disk: SimDisk) -> None:
    """`after`, `times` and `path` say which calls fail; None is for ever."""
    one, other = disk.plain("/one", b"1"), disk.plain("/other", b"2")

    def works(sync: Callable[[], None]) -> bool:
        try:
            sync()
        except OSError:
            return False
        return True

    disk.fail("EIO", "sync", after=1, times=2, path="/one")
    assert [works(one.sync) for _ in range(4)] == [True, False, False, True]
    disk.fail("EIO", "sync", times=None, path="/one")
    assert [works(one.sync), works(one.sync), works(other.sync)] == [False, False, True]
    disk.heal()
    assert works(one.sync)


# --- the process dies inside a call -------------------------------------------------------------


@pytest.mark.parametrize("at", range(1, 5))
def test_hook_when_it_raises_in_a_commit_then_the_caller_gets_it_and_nothing_more_is_written(at: int) -> None:
    """A crash is before a call: that call and all later ones of this process have no effect."""
    disk = SimDisk(1)
    db = database(disk)
    put(db, 1)
    calls = 0

    def die(_operation: str, _path: str) -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            raise Died

    disk.on_call = die
    with pytest.raises(Died):
        put_all(db, range(2, 5))
    before = {path: disk.peek(path) for path in disk.paths()}
    with pytest.raises(Died):
        put(db, 9)
    assert {path: disk.peek(path) for path in disk.paths()} == before
    disk.on_call = None
    disk.crash(power_loss=False)
    # Three calls make one commit, the third is its sync.
    assert numbers(database(disk)) == ([1] if at < 3 else [1, 2])
    disk.close()


def test_connection_when_its_process_died_then_is_of_no_use_and_harmless(disk: SimDisk) -> None:
    """Neither use nor collection of what a dead process held touches the disk."""
    db = database(disk)
    put(db, 1)
    file = disk.plain("/f", b"x")
    disk.crash(power_loss=False)
    for use in (partial(put, db, 2), file.read, partial(file.write, 0, b"y"), file.sync):
        with pytest.raises(Defect, match="the process that opened it is dead"):
            use()
    before = {path: disk.peek(path) for path in disk.paths()}
    db.close(True)
    del db, use
    gc.collect()
    assert {path: disk.peek(path) for path in disk.paths()} == before
    assert numbers(database(disk)) == [1]


# --- damage and the rest ------------------------------------------------------------------------


def test_damage_when_done_then_is_on_the_platter(disk: SimDisk) -> None:
    """A flip, a cut, an old copy, a file gone: no power loss mends them."""
    file = disk.plain("/f", b"0123456789")
    disk.remember()
    file.write(0, b"X")
    file.sync()
    assert disk.damage("flip", "/f", at=1, bit=0) == "flip /f 1"
    assert disk.peek("/f") == b"X023456789"
    disk.damage("cut", "/f", at=4)
    disk.crash(power_loss=True)
    assert disk.peek("/f") == b"X023"
    disk.damage("old", "/f")
    assert disk.peek("/f") == b"0123456789"
    disk.damage("remove", "/f")
    assert not disk.exists("/f")


def test_damage_when_no_place_is_named_then_draws_one(disk: SimDisk) -> None:
    """The world need not know the file."""
    disk.plain("/f", bytes(100))
    disk.damage("flip", "/f")
    assert sum(value.bit_count() for value in disk.peek("/f")) == 1


def test_plain_when_missing_and_no_content_is_given_then_is_an_error(disk: SimDisk) -> None:
    """As on the real disk."""
    with pytest.raises(FileNotFoundError):
        disk.plain("/nowhere")


def test_rename_when_done_then_is_durable_and_the_old_name_is_gone(disk: SimDisk) -> None:
    """What was called so before is replaced."""
    disk.plain("/a", b"a")
    disk.plain("/b", b"b")
    disk.rename("/a", "/b")
    disk.crash(power_loss=True)
    assert (disk.exists("/a"), disk.peek("/b")) == (False, b"a")


def test_free_bytes_when_the_world_says_so_then_is_little(disk: SimDisk) -> None:
    """Whoever asks for room gets the world's answer."""
    disk.free = 5
    assert disk.free_bytes("/a.db") == 5
