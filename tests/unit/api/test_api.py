"""The HTTP face over a small stand-in for the daemon: who may call, what is refused, what is answered."""

from __future__ import annotations

import asyncio
import threading
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import ServerDisconnectedError

from tests.unit.api.bench import BTC, CONTROL, MAIN, ORDER, TOKEN, Start, refusal
from tradefan.api.guard import Bucket
from tradefan.errors import Outage
from tradefan.messages.control import Rejected
from tradefan.messages.orders import Answer, CancelParent, PlanAnswer, PlannedSlice, SubmitOrder
from tradefan.units import DAY, SECOND, OwnerId, ParentId

D2 = Decimal("1E-8")

# --- pictures -----------------------------------------------------------------------------------------


async def test_pages_when_well_then_200_without_a_token(start: Start) -> None:
    """What runs, what it is ready for, status and metrics are open on this machine."""
    web = await start()
    assert await web.call("GET", "/health") == (200, {"status": "ok"})
    assert await web.call("GET", "/ready") == (200, {"ready": True, "waiting": {}})
    assert await web.call("GET", "/status") == (200, {"equity": "1000000.5", "owner": "me"})
    assert await web.call("GET", "/metrics") == (200, "tradefan_fills_total 0.0\n")


async def test_pages_when_something_is_down_then_503_with_its_name(start: Start) -> None:
    """A load balancer reads the number, a human the name."""
    web = await start()
    web.daemon.health_now = {"status": "down"}
    web.daemon.waiting = {"market:binance": "DOWN"}
    assert (await web.call("GET", "/health"))[0] == 503
    assert await web.call("GET", "/ready") == (503, {"ready": False, "waiting": {"market:binance": "DOWN"}})


async def test_metrics_when_switched_off_then_404_as_json(start: Start) -> None:
    """`telemetry.metrics: false`; every error is JSON, also those of the library."""
    web = await start(metrics=False)
    assert await web.code("GET", "/metrics") == (404, "NOT_FOUND")
    assert await web.code("PUT", "/status") == (405, "METHOD_NOT_ALLOWED")


# --- who may call -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer "},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
    ],
)
async def test_control_when_the_token_is_wrong_then_401(start: Start, headers: dict[str, str]) -> None:
    """Also reading orders is control; a token in the query is no token."""
    web = await start()
    assert await web.code("GET", f"/api/v1/orders?token={TOKEN}", headers=headers) == (401, "NO_TOKEN")
    assert await web.code("POST", "/api/v1/orders", headers=headers, json=ORDER) == (401, "NO_TOKEN")
    assert web.daemon.heard == []
    assert await web.call("GET", "/api/v1/orders", headers=CONTROL) == (200, web.daemon.orders())


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "localhost"}, 200),
        ({"Host": "LOCALHOST:8000"}, 200),
        ({"Host": "[::1]:8000"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example:8000"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": ""}, 403),
        ({"Origin": "http://localhost:8000"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
    ],
)
async def test_page_of_another_host_or_origin_then_403(
    start: Start, headers: dict[str, str], status: int
) -> None:
    """A web page whose name points to this machine, or that posts from its own, is not served."""
    web = await start()
    got, body = await web.call("GET", "/status", headers=headers)
    assert got == status
    assert status == 200 or body["error"]["code"] == "BAD_HOST"


async def test_control_when_it_is_no_json_then_415(start: Start) -> None:
    """A form of a strange page cannot say application/json."""
    web = await start()
    options = {"headers": CONTROL, "data": b'{"symbol": "BTC/USDT"}'}
    assert await web.code("POST", "/api/v1/orders", **options) == (415, "NOT_JSON")


async def test_flood_without_a_token_then_429_and_the_owner_still_comes_in(start: Start) -> None:
    """Who guesses tokens or floods the open pages spends from another bucket than the owner."""
    web = await start(requests_per_second=3)
    answers = [await web.code("GET", "/api/v1/orders") for _ in range(3)]
    assert answers == [(401, "NO_TOKEN")] * 3
    assert await web.code("GET", "/api/v1/orders") == (429, "RATE_LIMIT")
    assert await web.code("GET", "/status") == (429, "RATE_LIMIT")
    assert (await web.call("GET", "/api/v1/orders", headers=CONTROL))[0] == 200
    web.daemon.now += SECOND // 3 + 1
    assert (await web.call("GET", "/status"))[0] == 200


