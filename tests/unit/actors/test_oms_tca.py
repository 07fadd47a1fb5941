"""The analysis of costs inside the order manager: what it measures, what it writes, what a restart keeps."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import ACCOUNT, BTC, CLI, CONFIG, ETH, GATEWAY, STORE, TREND
from tests.unit.actors.test_oms_trigger import Prints, armed
from tradefan.actors import oms_tca
from tradefan.actors.oms_progress import Progress
from tradefan.actors.oms_tca_state import ACK_BUCKETS_NS
from tradefan.actors.oms_tca_view import Look, costs_now, count_costs
from tradefan.config.schema import RiskConfig
from tradefan.core import apply_tca
from tradefan.core.costs import half_spread_bps
from tradefan.messages.account import AccountState
from tradefan.messages.gateway import CreateOrder
from tradefan.messages.instrument import InstrumentUpdate
from tradefan.messages.market import FeedQuality, Quality, Quote, SessionBreak, VolumeTick
from tradefan.messages.orders import AmendOrder, CancelParent, OrderStatus, ParentUpdate, Phase
from tradefan.messages.records import Fill, Parent, PhaseChange
from tradefan.messages.tca import Arrived, Costs, Mark, Tca
from tradefan.status_rows import parent_row
from tradefan.tca_rows import aggregated
from tradefan.units import MS, SECOND, Asset, InstrumentId

D = Decimal
S = OrderStatus
SCHEDULE: dict[str, Any] = {"duration": "100s", "slices": 5, "size_jitter": 0, "time_jitter": 0}


WIDE = RiskConfig(
    max_order_qty=D(10**6),
    max_position=D(10**6),
    max_position_notional=D(10**9),
    max_order_notional=D(10**9),
    orders_per_second=1_000,
    price_band_bps=D(5_000),
)


@pytest.fixture
def bench() -> Bench:
    return Bench(config=replace(CONFIG, risk=WIDE)).ready()


def quoted(bench: Bench, mid: float, spread: float = 0.1, instrument: InstrumentId = BTC) -> None:
    bid, ask = round(mid - spread / 2, 6), round(mid + spread / 2, 6)
    bench.tell(Quote(instrument, bid, 9, ask, 9, 1, bench.now_ns))


def last(bench: Bench) -> Costs:
    return bench.made(Tca)[-1].costs


def alive(bench: Bench, seconds: float, mid: float) -> None:
    """Let time pass in a market that stands still."""
    until_ns = bench.now_ns + int(seconds * SECOND)
    while bench.now_ns < until_ns:
        quoted(bench, mid)
        bench.advance(min(SECOND, until_ns - bench.now_ns), answering=True)
    quoted(bench, mid)


def resting(bench: Bench, qty: Any, price: Any, **changes: Any) -> CreateOrder:
    create = bench.limit(qty, price, **changes)
    bench.advance(25 * MS)
    bench.report(create, S.NEW, recv_ns=bench.now_ns)
    return create


# --- the vectors of the specification, through the order manager --------------------------------------------


def test_shortfall_when_a_purchase_ends_in_part_then_it_is_that_of_the_specification(bench: Bench) -> None:
    """Buy 1000, filled 700, P_dec 40, P_arr 40.04, P_avg 40.05, P_end 40.08, fees 17: 7 + 1.75 + 6 + 4.25."""
    quoted(bench, 40.04, 0.02)
    create = resting(bench, 1000, "40.06", decision_px=D(40))
    bench.fill(create, 300, price=D("40.04"), fee=D(7))
    bench.fill(create, 400, price=D("40.0575"), fee=D(10))
    bench.report(create, S.PARTIALLY_FILLED, 700)
    quoted(bench, 40.08, 0.02)
    bench.tell(CancelParent(TREND, create.parent_id))
    bench.report(create, S.CANCELED, 700)
    found = last(bench)
    parts = (found.is_delay_bps, found.is_trading_bps, found.is_opportunity_bps, found.is_fees_bps)
    assert (parts, found.is_bps) == ((D(7), D("1.75"), D(6), D("4.25")), D(19))
    assert (found.state, found.filled, found.avg_px, found.fees) == ("provisional", D(700), D("40.05"), D(17))
    assert found.fill_ratio == D("0.7")
    bench.check()


def test_shortfall_when_a_sale_is_rebated_then_it_is_that_of_the_specification(bench: Bench) -> None:
    """Sell 10, filled 6, 100, 99.9, 99.95, 99.5, fees -0.06: 6 - 3 + 20 - 0.6 = 22.4."""
    bench.bought(10)
    quoted(bench, 99.9)
    create = resting(bench, 10, "99.95", side="sell", decision_px=D(100))
    bench.fill(create, 6, price=D("99.95"), fee=D("-0.06"), liquidity="maker")
    quoted(bench, 99.5)
    bench.tell(CancelParent(TREND, create.parent_id))
    bench.report(create, S.CANCELED, 6)
    found = last(bench)
    assert (found.is_delay_bps, found.is_trading_bps) == (D(6), D(-3))
    assert (found.is_opportunity_bps, found.is_fees_bps, found.is_bps) == (D(20), D("-0.6"), D("22.4"))
    assert (found.maker_share, found.spread_capture) == (D(1), D(1))


def test_decision_when_the_owner_says_nothing_then_it_is_the_mid_at_submission(bench: Bench) -> None:
    """And the arrival is the same instant, as the parent works at once."""
    create = resting(bench, 1, 99)
    track = bench.trading.tracks[create.parent_id]
    assert (track.decision_px, track.arrival_px, track.arrived_ns) == (D(100), D(100), bench.now_ns - 25 * MS)
    assert half_spread_bps(track) == 5.0


def test_arrival_when_an_order_begins_later_then_it_is_the_mid_of_its_beginning(bench: Bench) -> None:
    """It is decided at 100 and begins 30 s later at 101."""
    settings = {**SCHEDULE, "start_at": "1970-01-01T00:17:30Z"}
    bench.submit(10, algo="twap", settings=settings)
    name = next(reversed(bench.trading.parents))
    assert bench.trading.tracks[name].arrived_ns is None
    while bench.trading.tracks[name].arrived_ns is None and bench.now_ns < 1_100 * SECOND:
        alive(bench, 1, 101)
    track = bench.trading.tracks[name]
    assert (track.decision_px, track.arrival_px, track.arrived_ns) == (D(100), D(101), 1_050 * SECOND)
    assert [record.parent_id for record in bench.made(Arrived)] == [name]
    bench.check()


def test_amend_when_more_is_wanted_then_prices_are_means_by_quantity(bench: Bench) -> None:
    """10 at 100 and 30 more at 104: decided and arrived at 103."""
    create = resting(bench, 10, 99)
    quoted(bench, 104)
    bench.tell(AmendOrder(TREND, create.parent_id, order_qty=D(40)))
    bench.report(create, S.CANCELED)
    track = bench.trading.tracks[create.parent_id]
    assert (track.decision_px, track.arrival_px, list(track.flags)) == (D(103), D(103), ["amended"])
    bench.check()


def test_amend_when_less_is_wanted_then_its_quantity_is_what_it_became(bench: Bench) -> None:
    """2 of 4 are filled, and then that is all: nothing is left as an opportunity."""
    create = resting(bench, 4, 100)
    bench.fill(create, 2)
    bench.report(create, S.PARTIALLY_FILLED, 2)
    bench.tell(AmendOrder(TREND, create.parent_id, order_qty=D(2)))
    bench.report(create, S.CANCELED, 2)
    found = last(bench)
    assert (found.order_qty, found.fill_ratio, found.is_opportunity_bps) == (D(2), D(1), D(0))
    assert "amended" in found.flags


def test_arrival_when_an_order_waited_for_the_market_then_it_is_the_mid_at_its_trigger(bench: Bench) -> None:
    """A stop that was armed at 100 fires at 94: it was decided at the one and began at the other."""
    bench.bought(10)
    name = armed(bench).order.parent_id
    bench.advance(10 * SECOND)
    assert bench.trading.tracks[name].arrived_ns is None
    quoted(bench, 94)
    Prints(bench)(94, 93)
    track = bench.trading.tracks[name]
    assert (track.decision_px, track.arrival_px, track.arrived_ns) == (D(100), D(94), bench.now_ns)
    assert name in bench.oms.state.live.tca.bases
    bench.check()


# --- what it measures ---------------------------------------------------------------------------------------


def test_markouts_when_time_passes_then_each_is_the_mid_at_its_horizon(bench: Bench) -> None:
    """Bought at 100: 101 a second later, 102 after five, 103 after thirty, 104 after 300."""
    create = resting(bench, 1, 100)
    bench.fill(create, 1, price=D(100))
    bench.report(create, S.FILLED, 1)
    assert last(bench).state == "provisional"
    for seconds, mid in ((1, 101), (4, 102), (25, 103), (270, 104)):
        alive(bench, seconds, mid)
    found = last(bench)
    assert found.state == "final"
    marks = (found.markout_1s_bps, found.markout_5s_bps, found.markout_30s_bps, found.markout_300s_bps)
    assert marks == (D(100), D(200), D(300), D(400))
    assert (found.end_px, found.is_opportunity_bps) == (D(100), D(0))
    assert [record.costs.state for record in bench.made(Tca)] == ["provisional", "final"]
    bench.check()


def test_markout_when_the_feed_is_away_at_its_horizon_then_it_is_null_and_no_other(bench: Bench) -> None:
    """A stale feed has no mid; the next horizon finds one again."""
    create = resting(bench, 1, 100)
    bench.fill(create, 1, price=D(100))
    bench.report(create, S.FILLED, 1)
    bench.tell(FeedQuality(BTC, Quality.STALE, "silent", bench.now_ns, 1))
    bench.advance(2 * SECOND)
    bench.quote(BTC, 101)
    alive(bench, 300, 101)
    found = last(bench)
    assert (found.markout_1s_bps, found.markout_5s_bps, found.markout_300s_bps) == (None, D(100), D(100))
    assert "no_mid" in found.flags


def test_seam_when_it_lies_behind_a_fill_then_its_later_horizons_are_null(bench: Bench) -> None:
    """What comes is another market; the orders that work across it say so."""
    create = resting(bench, 2, 100)
    bench.fill(create, 1, price=D(100))
    alive(bench, 2, 101)
    bench.tell(SessionBreak(BTC, 2, "lap", bench.now_ns))
    bench.quote(BTC, 200)
    alive(bench, 10, 200)
    track = bench.trading.tracks[create.parent_id]
    assert [one.mean for one in track.markouts] == [D(100), None, None, None]
    assert "seam" in track.flags
    mark = next(record for record in bench.made(Mark) if record.whole)
    assert (mark.flag, mark.mid) == ("seam", None)
    bench.check()


def test_capture_when_the_quote_has_moved_before_the_fill_is_told_then_the_one_before_it_counts(
    bench: Bench,
) -> None:
    """Bought at the bid of 99.95; the trade has moved the mid to 99 by the time of the word."""
    create = resting(bench, 1, "99.95")
    quoted(bench, 100)
    traded_ns = bench.now_ns + MS
    bench.advance(2 * MS)
    quoted(bench, 99)
    bench.fill(create, 1, price=D("99.95"), liquidity="maker", event_ns=traded_ns)
    assert last(bench).spread_capture == 1


def test_fee_when_it_is_in_the_base_asset_then_it_counts_at_the_mid_of_its_instant(bench: Bench) -> None:
    """0.001 BTC at a mid of 100."""
    create = resting(bench, 1, 100)
    bench.fill(create, 1, price=D(100), fee=D("0.001"), fee_asset=Asset("BTC"))
    bench.report(create, S.FILLED, 1)
    assert (last(bench).fees, last(bench).is_fees_bps) == (D("0.1"), D(10))


def test_fee_when_its_asset_has_a_market_then_that_counts_and_else_it_is_null(bench: Bench) -> None:
    """ETH is quoted at 10 USDT; nobody here knows BNB."""
    create = resting(bench, 2, 100)
    bench.fill(create, 1, price=D(100), fee=D("0.1"), fee_asset=Asset("ETH"))
    assert bench.trading.tracks[create.parent_id].fees.sum == D(1)
    bench.fill(create, 1, price=D(100), fee=D("0.1"), fee_asset=Asset("BNB"))
    bench.report(create, S.FILLED, 2)
    found = last(bench)
    assert (found.fees, found.is_fees_bps, found.is_bps) == (None, None, None)
    assert "no_fee_price" in found.flags


def test_acknowledgement_when_a_fill_is_the_first_word_then_it_counts(bench: Bench) -> None:
    """A market order whose trade comes before its report; what follows is no first word."""
    bench.submit(1)
    create = bench.one(GATEWAY, CreateOrder)
    bench.advance(25 * MS)
    bench.fill(create, 1, recv_ns=bench.now_ns)
    bench.advance(SECOND)
    bench.report(create, S.FILLED, 1, recv_ns=bench.now_ns)
    found = last(bench)
    assert (found.ack_p50_ms, found.ack_p99_ms) == (25.0, 25.0)
    assert bench.oms.state.live.tca.written == {}
    again = Bench(records=bench.records, now_ns=bench.now_ns + SECOND, config=bench.config).ready()
    assert again.trading.tracks[create.parent_id].acks == {25_000: 1}
    (counted,) = bench.oms.view().acks.values()
    assert (counted.buckets[ACK_BUCKETS_NS.index(50 * MS)], counted.sum_ns) == (1, 25 * MS)
    assert sum(counted.buckets) == 1


def test_acknowledgement_when_the_venue_speaks_first_then_the_time_since_the_write_counts(
    bench: Bench,
) -> None:
    """25 ms, once; a later word of the same order is none."""
    create = resting(bench, 1, 99)
    bench.advance(SECOND)
    bench.report(create, S.CANCELED, 0)
    found = last(bench)
    assert (found.ack_p50_ms, found.ack_p99_ms) == (25.0, 25.0)
    assert bench.oms.state.live.tca.written == {}


def test_benchmarks_when_the_market_moves_then_time_average_and_vwap_are_those_of_the_window(
    bench: Bench,
) -> None:
    """Mid 100 for 2 s and 104 for 2 s; others trade 1 at 100 and 3 at 104, and we 1 of 5 in all."""
    create = resting(bench, 2, 105)
    bench.tell(VolumeTick(BTC, 1, 1_000, 100_000.0, 100.0, bench.now_ns))
    bench.advance(2 * SECOND - 25 * MS)
    quoted(bench, 104)
    bench.tell(VolumeTick(BTC, 1, 5_000, 517_000.0, 104.0, bench.now_ns))
    bench.fill(create, 1, price=D(105))
    bench.advance(2 * SECOND)
    quoted(bench, 104)
    bench.tell(CancelParent(TREND, create.parent_id))
    bench.report(create, S.CANCELED, 1)
    found = last(bench)
    assert (found.twap, found.vwap, found.participation) == (D(102), D(103), D("0.2"))
    assert found.vwap_slippage_bps == D(2) / 103 * 10_000
    bench.check()


def test_benchmarks_when_the_lot_grows_then_what_has_traded_is_the_same(bench: Bench) -> None:
    """4 have traded before it came and 5 since, of which 1 is ours; a lot is a hundred of before."""
    resting(bench, 2, 99)
    bench.tell(VolumeTick(BTC, 1, 4_000, 400_000.0, 100.0, bench.now_ns))
    create = resting(bench, 2, 105)
    bench.tell(VolumeTick(BTC, 1, 9_000, 900_000.0, 100.0, bench.now_ns))
    bench.fill(create, 1, price=D(100))
    bench.tell(InstrumentUpdate(replace(bench.wiring.instruments[BTC], qty_lot=D("0.1"), version=2)))
    bench.tell(CancelParent(TREND, create.parent_id))
    bench.report(create, S.CANCELED, 1)
    found = last(bench)
    assert (found.vwap, found.participation) == (D(100), D("0.2"))
    bench.check()


def test_benchmarks_when_nobody_else_trades_then_a_flag_says_so(bench: Bench) -> None:
    """The volume is known: it is our own alone."""
    create = resting(bench, 2, 105)
    bench.tell(VolumeTick(BTC, 1, 0, 0.0, 100.0, bench.now_ns))
    bench.fill(create, 1, price=D(105))
    bench.tell(VolumeTick(BTC, 1, 1_000, 105_000.0, 105.0, bench.now_ns))
    bench.tell(CancelParent(TREND, create.parent_id))
    bench.report(create, S.CANCELED, 1)
    found = last(bench)
    assert (found.vwap, found.participation, "no_trades" in found.flags) == (None, D(1), True)


def test_benchmarks_when_a_hole_is_in_the_window_then_they_are_null(bench: Bench) -> None:
    """Without a mid for more than 5 s the average is unknown."""
    create = resting(bench, 1, 99)
    bench.advance(7 * SECOND)
    quoted(bench, 100)
    bench.tell(CancelParent(TREND, create.parent_id))
    bench.report(create, S.CANCELED, 0)
    found = last(bench)
    assert (found.twap, found.twap_slippage_bps, "gap" in found.flags) == (None, None, True)


def test_schedule_when_nothing_fills_then_its_error_grows_with_the_plan(bench: Bench) -> None:
    """C = 0 in the second of five intervals: 0.2 behind for half of 40 s."""
    bench.submit(10, algo="twap", settings={**SCHEDULE, "post_only": True, "at_end": "cancel"})
    create = bench.one(GATEWAY, CreateOrder)
    bench.report(create, S.NEW)
    alive(bench, 40, 100)
    bench.tell(CancelParent(TREND, create.parent_id))
    for name in tuple(bench.trading.orders_live):
        order = bench.trading.orders[name]
        made = CreateOrder(
            ACCOUNT, BTC, TREND, order.parent_id, name, "buy", "limit", "GTC", False, D(2), D(99), False, 0
        )
        bench.report(made, S.CANCELED, 0)
    found = last(bench)
    assert found.schedule_error_mean == pytest.approx(0.1)
    assert found.schedule_error_max == pytest.approx(0.2)


def test_schedule_when_nothing_is_scheduled_then_there_is_no_error(bench: Bench) -> None:
    """Null where F is 1 from the beginning."""
    create = resting(bench, 1, 99)
    bench.tell(CancelParent(TREND, create.parent_id))
    bench.report(create, S.CANCELED, 0)
    assert (last(bench).schedule_error_mean, last(bench).schedule_error_max) == (None, None)


def test_schedule_when_it_follows_the_volume_then_it_lags_what_traded_a_clip_ago(bench: Bench) -> None:
    """10 % of 20 BTC should be 2 of 10; nothing has filled for a clip's life: 0.2 behind."""
    settings = {"rate": "0.10", "end_at": "1970-01-01T00:20:00Z", "post_only": True}
    bench.submit(10, algo="pov", settings=settings)
    name = next(reversed(bench.trading.parents))
    bench.tell(VolumeTick(BTC, 1, 20_000, 0.0, 100.0, bench.now_ns))
    for _ in range(10):
        alive(bench, 1, 100)
        bench.tell(VolumeTick(BTC, 1, 20_000, 0.0, 100.0, bench.now_ns))
    pace = bench.oms.state.live.tca.paces[name]
    assert (pace.error.low, pace.error.high, pace.error.largest) == (2_000, 2_000, 0.2)
    bench.check()


