"""What the market wakes: sorted thresholds of one instrument, so that a tick costs what it wakes.

A parent has at most one threshold of each kind; what has fired is gone until it asks for another.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort

from msgspec import Struct, field

from tradefan.units import ParentId

Level = tuple[float, ParentId]
KINDS = ("bid_below", "bid_above", "ask_below", "ask_above")


class Wakes(Struct):
    """Thresholds in the order of their levels, and which of them each parent has."""

    bid_below: list[Level] = field(default_factory=list)
    bid_above: list[Level] = field(default_factory=list)
    ask_below: list[Level] = field(default_factory=list)
    ask_above: list[Level] = field(default_factory=list)
    volume_at: list[Level] = field(default_factory=list)
    of: dict[ParentId, dict[str, float]] = field(default_factory=dict)


def wait(wakes: Wakes, name: ParentId, levels: dict[str, float]) -> None:
    """Let a parent wait for these levels, by kind, and for no others."""
    forget(wakes, name)
    for kind, level in levels.items():
        insort(getattr(wakes, kind), (level, name))
    if levels:
        wakes.of[name] = levels


def forget(wakes: Wakes, name: ParentId) -> None:
    """Let a parent wait for nothing here."""
    for kind, level in wakes.of.pop(name, {}).items():
        levels: list[Level] = getattr(wakes, kind)
        del levels[bisect_left(levels, (level, name))]


def reached(wakes: Wakes, bid: float, ask: float) -> list[ParentId]:
    """Return who waited for this market, each once, and forget what they waited for."""
    if not (
        (wakes.bid_above and wakes.bid_above[0][0] <= bid)
        or (wakes.ask_below and wakes.ask_below[-1][0] >= ask)
        or (wakes.bid_below and wakes.bid_below[-1][0] >= bid)
        or (wakes.ask_above and wakes.ask_above[0][0] <= ask)
    ):
        return []
    found: dict[ParentId, None] = {}
    for levels, at in ((wakes.bid_above, bid), (wakes.ask_above, ask)):
        found.update(dict.fromkeys(name for _, name in levels[: bisect_right(levels, at, key=_level)]))
    for levels, at in ((wakes.bid_below, bid), (wakes.ask_below, ask)):
        found.update(dict.fromkeys(name for _, name in levels[bisect_left(levels, at, key=_level) :]))
    for name in found:
        forget(wakes, name)
    return list(found)


def traded(wakes: Wakes, volume: float) -> list[ParentId]:
    """Return who waited for so much volume, and forget what they waited for."""
    if not wakes.volume_at or wakes.volume_at[0][0] > volume:
        return []
    names = [name for _, name in wakes.volume_at[: bisect_right(wakes.volume_at, volume, key=_level)]]
    for name in names:
        forget(wakes, name)
    return names


def _level(entry: Level) -> float:
    return entry[0]
