"""A fill behind an order's end uses up what its siblings were placed for: nothing comes on top of it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import API, GATEWAY
from tests.unit.actors.replacing import Plug, once, order_of, replacing
from tradefan.actors import oms_look
from tradefan.contracts import ParentView, PlaceChild, ReplaceChild
from tradefan.core import apply_orders
from tradefan.core.trading import ParentState
from tradefan.messages.gateway import CancelOrder, CreateOrder
from tradefan.messages.orders import OrderStatus, PauseOrder, Phase, ResumeOrder
from tradefan.messages.records import CancelIntent, NotSent, Sealed
from tradefan.messages.work import PlanChange
from tradefan.units import SECOND, ParentId

D = Decimal
S = OrderStatus


def clips(*qtys: Any) -> Callable[[ParentView], Any]:
    """Return a decision: rest a first clip, then the others at once when it has ended."""

    def decide(view: ParentView) -> Any:
        if not view.attempts:
            return (PlaceChild(D(qtys[0]), D(100), "GTC"),)
        if view.attempts == 1 and not view.busy:
            return tuple(PlaceChild(D(qty), D(100), "GTC") for qty in qtys[1:])
        return ()

    return decide


def parent_of(bench: Bench, create: CreateOrder) -> ParentState:
    return bench.trading.parents[ParentId(create.parent_id)]


def ended(bench: Bench) -> tuple[CreateOrder, list[CreateOrder]]:
    """End the first clip of a parent without a trade; return it and those that follow, at the venue."""
    first = bench.one(GATEWAY, CreateOrder)
    bench.report(first, S.NEW)
    bench.report(first, S.CANCELED)
    rest = bench.take(GATEWAY, CreateOrder)
    for create in rest:
        bench.report(create, S.NEW)
    return first, rest


def cancelled(bench: Bench) -> list[str]:
    return [cancel.client_order_id for cancel in bench.take(GATEWAY, CancelOrder)]


@pytest.mark.failure("OR-07")
def test_fill_when_late_and_the_next_child_waits_for_the_disk_then_that_never_leaves() -> None:
    """`market` buys 2: the first clip traded all of it although it had expired without a trade."""
    bench = Bench().ready()
    bench.submit(2)
    first = bench.one(GATEWAY, CreateOrder)
    bench.report(first, S.EXPIRED)
    bench.auto_durable = False
    bench.advance(SECOND)
    assert len(bench.oms.state.live.outbox.waiting) == 1
    bench.fill(first, 2)
    bench.durable()
    assert bench.take(GATEWAY, CreateOrder) == []
    assert len(bench.made(NotSent)) == 1
    parent = parent_of(bench, first)
    assert (parent.cum_qty, parent.phase, parent.status) == (D(2), Phase.DONE, S.FILLED)
    bench.check()


@pytest.mark.failure("OR-07")
def test_plan_when_more_may_have_traded_than_was_wished_then_its_rest_is_nothing() -> None:
    """The first clip traded all 2 behind its end, the next 2 are in doubt: a plan anew begins at 2."""
    bench = Bench().ready()
    bench.submit(2, owner=API)
    first = bench.one(GATEWAY, CreateOrder)
    bench.report(first, S.EXPIRED)
    bench.advance(SECOND)
    bench.doubt(bench.one(GATEWAY, CreateOrder))
    bench.tell(PauseOrder(API, ParentId(first.parent_id)))
    bench.advance(SECOND)
    bench.fill(first, 2)
    bench.market()
    parent = parent_of(bench, first)
    assert (parent.done_qty, parent.phase) == (D(4), Phase.PAUSED)
    bench.tell(ResumeOrder(API, ParentId(first.parent_id)))
    assert bench.made(PlanChange)[-1].plan.base == 2_000
    bench.check()


@pytest.mark.failure("OR-07")
def test_fill_when_late_and_the_next_child_rests_then_that_is_cancelled(plug: Plug) -> None:
    """What its parent is full without has to go; until the venue says so, it is asked again."""
    plug(clips(2, 2))
    bench = Bench().ready()
    bench.submit(2, algo="test")
    first, (second,) = ended(bench)
    bench.fill(first, 2)
    assert cancelled(bench) == [second.client_order_id]
    assert parent_of(bench, first).phase is Phase.WORKING
    bench.report(second, S.CANCELED)
    assert (parent_of(bench, first).status, parent_of(bench, first).phase) == (S.FILLED, Phase.DONE)
    bench.check()


def test_report_when_it_counts_a_late_trade_then_a_sibling_is_cancelled(plug: Plug) -> None:
    """The venue's count comes before the trade itself, and is as good."""
    plug(clips(2, 2))
    bench = Bench().ready()
    bench.submit(2, algo="test")
    first, (second,) = ended(bench)
    bench.report(first, S.CANCELED, 2)
    assert cancelled(bench) == [second.client_order_id]


