"""Strategies order by every algorithm, in the simulated development world; and development by a TWAP."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.simulation.world import World, development, recordings
from tradefan.contracts import names, register
from tradefan.messages.orders import ParentUpdate
from tradefan.strategy import Commands, Settings, State, Strategy, View, buy, target
from tradefan.units import SECOND

REBALANCE = ("rebalance_btc", "binance:BTC/USDT")
BY: dict[str, dict[str, Any]] = {
    "market": {},
    "limit": {"limit_price": 62_500},
    "twap": {"duration": "20s", "slices": 4},
    "vwap": {"duration": "20s", "interval": "5s"},
    "pov": {"rate": "0.2", "max_rate": "0.3", "min_clip": "0.0002", "min_gap": "1s"},
    "iceberg": {"limit_price": 62_500, "display": "0.005", "delay_max": "300ms"},
}
OFF = tuple(f"strategies.{name}.enabled=false" for name in ("rebalance_btc", "ema_cross_eth"))


class BySettings(Settings, frozen=True):
    """Which algorithm, and whether a position is wished for or an order."""

    by: str = "market"
    wish: str = "target"


@register("strategy", "by_test", settings=BySettings)
class By(Strategy[BySettings, State]):
    """Buys 0.02 BTC once, by an algorithm."""

    def setup(self) -> None:
        self.quotes("BTC/USDT")

    def on_start(self, view: View) -> Commands:
        settings = BY[self.s.by]
        if self.s.wish == "target":
            return target("BTC/USDT", qty=0.02, by=self.s.by, reason="test", **settings)
        return buy("BTC/USDT", 0.02, by=self.s.by, reason="test", **settings)


def parents(world: World, owner: str) -> list[ParentUpdate]:
    return [one for one in world.view("oms").parents if one.order.owner == owner]


def test_algorithms_when_one_is_registered_then_it_is_tested_here() -> None:
    """A new one is not forgotten."""
    shipped = {name for name in names("executor") if "chaos" not in name}
    assert set(BY) == shipped


@pytest.mark.parametrize("wish", ["target", "buy"])
@pytest.mark.parametrize("by", sorted(BY))
def test_strategy_when_it_orders_by_an_algorithm_then_that_one_works_the_order(
    tmp_path: Path, by: str, wish: str
) -> None:
    """From `by=` with its settings to the position; nobody else trades."""
    mine = f"strategies.mine={{use: by_test, settings: {{by: {by}, wish: {wish}}}}}"
    # Nothing here needs a history.
    made = World(development(mine, *OFF), tmp_path, recordings(200 * SECOND), history_ns=5 * SECOND)
    made.run_until(made.ready, 30)
    made.run_until(lambda: bool(parents(made, "mine")), 5)
    made.run_until(lambda: all(one.phase == "DONE" for one in parents(made, "mine")), 150)
    (parent,) = parents(made, "mine")
    assert (parent.order.algo, parent.status, parent.cum_qty) == (by, "FILLED", Decimal("0.02"))
    wanted = {key: value for key, value in BY[by].items() if key != "limit_price"}
    assert parent.order.settings == wanted
    assert (parent.children > 1) is (by in ("twap", "vwap", "pov", "iceberg"))
    assert made.positions()["mine", "binance:BTC/USDT"] > Decimal("0.0199")
    assert not made.errors()


def test_development_when_it_runs_then_rebalance_is_worked_over_two_minutes(tmp_path: Path) -> None:
    """As it is shipped: the position comes in slices, and a repeated wish does not begin anew."""
    alone = development("strategies.ema_cross_eth.enabled=false", at_once=False)
    made = World(alone, tmp_path, recordings(200 * SECOND), history_ns=5 * SECOND)
    made.run_until(made.ready, 30)
    made.run_until(lambda: bool(parents(made, "rebalance_btc")), 5)
    (parent,) = parents(made, "rebalance_btc")
    assert (parent.order.algo, parent.order.settings) == ("twap", {"duration": "2m"})
    made.run_until(lambda: made.positions().get(REBALANCE, 0) > 0, 35)
    made.run(30)
    assert 0 < parents(made, "rebalance_btc")[0].cum_qty < Decimal("0.7") * parent.order.order_qty
    made.run_until(lambda: parents(made, "rebalance_btc")[0].phase == "DONE", 100)
    (parent,) = parents(made, "rebalance_btc")
    assert (parent.status, parent.children > 3) == ("FILLED", True)
    assert not made.errors()
