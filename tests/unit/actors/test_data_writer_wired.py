"""Data writer and store as a driver hosts them: credit, order, and rows that arrive."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec

from tests.unit.stores.made import BTC, fill, trade
from tradefan.actors.data_writer import DataWriter, DataWriterState, DataWriterView, DataWriterWiring
from tradefan.config.schema import Config
from tradefan.config.services import StoreConfig
from tradefan.drivers.virtual import VirtualDriver
from tradefan.messages.control import LogLine, StopAll, SwapConfig
from tradefan.messages.orders import AskPositions
from tradefan.messages.union import decode
from tradefan.runtime.kernel import Kernel
from tradefan.runtime.mailbox import Limits
from tradefan.runtime.supervisor import Child, Supervisor
from tradefan.runtime.system import RIM, ActorSpec, PortSpec, System
from tradefan.stores.sqlite import StoreFile
from tradefan.stores.store_link import StoreMachine
from tradefan.units import MS, SECOND, Ref

WRITER, STORE = Ref(1), Ref(2)
CONFIG = Config(store=StoreConfig(batch_size=10, flush_interval=500 * MS, queue_max=1000))


def driver(machine: StoreMachine, lines: list[LogLine]) -> VirtualDriver:
    limits = Limits(facts_high=4096, facts_max=100_000, commands_max=1, market_max=1)
    factory: Any = partial(DataWriter, DataWriterWiring(STORE))
    system = System(
        actors=(ActorSpec("data_writer", factory, DataWriterState, limits),),
        ports=(PortSpec("store", "data_writer", credit=True),),
        tree=Supervisor(
            "root",
            (Child("store", "link"), Child("data_writer", "actor")),
            restarts_max=3,
            window_ns=300 * SECOND,
            on_exhausted="escalate",
        ),
        decode_message=decode,
        decode_config=lambda payload: msgspec.msgpack.decode(payload, type=Config),
    )
    kernel = Kernel(system, CONFIG, "test", now_ns=0)
    return VirtualDriver(kernel, {"store": machine}, on_log=lambda _now, line: lines.append(line))


def view(run: VirtualDriver) -> DataWriterView:
    found = run.hosted.kernel.view("data_writer")
    assert isinstance(found, DataWriterView)
    return found


def test_rows_when_the_store_is_slow_then_all_arrive_within_its_room() -> None:
    """A slow store never has more under way than it announced, and nothing is lost or doubled."""
    lines: list[LogLine] = []
    machine = StoreMachine(StoreFile(":memory:"), batches_max=2, write_ns=100 * MS)
    run = driver(machine, lines)
    run.run_for(SECOND)
    for number in range(1, 101):
        run.inject(WRITER, trade(number))
        run.inject(WRITER, fill(number, number))
    run.run_for(MS)
    assert (view(run).under_way, view(run).waiting) == (2, 180)
    run.run_for(2 * SECOND)
    assert (view(run).under_way, view(run).waiting, view(run).applied_lsn) == (0, 0, 100)
    assert (len(machine.file.trades(BTC)), len(machine.file.fills())) == (100, 100)
    assert [line for line in lines if line.level != "info"] == []


def test_sizes_when_a_swap_changes_them_then_the_next_row_goes_by_the_new_ones() -> None:
    """What is `live` in the schema is in force between two turns: size, age and room."""
    machine = StoreMachine(StoreFile(":memory:"))
    run = driver(machine, [])
    run.run_for(MS)
    for store, number, stored in (
        (StoreConfig(batch_size=1_000, flush_interval=60 * SECOND), 1, 0),
        (StoreConfig(batch_size=2, flush_interval=60 * SECOND), 2, 2),
        (StoreConfig(batch_size=1_000, flush_interval=10 * MS), 3, 3),
        (StoreConfig(batch_size=1_000, flush_interval=60 * SECOND, queue_max=1), 4, 3),
    ):
        payload = msgspec.msgpack.encode(Config(store=store))
        run.inject(RIM, SwapConfig(f"c{number}", payload))
        run.run_for(MS)
        run.inject(WRITER, trade(number))
        run.run_for(50 * MS)
        assert view(run).stored == stored
    run.inject(WRITER, trade(5))
    run.run_for(MS)
    assert (view(run).waiting, view(run).dropped["Trade"]) == (1, 1)


def test_stop_when_rows_wait_then_the_system_ends_with_all_of_them_stored() -> None:
    """The stop waits for the store, not for the flush interval."""
    machine = StoreMachine(StoreFile(":memory:"), write_ns=MS)
    run = driver(machine, [])
    run.run_for(MS)
    run.inject(WRITER, trade(1))
    run.inject(RIM, StopAll(run.now_ns + 5 * SECOND))
    run.run_for(100 * MS)
    assert run.exit is not None
    assert (run.exit.code, machine.file.trades(BTC)) == (0, (trade(1),))


def test_writer_when_it_crashes_then_its_successor_goes_on_with_the_same_link() -> None:
    """Rows in hand are lost with the turn; the store's link is asked to look into the journal."""
    lines: list[LogLine] = []
    machine = StoreMachine(StoreFile(":memory:"))
    run = driver(machine, lines)
    run.run_for(MS)
    run.inject(WRITER, trade(1))
    run.inject(WRITER, AskPositions(None))
    run.inject(WRITER, trade(2))
    run.run_for(SECOND)
    assert [line.event for line in lines if line.level == "error"] == ["actor_crashed"]
    assert machine.file.trades(BTC) == (trade(2),)
    assert (view(run).linked, view(run).stored) == (True, 1)
