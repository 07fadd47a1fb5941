"""The first decisions of EmaCross, against a calculation that shares no code with it."""

from __future__ import annotations

import math

import pytest

from tradefan.strategies import EmaCross
from tradefan.strategy import target
from tradefan.strategy.wishes import RecordWish, TargetWish
from tradefan.testing import Outcome, Scenario, make_bars

CLOSES = [round(2_400 + 6 * math.sin(step / 7) + 3 * math.sin(step / 2), 2) for step in range(140)]


def _ema(closes: list[float], length: int) -> float:
    """Return the textbook average: the mean of the first values, then 2/(n+1) of each newer one."""
    value = sum(closes[:length]) / length
    for close in closes[length:]:
        value = close * 2 / (length + 1) + value * (1 - 2 / (length + 1))
    return value


def decisions(outcome: Outcome) -> list[tuple[int, TargetWish]]:
    """Return the targets alone; what was recorded beside them is no decision."""
    return [(at_ns, wish) for at_ns, wish in outcome.decided if isinstance(wish, TargetWish)]


def test_ema_cross_when_fed_with_bars_then_its_decisions_are_those_of_the_formula() -> None:
    """From the 46th bar on it wishes for its weight while the fast average is above, else for nothing."""
    bars = make_bars(CLOSES, "ETH/USDT", "5s")
    expected = []
    for number in range(46, len(CLOSES) + 1):
        up = _ema(CLOSES[:number], 5) > _ema(CLOSES[:number], 15)
        wish = target("ETH/USDT", weight=0.1 if up else 0, band=0.05, reason="ema_cross")
        expected.append((bars[number - 1].close_ns, wish))
    outcome = Scenario(EmaCross, bars=bars).run()
    assert decisions(outcome) == expected
    assert len({wish.weight for _, wish in expected}) == 2
    said = [one for one in outcome.said if isinstance(one, RecordWish)]
    assert [one.name for one in said[:2]] == ["fast", "slow"]
    assert said[-2].value == pytest.approx(_ema(CLOSES, 5), rel=1e-3)


def test_ema_cross_when_history_came_first_then_the_first_live_bar_is_decided_on() -> None:
    """With 46 bars of history there is no wait: the first bar that is live has its decision."""
    bars = make_bars(CLOSES, "ETH/USDT", "5s")
    warm = Scenario(EmaCross, history=bars[:46], bars=bars[46:60]).run()
    whole = Scenario(EmaCross, bars=bars[:60]).run()
    assert decisions(warm) == decisions(whole)[1:]


def test_ema_cross_when_it_trades_then_only_a_cross_makes_an_order() -> None:
    """Orders alternate: one for each change of sides, none in between."""
    outcome = Scenario(EmaCross, bars=make_bars(CLOSES, "ETH/USDT", "5s"), fill=True).run()
    sides = [fill.side for fill in outcome.fills]
    weights = [wish.weight for _, wish in decisions(outcome)]
    changes = sum(1 for before, after in zip([0.0, *weights], weights, strict=False) if before != after)
    assert sides == ["buy" if number % 2 == 0 else "sell" for number in range(len(sides))]
    assert len(sides) in {changes, changes - 1}
    assert len(sides) > 2
