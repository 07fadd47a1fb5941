"""What waits for the market is amended: nothing of it is at the venue, so it is another order at once.

At no instant is a position less protected by it than either of the two orders would.
"""

from __future__ import annotations

from msgspec.structs import replace

from tradefan.actors.oms_amend import changed
from tradefan.actors.oms_arm import arm
from tradefan.actors.oms_contingent import check_trigger_now
from tradefan.actors.oms_entry import No, tradable
from tradefan.actors.oms_executor import setting
from tradefan.actors.oms_group_entry import check_entry
from tradefan.actors.oms_reduce import over_position
from tradefan.actors.oms_state import Turn
from tradefan.actors.oms_tca_market import priced
from tradefan.actors.oms_watch import unwatch
from tradefan.core.trading import ParentState
from tradefan.errors import Refused
from tradefan.messages.contingent import Amend
from tradefan.messages.orders import AmendOrder, ParentOrder
from tradefan.units import plain, require_number

WHY = "amended"


def amend_armed(turn: Turn, parent: ParentState, wish: AmendOrder) -> None:
    """Give an armed parent another quantity, limit or trigger price, held against all that an entry is.

    Raises:
        Refused, No: why it may not; it waits as before then.
    """
    assert parent.trigger is not None, "what is armed has a trigger"
    old, level = parent.order, wish.trigger_price or parent.trigger.level
    order = _changed(parent, wish)
    if order == replace(old, settings=order.settings) and level == parent.trigger.level:
        raise Refused("NOTHING_TO_AMEND", "expected another quantity, limit_price or trigger_price")
    instrument = tradable(turn, order.account, order.instrument)
    settings = check_trigger_now(turn, order, instrument)
    check_entry(turn, parent, order)
    over = over_position(turn, order, instrument)
    if over is not None and order.order_qty > old.order_qty:
        raise No(over)
    if (order.order_qty, order.limit_price) != (old.order_qty, old.limit_price):
        record = Amend(turn.now, old.parent_id, order.order_qty, WHY, order.limit_price)
        turn.emit(priced(turn, parent, record))
    if level != parent.trigger.level:
        unwatch(turn, parent)
        arm(turn, parent, settings, level)


def _changed(parent: ParentState, wish: AmendOrder) -> ParentOrder:
    """Return the order as it would be asked for today."""
    old, trigger = parent.order, parent.trigger
    if wish.end_ns is not None or wish.display is not None:
        text = f"{old.parent_id} is ARMED: expected another quantity, limit price or trigger price"
        raise Refused("NOT_AMENDABLE", text, "the same once it has fired")
    if wish.limit_price is not None and setting(old, "limit_offset_bps", default=None) is not None:
        text = f"{old.parent_id} has limit_offset_bps: its limit is set from the mid when it fires"
        raise Refused("NOT_AMENDABLE", text, "a new order with a limit price in place of limit_offset_bps")
    if wish.trigger_price is not None:
        require_number("trigger_price", wish.trigger_price)
    level = wish.trigger_price or (None if trigger is None else trigger.level)
    order = changed(old, wish)
    if level is None:
        return order
    return replace(order, settings={**order.settings, "trigger_price": plain(level)})
