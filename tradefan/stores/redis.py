"""The link to a Redis: newest values under keys, and streams of what happens.

Redis is a cache and a way to tell others: nothing here is ever read back by the daemon, and every answer
has a timeout, because a frozen server keeps its connections open and applies later what it was sent
(a call that timed out may have been done). So an entry has a number of ours: sent again, it is refused as
not greater than the newest. Whether it is there is looked up by its number: where the stream was ahead of
us (an earlier daemon's clock, another daemon that writes there) it is not, and gets a number behind its end.

Batches follow one another on one connection. What an answer makes of a connection that may hold the rest of
another answer is never found out: after any trouble it is closed.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import count
from typing import Any, NamedTuple

import msgspec
import tenacity
from msgspec import Struct
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from tradefan.errors import Defect, Outage
from tradefan.messages.base import Message
from tradefan.messages.control import PointBatch, PointsWritten, StoreFailed
from tradefan.messages.orders import ParentOrder, ParentUpdate
from tradefan.messages.wire import Credit
from tradefan.stores.redis_entries import entries, values
from tradefan.units import MS, ParentId

ALERTS_MAX = 100
"""Warnings that wait; the oldest go."""
PARENTS_MAX = 10_000
"""So many of the newest are remembered as told."""
STATUS_S = 1.0
STATUS_TTL_MS = 10_000
"""A daemon that is gone is not seen for longer."""
WAIT_MAX_S = 2.0
ENCODE_AT_ONCE = 200
"""Messages between two moments in which the loop does what is more urgent."""
_NUMBER = 5
"""Where in an XADD of ours the entry's number stands."""
_GREETING = 0
_NOT_GREATER = "equal or smaller"
_WRONG_TYPE = "WRONGTYPE"
_TELLING = ("risk_desk", "oms")
"""Actors whose warnings are alerts."""
_SET_FIELDS = """
local said = redis.pcall('HSET', KEYS[1], unpack(ARGV, 2))
if type(said) == 'table' and said.err then return said end
return redis.call('PEXPIRE', KEYS[1], ARGV[1])
"""
"""Fields of a hash with its time to live; a key of another type, which is somebody else's, keeps its own."""
Command = tuple[str | int, ...]
JSON = dict[str, Any]


class RedisSettings(Struct, frozen=True):
    """Where the server is and who we are there; `timeout_s` is that of one answer."""

    url: str
    timeout_s: float
    username: str = ""
    password: str = ""


class Sizes(Struct, frozen=True):
    """What changes live: how long a price lasts, and how many entries a stream keeps."""

    ttl_ms: int
    stream_max: int


class Sent(Struct):
    """Commands of one request; entries of streams are told by the place of their number."""

    commands: list[Command]
    rows: list[int]
    """Of which row of the batch each command is; -1 is none."""


def open_client(settings: RedisSettings) -> Redis:
    """Return a client that never waits for longer than the timeout, and never tries again by itself."""
    return Redis.from_url(
        settings.url,
        username=settings.username or None,
        password=settings.password or None,
        socket_timeout=settings.timeout_s,
        socket_connect_timeout=settings.timeout_s,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
        client_name="tradefan",
        protocol=2,
    )


