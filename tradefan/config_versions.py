"""Where versions of the configuration are kept: one file each below the data directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from tradefan.config.history import REPLACED, Version, decode, encode
from tradefan.data_dir import write_whole
from tradefan.errors import Refused

KEPT = 1_000
"""The newest of them."""


class ConfigVersions:
    """The versions of one data directory, oldest first."""

    def __init__(self, folder: Path) -> None:
        """Name the folder; it is made with the first version."""
        self.folder = folder

    def numbers(self) -> list[int]:
        """Return the numbers that are kept."""
        return sorted(int(path.stem) for path in self.folder.glob("*.json") if path.stem.isdecimal())

    def newest(self, damaged: Callable[[str], None] = lambda _why: None) -> Version | None:
        """Return the last one that was active; `damaged` hears of each newer one that cannot be read."""
        for number in reversed(self.numbers()):
            try:
                found = self.read(number)
            except Refused as no:
                damaged(no.text)
                continue
            if found.cause != REPLACED:
                return found
        return None

    def read(self, number: int) -> Version:
        """Return one of them.

        Raises:
            Refused: NO_VERSION with those that there are, BAD_VERSION.
        """
        path = self._path(number)
        try:
            return decode(path.read_bytes(), str(path))
        except FileNotFoundError:
            known = self.numbers()
            there = f"kept are {known[0]} to {known[-1]}" if known else "none is kept yet"
            raise Refused(
                "NO_VERSION", f"there is no version {number} of the configuration; {there}"
            ) from None
        except OSError as error:
            raise Refused("BAD_VERSION", f"{path}: {error.strerror}") from error

    def add(self, version: Version) -> int:
        """Keep a version under the next number, whatever it says, and return that; the oldest go.

        Raises:
            OSError: the disk does not take it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        known = self.numbers()
        number = (known[-1] if known else 0) + 1
        # The files of which it is a copy may be for their owner's eyes only.
        write_whole(self._path(number), encode(replace(version, number=number)), 0o600)
        for old in known[: max(0, len(known) + 1 - KEPT)]:
            self._path(old).unlink(missing_ok=True)
        return number

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.json"
