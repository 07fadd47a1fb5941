"""The journal's database as it is opened, believed, repaired and let go of; no rows are known here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import apsw

from tradefan.errors import Outage, Refused
from tradefan.messages.records import Record
from tradefan.stores.disk import BUSY_MS, MEMORY, REAL, Disk, MemoryDisk, open_flags
from tradefan.stores.journal_layout import (
    JOURNAL_TABLE,
    JOURNAL_VERSION,
    LOCKED,
    NO_CHAIN,
    SIDE_TABLES_SINCE,
    DamagedRow,
    cut_off,
    lay_out,
    only_read,
)
from tradefan.stores.mark import MARK_END, Mark, MarkFile, new_marks
from tradefan.stores.rebuild import finish, renew_wal

CHECKPOINT_FRAMES = 1_000
"""Pages in the WAL at which they are brought into the file."""

_WORLD = (
    apsw.FullError,
    apsw.IOError,
    apsw.BusyError,
    apsw.LockedError,
    apsw.CantOpenError,
    apsw.ReadOnlyError,
    apsw.PermissionsError,
    apsw.ConnectionClosedError,
    OSError,
)
"""What says something of the disk; every other error of SQLite says that the file is broken."""


class Guard:
    """Turns what SQLite and the system raise into an Outage or, for a broken file, a refusal."""

    def __init__(self, path: str) -> None:
        """Guard statements on this file."""
        self.path = path

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Raise ours in place of the error."""
        if isinstance(error, _WORLD) and not cut_off(error):
            raise Outage(f"{self.path}: {type(error).__name__}: {error}") from error
        if isinstance(error, apsw.ConstraintError) and "journal.lsn" in str(error):
            text = f"journal {self.path}: another process wrote to it what we were to write ({error})"
            raise Refused("JOURNAL_SHARED", f"{text}; nothing is damaged: end the other one") from error
        if isinstance(error, apsw.Error | UnicodeDecodeError):
            raise damaged(self.path, f"{type(error).__name__}: {error}") from error
        if isinstance(error, DamagedRow):
            raise damaged(self.path, f"at {error}") from error


def damaged(path: str, text: str) -> Refused:
    """Return the refusal of a file that is not what it must be."""
    return Refused("JOURNAL_DAMAGED", f"journal {path} is damaged: {text}")


def newer(path: str, what: str, expected: int, found: int) -> Refused:
    """Return the refusal of what a newer TradeFan wrote."""
    text = f"{what} in {path} has version {found}, expected at most {expected}: use a newer TradeFan"
    return Refused("JOURNAL_NEWER", text)


