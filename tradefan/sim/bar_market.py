"""A market made of one-minute bars: sixty prints a minute, and a book that nobody's orders move.

A minute walks O-H-L-C or O-L-H-C, drawn by the seed, in three legs of the same time; its volume is spread
evenly over its seconds. Each print is a trade at the bid while the price falls, at the ask while it rises,
and the book stands around it. There is no queue and no impact: what rests trades with each print at its
price, or with the shown size where the book has come through it; what crosses takes the shown size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from random import Random
from typing import NamedTuple

from msgspec import Struct

from tradefan.units import MINUTE, SECOND, Side

PRINTS = 60
"""Of a bar, one a second."""
_LEGS = (0, 20, 40, PRINTS - 1)
"""The prints that are the four prices of the bar."""


class MinuteBar(NamedTuple):
    """A bar in whole ticks and lots."""

    open_ns: int
    open: int
    high: int
    low: int
    close: int
    lots: int


class Shown(Struct, frozen=True):
    """The book of an instrument: spread in ticks, size on either side in lots."""

    spread: int
    depth: int


class Print(NamedTuple):
    """A trade in ticks and lots, and the touch that stands behind it."""

    at_ns: int
    price: int
    lots: int
    taker_side: Side
    bid: int
    ask: int


# Measured on the recorded frames of 2024-08-08 (bookTicker, 73,174 of BTC and 58,758 of ETH): medians of the
# spread and of the size on both sides, in ticks of 0.01 and lots of 0.00001 and 0.0001.
RECORDED = {"BTC/USDT": Shown(1, 114_177), "ETH/USDT": Shown(1, 63_786)}


def prints(bar: MinuteBar, shown: Shown, seed: int) -> Iterator[Print]:
    """Return the prints of a bar, the first at its open and the last at its close."""
    random = Random(f"{seed}/{bar.open_ns}")  # noqa: S311 a market, not a secret
    turns = (bar.high, bar.low) if random.random() < 0.5 else (bar.low, bar.high)
    corners = (bar.open, *turns, bar.close)
    before, side = bar.open, "buy" if bar.close >= bar.open else "sell"
    for i in range(PRINTS):
        price = _at(corners, i)
        if price != before:
            side = "buy" if price > before else "sell"
        before = price
        lots = bar.lots * (i + 1) // PRINTS - bar.lots * i // PRINTS
        bid = price - shown.spread if side == "buy" else price
        yield Print(bar.open_ns + i * SECOND, price, lots, _side(side), bid, bid + shown.spread)


def _at(corners: Sequence[int], i: int) -> int:
    """Return the price of the i-th print on the way from corner to corner."""
    leg = max(number for number, first in enumerate(_LEGS[:-1]) if i >= first)
    first, last = _LEGS[leg], _LEGS[leg + 1]
    return corners[leg] + round((corners[leg + 1] - corners[leg]) * (i - first) / (last - first))


def _side(word: str) -> Side:
    return "buy" if word == "buy" else "sell"


class BarMarket:
    """The market of one instrument, second by second; `bars` follow one another without a hole."""

    def __init__(self, bars: Sequence[MinuteBar], shown: Shown, seed: int) -> None:
        """Begin before the first bar."""
        for before, bar in pairwise(bars):
            assert bar.open_ns == before.open_ns + MINUTE, f"expected a bar behind {before}, got {bar}"
        self.shown = shown
        self.now: Print | None = None
        self.lots = 0
        """What has traded so far, of others."""
        self.value = 0
        """Price x lots of that."""
        self._prints = (one for bar in bars for one in prints(bar, shown, seed))

    def step(self) -> Print | None:
        """Go on to the next print and return it; None at the end."""
        self.now = next(self._prints, None)
        if self.now is not None:
            self.lots += self.now.lots
            self.value += self.now.price * self.now.lots
        return self.now

    def taken(self, side: Side, limit: int, lots: int) -> tuple[int, int]:
        """Return (price, lots) that an order at once gets: the shown size at the touch, inside its limit."""
        assert self.now is not None, "expected a print before an order"
        price = self.now.ask if side == "buy" else self.now.bid
        beyond = price > limit if side == "buy" else price < limit
        return price, 0 if beyond else min(lots, self.shown.depth)

    def crosses(self, side: Side, limit: int) -> bool:
        """Say whether an order at this price would take."""
        return self.taken(side, limit, 1)[1] > 0

    def met(self, side: Side, limit: int, lots: int) -> int:
        """Return how much of a resting order trades at its limit, with the print or a book beyond it."""
        one = self.now
        assert one is not None, "expected a print before an order"
        beyond = one.ask <= limit if side == "buy" else one.bid >= limit
        if beyond:
            return min(lots, max(self.shown.depth, one.lots))
        return min(lots, one.lots) if one.price == limit and one.taker_side != side else 0
