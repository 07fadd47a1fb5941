"""I-30, I-31: decisions in their instants and for their targets; shares, what is shown, and whole parents."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tests.unit.core.order_builders import BTC, CID, PID, fill, intent, parent, parent_order, report
from tests.unit.runtime.players import build, kernel_of
from tests.unit.sim import wired
from tests.unit.sim.checker_bench import T0, Bench, D, broken
from tradefan.core import tape
from tradefan.core.schedule import decided_at, even, peak, targets
from tradefan.messages.market import FeedQuality, Quality, Quote
from tradefan.messages.orders import OrderStatus, Phase
from tradefan.messages.plan import Clip, Plan
from tradefan.messages.records import CancelIntent, Parent, PhaseChange
from tradefan.messages.work import Decision
from tradefan.sim.checkers.schedules import DecisionsInTime, SoundPlans
from tradefan.sim.checkers.shares import ShownAtMost, WholeParents, WithinShare
from tradefan.sim.witness import Violation
from tradefan.units import MS, SECOND, AccountId, ClientOrderId

S = OrderStatus
WHOLE = 100
START, END = T0 + 10 * SECOND, T0 + 50 * SECOND
TAUS = targets(WHOLE, even(4), D("0.2"), PID)
SECOND_DUE = decided_at(START, END, 4, 1, D("0.2"), PID)


def plan(**changes: Any) -> Plan:
    """Return a plan of four decisions for 100 lots of 1."""
    return replace(Plan(START, END, D(1), D(1), 2, taus=TAUS), **changes)


def planned(made: Plan | None = None, algo: str = "twap", **settings: Any) -> Parent:
    order = parent_order(algo=algo, settings=settings, order_qty=D(WHOLE), created_ns=T0)
    return Parent(T0, order, None, made or plan())


def clip(k: int, lots: int, at_ns: int = END, **changes: Any) -> Clip:
    before, target = (0, *TAUS)[k], TAUS[k]
    made = Clip(0, 1, k, target, lots, lots, at_ns, None, 0, 0, before=before)
    return replace(made, **changes)


def decision(k: int, lots: int, at_ns: int = END, **changes: Any) -> Decision:
    return Decision(at_ns, PID, clip(k, lots, at_ns, **changes))


# --- decisions in their instants ----------------------------------------------------------------------------


class Timed:
    """A parent with a plan before a real kernel whose time goes to what a test says; the market is seen."""

    def __init__(self, *records: Any) -> None:
        self.bench = Bench(DecisionsInTime())
        self.kernel = self.bench.seen.kernel = kernel_of(build({"oms": {}}))
        self.bench.append(*(records or (planned(),)))

    def at(
        self, now_ns: int, *, quality: Quality = Quality.LIVE, mail: tuple[Quote, ...] = ()
    ) -> Violation | None:
        """Look as soon as time has come to an instant; `mail` waits for the next step."""
        self.kernel.step(now_ns, [])
        cell = self.kernel.cells[self.kernel.refs["oms"]]
        assert cell is not None
        for one in mail:
            cell.mail.put(one)
        live = self.bench.seen.oms.live
        live.quotes[BTC] = Quote(BTC, 99.0, 1.0, 101.0, 1.0, 1, now_ns)
        live.qualities[BTC] = FeedQuality(BTC, quality, "", now_ns, 1)
        return self.bench.look(max(now_ns - self.bench.seen.now_ns, 0))


def test_decision_when_taken_in_its_step_then_quiet_and_the_next_is_awaited() -> None:
    """I-30: the checker itself asks to be woken for the next one."""
    timed = Timed(planned(), decision(0, 20, START + 8 * SECOND))
    assert timed.at(SECOND_DUE - 1) is None
    assert timed.bench.checker.due_ns == SECOND_DUE + MS
    timed.bench.append(Decision(SECOND_DUE, PID, clip(1, 20, SECOND_DUE, number=1)))
    assert timed.at(SECOND_DUE) is None


def test_decision_when_its_instant_has_passed_without_it_then_broken() -> None:
    """I-30: in the first step behind the millisecond in which nobody is asked twice."""
    timed = Timed(planned(), decision(0, 20, START + 8 * SECOND))
    late_ns = SECOND_DUE + MS
    broken(timed.at(late_ns), "I-30", f"decision 1 of {PID} at {SECOND_DUE} ns", f"none at {late_ns}")


def test_decision_when_before_its_instant_then_broken() -> None:
    """I-30: never early."""
    early = Bench(DecisionsInTime()).step(planned(), decision(1, 20, SECOND_DUE - 1))
    broken(early, "I-30", f"decision 1 of {PID} at {SECOND_DUE} ns", str(SECOND_DUE - 1))


@pytest.mark.parametrize("why", ["paused", "evidence", "unseen", "mail", "end"])
def test_decision_when_something_holds_it_up_then_quiet(why: str) -> None:
    """I-30: no plan acts while its parent is paused, or waits for what it has cancelled, or sees nothing."""
    timed = Timed(planned(), decision(0, 20, START + 8 * SECOND), intent(order_qty=D(20)))
    quality, at_ns = Quality.LIVE, SECOND_DUE + MS
    mail: tuple[Quote, ...] = ()
    if why == "paused":
        timed.bench.append(PhaseChange(START, PID, Phase.PAUSED, S.NEW, "user"))
    elif why == "evidence":
        timed.bench.append(CancelIntent(START, AccountId("paper:main"), CID, "deadline"))
    elif why == "unseen":
        quality = Quality.STALE
    elif why == "mail":
        mail = (Quote(BTC, 99.0, 1.0, 101.0, 1.0, 1, at_ns),)
    else:
        at_ns = END
    assert timed.at(at_ns, quality=quality, mail=mail) is None


def test_decision_when_a_child_rests_that_nobody_has_cancelled_then_broken() -> None:
    """I-30: it is the decision that cancels it."""
    timed = Timed(planned(), decision(0, 20, START + 8 * SECOND), intent(order_qty=D(20)), report(S.NEW))
    broken(timed.at(SECOND_DUE + MS), "I-30", f"decision 1 of {PID}", "none")


# --- targets ------------------------------------------------------------------------------------------------


def test_plan_when_sound_then_quiet() -> None:
    """I-31: of a TWAP, and of any curve that never falls and ends in the whole."""
    bench = Bench(SoundPlans())
    assert bench.step(planned(), decision(0, TAUS[0]), decision(1, TAUS[1] - TAUS[0], number=1)) is None
    assert Bench(SoundPlans()).step(planned(plan(taus=(50, 50, 100)), "vwap")) is None


@pytest.mark.parametrize("taus", [(50, 40, 100), (20, 60, 99), (-1, 100)])
def test_plan_when_its_targets_fall_or_end_elsewhere_then_broken(taus: tuple[int, ...]) -> None:
    """I-31: what is planned is the whole quantity."""
    made = Bench(SoundPlans()).step(planned(plan(taus=taus), "vwap"))
    broken(made, "I-31", f"targets of {PID} from 0 up to {WHOLE}", str(taus))


def test_plan_of_a_twap_when_it_is_another_then_broken() -> None:
    """I-31: the same share in the same time, less the jitter of its settings."""
    broken(Bench(SoundPlans()).step(planned(plan(taus=(25, 50, 75, 100)))), "I-31", f"targets {TAUS}", "25")
    assert Bench(SoundPlans()).step(planned(plan(taus=(25, 50, 75, 100)), size_jitter="0")) is None


def test_decision_when_for_another_target_or_not_the_next_then_broken() -> None:
    """I-31: a target is the plan's, and decisions follow each other."""
    other = Bench(SoundPlans()).step(planned(), decision(0, 5, END - 1, target=TAUS[0] + 1))
    broken(other, "I-31", f"target {TAUS[0]} of {PID}", str(TAUS[0] + 1))
    again = Bench(SoundPlans()).step(planned(), decision(1, 5, END - 1), decision(1, 5, END - 1, number=1))
    broken(again, "I-31", f"a decision of {PID} behind 1", "")
    ahead = decision(1, 5, END - 1, reason="i_would")
    assert Bench(SoundPlans()).step(planned(), ahead, decision(1, 5, END - 1, number=1)) is None


