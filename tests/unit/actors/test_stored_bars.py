"""Stored bars in front of a feed's own: market data asks, the data writer carries it to the store."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tests.unit.actors.market_world import OWNER, T0, TRADER, World, wiring
from tests.unit.actors.test_market_data import kline_rows
from tests.unit.actors.turns import Turns
from tests.unit.core.recorded import BTC
from tradefan.actors.data_writer import DataWriter, DataWriterWiring
from tradefan.actors.stored_bars import QUESTION
from tradefan.config.schema import Config
from tradefan.messages.base import Message
from tradefan.messages.control import Started, Stop, StoreAck, StoreBatch
from tradefan.messages.market import AskBars, AskStored, Bar, BarHistory, FeedQuality, StoredBars
from tradefan.messages.wire import LinkDown
from tradefan.units import MINUTE, SECOND, InstrumentId, Ref

WRITER = Ref(10)
LOT = 1e-5


def stored(ask: AskStored, count: int, step_ns: int = 5 * SECOND, why: str = "") -> StoredBars:
    """So many bars that end where they are asked for."""
    bars = tuple(
        Bar(BTC, ask.timeframe, at, at + step_ns, 1.0, 1.0, 1.0, 1.0, 1.0, 1, 1)
        for at in range(ask.until_ns - count * step_ns, ask.until_ns, step_ns)
    )
    return StoredBars(ask, bars, why)


def world(**more: Any) -> World:
    return World(wiring(store=WRITER, **more))


def asked(world: World) -> list[AskStored]:
    return world.take(AskStored, WRITER)


def opens(world: World) -> list[list[int]]:
    """Return each answer that a trader got, as seconds behind T0."""
    return [[(bar.open_ns - T0) // SECOND for bar in told.bars] for told in world.take(BarHistory, TRADER)]


def events(world: World, name: str) -> list[dict[str, Any]]:
    return [fields for event, fields in world.logs if event == name]


# --- market data ------------------------------------------------------------------------------------------


def test_ask_bars_when_ours_are_too_few_then_the_store_is_asked_up_to_where_they_begin() -> None:
    """Its bars come in front, no more than are needed; the deepest wish is asked for as it is."""
    one = world().live()
    one.give(AskBars(OWNER, BTC, {"5s": 4, "1m": 0}))
    (ask,) = asked(one)
    assert ask == AskStored(BTC, "5s", T0 + 5 * SECOND, 4, LOT)
    assert opens(one) == []
    one.give(stored(ask, 4))
    assert opens(one) == [[-10, -5, 0, 5]]
    assert one.take(FeedQuality, TRADER)
    assert [line["bars"] for line in events(one, "stored_bars")] == [4]
    one.give(AskBars(OWNER, BTC, {"5s": 1}))
    assert (asked(one), opens(one)) == ([], [[5]])


def test_ask_bars_when_none_of_ours_has_closed_then_up_to_the_open_one() -> None:
    """A timeframe that is longer than what a feed has seen; nothing that is still open can be told."""
    one = world(timeframes=("1m",)).live()
    one.give(AskBars(OWNER, BTC, {"1m": 3}))
    (ask,) = asked(one)
    assert ask.until_ns == T0
    one.give(stored(ask, 3, MINUTE))
    assert opens(one) == [[-180, -120, -60]]


def test_ask_bars_when_the_open_bar_is_over_and_not_closed_then_up_to_its_begin() -> None:
    """Within its grace and without a later trade: up to its end the store can never have bars."""
    one = world(timeframes=("1m",)).live()
    one.busy(108.4)
    assert one.now_ns == T0 + 2 * MINUTE + SECOND // 2
    one.give(AskBars(OWNER, BTC, {"1m": 3}))
    (ask,) = asked(one)
    assert ask.until_ns == T0 + MINUTE
    one.give(stored(ask, 3, MINUTE))
    assert opens(one) == [[-120, -60, 0]]


def test_ask_bars_when_the_store_has_what_does_not_connect_then_it_is_said_once() -> None:
    """With instrument, timeframe and the instants; the trader gets what there is, and does not wait."""
    one = world().live()
    one.give(AskBars(OWNER, BTC, {"5s": 3}))
    (ask,) = asked(one)
    one.give(stored(ask, 2, why="5s bars begin at 2027-01-15T07:59:55.000Z"))
    assert (opens(one), events(one, "stored_bars_short")) == ([[-5, 0, 5]], [])
    for _ in range(2):
        one.give(AskBars(OWNER, BTC, {"5s": 4}))
        (ask,) = asked(one)
        one.give(StoredBars(ask, (), "5s bars end at 2027-01-15T07:59:00.000Z"))
        assert opens(one) == [[5]]
    assert events(one, "stored_bars_short") == [
        {
            "instrument": BTC,
            "timeframe": "5s",
            "until": "2027-01-15T08:00:05.000Z",
            "bars": 0,
            "missing": 3,
            "reason": "5s bars end at 2027-01-15T07:59:00.000Z",
        }
    ]


def test_ask_bars_when_a_tape_plays_its_history_then_where_it_begins_is_waited_for() -> None:
    """The answer has all of it, and the store's bars end where it began."""
    one = world().give(Started(0))
    one.give(AskBars(OWNER, BTC, {"5s": 6}))
    one.connect(live_from_ns=T0 + SECOND)
    for number, second in enumerate((-16, -9, -4), 1):
        one.trade(number, 100.0, event_ns=T0 + second * SECOND)
    assert (asked(one), opens(one)) == ([], [])
    one.give(AskBars(OWNER, BTC, {"5s": 6}))
    one.restored().sleep(1).quote(1, 1.0, 2.0)
    (ask,) = asked(one)
    assert ask.until_ns == T0 - 15 * SECOND
    one.give(stored(ask, 6))
    assert opens(one) == [[-35, -30, -25, -20, -15, -10]]


