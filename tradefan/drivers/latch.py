"""The latch: one plain object at the rim, read in the statement before every write that creates risk.

Closing it needs no loop, no disk and no formatting, so that a kill holds whatever else is broken
(RELIABILITY.md 2b, M21). It is no State: the journal and the kill byte remember it, and a start closes
it again before its first step.
"""

from __future__ import annotations

ALL = "all"
"""The scope that holds for every write, whatever scopes that names."""


class Latch:
    """A flag per scope: `all`, an instrument, an account, an owner or a venue.

    Every method is a step or two on one dict, so a signal handler may close it inside any other call.
    """

    __slots__ = ("closed",)

    def __init__(self) -> None:
        """Begin open."""
        self.closed: dict[str, str] = {}

    def close(self, scope: str, reason: str) -> None:
        """Close a scope; the first reason stays."""
        self.closed.setdefault(scope, reason)

    def open(self, scope: str) -> None:
        """Open a scope; only behind a durable RESUME."""
        self.closed.pop(scope, None)

    def is_closed(self, scopes: tuple[str, ...]) -> bool:
        """Say whether a create or a replacement with these scopes must not be written."""
        closed = self.closed
        return bool(closed) and (ALL in closed or any(scope in closed for scope in scopes))
