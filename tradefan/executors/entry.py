"""A parent is checked and planned before it exists: a code, what was wrong, and what would have passed.

No size changes silently. The code that plans is the code that runs, so `--dry-run` shows what will be done.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from tradefan.core.curve import (
    Expected,
    Levels,
    coarse,
    expected,
    levels_of,
)
from tradefan.errors import Refused
from tradefan.execution import Common, PlanInput, Recipe, Scheduled
from tradefan.executors.bounds import check_settings, within
from tradefan.executors.tactics import TAKING, Take
from tradefan.executors.trajectories import Curved
from tradefan.messages.instrument import Instrument
from tradefan.messages.market import VolumeDays
from tradefan.messages.orders import ParentOrder
from tradefan.messages.plan import Plan
from tradefan.units import DAY, SECOND, ceil_step, exact, is_number, iso, plain, sign, steps

BPS = Decimal(10_000)
SHAPE_LOTS = 1_000
CLIP_WORTH = Decimal("1.1")
"""The smallest clip is worth so many times the venue's minimum: it stays valid when the price moves."""
END_MAX_NS = 30 * 24 * 3_600 * SECOND


class Curve(Struct, frozen=True):
    """Expected volume in lots of each bucket from `first_ns` on; where it came from, and what it lacks.

    Without `absolute` the lots say only how volume is spread.
    """

    volumes: tuple[int, ...] = ()
    bucket_ns: int = 0
    first_ns: int = 0
    source: str = ""
    coverage: float | None = None
    absolute: bool = True


class Entry(Struct, frozen=True):
    """What a plan is made for, and from: the market of this instant; what of the order is done, in lots."""

    order: ParentOrder
    instrument: Instrument
    now_ns: int
    mid: Decimal
    done: int = 0
    levels: Levels | None = None
    """The volume of a day, where no history covers the window."""
    history: tuple[VolumeDays, ...] = ()
    """What traded on earlier days, the best source first."""
    volume: int = 0
    """Total volume in lots since the arrival."""
    volume_own: int = 0
    """What of it is added to the feed's, which does not count own trades."""
    old: Plan | None = None
    """The plan that this one replaces: its window stays."""
    clip_most: int | None = None
    """The largest child in lots that risk lets through."""


