"""The analysis of every parent's costs: what it has to be told while it works, and what is written of it.

What is journaled is folded by `core/apply_tca`: the market at arrival and at each fill (in PARENT and FILL),
MARK for the mids at the horizons behind a fill, TCA at the end (`provisional`), 300 s behind the last fill
(`final`), and again behind each later one. A restart goes on from there; what it cannot know stays None.
"""

from __future__ import annotations

from decimal import Decimal
from heapq import heappop, heappush

from msgspec.structs import replace

from tradefan.actors import oms_tca_market as market
from tradefan.actors.oms_state import Turn
from tradefan.actors.oms_tca_view import costs_as, count_ack, count_costs, lines_as, quote_of
from tradefan.core import track as of
from tradefan.core.costs import sample
from tradefan.core.track import Track
from tradefan.core.trading import ParentState
from tradefan.messages.control import Timer
from tradefan.messages.orders import Phase
from tradefan.messages.records import Fill, Parent
from tradefan.messages.tca import Arrived, Lines, Mark, State, Tca
from tradefan.units import AccountId, ClientOrderId, InstrumentId, ParentId

UNFINAL_MAX = 500
"""Ended parents that wait for their final record; of more the oldest gets it at once (flag `early`)."""
WRITTEN_MAX = 10_000
"""Creates whose acknowledgement is awaited."""
MARK, FINAL = "mark", "final"


# --- while it works -----------------------------------------------------------------------------------------


def decided(turn: Turn, instrument: InstrumentId, word: Decimal | None) -> Decimal | None:
    """Return the mid that an owner decided at: its own word, else the mid of now."""
    return market.market_now(turn, instrument)[0] if word is None else word


def in_market(turn: Turn, record: Parent, word: Decimal | None) -> Parent:
    """Return a PARENT with the market in which it is accepted; `word` is its owner's about the mid."""
    where = record.order.instrument
    mid, spread = market.market_now(turn, where)
    return replace(record, decision_px=decided(turn, where, word), mid=mid, spread=spread)


def attend(turn: Turn, parent: ParentState) -> None:
    """Begin to measure a parent that has begun to work; called whenever it is its turn."""
    name, live = parent.order.parent_id, turn.live.tca
    track = turn.trading.tracks.get(name)
    if track is None or parent.phase is not Phase.WORKING:
        market.keep_pace(turn, parent)
        return
    starts_ns = turn.now if parent.plan is None else parent.plan.start_ns
    if track.arrived_ns is None and starts_ns <= turn.now:
        turn.emit(Arrived(turn.now, name, *market.market_now(turn, parent.order.instrument)))
    if track.arrived_ns == turn.now and name not in live.bases and parent.epoch == turn.trading.epoch:
        market.begin(turn, parent)
    else:
        market.keep_pace(turn, parent)


def seen(turn: Turn, fill: Fill) -> Fill:
    """Return a fill with the market of its instant; of one that is told late nobody knows it."""
    if turn.now - fill.event_ns > of.LATE_NS:
        return fill
    for after_ns in of.HORIZONS_NS:
        heappush(turn.live.tca.due, (turn.now + after_ns, MARK, fill.instrument))
    mid, spread = market.market_at(turn, fill.instrument, fill.event_ns)
    fee_px = None
    if fill.fee and fill.fee_asset != fill.quote:
        fee_px = market.price_of(turn, fill.fee_asset, fill.quote, fill.instrument)
    return replace(fill, mid=mid, spread=spread, fee_px=fee_px)


def on_written(turn: Turn, name: ClientOrderId) -> None:
    """Note that a create has left for the socket."""
    written = turn.live.tca.written
    written[name] = turn.now
    if len(written) > WRITTEN_MAX:
        del written[next(iter(written))]


def acknowledged(
    turn: Turn, account: AccountId, name: ClientOrderId, recv_ns: int, *, looked: bool
) -> int | None:
    """Return how long the first word of an order took, None where this is not it, or was asked for."""
    written_ns = turn.live.tca.written.pop(name, None)
    if written_ns is None or looked:
        return None
    took_ns = max(recv_ns - written_ns, 0)
    count_ack(turn.live.tca, account, took_ns)
    return took_ns


def on_break(turn: Turn, instrument: InstrumentId, flag: str = "seam") -> None:
    """Let all that waits for a later mid of a market be unknown: what comes is another market."""
    market.on_lost(turn, instrument)
    if turn.live.running and any(one.instrument == instrument for one in turn.trading.tracks.values()):
        turn.emit(Mark(turn.now, instrument, turn.now, None, flag, whole=True))


# --- its end, and what follows ------------------------------------------------------------------------------


def end(turn: Turn, parent: ParentState) -> None:
    """Write what a parent has cost that has just ended; called before its market is let go."""
    track = turn.trading.tracks.get(parent.order.parent_id)
    if track is not None:
        _write(turn, parent, track)
        _limit_waiting(turn)
    market.leave(turn, parent)


