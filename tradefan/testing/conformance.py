"""What every strategy must keep, each as one check that raises AssertionError in words.

`conform(strategy)` runs all of them; `CHECKS` names them, so that a test can show each by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any

import msgspec
from msgspec import Struct

from tradefan.core.declare import AnyStrategy, declare, find_strategy
from tradefan.core.desk import Declared
from tradefan.errors import Refused
from tradefan.messages.base import Message
from tradefan.messages.market import FeedQuality, Quality, SessionBreak
from tradefan.messages.orders import OwnerTurn, SetTarget, SubmitOrder
from tradefan.testing.build import VENUE, Market, make_market
from tradefan.testing.scenario import Outcome, Scenario
from tradefan.units import InstrumentId, parse_duration

RESTARTS = 12
CUTS = 4
KILLS = 6
"""Lives that are warmed from the declared depth only, each killed once."""
FLIPS_MAX = 2
"""Of these, how many may decide otherwise: with a warm-up of 3n+1 bars 4 of 1,000 did (`core/indicators`)."""
CLOSE = 1e-3
"""How near a float of such a life must come: its averages began later."""


class Case(Struct, frozen=True):
    """A strategy with its settings and a market that is deep enough for it."""

    strategy: str | type[AnyStrategy]
    settings: Mapping[str, Any]
    declared: Declared
    market: Market
    seed: int

    def scenario(self, **other: Any) -> Scenario:
        """Return the case as a scenario, with parts of it replaced."""
        market = self.market
        parts: dict[str, Any] = {"bars": market.bars, "history": market.history, "trades": market.trades}
        return Scenario(self.strategy, self.settings, **(parts | {"fill": True} | other))


def conform(
    strategy: str | type[AnyStrategy], settings: Mapping[str, Any] | None = None, seed: int = 1
) -> None:
    """Put a strategy through every check.

    Raises:
        AssertionError: with what was broken, for this seed.
    """
    case = make_case(strategy, settings, seed)
    for check in CHECKS.values():
        check(case)


def make_case(
    strategy: str | type[AnyStrategy],
    settings: Mapping[str, Any] | None = None,
    seed: int = 1,
    live: int = 200,
) -> Case:
    """Return a strategy with a random market of full history and `live` bars."""
    name, cls = (strategy, None) if isinstance(strategy, str) else (strategy.__name__, strategy)
    made, read = find_strategy(name, settings or {}, cls)
    declared = declare(made, read, lambda symbol: InstrumentId(f"{VENUE}:{symbol}")).declared
    return Case(strategy, settings or {}, declared, make_market(declared, seed, live), seed)


def check_determinism(case: Case) -> None:
    """The same market gives the same messages and the same state."""
    assert _result(case.scenario().run()) == _result(case.scenario().run()), "two runs differ"


def check_restart(case: Case) -> None:
    """Saving to bytes and going on from them, at random instants, changes nothing; nor does kill -9.

    A new life has its State, positions and open orders from the journal, and all else from the bars.
    `on_start` runs again with each life, so what it wishes is not compared, but what comes of it is.
    """
    instants = _instants(case, RESTARTS)
    whole, restored = case.scenario().run(), case.scenario().run(restore_at=instants)
    assert _result(restored) == _result(whole), (
        f"a restart at one of the events {sorted(instants)} is visible"
    )
    killed = case.scenario().run(restart_at=instants, whole=True)
    for what, before, after in zip(
        ("decisions", "State", "positions"), _told(whole), _told(killed), strict=True
    ):
        # As bytes: NaN equals NaN there.
        assert msgspec.msgpack.encode(before) == msgspec.msgpack.encode(after), (
            f"{what} differ after a kill at one of the events {sorted(instants)}"
        )


def check_depth(case: Case) -> None:
    """The declared depth is deep enough: a life that is warmed with no more decides the same.

    An average that never forgets is as near as its warm-up makes it, so a few lives may differ.
    """
    whole, instants = _told(case.scenario().run())[0], _instants(case, KILLS)
    lives = {instant: _told(case.scenario().run(restart_at=[instant]))[0] for instant in instants}
    differ = [instant for instant, decided in lives.items() if not _alike(whole, decided)]
    assert len(differ) <= FLIPS_MAX, (
        f"decides by more history than it declares: other decisions after a kill at each of {differ}"
    )


def check_settings(case: Case) -> None:
    """With another value of a setting it begins anew and goes on from the State that it had."""
    instants = _instants(case, 1)
    for settings in _changed_settings(case):
        outcome = case.scenario().run(restart_at=instants, settings=settings)
        assert outcome.view is not None
        assert outcome.view.phase != "DOWN", f"with {settings}: {outcome.view.forecast}"


def check_warm_up(case: Case) -> None:
    """History alone makes no command, and without history nothing is decided before the warm-up is over."""
    cold = case.scenario(bars=(), trades=()).run()
    assert cold.commands == [], f"commands in warm-up: {cold.commands[:3]}"
    outcome = case.scenario(history=()).run()
    first_ns = min((bar.open_ns for bar in case.market.bars), default=0)
    warm_ns = first_ns + max(
        (need.depth * parse_duration(need.timeframe) for need in case.declared.bars), default=0
    )
    early = [wish for at_ns, wish in outcome.decided if at_ns < warm_ns]
    assert early == [], f"decided before the warm-up was over: {early[:3]}"


def check_no_look_ahead(case: Case) -> None:
    """Cutting off the future changes nothing of what was decided before."""
    whole = case.scenario().run().decided
    for part in range(1, CUTS):
        bars = case.market.bars[: len(case.market.bars) * part // CUTS]
        until_ns = bars[-1].close_ns if bars else 0
        trades = [trade for trade in case.market.trades if trade.recv_ns <= until_ns]
        cut = case.scenario(bars=bars, trades=trades).run().decided
        before = [decision for decision in whole if decision[0] <= until_ns]
        assert cut == before, f"with the future after {until_ns} cut off other decisions were made"


def check_gaps(case: Case) -> None:
    """After a hole in the bars, or a session break, no handler runs before all is warm again."""
    bars, needs = case.market.bars, case.declared.bars
    if not bars or not needs:
        return
    seam, begin, end = bars[len(bars) // 4].open_ns, len(bars) // 4, len(bars) // 4 + len(bars) // 8
    spans = {need: need.depth * parse_duration(need.timeframe) for need in needs}
    # A hole of these bars is one of the finest series; a coarser one may not even miss a bar.
    finest = min(needs, key=lambda need: parse_duration(need.timeframe))
    breaks = [(seam + 1, SessionBreak(one, 2, "seam", seam + 1)) for one in case.declared.instruments]
    cut = case.scenario(bars=bars[:begin] + bars[end:]).run()
    broken = case.scenario(events=breaks).run()
    _nothing_between(cut, bars[end].open_ns, spans[finest])
    _nothing_between(broken, seam, max(spans.values()))


def check_feed(case: Case) -> None:
    """While the feed is not LIVE nothing is decided."""
    bars = case.market.bars
    if not bars:
        return
    from_ns = bars[len(bars) // 2].open_ns
    stale = [(from_ns, _quality(one, from_ns)) for one in case.declared.instruments]
    outcome = case.scenario(events=stale).run()
    late = [wish for at_ns, wish in outcome.decided if at_ns > from_ns]
    assert late == [], f"decided on a STALE feed: {late[:3]}"


def check_refusal(case: Case) -> None:
    """A market that refuses everything is survived: each refusal is told and nothing is filled."""
    outcome = case.scenario(refuse="RISK_MAX_POSITION").run()
    wishes = [msg for msg in outcome.sent if isinstance(msg, SetTarget | SubmitOrder)]
    assert len(outcome.refusals) == len(wishes), f"{len(wishes)} wishes, {len(outcome.refusals)} refusals"
    assert outcome.fills == [], f"fills of refused wishes: {outcome.fills}"


CHECKS: dict[str, Callable[[Case], None]] = {
    "determinism": check_determinism,
    "restart": check_restart,
    "depth": check_depth,
    "settings": check_settings,
    "warm_up": check_warm_up,
    "no_look_ahead": check_no_look_ahead,
    "gaps": check_gaps,
    "feed": check_feed,
    "refusal": check_refusal,
}


def _nothing_between(outcome: Outcome, from_ns: int, span_ns: int) -> None:
    early = [wish for at_ns, wish in outcome.decided if from_ns < at_ns < from_ns + span_ns]
    assert early == [], f"decided before the indicators were warm again: {early[:3]}"


def _result(outcome: Outcome) -> tuple[list[Message], list[OwnerTurn], bytes]:
    return outcome.sent, outcome.turns, msgspec.msgpack.encode(outcome.state)


def _instants(case: Case, count: int) -> list[int]:
    random = Random(case.seed)  # noqa: S311 instants of a test
    events = len(case.market.history) + 2 * len(case.market.bars)
    return [random.randint(0, events) for _ in range(count)]


def _changed_settings(case: Case) -> Iterator[dict[str, Any]]:
    """Return the settings with one of them changed each time, as far as the strategy allows it."""
    name, cls = (
        (case.strategy, None) if isinstance(case.strategy, str) else (case.strategy.__name__, case.strategy)
    )
    made, settings = find_strategy(name, case.settings, cls)
    for field, value in msgspec.structs.asdict(settings).items():
        for other in _others(value):
            changed = {**case.settings, field: other}
            try:
                _, read = find_strategy(name, changed, made)
                declare(made, read, lambda symbol: InstrumentId(f"{VENUE}:{symbol}"))
            except Refused:
                continue
            yield changed


def _others(value: object) -> tuple[Any, ...]:
    """Return other values of a setting; a text is left alone: who knows what it names."""
    if isinstance(value, bool):
        return (not value,)
    if isinstance(value, int):
        return (value + 1, value - 1)
    return (value / 2, value * 2) if isinstance(value, float) else ()


def _told(outcome: Outcome) -> tuple[Any, Any, Any]:
    """Return decisions behind `on_start`, State and held quantities as plain values."""
    decided = [(at_ns, msgspec.to_builtins(wish)) for at_ns, wish in outcome.handled]
    held = {instrument: position.qty for instrument, position in outcome.positions.items()}
    return decided, msgspec.to_builtins(outcome.state.memory), held


def _alike(one: object, other: object) -> bool:
    """Return whether two plain values are equal, floats nearly."""
    if isinstance(one, float) and isinstance(other, float):
        near = math.isclose(one, other, rel_tol=CLOSE, abs_tol=CLOSE)
        return near or (math.isnan(one) and math.isnan(other))
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(_alike(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_alike, one, other))
    return bool(one == other)


def _quality(instrument: InstrumentId, at_ns: int) -> Message:
    return FeedQuality(instrument, Quality.STALE, "silent", at_ns, 1)
