"""Kills that come while a create waits: where the ambush lies, and what it does to the world."""

from __future__ import annotations

import pytest

from tradefan.actors import oms_kill
from tradefan.sim.checkers.killing import KilledGone, LatchLasts, NothingBehindKill
from tradefan.sim.operator import GATEWAY, JOURNAL, LINK, Ambush
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
