"""What the analysis of an order's costs needs of its life, kept as sums however many fills it has.

It follows from the records of the journal (`core/apply_tca`), so a restart goes on with it. Whoever watches
the market puts mids and spreads into those records; one that nobody saw makes its mean unknown for good: a
mean over the rest would be another order's.
"""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct, field

from tradefan.core.schedule import decided_at, schedule_error
from tradefan.core.tca import markout_bps, spread_capture
from tradefan.messages.plan import Plan
from tradefan.messages.tca import Costs, Met, Points
from tradefan.units import SECOND, ZERO, Asset, InstrumentId, Side

HORIZONS_NS = (SECOND, 5 * SECOND, 30 * SECOND, 300 * SECOND)
FINAL_NS = HORIZONS_NS[-1]
"""So long behind its last fill nothing more is expected of an order's analysis."""
LATE_NS = SECOND
"""A mid that is seen, or a fill that is told, so much later is not that of its instant."""
WAITING_MAX = 5_000
"""Fills of one order whose horizons are awaited; those of more are not known."""
POINTS_MAX = 200
"""Steps of one line of a drawing; a longer one keeps every second."""


class Weighted(Struct):
    """A sum of quantity x value; `missing` is the quantity whose value nobody knows."""

    total: Decimal = ZERO
    qty: Decimal = ZERO
    missing: Decimal = ZERO

    def add(self, qty: Decimal, value: Decimal | None) -> None:
        """Add one value, or note that it is missing; a quantity below zero takes it back."""
        if value is None:
            self.missing += qty
        else:
            self.total, self.qty = self.total + qty * value, self.qty + qty

    @property
    def sum(self) -> Decimal | None:
        """The sum, None where a part of it is missing."""
        return None if self.missing else self.total

    @property
    def mean(self) -> Decimal | None:
        """The mean, None where a part of it is missing, or there is none."""
        return None if self.missing or not self.qty else self.total / self.qty


class Seen(Struct, frozen=True, array_like=True):
    """A fill whose mids at the horizons are still to come."""

    at_ns: int
    qty: Decimal
    price: Decimal


class FillSeen(Struct, frozen=True):
    """One fill as the analysis takes it; None for what nobody knows.

    `fee` is in the quote asset, `on_time` where it was told as it happened.
    """

    qty: Decimal
    price: Decimal
    fee: Decimal | None
    maker: bool | None
    mid: Decimal | None
    spread: Decimal | None
    on_time: bool


class Error(Struct):
    """How far an order is off its schedule: between which targets it is, in lots, and sums over the time."""

    order_lots: int
    k: int = -1
    low: int = 0
    high: int = 0
    cum: int = 0
    begun: bool = False
    frozen: bool = False
    """While its clock stands."""
    since_ns: int = 0
    span_ns: int = 0
    area: float = 0.0
    largest: float = 0.0


class Track(Struct):
    """One order, from its decision to five minutes behind its last fill."""

    instrument: InstrumentId
    side: Side
    decision_px: Decimal | None
    arrival_px: Decimal | None = None
    spread: Decimal | None = None
    """At the arrival."""
    first_ns: int | None = None
    """When its first plan begins."""
    arrived_ns: int | None = None
    missed_ns: int = 0
    """So long it could not act though its clock ran."""
    ended_ns: int | None = None
    last_fill_ns: int | None = None
    fees: Weighted = field(default_factory=Weighted)
    maker: Weighted = field(default_factory=Weighted)
    capture: Weighted = field(default_factory=Weighted)
    markouts: list[Weighted] = field(default_factory=lambda: [Weighted() for _ in HORIZONS_NS])
    waiting: list[Seen] = field(default_factory=list)
    given: list[int] = field(default_factory=lambda: [0 for _ in HORIZONS_NS])
    """How many of those that wait have had each horizon."""
    error: Error | None = None
    acks: dict[int, int] = field(default_factory=dict)
    """How often each time of acknowledgement was seen, in us to three digits."""
    targets: list[tuple[int, float]] = field(default_factory=list)
    done: list[tuple[int, float]] = field(default_factory=list)
    flags: dict[str, None] = field(default_factory=dict)
    costs: Costs | None = None
    """What was written last."""
    market: Met | None = None
    written_ns: int = 0
    quote: Asset = Asset("")
    """In which it was written."""
    stale: bool = False
    """Something has come since that it does not tell of."""

    @property
    def final_ns(self) -> int | None:
        """When nothing more is expected; None before its end."""
        if self.ended_ns is None:
            return None
        return max(self.ended_ns, 0 if self.last_fill_ns is None else self.last_fill_ns + FINAL_NS)


