"""The tape on small made recordings: what it delivers, when, and that laps and restarts join up."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from tradefan.core.connection import Budget, Connection, ConnectionSpec, Phase, Timing, Turn
from tradefan.errors import Outage, Refused
from tradefan.messages.base import Message
from tradefan.messages.wire import (
    Close,
    Closed,
    Http,
    NotWritten,
    Open,
    Opened,
    Received,
    Text,
    Write,
    Written,
)
from tradefan.units import MS, SECOND
from tradefan.venues import tape as tape_module
from tradefan.venues.tape import BURST_MAX, ID_STRIDE, Recording, Tape, cut

FIRST_NS = 1_700_000_000 * SECOND
ORIGIN_NS = 1_800_000_000 * SECOND
SPAN_MS = 8_000
HISTORY_NS = 3 * SECOND
LAP_NS = SPAN_MS * MS + 1
STRIDE_NS = LAP_NS - HISTORY_NS
STREAMS = tuple(f"{name}@{kind}" for name in ("btcusdt", "ethusdt") for kind in ("depth", "trade"))
Frames = list[tuple[int, bytes]]


def made_frames(symbol: str, first_id: int) -> Frames:
    """Depth every 100 ms with ids without gap, a trade every 40 ms, the snapshot amid the third diff."""
    name, frames, last_id = symbol.lower(), [], first_id
    for at_ms in range(0, SPAN_MS + 1, 20):
        recv_ns = FIRST_NS + at_ms * MS
        if at_ms % 100 == 0:
            first, last_id = last_id + 1, last_id + 5
            level = [f"{100 + last_id % 7}.00", f"{last_id % 3}.000"]
            depth = {"e": "depthUpdate", "U": first, "u": last_id, "b": [level], "a": [["200.00", "1.000"]]}
            frames.append((recv_ns, framed(f"{name}@depth", depth)))
        if at_ms % 40 == 0:
            frames.append((recv_ns, framed(f"{name}@trade", {"e": "trade", "t": first_id + at_ms})))
        if at_ms == 260:
            snapshot = {
                "lastUpdateId": last_id - 2,
                "bids": [["90.00", "9.000"]],
                "asks": [["200.00", "5.000"]],
            }
            frames.append((recv_ns, json.dumps(snapshot).encode()))
    return frames


def framed(stream: str, data: dict[str, object]) -> bytes:
    return json.dumps({"stream": stream, "data": data}, separators=(",", ":")).encode()


def recording(symbol: str, frames: Frames) -> Recording:
    snapshot = next((raw for _, raw in frames if b"lastUpdateId" in raw), b"{}")
    return Recording(symbol, lambda: iter(frames), snapshot, frames[0][0], frames[-1][0])


FRAMES = {"BTCUSDT": made_frames("BTCUSDT", 1_000), "ETHUSDT": made_frames("ETHUSDT", 5_000_000)}
RECORDINGS = {symbol: recording(symbol, frames) for symbol, frames in FRAMES.items()}
MERGED = sorted((ns, number, raw) for number, frames in enumerate(FRAMES.values()) for ns, raw in frames)
"""All recorded frames by receive time; at the same instant the first symbol first."""
PLAYED = [(ns, raw) for ns, _, raw in MERGED if b"lastUpdateId" not in raw]


def made_tape(**changes: object) -> Tape:
    arguments: dict[str, object] = {
        "origin_ns": ORIGIN_NS,
        "history_ns": HISTORY_NS,
        "exchange_info": b'{"x":1}',
    }
    return Tape(RECORDINGS, **{**arguments, **changes})  # type: ignore[arg-type]


def opened(tape: Tape, now_ns: int, gen: int = 1, streams: tuple[str, ...] = STREAMS) -> Opened:
    """Open, take `Opened`, subscribe, take the acknowledgement."""
    tape.apply(now_ns, Open("pub", gen, "tape"))
    answer = next(msg for msg in taken(tape, now_ns) if isinstance(msg, Opened))
    if streams:
        ask(tape, now_ns, gen, {"method": "SUBSCRIBE", "params": list(streams), "id": 7})
        assert tape.take(now_ns, 2) == [
            Written("pub", gen, 7, now_ns),
            Received("pub", gen, now_ns, b'{"result":null,"id":7}'),
        ]
    return answer


def ask(tape: Tape, now_ns: int, gen: int, command: object) -> None:
    tape.apply(now_ns, Write("pub", gen, 7, "subscribe", None, Text(json.dumps(command))))


def rest(tape: Tape, now_ns: int, path: str, **query: str) -> Received:
    """Ask over HTTP on the newest generation and take the answer."""
    gen = max(tape._sessions)
    tape.apply(now_ns, Write("pub", gen, 8, "query", None, Http("GET", path, tuple(query.items()))))
    written, answer = tape.take(now_ns, 2)
    assert written == Written("pub", gen, 8, now_ns)
    assert isinstance(answer, Received)
    return answer


def taken(tape: Tape, until_ns: int, limit: int = BURST_MAX) -> Iterator[Message]:
    """Take everything that is due up to an instant, at the instants that the tape names."""
    due_ns = tape.next_ns()
    while due_ns is not None and due_ns <= until_ns:
        yield from tape.take(due_ns, limit)
        due_ns = tape.next_ns()


def frames_of(messages: Iterator[Message]) -> list[tuple[int, bytes]]:
    return [(msg.recv_ns, msg.body) for msg in messages if isinstance(msg, Received)]


def test_tape_in_a_lap_delivers_every_frame_as_recorded_moved_by_one_constant() -> None:
    """Bytes untouched, order by receive time over all symbols, then the seam."""
    tape = made_tape()
    answer = opened(tape, ORIGIN_NS)
    assert answer == Opened("pub", 1, ORIGIN_NS, ORIGIN_NS - FIRST_NS - HISTORY_NS, 0, ORIGIN_NS)
    messages = list(taken(tape, ORIGIN_NS + 2 * LAP_NS))
    assert frames_of(iter(messages)) == [(ns + answer.shift_ns, raw) for ns, raw in PLAYED]
    assert messages[-1] == Closed("pub", 1, ORIGIN_NS + STRIDE_NS, None, "seam")
    assert tape.next_ns() is None


@pytest.mark.parametrize("speed", [1.0, 2.0, 0.5, 3.7])
def test_frames_of_the_history_are_due_at_once_and_the_rest_at_speed(speed: float) -> None:
    """No frame is early, and none is later than the nanosecond that rounding takes."""
    tape = made_tape(speed=speed)
    shift_ns = opened(tape, ORIGIN_NS).shift_ns
    while (due_ns := tape.next_ns()) is not None:
        for msg in tape.take(due_ns, 1):
            if isinstance(msg, Received):
                ahead_ns = max(0, msg.recv_ns - shift_ns - FIRST_NS - HISTORY_NS)
                assert 0 <= due_ns - ORIGIN_NS - ahead_ns / speed < 2


def test_take_when_much_is_due_gives_no_more_than_the_limit_and_never_floods() -> None:
    """The history of seconds arrives in portions, in order and without loss."""
    tape = made_tape()
    shift_ns = opened(tape, ORIGIN_NS).shift_ns
    late_ns = ORIGIN_NS + LAP_NS
    portions = [tape.take(late_ns, limit) for limit in (3, 10_000, 10_000, 10_000)]
    # All frames, and the end of the session.
    assert [len(portion) for portion in portions] == [
        3,
        BURST_MAX,
        BURST_MAX,
        len(PLAYED) + 1 - 3 - 2 * BURST_MAX,
    ]
    got = [
        (msg.recv_ns - shift_ns, msg.body) for part in portions for msg in part if isinstance(msg, Received)
    ]
    assert got == PLAYED


def test_tape_delivers_nothing_before_a_subscription_and_only_what_is_subscribed() -> None:
    """A stream is asked for as on the venue; the history waits for the first SUBSCRIBE."""
    tape = made_tape()
    opened(tape, ORIGIN_NS, streams=())
    assert tape.next_ns() == ORIGIN_NS + STRIDE_NS
    ask(tape, ORIGIN_NS + SECOND, 1, {"method": "SUBSCRIBE", "params": ["ethusdt@trade"], "id": 1})
    ask(tape, ORIGIN_NS + SECOND, 1, {"method": "SUBSCRIBE", "params": ["btcusdt@depth"], "id": 2})
    ask(tape, ORIGIN_NS + SECOND, 1, {"method": "UNSUBSCRIBE", "params": ["ethusdt@trade"], "id": 3})
    answers = tape.take(ORIGIN_NS + SECOND, 6)
    assert [msg.body for msg in answers if isinstance(msg, Received)] == [
        b'{"result":null,"id":%d}' % number for number in (1, 2, 3)
    ]
    bodies = [raw for _, raw in frames_of(taken(tape, ORIGIN_NS + LAP_NS))]
    assert bodies == [raw for _, raw in PLAYED if b'"btcusdt@depth"' in raw]


def test_tape_when_all_is_unsubscribed_waits_for_the_seam() -> None:
    """A silent session still ends with its lap."""
    tape = made_tape()
    opened(tape, ORIGIN_NS)
    ask(tape, ORIGIN_NS, 1, {"method": "UNSUBSCRIBE", "params": list(STREAMS), "id": 1})
    messages = list(taken(tape, ORIGIN_NS + LAP_NS))
    assert messages[-1] == Closed("pub", 1, ORIGIN_NS + STRIDE_NS, None, "seam")
    assert len(frames_of(iter(messages))) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "Invalid request"),
        ("[]", "Invalid request"),
        ('{"method":"SUBSCRIBE","params":7,"id":1}', "Invalid request"),
        ('{"method":"LIST","params":[],"id":1}', "unknown method LIST"),
    ],
)
def test_tape_when_a_command_is_wrong_says_so_in_a_frame(text: str, words: str) -> None:
    """As a venue would; the session goes on."""
    tape = made_tape()
    opened(tape, ORIGIN_NS)
    tape.apply(ORIGIN_NS, Write("pub", 1, 9, "subscribe", None, Text(text)))
    _, answer = tape.take(ORIGIN_NS, 2)
    assert isinstance(answer, Received)
    assert words in json.loads(answer.body)["error"]["msg"]
    assert len(tape.take(ORIGIN_NS, 10)) == 10


def folded(symbol: str, passed: Frames) -> dict[str, object]:
    """Return a book by hand: the recorded snapshot, and over it the diffs of the frames passed."""
    start = json.loads(RECORDINGS[symbol].snapshot)
    last_id, bids, asks = start["lastUpdateId"], dict(start["bids"]), dict(start["asks"])
    for depth in diffs(symbol, passed):
        if depth["u"] > last_id:
            last_id = depth["u"]
            bids.update(depth["b"])
            asks.update(depth["a"])
    return {
        "lastUpdateId": last_id,
        "bids": {price: qty for price, qty in bids.items() if float(qty)},
        "asks": {price: qty for price, qty in asks.items() if float(qty)},
    }


def diffs(symbol: str, frames: Frames) -> list[dict[str, Any]]:
    stream = f'"{symbol.lower()}@depth"'.encode()
    return [json.loads(raw)["data"] for _, raw in frames if stream in raw]


def book(answer: Received) -> dict[str, object]:
    body = json.loads(answer.body)
    return {**body, "bids": dict(body["bids"]), "asks": dict(body["asks"])}


@pytest.mark.parametrize("passed", [0, 1, 13, 25, 26, 40, 222, 223, 300, 400, 500, len(PLAYED) - 20])
@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT"])
def test_snapshot_at_any_position_is_the_recorded_one_with_the_lap_s_diffs(symbol: str, passed: int) -> None:
    """And the diffs that follow it chain: the first that is not older begins at or before L + 1."""
    tape = made_tape()
    opened(tape, ORIGIN_NS)
    now_ns = ORIGIN_NS
    for _ in range(passed):
        now_ns = max(now_ns, tape.next_ns() or 0)
        assert len(tape.take(now_ns, 1)) == 1
    answer = rest(tape, now_ns, "/api/v3/depth", symbol=symbol, limit="1000")
    assert answer.status == 200
    assert book(answer) == folded(symbol, PLAYED[:passed])
    last_id = json.loads(answer.body)["lastUpdateId"]
    kept = [diff for diff in diffs(symbol, frames_of(taken(tape, ORIGIN_NS + LAP_NS))) if diff["u"] > last_id]
    assert kept[0]["U"] <= last_id + 1
    assert all(after["U"] == before["u"] + 1 for before, after in pairwise(kept))


def test_snapshot_lists_best_levels_first_up_to_the_limit() -> None:
    """Bids fall, asks rise; the limit counts levels of a side."""
    tape = made_tape()
    opened(tape, ORIGIN_NS)
    frames = frames_of(taken(tape, ORIGIN_NS + SECOND))
    answer = rest(tape, ORIGIN_NS + SECOND, "/api/v3/depth", symbol="BTCUSDT", limit="2")
    bids = folded("BTCUSDT", frames)["bids"]
    assert isinstance(bids, dict)
    best = sorted(bids, key=float, reverse=True)[:2]
    assert json.loads(answer.body)["bids"] == [[price, bids[price]] for price in best]


def test_snapshot_has_the_receive_time_of_its_position() -> None:
    """An answer in the history is as old as the frames beside it, so it makes no feed LIVE."""
    tape = made_tape()
    opened(tape, ORIGIN_NS)
    assert rest(tape, ORIGIN_NS, "/api/v3/depth", symbol="BTCUSDT").recv_ns == ORIGIN_NS - HISTORY_NS
    (frame,) = tape.take(ORIGIN_NS, 1)
    assert isinstance(frame, Received)
    assert rest(tape, ORIGIN_NS, "/api/v3/depth", symbol="BTCUSDT").recv_ns == frame.recv_ns


@pytest.mark.parametrize(
    ("path", "query", "status", "words"),
    [
        ("/api/v3/exchangeInfo", {}, 200, '{"x":1}'),
        ("/api/v3/depth", {"symbol": "XRPUSDT"}, 400, "Invalid symbol"),
        ("/api/v3/depth", {"symbol": "BTCUSDT", "limit": "-1"}, 400, "limit"),
        ("/api/v3/klines", {}, 404, "the tape has no /api/v3/klines"),
    ],
)
def test_rest_answers_what_is_recorded_and_refuses_the_rest(
    path: str, query: dict[str, str], status: int, words: str
) -> None:
    """Also before any subscription."""
    tape = made_tape()
    opened(tape, ORIGIN_NS, streams=())
    answer = rest(tape, ORIGIN_NS, path, **query)
    assert answer.status == status
    assert words in answer.body.decode()


def test_write_to_a_generation_that_is_not_open_is_proved_not_written() -> None:
    """Unknown, closed, or still winding to its place."""
    tape = made_tape()
    tape.apply(ORIGIN_NS, Open("pub", 1, "tape"))
    for gen in (1, 2):
        tape.apply(ORIGIN_NS, Write("pub", gen, 9, "query", None, Http("GET", "/api/v3/depth")))
    assert tape.take(ORIGIN_NS, 2) == [
        NotWritten("pub", 1, 9, "STALE_GENERATION"),
        NotWritten("pub", 2, 9, "STALE_GENERATION"),
    ]


def test_close_ends_a_session_at_once() -> None:
    """No frame follows; a second `Close` has nothing to answer."""
    tape = made_tape()
    opened(tape, ORIGIN_NS)
    tape.apply(ORIGIN_NS, Close("pub", 1))
    tape.apply(ORIGIN_NS, Close("pub", 1))
    assert list(taken(tape, ORIGIN_NS + LAP_NS)) == [Closed("pub", 1, ORIGIN_NS, 1000, "closed")]


@pytest.mark.parametrize("after_ns", [0, 1, 1_234_567_891, STRIDE_NS - 1, STRIDE_NS, 77 * STRIDE_NS + 17])
def test_restart_resumes_where_the_origin_says(after_ns: int) -> None:
    """Same constants as the session that was running, and its history begins `history` before."""
    lap, into_ns = divmod(after_ns, STRIDE_NS)
    tape = made_tape()
    now_ns = ORIGIN_NS + after_ns
    answer = opened(tape, now_ns)
    assert answer == Opened(
        "pub", 1, now_ns, ORIGIN_NS + lap * STRIDE_NS - HISTORY_NS - FIRST_NS, lap * ID_STRIDE, now_ns
    )
    frames = frames_of(taken(tape, ORIGIN_NS + (lap + 1) * STRIDE_NS))
    assert frames == [(ns + answer.shift_ns, raw) for ns, raw in PLAYED if ns >= FIRST_NS + into_ns]


def test_restart_in_mid_lap_winds_in_portions_and_opens_when_it_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Hundreds of seconds are passed over without standing still in one step; books come along."""
    monkeypatch.setattr(tape_module, "SCAN_MAX", 10)
    tape = made_tape()
    now_ns = ORIGIN_NS + 4 * SECOND
    tape.apply(now_ns, Open("pub", 1, "tape"))
    portions: list[list[Message]] = []
    while not portions or not portions[-1]:
        assert tape.next_ns() == now_ns
        portions.append(tape.take(now_ns, 256))
    passed = [(ns, raw) for ns, _, raw in MERGED if ns < FIRST_NS + 4 * SECOND]
    assert len(portions) == len(passed) // 10 + 1
    answer = rest(tape, now_ns, "/api/v3/depth", symbol="BTCUSDT")
    assert book(answer) == folded("BTCUSDT", passed)


