"""Development as a whole, in virtual time: trading, crashes of each actor, kill -9, replay, laps."""

from __future__ import annotations

import gc
import resource
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from tests.simulation.world import ACCOUNT, T0, World, development, recordings
from tradefan.drivers.replay import replay
from tradefan.messages.control import StopAll, SwapConfig
from tradefan.messages.orders import SubmitOrder
from tradefan.messages.wire import LinkDown
from tradefan.runtime import snapshot
from tradefan.runtime.system import RIM
from tradefan.units import SECOND, InstrumentId, OwnerId
from tradefan.wiring import encode_config

BTC = InstrumentId("binance:BTC/USDT")
REBALANCE = ("rebalance_btc", "binance:BTC/USDT")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A development run of one virtual minute."""
    made = World(development(), tmp_path_factory.mktemp("dev"), recordings(), trace=True)
    made.run_until(made.ready, 30)
    made.run(60)
    return made


def test_development_when_ready_then_rebalance_orders_within_two_seconds(tmp_path: Path) -> None:
    """The first order comes within 2 s of READY and brings the target weight, less fees."""
    made = World(development(), tmp_path, recordings())
    took = made.run_until(made.ready, 30)
    waited = made.run_until(lambda: made.positions().get(REBALANCE, 0) > 0, 5)
    assert took <= 20
    assert waited <= 2
    assert not made.errors()


def test_development_when_stopped_with_flatten_then_the_position_is_sold_and_nothing_else_is_let_in(
    tmp_path: Path,
) -> None:
    """The order manager hears first that a stop begins; what it sells behind the cancels is verified."""
    flatten = "strategies.rebalance_btc.on_stop=flatten"
    made = World(development(flatten), tmp_path, recordings())
    made.run_until(made.ready, 30)
    made.run_until(lambda: made.positions().get(REBALANCE, 0) > 0, 5)
    assert [spec.name for spec in made.kernel.system.actors if spec.warned] == ["oms"]
    made.driver.inject(RIM, StopAll(made.driver.now_ns + 5 * SECOND))
    made.run_until(lambda: made.kernel.life.exited is not None, 6)
    # The fee was taken in BTC: less than a lot stays, as dust.
    assert (made.kernel.life.exited, made.positions()[REBALANCE] < Decimal("0.00001")) == (0, True)
    newest = made.view("oms").parents[0]
    assert (newest.order.reason, newest.order.side, newest.status) == ("on_stop", "sell", "FILLED")


def test_development_when_a_minute_has_passed_then_rebalance_was_quiet_after_its_first_order(
    world: World,
) -> None:
    """A constant weight does not churn, and its position is 15 % of its capital."""
    parents = [one for one in world.view("oms").parents if one.order.owner == "rebalance_btc"]
    assert [(one.status, one.order.side) for one in parents] == [("FILLED", "buy")]
    mark = Decimal(str(world.view("market_data:binance").feeds[0].bid))
    weight = world.positions()[REBALANCE] * mark / 1_000_000
    assert abs(weight - Decimal("0.15")) < Decimal("0.002")


def test_development_when_it_traded_then_books_agree(world: World) -> None:
    """I-05: the OMS's ledger, the risk desk's own book and the venue's balances are one."""
    oms, risk = world.view("oms"), world.view("risk_desk")
    ledger = oms.accounts[0].balances
    store = world.paper._store
    venue = {asset: one.free + one.locked for asset, one in store.load().balances.items()}
    assert {asset: qty for asset, qty in ledger.items() if qty} == {
        asset: qty for asset, qty in venue.items() if qty
    }
    assert not risk.differences
    assert not world.errors()


def test_replay_when_the_recorded_steps_run_again_then_the_same_hash(world: World) -> None:
    """The list of steps is the recording; effects go nowhere."""
    assert world.kernel.trace is not None
    assert replay(world.fresh_kernel(), world.steps.steps) == world.kernel.trace.hexdigest()


def test_snapshot_when_the_whole_system_is_restored_then_it_goes_on_alike(world: World) -> None:
    """Snapshot, restore, continue: every actor's state encodes and means the same."""
    head = len(world.steps.steps) // 2
    first = world.fresh_kernel()
    replay(first, world.steps.steps[:head])
    data = snapshot.take(first, encode_config(world.config), "code")
    second = snapshot.restore(data, world.system, "code")
    assert replay(second, world.steps.steps[head:]) == replay(first, world.steps.steps[head:])


@pytest.mark.parametrize(
    "actor",
    [
        "market_data:binance",
        "gateway:paper:main",
        "oms",
        "risk_desk",
        "strategy:rebalance_btc",
        "data_writer",
    ],
)
def test_crash_when_an_actor_dies_then_it_alone_is_restarted_and_all_is_well_again(
    actor: str, tmp_path: Path
) -> None:
    """One crash: one restart of that actor, READY again, positions as they were, no order of its own."""
    made = World(development("strategies.ema_cross_eth.enabled=false"), tmp_path, recordings())
    made.run_until(made.ready, 30)
    made.run_until(lambda: made.positions().get(REBALANCE, 0) > 0, 5)
    made.run(3)
    before, orders = made.positions(), made.view("oms").counters.orders
    made.break_actor(actor)
    made.run(1)
    took = made.run_until(made.ready, 60)
    made.run(20)
    restarts = {name: child.restarts for name, child in made.kernel.life.tree.state.children.items()}
    assert {name: count for name, count in restarts.items() if count} == {actor: 1}
    assert [letter.actor for letter in made.kernel.life.dead_letters] == [actor]
    assert took <= 45
    assert made.positions() == before
    trader = made.view("strategy:rebalance_btc")
    assert trader.phase == "READY"
    if actor != "oms":
        assert made.view("oms").counters.orders == orders
    assert len(made.view("oms").parents) == 1


