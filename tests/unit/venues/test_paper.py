"""The paper venue as a timed machine: latency, wire shapes, refusals, restarts, and a store that fails."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tests.conformance.venue.bench import BTC, ETH, INSTRUMENTS, T0, D, spot
from tradefan.errors import Outage, Refused
from tradefan.messages.base import Message
from tradefan.messages.market import BookDelta, BookSnapshot, SessionBreak, Trade
from tradefan.messages.wire import (
    Close,
    Closed,
    Http,
    NotWritten,
    Op,
    Open,
    Opened,
    Received,
    Text,
    Write,
    Written,
)
from tradefan.units import MS, SECOND, InstrumentId, Side
from tradefan.venues.paper import PaperVenue, PaperView
from tradefan.venues.paper_state import Changes, MemoryStore, PaperConfig, PaperOrder

OPENING = {"USDT": D(1000), "BTC": D(10)}
BIDS = ((99.0, 1.0), (98.0, 2.0))
ASKS = ((101.0, 1.0), (102.0, 2.0))


class Rig:
    """A paper venue and a clock; `heard` collects all ingress."""

    def __init__(self, store: MemoryStore | None = None, **config: Any) -> None:
        self.store = MemoryStore(OPENING) if store is None else store
        self.latched = False
        self.venue = PaperVenue(INSTRUMENTS, self.store, PaperConfig(**config), lambda _: self.latched)
        self.now_ns = T0
        self.heard: list[Message] = []
        self.req = 0
        self.gen = 0

    def run(self, delay_ns: int = 100 * MS) -> list[Message]:
        """Let time pass; return what was heard meanwhile."""
        until_ns, before = self.now_ns + delay_ns, len(self.heard)
        while (due := self.venue.next_ns()) is not None and due <= until_ns:
            self.now_ns = max(self.now_ns, due)
            self.heard.extend(self.venue.take(self.now_ns, 256))
        self.now_ns = until_ns
        return self.heard[before:]

    def connect(self, *, subscribe: bool = True) -> None:
        """Open a connection and the user stream."""
        self.gen += 1
        self.apply(Open("account", self.gen, "paper:"))
        self.run()
        if subscribe:
            self.ask("userDataStream.subscribe")

    def apply(self, effect: Message) -> None:
        self.venue.apply(self.now_ns, effect)

    def send(self, method: str, op: Op = "query", not_after_ns: int | None = None, **params: Any) -> int:
        """Write a request."""
        self.req += 1
        body = msgspec.json.encode({"id": str(self.req), "method": method, "params": params}).decode()
        self.apply(Write("account", self.gen, self.req, op, not_after_ns, Text(body)))
        return self.req

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Write a request and return its answer."""
        req = self.send(method, **params)
        return next(body for body in bodies(self.run()) if body.get("id") == str(req))

    def place(self, name: str, side: str, qty: str, price: str | None = None, **more: Any) -> dict[str, Any]:
        """Place an order and return the answer."""
        params = {"symbol": "BTCUSDT", "side": side, "quantity": qty, "newClientOrderId": name}
        params |= {"type": "MARKET"} if price is None else {"type": "LIMIT", "timeInForce": "GTC"}
        params |= {} if price is None else {"price": price}
        return self.ask("order.place", **(params | more))

    def open_book(self) -> None:
        self.apply(BookSnapshot(BTC, 1, BIDS, ASKS, self.now_ns))

    def print(self, price: float, qty: float, side: Side) -> list[Message]:
        """Let a public trade happen and return what is heard of it."""
        self.apply(Trade(BTC, 1, price, qty, side, self.now_ns, self.now_ns))
        return self.run()

    def money(self) -> dict[str, tuple[str, str]]:
        rows = self.ask("account.status")["result"]["balances"]
        return {row["asset"]: (row["free"], row["locked"]) for row in rows}


