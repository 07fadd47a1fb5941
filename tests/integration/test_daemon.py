"""The real daemon in a process of its own, as its users meet it: files, pages, commands, signals."""

from __future__ import annotations

import asyncio
import json
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.daemon_process import ROOT, DaemonProcess
from tests.integration.market_server import MarketServer
from tradefan import __version__
from tradefan.daemon import Daemon
from tradefan.environment import Environment
from tradefan.telemetry import start_logging

pytestmark = pytest.mark.slow

BOOM = '''"""Raises at its third bar, once in each of its lives."""

from tradefan.strategy import Bar, Commands, Settings, State, Strategy, View, register


@register("strategy", "boom")
class Boom(Strategy[Settings, State]):
    """Looks harmless."""

    def setup(self) -> None:
        self.bars("1s", "ETH/USDT")
        self.seen = 0

    def on_bar(self, bar: Bar, view: View) -> Commands:
        self.seen += 1
        if self.seen == 3:
            raise RuntimeError("boom")
        return ()
'''
QUIET = ("strategies.ema_cross_eth=null", "venues.binance.tape.history=30s")
BTC = "binance:BTC/USDT"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """A daemon that trades, with a strategy of the user's that crashes; the tests only look at it."""
    made = DaemonProcess(tmp_path_factory.mktemp("daemon"), *QUIET, "strategies.mine={use: boom}")
    (made.folder / "strategies").mkdir()
    (made.folder / "strategies" / "boom.py").write_text(BOOM)
    made.start()
    try:
        made.until_ready()
        made.until(lambda: bool(made.status()["positions"]), 60)
        yield made
    finally:
        made.close()


@pytest.fixture
def another(tmp_path: Path) -> Iterator[DaemonProcess]:
    """A daemon for a test that ends it."""
    made = DaemonProcess(tmp_path, *QUIET)
    yield made
    made.close()


# --- it runs --------------------------------------------------------------------------------------------


def test_daemon_when_ready_then_has_filled_what_its_rule_wants(daemon: DaemonProcess) -> None:
    """Within a minute a stranger sees fills, a position with its owner, and what it is worth."""
    status = daemon.status()
    (position,) = status["positions"]
    assert (position["owner"], position["instrument"]) == ("rebalance_btc", BTC)
    assert 0.14 < float(position["qty"]) * float(position["mark"]) / 1_000_000 < 0.16
    assert position["unrealised"] is not None
    assert status["fills"]["total"] >= len(status["fills"]["last"]) > 0
    assert float(status["today"][0]["fees"]) > 0
    assert (status["paper"], status["mode"]["mode"], status["orders"]["in_doubt"]) == (True, "NORMAL", 0)


def test_files_when_running_then_lie_in_the_data_directory_and_the_token_is_private(
    daemon: DaemonProcess,
) -> None:
    """Clients find the daemon by its file; the log's first line says what runs on whose money."""
    found = json.loads((daemon.data / "daemon.json").read_text())
    assert daemon.process is not None
    assert (found["pid"], found["url"]) == (daemon.process.pid, daemon.url)
    assert stat.S_IMODE((daemon.data / "token").stat().st_mode) == 0o600
    first = daemon.log()[0]
    assert {
        key: first[key] for key in ("event", "version", "environment", "accounts", "money", "data_dir")
    } == {
        "event": "starting",
        "version": __version__,
        "environment": "development",
        "accounts": ["paper:main"],
        "money": "PAPER",
        "data_dir": str(daemon.data),
    }
    assert first["config_id"] == daemon.status()["config_id"]
    assert first["strategies_hash"]
    assert not (daemon.folder / "logs").exists()


