"""E-03, E-04, E-05, I-35, I-39: when a parent places, and which children; who asked; who trades with whom."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tests.unit.core.order_builders import CID, PID, intent, parent_order
from tests.unit.sim.checker_bench import Bench, D, broken, epoch
from tradefan.messages.contingent import Triggered
from tradefan.messages.orders import OrderStatus, Phase
from tradefan.messages.plan import Plan
from tradefan.messages.records import Audit, Parent, PhaseChange, Record, Resume
from tradefan.messages.work import ParentFailed, PlanChange
from tradefan.sim.checkers.audits import AuditedFirst
from tradefan.sim.checkers.crossing import NoOwnTrades
from tradefan.sim.checkers.placing import WithinBounds, WithinWindow, WorkingOnly
from tradefan.sim.checkers.worked import OverParents, fired
from tradefan.units import SECOND, OwnerId

S = OrderStatus
START, END = 10 * SECOND, 40 * SECOND


def plan(**changes: Any) -> Plan:
    """Return a plan from second 10 to 40, in lots and ticks of 1."""
    fields: dict[str, Any] = {
        "start_ns": START,
        "end_ns": END,
        "qty_lot": D(1),
        "price_tick": D(1),
        "min_clip": 2,
    }
    return Plan(**{**fields, **changes})


def planned(made: Plan | None = None, algo: str = "twap", **settings: Any) -> Parent:
    """Return the record of a parent with a plan."""
    return Parent(START, parent_order(algo=algo, settings=settings), None, made or plan())


def phase(to: Phase, reason: str = "", at_ns: int = START) -> PhaseChange:
    return PhaseChange(at_ns, PID, to, S.NEW, reason)


def asked(action: str, subject: str = PID, **changes: Any) -> Audit:
    fields: dict[str, Any] = {"parent_ids": (PID,)}
    return Audit(START, OwnerId("api"), "cli alice", action, subject, **{**fields, **changes})


# --- E-03 -------------------------------------------------------------------------------------------------


def test_child_when_its_parent_works_then_quiet() -> None:
    """E-03: also behind a pause that is over."""
    bench = Bench(WorkingOnly())
    assert bench.step(epoch(1), planned(), intent(at_ns=START)) is None
    assert bench.step(phase(Phase.PAUSED, "data"), phase(Phase.WORKING), intent(client_order_id="c2")) is None


@pytest.mark.parametrize("to", [Phase.PAUSED, Phase.COMPLETING, Phase.DONE])
def test_child_when_its_parent_does_not_work_then_broken(to: Phase) -> None:
    """E-03: no create behind a parent's end, or in its pause."""
    bench = Bench(WorkingOnly())
    assert bench.step(epoch(1), planned(), phase(to, "user")) is None
    broken(bench.step(intent(at_ns=START)), "E-03", f"no {CID} of {PID}", f"{to} (user)")


def test_child_when_its_parent_has_failed_then_broken() -> None:
    """E-03: a defect pauses it."""
    bench = Bench(WorkingOnly())
    assert bench.step(epoch(1), planned(), ParentFailed(START, PID, "boom")) is None
    broken(bench.step(intent(at_ns=START)), "E-03", f"no {CID} of {PID}", "PAUSED (defect)")


def test_child_when_a_start_lies_between_and_its_parent_has_not_gone_on_then_broken() -> None:
    """E-03: by whatever policy, it is looked at first."""
    bench = Bench(WorkingOnly())
    assert bench.step(epoch(1), planned(), epoch(2)) is None
    broken(bench.step(intent(at_ns=START)), "E-03", f"before {PID} goes on", "one of start 1 in start 2")