class RedisLink:
    """Writes to one Redis; what it cannot write is told and counted."""

    def __init__(
        self,
        settings: RedisSettings,
        deliver: Callable[[Message], None],
        now_ns: Callable[[], int],
        sizes: Callable[[], Sizes],
        status: Callable[[], JSON],
        name: str = "redis",
    ) -> None:
        """Prepare; nothing is opened before `run`. `status` is what `/status` says."""
        self._settings = settings
        self._deliver = deliver
        self._now_ns = now_ns
        self._sizes = sizes
        self._status = status
        self._name = name
        self._room = 1
        self._waiting: deque[PointBatch] = deque()
        self._alerts: deque[Command] = deque(maxlen=ALERTS_MAX)
        self._wake = asyncio.Event()
        self._failed = ""
        self._number_ms = 0
        self._began_ns = now_ns()
        self._parents: dict[ParentId, None] = {}

    def apply(self, effect: Message) -> None:
        """Take a batch; the server is never waited for."""
        if not isinstance(effect, PointBatch):
            raise Defect(f"Redis does not take {type(effect).__name__}")
        self._waiting.append(effect)
        self._wake.set()

    def offer(self, level: str, event: str, fields: Mapping[str, Any]) -> None:
        """Take a line of the log; those of risk desk and order manager become alerts."""
        if fields.get("actor") in _TELLING:
            told = {"type": event, "at_ns": self._now_ns(), **fields}
            flat = (text for name, value in told.items() for text in (str(name), _plain(value)))
            self._alerts.append((f"risk.alert.{level}", *flat))

    async def run(self) -> None:
        """Greet the server, then write batch after batch, and the status each second, until cancelled."""
        client = open_client(self._settings)
        try:
            await self._insist(client, Sent([("PING",)], [-1]))
            self._deliver(Credit(self._name, self._room))
            self._deliver(PointsWritten(_GREETING, 0))
            await self._serve(client)
        finally:
            await self._hang_up(client)
            await client.aclose()

    async def _serve(self, client: Redis) -> None:
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due_s):
                    await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                batch = self._waiting.popleft()
                written = await self._write_batch(client, batch)
                self._room += 1
                self._deliver(Credit(self._name, self._room))
                self._deliver(written)
            if loop.time() >= due_s:
                due_s = loop.time() + STATUS_S
                await self._insist(client, self._picture())

    async def _write_batch(self, client: Redis, batch: PointBatch) -> PointsWritten:
        sent = await self._commands(batch)
        aside = await self._insist(client, sent)
        refused = {sent.rows[place]: text for place, text in aside.items() if sent.rows[place] >= 0}
        counts = Counter(type(batch.rows[row]).__name__ for row in refused)
        reason = next(iter(refused.values()), "")
        return PointsWritten(batch.batch_id, len(batch.rows) - len(refused), dict(counts), reason)

    async def _commands(self, batch: PointBatch) -> Sent:
        """Return what a batch asks of the server: values only as the newest of each key, entries all."""
        sizes, made = self._sizes(), Sent([], [])
        newest: dict[str, tuple[int, dict[str, str] | str]] = {}
        ids = self._numbers()
        for place, row in enumerate(batch.rows):
            if isinstance(row, ParentUpdate) and not self._begins(row.order):
                continue
            for key, value in values(row):
                before = newest.get(key, (0, {}))[1]
                joined = (
                    {**before, **value} if isinstance(value, dict) and isinstance(before, dict) else value
                )
                newest[key] = (place, joined)
            for entry in entries(row):
                made.commands.append(_add(entry.stream, sizes, next(ids), entry.fields))
                made.rows.append(place)
            if place % ENCODE_AT_ONCE == ENCODE_AT_ONCE - 1:
                await asyncio.sleep(0)
        for key, (place, value) in newest.items():
            for command in _newer(key, value, sizes.ttl_ms):
                made.commands.append(command)
                made.rows.append(place)
        return made

    def _begins(self, parent: ParentOrder) -> bool:
        """Say whether a parent is new: not told before, and none that an earlier daemon had begun."""
        if parent.parent_id in self._parents or parent.created_ns < self._began_ns:
            return False
        self._parents[parent.parent_id] = None
        if len(self._parents) > PARENTS_MAX:
            del self._parents[next(iter(self._parents))]
        return True

    def _picture(self) -> Sent:
        """Return what keeps status and positions alive, and the alerts since the last one."""
        status, made = self._status(), Sent([], [])
        positions: dict[str, list[str | int]] = {}
        for one in status["positions"]:
            where = positions.setdefault(f"positions:{one['account']}", [])
            where += (f"{one['owner']}|{one['instrument']}", _plain(one))
        shown: list[str | int] = [text for name, value in status.items() for text in (name, _plain(value))]
        for key, pairs in {"status": shown, **positions}.items():
            made.commands += [
                ("MULTI",),
                ("DEL", key),
                ("HSET", key, *pairs),
                ("PEXPIRE", key, STATUS_TTL_MS),
                ("EXEC",),
            ]
        ids, sizes = self._numbers(), self._sizes()
        while self._alerts:
            alert = self._alerts.popleft()
            made.commands.append(_add(str(alert[0]), sizes, next(ids), alert[1:]))
        made.rows = [-1] * len(made.commands)
        return made

    def _numbers(self) -> Iterator[str]:
        """Give the numbers of a request's entries: each greater than all before it."""
        self._number_ms = max(self._now_ns() // MS, self._number_ms + 1)
        return (f"{self._number_ms}-{place}" for place in count(1))

    # --- one request ------------------------------------------------------------------------------------

    async def _insist(self, client: Redis, sent: Sent) -> dict[int, str]:
        """Send until the server has taken it; return what it never will, with its words."""
        again = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(Outage),
            wait=tenacity.wait_random_exponential(multiplier=0.1, max=WAIT_MAX_S),
            before_sleep=self._say_failed,
        )
        found: dict[int, str] = await again(self._send, client, sent.commands)
        self._failed = ""
        return found

    def _say_failed(self, state: tenacity.RetryCallState) -> None:
        assert state.outcome is not None, "it is asked between two tries"
        reason = str(state.outcome.exception())
        if reason != self._failed:
            self._failed = reason
            self._deliver(StoreFailed(reason))

    async def _send(self, client: Redis, commands: list[Command]) -> dict[int, str]:
        """Send once; an entry that is too late for its stream and not there has a new number from then on."""
        try:
            answers = await self._ask(client, commands)
            late = [place for place, answer in enumerate(answers) if _NOT_GREATER in str(answer)]
            if late:
                for place, answer in await self._send_behind(client, commands, late):
                    answers[place] = answer
        except (RedisError, OSError, TimeoutError) as error:
            await self._hang_up(client)
            raise Outage(f"{self._settings.url}: {type(error).__name__}: {error}".rstrip(": ")) from error
        except BaseException:
            await self._hang_up(client)
            raise
        aside: dict[int, str] = {}
        for place, answer in enumerate(answers):
            if not isinstance(answer, ResponseError) or _NOT_GREATER in str(answer):
                continue
            if not str(answer).startswith(_WRONG_TYPE):
                # Full, read-only, loading, not allowed: another server may stand there soon.
                await self._hang_up(client)
                raise Outage(f"{self._settings.url}: {answer}")
            aside[place] = str(answer)
        return aside

    async def _send_behind(
        self, client: Redis, commands: list[Command], late: list[int]
    ) -> Iterator[tuple[int, Any]]:
        """Send entries that are not there again, behind the end of their stream; return answers by place."""
        adds = [_Add.of(commands[place]) for place in late]
        there = await self._ask(client, [("XRANGE", one.stream, one.number, one.number) for one in adds])
        lacking = [
            (place, one.stream)
            for place, one, found in zip(late, adds, there, strict=True)
            if one.fields not in [fields for _, fields in _listed(found)]
        ]
        if not lacking:
            return iter(())
        streams = [*dict.fromkeys(stream for _, stream in lacking)]
        known = await self._ask(client, [("XINFO", "STREAM", stream) for stream in streams])
        behind = {stream: _numbers_behind(info) for stream, info in zip(streams, known, strict=True)}
        for place, stream in lacking:
            command = commands[place]
            commands[place] = (*command[:_NUMBER], next(behind[stream]), *command[_NUMBER + 1 :])
        answers = await self._ask(client, [commands[place] for place, _ in lacking])
        if any(_NOT_GREATER in str(answer) for answer in answers):
            raise Outage(f"{self._settings.url}: somebody else writes into a stream of ours")
        return zip((place for place, _ in lacking), answers, strict=True)

    async def _ask(self, client: Redis, commands: Sequence[Command]) -> list[Any]:
        pipe = client.pipeline(transaction=False)
        for command in commands:
            pipe.execute_command(*command)
        answers: list[Any] = await pipe.execute(raise_on_error=False)
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            # The library sends under `asyncio.wait_for`, which Python 3.11 lets swallow the end of a task.
            raise asyncio.CancelledError
        return answers

    async def _hang_up(self, client: Redis) -> None:
        with suppress(RedisError, OSError):
            await client.connection_pool.disconnect(inuse_connections=True)


