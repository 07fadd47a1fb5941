"""Writes RELIABILITY.md from the promises and from the figures that are stored, and from nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tests.proof.figures import Proof
from tests.proof.promises import Book, Invariant, Promise, checkers, place_of
from tests.proof.seeds import HOURS
from tests.proof.tables import kinds, mutants, ranges, starts, summary
from tests.proof.text import rows

HEAD = """# Reliability

What TradeFan promises today, what guards each promise, and what came of attacking all of them at once.

This page is written by `make proof` and never by hand. The promises stand in `tests/proof/promises.toml`,
the figures in `tests/data/proof/`; a test compares this page with both. Each figure names the commit that
it was measured on, and a part that has not run says so.
"""

SEEDS = """A *seed* is a simulated world of {minutes:.0f} minutes in which the daemon's own code trades while
venue, market, disk, clock and process fail at random. Every invariant below that names a checker is watched
all the time; those that name only tests are checked by these. One seed alone:
`tradefan simulate --seed N --hours {hours:g} --faults all`.
"""

INVARIANTS = """Each is a sentence that always holds. *Checkers* look at the simulated world after every step
that concerns them, or at rest, in every seed; each has been seen failing by a test of its own
(`tests/unit/sim`). A is how long behind an order's deadline the venue may still accept it; V is after what
time its answers show what has happened.
"""

EXPERIMENTS = """Done to real processes: K-01 by `make proof`, the others by `make chaos`, and in a shorter
form by every run of the tests.
"""

FAULTS = """How often each kind of fault struck over all seeds, and how often it met us with an order at work
or in doubt. *In doubt* counts the strikes that met an order of which nobody knew whether it exists, whether
it is cancelled, whether it is replaced. What the kinds do stands in `tradefan/sim/kinds.py` and
`tradefan/sim/faults.py`.
"""

AGAIN = """    make proof                  # all that is not stored for this commit yet; hours
    make proof PART=seeds       # or mutants, kills, recovery, render
    .venv/bin/python -m tests.proof seeds --from 1 --count 300      # --help says the rest

An interrupted run goes on where it was: seeds are stored in chunks of 250, the other parts when they end. The
exit code is 1 where a seed found a violation, a kind of fault never struck in 5,000 seeds, an order was
decided or accepted behind a kill, or fewer than 95 % of the mutants were killed. A failing seed is reduced,
and its test stands in `results/pinned`. Nothing is stored of a tree with changes in it. The commit that is
named is the newest that changed anything but this page and its figures.
"""


def page(book: Book, proof: Proof) -> str:
    """Return the whole page."""
    return "\n".join(_parts(book, proof))


def _parts(book: Book, proof: Proof) -> Iterator[str]:
    yield HEAD
    yield "## Figures\n"
    hours = HOURS if proof.seeds is None else proof.seeds.chunks[-1].hours
    yield SEEDS.format(minutes=60 * hours, hours=hours)
    yield from summary(proof)
    yield "## Promises\n"
    for number, promise in enumerate(book.promises, 1):
        yield from _promise(number, promise)
    yield "## What is not shown\n"
    yield from (f"* {limit}" for limit in book.limits)
    yield ""
    yield "## Invariants\n"
    yield INVARIANTS
    yield from rows(("Id", "What is checked", "Where"), _invariants(book))
    yield "## Experiments\n"
    yield EXPERIMENTS
    told = ((name, one.what, _code(one.tests)) for name, one in book.experiments.items())
    yield from rows(("Id", "What is done, and what has to come of it", "Where"), told)
    yield "## Figures in full\n"
    yield "### Seeds\n"
    yield from ranges(proof.seeds)
    yield "### Faults by kind\n"
    yield FAULTS
    yield from kinds(proof.seeds)
    yield "### Mutants\n"
    yield from mutants(proof.mutants)
    yield "### Starts behind kill -9\n"
    yield from starts(proof.recovery)
    yield "## To repeat it\n"
    yield AGAIN.rstrip("\n") + "\n"


def _promise(number: int, promise: Promise) -> Iterator[str]:
    yield f"### {number}. {promise.title}\n"
    yield f"{promise.text}\n"
    guards = [f"invariants {', '.join(promise.invariants)}"] if promise.invariants else []
    guards += [f"experiments {', '.join(promise.experiments)}"] if promise.experiments else []
    if promise.failures:
        guards.append(f"[failures](docs/failures.md) {', '.join(promise.failures)}")
    guards += [f"tests {_code(promise.tests, ', ')}"] if promise.tests else []
    yield f"Guarded by {'; '.join(guards)}.\n"


def _invariants(book: Book) -> Iterable[tuple[str, str, str]]:
    for name in sorted(book.invariants):
        one = book.invariants[name]
        yield name, one.what, _code((*_places(one), *one.tests))


def _places(invariant: Invariant) -> Iterator[str]:
    known = checkers()
    return (f"{place_of(known[name])}::{name}" for name in invariant.checkers)


def _code(names: Iterable[str], between: str = "<br>") -> str:
    return between.join(f"`{name}`" for name in names)
