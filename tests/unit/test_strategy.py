"""The author's API: wishes, the view, and what a declaration may be."""

from __future__ import annotations

import asyncio
import random
import time
import types
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

import pytest
from msgspec import Struct

from tradefan.core.declare import declare, find_strategy
from tradefan.core.describe import describe
from tradefan.core.desk import BarsNeed, Declared, TimerNeed
from tradefan.core.indicators import SMA
from tradefan.errors import Defect, Refused
from tradefan.messages.market import FeedQuality
from tradefan.messages.orders import PositionUpdate
from tradefan.strategies import EmaCross
from tradefan.strategy import (
    Bar,
    Commands,
    Quality,
    Quote,
    Settings,
    State,
    Strategy,
    Timer,
    View,
    buy,
    cancel,
    cancel_all,
    register,
    sell,
    target,
)
from tradefan.strategy.view import Picture, Position, find_instrument
from tradefan.strategy.wishes import CancelAllWish, CancelWish, OrderWish, TargetWish
from tradefan.testing import make_instrument
from tradefan.units import DAY, HOUR, AccountId, Asset, InstrumentId, OwnerId, ParentId

BTC = InstrumentId("binance:BTC/USDT")


class Plain(Settings, frozen=True):
    symbol: str = "BTC/USDT"
    length: int = 3


class Memory(State):
    peak: float = 0.0


def _declared(strategy: type[Strategy[Any, Any]], settings: Settings | None = None) -> Declared:
    return declare(strategy, settings or Plain(), InstrumentId).declared


# --- wishes -------------------------------------------------------------------------------------


def test_wishes_when_made_then_they_hold_what_was_said() -> None:
    """Each function returns one frozen wish; other keywords are settings of the algorithm."""
    assert target("BTC/USDT", weight=0.5, by="twap", duration="2m", reason="trend") == TargetWish(
        "BTC/USDT", 0.5, None, None, "twap", 0.01, None, "trend", {"duration": "2m"}
    )
    assert target("BTC/USDT", qty=Decimal("0.3"), band=0).qty == 0.3
    assert buy("BTC/USDT", 2, by="limit", limit_price=99.5) == OrderWish(
        "buy", "BTC/USDT", 2.0, "limit", 99.5, "", {}
    )
    assert sell("BTC/USDT", 1, reason="out") == OrderWish("sell", "BTC/USDT", 1.0, "market", None, "out", {})
    assert cancel(ParentId("p1")) == CancelWish(ParentId("p1"))
    assert (cancel_all(), cancel_all("BTC/USDT")) == (CancelAllWish(None), CancelAllWish("BTC/USDT"))


@pytest.mark.parametrize(
    ("wish", "text"),
    [
        (lambda: target("X"), "expected one of weight, qty, notional, got none"),
        (
            lambda: target("X", weight=1, qty=1),
            r"expected one of .*, got \['weight', 'qty'\]",
        ),
        (lambda: target("X", weight=float("nan")), "expected a finite weight, got nan"),
        (lambda: target("X", weight=1, band=1), "expected 0 <= band < 1, got 1.0"),
        (lambda: buy("X", 0), "expected qty > 0, got 0.0"),
        (lambda: sell("X", -1), "expected qty > 0, got -1.0"),
        (lambda: buy("X", 1, limit_price=-5), "expected limit_price > 0, got -5.0"),
    ],
)
def test_wish_when_it_makes_no_sense_then_it_is_a_defect_in_words(wish: Any, text: str) -> None:
    """A wish that cannot be meant ends the strategy at once, and says what was expected."""
    with pytest.raises(Defect, match=text):
        wish()


# --- declarations -------------------------------------------------------------------------------


class Full(Strategy[Plain, Memory]):
    """Uses everything once."""

    def setup(self) -> None:
        fine, coarse = self.bars("5m", keep=7), self.bars("1h", "ETH/USDT")
        self.fast, self.slow = fine.ema(self.s.length), coarse.rsi(2)
        self.quotes()
        self.trades("ETH/USDT")
        self.every("1d", at="23:30", name="close")
        self.every("8h")

    def on_bar_1h(self, bar: Bar, view: View) -> Commands:
        return ()

    def on_quote(self, quote: Quote, view: View) -> Commands:
        return ()

    def on_trade(self, trade: Any, view: View) -> Commands:
        return ()

    def on_timer_close(self, timer: Timer, view: View) -> Commands:
        return ()

    def on_timer_8h(self, timer: Timer, view: View) -> Commands:
        return ()


