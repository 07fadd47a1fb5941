"""Hold a constant share of capital in one instrument.

It shows the plumbing from a wish to a position and is not meant to earn: it buys once and then acts
only when the price has moved the position's value away from its share by more than the band.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from tradefan.strategy import Bar, Commands, Settings, State, Strategy, View, register, target


class RebalanceSettings(Settings, frozen=True):
    """What to hold, and how far it may drift."""

    symbol: str = "BTC/USDT"
    weight: Annotated[float, Meta(ge=-1, le=1)] = 0.15
    band: Annotated[float, Meta(ge=0, lt=1)] = 0.05
    timeframe: str = "1m"


@register("strategy", "rebalance", settings=RebalanceSettings)
class Rebalance(Strategy[RebalanceSettings, State]):
    """Hold a constant share of capital in one instrument, within a band."""

    def setup(self) -> None:
        """Look at every closed bar; no history is needed."""
        self.bars(self.s.timeframe)

    def on_start(self, view: View) -> Commands:
        """Wish at once: nothing but the share is needed."""
        return self._share()

    def on_bar(self, bar: Bar, view: View) -> Commands:
        """Wish again: repeating it is free while the position is within the band."""
        return self._share()

    def _share(self) -> Commands:
        return target(self.s.symbol, weight=self.s.weight, band=self.s.band, reason="rebalance")
