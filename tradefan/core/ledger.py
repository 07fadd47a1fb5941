"""The exact ledger: positions by (account, owner, instrument), balances by (account, asset).

Average cost: a position keeps its cost, not its average, and what a reduction takes out of it is
rounded once, at 20 decimals, and moved into the realised result, so that *realised - cost* is the
sum of the cash flows to the last digit. Fees are entries in their own asset; money of different
assets is never added up. Everything here is a function of FILL, OPENING and TRANSFER records.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

import msgspec
from msgspec import Struct, field

from tradefan.messages.records import Assign, Fill, Opening, Transfer
from tradefan.units import EXTERNAL, ZERO, AccountId, Asset, InstrumentId, OwnerId, sign

_STEP = Decimal("1e-20")


class Position(Struct):
    """What one owner holds of one instrument; `cost` has the sign of `qty`, both in the quote asset."""

    qty: Decimal = ZERO
    cost: Decimal = ZERO
    realised: Decimal = ZERO
    fees: dict[Asset, Decimal] = field(default_factory=dict)
    updated_ns: int = 0

    @property
    def avg_px(self) -> Decimal | None:
        """The average entry price, None when flat."""
        return self.cost / self.qty if self.qty else None

    def unrealised(self, mark: Decimal) -> Decimal:
        """Return the open result at a price."""
        return self.qty * mark - self.cost


class Holding(Struct):
    """What an account held before us, or got by a transfer, of one asset; owner `external`."""

    qty: Decimal = ZERO
    cost: Decimal = ZERO


class Ledger(Struct):
    """All books of all accounts; `transferred` has the sums of all transfers since they are kept."""

    positions: dict[AccountId, dict[OwnerId, dict[InstrumentId, Position]]] = field(default_factory=dict)
    nets: dict[AccountId, dict[InstrumentId, Decimal]] = field(default_factory=dict)
    balances: dict[AccountId, dict[Asset, Decimal]] = field(default_factory=dict)
    external: dict[AccountId, dict[Asset, Holding]] = field(default_factory=dict)
    transferred: dict[AccountId, dict[Asset, Decimal]] = field(default_factory=dict)


_FLAT = Position()


def book_fill(ledger: Ledger, fill: Fill) -> Decimal:
    """Book a fill once; return what it realised in the quote asset, before fees."""
    position = _open(ledger, fill)
    signed = fill.qty * sign(fill.side)
    realised = trade(position, signed, fill.price)
    change = signed
    position.fees[fill.fee_asset] = position.fees.get(fill.fee_asset, ZERO) + fill.fee
    if fill.fee and fill.fee_asset == fill.base:
        # A fee in base is paid with what was bought: it leaves the position at the fill's price, so
        # that the sellable quantity is right and the fee is counted once, as a fee.
        trade(position, -fill.fee, fill.price)
        change -= fill.fee
    position.updated_ns = fill.at_ns
    nets = ledger.nets.setdefault(fill.account, {})
    nets[fill.instrument] = nets.get(fill.instrument, ZERO) + change
    _pay(ledger, fill, signed, realised)
    return realised


def unbook_fill(ledger: Ledger, fill: Fill) -> None:
    """Take a fill back: the same trade the other way at its own price, with its fee returned.

    Average cost has no memory of single trades, so what the way back realises stays in the result;
    *realised - cost* and all balances are as if the fill had never been.
    """
    book_fill(ledger, msgspec.structs.replace(fill, qty=-fill.qty, fee=-fill.fee))


def assign(ledger: Ledger, record: Assign) -> None:
    """Move a quantity from one owner to another at a price; no balance of the account changes.

    What `external` holds of a spot asset is a holding, not a position: it gives and takes by asset.
    """
    _move_owned(ledger, record, record.giver, -record.qty)
    _move_owned(ledger, record, record.taker, record.qty)


def _move_owned(ledger: Ledger, record: Assign, owner: OwnerId, signed: Decimal) -> None:
    if owner == EXTERNAL and record.kind == "spot":
        holding = ledger.external.setdefault(record.account, {}).setdefault(record.base, Holding())
        holding.qty += signed
        holding.cost += signed * record.price
        return
    by_owner = ledger.positions.setdefault(record.account, {}).setdefault(owner, {})
    held = by_owner.setdefault(record.instrument, Position())
    trade(held, signed, record.price)
    held.updated_ns = record.at_ns
    nets = ledger.nets.setdefault(record.account, {})
    nets[record.instrument] = nets.get(record.instrument, ZERO) + signed


def book_opening(ledger: Ledger, opening: Opening) -> None:
    """Book what an account held before us to `external`."""
    _hold(ledger, opening.account, opening.asset, opening.qty, opening.price or ZERO)


def book_transfer(ledger: Ledger, transfer: Transfer) -> None:
    """Book a deposit, withdrawal or correction to `external`."""
    _hold(ledger, transfer.account, transfer.asset, transfer.qty, ZERO)
    sums = ledger.transferred.setdefault(transfer.account, {})
    sums[transfer.asset] = sums.get(transfer.asset, ZERO) + transfer.qty


def position(ledger: Ledger, account: AccountId, owner: OwnerId, instrument: InstrumentId) -> Position:
    """Return a position, flat where there is none; do not change it."""
    return ledger.positions.get(account, {}).get(owner, {}).get(instrument, _FLAT)


def net(ledger: Ledger, account: AccountId, instrument: InstrumentId) -> Decimal:
    """Return what the account holds over all owners, as far as fills made it."""
    return ledger.nets.get(account, {}).get(instrument, ZERO)


def held_before(ledger: Ledger, account: AccountId, asset: Asset) -> Decimal:
    """Return what the account holds of an asset from before us and by transfers."""
    held = ledger.external.get(account, {}).get(asset)
    return ZERO if held is None else held.qty


def balance(ledger: Ledger, account: AccountId, asset: Asset) -> Decimal:
    """Return what the account holds of an asset: opening + fills - fees and transfers."""
    return ledger.balances.get(account, {}).get(asset, ZERO)


def trade(position: Position, signed: Decimal, price: Decimal) -> Decimal:
    """Change a position by a signed quantity at a price; return what that realised."""
    held = position.qty
    if not held or (held > 0) == (signed > 0):
        position.qty += signed
        position.cost += signed * price
        return ZERO
    closing = signed if abs(signed) <= abs(held) else -held
    removed = _share(position.cost, -closing, held)
    realised = -closing * price - removed
    position.qty += closing
    position.cost -= removed
    position.realised += realised
    rest = signed - closing
    if rest:
        position.qty += rest
        position.cost += rest * price
    return realised


def _share(cost: Decimal, part: Decimal, whole: Decimal) -> Decimal:
    """Return the cost of a part of a position; all of it exactly when nothing is left."""
    if part == whole:
        return cost
    share = cost * part / whole
    # Beyond 10^17 the context has no room for 20 decimals; the sum stays right all the same.
    return share.quantize(_STEP, ROUND_HALF_EVEN) if share.adjusted() < 17 else share


def _open(ledger: Ledger, fill: Fill) -> Position:
    by_owner = ledger.positions.setdefault(fill.account, {}).setdefault(fill.owner, {})
    return by_owner.setdefault(fill.instrument, Position())


def _pay(ledger: Ledger, fill: Fill, signed: Decimal, realised: Decimal) -> None:
    """Move the assets: spot exchanges base for quote, linear settles its result."""
    if fill.kind == "spot":
        _move(ledger, fill.account, fill.base, signed)
        _move(ledger, fill.account, fill.quote, -signed * fill.price)
    else:
        _move(ledger, fill.account, fill.quote, realised)
    _move(ledger, fill.account, fill.fee_asset, -fill.fee)


def _hold(ledger: Ledger, account: AccountId, asset: Asset, qty: Decimal, price: Decimal) -> None:
    holding = ledger.external.setdefault(account, {}).setdefault(asset, Holding())
    holding.qty += qty
    holding.cost += qty * price
    _move(ledger, account, asset, qty)


def _move(ledger: Ledger, account: AccountId, asset: Asset, qty: Decimal) -> None:
    balances = ledger.balances.setdefault(account, {})
    balances[asset] = balances.get(asset, ZERO) + qty
