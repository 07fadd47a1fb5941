"""How far a volume curve was from how the volume came: max |F - share of all that had traded by then|.

F is what the plan of a `vwap` expects at the ends of its intervals (EXECUTION.md 7.4), without the jitter of
its sizes; the volume is what the feed counts, own trades included. Nothing of it is journaled: behind a
restart, or a hole in the feed, it is not known.
"""

from __future__ import annotations

from decimal import Decimal

from tradefan.actors.oms_executor import recipe_of, volume_at
from tradefan.actors.oms_state import Live, OmsWiring, Turn
from tradefan.actors.oms_tca_state import Curve
from tradefan.core.schedule import instant, without_jitter
from tradefan.core.trading import ParentState
from tradefan.execution import Recipe
from tradefan.executors.trajectories import Curved
from tradefan.messages.plan import Plan
from tradefan.units import SECOND


def follow_curve(turn: Turn, parent: ParentState, recipe: Recipe | None) -> None:
    """Begin to count for a parent that goes by a curve."""
    plan = parent.plan
    if recipe is not None and plan is not None and plan.taus and isinstance(recipe.settings, Curved):
        base, jitter = _traded(turn.live, turn.wiring, turn.now, parent), recipe.settings.size_jitter
        expected = without_jitter(plan.taus, plan.base, jitter, parent.order.parent_id)
        turn.live.tca.curves[parent.order.parent_id] = Curve(parent.plans, expected, base, base)


def note_curve(turn: Turn, parent: ParentState) -> None:
    """Note what has traded by the ends of its intervals; by another plan it is counted anew."""
    curve, plan = turn.live.tca.curves.get(parent.order.parent_id), parent.plan
    if curve is None or plan is None:
        return
    if curve.plans != parent.plans:
        follow_curve(turn, parent, recipe_of(parent.order))
        return
    traded = _traded(turn.live, turn.wiring, turn.now, parent)
    while len(curve.at_ends) < len(plan.taus) and (end_ns := _end(plan, len(curve.at_ends))) <= turn.now:
        curve.at_ends.append((traded if end_ns == turn.now else curve.last) - curve.base)
    curve.last = traded


def curve_error(live: Live, wiring: OmsWiring, parent: ParentState, now_ns: int) -> float | None:
    """Return the error up to now, both as shares of what they are now; None without a whole interval."""
    curve, plan = live.tca.curves.get(parent.order.parent_id), parent.plan
    if curve is None or plan is None or curve.plans != parent.plans:
        return None
    whole, expected = _traded(live, wiring, now_ns, parent) - curve.base, _expected(curve, plan, now_ns)
    if whole <= 0 or expected <= 0 or not curve.at_ends:
        return None
    ends = zip(curve.expected, curve.at_ends, strict=False)
    return max(abs(due / expected - traded / whole) for due, traded in ends)


def _expected(curve: Curve, plan: Plan, now_ns: int) -> float:
    """Return what the plan expects by an instant, in lots; inside an interval it grows evenly."""
    k = next((k for k in range(len(plan.taus)) if _end(plan, k) > now_ns), None)
    if k is None:
        return curve.expected[-1]
    before, begun_ns = curve.expected[k - 1] if k else 0.0, _end(plan, k - 1)
    part = max(now_ns - begun_ns, 0) / max(_end(plan, k) - begun_ns, 1)
    return before + part * (curve.expected[k] - before)


def _end(plan: Plan, k: int) -> int:
    """Return t_{k+1}."""
    assert plan.end_ns is not None
    return instant(plan.start_ns, plan.end_ns, len(plan.taus), k + 1)


def _traded(live: Live, wiring: OmsWiring, now_ns: int, parent: ParentState) -> int:
    """Return what has traded since the parent's arrival, in lots."""
    lot = parent.plan.qty_lot if parent.plan is not None else Decimal(1)
    return volume_at(live, wiring, now_ns, parent, lot, SECOND).total
