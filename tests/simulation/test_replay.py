"""A recorded run replays to the same hash, whole and from each segment; differences have both values."""

from __future__ import annotations

import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

import tradefan.actors.oms_children
from tests.simulation.recorded import TOKEN, Recorded, record
from tests.simulation.replayed import MINE, asked_what, play, wish
from tests.simulation.world import World
from tradefan.actors.oms_gate import collar_price
from tradefan.errors import Refused
from tradefan.flight import program_hash
from tradefan.messages.base import Message
from tradefan.messages.control import CloseLatch, KillSwitch
from tradefan.messages.orders import CancelAll
from tradefan.replay import command
from tradefan.replay.check import Asked, Runs
from tradefan.replay.player import Played, Player
from tradefan.replay.what_if import what_if
from tradefan.runtime.context import TurnContext
from tradefan.runtime.kernel import Kernel
from tradefan.runtime.recording import HEAD, SNAPSHOT, STEPS, pack_chunk
from tradefan.runtime.snapshot import KernelSnapshot, take
from tradefan.stores.recorder import FlightRecorder
from tradefan.stores.segments import Segment
from tradefan.units import OwnerId, Ref


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record(tmp_path_factory.mktemp("recorded"), play, MINE)


# --- the same again -----------------------------------------------------------------------------------


def test_replay_when_whole_then_same_hash_same_snapshots_same_records(run: Recorded) -> None:
    """I-42: also behind a crash of a strategy, a swap, a lost connection; the journal says the same."""
    crashes = [line for _, line in run.world.log if line.event == "actor_crashed"]
    assert {line.actor for line in crashes} == {"strategy:mine"}
    assert any(line.event == "config_active" or "lower" in str(line.fields) for _, line in run.world.log)
    report = run.replay()
    assert (report.divergence, report.raised, report.code) == (None, "", 0)
    assert run.world.kernel.trace is not None
    assert report.trace == run.world.kernel.trace.hexdigest()
    assert report.steps == run.world.kernel.state.steps == run.recorder.view().steps
    assert (report.segments, report.joints) == (len(run.segments), len(run.segments) - 1)
    assert report.segments >= 4
    assert report.digests > 50
    assert report.records == run.world.view("oms").lsn > 30
    assert report.notes == []
    assert "ended in order (stopped)" in report.ended


def test_replay_when_from_each_segment_then_the_same_as_far_as_it_goes(run: Recorded) -> None:
    """Each begins with a snapshot and needs nothing before it."""
    steps = 0
    for path in run.segments:
        report = run.replay(path)
        assert (report.code, report.notes) == (0, [])
        steps += report.steps
    assert steps == run.world.kernel.state.steps
    assert run.replay(run.segments[-1]).trace == run.replay().trace


def test_replay_when_one_listens_then_nothing_changes(run: Recorded) -> None:
    """What is shown is heard beside the trace, and not in it."""
    heard = 0

    def see(_player: Player, played: Played) -> None:
        nonlocal heard
        heard += len(played.heard)

    report = run.replay(see=see, listen=True)
    assert report.code == 0
    assert report.trace == run.replay().trace
    assert heard > run.world.kernel.state.steps


def test_replay_when_cut_off_then_to_the_last_whole_chunk(tmp_path: Path) -> None:
    """kill -9: nobody closed the recorder, and the last chunk is half on the disk."""

    def short(world: World) -> None:
        world.run(30)

    run = record(tmp_path / "run", short)
    path = run.segments[-1]
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    report = run.replay()
    assert report.code == 0
    assert "cut off at offset" in report.ended
    assert "replayed to its last whole chunk" in report.ended
    assert 0 < report.steps < run.world.kernel.state.steps


def test_replay_when_the_daemon_still_writes_then_nobody_says_that_it_died(tmp_path: Path) -> None:
    """Beside a running daemon, and behind one that died between two chunks: the files look alike."""
    ended: list[str] = []

    def look(world: World) -> None:
        world.run(30)
        recorder = world.driver.hosted.recorder
        assert isinstance(recorder, FlightRecorder)
        while recorder.view().queue_bytes:
            time.sleep(0.002)
        runs = Runs(Asked(tmp_path / "run" / "logs" / "recorder", program_hash(), ""))
        ended.append(runs.play(runs.runs[0], lambda _player, _played: None).ended)

    run = record(tmp_path / "run", look)
    path = run.segments[-1]
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"TFr1\x04")])
    ended.append(run.replay().ended)
    assert ended == [
        "still being written: replayed as far as it was on the disk",
        "without an end: the process died, or its disk failed",
    ]


