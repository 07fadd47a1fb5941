"""What traded on earlier days, from the store by the data writer to the order manager and into a plan."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import BTC, ETH
from tests.unit.actors.turns import Turns
from tradefan.actors.data_writer import DataWriter, DataWriterWiring
from tradefan.actors.volume_days import GRACE_NS
from tradefan.config.schema import Config, FeedConfig
from tradefan.messages.base import Message
from tradefan.messages.control import Folded, Started, Stop, StoreAck, StoreBatch, VolumesAsked
from tradefan.messages.market import VolumeDays
from tradefan.messages.records import Parent
from tradefan.messages.wire import LinkDown
from tradefan.units import DAY, HOUR, MINUTE, SECOND, InstrumentId, Ref

STORE, OMS = Ref(7), Ref(8)
CONFIG = Config(feeds={str(name): FeedConfig() for name in (BTC, ETH)})
NOON = 20_000 * DAY + 12 * HOUR


def days(instrument: InstrumentId = BTC, source: str = "klines", first: int = 19_980) -> VolumeDays:
    """Twenty days, all alike."""
    return VolumeDays(instrument, source, 5 * MINUTE, tuple((first + i, (1.0,) * 288) for i in range(20)))


def begun() -> tuple[Turns, DataWriter]:
    """A writer whose link has greeted it, at noon."""
    turns, writer = Turns(CONFIG, NOON), DataWriter(DataWriterWiring(STORE, OMS))
    turns.give(writer, Started(0))
    assert asked(turns.sent) == []
    turns.give(writer, StoreAck(0, 0, None, 0))
    return turns, writer


def asked(sent: list[tuple[Ref, Message]]) -> list[StoreBatch]:
    return [msg for ref, msg in sent if ref == STORE and isinstance(msg, StoreBatch) and msg.ask is not None]


def told(sent: list[tuple[Ref, Message]]) -> list[Message]:
    return [msg for ref, msg in sent if ref == OMS]


def test_writer_when_the_store_is_there_then_each_instrument_is_asked_for_in_turn() -> None:
    """One question at a time; what is found goes to the order manager, and nothing where nothing is."""
    turns, writer = begun()
    assert asked(turns.sent) == [StoreBatch(-1, (), None, None, VolumesAsked(BTC, 19_972, 20_000))]
    turns.forget()
    sent = turns.give(writer, StoreAck(-1, 0, None, 0, (days(), days(source="recorded"))))
    assert told(sent) == [days(), days(source="recorded")]
    assert asked(sent) == [StoreBatch(-2, (), None, None, VolumesAsked(ETH, 19_972, 20_000))]
    assert told(turns.give(writer, StoreAck(-2, 0, None, 0))) == []
    assert (writer.state.under_way, writer.view().batches) == ({}, 0)


def test_writer_when_the_day_has_ended_then_it_is_asked_again() -> None:
    """Two minutes behind midnight, when the last bars are stored; and so each day."""
    turns, writer = begun()
    turns.give(writer, StoreAck(-1, 0, None, 0), StoreAck(-2, 0, None, 0))
    turns.forget()
    turns.until(writer, 20_001 * DAY + GRACE_NS - 1)
    assert asked(turns.sent) == []
    turns.until(writer, 20_001 * DAY + GRACE_NS)
    assert [one.ask for one in asked(turns.sent)] == [VolumesAsked(BTC, 19_973, 20_001)]
    turns.give(writer, StoreAck(-3, 0, None, 0), StoreAck(-4, 0, None, 0))
    turns.forget()
    turns.until(writer, 20_002 * DAY + GRACE_NS)
    assert [one.ask for one in asked(turns.sent)] == [VolumesAsked(BTC, 19_974, 20_002)]


def test_writer_when_the_order_manager_began_anew_then_it_is_told_again() -> None:
    """It has forgotten; an answer to the question of before still goes, a second one is awaited."""
    turns, writer = begun()
    turns.forget()
    assert [one.batch_id for one in asked(turns.give(writer, Folded(0)))] == [-2]
    assert told(turns.give(writer, StoreAck(-1, 0, None, 0, (days(),)))) == []
    assert told(turns.give(writer, StoreAck(-2, 0, None, 0, (days(),)))) == [days()]


def test_writer_when_the_link_ends_then_what_it_was_asked_is_asked_again() -> None:
    """Nothing of a question is lost, and none waits for ever."""
    turns, writer = begun()
    turns.give(writer, LinkDown("store", 1, "gone"))
    turns.forget()
    turns.give(writer, StoreAck(0, 0, None, 0))
    assert [one.ask for one in asked(turns.sent)] == [VolumesAsked(BTC, 19_972, 20_000)]


def test_writer_when_it_stops_then_it_asks_for_nothing_more() -> None:
    """A question would only keep the store from the last rows."""
    turns, writer = begun()
    turns.give(writer, Stop(NOON + 10 * SECOND))
    turns.until(writer, NOON)
    turns.forget()
    turns.give(writer, StoreAck(-1, 0, None, 0))
    turns.until(writer, 20_001 * DAY + GRACE_NS)
    assert asked(turns.sent) == []


def source_of(bench: Bench, **settings: Any) -> tuple[str, float | None]:
    """Submit a VWAP of an hour and return where its curve came from."""
    bench.submit(1, algo="vwap", settings={"duration": "1h", "participation_cap": 1, **settings})
    plan = bench.made(Parent)[-1].plan
    return plan.source, plan.coverage


@pytest.fixture
def bench() -> Bench:
    return Bench(now_ns=NOON).ready()


def test_oms_when_it_is_told_of_earlier_days_then_a_vwap_follows_them(bench: Bench) -> None:
    """Own recorded trades before klines before the packaged curve."""
    assert source_of(bench) == ("packaged", 1.0)
    bench.tell(days())
    assert source_of(bench) == ("klines", 1.0)
    bench.tell(days(source="recorded"))
    assert source_of(bench) == ("recorded", 1.0)
    assert source_of(bench, days_min=21) == ("packaged", 1.0)
    bench.check()


def test_oms_when_a_source_is_told_again_then_the_newest_word_counts(bench: Bench) -> None:
    """A day later the days of before are older; what belongs to nobody here is passed over."""
    bench.tell(days(), days(InstrumentId("binance:XRP/USDT")), days(source="elsewhere"))
    bench.tell(replace(days(), days=days().days[:3]))
    assert source_of(bench) == ("packaged", 1.0)
    assert list(bench.oms.state.live.volumes) == [BTC]
    assert list(bench.oms.state.live.volumes[BTC]) == ["klines"]


def test_oms_when_much_of_what_trades_is_wanted_then_the_curve_refuses_it(bench: Bench) -> None:
    """Twelve an hour trade; a quarter of it passes."""
    bench.tell(days())
    bench.submit(4, algo="vwap", settings={"duration": "1h"})
    assert bench.made(Parent) == []
    bench.submit(3, algo="vwap", settings={"duration": "1h"})
    assert bench.made(Parent)[-1].order.order_qty == Decimal(3)
