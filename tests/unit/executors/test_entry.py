"""What is checked and planned before a parent exists: codes, proposals, and no silent change of a size."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from msgspec.structs import replace

from tests.unit.core.order_builders import parent_order
from tests.unit.risk.test_limits import instrument
from tradefan import contracts
from tradefan.actors.oms_executor import new_executor
from tradefan.core.curve import Levels, packaged
from tradefan.errors import Refused
from tradefan.execution import Common
from tradefan.executors.entry import Entry, curve_of, expected_volume
from tradefan.executors.tactics import Peg
from tradefan.executors.trajectories import Curved
from tradefan.messages.market import VolumeDays
from tradefan.messages.plan import Plan
from tradefan.units import DAY, HOUR, MINUTE, SECOND, parse_iso

D = Decimal
NOW = 1_700_000_000 * SECOND
RULES = instrument(qty_lot=D("0.1"), price_tick=D("0.5"), min_notional=D(20), min_qty=D("0.1"))


def entry(algo: str, qty: Any = 100, limit: Any = None, **given: Any) -> Entry:
    """An order of 100 at a mid of 100, in lots of 0.1 and ticks of 0.5, worth at least 20."""
    price = None if limit is None else D(str(limit))
    order = parent_order(algo=algo, order_qty=D(str(qty)), limit_price=price, settings=given)
    return Entry(order, RULES, NOW, D(100))


def minute(qty: Any = 100, limit: Any = None, **given: Any) -> Entry:
    """A TWAP over 60 s."""
    return entry("twap", qty, limit, duration="60s", **given)


def planned(algo: str, qty: Any = 100, limit: Any = None, **given: Any) -> Plan:
    return plan_of(entry(algo, qty, limit, **given))


def plan_of(asked: Entry) -> Plan:
    made: Plan = new_executor(asked.order).plan(asked)  # type: ignore[attr-defined]
    return made


def test_plan_when_a_twap_is_planned_then_its_targets_end_at_the_whole() -> None:
    """n = duration / interval; the smallest clip is worth 1.1 x the minimum, in whole lots."""
    plan = planned("twap", duration="300s", size_jitter=0)
    assert (plan.start_ns, plan.end_ns) == (NOW, NOW + 300 * SECOND)
    assert plan.taus == tuple(range(100, 1_001, 100))
    assert (plan.min_clip, plan.limit, plan.qty_lot, plan.price_tick) == (3, None, D("0.1"), D("0.5"))


def test_plan_when_slices_are_given_then_they_are_its_decisions() -> None:
    """Five clips of 20, without jitter."""
    assert planned("twap", duration="300s", slices=5, size_jitter=0).taus == (200, 400, 600, 800, 1_000)


def test_plan_when_the_limit_is_an_offset_then_it_is_rounded_towards_our_side() -> None:
    """25 bps above an arrival of 100 is 100.25: a buy may pay 100.0 at a tick of 0.5."""
    assert planned("twap", duration="60s", limit_offset_bps=25).limit == 200
    assert planned("twap", limit="100.5", duration="60s").limit == 201


def test_plan_when_it_is_made_anew_then_the_window_stays_and_it_begins_at_what_is_done() -> None:
    """MD-17, amends: base and rest; the limit that an offset made is kept."""
    asked = entry("twap", duration="300s", limit_offset_bps=25, size_jitter=0)
    old = plan_of(asked)
    anew = plan_of(replace(asked, now_ns=NOW + 150 * SECOND, done=400, old=old, mid=D(120)))
    assert (anew.start_ns, anew.end_ns, anew.base) == (NOW + 150 * SECOND, old.end_ns, 400)
    assert (anew.taus[-1], anew.limit, len(anew.taus)) == (1_000, 200, 5)


def test_plan_when_risk_bounds_one_order_then_what_is_sliced_stays_below_it() -> None:
    """What is not sliced by nature is never split for that: it is refused by the limit."""
    for algo, settings, most in (("twap", {"duration": "60s"}, 70), ("market", {}, None)):
        assert plan_of(replace(entry(algo, **settings), clip_most=70)).max_clip == most
    assert planned("twap", duration="60s", max_clip=5).max_clip == 50


def test_plan_when_an_iceberg_is_planned_then_it_knows_what_it_may_show() -> None:
    """`display` in lots; without a limit it has to be pegged."""
    assert planned("iceberg", limit=99, display=5).display == 50
    assert planned("iceberg", display=5, peg=True).limit is None


BEGIN = NOW // (5 * MINUTE) * 5 * MINUTE
BUCKETS = [0.0] * 288
BUCKETS[BEGIN % DAY // (5 * MINUTE)], BUCKETS[BEGIN % DAY // (5 * MINUTE) + 1] = 60.0, 120.0
LEVELS = Levels(5 * MINUTE, tuple(BUCKETS), tuple(BUCKETS), 14, "klines")
"""600 lots in the bucket of NOW, of which 100 s are over, 1200 in the next one."""


def test_plan_when_a_curve_is_known_then_it_is_followed_and_named() -> None:
    """100 s of the first bucket, 200 s of the second: 200 and 800 lots."""
    asked = replace(entry("vwap", 10, duration="300s", slices=5, size_jitter=0), levels=LEVELS)
    plan = plan_of(asked)
    assert expected_volume(curve_of(asked, plan, Curved()), plan) == 1_000
    assert (plan.taus, plan.source, plan.coverage) == ((12, 28, 52, 76, 100), "klines", 1.0)


EXTENDED = "at_end extend:60s"


@pytest.mark.parametrize(
    ("asked", "code", "text", "passes"),
    [
        (entry("twap"), "BAD_SETTING", "needs a duration or an end_at", "duration 5m"),
        (
            minute("0.2"),
            "BELOW_MIN_CLIP",
            "below the smallest clip 0.3",
            "order_qty 0.3",
        ),
        (minute(end_at=NOW + MINUTE), "BAD_SETTING", "got both", "one of them"),
        (minute(slices=2, interval="30s"), "BAD_SETTING", "interval or slices, got both", "one of them"),
        (entry("twap", end_at=NOW - SECOND), "BAD_WINDOW", "end_at: expected an end behind", None),
        (entry("twap", duration="40d"), "BAD_WINDOW", "duration: expected an end behind", None),
        (entry("twap", duration="36500d"), "BAD_WINDOW", "and within 30 days, got 2", None),
        (minute(start_at="2261-12-31"), "BAD_WINDOW", "start_at: expected a start within 30 days", None),
        (
            minute(interval="80s"),
            "BAD_SETTING",
            "within the duration of 60",
            "interval 60",
        ),
        (
            minute(2, slices=30),
            "TOO_MANY_SLICES",
            "30 slices of at least 0.3",
            "slices 6",
        ),
        (
            minute(discretion=2),
            "BAD_SETTING",
            "discretion: expected 0 to 1, got 2",
            None,
        ),
        (minute(discretion="NaN"), "BAD_SETTING", "discretion: expected 0 to 1", None),
        (
            minute(min_clip="0.25"),
            "OFF_GRID",
            "multiple of the lot 0.1",
            "min_clip 0.1",
        ),
        (minute(max_clip="-1"), "OFF_GRID", "max_clip", "max_clip 0.1"),
        (minute(i_would_price="9.7"), "OFF_GRID", "multiple of the tick 0.5", None),
        (minute(at_end="never"), "BAD_SETTING", "or extend:60s", "at_end cancel"),
        (minute(at_end="extend:x"), "BAD_DURATION", "at_end: expected a duration such as", EXTENDED),
        (minute(at_end="extend:"), "BAD_DURATION", "1d, got ''", EXTENDED),
        (minute(at_end="extend:-5s"), "BAD_DURATION", "1d, got '-5s'", EXTENDED),
        (minute(at_end="extend:2d"), "BAD_SETTING", "at_end extend: expected up to 1d", None),
        (
            minute(post_only=True),
            "BAD_SETTING",
            "post_only never takes",
            "at_end cancel",
        ),
        (
            minute(limit=99, limit_offset_bps=5),
            "BAD_SETTING",
            "got both",
            "one of them",
        ),
        (
            minute(limit=99, at_end="market"),
            "LIMIT_BEYOND_MARKET",
            "",
            "at_end cancel",
        ),
        (minute(tactic="rest"), "BAD_SETTING", "needs a limit_price", "limit_price"),
        (entry("iceberg", limit=99), "BAD_SETTING", "needs a display", "display"),
        (entry("iceberg", display=5), "BAD_SETTING", "needs a limit_price", "limit_price"),
        (entry("market", tactic="peg"), "BAD_SETTING", "market does not use tactic", "without tactic"),
        (entry("pov", discretion=0), "BAD_SETTING", "pov does not use discretion", "without discretion"),
        (entry("market", halt="run"), "BAD_SETTING", "market does not use halt, got 'run'", "without halt"),
        (
            entry("market", participation_window="9s"),
            "BAD_SETTING",
            "got '9s'",
            "without participation_window",
        ),
        (
            entry("limit", limit=99, tries=2),
            "BAD_SETTING",
            "limit does not use tries, got 2",
            "without tries",
        ),
        (entry("limit", limit=99, halt="extend"), "BAD_SETTING", "limit does not use halt", "without halt"),
        (
            entry("limit", limit=99, collar_bps=20),
            "BAD_SETTING",
            "limit does not use collar_bps unless its at_end takes, got 20",
            "without collar_bps",
        ),
        (
            entry("limit", limit=99, retry_after=20, at_end="extend:5s"),
            "BAD_SETTING",
            "unless its at_end takes",
            "without retry_after",
        ),
        (
            entry("iceberg", limit=99, display=5, on_limit="finish"),
            "BAD_SETTING",
            "iceberg does not use on_limit",
            "without on_limit",
        ),
        (
            entry("iceberg", limit=99, display=5, **{"chase.max_steps": 1}),
            "BAD_SETTING",
            "iceberg does not use chase.max_steps",
            "without chase.max_steps",
        ),
        (
            entry("iceberg", display=5, peg=True, participation_window="9s"),
            "BAD_SETTING",
            "iceberg does not use",
            "without participation_window",
        ),
        (entry("pov", tries=2), "BAD_SETTING", "pov does not use tries", "without tries"),
        (minute(tries=2), "BAD_SETTING", "with tactic passive_then_cross, got 2", "without tries"),
        (minute(tactic="take", discretion=0), "BAD_SETTING", "tactic take, got 0", "without discretion"),
        (minute(tactic="peg", chase={"max_steps": 1}), "BAD_SETTING", "tactic peg", "without chase"),
        (entry("vwap", duration="60s", prior_buckets=3), "BAD_SETTING", "", "without prior_buckets"),
        (minute(max_clip="0.2"), "BAD_SETTING", "below min_clip 0.3", "max_clip 0.3"),
        (
            minute(post_only=True, at_end="cancel", tactic="take"),
            "BAD_SETTING",
            "tactic 'take' does",
            "tactic passive",
        ),
        (
            minute(post_only=True, at_end="cancel", i_would_price=99),
            "BAD_SETTING",
            "i_would_price does",
            "no i_would_price",
        ),
        (minute(participation_window="2h"), "BAD_SETTING", "up to 1h", None),
        (minute(end_grace="2h"), "BAD_SETTING", "up to 1h", None),
        (minute(order_deadline="2m"), "BAD_SETTING", "up to 60s", None),
        (entry("pov", rate="1.5"), "BAD_SETTING", "rate: expected 0.0001 to 1", None),
        (entry("pov", min_rate="0.11"), "BAD_SETTING", "min_rate: expected 0 to rate 0.10, got 0.11", None),
        (minute(volume_source="klines"), "BAD_SETTING", "got klines: no feed", "volume_source trades"),
        (
            entry("limit", limit=99, volume_source="trades"),
            "BAD_SETTING",
            "limit does not use",
            "without volume_source",
        ),
        (entry("market", native=True), "BAD_SETTING", "no venue says that it has one", "native false"),
        (entry("pov", max_rate="0.05"), "BAD_SETTING", "max_rate: expected rate 0.10 to 1", None),
        (entry("iceberg", limit=99, display=5, refill="soon"), "BAD_SETTING", "refill", "refill exhausted"),
        (entry("iceberg", limit=99, display=5, delay_min="2s"), "BAD_SETTING", "delay_min to 1h", None),
        (entry("iceberg", limit=99, display="0.2"), "BELOW_MIN_CLIP", "smallest clip 0.3", "display 0.3"),
    ],
)
def test_plan_when_it_cannot_be_worked_then_the_refusal_says_what_would_pass(
    asked: Entry, code: str, text: str, passes: str | None
) -> None:
    """Every refusal has its code; nothing is changed silently instead."""
    with pytest.raises(Refused, match=code) as caught:
        plan_of(asked)
    assert text in caught.value.text
    assert caught.value.would_pass == passes


def test_plan_when_a_tactic_is_of_the_users_own_then_it_says_what_it_does_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`unread`; without it all is let in."""
    monkeypatch.setattr(contracts, "_plugins", dict(contracts._plugins))

    @contracts.register("tactic", "mine", settings=Common)
    class Mine(Peg):
        unread = ("chase",)

    @contracts.register("tactic", "silent", settings=Common)
    class Silent:
        def __init__(self, settings: Common) -> None: ...

    with pytest.raises(Refused, match="twap does not use chase with tactic mine"):
        plan_of(minute(tactic="mine", chase={"max_steps": 1}, tries=2))
    assert plan_of(minute(tactic="mine", tries=2)).start_ns == NOW
    assert plan_of(minute(tactic="silent", chase={"max_steps": 1}, tries=2)).start_ns == NOW


