"""When a parent is asked again: at an instant, or at a level of the market."""

from __future__ import annotations

from tradefan.actors.oms_executor import volume_of
from tradefan.actors.oms_state import Armed, Turn
from tradefan.contracts import (
    Wake,
)
from tradefan.core.trading import ParentState
from tradefan.core.wakes import KINDS, Wakes, forget, wait
from tradefan.messages.control import Timer
from tradefan.units import MS, ParentId


def wake(turn: Turn, parent: ParentState, command: Wake) -> None:
    """Ask again at an instant, not before a millisecond has passed, or at a level of the market.

    The newest wake replaces the older; a level that the market has passed already fires at its next tick.
    """
    name, live = parent.order.parent_id, turn.live
    _arm(turn, name, None if command.at_ns is None else max(command.at_ns, turn.now + MS))
    levels: dict[str, float] = {
        kind: level for kind in KINDS if (level := getattr(command, kind)) is not None
    }
    seen = live.tapes.get(parent.order.instrument)
    if command.volume_at is not None and seen is not None:
        # Its own count of the volume has another beginning than the tape's.
        levels["volume_at"] = seen.lots + command.volume_at - volume_of(turn, parent).total
    here = live.levels.get(parent.order.instrument)
    if here is None and levels:
        here = live.levels[parent.order.instrument] = Wakes()
    if here is not None:
        wait(here, name, levels)


def sooner(turn: Turn, name: ParentId, at_ns: int) -> None:
    """Ask again at an instant at the latest, whatever else is waited for."""
    armed = turn.live.wakes.get(name)
    if armed is None or at_ns < armed.at_ns:
        _arm(turn, name, at_ns)


def _arm(turn: Turn, name: ParentId, at_ns: int | None) -> None:
    """Have one timer for a parent, or none."""
    armed = turn.live.wakes.get(name)
    if armed is not None and armed.at_ns == at_ns:
        return
    _disarm(turn, name)
    if at_ns is not None:
        turn.live.wakes[name] = Armed(at_ns, turn.ctx.after(at_ns - turn.now, Timer("wake", name, at_ns)))


def let_sleep(turn: Turn, parent: ParentState) -> None:
    """Let a parent wait for nothing any more."""
    _disarm(turn, parent.order.parent_id)
    here = turn.live.levels.get(parent.order.instrument)
    if here is not None:
        forget(here, parent.order.parent_id)


def _disarm(turn: Turn, name: ParentId) -> None:
    armed = turn.live.wakes.pop(name, None)
    if armed is not None:
        turn.ctx.cancel(armed.timer)


def on_wake(turn: Turn, timer: Timer) -> None:
    """Give a parent to its executor at the instant that it asked for."""
    name = ParentId(timer.subject)
    armed = turn.live.wakes.get(name)
    if armed is not None and armed.at_ns == timer.number:
        del turn.live.wakes[name]
        turn.woken[name] = None
