"""What can be asked of the stores: one form of question, and the same answer whichever store gives it.

A question names a kind of row, whose rows are wanted, from when (inclusive) until when (exclusive), and how
many at most: the newest of those that fit, in order of time. Two rows of one instant stand in the order of
their ids, and an index gives that order: no question reads a table from end to end.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from operator import itemgetter
from typing import Any, Literal, NamedTuple, Protocol

from msgspec import Struct
from msgspec.structs import replace

from tradefan.errors import Refused
from tradefan.messages.account import EquityPoint, IndicatorPoint
from tradefan.messages.market import Bar, Trade
from tradefan.messages.orders import FillUpdate
from tradefan.stores.columns import Columns, Form, columns_of
from tradefan.stores.schema import MEASUREMENTS, kinds

Kind = Literal["bars", "trades", "fills", "equity", "indicators"]
Source = Literal["venue", "feed", "user"]
SOURCES: tuple[Source, ...] = ("venue", "feed", "user")
"""Where bars come from: the venue's own (`tradefan data import`), ours of what the feed said, those that a
user stored. Where several have one, the first of these is taken."""
LIMIT_MAX = 1_000_000
CACHE_ROWS_MAX = 2_000_000
"""Rows of all answers that are kept; a larger one is not."""
FOREVER = 2**63 - 1
BAR_COLUMNS = ("open_ns", "open", "high", "low", "close", "volume")
BAR_FORMS: tuple[Form, ...] = ("int", "float", "float", "float", "float", "float")


class Shape(NamedTuple):
    """A kind's message, the columns of its answer, its instant and the ids behind it.

    And what may be named, and what must be.
    """

    message: type[Struct]
    columns: tuple[str, ...]
    at: str
    then: tuple[str, ...]
    filters: tuple[str, ...]
    needed: tuple[str, ...] = ()

    @property
    def forms(self) -> tuple[Form, ...]:
        """Say what each column holds."""
        table = MEASUREMENTS[self.message]
        known = dict(zip(table.columns, kinds(self.message), strict=True))
        return tuple(known[name] for name in self.columns)


SHAPES: dict[Kind, Shape] = {
    "bars": Shape(
        Bar,
        BAR_COLUMNS,
        "open_ns",
        (),
        ("instrument", "timeframe"),
        ("instrument", "timeframe"),
    ),
    "trades": Shape(
        Trade,
        ("event_ns", "trade_id", "price", "qty", "taker_side"),
        "event_ns",
        ("trade_id",),
        ("instrument",),
        ("instrument",),
    ),
    "fills": Shape(
        FillUpdate,
        (
            "event_ns",
            "account",
            "instrument",
            "owner",
            "side",
            "qty",
            "price",
            "fee",
            "fee_asset",
            "liquidity",
            "realised",
            "trade_id",
            "parent_id",
        ),
        "event_ns",
        ("lsn", "trade_id"),
        ("account", "instrument", "owner"),
    ),
    "equity": Shape(
        EquityPoint,
        ("at_ns", "account", "equity", "realised", "unrealised", "fees", "drawdown", "exposure"),
        "at_ns",
        ("account",),
        ("account",),
    ),
    "indicators": Shape(
        IndicatorPoint,
        ("at_ns", "owner", "instrument", "name", "value"),
        "at_ns",
        ("name", "instrument", "owner", "ordinal"),
        ("owner", "instrument", "name"),
    ),
}


class Question(Struct, frozen=True):
    """What is asked; a filter that is None lets all through. Only bars have a `source`."""

    kind: Kind
    instrument: str | None = None
    timeframe: str | None = None
    owner: str | None = None
    account: str | None = None
    name: str | None = None
    source: Source = "feed"
    start_ns: int = 0
    end_ns: int = FOREVER
    limit: int = 1000

    @property
    def filters(self) -> dict[str, str]:
        """Return what rows must have."""
        wanted = ((name, getattr(self, name)) for name in SHAPES[self.kind].filters)
        return {name: value for name, value in wanted if value is not None}


class NotInStore(Refused):
    """That store never has such rows."""

    def __init__(self, text: str) -> None:
        """Say which."""
        super().__init__("NOT_IN_STORE", text)


class Rows(Protocol):
    """A store that can be asked."""

    async def rows(self, question: Question) -> Sequence[Sequence[Any]]:
        """Return rows in the columns of its kind's shape, oldest first; Decimals as exact text.

        Raises:
            Outage: it does not answer.
            NotInStore: it never has such rows.
        """

    async def instruments(self, symbol: str, kind: Kind | None = None) -> Sequence[str]:
        """Return the ids of that symbol, or that id, of which it has rows of a kind, or of any."""


class Cache:
    """Answers that were given within the last moment, in this process; the least used go first."""

    def __init__(
        self,
        now_s: Callable[[], float],
        ttl_s: float = 1.0,
        most: int = 256,
        rows_max: int = CACHE_ROWS_MAX,
    ) -> None:
        """Keep at most so many answers of so many rows, each for so long."""
        self.hits = 0
        self.misses = 0
        self._now_s = now_s
        self._ttl_s = ttl_s
        self._most = most
        self._rows_max = rows_max
        self._rows = 0
        self._kept: OrderedDict[Any, tuple[float, Any]] = OrderedDict()

    def get(self, key: Any, *, counted: bool = True) -> Any:  # noqa: ANN401 whatever was put there
        """Return what was put under a key, None where nothing is or it is too old; both are counted.

        What only leads to an answer, such as the id of a symbol, is not counted: one question is one.
        """
        found = self._kept.get(key)
        if found is None or self._now_s() - found[0] > self._ttl_s:
            self.misses += counted
            return None
        self.hits += counted
        self._kept.move_to_end(key)
        return found[1]

    def put(self, key: Any, value: Any) -> None:  # noqa: ANN401
        """Keep a value under a key from now on; what is too old goes, then the least used until it fits."""
        now_s = self._now_s()
        for old in [one for one, (at_s, _) in self._kept.items() if one == key or now_s - at_s > self._ttl_s]:
            self._drop(old)
        if _size(value) > self._rows_max:
            return
        self._kept[key] = (now_s, value)
        self._rows += _size(value)
        while len(self._kept) > self._most or self._rows > self._rows_max:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: Any) -> None:  # noqa: ANN401
        self._rows -= _size(self._kept.pop(key)[1])

    def clear(self) -> None:
        """Forget everything: something was stored."""
        self._kept.clear()
        self._rows = 0

    @property
    def hit_rate(self) -> float | None:
        """Return the share of questions that were answered from here, None before the first."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else None


