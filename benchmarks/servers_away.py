"""Orders beside an InfluxDB and a Redis that are frozen, against the same daemon while both are there.

One real daemon on the recorded market, one client that submits limit orders far from the market and cancels
them at a steady rate; blocks with the servers there and away take turns, so that both meet the same machine.
Times are the client's, from the request to the durable answer. Figures are printed and not judged; the goal
is a p99 within 10 %.
Run: .venv/bin/python benchmarks/servers_away.py [--blocks 6] [--seconds 20] [--rate 50]
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.integration.daemon_process import DaemonProcess
from tests.services.influx import Influxd
from tests.services.redis import RedisServer

SETTLE_S = 5.0
"""Behind a change, before a block is measured: what waits is written."""


class Client:
    """One connection that is kept open."""

    def __init__(self, daemon: DaemonProcess) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=30)
        token = (daemon.data / "token").read_text().strip()
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def post(self, path: str, body: dict[str, Any]) -> tuple[float, Any]:
        """Return the seconds until the answer, and the answer."""
        began = time.perf_counter()
        self._connection.request("POST", path, json.dumps(body), self._headers)
        answer = self._connection.getresponse()
        text = answer.read()
        assert answer.status < 300, text
        return time.perf_counter() - began, json.loads(text)


def block(client: Client, price: str, seconds: float, rate: float) -> tuple[list[float], list[float]]:
    """Submit and cancel at a rate; return the seconds of each answer."""
    submits: list[float] = []
    cancels: list[float] = []
    began = time.perf_counter()
    for number in range(int(seconds * rate)):
        ahead = began + number / rate - time.perf_counter()
        if ahead > 0:
            time.sleep(ahead)
        wish = {
            "symbol": "BTC/USDT",
            "side": "buy",
            "quantity": "0.001",
            "algo": "limit",
            "limit_price": price,
        }
        took, order = client.post("/api/v1/orders", wish)
        submits.append(took)
        took, _ = client.post(f"/api/v1/orders/{order['parent_id']}/cancel", {})
        cancels.append(took)
    return submits, cancels


def shown(name: str, seconds: list[float]) -> tuple[str, float]:
    """Return a line of percentiles in ms, and the p99."""
    ordered = sorted(seconds)
    p50, p95, p99 = (ordered[int(len(ordered) * part)] * 1e3 for part in (0.5, 0.95, 0.99))
    return f"{name:28} {len(ordered):6} {p50:9.3f} {p95:9.3f} {p99:9.3f} {ordered[-1] * 1e3:9.3f}", p99


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--blocks", type=int, default=6, help="of each kind")
    words.add_argument("--seconds", type=float, default=20.0, help="of a block")
    words.add_argument("--rate", type=float, default=50.0, help="orders a second")
    given = words.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "daemon").mkdir()
        with Influxd(root / "influx") as influx, RedisServer(root / "redis") as redis:
            daemon = DaemonProcess(
                root / "daemon",
                f"influx.url={influx.url}",
                f"redis.url={redis.url}",
                "strategies.rebalance_btc=null",
                "risk.orders_per_second=100000",
                "api.requests_per_second=100000",
                "logs.console=false",
            )
            try:
                daemon.start().until_ready()
                measure(daemon, influx, redis, given)
                daemon.end()
            finally:
                daemon.close()


def measure(daemon: DaemonProcess, influx: Influxd, redis: RedisServer, given: argparse.Namespace) -> None:
    """Take turns, and print."""
    bid = next(one["bid"] for one in daemon.status()["feeds"] if one["instrument"].endswith("BTC/USDT"))
    price, client = f"{float(bid) * 0.99:.2f}", Client(daemon)
    taken: dict[str, list[float]] = {}
    for number in range(given.blocks * 2):
        away = number % 2 == 1
        if away:
            influx.freeze()
            redis.freeze()
        time.sleep(SETTLE_S)
        for what, seconds in zip(
            ("submit", "cancel"), block(client, price, given.seconds, given.rate), strict=True
        ):
            taken.setdefault(f"{what}, servers {'away' if away else 'there'}", []).extend(seconds)
        if away:
            redis.thaw()
            influx.thaw()
    print(f"{'':28} {'n':>6} {'p50 ms':>9} {'p95 ms':>9} {'p99 ms':>9} {'max ms':>9}")
    p99 = {}
    for name in sorted(taken):
        line, p99[name] = shown(name, taken[name])
        print(line)
    for what in ("submit", "cancel"):
        print(
            f"p99 of {what}, away / there: {p99[f'{what}, servers away'] / p99[f'{what}, servers there']:.3f}"
        )
    stores = {one["name"]: one for one in daemon.status()["stores"]}
    for name in ("influx", "redis"):
        lost = sum(stores[name]["dropped"].values())
        print(f"{name}: {stores[name]['written']} written, {lost} lost for want of room")


if __name__ == "__main__":
    main()
