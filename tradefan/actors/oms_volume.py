"""What trades in the instruments where a parent is at work: followed from the first parent to the last."""

from __future__ import annotations

from decimal import Decimal

from msgspec.structs import replace

from tradefan.actors.oms_state import Turn
from tradefan.core import tape
from tradefan.core.trading import ParentState
from tradefan.core.wakes import traded
from tradefan.messages.instrument import Instrument
from tradefan.messages.market import FollowVolume, VolumeTick
from tradefan.messages.orders import Phase
from tradefan.messages.plan import Plan
from tradefan.units import MINUTE, InstrumentId, ParentId

OWN_NS = 60 * MINUTE
"""Own fills of the longest window are remembered."""


def follow(turn: Turn, parent: ParentState) -> None:
    """Begin to count for a parent: what its journal says has traded so far counts on."""
    live, order, plan, found = turn.live, parent.order, parent.plan, turn.instrument(parent.order.instrument)
    if plan is None or found is None or order.parent_id in live.arrivals:
        return
    seen = live.tapes.get(order.instrument)
    if seen is None:
        seen = live.tapes[order.instrument] = tape.begin(turn.now)
        ask(turn, order.instrument, on=True)
    if turn.now >= plan.start_ns:
        live.arrivals[order.parent_id] = seen.lots - int(_before(parent, plan) // found.qty_lot)


def _before(parent: ParentState, plan: Plan) -> Decimal:
    """Return what the feed had told when the newest clip, or the plan, was journaled; in base."""
    clip = parent.clip
    if clip is not None and clip.plan == parent.plans:
        return (clip.volume - clip.volume_own) * plan.qty_lot
    return (plan.volume_base - plan.volume_own) * plan.qty_lot


def leave(turn: Turn, parent: ParentState) -> None:
    """Let a parent that has ended count no more; the last one of an instrument ends its tape."""
    live, order = turn.live, parent.order
    live.own_fills.pop(order.parent_id, None)
    live.arrivals.pop(order.parent_id, None)
    if order.instrument not in live.tapes:
        return
    at_work = (turn.trading.parents[name] for name in turn.trading.parents_open)
    if not any(one.order.instrument == order.instrument and one.phase is not Phase.DONE for one in at_work):
        live.tapes.pop(order.instrument, None)
        ask(turn, order.instrument, on=False)


def ask(turn: Turn, instrument: InstrumentId, *, on: bool) -> None:
    """Tell the markets what is followed; one that does not have the instrument passes over it."""
    for ref in turn.wiring.markets:
        turn.send(ref, FollowVolume(instrument, on, turn.trading.epoch))


def recount(turn: Turn, before: Instrument, now: Instrument) -> None:
    """Count in other lots from now on: the market's sums begin anew with them."""
    seen = turn.live.tapes.get(now.id)
    if seen is None or before.qty_lot == now.qty_lot:
        return
    num, den = (before.qty_lot / now.qty_lot).as_integer_ratio()
    tape.rescale(seen, num, den)
    for name in turn.trading.parents_open:
        if name in turn.live.arrivals and turn.trading.parents[name].order.instrument == now.id:
            turn.live.arrivals[name] = turn.live.arrivals[name] * num // den
    for name, base in turn.live.tca.bases.items():
        parent = turn.trading.parents.get(name)
        if parent is not None and parent.order.instrument == now.id:
            lots, value = base.lots * num // den, base.value * num / den
            turn.live.tca.bases[name] = replace(base, lots=lots, value=value)


def on_volume(turn: Turn, msg: VolumeTick) -> None:
    """Count what has traded, and wake whom it was awaited by."""
    seen = turn.live.tapes.get(msg.instrument)
    if seen is None:
        return
    tape.note(seen, msg.generation, msg.lots, msg.value, turn.now)
    waits = turn.live.levels.get(msg.instrument)
    if waits is not None:
        turn.woken.update(dict.fromkeys(traded(waits, seen.lots)))


def note_own(turn: Turn, parent: ParentId | None, qty: Decimal) -> None:
    """Remember a fill of a parent that is at work, for its window; what is taken back is below zero."""
    if parent is None or parent not in turn.live.arrivals:
        return
    fills = turn.live.own_fills.setdefault(parent, [])
    fills.append((turn.now, qty))
    if fills[0][0] < turn.now - 2 * OWN_NS:
        turn.live.own_fills[parent] = [one for one in fills if one[0] >= turn.now - OWN_NS]
