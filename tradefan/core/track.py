"""What the analysis of an order's costs needs of its life, kept as sums however many fills it has.

Whoever watches the market says at each fill what the mid and the spread were, and later what the mid is then;
what nobody saw is not in the sums, and is counted as missing.
"""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct, field

from tradefan.core.schedule import schedule_error
from tradefan.core.tca import (
    Shortfall,
    Traded,
    markout_bps,
    percentile,
    shortfall,
    slippage_bps,
    spread_capture,
)
from tradefan.units import SECOND, ZERO, Side

HORIZONS_NS = (SECOND, 5 * SECOND, 30 * SECOND, 300 * SECOND)
ACKS_MAX = 1_000
"""Newest times of acknowledgement that are kept."""


class Weighted(Struct):
    """A sum of quantity x value, over the quantity for which the value is known."""

    total: Decimal = ZERO
    qty: Decimal = ZERO
    missing: Decimal = ZERO

    def add(self, qty: Decimal, value: Decimal | None) -> None:
        """Add one value, or note that it is missing."""
        if value is None:
            self.missing += qty
        else:
            self.total, self.qty = self.total + qty * value, self.qty + qty

    @property
    def mean(self) -> Decimal | None:
        """The mean over what is known; None where nothing is."""
        return self.total / self.qty if self.qty else None


class Waiting(Struct, frozen=True, array_like=True):
    """A fill whose mid at a horizon is still to come."""

    due_ns: int
    horizon: int
    qty: Decimal
    price: Decimal


class Track(Struct):
    """One order, from its decision to five minutes behind its last fill; `order_lots` is for its schedule."""

    side: Side
    order_lots: int
    decision_px: Decimal | None
    arrival_px: Decimal | None
    arrived_ns: int
    fees: Decimal = ZERO
    fees_known: bool = True
    maker_qty: Decimal = ZERO
    capture: Weighted = field(default_factory=Weighted)
    markouts: list[Weighted] = field(default_factory=lambda: [Weighted() for _ in HORIZONS_NS])
    waiting: list[Waiting] = field(default_factory=list)
    low: int = 0
    high: int = 0
    cum: int = 0
    since_ns: int = 0
    begun_ns: int | None = None
    area: float = 0.0
    error_max: float = 0.0
    acks_ms: list[float] = field(default_factory=list)
    flags: dict[str, None] = field(default_factory=dict)


# --- what happens -------------------------------------------------------------------------------------


def on_fill(
    track: Track,
    now_ns: int,
    qty: Decimal,
    price: Decimal,
    fee: Decimal | None,
    *,
    maker: bool,
    mid: Decimal | None,
    spread: Decimal | None,
) -> None:
    """Take a fill; `fee` is in the quote asset, None where its asset had no price."""
    if fee is None:
        track.fees_known = False
        track.flags["no_fee_price"] = None
    else:
        track.fees += fee
    if maker:
        track.maker_qty += qty
    seen = None if mid is None or spread is None else spread_capture(track.side, price, mid, spread)
    track.capture.add(qty, seen)
    if mid is None:
        track.flags["no_mid"] = None
    track.waiting.extend(Waiting(now_ns + after, i, qty, price) for i, after in enumerate(HORIZONS_NS))
    track.waiting.sort(key=lambda one: (one.due_ns, one.horizon))


def next_ns(track: Track) -> int | None:
    """Return when the next mid is wanted."""
    return track.waiting[0].due_ns if track.waiting else None


def on_mid(track: Track, now_ns: int, mid: Decimal | None) -> None:
    """Give the mid of this instant to all fills whose horizon it is."""
    while track.waiting and track.waiting[0].due_ns <= now_ns:
        one = track.waiting.pop(0)
        value = None if mid is None else markout_bps(track.side, one.price, mid)
        track.markouts[one.horizon].add(one.qty, value)
        if mid is None:
            track.flags["no_mid"] = None


def on_gap(track: Track, from_ns: int, to_ns: int, flag: str) -> None:
    """Let the horizons that a hole in the market covers be unknown."""
    kept = []
    for one in track.waiting:
        if from_ns <= one.due_ns <= to_ns:
            track.markouts[one.horizon].add(one.qty, None)
            track.flags[flag] = None
        else:
            kept.append(one)
    track.waiting = kept


def on_schedule(track: Track, now_ns: int, low: int, high: int) -> None:
    """Note between which targets it is from now on, in lots; the time before counts with the ones before."""
    _count(track, now_ns)
    if track.begun_ns is None:
        track.begun_ns = track.since_ns = now_ns
    track.low, track.high = low, high


