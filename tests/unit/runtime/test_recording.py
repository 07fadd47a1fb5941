"""A recording's bytes: what is written is read back, and whatever was altered is found out."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.runtime.players import say
from tradefan.messages.union import encode
from tradefan.runtime.recording import (
    END,
    FRAME_SIZE,
    HEAD,
    STEPS,
    BrokenTurn,
    Frame,
    Step,
    StepBuffer,
    pack_chunk,
    read_steps,
    strike_out,
    unpack_content,
    unpack_frame,
)
from tradefan.runtime.trace import Trace
from tradefan.units import Ref

DIGEST = bytes(range(32))
STEP = st.builds(
    lambda now_ns, texts, crc, broken: (now_ns, texts, crc, broken),
    st.integers(-(2**63), 2**63 - 1),
    st.lists(st.tuples(st.integers(0, 1000), st.text(max_size=30)), max_size=4),
    st.integers(0, 2**32 - 1),
    st.lists(
        st.builds(
            BrokenTurn, st.integers(0, 99).map(Ref), st.integers(1, 2**40), st.text(max_size=9), st.just("t")
        ),
        max_size=2,
    ),
)


@given(st.lists(STEP, max_size=8))
def test_steps_when_written_then_read_back_alike(given: list[tuple]) -> None:
    """Instant, ingress in order, CRC and broken turns, for any number of steps."""
    buffer = StepBuffer()
    wanted = []
    for now_ns, texts, crc, broken in given:
        ingress = [(Ref(ref), say(text)) for ref, text in texts]
        buffer.add(now_ns, ingress, crc, broken)
        raw = tuple((ref, encode(msg)) for ref, msg in ingress)
        wanted.append(Step(now_ns, raw, crc, tuple(broken)))
    assert buffer.count == len(given)
    digest, redacted, steps = read_steps(bytes(buffer.take(DIGEST)))
    assert (digest, redacted, list(steps)) == (DIGEST, 0, wanted)
    assert buffer.count == 0


@given(st.binary(max_size=2_000), st.sampled_from((HEAD, STEPS, END)), st.integers(0), st.data())
def test_chunk_when_one_byte_is_another_then_it_is_not_believed(
    content: bytes, kind: int, first: int, data: st.DataObject
) -> None:
    """Wherever it is: frame, checksum or content. A whole one comes back as it was."""
    struck = data.draw(st.booleans())
    chunk = pack_chunk(kind, content, first % 2**63, 7, struck=struck)
    frame = unpack_frame(chunk[:FRAME_SIZE])
    assert frame is not None
    assert (frame.kind, frame.struck, frame.first_step, frame.at_ns) == (kind, struck, first % 2**63, 7)
    assert unpack_content(frame, chunk[FRAME_SIZE:]) == content
    at = data.draw(st.integers(0, len(chunk) - 1))
    flipped = bytearray(chunk)
    flipped[at] ^= data.draw(st.integers(1, 255))
    frame = unpack_frame(bytes(flipped[:FRAME_SIZE]))
    assert frame is None or unpack_content(frame, bytes(flipped[FRAME_SIZE:])) is None


def test_secret_when_it_stands_in_steps_then_struck_out_counted_and_still_decoded() -> None:
    """The length stays, so the message is one; who replays is told that this chunk is not as it was."""
    buffer = StepBuffer()
    buffer.add(1, [(Ref(1), say("my hunter22 word")), (Ref(1), say("no"))], 0)
    content = strike_out(buffer.take(DIGEST), (b"hunter22", b"absent"))
    digest, redacted, steps = read_steps(bytes(content))
    (step,) = steps
    assert (digest, redacted) == (DIGEST, 1)
    assert [raw for _, raw in step.ingress] == [encode(say("my ******** word")), encode(say("no"))]


def test_crc_when_the_buffer_is_flushed_within_a_step_then_the_same() -> None:
    """A step of any size has one CRC, however often the hash has taken the buffer away meanwhile."""
    one, two = Trace(), Trace()
    for number in range(3_000):
        one.message(1, Ref(1), say("x" * 40, number))
        two.message(1, Ref(1), say("x" * 40, number))
        if number % 700 == 0:
            two.hexdigest()
    assert one.crc() == two.crc() != 0
    assert one.crc() == two.crc() == 0
    assert one.hexdigest() == two.hexdigest()


def test_content_when_its_checksum_is_right_and_it_is_nothing_compressed_then_none() -> None:
    """Whoever can write a checksum can write anything behind it."""
    junk = b"not compressed"
    frame = Frame(STEPS, False, len(junk), 99, 0, 0, hashlib.blake2b(junk, digest_size=16).digest())
    assert unpack_content(frame, junk) is None
