"""Bars from a file become the volume curve of an order in a running daemon, and warm a strategy of it."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.daemon_process import DaemonProcess
from tradefan.messages.plan import Plan
from tradefan.messages.records import Parent
from tradefan.units import DAY, MINUTE, iso

pytestmark = pytest.mark.slow

BUCKET = 5 * MINUTE
QUIET = (
    "strategies.ema_cross_eth=null",
    "strategies.rebalance_btc=null",
    "venues.binance.tape.history=5s",
    "logs.console=false",
)
TRADED = [100.0 * 2 ** (i % 8) for i in range(288)]
"""Of the five minutes of every day; a volume that doubles and falls."""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonProcess]:
    made = DaemonProcess(tmp_path, *QUIET)
    yield made
    made.close()


def level(i: int) -> float:
    """The curve of days that are all alike: the mean of neighbours, at least a fifth of the mean of all."""
    smooth = [(TRADED[j - 1] + TRADED[j] + TRADED[(j + 1) % 288]) / 3 for j in range(288)]
    return max(smooth[i], 0.2 * sum(smooth) / 288)


def share(plan: Plan, until_ns: int) -> float:
    """What part of the window's volume has traded by then; inside a bucket it is even."""
    assert plan.end_ns is not None

    def volume(end_ns: int) -> float:
        first, last = plan.start_ns // BUCKET, -(-end_ns // BUCKET)
        parts = (
            (i, min(end_ns, (i + 1) * BUCKET) - max(plan.start_ns, i * BUCKET)) for i in range(first, last)
        )
        return sum(level(i % 288) * overlap / BUCKET for i, overlap in parts)

    return volume(until_ns) / volume(plan.end_ns)


def test_vwap_when_klines_were_imported_then_it_follows_them(daemon: DaemonProcess) -> None:
    """From the file into the store, at the start to the order manager, and into the plan on record."""
    today = time.time_ns() // DAY
    if DAY - time.time_ns() % DAY < 20 * MINUTE:
        pytest.skip("a window over midnight would look at one day less")
    file = daemon.folder / "klines.csv"
    opens = (day * DAY + i * BUCKET for day in range(today - 20, today) for i in range(288))
    file.write_text(
        "".join(f"{at // 1_000_000},1,1,1,1,{TRADED[at // BUCKET % 288]}\n" for at in opens), encoding="utf-8"
    )
    words = ("data", "import", str(file), "--symbol", "BTC/USDT", "--timeframe", "5m", "--json")
    done = daemon.run(*words)
    assert (done.returncode, json.loads(done.stdout)["new"]) == (0, 20 * 288), done.stderr
    daemon.start().until_ready()
    assert daemon.run(*words).returncode == 69
    wish = {"side": "buy", "quantity": "1", "algo": "vwap", "settings": {"duration": "15m", "size_jitter": 0}}
    for symbol in ("BTC/USDT", "ETH/USDT"):
        code, order = daemon.ask("/api/v1/orders", {"symbol": symbol, **wish})
        assert code == 201, order
    daemon.end()
    btc, eth = (one.plan for one in daemon.journal() if isinstance(one, Parent))
    assert btc is not None
    assert eth is not None
    assert (eth.source, eth.flags) == ("packaged", ("volume_unknown",))
    assert (btc.source, btc.coverage, btc.flags) == ("klines", 1.0, ())
    whole, n = btc.taus[-1], len(btc.taus)
    assert btc.end_ns is not None
    for k, tau in enumerate(btc.taus):
        until_ns = btc.start_ns + (k + 1) * (btc.end_ns - btc.start_ns) // n
        assert tau / whole == pytest.approx(share(btc, until_ns), abs=2e-3)


WARM = (
    "strategies.rebalance_btc=null",
    "strategies.ema_cross_eth.settings.timeframe=1m",
    "venues.binance.tape.history=4m",
    "logs.console=false",
)


@pytest.mark.parametrize("hole", [False, True])
def test_strategy_when_klines_were_imported_then_it_is_warm_where_they_join(
    tmp_path: Path, hole: bool
) -> None:
    """From the file into the store, from there in front of what the tape plays; again after `kill -9`."""
    daemon = DaemonProcess(tmp_path, *WARM)
    file = tmp_path / "klines.csv"
    until = time.time_ns() // MINUTE
    opens = (at for at in range(until - 120, until) if not (hole and at > until - 6))
    file.write_text(
        "".join(f"{at * 60_000},2600,2610,2590,2600,{at % 7}\n" for at in opens), encoding="utf-8"
    )

    def told(what: str) -> str:
        code, status = daemon.ask("/status")
        return "" if code != 200 else str(status["strategies"][0][what])

    try:
        words = ("data", "import", str(file), "--symbol", "ETH/USDT", "--timeframe", "1m", "--json")
        assert daemon.run(*words).returncode == 0
        daemon.start()
        if hole:
            daemon.until(lambda: "of 46 bars" in told("text"), 60)
            assert told("state") == "WARMING"
        else:
            daemon.until(lambda: told("state") == "READY", 60)
            daemon.end(signal.SIGKILL)
            daemon.start().until(lambda: told("state") == "READY", 60)
        daemon.end()
    finally:
        daemon.close()
    lines = [line for line in daemon.log() if line["event"].startswith("stored_bars")]
    if hole:
        (line,) = lines
        assert (line["event"], line["level"]) == ("stored_bars_short", "warning")
        assert line["reason"] == f"1m bars end at {iso((until - 5) * MINUTE)}"
    else:
        assert [line["event"] for line in lines] == ["stored_bars"] * 2
    assert {(line["instrument"], line["timeframe"]) for line in lines} == {("binance:ETH/USDT", "1m")}
