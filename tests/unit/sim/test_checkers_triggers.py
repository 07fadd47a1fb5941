"""THEN and GROUP: what fires fires once, behind its record, and no leg goes beyond its group."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from tests.unit.actors.oms_wired import submit
from tests.unit.core.order_builders import BTC, PID, fill, intent, parent, report
from tests.unit.sim.checker_bench import Bench, broken
from tradefan.messages.contingent import Amend, Armed, Disarmed, Group, Triggered, TriggerPause, Watermark
from tradefan.messages.orders import OrderStatus
from tradefan.messages.records import Intent, Kill, ModeChange, Parent
from tradefan.sim.checkers.modes import Obeyed
from tradefan.sim.checkers.parents import ParentBudget
from tradefan.sim.checkers.triggers import GroupBudget, OneThen
from tradefan.units import ClientOrderId, ParentId, TradeId

D = Decimal
S = OrderStatus
ENTRY, EXIT, OTHER = ParentId("g1"), ParentId("g2"), ParentId("g3")


def waiting(name: ParentId = PID, **changes: Any) -> Parent:
    """Return a stop; it is idle until ARMED."""
    made = parent()
    order = replace(
        made.order,
        parent_id=name,
        algo="stop",
        settings={"trigger_price": "90"},
        **{"side": "sell", **changes},
    )
    return replace(made, order=order)


def armed(name: ParentId = PID) -> Armed:
    return Armed(2, name, D(90))


def fires(name: ParentId = PID) -> Triggered:
    return Triggered(3, name, D(89), "last", 7)


def test_trigger_when_it_fires_once_behind_its_record_then_quiet() -> None:
    """PARENT, ARMED, again at another level, TRIGGERED, and only then children."""
    bench = Bench(OneThen())
    assert bench.step(waiting(), armed(), armed()) is None
    paused = TriggerPause(3, PID, paused=True, reason="user")
    assert bench.step(paused, replace(paused, paused=False)) is None
    assert bench.step(fires(), intent()) is None


@pytest.mark.parametrize(
    ("records", "found"),
    [
        ((armed(), intent()), "c1 of"),
        ((intent(),), "c1 of"),
        ((armed(), fires(), fires()), "fired"),
        ((fires(),), "idle"),
        ((armed(), Disarmed(3, PID, S.CANCELED, "cancelled"), fires()), "over"),
        ((armed(), fires(), armed()), "fired"),
        ((armed(), TriggerPause(3, PID, paused=True, reason="user"), fires()), "89"),
    ],
)
def test_trigger_when_a_record_is_not_where_it_belongs_then_broken(
    records: tuple[Any, ...], found: str
) -> None:
    """A child before it fired, a second `then`, or one of what was never armed or is over."""
    bench = Bench(OneThen())
    violation = bench.step(waiting(), *records)
    assert violation is not None
    assert violation.invariant == "THEN"
    assert found in violation.found


@pytest.mark.parametrize(
    ("algo", "side", "price", "fires_well"),
    [
        ("stop", "sell", 90, True),
        ("stop", "sell", 91, False),
        ("stop_limit", "buy", 90, True),
        ("stop_limit", "buy", 89, False),
        ("take_profit", "sell", 90, True),
        ("take_profit", "sell", 89, False),
        ("trailing", "sell", 90, True),
        ("trailing", "sell", 93, False),
        ("trailing", "buy", 110, True),
        ("trailing", "buy", 107, False),
    ],
)
def test_trigger_when_the_price_is_not_beyond_its_level_then_broken(
    algo: str, side: str, price: int, fires_well: bool
) -> None:
    """At or beyond 90 on the right side; a trailing one 10 behind its watermark of 100."""
    bench = Bench(OneThen())
    first = waiting(side=side)
    settings = {"callback_abs": "10"} if algo == "trailing" else {"trigger_price": "90"}
    order = replace(first.order, algo=algo, settings=settings)
    level, mark = (None, D(100)) if algo == "trailing" else (D(90), None)
    bench.step(replace(first, order=order), Armed(2, PID, level, mark))
    violation = bench.step(Triggered(3, PID, D(price), "last", 1))
    assert (violation is None) == fires_well


def test_watermark_when_it_moves_against_its_owner_then_broken() -> None:
    """Up for a sale, and never down again."""
    bench = Bench(OneThen())
    first = waiting(side="sell")
    order = replace(first.order, algo="trailing", settings={"callback_abs": "10"})
    bench.step(replace(first, order=order), Armed(2, PID, None, D(100)))
    assert bench.step(Watermark(3, PID, D(101))) is None
    broken(bench.step(Watermark(4, PID, D(100))), "THEN", "better than 101", "100")


def test_trigger_when_it_fires_in_a_killed_scope_then_broken() -> None:
    """Not even a stop."""
    bench = Bench(Obeyed())
    bench.step(waiting(side="sell", reduce_only=True), armed(), Kill(2, "all", "x", "me"))
    broken(bench.step(fires()), "MODE", "not to fire", "KILLED")


def grouped(kind: str) -> tuple[Any, ...]:
    """Return a group of 10: an entry with two exits, or two legs; each leg is to trade 10."""
    legs: tuple[tuple[str, ParentId], ...] = (("entry", ENTRY), ("take_profit", EXIT), ("stop", OTHER))
    if kind == "oco":
        legs = (("take_profit", EXIT), ("stop", OTHER))
    made = Group(1, legs[0][1], kind, legs, submit(10, instrument=BTC))  # type: ignore[arg-type]
    plain = parent()
    parents = [
        replace(plain, order=replace(plain.order, parent_id=name, side="buy" if leg == "entry" else "sell"))
        for leg, name in legs
    ]
    return (made, *parents)


def leaves(name: str, of: ParentId, qty: Any, number: int, **changes: Any) -> Intent:
    side = "buy" if of == ENTRY else "sell"
    fields = {"client_order_id": ClientOrderId(name), "parent_id": of, "order_qty": D(qty), "side": side}
    return intent(sequence=number, **{**fields, **changes})


def test_oco_when_both_legs_may_trade_then_broken() -> None:
    """10 that rest and 1 more; not once what rested has ended."""
    bench = Bench(GroupBudget())
    assert bench.step(*grouped("oco"), leaves("c1", EXIT, 10, 1), report(S.NEW)) is None
    broken(bench.step(leaves("c2", OTHER, 1, 2)), "GROUP", "at most 10", "11 with c2 of leg stop")
    bench = Bench(GroupBudget())
    assert bench.step(*grouped("oco"), leaves("c1", EXIT, 10, 1), report(S.CANCELED, 4)) is None
    assert bench.step(leaves("c2", OTHER, 6, 2)) is None
    broken(bench.step(leaves("c3", OTHER, 1, 3)), "GROUP", "at most 10", "11 with c3")


def test_bracket_when_exits_are_more_than_the_entry_has_then_broken() -> None:
    """3 are bought: 3 may be sold, and not a part more."""
    bench = Bench(GroupBudget())
    bought = replace(fill(3), client_order_id=ClientOrderId("c1"), trade_id=TradeId("t1"))
    assert bench.step(*grouped("bracket"), leaves("c1", ENTRY, 10, 1), bought) is None
    assert bench.step(leaves("c2", EXIT, 3, 2)) is None
    broken(bench.step(leaves("c3", EXIT, 1, 3)), "GROUP", "at most 3", "4 with c3 of leg take_profit")


def test_bracket_when_a_replacement_takes_a_place_then_it_counts_once() -> None:
    """What is replaced stops when the other begins."""
    bench = Bench(GroupBudget())
    bought = replace(fill(3), client_order_id=ClientOrderId("c1"), trade_id=TradeId("t1"))
    bench.step(*grouped("bracket"), leaves("c1", ENTRY, 10, 1), bought, leaves("c2", EXIT, 3, 2))
    assert bench.step(leaves("c3", EXIT, 3, 3, replaces=ClientOrderId("c2"))) is None


def test_budget_when_amended_then_it_is_the_new_one() -> None:
    """More for what grows; for what shrinks no less than there was already."""
    bench = Bench(ParentBudget())
    assert bench.step(parent(), intent(), Amend(2, PID, D(12), "group")) is None
    assert bench.step(intent(client_order_id=ClientOrderId("c2"), order_qty=D(2), sequence=2)) is None
    bench = Bench(ParentBudget())
    assert bench.step(parent(), intent(order_qty=D(4)), Amend(2, PID, D(3), "reduce_only")) is None
    late = intent(client_order_id=ClientOrderId("c2"), order_qty=D(1), sequence=2)
    broken(bench.step(late), "I-03", f"at most 4 of parent {PID}", "5")


@pytest.mark.parametrize(
    ("reduces", "cause", "quiet"), [(True, "hold", True), (False, "hold", False), (True, "journal", False)]
)
def test_modes_when_only_cancels_may_leave_then_a_stop_that_reduces_may_too(
    reduces: bool, cause: str, quiet: bool
) -> None:
    """What has fired and takes risk away, unless nothing can leave at all."""
    bench = Bench(Obeyed())
    bought = intent()
    bench.step(parent(), bought, report(S.NEW), fill(10), report(S.FILLED, 10))
    stop = waiting(OTHER, side="sell", reduce_only=reduces)
    held = ModeChange(2, BTC, cause, "CANCEL_ONLY", "MODE_CANCEL_ONLY", "x")
    bench.step(stop, armed(OTHER), held, fires(OTHER))
    sale = leaves("c9", OTHER, 10, 9)
    assert (bench.step(sale) is None) == quiet
