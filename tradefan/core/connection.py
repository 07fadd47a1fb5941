"""The life of one connection: a pure machine that decides everything its link must not.

It opens, subscribes, watches, backs off and fences; the link moves bytes (VENUES.md part 1).
`market_data` uses it for public sockets, a gateway for its account's connection.

    DOWN -> OPENING -> SUBSCRIBING -> LIVE      LIVE -> OPENING at a tape's seam
              |            |          |
              +------ BACKOFF / BANNED, then OPENING again, for ever

The owner gives each message of the connection to the method of its name, sends `Turn.effects` to
the link, and arms one timer at `Turn.alarm_ns`, which it hands back to `tick` as a number.
"""

from __future__ import annotations

from collections.abc import Callable

from tradefan.core.connection_state import (
    BANS,
    SEAM,
    Budget,
    ConnectionSpec,
    ConnectionState,
    Effect,
    Lost,
    Move,
    Phase,
    Request,
    Timing,
    Turn,
    World,
)
from tradefan.messages.wire import Close, Closed, Http, NotWritten, Op, Open, Opened, Received, Text, Write
from tradefan.units import SECOND

__all__ = [
    "SEAM",
    "Budget",
    "Connection",
    "ConnectionSpec",
    "ConnectionState",
    "Lost",
    "Move",
    "Phase",
    "Request",
    "Timing",
    "Turn",
    "World",
    "may_write",
]

STREAMS_PER_SUBSCRIBE = 200
"""Binance takes up to this many names in one SUBSCRIBE."""
WAIT_MAX_S = 3 * 24 * 3600
"""Binance's longest ban."""
MINE = Turn()
NOT_MINE = Turn(mine=False)
_ATTEMPTS_MAX = 32


def may_write(
    latched: bool, generation: tuple[int, int], not_after_ns: int | None, now_ns: int
) -> str | None:
    """Return why a guarded write must not happen, or None; called in the statement before the write.

    `generation` is (the write's, the link's). Only a create and a replacement may find the latch
    closed, by their `Write.scopes`: a cancel, query or subscription passes it.
    """
    if latched:
        return "LATCHED"
    if generation[0] != generation[1]:
        return "STALE_GENERATION"
    if not_after_ns is not None and now_ns > not_after_ns:
        return "EXPIRED"
    return None


