"""The kernel: order, atomic turns, lanes, timers, credits, crashes, stop, configuration."""

from __future__ import annotations

import dataclasses
from decimal import Decimal

import pytest

from tests.unit.runtime.players import (
    LIMITS,
    Scribe,
    Script,
    build,
    fail,
    keep_silent,
    kernel_of,
    say,
    seen,
    send_to,
    wish,
)
from tradefan.errors import Defect, TurnOverrun
from tradefan.messages.base import Message
from tradefan.messages.control import (
    ActorState,
    CloseLatch,
    Exit,
    LogLine,
    Rejected,
    StartLink,
    StopAll,
    StopLink,
    Stopped,
    SwapConfig,
)
from tradefan.messages.market import Quote
from tradefan.messages.wire import Credit, LinkDown, Overflow
from tradefan.runtime.actor import Context
from tradefan.runtime.mailbox import Limits
from tradefan.runtime.system import RIM, PortSpec
from tradefan.units import SECOND, AccountId, ClientOrderId, InstrumentId, OwnerId, Ref

A, B, PORT = Ref(1), Ref(2), Ref(3)
T0 = 1_000_000_000
MAIN, ME = AccountId("paper:main"), OwnerId("me")


def quote(number: int, instrument: str = "x") -> Quote:
    """Build a quote that is told apart by its update id."""
    return Quote(InstrumentId(instrument), 1.0, 1.0, 2.0, 1.0, number, 0)


def test_step_when_first_then_every_actor_hears_started_first() -> None:
    """An actor's first message is Started, before ingress of the same step."""
    kernel = kernel_of(build({"a": {}, "b": {}}))
    kernel.step(T0, [(A, say("x"))])
    assert (seen(kernel, "a"), seen(kernel, "b")) == (["Started", "x"], ["Started"])


def test_step_when_time_goes_back_then_defect() -> None:
    """A step is never earlier than the last."""
    kernel = kernel_of(build({"a": {}}))
    kernel.step(T0 + 5)
    with pytest.raises(Defect, match="time went back"):
        kernel.step(T0 + 4)


def test_lanes_when_all_have_mail_then_control_facts_commands_market() -> None:
    """Lanes are taken in their order whatever the order of arrival."""
    kernel = kernel_of(build({"a": {}}))
    kernel.step(T0, [(A, quote(1)), (A, wish("wish")), (A, say("fact"))])
    assert seen(kernel, "a") == ["Started", "fact", "wish", "Quote"]


def test_market_when_conflated_then_newest_keeps_the_oldest_place() -> None:
    """A second quote of an instrument replaces the first one and keeps its place."""
    numbers: list[int] = []
    script: Script = {"Quote": lambda _s, msg, _c: numbers.append(msg.update_id)}  # type: ignore[attr-defined]
    kernel = kernel_of(build({"a": script}))
    kernel.step(T0, [(A, quote(1, "x")), (A, quote(2, "y")), (A, quote(3, "x"))])
    assert (numbers, kernel.statistics()["a"].conflated) == ([3, 2], 1)


def test_turn_when_handler_raises_then_nothing_of_it_takes_effect() -> None:
    """A turn is atomic: sends, timers and log lines of a handler that raised do not exist."""

    def half_way(_scribe: object, _msg: Message, ctx: Context) -> None:
        ctx.send(B, say("must not arrive"))
        ctx.after(1, say("must not fire"))
        ctx.log("info", "must_not_be_written")
        raise RuntimeError("scripted")

    kernel = kernel_of(build({"a": {"go": half_way}, "b": {}}))
    effects = kernel.step(T0, [(A, say("go")), (A, say("after"))]).effects
    kernel.step(T0 + 10)
    assert seen(kernel, "b") == ["Started"]
    assert seen(kernel, "a") == ["Started", "after"]
    assert [effect.event for _, effect in effects if isinstance(effect, LogLine)] == ["actor_crashed"]


