"""The engine with each recipe, step by step: the vectors of the specification, and what each rule means."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tests.property.walker import Walk
from tests.property.walks import T0, make
from tradefan.execution import Chase, End, Place, Query, Shrink, View, Wake
from tradefan.executors.engine import step
from tradefan.messages.orders import OrderStatus
from tradefan.messages.plan import Volume
from tradefan.units import MS, SECOND, ClientOrderId

S = OrderStatus
END = T0 + 300 * SECOND


def quiet(name: str, order_lots: int = 100, *, side: Any = "buy", **plan: Any) -> Walk:
    """A parent in a market that only does what it is told, with room for any clip."""
    walk = make(name, 0, side)
    walk.order_lots = order_lots
    walk.plan = replace(walk.plan, **plan)
    walk.total = 10**6
    walk.traded = [(T0, 10**6, False)]
    walk.fixed_volume = Volume(10**6, 10**6, 0, whole=True)
    return walk


def placed(walk: Walk) -> list[tuple[int, int, str]]:
    return [(kid.lots, kid.price, kid.tif) for kid in walk.kids]


def at(walk: Walk, seconds: float) -> None:
    """Go on to an instant and ask."""
    walk.now_ns = T0 + int(seconds * SECOND)
    walk.question()


# --- market -------------------------------------------------------------------------------------------


def test_market_when_two_levels_stand_inside_the_collar_then_one_child_takes_both() -> None:
    """X 10, bid 9998, asks 4 at 10000 and 10 at 10010: one IOC at 10048."""
    walk = quiet("market", 10)
    walk.ask_lots = 14
    walk.question()
    assert placed(walk) == [(10, 10_048, "IOC")]


def test_market_when_it_sells_then_the_collar_is_rounded_inward() -> None:
    """Bid 9998, ask 10000, c 50: sell 9950."""
    walk = quiet("market", 10, side="sell")
    walk.question()
    assert placed(walk) == [(10, 9_950, "IOC")]


def test_market_when_a_part_is_left_then_it_goes_again_four_times_in_all() -> None:
    """250 ms after the end of the last try; then it ends EXPIRED(tries)."""
    walk = quiet("market", 100)
    walk.ask_lots = 10
    walk.question()
    times = []
    for _ in range(3):
        assert walk.wake.at_ns is not None
        walk.now_ns = walk.wake.at_ns
        walk.question()
        times.append((walk.now_ns - T0) // MS)
    assert ([lots for lots, _, _ in placed(walk)], times) == ([100, 90, 80, 70], [250, 500, 750])
    assert walk.ended == End(S.EXPIRED, "tries")


# --- schedules ------------------------------------------------------------------------------------------


def twap(**plan: Any) -> Walk:
    """X 1000 in 4 clips over 300 s, without jitter."""
    walk = quiet("twap", 1_000, taus=(250, 500, 750, 1_000), **plan)
    settings = replace(walk.recipe.settings, time_jitter=0, size_jitter=0)
    walk.recipe = replace(walk.recipe, settings=settings)
    walk.recipe.pacing.settings = settings  # type: ignore[attr-defined]
    return walk


def test_twap_when_nothing_fills_its_first_clip_then_it_crosses_below_the_discretion() -> None:
    """250 each; 45 s passive, then what C < 200 lacks is taken once; 250 - 60 when 60 have traded."""
    walk = twap()
    walk.ask_lots = 1_000
    walk.question()
    assert placed(walk) == [(250, 9_998, "GTC")]
    walk.fill(walk.kids[0], 60)
    at(walk, 45)
    assert walk.kids[0].ending
    walk.hear()
    walk.question()
    assert placed(walk)[1:] == [(190, 10_048, "IOC")]
    assert walk.cum == 250


def test_twap_when_enough_has_traded_then_it_keeps_resting() -> None:
    """C = 200 is not late: the rest of the clip goes back to pacing at its end."""
    walk = twap()
    walk.question()
    walk.fill(walk.kids[0], 200)
    at(walk, 45)
    assert not walk.kids[0].ending
    at(walk, 75)
    assert walk.kids[0].ending
    walk.hear()
    walk.question()
    assert walk.clip is not None
    assert (walk.clip.k, walk.clip.lots, walk.clip.base) == (1, 267, 200)


def test_twap_when_decisions_were_missed_then_no_burst_follows() -> None:
    """Down for two clips of four: spread, and never more than three plain ones."""
    walk = twap()
    at(walk, 160)
    assert walk.clip is not None
    assert (walk.clip.k, walk.clip.target, walk.clip.due, walk.clip.lots) == (2, 750, 500, 500)


def test_twap_when_its_time_is_over_then_what_is_left_crosses_until_the_grace_is_over() -> None:
    """`cross_collared`: each `retry_after`, for 5 s; then EXPIRED(end)."""
    walk = twap()
    walk.ask_lots = 40
    at(walk, 300)
    assert placed(walk) == [(1_000, 10_048, "IOC")]
    for _ in range(30):
        assert walk.wake.at_ns is not None
        walk.now_ns = walk.wake.at_ns
        walk.question()
        if walk.ended is not None:
            break
    assert walk.ended == End(S.EXPIRED, "end")
    assert walk.now_ns == END + 5 * SECOND
    assert len(walk.kids) == 20
    assert walk.cum == 800


@pytest.mark.parametrize(("name", "price"), [("twap, passive", 10_198), ("twap, peg", None)])
def test_schedule_when_its_end_says_so_then_it_takes_wider_or_not_at_all(
    name: str, price: int | None
) -> None:
    """`market` is bounded by the wide collar, `cancel` ends at once."""
    walk = quiet(name)
    at(walk, 300)
    if price is None:
        assert (placed(walk), walk.ended) == ([], End(S.EXPIRED, "end"))
    else:
        assert placed(walk) == [(100, price, "IOC")]


def test_schedule_when_the_clock_was_set_back_then_nothing_is_placed_before_its_start() -> None:
    """Behind a restart the wall clock may be before the window: what rests goes, and it waits."""
    walk = twap()
    walk.question()
    at(walk, -60)
    assert (walk.kids[0].ending, walk.wake.at_ns) == (True, T0)
    walk.hear()
    walk.question()
    assert len(walk.kids) == 1


def test_schedule_when_a_clip_would_be_dust_then_it_is_carried_over() -> None:
    """10 lots in three clips of 2, 4 and 4, none below 3: the first waits, the second makes up for it."""
    walk = quiet("twap", 10, taus=(2, 6, 10), min_clip=3)
    walk.recipe.pacing.settings = replace(walk.recipe.settings, time_jitter=0)  # type: ignore[attr-defined]
    clips = []
    for k in range(2):
        at(walk, 100 * k)
        assert walk.clip is not None
        clips.append((walk.clip.lots, walk.clip.reason))
    assert clips == [(0, "small"), (5, "")]


# --- tactics -----------------------------------------------------------------------------------------------


def pegged() -> Walk:
    """A TWAP's first child rests at 9998, of a clip of 30 s: passive for 18 s, chased each 4.5 s."""
    walk = quiet("twap", 1_000, taus=tuple(range(100, 1_001, 100)))
    walk.recipe.pacing.settings = replace(walk.recipe.settings, time_jitter=0)  # type: ignore[attr-defined]
    walk.bid, walk.ask = 9_990, 10_000
    walk.question()
    assert placed(walk) == [(100, 9_990, "GTC")]
    return walk


