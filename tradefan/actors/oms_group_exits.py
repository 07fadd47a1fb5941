"""Exits of a bracket begin with the first fill of its entry: armed, or resting at the venue."""

from __future__ import annotations

from decimal import Decimal

from msgspec.structs import replace

from tradefan.actors.oms_arm import arm
from tradefan.actors.oms_state import Turn
from tradefan.actors.oms_tca_market import priced
from tradefan.actors.oms_watch import unwatch
from tradefan.core.contingent import trigger_settings
from tradefan.core.group import Leg, bracket_settings, legs_of
from tradefan.core.trading import ParentState
from tradefan.core.trading_state import GroupState
from tradefan.messages.contingent import Amend
from tradefan.messages.orders import OrderStatus, Phase
from tradefan.messages.records import (
    PhaseChange,
)
from tradefan.messages.work import (
    PlanChange,
)
from tradefan.units import plain


def begin_exit(turn: Turn, group: GroupState, parent: ParentState, entry: ParentState, qty: Decimal) -> None:
    """Let an exit begin with what is confirmed of its entry; an offset waits for a price to count from."""
    leg, known = leg_of(group, parent), _entry_price(entry)
    if (leg.is_offset and known is None) or parent.order.instrument not in turn.live.quotes:
        return
    instrument = turn.instrument(parent.order.instrument)
    assert instrument is not None
    level, name = leg.level(known or Decimal(0), instrument), parent.order.parent_id
    if leg.waits:
        turn.emit(priced(turn, parent, Amend(turn.now, name, qty, "group")))
        arm(turn, parent, trigger_settings(parent.order), level)
        return
    assert level is not None, "what rests has a price"
    turn.emit(priced(turn, parent, Amend(turn.now, name, qty, "group", level)))
    turn.emit(PhaseChange(turn.now, name, Phase.WORKING, OrderStatus.NEW, ""))
    turn.parents[name] = turn.woken[name] = None
    turn.log("info", "exit_begun", parent_id=name, leg=parent.leg, price=plain(level), qty=plain(qty))


def leg_of(group: GroupState, parent: ParentState) -> Leg:
    """Return a leg as it was asked for."""
    wish = group.wish
    legs = legs_of(group.kind, wish.side, wish.limit_price, wish.settings)
    return next(leg for leg in legs if leg.name == parent.leg)


def _entry_price(entry: ParentState) -> Decimal | None:
    """Return the mean price of what is booked of an entry; behind its first fill that is the first fill's."""
    return entry.value / entry.filled if entry.filled else None


def relevel(turn: Turn, group: GroupState, parent: ParentState, entry: ParentState) -> None:
    """Let a level that counts from the mean price of the entry follow it."""
    if bracket_settings(group.wish.settings).levels_from != "avg_px":
        return
    leg, known, instrument = (
        leg_of(group, parent),
        _entry_price(entry),
        turn.instrument(parent.order.instrument),
    )
    if not leg.is_offset or known is None or instrument is None:
        return
    level = leg.level(known, instrument)
    if parent.phase is Phase.ARMED and parent.trigger is not None and parent.trigger.level != level:
        unwatch(turn, parent)
        arm(turn, parent, trigger_settings(parent.order), level)
    elif parent.phase is Phase.WORKING and not leg.waits and parent.order.limit_price != level:
        _move(turn, parent, level)


def _move(turn: Turn, parent: ParentState, level: Decimal | None) -> None:
    name, plan = parent.order.parent_id, parent.plan
    turn.emit(Amend(turn.now, name, parent.order.order_qty, "level", level))
    if plan is not None and level is not None:
        turn.emit(PlanChange(turn.now, name, replace(plan, limit=int(level // plan.price_tick))))
    turn.parents[name] = turn.woken[name] = None
