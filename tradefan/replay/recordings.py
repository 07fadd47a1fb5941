"""The recordings of a folder, or one file: segments in order, run by run."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from msgspec import Struct

from tradefan import __version__
from tradefan.errors import Refused
from tradefan.stores.segments import NOT_BEGUN, Head, Segment, run_of, segments_in


class Span(Struct, frozen=True):
    """Instants between which somebody wants to see something; None is no bound."""

    from_ns: int | None = None
    until_ns: int | None = None


def find_runs(path: Path, span: Span) -> list[tuple[Path, ...]]:
    """Return the segments of each run that may have something of a span, the oldest run first.

    A segment whose successor begins before the span is left out, and one of a folder that has not begun.

    Raises:
        Refused: NO_RECORDING.
    """
    paths = [path] if path.is_file() else [one for one in segments_in(path) if has_begun(one)]
    if not paths:
        raise Refused("NO_RECORDING", f"expected a recording, or a folder of them, at {path}; found none")
    runs = [tuple(group) for _, group in groupby(paths, key=lambda one: run_of(one)[0])]
    return [within for run in runs if (within := _within(run, span))]


def has_begun(path: Path) -> bool:
    """Say whether a segment has its head and its snapshot: a crash, or a full disk, may have met it before.

    Raises:
        Refused: RECORDING_DAMAGED with file and offset.
    """
    try:
        Segment(path, until_ns=0)
    except Refused as no:
        if no.code != NOT_BEGUN:
            raise
        return False
    return True


def _within(run: tuple[Path, ...], span: Span) -> tuple[Path, ...]:
    if span.from_ns is None and span.until_ns is None:
        return run
    begins = [Segment(one, until_ns=0).first_ns for one in run]
    from_ns = begins[0] if span.from_ns is None else span.from_ns
    wanted = []
    for number, one in enumerate(run):
        ends_ns = begins[number + 1] if number + 1 < len(run) else None
        late = span.until_ns is not None and begins[number] > span.until_ns
        if not late and (ends_ns is None or ends_ns > from_ns):
            wanted.append(one)
    return tuple(wanted)


def opened(run: tuple[Path, ...], span: Span) -> list[Segment]:
    """Open and check every segment of a run before anything of it is replayed.

    Raises:
        Refused: RECORDING_DAMAGED with file and offset.
    """
    return [Segment(one, span.until_ns) for one in run]


def differences_of_program(head: Head, code: str, strategies: str) -> Iterator[str]:
    """Say what is not as it was when this was recorded; `code` and `strategies` are those of now."""
    if head.version != __version__:
        yield f"recorded by TradeFan {head.version}, this is {__version__}"
    elif head.code != code:
        yield f"recorded by another program {head.code} of version {head.version}, this is {code}"
    if head.strategies != strategies:
        was, now = head.strategies or "none", strategies or "none"
        yield f"recorded with strategy files {was}, here are {now}"
    # Tracebacks, which are journaled, are not spelled alike by all versions.
    if head.python.rpartition(".")[0] != platform.python_version().rpartition(".")[0]:
        yield f"recorded on Python {head.python}, this is {platform.python_version()}"
