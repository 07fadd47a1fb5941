"""Breaks off a strategy's turn that takes too long: one signal that raises in the main thread (M25).

A thread cannot end what another one computes; a signal handler can, because Python runs it in the main
thread between two bytecodes. It raises only while a turn of a breakable actor runs, and once a turn: a
second signal could meet the kernel or the loop, which no exception may interrupt.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, NamedTuple

from tradefan.errors import TurnOverrun
from tradefan.messages.base import Message
from tradefan.runtime.actor import Context

NUMBER = signal.SIGUSR1

Handle = Callable[[Any, Context], None]


class _Turn(NamedTuple):
    actor: str
    began_s: float


class TurnBreaker:
    """Knows which breakable turn runs and since when; `look`, from another thread, breaks it."""

    def __init__(self, most_s: float, now_s: Callable[[], float] = time.monotonic) -> None:
        """Break turns that take longer than `most_s`."""
        self.broken = 0
        self._most_s = most_s
        self._now_s = now_s
        self._turn: _Turn | None = None
        self._shot: _Turn | None = None
        self._thread_id = 0
        self._before: Any = None

    def guard(self, actor: str) -> Callable[[Handle], Handle]:
        """Return what an actor's `handle` is wrapped in (`runtime.system.Cell.guard`)."""

        def wrap(handle: Handle) -> Handle:
            def turn(msg: Message, ctx: Context) -> None:
                self._turn = _Turn(actor, self._now_s())
                try:
                    handle(msg, ctx)
                finally:
                    self._turn = None

            return turn

        return wrap

    def start(self) -> None:
        """Take the signal; the calling thread is where turns run. Beside the main thread none is broken."""
        if threading.current_thread() is threading.main_thread():
            self._thread_id = threading.get_ident()
            self._before = signal.signal(NUMBER, self._on_signal)

    def stop(self) -> None:
        """Give the signal back."""
        if self._thread_id:
            self._thread_id = 0
            signal.signal(NUMBER, self._before or signal.SIG_DFL)

    def look(self) -> None:
        """Break the present turn if it has had its time, and has not been shot at before."""
        turn, thread_id = self._turn, self._thread_id
        if turn is None or turn is self._shot or self._now_s() - turn.began_s <= self._most_s:
            return
        self._shot = turn
        if thread_id:
            signal.pthread_kill(thread_id, NUMBER)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        # The turn may have ended, and another begun, while the signal was on its way.
        turn = self._turn
        if turn is not None and turn is self._shot:
            self._turn = None
            self.broken += 1
            raise TurnOverrun(f"{turn.actor}: expected a turn of at most {self._most_s:g} s, broke it off")
