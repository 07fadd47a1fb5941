"""The desk's book beside the OMS's: taking one over, and finding where they are apart."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from tradefan.actors.risk_desk_limits import set_mode
from tradefan.actors.risk_desk_state import Account, Desk, Difference, Told
from tradefan.core.equity import Book, Breach, add_to
from tradefan.errors import Defect
from tradefan.messages.account import OwnBook
from tradefan.messages.instrument import Instrument
from tradefan.messages.orders import PositionMoved
from tradefan.units import EXTERNAL, ZERO, AccountId, Asset, InstrumentId, OwnerId, plain

LOOKS_APART = 2
"""So many looks in a row must find two books apart, or equal again."""
HOLD = "books differ"
"""The cause of the mode that a difference makes."""

Instruments = Mapping[InstrumentId, Instrument]


def compare(desk: Desk, epoch: int) -> None:
    """Go through the whole answer of the OMS of an epoch, account by account, and judge what differs."""
    found: dict[InstrumentId, Decimal] = {}
    for name, account in desk.state.accounts.items():
        if account.told is not None:
            for where, qty in _compare(desk, name, account, account.told, epoch).items():
                found[where] = max(qty, found.get(where, qty))
            account.epoch = epoch
        account.told = None
    for instrument in desk.state.instruments.values():
        difference = desk.state.differences.setdefault(instrument.id, Difference())
        difference.qty = found.get(instrument.id, ZERO)
        if difference.qty > instrument.qty_lot:
            _apart(desk, instrument, difference)
        else:
            _agreeing(desk, instrument, difference)


def _compare(
    desk: Desk, name: AccountId, account: Account, told: Told, epoch: int
) -> dict[InstrumentId, Decimal]:
    """Return where positions are apart; where none is, money that moved otherwise is a transfer.

    What an OMS told in its last moments may never have been journaled: its successor hears of it from the
    venue and tells it again, or nobody does. So the first answer of a successor counts, not our book.
    """
    instruments = desk.state.instruments
    strangers = [one for one in _net(told.held) if one not in instruments]
    if strangers:
        raise Defect(f"{name} holds {strangers}, which wiring has not named to the risk desk")
    differences = {} if account.book is None else apart(account.book, told)
    if account.book is None or (differences and account.epoch != epoch):
        _count_transfers(account, told)
        account.book = taken_over(told, instruments)
        desk.ctx.log("info", "book_taken_over", account=name, differences=len(differences))
        return {}
    if not differences:
        _adopt_transfers(desk, name, account, account.book, told)
    return differences


def _count_transfers(account: Account, told: Told) -> None:
    """Note what was transferred since the curve was journaled: nobody had looked at it yet."""
    known, account.transferred = account.transferred, dict(told.transferred)
    for asset in known | told.transferred:
        change = told.transferred.get(asset, ZERO) - known.get(asset, ZERO)
        if account.curve is not None and change:
            add_to(account.moved, asset, change)


def _adopt_transfers(desk: Desk, name: AccountId, account: Account, book: Book, told: Told) -> None:
    """A deposit is no gain, a withdrawal no loss."""
    account.transferred = dict(told.transferred)
    for asset, change in transfers(book, told, desk.state.instruments).items():
        add_to(book.assets, asset, change)
        desk.state.counters.transfers += 1
        add_to(account.moved, asset, change)
        desk.ctx.log("warning", "transfer_seen", account=name, asset=asset, qty=plain(change))


def _apart(desk: Desk, instrument: Instrument, difference: Difference) -> None:
    difference.apart += 1
    difference.agreeing = 0
    qty, lot = plain(difference.qty), plain(instrument.qty_lot)
    if difference.apart == 1:
        desk.state.counters.differences += 1
        desk.ctx.log("error", "books_differ", instrument=instrument.id, qty=qty)
    if difference.apart == LOOKS_APART:
        difference.held = True
        text = f"the risk desk's book of {instrument.id} and the OMS's are {qty} apart"
        breach = Breach(HOLD, instrument.id, "MODE_CANCEL_ONLY", text, lot, qty, "equal books")
        set_mode(desk, instrument.id, HOLD, "CANCEL_ONLY", breach)


def _agreeing(desk: Desk, instrument: Instrument, difference: Difference) -> None:
    difference.agreeing += 1
    difference.apart = 0
    if difference.held and difference.agreeing >= LOOKS_APART:
        difference.held = False
        set_mode(desk, instrument.id, HOLD, "NORMAL")


def note(told: Told, msg: OwnBook) -> None:
    """Add one line of the OMS's answer."""
    if msg.instrument is None:
        add_to(told.rest, msg.asset, msg.qty)
        if msg.transferred:
            add_to(told.transferred, msg.asset, msg.transferred)
    else:
        add_to(told.held.setdefault(msg.owner, {}), msg.instrument, msg.qty)
        add_to(told.costs, msg.instrument, msg.cost)


def taken_over(told: Told, instruments: Instruments) -> Book:
    """Return the book that the OMS tells; of a linear contract what it cost has left the settle asset."""
    book = Book(assets=dict(told.rest), held={owner: dict(held) for owner, held in told.held.items()})
    for name, qty in _net(told.held).items():
        instrument = instruments[name]
        if instrument.kind == "spot":
            add_to(book.assets, instrument.base, qty)
        else:
            add_to(book.contracts, name, qty)
            add_to(book.assets, instrument.settle, -told.costs[name])
    return book


def move(book: Book, instrument: Instrument, moved: PositionMoved) -> None:
    """Let a quantity change its owner; of spot `external` holds assets, not positions."""
    for owner, qty in ((moved.giver, -moved.qty), (moved.taker, moved.qty)):
        if owner != EXTERNAL or instrument.kind != "spot":
            add_to(book.held.setdefault(owner, {}), moved.instrument, qty)


def apart(book: Book, told: Told) -> dict[InstrumentId, Decimal]:
    """Return by instrument the largest difference of any owner's position; equal ones are left out."""
    found: dict[InstrumentId, Decimal] = {}
    for owner in {**book.held, **told.held}:
        ours, theirs = book.held.get(owner, {}), told.held.get(owner, {})
        for name in {**ours, **theirs}:
            difference = abs(ours.get(name, ZERO) - theirs.get(name, ZERO))
            if difference > found.get(name, ZERO):
                found[name] = difference
    return found


def transfers(book: Book, told: Told, instruments: Instruments) -> dict[Asset, Decimal]:
    """Return what came to each asset that no fill brought; only right while all positions agree."""
    theirs = taken_over(told, instruments).assets
    changes = {
        asset: theirs.get(asset, ZERO) - book.assets.get(asset, ZERO) for asset in book.assets | theirs
    }
    return {asset: change for asset, change in changes.items() if change}


def net(book: Book, name: InstrumentId) -> Decimal:
    """Return what all owners hold of an instrument by fills."""
    return sum((held.get(name, ZERO) for held in book.held.values()), ZERO)


def _net(held: Mapping[OwnerId, Mapping[InstrumentId, Decimal]]) -> dict[InstrumentId, Decimal]:
    sums: dict[InstrumentId, Decimal] = {}
    for by_instrument in held.values():
        for name, qty in by_instrument.items():
            add_to(sums, name, qty)
    return sums
