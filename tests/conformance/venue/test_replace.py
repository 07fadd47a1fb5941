"""What every venue must do with replacements: never above the old order's rest, each leg told."""

from __future__ import annotations

import pytest

from tests.conformance.venue.bench import ACCOUNT, BTC, Bench, D
from tests.conformance.venue.test_orders import VENUES, booked, money
from tradefan.messages.gateway import CancelRejected, OrderInDoubt, OrderNotSent
from tradefan.messages.market import BookSnapshot, Levels, Trade
from tradefan.messages.orders import Doubt
from tradefan.units import ClientOrderId

BIDS: Levels = ((99.99, 1.0), (99.98, 2.0))
ASKS: Levels = ((100.01, 1.0), (100.02, 2.0))


@pytest.fixture(params=list(VENUES))
def bench(request: pytest.FixtureRequest) -> Bench:
    bench = Bench(VENUES[request.param]())
    bench.start()
    bench.market(BookSnapshot(BTC, 1, BIDS, ASKS, bench.now_ns))
    bench.place("old", "buy", "2", "99.00")
    return bench


def ends(bench: Bench) -> list[CancelRejected | OrderNotSent | OrderInDoubt]:
    return [msg for msg in bench.told if isinstance(msg, CancelRejected | OrderNotSent | OrderInDoubt)]


def test_replace_when_nothing_has_filled_then_the_new_order_takes_the_place(bench: Bench) -> None:
    """The old order is CANCELED, the new one rests, and only the new one's funds are reserved."""
    bench.replace("old", "new", "buy", "1", "99.50")
    assert bench.reports("old") == [("NEW", D(0)), ("CANCELED", D(0))]
    assert bench.reports("new") == [("NEW", D(0))]
    assert money(bench)["USDT"] == (D("900.5"), D("99.5"))
    assert ends(bench) == []


def test_replace_when_the_new_order_crosses_then_its_fills_are_told_once(bench: Bench) -> None:
    """A replacement may fill at once; books and venue agree."""
    bench.replace("old", "new", "buy", "1.5", "100.02")
    assert bench.verdict("new") == ("FILLED", D("1.5"))
    assert sum(fill.qty for fill in bench.fills("new").values()) == D("1.5")
    assert {asset: sum(pair) for asset, pair in money(bench).items()} == booked(bench)


def test_replace_when_a_fill_came_first_then_nothing_is_placed(bench: Bench) -> None:
    """A fill in flight makes the cancel fail: together they never trade more than was wished."""
    bench.market(Trade(BTC, 1, 99.0, 0.5, "sell", bench.now_ns + 1, bench.now_ns))
    bench.replace("old", "new", "buy", "2", "99.50")
    assert bench.verdict("old") == ("PARTIALLY_FILLED", D("0.5"))
    text = "RESTRICTED: Order was not canceled due to cancel restrictions."
    assert ends(bench) == [CancelRejected(ACCOUNT, ClientOrderId("old"), text)]
    assert bench.verdict("new") == ("REJECTED", D(0))
    assert bench.look("new")[1].missing == ("new",)


@pytest.mark.failure("OR-23")
def test_replace_when_the_old_order_is_gone_then_nothing_is_placed(bench: Bench) -> None:
    """An order that ended before cannot be replaced."""
    bench.cancel("old")
    bench.replace("old", "new", "buy", "1", "99.50")
    assert [type(end) for end in ends(bench)] == [CancelRejected]
    assert bench.verdict("new") == ("REJECTED", D(0))
    assert bench.look("new")[1].missing == ("new",)
    assert money(bench)["USDT"] == (D(1000), D(0))


@pytest.mark.failure("OR-23")
def test_replace_when_the_new_order_is_refused_then_the_old_one_is_gone_all_the_same(bench: Bench) -> None:
    """The cancel was done: the old order is CANCELED, the new one REJECTED for its own reason."""
    bench.replace("old", "new", "buy", "1", "100.01", post_only=True)
    assert bench.reports("old")[-1] == ("CANCELED", D(0))
    assert bench.last("new").reason == "POST_ONLY: Order would immediately match and take."
    assert money(bench)["USDT"] == (D(1000), D(0))


def test_replace_when_the_new_order_breaks_a_filter_then_the_old_one_rests(bench: Bench) -> None:
    """Filters are looked at before the cancel."""
    bench.replace("old", "new", "buy", "1", "99.005")
    assert bench.reports("old") == [("NEW", D(0))]
    assert bench.last("new").reason == "FILTER: Filter failure: PRICE_FILTER"
    assert [end.reason for end in ends(bench)] == ["FILTER: Filter failure: PRICE_FILTER"]
    assert money(bench)["USDT"] == (D(802), D(198))


def test_replace_when_the_new_id_is_open_already_then_that_order_is_in_doubt(bench: Bench) -> None:
    """`Duplicate order sent.` proves that an order of this id exists: it is asked for, not placed twice."""
    bench.place("twin", "buy", "1", "98.00")
    bench.replace("old", "twin", "buy", "1", "99.50")
    assert ends(bench) == [
        OrderInDoubt(ACCOUNT, ClientOrderId("twin"), Doubt.REPLACE, "DUPLICATE: Duplicate order sent.")
    ]
    assert bench.reports("old")[-1] == ("CANCELED", D(0))
    _, done = bench.look("twin")
    assert (done.complete, done.missing) == (True, ())
    assert money(bench)["USDT"] == (D(902), D(98))
