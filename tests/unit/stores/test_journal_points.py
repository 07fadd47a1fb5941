"""What follows from a journal behind a place, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, nullcontext

import pytest

from tests.unit.core.order_builders import CID, fill, intent, parent, report
from tests.unit.sim.checker_bench import opening
from tradefan.core.trading import Trading, apply
from tradefan.core.updates import order_update
from tradefan.messages.orders import FillUpdate, OrderStatus, OrderUpdate
from tradefan.messages.records import Record
from tradefan.stores.journal import JournalFile
from tradefan.stores.journal_points import JournalPoints, Piece, epoch_of, held, journal_name

RECORDS: tuple[Record, ...] = (
    opening("USDT", 1000),
    parent(),
    intent(),
    report(OrderStatus.NEW),
    *(fill(1, trade_id=f"t{number}") for number in range(5)),
)


@pytest.fixture
def journal() -> Iterator[JournalFile]:
    with closing(JournalFile(":memory:")) as file:
        file.append(1, 1, RECORDS)
        yield file


def pieces(journal: JournalFile, place: int, up_to: int, size: int) -> list[Piece]:
    points = JournalPoints(lambda: nullcontext(journal), up_to, size)
    points.begin(place)
    found = [points.read()]
    while not found[-1].whole:
        found.append(points.read())
    return found


def lsns(piece: Piece) -> list[int]:
    return [row.lsn for row in piece.rows if isinstance(row, FillUpdate)]


def test_pieces_when_read_then_have_each_fill_once_and_end_where_it_was_wanted(journal: JournalFile) -> None:
    """Each piece names the place that it leads to; the last one what was asked for."""
    found = pieces(journal, 0, 8, 4)
    assert [lsn for piece in found for lsn in lsns(piece)] == [5, 6, 7, 8]
    assert [piece.whole for piece in found] == [False] * (len(found) - 1) + [True]
    assert found[-1].lsn == 8
    assert len(found) > 1


def test_pieces_when_read_from_a_place_then_only_what_is_behind_it_is_told(journal: JournalFile) -> None:
    """Quantities and pictures are those of the whole fold all the same."""
    (piece,) = pieces(journal, 7, 9, 100)
    state = Trading()
    for record in RECORDS:
        apply(state, record)
    assert lsns(piece) == [8, 9]
    orders = [row for row in piece.rows if isinstance(row, OrderUpdate)]
    assert orders == [order_update(state.orders[CID], 9)]


def test_pieces_when_the_server_has_all_then_are_one_without_rows(journal: JournalFile) -> None:
    """Also where its place is of a journal that went further."""
    assert pieces(journal, 9, 9, 100) == [Piece((), 9, whole=True)]
    assert pieces(journal, 12, 9, 100) == [Piece((), 9, whole=True)]


def test_pieces_when_read_again_from_a_noted_place_then_go_on_there(journal: JournalFile) -> None:
    """A crash between two pieces costs nothing and doubles no fill."""
    first = pieces(journal, 0, 9, 4)[0]
    rest = pieces(journal, first.lsn, 9, 100)
    assert [*lsns(first), *(lsn for piece in rest for lsn in lsns(piece))] == [5, 6, 7, 8, 9]


def test_journal_when_there_is_none_then_has_no_name_and_nothing_to_tell(journal: JournalFile) -> None:
    """Its first row tells one from another."""
    assert journal_name(lambda: None) == ""
    assert JournalPoints(lambda: None, 5).read() == Piece((), 5, whole=True)
    assert len(journal_name(lambda: nullcontext(journal))) == 16


def test_place_when_rows_were_lost_and_others_have_their_numbers_then_is_the_end_of_what_is_left(
    journal: JournalFile,
) -> None:
    """A server that had 14 of epoch 1 has 9 of what there is now; one that had them of epoch 2 has all."""

    def source() -> nullcontext[JournalFile]:
        return nullcontext(journal)

    journal.append(10, 2, tuple(fill(1, trade_id=f"n{number}") for number in range(8)))
    assert [epoch_of(source, lsn) for lsn in (9, 10, 17, 18)] == [1, 2, 2, 0]
    assert [held(source, 14, epoch) for epoch in (0, 1, 2, 3)] == [14, 9, 14, 14]
    assert [held(source, 20, epoch) for epoch in (0, 1, 2)] == [20, 9, 17]
    assert held(source, 4, 1) == 4
    assert (epoch_of(lambda: None, 3), held(lambda: None, 3, 1)) == (0, 3)
