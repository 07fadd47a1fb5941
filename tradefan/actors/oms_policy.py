"""When a parent may not act, and what becomes of its children meanwhile (docs/execution.md, "Events").

It follows from what is, not from what happened: it is asked before each question to an executor. What a
human, a defect or missing money has paused stays so until that is over; what the market or the connection
has paused goes on by itself. Orders that are not sliced end by themselves where they cannot act.
"""

from __future__ import annotations

from msgspec.structs import replace

from tradefan.actors.oms_executor import plan_of, recipe_of
from tradefan.actors.oms_gate import away, free_qty
from tradefan.actors.oms_parents import cancel_children, complete
from tradefan.actors.oms_state import Turn
from tradefan.core.apply_tca import USER
from tradefan.core.schedule import ceil_div
from tradefan.core.track import within
from tradefan.core.trading import ParentState
from tradefan.errors import Refused
from tradefan.execution import FUNDS_NS, Common, Recipe
from tradefan.messages.control import Timer
from tradefan.messages.market import Quality
from tradefan.messages.orders import OrderStatus, Phase
from tradefan.messages.plan import Plan
from tradefan.messages.records import (
    PhaseChange,
)
from tradefan.messages.work import (
    Alive,
    PlanChange,
)
from tradefan.units import MINUTE, MS, SECOND, InstrumentId, ParentId, exact

RESUMED_MAX_NS = MINUTE
"""A parent of a daemon that was away for longer waits for a human (`on_restart: auto`)."""
ALIVE_NS = 15 * SECOND
HALT_REST_NS = 5 * SECOND
"""So long behind the end of a halt nothing is placed."""
RECOVERY = "recovery"
"""It waits for its venue, behind a restart."""
RESTART = "restart"
"""It was found behind a restart, and waits for a human, whatever starts come after that."""
_RUNS_ON = ("data", "halt", "disconnected", "funds")
_OVER_BY_THEMSELVES = (*_RUNS_ON, RECOVERY)


def settle(turn: Turn, parent: ParentState) -> None:
    """Pause or resume a parent as the circumstances say."""
    if parent.phase not in (Phase.WORKING, Phase.PAUSED) or not _is_planned(turn, parent):
        return
    recipe = recipe_of(parent.order)
    if recipe is None:
        return
    held = _held(turn, parent) if recipe.slices else ""
    if parent.phase is Phase.PAUSED and parent.reason not in _OVER_BY_THEMSELVES:
        # Who has paused it lets it go on; what it has left resting is bound to the market all the same.
        _tend_children(turn, parent, recipe, held)
        _rest_in_time(turn, parent)
        _say_missed(turn, parent, recipe)
        return
    why = _why(turn, parent, recipe, held)
    if why != (parent.reason if parent.phase is Phase.PAUSED else ""):
        _enter(turn, parent, recipe, why)
    _tend_children(turn, parent, recipe, held)
    _say_missed(turn, parent, recipe)
    if parent.phase is Phase.PAUSED:
        _end_in_time(turn, parent, recipe)


def _why(turn: Turn, parent: ParentState, recipe: Recipe, held: str) -> str:
    """Return why a parent may not act now, or ""."""
    why = "" if _is_placed(parent, recipe) else _recovering(turn, parent, recipe.settings)
    if not why and parent.attempts >= recipe.settings.max_children:
        why = "children"
    if not why and held:
        # It has not gone on yet: what comes behind a restart is still to come.
        why = RECOVERY if parent.reason == RECOVERY else held
    return why


def _is_placed(parent: ParentState, recipe: Recipe) -> bool:
    """Say whether nothing of it is placed any more, and what rests goes on unless its owner says else."""
    clip, plan = parent.clip, parent.plan
    if recipe.settings.on_restart in ("pause", "cancel"):
        return False
    if not recipe.once or clip is None or plan is None or clip.plan != parent.plans:
        return False
    return parent.attempts - clip.attempts >= ceil_div(clip.lots, plan.max_clip or clip.lots or 1)


