"""Instruments and strategies that come, change and go in the YAML of a daemon that trades."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.daemon_process import DaemonProcess
from tradefan.stores.segments import segments_in

pytestmark = pytest.mark.slow

LIVE_S = 4.0
"""Within 2 s where the machine is its own; beside other tests it waits for a core."""
KEEP = '''"""Keeps one order far below the market; its own timeframe is finer than any that the feed makes."""

from tradefan.strategy import Bar, Commands, Settings, State, Strategy, View, buy, cancel, note, register


class KeepSettings(Settings):
    symbol: str = "BTC/USDT"
    quantity: float = 0.01


class Seen(State):
    bars: int = 0


@register("strategy", "keep", settings=KeepSettings)
class Keep(Strategy[KeepSettings, Seen]):
    def setup(self) -> None:
        self.bars("4s")

    def on_start(self, view: View) -> Commands:
        return note(f"has seen {self.state.bars} bars")

    def on_bar(self, bar: Bar, view: View) -> Commands:
        self.state.bars += 1
        odd = [one for one in view.parents() if float(one.order.order_qty) != self.s.quantity]
        if odd or view.parents():
            return [cancel(one) for one in odd]
        return buy(self.s.symbol, self.s.quantity, by="limit", limit_price=50_000)
'''
QUIET = "  rebalance_btc: {enabled: false}\n"
FEEDS = "feeds:\n  binance:ETH/USDT: {}\n"
ETH = "  ema_cross_eth: {use: ema_cross, settings: {symbol: ETH/USDT, timeframe: 5s, fast: 5, slow: 15}}\n"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """A daemon with a recording of many segments, and a strategy of the user's that he does not use yet."""
    made = DaemonProcess(tmp_path_factory.mktemp("strategies"), "recorder.segment_time=5s")
    # So far nobody trades ETH.
    cut(made.config / "base.yaml", r"  binance:ETH/USDT: \{\}\n")
    cut(made.config / "environments" / "development.yaml", r"  ema_cross_eth:\n(    .*\n)+")
    cut(made.config / "environments" / "development.yaml", r"risk:\n(  .*\n)+")
    (made.folder / "strategies").mkdir()
    (made.folder / "strategies" / "keep.py").write_text(KEEP)
    made.start()
    try:
        made.until_ready()
        yield made
    finally:
        made.close()


def cut(path: Path, pattern: str) -> None:
    text, count = re.subn(pattern, "", path.read_text())
    assert count == 1, pattern
    path.write_text(text)


def edit(daemon: DaemonProcess, *lines: str, feeds: str = FEEDS) -> None:
    (daemon.config / "local.yaml").write_text("".join((feeds, "strategies:\n", ETH, *lines)))


def in_force(daemon: DaemonProcess, *lines: str) -> float:
    """Edit the instances and return how long it took until they were those in force."""
    before = daemon.status()["config"]["config_id"]
    edit(daemon, *lines)
    return daemon.until(lambda: daemon.status()["config"]["config_id"] != before, 10)


def states(daemon: DaemonProcess) -> dict[str, str]:
    return {one["owner"]: one["state"] for one in daemon.status()["strategies"]}


def orders(daemon: DaemonProcess, owner: str) -> list[str]:
    return [one["order_qty"] for one in daemon.status()["parents"] if one["owner"] == owner]


def notes(daemon: DaemonProcess) -> list[str]:
    return [line["text"] for line in daemon.log() if line["event"] == "strategy_note"]


def actors(daemon: DaemonProcess) -> dict[str, Any]:
    return {one["name"]: one for one in daemon.status()["actors"]}


def feeds(daemon: DaemonProcess) -> dict[str, str]:
    return {one["instrument"]: one["quality"] for one in daemon.status()["feeds"]}


def test_instrument_when_it_is_added_then_observed_and_traded_without_a_reconnect(
    daemon: DaemonProcess,
) -> None:
    """The others miss nothing: the connection subscribes more, and nobody begins again."""
    assert feeds(daemon) == {"binance:BTC/USDT": "LIVE"}
    moved = len(daemon.logged("connection_moved"))
    assert in_force(daemon) < LIVE_S
    daemon.until(lambda: feeds(daemon) == {"binance:BTC/USDT": "LIVE", "binance:ETH/USDT": "LIVE"}, 15)
    moves = [(line["source"], line["target"]) for line in daemon.logged("connection_moved")[moved:]]
    assert moves == [("LIVE", "SUBSCRIBING"), ("SUBSCRIBING", "LIVE")]
    daemon.until(lambda: daemon.ask("/ready")[0] == 200, 15)
    order = {"symbol": "ETH/USDT", "side": "buy", "quantity": "0.5"}
    assert daemon.ask("/api/v1/orders", order)[0] < 300
    daemon.until(lambda: ("api", "binance:ETH/USDT") in daemon.positions(), 15)
    assert 'tradefan_feed_trades_total{instrument="binance:ETH/USDT"}' in daemon.ask("/metrics")[1]
    assert {one["restarts"] for one in actors(daemon).values()} == {0}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "feeds:\n  binance:ETH/USDT: {}\n  binance:DOGE/USDT: {}\n",
            "feeds.binance:DOGE/USDT: no recording",
        ),
        ("", "takes effect at a restart"),
        ("feeds:\n  binance:ETH/USDT: {streams: {ticker: true}}\n", "streams.ticker: from false to true"),
    ],
)
def test_edit_when_an_instrument_cannot_come_or_go_then_all_of_it_is_refused(
    daemon: DaemonProcess, text: str, reason: str
) -> None:
    """Nobody describes it; it goes at a restart, when nobody needs its market any more."""
    before = daemon.status()["config"]
    (daemon.config / "local.yaml").write_text(f"{text}risk: {{max_exposure: 0.7}}\n")
    daemon.until(lambda: daemon.status()["config"]["refused"] > before["refused"], 10)
    found = daemon.status()["config"]
    assert found["config_id"] == before["config_id"]
    assert reason in "".join(found["refused_errors"])


