"""The closed set of messages: what traces, snapshots and recordings encode and decode."""

from __future__ import annotations

from typing import Any, TypeVar, Union

import msgspec

from tradefan.messages import account, control, gateway, instrument, market, orders, tca, wire
from tradefan.messages.base import Command, Control, Fact, Market, Message
from tradefan.units import clean

NESTED_MAX = 12
"""Lists and mappings inside each other; where they are some hundreds, what shows or keeps them fails."""

M = TypeVar("M", bound=Message)
_ABSTRACT = {Message, Control, Fact, Command, Market}


def _classes() -> tuple[type[Message], ...]:
    found: dict[str, type[Message]] = {}
    for module in (instrument, market, wire, orders, gateway, account, control, tca):
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Message) and value not in _ABSTRACT:
                found[value.__name__] = value
    return tuple(found.values())


MESSAGES: tuple[type[Message], ...] = _classes()
"""Every message class, in order of definition."""

AnyMessage: Any = Union[MESSAGES]  # noqa: UP007 a union built at run time

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(AnyMessage)


def encode(message: Message) -> bytes:
    """Return a message as msgpack, its class name first."""
    return _encoder.encode(message)


def decode(data: bytes) -> Message:
    """Return the message of `encode`.

    Raises:
        msgspec.DecodeError: the bytes are no message of this version.
    """
    return _decoder.decode(data)


def reread(message: M) -> M:
    """Return a message from outside as it will be read: types are not checked when one is made.

    Raises:
        ValueError: no record can hold it, or nobody could read that again.
    """
    try:
        written = encode(message)
        deep, again = _is_deep(msgspec.msgpack.decode(written), NESTED_MAX), decode(written)
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(clean(str(error))) from error
    if deep:
        raise ValueError(f"nested more than {NESTED_MAX} deep")
    assert isinstance(again, type(message))
    return again


def _is_deep(value: object, most: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    parts = value.values() if isinstance(value, dict) else value
    return most == 0 or any(_is_deep(part, most - 1) for part in parts)
