"""Between the order manager and the engine: exact views become lots and ticks, commands exact again."""

from __future__ import annotations

from decimal import Decimal
from typing import Generic, TypeVar

from tradefan.contracts import (
    CancelChild,
    ChildView,
    EndParent,
    ExecutorCommand,
    ParentView,
    PauseParent,
    PlaceChild,
    QueryChild,
    ReplaceChild,
    lookup,
)
from tradefan.contracts import Decide as DecideClip
from tradefan.contracts import Replan as ReplanParent
from tradefan.contracts import Wake as WakeAt
from tradefan.errors import Defect
from tradefan.execution import (
    Cancel,
    Child,
    Command,
    Common,
    Decide,
    End,
    Hold,
    Move,
    Place,
    Query,
    Recipe,
    Spent,
    Tactic,
    Touch,
    View,
    Wake,
)
from tradefan.executors.engine import step
from tradefan.executors.entry import Entry, make_plan
from tradefan.messages.orders import OrderStatus
from tradefan.messages.plan import Plan
from tradefan.units import ceil_step, exact, floor_step, steps_up

S = TypeVar("S", bound=Common)


def tactic_of(settings: Common) -> Tactic:
    """Return the tactic that settings name.

    Raises:
        Refused: UNKNOWN_TACTIC.
    """
    made: Tactic = lookup("tactic", settings.tactic).make(settings)
    return made


class Composed(Generic[S]):
    """An algorithm that is a recipe: `compose` names its parts, the engine does the rest."""

    def __init__(self, settings: S) -> None:
        """Make the parts."""
        self.settings = settings
        self.recipe = self.compose()

    def compose(self) -> Recipe:
        """Return the recipe for these settings."""
        raise NotImplementedError

    def plan(self, entry: Entry) -> Plan:
        """Return the plan of an order, or of its rest.

        Raises:
            Refused: with a code and a proposal.
        """
        return make_plan(self.recipe, entry)

    def decide(self, view: ParentView) -> tuple[ExecutorCommand, ...]:
        plan = view.plan
        if plan is None:
            # It was accepted by a program that planned nothing.
            return (ReplanParent("none"),)
        instrument = view.instrument
        if (plan.qty_lot, plan.price_tick) != (instrument.qty_lot, instrument.price_tick):
            # MD-17: what was counted in other lots is counted anew, when nothing of it rests any more.
            resting = [child for child in view.children if child.live and child.in_doubt is None]
            ends = [CancelChild(child.client_order_id, "steps") for child in resting if not child.ending]
            return tuple(ends) if resting else (ReplanParent("steps"),)
        sheet = lots_of(view, plan)
        return tuple(_exact(view, sheet, command) for command in self.next(sheet))

    def next(self, view: View) -> tuple[Command, ...]:
        """Return what to do next, in lots and ticks."""
        return step(self.recipe, view)


# --- into lots and ticks ------------------------------------------------------------------------------


def lots_of(view: ParentView, plan: Plan) -> View:
    """Return a view in whole lots and ticks; what is done is rounded up, what may be done down."""
    order, lot, tick = view.order, plan.qty_lot, plan.price_tick
    buys = order.side == "buy"
    limit = plan.limit
    return View(
        now_ns=view.now_ns,
        name=order.parent_id,
        side=order.side,
        order_lots=int(order.order_qty // lot),
        cum=steps_up(view.cum_qty, lot),
        working=steps_up(view.working_qty, lot),
        doubt=steps_up(view.in_doubt_qty, lot),
        limit=limit,
        plan=plan,
        plans=view.plans,
        clip=view.clip,
        touch=_touch(view, tick, lot),
        collar=_inward(view.collar_px, tick, buys=buys),
        wide_collar=_inward(view.wide_collar_px, tick, buys=buys),
        children=tuple(_child(child, lot, tick) for child in view.children),
        attempts=view.attempts,
        last_end_ns=view.last_end_ns,
        volume=view.volume,
    )


def _inward(price: Decimal | None, tick: Decimal, *, buys: bool) -> int | None:
    if price is None:
        return None
    return int((floor_step(price, tick) if buys else ceil_step(price, tick)) // tick)


def _touch(view: ParentView, tick: Decimal, lot: Decimal) -> Touch | None:
    quote = view.quote
    if quote is None:
        return None
    return Touch(
        round(exact(quote.bid) / tick),
        round(exact(quote.ask) / tick),
        int(exact(quote.bid_qty) // lot),
        int(exact(quote.ask_qty) // lot),
        view.crossing,
    )


def _child(child: ChildView, lot: Decimal, tick: Decimal) -> Child:
    return Child(
        child.client_order_id,
        child.status,
        child.in_doubt,
        child.live,
        child.ending,
        steps_up(child.order_qty, lot),
        int(child.cum_qty // lot),
        0 if child.limit_price is None else int(child.limit_price // tick),
        child.time_in_force,
        child.reason,
        child.created_ns,
        child.filled_ns,
        child.clip,
        child.step,
    )


# --- and back ------------------------------------------------------------------------------------------


def _exact(view: ParentView, sheet: View, command: Command) -> ExecutorCommand:
    plan = sheet.plan
    match command:
        case Place():
            qty, price = command.lots * plan.qty_lot, command.price * plan.price_tick
            return PlaceChild(
                qty, price, command.time_in_force, command.post_only, command.step, command.bound
            )
        case Move():
            child = next(one for one in view.children if one.client_order_id == command.client_order_id)
            if child.cum_qty or child.status is not OrderStatus.NEW:
                # One that trades already is not replaced in one request: its rest is placed behind its end.
                return CancelChild(command.client_order_id, "reprice")
            qty, price = command.lots * plan.qty_lot, command.price * plan.price_tick
            return ReplaceChild(command.client_order_id, qty, price, command.post_only, command.step)
        case Cancel():
            return CancelChild(command.client_order_id, command.reason)
        case Query():
            return QueryChild(command.client_order_id)
        case Wake():
            return _wake(command, plan)
        case Decide():
            return DecideClip(
                command.k,
                command.target,
                command.due,
                command.lots,
                command.deadline_ns,
                command.reason,
                command.before,
                command.share,
                command.factor,
                command.price,
                command.unseen,
            )
        case Hold():
            return PauseParent(command.reason)
        case End():
            return EndParent(command.status, command.reason)
        case Spent():
            raise Defect("the engine has let a word of its tactics out")
    return ReplanParent(command.reason)


def _wake(wake: Wake, plan: Plan) -> WakeAt:
    def price(ticks: int | None) -> float | None:
        return None if ticks is None else float(ticks * plan.price_tick)

    return WakeAt(
        wake.at_ns,
        price(wake.bid_below),
        price(wake.bid_above),
        price(wake.ask_below),
        price(wake.ask_above),
        wake.volume_at,
    )
