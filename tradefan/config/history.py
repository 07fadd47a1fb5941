"""Versions of the configuration that were active: numbered, with their files and what had changed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec
from msgspec import Struct

from tradefan.config.sources import Layer
from tradefan.errors import Refused

Cause = Literal["start", "edit", "replaced"]
"""`replaced`: never active, kept when a rollback wrote over it."""


class Version(Struct, frozen=True):
    """One configuration: its files by name, and how it differs from the one before (`key: from A to B`)."""

    number: int
    config_id: str
    at_ns: int
    cause: Cause
    files: dict[str, str]
    changed: tuple[str, ...] = ()

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
