"""What an actor was told to do outlives it: its turn may be the last, and a successor hears it again."""

from __future__ import annotations

import dataclasses

import pytest

from tests.unit.runtime.players import Scribe, Script, build, fail, keep_silent, kernel_of, say, seen
from tradefan.messages.base import Message
from tradefan.messages.control import LAST_RESORT, Heard, KillByte, KillSwitch, Stop, StopAll, Stopped
from tradefan.runtime.actor import Context
from tradefan.runtime.kernel import Kernel
from tradefan.runtime.snapshot import restore, take
from tradefan.runtime.supervisor import OnExhausted
from tradefan.runtime.system import RIM, PortSpec
from tradefan.units import SECOND, Ref

A, PORT = Ref(1), Ref(2)
T0 = 1_000_000_000
DEADLINE_NS = T0 + SECOND
KILL = KillSwitch("all", "panic", "me", req=4)
OTHER = KillSwitch("all", "panic", "me", req=5)
SHUT = KillByte(2, 0)


class Falls:
    """Script: raises so many times, then answers Stop."""

    def __init__(self, times: int) -> None:
        """Fall `times` times in all, whoever lives."""
        self.left = times
        self.heard: list[Message] = []

    def __call__(self, scribe: Scribe, msg: Message, ctx: Context) -> None:
        """Note what was heard, and fall or answer."""
        self.heard.append(msg)
        if self.left:
            self.left -= 1
            raise RuntimeError("scripted")
        if isinstance(msg, Stop):
            ctx.send(RIM, Stopped(scribe.name))


def test_stop_when_its_own_turn_kills_the_actor_then_the_successor_is_asked_by_the_same_deadline() -> None:
    """What rests at the venue is its to cancel: nobody else does."""
    falls = Falls(1)
    kernel = kernel_of(build({"a": {"Stop": falls}, "b": {}}, warned=("a",)))
    kernel.step(T0)
    kernel.step(T0, [(RIM, StopAll(DEADLINE_NS))])
    assert falls.heard == [Stop(DEADLINE_NS)] * 2
    assert (seen(kernel, "a"), kernel.life.exited) == (["Started", "StopBegun", "Stop"], 0)


def test_stop_when_another_turn_kills_the_actor_before_its_answer_then_the_successor_is_asked() -> None:
    """Behind Stop it still cancels and looks; whoever begins anew in the midst of it has to go on."""
    kernel = kernel_of(build({"a": {"boom": fail, "Stop": keep_silent}}))
    kernel.step(T0)
    kernel.step(T0, [(RIM, StopAll(DEADLINE_NS))])
    kernel.step(T0, [(A, say("boom"))])
    assert (seen(kernel, "a"), kernel.life.exited) == (["Started", "Stop"], None)


def test_stop_when_it_kills_every_successor_then_the_others_go_on_and_the_exit_code_says_so() -> None:
    """The supervisor counts, so it does not loop; nobody waits for whom nobody starts again."""
    script: Script = {"Stop": Falls(100)}
    kernel = kernel_of(build({"a": {}, "b": script}, restarts_max=3))
    kernel.step(T0)
    kernel.step(T0, [(RIM, StopAll(DEADLINE_NS))])
    assert (kernel.view("b"), seen(kernel, "a"), kernel.life.exited) == (None, ["Started", "Stop"], 1)


def test_snapshot_when_a_stop_is_under_way_then_a_successor_behind_it_is_asked_too() -> None:
    """All that is told again is part of a snapshot."""
    system = build({"a": {"boom": fail, "Stop": keep_silent}})
    kernel = kernel_of(system, trace=False)
    kernel.step(T0)
    kernel.step(T0, [(RIM, StopAll(DEADLINE_NS))])
    again = restore(take(kernel, b"config", "code"), system, "code")
    again.step(T0, [(A, say("boom"))])
    assert seen(again, "a") == ["Started", "Stop"]


# --- what is kept until it was heard ------------------------------------------------------------------


def killed(script: Script, on_exhausted: OnExhausted = "escalate", restarts_max: int = 3) -> Kernel:
    """Return a kernel with one actor, begun, whose last resort is a word to a port."""
    system = build(
        {"a": script}, ports=(PortSpec("p", "a"),), on_exhausted=on_exhausted, restarts_max=restarts_max
    )
    kernel = kernel_of(dataclasses.replace(system, last_resort=lambda _kept: ((PORT, SHUT),)))
    kernel.step(T0)
    return kernel


def resorts(kernel: Kernel, *ingress: tuple[Ref, Message]) -> int:
    """Take ingress, and count the words that went to the port."""
    return kernel.step(T0, ingress).effects.count((PORT, SHUT))


