"""The costs of an order (`Costs`) from what was kept of its life (`Track`); nothing is changed."""

from __future__ import annotations

import math
from decimal import Decimal

from tradefan.core.tca import Traded, estimate_bps, shortfall, slippage_bps
from tradefan.core.track import Error, Track, ack_ms, mean_error, points
from tradefan.messages.tca import Costs, Lines, Met, State
from tradefan.units import SECOND, ZERO

BPS = 10_000


def costs_of(
    track: Track,
    error: Error | None,
    order_qty: Decimal,
    filled: Decimal,
    value: Decimal,
    market: Met,
    state: State,
    k: float,
) -> Costs:
    """Return what is known of an order's costs by now; `value` is the sum of price x quantity.

    `error` is how far it was off its schedule, counted up to now; `k` is the factor of the estimate.
    """
    avg_px = value / filled if filled else None
    fees = track.fees.sum
    done = Traded(track.side, order_qty, filled, avg_px, fees)
    parts = shortfall(done, track.decision_px, track.arrival_px, market.end_px)
    after_1s, after_5s, after_30s, after_300s = (one.mean for one in track.markouts)
    flags = dict(track.flags)
    if track.arrived_ns is None:
        flags["not_begun"] = None
    if track.missed_ns >= SECOND:
        flags[f"missed:{track.missed_ns // SECOND}s"] = None
    arrived = track.arrived_ns is None or track.arrival_px is not None
    if track.decision_px is None or not arrived or (state != "live" and market.end_px is None):
        flags["no_mid"] = None
    return Costs(
        state=state,
        order_qty=order_qty,
        filled=filled,
        avg_px=avg_px,
        fees=fees,
        arrived_ns=track.arrived_ns,
        ended_ns=track.ended_ns,
        decision_px=track.decision_px,
        arrival_px=track.arrival_px,
        end_px=market.end_px,
        vwap=market.vwap,
        twap=market.twap,
        arrival_slippage_bps=slippage_bps(track.side, avg_px, track.arrival_px),
        vwap_slippage_bps=slippage_bps(track.side, avg_px, market.vwap),
        twap_slippage_bps=slippage_bps(track.side, avg_px, market.twap),
        is_bps=parts.total,
        is_delay_bps=parts.delay,
        is_trading_bps=parts.trading,
        is_opportunity_bps=parts.opportunity,
        is_fees_bps=parts.fees,
        markout_1s_bps=after_1s,
        markout_5s_bps=after_5s,
        markout_30s_bps=after_30s,
        markout_300s_bps=after_300s,
        spread_capture=track.capture.mean,
        maker_share=track.maker.mean,
        fill_ratio=filled / order_qty,
        participation=filled / market.volume if market.volume else None,
        schedule_error_mean=None if error is None else mean_error(error),
        schedule_error_max=None if error is None or not error.begun else error.largest,
        ack_p50_ms=ack_ms(track, 0.5),
        ack_p95_ms=ack_ms(track, 0.95),
        ack_p99_ms=ack_ms(track, 0.99),
        estimate_bps=estimate(track, order_qty, market, k),
        flags=tuple(flags),
    )


def lines_of(track: Track, mids: tuple[tuple[int, float], ...]) -> Lines:
    """Return what a drawing of an order shows."""
    return Lines(mids, points(track.targets), points(track.done))


def half_spread_bps(track: Track) -> float | None:
    """Return half the spread at the arrival, in bps of its mid."""
    if track.spread is None or not track.arrival_px:
        return None
    return float(track.spread / track.arrival_px) * BPS / 2


def estimate(track: Track, order_qty: Decimal, market: Met, k: float) -> float | None:
    """Return the cost that was to be expected of a market like the one that it met."""
    half = half_spread_bps(track)
    if half is None or market.sigma_bps is None or not market.volume:
        return None
    return estimate_bps(half, market.sigma_bps, float(order_qty / market.volume), k)


def sample(track: Track, costs: Costs, market: Met) -> float | None:
    """Return (arrival slippage - half spread) / (sigma sqrt(Q / V)), which calibrates later estimates."""
    half, slippage = half_spread_bps(track), costs.arrival_slippage_bps
    if half is None or slippage is None or not market.volume or not market.sigma_bps or costs.filled <= ZERO:
        return None
    return (float(slippage) - half) / (market.sigma_bps * math.sqrt(costs.filled / market.volume))
