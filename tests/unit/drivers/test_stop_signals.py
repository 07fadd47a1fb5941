"""A signal that comes before the loop listens, or behind it, is an orderly stop, too."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator

import pytest
import uvloop

from tests.unit.runtime.players import build, kernel_of
from tradefan.drivers.live import LiveDriver, SteadyClock
from tradefan.drivers.stop_signals import NUMBERS, StopSignals


@pytest.fixture
def stop() -> Iterator[StopSignals]:
    with StopSignals() as stop:
        yield stop


def driver_of(stop: StopSignals) -> LiveDriver:
    """Return a driver of one actor that was told whether somebody wants it to end."""
    kernel = kernel_of(build({"a": {}}))
    kernel.state.now_ns = 0
    return LiveDriver(
        kernel, {}, {}, clock=SteadyClock(), log=lambda *_: None, interrupted=lambda: stop.asked
    )


async def run(driver: LiveDriver) -> int:
    """Run a driver for five seconds at most."""
    async with asyncio.timeout(5):
        return await driver.run()


@pytest.mark.parametrize("number", NUMBERS)
def test_signal_when_it_comes_before_the_run_then_that_begins_with_the_stop(
    stop: StopSignals, number: signal.Signals
) -> None:
    """Nothing is broken off, and the exit code is that of an orderly stop."""
    driver = driver_of(stop)
    signal.raise_signal(number)
    assert uvloop.run(run(driver)) == 0


def test_signal_when_it_comes_twice_before_the_run_then_130_at_once(stop: StopSignals) -> None:
    """Somebody does not want to wait for a start that hangs."""
    signal.raise_signal(signal.SIGTERM)
    with pytest.raises(SystemExit, match="130"):
        signal.raise_signal(signal.SIGINT)
    assert stop.asked


def test_signal_when_it_comes_behind_the_run_then_the_exit_code_stands(stop: StopSignals) -> None:
    """Files are being closed then; the default would end the process in the midst of it."""
    driver = driver_of(stop)

    async def work() -> int:
        asyncio.get_running_loop().call_soon(driver.stop)
        return await run(driver)

    assert uvloop.run(work()) == 0
    signal.raise_signal(signal.SIGTERM)
    assert stop.asked


def test_signals_when_left_then_given_back() -> None:
    """Other commands end by them as ever."""
    before = [signal.getsignal(number) for number in NUMBERS]
    with StopSignals():
        assert [signal.getsignal(number) for number in NUMBERS] != before
    assert [signal.getsignal(number) for number in NUMBERS] == before
