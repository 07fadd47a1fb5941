"""The list of steps, which is all that is needed to run a system again to the same trace; and its bytes.

A recording is a row of *segments*. A segment is a row of chunks:

    head | snapshot | steps | steps | ... | end

A chunk is a frame of fixed size, which says what follows and carries the checksums of itself and of
its content, and then the content, compressed. A steps chunk begins with the digest of the trace behind
its last step. So a file that was cut off replays to its last whole chunk, and one that was altered is
found out before anything is replayed from it.

Everything here is bytes in and bytes out; who reads and writes files is `stores/recorder.py`.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import NamedTuple, Protocol

import msgspec
from msgspec import Struct

from tradefan.errors import Defect
from tradefan.messages.base import Message
from tradefan.messages.control import LogLine
from tradefan.runtime.system import Ingress
from tradefan.units import Ref

HEAD, SNAPSHOT, STEPS, END = 1, 2, 3, 4
KIND_NAMES = {HEAD: "head", SNAPSHOT: "snapshot", STEPS: "steps", END: "end"}
_MAGIC = b"TFr1"
_FRAME = struct.Struct("<4sB?xxIIQq16s")
"""Magic, kind, whether a secret was struck out, bytes that follow, the same uncompressed, first step, its
instant, check of what follows."""
_CHECK = struct.Struct("<8s")
FRAME_SIZE = _FRAME.size + _CHECK.size
_LENGTH = struct.Struct("<I")
"""Stands before each step, which is msgpack: instant, CRC, ingress, and broken turns where there are any."""
_PREFIX = struct.Struct("<32sI")
"""Digest of the trace behind the chunk's last step, number of places in which a secret was struck out."""
_LEVEL = 1
"""Of zlib: a third of the time of its default for a tenth more bytes."""


class BrokenTurn(Struct, frozen=True, array_like=True):
    """A turn that was broken off from outside: no input of the step says so, so it is one itself."""

    ref: Ref
    turn: int
    """How many turns this actor had had, with this one."""
    message: str
    traceback: str


class Step(Struct, frozen=True, array_like=True):
    """One step: its instant, the ingress that it admitted in order, and what it did to the trace."""

    now_ns: int
    ingress: tuple[tuple[Ref, bytes], ...]
    crc: int | None = None
    broken: tuple[BrokenTurn, ...] = ()


class Recorder(Protocol):
    """Whoever wants every step; called after the step with what it admitted."""

    def record(self, now_ns: int, ingress: Sequence[Ingress]) -> None:
        """Keep one step."""
        ...


class StepList:
    """A recording in memory, for tests; messages are kept encoded, as a file would keep them."""

    def __init__(self, encode: Callable[[Message], bytes]) -> None:
        """Take the encoder of the message union."""
        self._encode = encode
        self.steps: list[Step] = []

    def record(self, now_ns: int, ingress: Sequence[Ingress]) -> None:
        """Keep one step."""
        self.steps.append(Step(now_ns, tuple((ref, self._encode(msg)) for ref, msg in ingress)))


class Check:
    """The CRC of one step: of what its actors took, and of what it sent to ports."""

    __slots__ = ("_encode_into", "_passed_over", "_scratch")

    def __init__(self, passed_over: Iterable[type[Message]]) -> None:
        """Pass over effects of these types: many, and all of them made of what was taken in the same step.

        Log lines are passed over, too: what they say may be of this process alone.
        """
        self._encode_into = msgspec.msgpack.Encoder().encode_into
        self._passed_over = frozenset((LogLine, *passed_over))
        self._scratch = bytearray()

    def of(self, crc: int, effects: Sequence[Ingress]) -> int:
        """Return the CRC that `Trace.crc` gave, with that of the effects: also of what goes to the rim."""
        for _, msg in effects:
            if type(msg) not in self._passed_over:
                scratch = self._scratch
                del scratch[:]
                self._encode_into(msg, scratch)
                crc = zlib.crc32(scratch, crc)
        return crc


def ingress_of(step: Step, decode: Callable[[bytes], Message]) -> list[tuple[Ref, Message]]:
    """Return a step's ingress as messages."""
    return [(ref, decode(raw)) for ref, raw in step.ingress]


# --- steps as bytes -----------------------------------------------------------------------------------


