"""One value: how it is read from a scalar, and what to expect of it in words."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Literal

from msgspec import Struct

from tradefan.config.mistakes import meant
from tradefan.config.nodes import Scalar
from tradefan.config.scalars import LENGTH_MAX, Value, carried, resolve
from tradefan.errors import Refused
from tradefan.units import MS, SECOND, parse_duration, plain

Kind = Literal["bool", "int", "float", "decimal", "text", "duration", "choice", "secret", "any"]

DURATION = "a duration such as 250ms, 30s, 5m, 1h or 1d"
SECRET = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}|\$\{file:[^{}\s][^{}\n]*\}")
TEXT_MAX = 4096
_NUMBERS: tuple[Kind, ...] = ("any", "int", "float", "decimal")
_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
_WORDS: dict[Kind, str] = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "decimal": "a number",
    "text": "text",
    "duration": DURATION,
    "secret": "a reference such as ${BINANCE_API_KEY} or ${file:PATH}, never the secret itself",
    "any": "text, a number, true or false",
}


class Wrong(Refused):
    """A value does not fit; `text` is the expectation, `hint` a way out."""

    def __init__(self, expected: str, hint: str = "") -> None:
        super().__init__("BAD_VALUE", expected)
        self.hint = hint


class Leaf(Struct, frozen=True):
    """Type and bounds of one value; `optional` values may be absent."""

    kind: Kind
    ge: Decimal | None = None
    gt: Decimal | None = None
    le: Decimal | None = None
    lt: Decimal | None = None
    choices: tuple[str, ...] = ()
    pattern: str | None = None
    such_as: str = ""
    optional: bool = False

    def expected(self) -> str:
        """Return what would have passed."""
        if self.choices:
            return " or ".join(part for part in (", ".join(self.choices[:-1]), self.choices[-1]) if part)
        bounds = ((self.ge, "from"), (self.gt, "above"), (self.le, "up to"), (self.lt, "below"))
        spoken = [f" {word} {self._bound(bound)}" for bound, word in bounds if bound is not None]
        return f"{self.such_as or _WORDS[self.kind]}{''.join(spoken)}"

    def read(self, scalar: Scalar) -> Value:
        """Return the value of a scalar that is not null.

        Raises:
            Wrong: it has another type or is out of bounds.
        """
        try:
            value = self._convert(resolve(scalar.text) if scalar.plain else scalar.text, scalar)
        except Refused as error:
            if isinstance(error, Wrong):
                raise
            # What `resolve` says of a number helps only where a number was wanted.
            raise Wrong(error.text if self.kind in _NUMBERS else self.expected()) from error
        self.check(value)
        return value

    def check(self, value: object) -> None:
        """Hold a value of the right type against bounds, choices and pattern.

        Raises:
            Wrong: it is out of bounds.
        """
        if value is None:
            good = self.optional
        elif isinstance(value, str):
            good = self._text_fits(value)
        elif isinstance(value, int | float | Decimal):
            good = isinstance(value, bool) or self._number_fits(value)
        else:
            good = False
        if not good:
            hint = meant(value, self.choices) if self.choices and isinstance(value, str) else ""
            raise Wrong(self.expected(), hint if hint.startswith("did") else "")

    def text(self, value: object) -> str:
        """Return a value as a file would say it, without quotes; secrets are hidden."""
        if self.kind == "secret":
            return "***" if value else ""
        if self.kind == "duration" and isinstance(value, int):
            return duration_text(value)
        if value is None or isinstance(value, bool):
            return "null" if value is None else str(value).lower()
        return plain(value) if isinstance(value, Decimal) else str(value)

    def _convert(self, raw: Value, scalar: Scalar) -> Value:
        if self.kind == "any":
            return raw if isinstance(raw, bool) or not isinstance(raw, int | Decimal) else carried(raw)
        if self.kind == "bool":
            if isinstance(raw, bool):
                return raw
        elif self.kind in ("int", "float", "decimal"):
            if isinstance(raw, int | Decimal) and not isinstance(raw, bool):
                return self._number(raw, scalar)
        elif isinstance(raw, str):
            return self._duration(raw) if self.kind == "duration" else raw
        raise Wrong(self.expected(), _way_out(self.kind, raw, scalar))

    def _number(self, raw: int | Decimal, scalar: Scalar) -> Value:
        if self.kind == "decimal":
            return Decimal(raw)
        if self.kind == "float":
            return float(raw)
        if raw != int(raw):
            raise Wrong(self.expected(), _way_out(self.kind, raw, scalar))
        return int(raw)

    def _duration(self, raw: str) -> int:
        if len(raw) > LENGTH_MAX or not raw.isascii():
            raise Wrong(self.expected())
        return parse_duration(raw)

    def _text_fits(self, value: str) -> bool:
        if self.kind == "secret":
            return not value or SECRET.fullmatch(value) is not None
        if self.choices:
            return value in self.choices
        return len(value) <= TEXT_MAX and (
            self.pattern is None or re.fullmatch(self.pattern, value) is not None
        )

    def _number_fits(self, value: float | Decimal) -> bool:
        number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
        return (
            number.is_finite()
            and (self.kind != "duration" or number > 0)
            and (self.ge is None or number >= self.ge)
            and (self.gt is None or number > self.gt)
            and (self.le is None or number <= self.le)
            and (self.lt is None or number < self.lt)
        )

    def _bound(self, bound: Decimal) -> str:
        return duration_text(int(bound)) if self.kind == "duration" else plain(bound)


def duration_text(ns: int) -> str:
    """Return nanoseconds as a file would say them: `250ms`, `30s`, `5m`."""
    seconds, rest = divmod(ns, SECOND)
    if rest or not ns:
        return f"{ns // MS}ms"
    suffix, size = next((suffix, size) for suffix, size in _UNITS if seconds % size == 0)
    return f"{seconds // size}{suffix}"


def _way_out(kind: Kind, raw: Value, scalar: Scalar) -> str:
    """Return how to write what was probably meant."""
    if kind in ("text", "choice") and not isinstance(raw, str):
        return f'quote it to make it text: "{scalar.text}"'
    if not isinstance(raw, str):
        return ""
    word = scalar.text.lower()
    if kind == "bool" and word in ("yes", "on", "y"):
        return "did you mean true?"
    if kind == "bool" and word in ("no", "off", "n"):
        return "did you mean false?"
    if not scalar.plain and kind in ("bool", *_NUMBERS):
        return "without quotes"
    if kind in _NUMBERS and ("_" in word or "," in word):
        return "digits only, no separators"
    if kind in _NUMBERS and word.endswith("%"):
        return "a share is written as a fraction: 20% is 0.2"
    return ""
