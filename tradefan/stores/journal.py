"""The journal's file: records in order, chained by hash, durable when `append` returns.

SQLite in WAL mode with `synchronous=FULL`: NORMAL is 30 times faster, survives kill -9 and loses
acknowledged rows at a power loss. The file is the truth and the only input of recovery, so its rows
are never rewritten and a file that is newer than this program is refused.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import apsw
import msgspec

from tradefan.core.trading import Trading, apply
from tradefan.errors import Outage, Refused
from tradefan.messages.control import Append, Snap
from tradefan.messages.records import RECORD_VERSION, Record
from tradefan.stores.disk import REAL, Disk
from tradefan.stores.journal_base import JournalBase, damaged, newer
from tradefan.stores.journal_group import Group
from tradefan.stores.journal_layout import (
    INSERT_ROW,
    INSERT_SNAPSHOT,
    INSERT_SUBJECT,
    NO_CHAIN,
    SIDE_TABLES_SINCE,
    SUBJECTS_AT_ONCE,
    WITH_SUBJECT,
    DamagedRow,
    Plain,
    begin_of,
    foreign_snapshot,
    found_up_to,
    good_snapshots,
    select,
    snapshot_values,
    subject_of,
    subjects_behind,
    verified,
)
from tradefan.stores.needs import PLACED, STILL_NEEDED, Wired, require_wired
from tradefan.stores.salvage import accept_loss as salvage
from tradefan.stores.salvage import of_another, side_tables

GROUP_BYTES_MAX = 1_048_576
SNAPSHOT_SPACING = 1_000
"""The older snapshot is to lie so many rows back: a store that is up to date begins there."""
HISTORY_MAX = 1_000
"""Most records of one answer about a trade or an order."""


# Two are kept: the newest, and the newest that is old enough. Of those between them the oldest stays, which
# is the next to be old enough; however often snapshots are made, one is never far behind the spacing.
_THIN_OUT = """
DELETE FROM snapshots WHERE lsn NOT IN (
    SELECT max(lsn) FROM snapshots WHERE lsn <= :last
    UNION SELECT ifnull(max(lsn), 0) FROM snapshots WHERE lsn <= :old
    UNION SELECT min(lsn) FROM snapshots WHERE lsn > :old AND lsn <= :last
)
"""


class Row(NamedTuple):
    """One verified row."""

    lsn: int
    epoch: int
    record: Record


class Recovered(NamedTuple):
    """What recovery needs: the newest snapshot that can be believed, None for none, and what follows it."""

    records: tuple[Record, ...]
    last_lsn: int
    snapshot: bytes | None
    snapshot_lsn: int


class JournalFile:
    """The journal on one thread; everything raises Outage when the disk is at fault.

    Reading raises Refused: JOURNAL_DAMAGED names the first row that is missing, altered or unreadable
    and what was expected, JOURNAL_NEWER what a newer TradeFan wrote.
    """

    def __init__(
        self,
        path: str,
        *,
        read_only: bool = False,
        version: int = RECORD_VERSION,
        disk: Disk = REAL,
        accept_loss: bool = False,
        checkpoint_frames: int | None = None,
        subjects_at_once: int = SUBJECTS_AT_ONCE,
    ) -> None:
        """Open the file, made when it is not there. `:memory:` forgets and is for tests.

        `checkpoint_frames` is how many pages the WAL may have before they are brought into the file.
        `subjects_at_once` is the same in all of a file's lives.

        Raises:
            Refused: JOURNAL_NEWER, or JOURNAL_DAMAGED when it is not what its mark file says or
                cannot be read; `accept_loss` goes on with what can be believed.
            Outage: the disk cannot be read, or has no room for a new file.
        """
        self.path = path
        self._version = version
        self._decoder: msgspec.msgpack.Decoder[Record] = msgspec.msgpack.Decoder(Record)
        if accept_loss and not read_only:
            salvage(disk, path, self._decoder.decode)
        self._base = JournalBase(
            path,
            disk,
            read_only=read_only,
            decode=self._decoder.decode,
            checkpoint_frames=checkpoint_frames,
        )
        self._read_only = read_only
        self._at_once = subjects_at_once
        self._unfound: list[tuple[str, int]] = []
        """Subjects of the last rows, which are not in their table yet; a reader asks the file for them."""
        try:
            self._unfound += () if read_only else self._read_unfound()
        except Outage:
            self._base.abandon()
            raise

    @property
    def last_lsn(self) -> int:
        """The lsn of the last record in the file; 0 before the first."""
        return self._base.last

    @property
    def epoch(self) -> int:
        """The highest epoch that ids were made in; rows that were lost may have been of it."""
        return self._base.epoch

    @property
    def base(self) -> JournalBase:
        """The database below: marks, checkpoints, repair."""
        return self._base

    # --- writing ----------------------------------------------------------------------------------

    def append(self, first_lsn: int, epoch: int, records: Iterable[Record]) -> int:
        """Write records in one transaction and return the last durable lsn."""
        return self.write((Append(first_lsn, epoch, tuple(records)),))

    def write(
        self, appends: Iterable[Append], bytes_max: int = GROUP_BYTES_MAX, snap: Snap | None = None
    ) -> int:
        """Write a group in one transaction and return the last durable lsn.

        At least one Append is written, then as many as stay below `bytes_max`: those up to the lsn
        returned. Rows that are there already are compared. `snap` is kept when its row is there then.

        Raises:
            Defect: the lsn does not follow the last one, or is taken by another record.
        """
        group = Group(self._base, self._version)
        group.take(appends, bytes_max)
        if snap is not None and snap.lsn > group.last:
            snap = None
        if group.rows or snap is not None:
            self._commit(group, snap)
            self._base.moved(group.last, group.chain, group.epoch)
        return group.last

    def _commit(self, group: Group, snap: Snap | None) -> None:
        up_to, complete = found_up_to(group.last, self._at_once), self._found_up_to
        with self._base.writing() as db:
            db.execute("BEGIN IMMEDIATE")
            db.executemany(INSERT_ROW, group.rows)
            if up_to > complete:
                unfound = (*self._unfound, *group.subjects)
                db.executemany(INSERT_SUBJECT, [one for one in unfound if one[1] <= up_to])
            if snap is not None:
                self._keep(snap, group.last)
            db.execute("COMMIT")
        self._unfound += group.subjects
        if up_to > complete:
            self._unfound = [one for one in self._unfound if one[1] > up_to]

    def _keep(self, snap: Snap, last: int) -> None:
        db = self._base.db
        db.execute(INSERT_SNAPSHOT, snapshot_values(snap.lsn, self._base.chain_at(snap.lsn), snap.state))
        db.execute(_THIN_OUT, {"last": last, "old": last - SNAPSHOT_SPACING})

    # --- reading ----------------------------------------------------------------------------------

    def rows(self, after_lsn: int = 0) -> Iterator[Row]:
        """Yield the rows behind `after_lsn`, each verified against the chain."""
        with self._base.guard:
            for plain, _ in verified(self._base.db, after_lsn, self._base.chain_at(after_lsn)):
                yield Row(plain[0], plain[2], self._decode(plain))

    def fold(self) -> tuple[tuple[Record, ...], int]:
        """Return all records, the chain verified, and the last lsn."""
        records = tuple(row.record for row in self.rows())
        self._require_whole(len(records))
        return records, len(records)

    def recover(self) -> Recovered:
        """Return the newest snapshot that can be believed and the records behind it, verified."""
        lsn, state = next(self.snapshots(), (0, None))
        records = tuple(row.record for row in self.rows(lsn))
        self._require_whole(lsn + len(records))
        return Recovered(records, lsn + len(records), state, lsn)

    def trading(self) -> Trading:
        """Return the state that recovery comes to; 10,000 rows behind a snapshot take 0.25 s."""
        found = self.recover()
        state = _trading(found.snapshot)
        for record in found.records:
            apply(state, record)
        return state

    def verify_tail(self, wired: Wired | None) -> bool:
        """Verify the rows behind the newest snapshot; say whether any, or it, is of a place `wired` lacks."""
        lsn, snapshot = next(self.snapshots(), (0, None))
        if snapshot is None and self.begin()[0]:
            self._require_begin()
        lacking = wired is not None and wired.may_lack(_trading(snapshot))
        with self._base.guard:
            for plain, _ in verified(self._base.db, lsn, self._base.chain_at(lsn)):
                self._require_known(plain)
                if wired is not None and not lacking and plain[3] in PLACED:
                    lacking = wired.lacks_of(self._decode(plain))
        return lacking

    def snapshots(self, up_to: int | None = None) -> Iterator[tuple[int, bytes]]:
        """Yield lsn and state of the snapshots that can be believed (see `good_snapshots`), newest first."""
        if self._base.layout < SIDE_TABLES_SINCE:
            return
        with self._base.guard:
            for lsn, _, state in good_snapshots(self._base.db, up_to):
                yield lsn, state

    def oldest(self) -> tuple[int, bytes] | None:
        """Return lsn and state of the oldest snapshot: it stands for first rows that are accepted as lost."""
        kept = deque(self.snapshots(), maxlen=1)
        return kept[0] if kept else None

    def snapshots_kept(self) -> list[tuple[int, int, int]]:
        """Return lsn, version and size of every snapshot, newest first, whether it can be believed or not."""
        if self._base.layout < SIDE_TABLES_SINCE:
            return []
        with self._base.guard:
            return list(
                self._base.db.execute("SELECT lsn, version, length(state) FROM snapshots ORDER BY lsn DESC")
            )

    def history(self, subject: str) -> tuple[Record, ...]:
        """Return the records about one trade or order (see `subject_of`), in order."""
        sql = "SELECT lsn FROM subjects WHERE subject = ? ORDER BY lsn LIMIT ?"
        with self._base.guard:
            lsns = {lsn for (lsn,) in self._base.db.execute(sql, (subject, HISTORY_MAX))}
            unfound = self._read_unfound() if self._read_only else self._unfound
            lsns.update(lsn for name, lsn in unfound if name == subject)
            rows = [self._plain_at(lsn) for lsn in sorted(lsns)[:HISTORY_MAX]]
            records = tuple(self._decode(plain) for plain in rows if plain is not None)
        return tuple(record for record in records if subject_of(record) == subject)

    def _plain_at(self, lsn: int) -> Plain | None:
        return next((plain for plain, _ in select(self._base.db, lsn - 1, 1, up_to=lsn)), None)

    def check(self, after_lsn: int, chain: bytes, rows: int) -> tuple[int, bytes]:
        """Verify the next rows; return the last one's lsn and hash.

        What they are found by follows from them: where it is missing it is written, or refused by a reader.
        """
        lsn, lacking = after_lsn, []
        with self._base.guard:
            for plain, digest in verified(self._base.db, after_lsn, chain, rows):
                lsn, chain = plain[0], digest
                if plain[3] in WITH_SUBJECT and lsn <= self._found_up_to:
                    lacking += self._lacking(plain)
                if lsn >= after_lsn + rows:
                    break
        if lacking:
            with self._base.writing() as db:
                db.execute("BEGIN IMMEDIATE")
                db.executemany(INSERT_SUBJECT, lacking)
                db.execute("COMMIT")
        return lsn, chain

    def first_chain(self) -> bytes | None:
        """Return the hash of the first row, which tells one journal from another; None when empty."""
        with self._base.guard:
            return next((digest for _, digest in select(self._base.db, 0, 1)), None)

    def begin(self) -> tuple[int, bytes]:
        """Return lsn and hash behind which every row is to be there (see `begin_of`)."""
        if self._base.layout < SIDE_TABLES_SINCE:
            return 0, NO_CHAIN
        with self._base.guard:
            return begin_of(self._base.db)

    def epoch_at(self, lsn: int) -> int:
        """Return the epoch of a row, 0 where none is."""
        with self._base.guard:
            return self._base.db.execute("SELECT epoch FROM journal WHERE lsn = ?", (lsn,)).get or 0

    def epoch_end(self, lsn: int) -> int:
        """Return the last row of the epoch that a row is of: what is behind it another life wrote."""
        if lsn >= self.last_lsn:
            return lsn
        rows = range(self.last_lsn + 1)
        return bisect_right(rows, self.epoch_at(lsn), lo=lsn, key=self.epoch_at) - 1

    def end_of(self, epoch: int) -> int:
        """Return the last row of all epochs up to one."""
        return bisect_right(range(self.last_lsn + 1), epoch, key=self.epoch_at) - 1

    def beside(self) -> str:
        """Say what is wrong with what lies beside the rows, "" when nothing is."""
        if self._base.layout < SIDE_TABLES_SINCE:
            return ""
        try:
            return side_tables(self._base.db)
        except apsw.Error as error:
            return f"{type(error).__name__}: {error}"

    def losses(self) -> list[tuple[int, str]]:
        """Return what operators accepted as lost, each with the last lsn that was left."""
        if self._base.layout < SIDE_TABLES_SINCE:
            return []
        with self._base.guard:
            found = self._base.db.execute("SELECT lsn, text FROM losses ORDER BY lsn")
            return [(lsn, str(text)) for lsn, text in found]

    def lost(self) -> str:
        """Return what was accepted as lost, until records are written behind that."""
        return "; ".join(text for lsn, text in self.losses() if lsn == self.last_lsn)

    def chain_at(self, lsn: int) -> bytes:
        """Return the hash of a row, and what comes before the first."""
        with self._base.guard:
            return self._base.chain_at(lsn)

    def reopen(self) -> None:
        """Repair after a failure, so that the next `write` can be believed (Outage: not yet)."""
        self._base.reopen()
        # A commit that failed may be there all the same.
        self._unfound = self._read_unfound()

    def close(self) -> None:
        """Close the file; closing twice is fine."""
        self._base.close()

    # --- subjects ---------------------------------------------------------------------------------

    @property
    def _found_up_to(self) -> int:
        return found_up_to(self._base.last, self._at_once)

    def _read_unfound(self) -> list[tuple[str, int]]:
        """Read of the rows what is not in the table; what is damaged others find and name.

        Raises:
            Outage: the disk could not be read.
        """
        found: list[tuple[str, int]] = []
        with contextlib.suppress(Refused), self._base.guard:
            found.extend(subjects_behind(self._base.db, self._decoder.decode, self._found_up_to))
        return found

    # --- one row ----------------------------------------------------------------------------------

    def _decode(self, plain: Plain) -> Record:
        lsn, _, _, kind, version, payload = plain
        try:
            self._require_known(plain)
            return self._decoder.decode(payload)
        except (msgspec.MsgspecError, ValueError, TypeError) as error:
            raise DamagedRow(lsn, f"expected a {kind} of version {version}: {error}") from error

    def _require_known(self, plain: Plain) -> None:
        if plain[4] > self._version:
            raise newer(self.path, f"the {plain[3]} at lsn {plain[0]}", self._version, plain[4])

    def _lacking(self, plain: Plain) -> list[tuple[str, int]]:
        """Return subject and lsn of a row that is not found by them."""
        subject = subject_of(self._decode(plain))
        sql = "SELECT 1 FROM subjects WHERE subject = ? AND lsn = ?"
        if subject is None or self._base.db.execute(sql, (subject, plain[0])).get is not None:
            return []
        if self._read_only:
            raise DamagedRow(plain[0], f"expected to find it as {subject}, found it under no such name")
        return [(subject, plain[0])]

    def _require_begin(self) -> None:
        """See that it is no other version's snapshot that stands for first rows accepted as lost."""
        with self._base.guard:
            foreign = foreign_snapshot(self._base.db)
        if foreign is not None:
            raise of_another(self.path, *foreign)

    def _require_whole(self, lsn: int) -> None:
        if lsn != self.last_lsn and not self._read_only:
            text = f"at lsn {lsn + 1}: expected rows up to lsn {self.last_lsn}, found no more"
            raise damaged(self.path, text)


