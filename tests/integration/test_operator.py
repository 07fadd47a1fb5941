"""What an operator does to a running daemon: kill and resume, a human's word, positions, too many starts."""

from __future__ import annotations

import json
import signal
import sqlite3
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.integration.daemon_process import DaemonProcess

pytestmark = pytest.mark.slow

QUIET = (
    "strategies.ema_cross_eth=null",
    "strategies.rebalance_btc=null",
    "venues.binance.tape.history=5s",
    "runtime.starts_max=100",
    "logs.console=false",
)
BTC = "binance:BTC/USDT"
OPEN = "SELECT client_order_id FROM orders WHERE status IN ('NEW', 'PARTIALLY_FILLED') ORDER BY order_id"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonProcess]:
    made = DaemonProcess(tmp_path, *QUIET)
    yield made
    made.close()


def rest(daemon: DaemonProcess, away: str = "0.985", **more: Any) -> str:
    """Submit an order that rests, and return its parent's id when the venue has it."""
    bid = float(daemon.status()["feeds"][0]["bid"])
    wish = {"symbol": "BTC/USDT", "side": "buy", "quantity": "0.01", "algo": "limit"}
    code, order = daemon.ask("/api/v1/orders", {**wish, "limit_price": f"{bid * float(away):.0f}", **more})
    assert code == 201, order
    path = f"/api/v1/orders/{order['parent_id']}"
    daemon.until(lambda: [one["status"] for one in daemon.ask(path)[1]["children_orders"]] == ["NEW"], 10)
    return str(order["parent_id"])


def child(daemon: DaemonProcess, parent_id: str) -> str:
    order = daemon.ask(f"/api/v1/orders/{parent_id}")[1]
    return str(order["children_orders"][-1]["client_order_id"])


def open_ids(daemon: DaemonProcess) -> list[str]:
    return [name for (name,) in daemon.paper(OPEN)]


def mode(daemon: DaemonProcess) -> dict[str, Any]:
    found: dict[str, Any] = daemon.status()["mode"]
    return found


def submit(daemon: DaemonProcess) -> tuple[int, Any]:
    return daemon.ask("/api/v1/orders", {"symbol": "BTC/USDT", "side": "buy", "quantity": "0.01"})


# --- kill -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("road", ["api", "signal"])
def test_kill_when_an_order_rests_then_cancelled_and_nothing_leaves_until_a_human_resumes(
    daemon: DaemonProcess, road: str
) -> None:
    """Over the API or by the lock file's pid; it survives kill -9, and only `resume` ends it."""
    daemon.start().until_ready()
    rest(daemon)
    if road == "signal":
        # What a crash of somebody's editor may do: nobody can find the API any more.
        (daemon.data / "daemon.json").unlink()
    done = daemon.run("kill", "--reason", "a test", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["scope"], answer["closed"], answer["persisted"]) == ("all", True, True)
    if road == "signal":
        assert daemon.process is not None
        assert answer["signal"] == daemon.process.pid
    daemon.until(lambda: open_ids(daemon) == [], 10)
    daemon.until(lambda: mode(daemon)["causes"][0]["cause"] == "kill", 5)
    assert mode(daemon)["latch"].keys() == {"all"}
    code, body = submit(daemon)
    assert (code, body["error"]["code"]) == (422, "RISK_LATCHED")

    daemon.end(signal.SIGKILL)
    daemon.start().until(lambda: daemon.ask("/status")[0] == 200, 30)
    assert mode(daemon)["latch"].keys() == {"all"}
    daemon.until_ready()
    assert submit(daemon)[0] == 422
    assert daemon.run("resume").returncode == 2
    done = daemon.run("resume", "--reason", "all is well")
    assert (done.returncode, done.stdout) == (0, "resumed: all\n")
    assert (mode(daemon)["latch"], mode(daemon)["causes"]) == ({}, [])
    assert submit(daemon)[0] == 201
    assert daemon.run("resume", "--reason", "again").returncode == 1


