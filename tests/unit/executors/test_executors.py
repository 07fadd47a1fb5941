"""The executors `market` and `limit`: what they answer to each view."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from tests.unit.core.order_builders import parent_order
from tests.unit.risk.test_limits import instrument
from tradefan.actors.oms_executor import make_executor
from tradefan.contracts import (
    CancelChild,
    ChildView,
    Decide,
    EndParent,
    ExecutorCommand,
    ParentView,
    PlaceChild,
    QueryChild,
    Replan,
    Wake,
    lookup,
    read_settings,
)
from tradefan.errors import Refused
from tradefan.execution import Chase
from tradefan.executors.composed import Composed
from tradefan.executors.entry import Entry
from tradefan.executors.limit import Limit, LimitSettings
from tradefan.executors.market import Market, MarketSettings
from tradefan.messages.market import Quote
from tradefan.messages.orders import Doubt, OrderStatus
from tradefan.messages.plan import Clip
from tradefan.spans import Span
from tradefan.units import MS, ClientOrderId, InstrumentId

D = Decimal
S = OrderStatus
NOW = 1_000 * MS
WAITS = (Wake(),)


def view(executor: Composed[Any], *, begun: bool = True, **changes: Any) -> ParentView:
    """A planned parent: buy 10, bid 99.5, ask 100.5, collar 100.5; its one clip has begun."""
    order, found = changes.get("order", parent_order()), changes.pop("rules", instrument(qty_lot=D(1)))
    plan = executor.plan(Entry(order, found, NOW, D(100)))
    fields: dict[str, Any] = {
        "now_ns": NOW,
        "order": order,
        "instrument": found,
        "cum_qty": D(0),
        "working_qty": D(0),
        "in_doubt_qty": D(0),
        "open_qty": D(10),
        "children": (),
        "attempts": 0,
        "last_end_ns": None,
        "collar_px": D("100.5"),
        "touch_px": None,
        "wide_collar_px": D(102),
        "quote": Quote(InstrumentId("binance:BTC/USDT"), 99.5, 5.0, 100.5, 5.0, 1, NOW),
        "crossing": True,
        "plan": plan,
        "plans": 1,
        "clip": Clip(0, 1, 0, 10, 10, 10, 900 * MS, None, 0, 0) if begun else None,
    }
    return ParentView(**{**fields, **changes})


def child(status: OrderStatus, **changes: Any) -> ChildView:
    fields: dict[str, Any] = {
        "client_order_id": ClientOrderId("c1"),
        "status": status,
        "in_doubt": None,
        "live": status not in (S.FILLED, S.CANCELED, S.EXPIRED, S.REJECTED),
        "order_qty": D(10),
        "cum_qty": D(0),
        "limit_price": D(100),
        "reason": "",
        "created_ns": 1,
        "time_in_force": "IOC",
        "clip": 0,
    }
    return ChildView(**{**fields, **changes})


def asked(quote: float) -> Quote:
    return Quote(InstrumentId("binance:BTC/USDT"), 98.0, 5.0, quote, 5.0, 1, NOW)


TAKEN: dict[str, Any] = {
    "attempts": 1,
    "last_end_ns": 900 * MS,
    "children": (child(S.EXPIRED, cum_qty=D(4)),),
    "cum_qty": D(4),
    "open_qty": D(6),
}
WORKING = {"working_qty": D(10), "open_qty": D(0), "attempts": 1}
DOUBTED = {"in_doubt_qty": D(10), "open_qty": D(0), "attempts": 1}
SALE = {"order": parent_order(side="sell", limit_price=D(99)), "collar_px": D(98)}
MARKET_CASES: dict[str, tuple[dict[str, Any], tuple[ExecutorCommand, ...]]] = {
    "not begun": ({"begun": False}, (Decide(0, 10, 10, 10, None),)),
    "begun": ({}, (PlaceChild(D(10), D("100.5"), "IOC", bound="collar"), *WAITS)),
    "limit inside the collar": (
        {"order": parent_order(limit_price=D("100.5")), "collar_px": D(101)},
        (PlaceChild(D(10), D("100.5"), "IOC", bound="collar"), *WAITS),
    ),
    "sale with a limit": (SALE, (PlaceChild(D(10), D(99), "IOC", bound="collar"), *WAITS)),
    "child works": ({**WORKING, "children": (child(S.NEW),)}, WAITS),
    "child in doubt": ({**DOUBTED, "children": (child(S.PENDING_NEW, in_doubt=Doubt.CREATE),)}, WAITS),
    "too early for the rest": (TAKEN, (Wake(1_150 * MS),)),
    "rest goes again": (
        {**TAKEN, "now_ns": 1_150 * MS},
        (PlaceChild(D(6), D("100.5"), "IOC", bound="collar"), *WAITS),
    ),
    "no try left": ({**TAKEN, "attempts": 4}, (EndParent(S.EXPIRED, "tries"), *WAITS)),
    "no reference": (
        {"collar_px": None, "quote": None, "crossing": False},
        (EndParent(S.EXPIRED, "no_reference"), Wake(bid_above=0.1)),
    ),
    "other side beyond the collar": (
        {"quote": asked(101.5)},
        (EndParent(S.EXPIRED, "collar"), Wake(ask_below=100.5)),
    ),
}


@pytest.mark.failure("OR-16", "OR-17")
@pytest.mark.parametrize("name", MARKET_CASES)
def test_market_when_asked_then_it_takes_waits_or_ends(name: str) -> None:
    """Take at the collar, again 250 ms after the end of the last try, four in all; the rest expires."""
    changes, wanted = MARKET_CASES[name]
    market = Market(MarketSettings())
    assert market.decide(view(market, **changes)) == wanted


def test_market_when_settings_differ_then_they_hold() -> None:
    """`retry_after` in ms and `tries` come from the order."""
    market = Market(MarketSettings(retry_after=10, tries=2))
    again = market.decide(view(market, **TAKEN, now_ns=910 * MS))
    assert again == (PlaceChild(D(6), D("100.5"), "IOC", bound="collar"), *WAITS)
    assert market.decide(view(market, **{**TAKEN, "attempts": 2})) == (EndParent(S.EXPIRED, "tries"), *WAITS)


PRICED: dict[str, Any] = {"order": parent_order(limit_price=D(90))}
RESTS = child(S.NEW, limit_price=D(90), time_in_force="GTC", created_ns=NOW)
LIMIT_CASES: dict[str, tuple[LimitSettings, dict[str, Any], tuple[ExecutorCommand, ...]]] = {
    "fresh": (LimitSettings(), PRICED, (PlaceChild(D(10), D(90), "GTC"), *WAITS)),
    "post-only": (LimitSettings(post_only=True), PRICED, (PlaceChild(D(10), D(90), "GTC", True), *WAITS)),
    "FOK": (LimitSettings(time_in_force="FOK"), PRICED, (PlaceChild(D(10), D(90), "FOK"), *WAITS)),
    "rests": (LimitSettings(), {**PRICED, **WORKING, "children": (RESTS,)}, (Wake(ask_below=90.0),)),
    "the market has passed it": (
        LimitSettings(),
        {**PRICED, **WORKING, "children": (RESTS,), "quote": asked(89.5)},
        (Wake(NOW + 10_000 * MS),),
    ),
    "nobody told that it has traded": (
        LimitSettings(),
        {
            **PRICED,
            **WORKING,
            "children": (RESTS,),
            "quote": asked(89.5),
            "now_ns": NOW + 10_000 * MS,
        },
        (QueryChild(ClientOrderId("c1")), Wake(NOW + 20_000 * MS)),
    ),
    "without reference it still rests": (
        LimitSettings(),
        {**PRICED, "collar_px": None, "quote": None},
        (PlaceChild(D(10), D(90), "GTC"), *WAITS),
    ),
    "rejected": (
        LimitSettings(),
        {**PRICED, "children": (child(S.REJECTED, reason="POST_ONLY"),), "attempts": 1},
        (EndParent(S.REJECTED, "POST_ONLY"), *WAITS),
    ),
    "cancelled at the venue": (
        LimitSettings(),
        {**PRICED, "children": (child(S.CANCELED),), "attempts": 1},
        (EndParent(S.CANCELED, ""), *WAITS),
    ),
    "child forgotten": (LimitSettings(), {**PRICED, "attempts": 1}, (EndParent(S.EXPIRED, ""), *WAITS)),
    "in two parts": (
        LimitSettings(max_clip=D(6)),
        {**PRICED, "children": (RESTS,), "attempts": 1, "working_qty": D(6), "open_qty": D(4)},
        (PlaceChild(D(4), D(90), "GTC"), *WAITS),
    ),
}


@pytest.mark.failure("OR-16", "OR-17")
@pytest.mark.parametrize("name", LIMIT_CASES)
def test_limit_when_asked_then_it_rests_once(name: str) -> None:
    """One child at the limit price; what ends it ends the parent, and it is never placed twice."""
    settings, changes, wanted = LIMIT_CASES[name]
    limit = Limit(settings)
    assert limit.decide(view(limit, **changes)) == wanted


@pytest.mark.failure("OR-17")
def test_executor_when_lot_or_tick_has_changed_then_it_plans_anew_behind_the_end_of_what_rests() -> None:
    """What was counted in other lots is counted again; what rests in them ends first, once."""
    limit = Limit(LimitSettings())
    seen = view(limit, **PRICED)
    grown = replace(seen, instrument=instrument(qty_lot=D(4), price_tick=D("0.5")))
    assert limit.decide(grown) == (Replan("steps"),)
    resting = replace(grown, children=(RESTS,))
    assert limit.decide(resting) == (CancelChild(ClientOrderId("c1"), "steps"),)
    assert limit.decide(replace(resting, children=(replace(RESTS, ending=True),))) == ()


def test_limit_when_post_only_must_take_then_it_is_refused() -> None:
    """IOC and FOK only take, post-only never does."""
    with pytest.raises(Refused, match="BAD_SETTING"):
        Limit(LimitSettings(time_in_force="IOC", post_only=True))


@pytest.mark.parametrize(
    ("algo", "given", "code", "text"),
    [
        ("marekt", {}, "UNKNOWN_ALGO", "did you mean 'market'"),
        ("market", {"trise": 3}, "UNKNOWN_SETTING", "did you mean 'tries'"),
        ("limit", {"time_in_force": "DAY"}, "BAD_SETTING", "expected one of GTC, IOC, FOK, got 'DAY'"),
        ("twap", {"collar_bps": "wide"}, "BAD_SETTING", "twap: collar_bps: expected a number, got 'wide'"),
        ("twap", {"slices": [1]}, "BAD_SETTING", "twap: slices: expected `int | null`, got [1]"),
        (
            "stop",
            {"wide_collar_bps": "x"},
            "BAD_SETTING",
            "stop: wide_collar_bps: expected a number, got 'x'",
        ),
        ("twap", {"duration": False}, "BAD_SETTING", "expected a duration"),
        (
            "twap",
            {"duration": "99999999d"},
            "BAD_SETTING",
            "twap: duration: expected a duration up to 36500d, got '99999999d'",
        ),
        ("twap", {"duration": "5x"}, "BAD_SETTING", "expected a duration such as 250ms"),
        ("twap", {"end_at": "tomorrow"}, "BAD_SETTING", "expected an instant such as"),
        ("twap", {"chase.steps": 2}, "BAD_SETTING", "'chase.steps': expected a key that exists"),
        ("twap", {"chase.then": "x"}, "BAD_SETTING", "chase.then: expected one of cross, next, got 'x'"),
        ("twap", {"chase": {"max_steps": 2}, "chase.then": "next"}, "BAD_SETTING", "as a whole and in part"),
        ("twap", {"duration": 60, "tactic": "rset"}, "UNKNOWN_TACTIC", "did you mean 'rest'"),
    ],
)
def test_settings_when_wrong_then_the_refusal_names_them(
    algo: str, given: dict[str, Any], code: str, text: str
) -> None:
    """An unknown algorithm or key is refused with what was probably meant; a value with its bounds."""
    with pytest.raises(Refused, match=code) as caught:
        make_executor(parent_order(algo=algo, settings=given))
    assert text in caught.value.text


def test_schema_when_a_setting_is_nobodys_to_give_then_it_is_not_in_it() -> None:
    """`GET /api/v1/plugins` shows what an owner may say; the product itself still says the others."""
    for algo, name in (("market", "insist"), ("market", "tries_end"), ("limit", "grows")):
        plugin = lookup("executor", algo)
        shown = plugin.schema()["$defs"][plugin.settings.__name__]["properties"]
        assert (name in shown, "tries" in shown) == (False, True)
        assert getattr(read_settings(plugin.settings, {name: True}, algo), name)


def test_settings_when_written_as_text_then_they_are_read() -> None:
    """`--set tries=2 --set collar_bps=12.5` come as strings; a part is named with a dot."""
    given = {"tries": "2", "collar_bps": "12.5", "duration": "1.5", "chase.max_steps": "1", "end_grace": "7s"}
    settings = read_settings(lookup("executor", "market").settings, given, "market")
    assert settings == MarketSettings(
        tries=2,
        collar_bps=D("12.5"),
        duration=Span(1_500 * MS),
        chase=Chase(max_steps=1),
        end_grace=Span(7_000 * MS),
    )


def test_market_when_the_lot_has_grown_under_it_then_what_is_left_of_a_lot_is_dust() -> None:
    """What is done counts as whole lots, the begun one with it: nothing beyond the order is decided."""
    market = Market(MarketSettings())
    parts = {
        "cum_qty": D("2.66"),
        "open_qty": D("0.48"),
        "order": replace(parent_order(), order_qty=D("3.14")),
    }
    assert market.decide(view(market, begun=False, **parts)) == (EndParent(S.EXPIRED, "dust"),)
