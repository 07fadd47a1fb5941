"""Bars of the store that end where a feed's own begin, from the real file."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from msgspec.structs import replace

from tests.unit.stores.made import BTC
from tradefan.messages.market import AskStored, Bar
from tradefan.stores import joining as module
from tradefan.stores.klines import Kline
from tradefan.stores.sqlite import StoreFile
from tradefan.units import DAY, HOUR, MINUTE, SECOND

T0 = 20_000 * DAY
ASK = AskStored(BTC, "1m", T0 + 10 * MINUTE, 5, 0.01)


def kline(open_ns: int, price: float = 10.0, volume: float = 2.0) -> Kline:
    return Kline(open_ns, price, price + 1, price - 1, price + 0.5, volume)


def minutes(numbers: Iterable[int]) -> tuple[Kline, ...]:
    return tuple(kline(T0 + i * MINUTE, 100.0 + i) for i in numbers)


@pytest.fixture
def store() -> StoreFile:
    return StoreFile(":memory:")


def opens(store: StoreFile, ask: AskStored = ASK, step_ns: int = MINUTE) -> tuple[list[int], str]:
    """Return which bars came, in steps behind T0, and why there are no more."""
    found = store.joining(ask)
    assert found.ask == ask
    assert {(bar.instrument, bar.timeframe) for bar in found.bars} <= {(BTC, ask.timeframe)}
    return [(bar.open_ns - T0) // step_ns for bar in found.bars], found.why


def test_joining_when_bars_end_where_it_is_asked_then_the_newest_of_them_come(store: StoreFile) -> None:
    """So many as are asked for, oldest first; what lies at the instant or behind it is not looked at."""
    store.put_klines(BTC, "1m", minutes(range(20)))
    store.put_klines("binance:ETH/USDT", "1m", minutes(range(20)))
    assert opens(store) == ([5, 6, 7, 8, 9], "")
    (last,) = store.joining(replace(ASK, count=1)).bars
    assert last == Bar(BTC, "1m", T0 + 9 * MINUTE, ASK.until_ns, 109, 110, 108, 109.5, 2.0, 200, 1)


@pytest.mark.parametrize(
    ("numbers", "found", "why"),
    [
        (range(7, 10), [7, 8, 9], "1m bars begin at 2024-10-04T00:07:00.000Z"),
        (
            [3, 4, 8, 9],
            [8, 9],
            "1m bars are missing from 2024-10-04T00:05:00.000Z to 2024-10-04T00:08:00.000Z",
        ),
        (range(9), [], "1m bars end at 2024-10-04T00:09:00.000Z"),
        (range(10, 20), [], "1m bars begin at 2024-10-04T00:10:00.000Z"),
        ((), [], ""),
    ],
)
def test_joining_when_bars_are_missing_then_only_what_connects_comes_and_the_reason(
    store: StoreFile, numbers: Iterable[int], found: list[int], why: str
) -> None:
    """Too few, a hole, an end before or a beginning behind the instant; nothing at all needs no word."""
    if numbers:
        store.put_klines(BTC, "1m", minutes(numbers))
    assert opens(store) == (found, why)


def test_joining_when_bars_are_finer_then_whole_ones_are_folded_of_them(store: StoreFile) -> None:
    """Quiet parts give no price; what does not divide the timeframe, or is coarser, makes none."""
    quiet = kline(T0 + 4 * MINUTE, 500.0, 0.0)
    store.put_klines(BTC, "1m", (*minutes(range(3, 4)), quiet, *minutes(range(5, 10))))
    ask = replace(ASK, timeframe="2m", count=9)
    assert opens(store, ask, 2 * MINUTE) == ([2, 3, 4], "1m bars begin at 2024-10-04T00:03:00.000Z")
    first = store.joining(ask).bars[0]
    assert first == Bar(BTC, "2m", T0 + 4 * MINUTE, T0 + 6 * MINUTE, 105, 106, 104, 105.5, 2.0, 200, 1)
    assert opens(store, replace(ask, count=2), 2 * MINUTE) == ([3, 4], "")
    assert opens(store, replace(ASK, timeframe="1s")) == (
        [],
        "no 1s bar can be made of 1m ones, the last of which opened at 2024-10-04T00:09:00.000Z",
    )
    assert opens(store, replace(ASK, timeframe="90s", until_ns=T0 + 9 * MINUTE))[0] == []


def test_joining_when_two_timeframes_serve_then_the_one_with_more_bars_does(store: StoreFile) -> None:
    """The timeframe itself where it has as many."""
    store.put_klines(BTC, "5m", tuple(kline(T0 + i * 5 * MINUTE, 7.0) for i in range(2)))
    store.put_klines(BTC, "1m", tuple(kline(T0 + i * MINUTE, 8.0) for i in range(-20, 10)))
    ask = replace(ASK, timeframe="5m")
    assert [bar.open for bar in store.joining(replace(ask, count=2)).bars] == [7.0, 7.0]
    assert [bar.open for bar in store.joining(ask).bars] == [8.0] * 5


def test_joining_when_a_file_held_nonsense_then_the_message_can_still_be_written(store: StoreFile) -> None:
    """Whole lots beyond 64 bits would end a recording."""
    store.put_klines(BTC, "1m", (kline(T0 + 9 * MINUTE, 1.0, 1e120),))
    (bar,) = store.joining(ASK).bars
    assert (bar.volume, bar.volume_lots) == (1e120, module.LOTS_MAX)


def test_joining_when_much_is_asked_for_then_the_rows_are_bounded(
    store: StoreFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many fine bars a coarse one needs."""
    store.put_klines(BTC, "1s", tuple(kline(T0 + i * SECOND) for i in range(4 * 60)))
    monkeypatch.setattr(module, "ROWS_MAX", 150)
    ask = AskStored(BTC, "1m", T0 + 4 * MINUTE, HOUR, 0.01)
    assert opens(store, ask) == ([2, 3], "")
