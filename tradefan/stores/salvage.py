"""`--accept-loss`: makes a damaged journal one that opens, and keeps what it was beside it.

What can be believed is the newest good snapshot, or the beginning, and the rows behind it as far as the
chain leads and records decode; older rows are kept as they are. A file that is whole but shorter than
its mark stays. Any other is written anew, row by row with the same hashes, and the old one is renamed.
What is lost is written into `losses`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import apsw
import msgspec

from tradefan.errors import Outage, Refused
from tradefan.messages.records import TRADING_READ, TRADING_VERSION, Record
from tradefan.stores.disk import MEMORY, Disk, open_flags
from tradefan.stores.journal_layout import (
    INSERT_ROW,
    JOURNAL_VERSION,
    LOCKED,
    NO_CHAIN,
    SIDE_TABLES_SINCE,
    DamagedRow,
    Decode,
    foreign_snapshot,
    lay_out,
    only_read,
)
from tradefan.stores.mark import MARK_END, Mark, MarkFile, epoch_in, new_marks, whole_marks
from tradefan.stores.rebuild import BROKEN, believed, finish, open_to_look, rebuild, renew_wal, starts

EPOCHS_UNKNOWN = 2**14
"""More starts than lost rows can be of, where no mark says how many: their ids may be at the venue."""
BESIDE = {
    "subjects": "subject, lsn",
    "snapshots": "lsn, chain, version, digest, state",
    "losses": "lsn, text",
    "sqlite_schema": "sql",
}
"""Tables beside the rows; with the last one SQLite looks at the free pages."""


class Belief(NamedTuple):
    """Rows can be believed up to `lsn`; `why` is what is wrong then."""

    lsn: int
    chain: bytes
    layout: int
    why: str
    foreign: tuple[int, int] | None = None
    """Lsn and version of a snapshot behind that which only another program can read."""
    other: int | None = None
    """A row that a mark names, and that is not the one in the file."""


def accept_loss(disk: Disk, path: str, decode: Decode) -> None:
    """Make a journal open again; one that recovery can use stays as it is.

    Raises:
        Refused: JOURNAL_NEWER or JOURNAL_OLDER: a program of another version would believe more.
        Outage: the disk does not let us.
    """
    if path == MEMORY:
        return
    try:
        finish(disk, path)
        # The loss is written behind what the WAL holds: a sync of that may have failed.
        renew_wal(disk, path)
        content = _mark_content(disk, path)
        belief = examine(disk, path, decode, whole_marks(content))
        if belief.layout > JOURNAL_VERSION:
            return
        if belief.why and belief.foreign is not None:
            raise of_another(path, *belief.foreign)
        if belief.why:
            lsn, chain = rebuild(disk, path, decode, lambda last: _lost(content, belief._replace(lsn=last)))
            belief = belief._replace(lsn=lsn, chain=chain)
        elif lost := _lost(content, belief):
            _write_down(disk, path, belief, lost)
        else:
            return
        _begin_marks(disk, path, belief, None if content is None else epoch_in(content))
    except (apsw.Error, OSError) as error:
        raise Outage(f"{path}: {type(error).__name__}: {error}") from error


def of_another(path: str, lsn: int, version: int) -> Refused:
    """Return the refusal of a journal that begins with a snapshot which only another program can read."""
    code = "JOURNAL_NEWER" if version > TRADING_VERSION else "JOURNAL_OLDER"
    expected = f"expected {TRADING_READ} to {TRADING_VERSION}"
    text = (
        f"the snapshot at lsn {lsn} in {path} has version {version}, {expected}, and rows before it are lost"
    )
    return Refused(code, f"{text}: use the TradeFan that wrote it; nothing was changed")


def examine(disk: Disk, path: str, decode: Decode, known: Sequence[Mark] = ()) -> Belief:
    """Return how far a file can be believed, also by its marks; nothing of it is changed."""
    lsn, chain, layout, why, foreign, other = 0, NO_CHAIN, 0, "", None, None
    if not disk.exists(path):
        # What is left of it is set aside, not taken away by SQLite.
        why = "the file is not there" if disk.exists(f"{path}-wal") else ""
        return Belief(lsn, chain, layout, why)
    db = None
    try:
        db = open_to_look(disk, path)
        layout, head = _read_head(db)
        if layout >= SIDE_TABLES_SINCE:
            foreign = _foreign(db)
            lsn, chain = starts(db)[0]
        if 0 < layout <= JOURNAL_VERSION:
            for plain, digest in believed(db, lsn, chain, decode):
                lsn, chain = plain[0], digest
            _require_found(db, lsn, chain)
            other = next((mark.lsn for mark in known if mark.lsn <= lsn and not _is_there(db, mark)), None)
        why = head or (side_tables(db) or _stuck(db, lsn) if layout >= SIDE_TABLES_SINCE else "")
    except DamagedRow as error:
        why = error.text
    except BROKEN as error:
        why = f"{type(error).__name__}: {error}"
    finally:
        if db is not None:
            db.close(True)
    if foreign is not None and foreign[0] <= lsn:
        foreign = None
    return Belief(lsn, chain, layout, why, foreign, other)


def _read_head(db: apsw.Connection) -> tuple[int, str]:
    """Return the version of the layout, and what is wrong with the bytes that every file begins with."""
    locked, layout = only_read(db), db.pragma("user_version")
    if locked:
        return layout, LOCKED
    tables = {str(name) for (name,) in db.execute("SELECT name FROM sqlite_schema")}
    if (layout < 1 and tables) or (layout < SIDE_TABLES_SINCE and "subjects" in tables):
        return JOURNAL_VERSION, f"expected version {JOURNAL_VERSION} in its first page, found {layout}"
    return layout, ""


def _foreign(db: apsw.Connection) -> tuple[int, int] | None:
    with suppress(*BROKEN):
        return foreign_snapshot(db)
    return None


def _stuck(db: apsw.Connection, lsn: int) -> str:
    """Say why no row can be written behind the last one; SQLite looks at many bytes only then.

    Nothing is written: three rows of nearly a page each, so that the tree has to grow, are taken back.
    """
    try:
        db.execute("BEGIN IMMEDIATE")
        for number in range(1, 4):
            db.execute(INSERT_ROW, (lsn + number, 0, 0, "", 0, bytes(3_000), NO_CHAIN))
    except (apsw.CorruptError, apsw.ConstraintError) as error:
        return f"no row can be written behind it: {type(error).__name__}: {error}"
    except apsw.Error:
        # The disk's, or another program's: the start will say it.
        return ""
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")
    return ""


def _require_found(db: apsw.Connection, lsn: int, chain: bytes) -> None:
    """See that the tree leads to the last row of its leaves: the next one comes to lie where it leads."""
    if not _is_there(db, Mark(lsn, chain)):
        raise DamagedRow(lsn, f"expected to find row {lsn} by its number, found another or none")


def _is_there(db: apsw.Connection, mark: Mark) -> bool:
    with suppress(*BROKEN):
        chain = db.execute("SELECT chain FROM journal WHERE lsn = ?", (mark.lsn,)).get
        return mark.lsn == 0 or bool(chain[: len(mark.chain)] == mark.chain)
    return False


def side_tables(db: apsw.Connection) -> str:
    """Say what is wrong with what lies beside the rows, or with free pages: later commits need them.

    Raises:
        apsw.Error: as damage does; SQLite itself does not see a name of a column that is another one.
    """
    for table, columns in BESIDE.items():
        db.execute(f"SELECT {columns} FROM {table} LIMIT 0")  # noqa: S608 our names
        found = str(db.execute(f"PRAGMA integrity_check({table})").get)
        if found != "ok":
            return found
    return ""


def _mark_content(disk: Disk, path: str) -> bytes | None:
    if not disk.exists(path + MARK_END):
        return None
    file = disk.plain(path + MARK_END)
    try:
        return file.read()
    finally:
        file.close()


def _lost(content: bytes | None, belief: Belief) -> str:
    """Say what is lost, "" when nothing is."""
    newest = max(whole_marks(content), default=None)
    if newest is None:
        if content is None and belief.layout < SIDE_TABLES_SINCE and not belief.why:
            return ""
        return f"rows behind lsn {belief.lsn}, as many as there were: no mark says. {belief.why}".rstrip()
    if newest.lsn > belief.lsn:
        return f"rows {belief.lsn + 1} to {newest.lsn}: {belief.why or 'they are not there'}"
    if belief.why:
        return f"rows behind lsn {belief.lsn}, if there were any: {belief.why}"
    if belief.other is not None:
        return f"the history that the mark file knows: row {belief.other} is another one, or gone"
    return ""


def _write_down(disk: Disk, path: str, belief: Belief, lost: str) -> None:
    """Say in the file, which stays as it is, what is lost."""
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


def _begin_marks(disk: Disk, path: str, belief: Belief, epoch: int | None) -> None:
    """Let the marks begin anew at the last row, above every epoch that was used."""
    kept = _last_epoch(disk, path, belief.lsn)
    used = kept + EPOCHS_UNKNOWN if epoch is None else max(kept, epoch)
    file = MarkFile(disk.plain(path + MARK_END, new_marks(belief.lsn, belief.chain, used)))
    file.reset(belief.lsn, belief.chain, used)
    file.close()


def _last_epoch(disk: Disk, path: str, lsn: int) -> int:
    """Return the epoch of the last row, the highest of all; 0 where it cannot be read."""
    db = open_to_look(disk, path)
    try:
        return int(db.execute("SELECT epoch FROM journal WHERE lsn = ?", (lsn,)).get or 0)
    except BROKEN:
        return 0
    finally:
        db.close(True)
