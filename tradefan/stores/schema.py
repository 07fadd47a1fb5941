"""What is kept, by message class: tables of the embedded store, measurements of InfluxDB, their columns.

One table per kind of message, keyed so that a row that comes twice is one row. Decimals are text
(exact), maps are JSON, times are kernel nanoseconds. Where a message is a picture (order, parent,
position), only a newer picture replaces an older one; InfluxDB has a point of each (docs/influx.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec.structs import astuple

from tradefan.messages.account import EquityPoint, HealthPoint, IndicatorPoint, RiskPoint
from tradefan.messages.market import Bar, Gap, Quote, Trade
from tradefan.messages.orders import (
    Doubt,
    FillUpdate,
    OrderStatus,
    OrderUpdate,
    ParentOrder,
    ParentUpdate,
    Phase,
    PositionUpdate,
    Refusal,
)
from tradefan.messages.tca import Costs, Lines, TcaUpdate

M = TypeVar("M", bound=msgspec.Struct)


class Table(NamedTuple):
    """Where messages of one class are kept; columns are its fields in order."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    picture: bool = False
    """Only a row that is not older replaces the one that is there."""
    kept: str | None = None
    """The column in which an empty text lets what is there stand."""
    tags: tuple[str, ...] = ()
    """What points are grouped by: names of few values, never ids."""
    time: str = ""
    """The column of a point's instant."""
    apart: tuple[str, ...] = ()
    """Numbers and ids that tell points of one series and millisecond apart."""
    unsent: tuple[str, ...] = ()
    """Columns that the embedded store alone has."""

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


def _table(kind: type[msgspec.Struct], name: str, key: str, *, picture: bool = False, **rest: Any) -> Table:
    # `limit` is a word of SQL.
    columns = tuple("limit_" if field == "limit" else field for field in kind.__struct_fields__)
    return _named(name, columns, key, picture=picture, **rest)


def _named(
    name: str,
    columns: Sequence[str],
    key: str,
    *,
    tags: str,
    time: str,
    apart: str = "",
    picture: bool = False,
    kept: str | None = None,
    unsent: str = "",
) -> Table:
    split = (text.split() for text in (tags, apart, unsent))
    grouped, numbered, left_out = (tuple(names) for names in split)
    return Table(name, tuple(columns), tuple(key.split()), picture, kept, grouped, time, numbered, left_out)


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

_OWN = "account instrument owner side"

TABLES: dict[type[msgspec.Struct], Table] = {
    Trade: _table(
        Trade,
        "trades",
        "instrument trade_id",
        tags="instrument taker_side",
        time="event_ns",
        apart="trade_id",
    ),
    Bar: _table(Bar, "bars", "instrument timeframe open_ns", tags="instrument timeframe", time="open_ns"),
    Gap: _table(Gap, "gaps", "instrument kind from_ns", tags="instrument kind", time="from_ns"),
    OrderUpdate: _table(
        OrderUpdate,
        "orders",
        "account client_order_id",
        picture=True,
        tags=f"{_OWN} status",
        time="updated_ns",
        apart="client_order_id lsn",
    ),
    ParentUpdate: _named(
        "parents",
        _PARENT_COLUMNS.split(),
        "parent_id",
        picture=True,
        tags=f"{_OWN} algo status",
        time="updated_ns",
        apart="parent_id lsn",
    ),
    FillUpdate: _table(
        FillUpdate,
        "fills",
        "account instrument trade_id",
        tags=f"{_OWN} liquidity",
        time="event_ns",
        # A correction takes a trade back and tells another one, both in one record.
        apart="qty lsn",
    ),
    PositionUpdate: _table(
        PositionUpdate,
        "positions",
        "account owner instrument",
        picture=True,
        tags="account owner instrument",
        time="updated_ns",
        apart="lsn",
    ),
    EquityPoint: _table(EquityPoint, "equity", "account at_ns", tags="account numeraire", time="at_ns"),
    RiskPoint: _table(RiskPoint, "risk", "account at_ns", tags="account", time="at_ns"),
    HealthPoint: _table(HealthPoint, "health", "at_ns", tags="mode", time="at_ns"),
    IndicatorPoint: _table(
        IndicatorPoint,
        "indicators",
        "owner name instrument at_ns ordinal",
        tags="owner instrument name",
        time="at_ns",
        apart="ordinal",
    ),
    TcaUpdate: _named(
        "tca",
        _TCA_COLUMNS,
        "parent_id",
        picture=True,
        kept="lines",
        tags=f"{_OWN} algo state",
        time="at_ns",
        apart="parent_id lsn",
        unsent="lines",
    ),
    Refusal: _table(
        Refusal,
        "refusals",
        "at_ns owner ref code",
        tags="account instrument owner code",
        time="at_ns",
        apart="ref req",
    ),
}
"""What the embedded store keeps, by message class."""