class StepBuffer:
    """Collects steps as the content of one chunk; the encoder appends, so that nothing is copied."""

    __slots__ = ("_encode_into", "buffer", "count")

    def __init__(self) -> None:
        """Start empty."""
        self._encode_into = msgspec.msgpack.Encoder().encode_into
        self.buffer = bytearray(_PREFIX.size)
        self.count = 0

    def add(
        self, now_ns: int, ingress: Sequence[Ingress], crc: int, broken: Sequence[BrokenTurn] = ()
    ) -> None:
        """Append a step."""
        buffer = self.buffer
        at = len(buffer)
        buffer += _ROOM
        step = (now_ns, crc, ingress, broken) if broken else (now_ns, crc, ingress)
        self._encode_into(step, buffer, -1)
        _LENGTH.pack_into(buffer, at, len(buffer) - at - _LENGTH.size)
        self.count += 1

    def take(self, digest: bytes) -> bytearray:
        """Return the content collected so far, closed by the trace's digest, and begin anew."""
        taken = self.buffer
        _PREFIX.pack_into(taken, 0, digest, 0)
        self.buffer = bytearray(_PREFIX.size)
        self.count = 0
        return taken


_ROOM = bytes(_LENGTH.size)


class Steps(NamedTuple):
    """The content of a steps chunk: the trace's digest behind it, struck-out places, the steps."""

    digest: bytes
    redacted: int
    steps: Iterator[Step]


def read_steps(content: bytes) -> Steps:
    """Return what `StepBuffer` collected."""
    digest, redacted = _PREFIX.unpack_from(content, 0)
    return Steps(digest, redacted, _steps(content))


class _Written(Struct, frozen=True, array_like=True):
    now_ns: int
    crc: int
    ingress: tuple[tuple[Ref, msgspec.Raw], ...]
    broken: tuple[BrokenTurn, ...] = ()


_DECODE = msgspec.msgpack.Decoder(_Written).decode


def _steps(content: bytes) -> Iterator[Step]:
    at, view = _PREFIX.size, memoryview(content)
    while at < len(content):
        (size,) = _LENGTH.unpack_from(content, at)
        at += _LENGTH.size
        one = _DECODE(view[at : at + size])
        at += size
        yield Step(one.now_ns, tuple((ref, bytes(raw)) for ref, raw in one.ingress), one.crc, one.broken)


def strike_out(content: bytearray, secrets: Sequence[bytes]) -> bytearray:
    """Return the content of a steps chunk with each secret as asterisks, and their number noted in it.

    The length stays, so what was encoded can still be decoded.
    """
    found = 0
    for secret in secrets:
        if here := content.count(secret):
            found += here
            content = content.replace(secret, b"*" * len(secret))
    if not found:
        return content
    digest, _ = _PREFIX.unpack_from(content, 0)
    _PREFIX.pack_into(content, 0, digest, found)
    return content


# --- chunks -------------------------------------------------------------------------------------------


class Frame(NamedTuple):
    """What stands before a chunk's content."""

    kind: int
    struck: bool
    """Whether its content has asterisks where a secret was."""
    size: int
    raw_size: int
    first_step: int
    at_ns: int
    check: bytes


def pack_chunk(
    kind: int, content: bytes | bytearray, first_step: int, at_ns: int, *, struck: bool = False
) -> bytes:
    """Return a chunk: frame and compressed content."""
    packed = zlib.compress(content, _LEVEL)
    head = _FRAME.pack(_MAGIC, kind, struck, len(packed), len(content), first_step, at_ns, _check(packed))
    return head + _CHECK.pack(_check(head)) + packed


def unpack_frame(data: bytes) -> Frame | None:
    """Return the frame of `FRAME_SIZE` bytes, None where they are no whole one."""
    if len(data) != FRAME_SIZE:
        raise Defect(f"expected {FRAME_SIZE} bytes of a frame, got {len(data)}")
    head = data[: _FRAME.size]
    magic, *fields = _FRAME.unpack(head)
    (check,) = _CHECK.unpack(data[_FRAME.size :])
    if magic != _MAGIC or check != _check(head)[:8]:
        return None
    frame = Frame(*fields)
    return frame if frame.kind in KIND_NAMES else None


def unpack_content(frame: Frame, packed: bytes) -> bytes | None:
    """Return a chunk's content, None where it is not what the frame says."""
    if _check(packed) != frame.check:
        return None
    try:
        content = zlib.decompress(packed, bufsize=frame.raw_size or 1)
    except zlib.error:
        return None
    return content if len(content) == frame.raw_size else None


def _check(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest()
