"""C-01: kill -9 at random instants while trading on paper, also during start and recovery.

The paper venue's own file is the truth. `TRADEFAN_CHAOS_CYCLES` says how often; 20 where it is not
set. It does not test fsync: the system keeps what was written when only a process dies.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.history import (
    Journal,
    Venue,
    check_any_instant,
    check_quiet,
    positions,
    read_journal,
    read_venue,
)
from tests.chaos.load import Load
from tests.chaos.report import report
from tests.integration.daemon_process import DaemonProcess

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

CYCLES = int(os.environ.get("TRADEFAN_CHAOS_CYCLES", "20"))
SEED = int(os.environ.get("TRADEFAN_CHAOS_SEED", "1"))
SETS = (
    "strategies.ema_cross_eth=null",
    "venues.binance.tape.history=5s",
    # Slow enough that some request is always on its way.
    "accounts.paper:main.latency=100ms",
    "risk.orders_per_second=1000",
    "api.requests_per_second=1000",
    "telemetry.top=1000",
    "runtime.starts_max=1000000",
    "logs.console=false",
)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonProcess]:
    made = DaemonProcess(tmp_path, *SETS)
    yield made
    made.close()


def files(daemon: DaemonProcess) -> tuple[Venue, Journal]:
    return read_venue(daemon.data / "paper.db"), read_journal(daemon.data / "journal.db")


@pytest.mark.failure("ST-01", "ST-02")
def test_daemon_when_killed_at_random_then_no_order_is_unknown_and_no_fill_lost_or_booked_twice(
    daemon: DaemonProcess,
) -> None:
    """A quarter of the cycles trade first; the others die while they start, or while they recover."""
    dice = random.Random(SEED)
    load = Load(daemon, SEED)
    in_flight: set[str] = set()
    early = 0
    for cycle in range(CYCLES):
        daemon.start()
        if cycle == 0:
            load.start()
        if cycle % 4 == 0:
            daemon.until_ready()
            time.sleep(dice.uniform(0.5, 4.0))
        elif cycle % 4 == 1:
            time.sleep(dice.uniform(0.0, 2.0))
        else:
            daemon.until(lambda: daemon.ask("/health")[0] != 0, 60)
            time.sleep(dice.uniform(0.0, 1.5))
        assert daemon.end(signal.SIGKILL)[0] == -signal.SIGKILL, daemon.console()
        # An answer that is read now was given before the kill, and a request after it finds nobody.
        venue, journal = files(daemon)
        check_any_instant(venue, journal, dict(load.answered))
        assert daemon.run("journal", "verify").returncode == 0
        in_flight |= without_outcome(journal)
        early += not was_ready(daemon)
    assert in_flight
    assert early > 0
    daemon.start().until_ready()
    time.sleep(1)
    load.stop()
    load.settle()
    daemon.until(lambda: is_quiet(daemon), 60)
    daemon.until(lambda: not still_open(daemon, load.cancelled), 40)
    compare_answers(daemon)
    assert daemon.end(signal.SIGTERM)[0] == 0, daemon.console()
    venue, journal = files(daemon)
    check_any_instant(venue, journal, load.answered)
    check_quiet(venue, journal)
    assert venue.open_ids() == set()
    assert daemon.run("journal", "verify").returncode == 0
    report(
        "C-01",
        kills=CYCLES,
        before_ready=early,
        orders=len(venue.orders),
        fills=len(venue.trades),
        records=len(journal.rows),
        in_flight_at_a_kill=len(in_flight),
        answered=len(load.answered),
        refused=load.refused,
        in_doubt=sum(1 for _ in journal.of("InDoubt")),
        resolved=sum(1 for _ in journal.of("Resolved")),
    )


def was_ready(daemon: DaemonProcess) -> bool:
    """Say whether the last life came as far as trading."""
    text = (daemon.data / "logs" / "tradefan.log").read_text()
    return text.rfind('"event":"account_ready"') > text.rfind('"event":"starting"')


def without_outcome(journal: Journal) -> set[str]:
    """Return the orders of which the journal says that they were about to be sent, and nothing more."""
    said = {row[3] for kind in ("Report", "NotSent", "Resolved") for row in journal.of(kind)}
    return journal.intents().keys() - said


def still_open(daemon: DaemonProcess, parents: dict[str, None]) -> set[str]:
    """Return the orders that rest at the venue although somebody was told that they are being cancelled."""
    venue, journal = files(daemon)
    return {name for name in venue.open_ids() if journal.intents()[name][5] in parents}


def is_quiet(daemon: DaemonProcess) -> bool:
    status = daemon.status()
    journal = next(store for store in status["stores"] if store["name"] == "journal")
    working = [one for one in status["orders"]["list"] if one["status"] not in ("NEW", "PARTIALLY_FILLED")]
    return status["orders"]["in_doubt"] == 0 and journal["lsn"] == journal["durable_lsn"] and not working


def compare_answers(daemon: DaemonProcess) -> None:
    """The daemon's word about orders and positions is that of both files, now that nothing is under way."""
    for _ in range(10):
        status = daemon.status()
        venue, journal = files(daemon)
        held = {key: qty for key, qty in positions(journal).items() if key[0] != "external"}
        found: dict[str, Any] = {
            "strangers": {one["client_order_id"] for one in status["orders"]["list"]} - venue.open_ids(),
            "open": status["orders"]["open"],
            "fills": status["fills"]["total"],
            "held": daemon_positions(status),
        }
        true = {"strangers": set(), "open": len(venue.open_ids()), "fills": len(venue.trades), "held": held}
        if found == true:
            return
        # The market goes on: a resting order may have been filled between the two looks.
        time.sleep(0.5)
    assert found == true


def daemon_positions(status: dict[str, Any]) -> dict[tuple[str, str], Any]:
    rows = status["positions"]
    held = {(one["owner"], one["instrument"]): Decimal(one["qty"]) for one in rows}
    return {key: qty for key, qty in held.items() if qty and key[0] != "external"}
