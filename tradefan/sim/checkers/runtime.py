"""The kernel's promises: bounded lanes, bounded restarts, timers on time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tradefan.runtime.supervisor import Child, Supervisor
from tradefan.sim.checkers.base import Newer, Source, Watch
from tradefan.sim.witness import Kind, Violation, Witness
from tradefan.units import SECOND

LOOK_NS = 2 * SECOND
ENDS = {"actor_crashed": "actor", "link_down": "link"}


class BoundedLanes(Watch):
    """I-27: no lane is ever deeper than its capacity, facts are lost only with an actor that stays down.

    Looked at every 2 s: depths and peaks against the limits of wiring; quotes are dropped only where
    their lane was full, or by a restart; and mail is lost to actors only while some child is down.
    """

    invariant: str = "I-27"
    kind: Kind = "T"
    watches: tuple[Source, ...] = ()
    due_ns: int | None = 0

    def __init__(self) -> None:
        """Begin without losses."""
        self._kernel: Any = None
        self._lost = 0
        self._down = False

    def after_step(self, seen: Witness) -> Violation | None:
        kernel = seen.kernel
        if kernel is None or seen.now_ns < (self.due_ns or 0):
            return None
        self.due_ns = seen.now_ns + LOOK_NS
        if kernel is not self._kernel:
            self._kernel, self._lost, self._down = kernel, 0, False
        for cell in kernel.cells:
            if cell is not None and (broken := self._lanes(seen, cell)):
                return broken
        places = sum(cell is not None for cell in kernel.cells)
        # Mail for an actor that was taken out is lost, too.
        gone = places > len(kernel.system.actors)
        down = gone or any(not child.up for child in kernel.life.tree.state.children.values())
        was, self._down = self._down, down
        lost, self._lost = self._lost, kernel.state.lost_to_down
        if self._lost > lost and not (was or down or kernel.life.stopping is not None):
            return self.broken(seen, f"{lost} messages lost to actors that stay down", self._lost)
        return None

    def _lanes(self, seen: Witness, cell: Any) -> Violation | None:  # noqa: ANN401 a kernel's Cell
        limits, lanes = cell.mail.limits, cell.mail.statistics()
        for lane, most in (
            ("facts", limits.facts_max),
            ("commands", limits.commands_max),
            ("market", limits.market_max),
        ):
            deepest = max(getattr(lanes, lane), getattr(lanes, f"{lane}_peak"))
            # Facts over their capacity are the defect for which the actor has fallen.
            if deepest > most and not (lane == "facts" and cell.crashes):
                return self.broken(seen, f"at most {most} {lane} of {cell.spec.name}", deepest)
        if (
            lanes.dropped
            and not cell.crashes
            and cell.generation < 2
            and lanes.market_peak < limits.market_max
        ):
            return self.broken(seen, f"no quote of {cell.spec.name} dropped", lanes.dropped)
        return None


class BoundedRestarts(Watch):
    """I-29: no child is started again more often than its supervisor allows within its window.

    Restarts are counted here from what the supervisor says of each child, ends from the log. The end
    that follows the last restart allowed brings no further one: the child stays down, or all stops, and
    then it is started a last time for that. Who stays down is tried once per pause, and one failure of
    that try is enough.
    """

    invariant: str = "I-29"
    kind: Kind = "T"
    watches: tuple[Source, ...] = ("logs",)

    def __init__(self) -> None:
        """Begin with a kernel that has started nothing."""
        self._kernel: Any = None
        self._system: Any = None
        self._logs = Newer()
        self._limits: dict[str, Supervisor] = {}
        self._counted: dict[str, int] = {}
        self._restarts: dict[str, list[int]] = {}
        self._waiting: dict[str, None] = {}
        """Children that are down and wait for their one try."""

    def after_step(self, seen: Witness) -> Violation | None:
        kernel = seen.kernel
        fresh = self._logs.of(seen.logs)
        if kernel is None:
            return None
        if kernel is not self._kernel:
            self._begin(kernel)
        elif kernel.system is not self._system:
            self._go_on(kernel)
        ended = dict.fromkeys(line.actor for _, line in fresh if line.event in ENDS)
        broken = self._count(seen, kernel.life) or self._exhausted(seen, kernel, ended)
        children = kernel.life.tree.state.children.items()
        retries = {name: child.retry_ns for name, child in children if child.retry_ns is not None}
        self._waiting = dict.fromkeys(retries)
        self.due_ns = min(retries.values(), default=None)
        return broken

    def _go_on(self, kernel: Any) -> None:  # noqa: ANN401 a Kernel
        """Take note that it was wired anew: of whom it knows no restart, a new instance has begun."""
        self._system = kernel.system
        self._limits = dict(_children(kernel.system.tree))
        for name in self._limits:
            if kernel.life.tree.state.children[name].restarts < self._counted.get(name, 1):
                self._counted[name], self._restarts[name] = 0, []

    def _begin(self, kernel: Any) -> None:  # noqa: ANN401 a Kernel, which this module only reads
        self._kernel, self._system = kernel, kernel.system
        self._limits = dict(_children(kernel.system.tree))
        self._counted = dict.fromkeys(self._limits, 0)
        self._restarts = {name: [] for name in self._limits}
        self._waiting = {}

    def _count(self, seen: Witness, life: Any) -> Violation | None:  # noqa: ANN401 of the Kernel
        """Note the restarts of this step; hold those of each window against the limit."""
        children, last = life.tree.state.children, life.stopping is not None and life.tree.state.escalated
        for name, limits in self._limits.items():
            fresh = children[name].restarts - self._counted[name]
            if not fresh:
                continue
            self._counted[name] += fresh
            recent = [at_ns for at_ns in self._restarts[name] if at_ns > seen.now_ns - limits.window_ns]
            if name in self._waiting:
                # Its one try is as good as the last restart of a whole burst.
                recent = [seen.now_ns] * (limits.restarts_max - 1)
            self._restarts[name] = recent = [*recent, *[seen.now_ns] * fresh]
            if len(recent) > limits.restarts_max + last:
                expected = f"at most {limits.restarts_max} restarts of {name} in {limits.window_ns} ns"
                return self.broken(seen, expected, f"{len(recent)} since {recent[0]} ns")
        return None

    def _exhausted(self, seen: Witness, kernel: Any, ended: dict[str, None]) -> Violation | None:  # noqa: ANN401
        """Hold against the limit an end behind which nothing was started again."""
        for name in ended:
            limits, child = self._limits.get(name), kernel.life.tree.state.children.get(name)
            if limits is None or child is None or child.up:
                continue
            recent = [at_ns for at_ns in self._restarts[name] if at_ns > seen.now_ns - limits.window_ns]
            if len(recent) < limits.restarts_max and kernel.life.stopping is None:
                expected = f"{name} started again: {len(recent)} of {limits.restarts_max} restarts used"
                return self.broken(seen, expected, "it is down")
        return None


class TimersOnTime(Watch):
    """I-30: behind a step no timer waits whose deadline has come; within one life time never goes back.

    Fired means put into its actor's facts lane, in the first step at or behind the deadline: what was
    armed in a step is due in the next one at the earliest.
    """

    invariant: str = "I-30"
    kind: Kind = "T"
    watches: tuple[Source, ...] = ("step",)

    def __init__(self) -> None:
        """Begin without a kernel."""
        self._kernel: Any = None
        self._now_ns = self._armed = 0

    def after_step(self, seen: Witness) -> Violation | None:
        kernel = seen.kernel
        if kernel is None:
            return None
        if kernel is not self._kernel:
            self._kernel, self._now_ns, self._armed = kernel, 0, 0
        now_ns, before_ns, armed = kernel.state.now_ns, self._now_ns, self._armed
        self._now_ns, self._armed = now_ns, kernel.state.timers
        if now_ns < before_ns:
            return self.broken(seen, f"a step at {before_ns} ns or later", f"{now_ns} ns")
        # The first of the heap is the oldest of the earliest.
        if kernel.timers and kernel.timers[0][0] <= now_ns and kernel.timers[0][1] <= armed:
            deadline_ns, number, ref, *_ = kernel.timers[0]
            found = f"timer {number} of ref {ref} still waits since {deadline_ns} ns"
            return self.broken(seen, f"all timers up to {now_ns} ns fired", found)
        return None


def _children(node: Supervisor) -> Iterator[tuple[str, Supervisor]]:
    for child in node.children:
        if isinstance(child, Supervisor):
            yield from _children(child)
        else:
            assert isinstance(child, Child)
            yield child.id, node
