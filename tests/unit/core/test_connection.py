"""The connection machine against its state table: every phase with every event, then each rule alone."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from tradefan.core.connection import (
    Budget,
    Connection,
    ConnectionSpec,
    ConnectionState,
    Lost,
    Move,
    Phase,
    Request,
    Timing,
    Turn,
    may_write,
)
from tradefan.messages.wire import Close, Closed, Http, NotWritten, Open, Opened, Received, Text, Write
from tradefan.units import MINUTE, MS, SECOND

DEPTH, TICKER, TRADE = "btcusdt@depth", "btcusdt@bookTicker", "btcusdt@trade"
SPEC = ConnectionSpec("pub", "ws://venue", (DEPTH, TICKER, TRADE), (DEPTH, TICKER))
START_NS = 1_000 * SECOND
BODY = Http("GET", "/depth")


class Here:
    """A turn's world: the clock stands until it is moved, chance is what it is set to."""

    def __init__(self) -> None:
        self.now_ns = START_NS
        self.chance = 0.5
        self.last_id = 0

    def next_id(self) -> int:
        self.last_id += 1
        return self.last_id

    def random(self) -> float:
        return self.chance


class Rig:
    """A connection with its world; remembers the turns."""

    def __init__(self, spec: ConnectionSpec = SPEC, timing: Timing | None = None) -> None:
        self.world = Here()
        self.budget = Budget()
        self.machine = Connection(spec, timing or Timing(), subscribe, self.budget)

    @property
    def state(self) -> ConnectionState:
        return self.machine.state

    def opened(self) -> Turn:
        return self.machine.opened(Opened("pub", self.state.gen, self.world.now_ns), self.world)

    def closed(self, code: int | None = 1006, reason: str = "", retry_after_s: float | None = None) -> Turn:
        gen = self.state.gen or self.world.last_id or 999
        return self.machine.closed(
            Closed("pub", gen, self.world.now_ns, code, reason, retry_after_s), self.world
        )

    def received(self, gen: int, req: int | None = None, status: int | None = None) -> Turn:
        return self.machine.received(Received("pub", gen, self.world.now_ns, b"{}", req, status), self.world)

    def alarm(self) -> Turn:
        """Move the clock to the alarm that is armed and let it ring."""
        alarm_ns = self.state.alarm_ns
        if alarm_ns is None:
            return Turn()
        self.world.now_ns = max(self.world.now_ns, alarm_ns)
        return self.machine.tick(alarm_ns, self.world)

    def overdue(self) -> Turn:
        """Let alarms ring until something comes of it: an early one only sets the next."""
        turn = self.alarm()
        while turn.alarm_ns is not None and not turn.moves:
            turn = self.alarm()
        return turn

    def acknowledge(self) -> Turn:
        turn = Turn()
        for req in tuple(self.state.acks):
            turn = self.machine.acknowledged(req, self.world)
        return turn

    def to(self, phase: Phase) -> Rig:
        """Walk to a phase."""
        if phase is not Phase.DOWN:
            self.machine.want(self.world)
        if phase is Phase.BACKOFF:
            self.closed()
        elif phase is Phase.BANNED:
            self.closed(418)
        elif phase in (Phase.SUBSCRIBING, Phase.LIVE):
            self.opened()
        if phase is Phase.LIVE:
            self.acknowledge()
            self.machine.heard(DEPTH, self.world)
            self.machine.heard(TICKER, self.world)
        assert self.state.phase is phase
        return self


def subscribe(req: int, streams: tuple[str, ...]) -> Text:
    return Text(f"{req} {' '.join(streams)}")


EVENTS: dict[str, Callable[[Rig], Turn]] = {
    "wanted": lambda rig: rig.machine.want(rig.world),
    "not wanted": lambda rig: rig.machine.drop(rig.world),
    "given up": lambda rig: rig.machine.fail(rig.world, "garbage"),
    "Opened": lambda rig: rig.opened(),
    "Closed": lambda rig: rig.closed(),
    "Closed by 403": lambda rig: rig.closed(403),
    "Closed by 418": lambda rig: rig.closed(418),
    "Closed by 451": lambda rig: rig.closed(451),
    "Closed by seam": lambda rig: rig.closed(None, "seam"),
    "overdue": lambda rig: rig.overdue(),
}
D, O, S, L, B, X = Phase  # noqa: E741 the columns of the table
TABLE = [
    ("wanted", (O, O, S, L, B, X)),
    ("not wanted", (D, D, D, D, D, D)),
    ("given up", (D, B, B, B, B, X)),
    # Opened outside OPENING is a repetition, or comes from a generation that was told to close.
    ("Opened", (D, S, S, L, B, X)),
    # Without a generation there is nothing that could close.
    ("Closed", (D, B, B, B, B, X)),
    ("Closed by 403", (D, X, X, X, B, X)),
    ("Closed by 418", (D, X, X, X, B, X)),
    ("Closed by 451", (D, X, X, X, B, X)),
    ("Closed by seam", (D, O, O, O, B, X)),
    ("overdue", (D, B, B, B, O, O)),
]


