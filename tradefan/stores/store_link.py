"""The store behind the data writer: one writer thread live, and a timed machine for virtual time.

Both take `StoreBatch` and answer `StoreAck`, announce room by `Credit`, and begin by catching up
with the journal, which an empty batch asks for again. A disk that fails costs no batch: it is tried
again each second and `StoreFailed` says why; nothing on the order path waits for it.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from pathlib import Path

from tradefan.errors import Defect, Outage, Refused
from tradefan.messages.base import Message
from tradefan.messages.control import StoreAck, StoreBatch, StoreFailed
from tradefan.messages.wire import Credit
from tradefan.stores.journal import JournalFile
from tradefan.stores.projection import catch_up
from tradefan.stores.sqlite import StoreFile
from tradefan.stores.thread_link import Post, ThreadLink
from tradefan.units import SECOND

BATCHES_MAX = 8
"""Batches under way at one time."""
RETRY_NS = SECOND


class StoreLink(ThreadLink):
    """The store for the live driver; SQLite lives on the thread that `run` starts."""

    def __init__(
        self,
        path: str,
        deliver: Post,
        *,
        journal: str | None = None,
        name: str = "store",
        batches_max: int = BATCHES_MAX,
        retry_ns: int = RETRY_NS,
        open_file: Callable[[str], StoreFile] = StoreFile,
    ) -> None:
        """Prepare; nothing is opened before `run`. `deliver` is called on the loop's thread.

        `journal` is the path of the journal that this store follows, `name` that of its port.
        """
        super().__init__(name, deliver)
        self._path = path
        self._journal = journal
        self._room = batches_max
        self._retry_s = retry_ns / SECOND
        self._open_file = open_file
        self._waiting: deque[StoreBatch] = deque()

    def apply(self, effect: Message) -> None:
        """Take a batch; the disk is never waited for."""
        if not isinstance(effect, StoreBatch):
            raise Defect(f"the store does not take {type(effect).__name__}")
        with self.wake:
            self._waiting.append(effect)
            self.wake.notify()

    # --- on the writer thread ---------------------------------------------------------------------

    def work(self, post: Post) -> None:
        """Catch up, then write batch after batch."""
        file = self._open_file(self._path)
        try:
            post(Credit(self.name, self._room))
            post(greet(file, self._journal))
            self._serve(file, post)
        finally:
            file.close()

    def _serve(self, file: StoreFile, post: Post) -> None:
        failed = ""
        while (batch := self._next(failing=bool(failed))) is not None:
            try:
                ack = store(file, batch, self._journal)
            except Outage as error:
                if str(error) != failed:
                    post(StoreFailed(str(error)))
                failed = str(error)
                if self.closing:
                    return
                continue
            failed = ""
            with self.wake:
                self._waiting.popleft()
            self._room += 1
            post(Credit(self.name, self._room))
            post(ack)

    def _next(self, *, failing: bool) -> StoreBatch | None:
        """Wait for a batch, or for the time to try the failed one again; None when all is done."""
        with self.wake:
            if failing:
                self.wake.wait_for(lambda: self.closing, self._retry_s)
            else:
                self.wake.wait_for(lambda: self._waiting or self.closing)
            return self._waiting[0] if self._waiting else None


class StoreMachine:
    """The store as a timed machine: each batch takes `write_ns`, one behind the other."""

    def __init__(
        self,
        file: StoreFile,
        *,
        journal: str | None = None,
        name: str = "store",
        batches_max: int = BATCHES_MAX,
        write_ns: int = 0,
    ) -> None:
        """Start on a file, `StoreFile(":memory:")` in most tests."""
        self.file = file
        self._journal = journal
        self._name = name
        self._room = batches_max
        self._write_ns = write_ns
        self._free_ns = 0
        self._begun = False
        self._waiting: deque[tuple[int, StoreBatch]] = deque()
        self._out: deque[Message] = deque()

    def apply(self, now_ns: int, effect: Message) -> None:
        """Take a batch."""
        if not isinstance(effect, StoreBatch):
            raise Defect(f"the store does not take {type(effect).__name__}")
        self._free_ns = max(self._free_ns, now_ns) + self._write_ns
        self._waiting.append((self._free_ns, effect))

    def next_ns(self) -> int | None:
        """Return when something comes back; the greeting is due from the start."""
        if not self._begun or self._out:
            return 0
        return self._waiting[0][0] if self._waiting else None

    def take(self, now_ns: int, limit: int) -> list[Message]:
        """Return what is due."""
        if not self._begun:
            self._begun = True
            self._out.extend((Credit(self._name, self._room), greet(self.file, self._journal)))
        while self._waiting and self._waiting[0][0] <= now_ns:
            ack = store(self.file, self._waiting.popleft()[1], self._journal)
            self._room += 1
            self._out.extend((Credit(self._name, self._room), ack))
        return [self._out.popleft() for _ in range(min(limit, len(self._out)))]

    def close(self) -> None:
        """Close the file."""
        self.file.close()


def store(file: StoreFile, batch: StoreBatch, journal: str | None) -> StoreAck:
    """Write a batch; an empty one asks to catch up with the journal first."""
    if batch.rows:
        return file.write(batch)
    return greet(file, journal, batch.batch_id)


def greet(file: StoreFile, journal: str | None, batch_id: int = 0) -> StoreAck:
    """Catch up with the journal and say how far; a journal that cannot be read is said, not fatal.

    Only at the start, batch 0, is the journal's end the end of what was: while the OMS runs its
    messages may come here before their records are on the disk.
    """
    reason = None
    if journal is not None and Path(journal).exists():
        try:
            with contextlib.closing(JournalFile(journal, read_only=True)) as source:
                catch_up(file, source, at_start=batch_id == 0)
        except (Outage, Refused) as error:
            reason = str(error)
    return StoreAck(batch_id, 0, reason, file.applied_lsn)
