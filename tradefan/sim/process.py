"""One life of the simulated process: a new kernel over machines that outlive it, and its death.

`kill -9` is a `Crash`, raised at one of three places: before an effect reaches a machine, before a
disk call, between taking ingress and the step. Nothing of the life is used after it; what the disk
and the venue hold is all that the next one finds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from random import Random
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from tradefan.config.schema import Config
from tradefan.drivers.latch import Latch
from tradefan.drivers.machines import Hosted, TimedMachine
from tradefan.drivers.virtual import VirtualDriver
from tradefan.messages.base import Message
from tradefan.messages.control import Append, Durable, KillAnswer, KillByteSet, Rows
from tradefan.messages.wire import Closed, LinkDown, Opened, Received, Text, Write, Written
from tradefan.runtime.kernel import Kernel
from tradefan.runtime.system import System
from tradefan.sim.observer import Observer
from tradefan.sim.witness import Witness
from tradefan.units import MS, InstrumentId

EFFECT, DISK, TAKE, REPAIR = "effect", "disk", "take", "repair"
"""`REPAIR`: before a call on the journal's database file itself, which only checkpoints and repairs make."""


class Crash(BaseException):
    """The simulated process is killed at this very place; no `Exception`, so that no fence takes it."""


class Countdown:
    """Where the process dies next: after how many passes of a place, or not at all.

    SQLite turns what is raised inside it into an error of its own, so whoever called it asks `check`.
    """

    def __init__(self) -> None:
        """Begin harmless."""
        self._left: dict[str, int] = {}
        self._dead = ""

    def arm(self, place: str, passes: int) -> None:
        """Die at this place, `passes` passes from now on."""
        self._left.setdefault(place, passes)

    def disarm(self) -> None:
        """Live on, or again."""
        self._left.clear()
        self._dead = ""

    @property
    def armed(self) -> bool:
        """Whether it is to die."""
        return bool(self._left)

    def passes(self, place: str) -> None:
        """Pass a place; raise when it is the one."""
        if place in self._left:
            self._left[place] -= 1
            if self._left[place] < 0:
                self._left.clear()
                self._dead = place
                raise Crash(place)

    def check(self) -> None:
        """Raise again what killed the process below SQLite."""
        if self._dead:
            raise Crash(self._dead) from None


class Tap:
    """A machine as this process sees it: counted, observed, and dead when the process is.

    The machine has true time, the process its own, which is `skew_ns` ahead.
    """

    def __init__(self, machine: TimedMachine, countdown: Countdown, skew_ns: int = 0) -> None:
        """Stand before a machine."""
        self.countdown = countdown
        self.skew_ns = skew_ns
        self.next_ns: Callable[[], int | None]
        self.open: dict[tuple[str, int], None] = {}
        """Connections that are open: what a link tells of as closed when it dies."""
        self.renew(machine)

    def renew(self, machine: TimedMachine) -> None:
        """Stand before another machine from now on."""
        self.machine = machine
        self.next_ns = self._next_ns if self.skew_ns else machine.next_ns

    def apply(self, now_ns: int, effect: Message) -> None:
        """Pass an effect on, unless the process dies before it."""
        self.countdown.passes(EFFECT)
        skew_ns = self.skew_ns
        self.machine.apply(now_ns - skew_ns, to_true(effect, skew_ns) if skew_ns else effect)

    def take(self, now_ns: int, limit: int) -> list[Message]:
        """Pass on what is heard."""
        skew_ns = self.skew_ns
        taken = self.machine.take(now_ns - skew_ns, limit)
        for msg in taken:
            if isinstance(msg, Opened):
                self.open[msg.conn, msg.gen] = None
            elif isinstance(msg, Closed):
                self.open.pop((msg.conn, msg.gen), None)
        return [to_kernel(msg, skew_ns) for msg in taken] if skew_ns else taken

    def _next_ns(self) -> int | None:
        due_ns = self.machine.next_ns()
        return None if due_ns is None else due_ns + self.skew_ns


class DiskTap(Tap):
    """A machine that works on the disk, where the process may die in the middle of its work."""

    def apply(self, now_ns: int, effect: Message) -> None:
        """Pass an effect on."""
        try:
            super().apply(now_ns, effect)
        finally:
            self.countdown.check()

    def take(self, now_ns: int, limit: int) -> list[Message]:
        """Pass on what is heard, unless the process died when it was made."""
        try:
            return super().take(now_ns, limit)
        finally:
            self.countdown.check()


