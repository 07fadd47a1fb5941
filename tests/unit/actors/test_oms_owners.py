"""Owners: a strategy's turn as one transaction, what a new instance is told, and what its loss does."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import (
    ACCOUNT,
    API,
    BTC,
    CONFIG,
    GATEWAY,
    JOURNAL,
    STORE,
    TRADER,
    TREND,
    submit,
    target,
    wiring,
)
from tradefan.actors.oms import Oms
from tradefan.config.schema import Config, StrategyConfig
from tradefan.core.trading import place_key
from tradefan.messages.account import AccountState
from tradefan.messages.control import ActorState, Append, ConfigChanged, Started, StopBegun
from tradefan.messages.gateway import CancelOrder, CreateOrder
from tradefan.messages.orders import (
    AskPositions,
    CancelAll,
    OrderStatus,
    OwnerMemory,
    OwnerTurn,
    ParentSnapshot,
    Phase,
    PositionUpdate,
    Refusal,
)
from tradefan.messages.records import (
    CancelIntent,
    Intent,
    OwnerState,
    Parent,
    PhaseChange,
    Waiting,
)
from tradefan.messages.work import (
    Decision,
)
from tradefan.units import ParentId

D = Decimal
S = OrderStatus


@pytest.fixture
def bench() -> Bench:
    return Bench().ready()


def memory(bench: Bench, asked: int = 0) -> OwnerMemory:
    """Return what an owner that asks is told of its state."""
    bench.tell(AskPositions(TREND, asked))
    return bench.one(TRADER, OwnerMemory)


# --- one turn, one transaction ------------------------------------------------------------------------------


def test_turn_when_it_has_state_and_commands_then_they_are_one_append(bench: Bench) -> None:
    """OWNER_STATE, PARENT, DECISION, INTENT are one transaction: after a crash all, or none (I-43)."""
    commands = (submit(1, ref="a"), submit(2, ref="b", algo="limit", limit_price=D(99)))
    bench.oms.handle(OwnerTurn(TREND, 1, b"one", commands), bench)
    append = bench.one(JOURNAL, Append)
    kinds = [type(record) for record in append.records]
    assert kinds == [OwnerState, Parent, Decision, Intent, Parent, Decision, Intent]
    assert append.records[0] == OwnerState(bench.now_ns, TREND, 1, b"one")
    assert bench.take(GATEWAY, CreateOrder) == []


def test_turn_when_it_changes_only_state_then_it_is_journaled_and_nothing_waits_for_it(bench: Bench) -> None:
    """A state without commands is unguarded; a turn without a change keeps the older state."""
    bench.auto_durable = False
    bench.tell(OwnerTurn(TREND, 1, b"one"), OwnerTurn(TREND, 2, None))
    assert bench.oms.state.live.outbox.waiting == []
    assert memory(bench) == OwnerMemory(TREND, 2, b"one")
    bench.durable()
    again = Bench(records=bench.records).ready()
    assert memory(again) == OwnerMemory(TREND, 2, b"one")
    again.check()


def test_turn_when_a_command_of_it_is_refused_then_the_state_counts_all_the_same(bench: Bench) -> None:
    """The owner hears of the refusal; its turn was taken."""
    bench.tell(OwnerTurn(TREND, 1, b"one", (submit(99), submit(1, ref="b"))))
    assert bench.one(TRADER, Refusal).code == "RISK_MAX_ORDER_QTY"
    assert len(bench.take(GATEWAY, CreateOrder)) == 1
    assert memory(bench).turn == 1


def test_turn_when_repeated_or_older_then_it_changes_nothing(bench: Bench) -> None:
    """A turn on record is never repeated, also by another instance after a restart (I-43)."""
    bench.tell(OwnerTurn(TREND, 3, b"three", (submit(1, ref="a"),)))
    records = len(bench.records)
    bench.tell(OwnerTurn(TREND, 3, b"again", (submit(1, ref="b"),)), OwnerTurn(TREND, 2, b"two"))
    assert len(bench.records) == records
    assert len(bench.take(GATEWAY, CreateOrder)) == 1
    again = Bench(records=bench.records).ready()
    again.tell(OwnerTurn(TREND, 3, b"again", (submit(1, ref="b"),)))
    assert again.take(GATEWAY, CreateOrder) == []
    assert memory(again) == OwnerMemory(TREND, 3, b"three")


def test_turn_when_of_a_dead_predecessor_then_it_is_refused_whole(bench: Bench) -> None:
    """It waited in the commands lane while its successor asked: that one has been told a state without it."""
    assert memory(bench, asked=5) == OwnerMemory(TREND, 0, None)
    late = OwnerTurn(TREND, 1, b"late", (submit(1, ref="a"), CancelAll(TREND)), asked=4)
    bench.tell(late)
    assert [one.code for one in bench.take(TRADER, Refusal)] == ["RESTARTING"] * 2
    assert bench.made(OwnerState) == []
    bench.tell(OwnerTurn(TREND, 1, b"own", (submit(1, ref="a"),), asked=5))
    assert len(bench.take(GATEWAY, CreateOrder)) == 1
    assert memory(bench, asked=6).state == b"own"


def test_turn_when_the_order_manager_began_anew_then_it_takes_none_before_it_was_asked(
    bench: Bench,
) -> None:
    """Turns before it may be lost: a State that tells of their orders must not become durable.

    Its cancels are carried out all the same.
    """
    assert memory(bench, asked=5) == OwnerMemory(TREND, 0, None)
    bench.tell(OwnerTurn(TREND, 1, b"one", (submit(1, ref="a", algo="limit", limit_price=D(99)),), asked=5))
    bench.report(bench.one(GATEWAY, CreateOrder), S.NEW)
    again = Bench(records=bench.records).ready()
    # Turn 2 died with the predecessor.
    again.tell(OwnerTurn(TREND, 3, b"three", (submit(1, ref="c"), CancelAll(TREND)), asked=5))
    assert [(one.code, one.ref) for one in again.take(TRADER, Refusal)] == [("RESTARTING", "c")]
    assert again.take(GATEWAY, CreateOrder) == []
    assert len(again.take(GATEWAY, CancelOrder)) == 1
    assert memory(again, asked=6) == OwnerMemory(TREND, 1, b"one")
    again.tell(OwnerTurn(TREND, 4, b"four", asked=6))
    assert memory(again, asked=7).turn == 4
    again.check()


def test_turn_when_the_journal_is_being_read_then_its_commands_are_refused(bench: Bench) -> None:
    """In the new OMS's own words, also those that waited for its predecessor."""
    again = Bench(records=bench.records)
    waited = OwnerTurn(TREND, 1, b"one", (submit(1, ref="a"),))
    again.tell(Started(1, (waited,)), OwnerTurn(TREND, 2, b"two", (submit(1, ref="b"),)))
    assert [one.code for one in again.take(TRADER, Refusal)] == ["RESTARTING"] * 2
    again.fold(restart=1)
    assert again.made(OwnerState) == []


