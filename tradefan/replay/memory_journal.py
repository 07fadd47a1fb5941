"""The journal of a rerun: it remembers in memory, and answers as the real one does."""

from __future__ import annotations

from collections import deque

from msgspec.structs import replace

from tradefan.messages.base import Message
from tradefan.messages.control import Append, AskHistory, Durable, Fold, History, KillByte, KillByteSet, Rows
from tradefan.messages.records import Record
from tradefan.stores.journal_layout import subject_of
from tradefan.units import MS

COMMIT_NS = MS
"""What it takes for a group, about as a disk does."""


class MemoryJournal:
    """The journal's port: what was there at the beginning, and what is appended since."""

    def __init__(self, base: Rows | None) -> None:
        """Begin with what the recorded journal told; None until it has told it."""
        self.base = base
        self.records: list[Record] = []
        self._folds: deque[Fold] = deque()
        self._out: deque[tuple[int, Message]] = deque()

    def apply(self, now_ns: int, effect: Message) -> None:
        """Take an effect; what it takes to answer is there at once, but for a commit's time."""
        if isinstance(effect, Append):
            base = 0 if self.base is None else self._base_lsn(self.base)
            behind = base + len(self.records)
            self.records += effect.records[max(0, behind + 1 - effect.first_lsn) :]
            self._out.append((now_ns + COMMIT_NS, Durable(base + len(self.records))))
        elif isinstance(effect, KillByte):
            self._out.append((now_ns, KillByteSet(effect.serial, effect.value)))
        elif isinstance(effect, AskHistory):
            known = (*(() if self.base is None else self.base.records), *self.records)
            found = tuple(record for record in known if subject_of(record) == effect.subject)
            self._out.append((now_ns, History(effect.subject, found, effect.fact)))
        elif isinstance(effect, Fold):
            self._folds.append(effect)

    def next_ns(self) -> int | None:
        """Return when an answer is due."""
        if self._folds and self.base is not None:
            return 0
        return self._out[0][0] if self._out else None

    def take(self, now_ns: int, limit: int) -> list[Message]:
        """Return what is due."""
        taken: list[Message] = []
        while self._folds and self.base is not None:
            base, fold = self.base, self._folds.popleft()
            records = (*base.records, *self.records)
            durable = self._base_lsn(base) + len(self.records)
            taken.append(replace(base, gen=fold.gen, records=records, durable=durable))
        while self._out and self._out[0][0] <= now_ns and len(taken) < limit:
            taken.append(self._out.popleft()[1])
        return taken

    @staticmethod
    def _base_lsn(base: Rows) -> int:
        return base.snapshot_lsn + len(base.records)
