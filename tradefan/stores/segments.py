"""Reads what the flight recorder wrote: the segments of a folder, and the chunks of a segment."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

import msgspec
from msgspec import Struct

from tradefan.errors import Outage, Refused
from tradefan.messages.instrument import Instrument
from tradefan.messages.market import BookDelta, BookSnapshot, SessionBreak, Trade
from tradefan.runtime.recording import (
    END,
    FRAME_SIZE,
    HEAD,
    KIND_NAMES,
    SNAPSHOT,
    STEPS,
    Frame,
    Steps,
    read_steps,
    unpack_content,
    unpack_frame,
)
from tradefan.stores.disk import Trouble

ENDING = ".tfr"
_NAME = re.compile(r"(\d{8}T\d{6}\.\d{6}Z)-(\d{5,})\.tfr")
FORMAT = 2
"""1 had no check of what goes to the rim."""
MARKET = (Trade, BookDelta, BookSnapshot, SessionBreak)
"""What a paper venue hears of the market: no part of a step's check."""
T = TypeVar("T")


class Head(Struct, frozen=True, kw_only=True):
    """What a replay needs to wire the same system beside the snapshot, and to say what recorded it.

    `config_id` names the configuration that the daemon started with; that in force is in the snapshot.
    """

    format: int
    run: str
    number: int
    first_step: int
    version: str
    python: str
    code: str
    """Hash of the program's own files."""
    strategies: str
    """Hash of the user's strategy files; empty without any."""
    environment: str
    config_id: str
    instruments: tuple[Instrument, ...]
    instance: str
    journal: str
    accounts: dict[str, bytes] = {}
    """What each paper account held when the segment began, encoded by the paper venue."""


class Ended(Struct, frozen=True):
    """The last chunk: the step and the trace's digest at the end, and why it is the end."""

    steps: int
    digest: str
    reason: str


class Place(NamedTuple):
    """A chunk and where it stands in its file."""

    offset: int
    frame: Frame


class Segment:
    """One file: its frames are read and checked at once, its contents as they are asked for."""

    def __init__(self, path: Path, until_ns: int | None = None) -> None:
        """Check every chunk up to the first that begins behind `until_ns`.

        Raises:
            Refused: RECORDING_DAMAGED with file and offset, RECORDING_NEWER, RECORDING_OTHER, NO_RECORDING.
            Outage: the file cannot be read.
        """
        self.path = path
        self.cut_at: int | None = None
        """Where the file ends in the middle of a chunk."""
        self.goes_on = False
        """Whether chunks from behind `until_ns` were left where they are."""
        with Trouble(str(path)), path.open("rb") as file:
            self._places = list(self._scan(file, until_ns))
        if [place.frame.kind for place in self._places[:2]] != [HEAD, SNAPSHOT]:
            raise not_begun(path)
        self.head = self._decoded(HEAD, Head)

    @property
    def ended(self) -> Ended | None:
        """The last chunk; None for a file that a crash has cut off, or of which the end was not asked for."""
        return self._decoded(END, Ended) if self._places[-1].frame.kind == END else None

    @property
    def first_ns(self) -> int:
        """When it begins."""
        return self._places[0].frame.at_ns

    @property
    def last_ns(self) -> int:
        """The instant of its last step, as far as it was read."""
        last = self._places[-1]
        if last.frame.kind != STEPS:
            return last.frame.at_ns
        try:
            *_, step = read_steps(self._content(last)).steps
        except msgspec.MsgspecError as error:
            raise self.other("its last step", error) from error
        return step.now_ns

    @property
    def struck(self) -> bool:
        """Whether a secret was struck out of what it begins with."""
        return any(place.frame.struck for place in self._places[:2])

    def snapshot(self) -> bytes:
        """Return the kernel at its beginning."""
        return self._content(self._places[1])

    def chunks(self) -> Iterator[tuple[Place, Steps]]:
        """Give the steps chunk by chunk."""
        for place in self._places:
            if place.frame.kind == STEPS:
                yield place, read_steps(self._content(place))

    def other(self, what: str, error: Exception) -> Refused:
        """Return the refusal of something whole that does not decode: it is in another version's words."""
        return Refused("RECORDING_OTHER", f"{self.path}: {what} is not in the words of this version: {error}")

    def damaged(self, place: Place, why: str) -> Refused:
        """Return the refusal of a chunk."""
        kind = KIND_NAMES[place.frame.kind]
        return Refused("RECORDING_DAMAGED", f"{self.path}, offset {place.offset}: {kind} chunk: {why}")

    def _scan(self, file: IO[bytes], until_ns: int | None) -> Iterator[Place]:
        offset = 0
        while data := file.read(FRAME_SIZE):
            if len(data) < FRAME_SIZE:
                self.cut_at = offset
                return
            frame = _frame(self.path, offset, data)
            if until_ns is not None and frame.kind in (STEPS, END) and frame.at_ns > until_ns:
                self.goes_on = True
                return
            packed = file.read(frame.size)
            if len(packed) < frame.size:
                self.cut_at = offset
                return
            place = Place(offset, frame)
            if unpack_content(frame, packed) is None:
                raise self.damaged(place, "its content is not what its checksum says")
            yield place
            offset += FRAME_SIZE + frame.size

    def _content(self, place: Place) -> bytes:
        with Trouble(str(self.path)), self.path.open("rb") as file:
            file.seek(place.offset + FRAME_SIZE)
            content = unpack_content(place.frame, file.read(place.frame.size))
        if content is None:
            raise Outage(f"{self.path} has changed while it was read, at offset {place.offset}")
        return content

    def _decoded(self, kind: int, type_: type[T]) -> T:
        place = next(place for place in self._places if place.frame.kind == kind)
        content = self._content(place)
        try:
            known = msgspec.msgpack.decode(content, type=dict[str, Any]).get("format", FORMAT)
            if kind == HEAD and known != FORMAT:
                raise Refused(
                    "RECORDING_OTHER" if known in range(FORMAT) else "RECORDING_NEWER",
                    f"{self.path}: expected format {FORMAT}, got {known}",
                )
            return msgspec.msgpack.decode(content, type=type_)
        except msgspec.MsgspecError as error:
            raise self.damaged(place, str(error)) from error