@pytest.mark.parametrize("kept", [0, 70, 3_000])
def test_replay_when_a_segment_had_hardly_begun_then_all_others_replay(
    run: Recorded, tmp_path: Path, kept: int
) -> None:
    """A kill or a full disk may meet the daemon at any byte of its newest file."""
    for path in run.segments[:2]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    third = run.segments[2]
    (tmp_path / third.name).write_bytes(third.read_bytes()[:kept])
    report = run.replay(tmp_path)
    assert (report.code, report.segments, report.notes) == (0, 2, [])
    with pytest.raises(Refused, match=r"NO_RECORDING: .* it ends before them"):
        run.replay(tmp_path / third.name)


def test_replay_when_no_step_is_recorded_then_nothing_is_said_to_be_equal(
    run: Recorded, tmp_path: Path
) -> None:
    """A file that a crash has cut off behind its snapshot is well, and says nothing."""
    first = run.segments[0]
    content = first.read_bytes()
    begin = next(place for place, _ in Segment(first).chunks())
    (tmp_path / first.name).write_bytes(content[: begin.offset])
    report = run.replay(tmp_path)
    assert (report.code, report.steps) == (0, 0)
    lines = list(report.lines())
    assert "nothing to compare: no step of it is recorded" in lines
    assert not any("as recorded" in line for line in lines)


def test_replay_when_a_segment_is_missing_in_the_middle_then_said_so(run: Recorded, tmp_path: Path) -> None:
    """What lies between was not replayed, whatever the hash of the rest says."""
    for path in (run.segments[0], run.segments[2]):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    report = run.replay(tmp_path)
    first = [Segment(path).head.first_step for path in run.segments[:3]]
    assert (report.code, report.joints) == (0, 0)
    assert report.notes == [f"nothing is recorded between step {first[1]} and {first[2]}"]


def test_replay_when_a_chunk_is_damaged_then_refused_before_anything_is_replayed(
    run: Recorded, tmp_path: Path
) -> None:
    """With file and offset; an end before the damage lets the rest be read."""
    for path in run.segments[:2]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    harmed = tmp_path / run.segments[1].name
    content = bytearray(harmed.read_bytes())
    content[-300] ^= 1
    harmed.write_bytes(content)
    seen: list[Played] = []
    with pytest.raises(Refused, match=f"RECORDING_DAMAGED: .*{harmed.name}, offset \\d+: steps chunk"):
        run.replay(tmp_path, see=lambda _player, played: seen.append(played))
    assert seen == []
    assert run.replay(tmp_path, until_text="2023-11-14T22:13:35Z").code == 0


def test_replay_when_the_kernel_itself_broke_then_it_breaks_at_the_same_step(tmp_path: Path) -> None:
    """The step that ended the daemon is the last of its recording, and its traceback comes again."""

    def breaks(world: World) -> None:
        world.run(10)
        world.driver.inject(Ref(9_999), wish("to nobody"))
        with pytest.raises(IndexError):
            world.run(1)

    run = record(tmp_path, breaks)
    report = run.replay()
    assert (report.code, report.divergence) == (1, None)
    assert report.raised.startswith(f"step {run.world.kernel.state.steps} raises:")
    assert "IndexError" in report.raised


def test_replay_when_its_words_are_of_another_version_then_said_so(run: Recorded, tmp_path: Path) -> None:
    """Its checksum is right, so nothing is damaged: this program does not know such a step."""
    whole = run.segments[0].read_bytes()
    places = Segment(run.segments[0])._places
    chunk = pack_chunk(STEPS, bytes(36) + b"\x02\x00\x00\x00\x91\x01", 0, places[0].frame.at_ns)
    other = tmp_path / run.segments[0].name
    other.write_bytes(whole[: places[2].offset] + chunk)
    with pytest.raises(Refused, match=r"RECORDING_OTHER: .* step 1 is not in the words of this version"):
        run.replay(other)


@pytest.mark.parametrize("other", ["config", "snapshot"])
def test_replay_when_its_beginning_is_of_another_version_then_said_so(
    run: Recorded, tmp_path: Path, other: str
) -> None:
    """A key that is no more, a state that has other fields: refused in words, by a what-if as well."""
    first = Segment(run.segments[0])
    head, snapshot = (msgspec.msgpack.decode(first._content(place)) for place in first._places[:2])
    if other == "config":
        snapshot["config"] = msgspec.msgpack.encode({"of_another_version": 1})
    else:
        del snapshot["kernel"]["steps"], snapshot["cells"]
    written = tmp_path / run.segments[0].name
    parts = ((HEAD, head), (SNAPSHOT, snapshot))
    written.write_bytes(
        b"".join(pack_chunk(kind, msgspec.msgpack.encode(part), 0, first.first_ns) for kind, part in parts)
    )
    for ask in (run.replay, lambda path: asked_what(run, "risk.max_order_notional=1000", path=path)):
        with pytest.raises(Refused, match=r"RECORDING_OTHER: .* its beginning is not in the words of this"):
            ask(written)


