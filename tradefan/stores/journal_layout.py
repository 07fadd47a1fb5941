"""How the journal lies in its file: tables, versions, the hash that chains rows, what they are about.

The rows of `journal` are the truth and are never rewritten. Beside them, and outside their chain:
`subjects` finds the rows of one trade or order, written for a thousand rows at once by the commit that
completes them (see `found_up_to`), `snapshots` shortens recovery, `losses` keeps what an operator
accepted as lost.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from hashlib import blake2b
from typing import Any, TypeAlias, cast

import apsw
import msgspec
from msgspec.structs import replace

from tradefan.core.exposure import summed
from tradefan.core.trading_state import Trading
from tradefan.messages.records import (
    TRADING_READ,
    TRADING_VERSION,
    Bust,
    Correct,
    ExternalOrder,
    Fill,
    FillInferred,
    FillReplaced,
    Intent,
    Record,
)

JOURNAL_VERSION = 3
"""Of the file's layout; `RECORD_VERSION` is that of the records in it. A program of before 3 would leave rows
without their subjects."""
SIDE_TABLES_SINCE = 2
"""The layout from which on a mark file and tables lie beside the rows."""
NO_CHAIN = bytes(32)
"""The hash before the first row."""
LOCKED = "its first page says that it can only be read"
SLICE = 1_000
"""Rows read by one statement: no reader holds the file for longer."""
SUBJECTS_AT_ONCE = 1_000
"""A second tree costs each commit as many pages again, a batch hardly more; of a file, so never changed."""

Plain: TypeAlias = tuple[int, int, int, str, int, bytes]
"""(lsn, at_ns, epoch, type, version, payload): a row without its hash."""

JOURNAL_TABLE = """
CREATE TABLE IF NOT EXISTS journal (
    lsn INTEGER PRIMARY KEY,
    at_ns INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    type TEXT NOT NULL,
    version INTEGER NOT NULL,
    payload BLOB NOT NULL,
    chain BLOB NOT NULL
) STRICT
"""
SIDE_TABLES = """
CREATE TABLE subjects (subject TEXT NOT NULL, lsn INTEGER NOT NULL, PRIMARY KEY (subject, lsn))
    STRICT, WITHOUT ROWID;
CREATE TABLE snapshots (
    lsn INTEGER PRIMARY KEY, chain BLOB NOT NULL, version INTEGER NOT NULL, digest BLOB NOT NULL,
    state BLOB NOT NULL
) STRICT;
CREATE TABLE losses (lsn INTEGER NOT NULL, text TEXT NOT NULL) STRICT;
"""
INSERT_ROW = "INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?, ?)"
INSERT_SUBJECT = "INSERT OR IGNORE INTO subjects VALUES (?, ?)"
_SELECT = (
    "SELECT lsn, at_ns, epoch, type, version, payload, chain FROM journal WHERE lsn > ? AND lsn <= ? "
    "ORDER BY lsn LIMIT ?"
)
_LSN_MAX = 2**63 - 1
_HEAD = struct.Struct(">QqQII")
_LOSSES = "SELECT text FROM losses"
INSERT_SNAPSHOT = "INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?, ?, ?)"

Decode: TypeAlias = Callable[[bytes], Record]


class DamagedRow(Exception):
    """A row is missing, altered or unreadable; `text` says what was expected."""

    def __init__(self, lsn: int, text: str) -> None:
        super().__init__(f"lsn {lsn}: {text}")
        self.lsn = lsn
        self.text = text


def link(chain: bytes, lsn: int, at_ns: int, epoch: int, kind: str, version: int, payload: bytes) -> bytes:
    """Hash a row onto its predecessor; lengths are inside, so no two rows look alike."""
    head = _HEAD.pack(lsn, at_ns, epoch, version, len(kind))
    return blake2b(b"".join((chain, head, kind.encode(), payload)), digest_size=32).digest()


def _shown(chain: object) -> str:
    return chain.hex()[:16] if isinstance(chain, bytes) else repr(chain)


def state_digest(chain: bytes, version: int, state: bytes) -> bytes:
    """Hash a snapshot onto the row that it stands for: neither can change alone."""
    digest = blake2b(chain, digest_size=32)
    digest.update(version.to_bytes(8, "big"))
    digest.update(state)
    return digest.digest()


def snapshot_values(lsn: int, chain: bytes, state: bytes) -> tuple[object, ...]:
    """Return the row of a snapshot that stands for the rows up to the one with this hash."""
    return lsn, chain, TRADING_VERSION, state_digest(chain, TRADING_VERSION, state), state


def good_snapshots(db: apsw.Connection, up_to: int | None = None) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield lsn, hash and state of the snapshots that can be believed, newest first.

    One that is not of its row's history, was altered, or has a `Trading` that we do not read is passed over.
    """
    for lsn, chain, version, state in _sound_snapshots(db, up_to):
        if version == TRADING_VERSION:
            yield lsn, chain, state
        elif TRADING_READ <= version < TRADING_VERSION:
            with suppress(msgspec.MsgspecError, ValueError):
                yield lsn, chain, _brought_up(state)


