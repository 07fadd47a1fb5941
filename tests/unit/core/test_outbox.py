"""The outbox: in order, nothing before its lsn, and a create that nobody wants any more never leaves."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tests.unit.core.order_builders import ACCOUNT, BTC, OWNER, PID
from tradefan.core.outbox import Outbox, confirm, create_of, created_by, creates, drop, put, release, remove
from tradefan.messages.gateway import CreateOrder, ReplaceOrder
from tradefan.messages.orders import Answer
from tradefan.units import ClientOrderId

D = Decimal


def create(name: str, **changes: Any) -> CreateOrder:
    fields: dict[str, Any] = {
        "account": ACCOUNT,
        "instrument": BTC,
        "owner": OWNER,
        "parent_id": PID,
        "client_order_id": ClientOrderId(name),
        "side": "buy",
        "order_type": "limit",
        "time_in_force": "IOC",
        "post_only": False,
        "order_qty": D(1),
        "limit_price": D(100),
        "reduce_only": False,
        "not_after_ns": 9,
    }
    return CreateOrder(**{**fields, **changes})


def test_effects_when_durable_comes_then_they_leave_in_order_and_once() -> None:
    """One queue for all: what is behind an effect that waits, waits."""
    outbox = Outbox()
    first, answer, second = create("a"), Answer(7, ()), create("b")
    put(outbox, 3, first)
    put(outbox, 3, answer)
    put(outbox, 5, second)
    assert release(outbox) == ()
    confirm(outbox, 4)
    assert release(outbox) == (first, answer)
    assert (release(outbox), creates(outbox)) == ((), {ClientOrderId("b"): None})
    confirm(outbox, 2)
    assert outbox.durable == 4
    confirm(outbox, 5)
    assert release(outbox) == (second,)


def test_cancel_when_its_create_waits_then_the_create_is_gone() -> None:
    """A cancel takes a waiting create out; one that has left is not here any more."""
    outbox = Outbox()
    put(outbox, 1, create("a"))
    put(outbox, 2, create("b"))
    assert remove(outbox, ClientOrderId("a"))
    assert not remove(outbox, ClientOrderId("a"))
    confirm(outbox, 2)
    assert release(outbox) == (create("b"),)


def test_replacement_when_it_waits_then_it_is_the_create_of_its_new_order() -> None:
    """It leaves as one, is found and taken out by its new id, and is dropped with what forbids that."""
    outbox = Outbox()
    wish = ReplaceOrder(ACCOUNT, create("new"), ClientOrderId("old"))
    put(outbox, 1, wish)
    assert creates(outbox) == {ClientOrderId("new"): None}
    assert not remove(outbox, ClientOrderId("old"))
    assert drop(outbox, lambda item: item.side == "sell") == ()
    assert drop(outbox, lambda item: item.client_order_id == "new") == (wish,)
    put(outbox, 2, wish)
    assert remove(outbox, ClientOrderId("new"))
    put(outbox, 3, wish)
    confirm(outbox, 3)
    assert release(outbox) == (wish,)
    assert (create_of(wish), created_by(wish)) == (create("new"), "new")
    assert (create_of(Answer(1, ())), created_by(Answer(1, ()))) == (None, None)


def test_creates_when_forbidden_then_they_are_dropped_and_answers_stay() -> None:
    """A tighter mode drops the creates that it forbids."""
    outbox = Outbox()
    sale = create("b", side="sell")
    for effect in (create("a"), Answer(1, ()), sale, create("c")):
        put(outbox, 1, effect)
    assert drop(outbox, lambda item: item.side == "buy") == (create("a"), create("c"))
    confirm(outbox, 1)
    assert release(outbox) == (Answer(1, ()), sale)
    assert drop(outbox, lambda _: True) == ()
