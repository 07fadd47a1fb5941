"""What is not ours: it counts, and is never touched."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import (
    ACCOUNT,
    BTC,
    DESK,
    GATEWAY,
    TRADER,
    client_id,
)
from tradefan.core.ids import client_order_id
from tradefan.core.ledger import position
from tradefan.messages.orders import (
    CancelOrder,
    Doubt,
    FillUpdate,
    OrderInDoubt,
    OrderNotSent,
    OrderStatus,
)
from tradefan.messages.records import (
    Fill,
)
from tradefan.units import EXTERNAL

D = Decimal
S = OrderStatus


@pytest.fixture
def bench() -> Bench:
    return Bench().ready()


def test_fill_when_not_ours_then_it_is_external(bench: Bench) -> None:
    """Manual and foreign trades belong to `external`; an unknown id of our own form is an orphan."""
    create = bench.limit()
    bench.fill(create, 1, client_order_id=client_id("web_123"))
    bench.fill(create, 1, client_order_id=None, side="sell")
    bench.fill(create, 3, client_order_id=client_order_id("dev", 9, 9))
    assert [record.owner for record in bench.made(Fill)] == [EXTERNAL] * 3
    assert position(bench.trading.ledger, ACCOUNT, EXTERNAL, BTC).qty == D(3)
    counters = bench.oms.view().counters
    assert (counters.foreign, counters.orphans) == (2, 1)
    assert bench.take(TRADER, FillUpdate) == []
    assert len(bench.take(DESK, FillUpdate)) == 3


def test_report_when_not_ours_then_it_is_counted_and_never_touched(bench: Bench) -> None:
    """Foreign orders are not cancelled, amended or adopted."""
    create = bench.limit()
    bench.report(create, S.NEW, client_order_id=client_id("web_123"))
    bench.tell(
        OrderNotSent(ACCOUNT, client_id("x"), ""), OrderInDoubt(ACCOUNT, client_id("x"), Doubt.CREATE, "")
    )
    assert bench.oms.view().counters.foreign == 1
    assert bench.take(GATEWAY, CancelOrder) == []
