"""The simulated venue when nothing goes wrong: it answers as Binance does and its books balance."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from tests.unit.sim.venue_client import Client
from tests.unit.sim.wired import BALANCES, BTC, ETH
from tradefan.messages.gateway import ExecutionReport, VenueFill
from tradefan.messages.orders import OrderStatus
from tradefan.messages.wire import Closed, NotWritten, Written
from tradefan.sim.witness import VenueTruth
from tradefan.units import SECOND, ZERO
from tradefan.venues import binance_account_wire as wire

QTY = Decimal("0.01")


def connected(**settings: object) -> Client:
    """Return a client whose connection stands and hears the private stream."""
    client = Client(**settings)  # type: ignore[arg-type]
    client.connect()
    return client


def far(client: Client) -> Decimal:
    """Return a price at which a buy rests."""
    return client.market.touch(BTC.id, "buy") // 2 // BTC.price_tick * BTC.price_tick


def test_venue_when_looked_at_then_it_is_the_truth_that_checkers_want() -> None:
    """It has all that the protocol names."""
    truth: VenueTruth = connected().venue
    assert (truth.honest, truth.orders, truth.trades, truth.log) == (True, {}, [], [])
    assert truth.balances == BALANCES
    assert not truth.may_accept("anything")


def test_create_when_it_takes_then_the_answer_reads_as_an_order_with_fills() -> None:
    """The gateway's codec reads the fill and the filled order; the book has the same."""
    client = connected()
    touch = client.market.touch(BTC.id, "buy")
    req = client.place(BTC, "buy", QTY, touch + 10, "a1")
    result = msgspec.json.encode(client.answer(req)["result"])
    fill, report = client.codec.placed(result, 0)
    assert isinstance(fill, VenueFill)
    assert isinstance(report, ExecutionReport)
    assert (fill.qty, fill.fee_asset, fill.fee) == (QTY, "BTC", QTY / 1000)
    assert abs(fill.price - touch) < 100
    assert (report.status, report.cum_qty, report.client_order_id) == (OrderStatus.FILLED, QTY, "a1")
    order, trade = client.order("a1"), client.venue.book.trades[0]
    assert (order.status, order.cum_qty, order.open_qty, order.ours) == ("FILLED", QTY, ZERO, True)
    assert (trade.trade_id, trade.qty, trade.price) == (fill.trade_id, QTY, fill.price)
    assert [event.what for event in client.venue.log] == ["create", "accepted", "fill"]


def test_create_when_it_rests_then_its_funds_are_locked_and_it_fills_when_the_price_comes() -> None:
    """It fills as a maker at its own price in the move that reaches it, and the stream says so."""
    client = connected(volatility=1e-3)
    price = client.market.touch(BTC.id, "buy") - 20
    client.place(BTC, "buy", QTY, price, "a1")
    client.run(0.1)
    wallet = client.venue.book.wallet
    assert client.order("a1").status == "NEW"
    assert wallet.free("USDT") == BALANCES["USDT"] - QTY * price
    client.run(120)
    (trade,) = client.venue.book.trades
    assert (trade.price, trade.qty, trade.maker) == (price, QTY, True)
    assert wallet.free("USDT") == client.venue.balances["USDT"] == BALANCES["USDT"] - QTY * price
    reports = [event for _, event in client.events if event["e"] == "executionReport"]
    assert [(event["x"], event["X"]) for event in reports] == [("NEW", "NEW"), ("TRADE", "FILLED")]


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        ({"price": Decimal("50000.005")}, -1013, "Filter failure: PRICE_FILTER"),
        ({"qty": Decimal("0.0000101")}, -1013, "Filter failure: LOT_SIZE"),
        ({"qty": Decimal("0.00001")}, -1013, "Filter failure: NOTIONAL"),
        ({"qty": Decimal(1000)}, -2010, "Account has insufficient balance for requested action."),
        ({"post_only": True, "price": Decimal(90_000)}, -2010, "Order would immediately match and take."),
    ],
)
def test_create_when_a_rule_forbids_it_then_it_is_refused_and_nothing_changed(
    change: dict[str, object], code: int, text: str
) -> None:
    """The venue's own words, a line in the log, and no order."""
    client = connected()
    wish = {"qty": QTY, "price": Decimal(50_000)} | change
    req = client.place(BTC, "buy", client_order_id="a1", **wish)  # type: ignore[arg-type]
    error = client.answer(req)["error"]
    assert (error["code"], error["msg"]) == (code, text)
    assert (client.venue.orders, client.venue.balances) == ({}, BALANCES)
    assert [(event.what, event.text) for event in client.venue.log][1:] == [("rejected", text)]


