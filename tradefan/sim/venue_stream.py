"""The private stream: what the book has to say, to every connection that subscribed.

Events may come in any order within 5 s, twice, or not at all for a while. A bust is the exception: the
venue repeats those that it made at each subscription, because nothing else ever names them again.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from tradefan.sim.personality import Chances, Personality
from tradefan.sim.venue_links import Hear
from tradefan.sim.venue_records import SimTrade
from tradefan.units import MS, plain
from tradefan.venues import paper_codec as codec
from tradefan.venues.paper_account import Told

TWICE_NS = 5_000 * MS


class Stream:
    """Turns what changed into events of the wire."""

    def __init__(self, personality: Personality, chances: Chances, symbols: dict[str, str]) -> None:
        """Begin; `cancel_ids` are client ids of cancels by order, until they are told."""
        self._personality = personality
        self._chances = chances
        self._symbols = symbols
        self._busts: list[bytes] = []
        self.cancel_ids: dict[int, str] = {}
        self._silent_ns = 0
        self._silent_met = True

    def silence(self, until_ns: int) -> None:
        """Lose all events until an instant."""
        self._silent_ns, self._silent_met = until_ns, False

    def publish(self, told: list[Told], at_ns: int, listeners: list[Hear]) -> int:
        """Tell all listeners; return when the last event about an order is heard."""
        last_ns = at_ns
        for item in told:
            if at_ns < self._silent_ns and listeners:
                self._lose(item)
                continue
            body = codec.event(item, self._symbols, self.cancel_ids) if listeners else b""
            for hear in listeners:
                last_ns = max(last_ns, self._send(body, at_ns, hear))
        return last_ns

    def _lose(self, item: Told) -> None:
        """Drop an event; the first of a while is written down."""
        if not self._silent_met:
            self._silent_met = True
            self._chances.note("stream_silent", item.what)

    def transferred(self, asset: str, qty: Decimal, at_ns: int, listeners: list[Hear]) -> None:
        """Tell of a deposit or a withdrawal."""
        at_ms = at_ns // MS
        body = _event({"e": "balanceUpdate", "E": at_ms, "a": asset, "d": plain(qty), "T": at_ms})
        for hear in listeners:
            self._send(body, at_ns, hear)

    def busted(self, trade: SimTrade, at_ns: int, listeners: list[Hear]) -> None:
        """Tell of a trade that was taken back or changed, now and to everybody who subscribes later."""
        at_ms = at_ns // MS
        head = {"e": "tradeBust", "E": at_ms, "T": at_ms, "s": self._symbols[trade.instrument]}
        body: dict[str, Any] = head | {"t": trade.number}
        if not trade.busted:
            body |= {"q": plain(trade.qty), "p": plain(trade.price)}
        self._busts.append(_event(body))
        for hear in listeners:
            self._send(self._busts[-1], at_ns, hear)

    def ended(self, at_ns: int) -> bytes:
        """Return the event that ends a subscription."""
        return _event({"e": "eventStreamTerminated", "E": at_ns // MS})

    def repeat(self, at_ns: int, hear: Hear) -> None:
        """Tell a new subscriber of all busts so far."""
        for body in self._busts:
            hear(at_ns + self._half(), body)

    def _send(self, body: bytes, at_ns: int, hear: Hear) -> int:
        chances = self._chances
        due_ns = at_ns + self._half()
        if chances.hit("stream_shuffle"):
            late_ns = self._personality.event.draw(chances.rng("event"))
            if late_ns and chances.happens("stream_shuffle"):
                due_ns += late_ns
        hear(due_ns, body)
        if chances.hit("stream_duplicated"):
            twice_ns = due_ns + chances.rng("event/twice").randint(0, TWICE_NS)
            if chances.happens("stream_duplicated"):
                hear(twice_ns, body)
        return due_ns

    def _half(self) -> int:
        return self._personality.latency_ns // 2


def _event(body: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"subscriptionId": codec.SUBSCRIPTION, "event": body})
