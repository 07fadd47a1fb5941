"""A gateway against a link that says what the test wants: every end that a request can have."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.conformance.venue.bench import ACCOUNT, BTC, D
from tests.unit.actors.gateway_rig import ME, RESTRICTIONS, Rig, live_rig, look, result
from tradefan.actors.gateway import Gateway
from tradefan.actors.gateway_state import TOMBSTONES_MAX, GatewayState
from tradefan.core.connection_state import Phase
from tradefan.messages.account import AccountState, Balances
from tradefan.messages.base import Message
from tradefan.messages.control import Started, Stop, Stopped, Timer
from tradefan.messages.gateway import (
    CancelOrder,
    CancelRejected,
    ExecutionReport,
    GatewayReset,
    LookDone,
    OrderInDoubt,
    OrderNotSent,
    VenueFill,
)
from tradefan.messages.orders import CancelAll, Doubt, OrderStatus
from tradefan.messages.wire import NotWritten, Open, Opened, Written
from tradefan.units import SECOND, InstrumentId, OwnerId


@pytest.fixture
def rig() -> Rig:
    return live_rig()


def not_sent(reason: str) -> OrderNotSent:
    return OrderNotSent(ACCOUNT, ME, reason)


def doubt(kind: Doubt, reason: str) -> OrderInDoubt:
    return OrderInDoubt(ACCOUNT, ME, kind, reason)


# --- connection ---------------------------------------------------------------------------------------


@pytest.mark.failure("OR-31")
def test_start_when_it_is_the_first_then_it_connects_subscribes_and_says_so() -> None:
    """Creates are possible only once the user stream is subscribed."""
    rig = Rig()
    rig.tell(Started(0))
    gen = rig.gen
    assert rig.script.effects == [Open("account", gen, "paper:")]
    rig.tell(rig.order("me", "buy", "1", "99.00"))
    rig.accept()
    assert [body["method"] for _, body in rig.sent()] == ["userDataStream.subscribe"]
    assert rig.told == [
        AccountState(ACCOUNT, connected=False, reason="wanted"),
        not_sent("NOT_CONNECTED"),
        AccountState(ACCOUNT, connected=True, reason="subscribed"),
    ]
    assert rig.desk == [rig.told[0], rig.told[2]]


@pytest.mark.failure("OR-29")
def test_start_when_it_is_a_restart_then_the_oms_hears_and_waiting_creates_are_refused() -> None:
    """The predecessor's requests have no outcome; those that waited were never written."""
    rig = Rig()
    order = rig.order("me", "buy", "1", "99.00")
    rig.tell(Started(1, (order, CancelAll(OwnerId("api")))))
    assert rig.heard() == [GatewayReset(ACCOUNT), not_sent("RESTARTING")]


def test_connection_when_it_ends_then_it_comes_back_under_a_new_generation(rig: Rig) -> None:
    """Down is told at once; after the back-off everything begins again, subscription included."""
    old = rig.gen
    rig.close()
    assert rig.told == [AccountState(ACCOUNT, connected=False, reason="closed: 1006 reset")]
    rig.run(SECOND)
    assert rig.gen > old
    rig.accept()
    rig.say({"subscriptionId": 0, "event": {"e": "listStatus"}}, gen=old)
    assert rig.gateway.view().counters.unmapped == 0


def test_subscription_when_it_is_refused_then_the_connection_is_given_up() -> None:
    """Without the user stream there is no account."""
    rig = Rig()
    rig.tell(Started(0))
    rig.tell(Opened("account", rig.gen, rig.now_ns))
    rig.refuse(rig.sent()[-1], -2035, "User Data Stream subscription already active.")
    view = rig.gateway.view()
    assert (view.phase, view.connected) == (Phase.BACKOFF, False)
    assert "already active" in view.reason


@pytest.mark.parametrize("reason", ["link_down", "STALE_GENERATION"])
def test_subscription_when_it_is_not_written_then_the_connection_is_given_up(reason: str) -> None:
    """The connection's own requests are the connection's business."""
    rig = Rig()
    rig.tell(Started(0))
    rig.tell(Opened("account", rig.gen, rig.now_ns))
    rig.tell(NotWritten("account", rig.gen, rig.sent()[-1][0], reason))
    assert rig.gateway.view().phase == Phase.BACKOFF


