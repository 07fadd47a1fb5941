"""Fills: booked once under (account, instrument, trade id), whatever road and order they come in.

A fill may open an order before its acknowledgement and may follow its end. What the venue counts and
no trade tells is inferred after a while and replaced by the real fills when they come, or taken back
when the venue counts it no more. A bust takes one back. What may have left memory is looked up in the
journal first.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from tradefan.actors.oms_epoch import keep_ahead
from tradefan.actors.oms_external import (
    alarm_orphan,
    ask_history,
    intent_in,
    is_another,
    on_old_report,
    waited_for,
)
from tradefan.actors.oms_look import ask_soon, query
from tradefan.actors.oms_modes import suspect
from tradefan.actors.oms_state import Turn
from tradefan.actors.oms_tca import acknowledged, seen
from tradefan.actors.oms_tca_market import note_traded
from tradefan.actors.oms_venue import alarm_overfill, illegal, lives_again, resolve_placed
from tradefan.actors.oms_volume import note_own
from tradefan.actors.oms_waiting import clear_holds, not_sent, repeat_after, take_back
from tradefan.core.apply_orders import corrected
from tradefan.core.ids import is_own
from tradefan.core.ledger import position
from tradefan.core.order import Order
from tradefan.core.told import Moving, told
from tradefan.core.trading import fill_key, in_opening, knows_fill, may_have_forgotten
from tradefan.core.trading_state import sound
from tradefan.core.updates import fill_update
from tradefan.messages.control import History
from tradefan.messages.gateway import ExecutionReport, FillBusted, VenueFill
from tradefan.messages.instrument import Instrument
from tradefan.messages.orders import TERMINAL, OrderStatus
from tradefan.messages.records import Bust, Correct, Fill, FillInferred, FillReplaced, Intent
from tradefan.units import EXTERNAL, SECOND, ZERO, OwnerId, TradeId, plain

INFER_NS = 30 * SECOND
"""So long may the venue count more than its trades tell; then the rest is inferred."""


def on_fill(turn: Turn, msg: VenueFill) -> None:
    """Book a fill once; one that belongs to no order of ours is `external`."""
    here = turn.account(msg.account)
    keep_ahead(turn, msg.account, msg.client_order_id)
    if msg.account not in turn.trading.opened:
        # Before the opening books an account, its past is in its balances; what happens now puts it off.
        if msg.source != "look":
            here.activity_ns = turn.now
        return
    key = (msg.account, msg.instrument, msg.trade_id)
    if knows_fill(turn.trading, *key) or in_opening(turn.trading, *key):
        turn.live.counters.duplicates += 1
        return
    if may_have_forgotten(turn.trading, *key):
        ask_history(turn, fill_key(*key), msg)
        return
    _take(turn, msg, None)


def _take(turn: Turn, msg: VenueFill, old: Intent | None, *, asked: bool = False) -> None:
    """Book a fill that is new; `old` is the INTENT of an order that has left memory.

    Of an id of our form that is not in memory the journal is asked first, unless it was.
    """
    instrument = turn.instrument(msg.instrument)
    sane = sound(msg.qty, msg.price, msg.fee) and msg.qty > 0
    if instrument is None or instrument.kind not in ("spot", "linear") or not sane:
        # Whatever it has moved shows in a look at the balances.
        turn.live.counters.foreign += 1
        said = f"{msg.qty} at {msg.price}, fee {msg.fee}"
        turn.log("error", "fill_unbookable", instrument=msg.instrument, trade_id=msg.trade_id, fill=said)
        return
    order = None if msg.client_order_id is None else turn.trading.orders.get(msg.client_order_id)
    if order is not None and (order.account, order.instrument) != (msg.account, msg.instrument):
        order = None
    if order is not None and is_another(order, msg.venue_order_id):
        # It is a trade of the order that had this id before, or of the one that has it by now.
        order, msg = None, msgspec.structs.replace(msg, client_order_id=None)
    if order is None and old is None and not asked:
        if msg.client_order_id is not None and is_own(msg.client_order_id, turn.wiring.instance):
            ask_history(turn, f"order {msg.client_order_id}", msg)
            return
        turn.live.counters.foreign += 1
    turn.account(msg.account).activity_ns = turn.now
    if order is not None and order.never_was:
        resolve_placed(turn, order, f"fill {msg.trade_id}")
    owner = order.owner if order is not None else EXTERNAL if old is None else old.owner
    _book(turn, msg, instrument, order, owner)


def _book(turn: Turn, msg: VenueFill, instrument: Instrument, order: Order | None, owner: OwnerId) -> None:
    late = order is not None and order.status in TERMINAL and order.filled >= order.venue_cum
    before = ZERO if order is None else order.cum_qty
    sealed, name = order is not None and order.sealed, msg.client_order_id
    fill = Fill(
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
        ack_ns=None
        if name is None
        else acknowledged(turn, msg.account, name, msg.recv_ns, looked=msg.source == "look"),
    )
    _replace_inferred(turn, fill, fill.qty, order)
    if not _emit(turn, seen(turn, fill), order):
        return
    turn.live.counters.fills += 1
    _log(turn, fill)
    if owner == EXTERNAL or late:
        # No order that was approved has reserved it, or none any more.
        suspect(turn, msg.account, msg.instrument)
    if owner == EXTERNAL:
        turn.log("warning", "foreign_fill", account=msg.account, trade_id=msg.trade_id)
    if order is not None:
        _after_fill(turn, order, late=late, sealed=sealed)
    pending = turn.trading.busts.get(fill_key(fill.account, fill.instrument, fill.trade_id))
    if isinstance(pending, Correct):
        _take_back(turn, fill, pending.qty, pending.price, pending.event_ns)
    elif pending is not None:
        _take_back(turn, fill, None, None, pending.event_ns)
    if order is not None:
        # A trade that the venue has taken back already fills nothing.
        alarm_overfill(turn, order, before)


def _emit(turn: Turn, record: Moving, order: Order | None) -> bool:
    """Journal what moves a position, and tell it as fills; what is taken back has a negative quantity.

    False when it moved nothing: then nobody is told.
    """
    lsn = turn.trading.lsn + 1
    fills, books = told(turn.trading, record, lsn), turn.trading.ledger
    assert fills, f"{record} moves nothing"
    where = (fills[0].account, fills[0].owner, fills[0].instrument)
    before = position(books, *where).realised
    if not turn.emit(record):
        turn.log("error", "fill_unapplied", record=type(record).__name__, trade_id=fills[0].trade_id)
        return False
    realised = position(books, *where).realised - before
    parent_id = None if order is None or order.external else order.parent_id
    for fill in fills:
        note_own(turn, parent_id, fill.qty)
        note_traded(turn, fill)
        turn.fills.append(fill_update(fill, lsn, parent_id, realised if fill is fills[0] else ZERO))
    turn.positions[where] = None
    return True


def _log(turn: Turn, fill: Fill) -> None:
    turn.log(
        "info",
        "fill",
        account=fill.account,
        owner=fill.owner,
        instrument=fill.instrument,
        client_order_id=fill.client_order_id,
        trade_id=fill.trade_id,
        side=fill.side,
        qty=plain(fill.qty),
        price=plain(fill.price),
    )


def _after_fill(turn: Turn, order: Order, *, late: bool, sealed: bool) -> None:
    turn.touch(order)
    clear_holds(turn, order)
    here = turn.account(order.account)
    here.negatives.pop(order.client_order_id, None)
    here.absent.pop(order.client_order_id, None)
    if order.filled >= order.venue_cum and not order.live:
        # What a report promised has come by itself.
        here.queries.pop(order.client_order_id, None)
    successor = turn.trading.orders.get(order.replaced_by) if order.replaced_by is not None else None
    if successor is not None and take_back(turn, successor):
        # Nothing that has begun to trade is replaced (ONLY_NEW): the venue would refuse it anyway.
        not_sent(turn, successor, "LOCAL_EXPIRED")
    if late:
        level = "critical" if sealed else "warning"
        turn.log(
            level, "late_fill", client_order_id=order.client_order_id, status=order.status, sealed=sealed
        )
    if order.status is OrderStatus.REJECTED:
        illegal(turn, order, "fill")


# --- inferred fills -----------------------------------------------------------------------------------


def infer_missing(turn: Turn, order: Order) -> None:
    """Book what the venue has counted for long and no trade tells, at the order's own price."""
    qty = order.venue_cum - order.filled
    instrument = turn.instrument(order.instrument)
    if qty <= 0 or instrument is None:
        return
    fill = Fill(
        at_ns=turn.now,
        account=order.account,
        instrument=order.instrument,
        owner=order.owner,
        trade_id=TradeId(f"inferred {order.client_order_id} {turn.trading.lsn}"),
        client_order_id=order.client_order_id,
        venue_order_id=order.venue_order_id or "",
        side=order.side,
        qty=qty,
        price=order.limit_price or order.reserve_px,
        base=instrument.base,
        quote=instrument.settle if instrument.kind == "linear" else instrument.quote,
        fee=ZERO,
        fee_asset=instrument.quote,
        liquidity="taker",
        event_ns=turn.now,
        kind="linear" if instrument.kind == "linear" else "spot",
    )
    if not _emit(turn, FillInferred(turn.now, fill), order):
        return
    turn.live.counters.inferred += 1
    turn.touch(order)
    turn.log("error", "fill_inferred", client_order_id=order.client_order_id, qty=plain(qty))


