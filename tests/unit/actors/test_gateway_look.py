"""Looks of a gateway: what is asked, what is told, when a look proves something, how far cursors move."""

from __future__ import annotations

import pytest

from tests.conformance.venue.bench import ACCOUNT, BTC
from tests.unit.actors.gateway_rig import ME, Rig, live_rig, look, result, trade
from tradefan.actors.gateway_look import FACTS_PER_TURN
from tradefan.messages.account import Balances
from tradefan.messages.orders import ExecutionReport, Look, LookDone, VenueFill
from tradefan.messages.wire import NotWritten
from tradefan.units import MS, SECOND, ClientOrderId, InstrumentId, TradeId


@pytest.fixture
def rig() -> Rig:
    return live_rig()


def test_look_when_everything_is_answered_then_facts_come_singly_and_it_is_complete(rig: Rig) -> None:
    """Reports, then fills with their orders' ids, then balances, then the end with new cursors."""
    rig.tell(look("me", "gone"))
    asked_ns = rig.now_ns
    assert [body["method"] for _, body in rig.sent()[1:]] == [
        "openOrders.status",
        "myTrades",
        "account.status",
    ]
    rig.answer(rig.asked("openOrders.status"), [result(clientOrderId="other", orderId=8)])
    rig.answer(rig.asked("account.status"), {"balances": [{"asset": "BTC", "free": "1", "locked": "0"}]})
    rig.run(100 * MS)
    rig.answer(rig.asked("myTrades"), [trade(9), trade(8, order_id=8), trade(10, order_id=55)])
    by_id = [(req, body["params"]) for req, body in rig.sent()[4:]]
    assert [(p.get("origClientOrderId"), p.get("orderId")) for _, p in by_id] == [
        ("me", None),
        ("gone", None),
        (None, 9),
        (None, 55),
    ]
    rig.answer(by_id[0], result())
    rig.refuse(by_id[1], -2013, "Order does not exist.")
    rig.answer(by_id[2], result())
    rig.answer(by_id[3], result(clientOrderId="web_1", orderId=55))
    heard = rig.heard()
    reports = [msg.client_order_id for msg in heard if isinstance(msg, ExecutionReport)]
    assert reports == ["other", "me", "me", "web_1"]
    fills = [(msg.trade_id, msg.client_order_id) for msg in heard if isinstance(msg, VenueFill)]
    assert fills == [("8", "other"), ("9", "me"), ("10", "web_1")]
    assert [type(msg) for msg in heard[-2:]] == [Balances, LookDone]
    assert heard[-1] == LookDone(
        account=ACCOUNT,
        look_id=4,
        asked_ns=asked_ns,
        complete=True,
        missing=(ClientOrderId("gone"),),
        cursors=((BTC, TradeId("10")),),
    )


def test_look_when_a_page_is_full_then_the_next_is_asked(rig: Rig) -> None:
    """A thousand rows may not be all."""
    rig.tell(look(balances=False))
    rig.answer(rig.asked("openOrders.status"), [result()])
    rig.answer(rig.asked("myTrades"), [trade(number) for number in range(8, 1008)])
    assert rig.asked("myTrades")[1]["params"]["fromId"] == 1008
    rig.answer(rig.asked("myTrades"), [trade(1008)])
    heard = rig.heard()
    assert len(heard) == 1 + FACTS_PER_TURN
    rig.run(0)
    heard += rig.heard()
    assert sum(isinstance(msg, VenueFill) for msg in heard) == 1001
    done = heard[-1]
    assert isinstance(done, LookDone)
    assert (done.complete, done.cursors) == (True, ((BTC, "1008"),))