def on_cum(track: Track, now_ns: int, cum: int) -> None:
    """Note what has traded from now on, in lots."""
    _count(track, now_ns)
    track.cum = cum


def _count(track: Track, now_ns: int) -> None:
    """Add the time since the last change at the error that it had."""
    if track.begun_ns is None:
        return
    size = abs(schedule_error(track.order_lots, track.cum, track.low, track.high))
    track.area += size * max(now_ns - track.since_ns, 0)
    track.error_max = max(track.error_max, size)
    track.since_ns = now_ns


def on_ack(track: Track, took_ms: float) -> None:
    """Note how long the venue took to acknowledge a child."""
    track.acks_ms.append(took_ms)
    del track.acks_ms[:-ACKS_MAX]


# --- what comes of it ---------------------------------------------------------------------------------


class Market(Struct, frozen=True):
    """What the market did in the meantime: its VWAP without own fills, its mean mid, the mid at the end."""

    end_px: Decimal | None
    vwap: Decimal | None
    twap: Decimal | None
    volume: Decimal | None
    """Total volume in base of the window, own fills included."""


class Tca(Struct, frozen=True, array_like=True):
    """The costs of one order; bps are positive where it cost, markouts where they were good for us."""

    state: str
    order_qty: Decimal
    filled: Decimal
    avg_px: Decimal | None
    decision_px: Decimal | None
    arrival_px: Decimal | None
    end_px: Decimal | None
    arrival_slippage_bps: Decimal | None
    vwap_slippage_bps: Decimal | None
    twap_slippage_bps: Decimal | None
    is_bps: Decimal | None
    is_delay_bps: Decimal | None
    is_trading_bps: Decimal | None
    is_opportunity_bps: Decimal | None
    is_fees_bps: Decimal | None
    markout_1s_bps: Decimal | None
    markout_5s_bps: Decimal | None
    markout_30s_bps: Decimal | None
    markout_300s_bps: Decimal | None
    spread_capture: Decimal | None
    maker_share: Decimal | None
    fill_ratio: Decimal
    participation: Decimal | None
    schedule_error_mean: float | None
    schedule_error_max: float | None
    ack_p50_ms: float | None
    ack_p95_ms: float | None
    ack_p99_ms: float | None
    estimate_bps: float | None
    flags: tuple[str, ...]


def result(
    track: Track,
    done: Traded,
    market: Market,
    now_ns: int,
    *,
    state: str,
    scheduled: bool,
    estimate: float | None = None,
) -> Tca:
    """Return what is known of an order's costs by now; nothing is changed."""
    costs: Shortfall = shortfall(done, track.decision_px, track.arrival_px, market.end_px)
    side, avg_px, filled = done.side, done.avg_px, done.filled
    mean = error_max = None
    if scheduled and track.begun_ns is not None:
        size = abs(schedule_error(track.order_lots, track.cum, track.low, track.high))
        area, span = track.area + size * max(now_ns - track.since_ns, 0), now_ns - track.begun_ns
        mean, error_max = (area / span if span > 0 else size), max(track.error_max, size)
    p50, p95, p99 = (percentile(track.acks_ms, share) for share in (0.5, 0.95, 0.99))
    after_1s, after_5s, after_30s, after_300s = (one.mean for one in track.markouts)
    return Tca(
        state=state,
        order_qty=done.order_qty,
        filled=filled,
        avg_px=avg_px,
        decision_px=track.decision_px,
        arrival_px=track.arrival_px,
        end_px=market.end_px,
        arrival_slippage_bps=slippage_bps(side, avg_px, track.arrival_px),
        vwap_slippage_bps=slippage_bps(side, avg_px, market.vwap),
        twap_slippage_bps=slippage_bps(side, avg_px, market.twap),
        is_bps=costs.total,
        is_delay_bps=costs.delay,
        is_trading_bps=costs.trading,
        is_opportunity_bps=costs.opportunity,
        is_fees_bps=costs.fees,
        markout_1s_bps=after_1s,
        markout_5s_bps=after_5s,
        markout_30s_bps=after_30s,
        markout_300s_bps=after_300s,
        spread_capture=track.capture.mean,
        maker_share=track.maker_qty / filled if filled else None,
        fill_ratio=filled / done.order_qty,
        participation=filled / market.volume if market.volume else None,
        schedule_error_mean=mean,
        schedule_error_max=error_max,
        ack_p50_ms=p50,
        ack_p95_ms=p95,
        ack_p99_ms=p99,
        estimate_bps=estimate,
        flags=tuple(track.flags),
    )
