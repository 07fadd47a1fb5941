"""The daemon as it is wired trades against the simulated venue and market, and agrees with their books."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from random import Random

import pytest

from tests.simulation.world import ACCOUNT
from tests.unit.sim.wired import BALANCES, INSTRUMENTS, Wired
from tradefan.messages.orders import CancelAll, SubmitOrder
from tradefan.sim.market import SimMarket
from tradefan.sim.personality import Personality
from tradefan.sim.venue import SimVenue
from tradefan.units import MS, OwnerId, Side

TRADED = INSTRUMENTS[:2]
OWNER = OwnerId("api")


def traded(world: Wired, rng: Random, orders: int) -> None:
    """Let an owner place and cancel orders around the touch."""
    for number in range(orders):
        instrument = rng.choice(TRADED)
        side: Side = rng.choice(("buy", "sell"))
        price = world.market.touch(instrument.id, side)
        away = price * rng.choice((-1, 0, 30, 100)) / 10_000 // instrument.price_tick * instrument.price_tick
        wish = SubmitOrder(
            account=ACCOUNT,
            instrument=instrument.id,
            owner=OWNER,
            ref=f"r{number}",
            side=side,
            order_qty=rng.randint(20, 200) * instrument.qty_lot * 10,
            algo="limit",
            limit_price=price - away if side == "buy" else price + away,
        )
        world.driver.inject(world.kernel.refs["oms"], wish)
        world.run(rng.uniform(0.5, 3))
        if rng.random() < 0.3:
            world.driver.inject(world.kernel.refs["oms"], CancelAll(OWNER))


@pytest.mark.parametrize("depth", ["true", "false"])
def test_daemon_when_it_is_wired_to_them_then_it_trades_and_their_books_are_its_own(
    tmp_path: Path, depth: str
) -> None:
    """Feeds are LIVE, with and without depth; orders are taken, filled and canceled; balances agree."""
    market = SimMarket(TRADED, seed=5)
    venue = SimVenue(TRADED, market, Personality(latency_ns=10 * MS), seed=5, balances=BALANCES)
    streams = (f"feeds.{one.id}.streams.depth={depth}" for one in TRADED)
    world = Wired(tmp_path, market, venue, *streams)
    world.run(30)
    assert [feed.quality for feed in world.view("market_data:binance").feeds] == ["LIVE", "LIVE"]
    assert world.view("oms").state == "READY"
    traded(world, Random(5), 40)
    world.run(40)
    what = [event.what for event in venue.log]
    assert min(what.count("accepted"), what.count("fill"), what.count("canceled")) > 5
    positions = world.view("oms").positions
    for one in TRADED:
        held = sum((position.qty for position in positions if position.instrument == one.id), Decimal(0))
        assert held == venue.balances[one.base] - BALANCES[one.base]
    errors = [line for _, line in world.log if line.level in ("error", "critical")]
    assert errors == []
