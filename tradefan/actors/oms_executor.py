"""What an executor is asked and may answer: the fence around its code.

A plug-in runs only in here. What it raises becomes a refusal before there is a parent, and a failed
parent afterwards (`oms_engine`); what it returns is held against its types before anybody acts on it.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from itertools import islice
from typing import Any

import msgspec
from msgspec.structs import astuple

from tradefan.actors.oms_curve import history_of
from tradefan.actors.oms_gate import COLLAR_BPS, collar_price, reference
from tradefan.actors.oms_state import Live, OmsWiring, Turn
from tradefan.contracts import (
    CancelChild,
    ChildView,
    Decide,
    EndParent,
    Executor,
    ExecutorCommand,
    MarketView,
    ParentView,
    PauseParent,
    PlaceChild,
    QueryChild,
    ReplaceChild,
    Replan,
    RiskRefused,
    Wake,
    lookup,
    read_settings,
)
from tradefan.core import tape
from tradefan.core.contingent import own_settings, worked
from tradefan.core.curve import packaged
from tradefan.core.order import Order
from tradefan.core.trading import ParentState
from tradefan.errors import Defect, Refused, traceback_of
from tradefan.execution import Recipe
from tradefan.executors.entry import Entry, check_read
from tradefan.messages.instrument import Instrument
from tradefan.messages.market import Quality
from tradefan.messages.orders import TERMINAL, OrderStatus, ParentOrder
from tradefan.messages.plan import Plan, Volume
from tradefan.units import DAY, MINUTE, ZERO, clean, is_number, steps_up

WAKE_MAX = 30 * DAY
COMMANDS_MAX = 1_000
"""Commands of one answer; an endless generator is a defect like any other."""
_COLLAR_MAX = Decimal(10_000)
_TRACEBACK_MAX = 4_000
_REASON_MAX = 1_000
_LOTS_MAX = 1 << 63


def make_executor(order: ParentOrder) -> Executor:
    """Return the executor of a parent.

    Raises:
        Refused: UNKNOWN_ALGO, UNKNOWN_SETTING, BAD_SETTING, or EXECUTOR_FAILED when it raised.
    """
    plugin = lookup("executor", worked(order).algo)
    made: Executor = _fenced(order, lambda: plugin.make(settings_of(order)))
    return made


def new_executor(order: ParentOrder) -> Executor:
    """Return the executor of an order that is to come in: it reads all that its owner says.

    Raises:
        Refused: as `make_executor`; BAD_SETTING, it would pass over something.
    """
    executor = make_executor(order)
    recipe = _fenced(order, lambda: getattr(executor, "recipe", None))
    if isinstance(recipe, Recipe):
        _fenced(order, lambda: check_read(recipe, order.algo, own_settings(order)))
    return executor


def recipe_of(order: ParentOrder) -> Recipe | None:
    """Return the recipe of a parent, None where its executor is none, or cannot be made any more."""
    try:
        return getattr(make_executor(order), "recipe", None)
    except Refused:
        return None


def plan_of(
    turn: Turn,
    order: ParentOrder,
    parent: ParentState | None = None,
    old: Plan | None = None,
    executor: Executor | None = None,
) -> Plan | None:
    """Return how an order is worked, or its rest; None where its executor plans nothing.

    `old` is the plan whose window and limit stay, the parent's own where none is given; `executor` the
    order's, where it was made already.

    Raises:
        Refused: why it cannot be worked as it is, with what would have passed; NO_REFERENCE.
    """
    plan = getattr(make_executor(order) if executor is None else executor, "plan", None)
    if plan is None:
        return None
    made: Plan = _fenced(order, lambda: plan(entry_of(turn, order, parent, old)))
    return made


def entry_of(
    turn: Turn, order: ParentOrder, parent: ParentState | None = None, old: Plan | None = None
) -> Entry:
    """Return what a plan is made from at this instant.

    Raises:
        Refused: NO_REFERENCE.
    """
    instrument = turn.instrument(order.instrument)
    assert instrument is not None
    market = reference(turn, instrument, crossing=False)
    if isinstance(market, RiskRefused):
        raise Refused(market.code, market.text)
    volume = Volume() if parent is None else volume_of(turn, parent)
    # Beside a fill, what is in doubt may count for more than there is, and so may a lot that has grown and is
    # counted as a whole one: its rest is nothing then, not less.
    whole = int(order.order_qty // instrument.qty_lot)
    done = 0 if parent is None else min(steps_up(parent.done_qty, instrument.qty_lot), whole)
    return Entry(
        worked(order),
        instrument,
        turn.now,
        market.mid,
        done,
        volume=volume.total,
        volume_own=volume.own,
        old=old if parent is None or old is not None else parent.plan,
        clip_most=_clip_most(turn, order, instrument, market),
        levels=packaged(instrument.base),
        history=history_of(turn, instrument.id),
    )


def _clip_most(turn: Turn, order: ParentOrder, instrument: Instrument, market: MarketView) -> int:
    """Return the largest child in lots that the limits of one order let through, with room for the collar."""
    limits = turn.config.risk.limits(instrument.id)
    wide = setting(order, "at_end", default="cancel") == "market"
    worst = market.ask * (1 + collar_bps(order, wide=wide) / 10_000)
    return int(min(limits.max_order_qty, limits.max_order_notional / worst) // instrument.qty_lot)


def setting(order: ParentOrder, name: str, *, default: Any) -> Any:
    """Return one setting of a parent, or what holds where its executor has no such setting."""
    return getattr(settings_of(order), name, default)


def slices(order: ParentOrder) -> bool:
    """Say whether a parent is placed a part at a time by nature: then one that is refused can wait."""
    recipe = recipe_of(order)
    return recipe is not None and recipe.slices


def deadline_ns(turn: Turn, order: ParentOrder) -> int:
    """Return how long after its INTENT a child may be written: as the account says, or sooner."""
    most: int = turn.account_config(order.account).order_deadline
    given: int | None = setting(order, "order_deadline", default=None)
    return most if given is None else min(most, given)


def settings_of(order: ParentOrder) -> Any:
    """Return the settings of a parent's algorithm, of a contingent one's `then`; refusals name the former.

    Raises:
        Refused: UNKNOWN_ALGO, UNKNOWN_SETTING, BAD_SETTING.
    """
    work = worked(order)
    return read_settings(lookup("executor", work.algo).settings, work.settings, order.algo)


def _fenced(order: ParentOrder, make: Callable[[], Any]) -> Any:
    """Return what a plug-in's own code makes before there is a parent to pause: it refuses instead."""
    try:
        return make()
    except Refused as no:
        passes = None if no.would_pass is None else clean(str(no.would_pass))
        raise Refused(clean(str(no.code)), clean(str(no.text)), passes) from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 the fence around plug-ins
        text = f"executor {order.algo!r} raised {type(error).__name__} when it was made"
        raise Refused("EXECUTOR_FAILED", text) from None


