"""A link that writes points to a server, alone: what it is given, and what it says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

from tradefan.messages.base import Message
from tradefan.messages.control import PointBatch, PointsWritten, StoreFailed


class Writer(Protocol):
    """What the links of point writers have in common."""

    def apply(self, effect: Message) -> None:
        """Take a batch."""

    async def run(self) -> None:
        """Write until cancelled."""


class Bench:
    """A link with what it says; `aside` is where it sets aside what no server takes."""

    def __init__(self, make: Callable[[Callable[[Message], None]], Writer], aside: list[str]) -> None:
        """Make a link that delivers here."""
        self.said: list[Message] = []
        self.aside = aside
        self.task: asyncio.Task[None] | None = None
        self.link = make(self.said.append)

    def give(self, number: int, rows: Sequence[Any]) -> None:
        self.link.apply(PointBatch(number, tuple(rows)))

    def answers(self) -> dict[int, PointsWritten]:
        return {one.batch_id: one for one in self.said if isinstance(one, PointsWritten)}

    def failures(self) -> list[str]:
        return [one.reason for one in self.said if isinstance(one, StoreFailed)]

    async def until(self, done: Callable[[], bool], limit_s: float = 30.0) -> None:
        """Wait until something holds while the link lives."""
        async with asyncio.timeout(limit_s):
            while not done():
                if self.task is not None and self.task.done():
                    self.task.result()
                await asyncio.sleep(0.01)

    async def write(self, number: int, rows: Sequence[Any]) -> PointsWritten:
        self.give(number, rows)
        await self.until(lambda: number in self.answers())
        return self.answers()[number]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Bench]:
        self.task = asyncio.create_task(self.link.run())
        try:
            await self.until(lambda: bool(self.said))
            yield self
        finally:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
