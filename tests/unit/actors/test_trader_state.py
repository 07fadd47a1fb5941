"""A strategy's State: what is journaled with which turn, and what a new life begins with."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import msgspec
import pytest

from tests.unit.actors.trader_rig import ACCOUNT, BTC, ME, T0, Turns, bars, live, quote, wiring
from tests.unit.actors.trader_rig import parent as open_parent
from tradefan.actors.trader import Trader
from tradefan.actors.trader_memory import STATE_MAX_BYTES
from tradefan.actors.trader_turn import SENT_MAX, WISHES_MAX
from tradefan.errors import Defect
from tradefan.messages.base import Message
from tradefan.messages.control import Ready, Started, Stop
from tradefan.messages.market import Quality, Quote
from tradefan.messages.orders import (
    AskPositions,
    CancelAll,
    OwnerMemory,
    OwnerTurn,
    ParentSnapshot,
    ParentUpdate,
    Phase,
    PositionsSent,
    Refusal,
    SubmitOrder,
)
from tradefan.strategy import Commands, Settings, State, Strategy, View, buy
from tradefan.units import MINUTE, SECOND


class Plain(Settings, frozen=True):
    symbol: str = "BTC/USDT"


class Tally(State):
    quotes: int = 0
    refused: int = 0
    extra: Any = None


class Counter(Strategy[Plain, Tally]):
    """Counts quotes above 1000 and buys at those above 2000; writes down what else reaches it."""

    heard: ClassVar[list[str]] = []

    def setup(self) -> None:
        self.bars("1m").sma(3)
        self.quotes()

    def on_start(self, view: View) -> Commands:
        self.heard.append(f"start {self.state.quotes} {len(view.orders('BTC/USDT'))}")
        return ()

    def on_quote(self, quote: Quote, view: View) -> Commands:
        if quote.bid > 1000:
            self.state.quotes += 1
        return buy("BTC/USDT", 1) if quote.bid > 2000 else ()

    def on_parent(self, parent: ParentUpdate, view: View) -> Commands:
        self.heard.append(f"parent {parent.phase}")
        return ()

    def on_refused(self, refusal: Refusal, view: View) -> Commands:
        self.state.refused += 1
        return ()


@pytest.fixture(autouse=True)
def _nothing_heard() -> None:
    Counter.heard = []


def _blob(**fields: Any) -> bytes:
    """Return a journaled state; without all the fields of today it is an older shape."""
    return msgspec.msgpack.encode(fields)


def _tally(quotes: int, refused: int = 0) -> bytes:
    return msgspec.msgpack.encode(Tally(quotes, refused))


def _answer(trader: Trader, turn: int, state: bytes | None, generation: int = 4) -> list[Message]:
    """Return how the OMS answers the newest question."""
    return [OwnerMemory(ME, turn, state), PositionsSent(ME, generation, trader.state.asked)]


def _begin(turns: Turns, turn: int = 0, state: bytes | None = None, strategy: type[Any] = Counter) -> Trader:
    """Let a trader begin with what the journal holds of it, and forget what it sent on the way."""
    trader = Trader(wiring(), strategy=strategy)
    turns.give(trader, Started(0), Ready(4))
    turns.give(trader, *_answer(trader, turn, state))
    turns.give(trader, *bars(10, 11, 12, start=T0 - 3 * MINUTE, live=False), live(), quote(100))
    turns.sent.clear()
    return trader


def _turns_of(turns: Turns) -> list[tuple[int, bytes | None, int]]:
    """Return and forget the turns sent: number, state, and how many commands."""
    sent = [msg for msg in turns.to_oms() if isinstance(msg, OwnerTurn)]
    return [(msg.turn, msg.state, len(msg.commands)) for msg in sent]


# --- what a turn carries ------------------------------------------------------------------------


def test_state_when_it_changed_then_it_goes_with_the_commands_of_its_turn_and_else_not_at_all() -> None:
    """One message has both; a turn without a change and without a command is none."""
    turns = Turns()
    trader = _begin(turns)
    for price in (100, 1500, 100, 2500):
        turns.give(trader, quote(price))
    assert _turns_of(turns) == [(1, _tally(1), 0), (2, _tally(2), 1)]


def test_state_when_unchanged_then_the_commands_go_without_it() -> None:
    """A state is written when it changes, not with every order."""

    class Buyer(Counter):
        def on_quote(self, quote: Quote, view: View) -> Commands:
            self.state.quotes = 7
            return buy("BTC/USDT", 1)

    turns = Turns()
    trader = _begin(turns, strategy=Buyer)
    turns.give(trader, quote(100), quote(100))
    assert _turns_of(turns) == [(1, _tally(7), 1), (2, None, 1)]


def test_turn_when_sent_then_it_names_the_question_it_went_on_from() -> None:
    """By `asked` the OMS knows a dead predecessor's turn."""
    turns = Turns()
    trader = _begin(turns)
    turns.give(trader, quote(2500))
    (sent,) = turns.to_oms()
    assert isinstance(sent, OwnerTurn)
    assert (sent.owner, sent.asked, type(sent.commands[0])) == (ME, trader.state.asked, SubmitOrder)


