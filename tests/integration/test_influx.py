"""InfluxDB for real: all that is written is read back the same, and poison costs itself alone."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from tests.services.bench import Bench
from tests.services.influx import Influxd
from tests.unit.stores.made import (
    BTC,
    bar,
    equity,
    fill,
    gap,
    health,
    indicator,
    order,
    parent,
    position,
    refusal,
    risk,
    tca,
    trade,
)
from tradefan.core.ids import client_order_id, parent_id
from tradefan.messages.control import PointsWritten
from tradefan.messages.market import Quote
from tradefan.messages.wire import Credit
from tradefan.stores.influx import InfluxLink, InfluxSettings
from tradefan.stores.schema import MEASUREMENTS, flat, kinds
from tradefan.units import MS, SECOND, AccountId, ParentId

pytestmark = pytest.mark.slow

T0 = 1_722_470_400 * SECOND
POINTS = 200_000 if os.environ.get("TRADEFAN_CHAOS") == "whole" else 40_000
"""As many as are promised in `make chaos`."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influxd]:
    """One server for tests that only write; each takes a database of its own."""
    with Influxd(tmp_path_factory.mktemp("influx")) as server:
        yield server


def made_bench(server: Influxd, db: str, **words: Any) -> Bench:
    aside: list[str] = []
    settings = InfluxSettings(server.url, db, words.pop("timeout_s", 5.0), **words)
    return Bench(lambda deliver: InfluxLink(settings, deliver, lambda: T0, aside.extend), aside)


def linked(server: Influxd, db: str, **words: Any) -> AbstractAsyncContextManager[Bench]:
    return made_bench(server, db, **words).running()


# --- what is read back ------------------------------------------------------------------------------------


def expected(message: msgspec.Struct) -> dict[str, Any]:
    """Return a point as it has to be read back, said without the encoder's help."""
    kind, table = type(message), MEASUREMENTS[type(message)]
    found: dict[str, Any] = {}
    for name, form, value in zip(table.columns, kinds(kind), flat(message), strict=True):
        if name in table.unsent or value is None or (name in table.tags and not value):
            continue
        if form == "decimal":
            found[name] = float(value)
            if Decimal(repr(float(value))) != value:
                found[f"{name}_exact"] = str(value)
        elif form == "json":
            found[name] = msgspec.json.encode(value).decode()
        else:
            found[name] = str(value) if form == "text" else value
    return found


def read(server: Influxd, measurement: str, db: str) -> list[dict[str, Any]]:
    rows = [
        {key: value for key, value in row.items() if value is not None}
        for row in server.points(measurement, db)
    ]
    for row in rows:
        del row["time"]
    return rows


def made(count: int) -> Iterator[Any]:
    """Give messages of every kind with whatever values they may have, none of them twice."""
    chance = random.Random(7)
    words = ("", "a b", 'say "x"', "back\\slash", "é,=漢", "line\nend", "n=1,m=2 3", "{}", "#")

    def number() -> float:
        return chance.choice(
            (chance.uniform(0, 1e6), chance.uniform(0, 1e-12), chance.uniform(-1, 1) * 1e300, 5e-324)
        )

    def amount() -> Decimal:
        return Decimal(chance.randrange(-(10 ** chance.randrange(1, 28)), 10**28)).scaleb(
            -chance.randrange(0, 20)
        )

    for n in range(count):
        at_ns, word = T0 + n // 40 * MS + chance.randrange(MS), chance.choice(words)
        own, mine = client_order_id("abc", 1, n), parent_id("abc", 1, n)
        turn = n % 20
        if turn < 12:
            yield replace(
                trade(n),
                price=number(),
                qty=number(),
                taker_side=chance.choice(("buy", "sell")),
                event_ns=at_ns,
                recv_ns=at_ns + 5,
            )
        elif turn < 14:
            yield Quote(BTC, number(), number(), number(), number(), n, T0 + n)
        elif turn < 15:
            yield replace(bar(n), open_ns=T0 + n * SECOND, close=number(), volume_lots=2**63 - 1 - n)
        elif turn < 16:
            yield replace(gap(n), from_ns=T0 + n * SECOND, cause=word, from_id=chance.choice((None, n)))
        elif turn < 17:
            yield replace(
                order(1), client_order_id=own, reason=word, updated_ns=at_ns, order_qty=amount(), lsn=n
            )
        elif turn < 18:
            yield replace(
                fill(n, n),
                price=amount(),
                qty=amount(),
                event_ns=at_ns,
                parent_id=chance.choice((None, mine)),
            )
        elif turn < 19:
            one = parent(1)
            yield replace(
                one,
                order=replace(one.order, parent_id=mine, reason=word, settings={"a": word}),
                updated_ns=at_ns,
                lsn=n,
            )
        else:
            yield chance.choice(
                (
                    replace(position(str(amount())), updated_ns=at_ns, lsn=n),
                    replace(equity(5), at_ns=T0 + n, equity=amount(), account=AccountId("paper:main")),
                    replace(indicator(7), at_ns=T0 + n, value=number(), ordinal=n),
                    replace(risk(7), at_ns=T0 + n, drawdown=amount()),
                    replace(health(7), at_ns=T0 + n, lag_s=number()),
                    replace(refusal(6), at_ns=T0 + n * MS, ref=f"r{n}", text=word),
                    replace(tca(1), parent_id=ParentId(mine), at_ns=at_ns, lsn=n),
                )
            )