# --- a wish that waits ------------------------------------------------------------------------------------


def waiting(bench: Bench) -> CreateOrder:
    """Let turn 2 tell of a wish that waits for the end of turn 1's order; return that order."""
    memory(bench, asked=5)
    first = target(5, ref="a", algo="limit", limit_price=D(99))
    bench.tell(OwnerTurn(TREND, 1, b"one", (first,), asked=5))
    create = bench.one(GATEWAY, CreateOrder)
    bench.report(create, S.NEW)
    wish = target(9, ref="b", algo="limit", limit_price=D(98))
    bench.tell(OwnerTurn(TREND, 2, b"two", (wish,), asked=5))
    assert bench.trading.wishes == {place_key(ACCOUNT, BTC, TREND): wish}
    return create


def refused(told: OwnerMemory) -> list[tuple[str, str, int]]:
    return [(one.code, one.ref, told.turn) for one in told.refused]


def test_wish_when_it_waits_then_it_is_durable_with_its_turn_and_gone_with_its_parent(bench: Bench) -> None:
    """One Append has the State that speaks of it and the wish; without a crash it becomes an order."""
    create = waiting(bench)
    at = [one.turn if isinstance(one, OwnerState) else type(one) for one in bench.records].index(2)
    assert [type(one) for one in bench.records[at:]] == [OwnerState, PhaseChange, CancelIntent, Waiting]
    bench.report(create, S.CANCELED)
    assert bench.one(GATEWAY, CreateOrder).order_qty == D(9)
    assert bench.trading.wishes == {}
    bench.check()