def test_decision_when_beyond_its_catch_up_then_broken() -> None:
    """I-31: three plain clips at most, and a remainder that would be dust."""
    for cap, most in (("3", 3 * 25 + 1), ("1", 25 + 1)):
        settings: dict[str, Any] = {"catch_up_cap": cap}
        assert Bench(SoundPlans()).step(planned(**settings), decision(2, most, END - 1)) is None
        over = Bench(SoundPlans()).step(planned(**settings), decision(2, most + 1, END - 1))
        broken(over, "I-31", f"at most {most} of {PID}", "")


def test_decision_of_a_live_curve_when_it_makes_up_for_missed_ones_at_once_then_broken() -> None:
    """I-31: of 40 lots of volume a decision, of which two passed unseen by it, only the third is its own."""
    live = plan(taus=(25, 50, 75, 100), volumes=(40, 40, 40, 40))
    seen: dict[str, Any] = {"before": 50, "volume": 80}
    most = 3 * (25 + 1) + 1
    assert Bench(SoundPlans()).step(planned(live, "vwap"), decision(2, most, END - 1, **seen)) is None
    for changes in ({}, {"before": 0}):
        over = decision(2, most + 1, END - 1, **{**seen, **changes})
        broken(Bench(SoundPlans()).step(planned(live, "vwap"), over), "I-31", f"at most {most} of {PID}", "")
    in_row = decision(0, 25, START, target=25), decision(1, 100, START + 1, target=70, number=1)
    assert Bench(SoundPlans()).step(planned(live, "vwap"), *in_row) is None


