"""What an actor was told to do outlives it: the turn in hand may be its last, its successor hears it again."""

from __future__ import annotations


from tests.unit.runtime.players import Scribe, Script, build, fail, keep_silent, kernel_of, say, seen
from tradefan.messages.base import Message
from tradefan.messages.control import Stop, StopAll, Stopped
from tradefan.runtime.actor import Context
from tradefan.runtime.snapshot import restore, take
from tradefan.runtime.system import RIM
from tradefan.units import SECOND, Ref

A, B = Ref(1), Ref(2)
T0 = 1_000_000_000
DEADLINE_NS = T0 + SECOND


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