def bodies(messages: list[Message]) -> list[dict[str, Any]]:
    return [msgspec.json.decode(msg.body) for msg in messages if isinstance(msg, Received)]


def events(messages: list[Message]) -> list[dict[str, Any]]:
    return [body["event"] for body in bodies(messages) if "event" in body]


@pytest.fixture
def rig() -> Rig:
    rig = Rig()
    rig.connect()
    rig.open_book()
    return rig


# --- connections and time ----------------------------------------------------------------------------


def test_request_when_it_is_written_then_half_the_latency_passes_each_way() -> None:
    """`Written` comes at once; the request meets the book after 10 ms, the answer is heard after 20."""
    rig = Rig()
    rig.apply(Open("account", 1, "paper:"))
    assert rig.venue.next_ns() == T0 + 10 * MS
    assert rig.run() == [Opened("account", 1, T0 + 20 * MS)]
    sent_ns, rig.gen = rig.now_ns, 1
    rig.send("ping")
    written, answer = rig.run()
    assert written == Written("account", 1, 1, sent_ns)
    assert isinstance(answer, Received)
    assert (answer.recv_ns, answer.req, bodies([answer])) == (
        sent_ns + 20 * MS,
        None,
        [{"id": "1", "status": 200, "result": {}, "rateLimits": []}],
    )


def test_request_when_the_market_moves_before_it_arrives_then_it_meets_the_new_book(rig: Rig) -> None:
    """What we saw when we sent is not what we get."""
    rig.send("order.place", symbol="BTCUSDT", side="BUY", type="MARKET", quantity="1")
    rig.now_ns += 9 * MS
    rig.apply(BookDelta(BTC, 2, 2, (), ((101.0, 0.0),), 1, rig.now_ns))
    rig.now_ns += 2 * MS
    rig.apply(BookDelta(BTC, 3, 3, (), ((102.0, 0.0),), 2, rig.now_ns))
    answer = bodies(rig.run())[0]
    assert [fill["price"] for fill in answer["result"]["fills"]] == ["102.00000000"]


@pytest.mark.parametrize(
    ("gen", "late", "latched", "reason"),
    [(2, False, False, "STALE_GENERATION"), (1, True, False, "EXPIRED"), (1, False, True, "LATCHED")],
)
def test_write_when_it_may_not_happen_then_nothing_leaves(
    rig: Rig, gen: int, late: bool, latched: bool, reason: str
) -> None:
    """The last check before the write: generation, deadline and latch; the venue hears nothing."""
    rig.latched = latched
    not_after_ns = rig.now_ns - 1 if late else None
    before = rig.venue.requests
    rig.apply(Write("account", gen, 99, "create", not_after_ns, Text("{}")))
    assert rig.run() == [NotWritten("account", gen, 99, reason)]
    assert rig.venue.requests == before


def test_latch_when_it_is_closed_then_cancels_and_queries_pass(rig: Rig) -> None:
    """A closed latch stops creates only."""
    rig.latched = True
    assert rig.ask("order.cancel", op="cancel", symbol="BTCUSDT", origClientOrderId="x")["status"] == 400
    assert rig.ask("ping")["status"] == 200


def test_connection_when_it_is_closed_then_nothing_more_is_heard_on_it(rig: Rig) -> None:
    """Requests that left are carried out, but their answers and the user stream go nowhere."""
    rig.send("order.place", symbol="BTCUSDT", side="BUY", type="MARKET", quantity="1")
    rig.apply(Close("account", 1, 1000))
    closed_ns = rig.now_ns + 10 * MS
    heard = rig.run()
    assert [type(msg) for msg in heard] == [Written, Closed]
    assert heard[1] == Closed("account", 1, closed_ns, 1000, "closed")
    rig.connect()
    assert rig.money()["BTC"] == ("10.99900000", "0.00000000")