def test_bucket_when_time_passes_then_never_holds_more_than_a_second() -> None:
    """An idle hour is no burst of an hour."""
    now = [0]
    bucket = Bucket(2, lambda: now[0])
    assert [bucket.spend() for _ in range(3)] == [True, True, False]
    now[0] = 3600 * SECOND
    assert [bucket.spend() for _ in range(3)] == [True, True, False]
    now[0] += SECOND // 2
    assert [bucket.spend() for _ in range(2)] == [True, False]


async def test_body_when_too_large_then_413(start: Start) -> None:
    """`api.body_max` bounds what one request can cost."""
    web = await start()
    large = {**ORDER, "reason": "x" * 4096}
    status, code = await web.code("POST", "/api/v1/orders", headers=CONTROL, json=large)
    assert (status, code) == (413, "TOO_LARGE")


async def test_connections_when_too_many_then_the_next_is_hung_up_on(start: Start) -> None:
    """Clients that open connections and say nothing keep their places, not those of trading."""
    web = await start(connections_max=2)
    silent = [await asyncio.open_connection("127.0.0.1", web.port) for _ in range(2)]
    with pytest.raises((ServerDisconnectedError, ConnectionResetError, OSError)):
        await web.call("GET", "/status")
    for _, writer in silent:
        writer.close()
        await writer.wait_closed()
    async with asyncio.timeout(5):
        while True:
            try:
                assert (await web.call("GET", "/status"))[0] == 200
            except (ServerDisconnectedError, OSError):
                await asyncio.sleep(0)
            else:
                break


# --- orders -------------------------------------------------------------------------------------------


async def test_submit_then_the_oms_hears_the_whole_wish_and_its_answer_is_201(start: Start) -> None:
    """Every field arrives; the answer is the order as memory holds it."""
    web = await start()
    web.daemon.accept("p1")
    body = {
        **ORDER,
        "algo": "limit",
        "limit_price": "61000.10",
        "owner": "cli",
        "ref": "r1",
        "settings": {"post_only": True},
        "reason": "a test",
        "reduce_only": True,
    }
    status, order = await web.call("POST", "/api/v1/orders", headers=CONTROL, json=body)
    assert (status, order) == (201, {"parent_id": "p1", "owner": "api"})
    assert web.daemon.heard == [
        SubmitOrder(
            account=MAIN,
            instrument=BTC,
            owner=OwnerId("cli"),
            ref="r1",
            side="buy",
            order_qty=Decimal("0.5"),
            algo="limit",
            settings={"post_only": True},
            limit_price=Decimal("61000.10"),
            reason="a test",
            reduce_only=True,
            req=1,
        )
    ]


async def test_submit_when_the_ref_is_known_then_200_with_the_first_order(start: Start) -> None:
    """Asking again after a lost answer is safe; without a ref each wish is one of its own."""
    web = await start()
    web.daemon.accept("p1", known=True)
    status, order = await web.call("POST", "/api/v1/orders", headers=CONTROL, json={**ORDER, "ref": "r1"})
    assert (status, order["parent_id"]) == (200, "p1")
    for _ in range(2):
        await web.call("POST", "/api/v1/orders", headers=CONTROL, json=ORDER)
    refs = [msg.ref for msg in web.daemon.heard if isinstance(msg, SubmitOrder)]
    assert refs[0] == "r1"
    assert len({*refs}) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"quantity": "0"},
        {"quantity": "-1"},
        {"quantity": "NaN"},
        {"quantity": "Infinity"},
        {"quantity": "much"},
        {"quantity": None},
        {"limit_price": "0"},
        {"limit_price": "NaN"},
        {"side": "by"},
        {"owner": "external"},
        {"ref": ""},
        {"ref": "r" * 65},
        {"qty": "1"},
        {"reduce_only": "yes"},
    ],
)
async def test_submit_when_the_body_is_wrong_then_400_and_nothing_is_asked(
    start: Start, change: dict[str, Any]
) -> None:
    """Unknown keys, numbers that are none, and owners that one cannot be."""
    web = await start()
    got = await web.code("POST", "/api/v1/orders", headers=CONTROL, json={**ORDER, **change})
    assert got == (400, "BAD_REQUEST")
    assert web.daemon.heard == []