def test_setup_when_everything_is_declared_then_subscriptions_and_depth_follow() -> None:
    """Bars with their warm-up, quotes, trades, schedules and every instrument named come out in order."""
    assert _declared(Full) == Declared(
        (BarsNeed(InstrumentId("BTC/USDT"), "5m", 10), BarsNeed(InstrumentId("ETH/USDT"), "1h", 11)),
        (InstrumentId("BTC/USDT"),),
        (InstrumentId("ETH/USDT"),),
        (TimerNeed("close", DAY, 23 * HOUR + HOUR // 2), TimerNeed("8h", 8 * HOUR, 0)),
        (InstrumentId("BTC/USDT"), InstrumentId("ETH/USDT")),
    )


def test_schedule_when_asked_for_the_next_instant_then_it_is_absolute_utc() -> None:
    """Due at midnight + offset and whole periods from there, strictly after now."""
    daily, often = TimerNeed("a", DAY, HOUR), TimerNeed("b", 8 * HOUR, 2 * HOUR)
    assert [daily.next_ns(now) for now in (0, HOUR - 1, HOUR, 5 * DAY + 2 * HOUR)] == [
        HOUR, HOUR, DAY + HOUR, 6 * DAY + HOUR,
    ]  # fmt: skip
    assert [often.next_ns(now) for now in (0, 2 * HOUR, 11 * HOUR)] == [2 * HOUR, 10 * HOUR, 18 * HOUR]


def test_bars_when_declared_twice_then_they_are_one_series_with_the_larger_keep() -> None:
    """The same instrument and timeframe is one series, so each bar is counted once."""

    class Twice(Strategy[Plain, State]):
        def setup(self) -> None:
            assert self.bars("1m", keep=2) is self.bars("1m", "BTC/USDT", keep=5)
            assert self.bars("1m") is not self.bars("5m")

    assert [need.depth for need in _declared(Twice).bars] == [5, 0]


def _strategy(setup: Any, **members: Any) -> type[Strategy[Any, Any]]:
    body = {"setup": setup, "__module__": __name__, **members}
    return types.new_class("Odd", (Strategy[Plain, Memory],), {}, lambda names: names.update(body))


def _handler(self: Any, event: Any, view: Any) -> Commands:
    return ()


async def _waits(self: Any, event: Any, view: Any) -> Commands:
    await asyncio.sleep(0)
    return ()


def _yields(self: Any, event: Any, view: Any) -> Iterator[Any]:
    yield cancel_all()


def _reads(self: Any, event: Any, view: Any) -> Commands:
    return buy("BTC/USDT", float(open("prices.csv").read()))  # noqa: PTH123 what is to be found


def _helper() -> float:
    return time.time() + random.random()


def _indirect(self: Any, event: Any, view: Any) -> Commands:
    return buy("BTC/USDT", _helper())


def _nested(self: Any, event: Any, view: Any) -> Commands:
    return buy("BTC/USDT", sum(map(lambda step: step * _again(3), [1])))  # noqa: C417 a function inside


def _again(depth: int) -> float:
    return _again(depth - 1) if depth else time.monotonic()


def _imports(self: Any, event: Any, view: Any) -> Commands:
    import requests.sessions

    return buy("BTC/USDT", len(requests.sessions.__name__))


def _asks_the_time(self: Any, event: Any, view: Any) -> Commands:
    return buy("BTC/USDT", datetime.now(UTC).hour)


def _upgrades(cls: Any, old: dict[str, Any]) -> Memory:
    return Memory(peak=time.time())


def _upgrades_by_chance(old: dict[str, Any]) -> Memory:
    return Memory(peak=random.random())


def _bars(self: Any) -> None:
    self.bars("5m")


@pytest.mark.parametrize(
    ("setup", "members", "text"),
    [
        (_bars, {"on_bar_7m": _handler}, "on_bar_7m would never run, setup.* did you mean 'on_bar_5m'"),
        (_bars, {"on_bars": _handler}, "on_bars would never run.* did you mean 'on_bar'"),
        (_bars, {"on_quote": _handler}, r"on_quote would never run, call self.quotes\(...\)"),
        (_bars, {"on_trade": _handler}, r"on_trade would never run, call self.trades\(...\)"),
        (_bars, {"on_book": _handler}, "on_book is not supported yet"),
        (_bars, {"on_timer_noon": _handler}, "on_timer_noon would never run"),
        (lambda self: None, {"on_bar": _handler}, r"on_bar would never run, call self.bars\(...\)"),
        (lambda self: self.every("1h"), {}, "a schedule '1h' is declared, but there is no on_timer_1h"),
        (lambda self: self.every("1h", at="9:00"), {}, "expected at=HH:MM or HH:MM:SS, got '9:00'"),
        (lambda self: self.every("1h", name="a b"), {}, "expected a new name for on_timer_<name>, got 'a b'"),
        (lambda self: self.bars("7m"), {}, "expected a period that divides a day or is whole days, got '7m'"),
        (lambda self: self.bars("5 min"), {}, "expected a duration such as"),
        (lambda self: self.bars("5m", keep=-1), {}, "expected 0 <= keep <= 10000, got -1"),
        (lambda self: self.bars("5m").ema(0), {}, "EMA: expected n >= 1, got 0"),
        (_bars, {"on_bar": _waits}, "Odd.on_bar is async: handlers run to completion"),
        (_bars, {"on_bar": _yields}, "Odd.on_bar yields: return the wishes as a tuple"),
        (_bars, {"on_bar": _reads}, r"Odd.on_bar calls open\(\)"),
        (_bars, {"on_bar": _indirect}, "Odd.on_bar uses time of time; Odd.on_bar uses random of random"),
        (_bars, {"on_bar": _nested}, "Odd.on_bar uses time of time"),
        (_bars, {"on_bar": _imports}, "Odd.on_bar imports requests.sessions"),
        (_bars, {"upgrade": classmethod(_upgrades)}, "Odd.upgrade uses time of time"),
        (_bars, {"upgrade": staticmethod(_upgrades_by_chance)}, "Odd.upgrade uses random of random"),
        (
            _bars,
            {"on_bar": _asks_the_time},
            r"Odd.on_bar asks datetime.now\(\) for the time",
        ),
    ],
)
def test_declaration_when_misused_then_it_is_refused_in_words(
    setup: Any, members: dict[str, Any], text: str
) -> None:
    """A handler that would never run, a bad period, I/O, a clock: each is named before anything runs."""
    with pytest.raises(Refused, match=text):
        _declared(_strategy(setup, **members))


def test_declaration_when_the_class_names_no_types_then_the_right_form_is_shown() -> None:
    """Settings and state types come from the base class in brackets."""

    class Bare(Strategy):
        pass

    class Needy(State):
        peak: float

    class NoDefault(Strategy[Plain, Needy]):
        pass

    with pytest.raises(Refused, match=r"expected class Bare\(Strategy\[MySettings, MyState\]\)"):
        _declared(Bare)
    with pytest.raises(Refused, match="Needy: every field of a State needs a default"):
        _declared(NoDefault)


class Thing:
    """No message, no number: nothing that could be journaled."""


class Lot(Struct):
    names: dict[str, list[frozenset[str]]] = {}
    inner: Lot | None = None


class Sets(State):
    count: int = 0
    seen: set[str] = set()


class Deep(State):
    lots: list[Lot] = []


class Things(State):
    held: dict[str, Thing | None] = {}


class Bare(State, array_like=True):
    count: int = 0


class Unknown(State):
    held: Missing | None = None  # type: ignore[name-defined] # noqa: F821 a name that is nowhere


class Fine(State):
    """All that may be kept."""

    lots: list[Plain | None] = []
    by_name: dict[str, tuple[int, Decimal]] = {}
    mean: SMA | None = None
    at: datetime | None = None
    anything: Any = None


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (Sets, "Sets.seen: a set has no order that survives; keep a list or a dict"),
        (Deep, "Deep.lots: a set has no order that survives"),
        (Things, "Things.held: Thing cannot be journaled"),
        (Bare, "Bare: a State is kept by its fields' names, not array_like"),
        (Unknown, "Unknown: its types cannot be read: name 'Missing' is not defined"),
    ],
)
def test_state_when_it_could_not_be_journaled_then_the_strategy_is_refused_and_the_field_named(
    state: type[State], text: str
) -> None:
    """What would be lost, or come back in another order, is refused before anything runs."""
    keeper = types.new_class("Keeper", (Strategy[Plain, state],))  # type: ignore[valid-type]
    with pytest.raises(Refused, match=text):
        _declared(keeper)


