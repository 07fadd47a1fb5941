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
        status = self.answers.pop(0) if self.answers else 204
        # As Express does, and many a proxy, of a path that they do not know.
        text = f"{'.' * 150} Cannot POST {request.path_qs}" if status == 404 else None
        return web.Response(status=status, text=text)


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
    app.router.add_post("/{rest:.*}", made.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", made.port).start()
    yield made
    await runner.cleanup()


@asynccontextmanager
async def running(post: Post, path: str = "/x") -> AsyncIterator[Bench]:
    bench = Bench(f"http://127.0.0.1:{post.port}{path}")
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
            bench.link.offer("error", f"event_{number}", {})
        await bench.until(lambda: bench.counts[0] == 3)
        bench.now_ns = MINUTE + SECOND
        bench.link.offer("error", "after", {})
        await bench.until(lambda: bench.counts[0] == 4)
    assert post.got[-1]["others"] == 97


async def test_critical_line_when_a_minute_is_used_up_then_is_told_and_first(post: Post) -> None:
    """Ten errors must not keep a kill from whoever is to know of it; of it there are no more than of them."""
    bench = Bench(f"http://127.0.0.1:{post.port}/x")
    bench.per_minute = 3
    for number in range(5):
        bench.link.offer("error", f"e{number}", {})
    for number in range(5):
        bench.link.offer("critical", f"kill_{number}", {})
    task = asyncio.create_task(bench.link.run())
    await bench.until(lambda: bench.counts[0] == 6)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert [one["event"] for one in post.got] == ["kill_0", "kill_1", "kill_2", "e0", "e1", "e2"]
    assert bench.counts == (6, 4, 0)


async def test_lines_when_held_back_and_none_follows_then_that_is_told_when_the_minute_is_over(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How many, and the gravest: else nobody would ever know."""
    monkeypatch.setattr("tradefan.notifiers.link.LOOK_S", 0.01)
    async with running(post) as bench:
        bench.per_minute = 1
        for level, event in (("error", "a"), ("error", "b"), ("critical", "kill"), ("critical", "breaker")):
            bench.link.offer(level, event, {})
        bench.link.offer("error", "c", {})
        await bench.until(lambda: bench.counts[0] == 2)
        bench.now_ns = MINUTE - SECOND
        await asyncio.sleep(0.05)
        assert bench.counts == (2, 3, 0)
        bench.now_ns = MINUTE + SECOND
        await bench.until(lambda: bench.counts[0] == 3)
        bench.now_ns += 2 * MINUTE
        await asyncio.sleep(0.05)
    assert (len(post.got), bench.counts) == (3, (3, 3, 0))
    last = post.got[-1]
    # The message of `kill` has told of `b`.
    assert [last[key] for key in ("level", "event", "others", "gravest")] == [
        "critical",
        "notices_held",
        2,
        "breaker",
    ]


class Unsayable:
    def __str__(self) -> str:
        raise ValueError("no text")


async def test_line_when_nothing_of_it_can_be_said_then_it_is_told_all_the_same(post: Post) -> None:
    """An undecodable file name, a value of a stranger's, a library's own level: the loop ends by no line."""
    async with running(post) as bench:
        bench.link.offer("error", "odd \ud800", {"instrument": "a\ud800", "of": Unsayable(), "none": None})
        bench.link.offer("level 25", "library", {})
        bench.link.offer("error", "after", {})
        await bench.until(lambda: bench.counts[0] == 3)
    assert [one["event"] for one in post.got] == ["odd ?", "library", "after"]
    assert post.got[0]["fields"] == {"instrument": "a?", "of": "unreadable: ValueError"}


@pytest.mark.parametrize(
    "path", ["/bot123:ABCsecretTOKEN", "/robot/send?access_token=ABCsecretTOKEN", "/a/ABCsecretTOKEN"]
)
async def test_receiver_when_it_repeats_what_it_was_sent_then_no_token_is_logged(
    post: Post, path: str
) -> None:
    """Nor a half of one, where the text is cut."""
    async with running(post, path) as bench:
        post.answers = [404] * TRIES
        bench.link.offer("error", "first", {})
        await bench.until(lambda: bench.counts[2] == 1)
    (line,) = bench.logs
    assert line["reason"].startswith("404 ......")
    assert line["reason"].endswith("***")
    assert [word for word in ("ABC", "secret", "TOK") if word in line["reason"]] == []
    assert len(line["reason"]) <= 210


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
