"""When to decide, and how much: `once times room refill` (docs/execution.md)."""

from __future__ import annotations

from decimal import Decimal
from itertools import takewhile
from typing import Annotated, Literal

from tradefan.contracts import register
from tradefan.core import schedule
from tradefan.core.schedule import ceil_div
from tradefan.execution import LIMIT, Child, Common, Decide, Scheduled, Trajectory, View, Wake, backoff_ns
from tradefan.executors.trajectories import Rated
from tradefan.messages.plan import Clip
from tradefan.setting import unit
from tradefan.spans import Span
from tradefan.units import MS, SECOND


def current(view: View) -> Clip | None:
    """Return the clip that is worked on, if it belongs to the present plan."""
    clip = view.clip
    return clip if clip is not None and clip.plan == view.plans else None


@register("pacing", "once", settings=Common)
class Once:
    """One clip, of all that is open."""

    def __init__(self, settings: Common) -> None:
        """Keep the settings."""
        self.settings = settings

    def decide(self, view: View, trajectory: Trajectory) -> Decide | Wake:
        if current(view) is not None:
            return Wake()
        target = trajectory.target(view, 0).lots
        return Decide(0, target, view.rest, view.rest, view.plan.end_ns)


@register("pacing", "times", settings=Scheduled)
class Times:
    """At the instants of the schedule; what was missed is not made up in a burst."""

    def __init__(self, settings: Scheduled) -> None:
        """Keep the settings."""
        self.settings = settings

    def decide(self, view: View, trajectory: Trajectory) -> Decide | Wake:
        clip, k = current(view), self._newest(view)
        if k < 0 or (clip is not None and clip.k >= k):
            after = max(k, -1 if clip is None else clip.k) + 1
            return Wake(self._at(view, after)) if after < len(view.plan.taus) else Wake()
        settings, plan = self.settings, view.plan
        n, target = len(plan.taus), trajectory.target(view, k)
        even_clip = ceil_div(view.order_lots - plan.base, n)
        # After a time out of limit `on_limit` may ask for all of it at once.
        at_once = clip is not None and clip.reason == LIMIT and settings.on_limit == "catch_up"
        owed = schedule.due(
            target.before,
            target.lots,
            n - k,
            view.done,
            even_clip,
            "immediate" if at_once else settings.catch_up,
            settings.catch_up_cap,
        )
        deadline_ns = self._at(view, k + 1) if k + 1 < n else plan.end_ns
        lots = min(owed, view.rest)
        return Decide(
            k,
            target.lots,
            owed,
            lots,
            deadline_ns,
            "",
            target.before,
            target.share,
            target.factor,
            unseen=target.unseen,
        )

    def _at(self, view: View, k: int) -> int:
        plan = view.plan
        assert plan.end_ns is not None
        n, jitter = len(plan.taus), self.settings.time_jitter
        return schedule.decided_at(plan.start_ns, plan.end_ns, n, k, jitter, view.name)

    def _newest(self, view: View) -> int:
        """Return the newest decision whose instant has come, -1 before the first."""
        plan = view.plan
        assert plan.end_ns is not None
        n, span = len(plan.taus), max(plan.end_ns - plan.start_ns, 1)
        k = min(max((view.now_ns - plan.start_ns) * n // span, 0), n - 1)
        while k >= 0 and self._at(view, k) > view.now_ns:
            k -= 1
        return k


@register("pacing", "room", settings=Rated)
class Room:
    """When enough has traded, and nothing is at work."""

    def __init__(self, settings: Rated) -> None:
        """Keep the settings."""
        self.settings = settings

    def decide(self, view: View, trajectory: Trajectory) -> Decide | Wake:
        settings, clip, present = self.settings, view.clip, current(view)
        if any(child.rests for child in view.live):
            return Wake()
        waits = present is not None and present.lots and view.attempts == present.attempts
        if waits and present is not None and view.now_ns < (present.deadline_ns or 0):
            # Its tactic has not placed it yet.
            return Wake(present.deadline_ns)
        if present is not None and view.now_ns < (present.deadline_ns or 0) and _to_cross(view):
            # What rested of it has ended, and its tactic takes the rest now.
            return Wake(present.deadline_ns)
        if clip is not None and view.now_ns < clip.begun_ns + settings.min_gap:
            return Wake(clip.begun_ns + settings.min_gap)
        k, target = 0 if clip is None else clip.k + 1, trajectory.target(view, 0).lots
        num, den = settings.max_rate.as_integer_ratio()
        room = target - view.done
        ceiling = num * view.volume.window // den - view.volume.own_window
        lots = min(room, view.rest, ceiling)
        enough = max(view.plan.min_clip, 1)
        if view.rest < enough:
            # What is in doubt may come back to it.
            return Wake()
        if room < enough:
            return Wake(volume_at=volume_until(view, settings.rate, enough))
        if lots < enough:
            # The window has to become fuller, or to forget own trades.
            missing = schedule.volume_for(enough + view.volume.own_window, settings.max_rate)
            return Wake(view.now_ns + SECOND, volume_at=view.volume.total + missing - view.volume.window)
        deadline_ns, end_ns = view.now_ns + settings.clip_life, view.plan.end_ns
        if end_ns is not None and view.now_ns < end_ns:
            deadline_ns = min(deadline_ns, end_ns)
        return Decide(k, target, room, lots, deadline_ns, most=ceiling)


def _to_cross(view: View) -> bool:
    """Say whether something of the clip is left to be taken: it is enough, and was not tried yet."""
    enough = view.clip_rest >= max(view.plan.min_clip, 1)
    return enough and not any(child.time_in_force == "IOC" for child in view.of_clip)


def volume_until(view: View, rate: Decimal, lots: int) -> int:
    """Return the total volume in lots at which a rate has room for so many more."""
    plan = view.plan
    return plan.volume_base + schedule.volume_for(view.done - plan.base + lots, rate)


class Shown(Common, frozen=True, kw_only=True):
    """How an iceberg shows itself: at most `display`, less by up to `variance` of it, again after a delay."""

    display: Annotated[Decimal | None, unit("base asset", "the most that is ever shown")] = None
    variance: Annotated[Decimal, unit("share of display", "by how much a clip may show less")] = Decimal(
        "0.2"
    )
    delay_min: Annotated[Span, unit("duration", "before the next clip, at least")] = Span(200 * MS)
    delay_max: Annotated[Span, unit("duration", "before the next clip, at most")] = Span(SECOND)
    refill: Annotated[str, unit("choice", "exhausted, or threshold:0.3 to refill when so little is left")] = (
        "exhausted"
    )
    peg: Annotated[bool, unit("flag", "it follows the own best, in place of resting at its limit")] = False
    native: Annotated[
        Literal["auto", "never"], unit("choice", "the venue's own iceberg, where it keeps this meaning")
    ] = "auto"


@register("pacing", "refill", settings=Shown)
class Refill:
    """The next clip when the last one has ended, a while later; or when little of it is left."""

    def __init__(self, settings: Shown) -> None:
        """Keep the settings."""
        self.settings = settings

    def decide(self, view: View, trajectory: Trajectory) -> Decide | Wake:
        settings, clip, plan = self.settings, current(view), view.plan
        number = 0 if clip is None else clip.k + 1
        if clip is not None:
            over = clip.deadline_ns is not None and view.now_ns >= clip.deadline_ns
            if clip.lots and view.attempts == clip.attempts and not over:
                # Its tactic has not placed it yet.
                return Wake()
            live = view.live
            if live and not self._exhausted(clip, live):
                return Wake()
            ended_ns = view.now_ns if live else max(view.last_end_ns or 0, 0 if clip.lots else clip.begun_ns)
            after_ns = schedule.between(settings.delay_min, settings.delay_max, view.name, number)
            in_row = sum(1 for _ in takewhile(lambda child: child.fruitless, reversed(view.children)))
            # Each refill is a clip of its own: what its venue does not take, it is not offered ever again.
            after_ns = max(after_ns, backoff_ns(in_row))
            if view.now_ns < ended_ns + after_ns and not live:
                return Wake(ended_ns + after_ns)
        if view.rest < max(plan.min_clip, 1):
            return Wake()
        assert plan.display is not None
        lots = max(schedule.peak(plan.display, settings.variance, view.name, number), plan.min_clip, 1)
        return Decide(number, view.order_lots, view.rest, min(lots, view.rest), plan.end_ns)

    def _exhausted(self, clip: Clip, live: tuple[Child, ...]) -> bool:
        """Say whether so little is left that the next clip comes; what is in doubt may show all of it."""
        kind, _, share = self.settings.refill.partition(":")
        if kind != "threshold" or any(not child.rests for child in live):
            return False
        num, den = Decimal(share).as_integer_ratio()
        return sum(child.leaves for child in live) * den <= num * clip.lots
