"""Rows of `/status`: feeds, money, limits, and what is written to files, as names and plain values."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tradefan.actors.market_state import FeedView
from tradefan.actors.oms_progress import Progress
from tradefan.actors.risk_desk_state import AccountRiskView
from tradefan.api.answers import Order, Trigger
from tradefan.config.schema import Config
from tradefan.core.trading_state import ParentState, TriggerState
from tradefan.messages.orders import ParentUpdate, Phase
from tradefan.stores.recorder import RECORDING, RecorderView
from tradefan.units import MS, exact, iso

JSON = dict[str, Any]


def fields_of(struct: Any) -> JSON:  # noqa: ANN401 any Struct
    """Return a Struct as names and values."""
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


def money(value: Decimal | None) -> Decimal | None:
    """Return an amount as people and programs need it: thirty digits of a quotient help nobody."""
    return value if value is None or not value.is_finite() else round(value, 8)


def parent_row(one: ParentUpdate, progress: Progress, parent: ParentState | None) -> JSON:
    """Return a parent (DOMAIN.md, JSON of a parent); `parent` is what memory has of it."""
    order, plan = one.order, None if parent is None else parent.plan
    row = Order(
        parent_id=order.parent_id,
        account=order.account,
        instrument=order.instrument,
        symbol=order.instrument.partition(":")[2],
        owner=order.owner,
        ref=order.ref,
        status=one.status,
        phase=one.phase,
        reason=one.reason,
        side=order.side,
        algo=order.algo,
        order_qty=order.order_qty,
        cum_qty=one.cum_qty,
        leaves_qty=one.leaves_qty,
        working_qty=one.working_qty,
        in_doubt_qty=one.in_doubt_qty,
        avg_px=money(one.avg_px),
        limit_price=order.limit_price,
        created_ns=order.created_ns,
        start_ns=progress.start_ns,
        end_ns=progress.end_ns,
        progress=round(float(one.cum_qty / order.order_qty), 6),
        schedule_error=None if progress.schedule_error is None else round(progress.schedule_error, 6),
        children=one.children,
        trigger=None if parent is None else _trigger(parent.trigger),
        protected_by="daemon" if _protects(one, parent) else None,
        group=None if parent is None else parent.group,
        leg=None if parent is None else parent.leg or None,
        source=None if plan is None else plan.source or None,
        coverage=None if plan is None or plan.coverage is None else round(plan.coverage, 6),
        flags=[] if plan is None else list(plan.flags),
    )
    return {**fields_of(row), "trigger": None if row.trigger is None else fields_of(row.trigger)}


def _protects(one: ParentUpdate, parent: ParentState | None) -> bool:
    paused = parent is not None and parent.trigger is not None and parent.trigger.paused
    return one.phase is Phase.ARMED and one.order.protective and not paused


def _trigger(one: TriggerState | None) -> Trigger | None:
    if one is None:
        return None
    return Trigger(
        level=one.level,
        watermark=one.watermark,
        expires_ns=one.expires_ns,
        armed_ns=one.armed_ns,
        fired_ns=one.fired_ns,
        fired_px=one.fired_px,
        paused=one.paused,
    )


def feed_row(feed: FeedView, now_ns: int) -> JSON:
    """Return one feed."""
    return {
        "instrument": feed.instrument,
        "quality": feed.quality,
        "reason": feed.reason or None,
        "age_ms": None if feed.heard_ns is None else max(0, now_ns - feed.heard_ns) // MS,
        "last": feed.last_price,
        "bid": feed.bid,
        "ask": feed.ask,
        "session": feed.session,
        "counters": fields_of(feed.counters),
    }


def mid(feed: FeedView) -> Decimal | None:
    """Return the middle of bid and ask, None without both."""
    if feed.bid is None or feed.ask is None:
        return None
    return (exact(feed.bid) + exact(feed.ask)) / 2


def equity_row(one: AccountRiskView) -> JSON:
    """Return the worth of an account."""
    return {
        "account": one.account,
        "numeraire": one.numeraire,
        "equity": money(one.equity),
        "realised": money(one.realised),
        "unrealised": money(one.unrealised),
        "fees": money(one.fees),
        "seam": money(one.seam),
        "exposure": money(one.exposure),
        "concentration": money(one.concentration),
        "largest": one.largest,
    }


def today_row(one: AccountRiskView) -> JSON:
    """Net is what equity changed since the day began, without seams; gross is before the day's fees."""
    net = None if one.equity is None or one.day_equity is None else one.equity - one.day_equity
    return {
        "account": one.account,
        "since": None if one.day_start_ns is None else iso(one.day_start_ns),
        "gross": None if net is None else money(net + one.fees_today),
        "fees": money(one.fees_today),
        "net": money(net),
    }


def drawdown_row(one: AccountRiskView, config: Config) -> JSON:
    """Return how far an account has fallen, with the limits."""
    return {
        "account": one.account,
        "value": money(one.drawdown),
        "limit": config.risk.max_drawdown,
        "peak": money(one.peak),
        "daily_loss": money(one.daily_loss),
        "daily_loss_limit": config.risk.max_daily_loss,
    }


def limits_row(one: AccountRiskView) -> JSON:
    """Return what would still pass, and what is exceeded."""
    return {
        "account": one.account,
        "room": None
        if one.room is None
        else {key: money(value) for key, value in fields_of(one.room).items()},
        "breaches": [fields_of(breach) for breach in (*one.breaches, *one.latched)],
    }


def recorder_row(view: RecorderView) -> JSON:
    """Return the flight recorder as one of the stores; `failing` says why it records nothing now."""
    recording = view.state == RECORDING
    state = {"state": "READY" if recording else "DOWN", "failing": None if recording else view.state}
    return {"name": "recorder", **fields_of(view), **state}
