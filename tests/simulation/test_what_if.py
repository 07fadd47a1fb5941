"""The same market with another configuration, and recorded frames as files for a tape."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer

from tests.simulation.recorded import Recorded, record
from tests.simulation.replayed import BTC, ENDLESS, MINE, asked_what, play, reset, wish
from tests.simulation.world import ACCOUNT, ROOT, T0, World, development, recordings
from tradefan.cli import app
from tradefan.config.mistakes import ConfigInvalid
from tradefan.errors import Refused
from tradefan.links.tape import open_recordings
from tradefan.messages.orders import Asked, CancelParent
from tradefan.messages.wire import Overflow
from tradefan.replay.cut import Cut, cut
from tradefan.replay.player import Played, Player
from tradefan.replay.rerun import Rerun
from tradefan.replay.what_if import what_if
from tradefan.runtime.system import RIM
from tradefan.units import SECOND
from tradefan.venues.tape_book import TapeBook


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record(tmp_path_factory.mktemp("recorded"), play, MINE)


# --- what if ------------------------------------------------------------------------------------------


def test_what_if_when_nothing_changes_then_the_same_orders_fills_and_equity(run: Recorded) -> None:
    """The paper venue again, from the first segment and from the middle, comes to what it came to."""
    orders = []
    for path in (None, *run.segments[1:]):
        found = asked_what(run, "logs.level=debug", path=path)
        recorded, again, changed = found["runs"]
        assert found["notes"] == []
        recorded.pop("name")
        for other in (again, changed):
            other.pop("name")
            assert other == recorded
        orders.append(recorded["orders"])
    # The whole run has some, and so has one of those that begin in the middle.
    assert orders[0] > max(orders[1:]) > 0


def test_what_if_when_from_an_instant_then_from_the_first_step_of_its_segment(run: Recorded) -> None:
    """Whoever follows a market needs all of it: one that begins in its middle never knows a book."""
    (found,) = {str(asked_what(run, "logs.level=debug", from_text=text)) for text in (None, "22:13:30")}
    assert "'orders': 0" not in found
    recorded, again, _ = asked_what(run, "logs.level=debug", from_text="22:13:45")["runs"]
    assert again["equity"] == recorded["equity"]


def test_what_if_when_a_limit_is_lower_then_what_would_have_differed(run: Recorded) -> None:
    """Fewer orders, refusals by the rule, another equity, and each wish that went another way."""
    recorded, again, changed = asked_what(run, "risk.max_order_notional=500")["runs"]
    assert recorded["fills"] == again["fills"] > 0
    assert (changed["orders"], changed["fills"]) == (0, 0)
    assert changed["refusals"]["RISK_MAX_NOTIONAL"] > again["refusals"].get("RISK_MAX_NOTIONAL", 0)
    assert changed["equity"] != again["equity"]
    assert Decimal(changed["realised"][ACCOUNT]) == Decimal(changed["unrealised"][ACCOUNT]) == 0
    assert Decimal(again["unrealised"][ACCOUNT]) != 0
    said: list[str] = []
    what_if(run.asked(), ("risk.max_order_notional=500",), said.append, as_json=False)
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


def test_what_if_when_an_operator_cancels_an_order_then_the_same_one_there(tmp_path: Path) -> None:
    """Its id is another one where an order before it was refused."""

    def cancels(world: World) -> None:
        world.run_until(world.ready, 90)
        world.send("oms", Asked(wish("large", "1"), "cli alice"))
        world.run(2)
        world.send("oms", Asked(wish("rests", limit="61000"), "cli alice"))
        world.run(2)
        (order,) = [one.order for one in world.view("oms").parents if one.order.ref == "rests"]
        world.send("oms", Asked(CancelParent(order.owner, order.parent_id), "cli alice"))
        world.run(2)

    off = [f"strategies.{name}.enabled=false" for name in ("rebalance_btc", "ema_cross_eth")]
    run = record(tmp_path, cancels, *off)
    _, again, changed = asked_what(run, "risk.max_order_qty=0.5")["runs"]
    rests = max(again["wishes"])
    assert [one["wishes"][rests]["status"] for one in (again, changed)] == ["CANCELED"] * 2
    assert again["orders"] > changed["orders"]


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


def test_cut_when_typed_then_the_files_are_told_and_another_program_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Frames that another program cuts may be another market's: also where programs read the answer."""

    def short(world: World) -> None:
        world.run(15)

    (path,) = record(tmp_path / "run", short).segments
    monkeypatch.setattr("tradefan.flight.program_hash", lambda: "another")

    def typed(*words: str) -> tuple[str, str]:
        with monkeypatch.context() as patch:
            patch.chdir(ROOT)
            made = ["data", "cut", str(path), "--symbol", "BTC/USDT", *words]
            typer.main.get_command(app).main(made, standalone_mode=False)
        read = capsys.readouterr()
        return read.out, read.err

    out, _ = typed("--out", str(tmp_path / "one"))
    first, *_, last = out.splitlines()
    assert first.startswith("note: recorded by another program")
    (file,) = (tmp_path / "one").iterdir()
    assert last.startswith(f"{BTC}: ")
    assert f" frames in {file}" in last
    out, err = typed("--out", str(tmp_path / "two"), "--json")
    assert err.startswith("note: recorded by another program")
    assert msgspec.json.decode(out)[BTC]["frames"] == len(lines_of(Cut(str(file)))) - 1


