"""What the analysis of costs sees of a market: the mid of an instant, and sums from arrival to end.

Nothing here is journaled, and nothing is searched: a quote or a tick of volume costs O(1), or O(1) for each
parent that follows the volume. What a restart, a break or a hole in the data took is None.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Protocol

from msgspec.structs import replace

from tradefan.actors.oms_executor import recipe_of, volume_at
from tradefan.actors.oms_state import Live, OmsWiring, Turn
from tradefan.actors.oms_tca_curve import follow_curve, note_curve
from tradefan.actors.oms_tca_state import Base, Pace
from tradefan.core import mids as m
from tradefan.core import track
from tradefan.core.apply_tca import USER
from tradefan.core.mids import FRESH_NS, Mids
from tradefan.core.schedule import by_rate
from tradefan.core.trading import ParentState, Trading
from tradefan.core.volatility import Moves, is_due
from tradefan.core.volatility import lose as lose_move
from tradefan.core.volatility import see as see_move
from tradefan.execution import Recipe
from tradefan.executors.trajectories import Rated
from tradefan.messages.contingent import Amend
from tradefan.messages.instrument import Instrument
from tradefan.messages.market import Quality, Quote
from tradefan.messages.orders import Phase
from tradefan.messages.records import Fill
from tradefan.messages.tca import Met
from tradefan.units import EXTERNAL, MINUTE, ZERO, Asset, InstrumentId, exact, plain


class Sight(Protocol):
    """What the order manager knows: a turn of it, or whoever looks between turns."""

    trading: Trading
    live: Live
    wiring: OmsWiring


LOW_NS = 5 * MINUTE
"""So long may an order be below its `min_rate` before somebody hears of it."""
_NOTHING = (ZERO, ZERO)
_TWO = Decimal(2)


# --- now --------------------------------------------------------------------------------------------------


def market_now(turn: Turn, instrument: InstrumentId) -> tuple[Decimal | None, Decimal | None]:
    """Return mid and spread of the last LIVE quote, None where it is older than 5 s."""
    live, quote = turn.live, turn.live.quotes.get(instrument)
    if quote is not None and _is_live(live, instrument) and turn.now - quote.recv_ns <= FRESH_NS:
        bid, ask = exact(quote.bid), exact(quote.ask)
        return (bid + ask) / _TWO, ask - bid
    seen = live.tca.mids.get(instrument)
    if seen is None or seen.mid is None or turn.now - seen.mid_ns > FRESH_NS:
        return None, None
    return exact(seen.mid), exact(seen.spread)


def market_at(turn: Turn, instrument: InstrumentId, at_ns: int) -> tuple[Decimal | None, Decimal | None]:
    """Return mid and spread as they stood at an instant of late, as far back as quotes are remembered."""
    seen = turn.live.tca.mids.get(instrument)
    found = None if seen is None else m.prevailing(seen, at_ns)
    if found is None:
        return market_now(turn, instrument)
    bid, ask = map(exact, found)
    return (bid + ask) / _TWO, ask - bid


def priced(turn: Turn, parent: ParentState, record: Amend) -> Amend:
    """Return a change of a parent's quantity with the mid of this instant."""
    return replace(record, mid=market_now(turn, parent.order.instrument)[0])


def _is_live(live: Live, instrument: InstrumentId) -> bool:
    quality = live.qualities.get(instrument)
    return quality is not None and quality.quality is Quality.LIVE


def price_of(turn: Turn, asset: Asset, quote: Asset, instrument: InstrumentId) -> Decimal | None:
    """Return what a unit of an asset is worth in a quote asset now, by a market that is followed."""
    known = turn.instrument(instrument)
    if known is not None and (known.base, known.quote) == (asset, quote):
        return market_now(turn, instrument)[0]
    for name in turn.live.quotes:
        other = turn.instrument(name)
        if other is not None and other.kind == "spot" and (other.base, other.quote) == (asset, quote):
            return market_now(turn, name)[0]
    return None


# --- what passes ------------------------------------------------------------------------------------------


def on_quote(live: Live, quote: Quote, now_ns: int) -> None:
    """Take a quote, if it can be trusted: each where somebody is at work, else one now and then."""
    seen, moves = live.tca.mids.get(quote.instrument), live.tca.moves.get(quote.instrument)
    if moves is None:
        moves = live.tca.moves[quote.instrument] = Moves()
    due = is_due(moves, now_ns)
    if not (due or seen is not None) or not _is_live(live, quote.instrument):
        return
    if due:
        see_move(moves, now_ns, (quote.bid + quote.ask) / 2)
    if seen is not None:
        m.see(seen, now_ns, quote.bid, quote.ask)


