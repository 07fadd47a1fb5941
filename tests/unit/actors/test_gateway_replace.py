"""Replacements through a gateway: one request, two orders, and an end for each of them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.conformance.venue.bench import ACCOUNT, BTC, D
from tests.unit.actors.gateway_rig import ME, RESTRICTIONS, Rig, live_rig, result
from tradefan.actors.gateway import Gateway
from tradefan.actors.gateway_state import GatewayState
from tradefan.messages.account import AccountState
from tradefan.messages.base import Message
from tradefan.messages.control import Started
from tradefan.messages.gateway import (
    CancelRejected,
    ExecutionReport,
    GatewayReset,
    OrderInDoubt,
    OrderNotSent,
    ReplaceOrder,
    VenueFill,
)
from tradefan.messages.orders import Doubt, OrderStatus
from tradefan.messages.wire import NotWritten
from tradefan.units import MS, SECOND, ClientOrderId, InstrumentId

OLD = ClientOrderId("old")
FILL = {"price": "99.5", "qty": "0.4", "commission": "0.1", "commissionAsset": "BTC", "tradeId": 70}
PARTLY, WHOLE = "Order cancel-replace partially failed.", "Order cancel-replace failed."


@pytest.fixture
def rig() -> Rig:
    return live_rig()


def replacement(rig: Rig, **more: Any) -> ReplaceOrder:
    return rig.replacement("old", "me", "buy", "1", "99.00", **more)


def sent(rig: Rig) -> tuple[int, dict[str, Any]]:
    """Give the replacement and return the request that was written for it."""
    rig.tell(replacement(rig))
    return rig.asked("order.cancelReplace")


def canceled(**more: Any) -> dict[str, Any]:
    """Return the venue's word about the old order."""
    return result(orderId=8, clientOrderId="cancel-8", origClientOrderId="old", status="CANCELED") | more


def legs(cancel: str, new: str, response: Any, new_response: Any) -> dict[str, Any]:
    return {
        "cancelResult": cancel,
        "newOrderResult": new,
        "cancelResponse": response,
        "newOrderResponse": new_response,
    }


def both_in_doubt(reason: str) -> list[Message]:
    return [OrderInDoubt(ACCOUNT, name, Doubt.REPLACE, reason) for name in (OLD, ME)]


def not_replaced(reason: str) -> list[Message]:
    return [CancelRejected(ACCOUNT, OLD, f"NOT_SENT: {reason}"), OrderNotSent(ACCOUNT, ME, reason)]


def words(messages: list[Message]) -> list[tuple[str, str, Any]]:
    """Return (kind, id, what) of what was told."""
    found: list[tuple[str, str, Any]] = []
    for msg in messages:
        if isinstance(msg, ExecutionReport):
            found.append(("report", msg.client_order_id, msg.status.value))
        elif isinstance(msg, VenueFill):
            found.append(("fill", str(msg.client_order_id), msg.trade_id))
        elif isinstance(msg, CancelRejected | OrderInDoubt | OrderNotSent):
            found.append((type(msg).__name__, msg.client_order_id, msg.reason))
    return found


# --- written once -------------------------------------------------------------------------------------


def test_replacement_when_it_is_written_then_once_with_deadline_and_scopes(rig: Rig) -> None:
    """The latch of every scope that the new order is in may stop it, and its own deadline does."""
    order = replacement(rig)
    rig.tell(order)
    (write,) = rig.written("replace")
    assert write.not_after_ns == order.create.not_after_ns
    assert write.scopes == ("all", BTC, ACCOUNT, "api", "paper", "binance")
    params = rig.asked("order.cancelReplace")[1]["params"]
    assert {key: params[key] for key in ("cancelReplaceMode", "cancelRestrictions")} == {
        "cancelReplaceMode": "STOP_ON_FAILURE",
        "cancelRestrictions": "ONLY_NEW",
    }
    assert (params["cancelOrigClientOrderId"], params["newClientOrderId"]) == ("old", "me")
    assert (params["newOrderRespType"], params["recvWindow"]) == ("FULL", 2000)


def test_create_when_it_is_written_then_with_its_scopes_and_a_cancel_without(rig: Rig) -> None:
    """A closed latch never holds up a cancel."""
    rig.tell(rig.order("one", "buy", "1", "99.00"))
    rig.cancel_now("two")
    assert rig.written("create")[0].scopes == ("all", BTC, ACCOUNT, "api", "paper", "binance")
    assert (rig.written("cancel")[0].scopes, rig.written("subscribe")[0].scopes) == ((), ())


