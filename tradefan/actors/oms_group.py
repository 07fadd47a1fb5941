"""Groups at work: what one leg does to the others, followed from what is, so that no event can be missed.

`tend` is asked before each question to a member and behind the end of each. It is the same whoever asks, and
after a restart: what it wants is journaled in the turn in which it decides so.
"""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal

from tradefan.actors.oms_executor import plan_of
from tradefan.actors.oms_gate import risk_state
from tradefan.actors.oms_group_end import FLATTEN, end_group, flatten, is_over
from tradefan.actors.oms_group_exits import begin_exit, relevel
from tradefan.actors.oms_parents import complete
from tradefan.actors.oms_policy import ask_again
from tradefan.actors.oms_room import got, is_dust, members, say_dust, sharing
from tradefan.actors.oms_state import Turn
from tradefan.actors.oms_tca_market import priced
from tradefan.core.group import ENTRY, bracket_settings, oco_settings
from tradefan.core.trading import ParentState
from tradefan.core.trading_state import GroupState
from tradefan.errors import Refused
from tradefan.messages.contingent import Amend, GroupEnding
from tradefan.messages.instrument import Instrument
from tradefan.messages.orders import OrderStatus, Phase
from tradefan.messages.work import (
    PlanChange,
)
from tradefan.units import ZERO, ParentId, plain

OTHER = "other_leg"
"""Why a leg ends when another one has taken its place."""
_ENDED = (Phase.COMPLETING, Phase.DONE)


def tend(turn: Turn, name: ParentId) -> None:
    """Bring the members of a group to where they should be."""
    group = turn.trading.groups.get(name)
    if group is None or not turn.live.running or name in turn.live.tending:
        return
    legs = members(turn, group)
    if len(legs) < len(group.members):
        _end(turn, list(legs.values()), "restart")
        return
    # What ends here asks for its group in turn.
    turn.live.tending[name] = None
    if group.kind == "oco":
        _oco(turn, group, legs)
    else:
        _bracket(turn, name, group, legs)
    del turn.live.tending[name]


def leg_ended(turn: Turn, name: ParentId) -> None:
    """Look after a group behind the end of a member, and ask whoever waited for it."""
    tend(turn, name)
    group = turn.trading.groups.get(name)
    for one in members(turn, group).values() if group is not None else ():
        if one.phase is Phase.WORKING and one.plan is None and not waits_for_others(turn, one):
            turn.woken[one.order.parent_id] = None


def waits_for_others(turn: Turn, parent: ParentState) -> bool:
    """Say whether a leg may place nothing yet: what it takes the place of has not ended for certain."""
    group = None if parent.group is None else turn.trading.groups.get(parent.group)
    if group is None or (group.kind == "bracket" and parent.leg == ENTRY):
        return False
    legs = members(turn, group)
    others = [one for one in sharing(group, legs) if one is not parent]
    if parent.fired and ENTRY in legs:
        others.append(legs[ENTRY])
    return any(one.live for one in others) or (
        parent.fired and any(one.phase not in _ENDED for one in others)
    )


def _end(turn: Turn, legs: list[ParentState], reason: str) -> None:
    for one in legs:
        if one.phase not in _ENDED:
            complete(turn, one, OrderStatus.CANCELED, reason)


def _others(legs: list[ParentState], parent: ParentState) -> list[ParentState]:
    return [one for one in legs if one is not parent]


def _ended_by_wish(one: ParentState) -> bool:
    """Say whether somebody has cancelled a leg: that ends the others, too."""
    return one.phase in _ENDED and one.status is OrderStatus.CANCELED and one.reason == "cancelled"


# --- one cancels the other --------------------------------------------------------------------------------


def _oco(turn: Turn, group: GroupState, legs: dict[str, ParentState]) -> None:
    every, most = list(legs.values()), group.wish.order_qty
    total = sum((one.cum_qty for one in every), ZERO)
    taken = oco_settings(group.wish.settings).partial == "cancel_all"
    for one in every:
        if one.fired or (taken and one.cum_qty) or total >= most or _ended_by_wish(one):
            _end(turn, [other for other in _others(every, one) if not other.fired], OTHER)
    for one in every:
        left = most - (total - one.cum_qty)
        if one.phase not in _ENDED and left < one.order.order_qty and left > one.cum_qty:
            _amend(turn, one, left)
    if total > most and not any(one.live for one in every) and group.flat is None:
        _overfilled(turn, group, every[0], total - most)


def _overfilled(turn: Turn, group: GroupState, first: ParentState, over: Decimal) -> None:
    """Bring back what a race at the venue has traded too much; of legs on both sides nobody knows which."""
    name, both = first.order.parent_id, len({one.order.side for one in members(turn, group).values()}) > 1
    if name not in turn.live.overfilled:
        turn.live.overfilled[name] = None
        turn.log("critical", "oco_overfilled", parent_id=name, qty=plain(over), flattens=not both)
    if not both:
        flatten(turn, group, first, over)


