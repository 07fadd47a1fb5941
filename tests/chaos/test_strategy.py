"""C-13: a strategy whose handler never ends is broken within 1.1 s, restarted, and alone in its trouble."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.report import report
from tests.integration.daemon_process import DaemonProcess

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

ENDLESS = '''"""Computes for ever at its fifth bar, in each of its lives."""

from tradefan.strategy import Bar, Commands, Settings, State, Strategy, View, register


@register("strategy", "endless")
class Endless(Strategy[Settings, State]):
    """Looks harmless."""

    def setup(self) -> None:
        self.bars("1s", "ETH/USDT")
        self.seen = 0

    def on_bar(self, bar: Bar, view: View) -> Commands:
        self.seen += 1
        while self.seen == 5:
            pass
        return ()
'''
BOUND_S = 1.1
SLACK_S = 0.0 if os.environ.get("TRADEFAN_CHAOS") == "whole" else 0.4
"""Beside other tests an answer waits for a core, too."""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonProcess]:
    sets = (
        "strategies.ema_cross_eth=null",
        "strategies.mine={use: endless}",
        "venues.binance.tape.history=2s",
        "api.requests_per_second=1000",
        "logs.console=false",
    )
    made = DaemonProcess(tmp_path, *sets)
    (made.folder / "strategies").mkdir()
    (made.folder / "strategies" / "endless.py").write_text(ENDLESS)
    yield made
    made.close()


class Asker:
    """Asks for /health again and again; remembers the longest that an answer took."""

    def __init__(self, daemon: DaemonProcess) -> None:
        self.daemon = daemon
        self.longest_s = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            began = time.monotonic()
            self.daemon.ask("/health")
            self.longest_s = max(self.longest_s, time.monotonic() - began)

    def close(self) -> None:
        self._stop.set()
        self._thread.join(30)


def test_strategy_when_its_handler_never_ends_then_broken_in_time_and_the_others_go_on(
    daemon: DaemonProcess,
) -> None:
    """Again and again, until its supervisor gives up on it; the other strategy trades, orders are taken."""
    daemon.start().until(lambda: daemon.ask("/health")[0] == 200, 30)
    asker = Asker(daemon)
    daemon.until(lambda: len(crashes(daemon)) >= 4, 90)
    daemon.until(lambda: any(line["event"] == "child_stays_down" for line in daemon.log()), 5)
    asker.close()
    assert all("TurnOverrun: strategy:mine" in str(line["traceback"]) for line in crashes(daemon))
    assert asker.longest_s <= BOUND_S + SLACK_S
    actors = {one["name"]: one for one in daemon.status()["actors"]}
    assert {one["restarts"] for name, one in actors.items() if name != "strategy:mine"} == {0}
    assert actors["strategy:mine"]["state"] == "DOWN"
    daemon.until(lambda: ("rebalance_btc", "binance:BTC/USDT") in daemon.positions(), 60)
    wish = {"symbol": "ETH/USDT", "side": "buy", "quantity": "0.1"}
    assert daemon.ask("/api/v1/orders", wish)[0] == 201
    assert "tradefan_turns_broken_total 4.0" in daemon.ask("/metrics")[1]
    report("C-13", broken=len(crashes(daemon)), longest_answer_s=round(asker.longest_s, 2))


def test_loop_when_it_stands_still_then_no_new_risk_until_it_keeps_time(daemon: DaemonProcess) -> None:
    """PR-05: what was decided on quotes of two seconds ago is not sent; a stopped process is such a loop."""
    daemon.start().until_ready()
    daemon.send(signal.SIGSTOP)
    time.sleep(3)
    daemon.send(signal.SIGCONT)
    daemon.until(lambda: "loop lag" in causes(daemon), 5)
    assert causes(daemon)["loop lag"] == "NO_NEW_RISK"
    code, answer = daemon.ask("/api/v1/orders", {"symbol": "BTC/USDT", "side": "buy", "quantity": "0.01"})
    # What the market said meanwhile is old, too.
    assert (code, answer["error"]["code"]) in ((422, "MODE_NO_NEW_RISK"), (422, "NO_REFERENCE"))
    daemon.until(lambda: "loop lag" not in causes(daemon), 45)


def causes(daemon: DaemonProcess) -> dict[str, str]:
    return {cause["cause"]: cause["mode"] for cause in daemon.status()["mode"]["causes"]}


def crashes(daemon: DaemonProcess) -> list[dict[str, object]]:
    path = daemon.data / "logs" / "tradefan.log"
    lines = daemon.log() if path.exists() else []
    return [
        line for line in lines if (line["event"], line.get("actor")) == ("actor_crashed", "strategy:mine")
    ]
