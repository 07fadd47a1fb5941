"""The flight recorder: every step of the kernel in bounded, rotating files, written by a thread of its own.

Trading never waits for it. What its thread cannot keep up with, or the disk does not take, ends the
segment; a new one begins with a snapshot of the kernel as soon as there is room. It is for replay
only: recovery reads the journal.
"""

from __future__ import annotations

import errno
import fcntl
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

import msgspec
from msgspec import Struct

from tradefan.runtime.kernel import Kernel
from tradefan.runtime.recording import (
    END,
    HEAD,
    SNAPSHOT,
    STEPS,
    BrokenTurn,
    Check,
    StepBuffer,
    pack_chunk,
    strike_out,
)
from tradefan.runtime.snapshot import take
from tradefan.runtime.system import Ingress
from tradefan.stores.disk import RECORDER_STOPS_PERCENT, free_bytes
from tradefan.stores.segments import MARKET, Ended, segment_path, segments_in
from tradefan.stores.thread_link import LinkThread
from tradefan.units import SECOND

CHUNK_BYTES = 1 << 17
"""A chunk is closed when it has so much, or when the flush interval is over."""
RETRY_NS = 10 * SECOND
"""Between a failure and the next segment."""
STOP_S = 5.0
SECRET_MIN = 8
"""Bytes from which a secret is struck out: a shorter one is in numbers and names, which a replay needs."""
RECORDING = "RECORDING"
NO_ROOM = "the disk has no room to spare"
_SPACE_S = 1.0


class RecorderLimits(Struct, frozen=True):
    """How much is kept; all of it is live configuration."""

    segment_bytes: int
    segment_ns: int
    total_bytes: int
    age_ns: int
    flush_ns: int
    queue_bytes: int
    disk_free_min: int


class RecorderView(Struct, frozen=True):
    """What status and metrics show."""

    state: str
    """`RECORDING`, or why not."""
    segment: str
    steps: int
    """In the files; those that still wait are counted nowhere yet."""
    bytes_in: int
    """Before compression."""
    bytes_out: int
    segments: int
    steps_lost: int
    queue_bytes: int


class _Job(NamedTuple):
    """Something for the thread: a chunk, or (with a path) a new file, for whose head the thread asks."""

    kind: int
    content: bytes | bytearray
    first_step: int
    at_ns: int
    path: Path | None = None
    head: Callable[[], bytes] | None = None
    steps: int = 0
    """How many are in the chunk."""