def test_turn_when_it_wishes_for_a_flood_then_the_actor_ends_and_nothing_was_sent() -> None:
    """A turn is one message, so what bounds messages must bound the wishes in it."""

    class Floods(Counter):
        def on_quote(self, quote: Quote, view: View) -> Commands:
            return [buy("BTC/USDT", 1)] * int(quote.bid)

    turns = Turns()
    trader = _begin(turns, strategy=Floods)
    turns.give(trader, quote(WISHES_MAX + 1))
    assert _turns_of(turns) == [(1, None, WISHES_MAX)]
    with pytest.raises(Defect, match="a handler returns at most 256 wishes, not 257"):
        turns.give(trader, quote(WISHES_MAX + 2))
    assert turns.to_oms() == []


def test_turn_when_there_is_no_room_then_its_number_is_not_used_and_its_state_is_kept_for_the_next() -> None:
    """Nothing of a turn that could not be sent is lost but its commands, which are refused."""
    turns = Turns()
    trader = _begin(turns)
    turns.full = True
    turns.give(trader, quote(2500), quote(1500))
    assert (_turns_of(turns), trader.state.turn) == ([], 0)
    turns.full = False
    turns.give(trader, quote(100))
    assert _turns_of(turns) == [(1, _tally(2, refused=1), 0)]


def test_stop_when_the_strategy_never_began_then_no_state_is_written_over_the_journaled_one() -> None:
    """A stop in the middle of the warm-up ends orders, and leaves the State of the last life alone."""
    turns, trader = Turns(), Trader(wiring(), strategy=Counter)
    turns.give(trader, Started(0), Ready(4))
    turns.give(trader, *_answer(trader, 9, _tally(5)))
    turns.to_oms()
    turns.give(trader, Stop(T0 + SECOND))
    (sent,) = turns.to_oms()
    assert sent == OwnerTurn(ME, 10, None, (CancelAll(ME),), trader.state.asked)


def test_stop_when_the_last_turn_is_not_known_then_the_last_orders_go_singly() -> None:
    """Without the OMS's word there is no turn's number to go on from."""
    turns, trader = Turns(), Trader(wiring(), strategy=Counter)
    turns.give(trader, Started(0), Stop(T0 + SECOND))
    assert turns.to_oms() == [AskPositions(ME, trader.state.asked), CancelAll(ME)]


# --- what a life begins with ----------------------------------------------------------------------


def test_restore_when_a_life_begins_then_its_state_is_there_before_the_first_handler() -> None:
    """`on_start` runs after the warm-up and sees what was remembered; the numbers go on."""
    turns = Turns()
    trader = _begin(turns, 41, _tally(5))
    assert Counter.heard == ["start 5 0"]
    turns.give(trader, quote(1500))
    assert _turns_of(turns) == [(42, _tally(6), 0)]


def test_restart_when_the_trader_alone_dies_then_the_order_managers_memory_is_the_truth() -> None:
    """What a handler that raised had changed, and a turn that was never sent, left nothing behind."""

    class Breaks(Counter):
        def on_quote(self, quote: Quote, view: View) -> Commands:
            super().on_quote(quote, view)
            if quote.bid > 3000:
                raise ValueError("too dear")
            return ()

    turns = Turns()
    trader = _begin(turns, strategy=Breaks)
    turns.give(trader, quote(1500))
    ((turn, journaled, _),) = _turns_of(turns)
    with pytest.raises(ValueError, match="too dear"):
        trader.handle(quote(3500), turns)
    assert turns.to_oms() == []
    again = _begin(turns, turn, journaled, Breaks)
    assert again.strategy.state == Tally(1)


