"""Honest benchmarks of execution, paired with the naive equal-slice market TWAP of the same window and side.

(i) schedules on klines, (ii) tactics on recorded frames. Nothing is called cheaper whose interval includes 0.
Run: .venv/bin/python benchmarks/execution.py [--part schedules|tactics] [--windows N] [--jobs N] [--quick]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import _schedules, _tactics
from tradefan.units import use_decimal_context

WINDOWS = 200
SEED = 7


def schedules(windows: int, jobs: int, *, quick: bool) -> None:
    """Print table (i)."""
    lengths = _schedules.LENGTHS[:1] if quick else _schedules.LENGTHS
    windows = 2 if quick else windows
    folder = _schedules.folder_of_klines()
    if folder is None:
        print("(i) schedules: skipped, TRADEFAN_REFERENCE_DATA names no folder with klines")
        return
    print(f"(i) Schedules on klines: {windows} windows each, seed {SEED}, {_schedules.SHARE} of the volume.")
    print(
        "No queue and no impact here, so no maker share, spread capture or markouts; what rests trades only"
    )
    print("where the price comes to it, and waiting is never paid for: that says little of a real market.")
    for line in _schedules.lines(_schedules.table(folder, windows, SEED, jobs, lengths)):
        print(line)
    print("goal: within (largest error at most discretion + min_clip/X) in at least 0.99 of the windows")


def tactics(*, quick: bool) -> None:
    """Print table (ii)."""
    print(f"(ii) Tactics on recorded frames, seed {SEED}: 11 minutes of one night, 2024-08-08, spot.")
    found = _tactics.table(SEED, 1, 2, ("passive_then_cross",)) if quick else _tactics.table(SEED)
    for line in _tactics.lines(found):
        print(line)
    print("goal: passive_then_cross is cheaper than the naive TWAP, by an interval that excludes 0")


def main() -> None:
    """Print the tables."""
    use_decimal_context()
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--part", choices=("schedules", "tactics", "all"), default="all")
    words.add_argument("--windows", type=int, default=WINDOWS, help="of each symbol and length, at most 200")
    words.add_argument("--jobs", type=int, default=2, help="processes for the schedules")
    words.add_argument("--quick", action="store_true", help="a small form that shows that it runs")
    given = words.parse_args()
    if given.part in ("schedules", "all"):
        schedules(given.windows, given.jobs, quick=given.quick)
    if given.part in ("tactics", "all"):
        tactics(quick=given.quick)


if __name__ == "__main__":
    main()
