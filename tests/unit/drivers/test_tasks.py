"""I-28: no task without an owner, none after the stop, no exception that nobody saw."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from dataclasses import replace

import pytest
import uvloop

from tests.unit.runtime.players import build, kernel_of
from tradefan.drivers.live import LinkHandle, LiveDriver, SteadyClock
from tradefan.messages.base import Message
from tradefan.messages.control import LogLine
from tradefan.runtime.supervisor import Child, Supervisor
from tradefan.runtime.system import PortSpec, System
from tradefan.units import MS, SECOND


class Lives:
    """What the links below share: how often each was built, how many of their tasks run."""

    def __init__(self) -> None:
        self.built: dict[str, int] = {}
        self.running = 0
        self.most = 0


class Scripted:
    """A link that ends as its script says in each of its lives, and takes its time to clean up."""

    def __init__(self, name: str, ends: tuple[str, ...], lives: Lives, _handle: LinkHandle) -> None:
        life = lives.built.get(name, 0)
        lives.built[name] = life + 1
        self.lives = lives
        self.end = ends[life] if life < len(ends) else "wait"
        if self.end == "not built":
            raise OSError("scripted")

    def apply(self, effect: Message) -> None:
        """Take nothing."""

    async def run(self) -> None:
        """End by the script."""
        self.lives.running += 1
        self.lives.most = max(self.lives.most, self.lives.running)
        try:
            await asyncio.sleep(0.002)
            if self.end == "raise":
                raise OSError("scripted")
            if self.end == "return":
                return
            await asyncio.Event().wait()
        finally:
            try:
                # The stop's own cancellation may cut this short.
                await asyncio.sleep(0.15 if self.end == "slow" else 0)
            finally:
                self.lives.running -= 1


def link(name: str, ends: tuple[str, ...], lives: Lives) -> Callable[[LinkHandle], Scripted]:
    """Return a factory of links."""
    return lambda handle: Scripted(name, ends, lives, handle)


def run(
    system: System, ends: dict[str, tuple[str, ...]], enough: Callable[[Lives], bool]
) -> tuple[int, Lives, list[LogLine], list[str]]:
    """Run until enough has happened, stop; return code, lives, log and the names of tasks left."""
    lives, lines = Lives(), []
    kernel = kernel_of(system)
    kernel.state.now_ns = 0
    driver = LiveDriver(
        kernel, {}, {name: link(name, script, lives) for name, script in ends.items()}, clock=SteadyClock(),
        log=lambda _now, line: lines.append(line),
    )  # fmt: skip

    async def work() -> tuple[int, list[str]]:
        running = asyncio.ensure_future(driver.run())
        async with asyncio.timeout(5):
            while not enough(lives):
                await asyncio.sleep(0.002)
        tasks = {task.get_name() for task in asyncio.all_tasks() - {asyncio.current_task(), running}}
        assert tasks <= {f"link {name}" for name in ends}
        driver.stop()
        code = await running
        left = [task.get_name() for task in asyncio.all_tasks() - {asyncio.current_task()}]
        gc.collect()
        await asyncio.sleep(0)
        return code, left

    code, left = uvloop.run(work())
    return code, lives, lines, left


@pytest.mark.parametrize("end", ["wait", "raise", "return", "not built", "slow"])
def test_tasks_when_links_end_in_any_way_then_none_is_left_after_the_stop(end: str) -> None:
    """I-28: every task is a link's while it runs, and after the stop there is none."""
    ports = (PortSpec("p", "a"), PortSpec("q", "a"))
    system = build({"a": {}}, ports=ports, restarts_max=100)
    again = 1 if end in ("wait", "slow") else 4
    code, lives, lines, left = run(
        system,
        {"p": (end,) * 3, "q": ()},
        lambda lives: lives.built.get("p", 0) >= again and lives.running > 0,
    )
    assert (code, left, lives.running) == (0, [], 0)
    assert lives.built == {"p": again, "q": 1}
    assert lives.most <= 2
    assert not [line for line in lines if line.level == "critical"]


def test_tasks_when_a_link_is_started_again_while_the_old_one_still_cleans_up_then_both_are_waited_for() -> (
    None
):
    """I-28: the task of an older generation keeps its owner until it has ended."""
    ports = (PortSpec("p", "a"), PortSpec("q", "a"))
    group = Supervisor(
        "venue", (Child("p", "link"), Child("q", "link")), 1, 60 * SECOND, "group_down", retry_ns=20 * MS
    )
    actors = Supervisor("actors", (Child("a", "actor"),), 1, 60 * SECOND, "escalate")
    tree = Supervisor("root", (group, actors), 1, 60 * SECOND, "escalate")
    system = replace(build({"a": {}}, ports=ports), tree=tree)
    code, lives, lines, left = run(
        system, {"p": ("slow",), "q": ("raise",) * 2}, lambda lives: lives.built.get("p", 0) >= 2
    )
    assert (code, left, lives.running) == (0, [], 0)
    assert not [line for line in lines if line.level == "critical"]


def test_stop_when_it_begins_then_that_is_told_once_while_all_still_run() -> None:
    """A supervisor is to know that it takes a while, not that it has taken one."""
    lives, told = Lives(), []
    system = build({"a": {}}, ports=(PortSpec("p", "a"),))
    driver = LiveDriver(
        kernel_of(system),
        {},
        {"p": link("p", ("wait",), lives)},
        clock=SteadyClock(),
        log=lambda *_: None,
        on_stop=lambda: told.append(lives.running),
    )

    async def work() -> None:
        running = asyncio.ensure_future(driver.run())
        async with asyncio.timeout(5):
            while not lives.running:
                await asyncio.sleep(0.002)
        assert told == []
        driver.stop()
        driver.stop()
        await running

    uvloop.run(work())
    assert told == [1]
