"""Targets, clips and their rounding: the arithmetic of every execution algorithm, in whole lots.

A schedule takes `n` decisions at instants t_k; its target looks ahead to the end of its own interval, so
the last one is the whole quantity. Shares of a schedule are exact ratios of integers (`Shares`). Chance
is a hash of the parent's id: nothing is remembered, and the same parent always draws the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from hashlib import sha256
from itertools import accumulate, pairwise
from typing import Literal

from msgspec import Struct

DECISIONS_MAX = 1_000
"""Decisions of one schedule."""
CatchUp = Literal["spread", "immediate", "none"]
Purpose = Literal["size", "time", "peak", "delay"]
_UNIT = 1 << 53


class Shares(Struct, frozen=True, array_like=True):
    """F behind each decision: `nums[k] / den`, never falling, the last one 1."""

    nums: tuple[int, ...]
    den: int


# --- chance -------------------------------------------------------------------------------------


def draw(name: str, purpose: Purpose, k: int) -> int:
    """Return u(purpose, k) in units of 2^-53, from the first 8 bytes of sha256("name:purpose:k")."""
    digest = sha256(f"{name}:{purpose}:{k}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 11


def fraction(whole: int, share: Decimal, name: str, purpose: Purpose, k: int) -> int:
    """Return floor(share * u * whole), exactly."""
    num, den = share.as_integer_ratio()
    return num * draw(name, purpose, k) * whole // (den * _UNIT)


# --- decisions and their instants -----------------------------------------------------------------


def decisions(duration_ns: int, interval_ns: int, order_lots: int, min_clip: int) -> int:
    """Return the number of decisions: clamp(ceil(duration / interval), 2, 1000), no clip below `min_clip`."""
    wanted = min(max(-(-duration_ns // interval_ns), 2), DECISIONS_MAX)
    return max(min(wanted, order_lots // max(min_clip, 1)), 1)


def instant(start_ns: int, end_ns: int, n: int, k: int) -> int:
    """Return t_k, an absolute instant; t_n is the end."""
    return start_ns + k * (end_ns - start_ns) // n


def decided_at(start_ns: int, end_ns: int, n: int, k: int, jitter: Decimal, name: str) -> int:
    """Return d_k = t_k + jitter * u(time, k) * (t_{k+1} - t_k)."""
    begin_ns = instant(start_ns, end_ns, n, k)
    return begin_ns + fraction(instant(start_ns, end_ns, n, k + 1) - begin_ns, jitter, name, "time", k)


# --- shares ---------------------------------------------------------------------------------------


def even(n: int) -> Shares:
    """Return F of a TWAP: (k + 1) / n."""
    return Shares(tuple(range(1, n + 1)), n)


def by_volume(
    volumes: Sequence[int], bucket_ns: int, first_ns: int, start_ns: int, end_ns: int, n: int
) -> Shares:
    """Return F of a volume curve over [start, end]: volume lots x overlap in ns.

    `volumes[i]` is what trades in the bucket that begins at `first_ns + i * bucket_ns`; inside a bucket
    volume is even. The buckets have to cover the window, and to hold some volume in it.
    """
    last_ns = first_ns + len(volumes) * bucket_ns
    assert first_ns <= start_ns < end_ns <= last_ns, f"[{start_ns}, {end_ns}] is beyond the curve"
    before = [0, *accumulate(volumes)]

    def until(at_ns: int) -> int:
        whole, part_ns = divmod(at_ns - first_ns, bucket_ns)
        partly = volumes[whole] * part_ns if part_ns else 0
        return before[whole] * bucket_ns + partly

    base = until(start_ns)
    nums = tuple(until(instant(start_ns, end_ns, n, k + 1)) - base for k in range(n))
    assert nums[-1] > 0, f"no volume in [{start_ns}, {end_ns}]"
    return Shares(nums, nums[-1])


def targets(order_lots: int, shares: Shares, jitter: Decimal, name: str, base: int = 0) -> tuple[int, ...]:
    """Return τ_k in lots, from `base` on, with the jitter of sizes: floor(base + rest * F), less a part.

    They never fall and the last one is `order_lots`, so the clips sum to it exactly.
    """
    rest = order_lots - base
    plain = [base + rest * num // shares.den for num in shares.nums]
    steps = list(pairwise([base, *plain]))
    return tuple(
        after if k == len(steps) - 1 else after - fraction(after - before, jitter, name, "size", k)
        for k, (before, after) in enumerate(steps)
    )


def without_jitter(taus: Sequence[int], base: int, jitter: Decimal, name: str) -> tuple[float, ...]:
    """Return what targets were before the jitter of their sizes, in lots from `base` on, to a lot or two."""
    found, before, num = list[float](), float(base), float(jitter)
    for k, tau in enumerate(taus):
        part = num * draw(name, "size", k) / _UNIT if k < len(taus) - 1 else 0.0
        before = min(max((tau - part * before) / (1 - part), before), float(taus[-1]))
        found.append(before - base)
    return tuple(found)


# --- clips ------------------------------------------------------------------------------------------


def due(
    before: int, target: int, left: int, done: int, even_clip: int, catch_up: CatchUp, cap: Decimal
) -> int:
    """Return what a decision has to place now, in lots, between the target before it and its own.

    `done` counts what has traded, works or may exist; `left` decisions are left, this one included. What is
    behind comes back evenly over them (`spread`), at once (`immediate`) or never (`none`). One clip is never
    more than `cap` times a plain one, nor than that of an even schedule, so down time makes no burst.
    """
    plain, back = target - before, max(0, before - done)
    if not back:
        owed = max(0, target - done)
    elif catch_up == "spread":
        owed = plain + ceil_div(back, left)
    elif catch_up == "immediate":
        owed = target - done
    else:
        owed = plain
    num, den = cap.as_integer_ratio()
    return min(owed, num * max(plain, even_clip) // den)


def without_dust(rest: int, clip: int, min_clip: int, most: int | None) -> int:
    """Return the clip that leaves nothing below `min_clip` behind, where there is one.

    `rest` is all that is still open, `most` bounds what a clip may be (display, max_clip). The remainder
    is merged into the clip; else the clip shrinks until the remainder is a clip; else it stays.
    """
    left = rest - clip
    if not 0 < left < min_clip:
        return clip
    if most is None or clip + left <= most:
        return rest
    shrunk = rest - min_clip
    return shrunk if shrunk >= min_clip else clip


def by_rate(order_lots: int, rate: Decimal, volume_lots: int) -> int:
    """Return τ of a volume-driven algorithm: floor(min(X, rate * V))."""
    num, den = rate.as_integer_ratio()
    return min(order_lots, num * volume_lots // den)


def volume_for(lots: int, rate: Decimal) -> int:
    """Return the volume in lots at which a rate allows so many lots: ceil(lots / rate)."""
    num, den = rate.as_integer_ratio()
    return ceil_div(lots * den, num)


def peak(display: int, variance: Decimal, name: str, i: int) -> int:
    """Return what the i-th clip of an iceberg shows: floor(display * (1 - variance * u(peak, i)))."""
    num, den = variance.as_integer_ratio()
    whole = den * _UNIT
    return display * (whole - num * draw(name, "peak", i)) // whole


def between(least_ns: int, most_ns: int, name: str, i: int) -> int:
    """Return the i-th delay between two bounds: least + (most - least) * u(delay, i)."""
    return least_ns + fraction(most_ns - least_ns, Decimal(1), name, "delay", i)


# --- how well a schedule was kept ---------------------------------------------------------------------


def schedule_error(order_lots: int, cum: int, low: int, high: int) -> float:
    """Return the signed distance of C / X to [low / X, high / X]; 0 inside, below it negative."""
    return (min(cum - low, 0) or max(cum - high, 0)) / order_lots


# --- the curve against live volume ----------------------------------------------------------------------

M_MIN, M_MAX = 0.25, 4.0
SHARE_DEN = 10**12


def live_factor(observed: float, expected: float, prior: float) -> float:
    """Return m = clip((V_obs + K) / (V_exp + K), 0.25, 4): how much more trades than the curve says."""
    return min(max((observed + prior) / (expected + prior), M_MIN), M_MAX)


def live_share(volumes: Sequence[float], k: int, observed: float, factor: float, before: int) -> int:
    """Return the numerator of F_k over `SHARE_DEN`, by what was observed and what the curve expects.

    F_k = (V_obs + m v_k) / (V_obs + m sum of v_j from k on), never below `before`, and 1 at the last.
    """
    if k == len(volumes) - 1:
        return SHARE_DEN
    whole = observed + factor * sum(volumes[k:])
    share = (observed + factor * volumes[k]) / whole if whole > 0 else 0.0
    return min(max(round(share * SHARE_DEN), before), SHARE_DEN)


def seen_share(volumes: Sequence[float], k: int, observed: float, factor: float) -> int:
    """Return the numerator of what should have been done before interval k, by what has traded until now.

    F = V_obs / (V_obs + m sum of v_j from k on): for decisions that nobody took.
    """
    whole = observed + factor * sum(volumes[k:])
    return min(round(observed / whole * SHARE_DEN), SHARE_DEN) if whole > 0 else 0


def ceil_div(value: int, by: int) -> int:
    """Divide and round up."""
    return -(-value // by)
