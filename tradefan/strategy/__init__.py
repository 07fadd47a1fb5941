"""The strategy author's API: the only import that a strategy needs.

    @register("strategy", "trend", settings=TrendSettings)
    class Trend(Strategy[TrendSettings, TrendState]):
        def setup(self) -> None:
            self.fast = self.bars("5m").ema(self.s.fast)

        def on_bar_5m(self, bar: Bar, view: View) -> Commands:
            return target(bar.symbol, weight=0.5 if bar.close > self.fast else 0)

`setup` only declares. Handlers take `(event, view)`, do no I/O and return wishes: one, several, or
`()`. No handler runs before everything declared is warm, the feed is LIVE and the own positions are
known. An exception restarts this strategy only.
"""

from __future__ import annotations

from tradefan.contracts import Settings, register
from tradefan.messages.control import Timer
from tradefan.messages.market import Bar, Quality, Quote, Trade
from tradefan.messages.orders import FillUpdate, ParentUpdate, Refusal
from tradefan.strategy.author import State, Strategy
from tradefan.strategy.indicator import Indicator
from tradefan.strategy.view import View
from tradefan.strategy.wishes import Commands, alert, buy, cancel, cancel_all, note, record, sell, target

__all__ = [
    "Bar",
    "Commands",
    "FillUpdate",
    "Indicator",
    "ParentUpdate",
    "Quality",
    "Quote",
    "Refusal",
    "Settings",
    "State",
    "Strategy",
    "Timer",
    "Trade",
    "View",
    "alert",
    "buy",
    "cancel",
    "cancel_all",
    "note",
    "record",
    "register",
    "sell",
    "target",
]
