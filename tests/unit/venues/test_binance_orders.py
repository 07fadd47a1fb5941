"""The words of a Binance spot account: requests as documented, answers and events as recorded."""

from __future__ import annotations

import contextlib
import gzip
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conformance.venue.bench import ACCOUNT, BTC, T0, Bench, D, spot
from tradefan.errors import Refused
from tradefan.messages.account import Balance, Balances
from tradefan.messages.gateway import CancelOrder, ExecutionReport, FillBusted, ReplaceOrder, VenueFill
from tradefan.messages.orders import OrderStatus
from tradefan.messages.wire import Text
from tradefan.units import MS, Asset, ClientOrderId, InstrumentId, OwnerId, TradeId
from tradefan.venues.binance_account_wire import BODY_MAX, read_frame
from tradefan.venues.binance_orders import NAMELESS, OrderCodec, StreamEnded
from tradefan.venues.binance_outcome import Verdict, outcome
from tradefan.venues.feed_events import BadFrame, Unmapped
from tradefan.venues.paper import PaperVenue
from tradefan.venues.paper_state import MemoryStore

LTC = InstrumentId("binance:LTC/BTC")
CODEC = OrderCodec(ACCOUNT, (spot("BTC/USDT"), spot("LTC/BTC"), spot("ETH/BTC"), spot("BNB/BTC")))
RECV_NS = T0 + 5


def read(text: Text) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(text.text)
    return body


def order(**more: Any) -> Any:
    bench = Bench(PaperVenue((spot("BTC/USDT"),), MemoryStore({})))
    return bench.order("me", "buy", "0.5", "99.10", **more)


# --- requests ---------------------------------------------------------------------------------------


def test_create_when_it_is_a_limit_then_every_parameter_is_there() -> None:
    """Plain decimals, our id, FULL, self-trade prevention, the window and the instant."""
    assert read(CODEC.create(7, order(), T0)) == {
        "id": "7",
        "method": "order.place",
        "params": {
            "symbol": "BTCUSDT",
            "side": "BUY",
            "type": "LIMIT",
            "timeInForce": "GTC",
            "price": "99.1",
            "quantity": "0.5",
            "newClientOrderId": "me",
            "newOrderRespType": "FULL",
            "selfTradePreventionMode": "EXPIRE_TAKER",
            "recvWindow": 2000,
            "timestamp": T0 // MS,
        },
    }


def test_create_when_it_is_post_only_or_market_then_it_has_no_time_in_force() -> None:
    """LIMIT_MAKER has a price, MARKET has none; neither takes a time in force."""
    maker = read(CODEC.create(1, order(post_only=True), T0))["params"]
    assert (maker["type"], maker["price"], "timeInForce" in maker) == ("LIMIT_MAKER", "99.1", False)
    bench = Bench(PaperVenue((spot("BTC/USDT"),), MemoryStore({})))
    market = read(CODEC.create(1, bench.order("me", "sell", "1", None), T0))["params"]
    assert (market["type"], "price" in market, "timeInForce" in market) == ("MARKET", False, False)


def test_replace_when_it_is_written_then_it_stops_on_failure_and_only_takes_what_is_new() -> None:
    """The parameters of a create and, beside them, what is taken away and under which restriction."""
    create = order()
    body = read(CODEC.replace(8, ReplaceOrder(ACCOUNT, create, ClientOrderId("old")), T0))
    added = {
        "cancelReplaceMode": "STOP_ON_FAILURE",
        "cancelRestrictions": "ONLY_NEW",
        "cancelOrigClientOrderId": "old",
    }
    assert (body["id"], body["method"]) == ("8", "order.cancelReplace")
    assert body["params"] == read(CODEC.create(8, create, T0))["params"] | added


def test_create_when_a_limit_has_no_price_or_the_instrument_is_unknown_then_it_is_refused() -> None:
    """Nothing is guessed."""
    with pytest.raises(Refused, match="BAD_ORDER"):
        CODEC.create(1, msgspec.structs.replace(order(), limit_price=None), T0)
    with pytest.raises(Refused, match="UNKNOWN_INSTRUMENT"):
        CODEC.create(1, msgspec.structs.replace(order(), instrument=InstrumentId("binance:X/Y")), T0)


