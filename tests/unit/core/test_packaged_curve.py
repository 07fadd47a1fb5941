"""The curve that comes with TradeFan."""

from __future__ import annotations

from pathlib import Path

from tests.packaged_curve import MADE, render
from tradefan.core.curve import packaged
from tradefan.core.packaged_curve import CURVES


def test_curve_when_made_from_the_klines_then_it_is_the_packaged_one(reference_data: Path) -> None:
    """`python -m tests.packaged_curve` has been run since."""
    assert MADE.read_text(encoding="utf-8") == render(reference_data / "klines")


def test_curve_when_read_then_each_day_is_whole_and_its_mean_is_one() -> None:
    """288 buckets of five minutes, in thousandths."""
    for base in CURVES:
        found = packaged(base)
        for values in (found.weekday, found.weekend):
            known = [value for value in values if value is not None]
            assert len(known) == 288
            assert abs(sum(known) / 288 - 1_000) < 1
    assert packaged("SOL").weekday == packaged("BTC").weekday
