"""Builds what a daemon leaves behind after long trading: a journal of a million rows, and its venue's file.

Rows are records like the daemon's own, written by the journal's own class, with one snapshot nearly
`journal.snapshot_every` rows before the end, as kill -9 leaves it in the worst case.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from pathlib import Path

import msgspec

from tradefan.config.schema import JournalConfig
from tradefan.core.ids import client_order_id, parent_id
from tradefan.core.trading import Trading, apply
from tradefan.links.paper import SqlitePaperStore
from tradefan.messages.control import Append, Snap
from tradefan.messages.orders import OrderStatus, ParentOrder, Phase
from tradefan.messages.records import (
    Epoch,
    Fill,
    Intent,
    Opening,
    Parent,
    PhaseChange,
    Record,
    Report,
    Sealed,
)
from tradefan.stores.journal import JournalFile
from tradefan.units import AccountId, Asset, InstrumentId, OwnerId, Side, TradeId
from tradefan.venues.paper_state import Changes, PaperBalance, PaperOrder

ACCOUNT, OWNER, USDT = AccountId("paper:main"), OwnerId("api"), Asset("USDT")
INSTANCE = "big"
OPENING = Decimal(1_000_000)
FEE = Decimal("0.01")
MARKETS = {
    "binance:BTC/USDT": (Decimal(50_000), Decimal("0.001")),
    "binance:ETH/USDT": (Decimal(2_000), Decimal("0.01")),
    "binance:SOL/USDT": (Decimal(100), Decimal("0.1")),
}
"""Price far below the market, so that nothing fills by chance, and quantity."""
_GROUP = 1_000


@dataclass
class Maker:
    """Makes records in order; remembers what the venue must know."""

    at_ns: int
    sequence: int = 0
    open: list[PaperOrder] = field(default_factory=list)
    fees: Decimal = Decimal(0)

    def closed(self) -> Iterator[Record]:
        """Seven records of an order that was filled and sealed; the next one sells what it bought."""
        number = self.sequence
        instrument = [*MARKETS][number // 2 % len(MARKETS)]
        side: Side = "buy" if number % 2 == 0 else "sell"
        price, qty = MARKETS[instrument]
        yield from self._placed(instrument, side)
        order, parent = client_order_id(INSTANCE, 1, number), parent_id(INSTANCE, 1, number)
        base = Asset(instrument.partition(":")[2].partition("/")[0])
        yield Fill(
            at_ns=self._tick(),
            account=ACCOUNT,
            instrument=InstrumentId(instrument),
            owner=OWNER,
            trade_id=TradeId(str(number + 1)),
            client_order_id=order,
            venue_order_id=str(number + 1),
            side=side,
            qty=qty,
            price=price,
            base=base,
            quote=USDT,
            fee=FEE,
            fee_asset=USDT,
            liquidity="maker",
            event_ns=self.at_ns,
        )
        self.fees += FEE
        status = OrderStatus.FILLED
        yield Report(self._tick(), ACCOUNT, order, str(number + 1), status, qty, "", self.at_ns)
        yield PhaseChange(self._tick(), parent, Phase.DONE, status, "filled")
        yield Sealed(self._tick(), ACCOUNT, order)
        self.sequence += 1

    def resting(self) -> Iterator[Record]:
        """Three records of an order that rests."""
        number = self.sequence
        instrument = [*MARKETS][number % len(MARKETS)]
        price, qty = MARKETS[instrument]
        yield from self._placed(instrument, "buy")
        self.open.append(
            PaperOrder(
                order_id=number + 1,
                client_order_id=client_order_id(INSTANCE, 1, number),
                instrument=InstrumentId(instrument),
                side="buy",
                type="LIMIT",
                time_in_force="GTC",
                price=price,
                qty=qty,
                cum_qty=Decimal(0),
                cum_quote=Decimal(0),
                status="NEW",
                created_ns=self.at_ns,
                updated_ns=self.at_ns,
            )
        )
        self.sequence += 1

    def _placed(self, instrument: str, side: Side) -> Iterator[Record]:
        number = self.sequence
        order, parent = client_order_id(INSTANCE, 1, number), parent_id(INSTANCE, 1, number)
        price, qty = MARKETS[instrument]
        base = Asset(instrument.partition(":")[2].partition("/")[0])
        wish = ParentOrder(
            parent_id=parent,
            account=ACCOUNT,
            instrument=InstrumentId(instrument),
            owner=OWNER,
            ref=f"big-{number}",
            side=side,
            order_qty=qty,
            algo="limit",
            settings={},
            limit_price=price,
            intent_id=f"big-{number}",
            reason="",
            reduce_only=False,
            position_side="net",
            protective=False,
            created_ns=self.at_ns,
        )
        yield Parent(self._tick(), wish)
        yield Intent(
            at_ns=self._tick(),
            account=ACCOUNT,
            instrument=InstrumentId(instrument),
            owner=OWNER,
            parent_id=parent,
            client_order_id=order,
            sequence=number,
            side=side,
            order_type="limit",
            time_in_force="GTC",
            post_only=False,
            order_qty=qty,
            limit_price=price,
            reserve_px=price,
            config_id="cfg",
            instrument_version=1,
            reference_px=price,
            reference_age_ns=1,
            not_after_ns=self.at_ns + 2_000_000_000,
            reduce_only=False,
            reserve_asset=USDT if side == "buy" else base,
            reserve_per_unit=price if side == "buy" else Decimal(1),
        )
        status, venue_id = OrderStatus.NEW, str(number + 1)
        yield Report(self._tick(), ACCOUNT, order, venue_id, status, Decimal(0), "", self.at_ns)

    def _tick(self) -> int:
        self.at_ns += 1_000
        return self.at_ns


def records(maker: Maker, rows: int, resting: int) -> Iterator[Record]:
    """Yield so many rows; the orders that rest are the last."""
    yield Epoch(maker.at_ns, 1, INSTANCE, "cfg", "0.1.0")
    cursors = tuple((InstrumentId(name), TradeId("0")) for name in MARKETS)
    yield Opening(maker.at_ns, ACCOUNT, USDT, OPENING, None, cursors)
    for _ in range((rows - 2 - 3 * resting) // 14 * 2):
        yield from maker.closed()
    for _ in range(resting):
        yield from maker.resting()


def build(data: Path, rows: int, resting: int) -> int:
    """Write journal, venue's file and instance into a data directory; return how many rows there are."""
    data.mkdir(parents=True)
    (data / "instance").write_text(INSTANCE)
    maker = Maker(time.time_ns() - 3_600_000_000_000)
    made, state, lsn, snapped = records(maker, rows, resting), Trading(), 0, False
    tail = JournalConfig().snapshot_every
    file = JournalFile(str(data / "journal.db"))
    while group := tuple(islice(made, _GROUP)):
        for record in group:
            apply(state, record)
        snap = None
        if not snapped and lsn + len(group) > rows - tail:
            snap, snapped = Snap(lsn + len(group), msgspec.msgpack.encode(state)), True
        file.write((Append(lsn + 1, 1, group),), snap=snap)
        lsn += len(group)
    file.close()
    assert (state.unapplied, len(state.orders_live), state.lsn) == (0, resting, lsn)
    _write_venue(data, maker)
    return lsn


def _write_venue(data: Path, maker: Maker) -> None:
    locked = sum((order.price * order.qty for order in maker.open), Decimal(0))
    store = SqlitePaperStore(data / "paper.db", ACCOUNT, {"USDT": OPENING})
    orders = {order.order_id: order for order in maker.open}
    balance = PaperBalance(OPENING - maker.fees - locked, locked)
    store.save(Changes(orders, [], {"USDT": balance}), maker.sequence + 1, maker.sequence + 1)
    store.close()
