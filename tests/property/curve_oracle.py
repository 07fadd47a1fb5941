"""What a schedule by the volume curve means to have done, in floats and by the words of the design alone.

It shares nothing with `core/schedule`: the walker holds each target of a VWAP against it.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from tradefan.execution import Decide, PlanInput
from tradefan.messages.plan import Plan

JITTER = 0.2
PRIOR_BUCKETS = 12
SHARE_DEN = 10**12
"""The defaults of the design, and in what a share is counted."""


def hold(walk: Any, command: Decide) -> None:
    """Hold the target of a decision against the curve of its walk, less the jitter of its size.

    Where nobody sees the trades a live schedule goes on as it was, which is not looked at.
    """
    plan, given, settings = walk.plan, walk.made_for, walk.recipe.settings
    volumes = expected(given, plan)
    if settings.mode == "dynamic" and not walk.trusted:
        return
    if settings.mode == "dynamic":
        prior = PRIOR_BUCKETS * sum(volumes) / max((plan.end_ns - plan.start_ns) / settings.bucket, 1.0)
        share = dynamic(volumes, command.k, max(walk.total - plan.volume_base, 0), prior)
        if walk.clip is not None and walk.clip.plan == walk.plans:
            # What was meant to be done stays so, though less trades from now on than was thought.
            share = max(share, walk.clip.share / SHARE_DEN)
    else:
        share = static(volumes, command.k)
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


def dynamic(volumes: list[float], k: int, observed: float, prior: float) -> float:
    """Return F_k of what has traded, of which the curve weighs `prior` (EXECUTION.md 7.4)."""
    factor = min(max((observed + prior) / (sum(volumes[:k]) + prior), 0.25), 4.0)
    return (observed + factor * volumes[k]) / (observed + factor * sum(volumes[k:]))
