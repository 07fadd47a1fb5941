"""The data writer: batches by size and age, room, what is dropped, and nothing of one's own lost."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tests.unit.actors.turns import Turns, copied
from tests.unit.stores.made import bar, equity, fill, gap, order, parent, position, refusal, trade
from tradefan.actors.data_writer import HELLO_NS, LAST_HELLO_NS, DataWriter, DataWriterState, DataWriterWiring
from tradefan.config.schema import Config, FeedConfig
from tradefan.config.services import StoreConfig
from tradefan.errors import Defect
from tradefan.messages.base import Message
from tradefan.messages.control import (
    ConfigChanged,
    Folded,
    Ready,
    Started,
    Stop,
    Stopped,
    StoreAck,
    StoreBatch,
    Stored,
    StoreFailed,
)
from tradefan.messages.market import BarsClosed
from tradefan.messages.wire import Credit, LinkDown
from tradefan.runtime.system import RIM
from tradefan.units import MS, SECOND, Ref

STORE = Ref(7)
WIRING = DataWriterWiring(STORE, under_way_max=2)


def config(size: int = 3, most: int = 6) -> Config:
    return Config(
        store=StoreConfig(batch_size=size, flush_interval=500 * MS, queue_max=most),
        feeds={"binance:BTC/USDT": FeedConfig(bars={"1m": True, "1h": False})},
    )


def begun(turns: Turns, *, linked: bool = True) -> DataWriter:
    """A writer whose link has greeted it."""
    writer = DataWriter(WIRING)
    turns.give(writer, Started(0))
    turns.forget()
    if linked:
        turns.give(writer, StoreAck(0, 0, None, 0))
    # The second question has been asked: it has tests of its own.
    turns.timers.clear()
    writer.state.asking = False
    return writer


def rows(sent: list[tuple[Ref, Message]]) -> list[tuple[Any, ...]]:
    return [msg.rows for ref, msg in sent if isinstance(msg, StoreBatch) and ref == STORE]


def acked(sent: list[tuple[Ref, Message]], lsn: int = 0) -> list[StoreAck]:
    return [
        StoreAck(msg.batch_id, len(msg.rows), None, lsn) for _, msg in sent if isinstance(msg, StoreBatch)
    ]


@pytest.mark.parametrize("restart", [0, 1])
def test_writer_when_it_begins_then_asks_a_second_time_for_what_was_not_durable(restart: int) -> None:
    """The OMS tells before the disk has its records, also those of its start, which prove all behind."""
    turns, writer = Turns(Config()), DataWriter(WIRING)
    assert turns.give(writer, Started(restart)) == [(STORE, StoreBatch(1, (), None))]
    assert turns.until(writer, turns.now_ns + HELLO_NS) == [(STORE, StoreBatch(3, (), None))]


def test_writer_when_the_store_cannot_catch_up_then_it_is_asked_again() -> None:
    """Later rows would move the store's place on, and hide that some are missing."""
    turns, writer = Turns(Config()), DataWriter(WIRING)
    turns.give(writer, Started(0))
    turns.forget()
    turns.until(writer, turns.now_ns + HELLO_NS)
    turns.forget()
    assert turns.until(writer, turns.now_ns + 2 * HELLO_NS) == []
    turns.give(writer, StoreAck(3, 0, "the disk is full", 5))
    assert turns.until(writer, turns.now_ns + HELLO_NS) == [(STORE, StoreBatch(5, (), None))]


def test_start_when_new_then_asks_the_store_to_catch_up() -> None:
    """A predecessor may have died with rows in hand; only the journal still has them."""
    turns = Turns(config())
    assert turns.give(DataWriter(WIRING), Started(1)) == [(STORE, StoreBatch(1, (), None))]


def test_batch_when_full_then_is_sent_at_once() -> None:
    """A full batch does not wait for its age."""
    turns = Turns(config())
    writer = begun(turns)
    assert rows(turns.give(writer, trade(1), trade(2))) == []
    assert rows(turns.give(writer, trade(3), trade(4))) == [(trade(1), trade(2), trade(3))]


