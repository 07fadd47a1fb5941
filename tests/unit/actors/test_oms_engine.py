"""The fence around executors: a broken plug-in pauses its own parent, and no bound is its to break."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import BTC, ETH, GATEWAY, PAUSE, TRADER, foreign
from tradefan.actors import oms_children
from tradefan.contracts import CancelChild, EndParent, ParentView, PlaceChild, Wake
from tradefan.core.ids import client_order_id
from tradefan.errors import Defect
from tradefan.messages.gateway import CancelOrder, CreateOrder
from tradefan.messages.market import Quality
from tradefan.messages.orders import CancelParent, OrderStatus, ParentUpdate, Phase
from tradefan.messages.records import (
    ExternalOrder,
    Intent,
    Parent,
)
from tradefan.messages.work import (
    ParentFailed,
)
from tradefan.units import MS, SECOND

D = Decimal
S = OrderStatus
Decide = Callable[[ParentView], Any]


@pytest.fixture
def bench() -> Bench:
    return Bench().ready()


def raises(view: ParentView) -> Any:
    raise ZeroDivisionError("share")


BROKEN: dict[str, tuple[Decide, str]] = {
    "raises": (raises, "ZeroDivisionError: share"),
    "more than its budget": (lambda view: (PlaceChild(D("2.001"), D(100), "IOC"),), "parent budget"),
    "twice its budget": (lambda view: (PlaceChild(D(2), D(100), "IOC"),) * 2, "parent budget"),
    "nothing": (lambda view: (PlaceChild(D(0), D(100), "IOC"),), "parent budget"),
    "off the lot": (lambda view: (PlaceChild(D("1.0001"), D(100), "IOC"),), "whole lots"),
    "off the tick": (lambda view: (PlaceChild(D(1), D("100.001"), "IOC"),), "multiple of the tick"),
    "negative price": (lambda view: (PlaceChild(D(1), D(-1), "IOC"),), "positive multiple"),
    "beyond the collar": (lambda view: (PlaceChild(D(1), D("100.51"), "IOC"),), "the collar"),
    "a float": (lambda view: (PlaceChild(1.0, D(100), "IOC"),), "expected a command"),  # type: ignore[arg-type]
    "NaN": (lambda view: (PlaceChild(D("NaN"), D(100), "IOC"),), "expected a command"),
    "an end that is none": (lambda view: (EndParent(S.NEW, ""),), "expected a command"),
    "no command": (lambda view: ("buy",), "expected a command"),
    "no tuple": (lambda view: 7, "not iterable"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_executor_when_broken_then_its_parent_pauses_and_all_else_goes_on(
    bench: Bench, plug: Callable[[Decide], None], name: str
) -> None:
    """PARENT_FAILED with its traceback, PAUSED(defect), children cancelled; the OMS lives on (I-03)."""
    decide, text = BROKEN[name]
    plug(decide)
    bench.submit(2, algo="test")
    assert text in bench.made(ParentFailed)[0].traceback
    parent = bench.take(TRADER, ParentUpdate)[-1]
    assert (parent.phase, parent.reason) == (Phase.PAUSED, "defect")
    sent = sum((intent.order_qty for intent in bench.made(Intent)), D(0))
    assert sent <= 2
    assert bench.oms.view().counters.failed_parents == 1
    bench.take(GATEWAY, CreateOrder)
    bench.submit(1)
    assert len(bench.take(GATEWAY, CreateOrder)) == 1
    bench.check()


@pytest.mark.failure("OR-16")
def test_clip_when_the_rest_is_below_the_venues_minimum_then_the_parent_ends_as_dust(bench: Bench) -> None:
    """What is left after 1.999 of 2 is worth 0.1: nothing is sent that the venue would reject."""
    bench.submit(2)
    create = bench.one(GATEWAY, CreateOrder)
    bench.fill(create, "1.999")
    bench.report(create, S.EXPIRED, "1.999")
    bench.advance(SECOND)
    assert bench.take(GATEWAY, CreateOrder) == []
    parent = bench.take(TRADER, ParentUpdate)[-1]
    assert (parent.phase, parent.status, parent.reason) == (Phase.DONE, S.EXPIRED, "dust")
    assert parent.cum_qty == D("1.999")
    bench.check()


def test_clip_when_the_rest_is_dust_and_a_child_lives_then_the_child_goes_on(
    bench: Bench, plug: Callable[[Decide], None]
) -> None:
    """Its end may bring back more than dust, so nothing ends before it."""

    def decide(view: ParentView) -> Any:
        size = view.open_qty if view.attempts else D("1.999")
        return (PlaceChild(size, D(99), "GTC"),) if size else ()

    plug(decide)
    bench.submit(2, algo="test")
    create = bench.one(GATEWAY, CreateOrder)
    bench.report(create, S.NEW)
    assert bench.take(GATEWAY, CancelOrder) == []
    bench.report(create, S.CANCELED)
    assert [again.order_qty for again in bench.take(GATEWAY, CreateOrder)] == [D(2)]
    assert bench.made(ParentFailed) == []


@pytest.mark.failure("OR-16")
def test_clip_when_it_is_below_the_minimum_by_choice_then_the_executor_fails(
    bench: Bench, plug: Callable[[Decide], None]
) -> None:
    """A slice that the venue would reject while more is left is the plug-in's mistake."""
    plug(lambda view: (PlaceChild(D("0.001"), D(99), "GTC"),))
    bench.submit(2, algo="test")
    assert "(minimum)" in bench.made(ParentFailed)[0].traceback
    assert bench.take(GATEWAY, CreateOrder) == []


