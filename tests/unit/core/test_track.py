"""The life of an order, as the analysis of its costs sees it."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from tradefan.core import track
from tradefan.core.costs import costs_of, sample
from tradefan.core.track import FillSeen, Track
from tradefan.messages.plan import Plan
from tradefan.messages.tca import Costs, Met
from tradefan.units import SECOND, InstrumentId

D = Decimal
BTC = InstrumentId("binance:BTC/USDT")
PLAN = Plan(0, 40 * SECOND, D(1), D(1), 1, taus=(25, 50, 75, 100))


def begun(**changes: Any) -> Track:
    """A purchase of 100 lots of one, decided at 99 and begun at 100."""
    fields: dict[str, Any] = {"arrival_px": D(100), "arrived_ns": 0, "spread": D(2), **changes}
    return Track(BTC, "buy", D(99), **fields)


def seen(qty: Any, price: Any, **changes: Any) -> FillSeen:
    fields: dict[str, Any] = {"fee": D(0), "maker": True, "mid": D(101), "spread": D(2), "on_time": True}
    return FillSeen(D(str(qty)), D(str(price)), **{**fields, **changes})


def filled(one: Track, at_s: float, qty: Any, price: Any, **changes: Any) -> None:
    track.on_fill(one, int(at_s * SECOND), seen(qty, price, **changes))


def told(one: Track, qty: Any = 100, done: Any = 0, value: Any = 0, met: Met | None = None) -> Costs:
    return costs_of(one, one.error, D(qty), D(done), D(value), met or Met(), "provisional", 1.0)


# --- markouts ---------------------------------------------------------------------------------------------


def test_markout_when_mids_come_then_each_horizon_is_the_mean_of_its_fills() -> None:
    """Weighted by quantity, each at its own horizon."""
    one = begun()
    filled(one, 0, 1, 100)
    filled(one, 2, 3, 101)
    assert track.next_ns(one) == SECOND
    track.on_mid(one, SECOND, D(102))
    track.on_mid(one, 3 * SECOND, D(103))
    found = told(one, done=4, value=403)
    assert found.markout_1s_bps == (D(200) + 3 * (D(103) - 101) / 101 * 10_000) / 4
    assert (found.markout_5s_bps, track.next_ns(one), len(one.waiting)) == (None, 5 * SECOND, 2)
    for at_s in (5, 7, 30, 32, 300, 302):
        track.on_mid(one, at_s * SECOND, D(100))
    assert told(one, done=4, value=403).markout_300s_bps == 3 * (D(100) - 101) / 101 * 10_000 / 4
    assert (one.waiting, one.given, track.next_ns(one)) == ([], [0, 0, 0, 0], None)


def test_markout_when_one_mid_is_missing_then_its_horizon_is_null_and_no_other() -> None:
    """Absent is null, and every sum with it: a mean over the other fill would be another order's."""
    one = begun()
    filled(one, 0, 1, 100)
    filled(one, 2, 3, 101)
    track.on_mid(one, SECOND, D(102))
    track.on_mid(one, 3 * SECOND, None)
    for at_s in (5, 7):
        track.on_mid(one, at_s * SECOND, D(101))
    found = told(one, done=4, value=403)
    assert (found.markout_1s_bps, found.markout_5s_bps, found.flags) == (None, D(25), ("no_mid",))


def test_markout_when_the_market_breaks_off_then_all_that_waits_is_unknown() -> None:
    """A seam behind the first second takes the later horizons of this fill, and none of one behind it."""
    one = begun()
    filled(one, 0, 1, 100)
    track.on_mid(one, SECOND, D(100))
    track.on_mid(one, 2 * SECOND, None, "seam", whole=True)
    means = [weighted.mean for weighted in one.markouts]
    assert (means, one.waiting, list(one.flags)) == ([D(0), None, None, None], [], ["seam"])


def test_markout_when_a_fill_is_told_late_then_it_is_null() -> None:
    """Nobody knows what the mid was around it."""
    one = begun()
    filled(one, 0, 1, 100, on_time=False, mid=None, spread=None)
    assert (one.waiting, one.markouts[0].mean, one.capture.mean) == ([], None, None)
    assert list(one.flags) == ["late_report", "no_mid"]


