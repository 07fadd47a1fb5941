"""C-05: InfluxDB and Redis freeze, die, fill up and refuse while a client trades; trading does not notice.

What each server holds at the end is held against what the daemon counts: written, and lost for want of room.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.load import Load
from tests.integration.daemon_process import DaemonProcess
from tests.services.influx import Influxd
from tests.services.redis import RedisServer
from tradefan.actors.point_journal import OWN_MAX
from tradefan.stores.schema import MEASUREMENTS

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

WHOLE = os.environ.get("TRADEFAN_CHAOS") == "whole"
INFLUX_S, REDIS_S, TROUBLE_S = (120.0, 60.0, 10.0) if WHOLE else (6.0, 5.0, 2.0)
BACK_S = 5.0
QUEUE_MAX = 500
RSS_MAX_MB = 300
TRADED = ("binance:BTC/USDT", "binance:ETH/USDT")
OF_TRADES = "SELECT count(*) FROM trades WHERE instrument = ? AND trade_id {} ?"
OF_FILLS = "SELECT count(*) FROM fills WHERE ? IS NOT NULL AND lsn {} ?"
LAG_MAX_S, LATE_MAX = 0.02, 0.001
"""At most that share of the loop's heartbeats is later."""


@pytest.fixture
def influx(tmp_path: Path) -> Iterator[Influxd]:
    with Influxd(tmp_path / "influx") as made:
        yield made


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis") as made:
        yield made


@pytest.fixture
def daemon(tmp_path: Path, influx: Influxd, redis: RedisServer) -> Iterator[DaemonProcess]:
    folder = tmp_path / "daemon"
    folder.mkdir()
    made = DaemonProcess(
        folder,
        f"influx.url={influx.url}",
        "influx.queue_max=500",
        "influx.timeout=1s",
        f"redis.url={redis.url}",
        f"redis.queue_max={QUEUE_MAX}",
        "redis.stream_max=10000000",
        "risk.orders_per_second=1000",
        "api.requests_per_second=1000",
    )
    made.start()
    made.until_ready()
    yield made
    made.close()


def test_servers_when_away_then_trading_goes_on_and_what_is_lost_is_counted(
    daemon: DaemonProcess, influx: Influxd, redis: RedisServer
) -> None:
    """Stopped and frozen beside each other, then Redis dead, full and read-only, one after the other."""
    load = Load(daemon, 5).start()
    try:
        daemon.until(lambda: bool(redis.entries("fills.binance")) and bool(influx.points("fills")), 60)
        _frozen(daemon, influx, redis, load)
        _troubled(daemon, redis, load)
    finally:
        load.stop()
    load.settle()
    daemon.until(lambda: all(_is_idle(_store(daemon, name)) for name in ("influx", "redis")), 30)
    assert _rss_mb(daemon) < RSS_MAX_MB
    if WHOLE:
        # Beside other tests the loop waits for a core, too.
        beats = _metric(daemon, "tradefan_loop_delay_seconds_count")
        late = beats - _metric(daemon, f'tradefan_loop_delay_seconds_bucket{{le="{LAG_MAX_S}"}}')
        assert late / beats <= LATE_MAX
    assert daemon.end()[0] == 0
    events = {line["event"] for line in daemon.log()}
    assert {"influx_failing", "influx_recovered", "redis_failing", "redis_recovered"} <= events
    assert not events & {"actor_crashed", "link_down"}


def _frozen(daemon: DaemonProcess, influx: Influxd, redis: RedisServer, load: Load) -> None:
    influx.freeze()
    redis.freeze()
    began = time.monotonic()
    try:
        _trade_for(daemon, load, REDIS_S)
        daemon.until(lambda: _lost(daemon, "redis") > 0, 60)
    finally:
        redis.thaw()
    _told_again(daemon, "redis")
    try:
        _trade_for(daemon, load, INFLUX_S - (time.monotonic() - began))
        daemon.until(lambda: _lost(daemon, "influx") > 0, 60)
    finally:
        influx.thaw()
    # A request that timed out is tried again behind a wait of up to 10 s.
    daemon.until(lambda: not _store(daemon, "influx")["failing"], 20)
    _hold_against(daemon, influx, redis)


def _troubled(daemon: DaemonProcess, redis: RedisServer, load: Load) -> None:
    redis.ask("CONFIG", "SET", "maxmemory", 1)
    _trade_for(daemon, load, TROUBLE_S)
    redis.ask("CONFIG", "SET", "maxmemory", 0)
    _told_again(daemon, "redis")
    redis.ask("REPLICAOF", "127.0.0.1", 1)
    _trade_for(daemon, load, TROUBLE_S)
    redis.ask("REPLICAOF", "NO", "ONE")
    _told_again(daemon, "redis")
    redis.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    redis.ask("CONFIG", "SET", "maxmemory", "1mb")
    _trade_for(daemon, load, TROUBLE_S)
    redis.ask("CONFIG", "SET", "maxmemory", 0)
    redis.kill()
    _trade_for(daemon, load, TROUBLE_S)
    redis.start()
    _told_again(daemon, "redis")


