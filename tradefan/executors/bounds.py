"""Settings by themselves: in their bounds, and without contradictions; their types were checked before."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from tradefan.contracts import lookup
from tradefan.core import schedule
from tradefan.core.curve import HISTORY_BUCKET_NS, HISTORY_DAYS
from tradefan.errors import Refused, naming
from tradefan.execution import EXTEND, Common, Scheduled
from tradefan.executors.pacings import Shown
from tradefan.executors.trajectories import Curved, Rated
from tradefan.spans import Span
from tradefan.units import DAY, HOUR, MINUTE, SECOND

_SHARES = ("discretion", "size_jitter", "time_jitter", "participation_cap", "passive_share")


def check_settings(settings: Common) -> None:
    """Refuse settings that are out of bounds, or contradict each other; types were checked before."""
    for name in _SHARES:
        within("0 to 1", name, getattr(settings, name), Decimal(0), Decimal(1))
    least = Decimal("0.01")
    within("above 0, up to 1000", "collar_bps", settings.collar_bps, least, Decimal(1_000))
    within("above 0, up to 5000", "wide_collar_bps", settings.wide_collar_bps, least, Decimal(5_000))
    within("1 to 100", "catch_up_cap", settings.catch_up_cap, Decimal(1), Decimal(100))
    within("1 to 60000", "retry_after", settings.retry_after, 1, 60_000)
    within("1 to 100", "tries", settings.tries, 1, 100)
    within("1 to 1000", "reprice_ticks", settings.reprice_ticks, 1, 1_000)
    within("-1000 to 1000", "passive_offset_ticks", settings.passive_offset_ticks, -1_000, 1_000)
    within("0 to 100", "chase.max_steps", settings.chase.max_steps, 0, 100)
    within("1 to 1000", "chase.step_ticks", settings.chase.step_ticks, 1, 1_000)
    within("1 to 10000", "max_children", settings.max_children, 1, 10_000)
    within("up to 1h", "participation_window", settings.participation_window, 1, HOUR)
    within("up to 1h", "stale_cancel_after", settings.stale_cancel_after, 1, HOUR)
    within("up to 1h", "end_grace", settings.end_grace, 1, HOUR)
    if settings.order_deadline is not None:
        within("up to 60s", "order_deadline", settings.order_deadline, 1, MINUTE)
    lookup("tactic", settings.tactic)
    if settings.volume_source != "trades":
        text = f"volume_source: expected trades, got {settings.volume_source}: no feed tells bars that form"
        raise Refused("BAD_SETTING", text, "volume_source trades")
    _check_end(settings)
    if isinstance(settings, Scheduled) and settings.slices is not None:
        within(f"1 to {schedule.DECISIONS_MAX}", "slices", settings.slices, 1, schedule.DECISIONS_MAX)
    if isinstance(settings, Curved):
        _check_curve(settings)
    if isinstance(settings, Rated):
        _check_rate(settings)
    if isinstance(settings, Shown):
        _check_shown(settings)


def _check_curve(settings: Curved) -> None:
    part, bucket = HISTORY_BUCKET_NS, settings.bucket
    if bucket % part or DAY % bucket or not part <= bucket <= HOUR:
        minutes = f"{bucket / MINUTE:g}"
        text = f"bucket: expected a multiple of {part // MINUTE}m up to 1h that divides a day, got {minutes}m"
        raise Refused("BAD_SETTING", text, "bucket 5m")
    within(f"1 to {HISTORY_DAYS}", "days_max", settings.days_max, 1, HISTORY_DAYS)
    within("1 to days_max", "days_min", settings.days_min, 1, settings.days_max)
    within("1 to days_max", "bucket_days_min", settings.bucket_days_min, 1, settings.days_max)
    within("0 to 1", "coverage", settings.coverage, Decimal(0), Decimal(1))
    within("0 to 1000", "prior_buckets", settings.prior_buckets, 0, 1_000)


def _check_rate(settings: Rated) -> None:
    within("0.0001 to 1", "rate", settings.rate, Decimal("0.0001"), Decimal(1))
    within(f"0 to rate {settings.rate}", "min_rate", settings.min_rate, Decimal(0), settings.rate)
    within(f"rate {settings.rate} to 1", "max_rate", settings.max_rate, settings.rate, Decimal(1))
    within("up to 1h", "min_gap", settings.min_gap, 1, HOUR)
    within("up to 1h", "clip_life", settings.clip_life, 1, HOUR)


def _check_shown(settings: Shown) -> None:
    within("0 to 1", "variance", settings.variance, Decimal(0), Decimal(1))
    within("up to 1h", "delay_min", settings.delay_min, 1, HOUR)
    within("delay_min to 1h", "delay_max", settings.delay_max, settings.delay_min, HOUR)
    kind, _, share = settings.refill.partition(":")
    if kind == "exhausted" and not share:
        return
    if kind != "threshold" or not _is_share(share):
        text = f"refill: expected exhausted or threshold:0.25, got {settings.refill!r}"
        raise Refused("BAD_SETTING", text, "refill exhausted")


def _is_share(text: str) -> bool:
    try:
        return 0 <= Decimal(text) < 1
    except InvalidOperation:
        return False


def _check_end(settings: Common) -> None:
    known = ("cross_collared", "market", "cancel")
    if settings.at_end.startswith(f"{EXTEND}:"):
        # Its duration is read here, before anybody depends on it.
        with naming("at_end", None, "at_end extend:60s"):
            extend_ns = settings.extend_ns
        within("up to 1d", "at_end extend", extend_ns, 1, DAY)
    elif settings.at_end not in known:
        raise Refused(
            "BAD_SETTING",
            f"at_end: expected {', '.join(known)} or extend:60s, got {settings.at_end!r}",
            "at_end cancel",
        )
    if settings.post_only:
        _check_post_only(settings)
    if settings.duration is not None and settings.end_at is not None:
        raise Refused("BAD_SETTING", "expected duration or end_at, got both", "one of them")


def _check_post_only(settings: Common) -> None:
    """Refuse what would take all the same."""
    if settings.at_end != "cancel":
        text = f"post_only never takes, at_end {settings.at_end!r} does"
        raise Refused("BAD_SETTING", text, "at_end cancel")
    if settings.tactic == "take":
        raise Refused("BAD_SETTING", "post_only never takes, tactic 'take' does", "tactic passive")
    if settings.i_would_price is not None:
        raise Refused("BAD_SETTING", "post_only never takes, i_would_price does", "no i_would_price")


def within(words: str, name: str, value: Decimal | int, least: Decimal | int, most: Decimal | int) -> None:
    """Refuse a value outside of its bounds; a NaN is in none."""
    if not (isinstance(value, int) or value.is_finite()) or not least <= value <= most:
        shown = f"{value / SECOND:g}s" if isinstance(value, Span) else value
        raise Refused("BAD_SETTING", f"{name}: expected {words}, got {shown}")
