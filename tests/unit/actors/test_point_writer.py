"""The point writer: batches by size and age, room, and every point that is not written is counted."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tests.unit.actors.turns import Turns, copied
from tests.unit.stores.made import BTC, bar, equity, fill, gap, order, parent, position, refusal, tca, trade
from tradefan.actors.point_writer import KINDS, PointWriter, PointWriterWiring
from tradefan.config.schema import Config, FeedConfig
from tradefan.config.services import InfluxConfig
from tradefan.errors import Defect
from tradefan.messages.base import Message
from tradefan.messages.control import (
    ConfigChanged,
    Folded,
    Journaled,
    PointBatch,
    PointsWritten,
    Ready,
    Started,
    Stop,
    Stopped,
    StoreAck,
    StoreFailed,
)
from tradefan.messages.market import BarCorrected, BarsClosed, Quote
from tradefan.messages.orders import PositionUpdate
from tradefan.messages.wire import Credit, LinkDown
from tradefan.runtime.system import RIM
from tradefan.stores.schema import MEASUREMENTS
from tradefan.units import MS, SECOND, Ref

INFLUX = Ref(7)
WIRING = PointWriterWiring(INFLUX, follows=True)
LATER = 10**9
"""Everything that these tests tell is on the disk long since."""


def config(size: int = 3, most: int = 200) -> Config:
    return Config(
        influx=InfluxConfig(batch_size=size, flush_interval=500 * MS, queue_max=most),
        feeds={BTC: FeedConfig(bars={"1m": True, "1h": False})},
    )


def quote(number: int) -> Quote:
    return Quote(BTC, 100.0, 1.0, 101.0, 2.0, number, number)


def begun(turns: Turns, *, linked: bool = True, durable: int = LATER) -> PointWriter:
    """A writer whose link has found its database, beside a journal without a row."""
    writer = PointWriter(WIRING)
    turns.give(writer, Started(0), Journaled(durable, 0))
    if linked:
        turns.give(writer, PointsWritten(0, 0))
    return writer


def at(lsn: int) -> PositionUpdate:
    """A picture of a turn that ended with this record."""
    return replace(position(str(lsn)), lsn=lsn)


def rows(sent: list[tuple[Ref, Message]]) -> list[tuple[Any, ...]]:
    return [msg.rows for ref, msg in sent if isinstance(msg, PointBatch) and ref == INFLUX]


def ids(sent: list[tuple[Ref, Message]]) -> list[int]:
    return [msg.batch_id for _, msg in sent if isinstance(msg, PointBatch)]


def test_kinds_are_those_of_the_registry() -> None:
    """What may be dropped is counted under the name of a measurement."""
    assert set(KINDS) == set(MEASUREMENTS)


def test_batch_when_full_then_is_sent_at_once() -> None:
    """A full batch does not wait for its age."""
    turns = Turns(config())
    writer = begun(turns)
    assert rows(turns.give(writer, trade(1), trade(2))) == []
    assert rows(turns.give(writer, trade(3), trade(4))) == [(trade(1), trade(2), trade(3))]


def test_batch_when_old_enough_then_is_sent_as_it_is() -> None:
    """No point waits longer than the flush interval, counted from the oldest."""
    turns = Turns(config())
    writer = begun(turns)
    turns.give(writer, trade(1))
    assert rows(turns.until(writer, 499 * MS)) == []
    turns.give(writer, trade(2))
    assert rows(turns.until(writer, 500 * MS)) == [(trade(1), trade(2))]
    assert rows(turns.until(writer, 10 * SECOND)) == []


def test_batch_when_sizes_change_live_then_the_new_ones_hold() -> None:
    """Both limits are read anew at every point."""
    turns = Turns(config())
    writer = begun(turns)
    turns.config = config(size=2)
    assert rows(turns.give(writer, ConfigChanged("b"), trade(1), trade(2))) == [(trade(1), trade(2))]


def test_interval_when_it_changes_live_then_what_waits_already_waits_no_longer_than_the_new_one() -> None:
    """A timer of a minute is not waited out."""
    turns = Turns(config())
    writer = begun(turns)
    turns.config = replace(turns.config, influx=replace(turns.config.influx, flush_interval=60 * SECOND))
    turns.give(writer, ConfigChanged("b"), trade(1))
    turns.config = config()
    assert turns.give(writer, ConfigChanged("c")) == []
    assert rows(turns.until(writer, 500 * MS)) == [(trade(1),)]
    assert (rows(turns.until(writer, 90 * SECOND)), turns.timers) == ([], [])


def test_rows_when_both_wait_then_orders_go_before_the_market() -> None:
    """What only we know goes first, each kind in its order."""
    turns = Turns(config(size=100))
    writer = begun(turns)
    mine = (order(1), parent(1), fill(1, 4), position("1"), equity(5), refusal(6), tca(1), gap(7))
    turns.give(writer, trade(1), *mine, trade(2))
    journals = (order(1), parent(1), fill(1, 4), position("1"), tca(1))
    assert rows(turns.until(writer, SECOND)) == [
        (*journals, equity(5), refusal(6), gap(7), trade(1), trade(2))
    ]


def test_quotes_when_many_come_then_the_newest_of_each_flush_is_a_point() -> None:
    """Quotes are a picture: one a flush and instrument."""
    turns = Turns(config())
    writer = begun(turns)
    turns.give(writer, *(quote(number) for number in range(50)))
    assert rows(turns.until(writer, SECOND)) == [(quote(49),)]
    assert rows(turns.until(writer, 10 * SECOND)) == []


def test_bars_when_closed_or_corrected_then_those_of_the_configuration_are_points() -> None:
    """Timeframes that only a strategy asked for are its own."""
    turns = Turns(config(size=2))
    writer = begun(turns)
    other = replace(bar(0), timeframe="1h")
    sent = turns.give(writer, BarsClosed(BTC, (bar(0), other), live=True), BarCorrected(BTC, bar(1)))
    assert rows(sent) == [(bar(0), bar(1))]


def test_batches_when_the_link_has_no_room_then_wait_for_its_answer() -> None:
    """Two are under way at most; the answer to one sends the next."""
    turns = Turns(config(size=1))
    writer = begun(turns)
    sent = turns.give(writer, *(trade(number) for number in range(1, 5)))
    assert rows(sent) == [(trade(1),), (trade(2),)]
    turns.forget()
    assert rows(turns.give(writer, PointsWritten(ids(sent)[0], 1))) == [(trade(3),)]


def test_queue_when_full_then_the_oldest_of_the_market_go_and_are_counted() -> None:
    """The rest stays while there is anything of the market to let go; fills are left to the journal."""
    turns = Turns(config(size=100, most=200))
    writer = begun(turns, linked=False)
    turns.give(writer, *(fill(number, number) for number in range(150)))
    turns.give(writer, *(trade(number) for number in range(100)))
    view = writer.view()
    assert (view.dropped["Trade"], view.dropped["FillUpdate"]) == (51, 0)
    assert view.waiting + sum(view.dropped.values()) == 250
    turns.give(writer, *(fill(number, number) for number in range(150, 300)))
    view = writer.view()
    assert view.dropped["Trade"] == 100
    assert (view.dropped["FillUpdate"], view.left["FillUpdate"], view.behind) == (0, 200, True)
    assert view.waiting + sum(view.dropped.values()) + sum(view.left.values()) == 400
    assert view.waiting <= 200
    assert [fields for _, event, fields in turns.logs if event == "points_left_to_journal"] == [
        {"of": "influx", "points": 200}
    ]


def test_queue_when_only_quotes_come_then_is_bounded_all_the_same() -> None:
    """A feed without trades adds a point at each flush, however long the server is away."""
    turns = Turns(config(size=1_000, most=100))
    writer = begun(turns, linked=False)
    for number in range(300):
        turns.give(writer, quote(number))
        turns.until(writer, turns.now_ns + SECOND)
    view = writer.view()
    assert view.waiting <= 100
    assert view.waiting + view.dropped["Quote"] == 300


def test_drops_when_the_server_is_back_then_are_logged_once() -> None:
    """Whoever reads the log learns what is missing."""
    turns = Turns(config(size=1000, most=100))
    writer = begun(turns, linked=False)
    turns.give(writer, StoreFailed("no answer"), *(trade(number) for number in range(150)))
    lost = writer.view().dropped["Trade"]
    turns.give(writer, PointsWritten(0, 0))
    turns.give(writer, PointsWritten(99, 0))
    assert [(event, fields["points"]) for _, event, fields in turns.logs if event == "points_dropped"] == [
        ("points_dropped", lost)
    ]
    assert [event for _, event, _ in turns.logs if event.startswith("influx")] == [
        "influx_failing",
        "influx_recovered",
    ]


def test_link_when_down_then_its_batches_wait_again_in_front() -> None:
    """A point that is written twice is one point, one that is not written at all is lost."""
    turns = Turns(config(size=2))
    writer = begun(turns)
    turns.give(writer, trade(1), order(1))
    turns.forget()
    turns.give(writer, LinkDown("influx", 1, "ended"), trade(2))
    assert (writer.view().waiting, writer.view().under_way, writer.view().failing) == (3, 0, "ended")
    assert rows(turns.give(writer, PointsWritten(0, 0))) == [(order(1), trade(1))]
    assert rows(turns.until(writer, SECOND)) == [(trade(2),)]


def test_link_when_down_with_a_full_queue_then_what_comes_back_keeps_the_bound() -> None:
    """Batches that had no answer are memory again, and the oldest of the market go."""
    turns = Turns(config(size=50, most=100))
    writer = begun(turns)
    turns.give(writer, *(trade(number) for number in range(200)))
    assert (writer.view().waiting, writer.view().under_way) == (100, 2)
    turns.give(writer, LinkDown("influx", 1, "ended"))
    view = writer.view()
    assert view.waiting <= 100
    assert view.waiting + view.dropped["Trade"] == 200


def test_aside_when_the_link_says_so_then_is_counted_and_logged() -> None:
    """What no server takes is no outage."""
    turns = Turns(config(size=2))
    writer = begun(turns)
    sent = turns.give(writer, trade(1), trade(2))
    turns.give(writer, PointsWritten(ids(sent)[0], 1, {"Trade": 1}, "price: expected a finite number"))
    assert (writer.view().written, writer.view().aside["Trade"], writer.view().failing) == (1, 1, "")
    assert turns.logs[-1] == (
        "warning",
        "points_set_aside",
        {"of": "influx", "points": {"Trade": 1}, "reason": "price: expected a finite number"},
    )


def test_folded_when_the_journal_has_less_then_what_never_was_goes() -> None:
    """The OMS began again: its records behind that number are others now."""
    turns = Turns(config(size=100))
    writer = begun(turns)
    turns.give(writer, fill(1, 4), fill(2, 5), trade(1), Folded(4), Ready(1))
    assert rows(turns.until(writer, SECOND)) == [(fill(1, 4), trade(1))]


def test_stop_when_all_is_written_then_answers() -> None:
    """The rows of the mailbox come before the last flush, the market after it does not."""
    turns = Turns(config(size=100))
    writer = begun(turns)
    turns.give(writer, trade(1), quote(3), Stop(10 * SECOND, 0), fill(1, 4))
    sent = turns.until(writer, turns.now_ns)
    assert rows(sent) == [(fill(1, 4), trade(1), quote(3))]
    turns.give(writer, trade(2), quote(4))
    assert turns.give(writer, PointsWritten(ids(sent)[0], 3))[-1] == (RIM, Stopped("point_writer"))
    assert writer.view().waiting == 0


def test_stop_when_the_server_is_away_then_does_not_wait_and_says_what_is_left() -> None:
    """The daemon's end hangs on no service."""
    turns = Turns(config(size=100))
    writer = begun(turns)
    turns.give(writer, StoreFailed("no answer"), trade(1), Stop(10 * SECOND, 0))
    assert turns.until(writer, turns.now_ns)[-1] == (RIM, Stopped("point_writer"))
    assert turns.logs[-1] == ("warning", "points_left_behind", {"of": "influx", "points": 1})


