"""Hold a constant share of capital in one instrument.

It shows the plumbing from a wish to a position and is not meant to earn: it buys once and then acts
only when the price has moved the position's value away from its share by more than the band.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from tradefan.strategy import Bar, Commands, Settings, State, Strategy, View, register, target


class RebalanceSettings(Settings, frozen=True):
    """What to hold, how far it may drift, and how it is traded."""

    symbol: str = "BTC/USDT"
    weight: Annotated[float, Meta(ge=-1, le=1)] = 0.15
    band: Annotated[float, Meta(ge=0, lt=1)] = 0.05
    timeframe: str = "1m"
    by: str = "market"
    duration: str | None = None
    """How long a schedule works, such as 2m; `by` names the algorithm."""


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
        how: dict[str, Any] = {} if self.s.duration is None else {"duration": self.s.duration}
        weight, band = self.s.weight, self.s.band
        return target(self.s.symbol, weight=weight, band=band, by=self.s.by, reason="rebalance", **how)