class JournalBase:
    """One journal, opened; `last` and `chain` are lsn and hash of its last row.

    `epoch` is the highest that ids were made in, also where the rows that said so are lost.

    `failing` says why a file that can be read cannot be written now, "" where it can. `suspect` is
    set while the disk may lack what was written, so that only `reopen` makes it believed again.
    """

    def __init__(
        self,
        path: str,
        disk: Disk,
        *,
        read_only: bool,
        decode: Callable[[bytes], Record],
        checkpoint_frames: int | None = None,
    ) -> None:
        """Open the file, made when it is not there.

        Raises:
            Refused: JOURNAL_NEWER or JOURNAL_DAMAGED.
            Outage: the disk cannot be read, or has no room for a new file.
        """
        self.path = path
        self.disk = MemoryDisk() if path == MEMORY and disk is REAL else disk
        self.guard = Guard(path)
        self.last, self.chain, self.epoch = 0, NO_CHAIN, 0
        self.layout = 0
        self.suspect = False
        self.failing = ""
        self._read_only = read_only
        self._decode = decode
        self.db = apsw.Connection(MEMORY)
        self._mark: MarkFile | None = None
        self._frames = [0]
        self._checkpoint_frames = checkpoint_frames or CHECKPOINT_FRAMES
        self._checkpoint_at = self._checkpoint_frames
        self._open()

    # --- after it was opened ----------------------------------------------------------------------

    def moved(self, last: int, chain: bytes, epoch: int) -> None:
        """Note what a commit made the last row, and its epoch.

        It is durable already, so a mark that cannot be written is said in `failing`, not raised.
        """
        self.last, self.chain, self.epoch = last, chain, max(self.epoch, epoch)
        if self._mark is not None:
            try:
                self._mark.put(last, chain)
                if self._mark.epoch != self.epoch:
                    self._mark.put_epoch(self.epoch)
            except OSError as error:
                self._mark_failed(error)

    def sync_mark(self) -> None:
        """Bring the mark to the platter, where it has changed; trouble is said in `failing`."""
        if self._mark is not None and self._mark.unsynced:
            try:
                self._mark.sync()
            except OSError as error:
                self._mark_failed(error)

    @property
    def mark_unsynced(self) -> bool:
        """Whether a power loss could take the last mark."""
        return self._mark is not None and self._mark.unsynced

    def checkpoint(self) -> None:
        """Bring the WAL into the file when it has grown; readers beside us may put that off.

        So may a disk that is full: commits are durable in the WAL as long as that has room.

        Raises:
            Outage: the disk did not take it; nothing is lost.
        """
        if self._frames[0] < self._checkpoint_at:
            return
        self._checkpoint_at = self._frames[0] + self._checkpoint_frames
        try:
            with self.writing():
                _, pages, done = self.db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()[0]
        except Outage as error:
            if isinstance(error.__cause__, apsw.FullError):
                return
            raise
        if pages == done:
            self._checkpoint_at = self._checkpoint_frames

    def reopen(self) -> None:
        """Repair after a failure, so that the next commit can be believed.

        A disk that was only full has lost nothing, and is tried as it is; everything else may have
        lost pages that count as written, and the old descriptors are not used again: see `_open`.

        Raises:
            Outage: not yet.
        """
        if not self.suspect or self.path == MEMORY:
            with self.writing():
                self._touch()
            self.failing = ""
            return
        self.abandon()
        self._open()
        if self.failing:
            raise Outage(self.failing)

    def close(self) -> None:
        """Close the file; closing twice is fine. After a failure it is left as it is."""
        self.sync_mark()
        if self.failing or self.suspect:
            self.abandon()
            return
        self._close_mark()
        with self.guard:
            self.db.close(True)

    def abandon(self) -> None:
        """Let go of everything without one more write or sync."""
        with suppress(apsw.Error):
            self.db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            self.db.close(True)
        self._close_mark()

    @contextmanager
    def writing(self) -> Iterator[apsw.Connection]:
        """Guard what writes: a transaction ends here, and a failure makes the disk suspect.

        Raises:
            Outage: the disk did not take it; where it was only full, nothing else is lost.
        """
        was, self.suspect = self.suspect, True
        with self.guard:
            try:
                yield self.db
            except apsw.FullError:
                self.suspect = was
                raise
            finally:
                self._roll_back()
        self.suspect = was

    def chain_at(self, lsn: int) -> bytes:
        """Return the hash of a row, and what comes before the first.

        Raises:
            DamagedRow: it is not there.
        """
        if lsn == 0:
            return NO_CHAIN
        chain = self.db.execute("SELECT chain FROM journal WHERE lsn = ?", (lsn,)).get
        if not isinstance(chain, bytes):
            raise DamagedRow(lsn, "expected this row with its hash, found none")
        return chain

    # --- opening ----------------------------------------------------------------------------------

    def _open(self) -> None:
        """Open such that all that is found is on the platter, or say in `failing` why that is not so.

        An earlier process, or we, may have seen a sync fail: what is read from the WAL then need not
        be on the disk, no later sync would write it, and a checkpoint cut short by a power loss would
        leave pages that belong to nothing. So the WAL is written anew as it is, synced by a
        descriptor of its own and brought into the file, and one transaction is written.
        """
        self.failing = ""
        if self._read_only:
            self._open_to_read()
            return
        self.suspect = True
        with self.guard:
            # An acceptance that was killed between its renames is as good as done.
            finish(self.disk, self.path)
            self._require_file()
        self._renew_wal()
        try:
            with self.guard:
                self._connect()
                self._check_version()
                self._set_up()
                self._check_marks()
                if self.layout < JOURNAL_VERSION:
                    self._lay_out()
            self._prove()
        except BaseException:
            # A file that is refused is left as it is: the end of a connection would bring its WAL in.
            self.abandon()
            raise
        self.suspect = bool(self.failing)

    def _open_to_read(self) -> None:
        with self.guard:
            self.db = self.disk.connect(self.path, open_flags(read_only=True))
            self.db.set_busy_timeout(BUSY_MS)
            self._check_version()
            if self.layout == 0:
                # Its writer has only just made it: nothing is in it, not even the table.
                self.db.close()
                self.db = apsw.Connection(MEMORY)
                self.db.execute(JOURNAL_TABLE)
            self._find_end()

    def _require_file(self) -> None:
        """Refuse to make a file in place of one that is gone: SQLite would take its WAL away."""
        if self.path == MEMORY or self.disk.exists(self.path):
            return
        known: tuple[Mark, ...] | None = None
        if self.disk.exists(self.path + MARK_END):
            mark = MarkFile(self.disk.plain(self.path + MARK_END))
            known = mark.found
            mark.close()
        elif not self.disk.exists(f"{self.path}-wal"):
            return
        # A first start that a power loss ended has left marks of no row: nothing was in the file yet.
        if not known or known[0].lsn:
            raise damaged(self.path, "expected a database beside its mark or WAL, found none")

    def _renew_wal(self) -> None:
        try:
            renew_wal(self.disk, self.path)
        except OSError as error:
            self.failing = f"{self.path}-wal: {error}"

    def _connect(self) -> None:
        flags = open_flags(read_only=False)
        try:
            self.db = self.disk.connect(self.path, flags)
            self.db.set_busy_timeout(BUSY_MS)
            if only_read(self.db):
                raise damaged(self.path, LOCKED)
        except (apsw.FullError, apsw.IOError, apsw.CantOpenError) as error:
            if not self.disk.exists(self.path):
                raise
            # A full disk has no room for the index of the WAL; one in memory is enough to read.
            self.failing = f"{self.path}: {type(error).__name__}: {error}"
            self.db = self.disk.connect(self.path, flags)
            self.db.pragma("locking_mode", "exclusive")

    def _check_version(self) -> None:
        self.layout = self.db.pragma("user_version")
        if self.layout > JOURNAL_VERSION:
            raise newer(self.path, "the file", JOURNAL_VERSION, self.layout)

    def _set_up(self) -> None:
        mode = self.db.pragma("journal_mode", "wal")
        if mode != "wal" and self.path != MEMORY:
            raise Outage(f"journal {self.path}: expected a disk that can do WAL, got mode {mode}")
        self.db.pragma("synchronous", "full")
        # A plain fsync does not reach the platter on macOS; elsewhere this changes nothing.
        self.db.pragma("fullfsync", "on")
        # We checkpoint ourselves: SQLite would do it before we can say Durable, and hide its errors.
        self.db.wal_autocheckpoint(0)
        frames = self._frames = [0]
        self.db.set_wal_hook(lambda _db, _name, pages: _note(frames, pages))
        self._checkpoint_at = self._checkpoint_frames
        self._find_end()

    def _find_end(self) -> None:
        self.last, self.chain, self.epoch = 0, NO_CHAIN, 0
        if self.layout > 0:
            self.last = self.db.execute("SELECT max(lsn) FROM journal").get or 0
            self.chain = self.chain_at(self.last)
            self.epoch = self.db.execute("SELECT epoch FROM journal WHERE lsn = ?", (self.last,)).get or 0

    def _check_marks(self) -> None:
        """Compare the file with its marks; a file of before there were any begins with one now."""
        if self.path == MEMORY:
            return
        path = self.path + MARK_END
        if not self.disk.exists(path):
            if self.layout >= SIDE_TABLES_SINCE:
                raise damaged(self.path, f"expected {path} beside it, found none: was it moved without it?")
            self.disk.plain(path, new_marks(self.last, self.chain, self.epoch)).close()
        self._close_mark()
        self._mark = MarkFile(self.disk.plain(path))
        if not self._mark.found:
            raise damaged(self.path, f"expected a mark in {path}, found none that is whole")
        for mark in self._mark.found:
            self._check_mark(mark)
        self.epoch = max(self.epoch, self._mark.epoch or 0)

    def _check_mark(self, mark: Mark) -> None:
        named = "which its mark file names"
        if mark.lsn > self.last:
            raise damaged(self.path, f"expected rows up to lsn {mark.lsn}, {named}, found {self.last}")
        found = self.chain_at(mark.lsn)[: len(mark.chain)].hex()
        if found != mark.chain.hex():
            text = f"expected chain {mark.chain.hex()[:16]}, {named}, found {found[:16]}"
            raise damaged(self.path, f"at lsn {mark.lsn}: {text}")

    def _lay_out(self) -> None:
        if self.failing:
            raise Outage(self.failing)
        try:
            lay_out(self.db, self.layout, self._decode)
        finally:
            self._roll_back()
        self.layout = JOURNAL_VERSION

    def _prove(self) -> None:
        """See that the disk takes what we say; a file that can only be read is of use all the same."""
        if self.failing:
            return
        try:
            with self.guard:
                if self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()[0][0]:
                    raise apsw.BusyError("another program reads it")
                self._touch()
            if self._mark is not None:
                self.moved(self.last, self.chain, self.epoch)
                self.sync_mark()
        except Outage as error:
            self.failing = str(error)

    def _touch(self) -> None:
        """Write a transaction that changes nothing: a page goes to the disk and is synced."""
        self.db.pragma("user_version", JOURNAL_VERSION)

    def _roll_back(self) -> None:
        if self.db.in_transaction:
            self.db.execute("ROLLBACK")

    def _mark_failed(self, error: OSError) -> None:
        self.failing = f"{self.path}{MARK_END}: {error}"
        self.suspect = True

    def _close_mark(self) -> None:
        if self._mark is not None:
            self._mark.close()
            self._mark = None


def _note(frames: list[int], pages: int) -> int:
    frames[0] = pages
    return apsw.SQLITE_OK
