"""I-16: what was declared not to exist."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import pytest

from tests.unit.core.order_builders import ACCOUNT, CID, intent, report
from tests.unit.sim.checker_bench import T0, Bench, broken, epoch
from tradefan.messages.orders import OrderStatus
from tradefan.messages.records import NotSent, Resolved
from tradefan.sim.checkers.base import LIAR_LAG_NS
from tradefan.sim.checkers.doubt import ADOPT_NS, NotPlaced
from tradefan.sim.witness import VenueEvent
from tradefan.units import SECOND

DEADLINE = T0 + 2 * SECOND
FIRST = DEADLINE + (12 + 5 + 1) * SECOND
"""not_after + A + V + clock bound."""
APART = 5 * SECOND


def resolved(
    first: int | None = FIRST,
    second: int | None = FIRST + APART,
    verdict: Literal["PLACED", "NOT_PLACED"] = "NOT_PLACED",
    evidence: str = "two complete looks",
) -> Resolved:
    return Resolved(FIRST + APART, ACCOUNT, CID, verdict, evidence, first, second)


def bench_with(*, honest: bool = True, skew_ns: int = 0) -> Bench:
    """Return a create that was written in epoch 1 and never arrived."""
    bench = Bench(NotPlaced(), honest=honest)
    bench.seen.skew_ns = skew_ns
    bench.append(epoch(1), intent(at_ns=T0, not_after_ns=DEADLINE))
    bench.write(CID)
    assert bench.look() is None
    return bench


def test_not_placed_when_two_late_looks_found_nothing_then_quiet() -> None:
    """The request was lost: at both instants nothing could come of it any more."""
    bench = bench_with()
    bench.venue.pending.clear()
    assert bench.step(resolved()) is None


@pytest.mark.parametrize(
    ("record", "expected", "found"),
    [
        (resolved(FIRST - 1), f"a first look for {CID} at {FIRST} ns or later", f"{FIRST - 1}"),
        (resolved(second=FIRST + APART - 1), f"{APART} ns later", f"{APART - 1} ns"),
        (resolved(second=None), "two looks", "None"),
    ],
    ids=["too early", "too close", "one look"],
)
def test_not_placed_when_its_looks_prove_nothing_then_broken(
    record: Resolved, expected: str, found: str
) -> None:
    """R4's two instants, whether or not the venue would have taken the order."""
    bench = bench_with()
    bench.venue.pending.clear()
    broken(bench.step(record), "I-16", expected, found)


@pytest.mark.parametrize("asked", [(FIRST, FIRST + APART), (FIRST - SECOND, FIRST + APART), (FIRST,)])
def test_not_placed_when_a_look_was_asked_at_another_instant_then_broken(asked: tuple[int, ...]) -> None:
    """A look that counts from when it was answered shows what the venue had before."""
    bench = bench_with()
    bench.venue.pending.clear()
    bench.seen.asked.update(dict.fromkeys(asked))
    violation = bench.step(resolved())
    missing = [at_ns for at_ns in (FIRST, FIRST + APART) if at_ns not in asked]
    if missing:
        broken(violation, "I-16", f"a look for {CID} that was asked at {missing[0]} ns", "none was")
    else:
        assert violation is None


def test_not_placed_when_of_an_earlier_epoch_then_its_deadline_counts_from_the_start() -> None:
    """The wall clock may have jumped: the new start + the order's deadline of 2 s."""
    start = T0 + 100 * SECOND
    first = start + (2 + 12 + 5 + 1) * SECOND
    for late in (0, -1):
        bench = bench_with()
        bench.venue.pending.clear()
        bench.append(epoch(2, at_ns=start))
        violation = bench.step(resolved(first + late, first + late + APART))
        if late:
            broken(violation, "I-16", f"at {first} ns or later", f"{first - 1} ns")
        else:
            assert violation is None


def test_not_placed_when_the_venue_may_still_accept_it_then_broken() -> None:
    """The create waits inside the venue when both looks are done."""
    broken(bench_with().step(resolved()), "I-16", f"{CID} not to be acceptable", "on its way")


def test_not_placed_when_the_order_exists_then_broken() -> None:
    """Also where it has ended meanwhile."""
    bench = bench_with()
    bench.venue.end(bench.venue.accept(CID))
    broken(bench.step(resolved()), "I-16", f"{CID} neither accepted nor undecided", "accepted at")


@pytest.mark.parametrize(("after", "fine"), [(FIRST - 1, True), (FIRST + 1, False)])
def test_not_placed_when_the_venue_decided_behind_the_first_look_then_broken(after: int, fine: bool) -> None:
    """A reject before the first look is an end; one behind it was a chance that the look did not see."""
    bench = bench_with()
    bench.venue.now_ns = after
    bench.venue.reject(CID, "no funds")
    violation = bench.step(resolved())
    if fine:
        assert violation is None
    else:
        broken(violation, "I-16", "nor undecided", f"rejected at {FIRST + 1}")


def test_not_placed_when_the_kernels_clock_is_ahead_then_instants_are_compared_in_one_time() -> None:
    """Looks carry the time of the kernel that made them, the venue's log the world's."""
    bench = bench_with(skew_ns=20)
    bench.venue.now_ns = FIRST - 10
    bench.venue.reject(CID, "no funds")
    bench.seen.life, bench.seen.skew_ns = 2, 1_000
    bench.seen.skews = [(1, 20), (4, 1_000)]
    broken(bench.step(resolved()), "I-16", f"at {FIRST - 20} ns", f"rejected at {FIRST - 10}")


