"""`tradefan journal verify|show|export`: looks at a journal, also beside a running daemon; writes nothing.

Rows are read in slices, so that the writer is never held up. What is damaged is described.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import IO, Any, get_args

import msgspec
from msgspec import Struct

from tradefan.core.trading import Trading, apply
from tradefan.errors import Refused
from tradefan.messages.records import TRADING_VERSION, Record
from tradefan.setting import suggest
from tradefan.stores.disk import Trouble
from tradefan.stores.journal import JournalFile, Row
from tradefan.stores.journal_layout import SIDE_TABLES_SINCE, SLICE
from tradefan.stores.kill_byte import KILL_END, killed
from tradefan.stores.mark import MARK_END, marks
from tradefan.units import SECOND

KILL_WORDS = ("open", "closed for some scopes", "closed for all")


class SnapshotSeen(Struct, frozen=True):
    """One snapshot; `state` says whether recovery would begin there."""

    lsn: int
    version: int
    size: int
    state: str


class VerifyReport(Struct, frozen=True):
    """What `verify` found; everything in `problems` is a reason for exit code 1."""

    path: str
    version: int
    rows: int
    """Verified from the first on; where a loss of the first ones was accepted, from there."""
    last_lsn: int
    first_at: str | None
    last_at: str | None
    chain: str
    """`ok`, or the first row that is not what it must be."""
    mark: str
    snapshots: tuple[SnapshotSeen, ...]
    kill: str
    unapplied: int
    """Records that changed nothing when they were folded."""
    losses: tuple[str, ...]
    """What operators accepted as lost."""
    problems: tuple[str, ...]

    @property
    def code(self) -> int:
        """The exit code: 0 when everything is as it must be."""
        return 1 if self.problems else 0


def verify(path: str) -> VerifyReport:
    """Read the whole journal and say what state it is in; a million rows take about 20 seconds.

    Raises:
        Refused: NO_JOURNAL when there is none; JOURNAL_NEWER when a newer TradeFan wrote it.
        Outage: the disk cannot be read.
    """
    _require(path)
    # The marks first: beside a running daemon the rows are ahead of them.
    known = _read(path + MARK_END)
    try:
        with contextlib.closing(JournalFile(path, read_only=True)) as file:
            return _look(file, known)
    except Refused as error:
        if error.code != "JOURNAL_DAMAGED":
            raise
        return _unreadable(path, error.text)


def _look(file: JournalFile, known: bytes | None) -> VerifyReport:
    rows, chain, found = _verify_rows(file)
    mark, trouble = _compare(file, known, rows)
    snapshots = tuple(_snapshots(file))
    state, first_at, last_at = _fold(file, rows)
    problems = [text for text in (found, trouble, file.beside()) if text]
    problems += [f"snapshot {one.lsn}: {one.state}" for one in snapshots if one.state.startswith("damaged")]
    if state.unapplied:
        problems.append(f"{state.unapplied} records changed nothing when they were folded")
    return VerifyReport(
        path=file.path,
        version=file.base.layout,
        rows=rows,
        last_lsn=file.last_lsn,
        first_at=first_at,
        last_at=last_at,
        chain=found or f"ok, {chain.hex()[:16]} at lsn {rows}",
        mark=mark,
        snapshots=snapshots,
        kill=KILL_WORDS[killed(_read(file.path + KILL_END) or b"\0")],
        unapplied=state.unapplied,
        losses=tuple(text for _, text in file.losses()),
        problems=tuple(problems),
    )


def _unreadable(path: str, text: str) -> VerifyReport:
    return VerifyReport(
        path=path,
        version=0,
        rows=0,
        last_lsn=0,
        first_at=None,
        last_at=None,
        chain=text,
        mark="not compared",
        snapshots=(),
        kill=KILL_WORDS[killed(_read(path + KILL_END) or b"\0")],
        unapplied=0,
        losses=(),
        problems=(text,),
    )


def _verify_rows(file: JournalFile) -> tuple[int, bytes, str]:
    """Return how far the rows are what they must be, the hash there, and what is wrong behind that."""
    (lsn, chain), rows, wrong = file.begin(), SLICE, ""
    while True:
        before = lsn
        try:
            lsn, chain = file.check(lsn, chain, rows)
        except Refused as error:
            if wrong:
                return lsn, chain, wrong
            # Those of this slice before the damaged one are good: they are taken one by one.
            rows, wrong = 1, error.text
            continue
        if lsn < before + rows:
            return lsn, chain, wrong


def _compare(file: JournalFile, known: bytes | None, rows: int) -> tuple[str, str]:
    """Return what the mark file says, and what is wrong with that."""
    if known is None:
        return "none", "its mark file is missing" if file.base.layout >= SIDE_TABLES_SINCE else ""
    newest = max((mark for mark in marks(known) if mark is not None), default=None)
    if newest is None:
        return "broken", "its mark file has no mark that is whole"
    text = f"lsn {newest.lsn}"
    if newest.lsn > rows:
        return text, f"its mark file names row {newest.lsn}, the last that can be believed is {rows}"
    if file.chain_at(newest.lsn)[: len(newest.chain)] != newest.chain:
        return text, f"row {newest.lsn} is another one than its mark file names"
    return text, ""


def _snapshots(file: JournalFile) -> Iterator[SnapshotSeen]:
    believed = {lsn for lsn, _ in file.snapshots()}
    for lsn, version, size in file.snapshots_kept():
        if lsn in believed:
            state = "good"
        elif version != TRADING_VERSION:
            state = f"of another version, this program writes {TRADING_VERSION}"
        else:
            state = "damaged, or of another history"
        yield SnapshotSeen(lsn, version, size, state)


def _fold(file: JournalFile, rows: int) -> tuple[Trading, str | None, str | None]:
    state, first, last = Trading(), None, None
    # A row that cannot be read has been named already.
    with contextlib.suppress(Refused):
        begin, state = _oldest(file) if file.begin()[0] else (0, state)
        for row in file.rows(begin):
            if row.lsn > rows:
                break
            apply(state, row.record)
            last = row.record.at_ns
            first = last if first is None else first
    return state, None if first is None else iso(first), None if last is None else iso(last)


def _oldest(file: JournalFile) -> tuple[int, Trading]:
    """Return the oldest state that is kept: it stands for rows that were accepted as lost."""
    oldest = file.oldest()
    if oldest is None:
        return file.last_lsn, Trading()
    lsn, state = oldest
    return lsn, msgspec.msgpack.decode(state, type=Trading)


# --- rows ---------------------------------------------------------------------------------------------


def show(
    path: str,
    *,
    since_lsn: int = 0,
    until_lsn: int | None = None,
    order: str | None = None,
    kind: str | None = None,
    limit: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield rows with since_lsn <= lsn <= until_lsn as dicts: lsn, time, epoch, type, fields.

    `order` is a client order id or a parent id, `kind` a type in any spelling (`PARENT_FAILED`,
    `ParentFailed`), `limit` the most rows that are yielded.

    Raises:
        Refused: NO_JOURNAL; BAD_RANGE or UNKNOWN_TYPE for filters that nothing can pass, UNKNOWN_ORDER at the
            end where no row spoke of it; JOURNAL_DAMAGED at a row that cannot be believed, those before it
            are out.
        Outage: the disk cannot be read.
    """
    _require(path)
    if until_lsn is not None and until_lsn < since_lsn:
        raise Refused("BAD_RANGE", f"--until: expected {since_lsn} (--since) or more, got {until_lsn}")
    wanted = None if kind is None else _known_kind(kind)
    shown, spoken_of = 0, order is None
    with contextlib.closing(JournalFile(path, read_only=True)) as file:
        last = file.last_lsn if until_lsn is None else min(until_lsn, file.last_lsn)
        rows = file.rows(max(file.begin()[0], min(since_lsn - 1, last)))
        # No row behind the last one is read: it may be damaged.
        while shown != limit and (row := next(rows, None)) is not None and row.lsn <= last:
            about = order is None or order in set(orders_of(row.record))
            spoken_of |= about
            if about and wanted in (None, _plain_name(type(row.record).__name__)):
                shown += 1
                yield as_dict(row)
            if row.lsn == last:
                break
    if not spoken_of and limit != 0:
        text = f"--order: expected an order or parent of rows {since_lsn} to {last}, got {order!r}"
        raise Refused("UNKNOWN_ORDER", text)


