"""Control calls: each becomes one message to the order manager, answered when its records are durable.

A kill is different: it closes the latch in the statement after it was understood, and only then tells
the order manager (RELIABILITY.md 2b). Its answer is never later than a second.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import msgspec
from aiohttp import web

from tradefan.api.bodies import (
    AnyBody,
    AssignBody,
    Body,
    KillBody,
    OrderBody,
    PauseBody,
    ResolveBody,
    ResumeBody,
    read,
)
from tradefan.api.guard import Problem
from tradefan.errors import Refused
from tradefan.messages.base import Message
from tradefan.messages.control import KillAnswer, KillSwitch, Rejected
from tradefan.messages.orders import (
    Answer,
    AssignPosition,
    CancelParent,
    PauseOrder,
    Refusal,
    ResolveOrder,
    ResumeOrder,
    ResumeTrading,
    SubmitOrder,
)
from tradefan.messages.union import encode
from tradefan.units import AccountId, InstrumentId, OwnerId, ParentId

BODY_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 5.0
"""How long any request waits for the order manager, which may have died with it in hand."""
KILL_TIMEOUT_S = 0.8
"""The order manager acknowledges after 200 ms at the latest; `tradefan kill` waits one second for us."""
UNPERSISTED = "the order manager did not answer: the latch stays closed until this process ends"

Reply: TypeAlias = Answer | KillAnswer | Refusal
JSON: TypeAlias = dict[str, Any]


class LinkHandle(Protocol):
    """What these calls ask of the driver."""

    def deliver_to(self, actor: str, msg: Message) -> None:
        """Hand ingress to a named actor."""
        ...

    def now_ns(self) -> int:
        """Return steady UTC."""
        ...


class Names(Protocol):
    """How users' words become ids."""

    def resolve(self, symbol: str, account: str | None) -> tuple[AccountId, InstrumentId]:
        """Return the account and instrument that a user's words name, or raise Refused."""
        ...

    def scope(self, word: str) -> str:
        """Return the scope that a user's word names, or raise Refused."""
        ...

    def order(self, parent_id: str) -> JSON | None:
        """Return one parent with its children, None when it is not known."""
        ...


