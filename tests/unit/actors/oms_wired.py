"""What the OMS of the tests is wired to: one paper account with two instruments; and words of its venue."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tests.unit.risk.test_limits import instrument
from tradefan.actors.oms import OmsWiring
from tradefan.config.schema import AccountConfig, Config, RiskConfig
from tradefan.messages.gateway import CancelOrder, CreateOrder, ExecutionReport, VenueFill
from tradefan.messages.orders import OrderStatus, SetTarget, SubmitOrder
from tradefan.units import (
    MS,
    SECOND,
    AccountId,
    Asset,
    ClientOrderId,
    InstrumentId,
    OwnerId,
    Ref,
    TradeId,
)

D = Decimal
ACCOUNT = AccountId("paper:main")
BTC, ETH = InstrumentId("binance:BTC/USDT"), InstrumentId("binance:ETH/USDT")
TREND, API, CLI = OwnerId("trend"), OwnerId("api"), OwnerId("cli")
USDT, BASE = Asset("USDT"), Asset("BTC")
JOURNAL, GATEWAY, TRADER, DESK, STORE, FACE, MARKET, RIM = (Ref(n) for n in (1, 2, 3, 4, 5, 6, 7, 0))
START = 1_000 * SECOND
PAUSE = 250 * MS

CONFIG = Config(
    accounts={ACCOUNT: AccountConfig()},
    risk=RiskConfig(max_position_notional=D(10**9), max_order_notional=D(10**9), orders_per_second=1000),
)


def wiring(**changes: Any) -> OmsWiring:
    """Return one account with BTC and ETH, a trader, a risk desk, a store, an API and a market."""
    eth = instrument(
        id=ETH,
        symbol="ETH/USDT",
        base=Asset("ETH"),
        qty_lot=D("0.01"),
        min_qty=D("0.01"),
        price_tick=D("0.01"),
    )
    btc = instrument(qty_lot=D("0.001"), min_qty=D("0.001"), price_tick=D("0.01"))
    fields: dict[str, Any] = {
        "journal": JOURNAL,
        "gateways": {ACCOUNT: GATEWAY},
        "accounts": {ACCOUNT: (BTC, ETH)},
        "instruments": {BTC: btc, ETH: eth},
        "owners": {TREND: TRADER},
        "instance": "dev",
        "numeraire": USDT,
        "risk_desk": DESK,
        "observers": (STORE,),
        "markets": (MARKET,),
        "api": FACE,
    }
    return OmsWiring(**{**fields, **changes})


def client_id(text: str) -> ClientOrderId:
    """Return a client order id."""
    return ClientOrderId(text)


def submit(qty: Any, **changes: Any) -> SubmitOrder:
    """Return the strategy's wish to buy BTC at the market."""
    fields: dict[str, Any] = {
        "account": ACCOUNT,
        "instrument": BTC,
        "owner": TREND,
        "ref": "r1",
        "side": "buy",
        "order_qty": D(qty),
        "algo": "market",
    }
    return SubmitOrder(**{**fields, **changes})


def target(qty: Any, **changes: Any) -> SetTarget:
    """Return the strategy's wish for a position in BTC."""
    fields: dict[str, Any] = {
        "account": ACCOUNT,
        "instrument": BTC,
        "owner": TREND,
        "ref": "r1",
        "target_qty": D(qty),
        "band": D("0.01"),
        "algo": "market",
    }
    return SetTarget(**{**fields, **changes})


def report(
    create: CreateOrder | CancelOrder,
    status: OrderStatus,
    cum: Any = 0,
    *,
    now_ns: int = START,
    **changes: Any,
) -> ExecutionReport:
    """Return the venue's word about an order."""
    fields: dict[str, Any] = {
        "account": create.account,
        "instrument": create.instrument,
        "client_order_id": create.client_order_id,
        "venue_order_id": "v1",
        "status": status,
        "side": getattr(create, "side", "buy"),
        "order_qty": getattr(create, "order_qty", D(0)),
        "cum_qty": D(cum),
        "limit_price": D(99),
        "reason": "",
        "event_ns": now_ns,
        "recv_ns": now_ns,
        "source": "stream",
    }
    return ExecutionReport(**{**fields, **changes})


def venue_fill(create: CreateOrder, qty: Any, trade_id: str, now_ns: int, **changes: Any) -> VenueFill:
    """Return a trade of an order at 100."""
    fields: dict[str, Any] = {
        "account": create.account,
        "instrument": create.instrument,
        "trade_id": TradeId(trade_id),
        "client_order_id": create.client_order_id,
        "venue_order_id": "v1",
        "side": create.side,
        "qty": D(qty),
        "price": D(100),
        "fee": D(0),
        "fee_asset": USDT,
        "liquidity": "taker",
        "event_ns": now_ns,
        "recv_ns": now_ns,
        "source": "stream",
    }
    return VenueFill(**{**fields, **changes})


def foreign(qty: Any = 5, name: str = "web_123", **changes: Any) -> CreateOrder:
    """Return an order that somebody else placed on the account, in the words of a create."""
    fields: dict[str, Any] = {
        "account": ACCOUNT,
        "instrument": BTC,
        "owner": OwnerId("nobody"),
        "parent_id": "",
        "client_order_id": client_id(name),
        "side": "buy",
        "order_type": "limit",
        "time_in_force": "GTC",
        "post_only": False,
        "order_qty": D(qty),
        "limit_price": D(99),
        "reduce_only": False,
        "not_after_ns": 0,
    }
    return CreateOrder(**{**fields, **changes})
