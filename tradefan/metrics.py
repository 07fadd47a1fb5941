"""Prometheus metrics: counters live in actors' states and are read when somebody scrapes.

Names are `tradefan_<noun>_<unit>[_total]`; ids are never labels, because each would be a series for
ever. Children follow from the wiring, so that they exist from the start and while an actor is down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from tradefan import __version__
from tradefan.actors.oms_tca_state import BPS_BUCKETS, CostCounts
from tradefan.contracts import names as registered
from tradefan.drivers.latch import Latch
from tradefan.drivers.watchdog import Watchdog
from tradefan.messages.market import Quality
from tradefan.stores.recorder import RECORDING
from tradefan.telemetry import Logging
from tradefan.units import SECOND
from tradefan.views import DOWN, Views

Rows = Iterable[tuple[tuple[str, ...], Any]]

_LANES = ("control", "facts", "commands", "market")
_FEED_COUNTERS = {
    "trades": "Public trades",
    "deltas": "Changes of the book",
    "bars": "Bars closed",
    "duplicates": "Trades seen before",
    "gaps": "Holes in the ids",
    "resyncs": "Books built anew",
}
_ACCOUNT_GAUGES = {
    "equity": ("equity", "In the numeraire"),
    "drawdown": ("drawdown_ratio", "Share below the peak"),
    "exposure": ("exposure_ratio", "Positions as a share of equity"),
    "concentration": ("concentration_ratio", "Largest position as a share of equity"),
    "fees": ("fees_paid", "In the numeraire, since the account is traded"),
    "seam": ("seam", "Equity booked apart at the seams of a recording"),
}


_COST_HISTOGRAMS = {
    "slippage": ("arrival_slippage_bps", "Of parents against the mid at their arrival, positive is cost"),
    "shortfall": ("shortfall_bps", "Of parents against the mid of their decision, fees included"),
}
_COST_GAUGES = {
    "schedule_error": ("schedule_error_ratio", "Of the newest parent, time average, as a share of it"),
    "maker_share": ("maker_share_ratio", "Of the newest parent"),
    "participation": ("participation_ratio", "Of the newest parent in all that traded meanwhile"),
    "spread_capture": ("spread_capture_ratio", "Of the newest parent, 1 earned half the spread, -1 paid it"),
}
_NO_COSTS = CostCounts()


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
    ) -> None:
        """Remember whom to ask at a scrape."""
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

    def text(self) -> bytes:
        """Return the exposition text."""
        return generate_latest(self._registry)

    def describe(self) -> Iterable[Metric]:
        """Promise nothing: the names are made at each scrape."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Read every view once."""
        yield from self._process()
        yield from self._parts()
        yield from self._feeds()
        yield from self._orders()
        yield from self._costs()
        yield from self._money()
        yield from self._stores()

    def _process(self) -> Iterator[Metric]:
        state, log, watchdog = self._views.kernel.state, self._log, self._watchdog
        build = (((__version__, self._environment), 1),)
        yield _family(GaugeMetricFamily, "build_info", "What runs here", build, ("version", "environment"))
        yield _gauge(
            "uptime_seconds", "Since this daemon began", (self._now_ns() - self._started_ns) / SECOND
        )
        yield _counter("steps", "Steps of the kernel", state.steps)
        yield _counter("messages", "Messages handled by actors", state.messages)
        yield _counter("messages_lost_to_down", "Messages to actors that stayed down", state.lost_to_down)
        yield _gauge("loop_lag_worst_seconds", "Longest delay of the loop's heartbeat", watchdog.worst_lag_s)
        yield _counter("loop_stalls", "Stalls that the watchdog reported", watchdog.stalls)
        broken = watchdog.turns.broken if watchdog.turns else 0
        yield _counter("turns_broken", "Turns of strategies that took too long", broken)
        yield _gauge("latch_closed_scopes", "Scopes in which nothing new is written", len(self._latch.closed))
        yield _counter("log_lines_spared", "Debug lines not written for want of space", log.spared)
        if log.free_bytes is not None:
            yield _gauge("disk_free_bytes", "Where the journal lies", log.free_bytes)
        yield _counter("log_lines_dropped", "Log lines that a full queue pushed out", log.dropped)
        yield _counter("log_lines_lost", "Log lines that the disk refused", log.lost)

    def _parts(self) -> Iterator[Metric]:
        kernel, actor = self._views.kernel, ("actor",)
        parts = self._views.parts()
        yield _gauge(
            "actor_up", "1 while an actor or link runs", {p.name: p.state != DOWN for p in parts}, actor
        )
        yield _counter("actor_restarts", "Of an actor or link", {p.name: p.restarts for p in parts}, actor)
        cells = [cell for cell in kernel.cells if cell is not None]
        yield _counter("actor_turns", "Messages handled", {c.spec.name: c.turns for c in cells}, actor)
        yield _counter("actor_crashes", "Turns that raised", {c.spec.name: c.crashes for c in cells}, actor)
        lanes = kernel.statistics()
        depths = (((name, lane), getattr(one, lane)) for name, one in lanes.items() for lane in _LANES)
        yield _family(GaugeMetricFamily, "lane_depth", "Messages that wait", depths, ("actor", "lane"))
        for word, text in (
            ("refused", "Commands refused"),
            ("conflated", "Quotes replaced"),
            ("dropped", "Quotes dropped"),
        ):
            yield _counter(f"lane_{word}", text, {n: getattr(one, word) for n, one in lanes.items()}, actor)

    def _feeds(self) -> Iterator[Metric]:
        """Give a feed's counters as 0 while its market is down, and its quality as BLIND."""
        now_ns, label = self._now_ns(), ("instrument",)
        known = {feed.instrument: feed for feed in self._views.feeds()}
        feeds = {name: known.get(name) for name in self._views.plan.instruments}
        qualities = {name: feed.quality if feed else Quality.BLIND for name, feed in feeds.items()}
        rows = (((name, str(q)), held is q) for name, held in qualities.items() for q in Quality)
        yield _family(
            GaugeMetricFamily, "feed_quality", "1 for the present one", rows, ("instrument", "status")
        )
        heard = {name: feed.heard_ns for name, feed in known.items() if feed.heard_ns is not None}
        ages = {name: (now_ns - at_ns) / SECOND for name, at_ns in heard.items()}
        yield _gauge("feed_age_seconds", "Since the newest frame", ages, label)
        for word, text in _FEED_COUNTERS.items():
            counts = {name: getattr(feed.counters, word) if feed else 0 for name, feed in feeds.items()}
            yield _counter(f"feed_{word}", text, counts, label)
        venues = {venue: self._views.market(venue) for venue in self._views.plan.venues}
        bad = {venue: sum(view.bad_frames.values()) if view else 0 for venue, view in venues.items()}
        yield _counter("frames_quarantined", "Frames that said nothing usable", bad, ("venue",))

    def _orders(self) -> Iterator[Metric]:
        oms = self._views.oms()
        if oms is None:
            return
        count = oms.counters
        yield _counter("fills", "Fills booked, each once, since the account is traded", oms.fills)
        yield _counter("orders", "Orders sent", count.orders)
        yield _counter("refusals", "Wishes refused", count.refusals)
        yield _gauge("orders_open", "Orders that are not terminal", oms.orders_open)
        yield _gauge("orders_in_doubt", "Orders of unknown outcome", oms.in_doubt)
        yield _gauge("parents_open", "Parents that work", oms.parents_open)
        yield _counter("order_reports_illegal", "Reports that the order table forbids", count.illegal)
        yield _gauge("journal_lsn", "Last record", oms.lsn)
        yield _gauge("journal_durable_lsn", "Last record on the disk", oms.durable_lsn)
        rows = (((p.account, p.owner, p.instrument), p.qty) for p in oms.positions)
        names = ("account", "owner", "instrument")
        yield _family(GaugeMetricFamily, "position_qty", "Signed, in the base asset", rows, names)

    def _costs(self) -> Iterator[Metric]:
        """Give what finally analysed parents have cost; each instrument has its children from the start."""
        oms, names = self._views.oms(), tuple(self._views.plan.instruments)
        counts = {} if oms is None else oms.costs
        rows = {
            (algo, name): counts.get(algo, {}).get(name, _NO_COSTS)
            for algo in {**dict.fromkeys(registered("executor")), **counts}
            for name in names
        }
        for word, (name, text) in _COST_HISTOGRAMS.items():
            family = HistogramMetricFamily(f"tradefan_{name}", text, labels=("algo", "instrument"))
            for children, count in rows.items():
                family.add_metric(children, _buckets(getattr(count, word)), getattr(count, f"{word}_sum"))
            yield family
        for word, (name, text) in _COST_GAUGES.items():
            known = (
                (children, value)
                for children, count in rows.items()
                if (value := getattr(count, word)) is not None
            )
            yield _family(GaugeMetricFamily, name, text, known, ("algo", "instrument"))

    def _money(self) -> Iterator[Metric]:
        risk = self._views.risk()
        for word, (name, text) in _ACCOUNT_GAUGES.items():
            values = {a.account: getattr(a, word) for a in risk.accounts} if risk else {}
            known = {account: value for account, value in values.items() if value is not None}
            yield _gauge(name, text, known, ("account",))

    def _stores(self) -> Iterator[Metric]:
        writer = self._views.writer()
        stored = {"store": writer.stored if writer else 0}
        yield _counter("store_rows", "Rows written", stored, ("store",))
        dropped = {"store": sum(writer.dropped.values()) if writer else 0}
        yield _counter("store_rows_dropped", "Rows lost, the oldest first", dropped, ("store",))
        if self._views.recorder is None:
            return
        recorder = self._views.recorder.view()
        yield _gauge("recorder_up", "1 while steps are recorded for replay", recorder.state == RECORDING)
        yield _counter("recorder_steps", "Steps recorded", recorder.steps)
        yield _counter("recorder_steps_lost", "Steps not recorded", recorder.steps_lost)
        yield _counter("recorder_written_bytes", "Written to segments, compressed", recorder.bytes_out)
        yield _gauge("recorder_queue_bytes", "That wait for the disk", recorder.queue_bytes)


def _buckets(counts: list[int]) -> list[tuple[str, float]]:
    """Return counts by bucket as Prometheus sums them up."""
    bounds = (*map(str, BPS_BUCKETS), "+Inf")
    return list(zip(bounds, accumulate(map(float, counts)), strict=True))


Values = Mapping[Any, Any] | float
"""One value, or one for each child of a family with one label."""


def _gauge(name: str, text: str, values: Values, labels: tuple[str, ...] = ()) -> Metric:
    return _family(GaugeMetricFamily, name, text, _rows(values), labels)


def _counter(name: str, text: str, values: Values, labels: tuple[str, ...] = ()) -> Metric:
    return _family(CounterMetricFamily, name, text, _rows(values), labels)


def _rows(values: Values) -> Rows:
    if isinstance(values, Mapping):
        return [((child,), value) for child, value in values.items()]
    return [((), values)]


def _family(
    make: type[CounterMetricFamily | GaugeMetricFamily],
    name: str,
    text: str,
    rows: Rows,
    labels: tuple[str, ...],
) -> Metric:
    family = make(f"tradefan_{name}", text, labels=labels)
    for children, value in rows:
        family.add_metric(children, float(value))
    return family
