"""The author's test tools: scenarios play what they are given, and each check catches what it is for."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, ClassVar

import pytest

from tradefan.errors import Defect
from tradefan.messages.market import FeedQuality, Quality, Quote, Trade
from tradefan.messages.orders import CancelAll, CancelParent, FillUpdate, ParentUpdate, Refusal, SubmitOrder
from tradefan.strategy import (
    Bar,
    Commands,
    Indicator,
    Settings,
    State,
    Strategy,
    Timer,
    View,
    buy,
    cancel,
    cancel_all,
    sell,
    target,
)
from tradefan.testing import CHECKS, Outcome, Scenario, conform, make_bars, make_instrument
from tradefan.testing.conformance import make_case
from tradefan.units import MINUTE, InstrumentId

BTC = InstrumentId("binance:BTC/USDT")


class Plain(Settings, frozen=True):
    symbol: str = "BTC/USDT"


class Count(State):
    bars: int = 0
    notes: list[str] = []


class Script(Strategy[Plain, Count]):
    """Answers the n-th bar with what the test wrote down, and notes what it sees."""

    script: ClassVar[dict[int, Any]] = {}

    def setup(self) -> None:
        self.bars("1m")

    def on_bar(self, bar: Bar, view: View) -> Commands:
        self.state.bars += 1
        held = view.position("BTC/USDT")
        self.state.notes.append(f"{held.qty:g} {held.unrealised:g} {len(view.orders('BTC/USDT'))}")
        answer: Commands = self.script.get(self.state.bars, ())
        return answer

    def on_fill(self, fill: FillUpdate, view: View) -> Commands:
        self.state.notes.append(f"{fill.side} {float(fill.qty):g} at {fill.price}")
        return ()


def _play(script: dict[int, Any], **other: Any) -> Outcome:
    Script.script = script
    bars = make_bars([100, 110, 120, 130, 140], timeframe="1m")
    return Scenario(Script, bars=bars, **other).run()


def _notes(outcome: Outcome) -> list[str]:
    assert outcome.strategy is not None
    notes: list[str] = outcome.strategy.state.notes
    return notes


def test_scenario_when_orders_fill_then_positions_follow_at_the_next_open() -> None:
    """A wish of one bar is filled at the open of the next, and the view shows it in that bar's handler."""
    outcome = _play({1: buy("BTC/USDT", 2), 3: sell("BTC/USDT", 3)}, fill=True)
    assert _notes(outcome) == [
        "0 0 0",
        "buy 2 at 100.0",
        "2 20 0",
        "2 40 0",
        "sell 3 at 120.0",
        "-1 -10 0",
        "-1 -20 0",
    ]
    position = outcome.positions[BTC]
    assert (position.qty, position.avg_px, position.realised) == (Decimal(-1), Decimal(120), Decimal(40))
    assert outcome.commands == [buy("BTC/USDT", 2), sell("BTC/USDT", 3)]


def test_scenario_when_positions_grow_shrink_and_close_then_average_cost_holds() -> None:
    """Buying more moves the entry, selling a part does not, selling all clears it."""
    script = {1: buy("BTC/USDT", 1), 2: buy("BTC/USDT", 1), 3: sell("BTC/USDT", 1), 4: sell("BTC/USDT", 1)}
    outcome = _play(script, fill=True)
    assert [str(fill.realised) for fill in outcome.fills] == ["0", "0", "15.000000", "25.000000"]
    assert (outcome.positions[BTC].qty, outcome.positions[BTC].avg_px) == (Decimal(0), None)


def test_scenario_when_nothing_fills_then_wishes_work_until_they_are_cancelled() -> None:
    """Without fills an order stays in the view; cancels take it away, by name or all."""
    outcome = _play({1: (buy("BTC/USDT", 1), buy("BTC/USDT", 2)), 2: cancel("p1"), 3: cancel_all()})  # type: ignore[arg-type]
    assert _notes(outcome) == ["0 0 0", "0 0 2", "0 0 1", "0 0 0", "0 0 0"]
    assert [type(msg) for msg in outcome.sent] == [SubmitOrder, SubmitOrder, CancelParent, CancelAll]
    assert outcome.fills == []