def test_order_manager_when_it_restarts_without_a_turn_of_state_only_then_the_next_one_carries_all() -> None:
    """A turn that the OMS took down with it is made up for, though nothing changed since.

    It had no commands: with them the next turn would make a State durable that tells of orders which
    never were, so the strategy has to hear of those first (the tests below).
    """
    turns = Turns()
    trader = _begin(turns)
    turns.give(trader, quote(1500), quote(1500))
    assert [sent[0] for sent in _turns_of(turns)] == [1, 2]
    turns.give(trader, Ready(5))
    turns.give(trader, *_answer(trader, 1, _tally(1), generation=5), quote(100))
    assert _turns_of(turns) == [(3, _tally(2), 0)]


def _refs(turns: Turns) -> list[str]:
    """Return and forget the refs of the orders that were sent."""
    sent = [msg for msg in turns.to_oms() if isinstance(msg, OwnerTurn)]
    return [order.ref for turn in sent for order in turn.commands if isinstance(order, SubmitOrder)]


def _refusal(ref: str, code: str = "RESTARTING") -> Refusal:
    return Refusal(ACCOUNT, BTC, ME, ref, code, "", None, None, None, T0)


class Hears(Counter):
    """Writes down which of its orders were refused, and why."""

    def on_refused(self, refusal: Refusal, view: View) -> Commands:
        self.heard.append(f"refused {refusal.ref} {refusal.code}")
        return super().on_refused(refusal, view)


def test_order_manager_when_it_lost_turns_then_their_orders_are_refused_before_the_state_is_journaled() -> (
    None
):
    """The State in the journal knows of each order that it tells of, or that it was refused (I-43)."""
    turns = Turns()
    trader = _begin(turns, strategy=Hears)
    turns.give(trader, quote(2500), quote(2500), quote(2500))
    refs = _refs(turns)
    turns.give(trader, Ready(5), open_parent(Phase.WORKING))
    turns.give(trader, *_answer(trader, 1, _tally(1), generation=5))
    gone = [f"refused {ref} RESTARTING" for ref in refs[1:]]
    assert Counter.heard[1:] == [*gone, "parent WORKING"]
    assert _turns_of(turns) == [(4, _tally(3, refused=2), 0)]


def test_order_manager_when_it_lost_nothing_then_no_order_is_refused() -> None:
    """What it knows it has taken: orders of its turns work on, or are over."""
    turns = Turns()
    trader = _begin(turns, strategy=Hears)
    turns.give(trader, quote(2500), Ready(5))
    turns.give(trader, *_answer(trader, 1, _tally(1), generation=5))
    assert Counter.heard == ["start 0 0"]


@pytest.mark.parametrize("behind", [False, True])
def test_refusal_when_the_order_manager_says_it_too_then_the_strategy_hears_it_once(behind: bool) -> None:
    """A turn that waited in the OMS's mailbox is refused in its words, before its answer or behind it."""
    turns = Turns()
    trader = _begin(turns, strategy=Hears)
    turns.give(trader, quote(2500))
    (ref,) = _refs(turns)
    told = [Ready(5), _refusal(ref)]
    turns.give(trader, *(told[:1] if behind else told))
    answer = _answer(trader, 0, None, generation=5)
    turns.give(trader, *answer, *(told[1:] if behind else ()))
    assert Counter.heard[1:] == [f"refused {ref} RESTARTING"]
    assert trader.strategy.state == Tally(1, refused=1)


def test_refusal_when_it_came_before_its_turn_was_lost_then_it_is_not_repeated() -> None:
    """A command that risk refused is over, whatever becomes of the record of its turn."""
    turns = Turns()
    trader = _begin(turns, strategy=Hears)
    turns.give(trader, quote(2500))
    (ref,) = _refs(turns)
    turns.give(trader, _refusal(ref, "RISK_MAX_ORDER_QTY"), Ready(5))
    turns.give(trader, *_answer(trader, 0, None, generation=5))
    assert Counter.heard[1:] == [f"refused {ref} RISK_MAX_ORDER_QTY"]


