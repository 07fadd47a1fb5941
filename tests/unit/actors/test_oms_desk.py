"""Marks and books: what the risk desk and owners are told."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import (
    ACCOUNT,
    API,
    BTC,
    DESK,
    GATEWAY,
    TRADER,
    TREND,
    USDT,
)
from tradefan.messages.account import EquityMark, OwnBook
from tradefan.messages.control import Started, Stop, StopBegun
from tradefan.messages.gateway import CreateOrder
from tradefan.messages.orders import (
    AskPositions,
    OrderStatus,
    OwnerMemory,
    OwnerTurn,
    ParentSnapshot,
    PositionsSent,
    PositionUpdate,
)
from tradefan.messages.records import (
    Equity,
)
from tradefan.units import EXTERNAL, SECOND, Asset

D = Decimal
S = OrderStatus


@pytest.fixture
def bench() -> Bench:
    return Bench().ready()


def test_positions_when_the_desk_asks_then_books_add_up_to_the_balances(bench: Bench) -> None:
    """Positions by owner, all else of each asset as `external`, the marks, and the closing word."""
    bench.bought(2)
    bench.submit(1, owner=API)
    create = bench.one(GATEWAY, CreateOrder)
    bench.fill(create, 1, fee=D("0.1"))
    mark = EquityMark(ACCOUNT, USDT, 0, D(1), D(2), D(0), {USDT: D(3)})
    bench.tell(mark, mark)
    assert len(bench.made(Equity)) == 1
    for price in (100, 101):
        mark = EquityMark(ACCOUNT, USDT, 0, D(1), D(2), D(0), {USDT: D(3)}, {BTC: D(price)})
        bench.tell(mark)
    # What is held has changed, then only its price.
    assert [one.marks for one in bench.made(Equity)] == [{}, {BTC: D(100)}]
    bench.sent.clear()
    bench.tell(AskPositions(None))
    books = bench.take(DESK, OwnBook)
    assert books[:2] == [
        OwnBook(ACCOUNT, TREND, BTC, Asset("BTC"), D(2), D(200)),
        OwnBook(ACCOUNT, API, BTC, Asset("BTC"), D(1), D(100)),
    ]
    sums: dict[Asset, Decimal] = {}
    for book in books:
        sums[book.asset] = sums.get(book.asset, D(0)) + book.qty
    assert sums == bench.trading.ledger.balances[ACCOUNT]
    assert [book.owner for book in books[2:]] == [EXTERNAL, EXTERNAL]
    assert bench.one(DESK, EquityMark) == msgspec.structs.replace(mark, marks={BTC: D(100)})
    assert [one.owner for one in bench.take(DESK, PositionUpdate)] == [TREND, API]
    assert bench.sent == [(DESK, PositionsSent(None, 1))]


def test_mark_when_a_stop_has_begun_then_new_prices_are_worth_a_record(
    bench: Bench,
) -> None:
    """The next start may have no other price of what is held."""
    mark = EquityMark(ACCOUNT, USDT, 0, D(1), D(2), D(0), {})
    marks = [msgspec.structs.replace(mark, marks={BTC: D(price)}) for price in (100, 101, 102, 103)]
    bench.tell(*marks[:2], StopBegun(), marks[2], marks[2], Stop(bench.now_ns + SECOND), marks[3])
    assert [one.marks[BTC] for one in bench.made(Equity)] == [100, 102]
    assert bench.trading.stopped
    bench.check()


def test_positions_when_an_owner_asks_then_it_hears_of_its_own_only(bench: Bench) -> None:
    """Positions, open parents, its memory, and the closing word with the generation; nothing before READY."""
    bench.bought(2)
    mine = bench.limit(1, 99)
    bench.limit(1, 99, owner=API)
    bench.tell(OwnerTurn(TREND, 1, b"state"))
    bench.sent.clear()
    bench.tell(AskPositions(TREND, 7))
    told = [msg for ref, msg in bench.sent if ref == TRADER]
    assert [type(msg) for msg in told] == [PositionUpdate, ParentSnapshot, OwnerMemory, PositionsSent]
    assert bench.take(TRADER, PositionUpdate)[0].working_qty == D(1)
    snapshot = bench.one(TRADER, ParentSnapshot)
    assert (snapshot.owner, snapshot.update.order.parent_id) == (TREND, mine.parent_id)
    assert bench.one(TRADER, OwnerMemory) == OwnerMemory(TREND, 1, b"state")
    assert bench.one(TRADER, PositionsSent) == PositionsSent(TREND, 1, 7)
    early = Bench()
    early.tell(Started(0), AskPositions(TREND))
    early.fold()
    early.tell(AskPositions(TREND))
    assert early.take(TRADER, PositionsSent) == []


def test_books_when_an_instrument_has_left_the_wiring_then_its_position_is_in_the_rest(bench: Bench) -> None:
    """The sum per asset stays the balance, whatever is still tradable."""
    bench.bought(2)
    again = Bench(records=bench.records, instruments={}, accounts={ACCOUNT: ()}).ready()
    again.tell(AskPositions(None))
    assert {book.asset: book.qty for book in again.take(DESK, OwnBook)} == {"USDT": D(999_800), "BTC": D(2)}
