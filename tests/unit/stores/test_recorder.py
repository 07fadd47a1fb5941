"""The flight recorder: bounded, never waited for, and honest about what it did not keep."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.unit.runtime.players import Scribe, Script, build, say
from tests.unit.stores.made import RUN, head
from tradefan.errors import Refused
from tradefan.messages.base import Message
from tradefan.runtime.actor import Context
from tradefan.runtime.kernel import Kernel
from tradefan.runtime.recording import BrokenTurn
from tradefan.stores.recorder import RECORDING, RETRY_NS, FlightRecorder, RecorderLimits
from tradefan.stores.segments import ENDING, FORMAT, Segment, run_of, segments_in
from tradefan.units import SECOND, Ref

A = Ref(1)
LIMITS = RecorderLimits(
    segment_bytes=1 << 20,
    segment_ns=10_000 * SECOND,
    total_bytes=1 << 30,
    age_ns=3_600 * SECOND,
    flush_ns=SECOND,
    queue_bytes=1 << 25,
    disk_free_min=1_000,
)


class Rig:
    """A kernel with one actor, and a recorder that is told each step of it."""

    def __init__(self, folder: Path, script: Script | None = None, **more: Any) -> None:
        self.folder = folder / "recorder"
        self.kernel = Kernel(build({"a": script or {}}), None, "c", now_ns=0, trace=True)
        self.limits = LIMITS
        self.free = 10_000
        self.lines: list[tuple[str, dict[str, Any]]] = []
        self.broken: list[BrokenTurn] = []
        self.recorder = FlightRecorder(
            self.folder,
            RUN,
            self.kernel,
            head=more.pop("head", head),
            encode_config=lambda _config: b"",
            limits=lambda: self.limits,
            broken=self.broken,
            log=lambda _level, event, **fields: self.lines.append((event, fields)),
            free=lambda _path: self.free,
            **more,
        )
        self.now_ns = self.made = 0

    def step(self, *texts: str, after_ns: int = SECOND) -> None:
        self.now_ns += after_ns
        ingress = [(A, say(text)) for text in texts]
        self.kernel.step(self.now_ns, ingress)
        self.record(ingress)

    def record(self, ingress: Sequence[tuple[Ref, Message]]) -> None:
        self.made += 1
        self.recorder.record(self.now_ns, ingress)

    def close(self) -> None:
        """Come to the end: each step that was made is in a file or counted as lost, and none is both."""
        self.recorder.close()
        ours = (Segment(path) for path in segments_in(self.folder) if run_of(path)[0] == RUN)
        kept = sum(len(list(chunk.steps)) for segment in ours for _, chunk in segment.chunks())
        view = self.recorder.view()
        assert (view.steps, view.steps_lost) == (kept, self.made - kept)

    def until(self, done: Callable[[], bool], why: str) -> None:
        """Wait for the recorder's thread."""
        end_s = time.monotonic() + 10
        while not done():
            assert time.monotonic() < end_s, why
            time.sleep(0.002)

    def written(self) -> None:
        self.until(lambda: self.recorder.view().queue_bytes == 0, "everything is written")

    def texts(self) -> list[str]:
        """Return what the files say, over all segments."""
        found = []
        for path in segments_in(self.folder):
            for _, chunk in Segment(path).chunks():
                found += [msgspec.msgpack.decode(raw)[1] for step in chunk.steps for _, raw in step.ingress]
        return found


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_segment_when_it_is_ended_then_head_snapshot_steps_and_end(rig: Rig) -> None:
    """Every step is there in order, with the trace's digest at the end, and nothing was lost."""
    rig.recorder.start()
    for number in range(20):
        rig.step(f"s{number}")
    rig.close()
    (path,) = segments_in(rig.folder)
    segment = Segment(path)
    assert rig.kernel.trace is not None
    assert (segment.head.number, segment.head.first_step, run_of(path)) == (1, 0, (RUN, 1))
    assert segment.ended is not None
    assert (segment.ended.steps, segment.ended.reason) == (20, "stopped")
    assert segment.ended.digest == rig.kernel.trace.hexdigest()
    assert rig.texts() == [f"s{number}" for number in range(20)]
    view = rig.recorder.view()
    assert (view.state, view.steps, view.steps_lost, view.segments) == (RECORDING, 20, 0, 1)


