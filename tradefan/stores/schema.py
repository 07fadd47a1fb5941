"""The embedded store's tables, their numbered migrations, and how a message becomes a row.

One table per kind of message, keyed so that a row that comes twice is one row. Decimals are text
(exact), maps are JSON, times are kernel nanoseconds. Where a message is a picture (order, parent,
position), only a newer picture replaces an older one.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec.structs import astuple

from tradefan.messages.account import EquityPoint
from tradefan.messages.market import Bar, Gap, Trade
from tradefan.messages.orders import (
    Doubt,
    FillUpdate,
    OrderStatus,
    OrderUpdate,
    ParentUpdate,
    Phase,
    PositionUpdate,
    Refusal,
)
from tradefan.messages.tca import Costs, Lines, TcaUpdate

M = TypeVar("M", bound=msgspec.Struct)

_FIRST = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
CREATE TABLE trades (
    instrument TEXT NOT NULL, trade_id INTEGER NOT NULL, price REAL NOT NULL, qty REAL NOT NULL,
    taker_side TEXT NOT NULL, event_ns INTEGER NOT NULL, recv_ns INTEGER NOT NULL,
    PRIMARY KEY (instrument, trade_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX trades_at ON trades (instrument, event_ns);
CREATE TABLE bars (
    instrument TEXT NOT NULL, timeframe TEXT NOT NULL, open_ns INTEGER NOT NULL, close_ns INTEGER NOT NULL,
    open REAL NOT NULL, high REAL NOT NULL, low REAL NOT NULL, close REAL NOT NULL,
    volume REAL NOT NULL, volume_lots INTEGER NOT NULL, trades INTEGER NOT NULL,
    PRIMARY KEY (instrument, timeframe, open_ns)
) STRICT, WITHOUT ROWID;
CREATE TABLE gaps (
    instrument TEXT NOT NULL, kind TEXT NOT NULL, from_ns INTEGER NOT NULL, to_ns INTEGER NOT NULL,
    from_id INTEGER, to_id INTEGER, cause TEXT NOT NULL,
    PRIMARY KEY (instrument, kind, from_ns)
) STRICT, WITHOUT ROWID;
CREATE TABLE orders (
    account TEXT NOT NULL, instrument TEXT NOT NULL, owner TEXT NOT NULL, parent_id TEXT NOT NULL,
    client_order_id TEXT NOT NULL, venue_order_id TEXT, side TEXT NOT NULL, order_type TEXT NOT NULL,
    time_in_force TEXT NOT NULL, order_qty TEXT NOT NULL, limit_price TEXT, status TEXT NOT NULL,
    in_doubt TEXT, cum_qty TEXT NOT NULL, avg_px TEXT, reason TEXT NOT NULL,
    created_ns INTEGER NOT NULL, updated_ns INTEGER NOT NULL,
    PRIMARY KEY (account, client_order_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX orders_at ON orders (created_ns);
CREATE TABLE parents (
    parent_id TEXT PRIMARY KEY, account TEXT NOT NULL, instrument TEXT NOT NULL, owner TEXT NOT NULL,
    ref TEXT NOT NULL, side TEXT NOT NULL, order_qty TEXT NOT NULL, algo TEXT NOT NULL,
    settings TEXT NOT NULL, limit_price TEXT, intent_id TEXT NOT NULL, wish TEXT NOT NULL,
    reduce_only INTEGER NOT NULL, position_side TEXT NOT NULL, protective INTEGER NOT NULL,
    created_ns INTEGER NOT NULL, status TEXT NOT NULL, phase TEXT NOT NULL, reason TEXT NOT NULL,
    cum_qty TEXT NOT NULL, working_qty TEXT NOT NULL, in_doubt_qty TEXT NOT NULL, avg_px TEXT,
    children INTEGER NOT NULL, updated_ns INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX parents_at ON parents (created_ns);
CREATE TABLE fills (
    account TEXT NOT NULL, instrument TEXT NOT NULL, owner TEXT NOT NULL, parent_id TEXT,
    client_order_id TEXT, trade_id TEXT NOT NULL, side TEXT NOT NULL, qty TEXT NOT NULL,
    price TEXT NOT NULL, fee TEXT NOT NULL, fee_asset TEXT NOT NULL, liquidity TEXT NOT NULL,
    event_ns INTEGER NOT NULL, lsn INTEGER NOT NULL, realised TEXT NOT NULL,
    PRIMARY KEY (account, instrument, trade_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX fills_at ON fills (event_ns);
CREATE TABLE positions (
    account TEXT NOT NULL, owner TEXT NOT NULL, instrument TEXT NOT NULL, qty TEXT NOT NULL, avg_px TEXT,
    realised TEXT NOT NULL, fees TEXT NOT NULL, working_qty TEXT NOT NULL, in_doubt_qty TEXT NOT NULL,
    updated_ns INTEGER NOT NULL,
    PRIMARY KEY (account, owner, instrument)
) STRICT, WITHOUT ROWID;
CREATE TABLE equity (
    account TEXT NOT NULL, numeraire TEXT NOT NULL, at_ns INTEGER NOT NULL, equity TEXT NOT NULL,
    realised TEXT NOT NULL, unrealised TEXT NOT NULL, fees TEXT NOT NULL, seam TEXT NOT NULL,
    drawdown TEXT NOT NULL, exposure TEXT NOT NULL,
    PRIMARY KEY (account, at_ns)
) STRICT, WITHOUT ROWID;
CREATE TABLE refusals (
    account TEXT, instrument TEXT, owner TEXT NOT NULL, ref TEXT NOT NULL, code TEXT NOT NULL,
    text TEXT NOT NULL, limit_ TEXT, used TEXT, would_pass TEXT, at_ns INTEGER NOT NULL, req INTEGER,
    PRIMARY KEY (at_ns, owner, ref, code)
) STRICT, WITHOUT ROWID;
"""

