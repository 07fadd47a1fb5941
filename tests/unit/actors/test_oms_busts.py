"""Busts and corrections: a trade that the venue takes back or changes, before and after it was told."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import (
    ACCOUNT,
    BASE,
    BTC,
    CONFIG,
    DESK,
    GATEWAY,
    JOURNAL,
    TREND,
    USDT,
    foreign,
)
from tradefan.core import apply_orders
from tradefan.core.ledger import balance, position
from tradefan.messages.account import AccountState
from tradefan.messages.control import AskHistory
from tradefan.messages.gateway import CreateOrder, Look
from tradefan.messages.orders import FillUpdate, OrderStatus
from tradefan.messages.records import Bust, Correct, FillInferred, Transfer
from tradefan.units import EXTERNAL, SECOND, ParentId, TradeId

D = Decimal
S = OrderStatus


@pytest.fixture
def bench() -> Bench:
    return Bench().ready()


def filled(bench: Bench, qty: Any = 2, trade_id: str = "7") -> CreateOrder:
    """Let the strategy buy at 100 with a fee of 0.5."""
    create = bench.resting(qty, 99)
    bench.fill(create, qty, trade_id, fee=D("0.5"))
    bench.report(create, S.FILLED, qty)
    return create


def told(bench: Bench) -> tuple[Decimal, Decimal]:
    """Return quantity and realised result that the risk desk has been told of the strategy."""
    fills = [one for one in bench.take(DESK, FillUpdate) if one.owner == TREND]
    signed = (one.qty if one.side == "buy" else -one.qty for one in fills)
    return sum(signed, D(0)), sum((one.realised for one in fills), D(0))


def test_bust_when_of_a_known_trade_then_books_are_as_if_it_had_never_been(bench: Bench) -> None:
    """BUST names the fill: position, fee and balances go back, `cum_qty` falls, alarm; told as a fill too."""
    create = filled(bench)
    bench.bust("7")
    (bust,) = bench.made(Bust)
    assert (bust.trade_id, bust.fill.qty) == ("7", D(2))
    ledger = bench.trading.ledger
    assert position(ledger, ACCOUNT, TREND, BTC).qty == D(0)
    assert (balance(ledger, ACCOUNT, USDT), balance(ledger, ACCOUNT, BASE)) == (D(1_000_000), D(0))
    order = bench.trading.orders[create.client_order_id]
    assert (order.cum_qty, order.filled, order.status, order.sealed) == (D(0), D(0), S.FILLED, False)
    assert bench.trading.parents[ParentId(create.parent_id)].cum_qty == D(0)
    assert bench.alarms == ["bust"]
    assert told(bench) == (D(0), D(0))
    bench.check()


@pytest.mark.failure("OR-20")
def test_bust_when_told_again_or_after_a_restart_then_it_counts_once(bench: Bench) -> None:
    """A bust is repeated to every new subscriber: the journal knows that it was taken back."""
    filled(bench)
    bench.bust("7")
    bench.bust("7")
    again = Bench(records=bench.records).ready()
    again.bust("7")
    assert len(again.made(Bust)) == 1
    assert position(again.trading.ledger, ACCOUNT, TREND, BTC).qty == D(0)
    again.check()


def test_bust_when_its_trade_was_not_seen_yet_then_it_waits_and_the_fill_nets_to_zero(bench: Bench) -> None:
    """Stream and query may swap them: nothing happens before the fill, and nothing is left after it."""
    create = bench.resting(2)
    bench.bust("7")
    bench.bust("7")
    assert [one.fill for one in bench.made(Bust)] == [None]
    again = Bench(records=bench.records).ready()
    again.fill(create, 2, "7")
    again.fill(create, 2, "7", source="look")
    assert position(again.trading.ledger, ACCOUNT, TREND, BTC).qty == D(0)
    assert balance(again.trading.ledger, ACCOUNT, USDT) == D(1_000_000)
    assert again.trading.orders[create.client_order_id].cum_qty == D(0)
    assert again.trading.busts == {}
    assert told(again) == (D(0), D(0))
    again.check()


def test_bust_when_a_report_from_before_it_comes_late_then_the_quantity_stays_low(bench: Bench) -> None:
    """Only a bust lowers `cum_qty`, and an older word does not raise it again."""
    create = filled(bench)
    bench.bust("7")
    bench.report(create, S.FILLED, 2, source="look")
    assert bench.trading.orders[create.client_order_id].cum_qty == D(0)
    bench.advance(45 * SECOND, answering=True)
    assert bench.made(FillInferred) == []
    bench.check()


def test_bust_when_only_part_of_what_traded_then_the_rest_stays(bench: Bench) -> None:
    """One trade id, one execution: the others of the order are untouched."""
    create = bench.resting(3)
    for number in (1, 2, 3):
        bench.fill(create, 1, str(number), price=D(100 + number))
    bench.report(create, S.FILLED, 3)
    bench.bust("2")
    order = bench.trading.orders[create.client_order_id]
    assert (order.cum_qty, order.filled, order.value) == (D(2), D(2), D(204))
    assert balance(bench.trading.ledger, ACCOUNT, USDT) == D(1_000_000 - 204)
    bench.check()


def test_bust_when_its_parent_still_works_then_what_is_missing_is_ordered_again(bench: Bench) -> None:
    """The parent has less than it thought; its executor goes on, never above its quantity."""
    bench.submit(3)
    first = bench.one(GATEWAY, CreateOrder)
    bench.fill(first, 2, "7")
    bench.report(first, S.EXPIRED, 2)
    bench.bust("7")
    bench.advance(SECOND)
    second = bench.one(GATEWAY, CreateOrder)
    assert second.order_qty == D(3)
    bench.check()


def test_bust_when_it_puts_the_account_over_its_limit_then_reduce_only_in_that_step() -> None:
    """A sale that never was leaves a long position that the limit did not allow."""
    risk = msgspec.structs.replace(CONFIG.risk, max_position=D(4))
    bench = Bench(config=msgspec.structs.replace(CONFIG, risk=risk)).ready()
    bench.bought(4)
    bench.submit(3, side="sell")
    sale = bench.one(GATEWAY, CreateOrder)
    bench.fill(sale, 3, "7")
    bench.report(sale, S.FILLED, 3)
    bench.bought(3)
    bench.bust("7")
    assert bench.moods(BTC, f"over limit @{ACCOUNT} {BTC}") == ["REDUCE_ONLY"]
    assert bench.moods(TREND, f"over limit @{ACCOUNT} {BTC}") == ["REDUCE_ONLY"]


@pytest.mark.parametrize(("qty", "price"), [(1, 100), (2, 90), (1, 110)])
def test_correction_when_of_a_known_trade_then_books_are_as_the_venue_says_now(
    bench: Bench, qty: int, price: int
) -> None:
    """CORRECT takes the old execution back and books the new one; the fee stays; one record, one change."""
    create = filled(bench)
    bench.bust("7", qty, price)
    bench.bust("7", qty, price)
    (correct,) = bench.made(Correct)
    assert (correct.fill.qty, correct.qty, correct.price) == (D(2), D(qty), D(price))
    held = position(bench.trading.ledger, ACCOUNT, TREND, BTC)
    assert (held.qty, held.cost - held.realised) == (D(qty), D(qty * price))
    assert balance(bench.trading.ledger, ACCOUNT, USDT) == D(1_000_000) - qty * price - D("0.5")
    order = bench.trading.orders[create.client_order_id]
    assert (order.cum_qty, order.value) == (D(qty), D(qty * price))
    assert told(bench) == (D(qty), held.realised)
    bench.check()


def test_correction_when_to_nothing_then_it_is_a_bust_and_counts_once(bench: Bench) -> None:
    """A quantity of zero takes the trade back; told again, or busted as well, nothing more goes."""
    filled(bench)
    bench.bust("7", 0, 100)
    bench.bust("7", 0, 100)
    bench.bust("7")
    assert position(bench.trading.ledger, ACCOUNT, TREND, BTC).qty == D(0)
    assert balance(bench.trading.ledger, ACCOUNT, BASE) == D(0)
    bench.check()


def test_correction_when_its_trade_was_not_seen_yet_then_it_changes_the_fill_when_it_comes(
    bench: Bench,
) -> None:
    """As a bust before its fill; a later bust takes the corrected trade back."""
    create = bench.resting(2)
    bench.bust("7", 1, 90)
    bench.fill(create, 2, "7")
    held = position(bench.trading.ledger, ACCOUNT, TREND, BTC)
    assert (held.qty, held.cost - held.realised) == (D(1), D(90))
    bench.bust("7")
    assert position(bench.trading.ledger, ACCOUNT, TREND, BTC).qty == D(0)
    assert balance(bench.trading.ledger, ACCOUNT, USDT) == D(1_000_000)
    bench.check()


@pytest.mark.parametrize("qty", [None, 1])
def test_bust_when_its_trade_left_memory_then_the_journal_is_asked(
    monkeypatch: pytest.MonkeyPatch, bench: Bench, qty: int | None
) -> None:
    """The record of the fill is what is taken back, by key, once; a corrected one as it was corrected."""
    monkeypatch.setattr(apply_orders, "FILLS_MAX", 1)
    create = bench.resting(9)
    for number in (7, 8):
        bench.fill(create, 2, str(number))
    bench.auto_history = False
    bench.bust("7", qty, None if qty is None else 100)
    assert bench.made(Bust) == bench.made(Correct) == []
    (asked,) = bench.take(JOURNAL, AskHistory)
    assert asked.subject == f"fill {ACCOUNT} {BTC} 7"
    bench.tell(bench.history(asked))
    bench.auto_history = True
    assert position(bench.trading.ledger, ACCOUNT, TREND, BTC).qty == D(2 + (qty or 0))
    bench.bust("7", qty, None if qty is None else 100)
    bench.bust("7")
    assert position(bench.trading.ledger, ACCOUNT, TREND, BTC).qty == D(2)
    assert balance(bench.trading.ledger, ACCOUNT, BASE) == D(2)
    bench.check()


def test_bust_when_of_a_foreign_trade_then_external_has_it_taken_back(bench: Bench) -> None:
    """Whoever traded: the account's books follow the venue."""
    bench.fill(foreign(), 2, "7")
    bench.bust("7")
    assert position(bench.trading.ledger, ACCOUNT, EXTERNAL, BTC).qty == D(0)
    assert balance(bench.trading.ledger, ACCOUNT, USDT) == D(1_000_000)
    bench.check()


def test_bust_when_of_a_trade_before_the_opening_then_balances_tell_of_it(bench: Bench) -> None:
    """What is in the opening is no fill of ours: the venue's balance says what it was, `external` has it."""
    bench = Bench()
    bench.fold()
    bench.tell(AccountState(ACCOUNT, True, ""))
    cursors = ((BTC, TradeId("50")),)
    bench.opened({"USDT": 800, "BTC": 2}, cursors=cursors)
    bench.bust("41")
    for _ in range(30):
        bench.advance(SECOND)
        for look in bench.take(GATEWAY, Look):
            bench.done(look, {"USDT": 900, "BTC": 1}, cursors=cursors)
    assert [(one.asset, one.qty) for one in bench.made(Transfer)] == [(USDT, D(100)), (BASE, D(-1))]
    assert bench.trading.ledger.positions == {}
    bench.check()
