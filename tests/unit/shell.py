"""Commands run in this process, and a server that stands in for the daemon they talk to."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import tradefan.strategies
from tradefan import cli, contracts
from tradefan.data_dir import DataDir

_ = tradefan.strategies  # Registered for good, before a test puts another registry in its place.
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str


class Shell:
    """Runs commands in this process, on a configuration of its own."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.config = folder / "config"
        shutil.copytree(ROOT / "config", self.config, ignore=shutil.ignore_patterns("local.yaml"))
        self.data = DataDir(folder / "data" / "development", folder / "logs")
        monkeypatch.setattr("tradefan.contracts._plugins", dict(contracts._plugins))
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *words: str) -> Done:
        """Run one command; those that read a configuration get ours."""
        self._monkeypatch.setattr("sys.argv", ["tradefan", *words])
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
        else:
            code = 0
        out, err = self._capsys.readouterr()
        assert isinstance(code, int)
        return Done(code, out, err)

    def ours(self, *words: str) -> Done:
        return self(*words, "--config", str(self.config))


@dataclass
class Daemon:
    """A server that answers as it is told, and remembers what it was asked."""

    port: int = 0
    silent_s: float = 0
    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    asked: list[tuple[str, str, str | None, Any]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def serving() -> Iterator[Daemon]:
    """Answer on a free port."""
    told = Daemon()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer("GET")

        def do_POST(self) -> None:
            self._answer("POST")

        def _answer(self, method: str) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            told.asked.append(
                (method, self.path, self.headers.get("Authorization"), json.loads(body) if body else None)
            )
            time.sleep(told.silent_s)
            status, value = told.answers.get(self.path, (404, {"error": {"code": "X", "text": "x"}}))
            self.send_response(status)
            if status == 302:
                self.send_header("Location", value)
            if status == 429:
                self.send_header("Retry-After", "2")
            self.end_headers()
            # Who asks may have given up: `tradefan kill` waits a second only.
            with suppress(BrokenPipeError, ConnectionResetError):
                self.wfile.write(value.encode() if isinstance(value, str) else json.dumps(value).encode())

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield told
    server.shutdown()
    thread.join()
    server.server_close()
