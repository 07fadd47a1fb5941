"""I-05: the ledger equals opening + fills - fees and transfers, to the last digit, by an independent fold."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.order_builders import ACCOUNT, BASE, BNB, BTC, USDT, fill
from tradefan.core.ledger import Ledger, book_fill, book_opening, book_transfer, net, position
from tradefan.messages.records import Fill, Opening, Transfer
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


def book(ledger: Ledger, entry: Fill | Opening | Transfer) -> None:
    if isinstance(entry, Fill):
        book_fill(ledger, entry)
    elif isinstance(entry, Opening):
        book_opening(ledger, entry)
    else:
        book_transfer(ledger, entry)


def exact(entries: list[Fill | Opening | Transfer]) -> dict[Asset, Fraction]:
    """Add up all assets in fractions: no code in common with the ledger."""
    sums: dict[Asset, Fraction] = {}

    def add(asset: Asset, value: Fraction) -> None:
        sums[asset] = sums.get(asset, Fraction(0)) + value

    for entry in entries:
        if isinstance(entry, Fill):
            qty = Fraction(entry.qty) * sign(entry.side)
            add(entry.base, qty)
            add(entry.quote, -qty * Fraction(entry.price))
            add(entry.fee_asset, -Fraction(entry.fee))
        else:
            add(entry.asset, Fraction(entry.qty))
    return sums


@given(st.lists(st.one_of(fills, openings, transfers), max_size=25))
def test_balances_when_anything_is_booked_then_they_are_exact(
    entries: list[Fill | Opening | Transfer],
) -> None:
    """Every balance equals the sum of its entries, without rounding."""
    ledger = Ledger()
    for entry in entries:
        book(ledger, entry)
    found = {asset: Fraction(qty) for asset, qty in ledger.balances.get(ACCOUNT, {}).items()}
    assert found == exact(entries)


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
