"""TWAP, VWAP and iceberg side by side on the recorded market: how each goes about it, and what it came to.

    PYTHONPATH=. .venv/bin/python demos/twap.py [--quantity 1] [--minutes 2] [--pages results]

It is the daemon's own system in virtual time, so minutes pass in seconds; nothing is left behind but a page
of costs for each order.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from tradefan.actors.oms import Oms
from tradefan.actors.oms_progress import progress_of
from tradefan.core.updates import parent_update
from tradefan.drivers.virtual import VirtualDriver
from tradefan.environment import Environment
from tradefan.errors import Refused
from tradefan.instruments import load_instruments
from tradefan.links.paper import open_paper
from tradefan.market_tape import make_tape
from tradefan.messages.base import Message
from tradefan.messages.orders import Answer, Asked, Refusal, SubmitOrder
from tradefan.order_text import forecast
from tradefan.runtime.kernel import Kernel
from tradefan.status_rows import parent_row
from tradefan.stores.journal import JournalFile
from tradefan.stores.journal_link import JournalMachine
from tradefan.stores.sqlite import StoreFile
from tradefan.stores.store_link import StoreMachine
from tradefan.tca_html import page
from tradefan.tca_store import detail_of, read_store
from tradefan.units import SECOND, AccountId, InstrumentId, OwnerId, ParentId, parse_iso, use_decimal_context
from tradefan.venues.paper_state import PaperConfig
from tradefan.wiring import plan, wire

BTC, MAIN = InstrumentId("binance:BTC/USDT"), AccountId("paper:main")
START_NS = parse_iso("2024-08-08T23:54:00Z")
STEP_S = 15
ROOT = Path(__file__).resolve().parents[1]
SETS = ("strategies=null", "venues.binance.tape.history=5s")


class Face:
    """The API's port: keeps what the order manager answers."""

    def __init__(self) -> None:
        """Begin without an answer."""
        self.said: list[Message] = []

    def apply(self, now_ns: int, effect: Message) -> None:
        """Keep an answer."""
        self.said.append(effect)

    def next_ns(self) -> int | None:
        """Nothing comes from here by itself."""
        return None

    def take(self, now_ns: int, limit: int) -> list[Message]:
        """Nothing comes from here by itself."""
        return []


