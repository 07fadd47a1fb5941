"""I-23, I-24: what was told is a point or counted, and InfluxDB follows the journal."""

from __future__ import annotations

from collections import Counter

from msgspec.structs import replace

from tests.unit.core.order_builders import BTC, CID, fill, intent, parent, report
from tests.unit.sim.checker_bench import Bench, broken, opening
from tests.unit.stores.made import fill as told_fill
from tests.unit.stores.made import order as told_order
from tests.unit.stores.made import trade
from tradefan.actors.point_writer import PointWriter, PointWriterState, PointWriterWiring
from tradefan.core.updates import fill_update, order_update
from tradefan.messages.control import PointBatch
from tradefan.messages.orders import OrderStatus
from tradefan.messages.records import Fill, Record
from tradefan.sim.checkers.points import InfluxFollows, PointsCounted
from tradefan.sim.influx_truth import Generation, InfluxTruth, Told
from tradefan.stores.influx_bodies import PROGRESS
from tradefan.stores.line_protocol import encode
from tradefan.units import MINUTE, ZERO, ParentId, Ref

S = OrderStatus
SOME: tuple[Record, ...] = (opening("USDT", 1000), parent(), intent(), report(S.NEW), fill(4))


# --- I-23 -------------------------------------------------------------------------------------------------


def counted(state: PointWriterState | None = None, **told: int) -> tuple[Bench, Generation]:
    """A bench with a writer that was told so much."""
    bench = Bench(PointsCounted())
    writer = Generation(state or PointWriterState(), told=Counter(told))
    bench.seen.influx = InfluxTruth(writer=writer)
    return bench, writer


def test_points_when_each_is_written_waits_or_is_counted_then_quiet() -> None:
    """I-23: answered, under way, in memory, let go, left to the journal, or taken back by a fold."""
    state = PointWriterState(market=[trade(1)], under_way={1: PointBatch(1, (trade(2), told_fill(1, 1)), 0)})
    state.dropped["Trade"], state.journal.left["FillUpdate"] = 3, 4
    bench, writer = counted(state, Trade=10, FillUpdate=7)
    writer.answered.update({"Trade": 5, "FillUpdate": 1})
    writer.never["FillUpdate"] = 1
    assert bench.rest() is None


def test_points_when_one_is_neither_written_nor_counted_then_broken() -> None:
    """I-23: a loss that no counter knows, and a counter of what was not lost."""
    bench, writer = counted(Trade=10)
    writer.answered["Trade"] = 9
    broken(bench.rest(), "I-23", "10 Trade written, waiting or counted as lost", "9")
    writer.answered["Trade"] = 11
    broken(bench.rest(), "I-23", "10 Trade", "11")


def test_points_when_a_writer_that_fell_has_lost_one_then_broken() -> None:
    """I-23: its successor counts anew, and what was lost before stays lost."""
    bench, writer = counted(Trade=3)
    truth = bench.seen.influx
    assert truth is not None
    writer.answered["Trade"] = 2
    Told(PointWriter(PointWriterWiring(Ref(1))), truth)
    assert truth.writer is not writer
    broken(bench.rest(), "I-23", "3 Trade written, waiting or counted as lost", "2")


def test_points_when_one_takes_the_place_of_another_then_broken() -> None:
    """I-23: the same series and instant with other values; the same again, or a bar known better, is one."""
    bench, _ = counted()
    truth = bench.seen.influx
    assert truth is not None
    for line in ("trades,a=b\\ c price=1 5", "trades,a=b\\ c price=1 5", "bars,a=b x=1 5", "bars,a=b x=2 5"):
        truth.write(line)
    assert bench.rest() is None
    assert truth.points == {"trades,a=b\\ c 5": "price=1", "bars,a=b 5": "x=2"}
    truth.write("trades,a=b\\ c price=2 5")
    broken(bench.rest(), "I-23", "one point at trades,a=b\\ c 5: price=1", "price=2")


def test_points_when_what_was_acknowledged_is_not_there_then_broken() -> None:
    """I-23: whoever takes an outage for an answer loses a batch."""
    bench, _ = counted()
    truth = bench.seen.influx
    assert truth is not None
    truth.write("trades,a=b price=1 5")
    truth.require(("trades,a=b price=1 5", f"{PROGRESS},journal=a lsn=1i 5"))
    assert bench.rest() is None
    truth.require(("trades,a=b price=1 6",))
    broken(bench.rest(), "I-23", "what was acknowledged: trades,a=b price=1 6", "no such point")


