"""Asks the store for what traded on earlier days, instrument after instrument, and tells the order manager.

At the start, when the order manager began anew, and when a day of UTC has ended. Nothing waits for it: a
store that does not answer leaves the volume curves as they are.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct, field

from tradefan.core.curve import HISTORY_DAYS
from tradefan.messages.control import StoreAck, StoreBatch, Timer, VolumesAsked
from tradefan.runtime.actor import Context
from tradefan.units import DAY, MINUTE, InstrumentId, Ref

DAY_OVER = "day_over"
GRACE_NS = 2 * MINUTE
"""Until the last bars of a day are in the store."""


class Inquiry(Struct):
    """Whose volumes are still wanted. Numbers of questions are below zero: those of batches are not."""

    wanted: list[InstrumentId] = field(default_factory=list)
    known: list[InstrumentId] = field(default_factory=list)
    asked: InstrumentId | None = None
    number: int = 0
    armed: bool = False


def want(inquiry: Inquiry, instruments: Iterable[str], ctx: Context) -> None:
    """Begin anew with all of them; ask again when this day has ended."""
    inquiry.wanted = [InstrumentId(name) for name in instruments]
    inquiry.known = [*inquiry.wanted]
    inquiry.asked = None
    if not inquiry.armed:
        inquiry.armed = True
        ctx.after(DAY - ctx.now_ns % DAY + GRACE_NS, Timer(DAY_OVER))


def want_more(inquiry: Inquiry, instruments: Iterable[str]) -> None:
    """Want those, too, that nobody has wanted before: they are observed from now on."""
    more = [InstrumentId(name) for name in instruments if name not in inquiry.known]
    inquiry.wanted += more
    inquiry.known += more


def ask_next(inquiry: Inquiry, store: Ref, ctx: Context) -> None:
    """Ask for the next one, unless an answer is awaited; without room it is asked with the next occasion."""
    if inquiry.asked is not None or not inquiry.wanted:
        return
    name, today = inquiry.wanted[0], ctx.now_ns // DAY
    ask = VolumesAsked(name, today - HISTORY_DAYS, today)
    if ctx.send(store, StoreBatch(-inquiry.number - 1, (), None, None, ask)):
        inquiry.number += 1
        inquiry.asked = name
        del inquiry.wanted[0]


def take(inquiry: Inquiry, msg: StoreAck, oms: Ref, ctx: Context) -> None:
    """Tell what was found; an answer to a question of before is passed over."""
    if msg.batch_id == -inquiry.number:
        inquiry.asked = None
        for days in msg.found:
            ctx.send(oms, days)


def lost(inquiry: Inquiry) -> None:
    """Ask again what a link that ended took with it."""
    if inquiry.asked is not None:
        inquiry.wanted.insert(0, inquiry.asked)
        inquiry.asked = None