def test_ask_bars_when_the_store_says_nothing_then_until_enough_has_closed() -> None:
    """A store that is not there costs nobody more than its bars; it is asked again all the while."""
    one = world().live()
    one.give(AskBars(OWNER, BTC, {"5s": 3}))
    assert asked(one) == [AskStored(BTC, "5s", T0 + 5 * SECOND, 3, LOT)]
    one.give(AskBars(OWNER, BTC, {"5s": 3}))
    one.busy(2.1)
    assert asked(one) == [AskStored(BTC, "5s", T0 + 5 * SECOND, 3, LOT)]
    one.busy(12).sleep(2)
    assert opens(one) == [[5, 10, 15]]
    assert one.actor.state.awaited == []
    one.sleep(2.1)
    assert one.actor.state.looking is False


def test_ask_bars_when_ours_begin_while_the_store_is_asked_then_it_is_asked_anew() -> None:
    """An answer to where nothing of ours had closed would leave a hole, or tell a bar twice."""
    one = world(timeframes=("1s",)).connect()
    one.quote(9, 100.0, 101.0).delta(10, 10).snapshot(10).trade(1, 100.5).busy(0.5)
    one.give(AskBars(OWNER, BTC, {"1s": 3}))
    (before,) = asked(one)
    assert before.until_ns == T0
    one.sleep(1.5).trade(2, 100.5)
    assert asked(one) == []
    one.give(stored(before, 3, SECOND))
    assert opens(one) == []
    (ask,) = asked(one)
    assert ask.until_ns == T0 + SECOND
    one.give(stored(ask, 3, SECOND))
    assert opens(one) == [[-1, 0, 1]]


def test_ask_bars_when_one_timeframe_is_answered_late_then_the_other_is_looked_at_again() -> None:
    """What was stored for it ended where nothing of ours had closed; now it would leave a hole."""
    one = world(timeframes=("1s", "1m")).connect()
    one.quote(9, 100.0, 101.0).delta(10, 10).snapshot(10).trade(1, 100.5).busy(0.5)
    one.give(AskBars(OWNER, BTC, {"1s": 3, "1m": 1}))
    second, minute = asked(one)
    one.give(stored(second, 3, SECOND)).sleep(1.5).trade(2, 100.5)
    assert (asked(one), opens(one)) == ([], [])
    one.give(stored(minute, 1, MINUTE))
    (again,) = asked(one)
    assert (again.timeframe, again.until_ns) == ("1s", T0 + SECOND)
    one.give(stored(again, 3, SECOND))
    assert opens(one) == [[-1, 0, 1, -60]]


