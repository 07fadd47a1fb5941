"""A daemon that trades beside a real InfluxDB and a real Redis: what they are told, and their outages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.daemon_process import DaemonProcess
from tests.services.influx import Influxd
from tests.services.redis import RedisServer
from tradefan.metric_registry import METRICS
from tradefan.stores.schema import MEASUREMENTS

pytestmark = pytest.mark.slow

SOON = (
    "trades",
    "quotes",
    "bars",
    "orders",
    "parents",
    "fills",
    "positions",
    "equity",
    "risk",
    "health",
    "indicators",
    "refusals",
)
"""What a minute of development with one refused order has."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influxd]:
    with Influxd(tmp_path_factory.mktemp("influx")) as made:
        yield made


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as made:
        yield made


@pytest.fixture(scope="module")
def daemon(
    server: Influxd, redis: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DaemonProcess]:
    made = DaemonProcess(
        tmp_path_factory.mktemp("daemon"),
        f"influx.url={server.url}",
        "influx.flush_interval=200ms",
        f"redis.url={redis.url}",
        "notifiers={ops: {url: '${TF_TEST_URL}', level: critical}}",
        "feeds={binance:BTC/USDT: {bars: {1s: true}}}",
    )
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setenv("TF_TEST_URL", "http://127.0.0.1:1/nobody")
    made.start()
    monkeypatch.undo()
    try:
        made.until_ready()
        yield made
    finally:
        made.close()


def test_daemon_when_it_trades_then_every_kind_is_a_point(daemon: DaemonProcess, server: Influxd) -> None:
    """Market, orders, books and refusals, each under its measurement."""
    status, _ = daemon.ask(
        "/api/v1/orders", {"symbol": "BTC/USDT", "side": "buy", "quantity": "1000", "algo": "market"}
    )
    assert status >= 400
    missing = list(SOON)

    def there() -> bool:
        missing[:] = [name for name in SOON if not server.points(name)]
        return not missing

    daemon.until(there, 60)
    code, _ = daemon.ask("/api/v1/orders", {"symbol": "BTC/USDT", "side": "buy", "quantity": "0.02"})
    assert code < 300
    fills = {str(point["trade_id"]) for point in server.points("fills")}
    told = {fill["trade_id"] for fill in daemon.status()["fills"]["last"]}
    assert told <= fills


def test_status_and_metrics_when_points_are_written_then_say_so(daemon: DaemonProcess) -> None:
    """The screen and Prometheus know how it stands with InfluxDB."""
    (row,) = [one for one in daemon.status()["stores"] if one["name"] == "influx"]
    assert (row["state"], row["linked"], row["failing"]) == ("READY", True, "")
    assert row["written"] > 0
    text = daemon.ask("/metrics")[1]
    assert "tradefan_influx_up 1.0" in text
    found = set(re.findall(r"^# TYPE tradefan_(\w+?)(?:_total)? ", text, re.MULTILINE))
    assert found == set(METRICS)
    for table in MEASUREMENTS.values():
        for name in ("influx", "redis"):
            assert f'tradefan_{name}_points_dropped_total{{measurement="{table.name}"}} 0.0' in text


def test_redis_when_the_daemon_trades_then_others_can_follow(
    daemon: DaemonProcess, redis: RedisServer
) -> None:
    """Prices, status and positions under their keys; market, signals, orders and alerts as streams."""
    daemon.until(lambda: bool(redis.entries("signals.api.buy")), 60)
    signal = redis.entries("signals.api.buy")[-1]
    assert (signal["instrument"], signal["algo"]) == ("binance:BTC/USDT", "market")
    daemon.until(lambda: bool(redis.entries("orders.FILLED.binance")), 20)
    codes = {one.get("code", "") for one in redis.entries("risk.alert.warning")}
    assert any(code.startswith("RISK_") for code in codes)
    mid = float(redis.ask("GET", "price:binance:BTC/USDT"))
    top = redis.client(lambda one: one.hgetall("top:binance:BTC/USDT"))
    assert float(top["bid"]) < float(top["ask"])
    assert abs(mid / float(top["bid"]) - 1) < 0.01
    kinds = {one["type"] for one in redis.entries("market.binance.BTC/USDT")}
    assert kinds >= {"Trade", "Quote", "Bar"}
    status = redis.client(lambda one: one.hgetall("status"))
    assert (status["ready"], status["environment"]) == ("true", "development")

    def is_told() -> bool:
        held = redis.client(lambda one: one.hgetall("positions:paper:main"))
        return {*held} == {f"{one['owner']}|{one['instrument']}" for one in daemon.status()["positions"]}

    daemon.until(is_told, 20)


