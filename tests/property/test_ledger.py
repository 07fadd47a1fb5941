"""I-05: the ledger equals opening + fills - fees and transfers, to the last digit, by an independent fold."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.order_builders import ACCOUNT, BASE, BNB, BTC, USDT, fill
from tradefan.core.ledger import (
    Ledger,
    assign,
    balance,
    book_fill,
    book_opening,
    book_transfer,
    held_before,
    net,
    position,
    unbook_fill,
)
from tradefan.messages.records import Assign, Bust, Fill, Opening, Transfer
from tradefan.units import Asset, OwnerId, sign

D = Decimal

amounts = st.decimals("0.00000001", "100000", places=8)
fees = st.decimals("-0.001", "1", places=8)
owners = st.sampled_from([OwnerId("a"), OwnerId("b"), OwnerId("external")])
fills = st.builds(
    fill,
    amounts,
    amounts,
    side=st.sampled_from(["buy", "sell"]),
    owner=owners,
    fee=fees,
    fee_asset=st.sampled_from([BASE, USDT, BNB]),
)
openings = st.builds(
    lambda asset, qty, price: Opening(1, ACCOUNT, asset, qty, price),
    st.sampled_from([BASE, USDT]),
    amounts,
    st.none() | amounts,
)
transfers = st.builds(
    lambda asset, qty: Transfer(1, ACCOUNT, asset, qty, ""), st.sampled_from([BASE, USDT, BNB]), fees
)


Entry = Fill | Opening | Transfer | Bust | Assign
busts = st.builds(lambda one: Bust(1, ACCOUNT, BTC, one.trade_id, one), fills)
assigns = st.builds(
    lambda giver, taker, qty, price: Assign(1, ACCOUNT, BTC, BASE, giver, taker, qty, price, "me"),
    owners,
    owners,
    amounts,
    amounts,
)


def book(ledger: Ledger, entry: Entry) -> None:
    if isinstance(entry, Fill):
        book_fill(ledger, entry)
    elif isinstance(entry, Bust):
        assert entry.fill is not None
        unbook_fill(ledger, entry.fill)
    elif isinstance(entry, Assign):
        assign(ledger, entry)
    elif isinstance(entry, Opening):
        book_opening(ledger, entry)
    else:
        book_transfer(ledger, entry)


def exact(entries: list[Entry]) -> dict[Asset, Fraction]:
    """Add up all assets in fractions: no code in common with the ledger."""
    sums: dict[Asset, Fraction] = {}

    def add(asset: Asset, value: Fraction) -> None:
        sums[asset] = sums.get(asset, Fraction(0)) + value

    for entry in entries:
        if isinstance(entry, Assign):
            continue
        if isinstance(entry, Fill | Bust):
            fill = entry if isinstance(entry, Fill) else entry.fill
            assert fill is not None
            times = 1 if fill is entry else -1
            qty = Fraction(fill.qty) * sign(fill.side) * times
            add(fill.base, qty)
            add(fill.quote, -qty * Fraction(fill.price))
            add(fill.fee_asset, -Fraction(fill.fee) * times)
        else:
            add(entry.asset, Fraction(entry.qty))
    return sums


@pytest.mark.failure("OR-18")
@given(st.lists(st.one_of(fills, openings, transfers, busts, assigns), max_size=25))
def test_balances_when_anything_is_booked_then_they_are_exact(entries: list[Entry]) -> None:
    """Every balance equals the sum of its entries, without rounding; an assignment moves none."""
    ledger = Ledger()
    for entry in entries:
        book(ledger, entry)
    found = {asset: Fraction(qty) for asset, qty in ledger.balances.get(ACCOUNT, {}).items()}
    assert found == exact(entries)
    held = sum(position(ledger, ACCOUNT, OwnerId(name), BTC).qty for name in ("a", "b", "external"))
    assert net(ledger, ACCOUNT, BTC) == held
    # Spot: what owners hold, and what was there before, is what the account holds (I-44).
    assert held + held_before(ledger, ACCOUNT, BASE) == balance(ledger, ACCOUNT, BASE)


@given(st.lists(fills, min_size=1, max_size=15), st.data())
def test_fill_when_taken_back_at_any_time_then_cash_flows_are_as_if_it_had_never_been(
    entries: list[Fill], data: st.DataObject
) -> None:
    """Quantity, fees, and result minus cost of its owner return to the last digit."""
    wrong = data.draw(st.sampled_from(entries))
    ledger, clean = Ledger(), Ledger()
    for entry in entries:
        book_fill(ledger, entry)
    unbook_fill(ledger, wrong)
    skipped = False
    for entry in entries:
        if entry is wrong and not skipped:
            skipped = True
        else:
            book_fill(clean, entry)
    for owner in (OwnerId("a"), OwnerId("b"), OwnerId("external")):
        now, then = position(ledger, ACCOUNT, owner, BTC), position(clean, ACCOUNT, owner, BTC)
        assert now.qty == then.qty
        assert Fraction(now.realised) - Fraction(now.cost) == Fraction(then.realised) - Fraction(then.cost)


@given(st.lists(fills, max_size=25))
def test_positions_when_anything_is_traded_then_result_minus_cost_is_the_cash_flow(
    entries: list[Fill],
) -> None:
    """realised - cost = cash in minus cash out; quantities add up; flat has no cost; fees are entries."""
    ledger = Ledger()
    for entry in entries:
        book(ledger, entry)
    for owner in (OwnerId("a"), OwnerId("b"), OwnerId("external")):
        mine = [entry for entry in entries if entry.owner == owner]
        held = position(ledger, ACCOUNT, owner, BTC)
        qty = cash = Fraction(0)
        paid: dict[Asset, Fraction] = {}
        for one in mine:
            in_base = Fraction(one.fee) if one.fee_asset == BASE else Fraction(0)
            change = Fraction(one.qty) * sign(one.side) - in_base
            qty += change
            cash -= change * Fraction(one.price)
            paid[one.fee_asset] = paid.get(one.fee_asset, Fraction(0)) + Fraction(one.fee)
        assert Fraction(held.qty) == qty
        assert Fraction(held.realised) - Fraction(held.cost) == cash
        assert {asset: Fraction(fee) for asset, fee in held.fees.items()} == paid
        assert held.qty or not held.cost
        assert not held.qty or (held.cost > 0) == (held.qty > 0)
    total = sum(position(ledger, ACCOUNT, OwnerId(name), BTC).qty for name in ("a", "b", "external"))
    assert net(ledger, ACCOUNT, BTC) == total
