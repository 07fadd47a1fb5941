"""A list that fails made shorter: what is left is needed, as far as runs and time allow.

Delta debugging by complements, as in Zeller and Hildebrandt (2002): large parts are left out first, then
smaller ones, at last single items, until no single one can be left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


class Budget:
    """The runs and seconds that there are; a run that would not end in time is not begun.

    The number of runs is there so that a seed is shortened alike on every machine that is fast enough.
    """

    def __init__(
        self,
        runs_max: int,
        seconds: float,
        *,
        longest_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin to count; `longest_s` is what a run takes, as far as that is known."""
        self.runs = 0
        self.spent = False
        """Whether something was left undone."""
        self._runs_max = runs_max
        self._clock = clock
        self._begun_s = self._run_s = clock()
        self._end_s = self._begun_s + seconds
        self._longest_s = longest_s

    def take(self) -> bool:
        """Say whether there is another run, and count it as begun."""
        now_s = self._clock()
        if self.runs:
            self._longest_s = max(self._longest_s, now_s - self._run_s)
        if self.runs >= self._runs_max or now_s + self._longest_s > self._end_s:
            self.spent = True
            return False
        self.runs, self._run_s = self.runs + 1, now_s
        return True

    def over(self) -> bool:
        """Say whether the time is over: a run that takes longer than any before it is broken off."""
        over = self._clock() > self._end_s
        self.spent = self.spent or over
        return over

    @property
    def seconds(self) -> float:
        """How long it has been."""
        return self._clock() - self._begun_s


def shorten(
    items: Sequence[T], fails: Callable[[Sequence[T]], Sequence[T] | None], budget: Budget
) -> tuple[T, ...]:
    """Return a part of `items` that fails; none of them can be left out unless the budget is spent.

    `fails` runs with a part and returns what of it came up, which fails alike; None when it does not fail.
    """
    left = tuple(items)
    if not left or not budget.take():
        return left
    found = fails(())
    if found is not None:
        return ()
    size = (len(left) + 1) // 2
    while left:
        before, start = left, 0
        while start < len(left):
            if not budget.take():
                return left
            found = fails(left[:start] + left[start + size :])
            if found is None:
                start += size
            else:
                left = tuple(found)
        if size == 1 and left == before:
            break
        size = max(1, min(size, len(left)) // 2)
    return left
