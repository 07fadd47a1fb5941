"""The API link: HTTP requests become ingress for the OMS, its answers become responses.

Pictures (status, orders, metrics) are pulled between steps and change nothing; a control call is one
message with a request number (`api/control.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any, Protocol

import msgspec
import orjson
from aiohttp import web
from msgspec import Struct

from tradefan.api.control import Control, LinkHandle, Names
from tradefan.api.guard import KILL, Guard, Handler, problem
from tradefan.messages.base import Message
from tradefan.messages.control import Rejected
from tradefan.units import plain

IDLE_TIMEOUT_S = 15.0
"""A connection that asks nothing for so long is closed, and one that was opened and never asked."""
SHUTDOWN_TIMEOUT_S = 1.0


class Pictures(Names, Protocol):
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

    def orders(self) -> dict[str, Any]:
        """Return `{"orders", "more_open", "more_done"}`: parents, and how many are left out."""
        ...

    def strategies(self) -> list[dict[str, Any]]:
        """Return the strategy instances."""
        ...

    def metrics(self) -> bytes:
        """Return the Prometheus exposition text."""
        ...


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
        close_latch: Callable[[str, str], None],
    ) -> None:
        """Prepare; `run` listens."""
        self._settings = settings
        self._pictures = pictures
        self._on_listening = on_listening
        self._guard = Guard(settings.token, settings.host, settings.requests_per_second, handle.now_ns)
        self._control = Control(handle, pictures, close_latch)

    def apply(self, effect: Message) -> None:
        """Give an answer of the OMS to the request that waits for it."""
        self._control.apply(effect)

    def rejected(self, rejected: Rejected) -> None:
        """Answer a request whose command found the OMS's lane full or the OMS down."""
        self._control.rejected(rejected)

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
            self._control.close()
            await runner.cleanup()

    async def _listen(self, server: web.Server) -> asyncio.Server:
        """Listen; a connection beyond the limit is heard only if it brings a kill."""
        spare, limit = self._guard.spare, self._settings.connections_max

        def accept() -> asyncio.Protocol:
            crowded = len(server.connections) >= limit
            return spare.add(server()) if crowded else server()

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
            web.post("/api/v1/orders/{parent_id}/cancel", self._of_order(self._cancelled)),
            web.post("/api/v1/orders/{parent_id}/pause", self._of_order(self._control.pause)),
            web.post("/api/v1/orders/{parent_id}/resume", self._of_order(self._control.go_on)),
            web.post("/api/v1/orders/{id}/resolve", self._done(self._control.resolve)),
            web.post("/api/v1/positions/assign", self._done(self._control.assign)),
            web.post(KILL, self._done(self._control.kill)),
            web.post("/api/v1/resume", self._done(self._control.resume)),
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
        return _json(self._pictures.orders())

    async def _strategies(self, _request: web.Request) -> web.Response:
        return _json({"strategies": self._pictures.strategies()})

    async def _order(self, request: web.Request) -> web.Response:
        return self._order_or_404(request.match_info["parent_id"])

    def _order_or_404(self, parent_id: str, status: int = 200) -> web.Response:
        order = self._pictures.order(parent_id)
        return _unknown_order(parent_id) if order is None else _json(order, status)

    # --- control ------------------------------------------------------------------------------------

    async def _submit(self, request: web.Request) -> web.Response:
        return self._order_or_404(*await self._control.submit(request))

    async def _cancelled(self, _request: web.Request, order: dict[str, Any]) -> None:
        await self._control.cancel(order)

    def _of_order(self, call: Callable[[web.Request, dict[str, Any]], Awaitable[None]]) -> Handler:
        """Return the handler of a wish about a known order; it answers with the order as it is then."""

        async def handle(request: web.Request) -> web.Response:
            parent_id = request.match_info["parent_id"]
            order = self._pictures.order(parent_id)
            if order is None:
                return _unknown_order(parent_id)
            await call(request, order)
            return self._order_or_404(parent_id, 202)

        return handle

    @staticmethod
    def _done(call: Callable[[web.Request], Awaitable[dict[str, Any]]]) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            return _json(await call(request))

        return handle


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
