"""The ledger when a trade is taken back, and when a quantity changes its owner."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.unit.core.order_builders import ACCOUNT, BASE, BNB, BTC, OWNER, USDT, fill
from tradefan.core.ledger import (
    Ledger,
    assign,
    balance,
    book_fill,
    book_opening,
    held_before,
    net,
    position,
    unbook_fill,
)
from tradefan.messages.records import Assign, Opening
from tradefan.units import EXTERNAL, Asset, OwnerId

D = Decimal
OTHER = OwnerId("other")


def given(qty: Any, price: Any = 100, giver: OwnerId = OWNER, taker: OwnerId = OTHER, **more: Any) -> Assign:
    fields: dict[str, Any] = {"principal": "me", "kind": "spot", **more}
    return Assign(9, ACCOUNT, BTC, BASE, giver, taker, D(qty), D(price), **fields)


def held(ledger: Ledger, owner: OwnerId) -> tuple[Decimal, Decimal, Decimal]:
    one = position(ledger, ACCOUNT, owner, BTC)
    return one.qty, one.cost, one.realised


def test_assign_when_at_the_average_then_nobody_has_won_or_lost() -> None:
    """Cost moves with the quantity; balances, and the sum over owners, stay."""
    ledger = Ledger()
    book_fill(ledger, fill(4, 100))
    before = dict(ledger.balances[ACCOUNT])
    assign(ledger, given(1))
    assert (held(ledger, OWNER), held(ledger, OTHER)) == (
        (D(3), D(300), D(0)),
        (D(1), D(100), D(0)),
    )
    assert (net(ledger, ACCOUNT, BTC), ledger.balances[ACCOUNT]) == (D(4), before)
    assert position(ledger, ACCOUNT, OTHER, BTC).updated_ns == 9


def test_assign_when_at_another_price_then_the_giver_has_the_result() -> None:
    """As if it had sold and the taker had bought, without any money moving."""
    ledger = Ledger()
    book_fill(ledger, fill(4, 100))
    assign(ledger, given(1, 130))
    assert (held(ledger, OWNER), held(ledger, OTHER)) == (
        (D(3), D(300), D(30)),
        (D(1), D(130), D(0)),
    )
    assert balance(ledger, ACCOUNT, USDT) == D(-400)


def test_assign_when_the_taker_is_short_then_it_is_closed_first() -> None:
    """A contract: what is taken over realises against what was owed."""
    ledger = Ledger()
    book_fill(ledger, fill(3, 100, kind="linear"))
    book_fill(ledger, fill(2, 120, "t2", side="sell", owner=OTHER, kind="linear"))
    assign(ledger, given(3, 110, kind="linear"))
    assert (held(ledger, OWNER), held(ledger, OTHER)) == (
        (D(0), D(0), D(30)),
        (D(1), D(110), D(20)),
    )
    assert net(ledger, ACCOUNT, BTC) == D(1)


def test_assign_when_external_gives_and_takes_spot_then_its_holding_moves() -> None:
    """What the account held before is a holding by asset: it loses what a strategy gets, and back."""
    ledger = Ledger()
    book_opening(ledger, Opening(1, ACCOUNT, BASE, D(5), D(90)))
    assign(ledger, given(2, 100, EXTERNAL, OWNER))
    assert held_before(ledger, ACCOUNT, BASE) == D(3)
    assert (held(ledger, OWNER), net(ledger, ACCOUNT, BTC)) == ((D(2), D(200), D(0)), D(2))
    assign(ledger, given(2, 100, OWNER, EXTERNAL))
    assert held_before(ledger, ACCOUNT, BASE) == D(5)
    assert (held(ledger, OWNER), net(ledger, ACCOUNT, BTC)) == ((D(0), D(0), D(0)), D(0))
    assert balance(ledger, ACCOUNT, BASE) == D(5)


def test_assign_when_external_has_a_contract_then_it_is_a_position() -> None:
    """Contracts are held by instrument, whoever holds them."""
    ledger = Ledger()
    book_fill(ledger, fill(3, 100, owner=EXTERNAL, kind="linear"))
    assign(ledger, given(1, 100, EXTERNAL, OWNER, kind="linear"))
    assert (held(ledger, EXTERNAL)[0], held(ledger, OWNER)[0]) == (D(2), D(1))
    assert held_before(ledger, ACCOUNT, BASE) == D(0)


@pytest.mark.parametrize("side", ["buy", "sell"])
@pytest.mark.parametrize(
    ("kind", "fee_asset"),
    # A contract's fee is never paid in the coin that the contract is about.
    [("spot", USDT), ("spot", BASE), ("spot", BNB), ("linear", USDT), ("linear", BNB)],
)
def test_fill_when_taken_back_then_balances_are_as_if_it_had_never_been(
    side: str, fee_asset: Asset, kind: str
) -> None:
    """Between other fills, fee and all: quantity, fees and net return; result minus cost as well."""
    wrong = fill(3, 130, "t2", side=side, fee=D("0.1"), fee_asset=fee_asset, kind=kind)
    around = (fill(4, 100, "t1", kind=kind), fill(1, 90, "t3", side="sell", kind=kind))
    ledger, clean = Ledger(), Ledger()
    for one in (around[0], wrong, around[1]):
        book_fill(ledger, one)
    unbook_fill(ledger, wrong)
    for one in around:
        book_fill(clean, one)
    now, then = position(ledger, ACCOUNT, OWNER, BTC), position(clean, ACCOUNT, OWNER, BTC)
    assert (now.qty, now.cost - now.realised) == (then.qty, then.cost - then.realised)
    assert {asset: fee for asset, fee in now.fees.items() if fee} == {
        asset: fee for asset, fee in then.fees.items() if fee
    }
    assert net(ledger, ACCOUNT, BTC) == net(clean, ACCOUNT, BTC)
    if kind == "spot":
        for asset in (USDT, BASE, BNB):
            assert balance(ledger, ACCOUNT, asset) == balance(clean, ACCOUNT, asset)
    else:
        # Average cost has no memory of single trades: what is realised and what is open add up alike.
        assert balance(ledger, ACCOUNT, USDT) - now.cost == balance(clean, ACCOUNT, USDT) - then.cost
