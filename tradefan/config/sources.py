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
ROLLBACK = ".rollback"
"""Lies beside the files while several of them are put in place: what they say together then is nothing."""
_TRIES = 5
"""Reads of files of which one is being written, before they are refused."""


class Layer(Struct, frozen=True):
    """One file: the name that messages show, and its bytes."""

    name: str
    data: bytes


class Unsettled(ConfigInvalid):
    """The files cannot be judged now, whatever they say: they are being written, or a rollback is."""


class Opened(Struct, frozen=True):
    """A source and what was wrong with its text; not `whole` when reading it ended early."""

    source: Source
    mistakes: list[Mistake]
    whole: bool = True


def read_layers(
    read: Callable[[str], bytes | None], environment: str, *, directory: str = "config"
) -> tuple[Layer, ...]:
    """Return the files of an environment; `read` answers None for a file that is not there.

    All are read until two readings of all agree, so that nothing is taken that is being written.

    Raises:
        ConfigInvalid: a file is missing or is cut short.
        Unsettled: they do not stand still, or a rollback is on its way or was broken off.
    """
    missing = {
        "base.yaml": "is this the directory of the configuration?",
        f"environments/{environment}.yaml": meant(environment, ENVIRONMENTS),
        "local.yaml": None,
    }
    found = _settled(read, directory, tuple(missing))
    layers = [_layer(f"{directory}/{name}", data, missing[name]) for name, data in found.items()]
    mistakes = [layer for layer in layers if isinstance(layer, Mistake)]
    if mistakes:
        raise ConfigInvalid(mistakes)
    return tuple(layer for layer in layers if isinstance(layer, Layer))


def _settled(
    read: Callable[[str], bytes | None], directory: str, names: Sequence[str]
) -> dict[str, bytes | None]:
    """Return what the files say together.

    No mixture of a rollback's two sides agrees twice: a file that is new in the first reading and another
    that is old in the second mean that the rollback was on its way when the second one began, and that is
    where ROLLBACK is looked for. It does not matter how long anything takes.
    """
    found = _at_once(read, directory, names)
    for _ in range(_TRIES):
        before, found = found, _at_once(read, directory, names)
        if before == found:
            return found
    moving = [f"{directory}/{name}" for name in names if before[name] != found[name]]
    expected = "a file that stands still"
    raise Unsettled([Mistake(name, None, "", None, expected, "it is being written") for name in moving])


def _at_once(
    read: Callable[[str], bytes | None], directory: str, names: Sequence[str]
) -> dict[str, bytes | None]:
    if read(ROLLBACK) is not None:
        # A start in the middle of one fails as well, which takes a few milliseconds.
        hint = "one that was broken off: run `config rollback` again, or see to the files and remove this"
        raise Unsettled([Mistake(f"{directory}/{ROLLBACK}", None, "", None, "no rollback on its way", hint)])
    return {name: read(name) for name in names}


def _layer(where: str, data: bytes | None, missing: str | None) -> Layer | Mistake | None:
    """Return one file; where it is not there, None or a mistake with the hint `missing`."""
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
