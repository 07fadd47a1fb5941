"""The journal's commit against bare append + fdatasync, its groups against bare SQLite, and what it adds.

All figures of one run come from one disk and one process, the parts in turn, each one's best of
several rounds; ratios are printed, not judged. Groups are measured twice: as transactions of a fixed
size, and with decisions in flight, where the next group is whatever came during the last one.
What is timed is timed behind the first checkpoint, ours and SQLite's own: from then on the WAL is
overwritten and no longer grows, which is all of a daemon's life but its first minutes.
Run: .venv/bin/python benchmarks/journal.py [DIRECTORY] (a directory on the disk to measure)
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import msgspec
import uvloop

from tradefan.core.outbox import Outbox, confirm, put, release
from tradefan.core.trading import Trading, apply
from tradefan.messages.base import Message
from tradefan.messages.control import Append, Durable
from tradefan.messages.orders import Answer
from tradefan.messages.records import Intent
from tradefan.stores.journal import JournalFile
from tradefan.stores.journal_layout import JOURNAL_TABLE
from tradefan.stores.journal_link import JournalLink
from tradefan.stores.thread_link import ThreadLink
from tradefan.units import (
    AccountId,
    Asset,
    ClientOrderId,
    InstrumentId,
    OwnerId,
    ParentId,
    use_decimal_context,
)

COMMITS = 1_000
GROUPS = 400
IN_FLIGHT = 64
DECISIONS = 2_000
FIRST_COMMITS, FIRST_GROUPS, FIRST_DECISIONS = 1_100, 200, 8_000
"""So many are not timed: they fill the WAL, a thousand pages, for the first time."""
ROUNDS = 3
ENCODE = msgspec.msgpack.Encoder().encode


class Spread(NamedTuple):
    """Seconds for one: half are below the first, all but a hundredth below the second; `each` is the rate."""

    p50: float
    p99: float
    each: float

    def __str__(self) -> str:
        """Return the percentiles in microseconds, and how many there are in a second."""
        return f"p50 {self.p50 * 1e6:7.1f} us, p99 {self.p99 * 1e6:7.1f} us, {1 / self.each:7.0f}/s"


def spread(times: list[float], spent: float, count: int = 1) -> Spread:
    """Return the spread of times; `count` records went into each, and all took `spent` seconds."""
    cuts = statistics.quantiles(times, n=100)
    return Spread(cuts[49], cuts[98], spent / len(times) / count)


def timed(times: list[float], first: int, count: int = 1) -> Spread:
    """Return the spread of what was timed behind the first."""
    return spread(times[first:], sum(times[first:]), count)


def best(rounds: list[Spread]) -> Spread:
    """Return the quickest round: what others do on this disk only adds."""
    return min(rounds, key=lambda one: one.each)


def intent(number: int) -> Intent:
    """Return the record that every create waits for, about 250 bytes of it."""
    return Intent(
        at_ns=1_700_000_000_000_000_000 + number,
        account=AccountId("paper:main"),
        instrument=InstrumentId("binance:BTC/USDT"),
        owner=OwnerId("ema-btc"),
        parent_id=ParentId(f"abcaaaaa{number % 100:07d}"),
        client_order_id=ClientOrderId(f"abcaaaa{number:08d}x"),
        sequence=number,
        side="buy",
        order_type="limit",
        time_in_force="GTC",
        post_only=False,
        order_qty=Decimal("0.01234"),
        limit_price=Decimal("60123.45"),
        reserve_px=Decimal("60123.45"),
        config_id="0123456789abcdef",
        instrument_version=1,
        reference_px=Decimal("60120.01"),
        reference_age_ns=12_345_678,
        not_after_ns=1_700_000_002_000_000_000 + number,
        reduce_only=False,
        reserve_asset=Asset("USDT"),
        reserve_per_unit=Decimal("60183.573450"),
    )


# --- one record, one commit -------------------------------------------------------------------------


def bare_append(folder: Path) -> Spread:
    """Append what a row holds to a file and sync it, nothing else."""
    content = ENCODE(intent(1)) + bytes(32)
    file = os.open(folder / "bare.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    times = []
    for _ in range(FIRST_COMMITS + COMMITS):
        start = time.perf_counter()
        os.write(file, content)
        os.fdatasync(file)
        times.append(time.perf_counter() - start)
    os.close(file)
    return timed(times, FIRST_COMMITS)


def journal_append(folder: Path) -> Spread:
    """Encode, chain, commit, mark; the WAL's way into the file is in the times."""
    file = JournalFile(str(folder / "single.db"))
    times, first = [], file.last_lsn + 1
    for number in range(first, first + FIRST_COMMITS + COMMITS):
        record = intent(number)
        start = time.perf_counter()
        file.append(number, 1, (record,))
        file.base.checkpoint()
        times.append(time.perf_counter() - start)
    file.close()
    return timed(times, FIRST_COMMITS)


