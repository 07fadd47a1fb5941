"""The kernel under random steps: lanes (I-27), timers (I-30), one configuration a step (I-25)."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from tests.unit.runtime.players import Log, Scribe, Script, build, kernel_of, say, wish
from tradefan.messages.base import COMMANDS, Message
from tradefan.messages.control import ConfigChanged, ConfigResult, Rejected, Started, SwapConfig, Timer
from tradefan.messages.market import Quote
from tradefan.runtime.actor import Context
from tradefan.runtime.kernel import PER_STEP
from tradefan.runtime.mailbox import LaneStatistics, Limits
from tradefan.runtime.system import RIM
from tradefan.units import InstrumentId, Ref

A, B = Ref(1), Ref(2)
T0 = 1_000_000_000
NAMES = ("a", "b", "c")
REFS = (Ref(1), Ref(2), Ref(3))
SENDS_MAX = 3
LANES = Limits(facts_high=6, facts_max=6 + PER_STEP * SENDS_MAX, commands_max=3, market_max=2)
Mail = list[tuple[Ref, Message]]


def quote(index: int, number: int) -> Quote:
    """Build a quote of one of four instruments: more than a market lane holds."""
    return Quote(InstrumentId("uvwx"[index]), 1.0, 1.0, 2.0, 1.0, number, 0)


# --- I-27: lanes are bounded, and what is missing is counted ------------------------------------------


class Spreader:
    """Counts its mail; a fact numbered n sends n facts, commands and quotes on, `boom` crashes."""

    def __init__(self, name: str, census: Census, _state: Log | None = None) -> None:
        """Report to a census."""
        self.ref = REFS[NAMES.index(name)]
        self.name, self.census, self.state = name, census, Log()

    def handle(self, msg: Any, ctx: Context) -> None:
        """Count, then spread."""
        census = self.census
        if isinstance(msg, Started):
            census.handled[self.name, COMMANDS] += len(msg.commands)
            return
        census.handled[self.name, msg.lane] += 1
        if not isinstance(msg, Timer):
            return
        if msg.name == "boom":
            raise RuntimeError("scripted")
        for index in range(msg.number):
            ref = REFS[(self.ref + index // 2) % len(REFS)]
            for out in (say("go", msg.number - 1), wish("w"), quote(index, msg.number)):
                census.sent(ref, out, accepted=ctx.send(ref, out))

    def view(self) -> Struct:
        """Return nothing much."""
        return self.state


class Census:
    """Three spreaders, and a count of what was put and handled, by (actor, lane), and refused."""

    def __init__(self, restarts_max: int) -> None:
        """Wire them; after `restarts_max` crashes an actor stays down."""
        self.put: Counter[tuple[str, int]] = Counter()
        self.handled: Counter[tuple[str, int]] = Counter()
        self.refused: Counter[str] = Counter()
        scripts: dict[str, Script] = {name: {} for name in NAMES}
        system = build(scripts, limits=LANES, restarts_max=restarts_max)
        actors = tuple(replace(one, factory=partial(Spreader, one.name, self)) for one in system.actors)
        self.kernel = kernel_of(replace(system, actors=actors), trace=False)

    def sent(self, ref: Ref, msg: Message, *, accepted: bool) -> None:
        """Note a message and whether its lane took it; one that is down refuses and counts nothing."""
        name = NAMES[ref - 1]
        if accepted:
            self.put[name, msg.lane] += 1
        elif self.kernel.view(name) is not None:
            self.refused[name] += 1

    def step(self, now_ns: int, ingress: Mail) -> None:
        """Step until everything is taken and done; what was not admitted is offered again, in order."""
        more = True
        while ingress or more:
            stepped = self.kernel.step(now_ns, ingress)
            rejected = {id(one.message): one for _, one in stepped.effects if isinstance(one, Rejected)}
            for ref, msg in ingress[: stepped.admitted]:
                refusal = rejected.get(id(msg))
                self.put[NAMES[ref - 1], msg.lane] += refusal is None
                self.refused[NAMES[ref - 1]] += refusal is not None and refusal.reason == "full"
            ingress, more = ingress[stepped.admitted :], stepped.more
            for lanes in self.kernel.statistics().values():
                assert lanes.facts_peak <= LANES.facts_max
                assert max(lanes.commands, lanes.commands_peak) <= LANES.commands_max
                assert max(lanes.market, lanes.market_peak) <= LANES.market_max
                assert lanes.facts <= LANES.facts_max

    def missing(self, name: str, lanes: LaneStatistics) -> dict[str, int]:
        """Return, by lane, what was put, was not handled, does not wait and is not counted as lost."""
        gone = [self.put[name, lane] - self.handled[name, lane] for lane in range(4)]
        return {
            "facts": gone[1] - lanes.facts,
            "commands": gone[2] - lanes.commands,
            "market": gone[3] - lanes.market - lanes.conflated - lanes.dropped,
        }


mail = st.tuples(
    st.sampled_from(REFS),
    st.one_of(
        st.integers(0, SENDS_MAX).map(lambda number: say("go", number)),
        st.sampled_from([say("boom"), wish("w"), wish("v")]),
        st.builds(quote, st.integers(0, 3), st.integers(0, 9)),
    ),
)
batches = st.lists(st.lists(mail, max_size=25), min_size=1, max_size=6)


def copies(batch: Mail) -> Mail:
    """Give every message an identity of its own, by which a refusal names it."""
    return [(ref, replace_message(msg)) for ref, msg in batch]


def replace_message(msg: Message) -> Message:
    """Return an equal message that is another object."""
    return type(msg)(*(getattr(msg, name) for name in msg.__struct_fields__))


@settings(max_examples=60, deadline=None)
@given(batches)
def test_lanes_when_actors_are_restarted_then_every_lane_accounts_for_its_mail(stories: list[Mail]) -> None:
    """I-27: facts drop 0; refused, conflated and dropped are exactly what is missing from a lane."""
    census = Census(restarts_max=1_000)
    for number, batch in enumerate(stories):
        census.step(T0 + number, copies(batch))
    for name, lanes in census.kernel.statistics().items():
        assert census.missing(name, lanes) == {"facts": 0, "commands": 0, "market": 0}
        assert lanes.refused == census.refused[name]
    assert census.kernel.state.lost_to_down == 0


@settings(max_examples=60, deadline=None)
@given(batches)
def test_lanes_when_actors_stay_down_then_their_lost_mail_is_counted(stories: list[Mail]) -> None:
    """I-27: what an actor that stays down loses is `lost_to_down`, to the message."""
    census = Census(restarts_max=1)
    for number, batch in enumerate(stories):
        census.step(T0 + number, copies(batch))
    lost = 0
    for name, lanes in census.kernel.statistics().items():
        missing = census.missing(name, lanes)
        assert all(count >= 0 for count in missing.values())
        assert lanes.refused == census.refused[name]
        lost += sum(missing.values())
    assert census.kernel.state.lost_to_down == lost


# --- I-30: timers ---------------------------------------------------------------------------------------


class Alarm:
    """A handler that arms what the plan says for its turn and notes what fires when."""

    def __init__(self, plans: list[tuple[list[int], list[int]]]) -> None:
        """Take (delays to arm, timers to cancel) by turn."""
        self.plans = plans
        self.armed: list[int] = []
        self.fired: list[tuple[int, int]] = []

    def on_plan(self, _scribe: Scribe, msg: Message, ctx: Context) -> None:
        """Arm and cancel; a timer carries its place in the order of arming."""
        assert isinstance(msg, Timer)
        delays, cancels = self.plans[msg.number]
        for delay_ns in delays:
            self.armed.append(ctx.after(delay_ns, say("ring", len(self.armed))))
        for which in cancels:
            if which < len(self.armed):
                ctx.cancel(self.armed[which])

    def on_ring(self, _scribe: Scribe, msg: Message, ctx: Context) -> None:
        """Note it."""
        assert isinstance(msg, Timer)
        self.fired.append((ctx.now_ns, msg.number))


plans = st.lists(
    st.tuples(
        st.integers(0, 60),
        st.lists(st.integers(0, 120), max_size=4),
        st.lists(st.integers(0, 15), max_size=2),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(plans)
def test_timers_when_steps_come_at_any_instant_then_each_fires_in_the_first_step_at_or_after_it(
    steps: list[tuple[int, list[int], list[int]]],
) -> None:
    """I-30: never early, never a step late, by (deadline, order of arming); a cancelled one never."""
    alarm = Alarm([(delays, cancels) for _, delays, cancels in steps])
    kernel = kernel_of(build({"a": {"plan": alarm.on_plan, "ring": alarm.on_ring}}), trace=False)
    pending: dict[int, int] = {}
    expected: list[tuple[int, int]] = []
    now_ns, count = T0, 0
    for number, (gap_ns, delays, cancels) in enumerate([*steps, (10_000, [], [])]):
        now_ns += gap_ns
        due = sorted((deadline, timer) for timer, deadline in pending.items() if deadline <= now_ns)
        expected += [(now_ns, timer) for _, timer in due]
        for _, timer in due:
            del pending[timer]
        last = number == len(steps)
        stepped = kernel.step(now_ns, [] if last else [(A, say("plan", number))])
        for delay_ns in delays:
            pending[count] = now_ns + delay_ns
            count += 1
        for which in cancels:
            pending.pop(which, None)
        assert alarm.fired == expected
        assert stepped.next_ns == min(pending.values(), default=None)
    assert not pending


# --- I-25: configuration --------------------------------------------------------------------------------


class Witness(Scribe):
    """Notes which configuration it sees at each message."""

    def __init__(self, name: str, notes: list[tuple[int, str, Any, str]], state: Log | None = None) -> None:
        """Write into `notes`: (step, config id, configuration, type of message)."""
        super().__init__(name, {}, state)
        self.notes = notes

    def handle(self, msg: Any, ctx: Context) -> None:
        """Note, and pass a relay on so that a step has several rounds."""
        self.notes.append((ctx.now_ns, ctx.config_id, ctx.config, type(msg).__name__))
        if isinstance(msg, Timer) and msg.number:
            ctx.send(B if self.name == "a" else A, say("relay", msg.number - 1))


swaps = st.one_of(
    st.integers(0, 4).map(lambda number: (A, say("relay", number))),
    st.integers(0, 99).map(lambda number: (RIM, SwapConfig(f"good{number}", b"good %d" % number))),
    st.sampled_from(
        [
            (RIM, SwapConfig("refused", b"bad by the validator")),
            (RIM, SwapConfig("garbage", b"\xff\xfe")),
            (RIM, SwapConfig("raises", b"raise in the validator")),
        ]
    ),
)


def _check(_old: Any, new: str) -> tuple[str, ...]:
    if new.startswith("raise"):
        raise RuntimeError("scripted")
    return () if new.startswith("good") else ("scripted refusal",)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(swaps, max_size=5), max_size=10))
def test_config_when_swapped_at_random_points_then_one_id_a_step_and_a_refused_one_changes_nothing(
    steps: list[Mail],
) -> None:
    """I-25: every handler of a step sees the last good configuration offered up to that step."""
    notes: list[tuple[int, str, Any, str]] = []
    system = build({"a": {}, "b": {}}, validators=(_check,))
    actors = tuple(replace(one, factory=partial(Witness, one.name, notes)) for one in system.actors)
    kernel = kernel_of(replace(system, actors=actors), trace=False)
    active = ("c1", "config")
    for number, ingress in enumerate(steps):
        notes.clear()
        good, offered = 0, set()
        for _, msg in ingress:
            if isinstance(msg, SwapConfig):
                offered.add(msg.config_id)
                if msg.payload.startswith(b"good"):
                    good += 1
                    active = (msg.config_id, msg.payload.decode())
        kernel.step(T0 + number, ingress)
        assert {(config_id, config) for _, config_id, config, _ in notes} <= {active}
        assert (kernel.state.config_id, kernel.config) == active
        kinds = Counter(kind for *_, kind in notes)
        # Control is conflated: of several swaps in one step an actor hears the last; results go by id.
        assert kinds[ConfigChanged.__name__] == (2 if good else 0)
        assert kinds[ConfigResult.__name__] == len(offered)