def test_batch_when_old_enough_then_is_sent_as_it_is() -> None:
    """No row waits longer than the flush interval, counted from the oldest."""
    turns = Turns(config())
    writer = begun(turns)
    turns.give(writer, trade(1))
    assert rows(turns.until(writer, 499 * MS)) == []
    turns.give(writer, trade(2))
    assert rows(turns.until(writer, 500 * MS)) == [(trade(1), trade(2))]
    assert rows(turns.until(writer, 10 * SECOND)) == []


def test_batch_when_it_holds_fills_then_names_the_highest_lsn() -> None:
    """The store's place in the journal moves with what a batch brings; dear rows go first."""
    turns = Turns(config(size=4))
    writer = begun(turns)
    turns.give(writer, trade(1), fill(1, 8), refusal(2), fill(2, 9))
    turns.until(writer, SECOND)
    assert turns.sent == [(STORE, StoreBatch(4, (fill(1, 8), fill(2, 9), refusal(2), trade(1)), 9))]
    turns.give(writer, trade(2))
    (again,) = turns.until(writer, 2 * SECOND)
    assert again == (STORE, StoreBatch(6, (trade(2),), None))


@pytest.mark.parametrize(
    "message", [trade(1), gap(1), equity(1), refusal(1), order(1), parent(1), fill(1, 1), position("1")]
)
def test_row_when_of_any_kind_then_is_handed_on_as_it_is(message: Stored) -> None:
    """The store gets the messages themselves."""
    turns = Turns(config())
    writer = begun(turns)
    turns.give(writer, message)
    assert rows(turns.until(writer, SECOND)) == [(message,)]


def test_bars_when_closed_then_only_configured_timeframes_are_kept() -> None:
    """A strategy's five-second bars do not fill the store unless somebody asked for them."""
    turns = Turns(config())
    writer = begun(turns)
    closed = (bar(0, "5s"), bar(0, "1m"), bar(0, "1h"))
    turns.give(writer, BarsClosed(bar(0).instrument, closed, live=True))
    turns.give(writer, BarsClosed(bar(0).instrument, closed[:1], live=True))
    assert rows(turns.until(writer, SECOND)) == [(bar(0, "1m"),)]


def test_room_when_used_up_then_rows_wait_and_go_on_with_each_answer() -> None:
    """At most so many batches are under way; an answer sends the next."""
    turns = Turns(config(most=100))
    writer = begun(turns)
    sent = turns.give(writer, *(trade(number) for number in range(1, 11)))
    assert len(rows(sent)) == 2
    first, second = acked(sent)
    assert rows(turns.give(writer, first)) == [(trade(7), trade(8), trade(9))]
    assert rows(turns.until(writer, SECOND)) == []
    assert rows(turns.give(writer, second)) == [(trade(10),)]
    assert writer.view().waiting == 0


def test_room_when_the_port_has_no_credit_then_the_batch_is_not_lost() -> None:
    """A send that is refused leaves the rows where they were."""
    turns = Turns(config())
    writer = begun(turns)
    turns.room[STORE] = 0
    assert turns.give(writer, trade(1), trade(2), trade(3)) == []
    turns.room[STORE] = 1
    assert rows(turns.give(writer, Credit("store", 1))) == [(trade(1), trade(2), trade(3))]


def test_queue_when_over_its_bound_then_the_oldest_market_rows_go_first_and_are_counted() -> None:
    """Then equity points and refusals, and what is one's own as the last."""
    turns = Turns(config())
    writer = begun(turns, linked=False)
    turns.give(writer, trade(1), gap(2), equity(3), fill(1, 1), order(1), parent(1))
    turns.give(writer, position("1"))
    assert (writer.view().dropped["Trade"], writer.view().waiting) == (1, 6)
    turns.give(writer, fill(2, 2), fill(3, 3))
    assert writer.view().dropped == {
        "Trade": 1,
        "Bar": 0,
        "Gap": 1,
        "EquityPoint": 1,
        "IndicatorPoint": 0,
        "RiskPoint": 0,
        "HealthPoint": 0,
        "Refusal": 0,
    }
    turns.give(writer, trade(2))
    assert (writer.view().waiting, writer.view().dropped["Trade"]) == (6, 2)


