"""Breaks off a strategy's turn that takes too long: one signal that raises in the main thread (M25).

A thread cannot end what another one computes; a signal handler can, because Python runs it in the main
thread between two bytecodes. It raises only while a turn of a breakable actor runs, and once a turn: a
second signal could meet the kernel or the loop, which no exception may interrupt.

How far a turn came before the signal met it is chance, so a broken turn leaves nothing behind, not even
numbers that it drew: a recording says which turn was broken, and its replay breaks the same one.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, NamedTuple

from tradefan.errors import TurnOverrun, traceback_of
from tradefan.messages.base import Message
from tradefan.runtime.actor import Context
from tradefan.runtime.kernel import Kernel
from tradefan.runtime.recording import BrokenTurn
from tradefan.runtime.system import Cell
from tradefan.units import Ref

NUMBER = signal.SIGUSR1

Handle = Callable[[Any, Context], None]


NOTED_MAX = 100


class _Turn(NamedTuple):
    actor: str
    began_s: float


class _Before:
    """What a turn may change in its kernel before it returns: numbers drawn, and sends that were answered."""

    __slots__ = ("ids", "rng", "timers", "traced")

    def __init__(self, kernel: Kernel, cell: Cell) -> None:
        state = kernel.state
        self.ids, self.timers, self.rng = state.ids, state.timers, cell.rng
        self.traced = 0 if kernel.trace is None else len(kernel.trace.buffer)

    def restore(self, kernel: Kernel, cell: Cell) -> None:
        state = kernel.state
        state.ids, state.timers, cell.rng = self.ids, self.timers, self.rng
        if kernel.trace is not None:
            kernel.trace.roll_back(self.traced)


def _again(recorded: BrokenTurn) -> TurnOverrun:
    error = TurnOverrun(recorded.message)
    error.text = recorded.traceback
    return error


class TurnBreaker:
    """Knows which breakable turn runs and since when; `look`, from another thread, breaks it.

    With a `script` it breaks the turns that a recording names instead, as they were broken then.
    """

    def __init__(
        self,
        most_s: float,
        now_s: Callable[[], float] = time.monotonic,
        script: Mapping[tuple[Ref, int], BrokenTurn] | None = None,
    ) -> None:
        """Break turns that take longer than `most_s`."""
        self.broken = 0
        self.noted: list[BrokenTurn] = []
        """Those that were broken since a recorder took them from here."""
        self._most_s = most_s
        self._now_s = now_s
        self._script = {} if script is None else script
        self._turn: _Turn | None = None
        self._shot: _Turn | None = None
        self._overrun: TurnOverrun | None = None
        """What broke the present turn."""
        self._thread_id = 0
        self._before: Any = None

    def watch(self, kernel: Kernel) -> None:
        """Stand around the turns of a kernel's breakable actors: of a new one, or of one just restored."""

        def stand_around(cell: Cell) -> None:
            if cell.spec.breakable:
                cell.guard = self._guard(kernel, cell)
                # An actor that is there already takes its place once more, behind the guard.
                cell.place(cell.actor)

        for cell in kernel.cells:
            if cell is not None:
                stand_around(cell)
        kernel.on_cell = stand_around

    def _guard(self, kernel: Kernel, cell: Cell) -> Callable[[Handle], Handle]:
        number = cell.turns

        def wrap(handle: Handle) -> Handle:
            def turn(msg: Message, ctx: Context) -> None:
                nonlocal number
                number += 1
                before = _Before(kernel, cell)
                recorded = self._script.get((cell.ref, number))
                self._overrun = None if recorded is None else _again(recorded)
                self._turn = _Turn(cell.spec.name, self._now_s())
                try:
                    if recorded is None:
                        handle(msg, ctx)
                except TurnOverrun as error:
                    self._overrun = error
                except Exception:
                    if self._overrun is None:
                        raise
                finally:
                    self._turn = None
                # A bare `except` may have caught it: how far the turn came is chance all the same.
                overrun = self._overrun
                if overrun is not None:
                    before.restore(kernel, cell)
                    self._note(cell.ref, number, overrun)
                    raise overrun

            return turn

        return wrap

    def _note(self, ref: Ref, number: int, error: TurnOverrun) -> None:
        error.text = error.text or traceback_of(error)
        self.noted.append(BrokenTurn(ref, number, str(error), error.text))
        # Without a recorder nobody takes them.
        del self.noted[:-NOTED_MAX]

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
            text = f"{turn.actor}: expected a turn of at most {self._most_s:g} s, broke it off"
            self._overrun = TurnOverrun(text)
            raise self._overrun
