"""Questions as users ask them, at random: one bar, a thousand, a thousand numbers of a strategy.

The same bars and numbers lie in a SQLite file and in a real influxd; SQLite has fills, trades and equity
beside them. Questions take turns, so that all see the same machine. Times are those of the caller, in this
process, with nothing known before: the symbol is looked up, and every source of bars is asked.
Goals: p95 of one bar and of 1,000 under 10 ms from every store, 50 us from the cache.
Run: .venv/bin/python benchmarks/query.py [--rows 10000000]
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import apsw

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.services.influx import Influxd
from tradefan.stores.columns import Columns
from tradefan.stores.influx import InfluxSettings, open_client
from tradefan.stores.influx_rows import InfluxRows
from tradefan.stores.queries import Cache, Queries, Question
from tradefan.stores.sqlite import StoreFile
from tradefan.stores.sqlite_rows import SqliteRows
from tradefan.units import MINUTE

T0 = 1_500_000_000 // 60 * MINUTE
SYMBOLS = tuple(f"binance:C{number}/USDT" for number in range(10))
NUMBERS = ("fast", "slow")
BATCH = 20_000
ROUNDS = 300


def bars(symbol: str, count: int) -> Iterator[tuple[int, float, float, float, float, float]]:
    """Give a walk of minutes, the same at every call."""
    chance = random.Random(symbol)
    price = 100.0
    for number in range(count):
        before, price = price, max(price + chance.uniform(-0.5, 0.5), 1.0)
        high, low = max(before, price) + 0.25, min(before, price) - 0.25
        yield T0 + number * MINUTE, before, high, low, price, round(chance.uniform(0, 9), 4)


def fill_sqlite(path: Path, count: int) -> None:
    StoreFile(str(path)).close()
    db = apsw.Connection(str(path))
    with db:
        for symbol in SYMBOLS:
            db.executemany(
                "INSERT INTO bars VALUES (?, '1m', ?, ?, ?, ?, ?, ?, ?, 0, 0)",
                (
                    (symbol, at, at + MINUTE, first, high, low, last, volume)
                    for at, first, high, low, last, volume in bars(symbol, count)
                ),
            )
            minutes = [(symbol, number, T0 + number * MINUTE) for number in range(count // 10)]
            for name in NUMBERS:
                db.executemany(
                    f"INSERT INTO indicators VALUES ('bench', ?1, '{name}', ?3, ?2, ?2)",  # noqa: S608 ours
                    minutes,
                )
            db.executemany("INSERT INTO trades VALUES (?1, ?2, 1.0, 1.0, 'buy', ?3, ?3)", minutes)
            db.executemany(
                "INSERT INTO fills VALUES ('paper:main', ?1, 'bench', NULL, NULL, ?2, 'buy', '1', '1', '0', "
                "'USDT', 'taker', ?3, ?2, '0')",
                minutes,
            )
            db.executemany(
                "INSERT INTO equity VALUES (?1, 'USDT', ?3, '1', '0', '0', '0', '0', '0', ?2)", minutes
            )
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


async def fill_influx(settings: InfluxSettings, count: int) -> None:
    client = open_client(settings)
    await client.create_database()
    for symbol in SYMBOLS:
        lines: list[str] = []
        for at, first, high, low, last, volume in bars(symbol, count):
            lines.append(
                f"bars,instrument={symbol},timeframe=1m open_ns={at}i,close_ns={at + MINUTE}i,open={first!r},"
                f"high={high!r},low={low!r},close={last!r},volume={volume!r},volume_lots=0i,trades=0i {at}"
            )
            if (number := (at - T0) // MINUTE) < count // 10:
                lines += (
                    f"indicators,owner=bench,instrument={symbol},name={name} "
                    f"at_ns={at}i,value={float(number)!r},ordinal={number}i {at + number % 1_000_000}"
                    for name in NUMBERS
                )
            if len(lines) >= BATCH:
                await client.write("\n".join(lines).encode())
                lines.clear()
        if lines:
            await client.write("\n".join(lines).encode())
    await client.close()


async def measure(queries: dict[str, Queries], count: int) -> dict[tuple[str, str], list[float]]:
    """Return seconds by store and question; every answer is compared with the other store's."""
    chance = random.Random(1)
    taken: dict[tuple[str, str], list[float]] = {}

    async def timed(name: str, what: str, ask: Callable[[], Coroutine[Any, Any, Columns]]) -> Columns:
        began = time.perf_counter()
        found = await ask()
        taken.setdefault((name, what), []).append(time.perf_counter() - began)
        return found

    for _ in range(ROUNDS):
        symbol, first = chance.choice(SYMBOLS), chance.randrange(count - 1000)
        last = T0 + chance.randrange(1000, count // 10) * MINUTE
        numbers = Question("indicators", symbol, name=chance.choice(NUMBERS), end_ns=last)
        for what, rows in (("one bar", 1), ("1,000 bars", 1000), ("1,000 numbers", 1000)):
            since = T0 + first * MINUTE
            answers = []
            for name, one in queries.items():
                ask = (
                    partial(one.ask, numbers)
                    if what == "1,000 numbers"
                    else partial(one.market_data, symbol, "1m", since, since + rows * MINUTE, rows)
                )
                one.cache.clear()
                answers.append(await timed(name, what, ask))
                answers.append(await timed("cache", what, ask))
            assert all(len(one) == rows and one == answers[0] for one in answers)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    rows: int = parser.parse_args().rows
    count = rows // len(SYMBOLS)
    with tempfile.TemporaryDirectory() as folder, Influxd(Path(folder) / "influx") as server:
        path = Path(folder) / "store.db"
        settings = InfluxSettings(server.url, "tradefan", 60.0)
        fill_sqlite(path, count)
        asyncio.run(fill_influx(settings, count))
        queries = {
            "sqlite": Queries(SqliteRows(path, Path(folder) / "user.db"), Cache(time.monotonic)),
            "influx": Queries(InfluxRows(settings), Cache(time.monotonic)),
        }
        taken = asyncio.run(measure(queries, count))
        print(f"{count * len(SYMBOLS):,} bars, {path.stat().st_size >> 20:,} MiB in SQLite, {ROUNDS} rounds")
        print(f"{'store':8} {'question':14} {'p50 ms':>9} {'p95 ms':>9} {'max ms':>9}")
        for (name, what), seconds in taken.items():
            ordered = sorted(seconds)
            p50, p95 = ordered[len(ordered) // 2], ordered[len(ordered) * 95 // 100]
            print(f"{name:8} {what:14} {p50 * 1e3:9.3f} {p95 * 1e3:9.3f} {ordered[-1] * 1e3:9.3f}")


if __name__ == "__main__":
    main()
