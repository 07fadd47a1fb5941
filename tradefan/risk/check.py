"""The risk check: every registered rule in order of registration, behind a fence.

It is called in the OMS turn that writes the INTENT, so nothing can slip between check and
reservation. Rules are pure; one that raises, or answers anything but None and RiskRefused, refuses.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec
from msgspec import Struct

from tradefan.config.schema import RiskConfig
from tradefan.contracts import (
    MarketView,
    RiskIntent,
    RiskLimits,
    RiskRefused,
    RiskRule,
    RiskState,
    plugins,
)
from tradefan.units import Side


class Approved(Struct, frozen=True):
    """No rule has anything against the intent."""


_APPROVED = Approved()
_encoder = msgspec.msgpack.Encoder()
_refusals = msgspec.msgpack.Decoder(RiskRefused)


def check(
    state: RiskState, intent: RiskIntent, market: MarketView, config: RiskConfig
) -> Approved | RiskRefused:
    """Return Approved, or the first rule's refusal with code, limit, used and what would pass."""
    limits = _limits_of(config, intent)
    for plugin in plugins("risk_rule"):
        try:
            rule: RiskRule = plugin.make()
            refused = _sound(rule.check(state, intent, market, limits))
        except (Exception, SystemExit) as error:  # noqa: BLE001 the fence: a rule that raises refuses
            # By its type only: what the error says of itself may raise, too.
            text = f"risk rule {plugin.name!r} raised {type(error).__name__}"
            return RiskRefused("RISK_RULE_FAILED", text)
        if refused is not None:
            return refused
    return _APPROVED


def _sound(answer: object) -> RiskRefused | None:
    """Return a rule's answer as it can be told and journaled; anything else fails closed."""
    if answer is None:
        return None
    if type(answer) is not RiskRefused:
        raise TypeError
    return _refusals.decode(_encoder.encode(answer))


def reduces(state: RiskState, side: Side, qty: Decimal) -> bool:
    """Say whether an order can only shrink positions, of the account and of its owner alike."""
    if side == "sell":
        return all(held.position - held.sell_qty - qty >= 0 for held in (state.account, state.owner))
    return all(held.position + held.buy_qty + qty <= 0 for held in (state.account, state.owner))


def _limits_of(config: RiskConfig, intent: RiskIntent) -> RiskLimits:
    limits = config.limits(intent.instrument.id)
    return RiskLimits(
        max_order_qty=limits.max_order_qty,
        max_order_notional=limits.max_order_notional,
        max_position=limits.max_position,
        max_position_notional=limits.max_position_notional,
        price_band_bps=limits.price_band_bps,
        orders_per_second=config.orders_per_second,
    )
