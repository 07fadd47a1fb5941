"""What the machine says of itself under /proc; a system that has none of it says nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

Readings = dict[str, dict[str, float]]
"""By metric the values by status."""
_CPU = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
_PROC = Path("/proc")


def rss_bytes() -> int:
    """Return the memory that this process holds; 0 where the system does not say."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def read_host(proc: Path = _PROC) -> Readings:
    """Return CPU, load, memory and network of this machine, as far as it tells them.

    These are no files of a disk, so none of them makes the loop wait.
    """
    found: Readings = {}
    for name, read in (
        ("host_cpu_seconds", _cpu),
        ("host_load_ratio", _load),
        ("host_memory_bytes", _memory),
        ("host_network_bytes", _network),
    ):
        with suppress(OSError, ValueError, KeyError, IndexError):
            found[name] = read(proc)
    return found


def _cpu(proc: Path) -> dict[str, float]:
    """Return the first line of `stat`, in seconds (proc(5))."""
    words = (proc / "stat").read_text().partition("\n")[0].split()[1:]
    ticks = os.sysconf("SC_CLK_TCK")
    return {name: int(word) / ticks for name, word in zip(_CPU, words, strict=False)}


def _load(proc: Path) -> dict[str, float]:
    return {"": float((proc / "loadavg").read_text().split()[0]) / (os.cpu_count() or 1)}


def _memory(proc: Path) -> dict[str, float]:
    lines = (line.split(":") for line in (proc / "meminfo").read_text().splitlines())
    kilobytes = {name: int(rest.split()[0]) for name, rest in lines}
    return {"total": kilobytes["MemTotal"] * 1024.0, "available": kilobytes["MemAvailable"] * 1024.0}


def _network(proc: Path) -> dict[str, float]:
    received, sent = zip(*_interfaces(proc), strict=True)
    return {"in": float(sum(received)), "out": float(sum(sent))}


def _interfaces(proc: Path) -> Iterator[tuple[int, int]]:
    """Give bytes received and sent of each interface but loopback."""
    for line in (proc / "net" / "dev").read_text().splitlines()[2:]:
        name, _, rest = line.partition(":")
        if name.strip() != "lo":
            words = rest.split()
            yield int(words[0]), int(words[8])
