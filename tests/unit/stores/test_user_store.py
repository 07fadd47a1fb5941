"""What users store: data and instants of every kind come in, or are refused by row and column."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import pytest

from tradefan.errors import Refused
from tradefan.stores.columns import Columns
from tradefan.stores.queries import Cache, Queries, Question
from tradefan.stores.sqlite_rows import SqliteRows
from tradefan.stores.user_store import UserStore
from tradefan.units import DAY, SECOND

BTC = "binance:BTC/USDT"
AT = 19_723 * DAY
"""2024-01-01."""
BAR = {"time": AT, "open": 2, "high": 3, "low": 1, "close": 2.5, "volume": 0}


class Kept:
    """A store, and what it holds."""

    def __init__(self, folder: Path) -> None:
        self.store = UserStore(folder / "user.db")
        self._queries = Queries(
            SqliteRows(folder / "store.db", folder / "user.db"), Cache(lambda: 0.0, ttl_s=-1)
        )

    def bars(self) -> Columns:
        return asyncio.run(self._queries.ask(Question("bars", BTC, "1d", source="user")))

    def found(self, symbol: str) -> list[tuple[int, float]]:
        found = asyncio.run(self._queries.market_data(symbol, "1d"))
        return [(row["open_ns"], row["close"]) for row in found.rows()]

    def indicators(self) -> list[tuple[int, str, float]]:
        found = asyncio.run(self._queries.ask(Question("indicators", BTC, start_ns=-DAY)))
        return [(row["at_ns"], row["name"], row["value"]) for row in found.rows()]


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


@pytest.mark.parametrize(
    "instant",
    [
        "2024-01-01",
        "2024-01-01T00:00:00Z",
        "2024-01-01T01:00:00+01:00",
        date(2024, 1, 1),
        datetime(2024, 1, 1),  # noqa: DTZ001 without a zone it is UTC
        datetime(2024, 1, 1, tzinfo=UTC),
        datetime(2024, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))),
        np.datetime64("2024-01-01"),
        np.datetime64("2024-01"),
        np.datetime64("2024-01-01T00:00", "ms"),
        np.datetime64("2024-01-01T00:00", "ns"),
        AT,
        AT // SECOND,
        float(AT // SECOND),
        np.int64(AT // 1_000_000),
        Decimal(AT // 1_000),
    ],
    ids=repr,
)
def test_instant_when_of_any_kind_then_it_is_that_bar(kept: Kept, instant: Any) -> None:
    """Texts, dates, datetimes, NumPy's, and numbers by their size."""
    assert kept.store.put_bars(BTC, "1d", [BAR | {"time": instant}]) == 1
    assert kept.bars()["open_ns"].tolist() == [AT]


@pytest.mark.parametrize(
    "instant",
    [
        None,
        True,
        1.5,
        -AT,
        2**63,
        10**400,
        float("nan"),
        "yesterday",
        "",
        {},
        [],
        np.datetime64("NaT"),
        np.datetime64("3000-01-01"),
        date(9999, 1, 1),
        datetime(1, 1, 1, tzinfo=UTC),
    ],
    ids=lambda one: f"{one!r:.30}",
)
def test_instant_when_it_is_none_then_row_and_column_are_named(kept: Kept, instant: Any) -> None:
    """And nothing of what came with it is stored."""
    rows = [BAR, BAR | {"time": instant}]
    with pytest.raises(Refused, match="BAD_DATA: row 1, time: expected an instant"):
        kept.store.put_bars(BTC, "1d", rows)
    with pytest.raises(Refused, match="BAD_DATA: row 1, time: expected an instant"):
        kept.store.put_indicators(BTC, "me", [{"time": AT, "a": 1}, {"time": instant, "a": 1}])


