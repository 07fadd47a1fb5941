"""A gateway against a link that says what the test wants: every end that a request can have."""

from __future__ import annotations

from typing import Any

import msgspec

from tests.conformance.venue.bench import ACCOUNT, BTC, T0, Bench
from tradefan.actors.gateway_state import GatewayState
from tradefan.messages.account import AccountState
from tradefan.messages.base import Message
from tradefan.messages.control import Started
from tradefan.messages.gateway import CancelOrder, Look
from tradefan.messages.wire import Closed, Opened, Received, Text
from tradefan.units import MS, ClientOrderId, OwnerId, TradeId


class Script:
    """A link that answers nothing by itself: the test says what the venue says."""

    def __init__(self) -> None:
        self.effects: list[Message] = []

    def apply(self, now_ns: int, effect: Message) -> None:
        self.effects.append(effect)

    def next_ns(self) -> int | None:
        return None

    def take(self, now_ns: int, limit: int) -> list[Message]:
        return []


class Rig(Bench):
    """A bench whose venue is the test."""

    def __init__(self, state: GatewayState | None = None) -> None:
        self.script = Script()
        super().__init__(self.script, state)

    @property
    def gen(self) -> int:
        return self.gateway.state.connection.gen

    def live(self) -> None:
        """Connect and subscribe."""
        self.tell(Started(0))
        self.accept()

    def accept(self) -> None:
        """Let the venue accept the connection that was asked for, and the subscription."""
        self.tell(Opened("account", self.gen, self.now_ns))
        self.answer(self.sent()[-1], {"subscriptionId": 0})
        assert self.gateway.view().connected

    def sent(self) -> list[tuple[int, dict[str, Any]]]:
        """Return (request, body) of all writes."""
        found = []
        for write in self.writes:
            assert isinstance(write.body, Text)
            found.append((write.req, msgspec.json.decode(write.body.text)))
        return found

    def asked(self, method: str) -> tuple[int, dict[str, Any]]:
        """Return the newest request of a method."""
        return next(row for row in reversed(self.sent()) if row[1]["method"] == method)

    def answer(self, request: tuple[int, Any], result: Any) -> None:
        """Answer a request with a result."""
        self.say({"id": str(request[0]), "status": 200, "result": result})

    def refuse(self, request: tuple[int, Any], code: int, text: str, status: int = 400, **data: Any) -> None:
        """Answer a request with an error."""
        error: dict[str, Any] = {"code": code, "msg": text} | ({"data": data} if data else {})
        self.say({"id": str(request[0]), "status": status, "error": error})

    def say(self, body: Any, gen: int | None = None) -> None:
        """Let a frame come in."""
        data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        self.tell(Received("account", self.gen if gen is None else gen, self.now_ns, data))

    def close(self, reason: str = "reset") -> None:
        """Let the connection end."""
        self.tell(Closed("account", self.gen, self.now_ns, 1006, reason))

    def heard(self) -> list[Message]:
        """Return what the OMS heard since it was asked last, without connection news."""
        found = [msg for msg in self.told if not isinstance(msg, AccountState)]
        self.told.clear()
        return found

    def cancel_now(self, name: str) -> None:
        """Give a cancel without waiting."""
        self.tell(CancelOrder(ACCOUNT, BTC, OwnerId("api"), ClientOrderId(name)))


ME = ClientOrderId("me")
RESTRICTIONS = "Order was not canceled due to cancel restrictions."


def result(**more: Any) -> dict[str, Any]:
    """Return an order as the venue shows it."""
    row = {"symbol": "BTCUSDT", "orderId": 9, "clientOrderId": "me", "price": "99.00", "origQty": "1.0"}
    return row | {"executedQty": "0.0", "status": "NEW", "side": "BUY", "updateTime": T0 // MS} | more


def trade(number: int, order_id: int = 9, **more: Any) -> dict[str, Any]:
    """Return a row of `myTrades`."""
    row = {"symbol": "BTCUSDT", "id": number, "orderId": order_id, "price": "99.0", "qty": "0.1"}
    row |= {"commission": "0.1", "commissionAsset": "BTC", "time": 5, "isBuyer": True, "isMaker": False}
    return row | more


def live_rig() -> Rig:
    """Return a rig that is connected, with nothing told yet."""
    rig = Rig()
    rig.live()
    rig.told.clear()
    return rig


def look(*names: str, cursor: str | None = "7", balances: bool = True) -> Look:
    orders = tuple((BTC, ClientOrderId(name)) for name in names)
    return Look(ACCOUNT, 4, orders, ((BTC, None if cursor is None else TradeId(cursor)),), balances)
