"""A journal that is not what it was: refused by name, or taken as it is when an operator says so."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import apsw
import msgspec
import pytest
from msgspec.structs import replace

from tests.unit.actors.oms_bench import Bench
from tests.unit.stores.made import Died, dies_at, fill_record, transfers
from tradefan.core.trading import Trading, apply
from tradefan.errors import Outage, Refused
from tradefan.messages.control import Append, Snap
from tradefan.messages.orders import OrderStatus
from tradefan.messages.records import (
    FillInferred,
)
from tradefan.messages.work import (
    ParentFailed,
)
from tradefan.sim.disk import SimDisk
from tradefan.stores import journal_layout
from tradefan.stores.chain_check import ChainCheck
from tradefan.stores.disk import open_flags
from tradefan.stores.journal import SNAPSHOT_SPACING, JournalFile, check_journal
from tradefan.stores.journal_layout import (
    INSERT_ROW,
    JOURNAL_TABLE,
    JOURNAL_VERSION,
    NO_CHAIN,
    link,
    subject_of,
)
from tradefan.stores.journal_tool import verify
from tradefan.stores.mark import SLOT_BYTES, epoch_in
from tradefan.stores.projection import catch_up
from tradefan.stores.salvage import EPOCHS_UNKNOWN
from tradefan.stores.sqlite import StoreFile
from tradefan.units import ParentId

PATH = "/j.db"
MARK = "/j.db.mark"


@pytest.fixture
def disk() -> Iterator[SimDisk]:
    disk = SimDisk(1)
    yield disk
    disk.close()


def journal(disk: SimDisk, rows: int) -> None:
    """Leave a journal behind as a kill does, WAL and all."""
    file = JournalFile(PATH, disk=disk)
    file.append(1, 1, transfers(rows - 1))
    file.append(rows, 1, transfers(1, rows))
    file.base.sync_mark()
    disk.crash(power_loss=False)


def altered(disk: SimDisk, sql: str) -> None:
    db = disk.connect(PATH, open_flags(read_only=False))
    db.execute(sql)
    db.close()


def refusal(disk: SimDisk) -> str:
    with pytest.raises(Refused) as caught:
        JournalFile(PATH, disk=disk)
    assert caught.value.code == "JOURNAL_DAMAGED"
    return caught.value.text


# --- the mark -----------------------------------------------------------------------------------


@pytest.mark.failure("ST-04", "ST-06")
def test_open_when_the_wal_is_gone_then_is_refused_and_says_what_was_expected(disk: SimDisk) -> None:
    """A database that was moved without its WAL is whole and shorter: it would go back in time."""
    journal(disk, 5)
    disk.damage("remove", f"{PATH}-wal")
    assert refusal(disk) == (
        "journal /j.db is damaged: expected rows up to lsn 5, which its mark file names, found 0"
    )


def test_open_when_the_mark_is_gone_then_is_refused(disk: SimDisk) -> None:
    """Without it nobody can say that nothing is missing."""
    journal(disk, 5)
    disk.damage("remove", MARK)
    assert "expected /j.db.mark beside it, found none" in refusal(disk)


def test_open_when_no_mark_is_whole_then_is_refused(disk: SimDisk) -> None:
    """Two broken slots are as good as none."""
    journal(disk, 5)
    for at in (3, 43):
        disk.damage("flip", MARK, at=at)
    assert "found none that is whole" in refusal(disk)


def test_open_when_refused_then_the_files_are_left_as_they_are(disk: SimDisk) -> None:
    """An operator may look at them, or put the missing part back."""
    journal(disk, 5)
    disk.plain("/kept", disk.peek(MARK))
    disk.damage("remove", MARK)
    before = {path: disk.peek(path) for path in disk.paths()}
    refusal(disk)
    gc.collect()
    assert {path: disk.peek(path) for path in disk.paths()} == before
    disk.rename("/kept", MARK)
    assert JournalFile(PATH, disk=disk).fold() == (transfers(5), 5)


def test_open_when_one_mark_is_broken_then_the_other_counts(disk: SimDisk) -> None:
    """A power loss may tear the one that was being written."""
    journal(disk, 5)
    disk.damage("flip", MARK, at=3)
    assert JournalFile(PATH, disk=disk).last_lsn == 5


@pytest.mark.failure("ST-04")
def test_open_when_an_old_copy_was_put_back_then_is_refused(disk: SimDisk) -> None:
    """A restored backup of the database alone forgets orders that the venue has."""
    file = JournalFile(PATH, disk=disk)
    file.append(1, 1, transfers(3))
    file.close()
    disk.remember()
    file = JournalFile(PATH, disk=disk)
    file.append(4, 1, transfers(3, 4))
    file.close()
    disk.damage("old", PATH)
    assert "expected rows up to lsn 6, which its mark file names, found 3" in refusal(disk)


@pytest.mark.failure("ST-06")
def test_open_when_the_row_of_the_mark_is_another_then_is_refused(disk: SimDisk) -> None:
    """Another history of the same length is not ours."""
    journal(disk, 5)
    other = SimDisk(2)
    file = JournalFile(PATH, disk=other)
    file.append(1, 2, transfers(9))
    file.close()
    disk.damage("remove", f"{PATH}-wal")
    disk.plain("/other", other.peek(PATH))
    disk.rename("/other", PATH)
    assert "lsn 4: expected chain" in refusal(disk) or "lsn 5: expected chain" in refusal(disk)
    other.close()


@pytest.mark.failure("ST-06")
def test_check_when_the_tail_is_damaged_then_is_refused_before_anything_runs(disk: SimDisk) -> None:
    """What lies before the newest snapshot is for the background; its tail is for the start."""
    file = JournalFile(PATH, disk=disk)
    file.append(1, 1, transfers(6))
    file.write((), snap=Snap(4, b"state"))
    disk.crash(power_loss=False)
    altered(disk, "UPDATE journal SET at_ns = 0 WHERE lsn = 2")
    assert check_journal(PATH, disk=disk) == ""
    altered(disk, "UPDATE journal SET at_ns = 0 WHERE lsn = 5")
    with pytest.raises(Refused, match=r"JOURNAL_DAMAGED: .* at lsn 5: expected chain"):
        check_journal(PATH, disk=disk)
    assert check_journal(PATH, disk=disk, accept_loss=True).startswith("rows 5 to 6: expected chain")
    assert check_journal(PATH, disk=disk).startswith("rows 5 to 6: expected chain")


# --- accepting a loss ---------------------------------------------------------------------------


def accepted(disk: SimDisk) -> tuple[int, str]:
    """Open with what can be believed; return how much that is and what is said to be lost."""
    file = JournalFile(PATH, disk=disk, accept_loss=True)
    records, last = file.fold()
    assert records == transfers(last)
    lost = file.lost()
    disk.crash(power_loss=True)
    again = JournalFile(PATH, disk=disk)
    assert (again.last_lsn, again.lost()) == (last, lost)
    again.append(last + 1, 2, transfers(1, last + 1))
    assert again.lost() == ""
    assert again.fold() == (transfers(last + 1), last + 1)
    again.close()
    return last, lost


def test_accept_when_nothing_is_wrong_then_nothing_is_lost(disk: SimDisk) -> None:
    """The flag alone changes nothing."""
    journal(disk, 5)
    assert accepted(disk) == (5, "")
    disk.crash(power_loss=False)
    assert JournalFile("/new.db", disk=disk, accept_loss=True).lost() == ""


def test_accept_when_the_tail_is_lost_then_says_which_rows(disk: SimDisk) -> None:
    """It is reported until something was journaled behind it."""
    journal(disk, 5)
    disk.damage("remove", f"{PATH}-wal")
    assert accepted(disk) == (0, "rows 1 to 5: they are not there")


def test_accept_when_the_mark_is_lost_then_says_that_nobody_knows(disk: SimDisk) -> None:
    """All rows that are there may be all that there were, or not."""
    journal(disk, 5)
    disk.damage("remove", MARK)
    assert accepted(disk) == (5, "rows behind lsn 5, as many as there were: no mark says.")


@pytest.mark.parametrize(
    ("sql", "last", "lost"),
    [
        ("UPDATE journal SET payload = x'90' WHERE lsn = 3", 2, "rows 3 to 5: expected chain "),
        ("DELETE FROM journal WHERE lsn = 4", 3, "rows 4 to 5: expected lsn 4, found 5"),
        ("DELETE FROM journal WHERE lsn = 5", 4, "rows 5 to 5: they are not there"),
    ],
)
def test_accept_when_the_chain_is_broken_then_keeps_what_leads_there_and_the_old_file(
    disk: SimDisk, sql: str, last: int, lost: str
) -> None:
    """Rows behind the break cannot be believed; they stay readable in the file set aside."""
    journal(disk, 5)
    altered(disk, sql)
    kept, said = accepted(disk)
    assert (kept, said.startswith(lost)) == (last, True)
    aside = [path for path in disk.paths() if path.startswith("/j.db.damaged-1")]
    assert bool(aside) == (lost != "rows 5 to 5: they are not there")


def test_accept_when_only_old_rows_are_damaged_then_changes_nothing(disk: SimDisk) -> None:
    """Recovery does not need them; they stay an alarm of the background, not a reason to go back."""
    file = JournalFile(PATH, disk=disk)
    file.append(1, 1, transfers(6))
    file.write((), snap=Snap(4, b"state"))
    disk.crash(power_loss=False)
    altered(disk, "UPDATE journal SET at_ns = 0 WHERE lsn = 2")
    file = JournalFile(PATH, disk=disk, accept_loss=True)
    assert (file.recover(), file.lost()) == ((transfers(2, 5), 6, b"state", 4), "")
    assert not [path for path in disk.paths() if "damaged" in path]


def test_accept_when_old_rows_are_damaged_too_then_keeps_them_as_they_are(disk: SimDisk) -> None:
    """What the snapshot stands for is history: better altered than gone."""
    file = JournalFile(PATH, disk=disk)
    file.append(1, 1, (fill_record(1), *transfers(7, 2)))
    file.write((), snap=Snap(4, b"state"))
    disk.crash(power_loss=False)
    altered(disk, "UPDATE journal SET at_ns = 0 WHERE lsn IN (2, 7)")
    file = JournalFile(PATH, disk=disk, accept_loss=True)
    assert file.recover() == (transfers(2, 5), 6, b"state", 4)
    assert file.lost().startswith("rows 7 to 8: expected chain")
    assert file.history("fill paper:main binance:BTC/USDT 1") == (fill_record(1),)
    with pytest.raises(Refused, match="at lsn 2: expected chain"):
        file.check(0, NO_CHAIN, 9)


def unreadable(disk: SimDisk) -> None:
    """Damage the first leaf of the tree (13) that holds a long row: it is none any more."""
    content = disk.peek(PATH)
    leaf = next(
        at for at in range(0, len(content), 4096) if content[at] == 13 and b"text" in content[at:][:4096]
    )
    disk.damage("flip", PATH, at=leaf, bit=3)


def test_accept_when_old_rows_cannot_be_read_then_goes_on_from_the_snapshot(disk: SimDisk) -> None:
    """They stay in the file that was set aside, and that is said."""
    file = JournalFile(PATH, disk=disk)
    long = tuple(ParentFailed(number, ParentId("p1"), "text " * 700) for number in range(1, 4))
    file.append(1, 1, (*long, *transfers(5, 4)))
    file.write((), snap=Snap(6, b"state"))
    file.close()
    unreadable(disk)
    altered(disk, "UPDATE journal SET at_ns = 0 WHERE lsn = 8")
    file = JournalFile(PATH, disk=disk, accept_loss=True)
    assert file.recover() == (transfers(1, 7), 7, b"state", 6)
    lost = file.lost()
    assert lost.startswith("rows 1 to 5 are only in the file that was set aside; rows 8 to 8: expected chain")
    assert file.append(8, 2, transfers(1, 8)) == 8


@pytest.mark.failure("ST-06")
@pytest.mark.parametrize("unread", [6, 7])
def test_accept_when_text_cannot_be_read_then_keeps_every_row_before_it(disk: SimDisk, unread: int) -> None:
    """One byte that is no UTF-8 takes no good row with it, and is not read again behind what is kept."""
    journal(disk, 8)
    altered(disk, "UPDATE journal SET at_ns = 0 WHERE lsn = 6")
    altered(disk, f"UPDATE journal SET type = CAST(x'e5' AS TEXT) WHERE lsn = {unread}")
    lost, text = accepted(disk)
    assert lost == 5
    assert text.startswith("rows 6 to 8: ")


@pytest.mark.failure("ST-06")
def test_accept_when_old_rows_cannot_be_read_then_later_starts_expect_them_no_more(
    disk: SimDisk, tmp_path: Path
) -> None:
    """What was accepted is no news: the chain is verified from there, a store begins with the snapshot."""
    records = [msgspec.structs.replace(one, reason="text " * 700) for one in transfers(8)]
    state = Trading()
    for record in records[:6]:
        apply(state, record)
    file = JournalFile(PATH, disk=disk)
    file.append(1, 1, records)
    file.write((), snap=Snap(6, msgspec.msgpack.encode(state)))
    file.close()
    unreadable(disk)
    altered(disk, "UPDATE journal SET at_ns = 0 WHERE lsn = 8")
    JournalFile(PATH, disk=disk, accept_loss=True).close()
    for last in (7, 9):
        file = JournalFile(PATH, disk=disk)
        assert (file.last_lsn, file.begin()[0]) == (last, 6)
        file.append(last + 1, 2, transfers(2, last + 1))
        check = ChainCheck(last + 2, *file.begin())
        assert (check.step(file), check.done) == (None, True)
        store = StoreFile(":memory:")
        assert catch_up(store, file) == last + 2
        store.close()
        file.close()
        for path in disk.paths():
            (tmp_path / path[1:]).write_bytes(disk.peek(path))
        assert verify(str(tmp_path / PATH[1:])).problems == ()
    altered(disk, "DELETE FROM journal WHERE lsn = 6")
    assert JournalFile(PATH, disk=disk).begin() == (0, NO_CHAIN)


def begins_with_a_snapshot(
    disk: SimDisk, monkeypatch: pytest.MonkeyPatch, version: int, state: Trading
) -> None:
    """A program with that `Trading` accepted as lost what its snapshot of row 6 stands for."""
    plain = msgspec.msgpack.decode(msgspec.msgpack.encode(state))
    del plain["wishes"]
    for by_instrument in plain["exposure"]["accounts"].values():
        for sides in by_instrument.values():
            del sides["unbooked_buy"]
    monkeypatch.setattr(journal_layout, "TRADING_VERSION", version)
    monkeypatch.setattr(journal_layout, "TRADING_READ", version)
    file = JournalFile(PATH, disk=disk)
    long = tuple(ParentFailed(number, ParentId("p1"), "text " * 700) for number in range(1, 4))
    file.append(1, 1, (*long, *transfers(5, 4)))
    file.write((), snap=Snap(6, msgspec.msgpack.encode(plain)))
    file.close()
    unreadable(disk)
    altered(disk, "UPDATE journal SET at_ns = 0 WHERE lsn = 8")
    file = JournalFile(PATH, disk=disk, accept_loss=True)
    assert (file.begin()[0], file.last_lsn) == (6, 7)
    file.close()
    monkeypatch.undo()


def test_open_when_an_older_snapshot_stands_for_lost_rows_then_goes_on_from_it(
    disk: SimDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Owners, modes and kills are nowhere else; what the older state lacks follows from its orders."""
    bench = Bench().ready()
    bench.report(bench.limit(2, 9), OrderStatus.FILLED, 2)
    begins_with_a_snapshot(disk, monkeypatch, 2, bench.trading)
    assert "; rows 8 to 8: expected chain" in check_journal(PATH, disk=disk)
    for accept_loss in (False, True):
        file = JournalFile(PATH, disk=disk, accept_loss=accept_loss)
        found = file.recover()
        assert found.snapshot is not None
        assert (found.records, found.last_lsn, found.snapshot_lsn) == (transfers(1, 7), 7, 6)
        assert msgspec.msgpack.decode(found.snapshot, type=Trading) == bench.trading
        file.close()


