"""Where a configuration is said: files, environment variables and `--set`, each as a tree."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec
from msgspec import Struct

from tradefan.config import nodes
from tradefan.config.layers import Path, Source
from tradefan.config.mistakes import ConfigInvalid, Mistake, meant, shown
from tradefan.config.nodes import Entry, Node, Scalar

PREFIX = "TRADEFAN__"
ENVIRONMENTS = ("development", "testing", "staging", "production")
_TRIES = 5
"""Reads of a file that is being written, before it is refused."""


class Layer(Struct, frozen=True):
    """One file: the name that messages show, and its bytes."""

    name: str
    data: bytes


class Opened(Struct, frozen=True):
    """A source and what was wrong with its text; not `whole` when reading it ended early."""

    source: Source
    mistakes: list[Mistake]
    whole: bool = True


def read_layers(
    read: Callable[[str], bytes | None], environment: str, *, directory: str = "config"
) -> tuple[Layer, ...]:
    """Return the files of an environment; `read` answers None for a file that is not there.

    Each file is read until two readings agree, so that one which is being written is not taken half.

    Raises:
        ConfigInvalid: a file is missing, is cut short or does not stand still.
    """
    hint = meant(environment, ENVIRONMENTS)
    layers = (
        _layer(read, directory, "base.yaml", "is this the directory of the configuration?"),
        _layer(read, directory, f"environments/{environment}.yaml", hint),
        _layer(read, directory, "local.yaml", None),
    )
    mistakes = [layer for layer in layers if isinstance(layer, Mistake)]
    if mistakes:
        raise ConfigInvalid(mistakes)
    return tuple(layer for layer in layers if isinstance(layer, Layer))


def _layer(
    read: Callable[[str], bytes | None], directory: str, name: str, missing: str | None
) -> Layer | Mistake | None:
    """Return one file; where it is not there, None or a mistake with the hint `missing`."""
    where = f"{directory}/{name}"
    data = read(name)
    for _ in range(_TRIES):
        before, data = data, read(name)
        if before == data:
            break
    else:
        return Mistake(where, None, "", None, "a file that stands still", "it is being written")
    if data is None:
        return None if missing is None else Mistake(where, None, "", None, "a file that exists", missing)
    if data and not data.endswith(b"\n"):
        return Mistake(where, data.count(b"\n") + 1, "", None, "a line end at the end", "it may be cut short")
    return Layer(where, data)


def from_files(layers: Sequence[Layer]) -> Iterator[Opened]:
    """Give each file as a tree."""
    for layer in layers:
        document = nodes.parse(layer.name, layer.data)
        yield Opened(Source(layer.name, document.root), document.mistakes, document.whole)


def from_environ(environ: Mapping[str, str]) -> Iterator[Opened]:
    """Give each `TRADEFAN__API__PORT=8001` as a layer of its own, in the order of their names."""
    for name in sorted(environ):
        if name.startswith(PREFIX):
            path = tuple(name.removeprefix(PREFIX).lower().split("__"))
            yield _override(f"env {shown(name)}", path, environ[name], "TRADEFAN__SECTION__KEY")


def from_sets(sets: Sequence[str]) -> Iterator[Opened]:
    """Give each `--set api.port=8001` as a layer of its own, in the order in which they were said."""
    for text in sets:
        key, equals, value = text.partition("=")
        path = tuple(key.strip().split(".")) if equals else ("",)
        yield _override(f"--set {shown(key)}", path, value, "KEY=VALUE such as api.port=8001")


def _override(name: str, path: Path, text: str, form: str) -> Opened:
    """Return one value as the tree of maps that leads to it."""
    nowhere = Source(name, None, lined=False)
    if not all(path) or len(path) > nodes.DEPTH_MAX:
        return Opened(nowhere, [Mistake(name, None, "", None, form)])
    document = nodes.parse(name, text.encode("utf-8", "surrogatepass"))
    prefix = ".".join(path)
    found = [
        msgspec.structs.replace(mistake, line=None, key=f"{prefix}.{mistake.key}" if mistake.key else prefix)
        for mistake in document.mistakes
    ]
    if found:
        return Opened(nowhere, found)
    # An empty value is null in YAML: the key gets its default back.
    node: Node = Scalar("", plain=True, line=None) if document.root is None else document.root
    for part in reversed(path):
        node = nodes.Mapping([Entry(part, None, node)], None)
    return Opened(Source(name, node, lined=False), [])
