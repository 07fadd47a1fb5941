"""The trader: readiness, what reaches a handler, what becomes of wishes, restarts, the end."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, ClassVar

import msgspec
import pytest

import tradefan.strategies  # noqa: F401 registers what the wiring test names
from tests.unit.actors.trader_rig import (
    ACCOUNT,
    BTC,
    ETH,
    MARKET,
    ME,
    OMS,
    RIM,
    T0,
    Turns,
    bars,
    live,
    parent,
    quote,
    wiring,
)
from tradefan.actors.trader import ASK_AGAIN_NS, HELD_MAX, Trader, TraderState, needs
from tradefan.config.schema import Config, StrategyConfig
from tradefan.core.indicators import EMA, SMA
from tradefan.errors import Defect, Refused
from tradefan.messages.base import Message
from tradefan.messages.control import ConfigChanged, Durable, Ready, Started, Stop, Stopped, Timer
from tradefan.messages.instrument import InstrumentUpdate
from tradefan.messages.market import (
    AskBars,
    AskFeeds,
    BarHistory,
    BarsClosed,
    Quality,
    Quote,
    SessionBreak,
    Trade,
)
from tradefan.messages.orders import (
    AskPositions,
    CancelAll,
    CancelParent,
    FillUpdate,
    OwnerTurn,
    ParentUpdate,
    Phase,
    PositionsSent,
    PositionUpdate,
    Refusal,
    SetTarget,
    SubmitOrder,
)
from tradefan.messages.union import decode
from tradefan.runtime.kernel import Kernel
from tradefan.runtime.mailbox import Limits
from tradefan.runtime.supervisor import Child, Supervisor
from tradefan.runtime.system import ActorSpec, System, number_refs
from tradefan.strategy import (
    Bar,
    Commands,
    Settings,
    State,
    Strategy,
    View,
    buy,
    cancel,
    cancel_all,
    sell,
    target,
)
from tradefan.testing import make_bars, make_instrument
from tradefan.units import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    ZERO,
    Asset,
    ClientOrderId,
    ParentId,
    Ref,
    TradeId,
)


class ProbeSettings(Settings, frozen=True):
    symbol: str = "BTC/USDT"


class ProbeState(State):
    seen: list[str] = []


class Probe(Strategy[ProbeSettings, ProbeState]):
    """Writes down what reaches it and answers with what the test put into `answers`."""

    answers: ClassVar[dict[str, Any]] = {}

    def setup(self) -> None:
        self.mean = self.bars("1m").sma(3)
        self.quotes()
        self.trades()
        self.every("1h", name="hourly")

    def note(self, what: str) -> Commands:
        self.state.seen.append(what)
        answer: Commands = self.answers.get(what.partition(" ")[0], ())
        return answer

    def on_start(self, view: View) -> Commands:
        return self.note(f"start {self.mean:.2f}")

    def on_bar(self, bar: Bar, view: View) -> Commands:
        return self.note(f"bar {bar.close:g} {self.mean:.2f}")

    def on_quote(self, quote: Quote, view: View) -> Commands:
        return self.note(f"quote {quote.bid:g}")

    def on_trade(self, trade: Trade, view: View) -> Commands:
        return self.note(f"trade {trade.price:g}")

    def on_fill(self, fill: FillUpdate, view: View) -> Commands:
        return self.note(f"fill {fill.trade_id}")

    def on_parent(self, parent: ParentUpdate, view: View) -> Commands:
        return self.note(f"parent {parent.order.parent_id} {parent.phase}")

    def on_refused(self, refusal: Refusal, view: View) -> Commands:
        return self.note(f"refused {refusal.code}")

    def on_timer_hourly(self, timer: Timer, view: View) -> Commands:
        return self.note(f"hourly {(timer.number - T0) // MINUTE} {(view.now - T0) // MINUTE}")

    def on_stop(self, view: View) -> Commands:
        return self.note("stop")


@pytest.fixture(autouse=True)
def _no_answers() -> None:
    Probe.answers = {}


def _trader(**other: Any) -> Trader:
    return Trader(wiring(**other), strategy=Probe)


def _seen(trader: Trader) -> list[str]:
    """Return and forget what reached the probe."""
    memory: list[str] = trader.strategy.state.seen
    out = list(memory)
    memory.clear()
    return out


def _ready(turns: Turns, trader: Trader) -> None:
    """Bring a trader to READY and forget what it did on the way."""
    turns.give(trader, Started(0), Ready(4), PositionsSent(ME, 4))
    turns.give(trader, *bars(10, 11, 12, start=T0 - 3 * MINUTE, live=False), live(), quote(100))
    assert trader.view().phase == "READY"
    turns.sent.clear()
    _seen(trader)


# --- readiness ----------------------------------------------------------------------------------


def test_phases_when_things_come_one_by_one_then_each_wait_is_named_and_start_comes_once() -> None:
    """STARTING until the own positions are known, WARMING with a forecast, then `on_start` once."""
    turns, trader = Turns(), _trader()
    waits = []
    for msg in (
        Started(0),
        Ready(4),
        PositionsSent(ME, 4),
        *bars(10, 11, 12, start=T0 - 3 * MINUTE, live=False),
        live(),
        quote(100),
    ):
        turns.give(trader, msg)
        waits.append((trader.view().phase, trader.view().forecast))
    assert waits == [
        ("STARTING", "the order manager is not ready"),
        ("STARTING", "own positions are not known yet"),
        ("WARMING", "BTC/USDT 1m: 0 of 3 bars, about 3m"),
        ("WARMING", "BTC/USDT 1m: 1 of 3 bars, about 2m"),
        ("WARMING", "BTC/USDT 1m: 2 of 3 bars, about 60s"),
        ("WARMING", "binance:BTC/USDT: feed is not known"),
        ("WARMING", "binance:BTC/USDT: no quote yet"),
        ("READY", ""),
    ]
    turns.give(trader, quote(101))
    assert _seen(trader) == ["start 11.00", "quote 100"]
    assert turns.commands() == [AskPositions(ME, 2), AskPositions(ME, 3)]


def test_history_when_control_overtook_it_then_all_waiting_bars_are_seen_before_the_start() -> None:
    """LIVE comes before bars of history that already waited in the mailbox; `on_start` comes after them."""
    turns, trader = Turns(), _trader()
    turns.give(trader, Started(0), Ready(4), PositionsSent(ME, 4), quote(100))
    for msg in (live(), *bars(1, 2, 3, 4, 5, start=T0 - 5 * MINUTE, live=False)):
        trader.handle(msg, turns)
    assert _seen(trader) == []
    turns.pass_to(trader, turns.now_ns)
    assert _seen(trader) == ["start 4.00"]


def test_live_bar_when_it_completes_the_warm_up_then_start_and_its_handler_run_at_once() -> None:
    """Live bars warm too; the one that makes it ready is the first that a handler sees."""
    turns, trader = Turns(), _trader()
    turns.give(trader, Started(0), Ready(4), PositionsSent(ME, 4), live(), quote(100))
    turns.give(trader, *bars(1, 2, 3, 4))
    assert _seen(trader) == ["start 2.00", "bar 3 2.00", "bar 4 3.00"]


def test_feed_when_not_live_then_bars_only_warm_and_quotes_and_trades_pass_by() -> None:
    """No market handler runs on a feed that cannot be trusted; when it is LIVE again they go on."""
    turns, trader = Turns(), _trader()
    _ready(turns, trader)
    trade = Trade(BTC, 1, 50.0, 1.0, "buy", T0, T0)
    first, second, third = bars(13, 14, 15)
    for quality in (Quality.SUSPECT, Quality.STALE, Quality.BLIND):
        turns.give(trader, live(quality=quality), quote(99), trade)
    turns.give(trader, first, msgspec.structs.replace(second, live=False))
    assert (_seen(trader), trader.view().phase) == ([], "WARMING")
    turns.give(trader, live(), trade, third, quote(98))
    assert _seen(trader) == ["trade 50", "bar 15 14.00", "quote 97"]


def test_other_instruments_when_they_come_then_they_change_nothing() -> None:
    """Quality, breaks, bars and trades of what was not declared do not touch readiness."""
    turns, trader = Turns(), _trader()
    _ready(turns, trader)
    foreign = make_bars([5.0], "ETH/USDT", "1m", T0)[0]
    turns.give(
        trader,
        live(ETH, Quality.STALE),
        SessionBreak(ETH, 2, "seam", T0),
        BarsClosed(ETH, (foreign,), live=True),
        quote(3, ETH),
        Trade(ETH, 1, 5.0, 1.0, "sell", T0, T0),
        ConfigChanged("c2"),
    )
    assert (_seen(trader), trader.view().phase) == ([], "READY")


def test_session_break_when_it_comes_then_indicators_begin_anew_and_a_new_quote_is_awaited() -> None:
    """What comes after a seam does not connect: three new bars and a new quote, then on it goes."""
    turns, trader = Turns(), _trader()
    _ready(turns, trader)
    turns.give(trader, SessionBreak(BTC, 2, "seam", T0), *bars(50, 51, 52, live=False))
    assert trader.view().forecast == "binance:BTC/USDT: no quote yet"
    turns.give(trader, quote(60), *bars(53, start=T0 + 3 * MINUTE))
    assert (_seen(trader), trader.view().phase) == (["bar 53 52.00"], "READY")


def test_hole_when_bars_are_missing_then_the_series_warms_anew() -> None:
    """Up to two missing bars change nothing; more begin the series anew, without a handler meanwhile."""
    turns, trader = Turns(), _trader()
    _ready(turns, trader)
    turns.give(trader, *bars(20, start=T0 + 2 * MINUTE))
    assert _seen(trader) == ["bar 20 14.33"]
    turns.give(trader, *bars(30, 31, start=T0 + 6 * MINUTE))
    assert (_seen(trader), trader.view().forecast) == ([], "BTC/USDT 1m: 2 of 3 bars, about 60s")
    turns.give(trader, *bars(32, start=T0 + 8 * MINUTE), *bars(31, start=T0 + 7 * MINUTE))
    assert _seen(trader) == ["bar 32 31.00"]


def test_history_when_asked_for_then_bars_before_the_answer_are_left_to_it() -> None:
    """With a market data to ask, a restart is warm with the answer; what closed before is in there."""
    turns, trader = Turns(), _trader(market=MARKET)
    turns.give(trader, Started(1))
    asked = AskBars(ME, BTC, {"1m": 3})
    assert turns.sent == [(OMS, AskPositions(ME, 2)), (MARKET, AskFeeds()), (MARKET, asked)]
    turns.give(trader, PositionsSent(ME, 9), live(), quote(100), *bars(3))
    assert trader.view().forecast == "binance:BTC/USDT: history was asked for"
    turns.give(trader, BarHistory(BTC, tuple(make_bars([1, 2, 3], timeframe="1m", start=T0 - 2 * MINUTE))))
    turns.give(trader, *bars(4, start=T0 + MINUTE))
    assert _seen(trader) == ["start 2.00", "bar 4 3.00"]
    turns.give(trader, BarHistory(BTC, tuple(make_bars([9], timeframe="1m", start=T0 + 2 * MINUTE))))
    assert trader.view().bars == 4


def test_history_when_no_answer_comes_then_it_is_asked_for_again() -> None:
    """Market data may have begun anew with the question in hand; behind the answer nothing is asked."""
    turns, trader = Turns(), _trader(market=MARKET)
    turns.give(trader, Started(0))
    turns.sent.clear()
    turns.pass_to(trader, T0 + 2 * ASK_AGAIN_NS)
    assert turns.sent == [(MARKET, AskBars(ME, BTC, {"1m": 3}))] * 2
    turns.give(trader, BarHistory(BTC, ()))
    turns.sent.clear()
    turns.pass_to(trader, T0 + 4 * ASK_AGAIN_NS)
    assert turns.sent == []
    assert [msg for _, _, msg in turns.timers if isinstance(msg, Timer) and msg.name == "history"] == []


def test_oms_when_it_restarts_then_positions_are_asked_again_and_old_answers_do_not_count() -> None:
    """A new generation empties the picture; an answer of the old one proves nothing; refs follow."""
    turns, trader = Turns(), _trader()
    _ready(turns, trader)
    turns.give(trader, _position("1"), Ready(4))
    assert (turns.to_oms(), trader.view().phase) == ([], "READY")
    turns.give(trader, Ready(5), PositionsSent(ME, 4))
    (asked,) = turns.to_oms()
    assert (asked, trader.view().phase) == (AskPositions(ME, trader.state.asked), "STARTING")
    assert trader.state.picture.positions == {}
    Probe.answers = {"quote": target("BTC/USDT", weight=0)}
    turns.give(trader, _position("1"), PositionsSent(ME, 5), quote(100))
    (sent,) = turns.commands()
    assert isinstance(sent, SetTarget)
    assert sent.ref.startswith("t-5-")


# --- several timeframes ---------------------------------------------------------------------------


class Frames(Strategy[ProbeSettings, ProbeState]):
    """Follows three timeframes, one of them with the common handler."""

    def setup(self) -> None:
        self.fine, self.mid, self.hour = self.bars("5m"), self.bars("15m", keep=2), self.bars("1h").sma(1)

    def on_bar_5m(self, bar: Bar, view: View) -> Commands:
        self.state.seen.append(f"5m {bar.close:g} hour {self.hour:g} mid {self.mid.bar.close:g}")
        return ()

    def on_bar(self, bar: Bar, view: View) -> Commands:
        self.state.seen.append(f"{bar.timeframe} {bar.close:g} {view.last(2, '15m').close.tolist()}")
        return ()


def test_timeframes_when_they_close_together_then_all_are_updated_before_the_finest_handler() -> None:
    """A 5 m handler sees the hour that closes with it; one that has not closed is the hour before."""
    turns, trader = Turns(), Trader(wiring(), strategy=Frames)
    turns.give(trader, Started(0), Ready(1), PositionsSent(ME, 1), live(), quote(100))
    mids = make_bars([1, 2, 3, 4], timeframe="15m")
    hour = make_bars([4], timeframe="1h")[0]
    turns.give(trader, *(BarsClosed(BTC, (bar,), live=False) for bar in mids[:3]))
    turns.give(
        trader,
        BarsClosed(BTC, (_bar("5m", 40, T0 + 55 * MINUTE), mids[3], hour), live=True),
        BarsClosed(BTC, (_bar("5m", 50, T0 + 60 * MINUTE),), live=True),
    )
    assert _seen(trader) == [
        "5m 40 hour 4 mid 4",
        "15m 4 [3.0, 4.0]",
        "1h 4 [3.0, 4.0]",
        "5m 50 hour 4 mid 4",
    ]


def _bar(timeframe: str, close: float, start: int) -> Bar:
    return make_bars([close], timeframe=timeframe, start=start)[0]


def test_kept_bars_when_read_then_they_are_columns_of_the_newest() -> None:
    """`last(n)` gives NumPy columns, oldest first, never more than declared."""
    turns, trader = Turns(), Trader(wiring(), strategy=Frames)
    bars = make_bars([1, 2, 3], timeframe="15m")
    turns.give(trader, *(BarsClosed(BTC, (bar,), live=True) for bar in bars))
    strategy = trader.strategy
    assert isinstance(strategy, Frames)
    columns = strategy.mid.last(2)
    assert [list(columns.open_ns), list(columns.open), list(columns.close), list(columns.volume)] == [
        [bars[1].open_ns, bars[2].open_ns], [1.0, 2.0], [2.0, 3.0], [1.0, 1.0],
    ]  # fmt: skip
    with pytest.raises(Defect, match=r"BTC/USDT 15m: 3 bars are not kept: declare bars\('15m', keep=3\)"):
        strategy.mid.last(3)
    with pytest.raises(Defect, match="BTC/USDT 5m: no bar has closed yet"):
        _ = strategy.fine.bar


# --- wishes ---------------------------------------------------------------------------------------


def _answered(answer: Any, trader: Trader | None = None) -> list[Message]:
    """Return what a ready trader sends when a handler answers like this."""
    turns = Turns()
    trader = trader or _trader()
    _ready(turns, trader)
    Probe.answers = {"quote": answer}
    turns.give(trader, quote(100))
    return turns.commands()


def test_target_when_sized_by_weight_notional_or_qty_then_the_nearest_whole_lots_are_asked() -> None:
    """Weight refers to capital, both values to the mid; a quantity stays as it is; zero is zero."""
    sent = _answered(
        (
            target("BTC/USDT", weight=0.5, by="twap", band=0.02, reason="up", duration="2m"),
            target("BTC/USDT", notional=-33.3333),
            target("binance:BTC/USDT", qty=0.3),
            target("BTC/USDT", weight=0),
        )
    )
    assert [(msg.target_qty, msg.band) for msg in sent if isinstance(msg, SetTarget)] == [
        (Decimal("5.00000"), Decimal("0.02")),
        (Decimal("-0.33333"), Decimal("0.01")),
        (Decimal("0.30000"), Decimal("0.01")),
        (Decimal(0), Decimal("0.01")),
    ]
    first = sent[0]
    assert isinstance(first, SetTarget)
    assert first == SetTarget(
        ACCOUNT,
        BTC,
        ME,
        first.ref,
        Decimal(5),
        Decimal("0.02"),
        "twap",
        {"duration": "2m"},
        None,
        "up",
        decision_px=Decimal(100),
    )


def test_weight_when_equity_changes_then_the_same_quantity_is_asked() -> None:
    """A constant weight does not churn: it refers to the constant capital of the instance."""
    turns, trader = Turns(), _trader()
    _ready(turns, trader)
    Probe.answers = {"quote": target("BTC/USDT", weight=0.5)}
    turns.give(trader, quote(100), _position("5", realised="300"), quote(100))
    first, second = turns.commands()
    assert isinstance(first, SetTarget)
    assert isinstance(second, SetTarget)
    assert (first.target_qty, first.ref != second.ref) == (second.target_qty, True)


def test_orders_when_wished_then_price_and_quantity_are_on_the_grid() -> None:
    """Floats land on the nearest tick and lot: 0.1 + 0.2 is 0.3."""
    sent = _answered(
        (
            buy("BTC/USDT", 0.1 + 0.2, by="limit", limit_price=99.996, post_only=True),
            sell("BTC/USDT", Decimal("1.5"), reason="out"),
            cancel(ParentId("p9")),
            cancel_all("BTC/USDT"),
            cancel_all(),
        )
    )
    assert [type(msg) for msg in sent] == [SubmitOrder, SubmitOrder, CancelParent, CancelAll, CancelAll]
    first, second, *others = sent
    assert isinstance(first, SubmitOrder)
    assert isinstance(second, SubmitOrder)
    assert (first.side, first.order_qty, first.algo, first.limit_price, first.settings) == (
        "buy", Decimal("0.30000"), "limit", Decimal("100.00"), {"post_only": True},
    )  # fmt: skip
    assert (second.side, second.order_qty, second.limit_price, second.reason) == (
        "sell",
        Decimal("1.5"),
        None,
        "out",
    )
    assert others == [CancelParent(ME, ParentId("p9")), CancelAll(ME, BTC), CancelAll(ME, None)]


def test_instrument_when_its_lot_changes_then_wishes_follow() -> None:
    """A new version of the rules holds from then on."""
    turns, trader = Turns(), _trader()
    _ready(turns, trader)
    coarse = msgspec.structs.replace(make_instrument(), qty_lot=Decimal("0.5"), version=2)
    Probe.answers = {"quote": target("BTC/USDT", qty=1.3)}
    turns.give(trader, InstrumentUpdate(coarse), quote(100))
    (sent,) = turns.commands()
    assert isinstance(sent, SetTarget)
    assert sent.target_qty == Decimal("1.5")


def test_wish_when_it_cannot_become_a_command_then_the_strategy_is_told_and_goes_on() -> None:
    """An unknown symbol, a value without a quote and less than a lot are refusals, not crashes."""
    turns, trader = Turns(), _trader()
    _ready(turns, trader)
    Probe.answers = {
        "quote": [target("BTC/EUR", weight=1), target("ETH/USDT", weight=1), buy("BTC/USDT", 1e-7)],
    }
    turns.give(trader, quote(100))
    assert _seen(trader) == [
        "quote 99", "refused UNKNOWN_INSTRUMENT", "refused NO_REFERENCE", "refused BELOW_MIN_QTY",
    ]  # fmt: skip
    assert (turns.commands(), trader.view().refusals) == ([], 3)
    assert [fields["code"] for event, fields in turns.logged if event == "wish_refused"] == [
        "UNKNOWN_INSTRUMENT", "NO_REFERENCE", "BELOW_MIN_QTY",
    ]  # fmt: skip


def test_queue_when_full_then_it_is_a_refusal_and_its_answer_is_not_asked_again() -> None:
    """`send` is False: `on_refused` hears QUEUE_FULL once, whatever it answers."""
    turns, trader = Turns(), _trader()
    _ready(turns, trader)
    Probe.answers = {"quote": buy("BTC/USDT", 1), "refused": buy("BTC/USDT", 2)}
    turns.full = True
    turns.give(trader, quote(100))
    assert (_seen(trader), turns.to_oms()) == (["quote 99", "refused QUEUE_FULL"], [])
    assert (trader.view().refusals, trader.view().commands) == (2, 0)
    assert trader.view().refusal == "QUEUE_FULL: the order manager takes no more commands now"
    turns.full = False
    turns.give(trader, _refusal("RISK_MAX_POSITION"))
    assert [type(msg) for msg in turns.commands()] == [SubmitOrder]


@pytest.mark.parametrize("answer", [None, "buy", (None,), 1.0])
def test_handler_when_it_returns_something_else_then_the_actor_ends_in_words(answer: Any) -> None:
    """A forgotten `return ()` is named; the supervisor restarts this strategy only."""
    with pytest.raises(Defect, match=r"Probe: a handler returns wishes \(target, .*\) or \(\), not"):
        _answered(answer)


def test_decisions_when_a_wish_repeats_then_it_is_one_line_and_one_decision() -> None:
    """A target is sent with every bar; log and status speak when it changes."""
    turns, trader = Turns(), _trader()
    _ready(turns, trader)
    for weight, times in ((0.5, 3), (0, 2)):
        Probe.answers = {"quote": target("BTC/USDT", weight=weight, reason="x")}
        turns.give(trader, *[quote(100)] * times)
    decided = [fields["decision"] for event, fields in turns.logged if event == "strategy_decided"]
    assert decided == ["target BTC/USDT weight 0.5 by market (x)", "target BTC/USDT weight 0 by market (x)"]
    view = trader.view()
    assert (view.commands, view.decision, view.decided_ns) == (5, decided[1], T0)


def test_decisions_when_orders_are_wished_then_each_is_told_in_words() -> None:
    """Orders and cancels read like what was written."""
    turns, trader = Turns(), _trader()
    _ready(turns, trader)
    Probe.answers = {
        "quote": (buy("BTC/USDT", 2, by="limit", limit_price=99.5), cancel(ParentId("p1")), cancel_all()),
    }
    turns.give(trader, quote(100))
    assert [fields["decision"] for event, fields in turns.logged if event == "strategy_decided"] == [
        "buy 2 BTC/USDT by limit at 99.5", "cancel p1", "cancel all",
    ]  # fmt: skip


# --- own facts and schedules ------------------------------------------------------------------------


def _position(qty: str, realised: str = "0") -> PositionUpdate:
    return PositionUpdate(
        ACCOUNT, ME, BTC, Decimal(qty), Decimal(100), Decimal(realised), {}, ZERO, ZERO, T0
    )  # fmt: skip


def _refusal(code: str) -> Refusal:
    return Refusal(ACCOUNT, BTC, ME, "t-4-1", code, "no", None, None, None, T0)


def _fill(number: int) -> FillUpdate:
    return FillUpdate(
        account=ACCOUNT,
        instrument=BTC,
        owner=ME,
        parent_id=ParentId("p1"),
        client_order_id=ClientOrderId("c1"),
        trade_id=TradeId(f"x{number}"),
        side="buy",
        qty=Decimal(1),
        price=Decimal(100),
        fee=ZERO,
        fee_asset=Asset("USDT"),
        liquidity="taker",
        event_ns=T0,
        lsn=number,
        realised=ZERO,
    )


def test_own_facts_when_ready_then_handlers_and_view_have_them() -> None:
    """Fills, parents and refusals reach their handlers; open parents stand in the view until DONE."""
    turns, trader = Turns(), _trader()
    _ready(turns, trader)
    turns.give(trader, parent(Phase.WORKING), _fill(1), _position("1"))
    assert list(trader.state.picture.parents) == ["p1"]
    turns.give(trader, parent(Phase.DONE), _refusal("RISK_LATCHED"))
    assert _seen(trader) == ["parent p1 WORKING", "fill x1", "parent p1 DONE", "refused RISK_LATCHED"]
    assert (trader.state.picture.parents, trader.view().refusal) == ({}, "RISK_LATCHED: no")


def test_own_facts_when_not_ready_then_they_are_held_in_order_and_never_before_the_start() -> None:
    """Before the start they only make the picture; later they wait until everything is there again."""
    turns, trader = Turns(), _trader()
    turns.give(trader, Started(0), parent(Phase.WORKING), _fill(1))
    _ready(turns, trader)
    turns.give(trader, live(quality=Quality.STALE), _fill(2), parent(Phase.DONE), _refusal("NOT_READY"))
    assert _seen(trader) == []
    turns.give(trader, live())
    assert _seen(trader) == ["fill x2", "parent p1 DONE", "refused NOT_READY"]


def test_own_facts_when_too_many_are_held_then_the_oldest_go_and_are_counted() -> None:
    """What waits is bounded; the position itself is whole in any case."""
    turns, trader = Turns(), _trader()
    _ready(turns, trader)
    turns.give(trader, live(quality=Quality.STALE), *(_fill(number) for number in range(HELD_MAX + 2)))
    assert trader.view().held_dropped == 2
    turns.give(trader, live())
    assert _seen(trader)[0] == "fill x2"


def test_schedule_when_it_is_due_then_the_handler_gets_the_due_instant_and_the_next_is_absolute() -> None:
    """Due instants lie on the hour; while not ready one is held, the newest only."""
    turns, trader = Turns(), _trader()
    turns.now_ns = T0 + 10 * MINUTE
    _ready(turns, trader)
    turns.pass_to(trader, T0 + 2 * HOUR + 5 * MINUTE)
    assert _seen(trader) == ["hourly 60 60", "hourly 120 120"]
    turns.give(trader, live(quality=Quality.STALE))
    turns.pass_to(trader, T0 + 4 * HOUR + 30 * MINUTE)
    turns.give(trader, live())
    assert _seen(trader) == ["hourly 240 270"]


def test_schedule_when_due_before_the_start_then_it_is_not_made_up_for() -> None:
    """What was due while the strategy had not begun is nobody's."""
    turns, trader = Turns(), _trader()
    turns.give(trader, Started(0))
    turns.pass_to(trader, T0 + HOUR)
    turns.give(trader, Ready(4), PositionsSent(ME, 4), live(), quote(100), *bars(1, 2, 3))
    assert _seen(trader) == ["start 2.00", "bar 3 2.00"]
    turns.pass_to(trader, T0 + 2 * HOUR)
    assert _seen(trader) == ["hourly 120 120"]