def test_pov_when_it_trades_less_than_its_least_share_for_minutes_then_one_alarm(bench: Bench) -> None:
    """Five minutes have to pass below it; once it has caught up, they begin anew."""
    settings = {"rate": "0.10", "min_rate": "0.05", "duration": "1h", "post_only": True}
    bench.submit(10, algo="pov", settings=settings)

    def trades(lots: int, seconds: int) -> int:
        for _ in range(seconds):
            bench.tell(VolumeTick(BTC, 1, lots, 0.0, 100.0, bench.now_ns))
            alive(bench, 1, 100)
        return bench.logs.count("below_min_rate")

    assert trades(20_000, 290) == 0
    assert trades(20_000, 400) == 1
    (create,) = bench.take(GATEWAY, CreateOrder)[-1:]
    bench.report(create, S.NEW, recv_ns=bench.now_ns)
    bench.fill(create, create.order_qty)
    bench.report(create, S.FILLED, create.order_qty)
    assert trades(20_000, 400) == 1
    assert trades(200_000, 400) == 2


# --- when it is written -------------------------------------------------------------------------------------


def test_tca_when_a_parent_ends_then_it_is_in_the_same_commit(bench: Bench) -> None:
    """Between its DONE and its TCA nothing can fall."""
    create = resting(bench, 1, 100)
    bench.auto_durable = False
    before = len(bench.records)
    bench.fill(create, 1)
    turn = bench.records[before:]
    done = [i for i, one in enumerate(turn) if isinstance(one, PhaseChange) and one.phase is Phase.DONE]
    assert isinstance(turn[done[0] + 1], Tca)