def test_kept_when_its_own_turn_kills_the_actor_then_the_successor_hears_it_whole() -> None:
    """A turn that raised has done nothing: a kill that is lost with it was never carried out."""
    falls = Falls(1)
    kernel = killed({"KillSwitch": falls})
    assert resorts(kernel, (A, KILL)) == 0
    assert falls.heard == [KILL, KILL]
    assert seen(kernel, "a") == ["Started", "KillSwitch"]


def test_kept_when_another_turn_kills_the_actor_before_it_was_heard_then_the_successor_hears_it() -> None:
    """What an actor has noted dies with it, too: only what it calls heard lasts."""
    kernel = killed({"boom": fail})
    assert resorts(kernel, (A, KILL), (A, say("boom"))) == 0
    assert seen(kernel, "a") == ["Started", "KillSwitch"]


def test_kept_when_it_was_heard_then_no_successor_is_told() -> None:
    """Somebody may have resumed meanwhile."""
    kernel = killed({"boom": fail})
    assert resorts(kernel, (A, KILL)) == 0
    assert resorts(kernel, (RIM, Heard("a", KILL.key())), (A, say("boom"))) == 0
    assert seen(kernel, "a") == ["Started"]


def test_kept_when_a_second_one_waits_while_the_first_is_heard_then_the_successor_hears_that() -> None:
    """Two signals have one key, and the second may be the one that counts: a human resumed in between."""
    kernel = killed({"boom": fail})
    assert resorts(kernel, (A, KILL)) == 0
    assert resorts(kernel, (A, KILL), (RIM, Heard("a", KILL.key())), (A, say("boom"))) == 0
    assert seen(kernel, "a") == ["Started", "KillSwitch"]


def test_kept_when_it_kills_the_successor_too_then_the_last_resort_is_taken_once() -> None:
    """It does not loop, and it is not lost: the third life begins without it."""
    falls = Falls(100)
    kernel = killed({"KillSwitch": falls})
    assert resorts(kernel, (A, KILL)) == 1
    assert falls.heard == [KILL, KILL]
    assert (seen(kernel, "a"), kernel.life.stopping) == (["Started"], None)
    assert resorts(kernel) == 0


def test_kept_when_it_is_left_to_the_last_resort_then_that_is_taken_for_each_life_until_it_is_heard() -> None:
    """A link that ends takes the word with it, and costs the actor its life as well; the alarm is one."""
    kernel = killed({"boom": fail}, restarts_max=9)
    assert resorts(kernel, (A, KILL), (A, say("boom"))) == 0
    lives = [kernel.step(T0, [(A, say("boom"))]).effects for _ in range(2)]
    assert [effects.count((PORT, SHUT)) for effects in lives] == [1, 1]
    alarms = [msg for effects in lives for _, msg in effects if getattr(msg, "event", "") == "not_heard"]
    assert len(alarms) == 1
    assert seen(kernel, "a") == ["Started"]
    assert resorts(kernel, (RIM, Heard("a", LAST_RESORT)), (A, say("boom"))) == 0


def test_kept_when_another_waits_while_the_last_resort_is_heard_then_that_is_still_told() -> None:
    """It is about what was left to it, and nothing else."""
    kernel = killed({"boom": fail}, restarts_max=9)
    for messages in (((A, KILL),), (), ((A, OTHER), (RIM, Heard("a", LAST_RESORT)))):
        assert resorts(kernel, *messages, (A, say("boom"))) == (0 if messages else 1)
    assert seen(kernel, "a") == ["Started", "KillSwitch"]


def test_kept_when_only_the_last_life_could_hear_it_then_that_is_for_the_stop() -> None:
    """Who cancels before an exit by a defect is not risked on what killed the one before."""
    falls = Falls(100)
    kernel = killed({"KillSwitch": falls}, restarts_max=0)
    assert resorts(kernel, (A, KILL)) == 1
    assert falls.heard == [KILL]
    assert seen(kernel, "a") == ["Started", "Stop"]


@pytest.mark.parametrize("first", [(), ((A, KILL),)])
def test_kept_when_the_actor_is_down_then_the_last_resort_is_taken(
    first: tuple[tuple[Ref, Message], ...],
) -> None:
    """Whether it waited when the actor fell for the last time, or comes behind that."""
    kernel = killed({"boom": fail}, "stay_down", restarts_max=0)
    assert resorts(kernel, *first, (A, say("boom"))) == len(first)
    assert resorts(kernel, (A, KILL)) == 1


def test_snapshot_when_something_is_kept_then_a_successor_behind_it_hears_it() -> None:
    """Also that it was told a successor already."""
    system = build({"a": {"boom": fail}})
    kernel = kernel_of(system, trace=False)
    kernel.step(T0, [(A, KILL)])
    again = restore(take(kernel, b"config", "code"), system, "code")
    again.step(T0, [(A, say("boom"))])
    assert seen(again, "a") == ["Started", "KillSwitch"]
    third = restore(take(again, b"config", "code"), system, "code")
    third.step(T0, [(A, say("boom"))])
    assert seen(third, "a") == ["Started"]
