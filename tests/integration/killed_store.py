"""A data writer and its store under the live driver, fed with trades and fills: made to be killed.

Prints the number and the instant of each row that it has handed to the data writer.
"""

from __future__ import annotations

import asyncio
import sys
from functools import partial

import msgspec
import uvloop

from tests.unit.stores.made import fill, trade
from tradefan.actors.data_writer import DataWriter, DataWriterState, DataWriterWiring
from tradefan.config.schema import Config
from tradefan.drivers.live import LinkHandle, LiveDriver, SteadyClock
from tradefan.messages.union import decode
from tradefan.runtime.kernel import Kernel
from tradefan.runtime.mailbox import Limits
from tradefan.runtime.supervisor import Child, Supervisor
from tradefan.runtime.system import ActorSpec, PortSpec, System
from tradefan.stores.store_link import StoreLink
from tradefan.units import SECOND, Ref

WRITER, STORE = Ref(1), Ref(2)


def system() -> System:
    """One actor, one port with credit."""
    limits = Limits(facts_high=4096, facts_max=100_000, commands_max=1, market_max=1)
    factory = partial(DataWriter, DataWriterWiring(STORE))
    children = (Child("store", "link"), Child("data_writer", "actor"))
    return System(
        actors=(ActorSpec("data_writer", factory, DataWriterState, limits),),
        ports=(PortSpec("store", "data_writer", credit=True),),
        tree=Supervisor("root", children, restarts_max=3, window_ns=300 * SECOND, on_exhausted="escalate"),
        decode_message=decode,
        decode_config=lambda _payload: Config(),
    )


async def main(path: str, first: int) -> None:
    """Hand over a trade and a fill every few milliseconds, for ever."""
    clock = SteadyClock()

    def link(handle: LinkHandle) -> StoreLink:
        return StoreLink(path, handle.deliver)

    driver = LiveDriver(
        Kernel(system(), Config(), "test", now_ns=clock.now_ns()),
        {},
        {"store": link},
        clock=clock,
        log=lambda _now, _line: None,
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(driver.run())
        number = first
        while True:
            await asyncio.sleep(0.004)
            at_ns = clock.now_ns()
            seen = msgspec.structs.replace(trade(number, at_ns), recv_ns=at_ns)
            driver.inject(WRITER, seen)
            driver.inject(WRITER, fill(number, number))
            print(number, at_ns, flush=True)  # noqa: T201
            number += 1


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
