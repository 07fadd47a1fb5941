"""What the analysis of costs keeps beside the journal: what it sees of the market, and counts for metrics."""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct, field

from tradefan.core.mids import Mids, Since
from tradefan.core.track import Error
from tradefan.core.volatility import Moves
from tradefan.units import MS, AccountId, ClientOrderId, InstrumentId, ParentId

BPS_BUCKETS = (-50.0, -20.0, -10.0, -5.0, -2.0, -1.0, 0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
"""Upper bounds in which costs are counted."""
ACK_BUCKETS_NS = tuple(ms * MS for ms in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000))
"""Upper bounds in which acknowledgements are counted."""


class Base(Struct, frozen=True):
    """What the market of an instrument counted when a parent arrived; `lots` and `value` of its tape."""

    since: Since
    generation: int
    lots: int
    value: float
    own_qty: Decimal
    own_value: Decimal


class Pace(Struct):
    """A schedule that follows what trades: a rate of it, a clip later at most.

    `low_ns` is since when it has traded less than `least` of it; `told` says that somebody knows.
    """

    rate: Decimal
    life_ns: int
    qty_lot: Decimal
    error: Error
    least: Decimal
    low_ns: int | None = None
    told: bool = False


class Curve(Struct):
    """What has traded by the ends of the intervals of a `vwap`, in lots since its `base`."""

    plans: int
    expected: tuple[float, ...]
    """What its plan expects by each end, without the jitter of its sizes, in lots of the order."""
    base: int
    last: int
    at_ends: list[int] = field(default_factory=list)


class CostCounts(Struct):
    """Finally analysed parents of one algorithm in one instrument, for metrics; since the start of this OMS.

    `slippage` and `shortfall` count by bucket (`BPS_BUCKETS`, one beyond); the others are the newest known.
    """

    slippage: list[int] = field(default_factory=lambda: [0] * (len(BPS_BUCKETS) + 1))
    shortfall: list[int] = field(default_factory=lambda: [0] * (len(BPS_BUCKETS) + 1))
    slippage_sum: float = 0.0
    shortfall_sum: float = 0.0
    schedule_error: float | None = None
    maker_share: float | None = None
    participation: float | None = None
    spread_capture: float | None = None


class AckCounts(Struct):
    """Acknowledgements of an account's orders by what they took (`ACK_BUCKETS_NS`, one beyond), for metrics.

    Since the start of this OMS.
    """

    buckets: list[int] = field(default_factory=lambda: [0] * (len(ACK_BUCKETS_NS) + 1))
    sum_ns: int = 0


class TcaLive(Struct):
    """What the analysis of costs sees of the market, where a parent is at work; a restart begins anew.

    `moves` is of every market: it says what an order that has not begun will cost.
    `own` is what we traded there: quantity and value. `written` says when creates left that have no word yet,
    `due` when a mid or a final record is wanted.
    """

    mids: dict[InstrumentId, Mids] = field(default_factory=dict)
    moves: dict[InstrumentId, Moves] = field(default_factory=dict)
    own: dict[InstrumentId, tuple[Decimal, Decimal]] = field(default_factory=dict)
    bases: dict[ParentId, Base] = field(default_factory=dict)
    paces: dict[ParentId, Pace] = field(default_factory=dict)
    curves: dict[ParentId, Curve] = field(default_factory=dict)
    missed: dict[ParentId, None] = field(default_factory=dict)
    """Of these somebody knows that much of their time was lost."""
    written: dict[ClientOrderId, int] = field(default_factory=dict)
    due: list[tuple[int, str, str]] = field(default_factory=list)
    timer_ns: int = 0
    counts: dict[str, dict[InstrumentId, CostCounts]] = field(default_factory=dict)
    acks: dict[AccountId, AckCounts] = field(default_factory=dict)
