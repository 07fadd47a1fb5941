"""The catalogue of deliberate faults: each still is what it says, so that `make mutants` proves something."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import PACKAGE, ROOT, WALKS, Change, Mutant, applied
from tests.mutants.run import TRACE
from tradefan.sim.checkers import CHECKERS
from tradefan.sim.damage import INVARIANT as DAMAGE

KNOWN = {*(make.invariant for make in CHECKERS), DAMAGE, TRACE, WALKS}
SOURCES = ROOT / PACKAGE


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: str(one.name))
def test_mutant_when_applied_then_it_changes_the_present_source_and_compiles(mutant: Mutant) -> None:
    """Its text stands exactly once where it says, and what comes of it is a program."""
    texts = applied(mutant, SOURCES)
    assert texts
    for path, text in texts.items():
        assert text != path.read_text(encoding="utf-8")
        compile(text, str(path), "exec")


def test_mutant_when_the_source_has_moved_on_then_it_is_not_applied() -> None:
    """What is not there any more, or more than once, would attack the program as it is."""
    for old in ("this stands nowhere", "import"):
        stale = Mutant("stale", "none", (Change("core/ids.py", old, "x"),), ("I-01",))
        with pytest.raises(ValueError, match="stale"):
            applied(stale, SOURCES)


def test_catalogue_when_read_then_there_are_enough_each_with_its_own_name_and_known_invariants() -> None:
    """At least 40, none twice, and each names checkers that exist."""
    assert len(MUTANTS) >= 40
    assert [name for name, count in Counter(one.name for one in MUTANTS).items() if count > 1] == []
    assert len({one.mistake for one in MUTANTS}) == len({one.changes for one in MUTANTS}) == len(MUTANTS)
    for one in MUTANTS:
        assert one.invariants, one.name
        assert set(one.invariants) <= KNOWN, one.name
        assert one.hash_seeds == (one.invariants == (TRACE,)), one.name
        assert (one.judge == "walks") == (one.invariants == (WALKS,)), one.name