def view_of(turn: Turn, parent: ParentState) -> ParentView:
    """Return all that an executor may know at this instant."""
    order = parent.order
    instrument = turn.instrument(order.instrument)
    assert instrument is not None, f"{order.parent_id} is in {order.instrument}, which nobody may trade"
    market = reference(turn, instrument, crossing=True)
    collar = wide = touch = None
    if isinstance(market, MarketView):
        # Beyond the band of risk a child would be refused for ever.
        band = turn.config.risk.limits(instrument.id).price_band_bps
        collar = collar_price(instrument, order.side, market, min(collar_bps(order), band))
        wide = collar_price(instrument, order.side, market, min(collar_bps(order, wide=True), band))
        touch = market.ask if order.side == "buy" else market.bid
    seen = isinstance(reference(turn, instrument, crossing=False), MarketView)
    known = turn.trading.orders
    children = (known[name] for name in (*parent.ended, *parent.live) if name in known)
    return ParentView(
        now_ns=turn.now,
        order=worked(order),
        instrument=instrument,
        cum_qty=parent.cum_qty,
        working_qty=parent.working_qty,
        in_doubt_qty=parent.in_doubt_qty,
        open_qty=parent.open_qty,
        children=tuple(_child_view(child) for child in children),
        attempts=parent.attempts,
        last_end_ns=parent.last_end_ns,
        collar_px=collar,
        touch_px=touch,
        wide_collar_px=wide,
        quote=turn.live.quotes.get(order.instrument) if seen else None,
        crossing=isinstance(market, MarketView),
        plan=parent.plan,
        plans=parent.plans,
        clip=parent.clip,
        volume=volume_of(turn, parent),
    )


def collar_bps(order: ParentOrder, *, wide: bool = False) -> Decimal:
    """Return how far a crossing child of this parent may go from the mid, in the end perhaps wider.

    Raises:
        Refused: BAD_SETTING for a collar that is none.
    """
    name = "wide_collar_bps" if wide else "collar_bps"
    value = _fenced(order, lambda: getattr(settings_of(order), name, COLLAR_BPS))
    if not (isinstance(value, Decimal) and is_number(value) and 0 < value < _COLLAR_MAX):
        shown = type(value).__name__ if not isinstance(value, Decimal) else str(value)[:60]
        raise Refused("BAD_SETTING", f"expected a Decimal 0 < {name} < {_COLLAR_MAX}, got {shown}")
    return value


def volume_of(turn: Turn, parent: ParentState) -> Volume:
    """Return what trades in a parent's instrument since its arrival, and in its window."""
    instrument, plan = turn.instrument(parent.order.instrument), parent.plan
    if plan is None or instrument is None:
        return Volume(fresh=False)
    window_ns = plan.window_ns(setting(parent.order, "participation_window", default=MINUTE))
    return volume_at(turn.live, turn.wiring, turn.now, parent, instrument.qty_lot, window_ns)


