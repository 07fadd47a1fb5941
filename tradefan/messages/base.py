"""What every message is: a frozen Struct with a lane, and a key where the lane keeps one slot a key.

Lane and key are facts of the message class, so an actor never chooses how its mail is queued.
Messages are encoded as tagged arrays: new fields go to the end and carry a default.
"""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

CONTROL = 0
"""One slot per key, never refused, taken first."""
FACTS = 1
"""Never lost: a port blocks, an actor is lossless up to a computed capacity."""
COMMANDS = 2
"""Rejected when full: `send` answers False."""
MARKET = 3
"""One slot per key, the newest wins and keeps the place of the oldest."""


class Message(Struct, frozen=True, array_like=True, tag=True):
    """Base of all messages; immutable, round-trips through msgpack, holds no callable and no ref."""

    lane: ClassVar[int] = FACTS
    kept: ClassVar[bool] = False
    """Of a control message: told to each successor, too, until the actor has said `Heard`."""

    def key(self) -> str:
        """Name the slot that this message takes in a lane with one slot per key."""
        return type(self).__name__


class Control(Message, frozen=True, array_like=True, tag=True):
    """A message of the control lane."""

    lane: ClassVar[int] = CONTROL


class Fact(Message, frozen=True, array_like=True, tag=True):
    """Something that happened; never lost."""

    lane: ClassVar[int] = FACTS

    def fact_key(self) -> str | None:
        """Name this fact alike on every road it may take, or None where it has no such name."""
        return None


class Command(Message, frozen=True, array_like=True, tag=True):
    """A wish that may be refused."""

    lane: ClassVar[int] = COMMANDS


class Market(Message, frozen=True, array_like=True, tag=True):
    """A picture of now: only the newest per key matters."""

    lane: ClassVar[int] = MARKET
