"""One suite under every driver: virtual, live, and a replay of the recorded steps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import uvloop

from tests.unit.runtime.players import Echo, Script, build, fail, kernel_of, say, seen, send_to
from tradefan.drivers.live import LinkHandle, LiveDriver, SteadyClock
from tradefan.drivers.replay import replay
from tradefan.drivers.virtual import VirtualDriver
from tradefan.messages.base import Message
from tradefan.messages.control import LogLine, StopAll, Timer
from tradefan.messages.union import encode
from tradefan.runtime import snapshot
from tradefan.runtime.actor import Context
from tradefan.runtime.kernel import Kernel
from tradefan.runtime.recording import StepList
from tradefan.runtime.system import RIM, PortSpec, System
from tradefan.units import MS, SECOND, Ref

A, B, PORT = Ref(1), Ref(2), Ref(3)
T0 = SECOND


def every(period_ns: int, text: str, times: int) -> Callable[[object, Message, Context], None]:
    """Script: a timer that arms itself again, `times` in all."""

    def action(_scribe: object, msg: Message, ctx: Context) -> None:
        number = msg.number + 1 if isinstance(msg, Timer) else 1
        ctx.send(PORT, say(text, number))
        if number < times:
            ctx.after(period_ns, say(text, number))

    return action


def lively() -> System:
    """Wire two actors and an echo: timers, messages, effects, a crash."""
    a: Script = {
        "Started": every(7 * MS, "tick", 40),
        "tick": every(7 * MS, "tick", 40),
        "echo tick": send_to(B, "relay"),
    }
    b: Script = {"relay": _fail_at_random, "echo again": lambda _s, _m, _c: None}
    return build({"a": a, "b": b}, ports=(PortSpec("p", "a"),), restarts_max=100)


def _fail_at_random(scribe: object, msg: Message, ctx: Context) -> None:
    if ctx.random() < 0.2:
        fail(scribe, msg, ctx)  # type: ignore[arg-type]


class JumpClock:
    """A clock that jumps to the next instant at which anything is due."""

    def __init__(self, now_ns: int) -> None:
        self.value = now_ns

    def now_ns(self) -> int:
        """Return the instant."""
        return self.value

    def call_at(self, due_ns: int, callback: Callable[[], None]) -> asyncio.Handle:
        """Jump, then call."""

        def jump() -> None:
            self.value = max(self.value, due_ns)
            callback()

        return asyncio.get_running_loop().call_soon(jump)


def run_virtual(system: System) -> tuple[Kernel, StepList]:
    """Run three seconds in virtual time, then stop."""
    kernel, steps = kernel_of(system), StepList(encode)
    driver = VirtualDriver(kernel, {"p": Echo(3 * MS)}, recorder=steps)
    driver.run_until(T0 + 3 * SECOND)
    driver.inject(RIM, StopAll(driver.now_ns + SECOND))
    driver.settle()
    assert driver.exit is not None
    return kernel, steps


def run_live(system: System) -> tuple[Kernel, StepList]:
    """Run the same under uvloop with a clock that jumps."""
    kernel, steps = kernel_of(system), StepList(encode)
    clock = JumpClock(T0)
    driver = LiveDriver(
        kernel,
        {"p": Echo(3 * MS)},
        {},
        clock=clock,
        log=lambda *_: None,
        recorder=steps,
    )

    async def work() -> int:
        running = asyncio.ensure_future(driver.run())
        while driver.hosted.next_ns() is not None or not steps.steps:
            await asyncio.sleep(0)
        clock.value = max(clock.value, T0 + 3 * SECOND)
        driver.inject(RIM, StopAll(clock.value + SECOND))
        return await running

    assert uvloop.run(work()) == 0
    return kernel, steps


def test_drivers_when_the_same_system_runs_then_equal_traces() -> None:
    """Virtual, live and a replay of either's steps give one trace hash."""
    virtual, steps = run_virtual(lively())
    live, live_steps = run_live(lively())
    assert virtual.trace is not None
    assert live.trace is not None
    expected = virtual.trace.hexdigest()
    assert live.trace.hexdigest() == expected
    assert replay(kernel_of(lively()), steps.steps) == expected
    assert replay(kernel_of(lively()), live_steps.steps) == expected
    assert sum(1 for text in seen(virtual, "a") if text == "echo tick") == 40
    assert virtual.life.dead_letters


@pytest.mark.parametrize("cut", [0, 1, 17, 60])
def test_snapshot_when_restored_in_the_middle_then_the_same_trace(cut: int) -> None:
    """Snapshot, restore, continue gives the hash of the run that was never interrupted."""
    _, recorded = run_virtual(lively())
    head, tail = recorded.steps[:cut], recorded.steps[cut:]
    original = kernel_of(lively())
    replay(original, head)
    data = snapshot.take(original, b"config", "code")
    restored = snapshot.restore(data, lively(), "code")
    assert snapshot.take(restored, b"config", "code") == snapshot.take(original, b"config", "code")
    assert replay(restored, tail) == replay(original, tail)


def test_live_when_a_link_raises_then_it_is_started_again_and_both_hear_of_it() -> None:
    """A link that dies is restarted under a new generation; nobody else is touched."""
    lives: list[int] = []
    lines: list[LogLine] = []

    class Frail:
        def __init__(self, handle: LinkHandle) -> None:
            self.handle = handle
            lives.append(len(lives))

        def apply(self, effect: Message) -> None:
            assert isinstance(effect, Timer)
            self.handle.deliver(say(f"echo {effect.name}"))

        async def run(self) -> None:
            await asyncio.sleep(0.01)
            if len(lives) < 3:
                raise OSError("scripted")
            self.handle.deliver_to("b", say("from the third life"))
            await asyncio.Event().wait()

    system = build(
        {"a": {"Started": send_to(PORT, "x")}, "b": {}}, ports=(PortSpec("p", "a"),), restarts_max=9
    )
    kernel = kernel_of(system)
    driver = LiveDriver(
        kernel, {}, {"p": Frail}, clock=SteadyClock(),
        log=lambda _now, line: lines.append(line),
    )  # fmt: skip
    kernel.state.now_ns = 0

    def heard() -> bool:
        return kernel.view("b") is not None and "from the third life" in seen(kernel, "b")

    async def work() -> int:
        running = asyncio.ensure_future(driver.run())
        async with asyncio.timeout(5):
            while not heard():
                await asyncio.sleep(0.005)
        driver.stop()
        return await running

    assert uvloop.run(work()) == 0
    assert seen(kernel, "a") == ["Started", "echo x", "LinkDown", "LinkDown", "Stop"]
    assert [line.fields["reason"] for line in lines if line.event == "link_down"] == ["OSError: scripted"] * 2
