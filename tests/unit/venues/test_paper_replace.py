"""`order.cancelReplace` of the paper venue: Binance's legs, one transaction, and the latch."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.venues.test_paper import OPENING, FailingStore, Rig, events
from tradefan.messages.wire import Closed, NotWritten, Text, Write, Written

RESTRICTED = {"code": -2011, "msg": "Order was not canceled due to cancel restrictions."}


@pytest.fixture
def rig() -> Rig:
    return opened(Rig())


def opened(rig: Rig) -> Rig:
    rig.connect()
    rig.open_book()
    rig.place("old", "BUY", "2", "98.00")
    rig.heard.clear()
    return rig


def params(**more: Any) -> dict[str, Any]:
    base = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "1"}
    base |= {"price": "99.00", "newClientOrderId": "new", "cancelOrigClientOrderId": "old"}
    return base | {"cancelReplaceMode": "STOP_ON_FAILURE", "cancelRestrictions": "ONLY_NEW"} | more


def ask(rig: Rig, **more: Any) -> dict[str, Any]:
    return rig.ask("order.cancelReplace", **params(**more))


def test_cancel_replace_when_both_are_done_then_both_legs_are_answered(rig: Rig) -> None:
    """The shape of web-socket-api.md; the user stream tells the cancel before the new order."""
    answer = ask(rig, cancelNewClientOrderId="bye")
    assert answer["status"] == 200
    result = answer["result"]
    assert (result["cancelResult"], result["newOrderResult"]) == ("SUCCESS", "SUCCESS")
    old, new = result["cancelResponse"], result["newOrderResponse"]
    assert (old["origClientOrderId"], old["clientOrderId"], old["status"]) == ("old", "bye", "CANCELED")
    assert (new["clientOrderId"], new["status"], new["fills"]) == ("new", "NEW", [])
    told = [(e["C"] or e["c"], e["x"]) for e in events(rig.heard) if e["e"] == "executionReport"]
    assert told == [("old", "CANCELED"), ("new", "NEW")]
    assert rig.money()["USDT"] == ("901.00000000", "99.00000000")


def test_cancel_replace_when_the_cancel_fails_then_nothing_is_attempted(rig: Rig) -> None:
    """-2022 with status 400, for an order that has traded and for one that nobody knows."""
    rig.print(98.0, 3.0, "sell")
    restricted = ask(rig)
    assert restricted["status"] == 400
    assert restricted["error"] == {
        "code": -2022,
        "msg": "Order cancel-replace failed.",
        "data": {
            "cancelResult": "FAILURE",
            "newOrderResult": "NOT_ATTEMPTED",
            "cancelResponse": RESTRICTED,
            "newOrderResponse": None,
        },
    }
    unknown = ask(rig, cancelOrigClientOrderId="nobody")
    assert unknown["error"]["data"]["cancelResponse"] == {"code": -2011, "msg": "Unknown order sent."}
    assert [row["clientOrderId"] for row in rig.ask("openOrders.status")["result"]] == ["old"]


def test_cancel_replace_without_restrictions_when_it_has_traded_then_the_rest_is_replaced(rig: Rig) -> None:
    """ONLY_NEW is what protects the quantity, and it is the caller's to ask for."""
    rig.print(98.0, 3.0, "sell")
    request = params()
    del request["cancelRestrictions"]
    result = rig.ask("order.cancelReplace", **request)["result"]
    assert (result["cancelResponse"]["executedQty"], result["newOrderResult"]) == ("1.00000000", "SUCCESS")


def test_cancel_replace_when_the_new_order_fails_then_the_cancel_stays(rig: Rig) -> None:
    """-2021 with status 409: the canceled order, and why the new one was refused."""
    answer = ask(rig, type="LIMIT_MAKER", price="101.00")
    assert (answer["status"], answer["error"]["code"]) == (409, -2021)
    data = answer["error"]["data"]
    assert (data["cancelResult"], data["newOrderResult"]) == ("SUCCESS", "FAILURE")
    assert data["cancelResponse"]["status"] == "CANCELED"
    refusal = {"code": -2010, "msg": "Order would immediately match and take."}
    assert data["newOrderResponse"] == refusal
    assert rig.money()["USDT"] == ("1000.00000000", "0.00000000")


def test_cancel_replace_when_the_old_funds_are_needed_then_they_are_free(rig: Rig) -> None:
    """The cancel comes first, so what the old order held pays for the new one."""
    assert ask(rig, quantity="10")["result"]["newOrderResult"] == "SUCCESS"


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"price": "99.001"}, -1013),
        ({"cancelReplaceMode": "ALLOW_FAILURE"}, -1020),
        ({"cancelReplaceMode": None}, -1102),
        ({"cancelRestrictions": "ONLY_OLD"}, -1145),
        ({"cancelRestrictions": None}, -1145),
        ({"cancelOrigClientOrderId": None}, -1102),
        ({"symbol": "XXXUSDT"}, -1121),
        ({"timestamp": 1}, -1021),
    ],
)
def test_cancel_replace_when_the_request_is_wrong_then_neither_leg_happens(
    rig: Rig, more: dict[str, Any], code: int
) -> None:
    """Parameters, filters and the clock are looked at before the cancel."""
    error = ask(rig, **more)["error"]
    assert (error["code"], "data" in error) == (code, False)
    assert [row["clientOrderId"] for row in rig.ask("openOrders.status")["result"]] == ["old"]


def test_cancel_replace_when_it_names_the_order_by_the_venues_id_then_it_is_found(rig: Rig) -> None:
    """By either id, as a cancel."""
    request = params(cancelOrderId=1)
    del request["cancelOrigClientOrderId"]
    assert rig.ask("order.cancelReplace", **request)["result"]["cancelResponse"]["orderId"] == 1


def test_cancel_replace_when_the_store_fails_then_neither_leg_was_carried_out() -> None:
    """Both legs are one transaction: after a failed save the old order rests, the new one never was."""
    store = FailingStore(OPENING)
    rig = opened(Rig(store))
    store.full = True
    rig.send("order.cancelReplace", **params())
    assert [type(msg) for msg in rig.run()] == [Written, Closed]
    store.full = False
    rig.connect()
    assert [row["clientOrderId"] for row in rig.ask("openOrders.status")["result"]] == ["old"]


def test_cancel_replace_when_the_latch_is_closed_then_it_is_not_written(rig: Rig) -> None:
    """A replacement creates risk: it is held up by the latch like a create."""
    rig.latched = True
    rig.apply(Write("account", rig.gen, 99, "replace", None, Text("{}"), scopes=("all",)))
    assert rig.run() == [NotWritten("account", rig.gen, 99, "LATCHED")]