# --- life -------------------------------------------------------------------------------------------


def test_exception_when_a_strategy_raises_then_it_leaves_the_actor() -> None:
    """The supervisor, not the trader, decides what follows."""

    class Broken(Probe):
        def on_quote(self, quote: Quote, view: View) -> Commands:
            raise ZeroDivisionError("mine")

    turns, trader = Turns(), Trader(wiring(), strategy=Broken)
    _ready(turns, trader)
    with pytest.raises(ZeroDivisionError, match="mine"):
        turns.give(trader, quote(100))


def test_message_when_nobody_expects_it_then_it_is_a_defect() -> None:
    """Wrong wiring shows at once."""
    with pytest.raises(Defect, match="trader:me does not take Durable"):
        Turns().give(_trader(), Durable(1))


@pytest.mark.parametrize(
    ("policy", "sent"),
    [("leave", []), ("cancel", [CancelAll]), ("flatten", [CancelAll])],
)
def test_stop_when_asked_then_the_policy_is_carried_out_and_nothing_is_heard_any_more(
    policy: Any, sent: list[type[Message]]
) -> None:
    """`on_stop` runs, then orders go as the instance says, then the kernel is answered.

    What a policy flattens the order manager sells: it knows when the cancels are over.
    """
    turns, trader = Turns(), _trader(on_stop=policy)
    _ready(turns, trader)
    turns.give(trader, _position("2"), Stop(T0 + SECOND))
    assert [type(msg) for msg in turns.commands()] == sent
    assert turns.sent == [(RIM, Stopped("trader:me"))]
    turns.give(trader, quote(100), Durable(1))
    assert (_seen(trader), trader.view().phase) == (["stop"], "DOWN")


