"""The daemon's own wiring against the simulated venue and market: ports of the same names, other machines."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.simulation.world import ACCOUNT, T0, development
from tradefan.drivers.virtual import VirtualDriver
from tradefan.messages.control import LogLine
from tradefan.messages.instrument import Instrument
from tradefan.runtime.kernel import Kernel
from tradefan.sim.market import SimMarket
from tradefan.sim.venue import SimVenue
from tradefan.stores.journal import JournalFile
from tradefan.stores.journal_link import JournalMachine
from tradefan.stores.sqlite import StoreFile
from tradefan.stores.store_link import StoreMachine
from tradefan.units import MS, SECOND, Asset, InstrumentId
from tradefan.wiring import wire

BALANCES = {"USDT": Decimal(1_000_000), "BTC": Decimal(10), "ETH": Decimal(100), "BNB": Decimal(50)}


def instrument(base: str, quote: str, tick: str, lot: str, notional: str = "5") -> Instrument:
    """Return a spot instrument of the market's venue."""
    return Instrument(
        id=InstrumentId(f"binance:{base}/{quote}"),
        venue="binance",
        symbol=f"{base}/{quote}",
        kind="spot",
        base=Asset(base),
        quote=Asset(quote),
        settle=Asset(quote),
        price_tick=Decimal(tick),
        qty_lot=Decimal(lot),
        min_qty=Decimal(lot),
        max_qty=Decimal(9000),
        min_notional=Decimal(notional),
    )


BTC = instrument("BTC", "USDT", "0.01", "0.00001")
ETH = instrument("ETH", "USDT", "0.01", "0.0001")
CROSS = instrument("ETH", "BTC", "0.00001", "0.0001", "0.0001")
INSTRUMENTS = (BTC, ETH, CROSS)


class Wired:
    """One run of the whole system; `crash` of venue and market is the caller's."""

    def __init__(self, folder: Path, market: SimMarket, venue: SimVenue, *sets: str) -> None:
        self.market = market
        self.config = development(*sets)
        instruments = {one.id: one for one in INSTRUMENTS if one.id in self.config.feeds}
        system = wire(self.config, instruments, "tst", "test")
        self.kernel = Kernel(system, self.config, "cfg", now_ns=T0, seed=1)
        self.log: list[tuple[int, LogLine]] = []
        machines: dict[str, Any] = {
            "journal": JournalMachine(JournalFile(str(folder / "journal.db")), MS),
            "market:binance": market,
            f"venue:{ACCOUNT}": venue,
            "store": StoreMachine(StoreFile(str(folder / "store.db"))),
        }
        self.driver = VirtualDriver(
            self.kernel, machines, on_log=lambda now, line: self.log.append((now, line))
        )

    def run(self, seconds: float) -> None:
        """Go on in virtual time."""
        self.driver.run_for(int(seconds * SECOND))

    def view(self, name: str) -> Any:
        """Return an actor's view."""
        return self.kernel.view(name)
