"""The part `seeds`: worlds with all faults, chunk by chunk, each stored as it ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from tests.proof.figures import Broken, Chunk, Seeds, Strikes, added, gaps, load, pieces, save
from tests.proof.stamp import Stamp, is_kept, stamp, still
from tradefan.errors import Refused
from tradefan.sim.command import PINNED, Wanted, simulate
from tradefan.sim.faults import KINDS
from tradefan.sim.report import Summary

HOURS = 0.1
"""Simulated time of a seed; CI runs the same."""
COUNT, CHUNK = 5_000, 250


class Asked(Struct, frozen=True):
    """Which seeds, and how."""

    first: int = 1
    count: int = COUNT
    hours: float = HOURS
    jobs: int = 2
    chunk: int = CHUNK


def run(place: Path, asked: Asked, say: Callable[[str], None]) -> None:
    """Run what is missing of these seeds at this code.

    Raises:
        Refused: OTHER_HOURS, where the page would have worlds of another length.
    """
    if asked.hours != HOURS and is_kept(place):
        raise Refused(
            "OTHER_HOURS", f"expected seeds of {HOURS} h, got {asked.hours:g}; name another --place"
        )
    command = _command(asked)
    begun = stamp(command, place)
    seeds = load(place, Seeds) or Seeds()
    missing = gaps(asked.first, asked.count, asked.hours, begun.commit, seeds.chunks)
    for first, last in pieces(missing, asked.chunk):
        say(f"seeds {first}-{last}")
        wanted = Wanted(tuple(range(first, last + 1)), asked.hours, jobs=asked.jobs, pin=PINNED)
        summary, trace = simulate(wanted, say)
        # The day on which it ended; and what ran must still be what is stored as having run.
        ended = stamp(command, place)
        still(begun, place)
        # Read anew: another range may be running beside this one, and stores its chunks, too.
        stored = load(place, Seeds) or Seeds()
        save(place, added(stored, chunk_of(ended, (first, last), asked.hours, summary, trace)))


def chunk_of(ended: Stamp, seeds: tuple[int, int], hours: float, summary: Summary, trace: str) -> Chunk:
    """Return what is kept of the sum over seeds."""
    faults = {kind: strikes(count, summary.coverage.get(kind, {})) for kind, count in summary.faults.items()}
    return Chunk(
        stamp=ended,
        first=seeds[0],
        last=seeds[1],
        hours=hours,
        trace=trace,
        liars=summary.liars,
        simulated_ns=summary.simulated_ns,
        orders=summary.orders,
        fills=summary.fills,
        crashes=summary.crashes,
        starts=summary.starts,
        faults=dict(sorted(faults.items())),
        violations=tuple(Broken(**one) for one in summary.violations),
        slowest=summary.slowest,
        slowest_s=round(summary.slowest_s, 1),
    )


def silent(seeds: Seeds) -> list[str]:
    """Return the kinds that never struck in the whole range; fewer seeds show nothing of it."""
    if sum(one.seeds for one in seeds.chunks) < COUNT:
        return []
    return [kind for kind in KINDS if not any(kind in one.faults for one in seeds.chunks)]


def strikes(count: int, row: dict[str, int]) -> Strikes:
    """Read a row of the coverage matrix.

    A fault is counted once in each state that an order of ours was in; `NONE` and `DOWN` stand alone. So
    what is in neither met an order, and each doubt is counted by itself.
    """
    doubts = (row.get(f"IN_DOUBT_{what}", 0) for what in ("CREATE", "CANCEL", "REPLACE"))
    return Strikes(count, count - row.get("NONE", 0) - row.get("DOWN", 0), *doubts)


def _command(asked: Asked) -> str:
    words = f"--from {asked.first} --count {asked.count} --hours {asked.hours!r} --jobs {asked.jobs}"
    return f"python -m tests.proof seeds {words}"
