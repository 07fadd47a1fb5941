"""`--accept-loss`: makes a damaged journal one that opens, and keeps what it was beside it.

What can be believed are the rows from the first on as far as the chain leads and records decode. A
file that is whole but shorter than its mark is kept as it is; any other is written anew, row by row
with the same hashes, and the old one is renamed. What is lost is written into `losses`.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import NamedTuple

import apsw
import msgspec

from tradefan.errors import Outage
from tradefan.messages.records import RECORD_VERSION, Record
from tradefan.stores.disk import MEMORY, Disk, open_flags
from tradefan.stores.journal_layout import (
    INSERT_ROW,
    INSERT_SUBJECT,
    JOURNAL_VERSION,
    NO_CHAIN,
    WITH_SUBJECT,
    DamagedRow,
    lay_out,
    subject_of,
    verified,
)
from tradefan.stores.mark import MARK_END, Mark, MarkFile, marks, new_marks

_ROWS_AT_ONCE = 10_000
_REBUILT = ".rebuilt"

Decode = Callable[[bytes], Record]


class Belief(NamedTuple):
    """How far a file can be believed; `why` is what was wrong behind that, "" when nothing was."""

    lsn: int
    chain: bytes
    layout: int
    why: str


def accept_loss(disk: Disk, path: str, decode: Decode) -> None:
    """Make a journal open again; one that is whole stays as it is.

    Raises:
        Outage: the disk does not let us.
    """
    if path == MEMORY:
        return
    try:
        _finish(disk, path)
        _accept(disk, path, decode)
    except (apsw.Error, OSError) as error:
        raise Outage(f"{path}: {type(error).__name__}: {error}") from error


def _accept(disk: Disk, path: str, decode: Decode) -> None:
    belief = examine(disk, path, decode)
    if belief.layout > JOURNAL_VERSION:
        return
    lost = _lost(_marks(disk, path), belief)
    if belief.why:
        _rebuild(disk, path, belief, decode)
    if lost:
        _write_down(disk, path, belief, lost)


def examine(disk: Disk, path: str, decode: Decode) -> Belief:
    """Return how far a file can be believed; nothing of it is changed."""
    lsn, chain, layout, why = 0, NO_CHAIN, 0, ""
    if not disk.exists(path):
        return Belief(lsn, chain, layout, why)
    try:
        db = _open(disk, path)
        try:
            layout = db.pragma("user_version")
            if 0 < layout <= JOURNAL_VERSION:
                for plain, digest in verified(db, 0, NO_CHAIN):
                    if plain[4] <= RECORD_VERSION:
                        decode(plain[5])
                    lsn, chain = plain[0], digest
                why = _integrity(db, layout)
        finally:
            db.close(True)
    except DamagedRow as error:
        why = error.text
    except (apsw.Error, msgspec.MsgspecError, ValueError, TypeError) as error:
        why = f"{type(error).__name__}: {error}"
    return Belief(lsn, chain, layout, why)


def _integrity(db: apsw.Connection, layout: int) -> str:
    found = str(db.execute("PRAGMA integrity_check(1)").get)
    if found == "ok" and layout == JOURNAL_VERSION:
        db.execute("SELECT 1 FROM subjects, snapshots, losses LIMIT 1").fetchall()
    return "" if found == "ok" else found


def _marks(disk: Disk, path: str) -> tuple[Mark, ...] | None:
    if not disk.exists(path + MARK_END):
        return None
    file = disk.plain(path + MARK_END)
    try:
        return tuple(mark for mark in marks(file.read()) if mark is not None)
    finally:
        file.close()


def _lost(known: tuple[Mark, ...] | None, belief: Belief) -> str:
    """Say what is lost, "" when nothing is."""
    newest = max(known, default=None) if known else None
    if newest is None:
        if known is None and belief.layout < JOURNAL_VERSION and not belief.why:
            return ""
        return f"rows behind lsn {belief.lsn}, as many as there were: no mark says. {belief.why}".rstrip()
    if newest.lsn > belief.lsn:
        return f"rows {belief.lsn + 1} to {newest.lsn}: {belief.why or 'they are not there'}"
    if belief.why:
        return f"rows behind lsn {belief.lsn}, if there were any: {belief.why}"
    if newest.lsn == belief.lsn and newest.chain != belief.chain[: len(newest.chain)]:
        return f"the history that the mark file knows: row {newest.lsn} is another one"
    return ""


# --- a file written anew ----------------------------------------------------------------------------


def _rebuild(disk: Disk, path: str, belief: Belief, decode: Decode) -> None:
    """Write the believed rows into a new file, set the old one aside, and put the new one in its place."""
    rebuilt = path + _REBUILT
    _set_aside(disk, path, (rebuilt, f"{rebuilt}-wal", f"{rebuilt}-shm"))
    target = disk.connect(rebuilt, open_flags(read_only=False))
    try:
        target.pragma("journal_mode", "wal")
        lay_out(target, 0, decode)
        if belief.lsn:
            _copy(disk, path, belief.lsn, target, decode)
        target.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        target.close(True)
    _put_in_place(disk, path)


def _copy(disk: Disk, path: str, last: int, target: apsw.Connection, decode: Decode) -> None:
    source = _open(disk, path)
    try:
        target.execute("BEGIN IMMEDIATE")
        for plain, digest in verified(source, 0, NO_CHAIN):
            target.execute(INSERT_ROW, (*plain, digest))
            if plain[3] in WITH_SUBJECT and plain[4] <= RECORD_VERSION:
                target.execute(INSERT_SUBJECT, (subject_of(decode(plain[5])), plain[0]))
            if plain[0] == last:
                break
            if plain[0] % _ROWS_AT_ONCE == 0:
                target.execute("COMMIT")
                target.execute("BEGIN IMMEDIATE")
        target.execute("COMMIT")
    finally:
        source.close(True)


def _finish(disk: Disk, path: str) -> None:
    """Go on where a crash left a rebuilt file: without the old one beside it, it was complete."""
    if disk.exists(path + _REBUILT) and not disk.exists(path):
        _put_in_place(disk, path)


def _put_in_place(disk: Disk, path: str) -> None:
    # The old database goes first: as long as it is there, what was rebuilt may be half.
    _set_aside(disk, path, (path, f"{path}-wal", f"{path}-shm"))
    disk.rename(path + _REBUILT, path)


def _set_aside(disk: Disk, path: str, files: tuple[str, ...]) -> None:
    """Rename files, those that are there, so that they no longer lie in the way."""
    for file in files:
        if disk.exists(file):
            aside = next(
                name
                for number in count(1)
                if not disk.exists(name := f"{path}.damaged-{number}{file.removeprefix(path)}")
            )
            disk.rename(file, aside)


def _write_down(disk: Disk, path: str, belief: Belief, lost: str) -> None:
    """Say in the file what is lost, and let its marks begin anew."""
    db = disk.connect(path, open_flags(read_only=False))
    try:
        db.pragma("journal_mode", "wal")
        db.pragma("synchronous", "full")
        layout = db.pragma("user_version")
        if layout < JOURNAL_VERSION:
            lay_out(db, layout, msgspec.msgpack.Decoder(Record).decode)
        db.execute("DELETE FROM snapshots WHERE lsn > ?", (belief.lsn,))
        db.execute("INSERT INTO losses VALUES (?, ?)", (belief.lsn, lost))
    finally:
        db.close(True)
    start = new_marks(belief.lsn, belief.chain)
    file = MarkFile(disk.plain(path + MARK_END, start))
    file.reset(belief.lsn, belief.chain)
    file.close()


def _open(disk: Disk, path: str) -> apsw.Connection:
    """Open a file to look at; its end writes nothing."""
    db = disk.connect(path, apsw.SQLITE_OPEN_READWRITE)
    db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    return db
