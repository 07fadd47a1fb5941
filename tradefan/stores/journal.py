"""The journal's file: records in order, chained by hash, durable when `append` returns.

SQLite in WAL mode with `synchronous=FULL`: NORMAL is 30 times faster, survives kill -9 and loses
acknowledged rows at a power loss. The file is the truth and the only input of recovery, so it is
never rewritten and a file that is newer than this program is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import NamedTuple, TypeAlias

import apsw
import msgspec

from tradefan.errors import Defect, Outage, Refused
from tradefan.messages.control import Append
from tradefan.messages.records import RECORD_VERSION, Record
from tradefan.stores.disk import BUSY_MS, MEMORY, Connect, Trouble, open_flags

JOURNAL_VERSION = 1
"""Of the file's layout; `RECORD_VERSION` is that of the records in it."""
GROUP_BYTES_MAX = 1_048_576

_TABLE = """
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
_INSERT = "INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?, ?)"
_SELECT = "SELECT lsn, at_ns, epoch, type, version, payload, chain FROM journal WHERE lsn > ? ORDER BY lsn"
_HEAD = struct.Struct(">QqQII")
_NO_CHAIN = bytes(32)

Plain: TypeAlias = tuple[int, int, int, str, int, bytes]
"""(lsn, at_ns, epoch, type, version, payload): a row without its hash."""


class Row(NamedTuple):
    """One verified row."""

    lsn: int
    epoch: int
    record: Record


class JournalFile:
    """The journal on one thread; everything raises Outage when the disk or the file is at fault."""

    def __init__(
        self,
        path: str,
        *,
        read_only: bool = False,
        version: int = RECORD_VERSION,
        connect: Connect | None = None,
    ) -> None:
        """Open the file, made when it is not there. `:memory:` forgets and is for tests.

        Raises:
            Refused: JOURNAL_NEWER when a newer TradeFan wrote the file.
        """
        self.path = path
        self._flags = open_flags(read_only=read_only)
        self._read_only = read_only
        self._version = version
        self._connect: Connect = connect or apsw.Connection
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[Record] = msgspec.msgpack.Decoder(Record)
        self._open()

    @property
    def last_lsn(self) -> int:
        """The lsn of the last durable record; 0 before the first."""
        return self._last

    def append(self, first_lsn: int, epoch: int, records: Iterable[Record]) -> int:
        """Write records in one transaction and return the last durable lsn."""
        return self.write((Append(first_lsn, epoch, tuple(records)),))

    def write(self, appends: Iterable[Append], bytes_max: int = GROUP_BYTES_MAX) -> int:
        """Write a group in one transaction and return the last durable lsn.

        At least one Append is written, then as many as stay below `bytes_max`: those up to the lsn
        returned. Rows that an earlier, failed transaction left behind are found again and compared.

        Raises:
            Defect: the lsn does not follow the last one.
        """
        last, chain, rows = self._prepare(appends, bytes_max)
        if rows:
            self._commit(rows)
        self._last, self._chain = last, chain
        return last

    def rows(self, after_lsn: int = 0) -> Iterator[Row]:
        """Yield the rows behind `after_lsn`, each verified against the chain.

        Raises:
            Outage: a row is missing, altered or unreadable; the text names lsn and what was expected.
            Refused: JOURNAL_NEWER when a newer TradeFan wrote a row.
        """
        chain, lsn = self._chain_at(after_lsn), after_lsn
        for plain, digest in self._select(after_lsn):
            lsn += 1
            found, _, epoch, kind, version, payload = plain
            if found != lsn:
                raise self._broken(lsn, f"expected lsn {lsn}, found {found}: rows are missing")
            chain = _link(chain, plain)
            if chain != digest:
                raise self._broken(lsn, f"expected chain {chain.hex()[:16]}, found {digest.hex()[:16]}")
            yield Row(lsn, epoch, self._decode(lsn, kind, version, payload))

    def fold(self) -> tuple[tuple[Record, ...], int]:
        """Return all records, the chain verified, and the last durable lsn."""
        records = tuple(row.record for row in self.rows())
        if len(records) != self._last and not self._read_only:
            raise self._broken(len(records) + 1, f"expected rows up to lsn {self._last}, found no more")
        return records, len(records)

    def first_chain(self) -> bytes | None:
        """Return the hash of the first row, which tells one journal from another; None when empty."""
        return next((digest for _, digest in self._select(0)), None)

    def last_at_ns(self) -> int:
        """Return the latest kernel time of any record; 0 when empty."""
        with Trouble(self.path):
            latest = self._db.execute("SELECT max(at_ns) FROM journal").get
        return int(latest or 0)

    def reopen(self) -> None:
        """Take the file up again after a failure, so that the next `write` can be believed.

        After a failed fsync the pages count as clean although the disk lacks them, so the old
        descriptor and its WAL are not used again: the WAL goes into the file, and the last row is
        written once more.
        """
        if self.path == MEMORY:
            return
        self.close()
        self._open()
        with Trouble(self.path):
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self._db.execute("UPDATE journal SET chain = chain WHERE lsn = ?", (self._last,))

    def close(self) -> None:
        """Close the file; closing twice is fine."""
        with Trouble(self.path):
            self._db.close(True)

    # --- opening ----------------------------------------------------------------------------------

    def _open(self) -> None:
        with Trouble(self.path):
            self._db = self._connect(self.path, self._flags)
            self._db.set_busy_timeout(BUSY_MS)
            version = self._check_version()
            if not self._read_only:
                self._prepare_file()
            elif version == 0:
                # Its writer has only just made it: nothing is in it, not even the table.
                self._db.close()
                self._db = apsw.Connection(MEMORY)
                self._db.execute(_TABLE)
            row = self._db.execute("SELECT lsn, chain FROM journal ORDER BY lsn DESC LIMIT 1").fetchone()
        self._last, self._chain = (row[0], row[1]) if row else (0, _NO_CHAIN)

    def _check_version(self) -> int:
        found: int = self._db.pragma("user_version")
        if found > JOURNAL_VERSION:
            self._db.close()
            raise self._newer("the file", JOURNAL_VERSION, found)
        return found

    def _prepare_file(self) -> None:
        mode = self._db.pragma("journal_mode", "wal")
        if mode != "wal" and self.path != MEMORY:
            raise Outage(f"journal {self.path}: expected a disk that can do WAL, got mode {mode}")
        self._db.pragma("synchronous", "full")
        # A plain fsync does not reach the platter on macOS; elsewhere this changes nothing.
        self._db.pragma("fullfsync", "on")
        self._db.execute(_TABLE)
        self._db.pragma("user_version", JOURNAL_VERSION)

    # --- writing ----------------------------------------------------------------------------------

    def _prepare(
        self, appends: Iterable[Append], bytes_max: int
    ) -> tuple[int, bytes, list[tuple[object, ...]]]:
        """Encode and chain a group; memory changes only when it has been committed."""
        last, chain, size = self._last, self._chain, 0
        rows: list[tuple[object, ...]] = []
        for append in appends:
            if size >= bytes_max:
                break
            for lsn, record in enumerate(append.records, append.first_lsn):
                payload = self._encoder.encode(record)
                if lsn <= last:
                    self._compare(lsn, payload)
                    continue
                if lsn != last + 1:
                    raise Defect(f"journal {self.path}: expected lsn {last + 1}, got {lsn}")
                plain = (lsn, record.at_ns, append.epoch, type(record).__name__, self._version, payload)
                chain = _link(chain, plain)
                rows.append((*plain, chain))
                last = lsn
                size += len(payload)
        return last, chain, rows

    def _commit(self, rows: list[tuple[object, ...]]) -> None:
        with Trouble(self.path):
            try:
                self._db.execute("BEGIN IMMEDIATE")
                self._db.executemany(_INSERT, rows)
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    def _compare(self, lsn: int, payload: bytes) -> None:
        with Trouble(self.path):
            found = self._db.execute("SELECT payload FROM journal WHERE lsn = ?", (lsn,)).get
        if found != payload:
            raise Defect(f"journal {self.path}: lsn {lsn} is taken by another record")

    # --- reading ----------------------------------------------------------------------------------

    def _select(self, after_lsn: int) -> Iterator[tuple[Plain, bytes]]:
        with Trouble(self.path):
            for row in self._db.execute(_SELECT, (after_lsn,)):
                yield row[:6], row[6]

    def _chain_at(self, lsn: int) -> bytes:
        if lsn == 0:
            return _NO_CHAIN
        with Trouble(self.path):
            chain = self._db.execute("SELECT chain FROM journal WHERE lsn = ?", (lsn,)).get
        if chain is None:
            raise self._broken(lsn, "expected this row, found none")
        return bytes(chain)

    def _decode(self, lsn: int, kind: str, version: int, payload: bytes) -> Record:
        if version > self._version:
            raise self._newer(f"the {kind} at lsn {lsn}", self._version, version)
        try:
            return self._decoder.decode(payload)
        except (msgspec.MsgspecError, ValueError) as error:
            raise self._broken(lsn, f"expected a {kind} of version {version}: {error}") from error

    def _broken(self, lsn: int, text: str) -> Outage:
        return Outage(f"journal {self.path} is damaged at lsn {lsn}: {text}")

    def _newer(self, what: str, expected: int, found: int) -> Refused:
        return Refused(
            "JOURNAL_NEWER",
            f"{what} in {self.path} has version {found}, expected at most {expected}: use a newer TradeFan",
        )


def _link(chain: bytes, row: Plain) -> bytes:
    """Hash a row onto its predecessor; lengths are inside, so no two rows look alike."""
    lsn, at_ns, epoch, kind, version, payload = row
    digest = blake2b(chain, digest_size=32)
    digest.update(_HEAD.pack(lsn, at_ns, epoch, version, len(kind)))
    digest.update(kind.encode())
    digest.update(payload)
    return digest.digest()
