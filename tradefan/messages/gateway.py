"""What the OMS tells a gateway, and what a gateway tells it about the venue's orders and trades.

Quantities are Decimals in the instrument's quantity asset, prices Decimals in its quote asset.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from tradefan.messages.base import Command, Fact
from tradefan.messages.orders import Doubt, OrderStatus, OrderType, TimeInForce
from tradefan.units import AccountId, Asset, ClientOrderId, InstrumentId, OwnerId, ParentId, Side, TradeId

# --- the OMS to a gateway -----------------------------------------------------------------------


class CreateOrder(Command, frozen=True, array_like=True, tag=True):
    """Place one child; never written after `not_after_ns`, never written twice."""

    account: AccountId
    instrument: InstrumentId
    owner: OwnerId
    parent_id: ParentId
    client_order_id: ClientOrderId
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    post_only: bool
    order_qty: Decimal
    limit_price: Decimal | None
    reduce_only: bool
    not_after_ns: int


class ReplaceOrder(Command, frozen=True, array_like=True, tag=True):
    """Cancel one child and place another in one request that stops when the cancel fails.

    The venue must know nothing of `old_id`'s fills beyond what was sent: `ONLY_NEW` (EXECUTION.md).
    """

    account: AccountId
    create: CreateOrder
    old_id: ClientOrderId


class CancelOrder(Fact, frozen=True, array_like=True, tag=True):
    """Cancel one child by client id; a fact, so that a kill's cancels always fit."""

    account: AccountId
    instrument: InstrumentId
    owner: OwnerId
    client_order_id: ClientOrderId


class Look(Fact, frozen=True, array_like=True, tag=True):
    """Ask the venue: open orders, trades after the cursors, balances, and each named order.

    The answer comes as single `ExecutionReport`s, `VenueFill`s and `Balances`, then `LookDone`.
    A cursor of None only learns the newest trade id and repeats no trade; an instrument without any
    trade answers the cursor `0`, so that the next look misses nothing.
    """

    account: AccountId
    look_id: int
    orders: tuple[tuple[InstrumentId, ClientOrderId], ...]
    cursors: tuple[tuple[InstrumentId, TradeId | None], ...]
    balances: bool = True


# --- a gateway to the OMS -----------------------------------------------------------------------


class ExecutionReport(Fact, frozen=True, array_like=True, tag=True):
    """The venue's word about one order; quantities are cumulative."""

    account: AccountId
    instrument: InstrumentId
    client_order_id: ClientOrderId
    venue_order_id: str | None
    status: OrderStatus
    side: Side
    order_qty: Decimal
    cum_qty: Decimal
    limit_price: Decimal | None
    reason: str
    event_ns: int
    recv_ns: int
    source: Literal["stream", "answer", "look"]

    def fact_key(self) -> str:
        """Reports have no execution id on every road: order, status and quantity name them."""
        return f"report {self.account} {self.client_order_id} {self.status} {self.cum_qty}"


class VenueFill(Fact, frozen=True, array_like=True, tag=True):
    """One execution at the venue; the key of a fill is (account, instrument, trade_id)."""

    account: AccountId
    instrument: InstrumentId
    trade_id: TradeId
    client_order_id: ClientOrderId | None
    venue_order_id: str
    side: Side
    qty: Decimal
    price: Decimal
    fee: Decimal
    fee_asset: Asset
    liquidity: Literal["maker", "taker"]
    event_ns: int
    recv_ns: int
    source: Literal["stream", "answer", "look"]

    def fact_key(self) -> str:
        """Fills are named by (account, instrument, trade id)."""
        return f"fill {self.account} {self.instrument} {self.trade_id}"


class FillBusted(Fact, frozen=True, array_like=True, tag=True):
    """The venue took a trade back, or changed it: then `qty` and `price` are what holds now."""

    account: AccountId
    instrument: InstrumentId
    trade_id: TradeId
    event_ns: int
    recv_ns: int
    qty: Decimal | None = None
    price: Decimal | None = None

    def fact_key(self) -> str:
        """A bust is named by its trade."""
        return f"bust {self.account} {self.instrument} {self.trade_id}"


class OrderNotSent(Fact, frozen=True, array_like=True, tag=True):
    """Proof that a create never left us; the order does not exist."""

    account: AccountId
    client_order_id: ClientOrderId
    reason: str


class OrderInDoubt(Fact, frozen=True, array_like=True, tag=True):
    """A request whose outcome nobody knows."""

    account: AccountId
    client_order_id: ClientOrderId
    doubt: Doubt
    reason: str


class CancelRejected(Fact, frozen=True, array_like=True, tag=True):
    """The venue would not cancel: information, not proof; the OMS asks."""

    account: AccountId
    client_order_id: ClientOrderId
    reason: str


class LookDone(Fact, frozen=True, array_like=True, tag=True):
    """A look ended; `missing` orders were asked by id and not found. Not complete: nothing is proved."""

    account: AccountId
    look_id: int
    asked_ns: int
    complete: bool
    missing: tuple[ClientOrderId, ...]
    cursors: tuple[tuple[InstrumentId, TradeId | None], ...]
    reason: str = ""


class GatewayReset(Fact, frozen=True, array_like=True, tag=True):
    """A gateway began anew: its predecessor's requests in flight have no outcome."""

    account: AccountId
