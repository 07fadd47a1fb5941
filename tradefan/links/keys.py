"""API keys: where a reference leads, and that only one daemon of this machine trades with a key.

Two programs on one key spoil each other's order ids, limits and cancels (RELIABILITY.md ST-07). The
data directory's lock does not help where the second one has a directory of its own.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from tradefan.config.check import PAPER
from tradefan.config.schema import AccountConfig
from tradefan.errors import Outage, Refused
from tradefan.links.lock import FileLock

KEYLESS = (PAPER,)
"""Venues whose accounts need no key, and so no lock."""


class KeyLocks:
    """Holds one lock for each key that this daemon's accounts use."""

    def __init__(self, folder: Path) -> None:
        """Keep the lock files in a folder that `runtime_folder` returned."""
        self._folder = folder
        self._locks: dict[Path, tuple[str, FileLock]] = {}

    def take(self, accounts: Mapping[str, AccountConfig], data_dir: Path) -> None:
        """Take the lock of every account that has a key; all or none.

        Raises:
            Refused: KEY_IN_USE with pid and data directory of the other daemon, KEY_TWICE where two
                accounts have the same key, NO_SECRET where a reference leads to nothing.
            Outage: a lock file cannot be made.
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
                _require_mine(name, FileLock(self._path(account)).holder())

    def _path(self, account: AccountConfig) -> Path:
        return self._folder / f"{fingerprint(account.venue, read_secret(account.api_key))}.lock"

    def _take(self, name: str, account: AccountConfig, data_dir: Path) -> None:
        path = self._path(account)
        if path in self._locks:
            raise Refused("KEY_TWICE", f"accounts {self._locks[path][0]} and {name} have the same API key")
        lock = FileLock(path, 0o600)
        try:
            holder = lock.take(f"{os.getpid()} {data_dir}\n")
        except OSError as error:
            raise Outage(f"expected to lock {path}: {error.strerror}") from error
        _require_mine(name, holder)
        self._locks[path] = (name, lock)


def _require_mine(name: str, holder: str | None) -> None:
    if holder is not None:
        pid, _, where = holder.partition(" ")
        text = f"the API key of {name} is used by the daemon with pid {pid or 'unknown'} in {where}"
        raise Refused("KEY_IN_USE", f"{text}; stop that one first")


def fingerprint(venue: str, key: str) -> str:
    """Name a key of a venue without giving it away."""
    return f"{venue}-{sha256(f'{venue} {key}'.encode()).hexdigest()[:32]}"


def runtime_folder(environ: Mapping[str, str] | None = None, uid: int | None = None) -> Path:
    """Return this user's folder for what lives as long as the machine runs, made private.

    XDG_RUNTIME_DIR, else /run/user/UID, else one in the folder for temporary files.

    Raises:
        Outage: the folder cannot be made, or somebody else could write into it.
    """
    environ = os.environ if environ is None else environ
    uid = os.getuid() if uid is None else uid
    given = environ.get("XDG_RUNTIME_DIR", "")
    base = Path(given) if given.startswith("/") else Path(f"/run/user/{uid}")
    folder = base / "tradefan" if base.is_dir() else Path(tempfile.gettempdir()) / f"tradefan-{uid}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise Outage(f"expected a runtime folder at {folder}: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid or stat.S_IMODE(found.st_mode) & 0o022:
        raise Outage(f"expected {folder} to be a folder of user {uid} that nobody else may write to")
    return folder


def read_secret(reference: str) -> str:
    """Return what `${NAME}` or `${file:PATH}` leads to.

    Raises:
        Refused: NO_SECRET names the reference, never what lies behind it.
    """
    name = reference[2:-1] if reference.startswith("${") and reference.endswith("}") else ""
    try:
        if name.startswith("file:"):
            secret = Path(name.removeprefix("file:")).expanduser().read_text(encoding="utf-8")
        else:
            secret = os.environ.get(name, "")
    except (OSError, UnicodeDecodeError) as error:
        raise Refused("NO_SECRET", f"expected to read {reference}: {type(error).__name__}") from error
    if not secret.strip():
        raise Refused("NO_SECRET", f"expected {reference or 'a reference'} to lead to a secret")
    return secret.strip()
