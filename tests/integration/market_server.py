"""A small market on loopback: serves recorded frames, and misbehaves connection by connection as told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import WSMsgType, web

import tradefan
from tradefan.links.tape import open_recordings
from tradefan.venues.tape import Recording

RECORDINGS = Path(tradefan.__file__).parent / "recordings" / "binance-ws-20240808"
FRAMES_BEFORE_TROUBLE = 20
GARBAGE = (b'{"stream":"btcusdt@depth@100ms","data":', b"\xff\xfe\x00", b"[]", b"")
MIB = 1024 * 1024


@cache
def recordings() -> dict[str, Recording]:
    """Opened once: finding the last line of a recording takes a while."""
    return open_recordings(RECORDINGS)


class MarketServer:
    """Each new websocket plays the next act of the plan; the last one repeats.

    `serve` frames without end · `drop` the transport after 20 · `bye` with close code 1001 after 20 ·
    `silent` after 20 · `mute` acknowledges and sends nothing · `deaf` never answers · `garbage` between
    frames · `huge` message of 11 MiB · `hang` the handshake · a number: that HTTP status instead.
    """

    def __init__(self, *plan: str) -> None:
        self.plan = list(plan) or ["serve"]
        self.connections = 0
        self.commands: list[str] = []
        self.requests: list[str] = []
        self.ended = 0
        self.sent: list[bytes] = []
        self.recording = recordings()["BTCUSDT"]
        self._released = asyncio.Event()
        self._runner = web.AppRunner(self._application(), shutdown_timeout=0.02)
        self._port = 0

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._released.set()
        await self._runner.cleanup()

    @property
    def stream_url(self) -> str:
        return f"ws://127.0.0.1:{self._port}/stream"

    @property
    def rest_url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def frames(self) -> Iterator[bytes]:
        """Recorded websocket frames of the symbol, in order."""
        return (raw for _, raw in self.recording.frames() if raw.startswith(b'{"stream"'))

    def _application(self) -> web.Application:
        application = web.Application()
        application.router.add_get("/stream", self._stream)
        application.router.add_get("/api/v3/depth", self._depth)
        application.router.add_get("/away", self._away)
        application.router.add_get("/slow", self._slow)
        application.router.add_get("/cut", self._cut)
        application.router.add_get("/big", self._big)
        application.router.add_get("/teapot", self._teapot)
        return application

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        act = self.plan[min(self.connections, len(self.plan) - 1)]
        self.connections += 1
        if act.isdecimal():
            waits = {} if act == "404" else {"Retry-After": "7"}
            return web.Response(status=int(act), headers=waits, text="no")
        if act == "away":
            raise web.HTTPFound("/stream")
        if act == "hang":
            await self._released.wait()
        socket = web.WebSocketResponse(compress=False, max_msg_size=MIB)
        await socket.prepare(request)
        player: asyncio.Task[None] | None = None
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    self.commands.append(message.data)
                    if act == "deaf":
                        continue
                    reply = {"result": None, "id": json.loads(message.data)["id"]}
                    await socket.send_str(json.dumps(reply))
                    if player is None:
                        player = asyncio.get_running_loop().create_task(self._play(act, request, socket))
        finally:
            self.ended += 1
            if player is not None:
                player.cancel()
                await asyncio.gather(player, return_exceptions=True)
        return socket

    async def _play(self, act: str, request: web.Request, socket: web.WebSocketResponse) -> None:
        if act == "mute":
            return
        frames = self.frames()
        for frame in islice(frames, FRAMES_BEFORE_TROUBLE):
            await self._send(socket, frame)
        if act == "drop":
            assert request.transport is not None
            request.transport.abort()
        elif act == "bye":
            await socket.close(code=1001, message=b"maintenance")
        elif act == "huge":
            await socket.send_str("x" * (11 * MIB))
        elif act == "garbage":
            for garbage in GARBAGE:
                await self._send(socket, garbage)
                await self._send(socket, next(frames))
        elif act == "flood":
            while True:
                await self._send(socket, next(frames))
        elif act == "serve":
            for frame in frames:
                await self._send(socket, frame)
                await asyncio.sleep(0.005)

    async def _send(self, socket: web.WebSocketResponse, frame: bytes) -> None:
        self.sent.append(frame)
        await socket.send_frame(frame, WSMsgType.TEXT)

    async def _depth(self, request: web.Request) -> web.Response:
        self.requests.append(request.raw_path)
        return web.Response(body=self.recording.snapshot, content_type="application/json")

    async def _away(self, request: web.Request) -> web.Response:
        raise web.HTTPFound("/api/v3/depth")

    async def _slow(self, request: web.Request) -> web.Response:
        self.requests.append(request.raw_path)
        await self._released.wait()
        return web.Response()

    async def _cut(self, request: web.Request) -> web.Response:
        self.requests.append(request.raw_path)
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def _big(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(33):
            await response.write(bytes(MIB))
        return response

    async def _teapot(self, request: web.Request) -> web.Response:
        return web.Response(status=418, headers={"Retry-After": "30"}, text='{"code":-1003}')
