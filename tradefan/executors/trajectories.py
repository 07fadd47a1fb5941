"""How much should be done by when: `whole linear curve live_curve rate` (docs/execution.md)."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import Annotated, Literal

from msgspec.structs import replace

from tradefan.contracts import Settings, register
from tradefan.core import schedule
from tradefan.core.schedule import Shares, ceil_div
from tradefan.execution import I_WOULD, Common, PlanInput, Planned, Scheduled, Target, View
from tradefan.messages.plan import Clip, Plan
from tradefan.setting import unit
from tradefan.spans import Span
from tradefan.units import MINUTE, SECOND


class Rated(Common, frozen=True, kw_only=True):
    """A share of the volume: `rate` of all of it, never above `max_rate` in its window.

    `min_gap` lies between clips, each lives for `clip_life`.
    """

    rate: Annotated[Decimal, unit("share of volume", "of all that trades, own trades included")] = Decimal(
        "0.10"
    )
    min_rate: Annotated[Decimal, unit("share of volume", "below it for five minutes alarms")] = Decimal(0)
    max_rate: Annotated[Decimal, unit("share of volume", "ceiling over participation_window")] = Decimal(
        "0.20"
    )
    min_gap: Annotated[Span, unit("duration", "between two clips")] = Span(2 * SECOND)
    clip_life: Annotated[Span, unit("duration", "how long a clip is worked")] = Span(5 * SECOND)


def decisions_of(settings: Scheduled, given: PlanInput) -> int:
    """Return the number of decisions of the rest of an order."""
    assert given.end_ns is not None, "the entry check lets no schedule without an end through"
    rest = given.order_lots - given.done
    if settings.slices is not None:
        return max(min(settings.slices, rest // max(given.min_clip, 1)), 1)
    return schedule.decisions(given.end_ns - given.start_ns, settings.interval, rest, given.min_clip)


@register("trajectory", "whole")
class Whole:
    """All of it, from the beginning."""

    def __init__(self, settings: Settings | None = None) -> None:
        """It has no settings."""

    def plan(self, given: PlanInput) -> Planned:
        return Planned()

    def target(self, view: View, k: int) -> Target:
        return Target(0, view.order_lots)


@register("trajectory", "linear", settings=Scheduled)
class Linear:
    """The same share of the quantity in the same share of the time."""

    def __init__(self, settings: Scheduled) -> None:
        """Keep the settings."""
        self.settings = settings

    def plan(self, given: PlanInput) -> Planned:
        return planned(given, schedule.even(decisions_of(self.settings, given)), self.settings.size_jitter)

    def target(self, view: View, k: int) -> Target:
        return planned_target(view, k)


def planned(given: PlanInput, shares: Shares, jitter: Decimal) -> Planned:
    """Return the targets of a schedule that is known beforehand."""
    return Planned(schedule.targets(given.order_lots, shares, jitter, given.name, given.done))


def planned_target(view: View, k: int) -> Target:
    """Return a target of the plan, and the one before it."""
    taus = view.plan.taus
    return Target(taus[k - 1] if k else view.plan.base, taus[k])


class Curved(Scheduled, frozen=True, kw_only=True):
    """A schedule by the volume of the day; a decision comes at least four times in a bucket.

    The curve is made of the last `days_max` days before the window where at least `days_min` are known and
    `coverage` of the window's buckets have `bucket_days_min` of them. A live one weighs the curve as
    `prior_buckets` mean buckets.
    """

    mode: Annotated[
        Literal["static", "dynamic"], unit("choice", "by the curve alone, or corrected by what trades")
    ] = "static"
    bucket: Annotated[Span, unit("duration", "of the volume curve")] = Span(5 * MINUTE)
    days_min: Annotated[int, unit("days", "least days of history that make a curve")] = 14
    days_max: Annotated[int, unit("days", "how far back the curve looks")] = 28
    bucket_days_min: Annotated[int, unit("days", "least days of history in a bucket")] = 4
    coverage: Annotated[Decimal, unit("share", "least share of the window's buckets that are known")] = (
        Decimal("0.7")
    )
    prior_buckets: Annotated[int, unit("mean buckets", "weight of the curve against what trades")] = 12


@register("trajectory", "curve", settings=Curved)
class Curve:
    """The share of the day's volume that the window has traded by then."""

    def __init__(self, settings: Curved) -> None:
        """Keep the settings."""
        self.settings = settings

    def plan(self, given: PlanInput) -> Planned:
        shares = curve_shares(self.settings, given)
        return planned(given, shares, self.settings.size_jitter)

    def target(self, view: View, k: int) -> Target:
        return planned_target(view, k)


