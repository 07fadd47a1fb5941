"""The words of one Binance spot account as typed frames: answers, and events of the user data stream.

Amounts are Decimals. `Decimal` also reads `NaN`, `Infinity` and `1e999999`, and JSON knows no largest
integer, so everything that arithmetic or a journal record would stumble over is stopped here: numbers
by their bounds, amounts by a look at each. Every function raises BadFrame and nothing else.
Source: binance-spot-api-docs at a5e0bc3 (2026-07-21).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from tradefan.units import is_number
from tradefan.venues.feed_events import BadFrame

BODY_MAX = 4 * 2**20
"""Longest body that is read, ten times the longest honest one: 1,000 trades are 0.3 MiB, and open
orders reach it at about 8,000."""
_REQ_DIGITS = 19

Ms = Annotated[int, Meta(ge=0, lt=2**43)]
"""Milliseconds since 1970, until the year 2248: in ns it still fits 63 bits."""
Id = Annotated[int, Meta(ge=0, lt=2**62)]
TradeNumber = Annotated[int, Meta(gt=-(2**62), lt=2**62)]
"""A trade's id; below zero it is none, as in `t` of an `executionReport` that tells of no trade."""
Word = Annotated[str, Meta(max_length=100)]
"""Ids, symbols, statuses: Binance's own are at most 36 characters long."""


class Frame(Struct):
    """A message of the socket: an answer with `id`, or an event of the user data stream."""

    id: str | int | None = None
    status: int | None = None
    result: Raw = Raw(b"")
    error: Raw = Raw(b"")
    event: Raw = Raw(b"")

    @property
    def req(self) -> int | None:
        """The request that is answered, None for an event or an id that was never ours."""
        text = str(self.id)
        # Longer texts are not read at all: `int` refuses thousands of digits by an exception of its own.
        ours = text.isascii() and text.isdecimal() and len(text) <= _REQ_DIGITS
        return int(text) if ours else None


class AccountTrade(Struct, frozen=True, rename="camel"):
    """One row of `myTrades`, which knows the venue's order id only.

    Binance's rows always have an id; at other venues of these words it may be missing or below zero.
    """

    symbol: Word
    order_id: Id
    price: Decimal
    qty: Decimal
    commission: Decimal
    commission_asset: Word
    time: Ms
    is_buyer: bool
    is_maker: bool
    id: TradeNumber | None = None

    @property
    def trade_id(self) -> int | None:
        """The venue's id of the trade, None where it gives none."""
        return self.id if self.id is not None and self.id >= 0 else None


class FillRow(Struct, rename="camel"):
    """One of the `fills` in a FULL answer to `order.place`."""

    price: Decimal
    qty: Decimal
    commission: Decimal
    commission_asset: Word
    trade_id: TradeNumber | None = None


class OrderRow(Struct, rename="camel"):
    """An order, in answers to `order.place`, `order.cancel`, `order.status` and `openOrders.status`."""

    symbol: Word
    order_id: Id
    client_order_id: Word
    price: Decimal
    orig_qty: Decimal
    executed_qty: Decimal
    status: Word
    side: Literal["BUY", "SELL"]
    orig_client_order_id: Word = ""
    is_working: bool = True
    transact_time: Ms | None = None
    update_time: Ms | None = None
    time: Ms | None = None
    expiry_reason: Word | None = None
    fills: list[FillRow] = []


class BalanceRow(Struct):
    """One asset of `account.status`."""

    asset: Word
    free: Decimal
    locked: Decimal


class AccountStatus(Struct, rename="camel"):
    """The result of `account.status`."""

    balances: list[BalanceRow]
    update_time: Ms = 0


class Report(Struct):
    """`executionReport`, by the venue's letters."""

    s: Word
    c: Word
    S: Literal["BUY", "SELL"]
    q: Decimal
    p: Decimal
    x: Word
    X: Word
    i: Id
    z: Decimal
    l: Decimal  # noqa: E741 the venue's letter
    L: Decimal
    n: Decimal
    T: Ms
    m: bool
    t: TradeNumber = -1
    N: Word | None = None
    C: Word = ""
    r: Word = "NONE"
    w: bool = True
    eR: Word | TradeNumber | None = None  # noqa: N815 the venue's letters


