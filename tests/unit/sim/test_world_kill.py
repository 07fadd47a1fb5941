"""Kills while a create waits, deaths while a turn does: where the ambush lies, what it does to the world."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from tests.unit.core.order_builders import PID, parent_order
from tradefan.actors import gateway_flights, oms, oms_kill
from tradefan.actors.oms_owners import on_owner_turn
from tradefan.actors.oms_state import Turn
from tradefan.core.scopes import scopes as scopes_of
from tradefan.core.trigger import Armed, Condition, Confirm, Seen
from tradefan.messages.orders import OwnerTurn
from tradefan.messages.wire import Write
from tradefan.sim import inject
from tradefan.sim.checkers.alarms import ErrorsNameFaults
from tradefan.sim.checkers.journal import WholeTurns
from tradefan.sim.checkers.killing import KilledGone, LatchLasts, NothingBehindKill
from tradefan.sim.operator import GATEWAY, JOURNAL, LEVEL, LINK, OMS, Ambush
from tradefan.sim.options import ACCOUNT, T0
from tradefan.sim.world import World

SHORT = 0.07


def test_ambush_when_a_create_passes_then_it_strikes_at_the_one_that_it_waits_for() -> None:
    """It strikes once, and gets the scopes of the create; other places pass."""
    struck: list[tuple[str, ...]] = []
    ambush = Ambush()
    ambush.lie(LINK, 1, struck.append)
    ambush.lie(LINK, 0, struck.append)
    for scopes in (("a",), ("b",), ("c",)):
        ambush.passes(JOURNAL, scopes)
        ambush.passes(LINK, scopes)
    assert struck == [("b",)]


def test_ambush_when_it_has_left_then_nothing_is_struck() -> None:
    """Behind the heal nothing new goes wrong."""
    struck: list[tuple[str, ...]] = []
    ambush = Ambush()
    ambush.lie(LINK, 0, struck.append)
    ambush.leave()
    ambush.passes(LINK, ("a",))
    assert struck == []


def test_ambush_when_it_waits_for_a_replacement_then_creates_pass() -> None:
    """One that takes any create lies beside it."""
    struck: list[tuple[str, ...]] = []
    ambush = Ambush()
    ambush.lie(LINK, 0, struck.append, replaces=True)
    ambush.passes(LINK, ("a",))
    assert struck == []
    ambush.lie(LINK, 0, struck.append)
    ambush.passes(LINK, ("b",))
    ambush.passes(LINK, ("c",), replaces=True)
    assert struck == [("b",), ("c",)]


@pytest.mark.parametrize(("price", "strikes"), [(60_012, True), (60_013, False), (59_987, False)])
def test_ambush_when_it_waits_at_a_level_then_it_strikes_as_the_market_comes_near(
    price: int, strikes: bool
) -> None:
    """Within 2 bps of the level of what is armed, with the scopes of its order."""
    order = parent_order(algo="stop")
    condition = Condition("stop", "sell", Confirm(), trigger=60_000)
    watched = SimpleNamespace(condition=condition, armed=Armed(recent=(Seen(T0, 1, price, price),)))
    live = SimpleNamespace(running=False, watched={PID: watched})
    parents = {PID: SimpleNamespace(order=order)}
    oms: Any = SimpleNamespace(live=live, trading=SimpleNamespace(parents=parents))
    struck: list[tuple[str, ...]] = []
    ambush = Ambush()
    ambush.lie(LEVEL, 0, struck.append)
    ambush.near(oms)
    assert struck == ([scopes_of(order.account, order.instrument, order.owner)] if strikes else [])


@pytest.mark.parametrize("place", [JOURNAL, GATEWAY, LINK])
def test_world_when_a_kill_lies_in_wait_then_the_create_is_dropped_or_stopped_at_the_latch(
    place: str,
) -> None:
    """The kill comes while one is there, whose scopes it knows, and it never reaches the venue."""
    world = World(SEEDS[place], hours=SHORT, kinds=(), checkers=(NothingBehindKill(), LatchLasts()))
    struck = ambushed(world, place)
    assert world.run().violation is None
    assert [scopes[0] for scopes in struck] == ["all"]
    stopped = [one for one in world.witness.writes if one.refused == "LATCHED"]
    dropped = [line for _, line in world.witness.logs if line.event == "create_dropped"]
    assert dropped if place == JOURNAL else stopped


@pytest.mark.parametrize("place", [JOURNAL, LINK])
@pytest.mark.parametrize("scoped", [True, False])
def test_world_when_a_kill_waits_for_a_replacement_then_it_is_stopped_by_its_own_scopes(
    place: str, scoped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I-09: it places an order, too, and the latch is asked for what it would place."""
    if not scoped:
        monkeypatch.setattr(gateway_flights, "Write", unscoped)
    world = World(SEEDS[GATEWAY], hours=SHORT, kinds=(), checkers=(NothingBehindKill(), LatchLasts()))

    def strike(scopes: tuple[str, ...]) -> None:
        assert world.life is not None
        world.operator.kill(world.life, (ACCOUNT,))

    world.ambush.lie(place, 0, strike, replaces=True)
    violation = world.run().violation
    stopped = [one.op for one in world.witness.writes if one.refused == "LATCHED"]
    dropped = [line for _, line in world.witness.logs if line.event == "create_dropped"]
    if place == JOURNAL:
        assert (violation, bool(dropped)) == (None, True)
    elif scoped:
        assert (violation, "replace" in stopped) == (None, True)
    else:
        assert violation is not None
        assert violation.expected == f"no create of {ACCOUNT} while its latch is closed"


