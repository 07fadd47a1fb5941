"""A listening API for each test that wants one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession

from tests.unit.api.bench import TOKEN, Daemon, Start, Web
from tradefan.api.server import ApiLink, ApiSettings


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Give a function that makes a link with these settings listen, and a client of it."""
    tasks: list[asyncio.Task[None]] = []
    sessions: list[ClientSession] = []

    async def begin(**settings: Any) -> Web:
        daemon = Daemon()
        port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        usual = {"requests_per_second": 20, "connections_max": 64, "body_max": 2048}
        chosen = ApiSettings(host="127.0.0.1", port=0, token=TOKEN, **{**usual, **settings})
        daemon.link = ApiLink(daemon, chosen, daemon, port.set_result, daemon.close_latch)
        tasks.append(asyncio.get_running_loop().create_task(daemon.link.run()))
        sessions.append(ClientSession())
        return Web(sessions[-1], daemon, await port)

    yield begin
    for session in sessions:
        await session.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
