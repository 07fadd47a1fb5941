"""Journal records of contingent orders and groups (`messages/records.py` has all others)."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, TypeAlias

from tradefan.messages.orders import OrderStatus, SubmitOrder
from tradefan.messages.record_base import RecordBase
from tradefan.units import ParentId


class Armed(RecordBase, frozen=True, array_like=True, tag=True):
    """ARMED: a contingent parent waits for the market from now on, or at another level than before.

    `level` is the price that fires it, None for a trailing one; its `watermark` is the best confirmed price
    so far, None before its activation.
    """

    parent_id: ParentId
    level: Decimal | None
    watermark: Decimal | None = None
    expires_ns: int | None = None


class Watermark(RecordBase, frozen=True, array_like=True, tag=True):
    """WATERMARK: the best confirmed price that a trailing parent has seen since it was armed."""

    parent_id: ParentId
    price: Decimal


class Triggered(RecordBase, frozen=True, array_like=True, tag=True):
    """TRIGGERED: an armed parent has fired, by this price, and is worked as its `then` from now on.

    `seq` is the trade's id, or counts the quotes that were looked at. Durable before the first child leaves.
    """

    parent_id: ParentId
    price: Decimal
    source: str
    seq: int


class TriggerPause(RecordBase, frozen=True, array_like=True, tag=True):
    """An armed parent fires nothing while it is `paused`, because somebody asked for that."""

    parent_id: ParentId
    paused: bool
    reason: str


class Disarmed(RecordBase, frozen=True, array_like=True, tag=True):
    """DISARMED: an armed parent fires no more; it ends with this status."""

    parent_id: ParentId
    status: OrderStatus
    reason: str


class Amend(RecordBase, frozen=True, array_like=True, tag=True):
    """AMEND: a parent has another quantity from now on, and another limit where one is given."""

    parent_id: ParentId
    order_qty: Decimal
    reason: str
    limit_price: Decimal | None = None
    mid: Decimal | None = None
    """Of this instant: what is added was decided and begun at it."""


class Group(RecordBase, frozen=True, array_like=True, tag=True):
    """GROUP: these parents belong together; their PARENTs follow in the same turn.

    `members` are (leg, parent), the first one's id is the group's. `wish` is what was asked for as one order.
    """

    group_id: ParentId
    kind: Literal["oco", "bracket"]
    members: tuple[tuple[str, ParentId], ...]
    wish: SubmitOrder


class GroupEnding(RecordBase, frozen=True, array_like=True, tag=True):
    """A group is to end in this way: `keep_exits`, `drop_exits`, `flatten`; or what is left of it was sold.

    `flat` is the parent that brings it to nothing.
    """

    group_id: ParentId
    ending: str
    flat: ParentId | None = None


ContingentRecord: TypeAlias = (
    Armed | Watermark | TriggerPause | Triggered | Disarmed | Amend | Group | GroupEnding
)
