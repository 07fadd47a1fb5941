"""Whole seeds, short ones: the world runs, dies, heals, repeats, and says what breaks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from tradefan.drivers.machines import TimedMachine
from tradefan.errors import Defect, Refused
from tradefan.sim import command
from tradefan.sim.checkers.base import Watch
from tradefan.sim.command import Wanted, simulate
from tradefan.sim.report import Outcome
from tradefan.sim.witness import Checker, Kind, Violation, Witness
from tradefan.sim.world import World

SHORT = 0.07
"""Hours: a minute in which things go wrong, three to heal."""
CRASHES = ("crash_effect", "crash_disk", "crash_take", "crash_start", "power_loss")


def run(seed: int, kinds: Sequence[str], checkers: Sequence[Checker] = ()) -> Outcome:
    return World(seed, hours=SHORT, kinds=kinds, all_on=True, checkers=checkers).run()


class NoOrder(Watch):
    """A checker that holds until the first order is written."""

    invariant: str = "I-99"
    kind: Kind = "V"
    watches = ("writes",)

    def after_step(self, seen: Witness) -> Violation | None:
        return self.broken(seen, "no write", len(seen.writes)) if seen.writes else None


class Counts(Watch):
    """Counts how often it is asked, and when."""

    invariant: str = "I-98"
    kind: Kind = "T"
    watches = ("records",)

    def __init__(self) -> None:
        self.steps = self.starts = self.rests = 0

    def after_step(self, seen: Witness) -> Violation | None:
        self.steps += 1
        return None

    def at_start(self, seen: Witness) -> Violation | None:
        self.starts += 1
        assert seen.oms is not None
        return None

    def at_rest(self, seen: Witness) -> Violation | None:
        self.rests += 1
        assert seen.healed_ns is not None
        return None


def test_world_when_its_time_is_over_then_it_is_broken_off_and_shows_nothing() -> None:
    """A run that takes too long for whoever waits for it, wherever it stands."""
    asked = iter([False] * 5)
    world = World(1, hours=SHORT, kinds=(), checkers=(Counts(),))
    outcome = world.run(over=lambda: next(asked, True))
    assert outcome.violation is None
    assert 0 < outcome.simulated_ns < world.options.fault_ns


def test_world_when_nothing_goes_wrong_then_it_trades_and_one_process_lives() -> None:
    """The load alone brings orders and fills."""
    outcome = run(1, ())
    assert outcome.violation is None
    assert (outcome.crashes, outcome.starts, outcome.faults) == (0, 1, {})
    assert outcome.orders > 15
    assert outcome.fills > 0


def test_world_when_it_crashes_then_a_new_process_goes_on() -> None:
    """Every death is followed by a start, and the checkers are asked at each."""
    counts = Counts()
    outcome = run(2, CRASHES, (counts,))
    assert outcome.violation is None
    assert outcome.crashes >= 2
    assert outcome.starts > outcome.crashes
    assert 2 <= counts.starts <= outcome.starts
    assert counts.rests == 1
    assert counts.steps < outcome.steps


@pytest.mark.slow
def test_world_when_the_seed_is_the_same_then_the_trace_is() -> None:
    """Another list of faults is another run."""
    first, again, other = (run(3, kinds).trace for kinds in (CRASHES, CRASHES, ()))
    assert first == again != other


def test_world_when_an_invariant_breaks_then_the_seed_ends_with_both_values() -> None:
    """The first violation is the outcome."""
    outcome = run(1, (), (NoOrder(),))
    assert outcome.violation is not None
    assert (outcome.violation.invariant, outcome.violation.expected, outcome.violation.found) == (
        "I-99",
        "no write",
        "1",
    )
    assert outcome.simulated_ns < 60_000_000_000


def test_world_when_no_process_can_start_any_more_then_the_refusal_is_in_the_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever reads it learns what a journal that is refused has lost."""
    world = World(1, hours=SHORT, kinds=())

    def open_(_skew_ns: int, _now_ns: int) -> dict[str, TimedMachine]:
        raise Refused("JOURNAL_DAMAGED", "rows are missing")

    monkeypatch.setattr(world.rack, "open", open_)
    violation = world.run().violation
    assert violation is not None
    assert violation.invariant == "I-36"
    assert violation.found.startswith("none, the last start refused by ")
    assert "rows are missing" in violation.found


