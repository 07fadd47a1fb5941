"""The venue's words: reports, fills, doubts. They may come twice, late, in any order, from any road.

Reports merge by the table; a fill books once under (account, instrument, trade id), may open an
order before its acknowledgement and may follow its end. What contradicts what we know changes
nothing, is counted, and the venue is asked.
"""

from __future__ import annotations

from tradefan.actors.oms_engine import cancel_order, repeat_after, send_cancel
from tradefan.actors.oms_look import ask_soon, query
from tradefan.actors.oms_state import Turn
from tradefan.core import outbox
from tradefan.core.ids import is_own
from tradefan.core.ledger import position
from tradefan.core.order import TABLE, Event, Move, Order, judge, tells_news
from tradefan.core.trading import in_opening, knows_fill
from tradefan.messages.control import Timer
from tradefan.messages.instrument import Instrument
from tradefan.messages.market import AskRules
from tradefan.messages.orders import (
    TERMINAL,
    CancelRejected,
    Doubt,
    ExecutionReport,
    FillUpdate,
    GatewayReset,
    OrderInDoubt,
    OrderNotSent,
    OrderStatus,
    Phase,
    VenueFill,
)
from tradefan.messages.records import CancelIntent, CancelRefused, Fill, InDoubt, NotSent, Report, Resolved
from tradefan.units import EXTERNAL, AccountId, ClientOrderId, plain

FILTER = "FILTER"
"""Begins the reason of a reject by a filter (VENUES.md 3): the instrument is read again, nothing repeated."""


def on_report(turn: Turn, msg: ExecutionReport) -> None:
    """Merge a report into its order."""
    here = turn.account(msg.account)
    if msg.source == "look":
        here.seen[msg.client_order_id] = None
    order = turn.trading.orders.get(msg.client_order_id)
    if order is None or order.account != msg.account:
        _foreign(turn, msg.account, msg.client_order_id)
        return
    if order.never_was and not _adopt(turn, order, msg):
        return
    if judge(order, msg.status, msg.cum_qty) is Move.ILLEGAL:
        _illegal(turn, order, f"report {msg.status}, cum {plain(msg.cum_qty)}")
        return
    here.negatives.pop(order.client_order_id, None)
    order_qty = msg.order_qty if msg.order_qty > 0 else order.order_qty
    if tells_news(order, msg.status, msg.cum_qty, order_qty):
        here.activity_ns = turn.now
        turn.emit(
            Report(
                at_ns=turn.now,
                account=msg.account,
                client_order_id=msg.client_order_id,
                venue_order_id=msg.venue_order_id,
                status=msg.status,
                cum_qty=msg.cum_qty,
                reason=msg.reason,
                event_ns=msg.event_ns,
                order_qty=None if order_qty == order.order_qty else order_qty,
            )
        )
        turn.touch(order)
        if msg.status is OrderStatus.REJECTED and msg.reason.startswith(FILTER):
            for market in turn.wiring.markets:
                turn.send(market, AskRules(msg.instrument))
    if order.filled < order.venue_cum:
        # The fills are on their way, or were lost: then a look brings them.
        query(turn, order)
        ask_soon(turn, order.account, repeat_after(2))


def on_fill(turn: Turn, msg: VenueFill) -> None:
    """Book a fill once; one that belongs to no order of ours is `external`."""
    here = turn.account(msg.account)
    if msg.account not in turn.trading.opened:
        # Before the opening books an account, its past is in its balances; what happens now puts it off.
        if msg.source != "look":
            here.activity_ns = turn.now
        return
    key = (msg.account, msg.instrument, msg.trade_id)
    if knows_fill(turn.trading, *key) or in_opening(turn.trading, *key):
        turn.live.counters.duplicates += 1
        return
    instrument = turn.instrument(msg.instrument)
    if instrument is None or instrument.kind not in ("spot", "linear"):
        turn.live.counters.foreign += 1
        turn.log("error", "fill_unbookable", instrument=msg.instrument, trade_id=msg.trade_id)
        return
    here.activity_ns = turn.now
    order = None if msg.client_order_id is None else turn.trading.orders.get(msg.client_order_id)
    if order is not None and order.account != msg.account:
        order = None
    if order is None:
        _foreign(turn, msg.account, msg.client_order_id)
    elif order.never_was:
        _resolve_placed(turn, order, f"fill {msg.trade_id}")
    _book(turn, msg, instrument, order)


