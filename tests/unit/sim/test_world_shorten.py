"""Shortening: what is left fails, is needed, and costs no more than there is to spend."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradefan.sim.shorten import Budget, shorten

ITEMS = tuple(range(12))


def plenty() -> Budget:
    return Budget(10_000, 1e9)


class Fails:
    """A failure by a rule; of what it was given all came up."""

    def __init__(self, rule: frozenset[int] | int) -> None:
        self.rule = rule
        self.runs: list[tuple[int, ...]] = []

    def __call__(self, items: Sequence[int]) -> Sequence[int] | None:
        self.runs.append(tuple(items))
        return items if self.holds(items) else None

    def holds(self, items: Sequence[int]) -> bool:
        """Say whether these fail: by a set that is needed, or by a coin of the list's own, as in a world."""
        if isinstance(self.rule, frozenset):
            return self.rule.issubset(items)
        found = blake2b(f"{self.rule} {tuple(items)}".encode(), digest_size=1).digest()[0]
        return tuple(items) == ITEMS or found < 80


@given(st.frozensets(st.sampled_from(ITEMS), max_size=4))
def test_shorten_when_some_items_are_needed_then_exactly_those_are_left(needed: frozenset[int]) -> None:
    """A failure that needs certain faults is reported with them alone, in their order."""
    assert shorten(ITEMS, Fails(needed), plenty()) == tuple(sorted(needed))


@given(st.integers(0, 10_000))
def test_shorten_when_items_depend_on_each_other_then_what_is_left_fails_and_each_is_needed(
    rule: int,
) -> None:
    """In a world without one fault the others do other things, so no more can be said than this."""
    fails = Fails(rule)
    found = shorten(ITEMS, fails, plenty())
    assert fails.holds(found)
    for index in range(len(found)):
        assert not fails.holds(found[:index] + found[index + 1 :])


@given(st.integers(0, 10_000))
def test_shorten_when_repeated_then_the_runs_and_the_list_are_the_same(rule: int) -> None:
    """A seed is reduced alike today and tomorrow."""
    first, again = Fails(rule), Fails(rule)
    assert shorten(ITEMS, first, plenty()) == shorten(ITEMS, again, plenty())
    assert first.runs == again.runs


def test_shorten_when_less_came_up_than_was_let_then_the_rest_is_not_tried() -> None:
    """A fault behind the failure, or behind one that is left out, costs no run."""
    tried: list[tuple[int, ...]] = []

    def fails(items: Sequence[int]) -> Sequence[int] | None:
        tried.append(tuple(items))
        return [one for one in items if one < 4] if 3 in items else None

    budget = plenty()
    assert shorten(tuple(range(1_000)), fails, budget) == (3,)
    assert budget.runs == len(tried) < 10
    assert not budget.spent


@pytest.mark.parametrize("runs_max", [0, 1, 5])
def test_shorten_when_runs_are_spent_then_what_is_left_still_fails(runs_max: int) -> None:
    """Each run is a whole seed, so there are only so many; the answer is never wrong for that."""
    fails, budget = Fails(frozenset({3, 9})), Budget(runs_max, 1e9)
    found = shorten(ITEMS, fails, budget)
    assert len(fails.runs) == budget.runs == runs_max
    assert fails.holds(found)
    assert budget.spent


def test_budget_when_a_run_would_not_end_in_time_then_it_is_not_begun() -> None:
    """Five minutes are five minutes: the longest run so far says what the next may take."""
    now_s = 0.0
    budget = Budget(1_000, 300, clock=lambda: now_s)
    for run_s in (1.0, 40.0, 2.0, 230.0):
        assert budget.take()
        now_s += run_s
    assert (now_s, budget.take(), budget.runs, budget.spent) == (273.0, False, 4, True)
    assert budget.seconds == 273.0


def test_budget_when_a_run_takes_longer_than_any_before_then_it_is_over_with_the_time() -> None:
    """What it would have shown is not known, so that something was left undone."""
    now_s = 0.0
    budget = Budget(1_000, 300, clock=lambda: now_s)
    assert budget.take()
    now_s = 300.0
    assert (budget.over(), budget.spent) == (False, False)
    now_s = 301.0
    assert (budget.over(), budget.spent) == (True, True)


def test_budget_when_one_run_takes_longer_than_there_is_then_none_is_begun() -> None:
    """The failing run itself says how long one takes."""
    assert not Budget(1_000, 10, longest_s=11.0).take()
