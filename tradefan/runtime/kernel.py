"""The kernel: one entry, `step(now_ns, ingress)`, that runs actors to quiet and says what to do.

It knows neither asyncio nor a clock nor trading; wiring gives it actors, ports and the message union.
The order of everything follows from the list of steps, and the list of steps is the recording:
ingress in arrival order; then due timers by (deadline, id) into the facts lane, so that an answer
that lies there is seen before its time-out; then actors in the order in which they became ready, at
most `PER_VISIT` messages a visit, until quiet or `PER_STEP` messages in all.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from msgspec import Struct

from tradefan.errors import Defect, TurnOverrun
from tradefan.messages.base import COMMANDS, FACTS, Message
from tradefan.messages.control import ActorState, AnyCommand, LogLine, Rejected
from tradefan.messages.wire import Received
from tradefan.runtime.context import TurnContext
from tradefan.runtime.life import Life
from tradefan.runtime.mailbox import LaneStatistics
from tradefan.runtime.system import RIM, ActorSpec, Cell, Ingress, Port, System, gone
from tradefan.runtime.trace import Trace
from tradefan.units import Ref

PER_VISIT = 64
PER_STEP = 256
OVERFLOW: Message = ActorState("kernel", "DOWN", "facts overflow")
"""The dead letter's message where an actor falls because too many facts wait for it."""
_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


class Stepped(NamedTuple):
    """What a step wants: effects in order, when to come back, whether work is left, ingress taken."""

    effects: list[Ingress]
    next_ns: int | None
    more: bool
    admitted: int


class KernelState(Struct):
    """The kernel's own counters, part of a snapshot."""

    now_ns: int
    config_id: str
    ids: int = 0
    timers: int = 0
    begun: bool = False
    steps: int = 0
    messages: int = 0
    lost_to_down: int = 0
    seed: int = 0
    """Of the actors' chance."""


Timed = tuple[int, int, Ref, int, Message]
"""(deadline, timer id, ref, actor's generation, message)."""


