"""Faults of a real disk: a file system that is full, and syncs that fail."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

_BLOCK = b"\0" * 4096


def lacks(text: str) -> NoReturn:
    """Skip what this machine cannot do; fail where the run promises that it can, or is to show all."""
    if os.environ.get("TRADEFAN_REQUIRE_SERVICES") == "1" or os.environ.get("TRADEFAN_CHAOS") == "whole":
        pytest.fail(text)
    pytest.skip(text)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """Put a tmpfs of so many megabytes at a folder; where this user may not mount see `lacks`."""
    folder.mkdir(parents=True)
    words = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lacks(f"cannot mount a tmpfs: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """Leave no byte free on the disk of a folder; the space comes back at the end."""
    filler = folder / "filler"
    descriptor = os.open(filler, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        while True:
            os.write(descriptor, _BLOCK)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
    try:
        yield
    finally:
        os.close(descriptor)
        filler.unlink()


class FailingSync:
    """strace on a process that makes `fdatasync` of one file answer EIO, once or always."""

    def __init__(self, pid: int, path: Path, log: Path, *, once: bool) -> None:
        if shutil.which("strace") is None:
            lacks("strace is not installed")
        self.path = path
        self.log = log
        fault = f"inject=fdatasync:error=EIO{':when=1' if once else ''}"
        calls = "trace=fdatasync,close,openat"
        words = ["strace", "-f", "-qq", "-o", str(log), "-P", str(path), "-e", calls, "-e", fault]
        self._tracer = subprocess.Popen([*words, "-p", str(pid)], stderr=subprocess.PIPE, text=True)
        self._until_attached(pid)

    def _until_attached(self, pid: int) -> None:
        until = time.monotonic() + 5
        while f"TracerPid:\t{self._tracer.pid}\n" not in Path(f"/proc/{pid}/status").read_text():
            if self._tracer.poll() is not None or time.monotonic() > until:
                assert self._tracer.stderr is not None
                lacks(f"strace cannot attach: {self._tracer.stderr.read().strip()}")
            time.sleep(0.01)

    def close(self) -> None:
        """Let the process sync again."""
        if self._tracer.poll() is None:
            self._tracer.send_signal(signal.SIGINT)
        self._tracer.wait(10)
        assert self._tracer.stderr is not None
        self._tracer.stderr.close()

    def failed(self) -> int:
        """Count the syncs that failed."""
        return self.log.read_text().count("INJECTED")

    def synced_again(self) -> list[str]:
        """Return syncs of a descriptor whose sync had failed, before it was closed: there must be none."""
        broken: set[str] = set()
        found = []
        for line in self.log.read_text().splitlines():
            call = re.search(r"(fdatasync|close)\((\d+)\)", line)
            if call is None:
                continue
            if call[1] == "close":
                broken.discard(call[2])
            elif call[2] in broken:
                found.append(line)
            elif "EIO" in line:
                broken.add(call[2])
        return found
