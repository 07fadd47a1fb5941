"""The volume of a day: levels of each bucket on weekdays and at weekends, from the days that are known.

A level is the median of what traded in its bucket of the UTC day, smoothed over three buckets, never below
a fifth of the mean: a bucket without trades in a few quiet nights is none in which nothing may be done.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from msgspec import Struct

from tradefan.core.packaged_curve import BUCKET_NS, CURVES, DAYS
from tradefan.messages.market import VolumeDays
from tradefan.units import DAY

FLOOR = 0.2
"""Of the mean of the levels."""
HISTORY_DAYS = 28
"""Most days that anybody looks back."""
HISTORY_BUCKET_NS = BUCKET_NS
"""The parts of a day in which volumes are kept; a curve's buckets are made of whole ones."""
WEEKEND = (2, 3)
"""Saturday and Sunday, in days since the Thursday that was 1970-01-01."""


class Levels(Struct, frozen=True, array_like=True):
    """Volume in base of each bucket of a day; None where too few days have it.

    Without `absolute` they say how volume is spread over a day, not how much it is.
    """

    bucket_ns: int
    weekday: tuple[float | None, ...]
    weekend: tuple[float | None, ...]
    days: int
    source: str = ""
    absolute: bool = True


class Expected(Struct, frozen=True):
    """Volume of each bucket from `first_ns` on, and the share of them that is known by itself."""

    volumes: tuple[float, ...]
    bucket_ns: int
    first_ns: int
    coverage: float


def levels(
    bars: Iterable[tuple[int, float]],
    bucket_ns: int,
    *,
    days_min: int,
    bucket_days_min: int,
    source: str = "",
) -> Levels | None:
    """Return the levels of bars (open_ns, volume), None where there are too few days.

    Bars are no longer than a bucket; a day counts where it has any.
    """
    assert DAY % bucket_ns == 0, f"expected a part of a day, got {bucket_ns} ns"
    days: dict[int, list[float | None]] = {}
    for open_ns, volume in bars:
        traded = days.setdefault(open_ns // DAY, [None] * (DAY // bucket_ns))
        place = open_ns % DAY // bucket_ns
        traded[place] = volume + (traded[place] or 0.0)
    return _made(days, bucket_ns, days_min, bucket_days_min, source)


def levels_of(
    history: VolumeDays, bucket_ns: int, from_day: int, until_day: int, *, days_min: int, bucket_days_min: int
) -> Levels | None:
    """Return the levels of days from <= day < until, None where there are too few; a bucket counts whole."""
    days = {
        day: coarsened(volumes, _whole(bucket_ns, history.bucket_ns))
        for day, volumes in history.days
        if from_day <= day < until_day
    }
    return _made(days, bucket_ns, days_min, bucket_days_min, history.source)


def coarse(found: Levels, bucket_ns: int) -> Levels:
    """Return levels in longer buckets; one of which a part is not known is not known."""
    each = _whole(bucket_ns, found.bucket_ns)
    weekday, weekend = (tuple(coarsened(kind, each)) for kind in (found.weekday, found.weekend))
    return Levels(bucket_ns, weekday, weekend, found.days, found.source, found.absolute)


def coarsened(volumes: Sequence[float | None], each: int) -> Sequence[float | None]:
    """Return sums of so many parts; one of which a part is not known is not known."""
    if each == 1:
        return volumes
    return [_sum(volumes[place : place + each]) for place in range(0, len(volumes), each)]


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _whole(bucket_ns: int, part_ns: int) -> int:
    each, rest = divmod(bucket_ns, part_ns)
    assert each > 0, f"expected a bucket of at least {part_ns} ns, got {bucket_ns}"
    assert rest == 0, f"expected whole parts of {part_ns} ns in a bucket, got {bucket_ns}"
    return each


def packaged(base: str) -> Levels:
    """Return the curve that comes with TradeFan: of the base, or of the market that leads all others."""
    weekday, weekend = CURVES.get(base, CURVES["BTC"])
    levels_of = [tuple(float(word) for word in text.split()) for text in (weekday, weekend)]
    return Levels(BUCKET_NS, levels_of[0], levels_of[1], DAYS, "packaged", absolute=False)


def is_weekend(day: int) -> bool:
    """Say whether a day, counted from 1970-01-01, is a Saturday or a Sunday."""
    return day % 7 in WEEKEND


def _made(
    days: Mapping[int, Sequence[float | None]],
    bucket_ns: int,
    days_min: int,
    bucket_days_min: int,
    source: str,
) -> Levels | None:
    known = {day: volumes for day, volumes in days.items() if any(one is not None for one in volumes)}
    if len(known) < days_min:
        return None
    kinds = [
        _levels([volumes for day, volumes in known.items() if is_weekend(day) == weekend], bucket_days_min)
        for weekend in (False, True)
    ]
    buckets = DAY // bucket_ns
    weekday, weekend_ = (kind or (None,) * buckets for kind in kinds)
    return Levels(bucket_ns, weekday, weekend_, len(known), source)


def _levels(days: list[Sequence[float | None]], bucket_days_min: int) -> tuple[float | None, ...]:
    plain: list[float | None] = []
    for column in zip(*days, strict=True):
        values = [volume for volume in column if volume is not None]
        plain.append(median(values) if len(values) >= bucket_days_min else None)
    smooth = [_mean(plain[i - 1], plain[i], plain[(i + 1) % len(plain)]) for i in range(len(plain))]
    known = [value for value in smooth if value is not None]
    least = FLOOR * sum(known) / len(known) if known else 0.0
    return tuple(None if value is None else max(value, least) for value in smooth)


def _mean(before: float | None, here: float | None, behind: float | None) -> float | None:
    if here is None:
        return None
    known = [value for value in (before, here, behind) if value is not None]
    return sum(known) / len(known)


def expected(found: Levels, start_ns: int, end_ns: int) -> Expected | None:
    """Return what is expected to trade in the buckets of a window, over midnight and into a weekend too.

    A bucket that is not known has the mean of those of its window that are; None where none is.
    """
    first, last = start_ns // found.bucket_ns, -(-end_ns // found.bucket_ns)
    values = [_level(found, bucket * found.bucket_ns) for bucket in range(first, last)]
    known = [value for value in values if value is not None]
    if not known or not sum(known):
        return None
    mean = sum(known) / len(known)
    volumes = tuple(mean if value is None else value for value in values)
    return Expected(volumes, found.bucket_ns, first * found.bucket_ns, len(known) / len(values))


def _level(found: Levels, at_ns: int) -> float | None:
    kind = found.weekend if is_weekend(at_ns // DAY) else found.weekday
    return kind[at_ns % DAY // found.bucket_ns]
