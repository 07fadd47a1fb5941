"""Reading the log that a daemon writes: its last lines, those since an instant, and as they come."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TextIO

import orjson

from tradefan.errors import Refused
from tradefan.units import parse_iso

_PAUSE_S = 0.2


def read_log(path: Path, newest: TextIO, lines: int | None, from_ns: int | None) -> Iterable[str]:
    """Return the last lines, older files included, and leave `newest` at its end."""
    older = sorted(path.parent.glob(f"{path.name}.*"), key=lambda one: one.stat().st_mtime_ns)
    texts = chain.from_iterable([*(_lines(one) for one in older), newest])
    found = (line for line in texts if from_ns is None or _is_since(line, from_ns))
    return deque(found, maxlen=lines)


def follow_log(path: Path, file: TextIO) -> Iterator[str]:
    """Give lines as they come, without end, also behind a change of files."""
    yield from _follow(path, file)
    while True:
        with path.open(encoding="utf-8", errors="replace") as next_file:
            yield from _follow(path, next_file)


def _follow(path: Path, file: TextIO) -> Iterator[str]:
    """Give the lines of one file until another one stands in its place."""
    while True:
        # Asked before the file is read: what was written before the change is read to its end.
        changed = path.exists() and path.stat().st_ino != os.fstat(file.fileno()).st_ino
        place = file.tell()
        line = file.readline()
        if line.endswith("\n"):
            yield line
        elif changed:
            return
        else:
            # Half a line is read again when it is whole.
            file.seek(place)
            time.sleep(_PAUSE_S)


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", errors="replace") as file:
        yield from file


def _is_since(line: str, from_ns: int) -> bool:
    try:
        return parse_iso(orjson.loads(line)["ts"]) >= from_ns
    except (orjson.JSONDecodeError, KeyError, TypeError, Refused):
        return True