def test_client_id_when_its_order_is_open_then_it_is_taken_and_free_again_later() -> None:
    """Unique among open orders only: the trap of OR-04."""
    client = connected()
    client.place(BTC, "buy", QTY, far(client), "a1")
    client.run(0.1)
    again = client.answer(client.place(BTC, "buy", QTY, far(client), "a1"))
    assert again["error"]["msg"] == "Duplicate order sent."
    client.cancel(BTC, "a1")
    client.run(0.1)
    free = client.answer(client.place(BTC, "buy", QTY, far(client), "a1"))
    assert free["status"] == 200
    status = client.query("order.status", symbol="BTCUSDT", origClientOrderId="a1")
    assert client.answer(status)["result"]["status"] == "NEW"


@pytest.mark.parametrize("tif", ["IOC", "FOK"])
def test_create_when_it_may_not_rest_then_what_is_left_expires(tif: str) -> None:
    """Nothing of it stays in the book, and its funds are free again."""
    client = connected()
    client.place(BTC, "buy", QTY, far(client), "a1", tif=tif)  # type: ignore[arg-type]
    client.run(0.1)
    assert client.order("a1").status == "EXPIRED"
    assert client.venue.book.wallet.free("USDT") == BALANCES["USDT"]


def test_cancel_when_the_order_is_open_then_it_ends_and_else_it_is_unknown() -> None:
    """The second cancel finds nothing; both reads are the gateway's."""
    client = connected()
    client.place(BTC, "buy", QTY, far(client), "a1")
    client.run(0.1)
    row = wire.read_order(msgspec.json.encode(client.answer(client.cancel(BTC, "a1"))["result"]))
    assert (row.status, row.orig_client_order_id) == ("CANCELED", "a1")
    error = client.answer(client.cancel(BTC, "a1"))["error"]
    assert (error["code"], error["msg"]) == (-2011, "Unknown order sent.")
    order = client.order("a1")
    assert (order.status, order.open_qty, order.ended_ns is not None) == ("CANCELED", ZERO, True)


def test_queries_when_asked_then_the_gateway_reads_orders_trades_and_balances() -> None:
    """One resting and one filled order show in all four answers."""
    client = connected()
    client.place(ETH, "sell", Decimal("0.5"), None, "a1")
    client.place(BTC, "buy", QTY, far(client), "a2")
    client.run(0.1)
    asks = [
        client.query("openOrders.status"),
        client.query("myTrades", symbol="ETHUSDT", fromId=1, limit=1000),
        client.query("account.status", omitZeroBalances=True),
    ]
    client.run(0.2)
    orders, trades, account = (msgspec.json.encode(client.answers[req][1]["result"]) for req in asks)
    assert [row.client_order_id for row in wire.read_orders(orders)] == ["a2"]
    assert [(row.qty, row.is_buyer) for row in wire.read_trades(trades)] == [(Decimal("0.5"), False)]
    rows = {row.asset: row for row in wire.read_account(account).balances}
    assert rows["USDT"].locked == QTY * client.order("a2").price
    assert {asset: row.free + row.locked for asset, row in rows.items()} == client.venue.balances


def test_trades_when_asked_by_pages_then_each_row_comes_once() -> None:
    """`fromId` is inclusive, a page has at most `limit` rows, and without `fromId` the newest come."""
    client = connected()
    for number in range(5):
        client.place(BTC, "buy", QTY, None, f"a{number}")
    client.run(0.1)
    pages = [client.query("myTrades", symbol="BTCUSDT", fromId=start, limit=2) for start in (1, 3, 5)]
    newest = client.query("myTrades", symbol="BTCUSDT", limit=1)
    client.run(0.2)
    ids = [row["id"] for req in pages for row in client.answers[req][1]["result"]]
    assert ids == [1, 2, 3, 4, 5]
    assert [row["id"] for row in client.answers[newest][1]["result"]] == [5]


def test_write_when_latched_or_late_or_of_an_old_generation_then_it_is_not_written() -> None:
    """`may_write` is asked in the statement before, and the write log hears what it said."""
    closed: list[str] = []
    client = connected(latched=lambda write: bool(closed) and write.scopes == ("all",))
    closed.append("all")
    client.place(BTC, "buy", QTY, far(client), "a1")
    client.cancel(BTC, "a1")
    closed.clear()
    order = client.create(BTC, "buy", QTY, far(client), "a2")
    client.write("create", client.codec.create(client._next(), order, client.now_ns), client.now_ns - 1)
    client.gen += 1
    client.place(BTC, "buy", QTY, far(client), "a3")
    client.run(0.2)
    refused = [message.reason for message in client.heard if isinstance(message, NotWritten)]
    assert refused == ["LATCHED", "EXPIRED", "STALE_GENERATION"]
    assert [reason for write, reason in client.writes if write.op == "create"] == refused
    assert client.venue.orders == {}
    # A cancel passes the latch.
    assert [event.what for event in client.venue.log] == ["cancel"]


def test_request_when_it_was_under_way_for_too_long_then_the_venue_refuses_it() -> None:
    """The venue's own expiry stands behind the link's."""
    client = connected()
    order = client.create(BTC, "buy", QTY, far(client), "a1")
    body = client.codec.create(client._next(), order, client.now_ns - 3 * SECOND)
    error = client.answer(client.write("create", body))["error"]
    assert error["code"] == -1021


