"""The embedded store's file: rows of everything worth asking for later, written in batches.

A projection: trades, bars and equity are what came, orders and fills follow the journal up to
`applied_lsn` and are caught up from it. WAL with `synchronous=NORMAL`: kill -9 loses nothing that
was committed, a power loss the last moments, which the journal brings back where they matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import apsw
import msgspec

from tradefan.errors import Refused
from tradefan.messages.account import EquityPoint
from tradefan.messages.control import StoreAck, StoreBatch, Stored, VolumesAsked
from tradefan.messages.market import AskStored, Bar, StoredBars, Trade, VolumeDays
from tradefan.messages.orders import FillUpdate, OrderUpdate, ParentUpdate, PositionUpdate, Refusal
from tradefan.messages.tca import TcaUpdate
from tradefan.stores.disk import BUSY_MS, Connect, Trouble, open_flags
from tradefan.stores.joining import joining
from tradefan.stores.klines import Kline
from tradefan.stores.migrations import MIGRATIONS, STORE_VERSION
from tradefan.stores.schema import TABLES, from_row, to_row
from tradefan.stores.volumes import volume_days
from tradefan.units import DAY

LIMIT_MAX = 100_000
"""Most rows of one answer."""
KEEP_TRADES_NS = 7 * DAY
FORGET_MAX = 10_000
"""Most old trades that one batch takes away, so that a batch stays short."""
_FOREVER = 2**63 - 1

M = TypeVar("M", bound=msgspec.Struct)


class StoreFile:
    """The store on one thread; everything raises Outage when the disk or the file is at fault."""

    def __init__(
        self,
        path: str,
        *,
        read_only: bool = False,
        keep_trades_ns: int = KEEP_TRADES_NS,
        connect: Connect | None = None,
    ) -> None:
        """Open the file, made or migrated when it has to be.

        Raises:
            Refused: STORE_NEWER when a newer TradeFan wrote the file.
        """
        self.path = path
        self._keep_trades_ns = keep_trades_ns
        flags = open_flags(read_only=read_only)
        with Trouble(path):
            self._db = (connect or apsw.Connection)(path, flags)
            self._db.set_busy_timeout(BUSY_MS)
            self._migrate(read_only=read_only)

    # --- writing ----------------------------------------------------------------------------------

    def write(self, batch: StoreBatch) -> StoreAck:
        """Store a batch in one transaction; a row that cannot be stored is set aside with its reason."""
        with Trouble(self.path):
            try:
                self._db.execute("BEGIN IMMEDIATE")
                stored, reason = self._put(batch.rows)
                if batch.applied_lsn is not None and batch.applied_lsn > self.applied_lsn:
                    self._set_meta("applied_lsn", batch.applied_lsn)
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
        return StoreAck(batch.batch_id, stored, reason, self.applied_lsn)

    def _put(self, rows: Iterable[Stored]) -> tuple[int, str | None]:
        stored, aside, reason = 0, 0, ""
        newest_ns: dict[str, int] = {}
        for row in rows:
            try:
                self._db.execute(_UPSERTS[type(row)], to_row(row))
                stored += 1
            except (apsw.ConstraintError, OverflowError, TypeError) as error:
                # NaN, a number beyond 64 bits, a hole: this row's fault, not the disk's.
                aside += 1
                reason = reason or f"{type(row).__name__}: {error}"
            if isinstance(row, Trade):
                newest_ns[row.instrument] = row.recv_ns
        for instrument, at_ns in newest_ns.items():
            self._forget_trades(instrument, at_ns - self._keep_trades_ns)
        return stored, f"{aside} rows set aside, the first a {reason}" if aside else None

    def _forget_trades(self, instrument: str, before_ns: int) -> None:
        self._db.execute(
            "DELETE FROM trades WHERE instrument = ?1 AND trade_id IN "
            "(SELECT trade_id FROM trades WHERE instrument = ?1 AND event_ns < ?2 LIMIT ?3)",
            (instrument, before_ns, FORGET_MAX),
        )

    def put_klines(self, instrument: str, timeframe: str, rows: Sequence[Kline]) -> tuple[int, int]:
        """Store a venue's bars in one transaction; return how many are new, and how many have changed."""
        with Trouble(self.path):
            count = "SELECT count(*) FROM klines WHERE instrument = ? AND timeframe = ?"
            try:
                self._db.execute("BEGIN IMMEDIATE")
                there, done = self._db.execute(count, (instrument, timeframe)).get, self._db.total_changes()
                self._db.executemany(_PUT_KLINE, ((instrument, timeframe, *row) for row in rows))
                new = self._db.execute(count, (instrument, timeframe)).get - there
                changed = self._db.total_changes() - done - new
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
        return new, changed

    # --- the projection's place ---------------------------------------------------------------------

    @property
    def applied_lsn(self) -> int:
        """Everything that follows from the journal up to here is in the store."""
        return int(self.meta("applied_lsn") or 0)

    def meta(self, name: str) -> Any:  # noqa: ANN401 a value of whatever kind was set
        """Return a value kept beside the rows, None where there is none."""
        with Trouble(self.path):
            return self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).get

    @property
    def forgot(self) -> bool:
        """Whether pictures were taken away that no catch-up has brought back since."""
        return bool(self.meta("forgot"))

    def follow(self, journal_id: bytes | None) -> None:
        """Note which journal is followed, by its first hash."""
        with Trouble(self.path), self._db:
            self._set_meta("journal", journal_id)

    def made_whole(self) -> None:
        """Note that a catch-up has shown every picture as it is now."""
        with Trouble(self.path), self._db:
            self._set_meta("forgot", 0)

    def _set_meta(self, name: str, value: bytes | int | None) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def make_history(self, journal_id: bytes | None) -> None:
        """Keep what another journal told, below every number of this one; its positions go.

        They would stand for ever.
        """
        with Trouble(self.path), self._db:
            self._db.execute("DELETE FROM positions")
            for table in ("fills", "orders", "parents", "tca"):
                self._db.execute(f"UPDATE {table} SET lsn = 0")  # noqa: S608 our names
            self._set_meta("journal", journal_id)
            self._set_meta("applied_lsn", 0)
            self._set_meta("proven_lsn", 0)

    @property
    def proven_lsn(self) -> int | None:
        """Rows up to here tell of the journal; None in a file that never was asked."""
        proven = self.meta("proven_lsn")
        return None if proven is None else int(proven)

    def prove(self, lsn: int) -> None:
        """Note that all rows up to here tell of the journal."""
        if self.proven_lsn != lsn:
            with Trouble(self.path), self._db:
                self._set_meta("proven_lsn", lsn)

    def forget_unjournaled(self, last_lsn: int, proven_lsn: int | None = None) -> None:
        """Take away what was stored ahead of a journal that lost its last moments.

        Without it every row up to `proven_lsn` tells of the journal; one transaction says both, for a
        loss of power may take both back.

        A crash may come between a message to the store and the commit of its record. Such a fill is
        reported again by the venue; such an order was never sent, or was sent and has an older picture,
        which the journal gives.
        """
        before = self._db.total_changes()
        with Trouble(self.path), self._db:
            for table in ("fills", "orders", "parents", "positions", "tca"):
                self._db.execute(f"DELETE FROM {table} WHERE lsn > ?", (last_lsn,))  # noqa: S608 our names
            if self._db.total_changes() > before:
                self._set_meta("forgot", 1)
            self._set_meta("proven_lsn", last_lsn if proven_lsn is None else proven_lsn)
            if self.applied_lsn > last_lsn:
                self._set_meta("applied_lsn", last_lsn)

    # --- asking -------------------------------------------------------------------------------------

    def bars(
        self, instrument: str, timeframe: str, start_ns: int = 0, end_ns: int = _FOREVER, limit: int = 1000
    ) -> tuple[Bar, ...]:
        """Return bars with start <= open < end, oldest first: the first `limit`."""
        where = "instrument = ? AND timeframe = ? AND open_ns >= ? AND open_ns < ? ORDER BY open_ns"
        return self._ask(Bar, where, (instrument, timeframe, start_ns, end_ns), limit)

    def volumes(self, asked: VolumesAsked) -> tuple[VolumeDays, ...]:
        """Return what traded on days that are asked for, by source."""
        with Trouble(self.path):
            return volume_days(self._db, asked)

    def joining(self, ask: AskStored) -> StoredBars:
        """Return the venue's bars that end where a feed's own begin."""
        with Trouble(self.path):
            return joining(self._db, ask)

    def trades(
        self, instrument: str, start_ns: int = 0, end_ns: int = _FOREVER, limit: int = 1000
    ) -> tuple[Trade, ...]:
        """Return trades with start <= event time < end, oldest first: the first `limit`."""
        where = "instrument = ? AND event_ns >= ? AND event_ns < ? ORDER BY event_ns, trade_id"
        return self._ask(Trade, where, (instrument, start_ns, end_ns), limit)

    def fills(
        self,
        account: str | None = None,
        instrument: str | None = None,
        start_ns: int = 0,
        end_ns: int = _FOREVER,
        limit: int = 1000,
    ) -> tuple[FillUpdate, ...]:
        """Return fills with start <= event time < end, oldest first: the first `limit`."""
        where = (
            "account = ifnull(?, account) AND instrument = ifnull(?, instrument) "
            "AND event_ns >= ? AND event_ns < ? ORDER BY event_ns, lsn"
        )
        return self._ask(FillUpdate, where, (account, instrument, start_ns, end_ns), limit)

    def equity(
        self, account: str, start_ns: int = 0, end_ns: int = _FOREVER, limit: int = 1000
    ) -> tuple[EquityPoint, ...]:
        """Return points with start <= time < end, oldest first: the first `limit`."""
        where = "account = ? AND at_ns >= ? AND at_ns < ? ORDER BY at_ns"
        return self._ask(EquityPoint, where, (account, start_ns, end_ns), limit)

    def orders(self, account: str | None = None, limit: int = 1000) -> tuple[OrderUpdate, ...]:
        """Return the newest orders, newest first."""
        where = "account = ifnull(?, account) ORDER BY created_ns DESC, client_order_id DESC"
        return self._ask(OrderUpdate, where, (account,), limit)

    def parents(self, account: str | None = None, limit: int = 1000) -> tuple[ParentUpdate, ...]:
        """Return the newest parents, newest first."""
        where = "account = ifnull(?, account) ORDER BY created_ns DESC, parent_id DESC"
        return self._ask(ParentUpdate, where, (account,), limit)

    def parent(self, parent_id: str) -> ParentUpdate | None:
        """Return one parent."""
        found = self._ask(ParentUpdate, "parent_id = ?", (parent_id,), 1)
        return found[0] if found else None

    def fills_of(self, parent_id: str, limit: int = 10_000) -> tuple[FillUpdate, ...]:
        """Return the fills of a parent, oldest first; what was taken back is among them, below zero."""
        return self._ask(FillUpdate, "parent_id = ? ORDER BY event_ns, lsn", (parent_id,), limit)

    def tca(self, parent_id: str) -> TcaUpdate | None:
        """Return the analysis of one parent."""
        found = self._ask(TcaUpdate, "parent_id = ?", (parent_id,), 1)
        return found[0] if found else None

    def tcas(self, since_ns: int = 0, limit: int = 10_000) -> tuple[TcaUpdate, ...]:
        """Return the analyses of parents that ended since then, newest first."""
        return self._ask(TcaUpdate, "ended_ns >= ? ORDER BY ended_ns DESC, parent_id", (since_ns,), limit)

    def positions(self, account: str | None = None, limit: int = 1000) -> tuple[PositionUpdate, ...]:
        """Return the last known positions."""
        where = "account = ifnull(?, account) ORDER BY account, owner, instrument"
        return self._ask(PositionUpdate, where, (account,), limit)

    def refusals(self, limit: int = 1000) -> tuple[Refusal, ...]:
        """Return the newest refusals, newest first."""
        return self._ask(Refusal, "1 ORDER BY at_ns DESC", (), limit)

    def _ask(self, kind: type[M], where: str, values: tuple[Any, ...], limit: int) -> tuple[M, ...]:
        table = TABLES[kind]
        sql = f"SELECT {', '.join(table.columns)} FROM {table.name} WHERE {where} LIMIT ?"  # noqa: S608 our names
        with Trouble(self.path):
            found = self._db.execute(sql, (*values, max(0, min(limit, LIMIT_MAX)))).fetchall()
        return tuple(from_row(kind, row) for row in found)

    # --- the file -----------------------------------------------------------------------------------

    def integrity(self) -> str:
        """Return `ok`, or what SQLite finds wrong."""
        with Trouble(self.path):
            return str(self._db.execute("PRAGMA integrity_check").get)

    def close(self) -> None:
        """Close the file; closing twice is fine."""
        with Trouble(self.path):
            self._db.close(True)

    def _migrate(self, *, read_only: bool) -> None:
        """Lead the file forward, one numbered script and one transaction at a time."""
        db = self._db
        version = db.pragma("user_version")
        if version > STORE_VERSION or (read_only and version < STORE_VERSION):
            db.close()
            code = "STORE_NEWER" if version > STORE_VERSION else "STORE_OLDER"
            raise Refused(code, f"{self.path} has version {version}, expected {STORE_VERSION}")
        if read_only:
            return
        db.pragma("journal_mode", "wal")
        db.pragma("synchronous", "normal")
        for number in range(version, STORE_VERSION):
            with db:
                db.execute(MIGRATIONS[number])
                db.pragma("user_version", number + 1)


_PUT_KLINE = (
    "INSERT INTO klines VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (instrument, timeframe, open_ns) DO UPDATE SET "
    "open = excluded.open, high = excluded.high, low = excluded.low, close = excluded.close, "
    "volume = excluded.volume "
    "WHERE (klines.open, klines.high, klines.low, klines.close, klines.volume) IS NOT "
    "(excluded.open, excluded.high, excluded.low, excluded.close, excluded.volume)"
)
"""One that is there already as it is counts as no change."""
_UPSERTS = {kind: table.upsert for kind, table in TABLES.items()}
