"""Output commit: nobody outside sees what the journal does not hold yet (ARCHITECTURE.md part 7).

A guarded effect (a create, a replacement, the answer to a submit) carries the last lsn of its turn
and leaves when `durable >= lsn`, in one queue for all. Cancels and looks never come here. A cancel
whose create still waits takes it out, and so does everything that forbids creates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from msgspec import Struct, field

from tradefan.messages.gateway import CreateOrder, ReplaceOrder
from tradefan.messages.orders import Answer
from tradefan.units import ClientOrderId

Placing: TypeAlias = CreateOrder | ReplaceOrder
Guarded: TypeAlias = Placing | Answer


class Waiting(Struct, frozen=True):
    """One effect that waits for its lsn."""

    lsn: int
    effect: Guarded


class Outbox(Struct):
    """Effects in order of their turns; `durable` is what the journal has confirmed."""

    durable: int = 0
    waiting: list[Waiting] = field(default_factory=list)


def create_of(effect: Guarded) -> CreateOrder | None:
    """Return the create inside an effect, None where it places nothing."""
    if isinstance(effect, ReplaceOrder):
        return effect.create
    return effect if isinstance(effect, CreateOrder) else None


def created_by(effect: Guarded) -> ClientOrderId | None:
    """Return the order that an effect would place."""
    create = create_of(effect)
    return None if create is None else create.client_order_id


def put(outbox: Outbox, lsn: int, effect: Guarded) -> None:
    """Let an effect wait for the records of its turn."""
    assert not outbox.waiting or outbox.waiting[-1].lsn <= lsn
    outbox.waiting.append(Waiting(lsn, effect))


def confirm(outbox: Outbox, lsn: int) -> None:
    """Note that everything up to `lsn` is durable; an older word changes nothing."""
    outbox.durable = max(outbox.durable, lsn)


def release(outbox: Outbox) -> tuple[Guarded, ...]:
    """Take out what may leave now, in order."""
    count = 0
    for item in outbox.waiting:
        if item.lsn > outbox.durable:
            break
        count += 1
    free = tuple(item.effect for item in outbox.waiting[:count])
    del outbox.waiting[:count]
    return free


def remove(outbox: Outbox, client_order_id: ClientOrderId) -> bool:
    """Take out the create of an order that nobody wants any more; False when it has left."""
    return bool(drop(outbox, lambda create: create.client_order_id == client_order_id))


def creates(outbox: Outbox) -> dict[ClientOrderId, None]:
    """Return the orders whose creates have not left."""
    names = (created_by(item.effect) for item in outbox.waiting)
    return {name: None for name in names if name is not None}


def drop(outbox: Outbox, forbidden: Callable[[CreateOrder], bool]) -> tuple[Placing, ...]:
    """Take out the creates that something forbids now; answers stay."""
    gone: list[Placing] = []
    kept: list[Waiting] = []
    for item in outbox.waiting:
        create = create_of(item.effect)
        if create is not None and forbidden(create):
            assert not isinstance(item.effect, Answer)
            gone.append(item.effect)
        else:
            kept.append(item)
    if gone:
        outbox.waiting = kept
    return tuple(gone)