@pytest.mark.failure("OR-28")
def test_user_stream_when_the_venue_ends_it_then_we_connect_anew(rig: Rig) -> None:
    """A private stream that ended is a connection that ended."""
    rig.say({"subscriptionId": 0, "event": {"e": "eventStreamTerminated", "E": 1}})
    assert rig.gateway.view().phase == Phase.BACKOFF


def test_stop_when_it_comes_then_the_connection_is_dropped_and_stopped_is_said(rig: Rig) -> None:
    """What is in flight is in doubt; nothing reconnects."""
    rig.tell(rig.order("me", "buy", "1", "99.00"), Stop(rig.now_ns + SECOND))
    assert rig.heard() == [doubt(Doubt.CREATE, "CLOSED")]
    assert rig.kernel == [Stopped("gateway")]
    rig.run(60 * SECOND)
    assert rig.gateway.view().phase == Phase.DOWN


# --- creates ------------------------------------------------------------------------------------------


def test_create_when_it_is_accepted_then_the_answer_is_told(rig: Rig) -> None:
    """One write with the deadline, one answer; `Written` means nothing."""
    order = rig.order("me", "buy", "1", "99.00")
    rig.tell(order)
    (write,) = rig.written("create")
    assert (write.gen, write.not_after_ns) == (rig.gen, order.not_after_ns)
    rig.tell(Written("account", rig.gen, write.req, rig.now_ns))
    assert rig.heard() == []
    rig.answer(rig.asked("order.place"), result())
    (report,) = rig.heard()
    assert isinstance(report, ExecutionReport)
    assert (report.status, report.venue_order_id, report.source) == (OrderStatus.NEW, "9", "answer")
    rig.run(10 * SECOND)
    assert rig.heard() == []


def test_create_when_it_is_rejected_then_its_class_is_the_reason(rig: Rig) -> None:
    """A definite reject is a report of the venue with the order's own data."""
    rig.tell(rig.order("me", "buy", "1", "99.00"))
    rig.refuse(rig.asked("order.place"), -2010, "Market is closed.")
    expected = ExecutionReport(
        account=ACCOUNT,
        instrument=BTC,
        client_order_id=ME,
        venue_order_id=None,
        status=OrderStatus.REJECTED,
        side="buy",
        order_qty=D(1),
        cum_qty=D(0),
        limit_price=D("99.00"),
        reason="HALT: Market is closed.",
        event_ns=rig.now_ns,
        recv_ns=rig.now_ns,
        source="answer",
    )
    assert rig.heard() == [expected]


@pytest.mark.failure("OR-01")
def test_create_when_nobody_answers_then_it_is_in_doubt_and_a_late_answer_still_counts(rig: Rig) -> None:
    """Five seconds are the limit of waiting, not of evidence."""
    rig.tell(rig.order("me", "buy", "1", "99.00"))
    rig.run(5 * SECOND - 1)
    assert rig.heard() == []
    rig.run(1)
    assert rig.heard() == [doubt(Doubt.CREATE, "TIMEOUT")]
    rig.answer(rig.asked("order.place"), result(executedQty="1.0", status="FILLED"))
    (report,) = rig.heard()
    assert isinstance(report, ExecutionReport)
    assert (report.status, rig.gateway.view().counters.late_answers) == (OrderStatus.FILLED, 1)


@pytest.mark.failure("OR-01", "OR-27")
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"status": 503, "error": {"code": -1008, "msg": "Overloaded."}}, "VENUE: Overloaded."),
        ({"status": 200, "result": {"orderId": 9}}, "UNREADABLE"),
        ({"status": 200}, "UNREADABLE"),
        ({"status": 200, "result": None}, "UNREADABLE"),
        ({"status": 400, "error": {"code": -2010, "msg": "Duplicate order sent."}}, "DUPLICATE"),
        ({"status": 400, "error": {"code": -9999, "msg": "New."}}, "UNLISTED: New."),
    ],
)
def test_create_when_the_answer_proves_nothing_then_it_is_in_doubt(
    rig: Rig, body: dict[str, Any], reason: str
) -> None:
    """5xx, a malformed 200, and whatever is not listed."""
    rig.tell(rig.order("me", "buy", "1", "99.00"))
    rig.say({"id": str(rig.asked("order.place")[0])} | body)
    (found,) = rig.heard()
    assert isinstance(found, OrderInDoubt)
    assert found == doubt(Doubt.CREATE, found.reason)
    assert found.reason.startswith(reason)
    assert len(rig.written("create")) == 1


