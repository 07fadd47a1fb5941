"""Orders from Python, in the process of a running daemon: a handle to each, as the API would give it.

handle = await daemon.submit_order("BTC/USDT", "buy", "5", algo="twap", duration="5m")
order = await handle.wait()
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal, InvalidOperation
from typing import Any, Protocol, TypeAlias

from msgspec.structs import replace

from tradefan.api.asking import ANSWER_TIMEOUT_S, Asker
from tradefan.api.bodies import OrderBody, convert
from tradefan.api.guard import Problem
from tradefan.errors import Outage, Refused
from tradefan.messages.orders import Answer, Asked, CancelParent, Refusal, SubmitOrder
from tradefan.units import AccountId, InstrumentId, OwnerId, ParentId, Side, exact, require_number

LOOK_S = 0.05
"""How often a handle looks whether its order has ended."""
OWNER = OwnerId("api")
PRINCIPAL = "api python"
ORDER_WORDS = ("notional", "algo", "limit_price", "account", "ref", "reason", "reduce_only")
"""What says something of an order whatever its algorithm is."""
JSON = dict[str, Any]
Number: TypeAlias = Decimal | str | float


class Orders(Protocol):
    """What handles ask of the daemon's pictures."""

    def resolve(self, symbol: str, account: str | None) -> tuple[AccountId, InstrumentId]:
        """Return the account and instrument that words name, or raise Refused."""
        ...

    def order(self, parent_id: str) -> JSON | None:
        """Return one parent with its children, None when memory does not hold it."""
        ...

    def tca(self, parent_id: str) -> Callable[[], JSON | None]:
        """Return who looks up what a parent cost; to be called by another thread: the disk is slow."""
        ...


class OrderHandle:
    """One parent order; `id` is its parent id."""

    def __init__(self, desk: OrderDesk, parent_id: ParentId) -> None:
        """Keep where to ask."""
        self._desk = desk
        self.id = parent_id

    @property
    def status(self) -> str:
        """Its FIX status now."""
        return str(self.order()["status"])

    def order(self) -> JSON:
        """Return it as `GET /api/v1/orders/{id}` shows it.

        Raises:
            Outage: it has ended and left memory, or the order manager is down.
        """
        found = self._desk.pictures.order(self.id)
        if found is None:
            raise Outage(f"{self.id} is not in memory: it has left, or the order manager is down")
        return found

    async def wait(self, timeout_s: float | None = None) -> JSON:
        """Return it when it has ended.

        Raises:
            TimeoutError: it had not within `timeout_s`.
            Outage: the daemon has stopped before it had.
        """
        async with asyncio.timeout(timeout_s):
            while (order := self.order())["phase"] != "DONE":
                if self._desk.stopped():
                    raise Outage(f"the daemon has stopped, {self.id} is {order['status']}")
                await asyncio.sleep(LOOK_S)
        return order

    async def tca(self) -> JSON | None:
        """Return what it cost, as `GET /api/v1/orders/{id}/tca` shows it; None where nobody knows it.

        Raises:
            Outage: the store cannot be read.
        """
        return await asyncio.to_thread(self._desk.pictures.tca(self.id))

    async def cancel(self) -> None:
        """Cancel it; the venue's word ends it, so `wait` for that.

        Raises:
            Refused, Outage: as `OrderDesk.submit`.
        """
        await self._desk.ask(CancelParent(OWNER, self.id))


class OrderDesk:
    """Takes orders of Python code that runs in the daemon's event loop."""

    def __init__(self, asker: Asker, pictures: Orders, stopped: Callable[[], bool]) -> None:
        """`stopped` says whether the daemon has come to its end."""
        self._asker = asker
        self.pictures = pictures
        self.stopped = stopped

    async def submit(
        self,
        symbol: str,
        side: Side,
        quantity: Number | None = None,
        *,
        notional: Number | None = None,
        algo: str = "market",
        limit_price: Number | None = None,
        account: str | None = None,
        ref: str | None = None,
        reason: str = "",
        reduce_only: bool = False,
        settings: JSON | None = None,
    ) -> OrderHandle:
        """Submit an order; it is durable when this returns. The same `ref` never orders twice.

        It has a quantity, or a notional in the quote asset. Words are held against the body of the HTTP call.

        Raises:
            Refused: with a code, and what would pass.
            Outage: not now (`NOT_READY`), or nobody knows what became of it: ask again with the same ref.
        """
        numbers = {"quantity": quantity, "notional": notional, "limit_price": limit_price}
        words = {
            "symbol": symbol,
            "side": side,
            "algo": algo,
            "account": account,
            "ref": ref,
            "reason": reason,
            "reduce_only": reduce_only,
            "settings": settings or {},
            "owner": OWNER,
            **{name: None if value is None else _decimal(name, value) for name, value in numbers.items()},
        }
        with _refusing():
            body = convert(words, OrderBody)
        where, instrument = self.pictures.resolve(body.symbol, body.account)
        answer = await self.ask(body.wish(where, instrument, body.ref or secrets.token_hex(8)))
        return OrderHandle(self, answer.parent_ids[0])

    async def ask(self, wish: SubmitOrder | CancelParent) -> Answer:
        """Return the order manager's consent; it is audited like a call of the API.

        Raises:
            Refused, Outage: as `submit`.
        """
        req = self._asker.next_req()
        with _refusing():
            said = await self._asker.answer(req, Asked(replace(wish, req=req), PRINCIPAL), ANSWER_TIMEOUT_S)
        if isinstance(said, Answer):
            return said
        if isinstance(said, Refusal) and said.code not in ("NOT_READY", "QUEUE_FULL", "RESTARTING"):
            raise Refused(said.code, said.text, said.would_pass)
        if isinstance(said, Refusal):
            raise Outage(f"{said.code}: {said.text}")
        name = f"ref {wish.ref}" if isinstance(wish, SubmitOrder) else wish.parent_id
        raise Outage(f"no answer in time, the outcome of {name} is unknown")


@contextmanager
def _refusing() -> Iterator[None]:
    """Say in the words of Python what the API would answer."""
    try:
        yield
    except Problem as wrong:
        raise Refused(wrong.code, wrong.text) from wrong


def _decimal(name: str, value: object) -> Decimal:
    """Return a number as it is written.

    Raises:
        Refused: BAD_NUMBER for what is none, or not above zero.
    """
    number = Decimal("NaN")
    # A bool is an int to Python, and a sequence of three numbers a Decimal.
    if isinstance(value, Decimal | str | float | int) and not isinstance(value, bool):
        with suppress(InvalidOperation):
            number = exact(float(value)) if isinstance(value, float) else Decimal(value)
    if not (number.is_finite() and number > 0):
        raise Refused("BAD_NUMBER", f"{name}: expected a number above zero, got {value!r:.60}")
    require_number(name, number)
    return number
