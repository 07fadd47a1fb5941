"""Messages as lines of InfluxDB's line protocol: one point each, its time unique in its series.

InfluxDB keeps one point of a series and an instant, and a second one replaces it without a word. So the
nanoseconds below the millisecond carry the number of what the point is of (a trade's id, an order's
sequence with the journal's number): what comes twice is one point, and two things never are. Columns of
time are fields as well, exact. A Decimal is a float, which panels can draw, and where that float is
another number its text stands beside it as `NAME_exact`.

Source: https://docs.influxdata.com/influxdb/v1/write_protocols/line_protocol_reference/
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct
from msgspec.structs import astuple

from tradefan.core.ids import is_own, made_as
from tradefan.errors import Refused
from tradefan.stores.schema import MEASUREMENTS, Kind, Table, flat, is_optional, kinds
from tradefan.units import MS, ClientOrderId, clean, exact

TEXT_MAX = 65_000
"""Bytes of a field's text; InfluxDB takes 64 KiB."""
SERIES_MAX = 10_000
"""Series whose heads are remembered; then all are made anew."""
_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1
_APART = 1_009
"""Numbers of one order lie this far from those of the next: more than the records of one millisecond."""
_STARTS_APART = 104_729
"""Sequences begin anew with each start, so those of one start lie this far from those of the one before."""
_OWN_LENGTH = 16


class Aside(NamedTuple):
    """A message that is no point, why, and what it says."""

    measurement: str
    reason: str
    text: str


class Lines(NamedTuple):
    """Lines with the measurement of each, and what was set aside."""

    lines: list[str]
    measurements: list[str]
    aside: list[Aside]


def encode(messages: Sequence[Struct]) -> Lines:
    """Return the lines of messages in their order; what cannot be a point is set aside with its reason."""
    found = Lines([], [], [])
    lines, measurements = found.lines, found.measurements
    for message in messages:
        shape = _SHAPES[type(message)]
        try:
            lines.append(shape.line(message))
        except Refused as error:
            found.aside.append(Aside(shape.name, error.text, repr(message)))
        else:
            measurements.append(shape.name)
    return found


class _Shape:
    """How the messages of one class become lines; the head of a series (measurement, tags) is made once."""

    def __init__(self, kind: type[Struct], table: Table) -> None:
        self.name = table.name
        self._tags = table.tags
        self._heads: dict[tuple[Any, ...], str] = {}
        columns, types = table.columns, dict(zip(table.columns, kinds(kind), strict=True))
        self._fields = [
            (place, name, types[name])
            for place, name in enumerate(columns)
            if name not in table.tags and name not in table.unsent
        ]
        self._group = _picker(map(columns.index, table.tags))
        self._time = columns.index(table.time)
        self._apart = [columns.index(name) for name in table.apart]
        # The hot ones have numbers alone beside their tags, none of them ever absent: a template will do.
        hot = all(form in _HOT and not is_optional(kind, name) for _, name, form in self._fields)
        self.line = self._hot if hot else self._cold
        self._floats = _picker(place for place, _, form in self._fields if form == "float")
        self._ints = _picker(place for place, _, form in self._fields if form == "int")
        texts = {place: f"{name}={_HOT.get(form)}" for place, name, form in self._fields}
        first = min(texts)
        self._template = "".join(
            "%.0s" if place not in texts else texts[place] if place == first else f",{texts[place]}"
            for place in range(len(columns))
        )

    def _hot(self, message: Struct) -> str:
        values = astuple(message)
        ints = self._ints(values)
        # Sums of floats that are finite may be infinite, so the slow way decides.
        if not math.isfinite(sum(self._floats(values))) or max(ints) > _INT_MAX or min(ints) < _INT_MIN:
            return self._cold(message)
        head = self._heads.get(self._group(values)) or self._head(values)
        at_ns = values[self._time]
        if self._apart:
            at_ns += values[self._apart[0]] % MS - at_ns % MS
        return f"{head}{self._template % values} {at_ns}"

    def _cold(self, message: Struct) -> str:
        """Check and write field by field."""
        values = flat(message)
        fields = [
            text
            for place, name, form in self._fields
            if (value := values[place]) is not None
            for text in _FORMS[form](name, value)
        ]
        at_ns = values[self._time]
        if self._apart:
            at_ns += _number(values[place] for place in self._apart) % MS - at_ns % MS
        head = self._heads.get(self._group(values)) or self._head(values)
        return f"{head}{','.join(fields)} {_int(self.name, at_ns)}"

    def _head(self, values: tuple[Any, ...]) -> str:
        if len(self._heads) >= SERIES_MAX:
            self._heads.clear()
        group = self._group(values)
        tags = [
            f",{name}={_tag(name, value)}" for name, value in zip(self._tags, group, strict=True) if value
        ]
        head = self._heads[group] = f"{self.name}{''.join(tags)} "
        return head