def test_stop_when_no_answer_comes_then_ends_shortly_before_its_deadline() -> None:
    """A server that hangs without a word costs the time of the stop and no more."""
    turns = Turns(config(size=100))
    writer = begun(turns)
    turns.give(writer, trade(1), Stop(turns.now_ns + SECOND, 0))
    assert (RIM, Stopped("point_writer")) not in turns.until(writer, turns.now_ns + 900 * MS)
    assert turns.until(writer, turns.now_ns + 100 * MS)[-1] == (RIM, Stopped("point_writer"))


def test_credit_when_it_comes_then_what_waited_is_sent() -> None:
    """The port takes no more than its link has announced."""
    turns = Turns(config(size=1))
    writer = begun(turns)
    turns.room[INFLUX] = 0
    assert rows(turns.give(writer, trade(1))) == []
    turns.room.clear()
    assert rows(turns.give(writer, Credit("influx", 2))) == [(trade(1),)]


def test_state_when_copied_then_goes_on_alike() -> None:
    """A snapshot holds all of it."""
    turns = Turns(config(size=100))
    writer = begun(turns)
    turns.give(writer, trade(1), quote(2))
    again = PointWriter(WIRING, copied(writer.state))
    assert again.view() == writer.view()
    assert rows(turns.until(again, SECOND)) == [(trade(1), quote(2))]


