"""Our orders against a live external book: taking, waiting in a queue, and what a break does."""

from __future__ import annotations

import msgspec
import pytest

from tradefan.core.matching import LEVELS_MAX, Execution, Matching, Placed

BIDS = [(99, 10), (98, 20), (97, 30)]
ASKS = [(101, 10), (102, 20), (103, 30)]


@pytest.fixture
def book() -> Matching:
    matching = Matching()
    matching.snapshot(100, BIDS, ASKS)
    return matching


def maker(order_id: int, price: int, qty: int) -> Execution:
    return Execution(order_id, price, qty, maker=True)


def taker(order_id: int, price: int, qty: int) -> Execution:
    return Execution(order_id, price, qty, maker=False)


# --- taking -----------------------------------------------------------------------------------------


def test_market_order_when_the_book_is_deep_enough_then_it_takes_level_by_level(book: Matching) -> None:
    """The best price is taken first, each level by no more than it shows."""
    placed = book.place(1, "buy", 25, None, "GTC")
    assert placed == Placed("FILLED", (taker(1, 101, 10), taker(1, 102, 15)), 0)
    assert book.place(2, "sell", 12, None, "GTC") == Placed("FILLED", (taker(2, 99, 10), taker(2, 98, 2)), 0)


def test_market_order_when_the_book_ends_then_the_rest_expires(book: Matching) -> None:
    """A market order never rests."""
    placed = book.place(1, "sell", 100, None, "GTC")
    assert placed == Placed("EXPIRED", (taker(1, 99, 10), taker(1, 98, 20), taker(1, 97, 30)), 40)
    assert book.orders == {}


def test_quantity_when_we_took_it_then_it_is_gone_until_the_level_is_updated(book: Matching) -> None:
    """What we took cannot be taken twice; an update of that level, and of no other, brings it back."""
    book.place(1, "buy", 10, 101, "IOC")
    assert book.place(2, "buy", 5, 101, "IOC") == Placed("EXPIRED", (), 5)
    book.delta(101, 1_000, [], [(102, 25)])
    assert book.place(3, "buy", 5, 101, "IOC") == Placed("EXPIRED", (), 5)
    book.delta(102, 1_100, [], [(101, 7)])
    assert book.place(4, "buy", 9, 101, "IOC") == Placed("EXPIRED", (taker(4, 101, 7),), 2)


def test_limit_order_when_it_crosses_in_part_then_the_rest_waits_at_its_price(book: Matching) -> None:
    """A GTC order takes what it reaches and rests with what is left."""
    placed = book.place(1, "buy", 15, 101, "GTC")
    assert placed == Placed("RESTING", (taker(1, 101, 10),), 5)
    assert book.cancel(1) == 5
    assert book.cancel(1) is None


def test_ioc_when_it_crosses_in_part_then_the_rest_expires(book: Matching) -> None:
    """IOC never rests."""
    assert book.place(1, "buy", 15, 101, "IOC") == Placed("EXPIRED", (taker(1, 101, 10),), 5)


@pytest.mark.parametrize(("qty", "outcome"), [(30, "FILLED"), (31, "EXPIRED")])
def test_fok_when_it_fits_or_not_then_it_fills_whole_or_not_at_all(
    book: Matching, qty: int, outcome: str
) -> None:
    """FOK touches nothing when it cannot be filled within its limit."""
    placed = book.place(1, "buy", qty, 102, "FOK")
    assert (placed.outcome, sum(item.qty for item in placed.executions)) == (
        outcome,
        30 if outcome == "FILLED" else 0,
    )
    assert book.preview("buy", 1, 101) == ([] if outcome == "FILLED" else [(101, 1)])


def test_post_only_when_it_would_match_then_nothing_happens(book: Matching) -> None:
    """A crossing post-only order does not exist; one tick lower it rests."""
    assert book.place(1, "buy", 5, 101, "GTC", post_only=True) == Placed("WOULD_MATCH", (), 5)
    assert book.place(2, "buy", 5, 100, "GTC", post_only=True) == Placed("RESTING", (), 5)


def test_own_orders_when_they_cross_each_other_then_they_do_not_trade(book: Matching) -> None:
    """Our resting orders are no part of the book that our other orders meet."""
    book.place(1, "sell", 5, 100, "GTC")
    assert book.place(2, "buy", 5, 100, "GTC") == Placed("RESTING", (), 5)


