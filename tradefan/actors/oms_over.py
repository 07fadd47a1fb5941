"""Children that no room is left for: a fill told behind an order's end has used up what they were placed for.

What has traded too much stays so; nothing more is to come on top of it.
"""

from __future__ import annotations

from collections.abc import Container
from decimal import Decimal

from tradefan.actors.oms_state import Turn
from tradefan.actors.oms_waiting import cancel_order, unsent
from tradefan.core.order import Order
from tradefan.core.trading import ParentState
from tradefan.units import ZERO, ClientOrderId

_GOES, _UNSENT, _RESTS = range(3)


def shed(turn: Turn, parent: ParentState) -> None:
    """Take back or cancel what is over a parent's quantity: what has not left first, the newest first.

    What protects a position, rests and is not wholly too much goes on: a part would lose its protection.
    A parent that is full this way is not ended before its children: a trade may be taken back meanwhile.
    """
    order = parent.order
    if parent.done_qty <= order.order_qty:
        return
    chains = _chains(turn, parent)
    over = parent.cum_qty + sum(map(_may_trade, chains), ZERO) - order.order_qty
    waiting = unsent(turn)
    for chain in sorted(chains, key=lambda one: _stage(one, waiting)):
        if over <= 0:
            return
        qty, stage = _may_trade(chain), _stage(chain, waiting)
        if stage == _RESTS and qty > over and (order.protective or order.reduce_only):
            continue
        for child in reversed(chain):
            cancel_order(turn, child, "over")
        over -= qty


def _stage(chain: list[Order], waiting: Container[ClientOrderId]) -> int:
    """Say how near to its end a chain is: cancelled before, not sent, or resting."""
    if all(child.cancel_ns is not None for child in chain):
        return _GOES
    return _UNSENT if all(child.client_order_id in waiting for child in chain) else _RESTS


def _chains(turn: Turn, parent: ParentState) -> list[list[Order]]:
    """Return a parent's live children, newest first, each with the live ones that are to take its place."""
    chains: list[list[Order]] = []
    for child in (turn.trading.orders[name] for name in parent.live):
        old = None if child.replaces is None else turn.trading.orders.get(child.replaces)
        if old is not None and old.cum_qty and not child.acknowledged:
            # The venue places nothing for an order that has traded (ONLY_NEW).
            continue
        chain = next((one for one in chains if old in one), None)
        if chain is None:
            chains.append([child])
        else:
            chain.append(child)
    return chains[::-1]


def _may_trade(chain: list[Order]) -> Decimal:
    """Return what a chain may still trade once its replacements succeed; what fails is judged again."""
    return chain[-1].leaves_qty
