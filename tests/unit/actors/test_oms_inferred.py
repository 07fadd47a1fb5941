"""Inferred fills: what the venue counts and no trade tells is booked after a while, and replaced later."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import ACCOUNT, BTC, DESK, ETH, GATEWAY, TREND, USDT
from tradefan.core import apply_orders
from tradefan.core.exposure import account_sides
from tradefan.core.ledger import balance, position
from tradefan.messages.account import AccountState
from tradefan.messages.gateway import CreateOrder, FillBusted, Look
from tradefan.messages.orders import FillUpdate, OrderStatus
from tradefan.messages.records import Fill, FillInferred, FillReplaced, Report, Transfer
from tradefan.units import MINUTE, SECOND, ParentId, TradeId

D = Decimal
S = OrderStatus


@pytest.fixture
def bench() -> Bench:
    return Bench().ready()


def ahead(bench: Bench, qty: Any = 1, price: Any = 99, **changes: Any) -> CreateOrder:
    """Let the venue report an order filled whose trades nobody tells."""
    create = bench.resting(qty, price, **changes)
    bench.report(create, S.FILLED, qty)
    return create


def looking(bench: Bench, seconds: int, *, complete: bool = True) -> None:
    """Let time pass; looks find the balances of a venue where one BTC was bought at 98, and no trade."""
    for _ in range(seconds):
        bench.advance(SECOND)
        for look in bench.take(GATEWAY, Look):
            bench.done(look, {"USDT": 999_902, "BTC": 1}, missing=(), complete=complete)


def told(bench: Bench) -> Decimal:
    """Return what the risk desk has been told that the strategy bought."""
    fills = [one for one in bench.take(DESK, FillUpdate) if one.owner == TREND]
    return sum((one.qty if one.side == "buy" else -one.qty for one in fills), D(0))


@pytest.mark.failure("OR-12", "OR-21")
def test_venue_when_ahead_for_thirty_seconds_then_the_rest_is_inferred_at_the_orders_price(
    bench: Bench,
) -> None:
    """FILL_INFERRED is tagged, booked to the owner, told to the risk desk; no balance becomes a transfer."""
    create = ahead(bench)
    began_ns = bench.now_ns
    while not bench.made(FillInferred):
        looking(bench, 1)
        assert bench.now_ns < began_ns + MINUTE
    assert bench.now_ns - began_ns >= 30 * SECOND
    (inferred,) = bench.made(FillInferred)
    fill = inferred.fill
    assert (fill.owner, fill.qty, fill.price, fill.client_order_id) == (
        TREND,
        D(1),
        D(99),
        create.client_order_id,
    )
    assert fill.trade_id.startswith("inferred")
    assert position(bench.trading.ledger, ACCOUNT, TREND, BTC).qty == D(1)
    assert (told(bench), bench.oms.view().counters.inferred) == (D(1), 1)
    looking(bench, 60)
    assert bench.made(Transfer) == []
    assert len(bench.made(FillInferred)) == 1
    bench.check()


def test_venue_when_ahead_and_no_look_was_complete_then_nothing_is_inferred(bench: Bench) -> None:
    """Only a complete look has asked for all trades."""
    ahead(bench)
    looking(bench, 120, complete=False)
    assert bench.made(FillInferred) == []
    looking(bench, 40)
    assert len(bench.made(FillInferred)) == 1


@pytest.mark.failure("OR-21")
@pytest.mark.parametrize("parts", [["1"], ["0.4", "0.6"], ["0.4"]])
def test_inferred_fill_when_the_real_ones_come_then_they_take_its_place(
    bench: Bench, parts: list[str]
) -> None:
    """FILL_REPLACED for as much as a real fill explains; books and desk end as if it had been so."""
    create = ahead(bench)
    looking(bench, 45)
    (name,) = bench.trading.inferred
    for number, part in enumerate(parts, 1):
        bench.fill(create, part, str(number), price=D(98), fee=D("0.1") * D(part))
    replaced = bench.made(FillReplaced)
    assert [(one.trade_id, one.qty) for one in replaced] == [(name, D(part)) for part in parts]
    real = sum(map(D, parts), D(0))
    held = position(bench.trading.ledger, ACCOUNT, TREND, BTC)
    assert (held.qty, held.cost - held.realised) == (D(1), real * 98 + (1 - real) * 99)
    assert balance(bench.trading.ledger, ACCOUNT, USDT) == 1_000_000 - held.cost + held.realised - real / 10
    assert told(bench) == D(1)
    order = bench.trading.orders[create.client_order_id]
    assert (order.filled, order.cum_qty, order.status) == (D(1), D(1), S.FILLED)
    assert bench.trading.parents[ParentId(create.parent_id)].filled == D(1)
    assert (bench.trading.inferred == {}) is (real == 1)
    bench.check()


@pytest.mark.failure("OR-21")
def test_inferred_fill_when_the_real_one_is_larger_then_only_what_was_inferred_is_taken_back(
    bench: Bench,
) -> None:
    """A real fill that explains more than was missing leaves no rest, and nothing negative."""
    create = bench.resting(2)
    bench.report(create, S.PARTIALLY_FILLED, "0.5")
    looking(bench, 45)
    bench.fill(create, 2, "1")
    assert [one.qty for one in bench.made(FillReplaced)] == [D("0.5")]
    assert bench.trading.inferred == {}
    order = bench.trading.orders[create.client_order_id]
    assert (order.filled, order.status) == (D(2), S.FILLED)
    assert position(bench.trading.ledger, ACCOUNT, TREND, BTC).qty == D(2)
    bench.check()


@pytest.mark.failure("OR-21")
def test_inferred_fill_when_the_oms_restarts_then_the_real_one_still_replaces_it(bench: Bench) -> None:
    """What was inferred is known from the journal alone (OR-21)."""
    create = ahead(bench)
    looking(bench, 45)
    again = Bench(records=bench.records, now_ns=bench.now_ns).ready()
    again.fill(create, 1, "5", price=D(98))
    assert len(again.made(FillReplaced)) == 1
    assert position(again.trading.ledger, ACCOUNT, TREND, BTC).qty == D(1)
    assert balance(again.trading.ledger, ACCOUNT, USDT) == D(999_902)
    again.check()


def test_inferred_fill_when_nothing_replaces_it_then_deposits_are_still_booked(bench: Bench) -> None:
    """A trade that never comes does not hide what else moves: once the venue agrees, books follow it."""
    ahead(bench, price=98)
    looking(bench, 45)
    for _ in range(600):
        bench.advance(SECOND)
        for look in bench.take(GATEWAY, Look):
            bench.done(look, {"USDT": 1_999_902, "BTC": 1}, missing=())
    assert [(one.asset, one.qty) for one in bench.made(Transfer)] == [(USDT, D(1_000_000))]
    bench.check()


@pytest.mark.failure("OR-21", "ST-12")
def test_poisoned_fill_when_the_venue_counts_it_then_it_is_not_booked_under_another_name(
    bench: Bench,
) -> None:
    """A fact that waits for `order resolve` is not inferred meanwhile: DROP could not take that back."""
    create = bench.resting()
    again = Bench(records=bench.records)
    again.fold(poison=f"fill {ACCOUNT} {BTC} 77", poison_text="boom")
    again.tell(AccountState(ACCOUNT, True, ""))
    again.fill(create, 1, "77")
    again.report(create, S.FILLED, 1)
    looking(again, 60)
    assert again.made(FillInferred) == []
    assert account_sides(again.trading.exposure, ACCOUNT, BTC).unbooked == D(1)
    again.check()


@pytest.mark.failure("OR-21")
def test_fill_when_its_order_has_left_memory_then_it_replaces_what_was_inferred(
    monkeypatch: pytest.MonkeyPatch, bench: Bench
) -> None:
    """The journal names the owner, and the quantity is booked once, over a restart too."""
    monkeypatch.setattr(apply_orders, "ENDED_MAX", 1)
    create = ahead(bench, 2)
    bench.passed(45)
    assert [one.fill.qty for one in bench.made(FillInferred)] == [D(2)]
    for _ in range(3):
        bench.report(bench.resting(1), S.CANCELED)
    assert create.client_order_id not in bench.trading.orders
    bench.fill(create, 2, "77", price=D(98))
    (replaced,) = bench.made(FillReplaced)
    assert (replaced.qty, bench.trading.inferred) == (D(2), {})
    assert position(bench.trading.ledger, ACCOUNT, TREND, BTC).qty == D(2)
    assert balance(bench.trading.ledger, ACCOUNT, USDT) == D(1_000_000 - 2 * 98)
    bench.check()


def revised(bench: Bench, create: CreateOrder, counted: Any, seconds: int = 1) -> None:
    """Let looks ask for an order, of which the venue counts less since now, and show no trade of it."""
    event_ns, until_ns = bench.now_ns, bench.now_ns + seconds * SECOND
    while bench.now_ns < until_ns:
        bench.advance(SECOND)
        for look in bench.take(GATEWAY, Look):
            if (BTC, create.client_order_id) in look.orders:
                bench.report(create, S.FILLED, counted, source="look", event_ns=event_ns)
            bench.done(look, missing=())


def stands(bench: Bench, qty: Any, paid: Any) -> None:
    """See that the strategy holds a quantity, and that this is what was paid for it; and so it stays."""
    for _ in range(2):
        assert position(bench.trading.ledger, ACCOUNT, TREND, BTC).qty == D(qty)
        assert balance(bench.trading.ledger, ACCOUNT, USDT) == D(1_000_000) - D(paid)
        bench.passed(60)
    assert bench.made(Transfer) == []
    bench.check()


@pytest.mark.parametrize("late", [False, True], ids=["heard first", "heard behind the fall"])
@pytest.mark.parametrize("qty", [None, 1], ids=["bust", "correction"])
def test_inferred_fill_when_the_venue_took_the_trade_back_unseen_then_so_do_we(
    bench: Bench, qty: int | None, late: bool
) -> None:
    """Nobody ever tells whose trade that was: the venue's lower count of the order behind it does."""
    create, left = ahead(bench, 3), qty or 0
    before_ns = bench.now_ns
    bench.passed(45)
    revised_ns = bench.now_ns
    if late:
        revised(bench, create, left, 30)
        assert position(bench.trading.ledger, ACCOUNT, TREND, BTC).qty == D(3)
    bench.bust("7", qty, None if qty is None else 99, event_ns=revised_ns)
    revised(bench, create, left, 15)
    assert [one.qty for one in bench.made(FillReplaced)] == [D(3 - left)]
    order = bench.trading.orders[create.client_order_id]
    assert (order.filled, order.cum_qty, order.status) == (D(left), D(left), S.FILLED)
    assert bench.trading.parents[ParentId(create.parent_id)].filled == D(left)
    assert told(bench) == D(left)
    assert bench.alarms == ["inferred_taken_back"]
    bench.report(create, S.FILLED, 3, event_ns=before_ns)
    stands(bench, left, left * 99)
    assert len(bench.made(FillInferred)) == 1


