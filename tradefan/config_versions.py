"""Where versions of the configuration are kept: one file each below the data directory."""

from __future__ import annotations

from pathlib import Path

from tradefan.config.history import Cause, Version, decode, encode
from tradefan.data_dir import write_whole
from tradefan.errors import Refused

KEPT = 1_000
"""The newest of them."""


class ConfigVersions:
    """The versions of one data directory, oldest first."""

    def __init__(self, folder: Path) -> None:
        """Name the folder; it is made with the first version."""
        self._folder = folder

    def numbers(self) -> list[int]:
        """Return the numbers that are kept."""
        return sorted(int(path.stem) for path in self._folder.glob("*.json") if path.stem.isdecimal())

    def newest(self) -> Version | None:
        """Return the last one that was active."""
        for number in reversed(self.numbers()):
            found = self.read(number)
            if found.cause != "replaced":
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

    def add(
        self, config_id: str, at_ns: int, cause: Cause, files: dict[str, str], changed: tuple[str, ...] = ()
    ) -> int:
        """Keep a version under the next number and return that; the oldest go.

        Raises:
            OSError: the disk does not take it.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        known = self.numbers()
        number = (known[-1] if known else 0) + 1
        write_whole(self._path(number), encode(Version(number, config_id, at_ns, cause, files, changed)))
        for old in known[: max(0, len(known) + 1 - KEPT)]:
            self._path(old).unlink(missing_ok=True)
        return number

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06d}.json"