MEASUREMENTS: dict[type[msgspec.Struct], Table] = {
    **TABLES,
    Quote: _table(Quote, "quotes", "instrument recv_ns", tags="instrument", time="recv_ns"),
}
"""What InfluxDB keeps: quotes, too, the newest of each flush."""


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
_AS_THEY_ARE = (Trade, Bar, Gap, Quote)
"""Hot and made of numbers and strings only."""


def to_row(message: msgspec.Struct) -> tuple[Any, ...]:
    """Return a message as the values of its table's columns."""
    if isinstance(message, _AS_THEY_ARE):
        return astuple(message)
    return tuple(_PLAIN[type(value)](value) if type(value) in _PLAIN else value for value in flat(message))


def flat(message: msgspec.Struct) -> tuple[Any, ...]:
    """Return the values of a message's columns in its own types, the lines of a drawing as JSON."""
    if isinstance(message, ParentUpdate):
        return (*astuple(message.order), *astuple(message)[1:])
    if isinstance(message, TcaUpdate):
        lines = "" if message.lines == _NO_LINES else _json(message.lines)
        return (*astuple(message)[:_TCA_HEAD], *astuple(message.costs), lines, message.lsn)
    return astuple(message)


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


# --- what a column holds ----------------------------------------------------------------------------

Kind = Literal["int", "float", "decimal", "bool", "text", "json"]
_KINDS: dict[Any, Kind] = {int: "int", float: "float", Decimal: "decimal", bool: "bool", str: "text"}


def kinds(kind: type[msgspec.Struct]) -> tuple[Kind, ...]:
    """Return what each column of a class's table holds, in the order of `flat`."""
    return tuple(_kind(hint) for hint in _hints(kind).values())


def is_optional(kind: type[msgspec.Struct], column: str) -> bool:
    """Say whether a column may be absent."""
    names = MEASUREMENTS[kind].columns
    hint = list(_hints(kind).values())[names.index(column)]
    return NoneType in get_args(hint)


@cache
def _hints(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the types of columns; those of a part that is laid open stand in its place."""
    hints = get_type_hints(kind)
    found: dict[str, Any] = {}
    for name in kind.__struct_fields__:
        opened = _OPENED.get(hints[name])
        if opened is None:
            found[name] = hints[name]
        else:
            inner = get_type_hints(hints[name])
            found |= {f"{opened}{part}": inner[part] for part in hints[name].__struct_fields__}
    return found


_OPENED: dict[Any, str] = {ParentOrder: "order.", Costs: "costs."}
"""Parts whose fields are columns, told apart by this where both have one of that name."""


def _kind(hint: Any) -> Kind:  # noqa: ANN401 a type as the annotations give it
    members = [member for member in get_args(hint) if member is not NoneType]
    if get_origin(hint) in (Union, UnionType) and len(members) == 1:
        return _kind(members[0])
    if get_origin(hint) is Literal:
        return "text"
    bare = getattr(hint, "__supertype__", hint)
    if isinstance(bare, type) and issubclass(bare, StrEnum):
        return "text"
    return _KINDS.get(bare, "json")