def take_surplus_back(turn: Turn, order: Order) -> None:
    """Take back what was inferred and the venue counts no more: it revised that trade before anybody saw it.

    Real fills never make a surplus, they take the place of what was inferred.
    """
    before = order.filled
    _replace_inferred(turn, order, order.filled - order.venue_cum, order)
    if order.filled == before:
        return
    turn.account(order.account).activity_ns = turn.now
    suspect(turn, order.account, order.instrument)
    turn.touch(order)
    qty = plain(before - order.filled)
    turn.log("critical", "inferred_taken_back", client_order_id=order.client_order_id, qty=qty)


def _inferred_qty(turn: Turn, order: Order) -> Decimal:
    """Return what of an order is inferred still."""
    known = turn.trading.inferred.values()
    return sum((one.qty for one in known if one.client_order_id == order.client_order_id), ZERO)


def _replace_inferred(turn: Turn, fill: Fill | Order, qty: Decimal, order: Order | None) -> None:
    """Take so much of the inferred fills of a fill's order back, if there is; it may be forgotten."""
    for name, known in tuple(turn.trading.inferred.items()):
        same = (known.account, known.instrument, known.client_order_id) == (
            fill.account,
            fill.instrument,
            fill.client_order_id,
        )
        if same and qty > 0:
            part = min(qty, known.qty)
            qty -= part
            _emit(turn, FillReplaced(turn.now, known.account, known.instrument, name, part), order)


