"""Money as the records tell it: an own fold of balances, positions and results.

It shares nothing with `core/ledger`. Balances and quantities are exact Decimals, average costs are
fractions, so that no rounding of the ledger's is repeated here. The simulated world trades spot.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from tradefan.errors import Defect
from tradefan.messages.records import (
    Assign,
    Bust,
    Correct,
    Fill,
    FillInferred,
    FillReplaced,
    Opening,
    Record,
    Transfer,
)
from tradefan.units import EXTERNAL, ZERO, AccountId, Asset, InstrumentId, OwnerId

Whose: TypeAlias = tuple[AccountId, OwnerId, InstrumentId]


class Place(Struct):
    """What an owner holds of an instrument."""

    qty: Decimal = ZERO

    def trade(self, signed: Decimal, price: Decimal) -> None:
        """Add to the position, or take out of it."""
        self.qty += signed


class Costed(Place):
    """And what it cost; `flow` is all that it took (negative) and brought."""

    flow: Decimal = ZERO
    cost: Fraction = Fraction(0)
    realised: Fraction = Fraction(0)

    def trade(self, signed: Decimal, price: Decimal) -> None:
        """Add to the position at its price, or take out of it at its average; the rest turns it."""
        self.flow -= signed * price
        at, left = Fraction(price), Fraction(signed)
        held = Fraction(self.qty)
        if held * left < 0:
            closed = -held if abs(left) > abs(held) else left
            out = self.cost * -closed / held
            self.realised += -closed * at - out
            self.cost -= out
            left -= closed
        self.cost += left * at
        self.qty += signed


class Money:
    """All accounts. `external` is what was there before us, or came and went without a fill of ours."""

    def __init__(self, make: type[Place] = Place) -> None:
        """Begin with nothing; `make` is what is kept of each position."""
        self._make = make
        self.balances: dict[AccountId, dict[Asset, Decimal]] = {}
        self.external: dict[AccountId, dict[Asset, Decimal]] = {}
        self.nets: dict[AccountId, dict[InstrumentId, Decimal]] = {}
        self.places: dict[Whose, Place] = {}
        self.inferred: dict[str, Fill] = {}

    def take(self, record: Record) -> bool:
        """Fold one record; say whether it moves money."""
        handler = _TAKES.get(type(record))
        if handler is None:
            return False
        handler(self, record)
        return True

    def place(self, account: AccountId, owner: OwnerId, instrument: InstrumentId) -> Place:
        """Return what an owner holds; to be changed by the fold only."""
        whose = (account, owner, instrument)
        known = self.places.get(whose)
        if known is None:
            known = self.places[whose] = self._make()
        return known

    def balance(self, account: AccountId, asset: Asset) -> Decimal:
        """Return what an account holds of an asset."""
        return self.balances.get(account, {}).get(asset, ZERO)


def _move(sums: dict[Any, dict[Any, Decimal]], account: AccountId, key: str, change: Decimal) -> None:
    of_account = sums.setdefault(account, {})
    of_account[key] = of_account.get(key, ZERO) + change


def _book(money: Money, fill: Fill, way: int) -> None:
    """Exchange base for quote and pay the fee, or (`way` -1) take all of that back."""
    if fill.kind != "spot":
        raise Defect(f"expected spot fills in the simulated world, got {fill.kind} {fill.instrument}")
    signed = way * (fill.qty if fill.side == "buy" else -fill.qty)
    fee, account = way * fill.fee, fill.account
    place = money.place(account, fill.owner, fill.instrument)
    place.trade(signed, fill.price)
    kept = signed
    if fill.fee and fill.fee_asset == fill.base:
        # What is paid in base leaves the position, as if it were sold at the fill's price.
        place.trade(-fee, fill.price)
        kept -= fee
    _move(money.nets, account, fill.instrument, kept)
    _move(money.balances, account, fill.base, signed)
    _move(money.balances, account, fill.quote, -signed * fill.price)
    _move(money.balances, account, fill.fee_asset, -fee)


def _on_fill(money: Money, record: Fill) -> None:
    _book(money, record, 1)


def _on_inferred(money: Money, record: FillInferred) -> None:
    money.inferred[record.fill.trade_id] = record.fill
    _book(money, record.fill, 1)


def _on_replaced(money: Money, record: FillReplaced) -> None:
    """Take a part of an inferred fill back, with its share of the fee."""
    fill = money.inferred.get(record.trade_id)
    if fill is None:
        return
    whole = record.qty == fill.qty
    fee = fill.fee if whole else fill.fee * record.qty / fill.qty
    _book(money, msgspec.structs.replace(fill, qty=record.qty, fee=fee), -1)
    rest = msgspec.structs.replace(fill, qty=fill.qty - record.qty, fee=fill.fee - fee)
    money.inferred[record.trade_id] = rest


def _on_bust(money: Money, record: Bust) -> None:
    if record.fill is not None:
        _book(money, record.fill, -1)


def _on_correct(money: Money, record: Correct) -> None:
    """Book the trade anew; its fee stays."""
    if record.fill is None:
        return
    _book(money, record.fill, -1)
    if record.qty:
        _book(money, msgspec.structs.replace(record.fill, qty=record.qty, price=record.price), 1)


def _on_external(money: Money, record: Opening | Transfer) -> None:
    _move(money.balances, record.account, record.asset, record.qty)
    _move(money.external, record.account, record.asset, record.qty)


def _on_assign(money: Money, record: Assign) -> None:
    """Move a quantity between owners; what `external` holds of an asset is no position."""
    for owner, signed in ((record.giver, -record.qty), (record.taker, record.qty)):
        if owner == EXTERNAL:
            _move(money.external, record.account, record.base, signed)
            continue
        money.place(record.account, owner, record.instrument).trade(signed, record.price)
        _move(money.nets, record.account, record.instrument, signed)


_TAKES: dict[type[Any], Callable[[Money, Any], None]] = {
    Fill: _on_fill,
    FillInferred: _on_inferred,
    FillReplaced: _on_replaced,
    Bust: _on_bust,
    Correct: _on_correct,
    Opening: _on_external,
    Transfer: _on_external,
    Assign: _on_assign,
}
