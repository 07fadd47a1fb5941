"""A thread that notices when the event loop stalls and logs what it was doing."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from collections.abc import Callable

_BEAT_S = 0.1
_STACK_MAX = 4_000


class Watchdog:
    """Compares the loop's heartbeat with the clock; one report a stall, with the loop's stack."""

    def __init__(self, warn_s: float, report: Callable[[float, str], None]) -> None:
        """Report stalls longer than `warn_s` as (seconds so far, stack); `report` runs in the thread."""
        self.worst_lag_s = 0.0
        self.stalls = 0
        self._warn_s = warn_s
        self._report = report
        self._beat = time.monotonic()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to watch the loop of the calling thread."""
        self._beat = time.monotonic()
        self._tick(loop)
        self._thread = threading.Thread(
            target=self._watch, args=(threading.get_ident(),), name="watchdog", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._ended.set()
        if self._timer is not None:
            self._timer.cancel()
        if self._thread is not None:
            self._thread.join(timeout=2)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        now = time.monotonic()
        self.worst_lag_s = max(self.worst_lag_s, now - self._beat - _BEAT_S)
        self._beat = now
        self._timer = loop.call_later(_BEAT_S, self._tick, loop)

    def _watch(self, thread_id: int) -> None:
        reported = 0.0
        while not self._ended.wait(_BEAT_S):
            beat = self._beat
            stalled_s = time.monotonic() - beat - _BEAT_S
            if stalled_s < self._warn_s or beat == reported:
                continue
            reported = beat
            self.stalls += 1
            frame = sys._current_frames().get(thread_id)  # noqa: SLF001 the documented way to see a thread's stack
            stack = "".join(traceback.format_stack(frame))[-_STACK_MAX:] if frame else ""
            self._report(stalled_s, stack)
