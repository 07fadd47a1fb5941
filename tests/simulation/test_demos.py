"""Every demo runs as it is written, and says what it promises."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.world import ROOT

DEMOS = {"twap.py": ("--quantity", "0.1", "--minutes", "0.5")}


def test_demos_when_one_is_there_then_it_is_run_here() -> None:
    """A new one is not forgotten."""
    assert {path.name for path in (ROOT / "demos").glob("*.py")} == set(DEMOS)


@pytest.mark.slow
def test_demo_of_algorithms_when_run_then_three_orders_are_filled_side_by_side(tmp_path: Path) -> None:
    """TWAP, VWAP and iceberg, each with what it came to and a page of its costs."""
    words = [sys.executable, str(ROOT / "demos" / "twap.py"), *DEMOS["twap.py"], "--pages", str(tmp_path)]
    done = subprocess.run(
        words,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    rows = {line.split()[0]: line.split() for line in done.stdout.splitlines()[-6:-3]}
    assert list(rows) == ["twap", "vwap", "iceberg"]
    for row in rows.values():
        assert row[1:3] == ["FILLED", "0.1000"]
        assert abs(float(row[4])) < 50
        page = (tmp_path / f"demo-{row[0]}.html").read_text()
        assert "Where the shortfall comes from" in page
        assert "maker fill" in page
    assert " 0 s  twap 0 %, on schedule +0.0 %, ends 23:5" in done.stdout
