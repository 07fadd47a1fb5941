"""What an answer of Binance spot proves about our request: a table as data, total over all answers.

Only a row of these tables makes an answer definite. Whatever they do not know is IN DOUBT: the
request may have been carried out, so nothing is concluded and the venue is asked.
Source: binance-spot-api-docs, errors.md at a5e0bc3 (2026-07-21).
"""

from __future__ import annotations

from enum import StrEnum

import msgspec
from msgspec import Struct

from tradefan.messages.wire import Op
from tradefan.units import MINUTE, SECOND

SHUT_UNKNOWN_NS = 60 * SECOND
"""A gate in front of the venue answered 403, 418 or 429 in its own words."""
SHUT_BAN_NS = 5 * MINUTE
"""A ban that does not say how long."""


class Verdict(StrEnum):
    """What is proved."""

    DONE = "DONE"
    """The venue did what was asked; the result says what."""
    REJECTED = "REJECTED"
    """Definite: the request changed nothing; a rejected create does not exist."""
    NOT_FOUND = "NOT_FOUND"
    """The venue does not know the order now: one negative look, no proof."""
    IN_DOUBT = "IN_DOUBT"
    """Nobody knows."""


class Outcome(Struct, frozen=True):
    """A verdict with its class (`FUNDS`, `FILTER`, ...) and the venue's text.

    Nothing may be written for `shut_ns`, or where it is known before `shut_until_ns` of the venue's
    clock, which is only given where the venue did not say what its clock shows now.
    """

    verdict: Verdict
    reason: str
    text: str = ""
    code: int | None = None
    shut_ns: int = 0
    shut_until_ns: int | None = None

    @property
    def why(self) -> str:
        """Class and text in one line, the class first."""
        return f"{self.reason}: {self.text}" if self.text else self.reason


LEGS = "LEGS"
"""Reason of an answer whose two legs have to be read, each for itself."""
TEXT_MAX = 300
"""Of the venue's own words so much goes into reasons, which are journaled."""
_Row = tuple[Verdict, str]
_REJECTED, _DOUBT = Verdict.REJECTED, Verdict.IN_DOUBT

CODES: dict[int, _Row] = {
    -1000: (_DOUBT, "VENUE"),
    -1001: (_DOUBT, "VENUE"),
    -1002: (_REJECTED, "AUTH"),
    -1006: (_DOUBT, "VENUE"),
    -1007: (_DOUBT, "VENUE"),
    -1008: (_DOUBT, "VENUE"),
    -1014: (_REJECTED, "DEFECT"),
    -1016: (_DOUBT, "VENUE"),
    -1020: (_REJECTED, "DEFECT"),
    -1021: (_REJECTED, "TIME"),
    -1022: (_REJECTED, "AUTH"),
    -1111: (_REJECTED, "FILTER"),
    # A query's answer that the order is unknown; a cancel says -2011.
    -2013: (Verdict.NOT_FOUND, "UNKNOWN_ORDER"),
    -2014: (_REJECTED, "AUTH"),
    -2015: (_REJECTED, "AUTH"),
    # Ended without a fill over 90 days ago: known, but not told.
    -2026: (_DOUBT, "ARCHIVED"),
    # Cancel-replace answers leg by leg; until the legs are read (`binance_legs`) nothing is known.
    -2021: (_DOUBT, LEGS),
    -2022: (_DOUBT, LEGS),
    -2038: (_REJECTED, "UNCHANGED"),
    -2039: (_REJECTED, "DEFECT"),
}
RANGES: tuple[tuple[int, int, _Row], ...] = (
    # The request never reached the matching engine: parameters, then order lists.
    (-1199, -1100, (_REJECTED, "DEFECT")),
    (-1299, -1200, (_REJECTED, "DEFECT")),
)
BY_TEXT = (-1010, -1013, -2010, -2011)
"""Codes that mean what their text says."""
_OF_A_LEG = (-1010, -2010, -2011)
"""Codes of the matching engine: about a cancel-replace they say something of one leg only."""
_WHOLE = ("AUTH", "UNSUPPORTED")
"""What they may say of both: the symbol or the account takes no such request."""
TEXTS: tuple[tuple[str, _Row], ...] = (
    # It says that an order of this id exists, which may be ours.
    ("duplicate order sent", (_DOUBT, "DUPLICATE")),
    ("unknown order sent", (Verdict.NOT_FOUND, "UNKNOWN_ORDER")),
    ("filter failure", (_REJECTED, "FILTER")),
    ("insufficient balance", (_REJECTED, "FUNDS")),
    ("would immediately match", (_REJECTED, "POST_ONLY")),
    ("would trigger immediately", (_REJECTED, "WOULD_TRIGGER")),
    ("market is closed", (_REJECTED, "HALT")),
    ("due to cancel restrictions", (_REJECTED, "RESTRICTED")),
    ("disabled on this account", (_REJECTED, "AUTH")),
    ("may not place or cancel", (_REJECTED, "AUTH")),
    ("trading is not enabled", (_REJECTED, "AUTH")),
    ("book liquidity is", (_REJECTED, "LIQUIDITY")),
    ("not support", (_REJECTED, "UNSUPPORTED")),
    ("not permitted", (_REJECTED, "UNSUPPORTED")),
    ("restricted for", (_REJECTED, "UNSUPPORTED")),
    ("may not use pegged", (_REJECTED, "UNSUPPORTED")),
    ("cannot be used with", (_REJECTED, "UNSUPPORTED")),
    ("price * qty", (_REJECTED, "DEFECT")),
    ("icebergqty exceeds", (_REJECTED, "DEFECT")),
    ("unsupported order combination", (_REJECTED, "DEFECT")),
    ("relationship of the prices", (_REJECTED, "DEFECT")),
    ("cancel order is invalid", (_REJECTED, "DEFECT")),
)
_UNLISTED: _Row = (_DOUBT, "UNLISTED")
_GATES = (403, 418, 429)


