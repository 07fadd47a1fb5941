"""The order book: a right book at its id, or none."""

from __future__ import annotations

import msgspec
import pytest

from tests.unit.core.recorded import BTC, ETH, events
from tradefan.core.book import (
    APPLIED,
    BUFFER_MAX,
    BUFFERED,
    GAP,
    IGNORED,
    IGNORED_MAX,
    LEVELS_MAX,
    TOO_OLD,
    Book,
)
from tradefan.messages.market import BookDelta, BookSnapshot, Levels, Quote
from tradefan.units import InstrumentId

BID: Levels = ((100.0, 1.0), (99.0, 2.0), (98.0, 3.0))
ASK: Levels = ((101.0, 1.0), (102.0, 2.0), (103.0, 3.0))


def delta(first: int, last: int, bids: Levels = (), asks: Levels = ()) -> BookDelta:
    return BookDelta(BTC, first, last, bids, asks, last, last)


def snapshot(last: int, bids: Levels = BID, asks: Levels = ASK) -> BookSnapshot:
    return BookSnapshot(BTC, last, bids, asks, 0)


def loaded(last: int = 10, limit: int = 0) -> Book:
    book = Book()
    assert book.load(snapshot(last), limit) == APPLIED
    return book


# --- bootstrap (MD-14, VENUES.md part 1) ------------------------------------------------------------


@pytest.mark.parametrize(
    ("buffered", "last", "outcome", "book_id"),
    [
        ([], 10, APPLIED, 10),
        ([(5, 8), (9, 12)], 10, APPLIED, 12),
        # The recorded ETH file: the first kept frame starts at L + 1.
        ([(5, 10), (11, 12)], 10, APPLIED, 12),
        ([(5, 8), (9, 10)], 10, APPLIED, 10),
        # The chain goes on from the snapshot although nothing older was buffered.
        ([(11, 12)], 10, APPLIED, 12),
        ([(12, 14)], 10, TOO_OLD, None),
        ([(5, 8), (12, 14)], 10, TOO_OLD, None),
        ([(9, 11), (13, 14)], 10, GAP, None),
    ],
)
def test_load_when_frames_are_buffered_then_by_the_bootstrap_rule(
    buffered: list[tuple[int, int]], last: int, outcome: int, book_id: int | None
) -> None:
    """Older frames are dropped, the first kept one must continue the snapshot, holes begin again."""
    book = Book()
    for first_id, last_id in buffered:
        assert book.apply(delta(first_id, last_id)) == BUFFERED
    assert book.load(snapshot(last)) == outcome
    assert (book.last_id if book.synced else None) == book_id


def test_load_when_the_snapshot_was_too_old_then_the_next_one_uses_the_buffer() -> None:
    """Asking again costs no frame."""
    book = Book()
    book.apply(delta(12, 14, bids=((100.5, 7.0),)))
    assert book.load(snapshot(10)) == TOO_OLD
    assert book.load(snapshot(13)) == APPLIED
    assert (book.last_id, book.top()) == (14, (100.5, 7.0, 101.0, 1.0))


def test_buffer_when_full_then_begins_anew() -> None:
    """It is bounded; a snapshot that comes after all continues what is left, or is too old."""
    book = Book()
    for number in range(BUFFER_MAX + 1):
        book.apply(delta(number, number))
    assert [one.last_id for one in book.waiting] == [BUFFER_MAX]


# --- diffs --------------------------------------------------------------------------------------------


def test_apply_when_in_order_then_quantities_are_absolute_and_zero_removes() -> None:
    """A level that is not there may be removed; a diff may begin inside what is known."""
    book = loaded()
    assert book.apply(delta(11, 12, ((100.0, 0.0), (99.5, 4.0), (50.0, 0.0)), ((101.0, 5.0),))) == APPLIED
    assert book.apply(delta(12, 13, (), ((100.9, 1.0), (102.0, 0.0)))) == APPLIED
    assert book.levels("buy", 9) == ((99.5, 4.0), (99.0, 2.0), (98.0, 3.0))
    assert book.levels("sell", 9) == ((100.9, 1.0), (101.0, 5.0), (103.0, 3.0))
    assert book.levels("sell", 1) == ((100.9, 1.0),)
    assert book.top() == (99.5, 4.0, 100.9, 1.0)


