"""Transaction cost analysis: what an order cost against the market that it met, exact where it is money.

Slippage and cost are positive where they cost; markout and spread capture are positive where they were good
for us. What is not known is None, never 0, and every sum with it.
Source: Perold, "The Implementation Shortfall" (1988); the decomposition into delay, trading, opportunity and
fees as in Kissell & Glantz, "Optimal Trading Strategies" (2003).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal

from msgspec import Struct

from tradefan.units import ZERO, Side, sign

BPS = Decimal(10_000)
K_MIN, K_MAX = 0.1, 5.0
PARENTS_MIN, PARENTS_MAX = 30, 200
"""Final parents of an instrument that calibrate its estimate: from so many on, the newest so many."""


class Shortfall(Struct, frozen=True):
    """Parts of the shortfall in bps of X x P_dec; None where a price that it needs is not known."""

    delay: Decimal | None
    trading: Decimal | None
    opportunity: Decimal | None
    fees: Decimal | None

    @property
    def total(self) -> Decimal | None:
        """The sum, None with any of its parts."""
        parts = (self.delay, self.trading, self.opportunity, self.fees)
        known = [part for part in parts if part is not None]
        return sum(known, ZERO) if len(known) == len(parts) else None


class Traded(Struct, frozen=True):
    """What an order was to be and what became of it; `avg_px` None where nothing traded."""

    side: Side
    order_qty: Decimal
    filled: Decimal
    avg_px: Decimal | None
    fees: Decimal | None
    """In the quote asset; rebates are negative."""


def shortfall(
    done: Traded, decision_px: Decimal | None, arrival_px: Decimal | None, end_px: Decimal | None
) -> Shortfall:
    """Return what it cost against its decision: delay, trading, opportunity, fees.

    delay s Q (P_arr - P_dec), trading s Q (P_avg - P_arr), opportunity s (X - Q) (P_end - P_dec).
    """
    if decision_px is None:
        return Shortfall(None, None, None, None)
    whole, s, rest = done.order_qty * decision_px, sign(done.side), done.order_qty - done.filled

    def bps(amount: Decimal | None) -> Decimal | None:
        return None if amount is None else amount / whole * BPS

    delay = trading = opportunity = None
    if not done.filled:
        delay = trading = ZERO
    elif arrival_px is not None and done.avg_px is not None:
        delay = s * done.filled * (arrival_px - decision_px)
        trading = s * done.filled * (done.avg_px - arrival_px)
    if not rest:
        opportunity = ZERO
    elif end_px is not None:
        opportunity = s * rest * (end_px - decision_px)
    return Shortfall(bps(delay), bps(trading), bps(opportunity), bps(done.fees))


def slippage_bps(side: Side, avg_px: Decimal | None, benchmark: Decimal | None) -> Decimal | None:
    """Return 10^4 s (P_avg - B) / B."""
    if avg_px is None or not benchmark:
        return None
    return BPS * sign(side) * (avg_px - benchmark) / benchmark


def markout_bps(side: Side, price: Decimal, mid: Decimal) -> Decimal:
    """Return 10^4 s (mid later - p) / p of one fill."""
    return BPS * sign(side) * (mid - price) / price


def spread_capture(side: Side, price: Decimal, mid: Decimal, spread: Decimal) -> Decimal | None:
    """Return s (mid - p) / half the spread: +1 earned it, -1 paid it."""
    return None if not spread else 2 * sign(side) * (mid - price) / spread


def weighted(parts: Sequence[tuple[Decimal, Decimal | None]]) -> Decimal | None:
    """Return the mean of (weight, value) over the values that are known."""
    known = [(weight, value) for weight, value in parts if value is not None]
    total = sum((weight for weight, _ in known), ZERO)
    return sum((weight * value for weight, value in known), ZERO) / total if total else None


def estimate_bps(half_spread_bps: float, sigma_bps: float, share: float, k: float = 1.0) -> float:
    """Return the cost to expect: half the spread + k sigma sqrt(X / V), sigma over the window's length."""
    return half_spread_bps + k * sigma_bps * math.sqrt(share)


def calibrated(samples: Sequence[float]) -> float | None:
    """Return k from (arrival slippage - half spread) / (sigma sqrt(Q / V)) of final parents, oldest first.

    None until there are enough; the median of the newest, clipped.
    """
    if len(samples) < PARENTS_MIN:
        return None
    newest = sorted(samples[-PARENTS_MAX:])
    middle = len(newest) // 2
    median = newest[middle] if len(newest) % 2 else (newest[middle - 1] + newest[middle]) / 2
    return min(max(median, K_MIN), K_MAX)