# --- fills ----------------------------------------------------------------------------------------------


def on_fill(track: Track, at_ns: int, fill: FillSeen) -> None:
    """Take a fill."""
    _weigh(track, fill, fill.qty, fill.fee)
    track.last_fill_ns = at_ns
    if not fill.on_time or len(track.waiting) >= WAITING_MAX:
        _miss(track, fill.qty)
        track.flags["late_report" if not fill.on_time else "too_many_fills"] = None
    else:
        track.waiting.append(Seen(at_ns, fill.qty, fill.price))
    if fill.mid is None:
        track.flags["no_mid"] = None
    if fill.fee is None:
        track.flags["no_fee_price"] = None


def on_taken_back(track: Track, at_ns: int, fill: FillSeen) -> None:
    """Take a fill of an instant back, or a part: its markouts cannot be told from the others any more."""
    _weigh(track, fill, -fill.qty, None if fill.fee is None else -fill.fee)
    track.flags["revised"] = None
    if not fill.on_time:
        _miss(track, -fill.qty)
        return
    wanted = Seen(at_ns, fill.qty, fill.price)
    if wanted not in track.waiting:
        _miss(track, fill.qty)
        return
    i = track.waiting.index(wanted)
    del track.waiting[i]
    for horizon, given in enumerate(track.given):
        if given > i:
            track.given[horizon] = given - 1
            track.markouts[horizon].missing += fill.qty


def _weigh(track: Track, fill: FillSeen, qty: Decimal, fee: Decimal | None) -> None:
    if fee is None:
        track.fees.missing += qty
    else:
        track.fees.total += fee
    track.maker.add(qty, None if fill.maker is None else Decimal(fill.maker))
    unseen = fill.mid is None or fill.spread is None
    capture = None if unseen else spread_capture(track.side, fill.price, fill.mid, fill.spread)  # type: ignore[arg-type]
    track.capture.add(qty, capture)


def _miss(track: Track, qty: Decimal) -> None:
    for one in track.markouts:
        one.missing += qty


def next_ns(track: Track) -> int | None:
    """Return when the next mid is wanted."""
    wanted = [
        track.waiting[given].at_ns + after
        for given, after in zip(track.given, HORIZONS_NS, strict=True)
        if given < len(track.waiting)
    ]
    return min(wanted, default=None)


def on_mid(
    track: Track, through_ns: int, mid: Decimal | None, flag: str = "", *, whole: bool = False
) -> None:
    """Give a mid to all fills whose horizon has come; `whole`: to all that wait."""
    for horizon, after in enumerate(HORIZONS_NS):
        while (given := track.given[horizon]) < len(track.waiting):
            one = track.waiting[given]
            if not whole and one.at_ns + after > through_ns:
                break
            value = None if mid is None else markout_bps(track.side, one.price, mid)
            track.markouts[horizon].add(one.qty, value)
            track.given[horizon] += 1
            if mid is None:
                track.flags[flag or "no_mid"] = None
    gone = min(track.given)
    if gone:
        del track.waiting[:gone]
        track.given = [given - gone for given in track.given]


# --- the schedule -----------------------------------------------------------------------------------------


def pass_time(track: Track, name: str, plan: Plan | None, now_ns: int) -> None:
    """Count the time up to an instant at the errors that it had, interval by interval of its plan.

    d_k come from the plan and the parent's name, whether or not a decision was taken then. A schedule that
    follows live volume knows its target only when it decides: where it did not, that of its curve holds.
    """
    error = track.error
    if error is None:
        return
    if plan is not None and _is_timed(plan) and not error.frozen:
        while error.k + 1 < len(plan.taus) and (at_ns := _decided_at(plan, name, error.k + 1)) <= now_ns:
            _begin(track, error, max(at_ns, error.since_ns), error.k + 1, plan)
    _count(error, now_ns)


def _is_timed(plan: Plan) -> bool:
    """Say whether a plan has instants at which another target holds."""
    return bool(plan.taus) and plan.end_ns is not None


def _decided_at(plan: Plan, name: str, k: int) -> int:
    assert plan.end_ns is not None
    return decided_at(plan.start_ns, plan.end_ns, len(plan.taus), k, plan.time_jitter or ZERO, name)