# --- busts and corrections ------------------------------------------------------------------------------


def on_bust(turn: Turn, msg: FillBusted) -> None:
    """Take a trade back, or change it; one that was not seen yet waits for its fill."""
    if msg.account not in turn.trading.opened:
        return
    key = fill_key(msg.account, msg.instrument, msg.trade_id)
    fill = turn.trading.recent_fills.get(key)
    if fill is not None:
        _bust_once(turn, msg, fill)
    elif knows_fill(turn.trading, msg.account, msg.instrument, msg.trade_id) or may_have_forgotten(
        turn.trading, msg.account, msg.instrument, msg.trade_id
    ):
        ask_history(turn, key, msg)
    else:
        _await_fill(turn, msg)


def _bust_once(turn: Turn, msg: FillBusted, fill: Fill) -> None:
    """Take a trade back or change it, unless a newer revision is in it: streams repeat them, in any order.

    Where the trade came as it is since, what the venue had counted before may still have in it what is gone,
    and so may what was inferred from that.
    """
    known = msg.qty is not None and (fill.qty, fill.price) == (msg.qty, msg.price or fill.price)
    order = None if fill.client_order_id is None else turn.trading.orders.get(fill.client_order_id)
    seen = ZERO if order is None else order.filled - _inferred_qty(turn, order)
    behind = order is not None and seen < order.venue_cum and msg.event_ns > fill.revised_ns
    if (behind or not known) and msg.event_ns >= fill.revised_ns:
        _take_back(turn, fill, msg.qty, msg.price, msg.event_ns)


