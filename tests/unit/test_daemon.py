"""What the daemon does before its first step."""

from __future__ import annotations

from pathlib import Path

import pytest

from tradefan.daemon import close_if_killed
from tradefan.drivers.latch import Latch
from tradefan.stores.disk import REAL
from tradefan.stores.kill_byte import ALL, KILL_END, OPEN, SOME, KillByteFile


@pytest.mark.parametrize(("value", "closed"), [(OPEN, False), (SOME, False), (ALL, True)])
def test_latch_when_the_kill_byte_says_all_then_closed_before_the_first_step(
    tmp_path: Path, value: int, closed: bool
) -> None:
    """What was killed comes up killed, whatever becomes of the journal (I-10); a part of it is its word."""
    journal, latch = tmp_path / "journal.db", Latch()
    byte = KillByteFile(REAL, f"{journal}{KILL_END}")
    byte.put(value)
    byte.close()
    close_if_killed(latch, journal)
    assert latch.is_closed(("paper:main",)) is closed


def test_latch_when_nothing_was_ever_killed_then_open(tmp_path: Path) -> None:
    """The first start has no byte."""
    latch = Latch()
    close_if_killed(latch, tmp_path / "journal.db")
    assert not latch.is_closed(())


@pytest.mark.parametrize("content", [b"", b"\x01", b"killed"])
def test_latch_when_the_byte_is_damaged_then_closed(tmp_path: Path, content: bytes) -> None:
    """A byte that nobody wrote opens nothing."""
    (tmp_path / f"journal.db{KILL_END}").write_bytes(content)
    latch = Latch()
    close_if_killed(latch, tmp_path / "journal.db")
    assert latch.is_closed(())
