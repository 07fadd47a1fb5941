"""Which prices armed parents wait for: followed from the first of an instrument to the last.

What a trigger has seen is rebuilt from its level and its watermark, which the journal has; how far a price
was confirmed when nobody was here any more counts for nothing.
"""

from __future__ import annotations

from decimal import Decimal

from tradefan.actors.oms_state import Turn, Watched
from tradefan.core.contingent import condition_of, step_of, steps_beyond, trigger_settings
from tradefan.core.trading import ParentState
from tradefan.core.trigger import Armed
from tradefan.messages.contingent import TriggerPause, Watermark
from tradefan.messages.control import Timer
from tradefan.messages.market import FollowTrades
from tradefan.units import InstrumentId, ParentId

LAST = "last"


def watch(turn: Turn, parent: ParentState) -> None:
    """Begin to look at the market for an armed parent; one that is watched already goes on.

    One that somebody has paused sees no price, only its expiry.
    """
    order, live, trigger = parent.order, turn.live, parent.trigger
    instrument = turn.instrument(order.instrument)
    if order.parent_id in live.watched or trigger is None or instrument is None:
        return
    settings = trigger_settings(order)
    tick, condition = step_of(settings, instrument), condition_of(order, settings, instrument, trigger.level)
    known = trigger.watermark
    mark = None if known is None else steps_beyond(known, tick, rises=condition.rises)
    live.watched[order.parent_id] = Watched(condition, Armed(mark), settings.source, tick, mark)
    if trigger.expires_ns is not None:
        turn.ctx.after(
            max(trigger.expires_ns - turn.now, 0), Timer("expiry", order.parent_id, trigger.expires_ns)
        )
    if trigger.paused:
        return
    first = not follows(turn, order.instrument)
    live.watchers.setdefault(order.instrument, {})[order.parent_id] = None
    if first and settings.source == LAST:
        follow(turn, order.instrument, on=True)


def unwatch(turn: Turn, parent: ParentState) -> None:
    """Look at the market no more for a parent that has fired, or was disarmed."""
    order, live = parent.order, turn.live
    watched, here = live.watched.pop(order.parent_id, None), live.watchers.get(order.instrument, {})
    if watched is None or order.parent_id not in here:
        return
    here.pop(order.parent_id)
    if watched.source == LAST and not follows(turn, order.instrument):
        follow(turn, order.instrument, on=False)
    if not here:
        del live.watchers[order.instrument]


def pause_trigger(turn: Turn, parent: ParentState, reason: str, *, paused: bool) -> None:
    """Let an armed parent fire nothing from now on, or confirm prices from the beginning again."""
    name = parent.order.parent_id
    if name in turn.live.watched:
        mark_watermark(turn, name, turn.live.watched[name])
    unwatch(turn, parent)
    turn.emit(TriggerPause(turn.now, name, paused, reason))
    turn.parents[name] = None
    watch(turn, parent)


def follows(turn: Turn, instrument: InstrumentId) -> bool:
    """Say whether somebody waits for trades of an instrument."""
    names = turn.live.watchers.get(instrument, {})
    return any(turn.live.watched[name].source == LAST for name in names)


def follow(turn: Turn, instrument: InstrumentId, *, on: bool) -> None:
    """Tell the markets whose trades are waited for; one that does not have the instrument passes over it."""
    for ref in turn.wiring.markets:
        turn.send(ref, FollowTrades(instrument, on))


def begin_anew(turn: Turn, instrument: InstrumentId) -> None:
    """Confirm prices from the beginning: what came before a gap does not connect to what comes."""
    for name in turn.live.watchers.get(instrument, {}):
        watched = turn.live.watched[name]
        watched.armed = Armed(watched.armed.watermark)


def rescale(turn: Turn, instrument: InstrumentId) -> None:
    """Take another tick: levels are prices, and count anew in it."""
    found = turn.instrument(instrument)
    for name in tuple(turn.live.watchers.get(instrument, {})):
        parent, watched = turn.trading.parents[name], turn.live.watched[name]
        if found is None or watched.tick == step_of(trigger_settings(parent.order), found):
            continue
        mark_watermark(turn, name, watched)
        unwatch(turn, parent)
        watch(turn, parent)


def mark_watermark(turn: Turn, name: ParentId, watched: Watched) -> None:
    """Journal a watermark that has moved since it was journaled last."""
    mark = watched.armed.watermark
    if mark is not None and mark != watched.marked:
        turn.emit(Watermark(turn.now, name, Decimal(mark) * watched.tick))
        watched.marked = mark
        turn.parents[name] = None