def test_state_when_it_holds_numbers_texts_structs_and_indicators_then_it_is_taken() -> None:
    """Lists, dicts, tuples, Decimals, instants, Structs and indicators come back as they were."""

    class Keeper(Strategy[Plain, Fine]):
        pass

    assert _declared(Keeper).instruments == ()


def test_declaration_when_made_in_a_handler_then_it_is_a_defect() -> None:
    """Subscriptions are fixed once `setup` has returned."""
    made = declare(Full, Plain(), InstrumentId)
    with pytest.raises(Defect, match=r"bars\(\) only declares: call it in setup\(\)"):
        made.strategy.bars("5m")
    series = made.series["BTC/USDT", "5m"]
    with pytest.raises(Defect, match=r"BTC/USDT 5m: indicators are declared in setup\(\)"):
        series.ema(3)


def test_symbol_when_neither_given_nor_in_settings_then_it_is_asked_for() -> None:
    """Without `symbol` in the settings each declaration names one."""

    class Nameless(Strategy[Settings, State]):
        def setup(self) -> None:
            self.quotes()

    with pytest.raises(Refused, match="Nameless: name a symbol, the settings have none"):
        _declared(Nameless, Settings())


def test_settings_when_wrong_then_each_mistake_has_its_code_and_words() -> None:
    """An unknown strategy, an unknown key and a bad value are told apart and explained."""
    assert find_strategy("ema_cross", {})[0] is EmaCross
    cases: tuple[tuple[str, dict[str, Any], str, str], ...] = (
        ("emacross", {}, "UNKNOWN_STRATEGY", "did you mean 'ema_cross'"),
        ("ema_cross", {"fats": 3}, "UNKNOWN_SETTING", "no setting 'fats'; did you mean 'fast'"),
        ("ema_cross", {"fast": "many"}, "BAD_SETTING", "fast: expected `int`, got 'many'"),
        ("ema_cross", {"fast": 20}, "BAD_SETTING", "expected fast < slow, got 20 and 15"),
    )
    for use, given, code, text in cases:
        with pytest.raises(Refused, match=text) as refused:
            find_strategy(use, given)
        assert refused.value.code == code
    assert find_strategy("ema_cross", {"fast": "3"})[1].fast == 3  # type: ignore[attr-defined]


