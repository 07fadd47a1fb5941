"""The market of bars: its prints make its bars again, and no order changes it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tradefan.sim.bar_market import PRINTS, BarMarket, MinuteBar, Print, Shown, prints
from tradefan.units import MINUTE, SECOND

SHOWN = Shown(2, 500)
BAR = MinuteBar(0, 1_000, 1_060, 940, 1_010, 6_000)


@st.composite
def bars(draw: st.DrawFn) -> MinuteBar:
    """Any bar."""
    prices = sorted(draw(st.lists(st.integers(100, 10_000), min_size=4, max_size=4)))
    opened, close = draw(st.permutations(prices[1:3]))
    return MinuteBar(
        draw(st.integers(0, 99)) * MINUTE, opened, prices[3], prices[0], close, draw(st.integers(0, 999))
    )


@given(bars(), st.integers(0, 9))
def test_prints_when_they_are_put_together_then_they_are_the_bar_again(bar: MinuteBar, seed: int) -> None:
    """Open, high, low, close and volume; one print a second; the trade is at the touch of its side."""
    found = list(prints(bar, SHOWN, seed))
    prices = [one.price for one in found]
    assert (prices[0], max(prices), min(prices), prices[-1]) == (bar.open, bar.high, bar.low, bar.close)
    assert [one.at_ns for one in found] == [bar.open_ns + i * SECOND for i in range(PRINTS)]
    assert sum(one.lots for one in found) == bar.lots
    assert max(one.lots for one in found) - min(one.lots for one in found) <= 1
    for one in found:
        assert one.ask - one.bid == SHOWN.spread
        assert one.price == (one.ask if one.taker_side == "buy" else one.bid)


def test_prints_when_the_seed_is_another_then_a_bar_may_fall_first() -> None:
    """Both ways are walked; the same seed walks the same."""
    ways = {tuple(one.price for one in prints(BAR, SHOWN, seed)).index(1_060) for seed in range(20)}
    assert len(ways) == 2
    assert list(prints(BAR, SHOWN, 3)) == list(prints(BAR, SHOWN, 3))


def at(one: Print) -> BarMarket:
    """A market whose newest print is this one."""
    market = BarMarket((BAR,), SHOWN, 1)
    market.now = one
    return market


SOLD = Print(0, 1_000, 40, "sell", 1_000, 1_002)
BOUGHT = Print(0, 1_002, 40, "buy", 1_000, 1_002)


def test_taken_when_an_order_crosses_then_it_gets_the_shown_size_inside_its_limit() -> None:
    """At the touch, however large it is."""
    assert at(SOLD).taken("buy", 1_002, 700) == (1_002, 500)
    assert at(SOLD).taken("buy", 1_001, 700) == (1_002, 0)
    assert at(SOLD).taken("sell", 1_000, 7) == (1_000, 7)
    assert at(SOLD).taken("sell", 1_001, 7) == (1_000, 0)
    assert (at(SOLD).crosses("buy", 1_001), at(SOLD).crosses("buy", 1_002)) == (False, True)


def test_met_when_a_print_reaches_a_resting_order_then_it_trades_with_it() -> None:
    """At its price where the taker is on the other side, never more than the print."""
    assert [at(SOLD).met("buy", limit, 90) for limit in (999, 1_000, 1_001)] == [0, 40, 0]
    assert [at(BOUGHT).met("buy", limit, 90) for limit in (1_000, 1_001)] == [0, 0]
    assert [at(BOUGHT).met("sell", limit, 9) for limit in (1_001, 1_002, 1_003)] == [0, 9, 0]


def test_met_when_the_book_has_come_through_then_it_trades_with_what_is_shown() -> None:
    """Nobody stands behind an order that the other side has passed."""
    assert [at(SOLD).met("buy", limit, 900) for limit in (1_002, 1_003)] == [500, 500]
    assert [at(BOUGHT).met("sell", limit, 9) for limit in (999, 1_000)] == [9, 9]


def test_market_when_it_ends_then_it_has_counted_what_traded() -> None:
    """Volume, and its worth."""
    market, worth = BarMarket((BAR, BAR._replace(open_ns=MINUTE)), SHOWN, 1), 0
    while (one := market.step()) is not None:
        worth += one.price * one.lots
    assert (market.lots, market.value) == (12_000, worth)
