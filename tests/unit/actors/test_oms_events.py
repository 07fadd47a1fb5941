"""What happens around a sliced parent: pauses that end, restarts that do not forget, own orders that meet."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import ACCOUNT, API, BTC, CLI, GATEWAY, TRADER, TREND
from tests.unit.actors.test_oms_algorithms import parent_of, quoted, scheduled
from tradefan.actors.oms_executor import volume_at
from tradefan.messages.account import AccountState
from tradefan.messages.gateway import CancelOrder, CreateOrder
from tradefan.messages.instrument import InstrumentUpdate
from tradefan.messages.market import FeedQuality, Quality, VolumeTick
from tradefan.messages.orders import AmendOrder, OrderStatus, PauseOrder, Phase, Refusal, ResumeOrder
from tradefan.messages.work import (
    PlanChange,
)
from tradefan.units import HOUR, MINUTE, MS, SECOND, iso

D = Decimal
S = OrderStatus


@pytest.fixture
def bench() -> Bench:
    return Bench().ready()


def name_of(bench: Bench) -> Any:
    return parent_of(bench).order.parent_id


# --- asked again ------------------------------------------------------------------------------------------


def test_twap_when_it_is_asked_often_then_it_has_one_timer(bench: Bench) -> None:
    """A wake for the instant that it waits for anyhow arms nothing; another one disarms the one before."""
    create = scheduled(bench)
    for cum in ("0.1", "0.2", "0.3"):
        bench.fill(create, "0.1")
        bench.report(create, S.PARTIALLY_FILLED, cum)
    assert sum(timer.name == "wake" for _, _, timer in bench.timers) == 1
    bench.check()


def test_twap_when_its_quote_has_become_old_then_the_next_one_asks_again(bench: Bench) -> None:
    """The feed is LIVE, but quiet for longer than a reference may be old."""
    create = scheduled(bench, chase={"max_steps": 0})
    bench.advance(10_500 * MS)
    bench.report(create, S.CANCELED)
    assert bench.take(GATEWAY, CreateOrder) == []
    bench.advance(SECOND)
    quoted(bench, 100)
    assert len(bench.take(GATEWAY, CreateOrder)) == 1
    bench.check()


def test_twap_when_a_gate_refuses_its_child_then_it_tries_again_a_second_later(bench: Bench) -> None:
    """Whatever else it waits for: the wake that came with the refused child is not the only one."""
    bench.submit(10, algo="twap", settings={"duration": "100s", "slices": 5, "time_jitter": 0})
    first = bench.one(GATEWAY, CreateOrder)
    bench.oms.state.live.recent[TREND] = [bench.now_ns] * 1_000
    bench.report(first, S.CANCELED)
    bench.advance(250 * MS)
    assert bench.take(GATEWAY, CreateOrder) == []
    assert name_of(bench) in bench.oms.state.live.wakes
    bench.advance(SECOND)
    quoted(bench, 100)
    bench.advance(SECOND)
    assert len(bench.take(GATEWAY, CreateOrder)) == 1
    bench.check()


# --- pauses ---------------------------------------------------------------------------------------------


def test_limit_when_paused_and_resumed_then_it_is_placed_again(bench: Bench) -> None:
    """What was cancelled for the pause is no end of the order."""
    create = bench.resting(2, 99)
    bench.tell(PauseOrder(API, name_of(bench)))
    bench.report(bench.one(GATEWAY, CancelOrder), S.CANCELED)
    bench.tell(ResumeOrder(API, name_of(bench)))
    again = bench.one(GATEWAY, CreateOrder)
    assert (again.order_qty, again.limit_price) == (create.order_qty, create.limit_price)
    bench.check()


def test_limit_when_paused_with_its_child_then_that_goes_on(bench: Bench) -> None:
    """Its place in the queue is kept."""
    bench.resting(2, 99)
    bench.tell(PauseOrder(API, name_of(bench), keep_children=True), ResumeOrder(API, name_of(bench)))
    assert (bench.take(GATEWAY, CancelOrder), bench.take(GATEWAY, CreateOrder)) == ([], [])
    assert parent_of(bench).phase is Phase.WORKING
    bench.check()


def test_pause_when_its_child_and_its_end_are_kept_then_nothing_rests_behind_it(bench: Bench) -> None:
    """Its clock runs: what still rests at the end is cancelled, and the order waits for its owner."""
    create = scheduled(bench, chase={"max_steps": 0})
    bench.tell(PauseOrder(API, name_of(bench), keep_children=True, keep_end=True))
    bench.passed(99)
    assert bench.take(GATEWAY, CancelOrder) == []
    bench.passed(2)
    assert {one.client_order_id for one in bench.take(GATEWAY, CancelOrder)} == {create.client_order_id}
    bench.report(create, S.CANCELED)
    bench.passed(10)
    assert (parent_of(bench).phase, bench.take(GATEWAY, CreateOrder)) == (Phase.PAUSED, [])
    bench.check()


def test_pause_when_its_clock_runs_again_then_the_time_it_stood_has_moved_its_end(bench: Bench) -> None:
    """A hundred seconds of a pause, then ten of one that keeps the end."""
    scheduled(bench, chase={"max_steps": 0}, duration="600s")
    end_ns, name = parent_of(bench).plan.end_ns or 0, name_of(bench)  # type: ignore[union-attr]
    bench.tell(PauseOrder(API, name))
    bench.report(bench.one(GATEWAY, CancelOrder), S.CANCELED)
    bench.passed(100)
    bench.tell(PauseOrder(API, name, keep_end=True))
    bench.passed(10)
    bench.tell(ResumeOrder(API, name))
    plan = parent_of(bench).plan
    assert plan is not None
    assert plan.end_ns == end_ns + 100 * SECOND
    bench.check()


def test_pause_when_its_child_is_kept_and_the_feed_is_stale_then_the_child_goes(bench: Bench) -> None:
    """What follows a market that nobody sees may not rest, whoever has paused its parent."""
    scheduled(bench)
    bench.tell(PauseOrder(API, name_of(bench), keep_children=True))
    bench.tell(FeedQuality(BTC, Quality.STALE, "silent", bench.now_ns, 1))
    bench.advance(2 * SECOND)
    assert len(bench.take(GATEWAY, CancelOrder)) == 1
    assert parent_of(bench).reason == "user"
    bench.check()


def test_twap_when_it_is_paused_behind_its_end_then_it_ends(bench: Bench) -> None:
    """Missing money: the clock ran, and nobody said that it is to go on."""
    create = scheduled(bench)
    bench.report(create, S.REJECTED, reason="FUNDS: Account has insufficient balance")
    bench.trading.ledger.balances.clear()
    bench.advance(106 * SECOND)
    parent = parent_of(bench)
    assert (parent.phase, parent.status, parent.reason) == (Phase.DONE, S.EXPIRED, "end")


def test_twap_when_there_is_money_for_a_part_then_that_is_placed() -> None:
    """The free balance shrinks a clip; only where not even the smallest can be paid its parent waits."""
    bench = Bench().ready(USDT=1_060)
    create = scheduled(bench)
    bench.resting("8.5", 99, owner=CLI)
    bench.report(create, S.CANCELED)
    bench.resting("0.5", 99, owner=CLI)
    bench.advance(250 * MS)
    part = bench.one(GATEWAY, CreateOrder)
    assert D("1.6") < part.order_qty < D("1.7")
    assert parent_of(bench).phase is not Phase.PAUSED
    bench.check()


def test_twap_when_its_halt_has_ended_before_it_is_asked_then_it_waits_from_that_end(bench: Bench) -> None:
    """Five seconds behind the end of the halt, not behind the last question."""
    create = scheduled(bench)
    rules = bench.wiring.instruments[BTC]
    bench.tell(InstrumentUpdate(replace(rules, status="HALT")))
    bench.report(bench.one(GATEWAY, CancelOrder), S.CANCELED)
    bench.advance(20 * SECOND)
    bench.tell(InstrumentUpdate(rules))
    quoted(bench, 100)
    bench.advance(3 * SECOND)
    bench.report(create, S.CANCELED)
    bench.advance(2 * SECOND)
    assert parent_of(bench).phase is Phase.WORKING
    bench.check()


def test_twap_when_a_halt_stops_its_clock_then_its_end_moves(bench: Bench) -> None:
    """`halt: extend`: 30 s of halt and 5 s of rest behind it."""
    scheduled(bench, halt="extend")
    end_ns = parent_of(bench).plan.end_ns or 0  # type: ignore[union-attr]
    rules = bench.wiring.instruments[BTC]
    bench.tell(InstrumentUpdate(replace(rules, status="HALT")))
    bench.report(bench.one(GATEWAY, CancelOrder), S.CANCELED)
    bench.advance(30 * SECOND)
    quoted(bench, 100)
    bench.tell(InstrumentUpdate(rules))
    bench.advance(5 * SECOND)
    assert bench.made(PlanChange)[-1].plan.end_ns == end_ns + 35 * SECOND
    assert parent_of(bench).phase is Phase.WORKING
    # Nothing of its time is lost.
    assert "parent_missed" not in bench.alarms
    assert bench.trading.tracks[parent_of(bench).order.parent_id].missed_ns == 0
    bench.check()


def halted(bench: Bench) -> tuple[int, Any]:
    """Work 100 s, halted 30 s ago; return its end and the rules that it trades by."""
    scheduled(bench, halt="extend")
    end_ns = parent_of(bench).plan.end_ns or 0  # type: ignore[union-attr]
    rules = bench.wiring.instruments[BTC]
    bench.tell(InstrumentUpdate(replace(rules, status="HALT")))
    bench.report(bench.one(GATEWAY, CancelOrder), S.CANCELED)
    bench.advance(30 * SECOND)
    quoted(bench, 100)
    return end_ns, rules


def back(bench: Bench) -> None:
    bench.tell(AccountState(ACCOUNT, True, ""))
    while not bench.oms.state.live.accounts[ACCOUNT].ready:
        bench.look()


@pytest.mark.parametrize("what", ["away", "pause", "resume", "away beyond the end"])
def test_twap_when_something_else_comes_in_a_halt_then_what_its_clock_stood_is_not_lost(
    bench: Bench, what: str
) -> None:
    """The end moves by all of the halt, whatever else holds the order in it; it is never over in one."""
    end_ns, rules = halted(bench)
    name = parent_of(bench).order.parent_id
    if what == "away beyond the end":
        bench.advance(100 * SECOND)
    began_ns = bench.now_ns
    if what.startswith("away"):
        bench.tell(AccountState(ACCOUNT, False, "gone"))
        assert parent_of(bench).phase is Phase.PAUSED
        back(bench)
    elif what == "pause":
        bench.tell(PauseOrder(API, name))
    else:
        bench.tell(ResumeOrder(API, name))
    quoted(bench, 100)
    bench.tell(InstrumentUpdate(rules))
    bench.advance(5 * SECOND)
    quoted(bench, 100)
    if what == "pause":
        bench.tell(ResumeOrder(API, name))
    stood_ns = bench.now_ns - began_ns + (130 if "beyond" in what else 30) * SECOND
    parent = parent_of(bench)
    assert (parent.phase, parent.plan and parent.plan.end_ns) == (Phase.WORKING, end_ns + stood_ns)
    bench.check()


def test_twap_when_the_daemon_dies_in_a_halt_then_what_its_clock_stood_is_not_lost(bench: Bench) -> None:
    """Up to the start that found it halted, the time without a daemon too."""
    end_ns, _ = halted(bench)
    again = Bench(records=bench.records, now_ns=bench.now_ns + 10 * SECOND)
    again.fold()
    parent = again.trading.parents[parent_of(bench).order.parent_id]
    assert (parent.reason, parent.plan and parent.plan.end_ns) == ("recovery", end_ns + 40 * SECOND)


@pytest.mark.parametrize(("start_s", "paused_s", "moved_s"), [(60, 30, 0), (60, 80, 20)])
def test_twap_when_paused_before_its_start_then_only_time_of_its_own_is_given_back(
    bench: Bench, start_s: int, paused_s: int, moved_s: int
) -> None:
    """Its clock has not begun to run before."""
    start_ns = bench.now_ns + start_s * SECOND
    bench.submit(10, algo="twap", settings={"start_at": iso(start_ns), "duration": "100s"}, owner=API)
    name = parent_of(bench).order.parent_id
    bench.tell(PauseOrder(API, name))
    bench.advance(paused_s * SECOND)
    quoted(bench, 100)
    bench.tell(ResumeOrder(API, name))
    plan = parent_of(bench).plan
    assert plan is not None
    assert plan.end_ns == start_ns + (100 + moved_s) * SECOND
    assert plan.start_ns == start_ns + moved_s * SECOND
    bench.check()


def test_twap_when_its_end_is_amended_in_a_pause_then_it_is_that_end(bench: Bench) -> None:
    """Only what it is paused for behind the amend moves it."""
    scheduled(bench)
    name = parent_of(bench).order.parent_id
    bench.tell(PauseOrder(API, name))
    bench.report(bench.one(GATEWAY, CancelOrder), S.CANCELED)
    bench.advance(60 * SECOND)
    quoted(bench, 100)
    wanted_ns = bench.now_ns + 200 * SECOND
    bench.tell(AmendOrder(API, name, end_ns=wanted_ns))
    bench.advance(10 * SECOND)
    quoted(bench, 100)
    bench.tell(ResumeOrder(API, name))
    plan = parent_of(bench).plan
    assert plan is not None
    assert plan.end_ns == wanted_ns + 10 * SECOND
    bench.check()


def test_order_when_it_is_worth_so_much_then_its_quantity_is_that_at_the_mid(bench: Bench) -> None:
    """1,000.09 USDT at 100 are 10.000 BTC in whole lots; the same ref is the same wish at any other mid."""
    wish = bench.submit(0, ref="worth", settings={"notional": "1000.09"})
    assert bench.one(GATEWAY, CreateOrder).order_qty == D(10)
    bench.quote(BTC, 101)
    bench.tell(wish)
    assert (len(bench.trading.parents), bench.take(TRADER, Refusal)) == (1, [])
    bench.check()


@pytest.mark.parametrize(
    ("qty", "notional", "code"),
    [
        (1, "1000", "BAD_SETTING"),
        (0, "none", "BAD_SETTING"),
        (0, "NaN", "BAD_SETTING"),
        (0, "0.01", "BELOW_MIN_QTY"),
    ],
)
def test_order_when_its_worth_is_no_quantity_then_it_is_refused(
    bench: Bench, qty: int, notional: str, code: str
) -> None:
    """Exactly one of both, and enough for a lot."""
    bench.submit(qty, settings={"notional": notional})
    assert [refusal.code for refusal in bench.take(TRADER, Refusal)] == [code]


def test_target_when_its_parent_is_paused_by_a_human_then_the_same_wish_changes_nothing(bench: Bench) -> None:
    """A strategy that says the same again does not undo what its operator did."""
    bench.target(2, algo="twap", settings={"duration": "100s", "slices": 2, "time_jitter": 0})
    bench.report(bench.one(GATEWAY, CreateOrder), S.NEW)
    bench.tell(PauseOrder(API, name_of(bench)))
    bench.report(bench.one(GATEWAY, CancelOrder), S.CANCELED)
    bench.target(2, algo="twap", settings={"duration": "100s", "slices": 2, "time_jitter": 0})
    assert (parent_of(bench).phase, parent_of(bench).reason) == (Phase.PAUSED, "user")
    assert len(bench.trading.parents) == 1
    bench.check()


# --- restarts ---------------------------------------------------------------------------------------------


@pytest.mark.failure("ST-01")
def test_restart_when_a_parent_waits_for_a_human_then_another_start_does_not_let_it_go(bench: Bench) -> None:
    """It was judged behind the first start; the second one was short."""
    create = scheduled(bench)
    again = Bench(records=bench.records, now_ns=bench.now_ns + 70 * SECOND).ready()
    again.report(create, S.CANCELED, source="look")
    third = Bench(records=again.records, now_ns=again.now_ns + SECOND).ready()
    assert (parent_of(third).phase, parent_of(third).reason) == (Phase.PAUSED, "restart")
    assert third.take(GATEWAY, CreateOrder) == []
    third.check()


@pytest.mark.failure("ST-01")
def test_restart_when_its_end_has_passed_and_it_is_resumed_then_its_end_policy_has_its_time(
    bench: Bench,
) -> None:
    """`at_end: cross_collared` takes what is left for `end_grace` from now on."""
    create = scheduled(bench)
    again = Bench(records=bench.records, now_ns=bench.now_ns + HOUR).ready()
    again.report(create, S.CANCELED, source="look")
    again.tell(ResumeOrder(API, name_of(again)))
    taken = again.one(GATEWAY, CreateOrder)
    assert (taken.order_qty, taken.time_in_force) == (D(10), "IOC")
    assert again.made(PlanChange)[-1].plan.end_ns == again.now_ns
    again.check()


def test_restart_when_a_limit_in_parts_had_not_placed_all_then_it_places_the_rest(bench: Bench) -> None:
    """Only what has placed all of it goes on without a question."""
    bench.submit(4, algo="limit", limit_price=D(99), settings={"max_clip": 2})
    create = bench.one(GATEWAY, CreateOrder)
    again = Bench(records=bench.records, now_ns=bench.now_ns + SECOND).ready()
    again.report(create, S.NEW, source="look")
    parent = parent_of(again)
    assert (parent.attempts, parent.working_qty, parent.in_doubt_qty) == (2, D(4), D(0))
    again.check()


@pytest.mark.failure("ST-01")
def test_pov_when_own_trades_are_not_in_the_feed_then_a_restart_counts_them_once(bench: Bench) -> None:
    """10 % of all volume; what the clip has journaled of its own is taken off again."""
    settings = {"duration": "100s", "min_clip": "0.5", "max_rate": "0.9"}
    bench.wiring.own_fills_in_feed[ACCOUNT] = False
    bench.submit(5, algo="pov", settings=settings)
    bench.tell(VolumeTick(BTC, 1, 6_000, 0.0, 100.0, bench.now_ns))
    first = bench.one(GATEWAY, CreateOrder)
    bench.fill(first, "0.6")
    bench.report(first, S.FILLED, "0.6")
    bench.advance(6 * SECOND)
    quoted(bench, 100)
    bench.tell(VolumeTick(BTC, 1, 12_000, 0.0, 100.0, bench.now_ns))
    second = bench.one(GATEWAY, CreateOrder)
    assert (second.order_qty, parent_of(bench).clip.volume) == (D("0.66"), 12_600)  # type: ignore[union-attr]
    again = Bench(records=bench.records, now_ns=bench.now_ns + 6 * SECOND)
    again.wiring.own_fills_in_feed[ACCOUNT] = False
    again.ready().report(second, S.CANCELED, source="look")
    again.tell(VolumeTick(BTC, 2, 6_000, 0.0, 100.0, again.now_ns))
    assert again.one(GATEWAY, CreateOrder).order_qty == D("1.26")
    again.check()


# --- the tape ---------------------------------------------------------------------------------------------


def test_lot_when_it_changes_then_what_has_traded_is_counted_in_the_new_one(bench: Bench) -> None:
    """6,000 lots of 0.001 are 60 of 0.1."""
    bench.submit(5, algo="pov", settings={"duration": "100s", "min_clip": "0.5"})
    bench.tell(VolumeTick(BTC, 1, 4_000, 0.0, 100.0, bench.now_ns))
    rules = replace(bench.wiring.instruments[BTC], qty_lot=D("0.1"), version=2)
    bench.tell(InstrumentUpdate(rules))
    assert bench.oms.state.live.tapes[BTC].lots == 40
    bench.tell(VolumeTick(BTC, 2, 100, 0.0, 100.0, bench.now_ns))
    (created,) = bench.take(GATEWAY, CreateOrder)
    assert created.order_qty % D("0.1") == 0
    bench.check()


def test_share_of_the_market_when_the_lot_grows_then_what_was_done_counts_as_a_whole_lot(
    bench: Bench,
) -> None:
    """0.068 done and a tenth of 1.5 allowed: one lot of 0.1 more would be 0.168."""
    bench.submit(5, algo="pov", settings={"duration": "100s"})
    bench.tell(VolumeTick(BTC, 1, 1_500, 0.0, 100.0, bench.now_ns))
    create = bench.one(GATEWAY, CreateOrder)
    bench.fill(create, "0.068")
    bench.tell(InstrumentUpdate(replace(bench.wiring.instruments[BTC], qty_lot=D("0.1"), version=2)))
    (parent,) = bench.trading.parents.values()
    found = volume_at(bench.oms.state.live, bench.wiring, bench.now_ns, parent, D("0.1"), MINUTE)
    assert (found.window, found.own_window) == (15, 1)


# --- own orders -----------------------------------------------------------------------------------------


def test_child_when_it_would_trade_with_one_of_ours_then_it_waits_and_then_that_makes_way(
    bench: Bench,
) -> None:
    """I-39: a market order has two seconds of patience, then what rests is cancelled to evidence."""
    bench.bought(4)
    sale = bench.limit(1, "100.1", side="sell")
    bench.report(sale, S.NEW)
    bench.submit(1, owner=CLI)
    assert bench.take(GATEWAY, CreateOrder) == []
    alive_without_answers(bench, 1)
    assert (bench.take(GATEWAY, CreateOrder), bench.take(GATEWAY, CancelOrder)) == ([], [])
    alive_without_answers(bench, 2)
    cancel = bench.take(GATEWAY, CancelOrder)[0]
    assert cancel.client_order_id == sale.client_order_id
    assert bench.take(GATEWAY, CreateOrder) == []
    bench.report(cancel, S.CANCELED)
    bench.advance(250 * MS)
    assert bench.one(GATEWAY, CreateOrder).side == "buy"
    bench.check()


@pytest.mark.parametrize(
    "asked",
    [{"settings": {"self_cross": "cancel_resting"}}, {"protective": True}],
    ids=["setting", "protective"],
)
def test_child_when_it_is_not_to_wait_for_one_of_ours_then_that_makes_way_at_once(
    bench: Bench, asked: Any
) -> None:
    """`self_cross: cancel_resting`, and what protects a position, which has no time to be polite."""
    bench.bought(4)
    sale = bench.limit(1, "100.1", side="sell")
    bench.report(sale, S.NEW)
    bench.submit(1, owner=CLI, **asked)
    assert bench.one(GATEWAY, CancelOrder).client_order_id == sale.client_order_id
    assert bench.take(GATEWAY, CreateOrder) == []
    bench.check()


def test_child_when_it_is_to_rest_where_one_of_ours_is_about_to_take_then_it_waits(bench: Bench) -> None:
    """I-39: a sale that takes and of which nobody has heard would meet it, if it arrived behind it."""
    bench.bought(4)
    bench.submit(1, side="sell")
    sale = bench.one(GATEWAY, CreateOrder)
    assert sale.time_in_force == "IOC"
    bench.submit(1, owner=CLI, algo="limit", limit_price=D("99.9"))
    bench.advance(SECOND)
    assert bench.take(GATEWAY, CreateOrder) == []
    bench.report(sale, S.EXPIRED)
    bench.advance(250 * MS)
    created = bench.take(GATEWAY, CreateOrder)
    assert [one.side for one in created if one.time_in_force == "GTC"] == ["buy"]
    bench.check()


def alive_without_answers(bench: Bench, seconds: int) -> None:
    """Let time pass in a market that lives and a venue that is silent."""
    for _ in range(seconds):
        bench.advance(SECOND)
        quoted(bench, 100)


@pytest.mark.failure("ST-01")
@pytest.mark.parametrize(("says", "phase"), [("cancel", Phase.COMPLETING), ("pause", Phase.PAUSED)])
def test_limit_when_it_says_what_a_restart_does_to_it_then_that_holds_for_what_rests(
    bench: Bench, says: str, phase: Phase
) -> None:
    """By itself what rests at its owner's price goes on; its owner may want it otherwise."""
    create = bench.resting(2, 99, settings={"on_restart": says})
    again = Bench(records=bench.records, now_ns=bench.now_ns + SECOND).ready()
    again.report(create, S.NEW, source="look")
    assert parent_of(again).phase is phase
    again.check()


@pytest.mark.failure("ST-01")
def test_limit_when_it_is_amended_behind_a_restart_then_it_is_placed_by_that_start(bench: Bench) -> None:
    """What rested went on without a question; by its new plan it works in this start."""
    create = bench.resting(2, 99)
    again = Bench(records=bench.records, now_ns=bench.now_ns + SECOND).ready()
    again.report(create, S.NEW, source="look")
    again.tell(AmendOrder(API, name_of(again), limit_price=D(98)))
    again.report(again.one(GATEWAY, CancelOrder), S.CANCELED)
    assert again.one(GATEWAY, CreateOrder).limit_price == D(98)
    assert parent_of(again).epoch == again.trading.epoch
    again.check()
