"""What a venue declares it keeps, to the nanosecond and often exactly at it, unless it is a liar."""

from __future__ import annotations

from decimal import Decimal
from random import Random

import pytest

from tests.unit.sim.venue_client import DEADLINE_NS, Client, trade_at_random
from tests.unit.sim.wired import BTC
from tradefan.sim.personality import LIAR_FILL_NS, LIAR_LAG_NS, Delay, Personality, draw
from tradefan.units import MS, SECOND

ACCEPT_NS = 7 * SECOND
VISIBLE_NS = 3 * SECOND
LATE_NS = 90 * SECOND


def personality(shape: str, *, liar: bool = False, **rates: float) -> Personality:
    """Return one with these rates whose delays all have one shape."""
    accept = 4 * ACCEPT_NS + 60 * SECOND if liar else ACCEPT_NS
    return Personality(
        honest=not liar,
        accept_bound_ns=ACCEPT_NS,
        visible_bound_ns=VISIBLE_NS,
        late_fill_bound_ns=LATE_NS,
        accept=Delay(shape, accept),  # type: ignore[arg-type]
        lag=Delay(shape, VISIBLE_NS + LIAR_LAG_NS if liar else VISIBLE_NS),  # type: ignore[arg-type]
        late_fill=Delay(shape, LIAR_FILL_NS if liar else LATE_NS),  # type: ignore[arg-type]
        rates=rates,
    )


