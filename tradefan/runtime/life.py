"""Start, crash, restart, stop and configuration swap: what the kernel does for actors and links."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from tradefan.errors import Defect, Refused, TurnOverrun, place_of, traceback_of
from tradefan.messages.base import Message
from tradefan.messages.control import (
    LAST_RESORT,
    ActorState,
    CloseLatch,
    ConfigChanged,
    ConfigResult,
    DeadLetter,
    Exit,
    Heard,
    Started,
    StartLink,
    Stop,
    StopAll,
    StopBegun,
    StopLink,
    Stopped,
    SwapConfig,
    Timer,
)
from tradefan.messages.wire import Credit, LinkDown, Overflow
from tradefan.runtime import rewire
from tradefan.runtime.supervisor import Child, Tree, Verdict
from tradefan.runtime.system import RIM, Cell, System
from tradefan.units import SECOND, AccountId, InstrumentId, OwnerId, clean

if TYPE_CHECKING:
    from tradefan.runtime.kernel import Kernel

DEAD_LETTERS_MAX = 100
EXIT_DEFECT = 70
TOLD_AGAIN_MAX = 1
"""So many successors are told a kept message; one that costs these, too, is left to the last resort."""
_TRACEBACK_MAX = 4_000


class Stopping(Struct):
    """The stop protocol's place: who is still to be asked, who is waited for, what was reported."""

    deadline_ns: int
    code: int
    queue: list[str]
    waiting: str | None = None
    asked: Stop | None = None
    """What the actor that is waited for was told, and what a successor of it is told again."""
    left: int = 0
    unverified: bool = False
    positions: tuple[tuple[AccountId, OwnerId, InstrumentId, Decimal], ...] = ()