@pytest.mark.parametrize("end", ["refused", "malformed", "timeout", "closed", "not written", "archived"])
def test_look_when_one_answer_is_missing_then_it_proves_nothing(rig: Rig, end: str) -> None:
    """What came is told, cursors stay where they were, and it says that it is not complete."""
    rig.tell(look("me"))
    rig.answer(rig.asked("myTrades"), [])
    rig.answer(rig.asked("account.status"), {"balances": []})
    request = rig.asked("openOrders.status")
    if end in ("refused", "archived"):
        rig.refuse(request, -1003 if end == "refused" else -2026, "No.")
    elif end == "malformed":
        rig.answer(request, {"not": "a list"})
    elif end == "timeout":
        rig.run(5 * SECOND)
    elif end == "closed":
        rig.close()
    else:
        rig.tell(NotWritten("account", rig.gen, request[0], "link_down"))
    done = rig.heard()[-1]
    assert isinstance(done, LookDone)
    assert (done.complete, done.missing, done.cursors) == (False, (), ((BTC, "7"),))
    assert done.reason.startswith("open_orders" if end != "malformed" else "UNREADABLE")
    assert rig.gateway.state.looks == {}


def test_look_when_it_fails_half_way_then_fills_without_an_owner_are_kept_back(rig: Rig) -> None:
    """A fill whose order is not known would be booked to nobody: the cursor has not passed it."""
    rig.tell(look(balances=False))
    rig.answer(rig.asked("openOrders.status"), [result()])
    rig.answer(rig.asked("myTrades"), [trade(8), trade(9, order_id=77)])
    rig.refuse(rig.asked("order.status"), -1000, "Unknown.")
    heard = rig.heard()
    assert [msg.trade_id for msg in heard if isinstance(msg, VenueFill)] == ["8"]
    assert isinstance(heard[-1], LookDone)
    assert (heard[-1].complete, heard[-1].cursors) == (False, ((BTC, "7"),))


def test_look_when_many_orders_are_named_then_fifty_are_in_flight(rig: Rig) -> None:
    """A recovery asks in bounded steps; an answer lets the next question out."""
    names = tuple(f"o{number}" for number in range(60))
    rig.tell(look(*names, balances=False))
    rig.answer(rig.asked("openOrders.status"), [])
    rig.answer(rig.asked("myTrades"), [])
    queries = [row for row in rig.sent() if row[1]["method"] == "order.status"]
    assert len(queries) == 50
    for query in queries:
        rig.refuse(query, -2013, "Order does not exist.")
    rest = [row for row in rig.sent() if row[1]["method"] == "order.status"][50:]
    assert len(rest) == 10
    for query in rest:
        rig.refuse(query, -2013, "Order does not exist.")
    done = rig.heard()[-1]
    assert isinstance(done, LookDone)
    assert done.missing == names


@pytest.mark.parametrize("why", ["busy", "unknown instrument", "no room"])
def test_look_when_it_cannot_be_asked_then_it_ends_at_once(rig: Rig, why: str) -> None:
    """Every look has an end."""
    asked = look()
    if why == "busy":
        rig.tell(asked)
    elif why == "no room":
        rig.ctx.port_full = True
    else:
        asked = Look(ACCOUNT, 4, ((InstrumentId("binance:X/Y"), ME),), ())
    rig.tell(asked)
    done = rig.heard()[-1]
    assert isinstance(done, LookDone)
    assert not done.complete
    expected = {"busy": "BUSY", "no room": "open_orders: QUEUE_FULL"}
    assert done.reason.startswith(expected.get(why, "UNKNOWN_INSTRUMENT"))


def test_look_when_there_are_too_many_pages_then_it_is_incomplete(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paging is bounded."""
    monkeypatch.setattr("tradefan.actors.gateway_look.PAGES_MAX", 1)
    rig.tell(look(balances=False))
    rig.answer(rig.asked("openOrders.status"), [result()])
    rig.answer(rig.asked("myTrades"), [trade(number) for number in range(8, 1008)])
    done = rig.heard()[-1]
    assert isinstance(done, LookDone)
    assert (done.complete, done.reason) == (False, "trades: more than 1 pages")