class FlightRecorder:
    """`runtime.recording.Recorder` that writes segments into a folder."""

    def __init__(
        self,
        folder: Path,
        run: str,
        kernel: Kernel,
        *,
        head: Callable[[int, int], Callable[[], bytes]],
        encode_config: Callable[[Any], bytes],
        limits: Callable[[], RecorderLimits],
        broken: list[BrokenTurn],
        log: Callable[..., None],
        secrets: Callable[[], Sequence[str]] = tuple,
        free: Callable[[str], int] = free_bytes,
    ) -> None:
        """Prepare; nothing is written before `start`.

        `run` names the files, `head(number, step)` makes what gives the first chunk of a segment: this is
        called by the thread, and may read files. `broken` is where turns that were broken off are noted. The
        kernel must keep a trace. `secrets` is asked at each chunk, the longest first: some are learned late.
        """
        assert kernel.trace is not None, "a recording is checked by the trace"
        self._folder, self._run, self._kernel, self._trace = folder, run, kernel, kernel.trace
        self._head, self._encode_config = head, encode_config
        self._limits, self._broken, self._log, self._free = limits, broken, log, free
        self._secrets = secrets
        self._buffer = StepBuffer()
        self._check = Check(MARKET)
        self._recording = False
        self._reason = "NOT_STARTED"
        self._told = ""
        """The reason that was logged last, until something is recorded again."""
        self._retry_ns = 0
        self._number = 0
        self._began_ns = self._chunk_ns = 0
        self._chunk_step = 0
        self._segment_path = Path()
        self._bytes_in = 0
        self._lost = 0
        """Steps that never reached the thread."""
        # Shared with the thread, under `_wake`.
        self._wake = threading.Condition()
        self._jobs: deque[_Job] = deque()
        self._queued = 0
        self._closing = False
        # Written by the thread alone.
        self._failure = ""
        self._short = False
        self._bytes_out = 0
        self._steps_written = self._steps_dropped = 0
        self._written = (Path(), 0)
        """The file that is open, or was last, and its bytes."""
        self._file: IO[bytes] | None = None
        self._thread: threading.Thread | None = None

    # --- on the loop's thread -------------------------------------------------------------------------

    def start(self) -> None:
        """Begin the first segment: before the kernel's first step."""
        self._measure()
        self._thread = LinkThread(target=self._work, name="recorder", daemon=True)
        self._thread.start()
        if self._short:
            self._pause(self._kernel.state.now_ns, NO_ROOM)
        else:
            self._begin(self._kernel.state.now_ns)

    def __enter__(self) -> Self:
        """Begin."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Come to the end."""
        self.close()

    def record(self, now_ns: int, ingress: Sequence[Ingress]) -> None:
        """Keep one step; called behind it."""
        # Not a method for each part: this is called for every frame.
        broken: Sequence[BrokenTurn] = ()
        if self._broken:
            broken = tuple(self._broken)
            self._broken.clear()
        if not self._recording:
            self._lost += 1
            if now_ns >= self._retry_ns and not self._short and not self._queued:
                self._failure = ""
                self._begin(now_ns)
            return
        buffer = self._buffer
        if not buffer.count:
            self._chunk_ns, self._chunk_step = now_ns, self._kernel.state.steps
        crc, effects = self._trace.crc(), self._kernel.effects
        try:
            if effects:
                crc = self._check.of(crc, effects)
            buffer.add(now_ns, ingress, crc, broken)
        except Exception as error:  # noqa: BLE001 a message that does not encode may raise anything
            self._lost += 1
            self._pause(now_ns, f"a step does not encode: {type(error).__name__}: {error}")
            return
        if len(buffer.buffer) >= CHUNK_BYTES or now_ns - self._chunk_ns >= self._flush_ns:
            self._flush(now_ns)

    def close(self) -> None:
        """Write what waits, if the disk lets us, and end the segment."""
        if self._thread is None:
            return
        if self._recording:
            self._end(self._kernel.state.now_ns, "stopped")
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(STOP_S)

    def view(self) -> RecorderView:
        """Return counters."""
        return RecorderView(
            state=RECORDING if self._recording else self._reason,
            segment=self._segment_path.name,
            steps=self._steps_written,
            bytes_in=self._bytes_in,
            bytes_out=self._bytes_out,
            segments=self._number,
            steps_lost=self._lost + self._steps_dropped,
            queue_bytes=self._queued,
        )

    def _begin(self, now_ns: int) -> None:
        """Begin a segment with the kernel as it is; one that cannot be encoded is tried again later."""
        limits, kernel = self._limits(), self._kernel
        self._flush_ns = limits.flush_ns
        step = kernel.state.steps
        try:
            # The head says which program it is.
            snapshot = take(kernel, self._encode_config(kernel.config), "")
            head = self._head(self._number + 1, step)
        except Exception as error:  # noqa: BLE001 a state that does not encode may raise anything, and trading goes on
            self._pause(now_ns, f"the kernel's state does not encode: {type(error).__name__}: {error}")
            return
        self._number += 1
        self._recording = True
        self._began_ns = now_ns
        self._buffer = StepBuffer()
        self._segment_path = segment_path(self._folder, self._run, self._number)
        self._put(_Job(HEAD, b"", step, now_ns, self._segment_path, head))
        self._put(_Job(SNAPSHOT, snapshot, step, now_ns))

    def _flush(self, now_ns: int) -> None:
        """Hand the chunk to the thread; see whether the segment has come to its end."""
        limits = self._limits()
        self._flush_ns = limits.flush_ns
        if self._failure:
            self._pause(now_ns, self._failure)
        elif self._short:
            self._end(now_ns, "no room")
            self._pause(now_ns, NO_ROOM)
        elif self._queued > limits.queue_bytes:
            self._end(now_ns, "behind")
            self._pause(now_ns, f"{self._queued} bytes wait for the disk")
        elif self._is_full(limits) or now_ns - self._began_ns >= limits.segment_ns:
            self._end(now_ns, "full")
            self._begin(now_ns)
        else:
            self._hand_over()

    def _is_full(self, limits: RecorderLimits) -> bool:
        # The thread may not have opened it yet.
        path, size = self._written
        return path == self._segment_path and size >= limits.segment_bytes

    def _hand_over(self) -> None:
        if self._told and not self._failure:
            self._told = ""
            self._log("info", "recorder_works", segment=self._segment_path.name)
        if count := self._buffer.count:
            content = self._buffer.take(bytes.fromhex(self._trace.hexdigest()))
            self._put(_Job(STEPS, content, self._chunk_step, self._chunk_ns, steps=count))

    def _end(self, now_ns: int, reason: str) -> None:
        self._hand_over()
        end = Ended(self._kernel.state.steps, self._trace.hexdigest(), reason)
        self._put(_Job(END, msgspec.msgpack.encode(end), self._kernel.state.steps, now_ns))

    def _pause(self, now_ns: int, reason: str) -> None:
        """Record nothing for a while; the segment so far stays as it is."""
        self._lost += self._buffer.count
        # What is counted once is counted.
        self._buffer = StepBuffer()
        self._recording, self._reason = False, reason
        self._retry_ns = now_ns + RETRY_NS
        if reason != self._told:
            self._told = reason
            self._log("warning", "recorder_paused", reason=reason, segment=self._segment_path.name)

    def _put(self, job: _Job) -> None:
        with self._wake:
            self._jobs.append(job)
            self._queued += len(job.content)
            self._wake.notify()
        self._bytes_in += len(job.content)

    # --- on the recorder's thread ---------------------------------------------------------------------

    def _work(self) -> None:
        measured_s = float("-inf")
        while True:
            if time.monotonic() - measured_s >= _SPACE_S:
                measured_s = time.monotonic()
                self._measure()
            with self._wake:
                self._wake.wait_for(lambda: self._jobs or self._closing, _SPACE_S)
                jobs, closing = list(self._jobs), self._closing
                self._jobs.clear()
            for job in jobs:
                self._write(job)
            if closing:
                break
        self._let_go()

    def _write(self, job: _Job) -> None:
        """Write one chunk; behind a failure what belongs to the same segment is passed over, and is lost."""
        lost = job.steps
        try:
            content = job.content if job.head is None else job.head()
            if job.path is not None:
                self._open(job.path)
            if self._file is not None:
                self._append(self._file, job, content)
                lost = 0
        except Exception as error:  # noqa: BLE001 a thread that ended would never be missed
            self._failure = f"{self._folder}: {getattr(error, 'strerror', None) or type(error).__name__}"
            self._let_go()
        finally:
            self._steps_dropped += lost
            self._steps_written += job.steps - lost
            # Whoever sees an empty queue sees all of it counted.
            with self._wake:
                self._queued -= len(job.content)

    def _append(self, file: IO[bytes], job: _Job, content: bytes | bytearray) -> None:
        written = self._struck(job.kind, content)
        chunk = pack_chunk(job.kind, written, job.first_step, job.at_ns, struck=written != content)
        if file.write(chunk) != len(chunk):
            raise OSError(errno.ENOSPC, "a chunk did not fit on the disk")
        self._bytes_out += len(chunk)
        path, size = self._written
        self._written = (path, size + len(chunk))

    def _struck(self, kind: int, content: bytes | bytearray) -> bytes | bytearray:
        """Return a chunk's content without any secret; a replay is told where steps had one."""
        known = (secret.encode("utf-8", "surrogatepass") for secret in self._secrets())
        secrets = [secret for secret in known if len(secret) >= SECRET_MIN]
        if kind == STEPS:
            return strike_out(bytearray(content), secrets)
        for secret in secrets:
            content = content.replace(secret, b"*" * len(secret))
        return content

    def _open(self, path: Path) -> None:
        self._let_go()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._tidy()
        self._file = path.open("xb", buffering=0)
        with suppress(OSError):
            # Tells a replay that the file goes on; the system lets it go with us, however we end.
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._written = (path, 0)

    def _tidy(self) -> None:
        """Let the oldest segments go, by their sum and by their age."""
        limits = self._limits()
        found = [(path, path.stat()) for path in segments_in(self._folder)]
        # Room for the one that begins now.
        left = sum(stat.st_size for _, stat in found) + limits.segment_bytes
        oldest_s = time.time() - limits.age_ns / SECOND
        for path, stat in found:
            if left > limits.total_bytes or stat.st_mtime < oldest_s:
                left -= stat.st_size
                path.unlink(missing_ok=True)

    def _measure(self) -> None:
        least = self._limits().disk_free_min * RECORDER_STOPS_PERCENT // 100
        # What cannot be measured changes nothing.
        with suppress(OSError):
            there = next(folder for folder in self._folder.parents if folder.is_dir())
            self._short = self._free(str(there / "x")) < least

    def _let_go(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._file = None