@pytest.mark.parametrize("change", [{"quantity": "1e40"}, {"limit_price": "1e45"}, {"quantity": 1e-40}])
async def test_submit_when_a_number_is_out_of_bounds_then_400_names_it(
    start: Start, change: dict[str, Any]
) -> None:
    """What nobody can compute with never reaches the OMS."""
    web = await start()
    got = await web.code("POST", "/api/v1/orders", headers=CONTROL, json={**ORDER, **change})
    assert got == (400, "BAD_NUMBER")
    assert web.daemon.heard == []


@pytest.mark.parametrize(
    "settings",
    [{"tries": 2**70}, {"tries": -(2**70)}, {"deep": [{"a": 2**64}]}, {"deep": [[[[[[[[[[[[]]]]]]]]]]]]}],
)
async def test_submit_when_settings_fit_no_record_then_400_and_nothing_is_asked(
    start: Start, settings: dict[str, Any]
) -> None:
    """A wish that the journal could not write never becomes ingress."""
    web = await start()
    body = {**ORDER, "settings": settings}
    assert await web.code("POST", "/api/v1/orders", headers=CONTROL, json=body) == (400, "BAD_REQUEST")
    assert web.daemon.heard == []


async def test_submit_when_the_body_is_no_json_then_400(start: Start) -> None:
    """Half a request is no wish."""
    web = await start()
    options = {"headers": {**CONTROL, "Content-Type": "application/json"}, "data": b'{"symbol": "BTC'}
    assert await web.code("POST", "/api/v1/orders", **options) == (400, "BAD_REQUEST")


async def test_submit_when_nobody_knows_the_symbol_then_422_in_the_words_of_the_daemon(start: Start) -> None:
    """The refusal of a name is as good as one of risk."""
    web = await start()
    status, body = await web.call("POST", "/api/v1/orders", headers=CONTROL, json={**ORDER, "symbol": "X/Y"})
    assert (status, body["error"]) == (
        422,
        {"code": "UNKNOWN_INSTRUMENT", "text": "no feed carries 'X/Y'"},
    )


async def test_submit_when_risk_refuses_then_422_with_what_would_pass(start: Start) -> None:
    """Code, limit, used and what would pass: the caller needs no second look."""
    web = await start()
    web.daemon.reply = lambda wish: refusal(
        "RISK_MAX_ORDER_QTY", wish.req, limit="10", used="50", would_pass="10"
    )
    status, body = await web.call("POST", "/api/v1/orders", headers=CONTROL, json=ORDER)
    assert (status, body["error"]) == (
        422,
        {"code": "RISK_MAX_ORDER_QTY", "text": "no", "limit": "10", "used": "50", "would_pass": "10"},
    )


async def test_submit_when_the_oms_is_not_ready_then_503(start: Start) -> None:
    """The same wish may pass later: that is another kind of no."""
    web = await start()
    web.daemon.reply = lambda wish: refusal("NOT_READY", wish.req)
    assert await web.code("POST", "/api/v1/orders", headers=CONTROL, json=ORDER) == (503, "NOT_READY")


@pytest.mark.parametrize(("reason", "code"), [("full", "QUEUE_FULL"), ("down", "NOT_READY")])
async def test_submit_when_the_oms_cannot_take_it_then_503(start: Start, reason: str, code: str) -> None:
    """A full lane and a dead OMS answer at once, not by a time-out."""
    web = await start()
    web.daemon.reply = lambda wish: Rejected("oms", wish, reason)
    assert await web.code("POST", "/api/v1/orders", headers=CONTROL, json=ORDER) == (503, code)