def on_lost(turn: Turn, instrument: InstrumentId) -> None:
    """Know of a market that it is not seen, or is another one from here on."""
    seen = turn.live.tca.mids.get(instrument)
    if seen is not None:
        m.lose(seen, turn.now)
    if instrument in turn.live.tca.moves:
        lose_move(turn.live.tca.moves[instrument])


def note_traded(turn: Turn, fill: Fill) -> None:
    """Count what we traded ourselves where somebody is at work; what is taken back is below zero."""
    live = turn.live.tca
    if fill.instrument in live.mids and fill.owner != EXTERNAL:
        qty, value = live.own.get(fill.instrument, _NOTHING)
        live.own[fill.instrument] = (qty + fill.qty, value + fill.qty * fill.price)


def begin(turn: Turn, parent: ParentState) -> None:
    """Note what the market counts at a parent's arrival."""
    live, name, where = turn.live.tca, parent.order.parent_id, parent.order.instrument
    seen = live.mids.get(where)
    if seen is None:
        seen = live.mids[where] = Mids(turn.now)
        quote = turn.live.quotes.get(where)
        if quote is not None and turn.now - quote.recv_ns <= FRESH_NS:
            on_quote(turn.live, quote, turn.now)
    counted, (qty, value) = turn.live.tapes.get(where), live.own.get(where, _NOTHING)
    live.bases[name] = Base(
        m.note(seen, turn.now),
        0 if counted is None else counted.generation,
        0 if counted is None else counted.lots,
        0.0 if counted is None else counted.value,
        qty,
        value,
    )
    recipe = recipe_of(parent.order)
    _follow_rate(turn, parent, recipe)
    follow_curve(turn, parent, recipe)


def leave(turn: Turn, parent: ParentState) -> None:
    """Let the market go that nobody is at work in any more."""
    live, where = turn.live.tca, parent.order.instrument
    live.paces.pop(parent.order.parent_id, None)
    live.curves.pop(parent.order.parent_id, None)
    live.missed.pop(parent.order.parent_id, None)
    if live.bases.pop(parent.order.parent_id, None) is None:
        return
    known = turn.trading.parents
    if not any(known[name].order.instrument == where for name in live.bases if name in known):
        live.mids.pop(where, None)
        live.own.pop(where, None)


# --- from arrival to now ------------------------------------------------------------------------------------


def met(
    seen: Sight, parent: ParentState, instrument: Instrument | None, end_px: Decimal | None, now_ns: int
) -> tuple[Met, tuple[str, ...]]:
    """Return what the market did since a parent's arrival, and flags that say what is not known, and why."""
    order, live = parent.order, seen.live
    base, mids = live.tca.bases.get(order.parent_id), live.tca.mids.get(order.instrument)
    if base is None or mids is None or instrument is None:
        return Met(end_px), ()
    # Whoever asks in between changes nothing: sums of floats depend on where they are cut.
    mids = replace(mids)
    m.pass_time(mids, now_ns)
    mean, flags = m.average(mids, base.since), []
    if mean is None:
        flags.append("gap")
    broken = mids.breaks > base.since.breaks
    volume, vwap = _traded(live, seen.wiring, parent, base, instrument.qty_lot, broken=broken)
    if volume is None:
        flags.append("volume_unknown")
    elif vwap is None:
        flags.append("no_trades")
    twap = None if mean is None else exact(mean)
    return Met(end_px, vwap, twap, volume, m.sigma_bps(mids, base.since)), tuple(flags)


def _traded(
    live: Live, wiring: OmsWiring, parent: ParentState, base: Base, lot: Decimal, *, broken: bool
) -> tuple[Decimal | None, Decimal | None]:
    """Return all that has traded, and the VWAP of what others have."""
    order = parent.order
    counted = live.tapes.get(order.instrument)
    anew = counted is None or counted.generation == 0 or base.generation not in (0, counted.generation)
    if broken or counted is None or anew:
        return None, None
    own_qty, own_value = live.tca.own.get(order.instrument, _NOTHING)
    own_qty, own_value = own_qty - base.own_qty, own_value - base.own_value
    qty, value = (counted.lots - base.lots) * lot, exact(counted.value - base.value) * lot
    if not wiring.own_fills_in_feed.get(order.account, True):
        return qty + own_qty, (value / qty if qty > 0 else None)
    others, worth = qty - own_qty, value - own_value
    return max(qty, own_qty), (worth / others if others > 0 else None)


