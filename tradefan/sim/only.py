"""Which single faults of a seed happen: all, or only those that are named by kind and number.

What is left out is drawn all the same and then not done, so that every stream of chance goes on as it
would have, and the rest of the world is the same but for it. Numbers count from 0: those of planned
faults stand in the plan (`sim.faults`), those of all others are their order in the run.
"""

from __future__ import annotations

from collections.abc import Iterable

COMES_WITH = 1_000
"""From here count those of a planned kind that come with another fault, such as a kill."""


class Only:
    """The faults that are let happen, and those that came up: what a failing seed is reduced to."""

    def __init__(self, words: Iterable[str] | None = None) -> None:
        """Let everything happen, or these words only: `KIND` or `KIND:NUMBER`."""
        self._words = None if words is None else frozenset(words)
        self._counts: dict[str, int] = {}
        self.happened: dict[str, None] = {}
        """Words of those that were let happen, in their order; one may have found nothing to do."""

    def lets(self, kind: str, number: int | None = None) -> bool:
        """Say whether a fault may happen; one without a number holds all the time."""
        word = kind if number is None else f"{kind}:{number}"
        let = self._words is None or kind in self._words or word in self._words
        if let:
            self.happened[word] = None
        return let

    def drawn(self, kind: str, first: int = 0) -> bool:
        """Say whether a fault that was just drawn may happen; each call is one of its kind."""
        number = self._counts.get(kind, first)
        self._counts[kind] = number + 1
        return self.lets(kind, number)


def kind_of(word: str) -> str:
    """Return the kind that a word names."""
    return word.partition(":")[0]
