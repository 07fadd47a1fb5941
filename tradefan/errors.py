"""The three kinds of trouble, and only these.

TradeFanError
├── Refused   expected: risk, venue, config or a user said no; carries a stable code
├── Outage    the world broke: network, disk, time-out; a state with a retry policy, never a crash
└── Defect    we are wrong: the supervisor restarts the actor and the traceback is kept
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class TradeFanError(Exception):
    """Anything that TradeFan itself raises on purpose."""


class Refused(TradeFanError):
    """A wish was turned down; `code` is stable, `text` says what was expected, `would_pass` what to write."""

    def __init__(self, code: str, text: str, would_pass: str | None = None) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text
        self.would_pass = would_pass


@contextmanager
def naming(key: str, code: str | None = None, would_pass: str | None = None) -> Iterator[None]:
    """Let a refusal inside say which key its value was of; with a code and a proposal, where given."""
    try:
        yield
    except Refused as no:
        raise Refused(code or no.code, f"{key}: {no.text}", would_pass or no.would_pass) from no


def place_of(key: str, places: Mapping[str, str]) -> str | None:
    """Return where a key was said; else the nearest one above it, else the first one below it."""
    above = key
    while above:
        if above in places:
            return places[above]
        above = above.rpartition(".")[0]
    return next((place for below, place in places.items() if key and below.startswith(f"{key}.")), None)


class Outage(TradeFanError):
    """Something outside failed and may come back."""


class Defect(TradeFanError):
    """This should never happen: a broken invariant of our own."""


class TurnOverrun(BaseException):
    """A strategy's turn took too long and was broken off: a crash of that actor, and of nobody else.

    No Exception, so that no `except` around a strategy's own code keeps it from the kernel.
    """

    text: str | None = None
    """Its traceback, where a recording has it: where it struck is chance, and is not found again."""


_HERE = __file__.removesuffix("tradefan/errors.py")


def traceback_of(error: BaseException) -> str:
    """Return a traceback that names our files without their folder.

    It is journaled, and a seed is to be the same wherever the program lies.
    """
    return "".join(traceback.format_exception(error)).replace(_HERE, "")