def make_plan(recipe: Recipe, entry: Entry) -> Plan:
    """Return the plan of an order, or of its rest.

    Raises:
        Refused: with a code and a proposal, where it cannot be worked as it is.
    """
    settings, order, instrument = recipe.settings, entry.order, entry.instrument
    check_settings(settings)
    if entry.old is None and {"slices", "interval"} <= set(order.settings):
        raise Refused("BAD_SETTING", "expected interval or slices, got both", "one of them")
    start_ns, end_ns = _window(settings, entry)
    lots = int(order.order_qty // instrument.qty_lot)
    min_clip = _min_clip(recipe, entry)
    max_clip = _max_clip(recipe, entry)
    display = _display(settings, entry, min_clip)
    if entry.old is not None:
        # Its market has moved, or its steps are others: what was small enough for it stays so.
        min_clip = min(min_clip, max_clip or min_clip, display or min_clip)
    limit = _limit(settings, entry)
    plan = Plan(
        start_ns,
        end_ns,
        instrument.qty_lot,
        instrument.price_tick,
        min_clip,
        entry.done,
        volume_base=entry.volume,
        limit=limit,
        max_clip=max_clip,
        display=display,
        i_would=_ticks("i_would_price", settings.i_would_price, entry),
        volume_own=entry.volume_own,
        time_jitter=getattr(settings, "time_jitter", None),
    )
    curve = measured = curve_of(entry, plan, settings) if isinstance(settings, Curved) else Curve()
    if isinstance(settings, Scheduled) and not isinstance(settings, Curved):
        # Its targets need no volume, but what it may be of it does.
        measured = curve_of(entry, plan, Curved())
    if entry.old is None:
        _check_fit(recipe, entry, plan, lots, measured)
    plan = replace(plan, flags=_flags(recipe, plan, curve, measured))
    return _with_targets(recipe, entry, plan, lots, curve)


def curve_of(entry: Entry, plan: Plan, settings: Curved) -> Curve:
    """Return what is expected to trade in the window of a plan; empty where nobody knows.

    Of the first source that covers it, else of the levels that stand for all: never of data of the
    window's own days.
    """
    if plan.end_ns is None:
        return Curve()
    first_ns = plan.start_ns if entry.old is None else min(plan.start_ns, entry.order.created_ns)
    until_day = first_ns // DAY
    for history in entry.history:
        found = levels_of(
            history,
            settings.bucket,
            until_day - settings.days_max,
            until_day,
            days_min=settings.days_min,
            bucket_days_min=settings.bucket_days_min,
        )
        seen = None if found is None else expected(found, plan.start_ns, plan.end_ns)
        if found is not None and seen is not None and exact(seen.coverage) >= settings.coverage:
            return _curve(entry, found, seen)
    if entry.levels is None:
        return Curve()
    found = coarse(entry.levels, settings.bucket)
    seen = expected(found, plan.start_ns, plan.end_ns)
    return Curve() if seen is None else _curve(entry, found, seen)


def _curve(entry: Entry, found: Levels, seen: Expected) -> Curve:
    lot = float(entry.instrument.qty_lot) if found.absolute else 1 / SHAPE_LOTS
    lots = tuple(round(volume / lot) for volume in seen.volumes)
    return Curve(lots, seen.bucket_ns, seen.first_ns, found.source, seen.coverage, found.absolute)


def _with_targets(recipe: Recipe, entry: Entry, plan: Plan, lots: int, curve: Curve) -> Plan:
    given = PlanInput(
        entry.order.parent_id,
        lots,
        entry.done,
        plan.start_ns,
        plan.end_ns,
        plan.min_clip,
        curve.volumes,
        curve.bucket_ns,
        curve.first_ns,
    )
    planned = recipe.trajectory.plan(given)
    return replace(
        plan,
        taus=planned.taus,
        volumes=planned.volumes if curve.absolute else (),
        source=curve.source,
        coverage=curve.coverage,
    )


def _flags(recipe: Recipe, plan: Plan, curve: Curve, measured: Curve) -> tuple[str, ...]:
    """Return what nobody knows of a schedule's market: its share is held against what is `measured`."""
    if not isinstance(recipe.settings, Scheduled):
        return ()
    fallback = isinstance(recipe.settings, Curved) and not curve.volumes
    unknown = expected_volume(measured, plan) is None
    return (*(("curve_fallback",) if fallback else ()), *(("volume_unknown",) if unknown else ()))


def check_read(recipe: Recipe, algo: str, given: Mapping[str, Any]) -> None:
    """Refuse what an algorithm would pass over: whoever sets it expects that it means something.

    Only of an order that is to come in: what was let in once is worked on.
    """
    settings, of_tactic = recipe.settings, getattr(recipe.tactic, "unread", ())
    takes = settings.crosses_at_end or settings.i_would_price is not None
    for key, value in given.items():
        name = key.partition(".")[0]
        if name not in (*recipe.unread, *of_tactic) or (takes and name in TAKING):
            continue
        how = " unless its at_end takes" if name in TAKING else ""
        if name not in recipe.unread and "tactic" not in recipe.unread:
            how = f" with tactic {settings.tactic}{how}"
        text = f"{algo} does not use {key}{how}, got {value!r:.60}"
        raise Refused("BAD_SETTING", text, f"without {key}")


# --- settings against order and market --------------------------------------------------------------------


def _window(settings: Common, entry: Entry) -> tuple[int, int | None]:
    """Return when it begins and ends; the rest of an order keeps its end."""
    now_ns = entry.now_ns
    if entry.old is not None:
        start_ns, end_ns = max(now_ns, entry.old.start_ns), entry.old.end_ns
        # Behind its end there is no window to plan for: its end policy has all that is left.
        return start_ns if end_ns is None else min(start_ns, end_ns - SECOND), end_ns
    start_ns = now_ns if settings.start_at is None else int(settings.start_at)
    end_ns = settings.end_at if settings.end_at is not None else None
    if settings.duration is not None:
        end_ns = start_ns + settings.duration
    if end_ns is None and isinstance(settings, Scheduled):
        text = f"{entry.order.algo} needs a duration or an end_at"
        raise Refused("BAD_SETTING", text, "duration 5m")
    if start_ns > now_ns + END_MAX_NS:
        raise Refused("BAD_WINDOW", f"start_at: expected a start within 30 days, got {iso(start_ns)}")
    if end_ns is not None and not max(start_ns, now_ns) < end_ns <= now_ns + END_MAX_NS:
        key = "end_at" if settings.duration is None else "duration"
        text = f"{key}: expected an end behind {iso(max(start_ns, now_ns))} and within 30 days"
        raise Refused("BAD_WINDOW", f"{text}, got {iso(int(end_ns))}")
    # A start that is past is where the schedule begins: what it should have done since is behind.
    return start_ns, None if end_ns is None else int(end_ns)


def _min_clip(recipe: Recipe, entry: Entry) -> int:
    """Return the smallest clip in lots: as given, else max(lot, 1.1 x minimum notional / mid), rounded up.

    What is not sliced has the venue's own minimum, against which the order was checked.
    """
    instrument, given = entry.instrument, recipe.settings.min_clip
    if given is not None:
        return _lots("min_clip", given, entry)
    if not recipe.slices and recipe.settings.max_clip is None:
        return 1
    worth = CLIP_WORTH * instrument.min_notional / entry.mid
    least = ceil_step(max(instrument.qty_lot, instrument.min_qty, worth), instrument.qty_lot)
    return int(least // instrument.qty_lot)


def _max_clip(recipe: Recipe, entry: Entry) -> int | None:
    """Return the largest clip in lots: as given, and no more than what risk lets through as one order.

    One that is not sliced by nature is never split because of a limit: it is refused.
    """
    given = recipe.settings.max_clip
    most = None if given is None else _lots("max_clip", given, entry)
    if not recipe.slices or entry.clip_most is None:
        return most
    return entry.clip_most if most is None else min(most, entry.clip_most)


def _lots(name: str, qty: Decimal, entry: Entry) -> int:
    """Return a quantity in lots; one that was on an older grid is rounded down to the present one."""
    instrument = entry.instrument
    if entry.old is not None:
        return max(int(qty // instrument.qty_lot), 1)
    if not is_number(qty) or qty <= 0 or qty % instrument.qty_lot:
        lot = plain(instrument.qty_lot)
        raise Refused("OFF_GRID", f"{name}: expected a multiple of the lot {lot}, got {qty}", f"{name} {lot}")
    return steps(qty, instrument.qty_lot)


def _ticks(name: str, price: Decimal | None, entry: Entry) -> int | None:
    instrument = entry.instrument
    if price is None:
        return None
    if entry.old is not None:
        return int(instrument.price_within(entry.order.side, price) // instrument.price_tick)
    if not is_number(price) or price <= 0 or price % instrument.price_tick:
        tick = plain(instrument.price_tick)
        raise Refused("OFF_GRID", f"{name}: expected a multiple of the tick {tick}, got {price}")
    return steps(price, instrument.price_tick)


def _display(settings: Common, entry: Entry, min_clip: int) -> int | None:
    shown: Decimal | None = getattr(settings, "display", None)
    if entry.order.algo != "iceberg":
        return None
    if shown is None:
        raise Refused("BAD_SETTING", "iceberg needs a display: the most that is ever shown", "display")
    lots, lot = _lots("display", shown, entry), entry.instrument.qty_lot
    if (lots < min_clip and entry.old is None) or shown < lot:
        least = plain(lot if entry.old is not None else min_clip * lot)
        raise Refused(
            "BELOW_MIN_CLIP", f"display {plain(shown)} is below the smallest clip {least}", f"display {least}"
        )
    return lots


def _limit(settings: Common, entry: Entry) -> int | None:
    """Return the hard limit in ticks, rounded towards our side: as given, or an offset from the arrival."""
    order, instrument = entry.order, entry.instrument
    if entry.old is not None and entry.old.limit is not None and order.limit_price is None:
        price = entry.old.limit * entry.old.price_tick
        return int(instrument.price_within(order.side, price) // instrument.price_tick)
    price_ = order.limit_price
    if settings.limit_offset_bps is not None:
        if price_ is not None:
            raise Refused("BAD_SETTING", "expected limit_price or limit_offset_bps, got both", "one of them")
        within(
            "-5000 to 5000", "limit_offset_bps", settings.limit_offset_bps, Decimal(-5_000), Decimal(5_000)
        )
        price_ = entry.mid * (1 + sign(order.side) * settings.limit_offset_bps / BPS)
    if price_ is None:
        return None
    return int(instrument.price_within(order.side, price_) // instrument.price_tick)


def _check_fit(recipe: Recipe, entry: Entry, plan: Plan, lots: int, curve: Curve) -> None:
    """Hold an order against its plan: enough for a clip, for its slices, in the time and the volume."""
    settings, order, lot = recipe.settings, entry.order, entry.instrument.qty_lot
    if lots < plan.min_clip:
        least = plain(plan.min_clip * lot)
        text = f"{plain(order.order_qty)} is below the smallest clip {least}"
        raise Refused("BELOW_MIN_CLIP", text, f"order_qty {least}")
    if plan.max_clip is not None and plan.max_clip < plan.min_clip:
        least, most = plain(plan.min_clip * lot), plain(plan.max_clip * lot)
        text = f"max_clip, or the largest order that risk lets through, is {most}: below min_clip {least}"
        raise Refused("BAD_SETTING", text, f"max_clip {least}")
    if settings.post_only and isinstance(recipe.tactic, Take):
        raise Refused("BAD_SETTING", f"post_only never takes, {order.algo} does", "limit")
    if plan.limit is None and (settings.tactic == "rest" or (order.algo == "iceberg" and not recipe.follows)):
        raise Refused("BAD_SETTING", f"{order.algo} rests, so it needs a limit_price", "limit_price")
    if plan.limit is not None and settings.at_end == "market" and _is_beyond_market(entry, plan.limit):
        text = "at_end market is never reached behind a limit that the market is beyond"
        raise Refused("LIMIT_BEYOND_MARKET", text, "at_end cancel")
    if isinstance(settings, Scheduled):
        assert plan.end_ns is not None
        _check_schedule(settings, entry, plan, lots)
        _check_volume(settings, plan, lots, curve)


def _is_beyond_market(entry: Entry, limit: int) -> bool:
    price = limit * entry.instrument.price_tick
    return price < entry.mid if entry.order.side == "buy" else price > entry.mid


def _check_schedule(settings: Scheduled, entry: Entry, plan: Plan, lots: int) -> None:
    assert plan.end_ns is not None
    duration_ns = plan.end_ns - plan.start_ns
    if "interval" in entry.order.settings and settings.interval > duration_ns:
        seconds = f"{duration_ns / SECOND:g}"
        text = (
            f"expected an interval within the duration of {seconds} s, got {settings.interval / SECOND:g} s"
        )
        raise Refused("BAD_SETTING", text, f"interval {seconds}")
    most = lots // max(plan.min_clip, 1)
    if settings.slices is not None and settings.slices > most:
        least = plain(plan.min_clip * plan.qty_lot)
        text = f"{settings.slices} slices of at least {least} are more than the order"
        raise Refused("TOO_MANY_SLICES", text, f"slices {most}")


def _check_volume(settings: Scheduled, plan: Plan, lots: int, curve: Curve) -> None:
    """Refuse what would be more of the expected volume than its cap; a longer time would pass."""
    volume = expected_volume(curve, plan)
    if volume is None or lots <= settings.participation_cap * volume:
        return
    assert plan.end_ns is not None
    share = Decimal(lots) / volume if volume else None
    seconds = (plan.end_ns - plan.start_ns) / SECOND
    used = "all of it" if share is None else f"{share:.4f}"
    passes = (
        None if share is None else f"duration {int(seconds * float(share / settings.participation_cap)) + 1}"
    )
    text = f"expected to be {used} of the volume, above participation_cap {settings.participation_cap}"
    raise Refused("ABOVE_PARTICIPATION", text, passes)


def expected_volume(curve: Curve, plan: Plan) -> Decimal | None:
    """Return the volume in lots that the curve expects in the window, None where it knows none."""
    if not curve.volumes or plan.end_ns is None or not curve.absolute:
        return None
    total = 0
    for i, volume in enumerate(curve.volumes):
        begin_ns = curve.first_ns + i * curve.bucket_ns
        overlap_ns = min(plan.end_ns, begin_ns + curve.bucket_ns) - max(plan.start_ns, begin_ns)
        total += volume * max(overlap_ns, 0)
    return Decimal(total) / curve.bucket_ns
