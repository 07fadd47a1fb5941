"""The store behind the data writer: one writer thread live, and a timed machine for virtual time.

Both take `StoreBatch` and answer `StoreAck`, announce room by `Credit`, and begin by catching up
with the journal, which an empty batch asks for again. A disk that fails costs no batch: it is tried
again each second and `StoreFailed` says why; nothing on the order path waits for it. A disk with less
room than `disk_free_min` is left to the journal: the store stops before it is full.
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
from tradefan.stores.disk import STORE_STOPS_PERCENT, Trouble, free_bytes
from tradefan.stores.journal import JournalFile
from tradefan.stores.projection import catch_up
from tradefan.stores.sqlite import StoreFile
from tradefan.stores.thread_link import Post, ThreadLink
from tradefan.units import SECOND

BATCHES_MAX = 8
"""Batches under way at one time."""
RETRY_NS = SECOND
GREETING = StoreBatch(0, (), None)
"""The first batch of every link is our own: its answer says how far the store is."""

Source = Callable[[], contextlib.AbstractContextManager[JournalFile] | None]
"""Opens the journal that a store follows, None where there is none yet."""


class NoRoom(Outage):
    """The disk has less free than the journal is to have for itself."""


class Room:
    """Asks before each batch whether the store may write."""

    def __init__(self, path: str, disk_free_min: int, free: Callable[[str], int]) -> None:
        """Let `disk_free_min` bytes stay free beside this file; 0 asks nothing."""
        self._path = path
        self._free = free
        self._least = disk_free_min * STORE_STOPS_PERCENT // 100

    def require(self) -> None:
        """Let a batch pass where there is room.

        Raises:
            NoRoom: with what is free and what must stay so.
        """
        with Trouble(self._path):
            free = self._free(self._path) if self._least else 0
        if free < self._least:
            raise NoRoom(f"{self._path}: expected {self._least} bytes free on its disk, found {free}")


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
        disk_free_min: int = 0,
        free: Callable[[str], int] = free_bytes,
    ) -> None:
        """Prepare; nothing is opened before `run`. `deliver` is called on the loop's thread.

        `journal` is the path of the journal that this store follows, `name` that of its port.
        """
        super().__init__(name, deliver)
        self._path = path
        self._source = beside(journal)
        self._disk = Room(path, disk_free_min, free)
        self._room = batches_max - 1
        self._retry_s = retry_ns / SECOND
        self._open_file = open_file
        self._waiting: deque[StoreBatch] = deque((GREETING,))

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
            self._serve(file, post)
        finally:
            file.close()

    def _serve(self, file: StoreFile, post: Post) -> None:
        failed: Outage | None = None
        while (batch := self._next(failing=failed is not None)) is not None:
            try:
                self._disk.require()
                ack = store(file, batch, self._source)
            except Outage as error:
                if is_news(error, failed):
                    post(StoreFailed(str(error)))
                failed = error
                if self.closing:
                    return
                continue
            failed = None
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
    """The store as a timed machine: each batch takes `write_ns`, one behind the other.

    `source` opens the journal where `journal` names none: one on a simulated disk, say.
    """

    def __init__(
        self,
        file: StoreFile,
        *,
        journal: str | None = None,
        source: Source | None = None,
        name: str = "store",
        batches_max: int = BATCHES_MAX,
        write_ns: int = 0,
        disk_free_min: int = 0,
        free: Callable[[str], int] = free_bytes,
    ) -> None:
        """Start on a file, `StoreFile(":memory:")` in most tests."""
        self.file = file
        self._source = source or beside(journal)
        self._name = name
        self._room = batches_max - 1
        self._write_ns = write_ns
        self._disk = Room(file.path, disk_free_min, free)
        self._free_ns = 0
        self._failed: Outage | None = None
        self._waiting: deque[tuple[int, StoreBatch]] = deque(((0, GREETING),))
        self._out: deque[Message] = deque()

    def apply(self, now_ns: int, effect: Message) -> None:
        """Take a batch."""
        if not isinstance(effect, StoreBatch):
            raise Defect(f"the store does not take {type(effect).__name__}")
        self._free_ns = max(self._free_ns, now_ns) + self._write_ns
        self._waiting.append((self._free_ns, effect))

    def next_ns(self) -> int | None:
        """Return when something comes back; the greeting is due from the start."""
        if self._out:
            return 0
        return self._waiting[0][0] if self._waiting else None

    def take(self, now_ns: int, limit: int) -> list[Message]:
        """Return what is due."""
        while self._waiting and self._waiting[0][0] <= now_ns:
            self._write(now_ns)
        return [self._out.popleft() for _ in range(min(limit, len(self._out)))]

    def _write(self, now_ns: int) -> None:
        """Write the first batch, or put it off by a second."""
        try:
            self._disk.require()
            ack = store(self.file, self._waiting[0][1], self._source)
        except Outage as error:
            if is_news(error, self._failed):
                self._out.append(StoreFailed(str(error)))
            self._failed = error
            self._waiting[0] = (now_ns + RETRY_NS, self._waiting[0][1])
            return
        self._failed = None
        self._waiting.popleft()
        self._room += 1
        self._out.extend((Credit(self._name, self._room), ack))

    def close(self) -> None:
        """Close the file."""
        self.file.close()


def is_news(error: Outage, known: Outage | None) -> bool:
    """Say whether a failure is another one than before; how much room is missing changes all the time."""
    if isinstance(error, NoRoom) and isinstance(known, NoRoom):
        return False
    return str(error) != str(known)


def beside(journal: str | None) -> Source:
    """Return what opens the journal at a path, to read beside its writer."""

    def open_journal() -> contextlib.AbstractContextManager[JournalFile] | None:
        if journal is None or not Path(journal).exists():
            return None
        return contextlib.closing(JournalFile(journal, read_only=True))

    return open_journal


def store(file: StoreFile, batch: StoreBatch, source: Source) -> StoreAck:
    """Write a batch; an empty one asks to catch up with the journal first."""
    if batch.rows:
        return file.write(batch)
    return greet(file, source, batch.batch_id)


def greet(file: StoreFile, source: Source, batch_id: int = 0) -> StoreAck:
    """Catch up with the journal and say how far; a journal that cannot be read is said, not fatal.

    Only at the start, batch 0, is the journal's end the end of what was: while the OMS runs its
    messages may come here before their records are on the disk.
    """
    reason = None
    try:
        opened = source()
        if opened is not None:
            with opened as journal:
                catch_up(file, journal, at_start=batch_id == 0)
    except (Outage, Refused) as error:
        reason = str(error)
    return StoreAck(batch_id, 0, reason, file.applied_lsn)
