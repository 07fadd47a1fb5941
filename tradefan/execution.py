"""What an execution algorithm is made of, what its parts see, and what they may ask for.

A recipe is four layers: a *trajectory* says how much should be done by now, a *pacing* when to decide and
how much, a *tactic* how one clip is placed until its deadline, *guards* only shrink, delay or refuse it.
One engine (`executors/engine.py`) interprets all recipes. Parts are pure functions of a frozen `View` and
remember nothing: plan, clip and children are in the journal, and so in the view.

Quantities here are whole lots and prices whole ticks; what leaves the engine is Decimal again.
"""

from __future__ import annotations

from decimal import Decimal
from itertools import takewhile
from typing import Annotated, Literal, Protocol, TypeAlias

from msgspec import Struct

from tradefan.contracts import Bound, Settings
from tradefan.messages.orders import Doubt, OrderStatus, TimeInForce
from tradefan.messages.plan import Clip, Plan, Volume
from tradefan.setting import unit
from tradefan.spans import Instant, Span
from tradefan.units import MS, SECOND, ClientOrderId, Side, parse_duration

CatchUp = Literal["spread", "immediate", "none"]

AT_END = "at_end"
"""Reason of the clip that is worked behind the end, until its grace is over."""
I_WOULD = "i_would"
"""Reason of a clip that takes a price at which its owner would trade at once."""
LIMIT = "limit"
"""Reason of a decision that was taken while even our own side's best was beyond the limit."""
FUNDS_NS = 5 * SECOND
"""So long a parent waits at least, once its venue has said that there is no money for it."""
FRUITLESS_NS, FRUITLESS_MAX = 250 * MS, 20
"""A child after one that came to nothing waits so long, times how many did in a row, up to so many."""
SCHEDULE_ONLY = ("catch_up_cap", "discretion", "size_jitter", "time_jitter", "participation_cap")
"""Settings that only a schedule reads."""
SLICED_ONLY = (
    *SCHEDULE_ONLY,
    "on_limit",
    "catch_up",
    "residual",
    "tactic",
    "passive_share",
    "passive_offset_ticks",
    "reprice_after",
    "reprice_ticks",
    "chase",
    "i_would_price",
    "stale_cancel_after",
    "volume_source",
)
"""Settings that only what is placed a part at a time reads."""
UNSLICED_UNREAD = (*SLICED_ONLY, "participation_window", "halt")
"""Settings that what is placed at once never reads: it follows no volume, and no halt pauses it."""
EXTEND = "extend"
"""`extend:60s`: what is left at the end is worked on for so long."""


# --- settings -------------------------------------------------------------------------------------


class Chase(Settings, frozen=True, kw_only=True):
    """How an unfilled passive child improves: steps, ticks a step, its age before one, what comes then."""

    max_steps: Annotated[int, unit("count", "improvements of an unfilled passive child")] = 3
    step_ticks: Annotated[int, unit("ticks", "how far one improvement goes")] = 1
    max_age: Annotated[
        Span | None, unit("duration", "its age before one; by the clip's life where none is given")
    ] = None
    then: Annotated[
        Literal["cross", "next"],
        unit("choice", "what comes behind the last: it crosses, or gives back to the schedule"),
    ] = "cross"