class JournalTap(DiskTap):
    """The journal's port: records on their way, and what comes back."""

    def __init__(
        self,
        machine: TimedMachine,
        countdown: Countdown,
        skew_ns: int,
        observer: Observer,
        failures: Callable[[], int] = lambda: 0,
    ) -> None:
        """Stand before the journal; `failures` counts the calls on its files that failed."""
        super().__init__(machine, countdown, skew_ns)
        self.observer = observer
        self._failures = failures

    def apply(self, now_ns: int, effect: Message) -> None:
        """Pass an effect on; an Append counts as seen when it was taken."""
        failed = self._failures()
        super().apply(now_ns, effect)
        self._look(now_ns, failed)
        if isinstance(effect, Append):
            self.observer.appended(effect)

    def take(self, now_ns: int, limit: int) -> list[Message]:
        """Pass on what the journal says."""
        failed = self._failures()
        taken = super().take(now_ns, limit)
        self._look(now_ns, failed)
        for msg in taken:
            if isinstance(msg, Durable):
                self.observer.acknowledged(msg)
            elif isinstance(msg, Rows):
                self.observer.folded(msg)
            elif isinstance(msg, KillByteSet) and msg.error is None:
                self.observer.witness.kill_byte = msg.value
        return taken

    def _look(self, now_ns: int, failed: int) -> None:
        if self._failures() > failed:
            self.observer.witness.disk_errors.append(now_ns - self.skew_ns)


class MarketTap(Tap):
    """A public market's port: notes when a frame showed best prices or a trade of an instrument."""

    def __init__(
        self,
        machine: TimedMachine,
        countdown: Countdown,
        skew_ns: int,
        seen: Witness,
        symbols: Mapping[bytes, InstrumentId],
    ) -> None:
        """Stand before a market; `symbols` are the names in its frames, what is noted has true time."""
        super().__init__(machine, countdown, skew_ns)
        self._seen = seen
        self._symbols = symbols

    def take(self, now_ns: int, limit: int) -> list[Message]:
        """Pass on what is heard."""
        taken = super().take(now_ns, limit)
        for msg in taken:
            if type(msg) is Received and msg.req is None:
                name, _, stream = msg.body[_STREAM_AT:_STREAM_TO].partition(b"@")
                instrument = self._symbols.get(name)
                if instrument is not None and not stream.startswith(b"trade"):
                    self._seen.heard[instrument] = now_ns - self.skew_ns
                elif instrument is not None:
                    self._note(instrument, now_ns - self.skew_ns, msg.body)
        return taken

    def _note(self, instrument: InstrumentId, at_ns: int, frame: bytes) -> None:
        """Note a trade that was not told before; what is no whole frame tells none."""
        try:
            told = _TRADE.decode(frame).data
        except msgspec.DecodeError:
            return
        last = self._seen.printed_last.get(instrument, 0)
        if told.t > last:
            self._seen.printed_last[instrument] = told.t
            self._seen.printed.setdefault(instrument, []).append((at_ns, Decimal(told.q)))


class _Print(Struct):
    t: int
    q: str


class _Trade(Struct):
    data: _Print


_TRADE = msgspec.json.Decoder(_Trade)
_STREAM_AT = len(b'{"stream":"')
_STREAM_TO = _STREAM_AT + 40


class ApiPort:
    """The API's port when the operator is the world: takes answers, gives nothing."""

    def __init__(
        self, countdown: Countdown, skew_ns: int, answered: Callable[[int, KillAnswer], None]
    ) -> None:
        """Begin without an answer."""
        self.countdown = countdown
        self.skew_ns = skew_ns
        self.answers = 0
        self._answered = answered

    def apply(self, now_ns: int, effect: Message) -> None:
        """Take an answer."""
        self.countdown.passes(EFFECT)
        self.answers += 1
        if isinstance(effect, KillAnswer):
            self._answered(now_ns - self.skew_ns, effect)

    def next_ns(self) -> int | None:
        """Give nothing."""
        return None

    def take(self, now_ns: int, limit: int) -> list[Message]:
        """Give nothing."""
        return []


class _Watched(Hosted):
    """Calls back after each step, when its effects have reached the machines."""

    countdown: Countdown
    after: Callable[[int], None]

    def step(self, now_ns: int) -> tuple[list[Any], bool]:
        """Step and look."""
        done = super().step(now_ns)
        self.after(now_ns)
        return done

    def _empty_machines(self, now_ns: int) -> None:
        super()._empty_machines(now_ns)
        self.countdown.passes(TAKE)