def test_tca_when_nothing_traded_then_it_is_final_at_once(bench: Bench) -> None:
    """There is no last fill to wait for; delay and trading are zero, the rest was an opportunity."""
    create = resting(bench, 1, 99)
    quoted(bench, 101)
    bench.tell(CancelParent(TREND, create.parent_id))
    bench.report(create, S.CANCELED, 0)
    found = last(bench)
    assert (found.state, found.avg_px, found.is_delay_bps, found.is_trading_bps) == (
        "final",
        None,
        D(0),
        D(0),
    )
    assert (found.is_opportunity_bps, found.is_fees_bps, found.is_bps) == (D(100), D(0), D(100))


def test_tca_when_a_fill_comes_late_then_it_is_written_anew(bench: Bench) -> None:
    """Provisional again with that fill in it, and final 300 s behind it."""
    create = resting(bench, 2, 100)
    bench.fill(create, 1)
    bench.tell(CancelParent(TREND, create.parent_id))
    bench.report(create, S.CANCELED, 1)
    alive(bench, 301, 100)
    assert last(bench).state == "final"
    bench.fill(create, 1, price=D(102))
    found = last(bench)
    assert (found.state, found.filled, found.avg_px) == ("provisional", D(2), D(101))
    assert "late_fill" in found.flags
    alive(bench, 301, 103)
    assert (last(bench).state, last(bench).filled) == ("final", D(2))
    assert last(bench).markout_5s_bps == (D(0) + (D(103) - 102) / 102 * 10_000) / 2
    bench.check()


