"""Reading an account's trades behind a cursor, and how far the cursor may move.

A query may lag: what happened is seen by every query only `visible_bound` later, so a trade with a
smaller id can show up after one with a larger id. A cursor that had passed it would lose it for ever.

Ids of an instrument rise with time. So whatever has a smaller id than the newest trade of a complete
reading happened before that reading ended, and a look that is asked `visible_bound` later sees all of
it: by then the trade is ripe, and the cursor moves up to it. Both instants are of our own steady clock;
the venue's times are never compared with it, because a wall clock that jumped before our start would
make every trade look old. What is not ripe is told as well, and told again by the next look; ids make
it count once. Paging by id needs no other overlap.

A trade without an id cannot be a cursor. Where one stands behind the last id of a full page it is left
to the next page, which begins there and brings it again: once in a reading, as its derived id needs. A
cursor also never stands between trades of one instant of which one has no id: they may be alike.
"""

from __future__ import annotations

from collections.abc import Sequence

from tradefan.actors.gateway_state import Reading, Ripening
from tradefan.units import TradeId
from tradefan.venues.binance_account_wire import AccountTrade
from tradefan.venues.binance_orders import NO_TRADE, TRADES_MAX
from tradefan.venues.feed_events import BadFrame


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


def ripen(reading: Reading, now_ns: int) -> Ripening | None:
    """Return the newest trade of a complete reading that ends now, None where none has an id."""
    numbers = [row.trade_id for row in reading.rows if row.trade_id is not None]
    return Ripening(max(numbers), now_ns) if numbers else None


def safe_cursor(reading: Reading, cursor: TradeId, ripe: int) -> TradeId:
    """Return the cursor that a complete reading allows, up to a ripe trade."""
    nameless_ms = -1
    for row in reading.rows:
        if row.trade_id is None:
            nameless_ms = max(nameless_ms, row.time)
        elif row.trade_id <= ripe and row.time > nameless_ms:
            cursor = TradeId(str(row.trade_id))
    return cursor
