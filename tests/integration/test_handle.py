"""Orders from Python, in the process of a real daemon on the recorded market."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

from tests.integration.daemon_process import ROOT
from tradefan.daemon import Daemon
from tradefan.environment import Environment
from tradefan.errors import Refused
from tradefan.messages.records import Audit
from tradefan.stores.journal import JournalFile
from tradefan.telemetry import start_logging

pytestmark = pytest.mark.slow


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    """A daemon that runs in this loop, ready and without strategies."""
    sets = ("strategies=null", "api.port=0", "venues.binance.tape.history=5s", f"data_dir={tmp_path}")
    environment = Environment.load("development", ROOT / "config", sets)
    environment.places.take()
    log = start_logging(environment.places.log, "info", console=False)
    made = Daemon(environment, log)
    running = asyncio.create_task(made.run())
    try:
        async with asyncio.timeout(60):
            while not made.picture.ready()["ready"]:
                await asyncio.sleep(0.02)
        yield made
    finally:
        made.driver.stop()
        assert await running == 0
        made.close()
        log.stop()
        environment.places.release()


async def test_order_when_submitted_then_its_handle_waits_for_its_end(daemon: Daemon, tmp_path: Path) -> None:
    """The same ref gives the same order; who asked is in the journal."""
    handle = await daemon.submit_order("BTC/USDT", "buy", "0.01", ref="once", reason="a test")
    order = await handle.wait(10)
    assert (order["parent_id"], order["status"], handle.status) == (handle.id, "FILLED", "FILLED")
    assert order["cum_qty"] == Decimal("0.01")
    costs = await handle.tca()
    assert costs is not None
    assert (costs["parent_id"], costs["state"]) == (handle.id, "provisional")
    assert costs["arrival_slippage_bps"] > 0
    assert (await daemon.submit_order("BTC/USDT", "buy", "0.01", ref="once", reason="a test")).id == handle.id
    journal = JournalFile(str(tmp_path / "journal.db"), read_only=True)
    records, _ = journal.fold()
    journal.close()
    audits = [record for record in records if isinstance(record, Audit)]
    assert [(one.principal, one.subject, one.code) for one in audits] == [("api python", "once", "")] * 2


async def test_order_when_it_takes_its_time_then_it_is_watched_and_cancelled(daemon: Daemon) -> None:
    """A TWAP of 5 BTC over 300 s; words that are none of an order are settings of its algorithm."""
    handle = await daemon.submit_order("BTC/USDT", "buy", 5, algo="twap", duration="300s")
    with pytest.raises(TimeoutError):
        await handle.wait(0.2)
    order = handle.order()
    assert (handle.status, order["phase"], order["algo"]) == ("NEW", "WORKING", "twap")
    assert order["end_ns"] - order["start_ns"] == 300 * 10**9
    assert order["schedule_error"] == 0
    await handle.cancel()
    assert (await handle.wait(10))["status"] == "CANCELED"


async def test_order_when_it_would_not_pass_then_refused_with_what_would(daemon: Daemon) -> None:
    """Also for words that are none, before anything is asked."""
    with pytest.raises(Refused) as no:
        await daemon.submit_order("BTC/USDT", "buy", 50)
    assert (no.value.code, no.value.would_pass) == ("RISK_MAX_ORDER_QTY", "order_qty 10")
    for quantity in (0, -1, "NaN"):
        with pytest.raises(Refused, match="BAD_NUMBER"):
            await daemon.submit_order("BTC/USDT", "buy", quantity)
    with pytest.raises(Refused, match="UNKNOWN_SETTING"):
        await daemon.submit_order("BTC/USDT", "buy", 1, limit="61000")


async def test_wait_when_the_daemon_stops_then_its_order_has_been_cancelled(daemon: Daemon) -> None:
    """A stop cancels what rests, and whoever waits hears of it."""
    price = round(float(daemon.picture.status()["feeds"][0]["bid"]) * 0.985, 1)
    handle = await daemon.submit_order("BTC/USDT", "buy", 0.01, algo="limit", limit_price=price)
    daemon.driver.stop()
    assert (await handle.wait(15))["status"] == "CANCELED"
