"""Every demo runs as it is written, and says what it promises."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.services.influx import Influxd
from tests.services.redis import RedisServer
from tests.simulation.world import ROOT

DEMOS = {
    "infrastructure_demo.py": ("--seconds", "8"),
    "twap.py": ("--quantity", "0.1", "--minutes", "0.5"),
}


def test_demos_when_one_is_there_then_it_is_run_here() -> None:
    """A new one is not forgotten."""
    assert {path.name for path in (ROOT / "demos").glob("*.py")} == set(DEMOS)


@pytest.mark.slow
def test_demo_of_algorithms_when_run_then_three_orders_are_filled_side_by_side(tmp_path: Path) -> None:
    """TWAP, VWAP and iceberg, each with what it came to and a page of its costs."""
    words = [sys.executable, str(ROOT / "demos" / "twap.py"), *DEMOS["twap.py"], "--pages", str(tmp_path)]
    done = subprocess.run(
        words,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    rows = {line.split()[0]: line.split() for line in done.stdout.splitlines()[-6:-3]}
    assert list(rows) == ["twap", "vwap", "iceberg"]
    for row in rows.values():
        assert row[1:3] == ["FILLED", "0.1000"]
        assert abs(float(row[4])) < 50
        page = (tmp_path / f"demo-{row[0]}.html").read_text()
        assert "Where the shortfall comes from" in page
        assert "maker fill" in page
    assert " 0 s  twap 0 %, on schedule +0.0 %, ends 23:5" in done.stdout


@pytest.mark.slow
def test_demo_of_infrastructure_when_run_then_every_step_shows_something(tmp_path: Path) -> None:
    """With an InfluxDB and a Redis; the summary says what came of each step."""
    with ExitStack() as stack:
        words = [*DEMOS["infrastructure_demo.py"], "--results", str(tmp_path / "results")]
        influx = stack.enter_context(Influxd(tmp_path / "influx"))
        redis = stack.enter_context(RedisServer(tmp_path / "redis"))
        words += ["--full", "--influx", influx.url, "--redis", redis.url]
        done = subprocess.run(
            [sys.executable, str(ROOT / "demos" / "infrastructure_demo.py"), *words],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        assert done.returncode == 0, done.stderr + done.stdout
        assert influx.points("fills")
        assert redis.entries("signals.api.buy")
    (path,) = (tmp_path / "results").iterdir()
    found = json.loads(path.read_text())
    assert found["data"] == {"stored": 30, "bars": 10, "trades": found["data"]["trades"]}
    assert found["data"]["trades"] > 0
    statuses = {algo: status for algo, (status, *_) in found["orders"].items()}
    assert statuses == {
        "market": "FILLED",
        "limit": "CANCELED",
        "twap": "FILLED",
        "vwap": "FILLED",
        "iceberg": "FILLED",
    }
    assert found["refusal"].startswith("RISK_MAX_ORDER_QTY: order of 1000 BTC")
    assert "limit: 0.02" in found["live_limit"]
    assert found["alerts"] == ["demo_has_traded"]
    assert (found["health"], set(found["stores"].values())) == ("ok", {"READY"})
    assert {"influx", "redis"} <= set(found["stores"])