def test_fill_when_late_then_only_what_is_over_goes_and_the_newest_first(plug: Plug) -> None:
    """1 of 4 came late beside 1, 2 and 1: the last is over; with another 1 the one before, and none twice."""
    plug(clips(4, 1, 2, 1))
    bench = Bench().ready()
    bench.submit(4, algo="test")
    first, (_, third, fourth) = ended(bench)
    bench.fill(first, 1)
    assert cancelled(bench) == [fourth.client_order_id]
    bench.report(third, S.NEW, 0, venue_order_id="again")
    assert cancelled(bench) == []
    bench.fill(first, 1)
    assert cancelled(bench) == [third.client_order_id]
    assert len(bench.made(CancelIntent)) == 2
    bench.check()


def test_fill_when_late_then_what_has_not_left_goes_before_what_rests(plug: Plug) -> None:
    """The newer of two rests already, the older waits for the disk: of the older nothing was ever seen."""

    def two(view: ParentView) -> Any:
        if view.attempts < 1:
            return (PlaceChild(D(2), D(100), "GTC"),)
        return () if view.busy or view.attempts > 2 else (PlaceChild(D(1), D(100), "GTC"),) * 2

    plug(two)
    bench = Bench().ready()
    bench.submit(2, algo="test")
    first = bench.one(GATEWAY, CreateOrder)
    bench.report(first, S.NEW)
    bench.auto_durable = False
    bench.report(first, S.CANCELED)
    older, newer = list(parent_of(bench, first).live)
    outbox = bench.oms.state.live.outbox
    outbox.waiting = [item for item in outbox.waiting if getattr(item.effect, "client_order_id", "") == older]
    bench.fill(first, 1)
    assert cancelled(bench) == []
    assert list(parent_of(bench, first).live) == [newer]


@pytest.mark.parametrize("protective", [False, True])
def test_fill_when_late_then_protection_goes_only_where_all_of_it_is_over(
    plug: Plug, protective: bool
) -> None:
    """1 of 4 was sold late beside a resting 4: without that a position of 3 would stand bare."""
    plug(clips(4, 4))
    bench = Bench().ready()
    bench.bought(4)
    bench.submit(4, algo="test", side="sell", protective=protective)
    first, (second,) = ended(bench)
    bench.fill(first, 1)
    assert cancelled(bench) == ([] if protective else [second.client_order_id])
    bench.fill(first, 3)
    assert cancelled(bench) == ([second.client_order_id] if protective else [])


@pytest.mark.failure("OR-07")
def test_fill_when_late_and_many_have_ended_since_then_it_still_reaches_its_parent(
    plug: Plug, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its order is not sealed, so it stays in memory while the parent works; a look seals all of these."""
    monkeypatch.setattr(apply_orders, "ENDED_MAX", 2)
    monkeypatch.setattr(oms_look, "SEAL_MIN_NS", SECOND)
    plug(lambda view: () if view.busy or not view.open_qty else (PlaceChild(view.open_qty, D(100), "GTC"),))
    bench = Bench().ready()
    bench.submit(2, algo="test")
    creates = []
    for _ in range(6):
        creates.append(bench.one(GATEWAY, CreateOrder))
        bench.report(creates[-1], S.CANCELED)
        bench.advance(SECOND)
        bench.market()
    bench.fill(creates[0], 2)
    assert (parent_of(bench, creates[0]).cum_qty, bench.alarms) == (D(2), [])
    assert cancelled(bench) == [bench.one(GATEWAY, CreateOrder).client_order_id]
    bench.passed(30)
    sealed = {one.client_order_id: None for one in bench.made(Sealed)}
    assert [create.client_order_id in sealed for create in creates] == [True] * 6
    bench.check()


def test_replacement_when_both_orders_are_open_then_neither_is_over(plug: Plug) -> None:
    """A replacement counts twice in the worst case, but one of the two ends before the other begins."""
    plug(once)
    bench = Bench().ready()
    old, new = replacing(bench)
    bench.fill(old, 1)
    assert cancelled(bench) == []
    bench.report(new, S.REJECTED)
    assert order_of(bench, old).live


def test_replacement_when_a_late_fill_needs_its_room_then_both_orders_go(plug: Plug) -> None:
    """Whichever of the two lives would trade on top: both are cancelled."""

    def decide(view: ParentView) -> Any:
        child = view.children[-1] if view.children else None
        if view.attempts == 2 and child is not None and child.status is S.NEW:
            return (ReplaceChild(child.client_order_id, D("1.5"), D(98)),)
        return () if view.busy or view.attempts > 1 else (PlaceChild(D(2), D(99), "GTC"),)

    plug(decide)
    bench = Bench().ready()
    bench.submit(2, algo="test")
    first = bench.one(GATEWAY, CreateOrder)
    bench.report(first, S.CANCELED)
    second = bench.one(GATEWAY, CreateOrder)
    bench.report(second, S.NEW)
    live = list(parent_of(bench, first).live)
    assert len(live) == 2
    bench.fill(first, 2)
    assert cancelled(bench) == live[::-1]
