"""How far a parent has come: its window, and how far it is from its schedule at this instant."""

from __future__ import annotations

from msgspec import Struct

from tradefan.actors.oms_executor import settings_of, volume_at
from tradefan.actors.oms_state import OmsState, OmsWiring
from tradefan.core.schedule import by_rate, schedule_error
from tradefan.core.trading import ParentState
from tradefan.errors import Refused
from tradefan.executors.trajectories import Rated
from tradefan.messages.orders import Phase


class Progress(Struct, frozen=True):
    """None is what there is not: no plan, no end, no schedule that could be kept."""

    start_ns: int | None = None
    end_ns: int | None = None
    schedule_error: float | None = None
    """Signed share of the order, negative behind; 0 between the targets that hold now."""


def progress_of(state: OmsState, wiring: OmsWiring, parent: ParentState, now_ns: int) -> Progress:
    """Return it as of `now_ns`; nothing is changed."""
    plan = parent.plan
    if plan is None:
        return Progress()
    bounds = None if parent.phase is Phase.DONE else _bounds(state, wiring, parent, now_ns)
    if bounds is None:
        return Progress(plan.start_ns, plan.end_ns)
    lots, cum = int(parent.order.order_qty // plan.qty_lot), int(parent.cum_qty // plan.qty_lot)
    return Progress(plan.start_ns, plan.end_ns, schedule_error(lots, cum, *bounds))


def _bounds(state: OmsState, wiring: OmsWiring, parent: ParentState, now_ns: int) -> tuple[int, int] | None:
    """Return between which targets it should be, in lots: those of its newest decision, or of the volume."""
    plan, clip = parent.plan, parent.clip
    assert plan is not None
    if plan.taus:
        known = clip is not None and clip.plan == parent.plans
        return (clip.before, clip.target) if known and clip is not None else (plan.base, plan.base)
    try:
        settings = settings_of(parent.order)
    except Refused:
        # Its algorithm is gone from the registry.
        return None
    if not isinstance(settings, Rated):
        return None
    # What its clips may still be at work on belongs to the volume of a clip's life.
    volume = volume_at(state.live, wiring, now_ns, parent, plan.qty_lot, settings.clip_life)
    lots = int(parent.order.order_qty // plan.qty_lot)
    before = by_rate(lots, settings.rate, max(volume.total - volume.window, 0))
    return before, by_rate(lots, settings.rate, volume.total)
