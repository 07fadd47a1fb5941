"""I-45 without faults: the risk desk's book and the OMS's ledger, written apart, never differ."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.test_equity import ALL, BNB, BTC, PERP, SPOT, USDT, fill
from tradefan.core.equity import Book, Valuer, add_to, book_fill
from tradefan.core.ledger import Ledger, balance, book_opening, position, unbook_fill
from tradefan.core.ledger import book_fill as ledger_fill
from tradefan.messages.instrument import Instrument
from tradefan.messages.orders import FillUpdate
from tradefan.messages.records import Fill, Opening
from tradefan.units import AccountId, Asset, InstrumentId, OwnerId, TradeId

MAIN = AccountId("paper:main")
OWNERS = (OwnerId("one"), OwnerId("two"))
Side = Literal["buy", "sell"]
FILLS = st.lists(
    st.tuples(
        st.sampled_from([SPOT.id, PERP.id]),
        st.sampled_from(OWNERS),
        st.sampled_from(["buy", "sell"]),
        st.integers(1, 10**6).map(lambda lots: Decimal(lots) / 1000),
        st.integers(1, 10**7).map(lambda ticks: Decimal(ticks) / 100),
        st.integers(-5, 50).map(lambda fee: Decimal(fee) / 10_000),
        st.sampled_from([USDT, BTC, BNB]),
        st.booleans(),
    ),
    max_size=25,
)
"""Of a fill the last word says whether the venue takes it back later."""


def record(where: Instrument, update: FillUpdate) -> Fill:
    assert where.kind in ("spot", "linear")
    return Fill(
        at_ns=1,
        account=update.account,
        instrument=update.instrument,
        owner=update.owner,
        trade_id=TradeId("t"),
        client_order_id=None,
        venue_order_id="v",
        side=update.side,
        qty=update.qty,
        price=update.price,
        base=where.base,
        quote=where.quote,
        fee=update.fee,
        fee_asset=update.fee_asset,
        liquidity="taker",
        event_ns=1,
        kind="spot" if where.kind == "spot" else "linear",
    )


@given(fills=FILLS, mark=st.integers(1, 10**7).map(lambda ticks: Decimal(ticks) / 100))
def test_books_when_any_fills_come_then_agree_on_balances_positions_and_equity(
    fills: list[tuple[InstrumentId, OwnerId, Side, Decimal, Decimal, Decimal, Asset, bool]], mark: Decimal
) -> None:
    """Cash flows on one side, average cost on the other, busts among them: the same assets and worth."""
    ledger, book = Ledger(), Book(assets={USDT: Decimal(1000)})
    book_opening(ledger, Opening(0, MAIN, USDT, Decimal(1000), None))
    taken_back: list[tuple[Instrument, FillUpdate]] = []
    for name, owner, side, qty, price, fee, fee_asset, busted in fills:
        where = ALL[name]
        # A contract's fee is never paid in the coin that the contract is about.
        paid_in = USDT if where.kind == "linear" and fee_asset == BTC else fee_asset
        update = fill(where, side, str(qty), str(price), fee=str(fee), fee_asset=paid_in, owner=owner)
        book_fill(book, where, update)
        ledger_fill(ledger, record(where, update))
        if busted:
            taken_back.append((where, update))
    for where, update in taken_back:
        # As the OMS tells a bust: a fill with its quantity and fee the other way.
        book_fill(book, where, msgspec.structs.replace(update, qty=-update.qty, fee=-update.fee))
        unbook_fill(ledger, record(where, update))
    for owner in OWNERS:
        for name in (SPOT.id, PERP.id):
            ours = book.held.get(owner, {}).get(name, Decimal(0))
            assert ours == position(ledger, MAIN, owner, name).qty
    # What an open contract cost has left our settle asset and not yet the ledger's balance.
    costs = sum(position(ledger, MAIN, owner, PERP.id).cost for owner in OWNERS)
    assert book.assets[USDT] == balance(ledger, MAIN, USDT) - costs
    for asset in (BTC, BNB):
        assert book.assets.get(asset, Decimal(0)) == balance(ledger, MAIN, asset)
    add_to(book.assets, BNB, -book.assets.get(BNB, Decimal(0)))
    theirs = balance(ledger, MAIN, USDT) + balance(ledger, MAIN, BTC) * mark
    theirs += sum(position(ledger, MAIN, owner, PERP.id).unrealised(mark) for owner in OWNERS)
    worth = Valuer(ALL, USDT).worth(book, {SPOT.id: mark, PERP.id: mark})
    assert worth.equity == theirs
