"""Two own orders never trade with each other (I-39): one of them waits, or makes way."""

from __future__ import annotations

from decimal import Decimal

from tradefan.actors.oms_executor import setting
from tradefan.actors.oms_state import Turn
from tradefan.actors.oms_waiting import cancel_order
from tradefan.core.order import Order
from tradefan.core.trading import ParentState
from tradefan.messages.orders import ParentOrder
from tradefan.units import MS, SECOND, opposite

AGAIN_NS = 250 * MS
WAIT_NS = 2 * SECOND
"""So long a child waits whose clip has no deadline."""


def crossed(turn: Turn, order: ParentOrder, price: Decimal, *, rests: bool) -> list[Order]:
    """Return own orders that a child at this price would trade with, whichever of the two comes first.

    What only takes never rests, so two of those pass each other; but one that is still on its way, or in
    doubt, would take what rests by then.
    """
    side, buys = opposite(order.side), order.side == "buy"
    found = []
    for name in turn.trading.orders_live:
        other = turn.trading.orders[name]
        if other.instrument != order.instrument or other.side != side or other.account != order.account:
            continue
        meets = (rests or other.time_in_force == "GTC") and not other.external
        there = other.limit_price if meets else None
        if there is not None and (price >= there if buys else price <= there):
            found.append(other)
    return found


def wait_for_own(turn: Turn, parent: ParentState, price: Decimal, *, rests: bool) -> int | None:
    """Return when to try again while a child would trade with one of ours; None where it would not.

    `rests` says whether it is to rest. Shortly before its own time is over, or at once where its settings say
    `self_cross: cancel_resting` or it protects a position, what it would meet is cancelled; it still waits
    for the evidence.
    """
    found = crossed(turn, parent.order, price, rests=rests)
    if not found:
        return None
    at_once = setting(parent.order, "self_cross", default="wait") == "cancel_resting"
    if at_once or parent.order.protective or turn.now >= _patience_ns(parent):
        for other in found:
            cancel_order(turn, other, "self_cross")
    return turn.now + AGAIN_NS


def _patience_ns(parent: ParentState) -> int:
    """Return until when it waits for what rests to go by itself."""
    clip = parent.clip
    if clip is None:
        return parent.order.created_ns + WAIT_NS
    return clip.begun_ns + WAIT_NS if clip.deadline_ns is None else clip.deadline_ns - SECOND