def test_not_placed_when_a_human_says_so_then_it_is_his() -> None:
    """A human may err; with him it is his own decision."""
    bench = bench_with()
    assert bench.step(resolved(None, None, evidence="human: me, looked at the venue")) is None


def test_not_sent_when_it_was_never_written_then_quiet_else_broken() -> None:
    """NOT_SENT is proof that a create never left; a refused write is none."""
    for refused in ("LATCHED", None):
        bench = Bench(NotPlaced())
        bench.append(intent())
        bench.write(CID, refused=refused)
        violation = bench.step(NotSent(3, ACCOUNT, CID, "LATCHED"))
        if refused:
            assert violation is None
        else:
            broken(
                violation, "I-16", "NOT_SENT (LATCHED) only of what was never written", f"{CID} written at"
            )


def test_not_sent_when_of_a_replacement_then_the_venue_must_never_have_taken_it() -> None:
    """A replacement whose cancel failed was written, and is not placed all the same."""
    for taken in (False, True):
        bench = Bench(NotPlaced())
        bench.append(intent())
        bench.write(CID, "replace")
        bench.venue.pending.clear()
        if taken:
            bench.venue.accept(CID)
        violation = bench.step(NotSent(3, ACCOUNT, CID, "CANCEL_FAILED"))
        if taken:
            broken(violation, "I-16", "NOT_SENT", f"{CID} written")
        else:
            assert violation is None


def lying(*, adopted: bool) -> Bench:
    """Return a liar's order that is accepted behind NOT_PLACED, and perhaps adopted."""
    bench = bench_with(honest=False)
    assert bench.step(resolved(FIRST - 1)) is None
    bench.venue.accept(CID)
    bench.seen.healed_ns = bench.seen.now_ns
    assert bench.look() is None
    if adopted:
        assert bench.step(resolved(verdict="PLACED", evidence="look shows NEW")) is None
    return bench


def test_liar_when_its_order_is_adopted_in_time_then_quiet() -> None:
    """With a liar R4 may err; R5 makes it good."""
    bench = lying(adopted=True)
    assert bench.look(1_000 * SECOND) is None
    assert bench.rest() is None


def test_liar_when_its_order_stays_void_then_broken_15_s_behind_its_visibility() -> None:
    """R5 is due 15 s after the order is visible, which with a liar is V + 60 s after its accept."""
    bench = lying(adopted=False)
    patience = bench.venue.visible_bound_ns + LIAR_LAG_NS + ADOPT_NS
    due = bench.venue.log[-1].at_ns + patience
    assert bench.checker.due_ns == due
    assert bench.look(due - bench.seen.now_ns) is None
    broken(bench.look(1), "I-16", f"{CID} adopted (R5) by {due} ns", "still taken for void")


@pytest.mark.parametrize("filled", [False, True])
def test_liar_when_its_order_has_ended_then_is_due_only_with_a_fill(filled: bool) -> None:
    """An IOC that came to nothing is in no look, and holds nothing."""
    bench = lying(adopted=False)
    if filled:
        bench.venue.log.append(VenueEvent(bench.seen.now_ns, "fill", CID, 1, Decimal("0.1")))
    bench.venue.log.append(VenueEvent(bench.seen.now_ns, "expired", CID, 1))
    violation = bench.look(1_000 * SECOND)
    if filled:
        broken(violation, "I-16", f"{CID} adopted (R5) by", "still taken for void")
    else:
        assert violation is None


def test_liar_when_nothing_has_healed_then_nobody_could_have_looked() -> None:
    """While links and process are down no adoption is due."""
    bench = lying(adopted=False)
    bench.seen.healed_ns = None
    assert bench.look(1_000 * SECOND) is None


def mistaken(*, known: bool) -> Bench:
    """Return an order that rests, and that a human says is not there; it was acknowledged before, or not."""
    bench = bench_with()
    bench.venue.accept(CID)
    bench.seen.healed_ns = bench.seen.now_ns
    if known:
        assert bench.step(report(OrderStatus.NEW, at_ns=bench.seen.now_ns)) is None
        word = report(OrderStatus.CANCELED, at_ns=bench.seen.now_ns, reason="human: gone")
        assert bench.step(word) is None
    else:
        assert bench.step(resolved(None, None, evidence="human: gone")) is None
    return bench


@pytest.mark.parametrize("known", [True, False])
def test_human_when_the_order_rests_after_all_then_its_adoption_is_due(known: bool) -> None:
    """R5 holds against a human, too, with an honest venue: V (and 1 s) and 15 s behind his word at most."""
    bench = mistaken(known=known)
    assert bench.checker.due_ns is not None
    assert bench.look(bench.checker.due_ns - bench.seen.now_ns) is None
    broken(bench.look(1), "I-16", f"{CID} adopted (R5) by", "still taken for void")
    bench = mistaken(known=known)
    assert bench.step(resolved(verdict="PLACED", evidence="look shows NEW")) is None
    assert bench.look(1_000 * SECOND) is None


def test_human_when_the_order_has_gone_then_he_was_right() -> None:
    """What a human's word has ended and the venue ended too, with or without fills, rests nowhere."""
    bench = mistaken(known=True)
    order = bench.venue.orders[1]
    bench.venue.trade(order, 1)
    bench.venue.end(order)
    assert bench.look(1_000 * SECOND) is None
