"""What a connection machine knows and says: its phases, patience, requests in flight and budget."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from msgspec import Struct

from tradefan.messages.wire import Close, Open, Write
from tradefan.units import MINUTE, MS, SECOND

SEAM = "seam"
"""Reason of the `Closed` at the end of a tape's lap: no failure, so it opens again at once."""
BANS = {
    403: "HTTP 403: a firewall of the venue refuses this address",
    418: "HTTP 418: the venue bans this address for too many requests",
    451: "HTTP 451: the venue refuses this region",
}
_REMEMBERED = 16


class World(Protocol):
    """What the machine needs of a turn: the owner's `ctx` is one."""

    now_ns: int

    def next_id(self) -> int:
        """Return a number never repeated in a run."""
        ...

    def random(self) -> float:
        """Return a number in [0, 1)."""
        ...


class Phase(StrEnum):
    """Where a connection stands."""

    DOWN = "DOWN"
    OPENING = "OPENING"
    SUBSCRIBING = "SUBSCRIBING"
    LIVE = "LIVE"
    BACKOFF = "BACKOFF"
    BANNED = "BANNED"


class Timing(Struct, frozen=True):
    """How patient a connection is; `silence_ns` None: nothing is expected (paper, private)."""

    connect_ns: int = 10 * SECOND
    ack_ns: int = 5 * SECOND
    first_frame_ns: int = 10 * SECOND
    silence_ns: int | None = 30 * SECOND
    backoff_base_ns: int = 500 * MS
    backoff_cap_ns: int = 30 * SECOND
    settled_ns: int = 60 * SECOND
    ban_ns: int = 5 * MINUTE
    request_ns: int = 5 * SECOND


class ConnectionSpec(Struct, frozen=True):
    """What to connect to; `busy` are the streams that must be heard before the connection is LIVE."""

    conn: str
    url: str
    streams: tuple[str, ...] = ()
    busy: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()


class Request(Struct, frozen=True):
    """A request in flight; `subject` is the owner's own name of it."""

    req: int
    subject: str
    due_ns: int


class Lost(Struct, frozen=True):
    """A request that gets no answer: `timeout`, `closed`, `not_connected`, or why it was not written."""

    request: Request
    reason: str


class Move(Struct, frozen=True):
    """One transition of the table."""

    source: Phase
    target: Phase
    reason: str


Effect = Open | Write | Close


class Turn(Struct, frozen=True):
    """What one event led to.

    `mine`: the message belongs to the serving generation, go on and decode it. `alarm_ns`: arm a
    timer at this instant (None: the one that is armed is early enough).
    """

    effects: tuple[Effect, ...] = ()
    moves: tuple[Move, ...] = ()
    lost: tuple[Lost, ...] = ()
    answer: Request | None = None
    alarm_ns: int | None = None
    mine: bool = True


class Budget(Struct):
    """Connects allowed per IP, shared by all sockets of a venue: 1 a second, 100 in 5 minutes."""

    opens: list[int] = []
    gap_ns: int = SECOND
    window_ns: int = 5 * MINUTE
    opens_max: int = 100

    def free_ns(self, now_ns: int) -> int:
        """Return the earliest instant for the next connect."""
        if not self.opens:
            return now_ns
        free_ns = max(now_ns, self.opens[-1] + self.gap_ns)
        if len(self.opens) < self.opens_max:
            return free_ns
        return max(free_ns, self.opens[-self.opens_max] + self.window_ns)

    def take(self, now_ns: int) -> None:
        """Note a connect."""
        self.opens.append(now_ns)
        del self.opens[: -self.opens_max]


class ConnectionState(Struct):
    """All that is known of a connection; `gen` 0: none is open. Lives inside its owner's State."""

    phase: Phase = Phase.DOWN
    gen: int = 0
    reason: str = ""
    since_ns: int = 0
    down_since_ns: int | None = None
    """When it was last LIVE, or first wanted; None while LIVE or not wanted."""
    last_frame_ns: int = 0
    attempt: int = 0
    retry_ns: int = 0
    acks: dict[int, int] = {}
    """Subscriptions not acknowledged yet: request -> instant by which they must be."""
    asked: list[str] = []
    """Streams that were subscribed on this generation."""
    mute: list[str] = []
    """Busy streams not heard yet, due at `mute_due_ns`."""
    mute_due_ns: int = 0
    mute_retried: bool = False
    requests: dict[int, Request] = {}
    alarm_ns: int | None = None
    ended: list[int] = []
    """Generations that were told to close: what still comes from them is no surprise."""
    opens: int = 0
    failures: int = 0
    strangers: int = 0
    """Messages of generations that were never ours (a predecessor's): dropped."""

    def remember(self, gen: int) -> None:
        """Note a generation that was told to close."""
        self.ended.append(gen)
        del self.ended[:-_REMEMBERED]

    def phase_due_ns(self, timing: Timing) -> int | None:
        """Return when this phase has lasted long enough, None for never."""
        match self.phase:
            case Phase.DOWN:
                return None
            case Phase.OPENING:
                return self.since_ns + timing.connect_ns
            case Phase.SUBSCRIBING:
                dues = list(self.acks.values())
                return min([*dues, self.mute_due_ns] if self.mute else dues)
            case Phase.LIVE:
                return None if timing.silence_ns is None else self.last_frame_ns + timing.silence_ns
            case _:
                return self.retry_ns

    def due_ns(self, timing: Timing) -> int | None:
        """Return when `tick` is needed next: for the phase, or for a request in flight."""
        phase_ns = self.phase_due_ns(timing)
        dues = [request.due_ns for request in self.requests.values()]
        return min(dues if phase_ns is None else [*dues, phase_ns], default=None)
