"""A handle of an order, over a stand-in that answers as it is told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from tradefan.api.asking import Asker
from tradefan.errors import Outage, Refused
from tradefan.handle import OrderDesk
from tradefan.messages.base import Message
from tradefan.messages.orders import Answer, Asked, CancelParent, Refusal, SubmitOrder
from tradefan.units import AccountId, InstrumentId, OwnerId, ParentId

MAIN, BTC = AccountId("paper:main"), InstrumentId("binance:BTC/USDT")


class Told:
    """Pictures and an order manager that say what they are told to."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.found: dict[str, Any] | None = {"phase": "WORKING", "status": "NEW"}
        self.over = False
        self.code: str | None = None
        self.silent = False
        self.asker = Asker(self.deliver, lambda: 0)
        self.desk = OrderDesk(self.asker, self, lambda: self.over)

    def resolve(self, symbol: str, account: str | None) -> tuple[AccountId, InstrumentId]:
        return MAIN, BTC

    def order(self, parent_id: str) -> dict[str, Any] | None:
        return self.found

    def tca(self, parent_id: str) -> Callable[[], dict[str, Any] | None]:
        return lambda: {"parent_id": parent_id, "thread": threading.current_thread().name}

    def deliver(self, msg: Message) -> None:
        assert isinstance(msg, Asked)
        self.heard.append(msg)
        if self.silent:
            return
        if self.code is None:
            self.asker.apply(Answer(msg.req or 0, (ParentId("p1"),)))
        else:
            refusal = Refusal(MAIN, BTC, OwnerId("api"), "r", self.code, "no", None, None, "less", 0, msg.req)
            self.asker.apply(refusal)


async def test_submit_when_asked_then_audited_as_python_and_exact() -> None:
    """A float is what it prints as."""
    told = Told()
    handle = await told.desk.submit("BTC/USDT", "sell", 0.1, algo="twap", settings={"slices": 3}, ref="r")
    (asked,) = told.heard
    assert (asked.principal, asked.once, handle.id) == ("api python", "", "p1")
    assert isinstance(asked.wish, SubmitOrder)
    assert (asked.wish.order_qty, asked.wish.settings, asked.wish.ref) == (Decimal("0.1"), {"slices": 3}, "r")
    await handle.cancel()
    assert told.heard[-1].wish == CancelParent(OwnerId("api"), ParentId("p1"), 2)


@pytest.mark.parametrize(
    ("code", "kind"),
    [("RISK_MAX_ORDER_QTY", Refused), ("REF_REUSED", Refused), ("NOT_READY", Outage), ("QUEUE_FULL", Outage)],
)
async def test_submit_when_refused_then_what_may_pass_later_is_an_outage(
    code: str, kind: type[Exception]
) -> None:
    """Whoever catches Outage may ask again, unchanged."""
    told = Told()
    told.code = code
    with pytest.raises(kind, match=code):
        await told.desk.submit("BTC/USDT", "buy", 1)


async def test_submit_when_nobody_answers_then_the_ref_to_ask_again_with_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may have become an order."""
    monkeypatch.setattr("tradefan.handle.ANSWER_TIMEOUT_S", 0.01)
    told = Told()
    told.silent = True
    with pytest.raises(Outage, match="ref mine is unknown"):
        await told.desk.submit("BTC/USDT", "buy", 1, ref="mine")


async def test_tca_when_asked_then_looked_up_beside_the_loop() -> None:
    """The disk is slow, and the loop trades."""
    told = Told()
    found = await (await told.desk.submit("BTC/USDT", "buy", 1)).tca()
    assert found is not None
    assert found["parent_id"] == "p1"
    assert found["thread"] != threading.current_thread().name


async def test_wait_when_nobody_works_it_any_more_then_it_ends() -> None:
    """The daemon has stopped, or memory does not hold it: nobody waits for ever."""
    told = Told()
    handle = await told.desk.submit("BTC/USDT", "buy", 1)
    waits = asyncio.create_task(handle.wait(5))
    await asyncio.sleep(0)
    told.over = True
    with pytest.raises(Outage, match="has stopped, p1 is NEW"):
        await waits
    told.found = None
    with pytest.raises(Outage, match="not in memory"):
        await handle.wait(5)