def test_passive_when_it_is_not_filled_then_it_steps_towards_the_market_three_times() -> None:
    """A tick each 4.5 s; the fourth time is the end of its passive time."""
    walk = pegged()
    prices = []
    for seconds in (4.4, 4.5, 9, 13.5, 17.9):
        at(walk, seconds)
        prices.append(walk.kids[-1].price)
    assert prices == [9_990, 9_991, 9_992, 9_993, 9_993]


def test_passive_when_the_touch_moves_away_then_it_follows_behind_five_seconds_and_stays_when_alone() -> None:
    """`reprice_after` is a sixth of the clip here; a touch that falls leaves it alone at the best price."""
    walk = pegged()
    walk.bid = 9_994
    at(walk, 3)
    assert walk.kids[-1].price == 9_990
    at(walk, 5)
    assert walk.kids[-1].price == 9_994
    walk.bid = 9_980
    at(walk, 8)
    assert walk.kids[-1].price == 9_994


def test_passive_when_the_other_side_is_near_then_it_stays_a_tick_short_of_it() -> None:
    """A step that changes no price sends nothing, and counts."""
    walk = pegged()
    walk.ask = 9_991
    at(walk, 4.5)
    assert (len(walk.kids), walk.kids[-1].price) == (1, 9_990)
    walk.ask = 10_000
    at(walk, 9)
    assert walk.kids[-1].price == 9_992


