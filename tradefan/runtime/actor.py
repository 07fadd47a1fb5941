"""What an actor is, and what it may ask of the kernel during a turn."""

from __future__ import annotations

from typing import Any, Protocol

from msgspec import Struct

from tradefan.messages.base import Message
from tradefan.units import Ref


class Context(Protocol):
    """The world of one turn. Everything asked here takes effect when the handler returns.

    A handler that raises has sent nothing, set no timer and logged nothing.
    """

    now_ns: int
    """Steady UTC of this step, the same for all its handlers."""

    @property
    def config(self) -> Any:
        """The immutable configuration snapshot (`tradefan.config.schema.Config`)."""
        ...

    @property
    def config_id(self) -> str:
        """The id of `config`."""
        ...

    def send(self, ref: Ref, msg: Message) -> bool:
        """Send to an actor or a port; False when a commands lane or a port's credit is exhausted."""
        ...

    def after(self, delay_ns: int, msg: Message) -> int:
        """Send `msg` to oneself in the first step at or after now + delay; the id cancels it."""
        ...

    def cancel(self, timer_id: int) -> None:
        """Forget a timer; unknown ids are ignored."""
        ...

    def next_id(self) -> int:
        """Return a number never repeated in a run: connection generations, requests."""
        ...

    def series_id(self) -> int:
        """Return such a number for a series that is counted anew: none that a venue may answer by."""
        ...

    def random(self) -> float:
        """Return a number in [0, 1) of this actor's own seeded generator."""
        ...

    def log(self, level: str, event: str, **fields: Any) -> None:
        """Write one structured line: one per decision, none per tick."""
        ...


class Actor(Protocol):
    """A function of (state, message) run to completion; it never awaits, reads no clock, opens nothing."""

    @property
    def state(self) -> Struct:
        """All that the actor knows: Structs, dicts, lists, Decimals, numbers, strings, bytes; no set."""
        ...

    def handle(self, msg: Any, ctx: Context) -> None:
        """Take one message. An exception is a defect: the supervisor builds a new actor."""
        ...

    def view(self) -> Struct:
        """Return a bounded picture for status and metrics; changes nothing."""
        ...
