"""Data of `tradefan.infra`: what an environment has stored, and what its user adds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from typing import Any, Protocol

import numpy as np

from tradefan.environment import Environment
from tradefan.errors import Refused
from tradefan.stores.columns import Columns
from tradefan.stores.queries import FOREVER, Queries, Question, Source
from tradefan.stores.user_store import UserStore, ns_of
from tradefan.units import since_ns

Instant = str | int | datetime | np.integer[Any] | np.datetime64 | None


class Manager(Protocol):
    """Who knows an environment."""

    @property
    def environment(self) -> Environment:
        """The environment."""
        ...

    @property
    def queries(self) -> Queries:
        """Who answers about its data."""
        ...


class DataInfrastructure:
    """What is stored: the daemon's by its own hand, yours with `source` `user`."""

    def __init__(self, manager: Manager) -> None:
        """Work on the manager's environment."""
        self._manager = manager

    async def store_market_data(self, symbol: str, timeframe: str, data: Any) -> int:  # noqa: ANN401
        """Store bars, all or none; return how many.

        `data` is a DataFrame, columns by name or a list of rows, with an instant (`time`, `timestamp`,
        `open_ns`, or a DataFrame's index) and `open high low close volume`. A symbol that no feed carries
        is kept as `user:SYMBOL`.
        """
        return await self._put(UserStore.put_bars, symbol, timeframe, data)

    async def store_indicators(self, symbol: str, data: Any, owner: str = "user") -> int:  # noqa: ANN401
        """Store numbers: an instant, and a column for each indicator; return how many."""
        return await self._put(UserStore.put_indicators, symbol, owner, data)

    async def get_market_data(
        self,
        symbol: str,
        timeframe: str,
        start: Instant = None,
        end: Instant = None,
        limit: int = 1000,
        *,
        source: Source | None = None,
    ) -> Columns:
        """Return the newest bars between start (with it) and end (without it).

        `10m`, ISO 8601, a datetime with a zone, ns, or NumPy's of these, as answers have them.
        """
        span = (_instant(start, 0), _instant(end, FOREVER))
        return await self._manager.queries.market_data(symbol, timeframe, *span, limit, source=source)

    async def get_indicators(
        self,
        symbol: str | None = None,
        name: str | None = None,
        start: Instant = None,
        end: Instant = None,
        limit: int = 1000,
        *,
        owner: str | None = None,
    ) -> Columns:
        """Return the newest numbers that strategies recorded or you stored."""
        since, until = _instant(start, 0), _instant(end, FOREVER)
        asked = Question(
            "indicators", symbol, owner=owner, name=name, start_ns=since, end_ns=until, limit=limit
        )
        return await self._manager.queries.ask(asked)

    async def ask(self, question: Question) -> Columns:
        """Return trades, fills, equity: whatever a question names."""
        return await self._manager.queries.ask(question)

    async def _put(self, put: Any, symbol: str, *words: Any) -> int:  # noqa: ANN401
        instrument = stored_as(symbol, self._manager.environment.loaded.config.feeds)
        count: int = await asyncio.to_thread(
            put, UserStore(self._manager.environment.places.user), instrument, *words
        )
        self._manager.queries.cache.clear()
        return count


def stored_as(symbol: str, feeds: Iterable[str]) -> str:
    """Return the id under which a user's rows are kept: the feed's that carries the symbol, or `user:SYMBOL`.

    Raises:
        Refused: AMBIGUOUS_SYMBOL where several feeds carry it. Rows under the symbol alone would be those of
            another instrument, beside all of theirs.
    """
    found = [name for name in feeds if symbol in (name, name.partition(":")[2])]
    if symbol in found:
        return symbol
    if len(found) > 1:
        raise Refused(
            "AMBIGUOUS_SYMBOL",
            f"{symbol} is carried by {' and '.join(found)}; store it as one of them, {found[0]!r} perhaps?",
        )
    # A venue has no slash: BTC/USDT:USDT is a symbol, binance:BTC/USDT an id.
    venue, colon, _ = symbol.partition(":")
    has_venue = bool(colon) and "/" not in venue
    return found[0] if found else symbol if has_venue else f"user:{symbol}"


def _instant(value: Instant, default: int) -> int:
    if value is None:
        return default
    if isinstance(value, str | datetime):
        return since_ns(value, time.time_ns())
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return int(value)
    with suppress(ValueError):
        if isinstance(value, np.datetime64):
            return ns_of(value)
    raise Refused("BAD_INSTANT", f"expected 10m, 2026-01-31T12:00:00Z, a datetime or ns, got {value!r:.80}")
