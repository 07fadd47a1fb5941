"""A kernel that is wired anew between two turns: who comes, who goes, who learns of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from tests.unit.runtime.players import LIMITS, Log, Scribe, Script, kernel_of, say, seen
from tradefan.errors import Refused
from tradefan.messages.base import Message
from tradefan.messages.control import ActorState, ConfigResult, StopAll, SwapConfig
from tradefan.messages.union import decode
from tradefan.runtime.actor import Context
from tradefan.runtime.kernel import Kernel
from tradefan.runtime.snapshot import restore, take
from tradefan.runtime.supervisor import Child, Supervisor
from tradefan.runtime.system import RIM, ActorSpec, PortSpec, System
from tradefan.units import SECOND, Ref

T0 = 1_000_000_000
SCRIPTS: dict[str, Script] = {}


def ring(_scribe: Scribe, _msg: Message, ctx: Context) -> None:
    """Come back in a second."""
    ctx.after(SECOND, say("rung"))


def fail(_scribe: Scribe, _msg: Message, _ctx: Context) -> None:
    """Crash."""
    raise RuntimeError("boom")


class Worker(Scribe):
    """One that begins again; its third argument stands for its settings."""

    def __init__(self, name: str, script: Script, settings: str, state: Log | None) -> None:
        """Refuse what cannot be, or what cannot go on."""
        if settings == "impossible":
            raise Refused("BAD_SETTING", f"{name}: expected what can be")
        if "hates-state" in settings and state is not None:
            raise ValueError("other state than I know")
        super().__init__(name, script, state)
        self.settings = settings


def wire(config: str, known: Mapping[str, Ref] | None = None) -> System:
    """Wire a manager, whose wiring names all workers, and the workers `name=settings` of a text."""
    workers = dict(word.split("=") for word in config.split())
    script: Script = {"ring": ring, "boom": fail}
    specs = (
        ActorSpec("manager", partial(Worker, "manager", {}, config), Log, LIMITS),
        *(
            ActorSpec(name, partial(Worker, name, script, settings), Log, LIMITS, kind=(settings,))
            for name, settings in workers.items()
        ),
    )
    children = (Child("p", "link"), *(Child(spec.name, "actor") for spec in specs))
    tree = Supervisor("root", children, 1, 60 * SECOND, "stay_down", retry_ns=5 * SECOND)
    return System(
        specs,
        (PortSpec("p", "manager"),),
        tree,
        decode,
        lambda data: data.decode(),
        configurator="manager",
        known={} if known is None else dict(known),
        rewire=lambda other, _swap, refs: wire(other, refs),
    )


def begun(config: str) -> Kernel:
    """Start a kernel."""
    kernel = kernel_of(wire(config))
    kernel.step(T0)
    return kernel


def swap(kernel: Kernel, config: str, at_ns: int = T0, **places: str) -> tuple[str, ...]:
    """Swap a configuration in; return why not."""
    msg = SwapConfig(config, config.encode(), places=tuple(places.items()))
    stepped = kernel.step(at_ns, [(RIM, msg)])
    (result,) = [effect for _, effect in stepped.effects if isinstance(effect, ConfigResult)]
    return result.errors


def actor(kernel: Kernel, name: str) -> Any:
    """Return the actor of a name."""
    cell = kernel.cells[kernel.refs[name]]
    assert cell is not None
    return cell.actor


def tell(kernel: Kernel, name: str, text: str, at_ns: int = T0) -> None:
    """Let an actor hear a text."""
    kernel.step(at_ns, [(kernel.refs[name], say(text))])


def test_swap_when_an_actor_is_new_then_it_begins_and_all_others_keep_their_refs() -> None:
    """Whoever wrote down a ref still reaches the same actor."""
    kernel = begun("a=1")
    before = dict(kernel.refs)
    assert swap(kernel, "a=1 b=1") == ()
    assert seen(kernel, "b") == ["Started", "ConfigChanged"]
    assert seen(kernel, "a") == ["Started", "ConfigChanged"]
    assert {name: kernel.refs[name] for name in before} == before
    assert kernel.refs["b"] == len(before) + 1
    tell(kernel, "b", "hello")
    assert seen(kernel, "b")[-1] == "hello"


def test_swap_when_only_settings_change_then_that_actor_begins_again_and_nobody_is_to_blame() -> None:
    """Its timers are void, no restart is counted, and the others stay as they are."""
    kernel = begun("a=1 b=1")
    tell(kernel, "a", "ring")
    other = actor(kernel, "b")
    assert swap(kernel, "a=2 b=1") == ()
    assert (actor(kernel, "a").settings, seen(kernel, "a")) == ("2", ["Started", "ConfigChanged"])
    assert actor(kernel, "b") is other
    assert kernel.life.tree.child("a").restarts == 0
    kernel.step(T0 + 2 * SECOND)
    assert "rung" not in seen(kernel, "a")


def test_swap_when_wiring_changes_then_an_actor_with_state_goes_on_with_it() -> None:
    """The manager learns of a worker and has forgotten nothing."""
    kernel = begun("a=1")
    tell(kernel, "manager", "ring")
    assert swap(kernel, "a=1 b=1") == ()
    assert actor(kernel, "manager").settings == "a=1 b=1"
    assert seen(kernel, "manager")[:2] == ["Started", "ring"]


def test_swap_when_nothing_of_it_is_wired_then_nobody_is_built_anew() -> None:
    """The same actors by another configuration."""
    kernel = begun("a=1")
    actors = actor(kernel, "a"), actor(kernel, "manager")
    assert swap(kernel, "a=1") == ()
    assert actors == (actor(kernel, "a"), actor(kernel, "manager"))


def test_swap_when_an_actor_goes_then_its_mail_and_timers_go_with_it_until_it_comes_back() -> None:
    """What is meant for it reaches nobody else; of the same name it gets its place again."""
    kernel = begun("a=1 b=1")
    ref = kernel.refs["a"]
    tell(kernel, "a", "ring")
    assert swap(kernel, "b=1 c=1") == ()
    assert kernel.refs["c"] not in (ref, kernel.refs["b"])
    kernel.step(T0 + 2 * SECOND, [(ref, say("late"))])
    assert [name for name in ("b", "c") if {"late", "rung"} & set(seen(kernel, name))] == []
    assert kernel.state.lost_to_down == 1
    assert swap(kernel, "a=3 b=1", T0 + 2 * SECOND) == ()
    assert (kernel.refs["a"], seen(kernel, "a")) == (ref, ["Started", "ConfigChanged"])


def test_swap_when_an_actor_cannot_be_built_then_nothing_changes() -> None:
    """All or nothing: its reason is the refusal."""
    kernel = begun("a=1")
    assert swap(kernel, "a=2 b=impossible") == ("b: expected what can be",)
    assert (kernel.config, actor(kernel, "a").settings, "b" in kernel.refs) == ("config", "1", False)
    assert swap(kernel, "a=impossible") == ("a: expected what can be",)
    assert actor(kernel, "a").settings == "1"


def test_swap_when_refused_then_the_place_of_its_key_is_said() -> None:
    """As whoever reads the files says it; what is refused as a whole is placed at what differs first."""
    kernel = begun("a=1")
    assert swap(kernel, "a=2 b=impossible", a="x.yaml:1", b="x.yaml:2") == (
        "x.yaml:2: b: expected what can be",
    )
    # Not at another key, which is none of its business.
    assert swap(kernel, "a=2 b=impossible", a="x.yaml:1") == ("b: expected what can be",)
    kernel.step(T0, [(RIM, StopAll(T0 + 60 * SECOND))])
    text = "other actors would begin, and the daemon is about to stop"
    assert swap(kernel, "a=1 b=1", b="x.yaml:2") == (f"x.yaml:2: {text}",)


def test_swap_when_a_stop_is_under_way_then_no_actor_comes_or_goes() -> None:
    """Who is asked to end, and in which order, was settled when it began."""
    kernel = begun("a=1")
    kernel.step(T0, [(RIM, StopAll(T0 + 60 * SECOND))])
    assert swap(kernel, "a=1 b=1") == ("other actors would begin, and the daemon is about to stop",)


def test_swap_when_an_actor_stays_down_then_other_settings_are_tried_at_once() -> None:
    """Who mended its settings need not wait for the supervisor's next try."""
    kernel = begun("a=1")
    for _ in range(2):
        tell(kernel, "a", "boom")
    assert (actor(kernel, "a"), kernel.life.tree.child("a").retry_ns is None) == (None, False)
    assert swap(kernel, "a=2") == ()
    assert seen(kernel, "a") == ["Started", "ConfigChanged"]
    assert kernel.life.tree.child("a").retry_ns is None


