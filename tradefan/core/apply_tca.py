"""Folding of what the analysis of costs follows into `Trading.tracks`; called by the handlers of records.

A parent that was accepted by a program that followed none, or whose track has left memory, gets a track at
its next fill or its end (flag `untracked`): what was before that is not known.
"""

from __future__ import annotations

from decimal import Decimal

from tradefan.core import track as of
from tradefan.core.track import FillSeen, Track, Weighted
from tradefan.core.trading_state import ParentState, Trading, remember
from tradefan.messages.orders import Phase
from tradefan.messages.plan import Plan
from tradefan.messages.records import (
    Fill,
    Parent,
    PhaseChange,
)
from tradefan.messages.tca import Arrived, Mark, Tca
from tradefan.messages.work import Amended, Decision
from tradefan.units import InstrumentId, ParentId

FINAL_KEPT = 100
"""Tracks that stay behind their final record, for a late fill and for status."""
SAMPLES_KEPT = 200
USER = "user"
"""Reason of a pause in which the clock stands (`actors/oms_pause`)."""
INFERRED = "inferred "
"""Begins the id of a fill that the venue counts and nobody told: who gave, and what it cost, is unknown."""


# --- the life of a parent ---------------------------------------------------------------------------------


def begin(state: Trading, record: Parent) -> None:
    """Follow a parent; one that works at once has arrived."""
    order, plan = record.order, record.plan
    track = state.tracks[order.parent_id] = Track(order.instrument, order.side, record.decision_px)
    if plan is not None:
        of.on_plan(track, order.parent_id, None, plan, record.at_ns, order.order_qty)
    works = state.parents[order.parent_id].phase is Phase.WORKING
    if works and (plan is None or plan.start_ns <= record.at_ns):
        _arrive(track, record.at_ns, record.mid, record.spread)


def on_arrived(state: Trading, record: Arrived) -> bool:
    """Note when a parent began to work, and in which market."""
    track = state.tracks.get(record.parent_id)
    if track is None or track.arrived_ns is not None:
        return False
    _arrive(track, record.at_ns, record.mid, record.spread)
    return True


def _arrive(track: Track, at_ns: int, mid: Decimal | None, spread: Decimal | None) -> None:
    track.arrived_ns, track.arrival_px, track.spread = at_ns, mid, spread


def on_phase(state: Trading, parent: ParentState, record: PhaseChange) -> None:
    """Let the clock of a schedule stand while a user pauses it; note the end. Called before it changes."""
    name = record.parent_id
    track = _track_of(state, parent) if record.phase is Phase.DONE else state.tracks.get(name)
    if track is None:
        return
    stood = parent.reason == USER or (
        parent.reason == "halt" and parent.order.settings.get("halt") == "extend"
    )
    if parent.phase is Phase.PAUSED and not stood:
        track.missed_ns += of.within(parent.plan, parent.paused_ns, record.at_ns)
    stands = record.phase is Phase.PAUSED and record.reason == USER
    of.on_clock(track, name, parent.plan, record.at_ns, stands=stands or record.phase is Phase.DONE)
    if record.phase is Phase.DONE:
        track.ended_ns = record.at_ns


def on_plan(state: Trading, parent: ParentState, plan: Plan, at_ns: int) -> None:
    """Go on by another plan. Called before it is the parent's."""
    track = state.tracks.get(parent.order.parent_id)
    if track is not None:
        of.on_plan(track, parent.order.parent_id, parent.plan, plan, at_ns, parent.order.order_qty)


def on_amended(state: Trading, parent: ParentState, record: Amended) -> None:
    """Go on as another order. Called before it is the parent's."""
    qty, track = record.order.order_qty, state.tracks.get(record.order.parent_id)
    if track is not None:
        of.on_plan(track, record.order.parent_id, parent.plan, record.plan, record.at_ns, qty)
        on_resized(state, parent, qty, record.mid)


def on_resized(state: Trading, parent: ParentState, qty: Decimal, mid: Decimal | None) -> None:
    """Let what is added have been decided and begun now, at this mid. Called before it counts."""
    track, old_qty = state.tracks.get(parent.order.parent_id), parent.order.order_qty
    if track is None or qty == old_qty:
        return
    track.flags["amended"] = None
    if qty > old_qty:
        track.decision_px = _mean(old_qty, track.decision_px, qty - old_qty, mid)
        if track.arrived_ns is not None:
            track.arrival_px = _mean(old_qty, track.arrival_px, qty - old_qty, mid)


def _mean(qty: Decimal, price: Decimal | None, more: Decimal, mid: Decimal | None) -> Decimal | None:
    sums = Weighted()
    sums.add(qty, price)
    sums.add(more, mid)
    return sums.mean


