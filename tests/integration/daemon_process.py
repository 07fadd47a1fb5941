"""A real daemon in a process of its own: started, asked, signalled, killed by its own pid."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tradefan.messages.records import Record
from tradefan.stores.journal import JournalFile

ROOT = Path(__file__).resolve().parents[2]
READY_S = 60.0
AT_ONCE = ("strategies.rebalance_btc.settings.by=null", "strategies.rebalance_btc.settings.duration=null")
"""Its TWAP takes two minutes: most tests want the position at once."""


class DaemonProcess:
    """One data directory with a daemon that can be started again and again."""

    def __init__(self, folder: Path, *sets: str) -> None:
        """Copy the shipped configuration, so that nothing of this machine's user is in it."""
        self.folder = folder
        self.data = folder / "data"
        self.config = folder / "config"
        self.sets = (*AT_ONCE, *sets)
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        shutil.copytree(ROOT / "config", self.config, ignore=shutil.ignore_patterns("local.yaml"))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environ(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TRADEFAN_")}
        return {**kept, "TRADEFAN__DATA_DIR": str(self.data), "TRADEFAN__API__PORT": str(self.port)}

    # --- the process --------------------------------------------------------------------------------

    def start(self, *flags: str) -> DaemonProcess:
        """Start it and do not wait."""
        words = ["run", "-e", "development", *flags, *(word for one in self.sets for word in ("--set", one))]
        with (self.folder / "console.txt").open("ab") as console:
            self.process = subprocess.Popen(
                self._command(*words), env=self.environ, cwd=self.folder, stdout=console, stderr=console
            )
        return self

    def until_ready(self) -> float:
        """Wait for /ready and return how long it took."""
        return self.until(lambda: self.ask("/ready")[0] == 200, READY_S)

    def until(self, done: Callable[[], bool], limit_s: float) -> float:
        """Wait until something holds while the daemon lives."""
        began = time.monotonic()
        while not done():
            assert self.process is not None
            assert self.process.poll() is None, self.console()
            assert time.monotonic() < began + limit_s, f"not within {limit_s} s: {self.ask('/ready')}"
            time.sleep(0.05)
        return time.monotonic() - began

    def send(self, number: signal.Signals) -> None:
        """Send a signal to this process only."""
        assert self.process is not None
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM, limit_s: float = 20) -> tuple[int, float]:
        """Send a signal and return the exit code and the seconds until it came."""
        assert self.process is not None
        began = time.monotonic()
        self.send(number)
        return self.process.wait(limit_s), time.monotonic() - began

    def close(self) -> None:
        """Leave no process behind."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)

    def console(self) -> str:
        return (self.folder / "console.txt").read_text()

    def log(self) -> list[dict[str, Any]]:
        """Return the lines of the log file; one that is being written is not there yet."""
        whole, _, _ = (self.data / "logs" / "tradefan.log").read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    def logged(self, event: str, limit_s: float = 10) -> list[dict[str, Any]]:
        """Wait until the log tells of an event, whose writer is a thread of its own; return its lines."""

        def lines() -> list[dict[str, Any]]:
            return [line for line in self.log() if line["event"] == event]

        self.until(lambda: bool(lines()), limit_s)
        return lines()

    # --- its faces ----------------------------------------------------------------------------------

    def ask(self, path: str, body: dict[str, Any] | None = None, **headers: str) -> tuple[int, Any]:
        """Return status and JSON; status 0 while nobody listens.

        What only reads is asked again on 429: who waits for something asks more often than it is let.
        """
        while (said := self.ask_once(path, body, **headers))[0] == 429 and body is None:
            time.sleep(0.1)
        return said

    def ask_once(self, path: str, body: dict[str, Any] | None = None, **headers: str) -> tuple[int, Any]:
        """Return status and JSON, 429 too; status 0 while nobody listens."""
        data = None if body is None else json.dumps(body).encode()
        try:
            if path.startswith("/api/") and "Authorization" not in headers:
                headers["Authorization"] = f"Bearer {(self.data / 'token').read_text().strip()}"
            request = urllib.request.Request(
                self.url + path, data, {"Content-Type": "application/json", **headers}
            )
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, _json(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, _json(error.read())
        except OSError:
            return 0, None

    def status(self) -> dict[str, Any]:
        code, status = self.ask("/status")
        assert code == 200, (code, status)
        found: dict[str, Any] = status
        return found

    def positions(self) -> dict[tuple[str, str], str]:
        """Return what each owner holds of what."""
        return {(one["owner"], one["instrument"]): one["qty"] for one in self.status()["positions"]}

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run another command as the user would, beside the daemon."""
        return subprocess.run(
            self._command(*words),
            env=self.environ,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, "-P", "-m", "tradefan", *words, "--config", str(self.config)]

    # --- its files, while it is down ------------------------------------------------------------------

    def journal(self) -> tuple[Record, ...]:
        """Return every record of the journal."""
        file = JournalFile(str(self.data / "journal.db"))
        records, _ = file.fold()
        file.close()
        return records

    def paper(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the paper venue's file."""
        connection = sqlite3.connect(f"file:{self.data / 'paper.db'}?mode=ro", uri=True)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text.decode()
