"""Contingent parents inside the order manager: what arms, fires, blocks and ends them, what is written."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import ACCOUNT, BTC, CLI, FACE, GATEWAY, MARKET, START, TREND
from tradefan.core.trading import ParentState
from tradefan.messages.account import AccountState
from tradefan.messages.contingent import Amend, Armed, Disarmed, Triggered, TriggerPause, Watermark
from tradefan.messages.control import JournalFailed, Stop
from tradefan.messages.gateway import CreateOrder
from tradefan.messages.market import FeedQuality, FollowTrades, Quality, Quote, SessionBreak, Trade
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
    Record,
)
from tradefan.messages.work import (
    PlanChange,
)
from tradefan.units import MINUTE, MS, SECOND, InstrumentId

D = Decimal
S = OrderStatus


@pytest.fixture
def bench() -> Bench:
    """A strategy that holds 10 BTC, in a market at 100."""
    bench = Bench().ready()
    bench.bought(10)
    return bench


def parent_of(bench: Bench) -> ParentState:
    return next(reversed(bench.trading.parents.values()))


def taken(settings: dict[str, Any]) -> dict[str, Any]:
    """Take what is a field of the order out of its settings."""
    return {key: settings.pop(key) for key in ("side", "limit_price", "reduce_only") if key in settings}


def armed(bench: Bench, algo: str = "stop", qty: Any = 10, **settings: Any) -> ParentState:
    """Arm a sale of the strategy; by default a reduce-only stop at 95."""
    fields: dict[str, Any] = {"side": "sell", "reduce_only": True, **taken(settings)}
    wanted = {} if algo == "trailing" else {"trigger_price": "95"}
    bench.submit(qty, algo=algo, settings={**wanted, **settings}, **fields)
    assert bench.take(FACE, Refusal) == []
    return parent_of(bench)


def refused(bench: Bench, algo: str = "stop", qty: Any = 10, **settings: Any) -> Refusal:
    """Return why a contingent order is turned down."""
    fields: dict[str, Any] = {"side": "buy", "reduce_only": False, **taken(settings)}
    bench.submit(qty, algo=algo, settings=settings, req=1, owner=CLI, **fields)
    return bench.one(FACE, Refusal)


class Prints:
    """Trades of BTC with rising ids."""

    def __init__(self, bench: Bench, first: int = 1) -> None:
        self.bench = bench
        self.next_id = first

    def __call__(self, *prices: float) -> None:
        for price in prices:
            self.bench.now_ns += MS
            now = self.bench.now_ns
            self.bench.tell(Trade(BTC, self.next_id, price, 1.0, "buy", now, now))
            self.next_id += 1


def fired(bench: Bench) -> list[tuple[Decimal, str, int]]:
    return [(one.price, one.source, one.seq) for one in bench.made(Triggered)]


# --- arming ---------------------------------------------------------------------------------------------


def test_stop_when_accepted_then_it_is_armed_and_holds_nothing_at_the_venue(bench: Bench) -> None:
    """PARENT and ARMED in one append, SUSPENDED, every trade is asked for; the answer waits for the disk."""
    bench.submit(10, algo="stop", side="sell", reduce_only=True, settings={"trigger_price": "95"}, req=7)
    parent = parent_of(bench)
    assert [type(one) for one in bench.records[-2:]] == [Parent, Armed]
    assert (parent.phase, parent.shown_status, parent.done_qty) == (Phase.ARMED, S.SUSPENDED, D(0))
    assert parent.order.protective
    assert bench.take(MARKET, FollowTrades) == [FollowTrades(BTC, on=True)]
    assert bench.take(GATEWAY, CreateOrder) == []
    assert bench.one(FACE, Answer).parent_ids == (parent.order.parent_id,)
    bench.check()


def test_stop_when_two_prints_are_beyond_then_it_fires_at_the_fifth(bench: Bench) -> None:
    """Sell at 100.00: prints 100.01 99.99 100.02 99.98 99.97; TRIGGERED stands before the INTENT."""
    bench.quote(BTC, 101)
    prints = Prints(bench)
    armed(bench, trigger_price="100")
    prints(100.01, 99.99, 100.02, 99.98)
    assert (fired(bench), bench.take(GATEWAY, CreateOrder)) == ([], [])
    prints(99.97)
    assert fired(bench) == [(D("99.97"), "last", 5)]
    kinds = [type(one) for one in bench.records]
    assert kinds.index(Triggered) < kinds.index(PlanChange) < len(kinds) - 1 - kinds[::-1].index(Intent)
    create = bench.one(GATEWAY, CreateOrder)
    assert (create.side, create.order_qty, create.time_in_force) == ("sell", D(10), "IOC")
    assert create.reduce_only
    # Two per cent below the mid, not half a per cent: a stop is to be filled.
    assert create.limit_price == D("98.98")
    assert parent_of(bench).phase is Phase.WORKING
    assert FollowTrades(BTC, on=False) in bench.take(MARKET, FollowTrades)
    bench.check()


def test_stop_when_its_record_is_not_durable_then_its_child_waits(bench: Bench) -> None:
    """The outbox holds the create back until TRIGGERED is on the disk."""
    armed(bench)
    bench.auto_durable = False
    Prints(bench)(94, 94)
    assert fired(bench) != []
    assert bench.take(GATEWAY, CreateOrder) == []
    bench.durable()
    assert len(bench.take(GATEWAY, CreateOrder)) == 1


def test_trailing_when_the_market_rises_and_falls_then_it_fires_from_its_watermark(bench: Bench) -> None:
    """Armed at 100, 100 bps: 102 103 102.9 101.8 101.9 101.7 101.6 fires at the last, level 101.87."""
    armed(bench, "trailing", callback_bps="100")
    assert bench.made(Armed)[-1].watermark == D(100)
    Prints(bench)(102.0, 103.0, 102.9, 101.8, 101.9, 101.7)
    assert fired(bench) == []
    Prints(bench, 7)(101.6)
    assert fired(bench) == [(D("101.6"), "last", 7)]
    assert [one.price for one in bench.made(Watermark)] == [D(102), D("102.9")]


def test_watermark_when_it_creeps_then_it_is_journaled_once_a_second_and_each_tenth(bench: Bench) -> None:
    """A callback of 1 has a tenth of 0.1: what is less waits for its second."""
    armed(bench, "trailing", callback_abs="1", confirm="any")
    prints = Prints(bench)
    prints(100.02, 100.05, 100.09)
    assert bench.made(Watermark) == []
    prints(100.1)
    assert [one.price for one in bench.made(Watermark)] == [D("100.1")]
    prints(100.15)
    bench.advance(SECOND)
    prints(100.16)
    assert [one.price for one in bench.made(Watermark)] == [D("100.1"), D("100.16")]
    bench.check()


@pytest.mark.parametrize(
    ("algo", "fields", "then"),
    [
        ("stop", {}, ("market", None)),
        ("stop", {"then": "twap", "duration": "10m", "time_jitter": 0}, ("twap", None)),
        ("stop_limit", {"limit_price": D("94.5")}, ("limit", D("94.5"))),
        ("trailing", {"callback_bps": "400"}, ("market", None)),
        ("trailing", {"callback_bps": "400", "limit_offset_bps": "50"}, ("limit", None)),
    ],
)
def test_trigger_when_it_fires_then_the_same_parent_works_as_its_then(
    bench: Bench, algo: str, fields: dict[str, Any], then: tuple[str, Decimal | None]
) -> None:
    """Any algorithm, also ten minutes of TWAP; its plan is made when it fires."""
    parent = armed(bench, algo, **fields)
    assert parent.plan is None
    bench.quote(BTC, 95)
    Prints(bench)(94.9, 94.8)
    assert (parent.phase, parent.plan is not None) == (Phase.WORKING, True)
    create = bench.one(GATEWAY, CreateOrder)
    assert create.parent_id == parent.order.parent_id
    kinds = {"market": "IOC", "twap": "GTC", "limit": "GTC"}
    assert create.time_in_force == kinds[then[0]]
    if then[0] == "twap":
        assert parent.plan is not None
        assert len(parent.plan.taus) == 20
        assert create.order_qty < 1
    if algo == "trailing" and then[0] == "limit":
        assert create.limit_price == D("94.53")
    if then[1] is not None:
        assert create.limit_price == then[1]
    bench.check()


def test_take_profit_when_the_market_is_good_then_it_fires(bench: Bench) -> None:
    """The other side: a sale at or above its level; with a limit price it rests there."""
    armed(bench, "take_profit", trigger_price="105", limit_price=D("104.5"))
    assert not parent_of(bench).order.protective
    Prints(bench)(104.9, 105, 104.9, 105, 105.1)
    assert len(fired(bench)) == 1
    create = bench.one(GATEWAY, CreateOrder)
    assert (create.limit_price, create.time_in_force) == (D("104.5"), "GTC")


# --- refusals ---------------------------------------------------------------------------------------------


REFUSALS: dict[str, tuple[str, dict[str, Any], str, str | None]] = {
    "true already": (
        "stop",
        {"side": "buy", "trigger_price": "99"},
        "WOULD_TRIGGER_NOW",
        "trigger_price 100.01",
    ),
    "no level": ("stop", {}, "BAD_SETTING", "trigger_price"),
    "off the grid": ("stop", {"trigger_price": "110.001"}, "OFF_GRID", "trigger_price 110"),
    "mark": ("stop", {"trigger_price": "110", "source": "mark"}, "UNSUPPORTED_SOURCE", "source last"),
    "gap": ("stop", {"trigger_price": "110", "on_gap": "fire"}, "UNSUPPORTED", "on_gap recheck"),
    "no limit": ("stop_limit", {"trigger_price": "110"}, "BAD_SETTING", "limit_price"),
    "beyond the band": (
        "stop_limit",
        {"trigger_price": "105", "limit_price": D(110)},
        "RISK_PRICE_BAND",
        "107.1",
    ),
    "offset beyond the band": (
        "trailing",
        {"callback_bps": "400", "limit_offset_bps": "300"},
        "RISK_PRICE_BAND",
        "102",
    ),
    "no callback": ("trailing", {}, "BAD_SETTING", "callback_bps 100"),
    "two callbacks": (
        "trailing",
        {"callback_bps": "10", "callback_abs": "1"},
        "BAD_SETTING",
        "callback_bps 100",
    ),
    "its level": ("trailing", {"trigger_price": "99", "callback_abs": "1"}, "BAD_SETTING", "activation"),
    "unknown": ("stop", {"trigger_price": "110", "trigger_prize": "1"}, "UNKNOWN_SETTING", None),
    "unknown then": ("stop", {"trigger_price": "110", "then": "twop"}, "UNKNOWN_ALGO", None),
    "itself": ("stop", {"trigger_price": "110", "then": "stop"}, "UNKNOWN_ALGO", None),
    "setting of then": (
        "stop",
        {"trigger_price": "110", "then": "twap"},
        "BAD_SETTING",
        "duration 5m",
    ),
    "past": (
        "stop",
        {"trigger_price": "110", "expiry": "good_till:1970-01-01T00:00:01Z"},
        "BAD_WINDOW",
        "expiry gtc",
    ),
    "never": (
        "stop",
        {"trigger_price": "110", "expiry": "good_till:9999-12-31T23:59:59Z"},
        "BAD_SETTING",
        "expiry gtc",
    ),
    "confirm": (
        "stop",
        {"trigger_price": "110", "source": "mid", "confirm": "prints:2"},
        "BAD_SETTING",
        "confirm held:500ms",
    ),
    "more than held": (
        "stop",
        {"side": "sell", "trigger_price": "95", "reduce_only": True},
        "RISK_REDUCE_ONLY",
        "nothing",
    ),
    "too large": ("stop", {"trigger_price": "110"}, "ABOVE_MAX_QTY", "order_qty 1000"),
    "its collar": (
        "stop",
        {"trigger_price": "110", "collar_bps": "20"},
        "BAD_SETTING",
        "wide_collar_bps 20",
    ),
    "no collar": ("stop", {"trigger_price": "110", "collar_bps": "banana"}, "BAD_SETTING", None),
    "a collar that is none": (
        "stop",
        {"trigger_price": "110", "collar_bps": "NaN"},
        "BAD_SETTING",
        "wide_collar_bps 200",
    ),
    "too wide": (
        "stop",
        {"trigger_price": "110", "wide_collar_bps": "1001"},
        "BAD_SETTING",
        "wide_collar_bps 200",
    ),
    "unread by then": (
        "stop_limit",
        {"trigger_price": "110", "limit_price": D(111), "halt": "extend"},
        "BAD_SETTING",
        "without halt",
    ),
    "no market order": (
        "stop_limit",
        {"trigger_price": "110", "limit_price": D(111), "chase_stop": "true"},
        "BAD_SETTING",
        "without chase_stop",
    ),
    "nobody's": ("stop", {"trigger_price": "110", "insist": "false"}, "UNKNOWN_SETTING", None),
    "nobody's of a limit": (
        "stop_limit",
        {"trigger_price": "110", "limit_price": D(111), "grows": "false"},
        "UNKNOWN_SETTING",
        None,
    ),
    "a level below zero": ("trailing", {"callback_abs": "1000000"}, "BAD_SETTING", "callback_abs 50"),
    "a level below zero from there": (
        "trailing",
        {"side": "sell", "callback_abs": "60.01", "activation": "120"},
        "BAD_SETTING",
        "callback_abs 60",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_trigger_when_it_cannot_be_then_it_is_refused_with_what_would_pass(bench: Bench, name: str) -> None:
    """Nothing is written; each says a stable code and a proposal."""
    algo, fields, code, passes = REFUSALS[name]
    before = len(bench.records)
    no = refused(bench, algo, 1_001 if name == "too large" else 10, **fields)
    assert (no.code, no.would_pass) == (code, passes)
    assert len(bench.records) == before


def test_stop_when_its_collar_is_wrong_then_each_refusal_names_what_its_owner_said(bench: Bench) -> None:
    """Not another algorithm, nor a setting that he did not give; what the proposal says is let in."""
    asked: tuple[dict[str, Any], ...] = ({"collar_bps": "banana"}, {"collar_bps": "20"})
    texts = [refused(bench, trigger_price="110", **one).text for one in asked]
    assert texts == [
        "stop: collar_bps: expected a number, got 'banana'",
        "stop: collar_bps: a market order that is fired has wide_collar_bps, got 20",
    ]
    text = refused(bench, trigger_price="110", wide_collar_bps="wide").text
    assert text == "stop: wide_collar_bps: expected a number, got 'wide'"
    bench.submit(1, algo="stop", settings={"trigger_price": "110", "wide_collar_bps": "20"}, req=1)
    assert bench.take(FACE, Refusal) == []


def test_trailing_when_its_distance_is_half_the_market_then_it_is_armed(bench: Bench) -> None:
    """As far as `callback_bps` may be; amended after the market fell, it is not measured again."""
    parent = armed(bench, "trailing", callback_abs="50")
    assert parent.phase is Phase.ARMED
    bench.quote(BTC, 80)
    bench.tell(AmendOrder(CLI, parent.order.parent_id, D(5), None, None, None, 2))
    assert bench.take(FACE, Refusal) == []


def test_trigger_when_true_and_allowed_then_it_fires_at_once(bench: Bench) -> None:
    """`allow_immediate` does what is true already."""
    bench.submit(
        5, algo="stop", side="sell", settings={"trigger_price": "101", "allow_immediate": True}, req=1
    )
    assert fired(bench) == [(D(100), "last", 0)]
    assert bench.one(GATEWAY, CreateOrder).order_qty == D(5)


def test_reduce_only_when_part_is_reserved_by_a_stop_then_only_the_rest_passes(bench: Bench) -> None:
    """Armed quantity counts: 10 held, 7 armed, so a further reduce-only order has 3."""
    armed(bench, qty=7)
    bench.submit(4, algo="limit", side="sell", limit_price=D(110), reduce_only=True, owner=TREND)
    assert bench.oms.state.live.refusals[-1].code == "RISK_REDUCE_ONLY"
    assert bench.oms.state.live.refusals[-1].would_pass == "order_qty 3"
    bench.resting(3, 110, side="sell", reduce_only=True)
    bench.submit(1, algo="stop", side="sell", reduce_only=True, settings={"trigger_price": "90"})
    assert bench.oms.state.live.refusals[-1].would_pass == "nothing"


# --- the end of an armed one ------------------------------------------------------------------------------


def test_armed_when_cancelled_then_it_is_over_at_once(bench: Bench) -> None:
    """Local and immediate: DISARMED, DONE, nothing is asked of the venue, no trade fires it any more."""
    parent = armed(bench)
    bench.sent.clear()
    bench.tell(CancelParent(TREND, parent.order.parent_id))
    assert (parent.phase, parent.status) == (Phase.DONE, S.CANCELED)
    assert [one.reason for one in bench.made(Disarmed)] == ["cancelled"]
    Prints(bench)(90, 90, 90)
    assert fired(bench) == []
    assert bench.take(MARKET, FollowTrades) == [FollowTrades(BTC, on=False)]
    bench.check()


@pytest.mark.parametrize(
    ("expiry", "seconds"), [("good_till:1970-01-01T00:20:00Z", 200), ("day", 86_400 - 1_000)]
)
def test_armed_when_its_time_is_over_then_it_expires(bench: Bench, expiry: str, seconds: int) -> None:
    """At its instant, or when the day rolls."""
    parent = armed(bench, expiry=expiry)
    bench.advance(START + seconds * SECOND - bench.now_ns - MS)
    assert parent.phase is Phase.ARMED
    bench.advance(MS)
    assert (parent.phase, parent.status, parent.reason) == (Phase.DONE, S.EXPIRED, "expiry")


def pause(bench: Bench, parent: ParentState) -> None:
    bench.tell(PauseOrder(TREND, parent.order.parent_id, req=8))


def resume(bench: Bench, parent: ParentState) -> None:
    bench.tell(ResumeOrder(TREND, parent.order.parent_id, req=9))


def test_armed_when_paused_then_no_price_fires_it_until_it_is_resumed(bench: Bench) -> None:
    """No trades are asked for meanwhile; behind the resume the level is confirmed from the beginning."""
    parent = armed(bench)
    prints = Prints(bench)
    prints(94)
    bench.sent.clear()
    pause(bench, parent)
    assert bench.one(FACE, Answer).parent_ids == (parent.order.parent_id,)
    assert (parent.phase, parent.reason, parent.trigger and parent.trigger.paused) == (
        Phase.ARMED,
        "user",
        True,
    )
    assert bench.take(MARKET, FollowTrades) == [FollowTrades(BTC, on=False)]
    prints(94, 90, 90)
    assert fired(bench) == []
    resume(bench, parent)
    prints(94)
    assert fired(bench) == []
    prints(93)
    assert fired(bench) == [(D(93), "last", 6)]
    assert (parent.reason, parent.phase) == ("", Phase.WORKING)
    bench.check()


def test_trailing_when_paused_then_its_watermark_waits_where_it_was(bench: Bench) -> None:
    """103 is journaled by the pause, 110 is not seen; the level is 101.97 all the time."""
    parent = armed(bench, "trailing", callback_bps="100")
    prints = Prints(bench)
    prints(102.9, 102.9, 103, 103)
    pause(bench, parent)
    assert parent.trigger is not None
    assert parent.trigger.watermark == D(103)
    prints(110, 110, 110)
    resume(bench, parent)
    prints(102, 102)
    assert fired(bench) == []
    prints(101.9, 101.9)
    assert [price for price, *_ in fired(bench)] == [D("101.9")]


def test_armed_when_paused_and_amended_then_it_stays_paused(bench: Bench) -> None:
    """ARMED at another level does not undo the pause; twice paused is paused, and what waits goes on."""
    parent = armed(bench)
    pause(bench, parent)
    pause(bench, parent)
    bench.tell(AmendOrder(TREND, parent.order.parent_id, trigger_price=D(97)))
    prints = Prints(bench)
    prints(90, 90, 90)
    assert (fired(bench), len(bench.made(TriggerPause))) == ([], 1)
    resume(bench, parent)
    prints(96, 96)
    assert [price for price, *_ in fired(bench)] == [D(96)]


def test_armed_when_paused_then_it_expires_and_can_be_cancelled(bench: Bench) -> None:
    """Its expiry does not move."""
    parent = armed(bench, qty=4, expiry="good_till:1970-01-01T00:20:00Z")
    other = armed(bench, qty=5)
    pause(bench, parent)
    pause(bench, other)
    bench.advance(START + 200 * SECOND - bench.now_ns)
    assert (parent.phase, parent.status) == (Phase.DONE, S.EXPIRED)
    bench.tell(CancelParent(TREND, other.order.parent_id))
    assert (other.phase, other.status) == (Phase.DONE, S.CANCELED)
    resume(bench, other)
    assert bench.one(FACE, Refusal).code == "NOT_PAUSED"
    bench.check()


def test_armed_when_killed_while_it_is_paused_then_it_is_paused_at_the_next_start(bench: Bench) -> None:
    """And expires there; a resume lets it fire."""
    parent = armed(bench, expiry="good_till:1970-01-01T00:20:00Z")
    pause(bench, parent)
    again = restarted(list(bench.records), bench.now_ns + SECOND)
    Prints(again, 100)(90, 90, 90)
    assert fired(again) == []
    resume(again, parent)
    Prints(again, 200)(90, 90)
    assert len(fired(again)) == 1
    late = restarted(list(bench.records), bench.now_ns + SECOND)
    late.advance(START + 200 * SECOND - late.now_ns)
    assert late.trading.parents[parent.order.parent_id].status is S.EXPIRED


def test_armed_when_nobody_has_paused_it_then_a_resume_is_refused(bench: Bench) -> None:
    """It waits as it does."""
    resume(bench, armed(bench))
    assert bench.one(FACE, Refusal).code == "NOT_PAUSED"


def test_armed_when_killed_then_it_is_disarmed_and_its_position_named(bench: Bench) -> None:
    """A kill cancels protection, too; with `keep_protection` it stays armed and does not fire."""
    parent = armed(bench)
    bench.kill(keep_protection=True)
    assert parent.phase is Phase.ARMED
    Prints(bench)(90, 90, 90)
    assert fired(bench) == []
    assert "trigger_blocked" in bench.alarms
    bench.kill()
    assert (parent.phase, parent.reason) == (Phase.DONE, "kill")


def test_armed_when_the_daemon_stops_then_it_stays_armed_and_is_named(bench: Bench) -> None:
    """Nobody looks at the market for it until the next start, so somebody is told."""
    parent = armed(bench)
    bench.submit(1, algo="take_profit", side="sell", settings={"trigger_price": "110"})
    other = parent_of(bench)
    bench.tell(Stop(bench.now_ns + 5 * SECOND))
    bench.passed(6)
    assert (parent.phase, other.phase) == (Phase.ARMED, Phase.DONE)
    assert "unwatched_protection" in bench.logs
    Prints(bench)(90, 90)
    assert fired(bench) == []


# --- what may fire --------------------------------------------------------------------------------------


def test_stop_when_its_feed_is_stale_then_it_is_frozen_and_confirms_anew(bench: Bench) -> None:
    """Only LIVE fires; it is said, and the print from before the gap confirms nothing."""
    armed(bench)
    prints = Prints(bench)
    prints(94)
    bench.tell(FeedQuality(BTC, Quality.STALE, "silent", bench.now_ns, 1))
    assert bench.levels["trigger_frozen"] == "error"
    prints(94, 94)
    bench.quote(BTC, 94)
    prints(94)
    assert fired(bench) == []
    prints(94)
    assert len(fired(bench)) == 1


def test_stop_when_ids_begin_anew_then_it_goes_on_with_them(bench: Bench) -> None:
    """Behind the seam of a recording ids are lower: they are no repetition."""
    armed(bench)
    Prints(bench, 1_000)(94)
    bench.tell(SessionBreak(BTC, 2, "seam", bench.now_ns))
    Prints(bench, 5)(94)
    assert fired(bench) == []
    Prints(bench, 6)(94)
    assert len(fired(bench)) == 1


@pytest.mark.parametrize("source", ["mid", "bid_ask"])
def test_stop_when_quotes_are_its_source_then_they_have_to_hold(bench: Bench, source: str) -> None:
    """Half a second without a quote on the other side; nobody has to quote again for that."""
    armed(bench, source=source)
    quote = lambda mid: Quote(BTC, mid - 0.05, 9, mid + 0.05, 9, 1, bench.now_ns)  # noqa: E731
    bench.tell(quote(94))
    bench.advance(400 * MS)
    bench.tell(quote(96))
    bench.advance(200 * MS)
    bench.tell(quote(94))
    bench.advance(499 * MS)
    assert fired(bench) == []
    bench.advance(MS)
    price = D(94) if source == "mid" else D("93.95")
    assert [(one.price, one.source) for one in bench.made(Triggered)] == [(price, source)]
    assert FollowTrades(BTC, on=True) not in bench.take(MARKET, FollowTrades)


def test_stop_on_the_mid_when_it_is_half_a_tick_short_then_waits(bench: Bench) -> None:
    """A mid lies between two ticks half of the time, and is not rounded to where a stop would fire."""
    armed(bench, source="mid")
    bench.tell(Quote(BTC, 95.0, 9, 95.01, 9, 1, bench.now_ns))
    bench.advance(SECOND)
    assert fired(bench) == []
    bench.tell(Quote(BTC, 94.99, 9, 95.01, 9, 2, bench.now_ns))
    bench.advance(500 * MS)
    assert [one.price for one in bench.made(Triggered)] == [D(95)]


def test_trailing_on_the_mid_when_its_best_lies_between_two_ticks_then_trails_from_there(
    bench: Bench,
) -> None:
    """100.005 - 1 is 99.005: neither 99.01 nor a tick later."""
    bench.tell(Quote(BTC, 100.0, 9, 100.01, 9, 1, bench.now_ns))
    armed(bench, "trailing", callback_abs="1", source="mid")
    bench.tell(Quote(BTC, 99.0, 9, 99.02, 9, 2, bench.now_ns))
    bench.advance(SECOND)
    assert fired(bench) == []
    bench.tell(Quote(BTC, 99.0, 9, 99.01, 9, 3, bench.now_ns))
    bench.advance(500 * MS)
    assert [one.price for one in bench.made(Triggered)] == [D("99.005")]


def test_stop_when_the_venue_is_away_then_it_waits_alarms_and_fires_when_it_is_back(bench: Bench) -> None:
    """What should fire and cannot is SEV1, said once; the first price that still says so fires it."""
    armed(bench)
    bench.tell(AccountState(ACCOUNT, False, "gone"))
    prints = Prints(bench)
    prints(94, 94, 94)
    assert (fired(bench), bench.alarms.count("trigger_blocked")) == ([], 1)
    bench.tell(AccountState(ACCOUNT, True, ""))
    while bench.oms.state.live.accounts[ACCOUNT].ready is False:
        bench.look()
    prints(93)
    assert len(fired(bench)) == 1


def test_stop_when_the_market_was_back_then_a_hindrance_is_said_again_a_minute_later(bench: Bench) -> None:
    """A market that hovers at the level is one alarm, not one for each time."""
    armed(bench)
    prints = Prints(bench)
    bench.tell(AccountState(ACCOUNT, False, "gone"))
    for _ in range(20):
        prints(94, 94, 99)
    assert bench.alarms.count("trigger_blocked") == 1
    bench.now_ns += MINUTE
    prints(94, 94)
    assert bench.alarms.count("trigger_blocked") == 2
    bench.now_ns += MINUTE
    prints(94, 94)
    assert bench.alarms.count("trigger_blocked") == 2
    assert fired(bench) == []


def test_stop_when_the_journal_does_not_commit_then_it_does_not_fire(bench: Bench) -> None:
    """TRIGGERED would not be durable, so nothing could leave."""
    armed(bench)
    bench.tell(JournalFailed("full"))
    Prints(bench)(94, 94, 94)
    assert fired(bench) == []
    assert "trigger_blocked" in bench.alarms


@pytest.mark.parametrize(("reduce_only", "fires"), [(True, True), (False, False)])
def test_stop_when_its_instrument_is_on_hold_then_only_a_reduce_only_one_fires(
    bench: Bench, reduce_only: bool, fires: bool
) -> None:
    """CANCEL_ONLY lets a reduce-only stop through, its child as well; any other waits."""
    armed(bench, reduce_only=reduce_only)
    bench.oms.state.live.holds[BTC] = {"x": "a difference"}
    bench.quote(BTC, 94)
    assert bench.moods(BTC, "hold") == ["CANCEL_ONLY"]
    Prints(bench)(94, 94)
    assert (len(fired(bench)), len(bench.take(GATEWAY, CreateOrder))) == (fires, fires)


def test_stop_when_the_gap_is_too_wide_then_it_waits_and_alarms(bench: Bench) -> None:
    """Beyond `gap_limit_bps` somebody is to look; nearer it fires."""
    armed(bench, gap_limit_bps="100")
    prints = Prints(bench)
    prints(80, 80)
    assert (fired(bench), bench.alarms) == ([], ["trigger_blocked"])
    prints(94.5, 94.4)
    assert len(fired(bench)) == 1


# --- behind the firing --------------------------------------------------------------------------------------


def test_fired_when_it_is_not_filled_then_it_is_tried_each_second_and_said(bench: Bench) -> None:
    """`chase_stop`: four tries, then an alarm and one a second, inside a collar that follows the mid."""
    armed(bench)
    Prints(bench)(94, 94)
    for _ in range(4):
        bench.report(bench.one(GATEWAY, CreateOrder), S.EXPIRED)
        bench.advance(250 * MS)
    assert bench.take(GATEWAY, CreateOrder) == []
    assert bench.alarms == ["fired_not_done"]
    bench.quote(BTC, 80)
    bench.advance(SECOND)
    create = bench.one(GATEWAY, CreateOrder)
    assert create.limit_price == D("78.4")
    assert parent_of(bench).phase is Phase.WORKING


def test_fired_when_it_is_not_to_chase_then_it_ends_behind_its_tries(bench: Bench) -> None:
    """`chase_stop: false` is a market order like any."""
    armed(bench, chase_stop=False)
    Prints(bench)(94, 94)
    for _ in range(4):
        bench.report(bench.one(GATEWAY, CreateOrder), S.EXPIRED)
        bench.advance(250 * MS)
    assert (parent_of(bench).phase, parent_of(bench).reason) == (Phase.DONE, "tries")
    assert bench.alarms == ["fired_not_done"]


def wide(bench: Bench) -> None:
    """Quote a book whose bid is beyond the wide collar."""
    bench.tell(Quote(BTC, 92.0, 9, 100.0, 9, 1, bench.now_ns))


@pytest.mark.parametrize("chases", [True, False])
def test_fired_when_its_collar_lets_nothing_through_then_it_waits_and_is_said(
    bench: Bench, *, chases: bool
) -> None:
    """No try was made, so none can be used up: two seconds behind the firing somebody is told."""
    armed(bench, chase_stop=chases)
    wide(bench)
    Prints(bench)(94, 94)
    for _ in range(3):
        bench.advance(SECOND)
        wide(bench)
    assert bench.take(GATEWAY, CreateOrder) == []
    assert (parent_of(bench).phase, bench.alarms) == (Phase.WORKING, ["fired_not_done"])
    bench.quote(BTC, 94)
    bench.advance(SECOND)
    assert bench.one(GATEWAY, CreateOrder).order_qty == D(10)


def test_fired_when_the_market_is_beyond_its_limit_then_it_waits_and_is_said(bench: Bench) -> None:
    """A stop at 95 with a limit of 94, in a market that opens at 93."""
    armed(bench, limit_price=D(94))
    bench.quote(BTC, 93)
    Prints(bench)(93, 93)
    for _ in range(3):
        bench.advance(SECOND)
        bench.quote(BTC, 93)
    assert (parent_of(bench).phase, bench.alarms) == (Phase.WORKING, ["fired_not_done"])


def test_fired_when_a_gate_refuses_its_child_then_it_waits_for_it(bench: Bench) -> None:
    """A market order would end here; a stop is tried again a second later."""
    armed(bench)
    bench.oms.state.live.recent[TREND] = [bench.now_ns] * 1_000
    Prints(bench)(94, 94)
    assert len(fired(bench)) == 1
    assert (bench.take(GATEWAY, CreateOrder), bench.alarms) == ([], [])
    bench.quote(BTC, 94)
    bench.advance(SECOND)
    assert len(bench.take(GATEWAY, CreateOrder)) == 1


def test_fired_when_it_is_refused_for_long_then_somebody_is_told(bench: Bench) -> None:
    """Two seconds behind the firing, once."""
    armed(bench)
    Prints(bench)(94, 94)
    bench.report(bench.one(GATEWAY, CreateOrder), S.EXPIRED)
    for _ in range(40):
        bench.oms.state.live.recent[TREND] = [bench.now_ns] * 1_000
        bench.advance(100 * MS)
    assert bench.alarms == ["fired_not_done"]


def test_stop_when_its_wide_collar_is_beyond_the_band_then_it_keeps_within_the_band(bench: Bench) -> None:
    """A child that risk would always refuse protects nobody."""
    assert bench.config.risk.price_band_bps == D(200)
    armed(bench, wide_collar_bps="900")
    bench.quote(BTC, 94)
    Prints(bench)(94, 94)
    assert bench.one(GATEWAY, CreateOrder).limit_price == D("92.12")


def test_fired_when_less_is_held_then_it_sells_what_there_is(bench: Bench) -> None:
    """Somebody sold 6 of 10 by hand: a reduce-only stop of 10 sells 4; of nothing left it ends."""
    armed(bench)
    bench.submit(6, side="sell")
    sale = bench.one(GATEWAY, CreateOrder)
    bench.fill(sale, 6)
    bench.report(sale, S.FILLED, 6)
    Prints(bench)(94, 94)
    assert [one.order_qty for one in bench.made(Amend)] == [D(4)]
    assert bench.one(GATEWAY, CreateOrder).order_qty == D(4)
    bench.check()


def test_fired_when_nothing_is_held_any_more_then_it_ends(bench: Bench) -> None:
    """There is nothing to reduce."""
    parent = armed(bench)
    bench.submit(10, side="sell")
    sale = bench.one(GATEWAY, CreateOrder)
    bench.fill(sale, 10)
    bench.report(sale, S.FILLED, 10)
    Prints(bench)(94, 94)
    assert bench.take(GATEWAY, CreateOrder) == []
    assert (parent.phase, parent.reason) == (Phase.DONE, "nothing_to_reduce")


# --- kill -9 ------------------------------------------------------------------------------------------------


def restarted(records: list[Record], now_ns: int) -> Bench:
    """Begin anew from what the journal has; the venue shows what is."""
    again = Bench(records=records, now_ns=now_ns)
    again.fold()
    again.tell(AccountState(ACCOUNT, True, ""))
    again.market()
    while not again.oms.state.live.accounts[ACCOUNT].announced:
        again.look()
    again.market()
    return again


def test_kill_when_it_falls_behind_any_record_then_there_is_one_then_or_none(bench: Bench) -> None:
    """Cut anywhere: armed goes on watching, triggered works on, and never is a second `then` begun."""
    armed(bench, qty=10)
    Prints(bench)(94, 94)
    create = bench.one(GATEWAY, CreateOrder)
    bench.report(create, S.NEW)
    whole = list(bench.records)
    first = next(i for i, one in enumerate(whole) if isinstance(one, Parent) and one.order.algo == "stop")
    for cut in range(first + 1, len(whole) + 1):
        again = restarted(whole[:cut], bench.now_ns + SECOND)
        Prints(again, 100)(94, 94, 94)
        again.advance(100 * MS)
        intents = [one for one in again.made(Intent) if one.parent_id == create.parent_id]
        triggered = again.made(Triggered)
        if isinstance(whole[cut - 1], Parent):
            # Its append was not whole, so its owner never had an answer.
            assert (triggered, intents) == ([], [])
        else:
            assert (len(triggered), len(intents)) == (1, 1), whole[cut - 1]
        again.check()


def test_trailing_when_restarted_then_it_goes_on_from_its_watermark(bench: Bench) -> None:
    """What was journaled last is the watermark, and the level follows from it."""
    armed(bench, "trailing", callback_bps="100")
    Prints(bench)(110, 110, 110)
    again = restarted(list(bench.records), bench.now_ns + 60 * SECOND)
    Prints(again, 50)(109, 108.9)
    assert again.made(Triggered) == []
    Prints(again, 52)(108.9, 108.8)
    assert len(again.made(Triggered)) == 1


def test_stop_when_the_market_fell_while_nobody_was_here_then_the_first_prints_fire_it(bench: Bench) -> None:
    """What was missed is not told; what is still so fires, behind its own confirmation."""
    armed(bench)
    again = restarted(list(bench.records), bench.now_ns + 3_600 * SECOND)
    assert again.take(MARKET, FollowTrades) != []
    Prints(again, 9_000)(90)
    assert again.made(Triggered) == []
    Prints(again, 9_001)(90)
    assert len(again.made(Triggered)) == 1
    assert len(again.take(GATEWAY, CreateOrder)) == 1


def test_watching_when_others_are_armed_elsewhere_then_each_hears_its_own(bench: Bench) -> None:
    """Trades of one instrument are no prices of another."""
    armed(bench)
    bench.tell(Trade(InstrumentId("binance:ETH/USDT"), 1, 1.0, 1.0, "buy", bench.now_ns, bench.now_ns))
    bench.tell(Trade(InstrumentId("binance:ETH/USDT"), 2, 1.0, 1.0, "buy", bench.now_ns, bench.now_ns))
    assert fired(bench) == []
