"""Stopping: no new orders, own orders by policy, verified by a look, flushed; or cut by the deadline.

What `on_stop: flatten` means is done here alone: the owner's orders go first, to evidence; then what it
holds is sold, again and again until the venue takes no more of it, or the deadline names what is left.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from tradefan.actors.oms_gate import COLLAR_BPS, away, collar_price, mode_of, reference, risk_state
from tradefan.actors.oms_look import ask_soon
from tradefan.actors.oms_parents import complete
from tradefan.actors.oms_recovery import snapshot_if_due
from tradefan.actors.oms_state import Stopping, Turn
from tradefan.actors.oms_submit import is_small, lose_wishes, on_target
from tradefan.actors.oms_view import positions_of
from tradefan.actors.oms_waiting import drop_creates
from tradefan.contracts import MarketView, RiskRefused
from tradefan.core.ledger import position
from tradefan.core.order import Order
from tradefan.core.trading import ParentState, place_key
from tradefan.messages.control import Stop, StopBegun, Stopped, Timer
from tradefan.messages.instrument import Instrument
from tradefan.messages.orders import OrderStatus, Phase, SetTarget
from tradefan.messages.records import CleanStop
from tradefan.units import EXTERNAL, MS, ZERO, AccountId, InstrumentId, OwnerId, plain

MARGIN_NS = 100 * MS
"""The answer leaves this long before the deadline: it still has to arrive."""
FLATTEN_REF = "on_stop"
AGAIN_NS = 250 * MS
"""A position is tried again this long after the last try: what the book shows may be back."""
WRITTEN_NS = 200 * MS
"""A disk that works has written within this what it was told."""
LOOKS_EMPTY = 2
"""So many looks in a row must show nothing unwanted."""


def on_stop_begun(turn: Turn, msg: StopBegun) -> None:
    """Let nothing in from now on, and nothing out that waits; what rests is cancelled when our turn comes."""
    turn.live.closing = True
    if turn.live.running:
        lose_wishes(turn)
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
    live.stopping = Stopping(msg.deadline_ns, {})
    for order in _unwanted(turn):
        _verify(turn, live.stopping, order.account)


# --- flatten ------------------------------------------------------------------------------------------


def on_flatten_timer(turn: Turn, timer: Timer) -> None:
    """Come back: what was not sold is tried again at the end of this turn."""


def _flatten(turn: Turn, stopping: Stopping) -> None:
    """Sell at the collar what may be sold now and was not tried a moment ago."""
    for wish in _unsold(turn):
        place = place_key(wish.account, wish.instrument, wish.owner)
        if turn.now < stopping.tried.get(place, 0) + AGAIN_NS or _hindered(turn, wish) or _works(turn, wish):
            continue
        stopping.tried[place] = turn.now
        turn.ctx.after(AGAIN_NS, Timer("flatten", place))
        on_target(turn, _of_one_order(turn, wish), at_stop=True)
        _verify(turn, stopping, wish.account)


def _unsold(turn: Turn) -> list[SetTarget]:
    """Return the wishes for what owners hold whose policy is to hold nothing; dust stays."""
    found = []
    for held in positions_of(turn.trading, None):
        if held.owner == EXTERNAL or not held.qty or _policy(turn, held.owner) != "flatten":
            continue
        wish = SetTarget(
            account=held.account,
            instrument=held.instrument,
            owner=held.owner,
            ref=f"{FLATTEN_REF}-{turn.trading.epoch}-{held.instrument}-{turn.now}",
            target_qty=ZERO,
            band=ZERO,
            algo="market",
            reason=FLATTEN_REF,
        )
        instrument = turn.instrument(held.instrument)
        if instrument is None or not _is_dust(turn, wish, instrument):
            found.append(wish)
    return found


def _hindered(turn: Turn, wish: SetTarget) -> RiskRefused | None:
    """Return why nothing can be sold now: as long as that is so, what protects a position stays."""
    now = mode_of(turn, wish.account, wish.instrument, wish.owner)
    if now.mode in ("CANCEL_ONLY", "KILLED"):
        return RiskRefused(now.code, now.text)
    instrument = turn.instrument(wish.instrument)
    if instrument is None:
        return RiskRefused("UNKNOWN_INSTRUMENT", f"nobody may trade {wish.instrument} any more")
    market = reference(turn, instrument, crossing=True)
    return away(turn, wish.account) or (market if isinstance(market, RiskRefused) else None)


def _of_one_order(turn: Turn, wish: SetTarget) -> SetTarget:
    """Ask for no more at once than one order may be, and than the account has; the rest follows."""
    instrument = turn.instrument(wish.instrument)
    assert instrument is not None
    prices = _prices(turn, instrument, held := _held(turn, wish))
    assert prices is not None, "nothing hinders, so there is a price"
    limits = turn.config.risk.limits(wish.instrument)
    most = min(limits.max_order_qty, limits.max_order_notional / max(prices), instrument.max_qty or abs(held))
    if instrument.kind == "spot":
        free = risk_state(turn, wish.account, instrument, wish.owner).free_base
        # Where others have taken all of it, the gate says so.
        most = min(most, free) if instrument.floor_qty(free) > 0 else most
    left = abs(held) - instrument.floor_qty(most)
    return wish if left <= 0 else msgspec.structs.replace(wish, target_qty=left if held > 0 else -left)


def _is_dust(turn: Turn, wish: SetTarget, instrument: Instrument) -> bool:
    """Say whether the venue takes no order for what is held, at the price of the sale as at the mid."""
    held = _held(turn, wish)
    prices = _prices(turn, instrument, held)
    qty = instrument.floor_qty(abs(held))
    worthless = prices is not None and instrument.notional(qty, min(prices)) < instrument.min_notional
    return worthless or is_small(turn, wish, instrument, held)


def _prices(turn: Turn, instrument: Instrument, held: Decimal) -> tuple[Decimal, Decimal] | None:
    """Return the collar of an order that brings a position to zero, and the mid; None without a market."""
    market = reference(turn, instrument, crossing=True)
    if not isinstance(market, MarketView):
        return None
    return collar_price(instrument, "sell" if held > 0 else "buy", market, COLLAR_BPS), market.mid


def _held(turn: Turn, wish: SetTarget) -> Decimal:
    return position(turn.trading.ledger, wish.account, wish.owner, wish.instrument).qty


def _works(turn: Turn, wish: SetTarget) -> bool:
    """End what the owner has at this place; True while something of it may still trade."""
    for parent in turn.open_parents_at(wish.account, wish.instrument, wish.owner):
        # What is alive and protects nothing was cancelled when we began, or is a sale of ours.
        if parent.order.protective or not parent.live:
            complete(turn, parent, OrderStatus.CANCELED, "stop")
    return any(parent.live for parent in turn.open_parents_at(wish.account, wish.instrument, wish.owner))


# --- what may stay --------------------------------------------------------------------------------------


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


def _verify(turn: Turn, stopping: Stopping, account: AccountId) -> None:
    """Begin to count the looks that show an account as we want it."""
    stopping.unverified[account], stopping.since[account] = 0, turn.now
    ask_soon(turn, account, MARGIN_NS)


def verified(turn: Turn, account: AccountId, asked_ns: int) -> None:
    """Take note of a complete look: an account without unwanted orders, twice, is as we want it.

    One that was asked before our cancels left, or in their instant, shows the time before them.
    """
    stopping = turn.live.stopping
    if stopping is None:
        return
    left = {order.account: None for order in _unwanted(turn)}
    if account not in stopping.unverified:
        return
    if asked_ns <= stopping.since[account]:
        ask_soon(turn, account, MARGIN_NS)
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
    if stopping is None or stopping.answered or not live.running:
        return
    _flatten(turn, stopping)
    if stopping.unverified or _unwanted(turn) or _unsold(turn):
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
    if unwritten and _waits_ns(turn) >= WRITTEN_NS:
        turn.log("error", "records_unwritten", count=unwritten, durable=turn.live.outbox.durable)
    positions = _kept(turn) if turn.live.running else ()
    turn.log(
        "warning" if left or positions or unverified else "info",
        "stopped",
        left=[name for _, _, name in left],
        resting=[order.client_order_id for order in turn.live_orders() if _may_stay(turn, order)],
        unverified=unverified,
    )
    _say_unwatched(turn)
    turn.send(turn.wiring.supervisor, Stopped(turn.wiring.name, left, unverified, positions))


def _say_unwatched(turn: Turn) -> None:
    """Name what only this daemon protects: nobody looks at the market for it until the next start."""
    armed = turn.open_parents(lambda one: one.phase is Phase.ARMED and one.order.protective)
    if armed:
        names = [f"{one.order.owner} {one.order.instrument} {plain(one.order.order_qty)}" for one in armed]
        turn.log("warning", "unwatched_protection", positions=names)


def _waits_ns(turn: Turn) -> int:
    """Return for how long the disk has owed a word; what this very moment journaled it cannot have yet."""
    due_ns = turn.live.durable_due_ns
    return turn.now - (due_ns - turn.config.journal.durable_timeout) if due_ns else 0


def _kept(turn: Turn) -> tuple[tuple[AccountId, OwnerId, InstrumentId, Decimal], ...]:
    """Return, and say, which positions were to be sold and are there still."""
    found = []
    for wish in _unsold(turn):
        qty = _held(turn, wish)
        turn.log(
            "error",
            "position_kept",
            account=wish.account,
            owner=wish.owner,
            instrument=wish.instrument,
            qty=plain(qty),
            reason=_why_kept(turn, wish),
        )
        found.append((wish.account, wish.owner, wish.instrument, qty))
    return tuple(found)


def _why_kept(turn: Turn, wish: SetTarget) -> str:
    hindered = _hindered(turn, wish)
    if hindered is not None:
        return hindered.text
    of_place = (wish.owner, wish.instrument)
    refused = [one.text for one in turn.live.refusals if (one.owner, one.instrument) == of_place]
    return refused[-1] if refused else "not sold in time"