_LSN_OF_PICTURES = """
ALTER TABLE orders ADD COLUMN lsn INTEGER NOT NULL DEFAULT 0;
ALTER TABLE parents ADD COLUMN lsn INTEGER NOT NULL DEFAULT 0;
ALTER TABLE positions ADD COLUMN lsn INTEGER NOT NULL DEFAULT 0;
"""
"""The wall clock may go back between two starts, the journal's numbers never do."""

_COSTS = """
CREATE TABLE tca (
    parent_id TEXT PRIMARY KEY, account TEXT NOT NULL, instrument TEXT NOT NULL, owner TEXT NOT NULL,
    side TEXT NOT NULL, algo TEXT NOT NULL, quote TEXT NOT NULL, created_ns INTEGER NOT NULL,
    at_ns INTEGER NOT NULL,
    state TEXT NOT NULL, order_qty TEXT NOT NULL, filled TEXT NOT NULL, avg_px TEXT, fees TEXT,
    arrived_ns INTEGER, ended_ns INTEGER, decision_px TEXT, arrival_px TEXT, end_px TEXT, vwap TEXT,
    twap TEXT, arrival_slippage_bps TEXT, vwap_slippage_bps TEXT, twap_slippage_bps TEXT, is_bps TEXT,
    is_delay_bps TEXT, is_trading_bps TEXT, is_opportunity_bps TEXT, is_fees_bps TEXT,
    markout_1s_bps TEXT, markout_5s_bps TEXT, markout_30s_bps TEXT, markout_300s_bps TEXT,
    spread_capture TEXT, maker_share TEXT, fill_ratio TEXT NOT NULL, participation TEXT,
    schedule_error_mean REAL, schedule_error_max REAL, ack_p50_ms REAL, ack_p95_ms REAL, ack_p99_ms REAL,
    estimate_bps REAL, flags TEXT NOT NULL, lines TEXT NOT NULL, lsn INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX tca_at ON tca (ended_ns);
CREATE INDEX fills_of ON fills (parent_id) WHERE parent_id IS NOT NULL;
"""

_KLINES = """
CREATE TABLE klines (
    instrument TEXT NOT NULL, timeframe TEXT NOT NULL, open_ns INTEGER NOT NULL,
    open REAL NOT NULL, high REAL NOT NULL, low REAL NOT NULL, close REAL NOT NULL, volume REAL NOT NULL,
    PRIMARY KEY (instrument, timeframe, open_ns)
) STRICT, WITHOUT ROWID;
"""
"""The venue's bars; `bars` are those that we made of what we saw ourselves."""

_CURVE_ERROR = "ALTER TABLE tca ADD COLUMN curve_error REAL;"

MIGRATIONS: tuple[str, ...] = (_FIRST, _LSN_OF_PICTURES, _COSTS, _KLINES, _CURVE_ERROR)
"""Script n leads from `user_version` n to n + 1. A script that was released is never edited."""
STORE_VERSION = len(MIGRATIONS)