def test_message_when_not_its_own_then_is_a_defect() -> None:
    """A mistake in wiring shows at once."""
    with pytest.raises(Defect, match="StoreAck"):
        PointWriter(WIRING).handle(StoreAck(1, 0, None, 0), Turns(config()))


# --- what follows from the journal --------------------------------------------------------------------


def asked(sent: list[tuple[Ref, Message]]) -> list[PointBatch]:
    """The batches, without the numbers that the writer gave them."""
    return [replace(msg, batch_id=0) for _, msg in sent if isinstance(msg, PointBatch)]


def test_own_rows_when_their_records_are_not_durable_then_wait() -> None:
    """What a crash may take back is shown to nobody; the market does not wait for it."""
    turns = Turns(config(size=2))
    writer = begun(turns, durable=4)
    turns.give(writer, fill(1, 5), trade(1))
    assert asked(turns.until(writer, SECOND)) == [PointBatch(0, (trade(1),))]
    turns.give(writer, Journaled(5, 5))
    assert asked(turns.until(writer, 3 * SECOND)) == [PointBatch(0, (fill(1, 5),), 1, 5)]


def test_own_rows_when_a_batch_of_them_is_under_way_then_the_next_waits_for_its_answer() -> None:
    """A place that is noted says that nothing before it is missing, whatever becomes of other batches."""
    turns = Turns(config(size=2))
    writer = begun(turns, durable=3)
    told = (fill(1, 4), at(5), fill(3, 9), trade(1), trade(2))
    sent = turns.give(writer, *told[:3], Journaled(9, 9), *told[3:])
    turns.until(writer, SECOND)
    sent = list(turns.sent)
    assert asked(sent) == [
        PointBatch(0, (fill(1, 4), at(5)), 2, 5),
        PointBatch(0, (trade(1), trade(2))),
    ]
    turns.forget()
    turns.give(writer, PointsWritten(ids(sent)[1], 2))
    assert asked(turns.until(writer, 2 * SECOND)) == []
    turns.give(writer, PointsWritten(ids(sent)[0], 2))
    assert asked(turns.until(writer, 3 * SECOND)) == [PointBatch(0, (fill(3, 9),), 1, 9)]


