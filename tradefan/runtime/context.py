"""What an actor may ask of the kernel in a turn; it takes effect when the handler returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tradefan.errors import Defect
from tradefan.messages.base import Message
from tradefan.units import Ref

if TYPE_CHECKING:
    from tradefan.runtime.kernel import Kernel
    from tradefan.runtime.system import Cell

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


class TurnContext:
    """`runtime.actor.Context`: one object, pointed by the kernel at the actor whose turn it is."""

    __slots__ = ("_credited", "_kernel", "_ports_from", "_stage", "cell", "late", "now_ns")

    def __init__(self, kernel: Kernel) -> None:
        """Bind to a kernel."""
        self._kernel = kernel
        self._stage = kernel.staged.append
        self._credited = kernel.credited
        self._ports_from = min(kernel.ports, default=len(kernel.cells))
        self.cell: Cell
        self.now_ns = kernel.state.now_ns
        self.late: list[tuple[Any, ...]] = []

    @property
    def config(self) -> Any:
        """The configuration snapshot of this step."""
        return self._kernel.config

    @property
    def config_id(self) -> str:
        """The id of `config`."""
        return self._kernel.state.config_id

    def send(self, ref: Ref, msg: Message) -> bool:
        """Stage a message; False when a commands lane or a port's credit is exhausted."""
        # The lane by its number (COMMANDS): a global name costs as much as the comparison.
        if msg.lane == 2 or (ref >= self._ports_from and ref in self._credited):
            return self._send_limited(ref, msg)
        self._stage((ref, msg))
        return True

    def _send_limited(self, ref: Ref, msg: Message) -> bool:
        kernel = self._kernel
        accepted = kernel.room(ref, msg)
        if kernel.trace is not None:
            kernel.trace.sent(ref, accepted)
        if accepted:
            self._stage((ref, msg))
        return accepted

    def after(self, delay_ns: int, msg: Message) -> int:
        """Stage a timer; it fires in the first step at or after now + delay."""
        if delay_ns < 0:
            raise Defect(f"expected a delay >= 0 ns, got {delay_ns}")
        number = self._kernel.new_timer()
        self.late.append(("arm", self.now_ns + delay_ns, msg, number))
        return number

    def cancel(self, timer_id: int) -> None:
        """Stage the end of a timer."""
        self.late.append(("disarm", timer_id))

    def next_id(self) -> int:
        """Return a number never repeated in a run, not even by a successor."""
        return self._kernel.new_id()

    def series_id(self) -> int:
        """Return such a number for a series that is counted anew: none that a venue may answer by."""
        return self._kernel.new_id()

    def random(self) -> float:
        """Return a number in [0, 1): splitmix64, one integer of state (Steele et al., 2014)."""
        cell = self.cell
        cell.rng = (cell.rng + _GOLDEN) & _MASK
        mixed = ((cell.rng ^ (cell.rng >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        return ((mixed ^ (mixed >> 31)) >> 11) / (1 << 53)

    def log(self, level: str, event: str, **fields: Any) -> None:
        """Stage a log line."""
        self.late.append(("log", level, event, fields))

    def commit(self) -> None:
        """Let timers and log lines of a turn that returned take effect; the kernel calls it."""
        kernel, cell = self._kernel, self.cell
        for what, *rest in self.late:
            if what == "arm":
                deadline_ns, msg, number = rest
                kernel.arm(deadline_ns, cell.ref, cell.generation, msg, number)
            elif what == "disarm":
                kernel.disarm(rest[0])
            elif what == "refused":
                rest[0].refused += 1
            else:
                level, event, fields = rest
                kernel.log(level, event, cell.spec.name, fields)
        self.late.clear()
