"""RELIABILITY.md is what its sources say, and these name what exists: checkers, tests, failures."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.failure_table import carried, catalogue
from tests.proof.figures import load_all
from tests.proof.promises import Book, checkers, read
from tests.proof.render import page
from tests.proof.stamp import PAGE, PLACE, ROOT

BOOK = read()


def paths(book: Book) -> Iterator[str]:
    """Give every test that something names."""
    for promise in book.promises:
        yield from promise.tests
    for invariant in book.invariants.values():
        yield from invariant.tests
    for experiment in book.experiments.values():
        yield from experiment.tests


def test_page_when_its_sources_change_then_it_is_written_anew() -> None:
    """`python -m tests.proof render` has been run since, and nobody has edited the page."""
    assert PAGE.read_text(encoding="utf-8") == page(BOOK, load_all(PLACE))


def test_promise_when_made_then_something_guards_it_and_that_exists() -> None:
    """Invariants, experiments and failures are those that are there, and a test carries each failure."""
    tests = carried()
    for promise in BOOK.promises:
        guards = (*promise.invariants, *promise.experiments, *promise.failures, *promise.tests)
        assert guards, promise.title
        assert set(promise.invariants) <= BOOK.invariants.keys(), promise.title
        assert set(promise.experiments) <= BOOK.experiments.keys(), promise.title
        assert set(promise.failures) <= tests.keys(), promise.title
    titles = [promise.title for promise in BOOK.promises]
    assert len(set(titles)) == len(titles)


def test_checker_when_in_the_simulator_then_a_promise_stands_on_it() -> None:
    """Each checker is named once, under the id that its violations carry."""
    named = [(name, checker) for name, one in BOOK.invariants.items() for checker in one.checkers]
    assert sorted(named) == sorted((one.invariant, name) for name, one in checkers().items())
    promised = {name for promise in BOOK.promises for name in promise.invariants}
    assert promised == BOOK.invariants.keys()


def test_invariant_when_no_checker_watches_it_then_tests_do() -> None:
    """Something has to."""
    assert [name for name, one in BOOK.invariants.items() if not one.checkers and not one.tests] == []


def test_experiment_when_it_exists_then_a_promise_names_it() -> None:
    """Each chaos module that makes one is there, and each is there for something."""
    promised = {name for promise in BOOK.promises for name in promise.experiments}
    assert promised == BOOK.experiments.keys()
    modules = {f"tests/chaos/{path.name}" for path in (ROOT / "tests" / "chaos").glob("test_*.py")}
    assert modules - {test for one in BOOK.experiments.values() for test in one.tests} == {
        # It proves the checker of the others.
        "tests/chaos/test_history.py"
    }


def test_failure_when_a_test_carries_it_then_a_promise_names_it() -> None:
    """What the catalogue proves belongs to some promise."""
    promised = {name for promise in BOOK.promises for name in promise.failures}
    tests = carried()
    assert [name for name in catalogue() if name in tests and name not in promised] == []


@pytest.mark.parametrize("path", sorted(set(paths(BOOK))))
def test_test_when_named_then_it_is_there_and_says_something(path: str) -> None:
    """A module of this project with an assertion in it."""
    module = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    assert any(isinstance(node, ast.Assert) for node in ast.walk(module)), path
