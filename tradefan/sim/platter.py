"""One file of the simulated disk: what readers see, and what a power loss leaves of it."""

from __future__ import annotations

import random

PAGE = 4096
SECTOR = 512
_FATES = ("kept", "lost", "mixed", "mixed")
"""Of all pages of one file together, or drawn for each."""


class Content:
    """One file: what readers see, what is on the platter, which pages of the two may differ."""

    def __init__(self) -> None:
        self.cache = bytearray()
        self.platter = bytearray()
        self.dirty: dict[int, None] = {}
        self.named = False
        """Whether the name itself would survive: since the first sync."""

    def write(self, offset: int, content: bytes) -> None:
        """Write to the cache."""
        end = offset + len(content)
        self._grow(end)
        self.cache[offset:end] = content
        self._soil(offset, end)

    def resize(self, size: int) -> None:
        """Cut the file, or lengthen it with zeros."""
        self._soil(size, len(self.cache))
        del self.cache[size:]
        self._grow(size)

    def sync(self) -> None:
        """Bring every dirty page to the platter."""
        size = len(self.cache)
        del self.platter[size:]
        self.platter.extend(bytes(size - len(self.platter)))
        for page in self.dirty:
            at = page * PAGE
            self.platter[at : at + PAGE] = self.cache[at : at + PAGE]
        self.dirty.clear()
        self.named = True

    def lose_power(self, chance: random.Random) -> None:
        """Let the platter be what a power loss leaves of both, and the cache what is read of it."""
        found, fate = bytearray(self.platter), chance.choice(_FATES)
        size = len(self.cache) if fate == "kept" else len(self.platter)
        if fate == "mixed" and len(self.cache) != len(self.platter):
            size = chance.choice((len(self.cache), len(self.platter)))
        del found[size:]
        found.extend(bytes(size - len(found)))
        for at in sorted(page * PAGE for page in self.dirty if page * PAGE < size):
            old, new = bytes(found[at : at + PAGE]), bytes(self.cache[at : at + PAGE])
            # Where the cache ends earlier, the cut itself was lost: what was there is there again.
            found[at : at + PAGE] = _outcome(chance, fate, old, (new + old[len(new) :])[: len(old)])
        self.platter, self.cache = found, bytearray(found)
        self.dirty.clear()
        self.named = True

    def _grow(self, size: int) -> None:
        was = len(self.cache)
        if size > was:
            self.cache.extend(bytes(size - was))
            self._soil(was, size)

    def _soil(self, start: int, end: int) -> None:
        for page in range(start // PAGE, (end + PAGE - 1) // PAGE):
            self.dirty[page] = None


def _outcome(chance: random.Random, fate: str, old: bytes, new: bytes) -> bytes:
    """Return a page behind a power loss: as written, as it was, or torn between the two."""
    if fate == "mixed":
        fate = chance.choice(("kept", "lost", "torn"))
    if fate == "kept":
        return new
    if fate == "lost":
        return old
    if chance.random() < 0.5:
        cut = chance.randrange(len(new) + 1)
        return new[:cut] + old[cut:] if chance.random() < 0.5 else old[:cut] + new[cut:]
    torn = bytearray(old)
    for at in range(0, len(new), SECTOR):
        if chance.random() < 0.5:
            torn[at : at + SECTOR] = new[at : at + SECTOR]
    return bytes(torn)
