"""One walk per algorithm and tactic: what both machines start from.

    python -m tests.property.walks CASE STEPS

walks from seed 0 on until it has taken so many steps, and prints walks, those that were filled, steps/s.
"""

from __future__ import annotations

import sys
import time
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from tests.property.walker import Walk
from tradefan.contracts import lookup, read_settings
from tradefan.execution import PlanInput
from tradefan.executors import twap as _twap  # noqa: F401 importing registers the executors
from tradefan.messages.plan import Plan
from tradefan.units import SECOND, Side

T0 = 1_700_000_000 * SECOND
LOTS = 200
WALK_MAX = 3_000
"""Steps of a walk that does not end by itself."""
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "market": ("market", {}, {"end_ns": None}),
    "limit": ("limit", {}, {"limit": 9_999, "end_ns": None}),
    "limit in parts": ("limit", {"max_clip": 30}, {"limit": 9_999, "end_ns": None, "max_clip": 30}),
    "twap": ("twap", {}, {}),
    "twap, take": ("twap", {"tactic": "take"}, {}),
    "twap, peg": ("twap", {"tactic": "peg", "at_end": "cancel"}, {}),
    "twap, passive": ("twap", {"tactic": "passive", "at_end": "market"}, {}),
    "twap, post-only": ("twap", {"post_only": True, "at_end": "cancel"}, {}),
    "twap, limit": ("twap", {"on_limit": "catch_up"}, {"limit": 10_001}),
    "twap, finish": ("twap", {"on_limit": "finish"}, {"limit": 10_001}),
    "twap, extend": ("twap", {"at_end": "extend:20s"}, {"max_clip": 40}),
    "twap, i would": ("twap", {"i_would_price": 9_990}, {"i_would": 9_990}),
    "vwap": ("vwap", {}, {"curve": (500, 300, 200, 400)}),
    "vwap, dynamic": ("vwap", {"mode": "dynamic"}, {"curve": (500, 300, 200, 400)}),
    "vwap, i would": (
        "vwap",
        {"mode": "dynamic", "i_would_price": 9_990},
        {"curve": (500, 300, 200, 400), "i_would": 9_990},
    ),
    "pov": ("pov", {}, {}),
    "iceberg": ("iceberg", {"display": 30}, {"display": 30, "limit": 10_010}),
    "iceberg, limit": ("iceberg", {"display": 30, "peg": True}, {"display": 30, "limit": 10_001}),
    "iceberg, without end": ("iceberg", {"display": 30}, {"display": 30, "limit": 10_010, "end_ns": None}),
    "iceberg, crossing": (
        "iceberg",
        {"display": 30, "at_end": "cross_collared"},
        {"display": 30, "limit": 10_001},
    ),
    "twap, large clips": ("twap", {"slices": 4}, {"max_clip": 20}),
    "twap, deep": ("twap", {"passive_offset_ticks": -2}, {}),
    "twap, close": ("twap", {"passive_offset_ticks": 2}, {}),
    "pov, large clips": ("pov", {"rate": "0.5", "max_rate": "0.6"}, {"max_clip": 10}),
    "pov, extend": ("pov", {"at_end": "extend:20s"}, {}),
    "pov, i would": ("pov", {"i_would_price": 9_990}, {"i_would": 9_990}),
    "pov, limit": ("pov", {}, {"limit": 10_001}),
    "iceberg, extend": (
        "iceberg",
        {"display": 30, "at_end": "extend:20s", "refill": "threshold:0.3"},
        {"display": 30, "limit": 10_010},
    ),
    "iceberg, peg": ("iceberg", {"display": 30, "peg": True, "refill": "threshold:0.3"}, {"display": 30}),
}
"""Algorithm, settings, and what its plan has; prices are those of a buy around 9998 and 10000."""


def make(name: str, seed: int, side: Side = "buy") -> Walk:
    """Return the walk of a case; a sale has the mirrored prices."""
    algo, settings, given = CASES[name]
    plugin, parts = lookup("executor", algo), dict(given)
    algorithm = plugin.make(read_settings(plugin.settings, settings, algo))
    curve, end_ns = parts.pop("curve", ()), parts.pop("end_ns", T0 + 300 * SECOND)
    if side == "sell":
        parts |= {key: 19_998 - parts[key] for key in ("limit", "i_would") if key in parts}
    plan = Plan(T0, end_ns, Decimal(1), Decimal(1), 1 if end_ns is None else 3, **parts)
    asked = PlanInput("P-1", LOTS, 0, T0, end_ns, plan.min_clip, curve, 100 * SECOND, T0 - 50 * SECOND)
    planned = algorithm.recipe.trajectory.plan(asked)
    walk = Walk(algorithm.recipe, replace(plan, taus=planned.taus, volumes=planned.volumes), LOTS, side, seed)
    walk.made_for = asked
    return walk


def main() -> None:
    """Walk a case; what breaks a rule is raised, with its seed before it."""
    name, most = sys.argv[1], int(sys.argv[2])
    steps = seed = full = 0
    begun_s = time.process_time()
    while steps < most:
        walk = make(name, seed, "sell" if seed % 2 else "buy")
        try:
            steps += walk.walk(min(WALK_MAX, most - steps))
        except Exception:
            sys.stderr.write(f"seed {seed} of {name}:\n")
            raise
        full += walk.cum == walk.order_lots
        seed += 1
    sys.stdout.write(f"{seed} {full} {steps / (time.process_time() - begun_s):.0f}\n")


if __name__ == "__main__":
    main()
