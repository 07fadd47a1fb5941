"""What users stored: bars and indicators in a file of their own, written from any process, one at a time.

`store.db` is a projection that may be deleted; nobody else has a copy of this one. A row that comes twice
is one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import apsw
import numpy as np

from tradefan.errors import Refused
from tradefan.stores.disk import BUSY_MS, Trouble
from tradefan.units import MS, US, parse_duration, parse_iso

_SCHEMA = """
CREATE TABLE IF NOT EXISTS bars (
    instrument TEXT NOT NULL, timeframe TEXT NOT NULL, open_ns INTEGER NOT NULL,
    open REAL NOT NULL, high REAL NOT NULL, low REAL NOT NULL, close REAL NOT NULL, volume REAL NOT NULL,
    PRIMARY KEY (instrument, timeframe, open_ns)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS indicators (
    owner TEXT NOT NULL, instrument TEXT NOT NULL, name TEXT NOT NULL, at_ns INTEGER NOT NULL,
    value REAL NOT NULL,
    PRIMARY KEY (owner, name, instrument, at_ns)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS indicators_at ON indicators (at_ns, name, instrument, owner);
CREATE INDEX IF NOT EXISTS indicators_of ON indicators (instrument, name, at_ns, owner);
"""
_BARE = "instr(instrument, ':') = 0 OR substr(instrument, 1, instr(instrument, ':')) LIKE '%/%'"
"""An id without a venue, which has no slash: SOL/USDT:USDT is a symbol, binance:SOL/USDT an id."""
_MIGRATIONS = (
    # Once a symbol that no feed carries was an id itself, and hid what stands under `user:SYMBOL` since.
    # What was stored later stays.
    "".join(
        f"UPDATE OR IGNORE {table} SET instrument = 'user:' || instrument WHERE {_BARE};"  # noqa: S608 our own
        f"DELETE FROM {table} WHERE {_BARE};"
        for table in ("bars", "indicators")
    ),
)
"""One script per version of the file, `user_version` counts them."""
PRICES = ("open", "high", "low", "close")
TIMES = ("open_ns", "at_ns", "timestamp", "time", "date", "open_time")
"""What a column of instants may be called."""
_UNITS = ((1_000_000_000, 10**8, 10**11), (MS, 10**11, 10**14), (US, 10**14, 10**17), (1, 10**17, 2**63))
"""What a whole number counts, by its size: s, ms, us or ns since 1970."""


class UserStore:
    """Writes `user.db`."""

    def __init__(self, path: Path) -> None:
        """Name the file; it is made with the first row."""
        self._path = path

    def put_bars(self, instrument: str, timeframe: str, data: Any) -> int:  # noqa: ANN401 see `rows_of`
        """Store bars, all or none; return how many came.

        Raises:
            Refused: BAD_DATA, with row, column, value and what was expected. Outage: the disk.
        """
        step_ns, found = parse_duration(timeframe), []
        for number, row in enumerate(rows_of(data)):
            at_ns = _instant(row, number)
            if at_ns % step_ns:
                raise _bad(number, "time", at_ns, f"the begin of a {timeframe} bar")
            prices = [_number(row, name, number) for name in PRICES]
            if not max(prices) == prices[1] or not min(prices) == prices[2] or prices[2] <= 0:
                raise _bad(number, "high", prices, "0 < low <= open, close <= high")
            volume = _number(row, "volume", number)
            if volume < 0:
                raise _bad(number, "volume", volume, "0 or more")
            found.append((instrument, timeframe, at_ns, *prices, volume))
        return self._put("INSERT OR REPLACE INTO bars VALUES (?, ?, ?, ?, ?, ?, ?, ?)", found)

    def put_indicators(self, instrument: str, owner: str, data: Any) -> int:  # noqa: ANN401
        """Store every column of numbers but the instants under its name; return how many numbers came.

        Raises:
            Refused, Outage: as `put_bars`.
        """
        found = []
        for number, row in enumerate(rows_of(data)):
            at_ns = _instant(row, number)
            for name in row:
                value = row[name]
                # Before an indicator is warm its column is NaN: nothing to keep.
                if name in TIMES or value is None or (isinstance(value, float) and math.isnan(value)):
                    continue
                found.append((owner, instrument, str(name), at_ns, _number(row, name, number)))
        return self._put("INSERT OR REPLACE INTO indicators VALUES (?, ?, ?, ?, ?)", found)

    def _put(self, sql: str, rows: Sequence[tuple[Any, ...]]) -> int:
        with Trouble(str(self._path)):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            db = apsw.Connection(str(self._path))
            try:
                db.set_busy_timeout(BUSY_MS)
                db.execute("PRAGMA journal_mode=WAL")
                db.execute(_SCHEMA)
                _migrate(db)
                with db:
                    db.executemany(sql, rows)
            finally:
                db.close()
        return len(rows)


def _migrate(db: apsw.Connection) -> None:
    """Bring a file up to date; two that begin at once may both do so."""
    for number, script in enumerate(_MIGRATIONS[db.pragma("user_version") :], db.pragma("user_version") + 1):
        with db:
            db.execute(script)
            db.pragma("user_version", number)


def rows_of(data: Any) -> list[Mapping[str, Any]]:  # noqa: ANN401 of several libraries
    """Return rows of a DataFrame (pandas, polars), of columns by name, or of a list of mappings.

    Raises:
        Refused: BAD_DATA for anything else.
    """
    if hasattr(data, "reset_index") and hasattr(data, "columns"):
        frame = (
            data if any(name in TIMES for name in data.columns) else data.rename_axis("time").reset_index()
        )
        return list(frame.to_dict("records"))
    if hasattr(data, "to_dicts"):
        return list(data.to_dicts())
    if isinstance(data, Mapping):
        if not all(isinstance(values, Iterable) for values in data.values()):
            raise Refused("BAD_DATA", "expected columns of values by name, got a value alone")
        columns = {name: list(values) for name, values in data.items()}
        if len({len(values) for values in columns.values()}) > 1:
            raise Refused("BAD_DATA", "expected columns of one length")
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    if isinstance(data, list | tuple) and all(isinstance(row, Mapping) for row in data):
        return list(data)
    raise Refused(
        "BAD_DATA", f"expected a DataFrame, columns by name, or a list of rows, got {type(data).__name__}"
    )


def ns_of(value: np.datetime64) -> int:
    """Return nanoseconds since 1970; ValueError for NaT and for what they cannot tell."""
    at = value.astype("datetime64[ns]")
    # Neither comes back as itself.
    if at.astype(value.dtype) != value:
        raise ValueError(value)
    return int(at.astype(np.int64))


def _instant(row: Mapping[str, Any], number: int) -> int:
    name = next((name for name in TIMES if name in row), None)
    if name is None:
        raise _bad(number, "time", None, f"a column {', '.join(TIMES)}")
    with suppress(Refused, TypeError, ValueError, OverflowError):
        return _ns(row[name])
    raise _bad(number, name, row[name], "an instant: ISO 8601, a datetime, or s, ms, us, ns since 1970")


def _ns(value: Any) -> int:  # noqa: ANN401 whatever stands in a column
    """Return nanoseconds since 1970; what is no instant raises."""
    if isinstance(value, np.datetime64):
        return ns_of(value)
    if isinstance(value, date):
        # pandas' instants are datetimes with nanoseconds behind.
        return parse_iso(value.isoformat()) + int(getattr(value, "nanosecond", 0))
    if isinstance(value, str):
        return parse_iso(value)
    whole = int(value) if not isinstance(value, bool) and float(value).is_integer() else -1
    for unit, least, most in _UNITS:
        if least <= whole < most:
            return whole * unit
    raise ValueError(value)


def _number(row: Mapping[str, Any], name: str, number: int) -> float:
    try:
        value = float(row[name])
    except KeyError:
        raise _bad(number, name, None, "a column of that name") from None
    except (TypeError, ValueError):
        raise _bad(number, name, row[name], "a number") from None
    if not math.isfinite(value):
        raise _bad(number, name, value, "a finite number")
    return value


def _bad(number: int, name: str, value: object, expected: str) -> Refused:
    return Refused("BAD_DATA", f"row {number}, {name}: expected {expected}, got {value!r:.80}")
