"""Hears how a configuration swap ended and says so; refused files change nothing but this picture."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from tradefan.messages.control import ConfigChanged, ConfigResult, Stop, Stopped
from tradefan.runtime.actor import Context
from tradefan.runtime.system import RIM


class ConfiguratorState(Struct):
    """The active snapshot, and the last one that was refused."""

    active_id: str = ""
    swaps: int = 0
    refused: int = 0
    refused_id: str | None = None
    refused_errors: tuple[str, ...] = ()


class Configurator:
    """Keeps the history of swaps for status and log."""

    def __init__(self, name: str, state: ConfiguratorState | None = None) -> None:
        """Start with nothing known."""
        self.name = name
        self.state = state or ConfiguratorState()

    def handle(self, msg: Any, ctx: Context) -> None:
        """Note what is active, and log each result."""
        self.state.active_id = ctx.config_id
        if isinstance(msg, ConfigChanged):
            self.state.swaps += 1
        elif isinstance(msg, ConfigResult):
            self._result(msg, ctx)
        elif isinstance(msg, Stop):
            ctx.send(RIM, Stopped(self.name))

    def _result(self, msg: ConfigResult, ctx: Context) -> None:
        if not msg.errors:
            ctx.log("info", "config_active", config_id=msg.config_id)
            return
        self.state.refused += 1
        self.state.refused_id, self.state.refused_errors = msg.config_id, msg.errors
        ctx.log("error", "config_refused", config_id=msg.config_id, errors=list(msg.errors))

    def view(self) -> ConfiguratorState:
        """Return the history."""
        return self.state
