"""The link that notices edited files: told by the system, and by a look each second all the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from watchfiles import awatch

from tradefan.errors import Defect
from tradefan.messages.base import Message
from tradefan.units import clean

QUIET_MS = 50
"""Changes that follow each other as closely are one."""
TOGETHER_MS = 200
"""Nor is a change held back for longer than this because others follow it."""
ANYHOW_MS = 1_000
"""Network folders and swapped links tell nothing: then there is a look all the same."""


class WatcherLink:
    """Looks whenever something below a folder may have changed."""

    def __init__(self, folder: Path, look: Callable[[], Awaitable[None]], log: Callable[..., None]) -> None:
        """`look` reads what it needs, and finds by itself whether anything is new."""
        self._folder = folder
        self._look = look
        self._log = log

    def apply(self, effect: Message) -> None:
        """Take nothing: nobody asks this link for anything."""
        raise Defect(f"the watcher does not take {type(effect).__name__}")

    async def run(self) -> None:
        """Look until cancelled."""
        async for _ in self._nudges():
            await self._look()

    async def _nudges(self) -> AsyncIterator[None]:
        """Say when to look: the system only makes it sooner, and may have no room for another who watches."""
        changes = awatch(
            self._folder,
            watch_filter=None,
            debounce=TOGETHER_MS,
            step=QUIET_MS,
            rust_timeout=ANYHOW_MS,
            yield_on_timeout=True,
        )
        try:
            async for _ in changes:
                yield
        except (OSError, RuntimeError, ExceptionGroup) as error:
            # watchfiles raises a RuntimeError of its own for what inotify says: of a user's 128 none is left.
            reason = clean(f"{type(error).__name__}: {error}")
            self._log("warning", "config_watch_failed", folder=str(self._folder), reason=reason)
        while True:
            await asyncio.sleep(ANYHOW_MS / 1_000)
            yield