def test_redis_when_it_freezes_then_trading_goes_on_and_it_is_told_again_soon(
    daemon: DaemonProcess, redis: RedisServer
) -> None:
    """No order waits for it; within 5 s of its thaw a stream grows again, each entry once."""
    redis.freeze()
    try:
        daemon.until(lambda: bool(store(daemon, "redis")["failing"]), 30)
        fills = daemon.status()["fills"]["total"]
        code, _ = daemon.ask("/api/v1/orders", {"symbol": "BTC/USDT", "side": "buy", "quantity": "0.01"})
        assert code < 300
        daemon.until(lambda: daemon.status()["fills"]["total"] > fills, 20)
        assert daemon.ask("/ready")[0] == 200
    finally:
        redis.thaw()
    daemon.until(lambda: not store(daemon, "redis")["failing"], 5)
    trade_id = daemon.status()["fills"]["last"][0]["trade_id"]
    daemon.until(lambda: trade_id in [one["trade_id"] for one in redis.entries("fills.binance")], 5)
    told = [one["trade_id"] for one in redis.entries("fills.binance")]
    assert len(told) == len(set(told))
    assert daemon.logged("redis_failing")
    assert daemon.logged("redis_recovered")


def test_daemon_when_the_server_goes_then_trades_on_and_writes_later_what_waited(
    daemon: DaemonProcess, server: Influxd
) -> None:
    """An outage is told in status and log; what waited meanwhile is written, each point once."""
    server.kill()
    daemon.until(lambda: bool(store(daemon, "influx")["failing"]), 30)
    orders = daemon.status()["fills"]["total"]
    code, _ = daemon.ask("/api/v1/orders", {"symbol": "BTC/USDT", "side": "buy", "quantity": "0.01"})
    assert code < 300
    daemon.until(lambda: daemon.status()["fills"]["total"] > orders, 20)
    assert daemon.ask("/ready")[0] == 200
    server.start()
    daemon.until(lambda: not store(daemon, "influx")["failing"], 30)
    trade_id = daemon.status()["fills"]["last"][0]["trade_id"]
    daemon.until(lambda: [p["trade_id"] for p in server.points("fills")].count(trade_id) == 1, 30)
    assert daemon.logged("influx_failing")
    assert daemon.logged("influx_recovered")


def test_daemon_when_stopped_then_the_last_points_are_written(daemon: DaemonProcess, server: Influxd) -> None:
    """Nothing of what was told before the stop is missing."""
    told = daemon.status()["fills"]["total"]
    code, _ = daemon.end()
    assert code == 0
    assert len(server.points("fills")) >= told
    assert not [line for line in daemon.log() if line["event"] in ("points_dropped", "points_left_behind")]


def store(daemon: DaemonProcess, name: str) -> dict[str, Any]:
    return next(one for one in daemon.status()["stores"] if one["name"] == name)


def test_daemon_when_a_secret_is_missing_then_is_not_started_and_says_which(tmp_path: Path) -> None:
    """A password that leads nowhere is found before anything runs."""
    made = DaemonProcess(
        tmp_path,
        "influx.url=http://127.0.0.1:1",
        "influx.username=${TF_NOBODY}",
        "influx.password=${TF_NOTHING}",
    )
    made.start()
    assert made.process is not None
    assert made.process.wait(60) == 2
    assert "the password of InfluxDB (influx.password: ${TF_NOTHING} is not set)" in made.console()