def _size(value: object) -> int:
    return len(value) if isinstance(value, Columns) else 1


class Queries:
    """Asks one store, through a cache."""

    def __init__(self, store: Rows, cache: Cache) -> None:
        """Ask this store."""
        self.cache = cache
        self._store = store

    async def market_data(
        self,
        symbol: str,
        timeframe: str,
        start_ns: int = 0,
        end_ns: int = FOREVER,
        limit: int = 1000,
        *,
        source: Source | None = None,
    ) -> Columns:
        """Return bars: `open_ns open high low close volume source`.

        Without a `source` those of all that the store has, each instant once (`SOURCES`).
        """

        async def of(instrument: str) -> Columns:
            wanted = SOURCES if source is None else (source,)
            asked = Question("bars", instrument, timeframe, start_ns=start_ns, end_ns=end_ns, limit=limit)
            return await self._cached(tuple(replace(asked, source=one) for one in wanted), self._merged)

        return await self._of(symbol, "bars", of)

    async def ask(self, question: Question, *, exact: bool = False) -> Columns:
        """Return the rows of a question; its instrument may be a symbol."""

        async def of(instrument: str | None) -> Columns:
            return await self._cached(replace(question, instrument=instrument), answer, exact)

        async def answer(one: Question) -> Columns:
            shape = SHAPES[one.kind]
            one = _checked(one)
            rows = [*await self._store.rows(one)]
            if one.kind == "indicators":
                with suppress(NotInStore):
                    rows += await self._store.rows(replace(one, source="user"))
                # Of one name, instrument and owner each store gives its numbers in their order already.
                ids = [shape.columns.index(name) for name in (shape.at, *shape.then) if name in shape.columns]
                rows = sorted(rows, key=itemgetter(*ids))[-one.limit :]
            return columns_of(shape.columns, shape.forms, rows, exact=exact)

        if question.instrument is None:
            return await of(None)
        return await self._of(question.instrument, question.kind, of)

    async def _merged(self, questions: tuple[Question, ...]) -> Columns:
        rows: dict[int, tuple[Any, ...]] = {}
        limit = questions[0].limit
        for question in reversed(questions):
            try:
                found = await self._store.rows(_checked(question))
            except NotInStore:
                if len(questions) == 1:
                    raise
                continue
            rows |= {row[0]: (*row, question.source) for row in found}
        newest = [rows[at] for at in sorted(rows)[-limit:]]
        return columns_of((*BAR_COLUMNS, "source"), (*BAR_FORMS, "text"), newest, exact=False)

    async def _cached(self, key: Any, answer: Callable[..., Any], *more: Any) -> Columns:  # noqa: ANN401
        found: Columns | None = self.cache.get((key, *more))
        if found is None:
            found = await answer(key)
            self.cache.put((key, *more), found)
        return found

    async def _of(self, symbol: str, kind: Kind, ask: Callable[[str], Awaitable[Columns]]) -> Columns:
        """Ask of what a symbol means; what looks like an id is looked up only where it has no such rows."""
        found = await ask(symbol) if ":" in symbol else None
        if found:
            return found
        instrument = await self._instrument(symbol, kind)
        return await ask(instrument) if found is None or instrument != symbol else found

    async def _instrument(self, symbol: str, kind: Kind) -> str:
        """Return the id that a symbol means; one that is an id itself means that one."""
        key = ("instrument", kind, symbol)
        known: str | None = self.cache.get(key, counted=False)
        if known is not None:
            return known
        found = await self._store.instruments(symbol, kind) or await self._store.instruments(symbol)
        if symbol in found:
            found = [symbol]
        if len(found) > 1:
            raise Refused(
                "AMBIGUOUS_SYMBOL", f"{symbol} is stored as {' and '.join(found)}; name one of them"
            )
        if not found:
            raise Refused("UNKNOWN_INSTRUMENT", f"nothing is stored of {symbol!r}")
        self.cache.put(key, found[0])
        return found[0]


def _checked(question: Question) -> Question:
    if not 1 <= question.limit <= LIMIT_MAX:
        raise Refused("BAD_LIMIT", f"limit: expected 1 to {LIMIT_MAX}, got {question.limit}")
    if question.start_ns >= question.end_ns:
        raise Refused("BAD_RANGE", "expected a start before the end")
    if question.source != "feed" and question.kind != "bars":
        raise Refused("BAD_QUESTION", f"source: bars have one, {question.kind} do not")
    for name in SHAPES[question.kind].needed:
        if getattr(question, name) is None:
            raise Refused("BAD_QUESTION", f"{name}: expected one, {question.kind} are asked for by it")
    # NumPy's, as answers have them, are bytes to SQLite, which lie behind every number.
    span = {"start_ns": int(question.start_ns), "end_ns": int(question.end_ns)}
    return replace(question, limit=int(question.limit), **span)
