"""Codec of Binance spot's public market: frames and answers to messages, wishes to requests.

Pure: it knows the venue's words and nothing of sockets. A frame names its stream first, so the bytes
of that name choose one typed decoder and the instrument at once; nothing is decoded twice. A tape's
shift of times and ids is added here (`Shift`). Source: binance-spot-api-docs at a5e0bc3 (2026-07-21).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

import msgspec

from tradefan.core.bars import fold
from tradefan.errors import Refused
from tradefan.messages.instrument import Instrument
from tradefan.messages.market import Bar, BookDelta, BookSnapshot, Quote, Ticker24h, Trade
from tradefan.messages.wire import Http, Received, Text
from tradefan.units import (
    DAY,
    HOUR,
    MINUTE,
    MS,
    SECOND,
    InstrumentId,
    parse_duration,
    to_lots,
)
from tradefan.venues import binance_wire as wire
from tradefan.venues.binance_rules import VENUE, parse_instruments
from tradefan.venues.feed_events import (
    UNREADABLE,
    Ack,
    AggTrade,
    BadFrame,
    Event,
    Instruments,
    Kline,
    Klines,
    Unmapped,
    VenueTime,
    bad_frame,
)

__all__ = ["VENUE", "BinanceSpot", "Plan", "Shift", "kline_interval", "parse_instruments", "stream_name"]

FRAME_MAX = 1 << 20
"""A longer frame is garbage; the longest answer asked for, 1,000 levels a side, has 70 kB."""
SNAPSHOT_LIMIT = 1_000
KLINES_LIMIT = 1_000
STREAMS = {
    "trade": "trade",
    "depth": "depth@100ms",
    "book_ticker": "bookTicker",
    "agg_trade": "aggTrade",
    "kline_1m": "kline_1m",
    "ticker": "ticker",
}
"""Our names of streams and the venue's."""
BUSY = ("depth", "book_ticker")
"""Streams that are never silent for long: a subscription to one that stays mute has failed."""
INTERVALS = {
    "1d": DAY,
    "12h": 12 * HOUR,
    "8h": 8 * HOUR,
    "6h": 6 * HOUR,
    "4h": 4 * HOUR,
    "2h": 2 * HOUR,
    "1h": HOUR,
    "30m": 30 * MINUTE,
    "15m": 15 * MINUTE,
    "5m": 5 * MINUTE,
    "3m": 3 * MINUTE,
    "1m": MINUTE,
    "1s": SECOND,
}
"""Klines that the venue has, longest first."""
_NAME_AT = len(b'{"stream":"')
_NAME_END = 96
T = TypeVar("T")


class Shift(NamedTuple):
    """What a tape adds to the times and ids of its frames (`Opened`); zero for a live market."""

    ns: int = 0
    ids: int = 0


NO_SHIFT = Shift()


class Plan(NamedTuple):
    """Where to connect, what to subscribe there, and which of it must be heard soon."""

    url: str
    streams: tuple[str, ...]
    busy: tuple[str, ...]


class _Route(NamedTuple):
    """How to read the frames of one stream."""

    instrument: Instrument
    symbol: str
    decode: Callable[[bytes], Any]
    decode_raw: Callable[[bytes], Any]
    build: Callable[[Instrument, Any, int, Shift], Event]


