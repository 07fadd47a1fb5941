"""What a gateway does when the venue asks for silence, refuses the key, says nothing, or talks nonsense."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.venue.bench import ACCOUNT
from tests.unit.actors.gateway_rig import ME, Rig, live_rig
from tradefan.actors.gateway import AUTH_NS, DEAF_MAX, GARBAGE_MAX, SHUT_MAX_NS
from tradefan.actors.gateway_state import LATE_MAX
from tradefan.core.connection_state import Phase
from tradefan.messages.account import AccountState
from tradefan.messages.gateway import CancelRejected, ExecutionReport, Look, LookDone, OrderNotSent
from tradefan.messages.orders import OrderStatus
from tradefan.messages.wire import Closed, Received
from tradefan.units import MINUTE, MS, SECOND, ClientOrderId
from tradefan.venues.binance_account_wire import BODY_MAX


@pytest.fixture
def rig() -> Rig:
    return live_rig()


def not_sent(reason: str) -> OrderNotSent:
    return OrderNotSent(ACCOUNT, ME, reason)


def states(rig: Rig) -> list[AccountState]:
    """Return what everybody heard of the account since it was asked last."""
    found = [msg for msg in rig.told if isinstance(msg, AccountState)]
    observed = [msg for msg in rig.desk if isinstance(msg, AccountState)]
    assert observed[len(observed) - len(found) :] == found
    rig.told.clear()
    return found


def gate(rig: Rig, status: int, code: int = -1003, **data: Any) -> None:
    """Let the venue refuse something that names no request."""
    rig.say({"id": None, "status": status, "error": {"code": code, "msg": "Too much.", "data": data}})


# --- silence, keys, garbage -----------------------------------------------------------------------------


@pytest.mark.failure("OR-15")
@pytest.mark.parametrize(
    ("status", "code", "retry_s", "silence_s", "reason"),
    [(429, -1003, None, 60, "RATE_LIMIT"), (429, -1015, 7, 7, "RATE_LIMIT"), (418, -1003, None, 300, "BAN")],
)
def test_silence_when_the_venue_asks_for_it_then_nothing_is_written_until_then(
    rig: Rig, status: int, code: int, retry_s: int | None, silence_s: int, reason: str
) -> None:
    """The refused create is definite; later ones are not sent, cancels are told, looks are incomplete."""
    rig.tell(rig.order("first", "buy", "1", "99.00"))
    data = {} if retry_s is None else {"retryAfter": rig.now_ns // MS + retry_s * 1000}
    rig.refuse(rig.asked("order.place"), code, "Too much.", status, **data)
    (report,) = rig.heard()
    assert isinstance(report, ExecutionReport)
    assert (report.status, report.reason) == (OrderStatus.REJECTED, f"{reason}: Too much.")
    rig.run(silence_s * SECOND - 1)
    writes = len(rig.writes)
    rig.tell(rig.order("me", "buy", "1", "99.00"))
    rig.cancel_now("me2")
    rig.tell(Look(ACCOUNT, 1, (), ()))
    assert rig.heard() == [
        not_sent(reason),
        CancelRejected(ACCOUNT, ClientOrderId("me2"), f"NOT_SENT: {reason}"),
        LookDone(ACCOUNT, 1, rig.now_ns, complete=False, missing=(), cursors=(), reason=reason),
    ]
    assert len(rig.writes) == writes
    rig.run(1)
    rig.tell(rig.order("me", "buy", "1", "99.00"))
    assert len(rig.written("create")) == 2


def test_silence_when_it_is_asked_by_header_or_without_an_id_then_it_is_kept(rig: Rig) -> None:
    """Retry-After counts in seconds; a gate's refusal that names no request counts as well."""
    body = b'{"id":null,"status":429,"error":{"code":-1003,"msg":"Too much."}}'
    rig.tell(Received("account", rig.gen, rig.now_ns, body, retry_after_s=2.5))
    view = rig.gateway.view()
    assert (view.shut_until_ns, view.counters.strays) == (rig.now_ns + 2500 * MS, 1)


def test_key_when_the_venue_refuses_it_then_no_create_is_written_but_cancels_are(rig: Rig) -> None:
    """AUTH stops creates for a minute and says so; the next connection begins anew."""
    rig.tell(rig.order("first", "buy", "1", "99.00"))
    rig.refuse(rig.asked("order.place"), -2015, "Invalid API-key.")
    auth = "AUTH: Invalid API-key."
    assert rig.told[0] == AccountState(ACCOUNT, connected=True, reason=auth, auth=auth)
    rig.heard()
    rig.tell(rig.order("me", "buy", "1", "99.00"))
    rig.cancel_now("first")
    assert rig.heard() == [not_sent("AUTH")]
    assert len(rig.written("cancel")) == 1
    rig.close()
    rig.run(SECOND)
    rig.accept()
    assert rig.gateway.view().auth == ""


