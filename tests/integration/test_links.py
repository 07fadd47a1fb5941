"""Links under a real loop against a real server: bytes, ends, and the machine that lives on them."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tests.integration.market_server import FRAMES_BEFORE_TROUBLE, GARBAGE, RECORDINGS, MarketServer
from tradefan.core.connection import Budget, Connection, ConnectionSpec, Phase, Timing, Turn
from tradefan.errors import Refused
from tradefan.links.public import PublicLink
from tradefan.links.tape import load_origin, open_recordings
from tradefan.links.transport import Transport
from tradefan.messages.base import Message
from tradefan.messages.wire import (
    Close,
    Closed,
    Http,
    NotWritten,
    Op,
    Open,
    Opened,
    Received,
    Text,
    Write,
    Written,
)
from tradefan.units import MS, SECOND
from tradefan.venues.tape import Tape, cut

DEPTH, TICKER = "btcusdt@depth@100ms", "btcusdt@bookTicker"
PATIENCE_S = 10.0
FAST = Timing(
    connect_ns=300 * MS,
    ack_ns=200 * MS,
    first_frame_ns=200 * MS,
    silence_ns=300 * MS,
    backoff_base_ns=20 * MS,
    backoff_cap_ns=50 * MS,
)
QUICK_END = Transport(close_s=0.05)


class Rim:
    """A public link alone: what it delivers is kept."""

    def __init__(self, url: str, transport: Transport | None = None) -> None:
        self.got: list[Message] = []
        self.link = PublicLink(self.deliver, time.monotonic_ns, url, transport)

    def deliver(self, msg: Message) -> None:
        self.got.append(msg)

    def of(self, kind: type[Message]) -> list[Any]:
        return [msg for msg in self.got if isinstance(msg, kind)]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                await asyncio.sleep(0.002)

    async def until_some(self, kind: type[Message], count: int = 1) -> list[Any]:
        await self.until(lambda: len(self.of(kind)) >= count)
        return self.of(kind)

    async def opened(self, server: MarketServer, gen: int = 1) -> None:
        self.link.apply(Open("pub", gen, server.stream_url))
        await self.until(lambda: any(msg.gen == gen for msg in self.of(Opened)))

    def subscribe(self, gen: int = 1) -> None:
        self.link.apply(Write("pub", gen, 5, "subscribe", None, subscription(5, (DEPTH,))))

    def get(
        self, path: str, *query: tuple[str, str], op: Op = "query", not_after_ns: int | None = None
    ) -> None:
        self.link.apply(Write("pub", 1, 6, op, not_after_ns, Http("GET", path, query)))


@asynccontextmanager
async def running(url: str, transport: Transport | None = None) -> AsyncIterator[Rim]:
    rim = Rim(url, transport or QUICK_END)
    task = asyncio.get_running_loop().create_task(rim.link.run())
    # One turn, in which both halves start.
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    try:
        yield rim
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()


class Host(Rim):
    """A link with its machine: the smallest owner of a connection under a real clock."""

    def __init__(self, server: MarketServer, timing: Timing, url: str | None = None) -> None:
        super().__init__(server.rest_url, QUICK_END)
        self.moves: list[tuple[Phase, str]] = []
        self.turns: list[Turn] = []
        self.last_id = 0
        spec = ConnectionSpec("pub", url or server.stream_url, (DEPTH, TICKER), (DEPTH, TICKER))
        self.machine = Connection(spec, timing, subscription, Budget(gap_ns=0))

    @property
    def now_ns(self) -> int:
        return time.monotonic_ns()

    @now_ns.setter
    def now_ns(self, _value: int) -> None:
        raise AssertionError

    def next_id(self) -> int:
        self.last_id += 1
        return self.last_id

    def random(self) -> float:
        return 0.5

    def deliver(self, msg: Message) -> None:
        super().deliver(msg)
        # Between steps, as the driver does it: never inside the link's own call.
        asyncio.get_running_loop().call_soon(self._handle, msg)

    def do(self, turn: Turn) -> None:
        self.turns.append(turn)
        self.moves.extend((move.target, move.reason) for move in turn.moves)
        for effect in turn.effects:
            self.link.apply(effect)
        if turn.alarm_ns is not None:
            delay_s = max(0, turn.alarm_ns - self.now_ns) / SECOND
            asyncio.get_running_loop().call_later(delay_s, self._ring, turn.alarm_ns)

    def _ring(self, number: int) -> None:
        # Timers of a loop may come a hair early; the kernel's never do.
        if self.now_ns < number:
            asyncio.get_running_loop().call_later(0.001, self._ring, number)
        else:
            self.do(self.machine.tick(number, self))

    def _handle(self, msg: Message) -> None:
        if isinstance(msg, Opened):
            self.do(self.machine.opened(msg, self))
        elif isinstance(msg, Closed):
            self.do(self.machine.closed(msg, self))
        elif isinstance(msg, NotWritten):
            self.do(self.machine.not_written(msg, self))
        elif isinstance(msg, Received):
            turn = self.machine.received(msg, self)
            self.do(turn)
            if turn.mine and msg.req is None:
                self._decode(msg.body)

    def _decode(self, body: bytes) -> None:
        try:
            frame = json.loads(body)
        except ValueError:
            return
        if isinstance(frame, dict) and "result" in frame:
            self.do(self.machine.acknowledged(frame["id"], self))
        elif isinstance(frame, dict):
            self.do(self.machine.heard(frame["stream"], self))

    async def until_moved(self, phase: Phase, times: int = 1) -> list[tuple[Phase, str]]:
        await self.until(lambda: [target for target, _ in self.moves].count(phase) >= times)
        return self.moves


@asynccontextmanager
async def hosted(
    server: MarketServer, timing: Timing | None = None, url: str | None = None
) -> AsyncIterator[Host]:
    """A machine on a running link; with the product's patience unless told, for slow computers."""
    host = Host(server, timing or Timing(), url)
    task = asyncio.get_running_loop().create_task(host.link.run())
    host.do(host.machine.want(host))
    try:
        yield host
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def subscription(req: int, names: tuple[str, ...]) -> Text:
    return Text(json.dumps({"method": "SUBSCRIBE", "params": names, "id": req}))


