"""Questions to the stores: what fits, the newest of it, in order; each bar once; answers kept a moment."""

from __future__ import annotations

import asyncio
import math
import re
import weakref
from collections.abc import Sequence
from decimal import Decimal
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from tests.unit.stores.made import ACCOUNT, BTC, OWNER, bar, equity, fill, indicator, trade
from tradefan.errors import Outage, Refused
from tradefan.messages.control import StoreBatch, Stored
from tradefan.stores.columns import Columns, columns_of
from tradefan.stores.klines import Kline
from tradefan.stores.queries import LIMIT_MAX, SHAPES, Cache, Kind, Queries, Question
from tradefan.stores.sqlite import StoreFile
from tradefan.stores.sqlite_rows import SqliteRows
from tradefan.stores.user_store import UserStore
from tradefan.units import MINUTE, OwnerId

BAR_OF_USER = {
    "time": "1970-01-01T00:09:00Z",
    "open": 2.0,
    "high": 2.0,
    "low": 2.0,
    "close": 2.0,
    "volume": 1.0,
}


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    store = StoreFile(str(tmp_path / "store.db"))
    rows: list[Stored] = [
        *(trade(number) for number in range(1, 6)),
        *(
            replace(bar(0), open_ns=at * MINUTE, close_ns=(at + 1) * MINUTE, close=float(at))
            for at in (3, 4, 5)
        ),
        fill(1, 4),
        fill(2, 5),
        equity(5),
        indicator(8),
        indicator(9, 2.5),
        indicator(9, 7.0, "slow"),
    ]
    store.write(StoreBatch(1, tuple(rows), 5))
    klines = [Kline(at * MINUTE, 1.0, 2.0, 0.5, 100.0 + at, 9.0) for at in (1, 2, 3)]
    store.put_klines(BTC, "1m", klines)
    store.close()
    return tmp_path


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queries(folder: Path, clock: Clock) -> Queries:
    return Queries(SqliteRows(folder / "store.db", folder / "user.db"), Cache(clock))


