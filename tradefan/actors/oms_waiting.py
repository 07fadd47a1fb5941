"""What is on its way out: creates that wait for the disk, cancels until evidence, requests in doubt."""

from __future__ import annotations

from collections.abc import Callable

from tradefan.actors.oms_look import ask_soon, query, r4_delay_ns
from tradefan.actors.oms_state import Turn
from tradefan.core import outbox
from tradefan.core.order import Order, may_doubt
from tradefan.messages.control import Timer
from tradefan.messages.gateway import CancelOrder, CreateOrder
from tradefan.messages.orders import TERMINAL, Doubt, OrderStatus
from tradefan.messages.records import CancelIntent, CancelRefused, Difference, InDoubt, NotSent
from tradefan.units import MINUTE, MS, SECOND, ClientOrderId

REPEATS = (250 * MS, 500 * MS, SECOND, 2 * SECOND, 5 * SECOND, 10 * SECOND)
"""When an unanswered question is asked again (R3), then every 10 s."""
ALARM_MIN_NS = MINUTE
ALARM_BEHIND_R4_NS = 30 * SECOND


def repeat_after(step: int) -> int:
    """Return the delay before the next repetition."""
    return REPEATS[min(step, len(REPEATS) - 1)]


def ask_for(turn: Turn, order: Order, step: int) -> None:
    """Have an order asked by id: from this step of R3 on, or where its question has got to by now."""
    query(turn, order)
    asked = turn.account(order.account).asked.get(order.client_order_id, 0)
    ask_soon(turn, order.account, repeat_after(max(step, asked)))


# --- cancels ------------------------------------------------------------------------------------------


def cancel_order(turn: Turn, order: Order, reason: str, *, external: bool = False) -> None:
    """Cancel to evidence: now, without waiting for the disk, and again until the order is terminal.

    A create that still waits is taken out instead: nothing of it ever left. What is not ours is left
    alone unless a human said otherwise.
    """
    if order.status in TERMINAL or order.cancel_ns is not None or (order.external and not external):
        return
    turn.touch(order)
    if take_back(turn, order):
        not_sent(turn, order, "LOCAL_EXPIRED")
        return
    turn.emit(CancelIntent(turn.now, order.account, order.client_order_id, reason))
    send_cancel(turn, order, 0)


def take_back(turn: Turn, order: Order) -> bool:
    """Take a create out of the outbox, or out of this very turn; False when it has left."""
    kept = [item for item in turn.guarded if outbox.created_by(item) != order.client_order_id]
    if len(kept) < len(turn.guarded):
        turn.guarded = kept
        return True
    return outbox.remove(turn.live.outbox, order.client_order_id)


def unsent(turn: Turn) -> dict[ClientOrderId, None]:
    """Return the orders whose creates have not left, those of this very turn too."""
    names = map(outbox.created_by, turn.guarded)
    return {**outbox.creates(turn.live.outbox), **{name: None for name in names if name is not None}}


def send_cancel(turn: Turn, order: Order, step: int) -> None:
    """Send a cancel and arm its repetition."""
    turn.send(
        turn.wiring.gateways.get(order.account),
        CancelOrder(order.account, order.instrument, order.owner, order.client_order_id),
    )
    turn.live.cancels[order.client_order_id] = step
    turn.ctx.after(repeat_after(step), Timer("cancel", order.client_order_id, step))


# --- creates that have not left -----------------------------------------------------------------------


def drop_creates(turn: Turn, forbidden: Callable[[CreateOrder], bool], reason: str) -> None:
    """Take the waiting creates out that something forbids now: nothing of them has left."""
    dropped = outbox.drop(turn.live.outbox, forbidden)
    of_this_turn = [item for item in turn.guarded if (made := outbox.create_of(item)) and forbidden(made)]
    turn.guarded = [item for item in turn.guarded if item not in of_this_turn]
    for item in (*dropped, *of_this_turn):
        create = outbox.create_of(item)
        assert create is not None
        turn.log("warning", "create_dropped", client_order_id=create.client_order_id, reason=reason)
        order = turn.trading.orders.get(create.client_order_id)
        if order is not None:
            not_sent(turn, order, "LOCAL_EXPIRED")