class PositionRow(Struct):
    """One asset of `outboundAccountPosition`: asset, free, locked."""

    a: Word
    f: Decimal
    l: Decimal  # noqa: E741 the venue's letter


class Position(Struct):
    """`outboundAccountPosition`: the assets that may have changed."""

    u: Ms
    B: list[PositionRow]


class Head(Struct):
    """What every event has: its kind."""

    e: Word


class Bust(Struct):
    """`tradeBust`: a trade was taken back, or with quantity and price, changed.

    Binance has no such event and busts no trades through its API; it is what the local exchange and
    the simulated venue speak (FIX ExecType H, Trade Cancel, and G, Trade Correct).
    """

    s: Word
    t: Id
    T: Ms
    q: Decimal | None = None
    p: Decimal | None = None


class LegError(Struct):
    """Why one leg of a cancel-replace failed."""

    code: int
    msg: str = ""


class Legs(Struct, rename="camel"):
    """What became of both legs of an `order.cancelReplace`.

    Each response is an order where its result is SUCCESS, and code and text where it is FAILURE.
    """

    cancel_result: Literal["SUCCESS", "FAILURE"]
    new_order_result: Literal["SUCCESS", "FAILURE", "NOT_ATTEMPTED"]
    cancel_response: Raw
    new_order_response: Raw


class LegsFailed(Struct):
    """The error of a cancel-replace of which a leg failed."""

    data: Legs


_decoders: dict[Any, msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(kind)
    for kind in (
        Frame,
        Head,
        Report,
        Position,
        Bust,
        OrderRow,
        list[OrderRow],
        list[AccountTrade],
        AccountStatus,
        Legs,
        LegsFailed,
        LegError,
    )
}


def read_frame(body: bytes) -> Frame:
    """Return the envelope of a message."""
    if len(body) > BODY_MAX:
        raise BadFrame("Frame", f"{len(body)} bytes, at most {BODY_MAX} are read: {body[:200]!r}")
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
    if report.l:
        _traded(report.L, report.l)
    return report


def read_position(body: bytes) -> Position:
    """Return an `outboundAccountPosition`."""
    position: Position = _read(Position, body)
    _amounts(*(value for row in position.B for value in (row.f, row.l)))
    return position


def read_bust(body: bytes) -> Bust:
    """Return a `tradeBust`: quantity and price are both there, or the trade does not hold at all."""
    bust: Bust = _read(Bust, body)
    if (bust.q is None) != (bust.p is None):
        raise BadFrame("Bust", f"expected quantity and price or neither, got {bust}")
    if bust.q is not None and bust.p is not None:
        _traded(bust.p, bust.q)
    return bust


def read_legs(result: bytes, error: bytes) -> Legs:
    """Return the legs of a cancel-replace, from its result or, where one failed, from its error."""
    legs: Legs = _read(Legs, result) if result else _read(LegsFailed, error).data
    return legs


def read_leg_error(body: bytes) -> LegError:
    """Return why a leg failed."""
    error: LegError = _read(LegError, body)
    return error


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
        _traded(row.price, row.qty)
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
        _traded(fill.price, fill.qty)
        _finite(fill.commission)


def _amounts(*values: Decimal) -> None:
    _finite(*values)
    if any(value < 0 for value in values):
        raise BadFrame("amount", f"expected amounts of at least zero, got {_shown(values)}")


def _traded(price: Decimal, qty: Decimal) -> None:
    """Check a trade: without a price or a quantity it is none, and would be booked as one."""
    _finite(price, qty)
    if price <= 0 or qty <= 0:
        raise BadFrame("trade", f"expected a price and a quantity above zero, got {_shown((price, qty))}")


def _finite(*values: Decimal) -> None:
    """Check a fee, which is negative when it is a rebate."""
    if not all(is_number(value) for value in values):
        raise BadFrame("amount", f"expected numbers of bounded size and places, got {_shown(values)}")


def _shown(values: tuple[Decimal, ...]) -> str:
    return ", ".join(map(str, values))[:200]
