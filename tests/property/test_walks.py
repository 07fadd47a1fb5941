"""I1, I4, I5 and that an engine always comes to wait, for every algorithm under anything that may happen.

The rules are in `walker.Walk`: a plain seeded walker takes many steps, hypothesis shrinks what breaks.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.property import walk_speed
from tests.property.walker import Walk
from tests.property.walks import CASES, make
from tradefan.units import MS, SECOND

STEPS = 100_000
"""Of each algorithm, over its cases."""
ROOT = Path(__file__).parents[2]
RARELY_FULL = ("twap, peg", "twap, post-only", "iceberg, peg", "iceberg, limit", "pov", "pov, limit")


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_walk_when_many_things_happen_then_no_invariant_breaks(
    name: str, record_property: Callable[[str, object], None]
) -> None:
    """100,000 steps of each algorithm from fixed seeds, in a process of its own that nothing measures.

    Its speed is printed at the end of the session, and not judged: the machine may have other work.
    """
    alike = [algo for algo, *_ in CASES.values()].count(CASES[name][0])
    command = [sys.executable, "-m", "tests.property.walks", name, str(STEPS // alike)]
    ended = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stderr[-4_000:]
    walks, full, steps_per_s = map(int, ended.stdout.split())
    record_property(walk_speed.NAME, steps_per_s)
    assert walks > 10
    # A walk that never trades would prove nothing.
    assert full or name in RARELY_FULL


@pytest.mark.parametrize("name", CASES)
def test_walk_when_repeated_then_it_is_the_same(name: str) -> None:
    """I6: the same ingress gives the same children."""
    first, second = make(name, 7), make(name, 7)
    first.walk(400)
    second.walk(400)
    assert [vars(kid) for kid in first.kids] == [vars(kid) for kid in second.kids]
    assert first.clips == second.clips


class Machine(RuleBasedStateMachine):
    """The same walk, with hypothesis choosing what happens."""

    case = "twap"
    walk: Walk

    @initialize(seed=st.integers(0, 1_000), sells=st.booleans())
    def begin(self, seed: int, *, sells: bool) -> None:
        """Begin one."""
        self._start(seed, sells=sells)

    @precondition(lambda self: self.walk.over)
    @rule(seed=st.integers(0, 1_000))
    def anew(self, seed: int) -> None:
        """Begin another."""
        self._start(seed, sells=self.walk.side == "buy")

    @precondition(lambda self: not self.walk.over)
    @rule()
    def to_wake(self) -> None:
        """Time goes on to what was asked for."""
        self.walk.to_wake()
        self._after()

    @precondition(lambda self: not self.walk.over)
    @rule(ticks=st.sampled_from([-30, -3, -1, 1, 3, 30]))
    def move(self, ticks: int) -> None:
        """The market moves."""
        self.walk.move_market(ticks)
        self._after()

    @precondition(lambda self: not self.walk.over)
    @rule(lots=st.integers(1, 100))
    def trade(self, lots: int) -> None:
        """Others trade."""
        self.walk.print_trade(lots)
        self._after()

    @precondition(lambda self: not self.walk.over)
    @rule(what=st.sampled_from(["fill_resting", "hear", "doubt_one", "venue_ends_one", "plan_anew"]))
    def venue(self, what: str) -> None:
        """The venue does something."""
        getattr(self.walk, what)()
        self._after()

    @precondition(lambda self: not self.walk.over)
    @rule()
    def trust(self) -> None:
        """The feed is trusted no more, or again."""
        self.walk.trusted = not self.walk.trusted
        self.walk.told = True
        self._after()

    @precondition(lambda self: not self.walk.over)
    @rule(ns=st.sampled_from([10 * MS, SECOND, 20 * SECOND, 90 * SECOND]))
    def wait(self, ns: int) -> None:
        """Time passes."""
        self.walk.pass_time(ns)
        self._after()

    def _start(self, seed: int, *, sells: bool) -> None:
        self.walk = make(self.case, seed, "sell" if sells else "buy")
        self.walk.question()

    def _after(self) -> None:
        self.walk.go_on()
        self.walk.check()


def machine_of(name: str) -> Any:
    """Return the test of a case: 40 runs of 50 steps."""
    made: Any = type(f"Machine of {name}", (Machine,), {"case": name})
    test = made.TestCase
    test.settings = settings(
        max_examples=40, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
    )
    return test


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_machine_when_hypothesis_chooses_then_no_invariant_breaks(name: str) -> None:
    """2,000 steps; what breaks is made small."""
    machine_of(name)("runTest").runTest()
