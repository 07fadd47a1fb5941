"""SIGUSR2: the kill that needs no API, no loop and no free connection (RELIABILITY.md 2b).

The handler runs in the main thread between two bytecodes, also in the middle of a turn that never ends.
It closes the latch for everything and does nothing else; the order manager hears of it as soon as the
loop turns.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Self

from tradefan.drivers.latch import ALL, Latch

NUMBER = signal.SIGUSR2
REASON = "SIGUSR2"


class KillSignal:
    """Takes the signal from the moment it is entered; what comes before the loop runs is not forgotten.

    A process that does not listen is ended by this signal, so it is entered before the lock file, which
    is where others find the process, says that somebody runs here.
    """

    def __init__(self, latch: Latch) -> None:
        """Know the latch; nothing is listened to yet."""
        self.latch = latch
        self._asked = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tell: Callable[[], None] = lambda: None
        self._before: Any = None

    def __enter__(self) -> Self:
        """Listen; only the main thread may."""
        self._before = signal.signal(NUMBER, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the signal back."""
        signal.signal(NUMBER, self._before or signal.SIG_DFL)

    def bind(self, loop: asyncio.AbstractEventLoop, tell: Callable[[], None]) -> None:
        """Let `tell` be called on this loop for every signal, and for one that came before."""
        self._loop, self._tell = loop, tell
        if self._asked:
            loop.call_soon(tell)

    def unbind(self) -> None:
        """Tell nobody any more: the loop ends. The latch still hears."""
        self._loop = None

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.latch.close(ALL, REASON)
        self._asked = True
        loop = self._loop
        if loop is not None:
            # A loop that was closed meanwhile has nobody left who could write.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._tell)
