"""Test strategies in plain pytest, without a loop, a clock or a fake.

    outcome = Scenario(Trend, bars=make_bars([100.0, 101.0, 102.0])).run()
    assert outcome.commands == [target("BTC/USDT", weight=0.5)]

`conform(Trend)` puts a strategy through what every strategy must keep.
"""

from __future__ import annotations

from tradefan.testing.build import make_bars, make_instrument, make_market
from tradefan.testing.conformance import CHECKS, conform
from tradefan.testing.scenario import Outcome, Scenario

__all__ = ["CHECKS", "Outcome", "Scenario", "conform", "make_bars", "make_instrument", "make_market"]
