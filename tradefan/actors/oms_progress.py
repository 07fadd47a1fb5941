"""How far a parent has come: its window, and how far it is from its schedule at this instant."""

from __future__ import annotations

from msgspec import Struct

from tradefan.actors.oms_executor import recipe_of
from tradefan.actors.oms_policy import stands
from tradefan.actors.oms_state import OmsState, OmsWiring
from tradefan.actors.oms_tca_view import Look, error_now
from tradefan.core.apply_tca import USER
from tradefan.core.schedule import schedule_error
from tradefan.core.trading import ParentState
from tradefan.messages.orders import Phase
from tradefan.messages.plan import Plan


class Progress(Struct, frozen=True):
    """None is what there is not: no plan, no end (also while a clock stands), no schedule to be kept."""

    start_ns: int | None = None
    end_ns: int | None = None
    schedule_error: float | None = None
    """Signed share of the order, negative behind; 0 between the targets that hold now: what TCA averages."""


def progress_of(state: OmsState, wiring: OmsWiring, parent: ParentState, now_ns: int) -> Progress:
    """Return it as of `now_ns`; nothing is changed."""
    plan = parent.plan
    if plan is None:
        return Progress()
    start_ns, end_ns, error = _start_ns(state, parent, plan), _end_ns(parent, plan), None
    if parent.phase is not Phase.DONE:
        error = error_now(Look(state.trading, state.live, wiring), parent, now_ns)
    if error is None:
        return Progress(start_ns, end_ns)
    if not error.begun:
        # Nothing is due before the first decision.
        return Progress(start_ns, end_ns, 0.0)
    off = schedule_error(error.order_lots, error.cum, error.low, error.high)
    return Progress(start_ns, end_ns, off)


def _end_ns(parent: ParentState, plan: Plan) -> int | None:
    """Return when it ends; None while its clock stands, since its end moves until that is over."""
    if parent.phase is not Phase.PAUSED or plan.end_ns is None:
        return plan.end_ns
    recipe = recipe_of(parent.order) if parent.reason == "halt" else None
    stood = parent.reason == USER or (recipe is not None and stands(parent, recipe))
    return None if stood else plan.end_ns


def _start_ns(state: OmsState, parent: ParentState, plan: Plan) -> int:
    """Return when it began, or is to begin: the plan of a rest begins later."""
    track = state.trading.tracks.get(parent.order.parent_id)
    if track is None or track.first_ns is None:
        return plan.start_ns
    return track.first_ns