def test_own_rows_when_a_picture_of_a_turn_waits_then_the_place_is_the_end_of_the_turn_before() -> None:
    """It tells what any record of its turn changed: the journal behind a place within need not."""
    turns = Turns(config(size=3))
    writer = begun(turns, linked=False, durable=9)
    ended = replace(order(1), lsn=9)
    turns.give(writer, at(4), at(6), fill(1, 7), ended, at(9))
    sent = turns.give(writer, PointsWritten(0, 0))
    assert asked(sent) == [PointBatch(0, (at(4), at(6), fill(1, 7)), 3, 6)]
    turns.give(writer, PointsWritten(ids(sent)[0], 3))
    assert asked(turns.until(writer, SECOND)) == [PointBatch(0, (ended, at(9)), 2, 9)]


def test_own_rows_when_the_disk_is_within_a_turn_then_the_place_is_not() -> None:
    """A group of the journal may end anywhere."""
    turns = Turns(config(size=1))
    writer = begun(turns, durable=3)
    turns.give(writer, fill(1, 4), at(5))
    turns.give(writer, Journaled(4, 5))
    assert asked(turns.until(writer, SECOND)) == [PointBatch(0, (fill(1, 4),), 1)]


def test_journal_when_first_heard_then_what_was_told_before_is_asked_for() -> None:
    """An earlier life may have told it to a server that was away; rows that come from there need not wait."""
    turns = Turns(config(size=100))
    writer = PointWriter(WIRING)
    turns.give(writer, Started(0), fill(1, 41), Journaled(30, 42), fill(2, 43))
    assert asked(turns.give(writer, PointsWritten(0, 0))) == []
    sent = turns.give(writer, Journaled(44, 44))
    assert asked(sent) == [PointBatch(0, (), up_to=42)]
    assert writer.view().behind
    assert writer.view().left["FillUpdate"] == 1
    assert asked(turns.until(writer, SECOND)) == []
    turns.give(writer, PointsWritten(ids(sent)[0], 12))
    assert (writer.view().written, writer.view().behind) == (12, False)
    assert asked(turns.until(writer, 2 * SECOND)) == [PointBatch(0, (fill(2, 43),), 1, 44)]