def test_replay_when_a_secret_was_struck_out_then_unchecked_to_the_segment_s_end_alone(
    tmp_path: Path,
) -> None:
    """Who writes the token into an order's ref: no file has it, and the next segment is checked again."""

    def careless(world: World) -> None:
        world.run_until(world.ready, 90)
        world.send("oms", wish(f"Bearer {TOKEN}"))
        world.run(45)

    run = record(tmp_path, careless)
    contents = [Segment(path)._content(place) for path in run.segments for place in Segment(path)._places]
    assert not any(TOKEN.encode() in content for content in contents)
    report = run.replay()
    assert report.code == 0
    (note,) = report.notes
    assert note.startswith("a secret was struck out: not checked from step ")
    (struck,) = [path for path in run.segments if run.replay(path).notes]
    behind = run.segments[run.segments.index(struck) + 1 :]
    assert len(behind) >= 2
    alone = [run.replay(path).digests for path in run.segments]
    assert all(alone)
    # Each joint compares a snapshot; the one behind the secret begins from its own.
    assert (report.digests, report.joints) == (sum(alone), len(run.segments) - 2)


def test_replay_when_a_snapshot_has_a_struck_secret_then_what_follows_from_it_is_no_difference(
    tmp_path: Path,
) -> None:
    """A token in the ref of an order that rests is in the snapshots of later segments, too."""

    def careless(world: World) -> None:
        world.run_until(world.ready, 90)
        world.send("oms", wish(f"B {TOKEN}", limit="61000"))
        world.run(50)
        world.send("oms", CancelAll(OwnerId("cli")))
        world.run(25)

    run = record(tmp_path, careless)
    struck = [path for path in run.segments if Segment(path).struck]
    assert len(struck) >= 3
    whole = run.replay()
    assert (whole.code, whole.divergence) == (0, None)
    unchecked = [path for path in run.segments if run.replay(path).notes]
    notes = [note for path in unchecked for note in run.replay(path).notes]
    assert len(unchecked) == len(notes) == 2
    assert unchecked[1] in struck
    assert all(note.startswith("a secret was struck out: not checked from step ") for note in notes)
    assert whole.notes == notes
    assert all(run.replay(path).code == 0 for path in run.segments)


# --- differences --------------------------------------------------------------------------------------


