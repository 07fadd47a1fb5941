"""Durations and instants in settings: as people write them, as integer nanoseconds in the program."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tradefan.errors import Refused
from tradefan.units import DAY, DURATION_MAX, NS_MAX, SECOND, parse_duration, parse_iso


class Span(int):
    """A duration in ns; written `250ms`, `30s`, `5m`, or as a number of seconds."""


class Instant(int):
    """An instant in ns, steady UTC; written as ISO 8601."""


def read_special(kind: type[Any], value: object) -> Span | Instant:
    """Read a `Span` or an `Instant`; for `msgspec.convert`.

    Raises:
        ValueError: in the words of what was expected.
    """
    try:
        if kind is Span:
            return _span(value)
        if kind is Instant and isinstance(value, str):
            return Instant(parse_iso(value))
    except Refused as no:
        raise ValueError(no.text) from None
    if kind is Instant and isinstance(value, int) and not isinstance(value, bool) and 0 < value <= NS_MAX:
        return Instant(value)
    raise ValueError(f"expected {'a duration' if kind is Span else 'an instant'}, got {value!r}"[:200])


def _span(value: object) -> Span:
    if isinstance(value, str):
        number = value.replace(".", "", 1)
        seconds = Decimal(value) if number.isdecimal() and value.isascii() else None
    else:
        counts = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
        seconds = Decimal(str(value)) if counts else None
    if seconds is None and isinstance(value, str):
        return Span(parse_duration(value))
    if seconds is None:
        raise ValueError(f"expected a duration such as 30s, got {value!r:.60}")
    if not (seconds.is_finite() and 0 < seconds <= DURATION_MAX // SECOND):
        text = f"expected a duration above zero, up to {DURATION_MAX // DAY}d"
        raise ValueError(f"{text}, got {value!r:.60}")
    return Span(int(seconds * SECOND))


def schema_of(kind: type[Any]) -> dict[str, Any]:
    """Return the JSON Schema of a `Span` or an `Instant`; for `msgspec.json.schema`."""
    if kind is Span:
        return {"type": ["string", "number"], "description": "250ms, 30s, 5m, or seconds"}
    if kind is Instant:
        return {"type": ["string", "integer"], "format": "date-time"}
    raise NotImplementedError(kind)