@pytest.mark.chaos
async def test_points_when_very_many_are_written_then_all_are_read_back_equal(shared: Influxd) -> None:
    """Every kind, every value, many in one millisecond: none is lost, doubled or another one."""
    messages = list(made(POINTS))
    async with linked(shared, "whole") as bench:
        for first in range(0, POINTS, 5_000):
            bench.give(first + 1, messages[first : first + 5_000])
        await bench.until(lambda: len(bench.answers()) == 1 + POINTS // 5_000, 120)
    answers = bench.answers()
    assert (sum(one.written for one in answers.values()), bench.aside, bench.failures()) == (POINTS, [], [])
    for kind, table in MEASUREMENTS.items():
        wanted = [expected(message) for message in messages if type(message) is kind]
        found = await asyncio.to_thread(read, shared, table.name, "whole")
        assert len(found) == len(wanted), table.name
        floats = {
            name
            for name, form in zip(table.columns, kinds(kind), strict=True)
            if form in ("float", "decimal")
        }
        read_back, written = (sorted(_text(one, floats) for one in points) for points in (found, wanted))
        assert read_back == written, table.name


def _text(point: dict[str, Any], floats: set[str]) -> str:
    """Return a point in one spelling: the server writes whole floats as integers."""
    return str(sorted((key, float(value) if key in floats else value) for key, value in point.items()))


async def test_points_when_written_twice_then_are_there_once(shared: Influxd) -> None:
    """What a retry repeats changes nothing."""
    mine = [
        order(1),
        parent(1),
        fill(1, 4),
        position("1"),
        equity(5),
        indicator(7),
        risk(7),
        health(7),
        refusal(6),
        tca(1),
    ]
    async with linked(shared, "twice") as bench:
        for number in (1, 2):
            await bench.write(number, [*map(trade, range(1, 50)), *mine])
    assert len(read(shared, "trades", "twice")) == 49
    for name in ("orders", "parents", "fills", "positions", "equity", "refusals", "tca"):
        assert len(read(shared, name, "twice")) == 1, name


# --- poison -----------------------------------------------------------------------------------------------


async def test_poison_when_the_server_refuses_lines_then_only_these_are_set_aside(shared: Influxd) -> None:
    """A field of another type has to cost itself alone; `dropped` in the answer is not believed."""
    shared.ask("CREATE DATABASE poison")
    async with linked(shared, "poison") as bench:
        await bench.write(1, [trade(1)])
        # Another program has written a text where we write a number; types are those of a shard.
        await _raw(shared, "poison", 'fills,account=x qty="text" 5')
        rows = [*map(trade, range(2, 500)), fill(1, 4), fill(2, 5), *map(trade, range(500, 900))]
        answer = await bench.write(2, rows)
    assert (answer.written, answer.aside) == (len(rows) - 2, {"FillUpdate": 2})
    assert "field type conflict" in answer.reason
    assert len(read(shared, "trades", "poison")) == 899
    assert [text.split("\n")[1].partition(",")[0] for text in bench.aside] == ["fills", "fills"]
    assert bench.failures() == []


async def test_poison_when_points_are_older_than_the_server_keeps_then_only_these_are_set_aside(
    shared: Influxd,
) -> None:
    """It says how many they are; all others are stored by the one request."""
    shared.ask('CREATE DATABASE "kept" WITH DURATION 1d')
    now_ns = time.time_ns()
    async with linked(shared, "kept") as bench:
        young = [replace(trade(n), event_ns=now_ns + n) for n in range(1, 400)]
        old = [replace(trade(n), event_ns=T0 + n) for n in range(500, 560)]
        answer = await bench.write(1, [*young[:200], *old, *young[200:]])
    assert (answer.written, answer.aside) == (399, {"Trade": 60})
    assert len(read(shared, "trades", "kept")) == 399
    assert "points beyond retention policy" in answer.reason
    stored = [text for text in bench.aside if f"event_ns={T0 // SECOND}" in text]
    assert len(stored) == len(bench.aside) == 60


async def test_poison_when_our_own_check_finds_it_then_the_rest_is_written(shared: Influxd) -> None:
    """What cannot be a point never reaches the server."""
    async with linked(shared, "unfit") as bench:
        answer = await bench.write(1, [trade(1), replace(trade(2), price=float("nan")), trade(3)])
    assert (answer.written, answer.aside, answer.reason) == (
        2,
        {"Trade": 1},
        "price: expected a finite number, got nan",
    )
    assert len(read(shared, "trades", "unfit")) == 2


async def test_poison_when_the_disk_does_not_take_it_then_it_is_counted_and_the_rest_is_written(
    shared: Influxd,
) -> None:
    """A link that ended over it would get the same batch again, for ever."""

    def refuse(_texts: Sequence[str]) -> None:
        raise OSError(28, "No space left on device")

    settings = InfluxSettings(shared.url, "no_space", 5.0)
    bench = Bench(lambda deliver: InfluxLink(settings, deliver, lambda: T0, refuse), [])
    async with bench.running():
        answer = await bench.write(1, [trade(1), replace(trade(2), price=float("nan"))])
        assert (answer.written, answer.aside) == (1, {"Trade": 1})
        assert (await bench.write(2, [trade(3)])).written == 1


async def test_poison_when_a_whole_batch_is_it_then_the_search_ends(shared: Influxd) -> None:
    """No batch costs more than a bounded number of requests, and every point is accounted for."""
    shared.ask("CREATE DATABASE all_bad")
    await _raw(shared, "all_bad", 'trades,instrument=x price="text",qty="text" 5')
    async with linked(shared, "all_bad") as bench:
        answer = await bench.write(1, [trade(number) for number in range(1_000)])
    assert (answer.written, answer.aside) == (0, {"Trade": 1_000})
    assert len(bench.aside) == 1_000


async def _raw(server: Influxd, db: str, line: str) -> None:
    import aiohttp

    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{server.url}/write", params={"db": db}, data=line) as answer,
    ):
        assert answer.status == 204, await answer.text()


