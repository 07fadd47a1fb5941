"""Where a replay begins to show and where it ends: an instant, a step, or an order's first record."""

from __future__ import annotations

import re
from typing import get_args

from msgspec import Struct

from tradefan.errors import Refused
from tradefan.messages.control import Append
from tradefan.messages.records import Record
from tradefan.replay.player import Played
from tradefan.stores.journal_tool import orders_of
from tradefan.units import DAY, parse_iso

_TIME = re.compile(r"\d\d:\d\d(:\d\d(\.\d+)?)?")
_STEP = re.compile(r"step:(\d{1,18})")
_ORDER = re.compile(r"[a-z2-7]{8,40}")
RECORDS = frozenset(get_args(Record))


class Bound(Struct, frozen=True):
    """One of the three."""

    at_ns: int | None = None
    step: int | None = None
    order: str | None = None

    def reached(self, number: int, now_ns: int) -> bool:
        """Say whether a step is at or behind an instant or a number."""
        if self.step is not None:
            return number >= self.step
        return self.at_ns is not None and now_ns >= self.at_ns

    def is_before(self, other: Bound) -> bool:
        """Say whether it is certain that it lies before another one."""
        if self.step is not None and other.step is not None:
            return self.step < other.step
        return self.at_ns is not None and other.at_ns is not None and self.at_ns < other.at_ns


def read_bound(option: str, text: str, recorded: tuple[int, int], *, orders: bool) -> Bound:
    """Return what a user's word means; `12:30:00` is the last such time that was recorded.

    `recorded` is when all recordings begin and about when they end: a time that is never in them is one of
    their last day. It may be an order's id where somebody takes `orders`.

    Raises:
        Refused: BAD_BOUND.
    """
    if found := _STEP.fullmatch(text):
        return Bound(step=int(found[1]))
    if orders and _ORDER.fullmatch(text) and not text.isdecimal():
        return Bound(order=text)
    try:
        if _TIME.fullmatch(text):
            begin_ns, end_ns = recorded
            at_ns = end_ns // DAY * DAY + parse_iso(f"1970-01-01T{text}")
            return Bound(at_ns=at_ns - DAY if at_ns > end_ns and at_ns - DAY >= begin_ns else at_ns)
        return Bound(at_ns=parse_iso(text))
    except Refused:
        instant = "an instant (2026-01-31T12:00:00Z or 12:00:00)"
        expected = f"{instant}, step:NUMBER or an order's id" if orders else f"{instant} or step:NUMBER"
        raise Refused("BAD_BOUND", f"{option}: expected {expected}, got {text!r}") from None


def records_of(played: Played) -> list[tuple[int, Record]]:
    """Return the records that a step gave to the journal, with their numbers."""
    return [
        numbered
        for _, effect in played.effects
        if isinstance(effect, Append)
        for numbered in enumerate(effect.records, effect.first_lsn)
    ]


def names(played: Played, order: str) -> bool:
    """Say whether a step's records speak of an order, or of a parent."""
    return any(order in orders_of(record) for _, record in records_of(played))