def test_kill_when_one_account_or_instrument_is_meant_then_the_others_trade_on(daemon: DaemonProcess) -> None:
    """A scope is killed by its own name, and misspelt ones are refused."""
    daemon.start().until_ready()
    kept = rest(daemon)
    assert daemon.run("kill", "--scope", "paper:mian").returncode == 1
    done = daemon.run("kill", "--scope", "ETH/USDT")
    assert done.stdout.startswith("killed: binance:ETH/USDT;"), done.stderr
    assert mode(daemon)["latch"].keys() == {"binance:ETH/USDT"}
    wish = {"symbol": "ETH/USDT", "side": "buy", "quantity": "0.1"}
    assert daemon.ask("/api/v1/orders", wish)[0] == 422
    assert submit(daemon)[0] == 201
    assert child(daemon, kept) in open_ids(daemon)


@pytest.mark.failure("ST-08")
def test_kill_when_flags_are_given_then_protection_stays_and_strangers_are_cancelled(
    daemon: DaemonProcess,
) -> None:
    """What protects a position may be kept; what is not ours is only touched when a human says so."""
    daemon.start().until_ready()
    assert submit(daemon)[0] == 201
    daemon.until(lambda: Decimal(daemon.positions().get(("api", BTC), "0")) > 0, 10)
    held = daemon.positions()["api", BTC]
    lot = f"{Decimal(held).quantize(Decimal('0.00001'), rounding='ROUND_DOWN'):f}"
    protection = child(daemon, rest(daemon, "1.015", side="sell", quantity=lot, reduce_only=True))
    plain = child(daemon, rest(daemon))
    daemon.end(signal.SIGKILL)
    foreign(daemon.data / "paper.db")
    daemon.start().until_ready()
    assert {*open_ids(daemon)} == {protection, plain, "somebody-else"}

    said = daemon.run("kill", "--keep-protection", "--reason", "one")
    assert (said.returncode, "without protection" in said.stdout) == (0, False)
    daemon.until(lambda: {*open_ids(daemon)} == {protection, "somebody-else"}, 10)
    said = daemon.run("kill", "--reason", "two")
    assert (said.returncode, f"without protection now: api {BTC} {held}" in said.stdout) == (0, True)
    daemon.until(lambda: open_ids(daemon) == ["somebody-else"], 10)
    assert daemon.run("kill", "--including-external", "--reason", "three").returncode == 0
    daemon.until(lambda: open_ids(daemon) == [], 10)


def foreign(path: Path) -> None:
    """Put an order of somebody else into the venue's book, as another program on this account would."""
    db = sqlite3.connect(path)
    with db:
        (order_id,) = db.execute("SELECT next_order_id FROM account").fetchone()
        values = ("paper:main", order_id, 1, "somebody-else", BTC, "buy", "LIMIT", "GTC", "10000", "0.01")
        db.execute(
            "INSERT INTO orders SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '0', '0', 'NEW', created_ns, updated_ns"
            " FROM orders LIMIT 1",
            values,
        )
        db.execute("UPDATE account SET next_order_id = ?", (order_id + 1,))
        ((free, locked),) = db.execute("SELECT free, locked FROM balance WHERE asset = 'USDT'").fetchall()
        db.execute(
            "UPDATE balance SET free = ?, locked = ? WHERE asset = 'USDT'",
            (str(Decimal(free) - 100), str(Decimal(locked) + 100)),
        )
    db.close()


# --- a human's word -----------------------------------------------------------------------------------------


