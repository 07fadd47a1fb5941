"""The watcher looks soon where the system tells it, and each second where that cannot."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from watchfiles._rust_notify import WatchfilesRustInternalError

from tradefan.links import watcher
from tradefan.links.watcher import WatcherLink


class Bench:
    def __init__(self, folder: Path) -> None:
        self.looks = 0
        self.logs: list[tuple[str, str, dict[str, Any]]] = []
        self.link = WatcherLink(
            folder, self.look, lambda level, event, **fields: self.logs.append((level, event, fields))
        )

    async def look(self) -> None:
        self.looks += 1

    async def until(self, looks: int) -> None:
        task = asyncio.create_task(self.link.run())
        async with asyncio.timeout(10):
            while self.looks < looks and not task.done():
                await asyncio.sleep(0.005)
        assert not task.done(), task
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(
    "error",
    [
        OSError(24, "Too many open files"),
        WatchfilesRustInternalError("error in underlying watcher: Too many open files (os error 24)"),
        ExceptionGroup("unhandled errors in a TaskGroup", [OSError(28, "No space left on device")]),
    ],
    ids=["no descriptor", "no inotify", "while it waits"],
)
async def test_watcher_when_the_system_cannot_tell_then_looks_all_the_same_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """A user has 128 instances of inotify, and in containers others have them."""

    async def awatch(*_: Any, **__: Any) -> AsyncIterator[set[Any]]:
        yield set()
        raise error

    monkeypatch.setattr(watcher, "awatch", awatch)
    monkeypatch.setattr(watcher, "ANYHOW_MS", 10)
    bench = Bench(tmp_path)
    await bench.until(5)
    fields = {"folder": str(tmp_path), "reason": f"{type(error).__name__}: {error}"}
    assert bench.logs == [("warning", "config_watch_failed", fields)]


async def test_watcher_when_a_look_fails_then_that_is_its_own_affair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link ends and is started again: a defect of ours is none of the system's."""

    async def awatch(*_: Any, **__: Any) -> AsyncIterator[set[Any]]:
        yield set()

    async def look() -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr(watcher, "awatch", awatch)
    bench = Bench(tmp_path)
    with pytest.raises(RuntimeError, match="ours"):
        await WatcherLink(tmp_path, look, lambda *_, **__: None).run()
    assert bench.logs == []


SCRIPT = """
import asyncio, os, resource, sys
from pathlib import Path
from tradefan.links.watcher import WatcherLink

async def look():
    global looks
    looks += 1

async def main():
    # The loop has its own descriptors, and a worker thread, before there are no more.
    await asyncio.to_thread(int)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    taken = []
    try:
        while True:
            taken.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    link = WatcherLink(Path(sys.argv[1]), look, lambda level, event, **fields: print(level, event))
    try:
        await asyncio.wait_for(link.run(), 2.5)
    except TimeoutError:
        print(looks >= 2)

looks = 0
asyncio.run(main())
"""


def test_watcher_when_no_descriptor_is_left_then_looks_each_second(tmp_path: Path) -> None:
    """As it is, with the library and the system themselves."""
    words = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, env={**os.environ})
    assert (done.stdout, done.returncode) == ("warning config_watch_failed\nTrue\n", 0), done.stderr
