"""What the machine says of itself: files in the forms of proc(5), and nothing where there are none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tradefan.host import read_host

STAT = "cpu  100 20 30 4000 50 6 7 8 0 0\ncpu0 1 2 3 4\n"
NET = """Inter-|   Receive                            |  Transmit
 face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier
    lo: 9999999 100 0 0 0 0 0 0 9999999 100 0 0 0 0 0
  eth0: 1000 10 0 0 0 0 0 0 2000 20 0 0 0 0 0
  eth1:30 1 0 0 0 0 0 0 40 1 0 0 0 0 0
"""


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "net").mkdir()
    (tmp_path / "stat").write_text(STAT)
    (tmp_path / "loadavg").write_text("1.50 0.70 0.30 2/300 4711\n")
    (tmp_path / "meminfo").write_text("MemTotal: 2000 kB\nMemFree: 3 kB\nMemAvailable: 500 kB\n")
    (tmp_path / "net" / "dev").write_text(NET)
    return tmp_path


def test_host_when_proc_is_there_then_seconds_bytes_and_shares(proc: Path) -> None:
    """Ticks are seconds, kilobytes are bytes, and loopback is no network."""
    found, ticks = read_host(proc), os.sysconf("SC_CLK_TCK")
    assert found["host_cpu_seconds"]["user"] == 100 / ticks
    assert list(found["host_cpu_seconds"]) == [
        "user",
        "nice",
        "system",
        "idle",
        "iowait",
        "irq",
        "softirq",
        "steal",
    ]
    assert found["host_load_ratio"] == {"": 1.5 / (os.cpu_count() or 1)}
    assert found["host_memory_bytes"] == {"total": 2_048_000, "available": 512_000}
    assert found["host_network_bytes"] == {"in": 1030, "out": 2040}


def test_host_when_a_file_is_missing_or_odd_then_only_that_reading_is(proc: Path) -> None:
    """Another system, or one that hides a part."""
    (proc / "stat").unlink()
    (proc / "meminfo").write_text("MemTotal: many\n")
    (proc / "net" / "dev").write_text("\n\n")
    assert set(read_host(proc)) == {"host_load_ratio"}
