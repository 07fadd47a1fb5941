"""What has fired and is hindered: it stays at work, somebody is told, and it goes on when it can."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import BTC, GATEWAY, TREND
from tests.unit.actors.test_oms_trigger import Prints, armed, fired, parent_of, restarted
from tradefan.messages.contingent import GroupEnding
from tradefan.messages.gateway import CancelOrder, CreateOrder, Look
from tradefan.messages.market import FeedQuality, Quality
from tradefan.messages.orders import CancelParent, Doubt, OrderStatus, Phase
from tradefan.units import SECOND

D = Decimal
S = OrderStatus
RESTS: dict[str, tuple[str, dict[str, Any], float]] = {
    "stop_limit": ("stop_limit", {"limit_price": D("93.5")}, 94),
    "take_profit": ("take_profit", {"trigger_price": "105", "limit_price": D("104.5")}, 106),
    "trailing": ("trailing", {"callback_bps": "100", "limit_offset_bps": "50"}, 98.5),
}


@pytest.fixture
def bench() -> Bench:
    """A strategy that holds 10 BTC, in a market at 100."""
    bench = Bench().ready()
    bench.bought(10)
    return bench


def fire(bench: Bench, name: str = "stop_limit", **more: Any) -> None:
    """Arm what is to rest at a limit, and let it fire."""
    algo, settings, price = RESTS[name]
    armed(bench, algo, **settings, **more)
    bench.quote(BTC, price)
    Prints(bench)(price, price, price)
    assert len(fired(bench)) == 1


def seconds(bench: Bench, number: int, price: float = 94) -> None:
    """Let a market go on for so long."""
    for _ in range(number):
        bench.advance(SECOND, answering=True)
        bench.quote(BTC, price)


def seconds_unheard(bench: Bench, number: int) -> None:
    """Let time go on without a word of the venue."""
    for _ in range(number):
        bench.advance(SECOND)


# --- at a limit -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RESTS)
@pytest.mark.parametrize(
    ("status", "reason"), [(S.REJECTED, "RATE_LIMIT: too many"), (S.EXPIRED, ""), (S.CANCELED, "")]
)
def test_fired_limit_when_its_venue_ends_it_then_it_is_placed_again(
    bench: Bench, name: str, status: OrderStatus, reason: str
) -> None:
    """A second later, at the same price, and somebody is told once."""
    fire(bench, name)
    first = bench.one(GATEWAY, CreateOrder)
    bench.report(first, status, reason=reason)
    assert bench.take(GATEWAY, CreateOrder) == []
    assert bench.logs.count("fired_not_done") == 1
    assert bench.levels["fired_not_done"] == ("critical" if parent_of(bench).order.protective else "warning")
    seconds(bench, 1, RESTS[name][2])
    again = bench.one(GATEWAY, CreateOrder)
    assert (again.order_qty, again.limit_price) == (first.order_qty, first.limit_price)
    bench.report(again, status, reason=reason)
    seconds(bench, 1, RESTS[name][2])
    assert len(bench.take(GATEWAY, CreateOrder)) == 1
    assert bench.logs.count("fired_not_done") == 1
    bench.check()


def test_fired_limit_when_the_feed_goes_before_it_is_written_then_it_is_placed_behind_that(
    bench: Bench,
) -> None:
    """Nothing has left: what was dropped is no end."""
    bench.auto_durable = False
    fire(bench)
    bench.tell(FeedQuality(BTC, Quality.STALE, "", bench.now_ns, 2))
    bench.durable()
    assert bench.take(GATEWAY, CreateOrder) == []
    seconds(bench, 2)
    assert bench.one(GATEWAY, CreateOrder).limit_price == D("93.5")


def test_fired_limit_when_killed_before_its_child_is_written_then_it_is_placed_once(bench: Bench) -> None:
    """The journal has TRIGGERED and INTENT, the venue nothing: exactly one `then` rests in the end."""
    bench.auto_durable = False
    fire(bench)
    again = restarted(list(bench.records), bench.now_ns + 5 * SECOND)
    again.quote(BTC, 94)
    created: list[CreateOrder] = []
    while not created:
        for look in again.take(GATEWAY, Look):
            again.done(look, {"USDT": 999_000, "BTC": 10})
        again.advance(SECOND)
        again.quote(BTC, 94)
        created = again.take(GATEWAY, CreateOrder)
    again.report(created[0], S.NEW)
    parent = parent_of(again)
    assert (parent.phase, parent.working_qty, parent.in_doubt_qty) == (Phase.WORKING, D(10), D(0))
    assert (len(created), again.alarms) == (1, ["fired_not_done"])


def test_fired_limit_when_its_time_is_over_then_it_ends(bench: Bench) -> None:
    """`duration` counts from the firing."""
    fire(bench, duration="60s")
    bench.report(bench.one(GATEWAY, CreateOrder), S.EXPIRED)
    seconds(bench, 2)
    bench.report(bench.one(GATEWAY, CreateOrder), S.NEW)
    seconds(bench, 60)
    assert parent_of(bench).phase is Phase.COMPLETING


def test_fired_limit_when_it_only_takes_then_it_is_tried_once(bench: Bench) -> None:
    """`time_in_force: IOC` is what its owner said."""
    fire(bench, time_in_force="IOC")
    bench.report(bench.one(GATEWAY, CreateOrder), S.EXPIRED)
    assert (parent_of(bench).phase, parent_of(bench).status) == (Phase.DONE, S.EXPIRED)


# --- reserved by others -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("qty", "at_once"), [(10, None), (4, D(6))])
def test_fired_stop_when_an_own_order_rests_then_that_makes_way(
    bench: Bench, qty: int, at_once: Decimal | None
) -> None:
    """It is not lowered: it sells what there is room for, and the rest behind the end of the other one."""
    parent = armed(bench)
    rests = bench.resting(qty, 120, side="sell")
    bench.quote(BTC, 94)
    Prints(bench)(94.9, 94.9)
    assert (parent.phase, parent.order.order_qty) == (Phase.WORKING, D(10))
    assert bench.levels["made_way"] == "warning"
    creates = bench.take(GATEWAY, CreateOrder)
    assert [one.order_qty for one in creates] == ([] if at_once is None else [at_once])
    for create in creates:
        bench.fill(create, create.order_qty)
        bench.report(create, S.FILLED, create.order_qty)
    (cancel,) = bench.take(GATEWAY, CancelOrder)
    assert cancel.client_order_id == rests.client_order_id
    bench.report(rests, S.CANCELED)
    seconds(bench, 2)
    assert bench.one(GATEWAY, CreateOrder).order_qty == D(qty)
    assert bench.logs.count("made_way") == 1
    bench.check()


def test_fired_stop_when_an_own_order_does_not_end_then_it_waits_and_says_so(bench: Bench) -> None:
    """Whatever is in doubt may trade: it waits for that, stays at work, and says once that it waits."""
    parent = armed(bench)
    rests = bench.resting(10, 120, side="sell")
    bench.doubt(rests, Doubt.CANCEL)
    bench.quote(BTC, 94)
    Prints(bench)(94.9, 94.9)
    seconds_unheard(bench, 5)
    assert (parent.phase, parent.order.order_qty) == (Phase.WORKING, D(10))
    assert bench.alarms.count("fired_not_done") == 1
    assert bench.take(GATEWAY, CreateOrder) == []


def test_bracket_when_its_owner_sells_beside_it_then_its_exits_stay_whole(bench: Bench) -> None:
    """A plain sale that rests reserves what was bought; the stop is still of all of it."""
    bench = Bench().ready()
    settings = {"stop.trigger_price": "95"}
    bench.submit(10, algo="bracket", settings=settings)
    entry = bench.one(GATEWAY, CreateOrder)
    bench.fill(entry, 10)
    bench.report(entry, S.FILLED, 10)
    bench.resting(7, 120, side="sell")
    seconds(bench, 1, 100)
    stop = next(one for one in bench.trading.parents.values() if one.leg == "stop")
    assert (stop.phase, stop.order.order_qty) == (Phase.ARMED, D(10))
    bench.quote(BTC, 94)
    Prints(bench)(94.9, 94.9)
    assert stop.order.order_qty == D(10)
    assert bench.one(GATEWAY, CreateOrder).order_qty == D(3)


def test_fired_take_profit_when_an_own_order_rests_then_it_waits_for_it(bench: Bench) -> None:
    """What protects nothing takes nobody's place."""
    parent = armed(bench, "take_profit", trigger_price="105")
    rests = bench.resting(10, 120, side="sell")
    bench.quote(BTC, 106)
    Prints(bench)(106, 106)
    seconds(bench, 3, 106)
    assert (parent.phase, bench.take(GATEWAY, CreateOrder)) == (Phase.WORKING, [])
    assert bench.levels["fired_not_done"] == "warning"
    bench.tell(CancelParent(TREND, rests.parent_id))
    bench.report(rests, S.CANCELED)
    seconds(bench, 2, 106)
    assert bench.one(GATEWAY, CreateOrder).order_qty == D(10)


