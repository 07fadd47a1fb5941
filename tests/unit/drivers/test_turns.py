"""C-13: a turn that never ends is broken by one signal and counts as a crash of its actor alone."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import uvloop

from tests.unit.runtime.players import LIMITS, Scribe, Script, build, kernel_of, say, wish
from tradefan.drivers.live import LiveDriver, SteadyClock
from tradefan.drivers.turns import NUMBER, TurnBreaker
from tradefan.drivers.watchdog import Watchdog
from tradefan.errors import TurnOverrun
from tradefan.messages.base import Message
from tradefan.messages.control import LogLine
from tradefan.runtime.actor import Context
from tradefan.runtime.kernel import Kernel
from tradefan.runtime.system import System
from tradefan.units import Ref

A, B = Ref(1), Ref(2)
MOST_S = 0.3


def compute(_scribe: Scribe, _msg: Message, _ctx: Context) -> None:
    """Never end."""
    while True:
        pass


def sleep(_scribe: Scribe, _msg: Message, _ctx: Context) -> None:
    """Wait in C."""
    time.sleep(60)


def swallow(_scribe: Scribe, _msg: Message, _ctx: Context) -> None:
    """Never end, behind the fence of an author who catches everything that is an Exception."""
    while True:
        try:
            time.sleep(0.001)
        except Exception:  # noqa: BLE001 what such an author writes
            continue


def system(a: Script, b: Script) -> System:
    """Wire a breakable actor and, watching it, another one."""
    made = build({"a": a, "b": b}, restarts_max=100)
    first, second = made.actors
    return replace(made, actors=(replace(first, breakable=True, watchers=("b",)), second))


def turn(breaker: TurnBreaker, handle: Callable[[Any, Any], None]) -> None:
    """Take one turn of a breakable actor."""
    kernel = kernel_of(system({}, {}))
    breaker.watch(kernel)
    cell = kernel.cells[A]
    assert cell is not None
    assert cell.guard is not None
    cell.guard(handle)(None, kernel.context)


def run(wired: System, work: Callable[[LiveDriver, Kernel], object], most_s: float = MOST_S) -> list[LogLine]:
    """Run a system under the live driver with a watchdog while `work` does its part; return the log."""
    lines: list[LogLine] = []
    kernel = kernel_of(wired)
    kernel.state.now_ns = 0
    driver = LiveDriver(
        kernel,
        {},
        {},
        clock=SteadyClock(),
        log=lambda _now, line: lines.append(line),
        watchdog=Watchdog(60, lambda *_: None, turns=TurnBreaker(most_s)),
    )

    async def play() -> int:
        running = asyncio.ensure_future(driver.run())
        await asyncio.sleep(0.01)
        work(driver, kernel)
        async with asyncio.timeout(10):
            while not kernel.life.dead_letters:
                await asyncio.sleep(0.01)
        driver.stop()
        return await running

    assert uvloop.run(play()) == 0
    return lines


@pytest.mark.parametrize("stuck", [compute, sleep, swallow])
def test_turn_when_it_never_ends_then_broken_in_time_and_the_others_go_on(
    stuck: Callable[[Scribe, Message, Context], None],
) -> None:
    """One tenth of a second behind its bound at the latest; its actor is restarted, its watcher told."""
    heard: list[float] = []

    def on_next(_scribe: Scribe, _msg: Message, _ctx: Context) -> None:
        heard.append(time.monotonic())

    wired = system({"stuck": stuck}, {"next": on_next})
    began: list[float] = []

    def work(driver: LiveDriver, _kernel: Kernel) -> None:
        began.append(time.monotonic())
        driver.inject(A, say("stuck"))
        driver.inject(B, say("next"))

    lines = run(wired, work)
    (crash,) = [line for line in lines if line.event == "actor_crashed"]
    assert (crash.actor, crash.fields["message"]) == ("a", "Timer")
    assert "TurnOverrun: a: expected a turn of at most 0.3 s" in crash.fields["traceback"]
    assert MOST_S <= heard[0] - began[0] < MOST_S + 0.2


def test_turn_when_many_short_ones_follow_each_other_then_none_is_broken() -> None:
    """The bound is that of one turn, not of a visit or a step."""

    def work_a_little(_scribe: Scribe, _msg: Message, _ctx: Context) -> None:
        time.sleep(0.05)

    wired = system({"slow": work_a_little, "stuck": compute}, {})

    def work(driver: LiveDriver, _kernel: Kernel) -> None:
        for _ in range(8):
            driver.inject(A, say("slow"))
        driver.inject(A, say("stuck"))

    lines = run(wired, work, 0.2)
    assert [line.event for line in lines].count("actor_crashed") == 1


def test_signal_when_no_breakable_turn_runs_then_nothing_is_raised() -> None:
    """A shot that comes late, or from somebody else, meets nobody."""
    now = [0.0]
    breaker = TurnBreaker(1.0, lambda: now[0])
    breaker.start()
    try:
        signal.raise_signal(NUMBER)
        turn(breaker, lambda _msg, _ctx: signal.raise_signal(NUMBER))
        now[0] = 5.0
        breaker.look()
        signal.raise_signal(NUMBER)
    finally:
        breaker.stop()
    assert breaker.broken == 0


def test_look_when_a_turn_is_overdue_then_one_shot_and_no_second() -> None:
    """What the signal raised may be swallowed; a second one could meet the kernel (M25)."""
    now = [0.0]
    breaker = TurnBreaker(1.0, lambda: now[0])
    caught: list[BaseException] = []

    def looks() -> None:
        thread = threading.Thread(target=breaker.look)
        thread.start()
        thread.join()

    def stubborn(_msg: object, _ctx: object) -> None:
        looks()
        now[0] = 2.0
        for _ in range(3):
            try:
                looks()
                time.sleep(0.01)
            except TurnOverrun as error:
                caught.append(error)

    breaker.start()
    try:
        with pytest.raises(TurnOverrun):
            turn(breaker, stubborn)
        assert (len(caught), breaker.broken) == (1, 1)
        with pytest.raises(TurnOverrun):
            turn(breaker, lambda _msg, _ctx: _late(now, looks))
    finally:
        breaker.stop()


def test_turn_when_broken_then_nothing_of_it_is_left_and_a_script_breaks_the_same_one() -> None:
    """How far it came is chance: ids, timers, random numbers and answers to sends are as before it."""
    now = [0.0]
    seen: list[int] = []
    drawn: list[float] = []

    def draws(_scribe: Scribe, _msg: Message, ctx: Context) -> None:
        seen.append(ctx.next_id())
        drawn.append(ctx.random())
        ctx.after(5, say("later"))
        taken = [ctx.send(B, wish("told")) for _ in range(LIMITS.commands_max + 1)]
        assert taken.count(False) == 1
        if now[0] == 0.0 and len(seen) == 2:
            now[0] = 9.0
            raise TurnOverrun("a: too long")

    def played(breaker: TurnBreaker) -> Kernel:
        kernel = kernel_of(system({"draws": draws}, {}), trace=True)
        breaker.watch(kernel)
        for number in range(1, 5):
            kernel.step(1_000_000_000 + number, [(A, say("draws"))])
        return kernel

    live = TurnBreaker(60)
    first = played(live)
    (noted,) = live.noted
    assert (noted.ref, noted.turn, noted.message) == (A, 3, "a: too long")
    assert "TurnOverrun: a: too long" in noted.traceback
    # The one that was broken drew 2; the next one draws it again, because nobody ever saw it.
    assert seen == [1, 2, 2, 3]
    assert drawn[1] == drawn[2]
    seen.clear()
    again = played(TurnBreaker(60, script={(noted.ref, noted.turn): noted}))
    assert seen == [1, 2, 3]
    assert first.trace is not None
    assert again.trace is not None
    assert first.trace.hexdigest() == again.trace.hexdigest()
    assert first.statistics() == again.statistics()
    assert first.statistics()["b"].refused == 3
    assert first.life.dead_letters == again.life.dead_letters


@pytest.mark.parametrize("instead", [None, ValueError("what the author makes of it")])
def test_turn_when_what_broke_it_is_swallowed_then_broken_all_the_same(instead: ValueError | None) -> None:
    """A bare `except` keeps a turn alive whose State is chance: unbroken, its replay would never end."""
    now = [0.0]
    breaker = TurnBreaker(1.0, lambda: now[0])

    def bare(_msg: object, _ctx: object) -> None:
        try:
            now[0] = 2.0
            breaker.look()
            time.sleep(0.01)
        except BaseException:  # noqa: BLE001 what such an author writes
            if instead is not None:
                raise instead from None

    breaker.start()
    try:
        with pytest.raises(TurnOverrun, match="expected a turn of at most 1 s"):
            turn(breaker, bare)
    finally:
        breaker.stop()
    (noted,) = breaker.noted
    assert (noted.ref, noted.turn) == (A, 1)
    assert "in bare" in noted.traceback


def test_watch_when_turns_were_taken_before_then_counted_on_from_there() -> None:
    """A segment begins in the middle of a run, and names the turns by their numbers in all of it."""

    def overrun(_scribe: Scribe, _msg: Message, _ctx: Context) -> None:
        raise TurnOverrun("a: too long")

    kernel = kernel_of(system({"overrun": overrun}, {}))
    kernel.step(1_000_000_001, [(A, say("one")), (A, say("two"))])
    breaker = TurnBreaker(60)
    breaker.watch(kernel)
    kernel.step(1_000_000_002, [(A, say("overrun"))])
    (noted,) = breaker.noted
    assert noted.turn == 4


def _late(now: list[float], looks: Callable[[], None]) -> None:
    now[0] += 2.0
    looks()
    time.sleep(0.01)


def test_start_when_beside_the_main_thread_then_nothing_is_broken_and_nothing_fails() -> None:
    """Only the main thread hears signals: a daemon inside another program runs without this guard."""
    now = [0.0]
    breaker = TurnBreaker(1.0, lambda: now[0])

    def long(_msg: object, _ctx: object) -> None:
        now[0] = 5.0
        breaker.look()

    def work() -> None:
        breaker.start()
        turn(breaker, long)
        breaker.stop()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert (now, breaker.broken) == ([5.0], 0)
