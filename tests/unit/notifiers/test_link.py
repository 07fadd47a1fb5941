"""The notifier's link against a receiver on loopback: soon, few, three tries, no secrets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from tests.services.server import free_ports
from tradefan.notifiers.forms import Receiver
from tradefan.notifiers.link import TRIES, WAITING_MAX, NotifierLink
from tradefan.units import MINUTE, SECOND


class Post:
    """A receiver that keeps what it gets and answers as it is told."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.answers: list[int] = []
        self.port = free_ports(1)[0]

    async def handle(self, request: web.Request) -> web.Response:
        self.got.append(await request.json())
        return web.Response(status=self.answers.pop(0) if self.answers else 204)


class Bench:
    def __init__(self, url: str) -> None:
        self.now_ns = 0
        self.level, self.per_minute = "error", 10
        self.logs: list[dict[str, Any]] = []
        self.link = NotifierLink(
            Receiver("webhook", url, "", ""),
            "TradeFan test",
            level=lambda: self.level,
            per_minute=lambda: self.per_minute,
            hide=lambda text: text.replace("hunter2", "***"),
            now_ns=lambda: self.now_ns,
            log=lambda _level, event, **fields: self.logs.append({"event": event, **fields}),
        )

    @property
    def counts(self) -> tuple[int, int, int]:
        counts = self.link.counts
        return counts.sent, counts.held, counts.lost

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not done():
                await asyncio.sleep(0.01)


@pytest.fixture
async def post() -> AsyncIterator[Post]:
    made = Post()
    app = web.Application()
    app.router.add_post("/x", made.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", made.port).start()
    yield made
    await runner.cleanup()


@asynccontextmanager
async def running(post: Post) -> AsyncIterator[Bench]:
    bench = Bench(f"http://127.0.0.1:{post.port}/x")
    task = asyncio.create_task(bench.link.run())
    yield bench
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_line_when_grave_enough_then_is_told_without_secrets_and_tracebacks(post: Post) -> None:
    """What is less than the level is not; the level holds as it is now."""
    async with running(post) as bench:
        bench.link.offer("warning", "nothing", {})
        bench.link.offer(
            "error", "actor_crashed", {"actor": "oms", "reason": "hunter2 failed", "traceback": "..."}
        )
        await bench.until(lambda: bench.counts[0] == 1)
        bench.level = "warning"
        bench.link.offer("warning", "feed_stale", {"instrument": "a"})
        await bench.until(lambda: bench.counts[0] == 2)
    assert [one["event"] for one in post.got] == ["actor_crashed", "feed_stale"]
    assert post.got[0]["fields"] == {"actor": "oms", "reason": "*** failed"}


async def test_lines_when_the_same_within_a_minute_then_told_once_and_counted(post: Post) -> None:
    """Of another thing they are news."""
    async with running(post) as bench:
        for _ in range(5):
            bench.link.offer("error", "link_down", {"actor": "a"})
        bench.link.offer("error", "link_down", {"actor": "b"})
        await bench.until(lambda: bench.counts[0] == 2)
        bench.now_ns = MINUTE + 1
        bench.link.offer("error", "link_down", {"actor": "a"})
        await bench.until(lambda: bench.counts[0] == 3)
    assert bench.counts == (3, 4, 0)
    assert [one["others"] for one in post.got] == [0, 4, 0]


async def test_lines_when_more_than_a_minute_may_have_then_held_back_until_the_next(post: Post) -> None:
    """A storm is one message a little later, not a thousand."""
    async with running(post) as bench:
        bench.per_minute = 3
        for number in range(100):
            bench.link.offer("critical", f"event_{number}", {})
        await bench.until(lambda: bench.counts[0] == 3)
        bench.now_ns = MINUTE + SECOND
        bench.link.offer("critical", "after", {})
        await bench.until(lambda: bench.counts[0] == 4)
    assert post.got[-1]["others"] == 97


async def test_receiver_when_it_fails_then_is_asked_again_and_then_the_message_is_lost(post: Post) -> None:
    """Three tries; that it was lost is logged, and not told to the same receiver."""
    async with running(post) as bench:
        post.answers = [500, 204]
        bench.link.offer("error", "first", {})
        await bench.until(lambda: bench.counts[0] == 1)
        post.answers = [500] * TRIES
        bench.link.offer("error", "second", {})
        await bench.until(lambda: bench.counts[2] == 1)
        bench.link.offer("error", "notice_lost", {})
        bench.link.offer("error", "third", {})
        await bench.until(lambda: bench.counts[0] == 2)
    assert [one["event"] for one in post.got] == ["first", "first", "second", "second", "second", "third"]
    assert bench.logs == [{"event": "notice_lost", "notifier": "webhook", "of": "second", "reason": "500 "}]


def test_queue_when_full_then_holds_back() -> None:
    """Nobody waits for a receiver."""
    bench = Bench("http://127.0.0.1:1/x")
    bench.per_minute = 10**6
    for number in range(WAITING_MAX + 7):
        bench.link.offer("error", f"e{number}", {})
    assert bench.counts == (0, 7, 0)
