"""TradeFan from notebooks and scripts: orders, data, health and metrics of one environment's daemon.

    manager = get_infrastructure_manager()
    await manager.initialize("development")
    request = OrderRequest("BTC/USDT", OrderSide.BUY, OrderType.TWAP, 5.0, twap_duration=300)
    order = await manager.submit_order(request)

`initialize` attaches to the daemon of that environment where one answers; otherwise it starts one that ends
with this process. It is a process of its own, so that a cell that computes for a minute stops no algorithm.
"""

from __future__ import annotations

import asyncio
import atexit
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Any

from tradefan.client import Client, RateLimited, Unanswered, read_token
from tradefan.environment import Environment
from tradefan.errors import Outage, Refused
from tradefan.infra_data import DataInfrastructure
from tradefan.infra_monitoring import AlertSeverity, MonitoringSystem
from tradefan.infra_orders import LOOK_MOST_S, OrderManager, OrderRequest, OrderSide, OrderType
from tradefan.query_commands import make_queries
from tradefan.stores.queries import Queries

__all__ = [
    "AlertSeverity",
    "OrderRequest",
    "OrderSide",
    "OrderType",
    "get_data_infrastructure",
    "get_infrastructure_manager",
    "get_monitoring_system",
    "get_order_manager",
]
READY_S = 60.0
STOP_S = 15.0
LOOK_S = 0.2
"""Between two looks at a daemon that begins: a quarter of the requests that it takes from all by default."""
_BEFORE = 'expected `await get_infrastructure_manager().initialize("ENV")` before'
JSON = dict[str, Any]


