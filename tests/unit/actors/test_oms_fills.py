"""Fills: booked once, whatever road they take, and sealed when nothing more is expected."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import (
    ACCOUNT,
    BTC,
    TREND,
)
from tradefan.core.ledger import position
from tradefan.messages.orders import (
    OrderStatus,
)
from tradefan.messages.records import (
    Fill,
    Sealed,
)
from tradefan.units import MINUTE, InstrumentId

D = Decimal
S = OrderStatus


@pytest.fixture
def bench() -> Bench:
    return Bench().ready()


def test_fill_when_of_a_rejected_order_then_it_is_booked_and_asked(bench: Bench) -> None:
    """The money moved, whatever the venue said before; an overfill is alarmed too."""
    create = bench.limit()
    bench.report(create, S.REJECTED)
    bench.fill(create, 2)
    assert position(bench.trading.ledger, ACCOUNT, TREND, BTC).qty == D(2)
    counters = bench.oms.view().counters
    assert (counters.illegal, counters.overfills) == (1, 1)


def test_fill_when_its_instrument_is_unknown_then_it_is_said_and_not_booked(bench: Bench) -> None:
    """Without an instrument nobody knows which assets moved."""
    create = bench.limit()
    bench.fill(create, 1, instrument=InstrumentId("binance:XRP/USDT"))
    assert bench.made(Fill) == []
    assert "fill_unbookable" in bench.logs


def test_order_when_quiet_long_after_its_end_then_it_is_sealed(bench: Bench) -> None:
    """Confirmed by a look, fills equal the venue's quantity, ten minutes without news."""
    bench.bought()
    short = bench.limit()
    bench.report(short, S.CANCELED, "0.1")
    bench.advance(9 * MINUTE, answering=True)
    assert bench.made(Sealed) == []
    bench.advance(2 * MINUTE, answering=True)
    assert len(bench.made(Sealed)) == 1
    assert bench.trading.orders[bench.made(Sealed)[0].client_order_id].sealed
    bench.check()
