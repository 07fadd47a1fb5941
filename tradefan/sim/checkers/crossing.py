"""Two own orders never trade with each other, by the venue's own book (I-39)."""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct

from tradefan.sim.checkers.base import Newer, Source, Watch
from tradefan.sim.witness import Kind, VenueOrder, Violation, Witness


class _Resting(Struct):
    """One of our orders that is open at the venue, and what of it."""

    order: VenueOrder
    left: Decimal


class NoOwnTrades(Watch):
    """I-39: an order of ours that the venue takes meets none of ours that is open there on the other side.

    A trade of the two is what would come of that. A venue that breaks its own bounds may show anything.
    """

    invariant: str = "I-39"
    kind: Kind = "V"
    watches: tuple[Source, ...] = ("venue",)

    def __init__(self) -> None:
        """Begin with an empty book."""
        self._log = Newer()
        self._open: dict[int, _Resting] = {}

    def after_step(self, seen: Witness) -> Violation | None:
        broken = None
        for event in self._log.of(seen.venue.log):
            number = event.order_id
            if number is None:
                continue
            if event.what == "accepted":
                broken = broken or self._taken(seen, seen.venue.orders[number])
            elif event.what in ("canceled", "expired"):
                self._open.pop(number, None)
            elif event.what == "fill" and number in self._open:
                self._open[number].left -= event.qty
                if self._open[number].left <= 0:
                    del self._open[number]
        return broken if seen.venue.honest else None

    def _taken(self, seen: Witness, order: VenueOrder) -> Violation | None:
        """Take an order of ours into the book, beside what rests there."""
        if not order.ours:
            return None
        met = next((one.order for one in self._open.values() if _would_trade(order, one.order)), None)
        self._open[order.order_id] = _Resting(order, order.qty)
        if met is None:
            return None
        found = f"{met.client_order_id}, {met.side} at {met.price}"
        expected = f"{order.client_order_id}, {order.side} at {order.price}, to meet none of ours"
        return self.broken(seen, expected, found)


def _would_trade(order: VenueOrder, other: VenueOrder) -> bool:
    if order.instrument != other.instrument or order.side == other.side:
        return False
    return order.price >= other.price if order.side == "buy" else order.price <= other.price
