"""A parent becomes another order while it works: more or less of it, another limit, end or display.

It is journaled that it is asked for, then what rests is cancelled to evidence, and only when nothing of it
rests any more the parent is the other order: at no instant is more of it alive than either of them allows.
What is in doubt counts as if it would trade.
"""

from __future__ import annotations

from decimal import Decimal

from msgspec.structs import replace

from tradefan.actors.oms_executor import plan_of, setting
from tradefan.actors.oms_state import Turn
from tradefan.actors.oms_tca_market import market_now
from tradefan.actors.oms_waiting import cancel_order
from tradefan.actors.oms_wakes import sooner
from tradefan.core.trading import ParentState
from tradefan.errors import Refused
from tradefan.messages.orders import AmendOrder, ParentOrder, Phase
from tradefan.messages.plan import Plan
from tradefan.messages.work import (
    AmendAsked,
    Amended,
)
from tradefan.units import SECOND, iso, plain, require_number


def tend_amend(turn: Turn, parent: ParentState) -> None:
    """Have what rests cancelled; without it, let the parent be what it is to become."""
    order = parent.amending
    if order is None or parent.phase not in (Phase.WORKING, Phase.PAUSED):
        return
    resting = [turn.trading.orders[name] for name in parent.live]
    resting = [child for child in resting if child.in_doubt is None]
    for child in resting:
        cancel_order(turn, child, "amend")
    if any(child.live for child in resting):
        return
    try:
        check_quantity(parent, order.order_qty)
        plan = amended_plan(turn, parent, order)
    except Refused as no:
        if no.code == "NO_REFERENCE":
            sooner(turn, order.parent_id, turn.now + SECOND)
            return
        # It has traded meanwhile what was to be taken off.
        turn.emit(AmendAsked(turn.now, order.parent_id, None))
        turn.log("warning", "amend_dropped", parent_id=order.parent_id, code=no.code, text=no.text)
    else:
        turn.emit(Amended(turn.now, order, plan, market_now(turn, order.instrument)[0]))
        turn.log("info", "amended", parent_id=order.parent_id, order_qty=plain(order.order_qty))
    turn.parents[order.parent_id] = turn.woken[order.parent_id] = None


def amended_plan(turn: Turn, parent: ParentState, order: ParentOrder) -> Plan:
    """Return the plan of what a parent is to become.

    Raises:
        Refused: why it cannot be worked.
    """
    assert parent.plan is not None
    end_ns: int | None = setting(order, "end_at", default=None)
    # An end that stays is the plan's: a pause may have moved it since it was asked for.
    if end_ns is None or end_ns == setting(parent.order, "end_at", default=None):
        moved = parent.plan
    else:
        moved = replace(parent.plan, end_ns=int(end_ns))
    plan = plan_of(turn, order, parent, moved)
    assert plan is not None
    return plan


def check_quantity(parent: ParentState, qty: Decimal) -> None:
    """Refuse less than what has traded, or may: C + U."""
    least = parent.cum_qty + parent.in_doubt_qty
    if qty < least:
        text = f"{plain(qty)} is less than the {plain(least)} that have traded, or may have"
        raise Refused("BELOW_DONE", text, f"order_qty {plain(least)}")


def changed(old: ParentOrder, wish: AmendOrder) -> ParentOrder:
    """Return the order that a wish makes of another; what it does not name stays.

    Raises:
        Refused: a number is none, or a display is given to what shows all of itself.
    """
    for name, value in (("order_qty", wish.order_qty), ("limit_price", wish.limit_price)):
        if value is not None:
            require_number(name, value)
    settings = dict(old.settings)
    if wish.end_ns is not None:
        settings.pop("duration", None)
        settings["end_at"] = iso(wish.end_ns)
    if wish.display is not None:
        if old.algo != "iceberg":
            raise Refused("BAD_SETTING", f"display is an iceberg's, this is {old.algo}")
        require_number("display", wish.display)
        settings["display"] = plain(wish.display)
    if wish.limit_price is not None:
        settings.pop("limit_offset_bps", None)
    return replace(
        old,
        order_qty=old.order_qty if wish.order_qty is None else wish.order_qty,
        limit_price=old.limit_price if wish.limit_price is None else wish.limit_price,
        settings=settings,
    )
