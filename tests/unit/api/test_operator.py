"""What an operator says over HTTP: kill before everything else, resume, resolve, assign."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import ServerDisconnectedError
from yarl import URL

from tests.unit.api.bench import BTC, CONTROL, MAIN, ORDER, Start, Web, refusal
from tradefan import client, commands
from tradefan.api import asking, control
from tradefan.api.guard import SPARE_MAX
from tradefan.messages.control import KillAnswer, KillSwitch
from tradefan.messages.orders import Answer, AssignPosition, ResolveOrder, ResumeTrading
from tradefan.units import OwnerId

KILL = "/api/v1/kill"


def persist(web: Web, *naked: str) -> None:
    """Let the OMS acknowledge every kill as durable."""
    web.daemon.reply = lambda msg: KillAnswer(msg.req, msg.scope, closed=True, persisted=True, naked=naked)


# --- kill -----------------------------------------------------------------------------------------------


async def test_kill_when_asked_then_the_latch_is_closed_before_the_oms_hears_of_it(start: Start) -> None:
    """Nothing that the OMS does or fails to do may come before the latch (RK-06)."""
    web = await start()
    closed_before: list[Any] = []

    def reply(msg: Any) -> KillAnswer:
        closed_before.extend(web.daemon.closed)
        return KillAnswer(msg.req, msg.scope, closed=True, persisted=True, naked=("paper:main BTC",))

    web.daemon.reply = reply
    body = {
        "scope": "BTC/USDT",
        "reason": "a test",
        "owner": "cli",
        "user": "alice",
        "keep_protection": True,
        "including_external": True,
    }
    status, answer = await web.call("POST", KILL, headers=CONTROL, json=body)
    assert closed_before == [(BTC, "a test")]
    assert web.daemon.heard == [KillSwitch(BTC, "a test", "cli alice", True, True, 1)]
    assert (status, answer) == (
        200,
        {"scope": BTC, "closed": True, "persisted": True, "naked": ["paper:main BTC"], "text": None},
    )


async def test_kill_when_nothing_is_said_then_everything_is_meant(start: Start) -> None:
    """In a hurry the path alone is enough."""
    web = await start()
    persist(web)
    headers = {**CONTROL, "Content-Type": "application/json"}
    status, answer = await web.call("POST", KILL, headers=headers)
    assert (status, answer["scope"], web.daemon.closed) == (200, "all", [("all", "")])
    assert web.daemon.heard == [KillSwitch("all", "", "api", req=1)]


async def test_kill_when_the_oms_is_silent_then_closed_and_not_persisted(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The latch holds without the OMS; that no disk knows of it is said."""
    monkeypatch.setattr("tradefan.api.control.KILL_TIMEOUT_S", 0.01)
    web = await start()
    status, answer = await web.call("POST", KILL, headers=CONTROL, json={})
    assert (status, answer["closed"], answer["persisted"]) == (200, True, False)
    assert "until this process ends" in answer["text"]
    web.daemon.link.apply(KillAnswer(1, "all", closed=True, persisted=True))


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"scope": "paper:mian"}, 422, "UNKNOWN_SCOPE"),
        ({"scop": "all"}, 400, "BAD_REQUEST"),
        ({"scope": ""}, 400, "BAD_REQUEST"),
        ({"keep_protection": "yes"}, 400, "BAD_REQUEST"),
    ],
)
async def test_kill_when_it_is_not_understood_then_refused_and_nothing_is_closed(
    start: Start, body: dict[str, Any], status: int, code: str
) -> None:
    """A misspelt scope must be said again, not taken for another one."""
    web = await start()
    assert await web.code("POST", KILL, headers=CONTROL, json=body) == (status, code)
    assert (web.daemon.closed, web.daemon.heard) == ([], [])


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (b'{"reason": "%s"}' % (b"x" * 500), "x" * 199 + "…"),
        (b'{"reason": "st\xf6rung"}', "st\ufffdrung"),
        (b'{"reason": "two\nlines"}', "two\nlines"),
        (b'{"reason": "st\\udcf6rung", "user": "%s"}' % (b"u" * 101), "st?rung"),
    ],
)
async def test_kill_when_its_reason_is_long_or_no_text_then_it_is_taken_all_the_same(
    start: Start, words: bytes, kept: str
) -> None:
    """A kill never fails because of its words; what a record cannot hold is cut or replaced."""
    web = await start()
    persist(web)
    headers = {**CONTROL, "Content-Type": "application/json"}
    status, answer = await web.call("POST", KILL, headers=headers, data=words)
    assert (status, answer["closed"], web.daemon.closed) == (200, True, [("all", kept)])
    (wish,) = web.daemon.heard
    assert wish.reason == kept
    assert len(wish.principal) <= len("api ") + 100


