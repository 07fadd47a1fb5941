"""The trace: a hash over everything that the actors saw and were told, equal for equal runs."""

from __future__ import annotations

import hashlib
import struct
import zlib

import msgspec

from tradefan.messages.base import Message
from tradefan.messages.wire import Received
from tradefan.units import Ref

_FLUSH_BYTES = 1 << 16
_INSTANT = struct.Struct("<q")
_RECEIVED = struct.Struct("<qqI")
_encoder = msgspec.msgpack.Encoder()


class Trace:
    """blake2b over (virtual time, ref, message, send results) of every turn, in order.

    Of a `Received` its instant, generation and size stand for it.
    """

    __slots__ = ("_crc", "_hash", "_marked", "buffer", "encode")

    def __init__(self) -> None:
        """Start empty."""
        self._hash = hashlib.blake2b(digest_size=32)
        self.buffer = bytearray()
        self._crc = self._marked = 0
        # The kernel calls `encode(message, buffer, -1)`, which appends, at every turn of a visit.
        self.encode = _encoder.encode_into

    def begin(self, now_ns: int) -> None:
        """Begin a step with its instant; the kernel adds each actor's tag and what it takes."""
        if len(self.buffer) > _FLUSH_BYTES:
            self._flush()
        self.buffer += _INSTANT.pack(now_ns)

    def received(self, msg: Received) -> None:
        """Add what a link heard: its bytes are in every recording, and what they say is in other messages."""
        self.buffer += _RECEIVED.pack(msg.recv_ns, msg.gen, len(msg.body))

    def message(self, now_ns: int, ref: Ref, msg: Message) -> None:
        """Add a message that the kernel itself takes."""
        self.begin(now_ns)
        self.buffer += ref.to_bytes(4, "little")
        self.encode(msg, self.buffer, -1)

    def sent(self, ref: Ref, accepted: bool) -> None:
        """Add what an actor was told about a send."""
        self.buffer += b"\x01" if accepted else b"\x00"
        self.buffer.append(ref & 0xFF)

    def hexdigest(self) -> str:
        """Return the hash of everything so far, as 64 hex digits."""
        self._flush()
        return self._hash.hexdigest()

    def crc(self) -> int:
        """Return the CRC of what was added since the last call: a recorder's check of one step."""
        crc = zlib.crc32(self.buffer[self._marked :], self._crc)
        self._marked, self._crc = len(self.buffer), 0
        return crc

    def roll_back(self, length: int) -> None:
        """Forget what a turn that was broken off has added behind this length of the buffer."""
        del self.buffer[length:]

    def checkpoint(self) -> bytes:
        """Return the digest so far and go on from it, as whoever restores this instant will."""
        digest = bytes.fromhex(self.hexdigest())
        self.restart(digest)
        return digest

    def restart(self, digest: bytes) -> None:
        """Go on behind the digest of an earlier part."""
        self.buffer.clear()
        self._crc = self._marked = 0
        self._hash = hashlib.blake2b(digest, digest_size=32)

    def _flush(self) -> None:
        self._crc = zlib.crc32(self.buffer[self._marked :], self._crc)
        self._marked = 0
        self._hash.update(self.buffer)
        self.buffer.clear()
