"""Each kind of fault really happens when it is on and never when it is off, and the books always balance."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from decimal import Decimal
from functools import cache
from hashlib import blake2b
from random import Random

import pytest

from tests.unit.sim.venue_client import Client, trade_at_random
from tests.unit.sim.wired import BALANCES, BTC, CROSS, ETH
from tradefan.messages.wire import Closed, Received
from tradefan.sim.kinds import VENUE_KINDS
from tradefan.sim.personality import EVERY_S, LIAR_KINDS, RATES, Delay, Personality, draw, swarm
from tradefan.sim.venue_life import FOREIGN
from tradefan.sim.venue_links import Conn, Links
from tradefan.units import MS, SECOND, ZERO, sign

OFTEN = dict.fromkeys(RATES, 0.3) | {"ban": 0.02, "not_found": 0.5, "balance_wrong": 0.5}
"""Shares that make a kind certain in some minutes."""
ALL = tuple(VENUE_KINDS)


def only(*kinds: str, liar: bool = False) -> Personality:
    """Return a personality of these kinds alone, each of them frequent."""
    drawn = draw(11, liar, kinds, all_on=True)
    return Personality(
        honest=not liar,
        accept_bound_ns=drawn.accept_bound_ns,
        visible_bound_ns=5 * SECOND,
        late_fill_bound_ns=20 * SECOND,
        accept=drawn.accept,
        answer=drawn.answer,
        lag=Delay("uniform", 5 * SECOND),
        event=drawn.event,
        late_fill=Delay("uniform", 20 * SECOND),
        rates={kind: OFTEN[kind] for kind in kinds if kind in RATES},
        every_s={kind: 30.0 for kind in kinds if kind in EVERY_S},
        modes=tuple(kind for kind in kinds if kind not in RATES and kind not in EVERY_S),
    )


def lived(personality: Personality, seed: int = 11, seconds: float = 400) -> Client:
    """Return a client that traded for a while and then let everything come to its end."""
    client = Client(personality, seed=seed, volatility=2e-4)
    trade_at_random(client, Random(seed), seconds)
    client.run(150)
    return client


@cache
def quiet() -> dict[str, int]:
    """Return what happens when nothing is on."""
    return lived(Personality()).kinds()


@pytest.mark.parametrize("kind", ALL)
def test_kind_when_it_is_on_then_it_happens_and_nothing_else_does(kind: str) -> None:
    """The world counts what is noted, so a note is made exactly when a fault really happened."""
    for seed in (11, 12, 13, 14):
        client = lived(only(kind, liar=kind in LIAR_KINDS), seed)
        assert set(client.kinds()) <= {kind}
        if client.kinds():
            return
    pytest.fail(f"{kind} never happened")


def test_slow_connection_when_it_ends_then_nothing_overtakes_what_was_late() -> None:
    """A line that is slow keeps the order of what it brings."""
    links = Links()
    links.conns["account", 1] = Conn(1)
    links.slow_until_ns, links.slow_ns = 10, 5
    for due_ns in (1, 9, 10, 14, 15, 30):
        links.say(("account", 1), due_ns, str(due_ns).encode())
    heard = [(msg.recv_ns, msg.body) for msg in links.take(99, 9) if isinstance(msg, Received)]
    assert heard == [(6, b"1"), (14, b"9"), (15, b"10"), (15, b"14"), (15, b"15"), (30, b"30")]


def test_kinds_when_all_are_off_then_nothing_is_noted() -> None:
    """An honest venue without faults has none."""
    assert quiet() == {}


def test_liars_kinds_when_the_venue_is_honest_then_they_are_not_drawn() -> None:
    """What breaks the declared bounds is a liar's alone."""
    assert not set(draw(1, False, ALL, all_on=True).kinds) & set(LIAR_KINDS)
    assert set(draw(1, True, ALL, all_on=True).kinds) == set(ALL)


def test_swarm_when_a_kind_is_taken_away_then_all_others_are_as_they_were() -> None:
    """That is what makes a shortened fault list reproduce a failure."""
    for seed in range(30):
        some = [kind for kind in ALL if kind != "late_accept"]
        whole, shorter = draw(seed, False, ALL), draw(seed, False, some)
        assert [kind for kind in whole.kinds if kind != "late_accept"] == list(shorter.kinds)
        assert {kind: rate for kind, rate in whole.rates.items() if kind != "late_accept"} == shorter.rates
        assert whole.accept == shorter.accept
        assert swarm(seed, swarm(seed, ALL)) == swarm(seed, ALL)
    assert 5 < sum("late_accept" in draw(seed, False, ALL).kinds for seed in range(30)) < 25


