"""The venue's bars in the store that end where a feed's own begin: what strategies warm with.

Those of the timeframe itself, or whole ones folded of finer ones. They are read backwards from where they
have to end to the first hole: what lies behind it does not connect.
"""

from __future__ import annotations

from collections.abc import Iterator

import apsw

from tradefan.core.bars import fold
from tradefan.messages.market import AskStored, Bar, StoredBars
from tradefan.units import iso, parse_duration, to_lots

ROWS_MAX = 100_000
"""Most bars that one answer is folded of."""
LOTS_MAX = 1 << 45
"""Most of one bar: a file may hold any number, a message must not, nor a sum of so many bars."""


def joining(db: apsw.Connection, ask: AskStored) -> StoredBars:
    """Return the bars that connect, of the timeframe that has most of them, and of the coarsest of those."""
    size_ns = parse_duration(ask.timeframe)
    there = sorted(_timeframes(db, ask.instrument), key=parse_duration, reverse=True)
    best: StoredBars | None = None
    for name in there:
        if size_ns % parse_duration(name) == 0:
            found = _joining(db, ask, name)
            if best is None or len(found.bars) > len(best.bars):
                best = found
            if len(best.bars) >= ask.count:
                return best
    if best is None:
        lasts = (
            f"no {ask.timeframe} bar can be made of {name} ones, the last of which opened at "
            f"{iso(_edge(db, 'max', ask.instrument, name))}"
            for name in there
        )
        best = StoredBars(ask, (), "; ".join(lasts))
    return best


def _joining(db: apsw.Connection, ask: AskStored, name: str) -> StoredBars:
    step_ns = parse_duration(name)
    most = min(ask.count * (parse_duration(ask.timeframe) // step_ns), ROWS_MAX)
    sql = (
        "SELECT open_ns, open, high, low, close, volume FROM klines "
        "WHERE instrument = ? AND timeframe = ? AND open_ns < ? ORDER BY open_ns DESC LIMIT ?"
    )
    bars: list[Bar] = []
    next_ns, why = ask.until_ns, ""
    values = (ask.instrument, name, ask.until_ns, most)
    for open_ns, opened, high, low, close, volume in db.execute(sql, values):
        end_ns = open_ns + step_ns
        if end_ns != next_ns:
            why = f"{name} bars end at {iso(end_ns)}" if not bars else _hole(name, end_ns, next_ns)
            break
        lots = min(to_lots(volume, ask.lot), LOTS_MAX)
        # How many trades there were is not stored; a fold asks only whether there were any.
        prices = (opened, high, low, close, volume)
        bars.append(Bar(ask.instrument, name, open_ns, end_ns, *prices, lots, int(volume > 0)))
        next_ns = open_ns
    if not why and len(bars) < most:
        why = f"{name} bars begin at {iso(_edge(db, 'min', ask.instrument, name))}"
    bars.reverse()
    folded = tuple(bars) if name == ask.timeframe else fold(bars, ask.timeframe)
    return StoredBars(ask, folded, why)


def _hole(name: str, from_ns: int, to_ns: int) -> str:
    return f"{name} bars are missing from {iso(from_ns)} to {iso(to_ns)}"


def _timeframes(db: apsw.Connection, instrument: str) -> Iterator[str]:
    """Give each timeframe that is there, by steps through the index: a count would read every bar."""
    name = ""
    sql = "SELECT min(timeframe) FROM klines WHERE instrument = ? AND timeframe > ?"
    while (name := db.execute(sql, (instrument, name)).get) is not None:
        yield name


def _edge(db: apsw.Connection, which: str, instrument: str, name: str) -> int:
    sql = f"SELECT {which}(open_ns) FROM klines WHERE instrument = ? AND timeframe = ?"  # noqa: S608 min or max
    return int(db.execute(sql, (instrument, name)).get)