def test_tca_when_a_trade_is_busted_behind_the_end_then_it_is_written_anew(bench: Bench) -> None:
    """What it cost is exact again; its markouts are not told apart any more."""
    create = resting(bench, 2, 100)
    bench.fill(create, 1, "t1", fee=D("0.1"))
    bench.fill(create, 1, "t2", fee=D("0.2"), price=D(101))
    bench.report(create, S.FILLED, 2)
    alive(bench, 2, 100)
    bench.bust("t2")
    found = last(bench)
    assert (found.filled, found.avg_px, found.fees, found.markout_1s_bps) == (D(1), D(100), D("0.1"), None)
    assert "revised" in found.flags
    bench.check()


def test_tca_when_many_end_then_memory_ends_and_each_is_final(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest of those that wait is written at once, with a flag."""
    monkeypatch.setattr(oms_tca, "UNFINAL_MAX", 5)
    monkeypatch.setattr(apply_tca, "FINAL_KEPT", 3)
    for number in range(12):
        bench.advance(5 * MS)
        create = bench.limit(D("0.1"), 100)
        bench.fill(create, D("0.1"), f"t{number}")
    tracks = bench.trading.tracks
    waiting = [one for one in tracks.values() if one.costs is not None and one.costs.state == "provisional"]
    assert len(waiting) <= 6
    early = [one for one in bench.made(Tca) if "early" in one.costs.flags]
    assert len(early) >= 6
    assert {one.costs.state for one in early} == {"final"}
    alive(bench, 301, 100)
    assert len(bench.trading.tracks) == 3
    assert bench.trading.marks == {}
    assert {one.parent_id for one in bench.made(Tca)} == set(bench.trading.parents)
    bench.check()


def test_estimate_when_thirty_are_final_then_their_median_calibrates_it(bench: Bench) -> None:
    """Before that k is 1 and a flag says so."""
    bench.trading.samples[BTC] = [2.0] * 29
    create = resting(bench, 1, 99)
    bench.tell(CancelParent(TREND, create.parent_id))
    bench.report(create, S.CANCELED, 0)
    assert "uncalibrated" in last(bench).flags
    bench.trading.samples[BTC].append(2.0)
    create = resting(bench, 1, 99)
    bench.tell(CancelParent(TREND, create.parent_id))
    bench.report(create, S.CANCELED, 0)
    assert "uncalibrated" not in last(bench).flags


# --- a restart ----------------------------------------------------------------------------------------------


def again(bench: Bench, seconds: float) -> Bench:
    """Kill it, and let another one begin from the journal after so long."""
    later = Bench(records=bench.records, now_ns=bench.now_ns + int(seconds * SECOND))
    later.fold()
    later.tell(AccountState(ACCOUNT, True, ""))
    later.market()
    later.opened(held={"USDT": 1_000_000})
    later.market()
    later.sent.clear()
    return later


def test_restart_when_horizons_fell_into_the_down_time_then_they_are_null_and_the_others_known(
    bench: Bench,
) -> None:
    """Down from 2 s to 20 s behind a fill: 1 s was journaled, 5 s nobody saw, 30 s and 300 s come."""
    create = resting(bench, 1, 100)
    bench.fill(create, 1)
    bench.report(create, S.FILLED, 1)
    alive(bench, 2, 101)
    later = again(bench, 18)
    alive(later, 285, 102)
    found = last(later)
    marks = (found.markout_1s_bps, found.markout_5s_bps, found.markout_30s_bps, found.markout_300s_bps)
    assert (found.state, marks) == ("final", (D(100), None, D(200), D(200)))
    assert "restart" in found.flags
    assert (found.end_px, found.is_bps) == (D(100), D(0))
    later.check()


def test_restart_when_all_of_its_time_passed_meanwhile_then_it_still_gets_its_final_record(
    bench: Bench,
) -> None:
    """An hour later all horizons are null, and the rest of it is as it was."""
    create = resting(bench, 1, 100)
    bench.fill(create, 1)
    bench.report(create, S.FILLED, 1)
    assert last(bench).state == "provisional"
    later = again(bench, 3_600)
    later.advance(SECOND, answering=True)
    found = last(later)
    assert (found.state, found.filled, found.avg_px) == ("final", D(1), D(100))
    assert (found.markout_1s_bps, found.markout_300s_bps, found.twap) == (None, None, D(100))
    later.check()


def test_restart_when_a_parent_works_on_then_its_arrival_is_kept_and_its_window_is_null(bench: Bench) -> None:
    """The mids while nobody was here are never made up."""
    create = resting(bench, 2, 100, decision_px=D(99))
    bench.fill(create, 1)
    later = again(bench, 5)
    later.tell(CancelParent(TREND, create.parent_id))
    later.report(create, S.CANCELED, 1)
    found = last(later)
    assert (found.decision_px, found.arrival_px, found.arrival_slippage_bps) == (D(99), D(100), D(0))
    assert (found.twap, found.vwap, found.participation, found.estimate_bps) == (None, None, None, None)
    assert "restart" in found.flags
    assert found.is_bps is not None
    later.check()


def test_restart_when_a_fill_happened_meanwhile_then_its_market_is_null(bench: Bench) -> None:
    """A look tells of it; nobody saw the mid around it."""
    create = resting(bench, 2, 100)
    happened_ns = bench.now_ns + 2 * SECOND
    later = again(bench, 5)
    later.fill(create, 2, event_ns=happened_ns, source="look")
    later.report(create, S.FILLED, 2)
    found = last(later)
    assert (found.spread_capture, found.filled) == (None, D(2))
    assert "late_report" in found.flags
    assert later.made(Fill)[-1].mid is None
    later.check()


def test_quote_when_nobody_is_at_work_then_nothing_is_kept_of_it(bench: Bench) -> None:
    """The last order of an instrument takes its mids along."""
    assert bench.oms.state.live.tca.mids == {}
    create = resting(bench, 1, 99)
    assert list(bench.oms.state.live.tca.mids) == [BTC]
    quoted(bench, 10, instrument=ETH)
    bench.tell(CancelParent(TREND, create.parent_id))
    bench.report(create, S.CANCELED, 0)
    live = bench.oms.state.live.tca
    assert (live.mids, live.own, live.bases, live.paces) == ({}, {}, {}, {})


@pytest.mark.parametrize(
    ("algo", "settings"),
    [("stop", {"trigger_price": "105"}), ("bracket", {"stop.trigger_price": "90"}), ("market", {})],
)
def test_decision_when_its_owner_says_the_price_then_contingent_orders_and_legs_keep_it(
    algo: str, settings: dict[str, str]
) -> None:
    """P_dec is the mid in the owner's message, whatever the order is."""
    bench = Bench().ready()
    bench.submit(5, algo=algo, settings=settings, decision_px=D("100.25"))
    made = [one.decision_px for one in bench.made(Parent)]
    assert made == [D("100.25")] * (2 if algo == "bracket" else 1)


def test_flags_when_nobody_knows_the_volume_then_the_analysis_of_a_twap_says_so(bench: Bench) -> None:
    """EXECUTION.md part 3: its share could not be held against the cap, though trades were told later."""
    bench.tell(VolumeTick(BTC, 1, 0, 0.0, 100.0, bench.now_ns))
    bench.submit(10, algo="twap", settings={"duration": "100s"})
    bench.tell(VolumeTick(BTC, 1, 1_000, 100_000.0, 100.0, bench.now_ns))
    for create in bench.take(GATEWAY, CreateOrder):
        bench.report(create, S.CANCELED, 0)
    bench.tell(CancelParent(TREND, next(reversed(bench.trading.parents))))
    found = last(bench)
    assert (found.vwap, "volume_unknown" in found.flags) == (D(100), True)


def test_flags_when_a_plan_has_some_then_its_analysis_and_its_row_tell_them(bench: Bench) -> None:
    """EXECUTION.md part 7: without a curve a TWAP, said in the report."""
    bench.submit(10, algo="vwap", settings={"duration": "100s"}, instrument=ETH)
    name, parent = next(reversed(bench.trading.parents.items()))
    assert parent.plan is not None
    bench.tell(CancelParent(TREND, name))
    for create in bench.take(GATEWAY, CreateOrder):
        bench.report(create, S.CANCELED, 0)
    assert parent.plan.flags
    assert set(parent.plan.flags) <= set(last(bench).flags)
    update = next(one for one in bench.take(STORE, ParentUpdate)[::-1] if one.order.parent_id == name)
    row = parent_row(update, Progress(), parent)
    assert (row["source"], row["coverage"]) == (parent.plan.source or None, parent.plan.coverage)
    assert row["flags"] == list(parent.plan.flags)


def test_means_when_an_order_never_began_then_it_is_in_none(bench: Bench) -> None:
    """A stop that is cancelled unfired has bought or sold nothing: the move since is no cost of it."""
    bench.bought(10)
    name = armed(bench).order.parent_id
    quoted(bench, 110)
    bench.tell(CancelParent(CLI, name))
    alive(bench, 2, 110)
    found = last(bench)
    assert (found.begun, "not_begun" in found.flags, found.fill_ratio) == (False, True, D(0))
    update = costs_now(Look(bench.trading, bench.oms.state.live, bench.wiring), name, bench.now_ns)
    assert update is not None
    (row,) = aggregated([update])["algo"]
    assert (row["n"], row["is_bps"], row["fill_ratio"]) == (1, None, None)
    count_costs(bench.oms.state.live.tca, "stop", BTC, found)
    assert "stop" not in bench.oms.state.live.tca.counts