@pytest.mark.parametrize("restart", [0, 1])
def test_wish_when_the_order_manager_dies_then_its_successor_tells_it_as_refused(
    bench: Bench, restart: int
) -> None:
    """State of turn 2 without its wish would be a silent loss: it is told until a later turn is on record."""
    create = waiting(bench)
    again = Bench(records=bench.records, now_ns=bench.now_ns)
    again.fold(restart=restart)
    again.tell(AccountState(ACCOUNT, True, ""), ActorState("risk_desk", "READY"))
    again.market()
    again.opened({"USDT": 1_000_000})
    again.report(create, S.CANCELED)
    assert again.take(GATEWAY, CreateOrder) == []
    # An owner that has not heard of it yet cancels all that it knows of.
    again.tell(OwnerTurn(TREND, 3, b"three", (CancelAll(TREND),), asked=5))
    for asked in (6, 7):
        assert refused(memory(again, asked)) == [("RESTARTING", "b", 2)]
    third = Bench(records=again.records, now_ns=again.now_ns).ready()
    assert refused(memory(third, 8)) == [("RESTARTING", "b", 2)]
    third.tell(OwnerTurn(TREND, 3, b"three", asked=8))
    assert refused(memory(third, 9)) == []
    assert third.trading.wishes == {}
    third.check()


def test_wish_when_a_stop_takes_it_back_then_the_next_instance_hears_of_it(bench: Bench) -> None:
    """Whatever the owner still says at the stop: it was not told, and the CancelAll is not its decision."""
    create = waiting(bench)
    bench.tell(StopBegun(), OwnerTurn(TREND, 3, b"last", (CancelAll(TREND),), asked=5))
    bench.report(create, S.CANCELED)
    assert bench.take(GATEWAY, CreateOrder) == []
    again = Bench(records=bench.records).ready()
    assert refused(memory(again)) == [("RESTARTING", "b", 3)]


def test_wish_when_its_owner_had_heard_before_the_stop_then_no_later_life_tells_it_again(
    bench: Bench,
) -> None:
    """Its last State knows of the loss, although it comes in the stop; what the stop loses is told."""
    waiting(bench)
    again = Bench(records=bench.records, now_ns=bench.now_ns).ready()
    assert refused(memory(again, 6)) == [("RESTARTING", "b", 2)]
    again.tell(StopBegun(), OwnerTurn(TREND, 3, b"three", asked=6))
    third = Bench(records=again.records, now_ns=again.now_ns).ready()
    assert refused(memory(third, 7)) == []
    third.check()


def test_wish_when_its_owner_had_not_begun_before_the_stop_then_the_next_life_tells_it_again(
    bench: Bench,
) -> None:
    """Its question was answered while it waited for bars: a turn without a State knows of no loss."""
    waiting(bench)
    again = Bench(records=bench.records, now_ns=bench.now_ns).ready()
    memory(again, 6)
    again.tell(StopBegun(), OwnerTurn(TREND, 3, None, (CancelAll(TREND),), asked=6))
    third = Bench(records=again.records, now_ns=again.now_ns).ready()
    assert [ref for _, ref, _ in refused(memory(third, 7))] == ["b"]


def test_wish_when_the_one_before_it_was_told_then_its_own_loss_is_told_too(bench: Bench) -> None:
    """That another one was lost at the same place says nothing of this one."""
    waiting(bench)
    again = Bench(records=bench.records, now_ns=bench.now_ns).ready()
    memory(again, 6)
    wish = target(7, ref="c", algo="limit", limit_price=D(98))
    again.tell(OwnerTurn(TREND, 3, b"three", (wish,), asked=6))
    assert again.trading.wishes == {place_key(ACCOUNT, BTC, TREND): wish}
    again.tell(StopBegun(), OwnerTurn(TREND, 4, b"four", asked=6))
    third = Bench(records=again.records, now_ns=again.now_ns).ready()
    assert refused(memory(third, 7)) == [("RESTARTING", "c", 4)]


def test_wish_when_its_owner_is_lost_then_it_is_not_ordered_for_nobody(bench: Bench) -> None:
    """`on_owner_loss: cancel` ends what it works on; a later instance hears of the wish."""
    create = waiting(bench)
    lose(bench)
    bench.report(create, S.CANCELED)
    assert bench.take(GATEWAY, CreateOrder) == []
    assert refused(memory(bench, 6)) == [("RESTARTING", "b", 2)]
    bench.tell(OwnerTurn(TREND, 3, b"three", asked=6))
    assert bench.trading.wishes == {}


def test_wish_when_nobody_is_there_to_hear_of_it_then_it_ends_with_the_fold(bench: Bench) -> None:
    """An owner that the configuration has no more: the loss is shown and logged."""
    waiting(bench)
    again = Bench(records=bench.records, owners={})
    again.fold()
    assert again.trading.wishes == {}
    assert [(one.code, one.ref) for one in again.take(STORE, Refusal)] == [("RESTARTING", "b")]


