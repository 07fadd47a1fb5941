"""When contingent orders fire: the vectors of the specification, and what no print alone may do."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.order_builders import parent_order
from tests.unit.risk.test_limits import instrument
from tradefan.actors.oms_trigger import quoted_ticks
from tradefan.core import trigger
from tradefan.core.contingent import condition_of, trigger_settings
from tradefan.core.trigger import Armed, Condition, Confirm, Kind
from tradefan.errors import Refused
from tradefan.units import MS, Side

D = Decimal
TWO = Confirm(2)


def fed(condition: Condition, *prices: int, armed: Armed | None = None) -> list[Armed]:
    """Return where a trigger stands behind each print."""
    now, found = armed or Armed(), []
    for i, price in enumerate(prices, start=1):
        now = trigger.observe(condition, now, price, i, i * MS)
        found.append(now)
    return found


def test_stop_when_two_prints_in_a_row_are_beyond_then_it_fires() -> None:
    """Sell at 10000, prints 10001 9999 10002 9998 9997: at the fifth."""
    stop = Condition("stop", "sell", TWO, 10_000)
    found = [one.fired for one in fed(stop, 10_001, 9_999, 10_002, 9_998, 9_997)]
    assert found == [None, None, None, None, 9_997]


def test_trailing_when_the_market_rises_and_falls_then_it_fires_from_the_best_confirmed_price() -> None:
    """Armed at 10000, callback 100 bps: watermark 10000 10200 10290, level 10187, fires at 10160."""
    trailing = Condition("trailing", "sell", TWO, callback_bps=D(100))
    prices = (10_200, 10_300, 10_290, 10_180, 10_190, 10_170, 10_160)
    found = fed(trailing, *prices, armed=Armed(watermark=10_000))
    assert [one.watermark for one in found[:3]] == [10_000, 10_200, 10_290]
    assert trigger.level_of(trailing, found[2]) == 10_187
    assert [one.fired for one in found] == [None] * 6 + [10_160]


def test_trailing_when_one_print_is_far_away_then_the_watermark_does_not_follow_it() -> None:
    """10000, 10900, 10010 moves it to 10010 only."""
    trailing = Condition("trailing", "sell", TWO, callback_bps=D(100))
    found = fed(trailing, 10_000, 10_900, 10_010, armed=Armed(watermark=10_000))
    assert found[-1].watermark == 10_010


@pytest.mark.parametrize(
    ("kind", "side", "prices", "fires"),
    [
        ("stop", "buy", (9_999, 10_000, 10_000), True),
        ("stop", "buy", (10_001, 9_999, 10_001), False),
        ("take_profit", "sell", (10_000, 10_005), True),
        ("take_profit", "sell", (9_999, 10_000), False),
        ("take_profit", "buy", (10_000, 9_990), True),
    ],
)
def test_trigger_when_prices_come_then_its_direction_is_that_of_its_kind(
    kind: Kind, side: Side, prices: tuple[int, ...], fires: bool
) -> None:
    """A stop to buy fires above, one to sell below; a take profit the other way round."""
    assert (fed(Condition(kind, side, TWO, 10_000), *prices)[-1].fired is not None) == fires


def test_trailing_when_it_buys_then_all_is_mirrored() -> None:
    """The watermark falls, the level is above it, rounded away from the market."""
    trailing = Condition("trailing", "buy", TWO, callback_bps=D(100))
    found = fed(trailing, 9_800, 9_700, 9_705, 9_810, 9_805, armed=Armed(watermark=10_000))
    assert [one.watermark for one in found[:3]] == [10_000, 9_800, 9_705]
    assert trigger.level_of(trailing, found[2]) == 9_803
    assert found[-1].fired == 9_805


def test_trailing_when_it_has_an_activation_then_it_begins_where_that_is_confirmed() -> None:
    """Nothing is followed before; the level that is confirmed at or beyond it is the watermark."""
    trailing = Condition("trailing", "sell", TWO, callback_ticks=50, activation=10_100)
    found = fed(trailing, 10_000, 9_000, 10_090, 10_110, 10_120, 10_075)
    assert [one.watermark for one in found] == [None, None, None, None, 10_110, 10_110]
    assert trigger.level_of(trailing, found[-1]) == 10_060
    assert found[-1].fired is None


@pytest.mark.parametrize(("side", "outlier", "activation"), [("sell", 10_900, 10_500), ("buy", 9_100, 9_500)])
def test_trailing_when_one_print_is_beyond_its_activation_then_it_does_not_begin(
    side: Side, outlier: int, activation: int
) -> None:
    """The market never was there: no watermark, so nothing to fall back from."""
    trailing = Condition("trailing", side, TWO, callback_bps=D(100), activation=activation)
    found = fed(trailing, 10_000, 10_000, outlier, 10_010, 10_010)
    assert [(one.watermark, one.fired) for one in found] == [(None, None)] * 5


def test_held_when_a_price_stays_beyond_then_it_fires_after_its_time() -> None:
    """500 ms without a price on the other side; a touch of it begins anew."""
    stop, now, found = Condition("stop", "sell", Confirm(1, 500 * MS), 100), Armed(), []
    for i, (at_ms, price) in enumerate(((0, 99), (300, 99), (400, 101), (450, 98), (900, 97), (950, 96)), 1):
        now = trigger.observe(stop, now, price, i, at_ms * MS)
        found.append(now.fired)
    assert found == [None, None, None, None, None, 96]


@pytest.mark.parametrize(("per_s", "held_ms"), [(20, 60_000), (120, 10_000), (2_500, 500)])
def test_held_when_the_market_is_busy_then_it_fires_a_hundredth_late_at_most(
    per_s: int, held_ms: int
) -> None:
    """More prices than are remembered: spans stand for all, and one on the other side still counts."""
    stop, now = Condition("stop", "sell", Confirm(1, held_ms * MS), 10_000), Armed()
    at_ns = step_ns = 1_000 * MS // per_s
    number = 0
    while at_ns < 2.5 * held_ms * MS and now.fired is None:
        number += 1
        # Once, half way through the time that it has to hold, the market is back.
        price = 10_001 if abs(at_ns - held_ms * MS // 2) < step_ns else 9_000 + number % 900
        now = trigger.observe(stop, now, price, number, at_ns)
        assert len(now.recent) <= trigger.HELD_MAX
        at_ns += step_ns
    assert now.fired is not None
    assert 1.5 * held_ms * MS <= at_ns <= (1.5 + 0.03) * held_ms * MS + 4 * step_ns


def test_trailing_when_held_in_a_busy_market_then_its_watermark_is_the_least_that_held() -> None:
    """It rises by a tick a print, 2,500 a second: what held for 500 ms is 1,250 prints old."""
    trailing, now = Condition("trailing", "sell", Confirm(1, 500 * MS), callback_bps=D(100)), Armed()
    for number in range(1, 5_001):
        now = trigger.observe(trailing, now, 10_000 + number, number, number * 400_000)
    assert now.watermark is not None
    assert 15_000 - 1_250 - 15 <= now.watermark <= 15_000 - 1_250


def test_gap_when_the_market_was_back_then_it_is_said_again() -> None:
    """`gapped` holds only as long as the price stays beyond."""
    bounded = Condition("stop", "sell", TWO, 10_000, gap_limit_bps=D(100))
    found = fed(bounded, 9_000, 9_000, 9_000, 10_050, 9_000, 9_000)
    assert [one.gapped for one in found] == [False, True, True, False, False, True]


def test_gap_when_the_first_confirmed_price_is_too_far_then_it_waits() -> None:
    """Any distance fires without `gap_limit_bps`; with it somebody is to look."""
    bounded = Condition("stop", "sell", TWO, 10_000, gap_limit_bps=D(100))
    (_, far) = fed(bounded, 9_000, 9_000)
    assert (far.fired, far.gapped) == (None, True)
    assert fed(bounded, 9_950, 9_900)[-1].fired == 9_900
    assert fed(Condition("stop", "sell", TWO, 10_000), 5_000, 5_000)[-1].fired == 5_000


def test_observe_when_a_print_comes_again_then_it_counts_once() -> None:
    """Distinct trade ids: a repetition confirms nothing."""
    stop = Condition("stop", "sell", TWO, 10_000)
    once = trigger.observe(stop, Armed(), 9_999, 7, 1)
    assert trigger.observe(stop, once, 9_999, 7, 2) == once
    assert trigger.observe(stop, once, 9_999, 8, 2).fired == 9_999


@pytest.mark.parametrize(
    ("text", "expected"),
    [("any", Confirm()), ("prints:3", Confirm(3)), ("held:500ms", Confirm(1, 500 * MS))],
)
def test_confirm_when_read_then_it_is_what_it_says(text: str, expected: Confirm) -> None:
    """As the settings write it."""
    assert trigger.read_confirm(text) == expected


@pytest.mark.parametrize("text", ["", "prints", "prints:0", "prints:x", "held", "held:5", "often:2"])
def test_confirm_when_it_is_nothing_then_it_is_refused(text: str) -> None:
    """With its name and what would pass."""
    with pytest.raises(Refused, match=r"confirm: .*expected"):
        trigger.read_confirm(text)


@given(st.lists(st.integers(9_000, 11_000), max_size=60), st.integers(1, 4), st.booleans())
def test_trailing_when_compared_with_a_scan_then_it_fires_at_the_same_print(
    prices: list[int], confirm: int, sells: bool
) -> None:
    """The model looks back at all prints; the watermark never moves against us, and it fires once."""
    side: Side = "sell" if sells else "buy"
    trailing = Condition("trailing", side, Confirm(confirm), callback_ticks=100)
    found = fed(trailing, *prices, armed=Armed(watermark=10_000))
    mark, expected = 10_000, None
    for i in range(len(prices)):
        last = prices[max(i + 1 - confirm, 0) : i + 1]
        if len(last) == confirm:
            if all(one <= mark - 100 if sells else one >= mark + 100 for one in last):
                expected = prices[i]
                break
            mark = max(mark, min(last)) if sells else min(mark, max(last))
        assert found[i].watermark == mark
    fired: list[Any] = [one.fired for one in found if one.fired is not None]
    assert fired[:1] == ([] if expected is None else [expected])


@pytest.mark.parametrize(("side", "ticks"), [("buy", 6_006_610), ("sell", 6_006_611)])
def test_quoted_ticks_when_the_mid_lies_between_two_then_rounded_away_from_firing(
    side: Side, ticks: int
) -> None:
    """Half a tick is not there yet: a stop that buys waits for a higher price, one that sells for a lower."""
    sides = (D("60066.10"), D("60066.11"))
    assert quoted_ticks("mid", Condition("stop", side, TWO, 1), sides, D("0.01")) == ticks


@pytest.mark.parametrize(
    ("algo", "side", "source", "settings", "expected"),
    [
        ("stop", "sell", "last", {}, ("trigger", 546)),
        ("stop", "buy", "last", {}, ("trigger", 547)),
        ("take_profit", "sell", "last", {}, ("trigger", 547)),
        ("stop", "sell", "mid", {}, ("trigger", 1093)),
        ("trailing", "sell", "last", {"callback_abs": "1.2"}, ("callback_ticks", 2)),
        ("trailing", "sell", "mid", {"callback_abs": "1.2"}, ("callback_ticks", 3)),
        ("trailing", "sell", "last", {"callback_abs": "2", "activation": "546.9"}, ("activation", 547)),
        ("trailing", "buy", "last", {"callback_abs": "2", "activation": "546.9"}, ("activation", 546)),
    ],
)
def test_condition_of_when_the_tick_has_grown_then_fires_later_and_not_sooner(
    algo: str, side: Side, source: str, settings: dict[str, str], expected: tuple[str, int]
) -> None:
    """A level of 546.93 is off the grid of a tick of 1; a mid counts in halves of it."""
    order = parent_order(algo=algo, side=side, settings={"source": source, **settings})
    level = None if algo == "trailing" else D("546.93")
    found = condition_of(order, trigger_settings(order), instrument(price_tick=D(1)), level)
    assert getattr(found, expected[0]) == expected[1]