def test_ask_bars_when_a_lap_has_ended_then_nothing_of_the_store_is_told() -> None:
    """What came before a seam connects with nothing; who waits hears it without the store."""
    one = world().live()
    one.give(AskBars(OWNER, BTC, {"5s": 4}))
    (ask,) = asked(one)
    one.close("seam", None)
    one.give(stored(ask, 4))
    assert opens(one) == [[]]
    one.give(AskBars(OWNER, BTC, {"5s": 4}))
    assert (asked(one), opens(one)) == ([], [[]])


def test_ask_bars_when_the_venue_has_klines_then_the_store_for_what_lies_before_them() -> None:
    """First the venue, which knows the newest; what it does not have ends where its bars begin."""
    one = world(klines=True).live()
    one.give(AskBars(OWNER, BTC, {"5s": 8}))
    assert asked(one) == []
    one.answer("klines", kline_rows(15, T0 + 10 * SECOND))
    (ask,) = asked(one)
    assert ask.until_ns == T0 - 5 * SECOND
    one.give(stored(ask, 8))
    assert opens(one) == [[-30, -25, -20, -15, -10, -5, 0, 5]]


def test_feed_when_a_strategy_is_deep_then_so_many_bars_are_remembered() -> None:
    """As many as it wants, however long it takes until it begins again."""
    one = World(wiring(timeframes=("1s",), depths={"1s": 1_003})).live()
    for number in range(2, 1_100):
        one.sleep(1).trade(number, 100.0)
    one.give(AskBars(OWNER, BTC, {"1s": 1_003}))
    (bars,) = opens(one)
    assert len(bars) == 1_003


# --- the data writer --------------------------------------------------------------------------------------

STORE, MARKET = Ref(7), Ref(8)
ASK = AskStored(BTC, "5s", T0, 4, LOT)


def begun() -> tuple[Turns, DataWriter]:
    turns = Turns(Config(), T0)
    writer = DataWriter(DataWriterWiring(STORE, markets={"binance": MARKET}))
    turns.give(writer, Started(0), StoreAck(0, 0, None, 0))
    turns.forget()
    return turns, writer


def questions(sent: list[tuple[Ref, Message]]) -> list[AskStored]:
    return [
        msg.bars for to, msg in sent if to == STORE and isinstance(msg, StoreBatch) and msg.bars is not None
    ]


def told(ask: AskStored) -> StoreAck:
    return StoreAck(QUESTION, 0, None, 0, (), StoredBars(ask, (), ""))


def test_writer_when_it_is_asked_then_one_question_after_the_other() -> None:
    """The same one once; a newer instant takes the place of an older one that still waits."""
    turns, writer = begun()
    eth = replace(ASK, instrument=InstrumentId("binance:ETH/USDT"))
    later = replace(eth, until_ns=T0 + 5 * SECOND)
    assert questions(turns.give(writer, ASK, ASK, eth, later)) == [ASK]
    sent = turns.give(writer, told(ASK))
    assert [msg for to, msg in sent if to == MARKET] == [StoredBars(ASK, (), "")]
    assert questions(sent) == [later]
    assert turns.give(writer, told(ASK)) == []
    assert writer.view().under_way == 0


def test_writer_when_the_link_ends_then_it_asks_again_and_not_in_a_stop() -> None:
    """A question is not lost with the link that had it."""
    turns, writer = begun()
    turns.give(writer, ASK, LinkDown("store", 1, "gone"))
    assert questions(turns.give(writer, StoreAck(0, 0, None, 0))) == [ASK]
    turns.give(writer, Stop(T0 + 10 * SECOND))
    turns.until(writer, T0)
    assert questions(turns.give(writer, told(ASK), replace(ASK, count=9))) == []


@pytest.mark.parametrize("linked", [False, True])
def test_writer_when_there_is_no_room_then_the_question_waits(linked: bool) -> None:
    """Before the link has greeted, or while its batches are under way."""
    turns, writer = Turns(Config(), T0), DataWriter(DataWriterWiring(STORE, markets={"binance": MARKET}))
    turns.give(writer, Started(0))
    turns.room[STORE] = 0
    if linked:
        turns.give(writer, StoreAck(0, 0, None, 0))
    assert questions(turns.give(writer, ASK)) == []
    turns.room.clear()
    assert questions(turns.give(writer, StoreAck(0, 0, None, 0))) == [ASK]