def test_requests_when_they_name_orders_then_by_the_right_id() -> None:
    """Cancels and queries by client id, or by the venue's; trades after a cursor or only the newest."""
    timed = {"recvWindow": 2000, "timestamp": T0 // MS}
    me = ClientOrderId("me")
    cancel = CancelOrder(ACCOUNT, BTC, OwnerId("api"), me)
    by_me = {"symbol": "BTCUSDT", "origClientOrderId": "me"}
    after = {"symbol": "BTCUSDT", "fromId": 8, "limit": 1000}
    found = [
        CODEC.cancel(1, cancel, T0),
        CODEC.query(2, BTC, T0, me),
        CODEC.query_venue_id(3, BTC, T0, "28"),
        CODEC.open_orders(4, T0),
        CODEC.trades(5, BTC, T0, TradeId("7")),
        CODEC.trades(6, BTC, T0, None),
        CODEC.balances(7, T0),
    ]
    assert [(read(text)["method"], read(text)["params"]) for text in found] == [
        ("order.cancel", by_me | timed),
        ("order.status", by_me | timed),
        ("order.status", {"symbol": "BTCUSDT", "orderId": 28} | timed),
        ("openOrders.status", timed),
        ("myTrades", after | timed),
        ("myTrades", {"symbol": "BTCUSDT", "limit": 1} | timed),
        ("account.status", {"omitZeroBalances": True} | timed),
    ]
    assert read(CODEC.subscribe(9)) == {"id": "9", "method": "userDataStream.subscribe", "params": {}}


# --- answers and events, as documented -----------------------------------------------------------------

PLACED = {
    "symbol": "BTCUSDT",
    "orderId": 28,
    "clientOrderId": "me",
    "transactTime": 1507725176595,
    "price": "0.00000000",
    "origQty": "10.00000000",
    "executedQty": "5.00000000",
    "status": "EXPIRED",
    "side": "SELL",
    "fills": [
        {"price": "4000.0", "qty": "5.0", "commission": "4.0", "commissionAsset": "USDT", "tradeId": 56}
    ],
}


def test_placed_when_it_filled_then_fills_come_before_the_report() -> None:
    """Fills first, so that nobody sees more filled than traded; a price of zero is no price."""
    at_ns = 1507725176595 * MS
    fill = VenueFill(
        account=ACCOUNT,
        instrument=BTC,
        trade_id=TradeId("56"),
        client_order_id=ClientOrderId("me"),
        venue_order_id="28",
        side="sell",
        qty=D(5),
        price=D(4000),
        fee=D(4),
        fee_asset=Asset("USDT"),
        liquidity="taker",
        event_ns=at_ns,
        recv_ns=RECV_NS,
        source="answer",
    )
    report = ExecutionReport(
        account=ACCOUNT,
        instrument=BTC,
        client_order_id=ClientOrderId("me"),
        venue_order_id="28",
        status=OrderStatus.EXPIRED,
        side="sell",
        order_qty=D(10),
        cum_qty=D(5),
        limit_price=None,
        reason="",
        event_ns=at_ns,
        recv_ns=RECV_NS,
        source="answer",
    )
    assert CODEC.placed(json.dumps(PLACED).encode(), RECV_NS) == (fill, report)
    foreign = json.dumps(PLACED | {"symbol": "XY"}).encode()
    assert CODEC.placed(foreign, RECV_NS) == (Unmapped("symbol", "XY"),)


@pytest.mark.failure("OR-20")
def test_placed_when_a_fill_has_no_id_then_it_is_not_told_and_counted() -> None:
    """Nobody could tell it from the same fill told again; the report says that something is missing."""
    named = PLACED["fills"][0]  # type: ignore[index]
    nameless = [{key: value for key, value in named.items() if key != "tradeId"}, named | {"tradeId": -1}]
    *fills, report = CODEC.placed(json.dumps(PLACED | {"fills": nameless}).encode(), RECV_NS)
    assert fills == [NAMELESS, NAMELESS]
    assert isinstance(report, ExecutionReport)
    assert report.cum_qty == D(5)


@pytest.mark.failure("OR-13", "OR-14")
@pytest.mark.parametrize(
    ("word", "more", "status", "reason"),
    [
        ("NEW", {}, OrderStatus.NEW, ""),
        ("NEW", {"isWorking": False}, OrderStatus.SUSPENDED, ""),
        ("PENDING_NEW", {}, OrderStatus.SUSPENDED, ""),
        ("PARTIALLY_FILLED", {"isWorking": False}, OrderStatus.PARTIALLY_FILLED, ""),
        ("EXPIRED", {"expiryReason": "LIQUIDITY"}, OrderStatus.EXPIRED, "LIQUIDITY"),
        ("EXPIRED_IN_MATCH", {}, OrderStatus.EXPIRED, "stp"),
        ("PENDING_CANCEL", {}, OrderStatus.UNKNOWN, ""),
        ("SOMETHING_NEW", {}, OrderStatus.UNKNOWN, ""),
    ],
)
def test_status_when_the_venue_says_it_then_it_is_mapped_or_unknown(
    word: str, more: dict[str, Any], status: OrderStatus, reason: str
) -> None:
    """A word that we do not know keeps the order alive as UNKNOWN."""
    event = CODEC.order(json.dumps(PLACED | {"status": word} | more).encode(), RECV_NS, "look")
    assert isinstance(event, ExecutionReport)
    assert (event.status, event.reason, event.source) == (status, reason, "look")


REPORT: dict[str, Any] = {
    "e": "executionReport",
    "E": 1499405658658,
    "s": "ETHBTC",
    "c": "mine",
    "S": "BUY",
    "q": "2.0",
    "p": "0.1",
    "C": "",
    "x": "TRADE",
    "X": "PARTIALLY_FILLED",
    "r": "NONE",
    "i": 4293153,
    "l": "1.0",
    "z": "1.0",
    "L": "0.1",
    "n": "0.001",
    "N": "ETH",
    "T": 1499405658657,
    "t": 77,
    "m": True,
    "w": True,
}


def event(**more: Any) -> tuple[Any, ...]:
    return CODEC.event(json.dumps(REPORT | more).encode(), RECV_NS)


def test_execution_report_when_it_is_a_trade_then_the_fill_comes_first() -> None:
    """A trade is a fill and a report."""
    fill, report = event()
    assert (fill.trade_id, fill.qty, fill.price, fill.fee, fill.fee_asset, fill.liquidity, fill.source) == (
        "77",
        D(1),
        D("0.1"),
        D("0.001"),
        "ETH",
        "maker",
        "stream",
    )
    assert (report.status, report.cum_qty, report.client_order_id, report.limit_price) == (
        OrderStatus.PARTIALLY_FILLED,
        D(1),
        "mine",
        D("0.1"),
    )


@pytest.mark.failure("OR-20")
def test_execution_report_when_its_trade_has_no_id_then_only_the_report_is_told() -> None:
    """The quantity is known and the next look brings the trade; `t` may be missing or below zero."""
    nameless = {key: value for key, value in REPORT.items() if key != "t"}
    for body in (nameless, REPORT | {"t": -1}):
        report, counted = CODEC.event(json.dumps(body).encode(), RECV_NS)
        assert isinstance(report, ExecutionReport)
        assert (report.cum_qty, counted) == (D(1), NAMELESS)


def test_trade_bust_when_it_comes_then_the_trade_is_taken_back_or_corrected() -> None:
    """Without amounts the trade does not hold, with both of them they are what holds now."""
    bust = {"e": "tradeBust", "E": 9, "T": 7, "s": "ETHBTC", "t": 77}
    eth = InstrumentId("binance:ETH/BTC")

    def told(**more: Any) -> tuple[Any, ...]:
        return CODEC.event(json.dumps(bust | more).encode(), RECV_NS)

    key = (ACCOUNT, eth, TradeId("77"), 7 * MS, RECV_NS)
    assert told() == (FillBusted(*key),)
    assert told(q=None, p=None) == (FillBusted(*key),)
    assert told(q="0.5", p="0.1") == (FillBusted(*key, D("0.5"), D("0.1")),)
    assert told(s="XY") == (Unmapped("symbol", "XY"),)


def test_execution_report_when_it_is_no_trade_then_there_is_no_fill() -> None:
    """`t` = -1 says that nothing traded; ids, reasons and unknown words are read with care."""
    none = {"t": -1, "l": "0", "L": "0", "n": "0", "N": None}
    (canceled,) = event(x="CANCELED", X="CANCELED", c="cancel-1", C="mine", **none)
    assert (canceled.client_order_id, canceled.status) == ("mine", OrderStatus.CANCELED)
    (stp,) = event(x="TRADE_PREVENTION", X="EXPIRED_IN_MATCH", **none)
    assert (stp.status, stp.reason) == (OrderStatus.EXPIRED, "stp")
    (rejected,) = event(x="REJECTED", X="REJECTED", r="INSUFFICIENT_BALANCE", **none)
    assert rejected.reason == "INSUFFICIENT_BALANCE"
    (expired,) = event(x="EXPIRED", X="EXPIRED", eR=3, **none)
    assert expired.reason == "3"
    strange, word = event(x="NEW", X="FROZEN", **none)
    assert (strange.status, word) == (OrderStatus.UNKNOWN, Unmapped("status", "FROZEN"))
    assert event(s="XY") == (Unmapped("symbol", "XY"),)


def test_other_events_when_they_come_then_they_are_told_or_counted() -> None:
    """Balances that changed, the end of the stream, and kinds that say nothing about us."""
    position = {"e": "outboundAccountPosition", "u": 5, "B": [{"a": "ETH", "f": "2", "l": "1"}]}
    balances = Balances(
        account=ACCOUNT,
        balances=(Balance(Asset("ETH"), D(2), D(1)),),
        whole=False,
        event_ns=5 * MS,
        recv_ns=RECV_NS,
        source="stream",
    )
    assert CODEC.event(json.dumps(position).encode(), RECV_NS) == (balances,)
    assert CODEC.event(b'{"e":"eventStreamTerminated","E":1}', 1) == (StreamEnded("eventStreamTerminated"),)
    assert CODEC.event(b'{"e":"listStatus","E":1}', 1) == (Unmapped("event", "listStatus"),)


TRADE: dict[str, Any] = {
    "symbol": "BTCUSDT",
    "id": 28,
    "orderId": 9,
    "price": "99.0",
    "qty": "0.10",
    "commission": "0.1",
    "commissionAsset": "BTC",
    "time": 5,
    "isBuyer": True,
    "isMaker": False,
}


@pytest.mark.failure("OR-20")
def test_trades_when_some_have_no_id_then_they_are_named_by_what_they_say() -> None:
    """Sorted where all have ids; else in the venue's order, and equal ones are told apart by number."""
    nameless = {key: value for key, value in TRADE.items() if key != "id"}
    first, second = CODEC.trade_rows(BTC, json.dumps([TRADE | {"id": 30}, TRADE]).encode())
    assert CODEC.trade_ids(BTC, (first, second)) == ("28", "30")
    body = [nameless, TRADE, nameless | {"id": -1, "qty": "0.1"}, nameless | {"price": "98"}]
    rows = CODEC.trade_rows(BTC, json.dumps(body).encode())
    ids = CODEC.trade_ids(BTC, rows)
    assert [row.trade_id for row in rows] == [None, 28, None, None]
    assert (ids[1], len(set(ids)), all(name.startswith("h") for name in ids if name != "28")) == (
        "28",
        4,
        True,
    )
    again = CODEC.trade_rows(BTC, json.dumps([nameless, nameless]).encode())
    assert CODEC.trade_ids(BTC, again) == (ids[0], ids[2])


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("order", PLACED | {"origQty": "NaN"}),
        ("order", PLACED | {"executedQty": "-1"}),
        ("order", PLACED | {"side": "LONG"}),
        ("order", PLACED | {"orderId": None}),
        ("order", PLACED | {"fills": [PLACED["fills"][0] | {"qty": "Infinity"}]}),  # type: ignore[index]
        ("event", REPORT | {"z": "-Infinity"}),
        ("event", REPORT | {"n": "NaN"}),
        ("event", REPORT | {"L": "0"}),
        ("event", REPORT | {"q": "1e999999"}),
        ("event", REPORT | {"T": 2**60}),
        ("event", REPORT | {"i": 2**80}),
        ("event", REPORT | {"c": "x" * 101}),
        ("event", {"e": "tradeBust", "T": 1, "s": "ETHBTC", "t": -1}),
        ("event", {"e": "tradeBust", "T": 1, "s": "ETHBTC", "t": 1, "q": "1"}),
        ("event", {"e": "tradeBust", "T": 1, "s": "ETHBTC", "t": 1, "q": "0", "p": "1"}),
        ("event", {"e": "outboundAccountPosition", "u": 1, "B": [{"a": "X", "f": "-1", "l": "0"}]}),
        ("event", {"E": 1}),
        ("account", {"balances": [{"asset": "X", "free": "1", "locked": "sNaN"}]}),
        ("account", {"balances": [{"asset": "X", "free": "1" * 40, "locked": "0"}]}),
        ("trades", [{"symbol": "BTCUSDT", "id": 1}]),
        ("trades", [TRADE | {"qty": "0"}]),
        ("trades", [TRADE | {"symbol": "LTCBTC"}]),
        ("trades", [TRADE, TRADE | {"id": 2**70}]),
    ],
)
def test_body_when_it_is_malformed_then_it_is_a_bad_frame(kind: str, body: Any) -> None:
    """Missing, of another type, not finite or negative: quarantined, never booked."""
    text = json.dumps(body).encode()
    readers = {
        "order": lambda: CODEC.placed(text, 1),
        "event": lambda: CODEC.event(text, 1),
        "account": lambda: CODEC.account_balances(text, 1, "look"),
        "trades": lambda: CODEC.trade_rows(BTC, text),
    }
    with pytest.raises(BadFrame):
        readers[kind]()


