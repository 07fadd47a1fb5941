"""Trades that a liar keeps to itself for a while: its orders count them, its trades do not show them.

From a trade of ours on, no list of trades and no event of the private stream tells of ours until the
while is over; then the list does. All lists end at the same trade meanwhile: of what came later none shows
either, so that no id is passed over.
"""

from __future__ import annotations

from tradefan.sim.personality import Chances
from tradefan.sim.venue_records import SimTrade
from tradefan.units import SECOND

HIDDEN_NS = (30 * SECOND, 90 * SECOND)


class Hidden:
    """The while that runs, if any."""

    def __init__(self, chances: Chances) -> None:
        """Begin with everything in the open."""
        self._chances = chances
        self._since_ns = self._until_ns = self._last_ns = 0

    def happened(self, trade: SimTrade) -> None:
        """Take note of a trade of ours, which may begin a while where it is the first of its instant."""
        first, self._last_ns = trade.at_ns > self._last_ns, trade.at_ns
        if first and trade.at_ns >= self._until_ns and self._chances.hit("trade_hidden"):
            length_ns = self._chances.rng("trade_hidden/length").randint(*HIDDEN_NS)
            if self._chances.happens("trade_hidden", f"{trade.client_order_id} {length_ns / SECOND:g} s"):
                self._since_ns, self._until_ns = trade.at_ns, trade.at_ns + length_ns

    def hides(self, at_ns: int) -> bool:
        """Say whether a trade that happens now is not told."""
        return at_ns < self._until_ns

    def shown_ns(self, as_of_ns: int, at_ns: int) -> int:
        """Return the instant of which a list shows the trades that would show them as of another."""
        return min(as_of_ns, self._since_ns - 1) if self.hides(at_ns) else as_of_ns

    def heal(self) -> None:
        """Show everything."""
        self._until_ns = 0
