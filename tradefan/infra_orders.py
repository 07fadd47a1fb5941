"""Orders of `tradefan.infra`: requests in a user's words, and the calls that carry them to a daemon."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from numbers import Real
from typing import Any, Protocol

from tradefan.client import RateLimited
from tradefan.errors import Refused
from tradefan.units import plain

LOOK_S = 0.1
LOOK_MOST_S = 1.0
"""Between two looks at an order: at first, and of one that takes its time."""
JSON = dict[str, Any]
Number = Decimal | str | float


class OrderSide(StrEnum):
    """Which way."""

    BUY = "buy"
    SELL = "sell"


class OrderType(StrEnum):
    """Which algorithm; others by their name (`tradefan order submit --help`)."""

    MARKET = "market"
    LIMIT = "limit"
    TWAP = "twap"
    VWAP = "vwap"
    ICEBERG = "iceberg"
    POV = "pov"


@dataclass(frozen=True)
class OrderRequest:
    """An order; floats, NumPy's too, mean what they print. `settings` are the algorithm's.

    `twap_duration` is in seconds, and counts to the millisecond.

    With a `ref` of your own the same request never orders twice.
    """

    symbol: str
    side: OrderSide | str
    order_type: OrderType | str = OrderType.MARKET
    quantity: Number | None = None
    limit_price: Number | None = None
    twap_duration: float | None = None
    ref: str | None = None
    reason: str = ""
    reduce_only: bool = False
    settings: JSON = field(default_factory=dict)

    def body(self) -> JSON:
        """Return it as `POST /api/v1/orders` takes it."""
        settings = dict(self.settings)
        if self.twap_duration is not None:
            settings["duration"] = _duration(self.twap_duration)
        numbers = {"quantity": self.quantity, "limit_price": self.limit_price}
        body: JSON = {name: _text(value) for name, value in numbers.items() if value is not None}
        body |= {"symbol": self.symbol, "side": str(self.side), "algo": str(self.order_type)}
        body |= {"settings": settings, "reason": self.reason, "reduce_only": self.reduce_only}
        return body if self.ref is None else {**body, "ref": self.ref}


class Manager(Protocol):
    """Who talks to a daemon."""

    async def get(self, path: str) -> Any:  # noqa: ANN401 JSON
        """Return what it answers to a GET."""

    async def post(self, path: str, body: JSON) -> Any:  # noqa: ANN401 JSON
        """Return what it answers to a POST."""

    async def submit_order(self, request: OrderRequest) -> JSON:
        """Submit an order."""
        ...


class OrderManager:
    """Orders of the manager's daemon."""

    def __init__(self, manager: Manager) -> None:
        """Work through the manager."""
        self._manager = manager

    async def submit_order(self, request: OrderRequest) -> JSON:
        """Submit an order (`InfrastructureManager.submit_order`)."""
        return await self._manager.submit_order(request)

    async def get_order(self, parent_id: str) -> JSON:
        """Return an order as it is now, with its children."""
        return dict(await self._manager.get(f"/api/v1/orders/{parent_id}"))

    async def cancel_order(self, parent_id: str) -> JSON:
        """Ask for its end; the venue's word ends it."""
        return dict(await self._manager.post(f"/api/v1/orders/{parent_id}/cancel", {}))

    async def wait(self, parent_id: str, timeout_s: float | None = None) -> JSON:
        """Return an order when it has ended; TimeoutError where it has not within the time.

        Looks less and less often, and leaves a daemon that says it is asked too much alone for as long as
        it wants: cancels and amends come through the same door.
        """
        pause_s = LOOK_S
        async with asyncio.timeout(timeout_s):
            while True:
                try:
                    order = await self.get_order(parent_id)
                except RateLimited as busy:
                    pause_s = LOOK_MOST_S
                    await asyncio.sleep(max(busy.retry_after_s, pause_s))
                    continue
                if order["phase"] == "DONE":
                    return order
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 1.5, LOOK_MOST_S)


def _text(value: object) -> str:
    """Return a number as it prints: NumPy's print their shortest decimal, too, but not as their `repr`."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return str(value)
    return plain(Decimal(str(value)))


def _duration(seconds: float) -> str:
    if not math.isfinite(seconds):
        raise Refused("BAD_DURATION", f"twap_duration: expected seconds, got {seconds}")
    return f"{round(float(seconds) * 1000)}ms"
