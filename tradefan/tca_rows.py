"""Analyses of costs as names and plain values: one parent, and means over many; for every face."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any

from tradefan.messages.orders import FillUpdate
from tradefan.messages.tca import Costs, TcaUpdate
from tradefan.status_rows import JSON, fields_of, money
from tradefan.units import ZERO, InstrumentId, exact

MEANS = (
    "arrival_slippage_bps",
    "vwap_slippage_bps",
    "twap_slippage_bps",
    "is_bps",
    "is_delay_bps",
    "is_trading_bps",
    "is_opportunity_bps",
    "is_fees_bps",
    "markout_1s_bps",
    "markout_5s_bps",
    "markout_30s_bps",
    "markout_300s_bps",
    "spread_capture",
    "maker_share",
    "fill_ratio",
    "participation",
    "schedule_error_mean",
    "ack_p50_ms",
    "estimate_bps",
)
"""Figures whose mean over parents says something; of the times of acknowledgement it is that of medians."""
_OF_THE_ORDER = (
    "is_bps",
    "is_delay_bps",
    "is_trading_bps",
    "is_opportunity_bps",
    "is_fees_bps",
    "fill_ratio",
    "schedule_error_mean",
    "ack_p50_ms",
    "estimate_bps",
)
SUMMARY = ("state", "fill_ratio", "arrival_slippage_bps", "is_bps", "schedule_error_mean", "maker_share")


def symbol_of(instrument: InstrumentId) -> str:
    """Return the symbol of an instrument as users type it."""
    return instrument.partition(":")[2]


def cost_row(one: TcaUpdate) -> JSON:
    """Return the analysis of one parent, flat, with the names of docs/tca.md."""
    costs = {name: _shown(value) for name, value in fields_of(one.costs).items()}
    return {**_head(one), **costs}


def cost_detail(one: TcaUpdate, fills: Sequence[FillUpdate]) -> JSON:
    """Return it with the lines of a drawing and with its fills."""
    shown = ("trade_id", "side", "qty", "price", "fee", "fee_asset", "liquidity", "event_ns")
    rows = [{name: getattr(fill, name) for name in shown} for fill in fills]
    return {**cost_row(one), "lines": fields_of(one.lines), "fills": rows}


def cost_summary(one: TcaUpdate) -> JSON:
    """Return what a screen shows of it."""
    costs = {name: _shown(getattr(one.costs, name)) for name in SUMMARY}
    return {**_head(one), **costs, "flags": one.costs.flags}


def _head(one: TcaUpdate) -> JSON:
    return {
        "parent_id": one.parent_id,
        "account": one.account,
        "instrument": one.instrument,
        "symbol": symbol_of(one.instrument),
        "owner": one.owner,
        "side": one.side,
        "algo": one.algo,
        "quote": one.quote,
        "created_ns": one.created_ns,
        "at_ns": one.at_ns,
    }


def _shown(value: Any) -> Any:  # noqa: ANN401 whatever a figure is
    if isinstance(value, Decimal):
        return money(value)
    return round(value, 8) if isinstance(value, float) else value


# --- means over parents -------------------------------------------------------------------------------------


def aggregated(rows: Iterable[TcaUpdate]) -> JSON:
    """Return means by algorithm, by instrument and by venue, weighted by quantity.

    A row is never over more than one base and quote asset: quantities of two have no sum. A figure's mean is
    over the parents that have begun and know it, and None where none does; `n` counts all of them.
    """
    known = list(rows)
    return {
        "algo": _by(known, lambda one: one.algo),
        "instrument": _by(known, lambda one: one.instrument),
        "venue": _by(known, lambda one: one.account.partition(":")[0]),
    }


def _by(rows: Sequence[TcaUpdate], key: Callable[[TcaUpdate], str]) -> list[JSON]:
    groups: dict[tuple[str, str, str], list[TcaUpdate]] = {}
    for one in rows:
        base = symbol_of(one.instrument).partition("/")[0]
        groups.setdefault((key(one), base, one.quote), []).append(one)
    return [_group(*names, groups[names]) for names in sorted(groups)]


def _group(name: str, base: str, quote: str, rows: Sequence[TcaUpdate]) -> JSON:
    costs = [one.costs for one in rows]
    fees = [one.fees for one in costs]
    return {
        "name": name,
        "base": base,
        "quote": quote,
        "n": len(rows),
        "final": sum(one.state == "final" for one in costs),
        "filled": sum((one.filled for one in costs), ZERO),
        "fees": None if None in fees else money(sum((fee for fee in fees if fee is not None), ZERO)),
        **{figure: _mean(costs, figure) for figure in MEANS},
    }


def _mean(costs: Sequence[Costs], figure: str) -> Decimal | None:
    """Return a mean weighted by what the figure is about: what was ordered, or what was filled of it."""
    of_order = figure in _OF_THE_ORDER
    known = [
        (one.order_qty if of_order else one.filled, value if isinstance(value, Decimal) else exact(value))
        for one in costs
        if one.begun and (value := getattr(one, figure)) is not None
    ]
    weight = sum((qty for qty, _ in known), ZERO)
    return money(sum((qty * value for qty, value in known), ZERO) / weight) if weight else None