# --- outages ----------------------------------------------------------------------------------------------


async def test_outage_when_the_server_begins_late_then_everything_is_written(tmp_path: Path) -> None:
    """The daemon may start first; why nothing is written is said once."""
    server = Influxd(tmp_path)
    async with linked(server, "late") as bench:
        bench.give(1, [trade(1)])
        await asyncio.sleep(1.0)
        assert len(bench.failures()) == 1
        assert "Cannot connect" in bench.failures()[0]
        with server:
            await bench.until(lambda: 1 in bench.answers())
            assert len(read(server, "trades", "late")) == 1


async def test_outage_when_the_server_freezes_in_a_write_then_nothing_is_lost_or_doubled(
    tmp_path: Path,
) -> None:
    """A write that timed out may have been applied: it is sent again, and each point is there once."""
    with Influxd(tmp_path) as server:
        async with linked(server, "frozen", timeout_s=0.5) as bench:
            await bench.write(1, [trade(1)])
            server.freeze()
            bench.give(2, list(map(trade, range(2, 1_000))))
            bench.give(3, [order(1)])
            await bench.until(lambda: bool(bench.failures()))
            await asyncio.sleep(2.0)
            assert set(bench.answers()) == {0, 1}
            server.thaw()
            await bench.until(lambda: set(bench.answers()) == {0, 1, 2, 3})
        assert len(read(server, "trades", "frozen")) == 999
        assert len(read(server, "orders", "frozen")) == 1