def test_garbage_when_it_comes_then_it_is_set_aside_and_much_of_it_ends_the_connection(rig: Rig) -> None:
    """One bad frame costs nothing; twenty in ten seconds are a broken socket."""
    for number in range(GARBAGE_MAX - 1):
        rig.say(b"{" if number % 2 else {"subscriptionId": 0, "event": {"e": "executionReport"}})
    rig.run(11 * SECOND)
    rig.say(b"{")
    view = rig.gateway.view()
    assert (view.connected, view.counters.garbage, len(view.quarantine)) == (True, GARBAGE_MAX, GARBAGE_MAX)
    for _ in range(GARBAGE_MAX - 1):
        rig.say(b"{")
    assert rig.gateway.view().phase == Phase.BACKOFF


def test_answers_when_none_come_then_a_deaf_connection_is_given_up(rig: Rig) -> None:
    """A time-out may be one lost answer; several without a single frame are a dead socket."""
    for number in range(DEAF_MAX):
        assert rig.gateway.view().connected
        rig.cancel_now(f"o{number}")
        rig.run(5 * SECOND)
    assert rig.gateway.view().reason != "subscribed"


def test_late_answers_when_too_many_are_waited_for_then_the_oldest_are_forgotten(rig: Rig) -> None:
    """Memory is bounded; a forgotten answer counts as a stray."""
    for number in range(LATE_MAX + 1):
        rig.cancel_now(f"o{number}")
    first = rig.sent()[1]
    rig.close()
    assert rig.gateway.view().late == LATE_MAX
    rig.run(SECOND)
    rig.accept()
    rig.refuse(first, -2011, "Unknown order sent.")
    assert rig.gateway.view().counters.strays == 1


def test_silence_when_it_begins_and_ends_then_the_account_says_so(rig: Rig) -> None:
    """The OMS enters and leaves its mode by these two words; the connection itself stays."""
    gate(rig, 418, retryAfter=rig.now_ns // MS + 7_000)
    until_ns = (rig.now_ns // MS + 7_000) * MS
    why = "BAN: Too much."
    assert states(rig) == [
        AccountState(ACCOUNT, connected=True, reason=why, shut_until_ns=until_ns, shut="BAN")
    ]
    rig.run(7 * SECOND - 1)
    assert states(rig) == []
    rig.run(SECOND)
    assert states(rig) == [AccountState(ACCOUNT, connected=True, reason="silence is over")]
    assert rig.gateway.view().shut_until_ns == 0


def test_silence_when_the_venue_says_its_time_then_our_clock_does_not_matter(rig: Rig) -> None:
    """A wall clock that jumped by an hour before our start must not make a ban an hour longer."""
    gate(rig, 418, serverTime=1_000, retryAfter=31_000)
    assert rig.gateway.view().shut_until_ns == rig.now_ns + 30 * SECOND


def test_silence_when_it_is_prolonged_then_it_ends_once_and_a_ban_stays_a_ban(rig: Rig) -> None:
    """The longest instant counts, and a rate limit inside a ban does not make it a smaller matter."""
    gate(rig, 418)
    rig.run(MINUTE)
    gate(rig, 429, retryAfter=rig.now_ns // MS + 600_000)
    assert [(msg.shut, msg.shut_until_ns - rig.now_ns) for msg in states(rig)] == [
        ("BAN", 4 * MINUTE),
        ("BAN", 10 * MINUTE),
    ]
    rig.run(10 * MINUTE)
    assert [msg.shut for msg in states(rig)] == [""]
    gate(rig, 429)
    assert [msg.shut for msg in states(rig)] == ["RATE_LIMIT"]


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), -1.0, 1e300])
def test_silence_when_its_header_is_nonsense_then_it_is_bounded(rig: Rig, seconds: float) -> None:
    """`Retry-After` is foreign text: what is no wait counts as none, and none is longer than a ban."""
    body = b'{"id":null,"status":429,"error":{"code":-1003,"msg":"Too much."}}'
    rig.tell(Received("account", rig.gen, rig.now_ns, body, retry_after_s=seconds))
    wait_ns = rig.gateway.view().shut_until_ns - rig.now_ns
    assert wait_ns == (SHUT_MAX_NS if seconds > 1 else MINUTE)


