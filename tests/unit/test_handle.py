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


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ({"ref": 20261130}, "BAD_REQUEST: ref: expected `str | null`, got 20261130"),
        ({"ref": "r" * 65}, "BAD_REQUEST: ref: expected a text of length <= 64"),
        ({"ref": ""}, "BAD_REQUEST: ref: expected a text of length >= 1, got ''"),
        ({"side": "BUY"}, "BAD_REQUEST: side: expected one of buy, sell, got 'BUY'"),
        ({"reason": "x" * 201}, "BAD_REQUEST: reason: expected a text of length <= 200"),
        ({"algo": 5}, "BAD_REQUEST: algo: expected `str`, got 5"),
        ({"symbol": None}, "BAD_REQUEST: symbol: expected `str`, got None"),
        ({"account": 1}, "BAD_REQUEST: account: expected `str | null`, got 1"),
        ({"reduce_only": "yes"}, "BAD_REQUEST: reduce_only: expected `bool`, got 'yes'"),
        ({"settings": {"a": object()}}, "BAD_REQUEST: expected values that a record can hold"),
        ({"settings": {1: 2}}, "BAD_REQUEST"),
        ({"quantity": "abc"}, "BAD_NUMBER: quantity: expected a number above zero, got 'abc'"),
        ({"quantity": ""}, "BAD_NUMBER: quantity: expected a number above zero, got ''"),
        ({"quantity": True}, "BAD_NUMBER: quantity: expected a number above zero, got True"),
        ({"quantity": [1]}, "BAD_NUMBER: quantity: expected a number above zero"),
        ({"limit_price": "x"}, "BAD_NUMBER: limit_price: expected a number above zero, got 'x'"),
        ({"quantity": None}, "BAD_REQUEST: quantity, notional: expected exactly one of them, got neither"),
        ({"notional": 5}, "BAD_REQUEST: quantity, notional: expected exactly one of them, got both"),
        ({"quantity": None, "notional": -5}, "BAD_NUMBER: notional: expected a number above zero, got -5"),
    ],
)
async def test_submit_when_a_word_is_none_of_its_kind_then_refused_before_anybody_hears_of_it(
    words: dict[str, Any], text: str
) -> None:
    """It would be journaled, and unreadable at the next start: `BUY` even traded as a sell."""
    told = Told()
    given: dict[str, Any] = {"symbol": "BTC/USDT", "side": "buy", "quantity": 1, **words}
    with pytest.raises(Refused) as no:
        await told.desk.submit(**given)
    assert (str(no.value).startswith(text), told.heard) == (True, [])


async def test_submit_when_given_a_notional_then_it_is_a_setting_as_over_http() -> None:
    """The order manager turns it into a quantity, at the mid of its arrival."""
    told = Told()
    await told.desk.submit("BTC/USDT", "buy", notional=100.5, algo="twap", settings={"slices": 3})
    assert (told.heard[0].wish.order_qty, told.heard[0].wish.settings) == (
        0,
        {"slices": 3, "notional": "100.5"},
    )


async def test_submit_when_its_settings_are_changed_behind_it_then_the_order_is_as_it_was() -> None:
    """What is delivered is what a record would be read as."""
    told, settings = Told(), {"slices": Decimal(3)}
    await told.desk.submit("BTC/USDT", "buy", 1, algo="twap", settings=settings)
    settings["slices"] = Decimal(4)
    assert told.heard[0].wish.settings == {"slices": "3"}


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