def test_close_when_answers_are_on_their_way_then_they_are_lost(rig: Rig) -> None:
    """An answer that was sent but not heard when the connection ended is never heard."""
    rig.send("ping")
    rig.now_ns += 15 * MS
    rig.venue.take(rig.now_ns, 10)
    rig.apply(Close("account", 1))
    assert [type(msg) for msg in rig.run()] == [Closed]


# --- shapes -------------------------------------------------------------------------------------------


def test_order_place_when_it_fills_in_part_then_the_answer_is_full(rig: Rig) -> None:
    """The shape of a FULL answer, with the fee in the received asset."""
    at_ms = rig.now_ns // MS + 10
    answer = rig.place("one", "BUY", "1.5", "101.00")
    assert answer["result"] == {
        "symbol": "BTCUSDT",
        "orderId": 1,
        "orderListId": -1,
        "clientOrderId": "one",
        "transactTime": at_ms,
        "price": "101.00000000",
        "origQty": "1.50000000",
        "executedQty": "1.00000000",
        "cummulativeQuoteQty": "101.00000000",
        "status": "PARTIALLY_FILLED",
        "timeInForce": "GTC",
        "type": "LIMIT",
        "side": "BUY",
        "selfTradePreventionMode": "EXPIRE_TAKER",
        "workingTime": at_ms,
        "fills": [
            {
                "price": "101.00000000",
                "qty": "1.00000000",
                "commission": "0.00100000",
                "commissionAsset": "BTC",
                "tradeId": 1,
            }
        ],
    }


def test_user_stream_when_an_order_fills_then_reports_and_balances_come(rig: Rig) -> None:
    """NEW, one TRADE for each fill, then the balances that changed."""
    rig.place("one", "SELL", "2", "98.00")
    told = events(rig.heard)
    assert [(e["e"], e.get("x"), e.get("X"), e.get("z")) for e in told] == [
        ("executionReport", "NEW", "NEW", "0.00000000"),
        ("executionReport", "TRADE", "PARTIALLY_FILLED", "1.00000000"),
        ("executionReport", "TRADE", "FILLED", "2.00000000"),
        ("outboundAccountPosition", None, None, None),
    ]
    assert {key: told[2][key] for key in "csSlLntNmiw"} == {
        "c": "one",
        "s": "BTCUSDT",
        "S": "SELL",
        "l": "1.00000000",
        "L": "98.00000000",
        "n": "0.09800000",
        "t": 2,
        "N": "USDT",
        "m": False,
        "i": 1,
        "w": False,
    }
    assert told[3]["B"] == [
        {"a": "BTC", "f": "8.00000000", "l": "0.00000000"},
        {"a": "USDT", "f": "1196.80300000", "l": "0.00000000"},
    ]


def test_user_stream_when_an_order_is_canceled_then_its_own_id_stands_in_capital_c(rig: Rig) -> None:
    """On a cancel `c` is the cancel's id and `C` the order's, as in the answer."""
    rig.place("one", "BUY", "1", "99.00")
    answer = rig.ask("order.cancel", symbol="BTCUSDT", origClientOrderId="one", newClientOrderId="bye")
    assert (answer["result"]["origClientOrderId"], answer["result"]["clientOrderId"]) == ("one", "bye")
    canceled = next(e for e in events(rig.heard) if e.get("x") == "CANCELED")
    assert (canceled["c"], canceled["C"], canceled["X"]) == ("bye", "one", "CANCELED")


def test_user_stream_when_nobody_subscribed_then_nothing_is_told() -> None:
    """Answers come without a subscription, events do not; a second subscription is refused."""
    rig = Rig()
    rig.connect(subscribe=False)
    rig.open_book()
    assert rig.place("one", "BUY", "1")["result"]["status"] == "FILLED"
    assert events(rig.heard) == []
    assert rig.ask("userDataStream.subscribe")["result"] == {"subscriptionId": 0}
    assert rig.ask("userDataStream.subscribe")["error"]["code"] == -2035


