"""Thresholds of the market: who waits for what, and that a tick wakes those and nobody else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tradefan.core.wakes import KINDS, Wakes, forget, reached, traded, wait
from tradefan.units import ParentId

A, B, C = ParentId("a"), ParentId("b"), ParentId("c")


def test_quote_when_it_comes_to_a_level_then_its_parents_wake_once() -> None:
    """Each kind on its side; a parent that has fired waits for nothing any more."""
    wakes = Wakes()
    wait(wakes, A, {"bid_above": 100.0, "ask_below": 90.0})
    wait(wakes, B, {"bid_below": 95.0})
    wait(wakes, C, {"ask_above": 101.0})
    assert reached(wakes, 98.0, 99.0) == []
    assert reached(wakes, 100.0, 101.0) == [A, C]
    assert reached(wakes, 100.0, 101.0) == []
    assert reached(wakes, 89.0, 90.0) == [B]
    assert wakes == Wakes()


def test_wait_when_asked_anew_then_the_newest_replaces_the_older() -> None:
    """Nobody waits twice."""
    wakes = Wakes()
    wait(wakes, A, {"bid_above": 100.0, "volume_at": 50.0})
    wait(wakes, A, {"bid_above": 110.0})
    assert reached(wakes, 105.0, 106.0) == []
    assert traded(wakes, 60) == []
    wait(wakes, A, {})
    assert wakes == Wakes()


def test_volume_when_enough_has_traded_then_it_wakes() -> None:
    """In the order of the levels."""
    wakes = Wakes()
    for name, level in ((A, 50.0), (B, 40.0), (C, 60.0)):
        wait(wakes, name, {"volume_at": level})
    assert traded(wakes, 39) == []
    assert traded(wakes, 50) == [B, A]
    forget(wakes, C)
    assert wakes == Wakes()


LEVELS = st.dictionaries(st.sampled_from(KINDS), st.integers(90, 110).map(float))


@given(
    st.lists(st.tuples(st.sampled_from([A, B, C]), LEVELS), max_size=20),
    st.lists(st.tuples(st.integers(88, 112), st.integers(88, 112)), max_size=10),
)
def test_wakes_when_compared_with_a_scan_then_they_are_the_same(
    waits: list[tuple[ParentId, dict[str, float]]], quotes: list[tuple[int, int]]
) -> None:
    """The model looks at everybody."""
    wakes, model = Wakes(), dict[ParentId, dict[str, float]]()
    for name, levels in waits:
        wait(wakes, name, dict(levels))
        model[name] = levels
    for bid, ask in quotes:
        expected = {name for name, levels in model.items() if _fires(levels, bid, ask)}
        assert set(reached(wakes, bid, ask)) == expected
        model = {name: levels for name, levels in model.items() if name not in expected}
    assert {name: levels for name, levels in model.items() if levels} == wakes.of


def _fires(levels: dict[str, float], bid: float, ask: float) -> bool:
    at = {"bid_below": -bid, "bid_above": bid, "ask_below": -ask, "ask_above": ask}
    return any(at[kind] >= (-level if kind.endswith("below") else level) for kind, level in levels.items())
