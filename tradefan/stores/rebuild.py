"""A journal written anew from what is left of a damaged one, which is set aside under another name."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from itertools import count

import apsw
import msgspec

from tradefan.messages.records import RECORD_VERSION
from tradefan.stores.disk import Disk, open_flags
from tradefan.stores.journal_layout import (
    INSERT_ROW,
    INSERT_SNAPSHOT,
    INSERT_SUBJECT,
    WITH_SUBJECT,
    Decode,
    Plain,
    good_snapshots,
    lay_out,
    only_aside,
    select,
    snapshot_values,
    subject_of,
)

BROKEN = (apsw.Error, msgspec.MsgspecError, ValueError, TypeError)
"""What reading a damaged file may raise."""
_ROWS_AT_ONCE = 10_000
REBUILT = ".rebuilt"
"""Ends the name of a file that is still being written, or waits for its place."""


def rebuild(disk: Disk, path: str, start: int, last: int, decode: Decode) -> str:
    """Put a new file with the rows up to `last` in the old one's place; say what is only in the old one.

    Rows up to `start` are taken as they are, if they can be read: a snapshot stands for them.
    """
    new = path + REBUILT
    _set_aside(disk, path, (new, f"{new}-wal", f"{new}-shm"))
    target = disk.connect(new, open_flags(read_only=False))
    try:
        target.pragma("journal_mode", "wal")
        lay_out(target, 0, decode)
        missing = _copy(disk, path, target, start, last, decode) if last else ""
        target.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        target.close(True)
    _put_in_place(disk, path)
    return missing


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


def _copy(disk: Disk, path: str, target: apsw.Connection, start: int, last: int, decode: Decode) -> str:
    source, missing = open_to_look(disk, path), ""
    try:
        try:
            _put(target, _rows(source, 0, start), decode)
        except BROKEN:
            # Recovery needs only the row that its snapshot stands for.
            missing = f"; {only_aside(start)}"
            target.execute("ROLLBACK; DELETE FROM journal; DELETE FROM subjects")
            _put(target, _rows(source, start - 1, start), decode)
        _put(target, _rows(source, start, last), decode)
        with suppress(*BROKEN):
            for lsn, chain, state in good_snapshots(source, last):
                target.execute(INSERT_SNAPSHOT, snapshot_values(lsn, chain, state))
        with suppress(*BROKEN):
            for lsn, text in list(source.execute("SELECT lsn, text FROM losses ORDER BY lsn")):
                target.execute("INSERT INTO losses VALUES (?, ?)", (min(lsn, last), text))
    finally:
        source.close(True)
    return missing


def _rows(source: apsw.Connection, after_lsn: int, last: int) -> Iterable[tuple[Plain, bytes]]:
    return select(source, after_lsn, up_to=last)


def _put(target: apsw.Connection, rows: Iterable[tuple[Plain, bytes]], decode: Decode) -> None:
    target.execute("BEGIN IMMEDIATE")
    for number, (plain, chain) in enumerate(rows, 1):
        target.execute(INSERT_ROW, (*plain, chain))
        if plain[3] in WITH_SUBJECT and plain[4] <= RECORD_VERSION:
            with suppress(msgspec.MsgspecError, ValueError):
                target.execute(INSERT_SUBJECT, (subject_of(decode(plain[5])), plain[0]))
        if number % _ROWS_AT_ONCE == 0:
            target.execute("COMMIT; BEGIN IMMEDIATE")
    target.execute("COMMIT")


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
