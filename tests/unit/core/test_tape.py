"""Sums of what trades: differences only, and windows that forget."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tradefan.core import tape
from tradefan.units import MS, SECOND


def test_tape_when_the_feed_begins_anew_then_only_differences_count() -> None:
    """Another generation begins at zero; the sum goes on."""
    one = tape.begin(0)
    for generation, lots in ((1, 5), (1, 9), (2, 3), (2, 3), (2, 10)):
        tape.note(one, generation, lots, lots * 100.0, one.lots * SECOND)
    assert (one.lots, one.value) == (19, 1900.0)


def test_window_when_time_passes_then_what_is_older_is_forgotten() -> None:
    """60 s of one lot a second."""
    one = tape.begin(0)
    for second in range(1, 101):
        tape.note(one, 1, second, float(second), second * SECOND)
    now_ns = 100 * SECOND
    assert tape.window(one, now_ns, 60 * SECOND) == 60
    assert tape.window(one, now_ns + 30 * SECOND, 60 * SECOND) == 30
    assert tape.window(one, now_ns + 60 * SECOND, 60 * SECOND) == 0
    assert tape.window(one, now_ns, 200 * SECOND) == 100


@given(st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 50)), max_size=200), st.integers(1, 60))
def test_window_when_compared_with_every_trade_then_it_is_right_to_a_sample(
    steps: list[tuple[int, int]], seconds: int
) -> None:
    """A window is never more than what traded in it, and lacks what a sample cannot tell apart at most."""
    one, now_ns, lots, trades = tape.begin(0), 0, 0, list[tuple[int, int]]()
    for wait_ms, qty in steps:
        now_ns += wait_ms * MS
        lots += qty
        trades.append((now_ns, qty))
        tape.note(one, 1, lots, 0.0, now_ns)
    found = tape.window(one, now_ns, seconds * SECOND)
    since_ns = now_ns - seconds * SECOND
    least = sum(qty for at_ns, qty in trades if at_ns > since_ns + tape.SAMPLE_NS)
    most = sum(qty for at_ns, qty in trades if at_ns > since_ns)
    assert least <= found <= most
