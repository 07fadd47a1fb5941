"""What being watched costs: scrapes by Prometheus and looks after edited files, as a share of the tick path.

The development system plays its recorded market in virtual time, and between its seconds somebody scrapes as
often as `config/prometheus.yml` says and looks after the files as often as the watcher does at the least. All
is the computing of the loop's own thread, in one run. A scrape costs the same however busy the market is, so
the share is told at the recorded rate and at 3,000 messages a second.
Run: .venv/bin/python benchmarks/operated.py
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import yaml

from tests.simulation.world import AT_ONCE, World, development, recordings
from tradefan.config_versions import ConfigVersions
from tradefan.drivers.watchdog import Watchdog
from tradefan.environment import Environment
from tradefan.links.watcher import ANYHOW_MS
from tradefan.reload import Reloader
from tradefan.status import Picture
from tradefan.telemetry import start_logging
from tradefan.units import SECOND, parse_duration, use_decimal_context

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 240
BUSY = 3_000
"""Messages a second of a busy market: the pace of the feed benchmarks."""


def scrape_s() -> float:
    """Return the seconds between two scrapes."""
    told = yaml.safe_load((ROOT / "config" / "prometheus.yml").read_text())["global"]["scrape_interval"]
    return parse_duration(told) / SECOND


def main() -> None:
    """Print what a message, a scrape and a look cost, and the shares."""
    use_decimal_context()
    folder = Path(tempfile.mkdtemp())
    world = World(development(), folder, recordings())
    environment = Environment.load("development", ROOT / "config", (*AT_ONCE, f"data_dir={folder}"))
    log = start_logging(folder / "log", "info", console=False)
    now_ns = lambda: world.driver.now_ns  # noqa: E731 two words
    watchdog = Watchdog(1, lambda *_: None)
    picture = Picture(environment, world.kernel, world.plan, now_ns, watchdog, log)
    reloader = Reloader(
        environment,
        ConfigVersions(folder / "versions"),
        config=lambda: world.kernel.config,
        swap=print,
        refuse=print,
        log=log.log,
        now_ns=now_ns,
    )
    world.run_until(world.ready, 60)
    every = round(scrape_s())
    ticks: list[float] = []
    scrapes: list[float] = []
    looks: list[float] = []
    frames = 0
    loop = asyncio.new_event_loop()
    gc.disable()
    for second in range(SECONDS):
        before = world.view("market_data:binance").frames
        start = time.thread_time()
        world.run(1)
        spent = time.thread_time() - start
        fresh = world.view("market_data:binance").frames - before
        frames += fresh
        ticks.append(spent / max(fresh, 1))
        start = time.thread_time()
        loop.run_until_complete(reloader.look())
        looks.append(time.thread_time() - start)
        if second % every == 0:
            start = time.thread_time()
            size = len(picture.metrics())
            scrapes.append(time.thread_time() - start)
    gc.enable()
    world.crash()
    log.stop()
    tick, scrape, look = map(statistics.median, (ticks, scrapes, looks))
    a_second = scrape / every + look * 1_000 / ANYHOW_MS
    print(f"a message {tick * 1e6:.1f} us (n={frames}, median of {SECONDS} seconds)")
    print(f"a scrape {scrape * 1e3:.2f} ms of {size} bytes, every {every} s (n={len(scrapes)})")
    print(f"a look after the files {look * 1e6:.0f} us, every {ANYHOW_MS / 1_000:.0f} s (n={len(looks)})")
    for name, rate in (("the recorded", frames / SECONDS), ("a busy", BUSY)):
        share = 100 * a_second / (tick * rate)
        print(f"at {name} market's {rate:.0f} messages a second they add {share:.1f} % (required under 5 %)")


if __name__ == "__main__":
    main()