def test_stop_when_turns_were_lost_then_the_last_state_knows_it_and_nothing_new_is_wished() -> None:
    """A stop between the answer and the next quote journals the State, too."""

    class Repeats(Hears):
        def on_refused(self, refusal: Refusal, view: View) -> Commands:
            super().on_refused(refusal, view)
            return buy("BTC/USDT", 1)

    turns = Turns()
    trader = _begin(turns, strategy=Repeats)
    turns.give(trader, quote(2500), live(quality=Quality.STALE), Ready(5))
    turns.give(trader, *_answer(trader, 0, None, generation=5))
    turns.to_oms()
    turns.give(trader, Stop(T0 + SECOND))
    (sent,) = turns.to_oms()
    assert sent == OwnerTurn(ME, 2, _tally(1, refused=1), (CancelAll(ME),), trader.state.asked)


def test_order_manager_when_it_lost_more_than_is_remembered_then_the_trader_begins_anew() -> None:
    """Its successor begins with the State of the last turn that the OMS knows: nothing is guessed."""
    turns = Turns()
    trader = _begin(turns)
    turns.give(trader, *[quote(2500)] * (SENT_MAX + 1), Ready(5))
    with pytest.raises(Defect, match="knows turn 0 of 257, expected at least 1"):
        turns.give(trader, *_answer(trader, 0, None, generation=5))
    again = _begin(turns, 1, _tally(1))
    turns.give(again, *[quote(2500)] * (SENT_MAX + 1), Ready(5))
    turns.give(again, *_answer(again, 2, _tally(2), generation=5))
    assert again.strategy.state == Tally(SENT_MAX + 2, refused=SENT_MAX)


def test_ready_when_an_epoch_comes_again_then_the_trader_asks_again() -> None:
    """An OMS that died before its EPOCH was durable leaves its number to its successor."""
    turns = Turns()
    trader = _begin(turns)
    asked = trader.state.asked
    turns.give(trader, Ready(4, fold=7))
    assert trader.state.asked > asked
    turns.give(trader, *_answer(trader, 0, None))
    asked = trader.state.asked
    turns.give(trader, Ready(4, fold=7))
    assert trader.state.asked == asked


def test_order_manager_when_it_restarts_with_the_last_turn_then_nothing_is_written_again() -> None:
    """The living State stays; it is the journaled one already."""
    turns = Turns()
    trader = _begin(turns)
    turns.give(trader, quote(1500))
    turns.to_oms()
    turns.give(trader, Ready(5))
    turns.give(trader, *_answer(trader, 1, _tally(1), generation=5), quote(100))
    assert (_turns_of(turns), trader.strategy.state) == ([], Tally(1))


def test_answer_when_a_predecessor_had_asked_then_it_is_not_taken() -> None:
    """Only the answer to the newest question says what the journal holds now."""
    turns, trader = Turns(), Trader(wiring(), strategy=Counter)
    turns.count = 10
    turns.give(trader, Started(0))
    mine = trader.state.asked
    turns.give(trader, OwnerMemory(ME, 3, _tally(3)), PositionsSent(ME, 4, mine - 1))
    assert trader.view().forecast == "the order manager is not ready"
    turns.give(trader, OwnerMemory(ME, 4, _tally(4)), PositionsSent(ME, 4, mine))
    assert (trader.strategy.state, trader.state.turn) == (Tally(4), 4)


def test_snapshot_of_a_parent_when_it_comes_then_the_view_has_it_and_no_handler_hears_it() -> None:
    """It is a picture of what works on, not news; what changes later is news."""
    turns, trader = Turns(), Trader(wiring(), strategy=Counter)
    turns.give(trader, Started(0), Ready(4), ParentSnapshot(ME, open_parent(Phase.WORKING)))
    turns.give(trader, *_answer(trader, 2, _tally(2)))
    turns.give(trader, *bars(10, 11, 12, start=T0 - 3 * MINUTE, live=False), live(), quote(100))
    assert Counter.heard == ["start 2 1"]
    turns.give(trader, ParentSnapshot(ME, open_parent(Phase.WORKING)), open_parent(Phase.DONE))
    assert (Counter.heard[1:], trader.state.picture.parents) == (["parent DONE"], {})


