"""A failing seed made small: the shortest span, then the kinds, then the single faults that it needs.

A run counts as failing when it breaks the same invariant, or where an exception ended it when one of the
same name does; it is not followed for long behind the instant at which that was so before, until the list
is short: then each fault that is left is tried once more in a run that goes to its end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from msgspec import Struct

from tradefan.sim.only import kind_of
from tradefan.sim.options import T0
from tradefan.sim.report import Outcome
from tradefan.sim.shorten import Budget, shorten
from tradefan.sim.witness import DEFECT, Violation
from tradefan.units import SECOND

RUNS_MAX = 250
"""At about a second a run it ends before the clock does."""
FOREVER = 1 << 62
LATER_NS = 10 * SECOND
"""So much later than before an invariant may break: with fewer faults all comes a little later, or sooner."""
STEPS_AN_HOUR = 100
"""Spans are tried in whole hundredths of an hour."""
STEPS_MIN = 7
"""A minute with faults and three to heal; no world is shorter."""

Trial = Callable[[float, Sequence[str], int], Outcome]
"""Runs the seed for so many hours with these faults only, at most until an instant."""


class Reduced(Struct, frozen=True):
    """What a failing seed needs."""

    hours: float
    only: tuple[str, ...]
    violation: Violation


def reduce(outcome: Outcome, hours: float, trial: Trial, budget: Budget) -> Reduced:
    """Return what is enough to let a failing seed fail; each fault is needed unless the budget is spent."""
    return _Search(outcome, hours, trial, budget).run()


class _Search:
    """The smallest failing run so far."""

    def __init__(self, outcome: Outcome, hours: float, trial: Trial, budget: Budget) -> None:
        assert outcome.violation is not None
        self.violation = outcome.violation
        self.hours = hours
        self.only = outcome.happened
        self._ended_ns = T0 + outcome.simulated_ns
        self._trial = trial
        self._budget = budget
        self._patient = False

    def run(self) -> Reduced:
        """Go on until nothing becomes shorter: in a shorter span fewer faults may do, and the reverse."""
        self._shorten_span()
        shorten(tuple(dict.fromkeys(map(kind_of, self.only))), self._kinds, self._budget)
        shorten(self.only, self._faults, self._budget)
        while self._shorten_span():
            shorten(self.only, self._faults, self._budget)
        self._patient = True
        shorten(self.only, self._faults, self._budget)
        return Reduced(self.hours, self.only, self.violation)

    def _kinds(self, kinds: Sequence[str]) -> Sequence[str] | None:
        return tuple(dict.fromkeys(map(kind_of, self.only))) if self._fails(self.hours, kinds) else None

    def _faults(self, words: Sequence[str]) -> Sequence[str] | None:
        return self.only if self._fails(self.hours, words) else None

    def _fails(self, hours: float, words: Sequence[str]) -> bool:
        """Try, and keep what fails: a list is shorter by what did not come up, too."""
        until_ns = FOREVER if self._patient else self._ended_ns + LATER_NS
        outcome = self._trial(hours, words, until_ns)
        found = outcome.violation
        if found is None or _what(found) != _what(self.violation):
            return False
        self.hours, self.only, self.violation = hours, outcome.happened, found
        self._ended_ns = T0 + outcome.simulated_ns
        return True

    def _shorten_span(self) -> bool:
        """Look for a shorter span by halves; say whether there was one."""
        before, low, high = self.hours, STEPS_MIN, math.ceil(round(self.hours * STEPS_AN_HOUR, 6))
        while low < high and self._budget.take():
            middle = (low + high) // 2
            if self._fails(middle / STEPS_AN_HOUR, self.only):
                high = middle
            else:
                low = middle + 1
        return self.hours < before


def _what(violation: Violation) -> tuple[str, str]:
    """Return what broke; of an exception that nobody caught its name, which its last line begins with."""
    lines = violation.found.strip().splitlines() if violation.invariant == DEFECT else []
    return violation.invariant, lines[-1].partition(":")[0] if lines else ""
