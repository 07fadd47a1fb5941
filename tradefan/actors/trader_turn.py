"""What a handler returned, as the commands of its turn: each wish became a command or was refused."""

from __future__ import annotations

from msgspec import Struct

from tradefan.actors.trader_state import TraderWiring
from tradefan.core.wish import Order, Sender, message_of
from tradefan.errors import Defect, Refused
from tradefan.messages.orders import Refusal
from tradefan.strategy.view import Picture, find_instrument
from tradefan.strategy.wishes import CancelWish, Wish
from tradefan.units import InstrumentId

WISHES_MAX = 256
"""Wishes of one turn, which is one message: a flood must not get past the OMS's commands lane in it."""


class Part(Struct, frozen=True):
    """One wish of a turn with its id: the command that it became, or why it became none."""

    wish: Wish
    ref: str
    instrument: InstrumentId | None
    command: Order | None
    no: Refused | None = None


def wishes_of(name: str, answer: object) -> tuple[Wish, ...]:
    """Return what a handler of the strategy `name` returned as wishes.

    Raises:
        Defect: it returned something else, or more than a turn may hold.
    """
    listed: tuple[object, ...] = tuple(answer) if isinstance(answer, tuple | list) else (answer,)
    if len(listed) > WISHES_MAX:
        raise Defect(f"{name}: a handler returns at most {WISHES_MAX} wishes, not {len(listed)}")
    wishes: list[Wish] = []
    for wish in listed:
        if not isinstance(wish, Wish):
            raise Defect(f"{name}: a handler returns wishes (target, buy, sell, cancel) or (), not {wish!r}")
        wishes.append(wish)
    return tuple(wishes)


def part_of(wish: Wish, ref: str, wiring: TraderWiring, picture: Picture) -> Part:
    """Return a wish with its command, in whole lots and with the quotes of this instant."""
    instrument: InstrumentId | None = None
    sender = Sender(wiring.account, wiring.owner, ref, wiring.capital)
    try:
        symbol = None if isinstance(wish, CancelWish) else wish.symbol
        if symbol is not None:
            instrument = find_instrument(picture.instruments, wiring.venue, symbol)
        rules = picture.instruments[instrument] if instrument else None
        quote = picture.quotes.get(instrument) if instrument else None
        return Part(wish, ref, instrument, message_of(wish, sender, rules, quote))
    except Refused as no:
        return Part(wish, ref, instrument, None, no)


def refusal_of(part: Part, wiring: TraderWiring, now_ns: int) -> Refusal:
    """Return why a part of a turn was not sent; without a reason of its own there was no room."""
    no = part.no or Refused("QUEUE_FULL", "the order manager takes no more commands now")
    return Refusal(
        account=wiring.account,
        instrument=part.instrument,
        owner=wiring.owner,
        ref=part.ref,
        code=no.code,
        text=no.text,
        limit=None,
        used=None,
        would_pass=None,
        at_ns=now_ns,
    )