class Life:
    """The kernel's hands for life and death; the decisions are the supervision tree's."""

    def __init__(self, kernel: Kernel) -> None:
        """Check that every actor and only known names stand in the tree."""
        self.kernel = kernel
        self.tree = Tree(kernel.system.tree)
        self.dead_letters: deque[DeadLetter] = deque(maxlen=DEAD_LETTERS_MAX)
        self.stopping: Stopping | None = None
        self.exited: int | None = None
        children = {child.id for child in self.tree.order}
        lost = [spec.name for spec in kernel.system.actors if spec.name not in children]
        strangers = [child.id for child in self.tree.order if child.id not in kernel.refs]
        if lost or strangers:
            raise Defect(f"actors without a supervisor: {lost}; children without a spec: {strangers}")

    def takes(self, msg: Message) -> bool:
        """Say whether this message is meant for the kernel itself."""
        return type(msg) in _TAKES

    def take(self, msg: Message) -> None:
        """Take one message that is meant for the kernel itself."""
        if self.kernel.trace is not None:
            self.kernel.trace.message(self.kernel.state.now_ns, RIM, msg)
        handler = _TAKES.get(type(msg))
        if handler is None:
            raise Defect(f"the kernel does not take {type(msg).__name__}")
        handler(self, msg)

    # --- start, crash, restart ----------------------------------------------------------------------

    def begin(self) -> None:
        """Start every child in the order of the tree."""
        for child in self.tree.order:
            self.start(child.id)

    def start(self, child_id: str) -> None:
        """Spawn an actor or ask the driver for a link; readiness is never waited for."""
        kernel = self.kernel
        ref = kernel.refs[child_id]
        self.tree.started(child_id)
        port = kernel.ports.get(ref)
        if port is None:
            self._build(self._cell(child_id))
            return
        port.generation = kernel.new_id()
        port.credit = port.sent = 0
        port.running = True
        kernel.effects.append((RIM, StartLink(child_id, port.generation)))

    def _build(self, cell: Cell) -> None:
        """Build an actor whose first message is `Started`; facts and control survive in the mailbox."""
        mail = cell.mail
        started = Started(
            restart=self.tree.child(cell.spec.name).restarts,
            commands=mail.take_commands(),
            poison=cell.poison[0],
            poison_text=cell.poison[1],
        )
        cell.poison = (None, "")
        cell.generation += 1
        mail.begin_with(started)
        self._put_kept(cell)
        self._put_stop(cell)
        try:
            cell.place(cell.spec.factory(None))
        except Exception as error:  # noqa: BLE001 a factory that raises is a crash of its actor
            self.crashed(cell, started, error)
            return
        self.kernel.wake(cell)

    def _put_kept(self, cell: Cell) -> None:
        """Tell a successor what its predecessor had to hear, unless that is what all of them die of.

        Then the last resort is taken for each of them until one calls it heard: a link may have lost it.
        The last life before an exit by a defect is for the stop: nothing is risked on it.
        """
        mail = cell.mail
        for key, kept in tuple(mail.kept.items()):
            if not kept.left and kept.again < TOLD_AGAIN_MAX and not self.tree.state.escalated:
                kept.again += 1
                mail.control[key] = kept.msg
            else:
                mail.control.pop(key, None)
                self._last_resort(cell, key)

    def _last_resort(self, cell: Cell, key: str) -> None:
        """Say in another place what an actor cannot be told any more: that, too, may be lost on its way."""
        kernel, kept = self.kernel, cell.mail.kept[key]
        if not kept.left:
            kernel.log("critical", "not_heard", cell.spec.name, {"message": key, "told": 1 + kept.again})
        kept.left = True
        kernel.effects += kernel.system.last_resort(kept.msg)

    def lose_mail(self, cell: Cell) -> None:
        """Count what waits for an actor that is down, and let nothing be lost that must be heard."""
        self.kernel.state.lost_to_down += cell.mail.clear()
        for key in [key for key, kept in cell.mail.kept.items() if not kept.left]:
            self._last_resort(cell, key)

    def _put_stop(self, cell: Cell) -> None:
        """Tell a successor of the stop: what its predecessor heard died with it."""
        stopping = self.stopping
        if stopping is None:
            return
        if cell.spec.warned:
            cell.mail.put(StopBegun())
        if stopping.waiting == cell.spec.name:
            assert stopping.asked is not None, "an actor is waited for behind its Stop"
            cell.mail.put(stopping.asked)

    def crashed(self, cell: Cell, msg: Message, error: Exception | TurnOverrun) -> None:
        """Throw the turn and its actor away, keep the message as a dead letter, ask the supervisor."""
        kernel = self.kernel
        recorded = error.text if isinstance(error, TurnOverrun) else None
        # An author's words may be what UTF-8 cannot carry, and they go on in messages.
        text = clean(recorded or traceback_of(error))[-_TRACEBACK_MAX:]
        name = cell.spec.name
        kernel.staged.clear()
        kernel.context.late.clear()
        cell.place(None)
        cell.crashes += 1
        cell.poison = (getattr(msg, "fact_key", lambda: None)(), text)
        encoded = msgspec.Raw(msgspec.msgpack.encode(msg))
        letter = DeadLetter(kernel.state.now_ns, name, encoded, type(msg).__name__, text)
        self.dead_letters.append(letter)
        # The step is where a replay of the recording finds it again.
        fields = {"message": letter.message_type, "step": kernel.state.steps, "traceback": text}
        kernel.log("error", "actor_crashed", name, fields)
        reason = clean(f"{type(error).__name__}: {error}")
        self._tell_watchers(cell, "DOWN", reason)
        verdict = self.tree.ended(name, kernel.state.now_ns, crashed=True)
        if self.tree.child(name).retry_ns is not None:
            kernel.log("error", "child_stays_down", name, {"reason": reason})
            self._tell_watchers(cell, "LOST", reason)
        self._obey(verdict)
        if cell.actor is None:
            self._give_up_stopping(name)

    def _obey(self, verdict: Verdict) -> None:
        kernel, stopping = self.kernel, self.stopping
        for child_id in verdict.end:
            self._end(child_id)
        for child_id in verdict.start:
            if stopping is None or child_id in stopping.queue or child_id == stopping.waiting:
                self.start(child_id)
        if verdict.escalate is not None and stopping is None:
            kernel.effects.append((RIM, CloseLatch("all", verdict.escalate)))
            kernel.log("critical", "supervisor_exhausted", "kernel", {"reason": verdict.escalate})
            self._on_stop_all(StopAll(kernel.state.now_ns + 5 * SECOND, EXIT_DEFECT))
        self._await_retry()

    def _await_retry(self) -> None:
        """Come back when the first of those that stay down is to be tried."""
        retry_ns = self.tree.next_ns()
        if retry_ns is not None:
            self._timer(retry_ns, "retry")

    def _end(self, child_id: str) -> None:
        kernel = self.kernel
        kernel.log("error", "child_stays_down", child_id, {})
        port = kernel.ports.get(kernel.refs[child_id])
        if port is None:
            self._cell(child_id).place(None)
            self._tell_watchers(self._cell(child_id), "LOST", "its group stays down")
            return
        port.running = False
        kernel.effects.append((RIM, StopLink(child_id, port.generation)))

    def _cell(self, name: str) -> Cell:
        cell = self.kernel.cells[self.kernel.refs[name]]
        assert cell is not None
        return cell

    def _tell_watchers(self, cell: Cell, state: str, reason: str) -> None:
        for watcher in cell.spec.watchers:
            self._tell(watcher, ActorState(cell.spec.name, state, reason))

    def _tell(self, name: str, msg: Message) -> None:
        cell = self._cell(name)
        cell.mail.put(msg)
        self.kernel.wake(cell)

    def _timer(self, deadline_ns: int, name: str, subject: str = "") -> None:
        self.kernel.arm(deadline_ns, RIM, 0, Timer(name, subject), self.kernel.new_timer())

    # --- what the kernel takes ------------------------------------------------------------------------

    def _on_link_down(self, msg: LinkDown) -> None:
        kernel = self.kernel
        port = kernel.ports[kernel.refs[msg.link]]
        if port.running and msg.generation == port.generation:
            port.running = False
            kernel.log("warning", "link_down", msg.link, {"reason": msg.reason})
            if port.spec.owner is not None:
                self._tell(port.spec.owner, msg)
            self._obey(self.tree.ended(msg.link, kernel.state.now_ns, crashed=True))
        self._go_on_stopping(msg.link)

    def _on_credit(self, msg: Credit) -> None:
        port = self.kernel.ports[self.kernel.refs[msg.link]]
        port.credit = max(port.credit, msg.total)

    def _on_overflow(self, msg: Overflow) -> None:
        """End all in order, nobody started again: what that link holds, a successor would not have."""
        self._obey(self.tree.give_up(f"{msg.link}: {msg.reason}"))

    def _on_swap(self, msg: SwapConfig) -> None:
        """Swap the configuration between turns: every validator passes, or nothing changes."""
        kernel = self.kernel
        errors, config, system = self._check_config(msg)
        if not errors:
            kernel.config = config
            kernel.state.config_id = msg.config_id
            if system is not None:
                rewire.carry_out(kernel, system)
            for spec in kernel.system.actors:
                self._tell(spec.name, ConfigChanged(msg.config_id))
        result = ConfigResult(msg.config_id, errors)
        kernel.effects.append((RIM, result))
        if kernel.system.configurator is not None:
            self._tell(kernel.system.configurator, result)

    def _check_config(self, msg: SwapConfig) -> tuple[tuple[str, ...], Any, System | None]:
        """Return what is wrong, else the configuration and, where others work by it, their system."""
        kernel = self.kernel
        try:
            config = kernel.system.decode_config(msg.payload)
            errors = [text for check in kernel.system.validators for text in check(kernel.config, config)]
            return tuple(errors), config, None if errors else rewire.prepare(kernel, config, msg)
        except Refused as no:
            return (_placed(no.text, dict(msg.places)),), None, None
        except Exception as error:  # noqa: BLE001 a validator that raises refuses
            return (f"validation failed: {error!r}",), None, None

    def _on_timer(self, msg: Timer) -> None:
        if msg.name == "retry":
            for child_id in self.tree.due(self.kernel.state.now_ns):
                self.start(child_id)
            self._await_retry()
        else:
            self._give_up_stopping(msg.subject)

    def _on_heard(self, msg: Heard) -> None:
        """Keep it no longer, unless a newer one of that key waits: that was not heard yet."""
        mail = self._cell(msg.actor).mail
        if msg.name == LAST_RESORT:
            mail.kept = {key: kept for key, kept in mail.kept.items() if not kept.left}
        elif msg.name not in mail.control:
            mail.kept.pop(msg.name, None)

    # --- stop -----------------------------------------------------------------------------------------

    def _on_stop_all(self, msg: StopAll) -> None:
        """Stop actors in reverse order, then links, of which the first started (the journal) is last.

        Each may take its share of seconds, so whoever must let nothing new in is told before the first.
        """
        if self.stopping is not None:
            return
        reverse = list(reversed(self.tree.order))
        queue = [child.id for child in reverse if child.kind == "actor"]
        queue += [child.id for child in reverse if child.kind == "link"]
        self.stopping = Stopping(msg.deadline_ns, msg.code, queue)
        for spec in self.kernel.system.actors:
            if spec.warned:
                self._tell(spec.name, StopBegun())
        self._stop_next()

    def _stop_next(self) -> None:
        stopping = self.stopping
        assert stopping is not None
        stopping.waiting = None
        while stopping.queue:
            if self._ask_to_stop(self.tree.spec(stopping.queue.pop(0)), stopping):
                return
        if self.exited is None:
            self.exited = stopping.code or int(stopping.left > 0 or stopping.unverified)
            self.kernel.effects.append((RIM, Exit(self.exited, "stopped")))

    def _ask_to_stop(self, child: Child, stopping: Stopping) -> bool:
        """Ask one child to stop, within its own share of the time; False when it is down already."""
        kernel = self.kernel
        now_ns = kernel.state.now_ns
        # Behind the deadline each child still gets a moment: cutting it at once would lose its answer.
        deadline_ns = max(min(stopping.deadline_ns, now_ns + child.shutdown_ns), now_ns + SECOND // 4)
        port = kernel.ports.get(kernel.refs[child.id])
        if port is not None:
            if not port.running:
                return False
            port.running = False
            kernel.effects.append((RIM, StopLink(child.id, port.generation)))
        elif self._cell(child.id).actor is None:
            return False
        else:
            stopping.asked = Stop(deadline_ns, stopping.code)
            self._tell(child.id, stopping.asked)
        stopping.waiting = child.id
        self._timer(deadline_ns, "stop", child.id)
        return True

    def _on_stopped(self, msg: Stopped) -> None:
        stopping = self.stopping
        if stopping is not None and stopping.waiting == msg.name:
            stopping.left += len(msg.left) + len(msg.positions)
            stopping.positions += msg.positions
            stopping.unverified = stopping.unverified or msg.unverified
            self._stop_next()

    def _give_up_stopping(self, child_id: str) -> None:
        """Wait no longer for a child whose time is over, or that nobody starts again."""
        if self.stopping is not None and self.stopping.waiting == child_id:
            self.stopping.unverified = True
            self._stop_next()

    def _go_on_stopping(self, child_id: str) -> None:
        if self.stopping is not None and self.stopping.waiting == child_id:
            self._stop_next()


def _placed(text: str, places: Mapping[str, str]) -> str:
    """Return a refusal with the place of the key that it begins with; the first place where it names none."""
    key, colon, _ = text.partition(": ")
    names_key = bool(colon) and " " not in key
    place = place_of(key, places) if names_key else next(iter(places.values()), None)
    return text if place is None else f"{place}: {text}"


_TAKES: dict[type[Message], Callable[[Life, Any], None]] = {
    LinkDown: Life._on_link_down,
    Heard: Life._on_heard,
    Credit: Life._on_credit,
    Overflow: Life._on_overflow,
    SwapConfig: Life._on_swap,
    Timer: Life._on_timer,
    StopAll: Life._on_stop_all,
    Stopped: Life._on_stopped,
}
