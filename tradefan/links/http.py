"""Moves bytes of HTTP requests by aiohttp over warm connections; decides and retries nothing.

Queries travel in the URL as given, redirects are answers like any other. A request ends in
`Received`, or in `NotWritten` where it is certain that nothing left. A request that was written and
got no whole answer ends in silence: the machine's time-out speaks for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar

from aiohttp import ClientResponse, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import Connection
from yarl import URL

from tradefan.links.transport import Transport, retry_after_s
from tradefan.messages.base import Message
from tradefan.messages.wire import Http, NotWritten, Received, Write, Written

BYTES_MAX = 32 * 1024 * 1024
_CHUNK = 64 * 1024


class HttpLink:
    """Requests to one host; `is_open` says whether a write's generation still is the link's."""

    def __init__(
        self,
        deliver: Callable[[Message], None],
        now_ns: Callable[[], int],
        transport: Transport,
        base_url: str,
        is_open: Callable[[int], bool],
    ) -> None:
        self._deliver = deliver
        self._now_ns = now_ns
        self._transport = transport
        self._base_url = base_url.rstrip("/")
        self._is_open = is_open
        self._session: ClientSession | None = None
        self._group: asyncio.TaskGroup | None = None

    def apply(self, effect: Message) -> None:
        """Take a `Write` of `Http` between steps; never blocks."""
        if not isinstance(effect, Write) or not isinstance(effect.body, Http):
            return
        guard = _Guard(self, effect)
        if self._group is None or self._session is None:
            self._ended(guard)
        else:
            work = self._exchange(self._session, effect.body, guard)
            task = self._group.create_task(work, name=f"http {effect.req}")
            # Not the task's own last statement: one that is cancelled before its first turn has none.
            task.add_done_callback(lambda _: self._ended(guard))

    def _ended(self, guard: _Guard) -> None:
        effect = guard.effect
        if not guard.written:
            self._deliver(NotWritten(effect.conn, effect.gen, effect.req, guard.reason))

    def refusal(self, effect: Write) -> str | None:
        """Return why a write must not happen now."""
        return self._transport.refusal(effect, self._is_open(effect.gen), self._now_ns())

    def written(self, effect: Write) -> None:
        """Say that a write was handed to the transport."""
        self._deliver(Written(effect.conn, effect.gen, effect.req, self._now_ns()))

    async def run(self) -> None:
        """Serve until cancelled."""
        connector = TCPConnector(ssl=self._transport.tls or True, keepalive_timeout=60)
        timeout = ClientTimeout(total=self._transport.answer_s)
        async with (
            ClientSession(
                connector=connector,
                cookie_jar=DummyCookieJar(),
                request_class=_GuardedRequest,
                timeout=timeout,
            ) as session,
            asyncio.TaskGroup() as group,
        ):
            self._session, self._group = session, group
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                # A group that ends still takes tasks, and would wait for them for ever.
                self._session, self._group = None, None

    async def _exchange(self, session: ClientSession, request: Http, guard: _Guard) -> None:
        effect = guard.effect
        _GUARD.set(guard)
        try:
            async with session.request(
                request.method,
                self._url(request),
                headers=dict(request.headers),
                allow_redirects=False,
                proxy=self._transport.proxy,
            ) as response:
                body = await _read(response)
            status, wait_s = response.status, retry_after_s(response.headers)
            self._deliver(Received(effect.conn, effect.gen, self._now_ns(), body, effect.req, status, wait_s))
        except _RefusedError as refused:
            guard.reason = str(refused)
        except Exception as error:  # noqa: BLE001 the edge: written or not is all that counts
            guard.reason = f"link_down: {type(error).__name__}: {error}"

    def _url(self, request: Http) -> URL:
        query = "&".join(f"{name}={value}" for name, value in request.query)
        return URL(f"{self._base_url}{request.path}{'?' if query else ''}{query}", encoded=True)


class _RefusedError(Exception):
    """The guard said no; nothing was written."""


class _Guard:
    """What a request of this task has to ask before its bytes leave."""

    def __init__(self, link: HttpLink, effect: Write) -> None:
        self.link = link
        self.effect = effect
        self.written = False
        self.reason = "link_down"


_GUARD: ContextVar[_Guard] = ContextVar("guard")


class _GuardedRequest(ClientRequest):
    async def send(self, conn: Connection) -> ClientResponse:
        guard = _GUARD.get()
        if guard.written:
            # aiohttp would send an idempotent request again over another connection.
            raise _RefusedError("written before")
        refusal = guard.link.refusal(guard.effect)
        if refusal is not None:
            raise _RefusedError(refusal)
        guard.written = True
        response = await super().send(conn)
        guard.link.written(guard.effect)
        return response


async def _read(response: ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK):
        body += chunk
        if len(body) > BYTES_MAX:
            raise ValueError(f"expected an answer up to {BYTES_MAX} bytes, got more")
    return bytes(body)