@pytest.mark.failure("OR-11")
def test_resolve_when_an_order_is_in_doubt_then_a_human_ends_the_doubt(tmp_path: Path) -> None:
    """By its id and for a reason; an order of which nobody doubts is refused."""
    daemon = DaemonProcess(tmp_path, *QUIET, "accounts.paper:main.latency=3s")
    try:
        daemon.start().until_ready()
        bid = float(daemon.status()["feeds"][0]["bid"])
        wish = {"symbol": "BTC/USDT", "side": "buy", "quantity": "0.01", "algo": "limit"}
        code, order = daemon.ask("/api/v1/orders", {**wish, "limit_price": f"{bid * 0.985:.0f}"})
        assert code == 201
        # Its create is on the way; the next life must first find out what became of it.
        daemon.end(signal.SIGKILL)
        daemon.start().until(lambda: in_doubt(daemon) == 1, 20)
        name = child(daemon, order["parent_id"])
        assert daemon.run("order", "resolve", name, "placed").returncode == 2
        done = daemon.run("order", "resolve", name, "not-placed", "--reason", "the venue says so")
        assert (done.returncode, done.stdout) == (0, f"{name}: NOT_PLACED\n"), done.stderr
        assert in_doubt(daemon) == 0
        assert daemon.run("order", "resolve", "nobody", "placed", "--reason", "x").returncode == 1
    finally:
        daemon.close()


def in_doubt(daemon: DaemonProcess) -> int | None:
    code, status = daemon.ask("/status")
    found: int | None = status["orders"]["in_doubt"] if code == 200 else None
    return found


def test_position_when_the_account_held_it_before_then_listed_as_external_and_assigned_by_a_human(
    tmp_path: Path,
) -> None:
    """Nothing is traded; ownership moves, and moves back."""
    daemon = DaemonProcess(tmp_path, *QUIET, "accounts.paper:main.balances={USDT: 1000000, BTC: 2}")
    try:
        daemon.start().until_ready()
        assert daemon.run("position", "list").stdout.split() == ["paper:main", "external", "BTC", "2"]
        words = ("position", "assign", "BTC/USDT", "0.5", "--to", "cli", "--price", "60000")
        done = daemon.run(*words)
        assert (done.returncode, done.stdout) == (
            0,
            f"0.5 {BTC} on paper:main: from external to cli\n",
        ), done.stderr
        assert held(daemon) == {"external": Decimal("1.5"), "cli": Decimal("0.5")}
        assert daemon.run("position", "release", "BTC/USDT", "0.5", "--from", "cli").returncode == 0
        assert held(daemon) == {"external": Decimal(2)}
        assert daemon.run("position", "assign", "BTC/USDT", "5", "--to", "cli").returncode == 1
        assert daemon.paper("SELECT count(*) FROM orders") == [(0,)]
    finally:
        daemon.close()


def held(daemon: DaemonProcess) -> dict[str, Decimal]:
    rows = json.loads(daemon.run("position", "list", "--json").stdout)
    return {one["owner"]: qty for one in rows if (qty := Decimal(one["qty"]))}


# --- too many starts ------------------------------------------------------------------------------------


def test_starts_when_too_many_end_without_a_clean_stop_then_safe_until_a_human_says_so(
    tmp_path: Path,
) -> None:
    """What crashes again and again only cancels (PR-13); a clean stop does not count."""
    daemon = DaemonProcess(tmp_path, *QUIET, "runtime.starts_max=3")
    try:
        daemon.start().until_ready()
        assert daemon.end(signal.SIGTERM)[0] == 0
        for _ in range(3):
            daemon.start().until(lambda: oms(daemon) == "READY", 30)
            assert "safe" not in causes(daemon)
            daemon.end(signal.SIGKILL)
        daemon.start().until(lambda: oms(daemon) == "READY", 30)
        assert "safe" in causes(daemon)
        assert "SAFE" in daemon.run("status").stdout
        daemon.until_ready()
        code, body = submit(daemon)
        assert (code, body["error"]["code"]) == (422, "MODE_CANCEL_ONLY")
        assert daemon.run("resume", "--reason", "the cause is found").returncode == 0
        assert "safe" not in causes(daemon)
        assert submit(daemon)[0] == 201
    finally:
        daemon.close()


def oms(daemon: DaemonProcess) -> str:
    code, status = daemon.ask("/status")
    if code != 200:
        return "DOWN"
    return str({one["name"]: one["state"] for one in status["actors"]}["oms"])


def causes(daemon: DaemonProcess) -> list[str]:
    return [cause["cause"] for cause in mode(daemon)["causes"]]
