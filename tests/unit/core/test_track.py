"""The life of an order, as the analysis of its costs sees it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tradefan.core import track
from tradefan.core.tca import Traded
from tradefan.core.track import Market, Track, result
from tradefan.units import SECOND

D = Decimal
NOTHING = Market(None, None, None, None)


def begun(**changes: Any) -> Track:
    """A purchase of 100 lots, decided at 99 and begun at 100."""
    return Track("buy", 100, D(99), D(100), 0, **changes)


def filled(one: Track, at_s: float, qty: Any, price: Any, **changes: Any) -> None:
    seen: dict[str, Any] = {"maker": True, "mid": D(101), "spread": D(2), **changes}
    track.on_fill(one, int(at_s * SECOND), D(str(qty)), D(str(price)), seen.pop("fee", D(0)), **seen)


def test_markout_when_mids_come_then_each_horizon_is_the_mean_of_its_fills() -> None:
    """Weighted by quantity; a mid that nobody saw leaves its fill out of that horizon alone."""
    one = begun()
    filled(one, 0, 1, 100)
    filled(one, 0, 3, 101)
    assert track.next_ns(one) == SECOND
    track.on_mid(one, SECOND, D(102))
    track.on_mid(one, 5 * SECOND, None)
    track.on_mid(one, 29 * SECOND, D(1))
    found = result(
        one, Traded("buy", D(4), D(4), D(100), D(0)), NOTHING, 29 * SECOND, state="live", scheduled=False
    )
    expected = (D(200) + 3 * (D(102) - 101) / 101 * 10_000) / 4
    assert found.markout_1s_bps == expected
    assert (found.markout_5s_bps, found.markout_30s_bps) == (None, None)
    assert (track.next_ns(one), found.flags) == (30 * SECOND, ("no_mid",))


def test_markout_when_the_market_has_a_hole_then_what_it_covers_is_unknown() -> None:
    """A seam at 4 to 6 s takes the horizon of 5 s alone."""
    one = begun()
    filled(one, 0, 1, 100)
    track.on_gap(one, 4 * SECOND, 6 * SECOND, "seam")
    for at_s in (1, 30, 300):
        track.on_mid(one, at_s * SECOND, D(100))
    assert [weighted.mean for weighted in one.markouts] == [D(0), None, D(0), D(0)]
    assert (one.waiting, list(one.flags)) == ([], ["seam"])


def test_capture_and_fees_when_fills_differ_then_they_are_weighted_and_summed() -> None:
    """Earned half of the spread on one, paid it on three; a fee without a price makes the sum unknown."""
    one = begun()
    filled(one, 0, 1, 100, fee=D("0.5"))
    filled(one, 1, 3, 102, fee=D(1), maker=False)
    done = Traded("buy", D(4), D(4), D("101.5"), one.fees)
    found = result(one, done, Market(D(103), D(101), D(102), D(40)), SECOND, state="final", scheduled=False)
    assert (found.spread_capture, found.maker_share, found.participation) == (D("-0.5"), D("0.25"), D("0.1"))
    assert found.arrival_slippage_bps == D(150)
    assert (found.fill_ratio, found.is_opportunity_bps, one.fees) == (D(1), D(0), D("1.5"))
    filled(one, 2, 1, 100, fee=None)
    assert (one.fees_known, list(one.flags)) == (False, ["no_fee_price"])


def test_schedule_error_when_it_lags_for_a_while_then_mean_and_maximum_say_so() -> None:
    """Plan 25 50, C 0 for 10 s, then 22 of 100 for 10 s in the second interval, then inside."""
    one = begun()
    track.on_schedule(one, 0, 0, 25)
    track.on_schedule(one, 10 * SECOND, 25, 50)
    track.on_cum(one, 10 * SECOND, 22)
    track.on_cum(one, 20 * SECOND, 30)
    done = Traded("buy", D(100), D(30), D(100), D(0))
    found = result(one, done, NOTHING, 30 * SECOND, state="live", scheduled=True)
    assert found.schedule_error_mean is not None
    assert abs(found.schedule_error_mean - 0.01) < 1e-12
    assert found.schedule_error_max == 0.25
    plain = result(one, done, NOTHING, 30 * SECOND, state="live", scheduled=False)
    assert (plain.schedule_error_mean, plain.schedule_error_max) == (None, None)


def test_result_when_nothing_is_known_then_it_is_none_and_never_zero() -> None:
    """An order without a fill, a mid, a market."""
    one = Track("sell", 10, None, None, 0)
    found = result(
        one, Traded("sell", D(10), D(0), None, D(0)), NOTHING, SECOND, state="provisional", scheduled=True
    )
    unknown = (found.is_bps, found.avg_px, found.arrival_slippage_bps, found.maker_share, found.ack_p50_ms)
    assert unknown == (None,) * 5
    assert (found.fill_ratio, found.flags) == (D(0), ())


def test_acks_when_many_come_then_the_newest_are_kept() -> None:
    """Percentiles of times that were seen."""
    one = begun()
    for took in range(2_000):
        track.on_ack(one, float(took))
    assert (len(one.acks_ms), one.acks_ms[0]) == (1_000, 1_000.0)
    done = Traded("buy", D(100), D(0), None, D(0))
    found = result(one, done, NOTHING, SECOND, state="live", scheduled=False)
    assert (found.ack_p50_ms, found.ack_p99_ms) == (1_499.0, 1_989.0)
