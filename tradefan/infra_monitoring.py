"""Metrics and alerts of a user's own process; everything that is measured here is `tradefan_user_*`."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, wait
from enum import StrEnum
from typing import Any, TypeVar

from msgspec import Struct
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest, start_http_server
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from tradefan.errors import Refused
from tradefan.metric_registry import USER_METRICS

LOG = logging.getLogger("tradefan.user")
EVERY_S = 5.0
TIMEOUT_S = 2.0


class AlertSeverity(StrEnum):
    """How bad it is."""

    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


_LEVELS = {
    AlertSeverity.WARNING: logging.WARNING,
    AlertSeverity.ERROR: logging.ERROR,
    AlertSeverity.CRITICAL: logging.CRITICAL,
}
_Kind = TypeVar("_Kind", Counter, Gauge)


class Alert(Struct):
    """One business alert: firing while `func` says so; `reason` is why nobody knows, `call` is out."""

    name: str
    func: Callable[[], Any]
    severity: AlertSeverity
    firing: bool = False
    reason: str = ""
    call: Future[bool] | None = None


class MetricsCollector:
    """Counts and values of a user's own."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Make the families, which are there from the start."""
        self._orders = _made(Counter, "user_orders", registry)
        self._pnl = _made(Gauge, "user_pnl", registry)

    def record_order(self, status: str, symbol: str, strategy: str) -> None:
        """Count an order."""
        self._orders.labels(status, symbol, strategy).inc()

    def update_pnl(self, value: float, strategy: str, symbol: str) -> None:
        """Set a result."""
        self._pnl.labels(symbol, strategy).set(value)


class CacheCollector(Collector):
    """How often questions about stored data were answered from memory, read when the page is asked for."""

    def __init__(self, counts: Callable[[], tuple[int, int]]) -> None:
        """`counts` are hits and misses; they begin anew with another store."""
        self._counts = counts

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Give both; the hit rate is hits by their sum."""
        for name, value in zip(("user_cache_hits", "user_cache_misses"), self._counts(), strict=True):
            yield CounterMetricFamily(f"tradefan_{name}", USER_METRICS[name].text, value=value)


class MonitoringSystem:
    """A registry, its page for Prometheus, and alerts that are looked at every few seconds."""

    def __init__(self, cache_counts: Callable[[], tuple[int, int]] = lambda: (0, 0)) -> None:
        """Count from now on; nothing listens before `start`."""
        self.registry = CollectorRegistry()
        self.registry.register(CacheCollector(cache_counts))
        self.metrics_collector = MetricsCollector(self.registry)
        self.alerts: dict[str, Alert] = {}
        self._firing = _made(Gauge, "user_alert", self.registry)
        self._looking = threading.Lock()
        self._server: Any = None
        self._stop: threading.Event | None = None
        self.port = 0

    def start(self, port: int = 0, every_s: float = EVERY_S) -> int:
        """Serve `/metrics` on 127.0.0.1 and look at the alerts; return the port. Once is enough."""
        if self._stop is None:
            self._server, _ = start_http_server(port, "127.0.0.1", self.registry)
            self.port = int(self._server.server_port)
            self._stop = threading.Event()
            threading.Thread(target=self._watch, args=(self._stop, every_s), daemon=True).start()
        return self.port

    def stop(self) -> None:
        """Serve and look no more."""
        if self._stop is not None:
            self._stop.set()
            self._server.shutdown()
            self._server.server_close()
            self._stop = None

    def add_business_alert(self, name: str, func: Callable[[], Any], severity: AlertSeverity) -> None:
        """Fire while `func` returns something true, or while what it awaits does; it may take 2 seconds.

        It is called on a thread, where an `async` function has a loop of its own.

        Raises:
            Refused: BAD_ALERT for a name that is there already.
        """
        if name in self.alerts:
            raise Refused("BAD_ALERT", f"an alert {name!r} is there already")
        self.alerts[name] = Alert(name, func, AlertSeverity(severity))
        self._firing.labels(name).set(0)

    def look(self) -> list[Alert]:
        """Look at every alert now, all at once; return those that fire.

        A `func` that raises or hangs changes nothing. One that hangs is not called again before it is back,
        and what it says then counts at the next look.
        """
        with self._looking:
            alerts = list(self.alerts.values())
            begun = [alert for alert in alerts if alert.call is None]
            for alert in begun:
                alert.call = _called(alert.func)
            wait([alert.call for alert in begun if alert.call is not None], TIMEOUT_S)
            for alert in alerts:
                self._judge(alert)
            return [alert for alert in alerts if alert.firing]

    def _judge(self, alert: Alert) -> None:
        """Take what a call says, and say what changed."""
        firing, reason = alert.firing, f"no answer within {TIMEOUT_S:g} s"
        if alert.call is not None and alert.call.done():
            error = alert.call.exception()
            reason = "" if error is None else f"{type(error).__name__}: {error}"
            firing = alert.call.result() if error is None else firing
            alert.call = None
        if reason and reason != alert.reason:
            LOG.warning("alert %s cannot be looked at: %s", alert.name, reason)
        if firing != alert.firing:
            level = _LEVELS[alert.severity] if firing else logging.INFO
            LOG.log(level, "alert %s %s", alert.name, "fires" if firing else "is over")
        alert.firing, alert.reason = firing, reason
        self._firing.labels(alert.name).set(firing)

    def text(self) -> str:
        """Return the page as Prometheus reads it."""
        return generate_latest(self.registry).decode()

    def _watch(self, stop: threading.Event, every_s: float) -> None:
        while not stop.wait(every_s):
            try:
                self.look()
            except Exception:
                # Such as no more threads on this machine: the alerts of a process are not over with that.
                LOG.exception("the alerts cannot be looked at")


def _made(kind: type[_Kind], name: str, registry: CollectorRegistry) -> _Kind:
    spec = USER_METRICS[name]
    return kind(f"tradefan_{name}", spec.text, spec.labels, registry=registry)


def _called(func: Callable[[], Any]) -> Future[bool]:
    """Begin a call on a thread of its own, on which one that never answers is left behind."""
    call: Future[bool] = Future()

    def run() -> None:
        try:
            found = func()
            call.set_result(bool(asyncio.run(_awaited(found)) if inspect.isawaitable(found) else found))
        except BaseException as raised:  # noqa: BLE001 whatever a user's function raises is told to whoever looks
            call.set_exception(raised)

    threading.Thread(target=run, daemon=True).start()
    return call


async def _awaited(found: Awaitable[Any]) -> Any:  # noqa: ANN401 whatever it returns
    return await found