# --- other shapes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("journaled", "names"),
    [
        (_blob(quotes="many", refused=0, extra=None), r"Expected `int`, got `str` - at `\$.quotes`"),
        (_blob(quotes=1, refused=0, extra=None, peak=7.5), r"`\$.peak` is unknown"),
    ],
)
def test_shape_when_it_changed_without_an_upgrade_then_the_strategy_stays_down_and_names_the_field(
    journaled: bytes, names: str
) -> None:
    """It refuses to start in words: no crash, no handler, and the journaled State is not touched."""
    turns = Turns()
    trader = _begin(turns, 6, journaled)
    turns.give(trader, quote(2500), *bars(13))
    view = trader.view()
    assert view.phase == "DOWN"
    assert re.search(names, view.forecast)
    assert "give Counter an upgrade(old: dict) -> Tally" in view.forecast
    assert (Counter.heard, turns.to_oms()) == ([], [])
    turns.give(trader, Stop(T0 + SECOND))
    assert _turns_of(turns) == [(7, None, 1)]


def test_shape_when_a_field_was_added_then_its_default_is_taken() -> None:
    """Nothing that was remembered is lost, so nobody needs to be asked."""
    trader = _begin(Turns(), 6, _blob(quotes=3))
    assert trader.strategy.state == Tally(3)
    assert Counter.heard == ["start 3 0"]


class Upgraded(Counter):
    """Knew its count by another name once."""

    def upgrade(self, old: dict[str, Any]) -> Tally:
        return Tally(quotes=old["seen"])


class UpgradedByClass(Counter):
    """The same, without an instance."""

    @classmethod
    def upgrade(cls, old: dict[str, Any]) -> Tally:
        return Tally(quotes=old["seen"])


class UpgradedByFunction(Counter):
    """The same, without a class."""

    @staticmethod
    def upgrade(old: dict[str, Any]) -> Tally:
        return Tally(quotes=old["seen"])


@pytest.mark.parametrize("strategy", [Upgraded, UpgradedByClass, UpgradedByFunction])
def test_shape_when_there_is_an_upgrade_then_what_it_makes_is_restored_and_journaled(
    strategy: type[Counter],
) -> None:
    """The strategy's own word decides; the new shape goes into the journal with the next turn."""
    turns, trader = Turns(), Trader(wiring(), strategy=strategy)
    turns.give(trader, Started(0), Ready(4))
    turns.give(trader, *_answer(trader, 6, _blob(seen=8)))
    turns.give(trader, *bars(10, 11, 12, start=T0 - 3 * MINUTE, live=False), live(), quote(100))
    assert Counter.heard == ["start 8 0"]
    assert _turns_of(turns) == [(7, _tally(8), 0)]


def test_upgrade_when_it_returns_no_state_then_the_actor_ends_in_words() -> None:
    """A mistake in `upgrade` is a defect of the strategy, not a state."""

    class Wrong(Counter):
        def upgrade(self, old: dict[str, Any]) -> Any:
            return old

    with pytest.raises(Defect, match=r"Wrong: expected self\.state to be a Tally, got dict"):
        _begin(Turns(), 6, _blob(seen=8), Wrong)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (object(), "its state cannot be journaled: extra: "),
        (1 << 70, "its state cannot be journaled: extra: "),
        ("x" * STATE_MAX_BYTES, "expected at most 1048576"),
    ],
)
def test_state_when_it_cannot_be_written_then_the_actor_ends_and_nothing_was_sent(
    value: object, text: str
) -> None:
    """No order leaves without the State that belongs to it; the field is named."""

    class Odd(Counter):
        def on_quote(self, quote: Quote, view: View) -> Commands:
            self.state.extra = value
            return buy("BTC/USDT", 1)

    turns = Turns()
    trader = _begin(turns, strategy=Odd)
    with pytest.raises(Defect, match=text):
        turns.give(trader, quote(100))
    assert turns.to_oms() == []


def test_state_when_it_is_of_another_class_then_the_actor_ends_and_nothing_was_sent() -> None:
    """`self.state` must stay what the class declares: else it could not be restored."""

    class Other(State):
        quotes: int = 1

    class Swaps(Counter):
        def on_quote(self, quote: Quote, view: View) -> Commands:
            self.state = Other()  # type: ignore[assignment]
            return buy("BTC/USDT", 1)

    turns = Turns()
    trader = _begin(turns, strategy=Swaps)
    with pytest.raises(Defect, match=r"Swaps: expected self\.state to be a Tally, got Other"):
        turns.give(trader, quote(100))
    assert turns.to_oms() == []