def test_stop_when_the_configuration_says_otherwise_by_now_then_it_counts() -> None:
    """`on_stop` is live: what the snapshot says at the stop holds, not what it said at the start."""
    config = Config(strategies={"me": StrategyConfig(use="probe", on_stop="leave")})
    turns, trader = Turns(config), _trader(on_stop="flatten")
    turns.give(trader, Started(0), Stop(T0))
    assert turns.sent == [(OMS, AskPositions(ME, 2)), (RIM, Stopped("trader:me"))]
    assert _seen(trader) == []


def test_state_when_restored_from_bytes_then_the_trader_goes_on_and_objects_are_handed_back() -> None:
    """Series, indicators, memory and picture come back; what `setup` keeps on self is what is fed."""
    turns, trader = Turns(), _trader()
    _ready(turns, trader)
    turns.give(trader, *bars(13), _position("2"))
    blob = msgspec.msgpack.encode(trader.state)
    again = Trader(wiring(), msgspec.msgpack.decode(blob, type=TraderState), Probe)
    assert msgspec.msgpack.encode(again.state) == blob
    for one in (trader, again):
        turns.give(one, *bars(14, start=T0 + MINUTE))
        assert _seen(one) == ["bar 13 12.00", "bar 14 13.00"]
    assert isinstance(again.strategy, Probe)
    assert again.strategy.mean is again.state.indicators[0]
    assert again.state.memory is again.strategy.state


