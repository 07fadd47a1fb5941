"""Costs of an order: the vectors of the specification, and examples that others have published."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tradefan.core import tca
from tradefan.core.tca import Shortfall, Traded

D = Decimal


def test_shortfall_when_bought_in_part_then_each_part_is_exact() -> None:
    """Buy 1000, filled 700: 7 + 1.75 + 6 + 4.25 = 19 bps."""
    done = Traded("buy", D(1000), D(700), D("40.05"), D(17))
    found = tca.shortfall(done, D(40), D("40.04"), D("40.08"))
    assert found == Shortfall(D(7), D("1.75"), D(6), D("4.25"))
    assert found.total == D(19)


def test_shortfall_when_sold_with_a_rebate_then_gains_are_negative() -> None:
    """Sell 10, filled 6: 6 - 3 + 20 - 0.6 = 22.4 bps."""
    done = Traded("sell", D(10), D(6), D("99.95"), D("-0.06"))
    found = tca.shortfall(done, D(100), D("99.9"), D("99.5"))
    assert found == Shortfall(D(6), D(-3), D(20), D("-0.6"))
    assert found.total == D("22.4")


def test_shortfall_when_nothing_traded_then_only_the_opportunity_was_lost() -> None:
    """Q = 0: no average, and delay and trading are none."""
    done = Traded("buy", D(10), D(0), None, D(0))
    assert tca.shortfall(done, D(100), None, D(101)) == Shortfall(D(0), D(0), D(100), D(0))


def test_shortfall_when_a_price_is_not_known_then_its_parts_and_the_sum_are_not() -> None:
    """Absent is None, never 0."""
    done = Traded("buy", D(10), D(5), D(100), D(1))
    assert tca.shortfall(done, None, D(1), D(1)) == Shortfall(None, None, None, None)
    found = tca.shortfall(done, D(100), D(100), None)
    assert (found.opportunity, found.delay, found.total) == (None, D(0), None)


def _examples(reference_data: Path) -> list[dict[str, Any]]:
    text = (reference_data / "ref-execution" / "implementation_shortfall_examples.jsonl").read_text()
    return [json.loads(line, parse_float=D) for line in text.splitlines()]


def test_shortfall_when_others_have_published_an_example_then_it_is_theirs(reference_data: Path) -> None:
    """To the digits that they print; exact before rounding."""
    whole, delay = _examples(reference_data)
    done = Traded(
        "buy", D(whole["ordered"]), D(whole["filled"]), whole["exec_price"], D(whole["commission_usd"])
    )
    found = tca.shortfall(
        done, whole["decision_price"], whole["benchmark_when_executed"], whole["cancel_price"]
    )
    exact = {name: value * 100 for name, value in whole["exact_pct"].items()}
    assert found == Shortfall(exact["delay"], exact["realized_pl"], exact["missed_trade"], exact["explicit"])
    assert found.total == exact["total"]
    late = Traded("buy", D(delay["ordered"]), D(delay["filled"]), D(51), D(0))
    paid = tca.shortfall(late, D(delay["original_benchmark"]), D(delay["revised_benchmark"]), None)
    assert paid.delay == delay["expected_pct"]["delay"] * 100


def test_slippage_when_compared_then_positive_is_cost() -> None:
    """A buy above, a sale below the benchmark; None where one of them is not known."""
    assert tca.slippage_bps("buy", D(101), D(100)) == D(100)
    assert tca.slippage_bps("sell", D(101), D(100)) == D(-100)
    assert tca.slippage_bps("buy", None, D(100)) is None
    assert tca.slippage_bps("buy", D(100), None) is None


def test_markout_and_capture_when_the_market_goes_our_way_then_they_are_positive() -> None:
    """A passive buy at the bid earns half the spread; one at the ask pays it."""
    assert tca.markout_bps("buy", D(100), D(101)) == D(100)
    assert tca.markout_bps("sell", D(100), D(101)) == D(-100)
    assert tca.spread_capture("buy", D(99), D(100), D(2)) == D(1)
    assert tca.spread_capture("buy", D(101), D(100), D(2)) == D(-1)
    assert tca.spread_capture("buy", D(100), D(100), D(0)) is None
    assert tca.weighted([(D(1), D(4)), (D(3), D(8)), (D(5), None)]) == D(7)
    assert tca.weighted([(D(5), None)]) is None


def test_estimate_when_the_share_is_known_then_it_is_the_square_root_law() -> None:
    """Half spread 0.5, sigma 20, X / V 0.04, k 1: 4.5."""
    assert tca.estimate_bps(0.5, 20, 0.04) == pytest.approx(4.5)


def test_calibration_when_there_are_enough_parents_then_it_is_the_median_of_the_newest() -> None:
    """30 at least, 200 at most, between 0.1 and 5."""
    assert tca.calibrated([1.0] * 29) is None
    assert tca.calibrated([float(n) for n in range(1, 31)]) == 5.0
    assert tca.calibrated([100.0] * 300 + [0.5] * 200) == 0.5
    assert tca.calibrated([0.0] * 30) == 0.1
    assert tca.calibrated([1.0] * 15 + [2.0] * 15) == 1.5
