"""Be long while a fast average of closes is above a slow one, else flat.

It shows bars, indicators and warm-up, and is not meant to earn: on five-second bars it pays far more
in fees than it can make.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from tradefan.strategy import Bar, Commands, Settings, State, Strategy, View, record, register, target


class EmaCrossSettings(Settings, frozen=True):
    """Which averages of which bars, and how much to hold while the fast one is above."""

    symbol: str = "ETH/USDT"
    timeframe: str = "5s"
    fast: Annotated[int, Meta(ge=1)] = 5
    slow: Annotated[int, Meta(ge=2)] = 15
    weight: Annotated[float, Meta(gt=0, le=1)] = 0.1
    band: Annotated[float, Meta(ge=0, lt=1)] = 0.05

    def __post_init__(self) -> None:
        if self.fast >= self.slow:
            raise ValueError(f"expected fast < slow, got {self.fast} and {self.slow}")


@register("strategy", "ema_cross", settings=EmaCrossSettings)
class EmaCross(Strategy[EmaCrossSettings, State]):
    """Be long while the fast average is above the slow one, else flat."""

    def setup(self) -> None:
        """Follow two averages of the same closes."""
        bars = self.bars(self.s.timeframe)
        self.fast, self.slow = bars.ema(self.s.fast), bars.ema(self.s.slow)

    def on_bar(self, bar: Bar, view: View) -> Commands:
        """Wish for the position that the averages ask for; only a cross changes it."""
        weight = self.s.weight if self.fast > self.slow else 0
        return (
            record("fast", self.fast, bar.symbol),
            record("slow", self.slow, bar.symbol),
            target(self.s.symbol, weight=weight, band=self.s.band, reason="ema_cross"),
        )
