"""What a service manager hears over a socket of its own."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tradefan.service_manager import ServiceManager


class Ear:
    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.settimeout(5)

    def heard(self) -> list[str]:
        return self.socket.recv(4096).decode().split("\n")


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[Ear]:
    made = Ear(str(tmp_path / "notify"))
    yield made
    made.socket.close()


def manager(ear: Ear, **environ: str) -> ServiceManager:
    return ServiceManager({"NOTIFY_SOCKET": ear.socket.getsockname(), **environ})


def test_tell_then_assignments_are_heard_a_line_each(ear: Ear) -> None:
    """A line end in a text would be another assignment."""
    manager(ear).tell(READY=1, STATUS="all is\nwell")
    assert ear.heard() == ["READY=1", "STATUS=all is well"]


def test_address_when_abstract_then_is_reached() -> None:
    """systemd may name a socket that has no file."""
    ear = Ear("\0tradefan-test-notify")
    ServiceManager({"NOTIFY_SOCKET": "@tradefan-test-notify"}).tell(READY=1)
    assert ear.heard() == ["READY=1"]
    ear.socket.close()


def test_feed_when_watched_then_again_and_again_until_closed(ear: Ear) -> None:
    """A third of the time that the manager gives."""
    calls: list[tuple[Any, ...]] = []
    made = manager(ear, WATCHDOG_USEC="9000000", WATCHDOG_PID=str(os.getpid()))
    made.feed(lambda *call: calls.append(call), lambda: "ready")
    assert ear.heard() == ["WATCHDOG=1", "STATUS=ready"]
    ((delay_s, again, *words),) = calls
    assert delay_s == 3.0
    again(*words)
    assert ear.heard() == ["WATCHDOG=1", "STATUS=ready"]
    made.stopping()
    assert ear.heard() == ["STOPPING=1"]
    again(*words)
    assert ear.heard() == ["WATCHDOG=1", "STATUS=ready"]
    made.close()
    again(*words)
    ear.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        ear.heard()


@pytest.mark.parametrize(
    "environ",
    [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "9", "WATCHDOG_PID": "1"}],
)
def test_feed_when_nobody_watches_this_process_then_nothing_is_armed(
    ear: Ear, environ: dict[str, str]
) -> None:
    """The variables are inherited: a child of ours is not who is watched."""
    manager(ear, **environ).feed(lambda *_: pytest.fail("armed"), lambda: "")


def test_manager_when_there_is_none_or_it_is_gone_then_nothing_happens(tmp_path: Path) -> None:
    """A daemon in a terminal, or one whose manager has ended."""
    ServiceManager({}).tell(READY=1)
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone")}).tell(READY=1)
