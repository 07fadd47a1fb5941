"""An armed parent begins: what it waits for is journaled, and the market is looked at."""

from __future__ import annotations

from decimal import Decimal

from tradefan.actors.oms_state import Turn
from tradefan.actors.oms_trigger import quoted_ticks
from tradefan.actors.oms_watch import watch
from tradefan.core.contingent import TriggerSettings, condition_of, good_till_ns, step_of
from tradefan.core.equity import day_start, parse_roll
from tradefan.core.trading import ParentState
from tradefan.core.trigger import Condition
from tradefan.messages.contingent import Armed
from tradefan.messages.instrument import Instrument
from tradefan.units import DAY, exact, plain


def arm(turn: Turn, parent: ParentState, settings: TriggerSettings, level: Decimal | None) -> None:
    """Journal that a parent waits for the market, and begin to look at it.

    A trailing one without an activation begins at the price of this instant.
    """
    order, instrument = parent.order, turn.instrument(parent.order.instrument)
    assert instrument is not None
    condition, mark = condition_of(order, settings, instrument, level), None
    if condition.kind == "trailing" and condition.activation is None:
        mark = seen_ticks(turn, condition, settings, instrument) * step_of(settings, instrument)
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
    """Return where the market stands by a trigger's source, in its steps, rounded away from firing.

    Nobody has told the last price before somebody waits for it: the mid stands for it.
    """
    quote = turn.live.quotes[instrument.id]
    sides = (exact(quote.bid), exact(quote.ask))
    return quoted_ticks(settings.source, condition, sides, step_of(settings, instrument))


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
