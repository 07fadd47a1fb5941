"""What InfluxDB lacks of the journal comes from there: behind an outage, a crash in it, and a start."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import pytest

from tests.integration.daemon_process import DaemonProcess
from tests.services.bench import Bench
from tests.services.influx import Influxd
from tests.unit.core.order_builders import CID, fill, intent, parent, report
from tests.unit.sim.checker_bench import opening
from tests.unit.stores.made import trade
from tradefan.errors import Outage
from tradefan.messages.control import PointBatch, PointsWritten
from tradefan.messages.orders import OrderStatus
from tradefan.messages.records import Fill, Record
from tradefan.stores.influx import InfluxLink, InfluxSettings
from tradefan.stores.influx_bodies import PROGRESS
from tradefan.stores.journal import JournalFile
from tradefan.units import SECOND

T0 = 1_800_000_000 * SECOND
QUEUE = 60
"""Points that may wait: so few that a few orders are more."""
RECORDS: tuple[Record, ...] = (
    opening("USDT", 1000),
    parent(),
    intent(),
    report(OrderStatus.NEW),
    fill(4),
    fill(3, trade_id="t2"),
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influxd]:
    with Influxd(tmp_path_factory.mktemp("influx")) as server:
        yield server


def linked(server: Influxd, db: str, journal: JournalFile) -> Bench:
    """A link beside a journal that a test writes."""
    settings = InfluxSettings(server.url, db, 5.0)

    def link(deliver: Any) -> InfluxLink:
        return InfluxLink(settings, deliver, lambda: T0, lambda _: None, source=lambda: nullcontext(journal))

    return Bench(link, [])


async def ask(bench: Bench, batch: PointBatch) -> PointsWritten:
    """Hand a batch to the link and wait for its answer."""
    bench.link.apply(batch)
    await bench.until(lambda: batch.batch_id in bench.answers())
    return bench.answers()[batch.batch_id]


async def test_link_when_asked_for_the_journal_then_writes_what_the_server_lacks_of_it(
    shared: Influxd,
) -> None:
    """From the place that the server keeps; what is asked for twice is there once."""
    with closing(JournalFile(":memory:")) as journal:
        journal.append(1, 1, RECORDS)
        async with linked(shared, "behind", journal).running() as bench:
            first = await ask(bench, PointBatch(1, (), up_to=5))
            assert (first.aside, bench.failures()) == ({}, [])
            again = await ask(bench, PointBatch(2, (), up_to=5))
            assert (first.written > 0, again.written) == (True, 0)
            assert (await ask(bench, PointBatch(3, (), up_to=6))).written > 0
    fills = await asyncio.to_thread(shared.points, "fills", "behind")
    assert sorted((one["trade_id"], one["lsn"], one["qty"]) for one in fills) == [("t1", 5, 4), ("t2", 6, 3)]
    newest = max(await asyncio.to_thread(shared.points, "orders", "behind"), key=lambda one: one["lsn"])
    assert (newest["client_order_id"], newest["cum_qty"]) == (CID, 7)
    assert [one["lsn"] for one in shared.points(PROGRESS, "behind")][-1:] == [6]


async def test_link_when_rows_lead_to_a_place_then_the_server_keeps_it_with_them(shared: Influxd) -> None:
    """What is asked for behind that begins there, also by another link."""
    with closing(JournalFile(":memory:")) as journal:
        journal.append(1, 1, RECORDS)
        async with linked(shared, "placed", journal).running() as bench:
            await ask(bench, PointBatch(1, (trade(1),), own=0, place=5))
        async with linked(shared, "placed", journal).running() as other:
            await ask(other, PointBatch(1, (), up_to=6))
    fills = await asyncio.to_thread(shared.points, "fills", "placed")
    assert [one["trade_id"] for one in fills] == ["t2"]


async def test_link_when_rows_were_lost_that_the_server_has_then_their_successors_are_written(
    shared: Influxd,
) -> None:
    """A repaired journal goes on under the numbers that it lost, of a later epoch; here in one instant."""
    with closing(JournalFile(":memory:")) as whole:
        whole.append(1, 1, (*RECORDS, fill(1, trade_id="lost")))
        async with linked(shared, "lost", whole).running() as bench:
            await ask(bench, PointBatch(1, (), up_to=7))
    with closing(JournalFile(":memory:")) as repaired:
        repaired.append(1, 1, RECORDS)
        repaired.append(7, 2, (fill(1, trade_id="new"), fill(1, trade_id="newer")))
        async with linked(shared, "lost", repaired).running() as bench:
            await ask(bench, PointBatch(1, (), up_to=8))
    fills = await asyncio.to_thread(shared.points, "fills", "lost")
    assert sorted(one["trade_id"] for one in fills) == ["new", "newer", "t1", "t2"]


async def test_link_when_the_journal_cannot_be_read_then_says_so_once_and_writes_the_market(
    shared: Influxd,
) -> None:
    """Batches that are written beside it do not make it well."""
    tries = 0

    def broken() -> Any:
        nonlocal tries
        tries += 1
        raise Outage("journal: torn")

    def link(deliver: Any) -> InfluxLink:
        settings = InfluxSettings(shared.url, "unread", 5.0)
        return InfluxLink(settings, deliver, lambda: T0, lambda _: None, source=broken)

    async with Bench(link, []).running() as bench:
        bench.link.apply(PointBatch(1, (), up_to=5))
        number = 1
        while tries < 4:
            number += 1
            await bench.write(number, (trade(number),))
        assert bench.failures() == ["journal: torn"]
    assert await asyncio.to_thread(shared.count, "trades", "price", "unread") == number - 1


@pytest.mark.slow
def test_daemon_when_killed_in_an_outage_longer_than_memory_then_every_fill_is_there_once(
    tmp_path: Path,
) -> None:
    """The journal has what memory could not keep and what the kill took: I-24, on real servers."""
    with Influxd(tmp_path / "influx") as server:
        folder = tmp_path / "daemon"
        folder.mkdir()
        daemon = DaemonProcess(
            folder,
            f"influx.url={server.url}",
            "influx.flush_interval=100ms",
            f"influx.queue_max={QUEUE}",
            "influx.timeout=1s",
            "risk.orders_per_second=1000",
            "api.requests_per_second=1000",
        )
        daemon.start()
        try:
            daemon.until_ready()
            trade_some(daemon, 3)
            daemon.until(lambda: bool(server.points("fills")), 30)
            server.kill()
            daemon.until(lambda: bool(influx(daemon)["failing"]), 30)
            trade_some(daemon, 12)
            daemon.until(lambda: sum(influx(daemon)["left"].values()) > 0, 30)
            assert influx(daemon)["waiting"] <= QUEUE
            trade_some(daemon, 3)
            daemon.end(signal.SIGKILL)
            server.start()
            daemon.start()
            daemon.until(lambda: daemon.ask("/status")[0] == 200, 30)
            daemon.until(lambda: influx(daemon)["linked"] and not influx(daemon)["behind"], 30)
        finally:
            if daemon.process is not None and daemon.process.poll() is None:
                daemon.end()
        daemon.close()
        made = [one for one in daemon.journal() if isinstance(one, Fill)]
        stored = Counter((one["instrument"], one["trade_id"]) for one in server.points("fills"))
        assert stored == Counter((one.instrument, one.trade_id) for one in made)
        wanted = ended(daemon)
        newest = {one["client_order_id"]: one for one in sorted(server.points("orders"), key=by_lsn)}
        assert len(wanted) >= 18
        assert {name: newest[name]["status"] for name in wanted} == wanted


def by_lsn(point: dict[str, Any]) -> int:
    return int(point["lsn"])


def trade_some(daemon: DaemonProcess, count: int) -> None:
    """Buy at the market a little at a time, and wait until it is done."""
    fills = daemon.status()["fills"]["total"]
    body = {"symbol": "BTC/USDT", "side": "buy", "quantity": "0.001", "algo": "market"}
    for _ in range(count):
        code, answer = daemon.ask("/api/v1/orders", body)
        assert code < 300, answer
    daemon.until(lambda: daemon.status()["fills"]["total"] >= fills + count, 20)


def influx(daemon: DaemonProcess) -> dict[str, Any]:
    return next(one for one in daemon.status()["stores"] if one["name"] == "influx")


def ended(daemon: DaemonProcess) -> dict[str, str]:
    """Return the status of each order, as the daemon's own store has it at the end."""
    with closing(sqlite3.connect(f"file:{daemon.data / 'store.db'}?mode=ro", uri=True)) as connection:
        return dict(connection.execute("SELECT client_order_id, status FROM orders"))
