"""How actors of the simulated process fall: at a message, with their successors, or as their turn waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tradefan.messages.control import ConfigChanged, Timer
from tradefan.runtime.system import Cell
from tradefan.sim.process import Life

BUSY = 20
"""So many messages before a turn are more than its strategy needs to die, begin anew and ask."""


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


def break_line(
    cell: Cell, times: int, kinds: tuple[type[Any], ...], may: Callable[[], bool], *, behind: bool
) -> None:
    """Let an actor die so many times at messages of these kinds, and its successors, while they may."""
    left = times

    def guard(handle: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
        def turn(msg: Any, ctx: Any) -> None:  # noqa: ANN401 whatever an actor takes
            nonlocal left
            strikes = left > 0 and may() and isinstance(msg, kinds)
            left -= strikes
            if not strikes or behind:
                handle(msg, ctx)
            if strikes:
                raise RuntimeError("scripted: an actor raises at a kill or stop")

        return turn

    cell.guard = guard
    cell.place(cell.actor)


def orphan_turn(life: Life, name: str) -> bool:
    """Let a strategy die at once, and the order manager be busy until the successor has asked it.

    The question overtakes a turn of the dead one that waits: facts go before commands. False when it
    is dead already.
    """
    cell = life.kernel.cells[life.kernel.refs[name]]
    assert cell is not None
    if cell.actor is None:
        return False
    break_one(cell, 0, (), behind=False)
    life.inject(name, ConfigChanged(life.kernel.state.config_id))
    for _ in range(BUSY):
        life.inject("oms", Timer("busy"))
    return True