@pytest.mark.parametrize(
    "asked",
    [
        entry("limit", limit=99, duration="60s", at_end="cross_collared", collar_bps=20, retry_after=20),
        entry("market", tries=2, retry_after=20, collar_bps=20, max_clip=50, self_cross="wait"),
        entry("iceberg", limit=99, display=5, i_would_price=98, participation_window="9s", collar_bps=20),
        entry("iceberg", display=5, peg=True, reprice_ticks=2, passive_offset_ticks=1, stale_cancel_after=1),
        entry("pov", chase={"max_steps": 1}, passive_share="0.5", participation_window="9s", halt="extend"),
        minute(tactic="take", tries=2, retry_after=20),
        minute(passive_share="0.5", discretion="0.1", retry_after=20, on_limit="finish"),
        entry("vwap", duration="60s", mode="dynamic", prior_buckets=3),
    ],
)
def test_plan_when_each_setting_is_read_then_it_is_planned(asked: Entry) -> None:
    """What some other setting makes an algorithm read is let in with that one."""
    assert plan_of(asked).start_ns == NOW


@pytest.mark.parametrize("algo", ["twap", "vwap"])
def test_plan_when_it_would_be_too_much_of_the_volume_then_a_longer_time_is_proposed(algo: str) -> None:
    """720 of 1000 lots in 300 s, cap a quarter: 864 s would pass. What nobody knows refuses nothing.

    A TWAP's targets need no volume, but it is held against what is known of it all the same.
    """
    asked = entry(algo, 72, duration="300s")
    with pytest.raises(Refused, match="ABOVE_PARTICIPATION") as caught:
        plan_of(replace(asked, levels=LEVELS))
    assert caught.value.would_pass == "duration 865"
    assert plan_of(asked).taus[-1] == 720


