"""The link that notices edited files: told by the system, and by a look each second all the same."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from watchfiles import awatch

from tradefan.errors import Defect
from tradefan.messages.base import Message

QUIET_MS = 50
"""Changes that follow each other as closely are one."""
TOGETHER_MS = 200
"""Nor is a change held back for longer than this because others follow it."""
ANYHOW_MS = 1_000
"""Network folders and swapped links tell nothing: then there is a look all the same."""


class WatcherLink:
    """Looks whenever something below a folder may have changed."""

    def __init__(self, folder: Path, look: Callable[[], Awaitable[None]]) -> None:
        """`look` reads what it needs, and finds by itself whether anything is new."""
        self._folder = folder
        self._look = look

    def apply(self, effect: Message) -> None:
        """Take nothing: nobody asks this link for anything."""
        raise Defect(f"the watcher does not take {type(effect).__name__}")

    async def run(self) -> None:
        """Look until cancelled."""
        changes = awatch(
            self._folder,
            watch_filter=None,
            debounce=TOGETHER_MS,
            step=QUIET_MS,
            rust_timeout=ANYHOW_MS,
            yield_on_timeout=True,
        )
        async for _ in changes:
            await self._look()