def test_state_when_setup_declares_something_else_by_now_then_it_is_a_defect() -> None:
    """A snapshot fits only the declaration that made it."""
    turns, trader = Turns(), _trader()
    _ready(turns, trader)

    class More(Probe):
        def setup(self) -> None:
            super().setup()
            self.bars("5m")

    class Fewer(Probe):
        def setup(self) -> None:
            self.bars("1m")
            self.quotes()
            self.trades()
            self.every("1h", name="hourly")

    for other, text in (
        (More, "declares more series than the 1"),
        (Fewer, "declares 0 indicators, 1 were saved"),
    ):
        with pytest.raises(Defect, match=text):
            Trader(wiring(), trader.state, other)
    trader.state.memory = {"seen": 5}
    with pytest.raises(Defect, match="what was saved is no ProbeState: Expected `array`"):
        Trader(wiring(), trader.state, Probe)


def test_memory_when_a_handler_replaces_its_state_object_then_the_new_one_is_kept() -> None:
    """`self.state = MyState(...)` is as good as changing fields."""

    class Forgetful(Probe):
        def on_quote(self, quote: Quote, view: View) -> Commands:
            self.state = ProbeState(["fresh"])
            return ()

    turns, trader = Turns(), Trader(wiring(), strategy=Forgetful)
    _ready(turns, trader)
    turns.give(trader, quote(100))
    assert trader.state.memory == ProbeState(["fresh"])


