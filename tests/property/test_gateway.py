"""A gateway under a venue that says anything: it lives, and what it tells can be kept."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.actors.gateway_rig import Rig, live_rig, look, result, trade
from tradefan.messages.base import Message
from tradefan.messages.gateway import (
    CancelRejected,
    ExecutionReport,
    FillBusted,
    LookDone,
    OrderInDoubt,
    OrderNotSent,
    VenueFill,
)
from tradefan.messages.wire import Received
from tradefan.units import SECOND, is_number

pytestmark = pytest.mark.slow

LEGS = {
    "cancelResult": "SUCCESS",
    "newOrderResult": "SUCCESS",
    "cancelResponse": result(origClientOrderId="old", status="CANCELED"),
    "newOrderResponse": result(clientOrderId="new"),
}
ERROR = {"code": -2010, "msg": "Market is closed.", "data": LEGS}
REPORT = {"e": "executionReport", "s": "BTCUSDT", "c": "me", "S": "BUY", "q": "1", "p": "99", "x": "TRADE"}
TRADED = {
    "X": "FILLED",
    "i": 9,
    "z": "1",
    "l": "1",
    "L": "99",
    "n": "0.1",
    "N": "BTC",
    "T": 5,
    "t": 3,
    "m": True,
}
BUST = {"e": "tradeBust", "T": 5, "s": "BTCUSDT", "t": 3, "q": "1", "p": "99"}
POSITION = {"e": "outboundAccountPosition", "u": 5, "B": [{"a": "BTC", "f": "1", "l": "0"}]}
ACCOUNT = {"balances": [{"asset": "BTC", "free": "1", "locked": "0"}], "updateTime": 7}
PLACED = result(fills=[trade(1) | {"tradeId": 1}])
ANSWERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("order.place", {"status": 200, "result": PLACED}),
    ("order.place", {"status": 429, "error": ERROR | {"data": {"retryAfter": 1_700_000_000_000}}}),
    ("order.cancel", {"status": 200, "result": result(origClientOrderId="gone", status="CANCELED")}),
    ("order.cancelReplace", {"status": 200, "result": LEGS}),
    ("order.cancelReplace", {"status": 409, "error": ERROR | {"code": -2021}}),
    ("order.cancelReplace", {"status": 400, "error": ERROR | {"code": -2022}}),
    ("openOrders.status", {"status": 400, "error": {"code": -2013, "msg": "Order does not exist."}}),
    ("openOrders.status", {"status": 200, "result": [result(), result(clientOrderId="web")]}),
    ("myTrades", {"status": 200, "result": [trade(8), trade(9), trade(-1)]}),
    ("account.status", {"status": 200, "result": ACCOUNT}),
)
"""One of each shape of an answer, with the request that it is for."""
EVENTS: tuple[dict[str, Any], ...] = ({"event": REPORT | TRADED}, {"event": BUST}, {"event": POSITION})

NUMBERS = st.sampled_from(["1e999999", "1E-19", "9" * 40, "NaN", "-Infinity", "-1", "0", "", "x"])
INTEGERS = st.sampled_from([-1, 0, 2**43, 2**53, 2**62, 2**63, 2**64, 10**30]) | st.integers()
SCALARS = (
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False)
    | st.sampled_from(["SUCCESS", "FAILURE", "NOT_ATTEMPTED", "CANCELED", "me", "X" * 101])
    | st.text(max_size=8)
)
ANYTHING = st.recursive(
    SCALARS | NUMBERS | INTEGERS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to every place in a JSON value."""
    found = [path]
    if isinstance(value, dict):
        found += [way for key, inner in value.items() for way in paths(inner, (*path, key))]
    elif isinstance(value, list):
        found += [way for key, inner in enumerate(value) for way in paths(inner, (*path, key))]
    return found


def changed(value: Any, path: tuple[Any, ...], change: Any) -> Any:
    """Return a JSON value with another one at a place."""
    if not path:
        return change
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(copy[path[0]], path[1:], change)
    return copy


def at(value: Any, path: tuple[Any, ...]) -> Any:
    """Return what a JSON value holds at a place."""
    return at(value[path[0]], path[1:]) if path else value