def test_clock_set_back_behind_the_origin_still_leads_to_new_ids() -> None:
    """After a seam no lap is played again, whatever the wall clock says."""
    tape = made_tape()
    early_ns = ORIGIN_NS - 50 * SECOND
    assert opened(tape, early_ns, 1).shift_id == 0
    list(taken(tape, early_ns + LAP_NS))
    assert opened(tape, early_ns + LAP_NS, 2).shift_id == ID_STRIDE


def test_two_sessions_play_side_by_side_in_the_order_of_the_market() -> None:
    """Each with its own subscriptions; neither history waits for the other's."""
    tape = made_tape()
    for gen in (1, 2):
        tape.apply(ORIGIN_NS, Open("pub", gen, "tape"))
    assert len(tape.take(ORIGIN_NS, 256)) == 2
    for gen, stream in ((1, "btcusdt@trade"), (2, "ethusdt@trade")):
        ask(tape, ORIGIN_NS, gen, {"method": "SUBSCRIBE", "params": [stream], "id": gen})
    assert len(tape.take(ORIGIN_NS, 4)) == 4
    messages = [msg for msg in taken(tape, ORIGIN_NS + LAP_NS) if isinstance(msg, Received)]
    assert [msg.recv_ns for msg in messages] == sorted(msg.recv_ns for msg in messages)
    assert {msg.gen for msg in messages[:4]} == {1, 2}


