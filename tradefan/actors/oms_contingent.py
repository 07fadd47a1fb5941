"""How contingent orders come in: a trigger is held against the market, and armed in its PARENT's turn."""

from __future__ import annotations

from decimal import Decimal

from msgspec.structs import replace

from tradefan.actors.oms_engine import advance
from tradefan.actors.oms_entry import No, check_shape, check_size, largest, tradable
from tradefan.actors.oms_executor import collar_bps, make_executor, plan_of
from tradefan.actors.oms_gate import closed, mode_of, not_ready, reference, risk_state
from tradefan.actors.oms_reduce import over_position
from tradefan.actors.oms_state import Turn
from tradefan.actors.oms_trigger import fire, hindrance, quoted_ticks
from tradefan.actors.oms_watch import watch
from tradefan.contracts import MarketView, RiskIntent, RiskRefused, lookup
from tradefan.core import trigger
from tradefan.core.contingent import (
    TriggerSettings,
    check_names,
    check_trigger,
    condition_of,
    good_till_ns,
    trigger_settings,
    worked,
)
from tradefan.core.equity import day_start, parse_roll
from tradefan.core.trading import ParentState
from tradefan.core.trigger import Condition
from tradefan.errors import Refused
from tradefan.messages.instrument import Instrument
from tradefan.messages.orders import ParentOrder
from tradefan.messages.records import Armed, Parent
from tradefan.risk import check, reduces
from tradefan.units import DAY, exact, plain

ENOUGH = Decimal(10) ** 15
"""What an armed order is taken to have at its disposal: it holds nothing, its children are asked for it."""


def accept_trigger(turn: Turn, order: ParentOrder) -> None:
    """Check a contingent order as a whole, then write it and arm it.

    Raises:
        Refused, No: why it may not exist; nothing was written then.
    """
    instrument = tradable(turn, order.account, order.instrument)
    settings = check_contingent(turn, order, instrument)
    market = reference(turn, instrument, crossing=False)
    if isinstance(market, RiskRefused):
        raise No(market)
    price = settings.trigger_price or market.mid
    condition = condition_of(order, settings, instrument, settings.trigger_price)
    ticks = seen_ticks(turn, condition, settings, instrument)
    true_now = trigger.is_true(condition, ticks)
    if true_now and not settings.allow_immediate:
        raise No(_would_trigger(order, settings, instrument, ticks))
    check_size(order, instrument, price)
    refused = admit_armed(turn, order, instrument, price) or over_position(turn, order, instrument)
    if refused is not None:
        raise No(refused)
    plan_of(turn, order)
    turn.emit(Parent(turn.now, order))
    turn.parents[order.parent_id] = None
    arm(turn, turn.trading.parents[order.parent_id], settings, settings.trigger_price)
    if true_now:
        _fire_now(turn, order, ticks * instrument.price_tick, settings)
    advance(turn, order.parent_id)


def check_contingent(turn: Turn, order: ParentOrder, instrument: Instrument) -> TriggerSettings:
    """Return what a contingent order says of its trigger, once all that needs no market is in order.

    Raises:
        Refused, No.
    """
    settings, work = trigger_settings(order), worked(order)
    check_names(order, lookup("executor", work.algo).settings.__struct_encode_fields__)
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


def arm(turn: Turn, parent: ParentState, settings: TriggerSettings, level: Decimal | None) -> None:
    """Journal that a parent waits for the market, and begin to look at it.

    A trailing one without an activation begins at the price of this instant.
    """
    order, instrument = parent.order, turn.instrument(parent.order.instrument)
    assert instrument is not None
    condition, mark = condition_of(order, settings, instrument, level), None
    if condition.kind == "trailing" and condition.activation is None:
        mark = seen_ticks(turn, condition, settings, instrument) * instrument.price_tick
    turn.emit(Armed(turn.now, order.parent_id, level, mark, expires(turn, settings)))
    turn.parents[order.parent_id] = None
    turn.log(
        "info",
        "armed",
        parent_id=order.parent_id,
        owner=order.owner,
        instrument=order.instrument,
        side=order.side,
        order_qty=plain(order.order_qty),
        algo=order.algo,
        trigger_price=None if level is None else plain(level),
        watermark=None if mark is None else plain(mark),
        reason=order.reason,
    )
    watch(turn, parent)


def seen_ticks(turn: Turn, condition: Condition, settings: TriggerSettings, instrument: Instrument) -> int:
    """Return where the market stands by a trigger's source, rounded away from firing.

    Nobody has told the last price before somebody waits for it: the mid stands for it.
    """
    quote = turn.live.quotes[instrument.id]
    bid, ask, tick = exact(quote.bid), exact(quote.ask), instrument.price_tick
    return quoted_ticks(settings.source, condition, (bid, ask), tick)


def expires(turn: Turn, settings: TriggerSettings) -> int | None:
    """Return when an armed order ends by itself; None: never.

    Raises:
        Refused: its text is no instant.
    """
    if settings.expiry == "day":
        time = turn.config.time
        # Around a change of summer time the next day begins an hour earlier or later than a day behind this.
        today_ns = day_start(turn.now, parse_roll(time.day_roll), time.zone)
        return day_start(today_ns + DAY + DAY // 2, parse_roll(time.day_roll), time.zone)
    return good_till_ns(settings.expiry)


def admit_armed(turn: Turn, order: ParentOrder, instrument: Instrument, price: Decimal) -> RiskRefused | None:
    """Return why an order may not be armed: it is judged as if the market stood at its trigger.

    Whether there is money for it is asked when it has fired, and so are the modes that a reduce-only order
    is let through by.
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
        price,
        "limit",
        reduce_only=False,
        child_qty=None if plan is None else largest(plan),
    )
    there = MarketView(price, price, price, market.age_ns, market.quality)
    verdict = check(replace(state, free_base=ENOUGH, free_quote=ENOUGH), intent, there, turn.config.risk)
    return verdict if isinstance(verdict, RiskRefused) else None


def _would_trigger(
    order: ParentOrder, settings: TriggerSettings, instrument: Instrument, ticks: int
) -> RiskRefused:
    """Refuse what is true already, and name the nearest level that is not."""
    assert settings.trigger_price is not None
    condition = condition_of(order, settings, instrument, settings.trigger_price)
    near = (ticks + 1 if condition.rises else ticks - 1) * instrument.price_tick
    seen, level = plain(ticks * instrument.price_tick), plain(settings.trigger_price)
    text = f"{order.algo} to {order.side} at {level} is true already at {seen}"
    return RiskRefused("WOULD_TRIGGER_NOW", text, level, seen, f"trigger_price {plain(near)}")


def _fire_now(turn: Turn, order: ParentOrder, price: Decimal, settings: TriggerSettings) -> None:
    """Fire what was true when it came in, as its owner allows; unless it may not fire now."""
    parent = turn.trading.parents[order.parent_id]
    if hindrance(turn, parent) is None:
        fire(turn, parent, price, settings.source, 0)
