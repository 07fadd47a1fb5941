"""What a deliberate fault is: a realistic mistake in the program, and the invariants that should see it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from msgspec import Struct

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "tradefan"
WALKS = "WALKS"
"""In the place of an invariant: a rule of the walker of the property tests."""


class Change(Struct, frozen=True):
    """A text of a file of the package that stands there once, and what the mistake makes of it."""

    file: str
    old: str
    new: str


class Mutant(Struct, frozen=True):
    """One mistake; it has several changes where the program guards one promise in several places."""

    name: str
    mistake: str
    """What a person got wrong."""
    changes: tuple[Change, ...]
    invariants: tuple[str, ...]
    """Who should see it."""
    hash_seeds: bool = False
    """Seen by running a seed under two PYTHONHASHSEEDs: their traces differ (I-42)."""
    shows_always: bool = False
    """The mistake itself shows in a seed without faults; every other mutant has to pass one."""
    judge: Literal["seeds", "walks"] = "seeds"
    """Who has to see it: the simulated world, or the walker, where it is arithmetic that no world shows."""


def applied(mutant: Mutant, package: Path) -> dict[Path, str]:
    """Return the new content of the files of a copy of the package that a mutant changes.

    Raises:
        ValueError: the program has moved on, or a change changes nothing.
    """
    found: dict[Path, str] = {}
    for change in mutant.changes:
        path = package / change.file
        text = found.get(path) or path.read_text(encoding="utf-8")
        count = text.count(change.old)
        if count != 1 or change.old == change.new:
            raise ValueError(
                f"{mutant.name}: expected its text once in {change.file}, found it {count} times"
            )
        found[path] = text.replace(change.old, change.new)
    return found