def _book(turn: Turn, msg: VenueFill, instrument: Instrument, order: Order | None) -> None:
    owner = EXTERNAL if order is None else order.owner
    books = turn.trading.ledger
    before = position(books, msg.account, owner, msg.instrument).realised
    late = order is not None and order.status in TERMINAL and order.filled >= order.venue_cum
    turn.emit(
        Fill(
            at_ns=turn.now,
            account=msg.account,
            instrument=msg.instrument,
            owner=owner,
            trade_id=msg.trade_id,
            client_order_id=msg.client_order_id,
            venue_order_id=msg.venue_order_id,
            side=msg.side,
            qty=msg.qty,
            price=msg.price,
            base=instrument.base,
            quote=instrument.settle if instrument.kind == "linear" else instrument.quote,
            fee=msg.fee,
            fee_asset=msg.fee_asset,
            liquidity=msg.liquidity,
            event_ns=msg.event_ns,
            kind="linear" if instrument.kind == "linear" else "spot",
        )
    )
    turn.live.counters.fills += 1
    realised = position(books, msg.account, owner, msg.instrument).realised - before
    turn.fills.append(
        FillUpdate(
            account=msg.account,
            instrument=msg.instrument,
            owner=owner,
            parent_id=None if order is None else order.parent_id,
            client_order_id=msg.client_order_id,
            trade_id=msg.trade_id,
            side=msg.side,
            qty=msg.qty,
            price=msg.price,
            fee=msg.fee,
            fee_asset=msg.fee_asset,
            liquidity=msg.liquidity,
            event_ns=msg.event_ns,
            lsn=turn.trading.lsn,
            realised=realised,
        )
    )
    turn.positions[msg.account, owner, msg.instrument] = None
    turn.log(
        "info",
        "fill",
        account=msg.account,
        owner=owner,
        instrument=msg.instrument,
        client_order_id=msg.client_order_id,
        trade_id=msg.trade_id,
        side=msg.side,
        qty=plain(msg.qty),
        price=plain(msg.price),
    )
    if order is not None:
        _after_fill(turn, order, late=late)


def _after_fill(turn: Turn, order: Order, *, late: bool) -> None:
    turn.touch(order)
    here = turn.account(order.account)
    here.negatives.pop(order.client_order_id, None)
    if order.filled >= order.venue_cum and not order.live:
        # What a report promised has come by itself.
        here.queries.pop(order.client_order_id, None)
    if late:
        turn.log("warning", "late_fill", client_order_id=order.client_order_id, status=order.status)
    if order.filled > order.order_qty:
        turn.live.counters.overfills += 1
        turn.log("error", "overfill", client_order_id=order.client_order_id, filled=plain(order.filled))
    if order.status is OrderStatus.REJECTED:
        _illegal(turn, order, "fill")


# --- requests without, or with a bad, outcome ----------------------------------------------------------


def on_not_sent(turn: Turn, msg: OrderNotSent) -> None:
    """Take the proof that a create never left us."""
    order = turn.trading.orders.get(msg.client_order_id)
    if order is None or order.never_was:
        return
    if order.acknowledged or TABLE[order.status][Event.NOT_SENT] is Move.ILLEGAL:
        _illegal(turn, order, f"not sent: {msg.reason}")
        return
    not_sent(turn, order, msg.reason)


def not_sent(turn: Turn, order: Order, reason: str) -> None:
    """End an order that was never written to the venue."""
    turn.emit(NotSent(turn.now, order.account, order.client_order_id, reason))
    turn.touch(order)


