"""Looks of a gateway: what is asked, what is told, when a look proves something, how far cursors move."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.venue.bench import ACCOUNT, BTC, D
from tests.unit.actors.gateway_rig import ME, Rig, live_rig, look, result, trade
from tradefan.actors.gateway_look import FACTS_PER_TURN
from tradefan.config.schema import AccountConfig
from tradefan.messages.account import Balances
from tradefan.messages.gateway import ExecutionReport, Look, LookDone, VenueFill
from tradefan.messages.wire import NotWritten
from tradefan.units import MS, SECOND, ClientOrderId, InstrumentId, TradeId
from tradefan.venues.binance_orders import TRADES_MAX


@pytest.fixture
def rig() -> Rig:
    return live_rig()


@pytest.mark.failure("OR-19")
def test_look_when_everything_is_answered_then_facts_come_singly_and_it_is_complete(rig: Rig) -> None:
    """Reports, then fills with their orders' ids, then balances, then the end."""
    rig.tell(look("me", "gone"))
    asked_ns = rig.now_ns
    assert [body["method"] for _, body in rig.sent()[1:]] == [
        "openOrders.status",
        "myTrades",
        "account.status",
    ]
    rig.answer(rig.asked("openOrders.status"), [result(clientOrderId="other", orderId=8)])
    rig.answer(rig.asked("account.status"), {"balances": [{"asset": "BTC", "free": "1", "locked": "0"}]})
    rig.run(100 * MS)
    rig.answer(rig.asked("myTrades"), [trade(9), trade(8, order_id=8), trade(10, order_id=55)])
    by_id = [(req, body["params"]) for req, body in rig.sent()[4:]]
    assert [(p.get("origClientOrderId"), p.get("orderId")) for _, p in by_id] == [
        ("me", None),
        ("gone", None),
        (None, 9),
        (None, 55),
    ]
    rig.answer(by_id[0], result())
    rig.refuse(by_id[1], -2013, "Order does not exist.")
    rig.answer(by_id[2], result())
    rig.answer(by_id[3], result(clientOrderId="web_1", orderId=55))
    heard = rig.heard()
    reports = [msg.client_order_id for msg in heard if isinstance(msg, ExecutionReport)]
    assert reports == ["other", "me", "me", "web_1"]
    fills = [(msg.trade_id, msg.client_order_id) for msg in heard if isinstance(msg, VenueFill)]
    assert fills == [("8", "other"), ("9", "me"), ("10", "web_1")]
    assert [type(msg) for msg in heard[-2:]] == [Balances, LookDone]
    assert heard[-1] == LookDone(
        account=ACCOUNT,
        look_id=4,
        asked_ns=asked_ns,
        complete=True,
        missing=(ClientOrderId("gone"),),
        cursors=((BTC, TradeId("7")),),
    )


def test_look_when_a_page_is_full_then_the_next_is_asked(rig: Rig) -> None:
    """A thousand rows may not be all."""
    rig.tell(look(balances=False))
    rig.answer(rig.asked("openOrders.status"), [result()])
    rig.answer(rig.asked("myTrades"), [trade(number) for number in range(8, 1008)])
    assert rig.asked("myTrades")[1]["params"]["fromId"] == 1008
    rig.answer(rig.asked("myTrades"), [trade(1008)])
    heard = rig.heard()
    assert len(heard) == 1 + FACTS_PER_TURN
    rig.run(0)
    heard += rig.heard()
    assert sum(isinstance(msg, VenueFill) for msg in heard) == 1001
    done = heard[-1]
    assert isinstance(done, LookDone)
    assert done.complete


