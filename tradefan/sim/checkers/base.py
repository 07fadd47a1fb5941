"""What all checkers share: one invariant a class, its memory, and how it follows what is new.

A checker is handed the whole `Witness` at every step and looks only at what came since. Records may
be taken back: a crash loses what was not durable. Then a checker that follows them begins anew and
folds what is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeVar

from tradefan.messages.records import Record
from tradefan.sim.witness import Kind, Violation, Witness
from tradefan.units import SECOND

Source = Literal["step", "records", "writes", "venue", "logs", "faults", "kills", "config", "disk"]
"""What a checker draws on; `step` is every step, whatever changed."""
T = TypeVar("T")
LAST_LOOK_NS = 5 * SECOND
"""What a stop takes at most from its last look to its exit."""
LIAR_LAG_NS = 60 * SECOND
"""What a liar's queries may lag behind V."""


class Watch:
    """Base of all checkers: `watches` says after which changes `after_step` has to be asked.

    It is also asked in the first step at or after `due_ns`, where that is set.
    """

    invariant: str
    kind: Kind
    watches: tuple[Source, ...]
    due_ns: int | None = None

    def after_step(self, seen: Witness) -> Violation | None:
        return None

    def at_start(self, seen: Witness) -> Violation | None:
        return None

    def at_rest(self, seen: Witness) -> Violation | None:
        return None

    def broken(self, seen: Witness, expected: object, found: object) -> Violation:
        """Return the violation with both values."""
        return Violation(self.invariant, seen.now_ns, str(expected), str(found))


class Tail:
    """Follows the records of the present order manager."""

    def __init__(self) -> None:
        """Begin before the first record."""
        self._told: list[Record] = []

    def is_told(self, records: list[Record]) -> bool:
        """Say whether nothing is new, which it is not in most steps."""
        told = self._told
        return len(records) == len(told) and (not told or records[-1] is told[-1])

    def news(self, records: list[Record]) -> tuple[int | None, list[Record]]:
        """Return what is new; where something was taken back all of it, and how many had stood before.

        No records at all: an order manager has not folded yet, which takes nothing back.
        """
        told, count = self._told, len(self._told)
        if not records:
            return None, []
        same = count <= len(records) and (not count or records[count - 1] is told[-1])
        if not same:
            kept = self._kept(records)
            if kept < count:
                self._told = list(records)
                return kept, records
        if count == len(records):
            return None, []
        fresh = records[count:]
        told.extend(fresh)
        return None, fresh

    def _kept(self, records: list[Record]) -> int:
        """Count the records that still stand: rows that were read again are equal, but other objects."""
        kept = min(len(self._told), len(records))
        while kept and records[kept - 1] != self._told[kept - 1]:
            # From a lost tail on everything is later than what was lost.
            kept -= 1
        return kept


class OverRecords(Watch):
    """A checker that folds records: `begin` forgets, `take` folds one, `judge` looks when all are in.

    The lsn of the record in hand is `lsn`. What `take` finds in a record that is only folded again does
    not count: it was judged when it was new, with the clock and the venue of that time.
    """

    watches: tuple[Source, ...] = ("records",)

    def __init__(self) -> None:
        """Begin before the first record."""
        self._tail = Tail()
        self.lsn = 0
        self.begin()

    def begin(self) -> None:
        """Forget all that was folded."""

    def take(self, seen: Witness, record: Record) -> Violation | None:
        """Fold one record."""
        return None

    def judge(self, seen: Witness) -> Violation | None:
        """Look at what has been folded."""
        return None

    def after_step(self, seen: Witness) -> Violation | None:
        return self.follow(seen) or self.judge(seen)

    def at_start(self, seen: Witness) -> Violation | None:
        return self.after_step(seen)

    def follow(self, seen: Witness) -> Violation | None:
        """Fold what is new, all of it where a crash took records back."""
        if self._tail.is_told(seen.records):
            return None
        stood, fresh = self._tail.news(seen.records)
        if stood is not None:
            self.lsn = 0
            self.begin()
        first = None
        for record in fresh:
            self.lsn += 1
            broken = self.take(seen, record)
            if stood is None or self.lsn > stood:
                first = first or broken
        return first

    def true_ns(self, seen: Witness, kernel_ns: int) -> int:
        """Return an instant of the record in hand in the world's time, by the clock of its own life."""
        return kernel_ns - seen.skew_of(self.lsn)


def oms_of(seen: Witness) -> Any:  # noqa: ANN401 `OmsState`, which only the actors' floor knows
    """Return the order manager's State once it has folded its journal, None before and while it is down."""
    return seen.oms if seen.oms is not None and seen.oms.live.running else None


class Newer:
    """Hands out what was added to a list that only grows."""

    def __init__(self) -> None:
        """Begin at its front."""
        self.count = 0

    def of(self, items: Sequence[T]) -> Sequence[T]:
        """Return what is new."""
        if len(items) == self.count:
            return ()
        fresh = items[self.count :]
        self.count = len(items)
        return fresh