def _known_kind(kind: str) -> str:
    """Return a type's name as names are compared.

    Raises:
        Refused: UNKNOWN_TYPE with what was probably meant.
    """
    known = [_plain_name(one.__name__) for one in get_args(Record)]
    if (plain := _plain_name(kind)) not in known:
        text = f"--type: expected a type of record, got {kind!r}{suggest(plain, known)}"
        raise Refused("UNKNOWN_TYPE", text)
    return plain


def export(path: str, out: IO[bytes], file_format: str = "jsonl") -> int:
    """Write all rows, one JSON object a line as `show` gives them; return how many.

    Raises:
        Refused: BAD_FORMAT; and as `show`, with how many rows before a damaged one are written.
    """
    require_export(path, file_format)
    encode = msgspec.json.Encoder().encode
    count = 0
    try:
        for row in show(path):
            out.write(encode(row) + b"\n")
            count += 1
    except Refused as no:
        raise Refused(no.code, f"{no.text}; {count} rows before it are written") from no
    return count


def require_export(path: str, file_format: str) -> None:
    """See that an export can begin, before a file is made, or emptied, for it.

    Raises:
        Refused: BAD_FORMAT or NO_JOURNAL.
    """
    if file_format != "jsonl":
        raise Refused("BAD_FORMAT", f"--format: expected jsonl, got {file_format!r}")
    _require(path)


