"""The rules of one order. Each counts the worst case: position, working and in doubt, and itself.

A refusal says its code, the limit, what is used, and the largest that would have passed.
"""

from __future__ import annotations

from decimal import Decimal

from tradefan.contracts import Held, MarketView, RiskIntent, RiskLimits, RiskRefused, RiskState, register
from tradefan.messages.instrument import Instrument
from tradefan.units import ZERO, plain

_BPS = Decimal(10_000)


@register("risk_rule", "latch")
class Latch:
    """Nothing leaves while the latch of its scope is closed."""

    def check(
        self, state: RiskState, intent: RiskIntent, market: MarketView, limits: RiskLimits
    ) -> RiskRefused | None:
        if state.latched is None:
            return None
        return RiskRefused("RISK_LATCHED", f"the latch is closed: {state.latched}")


@register("risk_rule", "reduce_only")
class ReduceOnly:
    """An order that may only reduce fits into its owner's position."""

    def check(
        self, state: RiskState, intent: RiskIntent, market: MarketView, limits: RiskLimits
    ) -> RiskRefused | None:
        room = _room_to_flat(state.owner, intent)
        if not intent.reduce_only or intent.order_qty <= room:
            return None
        text = f"reduce-only: {intent.owner} can {intent.side} at most {plain(room)} towards flat"
        return _qty_refused("RISK_REDUCE_ONLY", text, (room, intent.order_qty, room), intent)


@register("risk_rule", "max_order_qty")
class MaxOrderQty:
    """`risk.max_order_qty`, in the base asset."""

    def check(
        self, state: RiskState, intent: RiskIntent, market: MarketView, limits: RiskLimits
    ) -> RiskRefused | None:
        limit = limits.max_order_qty
        if intent.largest <= limit:
            return None
        text = f"order of {plain(intent.largest)} {intent.instrument.base} is over max_order_qty"
        return _qty_refused("RISK_MAX_ORDER_QTY", text, (limit, intent.largest, limit), intent)


@register("risk_rule", "max_order_notional")
class MaxOrderNotional:
    """`risk.max_order_notional`, at the worse of the order's price and the reference."""

    def check(
        self, state: RiskState, intent: RiskIntent, market: MarketView, limits: RiskLimits
    ) -> RiskRefused | None:
        price = max(intent.price, market.mid)
        limit, notional = limits.max_order_notional, intent.instrument.notional(intent.largest, price)
        if notional <= limit:
            return None
        text = f"order worth {_money(notional)} {intent.instrument.quote} is over max_order_notional"
        passes = intent.instrument.floor_qty(limit / price)
        return RiskRefused("RISK_MAX_NOTIONAL", text, plain(limit), _money(notional), _qty(passes, intent))


@register("risk_rule", "price_band")
class PriceBand:
    """`risk.price_band_bps`: how much worse than the reference a price may be.

    Only the side that loses money is held: a buy above, a sale below. A price on the other side
    cannot trade before the market comes to it.
    """

    def check(
        self, state: RiskState, intent: RiskIntent, market: MarketView, limits: RiskLimits
    ) -> RiskRefused | None:
        band = limits.price_band_bps / _BPS
        worst = market.mid * (1 + band) if intent.side == "buy" else market.mid * (1 - band)
        beyond = intent.price > worst if intent.side == "buy" else intent.price < worst
        if not beyond:
            return None
        distance = abs(intent.price / market.mid - 1) * _BPS
        text = f"{intent.side} at {plain(intent.price)} is {_money(distance)} bps beyond {plain(market.mid)}"
        best = plain(intent.instrument.price_within(intent.side, worst))
        return RiskRefused(
            "RISK_PRICE_BAND", text, f"{plain(limits.price_band_bps)} bps", f"{_money(distance)} bps", best
        )


@register("risk_rule", "max_position")
class MaxPosition:
    """`risk.max_position` of the account's net and of each owner, worst case."""

    def check(
        self, state: RiskState, intent: RiskIntent, market: MarketView, limits: RiskLimits
    ) -> RiskRefused | None:
        limit = limits.max_position
        for whose, held in (("account", state.account), (f"owner {intent.owner}", state.owner)):
            worst = _worst(held, intent)
            if worst > limit:
                text = f"{whose} would hold {plain(worst)} {intent.instrument.base} at worst"
                room = max(limit - (worst - intent.order_qty), ZERO)
                return _qty_refused("RISK_MAX_POSITION", text, (limit, worst, room), intent)
        return None


