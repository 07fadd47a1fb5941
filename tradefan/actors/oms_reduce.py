"""Reduce-only on entry: what is armed or still to be placed has its part of the position already.

A group works one quantity, so of its members the largest counts.
"""

from __future__ import annotations

from decimal import Decimal

from tradefan.actors.oms_gate import risk_state
from tradefan.actors.oms_state import Turn
from tradefan.contracts import RiskRefused
from tradefan.core.trading import ParentState
from tradefan.messages.instrument import Instrument
from tradefan.messages.orders import ParentOrder, Phase
from tradefan.units import ZERO, ParentId, plain


def over_position(turn: Turn, order: ParentOrder, instrument: Instrument) -> RiskRefused | None:
    """Refuse a reduce-only order of more than its owner holds and nobody else there is to reduce."""
    if not order.reduce_only:
        return None
    held = risk_state(turn, order.account, instrument, order.owner).owner.position
    held = held if order.side == "sell" else -held
    most = max(held - reserved(turn, order), ZERO)
    if order.order_qty <= most:
        return None
    passes = instrument.floor_qty(most)
    text = f"reduce-only: of {plain(max(held, ZERO))} held {plain(most)} is not reserved by other orders"
    proposal = "nothing" if passes < instrument.min_qty or not passes else f"order_qty {plain(passes)}"
    return RiskRefused("RISK_REDUCE_ONLY", text, plain(most), plain(order.order_qty), proposal)


def reserved(turn: Turn, order: ParentOrder) -> Decimal:
    """Return what other reduce-only parents of an order's owner may still take off a position."""
    total, groups = ZERO, dict[ParentId, Decimal]()
    for parent in turn.open_parents_at(order.account, order.instrument, order.owner):
        other = parent.order
        if other.reduce_only and other.side == order.side and other.parent_id != order.parent_id:
            if parent.group is None:
                total += _may_reduce(parent)
            else:
                most = max(groups.get(parent.group, ZERO), _may_reduce(parent))
                groups[parent.group] = most
    return total + sum(groups.values(), ZERO)


def _may_reduce(parent: ParentState) -> Decimal:
    if parent.phase is Phase.COMPLETING or (parent.phase is Phase.VALIDATED and parent.group is not None):
        return parent.working_qty + parent.in_doubt_qty
    return max(parent.order.order_qty - parent.cum_qty, ZERO)
