"""Every demo runs as it is written, and says what it promises."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.services.influx import Influxd
from tests.services.redis import RedisServer
from tests.simulation.world import ROOT

DEMOS = {
    "infrastructure_demo.py": (),
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


def play(folder: Path, *words: str, seconds: str = "8", **environ: str) -> subprocess.CompletedProcess[str]:
    """Play the demo of the infrastructure; its summary is in `folder`."""
    program = str(ROOT / "demos" / "infrastructure_demo.py")
    return subprocess.run(
        [sys.executable, program, "--seconds", seconds, "--results", str(folder), *words],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )


def summary(folder: Path) -> dict[str, Any]:
    (path,) = folder.iterdir()
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.mark.slow
def test_demo_of_infrastructure_when_run_then_every_step_shows_something(tmp_path: Path) -> None:
    """With an InfluxDB and a Redis that ask for passwords; the summary says what came of each step."""
    with ExitStack() as stack:
        influx = stack.enter_context(Influxd(tmp_path / "influx", auth=True))
        redis = stack.enter_context(RedisServer(tmp_path / "redis", password="tradefan123"))
        # As docker-compose.yml calls its user.
        influx.ask("CREATE USER admin WITH PASSWORD 'secret' WITH ALL PRIVILEGES")
        words = ("--full", "--influx", influx.url, "--redis", redis.url)
        done = play(tmp_path / "results", *words, INFLUXDB_PASSWORD="secret", REDIS_PASSWORD=redis.password)
        assert done.returncode == 0, done.stderr + done.stdout
        assert influx.ask('SELECT * FROM "fills"', user="admin", password="secret")
        assert redis.entries("signals.api.buy")
    found = summary(tmp_path / "results")
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
    assert (found["health"], set(found["stores"].values()), found["lacking"]) == ("ok", {"READY"}, {})
    assert {"influx", "redis"} <= set(found["stores"])


@pytest.mark.slow
def test_demo_of_infrastructure_when_a_server_is_not_there_or_wants_a_password_then_fails(
    tmp_path: Path,
) -> None:
    """All the rest is shown, and the end says which store lacks what."""
    with RedisServer(tmp_path / "redis", password="tradefan123") as redis:
        words = ("--full", "--influx", "http://127.0.0.1:1", "--redis", redis.url)
        done = play(tmp_path / "results", *words, seconds="4")
    assert done.returncode == 1, done.stderr + done.stdout
    lacking = summary(tmp_path / "results")["lacking"]
    assert lacking.keys() == {"influx", "redis"}
    assert "uthentication" in lacking["redis"]
    for name, why in lacking.items():
        assert f"no store  {name}: {why}" in done.stdout


def test_demo_of_infrastructure_when_a_page_is_read_then_it_is_named() -> None:
    """Who looks for it finds it."""
    assert "demos/infrastructure_demo.py" in (ROOT / "docs" / "python.md").read_text()
