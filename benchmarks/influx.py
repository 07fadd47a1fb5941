"""Points into a real influxd: ours against the library's dict and line modes, and against bytes made before.

All figures of one run come from one server on this machine and one process, whose modes take turns; ratios
are of medians, printed and not judged. CPU is that of this process: the server has its own. Ours is the
link of the daemon, from messages to the server's answer; the others write the same trades through the
library's client, whose dict and line modes make the lines themselves.
Goals: a quarter of dict mode's CPU per point, 100,000 points/s, and 0.8 of the points/s of bytes.
Run: .venv/bin/python benchmarks/influx.py [--quick]
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.services.influx import Influxd
from tradefan.messages.base import Message
from tradefan.messages.control import PointBatch, PointsWritten
from tradefan.messages.market import Trade
from tradefan.stores.influx import InfluxLink, InfluxSettings, open_client
from tradefan.stores.line_protocol import encode
from tradefan.units import MS, SECOND, InstrumentId

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from aioinflux import lineprotocol
    from aioinflux.serialization import serialize
    from aioinflux.serialization.usertype import FLOAT, INT, MEASUREMENT, TAG, TIMEINT

T0 = 1_722_470_400 * SECOND
SYMBOLS = tuple(InstrumentId(f"binance:{base}/USDT") for base in ("BTC", "ETH", "SOL", "XRP", "DOGE"))
BATCH = 5_000
IN_FLIGHT = 2


class LineTrade(NamedTuple):
    """A trade as the library's line mode wants it."""

    measurement: MEASUREMENT
    instrument: TAG
    taker_side: TAG
    trade_id: INT
    price: FLOAT
    qty: FLOAT
    event_ns: INT
    recv_ns: INT
    time: TIMEINT


# It does not look behind annotations that are text.
lineprotocol(LineTrade, schema=get_type_hints(LineTrade))


class Figure(NamedTuple):
    """One mode in one round."""

    points_s: float
    cpu_us: float


def trades(first: int, count: int) -> list[Trade]:
    """Return trades of which no two are alike."""
    return [
        Trade(
            SYMBOLS[n % 5],
            n,
            60_000 + n * 7_919 % 100_000 / 100,
            (n * 104_729 % 100_000 + 1) / 100_000,
            "buy" if n % 2 else "sell",
            T0 + n * MS,
            T0 + n * MS + 17,
        )
        for n in range(first, first + count)
    ]


def as_dict(one: Trade) -> dict[str, Any]:
    """Return a trade as the library's dict mode wants it."""
    return {
        "measurement": "trades",
        "time": one.event_ns,
        "tags": {"instrument": one.instrument, "taker_side": one.taker_side},
        "fields": {
            "trade_id": one.trade_id,
            "price": one.price,
            "qty": one.qty,
            "event_ns": one.event_ns,
            "recv_ns": one.recv_ns,
        },
    }


def as_line(one: Trade) -> LineTrade:
    """Return a trade as the library's line mode wants it."""
    return LineTrade(
        "trades",
        one.instrument,
        one.taker_side,
        one.trade_id,
        one.price,
        one.qty,
        one.event_ns,
        one.recv_ns,
        one.event_ns,
    )


async def ours(server: Influxd, batches: list[list[Trade]]) -> None:
    """Write through the daemon's link, as many batches under way as it takes."""
    done: list[PointsWritten] = []
    ended = asyncio.Event()

    def hear(msg: Message) -> None:
        if isinstance(msg, PointsWritten) and msg.batch_id:
            done.append(msg)
            if len(done) == len(batches):
                ended.set()

    link = InfluxLink(InfluxSettings(server.url, "bench", 30.0), hear, lambda: T0, lambda _texts: None)
    for number, rows in enumerate(batches, 1):
        link.apply(PointBatch(number, tuple(rows)))
    task = asyncio.create_task(link.run())
    await ended.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    written = sum(one.written for one in done)
    assert written == sum(map(len, batches)), f"{written} points were written"


