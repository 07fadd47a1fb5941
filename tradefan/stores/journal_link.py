"""The journal behind the OMS: one writer thread live, and a timed machine for virtual time.

Both take `Append`, `Snap`, `Fold`, `AskHistory` and `KillByte` (see `JournalWork`). One group is
written while the next collects, so a slow disk makes larger groups and no timer is needed.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from tradefan.messages.base import Message
from tradefan.messages.control import Append, KillByte
from tradefan.messages.wire import Overflow
from tradefan.stores.backlog import BACKLOG_BYTES_MAX, BACKLOG_MAX, Backlog
from tradefan.stores.journal import GROUP_BYTES_MAX, JournalFile
from tradefan.stores.journal_work import RETRY_NS, JournalWork
from tradefan.stores.thread_link import Post, ThreadLink
from tradefan.units import SECOND

NAME = "journal"
"""Of the port, as the kernel knows it."""


class JournalLink(ThreadLink):
    """The journal for the live driver; SQLite lives on the thread that `run` starts.

    A file that cannot be opened, read or believed ends the link. A disk that cannot write does not:
    records wait in order, `JournalFailed` says why, and the same records are tried each second. Too many
    of them are told to the kernel, which ends everything: a link that ended would lose them in silence.
    """

    def __init__(
        self,
        path: str,
        deliver: Post,
        *,
        backlog_max: int = BACKLOG_MAX,
        backlog_bytes_max: int = BACKLOG_BYTES_MAX,
        group_bytes_max: int = GROUP_BYTES_MAX,
        retry_ns: int = RETRY_NS,
        open_file: Callable[[str], JournalFile] = JournalFile,
    ) -> None:
        """Prepare; nothing is opened before `run`. `deliver` is called on the loop's thread."""
        super().__init__(NAME, deliver)
        self._path = path
        self._backlog = Backlog(backlog_max, backlog_bytes_max)
        self._group_bytes_max = group_bytes_max
        self._retry_ns = retry_ns
        self._open_file = open_file
        self._inbox: deque[Message] = deque()

    @property
    def backlog(self) -> int:
        """Count the records that wait for the disk."""
        return self._backlog.records

    def apply(self, effect: Message) -> None:
        """Take an effect; the disk is never waited for."""
        JournalWork.require(effect)
        over = self._backlog.add(effect) if isinstance(effect, Append) else None
        with self.wake:
            self._inbox.append(effect)
            self.wake.notify()
        if over is not None:
            # Said from here: the thread may hang in the very call that all of them wait for.
            self._deliver(Overflow(self.name, over))

    # --- on the writer thread ---------------------------------------------------------------------

    def work(self, post: Post) -> None:
        """Do what comes; what waits at the end is written, if the disk lets us."""
        file = self._open_file(self._path)
        work = JournalWork(
            file, post, self._backlog, group_bytes_max=self._group_bytes_max, retry_ns=self._retry_ns
        )
        try:
            self._serve(work)
        finally:
            work.close()

    def _serve(self, work: JournalWork) -> None:
        while True:
            effects, closing = self._take(work)
            for effect in effects:
                work.take(effect)
            work.answer(time.monotonic_ns())
            if closing or work.ready(time.monotonic_ns()):
                work.commit(time.monotonic_ns())
            work.tick(time.monotonic_ns())
            if closing and (work.failed or not work.waiting):
                return

    def _take(self, work: JournalWork) -> tuple[list[Message], bool]:
        """Wait for what comes, or until something is due by the clock."""
        now_ns, due_ns = time.monotonic_ns(), work.next_ns()
        if work.ready(now_ns):
            due_ns = now_ns
        with self.wake:
            self.wake.wait_for(
                lambda: self._inbox or self.closing,
                None if due_ns is None else max(0, due_ns - now_ns) / SECOND,
            )
            effects = list(self._inbox)
            self._inbox.clear()
            return effects, self.closing


class JournalMachine:
    """The journal as a timed machine: each group takes a commit's time, the next collects meanwhile.

    All disk calls of a group are made at the end of its time; folds and look-ups are answered at once.
    """

    def __init__(
        self,
        file: JournalFile,
        commit_ns: int | Callable[[], int] = 0,
        *,
        backlog_max: int = BACKLOG_MAX,
        backlog_bytes_max: int = BACKLOG_BYTES_MAX,
    ) -> None:
        """Start on a file, `JournalFile(":memory:")` in most tests; `commit_ns` may be drawn per group."""
        self.commit_ns = commit_ns
        self._now_ns = 0
        self._out: deque[tuple[int, Message]] = deque()
        self._backlog = Backlog(backlog_max, backlog_bytes_max)
        self._work = JournalWork(file, self._say, self._backlog)
        self._group = 0
        self._due_ns: int | None = None
        self._kills: deque[tuple[int, KillByte]] = deque()

    @property
    def file(self) -> JournalFile:
        """The file, for whoever reads it beside the machine."""
        return self._work.file

    def apply(self, now_ns: int, effect: Message) -> None:
        """Take an effect."""
        JournalWork.require(effect)
        self._settle(now_ns)
        self._now_ns = now_ns
        if isinstance(effect, KillByte):
            last_ns = self._kills[-1][0] if self._kills else 0
            self._kills.append((max(last_ns, now_ns + self._draw()), effect))
            return
        over = self._backlog.add(effect) if isinstance(effect, Append) else None
        if over is not None:
            self._say(Overflow(NAME, over))
        self._work.take(effect)
        self._work.answer(now_ns)
        self._begin(now_ns)

    def next_ns(self) -> int | None:
        """Return when something comes back, or is to be done."""
        due_ns = self._due()
        if self._out and (due_ns is None or self._out[0][0] < due_ns):
            return self._out[0][0]
        return due_ns

    def take(self, now_ns: int, limit: int) -> list[Message]:
        """Return what is due."""
        self._settle(now_ns)
        return [self._out.popleft()[1] for _ in range(min(limit, len(self._out)))]

    def close(self) -> None:
        """Close the file; what was not yet committed is gone, as after a crash."""
        self._work.close()

    def _say(self, message: Message) -> None:
        self._out.append((self._now_ns, message))

    def _draw(self) -> int:
        return self.commit_ns if isinstance(self.commit_ns, int) else self.commit_ns()

    def _begin(self, now_ns: int) -> None:
        """Begin a group, when none is under way and the disk is not known to fail."""
        if self._due_ns is None and not self._work.failed and self._work.ready(now_ns):
            self._group = len(self._work.waiting)
            self._due_ns = now_ns + self._draw()

    def _due(self) -> int | None:
        due_ns, work_ns = self._due_ns, self._work.next_ns()
        if due_ns is None or (work_ns is not None and work_ns < due_ns):
            due_ns = work_ns
        if self._kills and (due_ns is None or self._kills[0][0] < due_ns):
            due_ns = self._kills[0][0]
        return due_ns

    def _settle(self, now_ns: int) -> None:
        """Do what was due until now, each at its own instant; what is due at once has none of its own."""
        while (due_ns := self._due()) is not None and due_ns <= now_ns:
            due_ns = self._now_ns = max(due_ns, self._now_ns) or now_ns
            while self._kills and self._kills[0][0] <= due_ns:
                self._work.take(self._kills.popleft()[1])
            self._work.answer(due_ns)
            if self._due_ns is not None and self._due_ns <= due_ns:
                self._due_ns = None
                self._work.commit(due_ns, self._group)
            elif self._work.failed and self._work.ready(due_ns):
                self._work.commit(due_ns)
            self._work.tick(due_ns)
            self._begin(due_ns)
