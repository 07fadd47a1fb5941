"""Redis for real: newest values that fade, streams without loss or doubles, and a server that freezes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.services.bench import Bench
from tests.services.redis import RedisServer
from tests.unit.stores.made import BTC, bar, equity, fill, gap, order, parent, position, refusal, tca, trade
from tradefan.messages.market import Quote
from tradefan.messages.wire import Credit
from tradefan.stores.redis import RedisLink, RedisSettings, Sizes
from tradefan.units import MS, SECOND, ParentId

pytestmark = pytest.mark.slow

T0 = 1_722_470_400 * SECOND
MARKET = "market.binance.BTC/USDT"
STATUS = {
    "mode": "NORMAL",
    "ready": True,
    "positions": [{"account": "paper:main", "owner": "api", "instrument": BTC, "qty": 1.5}],
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def server(shared: RedisServer) -> RedisServer:
    """The shared one, emptied."""
    shared.ask("FLUSHALL")
    shared.ask("CONFIG", "SET", "maxmemory", 0)
    return shared


def made(server: RedisServer, **words: Any) -> Bench:
    settings = RedisSettings(server.url, words.pop("timeout_s", 0.25), **words)
    status = dict(STATUS)
    return Bench(
        lambda deliver: RedisLink(settings, deliver, lambda: T0, lambda: Sizes(5_000, 1_000), lambda: status),
        [],
    )


def linked(server: RedisServer, **words: Any) -> AbstractAsyncContextManager[Bench]:
    return made(server, **words).running()


def quote(bid: float, ask: float, number: int = 1) -> Quote:
    return Quote(BTC, bid, 2.0, ask, 3.0, number, T0 + number)


def link_of(bench: Bench) -> RedisLink:
    assert isinstance(bench.link, RedisLink)
    return bench.link


# --- what is written ----------------------------------------------------------------------------------------


async def test_batch_when_written_then_values_are_newest_and_fade(server: RedisServer) -> None:
    """The middle in exact figures, the top of the book, the last trade; each with its time to live."""
    async with linked(server) as bench:
        written = await bench.write(1, [quote(100.1, 100.2), trade(7), quote(100.1, 100.4)])
    assert (written.written, written.aside) == (3, {})
    assert server.ask("GET", f"price:{BTC}") == "100.25"
    top = server.client(lambda one: one.hgetall(f"top:{BTC}"))
    assert (top["bid"], top["ask"], top["ask_qty"], top["last"]) == ("100.1", "100.4", "3.0", "60000.5")
    assert top["recv_ns"] == str(T0 + 1)
    for key in (f"price:{BTC}", f"top:{BTC}"):
        assert 0 < server.ask("PTTL", key) <= 5_000


async def test_batch_when_written_then_each_kind_is_an_entry_of_its_stream(server: RedisServer) -> None:
    """All columns as exact text, absent ones left out, in order."""
    refused = replace(refusal(1), instrument=BTC, code="RISK_MAX_POSITION")
    rows = [
        trade(1),
        quote(1.0, 2.0),
        bar(1),
        gap(1),
        order(1),
        fill(1, 1),
        refused,
        replace(refusal(2), code="BELOW_MIN"),
    ]
    async with linked(server) as bench:
        assert (await bench.write(1, [*rows, position("1"), equity(1), tca(1)])).written == 11
    kinds = [one["type"] for one in server.entries(MARKET)]
    assert kinds == ["Trade", "Quote", "Bar", "Gap"]
    assert server.entries(MARKET)[0]["trade_id"] == "1"
    (told,) = server.entries(f"orders.{order(1).status}.binance")
    assert (told["client_order_id"], told["order_qty"]) == (
        order(1).client_order_id,
        str(order(1).order_qty),
    )
    assert "in_doubt" not in told
    assert [one["trade_id"] for one in server.entries("fills.binance")] == [fill(1, 1).trade_id]
    assert [len(server.entries(f"orders.REFUSED.{name}")) for name in ("binance", "none")] == [1, 1]
    assert [one["code"] for one in server.entries("risk.alert.warning")] == ["RISK_MAX_POSITION"]


async def test_parent_when_it_begins_then_it_is_a_signal_once(server: RedisServer) -> None:
    """Later pictures of it are none, nor what an earlier daemon had begun."""
    one = parent(1)
    new = replace(one, order=replace(one.order, created_ns=T0 + 1))
    old = replace(one, order=replace(one.order, parent_id=ParentId("old"), created_ns=T0 - 1))
    async with linked(server) as bench:
        await bench.write(1, [old, new, replace(new, updated_ns=T0 + 9)])
        assert (await bench.write(2, [new])).written == 1
    (signal,) = server.entries(f"signals.{one.order.owner}.{one.order.side}")
    assert signal["parent_id"] == one.order.parent_id


async def test_link_when_it_runs_then_status_and_positions_stand_there(server: RedisServer) -> None:
    """As hashes that end with the daemon; a position that is gone is gone."""
    server.client(lambda one: one.hset("positions:paper:main", "api|gone", "{}"))
    bench = made(server)
    async with bench.running():
        link_of(bench).offer("error", "books_differ", {"actor": "risk_desk", "instrument": BTC, "qty": 1})
        link_of(bench).offer("error", "influx_failing", {"actor": "point_writer"})
        await bench.until(lambda: bool(server.entries("risk.alert.error")))
    assert server.client(lambda one: one.hgetall("status"))["mode"] == "NORMAL"
    held = server.client(lambda one: one.hgetall("positions:paper:main"))
    assert [*held] == [f"api|{BTC}"]
    assert '"qty":1.5' in held[f"api|{BTC}"]
    assert 0 < server.ask("PTTL", "status") <= 10_000
    (alert,) = server.entries("risk.alert.error")
    assert (alert["type"], alert["instrument"]) == ("books_differ", BTC)


async def test_stream_when_long_then_the_newest_are_kept(server: RedisServer) -> None:
    """About as many as the configuration says."""
    async with linked(server) as bench:
        for number in range(1, 6):
            await bench.write(number, [trade(number * 1_000 + n) for n in range(600)])
    kept = server.entries(MARKET)
    assert 1_000 <= len(kept) <= 1_200
    assert kept[-1]["trade_id"] == "5599"


# --- trouble -----------------------------------------------------------------------------------------


async def test_server_when_it_freezes_then_nothing_is_lost_or_twice(server: RedisServer) -> None:
    """What timed out was applied when it thawed; sent again it is known."""
    async with linked(server) as bench:
        await bench.write(1, [trade(1)])
        server.freeze()
        try:
            bench.give(2, [trade(2), trade(3)])
            await bench.until(lambda: bool(bench.failures()))
            await asyncio.sleep(1.0)
        finally:
            server.thaw()
        await bench.until(lambda: 2 in bench.answers(), 5)
        await bench.write(3, [trade(4)])
    assert [one["trade_id"] for one in server.entries(MARKET)] == ["1", "2", "3", "4"]
    assert [one.total for one in bench.said if isinstance(one, Credit)] == [1, 2, 3, 4]


async def test_server_when_killed_then_the_batch_waits_for_the_next_one(tmp_path: Path) -> None:
    """Its data is gone with it, ours is not; the reason is told once."""
    with RedisServer(tmp_path) as server:
        async with linked(server) as bench:
            await bench.write(1, [trade(1)])
            server.kill()
            bench.give(2, [trade(2)])
            await bench.until(lambda: bool(bench.failures()))
            await asyncio.sleep(0.5)
            server.start()
            await bench.until(lambda: 2 in bench.answers(), 6)
            assert 1 <= len(bench.failures()) <= 2
            assert server.url in bench.failures()[0]
        assert [one["trade_id"] for one in server.entries(MARKET)] == ["2"]


async def test_server_when_full_or_read_only_then_it_is_waited_for(server: RedisServer) -> None:
    """It says so, and takes everything when it can again."""
    async with linked(server) as bench:
        server.ask("CONFIG", "SET", "maxmemory", 1)
        bench.give(1, [trade(1)])
        await bench.until(lambda: any("maxmemory" in one for one in bench.failures()))
        server.ask("CONFIG", "SET", "maxmemory", 0)
        await bench.until(lambda: 1 in bench.answers(), 5)
        server.ask("REPLICAOF", "127.0.0.1", 1)
        try:
            bench.give(2, [trade(2)])
            await bench.until(lambda: any("read only" in one for one in bench.failures()))
        finally:
            server.ask("REPLICAOF", "NO", "ONE")
        await bench.until(lambda: 2 in bench.answers(), 5)
    assert [one["trade_id"] for one in server.entries(MARKET)] == ["1", "2"]


async def test_key_when_it_is_of_another_type_then_that_message_is_set_aside(server: RedisServer) -> None:
    """Somebody else's key costs what would go there and nothing beside it."""
    server.ask("SET", MARKET, "mine")
    async with linked(server) as bench:
        written = await bench.write(1, [trade(1), fill(1, 1)])
    assert (written.written, written.aside) == (1, {"Trade": 1})
    assert "WRONGTYPE" in written.reason
    assert server.ask("GET", MARKET) == "mine"
    assert len(server.entries("fills.binance")) == 1


