"""Metrics and alerts of a user's own process; everything that is measured here is `tradefan_user_*`."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from enum import StrEnum
from typing import Any

from msgspec import Struct
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest, start_http_server
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from tradefan.errors import Refused

LOG = logging.getLogger("tradefan.user")
EVERY_S = 5.0
TIMEOUT_S = 2.0


class AlertSeverity(StrEnum):
    """How bad it is."""

    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class Alert(Struct):
    """One business alert: firing while `func` says so; `reason` is why nobody knows."""

    name: str
    func: Callable[[], Any]
    severity: AlertSeverity
    firing: bool = False
    reason: str = ""


class MetricsCollector:
    """Counts and values of a user's own."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Make the families, which are there from the start."""
        who = ("status", "instrument", "owner")
        self._orders = Counter(
            "tradefan_user_orders", "Orders, as the user counts them", who, registry=registry
        )
        self._pnl = Gauge("tradefan_user_pnl", "Result, as the user computes it", who[1:], registry=registry)

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
        hits, misses = self._counts()
        yield CounterMetricFamily(
            "tradefan_user_cache_hits", "Questions about stored data answered from memory", value=hits
        )
        yield CounterMetricFamily(
            "tradefan_user_cache_misses", "Questions about stored data that a store was asked", value=misses
        )


class MonitoringSystem:
    """A registry, its page for Prometheus, and alerts that are looked at every few seconds."""

    def __init__(self, cache_counts: Callable[[], tuple[int, int]] = lambda: (0, 0)) -> None:
        """Count from now on; nothing listens before `start`."""
        self.registry = CollectorRegistry()
        self.registry.register(CacheCollector(cache_counts))
        self.metrics_collector = MetricsCollector(self.registry)
        self.alerts: dict[str, Alert] = {}
        self._firing = Gauge("tradefan_user_alert", "1 while it fires", ("reason",), registry=self.registry)
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
        """Fire while `func` returns something true; it is called on a thread, and may take 2 seconds.

        Raises:
            Refused: BAD_ALERT for a name that is there already.
        """
        if name in self.alerts:
            raise Refused("BAD_ALERT", f"an alert {name!r} is there already")
        self.alerts[name] = Alert(name, func, AlertSeverity(severity))
        self._firing.labels(name).set(0)

    def look(self) -> list[Alert]:
        """Look at every alert now; return those that fire. A `func` that raises or hangs changes nothing."""
        return asyncio.run(self._look())

    async def _look(self) -> list[Alert]:
        for alert in self.alerts.values():
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    firing, reason = bool(await _on_thread(alert.func)), ""
            except TimeoutError:
                firing, reason = alert.firing, f"no answer within {TIMEOUT_S:g} s"
            except Exception as error:  # noqa: BLE001 whatever a user's function raises
                firing, reason = alert.firing, f"{type(error).__name__}: {error}"
            if reason and reason != alert.reason:
                LOG.warning("alert %s cannot be looked at: %s", alert.name, reason)
            if firing != alert.firing:
                level = {"critical": logging.CRITICAL, "error": logging.ERROR}.get(
                    alert.severity, logging.WARNING
                )
                LOG.log(
                    level if firing else logging.INFO,
                    "alert %s %s",
                    alert.name,
                    "fires" if firing else "is over",
                )
            alert.firing, alert.reason = firing, reason
            self._firing.labels(alert.name).set(firing)
        return [alert for alert in self.alerts.values() if alert.firing]

    def text(self) -> str:
        """Return the page as Prometheus reads it."""
        return generate_latest(self.registry).decode()

    def _watch(self, stop: threading.Event, every_s: float) -> None:
        while not stop.wait(every_s):
            self.look()


async def _on_thread(func: Callable[[], Any]) -> Any:  # noqa: ANN401 whatever it returns
    """Return what a function says; one that never does is left behind on its thread."""
    loop, done = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()

    def tell(result: Any, error: BaseException | None) -> None:  # noqa: ANN401
        if not done.done():
            done.set_result(result) if error is None else done.set_exception(error)

    def run() -> None:
        result, error = None, None
        try:
            result = func()
        except Exception as raised:  # noqa: BLE001 told to whoever waits
            error = raised
        with suppress(RuntimeError):
            # Nobody waits any more.
            loop.call_soon_threadsafe(tell, result, error)

    threading.Thread(target=run, daemon=True).start()
    return await done
