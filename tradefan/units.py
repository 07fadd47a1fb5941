"""Units, id types and the only crossings between them.

Money is `Decimal`, code that compares or matches uses integer ticks and lots, float is only for
what is observed (books, quotes, indicators). Time is integer nanoseconds, steady UTC.
"""

from __future__ import annotations

import decimal
import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Literal, NewType

from tradefan.errors import Refused

AccountId = NewType("AccountId", str)
"""`paper:main`: a name under `accounts:`."""
InstrumentId = NewType("InstrumentId", str)
"""`binance:BTC/USDT`: venue and ccxt unified symbol."""
OwnerId = NewType("OwnerId", str)
"""A strategy instance, `api`, `cli`, or `external`."""
ParentId = NewType("ParentId", str)
ClientOrderId = NewType("ClientOrderId", str)
TradeId = NewType("TradeId", str)
Asset = NewType("Asset", str)
Ref = NewType("Ref", int)
"""Address of an actor or a port inside one kernel; never stored in a message."""

Side = Literal["buy", "sell"]

EXTERNAL = OwnerId("external")
ZERO = Decimal(0)

US = 1_000
MS = 1_000_000
SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

NUMBER_DIGITS = 15
"""Digits before the point of a quantity or price; with the places they stay below the context's 38."""
NUMBER_PLACES = 18
NS_MAX = 2**63 - 1
"""The last instant that record and store hold, in 2262; the first one is as far from 1970."""
DURATION_MAX = 36_500 * DAY
"""A century: what is so long ago, or so far ahead, is still an instant that they hold."""
_SHOWN_MAX = 60
REASON_MAX = 200
"""Characters of a human's reason that the journal keeps."""
NAME_MAX = 100
"""Characters of a name that a human gives: of a scope, of an owner, of himself."""

