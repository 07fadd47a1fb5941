"""Folding of records about starts, parents and owners into `Trading`; handlers say whether they applied."""

from __future__ import annotations

from itertools import takewhile

from msgspec.structs import replace

from tradefan.core import apply_tca
from tradefan.core.contingent import TRIGGERS
from tradefan.core.trading_state import (
    ENDED_MAX,
    KEYS_MAX,
    KEYS_NS,
    REFS_MAX,
    STARTS_MAX,
    Answered,
    OwnerMemoryState,
    ParentState,
    Trading,
    place_key,
    remember,
    sound,
)
from tradefan.messages.orders import ParentOrder, Phase
from tradefan.messages.plan import Clip, Plan
from tradefan.messages.records import (
    Audit,
    CleanStop,
    ConfigChange,
    Epoch,
    OwnerState,
    Parent,
    PhaseChange,
    Waiting,
)
from tradefan.messages.work import (
    Alive,
    AmendAsked,
    Amended,
    Decision,
    ParentFailed,
    PlanChange,
)
from tradefan.units import ParentId


def on_epoch(state: Trading, record: Epoch) -> bool:
    """Begin an epoch; a start of the process that follows no orderly stop is remembered."""
    if record.epoch <= state.epoch:
        return False
    _begin_no_later(state, record.at_ns)
    state.epoch, state.epoch_ns, state.instance = record.epoch, record.at_ns, record.instance
    state.config_id = record.config_id
    state.sequence = state.parent_sequence = 0
    apply_tca.on_epoch(state, record.at_ns)
    if not record.restart:
        if not state.stopped:
            state.starts = [*state.starts, record.at_ns][-STARTS_MAX:]
        state.stopped = False
    return True


def _begin_no_later(state: Trading, now_ns: int) -> None:
    """Take instants beyond a start for that start: the wall clock has jumped back since they were written.

    What is counted from them (an alarm, an inferred fill, a look that proves something) would wait until
    the clock has caught up. Behind this no instant of an order lies beyond the start of its reader.
    """
    for order in state.orders.values():
        order.created_ns = min(order.created_ns, now_ns)
        order.updated_ns = min(order.updated_ns, now_ns)
        order.filled_ns = min(order.filled_ns, now_ns)
        order.ended_ns = None if order.ended_ns is None else min(order.ended_ns, now_ns)
        if order.in_doubt_since_ns is not None:
            order.in_doubt_since_ns = min(order.in_doubt_since_ns, now_ns)
    for parent in state.parents.values():
        parent.last_end_ns = None if parent.last_end_ns is None else min(parent.last_end_ns, now_ns)
        parent.paused_ns = min(parent.paused_ns, now_ns)
        parent.clip = None if parent.clip is None else _begun_no_later(parent.clip, now_ns)
    for name, fill in state.inferred.items():
        state.inferred[name] = replace(fill, at_ns=min(fill.at_ns, now_ns))
    state.starts = [min(at_ns, now_ns) for at_ns in state.starts]


def _begun_no_later(clip: Clip, now_ns: int) -> Clip:
    """Return a clip that lives as long as it would have, from this instant on if it began behind it."""
    ahead_ns = clip.begun_ns - now_ns
    if ahead_ns <= 0:
        return clip
    deadline_ns = None if clip.deadline_ns is None else clip.deadline_ns - ahead_ns
    return replace(clip, begun_ns=now_ns, deadline_ns=deadline_ns)


def on_clean_stop(state: Trading, record: CleanStop) -> bool:
    """Note that the process ended in order: the next start is none after a crash."""
    state.stopped = True
    return True


def on_config(state: Trading, record: ConfigChange) -> bool:
    """Note which configuration decides from here on."""
    state.config_id = record.config_id
    return True


def on_owner_state(state: Trading, record: OwnerState) -> bool:
    """Keep an owner's newest state; a turn is never repeated and never goes back (I-43)."""
    known = state.owners.get(record.owner, OwnerMemoryState())
    if record.turn <= known.turn:
        return False
    kept = known.state if record.state is None else record.state
    state.owners[record.owner] = OwnerMemoryState(record.turn, kept)
    return True


def on_parent(state: Trading, record: Parent) -> bool:
    """Take a parent on; a wish that waited is this parent now."""
    order = record.order
    if order.parent_id in state.parents or not sound(order.order_qty):
        return False
    state.parent_sequence += 1
    state.parents[order.parent_id] = ParentState(
        order,
        record.target_qty,
        state.epoch,
        updated_ns=record.at_ns,
        # A contingent one is idle until ARMED.
        phase=Phase.VALIDATED if record.held or order.algo in TRIGGERS else Phase.WORKING,
        group=record.group,
        leg=record.leg,
        held=record.held,
        plan=record.plan,
        plans=0 if record.plan is None else 1,
    )
    state.parents_open[order.parent_id] = None
    place = place_key(order.account, order.instrument, order.owner)
    state.parents_at.setdefault(place, {})[order.parent_id] = None
    waited = state.wishes.get(place)
    if waited is not None and record.target_qty is not None and waited.ref == order.ref:
        del state.wishes[place]
    remember(state.refs.setdefault(order.owner, {}), order.ref, order.parent_id, REFS_MAX)
    apply_tca.begin(state, record)
    return True


def on_waiting(state: Trading, record: Waiting) -> bool:
    """Keep the newest wish of a place, or none any more."""
    place = place_key(record.account, record.instrument, record.owner)
    if record.wish is None:
        return state.wishes.pop(place, None) is not None
    state.wishes[place] = record.wish
    return True