def test_replacement_when_its_new_id_is_under_way_then_it_is_not_written_again(rig: Rig) -> None:
    """Whether the first was a create or a replacement: no word about it may come of a second."""
    rig.tell(replacement(rig), replacement(rig), rig.order("me", "buy", "1", "99.00"))
    assert (len(rig.written("replace")), rig.written("create"), rig.heard()) == (1, [], [])
    assert rig.gateway.view().counters.duplicates == 2


@pytest.mark.parametrize(
    ("why", "reason"),
    [
        ("tombstone", "CANCELED_BEFORE_SENT"),
        ("deadline", "EXPIRED"),
        ("disconnected", "NOT_CONNECTED"),
        ("no room", "QUEUE_FULL"),
        ("instrument", "UNKNOWN_INSTRUMENT"),
        ("silence", "RATE_LIMIT"),
    ],
)
def test_replacement_when_it_may_not_be_written_then_the_old_order_rests_on(
    rig: Rig, why: str, reason: str
) -> None:
    """It is refused like a create: the new order does not exist, the old one was not cancelled."""
    order = replacement(rig)
    if why == "tombstone":
        rig.cancel_now("me")
    elif why == "deadline":
        order = replacement(rig, not_after_ns=rig.now_ns - 1)
    elif why == "disconnected":
        rig.close()
    elif why == "no room":
        rig.ctx.port_full = True
    elif why == "instrument":
        order = replacement(rig, instrument=InstrumentId("binance:X/Y"))
    else:
        rig.say({"id": None, "status": 429, "error": {"code": -1003, "msg": "Too much."}})
    rig.heard()
    rig.tell(order)
    assert (rig.heard(), rig.written("replace")) == (not_replaced(reason), [])


def test_replacement_when_it_waited_for_a_predecessor_then_it_is_refused() -> None:
    """A gateway that begins anew writes nothing that its predecessor had not read."""
    rig = Rig()
    rig.tell(Started(1, (replacement(rig),)))
    assert rig.heard() == [GatewayReset(ACCOUNT), *not_replaced("RESTARTING")]


# --- its ends -----------------------------------------------------------------------------------------


def test_replacement_when_both_legs_are_done_then_the_old_order_is_told_first(rig: Rig) -> None:
    """The old order's end with its quantity, then the new one's fills, then its report."""
    request = sent(rig)
    placed = result(status="PARTIALLY_FILLED", executedQty="0.4", fills=[FILL])
    rig.answer(request, legs("SUCCESS", "SUCCESS", canceled(executedQty="0.2"), placed))
    old, fill, new = rig.heard()
    assert isinstance(old, ExecutionReport)
    assert (old.client_order_id, old.status, old.cum_qty) == (OLD, OrderStatus.CANCELED, D("0.2"))
    assert isinstance(fill, VenueFill)
    assert (fill.client_order_id, fill.trade_id, fill.qty) == (ME, "70", D("0.4"))
    assert isinstance(new, ExecutionReport)
    assert (new.client_order_id, new.status, new.cum_qty) == (ME, OrderStatus.PARTIALLY_FILLED, D("0.4"))
    assert rig.gateway.view().counters.replaces == 1


@pytest.mark.failure("OR-23")
def test_replacement_when_the_cancel_failed_then_the_new_order_does_not_exist(rig: Rig) -> None:
    """-2022 with NOT_ATTEMPTED rejects the new order, which did leave us, and informs about the old one."""
    response = {"code": -2011, "msg": RESTRICTIONS}
    rig.refuse(sent(rig), -2022, WHOLE, **legs("FAILURE", "NOT_ATTEMPTED", response, None))
    refused, rejected = rig.heard()
    assert refused == CancelRejected(ACCOUNT, OLD, f"RESTRICTED: {RESTRICTIONS}")
    assert words([rejected]) == [("report", "me", "REJECTED")]
    assert isinstance(rejected, ExecutionReport)
    assert rejected.reason == f"CANCEL_FAILED: RESTRICTED: {RESTRICTIONS}"


