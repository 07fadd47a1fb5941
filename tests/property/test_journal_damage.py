"""I-46: a cut or a flip at any byte ends in all rows, in a refusal, or in a loss that is reported."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Literal

import pytest

from tests.unit.stores.made import fill_record, transfers
from tradefan.errors import Refused
from tradefan.messages.base import Message
from tradefan.messages.control import AskHistory, ChainBroken, Fold, History, Rows, Snap
from tradefan.messages.records import (
    Record,
)
from tradefan.messages.work import (
    ParentFailed,
)
from tradefan.sim.disk import SimDisk
from tradefan.stores.journal import JournalFile
from tradefan.stores.journal_layout import subject_of
from tradefan.stores.journal_link import JournalMachine
from tradefan.units import SECOND, ParentId

WHOLE = os.environ.get("TRADEFAN_CHAOS") == "whole"
pytestmark = pytest.mark.slow

PATH = "/j.db"
ENDS = ("all rows", "refused JOURNAL_DAMAGED", "reported")
RARE = {"flip refused JOURNAL_NEWER"}
RECORDS: tuple[Record, ...] = (
    # Two rows of a page each, so that old rows lie where the WAL has no newer page.
    ParentFailed(1, ParentId("p1"), "text " * 700),
    ParentFailed(2, ParentId("p2"), "text " * 700),
    fill_record(1),
    fill_record(2),
    *transfers(2, 3),
    fill_record(3),
    *transfers(1, 9),
)
SNAPSHOT = 4
STATE = b"the state behind the fourth record"

Damage = tuple[Literal["flip", "cut"], str, int, int]
"""Kind, file, byte, bit."""


def opened(disk: SimDisk, *, accept_loss: bool = False) -> JournalFile:
    """Open the journal; its subjects go into their table two rows at a time."""
    return JournalFile(PATH, disk=disk, accept_loss=accept_loss, subjects_at_once=2)


def made() -> dict[str, bytes]:
    """Return the files of a small journal as a kill leaves them: half in the WAL, with a snapshot."""
    disk = SimDisk(1)
    file = opened(disk)
    file.append(1, 1, RECORDS[:3])
    file.close()
    file = opened(disk)
    file.append(4, 1, RECORDS[3:4])
    file.write((), snap=Snap(SNAPSHOT, STATE))
    file.append(5, 1, RECORDS[4:7])
    file.append(8, 2, RECORDS[7:])
    found = {path: disk.peek(path) for path in disk.paths()}
    disk.crash(power_loss=False)
    disk.close()
    return found


FILES = made()

LONG: tuple[Record, ...] = tuple(
    record
    for number in range(1, 111)
    for record in (
        fill_record(number),
        *transfers(1, number),
        ParentFailed(number, ParentId(f"p{number}"), "t" * (9_000 if number % 40 == 0 else number)),
    )
)


def made_long(*, killed: bool) -> dict[str, bytes]:
    """Return the files of 330 rows: trees of several levels, pages chained and free, three snapshots."""
    disk = SimDisk(1)
    file = opened(disk)
    for first in range(1, len(LONG), 11):
        file.append(first, 1 + first // 150, LONG[first - 1 : first + 10])
        if first % 100 == 1:
            file.write((), snap=Snap(first + 5, b"state" * 2_000))
        if first == 254:
            file.close()
            file = opened(disk)
    if not killed:
        file.close()
    found = {path: disk.peek(path) for path in disk.paths()}
    disk.crash(power_loss=False)
    disk.close()
    return found


def damages(step: int, offset: int, files: dict[str, bytes] = FILES, mark_step: int = 1) -> Iterator[Damage]:
    """Yield a flip and a cut at every `step`-th byte of each file, the bits in turn; of the mark, all."""
    for path, content in files.items():
        stride = mark_step if path.endswith(".mark") else step
        for at in range(offset % stride, len(content), stride):
            for bit in range(8) if stride == 1 and step > 1 else (at // stride % 8,):
                yield "flip", path, at, bit
            yield "cut", path, at, 0


def outcome(damage: Damage) -> str:
    """Damage the journal and start: say how it ended, and fail where something is wrong in silence."""
    kind, path, at, bit = damage
    disk = SimDisk(2)
    try:
        for name, content in FILES.items():
            disk.plain(name, content)
        disk.damage(kind, path, at=at, bit=bit)
        try:
            machine = JournalMachine(opened(disk))
            heard = ask(machine)
        except Refused as error:
            return f"refused {error.code}"
        return judge(heard)
    finally:
        disk.close()


def accepted(damage: Damage, files: dict[str, bytes] = FILES, records: tuple[Record, ...] = RECORDS) -> str:
    """Damage the journal and accept what that does: it opens, goes on, and says what is lost."""
    kind, path, at, bit = damage
    disk = SimDisk(2)
    try:
        for name, content in files.items():
            disk.plain(name, content)
        disk.damage(kind, path, at=at, bit=bit)
        file = opened(disk, accept_loss=True)
        found, lost = file.recover(), file.lost()
        assert found.records == records[found.snapshot_lsn : found.last_lsn]
        assert lost or found.last_lsn == len(records)
        file.append(found.last_lsn + 1, 3, transfers(2, 50))
        file.write((), snap=Snap(found.last_lsn + 1, b"state" * 4_000))
        disk.crash(power_loss=True)
        again = opened(disk)
        assert again.recover().records == transfers(1, 51)
        return "loss" if lost else "nothing lost"
    finally:
        disk.close()


def ask(machine: JournalMachine) -> list[Message]:
    """Fold, look every trade up, and let the background verification come to its end."""
    machine.apply(0, Fold(1))
    for subject in subjects():
        machine.apply(0, AskHistory(subject))
    heard = machine.take(0, 99)
    while (due := machine.next_ns()) is not None and due < 9 * SECOND:
        heard += machine.take(due, 99)
    return heard


def subjects() -> list[str]:
    return [subject for record in RECORDS if (subject := subject_of(record)) is not None]


def judge(heard: list[Message]) -> str:
    (rows,) = (message for message in heard if isinstance(message, Rows))
    if rows.lost or any(isinstance(message, ChainBroken) for message in heard):
        return "reported"
    assert rows.records == RECORDS[rows.snapshot_lsn :]
    assert (rows.snapshot, rows.snapshot_lsn) in {(STATE, SNAPSHOT), (None, 0)}
    answers = [message for message in heard if isinstance(message, History)]
    assert [(answer.subject, answer.records) for answer in answers] == [
        (subject, tuple(record for record in RECORDS if subject_of(record) == subject))
        for subject in subjects()
    ]
    return "all rows"


def check(step: int, offset: int = 0, how: Callable[[Damage], str] = outcome) -> Counter[str]:
    found = Counter[str]()
    for damage in damages(step, offset):
        try:
            found[f"{damage[0]} {how(damage)}"] += 1
        except Exception as error:
            raise AssertionError(f"{damage}: {error!r}") from error
    return found


@pytest.mark.failure("ST-06")
def test_start_when_a_byte_was_flipped_or_the_file_cut_then_is_never_wrong_in_silence() -> None:
    """All bits of the mark, and a sample of the other files' bytes."""
    found = check(step=97)
    assert set(found) - RARE == {f"{kind} {how}" for kind in ("flip", "cut") for how in ENDS}