def foreign_snapshot(db: apsw.Connection) -> tuple[int, int] | None:
    """Return lsn and version of the newest sound snapshot of a `Trading` that we do not read."""
    for lsn, _, version, _ in _sound_snapshots(db, None):
        if not TRADING_READ <= version <= TRADING_VERSION:
            return lsn, version
    return None


def _sound_snapshots(db: apsw.Connection, up_to: int | None) -> Iterator[tuple[int, bytes, int, bytes]]:
    found = db.execute(
        "SELECT lsn, snapshots.chain, snapshots.version, digest "
        "FROM snapshots CROSS JOIN journal USING (lsn) "
        "WHERE snapshots.version > 0 AND snapshots.chain = journal.chain AND lsn <= ifnull(?, lsn) "
        "ORDER BY lsn DESC",
        (up_to,),
    )
    for lsn, chain, version, digest in list(found):
        state = _state_at(db, lsn)
        sound = isinstance(state, bytes) and isinstance(chain, bytes) and isinstance(version, int)
        if sound and digest == state_digest(chain, version, state):
            yield lsn, chain, version, state


def _state_at(db: apsw.Connection, lsn: int) -> Any:  # noqa: ANN401 a damaged file may have any value
    try:
        return db.execute("SELECT state FROM snapshots WHERE lsn = ?", (lsn,)).get
    except apsw.IOError as error:
        if not cut_off(error):
            raise
        return None


def cut_off(error: object) -> bool:
    """Whether SQLite looked for a page behind the end of its file: the disk is fine, the file was cut.

    It does so for the pages of long values, which it reads past its cache.
    """
    return getattr(error, "extendedresult", None) == apsw.SQLITE_IOERR_SHORT_READ


def only_read(db: apsw.Connection) -> bool:
    """Whether the first page says that the file can only be read, asked before anything else is.

    That we may not write it is another matter: SQLite knows that before it has read a page.
    """
    kept_from_us = db.readonly("main")
    db.pragma("user_version")
    return db.readonly("main") and not kept_from_us


def _brought_up(state: bytes) -> bytes:
    """Make the present `Trading` of an older one: what it lacks has defaults, sums are of its orders."""
    trading = msgspec.msgpack.decode(state, type=Trading)
    for name, one in msgspec.msgpack.decode(state)["parents"].items():
        if (qty := one.get("asked_qty")) is not None:
            # Before version 6 only the quantity was remembered.
            parent = trading.parents[name]
            parent.asked = replace(parent.order, order_qty=Decimal(qty))
    trading.exposure = summed(trading.orders.values())
    return msgspec.msgpack.encode(trading)


def only_aside(first: int) -> str:
    """Say, in `losses`, that a file begins at a row because older ones could not be read."""
    return f"rows 1 to {first - 1} are only in the file that was set aside"


def begin_of(db: apsw.Connection) -> tuple[int, bytes]:
    """Return lsn and hash behind which rows are to be there: nothing's, or those of an accepted first row.

    Only a loss that names the rows before it makes a row the first: others that are missing are damage.
    """
    for plain, chain in select(db, 0, 1):
        first = plain[0]
        if first > 1 and any(only_aside(first) in str(text) for (text,) in db.execute(_LOSSES)):
            return first, chain
        break
    return 0, NO_CHAIN


