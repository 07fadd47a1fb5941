"""A parent that may place nothing more keeps what rests: a refused clip cancels no sibling at the venue."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import ACCOUNT, BTC, FACE, GATEWAY, TREND
from tests.unit.actors.replacing import Plug
from tradefan.contracts import ParentView, PlaceChild
from tradefan.core.trading import ParentState
from tradefan.messages.account import AccountState, SetMode
from tradefan.messages.control import ActorState, KillAnswer
from tradefan.messages.gateway import CancelOrder, CreateOrder
from tradefan.messages.orders import OrderStatus, Phase
from tradefan.units import ParentId

D = Decimal
S = OrderStatus


def two(view: ParentView) -> Any:
    """Rest two clips of 1 at all times."""
    live = sum(child.live for child in view.children)
    return (PlaceChild(D(1), D(100), "GTC"),) * min(2 - live, int(view.open_qty))


@pytest.fixture
def bench(plug: Plug) -> Bench:
    """Return a bench whose strategy holds 4 and whose executor `test` rests two clips of 1."""
    plug(two)
    bench = Bench().ready()
    bench.bought(4)
    return bench


def rests(bench: Bench, **changes: Any) -> tuple[CreateOrder, CreateOrder]:
    """Submit 4, of which two clips rest; return them."""
    bench.submit(4, algo="test", **changes)
    first, second = bench.take(GATEWAY, CreateOrder)
    bench.report(first, S.NEW)
    bench.report(second, S.NEW)
    return first, second


def fills(bench: Bench, create: CreateOrder) -> None:
    bench.fill(create, 1)
    bench.report(create, S.FILLED, 1)


def parent_of(bench: Bench, create: CreateOrder) -> ParentState:
    return bench.trading.parents[ParentId(create.parent_id)]


def restarted(bench: Bench) -> Bench:
    """Start a new OMS from the journal; its account is connected."""
    again = Bench(records=bench.records, now_ns=bench.now_ns)
    again.fold()
    again.tell(AccountState(ACCOUNT, True, ""), ActorState("risk_desk", "READY"))
    again.market()
    return again


PROTECTS: dict[str, Any] = {"side": "sell", "reduce_only": True, "protective": True}


@pytest.mark.failure("ST-08")
def test_clip_when_refused_by_a_kill_that_keeps_protection_then_what_protects_rests_on(bench: Bench) -> None:
    """One of two reduce-only orders trades: its successor is refused, the other is all that protects."""
    first, second = rests(bench, **PROTECTS)
    bench.kill(req=4, keep_protection=True)
    assert bench.one(FACE, KillAnswer).naked == ()
    fills(bench, first)
    assert bench.take(GATEWAY, CreateOrder) == []
    assert bench.take(GATEWAY, CancelOrder) == []
    fills(bench, second)
    parent = parent_of(bench, first)
    assert (parent.phase, parent.status, parent.reason) == (Phase.DONE, S.EXPIRED, "RISK_LATCHED")
    bench.check()


def test_clip_when_of_an_earlier_start_then_what_rests_goes_on_and_the_rest_expires(bench: Bench) -> None:
    """ARCHITECTURE.md: what rests goes on, also behind the end of a sibling, and over two starts."""
    first, second = rests(bench, **PROTECTS)
    again = restarted(bench)
    fills(again, first)
    assert (again.take(GATEWAY, CreateOrder), again.take(GATEWAY, CancelOrder)) == ([], [])
    third = restarted(again)
    fills(third, second)
    assert (third.take(GATEWAY, CreateOrder), third.take(GATEWAY, CancelOrder)) == ([], [])
    parent = parent_of(third, first)
    assert (parent.cum_qty, parent.phase, parent.status, parent.reason) == (
        D(2),
        Phase.DONE,
        S.EXPIRED,
        "restart",
    )
    third.check()


def test_clip_when_refused_by_no_new_risk_then_own_resting_orders_stay(bench: Bench) -> None:
    """The mode lets rest what rests; when it is over, the next end has the refused clips placed."""
    first, second = rests(bench)
    bench.tell(SetMode("all", "drawdown", "NO_NEW_RISK", "X", "x"))
    fills(bench, first)
    assert (bench.take(GATEWAY, CreateOrder), bench.take(GATEWAY, CancelOrder)) == ([], [])
    bench.tell(SetMode("all", "drawdown", "NORMAL", "X", "x"))
    fills(bench, second)
    assert len(bench.take(GATEWAY, CreateOrder)) == 2
    assert parent_of(bench, first).phase is Phase.WORKING


def test_target_when_repeated_then_a_clip_that_was_refused_is_placed(bench: Bench) -> None:
    """The parent works for that very wish still, so its executor is asked again."""
    bench.target(8, algo="test")
    first, second = bench.take(GATEWAY, CreateOrder)
    bench.report(first, S.NEW)
    bench.report(second, S.NEW)
    bench.tell(SetMode("all", "drawdown", "NO_NEW_RISK", "X", "x"))
    fills(bench, first)
    bench.target(8, algo="test")
    assert bench.take(GATEWAY, CreateOrder) == []
    bench.tell(SetMode("all", "drawdown", "NORMAL", "X", "x"))
    bench.target(8, algo="test")
    assert [create.parent_id for create in bench.take(GATEWAY, CreateOrder)] == [first.parent_id]
    assert bench.take(GATEWAY, CancelOrder) == []


def test_target_when_repeated_after_a_restart_then_a_new_parent_does_the_rest(bench: Bench) -> None:
    """The repeated wish is the new decision: what rests is cancelled to evidence, and the rest is ordered."""
    bench.target(8, algo="test")
    first, second = bench.take(GATEWAY, CreateOrder)
    bench.report(first, S.NEW)
    bench.report(second, S.NEW)
    again = restarted(bench)
    again.look(first, second)
    again.target(8, algo="test")
    gone = again.take(GATEWAY, CancelOrder)
    assert [cancel.client_order_id for cancel in gone] == [first.client_order_id, second.client_order_id]
    again.report(first, S.CANCELED)
    again.market()
    again.report(second, S.CANCELED)
    assert len(again.take(GATEWAY, CreateOrder)) == 2
    again.check()


@pytest.mark.failure("ST-08")
@pytest.mark.parametrize("case", ["unsent", "not_reduce_only", "none"])
def test_kill_when_protection_cannot_be_kept_then_its_position_is_named(
    bench: Bench, plug: Plug, case: str
) -> None:
    """On its way to the disk, not reduce-only, or none at the venue: `naked` says so with the flag, too."""
    if case == "none":
        plug(lambda view: ())
    bench.auto_durable = case != "unsent"
    bench.submit(2, algo="test", **{**PROTECTS, "reduce_only": case != "not_reduce_only"})
    sent = bench.take(GATEWAY, CreateOrder)
    bench.kill(req=4, keep_protection=True)
    bench.durable()
    assert bench.one(FACE, KillAnswer).naked == (f"{TREND} {BTC} 4",)
    assert len(bench.take(GATEWAY, CancelOrder)) == len(sent)
    assert bench.take(GATEWAY, CreateOrder) == []
