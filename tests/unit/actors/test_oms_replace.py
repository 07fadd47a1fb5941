"""Replacements on their way out: one request, two orders, and both count (OR-23)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import ACCOUNT, BTC, GATEWAY
from tests.unit.actors.replacing import Plug, buys, once, order_of, replacing
from tradefan.contracts import ParentView, PlaceChild, ReplaceChild
from tradefan.messages.account import AccountState, SetMode
from tradefan.messages.base import Message
from tradefan.messages.control import JournalFailed
from tradefan.messages.gateway import CancelOrder, CreateOrder, ReplaceOrder
from tradefan.messages.market import FeedQuality, Quality
from tradefan.messages.orders import OrderStatus
from tradefan.messages.records import (
    Intent,
    NotSent,
)
from tradefan.messages.work import (
    ParentFailed,
)
from tradefan.units import SECOND

D = Decimal
S = OrderStatus


@pytest.fixture
def bench(plug: Plug) -> Bench:
    """Return a bench whose executor `test` rests 2 at 99 and replaces it once, by 1.5 at 98."""
    plug(once)
    return Bench().ready()


@pytest.mark.failure("OR-23")
def test_replace_when_wished_then_one_intent_one_request_and_both_count(bench: Bench) -> None:
    """INTENT names what it replaces; the old is PENDING_REPLACE; both are reserved; it waits for the disk."""
    bench.submit(2, algo="test")
    old = bench.one(GATEWAY, CreateOrder)
    bench.auto_durable = False
    bench.report(old, S.NEW)
    assert bench.take(GATEWAY, ReplaceOrder) == []
    bench.durable()
    wish = bench.one(GATEWAY, ReplaceOrder)
    intent = bench.made(Intent)[-1]
    assert (intent.replaces, intent.order_qty, intent.limit_price) == (
        old.client_order_id,
        D("1.5"),
        D(98),
    )
    assert (wish.create.client_order_id, wish.create.not_after_ns) == (
        intent.client_order_id,
        bench.now_ns + 2 * SECOND,
    )
    assert (order_of(bench, old).status, order_of(bench, wish.create).status) == (
        S.PENDING_REPLACE,
        S.PENDING_NEW,
    )
    assert buys(bench) == D("3.5")
    bench.check()


@pytest.mark.failure("OR-23")
@pytest.mark.parametrize(
    "what",
    [
        JournalFailed("disk full"),
        AccountState(ACCOUNT, False, "closed"),
        SetMode("all", "t", "NO_NEW_RISK", "T", ""),
        FeedQuality(BTC, Quality.STALE, "", 0, 1),
    ],
    ids=["journal", "connection", "mode", "feed"],
)
def test_replace_when_dropped_while_it_waits_then_the_old_order_rests_on(bench: Bench, what: Message) -> None:
    """Nothing of it left: NOT_SENT for the new one, and the old one is what it was."""
    bench.submit(2, algo="test")
    old = bench.one(GATEWAY, CreateOrder)
    bench.auto_durable = False
    bench.report(old, S.NEW)
    bench.tell(what)
    bench.durable()
    assert bench.take(GATEWAY, ReplaceOrder) == []
    assert [one.reason for one in bench.made(NotSent)] == ["LOCAL_EXPIRED"]
    one = order_of(bench, old)
    assert (one.status, one.in_doubt, one.cancel_ns) == (S.NEW, None, None)
    assert buys(bench) == D(2)
    bench.check()


def test_replace_when_the_new_order_does_not_fit_then_the_old_one_stays(bench: Bench, plug: Plug) -> None:
    """More than the old one has left is the executor's mistake; what risk refuses changes nothing."""

    def greedy(view: ParentView) -> Any:
        answer = once(view)
        return (msgspec.structs.replace(answer[0], order_qty=D(3)),) if view.attempts and answer else answer

    plug(greedy)
    bench.submit(2, algo="test")
    old = bench.one(GATEWAY, CreateOrder)
    bench.report(old, S.NEW)
    assert "parent budget" in bench.made(ParentFailed)[0].traceback
    assert bench.take(GATEWAY, ReplaceOrder) == []
    bench.check()


