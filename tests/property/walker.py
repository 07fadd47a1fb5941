"""A market and a venue in a few lines, for one parent: what an engine must never do under any of it.

The rules of `Walk` are shared by the hypothesis machine and by the plain seeded walker. Everything is in lots
and ticks; a step is one thing that happens, then the engine is asked until it waits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

from msgspec.structs import replace

from tests.property import schedule_oracle
from tests.property.kid import Kid
from tradefan.core.schedule import ceil_div
from tradefan.execution import (
    AT_END,
    EXTEND,
    Cancel,
    Child,
    Decide,
    End,
    Hold,
    Move,
    Place,
    PlanInput,
    Query,
    Recipe,
    Replan,
    Touch,
    View,
    Wake,
)
from tradefan.executors.engine import step
from tradefan.executors.trajectories import Rated
from tradefan.messages.orders import Doubt, OrderStatus
from tradefan.messages.plan import Clip, Plan, Volume
from tradefan.units import MS, SECOND, ClientOrderId, Side

S = OrderStatus
QUESTIONS_MAX = 12
RECENT = 24
"""So many children are seen at least, beside those that are live."""
COLLAR_BPS, WIDE_BPS = 50, 200


@dataclass
class Walk:
    """One parent in a market that moves at random."""

    recipe: Recipe
    plan: Plan
    order_lots: int
    side: Side
    seed: int
    now_ns: int = 0
    bid: int = 9_998
    ask: int = 10_000
    bid_lots: int = 40
    ask_lots: int = 40
    trusted: bool = True
    kids: list[Kid] = field(default_factory=list)
    alive: list[Kid] = field(default_factory=list)
    """Those of them that may be live."""
    cum: int = 0
    """What we know to have traded; the venue knows of `venue_cum`."""
    venue_cum: int = 0
    clip: Clip | None = None
    clips: int = 0
    attempts: int = 0
    ended: End | None = None
    last_end_ns: int | None = None
    wake: Wake = field(default_factory=Wake)
    traded: list[tuple[int, int, bool]] = field(default_factory=list)
    total: int = 0
    asked: int = 0
    crossed: list[int] = field(default_factory=list)
    fixed_volume: Volume | None = None
    seen: bool = True
    """Whether the quote is fresh enough to go by."""
    plans: int = 1
    told: bool = False
    """Whether something has happened that asks by itself: a report, the feed's quality, another plan."""
    held_ns: int = 0
    made_for: PlanInput | None = None
    live: tuple[int, float, float] = (0, 1.0, 0.0)
    """Of a plan: m of its live curve, and how many lots are thought to have traded that nobody saw."""

    def __post_init__(self) -> None:
        self.rng = Random(self.seed)
        self.now_ns = self.now_ns or self.plan.start_ns

    # --- the view -------------------------------------------------------------------------------------

    def living(self) -> list[Kid]:
        """Return the children that we count as live, oldest first."""
        self.alive = [kid for kid in self.alive if kid.live]
        return self.alive

    def view(self) -> View:
        live = self.living()
        recent = self.kids[-RECENT:]
        first = len(self.kids) - len(recent)
        recent = [kid for kid in live if int(kid.name) < first] + recent
        touch = collar = wide = None
        if self.trusted and self.seen:
            collar, wide = self._collar(COLLAR_BPS), self._collar(WIDE_BPS)
        if self.seen:
            touch = Touch(self.bid, self.ask, self.bid_lots, self.ask_lots, self.trusted)
        return View(
            self.now_ns,
            "P-1",
            self.side,
            self.order_lots,
            self.cum,
            sum([kid.lots - kid.known for kid in live if not kid.doubt]),
            sum([kid.lots - kid.known for kid in live if kid.doubt]),
            self.plan.limit,
            self.plan,
            self.plans,
            self.clip,
            touch,
            collar,
            wide,
            tuple(map(self._child, recent)),
            self.attempts,
            self.last_end_ns,
            self._volume(),
        )

    def _collar(self, bps: int) -> int:
        total = self.bid + self.ask
        if self.side == "buy":
            return total * (10_000 + bps) // 20_000
        return ceil_div(total * (10_000 - bps), 20_000)

    def _child(self, kid: Kid) -> Child:
        if kid.shown is not None:
            return kid.shown
        found = Child(
            ClientOrderId(kid.name),
            kid.status,
            Doubt.CREATE if kid.doubt else None,
            kid.live,
            kid.ending,
            kid.lots,
            kid.known,
            kid.price,
            kid.tif,  # type: ignore[arg-type]
            kid.reason,
            kid.created_ns,
            kid.filled_ns,
            kid.clip,
            kid.step,
        )
        if not kid.live:
            kid.shown = found
        return found

    def _volume(self) -> Volume:
        if self.fixed_volume is not None:
            return self.fixed_volume
        since = self.now_ns - 60 * SECOND
        while self.traded and self.traded[0][0] <= since:
            self.traded.pop(0)
        window = sum([lots for _, lots, _ in self.traded])
        own = sum([lots for _, lots, mine in self.traded if mine])
        return Volume(self.total, window, own, self.now_ns - self.plan.start_ns >= 60 * SECOND, self.trusted)

    # --- asking the engine ------------------------------------------------------------------------------

    def question(self) -> None:
        """Ask until it waits, perform what it wants, and hold it against the rules."""
        self.told = False
        if self.now_ns < self.held_ns:
            return
        for _ in range(QUESTIONS_MAX):
            if self.ended is not None:
                return
            self.asked += 1
            commands = step(self.recipe, self.view())
            again = False
            for command in commands:
                again |= self._perform(command)
            if not again:
                return
        raise AssertionError(f"asked {QUESTIONS_MAX} times, and it still does not wait: {commands}")

    def go_on(self) -> None:
        """Ask where somebody would: at a wake, or when something was told; else there is nothing to do."""
        if self.held_ns and self.now_ns >= self.held_ns:
            self.held_ns, self.told = 0, True
        if self.told or self._woken():
            self.question()
        elif self.ended is None and self.now_ns >= self.held_ns and self.asked % 4 == 0:
            # Who asks the venue again and again is heard once; a window forgets without anybody's word.
            soon = self.wake.at_ns is not None and self.wake.at_ns <= self.now_ns + SECOND
            passes = (Wake, Query, Decide) if soon else (Wake, Query)
            acts = [one for one in step(self.recipe, self.view()) if not isinstance(one, passes)]
            assert not acts, f"nobody woke it for {acts}: it waits for {self.wake}"

    def _woken(self) -> bool:
        wake, passed = self.wake, []
        bounds = (wake.at_ns, wake.bid_above, wake.ask_above, wake.volume_at)
        now = (self.now_ns, self.bid if self.seen else 0, self.ask if self.seen else 0, self.total)
        passed += [value <= at for value, at in zip(bounds, now, strict=True) if value is not None]
        if self.seen:
            below = ((wake.bid_below, self.bid), (wake.ask_below, self.ask))
            passed += [value >= at for value, at in below if value is not None]
        return any(passed)

    def _perform(self, command: Any) -> bool:
        match command:
            case Place():
                self._place(command.lots, command.price, command.time_in_force, command)
                # What has ended in this very turn asks again, as a report would.
                return not self.kids[-1].live
            case Move():
                old = self._kid(command.client_order_id)
                assert command.lots <= old.lots - old.known
                if old.known or old.status is not S.NEW:
                    old.ending = True
                elif old.cum:
                    # It has begun to trade, which we did not know: neither leg happens.
                    self._tell(old)
                else:
                    old.live, old.open = False, False
                    old.status, self.last_end_ns = S.CANCELED, self.now_ns
                    self._place(command.lots, command.price, "GTC", command)
            case Cancel():
                kid = self._kid(command.client_order_id)
                assert kid.live
                assert not kid.ending, f"{kid.name} was cancelled twice"
                kid.ending = True
            case Decide():
                self._decide(command)
                return True
            case Wake():
                self.wake = command
            case End():
                self.ended = command
                for kid in self.kids:
                    kid.ending = kid.live
            case Hold():
                self.held_ns = self.now_ns + 5 * SECOND
                self.told = True
            case Query():
                assert self._kid(command.client_order_id).live
            case Replan():
                raise AssertionError("nothing of the instrument has changed")
        return False

    def _decide(self, command: Decide) -> None:
        view = self.view()
        assert not any(not kid.doubt for kid in self.living()), "a decision beside what rests"
        assert 0 <= command.lots <= view.rest
        assert command.lots == 0 or command.lots >= min(self.plan.min_clip, view.rest)
        ahead = command.reason in (AT_END, EXTEND) or command.price is not None
        if self.plan.display is not None and command.reason != AT_END:
            assert command.lots <= self.plan.display
        if self.recipe.guards and not ahead and view.volume.whole and command.lots:
            cap, volume = self.recipe.settings.participation_cap, view.volume
            assert command.lots + volume.own_window + view.working <= cap * volume.window, "participation"
        if isinstance(self.recipe.settings, Rated) and command.reason != AT_END and command.price is None:
            cap, volume = self.recipe.settings.max_rate, view.volume
            assert command.lots + volume.own_window <= cap * volume.window, "max_rate"
        if not ahead and self.plan.taus and self.now_ns < (self.plan.end_ns or 0):
            schedule_oracle.hold(self, command)
        self.clip = Clip(
            self.clips,
            self.plans,
            command.k,
            command.target,
            command.due,
            command.lots,
            self.now_ns,
            command.deadline_ns,
            view.done,
            self.attempts,
            command.reason,
            command.before,
            command.share,
            command.factor,
            command.price,
            view.volume.total,
            0,
            command.unseen,
        )
        self.clips += 1

    def _place(self, lots: int, price: int, tif: str, command: Any) -> None:
        """I1, I4, I5, and what every child obeys."""
        view = self.view()
        assert 0 < lots <= view.rest, f"I1: {lots} of {view.rest}"
        assert lots >= self.plan.min_clip, f"dust: {lots}"
        assert self.clip is not None
        end_ns = self.plan.end_ns
        behind = end_ns is not None and self.clip.begun_ns >= end_ns
        extra = self.recipe.settings.extra_ns if behind else 0
        assert self.now_ns >= self.plan.start_ns
        assert end_ns is None or self.now_ns <= end_ns + extra, "I4"
        assert price > 0
        assert self.plan.limit is None or not view.beyond(price, self.plan.limit), "I5: limit"
        opposite = self.ask if self.side == "buy" else self.bid
        post_only = command.post_only
        if tif == "IOC":
            collar = view.wide_collar if command.bound == "wide" else view.collar
            assert collar is not None, "it crosses on a feed that nobody trusts"
            assert not view.beyond(price, collar), "I5: collar"
            assert not self.recipe.settings.post_only, "post-only crosses"
            self.crossed.append(self.now_ns)
        elif post_only:
            assert view.ahead(opposite, price) > 0, "a passive child would cross"
        open_lots = sum(kid.lots - kid.known for kid in self.living())
        assert self.plan.display is None or open_lots + lots <= self.plan.display, "I5: display"
        assert self.plan.max_clip is None or lots <= self.plan.max_clip, "max_clip"
        self.attempts += 1
        kid = Kid(
            str(len(self.kids)),
            lots,
            price,
            tif,
            self.clip.number,
            getattr(command, "step", 0),
            self.now_ns,
            post_only,
        )
        self.kids.append(kid)
        self.alive.append(kid)
        # Its acknowledgement is heard.
        self.told = True
        if tif == "IOC":
            self._take(kid)

    def _kid(self, name: str) -> Kid:
        return self.kids[int(name)]

    # --- the venue ----------------------------------------------------------------------------------------

    def _take(self, kid: Kid) -> None:
        """An IOC meets the touch; its report may be lost for a while."""
        opposite, shown = (self.ask, self.ask_lots) if self.side == "buy" else (self.bid, self.bid_lots)
        inside = kid.price >= opposite if self.side == "buy" else kid.price <= opposite
        if inside:
            self._fill(kid, min(kid.lots, shown))
        kid.open = False
        if self.rng.random() < 0.05:
            kid.doubt = True
            return
        self._tell(kid)

    def _fill(self, kid: Kid, lots: int) -> None:
        if lots:
            kid.cum += lots
            self.venue_cum += lots
            self.traded.append((self.now_ns, lots, True))
            self.total += lots

    def fill(self, kid: Kid, lots: int) -> None:
        """Let a child trade, and be heard."""
        self._fill(kid, lots)
        self._tell(kid)

    def _tell(self, kid: Kid) -> None:
        """We hear how a child stands."""
        if kid.cum > kid.known:
            self.cum += kid.cum - kid.known
            kid.known, kid.filled_ns = kid.cum, self.now_ns
        kid.doubt, self.told, kid.shown = False, True, None
        if not kid.open or not kid.leaves:
            kid.open = kid.live = False
            kid.status = S.FILLED if not kid.leaves else S.CANCELED
            self.last_end_ns = self.now_ns
        elif kid.known:
            kid.status = S.PARTIALLY_FILLED

    # --- what happens ---------------------------------------------------------------------------------------

    def happen(self) -> None:
        """One random thing."""
        roll = self.rng.random()
        if roll < 0.40:
            self.to_wake()
        elif roll < 0.60:
            self.move_market(self.rng.choice((-3, -1, -1, 0, 1, 1, 3)))
        elif roll < 0.72:
            self.print_trade(self.rng.choice((1, 5, 20, 60)))
        elif roll < 0.82:
            self.fill_resting()
        elif roll < 0.92:
            self.hear()
        elif roll < 0.94:
            self.doubt_one()
        elif roll < 0.955:
            self.trusted = not self.trusted
            self.told = True
        elif roll < 0.965:
            self.seen = False
        elif roll < 0.97:
            self.plan_anew()
        elif roll < 0.98:
            self.pass_time(self.rng.choice((10 * MS, SECOND, 20 * SECOND)))
        else:
            self.venue_ends_one()
        if not self.trusted and self.rng.random() < 0.3:
            self.trusted = self.told = True

    def plan_anew(self) -> None:
        """Somebody pauses it, has its children cancelled and lets it go on a while later."""
        for kid in self.kids:
            kid.ending = kid.ending or kid.live
        self.now_ns += 2 * SECOND
        for kid in self.kids:
            # What is in doubt may stay so.
            if kid.live and (not kid.doubt or self.rng.random() < 0.5):
                kid.open = False
                self._tell(kid)
        plan, done = self.plan, self.view().done
        if self.made_for is None or (plan.end_ns is not None and self.now_ns >= plan.end_ns):
            return
        asked = replace(self.made_for, done=done, start_ns=max(self.now_ns, plan.start_ns))
        made = self.recipe.trajectory.plan(asked)
        self.plan = replace(
            plan,
            start_ns=asked.start_ns,
            base=done,
            taus=made.taus,
            volumes=made.volumes,
            volume_base=self.total,
        )
        self.plans, self.told = self.plans + 1, True

    def to_wake(self) -> None:
        """Time goes on to what was asked for, at most a minute."""
        at_ns = self.wake.at_ns
        if at_ns is None:
            self.pass_time(SECOND)
        else:
            self.pass_time(max(min(at_ns - self.now_ns, 60 * SECOND), 0))

    def pass_time(self, ns: int) -> None:
        """The longer it takes, the more the venue has told and others have traded."""
        if ns > 100 * MS and self.rng.random() < 0.9:
            self.hear()
            self.question()
        self.now_ns += ns
        if ns > SECOND:
            self.print_trade(self.rng.randint(0, 4) * (ns // SECOND))

    def move_market(self, ticks: int) -> None:
        self.bid = max(self.bid + ticks, 100)
        self.ask = self.bid + self.rng.choice((1, 2, 2, 5))
        self.bid_lots, self.ask_lots = self.rng.randint(1, 60), self.rng.randint(1, 60)
        self.seen = True
        for kid in self.kids[-8:]:
            through = kid.price >= self.ask if self.side == "buy" else kid.price <= self.bid
            if kid.open and kid.live and through and kid.tif != "IOC":
                self.fill(kid, kid.leaves)

    def print_trade(self, lots: int) -> None:
        self.traded.append((self.now_ns, lots, False))
        self.total += lots

    def fill_resting(self) -> None:
        for kid in self.kids[-8:]:
            if kid.open and kid.live and kid.leaves and kid.tif != "IOC":
                self._fill(kid, self.rng.randint(1, kid.leaves))
                if self.rng.random() < 0.8:
                    self._tell(kid)
                return

    def hear(self) -> None:
        """Cancels take effect, doubts end."""
        for kid in self.kids[-24:]:
            if kid.live and kid.ending:
                kid.open = False
            if kid.live and (kid.ending or kid.doubt):
                self._tell(kid)

    def doubt_one(self) -> None:
        for kid in self.kids[-8:]:
            if kid.live and kid.open:
                kid.doubt = self.told = True
                return

    def venue_ends_one(self) -> None:
        for kid in self.kids[-8:]:
            if kid.live and kid.open and kid.tif != "IOC":
                kid.open = False
                self._tell(kid)
                if not kid.cum and self.rng.random() < 0.5:
                    kid.status = S.REJECTED
                    kid.reason = self.rng.choice(("POST_ONLY: it would match", "FUNDS: none", "BUSY: later"))
                return

    def walk(self, steps: int) -> int:
        """Let so many things happen, fewer where the parent is over before; return how many."""
        self.question()
        for step_ in range(steps):
            if self.over:
                return step_ + 1
            self.happen()
            self.go_on()
            self.check()
        return steps

    @property
    def over(self) -> bool:
        """Whether the parent has ended, or has all."""
        return self.ended is not None or self.cum >= self.order_lots

    def check(self) -> None:
        """I1: what has traded, works or may exist never exceeds the order."""
        done = self.cum + sum([kid.lots - kid.known for kid in self.living()])
        assert done <= self.order_lots, f"I1: {done} of {self.order_lots}"
        assert self.venue_cum <= self.order_lots
        open_at_venue = sum([kid.leaves for kid in self.kids if kid.open])
        assert self.venue_cum + open_at_venue <= self.order_lots