def test_my_trades_when_pages_are_asked_then_ids_rise(rig: Rig) -> None:
    """`fromId` pages from the oldest; without it the newest come."""
    for number in range(4):
        rig.place(f"o{number}", "BUY", "0.1")
    page = rig.ask("myTrades", symbol="BTCUSDT", fromId=2, limit=2)["result"]
    assert [row["id"] for row in page] == [2, 3]
    newest = rig.ask("myTrades", symbol="BTCUSDT", limit="1")["result"]
    assert [(row["id"], row["orderId"], row["isBuyer"], row["isMaker"]) for row in newest] == [
        (4, 4, True, False)
    ]
    assert rig.ask("myTrades", symbol="ETHUSDT")["result"] == []


def test_order_status_when_it_is_asked_by_either_id_then_any_order_is_found(rig: Rig) -> None:
    """Open orders and those that ended long ago, by client id or the venue's."""
    rig.place("open", "BUY", "1", "99.00")
    rig.place("done", "BUY", "1")
    for params in ({"origClientOrderId": "open"}, {"orderId": 1}):
        assert rig.ask("order.status", symbol="BTCUSDT", **params)["result"]["status"] == "NEW"
    for params in ({"origClientOrderId": "done"}, {"orderId": "2"}):
        assert rig.ask("order.status", symbol="BTCUSDT", **params)["result"]["status"] == "FILLED"
    assert [row["clientOrderId"] for row in rig.ask("openOrders.status")["result"]] == ["open"]
    assert rig.ask("openOrders.status", symbol="ETHUSDT")["result"] == []


# --- refusals -------------------------------------------------------------------------------------------

LIMIT = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC"}
GOOD = LIMIT | {"quantity": "1", "price": "99.00"}


@pytest.mark.parametrize(
    ("method", "params", "code", "text"),
    [
        ("order.place", GOOD | {"symbol": "XXXUSDT"}, -1121, "Invalid symbol."),
        ("order.place", GOOD | {"side": "HOLD"}, -1117, "Invalid side."),
        ("order.place", GOOD | {"type": "STOP_LOSS"}, -1116, "Invalid orderType."),
        ("order.place", GOOD | {"timeInForce": "GTX"}, -1115, "Invalid timeInForce."),
        ("order.place", LIMIT | {"price": "99"}, -1102, "Mandatory parameter 'quantity' was not sent"),
        ("order.place", GOOD | {"price": "1e"}, -1100, "Illegal characters found in parameter 'price'."),
        ("order.place", GOOD | {"price": "1E+40"}, -1013, "Filter failure: PRICE_FILTER"),
        ("order.place", GOOD | {"price": "9" * 60}, -1013, "Filter failure: PRICE_FILTER"),
        ("order.place", GOOD | {"price": "1E+15"}, -1013, "Filter failure: PRICE_FILTER"),
        ("order.place", GOOD | {"price": "999999999999999.99"}, -2010, "Account has insufficient balance"),
        ("order.place", GOOD | {"price": "1E-45"}, -1013, "Filter failure: PRICE_FILTER"),
        ("order.place", GOOD | {"quantity": "1E+40"}, -1013, "Filter failure: LOT_SIZE"),
        ("order.place", GOOD | {"quantity": "1E-45"}, -1013, "Filter failure: LOT_SIZE"),
        ("order.place", GOOD | {"type": "MARKET", "quantity": "1E+40"}, -1013, "Filter failure: LOT_SIZE"),
        (
            "order.status",
            {"symbol": "BTCUSDT", "orderId": "1" * 5_000},
            -1130,
            "Data sent for parameter 'orderId' is not valid.",
        ),
        (
            "order.status",
            {"symbol": "BTCUSDT", "orderId": 10**30},
            -1130,
            "Data sent for parameter 'orderId' is not valid.",
        ),
        ("order.place", GOOD | {"price": "NaN"}, -1100, "Illegal characters found in parameter 'price'."),
        (
            "order.place",
            GOOD | {"quantity": "-1"},
            -1100,
            "Illegal characters found in parameter 'quantity'.",
        ),
        (
            "order.place",
            GOOD | {"type": "LIMIT_MAKER", "price": "101"},
            -2010,
            "Order would immediately match",
        ),
        ("order.place", GOOD | {"symbol": "ETHUSDT"}, -2010, "Market is closed."),
        ("order.place", GOOD | {"timestamp": 1}, -1021, "Timestamp for this request is outside"),
        ("order.place", GOOD | {"type": "MARKET", "quantity": "0.01"}, -1013, "Filter failure: NOTIONAL"),
        (
            "order.place",
            GOOD | {"type": "MARKET", "quantity": "20"},
            -2010,
            "Account has insufficient balance",
        ),
        ("order.cancel", {"symbol": "BTCUSDT", "origClientOrderId": "x"}, -2011, "Unknown order sent."),
        (
            "order.cancel",
            {"symbol": "BTCUSDT"},
            -1102,
            "Param 'origClientOrderId' or 'orderId' must be sent.",
        ),
        ("order.status", {"symbol": "BTCUSDT", "orderId": 7}, -2013, "Order does not exist."),
        ("order.status", {"symbol": "BTCUSDT", "orderId": "x"}, -1130, "Data sent for parameter 'orderId'"),
        ("order.amend", {}, -1020, "This operation is not supported."),
    ],
)
def test_request_when_it_is_wrong_then_the_venue_answers_in_binances_words(
    rig: Rig, method: str, params: dict[str, Any], code: int, text: str
) -> None:
    """Each mistake has Binance's code and text, and changes nothing."""
    if params.get("quantity") == "20":
        rig.apply(BookDelta(BTC, 2, 2, (), ((101.0, 50.0),), 1, rig.now_ns))
    before = rig.money()
    answer = rig.ask(method, **params)
    assert (answer["status"], answer["error"]["code"]) == (400, code)
    assert answer["error"]["msg"].startswith(text)
    assert rig.money() == before


