"""Under which id a user's rows are kept, so that they are reached whatever a venue stores later."""

from __future__ import annotations

import pytest

from tradefan.errors import Refused
from tradefan.infra_data import stored_as

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
