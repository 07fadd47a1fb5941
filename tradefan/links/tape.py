"""Opens recordings for the tape, and keeps the instant at which a data directory began to play.

A recording is gzip text, one record per line: receive time in ns, a space, the raw JSON. Files are
named `spot_<symbol>_<day>.gz`; the days of a symbol are played one after the other.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from tradefan.errors import Outage, Refused
from tradefan.venues.tape import Recording

_UNREADABLE = (OSError, EOFError, ValueError, zlib.error)
_CHUNK = 1 << 20


def open_recordings(directory: Path) -> dict[str, Recording]:
    """Return the recordings of a directory by venue symbol; frames are streamed, never loaded whole.

    Raises:
        Refused: NO_RECORDING, with what was expected and what is there.
    """
    days: dict[str, list[Path]] = {}
    for path in sorted(directory.glob("spot_*_*.gz")):
        days.setdefault(path.name.split("_")[1].upper(), []).append(path)
    if not days:
        raise Refused("NO_RECORDING", f"expected files spot_<symbol>_<day>.gz in {directory}, found none")
    return {symbol: _recording(symbol, tuple(paths)) for symbol, paths in days.items()}


def load_origin(path: Path, now_ns: int, speed: float = 1.0) -> int:
    """Return when the tape of a data directory began, writing it down at the first start.

    Where the speed is another than before, the origin moves so that the tape goes on where it is.

    Raises:
        Refused: TAPE_ORIGIN when the file is there and unreadable.
    """
    if not path.exists():
        _write(path, now_ns, speed)
        return now_ns
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        origin_ns, kept_speed = int(kept["origin_ns"]), float(kept["speed"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        text = f"expected origin_ns and speed in {path}, got {error!r}; without the file the tape begins anew"
        raise Refused("TAPE_ORIGIN", text) from error
    if kept_speed != speed:
        origin_ns = now_ns - int((now_ns - origin_ns) * (kept_speed / speed))
        _write(path, origin_ns, speed)
    return origin_ns


def _write(path: Path, origin_ns: int, speed: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".new")
    with aside.open("w", encoding="utf-8") as file:
        json.dump({"origin_ns": origin_ns, "speed": speed}, file)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def _recording(symbol: str, paths: tuple[Path, ...]) -> Recording:
    try:
        first_ns = next(_lines(paths[0]))[0]
        snapshot = next(raw for _, raw in _lines(paths[0]) if b'"lastUpdateId"' in raw[:40])
        last_ns = _last_ns(paths[-1])
    except StopIteration:
        raise Refused(
            "NO_RECORDING", f"expected frames and a line with lastUpdateId in {paths[0]}, found none"
        ) from None
    except Outage as error:
        raise Refused("NO_RECORDING", str(error)) from error
    return Recording(symbol, _opener(paths), snapshot, first_ns, last_ns)


def _opener(paths: tuple[Path, ...]) -> Callable[[], Iterator[tuple[int, bytes]]]:
    def frames() -> Iterator[tuple[int, bytes]]:
        for path in paths:
            yield from _lines(path)

    return frames


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with gzip.open(path, "rb") as file:
            for line in file:
                recv_ns, _, raw = line.rstrip(b"\n").partition(b" ")
                yield int(recv_ns), raw
    except _UNREADABLE as error:
        raise Outage(f"cannot read the recording {path}: {error!r}") from error


def _last_ns(path: Path) -> int:
    """Return the receive time of the last line; looking at chunks takes a fifth of reading lines."""
    tail = b""
    try:
        with gzip.open(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                tail = (tail + chunk)[-_CHUNK:]
        return int(tail.rstrip(b"\n").rpartition(b"\n")[2].partition(b" ")[0])
    except _UNREADABLE as error:
        raise Outage(f"cannot read the recording {path}: {error!r}") from error