def _trade_for(daemon: DaemonProcess, load: Load, seconds: float) -> None:
    """Let the client trade; every second orders are answered, and the daemon is ready."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        answered = len(load.answered)
        time.sleep(1.0)
        assert len(load.answered) > answered
        assert daemon.ask("/ready")[0] == 200


def _told_again(daemon: DaemonProcess, name: str) -> None:
    written = _store(daemon, name)["written"]
    daemon.until(
        lambda: not _store(daemon, name)["failing"] and _store(daemon, name)["written"] > written, BACK_S
    )


def _hold_against(daemon: DaemonProcess, influx: Influxd, redis: RedisServer) -> None:
    """Compare what the servers hold with the daemon's own counts, to the entry."""
    until = time.monotonic() + BACK_S * 4
    while (wrong := _wrong_with_points(daemon, influx)) is not None:
        # What was applied as its answer got lost counts when it has been sent once more.
        assert time.monotonic() < until, wrong
        time.sleep(0.05)
    _hold_streams_against(daemon, redis)


def _wrong_with_points(daemon: DaemonProcess, influx: Influxd) -> str | None:
    """Compare InfluxDB with the counts and with the store: no fill is lost, all else is counted.

    A catch-up begins at the end of a turn, so rows of one turn may be written twice: they are one point.
    """
    before = _store(daemon, "influx")
    found = sum(influx.count(table.name, table.time) for table in MEASUREMENTS.values())
    trades = {name: [int(one["trade_id"]) for one in _of(influx, "trades", name)] for name in TRADED}
    fills = {int(one["lsn"]) for one in influx.points("fills")}
    after = _store(daemon, "influx")
    if before["written"] != after["written"] or before["dropped"] != after["dropped"]:
        return f"points come without a pause: {before}, {after}"
    if not 0 <= after["written"] - found <= OWN_MAX:
        return f"InfluxDB has {found} points, {after}"
    stored = sum(_stored_before(daemon, OF_TRADES, name, max(ids)) for name, ids in trades.items())
    if stored != sum(len(ids) - 1 for ids in trades.values()) + after["dropped"]["Trade"]:
        return f"{stored} trades are stored; InfluxDB has {[*map(len, trades.values())]}, {after}"
    known = _stored_before(daemon, OF_FILLS, "all", max(fills))
    return None if known == len(fills) - 1 else f"{known} fills are stored before the last of {len(fills)}"


def _of(influx: Influxd, measurement: str, instrument: str) -> list[dict[str, Any]]:
    return [one for one in influx.points(measurement) if one["instrument"] == instrument]


def _hold_streams_against(daemon: DaemonProcess, redis: RedisServer) -> None:
    """Of what the store has, up to the newest that Redis has, each is there once or counted as lost.

    Messages go to Redis in their order, and the oldest are lost, so that nothing before the newest is still
    on its way. What is no entry of its own (later pictures of parents, positions, equity) is written, too.
    """
    until = time.monotonic() + BACK_S * 4
    while True:
        row = _store(daemon, "redis")
        streams = {name: redis.entries(name) for name in redis.client(lambda one: one.keys("*.*"))}
        if row["dropped"] == (after := _store(daemon, "redis"))["dropped"]:
            break
        assert time.monotonic() < until, f"Redis still loses: {row}, {after}"
    alerts = sum(len(found) for name, found in streams.items() if name.startswith(("risk.", "signals.")))
    assert sum(map(len, streams.values())) - alerts <= after["written"] + QUEUE_MAX
    trades = {
        name: [int(one["trade_id"]) for one in streams[_stream(name)] if one["type"] == "Trade"]
        for name in TRADED
    }
    assert all(ids == sorted(set(ids)) for ids in trades.values())
    stored = sum(_stored_before(daemon, OF_TRADES, name, ids[-1]) for name, ids in trades.items())
    assert stored == sum(len(ids) - 1 for ids in trades.values()) + row["dropped"]["Trade"]
    fills = {(int(one["lsn"]), one["trade_id"]) for one in streams["fills.binance"]}
    assert len(fills) == len(streams["fills.binance"])
    newest = max(lsn for lsn, _ in fills)
    known = sum(lsn < newest for lsn, _ in fills)
    assert _stored_before(daemon, OF_FILLS, "all", newest) == known + row["dropped"]["FillUpdate"]


def _stream(instrument: str) -> str:
    return f"market.{instrument.replace(':', '.')}"


def _stored_before(daemon: DaemonProcess, sql: str, which: str, newest: int) -> int:
    """Count the rows before a number, once that one is stored: the store writes in batches of its own."""
    until = time.monotonic() + BACK_S
    with closing(sqlite3.connect(f"file:{daemon.data / 'store.db'}?mode=ro", uri=True)) as db:
        while db.execute(sql.format(">="), (which, newest)).fetchone()[0] == 0:
            assert time.monotonic() < until, f"{which} {newest} is in Redis and not in the store"
            time.sleep(0.05)
        return int(db.execute(sql.format("<"), (which, newest)).fetchone()[0])


def _store(daemon: DaemonProcess, name: str) -> dict[str, Any]:
    return next(one for one in daemon.status()["stores"] if one["name"] == name)


def _lost(daemon: DaemonProcess, name: str) -> int:
    return sum(_store(daemon, name)["dropped"].values())


def _is_idle(row: dict[str, Any]) -> bool:
    return not row["failing"] and row["waiting"] < 500


def _rss_mb(daemon: DaemonProcess) -> float:
    assert daemon.process is not None
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def _metric(daemon: DaemonProcess, name: str) -> float:
    text = daemon.ask("/metrics")[1]
    return float(next(line.split()[-1] for line in text.splitlines() if line.startswith(f"{name} ")))