# --- a new instance ---------------------------------------------------------------------------------------


def test_owner_when_it_begins_anew_then_its_parents_have_worked_on(bench: Bench) -> None:
    """It gets a ParentSnapshot of each open parent, as it stands now; what ended meanwhile is a position."""
    first, second = bench.resting(2, 99), bench.resting(1, 98)
    bench.resting(1, 97, owner=API)
    bench.tell(ActorState("strategy:trend", "DOWN", "boom"))
    bench.fill(first, "0.5")
    bench.fill(second, 1)
    bench.sent.clear()
    bench.tell(AskPositions(TREND, 2))
    (snapshot,) = bench.take(TRADER, ParentSnapshot)
    assert (snapshot.update.order.parent_id, snapshot.update.cum_qty) == (first.parent_id, D("0.5"))
    (position,) = bench.take(TRADER, PositionUpdate)
    assert (position.qty, position.working_qty) == (D("1.5"), D("1.5"))
    assert bench.take(GATEWAY, CancelOrder) == []


# --- its loss ---------------------------------------------------------------------------------------------


def keeping(policy: Any) -> Config:
    return msgspec.structs.replace(CONFIG, strategies={TREND: StrategyConfig(on_owner_loss=policy)})


def lose(bench: Bench) -> None:
    bench.tell(ActorState("strategy:trend", "LOST", "3 restarts in 300 s"))


@pytest.mark.parametrize("policy", ["cancel", "keep"])
def test_owner_when_lost_then_its_policy_decides_and_protection_is_kept(policy: str) -> None:
    """`on_owner_loss: cancel | keep`; protective parents always stay, with an alarm that nobody owns them."""
    bench = Bench(config=keeping(policy)).ready()
    bench.bought(2)
    plain = bench.resting(1, 98)
    stop = bench.resting(2, 101, side="sell", protective=True, reduce_only=True)
    other = bench.resting(1, 97, owner=API)
    lose(bench)
    gone = [one.client_order_id for one in bench.take(GATEWAY, CancelOrder)]
    assert gone == ([plain.client_order_id] if policy == "cancel" else [])
    assert bench.alarms == ["unowned_protection"]
    assert bench.trading.parents[ParentId(stop.parent_id)].phase is Phase.WORKING
    assert bench.trading.parents[ParentId(other.parent_id)].phase is Phase.WORKING
    bench.check()


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("policy", ["cancel", "keep"])
def test_owner_when_lost_then_an_order_that_says_so_itself_goes_its_own_way(
    policy: str, *, restarted: bool
) -> None:
    """`on_owner_loss` and `protective` of any order win over the strategy's, also behind a restart."""
    bench = Bench(config=keeping(policy)).ready()
    other = "keep" if policy == "cancel" else "cancel"
    rests: dict[str, Any] = {"algo": "limit", "limit_price": D(90)}
    bench.submit(1, settings={"on_owner_loss": other}, **rests)
    bench.submit(1, settings={"protective": "TRUE", "on_owner_loss": "cancel"}, **rests)
    bench.submit(1, algo="stop", settings={"trigger_price": "110", "protective": "0", "on_owner_loss": other})
    for create in bench.take(GATEWAY, CreateOrder):
        bench.report(create, S.NEW)
    own, kept, armed = list(bench.trading.parents.values())
    assert (own.order.protective, kept.order.protective, armed.order.protective) == (False, True, False)
    if restarted:
        bench = Bench(config=keeping(policy), records=bench.records)
        bench.fold(restart=1)
        own, kept, armed = list(bench.trading.parents.values())
    lose(bench)
    ended = [one.phase in (Phase.COMPLETING, Phase.DONE) for one in (own, kept, armed)]
    assert ended == [other == "cancel", False, other == "cancel"]
    assert "unowned_protection" in bench.alarms


def test_owner_when_only_down_then_nothing_happens_to_its_parents(bench: Bench) -> None:
    """A crash that the supervisor answers by a restart is no loss; nor is another actor's."""
    bench.resting()
    bench.tell(ActorState("strategy:trend", "DOWN", "boom"), ActorState("strategy:other", "LOST", ""))
    assert bench.take(GATEWAY, CancelOrder) == []


def test_owner_when_lost_while_the_journal_is_read_then_its_policy_holds_after_the_fold(
    bench: Bench,
) -> None:
    """The supervisor says it once: an OMS that folds must not forget it."""
    create = bench.resting()
    again = Bench(records=bench.records)
    again.tell(Started(1))
    lose(again)
    again.fold(restart=1)
    assert create.client_order_id in [one.client_order_id for one in again.take(GATEWAY, CancelOrder)]


