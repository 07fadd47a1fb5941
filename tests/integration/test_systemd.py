"""The service: a unit that systemd takes, and a daemon that speaks to its manager."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.integration.daemon_process import ROOT, DaemonProcess
from tests.services.server import require

pytestmark = pytest.mark.slow

UNIT = ROOT / "config" / "systemd" / "tradefan@.service"


def test_daemon_when_a_manager_has_started_it_then_is_ready_fed_and_stopping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """READY once it listens, WATCHDOG all the time with how it is, STOPPING at the end."""
    ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ear.bind(str(tmp_path / "notify"))
    ear.settimeout(30)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "600000")
    daemon = DaemonProcess(tmp_path / "daemon")
    daemon.start()
    heard: list[str] = []
    try:
        deadline = time.monotonic() + 60
        while "STATUS=ready" not in heard and time.monotonic() < deadline:
            heard += ear.recv(4096).decode().split("\n")
        assert daemon.process is not None
        assert ["READY=1" in heard, f"MAINPID={daemon.process.pid}" in heard] == [True, True]
        began, fed = time.monotonic(), 0
        while time.monotonic() < began + 2:
            fed += ear.recv(4096).startswith(b"WATCHDOG=1")
        assert fed >= 6
        assert daemon.end()[0] == 0
        while "STOPPING=1" not in heard:
            heard += ear.recv(4096).decode().split("\n")
    finally:
        daemon.close()
        ear.close()


def test_unit_when_the_daemon_says_at_its_end_what_is_left_then_the_journal_has_it() -> None:
    """It is said on standard output, in the order of the log's lines."""
    lines = UNIT.read_text().splitlines()
    assert [line for line in lines if line.startswith("Standard")] == [
        "StandardOutput=journal",
        "StandardError=inherit",
    ]


def test_unit_when_its_command_is_filled_in_then_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    """`systemd-analyze verify` reads it as the manager would."""
    analyze = require("systemd-analyze")
    python = shutil.which("python3")
    assert python is not None
    unit = tmp_path / UNIT.name
    # What deploy.sh says in a drop-in.
    unit.write_text(
        UNIT.read_text().replace("[Service]\n", f"[Service]\nExecStart={python} -m tradefan run\n")
    )
    command = [analyze, "verify", "--man=no", "--recursive-errors=no", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    ours = [line for line in done.stderr.splitlines() if "tradefan" in line]
    assert (done.returncode, ours) == (0, [])
