"""The one engine: which layer of a recipe acts next, as a pure function of the view.

Each answer is one step; whoever performs it asks again, until a step only waits. So a decision is journaled
before its tactic sees it, and a restart goes on from what the journal says.
"""

from __future__ import annotations

from itertools import takewhile

from msgspec.structs import replace

from tradefan.core.schedule import without_dust
from tradefan.execution import (
    AT_END,
    EXTEND,
    FUNDS_NS,
    I_WOULD,
    LIMIT,
    Child,
    Command,
    Common,
    Decide,
    Delay,
    End,
    Hold,
    Recipe,
    Shrink,
    Spent,
    View,
    Wake,
    backoff_ns,
    retry_ns,
)
from tradefan.executors.tactics import (
    Take,
    at_next_quote,
    cancels,
    opposite,
    own_best,
    when_opposite_at,
    when_own_at,
)
from tradefan.executors.trajectories import Whole
from tradefan.messages.orders import OrderStatus
from tradefan.messages.plan import Clip

FATAL = ("AUTH", "UNSUPPORTED", "DEFECT", "RESTRICTED")
"""Classes of rejections that no other child of the parent would escape."""
BUSY = ("RATE_LIMIT",)
"""Classes of rejections that pass by themselves."""
POST_ONLY = "POST_ONLY"


def step(recipe: Recipe, view: View) -> tuple[Command, ...]:
    """Return what a parent does next; a `Wake` stands in it exactly where it waits."""
    plan, now = view.plan, view.now_ns
    if not view.live and view.order_lots - view.cum < max(plan.min_clip, 1):
        # Less than a clip is missing, and nothing is under way that could bring it back.
        return (End(OrderStatus.EXPIRED, "dust"),)
    if now < plan.start_ns and (recipe.slices or view.clip is None):
        # Also where the clock was set back behind a restart: no clip is placed outside of its window.
        return (*cancels(view, "start"), Wake(plan.start_ns))
    if plan.end_ns is not None and now >= plan.end_ns:
        return _behind_end(recipe, view, plan.end_ns)
    if recipe.follows and view.touch is None:
        # Nobody sees the market: a clip that was cut now would be cut blindly.
        return (at_next_quote(plan.end_ns),)
    limited = _out_of_limit(recipe, view)
    if limited is not None:
        return limited
    at_once = _would(recipe.settings, view)
    if isinstance(at_once, Decide):
        return _begin(recipe, view, at_once)
    paced = recipe.pacing.decide(_behind_would(view), recipe.trajectory) if view.rest else Wake()
    if isinstance(paced, Decide):
        return _begin(recipe, view, paced)
    later = _later(recipe, view)
    if isinstance(later, Decide):
        return _begin(recipe, view, later)
    waits = [one for one in (paced, at_once, later, _when_out_of_limit(recipe, view)) if one is not None]
    return _settled(view, _worked(recipe, view), soonest(waits))


def _worked(recipe: Recipe, view: View) -> tuple[Command, ...]:
    """Return what the tactic wants for the clip, or the end of what has outlived it."""
    clip = view.clip
    if clip is None or not clip.lots or clip.plan != view.plans:
        return cancels(view, "plan")
    if clip.deadline_ns is not None and view.now_ns >= clip.deadline_ns:
        return cancels(view, "deadline")
    tactic = recipe.tactic if clip.price is None and clip.reason != AT_END else Take(recipe.settings)
    acted = (_fruitless(recipe, view) if recipe.slices else ()) or tactic.act(view)
    if not recipe.slices and _later(recipe, view) is None and clip.reason != AT_END:
        # No clip follows by itself: what a tactic gives up ends the parent.
        acted = tuple(End(one.status, one.reason) if isinstance(one, Spent) else one for one in acted)
    wakes = () if clip.deadline_ns is None else (Wake(clip.deadline_ns),)
    return (*(one for one in acted if not isinstance(one, Spent)), *wakes)


def _later(recipe: Recipe, view: View) -> Decide | Wake | None:
    """Place what is to rest once more where its venue was only busy: by another clip, a little later."""
    last, clip = (view.of_clip[-1] if view.of_clip else None), view.clip
    if recipe.slices or last is None or clip is None or view.live or not view.rest:
        return None
    if not _was_busy(last) or clip.plan != view.plans:
        return None
    in_row = sum(1 for _ in takewhile(_was_busy, reversed(view.children)))
    again_ns = (view.last_end_ns or 0) + backoff_ns(in_row)
    if view.now_ns < again_ns:
        return Wake(again_ns)
    return Decide(clip.k, clip.target, view.rest, view.rest, clip.deadline_ns, "", clip.before)


def _was_busy(child: Child) -> bool:
    busy = child.status is OrderStatus.REJECTED and child.reason.partition(":")[0] in BUSY
    return busy and child.time_in_force == "GTC"