def test_owner_when_removed_from_the_configuration_then_its_parents_are_cancelled(bench: Bench) -> None:
    """Exhausted or removed: nobody will ever work with what it left; the humans' parents stay."""
    mine, human = bench.resting(1, 98), bench.resting(1, 97, owner=API)
    stop = bench.resting(1, 96, protective=True)
    again = Bench(records=bench.records, owners={})
    again.fold()
    gone = [one.client_order_id for one in again.take(GATEWAY, CancelOrder)]
    assert gone == [mine.client_order_id]
    assert again.alarms == ["unowned_protection"]
    live = again.trading.orders_live
    assert human.client_order_id in live
    assert stop.client_order_id in live


# --- taken out while the daemon trades --------------------------------------------------------------------


def take_out(bench: Bench) -> None:
    """Wire the order manager anew without strategies, as an edit does, and say so."""
    bench.oms = Oms(wiring(owners={}), bench.oms.state)
    bench.tell(ConfigChanged("cfg-2"))


@pytest.mark.parametrize("policy", ["cancel", "keep"])
def test_owner_when_taken_out_then_its_policy_decides_and_no_wish_waits_for_it(policy: str) -> None:
    """`keep` is that of a block which is there and disabled; what waited has nobody who decides it again."""
    bench = Bench(config=keeping(policy)).ready()
    create, human = bench.resting(1, 98), bench.resting(1, 97, owner=API)
    bench.target(5, algo="limit", limit_price=D(96))
    bench.report(bench.one(GATEWAY, CreateOrder), S.NEW)
    bench.target(9, algo="limit", limit_price=D(95))
    bench.take(GATEWAY, CancelOrder)
    assert len(bench.trading.wishes) == 1
    take_out(bench)
    assert not bench.trading.wishes
    assert [one.code for one in bench.take(STORE, Refusal)] == ["RESTARTING"]
    gone = [one.client_order_id for one in bench.take(GATEWAY, CancelOrder)]
    assert gone == ([create.client_order_id] if policy == "cancel" else [])
    assert bench.trading.parents[ParentId(human.parent_id)].phase is Phase.WORKING
    bench.check()


def test_owner_when_taken_out_then_what_it_had_sent_places_nothing(bench: Bench) -> None:
    """Its turn lay in the mail when the configuration changed: cancels hold, orders are refused."""
    create = bench.resting()
    bench.tell(AskPositions(TREND, 5))
    take_out(bench)
    bench.take(GATEWAY, CreateOrder)
    bench.tell(OwnerTurn(TREND, 9, None, (submit(1), CancelAll(TREND)), 5))
    assert bench.take(GATEWAY, CreateOrder) == []
    assert "turn_out_of_date" in bench.logs
    assert create.client_order_id in bench.trading.orders_live
    bench.sent.clear()
    bench.tell(AskPositions(TREND, 6))
    assert bench.sent == []


def test_owner_when_it_comes_back_then_hears_what_it_still_has(bench: Bench) -> None:
    """The same name is the same owner: its position and its memory are there."""
    bench.bought(2)
    take_out(bench)
    bench.oms = Oms(wiring(), bench.oms.state)
    bench.tell(ConfigChanged("cfg-3"), AskPositions(TREND, 7))
    (position,) = bench.take(TRADER, PositionUpdate)
    assert position.qty == D(2)


def test_owner_when_taken_out_then_spoken_of_once_and_not_at_each_edit(bench: Bench) -> None:
    """A protective order stays, and so does who is alarmed by it."""
    bench.bought(2)
    bench.resting(2, 101, side="sell", protective=True, reduce_only=True)
    take_out(bench)
    bench.tell(ConfigChanged("cfg-3"), ConfigChanged("cfg-4"))
    assert bench.alarms == ["unowned_protection"]


def test_owner_when_a_disabled_block_says_cancel_later_then_what_it_kept_ends() -> None:
    """The policy of the block that is there now is the one that counts."""
    bench = Bench(config=keeping("keep")).ready()
    create = bench.resting()
    take_out(bench)
    assert bench.take(GATEWAY, CancelOrder) == []
    bench.config = keeping("cancel")
    bench.tell(ConfigChanged("cfg-3"))
    assert [one.client_order_id for one in bench.take(GATEWAY, CancelOrder)] == [create.client_order_id]
