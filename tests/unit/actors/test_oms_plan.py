"""A dry run: the plan that would be worked, or the refusal that would come, and nothing is created."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import API, BTC, FACE, GATEWAY, STORE, TRADER, TREND, submit
from tests.unit.actors.test_oms_group import LEGS
from tradefan.messages.gateway import CreateOrder
from tradefan.messages.market import VolumeDays
from tradefan.messages.orders import AskPlan, PlanAnswer, PlannedSlice, Refusal
from tradefan.messages.records import (
    Parent,
)
from tradefan.messages.work import (
    Decision,
)
from tradefan.units import DAY, HOUR, MINUTE, SECOND

D = Decimal


@pytest.fixture
def bench() -> Bench:
    return Bench().ready()


def plan(bench: Bench, qty: Any, algo: str, **changes: Any) -> PlanAnswer | Refusal:
    """Ask how an order would be worked; nothing else may happen."""
    before = (len(bench.records), bench.oms.state.live.counters.refusals)
    bench.tell(AskPlan(submit(qty, **{"owner": API, "algo": algo, "req": 9, **changes})))
    told: list[PlanAnswer | Refusal] = [*bench.take(FACE, PlanAnswer), *bench.take(FACE, Refusal)]
    (answer,) = told
    assert (len(bench.records), bench.oms.state.live.counters.refusals) == before
    assert [ref for ref, _ in bench.sent if ref in (GATEWAY, STORE, TRADER)] == []
    return answer


def test_plan_when_asked_then_it_is_the_one_that_a_submit_gets(bench: Bench) -> None:
    """Same targets, same instants, jitter and all: the code that runs makes it."""
    settings = {"duration": "300s"}
    found = plan(bench, 10, "twap", settings=settings)
    assert isinstance(found, PlanAnswer)
    bench.submit(10, algo="twap", settings=settings, owner=API)
    (parent,) = bench.made(Parent)
    assert tuple(one.target_qty / parent.plan.qty_lot for one in found.slices) == parent.plan.taus
    assert (found.n, found.start_ns, found.end_ns) == (10, parent.plan.start_ns, parent.plan.end_ns)
    assert sum(one.quantity for one in found.slices) == 10
    assert (found.expected_participation, found.flags) == (None, ("volume_unknown",))
    assert parent.plan.flags == found.flags
    first = found.slices[0]
    assert first.at_ns is not None
    bench.advance(first.at_ns - bench.now_ns - 1)
    assert bench.made(Decision) == []
    bench.advance(1)
    (decision,) = bench.made(Decision)
    assert decision.clip.lots * parent.plan.qty_lot == first.quantity


def test_plan_when_nothing_is_scheduled_then_one_slice_at_once(bench: Bench) -> None:
    """`market` and `limit` place all of it."""
    whole = (PlannedSlice(bench.now_ns, D(3), D(3)),)
    found = plan(bench, 3, "limit", limit_price=D(99))
    assert isinstance(found, PlanAnswer)
    assert (found.n, found.slices, found.end_ns, found.flags) == (1, whole, None, ())
    found = plan(bench, 3, "market")
    assert isinstance(found, PlanAnswer)
    assert (found.n, found.slices) == (1, whole)


def test_plan_when_an_iceberg_then_its_peaks_of_which_only_the_first_has_an_instant(bench: Bench) -> None:
    """EXECUTION.md 7.6: 30 30 30 10; with a smallest clip of 15 it is 30 30 25 15."""
    for least, expected in (("0.001", [30, 30, 30, 10]), ("0.015", [30, 30, 25, 15])):
        settings = {"display": "0.03", "variance": 0, "min_clip": least}
        found = plan(bench, "0.1", "iceberg", settings=settings, limit_price=D(99))
        assert isinstance(found, PlanAnswer), found
        assert [int(one.quantity * 1000) for one in found.slices] == expected
        assert [one.at_ns for one in found.slices] == [bench.now_ns, None, None, None]


def test_plan_when_volume_decides_then_no_slices_are_made_up(bench: Bench) -> None:
    """Nobody knows when something will trade."""
    found = plan(bench, 10, "pov", settings={"duration": "300s"})
    assert isinstance(found, PlanAnswer)
    assert (found.n, found.slices) == (None, ())
    assert (found.end_ns, found.flags) == (bench.now_ns + 300 * SECOND, ())


def test_plan_when_the_volume_is_not_known_then_a_flag_says_so_and_nothing_is_zero(bench: Bench) -> None:
    """The packaged curve knows only how volume is spread."""
    found = plan(bench, 10, "vwap", settings={"duration": "1h"})
    assert isinstance(found, PlanAnswer)
    assert (found.expected_participation, found.estimate_bps) == (None, None)
    assert "volume_unknown" in found.flags
    assert found.source


def history(per_day: float) -> VolumeDays:
    """Twenty days that are over by now, all alike."""
    each = (per_day / 288,) * 288
    return VolumeDays(BTC, "klines", 5 * MINUTE, tuple((day, each) for day in range(20_000, 20_020)))


def test_plan_when_volume_and_volatility_are_known_then_it_says_what_it_should_cost() -> None:
    """4 of 100 in an hour: half of 10 bps, and sigma of an hour (12 steps of 100 bps in 132 s) by a fifth."""
    bench = Bench(now_ns=20_020 * DAY + 12 * HOUR).ready()
    bench.tell(history(2_400.0))
    found = plan(bench, 4, "twap", settings={"duration": "1h"})
    assert isinstance(found, PlanAnswer), found
    assert found.expected_participation == pytest.approx(0.04, rel=1e-3)
    assert (found.estimate_bps, found.flags) == (None, ("volatility_unknown",))
    for i in range(13):
        bench.advance(10 * SECOND)
        bench.quote(BTC, 100 * math.exp(0.01 * (i % 2)))
    bench.sent.clear()
    found = plan(bench, 4, "twap", settings={"duration": "1h"})
    assert isinstance(found, PlanAnswer)
    sigma = 100 * math.sqrt(12 / 132 * 3_600)
    assert found.estimate_bps == pytest.approx(5 + sigma * 0.2, rel=1e-3)
    assert found.flags == ("uncalibrated",)
    bench.trading.samples[BTC] = [2.0] * 30
    found = plan(bench, 4, "twap", settings={"duration": "1h"})
    assert isinstance(found, PlanAnswer)
    assert found.estimate_bps == pytest.approx(5 + 2 * sigma * 0.2, rel=1e-3)
    assert found.flags == ()
    bench.advance(6 * SECOND)
    bench.sent.clear()
    found = plan(bench, 4, "twap", settings={"duration": "1h"})
    assert isinstance(found, PlanAnswer), found
    assert (found.estimate_bps, found.flags) == (None, ("no_mid",))


def test_plan_when_a_group_then_all_legs_are_checked_and_the_first_is_planned(bench: Bench) -> None:
    """Of a bracket its entry; of an oco what rests; `leg:` says which it is."""
    entry = {"algo": "twap", "duration": "300s"}
    found = plan(bench, 10, "bracket", settings={**LEGS, "entry": entry})
    assert isinstance(found, PlanAnswer), found
    assert (found.n, found.flags) == (10, ("volume_unknown", "leg:entry"))
    bench.bought(10)
    found = plan(bench, 10, "oco", settings=LEGS, side="sell", reduce_only=True, owner=TREND)
    assert isinstance(found, PlanAnswer), found
    assert ([one.quantity for one in found.slices], found.flags) == ([D(10)], ("leg:take_profit",))


@pytest.mark.parametrize(
    ("qty", "algo", "changes", "code", "passes"),
    [
        (10, "twap", {}, "BAD_SETTING", "duration 5m"),
        (10, "twap", {"settings": {"duration": "60s", "slices": 900}}, "TOO_MANY_SLICES", "slices 181"),
        (10, "twep", {}, "UNKNOWN_ALGO", None),
        (1_000, "market", {}, "RISK_MAX_ORDER_QTY", "order_qty 10"),
        ("1e40", "market", {}, "BAD_NUMBER", None),
        (
            10,
            "stop",
            {"settings": {"trigger_price": "95"}, "side": "sell", "reduce_only": True},
            *("RISK_REDUCE_ONLY", "nothing"),
        ),
        (10, "bracket", {"settings": {"stop": {"trigger_price": "101"}}}, "WOULD_TRIGGER_NOW", None),
        (10, "oco", {"settings": LEGS, "side": "sell", "reduce_only": True}, "RISK_REDUCE_ONLY", None),
    ],
)
def test_plan_when_it_would_be_refused_then_refused_alike(
    bench: Bench, qty: Any, algo: str, changes: dict[str, Any], code: str, passes: str | None
) -> None:
    """Code and what would pass are those of a submit; neither owner nor store hears of a question."""
    found = plan(bench, qty, algo, **changes)
    assert isinstance(found, Refusal)
    real = bench.submit(qty, algo=algo, owner=API, req=10, **changes)
    refusal = bench.one(FACE, Refusal)
    assert (found.code, found.text, found.would_pass) == (refusal.code, refusal.text, refusal.would_pass)
    assert (found.code, real.req) == (code, 10)
    assert passes is None or found.would_pass == passes
    assert bench.take(GATEWAY, CreateOrder) == []
