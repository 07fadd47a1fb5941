"""The trace: a hash over everything that the actors saw and were told, equal for equal runs."""

from __future__ import annotations

import hashlib
import struct

import msgspec

from tradefan.messages.base import Message
from tradefan.units import Ref

_FLUSH_BYTES = 1 << 16
_HEAD = struct.Struct("<qI")
_encoder = msgspec.msgpack.Encoder()


class Trace:
    """blake2b over (virtual time, ref, message, send results) of every turn, in order."""

    __slots__ = ("_buffer", "_hash")

    def __init__(self) -> None:
        """Start empty."""
        self._hash = hashlib.blake2b(digest_size=32)
        self._buffer = bytearray()

    def message(self, now_ns: int, ref: Ref, msg: Message) -> None:
        """Add a message that is about to be handled."""
        buffer = self._buffer
        buffer += _HEAD.pack(now_ns, ref)
        _encoder.encode_into(msg, buffer, len(buffer))
        if len(buffer) > _FLUSH_BYTES:
            self._hash.update(buffer)
            buffer.clear()

    def sent(self, ref: Ref, accepted: bool) -> None:
        """Add what an actor was told about a send."""
        self._buffer += b"\x01" if accepted else b"\x00"
        self._buffer.append(ref & 0xFF)

    def hexdigest(self) -> str:
        """Return the hash of everything so far, as 64 hex digits."""
        self._hash.update(self._buffer)
        self._buffer.clear()
        return self._hash.hexdigest()

    def checkpoint(self) -> bytes:
        """Return the digest so far and go on from it, as whoever restores this instant will."""
        digest = bytes.fromhex(self.hexdigest())
        self.restart(digest)
        return digest

    def restart(self, digest: bytes) -> None:
        """Go on behind the digest of an earlier part."""
        self._buffer.clear()
        self._hash = hashlib.blake2b(digest, digest_size=32)
