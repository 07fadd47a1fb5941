"""The live driver: uvloop, steady clock, links as supervised tasks, signals, a stall watchdog.

Actors are not tasks: everything they do happens inside `step`, called between the loop's callbacks.
Tasks are links, started and ended here alone, on the supervisor's effects.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from tradefan.drivers.latch import Latch
from tradefan.drivers.machines import Hosted, TimedMachine
from tradefan.drivers.stop_signals import EXIT_INTERRUPTED, NUMBERS
from tradefan.drivers.watchdog import Watchdog
from tradefan.messages.base import Message
from tradefan.messages.control import ConfigResult, Exit, LogLine, Rejected, StartLink, StopAll, StopLink
from tradefan.messages.wire import FOR_THE_KERNEL, Closed, LinkDown, NotWritten, Open, Opened, Write
from tradefan.runtime.kernel import Kernel
from tradefan.runtime.recording import Recorder
from tradefan.runtime.system import RIM
from tradefan.units import MS, SECOND, Ref, clean

PENDING_PAUSE = 1_000
EXIT_DEFECT = 70


class Link(Protocol):
    """Moves bytes, decides nothing. `run` is its task; when it ends the link is down."""

    def apply(self, effect: Message) -> None:
        """Take an effect; never blocks."""
        ...

    async def run(self) -> None:
        """Work until cancelled."""
        ...


class LinkHandle(Protocol):
    """What a link may call, from the loop's thread only."""

    def deliver(self, msg: Message) -> None:
        """Hand ingress to the actor that owns this port."""
        ...

    def deliver_to(self, actor: str, msg: Message) -> None:
        """Hand ingress to a named actor (the API's link)."""
        ...

    def now_ns(self) -> int:
        """Return the driver's steady clock."""
        ...


LinkFactory = Callable[[LinkHandle], Link]


class Clock(Protocol):
    """Steady UTC, and how to wait on it."""

    def now_ns(self) -> int:
        """Return steady UTC."""
        ...

    def call_at(self, due_ns: int, callback: Callable[[], None]) -> asyncio.Handle:
        """Call back at an instant."""
        ...