def test_memory_when_started_then_small_and_without_the_large_libraries(daemon: DaemonProcess) -> None:
    """Neither ccxt nor numpy is imported until something needs it."""
    assert daemon.process is not None
    proc = Path("/proc") / str(daemon.process.pid)
    if not proc.exists():
        pytest.skip("this system has no /proc")
    pages = int((proc / "statm").read_text().split()[1])
    assert pages * 4096 < 120 * 2**20
    assert "numpy" not in (proc / "maps").read_text()
    program = (
        "import sys, tradefan.daemon; print([m for m in ('ccxt', 'numpy', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_metrics_when_scraped_then_agree_with_status(daemon: DaemonProcess) -> None:
    """The text is Prometheus's, and each counter that matters is there."""
    code, text = daemon.ask("/metrics")
    assert code == 200
    samples = {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["tradefan_fills_total", ""] == daemon.status()["fills"]["total"]
    assert samples["tradefan_build_info", "development"] == 1
    assert samples["tradefan_actor_up", "oms"] == 1
    assert samples["process_resident_memory_bytes", ""] > 0


def test_strategy_when_it_crashes_then_it_alone_is_restarted_and_seen_to_be(daemon: DaemonProcess) -> None:
    """In status, log and metric; the other strategy and its position do not notice."""

    def mine() -> dict[str, Any]:
        return {one["name"]: one for one in daemon.status()["actors"]}["strategy:mine"]

    daemon.until(lambda: mine()["restarts"] >= 1, 60)
    crashes = daemon.logged("actor_crashed")
    assert {line["actor"] for line in crashes} == {"strategy:mine"}
    assert "RuntimeError: boom" in crashes[0]["traceback"]
    others = [one for one in daemon.status()["actors"] if one["name"] != "strategy:mine"]
    assert {one["restarts"] for one in others} == {0}
    assert 'tradefan_actor_crashes_total{actor="strategy:mine"}' in daemon.ask("/metrics")[1]
    assert daemon.ask("/ready")[0] == daemon.ask("/health")[0] == 200


# --- its control ------------------------------------------------------------------------------------------


def test_control_when_nobody_proves_who_he_is_then_nothing_happens(daemon: DaemonProcess) -> None:
    """Orders without token, with a wrong one, or by way of a strange host."""
    order = {"symbol": "BTC/USDT", "side": "buy", "quantity": "0.01"}
    before = daemon.status()["orders"]["total"]
    token = (daemon.data / "token").read_text().strip()
    assert daemon.ask("/api/v1/orders", order, Authorization="")[0] == 401
    assert daemon.ask(f"/api/v1/orders?token={token}", order, Authorization="Bearer x")[0] == 401
    assert daemon.ask("/api/v1/orders", order, Host="evil.example")[0] == 403
    assert daemon.ask("/api/v1/orders", order, Origin="https://evil.example")[0] == 403
    assert daemon.ask("/status", Host="evil.example:8000")[0] == 403
    assert daemon.status()["orders"]["total"] == before


def test_order_when_its_ref_is_repeated_then_there_is_one_order(daemon: DaemonProcess) -> None:
    """Asking again after a lost answer gives the first one, also at the same moment."""
    order = {"symbol": "BTC/USDT", "side": "buy", "quantity": "0.01", "ref": "once"}
    answers: list[tuple[int, Any]] = []
    threads = [
        threading.Thread(target=lambda: answers.append(daemon.ask("/api/v1/orders", order))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(code for code, _ in answers) == [200, 200, 201]
    (parent_id,) = {order["parent_id"] for _, order in answers}
    assert [one["ref"] for one in daemon.ask("/api/v1/orders")[1]["orders"]].count("once") == 1
    daemon.until(lambda: daemon.ask(f"/api/v1/orders/{parent_id}")[1]["status"] == "FILLED", 10)
    assert float(daemon.positions()["api", BTC]) > 0


def test_order_when_too_large_then_refused_with_what_would_pass(daemon: DaemonProcess) -> None:
    """The refusal is an answer, a line on the screen, and no order."""
    code, body = daemon.ask("/api/v1/orders", {"symbol": "BTC/USDT", "side": "buy", "quantity": "50"})
    assert code == 422
    assert body["error"]["code"] == "RISK_MAX_ORDER_QTY"
    assert (body["error"]["limit"], body["error"]["used"]) == ("10", "50")
    assert body["error"]["would_pass"]
    newest = daemon.status()["refusals"][0]
    assert (newest["owner"], newest["code"]) == ("api", "RISK_MAX_ORDER_QTY")


def test_commands_when_a_daemon_runs_then_find_it_by_its_data_directory(daemon: DaemonProcess) -> None:
    """An order's life on the command line, and the screen while it rests."""
    price = str(int(float(daemon.status()["feeds"][0]["bid"]) * 0.985))
    words = ("--symbol", "BTC/USDT", "--side", "buy", "--quantity", "0.01", "--limit", price, "--json")
    order = json.loads(daemon.run("order", "submit", *words).stdout)
    assert (order["owner"], order["algo"], order["limit_price"]) == ("cli", "limit", price)
    screen = daemon.run("status").stdout
    assert screen.startswith("PAPER  development  ready")
    assert order["parent_id"] in screen
    assert order["parent_id"] in daemon.run("order", "list").stdout
    assert "IN DOUBT" not in daemon.run("order", "show", order["parent_id"]).stdout
    assert daemon.run("order", "cancel", order["parent_id"]).returncode == 0
    path = f"/api/v1/orders/{order['parent_id']}"
    daemon.until(lambda: daemon.ask(path)[1]["status"] == "CANCELED", 10)
    owners = [one["owner"] for one in json.loads(daemon.run("position", "list", "--json").stdout)]
    assert "rebalance_btc" in owners
    assert "mine" in daemon.run("strategy", "list").stdout
    refused = daemon.run("order", "submit", "--symbol", "BTC/USDT", "--side", "buy", "--quantity", "50")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "would pass: " in refused.stderr
    assert json.loads(daemon.run("logs", "--tail", "1").stdout)["level"]


def test_second_daemon_when_the_directory_is_taken_then_69_and_the_first_lives(daemon: DaemonProcess) -> None:
    """It is told whose it is; a paper reset is refused alike."""
    assert daemon.process is not None
    for words in (("run",), ("paper", "reset")):
        done = daemon.run(*words)
        assert done.returncode == 69
        assert f"{daemon.data} is used by the daemon with pid {daemon.process.pid}" in done.stderr
    assert daemon.ask("/ready")[0] == 200


# --- its end ----------------------------------------------------------------------------------------------


def rest_an_order(daemon: DaemonProcess) -> str:
    """Submit an order far below the market and return its id."""
    price = str(int(float(daemon.status()["feeds"][0]["bid"]) * 0.985))
    order = {"symbol": "BTC/USDT", "side": "buy", "quantity": "0.01", "algo": "limit", "limit_price": price}
    code, made = daemon.ask("/api/v1/orders", order)
    assert code == 201, made
    return str(made["parent_id"])


def children(daemon: DaemonProcess, parent_id: str) -> list[str]:
    return [child["status"] for child in daemon.ask(f"/api/v1/orders/{parent_id}")[1]["children_orders"]]


def test_sigterm_when_an_order_rests_then_it_is_cancelled_and_the_exit_is_clean(
    another: DaemonProcess,
) -> None:
    """Nothing unwanted is left at the venue, everything is on the disk, and the next start may follow."""
    another.start().until_ready()
    parent_id = rest_an_order(another)
    another.until(lambda: children(another, parent_id) == ["NEW"], 10)
    assert another.paper("SELECT count(*) FROM orders WHERE status = 'NEW'") == [(1,)]
    code, seconds = another.end(signal.SIGTERM)
    assert (code, another.console()[-500:]) == (0, another.console()[-500:])
    assert seconds < 10
    assert another.paper("SELECT count(*) FROM orders WHERE status IN ('NEW', 'PARTIALLY_FILLED')") == [(0,)]
    assert another.paper("SELECT count(*) FROM orders WHERE status = 'CANCELED'") == [(1,)]
    last = another.log()[-1]
    assert (last["event"], last["code"]) == ("stopped", 0)
    assert another.console().endswith("left at the venue: nothing of ours\n")
    assert not (another.data / "daemon.json").exists()
    assert another.run("status").returncode == 3


def test_sigterm_when_it_comes_in_the_midst_of_a_start_then_the_exit_is_clean(another: DaemonProcess) -> None:
    """No code that nobody documented, and nothing that the next start would have to repair."""
    another.start()
    another.until((another.data / "lock").exists, 20)
    code, _ = another.end(signal.SIGTERM)
    assert (code, another.console()[-500:]) == (0, another.console()[-500:])
    assert not (another.data / "daemon.json").exists()


def test_interrupt_when_it_comes_twice_then_130_at_once(tmp_path: Path) -> None:
    """The first asks for order, the second does not wait for a venue that takes its time."""
    daemon = DaemonProcess(tmp_path, *QUIET, "accounts.paper:main.latency=3s")
    try:
        daemon.start().until_ready()
        rest_an_order(daemon)
        daemon.send(signal.SIGINT)
        time.sleep(0.5)
        code, seconds = daemon.end(signal.SIGINT)
        assert code == 130
        assert seconds < 2
    finally:
        daemon.close()


def test_run_when_for_some_seconds_then_ends_by_itself_with_0(another: DaemonProcess) -> None:
    """`--for` is an orderly stop, also before anything was ready."""
    done = another.run("run", "--for", "1", "--set", "logs.console=false")
    assert (done.returncode, done.stderr) == (0, "")
    assert another.log()[-1]["event"] == "stopped"


# --- a link that dies ---------------------------------------------------------------------------------------


async def test_link_when_it_dies_then_ready_names_it_and_the_feed_recovers(tmp_path: Path) -> None:
    """The live market's link is ended under a running daemon, which starts it again by itself."""
    async with MarketServer("serve") as server:
        sets = (
            "venues.binance.source=live",
            f"venues.binance.stream_url={server.stream_url.removesuffix('/stream')}",
            f"venues.binance.rest_url={server.rest_url}",
            "feeds.binance:ETH/USDT=null",
            "risk.instruments=null",
            "strategies=null",
            "api.port=0",
            f"data_dir={tmp_path / 'data'}",
        )
        environment = Environment.load("development", ROOT / "config", sets)
        environment.places.take()
        log = start_logging(environment.places.log, "info", console=False)
        daemon = Daemon(environment, log)
        running = asyncio.create_task(daemon.run())
        try:
            await until(daemon, ready=True)
            (link,) = [task for task in asyncio.all_tasks() if task.get_name() == "link market:binance"]
            link.cancel()
            # On a machine that is busy with something else a slow loop may be what it waits for first.
            async with asyncio.timeout(60):
                while "market_data:binance" not in (waiting := daemon.picture.ready()["waiting"]):
                    await asyncio.sleep(0.005)
            assert "market:binance" in waiting["market_data:binance"]
            assert "link_down" in waiting[BTC]
            assert await until(daemon, ready=True) == {}
            assert server.connections == 2
            links = {one["name"]: one["restarts"] for one in daemon.picture.status()["links"]}
            assert links == {
                "journal": 0,
                "market:binance": 1,
                "venue:paper:main": 0,
                "store": 0,
                "api": 0,
                "watcher": 0,
            }
        finally:
            daemon.driver.stop()
            assert await running == 0
            daemon.close()
            log.stop()
            environment.places.release()


async def until(daemon: Daemon, *, ready: bool) -> dict[str, str]:
    """Wait until the daemon is ready, or is not, and return what it waits for."""
    async with asyncio.timeout(60):
        while (picture := daemon.picture.ready())["ready"] is not ready:
            await asyncio.sleep(0.02)
    waiting: dict[str, str] = picture["waiting"]
    return waiting
