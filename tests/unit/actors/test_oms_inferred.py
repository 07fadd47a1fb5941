"""Inferred fills: what the venue counts and no trade tells is booked after a while, and replaced later."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import ACCOUNT, BTC, DESK, GATEWAY, TREND, USDT
from tradefan.core import apply_orders
from tradefan.core.exposure import account_sides
from tradefan.core.ledger import balance, position
from tradefan.messages.account import AccountState
from tradefan.messages.gateway import CreateOrder, Look
from tradefan.messages.orders import FillUpdate, OrderStatus
from tradefan.messages.records import FillInferred, FillReplaced, Transfer
from tradefan.units import MINUTE, SECOND, ParentId

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
