"""Folding of records about money, modes, kills and what a human decided into `Trading`."""

from __future__ import annotations

from tradefan.core.ledger import assign, book_opening, book_transfer
from tradefan.core.modes import waits_for_human
from tradefan.core.trading_state import POISON_MAX, Trading, remember, sound
from tradefan.messages.records import (
    Assign,
    Cursor,
    Difference,
    Equity,
    Kill,
    ModeChange,
    Opening,
    Poison,
    PoisonResolved,
    Resume,
    Transfer,
)
from tradefan.units import ZERO


def on_opening(state: Trading, record: Opening) -> bool:
    """Book what an account held before us."""
    if not sound(record.qty, record.price or ZERO):
        return False
    book_opening(state.ledger, record)
    state.opened.setdefault(record.account, record.at_ns)
    state.cursors.setdefault(record.account, {}).update(record.cursors)
    state.opening_cursors.setdefault(record.account, {}).update(record.cursors)
    return True


def on_transfer(state: Trading, record: Transfer) -> bool:
    """Book money that moved without a fill of ours."""
    if not sound(record.qty):
        return False
    book_transfer(state.ledger, record)
    return True


def on_assign(state: Trading, record: Assign) -> bool:
    """Let a quantity change its owner; the account's balance stays."""
    if record.qty <= 0 or not sound(record.qty, record.price):
        return False
    assign(state.ledger, record)
    return True


def on_difference(state: Trading, record: Difference) -> bool:
    """Keep where venue and books are apart, until they agree."""
    if record.apart:
        state.differences[record.subject] = record
    else:
        state.differences.pop(record.subject, None)
    return True


def on_cursor(state: Trading, record: Cursor) -> bool:
    """Note up to where trades are booked."""
    state.cursors.setdefault(record.account, {})[record.instrument] = record.trade_id
    return True


def on_poison(state: Trading, record: Poison) -> bool:
    """Set a fact aside."""
    remember(state.poisons, record.fact_key, record, POISON_MAX)
    return True


def on_poison_resolved(state: Trading, record: PoisonResolved) -> bool:
    """Let a fact be taken again, or never."""
    if state.poisons.pop(record.fact_key, None) is None:
        return False
    if record.verdict == "DROP":
        remember(state.dropped, record.fact_key, None, POISON_MAX)
    return True


def on_mode(state: Trading, record: ModeChange) -> bool:
    """Let a cause tighten a scope, or withdraw it."""
    causes = state.modes.setdefault(record.scope, {})
    if record.mode == "NORMAL":
        causes.pop(record.cause, None)
    else:
        causes[record.cause] = record
    if not causes:
        del state.modes[record.scope]
    return True


def on_kill(state: Trading, record: Kill) -> bool:
    """Close a scope."""
    state.kills[record.scope] = record
    state.resumed.pop(record.scope, None)
    return True


def on_resume(state: Trading, record: Resume) -> bool:
    """Open a scope, and let the modes go that waited for a human."""
    if state.kills.pop(record.scope, None) is not None:
        state.resumed[record.scope] = None
    causes = state.modes.get(record.scope, {})
    for cause in [name for name in causes if waits_for_human(name)]:
        del causes[cause]
    if not causes:
        state.modes.pop(record.scope, None)
    return True


def on_equity(state: Trading, record: Equity) -> bool:
    """Keep day start and peak; one of before the sums of transfers were kept counts all that came before."""
    state.equity[record.account] = record
    if record.transferred is None:
        state.ledger.transferred.pop(record.account, None)
    return True
