"""Logs through a bounded queue and a writer thread.

Nothing here may slow or stop trading: a full queue drops its oldest line, a full disk loses lines, and
both are counted.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote

import msgspec
import structlog

from tradefan.units import iso

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_STOP_SECONDS = 5.0
_SPACE_S = 1.0
"""How often free space is measured."""
_HIDDEN = "***"

Line = dict[str, Any]


# --- logs ---------------------------------------------------------------------------------------


class Logging:
    """One log: JSON lines in rotating files and, where wanted, readable lines on the console.

    `log` never blocks and never raises; any thread may call it. `dropped` counts lines that a full
    queue pushed out, `lost` those that the disk refused, `spared` debug lines while space is short.
    """

    def __init__(self, files: RotatingFile, level: str, console: TextIO | None, queue_max: int) -> None:
        self.dropped = 0
        self.lost = 0
        self.spared = 0
        self.free_bytes: int | None = None
        self._measure: Callable[[], int] | None = None
        self._free_min = 0
        self._measured_s = 0.0
        self._short = False
        self._files = files
        self._console = console
        self._render = structlog.dev.ConsoleRenderer(colors=console is not None and console.isatty())
        self._level = LEVELS[level]
        self._secrets: tuple[str, ...] = ()
        self._queue: deque[Line] = deque(maxlen=queue_max)
        self._wake = threading.Condition()
        self._stopping = False
        self.listener: Callable[[str, str, dict[str, Any]], None] | None = None
        """Hears each warning and what is graver, on the thread that says it; must neither block nor raise."""
        self._foreign = _Foreign(self)
        self._thread = threading.Thread(target=self._write_all, name="log-writer", daemon=True)
        self._thread.start()
        logging.getLogger().addHandler(self._foreign)

    def log(self, level: str, event: str, /, **fields: Any) -> None:
        """Write one structured line; `fields` are ids and numbers, never secrets."""
        grave = LEVELS.get(level, LEVELS["error"])
        if self.listener is not None and grave >= LEVELS["warning"]:
            self.listener(level, event, fields)
        if grave < self._level:
            return
        if self._short and level == "debug":
            self.spared += 1
            return
        head = {"ts": iso(time.time_ns()), "level": level, "event": event}
        line = head | fields | head
        with self._wake:
            self.dropped += len(self._queue) == self._queue.maxlen
            self._queue.append(line)
            self._wake.notify()

    def set_level(self, level: str) -> None:
        """Change the least severity that is written, at once."""
        self._level = LEVELS[level]

    def watch_space(self, measure: Callable[[], int], least: int) -> None:
        """Write no debug lines while `measure`, asked once a second by the writer, says less than `least`."""
        self._free_min = least
        with self._wake:
            self._measure = measure
            self._wake.notify()

    def redact(self, secret: str) -> None:
        """Never write this text again, in whichever spelling an encoder gives it."""
        if secret:
            spellings = {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
            spellings |= {quote(secret), quote(secret, safe=""), repr(secret)[1:-1]}
            # The longest first, so that no part of a spelling is left over.
            self._secrets = tuple(sorted({*self._secrets, *spellings}, key=len, reverse=True))

    @property
    def secrets(self) -> tuple[str, ...]:
        """What is never written, in each spelling, the longest first."""
        return self._secrets

    def stop(self) -> None:
        """Write what waits, close the file, and let the libraries' logs go their old way."""
        logging.getLogger().removeHandler(self._foreign)
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join(_STOP_SECONDS)

    # --- the writer thread ----------------------------------------------------------------------

    def _write_all(self) -> None:
        told = 0
        stopping = False
        while not stopping:
            self._look_at_space()
            with self._wake:
                due_s = None if self._measure is None else self._measured_s + _SPACE_S - time.monotonic()
                self._wake.wait_for(lambda: self._queue or self._stopping or self._unmeasured(), due_s)
                lines, stopping = list(self._queue), self._stopping
                self._queue.clear()
            if self.dropped > told:
                count, told = self.dropped - told, self.dropped
                head = {"ts": iso(time.time_ns()), "level": "warning", "event": "log_lines_dropped"}
                lines.append(head | {"count": count})
            if lines:
                self._write(lines)
        self._files.close()

    def _unmeasured(self) -> bool:
        return self._measure is not None and self._measured_s == 0.0

    def _look_at_space(self) -> None:
        """Measure once a second; what cannot be measured changes nothing."""
        now_s = time.monotonic()
        if self._measure is None or now_s < self._measured_s + _SPACE_S:
            return
        self._measured_s = now_s
        with suppress(OSError):
            self.free_bytes = self._measure()
            short = self.free_bytes < self._free_min
            if short != self._short:
                self._short = short
                event = "disk_space_short" if short else "disk_space_back"
                self.log("warning", event, free_bytes=self.free_bytes, least=self._free_min)

    def _write(self, lines: list[Line]) -> None:
        plain = [_plain(line) for line in lines]
        try:
            self._files.write([self.hide(_json(line)) for line in plain])
        except OSError:
            self.lost += len(plain)
        if self._console is not None:
            with suppress(OSError, ValueError):  # A terminal that went away does not stop the file.
                self._console.write("".join(f"{self.hide(self._readable(line))}\n" for line in plain))
                self._console.flush()

    def _readable(self, line: Line) -> str:
        shown = {key: _printable(value) for key, value in line.items() if key not in ("traceback", "stack")}
        shown["timestamp"] = shown.pop("ts")
        for block, key in (("exception", "traceback"), ("stack", "stack")):
            if line.get(key):
                shown[block] = "\n".join(_printable(text) for text in str(line[key]).splitlines())
        return str(self._render(None, "", shown))

    def hide(self, text: str) -> str:
        """Return a text without the secrets that must never be written."""
        for secret in self._secrets:
            text = text.replace(secret, _HIDDEN)
        return text