@register("risk_rule", "max_position_notional")
class MaxPositionNotional:
    """`risk.max_position_notional` of the account's net and of each owner, worst case."""

    def check(
        self, state: RiskState, intent: RiskIntent, market: MarketView, limits: RiskLimits
    ) -> RiskRefused | None:
        price, limit = max(intent.price, market.mid), limits.max_position_notional
        for whose, held in (("account", state.account), (f"owner {intent.owner}", state.owner)):
            worst = _worst(held, intent)
            notional = intent.instrument.notional(max(worst, ZERO), price)
            if notional > limit:
                text = f"{whose} would hold {_money(notional)} {intent.instrument.quote} at worst"
                room = max(limit / price - (worst - intent.order_qty), ZERO)
                passes = _qty(intent.instrument.floor_qty(room), intent)
                return RiskRefused("RISK_MAX_POSITION_NOTIONAL", text, plain(limit), _money(notional), passes)
        return None


@register("risk_rule", "order_rate")
class OrderRate:
    """`risk.orders_per_second` of one owner, over the last second of kernel time."""

    def check(
        self, state: RiskState, intent: RiskIntent, market: MarketView, limits: RiskLimits
    ) -> RiskRefused | None:
        limit = limits.orders_per_second
        if state.orders_recent < limit:
            return None
        text = f"{intent.owner} made {state.orders_recent} orders within a second"
        return RiskRefused("RISK_ORDER_RATE", text, str(limit), str(state.orders_recent), "a second later")


@register("risk_rule", "funds")
class Funds:
    """A sale needs its base, a buy its quote with fees, free of what other orders have reserved."""

    def check(
        self, state: RiskState, intent: RiskIntent, market: MarketView, limits: RiskLimits
    ) -> RiskRefused | None:
        instrument = intent.instrument
        if instrument.kind == "spot" and intent.side == "sell":
            free = max(state.free_base, ZERO)
            if intent.order_qty <= free:
                return None
            text = f"{intent.owner} can sell {plain(free)} {instrument.base}"
            return _qty_refused("INSUFFICIENT_FUNDS", text, (free, intent.order_qty, free), intent)
        each = intent.price * (1 + state.fee_rate)
        free, cost = max(state.free_quote, ZERO), intent.order_qty * each
        # A linear order towards flat frees margin instead of taking it.
        if cost <= free or (
            instrument.kind == "linear" and intent.order_qty <= _room_to_flat(state.owner, intent)
        ):
            return None
        text = f"{_money(cost)} {instrument.quote} with fees is more than the free {_money(free)}"
        passes = _qty(instrument.floor_qty(free / each), intent)
        return RiskRefused("INSUFFICIENT_FUNDS", text, _money(free), _money(cost), passes)


def _worst(held: Held, intent: RiskIntent) -> Decimal:
    """Return how far the position can go to the order's side when all of it and all open orders trade."""
    if intent.side == "buy":
        return held.position + held.buy_qty + intent.order_qty
    return held.sell_qty + intent.order_qty - held.position


def _room_to_flat(held: Held, intent: RiskIntent) -> Decimal:
    if intent.side == "sell":
        return max(held.position - held.sell_qty, ZERO)
    return max(-held.position - held.buy_qty, ZERO)


def _qty_refused(
    code: str, text: str, sizes: tuple[Decimal, Decimal, Decimal], intent: RiskIntent
) -> RiskRefused:
    """Refuse by quantity; `sizes` are limit, used and what would pass."""
    limit, used, passes = sizes
    return RiskRefused(
        code, text, plain(limit), plain(used), _qty(intent.instrument.floor_qty(passes), intent)
    )


def _qty(passes: Decimal, intent: RiskIntent) -> str:
    """Name the largest quantity that passes, or that none does."""
    if passes < _least(intent.instrument):
        return "nothing"
    return f"order_qty {plain(passes)}"


def _least(instrument: Instrument) -> Decimal:
    return max(instrument.min_qty, instrument.qty_lot)


def _money(value: Decimal) -> str:
    return plain(value.quantize(Decimal("0.01")))