def test_request_when_it_is_no_json_then_it_is_refused_without_an_id(rig: Rig) -> None:
    """A venue cannot name a request that it cannot read."""
    rig.apply(Write("account", 1, 7, "query", None, Text("{")))
    assert bodies(rig.run()) == [
        {
            "id": None,
            "status": 400,
            "error": {"code": -1135, "msg": "Invalid JSON Request"},
            "rateLimits": [],
        }
    ]


def test_request_when_it_is_http_then_it_is_our_defect(rig: Rig) -> None:
    """The paper venue speaks the socket's words only."""
    rig.apply(Write("account", 1, 7, "query", None, Http("GET", "/")))
    with pytest.raises(AssertionError, match="speaks text"):
        rig.run()


def test_symbol_when_it_does_not_trade_then_the_market_is_closed() -> None:
    """An instrument's own status counts too."""
    halted = msgspec.structs.replace(INSTRUMENTS[0], status="HALT")
    rig = Rig()
    rig.venue = PaperVenue((halted,), rig.store)
    rig.connect()
    rig.open_book()
    assert rig.place("one", "BUY", "1")["error"]["msg"] == "Market is closed."


def test_instrument_when_it_is_no_spot_then_it_is_refused_by_name() -> None:
    """A perpetual is not traded as if it were spot."""
    perpetual = msgspec.structs.replace(spot("BTC/USDT"), kind="linear")
    with pytest.raises(Refused, match=r"UNSUPPORTED_KIND.*linear"):
        PaperVenue((perpetual,), MemoryStore({}))


# --- resting, breaks and history ----------------------------------------------------------------------


