"""A recorded run replays to the same hash, whole and from each segment; differences have both values."""

from __future__ import annotations

import gzip
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

import tradefan.actors.oms_engine
from tests.simulation.recorded import TOKEN, Recorded, record
from tests.simulation.world import ACCOUNT, T0, World, development, recordings
from tradefan.actors.oms_gate import collar_price
from tradefan.config.mistakes import ConfigInvalid
from tradefan.errors import Refused, TurnOverrun
from tradefan.links.tape import open_recordings
from tradefan.messages.control import SwapConfig
from tradefan.messages.orders import CancelAll, SubmitOrder
from tradefan.messages.wire import Closed, Overflow
from tradefan.replay import command
from tradefan.replay.check import Asked, Runs
from tradefan.replay.cut import Cut, cut
from tradefan.replay.player import Played, Player
from tradefan.replay.rerun import Rerun
from tradefan.replay.story import Story
from tradefan.replay.what_if import what_if
from tradefan.runtime.recording import HEAD, SNAPSHOT, STEPS, pack_chunk
from tradefan.runtime.system import RIM
from tradefan.stores.segments import Segment
from tradefan.strategy import Bar, Commands, Settings, State, Strategy, View, register
from tradefan.units import SECOND, InstrumentId, OwnerId, Ref
from tradefan.venues.tape_book import TapeBook
from tradefan.wiring import encode_config

BTC = InstrumentId("binance:BTC/USDT")
MINE = "strategies.mine={use: boom_in_replay}"


class BoomState(State):
    """How many bars it has seen."""

    seen: int = 0


@register("strategy", "boom_in_replay")
class Boom(Strategy[Settings, BoomState]):
    """Raises at its tenth bar."""

    def setup(self) -> None:
        """Declare."""
        self.bars("1s", "ETH/USDT")

    def on_bar(self, bar: Bar, view: View) -> Commands:
        """Raise."""
        self.state.seen += 1
        if self.state.seen == 10:
            raise RuntimeError("boom")
        return ()


ENDLESS = {"here": False}


@register("strategy", "endless_in_replay")
class Endless(Strategy[Settings, BoomState]):
    """Its tenth bar takes for ever; when it is recorded, somebody has broken it off."""

    def setup(self) -> None:
        """Declare."""
        self.bars("1s", "ETH/USDT")

    def on_bar(self, bar: Bar, view: View) -> Commands:
        """Never return."""
        self.state.seen += 1
        while self.state.seen == 10:
            if not ENDLESS["here"]:
                raise TurnOverrun("strategy:mine: too long")
        return ()


def wish(ref: str, qty: str = "0.1", limit: str | None = None) -> SubmitOrder:
    return SubmitOrder(
        account=ACCOUNT,
        instrument=BTC,
        owner=OwnerId("cli"),
        ref=ref,
        side="buy",
        order_qty=Decimal(qty),
        algo="market" if limit is None else "limit",
        limit_price=None if limit is None else Decimal(limit),
    )


def reset(world: World) -> None:
    """Break the connection of the market."""
    gen = world.view("market_data:binance").generation
    world.send("market_data:binance", Closed("binance", gen, world.driver.now_ns, 1006, "reset"))


def play(world: World) -> None:
    """Trade, be refused, cancel, swap the configuration, lose the market's connection."""
    world.run_until(world.ready, 90)
    world.send("oms", wish("one"))
    world.run(2)
    world.send("oms", wish("rests", limit="61000"))
    world.send("oms", wish("too much", "9"))
    world.run(20)
    swapped = msgspec.structs.replace(
        world.config, risk=msgspec.structs.replace(world.config.risk, max_order_notional=Decimal(3_000))
    )
    world.driver.inject(RIM, SwapConfig("lower", encode_config(swapped)))
    world.run(1)
    world.send("oms", wish("refused by the new limit"))
    world.run(5)
    reset(world)
    world.run(20)
    world.send("oms", CancelAll(OwnerId("cli")))
    world.run(30)


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
        head["config"] = msgspec.msgpack.encode({"of_another_version": 1})
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
    monkeypatch.setattr(tradefan.actors.oms_engine, "collar_price", off, raising=True)
    report = run.replay()
    assert report.code == 1
    assert report.divergence is not None
    assert report.divergence.step == first[0]
    assert "of the journal" in report.divergence.what
    assert "Intent(" in report.divergence.recorded
    assert "Intent(" in report.divergence.replayed
    assert report.divergence.recorded != report.divergence.replayed
    assert "NOT as recorded" in "\n".join(report.lines())


def records(played: Played) -> Any:
    from tradefan.replay.bounds import records_of

    return records_of(played)


