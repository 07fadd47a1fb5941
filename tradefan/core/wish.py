"""From a strategy's wish, in floats and symbols, to the command that the OMS takes, in exact lots."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, TypeAlias

from msgspec import Struct

from tradefan.errors import Defect, Refused
from tradefan.messages.instrument import Instrument
from tradefan.messages.market import Quote
from tradefan.messages.orders import CancelAll, CancelParent, SetTarget, SubmitOrder
from tradefan.messages.union import reread
from tradefan.strategy.wishes import CancelAllWish, CancelWish, OrderWish, TargetWish, Wish
from tradefan.units import AccountId, OwnerId, exact, require_number, to_lots, to_ticks

PRICES = ("trigger_price", "activation", "callback_abs", "limit_price", "offset_abs")
"""Settings that are prices, or distances between them."""
_BAND_PLACES = 12
"""What a band is read to: a third has more places as a float than a number may have."""

Order: TypeAlias = SetTarget | SubmitOrder | CancelParent | CancelAll


class Sender(Struct, frozen=True):
    """Who wishes, under which id, with how much capital."""

    account: AccountId
    owner: OwnerId
    ref: str
    capital: Decimal


def message_of(wish: Wish, sender: Sender, instrument: Instrument | None, quote: Quote | None) -> Order:
    """Return the command of a wish; `instrument` and `quote` are those of its symbol.

    Raises:
        Refused: NO_REFERENCE without a quote where a value must become a quantity, BELOW_MIN_QTY for
            an order of less than half a lot, BAD_NUMBER for what is no quantity or price, BAD_WISH for
            what cannot be written and read again.
    """
    command = _command_of(wish, sender, instrument, quote)
    try:
        return reread(command)
    except ValueError as error:
        # Beyond here it would be journaled, and make the journal unreadable.
        raise Refused("BAD_WISH", f"a wish that cannot be written: {error}") from None


def _command_of(wish: Wish, sender: Sender, instrument: Instrument | None, quote: Quote | None) -> Order:
    if isinstance(wish, CancelWish):
        return CancelParent(sender.owner, wish.parent_id)
    if isinstance(wish, CancelAllWish):
        return CancelAll(sender.owner, None if instrument is None else instrument.id)
    if instrument is None:
        raise Defect(f"a wish about {wish.symbol} came without its instrument")
    if isinstance(wish, TargetWish):
        return _target(wish, sender, instrument, quote)
    return _order(wish, sender, instrument)


def _target(wish: TargetWish, sender: Sender, instrument: Instrument, quote: Quote | None) -> SetTarget:
    return SetTarget(
        account=sender.account,
        instrument=instrument.id,
        owner=sender.owner,
        ref=sender.ref,
        target_qty=_lots(_target_qty(wish, sender.capital, instrument, quote), instrument),
        band=exact(round(wish.band, _BAND_PLACES)),
        algo=wish.by,
        settings=wish.settings,
        limit_price=_on_grid(wish.limit_price, instrument),
        reason=wish.reason,
    )


def _target_qty(wish: TargetWish, capital: Decimal, instrument: Instrument, quote: Quote | None) -> float:
    """Return the wished quantity; a weight refers to the constant capital, so it does not churn."""
    if wish.qty is not None:
        return wish.qty
    notional = wish.notional if wish.weight is None else wish.weight * float(capital)
    if not notional:
        return 0.0
    if instrument.inverse:
        return notional
    if quote is None:
        raise Refused("NO_REFERENCE", f"{instrument.id} has no quote: a value cannot become a quantity")
    return notional / ((quote.bid + quote.ask) / 2)


def _order(wish: OrderWish, sender: Sender, instrument: Instrument) -> SubmitOrder:
    order_qty = _lots(wish.qty, instrument)
    if not order_qty:
        lot = instrument.qty_lot
        raise Refused(
            "BELOW_MIN_QTY", f"{wish.qty} {instrument.base} is no lot of {instrument.id}, which is {lot}"
        )
    return SubmitOrder(
        account=sender.account,
        instrument=instrument.id,
        owner=sender.owner,
        ref=sender.ref,
        side=wish.side,
        order_qty=order_qty,
        algo=wish.by,
        settings=_prices_on_grid(wish.settings, instrument),
        limit_price=_on_grid(wish.limit_price, instrument),
        reason=wish.reason,
        reduce_only=wish.reduce_only,
    )


def _prices_on_grid(settings: dict[str, Any], instrument: Instrument) -> dict[str, Any]:
    """Put the floats that are prices on the tick grid: 95.3 as a float is just beside it."""
    made: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            made[name] = _prices_on_grid(value, instrument)
        else:
            price = name.rpartition(".")[2] in PRICES and isinstance(value, float)
            made[name] = str(_on_grid(value, instrument)) if price else value
    return made


def _lots(qty: float, instrument: Instrument) -> Decimal:
    """Return a quantity in whole lots, the nearest: 0.3 as a float is just under three lots of 0.1."""
    require_number("quantity", qty)
    return to_lots(qty, float(instrument.qty_lot)) * instrument.qty_lot


def _on_grid(price: float | None, instrument: Instrument) -> Decimal | None:
    if price is None:
        return None
    require_number("limit_price", price)
    return to_ticks(price, float(instrument.price_tick)) * instrument.price_tick


def decision_text(wish: Wish) -> tuple[str, str]:
    """Return what a wish is about, and the wish in words, for log and status."""
    if isinstance(wish, CancelWish):
        return f"cancel {wish.parent_id}", f"cancel {wish.parent_id}"
    if isinstance(wish, CancelAllWish):
        return f"cancel {wish.symbol}", f"cancel all{f' of {wish.symbol}' if wish.symbol else ''}"
    how = f" by {wish.by}{_at(wish.limit_price)}{f' ({wish.reason})' if wish.reason else ''}"
    if isinstance(wish, OrderWish):
        return f"order {wish.symbol}", f"{wish.side} {wish.qty:g} {wish.symbol}{how}"
    sizes = (("weight", wish.weight), ("qty", wish.qty), ("notional", wish.notional))
    size = " ".join(f"{name} {value:g}" for name, value in sizes if value is not None)
    return f"target {wish.symbol}", f"target {wish.symbol} {size}{how}"


def _at(price: float | None) -> str:
    return "" if price is None else f" at {price:g}"
