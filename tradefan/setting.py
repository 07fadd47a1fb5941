"""What a setting says of itself: its unit and what it means; the JSON Schema of all of a plug-in; a mistake.

collar_bps: Annotated[Decimal, unit("bps", "the worst price of a crossing child")] = Decimal(50)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, get_args

import msgspec
from msgspec import NODEFAULT, Meta, Struct

from tradefan.spans import Span, schema_of
from tradefan.units import MS, SECOND, plain


def unit(name: str, text: str) -> Meta:
    """Return what stands in the schema of a setting: `x-unit` and its description."""
    return Meta(description=text, extra_json_schema={"x-unit": name})


def settings_schema(settings: type[Struct]) -> dict[str, Any]:
    """Return the JSON Schema of settings, with defaults as people write them; private ones are left out.

    Raises:
        TypeError: a type that no schema describes.
    """
    return msgspec.json.schema(_written(settings), schema_hook=schema_of)


def _written(settings: type[Struct]) -> type[Struct]:
    """Return settings whose defaults can be written: msgspec writes only those of its own types."""
    fields = [
        (
            field.encode_name,
            field.type,
            msgspec.field(default_factory=field.default_factory)
            if field.default_factory is not NODEFAULT
            else _text(field.default),
        )
        for field in msgspec.structs.fields(settings)
        if field.name not in getattr(settings, "private", ())
    ]
    given = [one if one[2] is not NODEFAULT else one[:2] for one in fields]
    known = settings.__struct_config__.forbid_unknown_fields
    made: type[Struct] = msgspec.defstruct(
        settings.__name__,
        given,
        namespace={"__doc__": settings.__doc__},
        kw_only=True,
        forbid_unknown_fields=known,
    )
    return made


def _text(default: object) -> object:
    if isinstance(default, Span):
        return f"{default // MS}ms" if default % SECOND else f"{default // SECOND}s"
    return plain(default) if isinstance(default, Decimal) else default


# --- what was wrong with a value ------------------------------------------------------------------

_AT = re.compile(r"(?P<what>.*?)(, got `\w+`)? - at `\$\.(?P<key>\w+(\.\w+)*).*`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`")
_UNKNOWN_KEY = re.compile(r"Object contains unknown field `(?P<key>.*?)`( - at `\$\.(?P<part>[\w.]+)`)?")
_PLAINLY = {"Invalid decimal string": "expected a number", "Expected `str` of": "expected a text of"}
_SHOWN_MAX = 60


def suggest(word: str, candidates: Iterable[str]) -> str:
    """Return `; did you mean 'x'?`, or what there is when nothing comes close."""
    known = sorted(candidates)
    near = get_close_matches(word, known, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known are {', '.join(known)}" if known else "; there are none"


def explain(error: Exception, given: Callable[[], Any], kind: type[Struct]) -> str:
    """Return a mistake as `key: expected this, got that`: msgspec does not tell the value.

    `given` returns what was to become a `kind`; it may raise where that cannot be read.
    """
    said = str(error)
    if found := _UNKNOWN_KEY.fullmatch(said):
        part = found["part"] or ""
        known = _kind_of(kind, part).__struct_encode_fields__ if part else kind.__struct_encode_fields__
        whole = f"{part}.{found['key']}" if part else found["key"]
        return f"{whole!r}: expected a key that exists{suggest(found['key'], known)}"
    if found := _MISSING.fullmatch(said):
        return f"{found[1]}: expected a value, the key is missing"
    if found := _AT.fullmatch(said):
        key, what = found["key"], found["what"]
        for word, plainly in _PLAINLY.items():
            what = what.replace(word, plainly)
        if what.startswith("Invalid enum value"):
            what = f"expected one of {', '.join(_choices(kind, key))}"
        value = "" if ", got " in what else _value(given, key)
        return f"{key}: {what[0].lower()}{what[1:]}{value}"
    return said if isinstance(error, msgspec.ValidationError) else f"expected an object in JSON: {said}"


def _type_of(kind: type[Struct], key: str) -> object:
    """Return the type of a field, of a part's where dots lead to it; None where there is none."""
    name, _, rest = key.partition(".")
    found = next((one.type for one in msgspec.structs.fields(kind) if one.encode_name == name), None)
    return _type_of(_struct_in(found), rest) if rest else found


def _kind_of(kind: type[Struct], key: str) -> type[Struct]:
    return _struct_in(_type_of(kind, key))


def _struct_in(found: object) -> type[Struct]:
    """Return the Struct that a type is, or that stands in it."""
    every = (found, *_inner(found))
    return next((one for one in every if isinstance(one, type) and issubclass(one, Struct)), Struct)


def _inner(found: object) -> tuple[object, ...]:
    """Return all that stands in a type, at any depth: `Annotated[Literal["a"] | None, ...]` has "a"."""
    return tuple(part for one in get_args(found) for part in (one, *_inner(one)))


def _choices(kind: type[Struct], key: str) -> tuple[str, ...]:
    return tuple(one for one in _inner(_type_of(kind, key)) if isinstance(one, str))


def _value(given: Callable[[], Any], key: str) -> str:
    # What lies behind the mistake was not read, and may be no JSON at all.
    with suppress(ValueError, KeyError, TypeError, RecursionError):
        value = given()
        for name in key.split("."):
            value = value[name]
        return f", got {value!r:.{_SHOWN_MAX}}"
    return ""
