"""The book of a recording at any position: its one recorded snapshot and the diffs since.

Prices and quantities stay the strings of the recording, so that an answer reads like the venue's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec
from msgspec import Struct, field

from tradefan.errors import Outage

T = TypeVar("T")
Sides = list[tuple[str, str]]


class TapeBook:
    """Folds raw depth frames over a raw snapshot; frames that the snapshot already holds are skipped.

    Raises:
        Outage: the recording cannot be read, or has a hole, so that no book can be made of it.
    """

    def __init__(self, snapshot: bytes) -> None:
        start = _decoded(_SNAPSHOT, snapshot)
        self.last_id = start.last_id
        self._bids = dict(start.bids)
        self._asks = dict(start.asks)

    def fold(self, raw: bytes) -> None:
        """Apply one depth frame."""
        depth = _decoded(_FRAME, raw).data
        if depth.last_id <= self.last_id:
            return
        if depth.first_id > self.last_id + 1:
            raise Outage(f"expected a recorded depth frame from id {self.last_id + 1}, got {depth.first_id}")
        self.last_id = depth.last_id
        _apply(self._bids, depth.bids)
        _apply(self._asks, depth.asks)

    def lead_to(self, last_id: int, bids: Sides, asks: Sides) -> tuple[Sides, Sides]:
        """Become another book; return the changes that a depth frame has to have for that."""
        changes = []
        for side, wanted in ((self._bids, bids), (self._asks, asks)):
            levels = dict(wanted)
            gone = [(price, "0.00000000") for price in side if price not in levels]
            changes.append(gone + [level for level in wanted if side.get(level[0]) != level[1]])
            side.clear()
            side.update(levels)
        self.last_id = last_id
        return changes[0], changes[1]

    def body(self, limit: int) -> bytes:
        """Return the answer to the REST request for the book: best levels first."""
        return msgspec.json.encode(
            {
                "lastUpdateId": self.last_id,
                "bids": _best(self._bids, limit, lambda level: -float(level[0])),
                "asks": _best(self._asks, limit, lambda level: float(level[0])),
            }
        )


class _Snapshot(Struct):
    last_id: int = field(name="lastUpdateId")
    bids: Sides
    asks: Sides


class _Depth(Struct):
    first_id: int = field(name="U")
    last_id: int = field(name="u")
    bids: Sides = field(name="b")
    asks: Sides = field(name="a")


class _Frame(Struct):
    data: _Depth


_SNAPSHOT = msgspec.json.Decoder(_Snapshot)
_FRAME = msgspec.json.Decoder(_Frame)


def _decoded(decoder: msgspec.json.Decoder[T], raw: bytes) -> T:
    try:
        return decoder.decode(raw)
    except msgspec.DecodeError as error:
        raise Outage(f"expected a recorded book, got {raw[:80]!r}: {error}") from error


def _apply(side: dict[str, str], changes: Sides) -> None:
    for price, qty in changes:
        if qty.strip("0.") == "":
            side.pop(price, None)
        else:
            side[price] = qty


def _best(side: dict[str, str], limit: int, rank: Callable[[tuple[str, str]], float]) -> Sides:
    return sorted(side.items(), key=rank)[:limit]
