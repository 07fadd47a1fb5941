"""Prometheus metrics: counters live in actors' states and are read when somebody scrapes.

Names and labels are those of the registry. Children follow from the wiring, so that they exist from the
start and while an actor is down.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from tradefan import __version__
from tradefan.actors.data_writer import OWN
from tradefan.actors.oms_tca_state import ACK_BUCKETS_NS, BPS_BUCKETS, AckCounts, CostCounts
from tradefan.contracts import names as registered
from tradefan.drivers.latch import Latch
from tradefan.drivers.watchdog import LAG_BUCKETS_S, Watchdog
from tradefan.host import read_host
from tradefan.messages.account import MODES
from tradefan.messages.market import Quality
from tradefan.messages.orders import OrderStatus
from tradefan.metric_registry import METRICS
from tradefan.stores.recorder import RECORDING
from tradefan.stores.schema import MEASUREMENTS
from tradefan.telemetry import Logging
from tradefan.units import SECOND
from tradefan.views import DOWN, Views
from tradefan.wiring import INFLUX, REDIS, notifier_port

Rows = Iterable[tuple[tuple[str, ...], Any]]

_LANES = ("control", "facts", "commands", "market")
_FEED_COUNTERS = ("trades", "deltas", "bars", "duplicates", "gaps", "resyncs")
_ACCOUNT_GAUGES = {
    "equity": "equity",
    "day_equity": "day_equity",
    "realised": "realised",
    "unrealised": "unrealised",
    "fees": "fees_paid",
    "seam": "seam",
    "drawdown": "drawdown_ratio",
    "daily_loss": "daily_loss_ratio",
    "exposure": "exposure_ratio",
    "concentration": "concentration_ratio",
}
_LIMITS = ("drawdown", "daily_loss", "exposure", "concentration")
"""As the desk's limits and an account's figures call them; their keys begin with `max_`."""
REASONS = (
    "RISK_LATCHED",
    "RISK_REDUCE_ONLY",
    "RISK_MAX_ORDER_QTY",
    "RISK_MAX_NOTIONAL",
    "RISK_PRICE_BAND",
    "RISK_MAX_POSITION",
    "RISK_MAX_POSITION_NOTIONAL",
    "RISK_ORDER_RATE",
    "INSUFFICIENT_FUNDS",
)
"""Codes of our risk rules: a rate over the first refusal needs the zero before it. Others follow."""
_COST_HISTOGRAMS = {"slippage": "arrival_slippage_bps", "shortfall": "shortfall_bps"}
_COST_GAUGES = {
    "schedule_error": "schedule_error_ratio",
    "maker_share": "maker_share_ratio",
    "participation": "participation_ratio",
    "spread_capture": "spread_capture_ratio",
}
_NO_COSTS = CostCounts()
_NO_ACKS = AckCounts()
_ACK_BUCKETS = tuple(bound / SECOND for bound in ACK_BUCKETS_NS)
_REQUESTS = {"create": "creates", "replace": "replaces", "cancel": "cancels", "query": "queries"}
_FAILURES = {
    "rejected": "rejected",
    "not_sent": "not_sent",
    "in_doubt": "in_doubt",
    "timeout": "timeouts",
    "rate_limit": "rate_limits",
    "garbage": "garbage",
}
"""By their word in the metric, as a gateway counts them."""


class Metrics(Collector):
    """All metrics of one daemon."""

    def __init__(
        self,
        views: Views,
        watchdog: Watchdog,
        log: Logging,
        environment: str,
        now_ns: Callable[[], int],
        latch: Latch,
        config_version: Callable[[], int] = lambda: 0,
        notices: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        """Remember whom to ask at a scrape."""
        self._config_version = config_version
        self._notices = notices
        self._latch = latch
        self._views = views
        self._watchdog = watchdog
        self._log = log
        self._environment = environment
        self._now_ns = now_ns
        self._started_ns = now_ns()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def text(self) -> bytes:
        """Return the exposition text."""
        return generate_latest(self._registry)

    def describe(self) -> Iterable[Metric]:
        """Promise nothing: the names are made at each scrape."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Read every view once."""
        yield from self._process()
        yield from self._configuration()
        yield from self._host()
        yield from self._parts()
        yield from self._feeds()
        yield from self._orders()
        yield from self._accounts()
        yield from self._costs()
        yield from self._money()
        yield from self._stores()

    def _process(self) -> Iterator[Metric]:
        state, log, watchdog = self._views.kernel.state, self._log, self._watchdog
        now_ns = self._now_ns()
        yield _family("build_info", (((__version__, self._environment), 1),))
        yield _one("ready", not self._views.waiting())
        yield _one("uptime_seconds", (now_ns - self._started_ns) / SECOND)
        yield _one("clock_offset_seconds", (time.time_ns() - now_ns) / SECOND)
        yield _one("steps", state.steps)
        yield _one("messages", state.messages)
        yield _one("messages_lost_to_down", state.lost_to_down)
        yield _one("loop_lag_seconds", watchdog.lag_s)
        counted = [((), watchdog.lags, watchdog.lag_sum_s)]
        yield _histogram("loop_delay_seconds", LAG_BUCKETS_S, counted)
        yield _one("loop_lag_worst_seconds", watchdog.worst_lag_s)
        yield _one("loop_stalls", watchdog.stalls)
        yield _one("turns_broken", watchdog.turns.broken if watchdog.turns else 0)
        yield _one("latch_closed_scopes", len(self._latch.closed))
        yield _one("log_lines_spared", log.spared)
        yield _one("log_lines_dropped", log.dropped)
        yield _one("log_lines_lost", log.lost)
        if log.free_bytes is not None:
            yield _one("disk_free_bytes", log.free_bytes)

    def _configuration(self) -> Iterator[Metric]:
        seen = self._views.configurator()
        yield _one("config_version", self._config_version())
        yield _one("config_swaps", seen.swaps if seen else 0)
        yield _one("config_refused", seen.refused if seen else 0)

    def _host(self) -> Iterator[Metric]:
        for name, values in read_host().items():
            yield _one(name, values if METRICS[name].labels else values[""])

    def _parts(self) -> Iterator[Metric]:
        kernel, parts = self._views.kernel, self._views.parts()
        yield _one("actor_up", {p.name: p.state != DOWN for p in parts})
        yield _one("actor_restarts", {p.name: p.restarts for p in parts})
        cells = [cell for cell in kernel.cells if cell is not None]
        yield _one("actor_turns", {c.spec.name: c.turns for c in cells})
        yield _one("actor_crashes", {c.spec.name: c.crashes for c in cells})
        lanes = kernel.statistics()
        depths = (((name, lane), getattr(one, lane)) for name, one in lanes.items() for lane in _LANES)
        yield _family("lane_depth", depths)
        for word in ("refused", "conflated", "dropped"):
            yield _one(f"lane_{word}", {name: getattr(one, word) for name, one in lanes.items()})

    def _feeds(self) -> Iterator[Metric]:
        """Give a feed's counters as 0 while its market is down, and its quality as BLIND."""
        now_ns = self._now_ns()
        known = {feed.instrument: feed for feed in self._views.feeds()}
        feeds = {name: known.get(name) for name in self._views.plan.instruments}
        qualities = {name: feed.quality if feed else Quality.BLIND for name, feed in feeds.items()}
        rows = (((name, str(q)), held is q) for name, held in qualities.items() for q in Quality)
        yield _family("feed_quality", rows)
        heard = {name: feed.heard_ns for name, feed in known.items() if feed.heard_ns is not None}
        yield _one("feed_age_seconds", {name: (now_ns - at_ns) / SECOND for name, at_ns in heard.items()})
        for word in _FEED_COUNTERS:
            counts = {name: getattr(feed.counters, word) if feed else 0 for name, feed in feeds.items()}
            yield _one(f"feed_{word}", counts)
        venues = {venue: self._views.market(venue) for venue in self._views.plan.venues}
        bad = {venue: sum(view.bad_frames.values()) if view else 0 for venue, view in venues.items()}
        yield _one("frames_quarantined", bad)

    def _orders(self) -> Iterator[Metric]:
        oms, trading = self._views.oms(), self._views.trading()
        if oms is None or trading is None:
            return
        count = oms.counters
        yield _one("fills", oms.fills)
        yield _one("orders", count.orders)
        yield _one("refusals", dict.fromkeys(REASONS, 0) | count.reasons)
        yield _one("orders_open", oms.orders_open)
        live = Counter(str(trading.orders[name].status) for name in trading.orders_live)
        yield _one("orders_live", {str(status): live[str(status)] for status in OrderStatus})
        yield _one("orders_in_doubt", oms.in_doubt)
        yield _one("orders_not_placed", count.not_placed)
        yield _one("order_reports_illegal", count.illegal)
        yield _one("overfills", count.overfills)
        yield _one("parents_open", oms.parents_open)
        working = Counter(trading.parents[name].order.algo for name in trading.parents_open)
        algos = dict.fromkeys((*registered("executor"), *registered("trigger"), *working))
        yield _one("parents_at_work", {algo: working[algo] for algo in algos})
        yield _one("parents_failed", count.failed_parents)
        yield _one("journal_lsn", oms.lsn)
        yield _one("journal_durable_lsn", oms.durable_lsn)
        yield _one("mode", {mode: oms.mode.mode == mode for mode in MODES})
        rows = (((p.account, p.owner, p.instrument), p.qty) for p in oms.positions)
        yield _family("position_qty", rows)

    def _accounts(self) -> Iterator[Metric]:
        """Give what each account has asked of its venue; as 0 while its gateway is down."""
        oms, names = self._views.oms(), self._views.plan.accounts
        acks = {} if oms is None else oms.acks
        found = {(name,): acks.get(name, _NO_ACKS) for name in names}
        rows = ((children, one.buckets, one.sum_ns / SECOND) for children, one in found.items())
        yield _histogram("order_ack_seconds", _ACK_BUCKETS, rows)
        views = {name: self._views.gateway(name) for name in names}
        for metric, words in (("venue_requests", _REQUESTS), ("venue_failures", _FAILURES)):
            counts = (
                ((name, word), getattr(view.counters, field) if view else 0)
                for name, view in views.items()
                for word, field in words.items()
            )
            yield _family(metric, counts)

    def _costs(self) -> Iterator[Metric]:
        """Give what finally analysed parents have cost, as 0 where the first of its kind is followed.

        All kinds for all instruments would be thousands of samples that nobody has asked for.
        """
        oms, trading = self._views.oms(), self._views.trading()
        followed = () if trading is None else (trading.parents.get(name) for name in trading.tracks)
        rows = {(one.order.algo, str(one.order.instrument)): _NO_COSTS for one in followed if one}
        for algo, by_instrument in ({} if oms is None else oms.costs).items():
            rows |= {(algo, str(name)): count for name, count in by_instrument.items()}
        for word, name in _COST_HISTOGRAMS.items():
            counted = (
                (children, getattr(count, word), getattr(count, f"{word}_sum"))
                for children, count in rows.items()
            )
            yield _histogram(name, BPS_BUCKETS, counted)
        for word, name in _COST_GAUGES.items():
            known = (
                (children, value)
                for children, count in rows.items()
                if (value := getattr(count, word)) is not None
            )
            yield _family(name, known)

    def _money(self) -> Iterator[Metric]:
        risk, oms = self._views.risk(), self._views.oms()
        accounts = risk.accounts if risk else ()
        for word, name in _ACCOUNT_GAUGES.items():
            values = {one.account: getattr(one, word) for one in accounts}
            yield _one(name, {account: value for account, value in values.items() if value is not None})
        limits = None if risk is None else risk.limits
        used = (
            ((one.account, f"max_{word}"), value / limit)
            for one in accounts
            for word in _LIMITS
            if limits is not None
            and (value := getattr(one, word)) is not None
            and (limit := getattr(limits, word))
        )
        placed = (
            ((account, limit), value)
            for account, use in self._views.position_use().items()
            for limit, value in use._asdict().items()
        )
        yield _family("limit_used_ratio", (*used, *placed))
        yield _one("books_differ", len(risk.differences) if risk else 0)
        marks = {(one.account, mark.instrument): mark.mark for one in accounts for mark in one.marks}
        worth = (
            ((p.account, p.owner, p.instrument), p.qty * mark)
            for p in (oms.positions if oms else ())
            if (mark := marks.get((p.account, p.instrument))) is not None
        )
        yield _family("position_value", worth)

    def _stores(self) -> Iterator[Metric]:
        writer = self._views.writer()
        yield _one("store_rows", {"store": writer.stored if writer else 0})
        yield _one("store_rows_waiting", {"store": writer.waiting if writer else 0})
        yield _one("store_rows_dropped", {"store": sum(writer.dropped.values()) if writer else 0})
        yield from self._points(INFLUX)
        yield from self._points(REDIS)
        counts = self._notices()
        for word in ("sent", "held", "lost") if counts else ():
            yield _one(f"notices_{word}", {notifier_port(n): getattr(one, word) for n, one in counts.items()})
        if self._views.recorder is None:
            return
        recorder = self._views.recorder.view()
        yield _one("recorder_up", recorder.state == RECORDING)
        yield _one("recorder_steps", recorder.steps)
        yield _one("recorder_steps_lost", recorder.steps_lost)
        yield _one("recorder_written_bytes", recorder.bytes_out)
        yield _one("recorder_queue_bytes", recorder.queue_bytes)

    def _points(self, port: str) -> Iterator[Metric]:
        """Give what became of points by measurement, where such a server is configured."""
        writer = self._views.points(port)
        if writer is None:
            return
        yield _one(f"{port}_up", writer.linked and not writer.failing)
        yield _one(f"{port}_points_waiting", writer.waiting)
        yield _one(f"{port}_points_written", writer.written)
        for word in ("dropped", "aside"):
            counts = getattr(writer, word)
            named = {table.name: counts[kind.__name__] for kind, table in MEASUREMENTS.items()}
            yield _one(f"{port}_points_{word}", named)
        if port == INFLUX:
            left = {MEASUREMENTS[kind].name: writer.left[kind.__name__] for kind in OWN}
            yield _one(f"{port}_points_left", left)
            yield _one(f"{port}_behind", writer.behind)


