"""The closed set of messages: what traces, snapshots and recordings encode and decode."""

from __future__ import annotations

from typing import Any, Union

import msgspec

from tradefan.messages import account, control, gateway, instrument, market, orders, tca, wire
from tradefan.messages.base import Command, Control, Fact, Market, Message

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