@pytest.mark.failure("OR-15")
@pytest.mark.parametrize("retry_s", [30.0, float("inf")])
def test_connection_when_it_is_refused_with_418_then_that_is_a_ban_as_well(rig: Rig, retry_s: float) -> None:
    """The venue may ban at the door: the account says until when."""
    rig.tell(Closed("account", rig.gen, rig.now_ns, 418, "banned", retry_s))
    (state,) = states(rig)
    assert (state.connected, state.shut) == (False, "BAN")
    assert state.shut_until_ns == rig.gateway.state.connection.retry_ns > rig.now_ns
    rig.run(6 * MINUTE)
    if retry_s < MINUTE:
        assert states(rig)[0].shut == ""


def test_key_when_it_was_refused_then_a_minute_later_one_create_may_ask_again(rig: Rig) -> None:
    """The OMS waits for a human; after his word the venue is asked anew, without a reconnection."""
    rig.tell(rig.order("first", "buy", "1", "99.00"))
    rig.refuse(rig.asked("order.place"), -2015, "Invalid API-key.")
    rig.heard()
    rig.run(AUTH_NS - 1)
    rig.tell(rig.order("me", "buy", "1", "99.00"))
    assert rig.heard() == [not_sent("AUTH")]
    rig.run(1)
    rig.tell(rig.order("me", "buy", "1", "99.00"))
    assert rig.heard() == []
    rig.refuse(rig.asked("order.place"), -2015, "Invalid API-key.")
    # The OMS asked because a human let it go on: silence would leave it trading with a refused key.
    assert [msg.auth for msg in states(rig)] == ["AUTH: Invalid API-key."]
    rig.tell(rig.order("me2", "buy", "1", "99.00"))
    assert rig.heard() == [OrderNotSent(ACCOUNT, ClientOrderId("me2"), "AUTH")]


@pytest.mark.parametrize("waited_ns", [AUTH_NS - 1, AUTH_NS])
def test_key_when_its_refusal_is_no_news_then_later_words_do_not_repeat_it(rig: Rig, waited_ns: int) -> None:
    """A human's RESUME would be undone by the next 429, though nobody has refused the key again."""
    rig.tell(rig.order("first", "buy", "1", "99.00"))
    rig.refuse(rig.asked("order.place"), -2015, "Invalid API-key.")
    rig.told.clear()
    rig.run(waited_ns)
    gate(rig, 429)
    assert [(msg.auth, msg.shut) for msg in states(rig)] == [
        ("AUTH: Invalid API-key." if waited_ns < AUTH_NS else "", "RATE_LIMIT")
    ]


def test_key_when_an_order_is_answered_again_then_it_is_good_and_a_query_is_no_proof(rig: Rig) -> None:
    """A key that may only read answers queries: only a request about an order shows that it trades."""
    rig.tell(rig.order("first", "buy", "1", "99.00"))
    rig.refuse(rig.asked("order.place"), -2015, "Invalid API-key.")
    rig.told.clear()
    rig.tell(Look(ACCOUNT, 1, (), (), balances=False))
    rig.answer(rig.asked("openOrders.status"), [])
    assert states(rig) == []
    rig.cancel_now("first")
    rig.refuse(rig.asked("order.cancel"), -2011, "Unknown order sent.")
    assert states(rig) == [AccountState(ACCOUNT, connected=True, reason="the venue takes our key")]
    rig.tell(rig.order("me", "buy", "1", "99.00"))
    assert len(rig.written("create")) == 2


def test_key_when_a_query_is_refused_then_it_is_the_same_key(rig: Rig) -> None:
    """AUTH is AUTH on every road."""
    rig.tell(Look(ACCOUNT, 1, (), (), balances=False))
    rig.refuse(rig.asked("openOrders.status"), -1022, "Signature for this request is not valid.")
    assert [msg.auth for msg in states(rig)] == ["AUTH: Signature for this request is not valid."]


def test_answer_when_it_is_longer_than_any_honest_one_then_its_request_is_in_doubt_in_the_end(
    rig: Rig,
) -> None:
    """It is not read at all: the create times out, the gateway lives."""
    rig.tell(rig.order("me", "buy", "1", "99.00"))
    req = rig.asked("order.place")[0]
    rig.say(b'{"id":"%d","status":200,"result":{"x":"%s"}}' % (req, b"x" * BODY_MAX))
    assert (rig.heard(), rig.gateway.view().counters.garbage) == ([], 1)
    assert len(rig.gateway.state.quarantine[0]) <= 300
    rig.run(5 * SECOND)
    assert [type(msg).__name__ for msg in rig.heard()] == ["OrderInDoubt"]