@pytest.mark.parametrize(
    ("policy", "at_ns", "quiet"),
    [
        ("auto", START, True),
        ("auto", END, False),
        ("resume", END, True),
        ("pause", START, False),
        ("cancel", START, False),
    ],
)
def test_parent_when_it_goes_on_behind_a_start_then_only_as_its_policy_says(
    policy: str, at_ns: int, *, quiet: bool
) -> None:
    """E-03: else by a human's word alone."""
    back = (phase(Phase.PAUSED, "recovery"), phase(Phase.WORKING, at_ns=at_ns))
    bench = Bench(WorkingOnly())
    assert bench.step(epoch(1), planned(on_restart=policy), epoch(2)) is None
    found = bench.step(*back)
    if quiet:
        assert found is None
    else:
        broken(found, "E-03", f"a human's word for {PID} ({policy})", "by itself")
    bench = Bench(WorkingOnly())
    assert bench.step(epoch(1), planned(on_restart=policy), epoch(2), *back, asked("ResumeOrder")) is None


# --- E-04 -------------------------------------------------------------------------------------------------


def test_child_when_inside_its_window_then_quiet() -> None:
    """E-04: up to the last moment of what its end policy gives."""
    bench = Bench(WithinWindow())
    assert bench.step(planned(), intent(at_ns=START), intent(at_ns=END + 5 * SECOND)) is None


@pytest.mark.parametrize(
    ("settings", "at_ns"),
    [
        ({}, START - 1),
        ({}, END + 5 * SECOND + 1),
        ({"end_grace": "2s"}, END + 2 * SECOND + 1),
        ({"at_end": "cancel"}, END + 1),
        ({"at_end": "extend:9s"}, END + 9 * SECOND + 1),
    ],
)
def test_child_when_outside_of_its_window_then_broken(settings: dict[str, Any], at_ns: int) -> None:
    """E-04: a nanosecond is too much."""
    bench = Bench(WithinWindow())
    assert bench.step(planned(**settings)) is None
    broken(bench.step(intent(at_ns=at_ns)), "E-04", f"{CID} of {PID} in {START}", str(at_ns))


def test_plan_when_its_end_is_not_what_was_asked_for_then_broken() -> None:
    """E-04: the end is the beginning and the duration."""
    broken(Bench(WithinWindow()).step(planned(duration="20s")), "E-04", str(30 * SECOND), str(END))
    assert Bench(WithinWindow()).step(planned(duration="30s")) is None


def test_plan_when_a_human_has_paused_then_its_end_moves_by_that() -> None:
    """E-04: by no more, and not at all where he keeps it."""
    for reason, moved, quiet in (
        ("user", 3, True),
        ("user", 0, False),
        ("user", 4, False),
        ("data", 0, True),
        ("data", 3, False),
        ("user, its end stays", 3, False),
    ):
        bench = Bench(WithinWindow())
        assert bench.step(planned(), phase(Phase.PAUSED, reason, 20 * SECOND)) is None
        on = phase(Phase.WORKING, at_ns=23 * SECOND)
        found = bench.step(on, PlanChange(23 * SECOND, PID, plan(end_ns=END + moved * SECOND)))
        if quiet:
            assert found is None
        else:
            broken(found, "E-04", f"{PID} to end at [", str(END + moved * SECOND))


def test_plan_when_it_has_not_begun_then_a_pause_takes_nothing_of_it() -> None:
    """E-04: nor where the clock was set back behind it; one that began in the pause moves by the rest."""
    for on_ns, moved_ns in ((START - 2 * SECOND, 0), (START + 2 * SECOND, 2 * SECOND)):
        bench = Bench(WithinWindow())
        assert bench.step(planned(), phase(Phase.PAUSED, "user", START - 5 * SECOND)) is None
        back = phase(Phase.WORKING, at_ns=on_ns)
        assert bench.step(back, PlanChange(on_ns, PID, plan(end_ns=END + moved_ns))) is None


def test_plan_when_a_halt_stops_its_clock_then_its_end_moves_by_that() -> None:
    """E-04: where its settings say so, and only there."""
    for settings, quiet in (({"halt": "extend"}, True), ({}, False)):
        bench = Bench(WithinWindow())
        assert bench.step(planned(None, "twap", **settings), phase(Phase.PAUSED, "halt", 20 * SECOND)) is None
        moved = PlanChange(23 * SECOND, PID, plan(end_ns=END + 3 * SECOND))
        found = bench.step(phase(Phase.WORKING, at_ns=23 * SECOND), moved)
        assert (found is None) == quiet


