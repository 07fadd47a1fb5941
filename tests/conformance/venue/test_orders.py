"""What every venue must do with orders, seen through its gateway (rows 1 to 4 of the conformance table)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

from tests.conformance.venue.bench import ACCOUNT, BTC, INSTRUMENTS, Bench, D
from tradefan.messages.account import Balance, Balances
from tradefan.messages.gateway import CancelRejected, OrderInDoubt, VenueFill
from tradefan.messages.market import BookSnapshot, Levels
from tradefan.messages.orders import Doubt, OrderStatus
from tradefan.units import Asset
from tradefan.venues.paper import PaperVenue
from tradefan.venues.paper_state import MemoryStore, PaperConfig

BIDS: Levels = ((99.99, 1.0), (99.98, 2.0))
ASKS: Levels = ((100.01, 1.0), (100.02, 2.0), (100.05, 5.0))
OPENING = {"USDT": D(1000), "BTC": D(10)}


def paper(**config: Any) -> PaperVenue:
    return PaperVenue(INSTRUMENTS, MemoryStore(OPENING), PaperConfig(**config))


VENUES: dict[str, Callable[[], PaperVenue]] = {
    "paper": paper,
    "paper, stream before the answer": lambda: paper(stream_first=True),
}
"""Every venue of the suite: a name, and how to make one with two quiet orders in its books."""


@pytest.fixture(params=list(VENUES))
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    bench = Bench(VENUES[request.param]())
    bench.start()
    bench.market(BookSnapshot(BTC, 1, BIDS, ASKS, bench.now_ns))
    yield bench
    assert not bench.gateway.state.flights, "every request has had its end"


def money(bench: Bench) -> dict[str, tuple[Decimal, Decimal]]:
    """Ask the venue what the account holds: asset to (free, locked)."""
    facts, done = bench.look()
    assert done.complete
    balances = next(fact for fact in facts if isinstance(fact, Balances))
    assert balances.whole
    return {row.asset: (row.free, row.locked) for row in balances.balances}


def booked(bench: Bench) -> dict[str, Decimal]:
    """Return what the opening and every fill told so far make of each asset."""
    ledger = dict(OPENING)
    for fill in bench.fills().values():
        direction = 1 if fill.side == "buy" else -1
        ledger["BTC"] += direction * fill.qty
        ledger["USDT"] -= direction * fill.qty * fill.price
        ledger[fill.fee_asset] -= fill.fee
    return ledger


def test_limit_order_when_it_does_not_cross_then_it_rests_is_found_and_cancels(bench: Bench) -> None:
    """A resting limit order is NEW, is found by id, reserves its funds, and a cancel frees them all."""
    bench.place("rest", "buy", "2", "99.00")
    assert bench.reports("rest") == [("NEW", D(0))]
    assert money(bench)["USDT"] == (D(802), D(198))
    facts, done = bench.look("rest")
    assert done.missing == ()
    assert [fact.status for fact in facts if hasattr(fact, "status")] == [OrderStatus.NEW]
    bench.cancel("rest")
    assert bench.reports("rest") == [("NEW", D(0)), ("CANCELED", D(0))]
    assert money(bench) == {"USDT": (D(1000), D(0)), "BTC": (D(10), D(0))}
    facts, done = bench.look("rest")
    assert bench.last("rest").status is OrderStatus.CANCELED
    assert (done.complete, done.missing) == (True, ())


def test_limit_order_when_it_crosses_then_it_takes_each_level_once(bench: Bench) -> None:
    """A crossing limit order takes level by level at their prices; the fills are told and booked once."""
    bench.place("cross", "buy", "2.5", "100.02")
    assert bench.verdict("cross") == ("FILLED", D("2.5"))
    taken = [(fill.qty, fill.price, fill.liquidity) for fill in bench.fills("cross").values()]
    assert taken == [(D(1), D("100.01"), "taker"), (D("1.5"), D("100.02"), "taker")]
    ledger = booked(bench)
    assert {asset: sum(pair) for asset, pair in money(bench).items()} == ledger
    assert ledger["BTC"] == D(10) + D("2.5") * (1 - D("0.001"))


def test_market_order_when_it_is_written_as_ioc_at_a_collar_then_nothing_rests(bench: Bench) -> None:
    """A market order in the form of an IOC limit at the collar fills what is there and leaves nothing."""
    bench.place("now", "sell", "2", "99.00", time_in_force="IOC")
    assert bench.verdict("now") == ("FILLED", D(2))
    assert all(locked == 0 for _, locked in money(bench).values())


def test_ioc_when_the_book_is_too_thin_then_it_expires_with_what_it_got(bench: Bench) -> None:
    """An IOC takes what is within its limit; the rest is EXPIRED and reserves nothing."""
    bench.place("ioc", "buy", "5", "100.01", time_in_force="IOC")
    assert bench.verdict("ioc") == ("EXPIRED", D(1))
    assert sum(fill.qty for fill in bench.fills("ioc").values()) == D(1)
    assert money(bench)["USDT"] == (D("899.99"), D(0))


def test_fok_when_it_cannot_fill_whole_then_it_expires_with_nothing(bench: Bench) -> None:
    """A FOK fills whole or not at all."""
    bench.place("fok", "buy", "3.5", "100.02", time_in_force="FOK")
    assert bench.verdict("fok") == ("EXPIRED", D(0))
    assert bench.fills("fok") == {}
    bench.place("fok2", "buy", "3", "100.02", time_in_force="FOK")
    assert bench.verdict("fok2") == ("FILLED", D(3))


def test_post_only_when_it_would_cross_then_it_is_rejected_without_exposure(bench: Bench) -> None:
    """A crossing post-only order is REJECTED(POST_ONLY), exists nowhere and reserves nothing."""
    bench.place("maker", "buy", "1", "100.01", post_only=True)
    report = bench.last("maker")
    assert (report.status, report.cum_qty) == (OrderStatus.REJECTED, D(0))
    assert report.reason.startswith("POST_ONLY")
    assert money(bench) == {"USDT": (D(1000), D(0)), "BTC": (D(10), D(0))}
    assert bench.look("maker")[1].missing == ("maker",)


@pytest.mark.parametrize(
    ("qty", "price", "reason"),
    [
        ("1", "99.005", "FILTER: Filter failure: PRICE_FILTER"),
        ("1.000001", "99.00", "FILTER: Filter failure: LOT_SIZE"),
        ("9001", "99.00", "FILTER: Filter failure: LOT_SIZE"),
        ("0.05", "99.00", "FILTER: Filter failure: NOTIONAL"),
        ("11", "99.00", "FUNDS: Account has insufficient balance for requested action."),
    ],
)
def test_create_when_it_breaks_a_rule_then_it_is_rejected_and_not_repeated(
    bench: Bench, qty: str, price: str, reason: str
) -> None:
    """A filter or missing funds are definite: REJECTED with its class, one write, nothing reserved."""
    bench.place("bad", "buy", qty, price)
    report = bench.last("bad")
    assert (report.status, report.reason, report.cum_qty) == (OrderStatus.REJECTED, reason, D(0))
    assert len(bench.written("create")) == 1
    assert money(bench)["USDT"] == (D(1000), D(0))


def test_create_when_too_many_orders_are_open_then_it_is_rejected() -> None:
    """The count of open orders of an instrument is a filter as well."""
    bench = Bench(paper(orders_max=2))
    bench.start()
    bench.market(BookSnapshot(BTC, 1, BIDS, ASKS, bench.now_ns))
    for name in ("a", "b", "c"):
        bench.place(name, "buy", "1", "99.00")
    assert [bench.last(name).status.value for name in ("a", "b", "c")] == ["NEW", "NEW", "REJECTED"]
    assert bench.last("c").reason == "FILTER: Filter failure: MAX_NUM_ORDERS"


@pytest.mark.failure("OR-04")
def test_create_when_its_id_is_open_already_then_it_is_in_doubt_and_resolves_to_the_first(
    bench: Bench,
) -> None:
    """`Duplicate order sent.` proves that an order exists, so it is asked; the venue has one."""
    bench.place("twin", "buy", "1", "99.00")
    bench.place("twin", "buy", "1", "99.00")
    doubts = [msg for msg in bench.told if isinstance(msg, OrderInDoubt)]
    assert doubts == [OrderInDoubt(ACCOUNT, doubts[0].client_order_id, Doubt.CREATE, doubts[0].reason)]
    assert doubts[0].reason == "DUPLICATE: Duplicate order sent."
    _, done = bench.look("twin")
    assert (done.complete, done.missing) == (True, ())
    assert money(bench)["USDT"] == (D(901), D(99))


@pytest.mark.failure("OR-08")
def test_cancel_when_the_order_is_filled_then_the_venues_word_stands(bench: Bench) -> None:
    """A cancel of a filled order changes nothing: its fills stay, and nothing is reserved."""
    bench.place("done", "buy", "1", "100.01")
    bench.cancel("done")
    assert bench.verdict("done") == ("FILLED", D(1))
    assert [msg.reason for msg in bench.told if isinstance(msg, CancelRejected)] == [
        "UNKNOWN_ORDER: Unknown order sent."
    ]
    assert {asset: sum(pair) for asset, pair in money(bench).items()} == booked(bench)


@pytest.mark.failure("OR-19")
def test_look_when_fills_were_missed_then_they_come_with_their_orders_and_once(bench: Bench) -> None:
    """A look tells each trade after the cursor with the client id of its order, oldest first.

    The cursor passes none that is young: of two trades the older one may become visible later.
    """
    bench.place("one", "buy", "1", "100.01")
    bench.place("two", "sell", "1", "99.99")
    facts, done = bench.look(cursor="0")
    fills = [fact for fact in facts if isinstance(fact, VenueFill)]
    assert [(fill.client_order_id, fill.trade_id, fill.source) for fill in fills] == [
        ("one", "1", "look"),
        ("two", "2", "look"),
    ]
    assert done.cursors == ((BTC, "0"),)
    facts, done = bench.look(cursor="0")
    assert [fact.trade_id for fact in facts if isinstance(fact, VenueFill)] == ["1", "2"]
    assert done.cursors == ((BTC, "2"),)
    facts, done = bench.look(cursor="2")
    assert [fact for fact in facts if isinstance(fact, VenueFill)] == []
    assert done.cursors == ((BTC, "2"),)


def test_look_when_the_cursor_is_none_then_only_the_newest_id_is_learnt(bench: Bench) -> None:
    """Without a cursor nothing is repeated: what came before belongs to the opening."""
    assert bench.look(cursor=None)[1].cursors == ((BTC, "0"),)
    bench.place("one", "buy", "1", "100.01")
    facts, done = bench.look(cursor=None)
    assert [fact for fact in facts if isinstance(fact, VenueFill)] == []
    assert done.cursors == ((BTC, "1"),)


def test_balances_when_an_order_fills_then_the_stream_tells_both_assets(bench: Bench) -> None:
    """The user stream tells what has changed, and says that it is not the whole."""
    bench.place("one", "buy", "1", "100.01")
    streamed = [msg for msg in bench.desk if isinstance(msg, Balances) and msg.source == "stream"]
    assert not streamed[-1].whole
    assert sorted(streamed[-1].balances, key=lambda row: row.asset) == [
        Balance(Asset("BTC"), D("10.999"), D(0)),
        Balance(Asset("USDT"), D("899.99"), D(0)),
    ]
