"""How one clip is placed: `take rest peg passive passive_then_cross` (docs/execution.md).

Each follows from what is. A tactic holds at most one live child; one whose end was asked for, or that is in
doubt, is waited for: what it leaves is known then.
"""

from __future__ import annotations

from typing import ClassVar

from tradefan.contracts import register
from tradefan.core.schedule import ceil_div, without_dust
from tradefan.execution import (
    AT_END,
    Cancel,
    Child,
    Command,
    Common,
    Move,
    Place,
    Query,
    Spent,
    View,
    Wake,
    retry_ns,
)
from tradefan.messages.orders import OrderStatus, TimeInForce
from tradefan.units import SECOND

REPRICE_MAX_NS = 5 * SECOND
CHASE_MAX_NS = 10 * SECOND
THROUGH_NS = 10 * SECOND
"""The other side is through the price of a resting child, and nothing was told of it for so long."""
PASSIVE_ONLY = (
    "passive_share",
    "passive_offset_ticks",
    "reprice_after",
    "reprice_ticks",
    "chase",
    "discretion",
)
"""Settings that only a tactic reads that rests near the market, and perhaps crosses then."""
TAKING = ("retry_after", "collar_bps")
"""Settings of what takes: also a tactic that never does reads them where another setting makes it."""


# --- prices -------------------------------------------------------------------------------------------


def opposite(view: View) -> int | None:
    """Return the touch on the other side, None without one that is trusted enough to cross."""
    if view.touch is None or not view.touch.live:
        return None
    return view.touch.ask if view.side == "buy" else view.touch.bid


def own_best(view: View) -> int | None:
    """Return the touch on our side."""
    if view.touch is None:
        return None
    return view.touch.bid if view.side == "buy" else view.touch.ask


def crossing_price(view: View, *, wide: bool) -> int | None:
    """Return the worst price of a crossing child: limit, collar and the clip's own, the strictest."""
    collar = view.wide_collar if wide else view.collar
    if collar is None:
        return None
    own = None if view.clip is None else view.clip.price
    return view.within(view.within(collar, view.limit), own)


def when_opposite_at(view: View, bound: int) -> Wake:
    """Ask again when the other side comes to a bound."""
    return Wake(ask_below=bound) if view.side == "buy" else Wake(bid_above=bound)


def at_next_quote(at_ns: int | None = None) -> Wake:
    """Ask again as soon as anything is quoted, or at an instant: no price is below one tick."""
    return Wake(at_ns, bid_above=1)


def resting_price(view: View, price: int) -> int:
    """Return a price for a passive child: a tick short of the other side, not through limit or collar."""
    assert view.touch is not None
    edge = view.touch.ask - 1 if view.side == "buy" else view.touch.bid + 1
    return max(view.within(view.within(view.within(price, edge), view.limit), view.collar), 1)


# --- take -----------------------------------------------------------------------------------------------


@register("tactic", "take", settings=Common)
class Take:
    """Immediate-or-cancel at the collar; a rest goes again after `retry_after`, `tries` in all."""

    unread: ClassVar[tuple[str, ...]] = PASSIVE_ONLY

    def __init__(self, settings: Common) -> None:
        """Keep the settings."""
        self.settings = settings

    def act(self, view: View) -> tuple[Command, ...]:
        clip, settings = view.clip, self.settings
        assert clip is not None
        if clip.reason == AT_END or clip.price is not None:
            # At the end, and for a price at which its owner would trade, it tries while there is time.
            return take(view, settings, None, wide=clip.reason == AT_END and settings.at_end == "market")
        most = view.child_most
        parts = 1 if most is None else ceil_div(clip.lots, most)
        return take(view, settings, settings.tries * parts)


