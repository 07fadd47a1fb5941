"""Crashes, power losses and failing disks at any call: nothing that was acknowledged is ever lost."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import apsw
import pytest

from tests.unit.stores.made import transfers
from tradefan.errors import Refused
from tradefan.messages.base import Message
from tradefan.messages.control import (
    Append,
    Durable,
    Fold,
    JournalFailed,
    JournalWorks,
    KillByte,
    KillByteSet,
    Rows,
    Snap,
)
from tradefan.sim.disk import SimDisk
from tradefan.stores import journal_base
from tradefan.stores.journal import JournalFile
from tradefan.stores.journal_base import CHECKPOINT_FRAMES
from tradefan.stores.journal_link import JournalMachine
from tradefan.units import MS, SECOND

PATH = "/j.db"


class Died(BaseException):
    """The process ends inside a disk call."""


class Lost(AssertionError):
    """What was acknowledged is not there."""


def state(lsn: int) -> bytes:
    """The state as of an lsn, of a page or of several."""
    return b"%d " % lsn * (1 + 2_000 * (lsn % 2))


class Life:
    """A journal over many processes: what it acknowledged, and what every new process finds."""

    def __init__(self, seed: int, disk: SimDisk) -> None:
        self.chance = random.Random(seed)
        self.disk = disk
        self.seen = Counter[str]()
        self.now_ns = 0
        self.durable = 0
        self.killed = {0}
        self.asked: list[tuple[int, int]] = []

    def cycle(self) -> None:
        """One process: it starts, works with or without trouble, and dies at a call or between two."""
        left = self.chance.choice((self.chance.randrange(1, 60), 10**9))

        def count(_operation: str, _path: str) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise Died

        self.disk.on_call = count
        try:
            self._work()
            self.seen["between calls"] += 1
        except Died:
            self.seen["at a call"] += 1
        self.disk.on_call = None
        self.disk.heal()
        power_loss = self.chance.random() < 0.6
        self.seen["power loss" if power_loss else "kill"] += 1
        self.disk.crash(power_loss=power_loss)

    def _work(self) -> None:
        machine = JournalMachine(JournalFile(PATH, disk=self.disk), lambda: self.chance.randrange(5) * MS)
        machine.apply(self.now_ns, Fold(1))
        (rows,) = (message for message in self._hear(machine, 1) if isinstance(message, Rows))
        last = self._check(rows)
        for number in range(self.chance.randrange(40)):
            last = self._act(machine, last, number)
            self._hear(machine, self.chance.randrange(3) * MS)
        self.disk.heal()
        self._hear(machine, 3 * SECOND)
        if self.durable != last:
            raise Lost(f"expected {last} to become durable when the disk is well, found {self.durable}")

    def _act(self, machine: JournalMachine, last: int, number: int) -> int:
        what = self.chance.random()
        if what < 0.75:
            count = self.chance.choice((1, 1, 2, 5, 60))
            machine.apply(self.now_ns, Append(last + 1, 1, transfers(count, last + 1)))
            return last + count
        if what < 0.85:
            machine.apply(self.now_ns, Snap(last, state(last)))
        elif what < 0.92:
            wish = self.chance.randrange(3)
            self.killed.add(wish)
            self.asked.append((number, wish))
            machine.apply(self.now_ns, KillByte(wish, number))
        else:
            kind, on = self.chance.choice((("EIO", "sync"), ("EIO", "write"), ("ENOSPC", "write")))
            times = self.chance.choice((1, None))
            self.disk.fail(kind, on, after=self.chance.randrange(6), times=times)  # type: ignore[arg-type]
            self.seen[f"{kind} on {on}, {'once' if times else 'always'}"] += 1
        return last

    def _hear(self, machine: JournalMachine, for_ns: int) -> list[Message]:
        until_ns, heard = self.now_ns + for_ns, list[Message]()
        while (due := machine.next_ns()) is not None and due <= until_ns:
            self.now_ns = max(self.now_ns, due)
            heard += machine.take(self.now_ns, 99)
        self.now_ns = until_ns
        for message in heard:
            self.seen[type(message).__name__] += 1
            if isinstance(message, Durable):
                self.durable = max(self.durable, message.lsn)
            elif isinstance(message, KillByteSet):
                self._hear_killed(message)
        return heard

    def _hear_killed(self, message: KillByteSet) -> None:
        """From a good answer on it is that value, or one that was asked for behind it."""
        if message.error is None:
            behind = [value for serial, value in self.asked if serial > message.serial]
            self.killed = {message.value, *behind}

    def _check(self, rows: Rows) -> int:
        """See that a fold has all that was acknowledged, whole and in order."""
        last = rows.snapshot_lsn + len(rows.records)
        if last < self.durable:
            raise Lost(f"expected rows up to {self.durable}, found {last}")
        assert rows.records == transfers(len(rows.records), rows.snapshot_lsn + 1)
        assert rows.snapshot == (state(rows.snapshot_lsn) if rows.snapshot else None)
        assert rows.killed in self.killed
        self.killed = {rows.killed}
        self.asked.clear()
        self.seen["from a snapshot" if rows.snapshot else "from the first row"] += 1
        if not rows.failing:
            self.durable = rows.durable
        return last


def live(seed: int, cycles: int, disk: SimDisk | None = None) -> Counter[str]:
    """Let a journal live through so many processes; say what it has seen."""
    life = Life(seed, SimDisk(seed) if disk is None else disk)
    try:
        for _ in range(cycles):
            life.cycle()
    finally:
        life.disk.close()
    return life.seen


@pytest.mark.failure("ST-05")
@pytest.mark.parametrize("frames", [4, CHECKPOINT_FRAMES])
def test_journal_when_it_dies_at_any_call_then_every_acknowledged_row_is_there(
    monkeypatch: pytest.MonkeyPatch, frames: int
) -> None:
    """400 processes: kills and power losses, disks that are full or fail, once and for ever.

    Half of them bring the WAL into the file all the time.
    """
    monkeypatch.setattr(journal_base, "CHECKPOINT_FRAMES", frames)
    seen = Counter[str]()
    for seed in range(5):
        seen += live(seed, 40)
    rare = [what for what in EXPECTED if seen[what] < 4]
    assert rare == [], dict(seen)


EXPECTED = (
    "at a call",
    "between calls",
    "power loss",
    "kill",
    "EIO on sync, once",
    "EIO on sync, always",
    "EIO on write, once",
    "EIO on write, always",
    "ENOSPC on write, once",
    "ENOSPC on write, always",
    "from a snapshot",
    "from the first row",
    "Durable",
    "JournalFailed",
    "KillByteSet",
)
assert {JournalFailed.__name__, Durable.__name__} < set(EXPECTED)
assert JournalWorks.__name__ not in EXPECTED


class Normal(apsw.Connection):
    """A connection that never takes `synchronous=FULL`."""

    def pragma(self, name: str, *value: Any, schema: str | None = None) -> Any:
        return super().pragma(name, *(("normal",) if name == "synchronous" else value), schema=schema)


def test_journal_when_synchronous_is_normal_then_loses_acknowledged_rows_and_this_is_seen() -> None:
    """The proof that these cycles can fail: the mark or the rows themselves tell."""
    caught = 0
    for seed in range(10):
        disk = SimDisk(seed)
        disk.connection = Normal
        try:
            live(seed, 20, disk)
        except Lost:
            caught += 1
        except Refused as error:
            caught += "which its mark file names" in error.text
    assert caught >= 8


@pytest.mark.parametrize("seed", [1, 2])
def test_journal_when_lived_twice_with_one_seed_then_sees_the_same(seed: int) -> None:
    """Same seed, same outcome: a failure can be run again."""
    assert live(seed, 8) == live(seed, 8)