@pytest.mark.parametrize(
    ("event", "phase", "target"),
    [(event, phase, target) for event, row in TABLE for phase, target in zip(Phase, row, strict=True)],
)
def test_connection_in_each_phase_takes_each_event_as_the_table_says(
    event: str, phase: Phase, target: Phase
) -> None:
    """Every cell: the phase after it, told as one move exactly where it changed, with an alarm to go on."""
    rig = Rig().to(phase)
    gen = rig.state.gen
    turn = EVENTS[event](rig)
    assert rig.state.phase is target
    assert [(move.source, move.target) for move in turn.moves] == (
        [(phase, target)] if phase is not target or rig.state.gen != gen else []
    )
    assert (rig.state.alarm_ns is None) is (phase is D and target is D)
    closes = [effect for effect in turn.effects if isinstance(effect, Close)]
    ours = phase in (O, S, L) and target in (D, B) and not event.startswith("Closed")
    assert closes == ([Close("pub", gen)] if ours else [])


def test_connection_when_wanted_opens_subscribes_and_is_live_after_acks_and_first_frames() -> None:
    """The way up, effect by effect; trades are no busy stream, so they are not waited for."""
    rig = Rig()
    assert rig.machine.want(rig.world) == Turn(
        effects=(Open("pub", 1, "ws://venue"),),
        moves=(Move(D, O, "wanted"),),
        alarm_ns=START_NS + 10 * SECOND,
    )
    assert rig.opened() == Turn(
        effects=(Write("pub", 1, 2, "subscribe", None, Text(f"2 {DEPTH} {TICKER} {TRADE}")),),
        moves=(Move(O, S, "opened"),),
        alarm_ns=START_NS + 5 * SECOND,
    )
    assert rig.machine.heard(DEPTH, rig.world) == Turn()
    assert rig.machine.acknowledged(2, rig.world) == Turn()
    assert rig.machine.heard(TICKER, rig.world) == Turn(moves=(Move(S, L, "subscribed"),))
    assert rig.state.down_since_ns is None


def test_connection_without_streams_is_live_when_opened() -> None:
    """An account's connection (paper) has nothing to subscribe and nothing to hear."""
    rig = Rig(ConnectionSpec("paper:main", ""), Timing(silence_ns=None))
    rig.machine.want(rig.world)
    assert rig.opened().moves == (Move(O, S, "opened"), Move(S, L, "subscribed"))
    assert rig.machine.tick(rig.state.alarm_ns or 0, rig.world) == Turn()
    assert rig.state.alarm_ns is None


def test_connection_with_many_streams_subscribes_200_at_a_time_and_needs_every_ack() -> None:
    """Binance takes 200 names in one SUBSCRIBE; half of the acknowledgements are not enough."""
    names = tuple(f"s{number}" for number in range(250))
    rig = Rig(ConnectionSpec("pub", "", names))
    rig.machine.want(rig.world)
    bodies = [effect.body for effect in rig.opened().effects if isinstance(effect, Write)]
    assert bodies == [subscribe(2, names[:200]), subscribe(3, names[200:])]
    rig.machine.acknowledged(3, rig.world)
    assert rig.state.phase is S
    rig.machine.acknowledged(2, rig.world)
    assert rig.state.phase is L


def test_connection_when_a_subscription_is_not_acknowledged_backs_off_after_5_s() -> None:
    """Data without acknowledgement is not trusted either."""
    rig = Rig().to(S)
    rig.machine.heard(DEPTH, rig.world)
    rig.machine.heard(TICKER, rig.world)
    turn = rig.alarm()
    assert rig.world.now_ns == START_NS + 5 * SECOND
    assert turn.moves == (Move(S, B, "not acknowledged in 5 s"),)


def test_connection_when_a_subscription_is_refused_backs_off_with_the_venue_s_words() -> None:
    """A refused stream will not come by waiting."""
    rig = Rig().to(S)
    turn = rig.machine.acknowledged(2, rig.world, "unknown stream")
    assert turn.moves == (Move(S, B, "subscription refused: unknown stream"),)
    assert rig.machine.acknowledged(2, rig.world) == Turn()


