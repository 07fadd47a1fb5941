"""A strategy's State through kill -9: with the orders of its turns, or without both."""

from __future__ import annotations

from pathlib import Path
from random import Random

import msgspec
import pytest

from tests.simulation.world import T0, World, development, recordings
from tradefan import contracts
from tradefan.messages.records import OwnerState, Parent
from tradefan.stores.journal import JournalFile
from tradefan.strategy import Commands, Quote, Settings, State, Strategy, View, buy
from tradefan.units import SECOND

LIVES = 4
PAUSE_NS = 240 * SECOND
"""Between two lives: more than three starts in ten minutes are SAFE."""


class ShopSettings(Settings, frozen=True):
    """Where to buy and sell."""

    symbol: str = "BTC/USDT"


class ShopState(State):
    """How many orders were wished, and of how many quotes."""

    orders: int = 0
    quotes: int = 0


class Shop(Strategy[ShopSettings, ShopState]):
    """Buys with every tenth quote, and counts its orders in its State alone."""

    def setup(self) -> None:
        """Follow quotes."""
        self.quotes()

    def on_quote(self, quote: Quote, view: View) -> Commands:
        """Count, and buy."""
        self.state.quotes += 1
        if self.state.quotes % 10:
            return ()
        self.state.orders += 1
        return buy(self.s.symbol, 0.001)


def _journaled(folder: Path) -> tuple[ShopState, int, int]:
    """Return the State that a dead process left, the turn it belongs to, and how many parents it left."""
    journal = JournalFile(str(folder / "journal.db"))
    records, _ = journal.fold()
    journal.close()
    turns = [one for one in records if isinstance(one, OwnerState) and one.owner == "shop"]
    states = [one.state for one in turns if one.state is not None]
    parents = [one for one in records if isinstance(one, Parent) and one.order.owner == "shop"]
    assert [one.turn for one in turns] == sorted({one.turn for one in turns})
    state = msgspec.msgpack.decode(states[-1], type=ShopState) if states else ShopState()
    return state, turns[-1].turn if turns else 0, len(parents)


def test_state_when_killed_at_random_instants_then_it_counts_exactly_the_orders_that_were_journaled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each life goes on from State and turn of the one before, and no order is without its count."""
    monkeypatch.setattr(contracts, "_plugins", dict(contracts._plugins))
    contracts.register("strategy", "shop_sim", settings=ShopSettings)(Shop)
    off = [f"strategies.{one}.enabled=false" for one in ("rebalance_btc", "ema_cross_eth")]
    config = development(
        *off,
        "strategies.shop.use=shop_sim",
        "strategies.shop.account=paper:main",
        "risk.orders_per_second=50",
    )
    random, start_ns, before = Random(7), T0, (ShopState(), 0, 0)
    for _ in range(LIVES):
        made = World(config, tmp_path, recordings(), start_ns=start_ns, origin_ns=T0)
        made.run_until(made.ready, 60)
        made.run(random.uniform(3, 5))
        assert (made.errors(), made.view("strategy:shop").refusal) == ([], "")
        start_ns = made.driver.now_ns + PAUSE_NS
        made.crash()
        state, turn, parents = _journaled(tmp_path)
        assert state.orders == parents
        assert state.orders > before[0].orders
        assert turn > before[1]
        before = (state, turn, parents)