def test_last_clip_when_it_is_passive_then_what_must_cross_is_kept_back() -> None:
    """min_clip is not in the passive child, so that what crosses is never dust."""
    walk = quiet("twap", 100, taus=(100,), min_clip=7)
    walk.recipe.pacing.settings = replace(walk.recipe.settings, time_jitter=0)  # type: ignore[attr-defined]
    walk.question()
    assert placed(walk) == [(93, 9_998, "GTC")]


def test_limit_when_even_the_own_side_is_beyond_it_then_nothing_rests_until_it_is_back() -> None:
    """`skip_time`: the clock runs, the child is cancelled, and it goes on when the market is back."""
    walk = quiet("twap, limit")
    walk.recipe.pacing.settings = replace(walk.recipe.settings, time_jitter=0)  # type: ignore[attr-defined]
    walk.question()
    assert placed(walk)[-1][1] <= 10_001
    walk.bid, walk.ask = 10_005, 10_007
    at(walk, 40)
    assert walk.kids[-1].ending
    walk.hear()
    walk.question()
    assert (walk.wake.bid_below, walk.clip and walk.clip.reason) == (10_001, "limit")
    walk.bid, walk.ask = 9_990, 9_992
    at(walk, 70)
    assert walk.kids[-1].price == 9_990


def test_twap_when_its_owner_would_trade_then_the_rest_of_its_interval_is_worked_behind_that() -> None:
    """In the last of four slices the ask dips to `i_would_price` for 5 lots: the others are placed again."""
    walk = quiet("twap, i would", 1_000, taus=(250, 500, 750, 1_000))
    settings = replace(walk.recipe.settings, time_jitter=0, size_jitter=0)
    walk.recipe.pacing.settings = settings  # type: ignore[attr-defined]
    for k in range(3):
        at(walk, 75 * k)
        kid = walk.kids[-1]
        kid.cum, kid.open = kid.lots, False
        walk._tell(kid)
        walk.question()
    at(walk, 225)
    walk.bid, walk.ask, walk.ask_lots = 9_980, 9_985, 5
    for second in (226, 227):
        at(walk, second)
        walk.hear()
        walk.question()
    taken = walk.kids[-1]
    assert (taken.lots, taken.tif) == (5, "IOC")
    taken.cum, taken.open = 5, False
    walk._tell(taken)
    walk.bid, walk.ask, walk.ask_lots = 9_998, 10_000, 1_000
    at(walk, 229)
    rests = walk.kids[-1]
    assert (rests.tif, rests.live, walk.clip and walk.clip.k) == ("GTC", True, 3)
    assert 235 <= rests.lots <= 245


def test_twap_when_a_plan_made_anew_begins_ahead_of_its_schedule_then_from_what_was_done() -> None:
    """Its first clip takes at `i_would_price`: the interval before is nothing, not all that was done."""
    walk = quiet("twap, i would", 1_000, taus=(500, 700, 850, 1_000), base=300)
    walk.cum = 300
    walk.bid, walk.ask, walk.ask_lots = 9_980, 9_982, 5
    at(walk, 0)
    assert walk.clip is not None
    assert (walk.clip.reason, walk.clip.k, walk.clip.before, walk.clip.target) == ("i_would", -1, 300, 300)


# --- pov and iceberg ---------------------------------------------------------------------------------------


def test_pov_when_others_print_then_its_clips_are_a_tenth_of_the_volume() -> None:
    """min_clip 5, own fills in the feed: clips 6, 5, 10; own 21 of 221; wakes at 50 and 110."""
    walk = quiet("pov", 1_000, min_clip=5)
    volume, wakes, clips = 0, [], []
    for i, printed in enumerate((40, 20, 50, 90)):
        volume += printed
        walk.fixed_volume = Volume(volume, 10**6, 0, whole=True)
        at(walk, 10 * i)
        if walk.wake.volume_at is not None:
            wakes.append(walk.wake.volume_at)
        if walk.kids and walk.kids[-1].live:
            kid = walk.kids[-1]
            clips.append(kid.lots)
            kid.cum, kid.open = kid.lots, False
            walk._tell(kid)
            volume += kid.lots
            walk.fixed_volume = Volume(volume, 10**6, 0, whole=True)
            at(walk, 10 * i + 5)
            if walk.wake.volume_at is not None:
                wakes.append(walk.wake.volume_at)
    assert (clips, walk.cum, volume) == ([6, 5, 10], 21, 221)
    assert wakes[:2] == [50, 110]