def test_snapshot_when_it_knows_only_the_quantity_that_was_asked_for_then_the_order_is_made_of_it() -> None:
    """Before version 6; a repetition of the wish is still the first answer."""
    bench = Bench().ready()
    name = bench.limit(2, 9).parent_id
    plain = msgspec.msgpack.decode(msgspec.msgpack.encode(bench.trading))
    del plain["parents"][name]["asked"]
    plain["parents"][name]["asked_qty"] = "5"
    read = msgspec.msgpack.decode(journal_layout._brought_up(msgspec.msgpack.encode(plain)), type=Trading)
    parent = read.parents[ParentId(name)]
    assert parent.asked == replace(parent.order, order_qty=Decimal(5))


@pytest.mark.parametrize(("version", "code"), [(1, "JOURNAL_OLDER"), (9, "JOURNAL_NEWER")])
def test_accept_when_only_another_program_reads_the_snapshot_then_refused_and_nothing_is_given_up(
    disk: SimDisk, monkeypatch: pytest.MonkeyPatch, version: int, code: str
) -> None:
    """Its file is sound: another version is no loss."""
    begins_with_a_snapshot(disk, monkeypatch, version, Bench().ready().trading)
    before = disk.peek(PATH)
    text = rf"{code}: the snapshot at lsn 6 in /j.db has version {version}, exp"
    with pytest.raises(Refused, match=text):
        check_journal(PATH, disk=disk, accept_loss=True)
    assert disk.peek(PATH) == before
    with pytest.raises(Refused, match=text):
        check_journal(PATH, disk=disk)
    assert JournalFile(PATH, disk=disk).last_lsn == 7


