"""The mark file and the kill byte: small files whose loss or damage never looks like nothing."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from tradefan.errors import Defect
from tradefan.sim.disk import SimDisk
from tradefan.stores.disk import REAL
from tradefan.stores.kill_byte import ALL, OPEN, SOME, KillByteFile, killed
from tradefan.stores.mark import SLOT_BYTES, Mark, MarkFile, epoch_in, marks, new_marks, slot

CHAIN = bytes(range(32))


@pytest.fixture
def disk() -> Iterator[SimDisk]:
    disk = SimDisk(1)
    yield disk
    disk.close()


def mark_file(disk: SimDisk) -> MarkFile:
    return MarkFile(disk.plain("/mark", new_marks(0, bytes(32), 0)))


def test_slot_when_written_then_is_40_bytes_and_says_lsn_and_hash() -> None:
    """The layout that is on disks."""
    assert SLOT_BYTES == 40
    assert marks(slot(7, CHAIN) + slot(9, CHAIN)) == (Mark(7, CHAIN[:24]), Mark(9, CHAIN[:24]))


def test_slot_when_any_bit_is_flipped_then_says_nothing() -> None:
    """A slot is whole or worth nothing."""
    whole = slot(7, CHAIN)
    for bit in range(8 * SLOT_BYTES):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        assert marks(bytes(flipped) + whole) == (None, Mark(7, CHAIN[:24]))
    assert marks(whole[:-1]) == (None, None)


def test_marks_when_put_then_take_the_two_slots_in_turn(disk: SimDisk) -> None:
    """The last mark but one stays whole while the last is being written."""
    file = mark_file(disk)
    seen = []
    for lsn in (1, 2, 3):
        file.put(lsn, CHAIN)
        seen.append(tuple(0 if mark is None else mark.lsn for mark in marks(disk.peek("/mark"))))
    assert seen == [(0, 1), (2, 1), (2, 3)]


@pytest.mark.parametrize(("first", "second", "replaced"), [(5, 4, 1), (4, 5, 0)])
def test_marks_when_read_again_then_the_older_slot_is_the_next(
    disk: SimDisk, first: int, second: int, replaced: int
) -> None:
    """A restart does not overwrite the newest mark."""
    file = MarkFile(disk.plain("/mark", slot(first, CHAIN) + slot(second, CHAIN)))
    file.put(6, CHAIN)
    left = [0 if mark is None else mark.lsn for mark in marks(disk.peek("/mark"))]
    assert (left[replaced], left[1 - replaced]) == (6, 5)


def test_marks_when_one_slot_is_broken_then_that_one_is_the_next(disk: SimDisk) -> None:
    """What is left whole stays so until another is."""
    disk.plain("/mark", slot(5, CHAIN) + slot(6, CHAIN))
    disk.damage("flip", "/mark", at=50)
    file = MarkFile(disk.plain("/mark"))
    assert file.found == (Mark(5, CHAIN[:24]),)
    file.put(7, CHAIN)
    assert [mark and mark.lsn for mark in marks(disk.peek("/mark"))] == [5, 7]


def test_marks_when_power_is_lost_then_one_that_was_synced_or_a_later_one_is_left() -> None:
    """Between two syncs the platter has any of them, never none, never one from before the sync."""
    left = set()
    for seed in range(100):
        disk = SimDisk(seed)
        file = mark_file(disk)
        file.put(1, CHAIN)
        file.sync()
        for lsn in (2, 3, 4):
            file.put(lsn, CHAIN)
        disk.crash(power_loss=True)
        left.add(max(mark.lsn for mark in MarkFile(disk.plain("/mark")).found))
        disk.close()
    assert min(left) >= 1
    assert max(left) == 4


# --- the kill byte ------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [OPEN, SOME, ALL])
def test_kill_byte_when_put_then_survives_power_loss(disk: SimDisk, value: int) -> None:
    """It is synced before anybody is told."""
    KillByteFile(disk, "/kill").put(ALL)
    KillByteFile(disk, "/kill").put(value)
    disk.crash(power_loss=True)
    assert KillByteFile(disk, "/kill").value == value


def test_kill_byte_when_one_bit_is_flipped_then_is_never_open_where_it_was_closed() -> None:
    """A byte that is none of ours closes everything."""
    for content in (b"\x3c", b"\xff"):
        for bit in range(8):
            assert killed(bytes([content[0] ^ 1 << bit])) != OPEN
    assert [killed(bytes([1 << bit])) for bit in range(8)] == [ALL] * 8
    assert killed(b"") == ALL


def test_kill_byte_when_the_disk_fails_then_says_so_and_the_next_try_counts(disk: SimDisk) -> None:
    """The descriptor whose sync failed is not believed again."""
    byte = KillByteFile(disk, "/kill")
    disk.fail("EIO", "sync")
    with pytest.raises(OSError, match="Input/output error"):
        byte.put(ALL)
    assert byte.value == OPEN
    byte.put(ALL)
    disk.crash(power_loss=True)
    assert KillByteFile(disk, "/kill").value == ALL


def test_kill_byte_when_it_cannot_be_made_then_is_open_until_it_can(disk: SimDisk) -> None:
    """A disk that is full at the first start does not keep the journal from opening."""
    disk.fail("ENOSPC", "write")
    byte = KillByteFile(disk, "/kill")
    assert byte.value == OPEN
    byte.put(SOME)
    assert KillByteFile(disk, "/kill").value == SOME


def test_kill_byte_when_asked_for_another_value_then_is_a_defect(disk: SimDisk) -> None:
    """There are three."""
    with pytest.raises(Defect, match="not 3"):
        KillByteFile(disk, "/kill").put(3)


# --- the real disk ------------------------------------------------------------------------------


def test_real_disk_when_a_small_file_is_made_then_is_read_and_overwritten_in_place(tmp_path: Path) -> None:
    """What the simulated disk does, on the machine's own."""
    path = str(tmp_path / "f")
    with pytest.raises(FileNotFoundError):
        REAL.plain(path)
    file = REAL.plain(path, b"0123")
    file.write(1, b"XY")
    file.sync()
    file.close()
    file.close()
    again = REAL.plain(path, b"other")
    assert (again.read(), REAL.exists(path)) == (b"0XY3", True)
    again.close()
    REAL.rename(path, path + "2")
    assert (REAL.exists(path), REAL.exists(path + "2")) == (False, True)


def test_real_disk_when_a_file_was_closed_then_is_not_written_to_a_stranger(tmp_path: Path) -> None:
    """Its number may be another file's by then."""
    file = REAL.plain(str(tmp_path / "f"), b"0123")
    file.close()
    with pytest.raises(OSError) as caught:
        file.write(0, b"x")
    assert caught.value.errno == errno.EBADF


def test_epoch_when_put_then_it_is_on_the_platter_and_the_marks_stay(disk: SimDisk) -> None:
    """The third slot; a file of before has none, and one that is broken says nothing."""
    file = MarkFile(disk.plain("/mark", slot(4, CHAIN) + slot(5, CHAIN)))
    assert file.epoch is None
    file.put_epoch(7)
    file.put(6, CHAIN)
    disk.crash(power_loss=True)
    again = MarkFile(disk.plain("/mark"))
    assert (again.epoch, again.found[-1].lsn in (4, 5), len(disk.peek("/mark"))) == (7, True, 3 * SLOT_BYTES)
    for bit in range(8 * SLOT_BYTES):
        flipped = bytearray(disk.peek("/mark"))
        flipped[2 * SLOT_BYTES + bit // 8] ^= 1 << bit % 8
        assert epoch_in(bytes(flipped)) is None