def test_describe_when_everything_is_declared_then_it_is_all_there_in_words() -> None:
    """What `strategy show` prints: settings with type and value, subscriptions, warm-up, schedules."""
    assert describe(Full, {"length": 4}) == (
        "Full: Uses everything once.\n"
        "settings\n"
        "  symbol: string = 'BTC/USDT'\n"
        "  length: integer = 4\n"
        "follows\n"
        "  bars BTC/USDT 5m, warm-up 13 bars (65m)\n"
        "  bars ETH/USDT 1h, warm-up 11 bars (11h)\n"
        "  quotes BTC/USDT\n"
        "  trades ETH/USDT\n"
        "  every 24h at 23:30:00 UTC: on_timer_close\n"
        "  every 8h at 00:00:00 UTC: on_timer_8h"
    )


def test_describe_when_nothing_is_declared_then_it_says_so() -> None:
    """A strategy without settings and subscriptions is printable too."""

    class Idle(Strategy[Settings, State]):
        pass

    assert describe(Idle) == "Idle\nsettings: none\nfollows: nothing"


def test_describe_when_a_setting_is_a_choice_then_the_choices_are_shown() -> None:
    """A Literal prints what it may be."""

    class Choice(Settings, frozen=True):
        mode: Literal["slow", "fast"] = "slow"

    class Choosing(Strategy[Choice, State]):
        pass

    assert describe(Choosing, {"mode": "fast"}).splitlines()[2] == "  mode: one of fast, slow = 'fast'"