# --- shares -------------------------------------------------------------------------------------------------


def sharing(algo: str, **settings: Any) -> Bench:
    """Return a parent whose market has told 400 in a window of a minute, of which 100 long ago."""
    bench = Bench(WithinShare())
    seen = bench.seen
    seen.printed[BTC] = [(END - 300 * SECOND, D(1_000)), (END - 40 * SECOND, D(100)), (END - SECOND, D(300))]
    seen.oms.live.tapes[BTC] = tape.Tape(generation=1, since_ns=END - 60 * SECOND)
    bench.append(planned(plan() if algo != "pov" else plan(taus=()), algo, **settings))
    return bench


def test_decision_when_within_the_share_of_its_window_then_quiet() -> None:
    """I-31: 20 of its own are part of what trades: 0.1 x 420 = 42."""
    bench = sharing("twap", participation_cap="0.1")
    bench.append(intent(order_qty=D(20)), fill(20, at_ns=END - SECOND))
    assert bench.step(decision(0, 22)) is None


def test_decision_when_beyond_the_share_of_its_window_then_broken() -> None:
    """I-31: by its own trades too, by another cap, or by a shorter window."""
    bench = sharing("twap", participation_cap="0.1")
    bench.append(intent(order_qty=D(20)), fill(20, at_ns=END - SECOND))
    broken(
        bench.step(decision(0, 23, volume=1)),
        "I-31",
        "at most participation_cap 0.1",
        "23 more than 20 of 420",
    )
    broken(
        sharing("vwap", participation_cap="0.1").step(decision(0, 41, volume=1)),
        "I-31",
        "participation_cap 0.1",
        "",
    )
    short = sharing("twap", participation_window="20s")
    broken(short.step(decision(0, 76, volume=1)), "I-31", "participation_cap 0.25", "of 300")


def test_decision_when_its_window_was_not_seen_whole_or_it_goes_ahead_then_quiet() -> None:
    """I-31: nobody knows the volume; behind the end, and at its owner's price, there is no cap."""
    bench = sharing("twap")
    bench.seen.oms.live.tapes[BTC].since_ns += 1
    assert bench.step(decision(0, 100, volume=1)) is None
    assert sharing("twap").step(decision(0, 100, volume=1, reason="at_end")) is None
    assert sharing("twap").step(decision(0, 100, volume=1, reason="i_would")) is None
    # The feed has not said a word: what is known of it by the end of the step came later.
    deaf, heard = (sharing("twap", participation_cap="0.1") for _ in range(2))
    assert deaf.step(decision(0, 41, volume=3, volume_own=3)) is None
    assert heard.step(decision(0, 41, volume=4, volume_own=3)) is not None


def test_decision_when_it_takes_a_remainder_along_then_quiet() -> None:
    """I-31: what would be dust beside the last clip is part of it: one lot of a smallest clip of two."""
    wide = [(END - SECOND, D(396))]
    bench, over = sharing("twap"), sharing("twap")
    for one, lots in ((bench, 100), (over, 100)):
        one.seen.printed[BTC] = wide if one is bench else [(END - SECOND, D(395))]
        found = one.step(decision(0, lots, volume=1))
        assert (found is None) == (one is bench)


def test_pov_when_beyond_its_ceiling_or_its_rate_then_broken() -> None:
    """I-31: 0.2 of 400 in the window; 0.1 of the 400 since it came, with what rests."""
    assert sharing("pov").step(decision(0, 40)) is None
    broken(sharing("pov", rate="0.15").step(decision(0, 81)), "I-31", "at most max_rate 0.2", "81 more")
    bench = sharing("pov")
    bench.append(intent(order_qty=D(10)))
    broken(bench.step(decision(0, 31)), "I-31", "at most rate 0.1", "31 more than 10 of 400")


def test_iceberg_when_a_clip_shows_more_than_its_variance_lets_then_broken() -> None:
    """I-31: 50 less by up to a half, and a remainder that would be dust beside it."""
    most = peak(50, D("0.5"), PID, 3) + 1

    def shows(lots: int) -> Violation | None:
        bench = Bench(SoundPlans())
        bench.append(planned(plan(taus=(), display=50), "iceberg", display=50, variance="0.5"))
        return bench.step(decision(3, lots))

    assert shows(most) is None
    broken(shows(most + 1), "I-31", f"at most {most} of clip 3 of {PID}", str(most + 1))


