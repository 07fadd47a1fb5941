"""How contingent orders come in: a trigger is held against the market, and armed in its PARENT's turn."""

from __future__ import annotations

from decimal import Decimal

from msgspec.structs import replace

from tradefan.actors.oms_arm import arm, expires, seen_ticks
from tradefan.actors.oms_engine import advance
from tradefan.actors.oms_entry import No, check_shape, check_size, largest, tradable
from tradefan.actors.oms_executor import collar_bps, make_executor, new_executor, plan_of
from tradefan.actors.oms_gate import closed, mode_of, not_ready, reference, risk_state
from tradefan.actors.oms_reduce import over_position
from tradefan.actors.oms_state import Turn
from tradefan.actors.oms_tca import in_market
from tradefan.actors.oms_trigger import fire, hindrance
from tradefan.contracts import MarketView, RiskIntent, RiskRefused, lookup
from tradefan.core import trigger
from tradefan.core.contingent import (
    TriggerSettings,
    check_callback,
    check_then,
    check_trigger,
    condition_of,
    step_of,
    trigger_settings,
    worked,
    worst_of,
)
from tradefan.errors import Refused
from tradefan.messages.instrument import Instrument
from tradefan.messages.orders import ParentOrder
from tradefan.messages.records import Parent
from tradefan.risk import check, reduces
from tradefan.units import ZERO, plain, steps_up

ENOUGH = Decimal(10) ** 15
"""What an armed order is taken to have at its disposal: it holds nothing, its children are asked for it."""


def accept_trigger(turn: Turn, order: ParentOrder, decision_px: Decimal | None) -> None:
    """Check a contingent order as a whole, then write it and arm it.

    Raises:
        Refused, No: why it may not exist; nothing was written then.
    """
    instrument, settings = checked_trigger(turn, order)
    turn.emit(in_market(turn, Parent(turn.now, order), decision_px))
    begin_trigger(turn, order, instrument, settings)
    advance(turn, order.parent_id)


def checked_trigger(turn: Turn, order: ParentOrder) -> tuple[Instrument, TriggerSettings]:
    """Return what a contingent order that belongs to no group trades, and what its trigger says.

    Raises:
        Refused, No: why it may not exist.
    """
    instrument = tradable(turn, order.account, order.instrument)
    settings = check_new_trigger(turn, order, instrument)
    refused = over_position(turn, order, instrument)
    if refused is not None:
        raise No(refused)
    return instrument, settings


def begin_trigger(turn: Turn, order: ParentOrder, instrument: Instrument, settings: TriggerSettings) -> None:
    """Arm a contingent parent that has just been written; what is true already fires, as its owner allows."""
    turn.parents[order.parent_id] = None
    condition = condition_of(order, settings, instrument, settings.trigger_price)
    ticks = seen_ticks(turn, condition, settings, instrument)
    arm(turn, turn.trading.parents[order.parent_id], settings, settings.trigger_price)
    if trigger.is_true(condition, ticks):
        _fire_now(turn, order, ticks * step_of(settings, instrument), settings)


def check_new_trigger(turn: Turn, order: ParentOrder, instrument: Instrument) -> TriggerSettings:
    """Return what a contingent order that is to come in says of its trigger, which can be reached.

    Raises:
        Refused, No: why it may not exist.
    """
    check_said(order)
    settings = check_trigger_now(turn, order, instrument)
    market = reference(turn, instrument, crossing=False)
    assert isinstance(market, MarketView), "its trigger was just held against it"
    check_callback(order, settings, market.mid, instrument)
    return settings


def check_said(order: ParentOrder) -> None:
    """Refuse what would not count of what its owner says; of one that was let in nobody asks it again.

    Raises:
        Refused.
    """
    trigger_settings(order)
    check_then(order, lookup("executor", worked(order).algo).settings)
    new_executor(order)