def test_crash_when_mail_waits_then_facts_survive_quotes_fall_commands_go_to_the_successor() -> None:
    """Facts and control survive a crash, quotes are dropped, commands are in Started."""
    commands: list[object] = []
    script: Script = {"boom": fail, "Started": lambda _s, msg, _c: commands.append(msg.commands)}  # type: ignore[attr-defined]
    kernel = kernel_of(build({"a": script}))
    kernel.step(T0, [(A, quote(1)), (A, wish("w")), (A, say("boom")), (A, say("fact"))])
    assert seen(kernel, "a") == ["Started", "fact"]
    assert commands == [(), (wish("w"),)]
    letter = kernel.life.dead_letters[0]
    assert (letter.actor, letter.message_type) == ("a", "Timer")
    assert "scripted" in letter.traceback


def test_timers_when_due_together_then_by_deadline_then_id_and_behind_ingress() -> None:
    """Due timers come behind ingress of the step, by (deadline, id)."""

    def arm(_scribe: object, _msg: Message, ctx: Context) -> None:
        for delay, text in ((30, "late"), (10, "first"), (10, "second")):
            ctx.after(delay, say(text))

    kernel = kernel_of(build({"a": {"Started": arm}}))
    assert kernel.step(T0).next_ns == T0 + 10
    assert kernel.step(T0 + 10, [(A, say("answer"))]).next_ns == T0 + 30
    assert kernel.step(T0 + 40).next_ns is None
    assert seen(kernel, "a") == ["Started", "answer", "first", "second", "late"]


def test_timer_when_cancelled_or_of_a_dead_actor_then_it_never_fires() -> None:
    """Cancelled timers and those of a former generation are void."""

    def arm(_scribe: object, _msg: Message, ctx: Context) -> None:
        ctx.cancel(ctx.after(10, say("cancelled")))
        ctx.after(20, say("old"))

    kernel = kernel_of(build({"a": {"arm": arm, "boom": fail}}))
    kernel.step(T0, [(A, say("arm")), (A, say("boom"))])
    kernel.step(T0 + 100)
    assert seen(kernel, "a") == ["Started"]


def test_visits_when_mail_is_long_then_fair_rounds_and_more() -> None:
    """One visit takes at most 64 messages, one step at most 256; `more` asks for the next step."""
    limits = Limits(facts_high=1_000, facts_max=10_000, commands_max=4, market_max=4)
    order: list[str] = []
    note: Script = {"x": lambda s, _m, _c: order.append(s.name)}
    kernel = kernel_of(build({"a": note, "b": note}, limits=limits))
    kernel.step(T0)
    stepped = kernel.step(T0, [(ref, say("x")) for ref in (A,) * 200 + (B,) * 200])
    runs = [order[start : start + 64] for start in range(0, 256, 64)]
    assert [set(run) for run in runs] == [{"a"}, {"b"}, {"a"}, {"b"}]
    assert (len(order), stepped.more) == (256, True)
    kernel.step(T0)
    assert (len(order), order.count("a")) == (400, 200)


def test_ingress_when_facts_lane_is_at_high_water_then_the_rest_is_not_admitted() -> None:
    """A port blocks: the driver keeps what was not admitted, in order."""
    kernel = kernel_of(build({"a": {}}))
    kernel.step(T0)
    stepped = kernel.step(T0, [(A, say(str(number))) for number in range(12)])
    assert stepped.admitted == LIMITS.facts_high
    assert kernel.step(T0, [(A, say("8"))]).admitted == 1


def test_ingress_when_commands_lane_is_full_then_rejected_to_the_rim() -> None:
    """A command that finds its lane full is refused out loud, the others are taken."""
    kernel = kernel_of(build({"a": {}}))
    stepped = kernel.step(T0, [(A, wish(str(number))) for number in range(6)])
    rejected = [effect for _, effect in stepped.effects if isinstance(effect, Rejected)]
    assert [(r.actor, r.message, r.reason) for r in rejected] == [
        ("a", wish("4"), "full"),
        ("a", wish("5"), "full"),
    ]
    assert stepped.admitted == 6


def test_send_when_commands_lane_is_full_then_false_in_the_same_turn() -> None:
    """Commands staged in this very turn count."""
    told: list[bool] = []

    def flood(_scribe: object, _msg: Message, ctx: Context) -> None:
        told.extend(ctx.send(B, wish(str(number))) for number in range(6))

    kernel = kernel_of(build({"a": {"go": flood}, "b": {}}))
    kernel.step(T0, [(A, say("go"))])
    assert told == [True] * 4 + [False] * 2
    assert seen(kernel, "b") == ["Started", "0", "1", "2", "3"]


