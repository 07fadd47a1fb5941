"""What a scalar without quotes looks like: the YAML 1.2 core schema, with exact and finite numbers.

`no`, `on`, `12:30`, `1_000` are text, `010` is ten, `1e3` is a thousand.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TypeAlias

from tradefan.config.mistakes import shown
from tradefan.errors import Refused
from tradefan.units import plain

Value: TypeAlias = bool | int | float | Decimal | str | None
"""What a scalar may become."""

LENGTH_MAX = 64
"""Characters of a number."""
MAGNITUDE_MAX = 30
"""Decimal exponent of a number, either way."""

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+")
_BASE = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_UNREAL = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def resolve(text: str) -> Value:
    """Return what a plain scalar is: None, bool, int, Decimal or the text itself.

    Raises:
        Refused: BAD_NUMBER when it looks like a number that is not finite or beyond any use.
    """
    if text in _NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    if _UNREAL.fullmatch(text):
        raise Refused("BAD_NUMBER", "a finite number")
    if _BASE.fullmatch(text):
        return int(_short(text), 0)
    if _INT.fullmatch(text):
        return int(_short(text))
    if _FLOAT.fullmatch(text):
        return _decimal(_short(text))
    return text


def is_null(text: str) -> bool:
    """Tell whether a plain scalar means that nothing is there."""
    return text in _NULLS


def carried(number: int | Decimal) -> float:
    """Return a number of a free setting as JSON has it: an int of 64 bits, or the float that prints alike.

    Raises:
        Refused: BAD_NUMBER when that would lose a digit.
    """
    if isinstance(number, Decimal):
        nearest = float(number)
        if Decimal(repr(nearest)) == number:
            return nearest
    elif -(2**63) <= number < 2**63:
        return number
    raise Refused("BAD_NUMBER", "a number of at most 15 digits")


def _short(text: str) -> str:
    if len(text) > LENGTH_MAX:
        raise Refused("BAD_NUMBER", f"a number of at most {LENGTH_MAX} characters")
    return text


def _decimal(text: str) -> Decimal:
    """Return the exact number without exponent and trailing zeros, so that equal numbers look alike."""
    try:
        number = Decimal(text)
    except ArithmeticError as error:
        raise Refused("BAD_NUMBER", f"a number within 1e{MAGNITUDE_MAX}, not {shown(text)}") from error
    if not number.is_finite() or (number and abs(number.adjusted()) > MAGNITUDE_MAX):
        raise Refused("BAD_NUMBER", f"a number between 1e-{MAGNITUDE_MAX} and 1e{MAGNITUDE_MAX}")
    return Decimal(plain(number)) if number else Decimal(0)
