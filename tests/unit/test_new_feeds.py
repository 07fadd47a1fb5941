"""Rules of instruments that are observed from now on, and the machines that have to know them."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.simulation.world import World, development, recordings
from tradefan import contracts
from tradefan.config.schema import Config, FeedConfig, StrategyConfig
from tradefan.errors import Refused
from tradefan.messages.control import SwapConfig
from tradefan.new_feeds import NewFeeds
from tradefan.runtime.system import RIM
from tradefan.strategy import Settings, State, Strategy, register
from tradefan.units import SECOND, InstrumentId
from tradefan.wiring import encode_config

BTC, ETH = "binance:BTC/USDT", "binance:ETH/USDT"
ONE = ("strategies.ema_cross_eth=null", f"risk.instruments.{ETH}=null", f"feeds.{ETH}=null")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A system that observes BTC alone; its recordings have ETH, too."""
    made = World(development(*ONE), tmp_path, recordings(120 * SECOND), history_ns=5 * SECOND)
    yield made
    made.crash()


def with_feed(config: Config, name: str) -> Config:
    return msgspec.structs.replace(config, feeds={**config.feeds, name: FeedConfig()})


def test_rules_when_a_feed_is_new_then_those_of_the_recording(world: World) -> None:
    """Those that are known are not told again."""
    feeds = NewFeeds(world.kernel, world.machines)
    assert feeds.rules(world.config) == ()
    assert [one.id for one in feeds.rules(with_feed(world.config, ETH))] == [ETH]


def test_rules_when_the_tape_has_no_frames_of_it_then_refused(tmp_path: Path) -> None:
    """It would be silent for ever."""
    alone = {name: one for name, one in recordings(60 * SECOND).items() if name == "BTCUSDT"}
    world = World(development(*ONE), tmp_path, alone)
    with pytest.raises(Refused, match=f"feeds.{ETH}: expected recorded frames, the tape has"):
        NewFeeds(world.kernel, world.machines).rules(with_feed(world.config, ETH))
    world.crash()


def test_rules_when_the_feed_is_of_another_venue_then_refused_by_its_name(world: World) -> None:
    """Before anybody is asked: its place in the file is what the name leads to."""
    other = "kraken:BTC/USDT"
    with pytest.raises(Refused, match=f"OTHER_LINKS: feeds.{other}: another venue takes effect at a restart"):
        NewFeeds(world.kernel, world.machines).rules(with_feed(world.config, other))


def endless() -> None:
    while True:
        pass


def asleep() -> None:
    time.sleep(3)


@pytest.fixture
def untraced() -> Iterator[None]:
    """Under a tracer Python 3.11 enters no function while a thread that sleeps has an exception to come."""
    tracer = sys.gettrace()
    sys.settrace(None)
    yield
    for thread in threading.enumerate():
        if thread.name == "setup":
            thread.join(10)
    sys.settrace(tracer)


@pytest.mark.usefixtures("untraced")
@pytest.mark.parametrize("setup", [endless, asleep])
def test_rules_when_a_setup_does_not_end_then_refused_in_time_and_broken_off(
    world: World, monkeypatch: pytest.MonkeyPatch, setup: Callable[[], None]
) -> None:
    """Nobody waits for it; one that computes would take its share of every turn."""
    monkeypatch.setattr("tradefan.contracts._plugins", dict(contracts._plugins))

    @register("strategy", "never_set_up")
    class NeverSetUp(Strategy[Settings, State]):
        def setup(self) -> None:
            setup()

    runtime = msgspec.structs.replace(world.config.runtime, turn_max=SECOND // 5)
    strategies = {**world.config.strategies, "mine": StrategyConfig(use="never_set_up", account="paper:main")}
    config = msgspec.structs.replace(world.config, runtime=runtime, strategies=strategies)
    began_s = time.monotonic()
    text = r"SETUP_SLOW: strategies\.mine: expected a setup of at most turn_max \(0\.2 s\)"
    with pytest.raises(Refused, match=text):
        NewFeeds(world.kernel, world.machines).rules(config)
    assert time.monotonic() - began_s < 2
    left = [thread for thread in threading.enumerate() if thread.name == "setup"]
    assert [thread.daemon for thread in left] == [True] * len(left)
    if setup is endless:
        for thread in left:
            thread.join(2)
        assert [thread for thread in left if thread.is_alive()] == []


def test_rules_when_wiring_refuses_then_that_is_what_is_said(world: World) -> None:
    """From whatever thread."""
    strategies = {**world.config.strategies, "mine": StrategyConfig(use="nobody", account="paper:main")}
    with pytest.raises(Refused, match="nobody"):
        NewFeeds(world.kernel, world.machines).rules(
            msgspec.structs.replace(world.config, strategies=strategies)
        )


def test_instrument_when_it_comes_then_is_observed_valued_and_traded_on_paper(world: World) -> None:
    """In virtual time: the swap, the rim's part of it, then a LIVE feed and a quote at the order manager."""
    feeds = NewFeeds(world.kernel, world.machines)
    world.run_until(world.ready, 60)
    config = with_feed(world.config, ETH)
    world.driver.inject(RIM, SwapConfig("more", encode_config(config), feeds.rules(config)))
    world.driver.settle()
    found = feeds.plan()
    assert (list(found.instruments), found.refs) == ([BTC, ETH], world.kernel.refs)
    world.run_until(
        lambda: [one.quality for one in world.view("market_data:binance").feeds] == ["LIVE"] * 2, 30
    )
    assert world.view("market_data:binance").opens == 1
    assert world.paper.account.markets[InstrumentId(ETH)].matching.open
    desk: Any = world.kernel.cells[world.kernel.refs["risk_desk"]]
    assert ETH in desk.actor.state.quotes