@pytest.mark.failure("OR-05")
def test_create_when_the_echo_is_another_id_then_it_is_in_doubt_and_no_stranger_is_made_up(rig: Rig) -> None:
    """A venue that rewrites ids is not believed: neither about ours, nor that somebody else has an order."""
    rig.tell(rig.order("me", "buy", "1", "99.00"))
    rig.answer(rig.asked("order.place"), result(clientOrderId="x-123"))
    (suspicion,) = rig.heard()
    assert isinstance(suspicion, OrderInDoubt)
    assert suspicion.reason == "ECHO: sent me, answered ['x-123']"


@pytest.mark.failure("OR-02")
def test_create_when_the_connection_ends_then_it_is_in_doubt_and_never_sent_again(rig: Rig) -> None:
    """At most one write, whatever happens; proof that comes afterwards is still told."""
    rig.tell(rig.order("me", "buy", "1", "99.00"))
    gen, req = rig.gen, rig.asked("order.place")[0]
    rig.close()
    assert rig.heard() == [doubt(Doubt.CREATE, "CLOSED")]
    rig.run(5 * SECOND)
    assert len(rig.written("create")) == 1
    rig.tell(NotWritten("account", gen, req, "link_down"))
    assert rig.heard() == [not_sent("link_down")]


@pytest.mark.parametrize("reason", ["EXPIRED", "LATCHED", "STALE_GENERATION", "link_down"])
def test_create_when_the_link_did_not_write_it_then_that_is_proof(rig: Rig, reason: str) -> None:
    """`NotWritten` proves that the order does not exist."""
    rig.tell(rig.order("me", "buy", "1", "99.00"))
    rig.tell(NotWritten("account", rig.gen, rig.asked("order.place")[0], reason))
    rig.run(6 * SECOND)
    assert rig.heard() == [not_sent(reason)]


@pytest.mark.failure("OR-29")
def test_create_when_its_deadline_has_passed_then_it_is_not_written(rig: Rig) -> None:
    """An order of the past is not sent."""
    rig.tell(rig.order("me", "buy", "1", "99.00", not_after_ns=rig.now_ns - 1))
    assert (rig.heard(), rig.written("create")) == ([not_sent("EXPIRED")], [])


def test_create_when_the_port_has_no_room_then_it_is_not_sent(rig: Rig) -> None:
    """A refused effect never left the kernel."""
    rig.ctx.port_full = True
    rig.tell(rig.order("me", "buy", "1", "99.00"))
    assert (rig.heard(), rig.written("create")) == ([not_sent("QUEUE_FULL")], [])


def test_create_when_the_instrument_is_not_ours_then_it_is_not_sent(rig: Rig) -> None:
    """The codec has no word for it."""
    rig.tell(rig.order("me", "buy", "1", "99.00", instrument=InstrumentId("binance:X/Y")))
    assert rig.heard() == [not_sent("UNKNOWN_INSTRUMENT")]


@pytest.mark.failure("OR-02")
def test_create_when_it_is_given_twice_then_it_is_written_once(rig: Rig) -> None:
    """The second one is our own defect: no word about the first may come of it."""
    order = rig.order("me", "buy", "1", "99.00")
    rig.tell(order, order)
    assert len(rig.written("create")) == 1
    assert (rig.heard(), rig.gateway.view().counters.duplicates) == ([], 1)


# --- cancels ------------------------------------------------------------------------------------------


