"""The schedule that follows live volume: what it thinks has traded unseen, and what it does of the missed."""

from __future__ import annotations

from msgspec.structs import replace

from tests.property.walker import Walk
from tests.property.walks import T0, make
from tradefan.core.schedule import SHARE_DEN
from tradefan.execution import I_WOULD, Target
from tradefan.messages.plan import Clip, Volume
from tradefan.units import SECOND

HOURS = 4 * 3_600 * SECOND
"""48 buckets: of 12 their prior is the volume of one decision."""


def walk() -> Walk:
    """X 1000 in four decisions of 100 lots of volume each, K 100, without jitter."""
    found = make("vwap, dynamic", 1)
    settings = replace(found.recipe.settings, size_jitter=0)
    found.recipe.trajectory.settings = settings  # type: ignore[attr-defined]
    found.order_lots = 1_000
    found.plan = replace(
        found.plan, end_ns=T0 + HOURS, taus=(250, 500, 750, 1_000), volumes=(100, 100, 100, 100)
    )
    return found


def decided(one: Walk, k: int, volume: int, *, fresh: bool = True, reason: str = "") -> Target:
    """Take a decision for which so much is seen to have traded."""
    one.fixed_volume = Volume(volume, fresh=fresh)
    found = one.recipe.trajectory.target(one.view(), k)
    at_ns = T0 + k * HOURS // 4
    one.clip = Clip(k, one.plans, k, found.lots, 0, 0, at_ns, None, 0, 0, reason, found.before, found.share)
    one.clip = replace(one.clip, factor=found.factor, volume=volume, unseen=found.unseen)
    return found


def share(target: Target) -> float:
    return round(target.share / SHARE_DEN, 4)


def test_live_curve_when_nobody_sees_what_trades_then_volume_grows_as_it_did() -> None:
    """V_obs 200 at m 1.5, then 350 and 500 unseen: F 500/650; what is seen again is added to it."""
    one = walk()
    assert share(decided(one, 0, 0)) == 0.25
    second = decided(one, 1, 200)
    assert (share(second), second.factor, second.unseen) == (round(350 / 650, 4), 1.5, 0)
    third = decided(one, 2, 200, fresh=False)
    assert (share(third), third.factor, third.unseen) == (round(500 / 650, 4), 1.5, 150)
    assert decided(one, 3, 260, fresh=False).unseen == 240


def test_live_curve_when_it_is_seen_again_then_what_nobody_saw_still_counts() -> None:
    """150 unseen and 250 seen: m is 500 / 300."""
    one = walk()
    decided(one, 0, 0)
    decided(one, 1, 200)
    assert one.clip is not None
    one.clip = replace(one.clip, unseen=150.0)
    found = decided(one, 2, 250)
    assert (round(found.factor, 4), found.unseen) == (1.6667, 150)


def test_live_curve_when_decisions_were_missed_then_only_its_own_interval_is_plain() -> None:
    """V_obs 300 of 300 at the fourth: 3/4 should have been done, which is owed and not plain."""
    one = walk()
    decided(one, 0, 0)
    found = decided(one, 3, 300)
    assert (found.before, found.lots) == (750, 1_000)
    late = walk()
    assert decided(late, 2, 200).before == 500


def test_live_curve_when_its_owner_would_then_the_interval_begins_where_it_did() -> None:
    """What was taken ahead moves no target."""
    one = walk()
    decided(one, 0, 0)
    decided(one, 1, 200, reason=I_WOULD)
    assert decided(one, 2, 350).before == 250