@pytest.mark.failure("OR-23")
@pytest.mark.parametrize("status", [S.PARTIALLY_FILLED, S.PENDING_CANCEL])
def test_replace_when_the_child_has_begun_to_trade_or_ends_then_nothing_is_sent(
    bench: Bench, plug: Plug, status: OrderStatus
) -> None:
    """ONLY_NEW: what cannot be replaced stays as it is."""

    def always(view: ParentView) -> Any:
        if not view.attempts:
            return (PlaceChild(D(2), D(99), "GTC"),)
        return (ReplaceChild(view.children[-1].client_order_id, D(1), D(98)),)

    plug(always)
    bench.submit(2, algo="test")
    old = bench.one(GATEWAY, CreateOrder)
    bench.report(old, status, 1 if status is S.PARTIALLY_FILLED else 0)
    assert bench.take(GATEWAY, ReplaceOrder) == []
    assert bench.made(ParentFailed) == []


def test_replace_when_the_old_order_begins_to_trade_while_it_waits_then_it_is_taken_back(
    bench: Bench,
) -> None:
    """ONLY_NEW: the venue would refuse it anyway, so it never leaves."""
    bench.submit(2, algo="test")
    old = bench.one(GATEWAY, CreateOrder)
    bench.auto_durable = False
    bench.report(old, S.NEW)
    bench.fill(old, "0.5")
    bench.durable()
    assert bench.take(GATEWAY, ReplaceOrder) == []
    assert [one.reason for one in bench.made(NotSent)] == ["LOCAL_EXPIRED"]
    one = order_of(bench, old)
    assert (one.status, one.in_doubt, buys(bench)) == (S.PARTIALLY_FILLED, None, D("1.5"))
    bench.check()


def test_replace_when_wished_twice_then_one_request_is_enough(bench: Bench, plug: Plug) -> None:
    """While one is under way the old order waits for it, whatever its executor says meanwhile."""

    def twice(view: ParentView) -> Any:
        if not view.attempts:
            return once(view)
        return (ReplaceChild(view.children[0].client_order_id, D(1), D(97)),) * 2

    plug(twice)
    old, new = replacing(bench)
    bench.fill(new, "0.1")
    assert bench.take(GATEWAY, ReplaceOrder) == []
    assert len(bench.made(Intent)) == 2
    assert bench.made(ParentFailed) == []
    assert old.client_order_id == bench.made(Intent)[1].replaces


def test_replace_when_wished_after_a_restart_then_what_rests_goes_on(bench: Bench) -> None:
    """An order of an earlier start gets no new child without a new decision, and loses none."""
    bench.submit(2, algo="test")
    old = bench.one(GATEWAY, CreateOrder)
    again = Bench(records=bench.records).ready()
    again.report(old, S.NEW)
    assert (again.take(GATEWAY, ReplaceOrder), again.take(GATEWAY, CancelOrder)) == ([], [])
    assert order_of(again, old).status is S.NEW
    again.check()


@pytest.mark.parametrize(("qty", "sent"), [("2", 0), ("1.5", 1)])
def test_replace_when_a_late_fill_has_used_the_budget_up_then_only_what_is_left_of_it_is_sent(
    bench: Bench, plug: Plug, qty: str, sent: int
) -> None:
    """What rests may be more than its parent has left by now; a new order for all of it must not be made."""

    def tends(view: ParentView) -> Any:
        if view.attempts < 2:
            return () if view.busy else (PlaceChild(D(2), D(99), "GTC"),)
        if view.attempts == 2 and view.cum_qty:
            return (ReplaceChild(view.children[-1].client_order_id, D(qty), D(98)),)
        return ()

    plug(tends)
    bench.submit(2, algo="test")
    first = bench.one(GATEWAY, CreateOrder)
    bench.report(first, S.CANCELED)
    second = bench.one(GATEWAY, CreateOrder)
    bench.report(second, S.NEW)
    bench.fill(first, "0.5")
    assert len(bench.take(GATEWAY, ReplaceOrder)) == sent
    assert bench.made(ParentFailed) == []
    bench.check()