@pytest.mark.failure("ST-06")
def test_accept_when_rows_are_lost_again_then_what_was_accepted_before_stays_known(disk: SimDisk) -> None:
    """A file that is written anew a second time says of both losses."""
    file = JournalFile(PATH, disk=disk)
    long = tuple(ParentFailed(number, ParentId("p1"), "text " * 700) for number in range(1, 4))
    file.append(1, 1, (*long, *transfers(5, 4)))
    file.write((), snap=Snap(6, b"state"))
    file.close()
    unreadable(disk)
    for lsn in (8, 9):
        altered(disk, f"UPDATE journal SET at_ns = 0 WHERE lsn = {lsn}")
        file = JournalFile(PATH, disk=disk, accept_loss=True)
        assert (file.last_lsn, file.begin()[0]) == (lsn - 1, 6)
        file.append(lsn, 2, transfers(2, lsn))
        file.close()
    assert [lsn for lsn, _ in JournalFile(PATH, disk=disk).losses()] == [7, 7, 8]


def test_accept_when_it_is_no_database_any_more_then_begins_anew(disk: SimDisk) -> None:
    """Nothing can be believed, and what there was is kept beside."""
    journal(disk, 5)
    disk.damage("remove", f"{PATH}-wal")
    for at in range(16):
        disk.damage("flip", PATH, at=at, bit=0)
    last, lost = accepted(disk)
    assert (last, lost.startswith("rows 1 to 5: NotADBError")) == (0, True)