def test_send_when_port_has_no_credit_then_false_until_ingress_raises_it() -> None:
    """A port with a queue takes only what its link announced, cumulatively."""
    told: list[bool] = []
    script: Script = {"go": lambda _s, _m, ctx: told.append(ctx.send(PORT, say("out")))}
    port = PortSpec("p", "a", credit=True)
    kernel = kernel_of(build({"a": script, "b": {}}, ports=(port,)))
    kernel.step(T0, [(A, say("go"))])
    kernel.step(T0, [(RIM, Credit("p", 2)), (A, say("go")), (A, say("go")), (A, say("go"))])
    kernel.step(T0, [(RIM, Credit("p", 3)), (A, say("go"))])
    assert told == [False, True, True, False, True]


def test_crash_when_restarts_are_exhausted_then_stays_down_and_is_tried_again() -> None:
    """After MaxR restarts within MaxT the child stays down; one try follows per retry interval."""
    kernel = kernel_of(build({"a": {"boom": fail}, "b": {}}, restarts_max=2))
    kernel.step(T0)
    for _ in range(3):
        kernel.step(T0, [(A, say("boom"))])
    assert kernel.view("a") is None
    stepped = kernel.step(T0, [(A, wish("w"))])
    assert [type(effect) for _, effect in stepped.effects] == [Rejected]
    assert seen(kernel, "b") == ["Started"]
    kernel.step(T0 + 5_000_000_000)
    assert seen(kernel, "a") == ["Started"]
    kernel.step(T0 + 5_000_000_000, [(A, say("boom")), (A, say("boom"))])
    assert kernel.view("a") is None


def test_crash_when_two_stay_down_then_each_is_tried_at_its_own_time() -> None:
    """The try of the first is not the last one."""
    kernel = kernel_of(build({"a": {"boom": fail}, "b": {"boom": fail}}, restarts_max=0))
    kernel.step(T0)
    kernel.step(T0, [(A, say("boom"))])
    kernel.step(T0 + 1_000_000_000, [(B, say("boom"))])
    kernel.step(T0 + 5_000_000_000)
    assert seen(kernel, "a") == ["Started"]
    assert kernel.view("b") is None
    kernel.step(T0 + 6_000_000_000)
    assert seen(kernel, "b") == ["Started"]


def test_crash_when_restarts_are_exhausted_then_watchers_hear_that_it_is_lost() -> None:
    """DOWN at each crash, LOST when nobody starts it again soon: only then its orders are an orphan's."""
    told: list[tuple[str, str, str]] = []

    def on_state(_scribe: Scribe, msg: Message, _ctx: Context) -> None:
        assert isinstance(msg, ActorState)
        told.append((msg.name, msg.state, msg.text))

    system = build({"a": {"boom": fail}, "b": {"ActorState": on_state}}, restarts_max=1)
    first, second = system.actors
    kernel = kernel_of(
        dataclasses.replace(system, actors=(dataclasses.replace(first, watchers=("b",)), second))
    )
    kernel.step(T0)
    kernel.step(T0, [(A, say("boom"))])
    assert told == [("a", "DOWN", "RuntimeError: scripted")]
    stepped = kernel.step(T0, [(A, say("boom"))])
    assert told[1:] == [("a", "LOST", "RuntimeError: scripted")]
    lines = [effect for _, effect in stepped.effects if isinstance(effect, LogLine)]
    assert [(line.event, line.actor) for line in lines][-1] == ("child_stays_down", "a")
    kernel.step(T0 + 5_000_000_000, [(A, say("boom"))])
    assert [state for _, state, _ in told[2:]] == ["LOST"]


def test_turn_when_it_is_broken_off_then_a_crash_of_that_actor_alone() -> None:
    """What a watchdog raises is no Exception, and yet only this actor falls (C-13)."""

    def overrun(_scribe: Scribe, _msg: Message, ctx: Context) -> None:
        ctx.send(B, say("half"))
        raise TurnOverrun("too long")

    kernel = kernel_of(build({"a": {"boom": overrun}, "b": {}}))
    kernel.step(T0)
    kernel.step(T0, [(A, say("boom")), (A, say("next")), (B, say("other"))])
    assert seen(kernel, "a") == ["Started", "next"]
    assert seen(kernel, "b") == ["Started", "other"]
    (letter,) = kernel.life.dead_letters
    assert "TurnOverrun: too long" in letter.traceback


