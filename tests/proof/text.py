"""Numbers and tables as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence


def rows(head: Sequence[str], body: Iterable[Sequence[str]]) -> Iterator[str]:
    """Give a table; an upright line inside a cell would end it."""
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in body:
        yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |"
    yield ""


def count(number: float) -> str:
    """Return a whole number with marks at its thousands."""
    return f"{number:,.0f}"


def share(part: float, whole: float) -> str:
    """Return a part in percent, never rounded up to all of it."""
    return f"{math.floor(part / whole * 1000) / 10:.1f} %"


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that so many percent of them do not exceed (nearest rank)."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(percent / 100 * len(ranked)) - 1)]


def spread(values: Sequence[float], digits: int) -> str:
    """Return p50, p99 and max of values."""
    p50, p99 = percentile(values, 50), percentile(values, 99)
    return f"p50 {p50:.{digits}f}, p99 {p99:.{digits}f}, max {max(values):.{digits}f}"