def test_plan_when_it_goes_on_behind_its_end_then_that_is_now() -> None:
    """E-04: what was late has the time of its end policy."""
    bench = Bench(WithinWindow())
    later = END + 60 * SECOND
    assert bench.step(planned(), phase(Phase.PAUSED, "restart")) is None
    assert bench.step(phase(Phase.WORKING, at_ns=later), PlanChange(later, PID, plan(end_ns=later))) is None
    assert bench.step(intent(at_ns=later + 5 * SECOND)) is None


# --- E-05 -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "settings", "child", "expected"),
    [
        (plan(max_clip=4), {}, {"order_qty": D(5)}, "at most 4"),
        (plan(), {}, {"order_qty": D(1)}, "at least 2"),
        (plan(), {"post_only": True}, {"order_qty": D(5)}, "post-only"),
        (plan(limit=99), {}, {"order_qty": D(5)}, "within 99"),
        (plan(limit=101), {}, {"order_qty": D(5), "side": "sell"}, "within 101"),
    ],
)
def test_child_when_beyond_a_bound_of_its_plan_then_broken(
    made: Plan, settings: dict[str, Any], child: dict[str, Any], expected: str
) -> None:
    """E-05: each bound by itself."""
    bench = Bench(WithinBounds())
    assert bench.step(planned(made, **settings)) is None
    broken(bench.step(intent(**child)), "E-05", expected, "")
    bench = Bench(WithinBounds())
    assert bench.step(planned(plan(max_clip=10, limit=100))) is None
    assert bench.step(intent()) is None


# --- what has fired, and entries ---------------------------------------------------------------------------


def waiting(
    algo: str = "stop", *, limit_price: Any = None, protective: bool = False, **settings: Any
) -> Parent:
    """Return the record of a parent that waits for the market."""
    order = parent_order(algo=algo, settings=settings, limit_price=limit_price, protective=protective)
    return Parent(START, order, None)


FIRED = Triggered(START, PID, D(100), "last", 1)


@pytest.mark.parametrize(
    ("checker", "records", "invariant"),
    [
        (WorkingOnly, (phase(Phase.PAUSED, "user"), intent()), "E-03"),
        (WorkingOnly, (epoch(2), intent()), "E-03"),
        (WithinWindow, (intent(at_ns=END + 5 * SECOND + 1),), "E-04"),
        (WithinWindow, (PlanChange(START, PID, plan(end_ns=END + 1)),), "E-04"),
        (WithinBounds, (intent(order_qty=D(1)),), "E-05"),
    ],
)
def test_parent_when_it_has_fired_then_it_is_followed_as_what_it_becomes(
    checker: type[OverParents], records: tuple[Record, ...], invariant: str
) -> None:
    """A stop whose `then` is a twap keeps the rules of one, from its firing on; before it others look."""
    for fires in (True, False):
        bench = Bench(checker())
        assert bench.step(epoch(1), waiting(then="twap", duration="30s")) is None
        assert bench.step(*((FIRED, PlanChange(START, PID, plan())) if fires else ())) is None
        found = bench.step(*records)
        assert (None if found is None else found.invariant) == (invariant if fires else None)


@pytest.mark.parametrize(
    ("made", "algo", "on_restart"),
    [
        (waiting(), "market", None),
        (waiting("stop_limit", limit_price=D(99)), "limit", "resume"),
        (waiting("take_profit"), "market", None),
        (waiting("take_profit", limit_price=D(99)), "limit", "resume"),
        (waiting("trailing", limit_offset_bps=5), "limit", "resume"),
        (waiting("trailing", protective=True), "market", "resume"),
        (waiting(then="pov", protective=True, on_restart="pause"), "pov", "pause"),
        (waiting("iceberg"), "iceberg", None),
    ],
)
def test_order_when_it_has_fired_then_it_is_its_then(made: Parent, algo: str, on_restart: str | None) -> None:
    """Where none is given it follows from the kind; what protects, or rests, goes on behind a restart."""
    order = fired(made.order)
    assert (order.algo, order.settings.get("on_restart")) == (algo, on_restart)


