"""The order manager fails over and over: what rests is cancelled, and the process ends by a defect."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from tests.simulation.world import ACCOUNT, World, development, recordings
from tradefan.messages.orders import SubmitOrder
from tradefan.messages.records import CleanStop, Intent
from tradefan.stores.journal import JournalFile
from tradefan.units import SECOND, InstrumentId, OwnerId

BTC = InstrumentId("binance:BTC/USDT")
OWNER = OwnerId("rebalance_btc")
RESTARTS = 3


def resting(world: World, orders: int) -> None:
    """Place orders of a strategy that wants them left at a stop, far below the market."""
    feed = next(one for one in world.view("market_data:binance").feeds if one.instrument == BTC)
    price = Decimal(int(feed.bid * 0.99))
    for number in range(orders):
        wish = SubmitOrder(
            account=ACCOUNT,
            instrument=BTC,
            owner=OWNER,
            ref=f"rests{number}",
            side="buy",
            order_qty=Decimal("0.001"),
            algo="limit",
            limit_price=price,
        )
        world.send("oms", wish)


@pytest.mark.slow
def test_oms_when_it_fails_too_often_then_what_rests_is_cancelled_and_the_exit_code_says_so(
    tmp_path: Path,
) -> None:
    """Latch, a last life for the stop, no order left whatever `on_stop` says, no CLEAN_STOP, exit 70."""
    config = development(f"strategies.{OWNER}.on_stop=leave")
    world = World(config, tmp_path, recordings(120 * SECOND))
    world.run_until(world.ready)
    resting(world, 5)
    world.run_until(lambda: len(world.paper.account.open_orders(BTC)) == 5)
    for life in range(RESTARTS + 1):
        world.break_actor("oms")
        assert world.kernel.life.exited is None, f"it ended behind {life} restarts"
        world.run(0.2)
    assert world.driver.hosted.latch.is_closed((BTC,))
    world.run_until(lambda: world.kernel.life.exited is not None, 6)
    assert world.kernel.life.exited == 70
    assert world.paper.account.open_orders(None) == []
    assert world.kernel.life.tree.child("oms").restarts == RESTARTS + 1
    world.crash()
    records, _ = JournalFile(str(tmp_path / "journal.db")).fold()
    assert [one for one in records if isinstance(one, CleanStop)] == []
    assert len([one for one in records if isinstance(one, Intent)]) >= 5
