"""The part `recovery`: how long a start behind kill -9 takes, small and large."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tests.chaos.history import check_any_instant
from tests.chaos.load import Load
from tests.chaos.test_kill_cycles import SETS, files
from tests.chaos.test_large_recovery import (
    NS,
    RESTING,
    ROWS,
    behind_large_journal,
    cancels,
    memory,
    oms,
    start_again,
    store_follows,
    when,
)
from tests.integration.daemon_process import DaemonProcess
from tests.proof.figures import Recovery, Start, save
from tests.proof.stamp import Stamp, stamp, still
from tradefan.units import parse_iso

COUNT, LARGE = 20, 5


def run(place: Path, count: int, large: int, say: Callable[[str], None]) -> None:
    """Kill a daemon that trades so many times, start one behind a large journal so many times."""
    begun = stamp(f"python -m tests.proof recovery --starts {count} --large {large}", place)
    with TemporaryDirectory() as folder:
        figures = measure(begun, Path(folder), count, large, say)
    still(begun, place)
    save(place, figures)


def measure(begun: Stamp, folder: Path, count: int, large: int, say: Callable[[str], None]) -> Recovery:
    """Return the figures of both."""
    (folder / "plain").mkdir()
    plain, orders, fills = plain_starts(folder / "plain", count)
    say(f"{count} starts behind kill -9: ready in {median(one.ready_s for one in plain):.2f} s")
    (folder / "large").mkdir()
    with behind_large_journal(folder / "large", ROWS, RESTING) as daemon:
        say(f"a journal of {ROWS} rows is built")
        daemon.start().until(lambda: store_follows(daemon), 300)
        daemon.close()
        starts = tuple(large_start(daemon, number) for number in range(large))
    return Recovery(
        stamp=begun,
        plain=plain,
        plain_orders=orders,
        plain_fills=fills,
        large=starts,
        rows=ROWS,
        resting=RESTING,
    )


def plain_starts(folder: Path, count: int) -> tuple[tuple[Start, ...], int, int]:
    """Kill a daemon while a client trades, and start it again; what each kill leaves has to be in order."""
    daemon, dice, starts = DaemonProcess(folder, *SETS), random.Random(2), []
    try:
        daemon.start().until_ready()
        load = Load(daemon, 2).start()
        for _ in range(count):
            parent = rest(daemon)
            time.sleep(dice.uniform(0.5, 3.0))
            daemon.end(signal.SIGKILL)
            venue, journal = files(daemon)
            check_any_instant(venue, journal, dict(load.answered))
            starts.append(plain_start(daemon, parent))
        load.stop()
        daemon.end(signal.SIGKILL)
        venue, journal = files(daemon)
        check_any_instant(venue, journal, load.answered)
    finally:
        daemon.close()
    return tuple(starts), len(venue.orders), len(venue.trades)


def rest(daemon: DaemonProcess) -> str:
    """Place an order that the load does not touch, and return its parent when it rests."""
    bid = float(next(feed["bid"] for feed in daemon.status()["feeds"] if "BTC" in feed["instrument"]))
    wish = {"symbol": "BTC/USDT", "side": "buy", "quantity": "0.001", "algo": "limit"}
    code, order = daemon.ask("/api/v1/orders", {**wish, "limit_price": f"{bid * 0.985:.0f}"})
    assert code == 201, order
    path = f"/api/v1/orders/{order['parent_id']}"
    daemon.until(lambda: [one["status"] for one in daemon.ask(path)[1]["children_orders"]] == ["NEW"], 10)
    return str(order["parent_id"])


def plain_start(daemon: DaemonProcess, parent: str) -> Start:
    """Start; cancel as soon as that is possible, and wait until everything is ready."""
    exec_ns = time.time_ns()
    daemon.start()
    at_ns = (
        when(daemon, partial(cancels, daemon, parent)),
        when(daemon, lambda: oms(daemon) == "READY"),
        when(daemon, lambda: daemon.ask("/ready")[0] == 200),
    )
    exec_s = before(daemon, exec_ns)
    cancel_s, ready_s, live_s = (round((one - exec_ns) / NS - exec_s, 2) for one in at_ns)
    return Start(round(exec_s, 2), cancel_s, ready_s, live_s, memory(daemon) >> 20)


def large_start(daemon: DaemonProcess, number: int) -> Start:
    """Start behind the large journal."""
    exec_ns = time.time_ns()
    cancel_s, ready_s, peak = start_again(daemon, number)
    exec_s = before(daemon, exec_ns)
    return Start(round(exec_s, 2), round(cancel_s, 2), round(ready_s, 2), None, peak >> 20)


def before(daemon: DaemonProcess, exec_ns: int) -> float:
    """Return the seconds from the exec to the first line of the log."""
    lines = [line for line in daemon.log() if line["event"] == "starting"]
    return (parse_iso(lines[-1]["ts"]) - exec_ns) / NS
