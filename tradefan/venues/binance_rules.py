"""Binance spot's `exchangeInfo` as instruments with exact steps."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from tradefan.messages.instrument import Instrument
from tradefan.units import ZERO, Asset, InstrumentId, plain
from tradefan.venues import binance_wire as wire
from tradefan.venues.feed_events import UNREADABLE, BadFrame, bad_frame

VENUE = "binance"
STATUSES = ("TRADING", "HALT", "BREAK", "CANCEL_ONLY")

_INFO = msgspec.json.Decoder(wire.ExchangeInfo, strict=False)
_BLANK = wire.Filter("")


def parse_instruments(body: bytes, version: int = 1) -> tuple[Instrument, ...]:
    """Return the instruments of an `exchangeInfo` with exact steps, in its order.

    Raises:
        BadFrame: it is unreadable, or a symbol lacks a filter that trading needs.
    """
    try:
        symbols = _INFO.decode(body).symbols
    except UNREADABLE as error:
        raise bad_frame(error) from error
    return tuple(_instrument(symbol, version) for symbol in symbols)


def _instrument(symbol: wire.Symbol, version: int) -> Instrument:
    filters = {filter_.filter_type: filter_ for filter_ in symbol.filters}
    price, lot = filters.get("PRICE_FILTER", _BLANK), filters.get("LOT_SIZE", _BLANK)
    notional = filters.get("NOTIONAL") or filters.get("MIN_NOTIONAL") or _BLANK
    base, quote_asset = Asset(symbol.base_asset), Asset(symbol.quote_asset)
    name = f"{base}/{quote_asset}"
    known = symbol.status in STATUSES
    return Instrument(
        id=InstrumentId(f"{VENUE}:{name}"),
        venue=VENUE,
        symbol=name,
        kind="spot",
        base=base,
        quote=quote_asset,
        settle=quote_asset,
        price_tick=_step(symbol, "tickSize", price.tick_size),
        qty_lot=_step(symbol, "stepSize", lot.step_size),
        min_qty=_step(symbol, "minQty", lot.min_qty),
        max_qty=_step(symbol, "maxQty", lot.max_qty),
        min_notional=_amount(symbol, "minNotional", notional.min_notional or ZERO),
        status=symbol.status if known else "UNKNOWN",  # type: ignore[arg-type]
        version=version,
    )


def _step(symbol: wire.Symbol, name: str, value: Decimal | None) -> Decimal:
    if value is None or not value.is_finite() or value <= 0:
        raise BadFrame("value", f"{symbol.symbol:.40}: expected {name} > 0, got {value}")
    return Decimal(plain(value))


def _amount(symbol: wire.Symbol, name: str, value: Decimal) -> Decimal:
    return _step(symbol, name, value) if value else ZERO
