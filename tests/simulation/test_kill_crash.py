"""The order manager falls in the very turn that kills or stops: what rests is cancelled all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.simulation.test_exhausted import BTC, OWNER, resting
from tests.simulation.world import World, development, recordings
from tradefan.messages.base import Message
from tradefan.messages.control import KillSwitch, Stop, StopAll
from tradefan.messages.orders import ResumeTrading
from tradefan.messages.records import Kill
from tradefan.runtime.system import RIM
from tradefan.stores.journal import JournalFile
from tradefan.units import SECOND

KILL = KillSwitch(BTC, "panic", "me", req=7)


def falling(folder: Path, kind: type[Message], times: int) -> World:
    """Return a world with five orders at the venue; so many order managers fall at a message."""
    config = development(f"strategies.{OWNER}.on_stop=cancel")
    world = World(config, folder, recordings(120 * SECOND))
    world.run_until(world.ready)
    resting(world, 5)
    world.run_until(lambda: len(world.paper.account.open_orders(BTC)) == 5)
    cell = world.kernel.cells[world.kernel.refs["oms"]]
    assert cell is not None
    left = [None] * times

    def guard(handle: Any) -> Any:
        def turn(msg: Any, ctx: Any) -> None:
            if isinstance(msg, kind) and left:
                left.pop()
                raise RuntimeError("scripted")
            handle(msg, ctx)

        return turn

    cell.guard = guard
    cell.place(cell.actor)
    return world


def kills(world: World, folder: Path) -> list[str]:
    """End the process, and return the scopes that a next one finds killed."""
    world.crash()
    records, _ = JournalFile(str(folder / "journal.db")).fold()
    return [one.scope for one in records if isinstance(one, Kill)]


@pytest.mark.slow
@pytest.mark.parametrize(("times", "scope"), [(1, BTC), (2, "all"), (9, "all")])
def test_kill_when_its_turns_kill_the_order_manager_then_it_is_neither_lost_nor_repeated_for_ever(
    tmp_path: Path, times: int, scope: str
) -> None:
    """A successor hears it; where that falls, too, the kernel has everything killed."""
    world = falling(tmp_path, KillSwitch, times)
    world.driver.hosted.latch.close(KILL.scope, KILL.reason)
    world.send("oms", KILL)
    world.run(10)
    assert world.paper.account.open_orders(None) == []
    assert world.kernel.life.tree.child("oms").restarts == min(times, 2)
    assert tuple(world.driver.hosted.latch.closed) == (scope,)
    world.send("oms", ResumeTrading(scope, "seen", "me", req=8))
    world.run(1)
    assert not world.driver.hosted.latch.closed
    assert kills(world, tmp_path) == [scope]


@pytest.mark.slow
def test_stop_when_its_turn_kills_the_order_manager_then_its_successor_cancels_in_time(
    tmp_path: Path,
) -> None:
    """It says so long before the deadline, and the end is an orderly one."""
    world = falling(tmp_path, Stop, 1)
    world.driver.inject(RIM, StopAll(world.driver.now_ns + 5 * SECOND))
    assert world.run_until(lambda: world.kernel.life.exited is not None, 6) < 2
    assert (world.kernel.life.exited, world.paper.account.open_orders(None)) == (0, [])
    world.crash()
