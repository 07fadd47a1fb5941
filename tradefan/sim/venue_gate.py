"""What stands before the venue's book: limits, bans and servers that fail.

A 429 or 418 in the venue's own words proves that nothing was done; a 5xx, -1006 or -1007 proves
nothing, and half of the requests that get one are carried out. Source of the words:
binance-spot-api-docs, errors.md and web-socket-api.md at a5e0bc3 (2026-07-21).
"""

from __future__ import annotations

from random import Random

import msgspec

from tradefan.sim.personality import ANSWER_DELAY_NS, Chances
from tradefan.units import MINUTE, MS, SECOND
from tradefan.venues import paper_codec as codec
from tradefan.venues.paper_account import VenueError

BAN_MIN_NS = 10 * SECOND
BAN_MAX_NS = 5 * MINUTE
LIMIT_MAX_NS = 30 * SECOND
FAILURES = (
    (500, -1000, "An unknown error occurred while processing the request."),
    (503, -1008, "Server is currently overloaded with other requests. Please try again in a few minutes."),
    (500, -1006, "An unexpected response was received from the message bus. Execution status unknown."),
    (400, -1006, "An unexpected response was received from the message bus. Execution status unknown."),
    (408, -1007, "Timeout waiting for response from backend server. Execution status unknown."),
    (504, -1007, "Timeout waiting for response from backend server. Execution status unknown."),
)
"""Status, code and text of answers that leave everything open."""


class Gate:
    """Limits and bans; nobody is told to wait beyond `until_ns`, when the trouble is to be over.

    Whoever is told counts from when he hears it, which may be `ANSWER_DELAY_NS` later.
    """

    def __init__(self, chances: Chances, until_ns: int | None) -> None:
        """Let everybody in."""
        self._chances = chances
        self._until_ns = until_ns
        self.banned_ns = 0
        """Until when everything is refused."""

    def refusal(self, request: codec.Request, at_ns: int) -> bytes | None:
        """Return the answer that keeps a request out, None where it may pass."""
        if at_ns < self.banned_ns or self._ban(at_ns):
            return _wait(request.id, 418, self.banned_ns, at_ns)
        if self._chances.hit("rate_limit"):
            wait_ns = self._chances.rng("rate_limit/wait").randint(SECOND, LIMIT_MAX_NS)
            until_ns = self._bounded(at_ns + wait_ns)
            if until_ns > at_ns and self._chances.happens("rate_limit", f"{(until_ns - at_ns) / SECOND:g} s"):
                return _wait(request.id, 429, until_ns, at_ns)
        return None

    def _ban(self, at_ns: int) -> bool:
        if not self._chances.hit("ban"):
            return False
        wait_ns = self._chances.rng("ban/wait").randint(BAN_MIN_NS, BAN_MAX_NS)
        until_ns = self._bounded(at_ns + wait_ns)
        if until_ns <= at_ns or not self._chances.happens("ban", f"{(until_ns - at_ns) / SECOND:g} s"):
            return False
        self.banned_ns = until_ns
        return True

    def _bounded(self, until_ns: int) -> int:
        return until_ns if self._until_ns is None else min(until_ns, self._until_ns - ANSWER_DELAY_NS)

    def heal(self) -> None:
        """Let everybody in again."""
        self.banned_ns = 0


def failure(request: codec.Request, rng: Random) -> bytes:
    """Return an answer that proves nothing."""
    status, code, text = rng.choice(FAILURES)
    return codec.refusal(request.id, VenueError(code, text, status))


def _wait(request_id: str | int | None, status: int, until_ns: int, at_ns: int) -> bytes:
    """Return a 418 or 429 that says when to come back."""
    until_ms = -(-until_ns // MS)
    text = "Too much request weight used; current limit is 6000 request weight per 1 MINUTE."
    if status == 418:
        text = f"Way too much request weight used; IP banned until {until_ms}."
    data = {"serverTime": at_ns // MS, "retryAfter": until_ms}
    error = {"code": -1003, "msg": text, "data": data}
    return msgspec.json.encode({"id": request_id, "status": status, "error": error, "rateLimits": []})