def test_segment_when_full_or_old_then_the_next_goes_on_without_a_hole(rig: Rig) -> None:
    """By bytes and by time; each begins with a snapshot of its own, at the step where the last one ended."""
    rig.limits = msgspec.structs.replace(LIMITS, segment_ns=5 * SECOND)
    rig.recorder.start()
    for number in range(12):
        rig.step(f"t{number}")
    rig.written()
    rig.limits = msgspec.structs.replace(LIMITS, segment_bytes=2_000)
    for number in range(12, 40):
        # What compresses to nothing never fills a file.
        rig.step(f"t{number}", "".join(chr(33 + (number * 7 + k * k) % 90) for k in range(200)))
        rig.written()
    rig.close()
    segments = [Segment(path) for path in segments_in(rig.folder)]
    assert len(segments) >= 5
    assert [one.head.number for one in segments] == list(range(1, len(segments) + 1))
    for before, behind in pairwise(segments):
        assert before.ended is not None
        assert (before.ended.steps, before.ended.reason) == (behind.head.first_step, "full")
    assert [text for text in rig.texts() if text[0] == "t" and len(text) < 4] == [f"t{n}" for n in range(40)]


def test_folder_when_it_has_too_much_then_the_oldest_go(rig: Rig) -> None:
    """The sum of all files, other runs' too, stays below its bound with room for the one that begins."""
    rig.folder.mkdir(parents=True)
    for number in range(5):
        (rig.folder / f"20250101T000000.000000Z-{number + 1:05d}.tfr").write_bytes(bytes(100_000))
    (rig.folder / "notes.txt").write_text("not ours")
    rig.limits = msgspec.structs.replace(LIMITS, segment_bytes=100_000, total_bytes=350_000)
    rig.recorder.start()
    rig.step("x")
    rig.close()
    left = [path.name for path in segments_in(rig.folder)]
    assert left == [
        "20250101T000000.000000Z-00004.tfr",
        "20250101T000000.000000Z-00005.tfr",
        f"{RUN}-00001.tfr",
    ]
    assert (rig.folder / "notes.txt").exists()


def test_folder_when_a_file_is_too_old_then_it_goes(rig: Rig) -> None:
    """By its last change: what nobody replayed for so long nobody will."""
    import os

    rig.folder.mkdir(parents=True)
    for name, age_s in (
        ("20250101T000000.000000Z-00001.tfr", 4_000),
        ("20250101T000000.000000Z-00002.tfr", 10),
    ):
        (rig.folder / name).write_bytes(b"x")
        os.utime(rig.folder / name, (time.time() - age_s,) * 2)
    rig.recorder.start()
    rig.close()
    assert next(path.name for path in segments_in(rig.folder)) == "20250101T000000.000000Z-00002.tfr"


def test_folder_when_a_directory_has_the_name_of_a_segment_then_left_alone(rig: Rig) -> None:
    """It is nothing of ours, cannot be unlinked, and is no reason to record nothing."""
    other = rig.folder / f"20200101T000000.000000Z-00001{ENDING}"
    other.mkdir(parents=True)
    rig.limits = msgspec.structs.replace(LIMITS, total_bytes=1)
    rig.recorder.start()
    rig.step("kept")
    rig.close()
    assert rig.texts() == ["kept"]
    assert other.is_dir()


def test_disk_when_it_has_no_room_to_spare_then_nothing_is_written_until_it_has(rig: Rig) -> None:
    """The recorder is the first to stop, at 110 % of what the journal keeps free; it counts the rest."""
    rig.recorder.start()
    rig.step("kept")
    rig.step("kept too")
    rig.written()
    rig.free = 1_099
    rig.until(lambda: rig.recorder._short, "the disk is measured")
    rig.step("last")
    rig.step("and this one")
    assert rig.recorder.view().state == "the disk has no room to spare"
    rig.step("lost")
    rig.written()
    size = sum(path.stat().st_size for path in segments_in(rig.folder))
    rig.step("lost too", after_ns=RETRY_NS)
    rig.written()
    assert sum(path.stat().st_size for path in segments_in(rig.folder)) == size
    rig.free = 1_100
    rig.until(lambda: not rig.recorder._short, "the disk is measured again")
    rig.step("the snapshot is taken behind this one")
    rig.step("kept again")
    rig.close()
    assert rig.texts() == ["kept", "kept too", "last", "and this one", "kept again"]
    first, second = (Segment(path) for path in segments_in(rig.folder))
    assert first.ended is not None
    assert first.ended.reason == "no room"
    assert second.head.first_step == 7
    assert rig.recorder.view().steps_lost == 3
    assert [event for event, _ in rig.lines] == ["recorder_paused", "recorder_works"]