def start_logging(
    path: Path,
    level: str,
    file_max_bytes: int = 10_485_760,
    files: int = 5,
    *,
    console: bool = True,
    queue_max: int = 10_000,
) -> Logging:
    """Begin to log to `path`, the newest of `files` files; warnings of libraries come along.

    Raises:
        OSError: the folder or the file cannot be made or written.
    """
    return Logging(
        RotatingFile(path, file_max_bytes, files), level, sys.stderr if console else None, queue_max
    )


class RotatingFile:
    """Lines in `name`, the older ones in `name.1` and so on: `files` files of at most `size_max` bytes."""

    def __init__(self, path: Path, size_max: int, files: int) -> None:
        self._path = path
        self._size_max = size_max
        self._files = files
        path.parent.mkdir(parents=True, exist_ok=True)
        self._open()

    def write(self, lines: Iterable[str]) -> None:
        """Append lines and hand them to the operating system.

        Raises:
            OSError: the disk refused; the next call opens the file anew.
        """
        try:
            if self._file.closed:
                self._open()
            for line in lines:
                data = line.encode("utf-8", "backslashreplace") + b"\n"
                if self._size and self._size + len(data) > self._size_max:
                    self._rotate()
                self._size += self._file.write(data)
            self._file.flush()
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Close the file; what a failed write left behind is given up."""
        with suppress(OSError):  # Closing flushes once more, but closes in any case.
            self._file.close()

    def _open(self) -> None:
        self._file = self._path.open("ab")
        self._size = self._file.tell()

    def _rotate(self) -> None:
        self._file.close()
        names = [self._path, *(Path(f"{self._path}.{number}") for number in range(1, self._files))]
        names[-1].unlink(missing_ok=True)
        for newer, older in reversed(list(pairwise(names))):
            if newer.exists():
                newer.replace(older)
        self._open()


class _Foreign(logging.Handler):
    """Takes warnings of libraries, which log in the standard way, into our log."""

    def __init__(self, log: Logging) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text, _, traceback = self.format(record).partition("\n")
        except (TypeError, ValueError):
            text, traceback = f"{record.msg} {record.args}", ""
        fields = {"traceback": traceback} if traceback else {}
        self._log.log(record.levelname.lower(), "library", logger=record.name, text=text, **fields)


def _plain(line: Line) -> Line:
    """Return a line in the types of JSON; what JSON does not know becomes its text."""
    try:
        plain: Line = msgspec.to_builtins(line, str_keys=True, enc_hook=str)
    except Exception:  # noqa: BLE001 a value's own text may fail in any way; the writer must not
        plain = {key: line[key] for key in ("ts", "level", "event")} | {"unreadable": sorted(line)}
    return plain


def _json(line: Line) -> str:
    try:
        return msgspec.json.encode(line).decode()
    except UnicodeEncodeError:
        # Half a surrogate pair, as undecodable file names have: only ASCII escapes can say it.
        return json.dumps(line)


def _printable(value: object) -> str:
    """Return what a terminal may show: no text of a stranger moves its cursor."""
    text = str(value)
    return text if text.isprintable() else repr(text)
