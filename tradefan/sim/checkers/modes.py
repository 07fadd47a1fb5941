"""Modes as the records tell them, and how often they change."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from tradefan.messages.records import Epoch, Kill, ModeChange, Record, Resume
from tradefan.sim.checkers.base import OverRecords
from tradefan.sim.witness import Kind, Violation, Witness
from tradefan.units import MINUTE

TIGHTER = ("NORMAL", "NO_NEW_RISK", "REDUCE_ONLY", "CANCEL_ONLY", "KILLED")
CHANGES_MAX = 6
CHANGES_OF_A_START = 2
HUMAN_CAUSES = ("chain", "auth", "safe", "drawdown", "daily_loss")
"""What a RESUME of its scope lets go (RELIABILITY.md 2b: those that a human leaves)."""


class Modes:
    """The causes that hold, by scope; a kill is one of them."""

    def __init__(self) -> None:
        """Begin NORMAL everywhere."""
        self.causes: dict[str, dict[str, str]] = {}

    def take(self, record: Record) -> None:
        """Fold one record."""
        if isinstance(record, ModeChange):
            self._set(record.scope, record.cause, record.mode)
        elif isinstance(record, Kill):
            self._set(record.scope, "kill", "KILLED")
        elif isinstance(record, Resume):
            for cause in ("kill", *HUMAN_CAUSES):
                self._set(record.scope, cause, "NORMAL")

    def _set(self, scope: str, cause: str, mode: str) -> None:
        causes = self.causes.setdefault(scope, {})
        if mode == "NORMAL":
            causes.pop(cause, None)
        else:
            causes[cause] = mode

    def of(self, scopes: Iterable[str]) -> dict[str, dict[str, str]]:
        """Return the causes of some scopes."""
        return {scope: self.causes[scope] for scope in scopes if self.causes.get(scope)}

    def at_least(self, mode: str, scopes: Iterable[str]) -> bool:
        """Say whether a mode, or a tighter one, holds in any of some scopes."""
        least = TIGHTER.index(mode)
        found = (one for causes in self.of(scopes).values() for one in causes.values())
        return any(TIGHTER.index(one) >= least for one in found)


def _within_a_minute(recent: deque[int], at_ns: int) -> None:
    """Add an instant and let go of what is not within the minute before it."""
    while recent and not 0 <= at_ns - recent[0] < MINUTE:
        recent.popleft()
    recent.append(at_ns)


class FewChanges(OverRecords):
    """I-38: at most 6 MODE records within a minute of one (scope, cause), and 2 more for each start in it.

    By the records' own time; where a new start's clock is behind, counting begins anew. A start takes
    off what was journaled and is not so any more, and enters what it finds, however fast it is killed.
    """

    invariant: str = "I-38"
    kind: Kind = "T"

    def begin(self) -> None:
        self._recent: dict[tuple[str, str], deque[int]] = {}
        self._starts: deque[int] = deque()

    def take(self, seen: Witness, record: Record) -> Violation | None:
        if isinstance(record, Epoch):
            _within_a_minute(self._starts, record.at_ns)
        if not isinstance(record, ModeChange):
            return None
        recent = self._recent.setdefault((record.scope, record.cause), deque())
        _within_a_minute(recent, record.at_ns)
        starts = sum(0 <= record.at_ns - start < MINUTE for start in self._starts)
        most = CHANGES_MAX + CHANGES_OF_A_START * starts
        if len(recent) <= most:
            return None
        expected = f"at most {most} changes a minute of {record.scope} for {record.cause!r}"
        return self.broken(seen, expected, f"{len(recent)} since {recent[0]} ns")