def test_accept_when_only_an_index_is_broken_then_rebuilds_and_loses_nothing(disk: SimDisk) -> None:
    """What follows from the rows is made anew from them."""
    file = JournalFile(PATH, disk=disk)
    file.append(1, 1, (fill_record(1), fill_record(2)))
    disk.crash(power_loss=False)
    altered(disk, "DROP TABLE subjects")
    again = JournalFile(PATH, disk=disk, accept_loss=True)
    assert again.lost() == "rows behind lsn 2, if there were any: SQLError: no such table: subjects"
    assert again.history("fill paper:main binance:BTC/USDT 2") == (fill_record(2),)


def test_accept_when_power_is_lost_at_any_call_then_a_second_try_ends_alike() -> None:
    """Rebuilding is renaming whole files, the old one first."""

    at, finished = 0, False
    while not finished:
        at += 1
        disk = SimDisk(at)
        journal(disk, 8)
        altered(disk, "UPDATE journal SET at_ns = 0 WHERE lsn = 6")
        with dies_at(disk, at):
            JournalFile(PATH, disk=disk, accept_loss=True).base.abandon()
            finished = True
        disk.crash(power_loss=True)
        file = JournalFile(PATH, disk=disk, accept_loss=True)
        assert file.fold() == (transfers(5), 5)
        assert file.lost().startswith("rows 6 to 8")
        disk.close()
    assert at > 20