# --- groups of a fixed size -------------------------------------------------------------------------


class BareJournal:
    """Rows into a table, no more: neither chain nor subject, mark or version."""

    def __init__(self, path: str) -> None:
        self._db = apsw.Connection(path)
        self._db.pragma("journal_mode", "wal")
        self._db.pragma("synchronous", "full")
        self._db.execute(JOURNAL_TABLE)
        self.last = self._db.execute("SELECT max(lsn) FROM journal").get or 0

    def write(self, appends: Iterable[Append]) -> int:
        """Encode and insert one group."""
        rows = []
        for append in appends:
            for record in append.records:
                self.last += 1
                rows.append((self.last, record.at_ns, 1, "Intent", 1, ENCODE(record), b""))
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany("INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        self._db.execute("COMMIT")
        return self.last

    def close(self) -> None:
        """Close it."""
        self._db.close()


def bare_groups(folder: Path) -> Spread:
    """Write the groups into a bare table."""
    journal = BareJournal(str(folder / "bare.db"))
    times = []
    for _ in range(FIRST_GROUPS + GROUPS):
        appends = group_behind(journal.last)
        start = time.perf_counter()
        journal.write(appends)
        times.append(time.perf_counter() - start)
    journal.close()
    return timed(times, FIRST_GROUPS, IN_FLIGHT)


def journal_groups(folder: Path) -> Spread:
    """Write the same groups into a journal."""
    file = JournalFile(str(folder / "groups.db"))
    times = []
    for _ in range(FIRST_GROUPS + GROUPS):
        appends = group_behind(file.last_lsn)
        start = time.perf_counter()
        file.write(appends)
        file.base.checkpoint()
        times.append(time.perf_counter() - start)
    file.close()
    return timed(times, FIRST_GROUPS, IN_FLIGHT)


def group_behind(last: int) -> list[Append]:
    """Return 64 Appends of one record each."""
    return [Append(lsn, 1, (intent(lsn),)) for lsn in range(last + 1, last + 1 + IN_FLIGHT)]


# --- from decision to release -----------------------------------------------------------------------


class Decider:
    """The heart of an OMS turn: fold the record, put the effect, and let it out when it may leave."""

    def __init__(self) -> None:
        self.trading = Trading()
        self.box = Outbox()
        self.began: deque[float] = deque()
        self.times: list[float] = []
        self.done = asyncio.Event()

    def decide(self) -> Append:
        """Make one decision; return what is to be written."""
        lsn = self.trading.lsn + 1
        record = intent(lsn)
        self.began.append(time.perf_counter())
        apply(self.trading, record)
        put(self.box, lsn, Answer(lsn, ()))
        return Append(lsn, 1, (record,))

    def hear(self, message: Message) -> None:
        """Let out what is durable."""
        if isinstance(message, Durable):
            confirm(self.box, message.lsn)
            for _ in release(self.box):
                self.times.append(time.perf_counter() - self.began.popleft())
            self.done.set()


async def _release(link: Callable[[Decider], Any], in_flight: int) -> Spread:
    decider = Decider()
    journal = link(decider)
    running = asyncio.ensure_future(journal.run())
    await asyncio.sleep(0.05)
    start = time.perf_counter()
    while len(decider.times) < FIRST_DECISIONS + DECISIONS:
        if len(decider.times) <= FIRST_DECISIONS:
            start, first = time.perf_counter(), len(decider.times)
        while len(decider.began) < in_flight:
            journal.apply(decider.decide())
        decider.done.clear()
        await decider.done.wait()
    spent = time.perf_counter() - start
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return spread(decider.times[first:], spent)


class NoJournal:
    """Answers at once, by the loop: what a decision costs without a disk."""

    def __init__(self, decider: Decider) -> None:
        self._decider = decider

    async def run(self) -> None:
        """Nothing runs."""

    def apply(self, append: Append) -> None:
        """Say that it is durable."""
        asyncio.get_running_loop().call_soon(self._decider.hear, Durable(append.first_lsn))


class BareLink(ThreadLink):
    """A thread that writes whatever has come since the last group into a bare table."""

    def __init__(self, path: str, deliver: Callable[[Message], None]) -> None:
        super().__init__("bare", deliver)
        self._path = path
        self._waiting: list[Append] = []

    def apply(self, append: Append) -> None:
        """Take one."""
        with self.wake:
            self._waiting.append(append)
            self.wake.notify()

    def work(self, post: Callable[[Message], None]) -> None:
        """Write group after group."""
        journal = BareJournal(self._path)
        while True:
            with self.wake:
                self.wake.wait_for(lambda: self._waiting or self.closing)
                group, self._waiting = self._waiting, []
            if not group:
                return journal.close()
            post(Durable(journal.write(group)))


def with_journal(folder: Path, in_flight: int) -> Spread:
    path = str(folder / f"journal-{time.monotonic_ns()}.db")
    return uvloop.run(_release(lambda decider: JournalLink(path, decider.hear), in_flight))


def with_bare_link(folder: Path, in_flight: int) -> Spread:
    path = str(folder / f"bare-{time.monotonic_ns()}.db")
    return uvloop.run(_release(lambda decider: BareLink(path, decider.hear), in_flight))


def without_journal(in_flight: int) -> Spread:
    return uvloop.run(_release(NoJournal, in_flight))


# --- all of it --------------------------------------------------------------------------------------


def rounds(*parts: Callable[[], Spread]) -> list[Spread]:
    """Run the parts in turn, so that each meets the disk in the same moods; return each one's best."""
    found = [[part() for part in parts] for _ in range(ROUNDS)]
    return [best(list(column)) for column in zip(*found, strict=True)]


def main() -> None:
    """Print the ratios."""
    use_decimal_context()
    where = sys.argv[1] if len(sys.argv) > 1 else "."
    with tempfile.TemporaryDirectory(dir=where, prefix="journal-benchmark-") as name:
        folder = Path(name)
        bare, ours = rounds(lambda: bare_append(folder), lambda: journal_append(folder))
        print(f"append + fdatasync           {bare}")
        print(f"one durable commit           {ours}   {ours.p50 / bare.p50:.2f}x   required at most 2")
        bare, ours = rounds(lambda: bare_groups(folder), lambda: journal_groups(folder))
        print(f"bare SQLite, groups of {IN_FLIGHT}    {bare}")
        print(f"journal, groups of {IN_FLIGHT}        {ours}   {ours.p50 / bare.p50:.2f}x")
        for in_flight in (1, IN_FLIGHT):
            none, bare, ours = rounds(
                lambda n=in_flight: without_journal(n),  # type: ignore[misc]
                lambda n=in_flight: with_bare_link(folder, n),  # type: ignore[misc]
                lambda n=in_flight: with_journal(folder, n),  # type: ignore[misc]
            )
            note = "   required at most 1.3" if in_flight > 1 else ""
            print(f"decision to release, {in_flight:2} in flight")
            print(f"    without durability       {none}")
            print(f"    bare SQLite on a thread  {bare}")
            print(f"    the journal              {ours}   {ours.each / bare.each:.2f}x{note}")


if __name__ == "__main__":
    main()
