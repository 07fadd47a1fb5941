"""Holds the records of a replay against the journal that the recorded run wrote."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from tradefan.errors import Refused
from tradefan.messages.control import Append, Durable, Rows
from tradefan.messages.records import Epoch, Record
from tradefan.replay.player import Diverged, Divergence, Played
from tradefan.stores.journal import JournalFile, Row
from tradefan.units import Ref

_encode = msgspec.msgpack.Encoder().encode


class AgainstJournal:
    """Compares what a step appends with the rows of the same numbers, as soon as they were durable.

    What was not durable when the process died may be another life's record in the file, so it is not
    compared.
    """

    def __init__(self, path: Path, ref: Ref, instance: str) -> None:
        """Read a journal, also beside a running daemon; `ref` is the journal's port.

        Raises:
            Refused: it cannot be believed, or is that of another instance.
            Outage: it cannot be read.
        """
        self.equal = 0
        self._ref = ref
        self._waiting: deque[tuple[int, Played, Record]] = deque()
        self._durable = 0
        self._file = JournalFile(str(path), read_only=True)
        self._begin = self._file.begin()[0]
        self._rows: Iterator[Row] = iter(())
        self._next = 0
        first = next(self._file.rows(self._begin), None)
        if first is not None and isinstance(first.record, Epoch) and first.record.instance != instance:
            self._file.close()
            text = f"{path}: expected the journal of instance {instance}, found {first.record.instance}'s"
            raise Refused("OTHER_JOURNAL", text)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with closing(self._file):
            self._rows = iter(())

    def look(self, played: Played) -> None:
        """Take a step.

        Raises:
            Diverged: a record differs from its row, with both.
        """
        for _, msg in played.ingress:
            if isinstance(msg, Durable):
                self._durable = max(self._durable, msg.lsn)
            elif isinstance(msg, Rows):
                # An order manager begins from these: what it had appended beyond may never have been written.
                self._durable = msg.durable
                self._waiting.clear()
        for ref, effect in played.effects:
            if ref == self._ref and isinstance(effect, Append):
                self._waiting.extend(
                    (lsn, played, record) for lsn, record in enumerate(effect.records, effect.first_lsn)
                )
        self._compare()

    def settle(self, played: Played) -> Divergence | None:
        """Compare what this step appended at once: it is known to have gone another way."""
        for ref, effect in played.effects:
            if ref == self._ref and isinstance(effect, Append):
                for lsn, record in enumerate(effect.records, effect.first_lsn):
                    row = self._row(lsn)
                    if row is not None and _encode(row) != _encode(record):
                        return _divergence(lsn, played, row, record)
        return None

    def _compare(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._durable:
            lsn, played, record = self._waiting.popleft()
            if lsn <= self._begin:
                # A loss that was accepted: nobody has these rows any more.
                continue
            row = self._row(lsn)
            if row is None:
                text = f"the journal ends at {self._file.last_lsn}"
                raise Diverged(Divergence(played.number, played.now_ns, f"record {lsn}", text, repr(record)))
            if _encode(row) != _encode(record):
                raise Diverged(_divergence(lsn, played, row, record))
            self.equal += 1

    def _row(self, lsn: int) -> Record | None:
        if not self._begin < lsn <= self._file.last_lsn:
            return None
        if lsn != self._next:
            self._rows = self._file.rows(lsn - 1)
        self._next = lsn + 1
        row = next(self._rows, None)
        if row is None or row.lsn != lsn:
            raise Refused("JOURNAL_DAMAGED", f"{self._file.path}: expected row {lsn}, found {row}")
        return row.record


def _divergence(lsn: int, played: Played, row: Record, record: Record) -> Divergence:
    return Divergence(played.number, played.now_ns, f"record {lsn} of the journal", repr(row), repr(record))
