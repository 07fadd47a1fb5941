"""`tradefan data show` and `tradefan data export`: what the stores hold, on screen and as files."""

from __future__ import annotations

import asyncio
import csv
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import orjson
import typer
from msgspec.structs import replace

from tradefan.errors import Outage, Refused
from tradefan.terminal import AsJson, ConfigDir, Env, Sets, instant, print_json
from tradefan.units import MS, SECOND, iso, parse_duration, plain

if TYPE_CHECKING:
    from tradefan.environment import Environment
    from tradefan.stores.columns import Columns
    from tradefan.stores.queries import Queries

_WIDEST = 1000


class Kinds(StrEnum):
    """What can be asked for."""

    BARS = "bars"
    TRADES = "trades"
    FILLS = "fills"
    EQUITY = "equity"
    INDICATORS = "indicators"


class Stores(StrEnum):
    """Who can be asked."""

    SQLITE = "sqlite"
    INFLUX = "influx"


class Formats(StrEnum):
    """How a file is written."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"


class Sources(StrEnum):
    """Where bars come from."""

    VENUE = "venue"
    FEED = "feed"
    USER = "user"


Kind = Annotated[Kinds, typer.Argument(metavar="KIND", help="bars, trades, fills, equity or indicators")]
Symbol = Annotated[str | None, typer.Option("--symbol", help="BTC/USDT, or an id: binance:BTC/USDT")]
Timeframe = Annotated[str | None, typer.Option("--timeframe", help="of bars: 1m, 5m")]
Owner = Annotated[str | None, typer.Option("--owner", help="of fills and indicators: a strategy, cli, api")]
Account = Annotated[str | None, typer.Option("--account", help="of fills and equity: paper:main")]
Name = Annotated[str | None, typer.Option("--name", help="of indicators")]
From = Annotated[
    Sources | None, typer.Option("--source", help="of bars: venue, feed or user; else all of them")
]
Since = Annotated[str | None, typer.Option("--since", help="10m, 7d, or an instant: 2026-03-05T12:00:00Z")]
Until = Annotated[str | None, typer.Option("--until", help="likewise; rows of that instant are left out")]
Store = Annotated[Stores, typer.Option("--store", help="sqlite, or influx where influx.url is set")]


def data_show(
    kind: Kind,
    symbol: Symbol = None,
    timeframe: Timeframe = None,
    owner: Owner = None,
    account: Account = None,
    name: Name = None,
    source: From = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option("--limit", help="most rows, the newest")] = 20,
    store: Store = Stores.SQLITE,
    env: Env = "development",
    config: ConfigDir = None,
    sets: Sets = None,
    as_json: AsJson = False,
) -> None:
    """Show the newest rows that are stored, the newest last; a running daemon is not disturbed."""
    words = _Words(kind, symbol, timeframe, owner, account, name, source, since, until, limit)
    found = _ask(env, config, sets, store, words)
    if as_json:
        print_json([_plain(row) for row in found.rows()])
    else:
        _table(found)


def data_export(
    kind: Kind,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="is not there yet; - is standard output")
    ],
    form: Annotated[Formats, typer.Option("--format", help="csv, jsonl or parquet")] = Formats.CSV,
    symbol: Symbol = None,
    timeframe: Timeframe = None,
    owner: Owner = None,
    account: Account = None,
    name: Name = None,
    source: From = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option("--limit", help="most rows, the newest")] = 1_000_000,
    store: Store = Stores.SQLITE,
    env: Env = "development",
    config: ConfigDir = None,
    sets: Sets = None,
) -> None:
    """Write rows that are stored into a file; money and quantities exact, instants in ns since 1970.

    Parquet needs polars: pip install polars.
    """
    words = _Words(kind, symbol, timeframe, owner, account, name, source, since, until, limit)
    found = _ask(env, config, sets, store, words)
    if form is Formats.PARQUET:
        _write_parquet(found, out)
    else:
        with _opened(out) as file:
            _write_lines(found, file, form)
    print(f"{len(found)} rows of {kind.value} to {out}", file=sys.stderr)
    if len(found) == limit and _has_older(found, env, config, sets, store, words):
        first_ns = int(found[_instants(words)][0])
        # Rows of that millisecond come again, so that none is left out.
        print(f"older ones are there: --until {iso(first_ns + MS)} reaches them", file=sys.stderr)


class _Words:
    """What the command line asked for, checked."""

    def __init__(
        self,
        kind: Kinds,
        symbol: str | None,
        timeframe: str | None,
        owner: str | None,
        account: str | None,
        name: str | None,
        source: Sources | None,
        since: str | None,
        until: str | None,
        limit: int,
    ) -> None:
        from tradefan.stores.queries import FOREVER, SHAPES, Question

        given = {
            "instrument": symbol,
            "timeframe": timeframe,
            "owner": owner,
            "account": account,
            "name": name,
            "source": source,
        }
        known = (*SHAPES[kind.value].filters, *(("source",) if kind is Kinds.BARS else ()))
        for word, value in given.items():
            option = "--symbol" if word == "instrument" else f"--{word}"
            if value is not None and word not in known:
                allowed = ", ".join("--symbol" if one == "instrument" else f"--{one}" for one in known)
                raise Refused("BAD_OPTIONS", f"{option}: {kind.value} are chosen by {allowed}")
            if value is None and word in SHAPES[kind.value].needed:
                raise Refused("BAD_OPTIONS", f"{option}: expected one, {kind.value} are asked for by it")
        if timeframe is not None:
            parse_duration(timeframe)
        self.source = None if source is None else source.value
        self.question = Question(
            kind.value,
            symbol,
            timeframe,
            owner,
            account,
            name,
            start_ns=0 if since is None else instant("--since", since),
            end_ns=FOREVER if until is None else instant("--until", until),
            limit=limit,
        )


def _ask(env: str, config: Path | None, sets: list[str] | None, store: Stores, words: _Words) -> Columns:
    from tradefan.environment import Environment

    environment = Environment.load(env, config, tuple(sets or ()))
    queries = make_queries(environment, store)
    question = words.question
    if question.kind == "bars":
        assert question.instrument is not None
        assert question.timeframe is not None
        return asyncio.run(
            queries.market_data(
                question.instrument,
                question.timeframe,
                question.start_ns,
                question.end_ns,
                question.limit,
                source=words.source,  # type: ignore[arg-type]
            )
        )
    return asyncio.run(queries.ask(question, exact=True))


def _has_older(
    found: Columns, env: str, config: Path | None, sets: list[str] | None, store: Stores, words: _Words
) -> bool:
    """Say whether there are rows behind those that the limit let through."""
    instants = found[_instants(words)]
    tied = int((instants == instants[0]).sum())
    words.question = replace(words.question, end_ns=int(instants[0]) + 1, limit=tied + 1)
    return len(_ask(env, config, sets, store, words)) > tied


def _instants(words: _Words) -> str:
    from tradefan.stores.queries import SHAPES

    return SHAPES[words.question.kind].at


def make_queries(environment: Environment, store: str = Stores.SQLITE) -> Queries:
    """Return who answers about an environment's data, out of its files or its InfluxDB.

    Raises:
        Refused: NO_INFLUX where none is configured.
    """
    from tradefan.stores.queries import Cache, Queries
    from tradefan.stores.sqlite_rows import SqliteRows

    places = environment.places
    cache = Cache(time.monotonic)
    if store == Stores.SQLITE:
        return Queries(SqliteRows(places.store, places.user), cache)
    from tradefan.links.secret import read_secret
    from tradefan.stores.influx import InfluxSettings
    from tradefan.stores.influx_rows import InfluxRows

    one = environment.loaded.config.influx
    if not one.url:
        raise Refused("NO_INFLUX", f"--store influx: influx.url of {environment.name} is empty")
    timeout_s = one.timeout / SECOND
    settings = InfluxSettings(
        one.url, one.db, timeout_s, read_secret(one.username), read_secret(one.password)
    )
    return Queries(InfluxRows(settings), cache)


# --- on screen and as files -----------------------------------------------------------------------------


def _table(found: Columns) -> None:
    from rich.console import Console
    from rich.table import Table

    if not found:
        print("nothing is stored of that", file=sys.stderr)
        return
    table = Table(box=None, pad_edge=False)
    for column in found:
        table.add_column(
            column.removesuffix("_ns"), justify="left" if found[column].dtype == object else "right"
        )
    for row in found.rows():
        table.add_row(*(_shown(column, value) for column, value in row.items()))
    # Wider than any screen: a row that wraps can be read, a number that is cut short cannot.
    Console(soft_wrap=True, width=_WIDEST).print(table, markup=False)


def _shown(column: str, value: object) -> str:
    if column.endswith("_ns") and isinstance(value, int):
        return iso(value)
    if value is None:
        return "-"
    if isinstance(value, Decimal):
        return plain(value)
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row for JSON: exact numbers as text, what is absent as null."""
    return {
        name: plain(value) if isinstance(value, Decimal) else None if value != value else value  # noqa: PLR0124 NaN
        for name, value in row.items()
    }


@contextmanager
def _opened(out: Path) -> Iterator[TextIO]:
    if str(out) == "-":
        yield sys.stdout
        return
    try:
        with out.open("x", encoding="utf-8", newline="") as file:
            yield file
    except FileExistsError:
        raise Refused("FILE_EXISTS", f"--out: {out} is there already; expected a new file") from None
    except OSError as error:
        raise Outage(f"--out: {out}: {error.strerror}") from error


def _write_lines(found: Columns, file: TextIO, form: Formats) -> None:
    if form is Formats.JSONL:
        file.writelines(orjson.dumps(_plain(row)).decode() + "\n" for row in found.rows())
        return
    writer = csv.writer(file)
    writer.writerow(found)
    for row in found.rows():
        writer.writerow(_plain(row).values())


def _write_parquet(found: Columns, out: Path) -> None:
    if str(out) == "-" or out.exists():
        raise Refused("FILE_EXISTS", f"--out: expected a new file for parquet, got {out}")
    frame = found.to_polars()
    try:
        frame.write_parquet(out)
    except OSError as error:
        raise Outage(f"--out: {out}: {error.strerror or error}") from error
