"""The API link: HTTP requests become ingress for the OMS, its answers become responses.

Pictures (status, orders, metrics) are pulled between steps and change nothing; a control call is one
command with a request number, answered when its records are durable.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any, Literal, Protocol

import msgspec
import orjson
from aiohttp import web
from msgspec import Meta, Struct, field

from tradefan.api.guard import Guard, problem
from tradefan.errors import Refused
from tradefan.messages.base import Message
from tradefan.messages.control import Rejected
from tradefan.messages.orders import Answer, CancelParent, Refusal, SubmitOrder
from tradefan.messages.union import encode
from tradefan.units import AccountId, InstrumentId, OwnerId, ParentId, plain, require_number

ANSWER_TIMEOUT_S = 5.0
BODY_TIMEOUT_S = 5.0
IDLE_TIMEOUT_S = 15.0
"""A connection that asks nothing for so long is closed, and one that was opened and never asked."""
SHUTDOWN_TIMEOUT_S = 1.0
REF_MAX = 64
REASON_MAX = 200


class Pictures(Protocol):
    """What the daemon shows; every method is a bounded view that changes nothing."""

    def health(self) -> dict[str, Any]:
        """Return `{"status", "timestamp", "checks"}`; status is `ok` or `down`."""
        ...

    def ready(self) -> dict[str, Any]:
        """Return `{"ready": bool, "waiting": {name: why}}`."""
        ...

    def status(self) -> dict[str, Any]:
        """Return everything that one screen shows."""
        ...

    def orders(self) -> list[dict[str, Any]]:
        """Return the newest parents."""
        ...

    def order(self, parent_id: str) -> dict[str, Any] | None:
        """Return one parent with its children, None when it is not known."""
        ...

    def strategies(self) -> list[dict[str, Any]]:
        """Return the strategy instances."""
        ...

    def metrics(self) -> bytes:
        """Return the Prometheus exposition text."""
        ...

    def resolve(self, symbol: str, account: str | None) -> tuple[AccountId, InstrumentId]:
        """Return the account and instrument that a user's words name, or raise Refused."""
        ...


class LinkHandle(Protocol):
    """What this link calls on its driver."""

    def deliver_to(self, actor: str, msg: Message) -> None:
        """Hand ingress to a named actor."""
        ...

    def now_ns(self) -> int:
        """Return steady UTC."""
        ...


class OrderBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /api/v1/orders`."""

    symbol: str
    side: Literal["buy", "sell"]
    quantity: Decimal
    algo: str = "market"
    limit_price: Decimal | None = None
    account: str | None = None
    owner: Literal["api", "cli"] = "api"
    ref: Annotated[str, Meta(min_length=1, max_length=REF_MAX)] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    reason: Annotated[str, Meta(max_length=REASON_MAX)] = ""
    reduce_only: bool = False

    def mistake(self) -> str | None:
        """Return what no type can say: numbers that are none."""
        for name, value in (("quantity", self.quantity), ("limit_price", self.limit_price)):
            if value is not None and not (value.is_finite() and value > 0):
                return f"expected a {name} above zero, got {value}"
        return None

    def require_numbers(self) -> None:
        """Raise Refused (BAD_NUMBER) for what nobody can compute with."""
        require_number("quantity", self.quantity)
        if self.limit_price is not None:
            require_number("limit_price", self.limit_price)


class ApiSettings(Struct, frozen=True):
    """Where to listen and what to allow."""

    host: str
    port: int
    token: str
    requests_per_second: int
    connections_max: int
    body_max: int
    metrics: bool = True


class ApiLink:
    """One aiohttp server; `port` is the real one once it listens."""

    def __init__(
        self,
        handle: LinkHandle,
        settings: ApiSettings,
        pictures: Pictures,
        on_listening: Callable[[int], None],
    ) -> None:
        """Prepare; `run` listens."""
        self._handle = handle
        self._settings = settings
        self._pictures = pictures
        self._on_listening = on_listening
        self._guard = Guard(settings.token, settings.host, settings.requests_per_second, handle.now_ns)
        self._waiting: dict[int, asyncio.Future[Answer | Refusal]] = {}
        self._requests = 0

    def apply(self, effect: Message) -> None:
        """Give an answer of the OMS to the request that waits for it."""
        if isinstance(effect, Answer | Refusal) and effect.req is not None:
            waiting = self._waiting.pop(effect.req, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(effect)

    def rejected(self, rejected: Rejected) -> None:
        """Answer a request whose command found the OMS's lane full or the OMS down."""
        req = getattr(rejected.message, "req", None)
        if req is not None:
            text = f"the order management system is {rejected.reason}; try again"
            code = "QUEUE_FULL" if rejected.reason == "full" else "NOT_READY"
            self.apply(
                Refusal(
                    None, None, OwnerId("api"), "", code, text, None, None, None, self._handle.now_ns(), req
                )
            )

    async def run(self) -> None:
        """Serve until cancelled."""
        app = web.Application(middlewares=[self._guard.middleware], client_max_size=self._settings.body_max)
        app.add_routes(self._routes())
        runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            keepalive_timeout=IDLE_TIMEOUT_S,
            shutdown_timeout=SHUTDOWN_TIMEOUT_S,
        )
        await runner.setup()
        assert runner.server is not None
        listening = await self._listen(runner.server)
        try:
            self._on_listening(listening.sockets[0].getsockname()[1])
            await asyncio.Event().wait()
        finally:
            listening.close()
            for waiting in self._waiting.values():
                waiting.cancel()
            self._waiting.clear()
            await runner.cleanup()

    async def _listen(self, server: web.Server) -> asyncio.Server:
        """Listen; a connection beyond the limit is hung up on before it costs anything."""

        def accept() -> asyncio.Protocol:
            crowded = len(server.connections) >= self._settings.connections_max
            return _HangUp() if crowded else server()

        loop, settings = asyncio.get_running_loop(), self._settings
        return await loop.create_server(accept, settings.host, settings.port, reuse_address=True)

    def _routes(self) -> list[web.RouteDef]:
        pages = [("/health", self._health), ("/ready", self._ready), ("/status", self._status)]
        if self._settings.metrics:
            pages.append(("/metrics", self._metrics))
        return [
            *(web.get(path, page) for path, page in pages),
            web.get("/api/v1/orders", self._orders),
            web.post("/api/v1/orders", self._submit),
            web.get("/api/v1/orders/{parent_id}", self._order),
            web.post("/api/v1/orders/{parent_id}/cancel", self._cancel),
            web.get("/api/v1/strategies", self._strategies),
        ]

    # --- pictures -----------------------------------------------------------------------------------

    async def _health(self, _request: web.Request) -> web.Response:
        health = self._pictures.health()
        return _json(health, 200 if health["status"] == "ok" else 503)

    async def _ready(self, _request: web.Request) -> web.Response:
        ready = self._pictures.ready()
        return _json(ready, 200 if ready["ready"] else 503)

    async def _status(self, _request: web.Request) -> web.Response:
        return _json(self._pictures.status())

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(
            body=self._pictures.metrics(),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )

    async def _orders(self, _request: web.Request) -> web.Response:
        return _json({"orders": self._pictures.orders()})

    async def _strategies(self, _request: web.Request) -> web.Response:
        return _json({"strategies": self._pictures.strategies()})

    async def _order(self, request: web.Request) -> web.Response:
        return self._order_or_404(request.match_info["parent_id"])

    def _order_or_404(self, parent_id: str, status: int = 200) -> web.Response:
        order = self._pictures.order(parent_id)
        return _unknown_order(parent_id) if order is None else _json(order, status)

    # --- control ------------------------------------------------------------------------------------

    async def _submit(self, request: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                text = await request.read()
            body = msgspec.json.decode(text, type=OrderBody)
        except TimeoutError:
            return problem(408, "SLOW_REQUEST", f"expected the whole body within {BODY_TIMEOUT_S:g} s")
        except msgspec.MsgspecError as error:
            return problem(400, "BAD_REQUEST", str(error))
        if (mistake := body.mistake()) is not None:
            return problem(400, "BAD_REQUEST", mistake)
        try:
            body.require_numbers()
        except Refused as refused:
            return problem(400, refused.code, refused.text)
        try:
            account, instrument = self._pictures.resolve(body.symbol, body.account)
        except Refused as refused:
            return problem(422, refused.code, refused.text)
        req = self._next_req()
        wish = SubmitOrder(
            account=account,
            instrument=instrument,
            owner=OwnerId(body.owner),
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
        try:
            encode(wish)
        except (msgspec.MsgspecError, OverflowError, ValueError) as error:
            # What no record can hold (a setting beyond 64 bits, half a surrogate pair) stays outside.
            return problem(400, "BAD_REQUEST", f"expected values that a record can hold: {error}")
        return await self._ask(req, wish, 201)

    async def _cancel(self, request: web.Request) -> web.Response:
        parent_id = request.match_info["parent_id"]
        order = self._pictures.order(parent_id)
        if order is None:
            return _unknown_order(parent_id)
        req = self._next_req()
        return await self._ask(req, CancelParent(OwnerId(order["owner"]), ParentId(parent_id), req), 202)

    def _next_req(self) -> int:
        self._requests += 1
        return self._requests

    async def _ask(self, req: int, wish: Message, status: int) -> web.Response:
        answered: asyncio.Future[Answer | Refusal] = asyncio.get_running_loop().create_future()
        self._waiting[req] = answered
        self._handle.deliver_to("oms", wish)
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                answer = await answered
        except TimeoutError:
            return problem(504, "IN_DOUBT", "no answer in time; ask for the order before you try again")
        finally:
            self._waiting.pop(req, None)
        if isinstance(answer, Refusal):
            more = {"limit": answer.limit, "used": answer.used, "would_pass": answer.would_pass}
            status = 503 if answer.code in ("NOT_READY", "QUEUE_FULL", "RESTARTING") else 422
            return problem(status, answer.code, answer.text, **more)
        return self._order_or_404(answer.parent_ids[0], 200 if answer.known else status)


class _HangUp(asyncio.Protocol):
    """Ends a connection as soon as it is made."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


def _unknown_order(parent_id: str) -> web.Response:
    return problem(404, "UNKNOWN_ORDER", f"no order {parent_id[:64]!r} among those kept in memory")


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(
        body=orjson.dumps(value, default=_plain, option=orjson.OPT_INDENT_2),
        status=status,
        content_type="application/json",
    )


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return plain(value)
    return msgspec.to_builtins(value, str_keys=True)