class BinanceSpot:
    """Codec for these instruments; `decode` and `answer` raise BadFrame and nothing else."""

    def __init__(self, instruments: Iterable[Instrument]) -> None:
        self.instruments = {instrument.id: instrument for instrument in instruments}
        self._symbols = {id_: _symbol(instrument) for id_, instrument in self.instruments.items()}
        self._routes: dict[bytes, _Route] = {}
        self._raw: dict[tuple[str, str], _Route] = {}
        self._lots = {id_: float(instrument.qty_lot) for id_, instrument in self.instruments.items()}
        for instrument in self.instruments.values():
            self._enter(instrument)

    def _enter(self, instrument: Instrument) -> None:
        symbol = self._symbols[instrument.id]
        for name, (event, decode, decode_raw, build) in self._readers().items():
            route = _Route(instrument, symbol, decode, decode_raw, build)
            self._routes[stream_name(symbol, name).encode()] = route
            self._raw[event, symbol] = route

    def _readers(self) -> dict[str, tuple[str, Any, Any, Any]]:
        return {
            "trade": ("trade", *_decoders(wire.TradeData), _trade),
            "depth": ("depthUpdate", *_decoders(wire.DepthData), _delta),
            "book_ticker": ("bookTicker", *_decoders(wire.TickerData), _quote),
            "agg_trade": ("aggTrade", *_decoders(wire.AggTradeData), _agg_trade),
            "kline_1m": ("kline", *_decoders(wire.KlineData), self._kline),
            "ticker": ("24hrTicker", *_decoders(wire.DayData), _day),
        }

    # --- wishes ---------------------------------------------------------------------------------

    def plan(self, host: str, feeds: Mapping[InstrumentId, Sequence[str]]) -> Plan:
        """Return the socket for combined streams of a host, and the venue's names of these streams."""
        named = [
            (name, stream_name(self._symbols[id_], name)) for id_, names in feeds.items() for name in names
        ]
        busy = tuple(stream for name, stream in named if name in BUSY)
        return Plan(host.rstrip("/") + "/stream", tuple(stream for _, stream in named), busy)

    def subscribe(self, req: int, streams: tuple[str, ...]) -> Text:
        """Return the command that subscribes streams; its answer is an `Ack` with `req`."""
        command = {"method": "SUBSCRIBE", "params": streams, "id": req}
        return Text(msgspec.json.encode(command).decode())

    def encode(self, subject: str) -> Http:
        """Return the request for `depth ID`, `klines ID TIMEFRAME`, `exchangeInfo` or `time`.

        Raises:
            Refused: UNSUPPORTED, where the venue has no word for it.
        """
        match subject.split(" "):
            case ["depth", id_]:
                query = (("symbol", self._quoted(id_)), ("limit", str(SNAPSHOT_LIMIT)))
                return Http("GET", "/api/v3/depth", query)
            case ["klines", id_, timeframe]:
                interval = kline_interval(timeframe)
                pairs = (("symbol", self._quoted(id_)), ("interval", interval), ("limit", str(KLINES_LIMIT)))
                return Http("GET", "/api/v3/klines", pairs)
            case ["exchangeInfo"]:
                symbols = msgspec.json.encode(list(self._symbols.values())).decode()
                return Http("GET", "/api/v3/exchangeInfo", (("symbols", quote(symbols)),))
            case ["time"]:
                return Http("GET", "/api/v3/time")
            case _:
                raise Refused("UNSUPPORTED", f"Binance spot has no request for {subject!r}")

    def stream_of(self, event: Event) -> str | None:
        """Return the venue's name of the busy stream that an event came by."""
        match event:
            case BookDelta():
                return stream_name(self._symbols[event.instrument], "depth")
            case Quote():
                return stream_name(self._symbols[event.instrument], "book_ticker")
            case _:
                return None

    # --- what the venue says ----------------------------------------------------------------------

    def decode(self, msg: Received, shift: Shift = NO_SHIFT) -> tuple[Event, ...]:
        """Return what a frame says.

        Raises:
            BadFrame: garbage, truncated, over 1 MiB, or a value that no market has.
        """
        body = msg.body
        if len(body) > FRAME_MAX:
            raise BadFrame("oversized", f"{len(body)} bytes")
        route = self._routes.get(body[_NAME_AT : body.find(b'"', _NAME_AT, _NAME_END)])
        try:
            if route is None:
                return self._other(msg, shift)
            data = route.decode(body).data
        except UNREADABLE as error:
            raise bad_frame(error) from error
        if data.s != route.symbol:
            raise BadFrame("symbol", f"expected {route.symbol}, got {data.s!r:.80}")
        return (route.build(route.instrument, data, msg.recv_ns, shift),)

    def answer(self, subject: str, msg: Received, shift: Shift = NO_SHIFT) -> tuple[Event, ...]:
        """Return what an answer to `encode(subject)` says.

        Raises:
            BadFrame: as `decode`; kind `refused` where the venue said no.
        """
        if len(msg.body) > FRAME_MAX:
            raise BadFrame("oversized", f"{len(msg.body)} bytes")
        if msg.status != 200:
            raise BadFrame("refused", f"HTTP {msg.status}: {msg.body[:200].decode(errors='replace')}")
        try:
            return self._answer(subject.split(" "), msg, shift)
        except UNREADABLE as error:
            raise bad_frame(error) from error

    def _answer(self, subject: list[str], msg: Received, shift: Shift) -> tuple[Event, ...]:
        match subject:
            case ["depth", id_]:
                book = _SNAPSHOT.decode(msg.body)
                last_id = book.last_update_id + shift.ids
                return (BookSnapshot(InstrumentId(id_), last_id, book.bids, book.asks, msg.recv_ns),)
            case ["klines", id_, timeframe]:
                return (self._klines(InstrumentId(id_), timeframe, _ROWS.decode(msg.body), shift),)
            case ["exchangeInfo"]:
                return (Instruments(parse_instruments(msg.body)),)
            case ["time"]:
                return (VenueTime(_TIME.decode(msg.body).server_time * MS + shift.ns),)
            case _:
                raise BadFrame("subject", f"nobody asked for {subject}")

    def _other(self, msg: Received, shift: Shift) -> tuple[Event, ...]:
        """Read a frame that does not begin with a known stream: raw ones, answers, news."""
        other = _OTHER.decode(msg.body)
        if other.stream is not None:
            route = self._routes.get(other.stream.encode())
            if route is None:
                return (Unmapped("stream", other.stream[:80]),)
            data = route.decode(msg.body).data
        elif other.s is not None and (other.e is not None or other.u is not None):
            route = self._raw.get((other.e or "bookTicker", other.s))
            if route is None:
                return (Unmapped("event", f"{other.e} {other.s}"[:80]),)
            data = route.decode_raw(msg.body)
        else:
            return (_ack(other),)
        if data.s != route.symbol:
            raise BadFrame("symbol", f"expected {route.symbol}, got {data.s!r:.80}")
        return (route.build(route.instrument, data, msg.recv_ns, shift),)

    # --- leaves -----------------------------------------------------------------------------------

    def _quoted(self, id_: str) -> str:
        symbol = self._symbols.get(InstrumentId(id_))
        if symbol is None:
            raise Refused("UNKNOWN_INSTRUMENT", f"expected one of {sorted(self._symbols)}, got {id_}")
        return quote(symbol)

    def _kline(self, instrument: Instrument, data: wire.KlineData, recv_ns: int, shift: Shift) -> Event:
        k = data.k
        if k.i not in INTERVALS:
            return Unmapped("interval", k.i[:80])
        prices = (k.o, k.h, k.l, k.c)
        bar = self._bar(instrument.id, k.i, k.t * MS + shift.ns, prices, k.v, k.n)
        return Kline(bar, k.x)

    def _klines(self, id_: InstrumentId, timeframe: str, rows: list[wire.KlineRow], shift: Shift) -> Klines:
        interval = kline_interval(timeframe)
        bars = [
            self._bar(id_, interval, row[0] * MS + shift.ns, (row[1], row[2], row[3], row[4]), row[5], row[8])
            for row in rows
        ]
        return Klines(id_, timeframe, tuple(bars) if interval == timeframe else fold(bars, timeframe))

    def _bar(
        self,
        id_: InstrumentId,
        interval: str,
        open_ns: int,
        prices: tuple[float, float, float, float],
        volume: float,
        trades: int,
    ) -> Bar:
        close_ns = open_ns + INTERVALS[interval]
        lots = to_lots(volume, self._lots[id_])
        return Bar(id_, interval, open_ns, close_ns, *prices, volume, lots, trades)


