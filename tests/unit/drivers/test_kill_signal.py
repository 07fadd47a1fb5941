"""SIGUSR2 closes the latch whatever the process is doing, and the order manager hears of it afterwards."""

from __future__ import annotations

import asyncio
import signal
import threading
import time

import pytest
import uvloop

from tradefan.drivers.kill_signal import KillSignal
from tradefan.drivers.latch import Latch


def send() -> None:
    signal.raise_signal(signal.SIGUSR2)


def send_soon(delay_s: float) -> threading.Timer:
    """Send it from another thread, as another process would."""
    thread_id = threading.get_ident()
    timer = threading.Timer(delay_s, signal.pthread_kill, (thread_id, signal.SIGUSR2))
    timer.start()
    return timer


@pytest.mark.parametrize("run", [uvloop.run, asyncio.run])
def test_signal_when_the_loop_sleeps_then_the_latch_closes_and_it_is_told_at_once(run: object) -> None:
    """Under both loops; the one who waits for events is woken."""
    latch, told = Latch(), []

    async def work() -> None:
        done = asyncio.Event()

        def tell() -> None:
            told.append(latch.is_closed(("paper:main",)))
            done.set()

        with KillSignal(latch) as kill:
            kill.bind(asyncio.get_running_loop(), tell)
            timer = send_soon(0.05)
            async with asyncio.timeout(2):
                await done.wait()
            timer.join()

    run(work())  # type: ignore[operator]
    assert (told, latch.closed) == ([True], {"all": "SIGUSR2"})


def test_signal_when_the_loop_is_stuck_in_a_turn_then_the_latch_closes_all_the_same() -> None:
    """It does not wait for the end of what computes; only the telling does."""
    latch, told = Latch(), []

    async def work() -> None:
        with KillSignal(latch) as kill:
            kill.bind(asyncio.get_running_loop(), lambda: told.append("told"))
            timer = send_soon(0.05)
            until = time.monotonic() + 2
            while not latch.closed and time.monotonic() < until:
                pass
            timer.join()
            assert (latch.closed, told) == ({"all": "SIGUSR2"}, [])
            await asyncio.sleep(0.05)

    uvloop.run(work())
    assert told == ["told"]


def test_signal_when_it_comes_before_the_loop_then_told_as_soon_as_it_runs() -> None:
    """A kill during the start is a kill."""
    latch, told = Latch(), []

    async def work(kill: KillSignal) -> None:
        kill.bind(asyncio.get_running_loop(), lambda: told.append("told"))
        await asyncio.sleep(0.01)

    with KillSignal(latch) as kill:
        send()
        assert latch.is_closed(())
        uvloop.run(work(kill))
    assert told == ["told"]


def test_signal_when_it_comes_twice_or_after_the_loop_then_nothing_breaks() -> None:
    """Impatient hands, and a stop that is already under way."""
    latch, told = Latch(), []

    async def work(kill: KillSignal) -> None:
        kill.bind(asyncio.get_running_loop(), lambda: told.append("told"))
        send()
        send()
        await asyncio.sleep(0.01)

    with KillSignal(latch) as kill:
        uvloop.run(work(kill))
        send()
        kill.unbind()
        send()
    assert told == ["told", "told"]
    assert latch.closed == {"all": "SIGUSR2"}
