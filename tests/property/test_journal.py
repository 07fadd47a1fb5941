"""The journal gives back what it acknowledged, however it was cut into groups, restarts and damage."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.stores.made import transfers
from tradefan.errors import Refused
from tradefan.messages.control import Append, Durable, Fold, Rows
from tradefan.stores.journal import JournalFile
from tradefan.stores.journal_link import JournalMachine

GROUPS = st.lists(st.integers(0, 4), max_size=12)


def appends(sizes: list[int]) -> list[Append]:
    """Appends of the given sizes, numbered on."""
    made: list[Append] = []
    first = 1
    for size in sizes:
        made.append(Append(first, 1, transfers(size, first)))
        first += size
    return made


@pytest.mark.slow
@given(sizes=GROUPS, cuts=st.lists(st.booleans(), min_size=12, max_size=12), bytes_max=st.integers(1, 200))
def test_fold_when_written_in_any_groups_and_reopened_anywhere_then_equals_the_appends(
    sizes: list[int], cuts: list[bool], bytes_max: int
) -> None:
    """What a group returned as durable is there, in order, after any number of starts."""
    with TemporaryDirectory() as folder:
        path = str(Path(folder) / "journal.db")
        file, waiting = JournalFile(path), appends(sizes)
        for cut in cuts:
            durable = file.write(waiting, bytes_max)
            waiting = [one for one in waiting if one.first_lsn + len(one.records) - 1 > durable]
            if cut:
                file.close()
                file = JournalFile(path)
                assert file.fold() == (transfers(durable), durable)
        file.write(waiting, 2**20)
        assert file.fold() == (transfers(sum(sizes)), sum(sizes))
        file.close()


@pytest.mark.failure("ST-06")
@given(
    count=st.integers(1, 6),
    place=st.integers(0, 5),
    column=st.sampled_from(["at_ns", "epoch", "payload", "chain"]),
    bit=st.integers(0, 7),
    offset=st.integers(0, 200),
)
def test_fold_when_one_bit_of_a_row_is_flipped_then_is_refused_at_its_lsn(
    count: int, place: int, column: str, bit: int, offset: int
) -> None:
    """No bit of a row can change without the fold stopping there."""
    lsn = place % count + 1
    file = JournalFile(":memory:")
    file.append(1, 1, transfers(count))
    flip(file.base.db, lsn, column, bit, offset)
    with pytest.raises(Refused, match=f"at lsn {lsn}:"):
        file.fold()
    file.close()


def flip(db: apsw.Connection, lsn: int, column: str, bit: int, offset: int) -> None:
    value = db.execute(f"SELECT {column} FROM journal WHERE lsn = ?", (lsn,)).get
    if isinstance(value, int):
        changed: int | bytes = value ^ (1 << bit)
    else:
        raw = bytearray(value)
        raw[offset % len(raw)] ^= 1 << bit
        changed = bytes(raw)
    db.execute(f"UPDATE journal SET {column} = ? WHERE lsn = ?", (changed, lsn))


@given(
    sizes=GROUPS,
    commit_ns=st.integers(0, 5),
    gaps=st.lists(st.integers(0, 7), min_size=12, max_size=12),
    limit=st.integers(1, 3),
)
def test_machine_when_folded_at_any_instant_then_gives_every_record_once(
    sizes: list[int], commit_ns: int, gaps: list[int], limit: int
) -> None:
    """Durable is cumulative and bounded by what came; a fold never misses or doubles a record."""
    machine = JournalMachine(JournalFile(":memory:"), commit_ns)
    now_ns, came, durable = 0, 0, 0
    for gen, (append, gap) in enumerate(zip(appends(sizes), gaps, strict=False)):
        machine.apply(now_ns, append)
        came += len(append.records)
        machine.apply(now_ns, Fold(gen))
        now_ns += gap
        for message in machine.take(now_ns, limit):
            if isinstance(message, Durable):
                assert durable <= message.lsn <= came
                durable = message.lsn
    answers: list[Rows] = []
    while (due := machine.next_ns()) is not None:
        now_ns = max(now_ns, due)
        answers += [message for message in machine.take(now_ns, limit) if isinstance(message, Rows)]
    machine.apply(now_ns, Fold(99))
    answers += [message for message in machine.take(now_ns, 99) if isinstance(message, Rows)]
    assert answers[-1] == Rows(99, transfers(came), came, epoch=1 if came else 0)
    assert all(answer.records == transfers(len(answer.records)) for answer in answers)
    machine.close()