def stream_name(symbol: str, name: str) -> str:
    """Return the venue's name of one of our streams: `btcusdt@depth@100ms`."""
    return f"{symbol.lower()}@{STREAMS[name]}"


def kline_interval(timeframe: str) -> str:
    """Return the longest interval of the venue that divides a timeframe: `1s` for `5s`.

    Raises:
        Refused: UNSUPPORTED, where there is none.
    """
    size_ns = parse_duration(timeframe)
    for name, interval_ns in INTERVALS.items():
        if size_ns % interval_ns == 0:
            return name
    raise Refused("UNSUPPORTED", f"no kline of Binance divides {timeframe}")


def _symbol(instrument: Instrument) -> str:
    return f"{instrument.base}{instrument.quote}"


def _trade(instrument: Instrument, data: wire.TradeData, recv_ns: int, shift: Shift) -> Event:
    # Indices and literals in place: this line is half of what a trade costs.
    return Trade(
        instrument.id,
        data.t + shift[1],
        data.p,
        data.q,
        "sell" if data.m else "buy",
        data.T * MS + shift[0],
        recv_ns,
    )


def _quote(instrument: Instrument, data: wire.TickerData, recv_ns: int, shift: Shift) -> Event:
    return Quote(instrument.id, data.b, data.B, data.a, data.A, data.u + shift[1], recv_ns)


