"""The order book of one instrument from a snapshot and diffs, or no book at all.

Bootstrap by the rule of Binance spot (VENUES.md part 1): diffs are buffered until a snapshot comes,
older ones are dropped, and the first kept one must continue the snapshot's id without a hole. From
then on each diff continues the last one; a hole, or a sequence that was reset, discards the book and
begins again, so that a book is either right at its id or not there (I-21).

A snapshot has a range: beyond it levels are unknown until a diff names them. When the top has moved
half of the way to an end of the range a new snapshot is wanted, and taken over without a break; past
the end the top itself is unknown, and so there is no book.

Prices are kept in two sorted lists a side, worst first, asks negated: the best level is the last of
its list, where inserting and removing move nothing. With the 36 levels of a recorded diff this costs
a fifth more than a dict beside a sorted list, and nothing can disagree between the two.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

from msgspec import Struct

from tradefan.messages.market import BookDelta, BookSnapshot, Levels
from tradefan.units import InstrumentId, Side

IGNORED: Final = 0
"""Older than the book, or a duplicate."""
BUFFERED: Final = 1
"""There is no book yet; kept for the snapshot."""
APPLIED: Final = 2
GAP: Final = 3
"""The chain of ids broke: the book is gone; ask for a snapshot."""
TOO_OLD: Final = 4
"""The snapshot does not reach the buffered diffs; ask again."""

BUFFER_MAX = 2_000
"""Diffs that wait for a snapshot: more than three minutes at one each 100 ms."""
LEVELS_MAX = 5_000
"""Levels kept a side, as many as the venue gives in one snapshot; the worst go first."""
IGNORED_MAX = 20
"""So many old diffs in a row are a sequence that was reset, not a late or repeated frame."""

Top = tuple[float, float, float, float]
"""Best bid, its quantity, best ask, its quantity."""


class Book(Struct):
    """Levels of one instrument as of `last_id`; `synced` says whether there is a book."""

    bid_keys: list[float] = []
    bid_qtys: list[float] = []
    ask_keys: list[float] = []
    ask_qtys: list[float] = []
    last_id: int = 0
    synced: bool = False
    known_low: float = 0.0
    known_high: float = float("inf")
    renew_below: float = 0.0
    renew_above: float = float("inf")
    renewing: bool = False
    waiting: list[BookDelta] = []
    ignored: int = 0

    def apply(self, delta: BookDelta) -> int:
        """Take a diff: APPLIED, IGNORED, BUFFERED, or GAP when it broke the book."""
        if not self.synced:
            return self._buffer(delta)
        if delta.last_id <= self.last_id:
            self.ignored += 1
            if self.ignored < IGNORED_MAX:
                return IGNORED
            return self._begin_again(delta)
        if delta.first_id > self.last_id + 1:
            return self._begin_again(delta)
        self.ignored = 0
        self.last_id = delta.last_id
        if self.renewing:
            self._buffer(delta)
        if delta.bids:
            _change(self.bid_keys, self.bid_qtys, delta.bids, 1.0)
        if delta.asks:
            _change(self.ask_keys, self.ask_qtys, delta.asks, -1.0)
        if len(self.bid_keys) > LEVELS_MAX or len(self.ask_keys) > LEVELS_MAX:
            self._prune()
        return self._begin_again(delta) if self._top_unknown() else APPLIED

    def load(self, snapshot: BookSnapshot, limit: int = 0) -> int:
        """Take a snapshot and what was buffered: APPLIED, TOO_OLD, or GAP.

        A side with fewer than `limit` levels is whole; otherwise what lies beyond it is unknown.
        """
        kept = [delta for delta in self.waiting if delta.last_id > snapshot.last_id]
        self.waiting = kept
        if kept and kept[0].first_id > snapshot.last_id + 1:
            return TOO_OLD
        self.bid_keys, self.bid_qtys = _side(snapshot.bids, 1.0)
        self.ask_keys, self.ask_qtys = _side(snapshot.asks, -1.0)
        self.known_low = self.bid_keys[0] if len(self.bid_keys) >= limit > 0 else 0.0
        self.known_high = -self.ask_keys[0] if len(self.ask_keys) >= limit > 0 else float("inf")
        self.renew_below = (self.known_low + self.bid_keys[-1]) / 2 if self.known_low else 0.0
        self.renew_above = (self.known_high - self.ask_keys[-1]) / 2 if self.ask_keys else float("inf")
        self.last_id = snapshot.last_id
        self.ignored = 0
        self.synced = True
        self.waiting = []
        for delta in kept:
            self.apply(delta)
        return APPLIED if self.synced else GAP

    def wants_renewal(self) -> bool:
        """Say whether the top comes near what the snapshot did not tell, and nobody asked yet."""
        if self.renewing or not self.bid_keys or not self.ask_keys:
            return False
        return self.bid_keys[-1] < self.renew_below or -self.ask_keys[-1] > self.renew_above

    def begin_renewal(self) -> None:
        """Keep the diffs from now on for a snapshot that is asked for; the book goes on meanwhile."""
        self.renewing = True
        self.waiting = []

    def renew(self, snapshot: BookSnapshot, limit: int = 0) -> int:
        """Take a newer snapshot over without a break: APPLIED, or TOO_OLD and the book stays."""
        fresh = Book(waiting=self.waiting)
        if fresh.load(snapshot, limit) != APPLIED or fresh.last_id < self.last_id:
            return TOO_OLD
        for name in self.__struct_fields__:
            setattr(self, name, getattr(fresh, name))
        return APPLIED

    def drop(self) -> None:
        """Forget everything: the next diff begins a new bootstrap."""
        self.bid_keys, self.bid_qtys, self.ask_keys, self.ask_qtys = [], [], [], []
        self.waiting = []
        self.last_id = 0
        self.ignored = 0
        self.synced = self.renewing = False

    def top(self) -> Top | None:
        """Return the best bid and ask with quantities, None without a book or with an empty side."""
        if not self.synced or not self.bid_keys or not self.ask_keys:
            return None
        return self.bid_keys[-1], self.bid_qtys[-1], -self.ask_keys[-1], self.ask_qtys[-1]

    def qty_at(self, side: Side, price: float) -> float | None:
        """Return what rests at a price of the bids (`buy`) or asks, None where nobody knows."""
        if not self.synced:
            return None
        keys, qtys, key = (
            (self.bid_keys, self.bid_qtys, price) if side == "buy" else (self.ask_keys, self.ask_qtys, -price)
        )
        at = bisect_left(keys, key)
        if at < len(keys) and keys[at] == key:
            return qtys[at]
        known = price >= self.known_low if side == "buy" else price <= self.known_high
        return 0.0 if known else None

    def levels(self, side: Side, depth: int) -> Levels:
        """Return the best `depth` levels of a side, best first."""
        if side == "buy":
            return tuple(zip(self.bid_keys[: -depth - 1 : -1], self.bid_qtys[: -depth - 1 : -1], strict=True))
        prices = [-key for key in self.ask_keys[: -depth - 1 : -1]]
        return tuple(zip(prices, self.ask_qtys[: -depth - 1 : -1], strict=True))

    def snapshot(self, instrument: InstrumentId, recv_ns: int) -> BookSnapshot:
        """Return the whole book as a message."""
        bids, asks = self.levels("buy", LEVELS_MAX), self.levels("sell", LEVELS_MAX)
        return BookSnapshot(instrument, self.last_id, bids, asks, recv_ns)

    def _buffer(self, delta: BookDelta) -> int:
        if len(self.waiting) >= BUFFER_MAX:
            self.waiting.clear()
        self.waiting.append(delta)
        return BUFFERED

    def _begin_again(self, delta: BookDelta) -> int:
        self.drop()
        self.waiting.append(delta)
        return GAP

    def _top_unknown(self) -> bool:
        """Say whether the market left the range: better levels than the best may be missing."""
        bid = self.bid_keys[-1] if self.bid_keys else 0.0
        ask = -self.ask_keys[-1] if self.ask_keys else float("inf")
        return bid < self.known_low or ask > self.known_high

    def _prune(self) -> None:
        """Drop the worst levels beyond the bound; from there on nothing is known."""
        extra = len(self.bid_keys) - LEVELS_MAX
        if extra > 0:
            del self.bid_keys[:extra], self.bid_qtys[:extra]
            self.known_low = max(self.known_low, self.bid_keys[0])
        extra = len(self.ask_keys) - LEVELS_MAX
        if extra > 0:
            del self.ask_keys[:extra], self.ask_qtys[:extra]
            self.known_high = min(self.known_high, -self.ask_keys[0])


def _change(keys: list[float], qtys: list[float], levels: Levels, sign: float) -> None:
    """Set absolute quantities; zero removes, and removing what is not there is usual."""
    for price, qty in levels:
        key = sign * price
        at = bisect_left(keys, key)
        if at < len(keys) and keys[at] == key:
            if qty:
                qtys[at] = qty
            else:
                del keys[at], qtys[at]
        elif qty:
            keys.insert(at, key)
            qtys.insert(at, qty)


def _side(levels: Levels, sign: float) -> tuple[list[float], list[float]]:
    ordered = sorted({sign * price: qty for price, qty in levels if qty}.items())
    return [key for key, _ in ordered], [qty for _, qty in ordered]