async def library(server: Influxd, batches: list[Any]) -> None:
    """Write through the library's client, with as many requests under way as ours has."""
    client = open_client(InfluxSettings(server.url, "bench", 30.0))
    waiting = iter(batches)

    async def work() -> None:
        for batch in waiting:
            await client.write(batch)

    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    await client.close()


def bodies(rows: list[Trade]) -> bytes:
    """Return a batch as bytes, made before anything is timed."""
    return "\n".join(encode(rows).lines).encode()


MODES: dict[str, tuple[Callable[[list[Trade]], Any], Callable[[Influxd, list[Any]], Awaitable[None]]]] = {
    "ours": (list, ours),
    "library, dict": (lambda rows: [as_dict(one) for one in rows], library),
    "library, lines": (lambda rows: [as_line(one) for one in rows], library),
    "bytes made before": (bodies, library),
}


def measure(server: Influxd, mode: str, first: int, count: int) -> Figure:
    """Write so many new points in one mode."""
    make, write = MODES[mode]
    batches = [make(trades(first + n, BATCH)) for n in range(0, count, BATCH)]
    gc.collect()
    began, cpu = time.perf_counter(), time.process_time()
    with warnings.catch_warnings():
        # aiohttp would rather have large bodies as files.
        warnings.simplefilter("ignore", ResourceWarning)
        uvloop.run(write(server, batches))  # type: ignore[arg-type]  # each is a coroutine
    took, spent = time.perf_counter() - began, time.process_time() - cpu
    return Figure(count / took, spent / count * 1e6)


def encoders(rounds: int) -> dict[str, float]:
    """Return microseconds a point of making lines alone."""
    rows = trades(0, 20_000)
    dicts, lines = [as_dict(one) for one in rows], [as_line(one) for one in rows]
    makers: dict[str, Callable[[], object]] = {
        "ours": lambda: "\n".join(encode(rows).lines).encode(),
        "library, dict": lambda: serialize(dicts),
        "library, lines": lambda: serialize(lines),
    }
    found: dict[str, list[float]] = {name: [] for name in makers}
    for _ in range(rounds):
        for name, make in makers.items():
            began = time.process_time()
            make()
            found[name].append((time.process_time() - began) / len(rows) * 1e6)
    return {name: statistics.median(times) for name, times in found.items()}


def main() -> None:
    """Print the table."""
    quick = "--quick" in sys.argv
    rounds, count = (3, 20_000) if quick else (9, 200_000)
    with tempfile.TemporaryDirectory() as folder, Influxd(Path(folder)) as server:
        server.ask("CREATE DATABASE bench")
        found: dict[str, list[Figure]] = {mode: [] for mode in MODES}
        first = 0
        for number in range(rounds + 1):
            for mode in MODES:
                figure = measure(server, mode, first, count)
                first += count
                if number:
                    found[mode].append(figure)
    medians = {
        mode: Figure(*(statistics.median(values) for values in zip(*figures, strict=True)))
        for mode, figures in found.items()
    }
    mine, plain = medians["ours"], medians["bytes made before"]
    print(f"trades, batches of {BATCH}, {IN_FLIGHT} under way, {rounds} rounds of {count} points a mode")
    print(f"{'mode':20} {'points/s':>10} {'CPU us/point':>13}  of ours")
    for mode, one in medians.items():
        print(f"{mode:20} {one.points_s:10,.0f} {one.cpu_us:13.2f}  {one.cpu_us / mine.cpu_us:5.2f}")
    print(f"ours: {mine.points_s / plain.points_s:.2f} of the points/s of bytes made before")
    print(f"ours: {mine.cpu_us / medians['library, dict'].cpu_us:.2f} of dict mode's CPU a point")
    print("lines alone, us/point: " + ", ".join(f"{n} {us:.2f}" for n, us in encoders(rounds).items()))


if __name__ == "__main__":
    main()
