"""C-15: a second daemon on the same directory, or on the same API key, is refused within a second."""

from __future__ import annotations

import os
import resource
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.history import read_journal, read_venue
from tests.chaos.report import report
from tests.integration.daemon_process import DaemonProcess
from tradefan.daemon import holding
from tradefan.environment import Environment
from tradefan.errors import Refused
from tradefan.links.keys import PLACES, fingerprint

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

WHOLE = os.environ.get("TRADEFAN_CHAOS") == "whole"
BOUND_S = 1.0
SETS = ("strategies=null", "venues.binance.tape.history=2s", "logs.console=false")


@pytest.fixture
def first(tmp_path: Path) -> Iterator[DaemonProcess]:
    made = DaemonProcess(tmp_path, *SETS)
    made.start().until(lambda: made.ask("/health")[0] == 200, 30)
    yield made
    made.close()


@pytest.mark.failure("ST-07")
def test_second_daemon_when_the_directory_is_taken_then_refused_in_a_second_and_sends_nothing(
    first: DaemonProcess,
) -> None:
    """By pid and directory; beside other tests only its own computing counts, alone the clock on the wall."""
    assert first.process is not None
    walls, computed = [], []
    for _ in range(3):
        began_s, before_s = time.monotonic(), computing_s()
        done = first.run("run")
        walls.append(time.monotonic() - began_s)
        computed.append(computing_s() - before_s)
        assert done.returncode == 69
        assert f"{first.data} is used by the daemon with pid {first.process.pid}" in done.stderr
    assert (max(walls) if WHOLE else min(computed)) <= BOUND_S
    assert len([*read_journal(first.data / "journal.db").of("Epoch")]) == 1
    assert read_venue(first.data / "paper.db").orders == {}
    assert first.ask("/health")[0] == 200
    report("C-15", refused_s=round(max(walls), 2), computing_s=round(min(computed), 2))


def computing_s() -> float:
    """Return how long the programs that this one has waited for have computed."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A key that nobody else on this machine uses; its lock files do not stay."""
    made = secrets.token_hex(32)
    monkeypatch.setenv("TEST_KEY", made)
    yield made
    for place in PLACES:
        (place / f"tradefan-key-{fingerprint('binance', made)}.lock").unlink(missing_ok=True)


@pytest.mark.failure("ST-07")
@pytest.mark.usefixtures("key")
def test_second_daemon_when_the_key_is_taken_elsewhere_then_refused_by_pid_and_directory(
    tmp_path: Path,
) -> None:
    """Two data directories, one key: this version connects to no real venue, but holds its locks."""
    first, second = (environment(tmp_path / name) for name in ("one", "two"))
    with holding(first):
        began = time.monotonic()
        with pytest.raises(Refused, match=rf"KEY_IN_USE: .* pid \d+ in {first.places.root};"):
            second.require_free()
        with pytest.raises(Refused, match="KEY_IN_USE"), holding(second):
            pass
        assert time.monotonic() - began <= BOUND_S
        assert second.places.holder() is None
    with holding(second):
        pass


def environment(data: Path) -> Environment:
    account = "accounts.binance:main={venue: binance, api_key: '${TEST_KEY}', api_secret: '${TEST_KEY}'}"
    return Environment.load("development", None, (account, f"data_dir={data}"))
