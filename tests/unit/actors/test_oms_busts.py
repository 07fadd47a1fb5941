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
from tradefan.core.exposure import account_sides
from tradefan.core.ledger import balance, position
from tradefan.messages.account import AccountState
from tradefan.messages.control import AskHistory
from tradefan.messages.gateway import CancelOrder, CreateOrder, Look
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
    assert (order.cum_qty, order.filled, order.sealed) == (D(0), D(0), False)
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


@pytest.mark.parametrize("apart_ns", [0, 1])
@pytest.mark.parametrize("swapped", [False, True])
def test_revisions_when_their_trade_was_not_seen_yet_then_the_newest_waits_for_it(
    bench: Bench, swapped: bool, apart_ns: int
) -> None:
    """A correction and then a bust of one trade: nothing is left of it, whichever is heard first."""
    create = bench.resting(2)
    revisions = [(1, 99, bench.now_ns + 1), (None, None, bench.now_ns + 1 + apart_ns)]
    for qty, price, event_ns in (*(revisions[::-1] if swapped else revisions), *revisions):
        bench.bust("7", qty, price, event_ns=event_ns)
    bench.fill(create, 2, "7")
    assert position(bench.trading.ledger, ACCOUNT, TREND, BTC).qty == D(0)
    assert bench.trading.busts == {}
    bench.check()


def test_bust_when_heard_before_its_trade_and_the_order_filled_again_then_no_overfill_is_said(
    bench: Bench,
) -> None:
    """The trade that comes last was taken back long ago: the order holds what it was to hold."""
    create = bench.resting(2)
    bench.bust("7")
    bench.fill(create, 2, "8")
    bench.fill(create, 1, "7")
    assert position(bench.trading.ledger, ACCOUNT, TREND, BTC).qty == D(2)
    assert (bench.oms.view().counters.overfills, "overfill" in bench.logs) == (0, False)
    bench.check()


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


@pytest.mark.parametrize("price", [None, D("98.5")], ids=["bust", "new price"])
def test_revision_when_of_a_live_order_then_what_the_venue_counts_later_is_not_hidden(
    bench: Bench, price: Decimal | None
) -> None:
    """The venue fills all of it in the end, and its word overtakes the trade: nothing is ordered again."""
    bench.target(10, algo="limit", limit_price=D(99))
    create = bench.one(GATEWAY, CreateOrder)
    bench.report(create, S.NEW)
    bench.fill(create, 4, "1", price=D(99))
    bench.report(create, S.PARTIALLY_FILLED, 4)
    bench.advance(SECOND)
    bench.bust("1", None if price is None else 4, price)
    bench.advance(SECOND)
    bench.report(create, S.FILLED, 10)
    bench.target(10, algo="limit", limit_price=D(99))
    assert bench.take(GATEWAY, CreateOrder) == []
    assert bench.trading.orders[create.client_order_id].cum_qty == D(10)
    bench.fill(create, 10 if price is None else 6, "2", price=D(99))
    assert position(bench.trading.ledger, ACCOUNT, TREND, BTC).qty == D(10)
    bench.check()


def test_correction_when_a_later_trade_is_lost_then_it_is_inferred_all_the_same(bench: Bench) -> None:
    """A new price takes nothing from what the venue counts: 4 of its 8 are missing, and are booked."""
    create = bench.resting(10)
    bench.fill(create, 4, "1", price=D(99))
    bench.bust("1", 4, D("98.5"))
    bench.advance(SECOND)
    bench.report(create, S.PARTIALLY_FILLED, 8)
    bench.advance(60 * SECOND, answering=True)
    assert [one.fill.qty for one in bench.made(FillInferred)] == [D(4)]
    bench.check()


def test_bust_when_our_sum_had_ended_an_order_that_is_open_then_it_counts_and_is_cancelled(
    bench: Bench,
) -> None:
    """The venue took 4 back before it filled 6 of 10: 4 rest there still, and nobody waits for them."""
    create = bench.resting(10)
    bench.fill(create, 4, "1")
    early_ns = bench.now_ns
    bench.advance(SECOND)
    bench.fill(create, 6, "2")
    assert create.client_order_id not in bench.trading.orders_live
    bench.sent.clear()
    bench.bust("1", event_ns=early_ns)
    order = bench.trading.orders[create.client_order_id]
    assert (order.live, order.cum_qty, order.leaves_qty) == (True, D(6), D(4))
    assert account_sides(bench.trading.exposure, ACCOUNT, BTC).buy_qty == D(4)
    assert bench.one(GATEWAY, CancelOrder).client_order_id == create.client_order_id
    bench.advance(SECOND)
    assert bench.one(GATEWAY, Look).orders == ((BTC, create.client_order_id),)
    bench.report(create, S.CANCELED, 6, source="look")
    assert account_sides(bench.trading.exposure, ACCOUNT, BTC).buy_qty == D(0)


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


@pytest.mark.failure("OR-20")
def test_corrections_when_repeated_or_swapped_then_the_newest_holds_and_each_counts_once(
    bench: Bench,
) -> None:
    """A stream repeats all revisions to a new subscriber, and may tell them in any order."""
    create = filled(bench, 3)
    for _ in range(2):
        bench.bust("7", 2, 99, event_ns=bench.now_ns + 1)
        bench.bust("7", 1, 99, event_ns=bench.now_ns + 2)
    assert [one.qty for one in bench.made(Correct)] == [D(2), D(1)]
    swapped = Bench().ready()
    filled(swapped, 3)
    swapped.bust("7", 1, 99, event_ns=swapped.now_ns + 2)
    swapped.bust("7", 2, 99, event_ns=swapped.now_ns + 1)
    assert [one.qty for one in swapped.made(Correct)] == [D(1)]
    order = bench.trading.orders[create.client_order_id]
    assert (order.filled, order.cum_qty) == (D(1), D(1))
    bench.check()


@pytest.mark.failure("OR-20")
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


@pytest.mark.failure("OR-21")
@pytest.mark.parametrize("fill_first", [False, True])
@pytest.mark.parametrize("early", [False, True])
def test_correction_when_its_trade_comes_as_it_is_since_then_what_is_gone_is_not_inferred(
    bench: Bench, fill_first: bool, early: bool
) -> None:
    """The venue had counted 5 of a trade that only a later look shows, as 2: its newer word is 2 as well."""
    create = bench.resting(5)
    bench.report(create, S.FILLED, 5)
    before_ns = bench.now_ns
    bench.advance(SECOND)
    revised_ns = bench.now_ns
    words = [lambda: bench.bust("7", 2, 99, event_ns=revised_ns)]
    words.insert(0 if fill_first else 1, lambda: bench.fill(create, 2, "7", price=D(99), event_ns=before_ns))
    for word in words:
        word()
    if early:
        bench.report(create, S.FILLED, 5, event_ns=before_ns)
    bench.report(create, S.FILLED, 2, source="look", event_ns=revised_ns)
    bench.report(create, S.FILLED, 5, event_ns=before_ns)
    bench.bust("7", 2, 99, event_ns=revised_ns)
    assert len([one for one in bench.made(Correct) if one.fill is not None]) == 1
    assert bench.trading.orders[create.client_order_id].cum_qty == D(2)
    bench.advance(60 * SECOND, answering=True)
    assert bench.made(FillInferred) == []
    assert position(bench.trading.ledger, ACCOUNT, TREND, BTC).qty == D(2)
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