class SteadyClock:
    """The wall clock once at the start plus the monotonic clock: it never steps."""

    def __init__(self) -> None:
        """Read the wall clock for the only time."""
        self._base_ns = time.time_ns() - time.monotonic_ns()

    def now_ns(self) -> int:
        """Return steady UTC in nanoseconds."""
        return self._base_ns + time.monotonic_ns()

    def call_at(self, due_ns: int, callback: Callable[[], None]) -> asyncio.Handle:
        """Call back at an instant, or up to a millisecond later: the loop counts in those, and rounds."""
        delay_ms = -(-max(0, due_ns - self.now_ns()) // MS)
        return asyncio.get_running_loop().call_later(delay_ms / 1_000, callback)


class _Runner:
    """One port with a link: the present generation, its task, its open connections."""

    def __init__(self, driver: LiveDriver, name: str, owner: Ref, factory: LinkFactory) -> None:
        self.driver = driver
        self.name = name
        self.owner = owner
        self.factory = factory
        self.generation = 0
        self.link: Link | None = None
        self.task: asyncio.Task[None] | None = None
        self.open: dict[tuple[str, int], None] = {}

    def start(self, generation: int) -> None:
        """Build the link at once, so that effects of the same step reach it; its task comes next."""
        self.generation = generation
        try:
            self.link = self.factory(_Handle(self, generation))
        except Exception as error:  # noqa: BLE001 a link that cannot be built is down for this reason
            self.driver.inject(
                RIM, LinkDown(self.name, generation, clean(f"{type(error).__name__}: {error}"))
            )
            return
        work = self._run(self.link, generation)
        self.task = asyncio.get_running_loop().create_task(work, name=f"link {self.name}")
        self.driver.own(self.task)

    async def _run(self, link: Link, generation: int) -> None:
        reason = "ended"
        try:
            await link.run()
        except asyncio.CancelledError:
            reason = "stopped"
        except Exception as error:  # noqa: BLE001 the fence of links: whatever ends one is its reason
            reason = clean(f"{type(error).__name__}: {error}")
        if generation == self.generation:
            self.link = None
            for conn, gen in self.open:
                self.driver.inject(self.owner, Closed(conn, gen, self.driver.now_ns(), None, "link_down"))
            self.open.clear()
        self.driver.inject(RIM, LinkDown(self.name, generation, reason))

    def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()

    def apply(self, effect: Message) -> None:
        """Hand an effect to the link, or answer in its place while it is down."""
        if self.link is not None:
            self.link.apply(effect)
        elif isinstance(effect, Write):
            self.driver.inject(self.owner, NotWritten(effect.conn, effect.gen, effect.req, "link_down"))
        elif isinstance(effect, Open):
            at_ns = self.driver.now_ns()
            self.driver.inject(self.owner, Closed(effect.conn, effect.gen, at_ns, None, "link_down"))

    def note(self, msg: Message) -> None:
        if isinstance(msg, Opened):
            self.open[(msg.conn, msg.gen)] = None
        elif isinstance(msg, Closed):
            self.open.pop((msg.conn, msg.gen), None)


class _Handle:
    """A link's way in; a link of an older generation is no longer heard."""

    def __init__(self, runner: _Runner, generation: int) -> None:
        self._runner = runner
        self._generation = generation

    def deliver(self, msg: Message) -> None:
        runner = self._runner
        if runner.generation == self._generation:
            runner.note(msg)
            # Room in a link's queue is the kernel's business: it answers `send`, or ends everything.
            runner.driver.inject(RIM if type(msg) in FOR_THE_KERNEL else runner.owner, msg)

    def deliver_to(self, actor: str, msg: Message) -> None:
        runner = self._runner
        if runner.generation == self._generation:
            driver = runner.driver
            driver.inject(RIM if not actor else driver.kernel.refs[actor], msg)

    def now_ns(self) -> int:
        return self._runner.driver.now_ns()


class LiveDriver:
    """Runs a wired system until it exits; `run` returns the process's exit code."""

    def __init__(
        self,
        kernel: Kernel,
        machines: Mapping[str, TimedMachine],
        links: Mapping[str, LinkFactory],
        *,
        clock: Clock,
        log: Callable[[int, LogLine], None],
        latch: Latch | None = None,
        recorder: Recorder | None = None,
        stop_deadline_ns: int = 10 * SECOND,
        watchdog: Watchdog | None = None,
        interrupted: Callable[[], bool] = lambda: False,
        on_config: Callable[[ConfigResult], None] = lambda _result: None,
        on_stop: Callable[[], None] = lambda: None,
    ) -> None:
        """Bind links to the ports of their names; nothing starts before `run`.

        `interrupted` says whether a signal came before `run` could listen: then it begins with the stop.
        `on_config` hears how each swap of the configuration ended, `on_stop` that a stop has begun, whoever
        wanted it.
        """
        self.kernel = kernel
        self.hosted = Hosted(kernel, machines, recorder, latch)
        self.clock = clock
        self._log = log
        self._stop_deadline_ns = stop_deadline_ns
        self._watchdog = watchdog
        self._interrupted = interrupted
        self._on_config = on_config
        self._on_stop: Callable[[], None] | None = on_stop
        if watchdog is not None and watchdog.turns is not None:
            watchdog.turns.watch(kernel)
        self._runners: dict[Ref, _Runner] = {}
        self._names: dict[str, _Runner] = {}
        for port in kernel.system.ports:
            if port.name in links:
                owner = RIM if port.owner is None else kernel.refs[port.owner]
                runner = _Runner(self, port.name, owner, links[port.name])
                self._runners[kernel.refs[port.name]] = self._names[port.name] = runner
        # A link that is started again may still be cleaning up in its former task.
        self._tasks: set[asyncio.Task[None]] = set()
        self._scheduled = False
        self._alarm: asyncio.Handle | None = None
        self._alarm_ns: int | None = None
        self._done: asyncio.Future[int] | None = None
        self._signals = 0
        self._paused = False

    def now_ns(self) -> int:
        """Return steady UTC."""
        return self.clock.now_ns()

    def on_rejected(self, hear: Callable[[Rejected], None]) -> None:
        """Let the API hear that an ingress command found its lane full."""
        self.hosted.rejected = hear

    def inject(self, ref: Ref, msg: Message) -> None:
        """Add ingress and see to it that a step takes it."""
        self.hosted.inject(ref, msg)
        self._schedule()

    def stop(self, code: int = 0) -> None:
        """Begin the orderly stop."""
        self.inject(RIM, StopAll(self.now_ns() + self._stop_deadline_ns, code))

    async def run(self) -> int:
        """Run until the system exits; return the exit code."""
        loop = asyncio.get_running_loop()
        self._done = loop.create_future()
        loop.set_exception_handler(self._on_loop_exception)
        before = [signal.getsignal(number) for number in NUMBERS]
        for number in NUMBERS:
            loop.add_signal_handler(number, self._on_signal)
        if self._interrupted():
            self._on_signal()
        if self._watchdog is not None:
            self._watchdog.start(loop)
        try:
            self._schedule()
            return await self._done
        finally:
            await self._end_links()
            for number, handler in zip(NUMBERS, before, strict=True):
                loop.remove_signal_handler(number)
                signal.signal(number, handler or signal.SIG_DFL)
            if self._watchdog is not None:
                self._watchdog.stop()

    def own(self, task: asyncio.Task[None]) -> None:
        """Keep a link's task until it has ended, whatever has become of its link."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _end_links(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _schedule(self) -> None:
        if not self._scheduled and self._done is not None and not self._done.done():
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._step)

    def _step(self) -> None:
        self._scheduled = False
        assert self._done is not None
        if self._done.done():
            return
        now_ns = self.clock.now_ns()
        try:
            rim, more = self.hosted.step(now_ns)
        except Exception as error:
            self._log(now_ns, LogLine("critical", "kernel_broken", "kernel", {"error": repr(error)}))
            self._finish(EXIT_DEFECT)
            raise
        if self._on_stop is not None and self.kernel.life.stopping is not None:
            begun, self._on_stop = self._on_stop, None
            begun()
        for ref, effect in rim:
            self._apply(now_ns, ref, effect)
        self._press_back()
        if more:
            self._schedule()
        else:
            self._arm()

    def _apply(self, now_ns: int, ref: Ref, effect: Message) -> None:
        runner = self._runners.get(ref)
        if runner is not None:
            runner.apply(effect)
        elif isinstance(effect, LogLine):
            self._log(now_ns, effect)
        elif isinstance(effect, StartLink | StopLink):
            self._start_or_stop(effect)
        elif isinstance(effect, ConfigResult):
            self._on_config(effect)
        elif isinstance(effect, Exit):
            self._finish(effect.code)

    def _start_or_stop(self, effect: StartLink | StopLink) -> None:
        runner = self._names.get(effect.link)
        if runner is not None:
            if isinstance(effect, StartLink):
                runner.start(effect.generation)
            else:
                runner.stop()
        elif isinstance(effect, StopLink):
            # A timed machine has no task: it is down as soon as it is told to be.
            self.inject(RIM, LinkDown(effect.link, effect.generation, "stopped"))

    def _press_back(self) -> None:
        """Tell links to stop reading while ingress waits for room, and to go on when it is gone."""
        crowded = len(self.hosted.pending) > PENDING_PAUSE
        if crowded == self._paused:
            return
        self._paused = crowded
        for runner in self._runners.values():
            act = getattr(runner.link, "pause" if crowded else "resume", None)
            if act is not None:
                act()

    def _arm(self) -> None:
        """Come back when a timer or a machine is due."""
        due_ns = self.hosted.next_ns()
        if self._alarm is not None:
            if self._alarm_ns == due_ns:
                return
            self._alarm.cancel()
            self._alarm = None
        self._alarm_ns = due_ns
        if due_ns is not None:
            self._alarm = self.clock.call_at(due_ns, self._on_alarm)

    def _on_alarm(self) -> None:
        due_ns, self._alarm, self._alarm_ns = self._alarm_ns, None, None
        if due_ns is not None and self.clock.now_ns() < due_ns and not self._scheduled:
            # Too early, because the loop counts from the beginning of its round: a step would do nothing.
            self._arm()
        else:
            self._schedule()

    def _finish(self, code: int) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_result(code)

    def _on_signal(self) -> None:
        self._signals += 1
        if self._signals == 1:
            self.stop()
        else:
            self._finish(EXIT_INTERRUPTED)

    def _on_loop_exception(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An exception that nobody awaited is a defect: log it and end in order."""
        error = context.get("exception")
        fields = {"message": str(context.get("message")), "error": repr(error)}
        self._log(self.now_ns(), LogLine("critical", "exception_lost_in_loop", "driver", fields))
        self.stop(EXIT_DEFECT)