def test_pov_when_its_target_is_more_than_its_share_then_broken() -> None:
    """I-31: 0.2 of the 290 that have traded since its plan, on top of 10; of its extension all is due."""
    made = plan(taus=(), base=10, volume_base=110)

    def decided(target: int, reason: str = "") -> Violation | None:
        bench = Bench(SoundPlans())
        bench.append(planned(made, "pov", rate="0.2"))
        return bench.step(decision(0, 5, target=target, volume=400, reason=reason))

    assert decided(68) is None
    broken(decided(69), "I-31", f"target 68 of {PID}", "69")
    assert decided(100, "extend") is None


def test_pov_when_it_is_extended_then_its_rate_is_off_and_its_ceiling_stands() -> None:
    """I-31: all that is left is due, 0.2 of 400 at most."""
    assert sharing("pov").step(decision(0, 80, reason="extend")) is None
    broken(sharing("pov").step(decision(0, 81, reason="extend")), "I-31", "at most max_rate 0.2", "81 more")


def test_decision_when_more_has_traded_beside_it_than_the_feed_has_told_then_broken() -> None:
    """I-31: own trades count once; where the lot is another one by now nobody compares."""
    bench = sharing("twap")
    bench.seen.oms.live.tapes[BTC].lots = 500
    bench.seen.oms.live.arrivals[PID] = 100
    assert bench.step(decision(0, 20, volume=420, volume_own=20)) is None
    broken(bench.step(decision(1, 20, volume=440, volume_own=20)), "I-31", "at most 400 lots", "420")
    other = sharing("twap")
    other.seen.oms.live.tapes[BTC].lots = 500
    other.seen.oms.live.instruments[BTC] = wired.instrument("BTC", "USDT", "1", "2")
    other.seen.oms.live.arrivals[PID] = 100
    assert other.step(decision(1, 20, volume=440, volume_own=20)) is None


# --- what is shown ----------------------------------------------------------------------------------------


def test_iceberg_when_no_more_than_its_display_is_open_then_quiet() -> None:
    """I-31: what has traded or ended is not shown."""
    bench = Bench(ShownAtMost())
    bench.append(planned(algo="iceberg", display=10), intent(), intent(client_order_id=ClientOrderId("c2")))
    first = bench.venue.accept(CID)
    bench.venue.trade(first, 4)
    assert bench.look() is None
    bench.venue.end(first)
    bench.venue.accept("c2", 10)
    assert bench.look() is None


def test_iceberg_when_more_is_open_then_broken() -> None:
    """I-31: over all its children."""
    bench = Bench(ShownAtMost())
    bench.append(planned(algo="iceberg", display=10), intent(), intent(client_order_id=ClientOrderId("c2")))
    bench.venue.accept(CID)
    bench.venue.accept("c2", 1)
    broken(bench.look(), "I-31", f"at most 10 of {PID} in the book", "11")


# --- whole parents ----------------------------------------------------------------------------------------


def done(status: OrderStatus) -> PhaseChange:
    return PhaseChange(5, PID, Phase.DONE, status, "")


def test_parent_when_it_ends_with_all_that_was_told_then_quiet() -> None:
    """I-31: filled, and with a residual."""
    filled = (report(S.FILLED, 10), fill(10), done(S.FILLED))
    assert Bench(WholeParents()).step(parent(), intent(), *filled) is None
    part = (fill(4), report(S.CANCELED, 4), done(S.EXPIRED))
    assert Bench(WholeParents()).step(parent(), intent(), *part) is None


def test_parent_when_its_sums_are_others_then_broken() -> None:
    """I-31: what has traded of its children, and what of that is booked."""
    for name in ("cum_qty", "filled"):
        bench = Bench(WholeParents())
        bench.append(parent(), intent(), fill(4))
        setattr(bench.seen.oms.trading.parents[PID], name, D(5))
        broken(bench.look(), "I-31", "(Decimal('4'), Decimal('4')) traded and booked", "Decimal('5')")


def test_parent_when_done_with_a_child_at_work_or_by_a_wrong_word_then_broken() -> None:
    """I-31: an end is for what cannot trade any more, FILLED for all of it."""
    at_work = Bench(WholeParents()).step(parent(), intent(), report(S.NEW), done(S.EXPIRED))
    broken(at_work, "I-31", f"nothing at rest of {PID}", "10")
    part = (fill(4), report(S.CANCELED, 4), done(S.FILLED))
    broken(Bench(WholeParents()).step(parent(), intent(), *part), "I-31", f"{PID} FILLED with 10", "with 4")
