"""What a message becomes in Redis: entries of streams, and the newest values under keys of their own. Pure.

    price:VENUE:SYMBOL   text    the middle of the book; gone after `redis.ttl` without a newer one
    top:VENUE:SYMBOL     hash    best bid and ask, last trade; gone likewise
    market.VENUE.SYMBOL  stream  trades, quotes, bars, gaps
    signals.OWNER.SIDE   stream  parents, as they begin
    orders.STATUS.VENUE  stream  changes of orders; REFUSED: wishes that were refused
    fills.VENUE          stream  fills
    risk.alert.LEVEL     stream  refusals by a limit; what risk desk and order manager warn of

An entry has `type` and the columns of the store's table, absent ones left out; numbers are exact text.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tradefan.messages.control import Stored
from tradefan.messages.market import Bar, Gap, Quote, Trade
from tradefan.messages.orders import FillUpdate, OrderUpdate, ParentUpdate, Refusal
from tradefan.stores.schema import MEASUREMENTS, to_row
from tradefan.units import exact, plain

RISK = "RISK_"
"""How the codes of refusals by a limit begin."""


class Entry(NamedTuple):
    """One entry of a stream: names and values in turn."""

    stream: str
    fields: tuple[str, ...]


def entries(row: Stored | Quote) -> Iterator[Entry]:
    """Give the entries of a message; some kinds have none. Which parents are new is for others."""
    match row:
        case Trade() | Quote() | Bar() | Gap():
            venue, symbol = _parts(row.instrument)
            yield Entry(f"market.{venue}.{symbol}", fields(row))
        case OrderUpdate():
            yield Entry(f"orders.{row.status}.{_parts(row.instrument)[0]}", fields(row))
        case FillUpdate():
            yield Entry(f"fills.{_parts(row.instrument)[0]}", fields(row))
        case ParentUpdate():
            yield Entry(f"signals.{row.order.owner}.{row.order.side}", fields(row))
        case Refusal():
            venue = _parts(row.instrument or "")[0]
            yield Entry(f"orders.REFUSED.{venue or 'none'}", fields(row))
            if row.code.startswith(RISK):
                yield Entry("risk.alert.warning", fields(row))


def values(row: Stored | Quote) -> Iterator[tuple[str, dict[str, str] | str]]:
    """Give the keys that a message makes newer: a text, or fields of a hash."""
    if isinstance(row, Quote):
        where = ":".join(_parts(row.instrument))
        yield f"price:{where}", plain((exact(row.bid) + exact(row.ask)) / 2)
        top = {
            "bid": row.bid,
            "bid_qty": row.bid_qty,
            "ask": row.ask,
            "ask_qty": row.ask_qty,
            "recv_ns": row.recv_ns,
        }
        yield f"top:{where}", {name: _text(value) for name, value in top.items()}
    elif isinstance(row, Trade):
        last = {"last": row.price, "last_qty": row.qty, "last_ns": row.event_ns}
        yield f"top:{':'.join(_parts(row.instrument))}", {name: _text(value) for name, value in last.items()}


def fields(row: Stored | Quote) -> tuple[str, ...]:
    """Return names and values of an entry in turn."""
    kind = type(row)
    pairs = zip(MEASUREMENTS[kind].columns, to_row(row), strict=True)
    flat = (text for name, value in pairs if value is not None for text in (name, _text(value)))
    return ("type", kind.__name__, *flat)


def _text(value: object) -> str:
    return value if isinstance(value, str) else repr(value)


def _parts(instrument: str) -> tuple[str, str]:
    venue, _, symbol = instrument.partition(":")
    return venue, symbol
