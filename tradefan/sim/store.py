"""The store's port with what may go wrong behind it: slow, hung, or a disk that fails for a while.

The store itself is the real one on the simulated disk; it catches up with the journal that lies there.
"""

from __future__ import annotations

import contextlib
from collections import deque

from tradefan.errors import Outage
from tradefan.messages.base import Message
from tradefan.messages.control import StoreAck, StoreBatch, StoreFailed
from tradefan.messages.wire import Credit
from tradefan.sim.disk import SimDisk
from tradefan.stores.following import Following
from tradefan.stores.sqlite import StoreFile
from tradefan.stores.store_link import BATCHES_MAX, GREETING
from tradefan.units import MS, SECOND

STORE = "store.db"
NAME = "store"
SLOW_NS = SECOND
FAST_NS = 2 * MS
RETRY_NS = SECOND


class StoreTrouble:
    """What is wrong with the store until when; it outlives the process."""

    def __init__(self) -> None:
        """Begin well."""
        self.slow_ns = self.hung_ns = self.failing_ns = self.partial_ns = 0

    def heal(self) -> None:
        """Let everything be well."""
        self.slow_ns = self.hung_ns = self.failing_ns = self.partial_ns = 0


class SimStore:
    """The store's link as a timed machine: one batch at a time, and a failed one again each second."""

    def __init__(self, disk: SimDisk, following: Following, trouble: StoreTrouble, greet_ns: int) -> None:
        """Open the store; it catches up with the journal at `greet_ns`, which may be late.

        The thread of a link begins some time behind the order manager, and no room lets it wait for long.
        """
        self.trouble = trouble
        self.file = StoreFile(STORE, connect=disk.connect)
        self._following = following
        self._room = BATCHES_MAX - 1
        self._waiting: deque[StoreBatch] = deque((GREETING,))
        self._due_ns: int | None = greet_ns
        self._failed = ""
        self._out: deque[Message] = deque()

    def apply(self, now_ns: int, effect: Message) -> None:
        """Take a batch."""
        assert isinstance(effect, StoreBatch), f"the store does not take {type(effect).__name__}"
        self._waiting.append(effect)
        if self._due_ns is None:
            self._due_ns = now_ns + self._write_ns(now_ns)

    def next_ns(self) -> int | None:
        """Return when something comes back."""
        return 0 if self._out else self._due_ns

    def take(self, now_ns: int, limit: int) -> list[Message]:
        """Return what is due."""
        if self._due_ns is not None and self._due_ns <= now_ns:
            self._work(now_ns)
        return [self._out.popleft() for _ in range(min(limit, len(self._out)))]

    def drain(self) -> None:
        """Write what waits, as its link does when it is told to stop, if the disk lets it."""
        with contextlib.suppress(Outage):
            while self._waiting:
                self._write(self._waiting.popleft(), 0)

    def close(self) -> None:
        """Close the file, as an orderly end does."""
        self.file.close()

    def _work(self, now_ns: int) -> None:
        """Write one batch, or say why that cannot be."""
        if now_ns < self.trouble.hung_ns:
            self._due_ns = self.trouble.hung_ns
            return
        try:
            ack = self._write(self._waiting[0], now_ns)
        except Outage as error:
            if str(error) != self._failed:
                self._out.append(StoreFailed(str(error)))
            self._failed, self._due_ns = str(error), now_ns + RETRY_NS
            return
        self._failed = ""
        self._waiting.popleft()
        self._room += 1
        self._out.extend((Credit(NAME, self._room), ack))
        self._due_ns = now_ns + self._write_ns(now_ns) if self._waiting else None

    def _write(self, batch: StoreBatch, now_ns: int) -> StoreAck:
        failing = now_ns < self.trouble.failing_ns
        if failing and batch.batch_id % 2:
            raise Outage(f"{STORE}: the disk fails")
        if batch.rows and now_ns < self.trouble.partial_ns and not self._failed:
            # What it took stands, and the whole batch comes again.
            half = StoreBatch(batch.batch_id, batch.rows[: (len(batch.rows) + 1) // 2], None)
            self._following.store(self.file, half)
            raise Outage(f"{STORE}: the disk fails in the middle of a batch")
        ack = self._following.store(self.file, batch)
        if batch.rows and failing and not self._failed:
            # Applied, but nobody heard: the same batch comes again.
            raise Outage(f"{STORE}: no answer")
        return ack

    def _write_ns(self, now_ns: int) -> int:
        return SLOW_NS if now_ns < self.trouble.slow_ns else FAST_NS
