"""C-16: the YAML is rewritten again and again in every way while the daemon trades.

A valid rewrite names a number in two keys at once, a limit and another one ten times as large. Whatever is
in force has both of one rewrite, and what is invalid, cut short or needs a restart is never in force.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.daemon_process import DaemonProcess
from tradefan.config_versions import ConfigVersions

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

BURSTS = 1_000 if os.environ.get("TRADEFAN_CHAOS") == "whole" else 60
BURST = 10
"""Rewrites that follow each other at once; only the last of them has to be in force."""
LIVE_S = 2.0 if os.environ.get("TRADEFAN_CHAOS") == "whole" else 4.0
"""Beside other tests the daemon waits for a core, too."""
FIRST = 100_000


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonProcess]:
    made = DaemonProcess(tmp_path)
    made.start()
    made.until_ready()
    yield made
    made.close()


class Editor:
    """Rewrites `local.yaml` in the ways of editors, deployments and accidents."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.folder = folder
        self.path = folder / "local.yaml"
        self.chance = chance
        self.number = FIRST
        self.count = 0

    def valid(self) -> int:
        """Write the next pair, in one of the ways in which files are written; return its number."""
        self.number += 1
        text = f"risk:\n  max_order_notional: {self.number}\n  max_position_notional: {self.number}0\n"
        self.chance.choice((self._in_place, self._rename, self._link))(text)
        return self.number

    def invalid(self) -> None:
        """Write what must never be in force: its pair does not match, so that it would show."""
        self.count += 1
        head = f"# {self.count}\nrisk:\n"
        bad = f"{head}  max_order_notional: 7\n  max_position_notional: {self.number}0\n"
        text = self.chance.choice(
            (
                bad + "  max_drawdown: lots\n",
                bad + "unknown: 1\n",
                bad + "risk: {}\n",
                bad + "store: {path: other.db}\n",
                bad.rstrip("\n"),
                bad + "\tx: 1\n",
                bad + "environment: [",
            )
        )
        self.chance.choice((self._in_place, self._rename, self._link))(text)

    def _in_place(self, text: str) -> None:
        self._own()
        self.path.write_text(text)

    def _rename(self, text: str) -> None:
        self._own()
        new = self.folder / ".local.yaml.swp"
        new.write_text(text)
        new.rename(self.path)

    def _link(self, text: str) -> None:
        """Put a folder in place by one link, as a container's volume does."""
        data = self.folder / f"..{time.monotonic_ns()}"
        data.mkdir()
        (data / "local.yaml").write_text(text)
        (self.folder / "..new").symlink_to(data.name)
        (self.folder / "..new").rename(self.folder / "..data")
        if not self.path.is_symlink():
            self.path.unlink(missing_ok=True)
            self.path.symlink_to("..data/local.yaml")

    def _own(self) -> None:
        if self.path.is_symlink():
            self.path.unlink()


def test_edits_when_of_every_kind_then_no_mixture_is_in_force_and_no_valid_one_is_missed(
    daemon: DaemonProcess,
) -> None:
    """Within two seconds behind the last of each burst, where the machine is its own."""
    editor = Editor(daemon.config, random.Random(16))
    slowest = 0.0
    for burst in range(BURSTS):
        for _ in range(BURST - 1):
            editor.chance.choice((editor.valid, editor.invalid))()
        if burst % 10 == 9:
            _refused(daemon, editor)
        slowest = max(slowest, _in_force(daemon, editor.valid()))
    assert slowest < LIVE_S
    _look_at_versions(daemon)
    assert daemon.status()["fills"]["total"] > 0
    assert not [line for line in daemon.log() if line["event"] in ("actor_crashed", "link_down")]
    assert daemon.end()[0] == 0


def _in_force(daemon: DaemonProcess, number: int) -> float:
    """Wait until a pair is in force, and return how long that took."""
    versions = ConfigVersions(daemon.data / "config")

    def newest() -> str:
        return versions.read(versions.numbers()[-1]).files.get("local.yaml", "")

    return daemon.until(lambda: f"max_order_notional: {number}\n" in newest(), 10)


def _refused(daemon: DaemonProcess, editor: Editor) -> None:
    """Write what is invalid, and wait until it was judged."""
    before = daemon.status()["config"]["refused"]
    editor.invalid()
    daemon.until(lambda: daemon.status()["config"]["refused"] > before, 10)


def _look_at_versions(daemon: DaemonProcess) -> None:
    """Every configuration that was in force is one that was valid, whole."""
    versions = ConfigVersions(daemon.data / "config")
    for number in versions.numbers():
        text = versions.read(number).files.get("local.yaml", "")
        lines = dict(line.split(": ") for line in text.splitlines()[1:])
        if lines:
            one, other = (int(lines[f"  max_{what}_notional"]) for what in ("order", "position"))
            assert (other, one > FIRST) == (10 * one, True), text
