"""How much a mid has moved of late."""

from __future__ import annotations

import math

import pytest

from tradefan.core import volatility as v
from tradefan.core.volatility import STEPS_MAX, Moves
from tradefan.units import SECOND


def walked(*mids: float, every_s: float = 10) -> Moves:
    moves = Moves()
    for i, mid in enumerate(mids):
        now_ns = int(i * every_s * SECOND)
        if v.is_due(moves, now_ns):
            v.see(moves, now_ns, mid)
    return moves


def test_sigma_when_the_steps_are_alike_then_it_grows_with_the_square_root_of_time() -> None:
    """Six steps of 1 % up and down in 10 s: 100 bps over 10 s, 200 bps over 40 s."""
    moves = walked(*(100, 100 * math.exp(0.01)) * 4)
    assert v.sigma_bps(moves, 10 * SECOND) == pytest.approx(100)
    assert v.sigma_bps(moves, 40 * SECOND) == pytest.approx(200)


def test_sigma_when_too_little_was_seen_then_nobody_knows() -> None:
    """Five steps are too few."""
    assert v.sigma_bps(walked(100, 101, 100, 101, 100, 101), SECOND) is None
    assert v.sigma_bps(walked(100, 101, 100, 101, 100, 101, 100), SECOND) is not None


def test_see_when_quotes_come_faster_then_only_one_in_ten_seconds_counts() -> None:
    """What bounces between two ticks in between is no movement."""
    moves = walked(*(100, 105) * 100, every_s=1)
    assert len(moves.steps) == 19
    assert v.sigma_bps(moves, SECOND) == 0


def test_see_when_the_market_was_away_then_what_happened_meanwhile_is_no_step() -> None:
    """Neither a hole of its own nor a break that somebody tells of."""
    moves = walked(100, 101)
    v.see(moves, 60 * SECOND, 200.0)
    assert len(moves.steps) == 1
    v.lose(moves)
    assert v.is_due(moves, 61 * SECOND)
    v.see(moves, 61 * SECOND, 400.0)
    assert len(moves.steps) == 1


def test_see_when_it_goes_on_for_long_then_an_hour_is_remembered() -> None:
    """Old steps fall out, some at a time."""
    moves = walked(*(100, 101) * STEPS_MAX)
    assert STEPS_MAX * 7 // 8 <= len(moves.steps) <= STEPS_MAX
