"""Under which id a user's rows are kept, so that they are reached whatever a venue stores later."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tradefan.errors import Refused
from tradefan.infra_data import DataInfrastructure, stored_as
from tradefan.stores.queries import Cache, Queries
from tradefan.stores.sqlite_rows import SqliteRows
from tradefan.stores.user_store import UserStore
from tradefan.units import DAY

AT = 19_723 * DAY
"""2024-01-01."""
FEEDS = ("binance:BTC/USDT", "okx:BTC/USDT", "okx:ETH/USDT")


@pytest.mark.parametrize(
    ("symbol", "kept"),
    [
        ("ETH/USDT", "okx:ETH/USDT"),
        ("okx:BTC/USDT", "okx:BTC/USDT"),
        ("kraken:BTC/USDT", "kraken:BTC/USDT"),
        ("SOL/USDT", "user:SOL/USDT"),
        ("SOL/USDT:USDT", "user:SOL/USDT:USDT"),
    ],
)
def test_store_when_a_symbol_is_given_then_under_an_id_with_a_venue(symbol: str, kept: str) -> None:
    """A bare symbol would stand beside every venue's for ever."""
    assert stored_as(symbol, FEEDS) == kept


def test_store_when_several_feeds_carry_the_symbol_then_refused_with_a_proposal() -> None:
    """Nothing is guessed."""
    with pytest.raises(Refused, match="store it as one of them, 'binance:BTC/USDT' perhaps"):
        stored_as("BTC/USDT", FEEDS)


# --- asking by an instant -------------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path: Path) -> DataInfrastructure:
    """Three days of SOL/USDT."""
    row = {"open": 2, "high": 3, "low": 1, "close": 2, "volume": 1}
    days = [row | {"time": AT + number * DAY} for number in range(3)]
    UserStore(tmp_path / "user.db").put_bars("user:SOL/USDT", "1d", days)
    queries = Queries(SqliteRows(tmp_path / "store.db", tmp_path / "user.db"), Cache(lambda: 0.0))
    return DataInfrastructure(SimpleNamespace(environment=None, queries=queries))


def test_data_when_asked_from_an_instant_of_an_answer_then_that_is_one(data: DataInfrastructure) -> None:
    """As the numbers of its column are, and as their dates."""
    at = asyncio.run(data.get_market_data("SOL/USDT", "1d"))["open_ns"]
    for start, end in ((at[1], at[2]), (np.datetime64(int(at[1]), "ns"), np.datetime64("2024-01-03"))):
        found = asyncio.run(data.get_market_data("SOL/USDT", "1d", start, end))
        assert found["open_ns"].tolist() == [AT + DAY]


@pytest.mark.parametrize("instant", [True, np.float64(AT), np.datetime64("NaT"), np.datetime64("3000-01-01")])
def test_data_when_asked_from_no_instant_then_refused(data: DataInfrastructure, instant: Any) -> None:
    """With what came."""
    with pytest.raises(Refused, match=r"BAD_INSTANT: expected .*, got "):
        asyncio.run(data.get_market_data("SOL/USDT", "1d", instant))
