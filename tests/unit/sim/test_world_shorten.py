"""Shortening: what is left is needed, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradefan.sim.shorten import shorten

KINDS = tuple(f"kind{number}" for number in range(12))


@given(st.sets(st.sampled_from(KINDS), max_size=4))
def test_shorten_when_some_kinds_are_needed_then_exactly_those_are_left(needed: set[str]) -> None:
    """A failure that needs certain kinds is reported with them alone."""
    found = shorten(KINDS, needed.issubset, runs_max=1_000)
    assert found == tuple(kind for kind in KINDS if kind in needed)


@pytest.mark.parametrize("runs_max", [0, 1, 5])
def test_shorten_when_runs_are_spent_then_what_is_left_still_fails(runs_max: int) -> None:
    """Each run is a whole seed, so there are only so many; the answer is never wrong for that."""
    runs: list[tuple[str, ...]] = []

    def fails(kinds: Sequence[str]) -> bool:
        runs.append(tuple(kinds))
        return {"kind3", "kind9"}.issubset(kinds)

    found = shorten(KINDS, fails, runs_max)
    assert len(runs) <= runs_max
    assert {"kind3", "kind9"}.issubset(found)