def check_journal(
    path: str, *, accept_loss: bool = False, disk: Disk = REAL, wired: Wired | None = None
) -> str:
    """See before a start that recovery will be able to read the journal; return what was accepted as lost.

    The rows behind the newest snapshot are verified, 50,000 of them in a tenth of a second: a link that
    finds them damaged could only end, and be started again. They are folded only where one of them, or the
    snapshot, is of a place that `wired` lacks.

    Raises:
        Refused: STILL_NEEDED where orders or positions need what `wired` lacks; and as `JournalFile`.
        Outage: as `JournalFile`.
    """
    with contextlib.closing(JournalFile(path, disk=disk, accept_loss=accept_loss)) as file:
        lacking = file.verify_tail(wired)
        if wired is not None and lacking:
            require_wired(path, file.trading(), wired)
        return file.lost()


def judge_wired(path: str, wired: Wired, *, disk: Disk = REAL) -> str:
    """See that a start with `wired` would have what the journal needs; return why nobody can say, or "".

    Nothing is written; a daemon may run on it.

    Raises:
        Refused: STILL_NEEDED, as the start would.
    """
    if not disk.exists(path):
        return f"there is no journal {path}"
    try:
        with contextlib.closing(JournalFile(path, read_only=True, disk=disk)) as file:
            if file.verify_tail(wired):
                require_wired(path, file.trading(), wired)
    except Outage as error:
        return str(error)
    except Refused as error:
        if error.code == STILL_NEEDED:
            raise
        return str(error)
    return ""


def _trading(snapshot: bytes | None) -> Trading:
    return Trading() if snapshot is None else _STATE.decode(snapshot)


_STATE = msgspec.msgpack.Decoder(Trading)
