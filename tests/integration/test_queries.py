"""The same answer from every store: what a daemon wrote into its own file and into a real InfluxDB."""

from __future__ import annotations

import asyncio
import csv
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from msgspec.structs import replace

from tests.integration.daemon_process import DaemonProcess
from tests.services.influx import Influxd
from tests.unit.stores.made import BTC, equity, fill, indicator
from tradefan.errors import Outage
from tradefan.messages.control import StoreBatch
from tradefan.stores.influx import InfluxSettings, open_client
from tradefan.stores.influx_rows import InfluxRows
from tradefan.stores.line_protocol import encode
from tradefan.stores.queries import Cache, Kind, Queries, Question
from tradefan.stores.sqlite import StoreFile
from tradefan.stores.sqlite_rows import SqliteRows
from tradefan.units import SECOND

pytestmark = pytest.mark.slow

T0 = 1_722_470_400 * SECOND
TIED: tuple[Kind, ...] = ("equity", "indicators", "fills")

KINDS = (
    Question("bars", "binance:BTC/USDT", "1s"),
    Question("trades", "binance:BTC/USDT"),
    Question("trades", "binance:ETH/USDT", limit=7),
    Question("fills"),
    Question("fills", owner="api"),
    Question("equity", account="paper:main"),
    Question("indicators", owner="ema_cross_eth"),
    Question("indicators", name="slow", limit=3),
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influxd]:
    with Influxd(tmp_path_factory.mktemp("influx")) as made:
        yield made


