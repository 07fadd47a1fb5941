"""Prometheus metrics: counters live in actors' states and are read when somebody scrapes.

Names are `tradefan_<noun>_<unit>[_total]`; ids are never labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from tradefan import __version__
from tradefan.drivers.watchdog import Watchdog
from tradefan.messages.market import Quality
from tradefan.telemetry import Logging
from tradefan.units import SECOND
from tradefan.views import Views

Samples = Iterable[tuple[tuple[str, ...], Any]]

_QUALITIES = tuple(Quality)


class Metrics(Collector):
    """All metrics of one daemon."""

    def __init__(
        self, views: Views, watchdog: Watchdog, log: Logging, environment: str, now_ns: Callable[[], int]
    ) -> None:
        self._views = views
        self._watchdog = watchdog
        self._log = log
        self._environment = environment
        self._now_ns = now_ns
        self._started_ns = now_ns()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
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
        yield from self._actors()
        yield from self._feeds()
        yield from self._orders()
        yield from self._money()
        yield from self._stores()

    def _process(self) -> Iterator[Metric]:
        state = self._views.kernel.state
        labels = ("version", "environment")
        build = GaugeMetricFamily(
            "tradefan_build_info", "Version and environment of this daemon", labels=labels
        )
        build.add_metric([__version__, self._environment], 1)
        yield build
        yield _gauge(
            "uptime_seconds", "Since this daemon began", (((), (self._now_ns() - self._started_ns) / SECOND),)
        )
        yield _counter("steps", "Steps of the kernel", (((), state.steps),))
        yield _counter("messages", "Messages handled by actors", (((), state.messages),))
        yield _counter(
            "messages_lost_to_down", "Messages to actors that stayed down", (((), state.lost_to_down),)
        )
        yield _gauge(
            "loop_lag_worst_seconds",
            "Longest delay of the loop's heartbeat",
            (((), self._watchdog.worst_lag_s),),
        )
        yield _counter("loop_stalls", "Stalls that the watchdog reported", (((), self._watchdog.stalls),))
        yield _counter(
            "log_lines_dropped", "Log lines that the writer could not keep", (((), self._log.dropped),)
        )

    def _actors(self) -> Iterator[Metric]:
        kernel = self._views.kernel
        cells = [cell for cell in kernel.cells if cell is not None]
        actor = ("actor",)
        yield _gauge(
            "actor_up",
            "1 while the actor runs",
            (((c.spec.name,), c.actor is not None) for c in cells),
            actor,
        )
        yield _counter("actor_turns", "Messages handled", (((c.spec.name,), c.turns) for c in cells), actor)
        yield _counter(
            "actor_crashes", "Turns that raised", (((c.spec.name,), c.crashes) for c in cells), actor
        )
        restarts = kernel.life.tree
        yield _counter(
            "actor_restarts",
            "Restarts",
            (((c.spec.name,), restarts.child(c.spec.name).restarts) for c in cells),
            actor,
        )
        lanes = kernel.statistics()
        rows = [
            (name, lane, getattr(one, lane))
            for name, one in lanes.items()
            for lane in ("control", "facts", "commands", "market")
        ]
        yield _gauge(
            "lane_depth",
            "Messages that wait",
            (((name, lane), depth) for name, lane, depth in rows),
            ("actor", "lane"),
        )
        for word, text in (
            ("refused", "Commands refused"),
            ("conflated", "Quotes replaced"),
            ("dropped", "Quotes dropped"),
        ):
            yield _counter(
                f"lane_{word}", text, (((name,), getattr(one, word)) for name, one in lanes.items()), actor
            )

    def _feeds(self) -> Iterator[Metric]:
        feeds, now_ns = self._views.feeds(), self._now_ns()
        label = ("instrument",)
        ages = [((f.instrument,), (now_ns - f.heard_ns) / SECOND) for f in feeds if f.heard_ns is not None]
        yield _gauge("feed_age_seconds", "Since the newest frame", ages, label)
        states = [((f.instrument, str(q)), f.quality is q) for f in feeds for q in _QUALITIES]
        yield _gauge("feed_quality", "1 for the quality that holds", states, ("instrument", "status"))
        for word, text in (
            ("trades", "Public trades"),
            ("deltas", "Changes of the book"),
            ("bars", "Bars closed"),
            ("duplicates", "Trades seen before"),
            ("gaps", "Holes in the ids"),
            ("resyncs", "Books built anew"),
        ):
            yield _counter(
                f"feed_{word}", text, (((f.instrument,), getattr(f.counters, word)) for f in feeds), label
            )
        markets = [(venue, self._views.market(venue)) for venue in self._views.plan.venues]
        bad = [((venue,), sum(view.bad_frames.values())) for venue, view in markets if view is not None]
        yield _counter("frames_quarantined", "Frames that said nothing usable", bad, ("venue",))

    def _orders(self) -> Iterator[Metric]:
        oms = self._views.oms()
        if oms is None:
            return
        yield _counter("fills", "Fills booked, each once", (((), oms.fills),))
        yield _counter("orders", "Orders sent", (((), oms.counters.orders),))
        yield _counter("refusals", "Wishes refused", (((), oms.counters.refusals),))
        yield _gauge("orders_open", "Orders that are not terminal", (((), oms.orders_open),))
        yield _gauge("orders_in_doubt", "Orders of unknown outcome", (((), oms.in_doubt),))
        yield _gauge("parents_open", "Parents that work", (((), oms.parents_open),))
        yield _counter(
            "order_reports_illegal", "Reports that the order table forbids", (((), oms.counters.illegal),)
        )
        yield _gauge("journal_lsn", "Last record", (((), oms.lsn),))
        yield _gauge("journal_durable_lsn", "Last record on the disk", (((), oms.durable_lsn),))
        rows = [((p.account, p.owner, p.instrument), p.qty) for p in oms.positions]
        yield _gauge("position_qty", "Signed, in the base asset", rows, ("account", "owner", "instrument"))

    def _money(self) -> Iterator[Metric]:
        risk = self._views.risk()
        if risk is None:
            return
        for word, text in (
            ("equity", "In the numeraire"),
            ("drawdown", "Share below the peak"),
            ("exposure", "Positions as a share of equity"),
            ("concentration", "Largest position as a share of equity"),
            ("seam", "Booked apart at the seams of a recording"),
        ):
            rows = [((a.account,), value) for a in risk.accounts if (value := getattr(a, word)) is not None]
            name = word if word in ("equity", "seam") else f"{word}_ratio"
            yield _gauge(name, text, rows, ("account",))

    def _stores(self) -> Iterator[Metric]:
        writer = self._views.writer()
        if writer is None:
            return
        yield _counter("store_rows", "Rows written", (((("store",)), writer.stored),), ("store",))
        yield _counter(
            "store_rows_dropped",
            "Rows lost, oldest first",
            ((("store",), sum(writer.dropped.values())),),
            ("store",),
        )


def _gauge(name: str, text: str, rows: Samples, labels: tuple[str, ...] = ()) -> Metric:
    family = GaugeMetricFamily(f"tradefan_{name}", text, labels=labels)
    for values, value in rows:
        family.add_metric(values, float(value))
    return family


def _counter(name: str, text: str, rows: Samples, labels: tuple[str, ...] = ()) -> Metric:
    family = CounterMetricFamily(f"tradefan_{name}", text, labels=labels)
    for values, value in rows:
        family.add_metric(values, float(value))
    return family