async def test_kill_when_the_token_is_missing_then_401_and_nothing_is_closed(start: Start) -> None:
    """Who may not trade may not kill either."""
    web = await start()
    assert await web.code("POST", KILL, json={}) == (401, "NO_TOKEN")
    assert web.daemon.closed == []


async def test_kill_when_the_owner_has_spent_his_requests_then_it_still_passes(start: Start) -> None:
    """Its slot is its own (SE-16)."""
    web = await start(requests_per_second=2)
    persist(web)
    for _ in range(2):
        await web.call("GET", "/api/v1/orders", headers=CONTROL)
    assert await web.code("GET", "/api/v1/orders", headers=CONTROL) == (429, "RATE_LIMIT")
    for _ in range(5):
        assert (await web.call("POST", KILL, headers=CONTROL, json={}))[0] == 200


@pytest.mark.parametrize("silent", [2, 2 + SPARE_MAX, 20])
async def test_kill_when_all_connections_are_taken_then_it_still_passes(start: Start, silent: int) -> None:
    """Beyond the limit a few are heard, the newest first, and only a kill is answered there."""
    web = await start(connections_max=2)
    persist(web)
    silence = []
    for _ in range(silent):
        silence.append(await asyncio.open_connection("127.0.0.1", web.port))
        await asyncio.sleep(0)
    with pytest.raises((ServerDisconnectedError, OSError)):
        await web.call("POST", "/api/v1/orders", headers=CONTROL, json=ORDER)
    assert (await web.call("POST", KILL, headers=CONTROL, json={}))[0] == 200
    assert [type(msg) for msg in web.daemon.heard] == [KillSwitch]
    for _, writer in silence:
        writer.close()
    await asyncio.gather(*(writer.wait_closed() for _, writer in silence), return_exceptions=True)


# --- what waits for a human -------------------------------------------------------------------------------


async def test_resume_when_given_a_reason_then_the_oms_hears_who_wants_it(start: Start) -> None:
    """Only the OMS opens, and only when its record is durable."""
    web = await start()
    web.daemon.reply = lambda wish: Answer(wish.req, ())
    body = {"scope": "paper:main", "reason": "checked", "owner": "cli", "user": "bob"}
    status, answer = await web.call("POST", "/api/v1/resume", headers=CONTROL, json=body)
    assert (status, answer) == (200, {"scope": "paper:main", "resumed": True})
    assert web.daemon.heard == [ResumeTrading("paper:main", "checked", "cli bob", OwnerId("cli"), 1)]


@pytest.mark.parametrize("body", [{}, {"reason": ""}, {"reason": "x" * 201}])
async def test_resume_when_no_reason_is_given_then_400(start: Start, body: dict[str, str]) -> None:
    """Whoever opens a latch says why."""
    web = await start()
    assert await web.code("POST", "/api/v1/resume", headers=CONTROL, json=body) == (400, "BAD_REQUEST")
    assert web.daemon.heard == []


