"""The recordings of a folder, or one file: segments in order, run by run."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from itertools import groupby, zip_longest
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct

from tradefan import __version__
from tradefan.errors import Refused
from tradefan.stores.segments import Head, Segment, begin_of, not_begun, run_of, segments_in


class Span(Struct, frozen=True):
    """Instants between which somebody wants to see something; None is no bound."""

    from_ns: int | None = None
    until_ns: int | None = None


class Begun(NamedTuple):
    """A segment that has its head and its snapshot, and when it begins."""

    begins_ns: int
    path: Path


def find_runs(path: Path) -> list[tuple[Begun, ...]]:
    """Return the segments of each run, the oldest run first.

    One of a folder that has not begun is left out: a crash, or a full disk, may have met it before.

    Raises:
        Refused: NO_RECORDING, or RECORDING_DAMAGED with file and offset.
    """
    paths = [path] if path.is_file() else segments_in(path)
    found = [Begun(at_ns, one) for one in paths if (at_ns := begin_of(one)) is not None]
    if paths == [path] and not found:
        raise not_begun(path)
    if not found:
        raise Refused("NO_RECORDING", f"expected a recording, or a folder of them, at {path}; found none")
    return [tuple(group) for _, group in groupby(found, key=lambda one: run_of(one.path)[0])]


def opened(run: tuple[Begun, ...], span: Span) -> list[Segment]:
    """Open and check every segment of a run that may have something of a span, before anything is replayed.

    One that ended before the span, or whose successor begins before it, is left out.

    Raises:
        Refused: RECORDING_DAMAGED with file and offset.
    """
    from_ns = run[0].begins_ns if span.from_ns is None else span.from_ns
    until_ns = run[-1].begins_ns if span.until_ns is None else span.until_ns
    found = [
        Segment(one.path, span.until_ns)
        for one, behind in zip_longest(run, run[1:])
        if one.begins_ns <= until_ns and (behind is None or behind.begins_ns > from_ns)
    ]
    return found if span.from_ns is None else [one for one in found if one.last_ns >= from_ns]


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