def test_executor_when_it_breaks_later_then_its_resting_child_is_cancelled(
    bench: Bench, plug: Callable[[Decide], None]
) -> None:
    """A paused parent waits for evidence of its children; its owner may end it."""

    def decide(view: ParentView) -> Any:
        if view.attempts:
            return raises(view)
        return (PlaceChild(D(2), D(100), "GTC"),)

    plug(decide)
    bench.submit(2, algo="test")
    create = bench.one(GATEWAY, CreateOrder)
    bench.report(create, S.NEW)
    assert len(bench.take(GATEWAY, CancelOrder)) == 1
    bench.fill(create, "0.5")
    bench.report(create, S.CANCELED, "0.5")
    assert bench.take(TRADER, ParentUpdate)[-1].phase is Phase.PAUSED
    bench.tell(CancelParent(create.owner, create.parent_id))
    parent = bench.take(TRADER, ParentUpdate)[-1]
    assert (parent.phase, parent.status, parent.cum_qty) == (Phase.DONE, S.CANCELED, D("0.5"))
    bench.check()


def test_executor_when_it_beats_the_parents_limit_then_it_fails(
    bench: Bench, plug: Callable[[Decide], None]
) -> None:
    """I5: no child beyond the parent's limit."""
    plug(lambda view: (PlaceChild(D(1), D("99.01"), "GTC"),))
    bench.submit(1, algo="test", limit_price=D(99))
    assert "the parent's limit" in bench.made(ParentFailed)[0].traceback


def test_executor_when_it_slices_then_each_child_is_checked_and_counted(
    bench: Bench, plug: Callable[[Decide], None]
) -> None:
    """Place, wake, cancel and end are obeyed; the newest wake replaces the older."""
    seen: list[tuple[int, Decimal, int]] = []

    def decide(view: ParentView) -> Any:
        seen.append((view.now_ns, view.open_qty, len(view.children)))
        wake = (Wake(0), Wake(view.now_ns + SECOND))
        if view.attempts < 2:
            return (PlaceChild(D(1), D(99), "GTC"), *wake)
        if view.busy:
            child = view.children[0]
            return (
                CancelChild(child.client_order_id, "slow"),
                CancelChild(child.client_order_id, "slow"),
                *wake,
            )
        return (EndParent(S.EXPIRED, "enough"),)

    plug(decide)
    bench.submit(2, algo="test")
    began = bench.now_ns
    bench.advance(MS)
    assert len(seen) == 1
    bench.advance(SECOND)
    creates = bench.take(GATEWAY, CreateOrder)
    assert [one.order_qty for one in creates] == [D(1), D(1)]
    bench.quote(BTC, 100)
    bench.advance(SECOND)
    assert bench.take(GATEWAY, CancelOrder)[0].client_order_id == creates[0].client_order_id
    for create in creates:
        bench.report(create, S.CANCELED)
    parent = bench.take(TRADER, ParentUpdate)[-1]
    assert (parent.status, parent.reason, parent.phase) == (S.EXPIRED, "enough", Phase.DONE)
    assert seen[0][:2] == (began, D(2))
    assert seen[1] == (began + SECOND, D(1), 1)
    bench.check()


