"""TradeFan from Python: its page runs as it stands, and daemons end with whom they belong to."""

from __future__ import annotations

import ast
import inspect
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.daemon_process import ROOT, DaemonProcess
from tradefan.data_dir import DataDir
from tradefan.errors import Outage, Refused
from tradefan.infra import (
    InfrastructureManager,
    OrderRequest,
    OrderSide,
    OrderType,
    get_infrastructure_manager,
)

pytestmark = pytest.mark.slow

PAGE = ROOT / "docs" / "python.md"


@pytest.fixture
def daemon(tmp_path: Path) -> DaemonProcess:
    """A folder with a configuration; nothing is started."""
    return DaemonProcess(tmp_path)


def sets(daemon: DaemonProcess) -> tuple[str, ...]:
    return (f"data_dir={daemon.data}", f"api.port={daemon.port}", "venues.binance.tape.history=5s")


@pytest.fixture
async def manager() -> AsyncIterator[InfrastructureManager]:
    made = InfrastructureManager()
    yield made
    await made.shutdown()


async def test_page_when_its_examples_run_then_they_do_what_they_say(
    daemon: DaemonProcess, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One after the other in one process, from a fresh folder."""
    monkeypatch.chdir(daemon.folder)
    monkeypatch.setenv("TRADEFAN__DATA_DIR", str(daemon.data))
    monkeypatch.setenv("TRADEFAN__API__PORT", str(daemon.port))
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 5
    names: dict[str, Any] = {}
    get_infrastructure_manager.cache_clear()
    try:
        for block in blocks:
            code = compile(block, str(PAGE), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            result = eval(code, names)
            if inspect.isawaitable(result):
                await result
    finally:
        await get_infrastructure_manager().shutdown()
    said = capsys.readouterr().out
    assert said.startswith("ok\nFILLED 6")
    assert "RISK_MAX_ORDER_QTY" in said
    assert "44560.0 ['user' 'user']" in said
    assert "[0. 1.]" in said
    assert 'tradefan_user_orders_total{instrument="BTC/USDT",owner="mine",status="FILLED"} 1.0' in said
    assert 'tradefan_user_pnl{instrument="BTC/USDT",owner="mine"} 12.5' in said
    assert 'tradefan_user_alert{reason="too_quiet"} 0.0' in said
    misses = re.search(r"^tradefan_user_cache_misses_total (\S+)$", said, re.MULTILINE)
    assert misses is not None
    assert float(misses[1]) > 0
    assert not re.search(r"^tradefan_(?!user_)", said, re.MULTILINE)


async def test_initialize_when_a_daemon_answers_then_it_is_attached_to_and_left(
    daemon: DaemonProcess, manager: InfrastructureManager
) -> None:
    """A second manager uses the first one's daemon, which lives behind its end."""
    await manager.initialize("development", config=daemon.config, sets=sets(daemon))
    assert not manager.attached
    other = await InfrastructureManager().initialize("development", config=daemon.config, sets=sets(daemon))
    assert other.attached
    order = await other.submit_order(
        OrderRequest("BTC/USDT", OrderSide.BUY, OrderType.MARKET, 0.01, ref="once")
    )
    again = await other.submit_order(
        OrderRequest("BTC/USDT", OrderSide.BUY, OrderType.MARKET, 0.01, ref="once")
    )
    assert order["parent_id"] == again["parent_id"]
    await other.shutdown()
    assert (await manager.health_check())["status"] == "ok"
    await manager.shutdown()
    assert DataDir(daemon.data, daemon.data / "logs").running() is None
    events = [line["event"] for line in daemon.log()]
    assert events[-1] == "stopped"
    with pytest.raises(Refused, match="initialize"):
        await manager.get("/status")


async def test_initialize_when_the_daemon_cannot_run_then_says_where_to_look(
    daemon: DaemonProcess, manager: InfrastructureManager
) -> None:
    """Its port is somebody else's."""
    (daemon.folder / "other").mkdir()
    taken = DaemonProcess(daemon.folder / "other")
    taken.port = daemon.port
    taken.start().until_ready()
    try:
        with pytest.raises(Outage, match=r"ended with 69; see .*tradefan\.log"):
            await manager.initialize("development", config=daemon.config, sets=sets(daemon))
    finally:
        taken.end()


def test_daemon_when_who_started_it_is_killed_then_it_stops_in_order(daemon: DaemonProcess) -> None:
    """No daemon trades on for a notebook that is gone."""
    script = (
        "import asyncio, sys, time\n"
        "from pathlib import Path\n"
        "from tradefan.infra import get_infrastructure_manager\n"
        f"words = {{'config': Path({str(daemon.config)!r}), 'sets': {sets(daemon)!r}}}\n"
        "asyncio.run(get_infrastructure_manager().initialize('development', **words))\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environ) as notebook:
        assert notebook.stdout is not None
        assert notebook.stdout.readline() == b"ready\n"
        places = DataDir(daemon.data, daemon.data / "logs")
        running = places.running()
        assert running is not None
        notebook.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while places.running() is not None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert daemon.log()[-1]["event"] == "stopped"


async def test_manager_when_not_initialized_then_it_says_what_comes_first(
    manager: InfrastructureManager,
) -> None:
    """In words that can be copied."""
    for call in (manager.submit_order(OrderRequest("BTC/USDT", "buy", quantity=1)), manager.get("/status")):
        with pytest.raises(Refused, match="await get_infrastructure_manager"):
            await call