@pytest.mark.failure("ST-04", "ST-06")
def test_open_when_an_acceptance_was_killed_between_its_renames_then_nothing_of_it_is_given_up(
    disk: SimDisk,
) -> None:
    """A start without the flag puts the rebuilt file in its place, and refuses by the mark as before."""

    journal(disk, 8)
    altered(disk, "UPDATE journal SET at_ns = 0 WHERE lsn = 6")

    def die(operation: str, path: str) -> None:
        if operation == "rename" and path.endswith(".rebuilt"):
            raise Died

    disk.on_call = die
    with pytest.raises(Died):
        JournalFile(PATH, disk=disk, accept_loss=True)
    disk.on_call = None
    disk.crash(power_loss=False)
    assert not disk.exists(PATH)
    assert "expected rows up to lsn 8, which its mark file names, found 5" in refusal(disk)
    last, lost = accepted(disk)
    assert (last, lost.startswith("rows 6 to 8: expected chain ")) == (5, True)
    assert lost.endswith("; rows 6 to 8: they are not there")


@pytest.mark.failure("ST-04")
@pytest.mark.parametrize("mark", [True, False])
def test_open_when_only_the_database_is_gone_then_what_is_left_of_it_stays(
    disk: SimDisk, *, mark: bool
) -> None:
    """SQLite would take the WAL away, which has rows that nothing else has."""
    journal(disk, 5)
    disk.damage("remove", PATH)
    if not mark:
        disk.damage("remove", MARK)
    before = {path: disk.peek(path) for path in disk.paths()}
    assert "expected a database beside" in refusal(disk)
    gc.collect()
    assert {path: disk.peek(path) for path in disk.paths()} == before
    lost = "rows 1 to 5: the file is not there"
    if not mark:
        lost = "rows behind lsn 0, as many as there were: no mark says. the file is not there"
    assert accepted(disk) == (0, lost)
    assert disk.peek("/j.db.damaged-1-wal") == before[f"{PATH}-wal"]


def test_open_when_power_is_lost_during_the_first_start_then_the_next_one_begins() -> None:
    """A database that is not there yet is no database that is gone."""

    for at in range(1, 40):
        disk = SimDisk(at)
        with dies_at(disk, at):
            JournalFile(PATH, disk=disk).base.abandon()
        disk.crash(power_loss=True)
        assert JournalFile(PATH, disk=disk).fold() == ((), 0)
        disk.close()


# --- epochs behind a loss -------------------------------------------------------------------------


def lives(disk: SimDisk, *epochs: int) -> None:
    """Leave a journal of several starts behind, a row each, as a kill does."""
    file = JournalFile(PATH, disk=disk)
    for lsn, epoch in enumerate(epochs, 1):
        file.append(lsn, epoch, transfers(1, lsn))
    disk.crash(power_loss=False)