def test_disk_when_a_chunk_fits_only_in_part_then_the_file_ends_there(rig: Rig) -> None:
    """A full disk takes some bytes and says so by their number alone: nothing is written behind them."""
    rig.recorder.start()
    rig.step("whole")
    rig.step("whole too")
    rig.written()
    file: Any = rig.recorder._file

    class Full:
        def write(self, chunk: bytes) -> int:
            return file.write(chunk[:20])

        def close(self) -> None:
            file.close()

    rig.recorder._file = Full()  # type: ignore[assignment]
    rig.step("in part")
    rig.step("in part too")
    rig.written()
    rig.step("lost")
    rig.step("lost too")
    assert "did not fit" in rig.recorder.view().state
    rig.close()
    (path,) = segments_in(rig.folder)
    assert rig.texts() == ["whole", "whole too"]
    assert Segment(path).cut_at is not None


def test_head_when_it_reads_files_then_on_the_recorder_s_thread_and_a_failure_ends_nothing(
    tmp_path: Path,
) -> None:
    """The program's hash is of hundreds of files: neither the start nor the loop waits for it."""
    asked: list[str] = []

    def slow(number: int, step: int) -> Callable[[], bytes]:
        def read() -> bytes:
            asked.append(threading.current_thread().name)
            if len(asked) == 1:
                raise FileNotFoundError(2, "No such file or directory")
            return head(number, step)()

        return read

    rig = Rig(tmp_path, head=slow)
    rig.recorder.start()
    rig.until(lambda: rig.recorder._failure != "", "the thread fails")
    rig.step("lost")
    rig.step("lost too")
    assert "No such file" in rig.recorder.view().state
    rig.step("behind which it begins again", after_ns=RETRY_NS)
    rig.step("kept")
    rig.close()
    assert asked == ["recorder", "recorder"]
    assert rig.texts() == ["kept"]


def test_disk_when_it_has_no_room_at_the_start_then_nothing_is_made(rig: Rig) -> None:
    """Also the first snapshot waits for room."""
    rig.free = 0
    rig.recorder.start()
    rig.step("one")
    assert rig.recorder.view().state == "the disk has no room to spare"
    assert segments_in(rig.folder) == []
    rig.close()


def test_disk_when_it_fails_then_trading_goes_on_and_a_new_segment_is_tried_later(
    rig: Rig, tmp_path: Path
) -> None:
    """A folder that cannot be made is such a disk: no step waits or raises, and the reason is shown."""
    rig.folder.parent.mkdir(exist_ok=True)
    rig.folder.write_text("in the way")
    rig.recorder.start()
    rig.until(lambda: rig.recorder._failure != "", "the thread fails")
    rig.step("one")
    rig.step("two")
    assert "File exists" in rig.recorder.view().state
    rig.folder.unlink()
    rig.step("three", after_ns=RETRY_NS)
    rig.step("four")
    rig.close()
    assert rig.texts() == ["four"]
    # "one" was in the chunk that had nowhere to go.
    assert rig.recorder.view().steps_lost == 3


def test_thread_when_it_is_behind_then_the_segment_ends_and_memory_is_bounded(rig: Rig) -> None:
    """A disk that hangs holds at most the bound and one chunk; behind it a new segment begins."""
    gate = threading.Event()
    rig.limits = msgspec.structs.replace(LIMITS, queue_bytes=3_000)
    write = rig.recorder._write

    def slow(job: Any) -> None:
        gate.wait(10)
        write(job)

    rig.recorder._write = slow  # type: ignore[method-assign]
    rig.recorder.start()
    for number in range(60):
        rig.step("y" * 200, str(number))
    view = rig.recorder.view()
    assert "bytes wait for the disk" in view.state
    assert view.queue_bytes < 4_000 + len("y" * 200)
    assert view.steps_lost > 30
    gate.set()
    rig.written()
    rig.step("z", after_ns=RETRY_NS)
    rig.step("kept")
    rig.close()
    assert rig.texts()[-1] == "kept"
    assert rig.recorder.view().segments == 2


