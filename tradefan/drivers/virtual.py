"""Virtual time: steps to the least instant at which anything is due. Tests, simulation, backtest."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tradefan.drivers.latch import Latch
from tradefan.drivers.machines import Hosted, TimedMachine
from tradefan.errors import Defect
from tradefan.messages.base import Message
from tradefan.messages.control import Exit, LogLine, StopLink
from tradefan.messages.wire import LinkDown
from tradefan.runtime.kernel import Kernel
from tradefan.runtime.recording import Recorder
from tradefan.runtime.system import RIM
from tradefan.units import Ref

STEPS_PER_INSTANT_MAX = 100_000


class VirtualDriver:
    """Runs a system as fast as it goes, with a clock that only the system moves."""

    def __init__(
        self,
        kernel: Kernel,
        machines: Mapping[str, TimedMachine],
        *,
        recorder: Recorder | None = None,
        on_log: Callable[[int, LogLine], None] | None = None,
        latch: Latch | None = None,
    ) -> None:
        """Host a kernel; `on_log` gets every log line with its instant."""
        self.hosted = Hosted(kernel, machines, recorder, latch)
        self.now_ns = kernel.state.now_ns
        self.exit: Exit | None = None
        self.unhandled: list[Message] = []
        self._on_log = on_log

    def inject(self, ref: Ref, msg: Message) -> None:
        """Add ingress for the next step."""
        self.hosted.inject(ref, msg)

    def settle(self) -> None:
        """Step at the present instant until nothing is due.

        Raises:
            Defect: the system never comes to rest at this instant.
        """
        for _ in range(STEPS_PER_INSTANT_MAX):
            rim, more = self.hosted.step(self.now_ns)
            for _ref, effect in rim:
                self._at_rim(effect)
            due = self.hosted.next_ns()
            if self.exit is not None or not (
                more or (due is not None and due <= self.now_ns) or self.hosted.pending
            ):
                return
        raise Defect(f"no rest after {STEPS_PER_INSTANT_MAX} steps at {self.now_ns}")

    def run_until(self, until_ns: int) -> None:
        """Run to an instant, or to the exit of the system."""
        self.settle()
        while self.exit is None:
            due = self.hosted.next_ns()
            if due is None or due > until_ns:
                break
            self.now_ns = max(self.now_ns, due)
            self.settle()
        if self.exit is None:
            self.now_ns = max(self.now_ns, until_ns)

    def run_for(self, delay_ns: int) -> None:
        """Run for a while."""
        self.run_until(self.now_ns + delay_ns)

    def _at_rim(self, effect: Message) -> None:
        if isinstance(effect, LogLine):
            if self._on_log is not None:
                self._on_log(self.now_ns, effect)
        elif isinstance(effect, Exit):
            self.exit = effect
        elif isinstance(effect, StopLink):
            # A timed machine has no task: it is down as soon as it is told to be.
            self.inject(RIM, LinkDown(effect.link, effect.generation, "stopped"))
        else:
            self.unhandled.append(effect)
            del self.unhandled[:-1000]
