"""A live development run is recorded and replayed: whole, from each segment, to a crash, as a story.

The daemon runs inside the test, which sends it what an operator would. `TRADEFAN_CHAOS=whole` records ten
minutes, as `make chaos` does; the short form is a minute.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop

from tests.chaos.report import report
from tests.integration.daemon_process import ROOT, DaemonProcess, free_port
from tradefan.daemon import Daemon
from tradefan.environment import Environment
from tradefan.flight import program_hash
from tradefan.messages.control import SwapConfig
from tradefan.messages.orders import CancelAll, SubmitOrder
from tradefan.replay.check import Asked, Runs
from tradefan.runtime.system import RIM
from tradefan.stores.segments import segments_in
from tradefan.telemetry import start_logging
from tradefan.units import AccountId, InstrumentId, OwnerId
from tradefan.wiring import encode_config

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

SECONDS = 600 if os.environ.get("TRADEFAN_CHAOS") == "whole" else 60
BOOM = '''"""One raises at its eighth bar, the other one thinks for ever at its twelfth."""

from tradefan.strategy import Bar, Commands, Settings, State, Strategy, View, register


class Seen(State):
    bars: int = 0


@register("strategy", "boom")
class Boom(Strategy[Settings, Seen]):
    def setup(self) -> None:
        self.bars("1s", "ETH/USDT")

    def on_bar(self, bar: Bar, view: View) -> Commands:
        self.state.bars += 1
        if self.state.bars == 8:
            raise RuntimeError("boom")
        return ()


@register("strategy", "endless")
class Endless(Strategy[Settings, Seen]):
    def setup(self) -> None:
        self.bars("1s", "ETH/USDT")

    def on_bar(self, bar: Bar, view: View) -> Commands:
        self.state.bars += 1
        while self.state.bars == 12:
            pass
        return ()
'''
BTC = InstrumentId("binance:BTC/USDT")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration, a strategy of the user's, and what a run of it wrote."""
    made: Path = tmp_path_factory.mktemp("flight")
    shutil.copytree(ROOT / "config", made / "config", ignore=shutil.ignore_patterns("local.yaml"))
    (made / "strategies").mkdir()
    (made / "strategies" / "boom.py").write_text(BOOM)
    sets = (
        f"data_dir={made / 'data'}",
        f"api.port={free_port()}",
        "strategies.mine={use: boom}",
        "strategies.slow={use: endless}",
        "venues.binance.tape.history=30s",
        "logs.console=false",
        "runtime.turn_max=300ms",
        f"recorder.segment_time={max(10, SECONDS // 8)}s",
    )
    environment = Environment.load("development", made / "config", sets)
    log = start_logging(environment.places.log, "info", console=False)
    environment.places.take()
    try:
        daemon = Daemon(environment, log)
        try:
            assert uvloop.run(live(daemon)) == 0
        finally:
            daemon.close()
    finally:
        environment.places.release()
        log.stop()
    return made


async def live(daemon: Daemon) -> int:
    """Run it with orders, a swap of the configuration, and somebody who looks at it all the time."""
    loop = asyncio.get_running_loop()

    def wish(ref: str, qty: str, limit: str | None = None) -> None:
        price = None if limit is None else Decimal(limit)
        algo = "market" if limit is None else "limit"
        order = SubmitOrder(
            account=AccountId("paper:main"),
            instrument=BTC,
            owner=OwnerId("cli"),
            ref=ref,
            side="buy",
            order_qty=Decimal(qty),
            algo=algo,
            limit_price=price,
        )
        daemon.driver.inject(daemon.kernel.refs["oms"], order)

    def swap() -> None:
        config = daemon.kernel.config
        risk = msgspec.structs.replace(config.risk, max_order_notional=Decimal(30_000))
        swapped = msgspec.structs.replace(config, risk=risk)
        daemon.driver.inject(RIM, SwapConfig("swapped", encode_config(swapped)))

    def look() -> None:
        daemon.picture.status()
        daemon.picture.metrics()
        loop.call_later(0.5, look)

    def trade(number: int = 0) -> None:
        wish(f"every so often {number}", "0.01", None if number % 3 else "50000")
        if number % 7 == 6:
            daemon.driver.inject(daemon.kernel.refs["oms"], CancelAll(OwnerId("cli")))
        loop.call_later(2.0, trade, number + 1)

    look()
    loop.call_later(SECONDS * 0.3, trade)
    loop.call_later(SECONDS * 0.5, swap)
    loop.call_later(SECONDS * 0.6, wish, "beyond the new limit", "1")
    return await daemon.run(SECONDS)


def asked(path: Path, folder: Path, **more: Any) -> Asked:
    strategies = Environment.load("development", folder / "config", ("strategies.mine={use: boom}",)).code
    return Asked(path, program_hash(), strategies, **more)


@pytest.fixture(scope="module")
def recordings(folder: Path) -> Path:
    return folder / "data" / "logs" / "recorder"


