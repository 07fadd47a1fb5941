"""Groups that are cancelled as a whole, and those whose entry becomes another order."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import FACE, GATEWAY
from tests.unit.actors.test_oms_group import LEGS, bracket, filled, group, later
from tradefan.messages.gateway import CancelOrder, CreateOrder
from tradefan.messages.orders import AmendOrder, Answer, CancelAll, OrderStatus, Refusal
from tradefan.units import SECOND, OwnerId

D = Decimal
S = OrderStatus


@pytest.fixture
def bench() -> Bench:
    """A market at 100, and nothing held."""
    return Bench().ready()


@pytest.mark.parametrize(("how", "sold"), [("flatten", 1), ("keep_exits", 0)])
def test_bracket_when_all_is_cancelled_then_it_is_sold_or_its_position_is_named(
    bench: Bench, how: str, sold: int
) -> None:
    """`on_cancel: flatten` counts for whoever cancels all; else somebody hears what has no protection."""
    legs, entry = bracket(bench, settings={**LEGS, "on_cancel": how})
    filled(bench, entry, 10, 10)
    bench.report(bench.one(GATEWAY, CreateOrder), S.NEW)
    bench.tell(CancelAll(legs["entry"].order.owner, None))
    bench.report(bench.one(GATEWAY, CancelOrder), S.CANCELED)
    later(bench, SECOND)
    assert [one.order_qty for one in bench.take(GATEWAY, CreateOrder)] == [D(10)] * sold
    assert ("protection_cancelled" in bench.logs) == (not sold)
    bench.check()


@pytest.mark.parametrize(
    ("changes", "code"), [({"trigger_price": D(112)}, "WOULD_TRIGGER_NOW"), ({"trigger_price": D(108)}, None)]
)
def test_bracket_when_its_entry_is_amended_then_its_exits_are_held_against_it(
    bench: Bench, changes: dict[str, Any], code: str | None
) -> None:
    """An entry at 112 would be sold at 110 at once: refused as it is where it is submitted."""
    legs = group(bench, "bracket", settings={**LEGS, "entry": {"algo": "stop", "trigger_price": "105"}})
    entry = legs["entry"].order
    bench.tell(AmendOrder(entry.owner, entry.parent_id, req=7, **changes))
    assert [one.code for one in bench.take(FACE, Refusal)] == ([] if code is None else [code])
    bench.check()


def test_bracket_when_its_working_entry_is_amended_then_its_exits_are_held_against_it(bench: Bench) -> None:
    """A limit of 96 for the entry and a stop at 97 that offsets do not follow."""
    legs, _ = bracket(bench, settings={"take_profit.limit_price": "110", "stop.trigger_price": "97"})
    entry = legs["entry"].order
    bench.tell(AmendOrder(entry.owner, entry.parent_id, limit_price=D(96), req=7))
    assert bench.one(FACE, Refusal).code == "WOULD_TRIGGER_NOW"
    bench.check()


def test_ref_when_its_order_was_amended_then_its_repetition_is_the_first_answer(bench: Bench) -> None:
    """The owner does not know that somebody has changed it."""
    wish = bench.submit(5, algo="limit", limit_price=D(99), req=1)
    (first,) = bench.take(FACE, Answer)
    bench.report(bench.one(GATEWAY, CreateOrder), S.NEW)
    bench.tell(AmendOrder(OwnerId("cli"), first.parent_ids[0], limit_price=D(98), order_qty=D(4)))
    bench.report(bench.one(GATEWAY, CancelOrder), S.CANCELED)
    assert bench.trading.parents[first.parent_ids[0]].order.limit_price == D(98)
    bench.tell(wish)
    assert bench.one(FACE, Answer) == Answer(1, first.parent_ids, known=True)
