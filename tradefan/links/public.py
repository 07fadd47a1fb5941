"""The link of one venue's public market: websockets and HTTP behind one port."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tradefan.links.http import HttpLink
from tradefan.links.transport import Transport
from tradefan.links.websocket import WebSocketLink
from tradefan.messages.base import Message
from tradefan.messages.wire import Http, Write


class PublicLink:
    """Routes each effect by its body; a request over HTTP belongs to a generation of a websocket."""

    def __init__(
        self,
        deliver: Callable[[Message], None],
        now_ns: Callable[[], int],
        rest_url: str,
        transport: Transport | None = None,
    ) -> None:
        transport = transport or Transport()
        self._sockets = WebSocketLink(deliver, now_ns, transport)
        self._http = HttpLink(deliver, now_ns, transport, rest_url, self._sockets.is_open)

    def apply(self, effect: Message) -> None:
        """Take an effect between steps; never blocks."""
        if isinstance(effect, Write) and isinstance(effect.body, Http):
            self._http.apply(effect)
        else:
            self._sockets.apply(effect)

    def pause(self) -> None:
        """Stop reading frames; answers to requests still come."""
        self._sockets.pause()

    def resume(self) -> None:
        """Read frames again."""
        self._sockets.resume()

    async def run(self) -> None:
        """Serve until cancelled, or until either half ends."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sockets.run(), name="websocket")
            group.create_task(self._http.run(), name="http")
