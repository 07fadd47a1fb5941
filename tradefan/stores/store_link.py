"""The store behind the data writer: one writer thread live, and a timed machine for virtual time.

Both take `StoreBatch` and answer `StoreAck`, announce room by `Credit`, and begin by catching up
with the journal, which an empty batch asks for again. A disk that fails costs no batch: it is tried
again each second and `StoreFailed` says why; nothing on the order path waits for it. A disk with less
room than `disk_free_min` is left to the journal: the store stops before it is full.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from tradefan.errors import Defect, Outage
from tradefan.messages.base import Message
from tradefan.messages.control import StoreBatch, StoreFailed
from tradefan.messages.wire import Credit
from tradefan.stores.disk import STORE_STOPS_PERCENT, Trouble, free_bytes
from tradefan.stores.following import Following, follow
from tradefan.stores.sqlite import StoreFile
from tradefan.stores.thread_link import Post, ThreadLink
from tradefan.units import SECOND

BATCHES_MAX = 8
"""Batches under way at one time."""
RETRY_NS = SECOND
STAND_BACK_S = 10.0
"""For so long the store lets the order manager read the journal first."""
_LOOK_S = 0.02
GREETING = StoreBatch(0, (), None)
"""The first batch of every link is our own: its answer says how far the store is."""


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
        following: Following | None = None,
        name: str = "store",
        batches_max: int = BATCHES_MAX,
        retry_ns: int = RETRY_NS,
        open_file: Callable[[str], StoreFile] = StoreFile,
        disk_free_min: int = 0,
        free: Callable[[str], int] = free_bytes,
        first: threading.Event | None = None,
    ) -> None:
        """Prepare; nothing is opened before `run`. `deliver` is called on the loop's thread.

        `following` is the process's, for the journal that this store follows; `name` that of its port.
        `first` is set when the order manager has read the journal: the interpreter runs one thread at a
        time, so that a store which caught up beside it would double the time to the first cancel.
        """
        super().__init__(name, deliver)
        self._path = path
        self._following = following or follow(None)
        self._disk = Room(path, disk_free_min, free)
        self._room = batches_max - 1
        self._retry_s = retry_ns / SECOND
        self._open_file = open_file
        self._first = first
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
            self._stand_back()
            self._serve(file, post)
        finally:
            file.close()

    def _stand_back(self) -> None:
        """Let what is more urgent have the start, unless the end has come."""
        if self._first is not None:
            for _ in range(int(STAND_BACK_S / _LOOK_S)):
                if self.closing or self._first.wait(_LOOK_S):
                    return

    def _serve(self, file: StoreFile, post: Post) -> None:
        failed: Outage | None = None
        while (batch := self._next(failing=failed is not None)) is not None:
            try:
                self._disk.require()
                ack = self._following.store(file, batch)
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
    """The store as a timed machine: each batch takes `write_ns`, one behind the other."""

    def __init__(
        self,
        file: StoreFile,
        *,
        following: Following | None = None,
        name: str = "store",
        batches_max: int = BATCHES_MAX,
        write_ns: int = 0,
        disk_free_min: int = 0,
        free: Callable[[str], int] = free_bytes,
    ) -> None:
        """Start on a file, `StoreFile(":memory:")` in most tests."""
        self.file = file
        self._following = following or follow(None)
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
            ack = self._following.store(self.file, self._waiting[0][1])
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