def test_connection_when_acknowledged_but_mute_asks_once_more_alone_then_backs_off() -> None:
    """A stream on a wrong path is acknowledged and never speaks."""
    rig = Rig().to(S)
    rig.acknowledge()
    rig.machine.heard(DEPTH, rig.world)
    # The alarm of the acknowledgement rings in vain; the one of the first frames follows.
    assert rig.alarm() == Turn(alarm_ns=START_NS + 10 * SECOND)
    again = rig.alarm()
    assert again.effects == (Write("pub", 1, 3, "subscribe", None, Text(f"3 {TICKER}")),)
    rig.acknowledge()
    rig.alarm()
    assert rig.alarm().moves == (Move(S, B, f"acknowledged but mute: {TICKER}"),)
    assert rig.world.now_ns == START_NS + 20 * SECOND


def test_connection_when_the_mute_stream_speaks_after_the_second_asking_is_live() -> None:
    """The retry is worth something."""
    rig = Rig().to(S)
    rig.acknowledge()
    rig.machine.heard(DEPTH, rig.world)
    rig.alarm()
    rig.alarm()
    rig.acknowledge()
    assert rig.machine.heard(TICKER, rig.world).moves == (Move(S, L, "subscribed"),)


def test_connection_when_frames_come_is_not_silent_and_has_one_alarm_at_a_time() -> None:
    """Frames only move the deadline: the armed alarm rings once, finds nothing due and is set anew."""
    rig = Rig().to(L)
    rig.alarm()
    assert rig.state.alarm_ns == START_NS + 30 * SECOND
    rig.world.now_ns = START_NS + 20 * SECOND
    assert rig.received(rig.state.gen) == Turn()
    assert rig.alarm() == Turn(alarm_ns=START_NS + 50 * SECOND)
    assert rig.alarm().moves == (Move(L, B, "no frame for 30 s"),)


def test_connection_when_an_outdated_alarm_rings_does_nothing() -> None:
    """The number of a timer is the instant it was set for; others belong to the past."""
    rig = Rig().to(L)
    rig.world.now_ns += MINUTE
    assert rig.machine.tick(START_NS, rig.world) == Turn()
    assert rig.state.phase is L


@pytest.mark.parametrize("chance", [0.0, 0.5, 1 - 2**-53])
def test_connection_when_it_fails_again_and_again_waits_by_full_jitter_up_to_the_cap(chance: float) -> None:
    """U(0, min(30 s, 0.5 s * 2^n)), at any number of failures, for ever."""
    rig = Rig(timing=Timing())
    rig.budget.gap_ns = rig.budget.window_ns = 0
    rig.world.chance = chance
    waits = []
    rig.machine.want(rig.world)
    for _ in range(1000):
        rig.closed()
        waits.append(rig.state.retry_ns - rig.world.now_ns)
        rig.alarm()
        while rig.state.phase is B:
            rig.alarm()
    bounds = [min(30 * SECOND, 500 * MS * 2 ** min(n, 10)) for n in range(1000)]
    assert waits == [int(chance * bound) for bound in bounds]


@pytest.mark.parametrize(("live_ns", "attempt"), [(60 * SECOND - 1, 2), (60 * SECOND, 1)])
def test_connection_after_a_minute_of_live_begins_its_back_off_anew(live_ns: int, attempt: int) -> None:
    """A connection that lives a second at a time must not hammer the venue."""
    rig = Rig(timing=Timing(silence_ns=None)).to(B)
    rig.overdue()
    rig.opened()
    rig.acknowledge()
    rig.machine.heard(DEPTH, rig.world)
    rig.machine.heard(TICKER, rig.world)
    rig.world.now_ns += live_ns
    rig.closed()
    assert rig.state.attempt == attempt


def test_connection_at_a_seam_opens_at_once_without_back_off_or_budget() -> None:
    """The end of a lap is nobody's failure; requests in flight end with it."""
    rig = Rig().to(L)
    request = rig.machine.request(rig.world, "query", BODY, "book").effects[0]
    assert isinstance(request, Write)
    turn = rig.closed(None, "seam")
    gen = rig.world.last_id
    due_ns = START_NS + 5 * SECOND
    assert turn == Turn(
        effects=(Open("pub", gen, "ws://venue"),),
        moves=(Move(L, O, "seam"),),
        lost=(Lost(Request(request.req, "book", due_ns), "closed"),),
    )
    assert (rig.state.attempt, rig.state.failures, len(rig.budget.opens)) == (0, 0, 1)