def test_fill_when_there_are_too_many_then_their_markouts_are_null_and_memory_ends() -> None:
    """Thousands of fills within five minutes."""
    one = begun()
    for number in range(track.WAITING_MAX + 1):
        filled(one, number / 100, 1, 100)
    track.on_mid(one, SECOND, D(100))
    assert (len(one.waiting), one.markouts[0].mean, list(one.flags)) == (5_000, None, ["too_many_fills"])


# --- fills that are taken back ----------------------------------------------------------------------------


def test_fill_when_taken_back_then_sums_are_as_if_it_never_was() -> None:
    """Fees, maker share and capture are exact; a horizon that it had been given is unknown."""
    one = begun()
    filled(one, 0, 1, 100, fee=D("0.1"))
    filled(one, 0, 2, 102, fee=D("0.3"), maker=False)
    track.on_mid(one, SECOND, D(103))
    track.on_taken_back(one, 0, seen(2, 102, fee=D("0.3"), maker=False))
    for at_s in (5, 30, 300):
        track.on_mid(one, at_s * SECOND, D(101))
    assert (one.fees.sum, one.maker.mean, one.capture.mean) == (D("0.1"), D(1), D(1))
    assert [weighted.mean for weighted in one.markouts] == [None, D(100), D(100), D(100)]
    assert list(one.flags) == ["revised"]


def test_fill_when_what_was_inferred_is_replaced_then_only_the_real_ones_count() -> None:
    """An inferred one has no maker, no fee and no instant; they are known again behind it."""
    one = begun()
    made_up = seen(2, 100, fee=None, maker=None, mid=None, spread=None, on_time=False)
    track.on_fill(one, 0, made_up)
    assert (one.fees.sum, one.maker.mean) == (None, None)
    track.on_taken_back(one, 0, made_up)
    filled(one, 0, 2, 100, fee=D(1))
    assert (one.fees.sum, one.maker.mean, one.capture.mean) == (D(1), D(1), D(1))


# --- sums -------------------------------------------------------------------------------------------------


def test_capture_and_fees_when_fills_differ_then_they_are_weighted_and_summed() -> None:
    """Earned half of the spread on one, paid it on three; a fee without a price makes the sum unknown."""
    one = begun()
    filled(one, 0, 1, 100, fee=D("0.5"))
    filled(one, 1, 3, 102, fee=D(1), maker=False)
    found = told(one, 4, 4, 406, Met(D(103), D(101), D(102), D(40)))
    assert (found.spread_capture, found.maker_share, found.participation) == (D("-0.5"), D("0.25"), D("0.1"))
    assert (found.arrival_slippage_bps, found.fees) == (D(150), D("1.5"))
    assert (found.fill_ratio, found.is_opportunity_bps) == (D(1), D(0))
    filled(one, 2, 1, 100, fee=None)
    found = told(one, 5, 5, 506, Met(D(103)))
    assert (found.fees, found.is_fees_bps, found.is_bps, found.flags) == (None, None, None, ("no_fee_price",))


def test_capture_when_one_spread_is_missing_then_it_is_null() -> None:
    """The same rule as for markouts."""
    one = begun()
    filled(one, 0, 1, 100)
    filled(one, 1, 3, 102, mid=None, spread=None)
    assert (told(one, 4, 4, 406).spread_capture, "no_mid" in one.flags) == (None, True)


def test_result_when_nothing_is_known_then_it_is_none_and_never_zero() -> None:
    """An order without a fill, a mid, a market."""
    found = told(Track(BTC, "sell", None))
    unknown = (found.is_bps, found.avg_px, found.arrival_slippage_bps, found.maker_share, found.ack_p50_ms)
    assert unknown == (None,) * 5
    assert (found.fill_ratio, found.flags) == (D(0), ("not_begun", "no_mid"))


def test_estimate_when_the_market_is_known_then_it_is_that_of_the_specification() -> None:
    """Half spread 0.5, sigma 20, X / V 0.04, k 1: 4.5; what it cost above half the spread calibrates k."""
    one = begun(spread=D("0.01"))
    met = Met(D(100), D(100), D(100), D(2_500), 20.0)
    found = told(one, 100, 100, 10_010, met)
    assert found.estimate_bps is not None
    assert abs(found.estimate_bps - 4.5) < 1e-9
    k = sample(one, found, met)
    assert k is not None
    assert abs(k - (10 - 0.5) / (20 * 0.2)) < 1e-9
    assert told(one, 100, 100, 10_010).estimate_bps is None


# --- the schedule -------------------------------------------------------------------------------------------