def test_apply_when_old_or_repeated_then_ignored() -> None:
    """The book never goes backwards (MD-07)."""
    book = loaded()
    book.apply(delta(11, 12, ((100.0, 9.0),)))
    assert [book.apply(delta(11, 12, ((100.0, 1.0),))), book.apply(delta(3, 10, ((100.0, 0.0),)))] == [
        IGNORED,
        IGNORED,
    ]
    assert book.top() == (100.0, 9.0, 101.0, 1.0)


def test_apply_when_ids_jump_then_no_book_and_the_frame_is_kept() -> None:
    """The frame behind the hole is the first of the next bootstrap (MD-06)."""
    book = loaded()
    assert book.apply(delta(12, 14, ((100.5, 7.0),))) == GAP
    assert (book.synced, book.top(), book.qty_at("buy", 100.0)) == (False, None, None)
    assert book.apply(delta(15, 15)) == BUFFERED
    assert book.load(snapshot(13)) == APPLIED
    assert (book.last_id, book.top()) == (15, (100.5, 7.0, 101.0, 1.0))


def test_apply_when_only_old_ids_come_then_the_sequence_was_reset() -> None:
    """A venue that restarts counts anew: waiting for the old ids would freeze the book."""
    book = loaded(1_000)
    outcomes = [book.apply(delta(number, number)) for number in range(1, IGNORED_MAX + 1)]
    assert outcomes == [IGNORED] * (IGNORED_MAX - 1) + [GAP]
    assert [one.last_id for one in book.waiting] == [IGNORED_MAX]


def test_apply_when_a_good_frame_comes_between_then_old_ones_stay_ignored() -> None:
    """Only an unbroken run of old frames is a reset."""
    book = loaded(1_000)
    for number in range(3 * IGNORED_MAX):
        at = 1_001 + number // 10
        expected = APPLIED if number % 10 == 0 else IGNORED
        assert book.apply(delta(at, at)) == expected


# --- what is unknown --------------------------------------------------------------------------------------


def test_qty_at_when_beyond_the_snapshot_then_unknown_not_zero() -> None:
    """Three levels of at most three: what lies further out was cut off."""
    book = loaded(limit=3)
    asked = [("buy", 98.5), ("buy", 97.0), ("sell", 102.5), ("sell", 104.0), ("buy", 99.0), ("sell", 103.0)]
    assert [book.qty_at(side, price) for side, price in asked] == [0.0, None, 0.0, None, 2.0, 3.0]  # type: ignore[arg-type]
    whole = loaded(limit=4)
    assert [whole.qty_at(side, price) for side, price in asked] == [0.0, 0.0, 0.0, 0.0, 2.0, 3.0]  # type: ignore[arg-type]


def test_apply_when_the_market_leaves_the_known_range_then_begins_again() -> None:
    """A best bid below all that the snapshot told may hide better ones."""
    gone: Levels = ((100.0, 0.0), (99.0, 0.0), (98.0, 0.0), (90.0, 1.0))
    assert loaded(limit=3).apply(delta(11, 11, gone)) == GAP
    assert loaded(limit=3).apply(delta(11, 11, (), ((101.0, 0.0), (102.0, 0.0), (103.0, 0.0)))) == GAP
    assert loaded(limit=4).apply(delta(11, 11, gone)) == APPLIED


def test_renew_when_a_newer_snapshot_comes_then_taken_over_without_a_break() -> None:
    """Half of the way to the end of the range a new snapshot is wanted; the book goes on meanwhile."""
    book = loaded(limit=3)
    assert not book.wants_renewal()
    assert book.apply(delta(11, 11, ((100.0, 0.0), (99.0, 0.0), (98.5, 1.0)))) == APPLIED
    assert book.wants_renewal()
    book.begin_renewal()
    assert not book.wants_renewal()
    assert book.apply(delta(12, 13, ((98.6, 2.0),))) == APPLIED
    assert book.apply(delta(14, 14, ((98.7, 3.0),))) == APPLIED
    assert book.renew(snapshot(10, ((98.5, 1.0), (98.0, 3.0), (97.0, 4.0))), 3) == TOO_OLD
    assert (book.last_id, book.top(), book.qty_at("buy", 97.0)) == (14, (98.7, 3.0, 101.0, 1.0), None)
    assert book.renew(snapshot(12, ((98.5, 1.0), (98.0, 3.0), (97.0, 4.0))), 3) == APPLIED
    assert (book.last_id, book.top(), book.qty_at("buy", 97.0)) == (14, (98.7, 3.0, 101.0, 1.0), 4.0)
    assert (book.renewing, book.waiting, book.wants_renewal()) == (False, [], False)