def test_resting_order_when_it_fills_in_part_and_is_canceled_then_all_funds_are_free(rig: Rig) -> None:
    """Fees and the filled part are gone, the rest is free again."""
    rig.place("rest", "BUY", "4", "100.00")
    assert rig.money()["USDT"] == ("600.00000000", "400.00000000")
    told = events(rig.print(100.0, 1.0, "sell"))
    assert [(e["e"], e.get("X"), e.get("m")) for e in told] == [
        ("executionReport", "PARTIALLY_FILLED", True),
        ("outboundAccountPosition", None, None),
    ]
    rig.ask("order.cancel", symbol="BTCUSDT", orderId=1)
    assert rig.money() == {"USDT": ("900.00000000", "0.00000000"), "BTC": ("10.99900000", "0.00000000")}


def test_market_event_when_it_is_of_another_instrument_then_nothing_happens(rig: Rig) -> None:
    """Only markets that the account trades are kept."""
    rig.place("rest", "BUY", "1", "100.00")
    other = spot("SOL/USDT").id
    rig.apply(Trade(other, 1, 1.0, 100.0, "sell", rig.now_ns, rig.now_ns))
    rig.apply(SessionBreak(other, 1, "seam", rig.now_ns))
    assert rig.run() == []


def test_session_break_when_orders_rest_then_they_stay_and_wait_for_the_next_book(rig: Rig) -> None:
    """No fill and no create between two sessions; a cancel works."""
    rig.place("rest", "BUY", "1", "100.00")
    rig.place("other", "BUY", "1", "99.00")
    rig.apply(SessionBreak(BTC, 1, "seam", rig.now_ns))
    assert rig.print(90.0, 50.0, "sell") == []
    assert rig.place("new", "BUY", "1")["error"]["msg"] == "Market is closed."
    assert rig.ask("order.cancel", symbol="BTCUSDT", origClientOrderId="other")["status"] == 200
    rig.apply(BookSnapshot(BTC, 1, ((90.0, 1.0),), ((95.0, 3.0),), rig.now_ns))
    fills = [e for e in events(rig.run()) if e.get("x") == "TRADE"]
    assert [(e["c"], e["L"], e["m"]) for e in fills] == [("rest", "100.00000000", True)]


def test_history_when_it_is_played_at_once_then_nothing_fills(rig: Rig) -> None:
    """Frames received long ago move the book; an order that rests meets the market of now."""
    rig.place("rest", "BUY", "1", "100.00")
    old_ns = rig.now_ns - 6 * SECOND
    rig.apply(Trade(BTC, 1, 90.0, 50.0, "sell", old_ns, old_ns))
    rig.apply(BookDelta(BTC, 2, 2, (), ((95.0, 1.0),), old_ns, old_ns))
    assert rig.run() == []
    rig.apply(BookDelta(BTC, 3, 3, (), ((95.0, 0.0), (104.0, 1.0)), rig.now_ns, rig.now_ns))
    assert rig.run() == []
    assert [e["c"] for e in events(rig.print(100.0, 1.0, "sell")) if e.get("x") == "TRADE"] == ["rest"]


def test_rebate_when_the_maker_fee_is_negative_then_it_is_paid_out() -> None:
    """A negative fee is money received."""
    rig = Rig(maker_fee=Decimal("-0.0001"))
    rig.connect()
    rig.open_book()
    rig.place("rest", "SELL", "1", "100.00")
    rig.print(100.0, 1.0, "buy")
    assert rig.money()["USDT"] == ("1100.01000000", "0.00000000")


# --- memory and disk ------------------------------------------------------------------------------------


def test_restart_when_orders_were_open_then_everything_is_as_it_was(rig: Rig) -> None:
    """Balances, orders and ids come back; the order stands behind everything that is shown."""
    rig.place("rest", "BUY", "2", "99.00")
    rig.place("done", "BUY", "1")
    before = rig.money()
    again = Rig(rig.store)
    again.now_ns = rig.now_ns
    again.connect()
    assert again.money() == before
    again.apply(BookSnapshot(BTC, 50, ((99.0, 7.0),), ASKS, again.now_ns))
    assert events(again.print(99.0, 7.0, "sell")) == []
    assert [e["t"] for e in events(again.print(99.0, 2.0, "sell")) if e.get("x") == "TRADE"] == [2]
    assert again.place("next", "BUY", "1")["result"]["orderId"] == 3


