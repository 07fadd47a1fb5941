"""What a market codec says beside the market messages themselves, and how it says no."""

from __future__ import annotations

from typing import TypeAlias

import msgspec
from msgspec import Struct

from tradefan.messages.instrument import Instrument
from tradefan.messages.market import Bar, BookDelta, BookSnapshot, Quote, Ticker24h, Trade
from tradefan.units import InstrumentId, Side


class BadFrame(Exception):
    """A frame that says nothing usable; the only exception of a decoder. It is quarantined."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind
        self.text = text


UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
"""All that decoding bytes with bounded types can raise: bad UTF-8 is a ValueError, depth a RecursionError."""


def bad_frame(error: Exception) -> BadFrame:
    """Return the BadFrame of a decoder's exception: `value` where the JSON was sound, else `garbage`."""
    kind = "value" if isinstance(error, msgspec.ValidationError) else "garbage"
    return BadFrame(kind, str(error)[:200])


class AggTrade(Struct, frozen=True, gc=False):
    """Trades of one taker order at one price, as one; its ids are a space of their own."""

    instrument: InstrumentId
    agg_id: int
    first_id: int
    last_id: int
    price: float
    qty: float
    taker_side: Side
    event_ns: int
    recv_ns: int


class Kline(Struct, frozen=True):
    """The venue's own bar as it grows, and whether it is closed."""

    bar: Bar
    closed: bool

    @property
    def instrument(self) -> InstrumentId:
        """Whose bar it is."""
        return self.bar.instrument


class Klines(Struct, frozen=True):
    """The venue's bars of one timeframe, oldest first; the last one may still be open."""

    instrument: InstrumentId
    timeframe: str
    bars: tuple[Bar, ...]


class Instruments(Struct, frozen=True):
    """The venue's rules of the instruments that were asked for."""

    instruments: tuple[Instrument, ...]


class VenueTime(Struct, frozen=True):
    """What the venue's clock said."""

    at_ns: int


class Ack(Struct, frozen=True):
    """The answer to a command on a socket; `error` None is a yes."""

    req: int
    error: str | None


class Unmapped(Struct, frozen=True):
    """A word of the venue that we do not know: counted, and nothing else."""

    what: str
    word: str


Event: TypeAlias = (
    Trade
    | Quote
    | BookDelta
    | BookSnapshot
    | Ticker24h
    | AggTrade
    | Kline
    | Klines
    | Instruments
    | VenueTime
    | Ack
    | Unmapped
)