def test_renew_when_the_ask_side_comes_near_its_end_then_wanted_too() -> None:
    """The range has two ends."""
    book = loaded(limit=3)
    assert book.apply(delta(11, 11, (), ((101.0, 0.0), (102.0, 0.0)))) == APPLIED
    assert book.wants_renewal()


def test_renew_when_the_chain_breaks_meanwhile_then_an_ordinary_bootstrap() -> None:
    """The snapshot on its way serves the new beginning."""
    book = loaded(limit=3)
    book.begin_renewal()
    assert book.apply(delta(13, 14, ((98.6, 2.0),))) == GAP
    assert not book.renewing
    assert book.load(snapshot(12)) == APPLIED
    assert book.last_id == 14


def test_apply_when_levels_grow_without_end_then_the_worst_go_and_are_unknown() -> None:
    """The book is bounded; the best levels stay exact."""
    book = loaded(limit=0)
    bids = tuple((50.0 - number / 1000, 1.0) for number in range(LEVELS_MAX))
    asks = tuple((200.0 + number / 1000, 1.0) for number in range(LEVELS_MAX))
    assert book.apply(delta(11, 11, bids, asks)) == APPLIED
    assert (len(book.bid_keys), len(book.ask_keys)) == (LEVELS_MAX, LEVELS_MAX)
    assert book.top() == (100.0, 1.0, 101.0, 1.0)
    assert (book.qty_at("buy", 40.0), book.qty_at("sell", 300.0)) == (None, None)


def test_top_when_a_side_is_empty_then_none() -> None:
    """A one-sided market has no top, and is no failure."""
    book = loaded()
    assert book.apply(delta(11, 11, ((100.0, 0.0), (99.0, 0.0), (98.0, 0.0)))) == APPLIED
    assert (book.top(), book.synced) == (None, True)


def test_book_when_encoded_and_decoded_then_goes_on_alike() -> None:
    """All that it knows is state."""
    book = loaded(limit=3)
    book.apply(delta(11, 12, ((99.5, 4.0),)))
    copy = msgspec.msgpack.decode(msgspec.msgpack.encode(book), type=Book)
    assert copy == book
    for one in (book, copy):
        one.apply(delta(13, 14, ((99.7, 4.0),)))
    assert copy.snapshot(BTC, 5) == book.snapshot(BTC, 5) == BookSnapshot(
        BTC, 14, ((100.0, 1.0), (99.7, 4.0), (99.5, 4.0), (99.0, 2.0), (98.0, 3.0)), ASK, 5
    )  # fmt: skip


# --- the recording ------------------------------------------------------------------------------------------


def agreement(instrument: InstrumentId, until_ns: int | None = None) -> tuple[int, int]:
    """Return (agreeing, compared): the newest earlier quote of each diff's id range against the top.

    A quote comes at each change of the top, so the last one up to a diff's id shows the top there. The
    few that differ are quotes that arrived behind a diff of a later id.
    """
    book, pending, agreed, compared = Book(), {0: Quote(instrument, 0, 0, 0, 0, 0, 0)}, 0, 0
    for event in events(instrument, until_ns=until_ns):
        if isinstance(event, Quote):
            pending[event.update_id] = event
        elif isinstance(event, BookSnapshot):
            assert book.load(event) == APPLIED
        elif isinstance(event, BookDelta):
            assert book.apply(event) != GAP
            newest = pending[max(pending)]
            if book.synced and event.first_id <= newest.update_id <= event.last_id:
                compared += 1
                agreed += book.top() == (newest.bid, newest.bid_qty, newest.ask, newest.ask_qty)
            pending = {id_: quote for id_, quote in pending.items() if id_ > event.last_id} or {0: newest}
    return agreed, compared


def test_recorded_minute_when_rebuilt_then_the_top_is_the_venues() -> None:
    """A quick part of the whole: every top of the first recorded minute agrees."""
    agreed, compared = agreement(ETH, until_ns=1_723_161_314_000_000_000)
    assert agreed == compared > 400


@pytest.mark.slow
@pytest.mark.parametrize(("instrument", "expected"), [(BTC, (5693, 5695)), (ETH, (5077, 5077))])
def test_recording_when_rebuilt_then_agrees_as_its_readme_states(
    instrument: InstrumentId, expected: tuple[int, int]
) -> None:
    """Ten minutes, across the midnight split, without a gap."""
    assert agreement(instrument) == expected
