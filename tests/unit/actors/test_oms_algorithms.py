"""Sliced parents inside the order manager: what is journaled, what wakes them, and what may pause them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import ACCOUNT, API, BTC, FACE, GATEWAY, MARKET, STORE, TREND
from tradefan.core.trading import ParentState
from tradefan.messages.account import AccountState
from tradefan.messages.gateway import CancelOrder, CreateOrder, ReplaceOrder
from tradefan.messages.instrument import InstrumentUpdate
from tradefan.messages.market import FeedQuality, FollowVolume, Quality, Quote, VolumeDays, VolumeTick
from tradefan.messages.orders import (
    AmendOrder,
    Answer,
    CancelParent,
    OrderStatus,
    PauseOrder,
    Phase,
    Refusal,
    ResumeOrder,
)
from tradefan.messages.records import (
    Intent,
    Parent,
    PhaseChange,
)
from tradefan.messages.work import (
    Alive,
    Decision,
    PlanChange,
)
from tradefan.units import DAY, MINUTE, MS, SECOND, OwnerId, ParentId

D = Decimal
S = OrderStatus
ROOM = D("2.305")
"""The smallest clip and a quarter of what the other side shows: more is no room until trades were seen."""
SCHEDULE: dict[str, Any] = {"duration": "100s", "slices": 5, "size_jitter": 0, "time_jitter": 0}


@pytest.fixture
def bench() -> Bench:
    return Bench().ready()


def scheduled(bench: Bench, qty: Any = 10, algo: str = "twap", **settings: Any) -> CreateOrder:
    """Submit a TWAP of five clips over 100 s; its first child rests."""
    bench.submit(qty, algo=algo, settings={**SCHEDULE, **settings})
    create = bench.one(GATEWAY, CreateOrder)
    bench.report(create, S.NEW)
    return create


def parent_of(bench: Bench) -> ParentState:
    return next(reversed(bench.trading.parents.values()))


def quoted(bench: Bench, mid: float) -> None:
    """Quote as the market does: a turn only where somebody waits for it."""
    bench.tell(Quote(BTC, mid - 0.05, 9, mid + 0.05, 9, 1, bench.now_ns))


def alive(bench: Bench, seconds: int) -> None:
    """Let time pass in a market that lives; the venue ends what is cancelled."""
    for _ in range(seconds):
        bench.advance(SECOND)
        quoted(bench, 100)
        for cancel in bench.take(GATEWAY, CancelOrder):
            bench.report(cancel, S.CANCELED, bench.trading.orders[cancel.client_order_id].cum_qty)


def test_twap_when_accepted_then_plan_decision_and_intent_are_one_append(bench: Bench) -> None:
    """PARENT with its plan, DECISION, INTENT; the child carries clip and step."""
    create = scheduled(bench)
    parent, decision, intent = bench.records[-4:-1]
    assert isinstance(parent, Parent)
    assert parent.plan is not None
    assert parent.plan.taus == (2_000, 4_000, 6_000, 8_000, 10_000)
    assert isinstance(decision, Decision)
    assert (decision.clip.number, decision.clip.k, decision.clip.lots) == (0, 0, 2_000)
    assert isinstance(intent, Intent)
    assert (intent.clip, intent.step, intent.post_only, intent.order_qty) == (0, 0, True, D(2))
    assert create.limit_price == D("99.95")
    bench.check()


def test_twap_when_time_passes_then_each_decision_comes_at_its_instant(bench: Bench) -> None:
    """20 s each: passive for 12 s, then what is missing crosses; nothing is placed twice."""
    scheduled(bench)
    alive(bench, 13)
    crossing = bench.one(GATEWAY, CreateOrder)
    assert (crossing.order_qty, crossing.time_in_force) == (D(2), "IOC")
    bench.fill(crossing, 2)
    bench.report(crossing, S.FILLED, 2)
    alive(bench, 7)
    second = bench.one(GATEWAY, CreateOrder)
    assert (second.order_qty, second.time_in_force, parent_of(bench).clip.k) == (D(2), "GTC", 1)  # type: ignore[union-attr]
    bench.check()


def test_twap_when_the_touch_moves_then_only_whoever_waits_for_it_is_asked(bench: Bench) -> None:
    """A tick that reaches no level makes no turn; one that does moves the child in one request."""
    scheduled(bench, chase={"max_steps": 0})
    bench.advance(6 * SECOND)
    before = len(bench.records)
    quoted(bench, 99.9)
    assert len(bench.records) == before
    quoted(bench, 100.4)
    (moved,) = bench.take(GATEWAY, ReplaceOrder)
    assert moved.create.limit_price == D("100.35")
    bench.check()


def test_twap_when_its_feed_is_stale_then_it_is_paused_and_its_child_goes_after_two_seconds(
    bench: Bench,
) -> None:
    """PAUSED(data); when the feed is back it goes on, in no burst."""
    scheduled(bench)
    bench.tell(FeedQuality(BTC, Quality.STALE, "silent", bench.now_ns, 1))
    assert (parent_of(bench).phase, parent_of(bench).reason) == (Phase.PAUSED, "data")
    assert bench.take(GATEWAY, CancelOrder) == []
    bench.advance(2 * SECOND)
    (cancel,) = bench.take(GATEWAY, CancelOrder)
    bench.report(cancel, S.CANCELED)
    bench.advance(48 * SECOND)
    assert bench.take(GATEWAY, CreateOrder) == []
    bench.quote(BTC, 100)
    create = bench.one(GATEWAY, CreateOrder)
    assert (create.order_qty, parent_of(bench).phase) == (ROOM, Phase.WORKING)
    bench.check()


def test_twap_when_the_venue_is_away_then_its_child_stays_and_nothing_is_sent(bench: Bench) -> None:
    """PAUSED(disconnected) until the account is reconciled again."""
    create = scheduled(bench)
    bench.tell(AccountState(ACCOUNT, False, "lost"))
    assert (parent_of(bench).reason, bench.take(GATEWAY, CancelOrder)) == ("disconnected", [])
    bench.advance(30 * SECOND)
    bench.tell(AccountState(ACCOUNT, True, ""))
    assert parent_of(bench).reason == "disconnected"
    bench.look(create)
    assert parent_of(bench).phase is Phase.WORKING
    bench.check()


def test_twap_when_its_instrument_is_halted_then_it_waits_five_seconds_behind_the_end(bench: Bench) -> None:
    """PAUSED(halt): children cancelled at once; filters are read anew meanwhile."""
    scheduled(bench)
    rules = bench.wiring.instruments[BTC]
    bench.tell(InstrumentUpdate(replace(rules, status="HALT")))
    assert (parent_of(bench).reason, len(bench.take(GATEWAY, CancelOrder))) == ("halt", 1)
    bench.tell(InstrumentUpdate(rules))
    quoted(bench, 100)
    bench.advance(4 * SECOND)
    assert parent_of(bench).reason == "halt"
    bench.advance(SECOND)
    assert parent_of(bench).phase is Phase.WORKING
    bench.check()


def test_twap_when_the_venue_has_no_money_for_it_then_it_is_looked_again_every_five_seconds(
    bench: Bench,
) -> None:
    """PAUSED(funds), by one timer; where our books say that it could be paid, it is tried again."""
    create = scheduled(bench)
    bench.report(create, S.CANCELED)
    bench.advance(250 * MS)
    again = bench.one(GATEWAY, CreateOrder)
    bench.report(again, S.REJECTED, reason="FUNDS: Account has insufficient balance")
    assert (parent_of(bench).phase, parent_of(bench).reason) == (Phase.PAUSED, "funds")
    for _ in range(4):
        bench.advance(SECOND)
        quoted(bench, 100)
        assert bench.take(GATEWAY, CreateOrder) == []
    assert len(bench.oms.state.live.policies) == 1
    bench.advance(SECOND)
    assert len(bench.take(GATEWAY, CreateOrder)) == 1
    assert parent_of(bench).phase is Phase.WORKING
    bench.check()


def test_pov_when_it_is_at_work_then_the_market_is_followed_until_it_ends(bench: Bench) -> None:
    """Nothing is sent before somebody trades; its wake is a volume, and it ends with the last parent."""
    bench.submit(5, algo="pov", settings={"duration": "100s", "min_clip": "0.5"})
    assert bench.take(MARKET, FollowVolume) == [FollowVolume(BTC, on=True, asker=1)]
    assert bench.take(GATEWAY, CreateOrder) == []
    bench.tell(VolumeTick(BTC, 1, 4_000, 0.0, 100.0, bench.now_ns))
    assert bench.take(GATEWAY, CreateOrder) == []
    bench.advance(300 * MS)
    bench.tell(VolumeTick(BTC, 1, 6_000, 0.0, 100.0, bench.now_ns))
    assert bench.one(GATEWAY, CreateOrder).order_qty == D("0.6")
    bench.tell(FeedQuality(BTC, Quality.LIVE, "again", bench.now_ns, 2))
    assert bench.take(MARKET, FollowVolume) == [FollowVolume(BTC, on=True, asker=1)]
    bench.tell(CancelParent(TREND, parent_of(bench).order.parent_id))
    for cancel in bench.take(GATEWAY, CancelOrder):
        bench.report(cancel, S.CANCELED)
    assert bench.take(MARKET, FollowVolume) == [FollowVolume(BTC, on=False, asker=1)]
    assert (bench.oms.state.live.tapes, bench.oms.state.live.arrivals) == ({}, {})
    bench.check()


def test_twap_when_lot_and_tick_change_then_it_plans_the_rest_anew(bench: Bench) -> None:
    """What rests ends first; then PLAN in the new steps, from what has traded."""
    create = scheduled(bench)
    bench.fill(create, 1)
    rules = replace(bench.wiring.instruments[BTC], qty_lot=D("0.1"), price_tick=D("0.1"), version=2)
    bench.tell(InstrumentUpdate(rules))
    (cancel,) = bench.take(GATEWAY, CancelOrder)
    bench.report(cancel, S.CANCELED, 1)
    (plan,) = bench.made(PlanChange)
    assert (plan.plan.qty_lot, plan.plan.base, plan.plan.taus[-1]) == (D("0.1"), 10, 100)
    alive(bench, 15)
    made = bench.take(GATEWAY, CreateOrder)
    assert made
    prices = [one.limit_price for one in made if one.limit_price is not None]
    assert [one % D("0.1") for one in (*prices, *(one.order_qty for one in made))] == [0] * 2 * len(made)
    bench.check()


@pytest.mark.failure("ST-01")
def test_twap_when_the_daemon_dies_then_its_end_stays_and_no_burst_follows(bench: Bench) -> None:
    """Down for 40 s of 100: the plan is the same, and its old child is counted."""
    create = scheduled(bench)
    bench.fill(create, "0.5")
    end_ns = parent_of(bench).plan.end_ns  # type: ignore[union-attr]
    again = Bench(records=bench.records, now_ns=bench.now_ns + 40 * SECOND).ready()
    again.report(create, S.CANCELED, "0.5", source="look")
    parent = parent_of(again)
    assert (parent.phase, parent.plan and parent.plan.end_ns) == (Phase.WORKING, end_ns)
    fresh = again.one(GATEWAY, CreateOrder)
    assert fresh.order_qty == ROOM
    assert [one.reason for one in again.made(PhaseChange)][-2:] == ["recovery", ""]
    again.check()


def live_vwap(bench: Bench, **settings: Any) -> None:
    """Submit a VWAP of ten clips that follows live volume, of which 2000 lots trade each second."""
    days = tuple((bench.now_ns // DAY - 20 + day, (3_000.0,) * 288) for day in range(20))
    bench.tell(VolumeDays(BTC, "klines", 5 * MINUTE, days))
    given = {"duration": "100s", "slices": 10, "size_jitter": 0, "time_jitter": 0, "mode": "dynamic"}
    bench.submit(10, algo="vwap", settings={**given, "participation_cap": "1", **settings})


def traded(bench: Bench, seconds: int, sold: int) -> int:
    """Let a market live that fills whatever is placed; return what has been sold in it."""
    for _ in range(seconds):
        bench.advance(SECOND)
        sold += 10_000
        bench.tell(VolumeTick(BTC, 1, sold, 0.0, 100.0, bench.now_ns))
        quoted(bench, 100)
        for cancel in bench.take(GATEWAY, CancelOrder):
            bench.report(cancel, S.CANCELED, bench.trading.orders[cancel.client_order_id].cum_qty)
        for create in bench.take(GATEWAY, CreateOrder):
            bench.fill(create, create.order_qty)
            bench.report(create, S.FILLED, create.order_qty)
    return sold


@pytest.mark.parametrize(("catch_up", "most"), [("spread", 2_600), ("immediate", 3_300), ("none", 1_100)])
@pytest.mark.parametrize("why", ["disconnected", "data", "restart"])
def test_vwap_when_it_could_not_act_then_its_live_schedule_makes_no_burst(
    bench: Bench, why: str, catch_up: str, most: int
) -> None:
    """Away for half of its time: what is missed comes back as `catch_up` says, in at most three plain clips.

    Where nobody saw what traded meanwhile, a plain clip is an even part of what is open: 7070 of 3 intervals.
    """
    live_vwap(bench, catch_up=catch_up)
    sold = traded(bench, 21, 0)
    if why == "restart":
        bench = Bench(records=bench.records, now_ns=bench.now_ns + 50 * SECOND)
        bench.tell(VolumeDays(BTC, "klines", 5 * MINUTE, ()))
        bench.ready()
    elif why == "data":
        bench.tell(FeedQuality(BTC, Quality.STALE, "", bench.now_ns, 2))
        bench.advance(50 * SECOND)
        bench.tell(FeedQuality(BTC, Quality.LIVE, "", bench.now_ns, 3))
    else:
        bench.tell(AccountState(ACCOUNT, False, "lost"))
        sold = traded(bench, 50, sold)
        bench.tell(AccountState(ACCOUNT, True, ""))
        bench.look()
    traded(bench, 5, sold)
    clip = next(one.clip for one in bench.made(Decision) if one.clip.k > 2)
    assert clip.k == 7
    plain = 1_000 if why == "disconnected" else 2_000
    assert 0.9 * plain <= clip.lots <= max(most, 1.1 * plain)
    assert 0.9 * plain <= clip.target - clip.before <= 1.1 * plain
    bench.check()


@pytest.mark.failure("ST-01")
@pytest.mark.parametrize(("away_s", "phase"), [(10, Phase.WORKING), (90, Phase.PAUSED)])
def test_iceberg_when_it_has_rested_quietly_then_a_restart_knows_how_long_nobody_was_here(
    bench: Bench, away_s: int, phase: Phase
) -> None:
    """ALIVE is journaled each 15 s while a parent is at work, and never without one."""
    bench.submit(10, algo="iceberg", limit_price=D(99), settings={"display": 2, "variance": 0})
    create = bench.one(GATEWAY, CreateOrder)
    bench.report(create, S.NEW)
    bench.advance(300 * SECOND)
    assert len(bench.made(Alive)) == 20
    again = Bench(records=bench.records, now_ns=bench.now_ns + away_s * SECOND).ready()
    again.report(create, S.NEW, source="look")
    assert parent_of(again).phase is phase
    again.tell(CancelParent(TREND, parent_of(again).order.parent_id))
    again.report(create, S.CANCELED)
    count = len(again.made(Alive))
    again.advance(300 * SECOND)
    assert len(again.made(Alive)) == count
    again.check()


@pytest.mark.failure("ST-01")
def test_limit_when_the_daemon_was_away_for_long_then_what_rests_goes_on_and_ends_it(bench: Bench) -> None:
    """It places nothing more, so there is nothing to wait for a human with."""
    create = bench.resting(1, 99)
    again = Bench(records=bench.records, now_ns=bench.now_ns + 3_600 * SECOND).ready()
    assert parent_of(again).phase is Phase.WORKING
    again.report(create, S.CANCELED)
    assert (parent_of(again).phase, parent_of(again).status) == (Phase.DONE, S.CANCELED)
    again.check()


def test_algorithm_when_it_cannot_be_worked_then_the_refusal_says_what_would_pass(bench: Bench) -> None:
    """Nothing was journaled."""
    before = len(bench.records)
    bench.submit(10, algo="twap")
    (refusal,) = bench.take(STORE, Refusal)
    assert (refusal.code, refusal.would_pass) == ("BAD_SETTING", "duration 5m")
    assert len(bench.records) == before


# --- pause and resume -----------------------------------------------------------------------------------


def test_pause_when_asked_for_then_what_rests_is_cancelled_and_its_end_moves(bench: Bench) -> None:
    """The clock stops: 30 s of pause later it ends 30 s later, by a plan of its own."""
    create = scheduled(bench, chase={"max_steps": 0})
    end_ns = bench.made(Parent)[-1].plan.end_ns
    name = parent_of(bench).order.parent_id
    bench.advance(10 * SECOND)
    bench.tell(PauseOrder(API, name, req=5))
    assert (parent_of(bench).phase, parent_of(bench).reason) == (Phase.PAUSED, "user")
    assert bench.one(FACE, Answer) == Answer(5, (name,))
    bench.report(bench.one(GATEWAY, CancelOrder), S.CANCELED)
    bench.advance(30 * SECOND)
    quoted(bench, 100)
    assert bench.take(GATEWAY, CreateOrder) == []
    bench.tell(ResumeOrder(TREND, name))
    (plan,) = bench.made(PlanChange)
    assert plan.plan.end_ns == end_ns + 30 * SECOND
    assert bench.one(GATEWAY, CreateOrder).client_order_id != create.client_order_id
    bench.check()


def test_pause_when_it_keeps_children_and_end_then_only_nothing_new_is_placed(bench: Bench) -> None:
    """Behind it it is late, and no plan is made anew."""
    scheduled(bench)
    name = parent_of(bench).order.parent_id
    bench.tell(PauseOrder(TREND, name, keep_children=True, keep_end=True))
    assert (bench.take(GATEWAY, CancelOrder), parent_of(bench).reason) == ([], "user, its end stays")
    alive(bench, 30)
    assert bench.take(GATEWAY, CreateOrder) == []
    again = Bench(records=bench.records, now_ns=bench.now_ns + SECOND).ready()
    assert parent_of(again).reason == "user, its end stays"
    again.tell(ResumeOrder(TREND, name))
    assert (parent_of(again).phase, again.made(PlanChange)) == (Phase.WORKING, [])
    again.check()


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        (PauseOrder(OwnerId("somebody"), ParentId("p")), "UNKNOWN_PARENT"),
        (ResumeOrder(API, ParentId("nobody")), "UNKNOWN_PARENT"),
        (ResumeOrder(API, ParentId("p")), "NOT_PAUSED"),
    ],
)
def test_pause_when_it_cannot_be_then_it_is_refused(bench: Bench, wish: Any, code: str) -> None:
    """Nothing changes."""
    scheduled(bench)
    name = parent_of(bench).order.parent_id if wish.parent_id == "p" else wish.parent_id
    bench.tell(replace(wish, parent_id=name))
    assert [refusal.code for refusal in bench.take(STORE, Refusal)] == [code]
    assert bench.made(PhaseChange) == []


def test_pause_when_the_parent_is_ending_then_it_is_refused(bench: Bench) -> None:
    """Its children go to evidence already."""
    scheduled(bench)
    name = parent_of(bench).order.parent_id
    bench.tell(CancelParent(TREND, name), PauseOrder(TREND, name))
    assert [refusal.code for refusal in bench.take(STORE, Refusal)] == ["NOT_WORKING"]


def test_resume_when_a_restart_waits_for_a_human_then_it_goes_on(bench: Bench) -> None:
    """`on_restart: auto` behind a minute."""
    create = scheduled(bench)
    again = Bench(records=bench.records, now_ns=bench.now_ns + 70 * SECOND).ready()
    again.report(create, S.CANCELED, source="look")
    assert parent_of(again).reason == "restart"
    again.tell(ResumeOrder(API, parent_of(again).order.parent_id))
    assert again.one(GATEWAY, CreateOrder).order_qty == ROOM
    again.check()


def test_twap_when_the_lot_grows_over_all_that_is_in_doubt_then_its_plan_ends_where_it_begins(
    bench: Bench,
) -> None:
    """4.62 in doubt are a part of five lots, and the whole is four."""
    settings = {"duration": "60s", "i_would_price": 102}
    bench.submit("4.62", algo="twap", settings=settings)
    create = bench.one(GATEWAY, CreateOrder)
    assert create.order_qty == D("4.62")
    bench.doubt(create)
    bench.tell(InstrumentUpdate(replace(bench.wiring.instruments[BTC], qty_lot=D(1), version=2)))
    alive(bench, 3)
    plan = bench.made(PlanChange)[-1].plan
    assert (plan.base, plan.taus[-1]) == (4, 4)
    bench.check()


@pytest.mark.parametrize(("display", "shown"), [("0.5", "0.4"), ("0.3", None)])
def test_iceberg_when_the_lot_grows_then_it_never_shows_more_than_its_display(
    bench: Bench, display: str, shown: str | None
) -> None:
    """0.5 becomes one of the new lots of 0.4; what is less than one ends the order."""
    bench.submit(10, algo="iceberg", limit_price=D(99), settings={"display": display, "variance": 0})
    bench.report(bench.one(GATEWAY, CreateOrder), S.NEW)
    rules = replace(bench.wiring.instruments[BTC], qty_lot=D("0.4"), version=2)
    bench.tell(InstrumentUpdate(rules))
    alive(bench, 3)
    parent = parent_of(bench)
    found = [create.order_qty for create in bench.take(GATEWAY, CreateOrder)]
    if shown is not None:
        assert found == [D(shown)]
    else:
        assert (found, parent.phase, parent.reason) == ([], Phase.DONE, "BELOW_MIN_CLIP")
    bench.check()


@pytest.mark.parametrize("how", ["pause", "amend"])
def test_iceberg_when_its_display_is_small_and_the_market_falls_then_it_is_planned_anew(
    bench: Bench, how: str
) -> None:
    """0.055 at 100 is the least that is let in; at 99.5 the least clip would be more than it shows."""
    settings = {"display": "0.055", "variance": 0}
    bench.submit(10, algo="iceberg", limit_price=D(99), owner=API, settings=settings)
    create = bench.one(GATEWAY, CreateOrder)
    bench.report(create, S.NEW)
    quoted(bench, 99.5)
    name = parent_of(bench).order.parent_id
    bench.tell(PauseOrder(API, name) if how == "pause" else AmendOrder(API, name, order_qty=D(9)))
    bench.report(bench.one(GATEWAY, CancelOrder), S.CANCELED)
    if how == "pause":
        bench.tell(ResumeOrder(API, name))
    alive(bench, 2)
    assert parent_of(bench).phase is Phase.WORKING
    assert bench.one(GATEWAY, CreateOrder).order_qty == D("0.055")
    bench.check()
