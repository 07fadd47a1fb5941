"""Moves bytes of websocket connections by the library `websockets`; decides and retries nothing.

No compression, redirect or library ping; whole messages as raw bytes, so bad UTF-8 reaches the
decoder; a message over 10 MiB ends the connection with 1009. Each generation ends in one `Closed`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.protocol import State

from tradefan.links.transport import Transport, retry_after_s
from tradefan.messages.base import Message
from tradefan.messages.wire import Close, Closed, NotWritten, Open, Opened, Received, Text, Write, Written

BYTES_MAX = 10 * 1024 * 1024


class WebSocketLink:
    """All websocket connections of one venue."""

    def __init__(
        self, deliver: Callable[[Message], None], now_ns: Callable[[], int], transport: Transport
    ) -> None:
        self._deliver = deliver
        self._now_ns = now_ns
        self._transport = transport
        self._reading = asyncio.Event()
        self._reading.set()
        self._group: asyncio.TaskGroup | None = None
        self._over = False
        self._sockets: dict[int, _Socket] = {}

    def apply(self, effect: Message) -> None:
        """Take an effect between steps; never blocks."""
        if isinstance(effect, Open):
            socket = self._sockets[effect.gen] = _Socket(effect)
            self._start(socket)
        elif isinstance(effect, Write):
            self._write(effect)
        elif isinstance(effect, Close):
            self._close(effect)

    def is_open(self, gen: int) -> bool:
        """Return whether a generation can be written to."""
        socket = self._sockets.get(gen)
        return socket is not None and socket.is_open()

    def pause(self) -> None:
        """Stop reading: what the venue sends waits in the buffers of the sockets."""
        self._reading.clear()

    def resume(self) -> None:
        """Read again."""
        self._reading.set()

    async def run(self) -> None:
        """Serve until cancelled; then every generation is closed."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for socket in self._sockets.values():
                self._start(socket)
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                # A group that ends still takes tasks, and would wait for them for ever.
                self._group, self._over = None, True

    def _start(self, socket: _Socket) -> None:
        if self._over:
            self._ended(socket)
        # Before the first turn of `run` it waits for that.
        elif self._group is not None:
            name = f"websocket {socket.effect.conn} {socket.effect.gen}"
            socket.task = self._group.create_task(self._serve(self._group, socket), name=name)
            # Not the task's own last statement: one that is cancelled before its first turn has none.
            socket.task.add_done_callback(lambda _: self._ended(socket))

    def _ended(self, socket: _Socket) -> None:
        del self._sockets[socket.effect.gen]
        conn, gen, reason = socket.effect.conn, socket.effect.gen, socket.reason or "link_down"
        self._deliver(Closed(conn, gen, self._now_ns(), socket.code, reason, socket.retry_after_s))

    def _close(self, effect: Close) -> None:
        socket = self._sockets.get(effect.gen)
        if socket is None:
            return
        socket.end(effect.code, "closed")
        if socket.task is None:
            self._ended(socket)
        else:
            socket.task.cancel()

    def _write(self, effect: Write) -> None:
        conn, gen, req, now_ns = effect.conn, effect.gen, effect.req, self._now_ns()
        refusal = self._transport.refusal(effect, self.is_open(gen), now_ns)
        connection = self._sockets[gen].connection if refusal is None else None
        if connection is not None and isinstance(effect.body, Text):
            try:
                # `connection.send` is a coroutine and could wait; these two hand the bytes over at once.
                connection.protocol.send_text(effect.body.text.encode())
                connection.send_data()
            except Exception as error:  # noqa: BLE001 neither written nor not: the end of this generation
                self._sockets[gen].end(None, f"{type(error).__name__}: {error}")
                connection.transport.abort()
            else:
                self._deliver(Written(conn, gen, req, now_ns))
        else:
            self._deliver(NotWritten(conn, gen, req, refusal or "not a text message"))

    async def _serve(self, group: asyncio.TaskGroup, socket: _Socket) -> None:
        watch = None
        try:
            connection = socket.connection = await self._transport.dial(socket.effect, BYTES_MAX)
            self._deliver(Opened(socket.effect.conn, socket.effect.gen, self._now_ns()))
            watch = group.create_task(self._ping(socket, connection))
            await self._read(socket, connection)
        except InvalidStatus as refused:
            response = refused.response
            socket.retry_after_s = retry_after_s(response.headers)
            socket.end(response.status_code, response.reason_phrase)
        except ConnectionClosed as closed:
            frame = closed.rcvd or closed.sent
            socket.end(1006 if frame is None else frame.code, str(closed))
        except Exception as error:  # noqa: BLE001 the edge: whatever fails is the end of this generation
            socket.end(None, f"{type(error).__name__}: {error}")
        finally:
            if watch is not None:
                watch.cancel()
            if socket.connection is not None:
                try:
                    await socket.connection.close(socket.code or 1000)
                finally:
                    # In a task that is cancelled Python 3.11.2 takes the library's timeout for that cancel,
                    # and the library leaves the connection of a server that does not answer open.
                    socket.connection.transport.abort()

    async def _read(self, socket: _Socket, connection: ClientConnection) -> None:
        conn, gen, deliver, now_ns = socket.effect.conn, socket.effect.gen, self._deliver, self._now_ns
        while True:
            await self._reading.wait()
            body = await connection.recv(decode=False)
            recv_ns = now_ns()
            socket.frames += 1
            deliver(Received(conn, gen, recv_ns, body))

    async def _ping(self, socket: _Socket, connection: ClientConnection) -> None:
        """Ping when idle; without a pong the transport is cut, which ends the reading."""
        idle_s = self._transport.ping_s
        while True:
            seen = socket.frames
            await asyncio.sleep(idle_s)
            if socket.frames != seen or not self._reading.is_set():
                continue
            try:
                pong = await connection.ping()
                async with asyncio.timeout(idle_s):
                    await pong
            except TimeoutError:
                socket.end(1006, f"no pong in {idle_s:g} s")
                connection.transport.abort()
            except ConnectionClosed:
                return


class _Socket:
    """One generation, and how it ended: the first cause counts."""

    def __init__(self, effect: Open) -> None:
        self.effect = effect
        self.task: asyncio.Task[None] | None = None
        self.connection: ClientConnection | None = None
        self.frames = 0
        self.code: int | None = None
        self.reason = ""
        self.retry_after_s: float | None = None

    def end(self, code: int | None, reason: str) -> None:
        if not self.reason:
            self.code, self.reason = code, reason

    def is_open(self) -> bool:
        if self.connection is None or self.connection.transport.is_closing():
            return False
        return self.connection.protocol.state is State.OPEN