def test_pov_when_its_passive_part_has_ended_then_the_rest_of_its_clip_is_taken() -> None:
    """A clip of 20 rests 10 for 3 s of its 5; behind the cancel the same clip crosses, before the next."""
    walk = quiet("pov", 1_000, min_clip=10)
    walk.recipe.tactic.settings = replace(  # type: ignore[attr-defined]
        walk.recipe.settings, chase=Chase(max_steps=0)
    )
    walk.fixed_volume = Volume(100, 1_000, 0, whole=True)
    at(walk, 10)
    assert placed(walk) == [(10, 9_998, "GTC")]
    at(walk, 13)
    assert walk.kids[-1].ending
    walk.hear()
    walk.question()
    assert placed(walk)[1:] == [(10, 10_048, "IOC")]


def test_pov_when_it_is_extended_then_all_is_due_and_the_ceiling_stands() -> None:
    """`extend:20s`, 20 % of 100 lots in the window: 20 of 1000, then as it goes."""
    walk = quiet("pov, extend", 1_000, min_clip=5)
    walk.fixed_volume = Volume(100, 100, 0, whole=True)
    at(walk, 300)
    assert walk.clip is not None
    assert (walk.clip.lots, walk.clip.reason, walk.clip.deadline_ns) == (20, "extend", END + 5 * SECOND)
    kid = walk.kids[-1]
    kid.cum, kid.open = kid.lots, False
    walk._tell(kid)
    walk.fixed_volume = Volume(120, 120, 20, whole=True)
    at(walk, 305)
    assert (walk.clip.number, walk.wake.at_ns) == (0, END + 6 * SECOND)
    walk.fixed_volume = Volume(200, 200, 20, whole=True)
    at(walk, 306)
    assert (walk.clip.number, walk.clip.lots) == (1, 20)


def test_pov_when_a_remainder_would_be_dust_then_no_merge_goes_beyond_its_ceiling() -> None:
    """8 are left, 6 fit below max_rate, the least clip is 3: 5 now, so that 3 stay for the next clip."""
    walk = quiet("pov", 100, min_clip=3)
    walk.cum = 92
    walk.fixed_volume = Volume(1_000, 400, 74, whole=True)
    at(walk, 10)
    assert walk.clip is not None
    assert (walk.clip.due, walk.clip.lots) == (8, 5)


def test_pov_when_its_owner_would_trade_between_two_clips_then_it_takes_what_is_shown() -> None:
    """The last clip is over and nobody has traded since; the ask falls to `i_would_price`."""
    walk = quiet("pov, i would", 1_000, min_clip=5)
    walk.fixed_volume = Volume(100, 10**6, 0, whole=True)
    at(walk, 10)
    kid = walk.kids[-1]
    kid.cum, kid.open = kid.lots, False
    walk._tell(kid)
    walk.fixed_volume = Volume(101, 10**6, 0, whole=True)
    at(walk, 16)
    walk.bid, walk.ask, walk.ask_lots = 9_980, 9_982, 300
    at(walk, 40)
    assert placed(walk)[1:] == [(300, 9_990, "IOC")]


@pytest.mark.parametrize("name", ["iceberg", "iceberg, peg"])
def test_iceberg_when_its_venue_takes_nothing_then_it_waits_longer_each_time(name: str) -> None:
    """A quarter of a second more behind each, up to five seconds: 103 children in a minute before."""
    walk = quiet(name, 200)
    walk.question()
    while walk.now_ns < T0 + 60 * SECOND and not walk.over:
        if walk.kids[-1].live:
            kid = walk.kids[-1]
            kid.open = False
            walk._tell(kid)
            kid.status = OrderStatus.REJECTED
            walk.question()
        assert walk.wake.at_ns is not None
        walk.now_ns = max(walk.wake.at_ns, walk.now_ns + MS)
        walk.question()
    assert len(walk.kids) < 35


def test_iceberg_when_its_last_clip_was_never_placed_then_its_extension_goes_on() -> None:
    """A gate has refused the child until the end: the clip is over, the next one is placed."""
    walk = quiet("iceberg, extend", 100)
    walk.question()
    kid = walk.kids[-1]
    kid.cum, kid.open = kid.lots, False
    walk._tell(kid)
    perform = walk._perform
    walk._perform = lambda command: not isinstance(command, Place) and perform(command)  # type: ignore[method-assign]
    for second in (1, 2, 3, 250):
        at(walk, second)
    walk._perform = perform  # type: ignore[method-assign]
    for second in (300, 301, 302):
        at(walk, second)
    assert len(walk.kids) == 2