def test_registration_when_its_settings_are_not_those_of_the_class_then_it_is_refused() -> None:
    """`@register(settings=...)` and `Strategy[...]` must name the same Struct."""
    register("strategy", "mismatched_settings", settings=Settings)(Full)
    with pytest.raises(Refused, match="Full is registered with Settings, which it is not for"):
        find_strategy("mismatched_settings", {})


# --- the view -----------------------------------------------------------------------------------


def _position(qty: str, avg_px: str | None, fees: dict[str, str]) -> PositionUpdate:
    return PositionUpdate(
        account=AccountId("paper:main"),
        owner=OwnerId("me"),
        instrument=BTC,
        qty=Decimal(qty),
        avg_px=None if avg_px is None else Decimal(avg_px),
        realised=Decimal(7),
        fees={Asset(asset): Decimal(fee) for asset, fee in fees.items()},
        working_qty=Decimal("-0.5"),
        in_doubt_qty=Decimal("0.25"),
        updated_ns=1,
    )


def _view(picture: Picture) -> View:
    rules = make_instrument()
    picture.instruments = {rules.id: rules}
    picture.quotes = {BTC: Quote(BTC, 99.0, 1.0, 101.0, 1.0, 1, 1)}
    return View(picture, "binance", Decimal(1000), Asset("USDT"), {})


def test_view_when_a_position_is_held_then_it_is_marked_at_the_mid() -> None:
    """Quantity, entry, working and doubt are the owner's own; profit is marked at the mid."""
    view = _view(Picture(now_ns=5, positions={BTC: _position("2", "90", {})}))
    assert view.position("BTC/USDT") == Position(2.0, 90.0, 20.0, 7.0, -0.5, 0.25)
    assert (view.now, view.capital, view.equity) == (5, 1000.0, 1027.0)
    assert view.instrument("BTC/USDT").qty_lot == Decimal("0.00001")
    assert view.quote(BTC).ask == 101.0


def test_equity_when_fees_were_paid_in_several_assets_then_each_counts_at_its_price() -> None:
    """Fees in the numeraire and in a quoted base lower equity; an asset without a price is left out."""
    view = _view(Picture(positions={BTC: _position("0", None, {"USDT": "3", "BTC": "0.01", "BNB": "9"})}))
    assert view.equity == pytest.approx(1000 + 7 - 3 - 0.01 * 100)


def test_view_when_nothing_is_known_yet_then_it_is_flat_and_blind() -> None:
    """No position is flat; no word about a feed is BLIND; a quote that was not declared is an error."""
    view = _view(Picture())
    assert view.position("BTC/USDT") == Position(0.0, None, 0.0, 0.0, 0.0, 0.0)
    assert (view.quality("BTC/USDT"), view.parents(), view.orders("BTC/USDT")) == (Quality.BLIND, (), ())
    picture = Picture(quality={BTC: FeedQuality(BTC, Quality.LIVE, "", 1, 1)})
    live = _view(picture)
    picture.quotes.clear()
    assert live.quality("BTC/USDT") is Quality.LIVE
    with pytest.raises(Defect, match=r"no quote of binance:BTC/USDT: declare bars, quotes or trades of it"):
        live.quote("BTC/USDT")
    with pytest.raises(Defect, match=r"no series of any symbol : declare bars\(..., keep=3\)"):
        live.last(3)


def test_symbol_when_unknown_then_the_nearest_is_named() -> None:
    """Symbols and instrument ids are both taken; anything else is refused with a suggestion."""
    known = {BTC: make_instrument()}
    assert find_instrument(known, "binance", "BTC/USDT") == find_instrument(known, "binance", BTC) == BTC
    with pytest.raises(Refused, match="'BTC/USD' on binance; did you mean 'BTC/USDT'"):
        find_instrument(known, "binance", "BTC/USD")