def test_journal_when_the_link_ends_on_its_way_then_it_is_asked_again() -> None:
    """The server keeps the place up to which it came."""
    turns = Turns(config(size=100))
    writer = PointWriter(WIRING)
    turns.give(writer, Started(0), PointsWritten(0, 0), Journaled(7, 7))
    turns.forget()
    assert turns.give(writer, LinkDown("influx", 1, "ended")) == []
    assert writer.view().behind
    assert asked(turns.give(writer, PointsWritten(0, 0))) == [PointBatch(0, (), up_to=7)]


def test_journal_when_the_link_has_no_room_then_it_is_asked_later() -> None:
    """Credit is what the link has announced room for."""
    turns = Turns(config(size=100))
    writer = PointWriter(WIRING)
    turns.give(writer, Started(0), PointsWritten(0, 0))
    turns.room[INFLUX] = 0
    turns.give(writer, Journaled(7, 7))
    turns.room[INFLUX] = 1
    assert asked(turns.give(writer, Credit("influx", 1))) == [PointBatch(0, (), up_to=7)]


def test_queue_when_own_rows_were_let_go_then_the_journal_brings_them_when_the_server_is_back() -> None:
    """An outage that is longer than memory costs no fill, and memory keeps its bound."""
    turns = Turns(config(size=1000, most=100))
    writer = begun(turns, linked=False)
    turns.give(writer, *(at(number) for number in range(1, 120)))
    assert writer.view().waiting <= 100
    sent = turns.give(writer, PointsWritten(0, 0))
    assert asked(sent) == [PointBatch(0, (), up_to=101)]
    turns.give(writer, PointsWritten(ids(sent)[0], 101))
    wanted = tuple(at(number) for number in range(102, 120))
    assert asked(turns.until(writer, SECOND)) == [PointBatch(0, wanted, 18, 119)]


def test_folded_when_a_place_beyond_it_was_missing_then_it_is_asked_for_up_to_there() -> None:
    """Behind it are other records now."""
    turns = Turns(config(size=100))
    writer = PointWriter(WIRING)
    turns.give(writer, Started(0), PointsWritten(0, 0), Journaled(3, 9), Folded(5))
    assert asked(turns.give(writer, Journaled(6, 6))) == [PointBatch(0, (), up_to=5)]


def test_behind_when_the_journal_was_not_heard_then_is_said_of_a_writer_that_follows_it() -> None:
    """Rows of a predecessor may be missing; one that follows none lacks nothing."""
    turns = Turns(config())
    writer = PointWriter(WIRING)
    turns.give(writer, Started(1), PointsWritten(0, 0))
    assert writer.view().behind
    assert not PointWriter(PointWriterWiring(INFLUX)).view().behind
    turns.give(writer, Journaled(0, 0))
    assert not writer.view().behind


def test_writer_when_it_fell_then_its_successor_greets_the_link_and_writes_on() -> None:
    """The link lives on and greets nobody twice; one that had no room is greeted again."""
    turns = Turns(config(size=1))
    writer = PointWriter(WIRING)
    turns.room[INFLUX] = 0
    assert turns.give(writer, Started(1), trade(1)) == []
    turns.room[INFLUX] = 5
    sent = turns.until(writer, SECOND)
    assert asked(sent) == [PointBatch(0, ())]
    assert rows(turns.give(writer, PointsWritten(ids(sent)[0], 0))) == [(trade(1),)]


def test_stop_when_own_rows_wait_for_the_disk_then_does_not_wait_and_loses_nothing() -> None:
    """The next start has them from the journal."""
    turns = Turns(config(size=100))
    writer = begun(turns, durable=3)
    turns.give(writer, fill(1, 4), Stop(10 * SECOND, 0))
    assert turns.until(writer, turns.now_ns)[-1] == (RIM, Stopped("point_writer"))
    assert "points_left_behind" not in [event for _, event, _ in turns.logs]
    assert asked(turns.give(writer, Journaled(4, 4))) == [PointBatch(0, (fill(1, 4),), 1, 4)]


def test_publisher_when_it_follows_no_journal_then_own_rows_go_at_once() -> None:
    """Streams of Redis are news, not a record."""
    turns = Turns(config(size=1))
    writer = PointWriter(PointWriterWiring(INFLUX))
    turns.give(writer, Started(0), PointsWritten(0, 0))
    assert asked(turns.give(writer, fill(1, 4))) == [PointBatch(0, (fill(1, 4),))]