def test_instants_when_nanoseconds_count_then_none_is_lost(kept: Kept) -> None:
    """Before 1970 and within a second, too."""
    times = np.array(["1969-12-31T23:59:59.999999999", "2024-01-01T00:00:00.123456789"], "datetime64[ns]")
    kept.store.put_indicators(BTC, "me", {"time": times, "a": [1, 2]})
    kept.store.put_indicators(BTC, "me", [{"time": datetime(1969, 12, 31, 23, 59, 59, 500_000), "a": 3}])  # noqa: DTZ001
    assert [at for at, _, _ in kept.indicators()] == [-500_000_000, -1, AT + 123_456_789]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"high": 1.9}, "row 0, high: expected 0 < low <= open, close <= high"),
        ({"low": 0}, "row 0, high: expected 0 < low <= open, close <= high"),
        ({"volume": -1}, "row 0, volume: expected 0 or more, got -1.0"),
        ({"close": None}, "row 0, close: expected a number, got None"),
        ({"close": "x"}, "row 0, close: expected a number, got 'x'"),
        ({"close": float("nan")}, "row 0, close: expected a finite number, got nan"),
        ({"time": AT + 1}, "row 0, time: expected the begin of a 1d bar"),
    ],
)
def test_bar_when_it_is_none_then_refused_by_row_and_column(
    kept: Kept, change: dict[str, Any], words: str
) -> None:
    """With what was expected and what came."""
    with pytest.raises(Refused) as no:
        kept.store.put_bars(BTC, "1d", [BAR | change])
    assert (no.value.code, str(no.value).startswith(f"BAD_DATA: {words}")) == ("BAD_DATA", True)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([{key: value for key, value in BAR.items() if key != "low"}], "row 0, low: expected a column"),
        ([{"open": 1}], "row 0, time: expected a column open_ns, at_ns"),
        ({"time": 5}, "expected columns of values"),
        ({"time": [AT, AT], "open": [1]}, "expected columns of one length"),
        ("text", "expected a DataFrame, columns by name, or a list of rows, got str"),
        ([1, 2], "expected a DataFrame, columns by name, or a list of rows, got list"),
        (None, "expected a DataFrame, columns by name, or a list of rows, got NoneType"),
    ],
)
def test_data_when_of_another_shape_then_says_which_it_takes(kept: Kept, data: Any, words: str) -> None:
    """No stack of calls."""
    with pytest.raises(Refused, match=f"BAD_DATA: {words}"):
        kept.store.put_bars(BTC, "1d", data)


def test_bars_when_one_comes_twice_then_it_is_the_newer(kept: Kept) -> None:
    """Columns of lists or arrays, or rows."""
    kept.store.put_bars(BTC, "1d", {name: [value] for name, value in BAR.items()})
    kept.store.put_bars(BTC, "1d", {name: np.array([value]) for name, value in (BAR | {"close": 2}).items()})
    assert kept.bars()["close"].tolist() == [2]


def test_indicators_when_not_warm_then_nothing_is_kept_of_them(kept: Kept) -> None:
    """NaN and None say that there is no number yet; infinity says that something is wrong."""
    data = {"time": [AT, AT + 1], "slow": [float("nan"), 2.5], "fast": [None, np.float32(0.5)]}
    assert kept.store.put_indicators(BTC, "me", data) == 2
    assert kept.indicators() == [(AT + 1, "fast", 0.5), (AT + 1, "slow", 2.5)]
    with pytest.raises(Refused, match="row 0, slow: expected a finite number, got inf"):
        kept.store.put_indicators(BTC, "me", [{"time": AT, "slow": float("inf")}])


# --- files of before ------------------------------------------------------------------------------------


def of_before(path: Path, *instruments: str) -> None:
    """Make a file of a TradeFan that kept what no feed carries under the symbol alone."""
    UserStore(path).put_bars("made:ONCE", "1d", [BAR])
    db = apsw.Connection(str(path))
    db.pragma("user_version", 0)
    bars = [(name, "1d", AT, 2.0, 3.0, 1.0, 2.5, 0.0) for name in instruments]
    db.executemany("INSERT INTO bars VALUES (?, ?, ?, ?, ?, ?, ?, ?)", bars)
    db.executemany("INSERT INTO indicators VALUES ('me', ?, 'a', 1, 2.0)", [(name,) for name in instruments])
    db.close()


def test_file_of_before_when_bars_are_stored_then_old_and_new_ones_are_found(
    kept: Kept, tmp_path: Path
) -> None:
    """Under one id: the old one had hidden all that was stored later."""
    of_before(tmp_path / "user.db", "SOL/USDT")
    assert kept.found("SOL/USDT") == [(AT, 2.5)]
    kept.store.put_bars("user:SOL/USDT", "1d", [BAR | {"time": AT + DAY, "close": 2}])
    assert kept.found("SOL/USDT") == kept.found("user:SOL/USDT") == [(AT, 2.5), (AT + DAY, 2.0)]


