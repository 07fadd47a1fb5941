"""What is armed becomes another order at once: quantity, limit or level, and protects all the time."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import BTC, FACE, GATEWAY, TREND
from tests.unit.actors.test_oms_group import bracket, filled
from tests.unit.actors.test_oms_trigger import Prints, armed, fired, parent_of, restarted
from tradefan.actors.oms_contingent import check_said
from tradefan.errors import Refused
from tradefan.messages.contingent import Amend, Armed, Triggered
from tradefan.messages.gateway import CreateOrder
from tradefan.messages.orders import AmendOrder, Answer, Phase, Refusal
from tradefan.units import SECOND

D = Decimal


@pytest.fixture
def bench() -> Bench:
    """A strategy that holds 10 BTC, in a market at 100."""
    bench = Bench().ready()
    bench.bought(10)
    return bench


def amend(bench: Bench, **changes: Any) -> None:
    bench.tell(AmendOrder(TREND, parent_of(bench).order.parent_id, req=7, **changes))


def test_stop_when_its_level_is_amended_then_it_fires_there_and_was_armed_all_the_time(bench: Bench) -> None:
    """ARMED again in the turn of the wish: 97 fires, where 95 would not have."""
    parent = armed(bench, qty=5)
    amend(bench, trigger_price=D(97))
    assert bench.one(FACE, Answer).parent_ids == (parent.order.parent_id,)
    assert [one.level for one in bench.made(Armed)] == [D(95), D(97)]
    assert parent.phase is Phase.ARMED
    Prints(bench)(96.5, 96.5)
    assert [price for price, *_ in fired(bench)] == [D("96.5")]
    assert bench.one(GATEWAY, CreateOrder).order_qty == D(5)
    bench.check()


def test_stop_when_its_quantity_is_amended_then_it_sells_that(bench: Bench) -> None:
    """One AMEND; the level stays."""
    armed(bench, qty=5)
    amend(bench, order_qty=D(8))
    assert [(one.order_qty, one.reason) for one in bench.made(Amend)] == [(D(8), "amended")]
    assert len(bench.made(Armed)) == 1
    Prints(bench)(94, 94)
    assert bench.one(GATEWAY, CreateOrder).order_qty == D(8)
    bench.check()


@pytest.mark.parametrize(("setting", "value"), [("collar_bps", "5"), ("halt", "extend")])
def test_stop_when_an_older_version_let_more_in_then_it_can_be_moved_all_the_same(
    bench: Bench, setting: str, value: str
) -> None:
    """What an entry refuses today because it does not count goes on without an effect."""
    parent = armed(bench, qty=5)
    parent.order = replace(parent.order, settings={**parent.order.settings, setting: value})
    amend(bench, trigger_price=D(97))
    assert [one.level for one in bench.made(Armed)] == [D(95), D(97)]
    with pytest.raises(Refused, match=f"BAD_SETTING.*{setting}"):
        check_said(parent.order)


def test_stop_limit_when_its_limit_is_amended_then_it_rests_there(bench: Bench) -> None:
    """What it becomes has the new limit."""
    armed(bench, "stop_limit", limit_price=D(94))
    amend(bench, limit_price=D("94.5"))
    bench.quote(BTC, 95)
    Prints(bench)(94.9, 94.9)
    assert bench.one(GATEWAY, CreateOrder).limit_price == D("94.5")
    bench.check()


@pytest.mark.parametrize(
    ("changes", "code", "passes"),
    [
        ({"order_qty": D(7)}, "RISK_REDUCE_ONLY", "order_qty 6"),
        ({"order_qty": D("5.0005")}, "OFF_GRID", "order_qty 5"),
        ({"order_qty": D("NaN")}, "BAD_NUMBER", None),
        ({"trigger_price": D(101)}, "WOULD_TRIGGER_NOW", "trigger_price 99.99"),
        ({"trigger_price": D("95.001")}, "OFF_GRID", "trigger_price 95"),
        ({"end_ns": 10**18}, "NOT_AMENDABLE", "the same once it has fired"),
        ({"trigger_price": D(95)}, "NOTHING_TO_AMEND", None),
        ({}, "NOTHING_TO_AMEND", None),
    ],
)
def test_amend_when_an_entry_would_be_refused_then_it_waits_as_before(
    bench: Bench, changes: dict[str, Any], code: str, passes: str | None
) -> None:
    """With the code of an entry and what would pass; nothing is written, and the old level fires."""
    armed(bench, qty=4, trigger_price="90")
    armed(bench, qty=5)
    before = len(bench.records)
    amend(bench, **changes)
    refusal = bench.one(FACE, Refusal)
    assert (refusal.code, refusal.would_pass) == (code, passes)
    assert len(bench.records) == before
    Prints(bench)(94, 94)
    assert bench.one(GATEWAY, CreateOrder).order_qty == D(5)


def test_amend_when_its_limit_comes_from_the_mid_then_another_kind_of_limit_is_refused(bench: Bench) -> None:
    """Two kinds of limit would be refused when it fires."""
    armed(bench, "trailing", qty=5, callback_bps="100", limit_offset_bps="50")
    before = len(bench.records)
    amend(bench, limit_price=D(94))
    assert bench.one(FACE, Refusal).code == "NOT_AMENDABLE"
    assert len(bench.records) == before


def test_amend_when_it_has_fired_then_a_level_is_refused(bench: Bench) -> None:
    """It waits for none any more."""
    armed(bench, qty=5)
    Prints(bench)(94, 94)
    amend(bench, trigger_price=D(90))
    assert bench.one(FACE, Refusal).code == "NOT_AMENDABLE"


def test_amend_when_it_is_a_leg_then_its_level_may_change_and_its_quantity_not(bench: Bench) -> None:
    """A bracket says how much its exits cover."""
    legs, entry = bracket(bench)
    filled(bench, entry, 3, 10)
    stop = legs["stop"].order.parent_id
    bench.tell(AmendOrder(legs["stop"].order.owner, stop, order_qty=D(2), req=8))
    assert bench.one(FACE, Refusal).code == "NOT_AMENDABLE"
    level = legs["stop"].trigger
    assert level is not None
    assert level.level is not None
    bench.tell(AmendOrder(legs["stop"].order.owner, stop, trigger_price=level.level + 1, req=9))
    assert bench.made(Armed)[-1].level == level.level + 1
    assert bench.trading.parents[stop].phase is Phase.ARMED
    bench.check()


def test_amend_when_killed_behind_it_then_the_new_level_is_known(bench: Bench) -> None:
    """The journal has all of it."""
    armed(bench, qty=5)
    amend(bench, trigger_price=D(97), order_qty=D(6))
    again = restarted(list(bench.records), bench.now_ns + SECOND)
    Prints(again, 100)(96.5, 96.5, 96.5)
    assert len(again.made(Triggered)) == 1
    assert again.take(GATEWAY, CreateOrder)[-1].order_qty == D(6)
    again.check()