def _fruitless(recipe: Recipe, view: View) -> tuple[Command, ...]:
    """Return what follows when the venue has ended the newest child before it traded; () where nothing does.

    It is tried again a little later. By the class of a rejection: one that follows the market is priced anew,
    a post-only one at a fixed price ends its parent; missing money, and what no other child of this parent
    would escape, are no reason to try again.
    """
    last = view.of_clip[-1] if view.of_clip else None
    if last is None or not last.fruitless:
        return ()
    kind = last.reason.partition(":")[0] if last.status is OrderStatus.REJECTED else ""
    if kind == "FUNDS" and view.now_ns < (view.last_end_ns or 0) + FUNDS_NS:
        return (Hold("funds"),)
    if kind in FATAL or (kind == POST_ONLY and not recipe.follows):
        return (End(OrderStatus.EXPIRED if view.cum else OrderStatus.REJECTED, last.reason),)
    if kind == "FILTER":
        # Too small, or off a grid that has just changed: the rules are read again, the next clip has it.
        return (Spent(last.status, last.reason),)
    again_ns = (view.last_end_ns or 0) + backoff_ns(view.fruitless)
    return (Wake(again_ns),) if view.now_ns < again_ns else ()


def _settled(view: View, acted: tuple[Command, ...], paced: Wake) -> tuple[Command, ...]:
    """Return what was wanted, and one wake for all that is waited for."""
    wakes = [paced, *(one for one in acted if isinstance(one, Wake))]
    if view.plan.end_ns is not None:
        wakes.append(Wake(view.plan.end_ns))
    return (*(one for one in acted if not isinstance(one, Wake)), soonest(wakes))


def soonest(wakes: list[Wake]) -> Wake:
    """Return the wake that fires as soon as any of these would."""
    found = wakes[0] if wakes else Wake()
    for one in wakes[1:]:
        found = Wake(
            _least(found.at_ns, one.at_ns),
            _most(found.bid_below, one.bid_below),
            _least(found.bid_above, one.bid_above),
            _most(found.ask_below, one.ask_below),
            _least(found.ask_above, one.ask_above),
            _least(found.volume_at, one.volume_at),
        )
    return found


def _least(one: int | None, other: int | None) -> int | None:
    return one if other is None or (one is not None and one < other) else other


def _most(one: int | None, other: int | None) -> int | None:
    return one if other is None or (one is not None and one > other) else other


# --- a decision -------------------------------------------------------------------------------------


def _begin(recipe: Recipe, view: View, wanted: Decide) -> tuple[Command, ...]:
    """Begin a clip when what the last one left resting has ended; what is in doubt does not hinder it."""
    if any(child.rests for child in view.live):
        # Where their end was asked for already, the evidence asks again.
        return (*cancels(view, "decision"), Wake(view.plan.end_ns))
    return (_bounded(recipe, view, wanted),)


def _bounded(recipe: Recipe, view: View, wanted: Decide) -> Decide:
    """Return a decision whose clip guards and the dust rule let through; zero lots wait for the next."""
    lots, reason, plan = min(wanted.lots, view.rest), wanted.reason, view.plan
    # One that is not sliced by nature is one clip: its children are split instead.
    bounds = (view.child_most if recipe.slices else None, wanted.most)
    most = min((bound for bound in bounds if bound is not None), default=None)
    lots = lots if most is None else min(lots, most)
    if wanted.price is None and reason != AT_END:
        for guard in recipe.guards:
            verdict = guard.check(view, lots)
            if isinstance(verdict, Delay):
                return replace(wanted, lots=0, reason=verdict.reason)
            if isinstance(verdict, Shrink):
                lots = min(lots, max(verdict.lots, 0))
                most, reason = lots, verdict.reason
    if recipe.settings.residual == "merge_last":
        lots = without_dust(view.rest, lots, plan.min_clip, most)
    if lots < plan.min_clip and lots < view.rest:
        return replace(wanted, lots=0, reason=reason or ("small" if lots else "ahead"))
    return replace(wanted, lots=lots, reason=reason)


# --- what comes before the schedule --------------------------------------------------------------------


def _would(settings: Common, view: View) -> Decide | Wake | None:
    """Return a clip at once for a price at which its owner would trade whatever the schedule says.

    Else when to look again: what was taken may still be shown for a while.
    """
    touch, price, clip = opposite(view), view.plan.i_would, view.clip
    if price is None or touch is None or view.touch is None:
        return None
    if view.beyond(touch, price):
        return when_opposite_at(view, price)
    mine = clip is not None and clip.reason == I_WOULD and clip.plan == view.plans
    again_ns = (view.last_end_ns or 0) + retry_ns(settings)
    if mine and (view.clip_rest or view.now_ns < again_ns):
        return Wake(again_ns) if view.now_ns < again_ns else None
    shown = view.touch.ask_lots if view.side == "buy" else view.touch.bid_lots
    lots = min(view.rest, shown)
    if lots < max(view.plan.min_clip, 1):
        return at_next_quote()
    deadline_ns: int | None = view.now_ns + settings.participation_window
    # Before the first clip of a plan what was done when it was made is the target.
    k, target, before, share, factor, unseen = -1, view.plan.base, view.plan.base, 0, 1.0, 0.0
    if clip is not None and clip.plan == view.plans:
        k, target, before, share, factor = clip.k, clip.target, clip.before, clip.share, clip.factor
        unseen = clip.unseen
        deadline_ns = clip.deadline_ns if _lives(view, clip) else deadline_ns
    return Decide(k, target, lots, lots, deadline_ns, I_WOULD, before, share, factor, price, unseen=unseen)


