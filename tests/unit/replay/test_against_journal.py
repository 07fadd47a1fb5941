"""A replay's records against the journal's rows: only what was durable is held against it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.stores.made import transfers
from tradefan.errors import Refused
from tradefan.messages.base import Message
from tradefan.messages.control import Append, Durable, Rows
from tradefan.messages.records import Epoch
from tradefan.replay.against_journal import AgainstJournal
from tradefan.replay.player import Diverged, Played
from tradefan.stores.journal import JournalFile
from tradefan.units import Ref

JOURNAL = Ref(10)
OURS = transfers(5)
OTHER = transfers(1, 9)[0]


@pytest.fixture
def against(tmp_path: Path) -> Iterator[AgainstJournal]:
    """Five rows, the first of them an EPOCH."""
    file = JournalFile(str(tmp_path / "journal.db"))
    file.append(1, 1, (Epoch(0, 1, "abc", "c", "1"), *OURS[1:]))
    file.close()
    with AgainstJournal(tmp_path / "journal.db", JOURNAL, "abc") as made:
        yield made


def step(*ingress: Message, appended: tuple[int, tuple[object, ...]] | None = None) -> Played:
    effects = [] if appended is None else [(JOURNAL, Append(appended[0], 1, appended[1]))]  # type: ignore[arg-type]
    return Played(7, 70, [(Ref(3), msg) for msg in ingress], list(effects), [])


def test_record_when_it_was_durable_then_compared_up_to_that_one(against: AgainstJournal) -> None:
    """What came behind may be another life's row; what differs up to it is named with both values."""
    against.look(step(appended=(2, OURS[1:4])))
    against.look(step(Durable(2)))
    assert against.equal == 1
    against.look(step(Durable(4)))
    assert against.equal == 3
    against.look(step(appended=(5, (OTHER,))))
    with pytest.raises(Diverged) as raised:
        against.look(step(Durable(5)))
    found = raised.value.divergence
    assert found.what == "record 5 of the journal"
    assert (found.recorded, found.replayed) == (repr(OURS[4]), repr(OTHER))


def test_record_when_the_journal_ends_before_it_then_said_so(against: AgainstJournal) -> None:
    """It was durable then: somebody has taken rows away."""
    against.look(step(appended=(6, (OTHER,))))
    with pytest.raises(Diverged, match="record 6: recorded the journal ends at 5"):
        against.look(step(Durable(6)))


def test_records_when_an_order_manager_begins_anew_then_only_what_it_was_told_counts(
    against: AgainstJournal,
) -> None:
    """What its predecessor had appended beyond the rows was never written, and its numbers are used again."""
    against.look(step(appended=(2, (OURS[1],))))
    against.look(step(appended=(3, (OTHER, OTHER))))
    against.look(step(Durable(2)))
    against.look(step(Rows(2, (), 2)))
    against.look(step(appended=(3, OURS[2:4])))
    assert against.equal == 1
    against.look(step(Durable(4)))
    assert against.equal == 3


def test_durable_when_it_is_of_before_the_fold_then_forgotten(against: AgainstJournal) -> None:
    """A journal that lost its tail begins again below what was once durable."""
    against.look(step(Durable(5)))
    against.look(step(Rows(2, (), 2)))
    against.look(step(appended=(3, (OTHER,))))
    assert against.equal == 0


def test_journal_when_it_is_of_another_instance_then_refused(against: AgainstJournal, tmp_path: Path) -> None:
    """Its numbers say nothing about ours."""
    with pytest.raises(Refused, match=r"OTHER_JOURNAL: .* expected the journal of instance xyz, found abc's"):
        AgainstJournal(tmp_path / "journal.db", JOURNAL, "xyz")
