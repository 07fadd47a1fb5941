"""Frames that say nothing usable: counted, the newest kept for whoever looks for the cause."""

from __future__ import annotations

from msgspec import Struct

from tradefan.units import SECOND

KEPT_MAX = 100
BYTES_MAX = 1024
"""Of each frame so much is kept, in hex: it may be anything but text."""
FLOOD_MAX = 20
FLOOD_NS = 10 * SECOND
"""So many bad frames of one socket in so long a time: the socket is useless."""


class Quarantined(Struct, frozen=True):
    """One bad frame."""

    at_ns: int
    kind: str
    text: str
    head: str
    size: int


class Quarantine(Struct):
    """The last bad frames, how many of each kind there were, and when the last ones came."""

    kept: list[Quarantined] = []
    counts: dict[str, int] = {}
    recent_ns: list[int] = []

    def put(self, at_ns: int, kind: str, text: str, body: bytes) -> bool:
        """Keep a bad frame; True when its socket floods us with them."""
        self.kept.append(Quarantined(at_ns, kind, text, body[:BYTES_MAX].hex(), len(body)))
        del self.kept[:-KEPT_MAX]
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.recent_ns.append(at_ns)
        del self.recent_ns[:-FLOOD_MAX]
        return len(self.recent_ns) == FLOOD_MAX and at_ns - self.recent_ns[0] <= FLOOD_NS

    def begin_anew(self) -> None:
        """Another socket: what the last one sent does not count against it."""
        self.recent_ns.clear()

    @property
    def total(self) -> int:
        """All bad frames so far."""
        return sum(self.counts.values())
