"""The budget of a group, held where children are created: an overshoot is never sent.

Of an `oco` its quantity, of the exits of a bracket what its entry has bought or sold for certain.
"""

from __future__ import annotations

from decimal import Decimal

from tradefan.actors.oms_state import Turn
from tradefan.core.group import ENTRY
from tradefan.core.trading import ParentState
from tradefan.core.trading_state import GroupState
from tradefan.messages.instrument import Instrument
from tradefan.units import ZERO, ParentId, exact, plain


def is_exit(parent: ParentState) -> bool:
    """Say whether a parent is an exit of a bracket, which is sized by its group."""
    return parent.group is not None and parent.held


def members(turn: Turn, group: GroupState) -> dict[str, ParentState]:
    """Return the members of a group that are in memory, by leg."""
    known = turn.trading.parents
    return {leg: known[name] for leg, name in group.members.items() if name in known}


def budget(group: GroupState, legs: dict[str, ParentState]) -> Decimal:
    """Return what the legs that share a quantity may come to."""
    if group.kind == "oco":
        return group.wish.order_qty
    return legs[ENTRY].cum_qty if ENTRY in legs else ZERO


def got(entry: ParentState) -> Decimal:
    """Return what an entry has for certain, less what a fee in the base asset took of it."""
    return entry.cum_qty - (entry.base_fee if entry.order.side == "buy" else ZERO)


def sharing(group: GroupState, legs: dict[str, ParentState]) -> list[ParentState]:
    """Return the legs that share the quantity: all of an oco, the exits of a bracket."""
    return [one for leg, one in legs.items() if group.kind == "oco" or leg != ENTRY]


def is_dust(turn: Turn, instrument: Instrument, qty: Decimal, *prices: Decimal | None) -> bool:
    """Say whether a venue lets nothing of a quantity trade, at the market or at any of these prices."""
    if qty < max(instrument.min_qty, instrument.qty_lot):
        return True
    quote = turn.live.quotes.get(instrument.id)
    if quote is None:
        return False
    best = max(exact(quote.bid), *(price for price in prices if price is not None), ZERO)
    return instrument.notional(qty, best) < instrument.min_notional


def say_dust(turn: Turn, name: ParentId, instrument: Instrument, qty: Decimal) -> None:
    """Say once that a venue takes no order of what is left; less than a lot is no news."""
    if name not in turn.live.dusty:
        turn.live.dusty[name] = None
        level = "info" if qty < instrument.qty_lot else "warning"
        turn.log(level, "unprotected_dust", parent_id=name, qty=plain(qty))


def is_taken(turn: Turn, parent: ParentState) -> bool:
    """Say whether another leg of a parent's group has fired."""
    group = None if parent.group is None else turn.trading.groups.get(parent.group)
    if group is None:
        return False
    legs = members(turn, group)
    return any(one.fired for one in sharing(group, legs) if one is not parent)


def flattens(turn: Turn, parent: ParentState) -> bool:
    """Say whether a parent brings what is left of a group to nothing."""
    order = parent.order
    group = turn.trading.groups.get(ParentId(order.intent_id or ""))
    return group is not None and group.flat == order.parent_id


def stays(turn: Turn, parent: ParentState) -> bool:
    """Say whether a parent goes on where a gate refuses its child: what has fired, legs, what flattens."""
    leg = parent.group is not None and parent.leg != ENTRY
    return parent.fired or leg or flattens(turn, parent)


def no_room(turn: Turn, parent: ParentState, qty: Decimal) -> bool:
    """Say whether a child would take a group beyond its quantity (I1): then nothing is sent of it."""
    group = None if parent.group is None else turn.trading.groups.get(parent.group)
    if group is None or (group.kind == "bracket" and parent.leg == ENTRY):
        return False
    legs = members(turn, group)
    done = sum((one.done_qty for one in sharing(group, legs)), ZERO)
    if done + qty <= budget(group, legs):
        return False
    most = plain(budget(group, legs) - done)
    turn.log("info", "group_full", parent_id=parent.order.parent_id, room=most, wanted=plain(qty))
    return True