def not_sent(turn: Turn, order: Order, reason: str) -> None:
    """End an order that was never written to the venue; one that it would have replaced goes on."""
    turn.emit(NotSent(turn.now, order.account, order.client_order_id, reason))
    turn.touch(order)
    replaced_stays(turn, order, reason)


def replaced_stays(turn: Turn, order: Order, reason: str) -> None:
    """Let the order live on that a replacement, of which there is proof that it failed, would have ended."""
    old = None if order.replaces is None else turn.trading.orders.get(order.replaces)
    if old is not None and old.live and old.cancel_ns is None and old.replaced_by == order.client_order_id:
        turn.emit(CancelRefused(turn.now, old.account, old.client_order_id, reason))
        turn.touch(old)


# --- doubt --------------------------------------------------------------------------------------------


def doubt(turn: Turn, order: Order, kind: Doubt, reason: str) -> None:
    """Mark a request as in doubt, unless its outcome is known already, and begin to ask."""
    if not may_doubt(order, kind) or (kind is Doubt.REPLACE and _is_settled(turn, order)):
        return
    turn.emit(InDoubt(turn.now, order.account, order.client_order_id, kind, reason))
    turn.touch(order)
    turn.account(order.account).doubt_step = 0
    turn.log("warning", "in_doubt", client_order_id=order.client_order_id, doubt=kind, reason=reason)
    ask_soon(turn, order.account, repeat_after(0))
    watch_doubt(turn, order)


def _is_settled(turn: Turn, order: Order) -> bool:
    """Say whether a replacement's outcome is known for this one of its two orders.

    The private stream may overtake an answer that never comes: the new order is there then, and only one
    that is itself being replaced has an end that may be in doubt.
    """
    successor = turn.trading.orders.get(order.replaced_by) if order.replaced_by is not None else None
    failed = successor is None or successor.never_was or successor.status is OrderStatus.REJECTED
    return order.acknowledged and failed


def watch_doubt(turn: Turn, order: Order) -> None:
    """Arm the alarm of a doubt: it must have ended long before."""
    turn.ctx.after(max(alarm_ns(turn, order) - turn.now, 0), Timer("doubt", order.client_order_id))


def alarm_ns(turn: Turn, order: Order) -> int:
    """Return when a doubt is too old: `doubt_alarm` behind its beginning (RELIABILITY.md, bounds)."""
    wait_ns = max(ALARM_MIN_NS, r4_delay_ns(turn, order.account) + ALARM_BEHIND_R4_NS)
    return turn.since(order.in_doubt_since_ns or turn.now) + wait_ns


def on_doubt_timer(turn: Turn, timer: Timer) -> None:
    """Hold the instrument of an order that nobody could clear up: a human has to look."""
    order = turn.trading.orders.get(ClientOrderId(timer.subject))
    if order is None or order.in_doubt is None or not order.live:
        return
    if alarm_ns(turn, order) > turn.now:
        watch_doubt(turn, order)
        return
    name = order.client_order_id
    text = f"{order.instrument} is on hold: nobody knows the outcome of {order.in_doubt} of {name}"
    held = turn.live.holds.setdefault(order.instrument, {})
    if held.get(name) == text:
        return
    held[name] = text
    turn.judge = True
    turn.log("critical", "doubt_alarm", client_order_id=name, doubt=order.in_doubt)


def difference_over(turn: Turn, order: Order) -> Difference:
    """Return the end of a difference about an order that has ended: a human could not resolve it any more."""
    name = order.client_order_id
    return Difference(turn.now, order.account, order.instrument, name, False, "it has ended")


def clear_holds(turn: Turn, order: Order) -> None:
    """Let an instrument go that was held for an order whose doubt has ended, or which itself has."""
    held = turn.live.holds.get(order.instrument)
    if held is None or order.client_order_id not in held or order.in_doubt is not None:
        return
    if order.client_order_id in turn.trading.differences:
        if order.live:
            return
        turn.emit(difference_over(turn, order))
    del held[order.client_order_id]
    if not held:
        del turn.live.holds[order.instrument]
    turn.judge = True
