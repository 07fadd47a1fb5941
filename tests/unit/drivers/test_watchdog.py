"""The watchdog sees a loop that stands still, and says what it was doing."""

from __future__ import annotations

import asyncio
import time
from typing import cast

import pytest
import uvloop

from tradefan.drivers.watchdog import LAGS_KEPT, Watchdog


def stand_still(seconds: float) -> None:
    """Hold the loop, as a handler that computes too long would."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


@pytest.mark.slow
def test_watchdog_when_the_loop_stalls_then_one_report_with_its_stack() -> None:
    """One stall is one report, with the function that held the loop; a quiet loop gives none."""
    reports: list[tuple[float, str]] = []
    watchdog = Watchdog(0.5, lambda seconds, stack: reports.append((seconds, stack)))

    async def work() -> None:
        watchdog.start(asyncio.get_running_loop())
        await asyncio.sleep(0.3)
        assert reports == []
        stand_still(1.3)
        await asyncio.sleep(0.15)
        watchdog.stop()

    uvloop.run(work())
    assert len(reports) == watchdog.stalls == 1
    seconds, stack = reports[0]
    assert seconds >= 0.5
    assert "stand_still" in stack
    assert watchdog.worst_lag_s >= 1.0
    assert watchdog.lag_s == watchdog.worst_lag_s


def test_lag_when_it_lies_back_far_enough_then_is_forgotten_and_the_worst_is_kept() -> None:
    """What the loop was late by in its last hundred beats says how it is now."""

    class Idle:
        def call_later(self, *_: object) -> None: ...

    watchdog = Watchdog(60, lambda *_: None)
    assert watchdog.lag_s == 0
    watchdog._beat -= 1.1
    for _ in range(LAGS_KEPT):
        watchdog._tick(cast("asyncio.AbstractEventLoop", Idle()))
    assert watchdog.lag_s > 0.9
    watchdog._tick(cast("asyncio.AbstractEventLoop", Idle()))
    assert watchdog.lag_s < 0.9 < watchdog.worst_lag_s


@pytest.mark.slow
def test_watchdog_when_the_loop_is_late_then_says_by_how_much_and_when_it_keeps_time_again() -> None:
    """One word beyond the bound, and one when it is punctual again (PR-05); a short stall says nothing."""
    heard: list[int] = []
    bound_s = [0.4]
    watchdog = Watchdog(60, lambda *_: None, lag_max_s=lambda: bound_s[0], on_lag=heard.append)

    async def work() -> None:
        watchdog.start(asyncio.get_running_loop())
        stand_still(0.35)
        await asyncio.sleep(0.3)
        assert heard == []
        stand_still(0.7)
        await asyncio.sleep(0.05)
        assert len(heard) == 1
        await asyncio.sleep(0.3)
        watchdog.stop()

    uvloop.run(work())
    late_ns, again_ns = heard
    assert 450_000_000 < late_ns < 2_000_000_000
    assert again_ns == 0