def test_swap_when_an_actor_that_stays_down_goes_then_nobody_tries_it_again() -> None:
    """Its supervisor forgets it."""
    kernel = begun("a=1 b=1")
    for _ in range(2):
        tell(kernel, "a", "boom")
    assert swap(kernel, "b=1") == ()
    kernel.step(T0 + 6 * SECOND)
    assert list(kernel.life.tree.state.children) == ["p", "manager", "b"]


def test_snapshot_when_actors_came_and_went_then_it_goes_on_the_same_in_the_system_of_then() -> None:
    """Refs are part of it, also of those that are gone; another system is refused."""
    kernel = begun("a=1 b=1")
    swap(kernel, "b=2 c=1")
    data = take(kernel, b"b=2 c=1", "code")
    again = restore(data, wire("b=2 c=1", kernel.refs), "code")
    assert take(again, b"b=2 c=1", "code") == take(kernel, b"b=2 c=1", "code")
    for one in (kernel, again):
        swap(one, "a=1 b=2 d=1")
        tell(one, "d", "hello")
    assert kernel.trace is not None
    assert again.trace is not None
    assert kernel.trace.hexdigest() == again.trace.hexdigest()
    with pytest.raises(Refused, match="expected the actors of the snapshot"):
        restore(data, wire("b=2 c=1"), "code")


