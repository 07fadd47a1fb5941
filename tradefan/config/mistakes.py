"""What is wrong with a configuration: every mistake with its place, what was expected, and a way out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from msgspec import Struct

from tradefan.errors import Refused

_SHOWN = 80
"""Characters of a value that a message repeats."""


class Mistake(Struct, frozen=True):
    """One thing to correct. `file` may be an environment variable or `--set` too, which have no line."""

    file: str
    line: int | None
    key: str
    value: str | None
    expected: str
    hint: str = ""

    def __str__(self) -> str:
        """Return one line: place, key, expectation, value, hint."""
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        named = not self.key or place.endswith(f" {self.key}")
        where = f"{place}: " if named else f"{place}: {self.key}: "
        got = "" if self.value is None else f", got {self.value}"
        return f"{where}expected {self.expected}{got}{'; ' if self.hint else ''}{self.hint}"


class ConfigInvalid(Refused):
    """A configuration was refused; `mistakes` are all of them, in the order of files and lines."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("CONFIG_INVALID", "\n".join(str(mistake) for mistake in self.mistakes))


def meant(word: str, known: Iterable[str]) -> str:
    """Return `did you mean x?` or, when nothing is near, the few words that would do."""
    words = sorted(known)
    near = get_close_matches(word, words, n=1, cutoff=0.55)
    if near:
        return f"did you mean {near[0]}?"
    return f"known here: {', '.join(words)}" if 0 < len(words) <= 20 else ""


def shown(text: str) -> str:
    """Return a value as a message repeats it: one line of printable characters, cut when long."""
    cut = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return cut if cut.isprintable() and cut.strip() == cut and cut else repr(cut)