def behind() -> tuple[Turns, DataWriter]:
    """A writer that let its own rows go, up to lsn 10; two batches are under way to a store that hangs."""
    turns = Turns(config())
    writer = begun(turns)
    turns.give(writer, *(fill(number, number) for number in range(1, 7)))
    assert [msg.applied_lsn for _, msg in turns.sent if isinstance(msg, StoreBatch)] == [3, 6]
    turns.give(writer, *(fill(number, number) for number in range(7, 10)), order(1), order(2), parent(1))
    assert writer.view().waiting == 6
    turns.give(writer, position("1"))
    assert writer.view().waiting == 0
    assert turns.logs[-1] == ("warning", "store_behind", {"rows": 7})
    return turns, writer


def test_queue_when_full_of_ones_own_then_they_go_and_the_store_is_asked_to_catch_up() -> None:
    """The journal has them all; the memory is for what only we have."""
    turns, writer = behind()
    first, second = acked(turns.sent, 6)
    turns.forget()
    turns.room[STORE] = 0
    assert turns.until(writer, turns.now_ns + HELLO_NS) == []
    turns.room[STORE] = 9
    turns.give(writer, first, second)
    ((_, hello),) = turns.until(writer, turns.now_ns + HELLO_NS)
    assert isinstance(hello, StoreBatch)
    assert (hello.rows, writer.state.missing_lsn) == ((), 10)
    turns.give(writer, StoreAck(hello.batch_id, 0, None, 10))
    turns.forget()
    turns.give(writer, fill(11, 11))
    assert [msg.applied_lsn for _, msg in turns.until(writer, turns.now_ns + SECOND)] == [11]  # type: ignore[attr-defined]
    assert turns.until(writer, turns.now_ns + 9 * HELLO_NS) == []


def test_queue_when_rows_were_let_go_then_later_ones_do_not_move_the_place_before_they_are_back() -> None:
    """The journal may not have them on its disk yet: it is asked until it has."""
    turns, writer = behind()
    first, second = acked(turns.sent, 6)
    turns.forget()
    sent = turns.give(writer, first, second, fill(11, 11), fill(12, 12), fill(13, 13))
    assert [msg.applied_lsn for _, msg in sent if isinstance(msg, StoreBatch)] == [None]
    turns.give(writer, *acked(sent, 6))
    turns.forget()
    for lsn, more in ((9, 1), (10, 0)):
        ((_, hello),) = turns.until(writer, turns.now_ns + HELLO_NS)
        assert isinstance(hello, StoreBatch)
        turns.forget()
        turns.give(writer, StoreAck(hello.batch_id, 0, None, lsn))
        assert bool(writer.state.missing_lsn) == bool(more)
    assert turns.until(writer, turns.now_ns + 9 * HELLO_NS) == []


def test_writer_when_it_begins_again_then_rows_move_the_place_only_once_the_journal_has_them() -> None:
    """What its predecessor lost is older than the first row that it gets, and a full disk may last."""
    turns, writer = Turns(config()), DataWriter(WIRING)
    turns.give(writer, Started(1), StoreAck(0, 0, None, 4))
    turns.give(writer, *acked(turns.until(writer, turns.now_ns + HELLO_NS), 4))
    turns.forget()
    (first,) = (msg for _, msg in turns.give(writer, fill(1, 7), fill(2, 8), fill(3, 9)))
    assert isinstance(first, StoreBatch)
    assert first.applied_lsn is None
    turns.give(writer, StoreAck(first.batch_id, 3, None, 4))
    turns.forget()
    for lsn in (6, 7):
        ((_, hello),) = turns.until(writer, turns.now_ns + HELLO_NS)
        assert isinstance(hello, StoreBatch)
        turns.forget()
        turns.give(writer, StoreAck(hello.batch_id, 0, None, lsn))
    assert turns.until(writer, turns.now_ns + 9 * HELLO_NS) == []
    (second,) = (msg for _, msg in turns.give(writer, fill(4, 10), fill(5, 11), fill(6, 12)))
    assert isinstance(second, StoreBatch)
    assert second.applied_lsn == 12


