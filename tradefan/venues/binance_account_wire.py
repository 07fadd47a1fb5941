"""The words of one Binance spot account as typed frames: answers, and events of the user data stream.

Amounts are Decimals. `Decimal` also reads `NaN` and `Infinity`, so every amount is looked at before
it gets past these functions; each raises BadFrame and nothing else.
Source: binance-spot-api-docs at a5e0bc3 (2026-07-21).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct

from tradefan.venues.feed_events import BadFrame


class Frame(Struct):
    """A message of the socket: an answer with `id`, or an event of the user data stream."""

    id: str | int | None = None
    status: int | None = None
    result: Raw = Raw(b"")
    event: Raw = Raw(b"")

    @property
    def req(self) -> int | None:
        """The request that is answered, None for an event or an id that was never ours."""
        text = str(self.id)
        return int(text) if self.id is not None and text.isascii() and text.isdecimal() else None


class AccountTrade(Struct, frozen=True, rename="camel"):
    """One row of `myTrades`, which knows the venue's order id only."""

    symbol: str
    id: int
    order_id: int
    price: Decimal
    qty: Decimal
    commission: Decimal
    commission_asset: str
    time: int
    is_buyer: bool
    is_maker: bool


class FillRow(Struct, rename="camel"):
    """One of the `fills` in a FULL answer to `order.place`."""

    price: Decimal
    qty: Decimal
    commission: Decimal
    commission_asset: str
    trade_id: int


class OrderRow(Struct, rename="camel"):
    """An order, in answers to `order.place`, `order.cancel`, `order.status` and `openOrders.status`."""

    symbol: str
    order_id: int
    client_order_id: str
    price: Decimal
    orig_qty: Decimal
    executed_qty: Decimal
    status: str
    side: Literal["BUY", "SELL"]
    orig_client_order_id: str = ""
    is_working: bool = True
    transact_time: int | None = None
    update_time: int | None = None
    time: int | None = None
    expiry_reason: str | None = None
    fills: list[FillRow] = []


class BalanceRow(Struct):
    """One asset of `account.status`."""

    asset: str
    free: Decimal
    locked: Decimal


class AccountStatus(Struct, rename="camel"):
    """The result of `account.status`."""

    balances: list[BalanceRow]
    update_time: int = 0


class Report(Struct):
    """`executionReport`, by the venue's letters."""

    s: str
    c: str
    S: Literal["BUY", "SELL"]
    q: Decimal
    p: Decimal
    x: str
    X: str
    i: int
    z: Decimal
    l: Decimal  # noqa: E741 the venue's letter
    L: Decimal
    n: Decimal
    T: int
    t: int
    m: bool
    N: str | None = None
    C: str = ""
    r: str = "NONE"
    w: bool = True
    eR: str | int | None = None  # noqa: N815 the venue's letters


class PositionRow(Struct):
    """One asset of `outboundAccountPosition`: asset, free, locked."""

    a: str
    f: Decimal
    l: Decimal  # noqa: E741 the venue's letter


class Position(Struct):
    """`outboundAccountPosition`: the assets that may have changed."""

    u: int
    B: list[PositionRow]


class Head(Struct):
    """What every event has: its kind."""

    e: str


_decoders: dict[Any, msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(kind)
    for kind in (Frame, Head, Report, Position, OrderRow, list[OrderRow], list[AccountTrade], AccountStatus)
}


def read_frame(body: bytes) -> Frame:
    """Return the envelope of a message."""
    frame: Frame = _read(Frame, body)
    return frame


def read_head(body: bytes) -> Head:
    """Return the kind of an event."""
    head: Head = _read(Head, body)
    return head


def read_report(body: bytes) -> Report:
    """Return an `executionReport`."""
    report: Report = _read(Report, body)
    _amounts(report.q, report.p, report.z, report.l, report.L)
    _finite(report.n)
    return report


def read_position(body: bytes) -> Position:
    """Return an `outboundAccountPosition`."""
    position: Position = _read(Position, body)
    _amounts(*(value for row in position.B for value in (row.f, row.l)))
    return position


def read_order(body: bytes) -> OrderRow:
    """Return one order."""
    row: OrderRow = _read(OrderRow, body)
    _check_order(row)
    return row


def read_orders(body: bytes) -> list[OrderRow]:
    """Return a list of orders."""
    rows: list[OrderRow] = _read(list[OrderRow], body)
    for row in rows:
        _check_order(row)
    return rows


def read_trades(body: bytes) -> list[AccountTrade]:
    """Return rows of `myTrades`."""
    rows: list[AccountTrade] = _read(list[AccountTrade], body)
    for row in rows:
        _amounts(row.price, row.qty)
        _finite(row.commission)
    return rows


def read_account(body: bytes) -> AccountStatus:
    """Return the balances."""
    account: AccountStatus = _read(AccountStatus, body)
    _amounts(*(value for row in account.balances for value in (row.free, row.locked)))
    return account


def _read(kind: Any, body: bytes) -> Any:  # noqa: ANN401 one decoder for each type
    try:
        return _decoders[kind].decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        name = getattr(kind, "__name__", str(kind))
        raise BadFrame(name, f"{error}: {body[:200]!r}") from error


def _check_order(row: OrderRow) -> None:
    _amounts(row.price, row.orig_qty, row.executed_qty)
    for fill in row.fills:
        _amounts(fill.price, fill.qty)
        _finite(fill.commission)


def _amounts(*values: Decimal) -> None:
    _finite(*values)
    if any(value < 0 for value in values):
        raise BadFrame("amount", f"expected amounts of at least zero, got {values}")


def _finite(*values: Decimal) -> None:
    """Check a fee, which is negative when it is a rebate."""
    if not all(value.is_finite() for value in values):
        raise BadFrame("amount", f"expected finite amounts, got {values}")
