"""An executor that replaces its child once, and a bench in which it does."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import ACCOUNT, BTC, GATEWAY
from tradefan.contracts import ParentView, PlaceChild, ReplaceChild
from tradefan.core.exposure import account_sides
from tradefan.core.order import Order
from tradefan.messages.gateway import CreateOrder, ReplaceOrder
from tradefan.messages.orders import OrderStatus

D = Decimal
S = OrderStatus
Plug = Callable[[Callable[[ParentView], Any]], None]


def once(view: ParentView) -> Any:
    if not view.attempts:
        return (PlaceChild(D(2), D(99), "GTC"),)
    child = view.children[-1]
    if view.attempts == 1 and child.status is S.NEW:
        return (ReplaceChild(child.client_order_id, D("1.5"), D(98)),)
    return ()


def replacing(bench: Bench) -> tuple[CreateOrder, CreateOrder]:
    """Let a child rest and be replaced; return both."""
    bench.submit(2, algo="test")
    old = bench.one(GATEWAY, CreateOrder)
    bench.report(old, S.NEW)
    wish = bench.one(GATEWAY, ReplaceOrder)
    assert wish.old_id == old.client_order_id
    return old, wish.create


def order_of(bench: Bench, create: CreateOrder) -> Order:
    return bench.trading.orders[create.client_order_id]


def buys(bench: Bench) -> Decimal:
    return account_sides(bench.trading.exposure, ACCOUNT, BTC).buy_qty
