"""Kernel hop against two tasks on `asyncio.Queue`, and the virtual driver against a bare loop.

Every figure is the median of several rounds in one process; ratios are printed, not judged.
Run: .venv/bin/python benchmarks/hop.py
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import uvloop
from msgspec import Struct

from tradefan.messages.base import Fact, Message
from tradefan.messages.union import decode
from tradefan.runtime.actor import Context
from tradefan.runtime.kernel import Kernel
from tradefan.runtime.mailbox import Limits
from tradefan.runtime.supervisor import Child, Supervisor
from tradefan.runtime.system import ActorSpec, System
from tradefan.units import Ref

HOPS = 200_000
ROUNDS = 7


class Ball(Fact, frozen=True, array_like=True, tag=True, gc=False):
    """What is passed on."""

    number: int


class Count(Struct):
    """How often a player was hit."""

    hits: int = 0


class Player:
    """Counts and returns the ball."""

    def __init__(self, other: Ref, _state: Count | None = None) -> None:
        """Know the other one."""
        self.other = other
        self.state = Count()

    def handle(self, msg: Any, ctx: Context) -> None:
        """Count, return."""
        if type(msg) is Ball:
            self.state.hits += 1
            ctx.send(self.other, msg)

    def view(self) -> Struct:
        """Return the count."""
        return self.state


def _system() -> System:
    limits = Limits(10_000, 20_000, 10, 10)
    specs = tuple(
        ActorSpec(name, partial(Player, other), Count, limits)
        for name, other in (("a", Ref(2)), ("b", Ref(1)))
    )
    tree = Supervisor("root", (Child("a", "actor"), Child("b", "actor")), 3, 10**9, "escalate")
    return System(specs, (), tree, decode, lambda _: None)


def kernel_hops(in_flight: int, *, trace: bool) -> float:
    """Return seconds per hop inside the kernel."""
    kernel = Kernel(_system(), None, "c", now_ns=1, trace=trace)
    kernel.step(1)
    start = time.perf_counter()
    stepped = kernel.step(2, [(Ref(1), Ball(n)) for n in range(in_flight)])
    now = 2
    while kernel.state.messages < HOPS:
        now += 1
        stepped = kernel.step(now)
    assert stepped.more
    return (time.perf_counter() - start) / kernel.state.messages


async def _queue_hops(in_flight: int) -> float:
    first: asyncio.Queue[Ball] = asyncio.Queue()
    second: asyncio.Queue[Ball] = asyncio.Queue()
    done = asyncio.Event()
    count = Count()

    async def player(mine: asyncio.Queue[Ball], other: asyncio.Queue[Ball]) -> None:
        state = Count()
        while True:
            msg = await mine.get()
            if type(msg) is Ball:
                state.hits += 1
                other.put_nowait(msg)
            count.hits += 1
            if count.hits >= HOPS:
                done.set()

    tasks = [asyncio.ensure_future(player(first, second)), asyncio.ensure_future(player(second, first))]
    start = time.perf_counter()
    for number in range(in_flight):
        first.put_nowait(Ball(number))
    await done.wait()
    spent = time.perf_counter() - start
    for task in tasks:
        task.cancel()
    return spent / HOPS


def queue_hops(in_flight: int) -> float:
    """Return seconds per hop between two tasks under uvloop."""
    return uvloop.run(_queue_hops(in_flight))


def bare_loop() -> float:
    """Return seconds per message of a deque and a dispatch by type, with the same handler body."""
    state = Count()
    queue: deque[tuple[int, Message]] = deque([(0, Ball(0))])

    def on_ball(msg: Message) -> None:
        state.hits += 1
        queue.append((0, msg))

    table: dict[type, Callable[[Message], None]] = {Ball: on_ball}
    start = time.perf_counter()
    for _ in range(HOPS):
        _, msg = queue.popleft()
        table[type(msg)](msg)
    return (time.perf_counter() - start) / HOPS


def _on(trace: bool) -> str:
    return "on " if trace else "off"


def median(measure: Callable[[], float]) -> float:
    """Return the median of several rounds."""
    return statistics.median(measure() for _ in range(ROUNDS))


def main() -> None:
    """Print the ratios."""
    for in_flight, required, goal in ((1, 4.0, 6.0), (64, 1.3, 2.0)):
        queues = median(lambda n=in_flight: queue_hops(n))  # type: ignore[misc]
        for trace in (False, True):
            ours = median(lambda n=in_flight, t=trace: kernel_hops(n, trace=t))  # type: ignore[misc]
            note = "" if trace else f"   required {required}, goal {goal}"
            print(
                f"hop, {in_flight:2} in flight, trace {_on(trace)}: queue {queues * 1e6:.2f} us,"
                f" kernel {ours * 1e6:.2f} us: {queues / ours:.2f}x cheaper{note}"
            )
    bare = median(bare_loop)
    for trace in (False, True):
        ours = median(lambda t=trace: kernel_hops(64, trace=t))  # type: ignore[misc]
        print(
            f"virtual time, trace {'on ' if trace else 'off'}: bare loop {1 / bare / 1e6:.2f} M/s,"
            f" kernel {1 / ours / 1e6:.2f} M/s: {bare / ours:.2f} of it   required 0.25, goal 0.5"
        )


if __name__ == "__main__":
    main()