@pytest.mark.failure("OR-04", "ST-04")
def test_accept_when_the_rows_of_epochs_are_lost_then_the_mark_knows_the_highest(disk: SimDisk) -> None:
    """Ids of a lost start are at the venue: the next one is above it, however often rows are lost."""
    lives(disk, 1, 2, 7)
    for expected in (7, 9, 9):
        disk.damage("remove", f"{PATH}-wal")
        file = JournalFile(PATH, disk=disk, accept_loss=True)
        assert (file.last_lsn, file.epoch) == (0, expected)
        file.append(1, 9, transfers(1))
        disk.crash(power_loss=False)


@pytest.mark.failure("OR-04")
def test_accept_when_power_was_lost_then_an_epoch_whose_records_were_durable_is_known(disk: SimDisk) -> None:
    """It is synced before anybody is told that EPOCH is durable, though marks are synced later."""
    file = JournalFile(PATH, disk=disk)
    file.append(1, 5, transfers(1))
    disk.crash(power_loss=True)
    disk.damage("remove", f"{PATH}-wal")
    assert JournalFile(PATH, disk=disk, accept_loss=True).epoch == 5


@pytest.mark.failure("OR-04")
@pytest.mark.parametrize("whole_slots", [0, 2])
def test_accept_when_no_mark_says_the_epoch_then_more_are_passed_over_than_can_be_lost(
    disk: SimDisk, whole_slots: int
) -> None:
    """A mark of before epochs were in it, or none at all."""
    lives(disk, 1, 3)
    altered(disk, "UPDATE journal SET at_ns = 0 WHERE lsn = 2")
    if whole_slots:
        disk.damage("cut", MARK, at=whole_slots * SLOT_BYTES)
    else:
        disk.damage("remove", MARK)
    file = JournalFile(PATH, disk=disk, accept_loss=True)
    assert (file.last_lsn, file.epoch) == (1, 1 + EPOCHS_UNKNOWN)
    file.close()
    assert JournalFile(PATH, disk=disk, accept_loss=True).epoch == 1 + EPOCHS_UNKNOWN


def test_open_when_the_mark_has_no_epoch_yet_then_it_gets_the_one_of_the_rows(disk: SimDisk) -> None:
    """A journal of before goes on, and a loss after that is known."""
    lives(disk, 1, 4)
    disk.damage("cut", MARK, at=2 * SLOT_BYTES)
    JournalFile(PATH, disk=disk).close()
    assert epoch_in(disk.peek(MARK)) == 4


# --- versions -----------------------------------------------------------------------------------


def version_1(disk: SimDisk, count: int) -> None:
    """Make a file as the first release did: one table, no mark."""
    db = disk.connect(PATH, open_flags(read_only=False))
    db.pragma("journal_mode", "wal")
    db.execute(JOURNAL_TABLE)
    db.pragma("user_version", 1)
    chain = NO_CHAIN
    for lsn, record in enumerate((*transfers(count - 2), fill_record(7), fill_record(8)), 1):
        plain = (lsn, record.at_ns, 1, type(record).__name__, 1, msgspec.msgpack.encode(record))
        chain = link(chain, *plain)
        db.execute(INSERT_ROW, (*plain, chain))
    db.close()


def test_open_when_the_file_is_of_version_1_then_is_led_forward(disk: SimDisk) -> None:
    """Its rows and their hashes stay; it gets a mark, and its trades are found by their ids."""
    version_1(disk, 6)
    file = JournalFile(PATH, disk=disk)
    assert file.fold() == ((*transfers(4), fill_record(7), fill_record(8)), 6)
    assert file.history("fill paper:main binance:BTC/USDT 8") == (fill_record(8),)
    assert file.base.db.pragma("user_version") == JOURNAL_VERSION
    file.close()
    disk.damage("remove", MARK)
    assert "expected /j.db.mark" in refusal(disk)


def test_open_when_power_is_lost_while_it_is_led_forward_then_the_next_start_does_it() -> None:
    """Old layout or new one, never something between."""

    for at in range(1, 40):
        disk = SimDisk(at)
        version_1(disk, 4)
        with dies_at(disk, at):
            JournalFile(PATH, disk=disk).base.abandon()
        disk.crash(power_loss=True)
        assert JournalFile(PATH, disk=disk).fold()[1] == 4
        disk.close()


def test_read_only_when_the_file_is_of_version_1_then_is_read_as_it_is(disk: SimDisk) -> None:
    """Whoever looks changes nothing."""
    version_1(disk, 3)
    file = JournalFile(PATH, disk=disk, read_only=True)
    assert (file.fold()[1], list(file.snapshots()), file.lost()) == (3, [], "")
    assert file.base.db.pragma("user_version") == 1
    assert not disk.exists(MARK)


