"""The words in which the costs of an order are shown, in the terminal and on its page."""

from __future__ import annotations

from typing import Any

from tradefan.units import SECOND

JSON = dict[str, Any]
FIGURES = (
    ("shortfall", "is_bps", "bps"),
    ("  delay", "is_delay_bps", "bps"),
    ("  trading", "is_trading_bps", "bps"),
    ("  opportunity", "is_opportunity_bps", "bps"),
    ("  fees", "is_fees_bps", "bps"),
    ("against arrival", "arrival_slippage_bps", "bps"),
    ("against VWAP", "vwap_slippage_bps", "bps"),
    ("against TWAP", "twap_slippage_bps", "bps"),
    ("estimate", "estimate_bps", "bps"),
    ("markout 1 s", "markout_1s_bps", "bps"),
    ("markout 5 s", "markout_5s_bps", "bps"),
    ("markout 30 s", "markout_30s_bps", "bps"),
    ("markout 300 s", "markout_300s_bps", "bps"),
    ("spread capture", "spread_capture", ""),
    ("maker share", "maker_share", "%"),
    ("filled", "fill_ratio", "%"),
    ("participation", "participation", "%"),
    ("schedule error", "schedule_error_mean", "%"),
    ("  at most", "schedule_error_max", "%"),
    ("curve error", "curve_error", "%"),
    ("acknowledged p50", "ack_p50_ms", "ms"),
    ("  p99", "ack_p99_ms", "ms"),
)
"""Words, name and unit of what is shown, in this order: on the page, too."""
FLAGS = {
    "uncalibrated": "the estimate's k is 1: fewer than 30 parents have calibrated it",
    "no_mid": "a mid was not known where one was needed: what depends on it is empty",
    "gap": "the market was not seen all the time: its averages are empty",
    "seam": "the recording's seam lies in it: markouts across it are empty",
    "restart": "the daemon began anew in it: what is measured over the whole time is empty",
    "late_fill": "a fill came behind its end",
    "late_report": "a fill was told long after it happened: its market is not known",
    "revised": "the venue took a trade back or changed it",
    "no_fee_price": "a fee is in an asset without a price here",
    "volume_unknown": "nobody told what traded, or nobody knew at its entry how much would",
    "no_trades": "nobody else has traded in its time",
    "curve_fallback": "no volume curve was known: it went as a TWAP",
    "not_begun": "it ended before it began to work",
    "untracked": "it began under an older program",
    "early": "too many waited for their last mids: it did not",
    "too_many_fills": "it had more fills than markouts are kept for",
    "amended": "its quantity was changed",
    "missed": "so long it could not act though its clock ran",
}


def words_of(flag: str) -> str:
    """Return what a flag says; some have a value behind a colon."""
    return FLAGS.get(flag.partition(":")[0], flag)


def value_of(one: JSON, name: str, unit: str) -> str:
    """Return a figure as people read it; `-` where it is not known."""
    value = one[name]
    if value is None:
        return "-"
    number = float(value)
    if unit == "%":
        return f"{100 * number:.1f} %"
    digits = 1 if unit == "ms" else 2
    return f"{number:.{digits}f} {unit}".rstrip()


def headline(one: JSON) -> str:
    """Return an order in one line."""
    what = f"{one['side']} {one['filled']} of {one['order_qty']} {one['symbol']}"
    price = "" if one["avg_px"] is None else f" at {float(one['avg_px']):.10g}"
    return f"{one['parent_id']}  {what}{price}  {one['algo']}, {one['owner']} on {one['account']}"


def span_of(one: JSON) -> tuple[int, int]:
    """Return from when to when a drawing goes: the order's life, and whatever is drawn of it."""
    lines = one["lines"]
    times = [at_ns for line in lines.values() for at_ns, _ in line]
    times += [at_ns for name in ("arrived_ns", "ended_ns") if (at_ns := one[name]) is not None]
    begin, end = min(times, default=one["created_ns"]), max(times, default=one["at_ns"])
    return begin, max(end, begin + SECOND)