Scenario = Callable[[], Coroutine[Any, Any, None]]


@pytest.fixture(params=["uvloop", pytest.param("asyncio", marks=pytest.mark.slow)])
def play(request: pytest.FixtureRequest) -> Callable[[Scenario], None]:
    """Run a scenario to its end on a loop of its own; the daemon runs on uvloop."""
    factory = asyncio.new_event_loop if request.param == "asyncio" else uvloop.new_event_loop

    def run(scenario: Scenario) -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(scenario())
            # What was cut off is gone a turn later.
            runner.run(asyncio.sleep(0.01))

    return run


Play = Callable[[Scenario], None]


# --- the machine on its link ------------------------------------------------------------------------


def test_connection_to_a_healthy_server_is_live_and_delivers_the_recorded_bytes(play: Play) -> None:
    """What the server sent is what the machine may decode, in order, stamped after arrival."""

    async def scenario() -> None:
        async with MarketServer("serve") as server, hosted(server) as host:
            await host.until_moved(Phase.LIVE)
            await host.until_some(Received, 60)
            frames = [msg for msg in host.of(Received) if not msg.body.startswith(b'{"result"')]
            assert [msg.body for msg in frames] == server.sent[: len(frames)]
            assert [msg.recv_ns for msg in frames] == sorted(msg.recv_ns for msg in frames)
            assert host.moves == [
                (Phase.OPENING, "wanted"),
                (Phase.SUBSCRIBING, "opened"),
                (Phase.LIVE, "subscribed"),
            ]

    play(scenario)


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        ("drop", "closed: 1006"),
        ("bye", "closed: 1001 received 1001 (going away) maintenance"),
        ("silent", "no frame for 0.3 s"),
        ("mute", f"acknowledged but mute: {DEPTH}, {TICKER}"),
        ("deaf", "not acknowledged in 0.2 s"),
        ("hang", "not open after 0.3 s"),
        ("huge", "closed: 1009"),
        ("404", "closed: 404 Not Found"),
        ("away", "closed: 302 Found"),
    ],
)
def test_connection_when_the_server_misbehaves_backs_off_with_the_reason_and_comes_back(
    play: Play, act: str, reason: str
) -> None:
    """Every trouble ends in a new generation that is LIVE on the healthy second connection."""

    async def scenario() -> None:
        async with MarketServer(act, "serve") as server, hosted(server, FAST) as host:
            moves = await host.until_moved(Phase.BACKOFF)
            assert next(why for phase, why in moves if phase is Phase.BACKOFF).startswith(reason)
            await host.until(lambda: host.machine.state.phase is Phase.LIVE)
            assert server.connections >= 2
            assert host.machine.state.strangers == 0

    play(scenario)