def test_scenario_when_a_target_is_near_then_nothing_is_ordered() -> None:
    """The stand-in knows the band: a difference below it is no order, zero always is."""
    script = {1: target("BTC/USDT", qty=1), 2: target("BTC/USDT", qty=1.005), 3: target("BTC/USDT", qty=0)}
    outcome = _play(script, fill=True)
    assert [(fill.side, fill.qty) for fill in outcome.fills] == [("buy", Decimal(1)), ("sell", Decimal(1))]


def test_scenario_when_run_twice_then_nothing_is_left_from_the_first_run() -> None:
    """A scenario is a description: it can be run again."""
    Script.script = {1: buy("BTC/USDT", 1)}
    scenario = Scenario(Script, bars=make_bars([100, 101], timeframe="1m"))
    assert scenario.run().sent == scenario.run().sent


class Everything(Strategy[Plain, Count]):
    """Follows two timeframes, quotes, trades and a schedule."""

    def setup(self) -> None:
        self.bars("1m")
        self.bars("5m")
        self.quotes()
        self.trades()
        self.every("2m", name="tick")

    def _note(self, what: str, view: View) -> Commands:
        minutes = (view.now - 1_704_067_200_000_000_000) / MINUTE
        self.state.notes.append(f"{minutes:g} {what}")
        return ()

    def on_bar_1m(self, bar: Bar, view: View) -> Commands:
        return self._note(f"1m {bar.close:g}", view)

    def on_bar_5m(self, bar: Bar, view: View) -> Commands:
        return self._note(f"5m {bar.open:g} {bar.close:g} {bar.volume:g}", view)

    def on_quote(self, quote: Quote, view: View) -> Commands:
        return self._note(f"quote {quote.bid:g}", view)

    def on_trade(self, trade: Trade, view: View) -> Commands:
        return self._note(f"trade {trade.price:g}", view)

    def on_timer_tick(self, timer: Timer, view: View) -> Commands:
        return self._note("tick", view)


