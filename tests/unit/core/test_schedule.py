"""Targets, clips and their rounding: the vectors of the specification, and what holds for all of them."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradefan.core import schedule
from tradefan.core.schedule import CatchUp, Shares
from tradefan.units import SECOND

D = Decimal
NONE = D(0)
BUCKET = 300 * SECOND
WEIGHTS = (5, 3, 2, 4, 6)


def owed(order_lots: int, taus: tuple[int, ...], k: int, done: int, catch_up: CatchUp, cap: Decimal) -> int:
    """What decision k of a schedule owes."""
    n, before = len(taus), taus[k - 1] if k else 0
    return schedule.due(before, taus[k], n - k, done, schedule.ceil_div(order_lots, n), catch_up, cap)


def clips(taus: tuple[int, ...]) -> list[int]:
    return [after - before for before, after in pairwise((0, *taus))]


def test_draw_when_drawn_for_the_same_parent_then_it_is_the_published_one() -> None:
    """u of "P-1"; no generator, no hash of the interpreter."""
    assert round(schedule.draw("P-1", "size", 0) / 2**53, 6) == 0.389027
    assert round(schedule.draw("P-1", "time", 0) / 2**53, 6) == 0.898800


@pytest.mark.parametrize(
    ("jitter", "expected"),
    [(NONE, [14, 14, 14, 15, 14, 14, 15]), (D("0.2"), [13, 13, 15, 16, 12, 14, 17])],
)
def test_targets_when_even_then_clips_are_the_cumulative_floor(jitter: Decimal, expected: list[int]) -> None:
    """A TWAP of 100 in 7, without and with its jitter of sizes."""
    assert clips(schedule.targets(100, schedule.even(7), jitter, "P-1")) == expected


@pytest.mark.parametrize(
    ("n", "begin", "end", "expected"),
    [
        (5, 0, 2 * 5, [25, 15, 10, 20, 30]),
        (10, 0, 2 * 5, [12, 13, 7, 8, 5, 5, 10, 10, 15, 15]),
        (5, 1, 9, [23, 16, 11, 21, 29]),
    ],
)
def test_targets_when_by_volume_then_clips_follow_the_overlap(
    n: int, begin: int, end: int, expected: list[int]
) -> None:
    """Whole buckets, two decisions in a bucket, and a window that begins and ends inside one."""
    half = BUCKET // 2
    shares = schedule.by_volume(WEIGHTS, BUCKET, 0, begin * half, end * half, n)
    assert clips(schedule.targets(100, shares, NONE, "x")) == expected


def test_targets_when_planned_anew_then_they_begin_at_what_has_traded() -> None:
    """B = C, τ = B + floor(R F)."""
    assert schedule.targets(100, schedule.even(4), NONE, "x", base=40) == (55, 70, 85, 100)


@pytest.mark.parametrize(
    ("catch_up", "expected"), [("spread", [20, 20]), ("immediate", [30, 10]), ("none", [10, 10])]
)
def test_due_when_two_of_four_decisions_were_missed_then_catch_up_says_how(
    catch_up: CatchUp, expected: list[int]
) -> None:
    """X 40, n 4; `immediate` meets the cap, `none` leaves 20."""
    taus, done, placed = schedule.targets(40, schedule.even(4), NONE, "x"), 0, []
    for k in (2, 3):
        placed.append(owed(40, taus, k, done, catch_up, D(3)))
        done += placed[-1]
    assert placed == expected


def test_due_when_ahead_then_only_the_rest_of_the_target_is_placed() -> None:
    """Something was taken before its time."""
    taus = schedule.targets(40, schedule.even(4), NONE, "x")
    assert [owed(40, taus, k, 27, "spread", D(3)) for k in range(4)] == [0, 0, 3, 13]


@pytest.mark.parametrize(
    ("min_clip", "expected"), [(1, [30, 30, 30, 10]), (15, [30, 30, 25, 15]), (60, [30, 30, 30, 10])]
)
def test_clip_when_its_rest_would_be_dust_then_it_merges_or_shrinks_or_leaves_it(
    min_clip: int, expected: list[int]
) -> None:
    """Display 30: a merge would show 40."""
    rest, shown = 100, []
    while rest:
        shown.append(schedule.without_dust(rest, min(30, rest), min_clip, 30))
        rest -= shown[-1]
    assert shown == expected


def test_clip_when_nothing_bounds_it_then_dust_is_merged() -> None:
    """The last two clips become one."""
    assert schedule.without_dust(40, 30, 15, None) == 40


@pytest.mark.parametrize(
    ("duration_s", "order_lots", "min_clip", "expected"),
    [(300, 1000, 1, 10), (95, 1000, 1, 4), (10, 1000, 1, 2), (300, 5, 1, 5), (300, 5, 3, 1)],
)
def test_decisions_when_counted_then_none_is_below_the_smallest_clip(
    duration_s: int, order_lots: int, min_clip: int, expected: int
) -> None:
    """300 s by 30 s is 10, 95 s is 4; five lots are five at most."""
    assert schedule.decisions(duration_s * SECOND, 30 * SECOND, order_lots, min_clip) == expected


def test_decisions_when_too_many_then_they_are_a_thousand() -> None:
    """A bound of every schedule."""
    assert schedule.decisions(10**6 * SECOND, SECOND, 10**9, 1) == 1_000


@pytest.mark.parametrize(
    ("observed", "shares", "expected"),
    [(200, [0.3333, 0.7, 1.0], [33, 37, 30]), (20, [0.3333, 0.5714, 1.0], [33, 24, 43])],
)
def test_live_share_when_more_or_less_trades_than_the_curve_says_then_the_schedule_follows(
    observed: float, shares: list[float], expected: list[int]
) -> None:
    """v 100 100 100, K 100, X 100: m 1.5 and 0.6 at the second decision."""
    volumes, before, found = [100.0] * 3, 0, []
    for k, seen in enumerate((0.0, observed, observed)):
        factor = schedule.live_factor(seen, sum(volumes[:k]), 100)
        before = schedule.live_share(volumes, k, seen, factor, before)
        found.append(before)
    assert [round(num / schedule.SHARE_DEN, 4) for num in found] == shares
    assert clips(schedule.targets(100, Shares(tuple(found), schedule.SHARE_DEN), NONE, "x")) == expected


@pytest.mark.parametrize(
    ("k", "observed", "expected"), [(0, 0, 0.0), (1, 200, 0.4), (2, 200, 0.5714), (2, 0, 0.0)]
)
def test_seen_share_when_decisions_were_missed_then_it_is_what_has_traded_of_all_that_will(
    k: int, observed: float, expected: float
) -> None:
    """v 100 100 100, m 1.5: 200 of 200 and the 300 or 150 that are still to come."""
    share = schedule.seen_share([100.0] * 3, k, observed, 1.5)
    assert round(share / schedule.SHARE_DEN, 4) == expected


def test_rate_when_others_trade_then_targets_follow_and_wakes_are_exact() -> None:
    """POV 10 %, min_clip 5: clips 6, 5, 10 of a volume of 221; first wake at 50, after 6 at 110."""
    volume, done, placed = 0, 0, []
    for printed in (40, 20, 50, 90):
        volume += printed
        room = schedule.by_rate(1_000, D("0.1"), volume) - done
        clip = room if room >= 5 else 0
        done, volume = done + clip, volume + clip
        placed.append(clip)
    assert (placed, done, volume) == ([0, 6, 5, 10], 21, 221)
    assert [schedule.volume_for(done + 5, D("0.1")) for done in (0, 6)] == [50, 110]


def test_peak_when_it_varies_then_it_is_never_above_what_may_show() -> None:
    """Variance 0 shows all of `display`."""
    assert [schedule.peak(30, NONE, "P-1", i) for i in range(3)] == [30, 30, 30]
    shown = [schedule.peak(1000, D("0.2"), "P-1", i) for i in range(200)]
    assert 800 <= min(shown) < max(shown) <= 1000


@pytest.mark.parametrize(("cum", "expected"), [(22, -0.03), (25, 0), (40, 0), (50, 0), (51, 0.01)])
def test_schedule_error_when_outside_the_interval_then_it_is_the_distance(cum: int, expected: float) -> None:
    """Plan 25 50 75 100, in the second interval."""
    assert schedule.schedule_error(100, cum, 25, 50) == expected


@given(
    order_lots=st.integers(1, 10**12),
    nums=st.lists(st.integers(0, 10**6), min_size=1, max_size=50),
    jitter=st.decimals(0, 1, places=3),
    base=st.integers(0, 100),
)
def test_targets_when_jittered_then_they_never_fall_and_end_at_the_whole(
    order_lots: int, nums: list[int], jitter: Decimal, base: int
) -> None:
    """Monotone, and the clips sum to the order exactly."""
    nums = sorted(nums)
    shares, base = Shares((*nums[:-1], max(nums[-1], 1)), max(nums[-1], 1)), min(base, order_lots)
    taus = schedule.targets(order_lots, shares, jitter, "p", base)
    assert list(taus) == sorted(taus)
    assert taus[0] >= base
    assert taus[-1] == order_lots


@given(
    order_lots=st.integers(2, 10**6),
    n=st.integers(1, 40),
    missed=st.integers(0, 39),
    catch_up=st.sampled_from(["spread", "immediate", "none"]),
    cap=st.decimals(1, 10, places=1),
)
def test_due_when_behind_then_it_is_bounded_by_what_is_open_and_by_the_cap(
    order_lots: int, n: int, missed: int, catch_up: CatchUp, cap: Decimal
) -> None:
    """Never more than the order, never a burst; without a cap that bites the end is met."""
    taus, done = schedule.targets(order_lots, schedule.even(n), D("0.2"), "p"), 0
    plain_max = max(schedule.ceil_div(order_lots, n), *clips(taus))
    for k in range(min(missed, n), n):
        clip = owed(order_lots, taus, k, done, catch_up, cap)
        assert 0 <= clip <= cap * plain_max
        done += clip
    assert done <= order_lots
    assert done == order_lots or missed


@given(st.integers(1, 10**5), st.integers(1, 10**5), st.integers(1, 10**4), st.integers(1, 10**5))
def test_clip_when_rid_of_dust_then_it_stays_in_its_bounds(
    rest: int, clip: int, min_clip: int, most: int
) -> None:
    """What it leaves is nothing, or a clip, or dust that nothing could avoid."""
    clip = min(clip, rest, most)
    found = schedule.without_dust(rest, clip, min_clip, most)
    assert 0 < found <= min(rest, most)
    left = rest - found
    assert left == 0 or left >= min_clip or (rest > most and rest - min_clip < min_clip)


@given(st.integers(0, 10**9), st.integers(1, 10**6), st.decimals("0.001", 1, places=3))
def test_volume_when_reached_then_the_rate_allows_the_lots_and_not_before(
    done: int, more: int, rate: Decimal
) -> None:
    """The wake of a volume-driven parent is the first instant at which it can act."""
    lots = done + more
    at = schedule.volume_for(lots, rate)
    assert schedule.by_rate(10**12, rate, at) >= lots
    assert schedule.by_rate(10**12, rate, at - 1) < lots
