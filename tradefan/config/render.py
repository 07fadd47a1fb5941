"""The effective configuration as YAML with the origin of each value, and the schema for editors."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import NODEFAULT

from tradefan.config.leaf import SECRET, Leaf
from tradefan.config.loader import Loaded
from tradefan.config.scalars import Value, resolve
from tradefan.config.schema import Config
from tradefan.config.shape import Field, Map, Table, root
from tradefan.errors import Refused

_PLAIN = re.compile(r"[A-Za-z0-9_/.$][A-Za-z0-9_/.$:+-]*(?<!:)")
_COLUMN = 44
"""Where origins begin, unless a value is longer."""
_JSON_KINDS: dict[str, dict[str, Any]] = {
    "bool": {"type": "boolean"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "decimal": {"type": "number"},
    "duration": {"type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$"},
    "secret": {"type": "string", "pattern": f"^({SECRET.pattern})?$"},
    "text": {"type": "string"},
    "any": {},
}


def render(loaded: Loaded) -> str:
    """Return YAML that loads to the same configuration; each line ends with the origin of its value.

    Secrets are references and printed as such: what they lead to was never read.
    """
    lines = [f"# config {loaded.config_id}", *_lines(root(Config), loaded.config, (), loaded.origins)]
    return "\n".join(lines) + "\n"


def json_schema() -> dict[str, Any]:
    """Return a JSON Schema of any one layer: nothing is required, unknown keys are errors."""
    schema = _schema(root(Config))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "TradeFan configuration",
        **schema,
    }


def _lines(field: Field, value: Any, path: tuple[str, ...], origins: Mapping[str, str]) -> Iterator[str]:  # noqa: ANN401
    """Give the lines of a section or a map; values of one line are given by `_line`."""
    shape = field.shape
    if isinstance(shape, Table):
        for name, inner in shape.fields.items():
            yield from _entry(inner, getattr(value, name), (*path, name), origins)
        return
    item = shape.item if isinstance(shape, Map) else field
    for name, entry in value.items():
        yield from _entry(item, entry, (*path, name), origins)
    if isinstance(field.default, dict):
        for name in field.default:
            if name not in value:
                yield _line((*path, name), "null", origins)


def _entry(field: Field, value: Any, path: tuple[str, ...], origins: Mapping[str, str]) -> Iterator[str]:  # noqa: ANN401
    indent = "  " * (len(path) - 1)
    if isinstance(field.shape, Leaf) and not isinstance(value, dict):
        yield _line(path, _value(field.shape, value), origins)
    elif value or (isinstance(field.default, dict) and field.default):
        yield f"{indent}{quoted(path[-1])}:"
        yield from _lines(field, value, path, origins)
    else:
        yield _line(path, "{}", origins)


def _line(path: tuple[str, ...], text: str, origins: Mapping[str, str]) -> str:
    indent = "  " * (len(path) - 1)
    origin = origins.get(".".join(path), "default")
    return f"{f'{indent}{quoted(path[-1])}: {text}':<{_COLUMN}}  # {origin}"


def _value(leaf: Leaf, value: Value) -> str:
    if isinstance(value, str):
        return quoted(value)
    return repr(value) if isinstance(value, float) else leaf.text(value)


def quoted(text: str) -> str:
    """Return a text as YAML: as it is where that stays text, else in double quotes."""
    try:
        bare = _PLAIN.fullmatch(text) is not None and isinstance(resolve(text), str)
    except Refused:
        bare = False
    return text if bare else f'"{"".join(map(_escaped, text))}"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    return char if char.isprintable() else f"\\U{ord(char):08x}"


def _schema(field: Field) -> dict[str, Any]:
    """Describe one key; `null` is allowed everywhere because it takes a value back."""
    shape = field.shape
    about: dict[str, Any] = {"description": f"{field.doc} [{field.change}]".strip()}
    if field.unit:
        about["x-unit"] = field.unit
    about["x-change"] = field.change
    if isinstance(shape, Table):
        inner = {name: _schema(item) for name, item in shape.fields.items()}
        return about | {"type": ["object", "null"], "properties": inner, "additionalProperties": False}
    if isinstance(shape, Map):
        names = {"propertyNames": {"pattern": f"^({shape.name.pattern})$"}}
        return about | {"type": ["object", "null"], "additionalProperties": _schema(shape.item), **names}
    return about | _leaf_schema(shape) | _default_schema(field, shape)


def _leaf_schema(leaf: Leaf) -> dict[str, Any]:
    if leaf.choices:
        return {"enum": [*leaf.choices, None]}
    kind = dict(_JSON_KINDS[leaf.kind])
    if leaf.pattern is not None:
        kind["pattern"] = f"^({leaf.pattern})$"
    if leaf.kind in ("int", "float", "decimal"):
        words = {
            "minimum": leaf.ge,
            "exclusiveMinimum": leaf.gt,
            "maximum": leaf.le,
            "exclusiveMaximum": leaf.lt,
        }
        kind |= {
            word: int(bound) if bound == int(bound) else float(bound)
            for word, bound in words.items()
            if bound is not None
        }
    return kind | ({"type": [kind["type"], "null"]} if "type" in kind else {})


def _default_schema(field: Field, leaf: Leaf) -> dict[str, Any]:
    if field.default is NODEFAULT or field.default is None:
        return {}
    if leaf.kind == "decimal":
        return {"default": float(field.default)}
    return {"default": leaf.text(field.default) if leaf.kind == "duration" else field.default}
