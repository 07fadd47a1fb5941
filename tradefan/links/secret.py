"""Secrets by reference: `${ENV_NAME}` or `${file:PATH}`; only links read what they lead to."""

from __future__ import annotations

import os
from pathlib import Path

from tradefan.errors import Refused

_FILE = "file:"
_KNOWN = ("admin", "changeme", "password", "secret", "tradefan", "tradefan123")
"""What everybody tries first; the last one is the login of development."""
UNREADABLE = "SECRET_UNREADABLE"
_OTHERS = 0o077
"""Rights of all but the owner."""


def secret_lack(reference: str) -> str | None:
    """Return why `${NAME}` or `${file:PATH}` leads to nothing, None where it leads to a secret."""
    try:
        read_secret(reference)
    except Refused as no:
        return no.text
    return None


def secret_flaw(reference: str) -> str | None:
    """Return what production does not accept of a secret that is set; neither it nor a part of it is said."""
    name = reference[2:-1]
    if name.startswith(_FILE):
        mode = _path(name).stat().st_mode & 0o777
        if mode & _OTHERS:
            return f"{reference} may be read by others, its mode is {mode:04o}; expected 0600"
    if read_secret(reference).lower() in _KNOWN:
        return f"{reference} is a default password; expected one of its own"
    return None


def read_secret(reference: str) -> str:
    """Return what a reference leads to, without white space around it; nothing for an empty reference.

    Raises:
        Refused: NO_SECRET where it leads to nothing, UNREADABLE where its file cannot be read; with the
            reference and the reason, never with what lies behind it.
    """
    if not reference:
        return ""
    if not (reference.startswith("${") and reference.endswith("}")):
        # It may be the secret itself.
        raise Refused("NO_SECRET", "expected ${NAME} or ${file:PATH}, got another text")
    name = reference[2:-1]
    secret = _content(reference, name) if name.startswith(_FILE) else os.environ.get(name, "")
    if not secret.strip():
        raise Refused("NO_SECRET", f"{reference} is not set")
    return secret.strip()


def _content(reference: str, name: str) -> str:
    try:
        return _path(name).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except PermissionError:
        # Of the file, or of a folder above it: a service often runs as another user than who made them.
        raise Refused(UNREADABLE, f"user {os.geteuid()} may not read {reference}") from None
    except OSError as error:
        raise Refused(UNREADABLE, f"{reference} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, RuntimeError) as error:
        # The text of the first one has a part of the file; the second one is a home that nobody knows.
        why = "no text in UTF-8" if isinstance(error, UnicodeDecodeError) else "no home directory is known"
        raise Refused(UNREADABLE, f"{reference} cannot be read: {why}") from None


def _path(name: str) -> Path:
    return Path(name.removeprefix(_FILE)).expanduser()