def test_member_when_it_is_an_entry_then_it_is_followed_and_an_exit_is_not() -> None:
    """E-05: the quantity of an exit changes with what its entry has traded."""
    for leg in ("entry", "take_profit"):
        bench = Bench(WithinBounds())
        assert bench.step(replace(planned(), group=PID, leg=leg)) is None
        found = bench.step(intent(order_qty=D(1)))
        assert (found is None) == (leg != "entry")


# --- I-35 -------------------------------------------------------------------------------------------------


def human(**changes: Any) -> Parent:
    return Parent(START, parent_order(owner=OwnerId("api"), **changes), None)


def test_wish_of_a_human_when_audited_beside_its_effect_then_quiet() -> None:
    """I-35: a parent, a pause and a lifted kill; what a strategy wishes for needs none."""
    bench = Bench(AuditedFirst())
    assert bench.step(human(), intent(), asked("SubmitOrder", "r1")) is None
    assert bench.step(phase(Phase.PAUSED, "user"), asked("PauseOrder")) is None
    assert bench.step(Resume(START, "all", "fine", "cli alice"), asked("ResumeTrading", "all")) is None
    assert bench.step(planned(), phase(Phase.PAUSED, "data")) is None


def test_wish_of_a_human_when_its_audit_is_missing_or_of_something_else_then_broken() -> None:
    """I-35: also one of another parent, one that was refused, and one a transaction later."""
    expected = f"an AUDIT of SubmitOrder of {PID}"
    for others in ((), (asked("SubmitOrder", "r1", parent_ids=()),), (asked("SubmitOrder", code="NO"),)):
        broken(Bench(AuditedFirst()).step(human(), *others), "I-35", expected, "")
    bench = Bench(AuditedFirst())
    bench.append(human())
    bench.append(asked("SubmitOrder", "r1"))
    broken(bench.look(), "I-35", expected, "[]")
    broken(Bench(AuditedFirst()).step(phase(Phase.PAUSED, "user")), "I-35", "PauseOrder", "[]")
    broken(Bench(AuditedFirst()).step(Resume(START, "all", "x", "cli")), "I-35", "ResumeTrading of all", "[]")


def test_audit_when_it_says_nobody_then_broken() -> None:
    """I-35: an audit names who asked."""
    nobody = Audit(START, OwnerId("api"), "", "SubmitOrder", "r1", "", (PID,))
    broken(Bench(AuditedFirst()).step(human(), nobody), "I-35", "who asked for SubmitOrder", "nobody")


# --- I-39 -------------------------------------------------------------------------------------------------


def test_own_orders_when_one_has_gone_or_they_do_not_meet_then_quiet() -> None:
    """I-39: the same side, an ended one, a filled one, and one of others."""
    bench = Bench(NoOwnTrades())
    first = bench.venue.accept("c1", 10, "buy")
    bench.venue.accept("c2", 10, "buy")
    bench.venue.end(first)
    bench.venue.trade(bench.venue.orders[2], 10)
    bench.venue.accept("c3", 10, "sell")
    bench.venue.accept("web", 10, "buy", ours=False)
    assert bench.look() is None


def test_own_orders_when_they_would_trade_then_broken() -> None:
    """I-39: what is left of the first is enough; a liar's book proves nothing."""
    for honest in (True, False):
        bench = Bench(NoOwnTrades(), honest=honest)
        bench.venue.trade(bench.venue.accept("c1", 10, "buy"), 4)
        bench.venue.accept("c2", 1, "sell")
        found = bench.look()
        if honest:
            broken(found, "I-39", "c2, sell at 100, to meet none of ours", "c1, buy at 100")
        else:
            assert found is None
