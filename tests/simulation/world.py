"""The whole wired system in virtual time: tape, paper venue, journal and store are timed machines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tradefan.strategies
from tradefan.config.loader import Layer, load_texts
from tradefan.config.schema import Config
from tradefan.contracts import lookup, names
from tradefan.drivers.virtual import VirtualDriver
from tradefan.links.paper import open_paper
from tradefan.links.tape import open_recordings
from tradefan.messages.base import Message
from tradefan.messages.control import LogLine
from tradefan.messages.union import encode
from tradefan.runtime.kernel import Kernel
from tradefan.runtime.recording import StepList
from tradefan.runtime.system import System
from tradefan.stores.journal import JournalFile
from tradefan.stores.journal_link import JournalMachine
from tradefan.stores.sqlite import StoreFile
from tradefan.stores.store_link import StoreMachine
from tradefan.units import MS, SECOND, AccountId
from tradefan.venues.binance import parse_instruments
from tradefan.venues.paper import PaperVenue
from tradefan.venues.paper_state import PaperConfig
from tradefan.venues.tape import Recording, Tape, cut
from tradefan.wiring import plan, wire

# Importing the package registers the strategies that come with TradeFan.
SHIPPED = tradefan.strategies.__name__
ROOT = Path(__file__).resolve().parents[2]
RECORDINGS = ROOT / "tradefan" / "recordings"
T0 = 1_700_000_000 * SECOND
ACCOUNT = AccountId("paper:main")


AT_ONCE = ("strategies.rebalance_btc.settings.by=null", "strategies.rebalance_btc.settings.duration=null")
"""Its TWAP takes two minutes: most tests want the position at once."""


def development(*sets: str, at_once: bool = True) -> Config:
    """Return the development configuration with some keys set."""
    sets = (*AT_ONCE, *sets) if at_once else sets
    layers = [
        Layer(name, (ROOT / "config" / name).read_bytes())
        for name in ("base.yaml", "environments/development.yaml")
    ]
    known = {name: lookup("strategy", name).settings for name in names("strategy")}
    return load_texts(layers, {}, sets, environment="development", strategies=known).config


def recordings(span_ns: int | None = None) -> dict[str, Recording]:
    """Return the packaged recordings, or only their beginning."""
    whole = open_recordings(RECORDINGS / "binance-ws-20240808")
    return whole if span_ns is None else cut(whole, span_ns)


@dataclass
class World:
    """One run; `crash` ends it as kill -9 would, and a new world on the same folder goes on."""

    config: Config
    folder: Path
    tape: Mapping[str, Recording]
    history_ns: int = 300 * SECOND
    origin_ns: int = T0
    start_ns: int = T0
    seed: int = 1
    trace: bool = False
    commit_ns: int = 1 * MS
    orders_max: int = 200
    instance: str = "tst"
    version: str = "test"
    exchange_info: bytes | None = None
    """Other rules of instruments than the packaged ones."""
    log: list[tuple[int, LogLine]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Wire."""
        info = self.exchange_info or (RECORDINGS / "instruments.json").read_bytes()
        instruments = {one.id: one for one in parse_instruments(info) if one.id in self.config.feeds}
        self.plan = plan(self.config, instruments)
        self.system: System = wire(self.config, instruments, self.instance, self.version)
        self.kernel = self._kernel()
        self.steps = StepList(encode)
        account = self.config.accounts[ACCOUNT]
        self.paper: PaperVenue = open_paper(
            self.folder / "paper.db",
            ACCOUNT,
            tuple(instruments.values()),
            account.balances,
            config=PaperConfig(
                maker_fee=account.maker_fee_bps / 10_000,
                taker_fee=account.taker_fee_bps / 10_000,
                latency_ns=account.latency,
                orders_max=self.orders_max,
            ),
        )
        self.store = StoreFile(str(self.folder / "store.db"))
        self.machines: dict[str, Any] = {
            "journal": JournalMachine(JournalFile(str(self.folder / "journal.db")), self.commit_ns),
            "market:binance": Tape(
                self.tape, origin_ns=self.origin_ns, exchange_info=info, history_ns=self.history_ns
            ),
            "venue:paper:main": self.paper,
            "store": StoreMachine(self.store),
            "api": _Sink(),
        }
        self.driver = VirtualDriver(
            self.kernel,
            self.machines,
            recorder=self.steps,
            on_log=lambda now, line: self.log.append((now, line)),
        )

    def _kernel(self) -> Kernel:
        return Kernel(self.system, self.config, "cfg", now_ns=self.start_ns, seed=self.seed, trace=self.trace)

    def fresh_kernel(self) -> Kernel:
        """Return a kernel that has seen nothing, for a replay of `steps`."""
        return self._kernel()

    def run(self, seconds: float) -> None:
        """Go on in virtual time."""
        self.driver.run_for(int(seconds * SECOND))

    def run_until(self, done: Callable[[], bool], limit_s: float = 60) -> float:
        """Go on until something holds; return the virtual seconds that it took."""
        began = self.driver.now_ns
        while not done():
            assert self.driver.now_ns < began + int(limit_s * SECOND), "it never came to hold"
            self.driver.run_for(50 * MS)
        return (self.driver.now_ns - began) / SECOND

    def view(self, name: str) -> Any:
        """Return an actor's view."""
        return self.kernel.view(name)

    def send(self, name: str, msg: Message) -> None:
        """Inject a message to an actor."""
        self.driver.inject(self.kernel.refs[name], msg)

    def break_actor(self, name: str) -> None:
        """Let an actor's next message kill it."""
        cell = self.kernel.cells[self.kernel.refs[name]]
        assert cell is not None
        handle = cell.handle

        def broken(_msg: object, _ctx: object) -> None:
            raise RuntimeError("scripted")

        assert handle is not None
        cell.handle = broken

    def ready(self) -> bool:
        """Say whether orders can be placed on every feed."""
        oms, risk, market = self.view("oms"), self.view("risk_desk"), self.view("market_data:binance")
        return (
            None not in (oms, risk, market)
            and oms.state == risk.state == "READY"
            and all(feed.quality == "LIVE" for feed in market.feeds)
        )

    def positions(self) -> dict[tuple[str, str], Any]:
        """Return what each owner holds, by (owner, instrument)."""
        return {(one.owner, one.instrument): one.qty for one in self.view("oms").positions}

    def errors(self) -> list[LogLine]:
        """Return the log lines that say that something went wrong."""
        return [line for _, line in self.log if line.level in ("error", "critical")]

    def crash(self) -> None:
        """End without a word: files are closed as they are."""
        for machine in self.machines.values():
            if hasattr(machine, "close"):
                machine.close()


class _Sink:
    """The API's port when nobody asks: takes answers, gives nothing."""

    def __init__(self) -> None:
        self.effects: list[Message] = []

    def apply(self, now_ns: int, effect: Message) -> None:
        self.effects.append(effect)

    def next_ns(self) -> int | None:
        return None

    def take(self, now_ns: int, limit: int) -> list[Message]:
        return []