_FAMILIES: dict[str, type[CounterMetricFamily | GaugeMetricFamily]] = {
    "gauge": GaugeMetricFamily,
    "counter": CounterMetricFamily,
}


def _one(name: str, values: Mapping[Any, Any] | Any) -> Metric:  # noqa: ANN401 whatever a float is made of
    """Return a family of one value, or of one for each child of its only label."""
    if isinstance(values, Mapping):
        return _family(name, [((child,), value) for child, value in values.items()])
    return _family(name, [((), values)])


def _histogram(
    name: str, bounds: Sequence[float], rows: Iterable[tuple[tuple[str, ...], list[int], float]]
) -> Metric:
    """Return a family of children, counts by bucket and sums; Prometheus has its counts summed up."""
    spec = METRICS[name]
    family = HistogramMetricFamily(f"tradefan_{name}", spec.text, labels=spec.labels)
    texts = (*map(str, bounds), "+Inf")
    for children, counts, total in rows:
        family.add_metric(children, list(zip(texts, accumulate(map(float, counts)), strict=True)), total)
    return family


def _family(name: str, rows: Rows) -> Metric:
    spec = METRICS[name]
    family = _FAMILIES[spec.kind](f"tradefan_{name}", spec.text, labels=spec.labels)
    for children, value in rows:
        family.add_metric(children, float(value))
    return family