@pytest.mark.failure("OR-29")
def test_cancel_when_it_overtakes_its_create_then_the_create_is_not_written(rig: Rig) -> None:
    """Facts overtake commands: the tombstone waits for the create for a minute."""
    rig.cancel_now("me")
    rig.refuse(rig.asked("order.cancel"), -2011, "Unknown order sent.")
    rig.run(59 * SECOND)
    rig.tell(rig.order("me", "buy", "1", "99.00"))
    assert rig.heard() == [
        CancelRejected(ACCOUNT, ME, "UNKNOWN_ORDER: Unknown order sent."),
        not_sent("CANCELED_BEFORE_SENT"),
    ]
    rig.run(2 * SECOND)
    rig.tell(rig.order("me", "buy", "1", "99.00"))
    assert len(rig.written("create")) == 1


def test_cancel_when_its_name_holds_a_place_then_the_venue_hears_the_id_alone(rig: Rig) -> None:
    """Two symbols may have one foreign id (OR-25): the name is ours, and the echo is of the id."""
    rig.cancel_now("web_1 paper:main binance:BTC/USDT")
    req = rig.asked("order.cancel")
    assert rig.sent()[-1][1]["params"]["origClientOrderId"] == "web_1"
    rig.answer(req, result(clientOrderId="c-9", origClientOrderId="web_1", status="CANCELED"))
    assert [msg.client_order_id for msg in rig.heard() if isinstance(msg, ExecutionReport)] == ["web_1"]
    rig.cancel_now("web_1 paper:main binance:BTC/USDT")
    rig.refuse(rig.asked("order.cancel"), -2011, "Unknown order sent.")
    (rejected,) = (msg for msg in rig.heard() if isinstance(msg, CancelRejected))
    assert rejected.client_order_id == "web_1 paper:main binance:BTC/USDT"


def test_cancel_when_it_is_done_then_the_venues_word_is_told(rig: Rig) -> None:
    """The cancel's answer is a report about the order."""
    rig.cancel_now("me")
    rig.answer(
        rig.asked("order.cancel"),
        result(clientOrderId="cancel-9", origClientOrderId="me", status="CANCELED", executedQty="0.3"),
    )
    (report,) = rig.heard()
    assert isinstance(report, ExecutionReport)
    assert (report.client_order_id, report.status, report.cum_qty) == ("me", OrderStatus.CANCELED, D("0.3"))


@pytest.mark.parametrize("answer", [{"origClientOrderId": "other"}, {"symbol": "ETHUSDT"}])
def test_cancel_when_the_echo_is_another_order_then_it_is_in_doubt(rig: Rig, answer: dict[str, Any]) -> None:
    """Who cancelled another order has not cancelled ours."""
    rig.cancel_now("me")
    body = result(clientOrderId="cancel-9", origClientOrderId="me", status="CANCELED") | answer
    rig.answer(rig.asked("order.cancel"), body)
    name = body["origClientOrderId"]
    assert rig.heard() == [doubt(Doubt.CANCEL, f"ECHO: sent me, answered ['{name}']")]


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (
            "restrictions",
            CancelRejected(ACCOUNT, ME, "RESTRICTED: Order was not canceled due to cancel restrictions."),
        ),
        ("unlisted", doubt(Doubt.CANCEL, "UNLISTED: Hm.")),
        ("malformed", None),
        ("timeout", doubt(Doubt.CANCEL, "TIMEOUT")),
        ("closed", doubt(Doubt.CANCEL, "CLOSED")),
        ("not written", CancelRejected(ACCOUNT, ME, "NOT_SENT: link_down")),
    ],
)
def test_cancel_when_it_is_not_done_then_it_is_information_or_doubt(
    rig: Rig, end: str, expected: Message | None
) -> None:
    """Only the venue's word about the order ends it: all of these leave it alive."""
    rig.cancel_now("me")
    request = rig.asked("order.cancel")
    if end == "restrictions":
        rig.refuse(request, -2011, RESTRICTIONS)
    elif end == "unlisted":
        rig.refuse(request, -9999, "Hm.")
    elif end == "malformed":
        rig.answer(request, {"status": "CANCELED"})
    elif end == "timeout":
        rig.run(5 * SECOND)
    elif end == "closed":
        rig.close()
    else:
        rig.tell(NotWritten("account", rig.gen, request[0], "link_down"))
    (found,) = rig.heard()
    if expected is None:
        assert isinstance(found, OrderInDoubt)
        assert found.reason.startswith("UNREADABLE")
    else:
        assert found == expected


