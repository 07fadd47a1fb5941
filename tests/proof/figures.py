"""The figures that parts of the proof leave: one small file each, of which the page is made.

A seed counts once: a chunk replaces every older one of other code that shares a seed with it. At the same
code it would be the very same run, so that is refused, and `gaps` says what is still to be run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from tests.mutants.run import Result
from tests.proof.stamp import Stamp
from tradefan.errors import Refused

T = TypeVar("T")


class Strikes(Struct, frozen=True, array_like=True):
    """How often a kind of fault struck, and how often it met an order of ours in such a state."""

    count: int
    live: int
    """An order at work or in doubt."""
    create: int
    """An order in doubt whether it exists; the next two: whether it is cancelled, or replaced."""
    cancel: int
    replace: int


class Broken(Struct, frozen=True):
    """A violation that a seed found."""

    seed: int
    invariant: str
    expected: str
    found: str


class Chunk(Struct, frozen=True):
    """A range of seeds that ran at one commit; `trace` is the hash over all their runs."""

    stamp: Stamp
    first: int
    last: int
    hours: float
    trace: str
    liars: int
    simulated_ns: int
    orders: int
    fills: int
    crashes: int
    starts: int
    faults: dict[str, Strikes]
    violations: tuple[Broken, ...]
    slowest: int
    slowest_s: float

    @property
    def seeds(self) -> int:
        """Return how many there are."""
        return self.last - self.first + 1


class Seeds(Struct, frozen=True):
    """All chunks, in the order of their seeds."""

    chunks: tuple[Chunk, ...] = ()


class Mutants(Struct, frozen=True):
    """What became of all mutants; `budget_s` is what each could cost at most."""

    stamp: Stamp
    budget_s: float
    results: tuple[Result, ...]


class Kills(Struct, frozen=True):
    """Kills of a real daemon under load; each list has one entry a kill."""

    stamp: Stamp
    api_ms: tuple[float, ...]
    """From the request to the answer that says closed."""
    persisted: int
    """Answers of the API that said: this outlives the process."""
    signal_ms: tuple[float, ...]
    """From the signal to the byte on the disk."""
    gone_ms: tuple[float, ...]
    """From the acknowledgement until none of our orders rests at the venue."""
    orders: int
    rested: int
    """Orders that rested when a kill came, in all."""
    behind: int
    """Orders that were decided or accepted behind an acknowledgement: there must be none."""


class Start(Struct, frozen=True):
    """A start behind kill -9, in seconds; all but `exec_s` count from the first line of its log."""

    exec_s: float
    """From the start of the process to that line."""
    cancel_s: float
    """The first cancel was taken."""
    ready_s: float
    """The account was reconciled: orders are taken again."""
    live_s: float | None
    """Feeds and strategies were ready, too; None where there is no market."""
    peak_mb: int


class Recovery(Struct, frozen=True):
    """Starts behind kill -9: of a daemon that trades, and behind a large journal."""

    stamp: Stamp
    plain: tuple[Start, ...]
    plain_orders: int
    plain_fills: int
    large: tuple[Start, ...]
    rows: int
    resting: int


class Proof(Struct, frozen=True):
    """All that is known; a part that never ran is None."""

    seeds: Seeds | None = None
    mutants: Mutants | None = None
    kills: Kills | None = None
    recovery: Recovery | None = None


# --- seeds ----------------------------------------------------------------------------------------------


def gaps(
    first: int, count: int, hours: float, commit: str, chunks: tuple[Chunk, ...]
) -> list[tuple[int, int]]:
    """Return the ranges of the wanted seeds that no chunk of this code has."""
    found, last = [], first + count - 1
    for chunk in sorted(chunks, key=_first):
        if not _same(chunk, commit, hours) or chunk.last < first:
            continue
        if chunk.first > first:
            found.append((first, min(last, chunk.first - 1)))
        first = max(first, chunk.last + 1)
        if first > last:
            return found
    return [*found, (first, last)]


def pieces(ranges: list[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """Cut ranges into parts of at most so many seeds."""
    return [
        (one, min(one + size - 1, last)) for first, last in ranges for one in range(first, last + 1, size)
    ]


def added(seeds: Seeds, new: Chunk) -> Seeds:
    """Return the seeds with one more chunk, and without what it replaces.

    Raises:
        Refused: SEED_TWICE, a chunk of the same code has one of its seeds.
    """
    others = []
    for chunk in seeds.chunks:
        if chunk.last < new.first or new.last < chunk.first:
            others.append(chunk)
        elif _same(chunk, new.stamp.commit, new.hours):
            text = f"seeds {chunk.first}-{chunk.last} of {new.stamp.commit[:12]} are there already"
            raise Refused("SEED_TWICE", f"{new.first}-{new.last}: {text}")
    return Seeds(tuple(sorted((*others, new), key=_first)))


def merged(chunks: tuple[Chunk, ...]) -> list[list[Chunk]]:
    """Return chunks that follow each other at one commit, on one machine, as one run."""
    runs: list[list[Chunk]] = []
    for chunk in chunks:
        before = runs[-1][-1] if runs else None
        if before is not None and before.last + 1 == chunk.first and _run(before) == _run(chunk):
            runs[-1].append(chunk)
        else:
            runs.append([chunk])
    return runs


def _first(chunk: Chunk) -> int:
    return chunk.first


def _run(chunk: Chunk) -> tuple[object, ...]:
    return chunk.stamp.commit, chunk.stamp.machine, chunk.hours


def _same(chunk: Chunk, commit: str, hours: float) -> bool:
    return (chunk.stamp.commit, chunk.hours) == (commit, hours)


# --- files ----------------------------------------------------------------------------------------------


def load(place: Path, kind: type[T]) -> T | None:
    """Return the figures of a part, None where it never ran.

    Raises:
        Refused: BAD_FIGURES, the file is none of ours.
    """
    path = _path(place, kind)
    if not path.exists():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except msgspec.DecodeError as error:
        raise Refused("BAD_FIGURES", f"{path.name}: {error}") from error


def save(place: Path, figures: Struct) -> None:
    """Write the figures of a part, whole or not at all."""
    place.mkdir(parents=True, exist_ok=True)
    path = _path(place, type(figures))
    half = path.with_suffix(".tmp")
    half.write_text(_text(msgspec.to_builtins(figures)), encoding="utf-8")
    half.replace(path)


def load_all(place: Path) -> Proof:
    """Return all figures."""
    return Proof(load(place, Seeds), load(place, Mutants), load(place, Kills), load(place, Recovery))


def _path(place: Path, kind: type[Any]) -> Path:
    return place / f"{kind.__name__.lower()}.json"


def _text(figures: dict[str, Any]) -> str:
    """Write a line for each figure, and for each entry of a list of such: git shows what changed."""
    lines = [f'"{name}": {_value(value)}' for name, value in figures.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _value(value: Any) -> str:
    if isinstance(value, list | tuple) and value and isinstance(value[0], dict):
        return "[\n " + ",\n ".join(json.dumps(one) for one in value) + "\n]"
    return json.dumps(value)