class Control:
    """Turns requests into messages and waits for their answers; nothing here changes a picture."""

    def __init__(self, handle: LinkHandle, names: Names, close_latch: Callable[[str, str], None]) -> None:
        """Prepare; `close_latch(scope, reason)` takes effect at once."""
        self._handle = handle
        self._names = names
        self._close_latch = close_latch
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._requests = 0

    # --- answers ------------------------------------------------------------------------------------

    def apply(self, effect: Message) -> None:
        """Give an answer of the OMS to the request that waits for it."""
        if isinstance(effect, Reply) and effect.req is not None:
            waiting = self._waiting.pop(effect.req, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(effect)

    def rejected(self, rejected: Rejected) -> None:
        """Answer a request whose command found the OMS's lane full or the OMS down."""
        req = getattr(rejected.message, "req", None)
        if req is not None:
            text = f"the order management system is {rejected.reason}; try again"
            code = "QUEUE_FULL" if rejected.reason == "full" else "NOT_READY"
            at_ns = self._handle.now_ns()
            self.apply(Refusal(None, None, OwnerId("api"), "", code, text, None, None, None, at_ns, req))

    def close(self) -> None:
        """End every request that waits."""
        for waiting in self._waiting.values():
            waiting.cancel()
        self._waiting.clear()

    # --- orders -------------------------------------------------------------------------------------

    async def submit(self, request: web.Request) -> tuple[ParentId, int]:
        """Take a wish; return its parent and the status of the answer."""
        body = await _body(request, OrderBody)
        account, instrument = self._resolve(body.symbol, body.account)
        req = self._next_req()
        wish = SubmitOrder(
            account=account,
            instrument=instrument,
            owner=body.owner_id,
            ref=body.ref or secrets.token_hex(8),
            side=body.side,
            order_qty=body.quantity,
            algo=body.algo,
            settings=body.settings,
            limit_price=body.limit_price,
            reason=body.reason,
            reduce_only=body.reduce_only,
            req=req,
        )
        answer = await self._ask(req, wish)
        return answer.parent_ids[0], 200 if answer.known else 201

    async def cancel(self, order: JSON) -> None:
        """Cancel a parent for its owner; the venue's word ends it."""
        req = self._next_req()
        await self._ask(req, CancelParent(OwnerId(order["owner"]), ParentId(order["parent_id"]), req))

    async def pause(self, request: web.Request, order: JSON) -> None:
        """Let a parent place nothing until it is resumed."""
        body, req = await _body(request, PauseBody), self._next_req()
        owner, parent_id = OwnerId(order["owner"]), ParentId(order["parent_id"])
        await self._ask(req, PauseOrder(owner, parent_id, body.keep_children, body.keep_end, req))

    async def go_on(self, request: web.Request, order: JSON) -> None:
        """Let a paused parent go on."""
        await _body(request, Body)
        req = self._next_req()
        await self._ask(req, ResumeOrder(OwnerId(order["owner"]), ParentId(order["parent_id"]), req))

    async def resolve(self, request: web.Request) -> JSON:
        """End a doubt, or set a poisoned fact free, on a human's word."""
        body, req, subject = await _body(request, ResolveBody), self._next_req(), request.match_info["id"]
        wish = ResolveOrder(subject, body.verdict, body.reason, body.principal, body.owner_id, req)
        await self._ask(req, wish)
        return {"subject": subject, "verdict": body.verdict}

    async def assign(self, request: web.Request) -> JSON:
        """Move a quantity between owners."""
        body, req = await _body(request, AssignBody), self._next_req()
        account, instrument = self._resolve(body.symbol, body.account)
        wish = AssignPosition(
            account=account,
            instrument=instrument,
            giver=OwnerId(body.giver),
            taker=OwnerId(body.taker),
            qty=body.quantity,
            price=body.price,
            principal=body.principal,
            owner=body.owner_id,
            req=req,
        )
        await self._ask(req, wish)
        return {"account": account, "instrument": instrument, "from": body.giver, "to": body.taker}

    # --- kill and resume ----------------------------------------------------------------------------

    async def kill(self, request: web.Request) -> JSON:
        """Close the latch, then let the OMS persist it and cancel what rests in the scope."""
        body = await _body(request, KillBody)
        scope = self._scope(body)
        self._close_latch(scope, body.reason)
        req = self._next_req()
        wish = KillSwitch(
            scope=scope,
            reason=body.reason,
            principal=body.principal,
            including_external=body.including_external,
            keep_protection=body.keep_protection,
            req=req,
        )
        answer = await self._answer(req, wish, KILL_TIMEOUT_S)
        if isinstance(answer, KillAnswer):
            return {
                "scope": scope,
                "closed": answer.closed,
                "persisted": answer.persisted,
                "naked": answer.naked,
                "text": None,
            }
        text = answer.text if isinstance(answer, Refusal) else UNPERSISTED
        return {"scope": scope, "closed": True, "persisted": False, "naked": [], "text": text}

    async def resume(self, request: web.Request) -> JSON:
        """Open a scope again."""
        body, req = await _body(request, ResumeBody), self._next_req()
        scope = self._scope(body)
        await self._ask(req, ResumeTrading(scope, body.reason, body.principal, body.owner_id, req))
        return {"scope": scope, "resumed": True}

    # --- words and waiting --------------------------------------------------------------------------

    def _resolve(self, symbol: str, account: str | None) -> tuple[AccountId, InstrumentId]:
        try:
            return self._names.resolve(symbol, account)
        except Refused as refused:
            raise Problem(422, refused.code, refused.text) from refused

    def _scope(self, body: KillBody | ResumeBody) -> str:
        try:
            return self._names.scope(body.scope)
        except Refused as refused:
            raise Problem(422, refused.code, refused.text) from refused

    def _next_req(self) -> int:
        self._requests += 1
        return self._requests

    async def _ask(self, req: int, wish: Message) -> Answer:
        """Return the OMS's consent.

        Raises:
            Problem: the OMS refused, or nobody knows what became of the wish.
        """
        answer = await self._answer(req, wish, ANSWER_TIMEOUT_S)
        if isinstance(answer, Answer):
            return answer
        if isinstance(answer, Refusal):
            raise _refused(answer)
        text = "no answer in time, its outcome is unknown: look (tradefan status) before you try again"
        raise Problem(504, "IN_DOUBT", text, req=req, **_once(wish))

    async def _answer(self, req: int, wish: Message, timeout_s: float) -> Reply | None:
        """Hand a message to the OMS and wait for its answer; None when it is silent for too long."""
        try:
            encode(wish)
        except (msgspec.MsgspecError, OverflowError, ValueError) as error:
            # What no record can hold (a setting beyond 64 bits, half a surrogate pair) stays outside.
            text = f"expected values that a record can hold: {error}"
            raise Problem(400, "BAD_REQUEST", text) from error
        answered: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[req] = answered
        self._handle.deliver_to("oms", wish)
        try:
            async with asyncio.timeout(timeout_s):
                return await answered
        except TimeoutError:
            return None
        finally:
            self._waiting.pop(req, None)


def _once(wish: Message) -> dict[str, str]:
    """Name the ref of an order whose outcome is unknown: sent again with it, it is taken once."""
    return {"ref": wish.ref} if isinstance(wish, SubmitOrder) else {}


def _refused(answer: Refusal) -> Problem:
    more = {"limit": answer.limit, "used": answer.used, "would_pass": answer.would_pass}
    status = 503 if answer.code in ("NOT_READY", "QUEUE_FULL", "RESTARTING") else 422
    return Problem(status, answer.code, answer.text, **more)


async def _body(request: web.Request, kind: type[AnyBody]) -> AnyBody:
    """Return a body that came whole and in time.

    Raises:
        Problem: 408 or 400 with what is wrong.
    """
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            text = await request.read()
    except TimeoutError as error:
        limit = f"expected the whole body within {BODY_TIMEOUT_S:g} s"
        raise Problem(408, "SLOW_REQUEST", limit) from error
    return read(text, kind)