@pytest.mark.parametrize("end", ["refused", "malformed", "timeout", "closed", "not written", "archived"])
def test_look_when_one_answer_is_missing_then_it_proves_nothing(rig: Rig, end: str) -> None:
    """What came is told, cursors stay where they were, and it says that it is not complete."""
    rig.tell(look("me"))
    rig.answer(rig.asked("myTrades"), [])
    rig.answer(rig.asked("account.status"), {"balances": []})
    request = rig.asked("openOrders.status")
    if end in ("refused", "archived"):
        rig.refuse(request, -1003 if end == "refused" else -2026, "No.")
    elif end == "malformed":
        rig.answer(request, {"not": "a list"})
    elif end == "timeout":
        rig.run(5 * SECOND)
    elif end == "closed":
        rig.close()
    else:
        rig.tell(NotWritten("account", rig.gen, request[0], "link_down"))
    done = rig.heard()[-1]
    assert isinstance(done, LookDone)
    assert (done.complete, done.missing, done.cursors) == (False, (), ((BTC, "7"),))
    assert done.reason.startswith("open_orders" if end != "malformed" else "UNREADABLE")
    assert rig.gateway.state.looks == {}


@pytest.mark.failure("ST-10")
def test_look_when_it_fails_half_way_then_fills_without_an_owner_are_kept_back(rig: Rig) -> None:
    """A fill whose order is not known would be booked to nobody: the cursor has not passed it."""
    rig.tell(look(balances=False))
    rig.answer(rig.asked("openOrders.status"), [result()])
    rig.answer(rig.asked("myTrades"), [trade(8), trade(9, order_id=77)])
    rig.refuse(rig.asked("order.status"), -1000, "Unknown.")
    heard = rig.heard()
    assert [msg.trade_id for msg in heard if isinstance(msg, VenueFill)] == ["8"]
    assert isinstance(heard[-1], LookDone)
    assert (heard[-1].complete, heard[-1].cursors) == (False, ((BTC, "7"),))


def test_look_when_many_orders_are_named_then_fifty_are_in_flight(rig: Rig) -> None:
    """A recovery asks in bounded steps; an answer lets the next question out."""
    names = tuple(f"o{number}" for number in range(60))
    rig.tell(look(*names, balances=False))
    rig.answer(rig.asked("openOrders.status"), [])
    rig.answer(rig.asked("myTrades"), [])
    queries = [row for row in rig.sent() if row[1]["method"] == "order.status"]
    assert len(queries) == 50
    for query in queries:
        rig.refuse(query, -2013, "Order does not exist.")
    rest = [row for row in rig.sent() if row[1]["method"] == "order.status"][50:]
    assert len(rest) == 10
    for query in rest:
        rig.refuse(query, -2013, "Order does not exist.")
    done = rig.heard()[-1]
    assert isinstance(done, LookDone)
    assert done.missing == names


@pytest.mark.parametrize("why", ["busy", "unknown instrument", "no room"])
def test_look_when_it_cannot_be_asked_then_it_ends_at_once(rig: Rig, why: str) -> None:
    """Every look has an end."""
    asked = look()
    if why == "busy":
        rig.tell(asked)
    elif why == "no room":
        rig.ctx.port_full = True
    else:
        asked = Look(ACCOUNT, 4, ((InstrumentId("binance:X/Y"), ME),), ())
    rig.tell(asked)
    done = rig.heard()[-1]
    assert isinstance(done, LookDone)
    assert not done.complete
    expected = {"busy": "BUSY", "no room": "open_orders: QUEUE_FULL"}
    assert done.reason.startswith(expected.get(why, "UNKNOWN_INSTRUMENT"))


