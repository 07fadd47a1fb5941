"""The API link: HTTP requests become ingress for the OMS, its answers become responses.

Pictures (status, orders, metrics) are pulled between steps and change nothing; a control call is one
message with a request number (`api/control.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from functools import partial
from typing import Any, Protocol, TypeVar, get_args

import msgspec
import orjson
from aiohttp import web
from msgspec import Struct

from tradefan.api.answers import Plugins, PluginShown
from tradefan.api.asking import Asker
from tradefan.api.control import Control, LinkHandle, Names
from tradefan.api.guard import Guard, Handler, Problem, problem
from tradefan.api.openapi import document
from tradefan.api.routes import ROUTES
from tradefan.contracts import Kind, Plugin, plugins
from tradefan.errors import Outage, Refused
from tradefan.messages.base import Message
from tradefan.messages.control import Rejected
from tradefan.units import ParentId, plain, since_ns

IDLE_TIMEOUT_S = 15.0
"""A connection that asks nothing for so long is closed, and one that was opened and never asked."""
SHUTDOWN_TIMEOUT_S = 1.0
DEFAULT_SINCE = "7d"
T = TypeVar("T")


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

    def tca(self, parent_id: str) -> Callable[[], dict[str, Any] | None]:
        """Return who looks up the costs of one parent, in a thread; it may raise Outage or Refused."""
        ...

    def tcas(self, since_ns: int) -> Callable[[], dict[str, Any]]:
        """Return who looks up the costs of all that ended since then, likewise."""
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
        asker: Asker | None = None,
    ) -> None:
        """Prepare; `run` listens. `asker` is who asks beside the requests, else it has one of its own."""
        self._handle = handle
        self._settings = settings
        self._pictures = pictures
        self._on_listening = on_listening
        self._guard = Guard(settings.token, settings.host, settings.requests_per_second, handle.now_ns)
        self._asker = asker or Asker(partial(handle.deliver_to, "oms"), handle.now_ns)
        self._control = Control(self._asker, pictures, close_latch)
        self._app = web.Application(middlewares=[self._guard.middleware], client_max_size=settings.body_max)
        self._app.add_routes(self._routes())

    def apply(self, effect: Message) -> None:
        """Give an answer of the OMS to the request that waits for it."""
        self._asker.apply(effect)

    def rejected(self, rejected: Rejected) -> None:
        """Answer a request whose command found the OMS's lane full or the OMS down."""
        self._asker.rejected(rejected)

    async def run(self) -> None:
        """Serve until cancelled."""
        runner = web.AppRunner(
            self._app,
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
            self._asker.close()
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
        """Return the handlers of the table's routes (`api/routes.py`)."""
        control = self._control
        handlers: dict[str, Handler] = {
            "health": self._health,
            "ready": self._ready,
            "status": self._status,
            "metrics": self._metrics,
            "orders": self._orders,
            "submit": self._submit,
            "plan": self._done(control.plan),
            "order": self._order,
            "tca": self._tca,
            "tcas": self._tcas,
            "cancel": self._of_order(control.cancel),
            "pause": self._of_order(control.pause),
            "resume": self._of_order(control.go_on),
            "amend": self._of_order(control.amend),
            "resolve": self._done(control.resolve),
            "assign": self._done(control.assign),
            "kill": self._done(control.kill),
            "open_scope": self._done(control.resume),
            "strategies": self._strategies,
            "plugins": self._plugins,
            "openapi": self._openapi,
        }
        shown = [route for route in ROUTES if route.name != "metrics" or self._settings.metrics]
        return [web.route(route.method, route.path, handlers[route.name]) for route in shown]

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

    async def _plugins(self, _request: web.Request) -> web.Response:
        shown = [_shown(plugin) for kind in get_args(Kind) for plugin in plugins(kind)]
        return _json(_builtins(Plugins(plugins=shown)))

    async def _openapi(self, _request: web.Request) -> web.Response:
        return _json(document())

    async def _order(self, request: web.Request) -> web.Response:
        return self._order_or_404(request.match_info["parent_id"])

    async def _tca(self, request: web.Request) -> web.Response:
        parent_id = request.match_info["parent_id"]
        found = await self._looked_up(self._pictures.tca(parent_id))
        return _unknown_order(parent_id, "stored") if found is None else _json(found)

    async def _tcas(self, request: web.Request) -> web.Response:
        text = request.query.get("since", DEFAULT_SINCE)
        try:
            from_ns = since_ns(text, self._handle.now_ns())
        except Refused as error:
            raise Problem(422, error.code, f"since: {error.text}") from error
        return _json(await self._looked_up(self._pictures.tcas(from_ns)))

    @staticmethod
    async def _looked_up(look: Callable[[], T]) -> T:
        """Return what a thread reads from the disk, which must not hold up the loop."""
        try:
            return await asyncio.to_thread(look)
        except (Outage, Refused) as error:
            raise Problem(503, "STORE_FAILING", str(error)) from error

    def _order_or_404(self, parent_id: str, status: int = 200) -> web.Response:
        order = self._pictures.order(parent_id)
        return _unknown_order(parent_id) if order is None else _json(order, status)

    # --- control ------------------------------------------------------------------------------------

    async def _submit(self, request: web.Request) -> web.Response:
        parent_id, known = await self._control.submit(request)
        order = self._pictures.order(parent_id)
        if order is not None:
            return _json(order, 200 if known else 201)
        text = f"it was taken as {parent_id}, which has ended and left memory"
        return problem(410, "ORDER_GONE", text, parent_id=parent_id)

    def _of_order(self, call: Callable[[web.Request, ParentId], Awaitable[None]]) -> Handler:
        """Return the handler of a wish about a known order; it answers with the order as it is then."""

        async def handle(request: web.Request) -> web.Response:
            parent_id = ParentId(request.match_info["parent_id"])
            if self._pictures.order(parent_id) is None:
                return _unknown_order(parent_id)
            await call(request, parent_id)
            return self._order_or_404(parent_id, 202)

        return handle

    @staticmethod
    def _done(call: Callable[[web.Request], Awaitable[Struct]]) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            return _json(_builtins(await call(request)))

        return handle


def _unknown_order(parent_id: str, where: str = "kept in memory") -> web.Response:
    return problem(404, "UNKNOWN_ORDER", f"no order {parent_id[:64]!r} among those {where}")


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(
        body=orjson.dumps(value, default=_plain, option=orjson.OPT_INDENT_2),
        status=status,
        content_type="application/json",
    )


def _builtins(answer: Struct) -> object:
    """Return an answer as its names in JSON and their values, whose Decimals are written plainly."""
    return msgspec.to_builtins(answer, builtin_types=(Decimal,))


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return plain(value)
    return msgspec.to_builtins(value, str_keys=True)


def _shown(plugin: Plugin) -> PluginShown:
    try:
        settings = plugin.schema()
    except TypeError as error:
        # A user's own type: its settings are read all the same.
        settings = {"type": "object", "description": f"not described: {error}"}
    return PluginShown(kind=plugin.kind, name=plugin.name, text=plugin.text, settings=settings)
