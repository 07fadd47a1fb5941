"""What a strategy hears of a wish that waited in an order manager and was lost with it."""

from __future__ import annotations

import msgspec
import pytest

from tests.unit.actors.test_trader_state import Counter, Hears
from tests.unit.actors.test_trader_state import _answer as answer
from tests.unit.actors.test_trader_state import _begin as begin
from tests.unit.actors.test_trader_state import _refs as refs_of
from tests.unit.actors.test_trader_state import _refusal as refusal_of
from tests.unit.actors.test_trader_state import _tally as tally
from tests.unit.actors.test_trader_state import _turns_of as turns_of
from tests.unit.actors.trader_rig import T0, Turns, bars, live, quote, wiring
from tradefan.actors.trader import Trader
from tradefan.messages.base import Message
from tradefan.messages.control import Ready, Started, Stop
from tradefan.messages.market import Quality
from tradefan.messages.orders import OwnerMemory
from tradefan.strategy import Commands, View
from tradefan.units import MINUTE


@pytest.fixture(autouse=True)
def _nothing_heard() -> None:
    Counter.heard = []


def lost(trader: Trader, turn: int, ref: str, generation: int = 4) -> list[Message]:
    """Return an answer by which a wish of a turn on record was lost."""
    memory, sent = answer(trader, turn, tally(turn), generation)
    assert isinstance(memory, OwnerMemory)
    return [msgspec.structs.replace(memory, refused=(refusal_of(ref),)), sent]


def test_wish_when_it_was_lost_while_it_waited_then_a_new_instance_hears_it_with_its_first_turn() -> None:
    """No turn stands on record between the State that tells of the wish and the one that knows better."""
    turns = Turns()
    trader = Trader(wiring(), strategy=Hears)
    turns.give(trader, Started(0), Ready(4), *lost(trader, 2, "t-3-1"), Ready(4, fold=2))
    turns.give(trader, *lost(trader, 2, "t-3-1"))
    turns.to_oms()
    turns.give(trader, *bars(10, 11, 12, start=T0 - 3 * MINUTE, live=False), live(), quote(100))
    assert Counter.heard == ["start 2 0", "refused t-3-1 RESTARTING"]
    assert turns_of(turns) == [(3, tally(2, refused=1), 0)]


def test_wish_when_it_was_lost_while_it_waited_then_a_living_instance_hears_it_once() -> None:
    """An order manager that restarts knows the turn, but not the wish that waited."""
    turns = Turns()
    trader = begin(turns, strategy=Hears)
    turns.give(trader, quote(2500))
    (ref,) = refs_of(turns)
    turns.give(trader, Ready(5))
    turns.give(trader, *lost(trader, 1, ref, generation=5))
    turns.give(trader, Ready(6))
    turns.give(trader, *answer(trader, 2, tally(1, refused=1), generation=6))
    assert Counter.heard[1:] == [f"refused {ref} RESTARTING"]
    assert turns_of(turns) == [(2, tally(1, refused=1), 0)]


def test_refusal_when_it_comes_before_an_instance_begins_then_it_is_heard_at_the_beginning() -> None:
    """A turn of the dead one is on record with its State: a wish of it that waited is refused by and by."""
    turns = Turns()
    trader = Trader(wiring(), strategy=Hears)
    early, late, stale = (refusal_of(ref) for ref in ("t-3-1", "t-3-2", "t-3-3"))
    early, late = (msgspec.structs.replace(one, code="RISK_MAX_POSITION") for one in (early, late))
    turns.give(trader, Started(0), Ready(4), early, *answer(trader, 2, tally(2)), late, stale)
    turns.to_oms()
    turns.give(trader, *bars(10, 11, 12, start=T0 - 3 * MINUTE, live=False), live(), quote(100))
    assert Counter.heard == [
        "start 2 0",
        "refused t-3-1 RISK_MAX_POSITION",
        "refused t-3-2 RISK_MAX_POSITION",
    ]
    assert turns_of(turns) == [(3, tally(2, refused=2), 0)]


@pytest.mark.parametrize("answered", [False, True])
def test_stop_when_it_overtakes_what_was_lost_then_no_state_is_sent_that_does_not_know_of_it(
    answered: bool,
) -> None:
    """A State on record counts as one that has heard all that the order manager has told."""

    class Ends(Hears):
        def on_stop(self, view: View) -> Commands:
            self.state.quotes += 1
            return ()

    turns = Turns()
    trader = begin(turns, strategy=Ends)
    turns.give(trader, quote(2500))
    (ref,) = refs_of(turns)
    turns.give(trader, live(quality=Quality.STALE), Ready(5))
    if answered:
        turns.give(trader, *lost(trader, 1, ref, generation=5))
    turns.to_oms()
    turns.give(trader, Stop(T0))
    assert turns_of(turns) == [(2, tally(2, refused=1) if answered else None, 1)]
