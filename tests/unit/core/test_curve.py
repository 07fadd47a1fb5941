"""The volume of a day, from the days that are known."""

from __future__ import annotations

from tradefan.core.curve import Levels, coarse, expected, is_weekend, levels, levels_of
from tradefan.messages.market import VolumeDays
from tradefan.units import DAY, HOUR, MINUTE, InstrumentId, parse_iso

MONDAY = parse_iso("2025-06-02T00:00:00Z")


def bars(days: int, hours: dict[int, float], first_ns: int = MONDAY) -> list[tuple[int, float]]:
    """Two bars an hour, each with half of its volume."""
    return [
        (first_ns + day * DAY + hour * HOUR + half * 30 * MINUTE, volume / 2)
        for day in range(days)
        for hour, volume in hours.items()
        for half in (0, 1)
    ]


def test_days_when_counted_from_the_epoch_then_weekends_are_saturday_and_sunday() -> None:
    """1970-01-01 was a Thursday."""
    monday = MONDAY // DAY
    assert [is_weekend(monday + i) for i in range(7)] == [False] * 5 + [True, True]


def test_levels_when_days_are_alike_then_they_are_smoothed_over_three_buckets_with_a_floor() -> None:
    """10, 20, 60 in three hours of 24, no other known; the mean of neighbours, at least a fifth of all."""
    found = levels(bars(5, {8: 10, 9: 20, 10: 60}), HOUR, days_min=5, bucket_days_min=4)
    assert found is not None
    assert found.weekday[7:12] == (None, 15.0, 30.0, 40.0, None)
    assert (found.days, set(found.weekend)) == (5, {None})
    quiet = levels(
        bars(5, {8: 1, 9: 1, 10: 1, 11: 100, 12: 100, 13: 100}), HOUR, days_min=1, bucket_days_min=1
    )
    assert quiet is not None
    assert quiet.weekday[8] == 0.2 * sum(value or 0 for value in (1, 1, 34, 67, 100, 100)) / 6


def test_levels_when_one_day_is_an_outlier_then_the_median_does_not_follow_it() -> None:
    """One wild day of five changes nothing."""
    wild = [
        (open_ns, volume * (1_000 if open_ns < MONDAY + DAY else 1)) for open_ns, volume in bars(5, {8: 10})
    ]
    found = levels(wild, HOUR, days_min=5, bucket_days_min=4)
    assert found is not None
    assert found.weekday[8] == 10.0


def test_levels_when_there_are_too_few_days_then_there_are_none() -> None:
    """Of all days, or of a bucket."""
    assert levels(bars(4, {8: 10}), HOUR, days_min=5, bucket_days_min=1) is None
    found = levels(bars(5, {8: 10}), HOUR, days_min=5, bucket_days_min=6)
    assert found is not None
    assert set(found.weekday) == {None}


def test_expected_when_a_window_goes_into_the_weekend_then_both_kinds_are_joined() -> None:
    """From 22:30 on Friday to 01:30 on Saturday, by the hour; what is not known has the mean of the rest."""
    found = Levels(HOUR, (5.0,) * 24, (1.0, None, *(1.0,) * 22), 14)
    friday = MONDAY + 4 * DAY
    seen = expected(found, friday + 22 * HOUR + 30 * MINUTE, friday + 25 * HOUR + 30 * MINUTE)
    assert seen is not None
    assert (seen.first_ns, seen.volumes[:3], seen.coverage) == (friday + 22 * HOUR, (5.0, 5.0, 1.0), 0.75)
    assert seen.volumes[3] == 11 / 3


def test_expected_when_nothing_of_a_window_is_known_then_there_is_no_curve() -> None:
    """A schedule without one is a TWAP."""
    found = Levels(HOUR, (None,) * 24, (0.0,) * 24, 14)
    assert expected(found, MONDAY, MONDAY + HOUR) is None
    assert expected(found, MONDAY + 5 * DAY, MONDAY + 5 * DAY + HOUR) is None


def test_levels_when_they_are_of_a_history_then_buckets_are_whole_and_days_are_in_bounds() -> None:
    """Twelve-hour buckets of six hours each; half of Friday is not known, Sunday is not asked for."""
    friday = MONDAY // DAY - 3
    days = ((friday, (1.0, 2.0, None, 4.0)), (friday + 1, (3.0,) * 4), (friday + 2, (9.0,) * 4))
    history = VolumeDays(InstrumentId("a:B/C"), "klines", 6 * HOUR, days)
    found = levels_of(history, 12 * HOUR, friday, friday + 2, days_min=2, bucket_days_min=1)
    assert found == Levels(12 * HOUR, (3.0, None), (6.0, 6.0), 2, "klines")
    assert levels_of(history, 6 * HOUR, friday + 1, friday + 2, days_min=2, bucket_days_min=1) is None


def test_levels_when_buckets_are_made_longer_then_their_volumes_are_added() -> None:
    """What is not known stays so."""
    found = coarse(Levels(6 * HOUR, (1.0, 2.0, None, 4.0), (1.0, 1.0, 1.0, 1.0), 14, "x"), 12 * HOUR)
    assert found == Levels(12 * HOUR, (3.0, None), (2.0, 2.0), 14, "x")