def test_crash_of_the_owner_in_mid_lap_gives_the_successor_its_book_back() -> None:
    """The old generation is left open by the crash and closed by the new owner's fencing."""
    tape = made_tape()
    opened(tape, ORIGIN_NS, 1)
    crash_ns = ORIGIN_NS + 2 * SECOND
    list(taken(tape, crash_ns))
    tape.apply(crash_ns, Open("pub", 2, "tape"))
    answers = [msg for msg in taken(tape, crash_ns) if isinstance(msg, Opened)]
    tape.apply(crash_ns, Close("pub", 1))
    ask(tape, crash_ns, 2, {"method": "SUBSCRIBE", "params": list(STREAMS), "id": 7})
    list(taken(tape, crash_ns))
    answer = rest(tape, crash_ns, "/api/v3/depth", symbol="ETHUSDT")
    assert answers[0].shift_id == 0
    assert book(answer) == folded("ETHUSDT", [f for f in PLAYED if f[0] <= FIRST_NS + 5 * SECOND])


class Here:
    """A turn's world."""

    def __init__(self) -> None:
        self.now_ns = ORIGIN_NS
        self.last_id = 0

    def next_id(self) -> int:
        self.last_id += 1
        return self.last_id

    def random(self) -> float:
        return 0.5


class Player:
    """A connection over a tape: the smallest `market_data` that there can be."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self.world = Here()
        spec = ConnectionSpec("pub", "tape", STREAMS, STREAMS[::2])
        self.connection = Connection(spec, Timing(silence_ns=2 * SECOND), subscription, Budget())
        self.shift = Opened("pub", 0, 0)
        self.seen: dict[str, int] = {}
        self.opened: list[Opened] = []
        self.do(self.connection.want(self.world))

    def do(self, turn: Turn) -> None:
        for effect in turn.effects:
            self.tape.apply(self.world.now_ns, effect)

    def take(self, msg: Message) -> None:
        if isinstance(msg, Opened):
            self.opened.append(msg)
            self.do(self.connection.opened(msg, self.world))
        elif isinstance(msg, Closed):
            self.do(self.connection.closed(msg, self.world))
        elif isinstance(msg, Received) and self.connection.received(msg, self.world).mine:
            self.decode(msg)

    def decode(self, msg: Received) -> None:
        frame = json.loads(msg.body)
        if "id" in frame:
            self.do(self.connection.acknowledged(frame["id"], self.world))
            return
        stream, ident = frame["stream"], frame["data"].get("u") or frame["data"]["t"]
        self.do(self.connection.heard(stream, self.world))
        ident += self.opened[-1].shift_id
        assert ident > self.seen.get(stream, -1), f"{stream} went back"
        self.seen[stream] = ident

    def play(self, laps: int) -> None:
        while len(self.opened) <= laps:
            self.world.now_ns = max(self.world.now_ns, self.tape.next_ns() or 0)
            for msg in self.tape.take(self.world.now_ns, 256):
                self.take(msg)


def subscription(req: int, names: tuple[str, ...]) -> Text:
    return Text(msgspec.json.encode({"method": "SUBSCRIBE", "params": names, "id": req}).decode())


@pytest.mark.slow
def test_200_laps_have_rising_ids_even_times_no_back_off_and_flat_memory() -> None:
    """Every seam is a new generation at once; what a lap leaves behind does not grow."""
    player = Player(Tape(cut(RECORDINGS, 5 * SECOND), origin_ns=ORIGIN_NS, history_ns=HISTORY_NS))
    player.play(30)
    before = sys.getallocatedblocks()
    player.play(200)
    # An object kept per frame would be tens of thousands; the list of `Opened` is a few hundred.
    assert sys.getallocatedblocks() - before < 5_000
    first, stride_ns = player.opened[0], player.tape.lap_ns - player.tape.history_ns
    assert player.opened == [
        Opened(
            "pub",
            msg.gen,
            first.at_ns + n * stride_ns,
            first.shift_ns + n * stride_ns,
            n * ID_STRIDE,
            msg.live_from_ns,
        )
        for n, msg in enumerate(player.opened)
    ]
    assert (player.connection.state.phase, player.connection.state.failures) == (Phase.SUBSCRIBING, 0)


def test_recording_that_cannot_be_read_ends_the_session_with_the_reason() -> None:
    """A broken file is trouble of the world: the machine backs off, nothing crashes."""

    def broken() -> Iterator[tuple[int, bytes]]:
        yield from FRAMES["BTCUSDT"][:20]
        raise Outage("cannot read the recording x.gz")

    healthy = RECORDINGS["BTCUSDT"]
    tape = Tape(
        {"BTCUSDT": msgspec.structs.replace(healthy, frames=broken)}, origin_ns=ORIGIN_NS, history_ns=SECOND
    )
    opened(tape, ORIGIN_NS)
    messages = list(taken(tape, ORIGIN_NS + LAP_NS))
    assert messages[-1] == Closed("pub", 1, messages[-1].at_ns, None, "cannot read the recording x.gz")  # type: ignore[attr-defined]
    assert tape.next_ns() is None


def test_recording_with_a_hole_or_without_a_book_ends_the_session_with_the_reason() -> None:
    """No book can be made of it, so it must not look like one."""
    lost = next(
        number for number, frame in enumerate(FRAMES["BTCUSDT"]) if number > 60 and b"@depth" in frame[1]
    )
    frames = [frame for number, frame in enumerate(FRAMES["BTCUSDT"]) if number != lost]
    tape = Tape({"BTCUSDT": recording("BTCUSDT", frames)}, origin_ns=ORIGIN_NS, history_ns=SECOND)
    opened(tape, ORIGIN_NS)
    (end,) = [msg for msg in taken(tape, ORIGIN_NS + LAP_NS) if isinstance(msg, Closed)]
    assert end.reason.startswith("expected a recorded depth frame from id")
    tape = Tape(
        {"BTCUSDT": msgspec.structs.replace(RECORDINGS["BTCUSDT"], snapshot=b"{}")}, origin_ns=ORIGIN_NS
    )
    tape.apply(ORIGIN_NS, Open("pub", 1, "tape"))
    (end,) = [msg for msg in tape.take(ORIGIN_NS, 9) if isinstance(msg, Closed)]
    assert end.reason.startswith("expected a recorded book")


def test_cut_recording_works_like_a_whole_one_with_history_at_most_half_of_it() -> None:
    """Tests play a few seconds many times."""
    short = cut(RECORDINGS, 2 * SECOND)
    assert [(part.first_ns, part.last_ns) for part in short.values()] == [
        (FIRST_NS, FIRST_NS + 2 * SECOND - 1)
    ] * 2
    tape = Tape(short, origin_ns=ORIGIN_NS, history_ns=300 * SECOND)
    shift_ns = opened(tape, ORIGIN_NS).shift_ns
    messages = list(taken(tape, ORIGIN_NS + LAP_NS))
    expected = [(ns + shift_ns, raw) for ns, raw in PLAYED if ns < FIRST_NS + 2 * SECOND]
    assert frames_of(iter(messages)) == expected
    assert messages[-1] == Closed("pub", 1, ORIGIN_NS + SECOND, None, "seam")


def test_tape_without_recordings_is_refused_and_a_closed_one_is_silent() -> None:
    """There is nothing that it could play."""
    with pytest.raises(Refused, match="NO_RECORDING"):
        Tape({}, origin_ns=0)
    tape = made_tape()
    opened(tape, ORIGIN_NS)
    tape.close()
    assert tape.next_ns() is None