def select(
    db: apsw.Connection, after_lsn: int, rows_max: int = SLICE, up_to: int = _LSN_MAX
) -> Iterator[tuple[Plain, bytes]]:
    """Yield rows with their hashes behind an lsn, as they are; the file is held for a slice at a time.

    What cannot be read is raised behind the rows before it, and not at all behind `up_to`.
    """
    while True:
        rows: list[tuple[Any, ...]] = []
        unread: Exception | None = None
        try:
            rows.extend(db.execute(_SELECT, (after_lsn, up_to, rows_max)))
        except (apsw.Error, ValueError) as error:
            unread = error
        for row in rows:
            yield cast("Plain", row[:6]), row[6]
        if unread is not None:
            raise unread
        if len(rows) < rows_max:
            return
        after_lsn = rows[-1][0]


def verified(
    db: apsw.Connection, after_lsn: int, chain: bytes, rows_max: int = SLICE
) -> Iterator[tuple[Plain, bytes]]:
    """Yield rows with their hashes behind an lsn whose hash is `chain`.

    Raises:
        DamagedRow: at the first row that is not what its predecessors lead to.
    """
    lsn = after_lsn
    for plain, digest in select(db, after_lsn, rows_max):
        lsn += 1
        if plain[0] != lsn:
            raise DamagedRow(lsn, f"expected lsn {lsn}, found {plain[0]}: rows are missing")
        try:
            chain = link(chain, *plain)
        except (TypeError, AttributeError, struct.error) as error:
            raise DamagedRow(lsn, f"expected values of a row, found others: {error}") from error
        if chain != digest:
            raise DamagedRow(lsn, f"expected chain {chain.hex()[:16]}, found {_shown(digest)}")
        yield plain, digest


def subject_of(record: Record) -> str | None:
    """Name what a record is about, where it may be asked for when it has left memory."""
    name = _SUBJECTS.get(type(record))
    return None if name is None else name(record)


def _trade(record: Fill | FillReplaced | Bust | Correct) -> str:
    return f"fill {record.account} {record.instrument} {record.trade_id}"


def _order(record: Intent | ExternalOrder) -> str:
    return f"order {record.client_order_id}"


# By a table: it is asked for every record that is written.
_SUBJECTS: dict[type[Any], Callable[[Any], str]] = {
    Fill: _trade,
    FillInferred: lambda record: _trade(record.fill),
    FillReplaced: _trade,
    Bust: _trade,
    Correct: _trade,
    Intent: _order,
    ExternalOrder: _order,
}
WITH_SUBJECT = tuple(kind.__name__ for kind in _SUBJECTS)
"""Types of rows that have a subject."""


def lay_out(db: apsw.Connection, version: int, decode: Decode) -> None:
    """Lead a file forward to this layout in one transaction; version 0 is an empty file."""
    db.execute("BEGIN IMMEDIATE")
    db.execute(JOURNAL_TABLE)
    if version < SIDE_TABLES_SINCE:
        db.execute(SIDE_TABLES)
        db.executemany(INSERT_SUBJECT, subjects_behind(db, decode))
    db.pragma("user_version", JOURNAL_VERSION)
    db.execute("COMMIT")


def found_up_to(last: int, at_once: int) -> int:
    """Return up to which row a file that ends with `last` has its subjects in their table, at the least."""
    return last - last % at_once


def subjects_behind(db: apsw.Connection, decode: Decode, after_lsn: int = 0) -> Iterator[tuple[str, int]]:
    """Yield subject and lsn of the rows behind an lsn that have one.

    A row that does not decode is damage, which the fold or the verification finds and names.
    """
    marks = ", ".join("?" * len(WITH_SUBJECT))
    sql = f"SELECT lsn, payload FROM journal WHERE type IN ({marks}) AND lsn > ?"  # noqa: S608 our names
    for lsn, payload in db.execute(sql, (*WITH_SUBJECT, after_lsn)):
        with suppress(msgspec.MsgspecError, ValueError, TypeError):
            subject = subject_of(decode(payload))
            if subject is not None:
                yield subject, lsn
