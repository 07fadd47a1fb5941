"""Reducing a failing seed: span, kinds and single faults, by runs that break the same invariant."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tradefan.sim.options import T0
from tradefan.sim.reduce import FOREVER, LATER_NS, Reduced, reduce
from tradefan.sim.report import Outcome
from tradefan.sim.shorten import Budget
from tradefan.sim.witness import DEFECT, Violation
from tradefan.units import SECOND

HAPPENED = ("stall:0", "kill:0", "stall:1", "ban:0", "kill:1", "halt:0", "fee_quote")
BROKEN = Violation("I-01", T0 + 9 * SECOND, "one", "two")


class World:
    """A world in which faults come up by their words alone; `breaks` says which invariant breaks, if any."""

    def __init__(
        self,
        breaks: Callable[[float, set[str]], str | None],
        found: Callable[[set[str]], str] = lambda _: "two",
    ) -> None:
        self.breaks = breaks
        self.found = found
        self.whole = BROKEN
        self.asked: list[tuple[float, tuple[str, ...], int]] = []

    def __call__(self, hours: float, words: Sequence[str], until_ns: int) -> Outcome:
        self.asked.append((hours, tuple(words), until_ns))
        came_up = tuple(one for one in HAPPENED if one in words or one.partition(":")[0] in words)
        invariant = self.breaks(hours, set(came_up))
        violation = (
            None if invariant is None else Violation(invariant, BROKEN.at_ns, "one", self.found(set(came_up)))
        )
        return Outcome(1, "", violation, (10 + len(came_up)) * SECOND, happened=came_up)

    def reduced(self, hours: float = 0.14, runs_max: int = 1_000) -> Reduced:
        """Reduce what all faults together break."""
        whole = Outcome(1, "", self.whole, 99 * SECOND, happened=HAPPENED)
        return reduce(whole, hours, self, Budget(runs_max, 1e9))


def test_reduce_when_two_faults_are_needed_then_they_are_left_in_the_shortest_span() -> None:
    """Single faults of a kind, too, and one that holds all the time."""
    world = World(
        lambda hours, words: "I-01" if hours >= 0.09 and {"stall:1", "fee_quote"} <= words else None
    )
    assert world.reduced() == Reduced(0.09, ("stall:1", "fee_quote"), BROKEN)


def test_reduce_when_another_invariant_breaks_then_that_is_no_failure() -> None:
    """It would be another finding, perhaps that of a world which is broken without its faults."""
    world = World(lambda _hours, words: "I-01" if "ban:0" in words else "I-36")
    assert world.reduced().only == ("ban:0",)


def test_reduce_when_another_exception_ends_it_then_that_is_no_failure() -> None:
    """All exceptions stand under one word; two of a name may be about different values."""
    world = World(
        lambda _hours, _words: DEFECT,
        lambda words: f"File one\nKeyError: {len(words)}" if "ban:0" in words else "File two\nOSError: 1",
    )
    world.whole = Violation(DEFECT, BROKEN.at_ns, "no exception", "File one\nKeyError: 99\n")
    reduced = world.reduced()
    assert (reduced.only, reduced.violation.found) == (("ban:0",), "File one\nKeyError: 1")


def test_reduce_when_fewer_faults_do_in_a_shorter_span_then_that_is_found_last() -> None:
    """A span that only the short list allows lets go what only the long span needed."""

    def breaks(hours: float, words: set[str]) -> str | None:
        if hours > 0.1:
            return "I-01" if {"stall:0", "kill:1"} <= words else None
        return "I-01" if "stall:0" in words and len(words) <= 2 else None

    assert World(breaks).reduced() == Reduced(0.07, ("stall:0",), BROKEN)


def test_reduce_when_a_run_is_tried_then_it_is_cut_a_little_behind_the_last_failure() -> None:
    """What breaks much later is not waited for; the fewer faults, the shorter the runs."""
    world = World(lambda _hours, words: "I-01" if "kill:0" in words else None)
    world.reduced()
    untils = [until_ns for _, _, until_ns in world.asked]
    first, *_, last = [until_ns for until_ns in untils if until_ns != FOREVER]
    assert (first, last) == (T0 + 99 * SECOND + LATER_NS, T0 + 11 * SECOND + LATER_NS)
    # What is left is held against a whole run each, once.
    assert untils[-1] == FOREVER


def test_reduce_when_there_is_no_run_then_everything_is_left() -> None:
    """The list that failed is the answer until a shorter one has failed, too."""
    assert World(lambda _hours, _words: None).reduced(runs_max=0) == Reduced(0.14, HAPPENED, BROKEN)
    assert World(lambda _hours, _words: "I-01").reduced(0.07, runs_max=1) == Reduced(0.07, (), BROKEN)
