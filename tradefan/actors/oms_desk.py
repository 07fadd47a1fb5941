"""Marks and books: what the risk desk tells the OMS, and what it and the owners may ask."""

from __future__ import annotations

from decimal import Decimal

from tradefan.actors.oms_owners import tell_memory
from tradefan.actors.oms_state import Turn
from tradefan.actors.oms_view import positions_of
from tradefan.messages.account import EquityMark, OwnBook
from tradefan.messages.orders import AskPositions, PositionsSent
from tradefan.messages.records import Equity
from tradefan.units import EXTERNAL, ZERO, AccountId, Asset


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
        msg.marks,
        msg.transferred,
        msg.gone,
    )
    ending = turn.live.closing and turn.live.stopping is None
    if known is None or _news(known) != _news(mark) or (ending and known.marks != mark.marks):
        turn.emit(mark)


def _news(mark: Equity) -> tuple[object, ...]:
    return (
        mark.numeraire,
        mark.day_start_ns,
        mark.day_equity,
        mark.peak_equity,
        mark.seam,
        mark.day_fees,
        mark.transferred,
        mark.gone,
        # Prices move all the time: what is held decides whether they are worth a record, until a stop begins.
        set(mark.marks),
    )


def on_ask_positions(turn: Turn, msg: AskPositions) -> None:
    """Answer with all that an owner holds and works on; before READY the question comes again."""
    if not any(here.announced for here in turn.live.accounts.values()):
        return
    if msg.owner is not None and msg.owner not in turn.wiring.owners:
        # It was taken out of the configuration while it asked.
        return
    if msg.owner is not None:
        turn.live.asked[msg.owner] = msg.asked
    ref = turn.wiring.risk_desk if msg.owner is None else turn.wiring.owners.get(msg.owner)
    if msg.owner is None:
        for book in own_books(turn):
            turn.send(ref, book)
        for record in turn.trading.equity.values():
            turn.send(ref, _mark_of(record))
    for held in positions_of(turn.trading, msg.owner):
        turn.send(ref, held)
    if msg.owner is not None:
        tell_memory(turn, ref, msg.owner)
    turn.send(ref, PositionsSent(msg.owner, turn.trading.epoch, msg.asked))


def _mark_of(record: Equity) -> EquityMark:
    return EquityMark(
        record.account,
        record.numeraire,
        record.day_start_ns,
        record.day_equity,
        record.peak_equity,
        record.seam,
        record.day_fees,
        record.marks,
        record.transferred,
        record.gone,
    )


def own_books(turn: Turn) -> list[OwnBook]:
    """Return what all owners hold; per account and asset the quantities add up to the balance.

    A position names its instrument. All else of an account, cash and what it held before us, is
    `external` and names none.
    """
    books: list[OwnBook] = []
    for account, balances in turn.trading.ledger.balances.items():
        in_positions = _positions(turn, account, books)
        transferred = turn.trading.ledger.transferred.get(account, {})
        for asset, qty in balances.items():
            held = turn.trading.ledger.external.get(account, {}).get(asset)
            cost = ZERO if held is None else held.cost
            rest = qty - in_positions.get(asset, ZERO)
            sums = transferred.get(asset, ZERO)
            books.append(OwnBook(account, EXTERNAL, None, asset, rest, cost, sums))
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
