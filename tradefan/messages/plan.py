"""What a parent means to do (`Plan`) and what it is doing (`Clip`): journaled, so that it survives.

Quantities are whole lots of the instrument's version that the plan was made with.
"""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct

from tradefan.units import HOUR

WINDOW_MAX_NS = HOUR


class Plan(Struct, frozen=True, array_like=True):
    """A plan from `start_ns` on; without `end_ns` it works until it is done or cancelled.

    `taus[k]` is the target of decision k, jitter included; empty where nothing is scheduled. `base` is
    what was done when it was made. `volumes` are the expected lots of each decision's interval, where the
    schedule follows live volume, `volume_base` what had traded when it was made. `limit` and `i_would` are
    ticks, `source` says where a curve came from.
    """

    start_ns: int
    end_ns: int | None
    qty_lot: Decimal
    price_tick: Decimal
    min_clip: int
    base: int = 0
    taus: tuple[int, ...] = ()
    volumes: tuple[int, ...] = ()
    volume_base: int = 0
    limit: int | None = None
    max_clip: int | None = None
    display: int | None = None
    i_would: int | None = None
    source: str = ""
    coverage: float | None = None
    flags: tuple[str, ...] = ()
    volume_own: int = 0
    """What of `volume_base` its owner had traded, where the feed does not count own trades."""
    time_jitter: Decimal | None = None
    """By how much of an interval its decisions come later, from the parent's id; None where it has none."""

    @property
    def life_ns(self) -> int:
        """How long a clip of a schedule lives, jitter aside."""
        assert self.end_ns is not None, "a schedule has an end"
        assert self.taus, "only a schedule has decisions"
        return max((self.end_ns - self.start_ns) // len(self.taus), 1)

    def window_ns(self, given: int) -> int:
        """Return the rolling window of participation: at least the lives of two clips, at most an hour."""
        return min(max(given, 2 * self.life_ns if self.taus else 0), WINDOW_MAX_NS)


class Clip(Struct, frozen=True, array_like=True):
    """One decision: so many lots from `begun_ns` until `deadline_ns`, for a reason where they are fewer.

    `number` counts the clips of a parent, `plan` its plans; `k` is the decision in that plan, `base` what
    was done when it was taken, `attempts` how many children there had been. `share` is F of a schedule that
    follows live volume, over 10^12, `factor` its m; `price` bounds what it takes, beside limit and collar,
    and `volume` had traded since the arrival; `unseen` lots more are thought to have, while nobody saw it.
    """

    number: int
    plan: int
    k: int
    target: int
    due: int
    lots: int
    begun_ns: int
    deadline_ns: int | None
    base: int
    attempts: int
    reason: str = ""
    before: int = 0
    share: int = 0
    factor: float = 1.0
    price: int | None = None
    volume: int = 0
    volume_own: int = 0
    """What of `volume` its owner had traded, where the feed does not count own trades."""
    unseen: float = 0.0


class Volume(Struct, frozen=True, array_like=True):
    """What trades, in lots: since the parent's arrival, in its window, and its own part of that window.

    `total` counts own trades too, `own` of them where the feed does not. `whole` once the window was seen
    from its beginning, `fresh` while the trades of the feed come.
    """

    total: int = 0
    window: int = 0
    own_window: int = 0
    whole: bool = False
    fresh: bool = True
    own: int = 0