@pytest.mark.failure("OR-23")
@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        (
            -2010,
            "Order would immediately match and take.",
            ("report", "me", "REJECTED"),
        ),
        (-2010, "Account has insufficient balance for requested action.", ("report", "me", "REJECTED")),
        (-2010, "Duplicate order sent.", ("OrderInDoubt", "me", "DUPLICATE: Duplicate order sent.")),
        (-1007, "Timeout.", ("OrderInDoubt", "me", "VENUE: Timeout.")),
    ],
)
def test_replacement_when_only_the_cancel_was_done_then_the_new_leg_follows_the_table(
    rig: Rig, code: int, text: str, expected: tuple[str, str, str]
) -> None:
    """-2021: the old order is CANCELED, the new one what its own code says of a create."""
    data = legs("SUCCESS", "FAILURE", canceled(), {"code": code, "msg": text})
    rig.refuse(sent(rig), -2021, PARTLY, 409, **data)
    heard = rig.heard()
    assert words(heard) == [("report", "old", "CANCELED"), expected]
    if isinstance(heard[1], ExecutionReport):
        assert heard[1].reason.endswith(text)
        assert (heard[1].order_qty, heard[1].cum_qty, heard[1].side) == (D(1), D(0), "buy")


@pytest.mark.failure("OR-23")
def test_replacement_when_only_the_new_order_was_placed_then_both_legs_are_told(rig: Rig) -> None:
    """STOP_ON_FAILURE forbids it; a venue that does it all the same leaves us with two orders."""
    data = legs("FAILURE", "SUCCESS", {"code": -2011, "msg": "Unknown order sent."}, result())
    rig.refuse(sent(rig), -2021, PARTLY, 409, **data)
    assert words(rig.heard()) == [
        ("CancelRejected", "old", "UNKNOWN_ORDER: Unknown order sent."),
        ("report", "me", "NEW"),
    ]


def test_replacement_when_the_cancel_leg_is_in_doubt_then_only_the_old_order_is(rig: Rig) -> None:
    """Each leg for itself: what was not attempted does not exist, whatever became of the cancel."""
    data = legs("FAILURE", "NOT_ATTEMPTED", {"code": -1007, "msg": "Timeout."}, None)
    rig.refuse(sent(rig), -2022, WHOLE, **data)
    doubted, rejected = rig.heard()
    assert doubted == OrderInDoubt(ACCOUNT, OLD, Doubt.REPLACE, "VENUE: Timeout.")
    assert words([rejected]) == [("report", "me", "REJECTED")]


@pytest.mark.parametrize(
    ("code", "text", "reason"),
    [
        (-1013, "Filter failure: LOT_SIZE", "FILTER: Filter failure: LOT_SIZE"),
        (-1021, "Timestamp for this request is outside of the recvWindow.", "TIME"),
        (-2010, "Order cancel-replace is not supported for this symbol.", "UNSUPPORTED"),
    ],
)
def test_replacement_when_it_is_refused_before_its_legs_then_nothing_changed(
    rig: Rig, code: int, text: str, reason: str
) -> None:
    """Filters, clock and capability come before both legs: the new order is REJECTED, the old rests."""
    rig.refuse(sent(rig), code, text)
    rejected, new = rig.heard()
    assert isinstance(rejected, CancelRejected)
    assert (rejected.client_order_id, rejected.reason.startswith(reason)) == (OLD, True)
    assert isinstance(new, ExecutionReport)
    assert (new.client_order_id, new.status, new.reason) == (ME, OrderStatus.REJECTED, rejected.reason)


@pytest.mark.parametrize(
    "body",
    [
        {"status": 503, "error": {"code": -1008, "msg": "Overloaded."}},
        {"status": 400, "error": {"code": -2010, "msg": "Account has insufficient balance."}},
        {"status": 400, "error": {"code": -2011, "msg": "Unknown order sent."}},
        {"status": 409, "error": {"code": -2021, "msg": PARTLY}},
        {"status": 409, "error": {"code": -2021, "msg": PARTLY, "data": {"cancelResult": "MAYBE"}}},
        {"status": 200, "result": {"cancelResult": "SUCCESS", "newOrderResult": "SUCCESS"}},
        {"status": 200, "result": legs("SUCCESS", "SUCCESS", canceled(), {"orderId": 9})},
        {"status": 200, "result": legs("SUCCESS", "NOT_ATTEMPTED", canceled(), None)},
        {"status": 400, "error": {"code": -2022, "data": legs("SUCCESS", "SUCCESS", canceled(), result())}},
        {"status": 400, "error": {"code": -2022, "data": legs("FAILURE", "NOT_ATTEMPTED", None, None)}},
        {"status": 409, "error": {"code": -2021, "data": legs("SUCCESS", "NOT_ATTEMPTED", canceled(), None)}},
        {"status": 200},
        {"status": 200, "result": []},
    ],
)
def test_replacement_when_the_answer_proves_nothing_then_both_orders_are_in_doubt(
    rig: Rig, body: dict[str, Any]
) -> None:
    """5xx, a code of the engine without legs, legs that are missing or contradict their code."""
    rig.say({"id": str(sent(rig)[0])} | body)
    heard = rig.heard()
    assert [type(msg) for msg in heard] == [OrderInDoubt, OrderInDoubt]
    assert heard == both_in_doubt(heard[0].reason)  # type: ignore[attr-defined]
    assert len(rig.written("replace")) == 1