def settle(turn: Turn) -> None:
    """Write anew what a turn has changed of ended parents, and await what is due next."""
    trading = turn.trading
    for name in turn.parents:
        parent, track = trading.parents.get(name), trading.tracks.get(name)
        if parent is None or track is None:
            continue
        if parent.phase is Phase.DONE and (track.costs is None or track.stale):
            _write(turn, parent, track)
    _arm(turn)


def recover(turn: Turn) -> None:
    """Await again what an earlier life has awaited, and give those their last record that have none."""
    due = turn.live.tca.due
    for name, track in turn.trading.tracks.items():
        for one in track.waiting:
            for after_ns in of.HORIZONS_NS:
                heappush(due, (one.at_ns + after_ns, MARK, track.instrument))
        if track.ended_ns is not None and (track.costs is None or track.costs.state != "final"):
            heappush(due, (track.final_ns or turn.now, FINAL, name))
    _arm(turn)


def on_tca_timer(turn: Turn, timer: Timer) -> None:
    """Give fills the mid that they waited for, and write what is final."""
    live = turn.live.tca
    if timer.number != live.timer_ns:
        return
    live.timer_ns = 0
    marks: dict[str, None] = {}
    while live.due and live.due[0][0] <= turn.now:
        _, kind, subject = heappop(live.due)
        if kind == MARK:
            marks[subject] = None
            continue
        parent, track = (
            turn.trading.parents.get(ParentId(subject)),
            turn.trading.tracks.get(ParentId(subject)),
        )
        if parent is not None and track is not None and (track.final_ns or 0) <= turn.now:
            # Its own last horizon may be due in this very instant.
            _mark(turn, track.instrument)
            _write(turn, parent, track)
    for instrument in marks:
        _mark(turn, InstrumentId(instrument))
    _arm(turn)


def _mark(turn: Turn, instrument: InstrumentId) -> None:
    """Give the mid of now to what is due now; of what was due before nobody saw it."""
    wanted = [
        due_ns
        for name in turn.trading.marks.get(instrument, ())
        if (track := turn.trading.tracks.get(name)) is not None
        and (due_ns := of.next_ns(track)) is not None
        and due_ns <= turn.now
    ]
    if wanted and min(wanted) < turn.now - of.LATE_NS:
        turn.emit(Mark(turn.now, instrument, turn.now - of.LATE_NS, None, "restart"))
    if wanted:
        turn.emit(Mark(turn.now, instrument, turn.now, market.market_now(turn, instrument)[0]))


def _arm(turn: Turn) -> None:
    live = turn.live.tca
    if live.due and not turn.now < live.timer_ns <= live.due[0][0]:
        live.timer_ns = max(live.due[0][0], turn.now)
        turn.ctx.after(live.timer_ns - turn.now, Timer("tca", number=live.timer_ns))


def _limit_waiting(turn: Turn) -> None:
    """Let the oldest of too many that wait for their final record have it now."""
    tracks = turn.trading.tracks
    waiting = len(tracks) - len(turn.trading.tracks_final) - len(turn.trading.parents_open)
    if waiting <= UNFINAL_MAX:
        return
    for name, track in tracks.items():
        parent = turn.trading.parents.get(name)
        if parent is not None and track.costs is not None and track.costs.state == "provisional":
            _write(turn, parent, track, early=True)
            return


def _write(turn: Turn, parent: ParentState, track: Track, *, early: bool = False) -> None:
    """Journal the costs of an ended parent as they are known now."""
    order, before = parent.order, track.costs
    if before is not None and before.state == "final" and not track.stale:
        return
    state: State = "final" if early or (track.final_ns or 0) <= turn.now else "provisional"
    found, flags = track.market, () if before is None else before.flags
    if found is None:
        # Only now its market is still followed; what that was stands.
        end_px = market.market_now(turn, order.instrument)[0]
        found, flags = market.met(turn, parent, turn.instrument(order.instrument), end_px, turn.now)
    costs = costs_as(turn, parent, track, found, state, (*flags, *(("early",) if early else ())), turn.now)
    turn.emit(
        Tca(
            turn.now,
            order.parent_id,
            order.account,
            order.instrument,
            order.owner,
            order.side,
            order.algo,
            quote_of(order.instrument, turn.instrument(order.instrument)),
            order.created_ns,
            costs,
            lines_as(turn, track) if before is None else Lines(),
            found,
            sample(track, costs, found) if state == "final" else None,
        )
    )
    if state == "final" and (before is None or before.state != "final"):
        count_costs(turn.live.tca, order.algo, order.instrument, costs)
    if state == "provisional":
        heappush(turn.live.tca.due, (track.final_ns or turn.now, FINAL, order.parent_id))