def test_connection_without_a_server_goes_on_trying(play: Play, free_port: Callable[[], int]) -> None:
    """A refused port is an outage, not the end."""

    async def scenario() -> None:
        async with MarketServer() as server, hosted(server, FAST, f"ws://127.0.0.1:{free_port()}") as host:
            await host.until_moved(Phase.BACKOFF, 3)
            reasons = [reason for phase, reason in host.moves if phase is Phase.BACKOFF]
            assert all(reason.startswith("closed: ConnectionRefusedError") for reason in reasons)

    play(scenario)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("451", "HTTP 451: the venue refuses this region"),
        ("403", "HTTP 403: a firewall of the venue refuses this address"),
        ("418", "HTTP 418: the venue bans this address for too many requests"),
    ],
)
def test_connection_when_refused_names_region_firewall_or_ban(play: Play, status: str, reason: str) -> None:
    """And waits as long as the venue's Retry-After says."""

    async def scenario() -> None:
        async with MarketServer(status) as server, hosted(server) as host:
            await host.until_moved(Phase.BANNED)
            assert host.moves[-1] == (Phase.BANNED, reason)
            state = host.machine.state
            assert state.retry_ns - state.since_ns >= 7 * SECOND

    play(scenario)


def test_garbage_comes_through_as_raw_bytes_and_the_stream_goes_on(play: Play) -> None:
    """Broken JSON, bad UTF-8 and an empty message are the decoder's business: no reconnect."""

    async def scenario() -> None:
        async with MarketServer("garbage") as server, hosted(server) as host:
            await host.until_some(Received, 1 + FRAMES_BEFORE_TROUBLE + 2 * len(GARBAGE))
            bodies = [msg.body for msg in host.of(Received)][1:]
            assert bodies == server.sent
            assert bodies[FRAMES_BEFORE_TROUBLE::2] == list(GARBAGE)
            assert host.machine.state.opens == 1

    play(scenario)


def test_snapshot_request_is_answered_over_http_beside_the_socket(play: Play) -> None:
    """One generation, two roads: the answer carries the request's number, status and body."""

    async def scenario() -> None:
        async with MarketServer("serve") as server, hosted(server) as host:
            await host.until_moved(Phase.LIVE)
            query = (("symbol", "BTCUSDT"), ("limit", "1000"))
            host.do(host.machine.request(host, "query", Http("GET", "/api/v3/depth", query), "book"))
            await host.until(lambda: any(turn.answer for turn in host.turns))
            (answer,) = [msg for msg in host.of(Received) if msg.req is not None]
            assert (answer.status, answer.body) == (200, server.recording.snapshot)
            assert server.requests == ["/api/v3/depth?symbol=BTCUSDT&limit=1000"]

    play(scenario)


def test_request_that_hangs_is_lost_by_time_out(play: Play) -> None:
    """The link keeps silent about what it cannot know; the machine's clock decides."""

    async def scenario() -> None:
        async with MarketServer("serve") as server, hosted(server) as host:
            await host.until_moved(Phase.LIVE)
            slow = host.machine.request(host, "query", Http("GET", "/slow"), "book", timeout_ns=50 * MS)
            host.do(slow)
            await host.until(lambda: any(turn.lost for turn in host.turns))
            (lost,) = [lost for turn in host.turns for lost in turn.lost]
            assert (lost.request.subject, lost.reason) == ("book", "timeout")

    play(scenario)


# --- the links alone --------------------------------------------------------------------------------


def test_link_when_cancelled_ends_each_generation_with_one_closed(play: Play) -> None:
    """Open, opening, or opened before the link ran at all: the machine hears of each once."""

    async def scenario() -> None:
        async with MarketServer("serve", "hang") as server:
            rim = Rim(server.rest_url)
            rim.link.apply(Open("pub", 1, server.stream_url))
            task = asyncio.get_running_loop().create_task(rim.link.run())
            await rim.until_some(Opened)
            rim.link.apply(Open("pub", 2, server.stream_url))
            await asyncio.sleep(0)
            rim.link.apply(Open("pub", 3, server.stream_url))
            task.cancel()
            await asyncio.sleep(0)
            # Effects of a step that came while it was ending.
            rim.link.apply(Open("pub", 4, server.stream_url))
            rim.get("/api/v3/depth")
            await asyncio.gather(task, return_exceptions=True)
            assert sorted((msg.gen, msg.code, msg.reason) for msg in rim.of(Closed)) == [
                (gen, None, "link_down") for gen in (1, 2, 3, 4)
            ]
            assert rim.of(NotWritten) == [NotWritten("pub", 1, 6, "link_down")]

    play(scenario)


