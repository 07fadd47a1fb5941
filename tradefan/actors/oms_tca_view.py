"""The costs of a parent as they stand: for the record of its end, for status, and for whoever asks."""

from __future__ import annotations

from bisect import bisect_left
from itertools import islice

from msgspec import Struct
from msgspec.structs import replace

from tradefan.actors.oms_state import Live, OmsState, OmsWiring
from tradefan.actors.oms_tca_curve import curve_error
from tradefan.actors.oms_tca_market import Sight, pace_now
from tradefan.actors.oms_tca_market import met as met_since
from tradefan.actors.oms_tca_state import ACK_BUCKETS_NS, BPS_BUCKETS, AckCounts, CostCounts, TcaLive
from tradefan.core import track as of
from tradefan.core.costs import costs_of, lines_of
from tradefan.core.mids import path_between
from tradefan.core.tca import calibrated
from tradefan.core.track import Track
from tradefan.core.trading import ParentState, Trading
from tradefan.messages.instrument import Instrument
from tradefan.messages.tca import Costs, Lines, Met, State, TcaUpdate
from tradefan.units import AccountId, Asset, InstrumentId, ParentId

MIDS_SHOWN = 200
SHOWN = 20
"""Live analyses, and final ones, of a picture."""
NO_K = 1.0
"""Factor of an estimate that nothing has calibrated yet."""


class Look(Struct):
    """The order manager between two turns."""

    trading: Trading
    live: Live
    wiring: OmsWiring


def costs_as(
    seen: Sight,
    parent: ParentState,
    track: Track,
    met: Met,
    state: State,
    flags: tuple[str, ...],
    now_ns: int,
) -> Costs:
    """Return the costs of a parent in this market, with these flags beside its own."""
    order, before = parent.order, track.costs
    pace = pace_now(seen, parent, now_ns)
    k = calibrated(seen.trading.samples.get(order.instrument, ()))
    costs = costs_of(
        track,
        track.error if pace is None else pace,
        order.order_qty,
        parent.filled,
        parent.value,
        met,
        state,
        NO_K if k is None else k,
    )
    known = met.volume is not None and before is None
    drawn = curve_error(seen.live, seen.wiring, parent, now_ns) if known else None
    costs = replace(costs, curve_error=drawn if before is None else before.curve_error)
    if before is not None and track.error is None:
        # What followed the volume is let go at the end.
        costs = replace(
            costs,
            schedule_error_mean=before.schedule_error_mean,
            schedule_error_max=before.schedule_error_max,
        )
    planned = () if parent.plan is None else parent.plan.flags
    found = dict.fromkeys((*costs.flags, *flags, *planned, *(() if k is not None else ("uncalibrated",))))
    return replace(costs, flags=tuple(found))


def error_now(seen: Sight, parent: ParentState, now_ns: int) -> of.Error | None:
    """Return how far a parent is off its schedule, counted up to an instant; None without a schedule."""
    paced = pace_now(seen, parent, now_ns)
    track = seen.trading.tracks.get(parent.order.parent_id)
    if paced is not None or track is None or track.error is None:
        return paced
    passed = replace(track, error=replace(track.error), targets=list(track.targets))
    of.pass_time(passed, parent.order.parent_id, parent.plan, now_ns)
    return passed.error


def lines_as(seen: Sight, track: Track) -> Lines:
    """Return what a drawing of a parent shows; of one whose market is not followed any more no mids."""
    mids = seen.live.tca.mids.get(track.instrument)
    if mids is None or track.arrived_ns is None:
        return lines_of(track, ())
    return lines_of(track, path_between(mids, track.arrived_ns, track.ended_ns, MIDS_SHOWN))


def costs_now(seen: Sight, name: ParentId, now_ns: int) -> TcaUpdate | None:
    """Return the analysis of a parent as it stands, None where it is not followed; nothing is changed."""
    parent, track = seen.trading.parents.get(name), seen.trading.tracks.get(name)
    if parent is None or track is None:
        return None
    order, costs = parent.order, track.costs
    instrument = seen.live.instruments.get(order.instrument) or seen.wiring.instruments.get(order.instrument)
    if costs is None:
        error = None if track.error is None else replace(track.error)
        track = replace(track, error=error, targets=list(track.targets))
        of.pass_time(track, name, parent.plan, now_ns)
        met, flags = met_since(seen, parent, instrument, None, now_ns)
        costs = costs_as(seen, parent, track, met, "live", flags, now_ns)
    return TcaUpdate(
        name,
        order.account,
        order.instrument,
        order.owner,
        order.side,
        order.algo,
        quote_of(order.instrument, instrument),
        order.created_ns,
        now_ns if track.costs is None else track.written_ns,
        costs,
        lines_as(seen, track),
    )


def count_costs(live: TcaLive, algo: str, instrument: InstrumentId, costs: Costs) -> None:
    """Count a parent's final analysis for metrics."""
    if not costs.begun:
        return
    count = live.counts.setdefault(algo, {}).setdefault(instrument, CostCounts())
    if costs.arrival_slippage_bps is not None:
        count.slippage[bisect_left(BPS_BUCKETS, float(costs.arrival_slippage_bps))] += 1
        count.slippage_sum += float(costs.arrival_slippage_bps)
    if costs.is_bps is not None:
        count.shortfall[bisect_left(BPS_BUCKETS, float(costs.is_bps))] += 1
        count.shortfall_sum += float(costs.is_bps)
    newest = {
        "schedule_error": costs.schedule_error_mean,
        "maker_share": costs.maker_share,
        "participation": costs.participation,
        "spread_capture": costs.spread_capture,
    }
    for name, value in newest.items():
        if value is not None:
            setattr(count, name, float(value))


def count_ack(live: TcaLive, account: AccountId, took_ns: int) -> None:
    """Count an acknowledgement for metrics."""
    count = live.acks.setdefault(account, AckCounts())
    count.buckets[bisect_left(ACK_BUCKETS_NS, took_ns)] += 1
    count.sum_ns += took_ns


def shown(state: OmsState, wiring: OmsWiring, now_ns: int) -> tuple[list[TcaUpdate], list[TcaUpdate]]:
    """Return the analyses of the newest open parents, and the newest of those that are final."""
    look = Look(state.trading, state.live, wiring)
    names = (
        islice(reversed(state.trading.parents_open), SHOWN),
        islice(reversed(state.trading.tracks_final), SHOWN),
    )
    live, final = ([costs_now(look, name, now_ns) for name in some] for some in names)
    return [one for one in live if one is not None], [one for one in final if one is not None]


def quote_of(name: InstrumentId, instrument: Instrument | None) -> Asset:
    """Return the asset in which an instrument's prices and costs are."""
    if instrument is None:
        return Asset(name.partition("/")[2].partition(":")[0])
    return instrument.settle if instrument.kind == "linear" else instrument.quote
