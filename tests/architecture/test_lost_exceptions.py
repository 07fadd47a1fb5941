"""The guard of the root conftest works in both event loops; else these exceptions were but log lines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import pytest
import uvloop

Run = Callable[[Coroutine[None, None, None]], None]


async def fail() -> None:
    raise ValueError("nobody awaits this")


async def lose_in_task() -> None:
    task = asyncio.get_running_loop().create_task(fail())
    await asyncio.sleep(0)
    # A task in a cycle is not freed by the last reference to it.
    task.cycle = task  # type: ignore[attr-defined]


async def lose_in_callback() -> None:
    asyncio.get_running_loop().call_soon(lambda: 1 // 0)
    await asyncio.sleep(0)


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
@pytest.mark.parametrize(("lose", "name"), [(lose_in_task, "ValueError"), (lose_in_callback, "ZeroDivision")])
def test_lost_exception_is_seen(
    run: Run, lose: Callable[[], Coroutine[None, None, None]], name: str, lost_exceptions: list[str]
) -> None:
    """The list that fails a test names the exception that was lost."""
    import gc

    run(lose())
    gc.collect()
    assert [name in text for text in lost_exceptions] == [True]
    lost_exceptions.clear()


async def test_awaited_exception_is_not_lost(lost_exceptions: list[str]) -> None:
    """A test that takes the exception of its task is not blamed for it."""
    with pytest.raises(ValueError, match="nobody"):
        await asyncio.get_running_loop().create_task(fail())
    assert lost_exceptions == []