def test_look_when_there_are_too_many_pages_then_it_is_incomplete(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paging is bounded."""
    monkeypatch.setattr("tradefan.actors.gateway_look.PAGES_MAX", 1)
    rig.tell(look(balances=False))
    rig.answer(rig.asked("openOrders.status"), [result()])
    rig.answer(rig.asked("myTrades"), [trade(number) for number in range(8, 1008)])
    done = rig.heard()[-1]
    assert isinstance(done, LookDone)
    assert (done.complete, done.reason) == (False, "trades: more than 1 pages")


# --- how far a cursor moves -----------------------------------------------------------------------------

VISIBLE_NS = AccountConfig().visible_bound


def read(rig: Rig, *rows: dict[str, Any], cursor: str = "7") -> tuple[list[str], str | None]:
    """Look with these trades behind the cursor; return the ids told, and the cursor."""
    rig.tell(look(balances=False, cursor=cursor))
    rig.answer(rig.asked("openOrders.status"), [result()])
    rig.answer(rig.asked("myTrades"), list(rows))
    *facts, done = rig.heard()
    assert isinstance(done, LookDone)
    assert done.complete, done.reason
    return [fact.trade_id for fact in facts if isinstance(fact, VenueFill)], done.cursors[0][1]


@pytest.mark.failure("OR-19")
def test_cursor_when_a_trade_is_young_then_it_is_told_and_not_passed(rig: Rig) -> None:
    """A trade with a smaller id may still hide: it is passed by a look that was asked V later."""
    assert read(rig, trade(10)) == (["10"], "7")
    assert rig.asked("myTrades")[1]["params"]["fromId"] == 8
    rig.run(VISIBLE_NS - 1)
    assert read(rig, trade(8), trade(10), trade(11)) == (["8", "10", "11"], "7")
    rig.run(1)
    assert read(rig, trade(8), trade(10), trade(11)) == (["8", "10", "11"], "10")
    rig.run(VISIBLE_NS)
    assert read(rig, trade(11), trade(12), cursor="10") == (["11", "12"], "11")
    rig.run(VISIBLE_NS)
    assert read(rig, trade(12), cursor="11") == (["12"], "12")
    rig.run(VISIBLE_NS)
    assert read(rig, cursor="12") == ([], "12")


def test_cursor_when_the_reading_took_long_then_its_end_counts(rig: Rig) -> None:
    """A trade that an answer shows happened before that answer, not before the question."""
    rig.tell(look(balances=False))
    rig.answer(rig.asked("openOrders.status"), [result()])
    rig.run(4 * SECOND)
    rig.answer(rig.asked("myTrades"), [trade(8)])
    rig.heard()
    assert read(rig, trade(8)) == (["8"], "7")
    rig.run(VISIBLE_NS)
    assert read(rig, trade(8)) == (["8"], "8")


def test_cursor_when_our_clock_is_wrong_then_it_does_not_matter(rig: Rig) -> None:
    """Trades of tomorrow and of long ago are passed alike: the venue's clock is not ours."""
    rows = (trade(8, time=5), trade(9, time=rig.now_ns // MS + 86_400_000))
    assert read(rig, *rows) == (["8", "9"], "7")
    rig.run(VISIBLE_NS)
    assert read(rig, *rows) == (["8", "9"], "9")


def test_cursor_when_the_look_is_incomplete_then_nothing_ripens(rig: Rig) -> None:
    """Only a look that heard everything counts."""
    rig.tell(look(balances=False))
    rig.answer(rig.asked("myTrades"), [trade(8)])
    rig.refuse(rig.asked("openOrders.status"), -1000, "Unknown.")
    rig.heard()
    rig.run(VISIBLE_NS)
    assert read(rig, trade(8)) == (["8"], "7")


@pytest.mark.failure("OR-20")
def test_cursor_when_trades_have_no_id_then_it_stands_on_one_that_has(rig: Rig) -> None:
    """They are told under ids of ours, the same ones when they are read again."""
    nameless = trade(-1)
    bare = {key: value for key, value in nameless.items() if key != "id"}
    rows = (bare, trade(8, time=6), trade(-1, time=7), trade(-1, time=7))
    ids, cursor = read(rig, *rows)
    assert (ids[1], cursor, len(set(ids))) == ("8", "7", 4)
    rig.run(VISIBLE_NS)
    assert read(rig, *rows) == (ids, "8")
    assert read(rig, *rows[2:], cursor="8") == (ids[2:], "8")


def test_cursor_when_it_would_stand_between_trades_of_one_instant_then_it_does_not(rig: Rig) -> None:
    """Behind 9 a trade like the nameless one may still hide: read alone it would seem to be known."""
    rows = (trade(8, time=4), trade(-1, time=5), trade(9, time=5))
    ids, _ = read(rig, *rows)
    rig.run(VISIBLE_NS)
    assert read(rig, *rows) == (ids, "8")
    rig.run(VISIBLE_NS)
    later = (*rows[1:], trade(-1, time=5), trade(10, time=6))
    found, cursor = read(rig, *later, cursor="8")
    assert (found[:2], len(set(found)), cursor) == (ids[1:], 4, "8")
    rig.run(VISIBLE_NS)
    assert read(rig, *later, cursor="8") == (found, "10")


def page(*, nameless: int) -> list[dict[str, Any]]:
    """Return a full page that ends in so many trades without an id."""
    rows = [trade(number) for number in range(8, 8 + TRADES_MAX - nameless)]
    return rows + [trade(-1, price=str(90 + number)) for number in range(nameless)]


@pytest.mark.failure("OR-20")
def test_page_when_it_is_full_and_ends_without_ids_then_the_rest_is_read_once(rig: Rig) -> None:
    """The next page begins behind the last id and brings them again: they count once in a reading."""
    rig.tell(look(balances=False))
    rig.answer(rig.asked("openOrders.status"), [result()])
    first = page(nameless=2)
    rig.answer(rig.asked("myTrades"), first)
    last_id = first[-3]["id"]
    assert rig.asked("myTrades")[1]["params"]["fromId"] == last_id + 1
    rig.answer(rig.asked("myTrades"), [*first[-2:], trade(5_000)])
    rig.run(0)
    rig.run(0)
    heard = rig.heard()
    fills = [msg.trade_id for msg in heard if isinstance(msg, VenueFill)]
    assert (len(fills), len(set(fills))) == (TRADES_MAX + 1, TRADES_MAX + 1)
    assert isinstance(heard[-1], LookDone)
    assert heard[-1].complete


@pytest.mark.parametrize(
    ("cursor", "rows", "reason"),
    [
        ("7", page(nameless=TRADES_MAX), "UNREADABLE: trade: a page of 1000 trades without an id"),
        (None, [trade(-1)], "UNREADABLE: trade: the newest has no id to begin behind"),
        ("7", [trade(8, symbol="ETHUSDT")], "UNREADABLE: trade: asked for binance:BTC/USDT, got ETHUSDT"),
        ("7", [trade(9), trade(-1), trade(8)], "UNREADABLE: trade: trades without ids that are not in order"),
    ],
)
def test_trades_when_nothing_can_be_asked_behind_them_then_the_look_is_incomplete(
    rig: Rig, cursor: str | None, rows: list[dict[str, Any]], reason: str
) -> None:
    """Nothing is guessed about a cursor; nothing of such a page is told."""
    rig.tell(look(balances=False, cursor=cursor))
    rig.answer(rig.asked("openOrders.status"), [result()])
    rig.answer(rig.asked("myTrades"), rows)
    *facts, done = rig.heard()
    assert isinstance(done, LookDone)
    assert (done.complete, done.reason) == (False, reason)
    assert not any(isinstance(fact, VenueFill) for fact in facts)


# --- answers about something else -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [result(clientOrderId="other"), result(symbol="ETHUSDT"), result(symbol="XYZ")],
)
def test_query_when_the_answer_is_about_another_order_then_the_look_is_incomplete(
    rig: Rig, answer: dict[str, Any]
) -> None:
    """What was asked has no answer, and the other order is not believed."""
    rig.tell(look("me", balances=False))
    rig.answer(rig.asked("openOrders.status"), [])
    rig.answer(rig.asked("myTrades"), [])
    rig.answer(rig.asked("order.status"), answer)
    (done,) = rig.heard()
    assert isinstance(done, LookDone)
    assert (done.complete, done.missing) == (False, ())
    assert done.reason.startswith("ECHO: asked for me, answered ")


@pytest.mark.failure("OR-25")
def test_query_when_two_symbols_have_one_id_then_each_is_asked_and_missing_by_its_own_name(rig: Rig) -> None:
    """OR-25: a report of the one answers no question about the other."""
    name = f"web_1 {ACCOUNT} {BTC}"
    rig.tell(look(name))
    rig.answer(rig.asked("openOrders.status"), [result(symbol="ETHUSDT", clientOrderId="web_1", orderId=8)])
    rig.answer(rig.asked("account.status"), {"balances": []})
    rig.answer(rig.asked("myTrades"), [])
    rig.refuse(rig.asked("order.status"), -2013, "Order does not exist.")
    (done,) = (msg for msg in rig.heard() if isinstance(msg, LookDone))
    assert (done.complete, done.missing) == (True, (name,))


def test_query_by_the_venues_id_when_the_answer_is_about_another_then_its_fill_is_kept_back(
    rig: Rig,
) -> None:
    """A fill is never given to an order that somebody else's answer named."""
    rig.tell(look(balances=False))
    rig.answer(rig.asked("openOrders.status"), [])
    rig.answer(rig.asked("myTrades"), [trade(8, order_id=9)])
    rig.answer(rig.asked("order.status"), result(orderId=10))
    (done,) = rig.heard()
    assert isinstance(done, LookDone)
    assert (done.complete, done.reason) == (False, "ECHO: asked for 9, answered 10")


def test_query_by_the_venues_id_when_it_lags_behind_a_known_order_then_its_fill_is_told(rig: Rig) -> None:
    """A venue may show a trade before its order; whose it is was told by the order's own answer."""
    rig.tell(rig.order("me", "buy", "1", "99.00"))
    rig.answer(rig.asked("order.place"), result(orderId=9))
    rig.heard()
    rig.tell(look(balances=False))
    rig.answer(rig.asked("openOrders.status"), [])
    rig.answer(rig.asked("myTrades"), [trade(8, order_id=9), trade(9, order_id=10)])
    first, second = [row for row in rig.sent() if row[1]["method"] == "order.status"]
    rig.refuse(first, -2013, "Order does not exist.")
    rig.answer(second, result(orderId=10, clientOrderId="web"))
    report, *fills, done = rig.heard()
    assert [(fill.trade_id, fill.client_order_id) for fill in fills if isinstance(fill, VenueFill)] == [
        ("8", "me"),
        ("9", "web"),
    ]
    assert isinstance(report, ExecutionReport)
    assert isinstance(done, LookDone)
    assert done.complete


def test_query_by_the_venues_id_when_nobody_knows_the_order_then_the_look_is_incomplete(rig: Rig) -> None:
    """A trade of nobody may belong to an order in doubt: such a look proves nothing."""
    rig.tell(look(balances=False))
    rig.answer(rig.asked("openOrders.status"), [])
    rig.answer(rig.asked("myTrades"), [trade(8, order_id=9)])
    rig.refuse(rig.asked("order.status"), -2013, "Order does not exist.")
    (done,) = rig.heard()
    assert isinstance(done, LookDone)
    assert (done.complete, done.cursors) == (False, ((BTC, "7"),))


def test_owners_when_there_are_many_then_the_oldest_are_forgotten(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded."""
    monkeypatch.setattr("tradefan.actors.gateway_state.OWNERS_MAX", 2)
    rig.tell(look(balances=False))
    rows = [result(orderId=number, clientOrderId=f"o{number}") for number in (1, 2, 3)]
    rig.answer(rig.asked("openOrders.status"), rows)
    assert rig.gateway.state.owners == {f"{BTC} 2": "o2", f"{BTC} 3": "o3"}


def test_open_order_of_somebody_else_when_it_is_seen_then_it_can_be_counted(rig: Rig) -> None:
    """A report carries what exposure needs: side, quantity, what has traded, and the limit."""
    rig.tell(look(balances=False))
    foreign = result(clientOrderId="web_1", side="SELL", origQty="3", executedQty="1", price="101")
    rig.answer(rig.asked("openOrders.status"), [foreign, foreign | {"symbol": "XYZ"}])
    rig.answer(rig.asked("myTrades"), [])
    report, done = rig.heard()
    assert isinstance(report, ExecutionReport)
    assert (report.client_order_id, report.side, report.order_qty, report.cum_qty) == (
        "web_1",
        "sell",
        D(3),
        D(1),
    )
    assert (report.limit_price, report.instrument, report.source) == (D(101), BTC, "look")
    assert isinstance(done, LookDone)
    assert done.complete