@pytest.mark.parametrize("known", [False, True])
def test_twap_when_nobody_knows_the_volume_then_its_plan_says_so_also_when_it_is_made_anew(
    *, known: bool
) -> None:
    """Its participation could not be held against its cap: EXECUTION.md part 3."""
    asked = replace(entry("twap", 1, duration="300s"), levels=LEVELS if known else None)
    plan = plan_of(asked)
    again = plan_of(replace(asked, now_ns=NOW + 150 * SECOND, old=plan))
    assert plan.flags == again.flags == (() if known else ("volume_unknown",))
    assert planned("pov", duration="300s").flags == ()


def test_schedule_when_its_start_is_past_then_it_begins_there() -> None:
    """What it should have done since is behind, not lost."""
    plan = planned("twap", start_at=NOW - 60 * SECOND, duration="300s")
    assert (plan.start_ns, plan.end_ns) == (NOW - 60 * SECOND, NOW + 240 * SECOND)
    assert plan.taus[-1] == 1_000


def test_vwap_when_only_the_packaged_curve_is_known_then_its_shape_is_followed() -> None:
    """The hour in which New York opens has more than the one before; how much trades nobody knows."""
    noon = parse_iso("2025-06-11T13:00:00Z")
    asked = entry("vwap", 1_000, start_at=noon, end_at=noon + HOUR, interval="30m", size_jitter=0)
    plan = plan_of(replace(asked, now_ns=noon, levels=packaged("BTC")))
    first, *_, last = (after - before for before, after in pairwise((0, *plan.taus)))
    assert last > 2 * first
    assert (plan.source, plan.coverage, plan.flags) == ("packaged", 1.0, ("volume_unknown",))
    live = replace(asked, order=replace(asked.order, settings={**asked.order.settings, "mode": "dynamic"}))
    assert plan_of(replace(live, now_ns=noon, levels=packaged("SOL"))).volumes == ()


