"""What came of seeds: one outcome each, their sum, and the coverage matrix fault kind x order state."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct, field

from tradefan.sim.faults import KINDS
from tradefan.sim.witness import Violation
from tradefan.units import HOUR

COLUMNS = (
    "NONE",
    "PENDING_NEW",
    "NEW",
    "PARTIALLY_FILLED",
    "PENDING_CANCEL",
    "PENDING_REPLACE",
    "IN_DOUBT_CREATE",
    "IN_DOUBT_CANCEL",
    "IN_DOUBT_REPLACE",
    "DOWN",
)
"""States of our orders in which a fault may find us; `DOWN`: the order manager did not run."""
_SHOWN = (
    "none",
    "pend.new",
    "new",
    "partial",
    "pend.can",
    "pend.rep",
    "?create",
    "?cancel",
    "?replace",
    "down",
)


class Outcome(Struct, frozen=True):
    """What came of one seed."""

    seed: int
    trace: str
    violation: Violation | None
    simulated_ns: int
    liar: bool = False
    orders: int = 0
    fills: int = 0
    crashes: int = 0
    starts: int = 0
    steps: int = 0
    faults: dict[str, int] = {}
    refused: dict[str, int] = {}
    """Writes that the link did not let through, by reason."""
    coverage: dict[str, dict[str, int]] = {}
    cpu_s: float = 0.0
    """What the seed cost its process."""
    happened: tuple[str, ...] = ()
    """Of a seed that failed: its single faults up to then, as `sim.only` names them."""


class Summary(Struct):
    """The sum of many outcomes."""

    seeds: int = 0
    liars: int = 0
    simulated_ns: int = 0
    orders: int = 0
    fills: int = 0
    crashes: int = 0
    starts: int = 0
    steps: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    coverage: dict[str, dict[str, int]] = field(default_factory=dict)
    violations: list[dict[str, Any]] = field(default_factory=list)
    slowest: int = 0
    slowest_s: float = 0.0
    """The seed that cost most computing, and how much."""

    def add(self, one: Outcome) -> None:
        """Add an outcome."""
        self.seeds += 1
        self.liars += one.liar
        for name in ("simulated_ns", "orders", "fills", "crashes", "starts", "steps"):
            setattr(self, name, getattr(self, name) + getattr(one, name))
        if one.cpu_s > self.slowest_s:
            self.slowest, self.slowest_s = one.seed, one.cpu_s
        for sums, counts in ((self.faults, one.faults), (self.refused, one.refused)):
            for word, count in counts.items():
                sums[word] = sums.get(word, 0) + count
        for kind, row in one.coverage.items():
            columns = self.coverage.setdefault(kind, {})
            for column, count in row.items():
                columns[column] = columns.get(column, 0) + count
        if one.violation is not None:
            self.violations.append(
                {
                    "seed": one.seed,
                    "invariant": one.violation.invariant,
                    "expected": one.violation.expected,
                    "found": one.violation.found,
                }
            )

    def silent(self) -> list[str]:
        """Return the kinds of faults that never struck."""
        return [kind for kind in KINDS if not self.faults.get(kind)]

    def lines(self) -> Iterable[str]:
        """Give the report as lines of text."""
        yield (
            f"seeds {self.seeds} ({self.liars} with a liar), simulated {self.simulated_ns / HOUR:.1f} h, "
            f"orders {self.orders}, fills {self.fills}, crashes {self.crashes}, starts {self.starts}, "
            f"faults {sum(self.faults.values())}, violations {len(self.violations)}"
        )
        yield f"slowest seed {self.slowest}: {self.slowest_s:.1f} s of computing"
        reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(self.refused.items()))
        yield f"writes that the link refused: {reasons or 'none'}"
        if self.coverage:
            yield from matrix(self.faults, self.coverage)


def matrix(faults: dict[str, int], coverage: dict[str, dict[str, int]]) -> Iterable[str]:
    """Give the coverage matrix: how often a kind found an order of ours in a state."""
    yield f"{'fault':22}{'count':>8}" + "".join(f"{name:>9}" for name in _SHOWN)
    for kind in KINDS:
        if kind in faults:
            row = coverage.get(kind, {})
            yield f"{kind:22}{faults[kind]:>8}" + "".join(f"{row.get(name, 0):>9}" for name in COLUMNS)
    others = sorted(kind for kind in faults if kind not in KINDS)
    for kind in others:
        yield f"{kind:22}{faults[kind]:>8}  (no kind of the list)"
