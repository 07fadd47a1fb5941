"""The connection machine under any order of events: what must hold whatever the link and the venue do."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tradefan.core.connection import Budget, Connection, ConnectionSpec, Phase, Timing, Turn
from tradefan.messages.wire import Close, Closed, Http, NotWritten, Open, Opened, Received, Text, Write
from tradefan.units import SECOND

pytestmark = pytest.mark.slow

STREAMS = ("a@depth", "b@depth", "a@trade")
BUSY = STREAMS[:2]
CONNECTED = (Phase.SUBSCRIBING, Phase.LIVE)


class Here:
    """A turn's world."""

    def __init__(self) -> None:
        self.now_ns = 1_000 * SECOND
        self.chance = 0.0
        self.last_id = 0

    def next_id(self) -> int:
        self.last_id += 1
        return self.last_id

    def random(self) -> float:
        return self.chance


class Connections(RuleBasedStateMachine):
    """One connection; the model knows only effects and what it said itself."""

    @initialize(silent=st.booleans())
    def begin(self, silent: bool) -> None:
        self.world = Here()
        self.timing = Timing(silence_ns=None if silent else 30 * SECOND)
        spec = ConnectionSpec("pub", "ws://venue", STREAMS, BUSY)
        self.machine = Connection(spec, self.timing, lambda req, _names: Text(str(req)), Budget())
        self.wanted = False
        self.open: int | None = None
        self.alarms: list[int] = []
        self.unacknowledged: dict[int, bool] = {}
        self.unheard: dict[str, bool] = {}
        self.flying: dict[int, bool] = {}
        self.opens: list[int] = []
        self.take(self.machine.want(self.world))
        self.wanted = True

    def take(self, turn: Turn) -> Turn:
        """Let the effects happen in the model."""
        for effect in turn.effects:
            if isinstance(effect, Open):
                assert self.open is None, "a second generation was opened beside the first"
                assert not self.opens or effect.gen > self.opens[-1]
                self.opens.append(effect.gen)
                self.open, self.unacknowledged, self.unheard = effect.gen, {}, dict.fromkeys(BUSY, True)
            elif isinstance(effect, Close) and effect.gen == self.open:
                self.open = None
            elif isinstance(effect, Write):
                assert effect.gen == self.open
                if effect.op == "subscribe":
                    self.unacknowledged[effect.req] = True
                else:
                    self.flying[effect.req] = True
        ended = [lost.request.req for lost in turn.lost if lost.reason != "not_connected"]
        for req in ended if turn.answer is None else [*ended, turn.answer.req]:
            del self.flying[req]
        if turn.alarm_ns is not None:
            self.alarms.append(turn.alarm_ns)
        return turn

    @rule(seconds=st.floats(0, 40), chance=st.floats(0, 1, exclude_max=True))
    def time_passes(self, seconds: float, chance: float) -> None:
        """Every alarm that was ever asked for rings at its instant, outdated ones too."""
        self.world.chance = chance
        until_ns = self.world.now_ns + int(seconds * SECOND)
        for _ in range(200):
            due = min((alarm_ns for alarm_ns in self.alarms if alarm_ns <= until_ns), default=None)
            if due is None:
                break
            self.alarms.remove(due)
            self.world.now_ns = max(self.world.now_ns, due)
            self.take(self.machine.tick(due, self.world))
        else:
            raise AssertionError("the alarm rings without end")
        self.world.now_ns = until_ns

    @rule()
    def not_wanted_then_wanted(self) -> None:
        self.take(self.machine.drop(self.world))
        assert self.open is None
        assert self.machine.state.phase is Phase.DOWN
        self.take(self.machine.want(self.world))

    @precondition(lambda self: self.open is not None)
    @rule(acknowledged=st.booleans(), frames=st.lists(st.sampled_from(STREAMS), max_size=3))
    def link_opens(self, acknowledged: bool, frames: list[str]) -> None:
        """Often followed by more of the way up: single rules alone would seldom come to LIVE."""
        self.take(self.machine.opened(Opened("pub", self.open or 0, self.world.now_ns), self.world))
        for req in list(self.unacknowledged) if acknowledged else []:
            del self.unacknowledged[req]
            self.take(self.machine.acknowledged(req, self.world))
        for stream in frames:
            if self.machine.state.phase in CONNECTED:
                self.frame_comes(stream)

    @precondition(lambda self: self.open is not None)
    @rule(code=st.sampled_from([None, 1000, 1006, 403, 418, 429, 451]), seam=st.booleans())
    def link_closes(self, code: int | None, seam: bool) -> None:
        gen, self.open = self.open or 0, None
        reason = "seam" if seam else ""
        self.take(self.machine.closed(Closed("pub", gen, self.world.now_ns, code, reason), self.world))

    @precondition(lambda self: self.unacknowledged)
    @rule(error=st.sampled_from([None, None, None, "refused"]), data=st.data())
    def venue_acknowledges(self, error: str | None, data: st.DataObject) -> None:
        req = data.draw(st.sampled_from(list(self.unacknowledged)))
        if error is None:
            del self.unacknowledged[req]
        self.take(self.machine.acknowledged(req, self.world, error))

    @precondition(lambda self: self.machine.state.phase in CONNECTED)
    @rule(stream=st.sampled_from(STREAMS))
    def frame(self, stream: str) -> None:
        self.frame_comes(stream)

    def frame_comes(self, stream: str) -> None:
        gen = self.machine.state.gen
        turn = self.take(self.machine.received(Received("pub", gen, self.world.now_ns, b"{}"), self.world))
        assert turn.mine
        self.unheard.pop(stream, None)
        self.take(self.machine.heard(stream, self.world))

    @rule(gen=st.integers(10**6, 10**6 + 3), kind=st.sampled_from(["opened", "received", "closed"]))
    def stranger_speaks(self, gen: int, kind: str) -> None:
        before = self.machine.state.phase
        now_ns = self.world.now_ns
        if kind == "opened":
            turn = self.machine.opened(Opened("pub", gen, now_ns), self.world)
        elif kind == "received":
            turn = self.machine.received(Received("pub", gen, now_ns, b"{}"), self.world)
        else:
            turn = self.machine.closed(Closed("pub", gen, now_ns, 451, ""), self.world)
        assert not turn.mine
        assert turn.effects in ((), (Close("pub", gen),))
        assert self.machine.state.phase is before

    @rule()
    def owner_asks(self) -> None:
        connected = self.machine.state.phase in CONNECTED
        turn = self.take(self.machine.request(self.world, "query", Http("GET", "/"), "book"))
        assert bool(turn.effects) is connected
        assert bool(turn.lost) is not connected

    @precondition(lambda self: self.flying)
    @rule(status=st.sampled_from([200, 200, 400, 418, None]), data=st.data())
    def request_ends(self, status: int | None, data: st.DataObject) -> None:
        req, gen = data.draw(st.sampled_from(list(self.flying))), self.machine.state.gen
        if status is None:
            self.take(self.machine.not_written(NotWritten("pub", gen, req, "EXPIRED"), self.world))
        else:
            answer = Received("pub", gen, self.world.now_ns, b"", req, status)
            self.take(self.machine.received(answer, self.world))
        assert req not in self.flying

    @rule()
    def owner_gives_up(self) -> None:
        self.take(self.machine.fail(self.world, "garbage"))

    @invariant()
    def live_means_acknowledged_and_heard(self) -> None:
        if self.machine.state.phase is Phase.LIVE:
            assert self.unacknowledged == {}
            assert self.unheard == {}

    @invariant()
    def one_generation_is_known_and_it_is_the_open_one(self) -> None:
        assert self.machine.state.gen == (self.open or 0)

    @invariant()
    def it_never_gives_up(self) -> None:
        """Whatever it waits for has an alarm, and no wait is longer than a ban with its jitter."""
        state = self.machine.state
        rests = state.phase is Phase.LIVE and self.timing.silence_ns is None and not state.requests
        assert rests or state.alarm_ns in self.alarms
        if state.phase in (Phase.BACKOFF, Phase.BANNED):
            bound_ns = 30 * SECOND if state.phase is Phase.BACKOFF else 330 * SECOND
            assert 0 <= state.retry_ns - state.since_ns <= bound_ns

    @invariant()
    def flying_requests_are_those_that_the_machine_knows(self) -> None:
        assert list(self.machine.state.requests) == list(self.flying)


TestConnections = Connections.TestCase
