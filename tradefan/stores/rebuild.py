"""A journal written anew from what is left of a damaged one, which is set aside under another name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import count
from typing import TypeVar

import apsw
import msgspec

from tradefan.messages.records import RECORD_VERSION
from tradefan.stores.disk import Disk, open_flags
from tradefan.stores.journal_layout import (
    INSERT_ROW,
    INSERT_SNAPSHOT,
    INSERT_SUBJECT,
    NO_CHAIN,
    WITH_SUBJECT,
    DamagedRow,
    Decode,
    Plain,
    begin_of,
    good_snapshots,
    lay_out,
    only_aside,
    select,
    snapshot_values,
    subject_of,
    verified,
)

T = TypeVar("T")

BROKEN = (apsw.Error, msgspec.MsgspecError, ValueError, TypeError)
"""What reading a damaged file may raise."""
_ROWS_AT_ONCE = 10_000
REBUILT = ".rebuilt"
"""Ends the name of a file that is still being written, or waits for its place."""


def rebuild(disk: Disk, path: str, decode: Decode, lost: Callable[[int], str]) -> tuple[int, bytes]:
    """Put a new file with the rows that can be believed in the old one's place.

    Its losses say what is only in the old one: `lost` says it of the rows behind the last one.
    Returns lsn and hash of that.
    """
    new = path + REBUILT
    _set_aside(disk, path, (new, f"{new}-wal", f"{new}-shm"))
    target = disk.connect(new, open_flags(read_only=False))
    try:
        target.pragma("journal_mode", "wal")
        lay_out(target, 0, decode)
        copied = _copy(disk, path, target, decode) if disk.exists(path) else (0, NO_CHAIN)
        target.execute("INSERT INTO losses VALUES (?, ?)", (copied[0], lost(copied[0])))
        target.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        target.close(True)
    _put_in_place(disk, path)
    return copied


def finish(disk: Disk, path: str) -> None:
    """Go on where a crash left a rebuilt file: without the old one beside it, it was complete.

    Every start does, before it makes a new file: that one would stand for all that was saved.
    """
    if disk.exists(path + REBUILT) and not disk.exists(path):
        _put_in_place(disk, path)


def renew_wal(disk: Disk, path: str) -> None:
    """Write the WAL of a database as it is and sync it: what is read from it may be in the cache alone.

    Raises:
        OSError: the disk did not take it.
    """
    if not disk.exists(f"{path}-wal"):
        return
    file = disk.plain(f"{path}-wal")
    try:
        file.write(0, file.read())
        file.sync()
    finally:
        file.close()


def open_to_look(disk: Disk, path: str) -> apsw.Connection:
    """Open a file whose end writes nothing."""
    db = disk.connect(path, apsw.SQLITE_OPEN_READWRITE)
    db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    return db


def starts(source: apsw.Connection) -> list[tuple[int, bytes]]:
    """Return lsn and hash of where recovery may begin, the newest first and the beginning last."""
    found: list[tuple[int, bytes]] = []
    with suppress(*BROKEN):
        found.extend((lsn, chain) for lsn, chain, _ in good_snapshots(source))
    return [*found, (0, NO_CHAIN)]


def believed(
    source: apsw.Connection, lsn: int, chain: bytes, decode: Decode
) -> Iterator[tuple[Plain, bytes]]:
    """Yield the rows behind an lsn as far as the chain leads and records decode.

    Raises:
        DamagedRow: at the first row to which it does not lead; any of BROKEN at one that cannot be read.
    """
    for plain, digest in verified(source, lsn, chain):
        if plain[4] <= RECORD_VERSION:
            decode(plain[5])
        yield plain, digest


def _copy(disk: Disk, path: str, target: apsw.Connection, decode: Decode) -> tuple[int, bytes]:
    source = open_to_look(disk, path)
    try:
        # A snapshot whose own row cannot be copied is no place to begin; the beginning always is.
        begin = next(
            start for start in starts(source) if not start[0] or _copy_old(source, target, *start, decode)
        )
        last, chain = _put(target, _readable(believed(source, *begin, decode)), decode) or begin
        for lsn, digest, state in _readable(good_snapshots(source, last)):
            target.execute(INSERT_SNAPSHOT, snapshot_values(lsn, digest, state))
        for lsn, text in _readable(_losses(source)):
            target.execute("INSERT INTO losses VALUES (?, ?)", (min(lsn, last), str(text)))
        first = target.execute("SELECT min(lsn) FROM journal WHERE lsn > 0").get or 1
        if first > 1 and begin_of(target)[0] != first:
            target.execute("INSERT INTO losses VALUES (?, ?)", (last, only_aside(first)))
    finally:
        source.close(True)
    return last, chain


def _copy_old(
    source: apsw.Connection, target: apsw.Connection, start: int, chain: bytes, decode: Decode
) -> bool:
    """Copy the rows that a snapshot stands for as they are, or its own alone, which recovery needs.

    Returns whether that one came along.
    """
    for after_lsn in (0, start - 1):
        # A damaged tree has rows twice, or values of other types.
        with suppress(apsw.ConstraintError, TypeError):
            rows = _readable(select(source, after_lsn, up_to=start))
            if _put(target, rows, decode) == (start, chain):
                return True
        if target.in_transaction:
            target.execute("ROLLBACK")
        target.execute("DELETE FROM journal; DELETE FROM subjects")
    return False


def _losses(source: apsw.Connection) -> Iterator[tuple[int, str]]:
    yield from source.execute("SELECT lsn, text FROM losses WHERE typeof(lsn) = 'integer' ORDER BY lsn")


def _readable(rows: Iterable[T]) -> Iterator[T]:
    """Yield what can be read, up to what cannot; errors of whoever takes them are not ours."""
    with suppress(DamagedRow, *BROKEN):
        yield from rows


def _put(
    target: apsw.Connection, rows: Iterable[tuple[Plain, bytes]], decode: Decode
) -> tuple[int, bytes] | None:
    """Write rows; return lsn and hash of the last one."""
    last = None
    target.execute("BEGIN IMMEDIATE")
    for number, (plain, chain) in enumerate(rows, 1):
        target.execute(INSERT_ROW, (*plain, chain))
        last = plain[0], chain
        if plain[3] in WITH_SUBJECT and plain[4] <= RECORD_VERSION:
            with suppress(msgspec.MsgspecError, ValueError):
                target.execute(INSERT_SUBJECT, (subject_of(decode(plain[5])), plain[0]))
        if number % _ROWS_AT_ONCE == 0:
            target.execute("COMMIT; BEGIN IMMEDIATE")
    target.execute("COMMIT")
    return last


def _put_in_place(disk: Disk, path: str) -> None:
    # The old database goes first: as long as it is there, what was rebuilt may be half.
    _set_aside(disk, path, (path, f"{path}-wal", f"{path}-shm"))
    disk.rename(path + REBUILT, path)


def _set_aside(disk: Disk, path: str, files: tuple[str, ...]) -> None:
    """Rename files, those that are there, so that they no longer lie in the way."""
    for file in files:
        if disk.exists(file):
            end = file.removeprefix(path)
            names = (f"{path}.damaged-{number}{end}" for number in count(1))
            disk.rename(file, next(name for name in names if not disk.exists(name)))
