"""The book under any loss, repetition and disorder of frames: right at its id, or not there (I-21)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tradefan.core.book import APPLIED, GAP, Book
from tradefan.messages.market import BookDelta, BookSnapshot, Levels
from tradefan.units import InstrumentId

ID = InstrumentId("binance:BTC/USDT")
Side = dict[int, int]


class Venue:
    """The truth: two sides of integer levels, changed by diffs with consecutive id ranges."""

    def __init__(self) -> None:
        self.last_id = 100
        self.sides: tuple[Side, Side] = ({99: 1, 98: 2}, {101: 1, 102: 2})
        self.at: dict[int, tuple[Levels, Levels]] = {self.last_id: self.levels()}

    def levels(self) -> tuple[Levels, Levels]:
        bids, asks = self.sides
        return (
            tuple((float(price), float(bids[price])) for price in sorted(bids, reverse=True)),
            tuple((float(price), float(asks[price])) for price in sorted(asks)),
        )

    def change(self, span: int, changes: list[tuple[int, int, int]]) -> BookDelta:
        """Move some levels; bids stay below 100 and asks above."""
        told: tuple[Side, Side] = ({}, {})
        for side, distance, qty in changes:
            price = 100 - distance if side == 0 else 100 + distance
            told[side][price] = qty
            if qty:
                self.sides[side][price] = qty
            else:
                self.sides[side].pop(price, None)
        first_id, self.last_id = self.last_id + 1, self.last_id + span
        self.at[self.last_id] = self.levels()
        bids, asks = (tuple((float(price), float(qty)) for price, qty in side.items()) for side in told)
        return BookDelta(ID, first_id, self.last_id, bids, asks, self.last_id, self.last_id)

    def snapshot(self) -> BookSnapshot:
        return BookSnapshot(ID, self.last_id, *self.levels(), 0)


CHANGE = st.tuples(st.integers(0, 1), st.integers(1, 6), st.integers(0, 3))
STEP = st.tuples(st.integers(1, 4), st.lists(CHANGE, min_size=1, max_size=4))
FATE = st.sampled_from(["now", "now", "now", "lost", "late", "twice", "behind the next"])
ANSWER = st.sampled_from([None, None, "snapshot", "old snapshot"])


@given(st.lists(st.tuples(STEP, FATE, ANSWER), max_size=40))
def test_book_when_frames_are_lost_repeated_and_disordered_then_right_or_none(
    steps: list[tuple[tuple[int, list[tuple[int, int, int]]], str, str | None]],
) -> None:
    """MD-06, MD-07: whatever arrives, a book that stands equals the venue's at its id."""
    venue, book = Venue(), Book()
    snapshots = [venue.snapshot()]
    held: list[BookDelta] = []
    for (span, changes), fate, answer in steps:
        delta = venue.change(span, changes)
        arriving = {"lost": [], "twice": [delta, delta], "late": held, "behind the next": []}.get(
            fate, [delta]
        )
        held = [delta] if fate == "behind the next" else [] if fate == "late" else held
        for one in arriving:
            before = book.last_id
            assert book.apply(one) != APPLIED or book.last_id > before
            check(book, venue)
        snapshots.append(venue.snapshot())
        if answer is not None and not book.synced:
            book.load(snapshots[-1] if answer == "snapshot" else snapshots[len(snapshots) // 2])
            check(book, venue)


@given(st.lists(STEP, min_size=1, max_size=30), st.integers(0, 30), st.integers(0, 30))
def test_book_when_renewed_at_any_instant_then_the_same_as_without(
    steps: list[tuple[int, list[tuple[int, int, int]]]], asked: int, answered: int
) -> None:
    """A snapshot taken over without a break changes nothing but what is known."""
    venue, book = Venue(), Book()
    assert book.load(venue.snapshot()) == APPLIED
    taken: BookSnapshot | None = None
    for number, (span, changes) in enumerate(steps):
        if number == asked:
            book.begin_renewal()
            taken = venue.snapshot()
        assert book.apply(venue.change(span, changes)) == APPLIED
        if taken is not None and number >= asked + answered:
            assert book.renew(taken) == APPLIED
            taken = None
        check(book, venue)
    assert book.last_id == venue.last_id


@given(st.lists(STEP, min_size=1, max_size=30), st.integers(0, 29))
def test_book_when_one_frame_is_lost_then_no_book_from_the_next_on(
    steps: list[tuple[int, list[tuple[int, int, int]]]], lost: int
) -> None:
    """The hole is seen with the first frame behind it."""
    venue, book = Venue(), Book()
    book.load(venue.snapshot())
    for number, (span, changes) in enumerate(steps):
        delta = venue.change(span, changes)
        if number == lost:
            continue
        outcome = book.apply(delta)
        if number == lost + 1:
            assert outcome == GAP
        assert book.synced == (number <= lost)


def check(book: Book, venue: Venue) -> None:
    if book.synced:
        assert (book.levels("buy", 99), book.levels("sell", 99)) == venue.at[book.last_id]
        top = book.top()
        assert top is None or top[0] < top[2]