def _amend(turn: Turn, parent: ParentState, qty: Decimal) -> None:
    grows = qty > parent.order.order_qty
    turn.emit(priced(turn, parent, Amend(turn.now, parent.order.parent_id, qty, "group")))
    turn.parents[parent.order.parent_id] = turn.woken[parent.order.parent_id] = None
    if grows and parent.fired and parent.plan is not None:
        # What it works on was cut from less.
        with suppress(Refused):
            plan = plan_of(turn, parent.order, parent)
            assert plan is not None
            turn.emit(PlanChange(turn.now, parent.order.parent_id, plan))


# --- bracket ------------------------------------------------------------------------------------------------


def _bracket(turn: Turn, name: ParentId, group: GroupState, legs: dict[str, ParentState]) -> None:
    entry, exits = legs[ENTRY], sharing(group, legs)
    out = sum((one.cum_qty for one in exits), ZERO)
    begun = out > 0 or any(one.fired for one in exits)
    if begun and entry.phase not in _ENDED:
        # What is to be closed is not built up any more.
        complete(turn, entry, OrderStatus.CANCELED, "exit")
    over = entry.phase is Phase.DONE and is_over(turn, entry, exits)
    for one in exits:
        if one.fired or _ended_by_wish(one):
            _end(turn, [other for other in _others(exits, one) if not other.fired], OTHER)
    if over or group.ending in ("flatten", "drop_exits"):
        _end(turn, exits, OTHER if out else "entry_ended")
    else:
        _size(turn, name, group, legs, out)
    if group.ending == "flatten":
        end_group(turn, group, legs)


def _size(turn: Turn, name: ParentId, group: GroupState, legs: dict[str, ParentState], out: Decimal) -> None:
    """Let the exits cover what the entry has for certain, less what they have taken back."""
    entry, instrument = legs[ENTRY], turn.instrument(legs[ENTRY].order.instrument)
    if not entry.cum_qty or instrument is None:
        return
    exits = [one for one in sharing(group, legs) if one.phase not in _ENDED]
    left = _coverable(turn, instrument, exits, got(entry) - out)
    waits_ns = _batch_ns(turn, name, group, entry)
    for one in exits:
        if left <= 0:
            continue
        want = one.cum_qty + left
        if one.phase is Phase.VALIDATED:
            begin_exit(turn, group, one, entry, want)
            turn.live.resized[name] = turn.now
        elif want < one.order.order_qty or (want > one.order.order_qty and waits_ns <= 0):
            _amend(turn, one, want)
            turn.live.resized[name] = turn.now
        elif want > one.order.order_qty:
            ask_again(turn, entry, waits_ns)
        relevel(turn, group, one, entry)
        if is_dust(turn, instrument, left):
            say_dust(turn, one.order.parent_id, instrument, left)


def _coverable(turn: Turn, instrument: Instrument, exits: list[ParentState], left: Decimal) -> Decimal:
    """Return what exits can cover: what is still held; whoever reserves it makes way when one fires."""
    if not exits or instrument.kind != "spot" or exits[0].order.side == "buy":
        return instrument.floor_qty(left)
    order = exits[0].order
    position = risk_state(turn, order.account, instrument, order.owner).owner.position
    return instrument.floor_qty(max(min(left, position), ZERO))


def _batch_ns(turn: Turn, name: ParentId, group: GroupState, entry: ParentState) -> int:
    """Return for how long a growth of the exits is put off; not once the entry has ended."""
    if entry.phase is Phase.DONE or any(one.fired for one in members(turn, group).values()):
        return 0
    settings = bracket_settings(group.wish.settings)
    return turn.live.resized.get(name, -settings.resize) + settings.resize - turn.now


# --- cancelled ----------------------------------------------------------------------------------------------


def flatten_brackets(turn: Turn, ended: list[ParentState]) -> None:
    """Let those brackets of which all that is open ends be sold, where their `on_cancel` says so."""
    names = {parent.order.parent_id for parent in ended}
    for group_id in dict.fromkeys(parent.group for parent in ended if parent.group is not None):
        group = turn.trading.groups.get(group_id)
        if group is None or group.kind != "bracket" or group.ending == FLATTEN:
            continue
        left = [one for one in members(turn, group).values() if one.phase is not Phase.DONE]
        flattens = bracket_settings(group.wish.settings).on_cancel == FLATTEN
        if flattens and all(one.order.parent_id in names for one in left):
            turn.emit(GroupEnding(turn.now, group_id, FLATTEN))


def cancel_group(turn: Turn, parent: ParentState) -> bool:
    """End a bracket by its entry's cancel, as `on_cancel` says; False where it is an order like any."""
    group = None if parent.group is None else turn.trading.groups.get(parent.group)
    if group is None or parent.group is None or group.kind != "bracket" or parent.leg != ENTRY:
        return False
    ending = bracket_settings(group.wish.settings).on_cancel
    turn.emit(GroupEnding(turn.now, parent.group, ending))
    _end(turn, [parent], "cancelled")
    tend(turn, parent.group)
    return True