def not_begun(path: Path) -> Refused:
    """Return the refusal of a segment that ends before its snapshot."""
    text = f"{path}: expected a head and a snapshot at its beginning, it ends before them"
    return Refused("NO_RECORDING", text)


def _frame(path: Path, offset: int, data: bytes) -> Frame:
    frame = unpack_frame(data)
    if frame is None:
        text = f"{path}, offset {offset}: expected the frame of a chunk, got {data[:8].hex()}..."
        raise Refused("RECORDING_DAMAGED", text)
    return frame


def begin_of(path: Path) -> int | None:
    """Return the instant at which a segment begins, None for one that ends before its snapshot does.

    Only two frames are read: whoever opens it checks the rest.

    Raises:
        Refused: RECORDING_DAMAGED with file and offset.
        Outage: the file cannot be read.
    """
    frames = list(islice(_frames(path), 2))
    return frames[0].at_ns if len(frames) == 2 else None


def end_of(path: Path) -> int:
    """Return when the last chunk of a segment begins, by its frames alone, up to one that is damaged."""
    last_ns = 0
    with suppress(Refused):
        for frame in _frames(path):
            last_ns = frame.at_ns
    return last_ns


def _frames(path: Path) -> Iterator[Frame]:
    """Give the frames of a segment's whole chunks."""
    with Trouble(str(path)), path.open("rb") as file:
        size, offset = os.fstat(file.fileno()).st_size, 0
        while offset + FRAME_SIZE <= size:
            file.seek(offset)
            frame = _frame(path, offset, file.read(FRAME_SIZE))
            offset += FRAME_SIZE + frame.size
            if offset <= size:
                yield frame


def is_being_written(path: Path) -> bool:
    """Say whether a recorder of this machine has this file open: it holds a lock on it."""
    try:
        with path.open("rb") as file:
            # A shared one, so that two that look at the same moment do not see each other.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        # Nobody can look, and what is said of the end names both.
        return False
    return False


def segment_path(folder: Path, run: str, number: int) -> Path:
    """Return where a segment lies."""
    return folder / f"{run}-{number:05d}{ENDING}"


def segments_in(folder: Path) -> list[Path]:
    """Return the segments of a folder in order: run by run, each from its first."""
    if not folder.is_dir():
        return []
    found = (path for path in folder.iterdir() if _NAME.fullmatch(path.name) and path.is_file())
    # Not by the name: behind the 99,999th of a run that would put the newest first, and let it go first.
    return sorted(found, key=run_of)


def run_of(path: Path) -> tuple[str, int]:
    """Return a segment's run and number by its name; a file of another name is a run of its own."""
    found = _NAME.fullmatch(path.name)
    return (found[1], int(found[2])) if found else (path.name, 1)
