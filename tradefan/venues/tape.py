"""A recorded market behind the same messages as a live one: the timed machine of the tape link.

Frames are delivered as recorded, byte for byte. A lap is the recorded span; each lap is a session of
its own whose times and ids are moved by constants that travel in `Opened`, and the codec adds them:

    recorded     |-- history --|------------ live at `speed` ------------|
    position     0          history      start                          lap
    lap k, wall                 origin + k * (lap - history) / speed ... and so on, for ever

An `Open` at any instant computes its place from the origin, so a restart resumes where the wall
clock says. Frames of the history before it are due at once with their own receive times.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from itertools import takewhile
from typing import Any

import msgspec
from msgspec import Struct

from tradefan.core.connection import SEAM
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
from tradefan.units import MINUTE
from tradefan.venues.tape_book import TapeBook

ID_STRIDE = 1_000_000_000
"""Ids of lap k are moved by k times this: more than any id advances in a lap (457,129 at most)."""
BURST_MAX = 256
"""Most messages of one `take`, so that no step is flooded."""
SCAN_MAX = 1024
"""Most frames that one `take` passes over without delivering them."""
_STREAM = b'{"stream":"'

Frame = tuple[int, int, bytes]
"""Recorded receive time, number of the recording, raw bytes."""


class Recording(Struct, frozen=True):
    """The frames of one symbol; `frames` starts a new pass over (receive time, raw bytes), in order.

    `snapshot` is the recorded answer to the REST request for the book, made shortly after the start.
    """

    symbol: str
    frames: Callable[[], Iterator[tuple[int, bytes]]]
    snapshot: bytes
    first_ns: int
    last_ns: int

    def until(self, end_ns: int) -> Recording:
        """Return the part before an instant."""
        return Recording(
            self.symbol,
            lambda: takewhile(lambda frame: frame[0] < end_ns, self.frames()),
            self.snapshot,
            self.first_ns,
            min(self.last_ns, end_ns - 1),
        )


def cut(recordings: Mapping[str, Recording], span_ns: int) -> dict[str, Recording]:
    """Return the first `span_ns` of recordings, counted from the earliest start."""
    end_ns = min(recording.first_ns for recording in recordings.values()) + span_ns
    return {symbol: recording.until(end_ns) for symbol, recording in recordings.items()}


class Tape:
    """The machine: `Open Write Close` in, `Opened Received Written NotWritten Closed` out.

    Each generation is a session with its own place, subscriptions and books. Nothing is passed
    before the first SUBSCRIBE; streams without a subscription are passed in silence. At a `speed`
    other than 1 receive times keep the recorded pace, and so leave the clock until the next `Open`.
    """

    def __init__(
        self,
        recordings: Mapping[str, Recording],
        *,
        origin_ns: int,
        exchange_info: bytes = b"{}",
        history_ns: int = 5 * MINUTE,
        speed: float = 1.0,
    ) -> None:
        if not recordings:
            raise Refused("NO_RECORDING", "expected at least one recording, got none")
        self.recordings = {symbol: recordings[symbol] for symbol in sorted(recordings)}
        self.first_ns = min(recording.first_ns for recording in recordings.values())
        self.lap_ns = max(recording.last_ns for recording in recordings.values()) - self.first_ns + 1
        # A cut recording keeps half of itself to play.
        self.history_ns = min(history_ns, self.lap_ns // 2)
        self.origin_ns = origin_ns
        # Exact arithmetic: a float would lose nanoseconds after 104 days.
        self.fast, self.slow = speed.as_integer_ratio()
        self._exchange_info = exchange_info
        self._lap_min = 0
        self._answers: deque[Message] = deque()
        self._sessions: dict[int, _Session] = {}
        self._now_ns = 0
        self._effects: dict[type[Message], Callable[[int, Any], None]] = {
            Open: self._open,
            Close: self._close,
            Write: self._write,
        }

    # --- timed machine --------------------------------------------------------------------------

    def apply(self, now_ns: int, effect: Message) -> None:
        """Take an effect; its answer is due at once."""
        self._now_ns = now_ns
        self._effects[type(effect)](now_ns, effect)

    def next_ns(self) -> int | None:
        """Return when there is something to take, None for never."""
        if self._answers:
            return self._now_ns
        return min((session.due_ns for session in self._sessions.values()), default=None)

    def take(self, now_ns: int, limit: int) -> list[Message]:
        """Return what is due, at most `limit` and `BURST_MAX`; empty while it winds to its place."""
        self._now_ns = now_ns
        room, scans = min(limit, BURST_MAX), SCAN_MAX
        taken: list[Message] = []
        while len(taken) < room and scans:
            if self._answers:
                taken.append(self._answers.popleft())
            elif (session := self._next_session(now_ns)) is None:
                break
            elif (message := session.advance(now_ns)) is not None:
                taken.append(message)
                self._end_of(session, message)
            scans -= 1
        return taken

    def close(self) -> None:
        """Let go of all files."""
        self._sessions.clear()
        self._answers.clear()

    def _next_session(self, now_ns: int) -> _Session | None:
        due = [session for session in self._sessions.values() if session.due_ns <= now_ns]
        # Histories of several sessions are all due at once: they keep the order of the market.
        return min(due, key=lambda session: (session.due_ns, session.next_at_ns), default=None)

    def _end_of(self, session: _Session, message: Message) -> None:
        if isinstance(message, Closed):
            del self._sessions[session.gen]
            if message.reason == SEAM:
                self._lap_min = max(self._lap_min, session.lap + 1)

    # --- effects --------------------------------------------------------------------------------

    def _open(self, now_ns: int, effect: Open) -> None:
        played_ns = max(0, now_ns - self.origin_ns) * self.fast // self.slow
        lap, live_ns = divmod(played_ns, self.lap_ns - self.history_ns)
        if lap < self._lap_min:
            # The clock was set back behind the origin: ids go on all the same.
            lap, live_ns = self._lap_min, 0
        try:
            session = _Session(self, effect, now_ns, lap, self.history_ns + live_ns)
        except Outage as error:
            self._answers.append(Closed(effect.conn, effect.gen, now_ns, None, str(error)))
        else:
            self._sessions[effect.gen] = session

    def _close(self, now_ns: int, effect: Close) -> None:
        if self._sessions.pop(effect.gen, None) is not None:
            self._answers.append(Closed(effect.conn, effect.gen, now_ns, effect.code, "closed"))

    def _write(self, now_ns: int, effect: Write) -> None:
        session = self._sessions.get(effect.gen)
        if session is None or session.winding:
            self._answers.append(NotWritten(effect.conn, effect.gen, effect.req, "STALE_GENERATION"))
            return
        self._answers.append(Written(effect.conn, effect.gen, effect.req, now_ns))
        if isinstance(effect.body, Text):
            body = session.command(effect.body.text)
            self._answers.append(Received(effect.conn, effect.gen, now_ns, body))
        else:
            status, body = self._rest(session, effect.body)
            recv_ns = session.position_ns + session.shift_ns
            self._answers.append(Received(effect.conn, effect.gen, recv_ns, body, effect.req, status))

    def _rest(self, session: _Session, request: Http) -> tuple[int, bytes]:
        query = dict(request.query)
        if request.path == "/api/v3/exchangeInfo":
            return 200, self._exchange_info
        if request.path != "/api/v3/depth":
            return 404, _refusal(-1, f"the tape has no {request.path}")
        book = session.books.get(query.get("symbol", ""))
        if book is None:
            return 400, _refusal(-1121, "Invalid symbol.")
        limit = query.get("limit", "100")
        if not limit.isdecimal():
            return 400, _refusal(-1100, "Illegal characters found in parameter 'limit'.")
        return 200, book.body(min(int(limit), 5000))


class _Session:
    """One generation: a pass over the merged frames from the lap's start to its end."""

    def __init__(self, tape: Tape, effect: Open, now_ns: int, lap: int, start_ns: int) -> None:
        self.conn, self.gen, self.lap = effect.conn, effect.gen, lap
        self.winding = True
        self._tape = tape
        self._opened_ns = now_ns
        self._start_ns = tape.first_ns + start_ns
        self._wind_to_ns = self._start_ns - tape.history_ns
        self.shift_ns = now_ns - self._start_ns
        self.position_ns = self._wind_to_ns
        self.books = {symbol: TapeBook(recording.snapshot) for symbol, recording in tape.recordings.items()}
        self._by_number = list(self.books.values())
        self._streams: dict[bytes, bool] = {}
        self._frames: Iterator[Frame] = heapq.merge(
            *(_numbered(number, recording) for number, recording in enumerate(tape.recordings.values()))
        )
        self._ahead: Frame | None = None
        """The next frame; None before the first is read and after the last."""
        self.due_ns = now_ns
        self.next_at_ns = 0
        """Recorded instant of what is due next."""

    def advance(self, now_ns: int) -> Message | None:
        """Do the next thing that is due: wind, deliver or pass a frame, end."""
        try:
            return self._wind(now_ns) if self.winding else self._play(now_ns)
        except Outage as error:
            return Closed(self.conn, self.gen, now_ns, None, str(error))

    def command(self, text: str) -> bytes:
        """Obey SUBSCRIBE and UNSUBSCRIBE and return the answer's frame."""
        try:
            command = msgspec.json.decode(text, type=_Command)
        except msgspec.DecodeError as error:
            return _refusal_frame(2, f"Invalid request: {error}", None)
        if command.method not in ("SUBSCRIBE", "UNSUBSCRIBE"):
            return _refusal_frame(2, f"Invalid request: unknown method {command.method}", command.id)
        for name in command.params:
            if command.method == "SUBSCRIBE":
                self._streams[name.encode()] = True
            else:
                self._streams.pop(name.encode(), None)
        self._look_ahead()
        return msgspec.json.encode({"result": None, "id": command.id})

    def _wind(self, now_ns: int) -> Message | None:
        ahead = next(self._frames, None) if self._ahead is None else self._ahead
        self._ahead = ahead
        if ahead is not None and ahead[0] < self._wind_to_ns:
            self._pass(ahead)
            return None
        self.winding = False
        self._look_ahead()
        shift_id = self.lap * ID_STRIDE
        return Opened(self.conn, self.gen, now_ns, self.shift_ns, shift_id, self._opened_ns)

    def _play(self, now_ns: int) -> Message | None:
        ahead = self._ahead
        if ahead is None or not self._streams:
            return Closed(self.conn, self.gen, now_ns, None, SEAM)
        recv_ns, _, raw = ahead
        stream = self._pass(ahead)
        self._look_ahead()
        if stream not in self._streams:
            return None
        return Received(self.conn, self.gen, recv_ns + self.shift_ns, raw)

    def _pass(self, frame: Frame) -> bytes | None:
        """Go beyond a frame and return its stream, None for the recorded snapshot."""
        self.position_ns, number, raw = frame
        self._ahead = next(self._frames, None)
        if not raw.startswith(_STREAM):
            return None
        stream = raw[len(_STREAM) : raw.find(b'"', len(_STREAM))]
        if b"@depth" in stream:
            self._by_number[number].fold(raw)
        return stream

    def _look_ahead(self) -> None:
        tape, ahead = self._tape, self._ahead
        # Without a subscription only the lap's end is due.
        end_ns = tape.first_ns + tape.lap_ns
        self.next_at_ns = end_ns if ahead is None or not self._streams else ahead[0]
        # The floor of what is negative, so that a frame is never early; history is due at once.
        behind_ns = min(0, self._start_ns - self.next_at_ns)
        self.due_ns = self._opened_ns - behind_ns * tape.slow // tape.fast


class _Command(Struct):
    method: str = ""
    params: list[str] = []
    id: int | str | None = None


def _numbered(number: int, recording: Recording) -> Iterator[Frame]:
    for recv_ns, raw in recording.frames():
        yield recv_ns, number, raw


def _refusal(code: int, text: str) -> bytes:
    return msgspec.json.encode({"code": code, "msg": text})


def _refusal_frame(code: int, text: str, command_id: int | str | None) -> bytes:
    return msgspec.json.encode({"error": {"code": code, "msg": text}, "id": command_id})
