"""Records and rows for the tests of journal and stores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from functools import partial
from typing import Any

import apsw
import msgspec

from tradefan.messages.account import EquityPoint, HealthPoint, IndicatorPoint, RiskPoint
from tradefan.messages.market import Bar, Gap, Trade
from tradefan.messages.orders import (
    FillUpdate,
    OrderStatus,
    OrderUpdate,
    ParentOrder,
    ParentUpdate,
    Phase,
    PositionUpdate,
    Refusal,
)
from tradefan.messages.records import Cursor, Fill, Record, Transfer
from tradefan.messages.tca import Costs, Lines, State, TcaUpdate
from tradefan.sim.disk import SimDisk
from tradefan.stores.disk import RealDisk
from tradefan.stores.segments import FORMAT, Head
from tradefan.units import AccountId, Asset, ClientOrderId, InstrumentId, OwnerId, ParentId, Side, TradeId

ACCOUNT = AccountId("paper:main")
BTC = InstrumentId("binance:BTC/USDT")
OWNER = OwnerId("rebalance")
RUN = "20260101T000000.000000Z"


def transfers(count: int, first: int = 1) -> tuple[Record, ...]:
    """Records that can be told apart by their quantity."""
    return tuple(
        Transfer(number, ACCOUNT, Asset("USDT"), Decimal(number), "test")
        for number in range(first, first + count)
    )


def head(number: int, step: int) -> Callable[[], bytes]:
    """What gives the head of a segment that is recorded outside a daemon."""
    made = Head(
        format=FORMAT,
        run=RUN,
        number=number,
        first_step=step,
        version="1",
        python="3.11.2",
        code="c",
        strategies="",
        environment="development",
        config_id="x",
        instruments=(),
        instance="abc",
        journal="journal.db",
    )
    return partial(msgspec.msgpack.encode, made)


def fill_record(number: int) -> Fill:
    return Fill(
        at_ns=number,
        account=ACCOUNT,
        instrument=BTC,
        owner=OWNER,
        trade_id=TradeId(str(number)),
        client_order_id=ClientOrderId("c1"),
        venue_order_id="v1",
        side="buy",
        qty=Decimal("0.5"),
        price=Decimal("60000.10"),
        base=Asset("BTC"),
        quote=Asset("USDT"),
        fee=Decimal("0.0005"),
        fee_asset=Asset("BTC"),
        liquidity="taker",
        event_ns=number,
    )


def cursor_record(number: int) -> Cursor:
    return Cursor(number, ACCOUNT, BTC, TradeId(str(number)))


def trade(number: int, at_ns: int | None = None, price: float = 60_000.5) -> Trade:
    return Trade(BTC, number, price, 0.25, "buy", number if at_ns is None else at_ns, number + 5)


def bar(open_ns: int, timeframe: str = "1m", close: float = 3.0) -> Bar:
    return Bar(BTC, timeframe, open_ns, open_ns + 60, 1.0, 4.0, 0.5, close, 12.5, 1250, 7)


def gap(from_ns: int) -> Gap:
    return Gap(BTC, "trade", from_ns, from_ns + 5, 3, None, "reconnect")


def fill(number: int, lsn: int, side: Side = "buy") -> FillUpdate:
    return FillUpdate(
        account=ACCOUNT,
        instrument=BTC,
        owner=OWNER,
        parent_id=ParentId("p1"),
        client_order_id=None,
        trade_id=TradeId(str(number)),
        side=side,
        qty=Decimal("0.5"),
        price=Decimal("60000.10"),
        fee=Decimal("0.0005"),
        fee_asset=Asset("BTC"),
        liquidity="taker",
        event_ns=number,
        lsn=lsn,
        realised=Decimal("-1.50"),
    )


def order(number: int, status: OrderStatus = OrderStatus.NEW, updated_ns: int = 10) -> OrderUpdate:
    return OrderUpdate(
        account=ACCOUNT,
        instrument=BTC,
        owner=OWNER,
        parent_id=ParentId("p1"),
        client_order_id=ClientOrderId(f"c{number}"),
        venue_order_id=None,
        side="buy",
        order_type="limit",
        time_in_force="GTC",
        order_qty=Decimal("0.5"),
        limit_price=Decimal("60000.10"),
        status=status,
        in_doubt=None,
        cum_qty=Decimal(0),
        avg_px=None,
        reason="",
        created_ns=5,
        updated_ns=updated_ns,
        # Whoever asks for a newer picture means its place in the journal.
        lsn=updated_ns,
    )


def parent(number: int, updated_ns: int = 10, phase: Phase = Phase.WORKING) -> ParentUpdate:
    wish = ParentOrder(
        parent_id=ParentId(f"p{number}"),
        account=ACCOUNT,
        instrument=BTC,
        owner=OWNER,
        ref="r1",
        side="buy",
        order_qty=Decimal(5),
        algo="limit",
        settings={"post_only": True},
        limit_price=Decimal(60_000),
        intent_id="i1",
        reason="test",
        reduce_only=False,
        position_side="net",
        protective=False,
        created_ns=5,
    )
    return ParentUpdate(
        order=wish,
        status=OrderStatus.NEW,
        phase=phase,
        reason="",
        cum_qty=Decimal(1),
        working_qty=Decimal(4),
        in_doubt_qty=Decimal(0),
        avg_px=Decimal("60000.05"),
        children=1,
        updated_ns=updated_ns,
        # Whoever asks for a newer picture means its place in the journal.
        lsn=updated_ns,
    )


def costs(state: State = "provisional", **changes: Any) -> Costs:
    """Return the costs of a purchase of 5, of which 4 traded; what is not named is not known."""
    known: dict[str, Any] = {
        "state": state,
        "order_qty": Decimal(5),
        "filled": Decimal(4),
        "avg_px": Decimal("60000.05"),
        "fees": Decimal("1.20"),
        "fill_ratio": Decimal("0.8"),
        "arrived_ns": 5,
        "ended_ns": 9,
        "arrival_slippage_bps": Decimal("1.5"),
        "ack_p50_ms": 12.5,
        "flags": ("uncalibrated", "no_mid"),
    }
    return Costs(**{**dict.fromkeys(Costs.__struct_fields__), **known, **changes})


def tca(number: int, lsn: int = 9, lines: Lines = Lines(), **changes: Any) -> TcaUpdate:  # noqa: B008 frozen
    """Return the analysis of a parent."""
    name, quote = ParentId(f"p{number}"), Asset("USDT")
    return TcaUpdate(name, ACCOUNT, BTC, OWNER, "buy", "twap", quote, 4, 9, costs(**changes), lines, lsn)


def position(qty: str, updated_ns: int = 10) -> PositionUpdate:
    return PositionUpdate(
        account=ACCOUNT,
        owner=OWNER,
        instrument=BTC,
        qty=Decimal(qty),
        avg_px=Decimal("60000.05"),
        realised=Decimal(3),
        fees={Asset("BTC"): Decimal("0.001")},
        working_qty=Decimal(0),
        in_doubt_qty=Decimal(0),
        updated_ns=updated_ns,
        # Whoever asks for a newer picture means its place in the journal.
        lsn=updated_ns,
    )


def equity(at_ns: int, amount: str = "1000000") -> EquityPoint:
    return EquityPoint(
        account=ACCOUNT,
        numeraire=Asset("USDT"),
        at_ns=at_ns,
        equity=Decimal(amount),
        realised=Decimal(1),
        unrealised=Decimal(2),
        fees=Decimal(3),
        seam=Decimal(0),
        drawdown=Decimal("0.01"),
        exposure=Decimal("0.15"),
    )


def indicator(at_ns: int, value: float = 1.5, name: str = "fast") -> IndicatorPoint:
    return IndicatorPoint(OWNER, BTC, name, at_ns, value)


def risk(at_ns: int, drawdown: str = "0.01") -> RiskPoint:
    share = Decimal("0.125")
    return RiskPoint(ACCOUNT, at_ns, Decimal(drawdown), share, share, share)


def health(at_ns: int, *, ready: bool = True) -> HealthPoint:
    return HealthPoint(
        at_ns, "NORMAL", ready, 0.001, 90_000_000, 17, 99, 0, 1.5, 0.25, 10**9, 2 * 10**9, 7, 8
    )


def refusal(at_ns: int, ref: str = "r1") -> Refusal:
    return Refusal(
        account=None,
        instrument=None,
        owner=OWNER,
        ref=ref,
        code="RISK_EXPOSURE",
        text="too much",
        limit="0.80",
        used="0.81",
        would_pass="0",
        at_ns=at_ns,
    )


class Disk(RealDisk):
    """The real disk with databases that are full while `full` is set."""

    def __init__(self) -> None:
        self.full = False

    def connect(self, path: str, flags: int) -> apsw.Connection:
        return Limited(self, path, flags)


class Limited(apsw.Connection):
    """A database that grows no further than it is while its disk is full."""

    def __init__(self, disk: Disk, path: str, flags: int) -> None:
        self._disk = disk
        super().__init__(path, flags)

    def execute(self, statements: str, *args: Any, **more: Any) -> apsw.Cursor:
        if statements == "BEGIN IMMEDIATE":
            self.pragma("max_page_count", 1 if self._disk.full else 1_000_000)
        return super().execute(statements, *args, **more)


class Died(BaseException):
    """Nothing more happens in this process."""


@contextmanager
def dies_at(disk: SimDisk, call: int) -> Iterator[None]:
    """Let the process die in this block, at the n-th call that would change a file."""
    calls = 0

    def die(_operation: str, _path: str) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            raise Died

    disk.on_call = die
    with suppress(Died):
        yield
    disk.on_call = None
