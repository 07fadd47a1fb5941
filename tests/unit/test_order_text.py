"""How an order is doing, in words."""

from __future__ import annotations

from typing import Any

import pytest

from tradefan.order_text import forecast
from tradefan.units import DAY, HOUR, parse_iso

END_NS = parse_iso("2026-11-29T14:05:59Z")


@pytest.mark.parametrize(
    ("changes", "now_ns", "text"),
    [
        ({}, END_NS - HOUR, "42 %, on schedule +0.3 %, ends 14:05"),
        ({"schedule_error": 0.0}, END_NS - HOUR, "42 %, on schedule +0.0 %, ends 14:05"),
        ({"schedule_error": -0.03}, END_NS - HOUR, "42 %, behind schedule -3.0 %, ends 14:05"),
        ({"schedule_error": 0.0123}, END_NS - HOUR, "42 %, ahead of schedule +1.2 %, ends 14:05"),
        ({}, END_NS - DAY, "42 %, on schedule +0.3 %, ends 2026-11-29 14:05"),
        ({"schedule_error": None, "end_ns": None}, END_NS, "42 %"),
        ({"phase": "DONE", "schedule_error": None}, END_NS, "42 %, ended"),
    ],
)
def test_forecast_when_a_parent_is_shown_then_share_schedule_and_end(
    changes: dict[str, Any], now_ns: int, text: str
) -> None:
    """What is not there is not said."""
    order = {"progress": 0.42, "schedule_error": 0.003, "end_ns": END_NS, "phase": "WORKING", **changes}
    assert forecast(order, now_ns) == text
