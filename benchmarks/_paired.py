"""Statistics of paired differences: mean, sd, and a bootstrap interval by a fixed seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

RESAMPLES = 10_000
SEED = 1
GROUPS_MIN = 10
"""A bootstrap of fewer knows too little of what may happen."""


class Paired(Struct, frozen=True):
    """Differences to another order in bps, below zero where it cost less; 95 % of resamples lie between."""

    n: int
    groups: int
    mean: float
    sd: float
    low: float
    high: float

    @property
    def word(self) -> str:
        """What may be said: nothing where the interval includes 0, or of a few windows."""
        if self.groups < GROUPS_MIN:
            return "too few to say"
        if self.low <= 0 <= self.high:
            return "no difference shown"
        return "cheaper" if self.high < 0 else "dearer"


def paired(differences: Sequence[float], groups: Sequence[int] | None = None) -> Paired:
    """Return the statistics; whole `groups` are drawn where differences of one group belong together."""
    values = np.asarray(differences, dtype=float)
    assert len(values) > 1, "expected more than one difference"
    names = np.arange(len(values)) if groups is None else np.asarray(groups)
    sums, counts = (
        np.array([part(values[names == name]) for name in np.unique(names)]) for part in (np.sum, np.size)
    )
    random = np.random.default_rng(SEED)
    drawn = random.integers(0, len(sums), (RESAMPLES, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return Paired(
        len(values), len(sums), float(values.mean()), float(values.std(ddof=1)), float(low), float(high)
    )


class Known(Struct, frozen=True):
    """The mean of what is known, and of how many that is."""

    n: int
    mean: float | None

    def __str__(self) -> str:
        return f"{shown(self.mean)}/{self.n}"


def known(values: Sequence[float | None]) -> Known:
    """Return the mean of what is known."""
    found = [value for value in values if value is not None]
    return Known(len(found), sum(found) / len(found) if found else None)


def mean(values: Sequence[float | None]) -> float | None:
    """Return the same without its number."""
    return known(values).mean


def shown(value: float | None, places: int = 2) -> str:
    """Return a number for a table."""
    return "-" if value is None else f"{value:.{places}f}"
