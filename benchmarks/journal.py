"""The journal's commit against bare append + fdatasync, its groups against bare SQLite, and what it adds.

All figures of one run come from one disk and one process. What is compared takes turns, one commit or one
block of decisions each, so that a processor or disk whose speed changes from second to second changes it
for all; ratios are of medians, and of means in all, printed and not judged. Groups are measured twice: as
transactions of a fixed size, and with decisions in flight, all of a window decided before the loop looks
for answers.
What is timed is timed behind the first checkpoint, ours and SQLite's own: from then on the WAL is
overwritten and no longer grows, which is all of a daemon's life but its first minutes.
Run: .venv/bin/python benchmarks/journal.py [DIRECTORY] (a directory on the disk to measure)
"""

from __future__ import annotations

import asyncio
import gc
import os
import statistics
import sys
import tempfile
import time
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

IN_FLIGHT = 64
COMMITS, GROUPS = 2_000, 600
BLOCK = 10
"""Windows of decisions one behind the other, before it is the next one's turn."""
BLOCKS = {1: 200, IN_FLIGHT: 60}
"""Decisions in flight, and how many such blocks are timed."""
FIRST_COMMITS, FIRST_GROUPS = 1_100, 200
FIRST_BLOCKS = {1: 110, IN_FLIGHT: 20}
"""So many are not timed: they fill the WAL, a thousand pages, for the first time."""
ENCODE = msgspec.msgpack.Encoder().encode


class Spread(NamedTuple):
    """Seconds of one turn: half are below the first, all but a hundredth below the second.

    `each` is the mean of one of the records in it.
    """

    p50: float
    p99: float
    each: float

    def __str__(self) -> str:
        """Return the percentiles in microseconds, and how many records there are in a second."""
        return f"p50 {self.p50 * 1e6:7.1f} us, p99 {self.p99 * 1e6:7.1f} us, {1 / self.each:7.0f}/s"


def spread(times: list[float], count: int = 1) -> Spread:
    """Return the spread of turns of so many records each."""
    cuts = statistics.quantiles(times, n=100)
    return Spread(cuts[49], cuts[98], sum(times) / len(times) / count)


def in_turn(first: int, turns: int, count: int, *parts: Callable[[], float]) -> list[Spread]:
    """Let parts take turns; each returns the seconds of one, and the first ones do not count."""
    found = [[part() for part in parts] for _ in range(first + turns)]
    return [spread(list(column[first:]), count) for column in zip(*found, strict=True)]


