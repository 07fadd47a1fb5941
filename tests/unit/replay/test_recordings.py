"""Which segments of a folder are replayed, and how much of them is read to know it."""

from __future__ import annotations

import platform
from pathlib import Path

import msgspec
import pytest

from tests.unit.stores.made import RUN, head
from tradefan import __version__
from tradefan.errors import Refused
from tradefan.replay.recordings import Span, differences_of_program, find_runs, opened
from tradefan.runtime.recording import (
    END,
    HEAD,
    SNAPSHOT,
    STEPS,
    Frame,
    StepBuffer,
    pack_chunk,
    unpack_content,
)
from tradefan.stores.segments import Ended, Head, end_of, segment_path
from tradefan.units import SECOND

OTHER = "20260102T000000.000000Z"


def write(folder: Path, run: str, number: int, begins_s: int, ends_s: int | None = None) -> Path:
    """A segment with steps at its beginning and 8 s later, in one chunk; without an end its daemon died."""
    path = segment_path(folder, run, number)
    content = pack_chunk(HEAD, head(number, 0)(), 0, begins_s * SECOND)
    content += pack_chunk(SNAPSHOT, b"state", 0, begins_s * SECOND)
    buffer = StepBuffer()
    for at_s in (begins_s, begins_s + 8):
        buffer.add(at_s * SECOND, (), 0)
    content += pack_chunk(STEPS, buffer.take(bytes(32)), 1, begins_s * SECOND)
    if ends_s is not None:
        content += pack_chunk(END, msgspec.msgpack.encode(Ended(0, "", "full")), 0, ends_s * SECOND)
    path.write_bytes(content)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One run that ended in order, and one that did not."""
    for number, (begins_s, ends_s) in enumerate(((10, 20), (20, 30), (30, 40)), 1):
        write(tmp_path, RUN, number, begins_s, ends_s)
    write(tmp_path, OTHER, 1, 50)
    return tmp_path


def chosen(folder: Path, from_s: int | None, until_s: int | None) -> list[list[int]]:
    span = Span(*(None if one is None else one * SECOND for one in (from_s, until_s)))
    found = [opened(run, span) for run in find_runs(folder)]
    return [[one.head.number for one in run] for run in found if run]


@pytest.mark.parametrize(
    ("from_s", "until_s", "numbers"),
    [
        (None, None, [[1, 2, 3], [1]]),
        (25, None, [[2, 3], [1]]),
        (25, 26, [[2]]),
        (None, 29, [[1, 2]]),
        (45, None, [[1]]),
        (58, None, [[1]]),
        (59, None, []),
        (None, 5, []),
    ],
)
def test_span_when_asked_for_then_only_segments_that_may_have_something_of_it(
    folder: Path, from_s: int | None, until_s: int | None, numbers: list[list[int]]
) -> None:
    """A run that had ended, or died, is not replayed for what came behind it."""
    assert chosen(folder, from_s, until_s) == numbers


def test_span_when_asked_for_then_of_other_segments_only_frames_are_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A week of recordings has thousands of snapshots: those of the others are not unpacked."""
    unpacked: list[int] = []

    def unpack(frame: Frame, packed: bytes) -> bytes | None:
        unpacked.append(frame.at_ns // SECOND)
        return unpack_content(frame, packed)

    monkeypatch.setattr("tradefan.stores.segments.unpack_content", unpack)
    assert chosen(folder, 25, 26) == [[2]]
    assert set(unpacked) == {20}


def test_end_when_a_later_chunk_is_damaged_then_what_comes_before_it_can_still_be_asked_for(
    tmp_path: Path,
) -> None:
    """`--until` an instant before the damage is what one does about it."""
    path = write(tmp_path, RUN, 1, 10, 20)
    assert end_of(path) == 20 * SECOND
    content = bytearray(path.read_bytes())
    content[content.rindex(b"TFr1")] ^= 1
    path.write_bytes(content)
    assert end_of(path) == 10 * SECOND
    with pytest.raises(Refused, match="RECORDING_DAMAGED"):
        chosen(tmp_path, None, None)


def test_program_when_another_one_recorded_then_each_difference_is_said() -> None:
    """Version before hash, which differs with it; of Python what may show in what is recorded."""
    ours = msgspec.structs.replace(
        msgspec.msgpack.decode(head(1, 0)(), type=Head),
        version=__version__,
        python=platform.python_version(),
    )

    def said(**other: str) -> list[str]:
        return list(differences_of_program(msgspec.structs.replace(ours, **other), "c", ""))

    assert said() == []
    assert said(version="0.0.1", code="d") == [f"recorded by TradeFan 0.0.1, this is {__version__}"]
    assert said(code="d") == [f"recorded by another program d of version {__version__}, this is c"]
    assert said(strategies="s") == ["recorded with strategy files s, here are none"]
    assert said(python="3.99.0") == [f"recorded on Python 3.99.0, this is {platform.python_version()}"]
    assert said(python=f"{platform.python_version().rpartition('.')[0]}.99") == []


def test_segments_when_a_run_has_a_hundred_thousand_then_still_in_order(tmp_path: Path) -> None:
    """A disk that fails costs a number each ten seconds, so a long run comes there."""
    for number in (100_000, 99_999, 100_001):
        write(tmp_path, RUN, number, number, number + 1)
    assert chosen(tmp_path, None, None) == [[99_999, 100_000, 100_001]]


def test_segment_when_it_ends_before_its_snapshot_does_then_passed_over_in_a_folder_alone(
    folder: Path,
) -> None:
    """A folder has others; a file that is named is refused, and so is one that is no recording."""
    path = segment_path(folder, OTHER, 1)
    whole = path.read_bytes()
    whole = whole[: whole.index(b"TFr1\x03")]
    for kept in (0, 10, len(whole) - 1):
        path.write_bytes(whole[:kept])
        assert chosen(folder, None, None) == [[1, 2, 3]]
        with pytest.raises(Refused, match=r"NO_RECORDING: .* it ends before them"):
            find_runs(path)
    path.write_bytes(b"x" * len(whole))
    for where in (path, folder):
        with pytest.raises(Refused, match=rf"RECORDING_DAMAGED: {path}, offset 0: expected the frame"):
            find_runs(where)
