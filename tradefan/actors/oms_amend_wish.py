"""What a parent may be amended to: held against what has traded, its market and the limits of risk."""

from __future__ import annotations

from decimal import Decimal

from msgspec.structs import replace

from tradefan.actors.oms_amend import amended_plan, changed, check_quantity
from tradefan.actors.oms_amend_armed import amend_armed
from tradefan.actors.oms_entry import No, check_shape, largest, worst_price
from tradefan.actors.oms_executor import collar_bps, recipe_of, setting
from tradefan.actors.oms_gate import Wanted, admit, reference
from tradefan.actors.oms_group_entry import check_entry
from tradefan.actors.oms_group_exits import leg_of
from tradefan.actors.oms_pause import answer, meant
from tradefan.actors.oms_reduce import over_position
from tradefan.actors.oms_state import Turn
from tradefan.actors.oms_submit import refuse
from tradefan.contracts import MarketView, RiskRefused
from tradefan.core.group import ENTRY, bracket_settings
from tradefan.core.trading import ParentState
from tradefan.errors import Refused
from tradefan.messages.instrument import Instrument
from tradefan.messages.orders import AmendOrder, ParentOrder, Phase
from tradefan.messages.plan import Plan
from tradefan.messages.work import (
    AmendAsked,
)
from tradefan.units import MS, ZERO, ceil_step, iso, plain

_OF_REST = ("RISK_MAX_ORDER_QTY", "RISK_MAX_NOTIONAL")
"""Refusals of one order, which all of the rest may be; others are of what is added."""


def on_amend(turn: Turn, wish: AmendOrder) -> None:
    """Check what a parent is to become; then it waits until nothing of it rests. What is armed becomes it."""
    parent = meant(turn, wish)
    if parent is None:
        return
    try:
        if parent.phase is Phase.ARMED:
            _check_group(turn, parent, wish)
            amend_armed(turn, parent, wish)
        else:
            turn.emit(AmendAsked(turn.now, wish.parent_id, _checked(turn, parent, wish)))
    except No as no:
        refuse(turn, wish, no.refused)
        return
    except Refused as no:
        refuse(turn, wish, RiskRefused(no.code, no.text, would_pass=no.would_pass))
        return
    turn.parents[wish.parent_id] = turn.woken[wish.parent_id] = None
    turn.log("info", "amend_asked", parent_id=wish.parent_id, owner=wish.owner)
    answer(turn, wish)


def _checked(turn: Turn, parent: ParentState, wish: AmendOrder) -> ParentOrder:
    """Return what a parent is to become.

    Raises:
        Refused, No: why it may not, with what would pass.
    """
    old, plan, recipe = parent.order, parent.plan, recipe_of(parent.order)
    if parent.phase not in (Phase.WORKING, Phase.PAUSED):
        raise Refused("NOT_WORKING", f"{wish.parent_id} is {parent.phase}: only what works can be amended")
    if wish.trigger_price is not None:
        raise Refused("NOT_AMENDABLE", f"{wish.parent_id} waits for no trigger price: it is {parent.phase}")
    if plan is None or recipe is None:
        raise Refused("NOT_AMENDABLE", f"{old.algo} plans nothing that could be planned anew")
    if parent.amending is not None:
        raise Refused("AMENDING", f"{wish.parent_id} is being amended: expected one change after the other")
    order = changed(old, wish)
    if order == old:
        raise Refused("NOTHING_TO_AMEND", "expected another quantity, limit_price, end_at or display")
    instrument = turn.instrument(old.instrument)
    assert instrument is not None
    check_shape(order, instrument)
    check_quantity(parent, order.order_qty)
    if wish.end_ns is not None:
        _check_end(turn, order, plan, wish.end_ns)
    made = amended_plan(turn, parent, order)
    if wish.display is not None:
        _check_display(instrument, made, wish.display)
    _check_group(turn, parent, wish)
    check_entry(turn, parent, order)
    _check_rest(turn, parent, order, instrument, made)
    _check_risk(turn, parent, order, instrument, made)
    return order


def _check_end(turn: Turn, order: ParentOrder, plan: Plan, end_ns: int) -> None:
    """Refuse an end that leaves no interval of a schedule."""
    interval: int = setting(order, "interval", default=MS)
    if plan.taus and setting(order, "slices", default=None) is not None:
        interval = plan.life_ns
    if end_ns < turn.now + interval:
        earliest = iso(turn.now + interval)
        raise Refused("BAD_WINDOW", f"expected an end at or behind {earliest}, got {iso(end_ns)}", earliest)