def log_of(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "data" / "logs" / "tradefan.log").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_live_run_when_replayed_then_same_hash_whole_and_from_each_segment(
    folder: Path, recordings: Path
) -> None:
    """I-42: with orders, a strategy that crashed and one turn that was broken off, and a swap."""
    lines = log_of(folder)
    crashes = [line for line in lines if line["event"] == "actor_crashed"]
    assert any("RuntimeError: boom" in line["traceback"] for line in crashes)
    assert any("TurnOverrun" in line["traceback"] for line in crashes)
    assert any(line.get("code") == "RISK_MAX_NOTIONAL" for line in lines if line["event"] == "refused")
    runs = Runs(asked(recordings, folder))
    (segments,) = runs.runs
    whole = runs.play(segments, lambda _player, _played: None)
    assert (whole.divergence, whole.raised, whole.notes) == (None, "", [])
    assert whole.segments == whole.joints + 1 >= 5
    assert whole.records > 40
    assert whole.recorded_s >= SECONDS
    steps = 0
    for path in segments_in(recordings):
        alone = Runs(asked(path, folder))
        one = alone.play(alone.runs[0], lambda _player, _played: None)
        assert (one.divergence, one.notes) == (None, [])
        steps += one.steps
    assert steps == whole.steps
    report(
        "replay",
        seconds=round(whole.recorded_s),
        steps=whole.steps,
        segments=whole.segments,
        steps_per_s=round(whole.steps / whole.replayed_s),
        records=whole.records,
        bytes=sum(path.stat().st_size for path in segments_in(recordings)),
    )


def test_crash_when_its_log_line_names_the_step_then_replayed_to_it(folder: Path, recordings: Path) -> None:
    """What a crash report is for: the same traceback, at the same step, and pdb stops before it."""
    crash = next(line for line in log_of(folder) if line["event"] == "actor_crashed")
    step = f"step:{crash['step']}"
    done = tradefan(
        folder, "replay", str(recordings), "--until", step, "--from", step, "--print", "all", "--json"
    )
    assert done.returncode == 0, done.stderr
    shown = [json.loads(line) for line in done.stdout.splitlines()]
    again = next(one for one in shown if one.get("type") == "actor_crashed")
    assert (again["step"], again["who"]) == (crash["step"], "kernel")
    assert again["fields"]["traceback"] == crash["traceback"]
    stopped = tradefan(
        folder,
        "replay",
        str(recordings),
        "--until",
        step,
        "--debug",
        said="up\nup\nup\np player.kernel.state.steps\nq\n",
    )
    assert f"pdb stops before step {crash['step']}" in stopped.stdout
    assert str(crash["step"] - 1) in stopped.stdout


def test_order_when_explained_then_its_story_in_milliseconds(folder: Path, recordings: Path) -> None:
    """From the command line, by the id that everybody sees."""
    parent = next(
        line for line in log_of(folder) if line["event"] == "parent_accepted" and line["owner"] == "cli"
    )
    done = tradefan(folder, "replay", str(recordings), "--explain", parent["parent_id"])
    assert done.returncode == 0, done.stderr
    for word in ("seen", "wished", "decided", "durable", "sent", "came", " ms "):
        assert word in done.stdout
    told = tradefan(folder, "replay", str(recordings), "--explain", "beyond the new limit")
    assert "refused  by RISK_MAX_NOTIONAL" in told.stdout


def test_recording_when_damaged_or_absent_then_exit_code_and_words(folder: Path, recordings: Path) -> None:
    """1 with file and offset for a damaged chunk, 69 where nothing is, 2 for words that mean nothing."""
    harmed = folder / "harmed"
    harmed.mkdir()
    first = segments_in(recordings)[0]
    content = bytearray(first.read_bytes())
    content[len(content) // 2] ^= 1
    (harmed / first.name).write_bytes(content)
    done = tradefan(folder, "replay", str(harmed))
    assert done.returncode == 1
    assert "RECORDING_DAMAGED" in done.stderr
    assert f"{first.name}, offset " in done.stderr
    assert done.stdout == ""
    assert tradefan(folder, "replay", str(folder / "nothing")).returncode == 69
    assert tradefan(folder, "replay", str(recordings), "--print", "everything").returncode == 2
    both = tradefan(folder, "replay", str(recordings), "--set", "risk.max_position=1", "--print", "orders")
    assert (both.returncode, "BAD_OPTIONS: --set: expected without --print" in both.stderr) == (2, True)
    whole = tradefan(folder, "replay", str(recordings), "--json")
    assert whole.returncode == 0
    assert json.loads(whole.stdout)["digests"] > 0


def tradefan(folder: Path, *words: str, said: str = "") -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRADEFAN_")}
    return subprocess.run(
        [sys.executable, "-P", "-m", "tradefan", *words, "--config", str(folder / "config")],
        env=kept,
        cwd=folder,
        input=said,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonProcess]:
    made = DaemonProcess(
        tmp_path, "recorder.segment_time=5s", "recorder.flush_interval=100ms", "logs.console=false"
    )
    yield made
    made.close()


def test_daemon_when_killed_then_its_recording_replays_to_the_last_whole_chunk(daemon: DaemonProcess) -> None:
    """kill -9, twice: two runs, both replay as far as they were written, and the journal agrees."""
    for _ in range(2):
        daemon.start().until_ready()
        assert (
            daemon.ask("/api/v1/orders", {"symbol": "BTC/USDT", "side": "buy", "quantity": "0.01"})[0] == 201
        )
        stores = {one["name"]: one for one in daemon.status()["stores"]}
        assert (stores["recorder"]["state"], stores["recorder"]["steps_lost"]) == ("READY", 0)
        assert "tradefan_recorder_up 1.0" in daemon.ask("/metrics")[1]
        time.sleep(3)
        daemon.end(signal.SIGKILL)
    runs = {path.name.partition("-")[0] for path in segments_in(daemon.data / "logs" / "recorder")}
    assert len(runs) == 2
    done = daemon.run("replay", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(reports) == 2
    assert all(one["records"] > 5 and one["divergence"] is None and one["notes"] == [] for one in reports)
