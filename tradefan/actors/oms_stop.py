"""Stopping: no new orders, own orders by policy, verified by a look, flushed; or cut by the deadline."""

from __future__ import annotations

from tradefan.actors.oms_engine import complete
from tradefan.actors.oms_look import ask_soon
from tradefan.actors.oms_recovery import snapshot_if_due
from tradefan.actors.oms_state import Stopping, Turn
from tradefan.actors.oms_submit import on_target
from tradefan.actors.oms_view import positions_of
from tradefan.actors.oms_waiting import drop_creates
from tradefan.core.order import Order
from tradefan.core.trading import ParentState
from tradefan.messages.control import Stop, StopBegun, Stopped, Timer
from tradefan.messages.orders import OrderStatus, Phase, SetTarget
from tradefan.messages.records import CleanStop
from tradefan.units import EXTERNAL, MS, ZERO, AccountId, OwnerId

MARGIN_NS = 100 * MS
"""The answer leaves this long before the deadline: it still has to arrive."""
FLATTEN_REF = "on_stop"
LOOKS_EMPTY = 2
"""So many looks in a row must show nothing unwanted."""


def on_stop_begun(turn: Turn, msg: StopBegun) -> None:
    """Let nothing in from now on, and nothing out that waits; what rests is cancelled when our turn comes."""
    turn.live.closing = True
    turn.live.wishes.clear()
    drop_creates(turn, lambda _: True, "stop")


def on_stop(turn: Turn, msg: Stop) -> None:
    """Begin to stop."""
    live = turn.live
    if live.stopping is not None:
        return
    on_stop_begun(turn, StopBegun())
    turn.ctx.after(max(msg.deadline_ns - turn.now - MARGIN_NS, 0), Timer("stop"))
    if not live.running:
        # What is to be cancelled is known after the fold.
        live.stash.append(msg)
        return
    live.stop_code = msg.code
    for parent in turn.open_parents(lambda item: _policy(turn, item.order.owner) != "leave"):
        if not parent.order.protective:
            complete(turn, parent, OrderStatus.CANCELED, "stop")
    _flatten(turn)
    live.stopping = Stopping(msg.deadline_ns, {})
    for order in _unwanted(turn):
        live.stopping.unverified[order.account] = 0
        ask_soon(turn, order.account, MARGIN_NS)


def _flatten(turn: Turn) -> None:
    """Sell once, at the collar, what owners hold whose policy says so."""
    for held in positions_of(turn.trading, None):
        if held.owner != EXTERNAL and _policy(turn, held.owner) == "flatten":
            wish = SetTarget(
                account=held.account,
                instrument=held.instrument,
                owner=held.owner,
                ref=f"{FLATTEN_REF}-{turn.trading.epoch}-{held.instrument}",
                target_qty=ZERO,
                band=ZERO,
                algo="market",
                reason=FLATTEN_REF,
            )
            # The gate opens for this wish alone.
            turn.live.closing = False
            on_target(turn, wish)
            turn.live.closing = True


def _policy(turn: Turn, owner: OwnerId) -> str:
    if turn.live.stop_code:
        # We end by a defect, and nobody may be there to start us again: nothing rests unattended.
        return "cancel"
    config = turn.config.strategies.get(owner)
    return "cancel" if config is None else config.on_stop


def _unwanted(turn: Turn) -> list[Order]:
    """Return the live orders that shall not stay at the venue."""
    return [order for order in turn.live_orders() if not _may_stay(turn, order)]


def _may_stay(turn: Turn, order: Order) -> bool:
    if order.external:
        return True
    parent = turn.trading.parents.get(order.parent_id)
    protective = parent is not None and parent.order.protective
    return protective or (_policy(turn, order.owner) == "leave" and not _ending(parent))


def _ending(parent: ParentState | None) -> bool:
    return parent is not None and parent.phase is Phase.COMPLETING


def verified(turn: Turn, account: AccountId) -> None:
    """Take note of a complete look: an account without unwanted orders, twice, is as we want it."""
    stopping = turn.live.stopping
    if stopping is None:
        return
    left = {order.account: None for order in _unwanted(turn)}
    if account not in stopping.unverified:
        return
    empty = stopping.unverified[account] = 0 if account in left else stopping.unverified[account] + 1
    if empty >= LOOKS_EMPTY:
        del stopping.unverified[account]
    else:
        ask_soon(turn, account, MARGIN_NS)


def answer_if_done(turn: Turn) -> None:
    """Say Stopped when nothing unwanted is left, all is verified and every record is on the disk."""
    live = turn.live
    stopping = live.stopping
    if stopping is None or stopping.answered or not live.running or stopping.unverified:
        return
    if _unwanted(turn):
        return
    if not stopping.noted:
        stopping.noted = True
        if not turn.live.stop_code:
            turn.emit(CleanStop(turn.now, 0))
        snapshot_if_due(turn, now=True)
    if not turn.records and live.outbox.durable >= turn.trading.lsn:
        _answer(turn, stopping)


def on_stop_timer(turn: Turn, timer: Timer) -> None:
    """Answer at the deadline with what is left."""
    stopping = turn.live.stopping or Stopping(turn.now, {})
    if not stopping.answered:
        _answer(turn, stopping)


def _answer(turn: Turn, stopping: Stopping) -> None:
    stopping.answered = True
    left = tuple((order.account, order.owner, order.client_order_id) for order in _unwanted(turn))
    unwritten = turn.trading.lsn - turn.live.outbox.durable
    unverified = bool(stopping.unverified) or not turn.live.running or unwritten > 0
    if unwritten:
        turn.log("critical", "records_unwritten", count=unwritten, durable=turn.live.outbox.durable)
    unwanted = [name for _, _, name in left]
    turn.log(
        "warning" if left or unverified else "info",
        "stopped",
        left=unwanted,
        resting=[order.client_order_id for order in turn.live_orders() if _may_stay(turn, order)],
        unverified=unverified,
    )
    turn.send(turn.wiring.supervisor, Stopped(turn.wiring.name, left, unverified))