def _check_display(instrument: Instrument, plan: Plan, display: Decimal) -> None:
    """Refuse what would have to be rounded, or is no clip."""
    least = max(plan.min_clip, 1) * instrument.qty_lot
    if display % instrument.qty_lot or display < least:
        text = f"display: expected whole lots of {plain(instrument.qty_lot)} from {plain(least)} on"
        raise Refused("OFF_GRID", f"{text}, got {plain(display)}", f"display {plain(least)}")


def _check_rest(
    turn: Turn, parent: ParentState, order: ParentOrder, instrument: Instrument, plan: Plan
) -> None:
    """Refuse a rest that its venue would not take, or that is no clip: it would end as dust."""
    done = parent.cum_qty + parent.in_doubt_qty
    rest = order.order_qty - done
    market = reference(turn, instrument, crossing=False)
    assert isinstance(market, MarketView), "its plan was just made from it"
    price = market.mid if order.limit_price is None else order.limit_price
    worth = ceil_step(instrument.min_notional / price, instrument.qty_lot)
    least = max(worth, instrument.min_qty, max(plan.min_clip, 1) * instrument.qty_lot)
    if ZERO < rest < least:
        text = f"{plain(rest)} would be left, less than the {plain(least)} that can be placed"
        passes = f"order_qty {plain(done + least)}"
        raise No(RiskRefused("BELOW_MIN_QTY", text, plain(least), plain(rest), passes))


def _check_risk(
    turn: Turn, parent: ParentState, order: ParentOrder, instrument: Instrument, plan: Plan
) -> None:
    """Refuse what would not be let in as an order: what is added, and the rest at a price that is worse.

    What gets less, or better, is not held against limits that may have fallen since.
    """
    old, rest = parent.order, order.order_qty - parent.cum_qty
    added = max(order.order_qty - old.order_qty, ZERO)
    if not (added or _is_worse(order, old) or setting(order, "display", default=None) != _display(old)):
        return
    most = largest(plan)
    wanted = Wanted(
        order.account,
        instrument,
        order.owner,
        order.side,
        added,
        worst_price(turn, order, instrument, collar_bps(order)),
        "limit",
        order.reduce_only,
        takes=order.limit_price is None,
        child_qty=rest if most is None else min(most, rest),
    )
    over = over_position(turn, replace(order, order_qty=rest), instrument) if added else None
    if over is not None:
        raise No(_of_whole(over, parent.cum_qty))
    refused = admit(turn, wanted)
    if refused is not None:
        raise No(_of_whole(refused, parent.cum_qty if refused.code in _OF_REST else old.order_qty))


def _of_whole(refused: RiskRefused, before: Decimal) -> RiskRefused:
    """Return a refusal of a part whose proposal is the quantity of the whole order."""
    passes = refused.would_pass
    if passes is None or not passes.startswith("order_qty "):
        return refused
    return replace(refused, would_pass=f"order_qty {plain(before + Decimal(passes.split()[1]))}")


def _is_worse(order: ParentOrder, old: ParentOrder) -> bool:
    """Say whether a limit lets through what the one before did not."""
    limit, before = order.limit_price, old.limit_price
    if limit is None or limit == before:
        return False
    return before is None or (limit > before if order.side == "buy" else limit < before)


def _display(order: ParentOrder) -> Decimal | None:
    shown: Decimal | None = setting(order, "display", default=None)
    return shown


def _check_group(turn: Turn, parent: ParentState, wish: AmendOrder) -> None:
    """Refuse what the group of a leg says: its quantity, and a level that follows the entry."""
    group = None if parent.group is None else turn.trading.groups.get(parent.group)
    if group is None or (group.kind == "bracket" and parent.leg == ENTRY):
        return
    if wish.order_qty is not None:
        raise Refused("NOT_AMENDABLE", f"{group.kind} {parent.group} says the quantity of its legs")
    follows = group.kind == "bracket" and bracket_settings(group.wish.settings).levels_from == "avg_px"
    leveled = wish.limit_price is not None or wish.trigger_price is not None
    if leveled and follows and leg_of(group, parent).is_offset:
        raise Refused("NOT_AMENDABLE", f"the level of {parent.leg} follows the mean price of its entry")
