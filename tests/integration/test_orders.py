"""Orders on the command line of a real daemon: planned, watched, cancelled, asked twice, and audited."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.daemon_process import DaemonProcess
from tradefan.messages.records import Audit

pytestmark = pytest.mark.slow

ALONE = ("strategies=null", "venues.binance.tape.history=5s")
TWAP = ("--symbol", "BTC/USDT", "--side", "buy", "--quantity", "5", "--algo", "twap", "--duration", "300s")
NO_JITTER = ("--set", "size_jitter=0", "--set", "time_jitter=0")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """A daemon on the recorded market, without strategies."""
    made = DaemonProcess(tmp_path_factory.mktemp("orders"), *ALONE)
    made.start()
    try:
        made.until_ready()
        yield made
    finally:
        made.close()


def only(daemon: DaemonProcess, parent_id: str) -> dict[str, Any]:
    found: dict[str, Any] = daemon.ask(f"/api/v1/orders/{parent_id}")[1]
    return found


def test_twap_when_submitted_then_planned_accepted_watched_and_cancelled(daemon: DaemonProcess) -> None:
    """5 BTC over 300 s: the plan is the one of the dry run, the watch tells how it goes."""
    plan = json.loads(daemon.run("order", "submit", *TWAP, *NO_JITTER, "--dry-run", "--json").stdout)
    assert (plan["n"], {one["quantity"] for one in plan["slices"]}) == (10, {"0.5"})
    assert plan["slices"][-1]["target_qty"] == "5"
    assert json.loads(daemon.run("order", "list", "--json").stdout) == []

    words = daemon._command("order", "submit", *TWAP, *NO_JITTER, "--watch")
    with subprocess.Popen(words, env=daemon.environ, stdout=subprocess.PIPE, text=True) as watch:
        assert watch.stdout is not None
        first = watch.stdout.readline()
        parent_id = first.split()[0]
        assert "NEW WORKING: 0 %, on schedule +0.0 %, ends " in first
        order = only(daemon, parent_id)
        assert order["end_ns"] - order["start_ns"] == 300 * 10**9
        assert (order["owner"], order["order_qty"], order["algo"]) == ("cli", "5", "twap")
        daemon.until(lambda: only(daemon, parent_id)["children"] >= 1, 10)
        listed = daemon.run("order", "list").stdout
        assert f"{parent_id} cli buy 5 BTC/USDT twap: " in listed
        assert ", ends " in listed
        done = daemon.run("order", "cancel", parent_id)
        assert (done.returncode, done.stdout.split()[0]) == (0, parent_id)
        rest = watch.stdout.read()
    assert watch.returncode == 1
    assert " CANCELED DONE done " in rest.splitlines()[-1]
    assert only(daemon, parent_id)["status"] == "CANCELED"


def test_watch_when_interrupted_then_the_order_goes_on(daemon: DaemonProcess) -> None:
    """Ctrl-C ends the looking; how to end the order is said."""
    # Whoever runs the tests in the background has it ignored, and so would the command.
    ignored = signal.signal(signal.SIGINT, signal.default_int_handler)
    order = json.loads(daemon.run("order", "submit", *TWAP, "--json").stdout)
    words = daemon._command("order", "show", order["parent_id"], "--watch", "--json")
    with subprocess.Popen(
        words, env=daemon.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as watch:
        assert watch.stdout is not None
        assert watch.stderr is not None
        assert json.loads(watch.stdout.readline())["parent_id"] == order["parent_id"]
        watch.send_signal(signal.SIGINT)
        signal.signal(signal.SIGINT, ignored)
        assert f"order cancel {order['parent_id']} ends it" in watch.stderr.read()
    assert watch.returncode == 0
    assert only(daemon, order["parent_id"])["phase"] == "WORKING"
    assert daemon.run("order", "cancel", order["parent_id"]).returncode == 0


def test_pause_and_resume_when_asked_then_the_end_moves_by_as_much(daemon: DaemonProcess) -> None:
    """The clock of a pause stands still."""
    order = json.loads(daemon.run("order", "submit", *TWAP, "--json").stdout)
    paused = json.loads(daemon.run("order", "pause", order["parent_id"], "--json").stdout)
    assert (paused["phase"], paused["reason"]) == ("PAUSED", "user")
    time.sleep(0.5)
    resumed = json.loads(daemon.run("order", "resume", order["parent_id"], "--json").stdout)
    assert (resumed["phase"], resumed["reason"]) == ("WORKING", "")
    assert resumed["end_ns"] > order["end_ns"] + 500_000_000
    assert daemon.run("order", "cancel", order["parent_id"]).returncode == 0


def test_plan_when_it_would_be_refused_then_1_with_what_would_pass(daemon: DaemonProcess) -> None:
    """The refusal is that of a submit."""
    for dry in ((), ("--dry-run",)):
        done = daemon.run("order", "submit", *TWAP[:4], "--quantity", "50", *dry)
        assert (done.returncode, done.stdout) == (1, "")
        assert "RISK_MAX_ORDER_QTY" in done.stderr
        assert "would pass: order_qty 10" in done.stderr


def test_key_when_the_daemon_was_killed_then_the_first_answer_again(tmp_path: Path) -> None:
    """Idempotency-Key: once, also over kill -9; another body is 409; and who asked is in the journal."""
    daemon = DaemonProcess(tmp_path, *ALONE)
    order = {"symbol": "BTC/USDT", "side": "buy", "quantity": "0.01", "user": "alice"}
    key = {"Idempotency-Key": "k-1"}
    try:
        daemon.start().until_ready()
        code, first = daemon.ask("/api/v1/orders", order, **key)
        assert code == 201
        daemon.until(lambda: only(daemon, first["parent_id"])["phase"] == "DONE", 10)
        daemon.end(signal.SIGKILL)
        daemon.start().until_ready()
        code, again = daemon.ask("/api/v1/orders", order, **key)
        assert (code, again["parent_id"], again["status"]) == (200, first["parent_id"], "FILLED")
        code, other = daemon.ask("/api/v1/orders", {**order, "quantity": "0.02"}, **key)
        assert (code, other["error"]["code"]) == (409, "KEY_REUSED")
        assert len(daemon.ask("/api/v1/orders")[1]["orders"]) == 1
        daemon.end()
        shown = daemon.run("journal", "show", "--type", "Audit").stdout
        assert shown.count("principal=api alice") == 2
    finally:
        daemon.close()
    audits = [record for record in daemon.journal() if isinstance(record, Audit)]
    assert [(one.action, one.code, one.parent_ids, one.key) for one in audits] == [
        ("SubmitOrder", "", (first["parent_id"],), "k-1"),
        ("SubmitOrder", "KEY_REUSED", (), "k-1"),
    ]


def test_documents_when_asked_then_the_daemon_tells_its_routes_and_plug_ins(daemon: DaemonProcess) -> None:
    """What is in the process: the user's strategies beside those that come with TradeFan."""
    code, document = daemon.ask("/api/v1/openapi.json")
    assert (code, document["openapi"]) == (200, "3.1.0")
    code, shown = daemon.ask("/api/v1/plugins")
    found = {(one["kind"], one["name"]) for one in shown["plugins"]}
    assert {("executor", "iceberg"), ("strategy", "rebalance"), ("risk_rule", "max_order_qty")} <= found
    assert daemon.ask("/api/v1/plugins", Authorization="")[0] == 401


def test_request_when_too_large_or_too_many_then_413_and_429(tmp_path: Path) -> None:
    """Both bounds are the configuration's."""
    daemon = DaemonProcess(tmp_path, *ALONE, "api.requests_per_second=2", "api.body_max=1024")
    try:
        daemon.start()
        daemon.until(lambda: daemon.ask("/api/v1/strategies")[0] == 200, 60)
        time.sleep(1.1)
        large = {"symbol": "BTC/USDT", "side": "buy", "quantity": "1", "reason": "x" * 2000}
        code, body = daemon.ask("/api/v1/orders", large)
        assert (code, body["error"]["code"]) == (413, "TOO_LARGE")
        codes = [daemon.ask_once("/api/v1/strategies")[0] for _ in range(4)]
        assert 429 in codes
    finally:
        daemon.close()
