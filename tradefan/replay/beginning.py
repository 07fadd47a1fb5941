"""What a segment begins with, as who goes on from there needs it: its kernel, and what that was wired of."""

from __future__ import annotations

import msgspec

from tradefan.config.schema import Config
from tradefan.runtime.kernel import Kernel
from tradefan.runtime.snapshot import KernelSnapshot, restore
from tradefan.runtime.system import System
from tradefan.stores.segments import Segment
from tradefan.wiring import wire


class Beginning:
    """Head and snapshot of a segment, decoded."""

    def __init__(self, segment: Segment) -> None:
        """Read both; what is of another version raises as its decoder does."""
        self.head = head = segment.head
        self._raw = segment.snapshot()
        self.saved = msgspec.msgpack.decode(self._raw, type=KernelSnapshot)
        self.config = msgspec.msgpack.decode(self.saved.config, type=Config)
        """That in force where the segment begins."""
        self.instruments = {one.id: one for one in head.instruments}
        # What has not begun may have other actors, and refs of its own.
        self._known = self.saved.refs if self.saved.kernel.begun else None

    def wire(self, config: Config) -> System:
        """Return a system as it was, or with another configuration."""
        return wire(config, self.instruments, self.head.instance, self.head.version, self._known)

    def restore(self, system: System) -> Kernel:
        """Return the kernel as it was."""
        runtime = self.config.runtime
        return restore(
            self._raw,
            system,
            self.saved.code,
            per_step=runtime.messages_per_step,
            per_visit=runtime.messages_per_visit,
        )

    def begin_anew(self, system: System, config: Config) -> Kernel:
        """Return one that has not begun, at the same instant and with the same chance for each actor."""
        kernel = Kernel(
            system,
            config,
            self.head.config_id,
            now_ns=self.saved.kernel.now_ns,
            per_step=config.runtime.messages_per_step,
            per_visit=config.runtime.messages_per_visit,
        )
        for one in self.saved.cells:
            ref = kernel.refs.get(one.name)
            cell = None if ref is None else kernel.cells[ref]
            if cell is not None:
                cell.rng = one.rng
        return kernel
