"""A thread that notices when the event loop stalls, logs what it was doing, and breaks endless turns."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from bisect import bisect_left
from collections import deque
from collections.abc import Callable

from tradefan.drivers.turns import TurnBreaker
from tradefan.units import SECOND

_BEAT_S = 0.1
_LOOK_S = 0.05
_STACK_MAX = 4_000
LAGS_KEPT = 100
"""More than two scrapes, so that none misses a delay."""
LAG_CLEAR_S = 0.25
"""A loop that is this punctual again keeps time."""
LAG_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0)


class Watchdog:
    """Compares the loop's heartbeat with the clock; one report a stall, with the loop's stack."""

    def __init__(
        self,
        warn_s: float,
        report: Callable[[float, str], None],
        *,
        turns: TurnBreaker | None = None,
        lag_max_s: Callable[[], float] = lambda: float("inf"),
        on_lag: Callable[[int], None] = lambda _lag_ns: None,
    ) -> None:
        """Report stalls longer than `warn_s` as (seconds so far, stack); `report` runs in the thread.

        `on_lag` is called on the loop with the ns by which it was later than `lag_max_s`, and with 0
        when it keeps time again. `turns` are looked at every 50 ms.
        """
        self.worst_lag_s = 0.0
        self.lag_sum_s = 0.0
        self.lags = [0] * (len(LAG_BUCKETS_S) + 1)
        """Beats by how late they were, those beyond the last bound behind them."""
        self.stalls = 0
        self.turns = turns
        self._warn_s = warn_s
        self._report = report
        self._lag_max_s = lag_max_s
        self._on_lag = on_lag
        self._late = False
        self._lags = deque[float](maxlen=LAGS_KEPT)
        self._beat = time.monotonic()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def lag_s(self) -> float:
        """The longest delay of the last `LAGS_KEPT` beats, 10 s of a loop that keeps time."""
        return max((0.0, *self._lags))

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to watch the loop of the calling thread."""
        self._beat = time.monotonic()
        self._tick(loop)
        if self.turns is not None:
            self.turns.start()
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
        if self.turns is not None:
            self.turns.stop()

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        now = time.monotonic()
        lag_s = now - self._beat - _BEAT_S
        self._lags.append(lag_s)
        self.worst_lag_s = max(self.worst_lag_s, lag_s)
        self.lag_sum_s += max(lag_s, 0.0)
        self.lags[bisect_left(LAG_BUCKETS_S, lag_s)] += 1
        self._beat = now
        self._timer = loop.call_later(_BEAT_S, self._tick, loop)
        if lag_s > self._lag_max_s():
            self._late = True
            self._on_lag(int(lag_s * SECOND))
        elif self._late and lag_s < LAG_CLEAR_S:
            self._late = False
            self._on_lag(0)

    def _watch(self, thread_id: int) -> None:
        reported = 0.0
        while not self._ended.wait(_LOOK_S):
            if self.turns is not None:
                self.turns.look()
            beat = self._beat
            stalled_s = time.monotonic() - beat - _BEAT_S
            if stalled_s < self._warn_s or beat == reported:
                continue
            reported = beat
            self.stalls += 1
            frame = sys._current_frames().get(thread_id)  # noqa: SLF001 the documented way to see a thread's stack
            stack = "".join(traceback.format_stack(frame))[-_STACK_MAX:] if frame else ""
            self._report(stalled_s, stack)
