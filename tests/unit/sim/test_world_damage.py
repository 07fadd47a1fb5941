"""Damage to a copy of the disk: the world's own is untouched, and a loss in silence is seen."""

from __future__ import annotations

from random import Random

import pytest

from tests.unit.sim.checker_bench import epoch
from tests.unit.stores.made import transfers
from tradefan.errors import Refused
from tradefan.sim import damage
from tradefan.sim.damage import copy_of, probe
from tradefan.sim.disk import SimDisk
from tradefan.sim.options import T0
from tradefan.sim.world import World
from tradefan.stores.disk import Disk
from tradefan.stores.journal import JournalFile

JOURNAL = "journal.db"
RECORDS = transfers(40)


def written(disk: SimDisk) -> None:
    """Write forty rows, one commit each, and die."""
    file = JournalFile(JOURNAL, disk=disk)
    for lsn, record in enumerate(RECORDS, 1):
        file.append(lsn, 1, [record])
    disk.crash(power_loss=False)


@pytest.mark.parametrize("seed", range(25))
def test_probe_when_a_copy_is_harmed_then_nothing_is_lost_in_silence(seed: int) -> None:
    """I-46 holds of the journal as it is, and the disk that the world goes on with keeps its bytes."""
    disk = SimDisk(seed)
    written(disk)
    before = {path: disk.peek(path) for path in disk.paths()}
    _, violation = probe(disk, JOURNAL, RECORDS, {}, Random(seed), 7)
    assert violation is None
    assert {path: disk.peek(path) for path in disk.paths()} == before
    disk.close()


@pytest.mark.parametrize("seed", range(6))
def test_probe_when_rows_are_missing_and_nobody_says_so_then_it_is_a_violation(seed: int) -> None:
    """The mutant: a journal whose mark file was lost with its last rows looks whole."""
    disk, rng = SimDisk(seed), Random(seed)
    written(disk)
    more = (*RECORDS, *transfers(1, first=41))
    found = [probe(disk, JOURNAL, more, {}, rng, 7)[1] for _ in range(8)]
    broken = [one for one in found if one is not None]
    assert broken
    assert {one.invariant for one in broken} == {"I-46"}
    assert "of which 40 are those acknowledged" in broken[0].found
    disk.close()


@pytest.mark.parametrize(
    ("code", "violated"), [("JOURNAL_DAMAGED", True), ("JOURNAL_NEWER", False), ("JOURNAL_OLDER", False)]
)
def test_probe_when_a_loss_cannot_be_accepted_then_it_is_a_violation(
    monkeypatch: pytest.MonkeyPatch, code: str, *, violated: bool
) -> None:
    """The mutant: a journal that `--accept-loss` does not open. What another program wrote stays refused."""

    class Stubborn(JournalFile):
        def __init__(self, path: str, *, disk: Disk, accept_loss: bool = False) -> None:
            if accept_loss:
                raise Refused(code, "expected another one")
            super().__init__(path, disk=disk)

    monkeypatch.setattr(damage, "JournalFile", Stubborn)
    disk, rng = SimDisk(1), Random(1)
    written(disk)
    found = [probe(disk, JOURNAL, RECORDS, {}, rng, 7)[1] for _ in range(8)]
    texts = {one.found for one in found if one is not None}
    assert texts == ({f"a loss that cannot be accepted: {code}: expected another one"} if violated else set())
    disk.close()


def test_probe_when_an_epoch_went_with_the_tail_and_is_used_again_then_it_is_a_violation() -> None:
    """The mutant: a mark file that does not know the highest epoch; its row is among those that are lost."""
    disk, rng = SimDisk(2), Random(2)
    written(disk)
    more = (*RECORDS, epoch(9))
    found = [probe(disk, JOURNAL, more, {}, rng, 7)[1] for _ in range(12)]
    texts = {one.found for one in found if one is not None}
    assert "ids of epoch 2 to come, although 9 was used" in texts
    disk.close()


def test_damage_when_power_took_the_mark_then_waits_until_a_start_has_written_one() -> None:
    """Without it nobody can tell a flip in the last row from a write that was cut off."""
    rack = World(1, kinds=()).rack
    rack.open(0, T0)
    rack.crash(power_loss=True)
    assert rack.damage([], Random(1), T0) is None
    rack.open(0, T0)
    rack.crash(power_loss=False)
    assert rack.damage([], Random(1), T0) is not None


def test_copy_when_made_then_every_file_is_there_and_durable() -> None:
    """The copy has what a reader of the original would see, and a power loss takes nothing of it."""
    disk = SimDisk(1)
    written(disk)
    twin = copy_of(disk, 2)
    twin.crash(power_loss=True)
    assert {path: twin.peek(path) for path in twin.paths()} == {
        path: disk.peek(path) for path in disk.paths()
    }
    for one in (disk, twin):
        one.close()
