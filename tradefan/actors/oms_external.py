"""What is not ours: orders that others placed on the account. They count in exposure and are never touched.

An id of our own form that we do not know may be an order that has left memory, so the journal is
asked first; one that the journal does not know either is an orphan: the journal has lost its tail,
or somebody uses our letters. It is booked to `external`, and its instrument waits for a human.
"""

from __future__ import annotations

from decimal import Decimal

from tradefan.actors.oms_epoch import keep_ahead
from tradefan.actors.oms_modes import suspect
from tradefan.actors.oms_state import Turn
from tradefan.core.ids import is_own, keyed
from tradefan.core.order import Order
from tradefan.core.trading import order_at
from tradefan.messages.control import AskHistory, History
from tradefan.messages.gateway import ExecutionReport, FillBusted, VenueFill
from tradefan.messages.orders import TERMINAL, OrderStatus
from tradefan.messages.records import Difference, ExternalOrder, Intent
from tradefan.units import ZERO, AccountId, Asset, ClientOrderId, InstrumentId, exact

ASKED_MAX = 10_000
"""Facts that wait for the journal's answer; more are left to the next look."""


def on_stranger(turn: Turn, msg: ExecutionReport) -> None:
    """Take a report about an order that is not known here."""
    name = msg.client_order_id
    if not is_own(name, turn.wiring.instance):
        turn.live.counters.foreign += 1
        _take_in(turn, msg, orphan=False)
        return
    keep_ahead(turn, msg.account, name)
    if msg.status not in TERMINAL:
        ask_history(turn, f"order {name}", msg)
    # What has ended and left memory says nothing new; its fills come as such.


def ask_history(turn: Turn, subject: str, fact: ExecutionReport | VenueFill | FillBusted) -> None:
    """Have the journal say what it knows of a subject before a fact about it is judged.

    Each fact asks for itself: an answer that kills the OMS names the one to be set aside.
    """
    asking, key = turn.live.asking, fact.fact_key()
    if sum(map(len, asking.values())) >= ASKED_MAX:
        return
    place = f"{subject} {key}"
    first = place not in asking
    waiting = asking.setdefault(place, [])
    if fact not in waiting:
        waiting.append(fact)
    if first:
        turn.send(turn.wiring.journal, AskHistory(subject, key))


def waited_for(turn: Turn, history: History) -> list[ExecutionReport | VenueFill | FillBusted]:
    """Return and forget the facts that waited for the journal's answer."""
    return turn.live.asking.pop(f"{history.subject} {history.fact}", [])


def intent_in(history: History, account: AccountId, instrument: InstrumentId) -> Intent | None:
    """Return the INTENT that the journal found, if it is of this place: others may use an id of ours."""
    found = (record for record in history.records if isinstance(record, Intent))
    return next((one for one in found if (one.account, one.instrument) == (account, instrument)), None)


def on_old_report(turn: Turn, msg: ExecutionReport, history: History) -> None:
    """Judge a report about an order that is not in memory by what the journal holds."""
    known = intent_in(history, msg.account, msg.instrument) is not None
    # What was ours has ended and left memory: that the venue shows it live again breaks its bounds (R5).
    why = "ended long ago, and the venue shows it live" if known else "has our letters and no INTENT of ours"
    alarm_orphan(turn, msg.account, msg.client_order_id, why)
    _take_in(turn, msg, orphan=True)
    hold(turn, msg, why)


def hold(turn: Turn, msg: ExecutionReport, why: str) -> None:
    """Hold an instrument, over restarts too, for an order that a human has to explain, or that ends."""
    order = order_at(turn.trading, msg.account, msg.instrument, msg.client_order_id)
    name = msg.client_order_id if order is None else order.client_order_id
    text = f"{msg.instrument} is on hold: {name} {why}"
    turn.live.holds.setdefault(msg.instrument, {})[name] = text
    if name in turn.trading.orders_live:
        turn.emit(Difference(turn.now, msg.account, msg.instrument, name, True, text))
    turn.judge = True


def is_orphan(turn: Turn, order: Order) -> bool:
    """Say whether an order of our form is not ours, as far as the journal knows."""
    return order.external and is_own(order.client_order_id, turn.wiring.instance)


def alarm_orphan(turn: Turn, account: AccountId, client_order_id: ClientOrderId, why: str) -> None:
    """Say that something of our form is at the venue that we cannot explain: SEV1."""
    turn.live.counters.orphans += 1
    turn.log("critical", "orphan", account=account, client_order_id=client_order_id, reason=why)


def is_another(order: Order, venue_order_id: str | None) -> bool:
    """Say whether the venue speaks of another foreign order that has the id of this one."""
    return (
        order.external
        and bool(order.venue_order_id and venue_order_id)
        and (venue_order_id != order.venue_order_id)
    )


def _take_in(turn: Turn, msg: ExecutionReport, *, orphan: bool) -> None:
    """Let a foreign order count from now on; one that has ended already never will.

    It has its id for a name, and the place as well where another order has that id.
    """
    if msg.status in TERMINAL or msg.status is OrderStatus.UNKNOWN or msg.order_qty <= 0:
        return
    where = (msg.account, msg.instrument)
    known = order_at(turn.trading, *where, msg.client_order_id)
    name = msg.client_order_id if known is None else known.client_order_id
    if known is None and name in turn.trading.orders:
        name = keyed(name, *where)
    found = turn.instrument(msg.instrument)
    if found is None or (known is not None and (known.live or not known.external)):
        turn.log("warning", "foreign_order_ignored", account=msg.account, client_order_id=msg.client_order_id)
        return
    price = msg.limit_price or _mark(turn, msg)
    sells = msg.side == "sell" and found.kind == "spot"
    turn.emit(
        ExternalOrder(
            at_ns=turn.now,
            account=msg.account,
            instrument=msg.instrument,
            client_order_id=name,
            venue_order_id=msg.venue_order_id,
            side=msg.side,
            order_qty=msg.order_qty,
            cum_qty=msg.cum_qty,
            limit_price=msg.limit_price,
            reserve_px=price,
            reserve_asset=found.base if sells else Asset(found.quote),
            reserve_per_unit=Decimal(1) if sells else price,
            orphan=orphan,
        )
    )
    # A cancel that was repeated for the order that had this name is not this one's.
    turn.live.cancels.pop(name, None)
    turn.touch(turn.trading.orders[name])
    suspect(turn, msg.account, msg.instrument)
    turn.log(
        "warning",
        "foreign_order",
        account=msg.account,
        instrument=msg.instrument,
        client_order_id=msg.client_order_id,
        side=msg.side,
    )


def _mark(turn: Turn, msg: ExecutionReport) -> Decimal:
    quote = turn.live.quotes.get(msg.instrument)
    return ZERO if quote is None else (exact(quote.bid) + exact(quote.ask)) / 2