def test_vwap_when_nobody_knows_a_curve_then_it_is_worked_as_a_twap_and_says_so() -> None:
    """Never silently."""
    plan = planned("vwap", duration="300s", slices=4, size_jitter=0)
    assert (plan.taus, plan.flags) == (
        (250, 500, 750, 1_000),
        ("curve_fallback", "volume_unknown"),
    )


def test_plan_when_lot_and_tick_have_changed_then_clips_and_prices_go_with_them() -> None:
    """What was on the old grid is rounded to the new one, towards less: nothing of it is refused any more."""
    asked = minute(10, max_clip="1.5", min_clip="1.1", i_would_price="98.5")
    old = plan_of(asked)
    coarser = instrument(qty_lot=D(1), price_tick=D(1), min_notional=D(20), min_qty=D(1))
    anew = plan_of(replace(asked, instrument=coarser, old=old, done=2))
    assert (anew.max_clip, anew.min_clip, anew.i_would) == (1, 1, 98)


@pytest.mark.parametrize("algo", ["twap", "vwap"])
def test_plan_when_it_is_made_anew_behind_its_end_then_there_is_one(algo: str) -> None:
    """The end policy has what is left; the window that is over plans nothing for it."""
    asked = entry(algo, duration="60s")
    late = replace(asked, old=plan_of(asked), done=30, now_ns=NOW + HOUR, levels=LEVELS)
    assert (plan_of(late).end_ns, plan_of(late).taus[-1]) == (NOW + 60 * SECOND, 1_000)


