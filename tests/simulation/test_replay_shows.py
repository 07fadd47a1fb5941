"""What a replay shows: between bounds, step by step, in a debugger, and as the story of one order."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer

import tradefan.actors.oms_children
from tests.simulation.recorded import Recorded, record
from tests.simulation.replayed import MINE, play, wish
from tests.simulation.world import ROOT, T0, World
from tradefan.actors.oms_gate import collar_price
from tradefan.cli import app
from tradefan.errors import Refused
from tradefan.messages.orders import CancelParent
from tradefan.replay import command
from tradefan.replay.cut import cut
from tradefan.replay.story import Story
from tradefan.replay.what_if import what_if
from tradefan.stores.segments import Segment
from tradefan.units import MINUTE, SECOND


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record(tmp_path_factory.mktemp("recorded"), play, MINE)


# --- looking ------------------------------------------------------------------------------------------


def test_print_when_between_two_bounds_then_only_that(run: Recorded) -> None:
    """Orders: their records and refusals. Decisions: all records and the log. All: messages, too."""
    counts = {}
    for word in ("orders", "decisions", "all"):
        said: list[str] = []
        asked = run.asked(from_text="22:14:00", until_text="2023-11-14T22:14:20Z")
        assert command.check(asked, said.append, word=word, wait=None, as_json=False) == 0
        shown = [line for line in said if " 2023-11-14T22:14:" in line]
        assert shown
        counts[word] = len(shown)
        assert all("22:14:00" <= line.split()[1][11:19] <= "22:14:20" for line in shown)
    assert 0 < counts["orders"] <= counts["decisions"] < counts["all"]
    said.clear()
    with pytest.raises(Refused, match="BAD_PRINT"):
        command.check(run.asked(until_text="step:1"), said.append, word="all ", wait=None, as_json=False)
    nothing = run.asked(run.segments[0], from_text="step:999999")
    with pytest.raises(Refused, match="BAD_PRINT"):
        command.check(nothing, said.append, word="everything", wait=None, as_json=False)
    assert said == []
    for word in ("12-30", "25:00", "12:61:00"):
        with pytest.raises(Refused, match=rf"BAD_BOUND: --until: expected an instant .*, got '{word}'"):
            run.replay(until_text=word)


def test_bounds_when_they_cannot_be_meant_then_said_by_their_names(run: Recorded, tmp_path: Path) -> None:
    """Each option says what it takes, and nobody waits for an end that lies before the beginning."""
    instant = r"an instant \(2026-01-31T12:00:00Z or 12:00:00\)"
    for word in ("xx", "pi72aaabaaaaaagdx"):
        with pytest.raises(Refused, match=rf"--from: expected {instant} or step:NUMBER, got '{word}'"):
            run.replay(from_text=word)
        with pytest.raises(Refused, match=rf"--until: expected {instant} or step:NUMBER, got '{word}'"):
            cut(run.asked(until_text=word), (), tmp_path / "out")
    nothing = r"NO_RECORDING: .* goes from 2023-11-14T22:13:20.* to 2023-11-14T22:1"
    with pytest.raises(Refused, match=nothing):
        run.replay(from_text="2023-11-14T22:20:00Z")
    with pytest.raises(Refused, match=nothing):
        run.replay(until_text="2023-11-14T22:13:00Z")
    for begin, end in (("22:14:10", "22:14:00"), ("step:20", "step:10")):
        with pytest.raises(
            Refused, match=f"BAD_BOUND: --until: expected nothing before --from {begin}, got '{end}'"
        ):
            run.replay(from_text=begin, until_text=end)


def test_until_when_an_order_then_ended_at_its_first_record(run: Recorded) -> None:
    """Where a story begins, a look at everything can begin, too; step by step the reader may leave."""
    parent = next(one for one in run.world.view("oms").parents if one.order.ref == "rests").order.parent_id
    report = run.replay(until_text=parent)
    assert "as asked" in report.ended
    assert report.steps < run.world.kernel.state.steps
    again = run.replay(until_text=f"step:{report.steps}")
    assert again.steps == report.steps
    waits = iter([True, True, False])
    said: list[str] = []
    asked = run.asked()
    assert command.check(asked, said.append, word="decisions", wait=lambda: next(waits), as_json=True) == 0
    assert {msgspec.json.decode(line)["what"] for line in said} <= {"record", "log", "refuse"}


def test_until_when_no_recording_has_that_order_then_refused(plain: Recorded) -> None:
    """A word may look like an order's id: nobody may take the replay of everything for an answer."""
    said: list[str] = []
    asked = plain.asked(until_text="yesterday")
    with pytest.raises(Refused, match=r"UNKNOWN_ORDER: --until: expected an order that .*, got 'yesterday'"):
        command.check(asked, said.append, word=None, wait=None, as_json=False)
    assert said == []
    with pytest.raises(Refused, match="UNKNOWN_ORDER: --until"):
        what_if(asked, ("logs.level=debug",), said.append, as_json=True)


