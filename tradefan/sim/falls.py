"""How actors of the simulated process fall: once at a message, or they and their successors in a row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tradefan.runtime.system import Cell


def break_one(cell: Cell, after: int, kinds: tuple[type[Any], ...], *, behind: bool) -> None:
    """Let an actor die at a message, before or behind its work; `after` messages of these kinds pass."""
    handle, left = cell.handle, after
    assert handle is not None

    def broken(msg: Any, ctx: Any) -> None:  # noqa: ANN401 whatever an actor takes
        nonlocal left
        counts = not kinds or isinstance(msg, kinds)
        left -= counts
        if left < 0 and counts and not behind:
            raise RuntimeError("scripted: an actor raises before its work")
        handle(msg, ctx)
        if left < 0 and counts:
            raise RuntimeError("scripted: an actor raises behind its work")

    cell.handle = broken


def break_heirs(cell: Cell, heirs: int, turns: int, may: Callable[[], bool]) -> None:
    """Let so many successors of an actor die as well, each behind so many turns, while they may."""
    left = heirs

    def guard(handle: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
        done = 0

        def turn(msg: Any, ctx: Any) -> None:  # noqa: ANN401 whatever an actor takes
            nonlocal left, done
            handle(msg, ctx)
            done += 1
            if left > 0 and done >= turns and may():
                left -= 1
                raise RuntimeError("scripted: an heir raises, too")

        return turn

    cell.guard = guard