def test_crash_when_a_create_is_on_its_way_then_it_is_accepted_and_nobody_hears() -> None:
    """The book is not the process's: what was written is done, and the next process can see it."""
    client = connected()
    client.place(BTC, "buy", QTY, far(client), "a1")
    assert client.venue.may_accept("a1")
    client.venue.crash()
    heard = len(client.heard)
    client.run(1)
    assert client.order("a1").status == "NEW"
    assert not client.venue.may_accept("a1")
    assert len(client.heard) == heard
    client.connect()
    shown = client.answer(client.query("openOrders.status"))["result"]
    assert [row["clientOrderId"] for row in shown] == ["a1"]


def test_close_when_an_answer_is_on_its_way_then_it_is_not_heard() -> None:
    """The other end of a connection that is closed says nothing more than that."""
    client = connected()
    req = client.place(BTC, "buy", QTY, far(client), "a1")
    client.venue.links.close(("account", client.gen), client.now_ns, 1000, "closed")
    client.run(1)
    assert req not in client.answers
    assert isinstance(client.heard[-1], Closed)
    assert any(isinstance(message, Written) and message.req == req for message in client.heard)


# --- cancel-replace -------------------------------------------------------------------------------------


def test_replace_when_both_legs_succeed_then_both_are_told() -> None:
    """The old order is canceled and the new one stands, in one answer and two lines of the log."""
    client = connected()
    price = far(client)
    client.place(BTC, "buy", QTY, price, "a1")
    client.run(0.1)
    answer = client.answer(client.replace(BTC, "a1", "buy", QTY, price + 1, "a2"))
    result = answer["result"]
    assert (answer["status"], result["cancelResult"], result["newOrderResult"]) == (200, "SUCCESS", "SUCCESS")
    assert result["cancelResponse"]["origClientOrderId"] == "a1"
    assert result["newOrderResponse"]["clientOrderId"] == "a2"
    assert (client.order("a1").status, client.order("a2").status) == ("CANCELED", "NEW")
    arrived = [(event.what, event.client_order_id) for event in client.venue.log][2:4]
    assert arrived == [("cancel", "a1"), ("create", "a2")]


def test_replace_when_the_old_order_is_gone_then_the_new_one_is_not_attempted() -> None:
    """STOP_ON_FAILURE: -2022 with status 400."""
    client = connected()
    answer = client.answer(client.replace(BTC, "a1", "buy", QTY, far(client), "a2"))
    data = answer["error"]["data"]
    assert (answer["status"], answer["error"]["code"]) == (400, -2022)
    assert (data["cancelResult"], data["newOrderResult"]) == ("FAILURE", "NOT_ATTEMPTED")
    assert data["cancelResponse"] == {"code": -2011, "msg": "Unknown order sent."}
    assert data["newOrderResponse"] is None
    assert client.venue.orders == {}


def test_replace_when_the_old_order_has_filled_in_part_then_only_new_forbids_it() -> None:
    """`ONLY_NEW`: a fill that we do not know of must not be sent twice."""
    client = connected()
    client.place(BTC, "buy", QTY, far(client), "a1")
    client.run(0.1)
    order = client.order("a1")
    client.venue.book.fill(order, QTY / 2, order.price, client.now_ns, maker=True)
    answer = client.answer(client.replace(BTC, "a1", "buy", QTY, far(client), "a2"))
    response = answer["error"]["data"]["cancelResponse"]
    assert response["msg"] == "Order was not canceled due to cancel restrictions."
    assert order.status == "PARTIALLY_FILLED"


def test_replace_when_the_new_order_is_refused_then_the_old_one_is_gone_all_the_same() -> None:
    """-2021 with status 409: one leg each."""
    client = connected()
    client.place(BTC, "buy", QTY, far(client), "a1")
    client.run(0.1)
    answer = client.answer(client.replace(BTC, "a1", "buy", Decimal(1000), far(client), "a2"))
    data = answer["error"]["data"]
    assert (answer["status"], answer["error"]["code"]) == (409, -2021)
    assert (data["cancelResult"], data["newOrderResult"]) == ("SUCCESS", "FAILURE")
    assert data["newOrderResponse"]["code"] == -2010
    assert [order.status for order in client.venue.orders.values()] == ["CANCELED"]


def test_replace_when_the_new_order_breaks_a_filter_then_nothing_is_done() -> None:
    """Filters are looked at before the cancel."""
    client = connected()
    client.place(BTC, "buy", QTY, far(client), "a1")
    client.run(0.1)
    answer = client.answer(client.replace(BTC, "a1", "buy", QTY, Decimal("1.005"), "a2"))
    assert answer["error"]["code"] == -1013
    assert client.order("a1").status == "NEW"