@given(st.binary(max_size=60) | st.text(max_size=40).map(str.encode))
def test_decoder_when_anything_comes_then_only_bad_frame_is_raised(body: bytes) -> None:
    """Fuzz: a frame is read or quarantined."""
    for reader in (
        read_frame,
        lambda body: CODEC.event(body, 1),
        lambda body: CODEC.placed(body, 1),
        lambda body: CODEC.orders(body, 1, "look"),
    ):
        with contextlib.suppress(BadFrame):
            reader(body)


def test_decoder_when_a_frame_is_nested_without_end_then_it_is_a_bad_frame() -> None:
    """A body that would exhaust the stack is garbage like any other."""
    deep = b'{"id":"1","x":' + b"[" * 100_000
    with pytest.raises(BadFrame):
        read_frame(deep)
    assert outcome("create", 200, b"[" * 100_000).verdict is Verdict.IN_DOUBT


def test_frame_when_it_is_too_long_or_its_id_is_no_number_then_it_is_read_with_care() -> None:
    """A body beyond every honest one is not read; an id of thousands of digits was never ours."""
    with pytest.raises(BadFrame):
        read_frame(b" " * BODY_MAX + b'{"id":"1"}')
    assert read_frame(b" " * (BODY_MAX - 10) + b'{"id":"1"}').req == 1
    for text in ('"' + "9" * 5_000 + '"', '"-1"', '"x"', r'"\u0661"', "null"):
        assert read_frame(f'{{"id":{text}}}'.encode()).req is None