def test_world_when_something_raises_then_the_outcome_says_so() -> None:
    """An exception that nobody expected is a finding with its seed, not a crash of the simulator."""

    class Raises(NoOrder):
        def after_step(self, seen: Witness) -> Violation | None:
            raise LookupError("a checker's own mistake")

    outcome = run(1, (), (Raises(),))
    assert outcome.violation is not None
    assert outcome.violation.invariant == "DEFECT"
    assert "a checker's own mistake" in outcome.violation.found


def test_simulate_when_a_seed_fails_then_it_says_what_and_how_to_repeat_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Seed, invariant with both values, the faults that it needs, the one command, and its test."""
    monkeypatch.setattr(command, "all_checkers", lambda: [NoOrder()])
    said: list[str] = []
    summary, trace = simulate(Wanted((5,), SHORT, "stall,opening", pin=tmp_path), said.append)
    assert [one["invariant"] for one in summary.violations] == ["I-99"]
    cost = said[1].rpartition(" (")[2]
    assert said == [
        f"seed 5: I-99 at {said[0].split()[4]} ns: expected no write, found 1",
        f"  needs 0 of 1 faults ({cost}",
        "  tradefan simulate --seed 5 --hours 0.07 --faults stall,opening --only none",
        f"  pinned by {tmp_path}/test_seed_5_i_99.py",
    ]
    assert len(trace) == 64


class FewCrashes(Watch):
    """A checker that holds until the second crash."""

    invariant: str = "I-97"
    kind: Kind = "V"
    watches = ("faults",)

    def after_step(self, seen: Witness) -> Violation | None:
        crashes = sum(one.kind.startswith("crash_") for one in seen.faults)
        return self.broken(seen, "one crash", crashes) if crashes > 1 else None


@pytest.mark.slow
def test_simulate_when_more_seeds_fail_than_are_reduced_then_the_others_are_named_with_their_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Hundreds of failing seeds would take a day."""
    monkeypatch.setattr(command, "all_checkers", lambda: [FewCrashes()])
    monkeypatch.setattr(command, "REDUCED_MAX", 1)
    said: list[str] = []
    wanted = Wanted((1, 3), SHORT, "crash_effect,crash_start,stall", pin=tmp_path)
    summary, _ = simulate(wanted, said.append)
    assert [one["seed"] for one in summary.violations] == [1, 3]
    assert said[1].startswith("  needs 2 of ")
    assert said[2].endswith(" --only 'crash_effect:100 crash_start:0'")
    assert said[-1] == (
        "  not reduced: tradefan simulate --seed 3 --hours 0.07 --faults crash_effect,crash_start,stall"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["test_seed_1_i_97.py"]


@pytest.mark.slow
def test_simulate_when_processes_share_the_seeds_then_the_outcome_is_the_same() -> None:
    """Seeds come back in their order, whoever ran them."""
    seeds = tuple(range(1, 4))
    alone, two = (simulate(Wanted(seeds, SHORT, "none", jobs=jobs), lambda _line: None) for jobs in (1, 2))
    for summary, _ in (alone, two):
        summary.slowest_s, summary.slowest = 0.0, 0
    assert alone == two


def die(_seed: int) -> bytes:
    """Stand for a seed that hangs until its process is ended."""
    os._exit(1)


@pytest.mark.slow
def test_simulate_when_a_process_dies_then_it_says_so_and_does_not_wait() -> None:
    """Memory ran out, or a seed hung: nobody waits for an outcome that never comes."""
    with pytest.raises(Defect, match="the process of seed 7, or of one of the 1 behind it, died"):
        list(command._in_order(die, (7, 8), jobs=2))
