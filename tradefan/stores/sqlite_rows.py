"""The embedded store, asked: it is read beside the daemon that writes it, and never locked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw

from tradefan.errors import Refused
from tradefan.stores.disk import BUSY_MS, Trouble, open_flags
from tradefan.stores.queries import SHAPES, Question
from tradefan.stores.schema import MEASUREMENTS

USER_FILE = "user.db"
"""What users stored, beside the store: that one may be deleted, this one is nobody else's copy."""
_TABLES = {"venue": "klines", "feed": "bars", "user": "bars"}
_WITH_INSTRUMENTS = ("bars", "klines", "trades", "fills", "indicators")


class SqliteRows:
    """Rows of `store.db`, and of `user.db` beside it."""

    def __init__(self, store: Path, user: Path) -> None:
        """Name the files; nothing is opened before a question."""
        self._store = store
        self._user = user

    async def rows(self, question: Question) -> Sequence[Sequence[Any]]:
        """Answer on a thread: the disk may take its time."""
        return await asyncio.to_thread(self.read, question)

    async def instruments(self, symbol: str) -> Sequence[str]:
        """Return the ids that stand in any table under this symbol or id."""
        return await asyncio.to_thread(self._instruments, symbol)

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
        where = [f"{name} = ?" for name in wanted]
        where += [f"{shape.at} >= ?", f"{shape.at} < ?"]
        order = ", ".join(f"{name} DESC" for name in dict.fromkeys((shape.at, shape.then)))
        sql = (
            f"SELECT {', '.join(shape.columns)} FROM {table} WHERE {' AND '.join(where)} "  # noqa: S608 our names
            f"ORDER BY {order} LIMIT ?"
        )
        values = (*wanted.values(), question.start_ns, question.end_ns, question.limit)
        return self._ask(file, sql, values)[::-1]

    def _instruments(self, symbol: str) -> list[str]:
        found: dict[str, None] = {}
        for file, tables in ((self._store, _WITH_INSTRUMENTS), (self._user, ("bars", "indicators"))):
            for table in tables:
                # One look in the index for each instrument, however many rows it has.
                sql = (
                    f"WITH RECURSIVE seen(id) AS (SELECT min(instrument) FROM {table} UNION ALL "  # noqa: S608
                    f"SELECT (SELECT min(instrument) FROM {table} WHERE instrument > id) FROM seen "
                    "WHERE id IS NOT NULL) SELECT id FROM seen WHERE id = ?1 OR id LIKE '%:' || ?1"
                )
                found |= dict.fromkeys(row[0] for row in self._ask(file, sql, (symbol,)))
        return sorted(name for name in found if symbol in (name, name.partition(":")[2]))

    def _ask(self, file: Path, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        if not file.exists():
            return []
        with Trouble(str(file)):
            db = apsw.Connection(str(file), open_flags(read_only=True))
            try:
                db.set_busy_timeout(BUSY_MS)
                return db.execute(sql, tuple(values)).fetchall()
            except apsw.SQLError as error:
                # A table or column that is not there yet.
                raise Refused(
                    "STORE_OLDER", f"{file} is of an older TradeFan: start the daemon once"
                ) from error
            finally:
                db.close()
