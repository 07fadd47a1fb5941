"""Configurations: one in a step, and only those that are valid."""

from __future__ import annotations

from typing import Any

from tradefan.messages.records import ConfigChange, Epoch, Intent, Record
from tradefan.sim.checkers.base import OverRecords, Source, Watch
from tradefan.sim.witness import Kind, Violation, Witness


class OneConfig(OverRecords):
    """I-25: what a step records names the one configuration that is in force when it ends.

    A swap is ingress before all turns of its step, so INTENT, EPOCH and CONFIG of one step cannot name two.
    A configuration that was refused changes nothing: neither the id nor, under the same id, its content.
    """

    invariant: str = "I-25"
    kind: Kind = "T"
    watches: tuple[Source, ...] = ("records", "config")

    def __init__(self) -> None:
        """Begin before the first."""
        super().__init__()
        self._kernel: Any = None
        self._id = ""
        self._config: Any = None

    def take(self, seen: Witness, record: Record) -> Violation | None:
        kernel = seen.kernel
        if kernel is None or not isinstance(record, Intent | Epoch | ConfigChange):
            return None
        now = (kernel.state.now_ns, kernel.state.config_id)
        if record.at_ns == now[0] and record.config_id != now[1]:
            return self.broken(seen, f"{type(record).__name__} of config {now[1]}", record.config_id)
        return None

    def judge(self, seen: Witness) -> Violation | None:
        kernel = seen.kernel
        if kernel is None:
            return None
        config_id, config = kernel.state.config_id, kernel.config
        changed = kernel is self._kernel and config_id == self._id and config is not self._config
        self._kernel, self._id, self._config = kernel, config_id, config
        return self.broken(seen, f"config {config_id} unchanged", "another content") if changed else None


class ValidConfig(Watch):
    """I-26: the configuration in force is one that was offered whole and valid, with that very content.

    The world knows which ones are; an invalid or truncated one has no entry in `configs`.
    """

    invariant: str = "I-26"
    kind: Kind = "T"
    watches: tuple[Source, ...] = ("step",)

    def __init__(self) -> None:
        """Begin before the first."""
        self._config: Any = None

    def after_step(self, seen: Witness) -> Violation | None:
        kernel = seen.kernel
        if kernel is None or kernel.config is self._config:
            return None
        self._config, config_id = kernel.config, kernel.state.config_id
        valid = seen.configs.get(config_id)
        if valid is None:
            return self.broken(seen, f"a config among {list(seen.configs)}", config_id)
        if valid != kernel.config:
            return self.broken(seen, f"the content of config {config_id} as it was offered", "another")
        return None
