"""The base class of strategies: what an author declares and which handlers there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from msgspec import Struct

from tradefan.contracts import Settings
from tradefan.errors import Refused
from tradefan.messages.market import Bar, Quote, Trade
from tradefan.messages.orders import FillUpdate, ParentUpdate, Refusal
from tradefan.strategy.view import View
from tradefan.strategy.wishes import Commands

if TYPE_CHECKING:
    from tradefan.core.desk import Desk
    from tradefan.core.series import Series


class State(Struct):
    """Base of what a strategy remembers: typed fields with defaults, mutable; it alone is kept.

    It survives kill -9: where a turn changed it, it is journaled in one transaction with the orders of
    that turn, and it is back after the warm-up, before `on_start`. At most 1 MiB as msgpack; numbers,
    texts, lists, dicts, Structs and indicators, no sets: their order does not survive.
    A journaled field that is unknown or of another type by now needs `upgrade` in the strategy; one
    that was added takes its default.
    """


S = TypeVar("S", bound=Settings)
T = TypeVar("T", bound=State)


class Strategy(Generic[S, T]):
    """Base of all strategies: `Strategy[MySettings, MyState]`.

    `self.s` are the settings, `self.state` is what it remembers. Besides the handlers below a
    subclass may have `on_bar_<timeframe>(bar, view)` (instead of `on_bar`, for that timeframe),
    `on_timer_<name>(timer, view)`, and `upgrade(old: dict[str, Any]) -> T`, which returns the State of
    today from the journaled fields of an older one; without it a changed State is refused and the
    strategy stays DOWN.
    """

    s: S
    state: T

    def __init__(self, settings: S, state: T, desk: Desk) -> None:
        """Made by the trader; a subclass declares in `setup` and needs no constructor."""
        self.s = settings
        self.state = state
        self._desk = desk

    def setup(self) -> None:
        """Declare bars, indicators, quotes, trades and timers; nothing else happens here."""

    def bars(self, timeframe: str, symbol: str | None = None, keep: int = 0) -> Series:
        """Declare closed bars; without a symbol that of the settings. `keep` bars stay readable."""
        return self._desk.bars(timeframe, self._symbol(symbol), keep)

    def quotes(self, symbol: str | None = None) -> None:
        """Declare best bid and ask for `on_quote`; quotes conflate, so never count them."""
        self._desk.quotes(self._symbol(symbol))

    def trades(self, symbol: str | None = None) -> None:
        """Declare public trades for `on_trade`."""
        self._desk.trades(self._symbol(symbol))

    def every(self, period: str, at: str = "00:00", name: str | None = None) -> None:
        """Declare a schedule in UTC for `on_timer_<name>` (the period where no name is given).

        Due at midnight + `at` (HH:MM or HH:MM:SS) and whole periods from there.
        """
        self._desk.every(period, at, name or period)

    def _symbol(self, symbol: str | None) -> str:
        found = symbol or getattr(self.s, "symbol", None)
        if not isinstance(found, str):
            raise Refused("BAD_STRATEGY", f"{type(self).__name__}: name a symbol, the settings have none")
        return found

    def on_start(self, view: View) -> Commands:
        """Run once, at the first instant at which everything is ready."""
        return ()

    def on_bar(self, bar: Bar, view: View) -> Commands:
        """Run for each declared closed bar whose timeframe has no handler of its own."""
        return ()

    def on_quote(self, quote: Quote, view: View) -> Commands:
        """Run for a declared quote."""
        return ()

    def on_trade(self, trade: Trade, view: View) -> Commands:
        """Run for a declared public trade."""
        return ()

    def on_fill(self, fill: FillUpdate, view: View) -> Commands:
        """Run when an own fill was booked."""
        return ()

    def on_parent(self, parent: ParentUpdate, view: View) -> Commands:
        """Run when an own wish changed."""
        return ()

    def on_refused(self, refusal: Refusal, view: View) -> Commands:
        """Run when an own wish was refused; `refusal.would_pass` says what would not have been."""
        return ()

    def on_stop(self, view: View) -> Commands:
        """Run once before the end, when `on_start` has run; cancels are heard, orders not any more."""
        return ()
