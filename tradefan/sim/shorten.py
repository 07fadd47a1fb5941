"""A failing seed's list of faults made shorter: kinds are dropped until every one that is left is needed.

Each kind has its own streams of chance, so a run without one is the same world but for it. The work is
bounded by the number of runs, not by a clock: the same seed is shortened alike on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

RUNS_MAX = 30
"""At about two seconds a run, a minute."""

Fails = Callable[[Sequence[str]], bool]
"""Runs the seed with these kinds; True when it fails as before."""


def shorten(kinds: Sequence[str], fails: Fails, runs_max: int = RUNS_MAX) -> tuple[str, ...]:
    """Return a part of `kinds` with which the seed still fails; shortest when the runs suffice.

    Halves are tried before single kinds, as in Zeller's delta debugging (2002).
    """
    left, parts, runs = list(kinds), 2, 0
    while left and runs < runs_max:
        size = -(-len(left) // parts)
        for start in range(0, len(left), size):
            if runs >= runs_max:
                break
            rest = [*left[:start], *left[start + size :]]
            runs += 1
            if fails(rest):
                left, parts = rest, max(2, parts - 1)
                break
        else:
            if size == 1:
                break
            parts = min(len(left), 2 * parts)
    return tuple(left)
