"""The venue's bars of the store warm a strategy where they join the feed's own, in the whole wired system."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.simulation.recorded import record
from tests.simulation.world import T0, World, development, recordings
from tradefan.messages.market import BarHistory, StoredBars
from tradefan.stores.klines import Kline
from tradefan.stores.sqlite import StoreFile
from tradefan.strategy import Bar, Commands, Settings, State, Strategy, View, register
from tradefan.units import HOUR, MINUTE, SECOND

ETH = "binance:ETH/USDT"
LAST = T0 - T0 % MINUTE
"""The last whole minute before the start: an import can have no newer bar. It is 20 s old."""
HEARD: list[tuple[str, int, float]] = []


class SlowSettings(Settings, frozen=True):
    """How long a bar is."""

    timeframe: str = "1m"


@register("strategy", "slow_in_warm", settings=SlowSettings)
class Slow(Strategy[SlowSettings, State]):
    """Tells what it has seen when it begins, and each bar behind that."""

    def setup(self) -> None:
        """Sixty-one bars deep."""
        self.series = self.bars(self.s.timeframe, "ETH/USDT", keep=61)
        self.mean = self.series.ema(20)

    def on_start(self, view: View) -> Commands:
        """Tell the newest bar."""
        HEARD.append(("start", self.series.bar.close_ns, float(self.mean)))
        return ()

    def on_bar(self, bar: Bar, view: View) -> Commands:
        """Tell it."""
        HEARD.append(("bar", bar.close_ns, float(self.mean)))
        return ()


def imported(
    folder: Path, until_ns: int, *, without: int = 0, step_ns: int = MINUTE, name: str = "1m"
) -> None:
    """What `tradefan data import` leaves in a store; `without` is the start of a bar that is not there."""
    opens = range(until_ns - until_ns % step_ns - 6 * HOUR, until_ns, step_ns)
    rows = tuple(Kline(at, 2500.0, 2501.0, 2499.0, 2500.0, 3.0) for at in opens if at != without)
    store = StoreFile(str(folder / "store.db"))
    store.put_klines(ETH, name, rows)
    store.close()


def world(folder: Path, timeframe: str = "1m", start_ns: int = T0, **more: Any) -> World:
    HEARD.clear()
    config = development(f"strategies.slow={{use: slow_in_warm, settings: {{timeframe: {timeframe}}}}}")
    return World(config, folder, recordings(), start_ns=start_ns, **more)


def phase(one: World) -> tuple[str, str]:
    view = one.view("strategy:slow")
    return view.phase, view.forecast


def lines(one: World, event: str) -> list[dict[str, Any]]:
    return [line.fields for _, line in one.log if line.event == event and line.fields["instrument"] == ETH]


def test_strategy_when_imported_bars_join_then_it_is_warm_at_once(tmp_path: Path) -> None:
    """61 minutes where the tape brings four; the bars in front only warm, and each bar comes once."""
    imported(tmp_path, LAST)
    one = world(tmp_path)
    one.run(15)
    assert phase(one) == ("READY", "")
    (used,) = lines(one, "stored_bars")
    assert (used["until"], used["timeframe"], used["bars"]) == ("2023-11-14T22:09:00.000Z", "1m", 61)
    assert lines(one, "stored_bars_short") == []
    ((what, newest_ns, mean),) = HEARD
    assert (what, newest_ns) == ("start", LAST)
    assert 2500 < mean < 2700
    series = one.kernel.cells[one.kernel.refs["strategy:slow"]].actor.state.series[0]  # type: ignore[union-attr]
    assert (series.seen, series.holes) == (61, 0)
    opens = [bar.open_ns for bar in series.kept]
    assert opens == list(range(LAST - 61 * MINUTE, LAST, MINUTE))
    one.run(60)
    assert [(what, at_ns) for what, at_ns, _ in HEARD[1:]] == [("bar", LAST + MINUTE)]
    assert one.errors() == []


@pytest.mark.parametrize("hole", [True, False])
def test_strategy_when_there_is_a_hole_then_the_log_says_where_and_it_warms_by_itself(
    tmp_path: Path, hole: bool
) -> None:
    """A bar that is missing in front of ours, or all since long ago; nothing behind a hole is used."""
    if hole:
        imported(tmp_path, LAST, without=LAST - 5 * MINUTE)
    else:
        imported(tmp_path, LAST - 5 * MINUTE)
    one = world(tmp_path)
    one.run(75)
    assert phase(one) == ("WARMING", "ETH/USDT 1m: 5 of 61 bars, about 56m")
    assert HEARD == []
    assert lines(one, "stored_bars") == []
    assert lines(one, "stored_bars_short") == [
        {
            "instrument": ETH,
            "timeframe": "1m",
            "until": "2023-11-14T22:09:00.000Z",
            "bars": 0,
            "missing": 57,
            "reason": "1m bars end at 2023-11-14T22:08:00.000Z",
        }
    ]


def test_strategy_when_nothing_was_imported_then_as_without_a_store(tmp_path: Path) -> None:
    """No word about it, and no wait."""
    one = world(tmp_path)
    one.run(15)
    assert phase(one) == ("WARMING", "ETH/USDT 1m: 4 of 61 bars, about 57m")
    assert lines(one, "stored_bars") + lines(one, "stored_bars_short") == []


def test_strategy_when_its_bars_are_coarser_then_they_are_folded_up_to_the_open_one(tmp_path: Path) -> None:
    """Five minutes of which none has closed since the feed began."""
    imported(tmp_path, LAST)
    one = world(tmp_path, "5m")
    one.run(15)
    assert phase(one) == ("READY", "")
    assert [(what, at_ns) for what, at_ns, _ in HEARD] == [("start", LAST - 3 * MINUTE)]
    one.run(120)
    assert [(what, at_ns) for what, at_ns, _ in HEARD[1:]] == [("bar", LAST + 2 * MINUTE)]
    assert phase(one) == ("READY", "")


def test_strategy_when_its_bars_are_finer_then_what_was_imported_makes_none(tmp_path: Path) -> None:
    """Another timeframe; the log says which."""
    imported(tmp_path, LAST)
    one = world(tmp_path, "15s")
    one.run(15)
    assert phase(one)[0] == "WARMING"
    (short,) = lines(one, "stored_bars_short")
    assert short["reason"].startswith(
        "no 15s bar can be made of 1m ones, the last of which opened at 2023-11-14"
    )


def test_daemon_when_it_starts_again_then_it_joins_as_long_as_the_bars_reach_what_the_tape_replays(
    tmp_path: Path,
) -> None:
    """Killed after a minute it joins again; after ten what was imported is too old, and it says so."""
    imported(tmp_path, LAST)
    first = world(tmp_path)
    first.run(60)
    assert phase(first) == ("READY", "")
    first.crash()
    again = world(tmp_path, start_ns=T0 + 61 * SECOND)
    again.run(15)
    assert phase(again) == ("READY", "")
    assert [at_ns for _, at_ns, _ in HEARD] == [LAST + MINUTE]
    again.crash()
    late = world(tmp_path, start_ns=T0 + 600 * SECOND)
    late.run(15)
    assert phase(late)[0] == "WARMING"
    (short,) = lines(late, "stored_bars_short")
    assert (short["until"], short["reason"]) == (
        "2023-11-14T22:19:00.000Z",
        "1m bars end at 2023-11-14T22:13:00.000Z",
    )


@pytest.mark.parametrize("victim", ["strategy:slow", "data_writer", "market_data:binance"])
def test_actors_when_one_begins_anew_then_the_strategy_is_warm_all_the_same(
    tmp_path: Path, victim: str
) -> None:
    """Whoever forgets what was asked is asked again; market data reads its tape again."""
    imported(tmp_path, LAST)
    one = world(tmp_path)
    one.run(0.0)
    one.break_actor(victim)
    one.run(45)
    assert [line.actor for _, line in one.log if line.event == "actor_crashed"] == [victim]
    assert phase(one) == ("READY", "")
    assert HEARD[0][1] == LAST


def test_store_when_it_is_behind_the_start_then_the_strategy_waits_for_it(tmp_path: Path) -> None:
    """Its thread lets the order manager begin first: what is asked meanwhile is answered later."""
    imported(tmp_path, LAST)
    one = world(tmp_path)
    one.machines["store"]._write_ns = 5 * SECOND
    one.machines["store"]._waiting[0] = (T0 + 20 * SECOND, one.machines["store"]._waiting[0][1])
    one.run(19)
    assert phase(one) == ("WARMING", f"{ETH}: history was asked for")
    one.run(20)
    assert phase(one) == ("READY", "")


def test_replay_when_a_store_warmed_a_strategy_then_the_same_again_without_the_store(tmp_path: Path) -> None:
    """What it said came in at the rim, so it is part of the recording."""
    folder = tmp_path / "run"
    folder.mkdir()
    imported(folder, LAST)
    heard: list[BarHistory | StoredBars] = []
    HEARD.clear()
    run = record(
        folder,
        lambda one: one.run(110),
        "strategies.slow={use: slow_in_warm, settings: {timeframe: 1m}}",
    )
    live = list(HEARD)
    assert [what for what, _, _ in live] == ["start", "bar"]
    (folder / "store.db").unlink()
    report = run.replay(
        see=lambda _player, played: heard.extend(
            one for _, one in played.heard if isinstance(one, BarHistory | StoredBars)
        ),
        listen=True,
    )
    assert (report.divergence, report.raised, report.code, report.notes) == (None, "", 0, [])
    assert run.world.kernel.trace is not None
    assert report.trace == run.world.kernel.trace.hexdigest()
    assert any(isinstance(one, StoredBars) and one.bars for one in heard)
    assert HEARD[len(live) :] == live