def test_step_when_typed_then_enter_shows_the_next_and_q_leaves(
    plain: Recorded, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At a terminal it waits; without one it goes on to its report."""

    class Typed(StringIO):
        def isatty(self) -> bool:
            return True

    def typed(stdin: StringIO) -> list[str]:
        with monkeypatch.context() as patch:
            patch.chdir(ROOT)
            patch.setattr("sys.stdin", stdin)
            words = ["replay", str(plain.segments[0].parent), "--step"]
            with pytest.raises(SystemExit) as ended:
                typer.main.get_command(app).main(words, standalone_mode=False)
        assert ended.value.code == 0
        return capsys.readouterr().out.splitlines()

    def steps(lines: list[str]) -> list[str]:
        return list(dict.fromkeys(line.split()[0] for line in lines))

    whole = typed(StringIO())
    assert whole[-1].startswith("journal: ")
    left = typed(Typed("\n\nq\n"))
    assert left == whole[: len(left)]
    assert len(steps(left)) == 3
    assert steps(typed(Typed("\n"))) == steps(left)[:2]


def test_debug_when_an_order_is_named_then_stopped_before_its_step(
    run: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pdb stops with the kernel as it was before that step."""
    parent = next(one for one in run.world.view("oms").parents if one.order.ref == "one").order.parent_id
    wanted = run.replay(until_text=parent).steps
    stops: list[str] = []
    monkeypatch.setattr("pdb.Pdb.set_trace", lambda _self: stops.append(said[-1]))
    said: list[str] = []
    assert command.debug(run.asked(until_text=parent), said.append) == 0
    assert len(stops) == 1
    assert f"before step {wanted}:" in stops[0]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """A run that a process of its own can replay: it has no strategies of these tests."""

    def trade(world: World) -> None:
        world.run_until(world.ready, 90)
        world.send("oms", wish("one"))
        world.run(5)

    return record(tmp_path_factory.mktemp("plain"), trade)


@pytest.mark.parametrize(
    "words", [[], ["--print", "all"], ["--explain", "one"], ["--set", "risk.max_order_notional=1000"]]
)
def test_replay_when_the_reader_leaves_early_then_it_ends_in_silence(
    plain: Recorded, words: list[str]
) -> None:
    """`| head` has seen enough: no traceback, whatever was asked for."""
    replay = subprocess.Popen(
        [sys.executable, "-m", "tradefan", "replay", str(plain.segments[0].parent), *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert replay.stdout is not None
    replay.stdout.close()
    _, said = replay.communicate(timeout=60)
    assert (replay.returncode, said) == (0, b"")


IN_A_TURN = "from tradefan.runtime.context import TurnContext\nb TurnContext.send\nc\n"


@pytest.mark.parametrize("words", ["", IN_A_TURN], ids=["at once", "in a turn"])
def test_debug_when_it_is_left_then_the_command_ends(run: Recorded, words: str) -> None:
    """Also from within the kernel, which would take what pdb raises for the crash of an actor."""
    debugger = subprocess.run(
        [sys.executable, "-c", DEBUG, str(run.segments[0])],
        cwd=ROOT,
        input=f"{words}q\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (debugger.returncode, debugger.stderr) == (0, "")
    assert "pdb stops before step 30" in debugger.stdout
    assert ("context.py" in debugger.stdout) == bool(words)
    assert "replayed" not in debugger.stdout


DEBUG = """
import sys
from pathlib import Path
import tests.simulation.replayed
from tradefan.replay import command
from tradefan.replay.cut import cut
from tradefan.replay.check import Asked
command.debug(Asked(Path(sys.argv[1]), "", "", until_text="step:30"), print)
"""


def test_debug_when_the_step_is_the_one_that_differs_then_stopped_before_it(
    plain: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the step that somebody wants to look at; another one behind it is never come to."""

    def off(*args: Any) -> Decimal:
        return collar_price(*args) + Decimal("0.01")

    monkeypatch.setattr(tradefan.actors.oms_children, "collar_price", off)
    divergence = plain.replay().divergence
    assert divergence is not None
    stops: list[str] = []
    monkeypatch.setattr("pdb.Pdb.set_trace", lambda _self: stops.append(said[-1]))
    said: list[str] = []
    assert command.debug(plain.asked(until_text=f"step:{divergence.step}"), said.append) == 1
    assert len(stops) == 1
    assert f"before step {divergence.step}:" in stops[0]
    assert command.debug(plain.asked(until_text=f"step:{divergence.step + 1}"), said.append) == 1
    assert len(stops) == 1


def test_debug_when_two_runs_have_such_a_step_then_stopped_in_the_one_that_is_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each life counts from one; an instant is of one life alone."""

    def short(world: World) -> None:
        world.run(30)

    record(tmp_path, short)
    second = record(tmp_path, short, start_ns=T0 + MINUTE)
    stops: list[int] = []
    asked = second.asked(until_text="22:14:30")

    def before(self: Any) -> None:
        frame = sys._getframe(1)
        stops.append(frame.f_locals["_now_ns"])

    monkeypatch.setattr("pdb.Pdb.set_trace", before)
    said: list[str] = []
    assert command.debug(asked, said.append) == 0
    assert [at_ns // SECOND for at_ns in stops] == [T0 // SECOND + 70]


@pytest.mark.parametrize(
    "words",
    [
        ["--explain", "one", "--debug"],
        ["--explain", "one", "--print", "all"],
        ["--debug", "--step"],
        ["--set", "risk.max_position=1", "--explain", "one"],
    ],
)
def test_replay_when_asked_for_two_things_then_neither_is_passed_over_in_silence(
    plain: Recorded, words: list[str]
) -> None:
    """Which would win, nobody can know."""
    typed = ["replay", str(plain.segments[0]), *words]
    with pytest.raises(Refused, match=r"BAD_OPTIONS: --\w+: expected without --") as refused:
        typer.main.get_command(app).main(typed, standalone_mode=False)
    named = [word for word in words if word.startswith("--")]
    assert all(name in str(refused.value) for name in named)


# --- the story of an order ----------------------------------------------------------------------------


def story(run: Recorded, order: str) -> Story:
    told = Story(order)
    run.replay(see=told.see, listen=True)
    return told


def test_story_when_an_order_filled_then_from_what_was_seen_to_its_end(run: Recorded) -> None:
    """By its parent's id, its ref or its own id: the same story, in the order in which it happened."""
    told = story(run, "one")
    assert told.parent is not None
    lines = list(told.lines())
    words = [event.what for event in told.events]
    for before, behind in (
        ("seen", "wished"),
        ("wished", "decided"),
        ("decided", "durable"),
        ("durable", "sent"),
        ("sent", "came"),
    ):
        assert words.index(before) < words.index(behind)
    texts = "\n".join(lines)
    assert "LIVE" in texts
    assert "wished   by cli alice: SubmitOrder" in texts
    assert "passed latch, reduce_only, max_order_qty, max_order_notional" in texts
    assert '"method":"order.place"' in texts
    assert "Fill" in texts
    (child,) = told.children
    for same in (told.parent.parent_id, child):
        assert list(story(run, same).lines()) == lines
    at = [event.at_ns for event in told.events]
    assert at == sorted(at)
    sent = next(event for event in told.events if event.what == "sent")
    came = next(event for event in told.events if event.what == "came")
    # The paper venue's latency, there and back.
    assert came.at_ns - sent.at_ns == 20_000_000


def test_story_when_a_strategy_ordered_then_its_turn_and_its_reason(run: Recorded) -> None:
    """The target, the turn that wished for it, and what the strategy said why."""
    mine = next(one for one in run.world.view("oms").parents if one.order.owner == "rebalance_btc")
    texts = "\n".join(story(run, mine.order.parent_id).lines())
    assert "by strategy rebalance_btc in its turn" in texts
    assert "SetTarget" in texts
    assert "rebalance" in texts


def test_story_when_refused_then_the_rule_and_its_numbers(run: Recorded) -> None:
    """What never became an order has a story, too: the rule, the limit, what was used, what would pass."""
    told = story(run, "too much")
    assert told.parent is None
    (event,) = [event for event in told.events if event.what == "refused"]
    assert "by RISK_MAX_" in event.text
    assert "would pass" in event.text
    text = "\n".join(story(run, "refused by the new limit").lines())
    assert "RISK_MAX_NOTIONAL" in text
    assert "3000" in text
    with pytest.raises(Refused, match="UNKNOWN_ORDER"):
        command.explain(run.asked(), "nobody", print, as_json=False)


def test_story_when_the_replay_goes_another_way_before_it_then_that_is_said(
    run: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not that nobody knows the order: what was recorded of it was not reached, and a debugger neither."""

    def off(*args: Any) -> Decimal:
        return collar_price(*args) + Decimal("0.01")

    monkeypatch.setattr(tradefan.actors.oms_children, "collar_price", off)
    said: list[str] = []
    assert command.explain(run.asked(), "small enough", said.append, as_json=False) == 1
    assert any("NOT as recorded at step" in line for line in said)
    debugged: list[str] = []
    assert command.debug(run.asked(until_text="22:15:00"), debugged.append) == 1
    assert any("NOT as recorded at step" in line for line in debugged)


def test_story_when_it_began_before_the_recording_then_told_from_there(run: Recorded) -> None:
    """An old segment is gone, or one file is asked for: the order is known, and how it ended is there."""
    told = story(run, "rests")
    assert told.parent is not None
    (child,) = told.children
    ended = next(event.step for event in told.events if "CANCELED" in event.text)
    last = next(path for path in reversed(run.segments) if Segment(path).head.first_step < ended)
    behind = [event for event in told.events if event.step > Segment(last).head.first_step]
    assert 0 < len(behind) < len(told.events)
    for name in (child, told.parent.parent_id, "rests"):
        later = Story(name)
        run.replay(last, see=later.see, listen=True)
        assert [event.text for event in later.events if event.what != "durable"] == [
            event.text for event in behind if event.what != "durable"
        ]
        assert next(later.lines()) == next(told.lines())


def test_story_when_a_restart_lies_between_then_told_to_its_end(tmp_path: Path) -> None:
    """The next life knows its orders from the journal, behind its first step: by each name of them."""

    def first(world: World) -> None:
        world.run_until(world.ready, 90)
        world.send("oms", wish("rests", limit="61000"))
        world.run(2)

    def second(world: World) -> None:
        world.run_until(world.ready, 90)
        (one,) = [one.order for one in world.view("oms").parents if one.order.ref == "rests"]
        world.send("oms", CancelParent(one.owner, one.parent_id))
        world.run(5)

    off = [f"strategies.{name}.enabled=false" for name in ("rebalance_btc", "ema_cross_eth")]
    (before,) = record(tmp_path, first, *off).segments
    run = record(tmp_path, second, *off, start_ns=T0 + MINUTE)
    born = Story("rests")
    run.replay(before, see=born.see, listen=True)
    assert born.parent is not None
    (child,) = born.children
    (behind,) = set(run.segments) - {before}
    for name in (child, born.parent.parent_id, "rests"):
        said: list[str] = []
        assert command.explain(run.asked(), name, said.append, as_json=False) == 0
        assert any("CANCELED" in line for line in said)
        later = Story(name)
        run.replay(behind, see=later.see, listen=True)
        assert later.children == born.children
        assert any("order.cancel" in event.text for event in later.events if event.what == "sent")
