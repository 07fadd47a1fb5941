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

from tradefan.actors.oms_gate import COLLAR_BPS, collar_price, reference
from tradefan.actors.oms_state import Turn
from tradefan.contracts import (
    CancelChild,
    ChildView,
    EndParent,
    Executor,
    ExecutorCommand,
    MarketView,
    ParentView,
    PlaceChild,
    ReplaceChild,
    Wake,
    lookup,
    read_settings,
)
from tradefan.core.order import Order
from tradefan.core.trading import ParentState
from tradefan.errors import Defect, Refused, traceback_of
from tradefan.executors import limit as _limit  # noqa: F401 importing registers the executors
from tradefan.messages.orders import TERMINAL, OrderStatus, ParentOrder
from tradefan.units import DAY, clean, is_number

WAKE_MAX = 30 * DAY
COMMANDS_MAX = 1_000
"""Commands of one answer; an endless generator is a defect like any other."""
_COLLAR_MAX = Decimal(10_000)
_TRACEBACK_MAX = 4_000
_REASON_MAX = 1_000


def make_executor(order: ParentOrder) -> Executor:
    """Return the executor of a parent.

    Raises:
        Refused: UNKNOWN_ALGO, UNKNOWN_SETTING, BAD_SETTING, or EXECUTOR_FAILED when it raised.
    """
    plugin = lookup("executor", order.algo)
    made: Executor = _fenced(order, lambda: plugin.make(_settings_of(order)))
    return made


def _settings_of(order: ParentOrder) -> Any:
    return read_settings(lookup("executor", order.algo).settings, order.settings, order.algo)


def _fenced(order: ParentOrder, make: Callable[[], Any]) -> Any:
    """Return what a plug-in's own code makes before there is a parent to pause: it refuses instead."""
    try:
        return make()
    except Refused as no:
        raise Refused(clean(str(no.code)), clean(str(no.text))) from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 the fence around plug-ins
        text = f"executor {order.algo!r} raised {type(error).__name__} when it was made"
        raise Refused("EXECUTOR_FAILED", text) from None


def view_of(turn: Turn, parent: ParentState) -> ParentView:
    """Return all that an executor may know at this instant."""
    order = parent.order
    instrument = turn.instrument(order.instrument)
    assert instrument is not None, f"{order.parent_id} is in {order.instrument}, which nobody may trade"
    market = reference(turn, instrument, crossing=True)
    collar = touch = None
    if isinstance(market, MarketView):
        collar = collar_price(instrument, order.side, market, collar_bps(order))
        touch = market.ask if order.side == "buy" else market.bid
    known = turn.trading.orders
    children = (known[name] for name in (*parent.ended, *parent.live) if name in known)
    return ParentView(
        now_ns=turn.now,
        order=order,
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
    )


def collar_bps(order: ParentOrder) -> Decimal:
    """Return how far a crossing child of this parent may go from the mid.

    Raises:
        Refused: BAD_SETTING for a collar that is none.
    """
    value = _fenced(order, lambda: getattr(_settings_of(order), "collar_bps", COLLAR_BPS))
    if not (isinstance(value, Decimal) and is_number(value) and 0 < value < _COLLAR_MAX):
        shown = type(value).__name__ if not isinstance(value, Decimal) else str(value)[:60]
        raise Refused("BAD_SETTING", f"expected a Decimal 0 < collar_bps < {_COLLAR_MAX}, got {shown}")
    return value


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
        case CancelChild(client_order_id=str(), reason=str() as reason):
            sane = len(reason) <= _REASON_MAX
        case Wake(at_ns=int() as at_ns):
            sane = at_ns <= turn.now + WAKE_MAX
        case _:
            sane = False
    reader = _READERS.get(type(command))
    if not sane or reader is None:
        raise Defect(f"expected a command of an executor, got {command!r}"[:_REASON_MAX])
    return reader.decode(_encoder.encode(command))


_encoder = msgspec.msgpack.Encoder()
_READERS: dict[type[Any], msgspec.msgpack.Decoder[ExecutorCommand]] = {
    kind: msgspec.msgpack.Decoder(kind) for kind in (PlaceChild, ReplaceChild, CancelChild, Wake, EndParent)
}


def text_of(error: BaseException) -> str:
    """Return a traceback that can be journaled, whatever the error says of itself."""
    try:
        text = traceback_of(error)
    except Exception:  # noqa: BLE001 its own words raise: its type must do
        text = type(error).__name__
    return clean(text[-_TRACEBACK_MAX:])