def _picker(places: Iterable[int]) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """Return what takes these places of a tuple, always as a tuple."""
    listed = list(places)
    if len(listed) > 1:
        return itemgetter(*listed)
    return lambda values: tuple(values[place] for place in listed)


def _number(parts: Iterable[int | str | Decimal | None]) -> int:
    """Return a number that is another one for another thing of the same millisecond.

    Sequences of own ids lie `_APART` from each other, so that the journal's numbers fit between; ids of
    others have their checksum; of a quantity it counts whether it was taken back.
    """
    number = 0
    for part in parts:
        number = number * _APART + _part(part)
    return number


def _part(part: int | str | Decimal | None) -> int:
    if isinstance(part, str):
        return _sequence(part)
    return int(part < 0) if isinstance(part, Decimal) else part or 0


def _sequence(name: str) -> int:
    own = name.removeprefix("p") if len(name) == _OWN_LENGTH + 1 else name
    if len(own) == _OWN_LENGTH and is_own(own, own[:3]):
        epoch, sequence = made_as(ClientOrderId(own))
        return epoch * _STARTS_APART + sequence
    return zlib.crc32(name.encode("utf-8", "replace"))


# --- what a value looks like ------------------------------------------------------------------------


def _tag(name: str, value: str) -> str:
    """Return a tag's value; a backslash has no spelling there that means itself everywhere."""
    text = str(value)
    if "\\" in text or not text.isprintable():
        raise Refused("UNFIT_POINT", f"{name}: expected a printable tag without a backslash, got {text!r}")
    for sign in ("=", ",", " "):
        text = text.replace(sign, f"\\{sign}")
    return text


def _int(name: str, value: int) -> int:
    if not _INT_MIN <= value <= _INT_MAX:
        raise Refused("UNFIT_POINT", f"{name}: expected an integer of 64 bits, got {value}")
    return value


def _ints(name: str, value: int) -> tuple[str, ...]:
    return (f"{name}={_int(name, value)}i",)


def _floats(name: str, value: float) -> tuple[str, ...]:
    if not math.isfinite(value):
        raise Refused("UNFIT_POINT", f"{name}: expected a finite number, got {value}")
    return (f"{name}={float(value)!r}",)


def _decimals(name: str, value: Decimal) -> tuple[str, ...]:
    near = float(value)
    (text,) = _floats(name, near)
    if exact(near) == value:
        return (text,)
    return (text, f'{name}_exact="{value}"')


def _bools(name: str, value: bool) -> tuple[str, ...]:
    return (f"{name}={'true' if value else 'false'}",)


def _texts(name: str, value: str) -> tuple[str, ...]:
    text = clean(str(value))
    if len(text.encode()) > TEXT_MAX or "\0" in text:
        raise Refused(
            "UNFIT_POINT", f"{name}: expected at most {TEXT_MAX} bytes of text, got {len(text)} letters"
        )
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    return (f'{name}="{text}"',)


def _jsons(name: str, value: object) -> tuple[str, ...]:
    return _texts(name, msgspec.json.encode(value).decode())


_FORMS: dict[Kind, Callable[[str, Any], tuple[str, ...]]] = {
    "int": _ints,
    "float": _floats,
    "decimal": _decimals,
    "bool": _bools,
    "text": _texts,
    "json": _jsons,
}
_HOT: dict[Kind, str] = {"int": "%di", "float": "%r"}
_SHAPES = {kind: _Shape(kind, table) for kind, table in MEASUREMENTS.items()}