def test_fired_stop_when_the_other_leg_is_in_doubt_then_it_says_that_it_waits(bench: Bench) -> None:
    """What it takes the place of may still trade: nothing is sent, and somebody is told two seconds later."""
    settings = {"take_profit.limit_price": "105", "stop.trigger_price": "95"}
    bench.submit(10, algo="oco", side="sell", reduce_only=True, settings=settings)
    profit = bench.one(GATEWAY, CreateOrder)
    bench.report(profit, S.NEW)
    bench.quote(BTC, 94)
    Prints(bench)(94.9, 94.9)
    bench.doubt(profit, Doubt.CANCEL)
    bench.advance(SECOND)
    assert bench.alarms == []
    seconds_unheard(bench, 10)
    assert (bench.alarms, bench.take(GATEWAY, CreateOrder)) == (["fired_not_done"], [])


# --- without a plan ---------------------------------------------------------------------------------------


def test_fired_stop_when_its_plan_does_not_fit_any_more_then_it_goes_on_at_the_market() -> None:
    """0.55 in 10 slices is enough at 100, too little at 80: it is said, and the stop works all the same."""
    bench = Bench().ready()
    bench.bought(D("0.55"))
    parent = armed(bench, qty=D("0.55"), trigger_price="80", then="twap", duration="60s", slices=10)
    for price in range(99, 78, -1):
        bench.quote(BTC, price)
    Prints(bench)(79.9, 79.9)
    assert bench.alarms == ["fired_refused"]
    create = bench.one(GATEWAY, CreateOrder)
    assert (create.order_qty, create.time_in_force, parent.phase) == (D("0.55"), "IOC", Phase.WORKING)
    bench.report(create, S.EXPIRED)
    seconds(bench, 1, 79)
    assert len(bench.take(GATEWAY, CreateOrder)) == 1
    bench.check()
    again = restarted(list(bench.records), bench.now_ns + SECOND)
    assert parent_of(again).order.settings["then"] == "market"


