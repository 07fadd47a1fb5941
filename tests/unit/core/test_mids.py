"""The mid of an instrument: its average over a time, how sure that is, and its path."""

from __future__ import annotations

import math

import pytest

from tradefan.core import mids as m
from tradefan.core.mids import Mids
from tradefan.units import SECOND


def seen(mids: Mids, at_s: float, mid: float) -> None:
    m.see(mids, int(at_s * SECOND), mid - 0.5, mid + 0.5)


def test_average_when_mids_change_then_each_counts_for_its_time() -> None:
    """100 for 1 s, 104 for 3 s."""
    mids = Mids(0)
    seen(mids, 0, 100)
    then = m.note(mids, 0)
    seen(mids, 1, 104)
    m.pass_time(mids, 4 * SECOND)
    assert m.average(mids, then) == 103


def test_average_when_no_quote_comes_for_longer_than_five_seconds_then_it_is_unknown() -> None:
    """5 s are still covered by the last mid."""
    mids = Mids(0)
    seen(mids, 0, 100)
    then = m.note(mids, 0)
    seen(mids, 5, 102)
    assert m.average(mids, then) == 100
    seen(mids, 10.5, 104)
    assert (m.average(mids, then), mids.bare_ns) == (None, SECOND // 2)


def test_average_when_the_market_breaks_off_then_it_is_unknown_and_one_from_behind_it_is_not() -> None:
    """A seam, or a feed that went stale."""
    mids = Mids(0)
    seen(mids, 0, 100)
    before = m.note(mids, 0)
    m.lose(mids, SECOND)
    seen(mids, 1, 200)
    behind = m.note(mids, SECOND)
    m.pass_time(mids, 2 * SECOND)
    assert (m.average(mids, before), m.average(mids, behind)) == (None, 200)
    assert (m.sigma_bps(mids, before), m.sigma_bps(mids, behind)) == (None, 0.0)


def test_sigma_when_mids_move_then_it_is_the_root_of_the_squared_returns_of_a_second() -> None:
    """Quotes within a second of a step change nothing."""
    mids = Mids(0)
    seen(mids, 0, 100)
    then = m.note(mids, 0)
    seen(mids, 0.5, 150)
    seen(mids, 1, 101)
    seen(mids, 2, 100)
    assert m.sigma_bps(mids, then) == pytest.approx(math.sqrt(2) * math.log(1.01) * 10_000)


def test_path_when_it_grows_then_it_is_thinned_and_keeps_its_ends() -> None:
    """A point a second, later every second one; never more than there is room for."""
    mids = Mids(0)
    for at in range(5_000):
        seen(mids, at, 100 + at)
        seen(mids, at + 0.5, 1)
    assert (len(mids.path) <= m.POINTS_MAX, mids.path[0][0]) == (True, 0)
    part = m.path_between(mids, 1_000 * SECOND, 2_000 * SECOND, 50)
    assert len(part) <= 50
    assert all(1_000 * SECOND <= at_ns <= 2_000 * SECOND for at_ns, _ in part)
