"""YAML text as a tree that knows its lines; what TradeFan does not want from YAML is a mistake here.

Built from parser events, without recursion, so that neither depth nor aliases can hurt: a file ends
at its first syntax error or at depth 20. Values stay text; `scalars` says what they look like.
"""

from __future__ import annotations

import unicodedata
from typing import TypeAlias

import yaml
from msgspec import Struct

from tradefan.config.mistakes import Mistake, shown

SIZE_MAX = 1_048_576
DEPTH_MAX = 20


class Scalar(Struct, frozen=True):
    """One value; `plain` when it stands without quotes, so that it may look like a number."""

    text: str
    plain: bool
    line: int | None


class Entry(Struct, frozen=True):
    """One `key: value` of a map."""

    key: str
    line: int | None
    node: Node


class Mapping(Struct, frozen=True):
    """A map with all its entries in order, duplicates included."""

    entries: list[Entry]
    line: int | None


class Sequence(Struct, frozen=True):
    """A list; nothing in the configuration is one, so its elements are not kept."""

    line: int | None


class Broken(Struct, frozen=True):
    """A value about which a mistake has been reported."""

    line: int | None


Node: TypeAlias = Scalar | Mapping | Sequence | Broken


class Document(Struct):
    """What one text holds. `whole` is False when reading it ended early."""

    root: Node | None
    mistakes: list[Mistake]
    whole: bool


def parse(name: str, data: bytes) -> Document:
    """Return the tree of a YAML text, None for an empty one; never raises."""
    builder = _Builder(name)
    if len(data) > SIZE_MAX:
        return builder.ended(1, f"at most {SIZE_MAX} bytes", f"{len(data)} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return builder.ended(line, "UTF-8", f"byte 0x{data[error.start]:02x}")
    return _read(builder, text)


def _read(builder: _Builder, text: str) -> Document:
    loader: yaml.SafeLoader | None = None
    try:
        loader = yaml.SafeLoader(text)
        while builder.whole and loader.check_event():
            builder.take(loader.get_event())  # type: ignore[no-untyped-call]
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        return builder.ended(line, "printable characters", f"#x{ord(text[error.position]):04x}")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "unreadable"
        hint = "indent with spaces" if "\\t" in problem else problem
        return builder.ended(mark.line + 1 if mark else None, "YAML", None, hint)
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # PyYAML turns digits of a directive and escapes above U+10FFFF into numbers without a check.
        where = None if loader is None else loader.line + 1
        return builder.ended(where, "YAML", None, shown(str(error)))
    return builder.document()


class _Frame(Struct):
    """A map or list that is still open; `key` waits for its value."""

    node: Mapping | Sequence | Broken
    key: str | None = None
    key_line: int | None = None


class _Builder:
    """Takes events, keeps the tree, and notes mistakes with the path of keys that leads to them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.root: Node | None = None
        self.frames: list[_Frame] = []
        self.mistakes: list[Mistake] = []
        self.whole = True
        self.documents = 0

    def document(self) -> Document:
        return Document(self.root, self.mistakes, self.whole)

    def ended(self, line: int | None, expected: str, value: str | None, hint: str = "") -> Document:
        """Stop here: what is complete is kept, so that its mistakes are told too."""
        self.mistakes.append(Mistake(self.name, line, self.path(), value, expected, hint))
        self.whole = False
        while self.frames:
            node = self.frames.pop().node
            if not self.frames or self.frames[-1].key:
                self._value(node if isinstance(node, Mapping) else Broken(node.line))
        return self.document()

    def path(self) -> str:
        return ".".join(frame.key for frame in self.frames if frame.key)

    def mistake(self, line: int, expected: str, value: str | None, hint: str = "") -> None:
        self.mistakes.append(Mistake(self.name, line, self.path(), value, expected, hint))

    def take(self, event: yaml.Event) -> None:
        mark = event.start_mark
        line = mark.line + 1 if mark else 1
        if isinstance(event, yaml.DocumentStartEvent):
            self._document(event, line)
        elif isinstance(event, yaml.AliasEvent):
            self.mistake(line, "a value written out", f"*{event.anchor}", "aliases are not used here")
            self._value(Broken(line))
        elif isinstance(event, yaml.ScalarEvent):
            self._scalar(event, line)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._open(event, line)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._value(self.frames.pop().node)

    def _document(self, event: yaml.DocumentStartEvent, line: int) -> None:
        self.documents += 1
        if self.documents > 1:
            self.ended(line, "one document in a file", "a second `---`")
        elif event.version is not None and tuple(event.version) != (1, 2):
            self.mistake(line, "YAML 1.2", f"%YAML {event.version[0]}.{event.version[1]}")

    def _plain_value(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent, line: int) -> bool:
        """Tell whether a value has neither a tag, which would choose its type, nor an anchor."""
        if event.anchor is not None:
            self.mistake(line, "a value without an anchor", f"&{event.anchor}")
        if event.tag is not None:
            self.mistake(line, "a value without a tag", shown(event.tag), "types follow from the schema")
        return event.tag is None

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> None:
        good = self._plain_value(event, line)
        text = str(event.value)
        bad = next((c for c in text if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t"), None)
        if bad is not None:
            self.mistake(line, "printable characters", f"#x{ord(bad):04x}")
        plain = event.style is None
        self._value(Scalar(text, plain, line) if good and bad is None else Broken(line))

    def _open(self, event: yaml.CollectionStartEvent, line: int) -> None:
        if len(self.frames) == DEPTH_MAX:
            self.ended(line, f"at most {DEPTH_MAX} levels", None, "the rest of the file was not read")
            return
        good = self._plain_value(event, line)
        kind = Mapping([], line) if isinstance(event, yaml.MappingStartEvent) else Sequence(line)
        self.frames.append(_Frame(kind if good else Broken(line)))

    def _value(self, node: Node) -> None:
        """Put a finished value where it belongs: the root, a key of the open map, or that key's value."""
        if not self.frames:
            self.root = node
            return
        frame = self.frames[-1]
        if not isinstance(frame.node, Mapping):
            return
        if frame.key is None:
            frame.key, frame.key_line = self._key(node), node.line
        else:
            if frame.key:
                frame.node.entries.append(Entry(frame.key, frame.key_line, node))
            frame.key = None

    def _key(self, node: Node) -> str:
        """Return a key's text; an empty text marks a key about which a mistake was noted."""
        if isinstance(node, Scalar) and node.text:
            return node.text
        if not isinstance(node, Broken):
            self.mistake(
                node.line or 0,
                "a key that is a name",
                "an empty key" if isinstance(node, Scalar) else "a collection",
            )
        return ""