@pytest.mark.parametrize("reduce_only", [True, False])
@pytest.mark.parametrize("limit", [{"max_order_qty": D(3)}, {"max_order_notional": D(300)}])
def test_fired_stop_when_one_order_may_not_be_so_large_any_more_then_it_goes_in_parts(
    bench: Bench, limit: dict[str, Decimal], reduce_only: bool
) -> None:
    """A limit that was lowered since does not leave the position without its stop."""
    armed(bench, reduce_only=reduce_only)
    bench.config = replace(bench.config, risk=replace(bench.config.risk, **limit))
    bench.quote(BTC, 94)
    Prints(bench)(94, 94)
    sold = D(0)
    for _ in range(6):
        for create in bench.take(GATEWAY, CreateOrder):
            assert create.order_qty <= D("3.2")
            bench.fill(create, create.order_qty)
            bench.report(create, S.FILLED, create.order_qty)
            sold += create.order_qty
        seconds(bench, 1)
    assert (sold, parent_of(bench).status) == (D(10), S.FILLED)
    bench.check()


def test_fired_exit_when_it_grows_while_nobody_sees_the_market_then_it_trades_that_later() -> None:
    """A late fill of the entry on a stale feed: its plan cannot be made anew then, but has to be."""
    bench = Bench().ready()
    bench.submit(10, algo="bracket", limit_price=D(99), settings={"stop.trigger_price": "95"})
    entry = bench.one(GATEWAY, CreateOrder)
    bench.report(entry, S.NEW)
    bench.fill(entry, 3, price=D(99))
    bench.report(entry, S.PARTIALLY_FILLED, 3)
    bench.quote(BTC, 94)
    Prints(bench)(94, 94)
    bench.report(entry, S.CANCELED, 3)
    sale = bench.one(GATEWAY, CreateOrder)
    assert sale.order_qty == D(3)
    bench.tell(FeedQuality(BTC, Quality.STALE, "", bench.now_ns, 2))
    bench.fill(entry, 1, price=D(99))
    bench.fill(sale, 3)
    bench.report(sale, S.FILLED, 3)
    stop = next(one for one in bench.trading.parents.values() if one.leg == "stop")
    assert (stop.phase, stop.order.order_qty) == (Phase.WORKING, D(4))
    seconds(bench, 3)
    assert bench.one(GATEWAY, CreateOrder).order_qty == D(1)
    bench.check()


