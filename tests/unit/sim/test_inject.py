"""What faults of the world do to the process that lives, each alone in a whole seed."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from tradefan.messages.records import ModeChange
from tradefan.sim.checkers import all_checkers
from tradefan.sim.world import World

pytestmark = pytest.mark.slow

FOLLOWS = {"swizzle": {"market_stall", "stream_silent"}}
"""What is noted by other words when it meets something."""


@cache
def lived(kind: str, seed: int = 3) -> World:
    """Return a world behind its end in which this was the only kind, and nothing broke."""
    world = World(seed, kinds=(kind,), all_on=True, checkers=all_checkers())
    outcome = world.run()
    assert outcome.violation is None
    assert set(outcome.faults) - FOLLOWS.get(kind, set()) == {kind}
    return world


def logged(world: World, event: str) -> list[dict[str, Any]]:
    """Return the fields of all lines of an event."""
    return [line.fields for _, line in world.witness.logs if line.event == event]


def test_book_differs_when_injected_then_its_instrument_is_held_and_let_go_again() -> None:
    """I-45: the hold is entered for each difference, and left by equal books or by a human."""
    moods: dict[str, list[str]] = {}
    for record in lived("book_differs").witness.records:
        if isinstance(record, ModeChange) and record.cause == "books differ":
            moods.setdefault(record.scope, []).append(record.mode)
    assert {tuple(found[:2]) for found in moods.values()} >= {("CANCEL_ONLY", "NORMAL")}
    assert {found[-1] for found in moods.values()} == {"NORMAL"}


def test_strategy_endless_when_its_turn_is_broken_off_then_it_begins_anew() -> None:
    """The turn has done nothing; the strategy falls like one that raises."""
    found = [fields["message"] for fields in logged(lived("strategy_endless"), "actor_crashed")]
    traces = [fields["traceback"] for fields in logged(lived("strategy_endless"), "actor_crashed")]
    assert set(found) == {"Timer"}
    assert all("TurnOverrun: scripted" in text for text in traces)


def test_rule_raise_when_a_rule_raises_then_what_it_would_judge_is_refused() -> None:
    """The fence of the risk check: no rule that fails lets an order through."""
    codes = [fields["code"] for fields in logged(lived("rule_raise"), "refused")]
    assert "RISK_RULE_FAILED" in codes


def test_store_partial_when_a_batch_was_taken_in_part_then_it_comes_again_whole() -> None:
    """I-24 holds at rest: what stood from the part is written over, and its place in the journal waited."""
    assert any(
        "in the middle of a batch" in str(fields)
        for fields in logged(lived("store_partial"), "store_failing")
    )


@pytest.mark.parametrize("kind", sorted(FOLLOWS["swizzle"]))
def test_swizzle_when_injected_then_market_and_account_fall_silent(kind: str) -> None:
    """One by one, and each comes back by itself."""
    assert kind in {fault.kind for fault in lived("swizzle").witness.faults}


def test_actor_raise_when_the_operator_kills_then_the_order_manager_falls_and_the_kill_is_not_lost() -> None:
    """I-36 sees a lost one: its latch stays closed, and there is nothing to resume."""
    world = World(2000, kinds=("actor_raise", "kill"), all_on=True, checkers=all_checkers())
    assert world.run().violation is None
    assert "KillSwitch" in {fields["message"] for fields in logged(world, "actor_crashed")}


@pytest.mark.parametrize(("seed", "event"), [(17, "child_stays_down"), (15, "supervisor_exhausted")])
def test_actor_raise_when_heirs_fall_too_then_their_supervisor_is_exhausted(seed: int, event: str) -> None:
    """What falls in a row stays down for its pause, or ends everything; and all is well in the end."""
    world = World(seed, hours=0.14, kinds=("actor_raise",), all_on=True, checkers=all_checkers())
    assert world.run().violation is None
    assert logged(world, event)


def test_link_death_when_it_is_the_journals_then_it_often_has_records_in_hand() -> None:
    """What waited in it is lost: whoever told others of it tells them so."""
    found = []
    for seed in (5, 8, 9, 11, 13, 16, 18, 19, 20, 21):
        world = World(seed, hours=0.14, kinds=("link_death",), all_on=True, checkers=all_checkers())
        assert world.run().violation is None
        found += [fault.text for fault in world.witness.faults if fault.kind == "link_death"]
    assert "with records in hand" in found
