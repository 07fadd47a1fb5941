"""The ledger: average cost kept exactly, fees in any asset, balances to the last digit."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tests.unit.core.order_builders import ACCOUNT, BASE, BNB, BTC, OWNER, USDT, fill
from tradefan.core.ledger import (
    Ledger,
    Position,
    balance,
    book_fill,
    book_opening,
    book_transfer,
    held_before,
    net,
    position,
    trade,
)
from tradefan.messages.instrument import Instrument
from tradefan.messages.records import Fill, Opening, Transfer
from tradefan.units import EXTERNAL, Asset, InstrumentId, OwnerId

D = Decimal


def booked(*fills: Fill) -> Ledger:
    ledger = Ledger()
    for one in fills:
        book_fill(ledger, one)
    return ledger


def state_of(ledger: Ledger) -> tuple[Any, ...]:
    held = position(ledger, ACCOUNT, OWNER, BTC)
    return held.qty, held.cost, held.realised


def test_position_when_bought_and_sold_in_part_then_average_cost_is_realised() -> None:
    """Two buys at 100 and 110, one sale at 120: half of the cost goes, the rest keeps its average."""
    ledger = booked(
        fill(1, 100, "1"),
        fill(1, 110, "2"),
        fill(1, 120, "3", side="sell"),
    )
    held = position(ledger, ACCOUNT, OWNER, BTC)
    assert state_of(ledger) == (D(1), D(105), D(15))
    assert (held.avg_px, held.unrealised(D(100))) == (D(105), D(-5))


def test_position_when_it_turns_then_the_rest_opens_at_the_fill_price() -> None:
    """Selling 3 out of 1 long realises the one and opens a short of two."""
    ledger = booked(fill(1, 100, "1"), fill(3, 90, "2", side="sell"))
    assert state_of(ledger) == (D(-2), D(-180), D(-10))
    assert position(ledger, ACCOUNT, OWNER, BTC).unrealised(D(80)) == D(20)
    book_fill(ledger, fill(2, 80, "3"))
    assert state_of(ledger) == (D(0), D(0), D(10))
    assert position(ledger, ACCOUNT, OWNER, BTC).avg_px is None


def test_cost_when_a_third_is_sold_then_nothing_is_lost_by_rounding() -> None:
    """1/3 has no end in decimals: what leaves the cost enters the result, and flat is exactly flat."""
    ledger = booked(fill(3, 100, "1"), fill(1, "100.01", "2", side="sell"), fill(1, 7, "3", side="sell"))
    qty, cost, realised = state_of(ledger)
    assert (qty, realised - cost) == (D(1), -300 + D("100.01") + 7)
    book_fill(ledger, fill(1, 100, "4", side="sell"))
    assert state_of(ledger) == (D(0), D(0), D("-92.99"))


@pytest.mark.failure("OR-18")
def test_fees_when_in_three_assets_then_each_is_an_entry_of_its_own() -> None:
    """Money of different assets is never added up; a rebate is negative."""
    ledger = booked(
        fill(1, 100, "1", fee=D("0.1"), fee_asset=USDT),
        fill(1, 100, "2", fee=D("0.002"), fee_asset=BNB),
        fill(1, 100, "3", fee=D("-0.05"), fee_asset=USDT),
    )
    assert position(ledger, ACCOUNT, OWNER, BTC).fees == {USDT: D("0.05"), BNB: D("0.002")}
    assert ledger.balances[ACCOUNT] == {BASE: D(3), USDT: D("-300.05"), BNB: D("-0.002")}


@pytest.mark.failure("OR-18")
def test_fee_when_in_base_then_it_lowers_the_sellable_position_and_is_counted_once() -> None:
    """A fee of 0.001 BTC leaves 0.999 BTC at the same average price: gross result and fee stay apart."""
    ledger = booked(fill(1, 100, "1", fee=D("0.001"), fee_asset=BASE))
    held = position(ledger, ACCOUNT, OWNER, BTC)
    assert (held.qty, held.cost, held.realised, held.fees) == (
        D("0.999"),
        D("99.9"),
        D(0),
        {BASE: D("0.001")},
    )
    assert (net(ledger, ACCOUNT, BTC), balance(ledger, ACCOUNT, BASE)) == (D("0.999"), D("0.999"))
    book_fill(ledger, fill("0.999", 100, "2", side="sell"))
    assert state_of(ledger) == (D(0), D(0), D(0))


def test_linear_when_closed_then_only_the_result_is_paid() -> None:
    """A linear contract exchanges nothing but its result and its fee."""
    ledger = booked(
        fill(2, 100, "1", kind="linear", fee=D("0.2")),
        fill(2, 130, "2", kind="linear", fee=D("0.26"), side="sell"),
    )
    assert ledger.balances[ACCOUNT] == {USDT: D(60) - D("0.46")}


def test_account_when_opened_and_paid_into_then_it_belongs_to_nobody_here() -> None:
    """OPENING and TRANSFER are `external`: no owner's position, but the account's balance."""
    ledger = Ledger()
    book_opening(ledger, Opening(1, ACCOUNT, BASE, D(2), D(50)))
    book_opening(ledger, Opening(1, ACCOUNT, USDT, D(1000), None))
    book_transfer(ledger, Transfer(2, ACCOUNT, USDT, D(-100), "withdrawal"))
    book_fill(ledger, fill(1, 100, "1", owner=OwnerId("external")))
    assert held_before(ledger, ACCOUNT, BASE) == D(2)
    assert ledger.external[ACCOUNT][BASE].cost == D(100)
    assert ledger.balances[ACCOUNT] == {BASE: D(3), USDT: D(800)}
    assert position(ledger, ACCOUNT, EXTERNAL, BTC).qty == D(1)
    assert (net(ledger, ACCOUNT, BTC), held_before(ledger, ACCOUNT, BNB)) == (D(1), D(0))


def test_net_when_two_owners_hold_then_it_is_their_sum() -> None:
    """The account's position is the sum over its owners."""
    ledger = booked(fill(3, 100, "1"), fill(1, 100, "2", side="sell", owner=OwnerId("other")))
    assert net(ledger, ACCOUNT, BTC) == D(2)