def take(view: View, settings: Common, tries: int | None, *, wide: bool = False) -> tuple[Command, ...]:
    """Cross for the rest of the clip; what is in doubt does not hinder it, and is not in the rest."""
    clip, lots = view.clip, view.clip_rest
    assert clip is not None
    if any(child.rests for child in view.live) or not lots:
        return ()
    if view.plan.display is not None and view.doubt:
        # It may be in the book: beside it too much would show.
        return ()
    if lots < view.plan.min_clip:
        # Dust is never sent: the next clip has it, or it is reported as what is left.
        return (Spent(OrderStatus.EXPIRED, "dust"),)
    tried = sum(child.time_in_force == "IOC" for child in view.of_clip)
    if tries is not None and max(tried, view.attempts - clip.attempts if tries > 1 else 0) >= tries:
        return (Spent(OrderStatus.EXPIRED, "tries"),)
    due_ns = (view.last_end_ns or 0) + retry_ns(settings)
    if tried and view.now_ns < due_ns:
        return (Wake(due_ns),)
    bound, touch = crossing_price(view, wide=wide), opposite(view)
    if bound is None or touch is None:
        return (Spent(OrderStatus.EXPIRED, "no_reference"), at_next_quote())
    if view.beyond(touch, bound):
        return (Spent(OrderStatus.EXPIRED, "collar"), when_opposite_at(view, bound))
    most = view.child_most or lots
    lots = without_dust(lots, min(lots, most), view.plan.min_clip, most)
    return (Place(lots, bound, "IOC", bound="wide" if wide else "collar"),)


# --- rest -----------------------------------------------------------------------------------------------


@register("tactic", "rest", settings=Common)
class Rest:
    """At the limit price until it is filled; in parts where `max_clip` splits it. Never placed twice."""

    unread: ClassVar[tuple[str, ...]] = (*PASSIVE_ONLY, "tries", *TAKING)

    def __init__(self, settings: Common, time_in_force: TimeInForce = "GTC") -> None:
        """Keep the settings."""
        self.settings = settings
        self._tif: TimeInForce = time_in_force

    def act(self, view: View) -> tuple[Command, ...]:
        clip, limit = view.clip, view.limit
        assert clip is not None
        assert limit is not None, "the entry check lets nothing rest without a limit price"
        most = view.plan.max_clip or clip.lots
        # Behind a plan made anew an older child may be in doubt, and in the book; or rest there, found again.
        older = any(child.clip != clip.number for child in view.live)
        hidden = view.plan.display is not None and (view.doubt or older)
        if not hidden and view.attempts - clip.attempts < ceil_div(clip.lots, most):
            lots = without_dust(view.clip_rest, min(view.clip_rest, most), view.plan.min_clip, most)
            if 0 < lots < view.plan.min_clip:
                return (Spent(OrderStatus.EXPIRED, "dust"),)
            return (Place(lots, limit, self._tif, self.settings.post_only),) if lots else ()
        if view.live:
            return _look_through(view, view.live)
        # Of its parts the newest that was not filled says why the order is not.
        ended = [child for child in view.of_clip if child.status is not OrderStatus.FILLED]
        if not ended:
            return (Spent(OrderStatus.EXPIRED, ""),)
        return (Spent(ended[-1].status, ended[-1].reason),)


def _look_through(view: View, children: tuple[Child, ...]) -> tuple[Command, ...]:
    """Ask for a child that should have traded long ago; a blind cancel would only hide it."""
    touch = opposite(view)
    if touch is None:
        return ()
    for child in children:
        quiet_ns = max(child.created_ns, child.filled_ns) + THROUGH_NS
        if child.rests and not view.beyond(touch, child.price):
            late = view.now_ns >= quiet_ns
            return (
                (Query(child.client_order_id), Wake(view.now_ns + THROUGH_NS)) if late else (Wake(quiet_ns),)
            )
    # Where the other side stands now it is none; it may come.
    return tuple(when_opposite_at(view, child.price) for child in children if child.rests)[:1]


# --- peg and its kin --------------------------------------------------------------------------------------


def life_ns(view: View) -> int | None:
    """Return L, how long the clip lives; None where nothing ends it."""
    clip = view.clip
    if clip is None or clip.deadline_ns is None:
        return None
    return max(clip.deadline_ns - clip.begun_ns, 1)


