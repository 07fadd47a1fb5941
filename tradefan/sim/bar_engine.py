"""The execution engine alone in a market of bars: one order, its real plan and recipe, and a small host.

For thousands of windows, where the whole order manager (`bar_desk`) would take hours. The host performs the
engine's commands as the order manager does, in the same order of turns; a test holds both against each other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from decimal import Decimal
from typing import NamedTuple

from msgspec.structs import replace

from tradefan.actors.oms_executor import make_executor
from tradefan.core import tape
from tradefan.errors import Defect
from tradefan.execution import (
    Cancel,
    Child,
    Command,
    Decide,
    End,
    Move,
    Place,
    Query,
    Recipe,
    Touch,
    View,
    Wake,
)
from tradefan.executors.engine import step
from tradefan.executors.entry import Entry
from tradefan.messages.orders import OrderStatus
from tradefan.messages.plan import Clip, Plan, Volume
from tradefan.sim.bar_market import BarMarket
from tradefan.units import MS, ClientOrderId

QUESTIONS_MAX = 6
S = OrderStatus
_ENDED = (S.FILLED, S.CANCELED, S.EXPIRED, S.REJECTED)
OnDecision = Callable[[int, Clip], None]
OnFill = Callable[[int, "Traded"], None]


class Traded(NamedTuple):
    """A trade of a child, in lots and ticks; `rested` where it was there before."""

    lots: int
    price: int
    rested: bool


class Word(NamedTuple):
    """What the venue says of a child."""

    client_order_id: ClientOrderId
    status: OrderStatus
    traded: Traded | None = None
    reason: str = ""


class BarEngine:
    """One order, worked second by second as its market steps; it ends by itself."""

    def __init__(self, entry: Entry, market: BarMarket, on_decision: OnDecision, on_fill: OnFill) -> None:
        """Plan the order and begin it, behind the market's present print."""
        executor = make_executor(entry.order)
        self.plan: Plan = executor.plan(entry)  # type: ignore[attr-defined]
        self.recipe: Recipe = executor.recipe  # type: ignore[attr-defined]
        self.cum = 0
        self.status: OrderStatus | None = None
        """How it ended; None while it is worked."""
        self.children = 0
        self._entry, self._market = entry, market
        self._on_decision, self._on_fill = on_decision, on_fill
        self._now_ns = entry.now_ns
        self._lots = int(entry.order.order_qty // entry.instrument.qty_lot)
        self._clip: Clip | None = None
        self._clips = 0
        self._last_end_ns: int | None = None
        self._known: list[Child] = []
        self._mail: list[Word] = []
        self._wake, self._waited_own = Wake(), 0
        self._ending: tuple[OrderStatus, str] | None = None
        self._tape = tape.begin(self._now_ns)
        self._base = (market.lots, float(market.value))
        self._own: deque[tuple[int, int]] = deque()
        self._own_lots = 0
        self._least = entry.instrument.min_notional / entry.instrument.price_tick / entry.instrument.qty_lot
        self.name = entry.order.parent_id
        self._collars = [getattr(self.recipe.settings, name) for name in ("collar_bps", "wide_collar_bps")]
        self._look()
        self._ask()
        self._deliver()

    # --- time -------------------------------------------------------------------------------------------

    def timers(self, until_ns: int) -> None:
        """Let the instants come that lie before this one."""
        while self.status is None and self._wake.at_ns is not None and self._wake.at_ns < until_ns:
            self._now_ns = self._wake.at_ns
            self._wake = replace(self._wake, at_ns=None)
            self._ask()
            self._deliver()

    def print(self, now_ns: int) -> None:
        """Take the market's next print: it trades with what rests, then it is seen, then it is counted."""
        if self.status is not None:
            return
        self._now_ns = now_ns
        for child in [one for one in self._known if one.live]:
            lots = self._market.met(self._entry.order.side, child.price, child.leaves)
            if lots:
                self._mail.append(_traded(child, child.cum + lots, Traded(lots, child.price, True)))
        self._deliver()
        self._look()
        if self._reached():
            self._ask()
            self._deliver()
        self._count()
        self._deliver()

    def _look(self) -> None:
        one, depth = self._market.now, self._market.shown.depth
        assert one is not None, "expected a print before an order"
        self._touch = Touch(one.bid, one.ask, depth, depth)

    def _reached(self) -> bool:
        """Say whether the touch is where somebody waits for it, and forget the levels then."""
        bid, ask, wake = self._touch.bid, self._touch.ask, self._wake
        reached = (
            (wake.bid_below is not None and bid <= wake.bid_below)
            or (wake.bid_above is not None and bid >= wake.bid_above)
            or (wake.ask_below is not None and ask <= wake.ask_below)
            or (wake.ask_above is not None and ask >= wake.ask_above)
        )
        if reached:
            self._wake = Wake(wake.at_ns)
        return reached

    def _count(self) -> None:
        """Count the volume as the order manager does."""
        lots, value = self._base
        seen = self._tape
        tape.note(seen, 1, self._market.lots - lots, self._market.value - value, self._now_ns)
        wanted = self._wake.volume_at
        if wanted is not None and seen.lots + self._waited_own >= wanted:
            self._wake = Wake(self._wake.at_ns)
            self._ask()

    def _volume(self) -> Volume:
        window_ns, seen = self.plan.window_ns(self.recipe.settings.participation_window), self._tape
        while self._own and self._own[0][0] <= self._now_ns - window_ns:
            self._own_lots -= self._own.popleft()[1]
        own = self._own_lots
        whole = seen.generation != 0 and self._now_ns - seen.since_ns >= window_ns
        window = tape.window(seen, self._now_ns, window_ns) + own
        return Volume(seen.lots + self.cum, window, own, whole, True, self.cum)

    # --- the engine -----------------------------------------------------------------------------------

    def _ask(self) -> None:
        """Ask the engine and perform what it wants, until it only waits."""
        for _ in range(QUESTIONS_MAX):
            if self._finished() or self._ending is not None:
                return
            clips = self._clips
            for command in step(self.recipe, self._view()):
                if self._ending is None:
                    self._perform(command)
            if self._clips == clips:
                return
        raise Defect(f"expected an engine that acts, it decides {QUESTIONS_MAX} times")

    def _view(self) -> View:
        working = sum(child.leaves for child in self._known if child.live)
        collar, wide = (self._collar(bps) for bps in self._collars)
        return View(
            now_ns=self._now_ns,
            name=self.name,
            side=self._entry.order.side,
            order_lots=self._lots,
            cum=self.cum,
            working=working,
            doubt=0,
            limit=self.plan.limit,
            plan=self.plan,
            plans=1,
            clip=self._clip,
            touch=self._touch,
            collar=collar,
            wide_collar=wide,
            children=tuple(self._known),
            attempts=self.children,
            last_end_ns=self._last_end_ns,
            volume=self._volume(),
        )

    def _collar(self, bps: Decimal) -> int:
        total, (num, den) = self._touch.bid + self._touch.ask, bps.as_integer_ratio()
        whole = 2 * 10_000 * den
        if self._entry.order.side == "buy":
            return total * (10_000 * den + num) // whole
        return -(-total * (10_000 * den - num) // whole)

    def _perform(self, command: Command) -> None:
        match command:
            case Decide():
                self._decide(command)
            case Place():
                self._place(command.lots, command.price, command.time_in_force == "GTC", command)
            case Move():
                self._move(command)
            case Cancel():
                self._cancel(command.client_order_id)
            case Wake():
                at_ns = None if command.at_ns is None else max(command.at_ns, self._now_ns + MS)
                self._wake, self._waited_own = replace(command, at_ns=at_ns), self.cum
            case End():
                self._end(command.status, command.reason)
            case Query():
                # The answer would say what is known already.
                pass
            case _:
                raise Defect(f"expected no {command} in a market where nothing fails")

    def _decide(self, command: Decide) -> None:
        done = self.cum + sum(child.leaves for child in self._known if child.live)
        self._clip = Clip(
            self._clips,
            1,
            command.k,
            command.target,
            command.due,
            command.lots,
            self._now_ns,
            command.deadline_ns,
            done,
            self.children,
            command.reason,
            command.before,
            command.share,
            command.factor,
            command.price,
            self._volume().total,
            self.cum,
            command.unseen,
        )
        self._clips += 1
        self._known = [child for child in self._known if child.live]
        self._on_decision(self._now_ns, self._clip)

    def _end(self, status: OrderStatus, reason: str) -> None:
        self._ending = (status, reason)
        for child in self._known:
            if child.live:
                self._cancel(child.client_order_id)
        self._finished()

    def _finished(self) -> bool:
        live = any(child.live for child in self._known) or self._mail
        if self.status is None and not live:
            if self.cum >= self._lots:
                self.status = S.FILLED
            elif self._ending is not None:
                self.status = self._ending[0]
        return self.status is not None

    # --- the venue --------------------------------------------------------------------------------------

    def _place(self, lots: int, price: int, rests: bool, command: Place | Move) -> None:
        if lots * price < self._least:
            if not any(child.live for child in self._known):
                self._end(S.EXPIRED, "dust")
            return
        self.children += 1
        assert self._clip is not None, "expected a decision before a child"
        child = Child(
            ClientOrderId(str(self.children)),
            S.PENDING_NEW,
            None,
            True,
            False,
            lots,
            0,
            price,
            "GTC" if rests else "IOC",
            "",
            self._now_ns,
            0,
            self._clip.number,
            command.step,
        )
        self._known.append(child)
        self._mail += self._answered(child, rests=rests, post_only=command.post_only)

    def _answered(self, child: Child, *, rests: bool, post_only: bool) -> list[Word]:
        """Return what the venue says to a new order, one word a turn."""
        side, name = self._entry.order.side, child.client_order_id
        price, lots = self._market.taken(side, child.price, child.order_lots)
        if not lots:
            return [Word(name, S.NEW if rests else S.EXPIRED)]
        if post_only:
            return [Word(name, S.REJECTED, reason="POST_ONLY: it would take")]
        words = [_traded(child, lots, Traded(lots, price, False))]
        if lots < child.order_lots and not rests:
            words.append(Word(name, S.EXPIRED))
        return words

    def _move(self, command: Move) -> None:
        child = next(one for one in self._known if one.client_order_id == command.client_order_id)
        if child.cum or child.status is not S.NEW:
            self._cancel(command.client_order_id)
        elif command.lots * command.price >= self._least:
            self._cancel(command.client_order_id)
            self._place(command.lots, command.price, True, command)

    def _cancel(self, name: ClientOrderId) -> None:
        for place, child in enumerate(self._known):
            if child.client_order_id == name and child.live and not child.ending:
                self._known[place] = replace(child, ending=True)
                self._mail.append(Word(name, S.CANCELED))

    def _deliver(self) -> None:
        """Let each word of the venue be a turn."""
        while self._mail:
            self._hear(self._mail.pop(0))
            if not self._finished() and self._ending is None:
                self._ask()
        self._finished()

    def _hear(self, word: Word) -> None:
        place = next(i for i, one in enumerate(self._known) if one.client_order_id == word.client_order_id)
        child, ended = self._known[place], word.status in _ENDED
        if word.traded is not None:
            child = replace(child, cum=child.cum + word.traded.lots, filled_ns=self._now_ns)
            self.cum += word.traded.lots
            self._own.append((self._now_ns, word.traded.lots))
            self._own_lots += word.traded.lots
            self._on_fill(self._now_ns, word.traded)
        self._known[place] = replace(child, status=word.status, live=not ended, reason=word.reason)
        if ended:
            self._last_end_ns = self._now_ns


def _traded(child: Child, cum: int, traded: Traded) -> Word:
    status = S.FILLED if cum == child.order_lots else S.PARTIALLY_FILLED
    return Word(child.client_order_id, status, traded)