def _await_fill(turn: Turn, msg: FillBusted) -> None:
    """Keep a revision for the fill that it is about; a newer one of the same trade takes its place."""
    where = (turn.now, msg.account, msg.instrument, msg.trade_id)
    known = turn.trading.busts.get(fill_key(*where[1:]))
    correction = msg.qty is not None and msg.price is not None
    # In one millisecond the bust is the last: nothing follows it.
    last = known is None or (known.event_ns, isinstance(known, Bust)) < (msg.event_ns, not correction)
    if last:
        turn.emit(
            Correct(*where, None, msg.qty, msg.price, msg.event_ns)  # type: ignore[arg-type]
            if correction
            else Bust(*where, None, msg.event_ns)
        )
        turn.log("error", "bust_awaits_fill", account=msg.account, trade_id=msg.trade_id)


def _take_back(turn: Turn, fill: Fill, qty: Decimal | None, price: Decimal | None, event_ns: int) -> None:
    where = (turn.now, fill.account, fill.instrument, fill.trade_id)
    order = None if fill.client_order_id is None else turn.trading.orders.get(fill.client_order_id)
    ended = order is not None and not order.live
    record: Bust | Correct = Bust(*where, fill, event_ns)
    if qty is not None:
        record = Correct(*where, fill, qty, fill.price if price is None else price, event_ns)
    if not _emit(turn, record, order):
        return
    turn.live.counters.busts += 1
    turn.account(fill.account).activity_ns = turn.now
    suspect(turn, fill.account, fill.instrument)
    if order is not None:
        turn.touch(order)
        # What is left of it, and whether it is open again, only the venue knows.
        query(turn, order)
        ask_soon(turn, order.account, repeat_after(1))
        if ended and order.live:
            lives_again(turn, order, "bust")
    turn.log(
        "critical", "bust" if qty is None else "correction", account=fill.account, trade_id=fill.trade_id
    )


# --- what the journal says ----------------------------------------------------------------------------------


def on_history(turn: Turn, msg: History) -> None:
    """Judge the facts that waited for the journal's answer."""
    for fact in waited_for(turn, msg):
        if isinstance(fact, ExecutionReport):
            on_old_report(turn, fact, msg)
        elif isinstance(fact, FillBusted):
            _bust_old(turn, fact, msg)
        elif msg.subject.startswith("fill "):
            _take_old(turn, fact, msg)
        else:
            _take_of_old_order(turn, fact, msg)


def _bust_old(turn: Turn, msg: FillBusted, history: History) -> None:
    """Take back a fill that has left memory, unless it was taken back before."""
    fill: Fill | None = None
    for record in history.records:
        if isinstance(record, Fill):
            fill = record
        elif isinstance(record, Bust):
            fill = None
        elif isinstance(record, Correct) and record.fill is not None:
            fill = corrected(record.fill, record) if record.qty else None
    if fill is not None:
        _bust_once(turn, msg, fill)


def _take_old(turn: Turn, msg: VenueFill, history: History) -> None:
    if any(isinstance(record, Fill) for record in history.records):
        turn.live.counters.duplicates += 1
    elif not knows_fill(turn.trading, msg.account, msg.instrument, msg.trade_id):
        _take(turn, msg, None)


def _take_of_old_order(turn: Turn, msg: VenueFill, history: History) -> None:
    """Book a fill of an order that has left memory to its owner; an unknown one is an orphan."""
    if knows_fill(turn.trading, msg.account, msg.instrument, msg.trade_id):
        return
    intent = intent_in(history, msg.account, msg.instrument)
    if intent is None:
        assert msg.client_order_id is not None
        alarm_orphan(turn, msg.account, msg.client_order_id, f"fill {msg.trade_id} of it was reported")
        _take(turn, msg, None, asked=True)
        return
    turn.log("critical", "late_fill", client_order_id=intent.client_order_id, status="forgotten", sealed=True)
    _take(turn, msg, intent)