@pytest.mark.failure("OR-01", "OR-23")
@pytest.mark.parametrize("end", ["timeout", "closed"])
def test_replacement_when_nobody_answers_then_both_are_in_doubt_and_late_words_count(
    rig: Rig, end: str
) -> None:
    """Nothing is written again; an answer after the time-out, or proof, is still told."""
    request, gen = sent(rig), rig.gen
    if end == "closed":
        rig.close()
        assert rig.heard() == both_in_doubt("CLOSED")
        rig.run(SECOND)
        rig.tell(NotWritten("account", gen, request[0], "link_down"))
        assert rig.heard() == not_replaced("link_down")
        return
    rig.run(5 * SECOND)
    assert rig.heard() == both_in_doubt("TIMEOUT")
    rig.answer(request, legs("SUCCESS", "SUCCESS", canceled(), result()))
    assert words(rig.heard()) == [("report", "old", "CANCELED"), ("report", "me", "NEW")]
    assert len(rig.written("replace")) == 1


@pytest.mark.parametrize("reason", ["LATCHED", "EXPIRED", "STALE_GENERATION"])
def test_replacement_when_the_link_did_not_write_it_then_that_is_proof(rig: Rig, reason: str) -> None:
    """Nothing left: the new order does not exist, the old one was not cancelled."""
    request = sent(rig)
    rig.tell(NotWritten("account", rig.gen, request[0], reason))
    rig.run(6 * SECOND)
    assert rig.heard() == not_replaced(reason)


@pytest.mark.parametrize("leg", ["old", "me"])
def test_replacement_when_an_echo_is_another_id_then_that_order_is_in_doubt(rig: Rig, leg: str) -> None:
    """Each leg must name its own order; what names another proves nothing, and is nobody's report."""
    old, new = canceled(), result()
    if leg == "old":
        old = canceled(origClientOrderId="x-1")
    else:
        new = result(clientOrderId="x-1")
    rig.answer(sent(rig), legs("SUCCESS", "SUCCESS", old, new))
    heard = rig.heard()
    doubts = [msg for msg in heard if isinstance(msg, OrderInDoubt)]
    assert doubts == [
        OrderInDoubt(ACCOUNT, ClientOrderId(leg), Doubt.REPLACE, f"ECHO: sent {leg}, answered ['x-1']")
    ]
    reports = [msg.client_order_id for msg in heard if isinstance(msg, ExecutionReport)]
    assert reports == (["me"] if leg == "old" else ["old"])


def test_replacement_when_a_leg_says_that_the_key_is_refused_then_the_account_is(rig: Rig) -> None:
    """AUTH in a leg is AUTH: no create is written for a minute, and the OMS hears why."""
    text = "This account may not place or cancel orders."
    data = legs("SUCCESS", "FAILURE", canceled(), {"code": -2010, "msg": text})
    rig.refuse(sent(rig), -2021, PARTLY, 409, **data)
    states = [msg for msg in rig.told if isinstance(msg, AccountState)]
    assert [(msg.connected, msg.auth) for msg in states] == [(True, f"AUTH: {text}")]
    rig.heard()
    rig.tell(replacement(rig))
    assert rig.heard() == not_replaced("AUTH")


def test_replacement_when_the_state_is_encoded_in_mid_flight_then_a_successor_goes_on(rig: Rig) -> None:
    """Both ids of a replacement in flight are in State."""
    request = sent(rig)
    data = msgspec.msgpack.encode(rig.gateway.state)
    rig.gateway = Gateway(rig.wiring, msgspec.msgpack.decode(data, type=GatewayState))
    rig.run(100 * MS)
    rig.answer(request, legs("SUCCESS", "SUCCESS", canceled(), result()))
    assert words(rig.heard()) == [("report", "old", "CANCELED"), ("report", "me", "NEW")]