def test_link_when_down_then_its_batches_wait_again_in_front_and_in_order() -> None:
    """Rows that come twice are one row in the store, so what had no answer is simply sent again."""
    turns = Turns(config(most=100))
    writer = begun(turns)
    turns.give(writer, fill(1, 1), trade(1), equity(1), fill(2, 2), trade(2), trade(3))
    assert writer.view().under_way == 2
    turns.give(writer, LinkDown("store", 1, "disk gone"), fill(3, 3), trade(4))
    view = writer.view()
    assert (view.linked, view.failing, view.under_way, view.waiting) == (False, "disk gone", 0, 8)
    turns.forget()
    sent = turns.give(writer, StoreAck(0, 0, None, 5))
    assert rows(sent) == [(fill(1, 1), fill(2, 2), fill(3, 3)), (equity(1), trade(1), trade(2))]
    assert rows(turns.give(writer, *acked(sent))) == []
    assert rows(turns.until(writer, SECOND)) == [(trade(3), trade(4))]


def test_store_when_failing_then_is_said_until_an_answer_comes() -> None:
    """The reason stands in the status and once in the log."""
    turns = Turns(config())
    writer = begun(turns)
    sent = turns.give(writer, trade(1), trade(2), trade(3))
    turns.give(writer, StoreFailed("full"))
    assert writer.view().failing == "full"
    turns.give(writer, *acked(sent, 4))
    view = writer.view()
    assert (view.failing, view.stored, view.batches, view.applied_lsn) == ("", 3, 1, 4)
    assert [(level, event) for level, event, _ in turns.logs] == [
        ("error", "store_failing"),
        ("info", "store_recovered"),
    ]


def test_rows_when_set_aside_then_are_counted_and_said() -> None:
    """A row that no store takes is no silent loss."""
    turns = Turns(config())
    writer = begun(turns)
    sent = turns.give(writer, trade(1), trade(2), trade(3))
    (ack,) = acked(sent)
    turns.give(writer, StoreAck(ack.batch_id, 1, "2 rows set aside, the first a Trade: NaN", 0))
    assert writer.view().set_aside == 2
    assert turns.logs[-1][:2] == ("warning", "store_complains")


def test_oms_when_it_begins_again_then_what_it_told_beyond_the_journal_goes_first() -> None:
    """Other records take those numbers: such a row would stand for ever. A new link hears it too."""
    turns = Turns(config(most=100))
    writer = begun(turns)
    turns.give(writer, fill(1, 4), fill(2, 5), trade(1), fill(3, 5), fill(4, 6))
    assert rows(turns.sent) == [(fill(1, 4), fill(2, 5), trade(1))]
    turns.forget()
    turns.give(writer, Folded(4), fill(5, 5))
    ((_, hello),) = turns.sent
    assert isinstance(hello, StoreBatch)
    assert (hello.rows, hello.forget_lsn, writer.state.own) == ((), 4, [fill(5, 5)])
    turns.give(writer, LinkDown("store", 1, "x"))
    assert writer.state.own == [fill(1, 4), fill(5, 5)]
    turns.forget()
    turns.give(writer, StoreAck(0, 0, None, 4))
    again, batch = (msg for _, msg in turns.sent if isinstance(msg, StoreBatch))
    assert (again.rows, again.forget_lsn) == ((), 4)
    assert (batch.rows, batch.forget_lsn) == ((fill(1, 4), fill(5, 5), trade(1)), None)