def on_phase(state: Trading, record: PhaseChange) -> bool:
    """Move a parent on; what is DONE stays DONE."""
    parent = state.parents.get(record.parent_id)
    if parent is None or (parent.phase is Phase.DONE and record.phase is not Phase.DONE):
        return False
    apply_tca.on_phase(state, parent, record)
    if parent.phase is Phase.PAUSED and record.phase is Phase.WORKING:
        # From now on it places children of this start.
        parent.epoch = state.epoch
    if record.phase is Phase.PAUSED and (parent.phase, parent.reason) != (Phase.PAUSED, record.reason):
        parent.paused_ns = record.at_ns
    parent.phase, parent.status, parent.reason = record.phase, record.status, record.reason
    parent.updated_ns = record.at_ns
    if record.phase is Phase.DONE:
        state.parents_open.pop(record.parent_id, None)
        _leave_place(state, parent.order)
        state.parents_done[record.parent_id] = None
        _forget_parents(state)
    return True


def on_parent_failed(state: Trading, record: ParentFailed) -> bool:
    """Pause a parent whose plug-in failed."""
    parent = state.parents.get(record.parent_id)
    if parent is None or parent.phase is Phase.DONE:
        return False
    parent.failures += 1
    parent.phase, parent.reason = Phase.PAUSED, "defect"
    parent.paused_ns = parent.updated_ns = record.at_ns
    return True


def on_plan(state: Trading, record: PlanChange) -> bool:
    """Take a plan, the first or another one for the rest."""
    parent = state.parents.get(record.parent_id)
    if parent is None or parent.phase is Phase.DONE:
        return False
    apply_tca.on_plan(state, parent, record.plan, record.at_ns)
    _take_plan(state, parent, record.plan, record.at_ns)
    return True


def _take_plan(state: Trading, parent: ParentState, plan: Plan, at_ns: int) -> None:
    """Go by a plan from now on; what works by it places children of the start that has made it."""
    if parent.phase is Phase.WORKING:
        parent.epoch = state.epoch
    parent.plan, parent.plans, parent.updated_ns = plan, parent.plans + 1, at_ns


def on_amend_asked(state: Trading, record: AmendAsked) -> bool:
    """Note what a parent is to become, or that it stays what it is."""
    parent = state.parents.get(record.parent_id)
    if parent is None or parent.phase is Phase.DONE:
        return False
    parent.amending, parent.updated_ns = record.order, record.at_ns
    return True


def on_amended(state: Trading, record: Amended) -> bool:
    """Let a parent be another order; its account, instrument, owner and side stay."""
    parent, order = state.parents.get(record.order.parent_id), record.order
    if parent is None or parent.phase is Phase.DONE or not sound(order.order_qty):
        return False
    was = parent.order
    if place_key(was.account, was.instrument, was.owner) != place_key(
        order.account, order.instrument, order.owner
    ):
        return False
    apply_tca.on_amended(state, parent, record)
    parent.asked = parent.asked or was
    parent.order, parent.amending = order, None
    apply_tca.on_plan(state, parent, record.plan, record.at_ns)
    _take_plan(state, parent, record.plan, record.at_ns)
    return True


def on_decision(state: Trading, record: Decision) -> bool:
    """Begin a clip; their numbers rise by one."""
    parent = state.parents.get(record.parent_id)
    if parent is None or parent.phase is Phase.DONE or record.clip.number != parent.clips:
        return False
    apply_tca.on_decision(state, parent, record)
    parent.clip, parent.clips = record.clip, parent.clips + 1
    parent.updated_ns = record.at_ns
    return True


def on_alive(state: Trading, record: Alive) -> bool:
    """Its instant is all that it says."""
    return True


def on_audit(state: Trading, record: Audit) -> bool:
    """Remember what was answered under a key, for a day; what was refused leaves its key free."""
    if not record.key or record.code:
        return True
    window = state.answers.setdefault(record.owner, {})
    answered = Answered(record.digest, record.parent_ids, record.at_ns)
    remember(window, record.key, answered, KEYS_MAX)
    for key in list(takewhile(lambda key: record.at_ns - window[key].at_ns >= KEYS_NS, window)):
        del window[key]
    return True


def _leave_place(state: Trading, order: ParentOrder) -> None:
    place = place_key(order.account, order.instrument, order.owner)
    here = state.parents_at.get(place, {})
    here.pop(order.parent_id, None)
    if not here:
        state.parents_at.pop(place, None)


def _forget_parents(state: Trading) -> None:
    """Let the oldest done parents go; one with a live child (a late adoption), or of an open group, waits."""
    while len(state.parents_done) > ENDED_MAX:
        oldest = next(iter(state.parents_done))
        del state.parents_done[oldest]
        if state.parents[oldest].live or _is_needed(state, oldest):
            state.parents_done[oldest] = None
            return
        group = state.parents.pop(oldest).group
        if group is not None and not _members(state, group):
            state.groups.pop(group, None)
        apply_tca.forget(state, oldest)


def _is_needed(state: Trading, name: ParentId) -> bool:
    """Say whether a done parent counts still: others of its group are at work."""
    group = state.parents[name].group
    return group is not None and any(one in state.parents_open for one in _members(state, group))


def _members(state: Trading, group: ParentId) -> list[ParentId]:
    """Return the members of a group that are in memory."""
    known = state.groups.get(group)
    return [] if known is None else [one for one in known.members.values() if one in state.parents]