def as_dict(row: Row) -> dict[str, Any]:
    """Return a row as names and plain values; Decimals are text, times beside the row's stay ns."""
    fields = plain_fields(row.record)
    at_ns = fields.pop("at_ns")
    return {
        "lsn": row.lsn,
        "time": iso(at_ns),
        "epoch": row.epoch,
        "type": type(row.record).__name__,
        "fields": fields,
    }


def iso(at_ns: int) -> str:
    """Return kernel time as ISO 8601 in UTC with all its nanoseconds."""
    seconds, rest = divmod(at_ns, SECOND)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def plain_fields(record: Struct) -> dict[str, Any]:
    """Return a record's or message's fields as names and plain values."""
    return {name: _plain(getattr(record, name)) for name in record.__struct_fields__}


def _plain(value: Any) -> Any:  # noqa: ANN401 a field of any record
    if isinstance(value, Struct):
        return plain_fields(value)
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    return value


_ORDER_FIELDS = ("client_order_id", "parent_id", "replaces")


def orders_of(record: Struct) -> Iterator[str]:
    """Name the orders and parents that a record speaks of, those of a record inside it too."""
    for name in record.__struct_fields__:
        value = getattr(record, name)
        if name in _ORDER_FIELDS and value is not None:
            yield value
        elif isinstance(value, Struct):
            yield from orders_of(value)


def _plain_name(kind: str) -> str:
    return kind.replace("_", "").lower()


# --- files --------------------------------------------------------------------------------------------


def _require(path: str) -> None:
    if not Path(path).exists():
        raise Refused("NO_JOURNAL", f"expected a journal at {path}, found none")


def _read(path: str) -> bytes | None:
    file = Path(path)
    with Trouble(path):
        return file.read_bytes() if file.exists() else None