@pytest.mark.parametrize(
    ("status", "word"), [(403, "firewall"), (418, "bans this address"), (451, "refuses this region")]
)
def test_connection_when_banned_names_the_cause_and_waits_5_minutes(status: int, word: str) -> None:
    """What the user reads is what to do about it."""
    rig = Rig().to(O)
    turn = rig.closed(status)
    assert word in turn.moves[0].reason
    assert word in rig.state.reason
    assert rig.state.retry_ns == START_NS + 5 * MINUTE + 15 * SECOND


def test_connection_when_the_venue_says_how_long_waits_that_long() -> None:
    """Retry-After of a ban is the venue's instant; of a 429 it is the least."""
    rig = Rig().to(O)
    rig.closed(418, "", 7.0)
    assert rig.state.retry_ns == START_NS + 7 * SECOND + 15 * SECOND
    rig = Rig().to(O)
    rig.closed(429, "", 7.0)
    assert (rig.state.phase, rig.state.retry_ns) == (B, START_NS + 7 * SECOND)


def test_connection_when_a_request_is_banned_closes_and_is_banned() -> None:
    """REST and sockets share an address, so a ban of one is a ban of both."""
    rig = Rig().to(L)
    rig.machine.request(rig.world, "query", BODY, "book")
    gen, req = rig.state.gen, rig.world.last_id
    turn = rig.received(gen, req, 418)
    assert (rig.state.phase, turn.effects) == (X, (Close("pub", gen),))
    assert [lost.request.subject for lost in turn.lost] == ["book"]


def test_request_gets_exactly_one_end() -> None:
    """Answer, time-out, proof that it never left, or the end of its generation; later words are dropped."""
    rig = Rig().to(L)
    gen = rig.state.gen
    due_ns = START_NS + 2 * SECOND
    for subject in ("answered", "unwritten", "late"):
        turn = rig.machine.request(rig.world, "query", BODY, subject, timeout_ns=2 * SECOND)
        assert turn.effects == (Write("pub", gen, rig.world.last_id, "query", None, BODY),)
    late = rig.world.last_id
    assert rig.received(gen, late - 2, 200) == Turn(answer=Request(late - 2, "answered", due_ns))
    assert rig.received(gen, late - 2, 200) == Turn(mine=False)
    proof = NotWritten("pub", gen, late - 1, "link_down")
    assert rig.machine.not_written(proof, rig.world).lost == (
        Lost(Request(late - 1, "unwritten", due_ns), "link_down"),
    )
    rig.world.now_ns = due_ns
    assert rig.alarm().lost == (Lost(Request(late, "late", due_ns), "timeout"),)
    assert rig.received(gen, late, 200) == Turn(mine=False)
    assert rig.machine.not_written(NotWritten("pub", gen + 9, late, "EXPIRED"), rig.world) == Turn(mine=False)


def test_request_while_not_connected_is_lost_at_once() -> None:
    """Nothing waits for a connection to come: the owner decides again."""
    rig = Rig().to(B)
    turn = rig.machine.request(rig.world, "create", BODY, "order", not_after_ns=1, sign=True)
    assert [(lost.request.subject, lost.reason) for lost in turn.lost] == [("order", "not_connected")]
    assert turn.effects == ()


def test_connection_when_its_subscription_was_not_written_backs_off() -> None:
    """There is no second road for it."""
    rig = Rig().to(S)
    turn = rig.machine.not_written(NotWritten("pub", 1, 2, "STALE_GENERATION"), rig.world)
    assert turn.moves == (Move(S, B, "subscription not written: STALE_GENERATION"),)


def test_foreign_generation_is_dropped_counted_and_closed_once() -> None:
    """A predecessor's socket that still talks would otherwise talk for ever to nobody."""
    rig = Rig().to(L)
    assert rig.received(900) == Turn(effects=(Close("pub", 900),), mine=False)
    assert rig.received(900) == Turn(mine=False)
    opened = Opened("pub", 901, START_NS)
    assert rig.machine.opened(opened, rig.world) == Turn(effects=(Close("pub", 901),), mine=False)
    assert rig.machine.closed(Closed("pub", 902, START_NS, 1006, ""), rig.world) == Turn(mine=False)
    assert rig.received(903, 1, 200) == Turn(mine=False)
    assert (rig.state.strangers, rig.state.phase) == (4, L)


def test_own_past_generation_is_no_stranger() -> None:
    """What was told to close may still say a few words."""
    rig = Rig().to(L)
    gen = rig.state.gen
    rig.machine.fail(rig.world, "garbage")
    assert rig.received(gen) == Turn(mine=False)
    assert rig.machine.closed(Closed("pub", gen, START_NS, 1000, "closed"), rig.world) == Turn(mine=False)
    assert rig.state.strangers == 0