# --- the books balance ------------------------------------------------------------------------------------


def check_books(client: Client, opening: dict[str, Decimal]) -> None:
    """Balances are opening plus trades less fees plus transfers, and what is free is never negative."""
    owed = dict(opening)
    for trade in client.venue.book.trades:
        if trade.busted:
            continue
        rules = client.market.rules(trade.instrument)
        notional = trade.qty * trade.price
        for asset, change in (
            (rules.base, sign(trade.side) * trade.qty),
            (rules.quote, -sign(trade.side) * notional),
            (trade.fee_asset, -trade.fee),
        ):
            owed[asset] = owed.get(asset, ZERO) + change
    for event in client.venue.log:
        if event.what == "transfer":
            owed[event.text] = owed.get(event.text, ZERO) + event.qty
    assert owed == client.venue.balances
    assert all(client.venue.book.wallet.free(asset) >= 0 for asset in owed)


def check_orders(client: Client) -> None:
    """An order's cumulative quantity is the sum of its trades; what is locked belongs to open orders."""
    filled: dict[int, Decimal] = {}
    for trade in client.venue.book.trades:
        if not trade.busted:
            filled[trade.order_id] = filled.get(trade.order_id, ZERO) + trade.qty
    locked: dict[str, Decimal] = {}
    for number, order in client.venue.book.orders.items():
        if not order.client_order_id.startswith(f"{FOREIGN}old"):
            assert order.cum_qty == filled.get(number, ZERO), order
        if order.ended_ns is None:
            asset = client.venue.book.pays(order.instrument, order.side)
            held = client.venue.book.needed(order.instrument, order.side, order.open_qty, order.price)
            locked[asset] = locked.get(asset, ZERO) + held
    wallet = client.venue.book.wallet
    assert {asset: qty for asset, qty in wallet._locked.items() if qty} == locked


@pytest.mark.parametrize("seed", range(6))
def test_books_when_everything_goes_wrong_then_they_balance_all_the_time(seed: int) -> None:
    """Sum of trades, fees and transfers is the balance, each half minute, with all kinds at once."""
    client = Client(draw(seed, seed % 2 == 1, ALL, all_on=True), seed=seed, volatility=3e-4)
    client.venue.take(client.now_ns, 0)
    opening = dict(client.venue.balances)
    assert set(opening) == set(BALANCES)
    for _ in range(20):
        trade_at_random(client, Random(client.now_ns), 30, prefix=f"c{client.now_ns}x")
        check_books(client, opening)
        check_orders(client)
    assert len(client.venue.trades) > 50


# --- what single kinds do ---------------------------------------------------------------------------------


def test_transfer_when_it_is_large_then_it_is_beyond_any_limit_for_a_while_and_leaves_again() -> None:
    """A limit that a deposit cannot reach is never judged by one."""
    client = lived(only("transfer"), seconds=900)
    moved = [event for event in client.venue.log if event.what == "transfer"]
    large = [
        event
        for event in moved
        if event.text == "BTC" and event.qty * client.market.price(BTC.id) > 100 * BTC.min_notional
    ]
    assert large
    for event in large:
        later = [one.qty for one in moved if event.at_ns < one.at_ns <= event.at_ns + 61 * SECOND]
        assert min(later, default=ZERO) < 0, event


def test_foreign_order_when_it_is_large_then_it_rests_for_at_most_a_minute() -> None:
    """It is on the account for a while, and goes before it holds the instrument for the rest of a seed."""
    client = lived(only("foreign_order"), seconds=900)
    orders = [one for one in client.venue.orders.values() if one.client_order_id.startswith(FOREIGN)]
    large = [one for one in orders if one.instrument == BTC.id and one.qty * one.price > 700]
    assert large
    assert all(one.ended_ns is not None and one.ended_ns - one.accepted_ns <= 61 * SECOND for one in large)


def test_foreign_order_when_ids_come_again_then_never_while_one_rests_under_it() -> None:
    """An id is free again when the order of its instrument that had it has ended (OR-04)."""
    client = lived(only("foreign_order", "id_reuse"), seconds=900)
    seen: dict[tuple[str, str], list[tuple[int, int | None]]] = {}
    for one in client.venue.orders.values():
        if one.client_order_id.startswith(FOREIGN):
            place = (one.instrument, one.client_order_id)
            seen.setdefault(place, []).append((one.accepted_ns, one.ended_ns))
    again = [spans for spans in seen.values() if len(spans) > 1]
    assert again
    for spans in again:
        for (_, ended_ns), (begun_ns, _) in itertools.pairwise(spans):
            assert ended_ns is not None
            assert ended_ns <= begun_ns