@pytest.mark.parametrize(
    ("path", "subject"),
    [
        ("c1", "c1"),
        ("fill%20paper%3Amain%20binance%3ABTC%2FUSDT%2017", "fill paper:main binance:BTC/USDT 17"),
    ],
)
async def test_resolve_when_an_order_or_a_fact_is_named_then_the_oms_hears_it_whole(
    start: Start, path: str, subject: str
) -> None:
    """The key of a poisoned fact holds spaces and slashes."""
    web = await start()
    web.daemon.reply = lambda wish: Answer(wish.req, ())
    body = {"verdict": "DROP", "reason": "seen", "user": "eve"}
    where = URL(f"http://127.0.0.1:{web.port}/api/v1/orders/{path}/resolve", encoded=True)
    async with web.session.post(where, headers=CONTROL, json=body) as got:
        status, answer = got.status, await got.json()
    assert (status, answer) == (200, {"subject": subject, "verdict": "DROP"})
    assert web.daemon.heard == [ResolveOrder(subject, "DROP", "seen", "api eve", OwnerId("api"), 1)]


async def test_resolve_when_the_oms_refuses_then_422_in_its_words(start: Start) -> None:
    """A doubt that is none, or an order that nobody knows."""
    web = await start()
    web.daemon.reply = lambda wish: refusal("NOT_IN_DOUBT", wish.req)
    body = {"verdict": "PLACED", "reason": "seen"}
    got = await web.code("POST", "/api/v1/orders/c1/resolve", headers=CONTROL, json=body)
    assert got == (422, "NOT_IN_DOUBT")
    body["verdict"] = "MAYBE"
    got = await web.code("POST", "/api/v1/orders/c1/resolve", headers=CONTROL, json=body)
    assert got == (400, "BAD_REQUEST")


async def test_assign_when_owners_and_price_are_named_then_the_oms_hears_them(start: Start) -> None:
    """From `external` unless another giver is named."""
    web = await start()
    web.daemon.reply = lambda wish: Answer(wish.req, ())
    body = {"symbol": "BTC/USDT", "quantity": "0.5", "to": "trend", "price": "61000.5", "owner": "cli"}
    status, answer = await web.call("POST", "/api/v1/positions/assign", headers=CONTROL, json=body)
    assert (status, answer) == (
        200,
        {"account": MAIN, "instrument": BTC, "from": "external", "to": "trend"},
    )
    assert web.daemon.heard == [
        AssignPosition(
            account=MAIN,
            instrument=BTC,
            giver=OwnerId("external"),
            taker=OwnerId("trend"),
            qty=Decimal("0.5"),
            price=Decimal("61000.5"),
            principal="cli",
            owner=OwnerId("cli"),
            req=1,
        )
    ]


@pytest.mark.parametrize("change", [{"quantity": "0"}, {"quantity": "-1"}, {"price": "NaN"}, {"to": ""}])
async def test_assign_when_a_number_is_none_then_400(start: Start, change: dict[str, str]) -> None:
    """Nothing reaches the OMS."""
    web = await start()
    body = {"symbol": "BTC/USDT", "quantity": "0.5", "to": "trend", **change}
    got = await web.code("POST", "/api/v1/positions/assign", headers=CONTROL, json=body)
    assert got == (400, "BAD_REQUEST")
    assert web.daemon.heard == []


NESTED = b"[" * 1_500
ORDERED = b'{"symbol": "x", "side": "buy", "quantity": 1, %s}'
ONE_OF = "quantity, notional: expected exactly one of them"