def test_crash_when_its_words_are_no_utf_8_then_of_that_actor_alone() -> None:
    """With a trace, as where a recorder runs, every message is encoded: what tells of a crash as well."""

    def fail_oddly(_scribe: Scribe, _msg: Message, _ctx: Context) -> None:
        raise RuntimeError("half a pair: \ud800")

    made = build({"a": {"boom": fail_oddly}, "b": {}})
    first, second = made.actors
    kernel = kernel_of(
        dataclasses.replace(made, actors=(dataclasses.replace(first, watchers=("b",)), second)), trace=True
    )
    kernel.step(T0)
    kernel.step(T0, [(A, say("boom")), (A, say("next"))])
    assert seen(kernel, "a") == ["Started", "next"]
    assert seen(kernel, "b") == ["Started", "ActorState"]
    (letter,) = kernel.life.dead_letters
    assert "RuntimeError: half a pair: ?" in letter.traceback


def test_crash_when_supervisor_escalates_then_latch_closes_and_exit_70() -> None:
    """An exhausted core closes the latch before anything else and ends with exit code 70."""
    kernel = kernel_of(build({"a": {"boom": fail}, "b": {}}, on_exhausted="escalate", restarts_max=1))
    kernel.step(T0)
    kernel.step(T0, [(A, say("boom"))])
    stepped = kernel.step(T0, [(A, say("boom"))])
    kinds = [effect for _, effect in stepped.effects if isinstance(effect, CloseLatch | Exit)]
    assert [type(kind) for kind in kinds] == [CloseLatch, Exit]
    assert kernel.life.exited == 70
    assert (seen(kernel, "a"), seen(kernel, "b")) == (["Started", "Stop"], ["Started", "Stop"])
    assert kernel.life.tree.child("a").restarts == 2


def test_crash_when_the_last_life_cannot_be_built_either_then_all_ends_all_the_same() -> None:
    """There is one last life, for the stop; what fails in it is waited for no longer than that."""
    kernel = kernel_of(build({"a": {"boom": fail}, "b": {}}, on_exhausted="escalate", restarts_max=1))
    kernel.step(T0)
    kernel.step(T0, [(A, say("boom"))])
    cell = kernel.cells[A]
    assert cell is not None
    cell.spec = dataclasses.replace(cell.spec, factory=_broken)
    kernel.step(T0, [(A, say("boom"))])
    assert (kernel.life.exited, kernel.view("a")) == (70, None)
    assert seen(kernel, "b") == ["Started", "Stop"]


def test_link_when_it_overflows_then_all_ends_by_a_defect_and_the_link_is_the_last() -> None:
    """What it holds nobody else has: it is not started again, and works until everybody has stopped."""
    kernel = kernel_of(build({"a": {}}, ports=(PortSpec("x", "a"),), on_exhausted="escalate"))
    kernel.step(T0)
    overflow = (RIM, Overflow("x", "more than 10 wait"))
    stepped = kernel.step(T0, [overflow, overflow])
    kinds = [effect for _, effect in stepped.effects if not isinstance(effect, LogLine)]
    assert kinds[0] == CloseLatch("all", "x: more than 10 wait")
    assert [type(kind) for kind in kinds] == [CloseLatch, StopLink]
    assert seen(kernel, "a") == ["Started", "Stop"]
    generation = kernel.ports[kernel.refs["x"]].generation
    (_, last), *_ = kernel.step(T0, [(RIM, LinkDown("x", generation, "stopped"))]).effects
    assert (last, kernel.life.exited) == (Exit(70, "stopped"), 70)
    assert kernel.life.tree.child("x").restarts == 0


def test_factory_when_it_raises_then_counts_as_a_crash() -> None:
    """An actor that cannot be built is a crash of that actor, not of the kernel."""
    system = build({"a": {}, "b": {}})
    broken = dataclasses.replace(system.actors[0], factory=_broken)
    kernel = kernel_of(dataclasses.replace(system, actors=(broken, system.actors[1])))
    kernel.step(T0)
    assert (kernel.view("a"), seen(kernel, "b")) == (None, ["Started"])


def _broken(_state: object) -> Scribe:
    raise RuntimeError("cannot be built")


