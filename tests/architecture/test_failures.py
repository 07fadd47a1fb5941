"""Every failure of the catalogue is proved by a test, or says why not; the table that says so is current."""

from __future__ import annotations

from tests.failure_table import TABLE, carried, catalogue, render

WANTED = [*(f"OR-{number:02}" for number in range(1, 32)), *(f"ST-{number:02}" for number in range(1, 15))]


def test_catalogue_when_read_then_it_has_every_row_of_both_tables() -> None:
    """OR-01 to OR-31 and ST-01 to ST-14, each with its failure in words."""
    assert list(catalogue()) == WANTED
    assert all(failure.what for failure in catalogue().values())


def test_failure_when_no_test_carries_it_then_it_says_why() -> None:
    """A row is carried by a marker, or left out with a reason."""
    tests = carried()
    assert [name for name, failure in catalogue().items() if name not in tests and not failure.reason] == []


def test_marker_when_it_names_a_row_then_the_row_exists() -> None:
    """A mistyped id would prove nothing."""
    assert [name for name in carried() if name not in WANTED] == []


def test_table_when_markers_change_then_it_is_written_anew() -> None:
    """`python -m tests.failure_table` has been run since."""
    assert TABLE.read_text(encoding="utf-8") == render()