class Connection:
    """The machine of one connection; `subscribe` puts (request, streams) into the venue's words."""

    def __init__(
        self,
        spec: ConnectionSpec,
        timing: Timing,
        subscribe: Callable[[int, tuple[str, ...]], Text | Http],
        budget: Budget,
        state: ConnectionState | None = None,
    ) -> None:
        self.spec = spec
        self.timing = timing
        self.budget = budget
        self.state = ConnectionState() if state is None else state
        self._subscribe = subscribe
        self._effects: list[Effect] = []
        self._moves: list[Move] = []
        self._lost: list[Lost] = []

    # --- what the owner wants -------------------------------------------------------------------

    def want(self, world: World) -> Turn:
        """Connect, and stay connected."""
        if self.state.phase is Phase.DOWN:
            self.state.down_since_ns = world.now_ns
            self._open(world, "wanted")
        return self._turn()

    def drop(self, world: World, reason: str = "not wanted") -> Turn:
        """Close and stay down."""
        if self.state.phase is not Phase.DOWN:
            self._end()
            self.state.down_since_ns = None
            self._move(world, Phase.DOWN, reason)
        return self._turn()

    def fail(self, world: World, reason: str) -> Turn:
        """Give this generation up: the owner found it useless (garbage, deaf)."""
        if self.state.gen:
            self._back_off(world, reason)
        return self._turn()

    def request(
        self,
        world: World,
        op: Op,
        body: Text | Http,
        subject: str,
        *,
        timeout_ns: int | None = None,
        not_after_ns: int | None = None,
        sign: bool = False,
    ) -> Turn:
        """Write a request that gets exactly one end: `Turn.answer` or `Turn.lost`."""
        state = self.state
        limit_ns = self.timing.request_ns if timeout_ns is None else timeout_ns
        request = Request(world.next_id(), subject, world.now_ns + limit_ns)
        if state.phase in (Phase.SUBSCRIBING, Phase.LIVE):
            state.requests[request.req] = request
            self._write(request.req, op, body, not_after_ns, sign)
        else:
            self._lost.append(Lost(request, "not_connected"))
        return self._turn()

    # --- what the link and the codec say --------------------------------------------------------

    def opened(self, msg: Opened, world: World) -> Turn:
        """Take `Opened`: subscribe, or be LIVE where there is nothing to subscribe."""
        state = self.state
        if msg.gen != state.gen:
            return self._stranger(msg.gen, close=True)
        if state.phase is not Phase.OPENING:
            return MINE
        state.last_frame_ns = world.now_ns
        state.mute = list(self.spec.busy)
        state.mute_due_ns = world.now_ns + self.timing.first_frame_ns
        state.mute_retried = False
        self._move(world, Phase.SUBSCRIBING, "opened")
        self._ask(world, self.spec.streams)
        self._settle(world)
        return self._turn()

    def subscribe_more(self, world: World) -> Turn:
        """Subscribe the streams of the specification that this generation has not asked for yet."""
        state = self.state
        more = tuple(stream for stream in self.spec.streams if stream not in state.asked)
        if more and state.phase in (Phase.SUBSCRIBING, Phase.LIVE):
            state.mute += [stream for stream in self.spec.busy if stream in more]
            state.mute_due_ns = world.now_ns + self.timing.first_frame_ns
            state.mute_retried = False
            self._move(world, Phase.SUBSCRIBING, "more streams")
            self._ask(world, more)
        return self._turn()

    def received(self, msg: Received, world: World) -> Turn:
        """Take a frame or an answer; only where `Turn.mine` its body may be read."""
        state = self.state
        if msg.gen != state.gen:
            return self._stranger(msg.gen, close=msg.req is None)
        if msg.req is not None:
            return self._answered(msg, msg.req, world)
        state.last_frame_ns = world.now_ns
        return MINE

    def acknowledged(self, req: int, world: World, error: str | None = None) -> Turn:
        """Take the venue's word on a subscription, as the codec read it."""
        if self.state.acks.pop(req, None) is not None:
            if error is not None:
                self._back_off(world, f"subscription refused: {error}")
            self._settle(world)
        return self._turn()

    def heard(self, stream: str, world: World) -> Turn:
        """Take note of data on a stream; only of interest while SUBSCRIBING."""
        state = self.state
        if state.phase is not Phase.SUBSCRIBING or stream not in state.mute:
            return MINE
        state.mute.remove(stream)
        self._settle(world)
        return self._turn()

    def not_written(self, msg: NotWritten, world: World) -> Turn:
        """Take the proof that a request never left."""
        if msg.gen != self.state.gen:
            return NOT_MINE
        if msg.req in self.state.acks:
            self._back_off(world, f"subscription not written: {msg.reason}")
        elif (request := self.state.requests.pop(msg.req, None)) is not None:
            self._lost.append(Lost(request, msg.reason))
        return self._turn()

    def closed(self, msg: Closed, world: World) -> Turn:
        """Take the end of a generation."""
        state = self.state
        if msg.gen != state.gen:
            return self._stranger(msg.gen, close=False)
        if msg.reason == SEAM:
            self._end(close=False)
            # Not the network's doing, so neither back-off nor the budget holds it up.
            self._open(world, SEAM, free=True)
        elif msg.code in BANS:
            self._ban(world, msg.code, msg.retry_after_s, close=False)
        else:
            code = "" if msg.code is None else f"{msg.code} "
            self._back_off(world, f"closed: {code}{msg.reason}".rstrip(), close=False)
            state.retry_ns = max(state.retry_ns, world.now_ns + _ns(msg.retry_after_s or 0))
        return self._turn()

    def tick(self, number: int, world: World) -> Turn:
        """Do what is due; `number` is the instant of the alarm, so an outdated one does nothing."""
        state, now_ns = self.state, world.now_ns
        if number != state.alarm_ns:
            return MINE
        state.alarm_ns = None
        for request in [r for r in state.requests.values() if r.due_ns <= now_ns]:
            del state.requests[request.req]
            self._lost.append(Lost(request, "timeout"))
        due_ns = state.phase_due_ns(self.timing)
        if due_ns is not None and due_ns <= now_ns:
            self._overdue(world)
        return self._turn()

    # --- transitions ----------------------------------------------------------------------------

    def _overdue(self, world: World) -> None:
        phase, timing = self.state.phase, self.timing
        if phase is Phase.OPENING:
            self._back_off(world, f"not open after {timing.connect_ns / SECOND:g} s")
        elif phase is Phase.SUBSCRIBING:
            self._unsubscribed(world)
        elif phase is Phase.LIVE:
            self._back_off(world, f"no frame for {(timing.silence_ns or 0) / SECOND:g} s")
        else:
            self._open(world, "retry")

    def _unsubscribed(self, world: World) -> None:
        state = self.state
        if any(due_ns <= world.now_ns for due_ns in state.acks.values()):
            self._back_off(world, f"not acknowledged in {self.timing.ack_ns / SECOND:g} s")
        elif not state.mute_retried:
            # Acknowledged but mute happens on a wrong path: asked for once more, alone.
            state.mute_retried = True
            state.mute_due_ns = world.now_ns + self.timing.first_frame_ns
            self._ask(world, tuple(stream for stream in self.spec.streams if stream in state.mute))
        else:
            self._back_off(world, f"acknowledged but mute: {', '.join(state.mute)}")

    def _open(self, world: World, reason: str, *, free: bool = False) -> None:
        state = self.state
        state.retry_ns = world.now_ns if free else self.budget.free_ns(world.now_ns)
        if state.retry_ns > world.now_ns:
            if state.phase is not Phase.BACKOFF:
                self._move(world, Phase.BACKOFF, "connection budget")
            return
        if not free:
            self.budget.take(world.now_ns)
        state.gen = world.next_id()
        state.opens += 1
        self._effects.append(Open(self.spec.conn, state.gen, self.spec.url, self.spec.headers))
        self._move(world, Phase.OPENING, reason)

    def _settle(self, world: World) -> None:
        state = self.state
        if state.phase is Phase.SUBSCRIBING and not state.acks and not state.mute:
            state.down_since_ns = None
            self._move(world, Phase.LIVE, "subscribed")

    def _back_off(self, world: World, reason: str, *, close: bool = True) -> None:
        state, timing = self.state, self.timing
        self._failed(world, close=close)
        bound_ns = min(timing.backoff_cap_ns, timing.backoff_base_ns * 2**state.attempt)
        state.attempt = min(state.attempt + 1, _ATTEMPTS_MAX)
        state.retry_ns = world.now_ns + int(world.random() * bound_ns)
        self._move(world, Phase.BACKOFF, reason)

    def _ban(self, world: World, status: int, retry_after_s: float | None, *, close: bool) -> None:
        timing = self.timing
        self._failed(world, close=close)
        wait_ns = timing.ban_ns if retry_after_s is None else _ns(retry_after_s)
        # All daemons behind one address would otherwise come back in the same instant.
        self.state.retry_ns = world.now_ns + wait_ns + int(world.random() * timing.backoff_cap_ns)
        self._move(world, Phase.BANNED, BANS[status])

    def _failed(self, world: World, *, close: bool) -> None:
        state = self.state
        if state.phase is Phase.LIVE and world.now_ns - state.since_ns >= self.timing.settled_ns:
            state.attempt = 0
        state.failures += 1
        if state.down_since_ns is None:
            state.down_since_ns = world.now_ns
        self._end(close=close)

    def _end(self, *, close: bool = True) -> None:
        """Forget the generation: nothing of it survives, and nothing outbound waits for the next."""
        state = self.state
        if close and state.gen:
            self._effects.append(Close(self.spec.conn, state.gen))
            state.remember(state.gen)
        self._lost.extend(Lost(request, "closed") for request in state.requests.values())
        state.gen = 0
        state.requests, state.acks, state.asked, state.mute = {}, {}, [], []

    # --- leaves -----------------------------------------------------------------------------------

    def _answered(self, msg: Received, req: int, world: World) -> Turn:
        request = self.state.requests.pop(req, None)
        if request is None:
            return NOT_MINE
        if msg.status in BANS:
            self._lost.append(Lost(request, BANS[msg.status]))
            self._ban(world, msg.status, msg.retry_after_s, close=True)
            return self._turn()
        return Turn(answer=request)

    def _stranger(self, gen: int, *, close: bool) -> Turn:
        """Drop what a foreign generation says, and close it once: nobody else owns that socket."""
        state = self.state
        if gen in state.ended:
            return NOT_MINE
        state.strangers += 1
        if not close:
            return NOT_MINE
        state.remember(gen)
        return Turn(effects=(Close(self.spec.conn, gen),), mine=False)

    def _ask(self, world: World, streams: tuple[str, ...]) -> None:
        for start in range(0, len(streams), STREAMS_PER_SUBSCRIBE):
            req, names = world.next_id(), streams[start : start + STREAMS_PER_SUBSCRIBE]
            self.state.acks[req] = world.now_ns + self.timing.ack_ns
            self.state.asked += [name for name in names if name not in self.state.asked]
            self._write(req, "subscribe", self._subscribe(req, names))

    def _write(
        self, req: int, op: Op, body: Text | Http, not_after_ns: int | None = None, sign: bool = False
    ) -> None:
        self._effects.append(Write(self.spec.conn, self.state.gen, req, op, not_after_ns, body, sign))

    def _move(self, world: World, target: Phase, reason: str) -> None:
        state = self.state
        self._moves.append(Move(state.phase, target, reason))
        state.phase, state.reason, state.since_ns = target, reason, world.now_ns

    def _turn(self) -> Turn:
        state = self.state
        alarm_ns, due_ns = None, state.due_ns(self.timing)
        if due_ns is not None and (state.alarm_ns is None or due_ns < state.alarm_ns):
            alarm_ns = state.alarm_ns = due_ns
        turn = Turn(tuple(self._effects), tuple(self._moves), tuple(self._lost), alarm_ns=alarm_ns)
        self._effects, self._moves, self._lost = [], [], []
        return turn


def _ns(seconds: float) -> int:
    """Return a wait that a header asked for; it is foreign text, in which `inf` is a number too."""
    return int(min(seconds, WAIT_MAX_S) * SECOND)