def test_iceberg_when_it_is_planned_anew_beside_a_doubt_then_it_waits_for_the_evidence() -> None:
    """A child in doubt may be in the book: another one beside it would show too much."""
    walk = quiet("iceberg", 100)
    walk.question()
    walk.kids[0].doubt, walk.plans = True, 2
    at(walk, 1)
    assert len(walk.kids) == 1
    walk.kids[0].open = False
    walk.hear()
    at(walk, 3)
    assert len(walk.kids) == 2


def test_iceberg_when_what_was_in_doubt_rests_still_then_nothing_is_shown_beside_it() -> None:
    """Planned anew, it waits for the end of the older child, not only for the word that it is there."""
    walk = quiet("iceberg", 100)
    walk.question()
    kid = walk.kids[0]
    kid.doubt, kid.ending, walk.plans = True, True, 2
    at(walk, 1)
    kid.cum = 5
    walk._tell(kid)
    at(walk, 2)
    assert (len(walk.kids), kid.live) == (1, True)
    kid.open = False
    walk._tell(kid)
    at(walk, 3)
    assert len(walk.kids) == 2


def test_iceberg_when_it_is_extended_then_clip_follows_clip_at_its_limit() -> None:
    """`extend:20s`: what rested at the end is cancelled, then 30 at a time again, never two at once."""
    walk = quiet("iceberg, extend", 100)
    settings = replace(walk.recipe.settings, variance=0, delay_min=200 * MS, delay_max=200 * MS)
    walk.recipe.pacing.settings = settings  # type: ignore[attr-defined]
    walk.question()
    at(walk, 300)
    assert (walk.kids[-1].ending, len(walk.kids)) == (True, 1)
    walk.hear()
    walk.question()
    for second in (301, 302):
        at(walk, second)
        kid = walk.kids[-1]
        assert (kid.lots, kid.price, kid.tif) == (30, 10_010, "GTC")
        kid.cum, kid.open = kid.lots, False
        walk._tell(kid)
        walk.question()
    at(walk, 303)
    assert len([kid for kid in walk.kids if kid.live]) == 1
    at(walk, 320)
    assert walk.over


@pytest.mark.parametrize(("min_clip", "expected"), [(3, [30, 30, 30, 10]), (15, [30, 30, 25, 15])])
def test_iceberg_when_each_clip_fills_then_it_shows_no_more_than_display(
    min_clip: int, expected: list[int]
) -> None:
    """Variance 0; with min_clip 15 a merge would show 40."""
    walk = quiet("iceberg", 100, min_clip=min_clip)
    settings = replace(walk.recipe.settings, variance=0, delay_min=200 * MS, delay_max=200 * MS)
    walk.recipe.pacing.settings = settings  # type: ignore[attr-defined]
    walk.question()
    shown = []
    while not walk.over:
        kid = walk.kids[-1]
        shown.append(kid.lots)
        kid.cum, kid.open = kid.lots, False
        walk._tell(kid)
        walk.question()
        if not walk.over:
            assert walk.wake.at_ns == walk.now_ns + 200 * MS
            walk.now_ns += 200 * MS
            walk.question()
    assert shown == expected


# --- restart ------------------------------------------------------------------------------------------------


def test_engine_when_asked_after_a_restart_then_it_goes_on_from_what_is_journaled() -> None:
    """Nothing but plan, clip and children: the same answer as without the restart."""
    walk = pegged()
    at(walk, 4.5)
    again = View(**{name: getattr(walk.view(), name) for name in View.__struct_fields__})
    assert step(walk.recipe, again) == step(walk.recipe, walk.view())


def test_engine_when_a_child_rests_unseen_behind_the_market_then_it_is_asked_for() -> None:
    """The other side is through its price for 10 s and nobody told of a fill."""
    walk = quiet("limit", 100)
    walk.question()
    walk.bid, walk.ask = 9_990, 9_995
    at(walk, 9)
    assert walk.wake.at_ns == T0 + 10 * SECOND
    commands = step(walk.recipe, replace(walk.view(), now_ns=T0 + 10 * SECOND))
    assert commands == (Query(ClientOrderId("0")), Wake(T0 + 20 * SECOND))


class Generous:
    """A guard that gives more than was asked for."""

    def check(self, view: View, lots: int) -> Shrink:
        return Shrink(10 * lots, "generous")


def test_clip_when_a_guard_wants_more_than_was_decided_then_it_does_not_grow() -> None:
    """Guards only shrink."""
    walk = twap()
    walk.recipe = replace(walk.recipe, guards=(Generous(),))
    walk.question()
    assert placed(walk) == [(250, 9_998, "GTC")]
