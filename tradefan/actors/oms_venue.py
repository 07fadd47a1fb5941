"""The venue's words about orders. They may come twice, late, in any order, from any road.

Reports merge by the table. What contradicts what we know changes nothing, is counted, and the venue
is asked. Fills are in `oms_fills`, orders that are not ours in `oms_external`.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from tradefan.actors.oms_external import is_another, on_stranger
from tradefan.actors.oms_look import ask_soon, visible_ns
from tradefan.actors.oms_modes import suspect
from tradefan.actors.oms_state import AccountLive, Turn
from tradefan.actors.oms_tca import acknowledged
from tradefan.actors.oms_waiting import (
    ask_for,
    cancel_order,
    clear_holds,
    doubt,
    not_sent,
    replaced_stays,
    send_cancel,
)
from tradefan.core import outbox
from tradefan.core.apply_orders import unseen_loss
from tradefan.core.exposure import weigh
from tradefan.core.order import TABLE, Event, Move, Order, counted, judge, tells_news
from tradefan.core.trading import order_at
from tradefan.messages.control import Timer
from tradefan.messages.gateway import (
    CancelRejected,
    ExecutionReport,
    GatewayReset,
    LookDone,
    OrderInDoubt,
    OrderNotSent,
)
from tradefan.messages.market import AskRules
from tradefan.messages.orders import TERMINAL, Doubt, OrderStatus, Phase
from tradefan.messages.records import CancelIntent, CancelRefused, Report, Resolved
from tradefan.units import ClientOrderId, plain

FILTER = "FILTER"
"""Begins the reason of a reject by a filter (VENUES.md 3): the instrument is read again, nothing repeated."""


def on_report(turn: Turn, msg: ExecutionReport) -> None:
    """Merge a report into its order."""
    here = turn.account(msg.account)
    order = order_at(turn.trading, msg.account, msg.instrument, msg.client_order_id)
    if order is not None and is_another(order, msg.venue_order_id):
        _come_again(turn, order, msg)
        return
    if order is None:
        on_stranger(turn, msg)
        return
    if msg.source == "look":
        here.seen[order.client_order_id] = None
    if order.never_was and not _adopt(turn, order, msg):
        return
    if msg.source == "look" and not (order.live or order.external):
        _note_open(here.reopened, msg)
    # Whatever the venue says of it, it knows the order.
    here.negatives.pop(order.client_order_id, None)
    here.absent.pop(order.client_order_id, None)
    if judge(order, msg.status, msg.cum_qty) is Move.ILLEGAL:
        illegal(turn, order, f"report {msg.status}, cum {plain(msg.cum_qty)}")
        return
    order_qty = msg.order_qty if msg.order_qty > 0 else order.order_qty
    counts = counted(order, msg.cum_qty, msg.event_ns)
    less = unseen_loss(turn.trading, order, msg.cum_qty, msg.event_ns) is not None
    if less or tells_news(order, msg.status, counts, order_qty, msg.event_ns):
        _merge(turn, order, msg, None if order_qty == order.order_qty else order_qty)
    if order.filled < order.venue_cum and not order.external:
        # The fills are on their way, or were lost: then a look brings them.
        ask_for(turn, order, 2)


def _come_again(turn: Turn, order: Order, msg: ExecutionReport) -> None:
    """Take a foreign order under an id that another one has here: ids are free when an order has ended.

    While the one that we know lives its id is asked for: an older one's word may have come late.
    """
    if not order.live:
        on_stranger(turn, msg)
    elif msg.source == "look":
        name, others = order.client_order_id, turn.account(msg.account).others
        others[name] = others.get(name, msg) if msg.status in TERMINAL else msg
    else:
        ask_for(turn, order, 0)


def take_others(turn: Turn, msg: LookDone, here: AccountLive) -> None:
    """End a foreign order whose id a look, asked late enough to show it, found with another order.

    That proves its end where the other one is open, or where this is what asking by id has found. Of what
    has ended a look may speak as well because it traded.
    """
    for name, other in here.others.items():
        order = turn.trading.orders.get(name)
        if order is None or not order.live or name in here.seen:
            continue
        asked_by_id = name in here.named and name not in msg.missing
        is_late = msg.asked_ns >= turn.since(order.created_ns) + visible_ns(turn, msg.account)
        if not (is_late and (asked_by_id or other.status not in TERMINAL)):
            continue
        end = msgspec.structs.replace(
            other,
            venue_order_id=order.venue_order_id,
            status=OrderStatus.CANCELED,
            cum_qty=order.venue_cum,
            reason="its id is another order's now",
        )
        _merge(turn, order, end, None)
        on_stranger(turn, other)


def _merge(turn: Turn, order: Order, msg: ExecutionReport, order_qty: Decimal | None) -> None:
    turn.account(msg.account).activity_ns = turn.now
    doubted, ended, sealed = order.may_not_exist, order.status in TERMINAL, order.sealed
    before, most = order.cum_qty, weigh(order).most
    turn.emit(
        Report(
            at_ns=turn.now,
            account=msg.account,
            client_order_id=order.client_order_id,
            venue_order_id=msg.venue_order_id,
            status=msg.status,
            cum_qty=msg.cum_qty,
            reason=msg.reason,
            event_ns=msg.event_ns,
            order_qty=order_qty,
            ack_ns=acknowledged(
                turn, msg.account, order.client_order_id, msg.recv_ns, looked=msg.source == "look"
            ),
        )
    )
    turn.touch(order)
    clear_holds(turn, order)
    if weigh(order).most > most:
        # More than was approved, or reserved until now; its fills will find it counted already.
        suspect(turn, order.account, order.instrument)
    if ended and order.cum_qty > before and not order.external:
        level = "critical" if sealed else "warning"
        turn.log(
            level, "late_fill", client_order_id=order.client_order_id, status=order.status, sealed=sealed
        )
    alarm_overfill(turn, order, before)
    if order.status is OrderStatus.REJECTED:
        replaced_stays(turn, order, msg.reason)
    elif doubted and order.replaces is not None:
        _ask_replaced(turn, order)
    if msg.status is OrderStatus.REJECTED and msg.reason.startswith(FILTER):
        for market in turn.wiring.markets:
            turn.send(market, AskRules(msg.instrument))


def _ask_replaced(turn: Turn, order: Order) -> None:
    """Have the order asked for that a replacement has ended: the venue's word on it is still missing."""
    old = turn.trading.orders.get(order.replaces or ClientOrderId(""))
    if old is not None and old.live:
        ask_for(turn, old, 1)


