"""The mid of one instrument while somebody is at work in it: its time average, its variance, its path.

A mid counts from its quote until the next one, at most `FRESH_NS`; time without a mid is counted as bare,
so that whoever asks for an average knows whether the mid was known for all of the time. A quote costs O(1).
"""

from __future__ import annotations

import math

from msgspec import Struct, field

from tradefan.units import SECOND

FRESH_NS = 5 * SECOND
"""So old may a mid be (EXECUTION.md part 9)."""
STEP_NS = SECOND
"""Returns are of this length at least, and points of the path lie so far apart at first."""
RECENT_MAX = 128
"""Quotes that are remembered one by one."""
POINTS_MAX = 2_000
"""Points of a path; a longer one keeps every second."""


class Mids(Struct):
    """What is known of an instrument's mid since `since_ns`; sums in units of price x ns."""

    since_ns: int
    mid: float | None = None
    mid_ns: int = 0
    spread: float = 0.0
    area: float = 0.0
    covered_ns: int = 0
    bare_ns: int = 0
    breaks: int = 0
    """How often the market has stopped being seen: what traded then nobody knows."""
    variance: float = 0.0
    """Sum of squared log returns over steps."""
    step_mid: float | None = None
    step_ns: int = 0
    path: list[tuple[int, float]] = field(default_factory=list)
    apart_ns: int = STEP_NS
    recent: list[tuple[int, float, float]] = field(default_factory=list)
    """The newest quotes as (instant, bid, ask), oldest first."""


def see(mids: Mids, now_ns: int, bid: float, ask: float) -> None:
    """Take a trusted quote."""
    pass_time(mids, now_ns)
    mid = (bid + ask) / 2
    mids.mid, mids.mid_ns, mids.spread = mid, now_ns, ask - bid
    mids.recent.append((now_ns, bid, ask))
    if len(mids.recent) > RECENT_MAX:
        del mids.recent[: RECENT_MAX // 2]
    if mids.step_mid is None or now_ns - mids.step_ns >= STEP_NS:
        if mids.step_mid is not None and mids.step_mid > 0 < mid:
            mids.variance += math.log(mid / mids.step_mid) ** 2
        mids.step_mid, mids.step_ns = mid, now_ns
    if not mids.path or now_ns - mids.path[-1][0] >= mids.apart_ns:
        _draw(mids, now_ns, mid)


def pass_time(mids: Mids, now_ns: int) -> None:
    """Count the time up to an instant with the mid that it had, as far as that was fresh."""
    if now_ns <= mids.since_ns:
        return
    until_ns = mids.since_ns
    if mids.mid is not None:
        until_ns = min(max(mids.mid_ns + FRESH_NS, mids.since_ns), now_ns)
        mids.area += mids.mid * (until_ns - mids.since_ns)
        mids.covered_ns += until_ns - mids.since_ns
    mids.bare_ns += now_ns - until_ns
    mids.since_ns = now_ns


def lose(mids: Mids, now_ns: int) -> None:
    """Know nothing from here on, until the next quote: the market broke off, or is seen no more."""
    pass_time(mids, now_ns)
    mids.mid, mids.step_mid = None, None
    mids.recent.clear()
    mids.breaks += 1


def _draw(mids: Mids, now_ns: int, mid: float) -> None:
    mids.path.append((now_ns, mid))
    if len(mids.path) > POINTS_MAX:
        del mids.path[1:-1:2]
        mids.apart_ns *= 2


def prevailing(mids: Mids, at_ns: int) -> tuple[float, float] | None:
    """Return bid and ask of the last quote that was seen by an instant; None where none is remembered.

    What is told of a trade comes behind the quote that the trade has moved.
    """
    for seen_ns, bid, ask in reversed(mids.recent):
        if seen_ns <= at_ns:
            return (bid, ask) if at_ns - seen_ns <= FRESH_NS else None
    return None


def path_between(mids: Mids, from_ns: int, to_ns: int | None, most: int) -> tuple[tuple[int, float], ...]:
    """Return the path within a time, thinned evenly to at most so many points."""
    points = [point for point in mids.path if from_ns <= point[0] and (to_ns is None or point[0] <= to_ns)]
    every = -(-len(points) // most)
    return tuple((at_ns, round(mid, 10)) for at_ns, mid in points[:: max(every, 1)])


class Since(Struct, frozen=True):
    """The sums at an instant, to compare later ones with."""

    at_ns: int
    area: float
    covered_ns: int
    bare_ns: int
    breaks: int
    variance: float


def note(mids: Mids, now_ns: int) -> Since:
    """Return the sums as they are."""
    pass_time(mids, now_ns)
    return Since(now_ns, mids.area, mids.covered_ns, mids.bare_ns, mids.breaks, mids.variance)


def average(mids: Mids, then: Since) -> float | None:
    """Return the time average since then; None where the mid was not known all the time."""
    covered_ns = mids.covered_ns - then.covered_ns
    if mids.bare_ns > then.bare_ns or mids.breaks > then.breaks:
        return None
    # Over no time it is the mid itself.
    return (mids.area - then.area) / covered_ns if covered_ns else mids.mid


def sigma_bps(mids: Mids, then: Since) -> float | None:
    """Return the standard deviation of the mid over the time since then, in bps; None across a break."""
    if mids.breaks > then.breaks:
        return None
    return math.sqrt(max(mids.variance - then.variance, 0.0)) * 10_000
