"""A group of records on its way into one transaction of the journal: encoded, chained, and named."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from tradefan.errors import Defect
from tradefan.messages.control import Append
from tradefan.stores.journal_base import JournalBase
from tradefan.stores.journal_layout import link, subject_of

_ENCODE = msgspec.msgpack.Encoder().encode


class Group:
    """Rows of one transaction, encoded and chained; the file's own memory changes behind the commit."""

    def __init__(self, base: JournalBase, version: int) -> None:
        """Begin behind the last row of a file, with records of a version."""
        self.last, self.chain, self.epoch = base.last, base.chain, base.epoch
        self.rows: list[tuple[int, int, int, str, int, bytes, bytes]] = []
        self.subjects: list[tuple[str, int]] = []
        self._base = base
        self._version = version

    def take(self, appends: Iterable[Append], bytes_max: int) -> None:
        """Take the records that are new, up to a size, and compare the others with what has their lsn."""
        # One loop, all in local names: it is most of what a row costs.
        last, chain, highest, size = self.last, self.chain, self.epoch, 0
        version, rows, subjects = self._version, self.rows, self.subjects
        for append in appends:
            if size >= bytes_max:
                break
            lsn, epoch = append.first_lsn - 1, append.epoch
            for record in append.records:
                lsn += 1
                payload = _ENCODE(record)
                if lsn <= last:
                    self._compare(lsn, payload)
                    continue
                if lsn != last + 1:
                    raise Defect(f"journal {self._base.path}: expected lsn {last + 1}, got {lsn}")
                last, at_ns, kind = lsn, record.at_ns, type(record).__name__
                chain = link(chain, lsn, at_ns, epoch, kind, version, payload)
                rows.append((lsn, at_ns, epoch, kind, version, payload, chain))
                subject = subject_of(record)
                if subject is not None:
                    subjects.append((subject, lsn))
                size += len(payload)
                highest = max(highest, epoch)
        self.last, self.chain, self.epoch = last, chain, highest

    def _compare(self, lsn: int, payload: bytes) -> None:
        found = self._payload_at(lsn) if lsn <= self._base.last else self.rows[lsn - self._base.last - 1][5]
        if found != payload:
            raise Defect(f"journal {self._base.path}: lsn {lsn} is taken by another record")

    def _payload_at(self, lsn: int) -> bytes | None:
        with self._base.guard:
            found: bytes | None = self._base.db.execute(
                "SELECT payload FROM journal WHERE lsn = ?", (lsn,)
            ).get
        return found