# --- requests without, or with a bad, outcome ----------------------------------------------------------


def on_not_sent(turn: Turn, msg: OrderNotSent) -> None:
    """Take the proof that a create never left us."""
    order = turn.trading.orders.get(msg.client_order_id)
    if order is None or order.never_was:
        return
    if order.acknowledged or TABLE[order.status][Event.NOT_SENT] is Move.ILLEGAL:
        illegal(turn, order, f"not sent: {msg.reason}")
        return
    not_sent(turn, order, msg.reason)
    clear_holds(turn, order)


def on_in_doubt(turn: Turn, msg: OrderInDoubt) -> None:
    """Note that nobody knows the outcome of a request, and begin to ask."""
    order = turn.trading.orders.get(msg.client_order_id)
    if order is not None:
        doubt(turn, order, msg.doubt, msg.reason)


def on_cancel_rejected(turn: Turn, msg: CancelRejected) -> None:
    """Take a rejected cancel as information: the order is asked for, the wish stays."""
    order = turn.trading.orders.get(msg.client_order_id)
    if order is None or not order.live:
        return
    if order.status in (OrderStatus.PENDING_CANCEL, OrderStatus.PENDING_REPLACE):
        turn.emit(CancelRefused(turn.now, order.account, order.client_order_id, msg.reason))
        turn.touch(order)
        clear_holds(turn, order)
    ask_for(turn, order, 0)


def on_gateway_reset(turn: Turn, msg: GatewayReset) -> None:
    """Doubt every request that a gateway took with it: creates, and replacements with what they end."""
    here = turn.account(msg.account)
    here.look_id = 0
    waiting = outbox.creates(turn.live.outbox)
    for order in turn.live_orders(msg.account):
        if not order.acknowledged and order.client_order_id not in waiting:
            doubt_request(turn, order, "gateway reset")
    ask_soon(turn, msg.account, 0)


