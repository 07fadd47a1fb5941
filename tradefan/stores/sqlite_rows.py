"""The embedded store, asked: it is read beside the daemon that writes it, and never locked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import apsw

from tradefan.errors import Refused
from tradefan.stores.disk import BUSY_MS, Trouble, open_flags
from tradefan.stores.queries import SHAPES, Kind, Question, Shape
from tradefan.stores.schema import MEASUREMENTS

USER_FILE = "user.db"
"""What users stored, beside the store: that one may be deleted, this one is nobody else's copy."""
_TABLES = {"venue": "klines", "feed": "bars", "user": "bars"}
_OF_KIND: dict[Kind, tuple[str, ...]] = {
    "bars": ("bars", "klines"),
    "trades": ("trades",),
    "fills": ("fills",),
    "indicators": ("indicators",),
}
_OF_USERS: dict[Kind, tuple[str, ...]] = {"bars": ("bars",), "indicators": ("indicators",)}
_LEADING: dict[Kind, tuple[str, ...]] = {
    "bars": ("instrument", "timeframe"),
    "trades": ("instrument",),
    "fills": ("instrument",),
    "equity": ("account",),
    "indicators": ("instrument", "name"),
}
"""What stands before the instants in an index. Who names all of it has the newest rows at once; else they
are met on the way back in time, by an index that begins with the instants."""


class SqliteRows:
    """Rows of `store.db`, and of `user.db` beside it."""

    def __init__(self, store: Path, user: Path) -> None:
        """Name the files; nothing is opened before a question."""
        self._store = store
        self._user = user
        self._open: dict[Path, tuple[int, apsw.Connection]] = {}
        """Connections by file, with the inode that each has open: another file may come in its place."""
        self._lock = Lock()

    async def rows(self, question: Question) -> Sequence[Sequence[Any]]:
        """Answer on a thread: the disk may take its time."""
        return await asyncio.to_thread(self.read, question)

    async def instruments(self, symbol: str, kind: Kind | None = None) -> Sequence[str]:
        """Return the ids that stand under this symbol or id in tables of a kind, or in any."""
        return await asyncio.to_thread(self._instruments, symbol, [*_OF_KIND] if kind is None else [kind])

    def read(self, question: Question) -> list[tuple[Any, ...]]:
        """Return the rows of a question, oldest first."""
        shape = SHAPES[question.kind]
        file = self._store
        table = MEASUREMENTS[shape.message].name
        if question.kind == "bars":
            table = _TABLES[question.source]
        if question.source == "user":
            file = self._user
        wanted = question.filters
        where = [f"{_by(name, question)} = ?" for name in wanted]
        where += [f"{shape.at} >= ?", f"{shape.at} < ?"]
        order = ", ".join(f"{name} DESC" for name in _order(shape, question))
        sql = (
            f"SELECT {', '.join(shape.columns)} FROM {table} WHERE {' AND '.join(where)} "  # noqa: S608 our names
            f"ORDER BY {order} LIMIT ?"
        )
        values = (*wanted.values(), question.start_ns, question.end_ns, question.limit)
        return self._ask(file, sql, values)[::-1]

    def _instruments(self, symbol: str, kinds: Sequence[Kind]) -> list[str]:
        found: dict[str, None] = {}
        for file, of_kind in ((self._store, _OF_KIND), (self._user, _OF_USERS)):
            for table in (name for kind in kinds for name in of_kind.get(kind, ())):
                # One look in the index for each instrument, however many rows it has.
                sql = (
                    f"WITH RECURSIVE seen(id) AS (SELECT min(instrument) FROM {table} UNION ALL "  # noqa: S608
                    f"SELECT (SELECT min(instrument) FROM {table} WHERE instrument > id) FROM seen "
                    "WHERE id IS NOT NULL) SELECT id FROM seen WHERE id = ?1 OR id LIKE '%:' || ?1"
                )
                found |= dict.fromkeys(row[0] for row in self._ask(file, sql, (symbol,)))
        return sorted(name for name in found if symbol in (name, name.partition(":")[2]))

    def _ask(self, file: Path, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        with Trouble(str(file)), self._lock:
            try:
                db = self._connection(file)
                return [] if db is None else db.execute(sql, tuple(values)).fetchall()
            except apsw.SQLError as error:
                # A table or column that is not there yet.
                raise Refused(
                    "STORE_OLDER", f"{file} is of an older TradeFan: start the daemon once"
                ) from error

    def _connection(self, file: Path) -> apsw.Connection | None:
        """Return who reads a file, opened once: to open it costs more than most questions."""
        known = self._open.get(file)
        try:
            inode = file.stat().st_ino
        except FileNotFoundError:
            inode = None
        if known is not None and known[0] != inode:
            self._open.pop(file)[1].close()
            known = None
        if known is None and inode is not None:
            db = apsw.Connection(str(file), open_flags(read_only=True))
            db.set_busy_timeout(BUSY_MS)
            known = self._open[file] = (inode, db)
        return None if known is None else known[1]


def _by(name: str, question: Question) -> str:
    """Return a column as a condition names it; behind a `+` no index is chosen by it."""
    leading = _LEADING[question.kind]
    free = question.source == "user" or (name in leading and {*leading} <= {*question.filters})
    return name if free else f"+{name}"


def _order(shape: Shape, question: Question) -> list[str]:
    names = [shape.at, *shape.then]
    # Users' numbers have none: of a name and an instant there is one.
    return [name for name in names if name != "ordinal" or question.source != "user"]