async def test_hash_when_its_key_is_of_another_type_then_that_key_does_not_end(server: RedisServer) -> None:
    """Somebody else's key has no time to live because ours would have had one."""
    server.ask("RPUSH", f"top:{BTC}", "mine")
    async with linked(server) as bench:
        written = await bench.write(1, [quote(1.0, 2.0), fill(1, 1)])
    assert (written.written, written.aside) == (1, {"Quote": 1})
    assert "WRONGTYPE" in written.reason
    assert server.ask("PTTL", f"top:{BTC}") == -1
    assert server.ask("GET", f"price:{BTC}") == "1.5"


async def test_number_when_a_stream_is_ahead_then_it_goes_behind_its_end(server: RedisServer) -> None:
    """An earlier daemon's clock was ahead: nothing is taken for what is there already."""
    server.ask("XADD", MARKET, f"{T0 // MS + 10**9}-1", "type", "Trade")
    async with linked(server) as bench:
        assert (await bench.write(1, [trade(1), trade(2)])).written == 2
    assert [one.get("trade_id") for one in server.entries(MARKET)] == [None, "1", "2"]


async def test_number_when_a_stream_is_ahead_and_the_first_try_was_refused_then_nothing_is_lost(
    server: RedisServer,
) -> None:
    """What a retry finds too late was not applied before: it is looked for, and is not there."""
    server.ask("XADD", MARKET, f"{T0 // MS + 10**9}-1", "type", "Trade")
    async with linked(server) as bench:
        server.ask("CONFIG", "SET", "maxmemory", 1)
        bench.give(1, [trade(1), fill(1, 1), trade(2)])
        await bench.until(lambda: any("maxmemory" in one for one in bench.failures()))
        server.ask("CONFIG", "SET", "maxmemory", 0)
        await bench.until(lambda: 1 in bench.answers(), 5)
        assert bench.answers()[1].written == 3
    assert [one.get("trade_id") for one in server.entries(MARKET)] == [None, "1", "2"]
    assert len(server.entries("fills.binance")) == 1