class InfrastructureManager:
    """One environment: its files, and its daemon."""

    def __init__(self) -> None:
        """Know nothing before `initialize`."""
        self._environment: Environment | None = None
        self._client: Client | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._queries: Queries | None = None

    async def initialize(
        self, env: str = "development", *, config: Path | None = None, sets: tuple[str, ...] = ()
    ) -> InfrastructureManager:
        """Attach to that environment's daemon as it is, or start one and wait until it is ready for orders.

        Raises:
            ConfigInvalid, Refused: the configuration. Outage: the daemon ended, or was not there in a minute;
                one that was started here is stopped then.
        """
        await self.shutdown()
        self._environment = environment = Environment.load(env, config, sets)
        self._queries = make_queries(environment)
        if environment.places.running() is None and environment.places.holder() is None:
            self._process = _start(environment)
            atexit.register(self._end)
        try:
            await self._until_there(environment)
        except BaseException:
            await self.shutdown()
            raise
        return self

    async def _until_there(self, environment: Environment) -> None:
        """Wait for a daemon of ours until it is ready, for somebody else's until it answers at all.

        That one's data and health are wanted most where it is not well.
        """
        env, process, deadline = environment.name, self._process, time.monotonic() + READY_S
        word, is_there = ("answering", self._answers) if process is None else ("ready", self._is_ready)
        while (pause_s := await _pause_s(is_there, environment)) is not None:
            if process is not None and process.poll() is not None:
                raise Outage(
                    f"the daemon of {env} ended with {process.returncode}; see {environment.places.log}"
                )
            left_s = deadline - time.monotonic()
            if left_s < 0:
                log, text = environment.places.log, f"the daemon of {env} was not {word} in {READY_S:g} s"
                raise Outage(f"{text}: see `tradefan status -e {env}` and {log}")
            await asyncio.sleep(min(pause_s, left_s))

    async def _answers(self, environment: Environment) -> bool:
        return self._found(environment) and "checks" in await self._health()

    async def _is_ready(self, environment: Environment) -> bool:
        return self._found(environment) and bool((await self.get("/ready"))["ready"])

    def _found(self, environment: Environment) -> bool:
        """Talk to whoever runs there, if anybody does."""
        running = environment.places.running()
        if running is not None:
            self._client = Client(running.url, lambda: read_token(environment.places.token))
        return running is not None

    @property
    def attached(self) -> bool:
        """Whether the daemon is somebody else's, and goes on without this process."""
        return self._client is not None and self._process is None

    @property
    def environment(self) -> Environment:
        """The environment; Refused before `initialize`."""
        if self._environment is None:
            raise Refused("NOT_INITIALIZED", _BEFORE)
        return self._environment

    @property
    def queries(self) -> Queries:
        """Who answers about stored data."""
        assert self.environment is not None
        assert self._queries is not None
        return self._queries

    @property
    def cache_counts(self) -> tuple[int, int]:
        """How many questions about stored data were answered from memory, and how many were not."""
        cache = None if self._queries is None else self._queries.cache
        return (0, 0) if cache is None else (cache.hits, cache.misses)

    async def get(self, path: str) -> Any:  # noqa: ANN401 JSON
        """Return what the daemon answers to a GET: `/status`, `/api/v1/orders/ID`."""
        return await self._ask(self._required().get, path)

    async def post(self, path: str, body: JSON) -> Any:  # noqa: ANN401 JSON
        """Return what it answers to a POST."""
        return await self._ask(self._required().post, path, body)

    async def submit_order(self, request: OrderRequest) -> JSON:
        """Submit an order; it is durable when this returns, as the API shows it.

        Raises:
            Refused: with code, and what would pass. Outage: nobody knows what became of it.
        """
        return dict(await self.post("/api/v1/orders", request.body()))

    async def store_market_data(self, symbol: str, timeframe: str, data: Any) -> int:  # noqa: ANN401
        """Store bars of yours (`get_data_infrastructure`)."""
        return await DataInfrastructure(self).store_market_data(symbol, timeframe, data)

    async def health_check(self) -> JSON:
        """Return `/health`, also when something is down: `status` is `ok` or `down`.

        `checks` say of each part how it is; of a daemon that does not answer there are none, but a `reason`.

        Raises:
            RateLimited: it is asked too much, and how it is nobody knows.
        """
        return {"checks": {}, **await self._health()}

    async def _health(self) -> JSON:
        try:
            return dict(await asyncio.to_thread(self._required().get, "/health"))
        except Unanswered as no:
            if isinstance(no.body, dict) and "checks" in no.body:
                return no.body
            if isinstance(refusal := no.refusal(), RateLimited):
                raise refusal from no
            return {"status": "down", "reason": str(no)}

    async def shutdown(self) -> None:
        """End the daemon that was started here, in order; one that was there goes on."""
        self._client = None
        await asyncio.to_thread(self._end)

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.terminate()  # Does nothing to one that has ended.
            try:
                process.communicate(timeout=STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()

    def _required(self) -> Client:
        if self._client is None:
            raise Refused("NOT_INITIALIZED", _BEFORE)
        return self._client

    async def _ask(self, call: Any, *words: Any) -> Any:  # noqa: ANN401
        try:
            return await asyncio.to_thread(call, *words)
        except Unanswered as no:
            raise (no.refusal() or Outage(str(no))) from no


@cache
def get_infrastructure_manager() -> InfrastructureManager:
    """Return this process's manager."""
    return InfrastructureManager()


@cache
def get_data_infrastructure() -> DataInfrastructure:
    """Return who stores and finds data of the manager's environment."""
    return DataInfrastructure(get_infrastructure_manager())


@cache
def get_order_manager() -> OrderManager:
    """Return who places orders with the manager's daemon."""
    return OrderManager(get_infrastructure_manager())


@cache
def get_monitoring_system() -> MonitoringSystem:
    """Return this process's own metrics and alerts."""
    return MonitoringSystem(lambda: get_infrastructure_manager().cache_counts)


async def _pause_s(
    is_there: Callable[[Environment], Awaitable[bool]], environment: Environment
) -> float | None:
    """Look at a daemon; return how long to wait before the next look, None where it is there."""
    try:
        return None if await is_there(environment) else LOOK_S
    except Outage:
        return LOOK_S
    except RateLimited as busy:
        return max(busy.retry_after_s, LOOK_MOST_S)


def _start(environment: Environment) -> subprocess.Popen[bytes]:
    """Start a daemon that stops in order when our end of its input is closed, however we end."""
    words = ["run", "-e", environment.name, "--config", str(environment.folder), "--tied"]
    words += [word for one in (*environment.sets, "logs.console=false") for word in ("--set", one)]
    command = [sys.executable, "-m", "tradefan", *words]
    out = subprocess.DEVNULL
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, stderr=out)  # noqa: S603 our own
