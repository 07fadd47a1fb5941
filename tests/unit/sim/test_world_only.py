"""Single faults that are left out: they do nothing, and everything else is as it was."""

from __future__ import annotations

from random import Random

import pytest

from tests.unit.sim.test_market import Listener
from tests.unit.sim.test_venue_kinds import ALL
from tests.unit.sim.test_venue_kinds import only as of_kinds
from tests.unit.sim.venue_client import Client, trade_at_random
from tradefan.sim.checkers import all_checkers
from tradefan.sim.faults import Planned
from tradefan.sim.inject import inject
from tradefan.sim.kinds import MARKET_KINDS
from tradefan.sim.only import COMES_WITH, Only
from tradefan.sim.options import T0
from tradefan.sim.personality import LIAR_KINDS, MODES, chance
from tradefan.sim.report import Outcome
from tradefan.sim.world import World
from tradefan.units import SECOND

HOURS = 0.14
SHORT = 0.07
AT_ONCE = 6
"""A stream by which a kill waits for no create."""
CAUSAL = ("ban", "balance_wrong", "trade_hidden", "stream_drop", "maintenance_cancel")
"""While one lasts no other is drawn, or what the next one does depends on what this one left."""
NOT_MET = ("market_disconnect", "market_refused")
"""They need somebody who comes back, and who asks."""


def test_only_when_nothing_is_named_then_all_happen_and_are_numbered() -> None:
    """The numbers of what is drawn count from 0, those that come with a planned fault from a thousand."""
    only = Only()
    assert only.lets("stall", 3)
    assert only.drawn("ban")
    assert only.drawn("ban")
    assert only.drawn("actor_raise", COMES_WITH)
    assert only.lets("fee_quote")
    assert list(only.happened) == ["stall:3", "ban:0", "ban:1", "actor_raise:1000", "fee_quote"]


def test_only_when_some_are_named_then_the_others_count_and_do_not_happen() -> None:
    """A kind lets all of its faults; a word with a number that one."""
    only = Only(("ban:1", "stall"))
    assert [only.drawn("ban") for _ in range(3)] == [False, True, False]
    assert [only.lets("stall", number) for number in (0, 7)] == [True, True]
    assert not only.lets("fee_quote")
    assert list(only.happened) == ["ban:1", "stall:0", "stall:7"]


def lived(
    kind: str, seed: int, only: Only
) -> tuple[list[tuple[int, str, str]], dict[str, object], dict[str, object]]:
    """Return what was noted of a client whose wishes need no answer, its kind's streams, others' orders."""
    client = Client(of_kinds(kind, liar=kind in LIAR_KINDS), seed=seed, volatility=2e-4, only=only)
    trade_at_random(client, Random(seed), 300)
    client.run(100)
    streams = client.venue.chances._streams
    others: dict[str, object] = {
        one.client_order_id: (one.accepted_ns, one.side, one.qty, one.price)
        for one in client.venue.book.orders.values()
        if not one.ours
    }
    states: dict[str, object] = {
        name: rng.getstate() for name, rng in streams.items() if name.startswith(kind)
    }
    return client.notes, states, others


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in ALL if kind not in MODES and kind not in CAUSAL])
def test_venue_when_one_fault_is_left_out_then_the_others_of_its_kind_are_what_they_were(kind: str) -> None:
    """When, on what, how long and how much: one that is left out draws all of it."""
    for seed in range(11, 19):
        only = Only()
        whole, streams, orders = lived(kind, seed, only)
        if len(whole) > 1:
            break
    # An order that does not fill in parts fills at once: behind the first of them it is another world.
    for word in tuple(only.happened)[: 1 if kind == "partial_storm" else 3]:
        less, same, some = lived(kind, seed, Only(one for one in only.happened if one != word))
        assert same == streams
        assert some.items() <= orders.items()
        assert less in [whole, *(whole[:at] + whole[at + 1 :] for at in range(len(whole)))]


def heard(kind: str, only: Only) -> list[tuple[int, str, str]]:
    """Return what was noted while somebody listened to a market."""
    listener, notes = Listener(kind, seed=5, streams=("trade",), only=only), list[tuple[int, str, str]]()
    listener.market.chances.note = lambda kind, text: notes.append((listener.now_ns, kind, text))
    listener.connect()
    listener.run(4_000)
    return notes


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in MARKET_KINDS if kind not in NOT_MET])
def test_market_when_one_fault_is_left_out_then_the_others_of_its_kind_are_what_they_were(kind: str) -> None:
    """One that meets nothing is never noted, so the first whose absence shows is looked for."""
    only = Only()
    whole, words = heard(kind, only), list(only.happened)
    assert len(whole) > 1
    for word in words[:10]:
        less = heard(kind, Only(one for one in words if one != word))
        if less != whole:
            break
    gone = [note for note in whole if note not in less]
    assert len(gone) == 1
    assert [note for note in whole if note not in gone] == less


