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
from tests.chaos.history_engine import at_work, check_costs, check_engine, check_groups
from tests.chaos.report import report
from tests.chaos.test_kill_cycles import SETS, files, is_quiet
from tests.integration.daemon_process import DaemonProcess

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

KILLS = 200 if os.environ.get("TRADEFAN_CHAOS") == "whole" else 20
SEED = int(os.environ.get("TRADEFAN_CHAOS_SEED", "1"))
ENDS_S = 60
"""Windows of 12 s, and what a fired stop takes behind that."""
WAIT_S = 180
"""For the market to come to the nearest levels; in 20 s the recording moves by 2 bps, half of the time."""
PLAIN = {"market", "limit", "twap", "vwap", "pov", "iceberg"}
TRIGGERS = {"stop", "stop_limit", "take_profit", "trailing"}
GROUPS = {"oco", "bracket"}


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonProcess]:
    made = DaemonProcess(tmp_path, *SETS)
    yield made
    made.close()


@pytest.mark.failure("ST-01", "ST-02")
def test_daemon_when_killed_while_every_algorithm_works_then_each_keeps_its_quantity_and_its_window(
    daemon: DaemonProcess,
) -> None:
    """Nothing above its quantity or its group's, outside of its window, or fired twice; and all of it works.

    Each kind of trigger has fired, and legs of an oco and of a bracket have traded: the last rounds, which
    nobody kills, go on until they have.
    """
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
        check_groups(venue, journal)
        daemon.start().until_ready()
    before = at_work(journal)
    missing = (TRIGGERS | GROUPS) - before

    def have_worked() -> bool:
        missing.difference_update(load.at_work())
        if missing:
            load.submit()
        return not missing

    load.submit()
    daemon.until(have_worked, WAIT_S)
    daemon.until(load.is_over, ENDS_S)
    daemon.until(lambda: is_quiet(daemon), ENDS_S)
    assert daemon.end(signal.SIGTERM)[0] == 0, daemon.console()
    venue, journal = files(daemon)
    check_any_instant(venue, journal, load.answered)
    check_quiet(venue, journal)
    check_groups(venue, journal)
    parents, costs = check_engine(journal), check_costs(journal)
    assert KINDS.keys() - {ref.rpartition(" ")[0] for ref in load.answered} == set(), load.refused
    placed = Counter(parents[row[5]].order[8] for row in journal.of("Intent"))
    assert placed.keys() >= PLAIN | TRIGGERS
    assert at_work(journal) >= TRIGGERS | GROUPS
    assert daemon.run("journal", "verify").returncode == 0
    report(
        "C-01",
        kills=KILLS,
        parents=len(parents),
        refused=len(load.refused),
        children=dict(placed),
        fills=len(venue.trades),
        triggered=sum(1 for _ in journal.of("Triggered")),
        worked_under_kills=sorted(before),
        costs=costs,
    )
