"""C-06 and C-07: the journal's disk is full, or its syncs fail, while orders are traded.

New risk stops within 100 ms and cancels still go out; when the disk works again, so does trading, by
itself. Only the journal lies on the small disk, the paper venue's file and the logs are elsewhere, but
for the test of the layout as it is shipped.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.faults import FailingSync, full, small_disk
from tests.chaos.history import check_any_instant, check_quiet, read_journal, read_venue
from tests.chaos.report import report
from tests.integration.daemon_process import DaemonProcess
from tradefan.units import parse_iso

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

WHOLE = os.environ.get("TRADEFAN_CHAOS") == "whole"
STOP_S = 0.1 if WHOLE else 0.3
"""The bound is 100 ms; beside other tests on a small machine the processes have to wait for a core."""
BACK_S = 15.0
SETS = (
    "strategies=null",
    "venues.binance.tape.history=5s",
    "api.requests_per_second=1000",
    "risk.orders_per_second=1000",
    "journal.disk_free_min=0",
    "logs.console=false",
    "telemetry.top=1000",
)
NS = 1_000_000_000


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonProcess]:
    """A ready daemon whose data directory is a disk of 24 MB, all but the journal behind links."""
    made = DaemonProcess(tmp_path, *SETS)
    with small_disk(made.data, 24):
        elsewhere = tmp_path / "elsewhere"
        (elsewhere / "logs").mkdir(parents=True)
        for name in ("paper.db", "store.db", "logs"):
            (made.data / name).symlink_to(elsewhere / name)
        try:
            made.start().until_ready()
            yield made
        finally:
            made.close()


def rest(daemon: DaemonProcess) -> str:
    """Submit an order that rests, and return its parent's id when the venue has it."""
    parent = place(daemon)
    daemon.until(lambda: len(open_orders(daemon)) > 0, 10)
    return parent


def place(daemon: DaemonProcess) -> str:
    """Submit an order that rests, and return its parent's id."""
    bid = float(daemon.status()["feeds"][0]["bid"])
    wish = {"symbol": "BTC/USDT", "side": "buy", "quantity": "0.01", "algo": "limit"}
    code, order = daemon.ask("/api/v1/orders", {**wish, "limit_price": f"{bid * 0.985:.0f}"})
    assert code == 201, order
    return str(order["parent_id"])


def open_orders(daemon: DaemonProcess) -> set[str]:
    return read_venue(daemon.folder / "elsewhere" / "paper.db").open_ids()


def causes(daemon: DaemonProcess) -> dict[str, str]:
    return {cause["cause"]: cause["mode"] for cause in daemon.status()["mode"]["causes"]}


def submit_until_refused(daemon: DaemonProcess) -> float:
    """Submit until the disk is missed; return how long after the fatal wish CANCEL_ONLY was entered.

    A wish whose records cannot be written gets no answer: its client gives up and looks.
    """
    for _ in range(200):
        asked_ns = time.time_ns()
        wish = {"symbol": "BTC/USDT", "side": "buy", "quantity": "0.001"}
        code, answer = daemon.ask("/api/v1/orders", wish)
        if code != 201:
            assert (code, answer["error"]["code"]) in ((504, "IN_DOUBT"), (422, "MODE_CANCEL_ONLY")), answer
            entered = [line for line in daemon.log() if is_entered(line)]
            return (parse_iso(entered[-1]["ts"]) - asked_ns) / NS
    raise AssertionError("200 wishes were accepted although the disk takes nothing")


def is_entered(line: dict[str, Any]) -> bool:
    return (line["event"], line.get("cause"), line.get("mode")) == ("mode", "journal", "CANCEL_ONLY")


def until_normal(daemon: DaemonProcess) -> float:
    return daemon.until(lambda: causes(daemon) == {}, BACK_S)


