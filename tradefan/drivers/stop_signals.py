"""SIGINT and SIGTERM while no loop runs: a start that is broken off ends in order, like a run."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

NUMBERS = (signal.SIGINT, signal.SIGTERM)
EXIT_INTERRUPTED = 130


class StopSignals:
    """Notes the first from the moment it is entered; whoever goes on with the start asks for it.

    The second ends the process at once, as it does while the driver listens. Nothing is broken off in
    the middle of a statement by the first: files are made, locks are taken there.
    """

    def __init__(self) -> None:
        """Nothing is listened to yet."""
        self.asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        """Listen; only the main thread may."""
        self._before = {number: signal.signal(number, self._on_signal) for number in NUMBERS}
        return self

    def with_input(self) -> None:
        """Stop as by a signal when standard input ends: who holds its other end is gone, however it went."""

        def wait() -> None:
            while os.read(0, 4096):
                pass
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=wait, name="tied", daemon=True).start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the signals back."""
        for number, before in self._before.items():
            signal.signal(number, before or signal.SIG_DFL)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self.asked:
            raise SystemExit(EXIT_INTERRUPTED)
        self.asked = True