def timed(work: Callable[[], object]) -> float:
    """Return how long something takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


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


def single(folder: Path) -> list[Spread]:
    """Append what a row holds to a file and sync it; encode, chain, commit and mark a row."""
    content = ENCODE(intent(1)) + bytes(32)
    bare = os.open(folder / "bare.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    journal = JournalFile(str(folder / "single.db"))

    def append() -> None:
        os.write(bare, content)
        os.fdatasync(bare)

    def commit(record: Intent) -> None:
        # The WAL's way into the file is in the times.
        journal.append(record.sequence, 1, (record,))
        journal.base.checkpoint()

    def next_commit() -> float:
        record = intent(journal.last_lsn + 1)
        return timed(lambda: commit(record))

    found = in_turn(FIRST_COMMITS, COMMITS, 1, lambda: timed(append), next_commit)
    os.close(bare)
    journal.close()
    return found


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


def group_behind(last: int) -> list[Append]:
    """Return 64 Appends of one record each."""
    return [Append(lsn, 1, (intent(lsn),)) for lsn in range(last + 1, last + 1 + IN_FLIGHT)]


def groups(folder: Path) -> list[Spread]:
    """Write the same groups into a bare table and into a journal."""
    bare, journal = BareJournal(str(folder / "bare.db")), JournalFile(str(folder / "groups.db"))

    def commit(appends: list[Append]) -> None:
        journal.write(appends)
        journal.base.checkpoint()

    def next_bare() -> float:
        appends = group_behind(bare.last)
        return timed(lambda: bare.write(appends))

    def next_ours() -> float:
        appends = group_behind(journal.last_lsn)
        return timed(lambda: commit(appends))

    found = in_turn(FIRST_GROUPS, GROUPS, IN_FLIGHT, next_bare, next_ours)
    bare.close()
    journal.close()
    return found


# --- from decision to release -----------------------------------------------------------------------


class Decider:
    """The heart of an OMS turn: fold the record, put the effect, and let it out when it may leave."""

    def __init__(self) -> None:
        self.trading = Trading()
        self.box = Outbox()
        self.left = 0
        self.done = asyncio.Event()

    def decide(self) -> Append:
        """Make one decision; return what is to be written."""
        lsn = self.trading.lsn + 1
        record = intent(lsn)
        apply(self.trading, record)
        put(self.box, lsn, Answer(lsn, ()))
        self.left += 1
        return Append(lsn, 1, (record,))

    def hear(self, message: Message) -> None:
        """Let out what is durable."""
        if isinstance(message, Durable):
            confirm(self.box, message.lsn)
            self.left -= len(release(self.box))
            if not self.left:
                self.done.set()


async def block(decider: Decider, journal: Any, in_flight: int) -> float:
    """Decide so often and wait until all of it may leave, again and again; return the seconds of one window.

    What a thread does behind its answer, the next window waits for.
    """
    start = time.perf_counter()
    for _ in range(BLOCK):
        decider.done.clear()
        for _ in range(in_flight):
            journal.apply(decider.decide())
        await decider.done.wait()
    return (time.perf_counter() - start) / BLOCK


async def release_all(folder: Path, in_flight: int) -> list[Spread]:
    """Let blocks without a journal, with a bare table and with the journal take turns."""
    deciders = [Decider(), Decider(), Decider()]
    links: list[Any] = [
        NoJournal(deciders[0]),
        BareLink(str(folder / f"bare-{in_flight}.db"), deciders[1].hear),
        JournalLink(str(folder / f"journal-{in_flight}.db"), deciders[2].hear),
    ]
    running = [asyncio.ensure_future(link.run()) for link in links]
    await asyncio.sleep(0.1)
    found = []
    for _ in range(FIRST_BLOCKS[in_flight] + BLOCKS[in_flight]):
        turn = []
        for decider, link in zip(deciders, links, strict=True):
            turn.append(await block(decider, link, in_flight))
            # The last window's rest is not to be in the next one's time.
            await asyncio.sleep(0.001)
        found.append(turn)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    return [spread(list(column[FIRST_BLOCKS[in_flight] :]), in_flight) for column in zip(*found, strict=True)]


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


# --- all of it --------------------------------------------------------------------------------------


def main() -> None:
    """Print the ratios."""
    use_decimal_context()
    # Three order managers that forget nothing: looking through them takes half a second of anybody's turn.
    gc.disable()
    where = sys.argv[1] if len(sys.argv) > 1 else "."
    with tempfile.TemporaryDirectory(dir=where, prefix="journal-benchmark-") as name:
        folder = Path(name)
        bare, ours = single(folder)
        print(f"append + fdatasync           {bare}")
        print(f"one durable commit           {ours}   {ours.p50 / bare.p50:.2f}x   required at most 2")
        bare, ours = groups(folder)
        print(f"bare SQLite, groups of {IN_FLIGHT}    {bare}")
        print(f"journal, groups of {IN_FLIGHT}        {ours}   {ours.p50 / bare.p50:.2f}x")
        for in_flight in (1, IN_FLIGHT):
            none, bare, ours = uvloop.run(release_all(folder, in_flight))
            note = f" ({ours.each / bare.each:.2f}x in all)" + "   required at most 1.3" * (in_flight > 1)
            print(f"decision to release, {in_flight:2} in flight")
            print(f"    without durability       {none}")
            print(f"    bare SQLite on a thread  {bare}")
            print(f"    the journal              {ours}   {ours.p50 / bare.p50:.2f}x{note}")


if __name__ == "__main__":
    main()