def curve_shares(settings: Curved, given: PlanInput) -> Shares:
    """Return F of the curve; without one that of a TWAP, which the plan says."""
    capped = replace(settings, interval=Span(min(settings.interval, settings.bucket // 4)))
    n = decisions_of(capped, given)
    if not given.volumes:
        return schedule.even(n)
    assert given.end_ns is not None
    return schedule.by_volume(given.volumes, given.bucket_ns, given.first_ns, given.start_ns, given.end_ns, n)


@register("trajectory", "live_curve", settings=Curved)
class LiveCurve:
    """The curve, corrected by what has traded since the beginning against what it expected."""

    def __init__(self, settings: Curved) -> None:
        """Keep the settings."""
        self.settings = settings

    def plan(self, given: PlanInput) -> Planned:
        """Plan the curve; `volumes` are the expected lots of each decision's interval."""
        shares = curve_shares(self.settings, given)
        static = planned(given, shares, self.settings.size_jitter)
        if not given.volumes:
            return static
        steps = (after - before for before, after in pairwise((0, *shares.nums)))
        return replace(static, volumes=tuple(ceil_div(step, given.bucket_ns) for step in steps))

    def target(self, view: View, k: int) -> Target:
        """Return F_k of what was observed, as a share of what was open when the plan was made.

        What decisions that nobody took would have done is owed, and not part of this one.
        """
        plan, clip = view.plan, view.clip
        if not plan.volumes:
            return planned_target(view, k)
        last = clip if clip is not None and clip.plan == view.plans else None
        observed, factor, unseen = self._observed(view, k, last)
        reached, before = 0, plan.base
        if last is not None:
            reached, before = last.share, last.before if last.reason == I_WOULD else last.target
        share = schedule.live_share(plan.volumes, k, observed, factor, reached)
        rest, den = view.order_lots - plan.base, schedule.SHARE_DEN
        if k > (0 if last is None else last.k + 1):
            reached = max(reached, min(schedule.seen_share(plan.volumes, k, observed, factor), share))
            before = max(before, plan.base + rest * reached // den)
        target = plan.base + rest * share // den
        if k < len(plan.volumes) - 1:
            plain = target - plan.base - rest * reached // den
            target -= schedule.fraction(plain, self.settings.size_jitter, view.name, "size", k)
        return Target(before, max(target, before), share, factor, unseen)

    def _observed(self, view: View, k: int, last: Clip | None) -> tuple[float, float, float]:
        """Return V_obs, m, and what of V_obs nobody has counted.

        Where nobody sees what trades, both go on as they were at the last decision.
        """
        plan, unseen = view.plan, 0.0 if last is None else last.unseen
        counted = float(max(view.volume.total - plan.volume_base, 0))
        if view.volume.fresh:
            prior = self.settings.prior_buckets * sum(plan.volumes) / self._buckets(plan)
            factor = schedule.live_factor(counted + unseen, float(sum(plan.volumes[:k])), prior)
            return counted + unseen, factor, unseen
        factor, then, known = 1.0, 0.0, 0.0
        if last is not None:
            factor, known = last.factor, self._expected(plan, last.begun_ns)
            then = max(last.volume - plan.volume_base, 0) + unseen
        observed = max(counted + unseen, then + factor * max(sum(plan.volumes[:k]) - known, 0.0))
        return observed, factor, observed - counted

    def _expected(self, plan: Plan, at_ns: int) -> float:
        """Return what the curve trades until an instant, evenly within the interval of a decision."""
        assert plan.end_ns is not None
        n, span = len(plan.volumes), max(plan.end_ns - plan.start_ns, 1)
        whole, part = divmod(min(max(at_ns - plan.start_ns, 0), span) * n, span)
        return sum(plan.volumes[:whole]) + (plan.volumes[whole] * part / span if whole < n else 0.0)

    def _buckets(self, plan: Plan) -> float:
        """Return how many buckets the window has."""
        assert plan.end_ns is not None
        return max((plan.end_ns - plan.start_ns) / self.settings.bucket, 1.0)


@register("trajectory", "rate", settings=Rated)
class Rate:
    """A share of all that trades since the arrival, own trades included."""

    def __init__(self, settings: Rated) -> None:
        """Keep the settings."""
        self.settings = settings

    def plan(self, given: PlanInput) -> Planned:
        return Planned()

    def target(self, view: View, k: int) -> Target:
        # What traded before the plan, in a pause or before its beginning, was nobody's to take part in.
        plan, traded = view.plan, max(view.volume.total - view.plan.volume_base, 0)
        return Target(
            0, plan.base + schedule.by_rate(view.order_lots - plan.base, self.settings.rate, traded)
        )