def _behind_would(view: View) -> View:
    """Let an interval be decided on again behind what was taken in it ahead of the schedule."""
    touch, price, clip = opposite(view), view.plan.i_would, view.clip
    if clip is None or clip.reason != I_WOULD or clip.plan != view.plans or not view.plan.taus:
        return view
    shown = touch is not None and price is not None and not view.beyond(touch, price)
    if shown or clip.k < 0 or any(child.rests for child in view.live):
        return view
    return replace(view, clip=replace(clip, k=clip.k - 1))


def _out_of_limit(recipe: Recipe, view: View) -> tuple[Command, ...] | None:
    """Return what follows while even our own side's best is beyond the limit; None inside it."""
    best, limit = own_best(view), view.limit
    if not recipe.follows or best is None or limit is None or not view.beyond(best, limit):
        return None
    back = Wake(bid_below=limit) if view.side == "buy" else Wake(ask_above=limit)
    what = recipe.settings.on_limit
    if what == "cancel" or (what == "finish" and not any(child.rests for child in view.live)):
        return (End(OrderStatus.EXPIRED, LIMIT),)
    paced = recipe.pacing.decide(view, recipe.trajectory) if view.rest else Wake()
    if isinstance(paced, Decide) and view.plan.taus and not any(child.rests for child in view.live):
        # Only a schedule has an instant that passes.
        return (replace(paced, lots=0, reason=LIMIT),)
    waits = [back] if isinstance(paced, Decide) else [back, paced]
    return (*cancels(view, LIMIT), soonest([*waits, Wake(view.plan.end_ns)]))


def _when_out_of_limit(recipe: Recipe, view: View) -> Wake | None:
    if view.limit is None or not recipe.follows:
        return None
    return when_own_at(view, view.toward(view.limit, 1))


# --- the end --------------------------------------------------------------------------------------------


def _behind_end(recipe: Recipe, view: View, end_ns: int) -> tuple[Command, ...]:
    """Work what is left for as long as `at_end` gives; then the parent ends."""
    settings, clip = recipe.settings, view.clip
    until_ns = end_ns + settings.extra_ns
    if not settings.extra_ns or settings.post_only or view.now_ns >= until_ns:
        return (End(OrderStatus.EXPIRED, "end"),)
    if settings.at_end.startswith(EXTEND) and recipe.goes_on:
        return _gone_on(recipe, view, until_ns)
    if clip is not None and clip.plan == view.plans and end_ns <= clip.begun_ns and _lives(view, clip):
        worked = _worked(recipe, view)
        wakes = [Wake(clip.deadline_ns), *(one for one in worked if isinstance(one, Wake))]
        return (*(one for one in worked if not isinstance(one, Wake)), soonest(wakes))
    if any(child.rests for child in view.live):
        return (*cancels(view, "end"), Wake(until_ns))
    left = view.rest if settings.catch_up != "none" else view.clip_rest
    if left < max(view.plan.min_clip, 1):
        return (Wake(until_ns),) if view.doubt else (End(OrderStatus.EXPIRED, "end"),)
    k = 0 if clip is None else clip.k + 1
    if not settings.at_end.startswith(EXTEND):
        return (Decide(k, view.order_lots, left, left, until_ns, AT_END),)
    # The pacing goes on, all of the rest is due.
    deadline_ns = min(view.now_ns + view.plan.life_ns, until_ns) if view.plan.taus else until_ns
    return (_bounded(recipe, view, Decide(k, view.order_lots, left, left, deadline_ns, EXTEND)),)


def _gone_on(recipe: Recipe, view: View, until_ns: int) -> tuple[Command, ...]:
    """Return what the pacing wants of all that is left, within what it keeps to by itself."""
    if not view.live and view.rest < max(view.plan.min_clip, 1):
        return (End(OrderStatus.EXPIRED, "end"),)
    paced = recipe.pacing.decide(view, Whole()) if view.rest else Wake()
    if isinstance(paced, Decide):
        later_ns = paced.deadline_ns or until_ns
        deadline_ns = min(later_ns, until_ns) if later_ns > view.now_ns else until_ns
        if any(child.rests for child in view.live):
            return (*cancels(view, "decision"), Wake(until_ns))
        return (_bounded(recipe, view, replace(paced, deadline_ns=deadline_ns, reason=EXTEND)),)
    worked = _worked(recipe, view)
    wakes = [paced, Wake(until_ns), *(one for one in worked if isinstance(one, Wake))]
    return (*(one for one in worked if not isinstance(one, Wake)), soonest(wakes))


def _lives(view: View, clip: Clip) -> bool:
    return clip.deadline_ns is None or view.now_ns < clip.deadline_ns