def instead(draw: st.DrawFn, value: Any) -> Any:
    """Draw something else, most often of the same kind."""
    if draw(st.integers(0, 3)) == 0:
        return draw(ANYTHING)
    if isinstance(value, str) and value[:1].isdecimal():
        return draw(NUMBERS)
    return draw(INTEGERS if isinstance(value, int) else ANYTHING)


def damage(draw: st.DrawFn, frame: dict[str, Any]) -> dict[str, Any]:
    """Draw a frame in which up to two places hold something else, or are gone."""
    for _ in range(draw(st.integers(0, 2))):
        ways = paths(frame)[2:]
        if not ways:
            break
        way = draw(st.sampled_from(ways))
        frame = changed(frame, way, instead(draw, at(frame, way)))
    return frame


@st.composite
def damaged_answer(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """Draw an answer with its request, in one case of eight another request's."""
    method, frame = draw(st.sampled_from(ANSWERS))
    if draw(st.integers(0, 7)) == 0:
        method = draw(st.sampled_from(ANSWERS))[0]
    return method, damage(draw, frame)


@st.composite
def damaged_event(draw: st.DrawFn) -> dict[str, Any]:
    """Draw an event of the user data stream."""
    return damage(draw, draw(st.sampled_from(EVENTS)))


def busy_rig() -> Rig:
    """Return a gateway with one request of every kind in flight."""
    rig = live_rig()
    rig.tell(rig.order("me", "buy", "1", "99.00"), rig.replacement("old", "new", "buy", "1", "99.00"))
    rig.cancel_now("gone")
    rig.tell(look("me"))
    return rig


def check(told: list[Message]) -> None:
    """Whatever is told fits a record: it encodes, and arithmetic with its amounts cannot fail."""
    for msg in told:
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(msg), type=type(msg)) == msg
        amounts = [value for value in msgspec.structs.astuple(msg) if isinstance(value, Decimal)]
        assert all(is_number(value) for value in amounts)
        if isinstance(msg, VenueFill):
            assert msg.qty > 0 < msg.price


def ends(told: list[Message], name: str) -> int:
    """Count the words about an order that say how its request ended."""
    kinds = OrderInDoubt | OrderNotSent | ExecutionReport | CancelRejected
    return sum(isinstance(msg, kinds) and msg.client_order_id == name for msg in told)


@settings(max_examples=300)
@given(st.lists(damaged_answer(), min_size=1, max_size=8))
def test_gateway_when_the_venue_answers_anything_then_it_lives_and_every_request_has_an_end(
    said: list[tuple[str, dict[str, Any]]],
) -> None:
    """Wrong types, numbers without end, missing legs: quarantined or in doubt, never an exception."""
    rig = busy_rig()
    for method, frame in said:
        rig.say(frame | {"id": str(rig.asked(method)[0])})
        assert msgspec.msgpack.encode(rig.gateway.state)
        rig.run(SECOND // 10)
    rig.run(30 * SECOND)
    check(rig.told)
    assert [flight for flight in rig.gateway.state.flights.values() if not flight.late] == []
    assert rig.gateway.state.looks == {}
    assert sum(isinstance(msg, LookDone) for msg in rig.told) == 1
    assert all(ends(rig.told, name) for name in ("me", "new", "old", "gone"))
    assert all(len(rig.written(op)) == 1 for op in ("create", "replace"))


@settings(max_examples=200)
@given(st.lists(st.binary(max_size=60) | st.text(max_size=30).map(str.encode), min_size=1, max_size=5))
def test_gateway_when_bytes_come_then_it_lives(bodies: list[bytes]) -> None:
    """Garbage is counted; the connection goes on."""
    rig = busy_rig()
    rig.told.clear()
    for body in bodies:
        rig.tell(Received("account", rig.gen, rig.now_ns, body))
    assert rig.told == []
    counters = rig.gateway.view().counters
    assert counters.garbage + counters.strays == len(bodies)


@settings(max_examples=300)
@given(damaged_event())
def test_stream_when_an_event_is_damaged_then_it_is_told_whole_or_not_at_all(frame: dict[str, Any]) -> None:
    """Nothing that cannot be kept gets past the codec."""
    rig = live_rig()
    rig.say(frame)
    check(rig.told)
    busts = [msg for msg in rig.told if isinstance(msg, FillBusted)]
    assert all((msg.qty is None) == (msg.price is None) for msg in busts)