def test_schedule_error_when_it_lags_then_mean_and_maximum_say_so() -> None:
    """Plan 25 50 75 100, C = 22 in the second interval: 0.03 behind, for half of 20 s."""
    one = begun()
    track.on_plan(one, "P-1", None, PLAN, 0, D(100))
    assert one.error is not None
    track.pass_time(one, "P-1", PLAN, 0)
    track.on_cum(one.error, 0, 22)
    track.pass_time(one, "P-1", PLAN, 20 * SECOND)
    assert (track.mean_error(one.error), one.error.largest) == (0.015, 0.03)
    assert one.targets == [(0, 0.25), (10 * SECOND, 0.5), (20 * SECOND, 0.75)]


def test_schedule_error_when_no_decision_is_taken_then_the_plan_goes_on_all_the_same() -> None:
    """A feed that is away for half of the time does not stop the clock of its order."""
    one = begun()
    track.on_plan(one, "P-1", None, PLAN, 0, D(100))
    track.pass_time(one, "P-1", PLAN, 40 * SECOND)
    assert one.error is not None
    assert (one.error.largest, one.error.area) == (0.75, 10 * SECOND * (0 + 0.25 + 0.5 + 0.75))


def test_schedule_error_when_a_user_pauses_it_then_its_clock_stands() -> None:
    """Ten seconds of pause count for nothing, and the plan behind them is another one."""
    one = begun()
    track.on_plan(one, "P-1", None, PLAN, 0, D(100))
    track.on_clock(one, "P-1", PLAN, 5 * SECOND, stands=True)
    track.on_clock(one, "P-1", PLAN, 15 * SECOND, stands=False)
    assert one.error is not None
    assert (one.error.span_ns, one.error.k) == (5 * SECOND, 0)


def test_schedule_error_when_decisions_are_jittered_then_it_begins_with_them() -> None:
    """u(time, 0) of P-1 is 0.898800: the first interval begins at 0.8988 of it with a jitter of 1."""
    plan = Plan(0, 40 * SECOND, D(1), D(1), 1, taus=(25, 50, 75, 100), time_jitter=D(1))
    one = begun()
    track.on_plan(one, "P-1", None, plan, 0, D(100))
    track.pass_time(one, "P-1", plan, 8 * SECOND)
    assert one.error is not None
    assert (one.error.begun, track.mean_error(one.error)) == (False, None)
    track.pass_time(one, "P-1", plan, 9 * SECOND)
    assert (one.error.begun, round(one.targets[0][0] / (10 * SECOND), 6)) == (True, 0.898800)


# --- acknowledgements, lines --------------------------------------------------------------------------------


def test_acks_when_many_come_then_percentiles_are_those_of_all() -> None:
    """Nearest rank; times are kept to three digits, so that memory ends however many there are."""
    one = begun()
    for took in range(1, 1_001):
        track.on_ack(one, took * 10**6)
    assert [track.ack_ms(one, share) for share in (0.5, 0.95, 0.99)] == [500.0, 950.0, 990.0]
    for took in range(200_000):
        track.on_ack(one, took * 12_345)
    assert len(one.acks) < 4_000


@pytest.mark.parametrize("steps", [1_000, 5_000])
def test_line_when_it_grows_then_its_drawing_stays_true_everywhere(steps: int) -> None:
    """At most 200 steps, and none of them larger than two or three of an even line."""
    line: list[tuple[int, float]] = []
    for at in range(steps):
        track.draw(line, at, at / steps)
    assert len(line) <= track.POINTS_MAX
    assert (line[0][0], line[-1][0]) == (0, steps - 1)
    assert max(after - before for (_, before), (_, after) in pairwise(line)) <= 3 / track.POINTS_MAX


def test_line_when_it_leaves_its_way_and_comes_back_then_the_way_out_stays() -> None:
    """A fill that is taken back later is of more than the even steps around it."""
    line: list[tuple[int, float]] = []
    for at in range(1_000):
        track.draw(line, at, 0.9 if at == 500 else at / 10_000)
    assert (500, 0.9) in line


def test_line_when_most_of_it_is_flat_then_its_jumps_stay() -> None:
    """A step of the drawing that nobody sees goes first."""
    line: list[tuple[int, float]] = []
    for at in range(1_000):
        track.draw(line, at, float(at >= 10) + float(at >= 500))
    assert {9, 10, 499, 500} <= {at for at, _ in line}