# --- schedules that follow the volume -----------------------------------------------------------------------


def _follow_rate(turn: Turn, parent: ParentState, recipe: Recipe | None) -> None:
    plan = parent.plan
    if recipe is None or plan is None or not isinstance(recipe.settings, Rated):
        return
    error = track.Error(max(int(parent.order.order_qty // plan.qty_lot), 1), since_ns=turn.now)
    pace = Pace(
        recipe.settings.rate, int(recipe.settings.clip_life), plan.qty_lot, error, recipe.settings.min_rate
    )
    turn.live.tca.paces[parent.order.parent_id] = pace
    keep_pace(turn, parent)


def on_volume(turn: Turn, instrument: InstrumentId) -> None:
    """Move the targets of those that follow what trades here."""
    for name in turn.live.tca.paces:
        parent = turn.trading.parents.get(name)
        if parent is not None and parent.order.instrument == instrument:
            keep_pace(turn, parent)
    for name in turn.live.tca.curves:
        parent = turn.trading.parents.get(name)
        if parent is not None and parent.order.instrument == instrument:
            note_curve(turn, parent)


def keep_pace(turn: Turn, parent: ParentState) -> None:
    """Note between which targets a parent is: that of a clip's life ago, and that of now."""
    pace = turn.live.tca.paces.get(parent.order.parent_id)
    if pace is None or turn.live.tapes.get(parent.order.instrument) is None:
        return
    traded = pass_pace(turn, parent, pace, turn.now)
    _hold_least(turn, parent, pace, traded)


def pass_pace(seen: Sight, parent: ParentState, pace: Pace, now_ns: int) -> int:
    """Move the targets of what follows the volume to an instant; return what has traded of its plan's time.

    While its owner pauses it its clock stands, and so do they. What traded before its plan, in a pause or
    before its beginning, was nobody's to take part in. What its clips may still be at work on belongs to the
    volume of a clip's life.
    """
    plan, error = parent.plan, pace.error
    assert plan is not None
    stands = parent.phase is Phase.PAUSED and parent.reason == USER
    if stands and not error.frozen:
        track.stand(error, min(parent.paused_ns, now_ns))
    track.on_cum(error, now_ns, int(parent.cum_qty // pace.qty_lot))
    if stands or parent.phase is Phase.DONE:
        return 0
    volume = volume_at(seen.live, seen.wiring, now_ns, parent, pace.qty_lot, pace.life_ns)
    traded = max(volume.total - plan.volume_base, 0)
    whole = error.order_lots = max(int(parent.order.order_qty // pace.qty_lot), 1)
    rest = max(whole - plan.base, 0)
    low, high = (
        plan.base + by_rate(rest, pace.rate, max(lots, 0)) for lots in (traded - volume.window, traded)
    )
    error.frozen = False
    track.on_interval(error, now_ns, low, high)
    return traded


def pace_now(seen: Sight, parent: ParentState, now_ns: int) -> track.Error | None:
    """Return how far what follows the volume is from it; None where nobody has followed it."""
    pace = seen.live.tca.paces.get(parent.order.parent_id)
    if pace is None:
        return None
    pace = replace(pace, error=replace(pace.error))
    pass_pace(seen, parent, pace, now_ns)
    return pace.error


def _hold_least(turn: Turn, parent: ParentState, pace: Pace, traded: int) -> None:
    """Alarm once when an order has traded less than its least share of its plan's volume, for minutes."""
    assert parent.plan is not None
    cum = int(parent.cum_qty // pace.qty_lot) - parent.plan.base
    if parent.phase is not Phase.WORKING or cum >= pace.least * traded:
        pace.low_ns, pace.told = None, False
        return
    if pace.low_ns is None:
        pace.low_ns = turn.now
    if turn.now - pace.low_ns < LOW_NS or pace.told:
        return
    pace.told = True
    name, share = parent.order.parent_id, f"{cum / traded:.4f}"
    turn.log("warning", "below_min_rate", parent_id=name, share=share, min_rate=plain(pace.least))
