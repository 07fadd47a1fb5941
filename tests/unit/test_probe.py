"""The health check of a container: one question, one line, one exit code."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.unit.shell import Shell
from tradefan.probe import announced, main, probe

ANSWERS = {
    "/well/health": (200, {"status": "ok", "checks": {}}),
    "/well/ready": (200, {"ready": True, "waiting": {}}),
    "/ill/health": (503, {"status": "down", "checks": {"oms": {"status": "down"}, "risk": {"status": "ok"}}}),
    "/ill/ready": (503, {"ready": False, "waiting": {"binance:BTC/USDT": "STALE"}}),
    "/strange/health": (200, ["not a daemon"]),
}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        code, answer = ANSWERS.get(self.path, (404, "no"))
        self.send_response(code)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("path", "ready", "code", "text"),
    [
        ("/well", False, 0, "{url}/well"),
        ("/well/", True, 0, "{url}/well"),
        ("/ill", False, 1, "{url}/ill is down: oms"),
        ("/ill", True, 4, "waiting for binance:BTC/USDT (STALE)"),
        ("/strange", False, 3, "{url}/strange does not answer: expected a JSON object"),
        ("/absent", False, 3, "{url}/absent does not answer: expected a JSON object"),
    ],
)
def test_probe_when_asked_then_code_and_line_say_how_it_is(
    server: str, path: str, ready: bool, code: int, text: str
) -> None:
    """Well, down, not ready, and something else that listens there."""
    assert probe(f"{server}{path}", ready=ready) == (code, text.format(url=server))


def test_probe_when_nobody_listens_then_not_running(free_port: Callable[[], int]) -> None:
    """Neither an address that refuses nor one that is none raises."""
    assert probe(f"http://127.0.0.1:{free_port()}")[0] == 3
    assert probe("") == (3, "it has not opened its port")
    assert probe("localhost:8000")[1].endswith("expected a URL that begins with http:// or https://")


def test_announced_when_the_file_is_another_daemons_then_nothing(tmp_path: Path) -> None:
    """A file that an earlier daemon left behind names another pid; one that is half is none."""
    assert announced(tmp_path) == ""
    (tmp_path / "daemon.json").write_text('{"pid": 7, "url": "http://127.0.0.1:1"}')
    assert [announced(tmp_path, pid) for pid in (None, 7, 8)] == [
        "http://127.0.0.1:1",
        "http://127.0.0.1:1",
        "",
    ]
    (tmp_path / "daemon.json").write_text('{"pid": 7, "u')
    assert announced(tmp_path) == ""


def test_probe_when_a_command_then_finds_the_daemon_by_directory_or_address(
    server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], shell: Shell
) -> None:
    """As the container calls it, and as an operator does."""
    (tmp_path / "daemon.json").write_text(json.dumps({"pid": 7, "url": f"{server}/well"}))
    assert main(["--data", str(tmp_path)]) == 0
    assert main(["--data", str(tmp_path), "--pid", "8"]) == 3
    assert capsys.readouterr().out == f"{server}/well\nit has not opened its port\n"
    done = shell("probe", "--url", f"{server}/ill", "--ready")
    assert (done.code, done.out) == (4, "waiting for binance:BTC/USDT (STALE)\n")


def test_probe_when_imported_then_brings_only_the_standard_library() -> None:
    """It runs every few seconds beside the daemon."""
    code = "import sys, tradefan.probe; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    own = set(done.stdout.split()) - sys.stdlib_module_names
    assert {name for name in own if not name.startswith("_")} <= {
        "tradefan",
        "sitecustomize",
        "usercustomize",
    }
