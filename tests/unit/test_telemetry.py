from __future__ import annotations

import io
import json
import logging
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tradefan.telemetry import Logging, RotatingFile, start_logging


def written(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a log without their instants."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        assert line.pop("ts")[-1] == "Z"
    return lines


class Gate(io.StringIO):
    """A console that lets the writer thread through when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = threading.Event()
        self.open = threading.Event()

    def write(self, text: str) -> int:
        self.waiting.set()
        assert self.open.wait(5)
        return super().write(text)


def test_log_then_json_lines_with_ids_in_order(tmp_path: Path) -> None:
    """Each line is one JSON object with instant, level, event and its fields; stop writes what waits."""
    log = start_logging(tmp_path / "logs" / "tradefan.log", "info", console=False)
    log.log("info", "child_sent", client_order_id="abc", order_qty=Decimal("0.10"), n=1)
    log.log("debug", "not_written")
    log.set_level("debug")
    log.log("debug", "written", event="kept out", path=tmp_path, error=ValueError("x"), nothing=None)
    log.stop()
    assert written(tmp_path / "logs" / "tradefan.log") == [
        {"level": "info", "event": "child_sent", "client_order_id": "abc", "order_qty": "0.10", "n": 1},
        {"level": "debug", "event": "written", "path": str(tmp_path), "error": "x", "nothing": None},
    ]
    assert (log.dropped, log.lost) == (0, 0)


def test_log_value_that_cannot_be_said_then_the_line_survives(tmp_path: Path) -> None:
    """A value whose own text fails, and text that is no UTF-8, lose no line and stop no writer."""

    class Broken:
        def __str__(self) -> str:
            raise RuntimeError

    log = start_logging(tmp_path / "log", "info", console=False)
    log.log("info", "one", thing=Broken())
    log.log("info", "two", name="\udce9")
    log.stop()
    assert written(tmp_path / "log") == [
        {"level": "info", "event": "one", "unreadable": ["event", "level", "thing", "ts"]},
        {"level": "info", "event": "two", "name": "\udce9"},
    ]


def test_log_queue_full_then_the_oldest_go_and_are_counted(tmp_path: Path) -> None:
    """A slow disk never holds the caller: the oldest lines go, are counted, and the log says how many."""
    gate = Gate()
    log = Logging(RotatingFile(tmp_path / "log", 10**6, 5), "info", gate, queue_max=3)
    log.log("info", "first")
    assert gate.waiting.wait(5)
    for number in range(5):
        log.log("info", "later", number=number)
    assert log.dropped == 2
    gate.open.set()
    log.stop()
    assert written(tmp_path / "log") == [
        {"level": "info", "event": "first"},
        *({"level": "info", "event": "later", "number": number} for number in (2, 3, 4)),
        {"level": "warning", "event": "log_lines_dropped", "count": 2},
    ]


def test_log_secret_then_hidden_in_file_and_console_in_every_spelling(tmp_path: Path) -> None:
    """A registered secret is replaced at the root, however an encoder spelled it."""
    secret = 'k"e/y\\ü+'
    console = io.StringIO()
    log = Logging(RotatingFile(tmp_path / "log", 10**6, 5), "info", console, queue_max=10)
    log.redact(secret)
    log.redact("")
    log.log(
        "info", "url", url="https://x/?key=k%22e/y%5C%C3%BC%2B", header=secret, traceback=f"a\nb {secret}"
    )
    log.log("info", "quoted", url="k%22e%2Fy%5C%C3%BC%2B")
    log.stop()
    text = (tmp_path / "log").read_text() + console.getvalue()
    assert not any(part in text for part in ('k"e', 'k\\"e', "k%22", "ü"))
    assert written(tmp_path / "log")[0]["traceback"] == "a\nb ***"


def test_log_console_then_readable_and_safe_for_a_terminal(tmp_path: Path) -> None:
    """People read event, fields and tracebacks; escape sequences of strangers stay visible text."""
    console = io.StringIO()
    log = Logging(RotatingFile(tmp_path / "log", 10**6, 5), "info", console, queue_max=10)
    log.log("error", "actor_crashed", actor="oms", reason="\x1b[2J\nx", traceback="line one\nline \x1btwo")
    log.stop()
    text = console.getvalue()
    assert "\x1b" not in text
    assert "actor_crashed" in text
    assert "actor=oms" in text
    assert "line one\n'line \\x1btwo'" in text


def test_log_console_gone_then_the_file_goes_on(tmp_path: Path) -> None:
    """A closed terminal ends the console lines only."""
    console = io.StringIO()
    console.close()
    # A closed stream cannot say whether it is a terminal, a terminal that closes later can.
    console.isatty = lambda: False  # type: ignore[method-assign]
    log = Logging(RotatingFile(tmp_path / "log", 10**6, 5), "info", console, queue_max=10)
    log.log("info", "one")
    log.log("info", "two")
    log.stop()
    assert [line["event"] for line in written(tmp_path / "log")] == ["one", "two"]


def test_log_library_warning_then_taken_along_until_stop(tmp_path: Path) -> None:
    """Warnings of libraries reach the log with their logger's name; after stop they go their old way."""
    logger = logging.getLogger("some.library")
    log = start_logging(tmp_path / "log", "info", console=False)
    logger.info("not taken")
    logger.warning("lost %s", "frame")
    log._foreign.emit(logging.LogRecord("bad", logging.ERROR, "", 1, "bad %d", ("format",), None))
    logger.error("failed", exc_info=ValueError("why"))
    log.stop()
    logger.warning("after")
    lines = written(tmp_path / "log")
    assert lines[0] == {
        "level": "warning",
        "event": "library",
        "logger": "some.library",
        "text": "lost frame",
    }
    assert [line["text"] for line in lines] == ["lost frame", "bad %d ('format',)", "failed"]
    assert lines[2]["traceback"].endswith("ValueError: why")


@pytest.mark.parametrize(("files", "kept"), [(3, ["log", "log.1", "log.2"]), (1, ["log"])])
def test_rotating_file_full_then_the_newest_files_are_kept(
    tmp_path: Path, files: int, kept: list[str]
) -> None:
    """No file exceeds its bound, no line is cut, and only the given number of files is kept."""
    out = RotatingFile(tmp_path / "log", 30, files)
    for number in range(20):
        out.write([f"line {number:04}"])
    out.write(["x" * 50])
    out.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == kept
    texts = [(tmp_path / name).read_text() for name in kept]
    assert texts[0] == "x" * 50 + "\n"
    assert texts[1:] == ["line 0018\nline 0019\n", "line 0015\nline 0016\nline 0017\n"][: files - 1]


def test_rotating_file_opened_again_then_appended(tmp_path: Path) -> None:
    """A restart goes on in the same file and counts what is in it."""
    for lines in (["one line"], ["two line", "new file"]):
        out = RotatingFile(tmp_path / "log", 20, 2)
        out.write(lines)
        out.close()
    assert (tmp_path / "log.1").read_text() == "one line\ntwo line\n"
    assert (tmp_path / "log").read_text() == "new file\n"


def test_log_disk_refuses_then_lines_counted_and_writing_resumes(tmp_path: Path) -> None:
    """A full disk loses lines, says how many, and the log goes on when there is room again."""
    file = RotatingFile(tmp_path / "log", 10**6, 5)
    real = file._open
    failing = threading.Event()
    failing.set()

    def refuse() -> None:
        if failing.is_set():
            raise OSError(28, "No space left on device")
        real()

    file._open = refuse  # type: ignore[method-assign]
    file.close()
    gate = Gate()
    log = Logging(file, "info", gate, queue_max=10)
    log.log("info", "lost")
    assert gate.waiting.wait(5)
    assert log.lost == 1
    failing.clear()
    gate.open.set()
    log.log("info", "written")
    log.stop()
    assert [line["event"] for line in written(tmp_path / "log")] == ["written"]


def test_log_when_space_is_short_then_debug_lines_are_spared_and_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last bytes are the journal's (ST-03): what nobody needs goes first, is counted, and returns."""
    monkeypatch.setattr("tradefan.telemetry._SPACE_S", 0.02)
    free, asked = [5], threading.Semaphore(0)

    def measure() -> int:
        asked.release()
        if free[0] < 0:
            raise OSError("no such folder")
        return free[0]

    log = start_logging(tmp_path / "log", "debug", console=False)
    log.watch_space(measure, 10)
    until(lambda: log.free_bytes == 5)
    log.log("debug", "spared")
    log.log("info", "written")
    for now in (-1, 20):
        free[0] = now
        while asked.acquire(blocking=False):
            pass
        assert asked.acquire(timeout=5)
    until(lambda: log.free_bytes == 20)
    log.log("debug", "written again")
    log.stop()
    assert [(line["event"], line.get("free_bytes")) for line in written(tmp_path / "log")] == [
        ("disk_space_short", 5),
        ("written", None),
        ("disk_space_back", 20),
        ("written again", None),
    ]
    assert log.spared == 1


def until(done: Callable[[], bool]) -> None:
    """Wait for the writer's thread."""
    for _ in range(500):
        if done():
            return
        time.sleep(0.01)
    raise AssertionError("not within 5 s")