def test_close_ends_a_generation_in_any_state_and_the_server_sees_it(play: Play) -> None:
    """Not begun, opening, open; a second `Close` and an unknown one say nothing."""

    async def scenario() -> None:
        async with MarketServer("serve", "hang") as server:
            rim = Rim(server.rest_url)
            rim.link.apply(Open("pub", 9, server.stream_url))
            rim.link.apply(Close("pub", 9))
            assert [(msg.gen, msg.reason) for msg in rim.of(Closed)] == [(9, "closed")]
            async with running(server.rest_url) as rim:
                await rim.opened(server)
                rim.link.apply(Open("pub", 2, server.stream_url))
                await rim.until(lambda: server.connections == 2)
                for gen in (1, 1, 2, 77):
                    rim.link.apply(Close("pub", gen, 1000))
                ends = await rim.until_some(Closed, 2)
                assert sorted((msg.gen, msg.code, msg.reason) for msg in ends) == [
                    (1, 1000, "closed"),
                    (2, 1000, "closed"),
                ]
                assert not rim.link._sockets.is_open(1)

    play(scenario)


def test_idle_socket_is_pinged_and_lives_while_the_server_answers(play: Play) -> None:
    """Silence of data is the machine's business; the link only looks whether anybody is there."""

    async def scenario() -> None:
        async with (
            MarketServer("mute") as server,
            running(server.rest_url, Transport(ping_s=0.03, close_s=0.05)) as rim,
        ):
            await rim.opened(server)
            await asyncio.sleep(0.2)
            assert rim.of(Closed) == []

    play(scenario)


def test_half_open_socket_is_given_up_when_no_pong_comes(play: Play) -> None:
    """A server that accepts and then never answers anything, pings included."""

    async def scenario() -> None:
        async def dead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            request = (await reader.readuntil(b"\r\n\r\n")).decode()
            writer.write(handshake(request))
            await reader.read()
            writer.close()

        server = await asyncio.start_server(dead, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        transport = Transport(ping_s=0.05, close_s=0.05)
        async with server, running("http://127.0.0.1:1", transport) as rim:
            rim.link.apply(Open("pub", 1, f"ws://127.0.0.1:{port}/"))
            (end,) = await rim.until_some(Closed)
            assert (end.code, end.reason) == (1006, "no pong in 0.05 s")

    play(scenario)


def handshake(request: str) -> bytes:
    from websockets.utils import accept_key

    key = next(line.split(": ")[1] for line in request.splitlines() if line.startswith("Sec-WebSocket-Key"))
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept_key(key)}\r\n\r\n"
    ).encode()


def test_paused_link_stops_reading_and_goes_on_without_loss_when_resumed(play: Play) -> None:
    """Under a flood the server's frames wait in the buffers, not in our memory."""

    async def scenario() -> None:
        async with MarketServer("flood") as server, running(server.rest_url) as rim:
            await rim.opened(server)
            rim.subscribe()
            await rim.until_some(Received, 100)
            rim.link.pause()
            # The message in hand is still delivered, whenever this machine comes to it.
            held = -1
            async with asyncio.timeout(5):
                while held != (held := len(rim.of(Received))):
                    await asyncio.sleep(0.2)
            await asyncio.sleep(0.1)
            assert len(rim.of(Received)) == held
            rim.link.resume()
            frames = (await rim.until_some(Received, held + 500))[1:]
            assert [msg.body for msg in frames] == server.sent[: len(frames)]

    play(scenario)