class Common(Settings, frozen=True, kw_only=True):
    """What every algorithm can be told; the table of docs/execution.md explains each."""

    notional: Annotated[
        Decimal | None, unit("quote", "instead of a quantity: converted at the arrival mid, down to a lot")
    ] = None
    start_at: Annotated[Instant | None, unit("instant", "when it begins; may be past if its end is not")] = (
        None
    )
    duration: Annotated[
        Span | None, unit("duration", "how long it works; a schedule needs this or end_at")
    ] = None
    end_at: Annotated[Instant | None, unit("instant", "when it ends")] = None
    limit_offset_bps: Annotated[
        Decimal | None, unit("bps", "hard limit of all children, from the mid at arrival")
    ] = None
    collar_bps: Annotated[Decimal, unit("bps", "the worst price of a crossing child, from the mid")] = (
        Decimal(50)
    )
    wide_collar_bps: Annotated[Decimal, unit("bps", "the same for at_end market")] = Decimal(200)
    on_limit: Annotated[
        Literal["skip_time", "catch_up", "finish", "cancel"],
        unit("choice", "while even the own side's best is beyond the limit"),
    ] = "skip_time"
    catch_up: Annotated[CatchUp, unit("choice", "how what is behind comes back: evenly, at once, never")] = (
        "spread"
    )
    catch_up_cap: Annotated[Decimal, unit("plain clips", "the largest clip when it is behind")] = Decimal(3)
    discretion: Annotated[
        Decimal, unit("share of the order", "how far it may lag its target before it crosses")
    ] = Decimal("0.05")
    size_jitter: Annotated[Decimal, unit("share of a slice", "by how much a clip may be smaller")] = Decimal(
        "0.2"
    )
    time_jitter: Annotated[Decimal, unit("share of a slice", "by how much a decision may be later")] = (
        Decimal("0.2")
    )
    min_clip: Annotated[
        Decimal | None, unit("base asset", "smallest clip; 1.1 times the venue's minimum where none is given")
    ] = None
    max_clip: Annotated[
        Decimal | None, unit("base asset", "largest clip; the limits of one order where none is given")
    ] = None
    participation_cap: Annotated[
        Decimal, unit("share of volume", "own share of what trades, of schedules")
    ] = Decimal("0.25")
    participation_window: Annotated[Span, unit("duration", "over which that is counted")] = Span(60 * SECOND)
    volume_source: Annotated[
        Literal["trades", "klines"], unit("choice", "what tells how much trades while it works")
    ] = "trades"
    tactic: Annotated[str, unit("name", "how a clip is placed; one of the tactics")] = "passive_then_cross"
    retry_after: Annotated[int, unit("ms", "before a taking child is tried again")] = 250
    tries: Annotated[int, unit("count", "taking children of one clip at most")] = 4
    passive_share: Annotated[Decimal, unit("share of a clip's life", "how long it is passive")] = Decimal(
        "0.6"
    )
    passive_offset_ticks: Annotated[int, unit("ticks", "from the own best, positive towards the market")] = 0
    reprice_after: Annotated[Span | None, unit("duration", "a child follows the touch not sooner")] = None
    reprice_ticks: Annotated[int, unit("ticks", "nor for less")] = 1
    chase: Annotated[Chase, unit("settings", "how an unfilled passive child improves")] = Chase()
    i_would_price: Annotated[
        Decimal | None, unit("price", "at this or better it takes what is shown, ahead of its schedule")
    ] = None
    at_end: Annotated[str, unit("choice", "cross_collared, cancel, market or extend:60s")] = "cancel"
    end_grace: Annotated[Span, unit("duration", "how long it crosses behind its end")] = Span(5 * SECOND)
    residual: Annotated[
        Literal["merge_last", "drop_and_report"],
        unit("choice", "what becomes of a rest below the smallest clip"),
    ] = "merge_last"
    post_only: Annotated[bool, unit("flag", "it never takes")] = False
    on_restart: Annotated[
        Literal["auto", "resume", "pause", "cancel"],
        unit("choice", "what becomes of it when the daemon was away"),
    ] = "auto"
    on_owner_loss: Annotated[
        Literal["cancel", "keep"] | None,
        unit("choice", "what becomes of it when its strategy stays down; as the strategy says"),
    ] = None
    protective: Annotated[
        bool, unit("flag", "kept whatever becomes of its owner, and by a stop of the daemon")
    ] = False
    order_deadline: Annotated[Span | None, unit("duration", "a child is written within this, or never")] = (
        None
    )
    stale_cancel_after: Annotated[
        Span, unit("duration", "what follows the market is cancelled so long after the feed went stale")
    ] = Span(2 * SECOND)
    max_children: Annotated[int, unit("count", "then it is paused")] = 10_000
    halt: Annotated[Literal["run", "extend"], unit("choice", "its clock in a halt: extend stops it")] = "run"
    self_cross: Annotated[
        Literal["wait", "cancel_resting"], unit("choice", "when a child would meet an own order that rests")
    ] = "wait"

    @property
    def crosses_at_end(self) -> bool:
        """Whether what is left at the end is taken."""
        return self.at_end in ("cross_collared", "market")

    @property
    def extend_ns(self) -> int:
        """How long `at_end: extend:60s` goes on."""
        return parse_duration(self.at_end.partition(":")[2])

    @property
    def extra_ns(self) -> int:
        """For how long the end policy goes on behind the end."""
        if self.at_end == "cancel":
            return 0
        return self.extend_ns if self.at_end.startswith(EXTEND) else self.end_grace


class Scheduled(Common, frozen=True, kw_only=True):
    """A schedule needs an end; its decisions are so far apart, or so many."""

    interval: Annotated[Span, unit("duration", "between two decisions")] = Span(30 * SECOND)
    slices: Annotated[int | None, unit("count", "decisions, in place of an interval")] = None
    at_end: Annotated[str, unit("choice", "cross_collared, cancel, market or extend:60s")] = "cross_collared"


# --- what parts see ---------------------------------------------------------------------------------