# --- snapshots ----------------------------------------------------------------------------------


def with_snapshots(disk: SimDisk) -> JournalFile:
    file = JournalFile(PATH, disk=disk)
    for last in (2, 4, 6):
        file.append(last - 1, 1, transfers(2, last - 1))
        file.write((), snap=Snap(last, b"state %d" % last))
    return file


def test_snapshot_when_a_third_is_made_then_the_one_between_goes(disk: SimDisk) -> None:
    """Two are enough: the second is for when the newest cannot be believed."""
    assert JournalFile(":memory:").oldest() is None
    file = with_snapshots(disk)
    assert list(file.snapshots()) == [(6, b"state 6"), (2, b"state 2")]
    assert file.oldest() == (2, b"state 2")
    file.append(7, 1, transfers(1, 7))
    assert file.recover() == (transfers(1, 7), 7, b"state 6", 6)


@pytest.mark.parametrize("every", [100, 400, 999, 1000, 5000])
def test_snapshot_when_made_again_and_again_then_one_lies_back_and_none_is_forgotten_there(
    every: int,
) -> None:
    """A store that is up to date begins a little before the end, however often snapshots are made."""
    file = JournalFile(":memory:")
    for last in range(every, 15_001, every):
        file.append(last - every + 1, 1, transfers(every, last - every + 1))
        file.write((), snap=Snap(last, b"state"))
        kept = [lsn for lsn, _ in file.snapshots()]
        old = [lsn for lsn in kept if lsn <= last - SNAPSHOT_SPACING]
        assert kept[0] == last
        assert len(kept) <= 3
        assert old or last <= SNAPSHOT_SPACING + every
        assert not old or old[0] > last - 2 * SNAPSHOT_SPACING - 2 * every
    file.close()


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE snapshots SET state = x'00' WHERE lsn = 6",
        "UPDATE snapshots SET chain = zeroblob(32) WHERE lsn = 6",
        "UPDATE snapshots SET digest = zeroblob(32) WHERE lsn = 6",
        "UPDATE snapshots SET version = version + 1 WHERE lsn = 6",
        "DELETE FROM snapshots WHERE lsn = 6",
    ],
)
def test_snapshot_when_it_cannot_be_believed_then_the_older_one_counts(disk: SimDisk, sql: str) -> None:
    """Altered, of another history, or of a program with another state: the records are folded instead."""
    file = with_snapshots(disk)
    file.base.db.execute(sql)
    assert file.recover() == (transfers(4, 3), 6, b"state 2", 2)
    file.base.db.execute("UPDATE snapshots SET version = 0")
    assert file.recover() == (transfers(6), 6, None, 0)


def test_snapshot_when_its_row_is_in_the_same_group_then_is_in_the_same_transaction(disk: SimDisk) -> None:
    """Both are there or neither; one whose row has not come yet is not written."""
    file = JournalFile(PATH, disk=disk)
    file.append(1, 1, transfers(1))
    file.write((), snap=Snap(2, b"early"))
    assert list(file.snapshots()) == []
    disk.fail("ENOSPC", "write", path="-wal", after=3)
    with pytest.raises(Outage):
        file.write((Append(2, 1, transfers(3, 2)),), snap=Snap(4, bytes(20_000)))
    assert (file.last_lsn, list(file.snapshots())) == (1, [])
    assert file.write((Append(2, 1, transfers(3, 2)),), snap=Snap(4, b"late")) == 4
    assert list(file.snapshots()) == [(4, b"late")]


def test_history_when_several_records_are_about_a_trade_then_gives_them_in_order(disk: SimDisk) -> None:
    """An inferred fill is found by its own id."""
    file = JournalFile(PATH, disk=disk)
    inferred = FillInferred(5, msgspec.structs.replace(fill_record(5), trade_id="inferred 1"))
    file.append(1, 1, (fill_record(5), inferred, fill_record(6)))
    assert file.history("fill paper:main binance:BTC/USDT 5") == (fill_record(5),)
    assert file.history("fill paper:main binance:BTC/USDT inferred 1") == (inferred,)
    assert file.history("order c1") == ()