# --- flatten ------------------------------------------------------------------------------------------------


def cancelled_bracket(bench: Bench) -> CreateOrder:
    """Buy 5 of 10 with a fee of 0.0055 BTC, then cancel the bracket; return its entry."""
    settings = {"stop.trigger_price": "95", "on_cancel": "flatten"}
    bench.submit(10, algo="bracket", limit_price=D(99), settings=settings)
    entry = bench.one(GATEWAY, CreateOrder)
    bench.report(entry, S.NEW)
    bench.fill(entry, 5, price=D(99), fee=D("0.0055"), fee_asset="BTC")
    bench.report(entry, S.PARTIALLY_FILLED, 5)
    bench.tell(CancelParent(TREND, entry.parent_id))
    return entry


@pytest.mark.parametrize("other", [0, 3])
def test_flatten_when_a_fee_was_taken_in_base_then_what_is_left_of_it_is_sold(other: int) -> None:
    """4.994 of the 4.9945 that are left, whatever else its owner holds."""
    bench = Bench().ready()
    if other:
        bench.bought(other)
    entry = cancelled_bracket(bench)
    bench.report(entry, S.CANCELED, 5)
    sale = bench.one(GATEWAY, CreateOrder)
    assert (sale.side, sale.order_qty, sale.reduce_only) == ("sell", D("4.994"), True)
    bench.fill(sale, sale.order_qty)
    bench.report(sale, S.FILLED, sale.order_qty)
    assert parent_of(bench).phase is Phase.DONE
    bench.check()


def test_flatten_when_a_gate_refuses_it_then_it_is_tried_each_second_and_said() -> None:
    """The exits are gone by then: nobody gives up, and somebody is told once."""
    bench = Bench().ready()
    entry = cancelled_bracket(bench)
    bench.oms.state.live.recent[TREND] = [bench.now_ns] * 1_000
    bench.report(entry, S.CANCELED, 5)
    for _ in range(5):
        assert bench.take(GATEWAY, CreateOrder) == []
        bench.oms.state.live.recent[TREND] = [bench.now_ns + SECOND] * 1_000
        seconds(bench, 1, 100)
    assert (parent_of(bench).phase, bench.alarms) == (Phase.WORKING, ["fired_not_done"])
    bench.oms.state.live.recent.clear()
    seconds(bench, 1, 100)
    assert bench.one(GATEWAY, CreateOrder).order_qty == D("4.994")


def test_flatten_when_killed_without_a_price_then_the_next_start_sells() -> None:
    """Nothing has begun and all legs have ended: whoever sees a market again goes on."""
    bench = Bench().ready()
    entry = cancelled_bracket(bench)
    bench.tell(FeedQuality(BTC, Quality.STALE, "", bench.now_ns, 2))
    bench.report(entry, S.CANCELED, 5)
    seconds_unheard(bench, 3)
    assert (bench.alarms.count("not_flattened"), bench.take(GATEWAY, CreateOrder)) == (1, [])
    again = restarted(list(bench.records), bench.now_ns + SECOND)
    again.quote(BTC, 94)
    assert again.one(GATEWAY, CreateOrder).order_qty == D("4.994")


def test_flatten_when_everything_is_killed_meanwhile_then_nothing_is_sold_behind_the_resume() -> None:
    """A kill ends whatever was to come; what stays is said."""
    bench = Bench().ready()
    entry = cancelled_bracket(bench)
    bench.kill()
    bench.report(entry, S.CANCELED, 5)
    assert "not_flattened" in bench.alarms
    assert bench.made(GroupEnding)[-1].ending == "drop_exits"
    seconds(bench, 3, 100)
    assert bench.take(GATEWAY, CreateOrder) == []