def test_crash_when_the_risk_desk_stays_down_then_no_new_risk_until_it_is_back(tmp_path: Path) -> None:
    """Without its second pair of eyes the OMS takes no new risk, and 30 s beyond, and says why (2b)."""
    config = development("strategies.ema_cross_eth.enabled=false", "runtime.restarts_max=0")
    made = World(config, tmp_path, recordings())
    made.run_until(made.ready, 30)
    made.break_actor("risk_desk")
    made.run(2)
    assert made.view("risk_desk") is None
    assert made.view("oms").mode.mode == "NO_NEW_RISK"
    assert "risk desk" in made.view("oms").mode.text
    made.run_until(made.ready, 90)
    made.run(25)
    assert made.view("oms").mode.mode == "NO_NEW_RISK"
    made.run(7)
    assert made.view("oms").mode.mode == "NORMAL"


def test_kill_when_three_times_in_a_row_then_positions_and_owners_are_as_they_were(tmp_path: Path) -> None:
    """kill -9 and start again, three times: nothing is bought twice, epochs rise, ids do not repeat."""
    config = development("strategies.ema_cross_eth.enabled=false")
    made = World(config, tmp_path, recordings())
    made.run_until(made.ready, 30)
    made.run_until(lambda: made.positions().get(REBALANCE, 0) > 0, 5)
    made.run(2)
    position, epoch = made.positions(), made.view("oms").epoch
    for _ in range(3):
        now_ns = made.driver.now_ns + SECOND
        made.crash()
        made = World(config, tmp_path, recordings(), start_ns=now_ns, origin_ns=T0)
        made.run_until(made.ready, 60)
        made.run(10)
        assert made.positions() == position
        assert made.view("oms").epoch == epoch + 1
        assert made.view("oms").counters.orders == 0
        epoch += 1


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.slow
def test_laps_when_two_hundred_then_ids_rise_ledger_is_exact_and_memory_is_flat(tmp_path: Path) -> None:
    """200 laps of a short tape: sessions break and mend, nothing grows, the books agree at the end."""
    config = development("strategies.ema_cross_eth.settings.timeframe=1s", "time.bar_grace=500ms")
    made = World(config, tmp_path, recordings(24 * SECOND), history_ns=4 * SECOND)
    states: list[int] = []
    resident: list[int] = []
    for lap in range(200):
        made.run(20)
        made.steps.steps.clear()
        made.log.clear()
        if lap % 20 == 19:
            gc.collect()
            states.append(len(snapshot.take(made.kernel, encode_config(config), "code")))
            resident.append(_resident_bytes())
    assert made.view("market_data:binance").opens >= 200
    for name in config.feeds:
        ids = [one.trade_id for one in made.store.trades(InstrumentId(name), 0, made.driver.now_ns, 10**6)]
        assert len(ids) > 200 * 10
        assert all(later > earlier for earlier, later in pairwise(ids)), name
    assert made.view("oms").fills > 0
    test_development_when_it_traded_then_books_agree(made)
    assert max(states[5:]) <= 1.2 * max(states[:5])
    assert resident[-1] <= 1.1 * resident[3], "the process grows, whatever the states say"


def test_link_when_the_journal_dies_then_the_oms_folds_again_and_nothing_is_lost(tmp_path: Path) -> None:
    """A journal link that ends takes what waited with it: the OMS begins anew from the disk."""
    made = World(development("strategies.ema_cross_eth.enabled=false"), tmp_path, recordings())
    made.run_until(made.ready, 30)
    made.run_until(lambda: made.positions().get(REBALANCE, 0) > 0, 5)
    made.run(2)
    before, epoch = made.positions(), made.view("oms").epoch
    port = made.kernel.ports[made.kernel.refs["journal"]]
    made.driver.inject(RIM, LinkDown("journal", port.generation, "scripted"))
    made.run(1)
    made.run_until(made.ready, 60)
    made.run(5)
    assert made.positions() == before
    assert made.view("oms").epoch == epoch + 1
    assert [letter.actor for letter in made.kernel.life.dead_letters] == ["oms"]


def test_swap_when_limits_change_then_the_next_order_is_checked_by_the_new_ones(world: World) -> None:
    """A configuration comes as one ingress, all or nothing; a key that needs a restart refuses it whole."""
    tight = development("risk.max_order_qty=1")
    world.driver.inject(RIM, SwapConfig("tight", encode_config(tight)))
    world.run(0.1)
    assert world.view("configurator").active_id == "tight"
    wish = SubmitOrder(ACCOUNT, BTC, OwnerId("cli"), "over", "buy", Decimal(2), "market")
    world.send("oms", wish)
    world.run(0.1)
    refusal = world.view("oms").refusals[0]
    assert (refusal.code, refusal.limit, refusal.used) == ("RISK_MAX_ORDER_QTY", "1", "2")
    both = development("risk.max_order_qty=3", "api.port=9000")
    world.driver.inject(RIM, SwapConfig("both", encode_config(both)))
    world.run(0.1)
    picture = world.view("configurator")
    assert (picture.active_id, picture.refused_id) == ("tight", "both")
    assert "api.port" in " ".join(picture.refused_errors)
    assert world.kernel.config == tight
