"""What trades in the instruments where a parent is at work: followed from the first parent to the last."""

from __future__ import annotations

from decimal import Decimal

from tradefan.actors.oms_state import Turn
from tradefan.core import tape
from tradefan.core.trading import ParentState
from tradefan.core.wakes import traded
from tradefan.messages.market import FollowVolume, VolumeTick
from tradefan.messages.orders import Phase
from tradefan.units import MINUTE, InstrumentId, ParentId

OWN_NS = 60 * MINUTE
"""Own fills of the longest window are remembered."""


def follow(turn: Turn, parent: ParentState) -> None:
    """Begin to count for a parent: what its journal says has traded so far counts on."""
    live, order, plan = turn.live, parent.order, parent.plan
    if plan is None or order.parent_id in live.arrivals:
        return
    seen = live.tapes.get(order.instrument)
    if seen is None:
        seen = live.tapes[order.instrument] = tape.begin(turn.now)
        ask(turn, order.instrument, on=True)
    before = plan.volume_base if parent.clip is None else parent.clip.volume
    live.arrivals[order.parent_id] = seen.lots - before


def leave(turn: Turn, parent: ParentState) -> None:
    """Let a parent that has ended count no more; the last one of an instrument ends its tape."""
    live, order = turn.live, parent.order
    live.own_fills.pop(order.parent_id, None)
    if live.arrivals.pop(order.parent_id, None) is None:
        return
    at_work = (turn.trading.parents[name] for name in turn.trading.parents_open)
    if not any(one.order.instrument == order.instrument and one.phase is not Phase.DONE for one in at_work):
        live.tapes.pop(order.instrument, None)
        ask(turn, order.instrument, on=False)


def ask(turn: Turn, instrument: InstrumentId, *, on: bool) -> None:
    """Tell the markets what is followed; one that does not have the instrument passes over it."""
    for ref in turn.wiring.markets:
        turn.send(ref, FollowVolume(instrument, on))


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