def test_link_when_it_ends_then_started_again_under_a_new_generation() -> None:
    """LinkDown of the present generation restarts the link; an old one's does nothing."""
    port = PortSpec("p", "a")
    kernel = kernel_of(build({"a": {}}, ports=(port,)))
    first = _started(kernel.step(T0).effects)
    again = _started(kernel.step(T0, [(RIM, LinkDown("p", first[0], "gone"))]).effects)
    assert len(again) == 1
    assert again[0] > first[0]
    assert _started(kernel.step(T0, [(RIM, LinkDown("p", first[0], "late"))]).effects) == []
    assert seen(kernel, "a") == ["Started", "LinkDown"]


def _started(effects: list[tuple[Ref, Message]]) -> list[int]:
    return [effect.generation for _, effect in effects if isinstance(effect, StartLink)]


def test_stop_when_asked_then_reverse_order_actors_then_links_then_exit() -> None:
    """Actors stop in reverse order, then links; Exit follows when the last one is down."""
    port = PortSpec("p", "a")
    kernel = kernel_of(build({"a": {}, "b": {}}, ports=(port,)))
    kernel.step(T0)
    stepped = kernel.step(T0, [(RIM, StopAll(T0 + 10))])
    assert (seen(kernel, "b")[-1], seen(kernel, "a")[-1]) == ("Stop", "Stop")
    stops = [effect for _, effect in stepped.effects if isinstance(effect, StopLink)]
    assert len(stops) == 1
    stepped = kernel.step(T0 + 1, [(RIM, LinkDown("p", stops[0].generation, "stopped"))])
    assert [effect for _, effect in stepped.effects] == [Exit(0, "stopped")]


def test_stop_when_others_are_asked_before_it_then_a_warned_actor_hears_at_once_that_it_begins() -> None:
    """Its turn to end may come seconds later: whoever lets orders in must know now."""
    never: Script = {"Stop": keep_silent}
    kernel = kernel_of(build({"a": {}, "b": never}, warned=("a",)))
    kernel.step(T0)
    kernel.step(T0, [(RIM, StopAll(T0 + SECOND))])
    assert seen(kernel, "a") == ["Started", "StopBegun"]


def test_crash_when_a_stop_has_begun_then_the_warned_successor_hears_of_it_too() -> None:
    """What its predecessor was told died with it."""
    kernel = kernel_of(build({"a": {"boom": fail}, "b": {"Stop": keep_silent}}, warned=("a",)))
    kernel.step(T0)
    kernel.step(T0, [(RIM, StopAll(T0 + SECOND)), (kernel.refs["a"], say("boom"))])
    assert seen(kernel, "a") == ["Started", "StopBegun"]


def test_stop_when_a_child_never_answers_then_its_deadline_cuts_it_and_the_exit_code_says_so() -> None:
    """What could not be verified in time ends with exit code 1."""
    port = PortSpec("p", "a")
    kernel = kernel_of(build({"a": {}}, ports=(port,)))
    kernel.step(T0)
    due = kernel.step(T0, [(RIM, StopAll(T0 + 10))]).next_ns
    assert due is not None
    while due is not None:
        due = kernel.step(due).next_ns
    assert kernel.life.exited == 1


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (Stopped("a"), 0),
        (Stopped("a", left=((MAIN, ME, ClientOrderId("x")),)), 1),
        (Stopped("a", unverified=True), 1),
        (Stopped("a", positions=((MAIN, ME, InstrumentId("v:B/U"), Decimal(1)),)), 1),
    ],
)
def test_stop_when_something_unwanted_is_left_then_the_exit_code_says_so(said: Stopped, code: int) -> None:
    """An order that rests, a position that was to be sold, or nobody knows."""
    kernel = kernel_of(build({"a": {}}))
    kernel.step(T0)
    kernel.step(T0, [(RIM, StopAll(T0 + SECOND)), (RIM, said)])
    assert kernel.life.exited == code


