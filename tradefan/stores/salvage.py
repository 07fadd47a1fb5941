"""`--accept-loss`: makes a damaged journal one that opens, and keeps what it was beside it.

What can be believed is the newest good snapshot, or the beginning, and the rows behind it as far as the
chain leads and records decode; older rows are kept as they are. A file that is whole but shorter than
its mark stays. Any other is written anew, row by row with the same hashes, and the old one is renamed.
What is lost is written into `losses`.
"""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

import apsw
import msgspec

from tradefan.errors import Outage, Refused
from tradefan.messages.records import RECORD_VERSION, TRADING_READ, TRADING_VERSION, Record
from tradefan.stores.disk import MEMORY, Disk, open_flags
from tradefan.stores.journal_layout import (
    JOURNAL_VERSION,
    NO_CHAIN,
    DamagedRow,
    Decode,
    foreign_snapshot,
    good_snapshots,
    lay_out,
    verified,
)
from tradefan.stores.mark import MARK_END, MarkFile, epoch_in, marks, new_marks
from tradefan.stores.rebuild import BROKEN, finish, open_to_look, rebuild, renew_wal

EPOCHS_UNKNOWN = 2**14
"""More starts than lost rows can be of, where no mark says how many: their ids may be at the venue."""


class Belief(NamedTuple):
    """Rows behind `start`, a snapshot's or 0, can be believed up to `lsn`; `why` is what is wrong then."""

    start: int
    lsn: int
    chain: bytes
    layout: int
    why: str
    foreign: tuple[int, int] | None = None
    """Lsn and version of a snapshot behind that which only another program can read."""


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
        belief = examine(disk, path, decode)
        if belief.layout > JOURNAL_VERSION:
            return
        if belief.why and belief.foreign is not None:
            raise of_another(path, *belief.foreign)
        content = _mark_content(disk, path)
        lost = _lost(content, belief)
        if belief.why:
            lost += rebuild(disk, path, belief.start, belief.lsn, decode)
        if lost:
            _write_down(disk, path, belief, lost, None if content is None else epoch_in(content))
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


def examine(disk: Disk, path: str, decode: Decode) -> Belief:
    """Return how far a file can be believed; nothing of it is changed."""
    start, lsn, chain, layout, why, foreign = 0, 0, NO_CHAIN, 0, "", None
    if not disk.exists(path):
        # What is left of it is set aside, not taken away by SQLite.
        why = "the file is not there" if disk.exists(f"{path}-wal") else ""
        return Belief(start, lsn, chain, layout, why)
    db = None
    try:
        db = open_to_look(disk, path)
        layout = db.pragma("user_version")
        if layout == JOURNAL_VERSION:
            start, chain, foreign = _newest(db)
            lsn = start
        if 0 < layout <= JOURNAL_VERSION:
            for plain, digest in verified(db, start, chain):
                if plain[4] <= RECORD_VERSION:
                    decode(plain[5])
                lsn, chain = plain[0], digest
        if layout == JOURNAL_VERSION:
            why = side_tables(db)
    except DamagedRow as error:
        why = error.text
    except BROKEN as error:
        why = f"{type(error).__name__}: {error}"
    finally:
        if db is not None:
            db.close(True)
    return Belief(
        start, lsn, chain, layout, why, foreign if foreign is not None and foreign[0] > lsn else None
    )


def _newest(db: apsw.Connection) -> tuple[int, bytes, tuple[int, int] | None]:
    """Return where recovery would begin, the hash there, and a snapshot of a version that we do not read.

    One that is damaged is none.
    """
    foreign = None
    with suppress(*BROKEN):
        foreign = foreign_snapshot(db)
        for lsn, chain, _ in good_snapshots(db):
            return lsn, chain, foreign
    return 0, NO_CHAIN, foreign


def side_tables(db: apsw.Connection) -> str:
    """Say what is wrong with what lies beside the rows: later commits need it."""
    for table in ("subjects", "snapshots", "losses"):
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
    newest = max((mark for mark in marks(content or b"") if mark is not None), default=None)
    if newest is None:
        if content is None and belief.layout < JOURNAL_VERSION and not belief.why:
            return ""
        return f"rows behind lsn {belief.lsn}, as many as there were: no mark says. {belief.why}".rstrip()
    if newest.lsn > belief.lsn:
        return f"rows {belief.lsn + 1} to {newest.lsn}: {belief.why or 'they are not there'}"
    if belief.why:
        return f"rows behind lsn {belief.lsn}, if there were any: {belief.why}"
    if newest.lsn == belief.lsn and newest.chain != belief.chain[: len(newest.chain)]:
        return f"the history that the mark file knows: row {newest.lsn} is another one"
    return ""


def _write_down(disk: Disk, path: str, belief: Belief, lost: str, epoch: int | None) -> None:
    """Say in the file what is lost, and let its marks begin anew, above every epoch that was used."""
    db = disk.connect(path, open_flags(read_only=False))
    try:
        db.pragma("journal_mode", "wal")
        db.pragma("synchronous", "full")
        layout = db.pragma("user_version")
        if layout < JOURNAL_VERSION:
            lay_out(db, layout, msgspec.msgpack.Decoder(Record).decode)
        db.execute("DELETE FROM snapshots WHERE lsn > ?", (belief.lsn,))
        db.execute("INSERT INTO losses VALUES (?, ?)", (belief.lsn, lost))
        kept = int(db.execute("SELECT ifnull(max(epoch), 0) FROM journal").get)
    finally:
        db.close(True)
    used = kept + EPOCHS_UNKNOWN if epoch is None else max(kept, epoch)
    file = MarkFile(disk.plain(path + MARK_END, new_marks(belief.lsn, belief.chain, used)))
    file.reset(belief.lsn, belief.chain, used)
    file.close()