def test_oms_when_it_begins_again_and_the_store_has_no_room_then_nothing_is_sent_before() -> None:
    """A row behind the one that goes would go with it."""
    turns = Turns(config())
    writer = begun(turns)
    turns.room[STORE] = 0
    turns.give(writer, Folded(0), fill(1, 1), fill(2, 2), fill(3, 3))
    turns.room[STORE] = 9
    first, second = (msg for _, msg in turns.give(writer, Credit("store", 9)) if isinstance(msg, StoreBatch))
    assert (first.forget_lsn, first.rows, second.rows) == (0, (), (fill(1, 1), fill(2, 2), fill(3, 3)))


def test_stop_when_rows_wait_then_answers_when_they_are_stored() -> None:
    """A stop takes nothing away; later rows are still written."""
    turns = Turns(config())
    writer = begun(turns)
    turns.give(writer, trade(1))
    turns.give(writer, Stop(5 * SECOND), trade(2))
    sent = turns.until(writer, 0)
    assert rows(sent) == [(trade(1), trade(2))]
    assert turns.give(writer, *acked(sent)) == [(RIM, Stopped("data_writer"))]
    assert rows(turns.give(writer, order(1))) == [(order(1),)]
    assert turns.until(writer, 9 * SECOND) == []


def test_stop_when_the_market_goes_on_then_only_what_is_ones_own_is_still_written() -> None:
    """A last batch of trades would be followed by another for ever."""
    turns = Turns(config())
    writer = begun(turns)
    turns.give(writer, Stop(5 * SECOND))
    turns.until(writer, 0)
    closed = BarsClosed(bar(0).instrument, (bar(0),), live=True)
    assert rows(turns.give(writer, trade(1), closed, fill(1, 1))) == [(fill(1, 1),)]


def test_stop_when_nothing_waits_or_the_store_is_gone_then_answers_at_once() -> None:
    """Nobody is kept waiting for what cannot come."""
    turns = Turns(config())
    writer = begun(turns)
    turns.give(writer, Stop(5 * SECOND))
    assert turns.until(writer, 0) == [(RIM, Stopped("data_writer"))]
    turns = Turns(config())
    writer = begun(turns)
    turns.give(writer, trade(1), Stop(5 * SECOND))
    turns.until(writer, 0)
    assert turns.give(writer, LinkDown("store", 1, "x")) == [(RIM, Stopped("data_writer"))]
    assert turns.logs[-1] == ("warning", "store_left_behind", {"rows": 1, "batches": 0})


def test_stop_when_the_store_hangs_then_answers_before_the_deadline() -> None:
    """The kernel's own cut at the deadline would count as unverified."""
    turns = Turns(config())
    writer = begun(turns)
    turns.give(writer, trade(1), Stop(5 * SECOND))
    assert turns.until(writer, 5 * SECOND - 50 * MS)[-1] == (RIM, Stopped("data_writer"))


def test_stop_when_rows_were_let_go_then_answers_when_the_store_has_caught_up() -> None:
    """The store that an orderly stop leaves behind is asked by people before the next start."""
    turns, writer = behind()
    first, second = acked(turns.sent, 6)
    turns.give(writer, first, second)
    turns.forget()
    turns.give(writer, Stop(turns.now_ns + 9 * SECOND))
    ((_, hello),) = turns.until(writer, turns.now_ns)
    assert isinstance(hello, StoreBatch)
    turns.forget()
    assert turns.give(writer, StoreAck(hello.batch_id, 0, None, 9)) == []
    ((_, again),) = turns.until(writer, turns.now_ns + HELLO_NS)
    assert isinstance(again, StoreBatch)
    turns.forget()
    assert turns.give(writer, StoreAck(again.batch_id, 0, None, 10)) == [(RIM, Stopped("data_writer"))]