def test_scenario_when_several_kinds_are_given_then_they_come_in_the_order_of_time() -> None:
    """Coarser bars are folded from the finest; trades, quotes, bars and schedules keep their instants."""
    bars = make_bars([1, 2, 3, 4, 5], timeframe="1m")
    start = bars[0].open_ns
    quotes = [Quote(BTC, 7.0, 1, 9.0, 1, number, start + number * MINUTE // 2) for number in (0, 3)]
    trades = [Trade(BTC, 1, 6.0, 1.0, "buy", start + 90, start + 5 * MINUTE // 2)]
    outcome = Scenario(Everything, bars=bars, quotes=quotes, trades=trades).run()
    assert _notes(outcome) == [
        "1 1m 1",
        "1.5 quote 7",
        "2 1m 2",
        "2 tick",
        "2.5 trade 6",
        "3 1m 3",
        "4 1m 4",
        "4 tick",
        "5 1m 5",
        "5 5m 1 5 5",
    ]


def test_scenario_when_events_are_given_then_the_feed_can_fail_in_the_middle() -> None:
    """Any message can be put at an instant: while the feed is STALE no handler runs."""
    bars = make_bars([100, 110, 120], timeframe="1m")
    stale = FeedQuality(BTC, Quality.STALE, "silent", bars[1].open_ns, 1)
    Script.script = {}
    outcome = Scenario(Script, bars=bars, events=[(bars[1].open_ns + 1, stale)]).run()
    assert len(_notes(outcome)) == 1
    assert outcome.view is not None
    assert outcome.view.forecast == "binance:BTC/USDT: feed is STALE"


def test_scenario_when_instruments_are_given_then_only_these_exist() -> None:
    """A lot of one's own rounds, and a symbol that is not there is refused."""
    Script.script = {1: buy("BTC/USDT", 1.26), 2: buy("SOL/USDT", 1)}
    outcome = Scenario(
        Script, bars=make_bars([100, 110], timeframe="1m"), instruments=[make_instrument()], capital=1
    ).run()
    assert [msg.order_qty for msg in outcome.sent if isinstance(msg, SubmitOrder)] == [Decimal("1.26")]
    assert outcome.state.counters.refusals == 1


class Living(Script):
    """Notes what it finds when it begins."""

    def on_start(self, view: View) -> Commands:
        held = view.position("BTC/USDT")
        self.state.notes.append(f"began with {held.qty:g} and {len(view.orders('BTC/USDT'))} working")
        return cancel_all()


def test_scenario_when_the_strategy_is_killed_then_state_positions_and_orders_are_there_again() -> None:
    """A new life has what was journaled and what the order manager holds, and `on_start` runs again."""
    Living.script = {1: buy("BTC/USDT", 2), 3: sell("BTC/USDT", 1, by="limit", limit_price=500)}
    bars = make_bars([100, 110, 120, 130], timeframe="1m")
    outcome = Scenario(Living, bars=bars, fill=True).run(restart_at=[6])
    assert _notes(outcome) == [
        "began with 0 and 0 working",
        "0 0 0",
        "buy 2 at 100.0",
        "2 20 0",
        "2 40 0",
        "began with 2 and 1 working",
        "2 60 0",
    ]
    assert outcome.begun == [(bars[0].close_ns, cancel_all()), (bars[2].close_ns, cancel_all())]
    assert outcome.commands.count(cancel_all()) == 1
    numbers = [turn.turn for turn in outcome.turns]
    assert numbers == list(range(1, len(numbers) + 1))


# --- every check catches what it is for ---------------------------------------------------------


class Idle(Strategy[Plain, Count]):
    """Follows one average and keeps every rule."""

    def setup(self) -> None:
        self.mean = self.bars("1m").sma(3)

    def on_bar(self, bar: Bar, view: View) -> Commands:
        return target("BTC/USDT", weight=0.1 if bar.close > self.mean else 0)


class Forgetful(Idle):
    """Keeps something beside its state."""

    bars_seen: int = 0

    def on_bar(self, bar: Bar, view: View) -> Commands:
        self.bars_seen += 1
        return target("BTC/USDT", qty=self.bars_seen)


class Doubling(Idle):
    """Buys with every life."""

    def on_start(self, view: View) -> Commands:
        return buy("BTC/USDT", 1)

    def on_bar(self, bar: Bar, view: View) -> Commands:
        return ()


class Deep(Indicator):
    """Counts bars, and says that it can be trusted after one."""

    value: float = 0.0

    def update(self, bar: Bar) -> None:
        self.value += 1


class Shallow(Idle):
    """Decides by more history than it declares."""

    def setup(self) -> None:
        self.deep = self.bars("1m").add(Deep())

    def on_bar(self, bar: Bar, view: View) -> Commands:
        return target("BTC/USDT", weight=0.1 if self.deep > 100 else 0)


class Counting(Idle):
    """Remembers how often it began."""

    def on_start(self, view: View) -> Commands:
        self.state.bars += 1
        return ()


class Dropping(Idle):
    """Forgets with each life what it remembered."""

    def on_start(self, view: View) -> Commands:
        self.state.bars = 0
        return ()

    def on_bar(self, bar: Bar, view: View) -> Commands:
        self.state.bars += 1
        return target("BTC/USDT", qty=self.state.bars)


class SizedSettings(Settings, frozen=True):
    symbol: str = "BTC/USDT"
    length: int = 3


class SizedState(State):
    seen: list[int] = []


class Sized(Strategy[SizedSettings, SizedState]):
    """Trusts its State to be as long as the settings say."""

    def setup(self) -> None:
        self.bars("1m")

    def on_start(self, view: View) -> Commands:
        if not self.state.seen:
            self.state.seen = [0] * self.s.length
        return ()

    def on_bar(self, bar: Bar, view: View) -> Commands:
        self.state.seen[self.s.length - 1] += 1
        return ()


class Sharing(Idle):
    """Keeps something between two lives."""

    shared: ClassVar[list[int]] = []

    def on_bar(self, bar: Bar, view: View) -> Commands:
        self.shared.append(1)
        return target("BTC/USDT", qty=len(self.shared))


class Peeking(Idle):
    """Knows, from an earlier life, what is still to come."""

    known: ClassVar[dict[int, float]] = {}

    def on_bar(self, bar: Bar, view: View) -> Commands:
        self.known[bar.open_ns] = bar.close
        return target("BTC/USDT", weight=0.1 if max(self.known) > bar.open_ns else 0)


class Endless(Idle):
    """Answers every refusal with the next order."""

    def on_refused(self, refusal: Refusal, view: View) -> Commands:
        return buy("BTC/USDT", 1)


class Raising(Idle):
    """Cannot live with a refusal."""

    def on_refused(self, refusal: Refusal, view: View) -> Commands:
        raise KeyError(refusal.code)


@pytest.mark.slow
def test_conform_when_a_strategy_keeps_every_rule_then_it_is_silent() -> None:
    """A clean strategy passes on several markets."""
    for seed in range(3):
        conform(Idle, seed=seed)


@pytest.mark.parametrize(
    ("strategy", "check", "error", "text"),
    [
        (Forgetful, "restart", AssertionError, "a restart at one of the events .* is visible"),
        (Doubling, "restart", AssertionError, "positions differ after a kill at one of the events"),
        (Dropping, "restart", AssertionError, "decisions differ after a kill at one of the events"),
        (Counting, "restart", AssertionError, "State differ after a kill at one of the events"),
        (Shallow, "depth", AssertionError, "decides by more history than it declares: .* at each of"),
        (Sized, "settings", IndexError, "list index out of range"),
        (Sharing, "determinism", AssertionError, "two runs differ"),
        (
            Peeking,
            "no_look_ahead",
            AssertionError,
            "with the future after .* cut off other decisions",
        ),
        (Endless, "refusal", Defect, "more than 10000 turns at one instant: Refusal never ends"),
        (Raising, "refusal", KeyError, "RISK_MAX_POSITION"),
    ],
)
def test_check_when_its_rule_is_broken_then_it_says_so(
    strategy: type[Strategy[Any, Any]], check: str, error: type[Exception], text: str
) -> None:
    """Each check fails for the mutant that breaks its rule."""
    with pytest.raises(error, match=text):
        CHECKS[check](make_case(strategy))


def test_checks_when_a_strategy_follows_nothing_then_they_pass() -> None:
    """A strategy that only keeps time has no bars to cut or to break."""

    class Clock(Strategy[Plain, Count]):
        def on_parent(self, parent: ParentUpdate, view: View) -> Commands:
            return ()

    for check in CHECKS.values():
        check(make_case(Clock))


class TrendSettings(Settings, frozen=True):
    symbol: str = "BTC/USDT"
    fast: int = 12
    slow: int = 26
    weight: float = 0.5


class TrendState(State):
    peak: float = 0.0


class Trend(Strategy[TrendSettings, TrendState]):
    """Hold while the short trend agrees with the hour's."""

    def setup(self) -> None:
        m5, h1 = self.bars("5m"), self.bars("1h")
        self.fast, self.slow, self.hour = m5.ema(self.s.fast), m5.ema(self.s.slow), h1.ema(20)

    def on_bar_5m(self, bar: Bar, view: View) -> Commands:
        self.state.peak = max(self.state.peak, bar.close)
        up = self.fast > self.slow and bar.close > self.hour and bar.close > 0.97 * self.state.peak
        return target(bar.symbol, weight=self.s.weight if up else 0, by="twap", duration="2m", reason="trend")


def test_conform_when_two_timeframes_and_state_are_used_then_every_check_holds() -> None:
    """A strategy with an hour above five minutes and a remembered peak passes, and does trade."""
    for seed in range(2):
        conform(Trend, seed=seed)
    outcome = make_case(Trend).scenario().run()
    assert len(outcome.commands) == 200
    assert len(outcome.fills) > 2


class QuotingSettings(Settings, frozen=True):
    symbol: str = "ETH/USDT"


class Quoting(Strategy[QuotingSettings, State]):
    """Follows bars of one symbol, and trades another one, of which it asks for quotes alone."""

    def setup(self) -> None:
        self.bars("5s")
        self.quotes("BTC/USDT")

    def on_bar(self, bar: Bar, view: View) -> Commands:
        return target("BTC/USDT", qty=1)


def test_conform_when_a_symbol_is_only_quoted_then_it_is_known_without_bars() -> None:
    """What `setup` names exists in every scenario, also in those that take the bars away."""
    conform(Quoting)
