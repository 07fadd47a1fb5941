"""What a schedule means to have done, and the most of one clip, by the words of the design alone.

It shares nothing with `core/schedule`: the walker holds each decision of a schedule against it.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from tradefan.execution import I_WOULD, Decide, PlanInput
from tradefan.messages.plan import Plan

BUCKET_NS = 300 * 10**9
JITTER = 0.2
PRIOR_BUCKETS = 12
SHARE_DEN = 10**12
CAP = 3
"""The defaults of the design, and in what a share is counted."""


def hold(walk: Any, command: Decide) -> None:
    """Hold a decision: its target against the curve of its walk, and its clip against the cap."""
    plan, k = walk.plan, command.k
    last = walk.clip if walk.clip is not None and walk.clip.plan == walk.plans else None
    plain: float = plan.taus[k] - (plan.taus[k - 1] if k else plan.base)
    if walk.made_for is not None and walk.made_for.volumes:
        volumes = expected(walk.made_for, plan)
        if walk.recipe.settings.mode == "dynamic":
            plain = _hold_live(walk, command, volumes, last)
        else:
            _hold_target(walk, command, static(volumes, k))
    even = -(-(plan.taus[-1] - plan.base) // len(plan.taus))
    most = CAP * max(plain, even) + plan.min_clip
    assert command.lots <= most, f"a burst: {command.lots} of {k}, at most {most}"


def _hold_live(walk: Any, command: Decide, volumes: list[float], last: Any) -> float:
    """Hold a target against what has traded, and return the size of a plain clip.

    Where nobody sees what trades both are thought to go on as they did at the last decision.
    """
    plan, k = walk.plan, command.k
    plans, factor, unseen = walk.live
    if plans != walk.plans:
        factor, unseen = 1.0, 0.0
    counted = max(walk.total - plan.volume_base, 0)
    observed = counted + unseen
    if walk.trusted:
        prior = PRIOR_BUCKETS * sum(volumes) / max((plan.end_ns - plan.start_ns) / BUCKET_NS, 1.0)
        factor = min(max((observed + prior) / (sum(volumes[:k]) + prior), 0.25), 4.0)
    else:
        then = known = 0.0
        if last is not None:
            then = max(last.volume - plan.volume_base, 0) + unseen
            known = until(walk.made_for, last.begun_ns) - until(walk.made_for, plan.start_ns)
        observed = max(observed, then + factor * max(sum(volumes[:k]) - known, 0))
    walk.live = (walk.plans, factor, observed - counted)
    whole = observed + factor * sum(volumes[k:])
    share = (observed + factor * volumes[k]) / whole
    if last is not None:
        # What was meant to be done stays so, though less trades from now on than was thought.
        share = max(share, last.share / SHARE_DEN)
    _hold_target(walk, command, share)
    if last is not None and last.reason == I_WOULD:
        return float(command.target - last.before)
    if k == (0 if last is None else last.k + 1):
        return float(command.target - (plan.base if last is None else last.target))
    # Of decisions that nobody took only the interval of this one is its own.
    return (walk.order_lots - plan.base) * factor * volumes[k] / whole + 2


def _hold_target(walk: Any, command: Decide, share: float) -> None:
    """Hold a target against the share that should be done, less the jitter of its size."""
    plan = walk.plan
    rest, last = walk.order_lots - plan.base, command.k == len(plan.taus) - 1
    plain = walk.order_lots if last else plan.base + rest * share
    least = plain - (0 if last else JITTER * max(plain - command.before, 0)) - 2
    most = max(plain, command.before) + 2
    assert least <= command.target <= most, f"target {command.target} of {command.k}, expected {plain}"


def until(given: PlanInput, at_ns: float) -> float:
    """Return what the curve trades up to an instant; inside a bucket it is even."""
    total = 0.0
    for i, volume in enumerate(given.volumes):
        begun = (at_ns - given.first_ns - i * given.bucket_ns) / given.bucket_ns
        total += volume * min(max(begun, 0.0), 1.0)
    return total


def expected(given: PlanInput, plan: Plan) -> list[float]:
    """Return what the curve trades in the interval of each decision."""
    assert plan.end_ns is not None
    n, span = len(plan.taus), plan.end_ns - plan.start_ns
    at = [until(given, plan.start_ns + k * span / n) for k in range(n + 1)]
    return [after - before for before, after in pairwise(at)]


def static(volumes: list[float], k: int) -> float:
    """Return F behind decision k: the curve's share of the window."""
    return sum(volumes[: k + 1]) / sum(volumes)