def test_strategy_when_it_is_added_then_it_trades_without_a_restart(daemon: DaemonProcess) -> None:
    """With bars that the feed did not make before, and beside those that trade already."""
    assert set(states(daemon)) == {"ema_cross_eth", "rebalance_btc"}
    assert in_force(daemon, "  mine: {use: keep}\n") < LIVE_S
    daemon.until(lambda: orders(daemon, "mine") == ["0.01"], 30)
    assert set(states(daemon)) == {"ema_cross_eth", "mine", "rebalance_btc"}
    assert notes(daemon) == ["has seen 0 bars"]
    assert 'tradefan_actor_up{actor="strategy:mine"} 1.0' in daemon.ask("/metrics")[1]


def test_settings_when_they_change_then_it_begins_again_with_its_orders_and_what_it_remembers(
    daemon: DaemonProcess,
) -> None:
    """No crash is counted; the order of before is known to it, and it decides."""
    assert in_force(daemon, "  mine: {use: keep, settings: {quantity: 0.02}}\n") < LIVE_S
    daemon.until(lambda: orders(daemon, "mine") == ["0.02"], 30)
    assert len(notes(daemon)) == 2
    assert notes(daemon)[1] != "has seen 0 bars"
    assert {one["restarts"] for one in actors(daemon).values()} == {0}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("  mine: {use: keap}\n", "strategies.mine.use: "),
        ("  mine: {use: keep, settings: {quantiti: 3}}\n", "strategies.mine.settings.quantiti: "),
        ("  mine: {use: keep, settings: {symbol: XYZ/USDT}}\n", "strategies.mine.settings.symbol: "),
        (
            "  mine: {use: rebalance, settings: {symbol: BTC/USDT, weight: 0.1}}\n",
            "strategies.mine.use: from keep",
        ),
    ],
)
def test_edit_when_a_strategy_cannot_be_wired_then_all_of_it_is_refused(
    daemon: DaemonProcess, line: str, reason: str
) -> None:
    """The other key of the edit does not come into force either."""
    before = daemon.status()["config"]
    edit(daemon, line, QUIET)
    daemon.until(lambda: daemon.status()["config"]["refused"] > before["refused"], 10)
    found = daemon.status()["config"]
    assert found["config_id"] == before["config_id"]
    assert reason in found["refused_errors"][0]
    assert set(states(daemon)) == {"ema_cross_eth", "mine", "rebalance_btc"}


def test_strategies_when_they_are_taken_out_then_their_orders_end_and_positions_stay(
    daemon: DaemonProcess,
) -> None:
    """One is deleted, another one disabled: both as if lost for good."""
    held = daemon.positions()["rebalance_btc", "binance:BTC/USDT"]
    assert in_force(daemon, QUIET) < LIVE_S
    daemon.until(lambda: orders(daemon, "mine") == [], 10)
    assert set(states(daemon)) == {"ema_cross_eth"}
    assert daemon.positions()["rebalance_btc", "binance:BTC/USDT"] == held
    assert "strategy:mine" not in actors(daemon)
    assert [line["owner"] for line in daemon.logged("owner_lost")] == ["mine"]
    assert daemon.ask("/ready")[0] == 200


def test_strategy_when_it_comes_back_then_it_takes_up_what_it_remembers(daemon: DaemonProcess) -> None:
    """The same name is the same owner, also days later."""
    assert in_force(daemon, "  mine: {use: keep}\n") < LIVE_S
    daemon.until(lambda: orders(daemon, "mine") == ["0.01"], 30)
    assert len(notes(daemon)) == 3
    assert notes(daemon)[2] not in ("has seen 0 bars", notes(daemon)[1])


def test_run_when_replayed_then_strategies_come_and_go_as_recorded(daemon: DaemonProcess) -> None:
    """Whole, and from segments in its midst: also from those that begin with actors which came later."""
    code, _ = daemon.end()
    assert code in (0, 1), daemon.console()
    folder = daemon.data / "logs" / "recorder"
    segments = segments_in(folder)
    assert len(segments) >= 5
    for path in (folder, *segments[2::4]):
        done = daemon.run("replay", str(path), "-e", "development")
        assert (done.returncode, "as recorded" in done.stdout) == (0, True), done.stdout + done.stderr