def test_state_when_it_does_not_encode_then_said_and_tried_again(tmp_path: Path) -> None:
    """A strategy may keep what no encoder knows: the recorder pauses, the kernel never notices."""

    def poison(scribe: Scribe, _msg: Message, _ctx: Context) -> None:
        scribe.state.seen.append(object())  # type: ignore[arg-type]

    def heal(scribe: Scribe, _msg: Message, _ctx: Context) -> None:
        scribe.state.seen.clear()

    rig = Rig(tmp_path, {"poison": poison, "heal": heal})
    rig.limits = msgspec.structs.replace(LIMITS, segment_ns=SECOND)
    rig.recorder.start()
    rig.step("one")
    rig.step("poison")
    rig.step("two")
    assert "does not encode" in rig.recorder.view().state
    rig.step("heal")
    rig.written()
    rig.step("three", after_ns=RETRY_NS)
    rig.step("four")
    rig.close()
    assert rig.texts()[-1] == "four"


def test_step_when_it_does_not_encode_then_said_and_trading_goes_on(rig: Rig) -> None:
    """Whatever a message holds: the recorder alone stumbles over it, and begins anew behind it."""
    rig.recorder.start()
    rig.step("before")
    rig.record([(A, say("half a pair: \ud800"))])
    assert rig.recorder.view().state.startswith("a step does not encode: UnicodeEncodeError")
    rig.written()
    rig.step("lost", after_ns=RETRY_NS - 1)
    rig.step("begins", after_ns=2)
    rig.step("behind")
    rig.close()
    assert rig.texts() == ["behind"]
    assert rig.recorder.view().steps_lost == 4