class Kernel:
    """Runs a wired system, one step at a time."""

    def __init__(
        self,
        system: System,
        config: Any,
        config_id: str,
        *,
        now_ns: int,
        seed: int = 0,
        trace: bool = False,
        per_step: int = PER_STEP,
        per_visit: int = PER_VISIT,
    ) -> None:
        """Prepare a system; nothing is built before the first step.

        A step handles at most `per_step` messages, of one actor at most `per_visit` in a row.
        """
        self.per_step = per_step
        self.per_visit = per_visit
        self.system = system
        self.config = config
        self.state = KernelState(now_ns, config_id, seed=seed)
        self.refs = system.refs()
        self.trace = Trace() if trace else None
        self.timers: list[Timed] = []
        self.timers_live: dict[int, None] = {}
        self.staged: list[Ingress] = []
        self.effects: list[Ingress] = []
        self.ready: deque[Cell] = deque()
        self.cells: list[Cell | None] = [None] * (len(self.refs) + 1)
        self.on_cell: Callable[[Cell], None] = lambda _cell: None
        """Who wants to know of a new actor's place, before anybody takes it."""
        self.ports: dict[Ref, Port] = {self.refs[spec.name]: Port(spec) for spec in system.ports}
        wired = {spec.name: spec for spec in system.actors}
        limits = system.actors[0].limits if system.actors else None
        for name, ref in self.refs.items():
            if name in wired:
                self.new_cell(wired[name])
            elif ref not in self.ports and limits is not None:
                self.new_cell(gone(name, limits))
        self.credited = frozenset(ref for ref, port in self.ports.items() if port.spec.credit)
        self.context = TurnContext(self)
        self.life = Life(self)

    def new_cell(self, spec: ActorSpec) -> Cell:
        """Make an actor's place; its chance follows from the seed and from the place."""
        ref = self.refs[spec.name]
        cell = Cell(spec, ref, (self.state.seed * _GOLDEN + ref) & _MASK)
        self.cells += [None] * (ref + 1 - len(self.cells))
        self.cells[ref] = cell
        self.on_cell(cell)
        return cell

    # --- the step -------------------------------------------------------------------------------

    def step(self, now_ns: int, ingress: Sequence[Ingress] = ()) -> Stepped:
        """Take ingress in order, fire due timers, run actors; say what to do and when to come back.

        Ingress beyond `admitted` was not taken: the driver keeps it in order and offers it again.
        """
        state, timers = self.state, self.timers
        if now_ns < state.now_ns:
            raise Defect(f"time went back: step at {now_ns} after {state.now_ns}")
        state.now_ns = now_ns
        state.steps += 1
        self.effects = []
        if not state.begun:
            state.begun = True
            self.life.begin()
        admitted = self._admit(ingress) if ingress else 0
        if timers and timers[0][0] <= now_ns:
            self._fire(now_ns)
        if self.ready:
            self._run(now_ns)
        # Cancelled timers leave here, so that nobody is woken for nothing.
        timers, live = self.timers, self.timers_live
        while timers and timers[0][1] not in live:
            heapq.heappop(timers)
        return Stepped(self.effects, timers[0][0] if timers else None, bool(self.ready), admitted)

    def _run(self, now_ns: int) -> None:  # noqa: C901, PLR0912, PLR0915 one inlined loop, see the docstring
        """Visit ready actors until quiet or until the step's budget is gone.

        Puts, takes and turns are inlined: a method each costs more than the work itself.
        """
        ready, staged, cells, ctx = self.ready, self.staged, self.cells, self.context
        trace, budget, per_visit = self.trace, self.per_step, self.per_visit
        if trace is not None:
            trace.begin(now_ns)
            encode, received, buffer = trace.encode, trace.received, trace.buffer
        ctx.now_ns, late = now_ns, ctx.late
        while ready and budget > 0:
            cell = ready.popleft()
            handle = cell.handle
            if handle is None:
                self.life.lose_mail(cell)
                cell.queued = False
                continue
            ctx.cell = cell
            control, facts, commands, market = cell.lanes
            if trace is not None:
                buffer += cell.tag
            turns = visit = per_visit if budget > per_visit else budget  # noqa: FURB136 min() costs more
            try:
                if len(facts) > cell.facts_peak:
                    # No fact is to blame for their number: none of them may become the poison.
                    msg = OVERFLOW
                    cell.note_facts()
                while visit:
                    if control:
                        msg = control.pop(next(iter(control)))
                    elif facts:
                        msg = facts.popleft()
                    elif commands:
                        msg = commands.popleft()
                    elif market:
                        msg = market.pop(next(iter(market)))
                    else:
                        cell.queued = False
                        break
                    visit -= 1
                    if trace is not None:
                        if type(msg) is Received:
                            received(msg)
                        else:
                            encode(msg, buffer, -1)
                    handle(msg, ctx)
                    if late:
                        ctx.commit()
                    if staged:
                        for ref, sent in staged:
                            target = cells[ref]
                            if target is None:
                                self._emit(ref, sent)
                                continue
                            if sent.lane == 1:
                                target.facts.append(sent)
                            else:
                                target.mail.put(sent)
                            if not target.queued:
                                target.queued = True
                                ready.append(target)
                        staged.clear()
                else:
                    ready.append(cell)
            except (Exception, TurnOverrun) as error:  # noqa: BLE001 the fence: any exception is a defect of this actor
                self.life.crashed(cell, msg, error)
                ready.append(cell)
            turns -= visit
            budget -= turns
            cell.turns += turns
        self.state.messages += self.per_step - budget

    def _emit(self, ref: Ref, msg: Message) -> None:
        """Let an effect leave the step, or hand it to the kernel where it is meant for the kernel."""
        if ref == RIM and self.life.takes(msg):
            self.life.take(msg)
            return
        if ref in self.credited:
            self.ports[ref].sent += 1
        self.effects.append((ref, msg))

    # --- ingress and timers -----------------------------------------------------------------------

    def _admit(self, ingress: Sequence[Ingress]) -> int:
        """Take ingress in order until a facts lane blocks; return how much was taken."""
        for index, (ref, msg) in enumerate(ingress):
            if ref == RIM:
                self.life.take(msg)
                continue
            cell = self.cells[ref]
            if cell is None:
                raise Defect(f"ingress for ref {ref}, which is no actor: {type(msg).__name__}")
            if msg.lane == FACTS and cell.actor is not None:
                if cell.mail.blocked:
                    return index
                cell.mail.facts.append(msg)
            elif (msg.lane == COMMANDS and cell.actor is None) or not cell.mail.put(msg):
                assert isinstance(msg, AnyCommand)
                reason = "down" if cell.actor is None else "full"
                self.effects.append((RIM, Rejected(cell.spec.name, msg, reason)))
            self.wake(cell)
        return len(ingress)

    def wake(self, cell: Cell) -> None:
        """Queue an actor for a visit, behind those that were ready before."""
        if not cell.queued:
            cell.queued = True
            self.ready.append(cell)

    def _fire(self, now_ns: int) -> None:
        """Put due timers into the facts lanes by (deadline, id); those of dead generations are void."""
        while self.timers and self.timers[0][0] <= now_ns:
            _, number, ref, generation, msg = heapq.heappop(self.timers)
            if number not in self.timers_live:
                continue
            del self.timers_live[number]
            cell = self.cells[ref]
            if cell is None:
                self.life.take(msg)
            elif cell.generation == generation:
                cell.mail.facts.append(msg)
                self.wake(cell)

    def new_timer(self) -> int:
        """Return the number of a timer that is about to be armed."""
        self.state.timers += 1
        return self.state.timers

    def arm(self, deadline_ns: int, ref: Ref, generation: int, msg: Message, number: int) -> None:
        """Arm a timer under a number from `new_timer`."""
        self.timers_live[number] = None
        heapq.heappush(self.timers, (deadline_ns, number, ref, generation, msg))

    def disarm(self, number: int) -> None:
        """Forget a timer; dead entries leave the heap when they come up or when they are most of it."""
        self.timers_live.pop(number, None)
        if len(self.timers) > 64 and len(self.timers) > 2 * len(self.timers_live):
            self.timers = [timer for timer in self.timers if timer[1] in self.timers_live]
            heapq.heapify(self.timers)

    # --- what a turn asks -------------------------------------------------------------------------

    def room(self, ref: Ref, msg: Message) -> bool:
        """Say whether a command fits its lane, or an effect the credit of its port."""
        waiting = sum(
            1 for staged_ref, staged in self.staged if staged_ref == ref and staged.lane == msg.lane
        )
        port = self.ports.get(ref)
        if port is not None:
            return not port.spec.credit or port.sent + waiting < port.credit
        cell = self.cells[ref]
        assert cell is not None
        if cell.actor is None:
            return False
        if len(cell.mail.commands) + waiting >= cell.mail.limits.commands_max:
            # Counted when the turn returns: one that is broken off leaves nothing.
            self.context.late.append(("refused", cell.mail))
            return False
        return True

    def new_id(self) -> int:
        """Return a number never repeated in this run."""
        self.state.ids += 1
        return self.state.ids

    def log(self, level: str, event: str, actor: str, fields: dict[str, Any]) -> None:
        """Add a log line to the effects of this step."""
        self.effects.append((RIM, LogLine(level, event, actor, fields)))

    # --- pictures between steps ---------------------------------------------------------------------

    def view(self, name: str) -> Struct | None:
        """Return an actor's picture between steps, None while it is down; changes nothing."""
        cell = self.cells[self.refs[name]]
        assert cell is not None
        return cell.actor.view() if cell.actor is not None else None

    def statistics(self) -> dict[str, LaneStatistics]:
        """Return the lanes of all actors."""
        return {cell.spec.name: cell.mail.statistics() for cell in self.cells if cell is not None}