def _begin(track: Track, error: Error, at_ns: int, k: int, plan: Plan) -> None:
    _count(error, at_ns)
    first, error.k, error.begun = not error.begun or error.k < 0, k, True
    if plan.volumes:
        error.low = plan.base if first else error.high
        error.high = max(error.low, plan.taus[k])
        return
    error.low, error.high = plan.taus[k - 1] if k else plan.base, plan.taus[k]
    draw(track.targets, at_ns, error.high / error.order_lots)


def _count(error: Error, now_ns: int) -> None:
    """Add the time since the last change at the error that it had."""
    passed_ns = max(now_ns - error.since_ns, 0)
    if error.begun and not error.frozen:
        size = abs(schedule_error(error.order_lots, error.cum, error.low, error.high))
        error.span_ns, error.area = error.span_ns + passed_ns, error.area + size * passed_ns
        if passed_ns:
            error.largest = max(error.largest, size)
    error.since_ns += passed_ns


def on_plan(track: Track, name: str, old: Plan | None, plan: Plan, now_ns: int, order_qty: Decimal) -> None:
    """Go on by another plan; the time before counts with the old one."""
    pass_time(track, name, old, now_ns)
    if old is None or track.first_ns is None:
        track.first_ns = (plan if old is None else old).start_ns
    if not plan.taus:
        return
    lots = int(order_qty // plan.qty_lot)
    if track.error is None:
        track.error = Error(max(lots, 1), since_ns=now_ns)
    elif old is not None and old.qty_lot != plan.qty_lot:
        track.error.cum = int(track.error.cum * old.qty_lot // plan.qty_lot)
    track.error.order_lots, track.error.k = max(lots, 1), -1
    pass_time(track, name, plan, now_ns)


def on_interval(error: Error, now_ns: int, low: int, high: int) -> None:
    """Note between which targets it is from now on, in lots, where no plan tells it."""
    _count(error, now_ns)
    error.begun, error.low, error.high = True, low, high


def within(plan: Plan | None, since_ns: int, until_ns: int) -> int:
    """Return how much of a time lies in the window of a plan that has an end."""
    if plan is None or plan.end_ns is None:
        return 0
    return max(min(until_ns, plan.end_ns) - max(since_ns, plan.start_ns), 0)


def stand(error: Error, now_ns: int) -> None:
    """Let its clock stand from an instant on."""
    _count(error, now_ns)
    error.frozen = True


def on_cum(error: Error, now_ns: int, cum: int) -> None:
    """Note what has traded from now on, in lots."""
    _count(error, now_ns)
    error.cum = cum


def on_clock(track: Track, name: str, plan: Plan | None, now_ns: int, *, stands: bool) -> None:
    """Let its clock stand, or run again."""
    pass_time(track, name, plan, now_ns)
    if track.error is not None:
        track.error.frozen = stands


def mean_error(error: Error) -> float | None:
    """Return the time average of the error's size; None before its first decision."""
    if not error.begun:
        return None
    size = abs(schedule_error(error.order_lots, error.cum, error.low, error.high))
    return error.area / error.span_ns if error.span_ns else size


# --- acknowledgements, drawings ---------------------------------------------------------------------------


def on_ack(track: Track, took_ns: int) -> None:
    """Note how long the venue took to acknowledge a child."""
    took_us = max(took_ns, 0) // 1_000
    unit = 10 ** max(len(str(took_us)) - 3, 0)
    key = took_us // unit * unit
    track.acks[key] = track.acks.get(key, 0) + 1


def ack_ms(track: Track, share: float) -> float | None:
    """Return the time that so large a share of the acknowledgements took at most (nearest rank)."""
    total = sum(track.acks.values())
    left = share * total
    for took_us in sorted(track.acks):
        left -= track.acks[took_us]
        # A share of a sum in binary is not always the whole number that it should be.
        if left <= 1e-9 * total:
            return took_us / 1_000
    return None


def draw(line: list[tuple[int, float]], at_ns: int, value: float) -> None:
    """Add a step to a line; where there are too many, the one goes whose going changes the drawing least."""
    line.append((at_ns, value))
    if len(line) > POINTS_MAX:
        least = min(range(1, len(line) - 1), key=lambda i: _moves(*line[i - 1 : i + 2]))
        del line[least]


def _moves(before: tuple[int, float], one: tuple[int, float], after: tuple[int, float]) -> tuple[float, int]:
    """Return how far a drawing goes by way of one step, there and back, and in what time."""
    return abs(one[1] - before[1]) + abs(after[1] - one[1]), after[0] - before[0]


def points(line: list[tuple[int, float]]) -> Points:
    """Return a line as it is told."""
    return tuple(line)
