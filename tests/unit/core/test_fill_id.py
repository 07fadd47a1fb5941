"""Ids of trades to which a venue gives none: the same when read again, never two alike."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradefan.core.fill_id import derived_ids

EXPECTED = (
    "h7bc8fd8325b4c60903d028c3e6b3905c",
    "h4469a82e8fa86ed53b6f805c898563de",
    "hbeb651109cd1125e0cfada163e69372b",
)
FIELDS = st.tuples(*[st.sampled_from(["", "1", "1 1", "11", "a"])] * 3)


@pytest.mark.failure("OR-20")
def test_derived_ids_when_they_are_made_then_they_are_stable_over_releases() -> None:
    """They stand in journals: this very tuple has had this very id since the first release that made one."""
    assert derived_ids([("a", "1"), ("b", "1"), ("a", "1")]) == EXPECTED


@pytest.mark.failure("OR-20")
@given(st.lists(FIELDS, max_size=30), st.randoms(use_true_random=False))
def test_derived_ids_when_trades_are_read_in_another_order_then_they_are_the_same(
    rows: list[tuple[str, ...]], chance: object
) -> None:
    """Every trade has an id of its own, and order does not matter: equal ones are interchangeable."""
    mixed = list(rows)
    chance.shuffle(mixed)  # type: ignore[attr-defined]
    ids = derived_ids(rows)
    assert len(set(ids)) == len(rows)
    assert sorted(ids) == sorted(derived_ids(mixed))


@given(st.lists(FIELDS, max_size=30), st.data())
def test_derived_ids_when_some_trades_cannot_be_seen_then_no_new_id_appears(
    rows: list[tuple[str, ...]], data: st.DataObject
) -> None:
    """A reading of a part of them names nothing that the whole reading does not name."""
    part = [row for row in rows if data.draw(st.booleans())]
    assert set(derived_ids(part)) <= set(derived_ids(rows))


@given(st.lists(FIELDS, unique=True, max_size=30))
def test_derived_ids_when_fields_differ_then_no_two_run_together(rows: list[tuple[str, ...]]) -> None:
    """`("1", "11")` is not `("11", "1")`, and none of them looks like a venue's number."""
    ids = derived_ids(rows)
    assert len(set(ids)) == len(rows)
    assert not any(name.isdecimal() or " " in name for name in ids)