class Table(NamedTuple):
    """Where messages of one class are kept; columns are its fields in order."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    picture: bool = False
    """Only a row that is not older replaces the one that is there."""
    kept: str | None = None
    """The column in which an empty text lets what is there stand."""

    @property
    def upsert(self) -> str:
        """The statement that stores one row, however often it comes."""
        marks = ", ".join("?" * len(self.columns))
        sets = ", ".join(self._set(name) for name in self.columns if name not in self.key)
        newer = f" WHERE excluded.lsn >= {self.name}.lsn" if self.picture else ""
        return (
            f"INSERT INTO {self.name} ({', '.join(self.columns)}) VALUES ({marks}) "  # noqa: S608 our names
            f"ON CONFLICT ({', '.join(self.key)}) DO UPDATE SET {sets}{newer}"
        )

    def _set(self, name: str) -> str:
        if name == self.kept:
            return f"{name} = iif(excluded.{name} = '', {self.name}.{name}, excluded.{name})"
        return f"{name} = excluded.{name}"


def _table(kind: type[msgspec.Struct], name: str, *key: str, picture: bool = False) -> Table:
    # `limit` is a word of SQL.
    columns = tuple("limit_" if field == "limit" else field for field in kind.__struct_fields__)
    return Table(name, columns, key, picture)


_PARENT_COLUMNS = (
    "parent_id account instrument owner ref side order_qty algo settings limit_price intent_id wish "
    "reduce_only position_side protective created_ns status phase reason cum_qty working_qty in_doubt_qty "
    "avg_px children updated_ns lsn"
)

_TCA = TcaUpdate.__struct_fields__
_TCA_HEAD = _TCA.index("costs")
_TCA_COLUMNS = (*_TCA[:_TCA_HEAD], *Costs.__struct_fields__, *_TCA[_TCA_HEAD + 1 :])
_FLAGS = Costs.__struct_fields__.index("flags")
_NO_LINES = Lines()

TABLES: dict[type[msgspec.Struct], Table] = {
    Trade: _table(Trade, "trades", "instrument", "trade_id"),
    Bar: _table(Bar, "bars", "instrument", "timeframe", "open_ns"),
    Gap: _table(Gap, "gaps", "instrument", "kind", "from_ns"),
    OrderUpdate: _table(OrderUpdate, "orders", "account", "client_order_id", picture=True),
    ParentUpdate: Table("parents", tuple(_PARENT_COLUMNS.split()), ("parent_id",), picture=True),
    FillUpdate: _table(FillUpdate, "fills", "account", "instrument", "trade_id"),
    PositionUpdate: _table(PositionUpdate, "positions", "account", "owner", "instrument", picture=True),
    EquityPoint: _table(EquityPoint, "equity", "account", "at_ns"),
    TcaUpdate: Table("tca", _TCA_COLUMNS, ("parent_id",), picture=True, kept="lines"),
    Refusal: _table(Refusal, "refusals", "at_ns", "owner", "ref", "code"),
}
"""What is kept, by message class."""


def _json(value: dict[str, Any] | tuple[str, ...] | Lines) -> str:
    return msgspec.json.encode(value).decode()


_PLAIN: dict[type[Any], Callable[[Any], Any]] = {
    Decimal: str,
    OrderStatus: str,
    Doubt: str,
    Phase: str,
    dict: _json,
    tuple: _json,
    bool: int,
}
_AS_THEY_ARE = (Trade, Bar, Gap)
"""Hot and made of numbers and strings only."""


def to_row(message: msgspec.Struct) -> tuple[Any, ...]:
    """Return a message as the values of its table's columns."""
    if isinstance(message, _AS_THEY_ARE):
        return astuple(message)
    if isinstance(message, ParentUpdate):
        values = (*astuple(message.order), *astuple(message)[1:])
    elif isinstance(message, TcaUpdate):
        lines = "" if message.lines == _NO_LINES else _json(message.lines)
        values = (*astuple(message)[:_TCA_HEAD], *astuple(message.costs), lines, message.lsn)
    else:
        values = astuple(message)
    return tuple(_PLAIN[type(value)](value) if type(value) in _PLAIN else value for value in values)


def from_row(kind: type[M], row: tuple[Any, ...]) -> M:
    """Return the message that `to_row` made into these values."""
    if kind is ParentUpdate:
        # The first 16 columns are the ParentOrder.
        return _convert(kind, (_tagged("ParentOrder", row[:16], settings=8), *row[16:]))
    if kind is TcaUpdate:
        head, costs, (lines, lsn) = row[:_TCA_HEAD], row[_TCA_HEAD:-2], row[-2:]
        flags = msgspec.json.decode(costs[_FLAGS])
        kept = msgspec.json.decode(lines) if lines else msgspec.to_builtins(_NO_LINES)
        return _convert(kind, (*head, (*costs[:_FLAGS], flags, *costs[_FLAGS + 1 :]), kept, lsn))
    if kind is PositionUpdate:
        row = (*row[:6], msgspec.json.decode(row[6]), *row[7:])
    return _convert(kind, row)


def _tagged(name: str, row: tuple[Any, ...], *, settings: int) -> tuple[Any, ...]:
    values = list(row)
    values[settings] = msgspec.json.decode(values[settings])
    return (name, *values)


def _convert(kind: type[M], row: tuple[Any, ...]) -> M:
    # Lax mode takes SQLite's 0 and 1 for bool and text for Decimal; the types stand in the tables.
    return msgspec.convert((kind.__name__, *row), kind, strict=False)
