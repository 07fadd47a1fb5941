"""One layer of the configuration held against the schema, and layers laid over each other.

Every value of every layer is checked, also one that a later layer replaces or a duplicate hides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from enum import Enum
from itertools import chain
from typing import Any, TypeAlias

from msgspec import Struct

from tradefan.config import nodes
from tradefan.config.leaf import Leaf, Wrong
from tradefan.config.mistakes import Mistake, meant, shown
from tradefan.config.nodes import Broken, Entry, Node, Scalar
from tradefan.config.scalars import Value, carried, is_null
from tradefan.config.shape import FREE, Field, Map, Table
from tradefan.errors import Refused

Path: TypeAlias = tuple[str, ...]


class Mark(Enum):
    """What a layer says of a key without giving it a value."""

    REMOVED = "removed"
    OPENED = "opened"


class Place(Struct, frozen=True):
    """Where a value was said; environment variables and `--set` have no lines."""

    file: str
    line: int | None

    def __str__(self) -> str:
        """Return `file:line` or the name alone."""
        return self.file if self.line is None else f"{self.file}:{self.line}"


class Source(Struct, frozen=True):
    """One layer as a tree; `lined` when its lines mean something to the user."""

    name: str
    root: Node | None
    lined: bool = True

    def place(self, line: int | None) -> Place:
        """Return a line of this source as a place."""
        return Place(self.name, line if self.lined else None)


class Given(Struct, frozen=True):
    """One thing that a layer says."""

    path: Path
    value: Value | Mark
    place: Place


class Check:
    """Walks one source along the schema; `given` and `mistakes` are what it found."""

    def __init__(self, source: Source, settings: Mapping[str, Field]) -> None:
        self.given: list[Given] = []
        self.mistakes: list[Mistake] = []
        self._source = source
        self._settings = settings

    def walk(self, field: Field, node: Node, path: Path = ()) -> None:
        """Check a value and everything below it."""
        if isinstance(node, Scalar) and node.plain and is_null(node.text):
            self._give(path, Mark.REMOVED, node.line)
            return
        if path[:1] == ("strategies",) and path[2:] == ("settings",):
            field = self._settings.get(path[1], field)
        shape = field.shape
        if isinstance(shape, Leaf) and isinstance(node, nodes.Mapping) and shape.kind == "any":
            shape = FREE
        if isinstance(shape, Leaf):
            self._leaf(shape, node, path)
        elif isinstance(node, nodes.Mapping):
            self._give(path, Mark.OPENED, node.line)
            self._entries(shape, node, path)
        elif not isinstance(node, Broken):
            hint = "collections are maps keyed by name" if isinstance(node, nodes.Sequence) else ""
            self._mistake(node.line, path, _short(node), "a map", hint)

    def _leaf(self, leaf: Leaf, node: Node, path: Path) -> None:
        if isinstance(node, Broken):
            return
        if not isinstance(node, Scalar):
            self._mistake(node.line, path, _short(node), leaf.expected())
            return
        try:
            value = leaf.read(node)
            value = _as_setting(value) if path[2:3] == ("settings",) else value
        except Refused as error:
            got = "***" if leaf.kind == "secret" else _short(node)
            hint = error.hint if isinstance(error, Wrong) else ""
            self._mistake(node.line, path, got, error.text, hint)
            return
        self._give(path, value, node.line)

    def _entries(self, shape: Table | Map, node: nodes.Mapping, path: Path) -> None:
        first: dict[str, Entry] = {}
        for entry in node.entries:
            inner = (*path, entry.key)
            field = self._field(shape, entry, inner)
            before = first.setdefault(entry.key, entry)
            if before is not entry:
                secret = field is not None and isinstance(field.shape, Leaf) and field.shape.kind == "secret"
                values = ("***", "***") if secret else (_short(before.node), _short(entry.node))
                hint = f"line {before.line} says {values[0]}, line {entry.line} says {values[1]}"
                self._mistake(entry.line, inner, None, "each key once", hint)
            if field is not None:
                self.walk(field, entry.node, inner)

    def _field(self, shape: Table | Map, entry: Entry, path: Path) -> Field | None:
        """Return what the schema says about a key, or None when it knows no such key."""
        if isinstance(shape, Table):
            if entry.key in shape.fields:
                return shape.fields[entry.key]
            self._mistake(entry.line, path, None, "a key that exists", _meant(entry.key, shape))
            return None
        try:
            shape.name.check(entry.key)
        except Wrong as error:
            self._mistake(entry.line, path[:-1], shown(entry.key), error.text)
            return None
        return shape.item

    def _give(self, path: Path, value: Value | Mark, line: int | None) -> None:
        self.given.append(Given(path, value, self._source.place(line)))

    def _mistake(
        self, line: int | None, path: Path, value: str | None, expected: str, hint: str = ""
    ) -> None:
        place = self._source.place(line)
        key = ".".join(map(shown, path))
        self.mistakes.append(Mistake(place.file, place.line, key, value, expected, hint))


class Branch(Struct):
    """One key of the merged layers: a value, or the keys below it."""

    value: Value | Mark
    place: Place
    below: dict[str, Branch] = {}


def merge(layers: Iterable[Iterable[Given]]) -> Branch:
    """Lay layers over each other, the last on top; a removed key hides what lies below it."""
    top = Branch(Mark.OPENED, Place("", None))
    for item in chain.from_iterable(layers):
        branch = top
        for name in item.path[:-1]:
            branch = _opened(branch, name, item.place)
        if item.path and item.value is Mark.OPENED:
            _opened(branch, item.path[-1], item.place)
        elif item.path:
            branch.below[item.path[-1]] = Branch(item.value, item.place)
    return top


def _opened(branch: Branch, name: str, place: Place) -> Branch:
    below = branch.below.get(name)
    if below is None or below.value is not Mark.OPENED:
        below = branch.below[name] = Branch(Mark.OPENED, place)
    return below


def places(branch: Branch, path: Path = ()) -> Iterator[tuple[str, Place]]:
    """Give the key path and place of everything that was said and still holds."""
    for name, below in branch.below.items():
        if below.value is not Mark.REMOVED:
            yield ".".join((*path, name)), below.place
            yield from places(below, (*path, name))


def build(field: Field, branch: Branch | None) -> Any:  # noqa: ANN401 a section, a map or a value
    """Make the value of a field from the merged layers and the schema's defaults."""
    if branch is None or branch.value is Mark.REMOVED:
        return field.default
    shape = field.shape
    if isinstance(shape, Table):
        inner = {name: build(shape.fields[name], below) for name, below in branch.below.items()}
        return shape.cls(**inner)
    if branch.value is not Mark.OPENED:
        return branch.value
    item = shape.item if isinstance(shape, Map) else field
    entries = dict(field.default) if isinstance(field.default, dict) else {}
    for name, below in branch.below.items():
        entries.pop(name, None)
        if below.value is not Mark.REMOVED:
            entries[name] = build(item, below)
    return dict(sorted(entries.items()))


def _as_setting(value: Value) -> Value:
    """Return a strategy's setting as JSON has it: settings travel untyped until the strategy takes them."""
    return carried(value) if isinstance(value, Decimal) else value


def _meant(word: str, shape: Table) -> str:
    """Return which key was probably meant: one of the same table, or of a section below it."""
    deeper = [
        f"{name}.{word}"
        for name, field in shape.fields.items()
        if isinstance(field.shape, Table) and word in field.shape.fields
    ]
    return f"did you mean {deeper[0]}?" if deeper else meant(word, shape.fields)


def _short(node: Node) -> str:
    if isinstance(node, Scalar):
        return shown(node.text) if node.plain else repr(node.text[:80])
    return {nodes.Mapping: "a map", nodes.Sequence: "a list"}.get(type(node), "nothing readable")