def doubt_request(turn: Turn, order: Order, reason: str) -> None:
    """Doubt the request that would have placed an order; a replacement leaves two in doubt."""
    if order.replaces is None:
        doubt(turn, order, Doubt.CREATE, reason)
        return
    doubt(turn, order, Doubt.REPLACE, reason)
    old = turn.trading.orders.get(order.replaces)
    if old is not None and old.live and old.replaced_by == order.client_order_id:
        doubt(turn, old, Doubt.REPLACE, reason)


def on_cancel_timer(turn: Turn, timer: Timer) -> None:
    """Repeat a cancel until its order is terminal; from the second time on the venue is asked too."""
    name = ClientOrderId(timer.subject)
    order = turn.trading.orders.get(name)
    if turn.live.cancels.get(name) != timer.number:
        return
    if order is None or not order.live:
        del turn.live.cancels[name]
        return
    if order.status is not OrderStatus.PENDING_CANCEL:
        turn.emit(CancelIntent(turn.now, order.account, name, "again"))
        turn.touch(order)
    send_cancel(turn, order, timer.number + 1)
    if timer.number:
        ask_for(turn, order, 0)


# --- what does not fit -----------------------------------------------------------------------------------


def _adopt(turn: Turn, order: Order, msg: ExecutionReport) -> bool:
    """Take an order for real although we had proof that it never was (R5); False when nothing says so."""
    if msg.status in TERMINAL and not msg.cum_qty:
        return False
    resolve_placed(turn, order, f"{msg.source} shows {msg.status}")
    return True


def _note_open(reopened: dict[ClientOrderId, ExecutionReport], msg: ExecutionReport) -> None:
    """Keep what a look says of an order that has ended here: it proves something only with its look."""
    if msg.status in TERMINAL or msg.status is OrderStatus.UNKNOWN:
        reopened.pop(msg.client_order_id, None)
    else:
        reopened[msg.client_order_id] = msg


def reopen(turn: Turn, order: Order, msg: ExecutionReport) -> None:
    """Adopt an order that has ended here and rests at the venue, and cancel it.

    Whoever placed it has gone on without it: what it still trades may be wanted by nobody.
    """
    resolve_placed(turn, order, f"look shows {msg.status}")
    cancel_order(turn, order, "adopted")
    order_qty = msg.order_qty if msg.order_qty > 0 else order.order_qty
    if tells_news(order, msg.status, msg.cum_qty, order_qty, msg.event_ns):
        _merge(turn, order, msg, None if order_qty == order.order_qty else order_qty)


def resolve_placed(turn: Turn, order: Order, evidence: str) -> None:
    """Adopt an order that was proved not to exist, or had ended: SEV1, somebody broke his word."""
    turn.emit(Resolved(turn.now, order.account, order.client_order_id, "PLACED", evidence))
    turn.touch(order)
    turn.live.counters.adopted += 1
    suspect(turn, order.account, order.instrument)
    turn.log("critical", "order_adopted", client_order_id=order.client_order_id, evidence=evidence)
    lives_again(turn, order, "adopted")


def lives_again(turn: Turn, order: Order, reason: str) -> None:
    """Cancel an order that had ended here and is open after all, unless its parent still wants it."""
    parent = turn.trading.parents.get(order.parent_id)
    if order.cancel_ns is not None:
        # Its end was wished before, and the repetition ended when it seemed to have come.
        turn.emit(CancelIntent(turn.now, order.account, order.client_order_id, reason))
        send_cancel(turn, order, 0)
    elif parent is None or parent.phase is not Phase.WORKING:
        # Nobody waits for it any more; what it still trades belongs to its owner all the same.
        cancel_order(turn, order, reason)


def alarm_overfill(turn: Turn, order: Order, before: Decimal) -> None:
    """Say that more has traded than was ordered: it is real, so it is booked and counts."""
    if order.external or order.cum_qty <= max(order.order_qty, before):
        return
    turn.live.counters.overfills += 1
    suspect(turn, order.account, order.instrument)
    turn.log("error", "overfill", client_order_id=order.client_order_id, filled=plain(order.cum_qty))


def illegal(turn: Turn, order: Order, what: str) -> None:
    """Count what contradicts what we know, and ask the venue."""
    turn.live.counters.illegal += 1
    turn.log("warning", "illegal_pair", client_order_id=order.client_order_id, status=order.status, came=what)
    ask_for(turn, order, 2)