TODAY = NOW // DAY
MIDDAY = TODAY * DAY + 12 * HOUR


def days(source: str, first: int, count: int, parts: dict[int, float] | None = None) -> VolumeDays:
    """Days from `first` on, all alike: 1.0 in each five minutes but for `parts`; below zero: not known."""
    each = [None if (parts or {}).get(i, 1.0) < 0 else (parts or {}).get(i, 1.0) for i in range(288)]
    return VolumeDays(RULES.id, source, 5 * MINUTE, tuple((first + i, tuple(each)) for i in range(count)))


def curved(*history: VolumeDays, now_ns: int = MIDDAY, **given: Any) -> Plan:
    """A VWAP of an hour from noon on, with the packaged curve behind what is known."""
    asked = entry("vwap", 1, **{"duration": "1h", "size_jitter": 0, **given})
    return plan_of(replace(asked, now_ns=now_ns, history=history, levels=packaged("BTC")))


def test_vwap_when_several_sources_cover_its_window_then_the_first_is_taken() -> None:
    """Own recorded trades, then klines, then the packaged curve; the plan says which."""
    own, theirs = days("recorded", TODAY - 14, 14), days("klines", TODAY - 28, 28)
    for history, source in (((own, theirs), "recorded"), ((theirs,), "klines"), ((), "packaged")):
        plan = curved(*history)
        assert (plan.source, plan.coverage) == (source, 1.0)
        assert plan.flags == (("volume_unknown",) if source == "packaged" else ())


