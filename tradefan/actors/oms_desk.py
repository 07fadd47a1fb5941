"""Modes, marks and books: what the risk desk tells the OMS, and what it and the owners may ask."""

from __future__ import annotations

from decimal import Decimal

from tradefan.actors.oms_engine import cancel_order
from tradefan.actors.oms_gate import scopes
from tradefan.actors.oms_recovery import drop_creates
from tradefan.actors.oms_state import Turn
from tradefan.actors.oms_view import positions_of
from tradefan.core.ledger import net
from tradefan.core.order import Order
from tradefan.core.updates import parent_update
from tradefan.messages.account import EquityMark, Mode, OwnBook, SetMode
from tradefan.messages.control import ActorState
from tradefan.messages.orders import AskPositions, CreateOrder, PositionsSent
from tradefan.messages.records import Equity, ModeChange
from tradefan.units import EXTERNAL, ZERO, AccountId, Asset

RISK_DESK = "risk_desk"


def on_set_mode(turn: Turn, msg: SetMode) -> None:
    """Journal a cause's mode for a scope and obey it in this step; a repeated word changes nothing."""
    known = turn.trading.modes.get(msg.scope, {}).get(msg.cause)
    wanted = (msg.mode, msg.code, msg.text, msg.limit, msg.used, msg.would_pass)
    if known is None and msg.mode == "NORMAL":
        return
    same = known is not None and (known.mode, known.code, known.limit) == (msg.mode, msg.code, msg.limit)
    if same:
        return
    turn.emit(ModeChange(turn.now, msg.scope, msg.cause, *wanted))
    turn.log("warning", "mode", scope=msg.scope, cause=msg.cause, mode=msg.mode, code=msg.code, text=msg.text)
    if msg.mode in _CANCELS:
        _cancel_forbidden(turn, msg.scope, msg.mode)
    if msg.mode != "NORMAL":
        drop_creates(
            turn,
            lambda create: msg.scope in _scopes_of(create) and _forbids(turn, msg.mode, create.side, create),
            f"mode {msg.mode}",
        )


_CANCELS: tuple[Mode, ...] = ("REDUCE_ONLY", "KILLED")


def _cancel_forbidden(turn: Turn, scope: str, mode: Mode) -> None:
    """Cancel own resting orders that a mode does not let stand (RELIABILITY.md 2b)."""
    for order in turn.live_orders():
        if scope in _scopes_of(order) and _forbids(turn, mode, order.side, order):
            cancel_order(turn, order, f"mode {mode}")


def _scopes_of(order: Order | CreateOrder) -> tuple[str, ...]:
    return scopes(order.account, order.instrument, order.owner)


def _forbids(turn: Turn, mode: Mode, side: str, order: Order | CreateOrder) -> bool:
    """Say whether a mode forbids an order that was approved before: all, or what can raise exposure."""
    if mode in ("CANCEL_ONLY", "KILLED"):
        return True
    held = net(turn.trading.ledger, order.account, order.instrument)
    return held >= 0 if side == "buy" else held <= 0


def on_actor_state(turn: Turn, msg: ActorState) -> None:
    """While the risk desk is not READY there is no new risk."""
    if msg.name == RISK_DESK:
        turn.live.risk_desk = msg.state


def on_equity_mark(turn: Turn, msg: EquityMark) -> None:
    """Journal day start and peak, so that the limits survive a restart."""
    known = turn.trading.equity.get(msg.account)
    mark = Equity(
        turn.now,
        msg.account,
        msg.numeraire,
        msg.day_start_ns,
        msg.day_equity,
        msg.peak_equity,
        msg.seam,
        msg.day_fees,
    )
    if known is None or _marks(known) != _marks(mark):
        turn.emit(mark)


def _marks(mark: Equity) -> tuple[object, ...]:
    return (
        mark.numeraire,
        mark.day_start_ns,
        mark.day_equity,
        mark.peak_equity,
        mark.seam,
        mark.day_fees,
    )


def on_ask_positions(turn: Turn, msg: AskPositions) -> None:
    """Answer with all that an owner holds and works on; before READY the question comes again."""
    if not any(here.announced for here in turn.live.accounts.values()):
        return
    ref = turn.wiring.risk_desk if msg.owner is None else turn.wiring.owners.get(msg.owner)
    if msg.owner is None:
        for book in own_books(turn):
            turn.send(ref, book)
        for record in turn.trading.equity.values():
            turn.send(ref, _mark_of(record))
    for held in positions_of(turn.trading, msg.owner):
        turn.send(ref, held)
    if msg.owner is not None:
        for parent in turn.open_parents(lambda item: item.order.owner == msg.owner):
            turn.send(ref, parent_update(parent))
    turn.send(ref, PositionsSent(msg.owner, turn.trading.epoch))


def _mark_of(record: Equity) -> EquityMark:
    return EquityMark(
        record.account,
        record.numeraire,
        record.day_start_ns,
        record.day_equity,
        record.peak_equity,
        record.seam,
        record.day_fees,
    )


def own_books(turn: Turn) -> list[OwnBook]:
    """Return what all owners hold; per account and asset the quantities add up to the balance.

    A position names its instrument. All else of an account, cash and what it held before us, is
    `external` and names none.
    """
    books: list[OwnBook] = []
    for account, balances in turn.trading.ledger.balances.items():
        in_positions = _positions(turn, account, books)
        for asset, qty in balances.items():
            held = turn.trading.ledger.external.get(account, {}).get(asset)
            cost = ZERO if held is None else held.cost
            rest = qty - in_positions.get(asset, ZERO)
            books.append(OwnBook(account, EXTERNAL, None, asset, rest, cost))
    return books


def _positions(turn: Turn, account: AccountId, books: list[OwnBook]) -> dict[Asset, Decimal]:
    """Add an account's positions to the books; return what they hold of each asset (linear: nothing)."""
    held: dict[Asset, Decimal] = {}
    for owner, by_instrument in turn.trading.ledger.positions.get(account, {}).items():
        for name, one in by_instrument.items():
            instrument = turn.instrument(name)
            if instrument is None:
                continue
            books.append(OwnBook(account, owner, name, instrument.base, one.qty, one.cost))
            if instrument.kind == "spot":
                held[instrument.base] = held.get(instrument.base, ZERO) + one.qty
    return held
