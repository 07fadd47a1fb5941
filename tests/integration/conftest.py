"""Copies of the checkout in which scripts/deploy.sh runs, and processes that stand in for daemons."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.deploying import StandIns, call, function, make_checkout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return make_checkout(tmp_path / "checkout")


@pytest.fixture
def small_venv(checkout: Path) -> Path:
    """An environment without packages whose stamps say that it is complete."""
    call(sys.executable, "-m", "venv", "--without-pip", checkout / ".venv")
    stamps = "for kind in runtime dev; do stamp_of $kind >$VENV/.tradefan-$kind; done"
    assert function(checkout, stamps).returncode == 0
    return checkout


@pytest.fixture
def stand_ins(tmp_path: Path) -> Iterator[StandIns]:
    made = StandIns(tmp_path / "stand-in")
    yield made
    for process in made.started:
        process.kill()
        process.wait(10)