def test_points_when_there_is_no_influxdb_or_no_writer_then_quiet() -> None:
    """I-23: most worlds have none, and a process may end before it has one."""
    bench = Bench(PointsCounted())
    assert bench.rest() is None
    bench.seen.influx = InfluxTruth()
    assert bench.rest() is None


# --- I-24 -------------------------------------------------------------------------------------------------


def following(*records: Record, place: int) -> tuple[Bench, InfluxTruth]:
    """A bench a minute behind records of which InfluxDB has what follows, noted up to a place."""
    bench = Bench(InfluxFollows())
    truth = bench.seen.influx = InfluxTruth()
    bench.append(*records)
    bench.seen.now_ns += 10 * MINUTE
    for lsn, record in enumerate(records, 1):
        if isinstance(record, Fill):
            write(truth, fill_update(record, lsn, ParentId("p1"), ZERO))
    write(truth, order_update(bench.seen.oms.trading.orders[CID], len(records)))
    note(truth, place)
    return bench, truth


def write(truth: InfluxTruth, *rows: object) -> None:
    for line in encode(rows).lines:  # type: ignore[arg-type]
        truth.write(line)


def note(truth: InfluxTruth, place: int, at_ns: int = 1) -> None:
    truth.write(f"{PROGRESS},journal=ab lsn={place}i {at_ns}")


def test_influx_when_it_has_each_fill_once_and_the_order_as_it_is_then_quiet() -> None:
    """I-24: the newest word on its place counts; what is behind that may be there or not."""
    bench, truth = following(*SOME, place=3)
    note(truth, 5, at_ns=2)
    assert bench.rest() is None
    bench.append(fill(2, trade_id="t2", at_ns=bench.seen.now_ns))
    assert bench.rest() is None
    bench.seen.influx = None
    assert bench.rest() is None


def test_influx_when_its_place_stays_behind_then_broken() -> None:
    """I-24: one that never catches up would have nothing to be held against."""
    bench, _ = following(*SOME, place=4)
    broken(bench.rest(), "I-24", "InfluxDB's place at lsn 5 or behind", "4")


def test_influx_when_a_fill_is_missing_twice_there_or_of_no_record_then_broken() -> None:
    """I-24: by instrument, trade id and lsn; one that the server did not take is set aside."""
    bench, truth = following(*SOME, place=5)
    key, fields = truth.of("fills")[0]
    del truth.points[key]
    broken(bench.rest(), "I-24", f"fill {BTC} t1 of lsn 5 once", "0")
    truth.aside.append(f"fills,account=a {fields} 5")
    assert bench.rest() is None
    truth.points |= {key: fields, f"{key}7": fields}
    broken(bench.rest(), "I-24", f"fill {BTC} t1 of lsn 5 once", "2")
    bench, truth = following(*SOME, place=5)
    write(truth, told_fill(9, 6))
    broken(bench.rest(), "I-24", "no fill in InfluxDB that the journal lacks", f"('{BTC}', '9', 6)")


def test_influx_when_an_order_is_missing_old_or_of_no_record_then_broken() -> None:
    """I-24: status and quantity of the newest point of each; what changed behind its place is not due yet."""
    bench, truth = following(*SOME, place=5)
    (key, fields) = truth.of("orders")[0]
    truth.points[key] = fields.replace("cum_qty=4.0", "cum_qty=3.0")
    broken(bench.rest(), "I-24", f"order {CID} in InfluxDB as ('PARTIALLY_FILLED', 4.0)", "3.0")
    del truth.points[key]
    broken(bench.rest(), "I-24", f"order {CID} in InfluxDB", "None")
    truth.aside.append(f"orders,account=a {fields} 5")
    assert bench.rest() is None
    write(truth, replace(told_order(1), client_order_id="ghost"))
    broken(bench.rest(), "I-24", "no order ghost in InfluxDB", "NEW")
    bench, truth = following(*SOME, place=5)
    bench.append(report(S.CANCELED, 4))
    assert bench.rest() is None
