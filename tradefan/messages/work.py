"""Journal records of how a parent is worked: plans, decisions, changes of the order itself."""

from __future__ import annotations

from decimal import Decimal
from typing import TypeAlias

from tradefan.messages.orders import ParentOrder
from tradefan.messages.plan import Clip, Plan
from tradefan.messages.record_base import RecordBase
from tradefan.units import ParentId


class PlanChange(RecordBase, frozen=True, array_like=True, tag=True):
    """PLAN: how the rest of a parent is worked from now on."""

    parent_id: ParentId
    plan: Plan


class AmendAsked(RecordBase, frozen=True, array_like=True, tag=True):
    """AMEND: a parent is to become this order; None: it stays what it is. Until then it places nothing."""

    parent_id: ParentId
    order: ParentOrder | None


class Amended(RecordBase, frozen=True, array_like=True, tag=True):
    """A parent is another order from now on, worked by this plan.

    What is added was decided and begun at `mid`, that of this instant.
    """

    order: ParentOrder
    plan: Plan
    mid: Decimal | None = None


class Decision(RecordBase, frozen=True, array_like=True, tag=True):
    """DECISION: a clip begins, or nothing is placed until the next one, for a reason."""

    parent_id: ParentId
    clip: Clip


class Alive(RecordBase, frozen=True, array_like=True, tag=True):
    """Somebody was here: written while a parent is at work, so that a start knows how long nobody was."""


class ParentFailed(RecordBase, frozen=True, array_like=True, tag=True):
    """A plug-in of this parent raised."""

    parent_id: ParentId
    traceback: str


WorkRecord: TypeAlias = PlanChange | AmendAsked | Amended | Decision | Alive | ParentFailed
