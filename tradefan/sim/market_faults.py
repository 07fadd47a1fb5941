"""What goes wrong with a public market: silence, frozen times, lost and crossed frames, garbage, halts.

Each kind comes at its own random times and lasts for a while. What concerns an instrument itself
(halt, delist, other rules, a crash of its price) the venue obeys; the rest spoils frames only. What is
left out is not `real`: it draws what it would do, and does nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from tradefan.sim.market_walk import Walk
from tradefan.sim.personality import Chances
from tradefan.units import MS

if TYPE_CHECKING:
    from tradefan.sim.market import SimMarket

EVERY_S: dict[str, tuple[float, float]] = {
    "market_stall": (120, 500),
    "market_frozen": (150, 500),
    "market_gap": (60, 300),
    "market_crossed": (100, 400),
    "market_garbage": (60, 300),
    "market_disconnect": (150, 500),
    "market_refused": (150, 500),
    "flash_crash": (300, 900),
    "halt": (300, 900),
    "delist": (600, 1800),
    "filter_change": (200, 800),
}
"""Mean seconds between two of a kind."""
RATES: dict[str, tuple[float, float]] = {"market_duplicated": (0.001, 0.01)}
"""Share of frames."""
LASTS_MS: dict[str, tuple[int, int]] = {
    "market_stall": (1_000, 120_000),
    "market_frozen": (2_000, 30_000),
    "market_gap": (1, 1_000),
    "market_crossed": (100, 4_000),
    "market_refused": (5_000, 60_000),
    "flash_crash": (2_000, 60_000),
    "halt": (5_000, 120_000),
    "delist": (60_000, 600_000),
}
"""How long a kind lasts."""
GARBAGE = (
    b"",
    b"\xff\xfe\x00\x01",
    b"<html>502</html>",
    b'{"stream":"',
    b'{"stream":"btcusdt@trade","data":{"e":"trade","s":"BTCUSDT","t":1,"p":"NaN","q":"1","T":1,"m":true}}',
    b"[" * 2_000,
    b'{"e":"new words","s":"BTCUSDT"}',
)
LOTS = (1, 10, 100)
"""Lots and ticks of changed rules, in the finest ones."""
ALL = ""
"""The whole market instead of one instrument."""


class MarketFaults:
    """The trouble of one market; `_until` says until when frames of what are spoiled, and if any was yet."""

    def __init__(self, market: SimMarket, chances: Chances) -> None:
        """Bind to the market."""
        self._market = market
        self._chances = chances
        self._until: dict[tuple[str, str], tuple[int, bool]] = {}
        self.frozen_ns = 0
        self._acts: dict[str, Callable[[Random, int, bool], bool]] = {
            "market_garbage": self._garbage,
            "market_disconnect": self._disconnect,
            "flash_crash": self._crash,
            "halt": self._halt,
            "delist": self._delist,
            "filter_change": self._change,
        }

    def begin(self, at_ns: int) -> None:
        """Let everything take its course."""
        for kind in self._chances.every():
            self._schedule(kind, at_ns)

    def holds(self, kind: str, walk: Walk | None, at_ns: int, *, note: bool = True) -> bool:
        """Say whether a kind spoils an instrument, or the whole market, now; noted once for each while."""
        if not self._until:
            return False
        for subject in (ALL,) if walk is None else (ALL, walk.symbol):
            until_ns, met = self._until.get((kind, subject), (0, True))
            if at_ns < until_ns:
                if note and not met:
                    self._until[kind, subject] = (until_ns, True)
                    self._chances.note(kind, subject)
                return True
        return False

    def stall(self, walk: Walk, until_ns: int) -> None:
        """Let an instrument say nothing until an instant, as if `market_stall` had come by itself."""
        self._until["market_stall", walk.symbol] = (until_ns, False)

    def heal(self) -> None:
        """End all trouble; changed rules stay."""
        self._until.clear()
        for walk in self._market.walks.values():
            self._restore(walk)

    def _schedule(self, kind: str, at_ns: int) -> None:
        wait_ns = self._chances.wait_ns(kind)
        if wait_ns is not None:
            self._market.later(at_ns + wait_ns, lambda then_ns: self._happen(kind, then_ns))

    def _happen(self, kind: str, at_ns: int) -> None:
        if kind in self._chances.every():
            rng = self._chances.rng(f"{kind}/how")
            act, real = self._acts.get(kind), self._chances.lets(kind)
            if act is None:
                self._last(kind, rng, at_ns, real)
            elif act(rng, at_ns, real) and real:
                self._chances.note(kind, "")
        self._schedule(kind, at_ns)

    # --- frames -------------------------------------------------------------------------------------------

    def _last(self, kind: str, rng: Random, at_ns: int, real: bool) -> None:
        """Spoil frames of an instrument, or of all, for a while; noted when it meets one."""
        subject = rng.choice((ALL, *(walk.symbol for walk in self._market.walks.values())))
        until_ns = at_ns + rng.randint(*LASTS_MS[kind]) * MS
        if real:
            self._until[kind, subject] = (until_ns, False)
        if real and kind == "market_frozen":
            self.frozen_ns = at_ns

    def _garbage(self, rng: Random, at_ns: int, real: bool) -> bool:
        frame = rng.choice(GARBAGE)
        return real and self._market.say(frame, at_ns)

    def _disconnect(self, rng: Random, at_ns: int, real: bool) -> bool:
        return real and self._market.break_all(at_ns)

    # --- instruments ----------------------------------------------------------------------------------------

    def _pick(self, rng: Random) -> Walk:
        return rng.choice(tuple(self._market.walks.values()))

    def _crash(self, rng: Random, at_ns: int, real: bool) -> bool:
        walk = self._pick(rng)
        walk.crashed |= real
        self._undo("flash_crash", walk, rng, at_ns, real)
        return True

    def _halt(self, rng: Random, at_ns: int, real: bool) -> bool:
        return self._stop(self._pick(rng), "HALT", "halt", rng, at_ns, real)

    def _delist(self, rng: Random, at_ns: int, real: bool) -> bool:
        return self._stop(self._pick(rng), "BREAK", "delist", rng, at_ns, real)

    def _stop(self, walk: Walk, status: str, kind: str, rng: Random, at_ns: int, real: bool) -> bool:
        if walk.rules.status != "TRADING":
            return False
        if real:
            walk.change_status(status)
            self._market.told(walk, at_ns)
        self._undo(kind, walk, rng, at_ns, real)
        return True

    def _change(self, rng: Random, at_ns: int, real: bool) -> bool:
        """Make tick or lot coarser or finer."""
        walk = self._pick(rng)
        tick, lot = walk.grid, int(walk.rules.qty_lot / walk.lots.step)
        if rng.random() < 0.5:
            tick = rng.choice([steps for steps in LOTS if steps != tick])
        else:
            lot = rng.choice([steps for steps in LOTS if steps != lot])
        if real:
            walk.coarsen(tick, lot)
            self._market.told(walk, at_ns)
        return True

    def _undo(self, kind: str, walk: Walk, rng: Random, at_ns: int, real: bool) -> None:
        """Let an instrument be as it was after a while."""

        def undo(then_ns: int) -> None:
            if kind == "flash_crash":
                walk.crashed = False
            else:
                walk.change_status("TRADING")
            self._market.told(walk, then_ns)

        length_ns = rng.randint(*LASTS_MS[kind]) * MS
        if real:
            self._market.later(at_ns + length_ns, undo)

    def _restore(self, walk: Walk) -> None:
        walk.crashed = walk.crossed = False
        if walk.rules.status != "TRADING":
            walk.change_status("TRADING")
