"""Builders of records for the order core: every field has a value, a test names what matters."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tradefan.core.order import Order, new_order
from tradefan.messages.orders import OrderStatus, ParentOrder
from tradefan.messages.records import ExternalOrder, Fill, Intent, Parent, Report
from tradefan.units import AccountId, Asset, ClientOrderId, InstrumentId, OwnerId, ParentId, TradeId

ACCOUNT = AccountId("paper:main")
BTC = InstrumentId("binance:BTC/USDT")
OWNER = OwnerId("trend")
USDT, BASE, BNB = Asset("USDT"), Asset("BTC"), Asset("BNB")
CID = ClientOrderId("c1")
PID = ParentId("p1")
D = Decimal


def parent_order(**changes: Any) -> ParentOrder:
    """Return a market parent to buy 10."""
    fields: dict[str, Any] = {
        "parent_id": PID,
        "account": ACCOUNT,
        "instrument": BTC,
        "owner": OWNER,
        "ref": "r1",
        "side": "buy",
        "order_qty": D(10),
        "algo": "market",
        "settings": {},
        "limit_price": None,
        "intent_id": "p1",
        "reason": "",
        "reduce_only": False,
        "position_side": "net",
        "protective": False,
        "created_ns": 1,
    }
    return ParentOrder(**{**fields, **changes})


def parent(target_qty: Decimal | None = None, **changes: Any) -> Parent:
    """Return the record of a parent."""
    return Parent(1, parent_order(**changes), target_qty)


def intent(**changes: Any) -> Intent:
    """Return the INTENT of a child that buys 10 at 100 at worst."""
    fields: dict[str, Any] = {
        "at_ns": 1,
        "account": ACCOUNT,
        "instrument": BTC,
        "owner": OWNER,
        "parent_id": PID,
        "client_order_id": CID,
        "sequence": 1,
        "side": "buy",
        "order_type": "limit",
        "time_in_force": "GTC",
        "post_only": False,
        "order_qty": D(10),
        "limit_price": D(100),
        "reserve_px": D(100),
        "config_id": "cfg",
        "instrument_version": 1,
        "reference_px": D(100),
        "reference_age_ns": 0,
        "not_after_ns": 2_000_000_001,
        "reduce_only": False,
        "reserve_asset": USDT,
        "reserve_per_unit": D("100.1"),
    }
    return Intent(**{**fields, **changes})


def order(**changes: Any) -> Order:
    """Return an order as an INTENT begins it."""
    return new_order(intent(**changes), 1)


def report(status: OrderStatus, cum_qty: Any = 0, at_ns: int = 2, **changes: Any) -> Report:
    """Return the record of a report."""
    fields: dict[str, Any] = {
        "at_ns": at_ns,
        "account": ACCOUNT,
        "client_order_id": CID,
        "venue_order_id": "v1",
        "status": status,
        "cum_qty": D(cum_qty),
        "reason": "",
        "event_ns": at_ns,
    }
    return Report(**{**fields, **changes})


def fill(qty: Any, price: Any = 100, trade_id: str = "t1", **changes: Any) -> Fill:
    """Return the record of a fill."""
    fields: dict[str, Any] = {
        "at_ns": 3,
        "account": ACCOUNT,
        "instrument": BTC,
        "owner": OWNER,
        "trade_id": TradeId(trade_id),
        "client_order_id": CID,
        "venue_order_id": "v1",
        "side": "buy",
        "qty": D(qty),
        "price": D(price),
        "base": BASE,
        "quote": USDT,
        "fee": D(0),
        "fee_asset": USDT,
        "liquidity": "taker",
        "event_ns": 3,
    }
    return Fill(**{**fields, **changes})


def external(name: str = "web", **changes: Any) -> ExternalOrder:
    """Return the record of somebody else's order to buy 10 at 100."""
    fields: dict[str, Any] = {
        "at_ns": 1,
        "account": ACCOUNT,
        "instrument": BTC,
        "client_order_id": ClientOrderId(name),
        "venue_order_id": "v1",
        "side": "buy",
        "order_qty": D(10),
        "cum_qty": D(0),
        "limit_price": D(100),
        "reserve_px": D(100),
        "reserve_asset": USDT,
        "reserve_per_unit": D(100),
        "orphan": False,
    }
    return ExternalOrder(**{**fields, **changes})