class Watched(SqliteRows):
    """Notes how each of its questions to `store.db` is answered."""

    def __init__(self, store: Path, user: Path) -> None:
        super().__init__(store, user)
        self.plan: list[str] = []

    def _ask(self, file: Path, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        if file == self._store:
            self.plan += [row[3] for row in super()._ask(file, f"EXPLAIN QUERY PLAN {sql}", values)]
        return super()._ask(file, sql, values)


def run(what: Any) -> Any:
    return asyncio.run(what)


def closes(found: Columns) -> list[tuple[int, float, str]]:
    return [(row["open_ns"] // MINUTE, row["close"], row["source"]) for row in found.rows()]


# --- bars ---------------------------------------------------------------------------------------------


def test_market_data_when_several_sources_have_a_bar_then_it_is_there_once(queries: Queries) -> None:
    """The venue's own before ours; in order of time."""
    found = run(queries.market_data("BTC/USDT", "1m"))
    assert closes(found) == [
        (1, 101.0, "venue"),
        (2, 102.0, "venue"),
        (3, 103.0, "venue"),
        (4, 4.0, "feed"),
        (5, 5.0, "feed"),
    ]
    assert found["close"].dtype == np.float64
    assert found["open_ns"].dtype == np.int64


def test_market_data_when_bounded_then_the_newest_that_fit(queries: Queries) -> None:
    """The start belongs to it, the end does not; a limit cuts off the oldest."""
    found = run(queries.market_data(BTC, "1m", 2 * MINUTE, 5 * MINUTE))
    assert [at for at, _, _ in closes(found)] == [2, 3, 4]
    assert [at for at, _, _ in closes(run(queries.market_data(BTC, "1m", limit=2)))] == [4, 5]
    assert closes(run(queries.market_data(BTC, "1m", source="feed")))[0] == (3, 3.0, "feed")
    assert len(run(queries.market_data(BTC, "5m"))) == 0


@pytest.mark.parametrize(
    ("ask", "code"),
    [
        (lambda q: q.market_data("XYZ/USDT", "1m"), "UNKNOWN_INSTRUMENT"),
        (lambda q: q.market_data(BTC, "1m", limit=0), "BAD_LIMIT"),
        (lambda q: q.market_data(BTC, "1m", limit=LIMIT_MAX + 1), "BAD_LIMIT"),
        (lambda q: q.market_data(BTC, "1m", 5, 5), "BAD_RANGE"),
        (lambda q: q.ask(Question("trades")), "BAD_QUESTION"),
        (lambda q: q.ask(Question("trades", BTC, source="user")), "BAD_QUESTION"),
        (lambda q: q.ask(Question("indicators", source="user")), "BAD_QUESTION"),
        (lambda q: q.ask(Question("bars", BTC)), "BAD_QUESTION"),
    ],
)
def test_question_when_it_cannot_be_answered_then_refused(queries: Queries, ask: Any, code: str) -> None:
    """With what was expected."""
    with pytest.raises(Refused) as no:
        run(ask(queries))
    assert no.value.code == code


def test_symbol_when_two_venues_carry_it_then_one_has_to_be_named(folder: Path, queries: Queries) -> None:
    """Nothing is guessed."""
    store = StoreFile(str(folder / "store.db"))
    store.put_klines("okx:BTC/USDT", "1m", [Kline(MINUTE, 1.0, 1.0, 1.0, 1.0, 1.0)])
    store.close()
    with pytest.raises(Refused, match="binance:BTC/USDT and okx:BTC/USDT"):
        run(queries.market_data("BTC/USDT", "1m"))
    assert len(run(queries.market_data("okx:BTC/USDT", "1m"))) == 1


def test_symbol_when_bars_are_stored_under_it_alone_then_they_are_reached(
    folder: Path, queries: Queries
) -> None:
    """An id that is equal wins: no name would reach them, once a venue has that symbol, too."""
    UserStore(folder / "user.db").put_bars("BTC/USDT", "1m", [BAR_OF_USER])
    assert closes(run(queries.market_data("BTC/USDT", "1m"))) == [(9, 2.0, "user")]
    assert closes(run(queries.market_data(BTC, "1m", limit=1))) == [(5, 5.0, "feed")]


def test_symbol_when_only_other_kinds_have_it_then_the_answer_is_empty(queries: Queries) -> None:
    """It is known; tables of other kinds are not asked while its own know it."""
    found = run(queries.ask(Question("indicators", "BTC/USDT", name="none")))
    assert (len(found), [*found][:2]) == (0, ["at_ns", "owner"])
    assert len(run(queries.ask(Question("equity", "BTC/USDT")))) == 1


# --- the rest -------------------------------------------------------------------------------------------


def test_rows_when_asked_then_each_kind_in_its_columns(queries: Queries) -> None:
    """Money computes as floats, and is exact where that is wanted."""
    fills = run(queries.ask(Question("fills", owner=fill(1, 4).owner)))
    assert fills["trade_id"].tolist() == ["1", "2"]
    assert fills["qty"].dtype == np.float64
    exact = run(queries.ask(Question("fills"), exact=True))
    assert exact["qty"].tolist() == [fill(1, 4).qty, fill(2, 5).qty]
    assert [type(one) for one in exact["fee"]] == [Decimal, Decimal]
    assert run(queries.ask(Question("equity", account=ACCOUNT)))["equity"].tolist() == [1_000_000.0]
    trades = run(queries.ask(Question("trades", "BTC/USDT", limit=2)))
    assert trades["trade_id"].tolist() == [4, 5]
    indicators = run(queries.ask(Question("indicators", name="fast")))
    assert indicators["value"].tolist() == [1.5, 2.5]


@pytest.mark.parametrize("kind", SHAPES)
def test_rows_when_asked_by_whatever_is_named_then_no_table_is_read_from_end_to_end(
    folder: Path, kind: Kind
) -> None:
    """An index gives both what fits and its order, also of which instruments there are."""
    store, asked = Watched(folder / "store.db", folder / "user.db"), SHAPES[kind]
    given: dict[str, Any] = {
        "instrument": BTC,
        "timeframe": "1m",
        "owner": OWNER,
        "account": ACCOUNT,
        "name": "fast",
    }
    optional = [name for name in asked.filters if name not in asked.needed]
    for count in range(len(optional) + 1):
        for names in combinations(optional, count):
            store.read(Question(kind, **{name: given[name] for name in (*asked.needed, *names)}))
    run(store.instruments("BTC/USDT", kind))
    run(store.instruments("BTC/USDT"))
    assert len(store.plan) > 3
    for step in store.plan:
        assert not re.match("SCAN (?!seen)", step), store.plan
        # Only rows of one instant may have to be put in order.
        assert step != "USE TEMP B-TREE FOR ORDER BY", store.plan


def test_rows_when_many_share_the_instant_at_the_limit_then_the_greatest_ids_stay(folder: Path) -> None:
    """Numbers of a turn share one: name, instrument, owner and their count put them in order."""
    points = [
        replace(indicator(50, 0.0), name=name, owner=OwnerId(owner), ordinal=number)
        for name in ("a", "b")
        for owner in ("y", "x")
        for number in (2, 1)
    ]
    store = StoreFile(str(folder / "store.db"))
    store.write(StoreBatch(2, tuple(replace(one, value=float(one.ordinal)) for one in points), 5))
    store.close()
    found = SqliteRows(folder / "store.db", folder / "user.db").read(Question("indicators", limit=5))
    assert [(row[3], row[1], row[4]) for row in found] == [
        ("a", "y", 2.0),
        ("b", "x", 1.0),
        ("b", "x", 2.0),
        ("b", "y", 1.0),
        ("b", "y", 2.0),
    ]


def test_rows_when_nothing_was_ever_stored_then_none(tmp_path: Path, clock: Clock) -> None:
    """No file is made by a question."""
    queries = Queries(SqliteRows(tmp_path / "store.db", tmp_path / "user.db"), Cache(clock))
    assert len(run(queries.ask(Question("fills")))) == 0
    assert [*tmp_path.iterdir()] == []


def test_rows_when_the_file_is_no_store_then_an_outage_names_it(tmp_path: Path, clock: Clock) -> None:
    """Somebody else's file, or a broken one."""
    (tmp_path / "store.db").write_bytes(b"no database at all" * 100)
    queries = Queries(SqliteRows(tmp_path / "store.db", tmp_path / "user.db"), Cache(clock))
    with pytest.raises(Outage, match=r"store\.db"):
        run(queries.ask(Question("fills")))


@pytest.mark.parametrize("kind", ["trades", "fills", "indicators"])
def test_rows_when_asked_from_an_instant_of_an_answer_then_the_same(queries: Queries, kind: Kind) -> None:
    """NumPy's numbers are numbers."""
    instrument = BTC if kind == "trades" else None
    whole = run(queries.ask(Question(kind, instrument)))
    at = whole[SHAPES[kind].at]
    asked = Question(kind, instrument, start_ns=at[0], end_ns=at[-1] + 1)
    assert run(queries.ask(asked)) == whole
    assert len(whole) > 1


# --- the cache ------------------------------------------------------------------------------------------


def test_cache_when_asked_again_then_answers_for_a_moment(
    folder: Path, queries: Queries, clock: Clock
) -> None:
    """The same object; behind the moment the store is asked anew, and at once where it is cleared."""
    first = run(queries.market_data(BTC, "1m"))
    assert run(queries.market_data(BTC, "1m")) is first
    hits, misses = queries.cache.hits, queries.cache.misses
    clock.now_s += 1.1
    assert run(queries.market_data(BTC, "1m")) is not first
    assert (queries.cache.hits, queries.cache.misses > misses) == (hits, True)
    assert queries.cache.hit_rate == pytest.approx(hits / (hits + queries.cache.misses))
    queries.cache.clear()
    again = run(queries.market_data(BTC, "1m"))
    assert again is not first
    assert again == first


def test_cache_when_a_symbol_is_looked_up_then_the_question_counts_once(queries: Queries) -> None:
    """The hit rate is that of questions: what leads to the id of a symbol is none."""
    counts = []
    for _ in range(3):
        run(queries.market_data("BTC/USDT", "1m"))
        counts.append((queries.cache.hits, queries.cache.misses))
    assert counts == [(0, 1), (1, 1), (2, 1)]


def test_cache_when_an_id_has_no_such_rows_then_the_question_counts_once(queries: Queries) -> None:
    """It is an answer, too, and no reason to ask again."""
    counts = []
    for _ in range(2):
        assert len(run(queries.market_data(BTC, "5m"))) == 0
        counts.append((queries.cache.hits, queries.cache.misses))
    assert counts == [(0, 1), (1, 1)]


def test_cache_when_full_then_the_least_used_goes(clock: Clock) -> None:
    """What was asked for of late stays."""
    cache = Cache(clock, most=2)
    assert cache.hit_rate is None
    cache.put("a", 1)
    cache.put("b", 2)
    assert cache.get("a") == 1
    cache.put("c", 3)
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (1, None, 3)


def test_cache_when_an_answer_is_too_old_then_it_goes_with_the_next_one(clock: Clock) -> None:
    """Nothing is held that is never given again."""
    cache = Cache(clock)
    answers = [columns_of(("a",), ("int",), [(number,)], exact=False) for number in range(3)]
    gone = weakref.ref(answers[0])
    for answer in answers:
        cache.put(answer["a"][0], answer)
    clock.now_s += 1.1
    del answers, answer
    cache.put("next", 1)
    assert gone() is None
    assert cache.get("next") == 1


def test_cache_when_answers_are_large_then_their_rows_are_bounded(clock: Clock) -> None:
    """The least used go until the newest fits; one that never fits is not kept."""

    def rows(count: int) -> Columns:
        return columns_of(("a",), ("int",), [(1,)] * count, exact=False)

    cache = Cache(clock, rows_max=10)
    for key, count in (("a", 4), ("b", 4), ("c", 3)):
        cache.put(key, rows(count))
    assert [cache.get(key) is not None for key in "abc"] == [False, True, True]
    cache.put("b", rows(1))
    cache.put("d", rows(6))
    assert [cache.get(key) is not None for key in "bcd"] == [True, True, True]
    cache.put("e", rows(11))
    assert (cache.get("e"), cache.get("d") is not None) == (None, True)


def test_answer_when_somebody_would_change_it_then_numpy_refuses(queries: Queries) -> None:
    """The next one who asks is given the same arrays."""
    for found in (run(queries.market_data(BTC, "1m")), run(queries.ask(Question("fills"), exact=True))):
        for name in found:
            with pytest.raises(ValueError, match="read-only"):
                found[name][:] = found[name][0]


# --- columns --------------------------------------------------------------------------------------------


def test_columns_when_values_are_absent_then_nan_and_none() -> None:
    """An absent whole number makes its column float: NaN says absent, 0 would not."""
    found = columns_of(
        ("a", "b", "c", "d"),
        ("int", "decimal", "text", "bool"),
        [(1, "2.5", "x", 1), (None, None, None, 0)],
        exact=False,
    )
    assert math.isnan(found["a"][1])
    assert math.isnan(found["b"][1])
    assert found["c"].tolist() == ["x", None]
    assert found["d"].tolist() == [True, False]
    assert repr(found) == "<2 rows of a, b, c, d>"
    assert found == columns_of(
        [*found], ("float", "float", "text", "bool"), [(1, 2.5, "x", 1), (None, None, None, 0)], exact=False
    )
    with pytest.raises(ValueError, match="one length"):
        Columns({"a": np.zeros(1), "b": np.zeros(2)})


def test_columns_when_a_library_is_there_then_they_are_its_frame() -> None:
    """Where it is not, the words name what to install."""
    found = columns_of(
        ("at_ns", "name", "value"), ("int", "text", "float"), [(1, "x", 0.5), (2, None, 1.5)], exact=False
    )
    for name, make in (("pandas", lambda: found.df), ("polars", found.to_polars)):
        try:
            __import__(name)
        except ImportError:
            with pytest.raises(Outage, match=f"pip install {name}"):
                make()
        else:
            frame = make()
            assert [*frame.columns] == ["at_ns", "name", "value"]
            assert frame["value"].sum() == 2.0