def check_trigger_now(turn: Turn, order: ParentOrder, instrument: Instrument) -> TriggerSettings:
    """Return what a contingent order says of its trigger, held against the market and the limits.

    Raises:
        Refused, No: why it may not exist.
    """
    settings = check_contingent(turn, order, instrument)
    market = reference(turn, instrument, crossing=False)
    if isinstance(market, RiskRefused):
        raise No(market)
    price = settings.trigger_price or market.mid
    condition = condition_of(order, settings, instrument, settings.trigger_price)
    ticks = seen_ticks(turn, condition, settings, instrument)
    if trigger.is_true(condition, ticks) and not settings.allow_immediate:
        raise No(_would_trigger(order, settings, instrument, ticks))
    check_size(order, instrument, price)
    refused = admit_armed(turn, order, instrument, price)
    if refused is not None:
        raise No(refused)
    return settings


def check_contingent(turn: Turn, order: ParentOrder, instrument: Instrument) -> TriggerSettings:
    """Return what a contingent order says of its trigger, once all that needs no market is in order.

    Raises:
        Refused, No.
    """
    settings = trigger_settings(order)
    make_executor(order)
    collar_bps(order)
    check_shape(order, instrument)
    check_trigger(order, settings, instrument)
    refused = closed(turn, at_stop=False) or not_ready(turn, order.account)
    if refused is not None:
        raise No(refused)
    expires_ns = expires(turn, settings)
    if expires_ns is not None and expires_ns <= turn.now:
        raise Refused("BAD_WINDOW", f"expiry: {settings.expiry} is past", "expiry gtc")
    return settings


def admit_armed(
    turn: Turn, order: ParentOrder, instrument: Instrument, price: Decimal, *, entered: Decimal = ZERO
) -> RiskRefused | None:
    """Return why an order may not be armed: it is judged as if the market stood at its trigger.

    `entered` is what an entry has added to the position by then. Whether there is money for it is asked
    when it has fired, and so are the modes that a reduce-only order is let through by.
    """
    state = risk_state(turn, order.account, instrument, order.owner)
    now = mode_of(turn, order.account, order.instrument, order.owner)
    fires = order.reduce_only or reduces(state, order.side, order.order_qty)
    if now.mode not in ("NORMAL", "KILLED") and not fires:
        return RiskRefused(now.code, now.text, now.limit, now.used, now.would_pass)
    market = reference(turn, instrument, crossing=False)
    if isinstance(market, RiskRefused):
        return market
    plan = plan_of(turn, order)
    intent = RiskIntent(
        order.account,
        instrument,
        order.owner,
        order.side,
        order.order_qty,
        worst_of(order, price),
        "limit",
        reduce_only=False,
        child_qty=None if plan is None else largest(plan),
    )
    there = MarketView(price, price, price, market.age_ns, market.quality)
    account = replace(state.account, position=state.account.position + entered)
    owner = replace(state.owner, position=state.owner.position + entered)
    state = replace(state, account=account, owner=owner, free_base=ENOUGH, free_quote=ENOUGH)
    verdict = check(state, intent, there, turn.config.risk)
    return verdict if isinstance(verdict, RiskRefused) else None


def _would_trigger(
    order: ParentOrder, settings: TriggerSettings, instrument: Instrument, ticks: int
) -> RiskRefused:
    """Refuse what is true already, and name the nearest level that is not."""
    assert settings.trigger_price is not None
    condition = condition_of(order, settings, instrument, settings.trigger_price)
    price, tick = ticks * step_of(settings, instrument), instrument.price_tick
    near = (int(price // tick) + 1 if condition.rises else steps_up(price, tick) - 1) * tick
    seen, level = plain(price), plain(settings.trigger_price)
    text = f"{order.algo} to {order.side} at {level} is true already at {seen}"
    return RiskRefused("WOULD_TRIGGER_NOW", text, level, seen, f"trigger_price {plain(near)}")


def _fire_now(turn: Turn, order: ParentOrder, price: Decimal, settings: TriggerSettings) -> None:
    """Fire what was true when it came in, as its owner allows; unless it may not fire now."""
    parent = turn.trading.parents[order.parent_id]
    if hindrance(turn, parent) is None:
        fire(turn, parent, price, settings.source, 0)
