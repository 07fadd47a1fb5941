"""A parent is checked and planned before it exists: a code, what was wrong, and what would have passed.

No size changes silently. The code that plans is the code that runs, so `--dry-run` shows what will be done.
"""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct
from msgspec.structs import replace

from tradefan.contracts import lookup
from tradefan.core import schedule
from tradefan.core.curve import (
    HISTORY_BUCKET_NS,
    HISTORY_DAYS,
    Expected,
    Levels,
    coarse,
    expected,
    levels_of,
)
from tradefan.errors import Refused
from tradefan.execution import EXTEND, Common, PlanInput, Recipe, Scheduled
from tradefan.executors.trajectories import Curved
from tradefan.messages.instrument import Instrument
from tradefan.messages.market import VolumeDays
from tradefan.messages.orders import ParentOrder
from tradefan.messages.plan import Plan
from tradefan.units import DAY, SECOND, ceil_step, exact, iso, plain, sign, steps

BPS = Decimal(10_000)
SHAPE_LOTS = 1_000
CLIP_WORTH = Decimal("1.1")
"""The smallest clip is worth so many times the venue's minimum: it stays valid when the price moves."""
END_MAX_NS = 30 * 24 * 3_600 * SECOND
_SHARES = ("discretion", "size_jitter", "time_jitter", "participation_cap", "passive_share")


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
    start_ns, end_ns = _window(settings, entry)
    lots = int(order.order_qty // instrument.qty_lot)
    min_clip = _min_clip(recipe, entry)
    max_clip = _max_clip(recipe, entry)
    display = _display(settings, entry, min_clip)
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
        i_would=_ticks("i_would_price", settings.i_would_price, instrument),
    )
    curve = curve_of(entry, plan, settings) if isinstance(settings, Curved) else Curve()
    if entry.old is None:
        _check_fit(recipe, entry, plan, lots, curve)
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
    flags = _flags(recipe, curve)
    return replace(
        plan,
        taus=planned.taus,
        volumes=planned.volumes if curve.absolute else (),
        source=curve.source,
        coverage=curve.coverage,
        flags=flags,
    )


def _flags(recipe: Recipe, curve: Curve) -> tuple[str, ...]:
    settings = recipe.settings
    if not isinstance(settings, Curved):
        return ()
    if not curve.volumes:
        return ("curve_fallback",)
    # How much should trade is what live volume is held against.
    return () if curve.absolute else ("volume_unknown",)


# --- settings by themselves ----------------------------------------------------------------------------


def check_settings(settings: Common) -> None:
    """Refuse settings that are out of bounds, or contradict each other; types were checked before."""
    for name in _SHARES:
        _in("0 to 1", name, getattr(settings, name), Decimal(0), Decimal(1))
    _in("above 0, up to 1000", "collar_bps", settings.collar_bps, Decimal("0.01"), Decimal(1_000))
    _in("above 0, up to 5000", "wide_collar_bps", settings.wide_collar_bps, Decimal("0.01"), Decimal(5_000))
    _in("1 to 100", "catch_up_cap", settings.catch_up_cap, Decimal(1), Decimal(100))
    _in("1 to 60000", "retry_after", settings.retry_after, 1, 60_000)
    _in("1 to 100", "tries", settings.tries, 1, 100)
    _in("1 to 1000", "reprice_ticks", settings.reprice_ticks, 1, 1_000)
    _in("-1000 to 1000", "passive_offset_ticks", settings.passive_offset_ticks, -1_000, 1_000)
    _in("0 to 100", "chase.max_steps", settings.chase.max_steps, 0, 100)
    _in("1 to 1000", "chase.step_ticks", settings.chase.step_ticks, 1, 1_000)
    _in("1 to 10000", "max_children", settings.max_children, 1, 10_000)
    lookup("tactic", settings.tactic)
    _check_end(settings)
    if isinstance(settings, Curved):
        _check_curve(settings)
    if isinstance(settings, Scheduled) and settings.slices is not None:
        _in(f"1 to {schedule.DECISIONS_MAX}", "slices", settings.slices, 1, schedule.DECISIONS_MAX)


def _check_curve(settings: Curved) -> None:
    part, bucket = HISTORY_BUCKET_NS, settings.bucket
    if bucket % part or DAY % bucket:
        text = (
            f"bucket: expected a multiple of {part // SECOND} s that divides a day, got {bucket / SECOND:g} s"
        )
        raise Refused("BAD_SETTING", text, "bucket 5m")
    _in(f"1 to {HISTORY_DAYS}", "days_max", settings.days_max, 1, HISTORY_DAYS)
    _in("1 to days_max", "days_min", settings.days_min, 1, settings.days_max)
    _in("1 to days_max", "bucket_days_min", settings.bucket_days_min, 1, settings.days_max)
    _in("0 to 1", "coverage", settings.coverage, Decimal(0), Decimal(1))
    _in("0 to 1000", "prior_buckets", settings.prior_buckets, 0, 1_000)