def test_guarded_write_that_must_not_happen_leaves_no_byte(play: Play) -> None:
    """Latch (creates only), generation and deadline, on both roads, each proved by `NotWritten`."""

    async def scenario() -> None:
        transport = Transport(latched=lambda _write: True, close_s=0.05)
        async with MarketServer("mute") as server, running(server.rest_url, transport) as rim:
            await rim.opened(server)
            past_ns = time.monotonic_ns() - 1
            bodies: tuple[Text | Http, ...] = (subscription(7, (DEPTH,)), Http("GET", "/api/v3/depth"))
            for body in bodies:
                rim.link.apply(Write("pub", 1, 1, "create", None, body))
                rim.link.apply(Write("pub", 2, 2, "query", None, body))
                rim.link.apply(Write("pub", 1, 3, "query", past_ns, body))
            refusals = await rim.until_some(NotWritten, 6)
            assert sorted((msg.req, msg.reason) for msg in refusals) == [
                (1, "LATCHED"),
                (1, "LATCHED"),
                (2, "STALE_GENERATION"),
                (2, "STALE_GENERATION"),
                (3, "EXPIRED"),
                (3, "EXPIRED"),
            ]
            for body in bodies:
                rim.link.apply(Write("pub", 1, 4, "cancel", None, body))
            await rim.until_some(Written, 2)
            await rim.until(lambda: any(msg.req == 4 for msg in rim.of(Received)))
            assert (len(server.commands), len(server.requests)) == (1, 1)

    play(scenario)


def test_redirect_and_ban_are_answers_like_any_other(play: Play) -> None:
    """Followed by nobody; Retry-After travels along."""

    async def scenario() -> None:
        async with MarketServer("mute") as server, running(server.rest_url) as rim:
            await rim.opened(server)
            rim.get("/away")
            rim.get("/teapot")
            answers = await rim.until_some(Received, 2)
            assert sorted((msg.status, msg.retry_after_s) for msg in answers if msg.status) == [
                (302, None),
                (418, 30.0),
            ]
            assert server.requests == []

    play(scenario)


@pytest.mark.parametrize("path", ["/cut", "/big", "/slow"])
def test_request_without_a_whole_answer_ends_in_silence_and_is_sent_once(play: Play, path: str) -> None:
    """Cut off, over 32 MiB, or too late: it was written, so nothing is claimed and nothing repeated."""

    async def scenario() -> None:
        async with (
            MarketServer("mute") as server,
            running(server.rest_url, Transport(answer_s=0.2, close_s=0.05)) as rim,
        ):
            await rim.opened(server)
            # Warm first: aiohttp repeats idempotent requests only on a connection that it kept.
            rim.get("/api/v3/depth")
            await rim.until_some(Received)
            rim.get(path)
            await rim.until_some(Written, 2)
            await rim.until(lambda: "http 6" not in {task.get_name() for task in asyncio.all_tasks()})
            rim.get("/api/v3/depth", ("again", "1"))
            await rim.until_some(Received, 2)
            assert [msg.body for msg in rim.of(Received)] == [server.recording.snapshot] * 2
            assert rim.of(NotWritten) == []
            expected = ["/api/v3/depth", *([path] if path != "/big" else []), "/api/v3/depth?again=1"]
            assert server.requests == expected

    play(scenario)


def test_request_that_finds_no_server_is_proved_not_written(play: Play, free_port: Callable[[], int]) -> None:
    """No connection, no byte."""

    async def scenario() -> None:
        async with MarketServer("mute") as server, running(f"http://127.0.0.1:{free_port()}") as rim:
            await rim.opened(server)
            rim.get("/api/v3/depth")
            (proof,) = await rim.until_some(NotWritten)
            assert proof.reason.startswith("link_down: ClientConnectorError")

    play(scenario)


def test_request_while_the_link_does_not_run_is_proved_not_written(play: Play) -> None:
    """A link that is down holds nothing back for later."""

    async def scenario() -> None:
        rim = Rim("http://127.0.0.1:1")
        rim.get("/api/v3/depth")
        rim.subscribe()
        assert rim.got == [NotWritten("pub", 1, 6, "link_down"), NotWritten("pub", 1, 5, "STALE_GENERATION")]

    play(scenario)


# --- files of the tape ------------------------------------------------------------------------------


def write_day(path: Path, lines: list[str]) -> None:
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))


def test_packaged_recordings_open_with_their_spans_and_snapshots() -> None:
    """Both days of both symbols, as their README states them."""
    recordings = open_recordings(RECORDINGS)
    assert {name: (r.symbol, r.first_ns, r.last_ns) for name, r in recordings.items()} == {
        "BTCUSDT": ("BTCUSDT", 1723161253937085768, 1723161904535092233),
        "ETHUSDT": ("ETHUSDT", 1723161254024619568, 1723161904543279633),
    }
    assert [json.loads(r.snapshot)["lastUpdateId"] for r in recordings.values()] == [50093239218, 35346513512]


