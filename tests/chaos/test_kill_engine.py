"""C-01, every algorithm at work in one daemon: kill -9 at random instants while they trade on paper.

`TRADEFAN_CHAOS=whole` kills 200 times; 20 where it is not set. The files are the truth, as in the other part.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.all_algorithms import KINDS, AllAlgorithms
from tests.chaos.history import check_any_instant, check_quiet
from tests.chaos.history_engine import check_costs, check_engine
from tests.chaos.report import report
from tests.chaos.test_kill_cycles import SETS, files, is_quiet
from tests.integration.daemon_process import DaemonProcess

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

KILLS = 200 if os.environ.get("TRADEFAN_CHAOS") == "whole" else 20
SEED = int(os.environ.get("TRADEFAN_CHAOS_SEED", "1"))
ENDS_S = 60
"""Windows of 12 s, and what a fired stop takes behind that."""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonProcess]:
    made = DaemonProcess(tmp_path, *SETS)
    yield made
    made.close()


@pytest.mark.failure("ST-01", "ST-02")
def test_daemon_when_killed_while_every_algorithm_works_then_each_keeps_its_quantity_and_its_window(
    daemon: DaemonProcess,
) -> None:
    """One order of each kind at least; nothing above its quantity, outside of its window, or fired twice."""
    dice, load = random.Random(SEED), AllAlgorithms(daemon)
    daemon.start().until_ready()
    daemon.until(load.has_stock, ENDS_S)
    for _ in range(KILLS):
        load.submit()
        time.sleep(dice.uniform(0.0, 2.5))
        assert daemon.end(signal.SIGKILL)[0] == -signal.SIGKILL, daemon.console()
        venue, journal = files(daemon)
        check_any_instant(venue, journal, dict(load.answered))
        check_engine(journal)
        daemon.start().until_ready()
    load.submit()
    daemon.until(load.is_over, ENDS_S)
    daemon.until(lambda: is_quiet(daemon), ENDS_S)
    assert daemon.end(signal.SIGTERM)[0] == 0, daemon.console()
    venue, journal = files(daemon)
    check_any_instant(venue, journal, load.answered)
    check_quiet(venue, journal)
    parents, costs = check_engine(journal), check_costs(journal)
    assert {kind for kind in KINDS if f"{kind} 1" not in load.answered} == set(), load.refused
    placed = Counter(parents[row[5]].order[8] for row in journal.of("Intent"))
    assert placed.keys() >= {"market", "limit", "twap", "vwap", "pov", "iceberg"}
    assert daemon.run("journal", "verify").returncode == 0
    report(
        "C-01",
        kills=KILLS,
        parents=len(parents),
        refused=len(load.refused),
        children=dict(placed),
        fills=len(venue.trades),
        triggered=sum(1 for _ in journal.of("Triggered")),
        costs=costs,
    )