class _Detail(Struct):
    retry_after: int | None = msgspec.field(name="retryAfter", default=None)
    server_time: int | None = msgspec.field(name="serverTime", default=None)


class _Error(Struct):
    code: int
    msg: str = ""
    data: _Detail | None = None


class _Reply(Struct):
    """Either road: REST has `code` at the top, the WebSocket API an envelope with `error`."""

    # On REST a word of the order, not the answer's status.
    status: int | str | None = None
    error: _Error | None = None
    code: int | None = None
    msg: str = ""


def outcome(op: Op, status: int | None, body: bytes) -> Outcome:
    """Class the answer to a request; what it does not know is IN_DOUBT.

    `status` is the HTTP status, None on the WebSocket API, whose envelope carries it.
    """
    if status is not None and status // 100 == 2 and body.lstrip()[:1] == b"[":
        return _listed(body)
    try:
        reply = msgspec.json.decode(body, type=_Reply)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _unreadable(status)
    if status is None and isinstance(reply.status, int):
        status = reply.status
    error = reply.error
    if error is None and reply.code is not None:
        error = _Error(reply.code, reply.msg)
    if status is None:
        return Outcome(_DOUBT, "UNREADABLE", "an answer without a status")
    if error is not None:
        return _classed(op, status, error)
    if status // 100 == 2:
        return Outcome(Verdict.DONE, "")
    return _unreadable(status)


def leg(op: Op, code: int, text: str) -> Outcome:
    """Class the failure of one leg of a cancel-replace, as if `op` had been sent alone."""
    return _by_table(op, code, text)


def _listed(body: bytes) -> Outcome:
    """A REST answer that is a list has no envelope: it is read or it is not."""
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Outcome(_DOUBT, "UNREADABLE", "a list that does not decode")
    return Outcome(Verdict.DONE, "")


def _unreadable(status: int | None) -> Outcome:
    """Without the venue's own words even a refusal proves nothing: a proxy may have spoken."""
    shut_ns = SHUT_UNKNOWN_NS if status in _GATES else 0
    return Outcome(_DOUBT, "UNREADABLE", f"status {status} without the venue's JSON", shut_ns=shut_ns)


def _classed(op: Op, status: int, error: _Error) -> Outcome:
    if status in _GATES:
        return _gate(status, error)
    if not 400 <= status < 500:
        return Outcome(_DOUBT, "VENUE", error.msg[:TEXT_MAX], error.code)
    return _by_table(op, error.code, error.msg)


def _by_table(op: Op, code: int, text: str) -> Outcome:
    verdict, reason = _row(code, text)
    unknown = verdict is Verdict.NOT_FOUND and op not in ("query", "cancel")
    # Filters are looked at before either leg; what the engine refuses comes leg by leg, so alone it
    # does not say what became of the other (web-socket-api.md, "Cancel and replace order").
    halved = op == "replace" and code in _OF_A_LEG and reason not in _WHOLE
    return Outcome(_DOUBT if unknown or halved else verdict, reason, text[:TEXT_MAX], code)


def _row(code: int, text: str) -> _Row:
    if code in BY_TEXT:
        low = text.lower()
        for fragment, row in TEXTS:
            if fragment in low:
                return row
        # The other -1013 never reached the matching engine, whatever they say.
        return (_REJECTED, "DEFECT") if code == -1013 else _UNLISTED
    if code in CODES:
        return CODES[code]
    return next((row for low_end, high_end, row in RANGES if low_end <= code <= high_end), _UNLISTED)


def _gate(status: int, error: _Error) -> Outcome:
    """Classify 403, 418 and 429 with the venue's JSON; the latter two say when to come back."""
    code, text = error.code, error.msg[:TEXT_MAX]
    verdict, reason, wait_ns = _DOUBT, "UNLISTED", SHUT_UNKNOWN_NS
    if status == 429 and code in (-1003, -1015):
        verdict, reason = _REJECTED, "RATE_LIMIT"
    elif status == 418 and code == -1003:
        verdict, reason, wait_ns = _REJECTED, "BAN", SHUT_BAN_NS
    said_ns, until_ns = _wait(error)
    return Outcome(verdict, reason, text, code, wait_ns if said_ns is None else said_ns, until_ns)


def _wait(error: _Error) -> tuple[int | None, int | None]:
    """Return (how long to wait, or else until which instant of the venue's clock).

    Beside `retryAfter` stands `serverTime`: their difference needs no clock of ours, which may be
    wrong (web-socket-api.md, "IP limits").
    """
    data = error.data or _Detail()
    until_ms = _banned_until_ms(error.msg) if data.retry_after is None else data.retry_after
    if until_ms is None:
        return None, None
    if data.server_time is None:
        return None, until_ms * 1_000_000
    return max(until_ms - data.server_time, 1) * 1_000_000, None


def _banned_until_ms(text: str) -> int | None:
    """Read `IP banned until 1660090423228.`: on REST the instant stands only in the sentence."""
    digits = text.partition("banned until ")[2].partition(".")[0]
    return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 16 else None