_SUFFIXES = {"ms": MS, "s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}


def use_decimal_context() -> None:
    """Set this thread's decimal context: 38 digits, mixing with float is an error.

    Call it once at the start of every thread that touches money.
    """
    decimal.setcontext(
        decimal.Context(
            prec=38,
            rounding=decimal.ROUND_HALF_EVEN,
            traps=[
                decimal.InvalidOperation,
                decimal.DivisionByZero,
                decimal.Overflow,
                decimal.FloatOperation,
            ],
        )
    )


def is_number(value: Decimal | float) -> bool:
    """Say whether arithmetic with a number from outside cannot fail: finite, of bounded size and places."""
    if not isinstance(value, Decimal):
        return math.isfinite(value) and abs(value) < 10**NUMBER_DIGITS
    if not value.is_finite() or value.adjusted() >= NUMBER_DIGITS:
        return False
    exponent = value.as_tuple().exponent
    return isinstance(exponent, int) and exponent >= -NUMBER_PLACES


def require_number(name: str, value: Decimal | float) -> None:
    """Let a number from outside pass, before anything is computed with it.

    Raises:
        Refused: BAD_NUMBER names the field, the value and what was expected.
    """
    if not is_number(value):
        text = f"{name}: expected a finite number below 1e{NUMBER_DIGITS} with at most {NUMBER_PLACES} places"
        raise Refused("BAD_NUMBER", f"{text}, got {str(value)[:_SHOWN_MAX]}")


def clean(text: str) -> str:
    """Return a text from outside that UTF-8 can carry: lone surrogates become question marks."""
    return text.encode("utf-8", "replace").decode()


def cut(text: str, most: int) -> str:
    """Return a text from outside that is never refused: cleaned, and no longer than `most`."""
    text = clean(text)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def sign(side: Side) -> int:
    """Return +1 for buy and -1 for sell."""
    return 1 if side == "buy" else -1


def opposite(side: Side) -> Side:
    """Return the other side."""
    return "sell" if side == "buy" else "buy"


def to_ticks(price: float, tick: float) -> int:
    """Return an observed price as whole ticks, rounded to the nearest."""
    return round(price / tick)


def to_lots(qty: float, lot: float) -> int:
    """Return an observed quantity as whole lots, rounded to the nearest."""
    return round(qty / lot)


def steps(value: Decimal, step: Decimal) -> int:
    """Return an exact Decimal as a whole number of steps (ticks or lots).

    Raises:
        Refused: OFF_GRID when `value` is no whole multiple of `step`.
    """
    count, rest = divmod(value, step)
    if rest:
        raise Refused("OFF_GRID", f"expected a multiple of {step}, got {value}")
    return int(count)


def floor_step(value: Decimal, step: Decimal) -> Decimal:
    """Round a non-negative value down to a whole multiple of `step`."""
    return value // step * step


def ceil_step(value: Decimal, step: Decimal) -> Decimal:
    """Round a non-negative value up to a whole multiple of `step`."""
    down = floor_step(value, step)
    return down if down == value else down + step


def steps_up(value: Decimal, step: Decimal) -> int:
    """Return how many steps cover a non-negative value; `//` of Decimals cuts off, also below zero."""
    whole = int(value // step)
    return whole if whole * step == value else whole + 1


def exact(value: float) -> Decimal:
    """Return the Decimal that a float prints as: the crossing from observed to exact."""
    return Decimal(repr(value))


def plain(value: Decimal) -> str:
    """Return a Decimal without exponent and without trailing zeros."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def parse_duration(text: str) -> int:
    """Return nanoseconds of `250ms 30s 5m 1h 1d`.

    Raises:
        Refused: BAD_DURATION when the text has another form, is not above zero or more than `DURATION_MAX`.
    """
    number = text.rstrip("abcdefghijklmnopqrstuvwxyz")
    suffix = text[len(number) :]
    known = suffix in _SUFFIXES and number.isdecimal()
    # As many digits as count: int() refuses thousands of them in its own way.
    ns = int(number[:_SHOWN_MAX]) * _SUFFIXES[suffix] if known else 0
    if ns == 0:
        raise Refused(
            "BAD_DURATION",
            f"expected a duration such as 250ms, 30s, 5m, 1h or 1d, got {text!r:.{_SHOWN_MAX}}",
        )
    if ns > DURATION_MAX:
        most = f"{DURATION_MAX // DAY}d"
        raise Refused("BAD_DURATION", f"expected a duration up to {most}, got {text!r:.{_SHOWN_MAX}}")
    return ns


def since_ns(text: str | datetime, now_ns: int) -> int:
    """Return the instant that `10m` (so long ago), `2026-03-05T12:00:00Z` or a datetime names.

    Raises:
        Refused: BAD_DURATION or BAD_INSTANT when it is none, or a datetime of no zone: a text without one
            is UTC everywhere, but who makes a datetime may well have meant his own clock.
    """
    if isinstance(text, datetime):
        if text.tzinfo is None:
            raise Refused("BAD_INSTANT", f"expected a datetime with a zone, got {text!r}: UTC, perhaps?")
        return _ns_of(text, str(text))
    if not isinstance(text, str):
        raise Refused(
            "BAD_INSTANT",
            f"expected a text such as 10m or 2026-01-31T12:00:00Z, or a datetime, got {text!r:.{_SHOWN_MAX}}",
        )
    if text[-1:].isalpha() and text[:-1].rstrip("m").isdecimal():
        return now_ns - parse_duration(text)
    return parse_iso(text)


def iso(ns: int) -> str:
    """Return kernel time as ISO-8601 UTC with milliseconds: `2024-08-08T23:54:13.250Z`."""
    seconds, rest = divmod(ns, SECOND)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // MS:03d}Z"


def parse_iso(text: str) -> int:
    """Return nanoseconds of an ISO-8601 instant; without an offset it is UTC.

    Raises:
        Refused: BAD_INSTANT when the text is no instant, or one that no record holds.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Refused(
            "BAD_INSTANT",
            f"expected an instant such as 2026-01-31T12:00:00Z, got {text!r:.{_SHOWN_MAX}}",
        ) from error
    return _ns_of(moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment, text)


def _ns_of(moment: datetime, text: str) -> int:
    whole = int(moment.replace(microsecond=0).timestamp())
    ns = whole * SECOND + moment.microsecond * US
    if not -NS_MAX <= ns <= NS_MAX:
        raise Refused("BAD_INSTANT", f"expected an instant from 1678 to 2261, got {text!r}")
    return ns