class Child(Struct, frozen=True):
    """One child; `live` while it is not terminal or is in doubt, `ending` once its end was asked for.

    `clip` and `step` are those that placed it, `filled_ns` is when it traded last.
    """

    client_order_id: ClientOrderId
    status: OrderStatus
    in_doubt: Doubt | None
    live: bool
    ending: bool
    order_lots: int
    cum: int
    price: int
    time_in_force: TimeInForce
    reason: str
    created_ns: int
    filled_ns: int
    clip: int
    step: int

    @property
    def leaves(self) -> int:
        """What may still trade."""
        return self.order_lots - self.cum

    @property
    def rests(self) -> bool:
        """Whether it may be cancelled or moved: live, and nobody asks what became of it."""
        return self.live and self.in_doubt is None

    @property
    def fruitless(self) -> bool:
        """Whether its venue has ended it before it traded, though it was to rest and nobody asked for it."""
        if self.live or self.cum or self.ending:
            return False
        return self.status is OrderStatus.REJECTED or self.time_in_force == "GTC"


class Touch(Struct, frozen=True):
    """Best bid and ask, and what they show; `live` where the feed is trusted enough to cross."""

    bid: int
    ask: int
    bid_lots: int
    ask_lots: int
    live: bool = True


class View(Struct, frozen=True):
    """All that a part may know. `children` are the live ones and the newest that ended, oldest first.

    `collar` and `wide_collar` are the worst prices of a crossing child, None without a trusted reference;
    `last_end_ns` is when the newest child ended.
    """

    now_ns: int
    name: str
    side: Side
    order_lots: int
    cum: int
    working: int
    doubt: int
    limit: int | None
    plan: Plan
    plans: int
    clip: Clip | None
    touch: Touch | None
    collar: int | None
    wide_collar: int | None
    children: tuple[Child, ...] = ()
    attempts: int = 0
    last_end_ns: int | None = None
    volume: Volume = Volume()

    @property
    def done(self) -> int:
        """What has traded, works, or may exist."""
        return self.cum + self.working + self.doubt

    @property
    def rest(self) -> int:
        """What may still be placed."""
        return max(self.order_lots - self.done, 0)

    @property
    def clip_rest(self) -> int:
        """What of the clip may still be placed."""
        if self.clip is None:
            return 0
        # A trade that was taken back, or an older child that ended, lowers what is done: no clip grows by it.
        return max(min(self.clip.lots - max(self.done - self.clip.base, 0), self.rest), 0)

    @property
    def child_most(self) -> int | None:
        """The largest child: nothing shows more than `display`, and `max_clip` splits what is larger."""
        bounds = [bound for bound in (self.plan.max_clip, self.plan.display) if bound is not None]
        return min(bounds, default=None)

    @property
    def live(self) -> tuple[Child, ...]:
        """The live children."""
        return tuple(child for child in self.children if child.live)

    @property
    def fruitless(self) -> int:
        """How many children of this clip came to nothing in a row, up to now."""
        return sum(1 for _ in takewhile(lambda child: child.fruitless, reversed(self.of_clip)))

    @property
    def of_clip(self) -> tuple[Child, ...]:
        """The children of this clip, as far as they are remembered."""
        number = None if self.clip is None else self.clip.number
        return tuple(child for child in self.children if child.clip == number)

    def toward(self, price: int, ticks: int) -> int:
        """Move a price so many ticks towards the other side of the market."""
        return price + ticks if self.side == "buy" else price - ticks

    def beyond(self, price: int, bound: int) -> bool:
        """Say whether a price is worse for us than a bound."""
        return price > bound if self.side == "buy" else price < bound

    def ahead(self, price: int, of: int) -> int:
        """Return by how many ticks a price is closer to the other side of the market than another."""
        return price - of if self.side == "buy" else of - price

    def within(self, price: int, bound: int | None) -> int:
        """Return a price, but never worse for us than a bound."""
        if bound is None:
            return price
        return min(price, bound) if self.side == "buy" else max(price, bound)


# --- what parts ask for -------------------------------------------------------------------------------


class Place(Struct, frozen=True):
    """Place a child; the OMS checks budget, limit, collar, lot, display and risk before it exists."""

    lots: int
    price: int
    time_in_force: TimeInForce = "GTC"
    post_only: bool = False
    step: int = 0
    bound: Bound = "limit"
    """What bounds it outside: its limit, or a collar as well."""


class Move(Struct, frozen=True):
    """Put a resting child elsewhere: in one request where it does not trade yet, else by its end first."""

    client_order_id: ClientOrderId
    lots: int
    price: int
    post_only: bool = False
    step: int = 0


class Cancel(Struct, frozen=True):
    """Cancel a child to evidence."""

    client_order_id: ClientOrderId
    reason: str


class Query(Struct, frozen=True):
    """Ask the venue what became of a child."""

    client_order_id: ClientOrderId