# --- bodies that others recorded -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded(reference_data: Path) -> dict[str, dict[str, Any]]:
    with gzip.open(reference_data / "wire-jkorf" / "binance.jsonl.gz", "rt") as lines:
        return {row["case"]: row for row in map(json.loads, lines)}


def test_recorded_answers_when_they_are_read_then_they_say_what_they_say(
    recorded: dict[str, dict[str, Any]],
) -> None:
    """REST bodies of orders, cancels, open orders, trades and balances."""

    def body(name: str) -> bytes:
        return json.dumps(recorded[f"Endpoints/Spot/{name}"]["response"]).encode()

    events = CODEC.placed(body("Trading/PlaceOrder"), 1)
    assert [type(item) for item in events] == [VenueFill] * 5 + [ExecutionReport]
    canceled = CODEC.order(body("Trading/CancelOrder"), 1, "answer")
    assert isinstance(canceled, ExecutionReport)
    assert (canceled.client_order_id, canceled.status) == ("myOrder1", OrderStatus.CANCELED)
    (opened,) = CODEC.orders(body("Trading/GetOpenOrders"), 1, "look")
    assert isinstance(opened, ExecutionReport)
    assert (opened.instrument, opened.status) == (LTC, OrderStatus.NEW)
    bnb = InstrumentId("binance:BNB/BTC")
    (row,) = CODEC.trade_rows(bnb, body("Trading/GetUserTrades"))
    (trade_id,) = CODEC.trade_ids(bnb, (row,))
    fill = CODEC.fill(row, bnb, trade_id, ClientOrderId("x"), 1)
    assert (fill.trade_id, fill.qty, fill.side, fill.liquidity) == ("28457", D(12), "buy", "taker")
    balances = CODEC.account_balances(body("Account/GetAccountInfo"), 1, "look")
    assert [row.asset for row in balances.balances] == ["BTC", "LTC"]


def test_recorded_events_when_they_are_read_then_they_are_told(recorded: dict[str, dict[str, Any]]) -> None:
    """User data events in their envelope."""

    def frame(name: str) -> bytes:
        text = recorded[f"Subscriptions/Spot/Account/{name}"]["text"]
        return bytes(read_frame(text.split("\n=", 1)[1].strip().encode()).event)

    (report,) = CODEC.event(frame("Order"), 1)
    assert isinstance(report, ExecutionReport)
    assert (report.client_order_id, report.status) == ("mUvoqJxFIILMdfAW5iGSOW", OrderStatus.NEW)
    (balances,) = CODEC.event(frame("AccountPosition"), 1)
    assert isinstance(balances, Balances)
    assert balances.balances == (Balance(Asset("ETH"), D(10000), D(0)),)
    assert CODEC.event(frame("OcoOrder"), 1) == (Unmapped("event", "listStatus"),)