async def test_submit_when_nobody_answers_then_504_says_that_the_outcome_is_in_doubt(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have become an order: the caller must look, or ask again with the same ref, which is named."""
    monkeypatch.setattr("tradefan.api.asking.ANSWER_TIMEOUT_S", 0.01)
    web = await start()
    status, body = await web.call("POST", "/api/v1/orders", headers=CONTROL, json=ORDER)
    (wish,) = web.daemon.heard
    assert (status, body["error"]["code"], body["error"]["ref"]) == (504, "IN_DOUBT", wish.ref)
    assert "tradefan status" in body["error"]["text"]
    web.daemon.link.apply(Answer(1, (ParentId("p1"),)))


async def test_body_when_it_never_comes_then_408(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow client gives its place back."""
    monkeypatch.setattr("tradefan.api.control.BODY_TIMEOUT_S", 0.01)
    web = await start()
    reader, writer = await asyncio.open_connection("127.0.0.1", web.port)
    head = "POST /api/v1/orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Authorization: Bearer {TOKEN}\r\nContent-Length: 50\r\n\r\n{{".encode())
    assert (await reader.readline()).startswith(b"HTTP/1.1 408")
    writer.close()
    await writer.wait_closed()


async def test_order_when_shown_or_cancelled_then_its_owner_cancels_it(start: Start) -> None:
    """A human may cancel whatever TradeFan made; the venue's word ends it."""
    web = await start()
    web.daemon.accept("p1")
    assert (await web.call("GET", "/api/v1/orders/p1", headers=CONTROL))[0] == 200
    status, _ = await web.call("POST", "/api/v1/orders/p1/cancel", headers=CONTROL, json={})
    assert (status, web.daemon.heard) == (202, [CancelParent(OwnerId("api"), ParentId("p1"), 1)])


async def test_order_when_unknown_then_404(start: Start) -> None:
    """To show and to cancel alike; nobody is asked."""
    web = await start()
    assert await web.code("GET", "/api/v1/orders/p9", headers=CONTROL) == (404, "UNKNOWN_ORDER")
    cancel = await web.code("POST", "/api/v1/orders/p9/cancel", headers=CONTROL, json={})
    assert (cancel, web.daemon.heard) == ((404, "UNKNOWN_ORDER"), [])


async def test_link_when_cancelled_then_requests_in_flight_end_and_the_port_is_free(start: Start) -> None:
    """A stop does not wait for those who ask."""
    web = await start()
    asking = asyncio.ensure_future(web.call("POST", "/api/v1/orders", headers=CONTROL, json=ORDER))
    while not web.daemon.heard:
        await asyncio.sleep(0)
    (serving,) = [task for task in asyncio.all_tasks() if "ApiLink.run" in repr(task)]
    serving.cancel()
    with pytest.raises((ServerDisconnectedError, OSError)):
        await asking
    with pytest.raises(asyncio.CancelledError):
        await serving
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", web.port)


# --- done once --------------------------------------------------------------------------------------------


async def test_call_when_it_has_a_key_then_the_oms_hears_it_with_who_asks(start: Start) -> None:
    """The key is the ref of an order that has none of its own; a key is a short text."""
    web = await start()
    web.daemon.accept("p1")
    keyed = {**CONTROL, "Idempotency-Key": "k1"}
    await web.call("POST", "/api/v1/orders", headers=keyed, json={**ORDER, "user": "alice"})
    await web.call("POST", "/api/v1/orders", headers=keyed, json={**ORDER, "ref": "mine"})
    await web.call("POST", "/api/v1/orders/p1/pause", headers=keyed, json={"owner": "cli", "user": "bob"})
    asked = [(one.principal, one.once, getattr(one.wish, "ref", None)) for one in web.daemon.asked]
    assert asked == [("api alice", "k1", "k1"), ("api", "k1", "mine"), ("cli bob", "k1", None)]
    for key in ("", "k" * 65, "\u00fc"):
        headers = {**CONTROL, "Idempotency-Key": key}
        assert await web.code("POST", "/api/v1/orders", headers=headers, json=ORDER) == (400, "BAD_KEY")
    assert len(web.daemon.asked) == 3


@pytest.mark.parametrize("code", ["KEY_REUSED", "REF_REUSED"])
async def test_call_when_key_or_ref_was_used_for_something_else_then_409(start: Start, code: str) -> None:
    """A conflict, not a refusal that a smaller order would pass."""
    web = await start()
    web.daemon.reply = lambda wish: refusal(code, wish.req)
    assert await web.code("POST", "/api/v1/orders", headers=CONTROL, json=ORDER) == (409, code)


