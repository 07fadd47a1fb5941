"""Triggers: what an armed parent makes of a price, when it may fire, and how it goes to work then.

Only a LIVE feed fires. What should fire and may not (a mode, a venue that is away, a journal that does not
commit) is an alarm, stays armed, and fires by the first price that still says so when it may.
"""

from __future__ import annotations

from decimal import Decimal

from tradefan.actors.oms_gate import away, closed, may_leave, mode_of, risk_state
from tradefan.actors.oms_parents import complete
from tradefan.actors.oms_room import is_taken
from tradefan.actors.oms_state import Turn, Watched
from tradefan.actors.oms_watch import LAST, begin_anew, mark_watermark, unwatch
from tradefan.core import trigger
from tradefan.core.contingent import steps_beyond
from tradefan.core.group import ENTRY
from tradefan.core.trading import ParentState
from tradefan.core.trigger import BPS, Condition
from tradefan.messages.contingent import Triggered
from tradefan.messages.control import Timer
from tradefan.messages.instrument import Instrument
from tradefan.messages.market import FeedQuality, Quality, Quote, Trade
from tradefan.messages.orders import OrderStatus, Phase
from tradefan.risk import reduces
from tradefan.units import MINUTE, SECOND, ZERO, InstrumentId, ParentId, exact, plain, to_ticks

SAID_NS = MINUTE
"""That a trigger is hindered is said again so long after the last time at the soonest."""
MARK_NS = SECOND
"""A watermark that moves is journaled so often at most, and on each tenth of the callback."""


# --- prices ---------------------------------------------------------------------------------------------


def on_trade(turn: Turn, trade: Trade) -> None:
    """Show a trade to those who wait for the last price."""
    if not is_live(turn, trade.instrument):
        return
    for name in tuple(turn.live.watchers.get(trade.instrument, {})):
        watched = turn.live.watched.get(name)
        if watched is not None and watched.source == LAST:
            _show(turn, name, watched, to_ticks(trade.price, float(watched.tick)), trade.trade_id)


def on_quote(turn: Turn, quote: Quote) -> None:
    """Show a quote to those who wait for the mid, or for the side at which they would trade."""
    if not is_live(turn, quote.instrument):
        return
    for name in tuple(turn.live.watchers.get(quote.instrument, {})):
        watched = turn.live.watched.get(name)
        if watched is not None and watched.source != LAST:
            sides = (exact(quote.bid), exact(quote.ask))
            ticks = quoted_ticks(watched.source, watched.condition, sides, watched.tick)
            _show(turn, name, watched, ticks, watched.seq + 1)


def quoted_ticks(source: str, condition: Condition, sides: tuple[Decimal, Decimal], tick: Decimal) -> int:
    """Return what bid and ask say in steps of `tick`; what is off that grid is rounded away from firing."""
    bid, ask = sides
    own = ask if condition.side == "buy" else bid
    price = own if source == "bid_ask" else (bid + ask) / 2
    return steps_beyond(price, tick, rises=not condition.rises)


def is_live(turn: Turn, instrument: InstrumentId) -> bool:
    """Say whether the prices of a feed may fire anything."""
    quality = turn.live.qualities.get(instrument)
    return quality is not None and quality.quality is Quality.LIVE


def _show(turn: Turn, name: ParentId, watched: Watched, price: int, seq: int) -> None:
    """Let a trigger look at a price; it may fire, or move its watermark."""
    before, condition = watched.armed, watched.condition
    watched.seq, watched.looks = seq, watched.looks + 1
    # What has to hold is looked at again without a new trade: there each look counts.
    number = watched.looks if condition.confirm.held_ns else seq
    after = watched.armed = trigger.observe(condition, before, price, number, turn.now)
    if after is before:
        return
    if watched.blocked and not trigger.is_beyond(condition, before, price):
        watched.was_back = True
    parent = turn.trading.parents[name]
    if after.fired is not None:
        _fire(turn, parent, watched, after.fired, seq)
    elif after.gapped and not before.gapped:
        _alarm(turn, parent, watched, "gap_limit", price)
    else:
        _mark(turn, name, watched)
        _look_again(turn, name, watched, price)


def _mark(turn: Turn, name: ParentId, watched: Watched) -> None:
    """Journal a watermark at most once a second, and on each tenth of the callback."""
    mark, known = watched.armed.watermark, watched.marked
    if mark is None or mark == known:
        return
    state = turn.trading.parents[name].trigger
    assert state is not None
    far = known is None or abs(mark - known) >= _callback_ticks(watched, mark) / 10
    if far or turn.now - state.marked_ns >= MARK_NS:
        mark_watermark(turn, name, watched)


def _callback_ticks(watched: Watched, mark: int) -> Decimal:
    condition = watched.condition
    if condition.callback_ticks is not None:
        return Decimal(condition.callback_ticks)
    return Decimal(mark) * (condition.callback_bps or ZERO) / BPS


# --- prices that have to hold -----------------------------------------------------------------------------


