"""The journal behind the OMS: one writer thread live, and a timed machine for virtual time.

Both take `Append` and `Fold` and answer `Durable`, `Rows` and `JournalFailed`. One group is written
while the next collects, so a slow disk makes larger groups and no timer is needed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from tradefan.errors import Defect, Outage
from tradefan.messages.base import Message
from tradefan.messages.control import Append, Durable, Fold, JournalFailed, Rows
from tradefan.messages.records import Record
from tradefan.stores.journal import GROUP_BYTES_MAX, JournalFile
from tradefan.stores.thread_link import Post, ThreadLink
from tradefan.units import SECOND

BACKLOG_MAX = 100_000
RETRY_NS = SECOND


class JournalLink(ThreadLink):
    """The journal for the live driver; SQLite lives on the thread that `run` starts.

    A file that cannot be opened, read or believed ends the link. A disk that cannot write does not:
    records wait in order, `JournalFailed` says why, and the same records are tried each second.
    """

    def __init__(
        self,
        path: str,
        deliver: Post,
        *,
        backlog_max: int = BACKLOG_MAX,
        group_bytes_max: int = GROUP_BYTES_MAX,
        retry_ns: int = RETRY_NS,
        open_file: Callable[[str], JournalFile] = JournalFile,
    ) -> None:
        """Prepare; nothing is opened before `run`. `deliver` is called on the loop's thread."""
        super().__init__("journal", deliver)
        self._path = path
        self._backlog_max = backlog_max
        self._group_bytes_max = group_bytes_max
        self._retry_s = retry_ns / SECOND
        self._open_file = open_file
        self._waiting: deque[Append] = deque()
        self._records = 0
        self._folds: deque[int] = deque()

    @property
    def backlog(self) -> int:
        """Count the records that wait for the disk."""
        return self._records

    def apply(self, effect: Message) -> None:
        """Take an Append or a Fold; the disk is never waited for."""
        with self.wake:
            if isinstance(effect, Append):
                self._waiting.append(effect)
                self._records += len(effect.records)
                if self._records > self._backlog_max:
                    self.error = Outage(f"journal {self._path}: more than {self._backlog_max} records wait")
            elif isinstance(effect, Fold):
                self._folds.append(effect.gen)
            else:
                raise Defect(f"the journal does not take {type(effect).__name__}")
            self.wake.notify()

    # --- on the writer thread ---------------------------------------------------------------------

    def work(self, post: Post) -> None:
        """Write group after group; what waits at the end is written, if the disk lets us."""
        file = self._open_file(self._path)
        try:
            self._serve(file, post)
        finally:
            file.close()

    def _serve(self, file: JournalFile, post: Post) -> None:
        failed = ""
        while True:
            group, folds, closing = self._take(failing=bool(failed))
            for gen in folds:
                post(self._rows(file, gen))
            if group:
                failed = self._write(file, group, failed, post)
            if self.error is not None:
                raise self.error
            if closing and (failed or not group):
                return

    def _take(self, *, failing: bool) -> tuple[Sequence[Append], Sequence[int], bool]:
        """Wait for work; a failing disk is tried again after `retry_ns`, or sooner for a Fold."""
        with self.wake:
            if failing:
                self.wake.wait_for(self._urgent, self._retry_s)
            else:
                self.wake.wait_for(lambda: self._waiting or self._urgent())
            folds = tuple(self._folds)
            self._folds.clear()
            return tuple(self._waiting), folds, self.closing

    def _urgent(self) -> bool:
        return bool(self._folds) or self.closing or self.error is not None

    def _write(self, file: JournalFile, group: Sequence[Append], failed: str, post: Post) -> str:
        """Write a group; return why it could not be written, or nothing."""
        try:
            if failed:
                file.reopen()
            durable = file.write(group, self._group_bytes_max)
        except Outage as error:
            if str(error) != failed:
                post(JournalFailed(str(error)))
            return str(error)
        with self.wake:
            self._records -= settle(self._waiting, durable)
        post(Durable(durable))
        return ""

    def _rows(self, file: JournalFile, gen: int) -> Rows:
        records, durable = file.fold()
        with self.wake:
            waiting = tuple(self._waiting)
        return rows(gen, records, durable, waiting)


class JournalMachine:
    """The journal as a timed machine: each group takes `commit_ns`, the next collects meanwhile."""

    def __init__(self, file: JournalFile, commit_ns: int = 0) -> None:
        """Start on a file, `JournalFile(":memory:")` in most tests."""
        self.file = file
        self.commit_ns = commit_ns
        self._waiting: deque[Append] = deque()
        self._group = 0
        self._due_ns: int | None = None
        self._failed = ""
        self._out: deque[tuple[int, Message]] = deque()

    def apply(self, now_ns: int, effect: Message) -> None:
        """Take an Append or a Fold."""
        self._settle(now_ns)
        if isinstance(effect, Append):
            self._waiting.append(effect)
            if self._due_ns is None:
                self._begin(now_ns)
        elif isinstance(effect, Fold):
            self._out.append((now_ns, rows(effect.gen, *self.file.fold(), self._waiting)))
        else:
            raise Defect(f"the journal does not take {type(effect).__name__}")

    def next_ns(self) -> int | None:
        """Return when something comes back."""
        instants = [self._out[0][0]] if self._out else []
        if self._due_ns is not None:
            instants.append(self._due_ns)
        return min(instants, default=None)

    def take(self, now_ns: int, limit: int) -> list[Message]:
        """Return what is due."""
        self._settle(now_ns)
        return [self._out.popleft()[1] for _ in range(min(limit, len(self._out)))]

    def close(self) -> None:
        """Close the file; what was not yet committed is gone, as after a crash."""
        self.file.close()

    def _begin(self, now_ns: int) -> None:
        self._group = len(self._waiting)
        self._due_ns = now_ns + self.commit_ns

    def _settle(self, now_ns: int) -> None:
        while self._due_ns is not None and self._due_ns <= now_ns:
            at_ns = self._due_ns
            self._due_ns = None
            try:
                self._commit(at_ns)
            except Outage as error:
                if str(error) != self._failed:
                    self._out.append((at_ns, JournalFailed(str(error))))
                self._failed = str(error)
                self._due_ns = at_ns + RETRY_NS

    def _commit(self, at_ns: int) -> None:
        if self._failed:
            self.file.reopen()
        durable = self.file.write(tuple(islice(self._waiting, self._group)))
        self._failed = ""
        settle(self._waiting, durable)
        self._out.append((at_ns, Durable(durable)))
        if self._waiting:
            self._begin(at_ns)


def settle(waiting: deque[Append], durable: int) -> int:
    """Forget the Appends that are on the disk as a whole; return how many records they had."""
    records = 0
    while waiting and waiting[0].first_lsn + len(waiting[0].records) - 1 <= durable:
        records += len(waiting.popleft().records)
    return records


def rows(gen: int, records: Sequence[Record], durable: int, waiting: Iterable[Append]) -> Rows:
    """Return what the disk holds and behind it what waits, each lsn once."""
    behind = [
        record
        for append in waiting
        for lsn, record in enumerate(append.records, append.first_lsn)
        if lsn > durable
    ]
    return Rows(gen, (*records, *behind), durable)