def test_replay_when_the_code_decides_otherwise_then_the_first_step_with_both_values(
    run: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collar that is a tick off: the first INTENT differs, and both are shown."""

    def off(*args: Any) -> Decimal:
        return collar_price(*args) + Decimal("0.01")

    first: list[int] = []

    def see(_player: Player, played: Played) -> None:
        if not first and any("Intent" in type(record).__name__ for _, record in records(played)):
            first.append(played.number)

    run.replay(see=see)
    monkeypatch.setattr(tradefan.actors.oms_children, "collar_price", off, raising=True)
    report = run.replay()
    assert report.code == 1
    assert report.divergence is not None
    assert report.divergence.step == first[0]
    assert "of the journal" in report.divergence.what
    assert "Intent(" in report.divergence.recorded
    assert "Intent(" in report.divergence.replayed
    assert report.divergence.recorded != report.divergence.replayed
    assert "NOT as recorded" in "\n".join(report.lines())


def test_replay_when_the_kill_s_latch_stays_open_then_the_first_step_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is told to the rim is seen by no actor, and is as much part of the run."""

    def kills(world: World) -> None:
        world.run_until(world.ready, 90)
        world.send("oms", KillSwitch("all", "panic", "me", req=7))
        world.run(5)

    run = record(tmp_path, kills)
    assert run.replay().code == 0
    send = TurnContext.send

    def lax(ctx: TurnContext, ref: Ref, msg: Message) -> bool:
        return isinstance(msg, CloseLatch) or send(ctx, ref, msg)

    monkeypatch.setattr(TurnContext, "send", lax)
    report = run.replay()
    assert (report.code, report.divergence is None) == (1, False)


def records(played: Played) -> Any:
    from tradefan.replay.bounds import records_of

    return records_of(played)


def test_replay_when_a_snapshot_has_other_actors_or_other_bytes_then_said_as_any_difference(
    run: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One actor less; and what is equal as soon as it is decoded, in another spelling."""

    def one_less(kernel: Kernel, config: bytes, code: str) -> bytes:
        known = msgspec.msgpack.decode(take(kernel, config, code), type=KernelSnapshot)
        known.cells.pop()
        return msgspec.msgpack.encode(known)

    def wider(kernel: Kernel, config: bytes, code: str) -> bytes:
        raw = take(kernel, config, code)
        return bytes((0xDE, 0, raw[0] & 0x0F)) + raw[1:]

    found = []
    for other in (one_less, wider):
        monkeypatch.setattr("tradefan.replay.player.take", other)
        divergence = run.replay().divergence
        assert divergence is not None
        assert divergence.what == f"the snapshot of {run.segments[1].name}"
        found.append((divergence.recorded, divergence.replayed))
    (actors, fewer), (recorded, replayed) = found
    assert int(actors.split()[0]) == int(fewer.split()[0]) + 1
    size = int(recorded.split()[0])
    assert recorded.startswith(f"{size} bytes, from byte 0 8e")
    assert replayed.startswith(f"{size + 2} bytes, from byte 0 de000e")


def test_replay_when_a_journal_that_is_named_is_none_then_refused(run: Recorded, tmp_path: Path) -> None:
    """Only for one that nobody named it is a note: who names it wants the comparison."""
    for path in (tmp_path / "nothing.db", tmp_path):
        with pytest.raises(Refused, match=f"NO_JOURNAL: --journal: expected a journal's file, got '{path}'"):
            run.replay(journal=path)


def test_replay_when_there_is_no_journal_then_the_trace_alone_names_the_step(
    run: Recorded, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With what each actor took in it, and a note that nothing was compared with the journal."""

    def off(*args: Any) -> Decimal:
        return collar_price(*args) + Decimal("0.01")

    for path in run.segments:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(tradefan.actors.oms_children, "collar_price", off)
    (run.folder / "journal.db").rename(run.folder / "away.db")
    try:
        report = run.replay(tmp_path, listen=True)
    finally:
        (run.folder / "away.db").rename(run.folder / "journal.db")
    assert report.divergence is not None
    assert report.divergence.what == "what actors took or sent out"
    assert "oms" in report.divergence.replayed
    assert any("no journal at" in note for note in report.notes)


def test_replay_when_the_journal_is_another_run_s_then_its_record_differs(
    run: Recorded, tmp_path: Path
) -> None:
    """The same letters, another history: both values and the number of the record."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "instance").write_text((run.folder / "instance").read_text())

    def otherwise(world: World) -> None:
        world.run_until(world.ready, 90)
        world.send("oms", wish("other", "0.2"))
        world.run(60)

    other = record(tmp_path / "other", otherwise, MINE)
    report = run.replay(journal=other.folder / "journal.db")
    assert report.divergence is not None
    assert report.divergence.what.startswith("record ")
    assert report.divergence.recorded != report.divergence.replayed


def test_replay_when_of_another_program_then_said_first(run: Recorded) -> None:
    """Program, strategy files and Python: whatever comes out, it may be for this reason."""
    said: list[str] = []
    runs = Runs(Asked(run.folder / "logs" / "recorder", "another", "files"), said.append)
    report = runs.play(runs.runs[0], lambda _player, _played: said.append("a step"))
    assert said[:3] == [*report.program, "a step"]
    assert "by another program" in said[0]
    assert "with strategy files none, here are files" in said[1]
    assert report.notes == []
    assert report.code == 0


def test_replay_when_of_another_program_then_programs_hear_it_first_too(
    run: Recorded, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside the objects, before any of them: also where what was recorded cannot even be wired here."""
    asked = Asked(run.segments[0].parent, "another", "files")
    said: list[str] = []

    def say(text: str) -> None:
        said.append(capsys.readouterr().err + text)

    assert command.explain(asked, "one", say, as_json=True) == 0
    assert said[0].startswith("note: recorded by another program")
    assert msgspec.json.decode(said[0].splitlines()[-1])["what"] == "seen"
    said.clear()
    middle = msgspec.structs.replace(asked, path=run.segments[1])
    with pytest.raises(Refused, match="NOT_LIVE"):
        what_if(middle, ("data_dir=x",), said.append, as_json=False)
    assert "recorded by another program" in said[0]