def _check_end(settings: Common) -> None:
    known = ("cross_collared", "market", "cancel")
    if settings.at_end.startswith(f"{EXTEND}:"):
        # Its duration is read here, before anybody depends on it.
        assert settings.extend_ns > 0
    elif settings.at_end not in known:
        raise Refused(
            "BAD_SETTING",
            f"at_end: expected {', '.join(known)} or extend:60s, got {settings.at_end!r}",
            "at_end cancel",
        )
    if settings.post_only and settings.at_end != "cancel":
        raise Refused(
            "BAD_SETTING", f"post_only never takes, at_end {settings.at_end!r} does", "at_end cancel"
        )
    if settings.duration is not None and settings.end_at is not None:
        raise Refused("BAD_SETTING", "expected duration or end_at, got both", "one of them")


def _in(words: str, name: str, value: Decimal | int, least: Decimal | int, most: Decimal | int) -> None:
    # A NaN is in no range.
    if not (isinstance(value, int) or value.is_finite()) or not least <= value <= most:
        raise Refused("BAD_SETTING", f"{name}: expected {words}, got {value}")


# --- settings against order and market --------------------------------------------------------------------


def _window(settings: Common, entry: Entry) -> tuple[int, int | None]:
    """Return when it begins and ends; the rest of an order keeps its end."""
    now_ns = entry.now_ns
    if entry.old is not None:
        return max(now_ns, entry.old.start_ns), entry.old.end_ns
    start_ns = now_ns if settings.start_at is None else int(settings.start_at)
    end_ns = settings.end_at if settings.end_at is not None else None
    if settings.duration is not None:
        end_ns = start_ns + settings.duration  # type: ignore[assignment]
    if end_ns is None and isinstance(settings, Scheduled):
        text = f"{entry.order.algo} needs a duration or an end_at"
        raise Refused("BAD_SETTING", text, "duration 5m")
    if end_ns is not None and not max(start_ns, now_ns) < end_ns <= now_ns + END_MAX_NS:
        text = (
            f"expected an end behind {iso(max(start_ns, now_ns))} and within 30 days, got {iso(int(end_ns))}"
        )
        raise Refused("BAD_WINDOW", text)
    if start_ns > now_ns + END_MAX_NS:
        raise Refused("BAD_WINDOW", f"expected a start within 30 days, got {iso(start_ns)}")
    # A start that is past is where the schedule begins: what it should have done since is behind.
    return start_ns, None if end_ns is None else int(end_ns)


def _min_clip(recipe: Recipe, entry: Entry) -> int:
    """Return the smallest clip in lots: as given, else max(lot, 1.1 x minimum notional / mid), rounded up.

    What is not sliced has the venue's own minimum, against which the order was checked.
    """
    instrument, given = entry.instrument, recipe.settings.min_clip
    if given is not None:
        return _lots("min_clip", given, instrument)
    if not recipe.slices:
        return 1
    worth = CLIP_WORTH * instrument.min_notional / entry.mid
    least = ceil_step(max(instrument.qty_lot, instrument.min_qty, worth), instrument.qty_lot)
    return int(least // instrument.qty_lot)


def _max_clip(recipe: Recipe, entry: Entry) -> int | None:
    """Return the largest clip in lots: as given, and no more than what risk lets through as one order.

    One that is not sliced by nature is never split because of a limit: it is refused.
    """
    given = recipe.settings.max_clip
    most = None if given is None else _lots("max_clip", given, entry.instrument)
    if not recipe.slices or entry.clip_most is None:
        return most
    return entry.clip_most if most is None else min(most, entry.clip_most)


def _lots(name: str, qty: Decimal, instrument: Instrument) -> int:
    if not qty.is_finite() or qty <= 0 or qty % instrument.qty_lot:
        lot = plain(instrument.qty_lot)
        raise Refused("OFF_GRID", f"{name}: expected a multiple of the lot {lot}, got {qty}", f"{name} {lot}")
    return steps(qty, instrument.qty_lot)


def _ticks(name: str, price: Decimal | None, instrument: Instrument) -> int | None:
    if price is None:
        return None
    if not price.is_finite() or price <= 0 or price % instrument.price_tick:
        tick = plain(instrument.price_tick)
        raise Refused("OFF_GRID", f"{name}: expected a multiple of the tick {tick}, got {price}")
    return steps(price, instrument.price_tick)


def _display(settings: Common, entry: Entry, min_clip: int) -> int | None:
    shown: Decimal | None = getattr(settings, "display", None)
    if entry.order.algo != "iceberg":
        return None
    if shown is None:
        raise Refused("BAD_SETTING", "iceberg needs a display: the most that is ever shown", "display")
    lots = _lots("display", shown, entry.instrument)
    if lots < min_clip:
        least = plain(min_clip * entry.instrument.qty_lot)
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
        _in("-5000 to 5000", "limit_offset_bps", settings.limit_offset_bps, Decimal(-5_000), Decimal(5_000))
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
