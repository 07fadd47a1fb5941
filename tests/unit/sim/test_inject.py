"""What faults of the world do to the process that lives, each alone in a whole seed."""

from __future__ import annotations

from functools import cache

from tradefan.messages.records import ModeChange
from tradefan.sim.checkers import all_checkers
from tradefan.sim.world import World


@cache
def lived(kind: str, seed: int = 3) -> World:
    """Return a world behind its end in which this was the only kind, and nothing broke."""
    world = World(seed, kinds=(kind,), all_on=True, checkers=all_checkers())
    outcome = world.run()
    assert outcome.violation is None
    assert set(outcome.faults) == {kind}
    return world


def test_book_differs_when_injected_then_its_instrument_is_held_and_let_go_again() -> None:
    """I-45: the hold is entered for each difference, and left by equal books or by a human."""
    moods: dict[str, list[str]] = {}
    for record in lived("book_differs").witness.records:
        if isinstance(record, ModeChange) and record.cause == "books differ":
            moods.setdefault(record.scope, []).append(record.mode)
    assert {tuple(found[:2]) for found in moods.values()} >= {("CANCEL_ONLY", "NORMAL")}
    assert {found[-1] for found in moods.values()} == {"NORMAL"}