def check_files(daemon: DaemonProcess) -> None:
    """Stop in order, and hold the journal against the venue."""
    assert daemon.end(signal.SIGTERM)[0] == 0, daemon.console()
    venue = read_venue(daemon.folder / "elsewhere" / "paper.db")
    journal = read_journal(daemon.data / "journal.db")
    check_any_instant(venue, journal, {})
    check_quiet(venue, journal)
    assert daemon.run("journal", "verify").returncode == 0


@pytest.mark.failure("ST-03")
def test_disk_when_it_is_full_then_only_cancels_leave_and_trading_returns_with_the_space(
    daemon: DaemonProcess,
) -> None:
    """C-06: also a kill is acknowledged as lasting, for its byte was there before."""
    first, second = rest(daemon), rest(daemon)
    before = len(read_venue(daemon.folder / "elsewhere" / "paper.db").orders)
    with full(daemon.data):
        entered_s = submit_until_refused(daemon)
        assert entered_s <= STOP_S
        assert causes(daemon)["journal"] == "CANCEL_ONLY"
        resting = open_orders(daemon)
        assert daemon.ask(f"/api/v1/orders/{first}/cancel", {})[0] == 202
        daemon.until(lambda: len(open_orders(daemon)) == len(resting) - 1, 2)
        code, answer = daemon.ask("/api/v1/orders", {"symbol": "BTC/USDT", "side": "buy", "quantity": "0.01"})
        assert (code, answer["error"]["code"]) == (422, "MODE_CANCEL_ONLY")
        code, answer = daemon.ask("/api/v1/kill", {"scope": "ETH/USDT"})
        assert (code, answer["closed"], answer["persisted"]) == (200, True, True)
    back_s = daemon.until(lambda: causes(daemon).keys() == {"kill"}, BACK_S)
    assert daemon.run("resume", "--scope", "ETH/USDT", "--reason", "tried").returncode == 0
    assert daemon.ask("/api/v1/orders", {"symbol": "BTC/USDT", "side": "buy", "quantity": "0.01"})[0] == 201
    assert daemon.ask(f"/api/v1/orders/{second}/cancel", {})[0] == 202
    report("C-06", cancel_only_ms=round(entered_s * 1000, 1), normal_s=round(back_s, 1), orders=before)
    check_files(daemon)


@pytest.mark.failure("ST-03")
def test_daemon_when_killed_behind_a_full_disk_then_comes_up_and_cancels(daemon: DaemonProcess) -> None:
    """What waited in memory is gone with its process, and was never sent; the rest is cancelled."""
    parent = rest(daemon)
    with full(daemon.data):
        submit_until_refused(daemon)
        daemon.end(signal.SIGKILL)
        daemon.start().until(lambda: oms(daemon) == "READY", 30)
        resting = open_orders(daemon)
        assert len(resting) == 1
        assert daemon.ask(f"/api/v1/orders/{parent}/cancel", {})[0] == 202
        daemon.until(lambda: open_orders(daemon) == set(), 5)
    until_normal_again = daemon.until(lambda: "journal" not in causes(daemon), BACK_S)
    assert until_normal_again <= BACK_S
    check_files(daemon)


@pytest.mark.failure("ST-03")
def test_daemon_when_stopped_in_order_before_the_disk_was_full_then_starts_and_cancels(
    daemon: DaemonProcess,
) -> None:
    """What a stop leaves at the venue must not wait for room; the command line finds the daemon, too."""
    parent = rest(daemon)
    assert daemon.end(signal.SIGTERM)[0] == 0, daemon.console()
    with full(daemon.data):
        daemon.start().until(lambda: oms(daemon) == "READY", 30)
        done = daemon.run("status")
        assert (done.returncode, "its address is not known yet" in done.stderr) == (4, True), done
        done = daemon.run("order", "cancel", parent, "--url", daemon.url)
        assert done.returncode == 0, done
        daemon.until(lambda: open_orders(daemon) == set(), 5)
    daemon.until(lambda: daemon.run("status").returncode == 0, BACK_S)
    daemon.until(lambda: "journal" not in causes(daemon), BACK_S)
    check_files(daemon)


