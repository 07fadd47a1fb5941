"""The link that tells one receiver: few messages, soon, and never in the way of anything.

What comes while a minute's messages are used up is held back and counted, and so is the same event of the
same thing within a minute; the next message says how many. A receiver that does not answer is asked three
times; then the message is lost, and counted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import aiohttp
import tenacity
from msgspec import Struct
from msgspec.structs import replace

from tradefan.errors import Defect, Outage
from tradefan.messages.base import Message
from tradefan.notifiers.forms import Notice, Receiver, post_of, taken
from tradefan.units import MINUTE

WAITING_MAX = 100
TRIES = 3
ANSWER_S = 10.0
_LEVELS = ("debug", "info", "warning", "error", "critical")
_SUBJECTS = ("instrument", "account", "owner", "actor", "parent_id")
"""Fields that tell one trouble from another of the same name."""


class Counts(Struct):
    """What became of all that was to be told."""

    sent: int = 0
    held: int = 0
    lost: int = 0


class NotifierLink:
    """Posts to one receiver."""

    def __init__(
        self,
        receiver: Receiver,
        where: str,
        *,
        level: Callable[[], str],
        per_minute: Callable[[], int],
        hide: Callable[[str], str],
        now_ns: Callable[[], int],
        log: Callable[..., None],
    ) -> None:
        """Prepare; `where` names the daemon in each message, `hide` takes secrets out of a text."""
        self.counts = Counts()
        self._receiver = receiver
        self._where = where
        self._level = level
        self._per_minute = per_minute
        self._hide = hide
        self._now_ns = now_ns
        self._log = log
        self._waiting: deque[Notice] = deque()
        self._wake = asyncio.Event()
        self._told: deque[int] = deque()
        self._last: dict[tuple[str, ...], int] = {}
        self._others = 0

    def apply(self, effect: Message) -> None:
        """Take nothing: the log is what it listens to."""
        raise Defect(f"a notifier does not take {type(effect).__name__}")

    def offer(self, level: str, event: str, fields: dict[str, Any]) -> None:
        """Take a line of the log, if it is grave enough and nothing holds it back; never waits."""
        if _LEVELS.index(level) < _LEVELS.index(self._level()) or event == "notice_lost":
            return
        now_ns = self._now_ns()
        subject = (event, *(str(fields.get(name)) for name in _SUBJECTS))
        if self._is_held(subject, now_ns):
            self.counts.held += 1
            self._others += 1
            return
        self._told.append(now_ns)
        self._last[subject] = now_ns
        shown = {
            key: self._hide(str(value)) for key, value in fields.items() if key not in ("traceback", "stack")
        }
        self._waiting.append(Notice(now_ns, level, event, self._where, shown, self._others))
        self._others = 0
        self._wake.set()

    async def run(self) -> None:
        """Post until cancelled."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                while not self._waiting:
                    self._wake.clear()
                    await self._wake.wait()
                await self._tell(session, self._waiting.popleft())

    def _is_held(self, subject: tuple[str, ...], now_ns: int) -> bool:
        while self._told and self._told[0] <= now_ns - MINUTE:
            self._told.popleft()
        self._last = {name: at_ns for name, at_ns in self._last.items() if at_ns > now_ns - MINUTE}
        full = len(self._told) >= self._per_minute() or len(self._waiting) >= WAITING_MAX
        return full or subject in self._last

    async def _tell(self, session: aiohttp.ClientSession, notice: Notice) -> None:
        again = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(Outage),
            wait=tenacity.wait_random_exponential(multiplier=0.5, max=5),
            stop=tenacity.stop_after_attempt(TRIES),
            reraise=True,
        )
        try:
            await again(self._post, session, notice)
        except Outage as error:
            self.counts.lost += 1
            self._log(
                "warning", "notice_lost", notifier=self._receiver.kind, of=notice.event, reason=str(error)
            )
        else:
            self.counts.sent += 1

    async def _post(self, session: aiohttp.ClientSession, notice: Notice) -> None:
        # A signature is of the instant at which it is sent, not of that at which something happened.
        post = post_of(
            self._receiver, replace(notice, at_ns=self._now_ns()) if self._receiver.secret else notice
        )
        try:
            headers = {"Content-Type": "application/json"}
            async with session.post(
                post.url, data=post.body, headers=headers, allow_redirects=False
            ) as answer:
                status, body = answer.status, await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # Its text may have the URL, and that a token.
            raise Outage(f"no answer: {type(error).__name__}") from error
        if not taken(self._receiver.kind, status, body):
            raise Outage(self._hide(f"{status} {body[:200].decode('utf-8', 'replace')}"))
