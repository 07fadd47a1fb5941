"""Reading an account's trades behind a cursor, and how far the cursor may move.

A query may lag: what happened is seen by every query only `visible_bound` later, so a trade with a
smaller id can show up after one with a larger id. A cursor that had passed it would lose it for ever.
Therefore a cursor moves only up to a trade that was older than `visible_bound` (and what our clock may
be off) when the look was asked: everything up to that instant was in the answer. Younger trades are
told as well, and told again by the next look; their ids make them count once. Paging by id needs no
overlap in time beyond that.

A trade without an id cannot be a cursor. Where one stands behind the last id of a full page it is left
to the next page, which begins there and brings it again: once in a reading, as its derived id needs.
"""

from __future__ import annotations

from collections.abc import Sequence

from tradefan.actors.gateway_state import Reading
from tradefan.units import MS, SECOND, TradeId
from tradefan.venues.binance_account_wire import AccountTrade
from tradefan.venues.binance_orders import NO_TRADE, TRADES_MAX
from tradefan.venues.feed_events import BadFrame

CLOCK_BOUND_NS = SECOND
"""Largest error of venue time (RELIABILITY.md part 2)."""


def horizon_ns(asked_ns: int, visible_ns: int) -> int:
    """Return the instant up to which a look that was asked then has seen every trade."""
    return asked_ns - visible_ns - CLOCK_BOUND_NS


def newest_id(rows: Sequence[AccountTrade]) -> TradeId:
    """Return the cursor of an account that begins here: its newest trade.

    Raises:
        BadFrame: that trade has no id, so nothing says what came before it.
    """
    if not rows:
        return NO_TRADE
    if rows[-1].trade_id is None:
        raise BadFrame("trade", "the newest has no id to begin behind")
    return TradeId(str(rows[-1].trade_id))


def take_page(reading: Reading, rows: Sequence[AccountTrade]) -> bool:
    """Add a page; say whether another one follows, behind `reading.after`.

    Raises:
        BadFrame: the page is full and none of its trades has an id, so nobody can ask what follows.
    """
    if len(rows) < TRADES_MAX:
        reading.rows.extend(rows)
        return False
    numbers = [row.trade_id for row in rows]
    last = max((number for number in numbers if number is not None), default=None)
    if last is None:
        raise BadFrame("trade", f"a page of {len(rows)} trades without an id")
    reading.rows.extend(rows[: numbers.index(last) + 1])
    reading.after = TradeId(str(last))
    return True


def safe_cursor(reading: Reading, cursor: TradeId, known_ns: int) -> TradeId:
    """Return the cursor that a complete reading allows: no trade that it passes can be hidden."""
    # The venue's times are whole milliseconds, rounded down.
    old = [row.trade_id for row in reading.rows if (row.time + 1) * MS <= known_ns]
    young = [row.trade_id for row in reading.rows if (row.time + 1) * MS > known_ns]
    below = min((number for number in young if number is not None), default=None)
    passed = [number for number in old if number is not None and (below is None or number < below)]
    return TradeId(str(max(passed))) if passed else cursor