@pytest.mark.parametrize("qty", [None, 1], ids=["bust", "correction"])
def test_revision_when_its_trade_was_never_seen_then_what_is_gone_is_not_inferred(
    bench: Bench, qty: int | None
) -> None:
    """The lower count is heard before 30 s are over."""
    create, left = ahead(bench, 3), qty or 0
    bench.advance(SECOND)
    bench.bust("7", qty, None if qty is None else 99)
    revised(bench, create, left, 20)
    assert bench.trading.orders[create.client_order_id].cum_qty == D(left)
    bench.passed(45)
    assert [one.fill.qty for one in bench.made(FillInferred)] == [D(left)] * bool(left)
    stands(bench, left, left * 99)


def test_inferred_fill_when_the_oms_restarts_then_what_is_counted_no_more_is_taken_back_too(
    bench: Bench,
) -> None:
    """The order is asked for in the next life as well; the bust that waits is in the journal."""
    create = ahead(bench, 3)
    bench.passed(45)
    bench.advance(SECOND)
    bench.bust("7")
    again = Bench(records=bench.records, now_ns=bench.now_ns).ready()
    revised(again, create, 0, 20)
    assert len(again.made(FillReplaced)) == 1
    stands(again, 0, 0)


@pytest.mark.parametrize("first", ["trade", "correction", "count"])
def test_inferred_fill_when_its_trade_comes_as_it_is_since_then_the_rest_is_taken_back(
    bench: Bench, first: str
) -> None:
    """A trade of 5 is corrected to 2 before anybody sees it; all words about it come in any order."""
    create = bench.resting(5)
    traded_ns = bench.now_ns
    bench.report(create, S.FILLED, 5)
    bench.passed(45)
    revised_ns = bench.now_ns
    bench.advance(SECOND)
    words = {
        "trade": lambda: bench.fill(create, 2, "7", price=D(99), event_ns=traded_ns),
        "correction": lambda: bench.bust("7", 2, 99, event_ns=revised_ns),
        "count": lambda: bench.report(create, S.FILLED, 2, source="look", event_ns=revised_ns),
    }
    for word in (first, *words, "count"):
        words[word]()
        bench.passed(15)
    assert bench.trading.inferred == {}
    assert len(bench.made(FillInferred)) == 1
    stands(bench, 2, 2 * 99)


