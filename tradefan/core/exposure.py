"""What open orders may still do, kept up to date with every change: a check never scans orders.

Exposure counts the rest of every order that is not terminal or is in doubt, whole, by account,
instrument, owner and side; and what that rest has reserved of each asset. What has traded keeps its
reservation until its fill is booked: before that no balance knows that it was paid.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

from msgspec import Struct, field

from tradefan.core.order import Order
from tradefan.units import ZERO, AccountId, Asset, InstrumentId, OwnerId, Side, sign


class Sides(Struct):
    """Working and in-doubt quantity of both sides, and their worth at the reserved prices.

    `unbooked` is signed: what the venue says has traded and no fill has told us yet. It belongs to
    the position as far as limits and targets go, else the same quantity would be ordered twice.
    `unbooked_buy` is what of it was bought, whose fee nobody knows yet.
    """

    buy_working: Decimal = ZERO
    buy_doubt: Decimal = ZERO
    sell_working: Decimal = ZERO
    sell_doubt: Decimal = ZERO
    buy_notional: Decimal = ZERO
    sell_notional: Decimal = ZERO
    unbooked: Decimal = ZERO
    unbooked_buy: Decimal = ZERO

    @property
    def buy_qty(self) -> Decimal:
        """All that may still be bought."""
        return self.buy_working + self.buy_doubt

    @property
    def sell_qty(self) -> Decimal:
        """All that may still be sold."""
        return self.sell_working + self.sell_doubt

    @property
    def working_qty(self) -> Decimal:
        """Signed quantity of working orders."""
        return self.buy_working - self.sell_working

    @property
    def in_doubt_qty(self) -> Decimal:
        """Signed quantity of orders in doubt."""
        return self.buy_doubt - self.sell_doubt


class Weight(NamedTuple):
    """What one order contributes at one instant."""

    working: Decimal
    doubt: Decimal
    cum: Decimal
    unbooked: Decimal
    live: bool

    @property
    def most(self) -> Decimal:
        """What the order has traded or may still trade."""
        return self.cum + self.working + self.doubt


NOTHING = Weight(ZERO, ZERO, ZERO, ZERO, live=False)
_FLAT = Sides()


class Exposure(Struct):
    """Sums over all live orders."""

    accounts: dict[AccountId, dict[InstrumentId, Sides]] = field(default_factory=dict)
    owners: dict[AccountId, dict[InstrumentId, dict[OwnerId, Sides]]] = field(default_factory=dict)
    reserved: dict[AccountId, dict[Asset, Decimal]] = field(default_factory=dict)
    in_doubt: dict[AccountId, int] = field(default_factory=dict)


def weigh(order: Order) -> Weight:
    """Return what an order contributes now."""
    cum, rest = order.cum_qty, order.leaves_qty
    # What others trade comes to the books by their trades and by transfers, not by what their orders say.
    unbooked = ZERO if order.external else cum - order.filled
    if not order.live:
        return Weight(ZERO, ZERO, cum, unbooked, live=False)
    if order.in_doubt is None:
        return Weight(rest, ZERO, cum, unbooked, live=True)
    return Weight(ZERO, rest, cum, unbooked, live=True)


def shift(exposure: Exposure, order: Order, before: Weight, after: Weight) -> None:
    """Replace what an order contributed by what it contributes now."""
    working, doubt = after.working - before.working, after.doubt - before.doubt
    unbooked = (after.unbooked - before.unbooked) * sign(order.side)
    _count_doubt(exposure, order, before, after)
    if unbooked:
        for sides in _both(exposure, order):
            sides.unbooked += unbooked
            sides.unbooked_buy += unbooked if order.side == "buy" else ZERO
    kept = working + doubt + after.unbooked - before.unbooked
    if kept:
        reserved = exposure.reserved.setdefault(order.account, {})
        held = reserved.get(order.reserve_asset, ZERO)
        reserved[order.reserve_asset] = held + kept * order.reserve_per_unit
    if not working and not doubt:
        return
    notional = (working + doubt) * order.reserve_px
    for sides in _both(exposure, order):
        _add(sides, order.side, working, doubt, notional)


def summed(orders: Iterable[Order]) -> Exposure:
    """Return the sums of these orders, made from nothing."""
    exposure = Exposure()
    for order in orders:
        shift(exposure, order, NOTHING, weigh(order))
    return exposure


def account_sides(exposure: Exposure, account: AccountId, instrument: InstrumentId) -> Sides:
    """Return the sums of an account in an instrument; do not change them."""
    return exposure.accounts.get(account, {}).get(instrument, _FLAT)


def owner_sides(exposure: Exposure, account: AccountId, instrument: InstrumentId, owner: OwnerId) -> Sides:
    """Return the sums of one owner; do not change them."""
    return exposure.owners.get(account, {}).get(instrument, {}).get(owner, _FLAT)


def reserved(exposure: Exposure, account: AccountId, asset: Asset) -> Decimal:
    """Return what open orders, and what has traded and is not booked, have reserved of an asset."""
    return exposure.reserved.get(account, {}).get(asset, ZERO)


def _both(exposure: Exposure, order: Order) -> tuple[Sides, Sides]:
    by_instrument = exposure.accounts.setdefault(order.account, {})
    by_owner = exposure.owners.setdefault(order.account, {}).setdefault(order.instrument, {})
    return (
        by_instrument.setdefault(order.instrument, Sides()),
        by_owner.setdefault(order.owner, Sides()),
    )


def _add(sides: Sides, side: Side, working: Decimal, doubt: Decimal, notional: Decimal) -> None:
    if side == "buy":
        sides.buy_working += working
        sides.buy_doubt += doubt
        sides.buy_notional += notional
    else:
        sides.sell_working += working
        sides.sell_doubt += doubt
        sides.sell_notional += notional


def _count_doubt(exposure: Exposure, order: Order, before: Weight, after: Weight) -> None:
    change = int(after.doubt > 0) - int(before.doubt > 0)
    if change:
        exposure.in_doubt[order.account] = exposure.in_doubt.get(order.account, 0) + change
