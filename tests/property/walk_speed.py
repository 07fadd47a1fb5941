"""How fast the walker was in this session, for the end of pytest's output."""

from __future__ import annotations

from statistics import median

import pytest

NAME = "steps_per_s"
"""The property of a test that has walked."""
WANTED = 20_000
"""Steps a second that the walker is to take; printed beside what it took, and not asserted."""


def report(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the slowest case and the median of all, where any has walked."""
    passed: list[pytest.TestReport] = terminalreporter.getreports("passed")
    found = [(value, one.nodeid) for one in passed for name, value in one.user_properties if name == NAME]
    speeds = sorted((int(str(value)), nodeid) for value, nodeid in found)
    if speeds:
        slowest, nodeid = speeds[0]
        case = nodeid.partition("[")[2].removesuffix("]")
        middle = median(speed for speed, _ in speeds)
        terminalreporter.write_line(
            f"walker: {len(speeds)} cases, steps/s: median {middle:,.0f}, slowest {slowest:,} ({case}); "
            f"wanted {WANTED:,}"
        )
