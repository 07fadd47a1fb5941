"""How much an instrument's mid has moved of late, for what an order is expected to cost before it begins.

One step of at least `STEP_NS` counts its squared log return; in between a quote costs a comparison.
"""

from __future__ import annotations

import math

from msgspec import Struct, field

from tradefan.units import SECOND

STEP_NS = 10 * SECOND
HOLE_NS = 3 * STEP_NS
"""A step that took longer is none: nobody knows how the mid moved in it."""
STEPS_MIN, STEPS_MAX = 6, 360
"""So many steps say something; those of about the last hour count."""


class Moves(Struct):
    """The newest steps as (duration in ns, squared log return), and where the present one began."""

    at_ns: int = 0
    mid: float | None = None
    steps: list[tuple[int, float]] = field(default_factory=list)


def is_due(moves: Moves, now_ns: int) -> bool:
    """Say whether a quote of this instant ends a step, or begins the first."""
    return moves.mid is None or now_ns - moves.at_ns >= STEP_NS


def see(moves: Moves, now_ns: int, mid: float) -> None:
    """Take a trusted mid that is due."""
    passed_ns = now_ns - moves.at_ns
    if moves.mid is not None and passed_ns <= HOLE_NS:
        moves.steps.append((passed_ns, math.log(mid / moves.mid) ** 2))
        if len(moves.steps) > STEPS_MAX:
            del moves.steps[: STEPS_MAX // 8]
    moves.at_ns, moves.mid = now_ns, mid


def lose(moves: Moves) -> None:
    """Begin the next step anew: the market broke off, or is another one."""
    moves.mid = None


def sigma_bps(moves: Moves, span_ns: int) -> float | None:
    """Return the standard deviation of the mid over a time of this length, in bps; None of too few steps.

    Returns are taken to be independent, so that the variance grows with time.
    """
    if len(moves.steps) < STEPS_MIN:
        return None
    passed_ns = sum(ns for ns, _ in moves.steps)
    return math.sqrt(sum(square for _, square in moves.steps) / passed_ns * span_ns) * 10_000
