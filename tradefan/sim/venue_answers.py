"""How an answer gets lost on its way: late, twice, never, or as something that cannot be read.

None of this says anything false: a mangled answer is one that nobody can read.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tradefan.sim.personality import Chances, Personality
from tradefan.units import MS, SECOND

OVERSIZED = 1_100_000
OVERSIZED_MAX = 3
"""In one seed: each costs as much as a thousand others."""
TWICE_NS = 5 * SECOND
HELD_NS = 2 * SECOND


class Answers:
    """Sends answers: `hear(due_ns, body)` is the connection of the one who asked."""

    def __init__(self, personality: Personality, chances: Chances) -> None:
        """Begin."""
        self._personality = personality
        self._chances = chances
        self._oversized = 0

    def send(self, body: bytes, due_ns: int, hear: Callable[[int, bytes], None], share: float = 1.0) -> None:
        """Let an answer that would be heard at an instant take its way; `share` of the usual trouble."""
        chances = self._chances
        if chances.hit("answer_lost", share):
            if not chances.happens("answer_lost"):
                # Of a lost one nothing else was drawn.
                hear(due_ns, body)
            return
        body = self._spoiled(body, share)
        if chances.hit("ack_delay", share):
            late_ns = self._personality.answer.draw(chances.rng("answer"))
            if late_ns and chances.happens("ack_delay", f"{late_ns / SECOND:g} s"):
                due_ns += late_ns
        hear(due_ns, body)
        if chances.hit("answer_duplicated", share):
            twice_ns = due_ns + chances.rng("answer/twice").randint(0, TWICE_NS)
            if chances.happens("answer_duplicated"):
                hear(twice_ns, body)

    def held(self, told_ns: int) -> int:
        """Return when an answer is heard that the private stream overtakes."""
        return told_ns + self._chances.rng("fill_before_ack/held").randint(MS, HELD_NS)

    def _spoiled(self, body: bytes, share: float) -> bytes:
        chances = self._chances
        if chances.hit("malformed", share):
            rng = chances.rng("malformed/how")
            name = rng.choice(tuple(_MANGLED))
            mangled = _MANGLED[name](body, rng)
            return mangled if chances.happens("malformed", name) else body
        if self._oversized < OVERSIZED_MAX and chances.hit("oversized"):
            self._oversized += 1
            if chances.happens("oversized"):
                return body[:-1] + b',"pad":"' + b"x" * OVERSIZED + b'"}'
        return body


def _cut(body: bytes, rng: Random) -> bytes:
    return body[: rng.randint(1, len(body) - 1)]


def _html(body: bytes, rng: Random) -> bytes:
    return b"<html><head><title>502 Bad Gateway</title></head></html>"


def _not_text(body: bytes, rng: Random) -> bytes:
    return b"\xff\xfe\x00" + body


def _nothing(body: bytes, rng: Random) -> bytes:
    return rng.choice((b"", b"null", b"[]", b"{}"))


def _without_status(body: bytes, rng: Random) -> bytes:
    return body.replace(b'"status":', b'"state":', 1)


def _without_ids(body: bytes, rng: Random) -> bytes:
    """Drop the venue's ids of orders; where there is none, drop the end."""
    return body.replace(b'"orderId":', b'"order":') if b'"orderId":' in body else body[:-2]


def _no_number(body: bytes, rng: Random) -> bytes:
    """Let amounts be no numbers; where there are none, drop the end."""
    for name in (b'"executedQty":"', b'"qty":"', b'"free":"'):
        if name in body:
            return body.replace(name, name + b"NaN")
    return body[:-2]


_MANGLED: dict[str, Callable[[bytes, Random], bytes]] = {
    "cut": _cut,
    "html": _html,
    "not_text": _not_text,
    "nothing": _nothing,
    "without_status": _without_status,
    "without_ids": _without_ids,
    "no_number": _no_number,
}
