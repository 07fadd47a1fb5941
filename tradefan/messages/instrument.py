"""What can be traded, and the only place where price meets quantity."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from tradefan.errors import Refused
from tradefan.messages.base import Control, Message
from tradefan.units import Asset, InstrumentId, ceil_step, floor_step

Kind = Literal["spot", "linear", "inverse", "option"]


class Instrument(Message, frozen=True, array_like=True, tag=True):
    """One tradable instrument in one version of its rules; quantities are in `base` (quote for inverse)."""

    id: InstrumentId
    venue: str
    symbol: str
    kind: Kind
    base: Asset
    quote: Asset
    settle: Asset
    price_tick: Decimal
    qty_lot: Decimal
    min_qty: Decimal
    max_qty: Decimal
    min_notional: Decimal
    contract_size: Decimal = Decimal(1)
    inverse: bool = False
    expiry_ns: int | None = None
    strike: Decimal | None = None
    right: Literal["call", "put"] | None = None
    status: Literal["TRADING", "HALT", "BREAK", "CANCEL_ONLY", "UNKNOWN"] = "TRADING"
    version: int = 1

    def notional(self, order_qty: Decimal, price: Decimal) -> Decimal:
        """Return what a quantity is worth at a price, in the quote asset (base for inverse)."""
        return order_qty / price if self.inverse else order_qty * price

    def pnl(self, qty: Decimal, entry: Decimal, price: Decimal) -> Decimal:
        """Return the profit of a signed quantity from `entry` to `price`, in the settle asset."""
        if self.inverse:
            return qty / entry - qty / price
        return qty * (price - entry)

    def floor_qty(self, qty: Decimal) -> Decimal:
        """Round a quantity down to whole lots."""
        return floor_step(qty, self.qty_lot)

    def price_within(self, side: Literal["buy", "sell"], price: Decimal) -> Decimal:
        """Round a price to the tick, never beyond it: a buy down, a sell up."""
        return floor_step(price, self.price_tick) if side == "buy" else ceil_step(price, self.price_tick)

    def require_supported(self) -> None:
        """Raise Refused(UNSUPPORTED_KIND) unless this kind can be traded; spot and linear can."""
        if self.kind not in ("spot", "linear"):
            raise Refused(
                "UNSUPPORTED_KIND",
                f"{self.id} is {self.kind}; spot and linear are supported",
            )


class InstrumentUpdate(Control, frozen=True, array_like=True, tag=True):
    """A new version of an instrument's rules."""

    instrument: Instrument

    def key(self) -> str:
        """One slot per instrument."""
        return f"InstrumentUpdate {self.instrument.id}"