def test_wiring_when_asked_what_it_needs_then_mistakes_are_refused_before_anything_starts() -> None:
    """Wiring learns subscriptions from here; unknown strategies, settings and symbols are refused."""
    declared = needs(wiring(use="ema_cross", settings={"fast": 2, "slow": 4}))
    assert [(need.timeframe, need.depth, need.instrument) for need in declared.bars] == [("5s", 13, ETH)]
    for other, code in (
        ({"use": "nothing"}, "UNKNOWN_STRATEGY"),
        ({"use": "ema_cross", "settings": {"fats": 1}}, "UNKNOWN_SETTING"),
        ({"use": "ema_cross", "settings": {"symbol": "ETH/EUR"}}, "UNKNOWN_INSTRUMENT"),
    ):
        with pytest.raises(Refused) as refused:
            needs(wiring(**other))
        assert refused.value.code == code


class Kept(Strategy[ProbeSettings, ProbeState]):
    """Declares an indicator without using what `add` returns."""

    def setup(self) -> None:
        self.mine = EMA(1)
        self.bars("1m").add(self.mine)
        self.high = self.bars("1m").add(SMA(1, of="high"))

    def on_bar(self, bar: Bar, view: View) -> Commands:
        self.state.seen.append(f"{self.mine:g} {self.high:g}")
        return ()