def volume_at(
    live: Live, wiring: OmsWiring, now_ns: int, parent: ParentState, lot: Decimal, window_ns: int
) -> Volume:
    """Return what trades in a parent's instrument since its arrival, and in a window up to now."""
    order = parent.order
    seen = live.tapes.get(order.instrument)
    if seen is None:
        return Volume(fresh=False)
    fills = live.own_fills.get(order.parent_id, ())
    filled = sum((qty for at_ns, qty in fills if at_ns > now_ns - window_ns), ZERO)
    window = tape.window(seen, now_ns, window_ns)
    total, own = seen.lots - live.arrivals.get(order.parent_id, seen.lots), 0
    if not wiring.own_fills_in_feed.get(order.account, True):
        own = int(parent.cum_qty // lot)
        window, total = window + int(filled // lot), total + own
    quality = live.qualities.get(order.instrument)
    fresh = quality is not None and quality.quality is Quality.LIVE
    # Without any word of a trade nobody knows whether there is a stream of them.
    whole = seen.generation != 0 and now_ns - seen.since_ns >= window_ns
    # Of a lot that has grown a part counts as a whole one, where it is taken from what may still be done.
    return Volume(total, window, steps_up(filled, lot), whole, fresh, own)


def _child_view(child: Order) -> ChildView:
    return ChildView(
        client_order_id=child.client_order_id,
        status=child.status,
        in_doubt=child.in_doubt,
        live=child.live,
        order_qty=child.order_qty,
        cum_qty=child.cum_qty,
        limit_price=child.limit_price,
        reason=child.reason,
        created_ns=child.created_ns,
        time_in_force=child.time_in_force,
        ending=child.cancel_ns is not None,
        filled_ns=child.filled_ns,
        clip=child.clip,
        step=child.step,
    )


def decided(turn: Turn, parent: ParentState) -> tuple[ExecutorCommand, ...]:
    """Return an executor's commands, all of them: a generator runs its code here, inside the fence."""
    answer = make_executor(parent.order).decide(view_of(turn, parent))
    commands = tuple(_sane(turn, command) for command in islice(answer, COMMANDS_MAX + 1))
    if len(commands) > COMMANDS_MAX:
        raise Defect(f"expected at most {COMMANDS_MAX} commands at once")
    return commands


def _sane(turn: Turn, command: object) -> ExecutorCommand:
    """Return a command whose fields are what their types promise: beyond the fence nothing checks that.

    What is returned has been encoded and read again, so that it can be journaled and read again.

    Raises:
        Defect, or what the encoder raises.
    """
    match command:
        case PlaceChild(order_qty=Decimal() as qty, limit_price=Decimal() as price, time_in_force=tif):
            sane = is_number(qty) and is_number(price) and tif in ("GTC", "IOC", "FOK")
        case ReplaceChild(client_order_id=str(), order_qty=Decimal() as qty, limit_price=Decimal() as price):
            sane = is_number(qty) and is_number(price)
        case EndParent(status=OrderStatus() as status, reason=str() as reason):
            sane = status in TERMINAL and len(reason) <= _REASON_MAX
        case CancelChild(reason=str() as reason) | PauseParent(reason=str() as reason):
            sane = len(reason) <= _REASON_MAX
        case Wake(at_ns=at_ns) if isinstance(at_ns, int) and at_ns > turn.now + WAKE_MAX:
            sane = False
        case QueryChild() | Wake() | Decide() | Replan():
            # What type each number has is checked as it is read again, below.
            numbers = [one for one in astuple(command) if isinstance(one, int | float)]
            sane = all(is_number(one) if isinstance(one, float) else abs(one) < _LOTS_MAX for one in numbers)
        case _:
            sane = False
    reader = _READERS.get(type(command))
    if not sane or reader is None:
        raise Defect(f"expected a command of an executor, got {command!r}"[:_REASON_MAX])
    return reader.decode(_encoder.encode(command))


_encoder = msgspec.msgpack.Encoder()
_READERS: dict[type[Any], msgspec.msgpack.Decoder[ExecutorCommand]] = {
    kind: msgspec.msgpack.Decoder(kind)
    for kind in (
        PlaceChild,
        ReplaceChild,
        CancelChild,
        QueryChild,
        Wake,
        Decide,
        Replan,
        PauseParent,
        EndParent,
    )
}


def text_of(error: BaseException) -> str:
    """Return a traceback that can be journaled, whatever the error says of itself."""
    try:
        text = traceback_of(error)
    except Exception:  # noqa: BLE001 its own words raise: its type must do
        text = type(error).__name__
    return clean(text[-_TRACEBACK_MAX:])