def test_file_of_before_when_opened_then_ids_without_a_venue_get_one_once(kept: Kept, tmp_path: Path) -> None:
    """Those with a venue stay, and what was stored later does, too."""
    path = tmp_path / "user.db"
    of_before(path, "AAPL", "SOL/USDT", "SOL/USDT:USDT", "okx:SOL/USDT:USDT", "user:SOL/USDT", BTC)
    db = apsw.Connection(str(path))
    db.execute("UPDATE bars SET close = 1.5 WHERE instrument = 'user:SOL/USDT'")
    kept.store.put_indicators("user:AAPL", "me", [{"time": AT, "b": 1}])
    now = [BTC, "okx:SOL/USDT:USDT", "user:AAPL", "user:SOL/USDT", "user:SOL/USDT:USDT"]
    for sql in ("SELECT instrument FROM bars WHERE timeframe = '1d'", "SELECT instrument FROM indicators"):
        assert sorted({name for (name,) in db.execute(sql)} - {"made:ONCE"}) == now
    assert kept.found("user:SOL/USDT") == [(AT, 1.5)]
    assert db.pragma("user_version") == 1
    db.close()


# --- frames of the libraries ----------------------------------------------------------------------------


def pandas_frames() -> list[Any]:
    pandas = pytest.importorskip("pandas")
    columns = {name: [value, value] for name, value in BAR.items() if name != "time"}
    days = pandas.date_range("2024-01-01", periods=2, freq="D")
    return [
        pandas.DataFrame(columns, index=days),
        pandas.DataFrame(columns, index=days.tz_localize("UTC")),
        pandas.DataFrame(columns, index=days.rename("when")),
        pandas.DataFrame({"date": days, **columns}),
        pandas.DataFrame({"timestamp": days.strftime("%Y-%m-%d"), **columns}),
        pandas.DataFrame({"open_time": days.astype("datetime64[ms]").astype("int64"), **columns}),
    ]


def polars_frames() -> list[Any]:
    polars = pytest.importorskip("polars")
    columns = {name: [value, value] for name, value in BAR.items() if name != "time"}
    days = [date(2024, 1, 1), date(2024, 1, 2)]
    dates = polars.DataFrame({"date": days, **columns})
    return [
        dates,
        dates.with_columns(polars.col("date").cast(polars.Datetime("ms"))),
        dates.with_columns(polars.col("date").cast(polars.Datetime("us")).dt.replace_time_zone("UTC")),
        polars.DataFrame({"time": ["2024-01-01", "2024-01-02"], **columns}),
    ]


@pytest.mark.parametrize("frames", [pandas_frames, polars_frames])
def test_frame_when_stored_then_its_bars_are_those_of_its_days(
    kept: Kept, frames: Callable[[], list[Any]]
) -> None:
    """Instants in the index or in a column, with a zone or without."""
    for number, frame in enumerate(frames()):
        assert kept.store.put_bars(f"user:{number}", "1d", frame) == 2
    found = asyncio.run(kept._queries.ask(Question("bars", f"user:{len(frames()) - 1}", "1d", source="user")))
    assert found["open_ns"].tolist() == [AT, AT + DAY]
    for number in range(len(frames())):
        one = asyncio.run(kept._queries.ask(Question("bars", f"user:{number}", "1d", source="user")))
        assert one == found, number


def test_frame_of_pandas_when_it_has_holes_then_they_are_absent_or_named(kept: Kept) -> None:
    """NaN of an indicator is not warm; NaT is no instant."""
    pandas = pytest.importorskip("pandas")
    days = pandas.to_datetime(["2024-01-01", None])
    holes = pandas.DataFrame({"a": [float("nan"), 2.0]}, index=pandas.date_range("2024-01-01", periods=2))
    assert kept.store.put_indicators(BTC, "me", holes) == 1
    assert kept.indicators() == [(AT + DAY, "a", 2.0)]
    with pytest.raises(Refused, match="BAD_DATA: row 1, time: expected an instant"):
        kept.store.put_indicators(BTC, "me", pandas.DataFrame({"a": [1, 2]}, index=days))
    with pytest.raises(Refused, match="BAD_DATA: row 0, time: expected an instant"):
        kept.store.put_indicators(BTC, "me", pandas.DataFrame({"a": [1, 2]}))
    with pytest.raises(Refused, match="got Series"):
        kept.store.put_indicators(BTC, "me", pandas.Series([1, 2]))


def test_frame_of_pandas_when_it_counts_nanoseconds_then_none_is_lost(kept: Kept) -> None:
    """Its instants are datetimes that have some more."""
    pandas = pytest.importorskip("pandas")
    index = pandas.DatetimeIndex(np.array([AT + 123_456_789], "datetime64[ns]"))
    kept.store.put_indicators(BTC, "me", pandas.DataFrame({"a": [1.0]}, index=index))
    assert kept.indicators() == [(AT + 123_456_789, "a", 1.0)]