def test_client_id_when_its_order_has_ended_then_it_may_be_used_again(rig: Rig) -> None:
    """As at Binance an id is unique among open orders only; the newest is found."""
    rig.place("same", "BUY", "1")
    assert rig.place("same", "BUY", "1", "99.00")["result"]["orderId"] == 2
    assert rig.place("same", "BUY", "1", "99.00")["error"]["msg"] == "Duplicate order sent."
    assert rig.ask("order.status", symbol="BTCUSDT", origClientOrderId="same")["result"]["orderId"] == 2


class FailingStore(MemoryStore):
    """Refuses to save, or to load, while told so."""

    full = False
    broken = False

    def save(self, changes: Changes, next_order_id: int, next_trade_id: int) -> None:
        if self.full:
            raise Outage("disk full")
        super().save(changes, next_order_id, next_trade_id)

    def order(self, instrument: InstrumentId, client_order_id: str) -> PaperOrder | None:
        if self.broken:
            raise Outage("no disk")
        return super().order(instrument, client_order_id)

    def load(self) -> Any:
        if self.broken:
            raise Outage("no disk")
        return super().load()


def test_store_when_it_fails_then_nothing_unsaved_is_heard_and_the_next_open_starts_from_it() -> None:
    """An answer without a durable order is worse than none: the connection closes instead."""
    store = FailingStore(OPENING)
    rig = Rig(store)
    rig.connect()
    rig.open_book()
    rig.place("rest", "BUY", "1", "99.00")
    store.full = True
    rig.send("order.place", symbol="BTCUSDT", side="BUY", type="MARKET", quantity="1")
    rig.send("ping")
    heard = rig.run()
    assert [type(msg) for msg in heard] == [Written, Written, Closed]
    assert (heard[-1], rig.venue.view().failures) == (
        Closed("account", 1, heard[-1].at_ns, 1011, "store"),  # type: ignore[attr-defined]
        1,
    )
    assert rig.print(90.0, 50.0, "sell") == []
    store.broken = True
    rig.gen += 1
    rig.apply(Open("account", rig.gen, "paper:"))
    assert [type(msg) for msg in rig.run()] == [Closed]
    store.full = store.broken = False
    rig.connect()
    assert [row["clientOrderId"] for row in rig.ask("openOrders.status")["result"]] == ["rest"]
    assert rig.money() == {"USDT": ("901.00000000", "99.00000000"), "BTC": ("10.00000000", "0.00000000")}
    rig.apply(BookDelta(BTC, 9, 9, (), ((101.0, 5.0),), 1, rig.now_ns))
    assert rig.place("next", "BUY", "5")["result"]["executedQty"] == "5.00000000"


def test_store_when_it_cannot_be_read_then_the_question_is_not_answered() -> None:
    """A query that the disk cannot answer is no "not found": the connection closes."""
    store = FailingStore(OPENING)
    rig = Rig(store)
    rig.connect()
    store.broken = True
    rig.send("order.status", symbol="BTCUSDT", origClientOrderId="x")
    assert [type(msg) for msg in rig.run()] == [Written, Closed]


def test_view_when_it_is_asked_then_it_counts(rig: Rig) -> None:
    """Counters are read, never reset."""
    rig.place("rest", "BUY", "1", "99.00")
    rig.place("bad", "BUY", "1", "99.001")
    expected = PaperView(epoch=1, connections=1, orders_open=1, requests=3, refusals=1, trades=0, failures=0)
    assert rig.venue.view() == expected
    rig.venue.close()
    assert ETH in rig.venue.account.markets
