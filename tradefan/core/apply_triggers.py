"""Folding of records about contingent parents into `Trading`; handlers say whether they applied."""

from __future__ import annotations

from msgspec.structs import replace

from tradefan.core import apply_tca
from tradefan.core.trading_state import GroupState, ParentState, Trading, TriggerState, sound
from tradefan.messages.contingent import (
    Amend,
    Armed,
    Disarmed,
    Group,
    GroupEnding,
    Triggered,
    TriggerPause,
    Watermark,
)
from tradefan.messages.orders import OrderStatus, Phase
from tradefan.units import ParentId


def on_armed(state: Trading, record: Armed) -> bool:
    """Let a parent wait for the market; what has fired, or ended, is not armed again."""
    parent = _in_phase(state, record.parent_id, Phase.VALIDATED, Phase.ARMED)
    if parent is None:
        return False
    at_ns, paused = record.at_ns, parent.trigger is not None and parent.trigger.paused
    parent.trigger = TriggerState(
        record.level, record.watermark, record.expires_ns, at_ns, at_ns, paused=paused
    )
    parent.phase, parent.status, parent.updated_ns = Phase.ARMED, OrderStatus.SUSPENDED, at_ns
    return True


def on_watermark(state: Trading, record: Watermark) -> bool:
    """Keep the newest watermark of a parent that is armed."""
    parent = _in_phase(state, record.parent_id, Phase.ARMED)
    if parent is None or parent.trigger is None:
        return False
    parent.trigger.watermark, parent.trigger.marked_ns = record.price, record.at_ns
    return True


def on_trigger_pause(state: Trading, record: TriggerPause) -> bool:
    """Let an armed parent fire nothing, or fire again."""
    parent = _in_phase(state, record.parent_id, Phase.ARMED)
    if parent is None or parent.trigger is None or parent.trigger.paused is record.paused:
        return False
    parent.trigger.paused, parent.reason, parent.updated_ns = record.paused, record.reason, record.at_ns
    return True


def on_triggered(state: Trading, record: Triggered) -> bool:
    """Let an armed parent go to work, once."""
    parent = _in_phase(state, record.parent_id, Phase.ARMED)
    if parent is None or parent.trigger is None or parent.trigger.paused:
        return False
    parent.trigger.fired_ns, parent.trigger.fired_px = record.at_ns, record.price
    parent.phase, parent.status = Phase.WORKING, OrderStatus.NEW
    parent.epoch, parent.updated_ns = state.epoch, record.at_ns
    return True


def on_disarmed(state: Trading, record: Disarmed) -> bool:
    """Let an armed parent fire no more."""
    parent = _in_phase(state, record.parent_id, Phase.VALIDATED, Phase.ARMED)
    if parent is None:
        return False
    parent.phase, parent.status, parent.reason = Phase.COMPLETING, record.status, record.reason
    parent.updated_ns = record.at_ns
    return True


def on_amend(state: Trading, record: Amend) -> bool:
    """Change the quantity of a parent that has not ended."""
    parent = state.parents.get(record.parent_id)
    if parent is None or parent.phase is Phase.DONE or not (sound(record.order_qty) and record.order_qty > 0):
        return False
    parent.asked = parent.asked or parent.order
    apply_tca.on_resized(state, parent, record.order_qty, record.mid)
    limit = parent.order.limit_price if record.limit_price is None else record.limit_price
    parent.order = replace(parent.order, order_qty=record.order_qty, limit_price=limit)
    parent.updated_ns = record.at_ns
    return True


def on_group(state: Trading, record: Group) -> bool:
    """Note which parents belong together."""
    if record.group_id in state.groups or record.group_id in state.parents:
        return False
    state.groups[record.group_id] = GroupState(record.kind, dict(record.members), record.wish)
    return True


def on_group_ending(state: Trading, record: GroupEnding) -> bool:
    """Note how a group is to end, or by what it was brought to nothing."""
    group = state.groups.get(record.group_id)
    if group is None:
        return False
    group.ending, group.flat = record.ending, record.flat or group.flat
    return True


def _in_phase(state: Trading, name: ParentId, *phases: Phase) -> ParentState | None:
    parent = state.parents.get(name)
    return parent if parent is not None and parent.phase in phases else None
