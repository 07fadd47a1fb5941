"""An InfluxDB 1.x, asked: what the daemon wrote there, with columns and order of the embedded store.

Several rows may share a millisecond, within which a point's own time says nothing of their order
(docs/influx.md). So the millisecond in which the limit falls is read whole, and rows are put in order here
by their exact instants.
Source of the language: https://docs.influxdata.com/influxdb/v1/query_language/explore-data/
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import aiohttp
import msgspec
from msgspec import Struct

from tradefan.errors import Outage
from tradefan.stores.influx import InfluxSettings, login
from tradefan.stores.queries import FOREVER, SHAPES, Kind, NotInStore, Question, Shape
from tradefan.stores.schema import MEASUREMENTS, is_optional
from tradefan.units import MS

_MSGPACK = "application/x-msgpack"
_COMPACT = {"Accept": _MSGPACK, "Accept-Encoding": "identity"}
"""Half of the time that JSON takes the server, and none to compress; one that does not know it gives JSON."""
_SHOWN_MAX = 200
_NS_MAX = 9_223_372_036_854_775_806 - 2 * MS


class _Series(Struct):
    columns: list[str]
    values: list[list[Any]]


class _Result(Struct):
    series: list[_Series] = []
    error: str | None = None


class _Told(Struct):
    """What the server says; `results` is one for each of our statements, of which there is one."""

    results: list[_Result] = []
    error: str | None = None


class InfluxRows:
    """Rows of one database."""

    def __init__(self, settings: InfluxSettings) -> None:
        """Name the server; nothing is opened before a question."""
        self._settings = settings

    async def rows(self, question: Question) -> Sequence[Sequence[Any]]:
        """Return the rows of a question, oldest first."""
        if question.source != "feed":
            raise NotInStore(f"InfluxDB has {question.kind} of the feed, not of {question.source}")
        shape = SHAPES[question.kind]
        found = await self._read(shape, question, question.start_ns, question.end_ns, question.limit)
        if len(found) == question.limit and shape.then:
            at = shape.columns.index(shape.at)
            first_ns = min(row[at] for row in found) // MS * MS
            edge = await self._read(
                shape, question, max(first_ns, question.start_ns), min(first_ns + MS, question.end_ns), None
            )
            found = [row for row in found if row[at] >= first_ns + MS] + edge
        found.sort(key=_order(shape))
        names = len(shape.columns)
        return [row[:names] for row in found[-question.limit :]]

    async def instruments(self, symbol: str, kind: Kind | None = None) -> Sequence[str]:
        """Return the ids of which there are points of a kind, or any, by symbol or id."""
        found: set[str] = set()
        kinds = [
            one for one, shape in SHAPES.items() if "instrument" in shape.filters and kind in (one, None)
        ]
        for measurement in (MEASUREMENTS[SHAPES[one].message].name for one in kinds):
            series = await self._ask(f'SHOW TAG VALUES FROM "{measurement}" WITH KEY = "instrument"')
            found |= {row[1] for one in series for row in one.values}
        return sorted(name for name in found if symbol in (name, name.partition(":")[2]))

    async def _read(
        self, shape: Shape, question: Question, start_ns: int, end_ns: int, limit: int | None
    ) -> list[tuple[Any, ...]]:
        """Return columns of the shape, and what orders rows of one instant behind them; in no order."""
        table = MEASUREMENTS[shape.message]
        names = tuple(dict.fromkeys((*shape.columns, *shape.then)))
        forms = dict(zip(shape.columns, shape.forms, strict=True))
        exact = [name for name, form in forms.items() if form == "decimal"]
        fields = ", ".join(f'"{name}"' for name in (*names, *(f"{name}_exact" for name in exact)))
        where = [f"{_quoted(name)} = {_text(value)}" for name, value in question.filters.items()]
        # The time of a point may lie up to a millisecond from the instant of its row.
        since, until = max(start_ns - MS, 0), min(end_ns, _NS_MAX) + MS
        where += [f"time >= {since}", f"time < {until}"]
        if shape.at not in table.tags and start_ns > 0:
            where.append(f"{_quoted(shape.at)} >= {start_ns}")
        if end_ns < FOREVER:
            where.append(f"{_quoted(shape.at)} < {end_ns}")
        most = "" if limit is None else f" LIMIT {limit}"
        query = (
            f'SELECT {fields} FROM "{table.name}" '  # noqa: S608 names are ours, texts are quoted
            f"WHERE {' AND '.join(where)} ORDER BY time DESC{most}"
        )
        series = await self._ask(query)
        texts = [name for name, form in forms.items() if form == "text"]
        # A tag that is empty is left out; what may be absent is absent.
        absent = {name: "" for name in texts if not is_optional(shape.message, name)}
        rows: list[tuple[Any, ...]] = []
        for one in series:
            columns = dict(zip(one.columns, zip(*one.values, strict=True), strict=True))
            made = (_column(columns, name, forms.get(name), absent.get(name)) for name in names)
            rows += zip(*made, strict=True)
        return rows

    async def _ask(self, query: str) -> list[_Series]:
        settings = self._settings
        form = {"q": query, "db": settings.db, "epoch": "ns"}
        headers = {**_COMPACT, **login(settings)}
        limit = aiohttp.ClientTimeout(total=settings.timeout_s)
        try:
            async with (
                aiohttp.ClientSession(timeout=limit, headers=headers) as session,
                session.post(f"{settings.url.rstrip('/')}/query", data=form) as answer,
            ):
                body = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as fault:
            reason = f"{type(fault).__name__}: {fault}".rstrip(": ")
            raise Outage(f"{settings.url}: {reason}") from fault
        decode = msgspec.msgpack.decode if answer.content_type == _MSGPACK else msgspec.json.decode
        try:
            told = decode(body, type=_Told)
        except msgspec.DecodeError:
            told = _Told()
        result = told.results[0] if told.results else _Result(error=told.error or _unexpected(answer, body))
        if error := told.error or result.error:
            raise Outage(f"{settings.url}: {error}")
        return result.series


def _unexpected(answer: aiohttp.ClientResponse, body: bytes) -> str:
    """Say what came from something that is no InfluxDB 1.x: a proxy, or a later version."""
    begin = body[:_SHOWN_MAX].decode(errors="replace").strip()
    return f"expected what an InfluxDB 1.x answers, got HTTP {answer.status} {begin!r}"


def _order(shape: Shape) -> Any:  # noqa: ANN401 a key for `sort`
    at = shape.columns.index(shape.at)
    names = [*dict.fromkeys((*shape.columns, *shape.then))]
    places = [names.index(name) for name in shape.then]
    # Points of before ordinals have none.
    return lambda row: (row[at], *(0 if row[place] is None else row[place] for place in places))


def _column(
    columns: dict[str, tuple[Any, ...]], name: str, form: str | None, absent: str | None
) -> Sequence[Any]:
    """Return what a column holds, `absent` where a point has none."""
    values = columns[name]
    if form == "decimal":
        # The float stands alone where it prints as that Decimal.
        exact = columns[f"{name}_exact"]
        told = (absent if value is None else repr(float(value)) for value in values)
        return [text or number for text, number in zip(exact, told, strict=True)]
    if form == "float":
        return [absent if value is None else float(value) for value in values]
    return [absent if value is None else value for value in values] if None in values else values


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