def test_cancel_when_nothing_may_be_written_then_the_oms_hears_at_once(rig: Rig) -> None:
    """The OMS repeats it; the tombstone stands all the same."""
    rig.close()
    rig.cancel_now("me")
    rig.tell(CancelOrder(ACCOUNT, InstrumentId("binance:X/Y"), OwnerId("api"), ME))
    assert rig.heard() == [CancelRejected(ACCOUNT, ME, "NOT_SENT: NOT_CONNECTED")] * 2
    rig.run(SECOND)
    rig.accept()
    rig.tell(CancelOrder(ACCOUNT, InstrumentId("binance:X/Y"), OwnerId("api"), ME))
    rig.tell(rig.order("me", "buy", "1", "99.00"))
    assert rig.heard() == [
        CancelRejected(ACCOUNT, ME, "NOT_SENT: UNKNOWN_INSTRUMENT"),
        not_sent("CANCELED_BEFORE_SENT"),
    ]


def test_tombstones_when_there_are_many_then_the_oldest_leave(rig: Rig) -> None:
    """Bounded by number and by age."""
    rig.ctx.port_full = True
    for number in range(TOMBSTONES_MAX + 1):
        rig.cancel_now(f"o{number}")
    assert len(rig.gateway.state.tombstones) == TOMBSTONES_MAX
    rig.run(61 * SECOND)
    rig.cancel_now("last")
    assert list(rig.gateway.state.tombstones) == ["last"]


# --- user stream ----------------------------------------------------------------------------------------


@pytest.mark.failure("OR-06")
def test_stream_when_a_trade_comes_then_the_fill_is_told_before_the_report(rig: Rig) -> None:
    """Nobody ever sees more filled than traded."""
    event = {"e": "executionReport", "s": "BTCUSDT", "c": "me", "S": "BUY", "q": "1", "p": "99", "x": "TRADE"}
    event |= {"X": "FILLED", "i": 9, "z": "1", "l": "1", "L": "99", "n": "0.001", "N": "BTC", "T": 5}  # type: ignore[dict-item]
    rig.say({"subscriptionId": 0, "event": event | {"t": 3, "m": False}})
    fill, report = rig.heard()
    assert isinstance(fill, VenueFill)
    assert isinstance(report, ExecutionReport)
    assert (fill.trade_id, fill.client_order_id, report.status) == ("3", "me", OrderStatus.FILLED)


def test_stream_when_balances_change_then_everybody_hears(rig: Rig) -> None:
    """The OMS first, then the observers."""
    rig.desk.clear()
    event = {"e": "outboundAccountPosition", "u": 5, "B": [{"a": "BTC", "f": "1", "l": "0"}]}
    rig.say({"subscriptionId": 0, "event": event})
    (balances,) = rig.heard()
    assert isinstance(balances, Balances)
    assert rig.desk == [balances]


# --- state ----------------------------------------------------------------------------------------------


def test_state_when_it_is_encoded_in_mid_flight_then_a_successor_goes_on(rig: Rig) -> None:
    """All knowledge is in State: flights, looks and tombstones survive a snapshot."""
    rig.tell(rig.order("me", "buy", "1", "99.00"), look(balances=False))
    rig.cancel_now("other")
    data = msgspec.msgpack.encode(rig.gateway.state)
    state = msgspec.msgpack.decode(data, type=GatewayState)
    assert state == rig.gateway.state
    rig.gateway = Gateway(rig.wiring, state)
    rig.answer(rig.asked("order.place"), result())
    rig.answer(rig.asked("openOrders.status"), [])
    rig.answer(rig.asked("myTrades"), [])
    heard = rig.heard()
    assert [type(msg) for msg in heard] == [ExecutionReport, LookDone]


def test_message_when_it_means_nothing_to_a_gateway_then_it_is_ignored(rig: Rig) -> None:
    """Timers and kinds of others change nothing."""
    rig.run(60 * SECOND)
    before = msgspec.msgpack.encode(rig.gateway.state)
    rig.tell(Stopped("someone"), Timer("request", "me", 4711), Timer("else"))
    rig.run(3600 * SECOND)
    assert msgspec.msgpack.encode(rig.gateway.state) == before