def test_stop_when_rows_are_let_go_behind_its_answer_then_the_store_is_asked_before_the_end() -> None:
    """Orders are cancelled behind it: what a full queue let go would be missing until the next start."""
    turns = Turns(config())
    writer = begun(turns)
    turns.give(writer, Stop(turns.now_ns + 9 * SECOND))
    assert turns.until(writer, turns.now_ns) == [(RIM, Stopped("data_writer"))]
    turns.room[STORE] = 0
    turns.give(writer, *(order(number) for number in range(1, 9)))
    assert turns.logs[-1][1] == "store_behind"
    turns.room[STORE] = 9
    turns.forget()
    sent = turns.until(writer, turns.now_ns + LAST_HELLO_NS)
    assert [msg.rows for _, msg in sent if isinstance(msg, StoreBatch) and not msg.rows] == [()]


def test_state_when_snapshot_and_restored_then_goes_on_the_same() -> None:
    """All that the writer knows is in its state."""
    turns = Turns(config(most=100))
    writer = begun(turns)
    turns.give(writer, *(trade(number) for number in range(1, 9)), fill(1, 1), equity(2), refusal(3))
    again = DataWriter(WIRING, copied(writer.state))
    assert again.state == writer.state
    other = Turns(config(most=100))
    other.ids, other.timers = turns.ids, list(turns.timers)
    ack = StoreAck(3, 3, None, 0)
    assert other.give(again, ack, trade(9)) == turns.give(writer, ack, trade(9))
    assert other.until(again, SECOND) == turns.until(writer, SECOND)


def test_sizes_when_they_change_live_then_the_new_ones_hold() -> None:
    """A smaller batch from the next row on, and a smaller queue lets the oldest of the market go."""
    turns = Turns(config(size=5))
    writer = begun(turns)
    turns.give(writer, trade(1))
    turns.config = config(size=2)
    assert rows(turns.give(writer, ConfigChanged("b"), trade(2))) == [(trade(1), trade(2))]
    turns.config = config(size=5, most=2)
    turns.give(writer, ConfigChanged("c"), trade(3), trade(4), trade(5))
    assert (writer.state.market, writer.state.dropped["Trade"]) == ([trade(4), trade(5)], 1)


def test_interval_when_it_changes_live_then_what_waits_already_waits_no_longer_than_the_new_one() -> None:
    """A timer of a minute is not waited out."""
    turns = Turns(config())
    writer = begun(turns)
    turns.config = replace(turns.config, store=replace(turns.config.store, flush_interval=60 * SECOND))
    turns.give(writer, ConfigChanged("b"), trade(1))
    turns.config = config()
    assert turns.give(writer, ConfigChanged("c")) == []
    assert rows(turns.until(writer, 500 * MS)) == [(trade(1),)]
    assert (rows(turns.until(writer, 90 * SECOND)), turns.timers) == ([], [])


def test_interval_when_it_is_lowered_again_and_again_then_one_timer_runs_and_no_more() -> None:
    """Rows come without a pause, so that a timer too many would never find nothing to send."""
    turns = Turns(config(size=1_000))
    writer = begun(turns)
    for ms in (60_000, 30_000, 10_000, 5_000, 500):
        kept = replace(turns.config.store, flush_interval=ms * MS)
        turns.config = replace(turns.config, store=kept)
        turns.give(writer, ConfigChanged("b"), trade(ms))
    batches = 0
    for number in range(20):
        sent = turns.until(writer, turns.now_ns + 250 * MS)
        batches += len(rows(sent))
        acks = (StoreAck(one.batch_id, 1, None, 0) for _, one in sent if isinstance(one, StoreBatch))
        turns.give(writer, *acks, trade(number))
    assert batches == 10
    assert len(turns.timers) == 1


def test_message_when_it_is_none_of_its_own_then_is_a_defect() -> None:
    """A wiring mistake shows at once; what everybody is told is no mistake."""
    turns = Turns(config())
    writer = DataWriter(WIRING, DataWriterState())
    assert turns.give(writer, ConfigChanged("c"), Ready(1)) == []
    with pytest.raises(Defect, match="does not take Stopped"):
        writer.handle(Stopped("x"), turns)
