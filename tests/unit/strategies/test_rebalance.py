"""Rebalance wishes for one share and nothing else."""

from __future__ import annotations

from decimal import Decimal

from tradefan.messages.orders import SetTarget
from tradefan.strategies import Rebalance
from tradefan.strategy import target
from tradefan.testing import Scenario, make_bars


def test_rebalance_when_it_starts_then_it_wishes_at_once_and_repeats_the_same_wish() -> None:
    """The first wish comes with the start, before any bar has closed; a bar repeats it."""
    bars = make_bars([100, 101, 102], timeframe="1m")
    outcome = Scenario(Rebalance, bars=bars, capital=10_000).run()
    wish = target("BTC/USDT", weight=0.15, band=0.05, reason="rebalance")
    assert outcome.decided == [(bars[0].close_ns, wish)] * 2 + [(bar.close_ns, wish) for bar in bars[1:]]
    assert [msg.target_qty for msg in outcome.sent if isinstance(msg, SetTarget)] == [
        Decimal("15.00000"), Decimal("15.00000"), Decimal("14.85149"), Decimal("14.70588"),
    ]  # fmt: skip


def test_rebalance_when_told_how_then_it_wishes_by_that_algorithm() -> None:
    """By a TWAP of two minutes, as in development."""
    settings = {"by": "twap", "duration": "2m"}
    outcome = Scenario(Rebalance, settings, bars=make_bars([100], timeframe="1m"), capital=10_000).run()
    wish = target("BTC/USDT", weight=0.15, band=0.05, by="twap", duration="2m", reason="rebalance")
    assert [wished for _, wished in outcome.decided] == [wish] * 2
    (sent, *_) = [msg for msg in outcome.sent if isinstance(msg, SetTarget)]
    assert (sent.algo, sent.settings) == ("twap", {"duration": "2m"})


def test_rebalance_when_prices_stay_within_the_band_then_it_trades_once() -> None:
    """Over 300 bars inside the band there is one order; beyond it there is the next."""
    calm = [100 + (step % 9) * 0.5 for step in range(300)]
    assert len(Scenario(Rebalance, bars=make_bars(calm, timeframe="1m"), fill=True).run().fills) == 1
    moved = [*calm, 106.0, 106.0]
    fills = Scenario(Rebalance, bars=make_bars(moved, timeframe="1m"), fill=True).run().fills
    assert [(fill.side, fill.qty > 0) for fill in fills] == [("buy", True), ("sell", True)]