def _delta(instrument: Instrument, data: wire.DepthData, recv_ns: int, shift: Shift) -> Event:
    if data.u < data.U:
        raise BadFrame("value", f"{instrument.id}: expected U <= u, got {data.U} and {data.u}")
    ns, ids = shift
    event_ns = data.E * MS + ns
    return BookDelta(instrument.id, data.U + ids, data.u + ids, data.b, data.a, event_ns, recv_ns)


def _agg_trade(instrument: Instrument, data: wire.AggTradeData, recv_ns: int, shift: Shift) -> Event:
    ns, ids = shift
    return AggTrade(
        instrument=instrument.id,
        agg_id=data.a + ids,
        first_id=data.f + ids,
        last_id=data.l + ids,
        price=data.p,
        qty=data.q,
        taker_side="sell" if data.m else "buy",
        event_ns=data.T * MS + ns,
        recv_ns=recv_ns,
    )


def _day(instrument: Instrument, data: wire.DayData, recv_ns: int, shift: Shift) -> Event:
    return Ticker24h(
        instrument=instrument.id,
        last_price=data.c,
        open_price=data.o,
        high=data.h,
        low=data.l,
        volume=data.v,
        quote_volume=data.q,
        event_ns=data.E * MS + shift.ns,
    )


def _ack(other: wire.Other) -> Event:
    error = other.error or (wire.ErrorBody(other.code, other.msg or "") if other.code is not None else None)
    if not isinstance(other.id, int):
        return Unmapped("answer", (error.msg if error else "without an id")[:80])
    return Ack(other.id, f"{error.code} {error.msg}"[:200] if error else None)


def _decoders(data: type[T]) -> tuple[Callable[[bytes], Any], Callable[[bytes], Any]]:
    combined = msgspec.json.Decoder(wire.Frame[data], strict=False)  # type: ignore[valid-type]
    return combined.decode, msgspec.json.Decoder(data, strict=False).decode


def _decoder(data: type[T]) -> msgspec.json.Decoder[T]:
    return msgspec.json.Decoder(data, strict=False)


_OTHER = _decoder(wire.Other)
_SNAPSHOT = _decoder(wire.Snapshot)
_TIME = _decoder(wire.ServerTime)
_ROWS = _decoder(list[wire.KlineRow])
