"""The executors `market` and `limit`: what they answer to each view."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.unit.core.order_builders import parent_order
from tests.unit.risk.test_limits import instrument
from tradefan.actors.oms_executor import make_executor
from tradefan.contracts import ChildView, EndParent, ParentView, PlaceChild, Wake, lookup, read_settings
from tradefan.errors import Refused
from tradefan.executors.limit import Limit, LimitSettings
from tradefan.executors.market import Market, MarketSettings
from tradefan.messages.orders import Doubt, OrderStatus
from tradefan.units import MS, ClientOrderId

D = Decimal
S = OrderStatus


def view(**changes: Any) -> ParentView:
    """A fresh parent: buy 10, bid 99.5, ask 100.5, collar 100.5."""
    fields: dict[str, Any] = {
        "now_ns": 1_000 * MS,
        "order": parent_order(),
        "instrument": instrument(),
        "cum_qty": D(0),
        "working_qty": D(0),
        "in_doubt_qty": D(0),
        "open_qty": D(10),
        "children": (),
        "attempts": 0,
        "last_end_ns": None,
        "collar_px": D("100.5"),
        "touch_px": D("100.5"),
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
    }
    return ChildView(**{**fields, **changes})


TAKEN = {"attempts": 1, "last_end_ns": 900 * MS, "children": (child(S.EXPIRED),), "open_qty": D(6)}
FAR: dict[str, Any] = {"collar_px": D(101), "touch_px": D("100.5")}
MARKET_CASES: dict[str, tuple[ParentView, tuple[Any, ...]]] = {
    "fresh": (view(), (PlaceChild(D(10), D("100.5"), "IOC"),)),
    "limit inside the collar": (
        view(order=parent_order(limit_price=D("100.5")), collar_px=D(101)),
        (PlaceChild(D(10), D("100.5"), "IOC"),),
    ),
    "sale with a limit": (
        view(order=parent_order(side="sell", limit_price=D(99)), collar_px=D(98), touch_px=D("99.5")),
        (PlaceChild(D(10), D(99), "IOC"),),
    ),
    "child works": (view(children=(child(S.NEW),)), ()),
    "child in doubt": (view(children=(child(S.PENDING_NEW, in_doubt=Doubt.CREATE),)), ()),
    "all is out": (view(open_qty=D(0)), ()),
    "too early for the rest": (view(**TAKEN), (Wake(1_150 * MS),)),
    "rest goes again": (view(**TAKEN, now_ns=1_150 * MS), (PlaceChild(D(6), D("100.5"), "IOC"),)),
    "no try left": (view(**{**TAKEN, "attempts": 4}), (EndParent(S.EXPIRED, "tries"),)),
    "no reference": (view(collar_px=None), (EndParent(S.EXPIRED, "no_reference"),)),
    "other side beyond the collar": (view(touch_px=D("100.6")), (EndParent(S.EXPIRED, "collar"),)),
    "sale with the bid beyond": (
        view(order=parent_order(side="sell"), collar_px=D(99), touch_px=D("98.9")),
        (EndParent(S.EXPIRED, "collar"),),
    ),
    "the lot has grown": (view(instrument=instrument(qty_lot=D(4))), (PlaceChild(D(8), D("100.5"), "IOC"),)),
    "the lot has grown beyond it": (
        view(instrument=instrument(qty_lot=D(20))),
        (EndParent(S.EXPIRED, "dust"),),
    ),
    "the tick has grown": (
        view(order=parent_order(limit_price=D("100.7")), instrument=instrument(price_tick=D("0.5")), **FAR),
        (PlaceChild(D(10), D("100.5"), "IOC"),),
    ),
    "the tick has grown, sale": (
        view(
            order=parent_order(side="sell", limit_price=D("99.3")),
            instrument=instrument(price_tick=D("0.5")),
            collar_px=D(98),
            touch_px=D("99.5"),
        ),
        (PlaceChild(D(10), D("99.5"), "IOC"),),
    ),
}


@pytest.mark.failure("OR-16", "OR-17")
@pytest.mark.parametrize("name", MARKET_CASES)
def test_market_when_asked_then_it_takes_waits_or_ends(name: str) -> None:
    """Take at the collar, again 250 ms after the end of the last try, four in all; the rest expires."""
    seen, wanted = MARKET_CASES[name]
    assert Market(MarketSettings()).decide(seen) == wanted


def test_market_when_settings_differ_then_they_hold() -> None:
    """`retry_after` in ms and `tries` come from the order."""
    executor = Market(MarketSettings(retry_after=10, tries=2))
    assert executor.decide(view(**TAKEN, now_ns=910 * MS)) == (PlaceChild(D(6), D("100.5"), "IOC"),)
    assert executor.decide(view(**{**TAKEN, "attempts": 2})) == (EndParent(S.EXPIRED, "tries"),)


PRICED = {"order": parent_order(limit_price=D(90))}
LIMIT_CASES: dict[str, tuple[LimitSettings, ParentView, tuple[Any, ...]]] = {
    "fresh": (LimitSettings(), view(**PRICED), (PlaceChild(D(10), D(90), "GTC"),)),
    "post-only": (LimitSettings(post_only=True), view(**PRICED), (PlaceChild(D(10), D(90), "GTC", True),)),
    "FOK": (LimitSettings(time_in_force="FOK"), view(**PRICED), (PlaceChild(D(10), D(90), "FOK"),)),
    "rests": (LimitSettings(), view(**PRICED, children=(child(S.NEW),), attempts=1), ()),
    "without reference it still rests": (
        LimitSettings(),
        view(**PRICED, collar_px=None, touch_px=None),
        (PlaceChild(D(10), D(90), "GTC"),),
    ),
    "rejected": (
        LimitSettings(),
        view(**PRICED, children=(child(S.REJECTED, reason="post_only"),), attempts=1),
        (EndParent(S.REJECTED, "post_only"),),
    ),
    "cancelled at the venue": (
        LimitSettings(),
        view(**PRICED, children=(child(S.CANCELED),), attempts=1),
        (EndParent(S.CANCELED, ""),),
    ),
    "child forgotten": (LimitSettings(), view(**PRICED, attempts=1), (EndParent(S.EXPIRED, ""),)),
    "full": (LimitSettings(), view(**PRICED, open_qty=D(0), attempts=1), ()),
    "lot and tick have grown": (
        LimitSettings(),
        view(
            order=parent_order(limit_price=D("90.7")),
            instrument=instrument(qty_lot=D(4), price_tick=D("0.5")),
        ),
        (PlaceChild(D(8), D("90.5"), "GTC"),),
    ),
    "the lot has grown beyond it": (
        LimitSettings(),
        view(**PRICED, instrument=instrument(qty_lot=D(20))),
        (EndParent(S.EXPIRED, "dust"),),
    ),
    "the tick has grown beyond its price": (
        LimitSettings(),
        view(**PRICED, instrument=instrument(price_tick=D(100))),
        (EndParent(S.EXPIRED, "dust"),),
    ),
}


@pytest.mark.failure("OR-16", "OR-17")
@pytest.mark.parametrize("name", LIMIT_CASES)
def test_limit_when_asked_then_it_rests_once(name: str) -> None:
    """One child at the limit price; what ends it ends the parent, and it is never placed twice."""
    settings, seen, wanted = LIMIT_CASES[name]
    assert Limit(settings).decide(seen) == wanted


def test_limit_when_post_only_must_take_then_it_is_refused() -> None:
    """IOC and FOK only take, post-only never does."""
    with pytest.raises(Refused, match="BAD_SETTING"):
        Limit(LimitSettings(time_in_force="IOC", post_only=True))


@pytest.mark.parametrize(
    ("algo", "given", "code", "text"),
    [
        ("marekt", {}, "UNKNOWN_ALGO", "did you mean 'market'"),
        ("market", {"trise": 3}, "UNKNOWN_SETTING", "did you mean 'tries'"),
        ("market", {"zzz": 3}, "UNKNOWN_SETTING", "known are collar_bps, retry_after, tries"),
        ("market", {"tries": 0}, "BAD_SETTING", "tries"),
        ("market", {"collar_bps": 0}, "BAD_SETTING", "0 < collar_bps <= 1000"),
        ("limit", {"time_in_force": "DAY"}, "BAD_SETTING", "DAY"),
    ],
)
def test_settings_when_wrong_then_the_refusal_names_them(
    algo: str, given: dict[str, Any], code: str, text: str
) -> None:
    """An unknown algorithm or key is refused with what was probably meant; a value with its bounds."""
    with pytest.raises(Refused, match=code) as caught:
        make_executor(parent_order(algo=algo, settings=given))
    assert text in caught.value.text


def test_settings_when_written_as_text_then_they_are_read() -> None:
    """`--set tries=2 --set collar_bps=12.5` come as strings."""
    plugin = lookup("executor", "market")
    settings = read_settings(plugin.settings, {"tries": "2", "collar_bps": "12.5"}, "market")
    assert settings == MarketSettings(tries=2, collar_bps=D("12.5"))
    assert plugin.text.startswith("Immediate-or-cancel")
    assert "retry_after" in str(plugin.schema())