def test_bust_when_it_happens_then_the_trade_is_gone_and_named_to_every_subscriber() -> None:
    """Out of `myTrades`, out of the balances, told now and to whoever subscribes later."""
    client = lived(only("bust"))
    gone = {trade.number for trade in client.venue.book.trades if trade.busted}
    told = {event["t"] for _, event in client.events if event["e"] == "tradeBust"}
    assert gone
    assert told == gone
    assert all({"q", "p"}.isdisjoint(event) for _, event in client.events if event["e"] == "tradeBust")
    for instrument in (BTC, ETH, CROSS):
        symbol = client.codec.symbol(instrument.id)
        rows = client.answer(client.query("myTrades", symbol=symbol, fromId=1, limit=1000))["result"]
        assert not gone & {row["id"] for row in rows}
    before = len(client.events)
    client.connect()
    again = {event["t"] for _, event in client.events[before:] if event["e"] == "tradeBust"}
    assert again == gone
    check_books(client, BALANCES)


@pytest.mark.parametrize("kind", ["bust", "correction"])
def test_revision_when_its_order_is_open_then_what_it_lost_is_open_and_locked_again(kind: str) -> None:
    """The venue's count of a live order falls with its trade: it may trade that quantity again."""
    client = lived(only(kind, "partial_storm"))
    revised = [one for one in client.venue.log if one.what in ("bust", "correct")]
    orders = [(one.at_ns, client.venue.book.orders[one.order_id or 0]) for one in revised]
    live = [order for at_ns, order in orders if order.ended_ns is None or at_ns < order.ended_ns]
    assert live
    assert any(order.cum_qty == order.qty for order in live)
    check_orders(client)
    check_books(client, BALANCES)


def test_correction_when_it_happens_then_the_trade_is_what_the_event_says() -> None:
    """`q` and `p` are what holds now; `myTrades` shows the same."""
    client = lived(only("correction"))
    told = {event["t"]: event for _, event in client.events if event["e"] == "tradeBust"}
    trades = {trade.number: trade for trade in client.venue.book.trades}
    assert told
    for number, event in told.items():
        assert (Decimal(event["q"]), Decimal(event["p"])) == (trades[number].qty, trades[number].price)
        assert trades[number].versions[0][1] != trades[number].versions[-1][1]
    check_books(client, BALANCES)


def test_overfill_when_it_happens_then_the_trade_beyond_the_order_is_marked() -> None:
    """The order has more than was asked for, by exactly the marked trades."""
    client = lived(only("overfill"))
    over = [trade for trade in client.venue.book.trades if trade.overfill]
    assert over
    for trade in over:
        order = client.venue.book.orders[trade.order_id]
        assert (order.cum_qty, order.status) == (order.qty + trade.qty, "FILLED")


def test_trade_id_missing_when_it_happens_then_no_road_tells_it() -> None:
    """Not the answer, not the stream, and the row lacks `id` or has -1."""
    client = lived(only("trade_id_missing"))
    unnamed = [trade for trade in client.venue.book.trades if not trade.named]
    assert unnamed
    ids: list[object] = []
    for instrument in (BTC, ETH, CROSS):
        symbol = client.codec.symbol(instrument.id)
        rows = client.answer(client.query("myTrades", symbol=symbol, fromId=1, limit=1000))["result"]
        ids += [row.get("id") for row in rows]
    assert sum(one in (None, -1) for one in ids) == len(unnamed)
    assert {None, -1} <= set(ids)
    reports = [event for _, event in client.events if event.get("x") == "TRADE"]
    assert sum(event["t"] == -1 for event in reports) == len(unnamed)


def test_id_reuse_when_it_is_on_then_instruments_share_trade_ids() -> None:
    """Ids are unique within an instrument only."""
    client = lived(only("id_reuse"))
    keys = [(trade.instrument, trade.trade_id) for trade in client.venue.book.trades]
    assert len(set(keys)) == len(keys)
    assert len({trade_id for _, trade_id in keys}) < len(keys)