async def test_outage_when_the_server_is_killed_and_started_again_then_goes_on(tmp_path: Path) -> None:
    """kill -9 of the server, and a start on the same data."""
    with Influxd(tmp_path) as server:
        async with linked(server, "killed") as bench:
            await bench.write(1, [trade(1)])
            server.kill()
            bench.give(2, [trade(2)])
            await bench.until(lambda: bool(bench.failures()))
            server.start()
            await bench.until(lambda: 2 in bench.answers())
        assert len(read(server, "trades", "killed")) == 2


async def test_database_when_it_was_dropped_then_is_made_again(shared: Influxd) -> None:
    """404 is not the batch's fault."""
    async with linked(shared, "dropped") as bench:
        await bench.write(1, [trade(1)])
        shared.ask("DROP DATABASE dropped")
        assert (await bench.write(2, [trade(2)])).written == 1
    assert len(read(shared, "trades", "dropped")) == 1


async def test_credit_when_a_batch_is_done_then_there_is_room_for_another(shared: Influxd) -> None:
    """Two at a time: one is encoded while the server works on the other."""
    async with linked(shared, "room") as bench:
        await bench.until(lambda: len(bench.said) == 2)
        assert bench.said == [Credit("influx", 2), PointsWritten(0, 0)]
        await bench.write(1, [trade(1)])
        assert bench.said[2:] == [Credit("influx", 3), PointsWritten(1, 1)]


async def test_user_when_he_may_make_no_database_then_writes_into_the_one_that_is_his(tmp_path: Path) -> None:
    """Whether it is there the answer to a write says; where it is not, that is the reason."""
    with Influxd(tmp_path, auth=True) as server:
        server.ask("CREATE USER root WITH PASSWORD 'r00t' WITH ALL PRIVILEGES")
        server.login = {"u": "root", "p": "r00t"}
        server.ask("CREATE DATABASE mine")
        server.ask("CREATE USER tf WITH PASSWORD 'secret'")
        server.ask("GRANT ALL ON mine TO tf")
        async with linked(server, "mine", username="tf", password="secret") as bench:
            assert (await bench.write(1, [trade(1)])).written == 1
            assert bench.failures() == []
        assert len(read(server, "trades", "mine")) == 1
        async with linked(server, "others", username="tf", password="secret") as bench:
            bench.give(1, [trade(1)])
            await bench.until(lambda: bool(bench.failures()))
            assert 'database not found: "others"' in bench.failures()[0]
            server.ask("CREATE DATABASE others")
            server.ask("GRANT ALL ON others TO tf")
            await bench.until(lambda: 1 in bench.answers(), 15)
        async with linked(server, "mine", username="tf", password="wrong") as bench:
            await bench.until(lambda: bool(bench.failures()))
            assert "authorization failed" in bench.failures()[0]


async def test_password_when_the_server_asks_for_one_then_it_is_used(tmp_path: Path) -> None:
    """Without it the reason is said, and nothing is set aside."""
    with Influxd(tmp_path, auth=True) as server:
        server.ask("CREATE USER tf WITH PASSWORD 'secret' WITH ALL PRIVILEGES")
        async with linked(server, "mine") as stranger:
            await stranger.until(lambda: bool(stranger.failures()))
            assert "unable to parse authentication credentials" in stranger.failures()[0]
        async with linked(server, "mine", username="tf", password="secret") as bench:
            assert (await bench.write(1, [trade(1)])).written == 1