def test_replay_when_there_is_no_journal_then_the_trace_alone_names_the_step(
    run: Recorded, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With what each actor took in it, and a note that nothing was compared with the journal."""

    def off(*args: Any) -> Decimal:
        return collar_price(*args) + Decimal("0.01")

    for path in run.segments:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(tradefan.actors.oms_engine, "collar_price", off)
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
    assert "wished   by cli: SubmitOrder" in texts
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


# --- what if ------------------------------------------------------------------------------------------


def asked_what(run: Recorded, *sets: str, path: Path | None = None) -> dict[str, Any]:
    said: list[str] = []
    assert what_if(run.asked(path), sets, said.append, as_json=True) == 0
    (line,) = said
    found: dict[str, Any] = msgspec.json.decode(line)
    return found


def test_what_if_when_nothing_changes_then_the_same_orders_fills_and_equity(run: Recorded) -> None:
    """The paper venue again, from the first segment and from the middle, comes to what it came to."""
    for path in (None, run.segments[1]):
        recorded, again, changed = asked_what(run, "logs.level=debug", path=path)["runs"]
        recorded.pop("name")
        for other in (again, changed):
            other.pop("name")
            assert other == recorded
        assert recorded["orders"] > 0 or path is not None


def test_what_if_when_a_limit_is_lower_then_what_would_have_differed(run: Recorded) -> None:
    """Fewer orders, refusals by the rule, another equity, and each wish that went another way."""
    recorded, again, changed = asked_what(run, "risk.max_order_notional=1000")["runs"]
    assert recorded["fills"] == again["fills"] > 0
    assert (changed["orders"], changed["fills"]) == (0, 0)
    assert changed["refusals"]["RISK_MAX_NOTIONAL"] > again["refusals"].get("RISK_MAX_NOTIONAL", 0)
    assert changed["equity"] != again["equity"]
    assert Decimal(changed["realised"][ACCOUNT]) == Decimal(changed["unrealised"][ACCOUNT]) == 0
    assert Decimal(again["unrealised"][ACCOUNT]) != 0
    said: list[str] = []
    what_if(run.asked(), ("risk.max_order_notional=1000",), said.append, as_json=False)
    text = "\n".join(said)
    assert "wishes went another way" in text
    assert "-> not accepted" in text


def test_what_if_when_a_strategy_is_off_then_only_its_orders_are_missing(run: Recorded) -> None:
    """From the first segment of a run every key may differ, also who takes part."""
    recorded, again, changed = asked_what(run, "strategies.rebalance_btc.enabled=false")["runs"]
    assert {name for name in again["wishes"] if "rebalance_btc" in name} != set()
    assert [name for name in changed["wishes"] if "rebalance_btc" in name] == []
    assert {name for name in again["wishes"] if " cli " in name} <= set(changed["wishes"])
    assert recorded["orders"] == again["orders"] > changed["orders"]


def test_what_if_when_an_account_begins_with_other_balances_then_they_count(run: Recorded) -> None:
    """Before its first order an account is what the configuration says; behind it that would be a lie."""
    found = asked_what(run, "accounts.paper:main.balances={USDT: 5}")
    _, again, changed = found["runs"]
    assert again["orders"] > changed["orders"] == 0
    assert Decimal(changed["equity"]["paper:main"]) == 5


def test_what_if_when_wishes_come_at_one_instant_then_each_is_compared(tmp_path: Path) -> None:
    """One owner, one market, one message after the other: none stands for another one."""

    def twice(world: World) -> None:
        world.run_until(world.ready, 90)
        for ref in ("a", "b", "c"):
            world.send("oms", wish(ref))
        world.run(2)

    run = record(tmp_path, twice, "strategies.rebalance_btc.enabled=false")
    said: list[str] = []
    what_if(run.asked(), ("risk.max_order_notional=1000",), said.append, as_json=False)
    assert any(line.startswith("3 of 3 wishes went another way") for line in said)


def test_what_if_when_an_earlier_life_had_orders_then_the_account_knows_them(tmp_path: Path) -> None:
    """A start asks the venue for what has ended since, and trades nothing before it has an answer."""

    def first(world: World) -> None:
        world.run_until(world.ready, 90)
        world.send("oms", wish("one"))
        world.send("oms", wish("rests", limit="61000"))
        world.run(2)
        # The daemon dies before it hears of it.
        order = next(iter(world.paper.account.state.orders.values()))
        world.paper.account.cancel(order, world.driver.now_ns)
        world.paper.account.commit(world.driver.now_ns)

    def second(world: World) -> None:
        world.run_until(world.ready, 90)
        world.send("oms", wish("two"))
        world.run(5)

    record(tmp_path, first)
    run = record(tmp_path, second, start_ns=T0 + 60 * SECOND)
    found = asked_what(run, "risk.max_order_notional=1000", path=run.segments[-1])
    recorded, again, changed = found["runs"]
    assert recorded["orders"] == again["orders"] > changed["orders"] == 0
    assert changed["equity"] is not None
    assert again["equity"] == recorded["equity"]


def test_what_if_when_from_the_middle_then_only_live_keys(run: Recorded) -> None:
    """A restart key has no meaning without a start; a wrong one is the usual mistake."""
    with pytest.raises(Refused, match="NOT_LIVE: --set: from the middle of a run only live keys"):
        asked_what(run, "accounts.paper:main.taker_fee_bps=1", path=run.segments[1])
    with pytest.raises(ConfigInvalid, match="max_order_notionall"):
        asked_what(run, "risk.max_order_notionall=1")


def test_what_if_when_a_turn_never_ends_then_broken_off_as_in_the_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No recording says where a turn of another run is to be broken: the clock does, and a note says so."""

    def short(world: World) -> None:
        world.run_until(world.ready, 90)
        world.run(20)

    run = record(tmp_path, short, "strategies.mine={use: endless_in_replay}", "runtime.turn_max=100ms")
    monkeypatch.setitem(ENDLESS, "here", True)
    found = asked_what(run, "risk.max_order_notional=1000")
    assert any("turns took longer than runtime.turn_max" in note for note in found["notes"])
    assert run.replay().code == 0


def test_what_if_when_its_daemon_gives_up_then_said_so(
    run: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would have been behind that is in no column, and nobody may take it for the change's doing."""
    follow = Rerun.follow

    def gives_up(rerun: Rerun, played: Played, names: Any) -> None:
        if played.number == 100:
            rerun.driver.inject(RIM, Overflow("store", "too much for it"))
        follow(rerun, played, names)

    monkeypatch.setattr(Rerun, "follow", gives_up)
    notes = asked_what(run, "risk.max_order_notional=1000")["notes"]
    assert any(note.startswith("what if: ended with exit code 70 at step ") for note in notes)


# --- frames for a tape ----------------------------------------------------------------------------------


def test_cut_when_played_by_the_tape_then_the_same_market(run: Recorded, tmp_path: Path) -> None:
    """Byte for byte the frames that came, each once although the connection began anew."""
    made = cut(run.asked(), (), tmp_path / "tape")
    assert set(made) == {BTC, "binance:ETH/USDT"}
    lines = lines_of(made[BTC])
    at = [at_ns for at_ns, _ in lines]
    assert at == sorted(at)
    original = [one for one in recordings()["BTCUSDT"].frames() if lines[0][0] < one[0] <= lines[-1][0]]
    assert (lines[1:], made[BTC].bridged) == (original, 0)
    assert len(original) == made[BTC].frames > 10_000
    world = played(tmp_path / "tape", made[BTC], tmp_path)
    feed = next(one for one in world.view("market_data:binance").feeds if one.instrument == BTC)
    assert (feed.counters.gaps, feed.quality) == (0, "LIVE")
    assert feed.counters.trades > 100


def test_cut_when_frames_are_missing_then_bridged_to_the_book_behind(tmp_path: Path) -> None:
    """A live connection that breaks tells nothing meanwhile: one frame of our own leads over the hole."""

    def breaks(world: World) -> None:
        world.run(25)
        reset(world)
        world.run(15)

    run = record(tmp_path / "run", breaks, history_ns=SECOND // 10)
    made = cut(run.asked(), ("BTC/USDT",), tmp_path / "tape")
    original = {raw for _, raw in recordings()["BTCUSDT"].frames()}
    (bridge,) = [raw for _, raw in lines_of(made[BTC])[1:] if raw not in original]
    assert (made[BTC].bridged, b"@depth" in bridge) == (1, True)
    book = TapeBook(lines_of(made[BTC])[0][1])
    for _, raw in lines_of(made[BTC])[1:]:
        if b"@depth" in raw[:60]:
            book.fold(raw)
    cell: Any = run.world.kernel.cells[run.world.kernel.refs["market_data:binance"]]
    live = cell.actor.state.feeds[BTC].book
    told = msgspec.json.decode(book.body(5000))
    assert told["lastUpdateId"] == live.last_id
    assert [float(price) for price, _ in told["bids"]] == [float(key) for key in reversed(live.bid_keys)]
    assert [float(price) for price, _ in told["asks"]] == [-float(key) for key in reversed(live.ask_keys)]
    assert [float(qty) for _, qty in told["bids"]] == list(reversed(live.bid_qtys))


def lines_of(made: Cut) -> list[tuple[int, bytes]]:
    lines = (line.partition(b" ") for line in gzip.decompress(Path(made.path).read_bytes()).splitlines())
    return [(int(at_ns), raw) for at_ns, _, raw in lines]


def played(tape: Path, made: Cut, folder: Path) -> World:
    """Play a cut tape nearly to its end."""
    world = World(development(MINE), folder, open_recordings(tape), history_ns=5 * SECOND)
    world.run((made.last_ns - made.first_ns) / SECOND - 6)
    world.crash()
    return world


def test_cut_when_something_is_wrong_then_said(run: Recorded, tmp_path: Path) -> None:
    """An unknown symbol, a folder that has such files already, a span without frames."""
    with pytest.raises(Refused, match="UNKNOWN_INSTRUMENT: --symbol: expected one of binance:BTC/USDT"):
        cut(run.asked(), ("DOGE/USDT",), tmp_path)
    cut(run.asked(run.segments[1]), ("BTC/USDT",), tmp_path / "one")
    with pytest.raises(Refused, match="BAD_FOLDER: --out: expected a folder without"):
        cut(run.asked(run.segments[1]), ("BTC/USDT",), tmp_path / "one")
    with pytest.raises(Refused, match="NOTHING_TO_CUT"):
        cut(run.asked(run.segments[0], until_text="step:3"), (), tmp_path / "none")