# --- waiting ----------------------------------------------------------------------------------------


def test_resting_order_when_prints_come_at_its_price_then_the_queue_is_eaten_first(book: Matching) -> None:
    """Ten lots stand before us: a print of six moves us up, a print of six fills two."""
    book.place(1, "buy", 5, 99, "GTC")
    assert book.trade(99, 6, "sell", 1_000) == ()
    assert book.trade(99, 6, "sell", 1_001) == (maker(1, 99, 2),)
    assert book.trade(99, 9, "sell", 1_002) == (maker(1, 99, 3),)
    assert book.trade(99, 9, "sell", 1_003) == ()


def test_resting_order_when_it_improves_the_price_then_it_is_first(book: Matching) -> None:
    """Nobody waits at a price of our own."""
    book.place(1, "buy", 5, 100, "GTC")
    assert book.trade(100, 3, "sell", 1_000) == (maker(1, 100, 3),)


def test_resting_order_when_the_aggressor_is_of_its_own_side_then_the_print_is_not_for_it(
    book: Matching,
) -> None:
    """A buyer who pays our bid's price hit somebody's ask, not our bid."""
    book.place(1, "buy", 5, 100, "GTC")
    assert book.trade(100, 50, "buy", 1_000) == ()


def test_resting_order_when_the_level_shrinks_then_it_moves_up_only_to_what_is_shown(book: Matching) -> None:
    """Cancels are taken to come from behind us, but no more can stand before us than is shown."""
    book.place(1, "buy", 5, 99, "GTC")
    book.delta(101, 1_000, [(99, 10)], [])
    book.trade(99, 4, "sell", 1_001)
    assert book.orders[1].ahead == 6
    book.delta(102, 1_100, [(99, 8)], [])
    assert book.orders[1].ahead == 6
    book.delta(103, 1_200, [(99, 2)], [])
    assert book.orders[1].ahead == 2
    book.delta(104, 1_300, [(99, 50)], [])
    assert book.orders[1].ahead == 2


def test_resting_order_when_the_book_already_contains_a_print_then_it_does_not_count_again(
    book: Matching,
) -> None:
    """Depth that overtook its own trades has moved us up already: the late print is not eaten twice."""
    book.place(1, "buy", 5, 99, "GTC")
    book.delta(101, 2_000, [(99, 0)], [])
    assert book.trade(99, 10, "sell", 1_999) == ()
    assert book.trade(98, 10, "sell", 2_000) == ()
    assert book.trade(99, 4, "sell", 2_001) == (maker(1, 99, 4),)


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_print_through_the_price_when_it_comes_then_it_fills_at_our_price(book: Matching, side: str) -> None:
    """Whoever traded beyond our price would have met us first, whatever the queue."""
    if side == "buy":
        book.place(1, "buy", 5, 99, "GTC")
        assert book.trade(98, 3, "sell", 1_000) == (maker(1, 99, 3),)
    else:
        book.place(1, "sell", 5, 101, "GTC")
        assert book.trade(102, 9, "buy", 1_000) == (maker(1, 101, 5),)


def test_opposite_book_when_it_reaches_our_price_then_it_fills_us_as_maker(book: Matching) -> None:
    """An ask at our bid is a trade at our price; its quantity is gone from the level."""
    book.place(1, "buy", 5, 99, "GTC")
    assert book.delta(101, 1_000, [], [(98, 3), (99, 1)]) == (maker(1, 99, 3), maker(1, 99, 1))
    assert book.preview("buy", 9, 99) == []
    assert book.delta(102, 1_100, [], [(105, 4)]) == ()


def test_one_print_when_several_orders_wait_then_it_is_shared_in_price_time_order(book: Matching) -> None:
    """A print fills no more than itself: the better price first, then the older, with others between."""
    book.place(1, "sell", 4, 101, "GTC")
    book.delta(101, 1_000, [], [(101, 13)])
    book.place(2, "sell", 4, 101, "GTC")
    book.place(3, "sell", 2, 100, "GTC")
    assert book.trade(101, 20, "buy", 1_001) == (maker(3, 100, 2), maker(1, 101, 4), maker(2, 101, 1))
    assert book.orders[2].ahead == 0
    assert book.trade(101, 20, "buy", 1_002) == (maker(2, 101, 3),)


