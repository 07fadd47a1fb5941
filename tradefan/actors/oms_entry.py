"""What an order is held against before it becomes a parent, whoever wishes for it."""

from __future__ import annotations

from decimal import Decimal

from tradefan.actors.oms_executor import collar_bps, new_executor, plan_of
from tradefan.actors.oms_gate import Wanted, admit, closed, collar_price, not_ready, reference
from tradefan.actors.oms_reduce import over_position
from tradefan.actors.oms_state import Turn
from tradefan.contracts import MarketView, RiskRefused
from tradefan.errors import Refused
from tradefan.messages.instrument import Instrument
from tradefan.messages.orders import (
    ParentOrder,
)
from tradefan.messages.plan import Plan
from tradefan.setting import suggest
from tradefan.units import (
    EXTERNAL,
    AccountId,
    InstrumentId,
    ceil_step,
    plain,
)


class No(Exception):
    """A refusal on its way out of the checks."""

    def __init__(self, refused: RiskRefused) -> None:
        super().__init__(refused.code)
        self.refused = refused


def largest(plan: Plan) -> Decimal | None:
    """Return the largest order that a plan sends; None where that is all of it."""
    bounds = [bound for bound in (plan.max_clip, plan.display) if bound is not None]
    return min(bounds) * plan.qty_lot if bounds else None


def checked(turn: Turn, order: ParentOrder, *, at_stop: bool) -> Plan | None:
    """Return how an order that may exist now is worked; nothing is written.

    Raises:
        Refused, No: why it may not exist, with what would pass.
    """
    if order.owner == EXTERNAL:
        raise Refused("UNKNOWN_OWNER", "external is what nobody here ordered: it has no orders")
    instrument = tradable(turn, order.account, order.instrument)
    executor, collar = new_executor(order), collar_bps(order)
    check_shape(order, instrument)
    refused = closed(turn, at_stop=at_stop) or not_ready(turn, order.account)
    if refused is not None:
        raise No(refused)
    price = worst_price(turn, order, instrument, collar)
    check_size(order, instrument, price)
    plan = plan_of(turn, order, executor=executor)
    wanted = Wanted(
        order.account,
        instrument,
        order.owner,
        order.side,
        order.order_qty,
        price,
        "limit",
        order.reduce_only,
        takes=order.limit_price is None,
        child_qty=None if plan is None else largest(plan),
    )
    refused = admit(turn, wanted) or over_position(turn, order, instrument)
    if refused is not None:
        raise No(refused)
    return plan


def tradable(turn: Turn, account: AccountId, instrument: InstrumentId) -> Instrument:
    """Return the instrument that an account may trade now.

    Raises:
        Refused: UNKNOWN_ACCOUNT, UNKNOWN_INSTRUMENT, UNSUPPORTED_KIND, INSTRUMENT_HALT and its like.
    """
    known = turn.wiring.accounts.get(account)
    if known is None:
        raise Refused(
            "UNKNOWN_ACCOUNT", f"no account is called {account!r}{suggest(account, turn.wiring.accounts)}"
        )
    found = turn.instrument(instrument) if instrument in known else None
    if found is None:
        raise Refused("UNKNOWN_INSTRUMENT", f"{account} has no {instrument!r}{suggest(instrument, known)}")
    found.require_supported()
    if found.status != "TRADING":
        raise Refused(f"INSTRUMENT_{found.status}", f"{instrument} is {found.status} at its venue")
    return found


def check_shape(order: ParentOrder, instrument: Instrument) -> None:
    """Refuse what cannot be an order whatever the market is; no size changes silently."""
    if order.position_side != "net":
        raise Refused("UNSUPPORTED_KIND", f"position_side {order.position_side!r}: only net is supported")
    if order.algo == "limit" and order.limit_price is None:
        raise Refused("BAD_SETTING", "limit needs a limit_price")
    qty, lot = order.order_qty, instrument.qty_lot
    if qty <= 0:
        raise No(RiskRefused("BELOW_MIN_QTY", f"expected a quantity above zero, got {qty}"))
    if qty % lot:
        text = f"{plain(qty)} is no multiple of the lot {plain(lot)}"
        # What is less than one lot has nothing below it that would pass.
        passes = f"order_qty {plain(max(instrument.floor_qty(qty), instrument.min_qty))}"
        raise No(RiskRefused("OFF_GRID", text, plain(lot), plain(qty), passes))
    price, tick = order.limit_price, instrument.price_tick
    if price is not None and (price <= 0 or price % tick):
        text = f"{price} is no positive multiple of the tick {plain(tick)}"
        near = plain(instrument.price_within(order.side, abs(price)))
        raise No(RiskRefused("OFF_GRID", text, plain(tick), str(price), f"limit_price {near}"))


def check_size(order: ParentOrder, instrument: Instrument, price: Decimal) -> None:
    """Refuse what the venue's filters would: too small, too large, worth too little."""
    qty = order.order_qty
    if qty < instrument.min_qty:
        least = plain(instrument.min_qty)
        text = f"{plain(qty)} is below the venue's minimum"
        raise No(RiskRefused("BELOW_MIN_QTY", text, least, plain(qty), f"order_qty {least}"))
    if instrument.max_qty and qty > instrument.max_qty:
        most = plain(instrument.max_qty)
        text = f"{plain(qty)} is above the venue's maximum"
        raise No(RiskRefused("ABOVE_MAX_QTY", text, most, plain(qty), f"order_qty {most}"))
    worth = instrument.notional(qty, price)
    if worth < instrument.min_notional:
        least = plain(instrument.min_notional)
        text = f"worth {plain(worth)} {instrument.quote}, below the venue's minimum"
        passes = plain(ceil_step(instrument.min_notional / price, instrument.qty_lot))
        raise No(RiskRefused("BELOW_MIN_NOTIONAL", text, least, plain(worth), f"order_qty {passes}"))


def worst_price(turn: Turn, order: ParentOrder, instrument: Instrument, collar: Decimal) -> Decimal:
    """Return the worst price that a parent may trade at: its limit, or the collar around the mid."""
    if order.limit_price is not None:
        return order.limit_price
    market = reference(turn, instrument, crossing=True)
    if not isinstance(market, MarketView):
        raise No(market)
    return collar_price(instrument, order.side, market, collar)


def say_accepted(turn: Turn, order: ParentOrder, **more: str) -> None:
    """Log that a parent exists from this turn on."""
    turn.log(
        "info",
        "parent_accepted",
        parent_id=order.parent_id,
        owner=order.owner,
        account=order.account,
        instrument=order.instrument,
        side=order.side,
        order_qty=plain(order.order_qty),
        algo=order.algo,
        reason=order.reason,
        **more,
    )
