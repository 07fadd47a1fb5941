"""kill -9, three times: what was bought stays bought, whose it was is known, and nothing is bought again."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.daemon_process import DaemonProcess
from tradefan.messages.records import Epoch, Fill, Intent, Parent

pytestmark = pytest.mark.slow

BTC = "binance:BTC/USDT"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonProcess]:
    """Only the strategy that holds a constant share: after its first order it has no reason for a second."""
    sets = ("strategies.ema_cross_eth=null", "venues.binance.tape.history=30s", "runtime.starts_max=10")
    made = DaemonProcess(tmp_path, *sets)
    yield made
    made.close()


@dataclass(frozen=True)
class Kept:
    """What must survive: positions with owners, the working order, and both files' orders and fills."""

    positions: dict[tuple[str, str], str]
    parents: list[tuple[str, str, str]]
    fills: int
    balances: list[tuple[Any, ...]]


def kept(daemon: DaemonProcess) -> Kept:
    status = daemon.status()
    return Kept(
        positions=daemon.positions(),
        parents=[(one["parent_id"], one["owner"], one["status"]) for one in status["parents"]],
        fills=status["fills"]["total"],
        balances=daemon.paper("SELECT asset, free, locked FROM balance ORDER BY asset"),
    )


@pytest.mark.failure("ST-01", "ST-02")
def test_daemon_when_killed_three_times_then_goes_on_as_if_it_had_not_been(daemon: DaemonProcess) -> None:
    """A position become `external` would be bought again; a client id given twice would be two orders."""
    daemon.start().until_ready()
    daemon.until(lambda: float(daemon.positions().get(("rebalance_btc", BTC), "0")) > 0, 60)
    price = str(int(float(daemon.status()["feeds"][0]["bid"]) * 0.985))
    wish = {"symbol": "BTC/USDT", "side": "buy", "quantity": "0.01", "algo": "limit", "limit_price": price}
    code, order = daemon.ask("/api/v1/orders", {**wish, "ref": "resting"})
    assert code == 201
    path = f"/api/v1/orders/{order['parent_id']}"
    daemon.until(lambda: [one["status"] for one in daemon.ask(path)[1]["children_orders"]] == ["NEW"], 10)
    before = kept(daemon)
    assert before.parents == [(order["parent_id"], "api", "NEW")]

    # In quiet, while it starts, and right after it became ready.
    daemon.end(signal.SIGKILL)
    daemon.start().until(lambda: daemon.ask("/health")[0] != 0, 30)
    daemon.end(signal.SIGKILL)
    daemon.start().until_ready()
    daemon.end(signal.SIGKILL)
    daemon.start().until_ready()
    daemon.until(lambda: decided(daemon), 10)

    assert kept(daemon) == before
    shown = daemon.run("journal", "show", "--limit", "100000").stdout.splitlines()
    rows = [line.split()[3] for line in shown]
    assert rows.count("Fill") == before.fills == len(daemon.paper("SELECT trade_id FROM trades"))
    assert sum(order["parent_id"] in line and "Parent" in line for line in shown) == 1
    status = daemon.status()
    assert (status["orders"]["in_doubt"], status["mode"]["mode"]) == (0, "NORMAL")
    assert status["fills"]["last"][0]["owner"] == "rebalance_btc"
    assert daemon.ask("/api/v1/orders", {**wish, "ref": "resting"}) == (200, daemon.ask(path)[1])
    code, another = daemon.ask("/api/v1/orders", {**wish, "ref": "another"})
    assert code == 201
    daemon.until(lambda: len(daemon.status()["parents"]) == 2, 10)
    assert daemon.end(signal.SIGTERM)[0] == 0
    check_files(daemon, {order["parent_id"], another["parent_id"]})


def decided(daemon: DaemonProcess) -> bool:
    """Say whether the strategy has spoken in this life."""
    strategies = {one["owner"]: one for one in daemon.ask("/api/v1/strategies")[1]["strategies"]}
    return strategies["rebalance_btc"]["decision"] is not None


def check_files(daemon: DaemonProcess, wanted: set[str]) -> None:
    """Compare the journal with the venue's own file: the same orders and fills, each once."""
    records = daemon.journal()
    epochs = [record.epoch for record in records if isinstance(record, Epoch)]
    assert epochs == [1, 2, 3, 4][: len(epochs)]
    assert len(epochs) >= 3
    parents = {record.order.parent_id: record.order for record in records if isinstance(record, Parent)}
    own = [parent for parent in parents.values() if parent.owner == "rebalance_btc"]
    assert len(own) == 1
    assert wanted <= parents.keys()
    assert len(parents) == 3
    intents = [record.client_order_id for record in records if isinstance(record, Intent)]
    assert len(intents) == len({*intents}) == 3
    at_venue = [name for (name,) in daemon.paper("SELECT client_order_id FROM orders ORDER BY order_id")]
    assert at_venue == intents
    fills = sorted((record.trade_id, record.qty) for record in records if isinstance(record, Fill))
    trades = daemon.paper("SELECT trade_id, qty FROM trades")
    assert [trade for trade, _ in fills] == sorted(str(trade) for trade, _ in trades)
