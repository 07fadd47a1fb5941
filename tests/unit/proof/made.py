"""Figures as parts of the proof would have left them."""

from __future__ import annotations

from tests.mutants.run import Result
from tests.proof.figures import (
    Broken,
    Chunk,
    Kills,
    Mutants,
    Proof,
    Recovery,
    Seeds,
    Start,
    Strikes,
)
from tests.proof.seeds import HOURS
from tests.proof.stamp import Machine, Stamp
from tradefan.units import HOUR

ONE, OTHER = "1" * 40, "2" * 40
HERE = Machine(2, "a processor", "3.11.7", "3.54.1")


def stamped(commit: str = ONE, date: str = "2026-11-29", on: Machine = HERE) -> Stamp:
    return Stamp(commit, date, on, "python -m tests.proof PART")


def chunk(first: int, last: int, commit: str = ONE, *violations: Broken) -> Chunk:
    """Ten orders a seed, one strike of `bust` each."""
    count = last - first + 1
    return Chunk(
        stamp=stamped(commit),
        first=first,
        last=last,
        hours=HOURS,
        trace="ab",
        liars=0,
        simulated_ns=count * HOUR // 7,
        orders=10 * count,
        fills=8 * count,
        crashes=count,
        starts=2 * count,
        faults={"bust": Strikes(count, count, 0, 0, 0)},
        violations=violations,
        slowest=first,
        slowest_s=1.5,
    )


def mutant(name: str, *, killed: bool = True) -> Result:
    return Result(
        name=name,
        mistake="drops a fill | and more",
        invariants=("I-06", "I-05"),
        verdict="killed" if killed else "survived",
        killed_by="I-06" if killed else "",
        seed=3 if killed else 0,
        core_s=12.0,
    )


def kills(behind: int = 0) -> Kills:
    times = tuple(float(one) for one in range(1, 201))
    return Kills(stamped(), times, 199, (1.0, 3.0), (50.0,), 400, 70, behind)


def whole() -> Proof:
    """Every part has run."""
    start = Start(0.6, 0.2, 0.5, 10.1, 80)
    return Proof(
        seeds=Seeds((chunk(1, 250), chunk(251, 500))),
        mutants=Mutants(stamped(), 300.0, (mutant("dropped"), mutant("silent", killed=False))),
        kills=kills(),
        recovery=Recovery(stamped(), (start,), 300, 100, (Start(0.6, 0.3, 0.4, None, 99),), 1_000_000, 500),
    )
