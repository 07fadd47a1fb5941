"""What a strategy says beside its orders: numbers for the stores, sentences for the log and for people."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from tests.unit.actors.trader_rig import ETH, ME, T0, Turns, bars, live, quote, wiring
from tradefan.actors.trader import Trader
from tradefan.actors.trader_turn import NAMES_MAX
from tradefan.errors import Defect
from tradefan.messages.account import IndicatorPoint
from tradefan.messages.base import Message
from tradefan.messages.control import Ready, Started
from tradefan.messages.market import Quote
from tradefan.messages.orders import PositionsSent, SetTarget
from tradefan.strategy import Commands, Settings, State, Strategy, View, alert, note, record, target
from tradefan.units import MINUTE, InstrumentId, Ref

STORES = (Ref(20), Ref(21))
WRONG: Any = "info"


class TalkerSettings(Settings, frozen=True):
    symbol: str = "BTC/USDT"


class Talker(Strategy[TalkerSettings, State]):
    """Answers a quote with what the test has put there."""

    answer: ClassVar[Commands] = ()

    def setup(self) -> None:
        self.mean = self.bars("1m").sma(3)
        self.quotes()

    def on_quote(self, quote: Quote, view: View) -> Commands:
        return self.answer


def answered(answer: Any) -> tuple[Turns, Trader]:
    """A ready trader whose handler has answered one quote."""
    turns, trader = Turns(), Trader(wiring(stores=STORES), strategy=Talker)
    Talker.answer = ()
    turns.give(trader, Started(0), Ready(4), PositionsSent(ME, 4))
    turns.give(trader, *bars(10, 11, 12, start=T0 - 3 * MINUTE, live=False), live(), quote(100))
    assert trader.view().phase == "READY"
    turns.sent.clear()
    turns.logged.clear()
    Talker.answer = answer
    turns.give(trader, quote(101))
    return turns, trader


def kept(turns: Turns) -> list[tuple[Ref, Message]]:
    return [(ref, msg) for ref, msg in turns.sent if isinstance(msg, IndicatorPoint)]


def test_record_when_returned_then_every_store_gets_it_and_the_order_goes_too() -> None:
    """With the instant of the event; without a symbol it is of none."""
    wish = target("BTC/USDT", weight=0.1)
    turns, _ = answered((record("fast", 1.25, "ETH/USDT"), wish, record("regime", 2)))
    fast = IndicatorPoint(ME, ETH, "fast", T0, 1.25, 1)
    regime = IndicatorPoint(ME, InstrumentId(""), "regime", T0, 2.0, 2)
    assert kept(turns) == [(store, point) for point in (fast, regime) for store in STORES]
    assert [type(command) for command in turns.commands()] == [SetTarget]


def test_record_when_one_name_comes_twice_in_a_step_then_both_are_kept() -> None:
    """Two points of one instant: only their ordinal tells them apart."""
    turns, _ = answered((record("fast", 1.0, "ETH/USDT"), record("fast", 2.0, "ETH/USDT")))
    first, second = (IndicatorPoint(ME, ETH, "fast", T0, float(one), one) for one in (1, 2))
    assert kept(turns) == [(store, point) for point in (first, second) for store in STORES]


def test_record_when_the_symbol_is_unknown_then_it_is_said_and_the_order_goes() -> None:
    """A number that cannot be kept is no reason to lose an order."""
    turns, _ = answered((record("fast", 1.0, "XYZ/USDT"), target("BTC/USDT", weight=0.1)))
    assert kept(turns) == []
    assert [(event, fields["name"]) for event, fields in turns.logged if event == "not_recorded"] == [
        ("not_recorded", "fast")
    ]
    assert len(turns.commands()) == 1


def test_record_when_names_are_too_many_then_known_ones_go_on() -> None:
    """Each name is a series for ever: ids do not become names."""
    turns, trader = answered([record(f"n{number}", 1.0) for number in range(NAMES_MAX + 2)])
    assert len(kept(turns)) == NAMES_MAX * len(STORES)
    assert [fields["code"] for event, fields in turns.logged if event == "not_recorded"] == [
        "TOO_MANY_NAMES"
    ] * 2
    turns.sent.clear()
    Talker.answer = (record("n0", 2.0), record("other", 1.0))
    turns.give(trader, quote(102))
    assert [msg.value for _, msg in kept(turns) if isinstance(msg, IndicatorPoint)] == [2.0, 2.0]


def test_note_and_alert_when_returned_then_the_log_has_them() -> None:
    """An alert by its severity, from where notifiers take it; no order follows."""
    turns, _ = answered((note("calm"), alert("spread is wide", "error")))
    assert turns.logged == [
        ("strategy_note", {"owner": ME, "text": "calm"}),
        ("strategy_alert", {"owner": ME, "text": "spread is wide"}),
    ]
    assert turns.to_oms() == []


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: record("a b", 1.0), "expected a word of at most 40 letters"),
        (lambda: record("", 1.0), "expected a word"),
        (lambda: record("x" * 41, 1.0), "expected a word"),
        (lambda: record("fast", float("nan")), "expected a finite value, got nan"),
        (lambda: alert("x", WRONG), "expected a severity of warning, error, critical, got 'info'"),
    ],
)
def test_words_when_wrong_then_the_handler_hears_it(make: Any, text: str) -> None:
    """Before anything of the turn has left."""
    with pytest.raises(Defect, match=text):
        make()


def test_note_when_long_then_cut() -> None:
    """A log line stays a line."""
    assert len(note("x" * 10_000).text) == 500