def unscoped(*words: Any, **named: Any) -> Write:
    """Make a request of a gateway that forgets the scopes of replacements."""
    write = Write(*words, **named)
    return replace(write, scopes=()) if write.op == "replace" else write


@pytest.mark.parametrize("deaf", [True, False])
def test_world_when_a_strategy_dies_as_its_turn_waits_then_the_turn_is_not_taken(
    deaf: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its successor is told of a State without that turn, and makes one of the same number."""

    def hears(turn: Turn, wish: OwnerTurn, handlers: dict[type[Any], Any]) -> None:
        on_owner_turn(turn, replace(wish, asked=turn.live.asked.get(wish.owner, 0)), handlers)

    if not deaf:
        monkeypatch.setattr(oms, "on_owner_turn", hears)
    world = World(SEEDS[GATEWAY], hours=SHORT, kinds=(), checkers=(ErrorsNameFaults(), WholeTurns()))
    dead: list[tuple[str, ...]] = []

    def strike(owners: tuple[str, ...]) -> None:
        dead.append(owners)
        inject._orphan(world, owners)

    world.ambush.lie(OMS, 2, strike)
    violation = world.run().violation
    assert len(dead) == 1
    if deaf:
        stale = [line for _, line in world.witness.logs if line.event == "turn_out_of_date"]
        assert (violation, [line.fields["owner"] for line in stale]) == (None, list(dead[0]))
    else:
        assert violation is not None
        assert (violation.invariant, violation.expected) == (
            "I-41",
            "turn_repeated of oms only behind one of ()",
        )


def ambushed(world: World, place: str) -> list[tuple[str, ...]]:
    """Kill everything when a create is at a place; return the scopes of that create."""
    struck: list[tuple[str, ...]] = []

    def strike(scopes: tuple[str, ...]) -> None:
        assert world.life is not None
        struck.append(scopes)
        world.operator.kill(world.life, ("all",))

    world.ambush.lie(place, 0, strike)
    return struck


@pytest.mark.parametrize("obeys", [True, False])
def test_world_when_a_kill_cancels_nothing_then_broken(obeys: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """I-37: latch and record alone leave what rests at the venue."""
    if not obeys:
        monkeypatch.setattr(oms_kill, "obey", lambda *_: None)
        monkeypatch.setattr(oms_kill, "cancel_order", lambda *_, **__: None)
    world = World(SEEDS[LINK], hours=SHORT, kinds=(), checkers=(KilledGone(),))
    ambushed(world, LINK)
    violation = world.run().violation
    if obeys:
        assert violation is None
    else:
        assert violation is not None
        assert (violation.invariant, violation.found) == ("I-37", "none")
        assert "in the turn that kills all" in violation.expected


SEEDS = {JOURNAL: 1, GATEWAY: 10, LINK: 1}
"""Of the gateway one with short steps."""
