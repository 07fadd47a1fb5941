"""How groups come in: all legs are held against the market and the limits, or none of them exists."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from decimal import Decimal
from typing import NamedTuple

from msgspec.structs import replace

from tradefan.actors.oms_contingent import (
    admit_armed,
    begin_trigger,
    check_contingent,
    check_new_trigger,
    check_said,
)
from tradefan.actors.oms_engine import advance
from tradefan.actors.oms_entry import No, check_shape, checked, say_accepted, tradable
from tradefan.actors.oms_executor import new_executor
from tradefan.actors.oms_gate import reference
from tradefan.actors.oms_reduce import over_position
from tradefan.actors.oms_room import members
from tradefan.actors.oms_state import Turn
from tradefan.actors.oms_tca import in_market
from tradefan.contracts import RiskRefused
from tradefan.core.contingent import TRIGGERS, TriggerSettings, check_callback, is_protective
from tradefan.core.group import ENTRY, Leg, bracket_settings, check_level, check_words, legs_of, oco_settings
from tradefan.core.ids import parent_id
from tradefan.core.trading import ParentState
from tradefan.errors import naming
from tradefan.messages.contingent import Group
from tradefan.messages.instrument import Instrument
from tradefan.messages.orders import ParentOrder, SubmitOrder
from tradefan.messages.plan import Plan
from tradefan.messages.records import (
    Parent,
)
from tradefan.units import ZERO, ParentId, sign


class Begun(NamedTuple):
    """A leg, as an order, and what it begins by."""

    leg: Leg
    order: ParentOrder
    begin: Plan | TriggerSettings | None


def accept_group(turn: Turn, wish: SubmitOrder, order: ParentOrder) -> tuple[ParentId, ...]:
    """Check a group as a whole, then write all of it; return its members, the first one's id names it.

    Raises:
        Refused, No: why it may not exist; nothing was written then.
    """
    begun = checked_group(turn, wish, order)
    bracket = wish.algo == "bracket"
    names = tuple(one.order.parent_id for one in begun)
    members = tuple((one.leg.name, name) for one, name in zip(begun, names, strict=True))
    turn.emit(Group(turn.now, names[0], "bracket" if bracket else "oco", members, replace(wish, req=None)))
    for leg, one, begin in begun:
        plan = begin if isinstance(begin, Plan) else None
        held = bracket and leg.name != ENTRY
        record = Parent(turn.now, one, None, plan, group=names[0], leg=leg.name, held=held)
        turn.emit(in_market(turn, record, wish.decision_px))
        turn.parents[one.parent_id] = None
        say_accepted(turn, one, leg=leg.name, group=one.intent_id)
    instrument = tradable(turn, order.account, order.instrument)
    for _, one, begin in begun:
        if isinstance(begin, TriggerSettings):
            begin_trigger(turn, one, instrument, begin)
    for name in names:
        advance(turn, name)
    return names


def checked_group(turn: Turn, wish: SubmitOrder, order: ParentOrder) -> list[Begun]:
    """Return all legs of a group, each with what it begins by; exits of a bracket begin by their entry.

    Raises:
        Refused, No: why it may not exist.
    """
    kind = wish.algo
    own = oco_settings(wish.settings) if kind == "oco" else bracket_settings(wish.settings)
    assert own is not None
    instrument = tradable(turn, order.account, order.instrument)
    check_shape(order, instrument)
    check_words(wish)
    legs = legs_of(kind, wish.side, wish.limit_price, wish.settings)
    orders = [_order(turn, order, leg, number) for number, leg in enumerate(legs)]
    exits = kind == "bracket"
    begins = []
    for leg, one in list(zip(legs, orders, strict=True))[: 1 if exits else None]:
        with _named(leg):
            begins.append(_check(turn, one))
    if exits:
        _check_exits(turn, list(zip(legs, orders, strict=True)), instrument)
    elif (refused := over_position(turn, orders[0], instrument)) is not None:
        raise No(refused)
    begins += [None] * (len(legs) - len(begins))
    return [Begun(*one) for one in zip(legs, orders, begins, strict=True)]


def check_entry(turn: Turn, parent: ParentState, order: ParentOrder) -> None:
    """Hold the exits of a bracket against what its entry is to become; nothing where it is no entry.

    Raises:
        Refused, No: why it may not.
    """
    group = None if parent.group is None else turn.trading.groups.get(parent.group)
    old, instrument = parent.order, turn.instrument(order.instrument)
    if group is None or group.kind != "bracket" or parent.leg != ENTRY or instrument is None:
        return
    prices = (order.limit_price, order.settings.get("trigger_price"))
    if order.order_qty <= old.order_qty and prices == (old.limit_price, old.settings.get("trigger_price")):
        return
    wish = group.wish
    legs, known = legs_of("bracket", wish.side, wish.limit_price, wish.settings), members(turn, group)
    exits = [(leg, replace(known[leg.name].order, order_qty=order.order_qty)) for leg in legs[1:]]
    rest = replace(order, order_qty=max(order.order_qty - parent.cum_qty, ZERO))
    _check_exits(turn, [(legs[0], rest), *exits], instrument)


def _order(turn: Turn, first: ParentOrder, leg: Leg, number: int) -> ParentOrder:
    """Return a leg as an order of its own."""
    trading = turn.trading
    sequence = trading.parent_sequence + 1 + number
    exits = first.algo == "bracket" and leg.name != ENTRY
    return replace(
        first,
        parent_id=parent_id(trading.instance or "aaa", trading.epoch, sequence),
        ref=f"{first.ref}:{leg.name}" if number and first.ref else first.ref,
        side=leg.side,
        algo=leg.algo,
        settings=leg.settings,
        limit_price=leg.limit_price,
        reduce_only=exits or first.reduce_only,
        protective=exits or first.protective or is_protective(leg.algo, leg.settings),
    )


def _named(leg: Leg) -> AbstractContextManager[None]:
    """Let a refusal inside say which leg it is of, where its algorithm has another name."""
    return nullcontext() if leg.name == leg.algo else naming(leg.name)


def _check(turn: Turn, order: ParentOrder) -> Plan | TriggerSettings | None:
    """Return what a leg begins with: its plan, or its trigger."""
    if order.algo in TRIGGERS:
        return check_new_trigger(turn, order, tradable(turn, order.account, order.instrument))
    return checked(turn, order, at_stop=False)


def _check_exits(turn: Turn, legs: list[tuple[Leg, ParentOrder]], instrument: Instrument) -> None:
    """Hold exits against where the entry is to trade: what they are then is not known yet."""
    (_, entry), exits = legs[0], legs[1:]
    market = reference(turn, instrument, crossing=False)
    if isinstance(market, RiskRefused):
        raise No(market)
    given = entry.limit_price or entry.settings.get("trigger_price") or market.mid
    there = Decimal(str(given))
    for leg, order in exits:
        level = leg.level(there, instrument)
        with _named(leg):
            priced = _check_exit(turn, leg, order, level, there)
        entered = sign(entry.side) * entry.order_qty
        refused = admit_armed(turn, priced, instrument, level or there, entered=entered)
        if refused is not None:
            text = f"{leg.name} of all that the entry may come to: {refused.text}"
            raise No(replace(refused, text=text))
        if level is not None:
            check_level(leg, level, there)


def _check_exit(
    turn: Turn, leg: Leg, order: ParentOrder, level: Decimal | None, there: Decimal
) -> ParentOrder:
    """Return an exit as it is when its entry trades at a price, held against what needs no market."""
    instrument = tradable(turn, order.account, order.instrument)
    if not leg.waits:
        priced = replace(order, limit_price=level)
        new_executor(priced)
        check_shape(priced, instrument)
        return priced
    settings = order.settings if level is None else {**order.settings, "trigger_price": level}
    priced = replace(order, settings=settings)
    check_said(priced)
    check_callback(priced, check_contingent(turn, priced, instrument), there, instrument)
    return priced