def test_item_missing_when_it_happens_then_the_order_is_still_found_by_id_and_trades_only_for_v() -> None:
    """The list alone is incomplete, which an honest venue may do; after V every trade shows."""
    client = lived(only("item_missing"))
    client.run(6)
    for instrument in (BTC, ETH, CROSS):
        symbol = client.codec.symbol(instrument.id)
        rows = client.answer(client.query("myTrades", symbol=symbol, fromId=1, limit=1000))["result"]
        mine = [trade for trade in client.venue.book.trades if trade.instrument == instrument.id]
        assert [row["id"] for row in rows] == [trade.number for trade in mine]
    for order in client.venue.book.live.values():
        symbol = client.codec.symbol(order.instrument)
        status = client.query("order.status", symbol=symbol, origClientOrderId=order.client_order_id)
        assert client.answer(status)["status"] == 200


def test_ban_when_it_holds_then_connections_are_refused_until_it_ends() -> None:
    """418 with the instant to come back, on requests and on connections; nothing is carried out."""
    client = Client(only("ban"))
    client.connect()
    number = 0
    while not client.kinds():
        number += 1
        client.place(BTC, "buy", BTC.min_qty * 100, BTC.price_tick * 100_000, f"a{number}")
        client.run(0.2)
    answer = client.answers[client.req][1]
    assert (answer["status"], answer["error"]["code"]) == (418, -1003)
    until_ns = answer["error"]["data"]["retryAfter"] * MS
    assert until_ns >= client.venue.gate.banned_ns
    assert f"a{number}" not in [order.client_order_id for order in client.venue.orders.values()]
    client.up = False
    client.connect()
    closed = client.heard[-1]
    assert isinstance(closed, Closed)
    assert closed.code == 418
    client.run_until(until_ns)
    client.connect()
    assert client.up


def test_half_open_when_it_happens_then_nothing_comes_and_nothing_arrives() -> None:
    """Written, and never heard of again: only a time-out helps."""
    client = Client(only("half_open"))
    client.connect()
    while not client.kinds():
        client.run(1)
    logged, heard = len(client.venue.log), [one for one in client.heard if isinstance(one, Received)]
    client.place(BTC, "buy", BTC.min_qty * 100, BTC.price_tick * 100_000, "a1")
    client.run(5)
    assert len(client.venue.log) == logged
    assert [one for one in client.heard if isinstance(one, Received)] == heard


def test_opening_when_it_is_on_then_others_hold_and_rest_and_have_traded_before_us() -> None:
    """Old trades have no line in the log and no part in the balances; queries show them."""
    client = Client(only("opening"), seed=1)
    client.connect()
    rows = [
        row
        for instrument in (BTC, ETH, CROSS)
        for row in client.answer(
            client.query("myTrades", symbol=client.codec.symbol(instrument.id), fromId=1, limit=1000)
        )["result"]
    ]
    resting = client.answer(client.query("openOrders.status"))["result"]
    assert rows
    assert resting
    assert client.venue.trades == []
    assert all(row["clientOrderId"].startswith(FOREIGN) for row in resting)
    assert not any(order.ours for order in client.venue.orders.values())
    owners = [client.query("order.status", symbol=row["symbol"], orderId=row["orderId"]) for row in rows]
    client.run(0.2)
    assert all(client.answers[req][1]["result"]["status"] == "FILLED" for req in owners)


# --- the same seed, the same venue ------------------------------------------------------------------------


def fingerprint(seed: int) -> str:
    """Return a digest of everything that was heard and of what the venue knows at the end."""
    client = Client(draw(seed, True, ALL, all_on=True), seed=seed, market_kinds=("halt", "filter_change"))
    trade_at_random(client, Random(seed), 200)
    digest = blake2b(digest_size=16)
    for item in (*client.heard, *client.notes, *client.venue.log, client.venue.balances):
        digest.update(repr(item).encode())
    return digest.hexdigest()


def test_venue_when_the_seed_is_the_same_then_so_is_all_that_happens() -> None:
    """Everything that is heard, noted and written down; another seed is another venue."""
    assert fingerprint(7) == fingerprint(7) != fingerprint(8)


@pytest.mark.slow
def test_venue_when_hashes_are_seeded_otherwise_then_nothing_changes() -> None:
    """Another PYTHONHASHSEED in another process gives the same fingerprint."""
    here = fingerprint(7)
    program = "from tests.unit.sim.test_venue_kinds import fingerprint; print(fingerprint(7))"
    for hash_seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        there = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        assert there.stdout.strip() == here
