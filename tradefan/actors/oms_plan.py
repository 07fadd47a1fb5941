"""`--dry-run`: how a wish would be worked now, by the code that would work it; nothing is created."""

from __future__ import annotations

from msgspec.structs import replace

from tradefan.actors.oms_contingent import checked_trigger
from tradefan.actors.oms_entry import No, checked
from tradefan.actors.oms_executor import entry_of, plan_of, settings_of
from tradefan.actors.oms_group_entry import checked_group
from tradefan.actors.oms_state import Turn
from tradefan.actors.oms_submit import parent_of, refusal_of, require_numbers
from tradefan.actors.oms_tca_market import market_now
from tradefan.actors.oms_tca_view import NO_K
from tradefan.contracts import RiskRefused
from tradefan.core.contingent import TRIGGERS
from tradefan.core.costs import BPS
from tradefan.core.group import GROUPS
from tradefan.core.tca import calibrated, estimate_bps
from tradefan.core.volatility import sigma_bps
from tradefan.errors import Refused
from tradefan.execution import Common
from tradefan.executors.entry import curve_of, expected_volume
from tradefan.executors.preview import participation, slices_of
from tradefan.executors.trajectories import Curved
from tradefan.messages.orders import AskPlan, ParentOrder, PlanAnswer, PlannedSlice
from tradefan.messages.plan import Plan


def on_ask_plan(turn: Turn, ask: AskPlan) -> None:
    """Answer with the plan, or with the refusal that the wish would get; no owner hears of either."""
    try:
        require_numbers(ask.wish)
        order = parent_of(turn, ask.wish)
        if order.algo in GROUPS:
            leg, order, plan = _first(turn, ask, order)
            answer = _answer(turn, ask.req or 0, order, plan)
            answer = replace(answer, flags=(*answer.flags, f"leg:{leg}"))
        else:
            answer = _answer(turn, ask.req or 0, order, _plan(turn, order))
    except Refused as no:
        _refuse(turn, ask, RiskRefused(no.code, no.text, would_pass=no.would_pass))
    except No as no:
        _refuse(turn, ask, no.refused)
    else:
        turn.send(turn.wiring.api, answer)


def _first(turn: Turn, ask: AskPlan, order: ParentOrder) -> tuple[str, ParentOrder, Plan | None]:
    """Return the leg of a group that works first, where there is one, behind the checks of all of them."""
    legs = checked_group(turn, ask.wish, order)
    found = next((one for one in legs if isinstance(one.begin, Plan)), legs[0])
    plan = found.begin if isinstance(found.begin, Plan) else plan_of(turn, found.order)
    return found.leg.name, found.order, plan


def _plan(turn: Turn, order: ParentOrder) -> Plan | None:
    """Return the plan of an order; of a contingent one that which it would get if it fired now."""
    if order.algo in TRIGGERS:
        checked_trigger(turn, order)
        return plan_of(turn, order)
    return checked(turn, order, at_stop=False)


def _refuse(turn: Turn, ask: AskPlan, no: RiskRefused) -> None:
    turn.send(turn.wiring.api, refusal_of(turn, ask, no))


def _answer(turn: Turn, req: int, order: ParentOrder, plan: Plan | None) -> PlanAnswer:
    settings = settings_of(order)
    if plan is None or not isinstance(settings, Common):
        # An executor of the user's that plans nothing: it is one decision, taken when it is asked.
        whole = (PlannedSlice(turn.now, order.order_qty, order.order_qty),)
        return PlanAnswer(req, 1, whole, turn.now, None, None, None, "", None, ())
    slices = slices_of(order, settings, plan)
    share, curved = None, settings if isinstance(settings, Curved) else Curved()
    if plan.end_ns is not None and plan.taus:
        share = participation(
            order, plan, expected_volume(curve_of(entry_of(turn, order), plan, curved), plan)
        )
    flags = list(plan.flags)
    cost = None if share is None else _estimate(turn, order, plan, share, flags)
    return PlanAnswer(
        req,
        None if slices is None else len(slices),
        slices or (),
        plan.start_ns,
        plan.end_ns,
        share,
        cost,
        plan.source,
        plan.coverage,
        tuple(flags),
    )


def _estimate(turn: Turn, order: ParentOrder, plan: Plan, share: float, flags: list[str]) -> float | None:
    """Return half the spread + k sigma sqrt(X / V) in bps (EXECUTION.md part 9); why not is a flag."""
    mid, spread = market_now(turn, order.instrument)
    moves = turn.live.tca.moves.get(order.instrument)
    assert plan.end_ns is not None, "a share of volume is one of a window"
    sigma = None if moves is None else sigma_bps(moves, plan.end_ns - plan.start_ns)
    if mid is None or spread is None:
        flags.append("no_mid")
        return None
    if sigma is None:
        flags.append("volatility_unknown")
        return None
    k = calibrated(turn.trading.samples.get(order.instrument, ()))
    if k is None:
        flags.append("uncalibrated")
    return estimate_bps(float(spread / mid) * BPS / 2, sigma, share, NO_K if k is None else k)