@pytest.mark.parametrize("at_once", [1, 3, 4, 9])
def test_history_when_subjects_are_written_in_batches_then_every_row_is_found_at_any_time(
    disk: SimDisk, at_once: int
) -> None:
    """Before its batch is complete, behind it, in this life and in the next."""
    file = JournalFile(PATH, disk=disk, subjects_at_once=at_once)
    for lsn in range(1, 9):
        file.append(lsn, 1, (fill_record((lsn + 1) // 2),))
        table = file.base.db.execute("SELECT count(*) FROM subjects").get
        assert table == lsn - lsn % at_once
        if lsn % 2:
            disk.crash(power_loss=True)
            file = JournalFile(PATH, disk=disk, subjects_at_once=at_once)
        for number in range(1, 5):
            known = max(0, min(2, lsn - 2 * (number - 1)))
            assert (
                file.history(f"fill paper:main binance:BTC/USDT {number}") == (fill_record(number),) * known
            )
    assert file.check(0, NO_CHAIN, 9)[0] == 8
    file.close()
    reader = JournalFile(PATH, read_only=True, disk=disk, subjects_at_once=at_once)
    assert reader.history("fill paper:main binance:BTC/USDT 4") == (fill_record(4),) * 2


def test_history_when_a_commit_failed_and_is_there_all_the_same_then_is_found(disk: SimDisk) -> None:
    """A sync that fails may have written; the rows are compared then, not written a second time."""
    file = JournalFile(PATH, disk=disk, subjects_at_once=4)
    file.append(1, 1, (fill_record(1),))
    disk.fail("EIO", "sync", path="-wal")
    with pytest.raises(Outage):
        file.append(2, 1, (fill_record(2), fill_record(3)))
    file.reopen()
    file.append(2, 1, (fill_record(2), fill_record(3), fill_record(4), fill_record(5)))
    for number in range(1, 6):
        assert file.history(f"fill paper:main binance:BTC/USDT {number}") == (fill_record(number),)
    assert file.check(0, NO_CHAIN, 9)[0] == 5


def test_check_when_a_row_is_not_found_by_its_subject_then_it_is_from_then_on(disk: SimDisk) -> None:
    """A late fill that is not found would be booked twice; a reader can only say so."""
    file = JournalFile(PATH, disk=disk, subjects_at_once=1)
    file.append(1, 1, (fill_record(1), fill_record(2)))
    assert file.check(0, NO_CHAIN, 5)[0] == 2
    file.base.db.execute("DELETE FROM subjects WHERE lsn = 2")
    subject = subject_of(fill_record(2))
    assert subject is not None
    assert file.history(subject) == ()
    reader = JournalFile(PATH, disk=disk, read_only=True, subjects_at_once=1)
    with pytest.raises(Refused, match="at lsn 2: expected to find it as fill paper:main"):
        reader.check(0, NO_CHAIN, 5)
    assert file.check(0, NO_CHAIN, 5)[0] == 2
    assert file.history(subject) == (fill_record(2),)
    assert JournalFile(PATH, disk=disk, read_only=True, subjects_at_once=1).check(0, NO_CHAIN, 5)[0] == 2


@pytest.mark.failure("ST-04")
def test_subjects_when_the_last_rows_cannot_be_read_then_the_file_is_not_opened_without_them(
    disk: SimDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One error that is gone a moment later would leave rows that nobody ever finds again."""
    file = JournalFile(PATH, disk=disk)
    file.append(1, 1, (fill_record(1), fill_record(2)))

    def fails(*_: object) -> Iterator[tuple[str, int]]:
        raise apsw.IOError("disk I/O error")
        yield ("", 0)

    with monkeypatch.context() as patched:
        patched.setattr("tradefan.stores.journal.subjects_behind", fails)
        with pytest.raises(Outage, match="disk I/O error"):
            file.reopen()
        file.close()
        with pytest.raises(Outage, match="disk I/O error"):
            JournalFile(PATH, disk=disk)
    again = JournalFile(PATH, disk=disk)
    assert again.history(subject_of(fill_record(2)) or "") == (fill_record(2),)


def test_open_when_the_file_is_of_version_2_then_only_its_version_changes(disk: SimDisk) -> None:
    """A program of before would write rows behind ours without the subjects of ours."""
    file = JournalFile(PATH, disk=disk)
    file.append(1, 1, transfers(3))
    file.base.db.pragma("user_version", 2)
    file.close()
    again = JournalFile(PATH, disk=disk)
    assert (again.fold(), again.base.db.pragma("user_version")) == ((transfers(3), 3), JOURNAL_VERSION)
    again.base.db.pragma("user_version", 2)
    again.close()
    disk.damage("remove", MARK)
    assert "expected /j.db.mark" in refusal(disk)


def test_open_when_sqlite_finds_the_file_broken_then_is_refused(disk: SimDisk) -> None:
    """What SQLite calls malformed is damage, not a disk that may come back."""
    file = JournalFile(PATH, disk=disk)
    file.append(1, 1, transfers(200))
    file.close()
    disk.damage("cut", PATH, at=3 * 4096)
    with pytest.raises(Refused, match="JOURNAL_DAMAGED"):
        JournalFile(PATH, disk=disk).fold()
    with pytest.raises(apsw.CorruptError):
        disk.connect(PATH, open_flags(read_only=False)).execute("SELECT * FROM journal").fetchall()