# --- breaks, history, restarts --------------------------------------------------------------------------


def test_break_when_the_book_is_dropped_then_orders_stay_and_nothing_fills(book: Matching) -> None:
    """Between two sessions nothing trades; the new book starts every queue anew."""
    book.place(1, "buy", 5, 99, "GTC")
    book.trade(99, 9, "sell", 1_000)
    book.drop()
    assert book.trade(90, 100, "sell", 1_001) == ()
    assert book.delta(1_000, 1_002, [], [(90, 5)]) == ()
    assert book.place(2, "buy", 5, 99, "GTC") == Placed("CLOSED", (), 5)
    assert book.snapshot(5, [(99, 40)], ASKS) == ()
    assert book.orders[1].ahead == 40


def test_snapshot_when_it_reaches_our_price_then_it_fills(book: Matching) -> None:
    """A market that opens beyond our price trades with us at it."""
    book.place(1, "buy", 5, 99, "GTC")
    assert book.snapshot(200, [(95, 1)], [(96, 3), (97, 9)]) == (maker(1, 99, 3), maker(1, 99, 2))


def test_snapshot_when_the_book_was_followed_so_far_then_queues_keep_their_places(book: Matching) -> None:
    """A book that is only renewed tells nothing new about our place, but that no more can be before us."""
    book.place(1, "buy", 5, 99, "GTC")
    book.place(2, "buy", 5, 98, "GTC")
    book.trade(99, 4, "sell", 1_000)
    assert book.snapshot(200, [(99, 10), (98, 15)], ASKS) == ()
    assert (book.orders[1].ahead, book.orders[2].ahead) == (6, 15)


def test_history_when_it_is_played_then_the_book_follows_and_nothing_fills() -> None:
    """Frames from before we looked move the book only; the first live one opens it."""
    book = Matching()
    book.restore(1, "buy", 99, 5)
    assert book.snapshot(1, BIDS, [(98, 7)], live=False) == ()
    assert book.trade(90, 100, "sell", 10, live=False) == ()
    assert book.place(2, "buy", 1, 101, "IOC").outcome == "CLOSED"
    assert book.delta(2, 11, [], [(98, 4)], live=False) == ()
    assert book.delta(3, 12, [], [(104, 1)]) == (maker(1, 99, 4),)
    assert (book.open, book.orders[1].ahead) == (True, 10)
    book.trade(99, 1, "sell", 13, live=False)
    assert not book.open


def test_delta_when_it_is_not_newer_then_it_is_ignored(book: Matching) -> None:
    """Depth from before the snapshot is in it already."""
    book.delta(100, 1_000, [(99, 0)], [])
    assert book.bids[99] == 10


def test_order_when_its_id_rests_already_then_it_is_a_defect(book: Matching) -> None:
    """Ids are ours: a repeated one or an empty order is our own mistake, not the market's."""
    book.place(1, "buy", 5, 99, "GTC")
    with pytest.raises(AssertionError, match="rests already"):
        book.place(1, "buy", 5, 99, "GTC")
    with pytest.raises(AssertionError, match="positive"):
        book.place(2, "buy", 0, 99, "GTC")


def test_book_when_it_grows_without_end_then_the_far_half_is_forgotten() -> None:
    """Memory is bounded; what is near the touch stays."""
    book = Matching()
    book.snapshot(1, [(1, 1)], [(100_000, 1)])
    book.delta(2, 1, [(price, 1) for price in range(1, LEVELS_MAX + 2)], [])
    assert (len(book.bids), max(book.bids)) == (LEVELS_MAX // 2, LEVELS_MAX + 1)
    book.delta(3, 2, [], [(100_000 + price, 1) for price in range(LEVELS_MAX + 1)])
    assert (len(book.asks), min(book.asks)) == (LEVELS_MAX // 2, 100_000)


def test_state_when_it_is_encoded_then_it_comes_back(book: Matching) -> None:
    """The whole state is plain data."""
    book.place(1, "buy", 5, 99, "GTC")
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(book), type=Matching) == book