@pytest.fixture(scope="module")
def daemon(server: Influxd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """A daemon that has traded for a while, and has ended in order."""
    made = DaemonProcess(
        tmp_path_factory.mktemp("daemon"),
        f"influx.url={server.url}",
        "feeds={binance:BTC/USDT: {bars: {1s: true}}}",
    )
    try:
        made.start().until_ready()
        for quantity in ("0.01", "0.002"):
            words = {"symbol": "BTC/USDT", "side": "buy", "quantity": quantity}
            assert made.ask("/api/v1/orders", words)[0] < 300
        made.until(lambda: made.status()["fills"]["total"] >= 3, 60)
        made.until(lambda: len(server.points("indicators")) > 8, 60)
        assert made.end()[0] == 0
        yield made
    finally:
        made.close()


def stores(daemon: DaemonProcess, server: Influxd) -> tuple[Queries, Queries]:
    local = SqliteRows(daemon.data / "store.db", daemon.data / "user.db")
    remote = InfluxRows(InfluxSettings(server.url, "tradefan", 5.0))
    return Queries(local, Cache(lambda: 0.0)), Queries(remote, Cache(lambda: 0.0))


async def before_the_stop(store: Queries) -> int:
    """Return until when both stores have all: in a stop the writers end before the market does."""
    newest = await store.ask(Question("trades", "binance:BTC/USDT", limit=1))
    return int(newest["event_ns"][0]) - SECOND


@pytest.mark.parametrize("question", KINDS, ids=lambda one: f"{one.kind}-{one.limit}")
def test_question_when_both_stores_are_asked_then_the_answer_is_the_same(
    daemon: DaemonProcess, server: Influxd, question: Question
) -> None:
    """Column by column, number by number, exact money included."""

    async def both(one: Question, *, exact: bool) -> tuple[Any, Any]:
        local, remote = stores(daemon, server)
        asked = replace(one, end_ns=await before_the_stop(local))
        return await local.ask(asked, exact=exact), await remote.ask(asked, exact=exact)

    for exact in (False, True):
        here, there = asyncio.run(both(question, exact=exact))
        assert len(here) > 0
        assert len(here) <= question.limit
        assert here == there, [*zip(here.rows(), there.rows(), strict=False)][:3]


def test_question_when_its_edge_lies_within_a_millisecond_then_the_same(
    daemon: DaemonProcess, server: Influxd
) -> None:
    """Start, end and limit cut between trades of one millisecond alike."""

    async def compare() -> int:
        local, remote = stores(daemon, server)
        until = await before_the_stop(local)
        whole = await local.ask(Question("trades", "binance:BTC/USDT", end_ns=until, limit=100_000))
        at = whole["event_ns"].tolist()
        for number in range(0, len(at) - 3, max(len(at) // 40, 1)):
            one = Question("trades", "binance:BTC/USDT", start_ns=at[number], end_ns=at[number + 2] + 1)
            assert await local.ask(one) == await remote.ask(one)
            few = Question("trades", "binance:BTC/USDT", end_ns=at[number + 2], limit=number % 5 + 1)
            assert await local.ask(few) == await remote.ask(few)
        return len(at)

    assert asyncio.run(compare()) > 20


@pytest.mark.parametrize("limit", range(1, 13))
def test_question_when_many_share_an_instant_then_the_limit_cuts_alike(
    tmp_path: Path, server: Influxd, limit: int
) -> None:
    """Accounts of one look, numbers of one turn; what a fill of others has not is absent in both."""
    rows: list[Any] = [replace(equity(at), account=name) for at in (T0, T0 + 1) for name in ("x", "z", "y")]
    rows += [
        replace(indicator(T0, float(number), name), owner=owner, instrument=instrument, ordinal=number)
        for name in ("slow", "fast")
        for owner, instrument in (("b", BTC), ("a", BTC), ("a", ""))
        for number in (2, 1)
    ]
    taken_back = (("9", fill(1, 3).qty), ("10", -fill(1, 3).qty))
    rows += [replace(fill(T0, 3), trade_id=name, qty=qty, parent_id=None) for name, qty in taken_back]

    async def both() -> None:
        settings = InfluxSettings(server.url, "ties", 5.0)
        client = open_client(settings)
        await client.create_database()
        await client.write("\n".join(encode(rows).lines).encode())
        await client.close()
        local, remote = SqliteRows(tmp_path / "store.db", tmp_path / "user.db"), InfluxRows(settings)
        for kind in TIED:
            one = Question(kind, limit=limit)
            here = await Queries(local, Cache(lambda: 0.0)).ask(one, exact=True)
            there = await Queries(remote, Cache(lambda: 0.0)).ask(one, exact=True)
            assert 0 < len(here) <= limit
            assert here == there, [*zip(here.rows(), there.rows(), strict=False)]

    store = StoreFile(str(tmp_path / "store.db"))
    store.write(StoreBatch(1, tuple(rows), 5))
    store.close()
    asyncio.run(both())


def test_influx_when_something_between_knows_json_alone_then_the_same_answer(
    daemon: DaemonProcess, server: Influxd
) -> None:
    """Exact money included; what the server says against a question is the error."""

    async def forward(request: web.Request) -> web.Response:
        form = await request.post()
        async with ClientSession() as session, session.post(f"{server.url}/query", data=form) as answer:
            body, kind = await answer.read(), answer.content_type
            return web.Response(status=answer.status, body=body, content_type=kind)

    async def both() -> None:
        app = web.Application()
        app.router.add_post("/query", forward)
        async with TestServer(app, host="127.0.0.1") as between:
            settings = InfluxSettings(str(between.make_url("/")), "tradefan", 5.0)
            for kind in TIED:
                ask = Question(kind, limit=50)
                there = await stores(daemon, server)[1].ask(ask, exact=True)
                assert await Queries(InfluxRows(settings), Cache(lambda: 0.0)).ask(ask, exact=True) == there
            for one in (settings, replace(settings, url=server.url)):
                with pytest.raises(Outage, match="database not found: other"):
                    await Queries(InfluxRows(replace(one, db="other")), Cache(lambda: 0.0)).ask(ask)

    asyncio.run(both())


def test_influx_when_asked_for_what_it_never_has_then_refused_and_market_data_goes_without(
    daemon: DaemonProcess, server: Influxd
) -> None:
    """The venue's bars are imported into the embedded store alone."""

    async def ask() -> tuple[Any, Any]:
        local, remote = stores(daemon, server)
        return (
            await local.market_data("BTC/USDT", "1s", limit=50),
            await remote.market_data("BTC/USDT", "1s", limit=50),
        )

    here, there = asyncio.run(ask())
    assert here == there
    assert len(here) > 3


def test_show_when_it_runs_beside_nothing_then_the_newest_rows(daemon: DaemonProcess) -> None:
    """As a table and as JSON; wrong words are named."""
    done = daemon.run("data", "show", "fills", "--owner", "api", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert sum(Decimal(row["qty"]) for row in rows) == Decimal("0.012")
    done = daemon.run("data", "show", "bars", "--symbol", "BTC/USDT", "--timeframe", "1s", "--limit", "3")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 4
    for words, text in (
        (("bars", "--symbol", "BTC/USDT"), "--timeframe: expected one"),
        (("equity", "--symbol", "BTC/USDT"), "--symbol: equity are chosen by --account"),
        (("trades",), "--symbol: expected one, trades are asked for by it"),
        (("trades", "--symbol", "BTC/USDT", "--source", "user"), "--source: trades are chosen by --symbol"),
        (("trades", "--symbol", "NONE/USDT"), "nothing is stored of 'NONE/USDT'"),
        (("fills", "--store", "influx", "--set", "influx.url="), "influx.url of development is empty"),
    ):
        done = daemon.run("data", "show", *words)
        assert (done.returncode, text in done.stderr) == (2, True), done.stderr


def test_show_when_influx_is_asked_then_the_same(daemon: DaemonProcess, server: Influxd) -> None:
    """By the address of the configuration."""
    words = ("data", "show", "fills", "--json", "--set", f"influx.url={server.url}")
    here, there = daemon.run(*words), daemon.run(*words, "--store", "influx")
    assert here.returncode == there.returncode == 0, there.stderr
    assert json.loads(here.stdout) == json.loads(there.stdout) != []


def test_export_when_written_then_every_row_is_exact_and_no_file_is_overwritten(
    daemon: DaemonProcess, tmp_path: Path
) -> None:
    """CSV and JSON lines with money as text; parquet says what it needs."""
    out = tmp_path / "fills.csv"
    done = daemon.run("data", "export", "fills", "--out", str(out))
    assert done.returncode == 0, done.stderr
    with out.open() as file:
        rows = [*csv.DictReader(file)]
    shown = json.loads(daemon.run("data", "show", "fills", "--limit", "1000", "--json").stdout)
    assert [row["qty"] for row in rows] == [row["qty"] for row in shown]
    assert [int(row["event_ns"]) for row in rows] == [row["event_ns"] for row in shown]
    assert "older ones" not in done.stderr
    whole = daemon.run("data", "export", "fills", "--limit", str(len(rows)), "--out", "-")
    assert (whole.stdout, "older ones" in whole.stderr) == (out.read_text(), False)
    newest = daemon.run("data", "export", "fills", "--limit", "1", "--out", "-")
    assert [*csv.DictReader(newest.stdout.splitlines())] == rows[-1:]
    told = re.search(r"older ones are there: --until (\S+) reaches them", newest.stderr)
    assert told is not None
    rest = daemon.run("data", "export", "fills", "--until", told[1], "--out", "-")
    assert [*csv.DictReader(rest.stdout.splitlines())][: len(rows) - 1] == rows[:-1]
    again = daemon.run("data", "export", "fills", "--out", str(out))
    assert (again.returncode, "is there already" in again.stderr) == (2, True)
    lines = daemon.run("data", "export", "equity", "--format", "jsonl", "--out", "-")
    assert lines.returncode == 0
    assert all(Decimal(json.loads(line)["equity"]) > 0 for line in lines.stdout.splitlines())
    packed = daemon.run(
        "data", "export", "fills", "--format", "parquet", "--out", str(tmp_path / "f.parquet")
    )
    if find_spec("polars") is None:
        assert (packed.returncode, "pip install polars" in packed.stderr) == (69, True)
    else:
        assert packed.returncode == 0, packed.stderr
        assert len(import_module("polars").read_parquet(tmp_path / "f.parquet")) == len(rows)
