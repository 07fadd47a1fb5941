"""The durable trading state: `apply` folds records into it, and nothing else changes it.

`apply(state, record)` is pure and total: it never raises and reads no configuration and no
instrument table. What a record cannot change is counted in `unapplied`. Memory is bounded: what
ended leaves, newest `ENDED_MAX` kept (`UNSEALED_MAX` of working parents), and keys live in windows.
The shape is `core/trading_state`, the handlers of one record each are in `core/apply_parents`,
`apply_triggers`, `apply_orders`, `apply_books` and `apply_tca`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tradefan.core import apply_books as books
from tradefan.core import apply_orders as orders
from tradefan.core import apply_parents as parents
from tradefan.core import apply_tca as tca
from tradefan.core import apply_triggers as triggers
from tradefan.core.order import Event
from tradefan.core.trading_state import (
    ParentState,
    Trading,
    fill_key,
    in_opening,
    knows_fill,
    may_have_forgotten,
    order_at,
    place_key,
)
from tradefan.messages import contingent as c
from tradefan.messages import records as r
from tradefan.messages import work as w
from tradefan.messages.records import Record
from tradefan.messages.tca import Arrived, Mark, Tca

__all__ = [
    "ParentState",
    "Trading",
    "apply",
    "fill_key",
    "in_opening",
    "knows_fill",
    "may_have_forgotten",
    "order_at",
    "place_key",
]


def apply(state: Trading, record: Record) -> None:
    """Fold one record into the state; count it where it cannot be applied."""
    state.lsn += 1
    handler = _APPLY.get(type(record))
    try:
        applied = handler is not None and handler(state, record)
    except ArithmeticError:
        # Numbers are checked before anything changes; this is the promise never to raise.
        applied = False
    if applied:
        state.updated_ns = record.at_ns
    else:
        state.unapplied += 1


_APPLY: dict[type[Any], Callable[[Trading, Any], bool]] = {
    r.Epoch: parents.on_epoch,
    r.CleanStop: parents.on_clean_stop,
    r.ConfigChange: parents.on_config,
    r.OwnerState: parents.on_owner_state,
    r.Parent: parents.on_parent,
    r.PhaseChange: parents.on_phase,
    w.ParentFailed: parents.on_parent_failed,
    w.PlanChange: parents.on_plan,
    w.AmendAsked: parents.on_amend_asked,
    w.Amended: parents.on_amended,
    w.Decision: parents.on_decision,
    w.Alive: parents.on_alive,
    r.Audit: parents.on_audit,
    r.Waiting: parents.on_waiting,
    c.Armed: triggers.on_armed,
    c.Watermark: triggers.on_watermark,
    c.Triggered: triggers.on_triggered,
    c.TriggerPause: triggers.on_trigger_pause,
    c.Disarmed: triggers.on_disarmed,
    c.Amend: triggers.on_amend,
    c.Group: triggers.on_group,
    c.GroupEnding: triggers.on_group_ending,
    r.Intent: orders.on_intent,
    r.ExternalOrder: orders.on_external,
    r.NotSent: orders.on_event(Event.NOT_SENT),
    r.Report: orders.on_report,
    r.InDoubt: orders.on_in_doubt,
    r.Resolved: orders.on_resolved,
    r.CancelIntent: orders.on_event(Event.CANCEL),
    r.CancelRefused: orders.on_event(Event.CANCEL_REJECTED),
    r.Sealed: orders.on_sealed,
    r.Fill: orders.on_fill,
    r.FillInferred: orders.on_inferred,
    r.FillReplaced: orders.on_replaced,
    r.Bust: orders.on_bust,
    r.Correct: orders.on_correct,
    r.Opening: books.on_opening,
    r.Transfer: books.on_transfer,
    r.Assign: books.on_assign,
    r.Difference: books.on_difference,
    r.Cursor: books.on_cursor,
    r.Poison: books.on_poison,
    r.PoisonResolved: books.on_poison_resolved,
    r.ModeChange: books.on_mode,
    r.Kill: books.on_kill,
    r.Resume: books.on_resume,
    r.Equity: books.on_equity,
    Arrived: tca.on_arrived,
    Mark: tca.on_mark,
    Tca: tca.on_tca,
}
