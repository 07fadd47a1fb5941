"""A run in virtual time that trades, is refused, crashes a strategy, swaps and loses its market, recorded."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from tests.simulation.recorded import Recorded
from tests.simulation.world import ACCOUNT, World
from tradefan.errors import TurnOverrun
from tradefan.messages.control import SwapConfig
from tradefan.messages.orders import Asked, CancelAll, SubmitOrder
from tradefan.messages.wire import Closed
from tradefan.replay.what_if import what_if
from tradefan.runtime.system import RIM
from tradefan.strategy import Bar, Commands, Settings, State, Strategy, View, register
from tradefan.units import InstrumentId, OwnerId
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
    world.send("oms", Asked(wish("one"), "cli alice"))
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
    world.send("oms", wish("small enough", "0.01"))
    world.run(3)


def asked_what(run: Recorded, *sets: str, path: Path | None = None, **more: object) -> dict[str, Any]:
    """Return what `--set` says of a run, as an object."""
    said: list[str] = []
    assert what_if(run.asked(path, **more), sets, said.append, as_json=True) == 0
    (line,) = said
    found: dict[str, Any] = msgspec.json.decode(line)
    return found