def test_new_actor_when_a_driver_guards_turns_then_its_turns_are_guarded_too() -> None:
    """`on_cell` is called for each place that is given to a new actor."""
    kernel, told = begun("a=1"), []
    kernel.on_cell = lambda cell: told.append(cell.spec.name)
    swap(kernel, "b=1")
    swap(kernel, "a=1 b=1")
    assert told == ["b", "a"]


def test_watchers_when_an_actor_is_taken_out_then_hear_nothing_of_a_loss() -> None:
    """Who it concerns is wired anew in the same turn."""
    system = wire("a=1")
    manager, worker = system.actors
    kernel = kernel_of(replace(system, actors=(manager, replace(worker, watchers=("manager",)))))
    kernel.step(T0)
    assert swap(kernel, "") == ()
    assert ActorState.__name__ not in seen(kernel, "manager")


def test_swap_when_an_actor_cannot_go_on_with_its_state_then_it_alone_falls_and_begins_anew() -> None:
    """As by a crash: counted, its supervisor decides, and the configuration is in force as a whole."""
    kernel = begun("a=1")
    assert swap(kernel, "a=1 hates-state=1") == ()
    assert (actor(kernel, "manager").settings, seen(kernel, "a")) == (
        "a=1 hates-state=1",
        ["Started", "ConfigChanged"],
    )
    assert kernel.life.tree.child("manager").restarts == 1
    assert seen(kernel, "manager") == ["Started", "ConfigChanged", "ConfigResult"]


def test_swap_when_an_actor_begins_again_then_nothing_of_its_predecessor_waits_for_it() -> None:
    """An answer to another question might pass for its own."""
    kernel = kernel_of(wire("a=1"))
    kernel.per_step = 1
    kernel.step(T0, [(kernel.refs["a"], say("old answer"))])
    stepped = kernel.step(T0, [(RIM, SwapConfig("a=2", b"a=2"))])
    while stepped.more:
        stepped = kernel.step(T0)
    assert seen(kernel, "a") == ["Started", "ConfigChanged"]