@pytest.mark.failure("ST-06")
def test_accept_when_a_byte_was_flipped_or_the_file_cut_then_opens_goes_on_and_says_what_is_lost() -> None:
    """`--accept-loss` overrides every refusal, and no row goes without a word."""
    found = check(step=397, how=accepted)
    assert set(found) == {f"{kind} {end}" for kind in ("flip", "cut") for end in ("loss", "nothing lost")}


@pytest.mark.failure("ST-06")
@pytest.mark.slow
@pytest.mark.parametrize("killed", [True, False])
def test_accept_when_a_long_journal_was_harmed_then_opens_goes_on_and_says_what_is_lost(
    *, killed: bool
) -> None:
    """Trees of several levels: half of one leads to other rows from one end than from the other."""
    files, found = made_long(killed=killed), Counter[str]()
    for damage in damages(1_499, 0, files, mark_step=7):
        # The version of the layout is in these bytes: another one is another program's file.
        if damage[:2] != ("flip", PATH) or not 60 <= damage[2] < 64:
            found[f"{damage[0]} {accepted(damage, files, LONG)}"] += 1
    assert found["cut loss"] > found["cut nothing lost"]
    assert found["flip loss"]


@pytest.mark.failure("ST-06")
@pytest.mark.slow
@pytest.mark.chaos
@pytest.mark.parametrize("offset", [0] if WHOLE else [0, 5])
def test_start_when_any_byte_was_flipped_or_the_file_cut_there_then_is_never_wrong_in_silence(
    offset: int,
) -> None:
    """A tenth of all bytes of database and WAL each; the whole form takes them all, in five minutes."""
    found = check(step=1 if WHOLE else 10, offset=offset)
    assert set(found) - RARE == {f"{kind} {how}" for kind in ("flip", "cut") for how in ENDS}
