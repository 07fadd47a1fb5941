"""The schema as data: what the loader walks, the checks use and the JSON Schema is made of.

A Struct becomes a `Table` of named fields, a dict a `Map` of equal entries, anything else a `Leaf`
that reads one scalar. A plug-in's settings Struct becomes a Table in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import NODEFAULT, Struct

from tradefan.config.fields import Change
from tradefan.config.leaf import Kind, Leaf
from tradefan.units import exact

_KINDS: dict[object, Kind] = {bool: "bool", int: "int", float: "float", Decimal: "decimal", str: "text"}


class Field(Struct, frozen=True):
    """One key of a table, or any entry of a map; `default` is NODEFAULT where a value is required."""

    name: str
    shape: Shape
    change: Change
    doc: str
    unit: str
    default: Any


class Table(Struct, frozen=True):
    """A section: fixed keys."""

    cls: type[Struct]
    fields: dict[str, Field]


class Map(Struct, frozen=True):
    """A collection: keys that the user chooses, which must look like `name`."""

    name: Leaf
    item: Field


Shape: TypeAlias = Leaf | Table | Map

SETTING = Leaf("text", pattern=r"[A-Za-z_][A-Za-z0-9_]{0,63}", such_as="a setting's name such as symbol")
ANY = Leaf("any")
FREE = Map(SETTING, Field("", ANY, "live", "", "", NODEFAULT))
"""Settings of a strategy whose own Struct is not known."""


class Slot(Struct, frozen=True):
    """One value of a finished configuration and what the schema says about its place."""

    path: tuple[str, ...]
    value: Any
    leaf: Leaf
    change: Change

    @property
    def key(self) -> str:
        """The path as people write it."""
        return ".".join(self.path)


@cache
def table(cls: type[Struct]) -> Table:
    """Return the shape of a Struct."""
    hints = get_type_hints(cls, include_extras=True)
    return Table(cls, {item.name: _field(item, hints[item.name]) for item in msgspec.structs.fields(cls)})


def slots(field: Field, value: object, path: tuple[str, ...] = ()) -> Iterator[Slot]:
    """Walk a finished value in schema order and give every leaf; an empty map is a leaf too."""
    shape = field.shape
    if isinstance(shape, Table):
        for inner in shape.fields.values():
            yield from slots(inner, getattr(value, inner.name), (*path, inner.name))
    elif isinstance(value, dict) and value:
        item = shape.item if isinstance(shape, Map) else field
        for name, entry in value.items():
            yield from slots(item, entry, (*path, name))
    else:
        yield Slot(path, value, shape if isinstance(shape, Leaf) else ANY, field.change)


def root(cls: type[Struct]) -> Field:
    """Return the field that holds a whole configuration."""
    return Field("", table(cls), "restart", "", "", NODEFAULT)


def _field(item: msgspec.structs.FieldInfo, hint: object) -> Field:
    made = item.default if item.default_factory is NODEFAULT else item.default_factory()
    return _entry(item.name, hint, made)


def _entry(name: str, hint: object, default: object) -> Field:
    bare, meta, doc = _strip(hint)
    return Field(name, _shape(bare, meta), meta.get("change", "restart"), doc, meta.get("unit", ""), default)


def _strip(hint: object) -> tuple[Any, dict[str, Any], str]:
    """Take a type out of its Annotated wrapping: the bare type, all extras, the last description."""
    if get_origin(hint) is not Annotated:
        return hint, {}, ""
    bare, *notes = get_args(hint)
    extra: dict[str, Any] = {}
    doc = ""
    for note in notes:
        if isinstance(note, msgspec.Meta):
            extra |= _bounds(note) | {
                name: value for name, value in (note.extra or {}).items() if value != ""
            }
            doc = note.description or doc
    return bare, extra, doc


def _bounds(note: msgspec.Meta) -> dict[str, Any]:
    """Return the bounds that a plug-in's author gave to msgspec itself."""
    given = {"ge": note.ge, "gt": note.gt, "le": note.le, "lt": note.lt}
    return {name: exact(float(bound)) for name, bound in given.items() if bound is not None}


def _shape(bare: object, meta: dict[str, Any]) -> Shape:
    origin = get_origin(bare)
    if isinstance(bare, type) and issubclass(bare, Struct):
        return table(bare)
    if origin is dict:
        name, value = get_args(bare)
        return Map(_leaf("text", _strip(name)[1]), _entry("", value, NODEFAULT))
    if origin in (Union, UnionType):
        return _optional(bare, meta)
    if origin is Literal:
        return Leaf("choice", choices=tuple(map(str, get_args(bare))))
    return _leaf(meta.get("kind", _KINDS.get(bare, "any")), meta)


def _optional(bare: object, meta: dict[str, Any]) -> Shape:
    """Return the shape of `X | None`; any other union is left to msgspec."""
    members = [member for member in get_args(bare) if member is not NoneType]
    inner = _shape(members[0], meta) if len(members) == 1 else ANY
    return msgspec.structs.replace(inner, optional=True) if isinstance(inner, Leaf) else inner


def _leaf(kind: Kind, meta: dict[str, Any]) -> Leaf:
    known = ("ge", "gt", "le", "lt", "pattern", "such_as")
    return Leaf(kind, **{name: meta[name] for name in known if name in meta})
