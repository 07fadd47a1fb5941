"""A link whose work is one thread: how journal and store start it, wake it, and wait for its end."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from functools import partial

from tradefan.messages.base import Message
from tradefan.units import use_decimal_context

CLOSE_S = 5.0
"""A disk that hangs at the stop is left behind: the thread is a daemon (see `left_behind`)."""

Post = Callable[[Message], None]
"""Hand a message to the loop's thread."""


class LinkThread(threading.Thread):
    """A thread that writes to a file of the data directory."""


def left_behind() -> list[str]:
    """Name the links whose thread still works though their task has ended: it may write again any moment."""
    return [thread.name for thread in threading.enumerate() if isinstance(thread, LinkThread)]


class ThreadLink:
    """Base of links with a thread of their own; `work` is what runs there.

    `wake` guards everything that both threads touch; `closing` asks `work` to come to its end.
    """

    def __init__(self, name: str, deliver: Post) -> None:
        """Prepare; nothing starts before `run`. `deliver` is called on the loop's thread."""
        self.name = name
        self.wake = threading.Condition()
        self.closing = False
        self.error: Exception | None = None
        self._deliver = deliver

    def work(self, post: Post) -> None:
        """Do the work until `closing`; an exception ends the link with it."""
        raise NotImplementedError

    async def run(self) -> None:
        """Work until cancelled; then what waits is written, if the disk lets us."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        thread = LinkThread(target=self._main, args=(loop, ended), name=self.name, daemon=True)
        thread.start()
        try:
            await ended.wait()
        finally:
            with self.wake:
                self.closing = True
                self.wake.notify()
            async with asyncio.timeout(CLOSE_S):
                await ended.wait()
            thread.join()
        if self.error is not None:
            raise self.error

    def _main(self, loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
        try:
            use_decimal_context()
            self.work(partial(_post, loop, self._deliver))
        except Exception as error:  # noqa: BLE001 the edge of the link: it ends with this error
            self.error = error
        finally:
            _post(loop, ended.set)


def _post(loop: asyncio.AbstractEventLoop, callback: Callable[..., None], *args: Message) -> None:
    """Call back on the loop's thread; a loop that is closed has nobody left who would hear it."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(callback, *args)