def reprice_after_ns(view: View, settings: Common) -> int:
    """Return how old a child is at least when it follows the touch: min(5 s, L / 4)."""
    if settings.reprice_after is not None:
        return settings.reprice_after
    life = life_ns(view)
    return REPRICE_MAX_NS if life is None else min(REPRICE_MAX_NS, life // 4)


def passive_ns(view: View, settings: Common) -> int | None:
    """Return how long a clip is passive before it may cross; None where nothing ends it."""
    life = life_ns(view)
    if life is None:
        return None
    num, den = settings.passive_share.as_integer_ratio()
    return life * num // den


def chase_age_ns(view: View, settings: Common) -> int:
    """Return how old an unfilled child is before a step: min(10 s, passive_share L / (max_steps + 1))."""
    if settings.chase.max_age is not None:
        return settings.chase.max_age
    passive = passive_ns(view, settings)
    return (
        CHASE_MAX_NS
        if passive is None
        else max(1, min(CHASE_MAX_NS, passive // (settings.chase.max_steps + 1)))
    )


def tend(view: View, settings: Common, *, chase: bool, keep_back: int = 0) -> tuple[Command, ...]:
    """Keep one passive child where it belongs; `keep_back` lots of the clip are left for crossing."""
    live = view.live
    if view.touch is None:
        return (at_next_quote(),)
    if any(not child.rests or child.ending for child in live) or len(live) > 1:
        return ()
    if live:
        return _follow(view, settings, live[0], chase=chase)
    lots = view.clip_rest - keep_back
    most = view.child_most or lots
    lots = without_dust(lots, min(lots, most), view.plan.min_clip, most)
    if lots < max(view.plan.min_clip, 1):
        return ()
    best, step = own_best(view), _step(view, settings) if chase else 0
    assert best is not None
    price = view.toward(best, settings.passive_offset_ticks + step * settings.chase.step_ticks)
    return (Place(lots, resting_price(view, price), "GTC", post_only=True, step=step),)


def _step(view: View, settings: Common) -> int:
    """Return the step of the next child: what the last one of this clip had reached."""
    return min(max((child.step for child in view.of_clip), default=0), settings.chase.max_steps)


def _follow(view: View, settings: Common, child: Child, *, chase: bool) -> tuple[Command, ...]:
    """Move a child behind the touch, or a step towards the market; else say when to look again."""
    best = own_best(view)
    assert best is not None
    step, step_ns = _stepped(view, settings, child) if chase else (child.step, None)
    price = wanted = view.toward(child.price, (step - child.step) * settings.chase.step_ticks)
    old_ns = child.created_ns + reprice_after_ns(view, settings)
    followed = resting_price(view, view.toward(best, settings.passive_offset_ticks))
    away = view.ahead(followed, child.price) >= settings.reprice_ticks
    if away and view.now_ns >= old_ns:
        price = followed if view.ahead(followed, price) > 0 else price
    price = resting_price(view, price)
    big_enough = child.leaves >= max(view.plan.min_clip, 1)
    if view.ahead(price, child.price) > 0 and big_enough:
        return (Move(child.client_order_id, child.leaves, price, post_only=True, step=step),)
    wakes = [Wake(step_ns)] if step_ns is not None else []
    wakes.append(Wake(old_ns) if away and view.now_ns < old_ns else _when_away(view, settings, child, best))
    if view.ahead(wanted, child.price) > 0:
        # The other side holds a step back: it is taken as soon as there is room for a tick.
        wakes.append(_when_free(view, view.toward(child.price, 1)))
    return (*wakes, *_look_through(view, (child,)))


def _when_away(view: View, settings: Common, child: Child, best: int) -> Wake:
    """Ask again when the touch has left a child behind: the own best, or the other side that held it back."""
    goal = view.toward(child.price, settings.reprice_ticks)
    own = view.toward(goal, -settings.passive_offset_ticks)
    return when_own_at(view, own) if view.ahead(own, best) > 0 else _when_free(view, goal)


def when_own_at(view: View, bound: int) -> Wake:
    """Ask again when our own side comes to a bound, from behind it."""
    return Wake(bid_above=bound) if view.side == "buy" else Wake(ask_below=bound)


def _when_free(view: View, price: int) -> Wake:
    """Ask again when the other side leaves room for a passive child at a price."""
    edge = view.toward(price, 1)
    return Wake(ask_above=edge) if view.side == "buy" else Wake(bid_below=edge)


def _stepped(view: View, settings: Common, child: Child) -> tuple[int, int | None]:
    """Return which step an unfilled child has come to by its age, and when the next one is due."""
    age_ns, begun_ns = chase_age_ns(view, settings), max(child.created_ns, child.filled_ns)
    most = settings.chase.max_steps
    step = min(child.step + max(view.now_ns - begun_ns, 0) // age_ns, most)
    next_ns = begun_ns + (step - child.step + 1) * age_ns
    return max(step, child.step), next_ns if step < most else None


@register("tactic", "peg", settings=Common)
class Peg:
    """Post-only at the own best, following it; alone at the touch it stays."""

    unread: ClassVar[tuple[str, ...]] = ("passive_share", "chase", "discretion", "tries", "retry_after")

    def __init__(self, settings: Common) -> None:
        """Keep the settings."""
        self.settings = settings

    def act(self, view: View) -> tuple[Command, ...]:
        return tend(view, self.settings, chase=False)


@register("tactic", "passive", settings=Common)
class Passive:
    """As `peg`, improving step by step while it is not filled; it never crosses."""

    unread: ClassVar[tuple[str, ...]] = ("discretion", "tries", "retry_after")

    def __init__(self, settings: Common) -> None:
        """Keep the settings."""
        self.settings = settings

    def act(self, view: View) -> tuple[Command, ...]:
        return tend(view, self.settings, chase=True)


@register("tactic", "passive_then_cross", settings=Common)
class PassiveThenCross:
    """Passive for `passive_share` of the clip's life; then it crosses once, if it is late or the last."""

    unread: ClassVar[tuple[str, ...]] = ("tries", "retry_after")

    def __init__(self, settings: Common, *, always: bool = False) -> None:
        """Keep the settings; with `always` what is left is taken whatever the schedule says."""
        self.settings = settings
        self._always = always

    def act(self, view: View) -> tuple[Command, ...]:
        settings, clip, passive = self.settings, view.clip, passive_ns(view, self.settings)
        assert clip is not None
        if settings.post_only or passive is None:
            return tend(view, settings, chase=True)
        crosses = settings.chase.then == "cross" and (
            self._always or _is_last(view) or _is_late(view, settings)
        )
        until_ns = clip.begun_ns + passive
        if view.now_ns < until_ns:
            kept = view.plan.min_clip if _is_last(view) and settings.chase.then == "cross" else 0
            return (*tend(view, settings, chase=True, keep_back=kept), Wake(until_ns))
        if not crosses:
            # A fill may be all that is missing: nothing else makes it late any more in this clip.
            return tend(view, settings, chase=False)
        resting = [child for child in view.live if child.rests and child.time_in_force != "IOC"]
        if resting:
            ends = (Cancel(child.client_order_id, "cross") for child in resting if not child.ending)
            return tuple(ends)
        spent = take(view, settings, 1)
        return tuple(one for one in spent if not isinstance(one, Spent))


def _is_last(view: View) -> bool:
    """Say whether no clip of the schedule follows."""
    assert view.clip is not None
    return view.clip.target >= view.order_lots


def _is_late(view: View, settings: Common) -> bool:
    """Say whether C lags the clip's target by more than the discretion: C < tau - discretion X."""
    assert view.clip is not None
    num, den = settings.discretion.as_integer_ratio()
    return (view.clip.target - view.cum) * den > num * view.order_lots


def cancels(view: View, reason: str) -> tuple[Command, ...]:
    """Ask for the end of everything that rests."""
    return tuple(
        Cancel(child.client_order_id, reason) for child in view.live if child.rests and not child.ending
    )