def on_in_doubt(turn: Turn, msg: OrderInDoubt) -> None:
    """Note that nobody knows the outcome of a request, and begin to ask."""
    order = turn.trading.orders.get(msg.client_order_id)
    if order is not None:
        doubt(turn, order, msg.doubt, msg.reason)


def doubt(turn: Turn, order: Order, kind: Doubt, reason: str) -> None:
    """Mark a request as in doubt, unless its outcome is known already."""
    known = order.status in TERMINAL or (kind is Doubt.CREATE and order.acknowledged)
    if known or order.in_doubt is not None:
        return
    turn.emit(InDoubt(turn.now, order.account, order.client_order_id, kind, reason))
    turn.touch(order)
    turn.account(order.account).doubt_step = 0
    turn.log("warning", "in_doubt", client_order_id=order.client_order_id, doubt=kind, reason=reason)
    ask_soon(turn, order.account, repeat_after(0))


def on_cancel_rejected(turn: Turn, msg: CancelRejected) -> None:
    """Take a rejected cancel as information: the order is asked for, the wish stays."""
    order = turn.trading.orders.get(msg.client_order_id)
    if order is None or not order.live:
        return
    if order.status is OrderStatus.PENDING_CANCEL:
        turn.emit(CancelRefused(turn.now, order.account, order.client_order_id, msg.reason))
        turn.touch(order)
    query(turn, order)
    ask_soon(turn, order.account, repeat_after(0))


def on_gateway_reset(turn: Turn, msg: GatewayReset) -> None:
    """Doubt every create that a gateway took with it."""
    here = turn.account(msg.account)
    here.look_id = 0
    waiting = outbox.creates(turn.live.outbox)
    for order in turn.live_orders(msg.account):
        if not order.acknowledged and order.client_order_id not in waiting:
            doubt(turn, order, Doubt.CREATE, "gateway reset")
    ask_soon(turn, msg.account, 0)


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
        query(turn, order)
        ask_soon(turn, order.account, repeat_after(0))


# --- what does not fit -----------------------------------------------------------------------------------


def _adopt(turn: Turn, order: Order, msg: ExecutionReport) -> bool:
    """Take an order for real although we had proof that it never was (R5); False when nothing says so."""
    if msg.status in TERMINAL and not msg.cum_qty:
        return False
    _resolve_placed(turn, order, f"{msg.source} shows {msg.status}")
    return True


def _resolve_placed(turn: Turn, order: Order, evidence: str) -> None:
    turn.emit(Resolved(turn.now, order.account, order.client_order_id, "PLACED", evidence))
    turn.touch(order)
    turn.live.counters.adopted += 1
    turn.log("critical", "order_adopted", client_order_id=order.client_order_id, evidence=evidence)
    parent = turn.trading.parents.get(order.parent_id)
    if order.cancel_ns is not None:
        # Its end was wished before the proof, and the repetition ended with that.
        turn.emit(CancelIntent(turn.now, order.account, order.client_order_id, "adopted"))
        send_cancel(turn, order, 0)
    elif parent is None or parent.phase is not Phase.WORKING:
        # Nobody waits for it any more; what it still trades belongs to its owner all the same.
        cancel_order(turn, order, "adopted")


def _illegal(turn: Turn, order: Order, what: str) -> None:
    turn.live.counters.illegal += 1
    turn.log("warning", "illegal_pair", client_order_id=order.client_order_id, status=order.status, came=what)
    query(turn, order)
    ask_soon(turn, order.account, repeat_after(2))


def _foreign(turn: Turn, account: AccountId, client_order_id: ClientOrderId | None) -> None:
    """Count what is not ours; never touched. An id of our own form that we do not know is an orphan."""
    if client_order_id is not None and is_own(client_order_id, turn.wiring.instance):
        turn.live.counters.orphans += 1
        turn.log("critical", "orphan", account=account, client_order_id=client_order_id)
    else:
        turn.live.counters.foreign += 1