async def test_number_when_another_daemon_has_it_then_both_entries_are_there(server: RedisServer) -> None:
    """A number that is there with other fields is not ours."""
    for number in range(10):
        server.ask("XADD", MARKET, f"{T0 // MS + number}-1", "type", "Trade", "trade_id", f"other{number}")
    async with linked(server) as bench:
        assert (await bench.write(1, [trade(1), trade(2)])).written == 2
    assert [one["trade_id"] for one in server.entries(MARKET)][10:] == ["1", "2"]


async def test_link_when_cancelled_in_an_answer_then_the_next_one_reads_its_own(server: RedisServer) -> None:
    """Nobody reads the rest of somebody else's answer."""
    for number in range(20):
        bench = made(server)
        async with bench.running():
            bench.give(1, [trade(number * 1_000 + n) for n in range(300)])
            await asyncio.sleep(0.002 * (number % 5))
    async with linked(server) as bench:
        assert (await bench.write(1, [trade(99_999)])).written == 1
    assert server.entries(MARKET)[-1]["trade_id"] == "99999"


async def test_user_when_his_rights_are_those_of_the_docs_then_they_are_enough(tmp_path: Path) -> None:
    """For batches, the status, and what is too late for its stream."""
    page = Path(__file__).parents[2] / "docs" / "redis.md"
    found = re.search(r"few rights needs `([^`]+)`", page.read_text().replace("\n", " "))
    assert found is not None
    with RedisServer(tmp_path) as server:
        rights = [f"+{name.lower()}" for name in found[1].split()]
        server.ask("ACL", "SETUSER", "few", "on", ">secret", "~*", *rights)
        server.ask("XADD", MARKET, f"{T0 // MS + 10**9}-1", "type", "Trade")
        async with linked(server, username="few", password="secret") as bench:
            assert (await bench.write(1, [quote(1.0, 2.0), trade(1), fill(1, 1)])).written == 3
            await bench.until(lambda: server.ask("EXISTS", "status") == 1)
            assert bench.failures() == []


async def test_password_when_it_is_asked_for_then_by_reference_only(tmp_path: Path) -> None:
    """A wrong one is an outage that names no secret."""
    with RedisServer(tmp_path, password="s3cret-canary") as server:
        async with linked(server, password="s3cret-canary") as bench:
            assert (await bench.write(1, [trade(1)])).written == 1
        wrong = made(server, password="wrong-canary")
        async with wrong.running():
            await wrong.until(lambda: bool(wrong.failures()))
        assert not any("canary" in one for one in wrong.failures())