def test_vwap_when_a_source_has_too_few_days_then_the_next_one_is_taken() -> None:
    """Thirteen days are no curve by default; an order may be content with less."""
    own, theirs = days("recorded", TODAY - 13, 13), days("klines", TODAY - 28, 28)
    assert curved(own, theirs).source == "klines"
    assert curved(own, theirs, days_min=13).source == "recorded"


def test_vwap_when_a_source_lacks_buckets_of_its_window_then_it_covers_by_their_share() -> None:
    """Four of the twelve buckets of the hour are not known: 0.67 is less than 0.7."""
    lacks = {144 + i: -1.0 for i in range(4)}
    plan = curved(days("klines", TODAY - 28, 28, lacks))
    assert plan.source == "packaged"
    plan = curved(days("klines", TODAY - 28, 28, lacks), coverage="0.6")
    assert (plan.source, round(plan.coverage or 0, 2)) == ("klines", 0.67)


def test_vwap_when_data_is_of_the_windows_own_day_or_later_then_it_is_not_looked_at() -> None:
    """Nor what lies more than `days_max` back. A window that began yesterday looks at the days before."""
    quiet, wild = (
        days("klines", TODAY - 20, 20),
        days("klines", TODAY, 9, dict.fromkeys(range(144, 147), 1e6)),
    )
    both = VolumeDays(RULES.id, "klines", 5 * MINUTE, quiet.days + wild.days)
    assert curved(both).taus == curved(quiet).taus
    assert curved(quiet, days_max=14, days_min=14).source == "klines"
    assert curved(quiet, now_ns=MIDDAY + DAY, days_max=20, days_min=20).source == "packaged"
    late: dict[str, Any] = {"now_ns": TODAY * DAY + MINUTE, "start_at": TODAY * DAY - HOUR, "duration": "2h"}
    assert curved(quiet, days_min=20, **late).source == "packaged"
    assert curved(quiet, days_min=19, **late).source == "klines"


def test_vwap_when_it_is_planned_anew_behind_midnight_then_its_first_day_still_counts_as_its_own() -> None:
    """The order was made yesterday: nothing of yesterday is looked at."""
    asked = entry("vwap", 1, duration="2h", size_jitter=0)
    begun = TODAY * DAY - HOUR
    first = replace(asked, order=replace(asked.order, created_ns=begun), now_ns=begun)
    known = replace(first, history=(days("klines", TODAY - 14, 14),), levels=packaged("BTC"))
    again = replace(known, now_ns=TODAY * DAY + MINUTE, done=1, old=plan_of(first))
    assert plan_of(again).source == "packaged"


def test_vwap_when_buckets_are_longer_then_only_whole_ones_count() -> None:
    """A quarter of an hour of which five minutes are not known is not known."""
    history = days("klines", TODAY - 28, 28, {144: -1.0})
    plan = curved(history, bucket="15m")
    assert (plan.source, plan.coverage) == ("klines", 0.75)
    assert curved(bucket="15m").source == "packaged"


@pytest.mark.parametrize(
    "given",
    [
        {"bucket": "7m"},
        {"bucket": "1m"},
        {"bucket": "35m"},
        {"days_max": 29},
        {"days_min": 0},
        {"days_min": 29},
        {"bucket_days_min": 0},
        {"coverage": "1.1"},
        {"coverage": "NaN"},
        {"prior_buckets": 1_001},
    ],
)
def test_vwap_when_its_curve_cannot_be_made_so_then_it_is_refused(given: dict[str, Any]) -> None:
    """Buckets are whole parts of five minutes and of a day; nobody looks back further than 28 days."""
    with pytest.raises(Refused, match="BAD_SETTING"):
        curved(**given)
