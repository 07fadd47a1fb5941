"""The road of an alert: a daemon, Prometheus and Alertmanager with the shipped files, and a receiver."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.daemon_process import DaemonProcess
from tests.integration.test_alerts import rules
from tests.services.prometheus import CONFIG, Alertmanager, Prometheus
from tests.services.receiver import Receiver
from tests.services.server import require

FILE = CONFIG / "alertmanager.yml"


def test_inhibitions_when_read_then_name_alerts_that_exist() -> None:
    """A name of nobody would silence nothing, and nobody would notice."""
    config = yaml.safe_load(FILE.read_text())
    sides = [
        matcher.split('"')[1]
        for rule in config["inhibit_rules"]
        for matcher in (*rule["source_matchers"], *rule["target_matchers"])
        if matcher.startswith("alertname")
    ]
    named = {name for side in sides for name in side.split("|")}
    assert named <= rules().keys()
    assert {route["receiver"] for route in config["route"]["routes"]} | {config["route"]["receiver"]} == {
        one["name"] for one in config["receivers"]
    }


@pytest.mark.slow
def test_alertmanager_when_its_file_is_checked_then_each_severity_has_its_receiver() -> None:
    """As amtool reads it."""
    amtool = require("amtool")
    done = subprocess.run([amtool, "check-config", FILE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for severity in ("critical", "warning"):
        command = [amtool, "config", "routes", "test", f"--config.file={FILE}", f"severity={severity}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stdout.strip() == severity, done.stderr


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def alertmanager(tmp_path: Path, receiver: Receiver) -> Iterator[Alertmanager]:
    with Alertmanager(tmp_path / "alertmanager", receiver.server.server_port) as made:
        yield made


@pytest.mark.slow
def test_kill_when_prometheus_sees_it_then_the_receiver_of_critical_alerts_is_told(
    tmp_path: Path, receiver: Receiver, alertmanager: Alertmanager
) -> None:
    """From the mode of a daemon to a message, by files and timings as they are shipped."""
    folder = tmp_path / "daemon"
    folder.mkdir()
    daemon = DaemonProcess(folder, "strategies=null", "venues.binance.tape.history=5s")
    daemon.start()
    try:
        daemon.until_ready()
        with Prometheus(tmp_path / "prometheus", daemon.port, alertmanager.port) as prometheus:
            until(lambda: prometheus.query('up{job="tradefan"} == 1'), 20)
            daemon.ask("/api/v1/kill", {"reason": "a test", "owner": "cli", "user": "tester"})
            until(lambda: receiver.got, 40)
    finally:
        daemon.close()
    (message, *_) = receiver.got
    assert (message["path"], message["receiver"], message["status"]) == ("/critical", "critical", "firing")
    assert message["groupLabels"] == {"instance": prometheus.target}
    killed = {one["labels"]["alertname"]: one for one in message["alerts"]}["Killed"]
    assert killed["annotations"]["do"].startswith("tradefan status")


@pytest.mark.slow
def test_daemon_when_away_then_nothing_else_of_it_is_told(
    receiver: Receiver, alertmanager: Alertmanager
) -> None:
    """Its last words are silent meanwhile; those of another daemon are not."""
    here, there = {"instance": "a:8000", "job": "tradefan"}, {"instance": "b:8000", "job": "tradefan"}
    critical: dict[str, str] = {"severity": "critical"}
    alertmanager.raise_alerts(
        {"alertname": "DaemonDown", **here, **critical},
        {"alertname": "OrdersInDoubt", **here, **critical},
        {"alertname": "DiskLow", **there, **critical},
        {"alertname": "RowsLost", **there, "severity": "warning"},
    )
    until(lambda: len(receiver.got) == 2, 30)
    told = sorted(one["labels"]["alertname"] for message in receiver.got for one in message["alerts"])
    assert told == ["DaemonDown", "DiskLow"]
    states = alertmanager.states()
    assert {name for name, state in states.items() if state == "suppressed"} == {"OrdersInDoubt", "RowsLost"}


def until(done: Callable[[], Any], limit_s: float) -> None:
    """Ask until something is there."""
    deadline = time.monotonic() + limit_s
    while not done():
        assert time.monotonic() < deadline, f"not within {limit_s} s"
        time.sleep(0.1)