def test_inferred_fill_when_the_trade_comes_behind_its_bust_after_all_then_nothing_more_goes(
    bench: Bench,
) -> None:
    """A stream may tell last what was first: the trade is booked and taken back in one turn."""
    create = ahead(bench, 3)
    bench.passed(45)
    traded_ns = bench.now_ns
    bench.advance(SECOND)
    bench.bust("7")
    revised(bench, create, 0, 15)
    bench.fill(create, 3, "7", price=D(98), event_ns=traded_ns)
    assert len(bench.made(Fill)) == 1
    assert bench.trading.orders[create.client_order_id].cum_qty == D(0)
    stands(bench, 0, 0)


def test_inferred_fill_when_another_trade_of_its_order_is_real_then_that_one_stays(bench: Bench) -> None:
    """Of 5 that the venue counted 2 are booked; it takes the other 3 back."""
    create = bench.resting(5)
    bench.fill(create, 2, "6", price=D(98))
    bench.report(create, S.FILLED, 5)
    bench.passed(45)
    bench.bust("7")
    revised(bench, create, 2, 15)
    assert [one.qty for one in bench.made(FillReplaced)] == [D(3)]
    stands(bench, 2, 2 * 98)


@pytest.mark.parametrize("revision", ["none", "elsewhere", "behind the count", "before both"])
def test_inferred_fill_when_a_lower_count_is_only_an_older_word_then_it_stays(
    bench: Bench, revision: str
) -> None:
    """Reports come in any order: without a revision between the two counts nothing was taken back."""
    create = bench.resting(3)
    early_ns = bench.now_ns
    if revision == "before both":
        bench.bust("7", event_ns=early_ns - SECOND)
    bench.advance(SECOND)
    bench.report(create, S.FILLED, 3)
    bench.passed(45)
    if revision == "behind the count":
        bench.bust("7")
    elif revision == "elsewhere":
        bench.tell(FillBusted(ACCOUNT, ETH, TradeId("7"), bench.now_ns, bench.now_ns))
    records = len(bench.made(Report))
    late_ns = bench.now_ns if revision == "elsewhere" else early_ns
    for cum in (0, 2):
        bench.report(create, S.PARTIALLY_FILLED, cum, source="look", event_ns=late_ns)
    bench.passed(30)
    assert (len(bench.made(Report)), bench.made(FillReplaced)) == (records, [])
    stands(bench, 3, 3 * 99)
