"""Versions of the configuration that were active: numbered, with their files and what had changed."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec import Struct

from tradefan.config.sources import Layer
from tradefan.errors import Refused

REPLACED = "replaced"
"""The cause of a version that was never active: kept when a rollback wrote over it."""


class Overrides(Struct, frozen=True):
    """What lay over the files in one process: `TRADEFAN__...` by name, and `--set`, in their order.

    A secret is said by reference there as in a file, or the start is refused: no value of one is here.
    """

    environ: dict[str, str] = {}
    sets: tuple[str, ...] = ()


class Version(Struct, frozen=True):
    """One configuration: its files by name, and how it differs from the one before (`key: from A to B`).

    `cause` is start, edit or replaced; a newer program may know others. `modes` are those of the files.
    """

    number: int
    config_id: str
    at_ns: int
    cause: str
    files: dict[str, str]
    changed: tuple[str, ...] = ()
    overrides: Overrides | None = None
    """None: nobody knows, as in the versions of older programs and in what was replaced."""
    modes: dict[str, int] = {}

    def layers(self, folder: str) -> tuple[Layer, ...]:
        """Return the files as the loader takes them from a folder."""
        return tuple(Layer(f"{folder}/{name}", text.encode()) for name, text in self.files.items())


def files_of(layers: Iterable[Layer], folder: str) -> dict[str, str]:
    """Return files as text, by their names in the folder; a configuration that was read is UTF-8."""
    return {
        layer.name.removeprefix(f"{folder}/"): layer.data.decode("utf-8", "backslashreplace")
        for layer in layers
    }


def encode(version: Version) -> str:
    """Return a version as people can read it, too."""
    return msgspec.json.format(msgspec.json.encode(version), indent=1).decode() + "\n"


def decode(text: bytes, where: str) -> Version:
    """Return the version of a file.

    Raises:
        Refused: BAD_VERSION.
    """
    try:
        return msgspec.json.decode(text, type=Version)
    except msgspec.MsgspecError as error:
        raise Refused("BAD_VERSION", f"{where}: {error}") from error
