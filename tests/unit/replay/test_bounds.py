"""What a user's words for an instant mean."""

from __future__ import annotations

import pytest

from tradefan.replay.bounds import Bound, read_bound
from tradefan.units import parse_iso

LONG = (parse_iso("2026-03-01T22:00:00Z"), parse_iso("2026-03-04T12:20:00Z"))
SHORT = (parse_iso("2026-03-04T11:00:00Z"), parse_iso("2026-03-04T12:20:00Z"))


@pytest.mark.parametrize(
    ("recorded", "text", "meant"),
    [
        (LONG, "12:19:59", "2026-03-04T12:19:59Z"),
        (LONG, "00:10", "2026-03-04T00:10:00Z"),
        (LONG, "23:59:00.5", "2026-03-03T23:59:00.5Z"),
        (LONG, "2026-03-02T23:59:00Z", "2026-03-02T23:59:00Z"),
        (SHORT, "11:30", "2026-03-04T11:30:00Z"),
        (SHORT, "23:59", "2026-03-04T23:59:00Z"),
        (SHORT, "00:10", "2026-03-04T00:10:00Z"),
    ],
)
def test_time_when_it_has_no_day_then_the_last_such_time_that_was_recorded(
    recorded: tuple[int, int], text: str, meant: str
) -> None:
    """A daemon runs for days, and who asks what happened at 12:19 means the last 12:19."""
    assert read_bound("--from", text, recorded, orders=False) == Bound(at_ns=parse_iso(meant))
