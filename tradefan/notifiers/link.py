"""The link that tells one receiver: few messages, soon, and never in the way of anything.

What comes while a minute's messages are used up is held back and counted, and so is the same event of the
same thing within a minute; the next message says how many, or one of its own where none comes for a minute.
What is critical has a minute's messages of its own, and goes first. A receiver that does not answer is asked
three times; then the message is lost, and counted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import aiohttp
import tenacity
from msgspec import Struct
from msgspec.structs import replace

from tradefan.errors import Defect, Outage
from tradefan.messages.base import Message
from tradefan.notifiers.forms import Notice, Receiver, post_of, secret_parts, taken
from tradefan.units import MINUTE, clean

WAITING_MAX = 100
TRIES = 3
ANSWER_S = 10.0
LOOK_S = 1.0
"""So often it is seen whether a minute is over, while something is held back."""
ANSWER_MAX = 65_536
"""Bytes of an answer that are read."""
SAID_MAX = 200
"""Characters of it that are logged, without secrets."""
PART_MIN = 4
"""Letters from which a part of the address is a secret in an answer; shorter ones are a method or a path."""
CRITICAL = "critical"
HELD = "notices_held"
_LEVELS = ("debug", "info", "warning", "error", CRITICAL)
_SUBJECTS = ("instrument", "account", "owner", "actor", "parent_id")
"""Fields that tell one trouble from another of the same name."""


class Counts(Struct):
    """What became of all that was to be told."""

    sent: int = 0
    held: int = 0
    lost: int = 0


class _Lane:
    """What waits to be told, and when something was: of critical events, or of all others."""

    def __init__(self) -> None:
        self.waiting: deque[Notice] = deque()
        self.told: deque[int] = deque()

    def is_full(self, per_minute: int, now_ns: int) -> bool:
        """Say whether a minute's messages are used up, or too many wait."""
        while self.told and self.told[0] <= now_ns - MINUTE:
            self.told.popleft()
        return len(self.told) >= per_minute or len(self.waiting) >= WAITING_MAX


class _Held(Struct):
    """What was held back since the last message."""

    since_ns: int
    level: str
    event: str
    count: int = 0


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
        self._critical, self._usual = _Lane(), _Lane()
        self._wake = asyncio.Event()
        self._last: dict[tuple[str, ...], int] = {}
        self._held: _Held | None = None

    def apply(self, effect: Message) -> None:
        """Take nothing: the log is what it listens to."""
        raise Defect(f"a notifier does not take {type(effect).__name__}")

    def offer(self, level: str, event: str, fields: dict[str, Any]) -> None:
        """Take a line of the log, if it is grave enough and nothing holds it back; never waits."""
        if _grade(level) < _grade(self._level()) or event == "notice_lost":
            return
        self._wake.set()
        now_ns, event = self._now_ns(), clean(event)
        subject = (event, *(_said(fields.get(name)) for name in _SUBJECTS))
        lane = self._critical if level == CRITICAL else self._usual
        self._last = {name: at_ns for name, at_ns in self._last.items() if at_ns > now_ns - MINUTE}
        if lane.is_full(self._per_minute(), now_ns) or subject in self._last:
            self._hold_back(level, event, now_ns)
            return
        lane.told.append(now_ns)
        self._last[subject] = now_ns
        shown = {
            key: self._hide(_said(value))
            for key, value in fields.items()
            if key not in ("traceback", "stack") and value is not None
        }
        lane.waiting.append(self._with_held(Notice(now_ns, level, event, self._where, shown)))

    async def run(self) -> None:
        """Post until cancelled."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                await self._tell(session, await self._next())

    async def _next(self) -> Notice:
        while True:
            for lane in (self._critical, self._usual):
                if lane.waiting:
                    return lane.waiting.popleft()
            held, now_ns = self._held, self._now_ns()
            if held is not None and now_ns >= held.since_ns + MINUTE:
                return self._with_held(Notice(now_ns, held.level, HELD, self._where, {}))
            self._wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(None if held is None else LOOK_S):
                    await self._wake.wait()

    def _hold_back(self, level: str, event: str, now_ns: int) -> None:
        self.counts.held += 1
        if self._held is None:
            self._held = _Held(now_ns, level, event)
        elif _grade(level) > _grade(self._held.level):
            self._held.level, self._held.event = level, event
        self._held.count += 1

    def _with_held(self, notice: Notice) -> Notice:
        """Let a message say what was held back before it."""
        held, self._held = self._held, None
        return notice if held is None else replace(notice, others=held.count, gravest=held.event)

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
                status, body = answer.status, await _beginning(answer.content)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # Its text may have the URL, and that a token.
            raise Outage(f"no answer: {type(error).__name__}") from error
        if not taken(self._receiver.kind, status, body):
            raise Outage(f"{status} {self._answer(body)}")

    def _answer(self, body: bytes) -> str:
        """Return what was answered, without what was sent: many repeat the path of what they do not know."""
        # Cut behind that: half a token would not be found.
        text = self._hide(body.decode("utf-8", "replace"))
        for part in secret_parts(self._receiver.url, PART_MIN):
            text = text.replace(part, "***")
        return text[:SAID_MAX]


async def _beginning(content: aiohttp.StreamReader) -> bytes:
    """Return what is read of an answer; who sends for ever is not listened to for ever."""
    found = bytearray()
    async for chunk in content.iter_any():
        found += chunk
        if len(found) >= ANSWER_MAX:
            break
    return bytes(found[:ANSWER_MAX])


def _grade(level: str) -> int:
    """Return how grave a level is; a library's own is taken for an error, as in the log."""
    return _LEVELS.index(level if level in _LEVELS else "error")


def _said(value: object) -> str:
    """Return a value's text, which may fail in any way, as UTF-8 can carry it."""
    try:
        return clean(str(value))
    except Exception as error:  # noqa: BLE001 a stranger's code; the loop ends by what is raised here
        return f"unreadable: {type(error).__name__}"
