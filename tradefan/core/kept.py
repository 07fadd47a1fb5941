"""What a State may hold: the fields that can be journaled and come back as they were."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import inspect

from tradefan.errors import Refused
from tradefan.strategy.author import State

_Node = inspect.Type | inspect.Field


def require_keepable(state: type[State]) -> None:
    """Refuse a State that holds what cannot be journaled: other objects, or a set.

    A set has an order that no two processes share, so one input would give two journals, and a
    strategy that walks it would decide otherwise after a restart.

    Raises:
        Refused: BAD_STRATEGY names the field.
    """
    try:
        info = inspect.type_info(state)
    except (NameError, TypeError) as error:
        raise Refused("BAD_STRATEGY", f"{state.__name__}: its types cannot be read: {error}") from error
    assert isinstance(info, inspect.StructType)
    if info.array_like:
        raise Refused(
            "BAD_STRATEGY", f"{state.__name__}: a State is kept by its fields' names, not array_like"
        )
    for field in info.fields:
        for node in _within(field.type, {}):
            if isinstance(node, inspect.SetType | inspect.FrozenSetType):
                _refuse(state, field, "a set has no order that survives; keep a list or a dict")
            if isinstance(node, inspect.CustomType):
                _refuse(state, field, f"{node.cls.__name__} cannot be journaled")


def _refuse(state: type[State], field: inspect.Field, text: str) -> None:
    raise Refused("BAD_STRATEGY", f"{state.__name__}.{field.name}: {text}")


def _within(node: _Node, seen: dict[type[Any], None]) -> Iterator[_Node]:
    """Return a type and all that it is made of; a class that holds itself is looked at once."""
    cls = getattr(node, "cls", None)
    if cls in seen:
        return
    if cls is not None:
        seen[cls] = None
    yield node
    for name in node.__struct_fields__:
        part: Any = getattr(node, name)
        for inner in part if isinstance(part, tuple) else (part,):
            if isinstance(inner, _Node):
                yield from _within(inner, seen)