class World:
    """Development in virtual time: recorded market, paper venue, real journal and store in a folder."""

    def __init__(self, folder: Path) -> None:
        """Wire it as the daemon does."""
        environment = Environment.load("development", ROOT / "config", (*SETS, f"data_dir={folder}"))
        config, self.store = environment.loaded.config, folder / "store.db"
        instruments = load_instruments(config)
        symbols = {name: one.symbol.replace("/", "") for name, one in instruments.items()}
        account = config.accounts[MAIN]
        fees = PaperConfig(account.maker_fee_bps / 10_000, account.taker_fee_bps / 10_000, account.latency)
        self.face = Face()
        self.machines: dict[str, Any] = {
            "journal": JournalMachine(JournalFile(str(folder / "journal.db")), SECOND // 1_000),
            "market:binance": make_tape(environment, "binance", symbols, START_NS),
            f"venue:{MAIN}": open_paper(
                folder / "paper.db", MAIN, tuple(instruments.values()), account.balances, config=fees
            ),
            "store": StoreMachine(StoreFile(str(self.store))),
            "api": self.face,
        }
        system = wire(config, instruments, "dem", "demo")
        self.kernel = Kernel(system, config, "demo", now_ns=START_NS, seed=1)
        self.driver = VirtualDriver(self.kernel, self.machines)
        self.plan = plan(config, instruments)

    @property
    def oms(self) -> Oms:
        """The order manager."""
        cell = self.kernel.cells[self.kernel.refs["oms"]]
        assert cell is not None
        assert isinstance(cell.actor, Oms)
        return cell.actor

    def until_ready(self) -> None:
        """Run until the account is reconciled and the feed is live."""
        for _ in range(600):
            self.driver.run_for(SECOND // 10)
            view = self.kernel.view("oms")
            if view is not None and view.state == "READY" and view.mode.mode == "NORMAL":
                return
        raise SystemExit("the recorded market did not get ready")

    def submit(self, req: int, quantity: Decimal, algo: str, settings: dict[str, Any]) -> ParentId:
        """Submit an order as the API does; it is durable when this returns."""
        owner = OwnerId("api")
        wish = SubmitOrder(MAIN, BTC, owner, f"demo-{req}", "buy", quantity, algo, settings, req=req)
        self.driver.inject(self.kernel.refs["oms"], Asked(wish, "demo"))
        while True:
            self.driver.run_for(SECOND // 1_000)
            for said in self.face.said:
                if isinstance(said, Refusal) and said.req == req:
                    raise Refused(said.code, said.text, said.would_pass)
                if isinstance(said, Answer) and said.req == req:
                    return said.parent_ids[0]

    def order(self, name: ParentId) -> dict[str, Any]:
        """Return an order as `GET /api/v1/orders/{id}` shows it."""
        oms = self.oms
        parent = oms.state.trading.parents[name]
        progress = progress_of(oms.state, oms.wiring, parent, self.driver.now_ns)
        return parent_row(parent_update(parent), progress, parent)

    def mid(self) -> Decimal:
        """Return the mid of BTC."""
        quote = self.oms.state.live.quotes[BTC]
        return (Decimal(repr(quote.bid)) + Decimal(repr(quote.ask))) / 2

    def fills(self, name: ParentId) -> list[tuple[Decimal, Decimal, str]]:
        """Return quantity, price and liquidity of an order's fills, from the store."""
        with sqlite3.connect(self.store) as store:
            rows = store.execute("SELECT qty, price, liquidity FROM fills WHERE parent_id = ?", (name,))
            return [(Decimal(qty), Decimal(price), liquidity) for qty, price, liquidity in rows]


def show(world: World, orders: dict[str, ParentId], arrival: Decimal) -> None:
    """Print what each order came to: slippage against the mid at its arrival, positive where it cost."""
    print(
        f"\n{'':8} {'status':10} {'filled':>9} {'average':>12} {'slippage':>12} {'maker':>7} {'children':>9}"
    )
    for algo, name in orders.items():
        order, fills = world.order(name), world.fills(name)
        qty = sum((fill[0] for fill in fills), Decimal(0))
        maker = sum((fill[0] for fill in fills if fill[2] == "maker"), Decimal(0))
        if not qty:
            print(f"{algo:8} {order['status']:10} nothing")
            continue
        average = sum((fill[0] * fill[1] for fill in fills), Decimal(0)) / qty
        cost = f"{(average - arrival) / arrival * 10_000:+.2f} bps"
        row = f"{qty:>9.4f} {average:>12.2f} {cost:>12} {maker / qty:>7.0%} {order['children']:>9}"
        print(f"{algo:8} {order['status']:10} {row}")


def write_pages(world: World, orders: dict[str, ParentId], folder: Path) -> None:
    """Write a page of costs for each order, as `tradefan tca ID --html` does."""
    folder.mkdir(parents=True, exist_ok=True)
    with read_store(world.store) as store:
        for algo, name in orders.items():
            found = detail_of(store, name)
            if found is None:
                continue
            path = folder / f"demo-{algo}.html"
            told = msgspec.json.decode(msgspec.json.encode(found))
            path.write_text(page(told), encoding="utf-8")
            print(f"wrote {path}")


def main() -> int:
    """Run the three side by side."""
    words = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    words.add_argument("--quantity", type=Decimal, default=Decimal(1), help="BTC, of each")
    words.add_argument("--minutes", type=float, default=2.0)
    words.add_argument("--pages", type=Path, default=Path("results"), help="folder of the pages of costs")
    given = words.parse_args()
    use_decimal_context()
    span = f"{given.minutes * 60:g}s"
    shown = (given.quantity / 10).quantize(Decimal("0.00001"))
    how: dict[str, dict[str, Any]] = {
        "twap": {"duration": span},
        "vwap": {"duration": span},
        "iceberg": {"duration": span, "display": str(shown), "peg": True, "at_end": "cross_collared"},
    }
    with tempfile.TemporaryDirectory(prefix="tradefan-demo-") as folder:
        world = World(Path(folder))
        world.until_ready()
        arrival = world.mid()
        print(f"three orders to buy {given.quantity} BTC/USDT within {span}, mid {arrival}")
        orders = {
            algo: world.submit(req, given.quantity, algo, settings)
            for req, (algo, settings) in enumerate(how.items(), 1)
        }
        for second in range(0, int(given.minutes * 60) + 10, STEP_S):
            now_ns = world.driver.now_ns
            lines = [f"{algo} {forecast(world.order(name), now_ns)}" for algo, name in orders.items()]
            print(f"{second:>4} s  " + " | ".join(lines))
            world.driver.run_for(STEP_S * SECOND)
        show(world, orders, arrival)
        write_pages(world, orders, given.pages)
        for machine in world.machines.values():
            getattr(machine, "close", lambda: None)()
    return 0


if __name__ == "__main__":
    sys.exit(main())