class Wake(Struct, frozen=True):
    """Ask again at an instant, or when the market gets there; the newest wake replaces the older.

    Prices are ticks: `bid_below` fires at a bid at or below it, `bid_above` at or above, and so on.
    `volume_at` is total volume in lots since arrival.
    """

    at_ns: int | None = None
    bid_below: int | None = None
    bid_above: int | None = None
    ask_below: int | None = None
    ask_above: int | None = None
    volume_at: int | None = None


class Decide(Struct, frozen=True):
    """Begin a clip: decision `k` towards `target`, of which so much is due; zero lots wait for the next.

    No merged remainder makes it larger than `most`, where its pacing has a ceiling.
    """

    k: int
    target: int
    due: int
    lots: int
    deadline_ns: int | None
    reason: str = ""
    before: int = 0
    share: int = 0
    factor: float = 1.0
    price: int | None = None
    most: int | None = None
    unseen: float = 0.0


class Replan(Struct, frozen=True):
    """Make the rest of the plan anew: the instrument's steps have changed."""

    reason: str


class End(Struct, frozen=True):
    """Place nothing more: children to evidence, then DONE; a residual makes it EXPIRED or REJECTED."""

    status: OrderStatus
    reason: str


class Hold(Struct, frozen=True):
    """Pause the parent for a reason."""

    reason: str


class Spent(Struct, frozen=True):
    """A tactic can do nothing more for its clip by itself; without a deadline the parent ends by that."""

    status: OrderStatus
    reason: str


Command: TypeAlias = Place | Move | Cancel | Query | Wake | Decide | Replan | Hold | End | Spent


# --- parts ----------------------------------------------------------------------------------------------


class Target(Struct, frozen=True):
    """What should be done behind the decision before, and behind this one, in lots; the rest as in `Clip`."""

    before: int
    lots: int
    share: int = 0
    factor: float = 1.0
    unseen: float = 0.0


class Planned(Struct, frozen=True):
    """What a trajectory puts into a plan (`Plan`)."""

    taus: tuple[int, ...] = ()
    volumes: tuple[int, ...] = ()


class PlanInput(Struct, frozen=True):
    """What a plan is made from: the whole order and what of it is done, the window, the steps, the curve.

    `volumes` is the expected volume in lots of each bucket from `first_ns` on, empty where none is known.
    """

    name: str
    order_lots: int
    done: int
    start_ns: int
    end_ns: int | None
    min_clip: int
    volumes: tuple[int, ...] = ()
    bucket_ns: int = 0
    first_ns: int = 0


class Trajectory(Protocol):
    """How much should be done by when."""

    def plan(self, given: PlanInput) -> Planned:
        """Return the targets for the rest of an order."""
        ...

    def target(self, view: View, k: int) -> Target:
        """Return the target of decision `k`."""
        ...


class Pacing(Protocol):
    """When to decide, and how much."""

    def decide(self, view: View, trajectory: Trajectory) -> Decide | Wake:
        """Return the next clip as far as it is due, or when to ask again."""
        ...


class Tactic(Protocol):
    """How one clip is placed until its deadline."""

    def act(self, view: View) -> tuple[Command, ...]:
        """Return what to do now; asked again after each change, and when it wakes.

        It is told no events: what it does follows from what is, so nothing that it missed can matter.
        """
        ...


class Pass(Struct, frozen=True):
    """A guard has nothing against a clip."""


class Shrink(Struct, frozen=True):
    """A guard lets so much of a clip through."""

    lots: int
    reason: str


class Delay(Struct, frozen=True):
    """A guard lets nothing through now; the next decision asks again."""

    reason: str


Verdict: TypeAlias = Pass | Shrink | Delay


class Guard(Protocol):
    """Shrinks or delays clips, never anything else."""

    def check(self, view: View, lots: int) -> Verdict:
        """Judge a clip."""
        ...


class Recipe(Struct, frozen=True):
    """One algorithm. `follows` where its tactic follows the market and a limit only bounds it.

    `slices` where it places a part at a time by nature, `once` where it never places anything again,
    `goes_on` where its pacing goes on in an extension, for all that is left;
    `unread` are common settings that mean nothing to it, and are refused; a tactic may have some, too.
    """

    settings: Common
    trajectory: Trajectory
    pacing: Pacing
    tactic: Tactic
    guards: tuple[Guard, ...] = ()
    follows: bool = True
    slices: bool = True
    once: bool = False
    goes_on: bool = False
    unread: tuple[str, ...] = ()


def backoff_ns(in_row: int) -> int:
    """Return how long the child behind so many waits that came to nothing."""
    return FRUITLESS_NS * min(in_row, FRUITLESS_MAX)


def retry_ns(settings: Common) -> int:
    """Return how long a `take` waits before it tries again."""
    return settings.retry_after * MS
