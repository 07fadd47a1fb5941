"""The words of Binance spot's public market as typed frames, decoded in one pass.

Prices and quantities come as strings and are decoded to floats directly; bounds stand in the types,
so that NaN, infinities, zero prices and negative quantities never get past the decoder. Field names
are the venue's letters. Source: binance-spot-api-docs at a5e0bc3 (2026-07-21).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Generic, TypeVar

from msgspec import Meta, Struct

Price = Annotated[float, Meta(gt=0, le=1e15)]
Qty = Annotated[float, Meta(ge=0, le=1e18)]
TradedQty = Annotated[float, Meta(gt=0, le=1e18)]
Ms = Annotated[int, Meta(gt=0, lt=2**43)]
"""Milliseconds since 1970, until the year 2248: in ns it still fits 63 bits."""
Id = Annotated[int, Meta(ge=0, lt=2**53)]
Levels = tuple[tuple[Price, Qty], ...]

D = TypeVar("D")


class Frame(Struct, Generic[D], gc=False):
    """The combined form of a stream's frame; the stream's name was read before."""

    data: D


class TradeData(Struct, tag_field="e", tag="trade", gc=False):
    """`@trade`: one public trade; `m` says that the buyer was the maker."""

    s: str
    t: Id
    p: Price
    q: TradedQty
    T: Ms
    m: bool


class AggTradeData(Struct, tag_field="e", tag="aggTrade", gc=False):
    """`@aggTrade`: trades of one taker order at one price."""

    s: str
    a: Id
    p: Price
    q: TradedQty
    f: Id
    l: Id  # noqa: E741 the venue's letter
    T: Ms
    m: bool


class TickerData(Struct, gc=False):
    """`@bookTicker`: the only frame without `e` and without a time."""

    u: Id
    s: str
    b: Price
    B: Qty
    a: Price
    A: Qty


class DepthData(Struct, tag_field="e", tag="depthUpdate", gc=False):
    """`@depth@100ms`: absolute quantities of changed levels, ids `U` to `u`."""

    E: Ms
    s: str
    U: Id
    u: Id
    b: Levels
    a: Levels


class KlineBody(Struct, gc=False):
    """A bar as the venue sees it now; `x` when it is closed."""

    t: Ms
    i: str
    o: Price
    h: Price
    l: Price  # noqa: E741 the venue's letter
    c: Price
    v: Qty
    n: Id
    x: bool


class KlineData(Struct, tag_field="e", tag="kline", gc=False):
    """`@kline_1m`."""

    s: str
    k: KlineBody


class DayData(Struct, tag_field="e", tag="24hrTicker", gc=False):
    """`@ticker`: statistics of the last 24 hours."""

    E: Ms
    s: str
    c: Price
    o: Price
    h: Price
    l: Price  # noqa: E741 the venue's letter
    v: Qty
    q: Qty


class ErrorBody(Struct):
    """Why a command was refused."""

    code: int = 0
    msg: str = ""


class Other(Struct):
    """Any frame that is no known combined one: a raw frame, an answer, something new."""

    stream: str | None = None
    e: str | None = None
    u: int | None = None
    s: str | None = None
    id: int | str | None = None
    error: ErrorBody | None = None
    code: int | None = None
    msg: str | None = None


class Snapshot(Struct, rename="camel"):
    """Answer of `depth`."""

    last_update_id: Id
    bids: Levels
    asks: Levels


class ServerTime(Struct, rename="camel"):
    """Answer of `time`."""

    server_time: Ms


KlineRow = tuple[Ms, Price, Price, Price, Price, Qty, Ms, Qty, Id, Qty, Qty, str]
"""Open time, open, high, low, close, volume, close time, quote volume, trades, taker volumes, unused."""


class Filter(Struct, rename="camel"):
    """One filter of a symbol; of each type only some fields are there."""

    filter_type: str
    tick_size: Decimal | None = None
    step_size: Decimal | None = None
    min_qty: Decimal | None = None
    max_qty: Decimal | None = None
    min_notional: Decimal | None = None


class Symbol(Struct, rename="camel"):
    """One symbol of `exchangeInfo`."""

    symbol: str
    status: str
    base_asset: str
    quote_asset: str
    filters: list[Filter]


class ExchangeInfo(Struct):
    """Answer of `exchangeInfo`."""

    symbols: list[Symbol]