class Life:
    """One process from its start to its end; all times that others give and get are true ones."""

    def __init__(
        self,
        system: System,
        config: Config,
        config_id: str,
        machines: Mapping[str, TimedMachine],
        *,
        now_ns: int,
        skew_ns: int,
        seed: int,
        countdown: Countdown,
        latch: Latch,
        observer: Observer,
    ) -> None:
        """Start: the first step comes with `run_until`."""
        self.countdown = countdown
        self.observer = observer
        self.latch = latch
        self.looked: Callable[[], None] = lambda: None
        """Called behind each step, when the checkers have looked."""
        self.skew_ns = skew_ns
        self.kernel = Kernel(
            system,
            config,
            config_id,
            now_ns=now_ns + skew_ns,
            seed=seed,
            trace=True,
            per_step=config.runtime.messages_per_step,
            per_visit=config.runtime.messages_per_visit,
        )
        self.machines = dict(machines)
        self.driver = VirtualDriver(self.kernel, machines, on_log=observer.logged, latch=latch)
        hosted = _Watched(self.kernel, machines, None, latch)
        hosted.countdown, hosted.after = countdown, self._after
        self.driver.hosted = hosted

    @property
    def now_ns(self) -> int:
        """True time."""
        return self.driver.now_ns - self.skew_ns

    @property
    def ended(self) -> bool:
        """Whether the process has exited by itself."""
        return self.driver.exit is not None

    def run_until(self, until_ns: int) -> None:
        """Go on in virtual time.

        Raises:
            Crash: the process was killed.
            Broken: an invariant does not hold.
        """
        self.driver.run_until(until_ns + self.skew_ns)

    def stall(self, until_ns: int) -> None:
        """Let time pass without a step."""
        self.driver.now_ns = max(self.driver.now_ns, until_ns + self.skew_ns)

    def inject(self, name: str, msg: Message) -> None:
        """Hand a message to an actor, or to the kernel itself under the name `rim`."""
        ref = self.kernel.refs[name] if name else 0
        self.driver.inject(ref, msg)  # type: ignore[arg-type]

    def link_dies(self, port: str) -> bool:
        """End a link as an exception in it does, its connections with it; False when it is down already."""
        place = self.kernel.ports[self.kernel.refs[port]]
        if not place.running:
            return False
        tap = self.machines[port]
        assert isinstance(tap, Tap)
        for conn, gen in tap.open:
            assert place.spec.owner is not None
            self.inject(place.spec.owner, Closed(conn, gen, self.driver.now_ns, None, "link_down"))
        tap.open.clear()
        self.inject("", LinkDown(port, place.generation, "scripted: the link dies"))
        return True

    def trace(self) -> str:
        """Return the hash of everything that its actors saw."""
        assert self.kernel.trace is not None
        return self.kernel.trace.hexdigest()

    def _after(self, now_ns: int) -> None:
        self.observer.witness.latched = tuple(self.latch.closed)
        self.observer.after_step(now_ns - self.skew_ns)
        self.looked()


def to_true(effect: Message, skew_ns: int) -> Message:
    """Return an effect with its times in true time; the request's own stamp is the venue's time too."""
    if isinstance(effect, Write):
        body = effect.body
        if isinstance(body, Text):
            body = Text(_STAMP.sub(lambda found: f"{found[1]}{int(found[2]) - skew_ns // MS}", body.text))
        not_after_ns = None if effect.not_after_ns is None else effect.not_after_ns - skew_ns
        return replace(effect, body=body, not_after_ns=not_after_ns)
    return effect


def to_kernel(msg: Message, skew_ns: int) -> Message:
    """Return ingress with the times that a link stamps in the process's own."""
    if isinstance(msg, Received):
        return replace(msg, recv_ns=msg.recv_ns + skew_ns)
    if isinstance(msg, Opened | Written | Closed):
        return replace(msg, at_ns=msg.at_ns + skew_ns)
    return msg


_STAMP = re.compile(r'("timestamp":)(\d+)')


def draw_crash(countdown: Countdown, kind: str, rng: Random) -> None:
    """Let the process die soon, at the place that a kind of crash names."""
    most = {EFFECT: 60, DISK: 40, TAKE: 30, REPAIR: 10}
    place = kind.removeprefix("crash_")
    countdown.arm(place, int(most[place] * rng.random() ** 2))