def test_budget_allows_one_connect_a_second_and_100_in_5_minutes() -> None:
    """All sockets of a venue share it; the 101st waits until the first is 5 minutes old."""
    budget = Budget()
    instants = []
    now_ns = START_NS
    for _ in range(102):
        now_ns = budget.free_ns(now_ns)
        budget.take(now_ns)
        instants.append(now_ns - START_NS)
    assert instants[:100] == [second * SECOND for second in range(100)]
    assert instants[100:] == [300 * SECOND, 301 * SECOND]


def test_connection_without_budget_waits_for_it() -> None:
    """The second socket of a venue opens a second after the first."""
    rig = Rig().to(O)
    second = Connection(SPEC, Timing(), subscribe, rig.budget)
    turn = second.want(rig.world)
    assert turn == Turn(moves=(Move(D, B, "connection budget"),), alarm_ns=START_NS + SECOND)
    rig.world.now_ns += SECOND
    assert second.tick(START_NS + SECOND, rig.world).moves == (Move(B, O, "retry"),)


def test_connection_with_another_one_s_connect_in_between_waits_on_in_back_off() -> None:
    """A retry that finds the budget taken is set anew, without a move."""
    rig = Rig().to(B)
    rig.world.now_ns = rig.state.alarm_ns or 0
    rig.budget.opens[:] = [rig.world.now_ns]
    turn = rig.alarm()
    assert turn == Turn(alarm_ns=rig.budget.opens[0] + SECOND)


@pytest.mark.parametrize("phase", list(Phase))
def test_connection_state_survives_msgpack_and_goes_on_alike(phase: Phase) -> None:
    """It lives in its owner's State, which snapshots encode and decode."""
    rig, twin = Rig().to(phase), Rig()
    packed = msgspec.msgpack.encode((rig.state, rig.budget, rig.world.last_id))
    state, budget, last_id = msgspec.msgpack.decode(packed, type=tuple[ConnectionState, Budget, int])
    twin.world.last_id = last_id
    twin.machine = Connection(SPEC, Timing(), subscribe, budget, state)
    assert [twin.alarm() for _ in range(4)] == [rig.alarm() for _ in range(4)]
    assert twin.state == rig.state


@pytest.mark.parametrize(
    ("latched", "generation", "not_after_ns", "verdict"),
    [
        (False, (7, 7), None, None),
        (False, (7, 7), 100, None),
        (False, (7, 7), 99, "EXPIRED"),
        (False, (7, 8), 99, "STALE_GENERATION"),
        (True, (7, 8), 99, "LATCHED"),
    ],
)
def test_may_write_names_the_first_reason_against(
    latched: bool, generation: tuple[int, int], not_after_ns: int | None, verdict: str | None
) -> None:
    """The deadline itself is still in time."""
    assert may_write(latched, generation, not_after_ns, 100) == verdict


# --- more streams -----------------------------------------------------------------------------------------


def test_connection_when_more_is_wanted_subscribes_that_alone_and_waits_for_it() -> None:
    """The generation stays, what is heard already is not asked for again."""
    rig = Rig().to(Phase.LIVE)
    gen = rig.state.gen
    rig.machine.spec = ConnectionSpec("pub", "ws://venue", (*SPEC.streams, "eth@depth"), (DEPTH, "eth@depth"))
    turn = rig.machine.subscribe_more(rig.world)
    (write,) = [effect for effect in turn.effects if isinstance(effect, Write)]
    assert (write.body, write.gen) == (subscribe(write.req, ("eth@depth",)), gen)
    assert [move.target for move in turn.moves] == [Phase.SUBSCRIBING]
    rig.machine.acknowledged(write.req, rig.world)
    assert rig.state.phase is Phase.SUBSCRIBING
    rig.machine.heard("eth@depth", rig.world)
    assert (rig.state.phase, rig.state.gen, rig.state.opens) == (Phase.LIVE, gen, 1)


def test_connection_when_nothing_more_is_wanted_does_nothing() -> None:
    """Nor does it while it is not open: then all is subscribed as soon as it is."""
    rig = Rig().to(Phase.LIVE)
    assert rig.machine.subscribe_more(rig.world) == Turn()
    rig.closed()
    rig.machine.spec = ConnectionSpec("pub", "ws://venue", (*SPEC.streams, "eth@depth"), ())
    assert rig.machine.subscribe_more(rig.world).effects == ()
    while rig.state.phase is not Phase.OPENING:
        rig.alarm()
    bodies = [effect.body for effect in rig.opened().effects if isinstance(effect, Write)]
    assert [body.text.endswith("eth@depth") for body in bodies if isinstance(body, Text)] == [True]
