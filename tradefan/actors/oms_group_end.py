"""What is left of a group is brought to nothing: what a race overfilled, or a bracket that was cancelled."""

from __future__ import annotations

from decimal import Decimal

from msgspec.structs import replace

from tradefan.actors.oms_executor import plan_of
from tradefan.actors.oms_gate import mode_of, risk_state
from tradefan.actors.oms_policy import ask_again
from tradefan.actors.oms_room import got, is_dust, say_dust, sharing
from tradefan.actors.oms_state import Turn
from tradefan.actors.oms_tca import in_market
from tradefan.core.group import ENTRY
from tradefan.core.ids import parent_id
from tradefan.core.trading import ParentState
from tradefan.core.trading_state import GroupState
from tradefan.errors import Refused
from tradefan.messages.contingent import GroupEnding
from tradefan.messages.orders import Phase
from tradefan.messages.records import (
    Parent,
)
from tradefan.units import SECOND, ZERO, opposite, plain

FLATTEN = "flatten"


def is_over(turn: Turn, entry: ParentState, exits: list[ParentState]) -> bool:
    """Say whether a bracket whose entry has ended has nothing left that a venue lets trade.

    What rests is waited for, and a price that an exit waits for counts, too: dust here may be none there.
    """
    left = got(entry) - sum((one.cum_qty for one in exits), ZERO)
    instrument = turn.instrument(entry.order.instrument)
    if left <= 0 or instrument is None:
        return left <= 0
    waiting = [one for one in exits if one.phase not in (Phase.COMPLETING, Phase.DONE)]
    prices = [one.order.limit_price for one in waiting]
    for armed in (one.trigger for one in waiting if one.trigger is not None and not one.fired):
        prices += [armed.level, armed.watermark]
    if any(one.live for one in exits) or not is_dust(turn, instrument, left, *prices):
        return False
    say_dust(turn, entry.order.parent_id, instrument, left)
    return True


def end_group(turn: Turn, group: GroupState, legs: dict[str, ParentState]) -> None:
    """Sell what a cancelled bracket still has of what it bought, once nothing of it works any more.

    A kill behind the cancel ends that, too; what it leaves is named.
    """
    entry, exits = legs[ENTRY], sharing(group, legs)
    if group.flat is not None or any(one.phase is not Phase.DONE for one in (entry, *exits)):
        return
    left = got(entry) - sum((one.cum_qty for one in exits), ZERO)
    instrument, order, group_id = turn.instrument(entry.order.instrument), entry.order, entry.group
    if left <= 0 or instrument is None or group_id is None:
        return
    position = risk_state(turn, order.account, instrument, order.owner).owner.position
    left = min(left, max(position if order.side == "buy" else -position, ZERO))
    if is_dust(turn, instrument, left):
        say_dust(turn, order.parent_id, instrument, left)
    elif mode_of(turn, order.account, order.instrument, order.owner).mode == "KILLED":
        turn.emit(GroupEnding(turn.now, group_id, "drop_exits"))
        turn.log("critical", "not_flattened", parent_id=order.parent_id, code="MODE_KILLED", qty=plain(left))
    else:
        flatten(turn, group, entry, left)


def flatten(turn: Turn, group: GroupState, first: ParentState, qty: Decimal) -> None:
    """Order the other way what a leg has traded; without a price it is tried again each second.

    The order stays at work until it is done (`oms_room.stays`).
    """
    trading, instrument = turn.trading, turn.instrument(first.order.instrument)
    if turn.live.closing:
        return
    qty = qty if instrument is None else instrument.floor_qty(qty)
    if instrument is None or qty < instrument.min_qty or not qty:
        return
    name = parent_id(trading.instance or "aaa", trading.epoch, trading.parent_sequence + 1)
    group_id = first.group
    assert group_id is not None
    order = replace(
        first.order,
        parent_id=name,
        ref=f"{first.order.ref}:{FLATTEN}",
        side=opposite(first.order.side),
        order_qty=qty,
        algo="market",
        settings={"insist": True, "on_restart": "resume"},
        limit_price=None,
        intent_id=group_id,
        reason=FLATTEN,
        reduce_only=group.kind == "bracket",
        protective=False,
        created_ns=turn.now,
    )
    try:
        plan = plan_of(turn, order)
    except Refused as no:
        if first.order.parent_id not in turn.live.overdue:
            turn.live.overdue[first.order.parent_id] = None
            turn.log("critical", "not_flattened", parent_id=first.order.parent_id, code=no.code)
        ask_again(turn, first, SECOND)
        return
    turn.emit(in_market(turn, Parent(turn.now, order, None, plan), None))
    turn.emit(GroupEnding(turn.now, group_id, group.ending, name))
    turn.parents[name] = turn.woken[name] = None
    turn.log("warning", "flattening", parent_id=name, group=group_id)
