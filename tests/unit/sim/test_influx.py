"""The simulated InfluxDB: what it stores, refuses and forgets to say, and the link to it."""

from __future__ import annotations

from contextlib import nullcontext
from random import Random
from typing import NoReturn

import pytest

from tests.unit.core.order_builders import fill as fill_record
from tests.unit.core.order_builders import intent, parent, report
from tests.unit.sim.checker_bench import T0, opening
from tests.unit.stores.made import fill, trade
from tradefan.errors import Outage
from tradefan.messages.base import Message
from tradefan.messages.control import PointBatch, PointsWritten, StoreFailed
from tradefan.messages.orders import OrderStatus
from tradefan.messages.wire import Credit
from tradefan.sim.checkers import all_checkers
from tradefan.sim.faults import WORLD_KINDS
from tradefan.sim.influx import LATE_NS, SimInflux, SimInfluxd
from tradefan.sim.world import World
from tradefan.stores.journal import JournalFile
from tradefan.units import MINUTE, MS, SECOND

KINDS = tuple(kind for kind in WORLD_KINDS if kind.startswith("influx_"))


def server() -> SimInfluxd:
    return SimInfluxd(Random(1))


def linked(one: SimInfluxd) -> SimInflux:
    """A link that has greeted its server."""
    link = SimInflux(one, lambda: None, T0)
    said = until(link, T0 + SECOND)
    assert [type(msg) for msg in said] == [Credit, PointsWritten]
    return link


def until(link: SimInflux, end_ns: int) -> list[Message]:
    """Take all that comes up to an instant."""
    said: list[Message] = []
    while (due_ns := link.next_ns()) is not None and due_ns <= end_ns:
        said += link.take(max(due_ns, T0), 100)
    return said


def written(said: list[Message]) -> list[PointsWritten]:
    return [msg for msg in said if isinstance(msg, PointsWritten)]


def test_link_when_all_is_well_then_a_batch_is_stored_and_its_place_kept() -> None:
    """One answer each, with room for another one."""
    one = server()
    with nullcontext(JournalFile(":memory:")) as journal:
        journal.append(1, 1, (opening("USDT", 1),))
        link = SimInflux(one, lambda: nullcontext(journal), T0)
        until(link, T0 + SECOND)
        link.apply(T0 + SECOND, PointBatch(1, (fill(1, 4), trade(1)), 1, 4))
        assert until(link, T0 + 2 * SECOND) == [Credit("influx", 3), PointsWritten(1, 2)]
    assert (len(one.truth.points), one.truth.newest_place, one.truth.wrong) == (2, 4, [])


def test_link_when_the_server_is_away_then_it_is_tried_again_and_said_once() -> None:
    """Nothing is stored meanwhile, and everything afterwards."""
    one = server()
    link = linked(one)
    one.trouble.away_ns = T0 + MINUTE
    link.apply(T0 + SECOND, PointBatch(1, (trade(1),)))
    assert until(link, T0 + MINUTE - 1) == [StoreFailed("influx: away")]
    assert one.truth.points == {}
    assert written(until(link, T0 + 2 * MINUTE)) == [PointsWritten(1, 1)]
    assert len(one.truth.points) == 1


def test_link_when_the_journal_cannot_be_read_then_it_is_said_once_while_others_are_written() -> None:
    """As the real link does: what fails is each batch's own."""
    one = server()

    def broken() -> NoReturn:
        raise Outage("journal: torn")

    link = SimInflux(one, broken, T0)
    until(link, T0 + SECOND)
    link.apply(T0 + SECOND, PointBatch(1, (), up_to=5))
    said: list[Message] = []
    for number in range(2, 30):
        link.apply(T0 + number * SECOND, PointBatch(number, (trade(number),)))
        said += until(link, T0 + (number + 1) * SECOND)
    assert [msg for msg in said if isinstance(msg, StoreFailed)] == [StoreFailed("journal: torn")]
    assert len(written(said)) == 28


def test_server_when_its_answers_are_lost_then_it_stores_now_later_or_never() -> None:
    """Whoever sends the same again has one point all the same."""
    one = server()
    link = linked(one)
    one.trouble.unheard_ns = T0 + 10 * SECOND
    for number in range(1, 3):
        link.apply(T0 + SECOND, PointBatch(number, (trade(number),)))
    assert written(until(link, T0 + 9 * SECOND)) == []
    assert one.truth.points
    assert len(written(until(link, T0 + MINUTE))) == 2
    one.reach(T0 + MINUTE + LATE_NS)
    assert (len(one.truth.points), one.truth.wrong) == (2, [])


def test_server_when_it_refuses_a_measurement_then_the_rest_is_stored_and_that_set_aside() -> None:
    """The answer names no line, so halves are sent; a whole one again would be seen."""
    one = server()
    link = linked(one)
    one.trouble.poison, one.trouble.poison_ns = "fills", T0 + MINUTE
    link.apply(T0 + SECOND, PointBatch(1, (trade(1), trade(2), fill(1, 4), trade(3))))
    (answer,) = written(until(link, T0 + MINUTE))
    assert (answer.written, answer.aside) == (3, {"FillUpdate": 1})
    assert (len(one.truth.points), len(one.truth.aside), one.truth.wrong) == (3, 1, [])


def test_server_when_slow_then_answers_come_late() -> None:
    """Up to 3 s each."""
    one = server()
    link = linked(one)
    one.trouble.slow_ns = T0 + MINUTE
    link.apply(T0 + SECOND, PointBatch(1, (trade(1),)))
    assert until(link, T0 + SECOND + 10 * MS) == []
    assert len(written(until(link, T0 + 10 * SECOND))) == 1


def test_link_when_asked_for_the_journal_then_reads_it_from_the_servers_place() -> None:
    """Twice the same question is answered from what the first one has noted."""
    one = server()
    journal = JournalFile(":memory:")
    journal.append(1, 1, (opening("USDT", 1), parent(), intent(), report(OrderStatus.NEW), fill_record(4)))
    link = SimInflux(one, lambda: nullcontext(journal), T0)
    until(link, T0 + SECOND)
    for number in (1, 2):
        link.apply(T0 + number * SECOND, PointBatch(number, (), up_to=5))
        until(link, T0 + number * SECOND + 100 * MS)
    journal.close()
    assert len(one.truth.of("fills")) == 1
    assert one.truth.newest_place == 5


@pytest.mark.slow
def test_world_when_only_its_influxdb_goes_wrong_then_all_kinds_happen_and_nothing_breaks() -> None:
    """The fills of the journal are there at the end, whatever became of batches, link and writer."""
    world = World(11, kinds=KINDS, all_on=True, checkers=all_checkers())
    outcome = world.run()
    assert outcome.violation is None
    assert set(outcome.faults) == set(KINDS)
    truth = world.witness.influx
    assert truth is not None
    assert truth.of("fills")
    assert {"influx_failing", "influx_recovered", "points_set_aside"} <= {
        line.event for _, line in world.witness.logs
    }