def _look_again(turn: Turn, name: ParentId, watched: Watched, price: int) -> None:
    """Come back when a price that is beyond the level now will have held for long enough."""
    held_ns, watched.price = watched.condition.confirm.held_ns, price
    if held_ns and trigger.is_beyond(watched.condition, watched.armed, price) and watched.due_ns <= turn.now:
        watched.due_ns = turn.now + held_ns
        turn.ctx.after(held_ns, Timer("held", name, watched.due_ns))


def on_held_timer(turn: Turn, timer: Timer) -> None:
    """Look at the newest price again: nothing that came since was on the other side."""
    name = ParentId(timer.subject)
    watched, parent = turn.live.watched.get(name), turn.trading.parents.get(name)
    if watched is None or parent is None or watched.due_ns != timer.number:
        return
    watched.due_ns = 0
    if is_live(turn, parent.order.instrument) and watched.armed.recent:
        _show(turn, name, watched, watched.price, watched.seq)


def on_expiry_timer(turn: Turn, timer: Timer) -> None:
    """End an armed parent whose time is over."""
    parent = turn.trading.parents.get(ParentId(timer.subject))
    if parent is None or parent.phase is not Phase.ARMED or parent.trigger is None:
        return
    if parent.trigger.expires_ns == timer.number:
        complete(turn, parent, OrderStatus.EXPIRED, "expiry")


# --- data ---------------------------------------------------------------------------------------------------


def on_quality(turn: Turn, msg: FeedQuality, before: Quality | None) -> None:
    """Freeze what waits for a feed that nobody can trust, and say so when it was trusted before."""
    names = turn.live.watchers.get(msg.instrument)
    if not names or msg.quality is Quality.LIVE:
        return
    begin_anew(turn, msg.instrument)
    lost = msg.quality in (Quality.STALE, Quality.BLIND) and before in (Quality.LIVE, Quality.SUSPECT)
    if lost:
        turn.log("error", "trigger_frozen", instrument=msg.instrument, parents=list(names)[:20])


# --- firing ---------------------------------------------------------------------------------------------


def _fire(turn: Turn, parent: ParentState, watched: Watched, price: int, seq: int) -> None:
    """Let a parent go to work, unless it may not now: then the next price asks again."""
    if is_taken(turn, parent) and parent.leg != ENTRY:
        watched.armed = trigger.again(watched.armed)
        return
    why = hindrance(turn, parent)
    if why is not None:
        watched.armed = trigger.again(watched.armed)
        _alarm(turn, parent, watched, why, price)
        return
    fire(turn, parent, price * watched.tick, watched.source, seq)


def fire(turn: Turn, parent: ParentState, price: Decimal, source: str, seq: int) -> None:
    """Journal that a trigger has fired; its first child leaves behind that."""
    order = parent.order
    turn.emit(Triggered(turn.now, order.parent_id, price, source, seq))
    unwatch(turn, parent)
    turn.parents[order.parent_id] = turn.woken[order.parent_id] = None
    turn.log(
        "warning",
        "triggered",
        parent_id=order.parent_id,
        owner=order.owner,
        instrument=order.instrument,
        side=order.side,
        algo=order.algo,
        price=plain(price),
        source=source,
        seq=seq,
    )


def hindrance(turn: Turn, parent: ParentState) -> str | None:
    """Return why a trigger may not fire now, None where it may."""
    order, instrument = parent.order, turn.instrument(parent.order.instrument)
    if closed(turn, at_stop=False) is not None:
        return "stopping"
    if instrument is None or instrument.status != "TRADING":
        return "halt"
    if away(turn, order.account) is not None:
        return "disconnected"
    if turn.live.journal_failing is not None:
        return "journal"
    return _by_mode(turn, parent, instrument)


def _by_mode(turn: Turn, parent: ParentState, instrument: Instrument) -> str | None:
    order = parent.order
    now = mode_of(turn, order.account, order.instrument, order.owner)
    if now.mode == "NORMAL":
        return None
    if now.mode == "KILLED":
        return now.code
    if now.mode == "CANCEL_ONLY":
        way_out = order.reduce_only and may_leave(turn, order.account, order.instrument, order.owner)
        return None if way_out else now.code
    state = risk_state(turn, order.account, instrument, order.owner)
    return None if order.reduce_only or reduces(state, order.side, order.order_qty) else now.code


def _alarm(turn: Turn, parent: ParentState, watched: Watched, why: str, price: int) -> None:
    """Say for each reason that a trigger should fire and does not; again when the market was back meanwhile.

    A market that hovers at the level is no news each time.
    """
    if watched.blocked == why and not (watched.was_back and turn.now - watched.said_ns >= SAID_NS):
        return
    watched.blocked, watched.said_ns, watched.was_back = why, turn.now, False
    turn.log(
        "critical" if parent.order.protective else "warning",
        "trigger_blocked",
        parent_id=parent.order.parent_id,
        owner=parent.order.owner,
        instrument=parent.order.instrument,
        reason=why,
        price=plain(price * watched.tick),
    )
