"""Settings of the algorithms at random: what strategies and operators of the simulated world wish for.

Each algorithm is only told what it reads; some of what comes is refused at entry all the same, as in life.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from msgspec import Struct

from tradefan.units import Side

ALGORITHMS = ("twap", "twap", "vwap", "vwap", "pov", "iceberg", "iceberg", "market", "limit")
TACTICS = ("take", "peg", "passive", "passive_then_cross", "passive_then_cross")
SCHEDULES = ("twap", "vwap")
Draw = Callable[[], float]
"""Gives a number in [0, 1)."""
T = TypeVar("T")


class Around(Struct, frozen=True):
    """What an order is for, and the market around it; `limit` is its own limit, if it has one."""

    side: Side
    qty: float
    bid: float
    ask: float
    tick: float
    limit: float | None


def settings_of(algo: str, draw: Draw, around: Around) -> dict[str, Any]:
    """Return settings for one order by an algorithm."""
    found: dict[str, Any] = {"on_restart": pick(draw, ("auto", "resume", "pause", "cancel"))}
    if draw() < 0.4:
        found["self_cross"] = "cancel_resting"
    if draw() < 0.35:
        found["max_clip"] = _qty(around.qty * (0.2 + 0.4 * draw()))
    if algo in ("market", "limit"):
        return found | _once(algo, draw)
    found["duration"] = f"{5 + int(draw() * 45)}s"
    found["participation_window"] = f"{8 + int(draw() * 30)}s"
    found |= _end(draw, schedule=algo in SCHEDULES)
    if around.limit is not None:
        found["on_limit"] = pick(draw, ("skip_time", "catch_up", "finish", "cancel"))
    if draw() < 0.2:
        found["post_only"] = True
        found["at_end"] = "cancel"
    elif draw() < 0.25:
        found["i_would_price"] = _would(draw, around)
    return _read(algo, found | _OWN[algo](draw, around, found))


def _read(algo: str, found: dict[str, Any]) -> dict[str, Any]:
    """Return settings without those that an iceberg would not read beside the others."""
    if algo != "iceberg":
        return found
    unread = ["on_limit"] if not found["peg"] else []
    unread += ["participation_window"] if "i_would_price" not in found else []
    return {key: value for key, value in found.items() if key not in unread}


def pick(draw: Draw, choices: tuple[T, ...]) -> T:
    """Return one of some."""
    return choices[int(draw() * len(choices))]


def _once(algo: str, draw: Draw) -> dict[str, Any]:
    if algo == "market":
        return {"tries": 1 + int(draw() * 4), "retry_after": 100 + int(draw() * 900)}
    found: dict[str, Any] = {"post_only": True} if draw() < 0.3 else {}
    if not found and draw() < 0.3:
        found["time_in_force"] = pick(draw, ("IOC", "FOK"))
    return found | ({"duration": f"{5 + int(draw() * 40)}s"} if draw() < 0.4 else {})


def _end(draw: Draw, *, schedule: bool) -> dict[str, Any]:
    """Return what becomes of the rest behind the end, now and then what stands as the default."""
    if draw() < (0.3 if schedule else 0.5):
        return {}
    at_end = pick(draw, ("cross_collared", "cancel", "market", "extend:6s"))
    return {"at_end": at_end, "end_grace": f"{1 + int(draw() * 8)}s"}


def _would(draw: Draw, around: Around) -> float:
    """Return a price near the other side's best, to trade at whatever the schedule says."""
    away = around.tick * int(draw() * 14 - 4)
    price = around.ask - away if around.side == "buy" else around.bid + away
    # What a float adds behind the tick is no price.
    return round(max(around.tick, price), 8)


def _scheduled(draw: Draw, around: Around, found: dict[str, Any]) -> dict[str, Any]:
    tactics = TACTICS[1:] if found.get("post_only") else TACTICS
    own: dict[str, Any] = {
        "interval": f"{1 + int(draw() * 4)}s",
        "tactic": pick(draw, tactics),
        "participation_cap": _share(draw),
        "catch_up": pick(draw, ("spread", "spread", "immediate", "none")),
    }
    if draw() < 0.3:
        own["catch_up_cap"] = str(1 + int(draw() * 3))
    return own


def _curved(draw: Draw, around: Around, found: dict[str, Any]) -> dict[str, Any]:
    return _scheduled(draw, around, found) | {"mode": pick(draw, ("static", "dynamic"))}


def _rated(draw: Draw, around: Around, found: dict[str, Any]) -> dict[str, Any]:
    rate = _share(draw)
    gap, life = 1 + int(draw() * 2), 2 + int(draw() * 4)
    most = str(round(min(1.0, float(rate) * (1 + draw())), 6))
    return {"rate": rate, "max_rate": most, "min_gap": f"{gap}s", "clip_life": f"{life}s"}


def _share(draw: Draw) -> str:
    """Return a share of the volume from 0.02 % to 10 %: it bounds what is small beside its market."""
    return str(round(0.0002 * 500 ** draw(), 6))


def _shown(draw: Draw, around: Around, found: dict[str, Any]) -> dict[str, Any]:
    return {
        "display": _qty(around.qty * (0.15 + 0.3 * draw())),
        "peg": around.limit is None or draw() < 0.5,
        "refill": pick(draw, ("exhausted", "threshold:0.3")),
        "variance": pick(draw, ("0", "0.2", "0.5")),
    }


def _qty(qty: float) -> float:
    return round(max(qty, 0.001), 3)


_OWN: dict[str, Callable[[Draw, Around, dict[str, Any]], dict[str, Any]]] = {
    "twap": _scheduled,
    "vwap": _curved,
    "pov": _rated,
    "iceberg": _shown,
}