async def test_submit_when_its_order_has_left_memory_then_410_names_it(start: Start) -> None:
    """It was taken once; that must not look as if it had not been."""
    web = await start()
    web.daemon.reply = lambda wish: Answer(wish.req, (ParentId("p9"),), True)
    status, body = await web.call("POST", "/api/v1/orders", headers=CONTROL, json=ORDER)
    assert (status, body["error"]["code"], body["error"]["parent_id"]) == (410, "ORDER_GONE", "p9")


async def test_flood_when_refused_then_told_when_to_come_again(start: Start) -> None:
    """An empty bucket has one again within a second."""
    web = await start(requests_per_second=1)
    await web.call("GET", "/status")
    async with web.session.get(f"http://127.0.0.1:{web.port}/status") as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (429, "1")


# --- plans ------------------------------------------------------------------------------------------------


async def test_plan_when_asked_then_exact_and_what_is_not_known_is_null(start: Start) -> None:
    """The same body as a submit, asked as a question; nobody is audited for asking."""
    web = await start()
    slices = (PlannedSlice(5, Decimal("0.250"), Decimal("0.25")), PlannedSlice(None, D2, Decimal("0.5")))
    web.daemon.reply = lambda wish: PlanAnswer(
        wish.req, 2, slices, 5, None, None, 1.5, "", None, ("volume_unknown",)
    )
    status, body = await web.call("POST", "/api/v1/orders/plan", headers=CONTROL, json=ORDER)
    assert (status, body) == (
        200,
        {
            "n": 2,
            "slices": [
                {"at_ns": 5, "quantity": "0.25", "target_qty": "0.25"},
                {"at_ns": None, "quantity": "0.00000001", "target_qty": "0.5"},
            ],
            "start_ns": 5,
            "end_ns": None,
            "expected_participation": None,
            "estimate_bps": 1.5,
            "source": None,
            "coverage": None,
            "flags": ["volume_unknown"],
        },
    )
    assert web.daemon.asked == []
    (question,) = web.daemon.heard
    assert isinstance(question, SubmitOrder)
    web.daemon.reply = lambda wish: refusal("BELOW_MIN_CLIP", wish.req, would_pass="order_qty 1")
    got = await web.call("POST", "/api/v1/orders/plan", headers=CONTROL, json=ORDER)
    assert (got[0], got[1]["error"]["would_pass"]) == (422, "order_qty 1")


# --- costs --------------------------------------------------------------------------------------------------


async def test_costs_when_asked_then_they_are_looked_up_beside_the_loop(start: Start) -> None:
    """One order, or all since then; the disk is read by another thread."""
    web = await start()
    asked: list[tuple[str, bool]] = []

    def look(parent_id: str) -> dict[str, Any]:
        asked.append((parent_id, threading.current_thread() is threading.main_thread()))
        return {"parent_id": parent_id, "is_bps": Decimal("12.50")}

    web.daemon.costs = look
    found = await web.call("GET", "/api/v1/orders/p1/tca", headers=CONTROL)
    assert (found, asked) == ((200, {"parent_id": "p1", "is_bps": "12.5"}), [("p1", False)])
    web.daemon.now = 10 * DAY
    found = await web.call("GET", "/api/v1/tca?since=7d", headers=CONTROL)
    assert found == (200, {"since_ns": 3 * DAY, "rows": []})
    assert (await web.call("GET", "/api/v1/tca", headers=CONTROL))[1]["since_ns"] == 3 * DAY


async def test_costs_when_they_cannot_be_had_then_the_answer_says_why(start: Start) -> None:
    """Nobody knows the order, no such time, a disk that fails, and no token."""
    web = await start()
    assert await web.code("GET", "/api/v1/orders/p9/tca", headers=CONTROL) == (404, "UNKNOWN_ORDER")
    assert await web.code("GET", "/api/v1/tca?since=soon", headers=CONTROL) == (422, "BAD_INSTANT")
    for since in ("200000d", "9999-12-31T23:59:59Z", "0001-01-01"):
        assert (await web.call("GET", f"/api/v1/tca?since={since}", headers=CONTROL))[0] == 422
    assert (await web.call("GET", "/api/v1/tca"))[0] == 401

    def fails(_: str) -> dict[str, Any]:
        raise Outage("the disk is away")

    web.daemon.costs = fails
    assert await web.code("GET", "/api/v1/orders/p1/tca", headers=CONTROL) == (503, "STORE_FAILING")