def _add(stream: str, sizes: Sizes, number: str, pairs: Sequence[str | int]) -> Command:
    return ("XADD", stream, "MAXLEN", "~", sizes.stream_max, number, *pairs)


class _Add(NamedTuple):
    """What an XADD adds, as the server gives it back."""

    stream: str
    number: str
    fields: dict[str, str]

    @classmethod
    def of(cls, command: Command) -> _Add:
        texts = [str(word) for word in command]
        pairs = texts[_NUMBER + 1 :]
        return cls(texts[1], texts[_NUMBER], dict(zip(pairs[::2], pairs[1::2], strict=True)))


def _listed(answer: Any) -> list[Any]:  # noqa: ANN401 what a server says
    if isinstance(answer, ResponseError):
        raise answer
    return list(answer)


def _numbers_behind(answer: Any) -> Iterator[str]:  # noqa: ANN401
    """Give numbers behind the last one that a stream ever had."""
    told = _listed(answer)
    info = dict(zip(told[::2], told[1::2], strict=True))
    at_ms, _, place = str(info["last-generated-id"]).partition("-")
    return (f"{at_ms}-{number}" for number in count(int(place) + 1))


def _newer(key: str, value: dict[str, str] | str, ttl_ms: int) -> list[Command]:
    if isinstance(value, str):
        return [("SET", key, value, "PX", ttl_ms)]
    pairs = [text for pair in value.items() for text in pair]
    return [("EVAL", _SET_FIELDS, 1, key, ttl_ms, *pairs)]


def _plain(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