@pytest.mark.parametrize(("errors", "config"), [((), "new"), (("no",), "config")])
def test_swap_when_a_validator_objects_then_nothing_changes(errors: tuple[str, ...], config: str) -> None:
    """A configuration is swapped whole or not at all, and the configurator hears how it ended."""
    kernel = kernel_of(build({"a": {}, "b": {}}, validators=(lambda _old, _new: errors,)))
    kernel.step(T0)
    kernel.step(T0, [(RIM, SwapConfig("c2", b"new"))])
    assert kernel.config == config
    changed = [] if errors else ["ConfigChanged"]
    assert (seen(kernel, "a"), seen(kernel, "b")) == (
        ["Started", *changed, "ConfigResult"],
        ["Started", *changed],
    )


def test_swap_when_a_validator_raises_then_it_counts_as_a_refusal() -> None:
    """A broken validator refuses: the old configuration stays."""

    def broken(_old: object, _new: object) -> tuple[str, ...]:
        raise RuntimeError("scripted")

    kernel = kernel_of(build({"a": {}}, validators=(broken,)))
    kernel.step(T0, [(RIM, SwapConfig("c2", b"new"))])
    assert kernel.config == "config"


def test_next_id_when_an_actor_is_rebuilt_then_never_repeated() -> None:
    """Numbers for generations and requests are the kernel's: a successor cannot reuse one."""
    numbers: list[int] = []
    script: Script = {"boom": fail, "Started": lambda _s, _m, ctx: numbers.append(ctx.next_id())}
    kernel = kernel_of(build({"a": script}))
    kernel.step(T0, [(A, say("boom"))])
    assert len(set(numbers)) == len(numbers) == 2


def test_facts_when_capacity_was_computed_wrong_then_a_crash_of_that_actor_and_no_fact_is_lost() -> None:
    """Overflow is a Defect of the actor whose lane it is: supervised, inside the fence, facts kept."""
    limits = Limits(facts_high=1, facts_max=2, commands_max=1, market_max=1)
    kernel = kernel_of(build({"a": {"go": send_to(B, "1", "2", "3")}, "b": {}}, limits=limits))
    kernel.step(T0)
    stepped = kernel.step(T0, [(A, say("go"))])
    assert (seen(kernel, "a"), seen(kernel, "b")) == (["Started", "go"], ["Started", "1", "2", "3"])
    assert [(one.actor, one.message_type) for one in kernel.life.dead_letters] == [("b", "ActorState")]
    assert "3 facts, wiring computed at most 2" in kernel.life.dead_letters[0].traceback
    assert (stepped.more, kernel.state.lost_to_down) == (False, 0)
    assert kernel.life.tree.child("b").restarts == 1
    kernel.step(T0, [(A, say("go"))])
    assert kernel.life.tree.child("b").restarts == 1
    assert seen(kernel, "b")[-3:] == ["1", "2", "3"]
    assert kernel.statistics()["b"].facts_peak == 3


def test_facts_when_they_overflow_then_no_fact_is_called_the_poison() -> None:
    """The successor is told why, but of no fact: each of them is worked off."""
    told: list[tuple[str | None, str]] = []
    limits = Limits(facts_high=1, facts_max=2, commands_max=1, market_max=1)
    b: Script = {"Started": lambda _s, msg, _c: told.append((msg.poison, msg.poison_text))}  # type: ignore[attr-defined]
    kernel = kernel_of(build({"a": {"go": send_to(B, "1", "2", "3")}, "b": b}, limits=limits))
    kernel.step(T0)
    kernel.step(T0, [(A, say("go"))])
    assert [poison for poison, _ in told] == [None, None]
    assert "3 facts" in told[1][1]


def test_facts_when_they_grow_without_end_then_the_supervisor_gives_up_and_mail_stays_bounded() -> None:
    """Each new peak is one crash; an actor that stays down loses its mail, and that is counted."""
    limits = Limits(facts_high=1, facts_max=2, commands_max=1, market_max=1)
    script: Script = {f"go{n}": send_to(B, *("x",) * n) for n in range(2, 7)}
    kernel = kernel_of(build({"a": script, "b": {}}, limits=limits, restarts_max=3))
    kernel.step(T0)
    for number in (2, 3, 4, 5):
        kernel.step(T0, [(A, say(f"go{number}"))])
        assert kernel.view("b") is not None
    kernel.step(T0, [(A, say("go6"))])
    assert (kernel.view("b"), kernel.state.lost_to_down) == (None, 6)
    assert kernel.statistics()["b"].facts == 0
    assert seen(kernel, "a")[-1] == "go6"