def _end_in_time(turn: Turn, parent: ParentState, recipe: Recipe) -> None:
    """End what is still paused behind its time: its clock ran on, and nobody says that it is to go on."""
    plan = parent.plan
    if plan is None or plan.end_ns is None or stands(parent, recipe) or parent.reason not in _RUNS_ON:
        return
    left_ns = plan.end_ns + recipe.settings.extra_ns - turn.now
    if left_ns > 0:
        ask_again(turn, parent, left_ns)
    else:
        complete(turn, parent, OrderStatus.EXPIRED, "end")


def _say_missed(turn: Turn, parent: ParentState, recipe: Recipe) -> None:
    """Alarm once when more than a fifth of an order's time was lost in pauses in which its clock ran."""
    name, plan, track = parent.order.parent_id, parent.plan, turn.trading.tracks.get(parent.order.parent_id)
    if plan is None or plan.end_ns is None or track is None or name in turn.live.tca.missed:
        return
    runs = parent.phase is Phase.PAUSED and parent.reason != USER and not stands(parent, recipe)
    missed_ns = track.missed_ns + (within(plan, parent.paused_ns, turn.now) if runs else 0)
    whole_ns = plan.end_ns - (plan.start_ns if track.first_ns is None else track.first_ns)
    if 5 * missed_ns > whole_ns:
        turn.live.tca.missed[name] = None
        lost = f"{missed_ns / SECOND:.0f} of {whole_ns / SECOND:.0f} s"
        turn.log("critical", "parent_missed", parent_id=name, missed=lost, reason=parent.reason)
    elif runs:
        ask_again(turn, parent, whole_ns // 5 - missed_ns + MS)


def _rest_in_time(turn: Turn, parent: ParentState) -> None:
    """Let nothing of what somebody has paused rest behind its end, unless its clock stands."""
    plan = parent.plan
    if plan is None or plan.end_ns is None or parent.reason == USER or not parent.live:
        return
    if plan.end_ns > turn.now:
        ask_again(turn, parent, plan.end_ns - turn.now)
    else:
        cancel_children(turn, parent, "end")


def _is_planned(turn: Turn, parent: ParentState) -> bool:
    """Say whether it can wait: without a plan, or a feed, it ends as soon as it wants to place more."""
    return parent.plan is not None and turn.instrument(parent.order.instrument) is not None


def pause(turn: Turn, parent: ParentState, reason: str) -> None:
    """Pause a parent; what rests stays, unless the caller has it cancelled."""
    if parent.phase is Phase.WORKING or (parent.phase is Phase.PAUSED and parent.reason != reason):
        turn.emit(PhaseChange(turn.now, parent.order.parent_id, Phase.PAUSED, parent.status, reason))
        turn.parents[parent.order.parent_id] = None
        level = "critical" if reason == "funds" else "warning"
        turn.log(level, "parent_paused", parent_id=parent.order.parent_id, reason=reason)
        if reason == "funds":
            # Whoever brings the money, a sale or a transfer, does not know who waits for it.
            ask_again(turn, parent, FUNDS_NS)


def _enter(turn: Turn, parent: ParentState, recipe: Recipe, why: str) -> None:
    if why:
        keep_time(turn, parent, recipe)
        pause(turn, parent, why)
        return
    plan = None
    stood = stands(parent, recipe)
    if stood or is_late(turn, parent, recipe):
        try:
            plan = moved(turn, parent) if stood else ended_now(turn, parent)
        except Refused:
            # Nobody sees the market: its end waits for that.
            ask_again(turn, parent, SECOND)
            return
    before = parent.reason
    go_on(turn, parent, plan)
    turn.log("info", "parent_resumed", parent_id=parent.order.parent_id, reason=before)


def go_on(turn: Turn, parent: ParentState, plan: Plan | None) -> None:
    """Let a paused parent work again, by its plan or by another one."""
    name = parent.order.parent_id
    turn.emit(PhaseChange(turn.now, name, Phase.WORKING, parent.status, ""))
    if plan is not None:
        turn.emit(PlanChange(turn.now, name, plan))
    turn.parents[name] = turn.woken[name] = None


def moved(turn: Turn, parent: ParentState) -> Plan | None:
    """Return a plan whose end is as far away as when its clock was stopped; None where that is the old one.

    Raises:
        Refused: NO_REFERENCE.
    """
    plan = parent.plan
    if plan is None or plan.end_ns is None or turn.now < plan.start_ns:
        return None
    return plan_of(turn, parent.order, parent, replace(plan, end_ns=plan.end_ns + _stood_ns(turn, parent)))


def _stood_ns(turn: Turn, parent: ParentState) -> int:
    """Return for how long a clock has stood: not before its plan began, or was made anew meanwhile."""
    begun_ns = 0 if parent.plan is None else parent.plan.start_ns
    return max(turn.now - max(parent.paused_ns, begun_ns), 0)


def stands(parent: ParentState, recipe: Recipe) -> bool:
    """Say whether a halt has stopped the clock of a parent."""
    halted = parent.phase is Phase.PAUSED and parent.reason == "halt"
    return halted and recipe.settings.halt == "extend"


def keep_time(turn: Turn, parent: ParentState, recipe: Recipe) -> None:
    """Let a plan begin and end later by what its clock stood in a halt, before something else holds it."""
    plan, stood_ns = parent.plan, _stood_ns(turn, parent)
    if plan is None or plan.end_ns is None or not stands(parent, recipe) or not stood_ns:
        return
    later = replace(plan, start_ns=plan.start_ns + stood_ns, end_ns=plan.end_ns + stood_ns)
    turn.emit(PlanChange(turn.now, parent.order.parent_id, later))
    turn.parents[parent.order.parent_id] = None


def is_late(turn: Turn, parent: ParentState, recipe: Recipe) -> bool:
    """Say whether even the time that its end policy had is over."""
    plan, extra_ns = parent.plan, recipe.settings.extra_ns
    return plan is not None and plan.end_ns is not None and 0 < extra_ns <= turn.now - plan.end_ns


def ended_now(turn: Turn, parent: ParentState) -> Plan | None:
    """Return a plan whose end is this instant, so that its end policy has its time.

    Raises:
        Refused: NO_REFERENCE.
    """
    assert parent.plan is not None
    return plan_of(turn, parent.order, parent, replace(parent.plan, end_ns=turn.now))


# --- after a restart ------------------------------------------------------------------------------------


def _recovering(turn: Turn, parent: ParentState, settings: Common) -> str:
    """Say whether a parent of an earlier start still waits: for its venue first, then perhaps for a human."""
    if parent.epoch == turn.trading.epoch:
        return ""
    if away(turn, parent.order.account) is not None:
        return RECOVERY
    plan, what = parent.plan, settings.on_restart
    assert plan is not None
    passed = plan.end_ns is not None and plan.end_ns <= turn.now
    if what == "cancel":
        turn.ending[parent.order.parent_id] = "restart"
        return RECOVERY
    if what == "resume" or (what == "auto" and turn.live.down_ns < RESUMED_MAX_NS and not passed):
        return ""
    return RESTART


# --- market, connection, money ------------------------------------------------------------------------------


def _held(turn: Turn, parent: ParentState) -> str:
    """Return why a sliced parent may not act now, the strongest first."""
    order = parent.order
    if away(turn, order.account) is not None:
        return "disconnected"
    found = turn.instrument(order.instrument)
    if found is None:
        return ""
    if found.status != "TRADING":
        return "halt"
    quality = turn.live.qualities.get(order.instrument)
    if quality is None or quality.quality in (Quality.STALE, Quality.BLIND):
        return "data"
    if _rests_behind_halt(turn, parent):
        return "halt"
    if parent.phase is Phase.PAUSED and parent.reason == "funds":
        # The venue may count otherwise than we do: it is not asked again at once.
        return "" if turn.now >= parent.paused_ns + FUNDS_NS and _has_funds(turn, parent) else "funds"
    return ""


def _rests_behind_halt(turn: Turn, parent: ParentState) -> bool:
    """Say whether its instrument trades again, but not for long enough."""
    name = parent.order.instrument
    since_ns = turn.live.halted.get(name)
    if since_ns is None:
        return False
    left_ns = since_ns + HALT_REST_NS - turn.now
    if left_ns <= 0:
        del turn.live.halted[name]
        return False
    ask_again(turn, parent, left_ns)
    return True


def _has_funds(turn: Turn, parent: ParentState) -> bool:
    """Say whether the smallest clip could be paid for."""
    order, plan, found = parent.order, parent.plan, turn.instrument(parent.order.instrument)
    quote = turn.live.quotes.get(order.instrument)
    if plan is None or found is None or quote is None:
        return False
    return free_qty(turn, order, found, exact(quote.ask)) >= plan.min_clip * plan.qty_lot


# --- children of a paused parent ------------------------------------------------------------------------


def _tend_children(turn: Turn, parent: ParentState, recipe: Recipe, why: str) -> None:
    """Cancel what may not rest: at once in a halt, a while after the market was last seen."""
    if why == "halt":
        cancel_children(turn, parent, why)
    elif why == "funds":
        ask_again(turn, parent, FUNDS_NS)
    elif why == "data" and recipe.follows:
        # What rests at its owner's price is the owner's word; what follows the market has lost it.
        quality = turn.live.qualities.get(parent.order.instrument)
        since_ns = turn.trading.epoch_ns if quality is None else quality.since_ns
        left_ns = since_ns + recipe.settings.stale_cancel_after - turn.now
        if left_ns <= 0:
            cancel_children(turn, parent, why)
        else:
            ask_again(turn, parent, left_ns)


def on_alive_timer(turn: Turn, timer: Timer) -> None:
    """Journal that somebody is here, for as long as a parent is at work that a restart would judge by it."""
    turn.live.alive = False
    if any(turn.trading.parents[name].plan is not None for name in turn.trading.parents_open):
        if turn.now - turn.trading.updated_ns >= ALIVE_NS:
            turn.emit(Alive(turn.now))
        stay_alive(turn)


def stay_alive(turn: Turn) -> None:
    """Arm the timer of `Alive`, once."""
    if not turn.live.alive:
        turn.live.alive = True
        turn.ctx.after(ALIVE_NS, Timer("alive"))


def ask_again(turn: Turn, parent: ParentState, delay_ns: int) -> None:
    """Have a parent judged again after a delay; one timer waits for each at most, the soonest."""
    name, due_ns = parent.order.parent_id, turn.now + delay_ns
    if turn.now < turn.live.policies.get(name, 0) <= due_ns:
        return
    turn.live.policies[name] = due_ns
    turn.ctx.after(delay_ns, Timer("policy", name, due_ns))


def on_policy_timer(turn: Turn, timer: Timer) -> None:
    """Ask again whether a parent may act."""
    name = ParentId(timer.subject)
    if turn.live.policies.get(name) == timer.number:
        del turn.live.policies[name]
        turn.woken[name] = None


def wake_parents(turn: Turn, instrument: InstrumentId | None = None, account: str | None = None) -> None:
    """Have the parents of an instrument or an account judged anew."""
    for name in turn.trading.parents_open:
        order = turn.trading.parents[name].order
        if order.instrument == instrument or order.account == account:
            turn.woken[name] = None
    for name, group in turn.trading.groups.items():
        # All of it has ended, and what flattens it has not begun.
        if group.ending == "flatten" and group.flat is None:
            turn.woken[name] = None


def recover(turn: Turn, parent: ParentState) -> None:
    """Let an open parent of an earlier start wait until its venue has been asked."""
    recipe = recipe_of(parent.order) if _is_planned(turn, parent) else None
    if recipe is None or _is_placed(parent, recipe):
        # What rests goes on, and nothing more is placed.
        return
    if parent.phase is Phase.WORKING or parent.reason in ("data", "halt", "disconnected"):
        keep_time(turn, parent, recipe)
        pause(turn, parent, RECOVERY)