@pytest.mark.parametrize(
    ("path", "body", "text"),
    [
        ("resume", b'{"reason": ""}', "reason: expected a text of length >= 1, got ''"),
        ("resume", b'{"reason": 5}', "reason: expected `str`, got 5"),
        ("resume", b"{}", "reason: expected a value, the key is missing"),
        ("resume", b'{"resaon": "x"}', "'resaon': expected a key that exists; did you mean 'reason'?"),
        ("resume", b'{"reason": "", x', "reason: expected a text of length >= 1"),
        ("resume", b"{", "expected an object in JSON: Input data was truncated"),
        ("resume", b"[]", "Expected `object`, got `array`"),
        ("kill", b"{", "expected an object in JSON: Expecting property name"),
        ("kill", b'{"reason": ' + NESTED, "expected an object in JSON, nested less deeply"),
        ("resume", b'{"reason": ' + NESTED, "reason: expected `str`"),
        ("orders", b'{"settings": {"a": ' + NESTED, "expected an object in JSON, nested less deeply"),
        ("orders", ORDERED % b'"limit_price": "-1"', "limit_price: expected a number above zero, got -1"),
        ("orders", b'{"symbol": "x", "side": "buy"}', f"{ONE_OF}, got neither"),
        ("orders", ORDERED % b'"notional": 5', f"{ONE_OF}, got both"),
        (
            "orders",
            b'{"symbol": "x", "side": "buy", "notional": 5, "settings": {"notional": 6}}',
            "notional: is given in settings, too; expected one of them",
        ),
        (
            "orders/p1/amend",
            b'{"end_at": "2026"}',
            "end_at: expected an instant such as 2026-01-31T12:00:00Z",
        ),
        ("kill", b'{"scope": ""}', "scope: expected a text of length >= 1, got ''"),
        ("kill", b'{"keep_protection": "yes"}', "keep_protection: expected `bool`, got 'yes'"),
        (
            "orders/c1/resolve",
            b'{"verdict": "MAYBE", "reason": "x"}',
            "verdict: expected one of PLACED, NOT_PLACED, RETRY, DROP, got 'MAYBE'",
        ),
        (
            "positions/assign",
            b'{"symbol": "BTC/USDT", "quantity": "many", "to": "x"}',
            "quantity: expected a number, got 'many'",
        ),
        (
            "orders//resolve",
            b"{}",
            "expected a method and path of this API, got POST '/api/v1/orders//resolve'",
        ),
    ],
)
async def test_request_when_it_is_wrong_then_the_key_the_value_and_what_was_expected_are_named(
    start: Start, path: str, body: bytes, text: str
) -> None:
    """One reads it and knows what to say in its place."""
    web = await start()
    web.daemon.known["p1"] = {"parent_id": "p1", "owner": "api"}
    headers = {**CONTROL, "Content-Type": "application/json"}
    status, answer = await web.call("POST", f"/api/v1/{path}", headers=headers, data=body)
    assert status in (400, 404)
    assert answer["error"]["text"].startswith(text)


# --- an order manager that dies with a request in hand ------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/orders", ORDER),
        ("/api/v1/orders/p1/cancel", {}),
        ("/api/v1/orders/c1/resolve", {"verdict": "PLACED", "reason": "seen"}),
        ("/api/v1/positions/assign", {"symbol": "BTC/USDT", "quantity": "0.5", "to": "trend"}),
        ("/api/v1/resume", {"reason": "seen"}),
    ],
)
async def test_request_when_the_oms_dies_with_it_in_hand_then_its_outcome_is_said_to_be_unknown(
    start: Start, monkeypatch: pytest.MonkeyPatch, path: str, body: dict[str, Any]
) -> None:
    """Nobody is left who could answer: what the request did may or may not be in the journal."""
    monkeypatch.setattr("tradefan.api.asking.ANSWER_TIMEOUT_S", 0.01)
    web = await start()
    web.daemon.known["p1"] = {"parent_id": "p1", "owner": "api"}
    status, answer = await web.call("POST", path, headers=CONTROL, json=body)
    assert (status, answer["error"]["code"], answer["error"]["req"]) == (504, "IN_DOUBT", 1)
    assert "unknown" in answer["error"]["text"]
    assert "tradefan status" in answer["error"]["text"]
    assert len(web.daemon.heard) == 1


def test_request_when_nobody_answers_then_the_command_line_waits_longer_than_the_api() -> None:
    """Else it would say "not running" of a daemon that knows better."""
    assert commands.KILL_TIMEOUT_S > control.KILL_TIMEOUT_S
    assert client.TIMEOUT_S >= control.BODY_TIMEOUT_S + asking.ANSWER_TIMEOUT_S