def run(seed: int, only: tuple[str, ...] | None) -> tuple[Outcome, list[str]]:
    world = World(seed, hours=HOURS, only=only, checkers=all_checkers())
    return world.run(), list(world.only.happened)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3, 5, 8])
def test_world_when_exactly_what_happened_is_named_then_it_is_the_same_run(seed: int) -> None:
    """Nothing that goes wrong in a seed is missing in its list, so the list repeats a failure."""
    whole, words = run(seed, None)
    again, same = run(seed, tuple(words))
    assert len(words) > 100
    assert (again.trace, same, again.faults) == (whole.trace, words, whole.faults)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3, 5, 8])
def test_world_when_everything_is_left_out_then_nothing_is_noted(seed: int) -> None:
    """No fault of any kind goes past the list."""
    outcome, words = run(seed, ())
    assert (outcome.violation, outcome.faults, outcome.crashes, words) == (None, {}, 0, [])


@pytest.mark.slow
def test_world_when_one_fault_is_left_out_then_all_is_the_same_up_to_it() -> None:
    """Also what the operator draws, who orders by the same stream by which he kills."""
    _, words = run(5, None)
    for kind in ("kill", "executor_flood", "crash_disk", "answer_lost", "market_gap", "wall_jump"):
        at = next((index for index, word in enumerate(words) if word.startswith(f"{kind}:")), None)
        if at is not None:
            _, less = run(5, (*words[:at], *words[at + 1 :]))
            assert less[:at] == words[:at]
            assert words[at] not in less


def drawn(only: tuple[str, ...] | None, kind: str, stream: str) -> tuple[object, object]:
    """Return a stream of chance before and behind a planned fault that comes to a world without any other."""
    world, states = World(1, hours=SHORT, kinds=("power_loss",), all_on=True, only=only), list[object]()
    rng = world.operator.rng if stream == "operator" else world.chance

    def strike() -> None:
        states.append(rng.getstate())
        inject(world, Planned(world.now_ns, kind, 0), chance(AT_ONCE, kind))
        if kind.startswith("crash_") and only is None:
            world.fate(kind.removeprefix("crash_"))
        states.append(rng.getstate())

    world.later(T0 + 30 * SECOND, strike)
    world.run(T0 + 31 * SECOND)
    return states[0], states[1]


@pytest.mark.parametrize(
    ("kind", "stream"),
    [
        ("executor_flood", "operator"),
        ("kill", "operator"),
        ("cancel_storm", "operator"),
        ("assign", "operator"),
        ("crash_take", "world"),
    ],
)
def test_inject_when_a_fault_is_left_out_then_shared_streams_go_on_as_if_it_had_been_done(
    kind: str, stream: str
) -> None:
    """The operator orders by the stream by which he kills; what comes with a crash has one stream for all."""
    done, left_out = drawn(None, kind, stream), drawn((), kind, stream)
    assert left_out == done
    assert done[0] != done[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cause", "effect"),
    [
        ("crash_take", "power_loss"),
        ("crash_take", "wall_jump"),
        ("crash_take", "crash_start"),
        ("crash_take", "damage"),
        ("kill", "actor_raise"),
        ("kill", "disk_error"),
    ],
)
def test_world_when_what_comes_with_a_fault_is_left_out_then_the_fault_comes_alone(
    cause: str, effect: str
) -> None:
    """A crash without its loss of power, a kill at which nothing falls: each is a fault of its own."""
    for seed in range(1, 20):
        both, alone = (
            World(seed, hours=HOURS, kinds=(cause, effect), all_on=True, only=only)
            for only in (None, (cause,))
        )
        planned = {f"{one.kind}:{one.number}" for one in both.faults.plan}
        both.run()
        if any(word.startswith(effect) and word not in planned for word in both.only.happened):
            break
    else:
        pytest.fail(f"no {cause} comes with {effect}")
    faults = alone.run().faults
    assert faults[cause]
    assert effect not in faults
