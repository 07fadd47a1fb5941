"""A minute with TradeFan: a daemon is started, data stored and asked for, orders worked, one refused.

    PYTHONPATH=. .venv/bin/python demos/infrastructure_demo.py [--results results] [--seconds 20] [--full]

It has a daemon of its own in a temporary folder and on a free port, on the recorded market and a paper
account, so that it runs beside any other. It ends with 0 where every store was well, otherwise with 1.

With --full it also writes to an InfluxDB 1.x and a Redis, which have to be there; on one machine

    influxd & redis-server --save "" &

starts both where --influx and --redis look by themselves. A server that asks for a password gets that of the
environment: INFLUXDB_USER (admin) and INFLUXDB_PASSWORD, REDIS_PASSWORD. So does the InfluxDB of
docker-compose.yml (`docker-compose --profile full up -d influxdb`); its password is tradefan123 or in .env.
The Redis there has no port on this machine: `docker run -d -p 127.0.0.1:6379:6379 redis:7` has.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tradefan.errors import Outage, Refused
from tradefan.infra import (
    AlertSeverity,
    OrderRequest,
    OrderSide,
    OrderType,
    get_data_infrastructure,
    get_infrastructure_manager,
    get_monitoring_system,
    get_order_manager,
)
from tradefan.order_text import forecast
from tradefan.stores.queries import Question
from tradefan.units import DAY, iso

ROOT = Path(__file__).resolve().parents[1]
BTC = "BTC/USDT"
JSON = dict[str, Any]
LIMIT_S = 30.0
STORES_S = 10.0
"""For so long a store may lack something at the end, before it is said."""
SECRETS = {
    "influx.username": "INFLUXDB_USER",
    "influx.password": "INFLUXDB_PASSWORD",
    "redis.password": "REDIS_PASSWORD",
}
"""What servers may ask for, by the variable to which the configuration refers."""


class Demo:
    """The steps, one after the other; what they came to is in `found`."""

    def __init__(self, folder: Path, given: argparse.Namespace) -> None:
        """Copy the configuration, so that it can be edited."""
        self.console = Console(soft_wrap=True, highlight=False)
        self.config = folder / "config"
        self.seconds: float = given.seconds
        self.found: JSON = {}
        shutil.copytree(ROOT / "config", self.config, ignore=shutil.ignore_patterns("local.yaml"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.sets: tuple[str, ...] = (
            f"data_dir={folder / 'data'}",
            f"api.port={port}",
            "strategies.rebalance_btc=null",
        )
        if given.full:
            self.sets += (f"influx.url={given.influx}", f"redis.url={given.redis}", *_secrets())
        self.manager = get_infrastructure_manager()
        self.orders = get_order_manager()

    def say(self, step: str, text: str) -> None:
        """Print one line of a step."""
        self.console.print(f"[bold cyan]{step:<9}[/] {text}")

    async def run(self) -> JSON:
        """Go through all steps."""
        for step in (
            self.start,
            self.data,
            self.algorithms,
            self.refusal,
            self.live_limit,
            self.alert,
            self.health,
            self.stores,
        ):
            began = time.monotonic()
            await step()
            self.found.setdefault("seconds", {})[step.__name__] = round(time.monotonic() - began, 1)
        return self.found

    async def start(self) -> None:
        """Start a daemon and wait until it may trade."""
        began = time.monotonic()
        await self.manager.initialize("development", config=self.config, sets=self.sets)
        status = await self.manager.get("/status")
        feeds = ", ".join(f"{feed['instrument']} {feed['quality']}" for feed in status["feeds"])
        self.say(
            "start", f"ready after {time.monotonic() - began:.1f} s at {status['url']}, paper money; {feeds}"
        )

    async def data(self) -> None:
        """Store bars of our own, and ask for them and for what the feed has brought meanwhile."""
        data, today = get_data_infrastructure(), time.time_ns() // DAY
        rows = [
            {
                "open_ns": (today - ago) * DAY,
                "open": 60_000,
                "high": 61_000 + ago,
                "low": 59_000,
                "close": 60_500,
                "volume": 9,
            }
            for ago in range(30, 0, -1)
        ]
        stored = await data.store_market_data(BTC, "1d", rows)
        bars = await data.get_market_data(BTC, "1d", limit=10)
        await self._until(lambda: self._has(Question("trades", f"binance:{BTC}", limit=50)))
        trades = await data.ask(Question("trades", BTC, limit=50))
        self.found["data"] = {"stored": stored, "bars": len(bars), "trades": len(trades)}
        newest = f"the last at {trades['price'][-1]:.2f}"
        self.say(
            "data",
            f"{stored} daily bars stored, {len(bars)} asked for; {len(trades)} trades of the feed, {newest}",
        )

    async def _has(self, question: Question) -> bool:
        try:
            return len(await get_data_infrastructure().ask(question)) > 0
        except Refused:
            return False

    async def algorithms(self) -> None:
        """Work five orders beside each other; the one that rests far away is cancelled."""
        status = await self.manager.get("/status")
        bid = next(feed["bid"] for feed in status["feeds"] if feed["instrument"].endswith(BTC))
        span, buy = {"duration": f"{self.seconds:g}s"}, OrderSide.BUY
        wishes = {
            "market": OrderRequest(BTC, buy, quantity=0.05),
            "limit": OrderRequest(BTC, buy, OrderType.LIMIT, 0.05, limit_price=round(float(bid) * 0.995, 2)),
            "twap": OrderRequest(BTC, buy, OrderType.TWAP, 0.5, twap_duration=self.seconds),
            "vwap": OrderRequest(BTC, buy, OrderType.VWAP, 0.5, settings=span),
            "iceberg": OrderRequest(
                BTC,
                buy,
                OrderType.ICEBERG,
                0.5,
                settings={**span, "display": "0.1", "peg": True, "at_end": "cross_collared"},
            ),
        }
        names = {algo: (await self.orders.submit_order(wish))["parent_id"] for algo, wish in wishes.items()}
        await self.orders.cancel_order(names["limit"])
        deadline = time.monotonic() + self.seconds + LIMIT_S
        while True:
            shown = {algo: await self.orders.get_order(name) for algo, name in names.items()}
            working = {algo: one for algo, one in shown.items() if one["phase"] != "DONE"}
            if not working or time.monotonic() > deadline:
                break
            self.say(
                "orders",
                " | ".join(f"{algo} {forecast(one, time.time_ns())}" for algo, one in working.items()),
            )
            await asyncio.sleep(self.seconds / 4)
        self._table(shown)
        self.found["orders"] = {
            algo: [one["status"], one["cum_qty"], one["avg_px"]] for algo, one in shown.items()
        }

    def _table(self, shown: JSON) -> None:
        table = Table("algorithm", "status", "filled", "average", "children", "parent_id", box=None)
        for algo, one in shown.items():
            average = "-" if one["avg_px"] is None else f"{float(one['avg_px']):.2f}"
            count = one["children"] if isinstance(one["children"], int) else len(one["children"])
            table.add_row(algo, one["status"], one["cum_qty"], average, str(count), one["parent_id"])
        self.console.print(table)

    async def refusal(self) -> None:
        """Ask for too much."""
        self.found["refusal"] = await self._refused(OrderRequest(BTC, OrderSide.BUY, quantity=1000.0))
        self.say("refusal", self.found["refusal"])

    async def _refused(self, request: OrderRequest) -> str:
        try:
            await self.orders.submit_order(request)
        except Refused as no:
            return ", ".join(line.strip() for line in str(no).splitlines())
        raise Outage(f"{request} was taken")

    async def live_limit(self) -> None:
        """Lower a limit in the YAML while the daemon trades, and meet it."""
        (self.config / "local.yaml").write_text("risk: {max_order_qty: 0.02}\n", encoding="utf-8")
        before = (await self.manager.get("/status"))["config"]["swaps"]
        began = time.monotonic()

        async def swapped() -> bool:
            return bool((await self.manager.get("/status"))["config"]["swaps"] != before)

        await self._until(swapped)
        took = time.monotonic() - began
        self.found["live_limit"] = await self._refused(OrderRequest(BTC, OrderSide.BUY, quantity=0.05))
        self.say(
            "limit", f"risk.max_order_qty is 0.02 {took:.1f} s behind the edit: {self.found['live_limit']}"
        )

    async def alert(self) -> None:
        """Let an alert of our own fire, on our own metrics page."""
        monitoring = get_monitoring_system()
        port = monitoring.start()
        for algo, (status, *_) in self.found["orders"].items():
            monitoring.metrics_collector.record_order(status, BTC, algo)
        monitoring.add_business_alert(
            "demo_has_traded", lambda: bool(self.found["orders"]), AlertSeverity.WARNING
        )
        firing = [one.name for one in await asyncio.to_thread(monitoring.look)]
        self.found["alerts"] = firing
        self.say("alert", f"{', '.join(firing)} fires; tradefan_user_* at http://127.0.0.1:{port}/metrics")
        monitoring.stop()

    async def health(self) -> None:
        """Ask how everything is."""
        health, status = await self.manager.health_check(), await self.manager.get("/status")
        self.found["health"] = health["status"]
        self.found["equity"] = {one["account"]: one["equity"] for one in status["equity"]}
        worth = ", ".join(
            f"{account} {float(equity):,.2f}" for account, equity in self.found["equity"].items()
        )
        self.say("health", f"{health['status']}, {len(health['checks'])} parts; equity {worth}")

    async def stores(self) -> None:
        """Say of each store whether it has what it should."""
        deadline = time.monotonic() + STORES_S
        while True:
            rows = (await self.manager.get("/status"))["stores"]
            self.found["stores"] = {store["name"]: _lack(store) or store["state"] for store in rows}
            lacking = {store["name"]: why for store in rows if (why := _lack(store))}
            if not lacking or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.5)
        self.say("stores", ", ".join(store["name"] for store in rows if store["name"] not in lacking))
        for name, why in lacking.items():
            self.console.print(f"[bold red]{'no store':<9} {name}: {escape(why)}[/]")
        self.found["lacking"] = lacking

    async def _until(self, done: Any) -> None:  # noqa: ANN401 asks, and says whether
        async with asyncio.timeout(LIMIT_S):
            while True:
                if await done():
                    return
                await asyncio.sleep(0.1)


async def play(folder: Path, given: argparse.Namespace) -> int:
    """Run the demo, and leave a summary where it was asked for."""
    demo = Demo(folder, given)
    try:
        found = await demo.run()
    finally:
        await demo.manager.shutdown()
    given.results.mkdir(parents=True, exist_ok=True)
    path = given.results / f"infrastructure-demo-{iso(time.time_ns())[:19].replace(':', '')}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(found)))
    demo.say("summary", str(path))
    return 1 if found["lacking"] else 0


def _secrets() -> Iterator[str]:
    """Give what the environment has for the servers, as references: no word of a command is a secret."""
    if os.environ.get("INFLUXDB_PASSWORD"):
        os.environ.setdefault("INFLUXDB_USER", "admin")
    yield from (f"{key}=${{{name}}}" for key, name in SECRETS.items() if os.environ.get(name))


def _lack(store: JSON) -> str:
    """Return what a store lacks; a server's link is READY while it tries."""
    if store["state"] != "READY":
        return str(store["state"])
    return str(store.get("failing") or ("" if store.get("linked", True) else "it has not answered"))


def main() -> int:
    """Read the words and play."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--results", type=Path, default=Path("results"), help="folder of the summary")
    words.add_argument("--seconds", type=float, default=20.0, help="of each algorithm")
    words.add_argument("--full", action="store_true", help="with an InfluxDB and a Redis, see above")
    words.add_argument("--influx", default="http://127.0.0.1:8086", metavar="URL")
    words.add_argument("--redis", default="redis://127.0.0.1:6379/0", metavar="URL")
    with tempfile.TemporaryDirectory(prefix="tradefan-demo-") as folder:
        return asyncio.run(play(Path(folder), words.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