def test_share_when_numbers_are_beyond_all_money_then_it_still_adds_up() -> None:
    """A cost above 10^17 has no room for 20 decimals in the context; the sum stays right."""
    held = Position(D(3), D(3 * 10**18))
    realised = trade(held, D(-1), D(10**18))
    assert (realised, held.qty, held.cost) == (D(0), D(2), D(2 * 10**18))


def instrument(**changes: Any) -> Instrument:
    fields: dict[str, Any] = {
        "id": InstrumentId("v:BTC/USD:BTC"),
        "venue": "v",
        "symbol": "BTC/USD:BTC",
        "kind": "inverse",
        "base": BASE,
        "quote": Asset("USD"),
        "settle": BASE,
        "price_tick": D(1),
        "qty_lot": D(1),
        "min_qty": D(1),
        "max_qty": D(0),
        "min_notional": D(0),
        "inverse": True,
    }
    return Instrument(**{**fields, **changes})


def test_worked_examples_when_computed_then_the_published_numbers_come_out(reference_data: Path) -> None:
    """Average entries and results of public worked examples, within the digits that they print."""
    text = (reference_data / "ref-execution" / "pnl_worked_examples.jsonl").read_text()
    examples = [json.loads(line) for line in text.splitlines()]
    assert [_CHECK[example["type"]](example) for example in examples] == [True] * 5


def _linear_average(example: dict[str, Any]) -> bool:
    fills = (fill(str(one["qty"]), one["price"], str(n)) for n, one in enumerate(example["fills"]))
    held = position(booked(*fills), ACCOUNT, OWNER, BTC)
    wanted = example["expected"]
    return (held.cost, held.avg_px) == (wanted["total_value"], wanted["avg_entry_price"])


def _inverse_average(example: dict[str, Any]) -> bool:
    inverse = instrument()
    total = sum(inverse.notional(D(one["contracts"]), D(one["price"])) for one in example["fills"])
    contracts = sum(one["contracts"] for one in example["fills"])
    wanted = example["expected"]
    return near(total, wanted["total_btc_value"], "1e-6") and near(
        contracts / total, wanted["avg_entry_price"], "1e-6"
    )


def _inverse_result(example: dict[str, Any]) -> bool:
    contracts = D(example["contracts"]) * (1 if example["side"] == "long" else -1)
    result = instrument().pnl(contracts, D(str(example["entry"])), D(str(example["exit_or_mark"])))
    # The pages round up in the fifth decimal.
    return near(result, example["expected"]["pnl_btc"], "1e-5")


def near(value: Any, wanted: Any, within: str) -> bool:
    return abs(Fraction(str(value)) - Fraction(str(wanted))) <= Fraction(within)


_CHECK = {
    "linear_avg_entry": _linear_average,
    "inverse_avg_entry": _inverse_average,
    "inverse_pnl": _inverse_result,
}


def test_flat_position_when_asked_then_it_is_empty() -> None:
    """Asking for what nobody holds changes nothing."""
    ledger = Ledger()
    assert position(ledger, ACCOUNT, OWNER, BTC) == Position()
    assert (net(ledger, ACCOUNT, BTC), balance(ledger, ACCOUNT, USDT)) == (D(0), D(0))
    assert ledger == Ledger()


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_realised_when_reported_then_it_excludes_what_a_base_fee_realised(side: str) -> None:
    """`book_fill` answers the trade's own result."""
    ledger = booked(fill(2, 100, "1"))
    realised = book_fill(ledger, fill(1, 110, "2", side=side, fee=D("0.1"), fee_asset=BASE))
    assert realised == (D(10) if side == "sell" else D(0))
