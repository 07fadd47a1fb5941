"""Control calls: each becomes one message to the order manager, answered when its records are durable.

All but a kill are audited there (`oms_audit`), and done once for each `Idempotency-Key`. A kill closes the
latch in the statement after it was understood, and only then tells the order manager (RELIABILITY.md 2b).
Its answer is never later than a second.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Any, Protocol

from aiohttp import web
from msgspec.structs import replace

from tradefan.api.answers import Assigned, Killed, Planned, Resolved, Resumed, Slice
from tradefan.api.asking import Asker
from tradefan.api.bodies import (
    REF_MAX,
    AmendBody,
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
from tradefan.messages.control import KillAnswer, KillSwitch
from tradefan.messages.orders import (
    AmendOrder,
    Answer,
    Asked,
    AskPlan,
    AssignPosition,
    Audited,
    CancelParent,
    PauseOrder,
    Refusal,
    ResolveOrder,
    ResumeOrder,
    ResumeTrading,
    SubmitOrder,
)
from tradefan.units import AccountId, InstrumentId, OwnerId, ParentId, parse_iso

BODY_TIMEOUT_S = 5.0
KILL_TIMEOUT_S = 0.8
"""The order manager acknowledges after 200 ms at the latest; `tradefan kill` waits one second for us."""
UNPERSISTED = "the order manager did not answer: the latch stays closed until this process ends"
KEY_HEADER = "Idempotency-Key"

JSON = dict[str, Any]


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

    def __init__(self, asker: Asker, names: Names, close_latch: Callable[[str, str], None]) -> None:
        """Prepare; `close_latch(scope, reason)` takes effect at once."""
        self._asker = asker
        self._names = names
        self._close_latch = close_latch

    # --- orders -------------------------------------------------------------------------------------

    async def submit(self, request: web.Request) -> tuple[ParentId, bool]:
        """Take a wish; return its parent, and whether it was known."""
        body = await _body(request, OrderBody)
        answer = await self._ask(request, body, self.wish_of(body, _key(request)))
        return answer.parent_ids[0], answer.known

    async def plan(self, request: web.Request) -> Planned:
        """Return how a wish would be worked; it creates nothing."""
        wish = self.wish_of(await _body(request, OrderBody))
        req = self._asker.next_req()
        found = await self._asker.plan(req, AskPlan(replace(wish, req=req)))
        return Planned(
            n=found.n,
            slices=[Slice(one.at_ns, one.quantity, one.target_qty) for one in found.slices],
            start_ns=found.start_ns,
            end_ns=found.end_ns,
            expected_participation=found.expected_participation,
            estimate_bps=found.estimate_bps,
            source=found.source or None,
            coverage=found.coverage,
            flags=list(found.flags),
        )

    def wish_of(self, body: OrderBody, key: str = "") -> SubmitOrder:
        """Return the wish of a body; without a ref of its own the key is one, else chance makes it.

        Raises:
            Problem: its words name no account or instrument.
        """
        account, instrument = self._resolve(body.symbol, body.account)
        return body.wish(account, instrument, body.ref or key or secrets.token_hex(8))

    async def cancel(self, request: web.Request, parent_id: ParentId) -> None:
        """Cancel a parent; the venue's word ends it."""
        body = await _body(request, Body)
        await self._ask(request, body, CancelParent(body.owner_id, parent_id))

    async def pause(self, request: web.Request, parent_id: ParentId) -> None:
        """Let a parent place nothing until it is resumed."""
        body = await _body(request, PauseBody)
        wish = PauseOrder(body.owner_id, parent_id, body.keep_children, body.keep_end)
        await self._ask(request, body, wish)

    async def amend(self, request: web.Request, parent_id: ParentId) -> None:
        """Let a parent at work become another order."""
        body = await _body(request, AmendBody)
        end_ns = None if body.end_at is None else parse_iso(body.end_at)
        qty, limit, level = body.quantity, body.limit_price, body.trigger_price
        wish = AmendOrder(body.owner_id, parent_id, qty, limit, end_ns, body.display, trigger_price=level)
        await self._ask(request, body, wish)

    async def go_on(self, request: web.Request, parent_id: ParentId) -> None:
        """Let a paused parent go on."""
        body = await _body(request, Body)
        await self._ask(request, body, ResumeOrder(body.owner_id, parent_id))

    async def resolve(self, request: web.Request) -> Resolved:
        """End a doubt, or set a poisoned fact free, on a human's word."""
        body, subject = await _body(request, ResolveBody), request.match_info["id"]
        wish = ResolveOrder(subject, body.verdict, body.reason, body.principal, body.owner_id)
        await self._ask(request, body, wish)
        return Resolved(subject=subject, verdict=body.verdict)

    async def assign(self, request: web.Request) -> Assigned:
        """Move a quantity between owners."""
        body = await _body(request, AssignBody)
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
        )
        await self._ask(request, body, wish)
        return Assigned(account=account, instrument=instrument, giver=body.giver, taker=body.taker)

    # --- kill and resume ----------------------------------------------------------------------------

    async def kill(self, request: web.Request) -> Killed:
        """Close the latch, then let the OMS persist it and cancel what rests in the scope."""
        body = await _body(request, KillBody)
        scope = self._scope(body)
        self._close_latch(scope, body.reason)
        req = self._asker.next_req()
        wish = KillSwitch(
            scope=scope,
            reason=body.reason,
            principal=body.principal,
            including_external=body.including_external,
            keep_protection=body.keep_protection,
            req=req,
        )
        answer = await self._asker.answer(req, wish, KILL_TIMEOUT_S)
        if isinstance(answer, KillAnswer):
            naked = list(answer.naked)
            return Killed(scope=scope, closed=answer.closed, persisted=answer.persisted, naked=naked)
        text = answer.text if isinstance(answer, Refusal) else UNPERSISTED
        return Killed(scope=scope, closed=True, persisted=False, naked=[], text=text)

    async def resume(self, request: web.Request) -> Resumed:
        """Open a scope again."""
        body = await _body(request, ResumeBody)
        scope = self._scope(body)
        await self._ask(request, body, ResumeTrading(scope, body.reason, body.principal, body.owner_id))
        return Resumed(scope=scope, resumed=True)

    # --- words and waiting --------------------------------------------------------------------------

    async def _ask(self, request: web.Request, body: Body, wish: Audited) -> Answer:
        """Return the OMS's consent to what a caller asks for."""
        key, req = _key(request), self._asker.next_req()
        return await self._asker.ask(req, Asked(replace(wish, req=req), body.principal, key))

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


def _key(request: web.Request) -> str:
    """Return the caller's idempotency key, empty without one.

    Raises:
        Problem: it is none.
    """
    key = request.headers.get(KEY_HEADER)
    if key is None:
        return ""
    if not (0 < len(key) <= REF_MAX and key.isascii() and key.isprintable()):
        text = f"expected a {KEY_HEADER} of 1 to {REF_MAX} printable ASCII characters, got {key[:80]!r}"
        raise Problem(400, "BAD_KEY", text)
    return key


async def _body(request: web.Request, kind: type[AnyBody]) -> AnyBody:
    """Return a body that came whole and in time.

    Raises:
        Problem: 408, 413 or 400 with what is wrong.
    """
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            text = await request.read()
    except TimeoutError as error:
        limit = f"expected the whole body within {BODY_TIMEOUT_S:g} s"
        raise Problem(408, "SLOW_REQUEST", limit) from error
    except web.HTTPRequestEntityTooLarge as error:
        raise Problem(413, "TOO_LARGE", f"expected a body within api.body_max: {error.text}") from error
    return read(text, kind)