def on_decision(state: Trading, parent: ParentState, record: Decision) -> None:
    """Take the targets of a schedule that is known only when it decides."""
    track, plan, clip = state.tracks.get(parent.order.parent_id), parent.plan, record.clip
    if track is None or plan is None:
        return
    if (
        track.error is not None
        and plan.volumes
        and 0 <= clip.k < len(plan.taus)
        and _in_window(plan, record.at_ns)
    ):
        of.pass_time(track, parent.order.parent_id, plan, record.at_ns)
        of.on_interval(track.error, record.at_ns, clip.before, clip.target)
    if plan.volumes or not plan.taus:
        whole = max(int(parent.order.order_qty // plan.qty_lot), 1)
        of.draw(track.targets, record.at_ns, clip.target / whole)


def _in_window(plan: Plan, at_ns: int) -> bool:
    """Say whether a schedule decides; what its end policy works has no target of its own."""
    return plan.end_ns is None or at_ns < plan.end_ns


def on_epoch(state: Trading, now_ns: int) -> None:
    """Nobody saw the market since the life before: what is measured over the whole time is not known.

    Where the wall clock was set back, nobody knows either when a horizon of an earlier fill comes.
    """
    for name, track in state.tracks.items():
        if track.ended_ns is None:
            track.flags["restart"] = None
            _miss(state, name, track, now_ns)
        if any(one.at_ns > now_ns for one in track.waiting):
            of.on_mid(track, now_ns, None, "restart", whole=True)
        if track.error is not None:
            track.error.since_ns = min(track.error.since_ns, now_ns)
        for field in ("arrived_ns", "ended_ns", "last_fill_ns"):
            at_ns = getattr(track, field)
            setattr(track, field, None if at_ns is None else min(at_ns, now_ns))


def _miss(state: Trading, name: ParentId, track: Track, now_ns: int) -> None:
    """Count the time without a daemon of what worked; of what was paused its pause counts."""
    parent = state.parents.get(name)
    if parent is not None and parent.phase is Phase.WORKING:
        track.missed_ns += of.within(parent.plan, state.updated_ns, now_ns)


# --- fills ------------------------------------------------------------------------------------------------


def on_fill(state: Trading, parent: ParentState, fill: Fill, *, back: bool) -> None:
    """Take a fill of a parent, or take one back. Called before it is in the parent's sums."""
    track = _track_of(state, parent)
    take = of.on_taken_back if back else of.on_fill
    take(track, fill.at_ns, _seen(fill))
    if track.ended_ns is not None and not back:
        track.flags["late_fill"] = None
    track.stale = True
    if track.waiting:
        state.marks.setdefault(track.instrument, {})[parent.order.parent_id] = None


def _seen(fill: Fill) -> FillSeen:
    inferred = fill.trade_id.startswith(INFERRED)
    fee: Decimal | None = fill.fee
    if fee and fill.fee_asset != fill.quote:
        fee = None if fill.fee_px is None else fee * fill.fee_px
    return FillSeen(
        fill.qty,
        fill.price,
        None if inferred else fee,
        None if inferred else fill.liquidity == "maker",
        fill.mid,
        fill.spread,
        on_time=not inferred and fill.at_ns - fill.event_ns <= of.LATE_NS,
    )


def on_cum(state: Trading, parent: ParentState, at_ns: int) -> None:
    """Note what has traded of a parent from now on."""
    track, plan = state.tracks.get(parent.order.parent_id), parent.plan
    if track is None:
        return
    of.draw(track.done, at_ns, float(parent.cum_qty / parent.order.order_qty))
    if track.error is not None and plan is not None:
        of.pass_time(track, parent.order.parent_id, plan, at_ns)
        of.on_cum(track.error, at_ns, int(parent.cum_qty // plan.qty_lot))


def on_ack(state: Trading, name: ParentId, took_ns: int | None) -> None:
    """Note how long the venue took to say its first word of a child."""
    track = state.tracks.get(name)
    if track is not None and took_ns is not None:
        of.on_ack(track, took_ns)


def _track_of(state: Trading, parent: ParentState) -> Track:
    name = parent.order.parent_id
    track = state.tracks.get(name)
    if track is None:
        track = state.tracks[name] = Track(parent.order.instrument, parent.order.side, None)
        track.flags["untracked"] = None
        track.ended_ns = parent.updated_ns if parent.phase is Phase.DONE else None
        for sums in (track.fees, track.maker, track.capture, *track.markouts):
            sums.missing += parent.filled
    return track


# --- records of its own -----------------------------------------------------------------------------------


def on_mark(state: Trading, record: Mark) -> bool:
    """Give a mid to the fills of an instrument that wait for it."""
    waiting = state.marks.get(record.instrument, {})
    for name in tuple(waiting):
        track = state.tracks.get(name)
        if track is not None:
            of.on_mid(track, record.through_ns, record.mid, record.flag, whole=record.whole)
        if track is None or not track.waiting:
            del waiting[name]
    if record.whole:
        _break_off(state, record.instrument, record.flag)
    if not waiting:
        state.marks.pop(record.instrument, None)
    return True


def _break_off(state: Trading, instrument: InstrumentId, flag: str) -> None:
    for track in state.tracks.values():
        if track.instrument == instrument and track.ended_ns is None:
            track.flags[flag] = None


def on_tca(state: Trading, record: Tca) -> bool:
    """Keep what was written of a parent; one that is final is let go when enough others are."""
    track = state.tracks.get(record.parent_id)
    if track is None:
        return False
    before, costs = track.costs, record.costs
    track.costs, track.stale, track.written_ns = costs, False, record.at_ns
    track.market, track.quote = record.market, record.quote
    if costs.state != "final":
        state.tracks_final.pop(record.parent_id, None)
        return True
    track.waiting, track.given = [], [0 for _ in of.HORIZONS_NS]
    if record.sample is not None and (before is None or before.state != "final"):
        known = state.samples.get(record.instrument, [])
        state.samples[record.instrument] = [*known, record.sample][-SAMPLES_KEPT:]
    for gone in remember(state.tracks_final, record.parent_id, None, FINAL_KEPT):
        state.tracks.pop(gone, None)
    return True


def forget(state: Trading, name: ParentId) -> None:
    """Let the track of a parent go that leaves memory."""
    state.tracks.pop(name, None)
    state.tracks_final.pop(name, None)