def lateness(client: Client) -> list[int]:
    """Return how long after `not_after` each create was accepted or refused, below zero when before."""
    arrived = {event.client_order_id: event.at_ns for event in client.venue.log if event.what == "create"}
    ends = [event for event in client.venue.log if event.what in ("accepted", "rejected")]
    # A create arrives half of the latency after it was written.
    sent = {name: at_ns - client.venue.personality.latency_ns // 2 for name, at_ns in arrived.items()}
    return [
        event.at_ns - sent[event.client_order_id] - DEADLINE_NS
        for event in ends
        if event.client_order_id in sent
    ]


@pytest.mark.parametrize("shape", ["uniform", "bound", "mixed"])
def test_accept_when_the_venue_is_honest_then_never_after_not_after_and_a(shape: str) -> None:
    """Late, and at the latest exactly at the bound."""
    client = Client(personality(shape, late_accept=0.9))
    trade_at_random(client, Random(1), 120)
    client.run(60)
    late = lateness(client)
    assert len(late) > 20
    assert max(late) <= ACCEPT_NS
    assert max(late) > ACCEPT_NS // 2
    if shape != "uniform":
        assert max(late) == ACCEPT_NS
    assert not any(client.venue.may_accept(event.client_order_id) for event in client.venue.log)


def test_accept_when_the_venue_lies_then_also_after_the_bound() -> None:
    """Up to three times A and a minute more than honest."""
    client = Client(personality("mixed", liar=True, late_accept=0.9))
    trade_at_random(client, Random(1), 120)
    client.run(200)
    late = lateness(client)
    assert max(late) == 4 * ACCEPT_NS + 60 * SECOND
    assert sum(one > ACCEPT_NS for one in late) > 5


def test_create_when_it_waits_inside_then_it_may_be_accepted_until_it_is() -> None:
    """`may_accept` is true from the write to the end, and false from then on."""
    client = Client(personality("bound", late_accept=1.0))
    client.connect()
    written_ns = client.now_ns
    client.place(BTC, "buy", BTC.min_qty * 100, client.market.touch(BTC.id, "buy") // 2 // 1, "a1")
    due_ns = written_ns + DEADLINE_NS + ACCEPT_NS
    client.run_until(due_ns - 1)
    assert client.venue.may_accept("a1")
    assert client.venue.orders == {}
    client.run_until(due_ns)
    assert not client.venue.may_accept("a1")
    assert client.order("a1").accepted_ns == due_ns


def shown(client: Client, name: str, wait_ns: int) -> bool:
    """Place an order, ask for it after a while, and say whether the venue shows it."""
    price = client.market.touch(BTC.id, "buy") // 2 // BTC.price_tick * BTC.price_tick
    client.place(BTC, "buy", BTC.min_qty * 100, price, name)
    client.run(client.venue.personality.latency_ns / SECOND)
    client.run_until(client.order(name).accepted_ns + wait_ns - client.venue.personality.latency_ns // 2)
    asks = [
        client.query("order.status", symbol="BTCUSDT", origClientOrderId=name),
        client.query("openOrders.status"),
    ]
    client.run(0.1)
    by_id, listed = (client.answers[req][1] for req in asks)
    found = by_id["status"] == 200
    assert found == (name in [row["clientOrderId"] for row in listed["result"]])
    return found


def test_query_when_the_venue_is_honest_then_v_after_it_happened_everything_shows() -> None:
    """Exactly at V it does, and just before it does not where the lag is the whole bound."""
    client = Client(personality("bound", query_lag=1.0))
    client.connect()
    assert [shown(client, f"a{number}", VISIBLE_NS) for number in range(5)] == [True] * 5
    assert [shown(client, f"b{number}", VISIBLE_NS - MS) for number in range(5)] == [False] * 5


def test_query_when_the_venue_lies_then_an_order_is_not_there_long_after_v() -> None:
    """The lag has a minute more."""
    client = Client(personality("bound", liar=True, query_lag=1.0))
    client.connect()
    assert not shown(client, "a1", VISIBLE_NS + LIAR_LAG_NS - MS)
    assert shown(client, "a2", VISIBLE_NS + LIAR_LAG_NS)


def test_query_when_it_lags_then_orders_trades_and_balances_are_of_the_same_moment() -> None:
    """A fill that the list of trades does not show yet has not moved the balances either."""
    client = Client(personality("bound", query_lag=1.0))
    client.connect()
    client.run(10)
    client.place(BTC, "buy", BTC.min_qty * 100, None, "a1")
    client.run(0.1)
    for wait_s, trades in ((0.0, 0), (VISIBLE_NS / SECOND, 1)):
        client.run(wait_s)
        page = client.query("myTrades", symbol="BTCUSDT", fromId=1, limit=10)
        account = client.query("account.status")
        client.run(0.1)
        free = {row["asset"]: row["free"] for row in client.answers[account][1]["result"]["balances"]}
        assert len(client.answers[page][1]["result"]) == trades
        assert (free["BTC"] != "10.00000000") == bool(trades)


def test_trade_when_a_liar_hides_it_then_the_order_counts_it_and_the_list_shows_it_later() -> None:
    """30 to 90 s later; until then no answer and no event tells of a trade, whoever asks."""
    client = Client(personality("mixed", liar=True, trade_hidden=1.0))
    client.connect()
    price = client.market.touch(BTC.id, "buy") * 2 // 1
    placed = client.answer(client.place(BTC, "buy", BTC.min_qty * 100, price, "a1"))
    assert (placed["result"]["status"], placed["result"]["fills"]) == ("FILLED", [])
    assert [event["x"] for _, event in client.events if event["e"] == "executionReport"] == ["NEW"]
    shown_s: list[float] = []
    while not shown_s:
        rows = client.answer(client.query("myTrades", symbol="BTCUSDT", fromId=1, limit=1000), 1)["result"]
        shown_s = [(client.now_ns - row["time"] * MS) / SECOND for row in rows]
    assert 30 <= shown_s[0] <= 92
    assert rows[0]["qty"] == placed["result"]["executedQty"]


def test_trade_when_a_liar_hides_it_then_it_may_be_taken_back_before_anybody_saw_it() -> None:
    """Its bust names a trade of which no event and no list ever tells; only the order's count falls."""
    client = Client(personality("mixed", liar=True, trade_hidden=1.0, bust=1.0))
    client.connect()
    price = client.market.touch(BTC.id, "buy") * 2 // 1
    placed = client.answer(client.place(BTC, "buy", BTC.min_qty * 100, price, "a1"))["result"]
    client.run(100)
    assert [event["e"] for _, event in client.events if event["e"] == "tradeBust"] == ["tradeBust"]
    assert [event["x"] for _, event in client.events if event["e"] == "executionReport"] == ["NEW"]
    assert client.answer(client.query("myTrades", symbol="BTCUSDT", fromId=1, limit=1000))["result"] == []
    status = client.answer(client.query("order.status", symbol="BTCUSDT", origClientOrderId="a1"))["result"]
    assert (Decimal(placed["executedQty"]), Decimal(status["executedQty"])) == (BTC.min_qty * 100, Decimal(0))


@pytest.mark.parametrize(("liar", "bound_ns"), [(False, LATE_NS), (True, LIAR_FILL_NS)])
def test_fill_when_its_order_was_canceled_then_it_comes_within_l_unless_the_venue_lies(
    liar: bool, bound_ns: int
) -> None:
    """It comes after the terminal report, and often exactly at the bound."""
    client = Client(personality("mixed", liar=liar, late_fill=0.9))
    trade_at_random(client, Random(3), 300)
    client.run(bound_ns / SECOND)
    orders = client.venue.book.orders
    late = [
        trade.at_ns - ended_ns
        for trade in client.venue.book.trades
        if (ended_ns := orders[trade.order_id].ended_ns) is not None
        and orders[trade.order_id].status != "FILLED"
    ]
    assert len(late) > 3
    assert max(late) == bound_ns
    assert client.kinds()["late_fill"] >= len(late)


@pytest.mark.parametrize("seed", range(20))
def test_personality_when_drawn_then_its_bounds_lie_in_the_declared_ranges(seed: int) -> None:
    """RELIABILITY.md 2c; a liar declares the same bounds as an honest venue of its seed."""
    honest, liar = draw(seed, False, ()), draw(seed, True, ())
    assert SECOND // 2 <= honest.accept_bound_ns <= 30 * SECOND
    assert 0 <= honest.visible_bound_ns <= 10 * SECOND
    assert 0 <= honest.late_fill_bound_ns <= 540 * SECOND
    assert honest.accept.bound_ns <= honest.accept_bound_ns
    assert honest.lag.bound_ns <= honest.visible_bound_ns
    assert honest.late_fill.bound_ns <= honest.late_fill_bound_ns
    assert (liar.accept_bound_ns, liar.visible_bound_ns) == (honest.accept_bound_ns, honest.visible_bound_ns)
    assert liar.accept.bound_ns == 4 * liar.accept_bound_ns + 60 * SECOND


def test_heal_when_things_are_on_their_way_then_they_arrive_within_a_and_nothing_new_goes_wrong() -> None:
    """Late accepts, late answers and late fills hurry; afterwards the venue is as good as any."""
    kinds = ("late_accept", "ack_delay", "late_fill", "half_open", "ban", "connection_refused", "stream_drop")
    client = Client(draw(5, False, kinds, all_on=True), seed=5)
    trade_at_random(client, Random(5), 240)
    client.venue.heal(client.now_ns)
    healed_ns, noted = client.now_ns, len(client.notes)
    client.run(client.venue.accept_bound_ns / SECOND)
    assert not client.venue._pending
    assert not client.venue._todo
    late = {kind for _, kind, _ in client.notes[noted:]}
    assert late <= {"late_fill"}
    client.connect()
    client.run(1)
    trade_at_random(client, Random(6), 60, prefix="d")
    client.run(1)
    assert [kind for at_ns, kind, _ in client.notes if at_ns > healed_ns + client.venue.accept_bound_ns] == []
    created = [event.client_order_id for event in client.venue.log if event.client_order_id.startswith("d")]
    assert created
    assert not any(client.venue.may_accept(name) for name in created)
