"""What a parent may be amended to: held against what has traded, its market and the limits of risk."""

from __future__ import annotations

from decimal import Decimal

from msgspec.structs import replace

from tradefan.actors.oms_amend import amended_plan, check_quantity
from tradefan.actors.oms_entry import No, check_shape, largest, worst_price
from tradefan.actors.oms_executor import collar_bps, recipe_of, setting
from tradefan.actors.oms_gate import Wanted, admit
from tradefan.actors.oms_pause import answer, meant
from tradefan.actors.oms_state import Turn
from tradefan.actors.oms_submit import refuse
from tradefan.contracts import RiskRefused
from tradefan.core.trading import ParentState
from tradefan.errors import Refused
from tradefan.messages.instrument import Instrument
from tradefan.messages.orders import AmendOrder, ParentOrder, Phase
from tradefan.messages.plan import Plan
from tradefan.messages.work import (
    AmendAsked,
)
from tradefan.units import MS, ZERO, iso, plain, require_number


def on_amend(turn: Turn, wish: AmendOrder) -> None:
    """Check what a parent is to become; then it waits until nothing of it rests."""
    parent = meant(turn, wish)
    if parent is None:
        return
    try:
        order = _checked(turn, parent, wish)
    except No as no:
        refuse(turn, wish, no.refused)
        return
    except Refused as no:
        refuse(turn, wish, RiskRefused(no.code, no.text, would_pass=no.would_pass))
        return
    turn.emit(AmendAsked(turn.now, wish.parent_id, order))
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
    if plan is None or recipe is None:
        raise Refused("NOT_AMENDABLE", f"{old.algo} plans nothing that could be planned anew")
    if parent.amending is not None:
        raise Refused("AMENDING", f"{wish.parent_id} is being amended: expected one change after the other")
    order = _changed(old, wish)
    if order == old:
        raise Refused("NOTHING_TO_AMEND", "expected another quantity, limit price, end or display")
    instrument = turn.instrument(old.instrument)
    assert instrument is not None
    check_shape(order, instrument)
    check_quantity(parent, order.order_qty)
    if wish.end_ns is not None:
        _check_end(turn, order, wish.end_ns)
    made = amended_plan(turn, parent, order)
    if wish.display is not None:
        _check_display(instrument, made, wish.display)
    _check_risk(turn, parent, order, instrument, made)
    return order


def _changed(old: ParentOrder, wish: AmendOrder) -> ParentOrder:
    for name, value in (("order_qty", wish.order_qty), ("limit_price", wish.limit_price)):
        if value is not None:
            require_number(name, value)
    settings = dict(old.settings)
    if wish.end_ns is not None:
        settings.pop("duration", None)
        settings["end_at"] = iso(wish.end_ns)
    if wish.display is not None:
        if old.algo != "iceberg":
            raise Refused("BAD_SETTING", f"display is an iceberg's, this is {old.algo}")
        require_number("display", wish.display)
        settings["display"] = plain(wish.display)
    if wish.limit_price is not None:
        settings.pop("limit_offset_bps", None)
    return replace(
        old,
        order_qty=old.order_qty if wish.order_qty is None else wish.order_qty,
        limit_price=old.limit_price if wish.limit_price is None else wish.limit_price,
        settings=settings,
    )


def _check_end(turn: Turn, order: ParentOrder, end_ns: int) -> None:
    """Refuse an end that leaves no interval of a schedule."""
    interval: int = setting(order, "interval", default=MS)
    if end_ns < turn.now + interval:
        earliest = iso(turn.now + interval)
        raise Refused("BAD_WINDOW", f"expected an end at or behind {earliest}, got {iso(end_ns)}", earliest)


def _check_display(instrument: Instrument, plan: Plan, display: Decimal) -> None:
    """Refuse what would have to be rounded, or is no clip."""
    least = max(plan.min_clip, 1) * instrument.qty_lot
    if display % instrument.qty_lot or display < least:
        text = f"display: expected whole lots of {plain(instrument.qty_lot)} from {plain(least)} on"
        raise Refused("OFF_GRID", f"{text}, got {plain(display)}", f"display {plain(least)}")


def _check_risk(
    turn: Turn, parent: ParentState, order: ParentOrder, instrument: Instrument, plan: Plan
) -> None:
    """Refuse what would not be let in as an order of what is added."""
    added = order.order_qty - parent.order.order_qty
    if added <= ZERO:
        return
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
        child_qty=largest(plan),
    )
    refused = admit(turn, wanted)
    if refused is not None:
        raise No(refused)
