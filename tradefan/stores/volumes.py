"""What traded on earlier days, from the bars of the store: own ones, and the venue's klines.

A part of a day counts where all bars of it are there: a half would look like a quiet one.
"""

from __future__ import annotations

import apsw

from tradefan.core.curve import HISTORY_BUCKET_NS
from tradefan.messages.control import VolumesAsked
from tradefan.messages.market import VolumeDays
from tradefan.units import DAY, parse_duration

TIMEFRAMES = ("1m", "5m", "1s", "5s", "10s", "15s", "30s")
"""Whose bars are whole parts of it; the first one that has a part tells it."""
_TABLES = (("recorded", "bars"), ("klines", "klines"))
_PARTS = DAY // HISTORY_BUCKET_NS


def volume_days(db: apsw.Connection, asked: VolumesAsked) -> tuple[VolumeDays, ...]:
    """Return what each source knows of the days that are asked for; a source without any is left out."""
    found = []
    for source, table in _TABLES:
        days = _days(db, table, asked)
        if days:
            found.append(VolumeDays(asked.instrument, source, HISTORY_BUCKET_NS, days))
    return tuple(found)


def _days(
    db: apsw.Connection, table: str, asked: VolumesAsked
) -> tuple[tuple[int, tuple[float | None, ...]], ...]:
    days: dict[int, list[float | None]] = {}
    for timeframe in TIMEFRAMES:
        for part, volume, count in _parts(db, table, timeframe, asked):
            if count * parse_duration(timeframe) == HISTORY_BUCKET_NS:
                day, place = divmod(part, _PARTS)
                volumes = days.setdefault(day, [None] * _PARTS)
                volumes[place] = volume if volumes[place] is None else volumes[place]
    return tuple((day, tuple(days[day])) for day in sorted(days))


def _parts(
    db: apsw.Connection, table: str, timeframe: str, asked: VolumesAsked
) -> list[tuple[int, float, int]]:
    """Return (number of the part since 1970-01-01, volume, how many bars it is made of)."""
    sql = (
        f"SELECT open_ns / ?, sum(volume), count(*) FROM {table} "  # noqa: S608 our names
        "WHERE instrument = ? AND timeframe = ? AND open_ns >= ? AND open_ns < ? GROUP BY 1 ORDER BY 1"
    )
    where = (asked.instrument, timeframe, asked.from_day * DAY, asked.until_day * DAY)
    return list(db.execute(sql, (HISTORY_BUCKET_NS, *where)))
