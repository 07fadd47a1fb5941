"""Owners: a strategy's turn as one transaction, what an owner is told when it begins anew, its loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tradefan.actors.oms_executor import recipe_of
from tradefan.actors.oms_parents import complete
from tradefan.actors.oms_state import Turn
from tradefan.actors.oms_submit import end_wish, lose_wishes, refusal_of, refuse
from tradefan.contracts import RiskRefused
from tradefan.core.trading import ParentState
from tradefan.core.trading_state import OwnerMemoryState
from tradefan.core.updates import parent_update
from tradefan.messages.control import ActorState, AnyCommand
from tradefan.messages.orders import (
    CancelAll,
    CancelParent,
    OrderStatus,
    OwnerMemory,
    OwnerTurn,
    ParentSnapshot,
    SetTarget,
)
from tradefan.messages.records import OwnerState
from tradefan.units import OwnerId, Ref

STRATEGY = "strategy:"
"""Begins the name of the actor of an owner."""
HUMANS = ("api", "cli")
_LOST_WISH = RiskRefused("RESTARTING", "it waited for the end of another order, and was lost: decide again")
LOST = "LOST"
"""What the supervisor says of an actor that stays down."""


def on_owner_turn(
    turn: Turn, wish: OwnerTurn, handlers: dict[type[Any], Callable[[Turn, Any], None]]
) -> None:
    """Take a strategy's commands and its changed state together: both become durable, or neither."""
    if not turn.live.running:
        # Its State is not on record: an owner that has not begun yet knows nothing of this turn.
        refuse_whole(turn, wish, RiskRefused("RESTARTING", "the journal is being read"))
        return
    if wish.asked != turn.live.asked.get(wish.owner, 0):
        _refuse_stale(turn, wish, handlers)
        return
    known = turn.trading.owners.get(wish.owner, OwnerMemoryState())
    if wish.turn <= known.turn:
        turn.log("error", "turn_repeated", owner=wish.owner, turn=wish.turn, known=known.turn)
        return
    turn.emit(OwnerState(turn.now, wish.owner, wish.turn, wish.state))
    if wish.state is not None or not turn.live.closing:
        # In a stop an owner that has not begun may speak, too: without a State, and it has heard of nothing.
        for place in _lost_of(turn, wish.owner):
            # What was lost since it asked, by the stop say, is for the next instance to hear.
            if place in turn.live.told_wishes:
                end_wish(turn, place)
    for command in wish.commands:
        handlers[type(command)](turn, command)


def _refuse_stale(
    turn: Turn, wish: OwnerTurn, handlers: dict[type[Any], Callable[[Turn, Any], None]]
) -> None:
    """Refuse a turn whose sender does not know what we know of it; its State is not journaled either."""
    turn.log("warning", "turn_out_of_date", owner=wish.owner, turn=wish.turn)
    if wish.owner in turn.live.asked:
        # A dead predecessor's turn: its successor has been told a state without it.
        refuse_whole(turn, wish, RiskRefused("RESTARTING", "the strategy was restarted: it decides again"))
        return
    # We began anew, and it has not asked us yet: turns before this one may have gone with our predecessor.
    no = RiskRefused("RESTARTING", "the order manager was restarted: it is not ready yet")
    for command in wish.commands:
        if isinstance(command, CancelParent | CancelAll):
            # Cancels never wait, and no State depends on them.
            handlers[type(command)](turn, command)
        else:
            refuse(turn, command, no)


def refuse_whole(turn: Turn, wish: AnyCommand, no: RiskRefused) -> None:
    """Refuse a command, or each command of a strategy's turn."""
    for command in wish.commands if isinstance(wish, OwnerTurn) else (wish,):
        refuse(turn, command, no)


def tell_memory(turn: Turn, ref: Ref | None, owner: OwnerId) -> None:
    """Tell an owner that begins anew what it works on, what it journaled last, and which wish was lost."""
    for parent in turn.open_parents(lambda item: item.order.owner == owner):
        turn.send(ref, ParentSnapshot(owner, parent_update(parent)))
    known = turn.trading.owners.get(owner, OwnerMemoryState())
    lost = _lost_of(turn, owner)
    turn.live.told_wishes.update(dict.fromkeys(lost))
    refused = tuple(refusal_of(turn, wish, _LOST_WISH) for wish in lost.values())
    turn.send(ref, OwnerMemory(owner, known.turn, known.state, refused))


def _lost_of(turn: Turn, owner: OwnerId) -> dict[str, SetTarget]:
    return {place: wish for place, wish in turn.live.lost_wishes.items() if wish.owner == owner}


def on_owner_state(turn: Turn, msg: ActorState) -> None:
    """Take note that an owner is lost; before the fold nobody knows yet what it worked on."""
    owner = OwnerId(msg.name.removeprefix(STRATEGY))
    if msg.state != LOST or owner not in turn.wiring.owners:
        return
    if turn.live.running:
        _lost(turn, owner, msg.text)
    else:
        turn.live.lost[owner] = msg.text


def act_on_losses(turn: Turn) -> None:
    """Behind the fold: end what lost owners worked on, and owners that the configuration has no more.

    Nothing is sent without a new decision: a wish that has waited is for its owner to decide again.
    """
    lose_wishes(turn)
    lost, turn.live.lost = turn.live.lost, {}
    for owner, why in lost.items():
        _lost(turn, owner, why)
    end_strangers(turn)


def end_strangers(turn: Turn) -> None:
    """End what owners worked on that the configuration has no more: nobody is left to decide."""

    def is_stranger(owner: OwnerId) -> bool:
        return owner not in turn.wiring.owners and owner not in HUMANS

    for owner in [owner for owner in turn.live.asked if is_stranger(owner)]:
        # A turn that is still on its way comes from nobody.
        del turn.live.asked[owner]
    for place, wish in tuple(turn.trading.wishes.items()):
        if is_stranger(wish.owner):
            end_wish(turn, place)
            refuse(turn, wish, _LOST_WISH)
    parents = turn.open_parents(lambda item: is_stranger(item.order.owner))
    owners = dict.fromkeys(parent.order.owner for parent in parents)
    for owner in owners:
        # Who kept an order is spoken of once, not at each edit.
        known = owner in turn.live.strangers
        _lost(turn, owner, "not in the configuration any more", "debug" if known else "warning")
    turn.live.strangers = owners


def _lost(turn: Turn, owner: OwnerId, why: str, level: str = "error") -> None:
    """Let parents end by their own policy, else by their owner's; protection is always kept."""
    config = turn.config.strategies.get(owner)
    policy = "cancel" if config is None else config.on_owner_loss
    if policy == "cancel":
        lose_wishes(turn, owner)
    protected = []
    for parent in turn.open_parents(lambda item: item.order.owner == owner):
        if parent.order.protective:
            protected.append(parent.order.parent_id)
        elif _policy_of(parent, policy) == "cancel":
            complete(turn, parent, OrderStatus.CANCELED, "owner lost")
    turn.log(level, "owner_lost", owner=owner, policy=policy, reason=why)
    if protected and level != "debug":
        turn.log("critical", "unowned_protection", owner=owner, parents=protected)


def _policy_of(parent: ParentState, owners: str) -> str:
    """Return what a parent says of the loss of its owner, else what its owner does."""
    recipe = recipe_of(parent.order)
    return (None if recipe is None else recipe.settings.on_owner_loss) or owners
