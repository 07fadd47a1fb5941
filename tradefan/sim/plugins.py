"""Plug-ins for the simulated world: a strategy that wishes at random, and an executor that works at random.

Both are deterministic: the strategy keeps its chance as one integer in its State, the executor draws
from a hash of its view. Both misbehave on request, which the world injects as a fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from hashlib import blake2b
from typing import Any, Literal

from tradefan.contracts import (
    CancelChild,
    ChildView,
    EndParent,
    ExecutorCommand,
    ParentView,
    PlaceChild,
    ReplaceChild,
    Settings,
    Wake,
    register,
)
from tradefan.errors import TurnOverrun
from tradefan.messages.orders import FillUpdate, OrderStatus, ParentUpdate, Refusal
from tradefan.sim.sliced import ALGORITHMS, Around, pick, settings_of
from tradefan.strategy import Commands, State, Strategy, Timer, View, buy, cancel, cancel_all, sell, target
from tradefan.strategy.view import Position
from tradefan.strategy.wishes import Wish
from tradefan.units import MS, ceil_step, floor_step, parse_duration

TRADER = "sim_trader"
CHAOS = "sim_chaos"
_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_PARENTS_MAX = 10
"""Open wishes of one strategy; beyond them it cancels instead of wishing for more."""
FLOOD = 300
CONTINGENT = 0.25
"""Share of orders that wait for a price, or are groups."""

Misdeed = Literal["raise", "flood", "nonsense", "price", "unencodable", "wrong_type", "endless"]
Mode = Literal["fair", "raise", "nonsense", "price", "flood", "ignores_fills", "endless", "wrong_type"]


class SimTraderSettings(Settings, frozen=True, kw_only=True):
    """What it trades; `misdeeds` are `KIND@NS` in kernel time, separated by blanks, each done once."""

    symbol: str = "BTC/USDT"
    seed: int = 0
    period: str = "4s"
    activity: float = 0.7
    size: float = 0.01
    misdeeds: str = ""


class SimTraderState(State):
    """Its chance, and what it has seen: changed by every handler, so that state is journaled often."""

    chance: int = 0
    acts: int = 0
    fills: int = 0
    refusals: int = 0
    ended: int = 0
    note: Any = None


@register("strategy", TRADER, settings=SimTraderSettings)
class SimTrader(Strategy[SimTraderSettings, SimTraderState]):
    """Wish for targets, buys, sells and cancels at random."""

    def setup(self) -> None:
        """Act by schedule; quotes are only looked at."""
        self.quotes()
        self.every(self.s.period, name="act")
        self._period_ns = parse_duration(self.s.period)
        self._misdeeds = tuple(_misdeed(word) for word in self.s.misdeeds.split())

    def on_timer_act(self, timer: Timer, view: View) -> Commands:
        """Do one thing, or nothing."""
        self.state.acts += 1
        for kind, at_ns in self._misdeeds:
            if at_ns <= view.now < at_ns + self._period_ns:
                return self._misbehave(kind, view)
        if self._draw() >= self.s.activity:
            return ()
        return self._act(view)

    def on_fill(self, fill: FillUpdate, view: View) -> Commands:
        """Count, and now and then take it back at once."""
        self.state.fills += 1
        # A trade that the venue took back is told with a negative quantity.
        if self._draw() < 0.05 and fill.side == "buy" and fill.qty > 0:
            return sell(self.s.symbol, float(fill.qty), reason="sim take back")
        return ()

    def on_parent(self, parent: ParentUpdate, view: View) -> Commands:
        """Count what ended."""
        self.state.ended += parent.leaves_qty == 0
        return ()

    def on_refused(self, refusal: Refusal, view: View) -> Commands:
        """Count; a refusal is no reason to try again at once."""
        self.state.refusals += 1
        return ()

    def _act(self, view: View) -> Commands:
        parents, held = view.orders(self.s.symbol), view.position(self.s.symbol)
        roll = self._draw()
        if len(parents) > _PARENTS_MAX or (parents and roll < 0.12):
            return cancel(parents[int(self._draw() * len(parents))])
        if roll < 0.15:
            return cancel_all(self.s.symbol if self._draw() < 0.5 else None)
        if roll < 0.35:
            return target(self.s.symbol, qty=self.s.size * self._draw(), reason="sim target")
        if roll < 0.40:
            return target(self.s.symbol, qty=0, reason="sim flat")
        return self._order(view, held)

    def _order(self, view: View, held: Position) -> Wish:
        """Buy or sell a random quantity: at once, at a limit near the market, or by the test executor."""
        quote, roll = view.quote(self.s.symbol), self._draw()
        sells = held.qty > 0 and self._draw() < 0.5
        tick = float(view.instrument(self.s.symbol).price_tick)
        qty = (held.qty if sells else self.s.size) * max(0.1, self._draw())
        away = tick * int(self._draw() * 40 - 8)
        price = max(tick, quote.ask + away if sells else quote.bid - away)
        wish = sell if sells else buy
        if self._draw() < CONTINGENT:
            return self._contingent(view, held.qty)
        if roll < 0.25:
            return wish(self.s.symbol, qty, reason="sim market")
        if roll < 0.45:
            return wish(self.s.symbol, qty, by="limit", limit_price=price, reason="sim limit")
        limit = price if self._draw() < 0.5 else None
        if roll < 0.80:
            around = Around("sell" if sells else "buy", qty, quote.bid, quote.ask, tick, limit)
            return self._sliced(wish, around, price)
        seed = int(self._draw() * 1_000_000)
        return wish(self.s.symbol, qty, by=CHAOS, limit_price=limit, reason="sim chaos", seed=seed)

    def _contingent(self, view: View, held: float) -> Wish:
        """Wait for a price a few ticks away: what is held is protected, what is not is bought into."""
        quote, tick = view.quote(self.s.symbol), float(view.instrument(self.s.symbol).price_tick)
        symbol, kind = self.s.symbol, self._draw()
        near, far = tick * (2 + int(self._draw() * 20)), tick * (3 + int(self._draw() * 30))
        source = ("last", "last", "mid", "bid_ask")[int(self._draw() * 4)]
        more: dict[str, Any] = {"source": source, "reason": "sim contingent"}
        if held <= 0 or kind < 0.35:
            return self._bought(view, near, far, kind, more)
        qty = held * max(0.2, self._draw())
        if kind < 0.5:
            if self._draw() < 0.3:
                more |= {"then": "twap", "duration": "5s", "interval": "1s"}
            level = quote.bid - near
            if self._draw() < 0.5 and "then" not in more:
                more |= {"by": "stop_limit", "limit_price": level - near}
            return sell(symbol, qty, trigger_price=level, reduce_only=True, **{"by": "stop", **more})
        if kind < 0.65:
            return sell(symbol, qty, by="trailing", callback_abs=near, reduce_only=True, **more)
        if kind < 0.75:
            level = quote.ask + near
            return sell(symbol, qty, by="take_profit", trigger_price=level, reduce_only=True, **more)
        partial = "reduce" if self._draw() < 0.7 else "cancel_all"
        legs: dict[str, Any] = {
            "take_profit": {"limit_price": quote.ask + (far if self._draw() < 0.5 else 0)},
            "stop": {"trigger_price": quote.bid - near, "source": source},
        }
        # What is to reduce is kept within what is held; what may do more has its group's quantity alone.
        reduces = self._draw() < 0.5
        return sell(symbol, qty, by="oco", reduce_only=reduces, partial=partial, reason="sim oco", **legs)

    def _bought(self, view: View, near: float, far: float, kind: float, more: dict[str, Any]) -> Wish:
        """Buy when the market rises, or falls, or either; or at once or at a limit with exits behind it."""
        quote, qty = view.quote(self.s.symbol), self.s.size * max(0.1, self._draw())
        legs: dict[str, Any]
        if kind < 0.08:
            return buy(self.s.symbol, qty, by="stop", trigger_price=quote.ask + near, **more)
        if kind < 0.15 or kind > 0.7:
            # At the touch it may trade in part before the market turns.
            legs = {"limit": {"limit_price": quote.bid}, "stop": {"trigger_price": quote.ask + near}}
            return buy(self.s.symbol, qty, by="oco", reason="sim oco", **legs)
        limit = quote.bid - near / 2 if self._draw() < 0.5 else None
        ends = ("keep_exits", "flatten", "drop_exits")[int(self._draw() * 3)]
        stop: dict[str, Any] = {"offset_abs": far, "source": more["source"]}
        if self._draw() < 0.5:
            # What has fired goes out in parts.
            stop["max_clip"] = round(max(0.4 * qty, 0.001), 3)
        legs = {"take_profit": {"offset_abs": far}, "on_cancel": ends}
        if self._draw() < 0.3:
            legs["trailing"] = {"callback_abs": far, "source": more["source"]}
        else:
            legs["stop"] = stop
        if self._draw() < 0.3 and limit is None:
            legs["entry"] = {"algo": "twap", "duration": "8s", "interval": "2s"}
        return buy(self.s.symbol, qty, by="bracket", limit_price=limit, reason="sim bracket", **legs)

    def _sliced(self, wish: Callable[..., Wish], around: Around, price: float) -> Wish:
        """Work a quantity by one of the algorithms, with settings at random."""
        algo = pick(self._draw, ALGORITHMS)
        limit = price if algo == "limit" else around.limit
        settings = settings_of(algo, self._draw, around)
        reason = f"sim {algo}"
        return wish(self.s.symbol, around.qty, by=algo, limit_price=limit, reason=reason, **settings)

    def _misbehave(self, kind: str, view: View) -> Commands:
        """Break one rule of strategies."""
        if kind == "raise":
            raise RuntimeError("scripted: the strategy raises")
        if kind == "endless":
            # No time passes inside a turn here; the live driver's watchdog breaks one off by this exception.
            raise TurnOverrun("scripted: the strategy's turn has no end")
        if kind == "flood":
            return [buy(self.s.symbol, self.s.size, reason="sim flood") for _ in range(FLOOD)]
        if kind == "nonsense":
            return (buy(self.s.symbol, 1e14), sell("NO/SUCH", 1.0), target(self.s.symbol, qty=-1e13))
        if kind == "price":
            return self._far(view)
        if kind == "unencodable":
            self.state.note = object()
            return self._act(view)
        return ["a text is no wish"]  # type: ignore[list-item]  # what an author may return by mistake

    def _far(self, view: View) -> Wish:
        """Wish for an order whose limit is 0.5 % to 15 % on the side of the market that loses money."""
        quote, held = view.quote(self.s.symbol), view.position(self.s.symbol)
        far = 0.005 + 0.145 * self._draw()
        if held.qty > 0 and self._draw() < 0.5:
            price = quote.bid * (1 - far)
            return sell(self.s.symbol, held.qty, by="limit", limit_price=price, reason="sim far")
        price = quote.ask * (1 + far)
        return buy(self.s.symbol, self.s.size / 2, by="limit", limit_price=price, reason="sim far")

    def _draw(self) -> float:
        """Return a number in [0, 1): splitmix64 (Steele et al., 2014), its integer is part of the State."""
        state = self.state
        state.chance = (state.chance + _GOLDEN + (self.s.seed if not state.chance else 0)) & _MASK
        return _mix(state.chance)


def _misdeed(word: str) -> tuple[str, int]:
    kind, _, at_ns = word.partition("@")
    return kind, int(at_ns)


def _mix(value: int) -> float:
    mixed = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((mixed ^ (mixed >> 31)) >> 11) / (1 << 53)


# --- the executor -----------------------------------------------------------------------------------


class SimChaosSettings(Settings, frozen=True, kw_only=True):
    """How many children at most, how patient in ms, and how it misbehaves."""

    seed: int = 0
    tries: int = 6
    patience: int = 8_000
    mode: Mode = "fair"


class Roll:
    """Numbers in [0, 1) from a hash of what the executor sees: no memory, no generator."""

    def __init__(self, seed: int, view: ParentView) -> None:
        """Hash what changes from question to question."""
        seen = f"{seed} {view.order.parent_id} {view.now_ns} {view.attempts} {view.cum_qty} {view.open_qty}"
        self._state = int.from_bytes(blake2b(seen.encode(), digest_size=8).digest(), "big")

    def __call__(self) -> float:
        self._state = (self._state + _GOLDEN) & _MASK
        return _mix(self._state)


@register("executor", CHAOS, settings=SimChaosSettings)
class SimChaos:
    """Slice, re-price, cancel and replace at random until the tries are gone."""

    def __init__(self, settings: SimChaosSettings) -> None:
        """Keep the settings."""
        self.settings = settings

    def decide(self, view: ParentView) -> tuple[ExecutorCommand, ...]:
        settings = self.settings
        roll = Roll(settings.seed, view)
        if settings.mode != "fair" and view.attempts:
            return _misbehaves(settings.mode, view)
        live = [child for child in view.children if child.live]
        if live and (not view.open_qty or roll() < 0.7):
            return self._tend(view, live, roll)
        if not view.open_qty:
            return ()
        if view.attempts >= settings.tries:
            return () if live else (EndParent(OrderStatus.EXPIRED, "tries"),)
        clip = self._clip(view, roll)
        if clip is not None and not clip.order_qty:
            # The lot has grown under the order: what is left is no lot any more.
            return () if live else (EndParent(OrderStatus.EXPIRED, "dust"),)
        return (self._wake(view, roll),) if clip is None else (clip, self._wake(view, roll))

    def _tend(self, view: ParentView, live: list[ChildView], roll: Roll) -> tuple[ExecutorCommand, ...]:
        """Wait, or change a child that has rested for a while."""
        child = live[int(roll() * len(live))]
        age_ns = view.now_ns - child.created_ns
        wake = self._wake(view, roll)
        if age_ns < self.settings.patience * MS * roll():
            return (wake,)
        fresh = self._clip(view, roll) if child.status is OrderStatus.NEW and child.in_doubt is None else None
        if fresh is None or fresh.time_in_force != "GTC" or roll() < 0.4:
            return (CancelChild(child.client_order_id, "sim re-price"), wake)
        qty = child.order_qty
        return (ReplaceChild(child.client_order_id, qty, fresh.limit_price, fresh.post_only), wake)

    def _clip(self, view: ParentView, roll: Roll) -> PlaceChild | None:
        """Return a slice at a random price, None where nobody says what the market is."""
        if view.collar_px is None or view.touch_px is None:
            return None
        price, tif = self._price(view, view.collar_px, view.touch_px, roll)
        most = view.instrument.floor_qty(view.open_qty)
        part = view.instrument.floor_qty(view.open_qty * Decimal(str(round(0.2 + roll(), 3))))
        qty = min(part, most)
        rest = most - qty
        if _too_small(view, qty, price) or (rest and _too_small(view, rest, price)):
            qty = most
        # Of a replacement only the price is taken.
        return PlaceChild(qty, price, tif, tif == "GTC" and roll() < 0.2)

    def _price(
        self, view: ParentView, collar: Decimal, touch: Decimal, roll: Roll
    ) -> tuple[Decimal, Literal["GTC", "IOC"]]:
        """Return a price within collar and limit: crossing at once, or some ticks behind the touch."""
        buys, limit, tick = view.order.side == "buy", view.order.limit_price, view.instrument.price_tick
        takes = roll() < 0.3
        away = tick * int(roll() * 60)
        price = collar if takes else max(tick, touch - away if buys else touch + away)
        if limit is not None:
            price = min(price, limit) if buys else max(price, limit)
        else:
            price = min(price, collar) if buys else max(price, collar)
        return (floor_step if buys else ceil_step)(price, tick), "IOC" if takes else "GTC"

    def _wake(self, view: ParentView, roll: Roll) -> Wake:
        return Wake(view.now_ns + int((0.2 + roll()) * self.settings.patience * MS))


def _too_small(view: ParentView, qty: Decimal, price: Decimal) -> bool:
    instrument = view.instrument
    return qty < instrument.min_qty or instrument.notional(qty, price) < instrument.min_notional


def _misbehaves(mode: Mode, view: ParentView) -> tuple[ExecutorCommand, ...]:
    """Break one rule of executors."""
    price = view.order.limit_price or view.collar_px or Decimal(1)
    if mode == "raise":
        raise RuntimeError("scripted: the executor raises")
    if mode == "nonsense":
        return (PlaceChild(view.order.order_qty * 1_000, price, "GTC"),)
    if mode == "price":
        return _beyond(view)
    if mode == "flood":
        return (PlaceChild(view.instrument.qty_lot, price, "GTC"),) * 2_000
    if mode == "ignores_fills":
        return (PlaceChild(view.order.order_qty, price, "GTC"),)
    if mode == "endless":
        return _endless(view)  # type: ignore[return-value]  # a generator where a tuple is expected
    return ("a text is no command",)  # type: ignore[return-value]  # what an author may return by mistake


def _beyond(view: ParentView) -> tuple[ExecutorCommand, ...]:
    """Place, or replace what rests, at a price beyond limit or collar; all else is as it should be."""
    worst, tick, roll = view.order.limit_price or view.collar_px, view.instrument.price_tick, Roll(0, view)
    if worst is None:
        return (Wake(view.now_ns + MS),)
    far = tick if roll() < 0.3 else max(tick, worst * Decimal(str(round(roll() ** 2 / 10, 4))))
    price = max(
        tick, ceil_step(worst + far, tick) if view.order.side == "buy" else floor_step(worst - far, tick)
    )
    resting = next((child for child in view.children if child.status is OrderStatus.NEW), None)
    if resting is not None and (roll() < 0.5 or not view.open_qty):
        return (ReplaceChild(resting.client_order_id, resting.order_qty, price),)
    return (PlaceChild(view.instrument.floor_qty(view.open_qty), price, "GTC"),)


def _endless(view: ParentView) -> Iterator[ExecutorCommand]:
    while True:
        yield Wake(view.now_ns + MS)
