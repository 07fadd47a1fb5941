"""API keys: only one daemon of this machine trades with a key.

Two programs on one key spoil each other's order ids, limits and cancels (RELIABILITY.md ST-07). The
data directory's lock does not help where the second one has a directory of its own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from tradefan.config.check import PAPER
from tradefan.config.schema import AccountConfig
from tradefan.errors import Outage, Refused
from tradefan.links.lock import FileLock, NameLock
from tradefan.links.secret import read_secret

KEYLESS = (PAPER,)
"""Venues whose accounts need no key, and so no lock."""
PLACES = (Path("/run/lock"), Path("/dev/shm"), Path("/tmp"))  # noqa: S108 the same for all on this machine
"""Where lock files are: nothing that differs between a login and a service may choose the folder.

A service with a /tmp of its own still shares the others, or at least the kernel's names.
"""


class KeyLocks:
    """Holds one lock for each key that this daemon's accounts use."""

    def __init__(self, places: Sequence[Path] = PLACES) -> None:
        """Keep lock files in these folders, in each that can be written."""
        # Two names of one folder would be locked against each other.
        self._places = tuple(dict.fromkeys(place.resolve() for place in places))
        self._locks: dict[str, tuple[str, KeyLock]] = {}

    def take(self, accounts: Mapping[str, AccountConfig], data_dir: Path) -> None:
        """Take the lock of every account that has a key; all or none.

        Raises:
            Refused: KEY_IN_USE with pid and data directory of the other daemon, KEY_TWICE where two
                accounts have the same key, NO_SECRET where a reference leads to nothing.
            Outage: there is nowhere to lock.
        """
        try:
            for name, account in accounts.items():
                if account.venue not in KEYLESS:
                    self._take(name, account, data_dir)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Let all go."""
        for _, lock in self._locks.values():
            lock.release()
        self._locks.clear()

    def require_free(self, accounts: Mapping[str, AccountConfig]) -> None:
        """See that nobody holds a key now, before much is begun; only `take` decides it.

        Raises:
            Refused: KEY_IN_USE or NO_SECRET, as in `take`.
        """
        for name, account in accounts.items():
            if account.venue not in KEYLESS:
                _require_mine(name, KeyLock(_word(account), self._places).holder())

    def _take(self, name: str, account: AccountConfig, data_dir: Path) -> None:
        word = _word(account)
        if word in self._locks:
            raise Refused("KEY_TWICE", f"accounts {self._locks[word][0]} and {name} have the same API key")
        lock = KeyLock(word, self._places)
        _require_mine(name, lock.take(f"{os.getpid()} {data_dir}\n"))
        self._locks[word] = (name, lock)


class KeyLock:
    """The lock of one key: a name of the kernel's, and a file in every place."""

    def __init__(self, word: str, places: Sequence[Path]) -> None:
        """Name the key by `fingerprint`."""
        self._name = NameLock(f"tradefan-key-{word}")
        # Other users lock the same file, and say in it who they are.
        self._files = [FileLock(place / f"tradefan-key-{word}.lock", 0o666) for place in places]

    def take(self, note: str) -> str | None:
        """Take it wherever that is possible; return the note of another holder, None when it is ours.

        Raises:
            Outage: nowhere.
        """
        try:
            holder = self._taken(note)
        except BaseException:
            self.release()
            raise
        if holder is not None:
            self.release()
        return holder

    def _taken(self, note: str) -> str | None:
        # The name first: of two that begin at once, one goes on.
        if (pid := self._name.take()) is not None:
            return self.holder() or pid
        failures = []
        for file in self._files:
            try:
                holder = file.take(note)
            except OSError as error:
                failures.append(f"{file.path}: {error.strerror}")
                continue
            if holder is not None:
                return holder
        if not self._name.held and len(failures) == len(self._files):
            raise Outage(f"expected to lock an API key in one place at least: {'; '.join(failures)}")
        return None

    def release(self) -> None:
        """Let it go everywhere."""
        for file in self._files:
            file.release()
        self._name.release()

    def holder(self) -> str | None:
        """Return the note of the holder, where none can be read its pid; None when nobody holds it."""
        seen = [note for file in self._files if (note := _holder(file)) is not None]
        if (pid := self._name.holder()) is not None:
            seen.append(pid)
        return max(seen, key=len, default=None)


def _holder(file: FileLock) -> str | None:
    # A stranger's file in a folder that everybody may write to says nothing.
    with suppress(OSError):
        return file.holder()
    return None


def _require_mine(name: str, holder: str | None) -> None:
    if holder is not None:
        pid, _, where = holder.partition(" ")
        place = where or "a directory that cannot be seen from here"
        text = f"the API key of {name} is used by the daemon with pid {pid or 'unknown'} in {place}"
        raise Refused("KEY_IN_USE", f"{text}; stop that one first")


def _word(account: AccountConfig) -> str:
    key = read_secret(account.api_key)
    if not key:
        raise Refused("NO_SECRET", f"expected an api_key of each account at {account.venue}, got none")
    return fingerprint(account.venue, key)


def fingerprint(venue: str, key: str) -> str:
    """Name a key of a venue without giving it away."""
    return f"{venue}-{sha256(f'{venue} {key}'.encode()).hexdigest()[:32]}"