@pytest.mark.failure("ST-03")
def test_paper_when_its_file_is_on_the_full_disk_too_then_it_cancels_all_the_same(tmp_path: Path) -> None:
    """The layout as it is shipped: everything in one directory; also for a start on the full disk."""
    daemon = DaemonProcess(tmp_path, *SETS)
    with small_disk(daemon.data, 48):
        try:
            daemon.start().until_ready()
            venue = daemon.data / "paper.db"
            first, second = (place(daemon) for _ in range(2))
            daemon.until(lambda: len(read_venue(venue).open_ids()) == 2, 10)
            with full(daemon.data):
                assert daemon.ask(f"/api/v1/orders/{first}/cancel", {})[0] == 202
                daemon.until(lambda: len(read_venue(venue).open_ids()) == 1, 5)
            until_normal(daemon)
            assert daemon.end(signal.SIGTERM)[0] == 0, daemon.console()
            with full(daemon.data):
                daemon.start().until(lambda: oms(daemon) == "READY", 30)
                assert daemon.ask(f"/api/v1/orders/{second}/cancel", {})[0] == 202
                daemon.until(lambda: read_venue(venue).open_ids() == set(), 5)
            daemon.until(lambda: "journal" not in causes(daemon), BACK_S)
            assert daemon.end(signal.SIGTERM)[0] == 0, daemon.console()
            assert daemon.run("journal", "verify").returncode == 0
        finally:
            daemon.close()


def oms(daemon: DaemonProcess) -> str:
    code, status = daemon.ask("/status")
    if code != 200:
        return "DOWN"
    return str({one["name"]: one["state"] for one in status["actors"]}["oms"])


@pytest.mark.failure("ST-03")
@pytest.mark.parametrize("once", [True, False], ids=["once", "always"])
def test_sync_when_it_fails_then_as_a_full_disk_and_that_descriptor_is_never_synced_again(
    daemon: DaemonProcess, once: bool
) -> None:
    """C-07: after EIO the pages count as clean, so the file is opened anew before anything is believed."""
    parent = rest(daemon)
    assert daemon.process is not None
    path = daemon.data / "journal.db-wal"
    failing = FailingSync(daemon.process.pid, path, daemon.folder / "strace.txt", once=once)
    try:
        entered_s = submit_until_cancel_only(daemon)
        assert entered_s <= STOP_S
        assert daemon.ask(f"/api/v1/orders/{parent}/cancel", {})[0] == 202
        daemon.until(lambda: parent not in working(daemon), 5)
        if not once:
            time.sleep(3)
            assert causes(daemon)["journal"] == "CANCEL_ONLY"
            assert failing.failed() > 1
    finally:
        failing.close()
    back_s = until_normal(daemon)
    assert failing.failed() >= 1
    assert failing.synced_again() == []
    report("C-07", once=once, cancel_only_ms=round(entered_s * 1000, 1), normal_s=round(back_s, 1))
    check_files(daemon)


def working(daemon: DaemonProcess) -> set[str]:
    """Return the parents whose order rests at the venue, by the venue's own file."""
    resting = open_orders(daemon)
    orders = daemon.ask("/api/v1/orders")[1]["orders"]
    found = set()
    for order in orders:
        shown = daemon.ask(f"/api/v1/orders/{order['parent_id']}")[1]
        if any(one["client_order_id"] in resting for one in shown["children_orders"]):
            found.add(str(order["parent_id"]))
    return found


def submit_until_cancel_only(daemon: DaemonProcess) -> float:
    """Submit once: its records meet the failing sync; return how long CANCEL_ONLY took."""
    asked_ns = time.time_ns()
    daemon.ask("/api/v1/orders", {"symbol": "BTC/USDT", "side": "buy", "quantity": "0.001"})
    daemon.until(lambda: any(map(is_entered, daemon.log())), 5)
    (entered, *_) = [line for line in daemon.log() if is_entered(line)]
    return (parse_iso(entered["ts"]) - asked_ns) / NS