def test_own_indicator_when_kept_by_its_maker_then_a_restore_fills_that_very_object() -> None:
    """The saved fields go into the declared object, whichever way the strategy holds it."""
    turns, trader = Turns(), Trader(wiring(), strategy=Kept)
    turns.give(trader, Started(0), Ready(1), PositionsSent(ME, 1), live(), quote(1))
    turns.give(trader, *bars(1, 2, 3, 4))
    again = Trader(
        wiring(), msgspec.msgpack.decode(msgspec.msgpack.encode(trader.state), type=TraderState), Kept
    )
    turns.give(again, *bars(5, start=T0 + 4 * MINUTE))
    assert _seen(again) == ["4 4", "5 5"]


def test_timer_when_a_day_passes_in_utc_then_midnight_is_the_default() -> None:
    """The default `at` is midnight UTC."""

    class Daily(Probe):
        def setup(self) -> None:
            super().setup()
            self.every("1d", name="day")

        def on_timer_day(self, timer: Timer, view: View) -> Commands:
            return self.note(f"day {(timer.number - T0) / DAY:g}")

    turns, trader = Turns(), Trader(wiring(), strategy=Daily)
    _ready(turns, trader)
    turns.pass_to(trader, T0 + 2 * DAY)
    assert [what for what in _seen(trader) if what.startswith("day")] == ["day 1", "day 2"]