def lines_of(made: Cut) -> list[tuple[int, bytes]]:
    lines = (line.partition(b" ") for line in gzip.decompress(Path(made.path).read_bytes()).splitlines())
    return [(int(at_ns), raw) for at_ns, _, raw in lines]


def played(tape: Path, made: Cut, folder: Path) -> World:
    """Play a cut tape nearly to its end."""
    world = World(development(MINE), folder, open_recordings(tape), history_ns=5 * SECOND)
    world.run((made.last_ns - made.first_ns) / SECOND - 6)
    world.crash()
    return world


def test_cut_when_a_recording_is_long_then_memory_holds_none_of_its_frames(
    run: Recorded, tmp_path: Path
) -> None:
    """A gigabyte of segments is several of frames: they are on the disk before the last one is read."""
    sizes: list[int] = []
    listening = Player.play

    def play(player: Player) -> Iterator[Played]:
        for step in listening(player):
            yield step
            sizes.append(sum(path.stat().st_size for path in (tmp_path / "tape").glob("*")))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Player, "play", play)
        made = cut(run.asked(run.segments[1]), (), tmp_path / "tape")
    assert (
        0 < sizes[len(sizes) // 2] < sizes[-1] <= sum(Path(one.path).stat().st_size for one in made.values())
    )


def test_cut_when_something_is_wrong_then_said(run: Recorded, tmp_path: Path) -> None:
    """An unknown symbol, a folder that has such files already, a span without frames."""
    with pytest.raises(Refused, match="UNKNOWN_INSTRUMENT: --symbol: expected one of binance:BTC/USDT"):
        cut(run.asked(), ("DOGE/USDT",), tmp_path)
    cut(run.asked(run.segments[1]), ("BTC/USDT",), tmp_path / "one")
    with pytest.raises(Refused, match="BAD_FOLDER: --out: expected a folder without"):
        cut(run.asked(run.segments[1]), ("BTC/USDT",), tmp_path / "one")
    (kept,) = (tmp_path / "one").iterdir()
    before = kept.read_bytes()
    with pytest.raises(Refused, match="BAD_FOLDER: --out: expected a folder without"):
        cut(run.asked(run.segments[1]), (), tmp_path / "one")
    assert [(path, path.read_bytes()) for path in (tmp_path / "one").iterdir()] == [(kept, before)]
    with pytest.raises(Refused, match="NOTHING_TO_CUT"):
        cut(run.asked(run.segments[0], until_text="step:3"), (), tmp_path / "none")