def test_thread_when_something_of_ours_fails_in_it_then_tried_again_later(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is no OSError, either: a thread that ended would take all later steps with it, unseen."""
    rig.recorder.start()
    rig.written()
    with monkeypatch.context() as patch:
        patch.setattr("tradefan.stores.recorder.pack_chunk", lambda *_, **__: 1 // 0)
        rig.step("lost")
        rig.step("lost, too")
        rig.written()
    rig.step("lost as well")
    rig.step("finds it")
    assert "ZeroDivisionError" in rig.recorder.view().state
    rig.step("begins", after_ns=RETRY_NS)
    rig.step("behind")
    rig.close()
    assert rig.texts()[-1:] == ["behind"]


def test_head_when_it_cannot_be_told_then_no_segment_begins(tmp_path: Path) -> None:
    """A paper account's file that is broken in a new way is no reason to end the daemon."""

    def broken(_number: int, _step: int) -> Callable[[], bytes]:
        raise ZeroDivisionError

    rig = Rig(tmp_path, head=broken)
    rig.recorder.start()
    rig.step("lost")
    rig.close()
    assert "ZeroDivisionError" in rig.recorder.view().state
    assert segments_in(rig.folder) == []


def test_secret_when_it_passes_then_no_file_has_it(tmp_path: Path) -> None:
    """Not in steps, nor in the snapshot that a later segment begins with."""
    rig = Rig(tmp_path, secrets=lambda: ("hunter2-the-token",))
    rig.limits = msgspec.structs.replace(LIMITS, segment_ns=2 * SECOND)
    rig.recorder.start()
    for _ in range(5):
        rig.step("say hunter2-the-token please")
    rig.close()
    paths = segments_in(rig.folder)
    assert len(paths) > 1
    for path in paths:
        segment = Segment(path)
        texts = segment.snapshot() + b"".join(
            raw for _, chunk in segment.chunks() for step in chunk.steps for _, raw in step.ingress
        )
        assert b"hunter2" not in texts
        assert b"say *****************" in texts
    assert sum(chunk.redacted for path in paths for _, chunk in Segment(path).chunks()) == 5
    assert [Segment(path).struck for path in paths] == [False, *(True for _ in paths[1:])]


def test_secret_when_it_is_learned_late_then_struck_out_from_then_on_in_each_spelling(tmp_path: Path) -> None:
    """A link learns its password after the start. What is shorter than a word stays: numbers have it, too."""
    known: tuple[str, ...] = ()
    rig = Rig(tmp_path, secrets=lambda: known)
    rig.recorder.start()
    rig.step("no secret yet")
    rig.step("nor here")
    rig.written()
    known = ('pass\\"word', 'pass"word', "1234567")
    rig.step('pass"word 61234567.5')
    rig.step('{"password":"pass\\"word"}')
    rig.close()
    assert rig.texts()[2:] == ["********* 61234567.5", '{"password":"**********"}']


def test_turn_when_it_was_broken_then_it_stands_in_its_step(rig: Rig) -> None:
    """Whoever replays breaks the same one."""
    rig.recorder.start()
    rig.broken.append(BrokenTurn(A, 3, "too long", "traceback"))
    rig.step("x")
    rig.step("y")
    rig.close()
    (path,) = segments_in(rig.folder)
    steps = [step for _, chunk in Segment(path).chunks() for step in chunk.steps]
    assert [step.broken for step in steps] == [(BrokenTurn(A, 3, "too long", "traceback"),), ()]
    assert rig.broken == []


# --- reading ------------------------------------------------------------------------------------------


def recorded(rig: Rig) -> Path:
    rig.recorder.start()
    for number in range(6):
        rig.step(f"s{number}")
    rig.close()
    (path,) = segments_in(rig.folder)
    return path


def test_segment_when_cut_anywhere_then_its_last_whole_chunk_is_the_end(rig: Rig, tmp_path: Path) -> None:
    """A kill cuts a file anywhere; nothing but the chunk that was being written is lost."""
    path = recorded(rig)
    whole = path.read_bytes()
    ends = [place.offset for place in Segment(path)._places] + [len(whole)]
    for size in range(0, len(whole), 7):
        cut = tmp_path / "cut.tfr"
        cut.write_bytes(whole[:size])
        if size < ends[2]:
            with pytest.raises(Refused, match="NO_RECORDING"):
                Segment(cut)
            continue
        segment = Segment(cut)
        last = max(end for end in ends if end <= size)
        assert segment.cut_at == (None if last == size else last)
        assert len(list(segment.chunks())) == ends.index(last) - 2 - (last == ends[-1])
        assert (segment.ended is None) == (last != ends[-1])


def test_segment_when_a_byte_is_another_then_refused_with_file_and_offset(rig: Rig, tmp_path: Path) -> None:
    """Every byte of the file is covered by a checksum, and nothing is replayed before all were looked at."""
    path = recorded(rig)
    whole = path.read_bytes()
    offsets = [place.offset for place in Segment(path)._places]
    harmed = tmp_path / "harmed.tfr"
    for at in range(0, len(whole), 5):
        content = bytearray(whole)
        content[at] ^= 0x10
        harmed.write_bytes(content)
        chunk = max(offset for offset in offsets if offset <= at)
        with pytest.raises(Refused) as caught:
            Segment(harmed)
        assert caught.value.code == "RECORDING_DAMAGED"
        assert f"harmed.tfr, offset {chunk}:" in caught.value.text


def test_segment_when_damaged_behind_what_is_asked_for_then_the_rest_can_be_read(rig: Rig) -> None:
    """With an end before the damage, what is before it is believed."""
    path = recorded(rig)
    places = Segment(path)._places
    content = bytearray(path.read_bytes())
    content[places[-2].offset + 70] ^= 1
    path.write_bytes(content)
    before_ns = places[-2].frame.at_ns - 1
    assert len(list(Segment(path, before_ns).chunks())) == len(places) - 4


@pytest.mark.parametrize(("known", "code"), [(FORMAT + 1, "NEWER"), (FORMAT - 1, "OTHER")])
def test_segment_when_of_another_format_then_refused_in_words(rig: Rig, known: int, code: str) -> None:
    """A program guesses at neither a newer one nor an older one."""
    from tradefan.runtime.recording import HEAD, SNAPSHOT, pack_chunk

    other = rig.folder.parent / "other.tfr"
    content = msgspec.msgpack.encode({"format": known, "strange": True})
    other.write_bytes(pack_chunk(HEAD, content, 0, 0) + pack_chunk(SNAPSHOT, b"", 0, 0))
    with pytest.raises(Refused, match=f"RECORDING_{code}: .*expected format {FORMAT}, got {known}"):
        Segment(other)