def test_recorded_days_are_chained_and_streamed_anew_by_each_pass(tmp_path: Path) -> None:
    """Bytes without the line's end; two passes at once do not disturb each other."""
    write_day(tmp_path / "spot_xusdt_20240102.gz", ['30 {"c": 3}'])
    write_day(tmp_path / "spot_xusdt_20240101.gz", ['10 {"a": 1}', '20 {"lastUpdateId":5}'])
    recording = open_recordings(tmp_path)["XUSDT"]
    expected = [(10, b'{"a": 1}'), (20, b'{"lastUpdateId":5}'), (30, b'{"c": 3}')]
    assert list(zip(recording.frames(), recording.frames(), strict=True)) == [(f, f) for f in expected]
    assert (recording.snapshot, recording.first_ns, recording.last_ns) == (b'{"lastUpdateId":5}', 10, 30)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("notes.txt", b"", "expected files spot_<symbol>_<day>.gz"),
        ("spot_x_1.gz", gzip.compress(b'10 {"a": 1}\n'), "lastUpdateId"),
        ("spot_x_1.gz", b"no gzip", "cannot read the recording"),
        ("spot_x_1.gz", gzip.compress(b'ten {"a": 1}\n'), "cannot read the recording"),
        ("spot_x_1.gz", gzip.compress(b'10 {"lastUpdateId":1}\n' * 9999)[:-20], "cannot read the recording"),
    ],
    ids=["no file of ours", "no snapshot", "no gzip", "no time", "cut off"],
)
def test_folder_without_a_recording_is_refused_with_what_was_expected(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    """Nothing there, no snapshot, not gzip, no lines of ours, cut off."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Refused, match="NO_RECORDING") as caught:
        open_recordings(tmp_path)
    assert words in caught.value.text


def test_packaged_recording_played_by_the_tape_delivers_every_line() -> None:
    """The first seconds of both symbols, byte for byte, merged by receive time."""
    recordings = cut(open_recordings(RECORDINGS), 4 * SECOND)
    tape = Tape(recordings, origin_ns=0, history_ns=SECOND)
    tape.apply(0, Open("pub", 1, "tape"))
    names = tuple(f"{s}usdt@{k}" for s in ("btc", "eth") for k in ("trade", "depth@100ms", "bookTicker"))
    (opened,) = tape.take(0, 256)
    assert isinstance(opened, Opened)
    tape.apply(0, Write("pub", 1, 2, "subscribe", None, subscription(2, names)))
    got = []
    while (due_ns := tape.next_ns()) is not None:
        got += [m for m in tape.take(due_ns, 256) if isinstance(m, Received) and b"result" not in m.body]
    lines = sorted(
        (recv_ns + opened.shift_ns, raw)
        for recording in recordings.values()
        for recv_ns, raw in recording.frames()
        if b"lastUpdateId" not in raw[:40]
    )
    assert [(msg.recv_ns, msg.body) for msg in got] == lines


def test_origin_is_written_at_the_first_start_and_kept(tmp_path: Path) -> None:
    """The second start resumes; nothing half-written is ever there."""
    path = tmp_path / "data" / "tape.json"
    assert load_origin(path, 1_000) == 1_000
    assert load_origin(path, 9_000) == 1_000
    assert [file.name for file in path.parent.iterdir()] == ["tape.json"]


def test_origin_moves_when_the_speed_changes_so_that_the_tape_goes_on_where_it_is(tmp_path: Path) -> None:
    """100 s at tenfold speed are 1,000 s of tape; at single speed that took 1,000 s."""
    path = tmp_path / "tape.json"
    load_origin(path, 0, 10.0)
    assert load_origin(path, 100 * SECOND, 1.0) == -900 * SECOND
    assert load_origin(path, 200 * SECOND, 1.0) == -900 * SECOND


@pytest.mark.parametrize("text", ["", "{", "[]", '{"origin_ns": "x", "speed": 1}', '{"speed": 1}'])
def test_origin_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path, text: str) -> None:
    """Guessing an origin would repeat ids."""
    path = tmp_path / "tape.json"
    path.write_text(text)
    with pytest.raises(Refused, match="TAPE_ORIGIN") as caught:
        load_origin(path, 5)
    assert str(path) in caught.value.text
