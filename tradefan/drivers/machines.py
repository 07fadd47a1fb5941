"""What a driver needs to host ports: timed machines, and the bookkeeping around their ingress."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from tradefan.drivers.latch import Latch
from tradefan.messages.base import Message
from tradefan.messages.control import CloseLatch, OpenLatch, Rejected
from tradefan.messages.wire import FOR_THE_KERNEL
from tradefan.runtime.kernel import Kernel
from tradefan.runtime.recording import Recorder
from tradefan.runtime.system import RIM, Ingress
from tradefan.units import Ref

TAKE_MAX = 256
"""Most ingress taken from one machine for one step."""


class TimedMachine(Protocol):
    """A link with nothing outside: it is told the time and has none of its own."""

    def apply(self, now_ns: int, effect: Message) -> None:
        """Take an effect that was sent to its port."""
        ...

    def next_ns(self) -> int | None:
        """Return the earliest instant at which there is ingress, None for never."""
        ...

    def take(self, now_ns: int, limit: int) -> list[Message]:
        """Return ingress that is due by now, in order, at most `limit` of it."""
        ...


class Hosted:
    """A kernel with its timed machines: collects ingress, steps, hands effects to whoever takes them."""

    def __init__(
        self,
        kernel: Kernel,
        machines: Mapping[str, TimedMachine],
        recorder: Recorder | None = None,
        latch: Latch | None = None,
    ) -> None:
        """Bind machines to the ports of their names; the order of ports is the order of ingress."""
        self.kernel = kernel
        self.recorder = recorder
        self.latch = Latch() if latch is None else latch
        self.pending: list[Ingress] = []
        self._next_ns: int | None = None
        self.rejected: Callable[[Rejected], None] = lambda _rejected: None
        self._machines: dict[Ref, TimedMachine] = {}
        self._sources: list[tuple[TimedMachine, Ref]] = []
        for port in kernel.system.ports:
            machine = machines.get(port.name)
            if machine is not None:
                self._machines[kernel.refs[port.name]] = machine
                owner = RIM if port.owner is None else kernel.refs[port.owner]
                self._sources.append((machine, owner))

    def inject(self, ref: Ref, msg: Message) -> None:
        """Add ingress behind what is waiting."""
        self.pending.append((ref, msg))

    def step(self, now_ns: int) -> tuple[list[Ingress], bool]:
        """Empty the machines, step, apply effects; return those for the rim, and whether work is left."""
        if not self.pending:
            self._empty_machines(now_ns)
        ingress = self.pending
        try:
            stepped = self.kernel.step(now_ns, ingress)
        except Exception:
            # The step that broke the kernel is the one that a recording is read for.
            if self.recorder is not None:
                self.recorder.record(now_ns, ingress)
            raise
        admitted = stepped.admitted
        if self.recorder is not None:
            self.recorder.record(now_ns, ingress[:admitted])
        self.pending = ingress[admitted:] if admitted else ingress
        rim = self._obey(now_ns, stepped.effects)
        self._next_ns = stepped.next_ns
        return rim, stepped.more or (bool(self.pending) and admitted > 0)

    def _obey(self, now_ns: int, effects: list[Ingress]) -> list[Ingress]:
        """Close the latch before anything else of the step leaves; open it in its turn.

        What the step opens and closes again behind that stays shut.
        """
        closed: dict[str, int] = {}
        for number, (_, effect) in enumerate(effects):
            if type(effect) is CloseLatch:
                self.latch.close(effect.scope, effect.reason)
                closed[effect.scope] = number
        rim: list[Ingress] = []
        machines = self._machines
        for number, (ref, effect) in enumerate(effects):
            target = machines.get(ref)
            if target is not None:
                target.apply(now_ns, effect)
            elif isinstance(effect, Rejected):
                self.rejected(effect)
            elif isinstance(effect, OpenLatch):
                if closed.get(effect.scope, -1) < number:
                    self.latch.open(effect.scope)
            elif not isinstance(effect, CloseLatch):
                rim.append((ref, effect))
        return rim

    def _empty_machines(self, now_ns: int) -> None:
        """Take what is due; while ingress waits for room nothing more is read: that is back-pressure."""
        for machine, owner in self._sources:
            due = machine.next_ns()
            if due is not None and due <= now_ns:
                taken = machine.take(now_ns, TAKE_MAX)
                self.pending.extend((RIM if type(msg) in FOR_THE_KERNEL else owner, msg) for msg in taken)

    def next_ns(self) -> int | None:
        """Return when a timer or a machine is due next, None for never."""
        earliest = self._next_ns
        for machine, _ in self._sources:
            due = machine.next_ns()
            if due is not None and (earliest is None or due < earliest):
                earliest = due
        return earliest