# --- in a kernel ----------------------------------------------------------------------------------------


class Sink:
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.state = State()
        self.got: list[Message] = []

    def handle(self, msg: Message, ctx: Any) -> None:
        self.got.append(msg)

    def view(self) -> State:
        return self.state


class Fragile(Probe):
    """Raises at a price, and orders at every quote."""

    def on_quote(self, quote: Quote, view: View) -> Commands:
        if quote.bid == 665.0:
            raise ValueError("never seen such a price")
        return target("BTC/USDT", weight=0.5)


def _kernel(sink: Sink) -> Kernel:
    limits = Limits(facts_high=64, facts_max=128, commands_max=8, market_max=8)
    refs = number_refs(["oms", "trader:me"])
    mine = wiring(oms=refs["oms"])
    specs = (
        ActorSpec("oms", lambda state: sink, State, limits),
        ActorSpec("trader:me", lambda state: Trader(mine, state, Fragile), TraderState, limits),
    )
    tree = Supervisor(
        "root", tuple(Child(spec.name, "actor") for spec in specs), 3, 300 * SECOND, "stay_down"
    )
    return Kernel(System(specs, (), tree, decode, lambda data: data), None, "c1", now_ns=T0)


def test_kernel_when_a_strategy_raises_then_it_begins_anew_and_its_ids_do_not_repeat() -> None:
    """Only the trader is built again: it warms, asks for positions, and never uses an old ref."""
    sink, trader = Sink(), Ref(2)
    kernel = _kernel(sink)

    def step(*msgs: Message) -> None:
        kernel.step(kernel.state.now_ns, [(trader, msg) for msg in msgs])
        while (stepped := kernel.step(kernel.state.now_ns)).more or stepped.next_ns == kernel.state.now_ns:
            pass

    def begin() -> None:
        history = bars(10, 11, 12, start=T0 - 3 * MINUTE, live=False)
        step(Ready(4), PositionsSent(ME, 4), *history, live(), quote(100))
        step(quote(100))

    begin()
    step(quote(666))
    begin()
    orders = [msg for turn in sink.got if isinstance(turn, OwnerTurn) for msg in turn.commands]
    targets = [msg for msg in orders if isinstance(msg, SetTarget)]
    assert [msg.target_qty for msg in targets] == [Decimal(5), Decimal(5)]
    assert targets[0].ref != targets[1].ref
    assert [letter.message_type for letter in kernel.life.dead_letters] == ["Quote"]
    asked = [msg.asked for msg in sink.got if isinstance(msg, AskPositions)]
    assert (len(asked), asked) == (4, sorted(set(asked)))
