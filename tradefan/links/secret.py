"""Secrets by reference: `${ENV_NAME}` or `${file:PATH}`; only links read what they lead to."""

from __future__ import annotations

import os
from pathlib import Path

from tradefan.errors import Refused

_FILE = "file:"
_KNOWN = ("admin", "changeme", "password", "secret", "tradefan", "tradefan123")
"""What everybody tries first; the last one is the login of development."""
_OTHERS = 0o077
"""Rights of all but the owner."""


def secret_is_set(reference: str) -> bool:
    """Say whether `${NAME}` or `${file:PATH}` leads to something; the secret itself goes nowhere."""
    name = reference[2:-1]
    if not name.startswith(_FILE):
        return bool(os.environ.get(name))
    path = Path(name.removeprefix(_FILE)).expanduser()
    return path.is_file() and path.stat().st_size > 0


def secret_flaw(reference: str) -> str | None:
    """Return what production does not accept of a secret that is set; neither it nor a part of it is said."""
    name = reference[2:-1]
    if name.startswith(_FILE):
        mode = Path(name.removeprefix(_FILE)).expanduser().stat().st_mode & 0o777
        if mode & _OTHERS:
            return f"{reference} may be read by others, its mode is {mode:04o}; expected 0600"
    if read_secret(reference).lower() in _KNOWN:
        return f"{reference} is a default password; expected one of its own"
    return None


def read_secret(reference: str) -> str:
    """Return what a reference leads to, without white space around it; nothing for an empty reference.

    Raises:
        Refused: NO_SECRET, with the reference.
    """
    if not reference:
        return ""
    if not secret_is_set(reference):
        raise Refused("NO_SECRET", f"{reference} is not set")
    name = reference[2:-1]
    if not name.startswith(_FILE):
        return os.environ[name].strip()
    return Path(name.removeprefix(_FILE)).expanduser().read_text(encoding="utf-8").strip()
