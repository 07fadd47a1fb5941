"""What a plan will do, decision by decision, as far as it is known beforehand: by the code that decides."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

from tradefan.core import schedule
from tradefan.execution import Common
from tradefan.executors.pacings import Shown
from tradefan.executors.trajectories import Rated
from tradefan.messages.orders import ParentOrder, PlannedSlice
from tradefan.messages.plan import Plan


def slices_of(order: ParentOrder, settings: Common, plan: Plan) -> tuple[PlannedSlice, ...] | None:
    """Return the decisions of a whole plan, in the quantity asset; None where volume decides."""
    if isinstance(settings, Rated):
        return None
    lots = int(order.order_qty // plan.qty_lot)
    if plan.taus:
        instants, targets = _instants(order, settings, plan), plan.taus
    elif isinstance(settings, Shown):
        targets = _peaks(order, settings, plan, lots)
        instants = (plan.start_ns, *(None for _ in targets[1:]))
    else:
        instants, targets = (plan.start_ns,), (lots,)
    steps = pairwise((0, *targets))
    return tuple(
        PlannedSlice(at_ns, (after - before) * plan.qty_lot, after * plan.qty_lot)
        for at_ns, (before, after) in zip(instants, steps, strict=True)
    )


def _instants(order: ParentOrder, settings: Common, plan: Plan) -> tuple[int | None, ...]:
    n, jitter, name = len(plan.taus), settings.time_jitter, order.parent_id
    assert plan.end_ns is not None
    return tuple(schedule.decided_at(plan.start_ns, plan.end_ns, n, k, jitter, name) for k in range(n))


def _peaks(order: ParentOrder, settings: Shown, plan: Plan, lots: int) -> tuple[int, ...]:
    """Return what is done behind each clip of an iceberg; the smallest of them bounds how many there are."""
    assert plan.display is not None
    most = plan.display if plan.max_clip is None else min(plan.display, plan.max_clip)
    targets: list[int] = []
    done = 0
    while done < lots and len(targets) < settings.max_children:
        shown = schedule.peak(plan.display, settings.variance, order.parent_id, len(targets))
        clip = min(max(shown, plan.min_clip, 1), lots - done, most)
        merges = settings.residual == "merge_last"
        done += schedule.without_dust(lots - done, clip, plan.min_clip, most) if merges else clip
        targets.append(done)
    return tuple(targets)


def participation(order: ParentOrder, plan: Plan, volume: Decimal | None) -> float | None:
    """Return the share of the expected volume that an order is; None where nobody knows it."""
    return float(order.order_qty / plan.qty_lot / volume) if volume else None
