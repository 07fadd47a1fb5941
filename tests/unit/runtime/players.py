"""Small actors and machines from which the kernel's tests are built."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from functools import partial
from typing import Any

from msgspec import Struct, field

from tradefan.messages.base import Message
from tradefan.messages.control import Stop, Stopped, Timer
from tradefan.messages.orders import CancelAll
from tradefan.messages.union import decode
from tradefan.runtime.actor import Context
from tradefan.runtime.kernel import Kernel
from tradefan.runtime.mailbox import Limits
from tradefan.runtime.supervisor import Child, OnExhausted, Supervisor
from tradefan.runtime.system import RIM, ActorSpec, PortSpec, System
from tradefan.units import OwnerId, Ref

LIMITS = Limits(facts_high=8, facts_max=4_000, commands_max=4, market_max=4)


class Log(Struct):
    """What an actor has seen, in order."""

    seen: list[str] = field(default_factory=list)


def say(text: str, number: int = 0) -> Timer:
    """Build a fact that carries a text."""
    return Timer(text, "", number)


def wish(text: str) -> CancelAll:
    """Build a command that carries a text."""
    return CancelAll(OwnerId(text))


class Scribe:
    """Writes down all mail, and answers Stop; `script` maps a text to what is done when it comes."""

    def __init__(
        self, name: str, script: dict[str, Callable[[Scribe, Message, Context], None]], state: Log | None
    ) -> None:
        """Start with an empty log, or go on with a saved one."""
        self.name = name
        self.script = script
        self.state = state or Log()

    def handle(self, msg: Any, ctx: Context) -> None:
        """Write it down, then follow the script."""
        text = msg.name if isinstance(msg, Timer) else getattr(msg, "owner", type(msg).__name__)
        self.state.seen.append(text)
        action = self.script.get(text)
        if action is not None:
            action(self, msg, ctx)
        elif isinstance(msg, Stop):
            ctx.send(RIM, Stopped(self.name))

    def view(self) -> Struct:
        """Return the log."""
        return self.state


Script = dict[str, Callable[[Scribe, Message, Context], None]]


def build(
    scripts: dict[str, Script],
    *,
    ports: tuple[PortSpec, ...] = (),
    on_exhausted: OnExhausted = "stay_down",
    restarts_max: int = 3,
    limits: Limits = LIMITS,
    validators: tuple[Callable[[Any, Any], tuple[str, ...]], ...] = (),
    warned: tuple[str, ...] = (),
) -> System:
    """Wire scribes under one supervisor."""
    specs = tuple(
        ActorSpec(name, partial(Scribe, name, script), Log, limits, warned=name in warned)
        for name, script in scripts.items()
    )
    children = (
        *(Child(port.name, "link") for port in ports),
        *(Child(name, "actor") for name in scripts),
    )
    tree = Supervisor("root", children, restarts_max, 60_000_000_000, on_exhausted, retry_ns=5_000_000_000)
    first = next(iter(scripts))
    return System(specs, ports, tree, decode, lambda data: data.decode(), validators, configurator=first)


def kernel_of(system: System, *, trace: bool = True) -> Kernel:
    """Start a kernel at one second."""
    return Kernel(system, "config", "c1", now_ns=1_000_000_000, seed=7, trace=trace)


def seen(kernel: Kernel, name: str) -> list[str]:
    """Return what an actor has seen."""
    log = kernel.view(name)
    assert isinstance(log, Log)
    return log.seen


class Echo:
    """A timed machine that answers every effect after a delay, in the order of the instants."""

    def __init__(self, delay_ns: int) -> None:
        """Answer `delay_ns` later."""
        self.delay_ns = delay_ns
        self.waiting: list[tuple[int, int, Message]] = []
        self.count = 0

    def apply(self, now_ns: int, effect: Message) -> None:
        """Take an effect."""
        self.count += 1
        assert isinstance(effect, Timer)
        answer = Timer(f"echo {effect.name}", "", effect.number)
        heapq.heappush(self.waiting, (now_ns + self.delay_ns, self.count, answer))

    def next_ns(self) -> int | None:
        """Return the instant of the next answer."""
        return self.waiting[0][0] if self.waiting else None

    def take(self, now_ns: int, limit: int) -> list[Message]:
        """Return answers that are due."""
        found: list[Message] = []
        while self.waiting and self.waiting[0][0] <= now_ns and len(found) < limit:
            found.append(heapq.heappop(self.waiting)[2])
        return found


def send_to(ref: Ref, *texts: str) -> Callable[[Scribe, Message, Context], None]:
    """Script: send facts."""

    def action(_scribe: Scribe, _msg: Message, ctx: Context) -> None:
        for text in texts:
            ctx.send(ref, say(text))

    return action


def keep_silent(_scribe: Scribe, _msg: Message, _ctx: Context) -> None:
    """Script: do nothing; said to Stop it is no answer."""


def fail(_scribe: Scribe, _msg: Message, _ctx: Context) -> None:
    """Script: raise."""
    raise RuntimeError("scripted")