def test_executor_when_it_never_stops_then_its_children_are_bounded(
    bench: Bench, plug: Callable[[Decide], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """RK-03: an executor that ignores everything ends at `CHILDREN_MAX`."""
    monkeypatch.setattr(oms_children, "CHILDREN_MAX", 5)
    plug(lambda view: (PlaceChild(view.open_qty, D(100), "IOC"),) if view.open_qty else ())
    bench.submit(1, algo="test")
    for _ in range(20):
        for create in bench.take(GATEWAY, CreateOrder):
            bench.report(create, S.EXPIRED)
    assert len(bench.made(Intent)) == 5
    assert "at most 5 children" in bench.made(ParentFailed)[0].traceback


def test_child_when_the_gate_closes_between_clips_then_the_parent_ends_with_the_reason(bench: Bench) -> None:
    """A later clip passes the same gates: without a reference the rest is EXPIRED."""
    bench.submit(2)
    create = bench.one(GATEWAY, CreateOrder)
    bench.report(create, S.EXPIRED)
    bench.quote(BTC, 100, Quality.STALE)
    bench.advance(PAUSE)
    parent = bench.take(TRADER, ParentUpdate)[-1]
    assert (parent.status, parent.reason) == (S.EXPIRED, "no_reference")


def test_child_when_refused_later_then_no_other_parent_is_touched(
    bench: Bench, plug: Callable[[Decide], None]
) -> None:
    """A refusal of a clip ends its parent, and the clip before it, which has not left, never was."""
    plug(lambda view: () if view.busy else (PlaceChild(D(1), D(99), "GTC"), PlaceChild(D(1), D(99), "GTC")))
    config = bench.config
    bench.config = msgspec.structs.replace(
        config, risk=msgspec.structs.replace(config.risk, orders_per_second=1)
    )
    bench.submit(2, algo="test", limit_price=D(99))
    parent = bench.take(TRADER, ParentUpdate)[-1]
    assert (parent.status, parent.reason, parent.phase) == (S.EXPIRED, "RISK_ORDER_RATE", Phase.DONE)
    assert bench.take(GATEWAY, CreateOrder) == []
    bench.check()


def test_parent_when_its_ends_meet_then_it_is_filled(bench: Bench) -> None:
    """Cancelled and full at the same instant: full wins; rejected with a part done: EXPIRED."""
    create = bench.limit()
    bench.tell(CancelParent(create.owner, create.parent_id))
    bench.fill(create, 1)
    assert bench.take(TRADER, ParentUpdate)[-1].status is S.FILLED


def test_parent_when_rejected_after_a_part_then_its_rest_has_expired(
    bench: Bench, plug: Callable[[Decide], None]
) -> None:
    """What traded in part was not rejected."""

    def decide(view: ParentView) -> Any:
        if view.busy:
            return ()
        if view.attempts:
            return (EndParent(S.REJECTED, "venue"),)
        return (PlaceChild(D(1), D(100), "IOC"),)

    plug(decide)
    bench.submit(2, algo="test")
    create = bench.one(GATEWAY, CreateOrder)
    bench.fill(create, 1)
    assert bench.take(TRADER, ParentUpdate)[-1].status is S.EXPIRED


def test_parents_when_many_then_each_has_its_own_id(bench: Bench) -> None:
    """Parent ids are counted per epoch; collars come from the order's own settings."""
    bench.submit(6, instrument=ETH, settings={"collar_bps": 100})
    bench.submit(6, instrument=ETH)
    ids = [record.order.parent_id for record in bench.made(Parent)]
    assert len(dict.fromkeys(ids)) == 2
    assert [one.limit_price for one in bench.take(GATEWAY, CreateOrder)] == [D("10.1"), D("10.05")]


@pytest.mark.failure("OR-04")
def test_clip_when_its_intent_changes_nothing_then_nothing_leaves(bench: Bench) -> None:
    """An id that an order has already reserves nothing: the turn is undone, and a restart has other ids."""
    taken = client_order_id("dev", 2, 1)
    bench.report(foreign(3), S.NEW)
    records = [*bench.records, msgspec.structs.replace(bench.made(ExternalOrder)[0], client_order_id=taken)]
    again = Bench(records=records, now_ns=bench.now_ns).ready()
    with pytest.raises(Defect, match=f"expected {taken} to be an id that no order has"):
        again.submit(1, instrument=ETH)
    assert again.take(GATEWAY, CreateOrder) == []
    third = Bench(records=again.records, now_ns=bench.now_ns).ready()
    assert third.limit(1, 9, instrument=ETH).client_order_id == client_order_id("dev", 3, 1)
    third.check()
