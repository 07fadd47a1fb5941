"""The packaged recording, for tests: raw frames of a symbol, and what the codec makes of them."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from functools import cache
from itertools import takewhile
from pathlib import Path

import tradefan
from tradefan.messages.instrument import Instrument
from tradefan.messages.wire import Received
from tradefan.units import InstrumentId
from tradefan.venues.binance import BinanceSpot, parse_instruments
from tradefan.venues.feed_events import Event

RECORDINGS = Path(tradefan.__file__).parent / "recordings"
FRAMES = RECORDINGS / "binance-ws-20240808"
BTC = InstrumentId("binance:BTC/USDT")
ETH = InstrumentId("binance:ETH/USDT")
SYMBOLS = {BTC: "btcusdt", ETH: "ethusdt"}
DAYS = ("20240808", "20240809")


@cache
def instruments() -> dict[InstrumentId, Instrument]:
    """Return the packaged instruments."""
    listed = parse_instruments((RECORDINGS / "instruments.json").read_bytes())
    return {instrument.id: instrument for instrument in listed}


@cache
def codec() -> BinanceSpot:
    """Return a codec for both instruments."""
    return BinanceSpot(instruments().values())


def raw_frames(instrument: InstrumentId, days: tuple[str, ...] = DAYS) -> Iterator[tuple[int, bytes]]:
    """Give receive time and raw text of every recorded line, the REST snapshot among them."""
    for day in days:
        with gzip.open(FRAMES / f"spot_{SYMBOLS[instrument]}_{day}.gz") as lines:
            for line in lines:
                recv_ns, _, raw = line.rstrip(b"\n").partition(b" ")
                yield int(recv_ns), raw


def events(
    instrument: InstrumentId,
    *,
    days: tuple[str, ...] = DAYS,
    until_ns: int | None = None,
    only: bytes = b"",
) -> Iterator[Event]:
    """Give the decoded frames in order, of one kind of stream if `only` is in their name."""
    frames = raw_frames(instrument, days)
    if until_ns is not None:
        frames = takewhile(lambda frame: frame[0] < until_ns, frames)
    for recv_ns, raw in frames:
        if raw.startswith(b'{"lastUpdateId"'):
            yield from codec().answer(f"depth {instrument}", Received("t", 1, recv_ns, raw, 1, 200))
        elif only in raw[:48]:
            yield from codec().decode(Received("t", 1, recv_ns, raw))
